"""Exact overlap counts of every feature with every concept, at all thresholds in one pass.

A position is predicted by a feature at a threshold when its code is strictly greater. For every stored code
the number of thresholds below it is found once; it is then counted in that bin for each concept of its
position, and a reversed cumulative sum over bins gives the true positives of every threshold. False
positives never need to be looked at: they are ``predicted - tp``. An instance (one annotated interval) is
hit at a threshold when the largest code inside it is; instances of one concept may overlap, nest and touch,
and each counts.

What lies at a position is one list: how many concepts, those concepts, then the instances that cover it. A
code looks up one list, and the counts of its feature are a small table that stays in the fastest cache.

All results are integers: counts over disjoint shards of whole samples add up to the counts of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Int64

from sciinterp.association._jit import compiled
from sciinterp.association.by_position import ByPosition, by_position, threshold_table
from sciinterp.budget import BLOCK_BYTES
from sciinterp.codes.by_feature import ByFeature, by_feature
from sciinterp.errors import InputError, ShapeError

# Dense results above this many bytes are returned sparse: half of what a laptop of 4 GB can spare.
MEMORY_BUDGET = 2 << 30

PairCounts: TypeAlias = "np.ndarray | tuple[sp.csr_array, ...]"


@dataclass(frozen=True, eq=False)
class Counts:
    """Integer counts of features against concepts at thresholds."""

    # Positions predicted and positive, int64 [n_features, n_concepts, n_thresholds]. Past the memory budget: a csr
    # array [n_features, n_concepts] a threshold, of the cells that are not zero.
    tp: PairCounts
    predicted: Int64[np.ndarray, "n_features n_thresholds"]
    n_positive: Int64[np.ndarray, " n_concepts"]
    n_positions: int
    instances_hit: PairCounts | None = None  # none without instances
    n_instances: Int64[np.ndarray, " n_concepts"] | None = None

    @property
    def is_sparse(self) -> bool:
        """Whether `tp` and `instances_hit` are tuples of csr arrays, one per threshold."""
        return isinstance(self.tp, tuple)

    def __add__(self, other: Counts) -> Counts:
        """Counts of two disjoint shards together."""
        if not isinstance(other, Counts):
            return NotImplemented
        same = (
            self.predicted.shape == other.predicted.shape and self.n_positive.shape == other.n_positive.shape
        )
        if not same or (self.instances_hit is None) != (other.instances_hit is None):
            raise ShapeError("counts of different features, concepts or thresholds cannot be added")
        none = self.instances_hit is None or other.instances_hit is None
        return Counts(
            _add(self.tp, other.tp),
            self.predicted + other.predicted,
            self.n_positive + other.n_positive,
            self.n_positions + other.n_positions,
            None if none else _add(self.instances_hit, other.instances_hit),  # type: ignore[arg-type]
            None if none else self.n_instances + other.n_instances,  # type: ignore[operator]
        )


def count_overlaps(
    codes: sp.csr_array | ByFeature,
    positives: sp.csr_array | ByPosition,
    *,
    thresholds: np.ndarray,
    instances: pd.DataFrame | None = None,
) -> Counts:
    """Count, for every feature, concept and threshold, the positions predicted and positive.

    Parameters
    ----------
    codes : csr_array float32 [n_positions, n_features]
        Non-negative; explicit zeros allowed.
    positives : csr_array bool [n_positions, n_concepts]
    thresholds : float32 [n_thresholds] or [n_features, n_thresholds]
        In any order; a position is predicted when its code is strictly greater. A negative threshold
        predicts every position.
    instances : table with columns ``concept`` (column of `positives`), ``start``, ``end``, optional
        Half-open intervals on the concatenated axis; overlaps allowed; an empty one is never hit.

    Returns
    -------
    Counts
        Dense, or in its sparse form where the dense one would pass :data:`MEMORY_BUDGET` bytes (2 GiB).

    Raises
    ------
    ShapeError, InputError
        Shapes that do not agree; negative or NaN codes; instances out of range.

    Examples
    --------
    >>> codes = sp.csr_array(np.array([[0, 2], [1, 2], [3, 0]], dtype=np.float32))
    >>> concept = sp.csr_array(np.array([[1], [1], [0]], dtype=bool))
    >>> counts = count_overlaps(codes, concept, thresholds=np.array([0, 1], dtype=np.float32))
    >>> counts.tp[:, 0].tolist(), counts.predicted.tolist()
    ([[1, 0], [2, 2]], [[2, 1], [2, 2]])
    """
    return count(codes, positives, thresholds=thresholds, instances=instances, memory_budget=MEMORY_BUDGET)


def count(
    codes: sp.csr_array | ByFeature,
    positives: sp.csr_array | ByPosition,
    *,
    thresholds: np.ndarray,
    instances: pd.DataFrame | None,
    memory_budget: float,
) -> Counts:
    """As :func:`count_overlaps`, sparse past a budget of the caller's."""
    features = by_feature(codes)
    concepts = by_position(positives, features.n_positions)
    table, order = threshold_table(thresholds, features.n_features)
    index = _index(instances, concepts)
    cells = features.n_features * concepts.n_concepts * table.shape[1]
    arrays = 1 if instances is None else 2
    sparse = cells * 8 * arrays > memory_budget
    n_block = max(1, features.n_features)
    if sparse:
        n_block = max(1, BLOCK_BYTES // max(1, concepts.n_concepts * table.shape[1] * 8))
    predicted = np.zeros((features.n_features, table.shape[1]), np.int64)
    blocks: list[tuple[PairCounts, PairCounts | None]] = []
    for low in range(0, max(1, features.n_features), n_block):
        high = min(low + n_block, features.n_features)
        tp, hit = _count_block(features, concepts, index, table, order, low, high, predicted)
        if sparse:
            tp, hit = _sparse(tp), None if hit is None else _sparse(hit)
        blocks.append((tp, hit))
    tp, hit = blocks[0]
    if sparse:
        tp = _stack([block[0] for block in blocks])
        hit = None if hit is None else _stack([block[1] for block in blocks])
    has = instances is not None
    return Counts(
        tp,
        predicted,
        concepts.n_positive,
        features.n_positions,
        hit if has else None,
        index.n_instances if has else None,
    )


def _count_block(features, concepts, index, table, order, low, high, predicted):
    """Dense counts of the features low..high, thresholds in the caller's order; fills `predicted`."""
    n_concepts, n_thresholds = concepts.n_concepts, table.shape[1]
    tp = np.zeros((high - low, n_concepts, n_thresholds), np.int64)
    hit = np.zeros((high - low, n_concepts, n_thresholds) if index.given else (0, 0, 0), np.int64)
    codes, there = (features.values, features.rows, features.starts), (index.starts, index.lists)
    _count_features(codes, there, index.concept, table, low, tp, hit, predicted)
    everywhere = table[low:high] < 0  # a zero that is not stored is greater than these
    if everywhere.any():
        feature, column = np.nonzero(everywhere)
        tp[feature, :, column] = concepts.n_positive
        predicted[low + feature, column] = features.n_positions
        if index.given:
            hit[feature, :, column] = index.n_not_empty
    if not (order[low:high] == np.arange(n_thresholds)).all():
        back = np.argsort(order[low:high], axis=1)
        tp = np.take_along_axis(tp, back[:, None, :], axis=2)
        predicted[low:high] = np.take_along_axis(predicted[low:high], back, axis=1)
        hit = np.take_along_axis(hit, back[:, None, :], axis=2) if index.given else hit
    return tp, hit if index.given else None


@dataclass(frozen=True, eq=False)
class _Index:
    """What lies at each position, and the instances' concepts."""

    given: bool
    starts: np.ndarray
    lists: np.ndarray
    concept: np.ndarray
    n_instances: np.ndarray
    n_not_empty: np.ndarray


def _index(instances: pd.DataFrame | None, concepts: ByPosition) -> _Index:
    n_positions, n_concepts = concepts.n_positions, concepts.n_concepts
    given = instances is not None
    columns = ("concept", "start", "end")
    concept, start, end = (
        np.asarray([] if instances is None else instances[c], dtype=np.int64) for c in columns
    )
    bad = (start < 0) | (end < start) | (end > n_positions) | (concept < 0) | (concept >= n_concepts)
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"instance {i} is out of range",
            where="argument 'instances'",
            expected=f"0 <= start <= end <= {n_positions} and 0 <= concept < {n_concepts}",
            got=f"start={start[i]}, end={end[i]}, concept={concept[i]}",
        )
    order = np.argsort(start, kind="stable")  # neighbours on the sequence are neighbours in memory
    concept, start, end = concept[order], start[order], end[order]
    starts, lists = _lists_of_positions(concepts.starts, concepts.concepts, start, end)
    if starts[-1] < 2**31:
        starts = starts.astype(np.int32)
    n_all = np.bincount(concept, minlength=n_concepts).astype(np.int64)
    n_not_empty = np.bincount(concept[end > start], minlength=n_concepts).astype(np.int64)
    return _Index(given, starts, lists, concept, n_all, n_not_empty)


def _sparse(dense: np.ndarray) -> tuple[sp.csr_array, ...]:
    return tuple(sp.csr_array(dense[:, :, t]) for t in range(dense.shape[2]))


def _stack(blocks: list) -> tuple[sp.csr_array, ...]:
    return tuple(sp.vstack(parts, format="csr") for parts in zip(*blocks))


def _add(left: PairCounts, right: PairCounts) -> PairCounts:
    if isinstance(left, tuple) or isinstance(right, tuple):
        left = left if isinstance(left, tuple) else _sparse(left)
        right = right if isinstance(right, tuple) else _sparse(right)
        return tuple(sp.csr_array(a + b) for a, b in zip(left, right))
    return left + right


@compiled
def _lists_of_positions(row_starts, row_concepts, begin, end):
    """Concepts and instances by position (counting sort).

    ``lists[starts[r]:starts[r + 1]]`` is empty, or the number of concepts at ``r``, those concepts, and the
    numbers of the intervals ``begin[i] <= r < end[i]``.
    """
    n = len(row_starts) - 1
    starts = np.zeros(n + 1, np.int64)
    for i in range(len(begin)):
        for row in range(begin[i], end[i]):
            starts[row + 1] += 1
    for row in range(n):
        here = starts[row + 1] + row_starts[row + 1] - row_starts[row]
        starts[row + 1] = starts[row] + (here + 1 if here > 0 else 0)
    lists = np.empty(starts[-1], np.int32)
    fill = starts[:-1].copy()
    for row in range(n):
        if starts[row + 1] > starts[row]:
            lists[fill[row]] = row_starts[row + 1] - row_starts[row]
            fill[row] += 1
            for p in range(row_starts[row], row_starts[row + 1]):
                lists[fill[row]] = row_concepts[p]
                fill[row] += 1
    for i in range(len(begin)):
        for row in range(begin[i], end[i]):
            lists[fill[row]] = i
            fill[row] += 1
    return starts, lists


@compiled
def _count_features(codes, there, instance_concept, table, low, tp, hit, predicted):
    """Count the features from `low`, as many as `tp` has rows; `hit` has none without instances.

    An instance stands in the bin of the largest code seen in it so far; ``best`` holds that bin, counted on
    from a base that grows with every feature, so that it never needs to be cleared.
    """
    values, rows, starts = codes
    list_starts, lists = there
    n_features, n_concepts, n_thresholds = tp.shape
    with_instances = len(hit) > 0
    cells = np.zeros((n_concepts, n_thresholds), np.int32)
    hits = np.zeros((n_concepts, n_thresholds), np.int32)
    best = np.zeros(len(instance_concept), np.int64)
    for out in range(n_features):
        feature = low + out
        base = (out + 1) * (n_thresholds + 1)
        for j in range(starts[feature], starts[feature + 1]):
            above = 0
            while above < n_thresholds and values[j] > table[feature, above]:
                above += 1
            if above == 0:
                continue
            predicted[feature, above - 1] += 1
            first, last = list_starts[rows[j]], list_starts[rows[j] + 1]
            if first == last:
                continue
            middle = first + 1 + lists[first]
            for p in range(first + 1, middle):
                cells[lists[p], above - 1] += 1
            for p in range(middle, last):
                instance = lists[p]
                before = best[instance] - base
                if before < above:
                    best[instance] = base + above
                    hits[instance_concept[instance], above - 1] += 1
                    if before > 0:
                        hits[instance_concept[instance], before - 1] -= 1
        _flush(cells, tp[out])
        if with_instances:
            _flush(hits, hit[out])
        for t in range(n_thresholds - 2, -1, -1):
            predicted[feature, t] += predicted[feature, t + 1]


@compiled
def _flush(bins, out):
    """Counts per bin into counts at or above each bin; the bins are cleared."""
    for concept in range(bins.shape[0]):
        total = 0
        for t in range(bins.shape[1] - 1, -1, -1):
            total += bins[concept, t]
            bins[concept, t] = 0
            out[concept, t] = total
