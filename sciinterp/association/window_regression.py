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

_NEWTON_STEPS = 12
_RIDGE = 1.0


def window_scores(letters: Letters, train: Part, test: Part, *, reach: int, fit_on: np.ndarray) -> Block:
    """Log-odds of each concept given the letters of a window, by ridge logistic regression.

    Parameters
    ----------
    reach : int
        Letters on either side.
    fit_on : int64
        Positions of `train` to fit on.
    """
    window, size = letters.windows(reach), letters.n_letters + 1
    shift = np.arange(2 * reach + 1, dtype=np.int32) * size
    of_train, of_test, of_fit = (window[r] + shift for r in (train.rows, test.rows, train.rows[fit_on]))
    n_weights = (2 * reach + 1) * size + 1
    truth = sp.csc_array(train.positives[fit_on])
    rows, starts = truth.indices.astype(np.int32), truth.indptr.astype(np.int64)

    def block(low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        weights = np.zeros((high - low, n_weights))
        _logistic(of_fit, rows, starts, low, weights)
        weights = weights.astype(np.float32)
        return _sum_of_weights(of_train, weights), _sum_of_weights(of_test, weights)

    return block


@compiled
def _logistic(columns, positive_rows, positive_starts, first, weights):
    """Weights of ridge logistic regressions on one-hot columns, one a concept; the last is the intercept."""
    n, n_weights = columns.shape[0], weights.shape[1]
    truth = np.zeros(n, np.uint8)
    for i in range(weights.shape[0]):
        mine = positive_rows[positive_starts[first + i] : positive_starts[first + i + 1]]
        truth[:] = 0
        for row in mine:
            truth[row] = 1
        share = min(max(len(mine) / max(1, n), 1e-6), 1 - 1e-6)
        weights[i, n_weights - 1] = np.log(share / (1 - share))
        for _ in range(_NEWTON_STEPS):
            hessian, gradient = np.zeros((n_weights, n_weights)), np.zeros(n_weights)
            _newton_sums(columns, truth, weights[i], hessian, gradient)
            for a in range(n_weights):
                penalty = _RIDGE if a < n_weights - 1 else 1e-6
                hessian[a, a] += penalty
                gradient[a] -= penalty * weights[i, a]
            step = _solve_in_place(hessian, gradient)
            # Loops, not array expressions: the same numbers, and a second less to compile.
            largest = 0.0
            for a in range(n_weights):
                largest = max(largest, abs(step[a]))
            scale = min(1.0, 5.0 / max(1e-12, largest))
            for a in range(n_weights):
                weights[i, a] += step[a] * scale
            if largest < 1e-3:
                break


@compiled
def _sum_of_weights(columns, weights):
    """float32 [n_concepts, n_positions]: the log-odds, but for the intercept."""
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
def _newton_sums(columns, truth, weights, hessian, gradient):
    """Upper triangle of the Hessian, and the gradient of the log likelihood."""
    last = len(weights) - 1
    width = columns.shape[1]
    for i in range(columns.shape[0]):
        logit = weights[last]
        for a in range(width):
            logit += weights[columns[i, a]]
        p = 1.0 / (1.0 + np.exp(-logit))
        rest, curve = truth[i] - p, p * (1.0 - p)
        gradient[last] += rest
        hessian[last, last] += curve
        for a in range(width):
            gradient[columns[i, a]] += rest
            hessian[columns[i, a], last] += curve
            for b in range(a, width):
                hessian[columns[i, a], columns[i, b]] += curve
