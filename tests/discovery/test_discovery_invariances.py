"""What a search must not depend on, the two ways to the same result, and the smallest inputs there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from laid_out import SPANS, problem_of, random_texts, samples_of, split_of

import sciinterp as si
from sciinterp.annotations import Annotations
from sciinterp.codes import FeatureMatrix
from sciinterp.discovery import Controls, DiscoverySettings, PlantedSettings, discover, missing, plant
from sciinterp.discovery.files import COLUMNS, read_candidates
from sciinterp.discovery.missing import find_spans, related_concepts
from sciinterp.discovery.motifs import find_peaks
from sciinterp.discovery.novel import find_novel
from sciinterp.discovery.problem import Problem, make_problem
from sciinterp.samples import Samples, Split

TINY = PlantedSettings(n_families=30, members=(2, 4), n_masked=2, n_novel=1, n_merged=1, n_plain=3, n_features=48,
                       n_seeds=0, length=(60, 90))  # fmt: skip
BARE = DiscoverySettings(records=False)
PLACE = ["kind", "concept", "sample", "start", "end"]


@pytest.fixture(scope="module")
def world():
    return plant(4, TINY)


@pytest.fixture
def no_novel(monkeypatch):
    """Missing annotations and refinements alone: novel concepts take longest, and draw shuffled windows row by row."""
    monkeypatch.setattr("sciinterp.discovery.search._novel_rows", lambda *_: ([], []))


@pytest.fixture
def all_rows(monkeypatch):
    """Models are fitted on all positions: which of the silent ones are taken depends on where they stand."""
    monkeypatch.setattr(missing, "MAX_SILENT", 10**9)


def searched(features, annotations, split, **given) -> pd.DataFrame:
    found = discover(features, annotations, pd.DataFrame(), split=split, settings=BARE, **given)
    return pd.DataFrame(found).drop(columns="evidence")


def same(a: pd.DataFrame, b: pd.DataFrame, *, exactly: bool = False) -> None:
    """The same candidates with the same numbers, in any order."""
    a, b = (x.sort_values(PLACE, ignore_index=True) for x in (a, b))
    assert len(a) == len(b) > 0
    pd.testing.assert_frame_equal(a, b, check_exact=exactly, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def base(world):
    """Of the world as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sciinterp.discovery.search._novel_rows", lambda *_: ([], []))
        return searched(world.features, world.annotations, world.split)


def test_features_in_another_order_are_the_same_candidates(world, base, no_novel):
    order = np.random.default_rng(0).permutation(world.features.n_features)
    moved = FeatureMatrix(world.features.codes[:, order], world.features.samples)
    again = searched(moved, world.annotations, world.split)
    again["feature"] = order[again["feature"]]
    same(base[base["kind"] == "missing"], again[again["kind"] == "missing"])
    both = base["kind"].eq("refinement").sum(), again["kind"].eq("refinement").sum()
    assert both[0] == both[1] > 0  # whose first feature is the one of lower number


def test_silent_features_add_nothing(world, base, no_novel):
    none = sp.csr_array((world.features.n_positions, 7), dtype=np.float32)
    more = FeatureMatrix(sp.csr_array(sp.hstack([world.features.codes, none])), world.features.samples)
    same(base, searched(more, world.annotations, world.split), exactly=True)


def test_samples_in_another_order_are_the_same_candidates(world, no_novel, all_rows):
    samples, features = world.features.samples, world.features
    order = np.random.default_rng(1).permutation(len(samples))
    moved = samples.subset(order)
    place = np.argsort(order)
    split = replace(
        world.split,
        family=world.split.family[order],
        ids=moved.ids,
        lengths=samples.lengths[order],
        **{name: np.sort(place[getattr(world.split, name)]) for name in ("train", "calibration", "test")},
    )
    codes = FeatureMatrix(features.by_sample(order), moved)
    one, two = (searched(f, world.annotations, s) for f, s in ((features, world.split), (codes, split)))
    same(one, two)


def test_concepts_under_other_names_are_the_same_concepts(world, base, no_novel):
    names = world.annotations.position_names
    other = dict(zip(names, [f"planted:{i:02d}" for i in reversed(range(len(names)))]))
    frame = world.annotations.frame.assign(concept=world.annotations.frame["concept"].map(other))
    again = searched(world.features, Annotations(frame), world.split)
    back = {new: old for old, new in other.items()}
    again["concept"] = again["concept"].map(back)
    missing_rows = (x[x["kind"] == "missing"] for x in (base, again))
    same(*missing_rows)


def test_blocks_of_features_give_what_the_whole_gives(world, base, no_novel, monkeypatch):
    monkeypatch.setattr("sciinterp.discovery.problem.BLOCK_VALUES", 40_000)
    same(base, searched(world.features, world.annotations, world.split), exactly=True)


def test_codes_in_a_file_give_what_codes_in_memory_give(world, base, no_novel, tmp_path):
    world.features.save(tmp_path / "features")
    again = si.load_features(tmp_path / "features")
    same(base, searched(again, world.annotations, world.split), exactly=True)


def test_what_is_written_is_what_was_returned(world, no_novel, tmp_path):
    given = {"split": world.split, "settings": BARE, "out": tmp_path}
    found = discover(world.features, world.annotations, pd.DataFrame(), **given)
    pd.testing.assert_frame_equal(pd.DataFrame(read_candidates(tmp_path)), pd.DataFrame(found))
    again = discover(world.features, world.annotations, pd.DataFrame(), **given)
    pd.testing.assert_frame_equal(pd.DataFrame(again), pd.DataFrame(found))


def test_longest_and_least_cut_a_list_and_change_no_row(world, base, no_novel):
    rows = base[base["kind"] == "missing"]
    cut = DiscoverySettings(records=False, max_rows=3, min_probability=0.2)
    found = discover(world.features, world.annotations, pd.DataFrame(), split=world.split, settings=cut)
    kept = pd.DataFrame(found[found["kind"] == "missing"]).drop(columns="evidence")
    wanted = rows[rows["probability"] >= 0.2].head(3)
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), wanted.reset_index(drop=True))
    counts = found.context["counts"]["missing"]
    assert counts["beyond_max_rows"] == (rows["probability"] >= 0.2).sum() - len(kept)


# Spans of one concept.


@pytest.fixture(scope="module")
def problem(world):
    return make_problem(world.features, world.annotations, world.split)


@pytest.fixture(scope="module")
def spans(problem):
    return find_spans(problem, problem.names)


def test_a_concept_is_searched_as_if_it_were_alone(problem, spans):
    for concept, found in spans.items():
        (alone,) = find_spans(problem, [concept]).values()
        if isinstance(found, str):
            assert alone == found
            continue
        assert not isinstance(alone, str)
        for name in ("start", "end", "known", "score", "outscored", "beside"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(found, name))
        # What the others say of the collection is one factor of every probability.
        factor = alone.any_left_out / found.any_left_out
        np.testing.assert_allclose(alone.probability, factor * found.probability)


def test_few_concepts_at_once_give_what_many_give(problem, spans, monkeypatch):
    monkeypatch.setattr(missing, "BATCH", 1)
    for concept, found in find_spans(problem, problem.names).items():
        if isinstance(found, str):
            assert found == spans[concept]
        else:
            np.testing.assert_array_equal(found.probability, spans[concept].probability)


def test_spans_lie_in_their_samples_and_are_known_where_they_are_annotated(problem, spans):
    for concept, found in spans.items():
        if isinstance(found, str):
            continue
        assert (found.start < found.end).all() and (np.diff(found.start) >= 0).all()
        assert (problem.sample_of[found.start] == problem.sample_of[found.end - 1]).all()
        here = problem.positives[:, [problem.names.index(concept)]].toarray().ravel()
        meets = np.array([here[a:b].any() for a, b in zip(found.start, found.end)])
        assert (meets <= found.known).all()
        assert (found.probability[found.known] == 0).all() and (found.as_away[found.known] == 0).all()
        assert (found.probability <= found.any_left_out + 1e-12).all()
        assert found.hidden == pytest.approx(found.probability.sum())
        carriers = np.unique(problem.sample_of[here])
        np.testing.assert_array_equal(found.beside, np.isin(problem.sample_of[found.start], carriers))
        rank = [(found.score[found.known] < s).mean() for s in found.score]
        np.testing.assert_allclose(found.outscored, rank)


def test_a_concept_is_left_out_with_a_reason():
    rng = np.random.default_rng(0)
    n, length = 60, 40
    codes = (rng.random((n, length, 4)) < 0.1) * 1.0
    some = [(f"s{i}", 4, 8, "x:few") for i in range(5)]
    silent = [(f"s{i}", int(rng.integers(30)), 0, "x:unread") for i in range(n)]
    silent = [(s, a, a + 4, c) for s, a, _, c in silent]
    found = find_spans(
        problem_of(random_texts(n, length), some + silent, codes.reshape(-1, 4)), ["x:few", "x:unread"]
    )
    assert found["x:few"] == "instances in only 5 families, fewer than 8"
    assert isinstance(found["x:unread"], str) and "feature" in found["x:unread"]


@pytest.mark.parametrize("root", ["", "a.b.c"], ids=["tree", "circle"])
def test_relatives_in_the_tree_and_twins_on_positions_are_related(root):
    rows = [("s0", 0, 10, "a"), ("s0", 0, 4, "a.b"), ("s0", 0, 2, "a.b.c"), ("s1", 0, 10, "twin"), ("s1", 0, 9, "near"),
            ("s2", 0, 5, "other")]  # fmt: skip
    frame = pd.DataFrame(rows, columns=SPANS)
    parents = {"a": root, "a.b": "a", "a.b.c": "a.b", "twin": "", "near": "", "other": ""}
    concepts = pd.DataFrame({"parent": parents}).rename_axis("concept")
    samples = samples_of(random_texts(3, 12))
    features = FeatureMatrix(sp.csr_array((36, 1), dtype=np.float32), samples)
    problem = make_problem(features, Annotations(frame, concepts=concepts), split_of(samples))
    related = {name: set(related_concepts(problem, name)) for name in problem.names}
    assert related["a"] == {"a.b", "a.b.c"} and related["a.b.c"] == {"a", "a.b"}
    assert related["a.b"] == {"a", "a.b.c"} and related["twin"] == {"near"} and related["other"] == set()


def test_training_positions_stand_for_all_of_their_kind():
    rng = np.random.default_rng(0)
    target, active, train = (rng.random(20_000) < p for p in (0.3, 0.5, 0.8))
    rows, weight = missing._training_rows(active, target, train)
    assert train[rows].all() and len(np.unique(rows)) == len(rows)
    for kind, most in (
        (target, missing.MAX_POSITIVE),
        (~target & active, missing.MAX_ACTIVE),
        (~target & ~active, missing.MAX_SILENT),
    ):
        mine = kind[rows]
        assert mine.sum() == min(most, (kind & train).sum())
        assert weight[mine].sum() == pytest.approx((kind & train).sum())


@pytest.mark.parametrize(("n", "of"), [(0, 10), (3, 10), (10, 10), (7, 1000)])
def test_numbers_that_are_spread_evenly(n, of):
    got = missing._even(n, of)
    assert len(got) == n and len(set(got.tolist())) == n
    assert n < 2 or np.ptp(np.diff(got)) <= 1


# The smallest inputs there are.


def empty_list(found) -> None:
    assert list(found.columns) == list(COLUMNS) and len(found) == 0
    assert found["start"].dtype == np.int64 and found["probability"].dtype == np.float64
    assert found.context["counts"]["listed"] == {"missing": 0, "novel": 0, "sets": 0, "refinement": 0}


ONE = {"texts": ["ACDEFGHIKL"], "codes": np.eye(10)[:, :1], "spans": [("s0", 0, 1, "x:a")]}


@pytest.mark.parametrize(
    ("texts", "codes", "spans"),
    [
        (ONE["texts"], ONE["codes"], ONE["spans"]),  # one sample, one family, one feature, one concept
        (["A"], np.ones((1, 1)), [("s0", 0, 1, "x:a")]),  # one position
        (ONE["texts"] * 3, np.zeros((30, 4)), ONE["spans"]),  # features that never fire
        (ONE["texts"] * 3, np.ones((30, 4)), ONE["spans"]),  # and that always do
        (ONE["texts"] * 3, np.eye(30)[:, :2], [(f"s{i}", 0, 10, "x:all") for i in range(3)]),  # everywhere
    ],
    ids=["one", "a position", "silent", "constant", "everywhere"],
)
def test_too_little_gives_an_empty_list(texts, codes, spans):
    made = problem_of(texts, spans, codes)
    found = discover(made.features, made.annotations, pd.DataFrame(), split=split_of(made.samples))
    empty_list(found)
    assert found.context["skipped"] and found.context["not_run"]


def test_without_annotations_nothing_is_known_and_nothing_missing(world):
    none = Annotations(pd.DataFrame({name: [] for name in SPANS}))
    problem = make_problem(world.features, none, world.split)
    assert problem.names == [] and problem.overlap.shape == (0, world.features.n_features)
    assert find_spans(problem, []) == {}
    found = find_novel(problem)
    assert not isinstance(found, str) and len(found.feature) == 0 and "cannot be learned" in found.reason


def test_a_family_of_all_samples_is_one_fold_of_two():
    made = problem_of(random_texts(4, 20), codes=np.ones((80, 2)), families=[0] * 4)
    assert made.n_folds == 2 and set(made.fold) == {0}


@pytest.mark.parametrize("n_folds", [2, 3, 7])
def test_folds_hold_nearly_as_many_positions_each(world, n_folds):
    made = make_problem(world.features, world.annotations, world.split, n_folds=n_folds)
    size = np.bincount(made.fold_of, minlength=n_folds)
    largest = np.bincount(world.split.family, weights=world.features.samples.lengths).max()
    assert size.max() - size.min() <= largest and len(size) == n_folds
    assert [len(set(made.fold[made.family == f])) for f in np.unique(made.family)] == [1] * 30


def test_lower_case_and_odd_letters_are_laid_out(world):
    made = problem_of(["acD*-", "ACD*-", ""][:2])
    assert (made.letters[:5] == made.letters[5:]).all() and made.alphabet == sorted("ACD*-")
    ids = ["a", "b"]
    lengths = Samples(ids, [None, None], lengths=[3, 2])
    split = Split(np.arange(2), np.zeros(0, int), np.zeros(0, int), np.arange(2), ("a", "b"))
    other = Problem(
        FeatureMatrix(sp.csr_array((5, 1), dtype=np.float32), lengths), made.annotations, [], split.family,
        np.array([0, 1]), 2,
    )  # fmt: skip
    assert other.letters is None
    assert find_novel(other) == "the samples are not sequences: coherence in sequence cannot be measured"


@pytest.mark.parametrize(
    ("values", "least"),
    [
        ([9, 8, 8, 8, 8, 8, 4.6, 4.0, 1], 4.1),  # half of the strong ones: of their ninth tenth, 8.2
        ([30, 12, 12, 12, 12, 12, 11, 9, 5], 10),  # a third of the largest
    ],
)
def test_peaks_are_the_strong_ones_of_a_feature(values, least):
    codes = np.zeros((10, 12, 2))
    codes[np.arange(9), 3, 0] = values
    codes[0, [1, 2], 1] = 5
    made = problem_of(random_texts(10, 12), codes=codes.reshape(-1, 2))
    peaks, n = find_peaks(made), sum(value >= least for value in values)
    assert peaks.n_families.tolist() == [n, 1]
    assert peaks.position[0, : n + 1].tolist() == [12 * i + 3 for i in range(n)] + [-1]
    assert peaks.position[1, 0] == 1  # of equal ones the first


def test_rows_of_hits_that_are_strong_are_known(world, monkeypatch):
    """Features of significant hits, whatever else stands in their column, and of nothing weaker."""
    told = {}

    def find(problem, **given):
        told.update(given)
        return "not asked"

    monkeypatch.setattr("sciinterp.discovery.search.find_novel", find)
    hits = pd.DataFrame(
        {"concept": "x", "feature": [7, 3, 7, 999, -1, np.nan, 5, 6], "f1": [0.9] * 6 + [0.01, 0.9],
         "q": [1e-9] * 7 + [0.9], "selected": True}
    )  # fmt: skip
    given = {"split": world.split, "settings": BARE, "control": Controls(seeds=[world.features])}
    found = discover(world.features, world.annotations, hits, **given)
    assert told["known_pairs"].tolist() == [3, 7] and told["stability"] == [world.features]
    assert (
        found.context["not_run"]["novel"] == "not asked"
        and "1 given" in found.context["not_run"]["stability over seeds"]
    )
