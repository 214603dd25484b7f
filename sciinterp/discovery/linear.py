"""Weighted ridge logistic regression by Newton's method with halved steps: small, dense and deterministic."""

from __future__ import annotations

import numpy as np


def fit_logistic(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, *, ridge: float = 1.0, steps: int = 25
) -> np.ndarray:
    """Coefficients [n_columns + 1], the intercept last and not penalised.

    Parameters
    ----------
    x : float [n, n_columns]
        Columns of comparable scale.
    y : bool [n]
    weight : float [n], optional
    ridge : float
        Penalty ``ridge / 2 * |coefficients|^2`` on the summed log likelihood.

    Examples
    --------
    >>> x = np.array([[0.0], [0.0], [1.0], [1.0]])
    >>> bool(fit_logistic(x, np.array([0, 0, 1, 1]), ridge=0.1)[0] > 1)
    True
    """
    x = np.column_stack([x, np.ones(len(x))]).astype(np.float64)
    y = np.asarray(y, np.float64)
    w = np.ones(len(y)) if weight is None else np.asarray(weight, np.float64)
    penalty = np.full(x.shape[1], ridge)
    penalty[-1] = 1e-6
    rate = np.clip((w * y).sum() / max(w.sum(), 1e-12), 1e-6, 1 - 1e-6)
    beta = np.zeros(x.shape[1])
    beta[-1] = np.log(rate / (1 - rate))

    def loss(beta: np.ndarray, eta: np.ndarray) -> float:
        return float((w * (np.logaddexp(0, eta) - y * eta)).sum() + 0.5 * (penalty * beta * beta).sum())

    eta = x @ beta
    now = loss(beta, eta)
    for _ in range(steps):
        p = sigmoid(eta)
        curvature = np.maximum(w * p * (1 - p), 1e-9)
        gradient = x.T @ (w * (y - p)) - penalty * beta
        step = np.linalg.solve((x * curvature[:, None]).T @ x + np.diag(penalty + 1e-9), gradient)
        along, size = x @ step, 1.0
        # Where classes are separable a whole step overshoots: it is halved until the loss falls.
        while size > 1e-6 and (new := loss(beta + size * step, eta + size * along)) > now:
            size *= 0.5
        if size <= 1e-6:
            break
        beta, eta = beta + size * step, eta + size * along
        done, now = now - new < 1e-7 * abs(now) + 1e-9, new
        if done:
            break
    return beta


def predict(x: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Log odds [n]."""
    return x @ beta[:-1] + beta[-1]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(x, np.float64)))


def auroc(a: np.ndarray, b: np.ndarray) -> float:
    """P(a > b) + P(a = b) / 2, and 0.5 where either is empty.

    Examples
    --------
    >>> auroc(np.array([1, 2]), np.array([0, 1]))
    0.875
    """
    if not len(a) or not len(b):
        return 0.5
    order = np.sort(b)
    return float(
        (np.searchsorted(order, a, "left") + np.searchsorted(order, a, "right")).mean() / (2 * len(b))
    )
