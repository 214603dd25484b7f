"""Invariants of the pieces: runs, overlaps, mixtures, calibration, files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from laid_out import marks_of
from scipy.special import expit, logit

import sciinterp as si
from sciinterp.annotations import Annotations
from sciinterp.discovery.calibrate import (
    ANY,
    PRIOR_NONE,
    PRIOR_SOME,
    auroc,
    average_precision,
    brier,
    expected_calibration_error,
    posterior,
    precision_at,
    pu_adjusted,
)
from sciinterp.discovery.decoys import any_real, decoy_error, list_error
from sciinterp.discovery.files import COLUMNS, read_candidates, write_candidates
from sciinterp.discovery.half_samples import explained
from sciinterp.discovery.homology import at_known_concepts, place
from sciinterp.discovery.logistic import fit_logistic, predict
from sciinterp.discovery.motifs import find_peaks
from sciinterp.discovery.positive_unlabelled import fit_mixture
from sciinterp.discovery.problem import make_problem
from sciinterp.discovery.refinement import best_pair, chance_of_pair
from sciinterp.discovery.sequence_identity import aligned_identity
from sciinterp.discovery.spans import best_iou, first_overlap, per_run, runs, window_means
from sciinterp.frames import Table

few = settings(max_examples=40, deadline=None)


@few
@given(st.lists(st.floats(-2, 2), min_size=1, max_size=60), st.integers(0, 3), st.integers(1, 20))
def test_runs_are_maximal_and_stay_in_their_sample(values, gap, length):
    score = np.array(values)
    offsets = np.unique(np.r_[np.arange(0, len(score), length), len(score)])
    start, end = runs(score, 0.0, offsets, gap=gap)
    inside = np.zeros(len(score), bool)
    for a, b in zip(start, end):
        inside[a:b] = True
        assert score[a] > 0
        assert score[b - 1] > 0
        assert np.searchsorted(offsets, a, "right") == np.searchsorted(offsets, b - 1, "right")
    assert inside[score > 0].all()
    assert (start[1:] >= end[:-1]).all()


@few
@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), min_size=1, max_size=12), st.integers(0, 2**31)
)
def test_overlap_equals_the_plain_loop(intervals, seed):
    rng = np.random.default_rng(seed)
    start = np.sort(rng.integers(0, 50, 6))
    end = start + rng.integers(1, 6, 6)
    a, b = np.array([i[0] for i in intervals]), np.array([i[0] + i[1] for i in intervals])
    plain = [any(s < y and x < e for x, y in zip(a, b)) for s, e in zip(start, end)]
    assert first_overlap(start, end, a, b).tolist() == plain


def test_iou_of_equal_intervals_is_one():
    start, end = np.array([3, 10]), np.array([6, 12])
    assert best_iou(start, end, start, end).tolist() == [1.0, 1.0]
    assert best_iou(start, end, np.array([6]), np.array([8])).tolist() == [0.0, 0.0]


def test_per_run_and_window_mean_by_hand():
    values = np.array([1.0, 5.0, 2.0, 0.0])
    assert per_run(values, np.array([0, 2]), np.array([2, 4]), "max").tolist() == [5, 2]
    assert per_run(values, np.array([0, 2]), np.array([2, 4]), "mean").tolist() == [3, 1]
    at, mean = window_means(np.arange(4), np.ones(4), 1, np.array([0, 2, 4]))
    assert at.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(mean, 2 / 3)


def test_logistic_agrees_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    y = rng.random(400) < expit(x @ [1.0, -2.0, 0.5] - 0.3)
    weight = rng.uniform(0.5, 2, 400)
    mine = fit_logistic(x, y, weight, ridge=2.0)
    peer = LogisticRegression(C=0.5, tol=1e-10, max_iter=500).fit(x, y, sample_weight=weight)
    np.testing.assert_allclose(mine, np.append(peer.coef_[0], peer.intercept_), atol=1e-4)


def test_separable_data_do_not_run_away():
    x = np.r_[np.zeros(50), np.ones(50)][:, None]
    eta = predict(x, fit_logistic(x, x.ravel() > 0.5, ridge=1e-3))
    assert np.isfinite(eta).all()
    assert auroc(eta[50:], eta[:50]) == 1.0


@few
@given(st.integers(0, 10_000), st.floats(0.01, 30), st.floats(0.05, 5))
def test_the_fit_ends_at_the_least_loss(seed, gap, ridge):
    """Also where the classes are separable and weights unequal: whole Newton steps diverge there."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(seed)
    y = rng.random(300) < 0.1
    y[0] = True
    x = rng.normal(size=(300, 4)) + gap * y[:, None]
    w = rng.choice([1.0, 40.0], 300)
    full, penalty = np.column_stack([x, np.ones(300)]), np.r_[np.full(4, ridge), 1e-6]

    def loss(beta):
        eta = full @ beta
        return (w * (np.logaddexp(0, eta) - y * eta)).sum() + 0.5 * (penalty * beta * beta).sum()

    beta = fit_logistic(x, y, w, ridge=ridge)
    least = minimize(loss, np.zeros(5), method="BFGS").fun
    assert loss(beta) <= least * 1.01 + 1e-2
    if gap > 1:
        assert auroc(predict(x[y], beta), predict(x[~y], beta)) > 0.5


@pytest.mark.parametrize(
    ("a", "b", "identity"),
    [
        ("MKVLTAAGW", "MKVLTAAGW", 1.0),
        ("MKVLTAAGWCCHY", "MKVLTAGGWCCHY", 12 / 13),
        ("MKVLTAAGWCCHYRND", "GWCCHYRND", 1.0),
        ("mkvltaUgw", "MKVLTAXGW", 1.0),
    ],
)
def test_identity_by_hand(a, b, identity):
    assert aligned_identity(a, b)[0] == pytest.approx(identity)
    assert aligned_identity(b, a)[0] == pytest.approx(identity)


def test_letters_and_composition_explain_what_order_does_not_change():
    # reader, composition, centre, position, conservation, order, matched
    measures = np.array([[0.97, 0.97, 0.7, 0.5, 0.5, 0.95, 0.55],  # a motif whose letters are also its composition
                         [0.90, 0.90, 0.7, 0.5, 0.5, 0.52, 0.55],  # the same without order: composition
                         [0.80, 0.92, 0.7, 0.5, 0.5, 0.95, 0.55],  # composition is clearly better
                         [0.84, 0.86, 0.6, 0.5, 0.5, 0.64, 0.55],  # as good, and order matters little: a window detector
                         [0.85, 0.60, 0.95, 0.5, 0.5, 0.75, 0.55],  # one letter says it
                         [0.90, 0.60, 0.6, 0.92, 0.5, 0.95, 0.55],  # distance from the ends
                         [0.90, 0.60, 0.6, 0.5, 0.95, 0.95, 0.55],  # conservation
                         [0.66, 0.70, 0.79, 0.5, 0.5, 0.91, 0.55],  # one letter, far better than a weak motif
                         [0.66, 0.74, 0.7, 0.5, 0.5, 0.91, 0.55],  # no better than chance would have it
                         [0.85, 0.60, 0.89, 0.5, 0.5, 0.75, 0.80]])  # fmt: skip  # the letter is not all: it has a partner
    assert explained(measures).tolist() == [False, True, True, True, True, True, True, True, False, False]


def _repertoire(related: bool):
    """Twenty families of two; one motif each, in sequences of one descent or of none."""
    rng = np.random.default_rng(5)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    root, ids, data, family, at = rng.choice(letters, 60), [], [], [], []
    for f in range(20):
        start = 26 if related else int(rng.integers(15, 38))
        text = root.copy() if related else rng.choice(letters, 60)
        changed = rng.random(60) < 0.3
        text[changed] = rng.choice(letters, changed.sum())
        text[start : start + 7] = list("WGCHMYK")
        for m in range(2):
            ids.append(f"s{f}_{m}")
            data.append("".join(text))
            family.append(f"f{f}")
            at.append(start)
    table = pd.DataFrame({"family": family}, index=pd.Index(ids, name="id"))
    samples = si.Samples(ids, data, table=table)
    sites = pd.DataFrame(
        {"sample": ids, "start": [s + 2 for s in at], "end": [s + 3 for s in at], "concept": "x:cys"}
    )
    far = pd.DataFrame({"sample": ids, "start": 0, "end": 3, "concept": "x:first"})
    codes = sp.csr_array(
        (
            np.ones(len(ids), np.float32),
            (np.arange(len(ids)) * 60 + np.array(at) + 5, np.zeros(len(ids), int)),
        ),
        shape=(60 * len(ids), 1),
    )
    annotations = Annotations(pd.concat([sites, far], ignore_index=True))
    return make_problem(
        si.FeatureMatrix(codes, samples), annotations, si.split_families(samples, by="family", seed=0)
    )


@pytest.mark.parametrize("related", [True, False])
def test_a_stretch_shared_by_descent_is_told_from_a_motif_that_recurs(related):
    problem = _repertoire(related)
    found = place(problem, find_peaks(problem).position[0])
    assert found.carried >= 0.85 and found.n_families == 20
    if related:
        assert found.homologous >= 0.9 and found.news < 0.2
    else:
        assert found.homologous <= 0.1 and found.news > 0.9


def test_a_motif_that_holds_an_annotated_residue_is_a_part_of_that_concept():
    problem = _repertoire(False)
    peaks = find_peaks(problem).position
    assert [problem.names[c] for c in at_known_concepts(problem, peaks)] == ["x:cys"]
    moved = np.where(peaks >= 0, problem.samples.offsets[problem.sample_of[np.maximum(peaks, 0)]] + 50, -1)
    assert at_known_concepts(problem, moved).tolist() == [-1]


@pytest.mark.parametrize("n_hidden", [0, 40, 120])
def test_mixture_finds_about_what_was_left_out(n_hidden):
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        known = rng.normal(5, 1.2, 300)
        other = np.r_[rng.normal(0, 1.2, 900), rng.normal(5, 1.2, n_hidden)]
        mixture = fit_mixture(marks_of(known, other))
        assert not mixture.at_bound
        p = mixture.probability(np.linspace(-5, 10, 50))
        assert ((p >= 0) & (p <= 1)).all()
        assert (np.diff(p) >= -1e-12).all()
        found.append(mixture.hidden)
    # Never many more than there are; a smallest of several counts is somewhat low, and rarely by more than half.
    assert max(found) <= 1.35 * n_hidden + 12
    assert sum(count >= 0.5 * n_hidden - 12 for count in found) >= 19
    assert np.median(found) >= 0.7 * n_hidden - 6


@pytest.fixture(scope="module")
def small_scores():
    rng = np.random.default_rng(3)
    return rng.normal(5, 1, 200), rng.normal(0, 1, 600)


def test_relatives_count_once():
    rng = np.random.default_rng(0)
    known, other = rng.normal(5, 1, 300), np.r_[rng.normal(0, 1, 900), rng.normal(5, 1, 12)]
    apart = marks_of(known, other)
    one_family = replace(apart, unlabelled_family=np.r_[apart.unlabelled_family[:900], np.full(12, 9999)])
    beside = replace(apart, beside=np.arange(912) >= 900)
    strongest, *others = (m.log_bayes_factor(fit_mixture(m).ratio) for m in (apart, one_family, beside))
    assert max(others) < strongest
    p = fit_mixture(beside).probability(beside.unlabelled)
    assert (beside.given_any(p) <= beside.as_away(p)).all()


def test_what_is_left_out_one_by_one_stands_beside_what_is_listed():
    """A hundred and twenty of the same scores: in families nobody annotated, or in samples and families of what is annotated."""
    rng = np.random.default_rng(0)
    known, other = rng.normal(5, 1, 300), np.r_[rng.normal(0, 1, 900), rng.normal(5, 1, 120)]
    apart, last = marks_of(known, other), np.arange(1020) >= 900
    relatives = np.where(last, np.arange(1020) - 900, apart.unlabelled_family)
    near = replace(apart, unlabelled_family=relatives, beside=last & (np.arange(1020) % 2 == 0))
    assert not apart.kin.any() and near.kin.sum() == 60
    p = fit_mixture(apart).probability(other)
    families, one_by_one = apart.given_any(p), near.given_any(p)
    assert families[last].mean() > 0.6 and one_by_one[last & near.kin].mean() > 0.6
    # A mark beside an annotated instance says more where relatives' samples hold such marks, one in a new family less.
    alone = replace(apart, beside=near.beside)
    assert one_by_one[near.beside].mean() > alone.given_any(p)[near.beside].mean() + 0.2
    assert one_by_one[~last].mean() < families[~last].mean()


def test_as_many_unannotated_as_annotated_ones_is_said(small_scores):
    known, other = small_scores
    assert fit_mixture(marks_of(known, np.r_[other, known, known + 0.01, known - 0.01])).at_bound
    assert not fit_mixture(marks_of(known, other)).at_bound


@few
@given(st.lists(st.floats(-6, 6), min_size=1, max_size=20), st.floats(0.1, 3))
def test_a_concept_is_more_likely_incomplete_where_others_are(evidence, more):
    p = posterior(np.array(evidence))
    assert ((p > 0) & (p < 1)).all()
    assert (np.diff(p[np.argsort(evidence, kind="stable")]) >= -1e-12).all()
    raised = posterior(np.array([evidence[0] + more, *evidence[1:]]))
    assert (raised >= p - 1e-9).all() and raised[0] > p[0]
    assert posterior(np.full(30, -1.0)).max() < 0.05  # nothing stands out where nothing speaks for it
    assert not len(posterior(np.zeros(0)))


def test_the_share_of_concepts_is_weighed_as_a_prior_says() -> None:
    """A concept alone: the prior odds are ANY times the mean share. Many that say the same thing set the share."""
    for evidence in (-2.0, 0.0, 3.0):
        prior = ANY * PRIOR_SOME / (PRIOR_SOME + PRIOR_NONE)
        np.testing.assert_allclose(posterior(np.array([evidence])), expit(evidence + logit(prior)), atol=1e-5)
    mixed = posterior(np.repeat([8.0, -8.0], [20, 20]))
    assert mixed[0] > 0.99 and mixed[-1] < 1e-3


def test_one_concept_that_stands_out_a_little_says_nothing_of_the_collection() -> None:
    """Nineteen concepts with nothing and one with odds of twenty: likelier that nothing is there. With a thousand it is."""
    some = posterior(np.append(np.log(20), np.full(18, -3.0)))[0]
    sure = posterior(np.append(np.log(1000), np.full(18, -3.0)))[0]
    assert some < 0.5 < 0.9 < sure


@few
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_q_values_do_not_fall_down_the_list(values):
    p = np.array(values)
    order = np.argsort(-p, kind="stable")
    for q in (list_error(p), decoy_error(p, np.array([0.5]), np.ones(1))):
        assert (np.diff(q[order]) >= -1e-9).all()
        assert (q >= 0).all()


@few
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=30),
    st.lists(st.floats(0, 1), max_size=20),
    st.integers(1, 5),
)
def test_a_decoy_that_stands_for_more_weighs_as_so_many(p, decoys, n):
    p, decoys = np.array(p), np.array(decoys)
    whole = decoy_error(p, decoys, np.full(len(decoys), float(n)))
    np.testing.assert_allclose(whole, decoy_error(p, np.repeat(decoys, n), np.ones(n * len(decoys))))
    assert (whole >= 1 / len(p) - 1e-12).all()


def test_calibration_of_calibrated_numbers():
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    truth = rng.random(20_000) < p
    assert expected_calibration_error(p, truth) < 0.02
    assert abs(brier(p, truth) - 1 / 6) < 0.01
    assert expected_calibration_error(np.full(1000, 0.9), np.zeros(1000)) == pytest.approx(0.9)


@pytest.mark.parametrize("size", [1, 5])
def test_precision_interval_covers(size):
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        p = np.repeat(rng.beta(4, 1, 60), size)
        cluster = np.repeat(np.arange(60), size)
        truth = (rng.random(60)[cluster]) < p
        _, low, high = precision_at(p, cluster, 50, seed=seed)
        top = np.argsort(-p, kind="stable")[:50]
        covered += low <= truth[top].mean() <= high
    assert covered >= 170


def test_average_precision_counts_what_was_never_reached():
    assert average_precision(np.array([2.0, 1.0]), np.array([1, 1]), 4) == pytest.approx(0.5)
    assert average_precision(np.array([]), np.array([]), 4) == 0.0
    assert pu_adjusted(0.9, 0.5) == 1.0


def test_candidates_come_back_from_disk(tmp_path):
    record = {"claim": "candidate: =x", "features": [1], "against": ["because\tof"], "value": float("nan")}
    frame = pd.DataFrame(
        [["missing", "=s1", 0, 3, "c", 1, 0.5, 0.25, 0.125, "candidate: =x", "because\tof", record]],
        columns=list(COLUMNS),
    )
    write_candidates(Table(frame, context={"not_run": {"ablation": "no model"}}), tmp_path)
    again = read_candidates(tmp_path)
    assert again.drop(columns="evidence").equals(pd.DataFrame(frame).drop(columns="evidence"))
    assert again.context["not_run"] == {"ablation": "no model"}
    assert again["evidence"][0]["value"] is None
    assert (tmp_path / "candidates.tsv").read_text().splitlines()[1].startswith("missing\t'=s1")


def test_an_empty_list_is_written_and_read(tmp_path):
    write_candidates(Table(pd.DataFrame([], columns=list(COLUMNS)), context={}), tmp_path)
    assert len(read_candidates(tmp_path)) == 0


def test_a_reading_at_chance_explains_no_peaks():
    # reader, composition, centre, position, conservation, order, matched: the order of letters does not matter
    measures = np.array([[0.55, about, 0.5, 0.5, 0.5, 0.5, 0.5] for about in (0.52, 0.6, 0.75)])
    assert explained(measures).all()
    few, many = np.full(3, 12), np.full(3, 80)
    assert explained(measures, few).tolist() == [False, False, True]
    assert explained(measures, many).tolist() == [False, True, True]


@pytest.mark.parametrize(("n_families", "n_features"), [(30, 8), (24, 12)])
def test_the_best_pair_of_features_that_say_nothing_is_found_no_more_often_than_stated(
    n_families, n_features
):
    """The choice among all pairs is part of the null: families that every feature holds for reasons of its own."""
    p = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        hold = rng.random((n_families, n_features)) < rng.uniform(0.3, 0.6, n_features)
        p.append(chance_of_pair(hold, n_draws=99))
    assert np.mean(np.array(p) <= 0.05) <= 0.1
    assert np.mean(np.array(p) <= 0.01) <= 0.04


def test_a_split_that_readers_miss_in_part_is_found():
    """Two kinds in 15 families each, of which their readers miss one in five, beside readers of both."""
    found = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        first = np.arange(30) < 15
        reads = np.column_stack([first, ~first, first | True, first | True])
        hold = reads & (rng.random(reads.shape) < 0.8)
        found.append((best_pair(hold), chance_of_pair(hold, n_draws=199)))
    assert np.mean([pair == (0, 1) and p <= 0.01 for pair, p in found]) >= 0.9


def test_a_list_as_long_as_that_of_decoys_is_not_likely_to_hold_anything():
    alone = [any_real(n, 0) for n in range(30)]
    assert alone[0] == 0 and (np.diff(alone) > 0).all()
    assert alone[1] <= 0.5  # one row where one false one could be expected
    assert all(a > b for a, b in zip(alone[1:], [any_real(n, n / 2) for n in range(1, 30)]))
    assert any_real(10, 10) < 0.5 < any_real(10, 2)
