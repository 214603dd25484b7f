"""How much more often a feature fires on a concept than its background would explain.

Against all positions a detector of lysines looks many times enriched for succinylation, because only lysines
are succinylated; against lysines it is not enriched at all. The *lift* of a prediction is observed over
expected true positives. Expected are, in each stratum of the background, as many as the positives there would
give at the rate the feature fires there (indirect standardisation):

    lift = tp / sum over strata of  positive_s * predicted_s / n_s

A feature of the same density but no meaning has a lift of 1. With one stratum for all it is precision over prevalence, on
one set of families that judge. Where several folds judge, each by its own choice, both sums run over folds: every fold
has strata of its own, and the lift is precision over prevalence in none but the case that folds agree in both. Strata of
equal letters, or of equal distance from the start, ask for more than that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sciinterp.association.family_counts import count_pairs
from sciinterp.association.letters import Letters, distance_from_start
from sciinterp.association.partitions import Part
from sciinterp.codes.by_feature import ByFeature
from sciinterp.samples import Samples

# Backgrounds in the order of their columns; letters where there are any.
BACKGROUNDS = ("all", "position", "letter")
# Neighbouring distances from the start share a stratum until it holds about this many positions.
_BIN_POSITIONS = 20


def strata_of(samples: Samples, train: Part, test: Part) -> dict[str, Part]:
    """Backgrounds to match, as held-out parts whose families are strata: ``all``, ``letter``, ``position``."""
    distance = distance_from_start(samples)[test.rows]
    held = np.bincount(distance)
    by_distance = (np.cumsum(held) - held) // _BIN_POSITIONS
    out = {"all": np.zeros(test.n_positions, np.int64), "position": by_distance[distance]}
    letters = Letters.of(samples, train.samples)
    if letters is not None:
        out["letter"] = letters.numbers[test.rows]
    return {name: stratified(test, stratum) for name, stratum in out.items()}


def stratified(part: Part, stratum: np.ndarray) -> Part:
    """The part with strata in place of its families."""
    levels, number = np.unique(stratum, return_inverse=True)
    return replace(part, family=np.asarray(number, np.int32).reshape(-1), family_codes=levels)


def expected(
    codes: ByFeature, strata: Part, feature: np.ndarray, concept: np.ndarray, threshold: np.ndarray
) -> np.ndarray:
    """True positives that listed pairs would have by the background alone: what the lift is over.

    `codes` are those of the positions of the part, `strata` comes from :func:`stratified`.
    """
    counts = count_pairs(codes, strata, feature, concept, threshold)
    size = np.bincount(strata.family, minlength=strata.n_families)
    return (counts.positive * (counts.predicted / np.maximum(1, size))).sum(axis=1)
