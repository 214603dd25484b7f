"""How good a list is, beside scikit-learn, scipy and plain loops; and what these numbers must not depend on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu
from scipy.stats import norm as normal
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss

from sciinterp.discovery.calibrate import (
    auroc,
    average_precision,
    brier,
    by_chance,
    expected_calibration_error,
    posterior,
    precision_at,
    pu_adjusted,
    reliability,
    share_interval,
)
from sciinterp.discovery.decoys import any_real, decoy_error, list_error, look_alikes, q_values
from sciinterp.discovery.missing import Spans


@pytest.fixture(scope="module", params=[0, 1, 2])
def listed(request):
    rng = np.random.default_rng(request.param)
    p = np.floor(100 * rng.random(200)) / 100 + 0.005  # many are equal, none is on the edge of a bin
    return p, rng.random(200) < p


def test_reliability_and_brier_agree_with_scikit_learn(listed):
    p, truth = listed
    observed, mean = calibration_curve(truth, p, n_bins=10)
    mine = reliability(p, truth)
    np.testing.assert_allclose(mine["observed"], observed)
    np.testing.assert_allclose(mine["probability"], mean)
    assert mine["n"].sum() == len(p)
    assert brier(p, truth) == pytest.approx(brier_score_loss(truth, p))
    error = (np.abs(observed - mean) * mine["n"]).sum() / len(p)
    assert expected_calibration_error(p, truth) == pytest.approx(error)


def test_no_order_of_rows_changes_what_a_list_is_worth(listed):
    p, truth = listed
    order = np.random.default_rng(9).permutation(len(p))
    pd.testing.assert_frame_equal(reliability(p, truth), reliability(p[order], truth[order]))
    for measure in (brier, expected_calibration_error):
        assert measure(p, truth) == pytest.approx(measure(p[order], truth[order]), abs=1e-12)
    assert average_precision(p, truth, 90) == pytest.approx(average_precision(p[order], truth[order], 90))
    assert auroc(p[truth], p[~truth]) == auroc(p[order][truth[order]], p[order][~truth[order]])


@pytest.mark.parametrize("bins", [1, 3, 10])
def test_every_probability_falls_into_one_bin(bins):
    p = np.array([0.0, 1.0, 1 / 3, 0.999999, 0.5])
    curve = reliability(p, np.ones(5), bins=bins)
    assert curve["n"].sum() == 5 and curve["bin"].between(0, bins - 1).all()
    assert (curve["observed"] == 1).all()


def test_an_empty_list_has_no_worth_and_no_error():
    none = np.zeros(0)
    assert np.isnan(brier(none, none)) and expected_calibration_error(none, none) == 0
    assert len(reliability(none, none)) == 0
    assert np.isnan(precision_at(none, none, 10)).all() and np.isnan(share_interval(none, none)).all()
    assert auroc(none, none) == 0.5 and average_precision(none, none, 0) == 0


@pytest.mark.parametrize(("n_true", "factor"), [(10, 1.0), (20, 0.5), (5, None)])
def test_what_a_list_never_reaches_counts_as_missed(n_true, factor):
    rng = np.random.default_rng(1)
    score, truth = rng.random(60), np.arange(60) % 6 == 0  # ten
    whole = average_precision_score(truth, score)
    got = average_precision(score, truth, n_true)
    assert got == pytest.approx(whole * factor if factor else min(1.0, 2 * whole))
    # Several spans may meet one instance: the best list reaches 1, never more.
    assert average_precision(truth.astype(float), truth, 5) == 1.0


def test_auroc_is_the_statistic_of_mann_and_whitney():
    rng = np.random.default_rng(2)
    for n, m in ((1, 1), (5, 9), (40, 3)):
        a, b = rng.integers(0, 4, n), rng.integers(0, 4, m)
        assert auroc(a, b) == pytest.approx(mannwhitneyu(a, b).statistic / (n * m))
        assert auroc(2.0 * a + 1, 2.0 * b + 1) == auroc(a, b)  # only the order counts


@pytest.mark.parametrize("n", [12, 30, 80])
def test_one_list_of_forty_that_says_nothing_is_above_chance(n):
    rng = np.random.default_rng(n)
    area = np.array([auroc(rng.random(n), rng.random(n)) for _ in range(3000)])
    assert np.mean(area > by_chance(np.array([n]))[0]) == pytest.approx(normal.sf(1.96), abs=0.01)
    assert by_chance(np.array([0]))[0] == by_chance(np.array([1]))[0]  # none is as few as one


def test_the_first_k_are_the_most_probable_in_any_order():
    rng = np.random.default_rng(3)
    p, cluster = rng.permutation(np.linspace(0.01, 0.99, 80)), rng.integers(0, 9, 80)
    order = rng.permutation(80)
    assert precision_at(p, cluster, 20) == precision_at(p[order], cluster[order], 20)
    assert precision_at(p, cluster, 20)[0] == pytest.approx(np.sort(p)[-20:].mean())
    assert precision_at(p, cluster, 80) == precision_at(p, cluster, 80)
    assert precision_at(p, cluster, 500)[0] == pytest.approx(p.mean())


def test_an_interval_of_what_is_certain_has_no_width():
    for value in (0.0, 1.0):
        assert precision_at(np.full(30, value), np.arange(30), 30) == (value, value, value)
        assert share_interval(np.full(30, value), np.arange(30)) == (value, value, value)


def test_relatives_widen_an_interval():
    p = np.full(60, 0.5)
    width = [
        np.subtract(*precision_at(p, cluster, 60)[:0:-1]) for cluster in (np.arange(60), np.arange(60) // 20)
    ]
    assert width[1] > 2 * width[0]
    rng = np.random.default_rng(4)
    values = np.repeat(rng.integers(0, 2, 10), 6)
    alone, together = (share_interval(values, c) for c in (np.arange(60), np.repeat(np.arange(10), 6)))
    assert alone[0] == together[0] and together[2] - together[1] > 1.5 * (alone[2] - alone[1])


def test_the_bootstrap_covers_the_mean_it_was_drawn_from():
    covered = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(3, 1, 40)
        _, low, high = share_interval(values, np.arange(40), seed=seed)
        covered += low <= 3 <= high
    assert 165 <= covered <= 195  # of 200 at a level of .9


def test_the_bootstrap_is_as_wide_as_the_error_of_the_mean():
    values = np.random.default_rng(0).normal(3, 1, 200)
    _, low, high = share_interval(values, np.arange(200))
    assert high - low == pytest.approx(2 * normal.isf(0.05) * values.std() / np.sqrt(200), rel=0.1)


def test_precision_where_a_share_is_listed_is_at_most_one():
    assert pu_adjusted(0.3, 1.0) == 0.3 and pu_adjusted(0.0, 0.5) == 0
    assert pu_adjusted(0.3, 0.6) == pytest.approx(0.5) and pu_adjusted(0.7, 0.0) == 1


# Posterior probabilities and errors of a list.


def test_the_order_of_concepts_says_nothing_about_any():
    evidence = np.array([-2.0, 4.0, 0.3, 4.0, -7.5])
    order = np.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(posterior(evidence)[order], posterior(evidence[order]), rtol=1e-12)
    assert posterior(evidence)[1] == posterior(evidence)[3]


@pytest.mark.parametrize("evidence", [[np.inf, 0.0], [-np.inf, 0.0], [1e9], [-1e9]])
def test_evidence_without_bound_gives_a_probability(evidence):
    p = posterior(np.array(evidence))
    assert np.isfinite(p).all() and ((p >= 0) & (p <= 1)).all()
    assert (p[0] > 0.99) == (evidence[0] > 0)


def test_the_error_of_a_list_is_the_mean_of_what_is_doubtful_so_far():
    p = np.array([0.2, 0.9, 0.6])
    np.testing.assert_allclose(list_error(p), [(0.1 + 0.4 + 0.8) / 3, 0.1, 0.25])
    assert len(list_error(np.zeros(0))) == 0


def test_decoys_are_counted_from_the_score_of_each_row_up():
    score, decoys = np.array([3.0, 1.0, 2.0]), np.array([2.0, 0.5, 5.0])
    weight = np.array([0.5, 0.1, 0.25])
    # One and the decoys as good, over the rows as good: 1.25 / 1, 1.75 / 2, 1.75 / 3; no row is worse than one below.
    np.testing.assert_allclose(decoy_error(score, decoys, weight), np.full(3, 1.75 / 3))
    np.testing.assert_allclose(decoy_error(score, decoys, 9 * weight), np.ones(3))
    above = np.array([9.0, 8.0, 2.0])
    np.testing.assert_allclose(decoy_error(above, decoys, 4 * weight), [0.5, 0.5, 1])
    none = np.zeros(0)
    np.testing.assert_allclose(decoy_error(score, none, none), [1 / 3, 1 / 3, 1 / 3])
    np.testing.assert_array_equal(decoy_error(none, decoys, weight), none)


@pytest.mark.parametrize("apart", [0, 1e-13, -1e-13])
def test_numbers_that_are_equal_but_for_their_sums_are_equal(apart):
    """What a decoy reaches counts as well where the order of a sum made it a last digit less."""
    score, decoys = np.array([0.75, 0.5]), np.array([0.75, 0.5]) + apart
    np.testing.assert_allclose(decoy_error(score, decoys, np.full(2, 0.25)), [0.75, 0.75])


def test_the_strictest_kind_of_decoy_decides():
    p = np.array([0.9, 0.8, 0.1])
    kinds = [(np.array([0.85]), np.ones(1)), (np.array([0.95, 0.5]), np.full(2, 0.3)), (np.zeros(0),) * 2]
    together = q_values(p, kinds)
    each = [q_values(p, [kind]) for kind in kinds]
    np.testing.assert_array_equal(together, np.max(each, axis=0))
    assert (together >= list_error(p)).all()


def spans_of(known, beside, probability, as_away, share) -> Spans:
    start, none = np.arange(len(known)) * 10, np.zeros(len(known))
    return Spans("x", start, start + 3, np.array(known, bool), none, none, np.array(probability),
                 np.array(as_away), np.array(beside, bool), share, (), 0.5)  # fmt: skip


def test_look_alikes_are_the_marks_beside_what_is_annotated():
    one = spans_of([0, 0, 1, 0], [1, 0, 1, 1], [0.2, 0.9, 0.0, 0.5], [0.7, 0.9, 0.0, 0.6], 0.25)
    p, weight = look_alikes([one])
    assert p.tolist() == [0.7, 0.6]
    # As many a position are expected elsewhere: three times as many positions; each as far as it is none.
    np.testing.assert_allclose(weight, [0.8 * 3, 0.5 * 3])
    assert [len(x) for x in look_alikes([])] == [0, 0]
    twice = look_alikes([one, one])
    assert twice[0].tolist() == [0.7, 0.6, 0.7, 0.6] and twice[1].sum() == pytest.approx(2 * weight.sum())


@pytest.mark.parametrize("n", [1, 4, 50, 500])
def test_more_false_ones_make_a_list_less_likely_to_hold_anything(n):
    p = [any_real(n, false) for false in sorted((0, 0.5, 1, n / 2, n, 2 * n))]
    assert all(0 <= x <= 1 for x in p) and (np.diff(p) <= 1e-12).all()
