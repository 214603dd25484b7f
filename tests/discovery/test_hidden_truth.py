"""What is planted, what is done to it, and what comes back: counted again in the plainest way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from laid_out import SPANS, problem_of, random_texts, split_of
from scipy.stats import binomtest

from sciinterp.annotations import Annotations
from sciinterp.discovery import (
    PlantedSettings,
    benchmark,
    merge_and_recover,
    plant,
    planted_faults,
    recover,
    temporal,
)
from sciinterp.discovery import planted_forms as forms
from sciinterp.discovery.logistic import predict
from sciinterp.discovery.planted_faults import FAULTS, faulty
from sciinterp.discovery.positive_unlabelled import fit_mixture
from sciinterp.discovery.problem import make_problem
from sciinterp.discovery.recover import hide_families, meets_hidden, quality, single_feature_rule
from sciinterp.errors import InputError, MismatchError

FEW = {"n_families": 30, "n_masked": 2, "n_novel": 1, "n_merged": 1, "n_plain": 2, "n_features": 40}
KEYS = ["sample", "start", "end", "concept"]


@pytest.fixture(scope="module")
def world():
    return plant(6, PlantedSettings(**FEW, n_seeds=1))


def rows_of(*spans: tuple[str, int, int, str]) -> pd.DataFrame:
    return pd.DataFrame(list(spans), columns=SPANS)


# Forms.


@pytest.mark.parametrize("kind", forms.FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_an_instance_is_as_long_as_its_form_says(kind, seed):
    rng = np.random.default_rng(seed)
    form = (
        forms.motif_form(8, rng, forms.BACKGROUND)
        if kind == "motif"
        else forms.draw_form(kind, rng, forms.BACKGROUND)
    )
    lengths = set()
    for _ in range(30):
        letters = form.write(rng, forms.BACKGROUND)
        kept = letters == forms.KEEP
        assert ((letters >= 0) & (letters < 20) | kept).all()
        assert (~kept).sum() == (0 if kind == "labelled" else form.length)
        lengths.add(len(letters))
    assert max(lengths) <= form.longest and min(lengths) >= form.length
    assert (len(lengths) > 1) == (kind == "gapped")  # alone its distance varies from instance to instance


@pytest.mark.parametrize("kind", ["motif", "gapped", "paired", "domain"])
def test_letters_are_drawn_as_often_as_the_form_says(kind):
    rng = np.random.default_rng(2)
    form = (
        forms.motif_form(6, rng, forms.BACKGROUND)
        if kind == "motif"
        else forms.draw_form(kind, rng, forms.BACKGROUND)
    )
    drawn = np.stack([x[x != forms.KEEP] for x in (form.write(rng, forms.BACKGROUND) for _ in range(3000))])
    column = 0 if kind != "domain" else len(form.columns) - 1
    letters = drawn[:, 0] if kind != "domain" else drawn[:, -1]
    best = int(form.columns[column].argmax())
    p = form.columns[column, best] / form.columns[column].sum()
    assert binomtest(int((letters == best).sum()), len(letters), p).pvalue > 1e-4
    weak = np.array([form.write(rng, forms.BACKGROUND, strength=0.0)[0] for _ in range(1500)])
    share = forms.BACKGROUND[best] / forms.BACKGROUND.sum()
    assert binomtest(int((weak == best).sum()), len(weak), share).pvalue > 1e-4


def test_sides_of_an_amphipathic_stretch_alternate_with_its_period():
    rng = np.random.default_rng(0)
    form = forms.draw_form("periodic", rng, forms.BACKGROUND)
    oily = np.isin(np.stack([form.write(rng, forms.BACKGROUND) for _ in range(400)]), forms.HYDROPHOBIC)
    power = [
        np.abs((oily - oily.mean()) @ np.exp(2j * np.pi * np.arange(form.length) / p)).mean()
        for p in (2.0, 2.7, 3.6, 5.5)
    ]
    assert (2.0, 2.7, 3.6, 5.5)[int(np.argmax(power))] == form.period


def test_turns_stand_where_a_helix_becomes_a_strand():
    labels = np.repeat([forms.COIL, forms.HELIX, forms.STRAND, forms.HELIX, forms.STRAND], [4, 5, 6, 2, 2])
    assert forms.starts_of(labels).tolist() == [6]  # the second turn is too near the end
    assert forms.label_spans(labels) == [
        (4, 9, "helix"), (9, 15, "strand"), (15, 17, "helix"), (17, 19, "strand"),
    ]  # fmt: skip
    none = np.zeros(0, np.int64)
    assert len(forms.starts_of(none)) == 0
    for seed in range(5):
        drawn = forms.structure(100, np.random.default_rng(seed))
        run = np.diff(np.r_[0, np.flatnonzero(np.diff(drawn)) + 1, 100])
        assert len(drawn) == 100 and set(drawn) <= {0, 1, 2} and (run[:-1] >= 5).all() and (run <= 14).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_families_are_hidden_whole_until_the_share_is_reached(share):
    rng = np.random.default_rng(1)
    family, mine = rng.integers(0, 12, 80), rng.random(80) < 0.5
    hidden = forms.hide_whole_families(family, mine, share, np.random.default_rng(0))
    assert not (hidden & ~mine).any() and not hidden[mine].all()
    for f in np.unique(family[mine]):
        assert len(set(hidden[mine & (family == f)])) == 1
    left = [(mine & (family == f) & ~hidden).sum() for f in np.unique(family[mine])]
    assert (hidden & mine).sum() >= share * mine.sum() or sum(x > 0 for x in left) == 1


# Planted worlds.


@pytest.mark.parametrize(
    ("changed", "check"),
    [
        ({"n_seeds": 0}, lambda w: not w.seeds),
        ({"n_novel": 0}, lambda w: not w.novel),
        ({"n_masked": 0}, lambda w: len(w.missing) == 0),
        ({"n_merged": 0}, lambda w: not w.merged),
        ({"members": (1, 2)}, lambda w: len(w.features.samples) == 30),
        ({"n_families": 12}, lambda w: len(np.unique(w.split.family)) == 12),
        ({"length": (60, 61)}, lambda w: set(w.features.samples.lengths) <= set(range(51, 61))),
        ({"n_features": 70}, lambda w: w.features.n_features == 70 == w.seeds[0].n_features),
    ],
)
def test_a_world_is_of_the_size_that_was_asked_for(changed, check):
    made = plant(1, PlantedSettings(**{**FEW, "n_seeds": 1, **changed}))
    assert check(made)
    lengths = dict(zip(made.features.samples.ids, made.features.samples.lengths))
    spans = made.instances
    assert (spans["start"] >= 0).all() and (spans["end"] <= spans["sample"].map(lengths)).all()
    assert (spans["start"] < spans["end"]).all()


def test_other_seeds_are_other_worlds_and_other_dictionaries_of_one(world):
    other = plant(7, PlantedSettings(**FEW, n_seeds=1))
    assert other.features.samples.digest != world.features.samples.digest
    (seed,) = world.seeds
    assert seed.samples.digest == world.features.samples.digest
    density = [np.sort(f.density) for f in (seed, world.features)]
    assert np.corrcoef(*density)[0, 1] > 0.95 and not (seed.density == world.features.density).all()


def test_no_instance_overlaps_another(world):
    for _, rows in world.instances.sort_values("start").groupby("sample"):
        assert (rows["start"].to_numpy()[1:] >= rows["end"].to_numpy()[:-1]).all()


def test_relatives_are_alike_and_strangers_are_not(world):
    def alike(a: str, b: str) -> float:
        n = min(len(a), len(b))
        return float(np.mean([x == y for x, y in zip(a[-n:], b[-n:])]))  # the N terminus is cut

    family, texts = world.split.family, world.features.samples.sequences
    same = [alike(texts[i], texts[i + 1]) for i in range(len(texts) - 1) if family[i] == family[i + 1]]
    other = [alike(texts[i], texts[i + 1]) for i in range(len(texts) - 1) if family[i] != family[i + 1]]
    assert min(same) > 0.4 > 0.3 > max(other)


# Worlds at fault.


@pytest.fixture(scope="module")
def plain():
    """The worlds as they are, of every seed that the tests below hold a faulty one beside."""
    return faulty("plain", 3, **FEW, n_seeds=0)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("hide", [True, False])
def test_every_fault_leaves_a_whole_world(kind, hide):
    made = faulty(kind, 3, hide=hide, **{**FEW, "n_families": 20})
    lengths = dict(zip(made.features.samples.ids, made.features.samples.lengths))
    frame = made.annotations.frame
    assert (frame["start"] >= 0).all() and (frame["end"] <= frame["sample"].map(lengths)).all()
    assert (frame["start"] < frame["end"]).all() and not frame.duplicated(KEYS).any()
    assert len(made.split.family) == len(made.features.samples)
    if not hide:
        assert len(made.missing) == 0 or kind == "by sample"
        assert not made.novel


def test_bounds_are_moved_and_no_instance_lost(plain):
    moved = faulty("bounds", 3, **FEW, n_seeds=0)
    before, after = plain.annotations.frame, moved.annotations.frame
    assert (moved.features.codes != plain.features.codes).nnz == 0
    count = before.groupby(["sample", "concept"]).size(), after.groupby(["sample", "concept"]).size()
    assert (count[0] - count[1]).abs().sum() <= 0.02 * len(before)  # two may come to lie on each other
    assert len(before.merge(after, on=KEYS)) < 0.6 * len(before)
    meets = meets_hidden(before.reset_index(drop=True), after, plain.features.samples)
    assert meets.mean() > 0.8


def test_one_annotation_in_ten_stands_anywhere(plain):
    noisy = faulty("label noise", 3, **FEW, n_seeds=0)
    before, after = plain.annotations.frame, noisy.annotations.frame
    kept = len(before.merge(after, on=KEYS)) / len(before)
    assert binomtest(round((1 - kept) * len(before)), len(before), 0.1).pvalue > 1e-3
    lengths = [(f["end"] - f["start"]).groupby(f["concept"]).median() for f in (before, after)]
    pd.testing.assert_series_equal(*lengths)


def test_look_alikes_add_codes_and_change_no_annotation(plain):
    more = faulty("look-alikes", 3, **FEW, n_seeds=0)
    added = (more.features.codes - plain.features.codes).tocoo()
    assert more.annotations.frame.equals(plain.annotations.frame) and (added.data >= -1e-6).all()
    readers = {f for name, fs in plain.readers.items() if "masked" in name or "plain" in name for f in fs}
    assert set(added.coords[1][added.data > 1e-6].tolist()) <= readers


def test_instances_are_left_out_one_by_one(plain):
    single = faulty("by sample", 3, **FEW, n_seeds=0)
    masked = single.instances[single.instances["concept"].str.startswith("planted:masked")]
    share = len(single.missing) / len(masked)
    wanted = single.settings.hidden_fraction
    assert binomtest(len(single.missing), len(masked), wanted).pvalue > 1e-3 and 0 < share < 1
    shown = single.annotations.frame
    assert len(single.missing.merge(shown, on=KEYS)) == 0
    family = single.features.samples.table["family"]
    some = [
        set(family[single.missing.query("concept == @c")["sample"]]) & set(family[shown.query("concept == @c")["sample"]])
        for c in masked["concept"].unique()
    ]  # fmt: skip
    assert any(some)  # relatives of what is left out are listed
    assert not shown["concept"].str.contains("novel").any()
    assert {"planted:merged0"} == {c for c in shown["concept"] if "merged" in c}


def test_families_of_one_or_two_and_long_samples():
    assert np.bincount(faulty("singletons", 3, **{**FEW, "n_families": 20}).split.family).max() <= 2
    assert faulty("long", 3, **{**FEW, "n_families": 12}).features.samples.lengths.min() >= 140


def test_an_unknown_fault_is_refused():
    with pytest.raises(InputError, match=r"no such fault.*'bounds'"):
        faulty("bound", 0)


def test_a_calibration_learns_from_what_it_is_told():
    """Where every mark of a concept is an instance, concepts with marks as strong are likelier to lack some."""
    marks = [
        planted_faults.Marks(
            np.full(20, 4.0) + np.arange(20) / 20, np.r_[np.zeros(30), np.full(k, 4.5)], np.arange(20),
            np.arange(100, 130 + k), np.zeros(30 + k, bool), 0.3,
        )
        for k in (0, 0, 0, 8, 8, 8)
    ]  # fmt: skip
    found = planted_faults.fitted_on([(m, m.unlabelled > 3) for m in marks])
    assert found.share == 0.5 and len(found.concept) == len(marks[0].of_concept(0.0)) + 1
    odds = [predict(m.of_concept(fit_mixture(m).ratio), np.array(found.concept)) for m in marks]
    assert max(odds[:3]) < min(odds[3:])


# What comes back.


def test_a_candidate_meets_what_was_hidden_of_its_own_concept():
    problem = problem_of(random_texts(3, 20))
    truth = rows_of(("s0", 2, 5, "a"), ("s1", 0, 4, "a"), ("s0", 10, 12, "b"))
    rows = rows_of(
        ("s0", 4, 8, "a"), ("s0", 5, 8, "a"), ("s0", 2, 5, "b"), ("s1", 3, 4, "a"), ("s2", 0, 20, "a"),
        ("s0", 10, 12, "c"), ("s0", 0, 20, "b"),
    )  # fmt: skip
    plain = [
        any(
            r.sample == t.sample and r.concept == t.concept and r.start < t.end and t.start < r.end
            for t in truth.itertuples()
        )
        for r in rows.itertuples()
    ]
    assert (
        meets_hidden(rows, truth, problem.samples).tolist()
        == plain
        == [True, False, False, True, False, False, True]
    )
    assert meets_hidden(rows.head(0), truth, problem.samples).tolist() == []
    assert not meets_hidden(rows, truth.head(0), problem.samples).any()


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_share_of_families_loses_a_concept(world, share):
    whole = Annotations(world.instances)
    family = {s: int(f) for s, f in zip(world.features.samples.ids, world.split.family)}
    name = world.instances["concept"].iloc[0]
    shown, hidden = hide_families(whole, name, family, share=share, seed=0)
    of = [frame["sample"].map(family) for frame in (shown.frame, hidden)]
    assert not set(of[0]) & set(of[1])
    n = world.instances.query("concept == @name")["sample"].map(family).nunique()
    assert of[1].nunique() == max(1, round(share * n))
    assert len(shown.frame) + len(hidden) == (world.instances["concept"] == name).sum()
    assert shown.names in ([name], []) and not shown.concepts["exhaustive"].any()
    other = hide_families(whole, name, family, share=share, seed=1)[1]
    assert share == 1 or not hidden["sample"].equals(other["sample"])


def test_the_rule_of_one_feature_is_its_best_threshold():
    spans = [(f"s{i}", 3, 6, "x:a") for i in range(6)]
    codes = np.zeros((8, 15, 2))
    codes[:, 3:6, 0] = 4.0  # in two samples more than is annotated
    codes[:, 10, 0] = 1.0  # weakly, elsewhere
    codes[:2, 3:6, 1] = 1.0
    problem = problem_of(random_texts(8, 15), spans, codes.reshape(-1, 2))
    found = single_feature_rule(problem)
    assert found[KEYS].to_numpy().tolist() == [["s6", 3, 6, "x:a"], ["s7", 3, 6, "x:a"]]
    assert found["probability"].tolist() == pytest.approx([6 / 8 + 1e-6] * 2)
    assert len(single_feature_rule(problem_of(random_texts(3, 15), spans[:2]))) == 0  # it never fires
    assert list(single_feature_rule(problem, []).columns) == list(found.columns)


def test_the_worth_of_a_list_is_counted():
    rows = pd.DataFrame({"probability": [0.9, 0.8, 0.4, 0.1], "q": [0.05, 0.1, 0.3, 0.6]})
    got = quality(rows, np.array([True, False, True, False]), np.arange(4))
    assert got["precision_at_50"] == 0.5 and got["n_q"] == 2 and got["precision_q"] == 0.5
    assert got["predicted"] == pytest.approx(0.55)
    assert got["brier"] == pytest.approx(np.mean([0.1**2, 0.8**2, 0.6**2, 0.1**2]))
    none = quality(rows.head(0), np.zeros(0, bool), np.zeros(0))
    assert none["n_q"] == 0 and all(np.isnan(v) for k, v in none.items() if k != "n_q")


@pytest.fixture
def no_novel(monkeypatch):
    monkeypatch.setattr("sciinterp.discovery.search._novel_rows", lambda *_: ([], []))


def test_two_concepts_under_one_name_are_told_apart_and_one_is_not(no_novel):
    n, length = 48, 60
    spans = [(f"s{i}", 4, 8, "x:a") for i in range(n)] + [(f"s{i}", 12, 16, "x:b") for i in range(n)]
    codes = np.zeros((n, length, 3))
    codes[:, 4:8, 0] = codes[:, 12:16, 1] = 1
    codes[:, 4:8, 2] = codes[:, 12:16, 2] = 1  # reads both
    made = problem_of(random_texts(n, length), spans, codes.reshape(-1, 3))
    given = {"split": split_of(made.samples), "pairs": [("x:a", "x:b")]}
    (row,) = merge_and_recover(made.features, made.annotations, **given).to_dict("records")
    assert (
        row["found"]
        and row["q"] < 0.01
        and row["probability"] > 0.5
        and (row["first"], row["second"]) == ("x:a", "x:b")
    )
    (alike,) = merge_and_recover(
        problem_of(random_texts(n, length), codes=codes[..., [2, 2, 2]].reshape(-1, 3)).features,
        made.annotations,
        **given,
    ).to_dict("records")
    assert not alike["found"] and alike["q"] == 1


def test_a_release_that_adds_nothing_cannot_judge(world, no_novel):
    with pytest.raises(InputError, match="adds no instance"):
        temporal(world.features, world.annotations, world.annotations, split=world.split)
    less = Annotations(world.annotations.frame.head(40))
    with pytest.raises(InputError, match="adds no instance"):  # of concepts that were there
        temporal(world.features, less.select(less.names[:1]), less, split=world.split)


def test_worlds_are_summed_up_with_bounds_and_intervals(monkeypatch, tmp_path):
    """Numbers of worlds that are given, not searched: means, how many, and what must hold of them."""
    row = {name: 0.5 for name, _ in benchmark.MEASURES}

    def scored(world, *, seed):
        listed = pd.DataFrame({"probability": [0.9, 0.2], "truth": [True, False]})
        return {**row, "recall": seed / 10}, listed

    monkeypatch.setattr(benchmark, "plant", lambda seed, settings: settings.hide)
    monkeypatch.setattr(benchmark, "score_world", scored)
    empty = pd.DataFrame(
        {"kind": ["missing", "novel"], "q": [0.05, 0.5], "feature": [1, 2], "evidence": [{}, {}]}
    )
    monkeypatch.setattr(benchmark, "_search", lambda world, seed: empty if seed % 2 else empty.tail(1))
    tables = benchmark.benchmark_discovery(seed=2, n_worlds=3, n_null=4, out=tmp_path)
    summary = tables["summary"].set_index("measure")
    assert summary.loc["recall", "value"] == pytest.approx(0.3) and summary.loc["recall", "n"] == 3
    assert summary.loc["ap", ["value", "low", "high"]].tolist() == [0.5] * 3
    assert summary.loc["gap_closed", "bound"] == ">= 0.50" and summary.loc["ap", "bound"] == ""
    assert summary.loc["calibration error", "value"] == pytest.approx(0.15)
    assert summary.loc["brier", "value"] == pytest.approx((0.1**2 + 0.2**2) / 2)
    assert summary.loc["null lists not empty", "value"] == 0.5 and tables["null"]["missing"].sum() == 2
    assert tables["calibration"]["n"].sum() == 6
    monkeypatch.setattr(benchmark, "score_world", None)
    again = benchmark.benchmark_discovery(seed=2, n_worlds=3, n_null=4, out=tmp_path)
    assert all(again[name].equals(tables[name]) for name in tables)
    with pytest.raises(MismatchError):
        benchmark.benchmark_discovery(seed=2, n_worlds=1, settings=PlantedSettings(noise=0.5), out=tmp_path)


def test_no_worlds_give_empty_tables():
    tables = benchmark.benchmark_discovery(n_worlds=0, n_null=0)
    assert [len(tables[name]) for name in ("worlds", "null", "calibration", "summary")] == [0] * 4


def test_forms_are_summed_up_by_what_was_found():
    worlds = pd.DataFrame([{**dict.fromkeys(forms.FORMS, share), "false": 2 * share} for share in (1.0, 0.0)])
    table = pd.DataFrame(benchmark._forms_summary(worlds)).set_index("measure")
    assert list(table.index) == [*(f"{f} in ten" for f in forms.FORMS), "false rows in ten"]
    assert (table["value"] == [0.5] * 6 + [1.0]).all() and (table["n"] == 2).all()
    assert table.loc["motif in ten", "bound"] == ">= 0.60" and table.loc["domain in ten", "bound"] == ""


@pytest.mark.parametrize(
    ("pair", "split"), [((4, 7), True), ((7, 5), True), ((4, 5), False), ((4, 9), False)]
)
def test_a_concept_is_split_where_the_two_read_a_side_each(world, pair, split):
    truth = replace(world, merged={"x": ((4, 5), (7, 8))})
    row = {"concept": "x", "evidence": {"features": list(pair)}}
    assert benchmark._is_split(row, truth) == split
    assert not benchmark._is_split({**row, "concept": "y"}, truth)


def test_letters_as_features_find_what_a_letter_is():
    made = problem_of(random_texts(4, 30))
    codes = recover._one_hot(made)
    letters = np.array(list("".join(made.samples.sequences)))
    for j, letter in enumerate(made.alphabet):
        np.testing.assert_array_equal(codes.column(j) > 0, letters == letter)


def test_a_search_of_a_world_knows_its_truth(world):
    """Every number of a scored world is a share of what the world hides."""
    row, listed = benchmark.score_world(world, seed=6)
    assert set(listed.columns) == {"probability", "truth"} and listed["probability"].between(0, 1).all()
    assert row["novel_hidden"] == len(world.novel) and row["refined_hidden"] == len(world.merged)
    for name in ("ap", "ap_single_feature", "recall", "recall_q", "novel_in_ten", "refined", "covered"):
        assert 0 <= row[name] <= 1, name
    assert row["recall_q"] <= row["recall"]
    wanted = (row["ap"] - row["ap_single_feature"]) / (1 - row["ap_single_feature"])
    assert row["gap_closed"] == pytest.approx(wanted)
    problem = make_problem(world.features, world.annotations, world.split)
    rule = single_feature_rule(problem)
    hit = meets_hidden(rule, world.missing, problem.samples)
    order = np.argsort(-rule["probability"].to_numpy(), kind="stable")
    precision = np.cumsum(hit[order]) / np.arange(1, len(hit) + 1)
    assert row["ap_single_feature"] == pytest.approx(
        (precision * hit[order]).sum() / len(world.missing), abs=0.02
    )  # ties are one step of the curve
