"""Orthogonal matching pursuit of many concepts at once, on the moments of all units.

Products of every two units are added up once, in single precision, and kept as they are: the correlations that a step
asks for are made of them then, for as many concepts at a time as the budget holds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from sciinterp.association._jit import compiled
from sciinterp.budget import ranges

# Share of a unit's variance that the chosen ones leave unexplained, at least, and the ridge of the weights.
_INDEPENDENT, _RIDGE = 1e-3, 1e-4


def pursue(
    values: np.ndarray | sp.csr_array, positives: sp.csr_array, k: int
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Orthogonal matching pursuit of every concept at once, `k` units each.

    Of `values` float32 [n_positions, n_units]: the units chosen, int64 [n_concepts, k], and least-squares
    weights [n_concepts, size] of the first 1, 2, ... k of them.
    """
    labels = sp.csr_array(positives.astype(np.float32))
    n, n_concepts = max(1, values.shape[0]), labels.shape[1]
    mean = np.asarray(values.sum(axis=0), np.float64).reshape(-1) / n
    share = np.asarray(labels.sum(axis=0), np.float64).reshape(-1) / n
    products = _products(values)
    spread = np.sqrt(np.maximum(np.diag(products).astype(np.float64) / n - mean * mean, 1e-18))
    shared = labels.T @ values if isinstance(values, np.ndarray) else summed(sp.csc_array(values), labels).T

    def gram(one: np.ndarray, other: np.ndarray | slice) -> np.ndarray:
        """Correlations of some units with others, or each with all, made of the products when they are asked for."""
        of = (products[one[:, 0]] if isinstance(other, slice) else products[one, other]).astype(
            np.float64
        ) / n
        return (of - mean[one] * mean[other]) / spread[one] / spread[other]

    chosen, weights = np.zeros((n_concepts, k), np.int64), [np.zeros((n_concepts, t + 1)) for t in range(k)]
    for low, high in ranges(n_concepts, 8 * (k + 8) * values.shape[1]):
        cross = (shared[low:high].astype(np.float64) / n - np.outer(share[low:high], mean)) / spread
        chosen[low:high], found = _pursued(gram, cross, k)
        for t, of_size in enumerate(found):
            weights[t][low:high] = of_size / spread[chosen[low:high, : t + 1]]
    return chosen, {t + 1: of_size for t, of_size in enumerate(weights)}


def _pursued(
    gram: Callable[..., np.ndarray], cross: np.ndarray, k: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Units of some concepts, from their covariances with every unit, and weights for units of variance 1."""
    n_concepts, n_units = cross.shape
    # Gram-Schmidt: what is left of each unit's variance, and of its covariance with the concept.
    left, covariance = np.ones((n_concepts, n_units)), cross.copy()
    basis = np.zeros((n_concepts, k, n_units))
    chosen, weights = np.zeros((n_concepts, k), np.int64), []
    rows = np.arange(n_concepts)
    taken = np.zeros((n_concepts, n_units), bool)
    for t in range(k):
        gain = np.where(~taken & (left > _INDEPENDENT), covariance**2 / np.maximum(left, _INDEPENDENT), -1.0)
        best = gain.argmax(axis=1)
        chosen[:, t], taken[rows, best] = best, True
        along = basis[rows, :t, best]
        direction = gram(best[:, None], slice(None)) - np.einsum("ct,ctu->cu", along, basis[:, :t])
        direction /= np.sqrt(np.maximum(left[rows, best], _INDEPENDENT))[:, None]
        basis[:, t] = direction
        amount = covariance[rows, best] / np.sqrt(np.maximum(left[rows, best], _INDEPENDENT))
        covariance -= amount[:, None] * direction
        left -= direction**2
        mine = chosen[:, : t + 1]
        system = gram(mine[:, :, None], mine[:, None, :]) + _RIDGE * np.eye(t + 1)
        weights.append(np.linalg.solve(system, np.take_along_axis(cross, mine, 1)[..., None])[..., 0])
    return chosen, weights


def _products(values: np.ndarray | sp.csr_array) -> np.ndarray:
    """float32 [n_units, n_units]: the sum of products of every two units."""
    if isinstance(values, np.ndarray):
        return values.T @ values
    out = np.zeros((values.shape[1], values.shape[1]), np.float32)
    rows = sp.csr_array(values)
    if not rows.has_sorted_indices:
        rows = sp.csr_array(rows.sorted_indices())
    _add_products(rows.data, rows.indices, rows.indptr, out)
    return out


@compiled
def _add_products(values, columns, starts, out):
    for i in range(len(starts) - 1):
        for p in range(starts[i], starts[i + 1]):
            for q in range(p, starts[i + 1]):  # columns ascend
                out[columns[p], columns[q]] += values[p] * values[q]
    for one in range(len(out)):
        for other in range(one):
            out[one, other] = out[other, one]


def summed(columns: sp.csc_array, labels: sp.csr_array) -> np.ndarray:
    """float32 [n_units, n_concepts]: the sum of each unit over the positions of each concept.

    Nearly every pair shares a position: SciPy's sparse product takes three times as long.
    """
    out = np.zeros((columns.shape[1], labels.shape[1]), np.float32)
    _addsummed(columns.data, columns.indices, columns.indptr, labels.indices, labels.indptr, out)
    return out


@compiled
def _addsummed(values, rows, starts, concepts, row_starts, out):
    for unit in range(out.shape[0]):
        for p in range(starts[unit], starts[unit + 1]):
            for q in range(row_starts[rows[p]], row_starts[rows[p] + 1]):
                out[unit, concepts[q]] += values[p]
