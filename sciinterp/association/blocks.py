"""Codes some features at a time, so that no reader of them holds them all.

Everything here is by feature: choosing, counting and ranking need one feature's codes on the positions of one
part, whatever the others say. A block is read, cut to those positions, used and dropped.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sciinterp.association.family_counts import FamilyCounts, count_pairs
from sciinterp.association.partitions import Part
from sciinterp.budget import BLOCK_VALUES
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.by_feature import ByFeature

# Blocks that ranks and threads deal among themselves: so many at least, unless they were smaller than this.
N_DEALT, LEAST_VALUES = 16, 1 << 16


def dealt_blocks(features: FeatureMatrix) -> list[tuple[int, int]]:
    """Ranges of features that are worked on one by one, whoever does it: the same for any number of ranks."""
    most = min(BLOCK_VALUES, max(LEAST_VALUES, -(-features.n_stored // N_DEALT)))
    return list(features.feature_blocks(most))


def blocks_of(
    features: FeatureMatrix, part: Part, wanted: np.ndarray | None = None
) -> Iterator[tuple[int, ByFeature]]:
    """The first feature of each block that holds a wanted one, and its codes on the positions of a part."""
    for low, high in features.feature_blocks(BLOCK_VALUES):
        if wanted is None or bool(((wanted >= low) & (wanted < high)).any()):
            yield low, features.by_feature(low, high).at(part.rows)


def listed(
    blocks: Iterator[tuple[int, ByFeature]], feature: np.ndarray
) -> Iterator[tuple[np.ndarray, ByFeature, np.ndarray]]:
    """Of every block that holds some of the listed features: which of the list, their codes, their numbers in the block."""
    for low, codes in blocks:
        mine = np.flatnonzero((feature >= low) & (feature < low + codes.n_features))
        if len(mine):
            yield mine, codes, feature[mine] - low


def count_listed(
    blocks: Iterator[tuple[int, ByFeature]],
    part: Part,
    feature: np.ndarray,
    concept: np.ndarray,
    threshold: np.ndarray,
) -> FamilyCounts:
    """As :func:`~sciinterp.association.family_counts.count_pairs`, of codes that come in blocks of features."""
    tp, predicted = (np.zeros((len(feature), part.n_families), np.int32) for _ in range(2))
    for mine, codes, number in listed(blocks, feature):
        found = count_pairs(codes, part, number, concept[mine], threshold[mine])
        tp[mine], predicted[mine] = found.tp, found.predicted
    return FamilyCounts(tp, predicted, part.positive_by_family[np.asarray(concept, np.int64)])
