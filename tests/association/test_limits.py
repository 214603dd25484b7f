"""The least there can be of everything: a table with the right numbers or one line, never a traceback or a warning."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from sciinterp.activations.axes import Moments
from sciinterp.annotations import Annotations
from sciinterp.annotations.signal import Values
from sciinterp.association import (
    AssociationSettings,
    associate,
    count_overlaps,
    enrichment,
    family_f1,
    features_anndata,
    precision_recall,
)
from sciinterp.association.dense_baselines import linear_probe
from sciinterp.association.partitions import Part
from sciinterp.association.quantitative import CorrelateSettings, correlate
from sciinterp.association.set_facts import set_facts, set_sentences
from sciinterp.association.splitting import absorption, splitting
from sciinterp.association.worth import worth
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import SciinterpError
from sciinterp.samples import Samples, Split
from sciinterp.splits import split_families

pytestmark = pytest.mark.filterwarnings("error")
N, LENGTH = 12, 10
NONE = np.zeros(0, np.int64)
ROWS = [(f"s{i}", 1, 4, "site") for i in range(N)]


def samples_of(lengths=(LENGTH,) * N):
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"family": [f"f{i // 2}" for i in range(len(lengths))]})
    texts = ["".join(rng.choice(list("ACDE"), n)) for n in lengths]
    return Samples([f"s{i}" for i in range(len(lengths))], texts, table=table)


def codes_of(samples, n_features=4):
    rng = np.random.default_rng(2)
    shape = (samples.n_positions, n_features)
    dense = (rng.random(shape) * (rng.random(shape) < 0.3)).astype(np.float32)
    return FeatureMatrix(sp.csr_array(dense), samples)


def placed(rows):
    return Annotations(pd.DataFrame(rows, columns=["sample", "start", "end", "concept"]))


SAMPLES = samples_of()
CODES = codes_of(SAMPLES)
SPLIT = split_families(SAMPLES, by="family", seed=0)
ACTS = np.random.default_rng(3).normal(size=(N * LENGTH, 3)).astype(np.float32)


def run(features=CODES, rows=ROWS, split=SPLIT, folds=1, sets=(1, 2), **given):
    settings = AssociationSettings(folds=folds, sets=sets, set_draws=1)
    return associate(features, placed(rows), split=split, settings=settings, **given)


def dense_codes(values):
    return FeatureMatrix(sp.csr_array(np.asarray(values, np.float32)), SAMPLES)


@pytest.fixture(scope="module")
def hits():
    return run()


@pytest.mark.parametrize("folds", [1, None])
def test_codes_that_are_never_active_find_nothing(folds):
    hits = run(dense_codes(np.zeros((120, 4))), folds=folds)
    assert (hits["f1"] == 0).all()
    assert hits["p_presence"].isna().all()
    assert (hits["recall"] == 0).all()


@pytest.mark.parametrize("folds", [1, None])
def test_codes_that_are_always_the_same_are_prevalence(folds):
    hits = run(dense_codes(np.ones((120, 4))), folds=folds)
    chosen = hits[hits["selected"]].iloc[0]
    assert chosen["precision"] == pytest.approx(chosen["prevalence"]) == pytest.approx(0.3)
    assert chosen["recall"] == 1
    assert chosen["auroc"] == 0.5
    assert chosen["lift"] == pytest.approx(1)
    assert chosen["average_precision"] == pytest.approx(0.3)


@pytest.mark.parametrize("folds", [1, None])
def test_a_concept_that_is_everywhere_is_explained_by_calling_everything(folds):
    hits = run(rows=[(f"s{i}", 0, LENGTH, "all") for i in range(N)], folds=folds)
    chosen = hits[hits["selected"]].iloc[0]
    everything = hits.context["baselines"].query("baseline == 'everything'").iloc[0]
    assert (everything["f1"], chosen["precision"], chosen["prevalence"]) == (1, 1, 1)
    assert np.isnan(chosen["auroc"])  # nothing is negative
    assert chosen["explained_by"] != ""


def test_one_position_of_one_sample_has_one_family_and_no_interval():
    """The sample of a training family carries it alone: chosen there, and not tested."""
    trained = SAMPLES.ids[SPLIT.train[0]]
    hits = run(rows=[(trained, 0, 1, "one")])
    assert hits["n_positive"].tolist() == [0] * len(hits)
    assert set(hits["explained_by"]) == {"not tested"}


def test_the_same_row_twice_is_the_same_concept_and_two_instances(hits):
    twice = run(rows=ROWS + ROWS)
    pd.testing.assert_frame_equal(pd.DataFrame(twice), pd.DataFrame(hits))


@pytest.mark.parametrize("folds", [1, None])
@pytest.mark.parametrize(
    ("acts", "read"),
    [
        (np.ones((120, 3), np.float32), False),
        (ACTS[:, :1], True),
        (ACTS.astype(np.float64), True),
        (np.where(ACTS > 9, ACTS, 0), False),
    ],
    ids=["constant", "one unit", "in double", "zero"],
)
def test_activations_of_little_are_read_as_what_they_are(acts, read, folds):
    hits = run(acts=acts, folds=folds)
    found = hits.context["baselines"].set_index("baseline")
    assert {"neuron", "pca", "probe"} <= set(found.index)
    assert found.loc[["neuron", "probe"], "f1"].between(0, 1).all()
    if not read:  # nothing varies: at best everything is called
        everything = found.loc["everything", "f1_train"]
        assert found.loc["neuron", "f1_train"] == pytest.approx(everything)
        assert found.loc["probe", "f1_train"] == pytest.approx(everything)


def test_a_probe_of_what_does_not_vary_points_nowhere():
    part = Part(NONE, np.arange(6), sp.csr_array(np.eye(6, 2, dtype=bool)), np.zeros(6, np.int32), NONE)
    values = np.full((6, 3), 2, np.float32)
    np.testing.assert_allclose(linear_probe(Moments.of(values), values, part), 0, atol=1e-12)


REFUSED = {
    "NaN": (lambda: run(acts=np.full((120, 3), np.nan, np.float32)), "finite"),
    "infinite": (lambda: run(acts=np.where(ACTS > 2, np.inf, ACTS)), "finite"),
    "rows": (lambda: run(acts=ACTS[:12]), "expected 120 rows"),
    "a line": (lambda: run(acts=ACTS[:, 0]), "[n_positions, d_in]"),
    "a list": (lambda: run(acts=[[1.0]] * 120), "got list"),
    "no features": (lambda: run(FeatureMatrix(sp.csr_array((120, 0), dtype=np.float32), SAMPLES)), "no features"),
    "facts": (lambda: run(rows=[("s0", -1, -1, "fact")]), "enrichment"),
    "no training": (lambda: run(split=Split(NONE, NONE, np.arange(N), SPLIT.family, SPLIT.family_names)), "split.train"),
    "no concept": (lambda: family_f1(CODES, placed(ROWS), split=SPLIT, concepts=[]), "at least one"),
    "no columns": (lambda: splitting(CODES, placed(ROWS), pd.DataFrame(), split=SPLIT), "no such column, hits: got 'feature'"),
    "no hits": (lambda: absorption(CODES, placed(ROWS), pd.DataFrame({"feature": []}), split=SPLIT), "expected 'feature', got 'concept'"),
    "h5ad": (lambda: features_anndata(CODES, pd.DataFrame({"f2": [], "feature": []})), "hits: expected"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_nothing_can_be_read_of_is_refused_in_one_line(case):
    call, words = REFUSED[case]
    with pytest.raises(SciinterpError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folds", [1, None])
def test_a_split_without_test_families_leaves_concepts_untested(folds):
    split = Split(np.arange(N), NONE, NONE, SPLIT.family, SPLIT.family_names)
    hits = run(split=split, folds=folds)
    if folds == 1:
        assert set(hits["explained_by"]) == {"not tested"}
        assert hits["f1"].isna().all()
    else:  # all families judge
        assert hits["n_positive"].tolist() == [36] * len(hits)


def test_one_sample_trains_and_nobody_judges():
    samples = samples_of((LENGTH,))
    split = Split(np.array([0]), NONE, NONE, np.array([0]), ("f",))
    hits = run(codes_of(samples), ROWS[:1], split, folds=None)
    assert set(hits["explained_by"]) == {"not tested"}
    assert (hits["f1_train"] > 0).any()


def test_two_families_judge_each_other():
    samples = samples_of((LENGTH, LENGTH))
    split = Split(np.array([0]), NONE, np.array([1]), np.array([0, 1]), ("f", "g"))
    crossed, single = (run(codes_of(samples), ROWS[:2], split, folds=folds) for folds in (None, 1))
    assert crossed["n_positive"].tolist() == [6] * len(crossed)
    assert single["n_positive"].tolist() == [3] * len(single)
    assert crossed["n_test_families"].tolist() == [2] * len(crossed)


def test_samples_of_no_position_are_there_and_count_nothing():
    """What is found is what is found without them; the families that they are of are one fewer each."""
    lengths = np.array([0, 1, 10, 10, 1, 1, 10, 0, 3, 3, 10, 10])
    whole, family = samples_of(lengths), np.arange(12) // 2
    kept = np.flatnonzero(lengths)
    found = []
    for numbers in (np.arange(12), kept):
        samples = whole.subset(numbers)
        split = Split(*(np.flatnonzero(x) for x in (family[numbers] < 3, numbers < 0, family[numbers] > 2)),
                      family=family[numbers], family_names=tuple("abcdef"))  # fmt: skip
        rows = [(f"s{i}", 0, 1, "first") for i in kept]
        found.append(run(codes_of(samples), rows, split))
    assert found[0]["n_positive"].tolist() == [5] * len(found[0])
    pd.testing.assert_frame_equal(*(pd.DataFrame(one) for one in found))


@pytest.mark.parametrize("sets", [(50,), (4, 50), ()])
def test_sets_of_more_features_than_there_are_are_not_drawn(sets, hits):
    found = run(sets=sets)
    drawn = found.context["sets"]
    of_features = drawn[drawn["reader"] == "features"] if len(drawn) else drawn
    assert (set(of_features["k"]) if len(drawn) else set()) == {k for k in sets if k <= 4}
    pd.testing.assert_frame_equal(pd.DataFrame(found), pd.DataFrame(hits))
    assert [one.concept for one in set_facts(drawn)] == (["site"] if len(of_features) else [])
    assert isinstance(set_sentences(drawn), list)


def test_what_is_said_of_no_hits_is_that_nothing_was_compared(hits):
    for empty in (hits.iloc[:0], pd.DataFrame(hits.iloc[:0])):
        assert {one.n for one in worth(empty)} == {0}
        assert {one.verdict for one in worth(empty)} == {"not run"}
    assert not len(splitting(CODES, placed(ROWS), hits.iloc[:0], split=SPLIT))
    assert not len(absorption(CODES, placed(ROWS), hits, split=SPLIT))
    assert features_anndata(CODES, hits.iloc[:0]).shape == (4, 0)


def test_facts_that_one_sample_has_are_listed_with_the_reason():
    found = enrichment(CODES, placed([("s0", -1, -1, "fact")]), split=SPLIT)
    assert found[["feature", "concept", "test"]].to_numpy().tolist() == [[-1, "fact", "too few families"]]
    none = enrichment(CODES, placed(ROWS), split=SPLIT)
    assert not len(none)
    assert list(none) == list(found)


@pytest.mark.parametrize("column", [np.zeros(120), np.full(120, np.nan), np.full(120, np.inf)])
def test_values_without_an_order_are_not_correlated(column):
    values = Values(SAMPLES, ("x",), column.astype(np.float32)[:, None])
    with pytest.raises(SciinterpError, match="0 families have values"):
        correlate(CODES, values, split=SPLIT, settings=CorrelateSettings(n_draws=9))


def test_codes_that_are_silent_follow_nothing():
    values = Values(SAMPLES, ("x",), np.arange(120, dtype=np.float32)[:, None])
    silent = dense_codes(np.zeros((120, 2)))
    found = correlate(
        silent, values, split=SPLIT, settings=CorrelateSettings(n_draws=99), acts=np.ones((120, 2))
    )
    assert (found["rho"][0], found["p"][0]) == (0, 1)
    assert found.context["baselines"].set_index("baseline").loc["neuron", "rho"] == 0


@pytest.mark.parametrize(("n", "features", "concepts"), [(0, 3, 2), (5, 0, 2), (5, 3, 0), (0, 0, 0)])
def test_kernels_of_nothing_have_their_shapes(n, features, concepts):
    codes = sp.csr_array((n, features), dtype=np.float32)
    truth = sp.csr_array((n, concepts), dtype=bool)
    scores = precision_recall(codes, truth)
    assert scores.best_f1.shape == scores.auroc.shape == (features, concepts)
    assert (scores.average_precision == 0).all()
    for n_thresholds in (0, 2):
        counts = count_overlaps(codes, truth, thresholds=np.zeros(n_thresholds, np.float32))
        assert counts.tp.shape == (features, concepts, n_thresholds)
        assert not counts.tp.any()
