"""precision_recall against scikit-learn, pair by pair."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from sciinterp.association import precision_recall
from sciinterp.errors import InputError


@st.composite
def cases(draw):
    n, n_features, n_concepts = draw(st.integers(2, 120)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.exponential(size=(n, n_features)).astype(np.float32)
    if draw(st.booleans()):
        values = np.round(values * 2) / 2  # ties
    values[rng.random((n, n_features)) < draw(st.sampled_from([0.0, 0.5, 0.95]))] = 0
    truth = rng.random((n, n_concepts)) < draw(st.sampled_from([0.02, 0.3, 0.9]))
    stored = (values > 0) | (rng.random(values.shape) < 0.1)  # some zeros stored
    row, column = np.nonzero(stored)
    return sp.csr_array((values[row, column], (row, column)), shape=values.shape), sp.csr_array(truth)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_scores_equal_scikit_learn(case):
    codes, positives = case
    scores = precision_recall(codes, positives)
    dense, truth = codes.toarray(), positives.toarray()
    for f in range(dense.shape[1]):
        for c in range(truth.shape[1]):
            y, s = truth[:, c], dense[:, f]
            if not y.any():
                assert scores.average_precision[f, c] == 0
                assert scores.best_f1[f, c] == 0
                continue
            assert scores.average_precision[f, c] == pytest.approx(average_precision_score(y, s), abs=1e-12)
            if not y.all():
                assert scores.auroc[f, c] == pytest.approx(roc_auc_score(y, s), abs=1e-12)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                p, r, _ = precision_recall_curve(y, s)
                best = np.nanmax(2 * p * r / (p + r))
            assert max(scores.best_f1[f, c], scores.f1_everything[c]) == pytest.approx(best, abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_the_threshold_gives_the_best_f1_and_none_gives_more(case):
    codes, positives = case
    scores = precision_recall(codes, positives)
    dense, truth = codes.toarray(), positives.toarray()
    for f in range(dense.shape[1]):
        for c in range(truth.shape[1]):

            def f1(threshold, f=f, c=c):
                on = dense[:, f] > threshold
                return 2 * (on & truth[:, c]).sum() / max(1, on.sum() + truth[:, c].sum())

            assert scores.threshold[f, c] >= 0
            assert scores.best_f1[f, c] == pytest.approx(f1(scores.threshold[f, c]), abs=1e-12)
            assert scores.best_f1[f, c] >= max(f1(t) for t in np.append(dense[:, f], 0)) - 1e-12


def test_long_columns_are_sorted_in_full():
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.exponential(size=5000), 10.0 ** rng.uniform(-40, 38, 5000)]).astype(
        np.float32
    )
    truth = rng.random((10000, 2)) < values[:, None] / (1 + values[:, None])
    scores = precision_recall(sp.csr_array(values[:, None]), sp.csr_array(truth))
    for c in range(2):
        assert scores.auroc[0, c] == pytest.approx(roc_auc_score(truth[:, c], values), abs=1e-12)
        assert scores.average_precision[0, c] == pytest.approx(
            average_precision_score(truth[:, c], values), abs=1e-12
        )


def test_blocks_of_features_are_rows_of_the_whole():
    rng = np.random.default_rng(0)
    codes = sp.random_array((300, 9), density=0.3, dtype=np.float32, rng=rng).tocsr()
    positives = sp.csr_array(rng.random((300, 4)) < 0.2)
    whole = precision_recall(codes, positives)
    part = precision_recall(codes, positives, features=slice(3, 7))
    np.testing.assert_array_equal(part.average_precision, whole.average_precision[3:7])
    np.testing.assert_array_equal(part.threshold, whole.threshold[3:7])
    with pytest.raises(InputError, match="blocks"):
        precision_recall(codes, positives, memory_budget=100)


def test_an_always_on_feature_has_the_precision_of_chance():
    rng = np.random.default_rng(1)
    truth = rng.random((2000, 1)) < 0.1
    scores = precision_recall(sp.csr_array(np.ones((2000, 1), np.float32)), sp.csr_array(truth))
    assert scores.average_precision[0, 0] == pytest.approx(scores.prevalence[0])
    assert scores.auroc[0, 0] == pytest.approx(0.5)
    assert scores.best_f1[0, 0] == pytest.approx(scores.f1_everything[0])
