"""Held-out effects: counts per family, F1, and intervals from resampled families.

The family is the unit of inference, so the interval of an F1 comes from drawing held-out families with
replacement (a cluster bootstrap). Counts add over families: with ``tp``, ``predicted`` and ``positive`` per
family, every resampled F1 is a ratio of two matrix products, and the difference to a baseline is taken
within the same draw (paired).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciinterp.association._jit import compiled
from sciinterp.association.partitions import Part
from sciinterp.codes.by_feature import ByFeature

# Resampled values held at once.
_CHUNK = 1 << 22


@dataclass(frozen=True, eq=False)
class FamilyCounts:
    """Counts of predictions on held-out families, one row for each prediction.

    Attributes
    ----------
    tp, predicted, positive : int64 [n_rows, n_families]
    """

    tp: np.ndarray
    predicted: np.ndarray
    positive: np.ndarray

    def f1(self) -> np.ndarray:
        """float64 [n_rows]: pooled F1; 0 where nothing is predicted or positive."""
        return f1_score(self.tp.sum(axis=1), self.predicted.sum(axis=1), self.positive.sum(axis=1))

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


def family_draws(n_families: int, n_boot: int, seed: int) -> np.ndarray:
    """float64 [n_boot, n_families]: how often each family is drawn."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_families, np.full(n_families, 1 / n_families), size=n_boot).astype(np.float64)


def intervals(
    counts: FamilyCounts, draws: np.ndarray, *, against: FamilyCounts | None = None, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of each row's F1, or of its difference to the same row of `against`.

    Parameters
    ----------
    counts : FamilyCounts
    draws : float64 [n_boot, n_families]
        From :func:`family_draws`.
    against : FamilyCounts, optional
        Subtracted within each draw.
    level : float

    Returns
    -------
    low, high : float64 [n_rows]
        Over the draws that hold a positive position; NaN where fewer than two families hold one.
    """
    n_rows = len(counts.tp)
    low, high = np.full(n_rows, np.nan), np.full(n_rows, np.nan)
    known = np.flatnonzero((counts.positive > 0).sum(axis=1) >= 2)
    step = max(1, _CHUNK // len(draws))
    for start in range(0, len(known), step):
        part = known[start : start + step]
        value = _resampled(counts.take(part), draws)
        if against is not None:
            value -= _resampled(against.take(part), draws)
        drawn = draws @ counts.positive[part].T > 0
        low[part], high[part] = _quantiles(value, drawn, [(1 - level) / 2, (1 + level) / 2])
    return low, high


def _quantiles(value: np.ndarray, drawn: np.ndarray, levels: list[float]) -> list[np.ndarray]:
    """Quantiles of each column over the draws that count, interpolated as ``np.quantile`` does."""
    if drawn.all():
        return list(np.quantile(value, levels, axis=0))
    value = np.sort(np.where(drawn, value, np.inf), axis=0)
    n, out = drawn.sum(axis=0), []
    for level in levels:
        at = level * np.maximum(n - 1, 0)
        below = np.floor(at).astype(np.int64)
        above = np.minimum(below + 1, np.maximum(n - 1, 0))
        ends = [np.take_along_axis(value, row[None], axis=0)[0] for row in (below, above)]
        out.append(np.where(n > 0, ends[0] + (at - below) * (ends[1] - ends[0]), np.nan))
    return out


def _resampled(counts: FamilyCounts, draws: np.ndarray) -> np.ndarray:
    sums = (draws @ counts.tp.T, draws @ counts.predicted.T, draws @ counts.positive.T)
    return f1_score(*sums)


def count_pairs(
    codes: ByFeature, part: Part, feature: np.ndarray, concept: np.ndarray, threshold: np.ndarray
) -> FamilyCounts:
    """Counts per family of listed (feature, concept, threshold) triples.

    Parameters
    ----------
    codes : ByFeature
        Codes of the positions of `part`.
    part : Part
    feature, concept : int64 [n_pairs]
    threshold : float32 [n_pairs]
    """
    n_pairs = len(feature)
    tp = np.zeros((n_pairs, part.n_families), np.int64)
    predicted = np.zeros((n_pairs, part.n_families), np.int64)
    order = np.argsort(concept, kind="stable")
    columns = part.by_concept
    _count_listed(
        codes.values,
        codes.rows,
        codes.starts,
        columns.indices.astype(np.int32),
        columns.indptr.astype(np.int64),
        part.family,
        np.asarray(feature, np.int64),
        np.asarray(concept, np.int64),
        np.asarray(threshold, np.float32),
        order,
        part.n_positions,
        tp,
        predicted,
    )
    return FamilyCounts(tp, predicted, part.positive_by_family[np.asarray(concept, np.int64)])


@compiled
def _count_listed(
    values,
    rows,
    starts,
    positive_rows,
    positive_starts,
    family,
    feature,
    concept,
    threshold,
    order,
    n_positions,
    tp,
    predicted,
):
    truth = np.zeros(n_positions, np.uint8)
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
