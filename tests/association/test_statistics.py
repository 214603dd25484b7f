"""The family-level screen: exact where checked by enumeration, calibrated on nulls, able to find."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, fisher_exact

from sciinterp.association.presence import family_activity, otsu
from sciinterp.association.statistics import (
    ScreenSettings,
    benjamini_hochberg,
    screen,
    screen_samples,
    stratified_exact,
)
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import InputError
from sciinterp.samples import Samples, Split
from sciinterp.settings import build

LENGTH = 80


def smooth_spans(rng, n_rows, length, share, reach=12):
    """bool [n_rows, length]: autocorrelated spans that cover about `share` of the positions."""
    noise = rng.normal(size=(n_rows, length + reach))
    total = np.cumsum(noise, axis=1)
    smooth = total[:, reach:] - total[:, :-reach]
    return smooth > np.quantile(smooth, 1 - share, axis=1, keepdims=True)


def simulate(seed, n_families, members, *, n_features=6, n_concepts=3, planted=0, spread=0.7):
    """Homologs share spans of concepts and features; both are drawn independently unless planted."""
    rng = np.random.default_rng(seed)
    n = n_families * members
    family = np.repeat(np.arange(n_families), members)
    samples = Samples([f"s{i}" for i in range(n)], ["A" * LENGTH] * n)
    carried = rng.random((n_concepts, n_families)) < 0.5
    if planted:
        carried[0] = np.arange(n_families) < planted
    dense, truth = np.zeros((n, LENGTH, n_features), np.float32), np.zeros((n, LENGTH, n_concepts), bool)
    for c in range(n_concepts):
        spans = smooth_spans(rng, n_families, LENGTH, 0.15)[family]
        truth[:, :, c] = spans & carried[c][family][:, None] & (rng.random((n, 1)) < 0.95)
    for j in range(n_features):
        strength = rng.lognormal(0, spread, n_families)[family][:, None] * rng.lognormal(0, 0.2, (n, LENGTH))
        dense[:, :, j] = smooth_spans(rng, n_families, LENGTH, 0.1)[family] * strength
    if planted:
        dense[:, :, 0] = np.where(
            truth[:, :, 0] & (rng.random((n, LENGTH)) < 0.7), rng.lognormal(0.7, 0.4, (n, LENGTH)), 0
        )
        dense[:, :, 0] += (rng.random((n, LENGTH)) < 0.01) * rng.lognormal(0, 0.4, (n, LENGTH))
    features = FeatureMatrix(sp.csr_array(dense.reshape(n * LENGTH, -1)), samples)
    positives = sp.csr_array(truth.reshape(n * LENGTH, -1))
    parts = (np.flatnonzero(family % 3 != 0), np.zeros(0, int), np.flatnonzero(family % 3 == 0))
    split = Split(*parts, family=family, family_names=tuple(map(str, range(n_families))))
    return features, positives, np.ones((n, n_concepts), bool), split


@pytest.mark.parametrize(("n_families", "members"), [(12, 10), (60, 5)])
@pytest.mark.parametrize("strata", ["exposure", "none"])
def test_nulls_are_rejected_at_most_at_the_nominal_rate(n_families, members, strata):
    few = ScreenSettings(n_permutations=99, strata=strata)
    found = [screen(*simulate(seed, n_families, members), settings=few, seed=seed) for seed in range(60)]
    p = np.concatenate([s.p[np.isfinite(s.p)] for s in found])
    assert len(p) > 800
    assert (p <= 0.05).mean() <= 0.075
    assert np.mean([np.nanmin(s.q) <= 0.05 for s in found]) <= 0.075 + 2 * np.sqrt(0.05 * 0.95 / len(found))
    assert np.mean([np.nanmin(s.p_family) <= 0.05 for s in found]) <= 0.075 + 2 * np.sqrt(
        0.05 * 0.95 / len(found)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("n_families", "members"), [(12, 10), (60, 5)])
def test_nulls_over_many_runs(n_families, members):
    few = ScreenSettings(n_permutations=199)
    found = [screen(*simulate(seed, n_families, members), settings=few, seed=seed) for seed in range(1000)]
    p = np.concatenate([s.p[np.isfinite(s.p)] for s in found])
    assert (p <= 0.05).mean() <= 0.075
    assert np.mean([np.nanmin(s.q) <= 0.05 for s in found]) <= 0.075
    assert np.mean([np.nanmin(s.p_family) <= 0.05 for s in found]) <= 0.075


def test_an_association_planted_in_fifteen_families_is_found():
    found = [screen(*simulate(seed, 40, 5, planted=15), seed=seed) for seed in range(40)]
    assert np.mean([s.q[0, 0] <= 0.05 for s in found]) >= 0.95
    assert np.mean([s.p_family[0, 0] <= 0.05 for s in found]) >= 0.95


def test_fifteen_families_are_enough_to_find_one_carried_by_seven():
    found = [screen(*simulate(seed, 15, 8, planted=7), seed=seed) for seed in range(40)]
    assert np.mean([s.p[0, 0] <= 0.05 for s in found]) >= 0.95


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 25))
def test_without_strata_it_is_fishers_exact_test(seed, n):
    rng = np.random.default_rng(seed)
    present, carries = rng.random((3, n)) < 0.5, rng.random((2, n)) < 0.4
    p, z, p_min = stratified_exact(present, carries, np.zeros(n, int))
    for j in range(3):
        for c in range(2):
            table = [
                [(present[j] & carries[c]).sum(), (present[j] & ~carries[c]).sum()],
                [(~present[j] & carries[c]).sum(), (~present[j] & ~carries[c]).sum()],
            ]
            exact = fisher_exact(table, alternative="greater").pvalue
            if z[j, c] > 0.5:
                assert p[j, c] == pytest.approx(exact, rel=1e-9)
            else:
                assert exact > 0.2
                assert p[j, c] > 0.2
            assert p[j, c] >= p_min[c] * (1 - 1e-9)


def test_with_strata_it_is_the_permutation_distribution():
    rng = np.random.default_rng(4)
    strata = np.array([0] * 9 + [1] * 7)
    present, carries = rng.random((1, 16)) < 0.5, rng.random((1, 16)) < 0.5
    carries[0, :4] = present[0, :4]
    p, z, _ = stratified_exact(present, carries, strata)
    assert z[0, 0] > 0.5
    observed, hits, n = (present & carries).sum(), 0, 40000
    for _ in range(n):
        order = np.concatenate([rng.permutation(9), 9 + rng.permutation(7)])
        hits += (present[0] & carries[0, order]).sum() >= observed
    assert p[0, 0] == pytest.approx(hits / n, abs=0.01)


def test_benjamini_hochberg_is_scipys():
    p = np.random.default_rng(0).random((7, 5)) ** 2
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p.ravel()).reshape(p.shape))


def test_what_cannot_be_tested_says_why():
    features, positives, covered, split = simulate(0, 12, 3)
    everywhere = sp.csr_array(np.tile(np.arange(LENGTH) < 5, 36)[:, None])
    rare = sp.csr_array((np.arange(36 * LENGTH) < 3 * LENGTH)[:, None])
    both = sp.csr_array(sp.hstack([everywhere, rare, positives[:, [0]]]).astype(bool))
    found = screen(features, both, covered, split)
    assert found.test[:2] == ["universal", "too few families"]
    assert np.isnan(found.p[:, :2]).all()
    assert np.isnan(found.q[:, :2]).all()
    assert np.isnan(found.p_min[:2]).all()
    assert found.p_min[2] > 1e-4
    assert (found.p[:, 2] >= found.p_min[2] - 1e-12).all()


def test_activity_and_threshold():
    codes = sp.csr_array(np.array([[1, 0], [3, 0], [0, 2], [5, 0]], np.float32))
    features = FeatureMatrix(codes, pd.DataFrame({"id": ["a", "b", "c"], "length": [2, 1, 1]}))
    np.testing.assert_allclose(family_activity(features, np.array([0, 0, 1]), 2), [[1.5, 5], [1, 0]])
    activity = np.random.default_rng(0).random((5, 20)) + (np.arange(20) < 6) * 3
    assert ((activity > otsu(activity)[:, None]) == (np.arange(20) < 6)).all()


def cells(seed, *, n_donors=6, each=40, n_features=8, planted=False):
    """Cells of donors that all have three types, of unequal shares; features differ between donors, not by type."""
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(n_donors), each)
    n = len(donor)
    shares = rng.dirichlet([30, 18, 12], n_donors)
    kind = (rng.random((n, 1)) > np.cumsum(shares, axis=1)[donor]).sum(axis=1)
    carries = kind[:, None] == np.arange(3)
    rate = rng.random((n_donors, n_features)) * 0.6
    codes = (rng.random((n, n_features)) < rate[donor]) * rng.lognormal(0, 0.5, (n, n_features))
    if planted:
        codes[:, 0] = carries[:, 1] * (rng.random(n) < 0.7) * 2.0 + (rng.random(n) < 0.1)
    samples = Samples([f"c{i}" for i in range(n)], lengths=np.ones(n, int), kind="cells")
    numbers = np.arange(n)
    split = Split(numbers, numbers[:0], numbers[:0], donor, tuple(map(str, range(n_donors))))
    return (
        FeatureMatrix(sp.csr_array(codes.astype(np.float32)), samples),
        carries,
        np.ones((n, 3), bool),
        split,
    )


def check_null_cells(found):
    assert {t for s in found for t in s.test} == {"within families"}
    p = np.concatenate([s.p[np.isfinite(s.p)] for s in found])
    bound = 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(found))
    assert (p <= 0.05).mean() <= 0.06
    assert (p <= 0.3).mean() >= 0.15  # discrete, and not empty
    for name in ("q", "p_family"):
        assert np.mean([np.nanmin(getattr(s, name)) <= 0.05 for s in found]) <= bound


def test_cells_of_donors_with_all_types_are_tested_within_donors_at_the_nominal_rate():
    few = ScreenSettings(n_permutations=99, per_family=30)
    check_null_cells([screen_samples(*cells(seed), settings=few, seed=seed) for seed in range(60)])


@pytest.mark.slow
def test_cells_within_donors_over_many_runs():
    few = ScreenSettings(n_permutations=199, per_family=30)
    check_null_cells([screen_samples(*cells(seed), settings=few, seed=seed) for seed in range(1000)])


def test_a_type_that_every_donor_has_is_found_within_donors_and_only_where_samples_are_exchangeable():
    features, carries, covered, split = cells(0, planted=True)
    found = screen_samples(features, carries, covered, split)
    assert found.q[0, 1] < 1e-6
    assert found.p_family[0, 1] <= 0.05
    assert found.p[0, 0] > 0.5
    assert (found.p[1:] >= 0.001).all()
    assert found.n_families.tolist() == [6, 6, 6]
    assert found.families_both(np.array([0, 0]), np.array([1, 0])).tolist() == [6, 0]
    homologs = ScreenSettings(within=())
    assert set(screen_samples(features, carries, covered, split, settings=homologs).test) <= {
        "universal",
        "too few families",
    }


def test_a_test_within_donors_is_the_permutation_of_labels_within_donors():
    features, carries, covered, split = cells(3, n_donors=3, each=8, n_features=1)
    found = screen_samples(features, carries, covered, split, settings=ScreenSettings(n_permutations=99))
    on, rng = found.within.present[0], np.random.default_rng(0)
    for concept in np.flatnonzero(np.isfinite(found.p[0]) & (found.p[0] < 0.35)):
        observed, hits = (on & carries[:, concept]).sum(), 0
        for _ in range(20000):
            order = np.concatenate([rng.permutation(8) + 8 * d for d in range(3)])
            hits += (on & carries[order, concept]).sum() >= observed
        assert found.p[0, concept] == pytest.approx(hits / 20000, abs=0.015)


@pytest.mark.parametrize(
    ("name", "near"), [("cell", "'cells'"), ("Cells", "'cells'"), ("proteins", "'protein'")]
)
def test_a_kind_that_is_nearly_one_is_refused(name, near):
    """[associate.screen] within = ["cell"] was taken in silence, and tested nothing within donors."""
    with pytest.raises(InputError, match=f"no such kind of samples, .*within: expected {near}"):
        build(ScreenSettings, {"within": ["structure", name]}, section="associate.screen")
    assert ScreenSettings(within=("cells", "of my own")).within == ("cells", "of my own")
