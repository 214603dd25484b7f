r"""Which features carry a label, beyond family.

Ranks of every summary of every feature are correlated with the label, inside families (both are centred there), or between
families (both are averaged there) where the label hardly varies inside. A feature's strength is the largest of its summaries
and of the label's classes. The label is permuted, inside or between families alike, and with :math:`V(t)` features of strength
:math:`t` or more in a permutation, on average, and :math:`R(t)` in truth,

.. math:: q_j = \min_{t \le s_j} V(t) / R(t)

is the share of false discoveries among those as strong as feature :math:`j` (Tusher, Tibshirani and Chu, 2001). The same is
done on the training families of every draw, which select the features where :math:`V < 1`: those as strong as at most one that
a meaningless label would select (Meinshausen and Bühlmann, 2010). *Stable* are features whose q on all families is at most
the level, and which half of the draws select.

Beside what carries the label already the correlation is Spearman's partial one: ranks :math:`Z` of what lies beside, centred inside
families or averaged in them as all ranks are, are taken out of both sides by least squares,

.. math:: \rho_{xy \cdot z} = \mathrm{cor}\big((I - ZZ^+)\, r(x),\ (I - ZZ^+)\, r(y)\big),

which for one column is :math:`(\rho_{xy} - \rho_{xz} \rho_{yz}) / \sqrt{(1 - \rho_{xz}^2)(1 - \rho_{yz}^2)}` (Kendall, 1942). No monotone
change of scale of the three moves it, and a feature whose ranks are those of a column beside it has nothing left. A feature that
is silent up to some length follows length as well, but its ranks bend there: where ten units or more a column allow it
(Harrell, *Regression modeling strategies*, 2015, 4.4), :math:`Z` holds squares and cubes of the ranks, too, as smooth covariates
are taken out of ranks by Liu, Li, Wanga and Shepherd (2018). Permuted are the label's residuals (Freedman and Lane, 1983).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from sciinterp.readouts.outcome import Outcome
from sciinterp.readouts.representations import SUMMARIES

# Share of the label's variance inside families from which the label is permuted there.
INSIDE = 0.25
# Of draws that select a stable feature.
OFTEN = 0.5
# Features that a draw may select by chance.
BY_CHANCE = 1.0
# Fewer samples than this say nothing of a feature.
LEAST_ACTIVE = 5
# Part of a column's length that must be left beside what is taken out of it: less is rounding.
LEAST_LEFT = 1e-3
# Powers of ranks beside that are taken out, where there are so many units a column.
POWERS, UNITS_A_COLUMN = 3, 10


@dataclass(frozen=True, eq=False)
class _Units:
    """Samples centred inside families, or families themselves: what is permuted, and together with what.

    Attributes
    ----------
    x : float32 [n_columns, n_units]
    y : float32 [n_units, n_classes]
    family : int [n_units]
    inside : bool
    beside : float32 [n_units, n_axes]
        Axes of what is taken out of ``x``, of ``y``, and of every permutation of it (Freedman and Lane, 1983).
    """

    x: np.ndarray
    y: np.ndarray
    family: np.ndarray
    inside: bool
    beside: np.ndarray

    def permuted(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """float32 [n_units, n, n_classes]: the label in other orders."""
        y = np.moveaxis(self.y[self.orders(n, rng)], 0, 1)
        return y - np.tensordot(self.beside, np.tensordot(self.beside.T, y, 1), 1)

    def orders(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """int [n, n_units]: permutations, inside families or of them."""
        key = rng.random((n, len(self.family)))
        if not self.inside:
            return np.argsort(key, axis=1)
        out = np.empty(key.shape, np.int64)
        for one in np.unique(self.family):
            rows = np.flatnonzero(self.family == one)
            out[:, rows] = rows[np.argsort(key[:, rows], axis=1)]
        return out

    def correlations(self, units: np.ndarray, y: np.ndarray) -> np.ndarray:
        """[n_columns, ...] of columns with labels [n_units, ...] on some units."""
        x, y = self.x[:, units], y[units]
        if not self.inside:  # inside families both are centred already, on whole families
            x, y = x - x.mean(1, keepdims=True), y - y.mean(0)
        size = np.sqrt((x**2).sum(1))
        shape = y.shape[1:]
        flat = y.reshape(len(units), -1)
        flat = flat / np.maximum(np.sqrt((flat**2).sum(0)), 1e-9)
        return ((x @ flat) / np.maximum(size, 1e-6)[:, None]).reshape(-1, *shape)


def carriers(
    summaries: np.ndarray,
    outcome: Outcome,
    family: np.ndarray,
    draws: list[np.ndarray],
    *,
    beside: np.ndarray | None = None,
    n_permutations: int = 200,
    level: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Stable features, the strongest first: ``feature summary correlation frequency q``.

    Parameters
    ----------
    summaries : float [n_samples, 3 n_features]
    outcome : Outcome
    family : int [n_samples]
    draws : list of int ndarray
        The training rows of each, whole families.
    beside : float [n_samples, n_columns], optional
        What carries the label already: what its ranks say is taken out of those of features and label.
    n_permutations, level, seed
        Of the label, of false discoveries, of permutations.
    """
    n_features = summaries.shape[1] // len(SUMMARIES)
    units = _units(summaries, outcome, family, beside)
    rng = np.random.default_rng(seed)
    null = units.permuted(n_permutations, rng)
    every = np.arange(len(units.family))
    q, _, strength, real = _q(units, every, null, n_features)
    chosen = np.zeros(n_features)
    for train in draws:
        some = every[np.isin(units.family, np.unique(family[train]))]
        chosen += _q(units, some, null, n_features)[1] < BY_CHANCE
    frequency = chosen / max(len(draws), 1)
    keep = np.flatnonzero((q <= level) & (frequency >= OFTEN))
    keep = keep[np.argsort(-strength[keep], kind="stable")]
    by_part = real.reshape(len(SUMMARIES), n_features, -1)
    size = np.abs(by_part).max(2)
    part = size[:, keep].argmax(0)
    signed = by_part[part, keep]
    signed = signed[np.arange(len(keep)), np.abs(signed).argmax(1)] if len(keep) else np.zeros(0)
    return pd.DataFrame(
        {
            "feature": keep,
            "summary": np.array(SUMMARIES, object)[part],
            "correlation": signed.astype(float),
            "frequency": frequency[keep],
            "q": q[keep],
        }
    )


def _units(summaries: np.ndarray, outcome: Outcome, family: np.ndarray, beside: np.ndarray | None) -> _Units:
    """Ranks of columns and of the label, inside families or between them."""
    n = len(family)
    active = (summaries != 0).sum(0)
    x = rankdata(summaries, axis=0).astype(np.float32)
    x[:, (active < LEAST_ACTIVE)] = 0
    y = outcome.target(np.arange(n))
    y = (rankdata(y, axis=0) if outcome.kind == "numbers" else y).astype(np.float32)
    x, y = x - x.mean(0), y - y.mean(0)
    names, code = np.unique(family, return_inverse=True)
    count = np.bincount(code).astype(np.float32)

    def means(values: np.ndarray) -> np.ndarray:
        out = np.zeros((len(names), values.shape[1]), np.float32)
        np.add.at(out, code, values)
        return out / count[:, None]

    left = y - means(y)[code]
    inside = (left**2).sum() >= INSIDE * (y**2).sum()
    z = None if beside is None else _powers(beside, n - len(names) if inside else len(names))
    if inside:
        x, y = x - means(x)[code], left
        z = None if z is None else z - means(z)[code]
    else:
        x, y, z = means(x), means(y), None if z is None else means(z)
    basis = np.zeros((len(y), 0), np.float32)
    if z is not None:
        axes, size, _ = np.linalg.svd(z, full_matrices=False)
        basis = axes[:, size > 1e-5 * size.max(initial=0)]
        x, y = (_beside(v, basis) for v in (x, y))
    return _Units(np.ascontiguousarray(x.T), y, family if inside else names, bool(inside), basis)


def _powers(beside: np.ndarray, n_units: int) -> np.ndarray:
    """Centred ranks of columns as float32, with their squares and cubes where units suffice."""
    ranks = 2 * rankdata(beside, axis=0) / (len(beside) + 1) - 1
    most = POWERS if POWERS * UNITS_A_COLUMN * ranks.shape[1] <= n_units else 1
    z = np.concatenate([ranks**k for k in range(1, most + 1)], axis=1)
    return (z - z.mean(0)).astype(np.float32)


def _beside(values: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Columns without their part along some axes; zero where nothing but rounding is left."""
    left = values - basis @ (basis.T @ values)
    return np.where((left**2).sum(0) < LEAST_LEFT**2 * (values**2).sum(0), np.float32(0), left)


def _q(units: _Units, some: np.ndarray, null: np.ndarray, n_features: int) -> tuple[np.ndarray, ...]:
    """False discovery rate, false discoveries and strength of each feature; correlations [n_columns, n_classes]."""
    real = units.correlations(some, units.y)
    strength = _strength(real, n_features)
    by_chance = np.sort(_strength(units.correlations(some, null), n_features).ravel())
    order = np.argsort(-strength, kind="stable")
    false = (len(by_chance) - np.searchsorted(by_chance, strength[order] - 1e-6)) / null.shape[1]
    found = np.searchsorted(-strength[order], -strength[order], side="right")
    q, chance = np.empty(n_features), np.empty(n_features)
    q[order], chance[order] = np.minimum.accumulate((false / found)[::-1])[::-1], false
    return np.where(strength > 0, q, 1.0), np.where(strength > 0, chance, np.inf), strength, real


def _strength(correlations: np.ndarray, n_features: int) -> np.ndarray:
    """[n_features, ...]: the largest of a feature's summaries and of the label's classes."""
    size = np.abs(correlations).max(-1)
    return size.reshape(len(SUMMARIES), n_features, *size.shape[1:]).max(0)
