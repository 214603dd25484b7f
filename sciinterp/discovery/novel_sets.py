"""Novel concepts that only a set of features marks.

Sets are proposed (:mod:`sciinterp.discovery.feature_sets`) among the features that were left out as single candidates:
those seen in few families, those that are not coherent alone, and those that no other dictionary has; what fires with a feature
that passes alone is not proposed. Each is a column of
codes that is judged as a single feature is (:mod:`sciinterp.discovery.novel`): by the same readers on held-out families, beside
the same known features, by the same rules, and against twins, which are the sets that are proposed in the same way from
codes rotated along their samples. In a dictionary of another seed a set, or a twin, is made of the features that are most like
it; it is stable where that set, or any one feature, marks the same places.

Sets are a list of their own, behind the single features: nothing that is said of these depends on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from sciinterp.codes import FeatureMatrix
from sciinterp.discovery.feature_sets import MOST_MEMBERS, FeatureSet, propose, set_columns
from sciinterp.discovery.novel import (
    FEW,
    INCOHERENT,
    KNOWN,
    MAX_POSITIVES,
    UNSTABLE,
    Novel,
    find_novel,
)
from sciinterp.discovery.problem import Problem
from sciinterp.discovery.together import TOGETHER, cosines, like

MEET = {"both": 2, "either": 1}  # members that have to meet for a set to speak


def find_sets(
    problem: Problem, alone: Novel, *, stability: Sequence[FeatureMatrix] = ()
) -> tuple[Problem, Novel] | None:
    """The sets that pass, and the problem whose columns they are; None where none is proposed.

    Parameters
    ----------
    problem : Problem
        Must have letters.
    alone : Novel
        What was found of single features; their fates say which may be members.
    stability : sequence of FeatureMatrix
        Codes of the same positions by dictionaries of other seeds.
    """
    several, few = _pools(problem, alone.fate)
    sets, turned = _apart(problem, propose(problem, several, few), alone.feature), problem.shifted(0)
    if not sets:
        return None
    known = np.flatnonzero(alone.fate == KNOWN)
    known = known[np.argsort(-problem.f1.max(0, initial=0)[known], kind="stable")][:MAX_POSITIVES]
    beside = np.arange(len(known))
    columns = _columns(problem, known, sets)
    false = propose(turned, several, few)
    twins = _columns(turned, known, false)
    others = [
        (o, _like(columns, sets, problem.with_features(o)), _like(twins, false, problem.with_features(o)))
        for o in stability
    ]
    meet = [np.append(np.ones(len(known)), [MEET[s.kind] for s in some]) for some in (sets, false)]
    found = find_novel(columns, stability=others, known_pairs=beside, twins=twins, members=meet)
    assert not isinstance(found, str)  # there are letters
    counts = {"proposed": len(sets), **found.counts}
    members = tuple(sets[j - len(known)] for j in found.feature.tolist())
    return columns, replace(found, counts=counts, sets=members)


def _pools(problem: Problem, fate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features that may be members of "both" and of "either", the most active first."""
    order = np.argsort(-problem.active, kind="stable")
    alone = np.isin(fate, [INCOHERENT, UNSTABLE])[order]
    return order[alone], order[(fate == FEW)[order]]


def _apart(problem: Problem, sets: list[FeatureSet], features: np.ndarray) -> list[FeatureSet]:
    """The sets that do not fire with any of the features."""
    near = like(problem, features, sp.csr_array(set_columns(problem, sets))).max(1, initial=0)
    return [s for s, nearest in zip(sets, near) if nearest < TOGETHER]


def _columns(problem: Problem, known: np.ndarray, sets: Sequence[FeatureSet]) -> Problem:
    """A problem of some features as they are, and of sets."""
    codes = sp.hstack([problem.columns(known), set_columns(problem, sets)])
    return problem.with_features(FeatureMatrix(sp.csc_array(codes), problem.samples))


def _like(columns: Problem, sets: Sequence[FeatureSet], other: Problem) -> FeatureMatrix:
    """Sets of as many features of another dictionary, those most like each set (the last columns)."""
    last = np.arange(columns.n_features - len(sets), columns.n_features)
    mine = sp.csr_array(columns.columns(last).astype(np.float64).T)
    whose = cosines(mine, other.features, MOST_MEMBERS)[1]
    there = [FeatureSet(s.kind, tuple(w[: len(s.features)])) for s, w in zip(sets, whose.tolist())]
    return FeatureMatrix(set_columns(other, there), other.samples)
