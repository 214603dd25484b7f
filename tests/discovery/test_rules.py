"""The rules that leave features out or call concepts two: the same by brute force, and monotone where they should be."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import scipy.sparse as sp
from laid_out import problem_of, random_texts
from scipy.optimize import minimize_scalar
from scipy.stats import beta as beta_law
from sklearn.metrics import pairwise

from sciinterp.codes import FeatureMatrix
from sciinterp.discovery import half_samples as hs
from sciinterp.discovery import novel, refinement
from sciinterp.discovery.calibrate import by_chance
from sciinterp.discovery.plain_readings import BACKBONE, SHARED
from sciinterp.discovery.refinement import Refinement, best_pair, calibrate_refinements, find_refinements
from sciinterp.discovery.sequence_readers import COLUMNS, OF_BACKBONE, Coherence
from sciinterp.discovery.together import co_active, cosines, stability_of

READER = COLUMNS.index("reader")


def read_of(measures: np.ndarray, influence: np.ndarray) -> Coherence:
    n = len(measures)
    return Coherence(
        measures, influence, np.full(n, "motif", object), *np.zeros((2, n)), {"motif": np.zeros(n)}
    )


# Half-samples.


@pytest.mark.parametrize("n", [1, 7, 80, 127, 128, 200])
def test_every_two_families_meet_in_a_quarter_of_the_half_samples(n):
    signs = hs.half_samples(n)
    assert set(np.unique(signs)) == {-1, 1} and len(signs) >= hs.LEAST
    assert (signs.sum(0) == 0).all()
    both = (signs > 0).T.astype(int) @ (signs > 0)
    assert (both[np.triu_indices(n, 1)] == len(signs) // 4).all()


@pytest.mark.parametrize("columns", [len(COLUMNS), len(COLUMNS) + len(OF_BACKBONE)])
def test_shares_are_those_of_every_half_sample_asked_one_by_one(columns):
    rng = np.random.default_rng(columns)
    n, n_peaks = 12, 20
    measures = rng.uniform(0.4, 1, (n, columns))
    influence = rng.normal(0, 0.02, (n, columns, n_peaks)).astype(np.float32)
    peaks, periodic = rng.integers(12, 60, n), rng.random(n) < 0.3
    # A letter's composition that chance would have it, of a feature that fires periodically: it passes.
    measures[0, :7] = [0.58, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5]
    measures[0, 7:], influence[0], peaks[0], periodic[0] = 0.5, influence[0] / 10, 12, True
    gone, passed = hs.shares(read_of(measures, influence), peaks, periodic)
    signs = hs.half_samples(n_peaks)
    for i in range(n):
        explained = passes = 0
        for sign in signs:
            moved = np.clip(measures[i] + influence[i] @ sign, 0, 1)[None]
            is_explained = hs.explained(moved, peaks[i : i + 1])[0]
            incoherent = moved[0, READER] < hs.COHERENT or hs.explained(moved)[0]
            explained += is_explained
            passes += not is_explained and (periodic[i] or not incoherent)
        assert gone[i] == pytest.approx(explained / len(signs))
        assert passed[i] == pytest.approx(passes / len(signs))


def test_what_no_family_moves_passes_always_or_never():
    measures = np.array([[0.9, 0.5, 0.5, 0.5, 0.5, 0.9, 0.9], [0.9, 0.95, 0.5, 0.5, 0.5, 0.55, 0.9]])
    gone, passed = hs.shares(
        read_of(measures, np.zeros((2, 7, 30), np.float32)), np.full(2, 30), np.zeros(2, bool)
    )
    assert gone.tolist() == [0, 1] and passed.tolist() == [1, 0]


def test_a_better_reader_is_not_explained_sooner():
    """Raising what the reader reaches, all else kept, raises every limit or leaves it."""
    rng = np.random.default_rng(0)
    measures = rng.uniform(0.4, 0.9, (300, len(COLUMNS) + len(OF_BACKBONE)))
    better = measures.copy()
    better[:, READER] += 0.08
    low, high = hs.limits(measures), hs.limits(better)
    assert low.shape == (300, len(hs.READINGS)) and (high >= low - 1e-12).all()
    assert not (hs.explained(better) & ~hs.explained(measures)).any()
    np.testing.assert_array_equal(low[:, :4], hs.limits(measures[:, : len(COLUMNS)]))


def test_what_the_letter_shares_with_others_decides_its_limit():
    row = np.array([[0.85, 0.5, 0.5, 0.5, 0.5, 0.9, 0.5]])
    alike = row.copy()
    alike[0, COLUMNS.index("matched")] = hs.FAIR
    centre = hs.READINGS.index("centre")
    assert hs.limits(row)[0, centre] == 0.85 and hs.limits(alike)[0, centre] == pytest.approx(0.9)


@pytest.mark.parametrize("name", BACKBONE)
def test_the_backbone_explains_peaks_as_the_letter_does(name):
    measures = np.full((1, len(COLUMNS) + len(OF_BACKBONE)), 0.5)
    measures[0, [READER, COLUMNS.index("order")]] = 0.85, 0.95
    assert not hs.explained(measures)[0]
    at = len(COLUMNS) + OF_BACKBONE.index(name)
    measures[0, at] = 0.88 if name in SHARED else 0.92
    assert hs.explained(measures)[0]
    if (
        name in SHARED
    ):  # the reader tells peaks from others of the same class: being a little better will not do
        measures[0, len(COLUMNS) + OF_BACKBONE.index(f"same_{name}")] = 0.75
        assert not hs.explained(measures)[0]


def test_few_peaks_are_hard_to_tell_from_chance():
    measures = np.array([[0.6, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5]])
    told = [bool(hs.explained(measures, np.array([n]))[0]) for n in (5, 12, 40, 80, 200)]
    assert told == [by_chance(np.array([n]))[0] < 0.6 for n in (5, 12, 40, 80, 200)] and told[0] != told[-1]


def test_rows_of_readings_are_taken_joined_and_averaged():
    rng = np.random.default_rng(1)

    def drawn(seed: int) -> Coherence:
        r = np.random.default_rng(seed)
        tried = {"motif": r.random(4), "pair": np.where([1, 0, 1, 0], r.random(4), np.nan)}
        return Coherence(r.random((4, 7)), r.random((4, 7, 5)), np.array(["motif", "pair", "motif", "pair"], object),
                         r.random(4), r.random(4), tried)  # fmt: skip

    whole, order = drawn(0), rng.permutation(4)
    parts = Coherence.joined([whole.rows(order[:1]), whole.rows(order[1:])])
    np.testing.assert_array_equal(parts.measures, whole.measures[order])
    np.testing.assert_array_equal(parts.tried["pair"], whole.tried["pair"][order])
    into, many = drawn(0), [drawn(s).rows(np.array([0, 1])) for s in (1, 2, 3)]
    many[1].reader[:] = "pair"
    into.put(np.array([3, 1]), many)
    np.testing.assert_allclose(into.measures[[3, 1]], np.mean([d.measures for d in many], axis=0))
    np.testing.assert_array_equal(into.measures[[0, 2]], whole.measures[[0, 2]])
    assert into.reader.tolist() == [
        "motif",
        "pair",
        "motif",
        "motif",
    ]  # two of three said motif of the first row
    assert into.tried["pair"][3] == pytest.approx(np.mean([d.tried["pair"][0] for d in many]))
    assert np.isnan(into.tried["pair"][1])  # nobody asked


# Columns that fire together.


@pytest.fixture(scope="module")
def sparse():
    rng = np.random.default_rng(5)
    on = rng.random((240, 9)) < 0.2
    return (on * (2 + rng.gamma(2, 1, (240, 9)))).astype(np.float32)  # none is so weak that it is a leak


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("block", [1, 1 << 22])
def test_cosines_agree_with_scikit_learn_whatever_the_blocks(sparse, n, block, monkeypatch):
    monkeypatch.setattr("sciinterp.discovery.together.BLOCK_VALUES", block)
    texts = random_texts(8, 30)
    mine, other = problem_of(texts, codes=sparse[:, :5]), problem_of(texts, codes=sparse[:, 3:])
    rows = sp.csr_array(mine.columns(range(5)).T.astype(np.float64))
    got, whose = cosines(rows, other.features, n)
    wanted = pairwise.cosine_similarity(sparse[:, :5].T, sparse[:, 3:].T)
    np.testing.assert_allclose(got, -np.sort(-wanted, axis=1)[:, :n], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(wanted, whose, 1), got, atol=1e-6)
    assert whose[3:, 0].tolist() == [0, 1]  # these are there


def test_stability_is_the_worst_of_the_dictionaries_and_of_those_looked_at(sparse):
    texts = random_texts(8, 30)
    problem = problem_of(texts, codes=sparse)
    others = [
        FeatureMatrix(sp.csr_array(sparse[:, c]), problem.samples) for c in ([0, 1, 2, 3], [2, 3, 4, 5])
    ]
    where = np.array([True] * 8 + [False])
    got = stability_of([(problem, np.arange(9))], others, where=where)
    each = [pairwise.cosine_similarity(sparse.T, sparse[:, c].T).max(1) for c in ([0, 1, 2, 3], [2, 3, 4, 5])]
    np.testing.assert_allclose(got[:8], np.min(each, axis=0)[:8], atol=1e-6)
    assert got[8] == 0 and got[2] == pytest.approx(1)
    parts = [[FeatureMatrix(sp.csr_array(sparse[:, [c]]), problem.samples) for c in (2, 3, 4, 5)]]
    np.testing.assert_allclose(
        stability_of([(problem, np.arange(9))], parts, where=where)[:8], each[1][:8], atol=1e-6
    )
    assert np.isnan(stability_of([(problem, np.arange(9))], [], where=where)).all()


def test_a_feature_follows_the_first_better_one_it_fires_with():
    codes = np.zeros((40, 4))
    codes[:10, 0] = codes[:9, 1] = codes[20:30, 2] = 1
    codes[[*range(5, 10), *range(20, 30)], 3] = 1  # with the first and, more, with the third
    problem = problem_of(random_texts(4, 10), codes=codes)
    assert co_active(problem, np.array([0, 1, 2, 3])) == [0, 0, 2, 0]
    assert co_active(problem, np.array([2, 3, 1, 0])) == [0, 0, 2, 2]  # the fourth no longer leads
    assert co_active(problem, np.array([0, 3]), cosine=0.99) == [0, 1]
    assert co_active(problem, np.zeros(0, np.int64)) == []


# Novel features: what counts as associated, how they fire, and what probabilities are made of.


def test_a_feature_is_associated_by_f1_by_activity_in_a_narrow_concept_or_by_a_hit():
    texts = random_texts(10, 30)
    spans = [(f"s{i}", 0, 2, "x:narrow") for i in range(10)] + [
        (f"s{i}", 10, 25, "x:wide") for i in range(10)
    ]
    codes = np.zeros((10, 30, 5))
    codes[:, 0:2, 0] = 1  # the narrow one, exactly
    codes[:, 0, 1] = codes[:, 5:9, 1] = 1  # a fifth of its activity lies in the narrow one
    codes[:, 26:30, 2] = 1  # nowhere near
    codes[:, 11, 3] = 1  # a thirtieth of the wide one
    problem = problem_of(texts, spans, codes.reshape(300, 5))
    best, f1, linked = novel.associated(problem)
    assert linked.tolist() == [True, True, False, False, False]
    names = problem.names
    truth = problem.positives.toarray()
    for j in range(5):
        on = codes.reshape(300, 5)[:, j] > 0
        wanted = [2 * (on & truth[:, c]).sum() / max(on.sum() + truth[:, c].sum(), 1) for c in range(2)]
        assert f1[j] == pytest.approx(max(wanted)) and names[best[j]] == names[int(np.argmax(wanted))]
    assert novel.associated(problem, np.array([2, 4]))[2].tolist() == [True, True, True, False, True]
    none = novel.associated(problem_of(texts, codes=codes.reshape(300, 5)))
    assert (none[0] == -1).all() and not none[2].any() and (none[1] == 0).all()


@pytest.mark.parametrize(
    ("where", "kind", "period"),
    [
        (lambda n: [], "silent", None),
        (lambda n: [4], "point", None),
        (lambda n: range(10, 15), "short", None),
        (lambda n: range(10, 30), "long", None),
        (lambda n: range(n), "whole", None),
        (lambda n: range(0, n, 7), "periodic", 7),
        (lambda n: [*range(0, n, 24)], "periodic", 24),
        (lambda n: range(0, n, 25), "point", None),  # longer than any period that is looked for
        (lambda n: range(0, n, 2), "long", None),  # what is two apart is one run
    ],
)
def test_how_a_feature_fires_is_named(where, kind, period):
    codes = np.zeros((8, 120, 1))
    codes[:, list(where(120))] = 1
    pattern = novel.firing_pattern(problem_of(random_texts(8, 120), codes=codes.reshape(-1, 1)), 0)
    assert pattern["class"] == kind and pattern.get("period") == period
    if kind != "silent":
        assert pattern["share_of_its_samples"] == pytest.approx(codes.mean(), abs=1e-3)


def test_every_feature_has_one_fate():
    texts = random_texts(20, 30)
    rng = np.random.default_rng(0)
    codes = np.zeros((20, 30, 5))
    codes[:, :, 0] = 1  # dense
    codes[:3, 4, 1] = 1  # three families
    codes[np.arange(20), rng.integers(0, 30, 20), 2] = codes[np.arange(20), rng.integers(0, 30, 20), 3] = 1
    problem = problem_of(texts, codes=codes.reshape(600, 5))
    spread = novel.find_peaks(problem).n_families >= novel.MIN_FAMILIES
    linked = np.array([False, False, False, True, False])
    usable, fate = novel._usable(problem, spread, linked)
    assert fate.tolist() == ["dense", novel.FEW, "listed", novel.KNOWN, "dead"]
    assert usable.tolist() == [False, False, True, True, False]


def test_a_decoy_stands_for_as_many_targets_as_its_sort_has_fewer():
    sort, share = np.array([0, 0, 1, 1, 1, 4]), np.array([1, 0.5, 1, 1, 0, 1.0])
    weight = novel._weights(share, sort, np.array([1.0, 0, 1, 1, 1, 1]), 30)
    assert weight.tolist() == [1, 0, 10, 10, 0, 30]


def test_q_values_are_at_least_the_mean_doubt_and_do_not_fall():
    rng = np.random.default_rng(3)
    score, decoy = np.sort(rng.normal(1, 2, 30))[::-1], rng.normal(-1, 2, 50)
    p, sort = 1 / (1 + np.exp(-score)), rng.integers(0, 3, 50)
    q = novel._q_values(score, p, decoy, np.full(50, 0.2), sort)
    assert (np.diff(q) >= 0).all() and (q >= np.cumsum(1 - p) / np.arange(1, 31) - 1e-12).all()
    order = rng.permutation(30)
    moved = novel._q_values(score[order], p[order], decoy, np.full(50, 0.2), sort)
    np.testing.assert_allclose(moved, q[order])
    assert (novel._q_values(score, p, decoy, np.full(50, 2.0), sort) >= q).all()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_mixing_proportion_of_targets_is_recovered(share):
    """Scores of a model learned where one in two was positive, read where another share is."""
    rng = np.random.default_rng(0)
    real = rng.random(4000) < share
    x = rng.normal(np.where(real, 1.5, -1.5), 1)
    p = novel._move_prior(3 * x, 50, 50)  # the log odds of two normal laws three apart
    assert p.mean() == pytest.approx(real.mean(), abs=0.03)
    assert (np.diff(p[np.argsort(x)]) >= 0).all()


def test_a_known_feature_is_not_scored_by_what_saw_its_concept():
    """One concept whose features look like decoys but for a mark of their own: seen, the mark would tell them."""
    rng = np.random.default_rng(0)
    x = np.r_[rng.normal(2, 0.3, (20, 2)), rng.normal(-2, 0.3, (4, 2)), rng.normal(-2, 0.3, (30, 2))]
    known = np.arange(54) < 24
    x = np.column_stack([x, 9.0 * ((np.arange(54) >= 20) & known)])
    group = np.r_[np.arange(20) % 4, np.full(4, 4), -5 - 5 * np.arange(30)]
    score = novel._cross_fit(x, known, group, np.ones(54))
    assert score[:20].min() > 0 and score[20:24].max() < 0 and score[24:].max() < 0
    together = novel._cross_fit(
        x, known, np.zeros(54, int), np.ones(54)
    )  # one group alone cannot be held out
    assert together[20:24].min() > 0


def test_too_few_that_pass_teach_with_all():
    known, targets = np.array([True] * 4 + [False] * 6), slice(4, 5)
    few = novel._learn_from(np.array([1, 1, 0, 0, 1, 1, 0, 0, 0, 0.0]), known, targets)
    assert few.tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 1, 1]
    many = np.r_[np.full(8, 0.9), 1.0, np.full(8, 0.8)]
    got = novel._learn_from(many, np.arange(17) < 8, slice(8, 9))
    np.testing.assert_array_equal(got, np.where(np.arange(17) == 8, 0, many))


# Refinements.


@pytest.mark.parametrize("seed", range(8))
def test_the_best_pair_is_the_best_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    n, m = 26, 7
    first = rng.random(n) < 0.5
    hold = rng.random((n, m)) < rng.uniform(0.05, 0.5, m)
    hold[:, 0], hold[:, 1] = first & (rng.random(n) < 0.9), ~first & (rng.random(n) < 0.9)
    hold = hold[:, rng.permutation(m)]
    scores = {}
    for i, j in combinations(range(m), 2):
        a, b = hold[:, i], hold[:, j]
        both, alone = (a & b).sum(), ((a & ~b).sum(), (b & ~a).sum())
        cover = (a | b).mean()
        apart = both <= refinement.MAX_BOTH * min(a.sum(), b.sum())
        if min(alone) >= refinement.MIN_SIDE and apart and cover >= refinement.MIN_COVER:
            scores[i, j] = cover - 2 * both / n
    got, fits = best_pair(hold), refinement._fits(hold[None])[0]
    for pair in combinations(range(m), 2):
        assert fits[pair] == pytest.approx(scores.get(pair, -np.inf))
    assert (got is None) == (not scores)
    if got is not None:
        assert scores[got] == pytest.approx(max(scores.values()))


def test_a_pair_has_two_features_and_families_enough():
    assert best_pair(np.ones((30, 1), bool)) is None
    assert best_pair(np.zeros((30, 4), bool)) is None
    assert refinement.chance_of_pair(np.zeros((30, 4), bool)) == 1.0
    short = np.column_stack([np.arange(7) < 3, np.arange(7) >= 3])  # three families on one side
    assert best_pair(short) is None


@pytest.mark.parametrize("block", [1, 500, 1 << 20])
def test_chance_is_the_same_however_many_are_permuted_at_once(block, monkeypatch):
    rng = np.random.default_rng(1)
    first = np.arange(24) < 12
    hold = np.column_stack([first, ~first, rng.random((24, 3)) < 0.4]) ^ (rng.random((24, 5)) < 0.15)
    whole = refinement.chance_of_pair(hold, n_draws=300)
    monkeypatch.setattr(refinement, "BLOCK", block)
    assert refinement.chance_of_pair(hold, n_draws=300) == whole < 0.2
    assert refinement.chance_of_pair(hold[rng.permutation(24)], n_draws=300) == pytest.approx(whole, abs=0.05)


def found(p: float, name: str = "a") -> Refinement:
    return Refinement(name, 0, 1, 9, 8, 0, 1, 0.9, p)


def test_q_values_of_refinements_are_benjamini_and_hochbergs_over_all_concepts():
    p = [0.01, 0.2, 0.004]
    _, q = calibrate_refinements([found(x) for x in p], 5, 12)
    ranked = sorted(p)
    wanted = [min(min(12 * x / (k + 1) for k, x in enumerate(ranked) if x >= one), 1) for one in p]
    np.testing.assert_allclose(q, wanted)
    assert [len(x) for x in calibrate_refinements([], 5, 12)] == [0, 0]


def test_no_beta_alternative_speaks_louder_than_the_bound():
    """Sellke, Bayarri and Berger: of all densities a p^(a-1), a <= 1, none gives more evidence than -1 / (e p log p)."""
    for p in (0.2, 0.05, 0.001):
        best = minimize_scalar(lambda a, p=p: -beta_law.logpdf(p, a, 1), bounds=(1e-6, 1), method="bounded")
        assert -best.fun == pytest.approx(-np.log(-np.e * p * np.log(p)), abs=1e-4)
    probability = [calibrate_refinements([found(p)], 1, 1)[0][0] for p in (1.0, 0.36, 0.1, 1e-3, 0.0)]
    assert (np.diff(probability) >= 0).all() and probability[-1] > 0.99


def test_a_concept_of_two_kinds_is_found_and_why_others_are_not():
    rng = np.random.default_rng(0)
    n, length = 40, 20
    spans = [(f"s{i}", 5, 9, "x:two") for i in range(n)] + [(f"s{i}", 12, 15, "x:one") for i in range(n)]
    spans += [(f"s{i}", 0, 2, "x:few") for i in range(10)]
    codes = np.zeros((n, length, 5))
    codes[:, 16:, 4] = rng.random((n, 4)) < 0.5
    codes[: n // 2, 5:9, 0] = codes[n // 2 :, 5:9, 1] = 1
    codes[:, 12:15, 2:4] = 1
    problem = problem_of(random_texts(n, length), spans, codes.reshape(-1, 5))
    (only,), skipped, n_tested = find_refinements(problem)
    assert (only.concept, only.a, only.b, only.only_a, only.only_b) == ("x:two", 0, 1, 20, 20)
    assert only.p < 1e-3 and n_tested == 2
    assert skipped == {
        "x:few": "instances in only 10 families",
        "x:one": "no two features hold disjoint families",
    }
    # The order of features names them, and nothing else.
    order = [3, 1, 4, 0, 2]
    moved = problem_of(random_texts(n, length), spans, codes.reshape(-1, 5)[:, order])
    again = find_refinements(moved)[0][0]
    assert {order[again.a], order[again.b]} == {0, 1} and again.p == only.p and again.score == only.score


def test_a_family_is_held_where_half_of_its_instances_are_read():
    spans = [(f"s{i}", at, at + 2, "x:a") for i in range(2) for at in (0, 4, 8, 12)]
    codes = np.zeros((40, 2))
    codes[[0, 5], 0] = codes[[20], 0] = 1  # two of four, one of four
    codes[[21, 24, 28], 1] = 1
    problem = problem_of(random_texts(2, 20), spans, codes)
    hold = refinement._hold(problem, problem.instances, np.array([0, 1]))
    assert hold.tolist() == [[True, False], [False, True]]
