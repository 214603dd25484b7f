"""Presence beyond size and length: nothing is found where feature and concept know of each other only by exposure."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import ndtri

from sciinterp.association.exposure import strata_of_exposure
from sciinterp.association.statistics import ScreenSettings, screen_samples
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import InputError
from sciinterp.samples import Samples, Split

N_FEATURES, N_CONCEPTS = 20, 12
FEW = ScreenSettings(n_permutations=99)


def lengths_and_sizes(design, rng):
    """Typical length and number of samples of each family."""
    n = {"60 of 5": 60, "unequal sizes": 60, "singletons": 300, "equal lengths": 60, "15 of 8": 15}[design]
    lengths = np.exp(rng.uniform(np.log(60), np.log(600), n))
    sizes = np.full(n, {"60 of 5": 5, "singletons": 1, "equal lengths": 5, "15 of 8": 8}.get(design, 0))
    if design == "unequal sizes":
        sizes = np.round(np.exp(rng.uniform(0, np.log(80), n))).astype(int)
    return (np.full(n, 200.0) if design == "equal lengths" else lengths), sizes


def largest_of(rng, expected, spread):
    """The largest of a Poisson number of strengths; 0 of none."""
    n = rng.poisson(expected)
    chance = np.clip(rng.random(n.shape) ** (1 / np.maximum(n, 1)), 1e-12, 1 - 1e-12)
    return np.where(n > 0, np.exp(spread * ndtri(chance)), 0)


def world(design, seed, *, planted=0.0):
    """Features and concepts come at a rate per position, most of it shared by relatives; given length they are independent.

    With `planted`, the share of the families that have it, feature 0 is active in the families of concept 0.
    """
    rng = np.random.default_rng([seed, 21])
    length, size = lengths_and_sizes(design, rng)
    family = np.repeat(np.arange(len(size)), size)
    n, n_families = len(family), len(size)
    rate = np.exp(rng.uniform(np.log(0.1), np.log(2.0), (N_FEATURES, 1))) / 100
    of_concept = np.exp(rng.uniform(np.log(0.1), np.log(1.0), (N_CONCEPTS, 1))) / 100
    spread, shared = rng.uniform(0.3, 1.0, (N_FEATURES, 1)), rng.choice([0.2, 0.7])
    active = largest_of(rng, shared * rate * length, spread)[:, family] * rng.lognormal(
        0, 0.2, (N_FEATURES, n)
    )
    active = np.maximum(active, largest_of(rng, (1 - shared) * rate * length[family], spread))
    carries = (rng.poisson(shared * of_concept * length) > 0)[:, family] & (
        rng.random((N_CONCEPTS, n)) < 0.95
    )
    carries |= rng.poisson((1 - shared) * of_concept * length[family]) > 0
    if planted:
        has = rng.permutation(n_families) < planted * n_families
        carries[0] = has[family] & (rng.random(n) < 0.95)
        active[0] = (has & (rng.random(n_families) < 0.97))[family] * rng.lognormal(1, 0.3, n)
        active[0] += (rng.random(n_families) < 0.2)[family] * rng.lognormal(-0.7, 0.4, n)
    samples = Samples([f"s{i}" for i in range(n)], lengths=length[family].astype(int))
    codes = np.zeros((samples.n_positions, N_FEATURES), np.float32)
    codes[samples.offsets[:-1]] = active.T
    parts = (np.arange(n), np.zeros(0, int), np.zeros(0, int))
    split = Split(*parts, family=family, family_names=tuple(map(str, range(n_families))))
    return FeatureMatrix(sp.csr_array(codes), samples), carries.T, np.ones((n, N_CONCEPTS), bool), split


def rates(design, n_worlds, settings=FEW):
    """Share of p <= .05, and of worlds with a q <= .1 and with a p_family <= .05."""
    found = [screen_samples(*world(design, seed), settings=settings, seed=seed) for seed in range(n_worlds)]
    p = np.concatenate([s.p[np.isfinite(s.p)] for s in found])
    assert len(p) > 60 * n_worlds
    worlds = [(np.nanmin(s.q) <= 0.1, np.nanmin(s.p_family) <= 0.05) for s in found]
    return (p <= 0.05).mean(), *np.mean(worlds, axis=0)


DESIGNS = ["60 of 5", "unequal sizes", "singletons", "equal lengths", "15 of 8"]


@pytest.mark.parametrize("design", DESIGNS)
def test_what_goes_with_length_alone_is_not_found(design):
    small, any_q, any_max_t = rates(design, 12)
    assert small <= 0.075
    assert any_q <= 3 / 12
    assert any_max_t <= 3 / 12


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
def test_what_goes_with_length_alone_is_not_found_over_many_worlds(design):
    small, any_q, any_max_t = rates(design, 300)
    assert small <= 0.075
    assert any_q <= 0.1
    assert any_max_t <= 0.075


def test_without_strata_it_would_be():
    small, any_q, _ = rates("singletons", 4, ScreenSettings(n_permutations=99, strata="none"))
    assert small > 0.2
    assert any_q == 1
    with pytest.raises(InputError, match="expected 'exposure' or 'none', got 'size'"):
        rates("15 of 8", 1, ScreenSettings(strata="size"))


@pytest.mark.parametrize(("design", "share", "bound"), [("60 of 5", 0.3, 1e-4), ("15 of 8", 0.47, 0.05)])
def test_an_association_is_found_at_any_length(design, share, bound):
    found = [
        screen_samples(*world(design, seed, planted=share), settings=FEW, seed=seed) for seed in range(40)
    ]
    assert np.mean([s.p[0, 0] <= bound for s in found]) >= 0.95


def test_cells_of_like_depth_are_compared_within_donors():
    """Every donor has the type; that deeper cells show more of everything is not found."""
    p = []
    for seed in range(3):
        rng = np.random.default_rng([seed, 22])
        donor, depth = np.repeat(np.arange(5), 60), np.exp(rng.uniform(np.log(30), np.log(600), 300))
        carries = rng.poisson(depth / 200, (N_CONCEPTS, 300)).T > 0
        active = largest_of(
            rng, np.exp(rng.uniform(np.log(0.2), np.log(2), (N_FEATURES, 1))) * depth / 100, 0.5
        )
        samples = Samples([f"c{i}" for i in range(300)], lengths=depth.astype(int), kind="cells")
        codes = np.zeros((samples.n_positions, N_FEATURES), np.float32)
        codes[samples.offsets[:-1]] = active.T
        parts = (np.arange(300), np.zeros(0, int), np.zeros(0, int))
        split = Split(*parts, family=donor, family_names=tuple("abcde"))
        features = FeatureMatrix(sp.csr_array(codes), samples)
        found = screen_samples(features, carries, np.ones_like(carries), split, settings=FEW)
        assert set(found.test) == {"within families"}
        p.append(found.p)
        plain = screen_samples(
            features, carries, np.ones_like(carries), split, settings=ScreenSettings(strata="none")
        )
        assert (plain.p <= 0.05).mean() > 0.2
    assert (np.array(p) <= 0.05).mean() <= 0.075


def test_strata_are_as_many_as_there_are_units_for():
    rng = np.random.default_rng(0)
    for n, fewest, most in ((15, 2, 2), (60, 4, 8), (300, 8, 17), (3000, 20, 54)):
        exposure = np.column_stack([rng.uniform(4, 6.4, n), rng.uniform(0, 2, n)])
        strata = strata_of_exposure(exposure)
        assert fewest <= len(np.unique(strata)) <= most
        assert np.bincount(strata).min() >= max(6, int(n**0.5))
    assert (strata_of_exposure(np.zeros((40, 2))) == 0).all()
    assert (strata_of_exposure(rng.uniform(0, 0.09, (40, 2))) == 0).all()
    assert len(strata_of_exposure(np.zeros((0, 2)))) == 0


def test_groups_never_share_a_stratum():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 200)
    strata = strata_of_exposure(rng.uniform(4, 6, (200, 1)), group)
    assert all(len(np.unique(group[strata == s])) == 1 for s in np.unique(strata))
    assert len(np.unique(strata)) > 3
