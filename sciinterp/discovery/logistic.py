"""Ridge logistic regression as every rule of discovery uses it: scikit-learn's, on weighted rows."""

from __future__ import annotations

import numpy as np


def fit_logistic(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, *, ridge: float = 1.0
) -> np.ndarray:
    """Coefficients [n_columns + 1], the intercept last and not penalised.

    Parameters
    ----------
    x : float [n, n_columns]
        Columns of comparable scale.
    y : bool [n]
        Where all are of one class nothing is learned: the intercept says which.
    weight : float [n], optional
    ridge : float
        Penalty ``ridge / 2 * |coefficients|^2`` on the summed log likelihood.

    Examples
    --------
    >>> x = np.array([[0.0], [0.0], [1.0], [1.0]])
    >>> bool(fit_logistic(x, np.array([0, 0, 1, 1]), ridge=0.1)[0] > 1)
    True
    """
    from sklearn.linear_model import LogisticRegression

    y = np.asarray(y, bool)
    if y.all() or not y.any():
        return np.append(np.zeros(x.shape[1]), 1.0 if y.any() else -1.0) * np.log(len(y) + 1)
    model = LogisticRegression(C=1 / ridge, solver="newton-cholesky", tol=1e-6)
    model.fit(np.asarray(x, np.float64), y, sample_weight=weight)
    return np.append(model.coef_[0], model.intercept_)


def predict(x: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Log odds [n]."""
    return x @ beta[:-1] + beta[-1]
