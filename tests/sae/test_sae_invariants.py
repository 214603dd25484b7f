"""What codes and reconstructions must keep whatever the rows, the arrays, the features' order; and rows of every source."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sciinterp as si
from sciinterp.errors import InputError, ShapeError
from sciinterp.sae import kernels, sparse
from sciinterp.sae.base import SAE, sae_of
from sciinterp.sae.batches import Readable, Reader, Source, moments, parts_of, thinned
from sciinterp.sae.registry import ARCHITECTURES, architecture_from, architectures_from
from sciinterp.sae.row_numbers import Rows
from sciinterp.sae.run_folder import newest_checkpoint, write_checkpoint
from sciinterp.sae.settings import TrainSettings
from sciinterp.sae.sparse import Codes, Transposed, Workspace, encode_above, encode_topk
from sciinterp.sae.weights import Weights

N, D, F = 70, 6, 12
X = torch.from_numpy((np.random.default_rng(0).normal(size=(N, D)) * 2 + 0.5).astype(np.float32))
NORMS = ("none", "layer_norm", "standardised", "constant_norm_rescale", "unit_norm")


def dictionary(*, k: int | None = None, norm: str = "none", centred: bool = True, f: int = F) -> SAE:
    g = torch.Generator().manual_seed(1)
    encoder, decoder = torch.randn(D, f, generator=g), torch.randn(f, D, generator=g)
    threshold = None if k else torch.rand(f, generator=g)
    biases = 0.3 * torch.randn(f, generator=g), 0.3 * torch.randn(D, generator=g)
    made = Weights(
        encoder, biases[0], decoder, biases[1], k=k, threshold=threshold, centred=centred, input_norm=norm
    )
    return sae_of(made)


def dense(sae: SAE, x: torch.Tensor) -> torch.Tensor:
    """Codes as the definition has them, on rows that need no treatment."""
    pre = (x - sae.b_dec if sae.centred else x) @ sae.W_enc + sae.b_enc
    if sae.k is None:
        return torch.where(pre > sae.threshold, pre, 0).clamp(min=0)
    kept = torch.zeros_like(pre).scatter(1, pre.topk(sae.k, 1).indices, 1.0)
    return pre.clamp(min=0) * kept


SAES = {
    f"{'top' + str(k) if k else 'threshold'}, {'centred' if centred else 'as it is'}": dictionary(
        k=k, centred=centred
    )
    for k in (None, 1, 4, F)
    for centred in (True, False)
}


@pytest.mark.parametrize("name", SAES)
def test_codes_are_their_definition_and_rows_stand_alone(name: str) -> None:
    sae = SAES[name]
    codes = sae.encode(X).to_dense()
    assert torch.allclose(codes, dense(sae, X), atol=1e-5)
    assert torch.allclose(sae.encode(X[17:18]).to_dense(), codes[17:18], atol=1e-6)
    order = torch.randperm(N, generator=torch.manual_seed(0))
    assert torch.allclose(sae.encode(X[order]).to_dense(), codes[order], atol=1e-6)
    assert torch.allclose(sae.reconstruct(X), codes @ sae.W_dec + sae.b_dec, atol=1e-5)
    assert sae.encode(X[:0]).shape == (0, F) and sae.reconstruct(X[:0]).shape == (0, D)
    scipys = sae.encode_scipy(X)
    assert np.array_equal(scipys.toarray(), codes.numpy())
    assert scipys.has_sorted_indices and (scipys.data > 0).all()


@pytest.mark.parametrize(
    "same",
    [
        lambda x: x.numpy(),
        lambda x: x.double().numpy(),
        lambda x: x.numpy()[::-1].copy()[::-1],
        lambda x: np.asfortranarray(x.numpy()),
        lambda x: x.numpy().astype(">f4"),
        lambda x: x.numpy().astype(object),
        lambda x: x.tolist(),
        lambda x: x.double(),
        lambda x: torch.cat([x, x], 1)[:, :D],
        lambda x: np.ma.asarray(x.numpy()),
    ],
    ids=[
        "numpy",
        "float64",
        "reversed view",
        "fortran",
        "big endian",
        "object",
        "list",
        "tensor64",
        "slice",
        "unmasked",
    ],
)
def test_one_matrix_is_one_matrix_however_it_lies_in_memory(same) -> None:
    sae = dictionary(k=3)
    assert torch.equal(sae.encode(same(X)).to_dense(), sae.encode(X).to_dense())
    assert np.array_equal(Source(same(X)).read(0, N), X.numpy())


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint16, np.bool_, np.float16])
def test_whole_numbers_and_halves_are_read_as_the_numbers_they_are(kind: type) -> None:
    x = np.random.default_rng(0).integers(0, 2 if kind is np.bool_ else 9, (20, D)).astype(kind)
    sae, plain = dictionary(), x.astype(np.float32)
    assert torch.equal(sae.encode(x).to_dense(), sae.encode(plain).to_dense())
    assert np.array_equal(Source(x).read(0, 20), plain)


def test_what_float32_cannot_hold_is_named_with_its_row() -> None:
    x = X.double().numpy()
    x[9, 1] = 1e300
    with pytest.raises(InputError, match="not finite, row 9"):
        dictionary().encode(x)
    with pytest.raises(InputError, match="not finite, row 9"):
        moments(Source(x), np.arange(N))


@pytest.mark.parametrize("k", [None, 3])
def test_the_order_of_features_is_only_an_order(k: int | None) -> None:
    sae = dictionary(k=k)
    order, w = torch.randperm(F, generator=torch.manual_seed(1)), sae.weights
    threshold = None if w.threshold is None else w.threshold[order]
    moved = sae_of(
        replace(w, W_enc=w.W_enc[:, order], b_enc=w.b_enc[order], W_dec=w.W_dec[order], threshold=threshold)
    )
    assert torch.allclose(moved.encode(X).to_dense(), sae.encode(X).to_dense()[:, order], atol=1e-6)
    assert torch.allclose(moved.reconstruct(X), sae.reconstruct(X), atol=1e-5)


def test_all_of_a_dictionary_is_a_rectified_one_and_more_features_keep_what_fewer_kept() -> None:
    every, w = dictionary(k=F), dictionary(k=F).weights
    relu = sae_of(replace(w, k=None))
    assert torch.equal(every.encode(X).to_dense(), relu.encode(X).to_dense())
    last = torch.zeros(N, F, dtype=torch.bool)
    for k in range(1, F + 1):
        active = sae_of(replace(w, k=k)).encode(X).to_dense() > 0
        assert (active | ~last).all() and (active.sum(1) <= k).all()
        last = active


@pytest.mark.parametrize("norm", NORMS)
def test_a_scaled_or_shifted_row_is_reconstructed_as_its_treatment_says(norm: str) -> None:
    sae = dictionary(k=3, norm=norm)
    scale = {"constant_norm_rescale": 5.0, "layer_norm": 5.0, "standardised": 5.0}.get(norm, 1.0)
    shift = 3.0 if norm in ("layer_norm", "standardised") else 0.0
    moved = X * scale + shift
    assert torch.allclose(sae.reconstruct(moved), sae.reconstruct(X) * scale + shift, rtol=1e-3, atol=2e-3)
    if norm == "unit_norm":
        outward = sae.b_dec + 7 * (X - sae.b_dec)
        assert torch.allclose(sae.encode(outward).to_dense(), sae.encode(X).to_dense(), atol=1e-5)
    back, unit = sae.units(X)
    assert torch.allclose(sae.decode(sae.encode(X)) * unit + back, sae.reconstruct(X))


def test_codes_are_decoded_from_every_layout_to_the_same_rows() -> None:
    sae = dictionary()
    codes = sae.encode(X)
    for other in (codes.to_dense(), codes.to_dense().to_sparse(), codes.to_dense().double()):
        assert torch.allclose(sae.decode(other), sae.decode(codes), atol=1e-5)
    assert torch.allclose(sae.decode(torch.zeros(2, F)), sae.b_dec.expand(2, D))
    one = torch.zeros(1, F)
    one[0, 4] = 2.0
    assert torch.allclose(sae.decode(one)[0], sae.b_dec + 2 * sae.W_dec[4])


def test_a_signature_tells_dictionaries_apart_and_not_copies(tmp_path: Path) -> None:
    sae, w = dictionary(k=3), dictionary(k=3).weights
    mine = sae.signed()
    assert sae_of(w).signed().sae_sha256 == mine.sae_sha256
    changed = {
        name: replace(w, **{name: getattr(w, name) + 1e-3}) for name in ("W_enc", "b_enc", "W_dec", "b_dec")
    }
    others = [
        *changed.values(),
        replace(w, k=4),
        replace(w, centred=False),
        replace(w, input_norm="layer_norm"),
    ]
    assert len({sae_of(one).signed().sae_sha256 for one in others} | {mine.sae_sha256}) == len(others) + 1
    sae.metrics = {"fve": 0.5, "l0": 3.0}
    sae.save(tmp_path / "sae")
    assert {sae.signed().sae_sha256, si.load_sae(tmp_path / "sae").signed().sae_sha256} == {mine.sae_sha256}
    sae.recipe = {"steps": 3}
    assert sae.signed().recipe_sha256 != mine.recipe_sha256


@pytest.mark.parametrize("cut", ["b_enc", "W_dec", "b_dec", "threshold"])
def test_arrays_that_do_not_fit_together_are_named(cut: str) -> None:
    w = dictionary().weights
    with pytest.raises(ShapeError, match=f"{cut} does not fit"):
        sae_of(replace(w, **{cut: getattr(w, cut)[:-1]}))


# --- the sparse step ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_no_number_of_threads_and_no_chunk_changes_a_bit(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    g = torch.Generator().manual_seed(2)
    x, w, b = (
        torch.randn(500, 24, generator=g),
        torch.randn(96, 24, generator=g),
        torch.randn(96, generator=g),
    )
    values, columns = encode_topk(x, w, b, 5, Workspace())
    codes = sparse.fixed_codes(values.relu(), columns)
    gradient, out = torch.randn(500, 24, generator=g), torch.empty(96, 24)
    pattern = Transposed(codes, 96)
    pattern.sum_rows(codes.values, gradient, out)
    expected = out.clone(), sparse.code_gradients(codes, gradient, w), pattern.sum_values(codes.values)
    before = torch.get_num_threads()
    monkeypatch.setattr(kernels, "MIN_ROWS_PER_THREAD", 1)
    try:
        torch.set_num_threads(threads)
        again = sparse.topk(torch.addmm(b, x, w.T), 5)
        pattern.sum_rows(codes.values, gradient, out)
        assert torch.equal(out, expected[0])
        assert torch.equal(sparse.code_gradients(codes, gradient, w), expected[1])
        assert torch.equal(pattern.sum_values(codes.values), expected[2])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(again[1], columns)


def random_codes(n: int, f: int, seed: int) -> Codes:
    pre = torch.randn(n, f, generator=torch.Generator().manual_seed(seed))
    return encode_above(pre, torch.eye(f), torch.zeros(f), torch.full((f,), 1.2), Workspace())


@pytest.mark.parametrize(("n", "f"), [(40, 30), (1, 5), (3, 1), (0, 4)])
def test_sums_over_codes_are_those_of_the_dense_matrix(n: int, f: int) -> None:
    codes = random_codes(n, f, seed=n)
    full = sparse.spread(codes, codes.values, f)
    right, w = torch.randn(n, 7), torch.randn(f, 7)
    pattern, out = Transposed(codes, f), torch.full((f, 7), 9.0)
    pattern.sum_rows(codes.values, right, out)
    assert torch.allclose(out, full.T @ right, atol=1e-5)
    assert torch.allclose(pattern.sum_values(codes.values), full.sum(0), atol=1e-5)
    assert torch.allclose(sparse.decode(codes, w), full @ w, atol=1e-5)
    assert torch.allclose(sparse.code_gradients(codes, right, w), (right @ w.T)[full > 0], atol=1e-5)
    even = codes.columns % 2 == 0
    kept = sparse.keep_entries(codes, even)
    assert torch.equal(sparse.spread(kept, kept.values, f), torch.where(torch.arange(f) % 2 == 0, full, 0))
    dropped = sparse.drop_zeros(full, torch.arange(f, dtype=torch.int32).expand(n, f).contiguous())
    assert torch.equal(sparse.spread(dropped, dropped.values, f), full)


# --- rows --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    lengths = (9, 1, 30, 12, 18)
    samples = si.Samples([f"s{i}" for i in range(5)], ["A" * n for n in lengths])
    out = tmp_path_factory.mktemp("rows") / "acts"
    return si.activations_from_array(X.numpy(), samples, out=out, model="m", site="s"), samples


@pytest.mark.parametrize("rows", [[], [0], [69], [3, 4, 5, 30, 31, 68], list(range(0, N, 7)), list(range(N))])
def test_rows_of_a_store_an_array_a_memmap_and_a_tensor_are_the_same(
    store, rows: list[int], tmp_path: Path
) -> None:
    acts, samples = store
    np.save(tmp_path / "x.npy", X.numpy())
    assert isinstance(acts, Readable)
    numbers = np.array(rows, np.int64)
    for data in (acts, X, X.numpy(), np.load(tmp_path / "x.npy", mmap_mode="r")):
        source = Source(data, samples)
        assert np.array_equal(source.take(numbers), X.numpy()[numbers])
        assert np.array_equal(np.concatenate([X.numpy()[:0], *source.pieces(numbers)]), X.numpy()[numbers])
        assert np.array_equal(np.asarray(source.rows_of(np.array([2, 0]))), [*range(9), *range(10, 40)])


@pytest.mark.parametrize("n", [1, 19, 20, 400])
def test_without_a_split_every_row_is_trained_on_or_held_out(n: int) -> None:
    source = Source(np.random.default_rng(0).normal(size=(n, 3)))
    parts = parts_of(source, None, seed=3)
    train, test = (np.asarray(parts[name]) for name in ("train", "test"))
    if n < 20:
        assert np.array_equal(train, np.arange(n)) and np.array_equal(test, train)
        return
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(n)) and len(test) == n // 20
    assert np.array_equal(np.asarray(parts["calibration"]), test)
    again, other = (np.asarray(parts_of(source, None, seed=seed)["test"]) for seed in (3, 4))
    assert np.array_equal(again, test) and (n < 400 or not np.array_equal(other, test))


def test_a_split_without_families_to_judge_judges_on_what_it_trained(store) -> None:
    acts, samples = store
    split = si.split_families(samples, by=list("abcde"), seed=0)
    source = Source(acts)
    parts = parts_of(source, split, 0)
    for name in ("train", "calibration", "test"):
        of_part = np.isin(samples.position_sample(), getattr(split, name))
        assert np.array_equal(np.asarray(parts[name]), np.flatnonzero(of_part))
    alone = parts_of(source, replace(split, test=split.test[:0], calibration=split.calibration[:0]), 0)
    assert np.array_equal(np.asarray(alone["test"]), np.asarray(parts["train"]))
    with pytest.raises(InputError, match="no training rows"):
        parts_of(source, replace(split, train=split.train[:0]), 0)
    fewer = si.split_families(samples.subset(np.arange(3)), by=list("abc"), seed=0)
    with pytest.raises(ShapeError, match="split is of other samples"):
        parts_of(source, fewer, 0)


def test_moments_are_those_of_the_rows_and_their_number_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    from sciinterp.sae import batches

    x = np.random.default_rng(0).normal(3, 2, (5000, 4))
    mean, spread = moments(Source(x), np.arange(100, 4000))
    part = x[100:4000].astype(np.float32).astype(np.float64)
    assert np.allclose(mean, part.mean(0), rtol=1e-12)
    assert spread == pytest.approx(((part - part.mean(0)) ** 2).sum(1).mean(), rel=1e-12)
    monkeypatch.setattr(batches, "MOMENT_ROWS", 2048)
    few = moments(Source(x), np.arange(5000))
    assert few[1] == pytest.approx(16, rel=0.1)
    with pytest.raises(InputError, match="do not vary"):
        moments(Source(np.full((50, 4), 7.0)), np.arange(50))


def test_thinned_rows_are_spread_over_all_and_no_more_than_asked() -> None:
    rows = Rows.of(np.arange(100, 1100))
    assert thinned(rows, 3).tolist() == [100, 599, 1099]
    assert thinned(rows, 5000).tolist() == list(range(100, 1100))
    assert thinned(rows, 1).tolist() == [100]
    assert len(np.unique(thinned(rows, 777))) == 777


def test_batches_of_one_source_and_seed_are_the_same_whatever_holds_the_rows(store) -> None:
    acts, samples = store
    readers = [Reader(Source(data, samples), np.arange(5, N), 16, seed=2) for data in (acts, X, X.numpy())]
    for _ in range(9):
        first, *others = (reader.next()[0] for reader in readers)
        assert all(torch.equal(first, other) for other in others)
    other = Reader(Source(acts), np.arange(5, N), 16, seed=3)
    assert not torch.equal(other.next()[0], Reader(Source(acts), np.arange(5, N), 16, seed=2).next()[0])


def test_an_sae_of_a_store_is_that_of_its_array_and_a_family_left_out_is_not_seen(store) -> None:
    acts, samples = store
    split = si.split_families(samples, by=list("abcde"), seed=0)
    how = {"split": split, "steps": 8, "batch_size": 16}
    from_store = si.train(acts, si.TopK(F, k=2), **how)
    from_array = si.train(X.numpy(), si.TopK(F, k=2), samples=samples, **how)
    assert torch.equal(from_store.W_dec, from_array.W_dec) and from_store.metrics == from_array.metrics
    changed = X.clone()
    unseen = np.isin(samples.position_sample(), np.concatenate([split.test, split.calibration]))
    changed[unseen] = 50.0
    assert torch.equal(si.train(changed, si.TopK(F, k=2), samples=samples, **how).W_dec, from_array.W_dec)


# --- records -----------------------------------------------------------------------------------------------------

EXAMPLES = [
    si.TopK(8, k=2, aux_alpha=0), si.BatchTopK(8, k=3), si.JumpReLU(8, target_l0=4), si.JumpReLU(8, target_l0=2.5, weight=0),
    si.ReLU(8, l1=1), si.Gated(8, l1=0.5), si.Matryoshka(8, k=2, prefixes=(1, 8)),
]  # fmt: skip


@pytest.mark.parametrize("made", EXAMPLES, ids=str)
def test_an_architecture_is_what_its_record_says_to_the_letter(made) -> None:
    import json

    record = json.loads(json.dumps(made.as_dict()))
    back = architecture_from(record)
    assert back == made and type(back) is type(made)
    assert json.dumps(back.as_dict()) == json.dumps(made.as_dict())  # 4 stays 4: folders are named by it


def test_every_architecture_has_an_example_here() -> None:
    assert {type(made).name for made in EXAMPLES} == set(ARCHITECTURES)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({}, "no such architecture"), ({"name": "topk"}, "n_features"), ({"name": "topk", "n_features": 8.5}, "n_features"),
        ({"name": "topk", "n_features": 8, "k": True}, "k: expected a whole number"),
        ({"name": "topk", "n_features": 8, "kk": 3}, "no such parameter of topk: expected .*'k'"),
        ({"name": "relu", "n_features": 8, "l1": float("inf")}, "l1"), ({"name": "relu", "n_features": 1 << 70}, "n_features"),
        ({"name": "matryoshka", "n_features": 8, "k": 2, "prefixes": ["4"]}, "prefixes"),
        ({"name": "relu", "n_features": 8, "l1": "2"}, "l1: expected a number"),
    ],
)  # fmt: skip
def test_a_record_that_describes_none_is_refused_by_name(record: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        architecture_from(record)


def test_text_gives_every_combination_in_order() -> None:
    made = architectures_from("matryoshka", {"n_features": ["8", "16"], "k": ["2"], "prefixes": ["4:8", "2"]})
    assert [(a.n_features, a.prefixes) for a in made] == [
        (8, (4, 8)),
        (8, (2, 8)),
        (16, (4, 8, 16)),
        (16, (2, 16)),
    ]
    for values, said in (({"k": ["two"]}, "expected int, got two"), ({"kk": ["2"]}, "no such parameter, kk")):
        with pytest.raises(InputError, match=said):
            architectures_from("topk", {"n_features": ["8"], **values})


def test_settings_are_found_again_in_a_recipe_and_a_name_that_is_none_is_refused() -> None:
    how = TrainSettings(steps=7, seed=3, order_seed=1, frozen="encoder", clip=1, learning_rate=0.5)
    assert TrainSettings.of({**how.deciding(), "rows": 10}) == how
    assert set(how.deciding()) == {f.name for f in fields(how)} - {"checkpoint_every"}
    assert not {"order_seed", "frozen"} & set(TrainSettings().deciding())
    assert TrainSettings.with_fields(how, {"seed": 4}) == replace(how, seed=4)
    assert (how.order, replace(how, order_seed=None).order) == (1, 3)


@pytest.mark.parametrize(("steps", "n_features"), [(1, 8), (100, 1024), (600, 4096), (5000, 16384)])
def test_the_rate_rises_to_its_peak_falls_to_its_end_and_is_never_nothing(
    steps: int, n_features: int
) -> None:
    how = TrainSettings()
    rates = np.array([how.rate(step, steps, n_features) for step in range(1, steps + 1)])
    peak = 1e-2 * min(1, (1024 / n_features) ** 0.5) * min(1, 600 / steps) ** 0.5
    assert rates.max() == pytest.approx(peak) and (rates > 0).all()
    top = int(rates.argmax())
    assert (np.diff(rates[: top + 1]) >= 0).all() and (np.diff(rates[-max(1, int(0.3 * steps)) :]) <= 0).all()
    given = TrainSettings(learning_rate=0.3, warmup=0, decay=0)
    assert {given.rate(step, steps, n_features) for step in range(1, steps + 1)} == {0.3}


@pytest.mark.parametrize(
    ("given", "rows", "steps"),
    [({}, 10, 600), ({}, 2048 * 700, 700), ({"epochs": 0.5}, 4096, 1), ({"epochs": 2}, 4097, 5), ({"steps": 3}, 10**9, 3)],
)  # fmt: skip
def test_steps_are_an_epoch_or_what_was_asked(given: dict, rows: int, steps: int) -> None:
    assert TrainSettings(**given).n_steps(rows) == steps


@pytest.mark.parametrize(
    "kind", [torch.float32, torch.float64, torch.int64, torch.int32, torch.bool, torch.uint8]
)
def test_a_checkpoint_gives_back_every_kind_of_array(kind: torch.dtype, tmp_path: Path) -> None:
    held = {
        "a": torch.arange(6).reshape(2, 3).to(kind),
        "none": torch.zeros(0, 3, dtype=kind),
        "one": torch.ones((), dtype=kind),
    }
    write_checkpoint(tmp_path, 12, held, {"reader": {"epoch": 1}, "screened": False})
    (tmp_path / "step_x.safetensors").write_bytes(b"not ours")
    step, tensors, facts = newest_checkpoint(tmp_path)
    assert (step, facts) == (12, {"reader": {"epoch": 1}, "screened": False})
    assert tensors.keys() == held.keys()
    assert all(torch.equal(tensors[n], held[n]) and tensors[n].dtype == kind for n in held)
    assert newest_checkpoint(tmp_path / "absent") is None
