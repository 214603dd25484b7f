"""count_overlaps against a reference of three nested loops, and the laws its counts obey."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from sciinterp.association import count_overlaps
from sciinterp.association.kernel import count
from sciinterp.errors import InputError, ShapeError

# Few distinct values, so that codes tie with thresholds and with each other.
VALUES = [0.0, 0.5, 1.0, 1.5, 2.0]


@st.composite
def cases(draw):
    n, n_features, n_concepts = draw(st.integers(1, 12)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    row, column = np.nonzero(rng.random((n, n_features)) < draw(st.sampled_from([0.0, 0.2, 0.6, 1.0])))
    value = rng.choice(VALUES, len(row)).astype(np.float32)  # zeros among the stored
    codes = sp.csr_array((value, (row, column)), shape=(n, n_features))
    positives = sp.csr_array(rng.random((n, n_concepts)) < draw(st.sampled_from([0.0, 0.3, 1.0])))
    n_thresholds = draw(st.integers(1, 4))
    shape = (n_features, n_thresholds) if draw(st.booleans()) else (n_thresholds,)
    thresholds = rng.choice([-1.0, *VALUES, 0.7], shape).astype(np.float32)  # any order, repeats, ties
    ends = np.sort(rng.integers(0, n + 1, (draw(st.integers(0, 6)), 2)), axis=1)  # some empty
    if len(ends) > 2:
        ends[1] = ends[0]  # the same interval twice
        ends[2, 0] = ends[2, 1] = ends[0, 1]  # touching, empty
    table = {"concept": rng.integers(0, n_concepts, len(ends)), "start": ends[:, 0], "end": ends[:, 1]}
    return codes, positives, thresholds, pd.DataFrame(table)


def brute_force(codes, positives, thresholds, instances):
    dense, truth = codes.toarray(), positives.toarray()
    table = thresholds if thresholds.ndim == 2 else np.tile(thresholds, (dense.shape[1], 1))
    shape = (dense.shape[1], truth.shape[1], table.shape[1])
    tp, hit = np.zeros(shape, int), np.zeros(shape, int)
    predicted = np.zeros((shape[0], shape[2]), int)
    for f in range(shape[0]):
        for t in range(shape[2]):
            on = dense[:, f] > table[f, t]
            predicted[f, t] = on.sum()
            for c in range(shape[1]):
                tp[f, c, t] = (on & truth[:, c]).sum()
                mine = instances[instances["concept"] == c]
                hit[f, c, t] = sum(on[a:b].any() for a, b in zip(mine["start"], mine["end"]))
    return (
        tp,
        predicted,
        truth.sum(axis=0),
        hit,
        np.bincount(instances["concept"].astype(int), minlength=shape[1]),
    )


def assert_equal_counts(counts, expected):
    for name, value in zip(["tp", "predicted", "n_positive", "instances_hit", "n_instances"], expected):
        np.testing.assert_array_equal(getattr(counts, name), value, err_msg=name)


@settings(max_examples=400, deadline=None)
@given(cases())
def test_counts_equal_brute_force(case):
    codes, positives, thresholds, instances = case
    assert_equal_counts(
        count_overlaps(codes, positives, thresholds=thresholds, instances=instances), brute_force(*case)
    )


@settings(max_examples=150, deadline=None)
@given(cases())
def test_without_instances_and_sparse_form_hold_the_same_counts(case):
    codes, positives, thresholds, instances = case
    full = count_overlaps(codes, positives, thresholds=thresholds, instances=instances)
    plain = count_overlaps(codes, positives, thresholds=thresholds)
    np.testing.assert_array_equal(plain.tp, full.tp)
    assert plain.instances_hit is None
    assert plain.n_instances is None
    sparse = count(codes, positives, thresholds=thresholds, instances=instances, memory_budget=0)
    assert sparse.is_sparse
    np.testing.assert_array_equal(np.stack([part.toarray() for part in sparse.tp], axis=2), full.tp)
    np.testing.assert_array_equal(
        np.stack([part.toarray() for part in sparse.instances_hit], axis=2), full.instances_hit
    )


@settings(max_examples=150, deadline=None)
@given(cases(), st.integers(0, 12))
def test_counts_of_shards_add_up(case, cut):
    codes, positives, thresholds, instances = case
    cut = min(cut, codes.shape[0])
    whole = instances[(instances["end"] <= cut) | (instances["start"] >= cut)]
    first = whole[whole["end"] <= cut]
    second = whole[whole["end"] > cut].assign(start=lambda t: t["start"] - cut, end=lambda t: t["end"] - cut)
    left = count_overlaps(codes[:cut], positives[:cut], thresholds=thresholds, instances=first)
    right = count_overlaps(codes[cut:], positives[cut:], thresholds=thresholds, instances=second)
    assert_equal_counts(left + right, brute_force(codes, positives, thresholds, whole))


def test_the_public_entry_is_the_agreed_one():
    parameters = inspect.signature(count_overlaps).parameters
    assert list(parameters) == ["codes", "positives", "thresholds", "instances"]
    assert parameters["thresholds"].kind is parameters["instances"].kind is inspect.Parameter.KEYWORD_ONLY
    assert parameters["instances"].default is None


def test_the_number_of_instances_covering_a_position_does_not_matter():
    codes = sp.csr_array(np.array([[0], [3], [0], [1]], np.float32))
    positives = sp.csr_array(np.ones((4, 1), bool))
    nested = pd.DataFrame({"concept": [0, 0, 0, 0], "start": [0, 1, 1, 2], "end": [4, 2, 1, 4]})
    counts = count_overlaps(codes, positives, thresholds=np.array([0, 2], np.float32), instances=nested)
    assert counts.instances_hit[0, 0].tolist() == [3, 2]
    assert counts.n_instances.tolist() == [4]


def test_many_sparse_blocks(monkeypatch):
    monkeypatch.setattr("sciinterp.association.kernel.BLOCK_BYTES", 64)
    rng = np.random.default_rng(0)
    codes = sp.random_array((200, 37), density=0.1, dtype=np.float32, rng=rng).tocsr()
    positives = sp.csr_array(rng.random((200, 5)) < 0.2)
    thresholds = np.array([0.2, 0.6], np.float32)
    full = count_overlaps(codes, positives, thresholds=thresholds)
    monkeypatch.setattr("sciinterp.association.kernel.MEMORY_BUDGET", 0)
    sparse = count_overlaps(codes, positives, thresholds=thresholds)
    np.testing.assert_array_equal(np.stack([part.toarray() for part in sparse.tp], axis=2), full.tp)
    total = sparse + full
    np.testing.assert_array_equal(total.tp[1].toarray(), 2 * full.tp[:, :, 1])


CODES = sp.csr_array(np.eye(3, dtype=np.float32))
POSITIVES = sp.csr_array(np.eye(3, dtype=bool))


@pytest.mark.parametrize(
    ("codes", "positives", "thresholds", "instances", "error", "words"),
    [
        (-1 * CODES, POSITIVES, [0], None, InputError, "values >= 0"),
        (CODES * np.nan, POSITIVES, [0], None, InputError, "NaN"),
        (CODES, POSITIVES[:2], [0], None, ShapeError, "3 rows"),
        (CODES, POSITIVES, [[0], [1]], None, ShapeError, "n_thresholds"),
        (CODES, POSITIVES, [np.nan], None, InputError, "NaN"),
        (CODES, POSITIVES, [0], {"concept": [3], "start": [0], "end": [1]}, InputError, "instance 0"),
        (
            CODES,
            POSITIVES,
            [0],
            {"concept": [0, 0], "start": [0, 2], "end": [1, 4]},
            InputError,
            "instance 1",
        ),
    ],
)
def test_what_cannot_be_counted_is_refused(codes, positives, thresholds, instances, error, words):
    table = None if instances is None else pd.DataFrame(instances)
    with pytest.raises(error, match=words):
        count_overlaps(
            sp.csr_array(codes), positives, thresholds=np.array(thresholds, np.float32), instances=table
        )


def test_inputs_are_left_as_they_were():
    codes = sp.csr_array(
        (np.array([1, 2, 0], np.float32), np.array([1, 0, 0]), np.array([0, 2, 3])), shape=(2, 2)
    )
    positives = sp.csr_array((np.array([False, True]), np.array([1, 0]), np.array([0, 1, 2])), shape=(2, 2))
    before = [a.copy() for m in (codes, positives) for a in (m.data, m.indices, m.indptr)]
    count_overlaps(codes, positives, thresholds=np.array([0], np.float32))
    for a, b in zip(before, [a for m in (codes, positives) for a in (m.data, m.indices, m.indptr)]):
        np.testing.assert_array_equal(a, b)
