# ruff: noqa: F811
"""What report and browser say of features, candidates and controls: counted another way, and the same in any order."""

from __future__ import annotations

import inspect
import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import synthetic_run as made
from report_fixtures import run  # noqa: F401
from sklearn.decomposition import PCA
from sklearn.metrics import jaccard_score
from sklearn.metrics.pairwise import cosine_similarity

import sciinterp as si
from sciinterp.codes.active import is_active
from sciinterp.errors import InputError
from sciinterp.frames import Table
from sciinterp.report import content, feature_facts, pictures
from sciinterp.report.beyond import beyond
from sciinterp.report.browser import chunk, write_browser
from sciinterp.report.json_values import in_order, number, plain_data
from sciinterp.report.pictures import Picture
from sciinterp.report.proposals import MAX_SHOWN, _shares, all_rows, candidate_rows
from sciinterp.report.prose import count, join, value
from sciinterp.report.turned import effect_sentence, turned_concepts, with_effects
from sciinterp.report.viewer import _match, _word, _words

NAN = float("nan")


# Features -------------------------------------------------------------------------------------------------------------


def test_neighbours_in_activity_are_those_of_the_jaccard_index(run, monkeypatch):
    features = run["features"]
    on = is_active(features.codes.toarray(), features.largest)
    found = feature_facts.coactive(features, top=5)
    for j in (0, 3, 8, 40):
        index = {
            i: jaccard_score(on[:, j], on[:, i])
            for i in range(features.n_features)
            if i != j and on[:, i].any()
        }
        best = sorted((i for i in index if index[i] > 0), key=lambda i: (-round(index[i], 6), i))[:5]
        assert [i for i, _ in found[j]] == best
        np.testing.assert_allclose([v for _, v in found[j]], [index[i] for i in best], atol=6e-5)
    assert found[-1] == [] and all(j not in dict(row) for j, row in enumerate(found))
    for at_once in (1, 7):
        monkeypatch.setattr(feature_facts, "FEATURES_AT_ONCE", at_once)
        assert feature_facts.coactive(features, top=5) == found


def test_positions_are_thinned_evenly_over_all_samples(run, monkeypatch):
    features = run["features"]
    monkeypatch.setattr(feature_facts, "COACTIVE_POSITIONS", features.n_positions // 3)
    blocks = [(0, 7), (7, 8), (8, 40)]  # whose first positions are no multiples of four
    monkeypatch.setattr(si.FeatureMatrix, "sample_blocks", lambda self: iter(blocks))
    on = is_active(features.codes.toarray(), features.largest)[::4]
    j = 8
    want = {
        i: jaccard_score(on[:, j], on[:, i], zero_division=0) for i in range(features.n_features) if i != j
    }
    found = dict(feature_facts.coactive(features, top=64)[j])
    assert {i for i, v in want.items() if v > 0} == set(found)
    assert all(abs(found[i] - want[i]) < 6e-5 for i in found)


def test_directions_beside_each_other_are_those_of_the_cosine():
    directions = np.random.default_rng(0).normal(size=(1500, 6)).astype(np.float32)
    cosines = cosine_similarity(directions)
    np.fill_diagonal(cosines, -9)
    found = feature_facts.similar(directions, top=4)
    for j in (0, 1023, 1024, 1499):
        best = np.argsort(-cosines[j], kind="stable")[:4]
        assert [i for i, _ in found[j]] == best.tolist()
        np.testing.assert_allclose([v for _, v in found[j]], cosines[j, best], atol=6e-4)
    longer = directions * np.random.default_rng(1).uniform(0.5, 9, (1500, 1)).astype(np.float32)
    assert [[i for i, _ in row] for row in feature_facts.similar(longer, top=4)] == [
        [i for i, _ in row] for row in found
    ]
    assert feature_facts.similar(None) == feature_facts.similar(np.full((3, 2), NAN)) == []
    assert [len(row) for row in feature_facts.similar(np.eye(2, dtype=np.float32))] == [1, 1]


def test_the_map_is_of_principal_components_of_directions_whatever_their_length():
    directions = np.random.default_rng(0).normal(size=(40, 5)) * [5, 3, 1, 1, 1]
    found = feature_facts.decoder_map(directions)
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    pca = PCA(2, svd_solver="full").fit(unit)
    xy = pca.transform(unit)
    for axis, mine in zip(xy.T, (found["x"], found["y"])):
        assert min(np.abs(axis - mine).max(), np.abs(axis + mine).max()) < 1e-3
    np.testing.assert_allclose(found["explained"], pca.explained_variance_ratio_, atol=1e-4)
    assert feature_facts.decoder_map(directions * 7) == found
    for none in (None, directions[:2], directions[:, :1], np.full((9, 3), NAN)):
        assert feature_facts.decoder_map(none) is None
    assert feature_facts.decoder_map(np.zeros((5, 3)))["x"] == [0.0] * 5


@pytest.mark.parametrize("n", [0, 1, 5, 30])
def test_examples_are_the_strongest_of_each_family_and_some_of_every_quarter(n):
    rng = np.random.default_rng(n)
    family, sample = rng.integers(0, 6, 40), rng.permutation(40)[:n]
    empty = np.zeros(0, np.int64)
    active = feature_facts.Activity(0, empty, empty, sample, sample, -np.sort(-rng.random(n)))
    shown = feature_facts.examples(active, family, top=4, each=2)
    names = [s for _, s in shown]
    assert len(set(names)) == len(names) and set(names) <= set(sample.tolist())
    best = [s for kind, s in shown if kind == "strongest"]
    first = list({int(family[s]): int(s) for s in sample[::-1]}.values())  # the strongest of each family
    ranked = sorted(first, key=sample.tolist().index)
    assert best[: len(ranked)] == ranked[:4] and len(best) == min(n, 4)
    for kind, inside in itertools.groupby(shown[len(best) :], key=lambda pair: pair[0]):
        quarter = ("upper quarter", "second quarter", "third quarter", "lowest quarter").index(kind)
        places = [sample.tolist().index(s) for _, s in inside]
        assert len(places) <= 2 and all(quarter * n // 4 <= p < -(-(quarter + 1) * n // 4) for p in places)


def test_facts_of_features_do_not_depend_on_the_order_of_samples(run):
    samples, features = run["samples"], run["features"]
    order = np.random.default_rng(0).permutation(len(samples))
    moved = si.Samples(
        [samples.ids[i] for i in order],
        [samples[i].data for i in order],
        table=samples.table.iloc[order].reset_index(drop=True),
    )
    rows = np.concatenate([np.arange(*features.rows(i).indices(features.n_positions)[:2]) for i in order])
    again = si.FeatureMatrix(sp.csr_array(features.codes[rows]), moved)
    group = np.unique(samples.table["family"], return_inverse=True)[1]
    one, other = (content.Portraits(f, run["hits"], g) for f, g in ((features, group), (again, group[order])))
    for a, b in zip(one.rows, other.rows):
        assert a == pytest.approx(b)
    assert [one.motif(j) for j in range(11)] == [other.motif(j) for j in range(11)]
    column = features.column(8)
    peaks = [column[features.rows(s)].max() for s in range(len(samples))]
    told = one.rows[8]
    assert (told["samples"], told["max"]) == (
        sum(is_active(np.array(peaks), features.largest[8])),
        max(peaks),
    )
    assert one.rows[63] == {**one.rows[63], "samples": 0, "families": 0, "max": 0.0, "top_sample": None}


def test_features_that_nothing_explains_are_those_below_the_floor(run):
    portraits = content.Portraits(run["features"], run["hits"], None)
    listing = content.unexplained(portraits)
    best = run["hits"].groupby("feature")["f1"].max()
    active = [j for j in range(64) if run["features"].density[j] > 0]
    want = {j for j in active if not best.get(j, 0.0) >= content.NEAR}
    assert {row["feature"] for row in listing["rows"]} == want
    assert (listing["n"], listing["n_active"]) == (len(want), len(active))
    seen = [(row["families"], row["mean_peak"]) for row in listing["rows"]]
    assert seen == sorted(seen, reverse=True)


def test_a_feature_has_one_motif_in_report_browser_and_figure(run):
    portraits = content.Portraits(run["features"], run["hits"], None)
    found = [
        feature_facts.feature_logos(portraits.letters, one)[0]
        for one in feature_facts.activities(run["features"])
    ]
    assert [portraits.motif(j) for j in range(64)] == found
    assert sum(bool(motif) for motif in found) > 30
    defaults = inspect.signature(si.pl.logo).parameters
    assert (defaults["flank"].default, defaults["top"].default) == (
        feature_facts.FLANK,
        feature_facts.TOP_PEAKS,
    )


# Hits and candidates in any order -------------------------------------------------------------------------------------


def test_the_report_is_of_the_rows_and_not_of_their_order(run, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    blank = lambda name, title, caption, figure, png=True: Picture(name, title, caption, "single", b"<svg/>")  # noqa: E731
    monkeypatch.setattr(pictures, "draw", blank)

    def written(name: str, **changed) -> dict:
        given = {
            k: run[k] for k in ("sae", "features", "hits", "candidates", "annotations", "split")
        } | changed
        path = si.report(tmp_path / name / "r.html", manifest={"full": made.make_full()}, **given)
        return json.loads(path.with_suffix(".json").read_text())

    mixed = {name: run[name].iloc[rng.permutation(len(run[name]))] for name in ("hits", "candidates")}
    mixed["annotations"] = si.Annotations(run["annotations"].frame.sample(frac=1, random_state=0))
    want = written("as it is")
    for name, table in mixed.items():
        assert written(name, **{name: table}) == want, name


def test_candidates_of_all_kinds_are_listed_best_first_whatever_their_order(run):
    many = made.make_candidates(run["samples"], run["annotations"], n=60)
    many.loc[many.index[::7], "probability"] = np.nan
    many.loc[many.index[::5], "score"] = np.nan
    rows = all_rows(many)
    assert len(rows) == 60
    key = lambda r: (r["kind"], *(math.inf if r[k] is None else -r[k] for k in ("probability", "score")))  # noqa: E731
    assert [key(r) for r in rows] == sorted(map(key, rows))
    again = all_rows(many.iloc[np.random.default_rng(1).permutation(60)])
    assert [key(r) for r in again] == [key(r) for r in rows]
    listing = candidate_rows(many)
    assert listing["n"] == listing["shown"] == 60 and listing["rows"] == rows
    for told in listing["kinds"]:
        mine = many[many["kind"] == told["kind"]]
        assert told["expected"] == pytest.approx(mine["probability"].sum())
        assert (told["n"], told["low_q"]) == (len(mine), (mine["q"] <= 0.1).sum())
        assert told["best_q"] == mine["q"].min() and told["best_probability"] == mine["probability"].max()
    for nothing in (None, many.iloc[:0]):
        assert all_rows(nothing) == candidate_rows(nothing)["rows"] == []
    empty = candidate_rows(many.assign(probability=None, q=None))["kinds"]
    assert {(k["expected"], k["low_q"], k["best_q"]) for k in empty} == {(None, None, None)}


@pytest.mark.parametrize(
    "sizes", [[], [0], [1000], [1, 1, 1], [299, 300], [500, 500, 500], [2, 1000, 5, 1000], [1] * 400]
)
def test_room_is_shared_and_none_is_left_while_a_kind_has_more(sizes):
    shares = _shares(sizes)
    assert all(min(n, 1) <= share <= n for n, share in zip(sizes, shares))
    assert sum(shares) == min(sum(sizes), MAX_SHOWN) or len(sizes) > MAX_SHOWN
    cut = [share for n, share in zip(sizes, shares) if share < n]
    assert not cut or max(cut) - min(cut) <= 1
    assert all(share <= max(cut) for share in shares) if cut else True


def test_the_precision_to_expect_is_the_mean_probability(run):
    many = Table(made.make_candidates(run["samples"], run["annotations"], n=45))
    for row in candidate_rows(many)["precision"]:
        mine = many.loc[many["kind"] == row["kind"], "probability"].sort_values(ascending=False)
        assert row["precision"] == pytest.approx(mine.head(row["k"]).mean())
        assert row["low"] <= row["precision"] <= row["high"]
    assert {row["k"] for row in candidate_rows(many)["precision"]} == {5, 10, 15}
    few = candidate_rows(many.head(12))["precision"]
    assert few == []  # four of a kind say nothing


# Turning and the full run ---------------------------------------------------------------------------------------------


def turning() -> dict:
    """Two concepts whose features were turned: one that turns it, one that does not."""
    told = [
        {"concept": "a", "direction": "feature 3", "control": False, "over_random": 0.2, "n_samples": 4},
        {"concept": "b", "direction": "feature 7", "control": True, "over_random": 0.5, "n_samples": 6},
    ]
    numbers = {"low": 0.0, "high": 2.0, "divergence": 0.1, "gain_random": 0.01}
    table = [
        {"concept": c, "kind": kind, "direction": f"{kind} {j}", "gain": g, **numbers}
        for c, j in (("a", 3), ("b", 7))
        for kind, g in (("feature", 1.0), ("neuron", 0.4), ("random", 0.1))
    ]
    doses = [{"concept": "b", "kind": "feature", "direction": "feature 7", "divergence": d, "gain": d, "dose": 1} for d in (0.1, 0.2)]  # fmt: skip
    return {
        "summary": told,
        "table": table,
        "doses": doses,
        "examples": [{"concept": "b", "before": "ACDE", "after": "AWDF"}],
    }


def test_what_turns_most_comes_first_with_its_example_and_rivals():
    first, second = turned_concepts(turning())
    assert (first["concept"], first["feature"], second["concept"], second["feature"]) == ("b", 7, "a", 3)
    assert first["example"]["changed"] == " ^ ^" and second["example"] is None
    assert (
        [r["kind"] for r in first["others"]] == ["neuron"]
        and len(first["doses"]) == 2
        and second["doses"] == []
    )
    backwards = {k: v[::-1] for k, v in turning().items()}
    assert [r["concept"] for r in turned_concepts(backwards)] == ["b", "a"]
    assert turned_concepts(None) == turned_concepts({}) == []
    nothing = {"summary": [], "table": [], "doses": [], "examples": [], "settings": {"divergence": 0.1}}
    assert list(pictures.turning_figures(nothing)) == list(pictures.turning_figures(None)) == []


def test_effects_join_the_evidence_of_the_candidates_whose_features_were_turned():
    rows = [
        {"feature": 7, "evidence": {"for": ["seen"], "features": [3, 7]}},
        {"feature": 9, "evidence": {"against": None}},
        {"feature": 7, "evidence": "none"},
        {"feature": None, "evidence": {"features": None}},
    ]
    said = {one["concept"]: effect_sentence(one) for one in turned_concepts(turning())}
    found = with_effects(rows, turning())
    assert found[0]["evidence"] == {"for": ["seen", said["b"]], "features": [3, 7], "against": [said["a"]]}
    assert found[1:] == rows[1:] and rows[0]["evidence"]["for"] == ["seen"], "what was given stays as it was"
    assert said["b"].startswith("Feature 7 turns b in 6 samples") and "+1.00" in said["b"]
    assert "was not shown to turn a" in said["a"]
    silent = turning()
    silent["summary"] = [{**r, "over_random": None} for r in silent["summary"]]
    assert with_effects(rows, silent) == with_effects(rows, None) == rows


def test_what_a_full_run_measured_is_laid_beside_its_control():
    full = made.make_full()
    full["stability"]["pairs"] = [{"shared": 0.25, "activation": None}, {"shared": 0.75}]
    full["stability_control"]["pairs"] = []
    rows = {row["name"]: row for row in beyond(full)["rows"]}
    assert (rows["Variance explained"]["model"], rows["Variance explained"]["control"]) == (0.83, 0.96)
    saved = rows["Saved against a Gaussian code (bits a token)"]
    assert saved["model"] == pytest.approx(484.25 - 461.5)
    shared = rows["Features shared by two seeds"]
    assert (shared["model"], shared["control"]) == (0.5, None)
    assert rows["Correlation of matched features' codes"]["model"] is None
    bare = beyond({"width": [{"total": 3.0, "n_features": 8}], "splitting": None})
    assert all(row["model"] is None and row["control"] is None for row in bare["rows"])
    assert bare["width"][0]["mdl"] == 3.0 and bare["splitting"] == bare["unexplained"] == []
    full["measures"]["unexplained"] = [
        {"concept": c, "ratio": 2, "low": low} for c, low in (("a", 1.5), ("b", 0.9), ("c", None))
    ]
    full["measures_control"]["unexplained"] = [{"concept": "a", "ratio": 7}]
    assert [(r["concept"], r["control"]) for r in beyond(full)["unexplained"]] == [("a", 7)]
    assert beyond(None) is beyond({}) is None


# Values and words -----------------------------------------------------------------------------------------------------

PLAIN = [
    (np.float32(0.5), 0.5), (np.int64(3), 3), (np.bool_(True), True), (NAN, None), (np.inf, None), (pd.NaT, "NaT"),
    ({1: (2, {3})}, {"1": [2, [3]]}), pytest.param({"b", "a"}, ["a", "b"], id="a set"), (pd.Index([1, 2]), [1, 2]), (np.zeros((1, 2)), [[0.0, 0.0]]),
    (pd.DataFrame({"a": [1.0, NAN]}), [{"a": 1.0}, {"a": None}]), (feature_facts.Activity, str(feature_facts.Activity)),
    (content.THRESHOLDS, content.THRESHOLDS.__dict__), ("é", "é"), (None, None), (10**30, 10**30),
]  # fmt: skip


@pytest.mark.parametrize(("given", "want"), PLAIN, ids=lambda v: repr(v)[:24])
def test_values_are_those_of_json(given, want):
    found = plain_data(given)
    assert found == want and type(found) is type(want)
    assert in_order({"b": given, "a": 1}) == json.loads(json.dumps({"a": 1, "b": want}))


NUMBERS = [
    (1, 1.0), ("2.5", 2.5), (np.float32(0.25), 0.25), (True, 1.0), (None, None), ("x", None), (NAN, None), ("inf", None),
    (-np.inf, None), ([1], None), (np.zeros(2), None), (pd.NA, None), ({}, None), (1 + 2j, None), (pd.Timestamp(0), None),
]  # fmt: skip


@pytest.mark.parametrize(("given", "want"), NUMBERS, ids=lambda v: repr(v)[:24])
def test_a_number_is_finite_or_none(given, want):
    assert number(given) == want


WRITTEN = [
    (0.125, 2, "0.12"), (0, 3, "0"), (0.0, 3, "0.000"), (-0.5, 1, "-0.5"), (12345, 2, "12,345"), (0.004, 2, "0.004"),
    (0.005, 2, "0.01"), (-1e-9, 2, "-1e-09"), (None, 2, "–"), (True, 2, "True"), ("text", 2, "text"), (1e6, 0, "1000000"),
]  # fmt: skip


@pytest.mark.parametrize(("x", "digits", "text"), WRITTEN, ids=lambda v: repr(v)[:24])
def test_a_number_is_never_printed_as_nothing(x, digits, text):
    assert value(x, digits) == text


def test_lists_and_counts_are_english():
    assert [join(list("abc")[:n]) for n in range(4)] == ["none", "a", "a and b", "a, b and c"]
    assert [count(n, "family", "families") for n in (0, 1, 2)] == ["0 families", "1 family", "2 families"]
    assert count(None, "sample") == "an unknown number of samples"


def test_chains_have_words_of_their_own():
    assert _words(["A", "B", "loop_"]) == ["A", "B", "c2"]
    assert _words(["A", "A-2", "A!"]) == ["A", "c1", "c2"] and _words(["A", "A"]) == ["c0", "c1"]
    assert [_word(w, "?") for w in ("", "data_x", "a b", "CA", "H1*", "é", "x" * 9)] == [
        "?",
        "?",
        "?",
        "CA",
        "H1*",
        "?",
        "?",
    ]


@pytest.mark.parametrize(
    ("letters", "sequence", "position"),
    [
        ("ACDEF", "ACDEF", [0, 1, 2, 3, 4]),
        ("GGACDEF", "ACDEF", [-1, -1, 0, 1, 2, 3, 4]),
        ("ACDEFGHIKL", "ACDEFWHIKL", [0, 1, 2, 3, 4, -1, 6, 7, 8, 9]),
        ("", "ACD", []),
        ("ACD", "", [0, 1, 2][:0] or [-1, -1, -1]),
        ("WWW", "AAA", [-1, -1, -1]),
    ],
)
def test_residues_of_a_chain_have_the_positions_of_equal_letters(letters, sequence, position):
    found = _match(letters, sequence)
    assert found == position
    assert all(letters[i] == sequence[p] for i, p in enumerate(found) if p >= 0)


# Arguments ------------------------------------------------------------------------------------------------------------

WRONG = [
    ({"features": 5}, "features=: expected FeatureMatrix, got 5"),
    ({"features": None}, r"features=: expected FeatureMatrix, got None. si\.encode"),
    ({"hits": "hits.tsv"}, "hits=: expected DataFrame, got 'hits.tsv'"),
    ({"hits": [{"feature": 1}]}, "hits=: expected DataFrame, got list"),
    (
        {"hits": pd.DataFrame({"feature": [1], "concept": ["a"]})},
        "no such column, hits: expected 'feature' or 'concept', got 'f1'",
    ),
    ({"candidates": []}, "candidates=: expected DataFrame, got list"),
    ({"annotations": pd.DataFrame()}, r"annotations=: expected Annotations.*si\.read_annotations"),
    ({"split": {}}, r"split=: expected Split.*si\.split_families"),
    ({"manifest": ["x"]}, "manifest=: expected Mapping, got list"),
]


@pytest.mark.parametrize(("change", "said"), WRONG, ids=lambda v: str(v)[:28])
@pytest.mark.parametrize("verb", [si.report, write_browser])
def test_an_argument_of_another_kind_is_named_before_anything_is_written(run, tmp_path, verb, change, said):
    given = {k: run[k] for k in ("features", "hits", "candidates", "annotations", "split")} | change
    with pytest.raises(InputError, match=said) as error:
        verb(tmp_path / "out" / "r.html", **given)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_a_place_is_a_path_and_a_page_not_its_own_content(run, tmp_path):
    both = {k: run[k] for k in ("features", "hits")}
    for verb, name in ((si.report, "path"), (write_browser, "out")):
        with pytest.raises(InputError, match=f"{name}=: expected a path, got 5"):
            verb(5, **both)
    for name in ("r.json", "r.JSON"):
        with pytest.raises(InputError, match=r"a report is a page of HTML, file .*r\.json"):
            si.report(tmp_path / name.lower(), **both)
    assert not list(tmp_path.iterdir())
    (tmp_path / "run").mkdir()
    with pytest.raises(
        InputError, match=r"a report is a page of HTML, folder .*expected a file, as .*run/report\.html"
    ):
        si.report(tmp_path / "run", **both)
    assert [p.name for p in tmp_path.rglob("*")] == ["run"]


@pytest.mark.parametrize("structures", [{"nobody": "a.pdb"}, 5, {"heavy_0001": "gone.pdb"}, "no such folder"])
def test_structures_that_are_not_there_are_said_before_the_site_is_written(run, tmp_path, structures):
    with pytest.raises(InputError, match=r"no such sample|no such file|no such folder|structures="):
        write_browser(tmp_path / "site", features=run["features"], hits=run["hits"], structures=structures)
    assert not (tmp_path / "site").exists()


def test_a_chunk_holds_no_number_that_json_does_not_know():
    with pytest.raises(ValueError, match="not JSON compliant"):
        chunk("x", {"a": NAN})
