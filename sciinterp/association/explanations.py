"""What the held-out F1 of a feature and of its baselines say of a concept: decided here, for hits and report alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# What it would mean that a baseline does as well as a feature.
EXPLAINS = {
    "position": "position", "position_c": "position", "identity": "letters", "word": "letters",
    "composition": "composition", "complexity": "composition", "window": "letters", "kmer": "letters",
    "everything": "prevalence", "density": "density", "neuron": "neuron", "pca": "components", "ica": "components",
    "randomised": "randomised", "domain": "domain tool", "probe": "probe",
}  # fmt: skip
# The simplest explanation first: of those that do as well as the feature, the first one is named.
SIMPLEST = (
    "position", "letters", "composition", "prevalence", "density", "neuron", "components", "randomised",
    "domain tool", "probe", "other",
)  # fmt: skip
# Held-out F1 below which nothing is said to find, or to explain, a concept. One number for features and baselines.
FLOOR = 0.3
NOT_FOUND, UNCLEAR = "not found", "unclear"


def explained_by(f1: np.ndarray, delta_low: np.ndarray, rivals: Mapping[str, np.ndarray]) -> np.ndarray:
    """What explains each pair of feature and concept.

    Parameters
    ----------
    f1 : ndarray [n]
        Held-out F1 of the features; NaN where the concept could not be tested.
    delta_low : ndarray [n]
        Lower end of the interval of the difference to the best counted baseline.
    rivals : mapping of str to ndarray [n]
        Kind (of :data:`EXPLAINS`) to the best held-out F1 of the counted baselines of that kind; NaN where none ran.

    Returns
    -------
    ndarray [n] of str
        ``""`` where the interval lies above zero, or nothing was tested; else ``"not found"`` where neither the
        feature nor a baseline reaches :data:`FLOOR`; else the simplest kind that reaches both the feature's F1
        and the floor; else ``"unclear"``: no baseline reaches the feature, but the interval does not exclude it.

    Examples
    --------
    >>> f1, low = np.array([0.9, 0.5, 0.5, 0.0]), np.array([0.1, -0.2, -0.1, -0.1])
    >>> explained_by(f1, low, {"position": np.array([0.6, 0.7, 0.45, 0.01])}).tolist()
    ['', 'position', 'unclear', 'not found']
    """
    f1, delta_low = np.asarray(f1, np.float64), np.asarray(delta_low, np.float64)
    out = np.full(f1.shape, UNCLEAR, dtype=object)
    highest = np.nan_to_num(f1, nan=0.0)
    for kind in sorted(rivals, key=_simplicity, reverse=True):
        value = np.nan_to_num(np.asarray(rivals[kind], np.float64), nan=-1.0)
        highest = np.maximum(highest, value)
        out[(value >= f1) & (value >= FLOOR)] = kind
    out[highest < FLOOR] = NOT_FOUND
    out[np.isnan(f1) | (delta_low > 0)] = ""
    return out


def _simplicity(kind: str) -> int:
    return SIMPLEST.index(kind) if kind in SIMPLEST else len(SIMPLEST)
