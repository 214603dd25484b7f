"""Refinements: a concept whose instances split between features that hold on disjoint families.

A feature holds a family when it fires in at least half of the concept's instances there. Pairs of specific
features that hold disjoint families and together nearly all of them are chosen on training families, one pair a
concept, and tested once on the others: Fisher's exact test that the two hold the same families less often than
by chance. Probabilities start from one split in five concepts tested and use Sellke, Bayarri and Berger's (2001)
bound on the Bayes factor, after a Bonferroni factor for the pairs tested; q-values are Benjamini and Hochberg's over
all concepts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import false_discovery_control, hypergeom

from sciinterp.codes.intervals import positions_in
from sciinterp.discovery.problem import Problem

MIN_FAMILIES = 20
MIN_SIDE = 4  # training families each side must hold
MIN_TEST = 6  # held-out families with the concept, below which no split of them is surprising
N_FEATURES = 24  # specific features looked at for one concept
MAX_BOTH, MIN_COVER = 0.25, 0.55
PRIOR = 0.2  # share of tested pairs that are splits, before looking


@dataclass(frozen=True)
class Refinement:
    """One concept's best pair, measured on families it was not chosen on."""

    concept: str
    a: int
    b: int
    only_a: int
    only_b: int
    both: int
    neither: int
    score: float
    p: float


def find_refinements(problem: Problem, held_out: np.ndarray) -> tuple[list[Refinement], dict[str, str], int]:
    """The best pair of every concept that has one, why the others have none, and how many pairs were tested.

    Parameters
    ----------
    problem : Problem
    held_out : bool [n_samples]
        Samples whose families are kept for the test.
    """
    found, skipped, n_tested = [], {}, 0
    for c, concept in enumerate(problem.names):
        table = problem.instances[problem.instances["concept"] == c]
        family = problem.family[table["sample"].to_numpy()]
        test = held_out[table["sample"].to_numpy()]
        if len(np.unique(family)) < MIN_FAMILIES or len(np.unique(family[test])) < MIN_TEST:
            skipped[concept] = f"instances in only {len(np.unique(family))} families"
            continue
        features = _specific(problem, c)
        if len(features) < 2:
            skipped[concept] = "fewer than two features are specific to it"
            continue
        hits = _instance_hits(problem, table, features)
        hold_train, hold_test = _hold(hits, family, ~test), _hold(hits, family, test)
        pair = _choose(hold_train)
        if pair is None:
            skipped[concept] = "no two features hold disjoint families"
            continue
        i, j = pair
        n_tested += 1
        a, b = hold_test[:, i], hold_test[:, j]
        counts = [int(x.sum()) for x in (a & ~b, b & ~a, a & b, ~a & ~b)]
        n = len(a)
        p = float(hypergeom.cdf(counts[2], n, int(a.sum()), int(b.sum())))
        score = (counts[0] + counts[1]) / max(n, 1) - 2 * counts[2] / max(n, 1)
        if min(counts[0], counts[1]) < 1:
            skipped[concept] = "the split was not seen on the families it was tested on"
            continue
        found.append(
            Refinement(
                concept, int(features[i]), int(features[j]), *counts, score=float(score), p=max(p, 1e-300)
            )
        )
    return found, skipped, n_tested


def calibrate_refinements(
    found: list[Refinement], n_tested: int, n_considered: int
) -> tuple[np.ndarray, np.ndarray]:
    """Probability and q-value of each refinement; q-values pay for every concept that was considered."""
    p = np.array([r.p for r in found])
    if not len(p):
        return p, p
    adjusted = np.clip(p * max(n_tested, 1), 1e-300, 1 / np.e)
    bound = -np.e * adjusted * np.log(adjusted)
    untested = np.ones(max(n_considered - len(p), 0))
    q = false_discovery_control(np.append(p, untested))[: len(p)]
    odds = PRIOR / (1 - PRIOR) / bound
    return odds / (1 + odds), q


def _instance_hits(problem: Problem, table: pd.DataFrame, features: np.ndarray) -> sp.csr_array:
    """csr bool [n_instances, n_features]: does each of some features fire inside the instance?"""
    row, position = positions_in(table["start"].to_numpy(), table["end"].to_numpy())
    member = sp.csr_array(
        (np.ones(len(row), np.float32), (row, position)), shape=(len(table), problem.n_positions)
    )
    return sp.csr_array(member @ problem.columns(features)).astype(bool)


def _specific(problem: Problem, c: int) -> np.ndarray:
    """Features enriched in the concept, by overlap."""
    precision = problem.overlap[c] / np.maximum(problem.active, 1)
    prevalence = problem.n_positive[c] / problem.n_positions
    usable = np.flatnonzero(
        (precision >= np.minimum(np.maximum(0.15, 3 * prevalence), 0.8)) & (problem.overlap[c] >= 10)
    )
    return usable[np.argsort(-problem.overlap[c][usable], kind="stable")][:N_FEATURES]


def _hold(hits: sp.csr_array, family: np.ndarray, use: np.ndarray) -> np.ndarray:
    """bool [n_families, n_features]: the share of instances hit is at least half."""
    names, code = np.unique(family[use], return_inverse=True)
    member = sp.csr_array(
        (np.ones(len(code), np.float32), (code, np.arange(len(code)))), shape=(len(names), len(code))
    )
    rate = np.asarray((member @ hits[np.flatnonzero(use)].astype(np.float32)).todense())
    return rate / np.bincount(code, minlength=len(names))[:, None] >= 0.5


def _choose(hold: np.ndarray) -> tuple[int, int] | None:
    """The pair that holds most training families, each alone."""
    h = hold.astype(float)
    n = len(h)
    both = h.T @ h
    each = h.sum(0)
    only_i, only_j = each[:, None] - both, each[None] - both
    cover = (only_i + only_j + both) / n
    fit = np.where(
        (np.minimum(only_i, only_j) >= MIN_SIDE)
        & (both <= MAX_BOTH * np.minimum(each[:, None], each[None]))
        & (cover >= MIN_COVER),
        cover - 2 * both / n,
        -np.inf,
    )
    i, j = np.unravel_index(int(np.argmax(fit)), fit.shape)
    return (int(min(i, j)), int(max(i, j))) if np.isfinite(fit[i, j]) else None
