"""Held-out effects as counts per family: ``tp``, ``predicted`` and ``positive``, which add up over families.

The family is the unit of inference: :mod:`sciinterp.association.jackknife` makes intervals of these counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from sciinterp.association._jit import compiled
from sciinterp.association.jackknife import Jackknifed, jackknife
from sciinterp.association.partitions import Part
from sciinterp.codes.by_feature import ByFeature


@dataclass(frozen=True, eq=False)
class FamilyCounts:
    """Counts of predictions on held-out families, one row for each prediction."""

    tp: np.ndarray  # int32 or int64 [n_rows, n_families]
    predicted: np.ndarray  # int32 or int64 [n_rows, n_families]
    positive: np.ndarray  # int32 or int64 [n_rows, n_families]

    @classmethod
    def joined(cls, parts: Sequence[FamilyCounts]) -> FamilyCounts:
        """The rows of several, one after another."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))

    @classmethod
    def added(cls, parts: Sequence[FamilyCounts]) -> FamilyCounts:
        """The same rows of several folds, whose families are numbered alike, together."""
        return cls(*(np.sum([getattr(part, each.name) for part in parts], axis=0) for each in fields(cls)))

    def f1(self) -> np.ndarray:
        """float64 [n_rows]: pooled F1; 0 where nothing is predicted or positive."""
        return f1_score(*self.sums())

    def sums(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """int64 [n_rows] each: true positives, predictions and positives of all families together."""
        return self.tp.sum(axis=1), self.predicted.sum(axis=1), self.positive.sum(axis=1)

    def jackknifed(self) -> Jackknifed:
        """The pooled F1 with what it moves by as families are left out."""
        return jackknife(f1_score, self.tp, self.predicted, self.positive)

    def take(self, rows: np.ndarray) -> FamilyCounts:
        """Some rows."""
        return FamilyCounts(self.tp[rows], self.predicted[rows], self.positive[rows])


def f1_score(tp: np.ndarray, predicted: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """``2 tp / (predicted + positive)``, 0 where that is 0 / 0.

    Examples
    --------
    >>> f1_score(np.array([1, 0]), np.array([1, 0]), np.array([3, 0])).tolist()
    [0.5, 0.0]
    """
    total = np.asarray(predicted + positive, np.float64)
    return np.divide(2.0 * tp, total, out=np.zeros(total.shape), where=total > 0)


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a / b``, NaN where ``b`` is 0."""
    b = np.asarray(b, np.float64)
    return np.divide(a, b, out=np.full(b.shape, np.nan), where=b > 0)


def count_pairs(
    codes: ByFeature, part: Part, feature: np.ndarray, concept: np.ndarray, threshold: np.ndarray
) -> FamilyCounts:
    """Counts per family of listed (feature, concept, threshold) triples, of codes of the positions of `part`."""
    feature, concept = np.asarray(feature, np.int64), np.asarray(concept, np.int64)
    listed = (feature, concept, np.asarray(threshold, np.float32))
    tp, predicted = (np.zeros((len(feature), part.n_families), np.int32) for _ in range(2))
    of_codes = (codes.values, codes.rows, codes.starts)
    order = np.argsort(concept, kind="stable")
    _count_listed(of_codes, part.positive_rows, part.family, listed, order, tp, predicted)
    return FamilyCounts(tp, predicted, part.positive_by_family[concept])


@compiled
def _count_listed(codes, positives, family, listed, order, tp, predicted):
    values, rows, starts = codes
    positive_rows, positive_starts = positives
    feature, concept, threshold = listed
    truth = np.zeros(len(family), np.uint8)
    current = -1
    for i in order:
        if concept[i] != current:
            if current >= 0:
                for p in range(positive_starts[current], positive_starts[current + 1]):
                    truth[positive_rows[p]] = 0
            current = concept[i]
            for p in range(positive_starts[current], positive_starts[current + 1]):
                truth[positive_rows[p]] = 1
        for j in range(starts[feature[i]], starts[feature[i] + 1]):
            if values[j] > threshold[i]:
                of = family[rows[j]]
                predicted[i, of] += 1
                tp[i, of] += truth[rows[j]]
