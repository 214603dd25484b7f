"""Refinements: a concept whose instances split between features that hold on disjoint families.

A feature holds a family when it fires in at least half of the concept's instances there. Of the pairs of specific
features that hold disjoint families, the best is the one which holds most families, each by one of the two alone. That
looking at all pairs finds a good one by chance is in its p-value: under the null that features hold families independently, the best
pair is looked for again after every feature's families were permuted (:data:`N_DRAWS` times). All families judge, as nothing has to be held out for
a choice that the null repeats. Probabilities use Sellke, Bayarri and Berger's (2001) bound on the Bayes factor, and a share of concepts that are
two which is estimated from all (:func:`sciinterp.discovery.calibrate.posterior`): a pair among many concepts that show none is
less likely one. q-values are Benjamini and Hochberg's over
all concepts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import false_discovery_control

from sciinterp.codes.intervals import positions_in
from sciinterp.discovery.calibrate import posterior
from sciinterp.discovery.problem import Problem

MIN_FAMILIES = 20
MIN_SIDE = 4  # families each side must hold alone
N_FEATURES = 24  # specific features looked at for one concept
N_DRAWS = 4999  # permutations of families
BLOCK = 1 << 20  # values permuted at once
MAX_BOTH, MIN_COVER = 0.25, 0.55
LISTED = 0.2  # probability below which a pair is no candidate


@dataclass(frozen=True)
class Refinement:
    """One concept's best pair, how many of its families each holds, and the p-value of such a pair."""

    concept: str
    a: int
    b: int
    only_a: int
    only_b: int
    both: int
    neither: int
    score: float
    p: float


def find_refinements(problem: Problem) -> tuple[list[Refinement], dict[str, str], int]:
    """The best pair of every concept that has one, why the others have none, and how many concepts were tested."""
    found, skipped, n_tested = [], {}, 0
    for c, concept in enumerate(problem.names):
        table = problem.instances_of(c)
        n = len(np.unique(problem.family[table["sample"].to_numpy()]))
        if n < MIN_FAMILIES:
            skipped[concept] = f"instances in only {n} families"
            continue
        features = _specific(problem, c)
        if len(features) < 2:
            skipped[concept] = "fewer than two features are specific to it"
            continue
        n_tested += 1
        hold = _hold(problem, table, features)
        pair = best_pair(hold)
        if pair is None:
            skipped[concept] = "no two features hold disjoint families"
            continue
        i, j = pair
        a, b = hold[:, i], hold[:, j]
        counts = [int(x.sum()) for x in (a & ~b, b & ~a, a & b, ~a & ~b)]
        score, p = float(_fits(hold[None]).max()), chance_of_pair(hold)
        found.append(Refinement(concept, int(features[i]), int(features[j]), *counts, score=score, p=p))
    return found, skipped, n_tested


def calibrate_refinements(
    found: list[Refinement], n_tested: int, n_considered: int
) -> tuple[np.ndarray, np.ndarray]:
    """Probability and q-value of each refinement; those of the other concepts tested have a p-value of 1.

    Examples
    --------
    >>> one = Refinement("a", 0, 1, 9, 8, 0, 1, 0.9, 0.001)
    >>> alone, among = (calibrate_refinements([one], n, n) for n in (1, 30))
    >>> bool(alone[0][0] > 0.7), bool(alone[1][0] < among[1][0])
    (True, True)
    """
    p = np.array([r.p for r in found])
    if not len(p):
        return p, p
    some = np.clip(np.append(p, np.ones(max(n_tested - len(p), 0))), 1e-300, 1 / np.e)
    q = false_discovery_control(np.append(p, np.ones(max(n_considered - len(p), 0))))
    return posterior(-np.log(-np.e * some * np.log(some)))[: len(p)], q[: len(p)]


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


def _hold(problem: Problem, table: pd.DataFrame, features: np.ndarray) -> np.ndarray:
    """bool [n_families, n_features]: the share of instances hit is at least half; families ascending."""
    hits = _instance_hits(problem, table, features)
    names, code = np.unique(problem.family[table["sample"].to_numpy()], return_inverse=True)
    member = sp.csr_array(
        (np.ones(len(code), np.float32), (code, np.arange(len(code)))), shape=(len(names), len(code))
    )
    rate = np.asarray((member @ hits.astype(np.float32)).todense())
    return rate / np.bincount(code, minlength=len(names))[:, None] >= 0.5


def _fits(hold: np.ndarray) -> np.ndarray:
    """float [n, n_features, n_features]: share of families that one of two features holds alone, less that of both; -inf
    where they are not apart. ``hold`` is bool [n, n_families, n_features]."""
    h, n = hold.astype(np.float32), hold.shape[1]
    both = h.transpose(0, 2, 1) @ h
    each = h.sum(1)
    only_i, only_j = each[:, :, None] - both, each[:, None] - both
    cover = (only_i + only_j + both) / n
    apart = both <= MAX_BOTH * np.minimum(each[:, :, None], each[:, None])
    fits = (np.minimum(only_i, only_j) >= MIN_SIDE) & apart & (cover >= MIN_COVER)
    return np.where(fits, cover - 2 * both / n, -np.inf)


def best_pair(hold: np.ndarray) -> tuple[int, int] | None:
    """The pair that holds most families, each alone; ``hold`` is bool [n_families, n_features]."""
    fit = _fits(hold[None])[0]
    i, j = np.unravel_index(int(np.argmax(fit)), fit.shape)
    return (int(min(i, j)), int(max(i, j))) if np.isfinite(fit[i, j]) else None


def chance_of_pair(hold: np.ndarray, *, n_draws: int = N_DRAWS) -> float:
    """Probability of a pair that fits as well, where every feature holds as many families, but any.

    Examples
    --------
    >>> first = np.arange(30) < 15
    >>> chance_of_pair(np.column_stack([first, ~first])), chance_of_pair(np.column_stack([first, first]))
    (0.0002, 1.0)
    """
    observed, n_better = _fits(hold[None]).max(initial=-np.inf), 0
    if not np.isfinite(observed):
        return 1.0
    rng, at_once = np.random.default_rng(0x5911), max(1, BLOCK // max(hold.size, 1))
    for first in range(0, n_draws, at_once):
        some = np.broadcast_to(hold, (min(at_once, n_draws - first), *hold.shape))
        n_better += int((_fits(rng.permuted(some, axis=1)).max((1, 2)) >= observed - 1e-6).sum())
    return (1 + n_better) / (1 + n_draws)
