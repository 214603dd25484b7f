"""Parts of assays, panels and contrasts beside scipy, scikit-learn and plain loops, and what they must not depend on."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from Bio.Align import substitution_matrices
from scipy.stats import norm, rankdata, spearmanr
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OneHotEncoder

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.frames import Table
from sciinterp.readers.notation import Variant, parse_variant
from sciinterp.readouts.assay_files import DRAWN, drawn_scan, keep_assay, keep_variants, read_assays
from sciinterp.readouts.assay_readers import (
    DIRECTIONS,
    PENALTIES,
    Reader,
    _rank_correlation,
    _solved,
    class_columns,
    narrow,
    predictions,
    readers_of,
    substitution_columns,
    summed,
)
from sciinterp.readouts.assay_scores import AssaySettings, compare, follow
from sciinterp.readouts.panels import auroc, auroc_interval, contrast, panel, separation
from sciinterp.readouts.position_splits import correlation, draws_of, interval, parts_of, top_recall

QUICK = AssaySettings(n_draws=60, n_permutations=40)
CHANGES = [Variant(i, "AVLK"[i % 4], x) for i in range(30) for x in "CDEFG"]


@pytest.mark.parametrize("columns", [4, 60])
def test_the_ridge_is_scikit_learns_at_every_penalty(columns):
    rng = np.random.default_rng(columns)
    x, y, right = rng.normal(size=(40, columns)), rng.normal(size=40), rng.normal(size=(7, columns))
    scale = (x - x.mean(0)).var(0).sum() / columns
    for penalty, told in zip(PENALTIES, _solved(x, y, right, PENALTIES)):
        assert told == pytest.approx(Ridge(40 * penalty * scale).fit(x, y).predict(right), abs=1e-6)


def test_columns_of_equal_spread_and_leading_directions():
    rng = np.random.default_rng(0)
    x = np.c_[rng.normal(size=(30, 3)) * [1, 10, 0.1], np.full(30, 4.0)]
    assert narrow(x).shape == (30, 3) and narrow(x).std(0) == pytest.approx(1)
    assert narrow(sp.csr_array(x)) == pytest.approx(narrow(x))
    assert np.array_equal(narrow(np.ones((5, 2))), np.zeros((5, 1)))
    wide = rng.normal(size=(200, 300))
    found = narrow(wide)
    assert found.shape == (200, DIRECTIONS)
    scaled = wide / wide.std(0)
    assert (found**2).sum() == pytest.approx((np.linalg.svd(scaled)[1][:DIRECTIONS] ** 2).sum(), rel=1e-3)
    assert narrow(wide[:20]).shape == (20, 19)
    # what does not vary is left out, though its mean is rounded: it would be the first direction of all
    for value in (1.0, 4.0, 0.1, 1e6):
        assert np.array_equal(narrow(np.c_[wide, np.full(200, value)]), found)


def test_numbers_of_substitutions_are_summed():
    matrix = substitution_matrices.load("BLOSUM62")
    changes = [
        Variant(0, "A", "W"),
        Variant(1, "AV", "WC"),
        Variant(3, "a", "w"),
        Variant(2, "A", "A"),
        Variant(5, "B", "J"),
    ]
    found = summed(changes, lambda v: float(matrix[v.ref, v.alt]))
    assert found.tolist() == [matrix["A", "W"], matrix["A", "W"] + matrix["V", "C"], matrix["A", "W"], 0, 0]


def test_columns_of_letters_are_one_hot():
    found = substitution_columns(CHANGES, protein=False)
    letters = np.array([[c.ref, c.alt] for c in CHANGES], object)
    wanted = OneHotEncoder(sparse_output=False, categories=[list("AVLK"), list("CDEFG")]).fit_transform(
        letters
    )
    assert np.array_equal(found, wanted) and substitution_columns(CHANGES, protein=True).shape[1] == 9 + 5
    of = np.arange(150) // 75
    columns = class_columns(CHANGES, of)
    assert (
        columns.sum(1).tolist() == [2] * 150
        and columns.shape[1] == len({(o, c.start) for o, c in zip(of, CHANGES)}) + 4
    )
    two = class_columns([Variant(0, "AA", "KR")], np.zeros(1, int))
    assert two.sum() == 4 and two.max() == 2  # both become a basic residue


@pytest.mark.parametrize("seed", range(3))
def test_rank_correlation_is_spearmans(seed):
    a, b = np.random.default_rng(seed).integers(0, 5, (2, 30)).astype(float)
    assert (
        _rank_correlation(a, b) == pytest.approx(spearmanr(a, b)[0])
        and _rank_correlation(a, np.ones(30)) == 0
    )


def test_predictions_are_of_held_out_variants_alone():
    rng = np.random.default_rng(0)
    x, y, block = rng.normal(size=(60, 3)), rng.normal(size=60), np.arange(60) // 2
    parts = [
        (np.arange(30), np.arange(30, 50)),
        (np.arange(30, 60), np.arange(30)),
        (np.arange(3), np.arange(0)),
    ]
    found = predictions(Reader(x, "baseline"), y, parts, block)
    assert np.isnan(found).tolist() == [False] * 50 + [True] * 10
    column = rng.normal(size=60)
    assert predictions(Reader(column, "baseline"), y, parts, block) is column
    more = y.copy()
    more[30:50] += 100  # what is held out teaches nothing of itself
    again = predictions(Reader(x, "baseline"), more, parts[:1], block)
    assert again[30:50] == pytest.approx(found[30:50])
    risen = predictions(Reader(x, "baseline"), np.exp(y), parts[:1], block)
    assert risen[30:50] == pytest.approx(found[30:50])  # by ranks


@pytest.mark.parametrize("how", ["random", "contiguous", "modulo"])
@pytest.mark.parametrize("folds", [2, 5])
def test_every_variant_of_one_position_is_tested_once(how, folds):
    positions = [[int(p)] for p in np.random.default_rng(folds).integers(0, 40, 120)]
    parts = parts_of(positions, how, folds=folds)
    assert len(parts) == folds and sorted(np.concatenate([t for _, t in parts])) == list(range(120))
    for train, test in parts:
        assert set(train).isdisjoint(test) and sorted([*train, *test]) == list(range(120))
        if how != "random":
            assert {positions[i][0] for i in train}.isdisjoint({positions[i][0] for i in test})
        if how == "contiguous":
            told = sorted({positions[i][0] for i in test})
            assert not {p for (p,) in positions if told[0] <= p <= told[-1]} - set(told)
        if how == "modulo":
            assert len({positions[i][0] % folds for i in test}) <= 1


def test_a_variant_without_a_change_is_tested_nowhere():
    for _, test in parts_of([[], [0], [1], [2]], "modulo", folds=3):
        assert 0 not in test


def test_draws_of_blocks_hold_as_many_as_there_are():
    draws = draws_of(12, 500, seed=1)
    assert draws.shape == (500, 12) and (draws.sum(1) == 12).all() and draws.mean() == 1
    assert np.array_equal(draws, draws_of(12, 500, seed=1)) and not np.array_equal(
        draws, draws_of(12, 500, seed=2)
    )


def test_a_draw_of_every_block_once_is_the_whole():
    rng = np.random.default_rng(0)
    truth, told, block = rng.normal(size=40), rng.integers(0, 6, 40).astype(float), np.arange(40) // 4
    parts = [np.arange(15), np.arange(15, 40), np.arange(3)]
    one, drawn = correlation(truth, told, parts, block, np.r_[[np.ones(10)], [2 * np.ones(10)]])
    assert drawn == pytest.approx(one)
    each = [spearmanr(truth[p], told[p])[0] * len(p) for p in parts[:2]]
    assert one == pytest.approx(sum(each) / 40)
    assert correlation(truth, np.exp(told), parts, block, np.ones((1, 10)))[0] == pytest.approx(one)
    assert correlation(truth, -told, parts, block, np.ones((1, 10)))[0] == pytest.approx(-one)
    missing = np.where(np.arange(40) < 15, np.nan, told)
    assert correlation(truth, missing, parts, block, np.ones((1, 10)))[0] == pytest.approx(each[1] / 25)
    assert np.isnan(correlation(truth, np.full(40, np.nan), parts, block, np.ones((2, 10)))[1]).all()


def test_an_interval_is_the_middle_of_draws():
    drawn = np.random.default_rng(0).normal(size=999)
    assert interval(drawn) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
    assert (
        interval(np.r_[drawn, np.nan]) == pytest.approx(interval(drawn))
        and np.isnan(interval(np.full(3, np.nan))).all()
    )


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_top_recall_is_the_mean_over_orders_of_ties(share):
    rng = np.random.default_rng(3)
    truth, told = rng.permutation(20).astype(float), rng.integers(0, 4, 20).astype(float)
    k = max(1, round(share * 20))
    best, seen = set(np.argsort(-truth)[:k]), []
    for _ in range(4000):
        order = rng.permutation(20)
        seen.append(len(best & set(order[np.argsort(-told[order], kind="stable")[:k]])) / k)
    assert top_recall(truth, told, [np.arange(20)], share) == pytest.approx(np.mean(seen), abs=0.03)
    assert np.isnan(top_recall(truth, told, [np.arange(3)], share))


def scan_of(x, here):
    dense = np.random.default_rng(5).normal(size=(len(x), 6))
    obs = pd.DataFrame({"masked_marginal": np.r_[np.nan, np.arange(len(x) - 1.0)]})
    return SimpleNamespace(
        X=sp.csr_matrix(x), layers={"here": sp.csr_matrix(here)}, obs=obs, obsm={"activations": dense}
    )


@pytest.mark.parametrize("protein", [True, False])
def test_readers_of_a_scan_and_what_is_added_to_plain_ones(protein):
    rng = np.random.default_rng(0)
    scan = scan_of(rng.normal(size=(150, 4)), rng.normal(size=(150, 4)))
    found, base = readers_of(scan, CHANGES, protein=protein)
    assert base == "substitution" and ("BLOSUM62" in found) == protein
    n = found["substitution"].values.shape[1]
    for name, kind in (
        ("masked marginal", "likelihood"),
        ("features", "features"),
        ("activations", "activations"),
    ):
        more = found[f"substitution + {name}"]
        assert (
            more.n_plain == n
            and more.kind == kind
            and np.array_equal(more.values[:, :n], found["substitution"].values)
        )
        assert np.isfinite(more.values).all()
    assert found["position means"].values.shape == (150, 30) and found["masked marginal"].values.ndim == 1
    beside, name = readers_of(
        scan, CHANGES, protein=protein, beside={"one": rng.normal(size=150), "two": rng.normal(size=150)}
    )
    assert name == "substitution + one + two" and {f"{name} + features", "one", "two", name} <= set(beside)
    assert beside[name].values.shape[1] == n + 2


def test_comparisons_know_no_order_of_variants():
    """By position, as parts are then; of any two scores that are ranked alike the same."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(150, 3)), rng.normal(size=150)
    readers = {
        "substitution": Reader(x[:, :2], "baseline"),
        "column": Reader(x[:, 2], "likelihood"),
        "substitution + it": Reader(x, "features", 2),
    }
    table, added = compare(readers, y, CHANGES, settings=QUICK)
    order = rng.permutation(150)
    others = {name: Reader(r.values[order], r.kind, r.n_plain) for name, r in readers.items()}
    again, more = compare(others, y[order], [CHANGES[i] for i in order], settings=QUICK)
    plain = table["split"] != "random"
    for name in ("correlation", "low", "high", "top_recall", "n"):
        assert again.loc[plain, name].to_numpy() == pytest.approx(table.loc[plain, name].to_numpy())
    assert more["difference"].to_numpy()[1:] == pytest.approx(added["difference"].to_numpy()[1:])
    risen, _ = compare(readers, np.exp(y), CHANGES, settings=QUICK)
    pd.testing.assert_frame_equal(risen, table)
    gap = table.pivot(index="split", columns="reader", values="correlation")
    told = added.set_index("split")["difference"]
    assert told.to_numpy() == pytest.approx(
        (gap["substitution + it"] - gap["substitution"]).loc[told.index].to_numpy()
    )
    assert ((added["low"] <= added["difference"]) & (added["difference"] <= added["high"])).all()


def test_following_features_by_plain_regression():
    """The partial correlation of ranks, given position and class, is that of residuals of least squares."""
    rng = np.random.default_rng(2)
    x = np.maximum(rng.normal(size=(150, 12)), 0)
    y = x[:, 4] + 0.3 * rng.normal(size=150)
    found = follow(sp.csr_array(x), y, CHANGES, settings=QUICK)
    assert (
        found["feature"].iloc[0] == 4
        and found["p"].iloc[0] == 1 / 41
        and found["n_changed"].iloc[0] == (x[:, 4] > 0).sum()
    )
    known = class_columns(CHANGES, np.zeros(150, int))
    less = lambda v: v - known @ np.linalg.lstsq(known, v, rcond=None)[0]  # noqa: E731
    wanted = np.corrcoef(less(rankdata(y)), less(x[:, 4]))[0, 1]
    assert found["correlation"].iloc[0] == pytest.approx(wanted, abs=1e-6)
    few = np.zeros((150, 1))
    few[:9, 0] = y[:9]
    assert not len(follow(sp.csr_array(few), y, CHANGES, settings=QUICK))  # changes in too few variants
    turned = follow(sp.csr_array(-3 * x), y, CHANGES, settings=QUICK)
    assert turned["feature"].tolist() == found["feature"].tolist()
    assert turned["correlation"].to_numpy() == pytest.approx(-found["correlation"].to_numpy())


def test_assays_in_a_folder_and_what_is_drawn_of_them(tmp_path):
    x = sp.csr_matrix(np.array([[0, 1.5, 0, -2], [0, 0, 0, 1]]))
    obs = pd.DataFrame({"position": [0, 1], "ref": ["A", "C"], "alt": ["W", "K"], "score": [0.5, -1.0]})
    facts = {"added": pd.DataFrame({"added": ["features"], "low": [np.nan]}), "scan": SimpleNamespace(X=x, obs=obs),
             "features": pd.DataFrame({"feature": pd.Series([], dtype=int)}), "refused": [{"line": 3, "variant": "x", "reason": "y"}],
             "n_samples": 1, "n_variants": 2, "n_positions": 2, "wild_type": "AC"}  # fmt: skip
    table = Table({"split": ["random"], "correlation": [0.5]}, context=facts)
    assert read_assays(tmp_path) == {"assays": None, "variants": None}
    keep_assay(
        tmp_path,
        "b",
        table,
        read={"refused": [{"line": 1, "variant": "z", "reason": "w"}], "wrong_reference": 4},
    )
    keep_assay(
        tmp_path, "a", Table(table, context={**facts, "features": pd.DataFrame({"feature": [1, 3, 0, 2]})})
    )
    kept = read_assays(tmp_path)["assays"]
    assert list(kept) == ["a", "b"] and kept["b"]["n_refused"] == 2 and kept["b"]["wrong_reference"] == 4
    assert kept["a"]["added"] == [{"added": "features", "low": None}] and kept["a"]["wrong_reference"] is None
    assert kept["b"]["scan"]["features"] == [3]  # nothing follows: the one that changes most
    assert kept["a"]["scan"]["features"] == [1, 3, 0][:DRAWN]
    drawn = drawn_scan(kept["a"])
    assert drawn.X.toarray().tolist() == [[0, 1.5, 0, -2], [0, 0, 0, 1]] and drawn.obs["ref"].tolist() == [
        "A",
        "C",
    ]
    rows = pd.read_csv(tmp_path / "assay.tsv", sep="\t")
    assert rows["assay"].tolist() == ["a", "b"]
    found = Table(pd.DataFrame({"sample": ["s"] * 5, "variant": ["A1W"] * 5, "feature": range(5)}),
                  context={"variants": [{"sample": "s", "variant": "A1W", "row": 1}, {"sample": "t", "variant": "C2K", "row": 2}],
                           "refused": []})  # fmt: skip
    keep_variants(tmp_path, found)
    told = read_assays(tmp_path)["variants"]
    assert (
        [len(r["features"]) for r in told["rows"]] == [DRAWN, 0] and told["n"] == 2 and told["n_refused"] == 0
    )


@pytest.mark.parametrize("seed", range(3))
def test_areas_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    x, case = rng.integers(0, 6, (50, 4)).astype(float), rng.random(50) < 0.4
    assert auroc(x, case) == pytest.approx([roc_auc_score(case, column) for column in x.T])
    assert auroc(-x, case) == pytest.approx(1 - auroc(x, case))
    assert auroc(x, ~case) == pytest.approx(1 - auroc(x, case))


def test_the_interval_of_an_area_narrows_and_stays_inside():
    for area in (0.0, 0.5, 0.93, 1.0):
        low, high = auroc_interval(area, 30, 40)
        assert 0 <= low <= area <= high <= 1
    wide, narrower = (np.diff(auroc_interval(0.7, n, n))[0] for n in (20, 200))
    assert narrower < wide / 2 and auroc_interval(0.7, 20, 50) != auroc_interval(0.7, 50, 20)
    low, high = auroc_interval(0.5, 40, 60)
    spread = np.sqrt(0.25 + 39 * (1 / 3 - 0.25) + 59 * (1 / 3 - 0.25)) / np.sqrt(2400)
    assert (high - low) / 2 == pytest.approx(norm.ppf(0.975) * spread)


def test_separation_knows_no_names_and_no_direction():
    rng = np.random.default_rng(0)
    case = rng.random(300) < 0.5
    number = pd.Series(rng.normal(size=300) + case)
    assert separation(number, case) == pytest.approx(roc_auc_score(case, number))
    assert (
        separation(-number, case)
        == pytest.approx(separation(number, case))
        == pytest.approx(separation(number, ~case))
    )
    classes = pd.Series(np.where(rng.random(300) < 0.8, np.where(case, "x", "y"), "z"))
    named = classes.map({"x": "b", "y": "c", "z": "a"})
    assert (
        separation(classes, case) == pytest.approx(separation(named, case))
        and separation(classes, case) > 0.8
    )
    assert separation(pd.Series(["a"] * 300), case) == 0.5
    holes = number.where(rng.random(300) > 0.1)
    assert abs(separation(holes, case) - separation(number, case)) < 0.05


def table_of(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"hit": rng.random(n) < 0.3, "gene": rng.choice(list("abcdef"), n), "phase": rng.integers(0, 3, n)}
    )


def test_a_panel_is_what_its_seed_says_and_no_more():
    table = table_of()
    one, same, other = (panel(table, "hit", match=["gene"], seed=s) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(pd.DataFrame(one), pd.DataFrame(same))
    assert one["row"].tolist() != other["row"].tolist()
    assert (
        table.loc[one["row"], "gene"].tolist() == one["gene"].tolist()
        and table.loc[one["row"], "hit"].tolist() == one["case"].tolist()
    )
    given = panel(table.drop(columns="hit"), table["hit"].tolist(), match=["gene"])
    assert given["row"].tolist() == one["row"].tolist()
    some = table.groupby("gene")["hit"].agg(lambda h: min(h.sum(), (~h).sum())).sum()
    assert one.context["n_cases"] == some  # as many as there can be
    every = panel(table, "hit", match=(), confounders=["gene"], max_auroc=1)
    assert every.context["n_cases"] == min(table["hit"].sum(), (~table["hit"]).sum())


def test_contrasts_know_no_order_and_only_sizes():
    table = panel(table_of(), "hit", match=["gene"])
    x = np.random.default_rng(1).normal(size=(len(table), 8)) * (1 + table["case"].to_numpy()[:, None])
    one = contrast(x, table)
    for other in (-x, sp.csr_array(x), SimpleNamespace(X=sp.csr_matrix(x)), 5 * x):
        found = contrast(other, table)
        assert found["feature"].tolist() == one["feature"].tolist()
        for name in ("auroc", "low", "high", "q"):
            assert found[name].to_numpy() == pytest.approx(one[name].to_numpy())
    assert one["auroc"].to_numpy() == pytest.approx(
        auroc(np.abs(x), table["case"].to_numpy())[one["feature"]]
    )
    order = np.random.default_rng(0).permutation(len(table))
    shuffled = contrast(x[order], table.iloc[order].assign(gene=lambda t: t["gene"].str.upper()))
    assert shuffled["auroc"].to_numpy() == pytest.approx(one["auroc"].to_numpy())
    assert shuffled["low"].to_numpy() == pytest.approx(one["low"].to_numpy())
    by_hand = 2 * norm.sf(
        np.abs(one["auroc"] - 0.5)
        / np.sqrt((len(table) + 1) / (12 * table["case"].sum() * (~table["case"]).sum()))
    )
    assert (one["q"] >= by_hand - 1e-12).all() and one["q"].iloc[0] <= 8 * by_hand.min() + 1e-12


def test_an_assay_of_a_scan_knows_no_order_of_rows(tiny):
    wild, rng = "EVQLVESGGGLVKPGGSLRL", np.random.default_rng(0)
    rows = pd.DataFrame(
        [(f"{wild[i]}{i + 1}{x}", rng.normal()) for i in range(20) for x in "AK" if x != wild[i]],
        columns=["variant", "score"],
    )
    one = si.assay(*tiny, wild, rows, settings=QUICK)
    two = si.assay(
        *tiny,
        None,
        Table(rows.iloc[::-1].reset_index(drop=True), context={"wild_type": wild}),
        settings=QUICK,
    )
    plain = one["split"] != "random"
    for name in ("reader", "correlation", "low", "n"):
        a, b = one.loc[plain, name].tolist(), two.loc[plain, name].tolist()
        assert a == b if name == "reader" else a == pytest.approx(b, abs=1e-5)
    assert (
        one.context["n_variants"] == len(rows)
        and [str(parse_variant(v)) for v in rows["variant"]] == rows["variant"].tolist()
    )
    with pytest.raises(InputError, match="too small an assay to hold positions out"):
        si.assay(*tiny, wild, rows.iloc[:12], settings=QUICK)
