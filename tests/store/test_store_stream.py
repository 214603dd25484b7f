"""Shuffled streams: every row once an epoch, exact resume, sequential reads, bounded memory."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import LENGTHS, build

from sciinterp.errors import MismatchError, ShapeError
from sciinterp.store import stream as module
from sciinterp.store.reader import Reader
from sciinterp.store.stream import ArraySource, stream_rows


class Watched(ArraySource):
    """Remembers what was read and how many bytes one read took."""

    def __init__(self, array):
        super().__init__(array)
        self.reads = []

    def read_stored(self, lo, hi):
        self.reads.append((lo, hi))
        return super().read_stored(lo, hi)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 4)
    monkeypatch.setattr(module, "POOL", 16)
    monkeypatch.setattr(module, "GAP", 2)


cases = st.tuples(
    st.integers(1, 70),  # rows of the source
    st.integers(1, 23),  # batch size
    st.integers(0, 2**31),  # seed
    st.integers(0, 40),  # batches before the interruption
    st.none() | st.lists(st.integers(0, 69), min_size=1, max_size=60),  # rows chosen
)


@settings(max_examples=150, deadline=None)
@given(cases)
def test_resume_is_exact(case):
    n, batch, seed, before, chosen = case
    rows = None if chosen is None else np.array([r % n for r in chosen])
    array = np.arange(n, dtype=np.float64)[:, None] * [1, 2]
    first = stream_rows(array, rows, batch_size=batch, seed=seed)
    for _ in range(before):
        next(first)
    state = json.loads(json.dumps(first.state))
    second = stream_rows(array, rows, batch_size=batch, seed=seed, state=state)
    for _ in range(5):
        x, y = next(first), next(second)
        assert x.dtype == np.float32
        assert x.shape == (batch, 2)
        np.testing.assert_array_equal(x, y)
    assert first.state == second.state


@settings(max_examples=150, deadline=None)
@given(cases)
def test_every_row_once_an_epoch_in_a_new_order(case):
    n, _, seed, _, chosen = case
    rows = np.arange(n) if chosen is None else np.array([r % n for r in chosen])
    stream = stream_rows(np.arange(n)[:, None], rows, batch_size=len(rows), seed=seed)
    epochs = [next(stream).ravel() for _ in range(3)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == sorted(rows.tolist())
    if len(set(rows.tolist())) > 12:
        assert not np.array_equal(epochs[0], epochs[1])


def test_store_and_array_give_the_same_batches(tmp_path):
    build(tmp_path / "s", dtype="bfloat16")
    reader = Reader(tmp_path / "s")
    array = reader.widen(reader.read_stored(0, reader.n))
    for rows in (None, np.array([14, 0, 3, 3])):
        a, b = stream_rows(reader, rows, batch_size=7, seed=3), stream_rows(array, rows, batch_size=7, seed=3)
        for _ in range(6):
            np.testing.assert_array_equal(next(a), next(b))
    assert reader.n == sum(LENGTHS)


def test_reads_are_sequential_within_a_pool_and_bounded():
    source = Watched(np.arange(400.0)[:, None])
    stream = stream_rows(source, batch_size=16, seed=0)
    for _ in range(25):
        seen = len(source.reads)
        next(stream)
        new = source.reads[seen:]
        assert new == sorted(new)
        assert sum(hi - lo for lo, hi in new) <= 16
    assert sum(hi - lo for lo, hi in source.reads) == 400
    assert sorted(source.reads) == [(i, i + 4) for i in range(0, 400, 4)]


def test_rows_far_apart_are_not_read_over():
    source = Watched(np.arange(1000.0)[:, None])
    rows = np.array([0, 1, 500, 501, 502, 999])
    stream = stream_rows(source, rows, batch_size=6)
    assert sorted(next(stream).ravel()) == rows.tolist()
    assert sum(hi - lo for lo, hi in source.reads) == 6


def test_a_small_source_is_read_once_for_all_epochs():
    source = Watched(np.arange(16.0)[:, None])
    stream = stream_rows(source, batch_size=16)
    for _ in range(4):
        next(stream)
    assert sum(hi - lo for lo, hi in source.reads) == 16


def test_batches_mix_rows_from_everywhere(monkeypatch):
    monkeypatch.undo()
    n = 200_000
    batch = next(stream_rows(np.arange(n, dtype=np.float32)[:, None], batch_size=2048, seed=1)).ravel()
    counts, _ = np.histogram(batch, bins=16, range=(0, n))
    assert counts.min() > 2048 / 16 * 0.6


def test_wrong_states_and_rows_are_refused():
    array = np.zeros((20, 2), np.float32)
    state = stream_rows(array, batch_size=4, seed=1).state
    for change in ({"seed": 2}, {"batch_size": 5}, {"rows": np.arange(19)}):
        arguments = {"batch_size": 4, "seed": 1, **change}
        rows = arguments.pop("rows", None)
        with pytest.raises(MismatchError, match="another stream"):
            stream_rows(array, rows, **arguments, state=state)
    with pytest.raises(ShapeError, match="outside"):
        stream_rows(array, np.array([20]))
    with pytest.raises(ShapeError, match="nothing to stream"):
        stream_rows(array, np.array([], int))
    with pytest.raises(ShapeError, match="must be a matrix"):
        stream_rows(np.zeros(3))
