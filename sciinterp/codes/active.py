"""Active: when a feature counts as speaking at a position. One rule, for every count that says "active".

A code counts from a share of the feature's own scale, its largest activation, not from zero: a ReLU dictionary that is
trained with a soft penalty leaks small positive codes nearly everywhere, and "positive" would say that it always speaks.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from sciinterp.codes.by_feature import ByFeature

# The share of a feature's own scale that a code must exceed. A reader whose activations are spread as a gamma law of shape
# six falls below a tenth of its largest one in one instance of two hundred; leaks lie below. Leaks of half of
# all positions with a spread of 0.02 and 0.04 of the scale, without the share, end every novel candidate and refinement.
ACTIVE_SHARE = 0.1
# The same in words, wherever something is said to be active or to fire.
ACTIVE = f"above {ACTIVE_SHARE:.0%} of its largest activation"


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
    >>> is_active(np.array([0.0, 0.1, 2.0]), 4.0).tolist(), is_active(np.array([0.1, 2.0]), 4.0, 0.0).tolist()
    ([False, False, True], [True, True])
    """
    return values > np.float32(share) * np.asarray(scale, np.float32)


def only_active(codes: ByFeature) -> ByFeature:
    """The codes without those at which their feature is not active, by the largest of these codes."""
    return codes.keep(is_active(codes.values, np.repeat(codes.largest, np.diff(codes.starts))))


def active_cells(codes: sp.csr_array, scale: np.ndarray) -> sp.csr_array:
    """csr bool, of the shape of ``codes``: where each feature (column) of scale [n_features] is active."""
    on = is_active(codes.data, scale[codes.indices])
    before = np.concatenate([[0], np.cumsum(on)])
    return sp.csr_array((on[on], codes.indices[on], before[codes.indptr]), shape=codes.shape)
