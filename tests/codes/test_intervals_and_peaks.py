"""Intervals, windows and peaks agree with the plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from sciinterp.codes import FeatureMatrix
from sciinterp.codes.active import is_active
from sciinterp.codes.by_feature import by_feature
from sciinterp.codes.intervals import covered_by, positions_in, windows
from sciinterp.codes.peaks import largest_in_groups, peaks_per_sample
from sciinterp.samples import Samples

few = settings(max_examples=60, deadline=None)
intervals = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6)), max_size=12)


@few
@given(intervals)
def test_positions_in_intervals_are_those_of_the_loop(rows):
    start, end = (np.array([f(r) for r in rows], np.int64) for f in (lambda r: r[0], lambda r: sum(r)))
    plain = [(i, p) for i, (s, e) in enumerate(zip(start, end)) for p in range(s, e)]
    assert list(zip(*(x.tolist() for x in positions_in(start, end)))) == plain


@few
@given(intervals, st.integers(1, 33))
def test_covered_positions_are_those_of_the_loop(rows, n):
    start, end = (np.array([f(r) for r in rows], np.int64) for f in (lambda r: r[0], lambda r: sum(r)))
    plain = [any(s <= p < e for s, e in zip(start, end)) for p in range(n)]
    assert covered_by(start, end, n).tolist() == plain


@few
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 4), st.integers(0, 99))
def test_windows_never_read_another_sample(lengths, reach, seed):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    n = int(offsets[-1])
    values = np.random.default_rng(seed).integers(0, 20, n).astype(np.uint8)
    sample = np.repeat(np.arange(len(lengths)), lengths)
    found = windows(values, np.arange(n), reach, offsets, beyond=20)
    assert found.shape == (n, 2 * reach + 1) and found.dtype == np.uint8
    for p in range(n):
        plain = [
            int(values[q]) if 0 <= q < n and sample[q] == sample[p] else 20
            for q in range(p - reach, p + reach + 1)
        ]
        assert found[p].tolist() == plain


@few
@given(st.integers(0, 10_000), st.integers(0, 40), st.integers(1, 5), st.integers(1, 6))
def test_peaks_are_those_of_the_loop(seed, n, n_features, n_groups):
    rng = np.random.default_rng(seed)
    dense = (rng.integers(0, 4, (n, n_features)) * (rng.random((n, n_features)) < 0.5)).astype(np.float32)
    group = rng.integers(0, n_groups, n)
    found = largest_in_groups(by_feature(sp.csr_array(dense)), group)
    plain = []
    for j in range(n_features):
        for g in range(n_groups):
            mine = np.flatnonzero((group == g) & (dense[:, j] > 0))
            if len(mine):
                at = mine[np.argmax(dense[mine, j])]
                plain.append((j, g, at, dense[at, j]))
    assert list(zip(found.feature, found.group, found.position, found.value)) == plain


@pytest.mark.parametrize("block", [1, 7, 1 << 22])
def test_peaks_do_not_depend_on_the_blocks(block, monkeypatch):
    monkeypatch.setattr("sciinterp.codes.peaks.BLOCK_VALUES", block)
    rng = np.random.default_rng(0)
    dense = (rng.random((60, 9)) * (rng.random((60, 9)) < 0.3)).astype(np.float32)
    features = FeatureMatrix(dense, Samples(["a", "b", "c"], ["A" * 10, "C" * 30, "D" * 20]))
    found, largest = peaks_per_sample(features), features.max_per_sample().toarray()
    table = np.zeros_like(largest)
    table[found.group, found.feature] = found.value
    assert (table == np.where(is_active(largest, features.largest), largest, 0)).all()
    assert (dense[found.position, found.feature] == found.value).all()
