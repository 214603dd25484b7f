"""Rules of a few features, other kinds of label, and readouts as they lie in a run folder."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor
from test_readout import FAST, world

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.readouts.carriers import carriers
from sciinterp.readouts.distilled import Motifs
from sciinterp.readouts.outcome import Outcome, read_outcome
from sciinterp.readouts.readout import ReadoutSettings
from sciinterp.readouts.representations import SUMMARIES, aligned, represent, summarise_codes


@pytest.fixture(scope="module")
def read():
    """A label made of two features."""
    features, _ = world(0)
    most = features.max_per_sample().toarray()
    score = most[:, 3] + most[:, 7]
    return features, si.readout(
        features, np.where(score > np.median(score), "yes", "no"), n=(None,), settings=FAST
    )


def test_a_rule_of_points_names_the_features_and_says_how_far_it_carries(read):
    features, table = read
    rule = si.distil(table)
    assert {3, 7} <= set(rule.terms["feature"]) and len(rule.terms) <= 5
    assert rule.terms["points"].abs().between(1, 3).all() and rule.terms["points"].dtype.kind == "i"
    assert rule.score[0] > 0.8 and rule.full == table.context["score"]
    points = rule.points(features)
    called = points >= rule.from_points
    assert (called == (table.context["reading"].outcome.values == 1)).mean() > 0.85
    assert "yes from" in rule.sentence and "in families left out" in rule.sentence
    # codes know nothing of the letters, so nothing carries it without the model
    assert not rule.plain[0] > 0.7


def test_points_of_a_sample_do_not_depend_on_the_others(read):
    """Where a feature is active is said by the samples that were learnt from."""
    features, table = read
    rule, weak = si.distil(table), int(np.argmin(features.max_per_sample().toarray()[:, 3]))
    for summary in SUMMARIES:
        every = summarise_codes(features)[:, SUMMARIES.index(summary) * features.n_features + 3]
        terms = pd.DataFrame({"feature": [3], "summary": [summary], "cut": [np.median(every)], "points": [1]})
        one = replace(rule, terms=terms)
        some = [weak, 0, 1, 2]
        alone = [float(one.points(features.subset(samples=[i]))[0]) for i in some]
        assert alone == one.points(features)[some].tolist()


def test_a_tree_asks_few_questions_and_reads_three_classes(read):
    features, table = read
    tree = si.distil(table, form="tree", n_features=3)
    assert len(tree.terms) <= 3 and "feature 7" in tree.text and tree.score[0] > 0.7
    assert tree.points(features).min() >= 0 and tree.points(features).max() <= 1
    most = features.max_per_sample().toarray()
    three = np.where(most[:, 3] > 0.3, "x", np.where(most[:, 7] > 0.3, "y", "z"))
    wide = si.readout(features, three, n=(None,), settings=FAST)
    assert si.distil(wide).form == "tree"
    with pytest.raises(InputError, match="two classes"):
        si.distil(wide, form="points")
    with pytest.raises(InputError, match="no such form"):
        si.distil(wide, form="forest")


def test_a_rule_needs_the_readout_itself(read):
    with pytest.raises(InputError, match="made of a readout"):
        si.distil(si.pl and pd.DataFrame(read[1]).pipe(type(read[1])))


def words(n: int = 120):
    """A feature that finds CHC, in half of the samples, and a label that is this."""
    rng = np.random.default_rng(0)
    rows, data = [], []
    for i in range(n):
        text = rng.choice(list("ACDEFGHIKL"), 30)
        if i % 2:
            at = int(rng.integers(5, 25))
            text[at - 1 : at + 2] = list("CHC")
            rows.append(30 * i + at)
        data.append("".join(text))
    table = pd.DataFrame({"family": [f"f{i // 4}" for i in range(n)]})
    samples = si.Samples([f"s{i}" for i in range(n)], data, table=table)
    codes = sp.random_array((30 * n, 6), density=0.02, rng=rng, dtype=np.float32).tolil()
    codes[:, 2] = 0
    codes[rows, 2] = 1
    return si.FeatureMatrix(sp.csr_array(codes), samples), np.arange(n) % 2


def test_what_a_motif_carries_needs_no_model():
    features, label = words()
    rule = si.distil(si.readout(features, label, n=(None,), settings=FAST))
    assert rule.terms["feature"].iloc[0] == 2 and "CHC" in rule.terms["plain"].iloc[0]
    assert rule.score[0] == pytest.approx(1) and rule.plain[0] > 0.9
    motifs = Motifs.of(features)
    assert motifs is not None
    name, match = motifs.best(2, np.arange(80))
    assert name == "CHC" and match[1::2].min() > np.quantile(match[::2], 0.9)


@pytest.mark.parametrize("kind", ["inside", "between"])
def test_a_label_of_family_alone_is_named(kind):
    """Families of ten that share a value nothing else tells; with a third of the labels changed, too."""
    features, rng = world(5, n=120, n_families=12)
    label = rng.permutation(12)[np.arange(120) % 12] % 2
    if kind == "inside":
        label = np.where(rng.random(120) < 0.2, 1 - label, label)
    context = si.readout(features, label, n=(None,), settings=FAST).context
    assert context["needed"] == "nothing to read" and context["carried_by"] == "family"
    assert not len(context["stable"]) and "Family alone" in context["sentence"]


def test_a_label_of_length_is_named_and_no_feature_credited():
    """Features of longer samples have larger peaks, and are not credited with their length."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 40, 96)
    data = ["".join(rng.choice(list("ACDEFGHIKL"), k)) for k in lengths]
    samples = si.Samples(
        [f"s{i}" for i in range(96)], data, table=pd.DataFrame({"family": [f"f{i % 24}" for i in range(96)]})
    )
    codes = sp.random_array((int(lengths.sum()), 20), density=0.1, rng=rng, dtype=np.float32)
    features = si.FeatureMatrix(sp.csr_array(codes), samples)
    context = si.readout(features, np.where(lengths > 24, "long", "short"), n=(None,), settings=FAST).context
    assert context["carried_by"] == "length" and context["needed"] != "yes"
    assert len(context["stable"]) <= 1


@pytest.mark.parametrize("way", ["inside", "between"])
def test_what_carries_a_label_is_taken_out_of_its_permutations_too(way):
    """Features that mean nothing, beside columns that carry the label: .08 and .063 of 400 other worlds name one."""
    family, false = np.arange(96) % 24, 0
    draws = [np.flatnonzero(family % 3 != k) for k in range(3)]
    for seed in range(60):
        rng = np.random.default_rng(seed)
        beside = rng.normal(size=(96, 20)) if way == "inside" else rng.normal(size=(24, 10))[family]
        label = Outcome((beside[:, 0] + beside[:, 1] > 0).astype(int), ("a", "b"))
        x = np.maximum(rng.normal(size=(96, 72)), 0).astype(np.float32)
        false += len(carriers(x, label, family, draws, beside=beside, n_permutations=100, seed=seed)) > 0
    assert false <= 9  # of 60


def test_representations_stand_beside_by_default():
    features, _ = world(0)
    acts = np.random.default_rng(0).standard_normal((features.n_positions, 3)).astype(np.float32)
    found = represent(features, acts=acts, control=features)
    assert list(found) == [
        "length",
        "composition",
        "kmers",
        "letters",
        "randomised",
        "activations",
        "features",
    ]
    assert found["activations"].x[1] == pytest.approx(acts[12:24].mean(0), abs=1e-6)
    assert found["composition"].x.sum(1) == pytest.approx(1)
    at = found["letters"]
    for name, column in list(zip(at.names, at.x.T))[::17]:
        letter, _, place = name.partition(" at ")
        assert column.tolist() == [float(t[int(place) - 1] == letter) for t in features.samples.sequences]


def test_samples_are_aligned_by_imgt_or_length():
    table = pd.DataFrame({"imgt": ["1-3", "2 104 111.1"]})
    assert aligned(si.Samples(["a", "b"], ["AAA", "CCC"], table=table)) == [
        ["1", "2", "3"],
        ["2", "104", "111.1"],
    ]
    assert aligned(si.Samples(["a", "b"], ["AA", "CC"], table=table)) == [["1", "2"]] * 2
    assert aligned(si.Samples(["a", "b"], ["AA", "CCC"])) is None


def test_any_estimator_reads(read):
    features, table = read
    label = table.context["reading"].outcome.values
    settings = ReadoutSettings(n_draws=2, n_permutations=20, estimator=LogisticRegression(C=0.1))
    score = si.readout(features, label, n=(None,), settings=settings).set_index("representation")["score"]
    assert score["features"] > 0.8 and abs(score["shuffled labels"] - 0.5) < 0.25


@pytest.mark.parametrize(
    "estimator", [Ridge(100), LinearSVC(), KNeighborsClassifier(), DecisionTreeRegressor(max_depth=2)]
)
def test_estimators_of_either_kind_read_classes(read, estimator):
    """A regressor reads each class as ones and zeros; scores and their intervals end at one."""
    features, table = read
    most = features.max_per_sample().toarray()
    settings = ReadoutSettings(n_draws=2, n_permutations=5, estimator=estimator)
    for label in (
        table.context["reading"].outcome.values,
        pd.qcut(most[:, 3] + most[:, 7], 3, labels=list("abc")).tolist(),
    ):
        found = si.readout(features, label, n=(None,), settings=settings)
        assert found.set_index("representation").loc["features", "score"] > 0.6
        assert (found["high"] <= 1).all() and (found["low"] >= 0).all()


UNREADABLE = [
    (lambda n: np.linspace(0, 1, n), LogisticRegression(), "a classifier reads classes"),
    (lambda n: np.arange(n) % 2, GridSearchCV(LogisticRegression(), {"C": ["x"]}), "the estimator cannot read"),
    (lambda n: np.arange(n) % 2, LogisticRegression, "the estimator cannot read"),
    (lambda n: np.where(np.arange(n) == 3, np.inf, np.arange(n)), None, "no finite number, sample 's3'"),
    (lambda n: [f"2020-{i}" for i in range(n)], None, "a label of its own"),
]  # fmt: skip


@pytest.mark.parametrize(("label", "estimator", "message"), UNREADABLE)
def test_labels_and_estimators_that_do_not_fit_are_one_line(read, label, estimator, message):
    features, settings = read[0], ReadoutSettings(n_draws=1, n_permutations=2, estimator=estimator)
    with pytest.raises(InputError, match=message):
        si.readout(features, label(len(features.samples)), n=(None,), settings=settings)


def test_labels_are_what_they_look_like():
    samples = si.Samples(
        list("abcd"), ["MK"] * 4, table=pd.DataFrame({"time": [1.0, 2, 3, None], "seen": [1, 0, 1, 1]})
    )
    kinds = {
        "classes": ([0, 1, 0, 1], [True, False, None, True], {"a": "x", "b": "y"}),
        "numbers": ([0.5, 1, 2, 3], pd.Series([1.0, 2.0, 3.5], index=["c", "b", "a"])),
        "times": (("time", "seen"), pd.DataFrame({"time": [1, 2, 3, 4], "event": [1, 0, 1, 1]})),
    }
    for kind, many in kinds.items():
        assert {read_outcome(labels, samples)[0].kind for labels in many} == {kind}
    assert read_outcome(("time", "seen"), samples)[1].tolist() == [True, True, True, False]
    with pytest.raises(InputError, match="not times"):
        read_outcome(pd.DataFrame({"time": [-1, 2, 3, 4], "event": [1, 0, 1, 1]}), samples)


def test_concordance_by_hand():
    """Five known pairs: (1,2) (1,3) (1,4) (3,4); the second sample was lost sight of before the third came."""
    outcome = Outcome(np.array([1.0, 2, 3, 4]), event=np.array([True, False, True, False]))
    every = np.arange(4)
    assert outcome.score(every, np.array([[4.0], [3], [2], [1]])) == 1
    assert outcome.score(every, np.array([[1.0], [2], [3], [4]])) == 0
    assert outcome.score(every, np.array([[4.0], [9], [2], [2]])) == pytest.approx((0 + 1 + 1 + 0.5) / 4)


def test_censored_times_are_read_by_lifelines():
    pytest.importorskip("lifelines")
    from lifelines.utils import concordance_index

    features, rng = world(3)
    risk = features.max_per_sample().toarray()[:, 5]
    time, end = rng.exponential(np.exp(-4 * risk)), rng.exponential(2, 96)
    seen = pd.DataFrame({"time": np.minimum(time, end), "event": time <= end}, index=features.samples.ids)
    outcome = read_outcome(seen, features.samples)[0]
    told = rng.random(96)
    other = concordance_index(seen["time"], -told, seen["event"])
    assert outcome.score(np.arange(96), told[:, None]) == pytest.approx(other)
    assert outcome.target(np.arange(96)).sum() == pytest.approx(0, abs=1e-6)
    table = si.readout(features, seen, n=(None,), settings=FAST)
    assert table.context["measure"] == "concordance" and table.context["stable"]["feature"].tolist() == [5]
    assert table.set_index("representation").loc["features", "score"] > 0.6
    assert si.distil(table).terms["feature"].iloc[0] == 5


def test_without_lifelines_times_are_refused_in_a_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "lifelines", None)
    outcome = Outcome(np.array([1.0, 2, 3]), event=np.array([True, False, True]))
    with pytest.raises(InputError, match=r"need the package lifelines.*sciinterp\[survival\]"):
        outcome.target(np.arange(3))
