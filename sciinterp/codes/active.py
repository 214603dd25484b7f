"""Active: when a feature counts as speaking at a position. One rule, for every count that says "active"."""

from __future__ import annotations

import numpy as np

# The share of a feature's own scale, its largest activation, that a code must exceed. At 0 every positive code counts.
ACTIVE_SHARE = 0.0


def is_active(values: np.ndarray, scale: np.ndarray | float, share: float = ACTIVE_SHARE) -> np.ndarray:
    """Whether codes are more than a share of their features' scale.

    Parameters
    ----------
    values : float32 [n]
    scale : float32 [n] or float
        The scale of the feature of each value.
    share : float

    Examples
    --------
    >>> is_active(np.array([0.0, 0.1, 2.0]), 4.0).tolist(), is_active(np.array([0.1, 2.0]), 4.0, 0.25).tolist()
    ([False, True, True], [False, True])
    """
    return values > np.float32(share) * np.asarray(scale, np.float32)
