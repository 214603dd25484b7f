"""Does a candidate stand where families are alike by descent, or on a concept that is annotated?

A motif that recurs at unrelated places is news; one that families carry with the same letters around it is a stretch
they share by descent: an expert on these sequences knows it, whether a source states it or not.

* *homologous*: the peaks of a feature, one a family, are laid over each other at the motif, and the letters beside the
  motif are compared between families. A family counts when it agrees with at least half of the others in more letters
  than unrelated sequence would (:data:`DEVIATIONS` standard deviations above the agreement of random letters).
* *carried*: the share of all families with a sample that holds the stretch, motif and flanks, whether the feature
  fires there or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciinterp.codes.intervals import covered_by, windows
from sciinterp.discovery.motifs import motif_offsets
from sciinterp.discovery.problem import Problem
from sciinterp.discovery.profiles import MOTIF

FLANK = 10  # letters compared on either side of the motif
REACH = MOTIF.width // 2 + FLANK
DEVIATIONS = 3.0
WORST = 0.1  # share of the peaks that may score below what counts as carrying the stretch
CONSERVED = 0.5  # homologous share from which a stretch is called conserved
# Of the stretches that are shared by descent one in ten is taken for news. An assumption: no source says what experts know.
NEWS = 0.1
# Share of the peaks that must read a part of a concept, how often chance must be exceeded, and what is a narrow concept.
AT_CONCEPT, ENRICHED, NARROW = 0.5, 3.0, 0.1


@dataclass(frozen=True)
class Place:
    """Where one feature's stretch stands among the families.

    Attributes
    ----------
    homologous, carried : float
    n_families : int
        All families.
    """

    homologous: float
    carried: float
    n_families: int

    @property
    def news(self) -> float:
        """What is left of a probability of being new: 1 where no family shares it by descent, :data:`NEWS` where all do."""
        return 1 - (1 - NEWS) * self.homologous


def place(problem: Problem, peaks: np.ndarray) -> Place:
    """How far the stretch around a feature's peaks is one that families share by descent.

    Parameters
    ----------
    problem : Problem
        Must have letters.
    peaks : int64 [n_peaks]
        One a family; -1 = none.
    """
    peaks = peaks[peaks >= 0]
    n_families = len(np.unique(problem.family))
    if len(peaks) < 3:
        return Place(0.0, len(peaks) / n_families, n_families)
    centre = peaks + motif_offsets(problem, peaks)
    window = windows(problem.text, centre, REACH, problem.samples.offsets, beyond=len(problem.alphabet))
    beside = np.abs(np.arange(-REACH, REACH + 1)) > MOTIF.width // 2
    return Place(_alike(problem, window[:, beside]), _carried(problem, window, n_families), n_families)


def _alike(problem: Problem, flank: np.ndarray) -> float:
    """Share of the rows that agree with half of the others in more letters than unrelated sequence would."""
    n_letters = len(problem.alphabet)
    inside = flank < n_letters
    chance = float((problem.around.share() ** 2).sum())
    same = ((flank[:, None] == flank[None]) & inside[:, None] & inside[None]).sum(-1)
    both = (inside[:, None] & inside[None]).sum(-1)
    wanted = both * chance + DEVIATIONS * np.sqrt(both * chance * (1 - chance))
    related = (same > wanted) & (both >= FLANK // 2)
    np.fill_diagonal(related, False)
    return float((related.sum(1) >= 0.5 * (len(flank) - 1)).mean())


def _carried(problem: Problem, window: np.ndarray, n_families: int) -> float:
    """Share of families with a sample that holds the stretch as well as all but the worst peaks do."""
    letters, n_letters = problem.text, len(problem.alphabet)
    background = problem.around.share()
    counts = np.stack([np.bincount(column, minlength=n_letters + 1)[:n_letters] for column in window.T])
    share = (counts + 3 * background) / (counts.sum(1, keepdims=True) + 3)
    odds = np.hstack([np.log(share / (background + 1e-9)), np.zeros((len(share), 1))])
    wanted = np.quantile(odds[np.arange(len(odds)), window].sum(1), WORST)
    score = np.zeros(len(letters))
    for j, column in enumerate(odds):
        step = j - REACH
        lo, hi = max(0, -step), len(letters) - max(0, step)
        # A window that reaches into the next sample reads its letters: at an end a few columns of many.
        score[lo:hi] += column[letters[lo + step : hi + step]]
    return len(np.unique(problem.family[problem.sample_of[score >= wanted]])) / n_families


def at_known_concepts(problem: Problem, peaks: np.ndarray) -> np.ndarray:
    """For each row of peaks the number of the narrow concept that most of them read a part of, -1 where there is none.

    A peak reads a part of a concept when it lies inside an instance or when its aligned motif holds a whole one. The
    concept must hold at most a tenth of all positions, half of the peaks must read a part of it, and that must be
    three times what random positions of the same samples would.

    Parameters
    ----------
    peaks : int64 [n, n_peaks]
    """
    best, share = np.full(len(peaks), -1), np.zeros(len(peaks))
    real, at = peaks >= 0, np.maximum(peaks, 0)
    n_real, sample = np.maximum(real.sum(1), 1), problem.sample_of[np.maximum(peaks, 0)]
    middle = at.copy()
    for i in np.flatnonzero(real.any(1)):
        middle[i, real[i]] += motif_offsets(problem, peaks[i, real[i]])
    middle = np.clip(middle, 0, problem.n_positions - 1)
    for c in np.flatnonzero(problem.n_positive <= NARROW * problem.n_positions):
        inside, holds = _marks(problem, int(c))
        read = (inside[at] | holds[middle]) & real
        by_sample = np.bincount(
            problem.sample_of[inside | holds], minlength=len(problem.samples)
        ) / np.maximum(problem.samples.lengths, 1)
        found = read.sum(1) / n_real
        chance = np.where(real, by_sample[sample], 0).sum(1) / n_real
        better = (found >= np.maximum(AT_CONCEPT, ENRICHED * chance)) & (found > share)
        best[better], share[better] = c, found[better]
    return best


def _marks(problem: Problem, concept: int) -> tuple[np.ndarray, np.ndarray]:
    """bool [n_positions] each: inside an instance of a concept, and in the middle of a motif that holds a whole one."""
    n, half = problem.n_positions, MOTIF.width // 2
    table = problem.instances_of(concept)
    start, end = table["start"].to_numpy(), table["end"].to_numpy()
    short = end - start <= MOTIF.width
    return covered_by(start, end, n), covered_by(end[short] - 1 - half, start[short] + half + 1, n)
