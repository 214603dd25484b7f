"""How active a feature is in a family or a sample, and where it counts as present.

A feature is *present* in a unit when its activity there lies above the threshold that divides the units' activities
best (Otsu 1979), chosen without looking at any concept.
"""

from __future__ import annotations

from itertools import starmap

import numpy as np
import scipy.sparse as sp

from sciinterp import distributed
from sciinterp.association._jit import compiled
from sciinterp.association.blocks import dealt_blocks
from sciinterp.budget import ranges
from sciinterp.codes import FeatureMatrix

# What an activity takes while units are divided.
_BYTES = 64


def present_in(activity: np.ndarray) -> np.ndarray:
    """bool [n_features, n_units]: units in which a feature is present, by its activity there."""
    out = np.zeros(activity.shape, bool)
    for part in starmap(slice, ranges(len(activity), _BYTES * activity.shape[1])):
        out[part] = activity[part] > otsu(activity[part])[:, None]
    return out


def present_in_samples(largest: sp.csr_array) -> np.ndarray:
    """bool [n_features, n_samples]: where a feature is present, by its largest activations [n_samples, n_features]."""
    by_feature = largest.tocsc()
    out = np.zeros(largest.shape[::-1], bool)
    n_units, n_features = largest.shape
    for part in starmap(slice, ranges(n_features, _BYTES * n_units)):
        out[part] = present_in(by_feature[:, part].T.toarray())
    return out


def family_activity(features: FeatureMatrix, family: np.ndarray, n_families: int) -> np.ndarray:
    """float64 [n_features, n_families]: mean over a family's samples of the feature's largest activation."""
    out = np.zeros((features.n_features, n_families))
    sample = features.samples.position_sample().astype(np.int64, copy=False)
    family = np.asarray(family, np.int64)

    def sums(block: tuple[int, int]) -> np.ndarray:
        codes, found = features.by_feature(*block), np.zeros((block[1] - block[0], n_families))
        _sum_of_maxima(codes.values, codes.rows, codes.starts, sample, family, found)
        return found

    blocks = dealt_blocks(features)
    for (low, high), found in zip(blocks, distributed.spread(blocks, sums, threads=True)):
        out[low:high] = found
    out /= np.maximum(1, np.bincount(family, minlength=n_families))
    return out


@compiled
def _sum_of_maxima(values, rows, starts, sample, family, out):
    for feature in range(len(starts) - 1):
        current, largest = -1, 0.0
        for j in range(
            starts[feature], starts[feature + 1]
        ):  # rows ascend, so samples come one after another
            at = sample[rows[j]]
            if at != current:
                if current >= 0:
                    out[feature, family[current]] += largest
                current, largest = at, 0.0
            largest = max(largest, values[j])
        if current >= 0:
            out[feature, family[current]] += largest


def otsu(activity: np.ndarray) -> np.ndarray:
    """float64 [n_features]: the threshold that divides each row into its two most separate classes.

    Examples
    --------
    >>> otsu(np.array([[0.0, 0.1, 5.0, 5.1], [2.0, 2.0, 2.0, 2.0]])).tolist()
    [2.55, 2.0]
    """
    ranked = np.sort(activity, axis=1)
    n = ranked.shape[1]
    if n < 2:
        return ranked.max(axis=1, initial=0.0)
    below = np.arange(1, n)
    total = np.cumsum(ranked, axis=1)
    mean_low, mean_high = total[:, :-1] / below, (total[:, -1:] - total[:, :-1]) / (n - below)
    between = below * (n - below) * (mean_high - mean_low) ** 2
    at = np.argmax(between, axis=1)[:, None]
    return (np.take_along_axis(ranked, at, 1) + np.take_along_axis(ranked, at + 1, 1))[:, 0] / 2
