"""Training runs: the same seed gives the same bytes, whatever stops them; a folder is never overwritten."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sciinterp as si
from sciinterp.errors import InputError, SciinterpError, StoreError
from sciinterp.sae import base, loop, run_folder
from sciinterp.sae.batches import BLOCK, Reader, Source, moments
from sciinterp.sae.loop import train
from sciinterp.sae.settings import TrainSettings

X = np.random.default_rng(0).normal(size=(3000, 12)).astype(np.float32) * 3 + 1
KINDS = {
    "topk": si.TopK(40, k=4),
    "batchtopk": si.BatchTopK(40, k=4),
    "matryoshka": si.Matryoshka(40, k=4),
    "relu": si.ReLU(40),
    "gated": si.Gated(40),
    "jumprelu": si.JumpReLU(40, target_l0=4),
}
SETTINGS = TrainSettings(steps=40, batch_size=128, checkpoint_every=7, log_every=3, dead_window=0.05)


KILL = Path(__file__).with_name("kill_training.py")


class Killed(BaseException):
    pass


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def stop_at(monkeypatch, step: int) -> None:
    whole = loop._Run.advance

    def advance(self, *batch):
        if self.done == step:
            raise Killed
        return whole(self, *batch)

    monkeypatch.setattr(loop._Run, "advance", advance)


@pytest.mark.parametrize("name", KINDS)
def test_killed_and_resumed_gives_the_same_bytes(name, tmp_path, monkeypatch):
    architecture = KINDS[name]
    train(X, architecture, settings=SETTINGS, out=tmp_path / "whole")
    for step in (3, 11, 29):
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(Killed):
                train(X, architecture, settings=SETTINGS, out=tmp_path / "cut")
    train(X, architecture, settings=SETTINGS, out=tmp_path / "cut")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


@pytest.mark.parametrize("name", ["topk", "batchtopk", "jumprelu"])
def test_defect_15_killed_outright_at_ten_steps_and_inside_writes(name, tmp_path):
    """Processes killed at ten random steps and at eight points inside writes; then weights, log and all are the same."""
    done = subprocess.run(
        [sys.executable, str(KILL), str(tmp_path / "cut"), name], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[0]) >= 15, done.stdout  # a point behind the end of the run is passed over
    spec = importlib.util.spec_from_file_location("kill_training", KILL)
    child = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(child)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(child.X, child.KINDS[name], settings=child.SETTINGS, out=tmp_path / "whole")
    finally:
        torch.set_num_threads(threads)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


@pytest.mark.parametrize("at", ["checkpoint written", "log written", "weights written", "before metrics"])
def test_killed_inside_a_write(at, tmp_path, monkeypatch):
    train(X, KINDS["topk"], settings=SETTINGS, out=tmp_path / "whole")
    target, module = {
        "checkpoint written": ("_read", run_folder),
        "log written": ("write_checkpoint", run_folder),
        "weights written": ("sha256_file", base),
        "before metrics": ("write_sealed", base),
    }[at]

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, target, killed)
        with pytest.raises(Killed):
            train(X, KINDS["topk"], settings=SETTINGS, out=tmp_path / "cut")
    train(X, KINDS["topk"], settings=SETTINGS, out=tmp_path / "cut")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_finished_run_returns_at_once(tmp_path, monkeypatch):
    first = si.train(X, KINDS["topk"], out=tmp_path / "a", steps=20, batch_size=64)
    before = files(tmp_path / "a")
    monkeypatch.setattr(loop._Run, "begin", None)
    again = si.train(X, KINDS["topk"], out=tmp_path / "a", steps=20, batch_size=64)
    assert torch.equal(again.W_dec, first.W_dec)
    assert again.metrics == first.metrics
    assert again.architecture == first.architecture
    assert files(tmp_path / "a") == before


def test_other_run_or_other_files_are_refused(tmp_path):
    si.train(X, KINDS["topk"], out=tmp_path / "a", steps=5, batch_size=64)
    with pytest.raises(StoreError, match=r"settings.*seed 1 where it has 0"):
        si.train(X, KINDS["topk"], out=tmp_path / "a", steps=5, batch_size=64, seed=1)
    with pytest.raises(StoreError, match="another source"):
        si.train(X + 1, KINDS["topk"], out=tmp_path / "a", steps=5, batch_size=64)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match=r"something else.*thesis\.tex"):
        si.train(X, KINDS["topk"], out=tmp_path / "b", steps=5)
    assert files(tmp_path / "b") == {"thesis.tex": b"precious"}


def test_in_memory_equals_on_disk(tmp_path):
    a = si.train(X, KINDS["topk"], steps=20, batch_size=64)
    b = si.train(torch.from_numpy(X), KINDS["topk"], steps=20, batch_size=64, out=tmp_path / "a")
    assert torch.equal(a.W_enc, b.W_enc)
    assert a.metrics == b.metrics


def test_metrics_json_has_what_others_rely_on(tmp_path):
    si.train(X, KINDS["topk"], steps=30, batch_size=64, out=tmp_path)
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert {"fve", "l0", "dead", "n_features", "d_in", "n_tokens", "seed"} <= set(found)
    lines = [json.loads(line) for line in (tmp_path / "training.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 10, 20, 30]
    assert not any("time" in key or "second" in key for key in lines[0])


def test_measures_are_taken_on_rows_that_were_not_trained_on():
    class Acts:
        d_in, n_tokens, identity, site, fingerprint = 6, 300, {"model": "m"}, "layers.1", "f"
        seen: list = []  # noqa: RUF012

        def read(self, lo, hi):
            return np.random.default_rng(1).normal(size=(300, 6)).astype(np.float32)[lo:hi]

        def rows(self, numbers):
            return np.concatenate([np.arange(i * 10, i * 10 + 10) for i in numbers])

    class Parts:
        train, calibration, test = np.arange(20), np.arange(20, 22), np.arange(22, 30)

    sae = si.train(Acts(), si.BatchTopK(16, k=2), split=Parts(), steps=5, batch_size=32)
    assert (sae.metrics["n_train_tokens"], sae.metrics["calibration_rows"], sae.metrics["n_tokens"]) == (
        200,
        20,
        80,
    )
    assert sae.identity["model"] == "m"
    assert sae.identity["site"] == "layers.1"


def test_split_needs_a_store():
    with pytest.raises(InputError, match="which rows belong"):
        si.train(
            X,
            KINDS["topk"],
            split=object.__new__(type("S", (), {"train": [0], "calibration": [], "test": []})),
        )


@pytest.mark.parametrize("bad", [np.zeros((0, 4)), np.ones((50, 4)), np.full((50, 4), np.nan)])
def test_bad_activations_are_refused(bad):
    with pytest.raises(InputError):
        si.train(bad.astype(np.float32), si.TopK(8, k=2), steps=2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: si.TopK(0),
        lambda: si.TopK(8, k=9),
        lambda: si.BatchTopK(8, k=0),
        lambda: si.JumpReLU(8, target_l0=9),
        lambda: si.Matryoshka(8, k=2, prefixes=(4, 2)),
        lambda: si.ReLU(8, l1=-1),
        lambda: TrainSettings(steps=1, epochs=1),
        lambda: TrainSettings(batch_size=0),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(SciinterpError):
        make()


@pytest.mark.parametrize("budget", [1, 4 * 12 * BLOCK * 2, 1 << 30])
def test_reader_sees_every_row_once_an_epoch_and_resumes_anywhere(budget):
    rows = np.sort(np.random.default_rng(2).permutation(3000)[:2500])
    marked = np.repeat(np.arange(3000, dtype=np.float32)[:, None], 12, 1)
    reader = Reader(Source(marked), rows, 250, seed=3, budget=budget)
    states, batches = [], []
    for _ in range(20):
        states.append(reader.state)
        batches.append(reader.next()[0][:, 0].numpy().copy())
    for epoch in (batches[:10], batches[10:]):
        assert sorted(np.concatenate(epoch)) == sorted(rows)
    assert (batches[0] != batches[10]).any()
    for at in (7, 0, 19, 12):
        fresh = Reader(Source(marked), rows, 250, seed=3, budget=budget)
        fresh.state = states[at]
        assert (fresh.next()[0][:, 0].numpy() == batches[at]).all()


def test_moments_are_exact():
    mean, spread = moments(Source(X), np.arange(len(X)))
    assert np.allclose(mean, X.astype(np.float64).mean(0), atol=1e-12)
    assert spread == pytest.approx(((X.astype(np.float64) - mean) ** 2).sum(1).mean(), rel=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_scaling_is_folded_exactly(name):
    """Training on 2^6 x gives the same SAE in other units: the same codes to the bit, times 2^6."""
    a = si.train(X, KINDS[name], steps=15, batch_size=64)
    b = si.train(X * 64, KINDS[name], steps=15, batch_size=64)
    ca, cb = a.encode(X[:300]), b.encode(X[:300] * 64)
    assert torch.equal(ca.col_indices(), cb.col_indices())
    assert torch.equal(ca.values() * 64, cb.values())
    assert a.metrics["fve"] == pytest.approx(b.metrics["fve"], abs=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_defect_11_codes_do_not_depend_on_the_batch(name):
    sae = si.train(X, KINDS[name], steps=15, batch_size=64)
    x = X[:700]
    whole = sae.encode(x).to_dense()
    parts = torch.cat([sae.encode(x[lo : lo + 37]).to_dense() for lo in range(0, 700, 37)])
    order = torch.randperm(700)
    shuffled = torch.empty_like(whole)
    shuffled[order] = sae.encode(x[order.numpy()]).to_dense()
    for other in (parts, shuffled):
        assert torch.equal(other > 0, whole > 0)
        assert torch.allclose(other, whole, atol=1e-5)


def test_screening_is_kept_on_resume_and_stops_where_it_does_not_pay(tmp_path, monkeypatch):
    """Near ties make every row doubtful: the run stops screening at the same step whether it was killed or
    not.
    """
    x = np.concatenate([X, 1e-5 * X[:, :1] + X], axis=1)
    for name, pays in (("pays", True), ("does not", False)):
        monkeypatch.setattr(loop, "REVIEW_STEPS", 10)
        monkeypatch.setattr(loop, "MAX_DOUBTFUL", 1.0 if pays else -1.0)
        settings = TrainSettings(steps=40, batch_size=128, checkpoint_every=7, screen="on")
        sae = train(x, KINDS["topk"], settings=settings, out=tmp_path / name)
        assert sae.metrics["screened"] == pays
        with monkeypatch.context() as patch:
            stop_at(patch, 17)
            with pytest.raises(Killed):
                train(x, KINDS["topk"], settings=settings, out=tmp_path / f"{name}, cut")
        train(x, KINDS["topk"], settings=settings, out=tmp_path / f"{name}, cut")
        assert files(tmp_path / f"{name}, cut") == files(tmp_path / name)
    assert not train(x, KINDS["relu"], settings=settings).metrics["screened"]
