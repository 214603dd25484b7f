"""Thresholds and counts of weighted sets of sparse units: only positions at which a unit of the set is active are looked at.

A set of a few units among thousands is silent nearly everywhere. Its score is added up at the positions where it is not,
in one array for all sets; elsewhere it is 0, which :mod:`.dense_scores` counts without looking.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from sciinterp.association._jit import compiled
from sciinterp.association.dense_scores import BUCKETS, ascending, best_cut, descending_key
from sciinterp.association.partitions import Part


def best_thresholds_of_sets(
    values: sp.csc_array, sets: sp.csc_array, part: Part
) -> tuple[np.ndarray, np.ndarray]:
    """The threshold with the best F1 of each set, and that F1, as :func:`~.dense_scores.best_thresholds`.

    `values` lie on the positions of `part`; column ``i`` of `sets` [n_units, n_concepts], weights, predicts
    concept ``i``.
    """
    n_concepts = sets.shape[1]
    threshold, f1 = np.full(n_concepts, np.inf), np.zeros(n_concepts)
    if part.n_positions:
        _thresholds(_of(values), _of(sets), part.positive_rows, part.n_positions, threshold, f1)
    return threshold, f1


def count_sets(
    values: sp.csc_array, sets: sp.csc_array, threshold: np.ndarray, part: Part
) -> tuple[np.ndarray, np.ndarray]:
    """True positives and predictions per family, int64, as :func:`~.dense_scores.count_scores`."""
    tp = np.zeros((sets.shape[1], part.n_families), np.int64)
    predicted = np.zeros_like(tp)
    size = np.bincount(part.family, minlength=part.n_families)
    _count(_of(values), _of(sets), part.positive_rows, part.family, size, threshold, tp, predicted)
    return tp, predicted


def _of(matrix: sp.csc_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, rows and where the columns begin."""
    kinds = ((matrix.data, np.float32), (matrix.indices, np.int32), (matrix.indptr, np.int64))
    values, rows, starts = (array.astype(kind, copy=False) for array, kind in kinds)
    return values, rows, starts


@compiled
def _add_set(codes, sets, number, score, seen, touched):
    """Adds up the score of a set; gives the number of positions it is at."""
    values, rows, starts = codes
    weights, units, set_starts = sets
    n = 0
    for q in range(set_starts[number], set_starts[number + 1]):
        for at in range(starts[units[q]], starts[units[q] + 1]):
            p = rows[at]
            if seen[p] != number:
                seen[p], score[p], touched[n] = number, np.float32(0), p
                n += 1
            score[p] += weights[q] * values[at]
    return n


@compiled
def _thresholds(codes, sets, positives, n, threshold, f1):
    positive_rows, positive_starts = positives
    score, seen, touched = np.zeros(n, np.float32), np.full(n, -1, np.int32), np.empty(n, np.int64)
    bits = score.view(np.uint32)
    keys, spare = np.empty(n, np.uint32), np.empty(n, np.uint32)
    mine, other = np.empty(n, np.uint32), np.empty(n, np.uint32)
    counters = np.empty(BUCKETS, np.int64)
    for i in range(len(threshold)):
        first = positive_starts[i]
        total = positive_starts[i + 1] - first
        if total == 0:
            continue
        n_touched = _add_set(codes, sets, i, score, seen, touched)
        n_keys, n_mine = np.int64(0), np.int64(0)
        for t in range(n_touched):
            if score[touched[t]] != 0:
                keys[n_keys] = descending_key(bits[touched[t]])
                n_keys += 1
        for at in range(first, first + total):
            p = positive_rows[at]
            if seen[p] == i and score[p] != 0:
                mine[n_mine] = descending_key(bits[p])
                n_mine += 1
        ranked = ascending(keys, spare, n_keys, counters)
        gained = ascending(mine, other, n_mine, counters)
        threshold[i], f1[i] = best_cut(ranked, n_keys, gained, n_mine, n, total)


@compiled
def _count(codes, sets, positives, family, size, threshold, tp, predicted):
    positive_rows, positive_starts = positives
    n = len(family)
    score, seen, touched = np.zeros(n, np.float32), np.full(n, -1, np.int32), np.empty(n, np.int64)
    for i in range(len(threshold)):
        n_touched = _add_set(codes, sets, i, score, seen, touched)
        silent = threshold[i] < 0.0  # whether a score of 0 predicts
        if silent:
            for f in range(len(size)):
                predicted[i, f] += size[f]
        for t in range(n_touched):
            p = touched[t]
            predicted[i, family[p]] += int(score[p] > threshold[i]) - int(silent)
        for at in range(positive_starts[i], positive_starts[i + 1]):
            p = positive_rows[at]
            tp[i, family[p]] += (score[p] if seen[p] == i else np.float32(0)) > threshold[i]
