"""Known defects of SAE trainers, each shown not to be ours. The numbers are those of the list in the field
notes.
"""

import json

import numpy as np
import pytest
import torch

import sciinterp as si
from sciinterp.errors import InputError, SciinterpError
from sciinterp.sae import loop, run_folder
from sciinterp.sae.architecture import Step
from sciinterp.sae.auxk import add_auxk
from sciinterp.sae.batches import Reader, Source, moments
from sciinterp.sae.loop import train
from sciinterp.sae.metrics import Measures, density_histogram
from sciinterp.sae.parameters import Parameters
from sciinterp.sae.settings import TrainSettings


def planted(
    n: int, d: int = 16, f: int = 48, rate: float = 0.06, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(f, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    z = (rng.random((n, f)) < rate) * (1 + rng.exponential(size=(n, f)))
    return (z @ directions).astype(np.float32), directions.astype(np.float32)


def begun(x: np.ndarray, architecture, settings: TrainSettings) -> tuple[loop._Data, loop._Run]:
    """A run that has made no step yet."""
    data = loop._Data(Source(x), None, settings, torch.device("cpu"))
    data.look()
    run = loop._Run(data, loop.Job(architecture, settings))
    run.begin()
    return data, run


def aux_state(d: int = 10, f: int = 30, seed: int = 0) -> tuple[Step, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    architecture = si.TopK(f, k=3)
    parameters = Parameters(architecture.shapes(d), unit_norm=True)
    for name in parameters.names():
        parameters[name].normal_()
    return Step(parameters, torch.arange(f - 8, f)), torch.randn(64, d), torch.randn(64, d)


def test_defect_10_auxk_reaches_encoder_and_decoder_of_dead_features_only():
    step, xin, residual = aux_state()
    loss = add_auxk(step, xin, residual)
    g = step.parameters.gradients
    assert loss > 0
    for name in ("W_enc", "W_dec", "b_enc"):
        assert g[name][step.dead].abs().sum() > 0
        assert g[name][: int(step.dead[0])].abs().sum() == 0


def test_defect_10_auxk_has_no_bias_and_a_detached_residual():
    step, xin, residual = aux_state()
    first = add_auxk(step, xin, residual)
    assert step.parameters.gradients["b_dec"].abs().sum() == 0
    step.parameters["b_dec"].add_(100.0)  # neither the target nor the estimate may know of it
    assert torch.equal(add_auxk(step, xin, residual), first)


def test_defect_10_auxk_is_trained_not_only_logged():
    """Features too weak to be among the k of any row stay dead, unless the auxiliary loss strengthens them."""
    x, _ = planted(4000)
    settings = TrainSettings(steps=150, batch_size=256, dead_window=0.2, encoder_pull=0.0)
    dead = {}
    for alpha in (1 / 32, 0.0):
        data, run = begun(x, si.TopK(64, k=3, aux_alpha=alpha), settings)
        run.parameters["W_enc"][:16] *= 0.05
        loop._train(data, [run])
        dead[alpha] = run.finish().metrics["dead"]
    assert dead[0.0] == 16 / 64
    assert dead[1 / 32] < 0.1


def test_defect_11_batchtopk_threshold_is_calibrated_in_a_short_run(tmp_path):
    x, _ = planted(6000)
    sae = si.train(x * 50, si.BatchTopK(48, k=4), steps=20, batch_size=256, out=tmp_path / "a")
    assert sae.metrics["threshold"] > 0
    assert sae.metrics["l0_batch_selection"] == pytest.approx(4)
    assert sae.metrics["l0_threshold"] == pytest.approx(4, abs=0.05)
    assert sae.metrics["l0"] == pytest.approx(4, abs=0.3)
    back = si.load_sae(tmp_path / "a")
    assert torch.equal(back.threshold, sae.threshold)
    sae.save(tmp_path / "b")
    sae.export(tmp_path / "c", format="dictionary_learning")
    for place in "bc":
        again = si.load_sae(tmp_path / place)
        assert torch.equal(again.encode(x * 50).to_dense() > 0, sae.encode(x * 50).to_dense() > 0)


def test_defect_11_thresholds_follow_the_scale():
    x, _ = planted(3000)
    for architecture in (si.BatchTopK(48, k=4), si.JumpReLU(48, target_l0=4)):
        small = si.train(x, architecture, steps=20, batch_size=256)
        large = si.train(x * 1024, architecture, steps=20, batch_size=256)
        assert torch.equal(large.threshold, small.threshold * 1024)


def test_defect_12_jumprelu_thresholds_move_and_reach_the_target():
    x, _ = planted(6000)
    sae = si.train(x, si.JumpReLU(48, target_l0=5), steps=300, batch_size=256)
    assert sae.metrics["l0"] == pytest.approx(5, abs=1.0)
    assert sae.threshold.dtype == torch.float32
    early = si.train(x, si.JumpReLU(48, target_l0=5), steps=1, batch_size=256)
    assert (sae.threshold - early.threshold).abs().median() > 0.05 * early.threshold.median()


def test_defect_13_variance_explained_has_one_definition():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 6)) + 1000  # a mean far from zero, and batches that differ in theirs
    x = np.sort(x, axis=0)
    back = x + 0.3 * rng.normal(size=x.shape)
    measures = Measures(torch.full((6,), 900.0), n_features=2)
    for lo in range(0, 5000, 700):
        part = torch.from_numpy(x[lo : lo + 700])
        nothing = torch.zeros(len(part), dtype=torch.int64)
        measures.add(part, torch.from_numpy(back[lo : lo + 700]), nothing, nothing[:0])
    expected = 1 - ((x - back) ** 2).sum() / ((x**2).sum() - len(x) * (x.mean(0) ** 2).sum())
    assert measures.result()["fve"] == pytest.approx(expected, rel=1e-7)
    mean = Measures(torch.zeros(6), n_features=2)
    mean.add(
        torch.from_numpy(x),
        torch.from_numpy(np.broadcast_to(x.mean(0), x.shape).copy()),
        torch.zeros(5000, dtype=torch.int64),
        torch.zeros(0, dtype=torch.int64),
    )
    assert mean.result()["fve"] == pytest.approx(0, abs=1e-9)


def test_defect_13_shrinkage_and_density():
    x = torch.randn(400, 5)
    measures = Measures(torch.zeros(5), n_features=3)
    measures.add(x, 0.5 * x, torch.ones(400, dtype=torch.int64), torch.zeros(400, dtype=torch.int64))
    found = measures.result()
    assert found["shrinkage"] == pytest.approx(0.5)
    assert found["cosine"] == pytest.approx(1)
    assert found["density_histogram"]["never"] == 2
    assert sum(density_histogram(np.array([0, 1e-9, 1, 0.5, 1e-3])).values()) == 5


def test_defect_14_dead_window_is_a_fraction_of_the_data():
    """A few thousand rows, far below ten million: dead features are still seen."""
    x, _ = planted(3000)
    settings = TrainSettings(steps=60, batch_size=250, dead_window=0.5)
    data, run = begun(x, si.TopK(48, k=3), settings)
    assert run.window == round(0.5 * 2850 / 250)
    run.parameters["b_enc"][:10] = -1000.0
    loop._train(data, [run])
    assert set(range(10)) <= set(run.step.dead.tolist())


def test_defect_15_newest_checkpoint_is_chosen_by_number(tmp_path):
    for step in (950, 1000):
        (tmp_path / "keep").mkdir(exist_ok=True)
        run_folder.write_checkpoint(tmp_path, step, {"a": torch.tensor([float(step)])}, {})
        (tmp_path / f"step_{step:08d}.safetensors").rename(tmp_path / "keep" / f"step_{step}.safetensors")
    assert run_folder.newest_checkpoint(tmp_path / "keep")[0] == 1000


def test_defect_15_a_damaged_checkpoint_is_passed_over(tmp_path):
    run_folder.write_checkpoint(tmp_path, 5, {"a": torch.ones(4)}, {"x": 1})
    older = (tmp_path / "step_00000005.safetensors").read_bytes()
    newer = bytearray(older)
    newer[-1] ^= 1  # one flipped bit in the data passes safetensors itself
    (tmp_path / "step_00000009.safetensors").write_bytes(bytes(newer))
    (tmp_path / "step_00000010.safetensors").write_bytes(older[:20])
    step, tensors, facts = run_folder.newest_checkpoint(tmp_path)
    assert (step, facts) == (5, {"x": 1})
    assert torch.equal(tensors["a"], torch.ones(4))


def test_defect_15_the_old_checkpoint_goes_only_after_the_new_one_reads_back(tmp_path, monkeypatch):
    run_folder.write_checkpoint(tmp_path, 5, {"a": torch.ones(4)}, {})
    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "_read", lambda path: None)
        with pytest.raises(SciinterpError, match="does not read back"):
            run_folder.write_checkpoint(tmp_path, 9, {"a": torch.ones(4)}, {})
    assert run_folder.newest_checkpoint(tmp_path)[0] == 5
    run_folder.write_checkpoint(tmp_path, 9, {"a": torch.ones(4)}, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_00000009.safetensors"]


def test_defect_16_a_nan_stops_the_run_before_the_step(tmp_path, monkeypatch):
    x, _ = planted(2000)
    whole, seen = Reader.next, []

    def poisoned(self):
        a, b = whole(self)
        seen.append(1)
        if len(seen) == 8:
            a[3, 2] = float("nan")
        return a, b

    monkeypatch.setattr(Reader, "next", poisoned)
    for architecture in (
        si.TopK(32, k=3),
        si.ReLU(32),
        si.BatchTopK(32, k=3),
        si.JumpReLU(32, target_l0=3),
        si.Gated(32),
        si.Matryoshka(32, k=3),
    ):
        seen.clear()
        data, run = begun(x, architecture, TrainSettings(steps=20, batch_size=128))
        with pytest.raises(InputError, match=r"not finite.*batch 8"):
            loop._train(data, [run])
        assert run.done == 7
        assert torch.isfinite(run.parameters.flat).all()


def test_defect_16_a_nan_row_is_named():
    x, _ = planted(2000)
    x[1234, 3] = np.inf
    with pytest.raises(InputError, match="row 1234"):
        moments(Source(x), np.arange(2000))


def test_defect_17_no_geometric_median_to_divide_by_zero():
    """The starting bias is the mean: rows equal to it are no trouble."""
    x, _ = planted(2000)
    x[:1500] = x.mean(0)
    sae = si.train(x, si.TopK(32, k=3), steps=10, batch_size=128)
    assert torch.isfinite(sae.W_enc).all()
    assert torch.isfinite(sae.b_dec).all()


def test_defect_18_the_identity_travels_with_the_weights(tmp_path):
    class Acts:
        d_in, n_tokens, site, fingerprint = 16, 2000, "layers.4", {"mean": 0.1}
        identity = {"model": "evo2-7b", "weights_sha256": "aa", "site": "layers.4"}  # noqa: RUF012

        def read(self, lo, hi):
            return planted(2000)[0][lo:hi]

    si.train(Acts(), si.TopK(32, k=3), steps=5, batch_size=128, out=tmp_path)
    kept = json.loads((tmp_path / "cfg.json").read_text())["metadata"]["sciinterp"]["identity"]
    assert kept == {
        "model": "evo2-7b",
        "weights_sha256": "aa",
        "site": "layers.4",
        "fingerprint": {"mean": 0.1},
    }

    class Longer:
        identity = {"model": "evo2-7b-262k", "weights_sha256": "bb"}  # noqa: RUF012

    with pytest.raises(SciinterpError, match=r"model, weights_sha256.*evo2-7b-262k"):
        si.load_sae(tmp_path, model=Longer())
    other = Acts()
    other.site, other.identity = "layers.5", {"model": "evo2-7b", "weights_sha256": "aa"}
    with pytest.raises(SciinterpError, match="site"):
        si.load_sae(tmp_path).check(other)


def planted_cosine(n_directions: int, d: int, rows: int, steps: int, active: int, rate: float) -> float:
    """Mean over planted directions of the largest cosine with a learned one."""
    x, directions = planted(rows, d, n_directions, rate=active / n_directions)
    settings = TrainSettings(steps=steps, batch_size=2048, learning_rate=rate, decay=0.5)
    sae = train(x, si.TopK(n_directions, k=active), settings=settings)
    return float((torch.from_numpy(directions) @ sae.W_dec.T).max(1).values.mean())


def test_planted_dictionary_is_found():
    assert planted_cosine(256, 64, 40_000, 400, active=4, rate=1e-2) >= 0.95


@pytest.mark.slow
def test_planted_dictionary_of_2048_is_found():
    assert planted_cosine(2048, 256, 200_000, 3000, active=8, rate=2e-3) >= 0.95
