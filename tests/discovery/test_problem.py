"""What every rule looks at: the same numbers as dense arrays give, whatever the blocks and the order of features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from laid_out import problem_of, random_texts

from sciinterp.annotations import Annotations
from sciinterp.codes import FeatureMatrix
from sciinterp.discovery.calibrate import auroc, average_precision
from sciinterp.discovery.decoys import N_MADE, made_up
from sciinterp.discovery.design import Design
from sciinterp.discovery.logistic import fit_logistic, predict
from sciinterp.discovery.motifs import find_peaks
from sciinterp.discovery.problem import make_problem
from sciinterp.discovery.spans import window_means
from sciinterp.discovery.together import like
from sciinterp.samples import Samples
from sciinterp.splits import split_families

N, LENGTH, N_FEATURES = 24, 20, 12


@pytest.fixture(scope="module")
def dense():
    rng = np.random.default_rng(0)
    value = 3 + rng.gamma(2, 1, (N * LENGTH, N_FEATURES))
    return (value * (rng.random((N * LENGTH, N_FEATURES)) < 0.2)).astype(np.float32)


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(1)
    ids = [f"s{i}" for i in range(N)]
    table = pd.DataFrame({"family": [f"f{i // 3}" for i in range(N)]}, index=pd.Index(ids, name="id"))
    samples = Samples(ids, ["".join(rng.choice(list("ACDEF"), LENGTH)) for _ in ids], table=table)
    start = rng.integers(0, LENGTH - 5, 2 * N)
    rows = {"sample": ids * 2, "start": start, "end": start + 4, "concept": ["x:a"] * N + ["x:b"] * N}
    return samples, Annotations(pd.DataFrame(rows)), split_families(samples, by="family", seed=0)


def _problem(dense, given):
    """Of codes that leak a little wherever the feature is not active: that must change nothing."""
    samples, annotations, split = given
    leaky = np.where(dense > 0, dense, 0.09 * dense.max(0))
    return make_problem(FeatureMatrix(leaky, samples), annotations, split)


@pytest.mark.parametrize("block", [1, 50, 1 << 22])
def test_sums_are_those_of_dense_arrays_whatever_the_blocks(dense, given, block, monkeypatch):
    monkeypatch.setattr("sciinterp.discovery.problem.BLOCK_VALUES", block)
    problem = _problem(dense, given)
    positives = problem.positives.toarray().astype(float)
    np.testing.assert_array_equal(problem.overlap, positives.T @ (dense > 0))
    np.testing.assert_array_equal(problem.active, (dense > 0).sum(0))
    np.testing.assert_array_equal(problem.co_positive, positives.T @ positives)
    inside, total, square, n_positive, size = problem.fold_sums
    for k in range(problem.n_folds):
        mine, value = problem.fold_of == k, np.log1p(dense)
        np.testing.assert_allclose(inside[k], positives[mine].T @ value[mine], rtol=1e-5)
        np.testing.assert_allclose(total[k], value[mine].sum(0), rtol=1e-5)
        np.testing.assert_allclose(square[k], (value[mine] ** 2).sum(0), rtol=1e-5)
        np.testing.assert_array_equal(n_positive[k], positives[mine].sum(0))
        assert size[k] == mine.sum()


@pytest.mark.parametrize("chosen", [[], [3], [7, 2, 2, 11], list(range(N_FEATURES))])
@pytest.mark.parametrize("block", [1, 1 << 22])
def test_columns_come_in_the_order_asked_for(dense, given, chosen, block, monkeypatch):
    monkeypatch.setattr("sciinterp.discovery.problem.BLOCK_VALUES", block)
    problem = _problem(dense, given)
    np.testing.assert_array_equal(problem.columns(chosen).toarray(), dense[:, chosen])


def test_rotated_codes_keep_sample_density_and_order(dense, given):
    problem = _problem(dense, given)
    moved = problem.shifted(5)
    rotated = moved.columns(range(N_FEATURES)).toarray().reshape(N, LENGTH, N_FEATURES)
    whole, steps = dense.reshape(N, LENGTH, N_FEATURES), []
    for i in range(N):
        fits = [s for s in range(LENGTH) if (np.roll(whole[i], -s, axis=0) == rotated[i]).all()]
        assert len(fits) == 1 and fits[0] > 0
        steps.append(fits[0])
    for family in np.unique(problem.family):  # relatives move together
        assert len({s for s, f in zip(steps, problem.family) if f == family}) == 1
    np.testing.assert_array_equal(moved.active, problem.active)


def test_a_family_lies_in_one_fold(dense, given):
    problem = _problem(dense, given)
    assert set(problem.fold) == set(range(problem.n_folds))
    assert all(len(set(problem.fold[problem.family == f])) == 1 for f in np.unique(problem.family))


def test_features_in_another_order_are_the_same_features(dense, given):
    order = np.random.default_rng(2).permutation(N_FEATURES)
    one, two = _problem(dense, given), _problem(dense[:, order], given)
    np.testing.assert_array_equal(one.overlap[:, order], two.overlap)
    np.testing.assert_array_equal(one.fold_sums[0][..., order], two.fold_sums[0])
    a, b = find_peaks(one), find_peaks(two)
    np.testing.assert_array_equal(a.position[order], b.position)
    np.testing.assert_array_equal(a.n_families[order], b.n_families)


def test_peaks_are_one_a_family_and_fall(dense, given):
    problem = _problem(dense, given)
    for j, row in enumerate(find_peaks(problem).position):
        row = row[row >= 0]
        assert len(set(problem.family[problem.sample_of[row]])) == len(row)
        assert (np.diff(dense[row, j]) <= 0).all() and (dense[row, j] > 0).all()


@pytest.mark.parametrize("width", [1, 3, 8])
def test_window_means_are_those_of_the_dense_column(dense, given, width):
    samples = given[0]
    for column in dense.T:
        rows = np.flatnonzero(column)
        at, mean = window_means(rows, column[rows], width, samples.offsets)
        wanted = np.concatenate(
            [
                np.convolve(part, np.ones(2 * width + 1), "full")[width:-width]
                for part in column.reshape(N, LENGTH)
            ]
        ) / (2 * width + 1)
        found = np.zeros(len(column))
        found[at] = mean
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_design_held_sparsely_reads_as_the_dense_one(dense, given):
    problem = _problem(dense, given)
    x = Design(problem, 2).matrix(np.array([4, 1]))
    whole = np.column_stack([x.column(j) for j in range(4)])
    rows = np.array([5, 0, 479, 5, 17])
    np.testing.assert_array_equal(x.take(rows), whole[rows])
    np.testing.assert_array_equal(x.any(), whole.any(1))
    beta = np.array([1.0, -2.0, 0.5, 0.3, -1.5])
    np.testing.assert_allclose(x.log_odds(beta), predict(whole, beta), atol=1e-5)
    assert (whole[:, :2] > 0).tolist() == (dense[:, [4, 1]] > 0).tolist()


@pytest.mark.parametrize("n", [1, 7, 60])
def test_ranking_agrees_with_scikit_learn(n):
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(n)
    a, b = rng.integers(0, 9, n), rng.integers(0, 7, 2 * n)
    truth, score = np.r_[np.ones(n), np.zeros(2 * n)], np.r_[a, b]
    assert auroc(a, b) == pytest.approx(roc_auc_score(truth, score))
    assert auroc(a, b) + auroc(b, a) == pytest.approx(1)
    assert average_precision(score, truth, n) == pytest.approx(average_precision_score(truth, score))
    assert auroc(a, np.zeros(0)) == 0.5


@pytest.mark.parametrize("one", [True, False])
def test_one_class_teaches_nothing_but_itself(one):
    beta = fit_logistic(np.random.default_rng(0).normal(size=(20, 3)), np.full(20, one))
    assert (beta[:-1] == 0).all() and (beta[-1] > 0) == one


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("block", [1, 40, 1 << 16])
def test_codes_some_samples_at_a_time_are_the_columns(
    turned: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    texts = random_texts(9, 23)
    codes = np.where(rng.random((9 * 23, 6)) < 0.3, rng.random((9 * 23, 6)), 0)
    codes[:, 4] = 0
    problem = problem_of(texts, codes=codes)
    problem = problem.shifted(1) if turned else problem
    monkeypatch.setattr(FeatureMatrix.sample_blocks, "__defaults__", (block,))
    wanted = np.array([5, 0, 4, 2])
    whole = problem.columns(wanted).toarray()
    assert (whole > 0).any(0).tolist() == [True, True, False, True]
    seen = list(problem.rows(wanted))
    assert [i for part, _ in seen for i in range(part.start, part.stop)] == list(range(9 * 23))
    assert np.array_equal(np.vstack([some.toarray() for _, some in seen]), whole)


def test_likeness_of_columns_is_their_cosine() -> None:
    rng = np.random.default_rng(4)
    codes = np.where(rng.random((200, 7)) < 0.4, 0.2 + rng.random((200, 7)), 0)
    problem = problem_of(random_texts(10, 20), codes=codes)
    some, other = np.array([1, 6, 3]), np.array([0, 2])
    held, told = problem.columns(some).toarray(), problem.columns(other).toarray()
    unit = [x / np.linalg.norm(x, axis=0) for x in (held.astype(float), told.astype(float))]
    assert np.allclose(like(problem, some), unit[0].T @ unit[0])
    assert np.allclose(like(problem, other, problem.columns(some).tocsr()), unit[0].T @ unit[1])


@pytest.mark.parametrize("by_sample", [False, True])
def test_positions_alike_are_found_by_looking(by_sample: bool) -> None:
    texts = ["ACAAC", "C", "GACCA", "TTTT"]
    around = problem_of(texts).around
    alike = around.alike("letters", by_sample)
    where = around.at
    text, sample = "".join(texts), np.repeat(range(4), [len(t) for t in texts])
    first, count = alike.group(around.key("letters", by_sample, where))
    rank = alike.rank(where, first, count)
    for i, (lo, n) in enumerate(zip(first, count)):
        same = [
            j for j in range(len(text)) if text[j] == text[i] and (not by_sample or sample[j] == sample[i])
        ]
        assert alike.order[lo : lo + n].tolist() == where[same].tolist()
        assert alike.order[lo + rank[i]] == where[i]


@pytest.mark.parametrize("at_once", [3, 7, 1000])
def test_made_up_features_are_the_same_however_many_are_held_together(at_once, monkeypatch):
    problem, made = problem_of(random_texts(12, 60)), []
    for n in (12, at_once):
        monkeypatch.setattr("sciinterp.discovery.decoys.AT_ONCE", n)
        parts = [part.features.codes for part in made_up(problem)]
        assert {part.shape[1] for part in parts[:-1]} <= {n}
        made.append(sp.hstack(parts).tocsc())
    assert made[0].shape[1] == 3 * N_MADE and abs(made[0] - made[1]).nnz == 0
    letters, alphabet = np.array(list("".join(problem.samples.letters))), problem.alphabet
    for i in range(N_MADE):  # every third follows one letter, at nine of ten places
        held = made[0][:, [3 * i]].nonzero()[0]
        assert set(letters[held]) == {alphabet[i % len(alphabet)]}
        assert 0.6 < len(held) / (letters == alphabet[i % len(alphabet)]).sum() <= 1
