"""The selection is exact: against a full sort, with ties, outliers, dead features, tiny batches, screened
or not.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciinterp.sae import sparse
from sciinterp.sae.architecture import Step
from sciinterp.sae.batchtopk import batch_topk, calibrate
from sciinterp.sae.bf16_topk import choose_encoder, encode_screened
from sciinterp.sae.parameters import Parameters
from sciinterp.sae.sparse import Workspace, encode_above, encode_topk, topk


def by_sorting(pre: np.ndarray, k: int) -> np.ndarray:
    """Features of the k largest, ties to the lowest feature number, ascending."""
    order = np.lexsort((np.broadcast_to(np.arange(pre.shape[1]), pre.shape), -pre), axis=1)
    return np.sort(order[:, :k], axis=1)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 300),
    st.integers(1, 40),
    st.sampled_from([None, 0, 1]),
    st.integers(0, 999),
)
def test_topk_equals_sorting(n, f, k, digits, seed):
    pre = np.random.default_rng(seed).normal(size=(n, f)).astype(np.float32)
    pre = pre if digits is None else np.round(pre, digits) + 0.0  # many ties
    k = min(k, f)
    values, columns = topk(torch.from_numpy(pre), k)
    assert (columns.numpy() == by_sorting(pre, k)).all()
    assert (values.numpy() == np.take_along_axis(pre, columns.numpy(), 1)).all()


def spread_out(n: int, f: int) -> np.ndarray:
    rng = np.random.default_rng(n * f)
    return rng.choice([-1, 1], (n, f)) * 10.0 ** rng.uniform(-37, 38, (n, f))


@pytest.mark.parametrize(
    ("pre", "k"),
    [
        (spread_out(5, 300).astype(np.float32), 9),  # halving never comes near the k-th
        (np.where(spread_out(5, 1024) > 0, spread_out(5, 1024), -np.inf).astype(np.float32), 32),
        (np.full((3, 512), -np.inf, np.float32), 8),
        (np.full((3, 513), 2.5, np.float32), 40),
        (np.random.default_rng(0).integers(-(2**15), 2**15, (7, 1024)).astype(np.int16), 64),
        (np.random.default_rng(0).integers(-3, 3, (7, 700)).astype(np.int16), 64),
    ],
)
def test_selection_is_exact_where_numbers_are_far_apart_infinite_or_equal(pre, k):
    values, columns = np.empty((len(pre), k), pre.dtype), np.empty((len(pre), k), np.int32)
    floor = sparse.select(pre, values, columns)
    wanted = by_sorting(pre.astype(np.float64), k)
    assert (columns == wanted).all()
    assert (values == np.take_along_axis(pre, wanted, 1)).all()
    assert (floor == values.min(1)).all()


def problem(kind: str, n: int, d: int, f: int, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g)
    w = torch.nn.functional.normalize(torch.randn(f, d, generator=g), dim=1)
    b = 0.1 * torch.randn(f, generator=g)
    if kind == "outlier channels":
        x[:, :3] *= 300
    elif kind == "ties":
        w[f // 2 :] = w[: f - f // 2]
        b[f // 2 :] = b[: f - f // 2]
    elif kind == "dead features":
        b[f // 8 :] = -50
    elif kind == "one strong bias":
        b[3] = 40
    elif kind == "near ties":
        w = torch.nn.functional.normalize(w[:1] + 1e-4 * w, dim=1)
        x = x.abs() * w[:1].sign()
        b.mul_(1e-4)
    elif kind == "zero rows":
        x[::2] = 0
        b.zero_()
    return x, w, b


KINDS = ["plain", "outlier channels", "ties", "dead features", "one strong bias", "zero rows", "near ties"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "d", "f", "k"), [(600, 64, 512, 16), (3, 40, 300, 8), (1, 8, 64, 32)])
def test_screened_equals_exact(kind, n, d, f, k):
    x, w, b = problem(kind, n, d, f)
    exact_values, exact_columns = encode_topk(x, w, b, k, Workspace())
    values, columns = encode_screened(x, w, b, k, Workspace())
    scale = float(exact_values.abs().max())
    # Tied features may be exchanged by the last bit of a dot product; what is selected has the same values.
    assert torch.allclose(values.relu().sort(1).values, exact_values.relu().sort(1).values, atol=2e-6 * scale)
    if kind not in ("ties", "zero rows", "near ties"):
        active = exact_values > 1e-5 * scale
        mine = [set(c[v > 1e-5 * scale].tolist()) for c, v in zip(columns, values)]
        assert mine == [set(c[a].tolist()) for c, a in zip(exact_columns, active)]


def test_screen_sends_doubtful_rows_to_the_dense_path():
    x, w, b = problem("near ties", 400, 64, 512)
    work = Workspace()
    encode_screened(x, w, b, 8, work)
    assert work.counts["doubtful"] == 400
    x, w, b = problem("plain", 400, 256, 512)
    work = Workspace()
    encode_screened(x, w, b, 32, work)
    assert work.counts["doubtful"] < 0.2 * work.counts["screened"]


def test_screen_is_off_where_it_does_not_pay():
    cpu = torch.device("cpu")
    assert choose_encoder("auto", cpu, 64, 256) == (encode_topk, False)
    assert choose_encoder("off", cpu, 512, 10240) == (encode_topk, False)
    assert choose_encoder("on", cpu, 64, 256) == (encode_screened, True)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(2, 60), st.integers(1, 6), st.floats(0, 5), st.integers(0, 999))
def test_batch_topk_is_the_batch_maximum_whatever_the_floor(n, f, k, cut, seed):
    torch.manual_seed(seed)
    x, w, b = torch.randn(n, 6), torch.randn(f, 6), torch.randn(f)
    k = min(k, f)
    step = Step(
        Parameters({"W_dec": (1, 1)}, unit_norm=False),
        torch.empty(0, dtype=torch.int64),
        memory={"cut": torch.tensor(cut)},
    )
    codes, _ = batch_topk(x, w, b, k, step)
    pre = torch.addmm(b, x, w.T).relu().flatten()
    wanted = min(n * k, int((pre > 0).sum()))
    assert codes.columns.numel() == wanted
    best = pre.topk(wanted).values.sort().values if wanted else pre[:0]
    assert torch.allclose(codes.values.sort().values, best, rtol=1e-5)


def test_calibrated_threshold_gives_k_on_average():
    torch.manual_seed(0)
    x, w, b = torch.randn(5000, 12), torch.randn(90, 12), torch.randn(90)
    threshold = calibrate(x, w, b, 7, Workspace())
    assert encode_above(x, w, b, threshold, Workspace()).columns.numel() == 5000 * 7


def test_crowded_codes_take_the_dense_products_to_the_same_sums():
    torch.manual_seed(1)
    x, w, b = torch.randn(50, 10), torch.randn(40, 10), torch.randn(40)
    codes = encode_above(x, w, b, 0.0, Workspace())
    assert sparse.crowded(codes, 40)
    dense = sparse.spread(codes, codes.values, 40)
    assert torch.equal(dense > 0, torch.addmm(b, x, w.T) > 0)
    g = torch.randn(50, 10)
    assert torch.allclose(sparse.decode(codes, w), dense @ w, atol=1e-5)
    assert torch.allclose(sparse.code_gradients(codes, g, w), (g @ w.T)[dense > 0], atol=1e-5)
