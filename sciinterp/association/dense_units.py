"""The best of many dense units (neurons, components, shares of letters) for each concept, read both ways.

A raw unit is read high and low, since its sign carries no meaning. Units come some at a time from a callable, so
that all of them need never lie in memory at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import starmap

import numpy as np

from sciinterp.association._jit import compiled
from sciinterp.association.dense_scores import thresholds_of
from sciinterp.association.partitions import Part
from sciinterp.budget import SCORE_BYTES, ranges

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
