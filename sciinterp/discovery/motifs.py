"""Where features peak, one position a family, and where the motif lies about the peaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciinterp.codes.peaks import largest_in_groups
from sciinterp.discovery.problem import Problem
from sciinterp.discovery.profiles import MOTIF, fit_profile, score_profile

MAX_PEAKS = 80
STRONG = 1 / 3  # of a feature's largest activation, from which a family's best position counts as a peak


@dataclass(frozen=True, eq=False)
class Peaks:
    """Strongest peak of each feature in each family, strongest families first.

    Attributes
    ----------
    position : int64 [n_features, MAX_PEAKS]
        On the concatenated axis, -1 where there are fewer.
    n_families : int64 [n_features]
        Families with a peak of at least half of the feature's strong peaks and :data:`STRONG` of its largest
        (all of them, also beyond MAX_PEAKS).
    """

    position: np.ndarray
    n_families: np.ndarray


def find_peaks(problem: Problem) -> Peaks:
    """The strongest position of every feature in every family, where that is a strong one."""
    family = problem.family[problem.sample_of]
    position = np.full((problem.n_features, MAX_PEAKS), -1, np.int64)
    n_families = np.zeros(problem.n_features, np.int64)
    for first, block in problem.blocks():
        found = largest_in_groups(block, family)
        ends = np.cumsum(np.bincount(found.feature, minlength=block.n_features))
        for j, (lo, hi) in enumerate(zip(np.r_[0, ends], ends)):
            value, at = found.value[lo:hi], found.position[lo:hi]
            if not len(value):
                continue
            strong = np.flatnonzero(value >= max(np.quantile(value, 0.9) / 2, STRONG * value.max()))
            best = strong[np.argsort(-value[strong], kind="stable")][:MAX_PEAKS]
            position[first + j, : len(best)], n_families[first + j] = at[best], len(strong)
    return Peaks(position, n_families)


def motif_offsets(problem: Problem, position: np.ndarray) -> np.ndarray:
    """How far from each peak of one feature the middle of its aligned motif lies, int64 [n_peaks]."""
    around = problem.around
    at = around.padded(position[None])
    odds = fit_profile(around.letters, at, at >= 0, around.share(), MOTIF)
    return score_profile(around.letters, at, odds, MOTIF)[1][0]
