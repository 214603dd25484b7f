"""Thresholds and counts of dense scores, and the best of many dense units for each concept.

A score is signed, one a position, many concepts in one call. The F1 of ``score > t`` can only rise where a positive is
gained, so the best threshold follows from two sorted lists, all scores and those of the positives, walked side by side.
Both are sorted by radix: bits of floats, flipped so that they ascend as the scores descend, in passes of eleven bits. Scores
of 0 are counted and not sorted: they are nearly all where units are sparse.

A raw unit (a neuron, a component, the share of a letter) is read high and low, since its sign carries no meaning. Units come
some at a time from a callable, so that all of them need never lie in memory at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import starmap

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from sciinterp.association._jit import compiled
from sciinterp.association.partitions import Part
from sciinterp.budget import SCORE_BYTES, ranges

_BITS = 11
BUCKETS = 1 << _BITS


def best_thresholds(
    scores: Float32[np.ndarray, "n_concepts n_positions"], part: Part, first: int = 0
) -> tuple[Float64[np.ndarray, " n_concepts"], Float64[np.ndarray, " n_concepts"]]:
    """The threshold with the best F1 for each of some concepts, and that F1.

    Infinite and 0 for a concept without positives. Row ``i`` of the scores, none of which is NaN, predicts
    concept ``first + i`` on the positions of `part`. Ties of scores are kept together; the threshold lies
    midway to the next lower score, and below all scores where predicting everything is best.
    """
    return thresholds_of(scores, part, np.arange(first, first + len(scores)))


def thresholds_of(
    scores: Float32[np.ndarray, "n_rows n_positions"], part: Part, concept: Int64[np.ndarray, " n_rows"]
) -> tuple[Float64[np.ndarray, " n_rows"], Float64[np.ndarray, " n_rows"]]:
    """As :func:`best_thresholds`, where row ``i`` predicts ``concept[i]``."""
    threshold, f1 = np.full(len(scores), np.inf), np.zeros(len(scores))
    bits = (np.ascontiguousarray(scores, np.float32) + np.float32(0)).view(np.uint32)  # -0 ties with 0
    _thresholds(bits, *part.positive_rows, np.asarray(concept, np.int64), threshold, f1)
    return threshold, f1


def count_scores(
    scores: Float32[np.ndarray, "n_concepts n_positions"],
    threshold: Float64[np.ndarray, " n_concepts"],
    part: Part,
    first: int = 0,
) -> tuple[Int32[np.ndarray, "n_concepts n_families"], Int32[np.ndarray, "n_concepts n_families"]]:
    """True positives and predictions per family, predicted where a score is above its threshold.

    Row ``i`` predicts concept ``first + i`` on the positions of `part`.
    """
    tp = np.zeros((len(scores), part.n_families), np.int32)
    predicted = np.zeros_like(tp)
    scores, threshold = np.ascontiguousarray(scores, np.float32), np.asarray(threshold, np.float64)
    _count(scores, threshold, part.family, *part.positive_rows, first, tp, predicted)
    return tp, predicted


@compiled
def _thresholds(bits, positive_rows, positive_starts, concept, threshold, f1):
    n = bits.shape[1]
    keys, spare = np.empty(n, np.uint32), np.empty(n, np.uint32)
    mine, other = np.empty(n, np.uint32), np.empty(n, np.uint32)
    counters = np.empty(BUCKETS, np.int64)
    for i in range(bits.shape[0]):
        start = positive_starts[concept[i]]
        total = positive_starts[concept[i] + 1] - start
        if total == 0 or n == 0:
            continue
        n_keys, n_mine = np.int64(0), np.int64(0)  # as literals they would have loops of their own compiled
        for p in range(n):
            if bits[i, p] != 0:
                keys[n_keys] = descending_key(bits[i, p])
                n_keys += 1
        for p in range(total):
            if bits[i, positive_rows[start + p]] != 0:
                mine[n_mine] = descending_key(bits[i, positive_rows[start + p]])
                n_mine += 1
        ranked = ascending(keys, spare, n_keys, counters)
        gained = ascending(mine, other, n_mine, counters)
        threshold[i], f1[i] = best_cut(ranked, n_keys, gained, n_mine, n, total)


@compiled
def best_cut(ranked, n_ranked, gained, n_gained, n, total):
    """Threshold and F1 of the best cut of `n` scores, `total` of them of positives.

    Those that are not 0 are given, as ascending keys: the first `n_ranked` of all, the first `n_gained` of positives.
    """
    zero = descending_key(np.uint32(0))
    zeros, zeros_gained = n - n_ranked, total - n_gained
    k, tp, best_k, best_tp = 0, 0, 0, 0
    at, best_at, best_key = 0, 0, np.uint32(0)  # `at`: of gained, `k`: of ranked, without zeros
    before = True  # the zeros are still to come
    while tp < total:
        if before and zeros_gained > 0 and (at >= n_gained or gained[at] > zero):
            key = zero
        else:
            key = gained[at]
        while at < n_gained and gained[at] == key:
            at += 1
        while k < n_ranked and ranked[k] <= key:
            k += 1
        before = key < zero
        tp, above = (at, k) if before else (at + zeros_gained, k + zeros)
        if tp * (best_k + total) > best_tp * (above + total):
            best_k, best_tp, best_key, best_at = above, tp, key, k
    pair = np.zeros(2, np.uint32)
    pair[0] = _bits_of(best_key)
    if best_key < zero and zeros > 0 and (best_at >= n_ranked or ranked[best_at] > zero):
        pair[1] = np.uint32(0)
    elif best_k < n:
        pair[1] = _bits_of(ranked[best_at])
    values = pair.view(np.float32)
    kept = np.float64(values[0])
    below = np.float64(values[1]) if best_k < n else kept - 1.0
    middle = 0.5 * (kept + below)
    return (middle if below <= middle < kept else below), 2.0 * best_tp / (best_k + total)


@compiled
def descending_key(bits):
    """A number that ascends as the float with these bits descends."""
    if bits & np.uint32(0x80000000):
        return bits
    return np.uint32(~bits) & np.uint32(0x7FFFFFFF)


@compiled
def _bits_of(key):
    """The inverse of :func:`descending_key`."""
    if key & np.uint32(0x80000000):
        return key
    return np.uint32(~key) & np.uint32(0x7FFFFFFF)


@compiled
def ascending(keys, spare, n, counters):
    """The first `n` of `keys` sorted; the result is one of the two arrays."""
    source, target = keys, spare
    for shift in range(0, 32, _BITS):
        for b in range(BUCKETS):
            counters[b] = 0
        for i in range(n):
            counters[(source[i] >> np.uint32(shift)) & np.uint32(BUCKETS - 1)] += 1
        if counters[(source[0] >> np.uint32(shift)) & np.uint32(BUCKETS - 1)] == n:
            continue
        total = 0
        for b in range(BUCKETS):
            total, counters[b] = total + counters[b], total
        for i in range(n):
            b = (source[i] >> np.uint32(shift)) & np.uint32(BUCKETS - 1)
            target[counters[b]] = source[i]
            counters[b] += 1
        source, target = target, source
    return source


@compiled
def _count(scores, threshold, family, positive_rows, positive_starts, first, tp, predicted):
    for i in range(scores.shape[0]):
        for p in range(scores.shape[1]):
            if scores[i, p] > threshold[i]:
                predicted[i, family[p]] += 1
        for at in range(positive_starts[first + i], positive_starts[first + i + 1]):
            p = positive_rows[at]
            if scores[i, p] > threshold[i]:
                tp[i, family[p]] += 1


# Bins of a unit's range in the first look, and units of each concept that get the second.
_BINS = 1024
_EXACT_UNITS = 2


@dataclass(frozen=True, eq=False)
class BestUnit:
    """The unit chosen for each concept on training families."""

    unit: np.ndarray  # int64 [n_concepts]
    sign: np.ndarray  # int64 [n_concepts]: 1 where high values predict the concept, -1 where low ones do
    threshold: np.ndarray  # float64 [n_concepts]: on ``sign * value``
    f1_train: np.ndarray  # float64 [n_concepts]

    def detail(self, describe: Callable[[int], str]) -> list[str]:
        """What was chosen, in words."""
        return [f"{describe(int(u))} {'high' if s > 0 else 'low'}" for u, s in zip(self.unit, self.sign)]


def best_unit(units: Callable[[np.ndarray], np.ndarray], n_units: int, train: Part) -> BestUnit:
    """The unit, sign and threshold with the best F1 for each concept.

    All units are first scored on ``_BINS`` equal bins of their range, both ways at once; the few best of each
    concept are then ranked value by value, so that the threshold and its F1 are exact. `units` takes numbers of
    units and gives float32 [n_positions, n_units] on the positions of `train`.
    """
    n = train.n_positions
    n_concepts = train.positives.shape[1]
    none, zeros = np.full(n_concepts, np.inf), np.zeros(n_concepts)
    best = BestUnit(zeros.astype(np.int64), np.ones(n_concepts, np.int64), none, zeros)
    if n == 0 or n_units == 0:
        return best
    concepts = train.by_position
    coarse = np.zeros((2, n_units, n_concepts))
    for low, high in ranges(n_units, SCORE_BYTES * n):
        block = units(np.arange(low, high))
        there = (concepts.starts, concepts.concepts, concepts.n_positive)
        _binned_f1(np.ascontiguousarray(block.T), there, coarse, low)
    flat = coarse.transpose(1, 0, 2).reshape(2 * n_units, n_concepts)
    leading = np.argsort(-flat, axis=0, kind="stable")[:_EXACT_UNITS]
    concept = np.tile(np.arange(n_concepts), len(leading))
    unit, sign = leading.reshape(-1) // 2, 1 - 2 * (leading.reshape(-1) % 2)
    threshold, f1 = np.empty(len(unit)), np.empty(len(unit))
    for part in starmap(slice, ranges(len(unit), SCORE_BYTES * n)):
        scores = read_units(units(unit[part]), sign[part])
        threshold[part], f1[part] = thresholds_of(scores, train, concept[part])
    chosen = f1.reshape(-1, n_concepts).argmax(axis=0) * n_concepts + np.arange(n_concepts)
    return BestUnit(unit[chosen], sign[chosen], threshold[chosen], f1[chosen])


def read_units(values: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """float32 [n_units, n_positions]: units of [n_positions, n_units], those with sign -1 turned round."""
    return np.ascontiguousarray(values.T) * sign[:, None].astype(np.float32)


@compiled
def _binned_f1(block, there, out, first):
    """Best F1 over bins of each unit's range, for high values (out[0]) and for low values (out[1]), from unit `first`."""
    row_starts, row_concepts, n_positive = there
    n_units, n = block.shape
    n_concepts = len(n_positive)
    held = np.zeros(_BINS, np.int64)
    positive = np.zeros((n_concepts, _BINS), np.int64)
    for unit in range(n_units):
        lowest = highest = block[unit, 0]
        for i in range(n):
            if block[unit, i] < lowest:
                lowest = block[unit, i]
            if block[unit, i] > highest:
                highest = block[unit, i]
        scale = np.float32(_BINS) / (highest - lowest) if highest > lowest else np.float32(0)
        for b in range(_BINS):
            held[b] = 0
        for concept in range(n_concepts):
            for b in range(_BINS):
                positive[concept, b] = 0
        for i in range(n):
            at = min(_BINS - 1, int((block[unit, i] - lowest) * scale))
            held[at] += 1
            for p in range(row_starts[i], row_starts[i + 1]):
                positive[row_concepts[p], at] += 1
        for concept in range(n_concepts):
            total = n_positive[concept]
            if total == 0:
                continue
            for way in range(2):
                k, tp, best = 0, 0, 0.0
                for b in range(_BINS):
                    at = b if way == 1 else _BINS - 1 - b
                    k += held[at]
                    tp += positive[concept, at]
                    best = max(best, 2.0 * tp / (k + total))
                out[way, first + unit, concept] = best
