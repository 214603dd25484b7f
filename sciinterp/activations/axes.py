"""Linear axes of activations: principal and independent components.

What a dictionary is held against, in two forms: units that may mark a concept (``association``) and dictionaries with
the interface of an SAE (:func:`sciinterp.baseline_sae`). Both take their axes from here.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

# Rows and steps of the search for independent components.
_ICA_ROWS, _ICA_STEPS = 10_000, 30


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean [d_in] and covariance [d_in, d_in] of training activations, in float64."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Of float32 [n_positions, d_in], block by block."""
        mean = values.mean(axis=0, dtype=np.float64)
        total = np.zeros((values.shape[1], values.shape[1]))
        for low in range(0, len(values), 1 << 14):
            block = values[low : low + (1 << 14)] - mean.astype(np.float32)
            total += block.T @ block
        return cls(mean, total / max(1, len(values)))


def principal_axes(moments: Moments, n_axes: int) -> np.ndarray:
    """float64 [d_in, n_axes]: leading principal axes, their largest entry positive."""
    d_in = len(moments.mean)
    n_axes = min(n_axes, d_in)
    _, vectors = eigh(moments.covariance, subset_by_index=(d_in - n_axes, d_in - 1))
    axes = vectors[:, ::-1]
    return axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(n_axes)])


def independent_axes(projected: np.ndarray, seed: int) -> np.ndarray:
    """float32 [n_components, n_components]: from principal to independent components (FastICA, tanh).

    Hyvarinen (1999), the symmetric form, on at most ``_ICA_ROWS`` rows scaled to unit variance. A fixed number
    of steps: the components serve as rivals, they need not have converged to the last digit. Where there are fewer
    rows than components, the components of least variance stay what they are.
    """
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    rng = np.random.default_rng(seed)
    scale = 1.0 / np.maximum(projected.std(axis=0, dtype=np.float64), 1e-12)
    n = len(projected)
    if n < 2:
        return np.diag(scale).astype(np.float32)
    rows = np.arange(n) if n <= _ICA_ROWS else np.sort(rng.choice(n, _ICA_ROWS, replace=False))
    k = min(len(scale), len(rows))  # fewer rows than components hold no more than so many independent ones
    ica = FastICA(whiten=False, max_iter=_ICA_STEPS, w_init=rng.normal(size=(len(scale), len(scale)))[:k, :k])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ica.fit((projected[rows, :k] * scale[:k]).astype(np.float32))
    rotation = np.eye(len(scale))
    rotation[:k, :k] = ica.components_.T
    return (scale[:, None] * rotation).astype(np.float32)
