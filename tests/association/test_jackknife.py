"""Intervals over families: what they are by hand, and how often they hold in worlds of few and unequal families."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from sciinterp.association.family_counts import f1_score
from sciinterp.association.jackknife import (
    MIN_FAMILIES,
    Jackknifed,
    difference,
    effective_families,
    families_needed,
    interval,
    jackknife,
    p_above,
)
from sciinterp.association.partitions import Part
from sciinterp.association.ranking import score_pairs
from sciinterp.association.ranking_without import ranked, sums_without
from sciinterp.codes.by_feature import by_feature

EQUAL, WIDE, UNIFORM = "equal", "lognormal", "1 to 80"
# How families differ: all-or-none (0), and the strength of the beta distribution that their recall comes from.
SPREADS = (0, 1, 4, 30)


def drawn_sizes(rng, kind, shape):
    if kind == EQUAL:
        return np.full(shape, 10)
    if kind == WIDE:
        return np.ceil(5 * np.exp(rng.normal(size=shape))).astype(int)
    return rng.integers(1, 81, shape)


def predictions(rng, size, recall, false, spread, ease=None):
    """True and all predictions per family: recall is a family's own, and so is its rate of false ones."""
    if spread == 0:
        own = ((rng.random(size.shape) if ease is None else ease) < recall).astype(float)
    elif ease is None:
        own = rng.beta(recall * spread, (1 - recall) * spread, size.shape)
    else:
        own = stats.beta.ppf(1 - ease, recall * spread, (1 - recall) * spread)
    tp = rng.binomial(size, own)
    strength = max(spread, 0.7)
    return tp, tp + rng.poisson(size * false * rng.gamma(strength, 1 / strength, size.shape))


def recall_at(f1, false):
    """Recall that gives an F1, with so many false predictions a positive: F1 = 2 r / (r + false + 1)."""
    return f1 * (1 + false) / (2 - f1)


def f1_of(tp, predicted, positive):
    return jackknife(f1_score, tp, predicted, positive)


def coverage(rng, n_families, kind, spread, f1, false, n_worlds):
    size = drawn_sizes(rng, kind, (n_worlds, n_families))
    low, high = interval(f1_of(*predictions(rng, size, recall_at(f1, false), false, spread), size))
    return ((low <= f1) & (f1 <= high)).mean()


def false_leads(rng, n_families, kind, f1, mine, rivals, n_worlds, *, shared=False):
    """Share of worlds in which a feature that is as good as its rival lies above it."""
    size = drawn_sizes(rng, kind, (n_worlds, n_families))
    ease = rng.random(size.shape) if shared else None
    one, other = (
        f1_of(*predictions(rng, size, recall_at(f1, false), false, spread, ease), size)
        for spread, false in (mine, rivals)
    )
    return (difference(one, other)[0] > 0).mean()


def test_leaving_out_is_what_it_says_by_hand():
    rng = np.random.default_rng(0)
    positive = rng.integers(1, 9, (4, 7))
    tp = rng.binomial(positive, 0.6)
    predicted = tp + rng.poisson(1.5, tp.shape)
    found = f1_of(tp, predicted, positive)
    for row in range(4):
        kept = [np.arange(7) != i for i in range(7)]
        one_less = [2 * tp[row, k].sum() / (predicted[row, k].sum() + positive[row, k].sum()) for k in kept]
        assert found.value[row] == pytest.approx(
            2 * tp[row].sum() / (predicted[row].sum() + positive[row].sum())
        )
        assert found.moves[row] == pytest.approx(np.array(one_less) - np.mean(one_less))
        assert found.variance[row] == pytest.approx(6 * np.var(one_less))


def test_of_families_that_are_right_or_wrong_as_a_whole_it_is_wilsons_interval():
    positive = np.full((1, 12), 5)
    tp = positive * (np.arange(12) < 7)
    low, high = interval(jackknife(lambda a, b: a / b, tp, positive))
    # The jackknife of a mean is exact: v = p q / (n - 1), so the design effect is nearly n / (n - 1).
    p, n, t = 7 / 12, 12, stats.t.ppf(0.975, 11)
    design = (p * (1 - p) / (n - 1) + 0.25 / n**2) / (p * (1 - p) / n + 0.25 / n**2)
    k = t**2 * design / n
    for end, sign in ((low, -1), (high, 1)):
        assert end[0] == pytest.approx((p + k / 2 + sign * np.sqrt(k * (p * (1 - p) + k / 4))) / (1 + k))
    proportion = stats.binomtest(7, 12).proportion_ci(method="wilson")
    assert low[0] < proportion.low < proportion.high < high[0]  # t is wider than the normal deviate


@pytest.mark.parametrize("n", [1, MIN_FAMILIES - 1, MIN_FAMILIES])
def test_fewer_than_five_families_with_the_concept_give_no_interval(n):
    positive = np.where(np.arange(20) < n, 3, 0)[None]
    of = f1_of(positive, positive, positive)
    other = f1_of(positive * 0, positive * 0, positive)
    ends = (*interval(of), *difference(of, other), p_above(of, other))
    assert np.isfinite([e[0] for e in ends]).all() == (n >= MIN_FAMILIES)
    assert np.isnan([e[0] for e in ends]).all() == (n < MIN_FAMILIES)


def test_nothing_is_certain_where_every_family_is_found_whole():
    low = []
    for n in (5, 8, 15, 40):
        positive = np.full((1, n), 4)
        of = f1_of(positive, positive, positive)
        assert of.variance[0] == 0
        ends = interval(of)
        low.append(ends[0][0])
        assert ends[1][0] == 1
    assert low == sorted(low) and low[0] < 0.6 and 0.8 < low[-1] < 0.95


def test_one_large_family_is_worth_little_more_than_one():
    number, effective = effective_families(np.array([[90, 2, 2, 2, 2, 2]]))
    assert number[0] == 6 and effective[0] < 1.3
    size = np.array([[90, 2, 2, 2, 2, 2]])
    low, high = interval(f1_of(size, size, size))
    assert low[0] < 0.1 and high[0] == 1


def test_an_interval_contains_its_statistic_and_narrows_with_the_level():
    rng = np.random.default_rng(1)
    size = drawn_sizes(rng, UNIFORM, (200, 9))
    of = f1_of(*predictions(rng, size, 0.6, 0.3, 1), size)
    ends = [interval(of, level=level) for level in (0.5, 0.95)]
    assert (ends[1][0] <= ends[0][0]).all() and (ends[0][1] <= ends[1][1]).all()
    assert (ends[0][0] <= of.value).all() and (of.value <= ends[0][1]).all()


def test_a_difference_turns_its_sign_with_its_parts_and_p_says_what_the_interval_says():
    rng = np.random.default_rng(2)
    size = drawn_sizes(rng, UNIFORM, (300, 10))
    one = f1_of(*predictions(rng, size, 0.7, 0.1, 4), size)
    other = f1_of(*predictions(rng, size, 0.4, 0.2, 1), size)
    low, high = difference(one, other)
    back = difference(other, one)
    assert low == pytest.approx(-back[1]) and high == pytest.approx(-back[0])
    p = p_above(one, other)
    np.testing.assert_array_equal(p < 0.025, low > 0)
    assert p + p_above(other, one) == pytest.approx(1)
    assert 0.2 < (low > 0).mean() < 0.9
    same = difference(one, one)
    assert (same[0] <= 0).all() and (same[1] >= 0).all()


def test_rows_are_independent_of_one_another():
    rng = np.random.default_rng(3)
    size = drawn_sizes(rng, WIDE, (30, 8))
    of = f1_of(*predictions(rng, size, 0.5, 0.2, 4), size)
    some = np.array([3, 17, 4])
    for whole, part in zip(interval(of), interval(of.take(some))):
        np.testing.assert_array_equal(whole[some], part)
    again = Jackknifed.of(of.value, of.value[:, None] + of.moves, size)
    assert interval(again)[0] == pytest.approx(interval(of)[0])


@pytest.mark.parametrize("n_families", [8, 15, 40])
@pytest.mark.parametrize("kind", [EQUAL, UNIFORM])
def test_intervals_of_f1_hold(n_families, kind):
    rng = np.random.default_rng(n_families)
    for spread in (1, 30):
        assert coverage(rng, n_families, kind, spread, 0.6, 0.3, 400) >= 0.91  # three errors below .95


@pytest.mark.parametrize("n_families", [5, 8, 14, 40])
def test_a_feature_as_good_as_its_rival_seldom_lies_above_it(n_families):
    rng = np.random.default_rng(n_families)
    rate = [
        false_leads(rng, n_families, kind, 0.8, (4, 0.1), rival, 400)
        for kind in (EQUAL, UNIFORM)
        for rival in ((30, 0.05), (0, 0.0))
    ]
    assert np.mean(rate) <= 0.035


@pytest.mark.slow
@pytest.mark.parametrize("n_families", [5, 8, 15, 40])
def test_intervals_of_f1_hold_in_all_designs(n_families):
    rng, found = np.random.default_rng(n_families), {}
    for kind in (EQUAL, WIDE, UNIFORM):
        for spread in SPREADS:
            for f1, false in ((0.92, 0.05), (0.85, 0.01), (0.63, 0.3), (0.33, 0.5), (0.17, 0.1)):
                found[kind, spread, f1] = coverage(rng, n_families, kind, spread, f1, false, 1000)
    low = {design: share for design, share in found.items() if share < 0.93 - 0.016}
    # 40 families of unequal size, found or missed as a whole, one in ten found: four of them carry the interval.
    assert set(low) <= {(UNIFORM, 0, 0.17)} and min(found.values()) >= 0.9
    assert np.mean(list(found.values())) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("n_families", [5, 8, 14, 40])
def test_a_feature_as_good_as_its_rival_seldom_lies_above_it_in_any_design(n_families):
    rng, found = np.random.default_rng(n_families), {}
    readings = ((0, 0.0), (1, 0.1), (4, 0.3), (30, 0.05))
    for kind in (EQUAL, WIDE, UNIFORM):
        for f1 in (0.5, 0.8, 0.92):
            for mine in readings:
                for rival in readings:
                    if max(recall_at(f1, mine[1]), recall_at(f1, rival[1])) < 0.99:
                        for shared in (False, True):
                            found[kind, f1, mine, rival, shared] = false_leads(
                                rng, n_families, kind, f1, mine, rival, 600, shared=shared
                            )
    high = {design: rate for design, rate in found.items() if rate > 0.035 + 0.0075}  # one error of 600
    assert not high
    assert np.mean(list(found.values())) <= 0.025


def a_part(rng, n_families=7, n_positions=240, n_concepts=3):
    family = np.sort(rng.integers(0, n_families, n_positions))
    positives = sp.csr_array(rng.random((n_positions, n_concepts)) < 0.2)
    return Part(np.arange(1), np.arange(n_positions), positives, family, np.arange(n_families))


def jackknife_ranking(codes, part, feature, concept):
    return ranked(sums_without(codes, part, feature, concept), part.positive_by_family[concept])


def test_ranking_without_each_family_is_scikit_learns_on_the_others():
    rng = np.random.default_rng(5)
    part = a_part(rng)
    codes = np.round(rng.random((240, 4)) * (rng.random((240, 4)) < 0.5), 1).astype(np.float32)  # many ties
    feature, concept = np.array([0, 1, 2, 3, 3]), np.array([0, 1, 2, 0, 2])
    found = jackknife_ranking(by_feature(sp.csr_array(codes)), part, feature, concept)
    for score, of in zip((average_precision_score, roc_auc_score), found):
        for i, (j, c) in enumerate(zip(feature, concept)):
            truth = part.truth(c)
            assert of.value[i] == pytest.approx(score(truth, codes[:, j]))
            without = [score(truth[part.family != f], codes[part.family != f, j]) for f in range(7)]
            assert of.moves[i] == pytest.approx(np.array(without) - np.mean(without))
    again = score_pairs(by_feature(sp.csr_array(codes)), part.by_position, feature, concept)
    assert found[0].value == pytest.approx(again[0]) and found[1].value == pytest.approx(again[1])


def ranked_families(rng, n_families, kind, spread, shift):
    """Codes of one feature and where the concept is: how far positives lie above the rest is a family's own."""
    size = drawn_sizes(rng, kind, n_families)
    family = np.repeat(np.arange(n_families), 6 * size)
    truth = np.concatenate([np.arange(6 * n) < n for n in size])
    away = rng.normal(shift, spread, n_families)[family]
    codes = np.maximum(rng.normal(size=len(family)) + np.where(truth, away, 0) - 0.5, 0)
    return codes.astype(np.float32), truth, family


def ranking_coverage(rng, n_families, kind, spread, shift, n_worlds):
    """Shares of intervals of average precision and AUROC that hold what they tend to with families."""
    codes, truth, _ = ranked_families(rng, 4000, kind, spread, shift)
    limit = (average_precision_score(truth, codes), roc_auc_score(truth, codes))
    inside = np.zeros(2)
    for _ in range(n_worlds):
        codes, truth, family = ranked_families(rng, n_families, kind, spread, shift)
        part = Part(
            np.arange(1),
            np.arange(len(codes)),
            sp.csr_array(truth[:, None]),
            family,
            np.arange(n_families),
        )
        found = jackknife_ranking(
            by_feature(sp.csr_array(codes[:, None])), part, np.zeros(1, int), np.zeros(1, int)
        )
        ends = [interval(of) for of in found]
        inside += [low[0] <= value <= high[0] for value, (low, high) in zip(limit, ends)]
    return inside / n_worlds


@pytest.mark.parametrize("n_families", [8, 40])
def test_intervals_of_average_precision_and_auroc_hold(n_families):
    rng = np.random.default_rng(n_families)
    assert (ranking_coverage(rng, n_families, EQUAL, 1.0, 1.0, 150) >= 0.9).all()


@pytest.mark.slow
@pytest.mark.parametrize("n_families", [5, 8, 15, 40])
def test_intervals_of_average_precision_and_auroc_hold_in_all_designs(n_families):
    rng, found = np.random.default_rng(n_families), {}
    for kind in (EQUAL, WIDE, UNIFORM):
        for spread, shift in ((0.0, 1.0), (1.0, 0.0), (1.0, 2.0), (3.0, 2.0)):
            found[kind, spread, shift] = ranking_coverage(rng, n_families, kind, spread, shift, 200)
    low = {design: shares for design, shares in found.items() if (shares < 0.93 - 0.035).any()}
    assert not low  # two errors of 200 below .93


def test_so_many_families_as_are_asked_for_find_it_four_times_in_five():
    rng, recall, other = np.random.default_rng(0), 0.6, 0.3

    def pair(n_families, n_worlds=400):
        size = drawn_sizes(rng, EQUAL, (n_worlds, n_families))
        mine, theirs = (f1_of(*predictions(rng, size, r, 0.5, 4), size) for r in (recall, other))
        return mine, theirs

    needed = {n: np.nanmedian(families_needed(*pair(n))) for n in (3, 6, 12, 24)}
    assert needed[3] >= needed[6] >= needed[12] - 1  # few families are taken to be unlike
    assert needed[12] == pytest.approx(needed[24], rel=0.25)
    found = {n: (difference(*pair(n))[0] > 0).mean() for n in (int(needed[24]), 2 * int(needed[24]))}
    first, second = found.values()
    assert 0.7 <= first <= 0.92
    assert second >= 0.95


def test_no_number_of_families_finds_a_lead_that_is_not_there():
    tp, positive = (
        np.array([[4, 5, 3, 0], [1, 0, 0, 0], [0, 0, 0, 0]]),
        np.array([[5, 5, 5, 5]] * 2 + [[0] * 4]),
    )
    mine, other = f1_of(tp, tp, positive), f1_of(tp[::-1], tp[::-1], positive)
    needed = families_needed(mine, other)
    assert needed[0] >= MIN_FAMILIES
    assert np.isnan(needed[2])
    assert np.isnan(families_needed(mine, mine)).all()
