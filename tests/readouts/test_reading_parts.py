"""Parts of readouts beside scipy, scikit-learn and plain loops: scores, ridge regressions, folds, words, motifs, rules."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import rankdata, sem, spearmanr, t
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from test_readout import FAST, world

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.readouts import carriers as of_carriers
from sciinterp.readouts.carriers import carriers
from sciinterp.readouts.distilled import FLANK, Motifs, _cut, _points, _tree
from sciinterp.readouts.files import read_label, read_readouts
from sciinterp.readouts.outcome import Outcome, read_outcome
from sciinterp.readouts.predicting import (
    PENALTIES,
    Draw,
    Reader,
    Scores,
    _kernels,
    _ridge,
    around,
    inner_folds,
    standardised,
)
from sciinterp.readouts.representations import Representation, mean_activations, represent, summarise_codes

RNG = np.random.default_rng(0)
EVERY = np.arange(60)


def outcome_of(kind: str, n: int = 60, seed: int = 0) -> Outcome:
    rng = np.random.default_rng(seed)
    if kind == "two":
        return Outcome(rng.integers(0, 2, n), ("a", "b"))
    if kind == "three":
        return Outcome(rng.integers(0, 3, n), ("a", "b", "c"))
    if kind == "times":
        return Outcome(rng.integers(1, 9, n).astype(float), event=rng.random(n) < 0.7)
    return Outcome(rng.integers(0, 9, n).astype(float))


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_the_libraries_with_ties(seed):
    rng = np.random.default_rng(seed)
    told = rng.integers(0, 6, (60, 3)).astype(float)
    two, three, numbers = (outcome_of(k, seed=seed) for k in ("two", "three", "numbers"))
    assert two.score(EVERY, told[:, :1]) == pytest.approx(roc_auc_score(two.values, told[:, 0]))
    each = [roc_auc_score(three.values == k, told[:, k]) for k in range(3)]
    assert three.score(EVERY, told) == pytest.approx(np.mean(each))
    assert numbers.score(EVERY, told[:, :1]) == pytest.approx(spearmanr(numbers.values, told[:, 0])[0])
    some = rng.permutation(60)[:40]
    assert two.score(some, told[some, :1]) == pytest.approx(
        two.take(some).score(np.arange(40), told[some, :1])
    )


@pytest.mark.parametrize("kind", ["two", "three", "numbers", "times"])
def test_a_score_turns_with_its_predictions_and_knows_no_order(kind):
    outcome, rng = outcome_of(kind), np.random.default_rng(1)
    told = rng.normal(size=(60, 3 if kind == "three" else 1))
    score = outcome.score(EVERY, told)
    order = rng.permutation(60)
    assert outcome.score(order, told[order]) == pytest.approx(score)
    assert outcome.score(EVERY, np.exp(3 * told + 1)) == pytest.approx(score)
    assert outcome.score(EVERY, -told) == pytest.approx(2 * outcome.chance - score)
    assert outcome.score(EVERY, np.zeros_like(told)) == pytest.approx(outcome.chance)


@pytest.mark.parametrize("seed", range(3))
def test_concordance_against_pairs(seed):
    outcome, told = (
        outcome_of("times", 30, seed),
        np.random.default_rng(seed).integers(0, 5, (30, 1)).astype(float),
    )
    t, seen = outcome.values, outcome.event
    right = total = 0.0
    for i, j in itertools.permutations(range(30), 2):
        if seen[i] and (t[i] < t[j] or (t[i] == t[j] and not seen[j])):
            total += 1
            right += (told[i, 0] > told[j, 0]) + 0.5 * (told[i, 0] == told[j, 0])
    assert outcome.score(np.arange(30), told) == pytest.approx(right / total)
    none = Outcome(t, event=np.zeros(30, bool))
    assert np.isnan(none.score(np.arange(30), told)) and not none.varies(np.arange(30))


def test_what_cannot_be_scored_is_not_a_number():
    assert np.isnan(Outcome(np.zeros(4, int), ("a", "b")).score(np.arange(4), np.arange(4.0)[:, None]))
    assert np.isnan(Outcome(np.ones(4)).score(np.arange(4), np.arange(4.0)[:, None]))
    assert not Outcome(np.ones(4)).varies(np.arange(4)) and Outcome(np.arange(4.0)).varies(np.arange(2))
    assert np.isnan(Outcome(np.arange(4.0)).score(np.arange(1), np.zeros((1, 1))))


@pytest.mark.parametrize(
    ("labels", "values", "known"),
    [
        ({"c": 3.5, "a": 1, "b": 2}, [1, 2, 3.5], [1, 1, 1]),
        (pd.Series([3.5, 1, 2], index=["c", "a", "b"]), [1, 2, 3.5], [1, 1, 1]),
        (pd.Series([1, 2, 3.5]), [1, 2, 3.5], [1, 1, 1]),
        ([1, 2, 3.5], [1, 2, 3.5], [1, 1, 1]),
        (np.array([1, np.nan, 3.5]), [0, 1], [1, 0, 1]),
        ({"a": 1, "b": None, "c": 7}, [0, 1], [1, 0, 1]),
        ((1, 2, 3), [1, 2, 3], [1, 1, 1]),
    ],
)
def test_labels_are_laid_by_name_or_by_place(labels, values, known):
    found, has = read_outcome(labels, si.Samples(list("abc"), ["MK"] * 3))
    assert found.values.tolist() == values and has.tolist() == [bool(k) for k in known]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (pd.DataFrame({"time": [1, 2, 3]}), "columns time and event"),
        (pd.DataFrame({"time": [1, 2, 3], "event": [1, 2, 0]}), "not times"),
        (pd.DataFrame({"time": ["x", 2, 3], "event": [1, 1, 0]}), "not times"),
        (("time", "event"), "no such column"), ([1, 2], "one label a sample"), ([[1], [2], [3]], "a label of its own"),
    ],
)  # fmt: skip
def test_labels_that_are_none_are_one_line(labels, says):
    with pytest.raises(InputError, match=says):
        read_outcome(labels, si.Samples(list("abc"), ["MK"] * 3))


def test_columns_are_standardised_as_scikit_learn_does():
    x = np.c_[RNG.normal(3, 2, (20, 4)), np.full(20, 7.0)]
    assert standardised(x) == pytest.approx(StandardScaler().fit_transform(x[:, :4]), abs=1e-4)
    first = standardised(x, 12)
    assert first[:12] == pytest.approx(StandardScaler().fit_transform(x[:12, :4]), abs=1e-4)
    assert standardised(np.ones((5, 3))).shape == (5, 0)


@pytest.mark.parametrize("columns", [3, 200])
def test_the_ridge_among_samples_is_that_among_columns(columns):
    rng = np.random.default_rng(columns)
    x, y = rng.normal(size=(50, columns)), rng.normal(size=(50, 2))
    (kernel,) = _kernels(Representation(x), None)
    some, test = np.arange(0, 50, 2), np.arange(1, 50, 2)
    z = standardised(x).astype(float)
    inner = z[some] - z[some].mean(0)
    unit = np.trace(inner @ inner.T / columns) / len(some)
    for penalty, told in zip(PENALTIES, _ridge(kernel, y[some], some, test, PENALTIES)):
        wanted = Ridge(penalty * unit * columns).fit(z[some], y[some]).predict(z[test])
        assert told + y[some].mean(0) == pytest.approx(wanted, abs=1e-4)
        dual = KernelRidge(alpha=penalty * unit, kernel="precomputed")
        dual.fit(inner @ inner.T / columns, y[some] - y[some].mean(0))
        across = (z[test] - z[some].mean(0)) @ inner.T / columns
        assert told == pytest.approx(dual.predict(across), abs=1e-4)


def test_a_representation_has_a_kernel_a_part_and_one_of_all():
    x = RNG.normal(size=(10, 6)).astype(np.float32)
    parts = (slice(0, 2), slice(2, 6))
    one, two, every = _kernels(Representation(x, (), parts), None)
    z = standardised(x)
    assert one == pytest.approx(z[:, :2] @ z[:, :2].T / 2, abs=1e-5) and two == pytest.approx(
        z[:, 2:] @ z[:, 2:].T / 4, abs=1e-5
    )
    assert every == pytest.approx(z @ z.T / 6, abs=1e-5)
    (scaled,) = _kernels(Representation(x, scaled=True), None)
    assert scaled == pytest.approx((x - x.mean(0)) @ (x - x.mean(0)).T / 6, abs=1e-5)


def test_inner_folds_part_families_and_leave_out_what_says_nothing():
    outcome, family = outcome_of("two"), EVERY % 7
    some = EVERY[5:50]
    pairs = inner_folds(outcome, family, some)
    assert sorted(np.concatenate([b for _, b in pairs])) == some.tolist()
    for a, b in pairs:
        assert set(family[a]).isdisjoint(family[b]) and sorted([*a, *b]) == some.tolist()
    assert inner_folds(outcome, np.zeros(60, int), some) == []
    constant = Outcome(np.zeros(60, int), ("a", "b"))
    assert inner_folds(constant, family, some) == []


def test_a_draw_of_a_size_is_the_same_for_a_seed():
    draw = Draw(EVERY[:40], EVERY[40:], EVERY)
    assert (
        draw.some(None, 0) is draw.train and draw.some(40, 0) is draw.train and draw.some(99, 0) is draw.train
    )
    few = draw.some(10, 3)
    assert len(set(few)) == 10 and set(few) <= set(draw.train) and (np.diff(few) > 0).all()
    assert few.tolist() == draw.some(10, 3).tolist() != draw.some(10, 4).tolist()


def test_scores_without_a_family_are_scores_of_the_others():
    outcome, family = outcome_of("two"), EVERY % 6
    told = RNG.normal(size=(60, 1))
    found = [(EVERY[:30], told[:30]), (EVERY[20:], told[20:])]
    scores = Scores(outcome, found, family)
    assert scores.mean == pytest.approx(np.mean([outcome.score(r, p) for r, p in found]))
    for k, without in enumerate(scores.without()):
        each = [outcome.score(r[family[r] != k], p[family[r] != k]) for r, p in found]
        assert without == pytest.approx(np.mean(each))
    mean, low, high = scores.interval()
    assert 0 <= low <= mean <= high <= 1 and scores.interval(scores)[0] == 0
    renamed = Scores(outcome, found, np.array(list("fbdeca"))[family])
    assert renamed.interval() == pytest.approx(scores.interval())
    assert (
        np.isnan(Scores(outcome, [], family).interval()).all()
        and np.isnan(scores.interval(Scores(outcome, [], family))).all()
    )


def test_an_interval_of_draws_is_students_over_families():
    rng = np.random.default_rng(4)
    values = rng.normal(size=12)
    without = (values.sum() - values) / 11
    mean, low, high = around(np.array([values.mean()]), without, np.arange(12))
    assert (mean, low, high) == pytest.approx(
        (values.mean(), *t.interval(0.95, 11, values.mean(), sem(values)))
    )
    wider = around(np.array([values.mean() - 1, values.mean() + 1]), without, np.arange(12))
    assert wider[0] == pytest.approx(mean) and wider[2] - wider[1] > high - low


def test_labels_in_another_order_say_the_same_of_shuffled_ones():
    """Shuffling labels and then reading is reading labels that were shuffled."""
    outcome, family = outcome_of("two"), EVERY % 12
    draws = [Draw(EVERY[family < 8], EVERY[family >= 8], np.random.default_rng(0).permutation(60))]
    reader = Reader.of(Representation(RNG.normal(size=(60, 5))))
    one = reader.shuffled(outcome, family, draws)
    two = reader.read(outcome.take(draws[0].shuffle), family, draws)
    assert one.mean == pytest.approx(two.mean) and abs(one.mean - 0.5) < 0.3


def planted(way: str, seed: int = 0):
    """Forty-eight samples whose first feature's largest activation is the label."""
    rng = np.random.default_rng(seed)
    family = EVERY[:48] % 12
    label = rng.integers(0, 2, 48) if way == "inside" else (rng.permutation(12) % 2)[family]
    x = np.maximum(rng.normal(size=(48, 30)), 0).astype(np.float32)
    x[:, 0] = label + 0.1 * rng.random(48)
    draws = [np.flatnonzero(family % 3 != k) for k in range(3)]
    return x, Outcome(label, ("a", "b")), family, draws


@pytest.mark.parametrize("way", ["inside", "between"])
def test_the_planted_carrier_is_found_whatever_the_names_and_scales(way):
    x, label, family, draws = planted(way)
    found = carriers(x, label, family, draws, n_permutations=80)
    assert (
        found["feature"].iloc[0] == 0
        and found["summary"].iloc[0] == "largest"
        and found["frequency"].iloc[0] == 1
    )
    assert found["correlation"].iloc[0] > 0.8
    squared = carriers(np.float32(7) * x**2, label, family, draws, n_permutations=80)
    pd.testing.assert_frame_equal(found, squared)
    turned = carriers(x, Outcome(1 - label.values, ("b", "a")), family, draws, n_permutations=80)
    assert turned["feature"].tolist() == found["feature"].tolist()
    assert turned["correlation"].to_numpy() == pytest.approx(-found["correlation"].to_numpy(), abs=1e-5)
    order = np.r_[np.arange(1, 10), 0]
    other = carriers(
        x.reshape(48, 3, 10)[:, :, order].reshape(48, 30), label, family, draws, n_permutations=80
    )
    assert order[other["feature"].iloc[0]] == 0
    assert (
        len(
            carriers(x, label, family, draws, beside=rankdata(x[:, :1], axis=0), n_permutations=80).query(
                "feature == 0"
            )
        )
        == 0
    )


@pytest.mark.parametrize("inside", [True, False])
def test_permutations_keep_to_families(inside):
    family = np.repeat(np.arange(5), [1, 2, 3, 4, 5])
    units = of_carriers._Units(
        np.zeros((1, 15), np.float32),
        np.zeros((15, 1), np.float32),
        family,
        inside,
        np.zeros((15, 0), np.float32),
    )
    orders = units.orders(50, np.random.default_rng(0))
    assert all(sorted(order) == list(range(15)) for order in orders)
    assert bool((family[orders] == family).all()) == inside and len({tuple(o) for o in orders}) > 40


def test_false_discoveries_by_counting():
    x, label, family, _ = planted("inside", 3)
    units = of_carriers._units(x, label, family, None)
    null = units.permuted(40, np.random.default_rng(0))
    every = np.arange(48)
    q, chance, strength, real = of_carriers._q(units, every, null, 10)
    by_chance = np.abs(units.correlations(every, null)).max(-1).reshape(3, 10, -1).max(0)
    assert strength == pytest.approx(np.abs(real).max(-1).reshape(3, 10).max(0))
    for j in range(10):
        assert chance[j] == pytest.approx((by_chance >= strength[j] - 1e-6).sum() / 40)
        rates = [
            (by_chance >= t - 1e-6).sum() / 40 / (strength >= t).sum() for t in strength if t <= strength[j]
        ]
        assert q[j] == pytest.approx(min(rates))


def test_points_are_whole_and_follow_the_label():
    x = np.zeros((40, 3), np.float32)
    x[:, 1], x[:, 2] = np.arange(40) % 2, RNG.random(40)
    rule = _points(x, Outcome(np.arange(40) % 2, ("a", "b")), np.arange(40), np.array([0, 1, 2]), 2)
    assert rule.terms[0].column == 1 and all(
        isinstance(t.points, int) and 1 <= abs(t.points) <= 3 for t in rule.terms
    )
    assert (
        np.unique(rule.predict(x)[np.arange(40) % 2 == 1]).min()
        > rule.predict(x)[np.arange(40) % 2 == 0].max()
    )
    assert (
        _points(np.ones((40, 3), np.float32), outcome_of("two", 40), np.arange(40), np.arange(3), 2).terms
        == []
    )
    assert _cut(np.array([0, 1, 2, 3]), Outcome(np.array([0, 0, 1, 1]), ("a", "b"))) == 2
    assert _cut(np.arange(4.0), Outcome(np.arange(4.0))) is None


def test_a_tree_has_a_column_for_a_class_that_it_has_not_seen():
    x, values = RNG.random((60, 2)).astype(np.float32), EVERY % 3
    outcome = Outcome(values, ("a", "b", "c"))
    seen = EVERY[values < 2]
    told = _tree(x, outcome, seen, np.array([0, 1]), 3).predict(x)
    assert told.shape == (60, 3) and not told[:, 2].any() and told.sum(1) == pytest.approx(1)
    two = Outcome((x[:, 0] > 0.5).astype(int), ("a", "b"))
    tree = _tree(x, two, EVERY, np.array([1, 0]), 1)
    assert tree.predict(x).shape == (60, 1) and [t.column for t in tree.terms] == [0]
    assert ((tree.predict(x)[:, 0] > 0.5) == two.values).all() and tree.terms[0].cut == pytest.approx(
        0.5, abs=0.1
    )
    numbers = _tree(x, Outcome(x[:, 0].astype(float)), EVERY, np.array([0]), 3).predict(x)
    assert numbers.shape == (60, 1) and numbers.min() >= 0


def test_rules_of_a_file_or_of_no_terms_are_said_in_words():
    features, _ = world(0)
    table = si.readout(features, np.arange(96) % 2, n=(None,), settings=FAST)
    rule = si.distil(table)
    assert str(rule) == rule.sentence and rule._repr_html_().startswith("<p>") and len(rule.terms) <= 5
    bare = type(table)(table)
    with pytest.raises(InputError, match=r"what si\.readout returned in this process"):
        si.distil(bare)


@pytest.mark.parametrize("seed", range(2))
def test_motifs_against_a_profile_by_hand(seed):
    rng = np.random.default_rng(seed)
    data = ["".join(rng.choice(list("ACD"), rng.integers(6, 14))) for _ in range(20)]
    samples = si.Samples([f"s{i}" for i in range(20)], data)
    codes = np.zeros((samples.n_positions, 2), np.float32)
    peaks = samples.offsets[:-1] + 2
    codes[peaks, 0] = 1 + rng.random(20)
    motifs = Motifs.of(si.FeatureMatrix(codes, samples))
    assert motifs is not None and motifs.alphabet == "ACD"
    found = motifs.best(0, np.arange(20))
    assert (
        found is not None and motifs.best(1, np.arange(20)) is None and motifs.best(0, np.arange(4)) is None
    )
    share = np.array(["".join(data).count(x) for x in "ACD"]) / samples.n_positions
    counts = np.zeros((2 * FLANK + 1, 3))
    for text in data:
        for k, at in enumerate(range(2 - FLANK, 3 + FLANK)):
            if 0 <= at < len(text):
                counts[k, "ACD".index(text[at])] += 1
    odds = np.log((counts + 2 * share) / (counts.sum(1, keepdims=True) + 2) / share)
    for text, value in zip(data, found[1]):
        scores = [sum(odds[k, "ACD".index(text[p + k - FLANK])] for k in range(2 * FLANK + 1) if 0 <= p + k - FLANK < len(text)) for p in range(len(text))]  # fmt: skip
        assert value == pytest.approx(max(scores))
    assert Motifs.of(si.FeatureMatrix(codes[:3], si.Samples(["a"], [{"x": 1}], lengths=[3]))) is None


def test_representations_of_letters_by_counting():
    features, _ = world(0)
    samples, found = features.samples, represent(features)
    assert found["length"].x.ravel().tolist() == [12] * 96
    for name, column in zip(found["composition"].names, found["composition"].x.T):
        assert column == pytest.approx([t.count(name[-1]) / 12 for t in samples.sequences])
    words = {n.removeprefix("word ") for n in found["kmers"].names}
    often = {w for w in {t[i : i + k] for t in samples.sequences for k in (2, 3) for i in range(13 - k)}
             if sum(w in t for t in samples.sequences) >= 3}  # fmt: skip
    assert words == often and np.linalg.norm(found["kmers"].x, axis=1) == pytest.approx(1, abs=1e-5)
    rows = np.array([5, 2, 2])
    assert np.array_equal(found["composition"].take(rows).x, found["composition"].x[rows])


def test_summaries_of_some_samples_are_those_of_all():
    features, _ = world(4, n=12)
    whole = summarise_codes(features)
    for rows in ([3], [0, 11], list(range(11, -1, -1))):
        some = summarise_codes(features.subset(samples=np.array(rows)), features.largest)
        assert some == pytest.approx(whole[rows], abs=1e-6)


def test_mean_activations_of_an_array_and_of_a_store_are_one(tmp_path):
    samples = si.Samples(list("abc"), ["MKV", "A", "ACDE"])
    x = RNG.normal(size=(8, 5)).astype(np.float32)
    acts = si.activations_from_array(x, samples, out=tmp_path / "acts")
    wanted = [x[:3].mean(0), x[3], x[4:].mean(0)]
    assert mean_activations(x, samples) == pytest.approx(np.array(wanted), abs=1e-6)
    assert mean_activations(acts, samples) == pytest.approx(np.array(wanted), abs=1e-6)


def test_a_readout_knows_no_names_and_no_scale():
    """Other names of families and samples, other units of all codes: the same scores; and two ways to give labels."""
    features, _ = world(1, n=60, n_families=15)
    label = np.where(features.max_per_sample().toarray()[:, 3] > 0.4, "yes", "no")
    how = {"n": (None,), "settings": FAST}
    one = si.readout(features, label, **how)
    samples = features.samples
    named = samples.with_table(samples.table.assign(family=[f"g{f}" for f in samples.table["family"]]))
    eight = si.FeatureMatrix(sp.csr_array(8 * features.by_sample(np.arange(60))), named)
    two = si.readout(eight, dict(zip(reversed(samples.ids), reversed(label.tolist()))), **how)
    assert two["score"].to_numpy() == pytest.approx(one["score"].to_numpy(), abs=1e-6)
    assert two.context["stable"]["feature"].tolist() == one.context["stable"]["feature"].tolist()
    by = si.readout(features, label.tolist(), by=samples.table["family"].tolist(), **how)
    pd.testing.assert_frame_equal(pd.DataFrame(by), pd.DataFrame(one))
    assert one[one["representation"] != "shuffled labels"]["rank"].min() == 1


def test_a_label_that_was_read_is_not_read_again(tmp_path, monkeypatch):
    features, _ = world(2, n=60, n_families=15)
    label = np.where(features.max_per_sample().toarray()[:, 3] > 0.4, "yes", "no").tolist()
    assert read_readouts(tmp_path) is None
    kept = read_label(tmp_path, "x", features, label, n=(None,), settings=FAST)
    other = read_label(tmp_path, "y", features, label[::-1], n=(None,), settings=FAST)
    assert list(read_readouts(tmp_path)) == ["x", "y"] and other["asked"] != kept["asked"]
    rows = pd.read_csv(tmp_path / "readout.tsv", sep="\t")
    assert rows["label"].tolist() == ["x"] * len(kept["table"]) + ["y"] * len(other["table"])
    monkeypatch.setattr("sciinterp.readouts.files.readout", lambda *_, **__: pytest.fail("read again"))
    assert read_label(tmp_path, "x", features, label, n=(None,), settings=FAST) == kept
    assert (
        read_label(tmp_path, "x", features, pd.DataFrame(label), n=(None,), settings=FAST)["asked"]
        == kept["asked"]
    )
