"""Samples within families: the units of a test where relatives are exchangeable, as the cells of one donor are.

Where every donor has every cell type, families tell nothing apart: all of them carry the concept. Given the donor, its
cells are exchangeable as far as a feature knows nothing of their type, so the test permutes labels within donors: the
exact stratified test of :mod:`sciinterp.association.statistics` with samples as units and families, divided by length, as
strata. What it
says holds for the donors at hand; in how many of them the feature leans the same way is counted beside.

Homologs are not exchangeable: a family has its own clades, which share features and annotations alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from sciinterp.association.by_position import indicator
from sciinterp.association.exposure import sample_exposure
from sciinterp.association.presence import present_in_samples
from sciinterp.budget import ranges
from sciinterp.codes import FeatureMatrix

# What a pair takes in a sample while it is counted.
_CELL_BYTES = 16


@dataclass(frozen=True, eq=False)
class Units:
    """What a test counts."""

    present: np.ndarray  # bool [n_features, n_units]
    carries: np.ndarray  # bool [n_concepts, n_units]: whether the unit carries a concept
    known: np.ndarray  # bool [n_concepts, n_units]: whether anything is known of it there
    family: np.ndarray  # int64 [n_units]
    # float64 [n_units, n_kinds]: what makes anything more likely to be seen in a unit, see
    # association.exposure.
    exposure: np.ndarray


def within_families(
    features: FeatureMatrix,
    carries: np.ndarray,
    covered: np.ndarray,
    family: np.ndarray,
    *,
    per_family: int,
    seed: int,
) -> Units:
    """Samples as units, at most `per_family` of each family, drawn without a look at labels or features."""
    numbers = _drawn(family, per_family, seed)
    present = present_in_samples(sp.csr_array(features.max_per_sample()[numbers]))
    known = covered[numbers].T
    exposure = sample_exposure(features.samples.lengths[numbers])
    return Units(present, known & carries[numbers].T, known, np.asarray(family)[numbers], exposure)


def _drawn(family: np.ndarray, per_family: int, seed: int) -> np.ndarray:
    """Numbers of samples, ascending, at most `per_family` of each family."""
    order = np.lexsort((np.random.default_rng(seed).random(len(family)), family))
    first = np.searchsorted(family[order], family[order], side="left")
    return np.sort(order[np.arange(len(order)) - first < per_family])


def mixed_families(units: Units, n_families: int) -> np.ndarray:
    """bool [n_concepts, n_families]: families with samples that carry a concept and samples that do not."""
    to_family = indicator(units.family, n_families, np.float32)
    with_it = np.asarray(units.carries.astype(np.float32) @ to_family)
    known = np.asarray(units.known.astype(np.float32) @ to_family)
    return (with_it > 0) & (with_it < known)


def families_leaning(units: Units, feature: np.ndarray, concept: np.ndarray, mixed: np.ndarray) -> np.ndarray:
    """int64 [n_pairs]: mixed families in which the feature is present in a larger share of the carriers."""
    to_family = indicator(units.family, mixed.shape[1], np.float32)
    out = np.zeros(len(feature), np.int64)
    for low, high in ranges(len(feature), _CELL_BYTES * len(units.family)):
        mine = concept[low:high]
        on, carries, known = units.present[feature[low:high]], units.carries[mine], units.known[mine]
        with_it, without = (
            [np.asarray(x.astype(np.float32) @ to_family) for x in (on & part, part)]
            for part in (carries, known & ~carries)
        )
        higher = with_it[0] * without[1] > without[0] * with_it[1]
        out[low:high] = (higher & mixed[mine]).sum(axis=1)
    return out
