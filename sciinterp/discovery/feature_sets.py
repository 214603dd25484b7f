"""Sets of features: what none of them marks alone and some of them mark together.

A dictionary may split one thing among features, or read it only where two features meet. Two kinds of sets are proposed,
of features that were left out as single candidates:

* *both*: two features that are active at the same positions :data:`LIFT` times as often as their activity in each family
  has it by chance. The set speaks where both do, as strongly as the weaker one: of two features that each read several
  things, it is what they have in common.
* *either*: features that are each seen in few families, and whose peaks hold the same motif: a profile fitted on the peaks
  of one finds those of the other among positions of the same samples, and the other way round, better than any pair would by
  chance in one search of twenty. Further members are those whose peaks a profile of all members finds so. The set speaks
  where any of them does.

A set is a column of codes like any other, each member as a share of its largest code. How it was found favours sets that
read something, so it competes with sets that are proposed in the same way from codes rotated along their samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.stats import norm

from sciinterp.discovery.calibrate import auroc
from sciinterp.discovery.motifs import find_peaks
from sciinterp.discovery.problem import Problem
from sciinterp.discovery.profiles import MOTIF, fit_profile, score_profile
from sciinterp.discovery.sequence_readers import spread_over
from sciinterp.discovery.surroundings import Surroundings

LIFT = 2.0  # times as often as by chance, so that half of what the set marks is no accident
LEAST_MET = 12  # positions where a pair of "both" meets: it has to be seen in as many families
LEAST_FAMILIES = 5  # of a member of "either": a profile of fewer peaks says nothing
MOST_MEMBERS = 4
MOST_SETS = 60  # of a kind, those that are met most surely
MOST_POOLED = 1000, 150  # features that are compared with each other: for both, for either
EACH = 2  # sets of "both" that one feature may be in
CHANCE = 0.05  # that any pair, or any further member, is one by chance
COMPARED = 8  # other positions a peak


@dataclass(frozen=True)
class FeatureSet:
    """A few features and how they are read together.

    Attributes
    ----------
    kind : str
        ``both`` or ``either``.
    features : tuple of int
    """

    kind: str
    features: tuple[int, ...]

    def __str__(self) -> str:
        *first, last = self.features
        how = "where both are active" if self.kind == "both" else "where any is active"
        return f"the set of features {', '.join(map(str, first))} and {last} ({how})"


def propose(problem: Problem, several: np.ndarray, few: np.ndarray) -> list[FeatureSet]:
    """Sets of two kinds.

    Parameters
    ----------
    problem : Problem
        Must have letters.
    several : int64
        Features of which some may read several things.
    few : int64
        Features that are seen in few families.
    """
    return [*_both(problem, several[: MOST_POOLED[0]]), *_either(problem, few)]


def set_columns(problem: Problem, sets: Sequence[FeatureSet]) -> sp.csc_array:
    """csc float32 [n_positions, n_sets]: what each set says."""
    used = sorted({f for s in sets for f in s.features})
    codes = _scaled(problem.columns(used))
    parts = []
    for s in sets:
        members = codes[:, [used.index(f) for f in s.features]]
        column = members[:, [0]]
        for k in range(1, len(s.features)):
            other = members[:, [k]]
            column = column.minimum(other) if s.kind == "both" else column.maximum(other)
        parts.append(sp.csc_array(column))
    return sp.csc_array(sp.hstack([sp.csc_array((problem.n_positions, 0), dtype=np.float32), *parts]))


def _scaled(codes: sp.csc_array) -> sp.csc_array:
    """Each column as a share of its largest code."""
    largest = np.asarray(codes.max(axis=0).todense()).ravel()
    scaled = codes.copy()
    scaled.data = codes.data / np.repeat(np.maximum(largest, 1e-12), np.diff(codes.indptr))
    return sp.csc_array(scaled.astype(np.float32))


def _both(problem: Problem, pool: np.ndarray) -> list[FeatureSet]:
    """Pairs that meet more often than by chance, the surest first."""
    family = problem.family[problem.sample_of]
    count, met = np.zeros((family.max() + 1, len(pool))), np.zeros((len(pool), len(pool)))
    for part, on in problem.rows(pool):
        on.data[:] = 1
        one, at = np.ones(on.shape[0], np.float32), (family[part], np.arange(on.shape[0]))
        count += (sp.csr_array((one, at), shape=(len(count), on.shape[0])) @ on).todense()
        met += (on.T @ on).todense()
    expected = count.T @ (count / np.maximum(np.bincount(family), 1)[:, None])
    i, j = np.triu_indices(len(pool), 1)
    met, expected = met[i, j], np.maximum(expected[i, j], 1e-9)
    sure = met * np.log(np.maximum(met, 1e-9) / expected) - (met - expected)
    good = np.flatnonzero((met >= LIFT * expected) & (met >= LEAST_MET))
    found: list[FeatureSet] = []
    times = np.zeros(len(pool), np.int64)
    for k in good[np.argsort(-sure[good], kind="stable")]:
        if len(found) < MOST_SETS and max(times[i[k]], times[j[k]]) < EACH:
            times[[i[k], j[k]]] += 1
            found.append(FeatureSet("both", (int(pool[i[k]]), int(pool[j[k]]))))
    return found


def _either(problem: Problem, pool: np.ndarray) -> list[FeatureSet]:
    """Features of few families that find each other's peaks, the surest first."""
    position = find_peaks(problem).position[pool]
    n = (position >= 0).sum(1)
    kept = np.flatnonzero(n >= LEAST_FAMILIES)
    kept = np.sort(kept[np.argsort(-n[kept], kind="stable")][: MOST_POOLED[1]])
    if len(kept) < 2:
        return []
    pool, size = pool[kept], len(kept)
    peaks = _Peaks.of(problem, position[kept][:, : n[kept].max()])
    z = np.stack([peaks.found_by([i]) for i in range(size)])
    surest = np.triu((z + z.T) / np.sqrt(2) - norm.isf(2 * CHANCE / (size * (size - 1))), 1)
    found, free = [], np.ones(size, bool)
    for k in np.argsort(-surest, axis=None, kind="stable"):
        members = list(divmod(int(k), size))
        if surest[members[0], members[1]] <= 0 or len(found) >= MOST_SETS:
            break
        if not free[members].all():
            continue
        free[members] = False
        while len(members) < MOST_MEMBERS and free.any():
            also = np.where(free, peaks.found_by(members) - norm.isf(CHANCE / free.sum()), 0)
            if also.max() <= 0:
                break
            members.append(int(np.argmax(also)))
            free[members] = False
        found.append(FeatureSet("either", tuple(sorted(int(pool[m]) for m in members))))
    return found


@dataclass(frozen=True, eq=False)
class _Peaks:
    """Peaks of some features [n, n_peaks] on the padded axis, and each with what it is compared with [n, n_peaks, 1 + COMPARED]."""

    around: Surroundings
    at: np.ndarray
    every: np.ndarray

    @classmethod
    def of(cls, problem: Problem, position: np.ndarray) -> _Peaks:
        at = problem.around.padded(position)
        other = spread_over(problem.around, at, COMPARED)
        return cls(problem.around, at, np.concatenate([at[..., None], other], axis=2))

    def found_by(self, members: list[int]) -> np.ndarray:
        """float [n]: by how many deviations a profile of the members' peaks finds each feature's better than by chance."""
        around, train = self.around, self.at[members].reshape(1, -1)
        odds = fit_profile(around.letters, train, train >= 0, around.share(), MOTIF)
        size, real = len(self.at), self.at >= 0
        flat = self.every.reshape(size, -1)
        score = score_profile(around.letters, flat, np.repeat(odds, size, axis=0), MOTIF)[0]
        score = score.reshape(self.every.shape)
        area = np.array([auroc(s[r, 0], s[r, 1:].ravel()) for s, r in zip(score, real)])
        # Mann and Whitney's deviation by chance, of peaks and what they are compared with.
        n = real.sum(1)
        deviation = np.sqrt((n * (1 + COMPARED) + 1) / (12 * n * n * COMPARED))
        return (area - 0.5) / deviation
