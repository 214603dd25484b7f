"""Sets of features: what is proposed and why, and that a concept which no single feature reads is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from sciinterp.annotations import Annotations
from sciinterp.codes import FeatureMatrix
from sciinterp.discovery import PlantedSettings, plant
from sciinterp.discovery.evidence import Evidence, novel_record
from sciinterp.discovery.feature_sets import FeatureSet, propose, set_columns
from sciinterp.discovery.novel import find_novel
from sciinterp.discovery.novel_sets import find_sets
from sciinterp.discovery.problem import Problem, make_problem
from sciinterp.samples import Samples
from sciinterp.splits import split_families

N_FAMILIES, LENGTH, SIZE = 42, 120, 6
BOTH, EITHER, OTHER = (0, 1), (2, 3, 4), tuple(range(5, 13))


def problem_of(codes: np.ndarray, sequences: list[str]) -> Problem:
    samples = Samples(
        [f"s{i}" for i in range(len(sequences))],
        sequences,
        table=pd.DataFrame({"family": [f"F{i}" for i in range(len(sequences))]}),
        kind="protein",
    )
    none = Annotations(pd.DataFrame({"sample": [], "start": [], "end": [], "concept": []}))
    features = FeatureMatrix(sp.csr_array(codes.astype(np.float32)), samples)
    return make_problem(features, none, split_families(samples, by="family", seed=0))


@pytest.fixture(scope="module")
def problem() -> Problem:
    """A motif in every family. Two features read it and twice as much else; three read a third of the families each; the
    others read a place in ten families."""
    rng = np.random.default_rng(7)
    letters = rng.integers(0, 20, (N_FAMILIES, LENGTH))
    start = rng.integers(10, LENGTH - 20, N_FAMILIES)
    codes = np.zeros((N_FAMILIES, LENGTH, 13))
    for i, at in enumerate(start):
        letters[i, at : at + SIZE] = np.arange(SIZE)
        for j in BOTH:
            codes[i, at : at + SIZE, j] = rng.gamma(8, 1 / 8, SIZE)
            codes[i, rng.integers(0, LENGTH, 2 * SIZE), j] = rng.gamma(8, 1 / 8, 2 * SIZE)
        if i < 30:
            codes[i, at + 2, EITHER[i % 3]] = rng.gamma(8, 1 / 8)
        for j in OTHER:
            if rng.random() < 10 / N_FAMILIES:
                codes[i, rng.integers(0, LENGTH), j] = rng.gamma(8, 1 / 8)
    alphabet = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    return problem_of(codes.reshape(-1, 13), ["".join(alphabet[row]) for row in letters])


SEVERAL, FEW = np.array(BOTH + OTHER), np.array(EITHER + OTHER)


def test_features_that_meet_and_features_that_share_a_motif_are_proposed(problem):
    assert propose(problem, SEVERAL, FEW) == [FeatureSet("both", BOTH), FeatureSet("either", EITHER)]


def test_nothing_is_proposed_where_places_are_by_chance(problem):
    """Rotated codes keep which features meet, and lose which share a motif."""
    found = [s for r in range(10) for s in propose(problem.shifted(r), SEVERAL, FEW)]
    assert found.count(FeatureSet("both", BOTH)) == 10
    assert len(found) <= 11  # one search of twenty finds a pair by chance


def test_a_set_speaks_where_both_do_or_any_does(problem):
    sets = [FeatureSet("both", BOTH), FeatureSet("either", EITHER)]
    both, either = set_columns(problem, sets).toarray().T
    codes = problem.columns(np.arange(5)).toarray()
    scaled = codes / codes.max(0)
    np.testing.assert_allclose(both, scaled[:, list(BOTH)].min(1), rtol=1e-6)
    np.testing.assert_allclose(either, scaled[:, list(EITHER)].max(1), rtol=1e-6)
    assert set_columns(problem, []).shape == (problem.n_positions, 0)


def test_names_say_how_members_are_read() -> None:
    assert str(FeatureSet("both", (3, 9))) == "the set of features 3 and 9 (where both are active)"
    assert str(FeatureSet("either", (1, 2, 7))) == "the set of features 1, 2 and 7 (where any is active)"


@pytest.fixture(scope="module")
def split_world():
    """A planted world where the readers of a hidden concept are parted: two that also answer to much else."""
    world = plant(
        2,
        PlantedSettings(
            n_families=40, n_masked=4, n_novel=2, n_merged=1, n_plain=2, n_features=96, n_seeds=0
        ),
    )
    readers = sorted(world.novel.values(), key=len)[-1]
    codes = world.features.by_sample(np.arange(len(world.features.samples))).tolil()
    rng, whole = np.random.default_rng(3), codes[:, [readers[0]]].toarray().ravel()
    n_other = 3 * int((whole > 0).sum())
    for j in readers:
        codes[:, [j]] = 0
    for j in readers[:2]:
        column = whole.copy()
        at = rng.integers(0, len(column), n_other)
        column[at] = np.maximum(column[at], rng.choice(whole[whole > 0], n_other))
        codes[:, [j]] = column[:, None]
    features = FeatureMatrix(sp.csr_array(codes), world.features.samples)
    return replace(world, features=features), tuple(readers[:2])


def test_a_concept_that_two_features_read_among_much_else_is_found(split_world):
    world, pair = split_world
    problem = make_problem(world.features, world.annotations, world.split)
    alone = find_novel(problem)
    assert not isinstance(alone, str) and not set(pair) & set(alone.feature.tolist())
    found = find_sets(problem, alone)
    assert found is not None
    columns, sets = found
    best = int(np.argmax(sets.probability))
    assert sets.sets[best].kind == "both" and set(sets.members(best)) == set(pair)
    assert sets.counts["proposed"] >= len(sets.feature) and len(sets.sets) == len(sets.feature)
    record = novel_record(Evidence(columns, pd.DataFrame()), sets, best, [])
    assert record["features"] == list(sets.members(best)) and record["against"]
    assert "where both are active" in record["claim"] and "where both" in record["would_be_falsified_by"]
