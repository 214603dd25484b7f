"""Where features are most active: the largest activation of each in every sample, family or bin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int64

from sciinterp.budget import BLOCK_VALUES
from sciinterp.codes.active import only_active
from sciinterp.codes.by_feature import ByFeature

if TYPE_CHECKING:
    from sciinterp.codes.matrix import FeatureMatrix


@dataclass(frozen=True, eq=False)
class Peaks:
    """The largest activation of each feature in each group where it is active, by feature, groups ascending.

    Attributes
    ----------
    feature, group, position : int64 [n]
        Of several positions with the largest value the first.
    value : float32 [n]
    """

    feature: Int64[np.ndarray, " n"]
    group: Int64[np.ndarray, " n"]
    position: Int64[np.ndarray, " n"]
    value: Float32[np.ndarray, " n"]

    def take(self, numbers: np.ndarray) -> Peaks:
        """Some of the peaks, in the order given."""
        return Peaks(self.feature[numbers], self.group[numbers], self.position[numbers], self.value[numbers])


def largest_in_groups(codes: ByFeature, group: np.ndarray) -> Peaks:
    """The largest activation of every feature in every group of positions.

    Parameters
    ----------
    codes : ByFeature
        At all positions: the largest says what counts as active.
    group : int [n_positions]
        Sample, family or bin of each position.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> from sciinterp.codes.by_feature import by_feature
    >>> codes = by_feature(sp.csr_array(np.array([[1, 0], [3, 2], [3, 0]], np.float32)))
    >>> found = largest_in_groups(codes, np.array([0, 0, 1]))
    >>> found.feature.tolist(), found.group.tolist(), found.position.tolist(), found.value.tolist()
    ([0, 0, 1], [0, 1, 0], [1, 2, 1], [3.0, 3.0, 2.0])
    """
    codes = only_active(codes)
    n_groups = int(group.max()) + 1 if len(group) else 1
    feature = np.repeat(np.arange(codes.n_features), np.diff(codes.starts))
    position, value = codes.rows.astype(np.int64), codes.values
    key = feature * n_groups + group[position]
    if (np.diff(key) < 0).any():
        order = np.argsort(key, kind="stable")
        key, position, value = key[order], position[order], value[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    if not len(first):
        return Peaks(key, key, position, value)
    width = np.diff(np.append(first, len(key)))
    best = np.flatnonzero(value == np.repeat(np.maximum.reduceat(value, first), width))
    best = best[np.flatnonzero(np.diff(key[best], prepend=-1))]
    return Peaks(key[best] // n_groups, key[best] % n_groups, position[best], value[best])


def strongest_first(found: Peaks) -> Peaks:
    """The same peaks, of each feature the largest first, of equal ones the first group."""
    return found.take(np.lexsort((found.group, -found.value, found.feature)))


def peaks_of(features: FeatureMatrix, j: int) -> Peaks:
    """The largest activation of one feature in every sample, the largest of all first."""
    j = features.number(j)
    found = largest_in_groups(features.by_feature(j, j + 1), features.samples.position_sample())
    return strongest_first(found)


def peaks_by_block(features: FeatureMatrix, group: np.ndarray) -> Iterator[Peaks]:
    """:func:`largest_in_groups` of all features, some at a time; features keep their numbers."""
    for lo, hi in features.feature_blocks(BLOCK_VALUES):
        found = largest_in_groups(features.by_feature(lo, hi), group)
        yield Peaks(found.feature + lo, found.group, found.position, found.value)


def peaks_per_sample(features: FeatureMatrix) -> Peaks:
    """The largest activation of every feature in every sample."""
    none = np.zeros(0, np.int64)
    parts = [Peaks(none, none, none, np.zeros(0, np.float32))]
    parts += peaks_by_block(features, features.samples.position_sample())
    return Peaks(*(np.concatenate(column) for column in zip(*(vars(part).values() for part in parts))))
