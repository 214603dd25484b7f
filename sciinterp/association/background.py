"""How much more often a feature fires on a concept than its background would explain.

Against all positions a detector of lysines looks many times enriched for succinylation, because only lysines
are succinylated; against lysines it is not enriched at all. The *lift* of a prediction is observed over
expected true positives. Expected are, in each stratum of the background, as many as the positives there would
give at the rate the feature fires there (indirect standardisation):

    lift = tp / sum over strata of  positive_s * predicted_s / n_s

One stratum for all gives precision over prevalence, which is what a feature of the same density but no
meaning would give 1 of; strata of equal letters, or of equal distance from the start, ask for more than that.
"""

from __future__ import annotations

import numpy as np

from sciinterp.association.bootstrap import count_pairs, ratio
from sciinterp.association.partitions import Part
from sciinterp.association.sequence_baselines import distance_from_start, letter_codes
from sciinterp.codes.by_feature import ByFeature
from sciinterp.samples import Samples

# Neighbouring distances from the start share a stratum until it holds about this many positions.
_BIN_POSITIONS = 20


def strata_of(samples: Samples, train: Part, test: Part) -> dict[str, np.ndarray]:
    """Backgrounds to match, as a stratum for each held-out position: ``all``, ``letter``, ``position``."""
    distance = distance_from_start(samples)[test.rows]
    held = np.bincount(distance)
    by_distance = (np.cumsum(held) - held) // _BIN_POSITIONS
    out = {"all": np.zeros(test.n_positions, np.int64), "position": by_distance[distance]}
    letters = letter_codes(samples, train.samples)
    if letters is not None:
        out["letter"] = letters[0][test.rows].astype(np.int64)
    return out


def lift(
    codes: ByFeature,
    part: Part,
    feature: np.ndarray,
    concept: np.ndarray,
    threshold: np.ndarray,
    stratum: np.ndarray,
) -> np.ndarray:
    """Observed over expected true positives of listed pairs within strata of the background.

    Parameters
    ----------
    codes : ByFeature
        Codes of the positions of `part`.
    part : Part
    feature, concept : int64 [n_pairs]
    threshold : float32 [n_pairs]
    stratum : int64 [n_positions]

    Returns
    -------
    float64 [n_pairs]
        NaN where nothing is expected.
    """
    levels, stratum = np.unique(stratum, return_inverse=True)
    by_stratum = Part(part.samples, part.rows, part.positives, np.asarray(stratum, np.int64), levels)
    counts = count_pairs(codes, by_stratum, feature, concept, threshold)
    size = np.bincount(by_stratum.family, minlength=len(levels))
    expected = (counts.positive * (counts.predicted / np.maximum(1, size))).sum(axis=1)
    return ratio(counts.tp.sum(axis=1), expected)


def matched_lifts(
    codes: ByFeature, test: Part, pairs: dict[str, np.ndarray], strata: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The lift of each pair against every background of :func:`strata_of`.

    Parameters
    ----------
    pairs : dict
        ``feature``, ``concept``, ``threshold``, each [n_pairs].
    """
    listed = (pairs["feature"], pairs["concept"], np.asarray(pairs["threshold"], np.float32))
    return {name: lift(codes, test, *listed, stratum) for name, stratum in strata.items()}
