"""The loop of :func:`count_overlaps`: one pass over the stored codes, all thresholds and instances at once.

What lies at a position is one list: how many concepts, those concepts, then the instances that cover it. A
code looks up one list, and the counts of its feature are a small table that stays in the fastest cache.
"""

from __future__ import annotations

import numpy as np

from sciinterp.association._jit import compiled


@compiled
def lists_of_positions(row_starts, row_concepts, begin, end):
    """Concepts and instances by position (counting sort).

    Returns
    -------
    starts : int64 [n_positions + 1]
    lists : int32
        ``lists[starts[r]:starts[r + 1]]`` is empty, or the number of concepts at ``r``, those concepts, and
        the numbers of the intervals ``begin[i] <= r < end[i]``.
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
