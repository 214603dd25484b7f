"""Place beyond shifts along the chain: counted exactly, calibrated on rotated annotations, able to find."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from sciinterp.association import compare_shifts
from sciinterp.association.hits import weaker
from sciinterp.association.shift_test import N_SHIFTS, screen_places
from sciinterp.association.statistics import benjamini_hochberg
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import ShapeError
from sciinterp.samples import Samples
from sciinterp.trust.association_worlds import Collection, unrelated

N_FEATURES, N_CONCEPTS = 24, 8
# Lengths of spans: of concepts, and of features with how many positions there are to one.
OF_CONCEPT = [(1, 2), (3, 12), (8, 60), (20, 200)]
OF_FEATURE = [(40, 1, 2), (100, 3, 15), (25, 2, 40), (12, 3, 30)]


def spans(rng, length, n, low, high):
    """bool [length]: `n` spans around a circle, their lengths even in logarithms."""
    out = np.zeros(length, bool)
    for width, at in zip(
        np.exp(rng.uniform(np.log(low), np.log(high), n)).astype(int), rng.integers(0, length, n)
    ):
        out[(at + np.arange(min(width, length - 1))) % length] = True
    return out


def world(design, seed, rotate):
    """Relatives share the spans of concepts and features; feature c reads concept c.

    Then annotations are rotated along the chain by an offset a ``family``, or a ``chain``, or not at all (``""``).
    """
    rng = np.random.default_rng([seed, 31])
    n_families, members, low, high = {
        "60 of 5": (60, 5, 60, 600), "unequal sizes": (40, 0, 60, 400), "singletons": (150, 1, 60, 600),
        "equal lengths": (30, 5, 120, 121), "15 of 8": (15, 8, 60, 300),
    }[design]  # fmt: skip
    size = np.full(n_families, members)
    if not members:
        size = np.round(np.exp(rng.uniform(0, np.log(40), n_families))).astype(int)
    family, typical = np.repeat(np.arange(n_families), size), rng.integers(low, high, n_families)
    lengths = typical[family] + (rng.integers(-3, 4, len(family)) if members != 1 else 0)
    samples = Samples([f"s{i}" for i in range(len(family))], lengths=lengths)
    dense = np.zeros((samples.n_positions, N_FEATURES), np.float32)
    truth = np.zeros((samples.n_positions, N_CONCEPTS), bool)
    for f, length in enumerate(typical):
        marks = np.zeros((length, N_CONCEPTS), bool)
        for c in np.flatnonzero(rng.random(N_CONCEPTS) < 0.6):
            marks[:, c] = spans(rng, length, rng.poisson(0.7 * np.sqrt(length / 150)), *OF_CONCEPT[c % 4])
        fires = np.zeros((length, N_FEATURES), bool)
        for j in range(N_FEATURES):
            every, *widths = OF_FEATURE[j % 4]
            fires[:, j] = spans(rng, length, rng.poisson(length / every), *widths)
        reads = marks & (rng.random(marks.shape) < 0.8)
        fires[:, :N_CONCEPTS] = reads | fires[:, :N_CONCEPTS] & (rng.random(reads.shape) < 0.3)
        shift = rng.random()
        for s in np.flatnonzero(family == f):
            rows = slice(samples.offsets[s], samples.offsets[s + 1])
            aligned = np.minimum(np.arange(lengths[s]) * length // lengths[s], length - 1)
            by = int({"family": shift, "chain": rng.random()}.get(rotate, 0) * lengths[s])
            truth[rows] = np.roll(marks[aligned], by, axis=0) & (rng.random(N_CONCEPTS) < 0.93)
            strength = rng.lognormal(0, 0.4, (lengths[s], N_FEATURES))
            dense[rows] = fires[aligned] * (rng.random(strength.shape) < 0.85) * strength
    return FeatureMatrix(sp.csr_array(dense), samples), sp.csr_array(truth), family


def all_tested():
    """A screen that finds enough families for all."""
    return SimpleNamespace(test=["fisher"] * N_CONCEPTS)


def rotated(design, rotate, n_worlds):
    """Share of p <= .05 and of p <= .001, and of worlds with a q <= .1."""
    found = [screen_places(*world(design, seed, rotate), all_tested()) for seed in range(n_worlds)]
    p = np.array([s.p for s in found])
    return (p <= 0.05).mean(), (p <= 0.001).mean(), np.mean([s.q.min() <= 0.1 for s in found])


DESIGNS = ["60 of 5", "unequal sizes", "singletons", "equal lengths", "15 of 8"]


@pytest.mark.parametrize("rotate", ["family", "chain"])
@pytest.mark.parametrize("design", ["unequal sizes", "equal lengths", "15 of 8"])
def test_rotated_annotations_have_no_place(design, rotate):
    small, tiny, any_q = rotated(design, rotate, 2 if design == "unequal sizes" else 4)
    assert small <= 0.05
    assert tiny <= 0.003
    assert any_q <= 1 / 2


@pytest.mark.slow
@pytest.mark.parametrize("rotate", ["family", "chain"])
@pytest.mark.parametrize("design", DESIGNS)
def test_rotated_annotations_have_no_place_over_many_worlds(design, rotate):
    small, tiny, any_q = rotated(design, rotate, 100)
    assert small <= 0.05
    assert tiny <= 0.001
    assert any_q <= 0.1


def test_long_runs_inside_short_chains_have_no_place():
    """Neither long runs nor long stretches start near the end of a chain: both lie in its middle more often."""
    found = []
    for seed in range(5):
        made = unrelated(seed, Collection(run=40.0, span=40.0))
        truth = made.annotations.positives(made.features.samples, made.annotations.position_names)
        screen = SimpleNamespace(test=["fisher"] * truth.shape[1])
        found.append(screen_places(made.features, truth, made.split.family, screen).p)
    assert np.nanmean(np.array(found) <= 0.05) <= 0.05  # 0.10 to 0.13 where such shifts count


@pytest.mark.parametrize("design", ["unequal sizes", "singletons", "equal lengths", "15 of 8"])
def test_a_place_is_found(design):
    found = [screen_places(*world(design, seed, ""), all_tested()) for seed in range(2)]
    readers = np.arange(N_CONCEPTS)
    assert np.mean([s.q[readers, readers] <= 0.05 for s in found]) >= 0.9
    assert np.mean([np.delete(s.q, readers, axis=0) <= 0.1 for s in found]) <= 0.01
    assert np.median([s.fold[readers, readers] for s in found]) > 1.5


def by_hand(features, truth, family, feature, concept):
    """A list of one array a family: mean over annotated samples of active positions on the annotation, at every shift that
    cuts stretches at the end of a chain, or none, as they lie."""
    codes, truth, samples = features.column(feature), truth.toarray()[:, concept], features.samples
    out, n_cut = np.zeros((2, family.max() + 1, N_SHIFTS))
    active, n = (codes > 0.1 * codes.max()).astype(int), np.zeros(len(out))
    for s in range(len(samples)):
        rows = features.rows(s)
        n[family[s]] += truth[rows].any()
        for g in range(N_SHIFTS):
            by = g * samples.lengths[s] // N_SHIFTS
            out[family[s], g] += active[rows] @ np.roll(truth[rows], by)
            moved = np.roll(truth[rows], by)
            n_cut[family[s], g] += moved[0] and moved[-1]
    share = n_cut / np.maximum(n, 1)[:, None]
    return [c[(s > 0.1) == (s[0] > 0.1)] for c, s in zip(out / np.maximum(n, 1)[:, None], share)]


def small_world(n_families, seed=0):
    rng = np.random.default_rng(seed)
    family = np.repeat(np.arange(n_families), 2)
    samples = Samples([f"s{i}" for i in range(len(family))], lengths=rng.integers(40, 90, len(family)))
    n = samples.n_positions
    codes = (rng.random((n, 3)) < [0.05, 0.2, 0.6]) * rng.uniform(0.2, 1, (n, 3))
    truth = np.column_stack([np.convolve(rng.random(n) < 0.02, np.ones(9), "same") > 0, rng.random(n) < 0.03])
    return FeatureMatrix(sp.csr_array(codes.astype(np.float32)), samples), sp.csr_array(truth), family, rng


@pytest.mark.parametrize("n_families", [1, 2, 3, 12])
def test_the_tail_is_that_of_all_shifts(n_families):
    features, truth, family, rng = small_world(n_families)
    pairs = [(j, c) for j in range(3) for c in range(2)]
    found = compare_shifts(
        features, truth, family, feature=[j for j, _ in pairs], concept=[c for _, c in pairs]
    )
    for (j, c), row in zip(pairs, found.itertuples()):
        curves = by_hand(features, truth, family, j, c)
        observed = sum(curve[0] for curve in curves)
        assert row.fold == pytest.approx(observed / sum(curve.mean() for curve in curves), rel=1e-6)
        null = sum(curve[rng.integers(0, len(curve), 20_000)] for curve in curves)
        exact = (null >= observed - 1e-9).mean()
        if n_families <= 2:
            assert row.p_shift == pytest.approx(min(1, 1.25 * exact), abs=0.01)
        else:  # half a position to the safe side, which shows where the sum is small
            assert 0.9 * exact - 0.005 <= row.p_shift <= 2.5 * exact + 0.05


def test_far_tails_are_those_of_the_exact_sum():
    """One span of four in each of many equal chains: the sum is of independent draws, whose distribution is a power."""
    n, length, hits = 20, N_SHIFTS, 6
    codes, truth = np.zeros((n, length), np.float32), np.zeros((n, length), bool)
    codes[:, 50:54] = 1
    truth[:, 80:84] = True
    truth[:hits] = codes[:hits] > 0
    samples = Samples([f"s{i}" for i in range(n)], lengths=np.full(n, length))
    features = FeatureMatrix(sp.csr_array(codes.reshape(-1, 1)), samples)
    found = compare_shifts(
        features, sp.csr_array(truth.reshape(-1, 1)), np.arange(n), feature=[0], concept=[0]
    )
    one, total = np.zeros(5), np.ones(1)
    one[[0, 1, 2, 3, 4]] = (length - 7) / length, 2 / length, 2 / length, 2 / length, 1 / length
    for _ in range(n):
        total = np.convolve(total, one)
    assert 1 < found["p_shift"][0] / total[4 * hits :].sum() < 2
    assert found["p_shift"][0] < 1e-6


def test_where_there_is_no_place():
    features, truth, family, _ = small_world(12)
    everywhere = np.ones((features.n_positions, 1), bool)
    both = sp.csr_array(sp.hstack([truth, sp.csr_array(everywhere)]))
    silent = FeatureMatrix(
        sp.csr_array(sp.hstack([features.codes, features.codes[:, [0]] * 0])), features.samples
    )
    screen = SimpleNamespace(test=["fisher", "too few families", "fisher"])
    found = screen_places(silent, both, family, screen)
    assert np.isfinite(found.p).tolist() == [[True, False, False]] * 3 + [[False] * 3]
    assert (np.isfinite(found.q) == np.isfinite(found.p)).all()
    cells = Samples(features.samples.ids, lengths=features.samples.lengths, kind="cells")
    assert np.isnan(screen_places(FeatureMatrix(features.codes, cells), both, family, screen).p).all()
    with pytest.raises(ShapeError, match="family"):
        compare_shifts(features, truth, family[:3], feature=[0], concept=[0])


def test_half_of_a_claim_is_not_the_claim():
    """500 pairs in the right families but anywhere, 500 on the right places of any family, 1,000 neither: none is a hit."""
    worlds = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        presence, place = rng.random((2, 2000))
        presence[:500], place[500:1000] = 1e-8, 1e-8
        q = weaker(presence, place)
        alone = np.maximum(benjamini_hochberg(presence), benjamini_hochberg(place))
        assert (q >= alone * (1 - 1e-9)).all()
        worlds.append((q.min() <= 0.1, alone.min() <= 0.1))
    assert np.mean(worlds, axis=0)[0] <= 0.1
    assert (
        np.mean(worlds, axis=0)[1] > 0.9
    )  # the larger of the two q-values would find some in nearly every world
    whole = pd.Series(weaker(np.array([0.01, np.nan]), np.array([np.nan, 0.01])))
    assert whole[0] == pytest.approx(0.01)
    assert np.isnan(whole[1])
