"""One matrix, asked in blocks: in memory and on disk every answer is a slice of the same CSR."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import sciinterp as si
from sciinterp.codes import saving
from sciinterp.codes.active import ACTIVE_SHARE, active_cells, is_active, only_active
from sciinterp.codes.positions import largest, to_positions
from sciinterp.errors import InputError, ShapeError


def world(lengths, n_features: int, density: float, seed: int) -> tuple[sp.csr_array, si.Samples]:
    rng = np.random.default_rng(seed)
    dense = rng.gamma(1.0, size=(sum(lengths), n_features)) * (
        rng.random((sum(lengths), n_features)) < density
    )
    table = pd.DataFrame({"family": [f"f{i % 3}" for i in range(len(lengths))]})
    samples = si.Samples([f"s{i}" for i in range(len(lengths))], ["M" * n for n in lengths], table=table)
    return sp.csr_array(dense.astype(np.float32)), samples


worlds = st.builds(
    world,
    st.lists(st.integers(0, 9), max_size=8),
    st.integers(1, 7),
    st.sampled_from([0.0, 0.2, 1.0]),
    st.integers(0, 10**6),
)


def both(codes, samples, folder, shard: int):
    """The matrix in memory, and the same on disk in small shards."""
    held = si.FeatureMatrix(codes, samples)
    before, saving.SHARD_POSITIONS = saving.SHARD_POSITIONS, shard
    try:
        held.save(folder)
    finally:
        saving.SHARD_POSITIONS = before
    return held, si.load_features(folder)


@settings(max_examples=40, deadline=None)
@given(worlds, st.integers(1, 20), st.integers(0, 10**6))
def test_every_answer_is_a_slice_of_the_csr(tmp_path_factory, made, shard, seed):
    codes, samples = made
    dense = codes.toarray()
    rng = np.random.default_rng(seed)
    for features in both(codes, samples, tmp_path_factory.mktemp("codes") / "f", shard):
        assert (features.n_positions, features.n_features) == codes.shape
        assert features.n_stored == codes.nnz
        np.testing.assert_array_equal(features.codes.toarray(), dense)
        np.testing.assert_array_equal(features.stored_per_feature, (dense > 0).sum(0))
        np.testing.assert_array_equal(
            features.density,
            is_active(dense, dense.max(0)).mean(0) if len(dense) else np.zeros(codes.shape[1]),
        )
        np.testing.assert_array_equal(features.largest, dense.max(0, initial=0))
        lo, hi = np.sort(rng.integers(0, codes.shape[1] + 1, 2)).tolist()
        block = features.by_feature(lo, hi)
        np.testing.assert_array_equal(block.to_csc().toarray(), dense[:, lo:hi])
        for j in range(lo, hi):
            np.testing.assert_array_equal(features.column(j), dense[:, j])
        blocks = list(features.feature_blocks(5))
        assert [a for a, _ in blocks] + [codes.shape[1]] == [0] + [b for _, b in blocks]
        assert all(features.stored_per_feature[a:b].sum() <= 5 or b == a + 1 for a, b in blocks)
        numbers = rng.integers(0, max(len(samples), 1), 6) if len(samples) else np.zeros(0, int)
        rows = [np.arange(samples.offsets[i], samples.offsets[i + 1]) for i in numbers]
        wanted = dense[np.concatenate([np.zeros(0, int), *rows])]
        np.testing.assert_array_equal(features.by_sample(numbers).toarray(), wanted)
        best = np.zeros((len(samples), codes.shape[1]), np.float32)
        np.maximum.at(best, samples.position_sample(), dense)
        np.testing.assert_array_equal(features.max_per_sample().toarray(), best)


def test_the_same_codes_are_the_same_bytes_and_others_replace_them(tmp_path):
    codes, samples = world([4, 0, 3], 5, 0.5, 0)
    _, stored = both(codes, samples, tmp_path / "a", 4)
    stored.save(tmp_path / "a")
    before = (tmp_path / "a" / "manifest.json").read_bytes()
    both(codes, samples, tmp_path / "a", 4)
    assert (tmp_path / "a" / "manifest.json").read_bytes() == before
    both(codes * np.float32(2), samples, tmp_path / "a", 4)
    np.testing.assert_array_equal(si.load_features(tmp_path / "a").codes.toarray(), 2 * codes.toarray())


@pytest.mark.parametrize("where", [0, 1], ids=["memory", "disk"])
def test_subsets_frames_and_anndata(tmp_path, where):
    codes, samples = world([4, 0, 3, 2], 5, 0.6, 1)
    features, dense = both(codes, samples, tmp_path / "f", 4)[where], codes.toarray()
    mask = np.array([False, True, False, True, True])
    part = features.subset(samples=["s2", "s0"], features=mask)
    np.testing.assert_array_equal(part.codes.toarray(), dense[[4, 5, 6, 0, 1, 2, 3]][:, mask])
    assert part.samples.ids == ("s2", "s0")
    assert part.samples.table["family"].tolist() == ["f2", "f0"]
    np.testing.assert_array_equal(features.subset(samples="s3").codes.toarray(), dense[7:])
    np.testing.assert_array_equal(features.subset(samples=slice(2)).codes.toarray(), dense[:4])
    np.testing.assert_array_equal(features.subset(features=[3, 0]).codes.toarray(), dense[:, [3, 0]])
    for wrong in (
        {"samples": ["x"]},
        {"samples": [9]},
        {"features": [5]},
        {"features": [0.5]},
        {"features": [-1]},
    ):
        with pytest.raises(InputError, match="there is no such"):
            features.subset(**wrong)
    frame = features.to_frame()
    again = np.zeros_like(dense)
    row = [samples.offsets[samples.index(s)] + p for s, p in zip(frame["sample"], frame["position"])]
    again[row, frame["feature"]] = frame["activation"]
    np.testing.assert_array_equal(again, dense)
    data = features.to_anndata()
    assert data.obs["family"].tolist() == samples.table["family"].tolist()
    np.testing.assert_array_equal(data.X.toarray(), features.max_per_sample().toarray())
    assert "positions" in features._repr_html_()


def test_codes_that_are_no_codes_are_refused():
    samples = si.Samples(["a"], ["MK"])
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="finite and non-negative"):
            si.FeatureMatrix(sp.csr_array([[bad], [0]]), samples)
    with pytest.raises(ShapeError, match="do not fit the samples"):
        si.FeatureMatrix(sp.csr_array((3, 1)), samples)
    twice = sp.csr_array((np.array([1.0, 2.0]), np.array([0, 0]), np.array([0, 2, 2])), shape=(2, 1))
    assert si.FeatureMatrix(twice, samples).column(0).tolist() == [3.0, 0.0]


spans = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), max_size=9)


@settings(max_examples=100, deadline=None)
@given(spans, st.integers(0, 10**6))
def test_a_position_takes_the_largest_code_of_its_tokens(given_spans, seed):
    start = np.array([a for a, _ in given_spans], int)
    end = start + np.array([w for _, w in given_spans], int)
    n = int(end.max(initial=0)) + 1
    tokens = np.random.default_rng(seed).gamma(1.0, size=(len(start), 3)).astype(np.float32).round(1)
    wanted = np.zeros((n, 3), np.float32)
    for a, b, row in zip(start, end, tokens):
        wanted[a:b] = np.maximum(wanted[a:b], row)
    np.testing.assert_array_equal(to_positions(sp.csr_array(tokens), start, end, n).toarray(), wanted)
    if len(start):
        with pytest.raises(ShapeError, match="leaves the positions"):
            to_positions(sp.csr_array(tokens), start, end, int(end.max()) - 1)
    group = start % 2
    best = np.zeros((2, 3), np.float32)
    np.maximum.at(best, group, tokens)
    np.testing.assert_array_equal(largest(sp.csr_array(tokens), group, 2).toarray(), best)


@settings(max_examples=30, deadline=None)
@given(st.floats(2**-20, 2**20, width=32), st.floats(0, 0.9))
def test_active_does_not_depend_on_a_features_scale(scale, share):
    values = np.linspace(0, 1, 33, dtype=np.float32)
    factor = np.float32(2.0 ** np.round(np.log2(scale)))
    np.testing.assert_array_equal(is_active(values, 1.0, share), is_active(values * factor, factor, share))
    assert not is_active(np.zeros(3, np.float32), 1.0, share).any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_leaks_below_the_share_change_nothing_that_says_active(seed):
    rng = np.random.default_rng(seed)
    clean = ((0.3 + rng.random((40, 6))) * (rng.random((40, 6)) < 0.3)).astype(np.float32)
    leak = 0.99 * ACTIVE_SHARE * clean.max(0) * rng.random(clean.shape, np.float32)
    leaky = np.where(clean > 0, clean, leak).astype(np.float32)
    samples = si.Samples(["a", "b"], ["A" * 15, "C" * 25])
    one, two = si.FeatureMatrix(clean, samples), si.FeatureMatrix(leaky, samples)
    np.testing.assert_array_equal(one.density, two.density)
    np.testing.assert_array_equal(only_active(two.by_feature()).to_csc().toarray(), clean)
    np.testing.assert_array_equal(active_cells(two.codes, two.largest).toarray(), clean > 0)
    for name in ("feature", "group", "position", "value"):
        np.testing.assert_array_equal(getattr(one.peaks(), name), getattr(two.peaks(), name))
