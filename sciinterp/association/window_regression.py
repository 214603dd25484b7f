"""The window baseline: ridge logistic regression of each concept on the letters around a position.

Weights are those of scikit-learn's ``LogisticRegression`` (a test holds them together to three digits), fitted by
Newton steps that walk five letters a position where a general solver multiplies all columns; the result is the same
bit for bit whatever the number of threads.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from sciinterp.association._jit import compiled
from sciinterp.association.fitting import Block
from sciinterp.association.letters import Letters
from sciinterp.association.partitions import Part
from sciinterp.codes.intervals import positions_type

_NEWTON_STEPS = 12
_RIDGE = 1.0


def window_scores(letters: Letters, train: Part, test: Part, *, reach: int, fit_on: np.ndarray) -> Block:
    """Log-odds of each concept given the letters of a window, by ridge logistic regression.

    It is fitted on the positions `fit_on` of `train`. Relatives share most of their windows, so each distinct
    one is walked once, with how many positions have it and how many of them carry the concept.
    """
    size = letters.n_letters + 1
    windows, of = _distinct(letters.windows(reach), size)
    columns = windows + np.arange(2 * reach + 1, dtype=np.int32) * size
    of_fit = of[train.rows[fit_on]]
    held = np.bincount(of_fit, minlength=len(columns)).astype(np.float64)
    seen = np.flatnonzero(held)
    held, columns_seen, of_fit = held[seen], columns[seen], np.searchsorted(seen, of_fit)
    n_weights = (2 * reach + 1) * size + 1
    truth = sp.csc_array(train.positives[fit_on])

    def block(low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        weights = np.zeros((high - low, n_weights))
        for concept in range(low, high):
            mine = truth.indices[truth.indptr[concept] : truth.indptr[concept + 1]]
            carrying = np.bincount(of_fit[mine], minlength=len(seen)).astype(np.float64)
            _logistic(columns_seen, held, carrying, weights[concept - low])
        scores = _sum_of_weights(columns, weights.astype(np.float32))
        return scores[:, of[train.rows]], scores[:, of[test.rows]]

    return block


def _distinct(windows: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows (int32) of letters below `size`, and which of them each row is."""
    few = size ** windows.shape[1] < 1 << 31
    code, n_codes = np.zeros(len(windows), np.int32 if few else np.int64), 1
    for column in windows.T:
        if n_codes > (1 << 62) // size:
            known, code = np.unique(code, return_inverse=True)
            n_codes = len(known)
        code = code * size + column
        n_codes *= size
    _, first, of = np.unique(code, return_index=True, return_inverse=True)
    return windows[first].astype(np.int32), np.asarray(of, positions_type(len(windows))).reshape(-1)


@compiled
def _logistic(columns, held, carrying, weights):
    """Weights of a ridge logistic regression on one-hot columns; the last is the intercept."""
    n_weights = len(weights)
    share = min(max(carrying.sum() / max(1.0, held.sum()), 1e-6), 1 - 1e-6)
    weights[n_weights - 1] = np.log(share / (1 - share))
    for _ in range(_NEWTON_STEPS):
        hessian, gradient = np.zeros((n_weights, n_weights)), np.zeros(n_weights)
        _newton_sums(columns, held, carrying, weights, hessian, gradient)
        for a in range(n_weights):
            penalty = _RIDGE if a < n_weights - 1 else 1e-6
            hessian[a, a] += penalty
            gradient[a] -= penalty * weights[a]
        step = _solve_in_place(hessian, gradient)
        # Loops, not array expressions: the same numbers, and a second less to compile.
        largest = 0.0
        for a in range(n_weights):
            largest = max(largest, abs(step[a]))
        scale = min(1.0, 5.0 / max(1e-12, largest))
        for a in range(n_weights):
            weights[a] += step[a] * scale
        if largest < 1e-3:
            break


@compiled
def _sum_of_weights(columns, weights):
    """float32 [n_concepts, n_windows]: the log-odds, but for the intercept."""
    out = np.zeros((weights.shape[0], columns.shape[0]), np.float32)
    for i in range(weights.shape[0]):
        for row in range(columns.shape[0]):
            total = np.float32(0)
            for a in range(columns.shape[1]):
                total += weights[i, columns[row, a]]
            out[i, row] = total
    return out


@compiled
def _solve_in_place(upper, right):
    """Solve a small positive definite system given by its upper triangle (Cholesky).

    A few hundred unknowns are not worth waking a threaded library for, and the result is the same bit for bit
    whatever the number of threads.
    """
    n = len(right)
    for i in range(n):
        for k in range(i):
            factor = upper[k, i]
            if factor != 0.0:
                for j in range(i, n):
                    upper[i, j] -= factor * upper[k, j]
        pivot = np.sqrt(upper[i, i])
        for j in range(i, n):
            upper[i, j] /= pivot
    for i in range(n):
        for k in range(i):
            right[i] -= upper[k, i] * right[k]
        right[i] /= upper[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            right[i] -= upper[i, k] * right[k]
        right[i] /= upper[i, i]
    return right


@compiled
def _newton_sums(columns, held, carrying, weights, hessian, gradient):
    """Upper triangle of the Hessian, and the gradient of the log likelihood."""
    last = len(weights) - 1
    width = columns.shape[1]
    for i in range(columns.shape[0]):
        logit = weights[last]
        for a in range(width):
            logit += weights[columns[i, a]]
        p = 1.0 / (1.0 + np.exp(-logit))
        rest, curve = carrying[i] - held[i] * p, held[i] * p * (1.0 - p)
        gradient[last] += rest
        hessian[last, last] += curve
        for a in range(width):
            gradient[columns[i, a]] += rest
            hessian[columns[i, a], last] += curve
            for b in range(a, width):
                hessian[columns[i, a], columns[i, b]] += curve
