# ruff: noqa: F811
"""What a figure draws are the numbers it was given, computed another way; and not their order, names or form."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from figure_cases import labelled, made, rule, scan, sites, sweep_table, turned, worlds
from matplotlib.colors import to_hex
from report_fixtures import run  # noqa: F401
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve

import sciinterp as si
from sciinterp.association import baselines as registry
from sciinterp.codes.active import is_active
from sciinterp.frames import Table
from sciinterp.plots.concepts import baseline_kind, baselines_of, best_of_kinds, selected
from sciinterp.plots.given import read_log, table_of
from sciinterp.plots.style import to_bytes
from sciinterp.plots.training import _front


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def named_lines(ax) -> dict[str, np.ndarray]:
    """Label -> float [n, 2] of every line that has one."""
    return {line.get_label(): np.asarray(line.get_xydata()) for line in ax.lines}


def segments(ax) -> np.ndarray:
    """float [n, 2, 2]: all straight strokes of the axes' collections."""
    found = [c.get_segments() for c in ax.collections if hasattr(c, "get_segments")]
    return np.array([s for part in found for s in part])


def of_hits(hits: pd.DataFrame, context: dict) -> Table:
    return Table(hits.reset_index(drop=True), context=context)


# Tables in any order of their rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figure", "make"),
    [
        ("concepts_vs_baselines", None),
        ("concept_counts", None),
        ("heatmap", None),
        ("sets", None),
        ("precision_at_k", lambda: pd.DataFrame({"k": [5, 9, 20, 5, 9], "kind": list("aabbb"), "precision": [0.9, 0.8, 0.5, 0.4, 0.3], "low": 0.1, "high": 0.95})),
        ("variant_effect", lambda: pd.DataFrame({"feature": range(5), "before": [0.0, 1, 2, 3, 4], "after": [4.0, 3, 2.5, 1, 9]})),
        ("readout", lambda: pd.DataFrame(labelled())),
        ("front", sweep_table),
        ("scaling", sweep_table),
        ("mdl", sweep_table),
        ("dose", lambda: turned(("a",)).context["doses"]),
    ],
)  # fmt: skip
def test_a_figure_is_of_the_rows_and_not_of_their_order(run, figure, make):
    draw, rng = getattr(si.pl, figure), np.random.default_rng(1)
    if make is None:
        hits, context = run["hits"], run["hits"].context
        order = rng.permutation(len(hits))
        mixed = {**context, "baselines": context["baselines"].iloc[::-1], "sets": context["sets"].iloc[::-1]}
        one, other = hits, of_hits(hits.iloc[order], mixed)
    else:
        one = make()
        other = one.iloc[rng.permutation(len(one))]
    assert to_bytes(draw(one)) == to_bytes(draw(other))


@pytest.mark.parametrize("figure", ["layer_sweep", "precision_at_k", "front", "mdl", "recovery", "readout", "training_curve", "dark_matter"])  # fmt: skip
def test_tables_rows_and_columns_are_one_input(figure):
    table = {
        "layer_sweep": sites(3),
        "precision_at_k": pd.DataFrame({"k": [1, 2], "precision": [0.5, 0.25]}),
        "front": sweep_table(1),
        "mdl": sweep_table(1),
        "recovery": pd.DataFrame(worlds()),
        "readout": pd.DataFrame(labelled()).query("n == 24"),
        "training_curve": pd.DataFrame({"step": [1, 2, 3], "fve": [0.1, 0.4, 0.6]}),
        "dark_matter": pd.DataFrame({"name": ["a", "b"], "explained": [0.8, 0.6], "linear": 0.1, "nonlinear": [0.1, 0.3]}),
    }[figure]  # fmt: skip
    draw = getattr(si.pl, figure)
    forms = (table, table.to_dict("records"), iter(table.to_dict("records")), table.to_dict("list"))
    assert len({to_bytes(draw(form)) for form in forms}) == 1


def test_a_row_a_mapping_of_scalars_and_nothing_are_tables():
    assert table_of({"explained": 0.5, "name": "a"}).to_dict("records") == [{"explained": 0.5, "name": "a"}]
    assert table_of({"a": [1, 2], "b": 3})["b"].tolist() == [3, 3]
    assert [len(table_of(nothing)) for nothing in (None, [], {}, (), pd.DataFrame())] == [0] * 5
    kept = pd.DataFrame({"a": [1]}, index=["x"])
    assert table_of(kept).index.tolist() == ["x"]


def test_a_log_is_one_whatever_holds_it(tmp_path):
    rows = [{"step": i, "fve": i / 10, "lr": 0.1} for i in range(4)]
    (tmp_path / "training.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n[1]\n")
    sae = made.FakeSAE()
    sae.log, bare, gone = rows, made.FakeSAE(), made.FakeSAE()
    bare.log, bare.folder = None, tmp_path
    gone.log, gone.folder = None, tmp_path / "moved"
    want = pd.DataFrame(rows)
    for log in (rows, want.set_axis(list("abcd")), tmp_path, str(tmp_path / "training.jsonl"), sae, bare):
        pd.testing.assert_frame_equal(read_log(log), want)
    assert len(read_log(gone)) == len(read_log(None)) == 0


# Hits -----------------------------------------------------------------------------------------------------------------


def test_the_selected_rows_are_those_of_a_loop(run):
    hits = run["hits"].copy()
    first = hits["concept"].iloc[0]
    hits.loc[hits["concept"] == first, "f1"] = np.nan
    want = {c: part[part["selected"]].iloc[0] for c, part in hits.groupby("concept")}
    ranked = sorted(want, key=lambda c: (np.isnan(want[c]["f1"]), -np.nan_to_num(want[c]["f1"]), c))
    rows = selected(hits)
    assert rows["concept"].tolist() == ranked and ranked[-1] == first
    assert rows["feature"].tolist() == [want[c]["feature"] for c in ranked]
    for written in ("True", "1", 1.0, 1):  # as a file of text may hold it
        again = hits.assign(selected=[written if v else "False" for v in hits["selected"]])
        pd.testing.assert_frame_equal(selected(again).drop(columns="selected"), rows.drop(columns="selected"))
    strongest = selected(hits.drop(columns="selected"))
    best = hits.groupby("concept")["f1"].max()
    assert np.array_equal(strongest["f1"], best.loc[strongest["concept"]], equal_nan=True)
    assert len(selected(None)) == len(selected(pd.DataFrame())) == 0


def test_equal_concepts_stand_in_the_order_of_their_names():
    rows = selected(pd.DataFrame({"concept": ["b", "c", "a"], "feature": [1, 2, 3], "f1": [0.5, 0.5, 0.5]}))
    assert rows["concept"].tolist() == ["a", "b", "c"]


def test_baselines_in_rows_or_columns_are_the_same_table(run):
    wide = run["hits"].context["baselines"]
    long = wide.rename_axis("concept").reset_index().melt("concept", var_name="baseline", value_name="f1")
    names = sorted(wide.columns)
    forms = (wide, long, long.sample(frac=1, random_state=0), wide.rename_axis("concept").reset_index())
    for form in forms:
        found = baselines_of(Table({"a": []}, context={"baselines": form}))
        pd.testing.assert_frame_equal(found.sort_index()[names], wide.sort_index()[names], check_names=False)
    twice = baselines_of(Table({"a": []}, context={"baselines": pd.concat([wide, wide])}))
    pd.testing.assert_frame_equal(twice, wide)
    for nothing in (None, pd.DataFrame(), long.drop(columns="f1")):
        assert baselines_of(Table({"a": []}, context={"baselines": nothing})).empty


def test_the_best_of_a_kind_is_the_largest_of_its_members():
    rng = np.random.default_rng(0)
    names = [record.name for record in registry.BASELINES]
    table = pd.DataFrame(rng.random((7, len(names))), columns=names)
    table = table.mask(rng.random(table.shape) < 0.3)
    table.loc[3] = np.nan
    found = best_of_kinds(table)
    again = best_of_kinds(table[rng.permutation(names)])
    assert found.keys() == again.keys()
    for said, (best, *_) in found.items():
        np.testing.assert_array_equal(best, again[said][0])
    pool = {}
    for name in names:
        if (kind := baseline_kind(name)[0]) not in ("density", "prevalence"):
            pool.setdefault(kind, []).append(table[name])
    want = sorted(tuple(np.nan_to_num(pd.concat(v, axis=1).max(axis=1), nan=-1)) for v in pool.values())
    assert want == sorted(tuple(np.nan_to_num(best, nan=-1)) for best, *_ in found.values())
    assert len(found) < len(names)


def test_points_intervals_and_the_verdict_of_every_concept_are_drawn(run):
    rows = selected(run["hits"])
    ax = si.pl.concepts_vs_baselines(run["hits"])
    drawn = {c.get_label(): np.asarray(c.get_offsets()) for c in ax.collections if len(c.get_offsets())}
    above = (rows["delta_low"] > 0).to_numpy()
    for name, mask in (("feature, above every baseline", above), ("feature, not above", ~above)):
        at = np.flatnonzero(mask)
        np.testing.assert_allclose(drawn[name], np.c_[rows["f1"][at], at])
    for name, (best, *_) in best_of_kinds(run["hits"].context["baselines"].loc[rows["concept"]]).items():
        np.testing.assert_allclose(drawn[name], np.c_[best, np.arange(len(rows))])
    bars = segments(ax)
    wanted = np.c_[rows["f1_low"], np.arange(len(rows)), rows["f1_high"], np.arange(len(rows))]
    assert all(np.isclose(bars.reshape(-1, 4), one).all(1).any() for one in wanted)
    few = si.pl.concepts_vs_baselines(run["hits"], top=3)
    assert [t.get_text() for t in few.get_yticklabels()] == rows["concept"].head(3).tolist()
    assert few.get_xlabel().endswith(f"(3 of {len(rows)} concepts)")


@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.5, 0.93, 1.1])
def test_counted_concepts_are_those_that_pass(run, threshold):
    ax = si.pl.concept_counts(run["hits"], threshold=threshold)
    chosen = run["hits"][run["hits"]["selected"]]
    table = run["hits"].context["baselines"]
    want = {"SAE features": sum(v >= threshold for v in chosen["f1"])}
    want |= {name: sum(v >= threshold for v in table[name]) for name in table.columns}
    names = [t.get_text().removesuffix(" (ceiling)") for t in ax.get_yticklabels()]
    assert dict(zip(names, (p.get_width() for p in ax.patches))) == want
    assert [t.get_text() for t in ax.texts] == [str(want[name]) for name in names]
    kinds = [baseline_kind(name)[0] == "ceiling" for name in names[1:]]
    assert kinds == sorted(kinds)  # ceilings below the others


def test_the_heatmap_holds_each_pair_and_leaves_the_others_blank(run):
    hits, rows = run["hits"], selected(run["hits"])
    ax = si.pl.heatmap(hits, top=6)
    concepts = [t.get_text() for t in ax.get_yticklabels()]
    features = [int(t.get_text()) for t in ax.get_xticklabels()]
    assert concepts == rows["concept"].head(6).tolist()
    assert features == list(dict.fromkeys(rows["feature"].head(6)))
    grid = ax.collections[0].get_array()
    pairs = {(c, j): f1 for c, j, f1 in hits.drop_duplicates(["concept", "feature"])[["concept", "feature", "f1"]].to_numpy()}  # fmt: skip
    for i, concept in enumerate(concepts):
        for k, j in enumerate(features):
            want = pairs.get((concept, j))
            assert np.ma.is_masked(grid[i, k]) if want is None else np.isclose(grid[i, k], want)
    assert np.ma.getmaskarray(grid).any() and not np.ma.getmaskarray(grid).all()
    rings = np.asarray(ax.collections[2].get_offsets())
    assert rings.tolist() == [
        [features.index(j) + 0.5, i + 0.5] for i, j in enumerate(rows["feature"].head(6))
    ]
    other = si.pl.heatmap(hits, value="precision", top=6)
    assert np.ma.allclose(other.collections[0].get_array(), grid)  # the made-up precision is the F1


def test_the_volcano_is_log_q_over_the_effect_and_names_only_what_counts(run):
    hits = of_hits(run["hits"], run["hits"].context)
    hits["q"] = np.where(np.arange(len(hits)) % 2, 0.5, 10.0 ** -(1 + np.arange(len(hits)) / 9))
    ax = si.pl.volcano(hits, named=100)
    drawn = np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections])
    want = np.c_[hits["delta_f1"], -np.log10(hits["q"])]
    assert sorted(map(tuple, drawn.round(9))) == sorted(map(tuple, want.round(9)))
    counted = set(hits.loc[hits["selected"] & (hits["q"] <= 0.05), "concept"])
    assert len(ax.texts) > 0 and {t.get_text() for t in ax.texts} <= counted
    assert not si.pl.volcano(hits, named=0).texts
    scaled = si.pl.volcano(hits.assign(delta_f1=hits["delta_f1"] * 2))
    double = np.concatenate([np.asarray(c.get_offsets()) for c in scaled.collections])
    np.testing.assert_allclose(double, drawn * [2, 1])


@pytest.mark.parametrize("concepts", [1, 3])
def test_sets_are_means_of_what_is_there_whatever_the_names(run, concepts):
    table = run["hits"].context["sets"]
    names = list(dict.fromkeys(table["concept"]))[:concepts]
    table = table[table["concept"].isin(names)]
    ax = si.pl.sets(table)
    means = table[table["rule"] == "weighted"].groupby(["reader", "k"])["f1"].mean()
    lines = named_lines(ax)
    np.testing.assert_allclose(lines["features"][:, 1], means["features"])
    np.testing.assert_allclose(lines["principal components"][:, 1], means["components"])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "4"]
    assert ax.texts[0].get_text() == f"mean over {concepts} concept{'s' * (concepts > 1)}"
    new = table.assign(concept=table["concept"].map(lambda c: f"renamed {c}"))
    assert to_bytes(si.pl.sets(new)) == to_bytes(ax)
    alone = table[table["concept"] == names[0]]
    by_name = named_lines(si.pl.sets(table, concept=names[0]))
    np.testing.assert_allclose(by_name["features"], named_lines(si.pl.sets(alone))["features"])


# Sweeps and calibration -----------------------------------------------------------------------------------------------


def test_seeds_of_a_site_are_drawn_as_their_mean_and_range():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"site": list("abcabcabc"), "sae": rng.integers(0, 20, 9), "neurons": rng.integers(0, 20, 9), "concepts": 25})  # fmt: skip
    ax = si.pl.layer_sweep(table)
    bars = segments(ax).reshape(2, 3, 2, 2)
    for i, (column, name) in enumerate((("sae", "SAE features"), ("neurons", "raw neurons"))):
        seeds = [table.loc[table["site"] == s, column].tolist() for s in "abc"]
        np.testing.assert_allclose(named_lines(ax)[name][:, 1], [sum(v) / len(v) for v in seeds])
        np.testing.assert_allclose(bars[i, :, :, 1], [[min(v), max(v)] for v in seeds])
    assert ax.get_ylabel() == "concepts found of 25"
    by_index = table.set_index("site")
    assert to_bytes(si.pl.layer_sweep(by_index)) == to_bytes(ax)
    assert si.pl.layer_sweep(table.drop(columns="concepts")).get_ylabel() == "concepts found"


@pytest.mark.parametrize("bins", [1, 4, 10])
def test_reliability_is_the_calibration_curve_with_wilson_intervals(bins):
    rng = np.random.default_rng(2)
    p = np.r_[rng.random(300), 0.0, 1.0]
    truth = rng.random(302) < p**2
    ax = si.pl.reliability(p, truth, bins=bins)
    observed, stated = calibration_curve(truth, p, n_bins=bins)
    np.testing.assert_allclose(np.asarray(ax.collections[1].get_offsets()), np.c_[stated, observed])
    which = np.minimum((p * bins).astype(int), bins - 1)
    for k, (low, high) in enumerate(segments(ax)[:, :, 1]):
        n = int((which == k).sum())
        wilson = binomtest(int(truth[which == k].sum()), n).proportion_ci(0.95, "wilson")
        np.testing.assert_allclose((low, high), (wilson.low, wilson.high), atol=2e-4)
    table = pd.DataFrame({"probability": p, "truth": truth})
    assert to_bytes(si.pl.reliability(table, bins=bins)) == to_bytes(ax)
    size = np.bincount(which, minlength=bins)
    binned = pd.DataFrame({"probability": stated, "observed": observed, "n": size})
    again = si.pl.reliability(binned)
    np.testing.assert_allclose(segments(again), segments(ax))
    assert ax.texts[0].get_text() == again.texts[0].get_text() == "302 candidates, 95% intervals"


def test_precision_is_drawn_by_kind_in_the_order_of_k():
    table = pd.DataFrame({"kind": list("mmnm"), "k": [20, 5, 5, 10], "precision": [0.2, 0.9, 0.4, 0.5], "base": [0.1, 0.1, np.nan, 0.4]})  # fmt: skip
    ax = si.pl.precision_at_k(table)
    assert named_lines(ax)["m"].tolist() == [[5, 0.9], [10, 0.5], [20, 0.2]]
    assert named_lines(ax)["n"].tolist() == [[5, 0.4]]
    assert ax.lines[-1].get_ydata()[0] == pytest.approx(0.2) and ax.texts[0].get_text() == "at random"


def test_the_largest_changes_of_a_variant_are_drawn_from_before_to_after():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"feature": np.arange(30), "before": rng.random(30), "after": rng.random(30)})
    table.loc[[4, 7], "after"] = np.nan
    ax = si.pl.variant_effect(table, top=6)
    delta = table["after"] - table["before"]
    largest = sorted(delta.dropna().index, key=lambda i: -abs(delta[i]))[:6]
    assert [t.get_text() for t in ax.get_yticklabels()] == [f"feature {i}" for i in largest]
    bars = [s for s in segments(ax).tolist() if abs(s[0][0]) < 1e6]
    want = [[[table["before"][j], i], [table["after"][j], i]] for i, j in enumerate(largest)]
    np.testing.assert_allclose(sorted(bars), sorted(want))
    given = si.pl.variant_effect(table.assign(delta=delta), top=6)
    assert to_bytes(given) == to_bytes(ax)
    only = si.pl.variant_effect(pd.DataFrame({"feature": [1, 2, 3], "delta": [0.0, np.nan, 0.5]}), top=2)
    assert [t.get_text() for t in only.get_yticklabels()] == ["feature 3", "feature 1"]


@pytest.mark.parametrize(
    ("column", "given", "names"),
    [
        ("concepts", [["a", "b"], [], None], ["a, b 5", "feature 6", "feature 7"]),
        ("concept", ["a", "", np.nan], ["a 5", "feature 6", "feature 7"]),
        ("other", ["a", "b", "c"], ["feature 5", "feature 6", "feature 7"]),
    ],
)
def test_features_of_a_variant_are_named_by_what_they_stand_for(column, given, names):
    table = pd.DataFrame({"feature": [5, 6, 7], "delta": [3.0, -2.0, 1.0], column: given})
    ax = si.pl.variant_effect(Table(table, context={"variant": "A12C"}))
    assert [t.get_text() for t in ax.get_yticklabels()] == names
    assert ax.get_title(loc="left") == "A12C"


# Training -------------------------------------------------------------------------------------------------------------


def test_the_front_is_what_nothing_beats():
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"architecture": "a", "n_features": 8, "k": np.arange(40), "l0": rng.integers(1, 9, 40), "fve": 0})  # fmt: skip
    table["fve"] = (table["l0"] / 20 + rng.random(40) / 2).round(1)
    beaten = [
        any((b.l0 <= a.l0 and b.fve >= a.fve) and (b.l0 < a.l0 or b.fve > a.fve) for b in table.itertuples())
        for a in table.itertuples()
    ]
    kept = sorted(map(tuple, table.loc[~np.array(beaten), ["l0", "fve"]].astype(float).to_numpy()))
    assert sorted(map(tuple, _front(table).to_numpy().astype(float))) == kept
    ring = [c for c in si.pl.front(table).collections if c.get_label() == "on the front"]
    assert sorted(map(tuple, np.asarray(ring[0].get_offsets()))) == kept
    seeds = pd.concat([table.assign(fve=table["fve"] + d) for d in (-0.2, 0.2)])
    np.testing.assert_allclose(
        _front(seeds).sort_values(["l0", "fve"]), _front(table).sort_values(["l0", "fve"])
    )


@pytest.mark.parametrize(("figure", "value"), [("scaling", "fve"), ("scaling", "dead"), ("mdl", "mdl")])
def test_widths_are_drawn_as_means_over_seeds(figure, value):
    table = sweep_table(3)
    table["dead"] = np.random.default_rng(0).random(len(table))
    ax = si.pl.mdl(table) if figure == "mdl" else si.pl.scaling(table, value=value)
    for (architecture, k), part in table.groupby(["architecture", "k"]):
        line = named_lines(ax)[f"{architecture}, k = {k}"]
        want = [[n, np.mean(rows[value].tolist())] for n, rows in part.groupby("n_features")]
        np.testing.assert_allclose(line, want)
    if figure == "mdl":
        mean = table.groupby(["architecture", "k", "n_features"])["mdl"].mean()
        assert named_lines(ax)["smallest"].tolist() == [[mean.idxmin()[2], pytest.approx(mean.min())]]


def test_densities_are_counted_once_and_the_silent_ones_are_told(run):
    features = run["features"]
    density = features.density
    np.testing.assert_allclose(
        density, is_active(features.codes.toarray(), features.largest).mean(0), rtol=1e-6
    )
    ax = si.pl.density_histogram(features)
    assert sum(p.get_height() for p in ax.patches) == (density > 0).sum() == 61
    for same in (density, density.tolist(), {"density": density}, density[::-1]):
        assert to_bytes(si.pl.density_histogram(same)) == to_bytes(ax)
    said = " ".join(t.get_text() for t in ax.texts)
    assert f"{(density > 0).sum()} features active, 3 never active here" in said
    assert f"median {np.median(density[density > 0]):.2g}" in said
    assert sum(p.get_height() for p in si.pl.density_histogram([1.0, 1.0, 1e-9]).patches) == 3


def test_every_part_of_the_variance_has_its_width():
    parts = {"explained": 0.5, "linear": -0.1, "nonlinear": 0.4}
    ax = si.pl.dark_matter(parts)
    assert [p.get_width() for p in ax.patches] == pytest.approx([0.5, 0, 0.3])
    rows = [{"name": n, "explained": e, "linear": 0.1, "nonlinear": 0.2} for n, e in (("a", 0.7), ("b", 0.3))]
    ax = si.pl.dark_matter(rows)
    ends = [p.get_x() + p.get_width() for p in ax.patches]
    assert ends == pytest.approx([0.7, 0.3, 0.8, 0.4, 1.0, 0.6])
    assert [t.get_text() for t in ax.texts] == ["0.70", "0.30", "0.10", "0.10", "0.20", "0.20"]


def test_cosines_of_one_are_in_the_histogram_whatever_single_precision_made_of_them():
    cosines = np.array([1.0000001, 1.0, 0.7, 0.69, -0.2], np.float32)
    ax = si.pl.stability(cosines, threshold=0.69)
    assert sum(p.get_height() for p in ax.patches) == 5
    assert ax.texts[0].get_text() == "60% above 0.69"
    beside = si.pl.stability(cosines, null=np.zeros(1000))
    step = beside.patches[-1].get_xy()[:, 1]
    assert step.max() == pytest.approx(5)  # as many random directions as features


def test_the_curve_ends_at_the_last_number_and_beside_the_held_out_one(run):
    log = [{"step": s, "fve": v} for s, v in ((0, 0.2), (10, 0.6), (20, None))]
    ax = si.pl.training_curve(log)
    assert named_lines(ax)["_child1"].tolist() == [[10, 0.6]]
    assert [t.get_text() for t in ax.texts] == ["training batches 0.600"]
    sae = made.FakeSAE()
    said = [t.get_text() for t in si.pl.training_curve(sae).texts]
    assert said[1].endswith(" 0.871") and said[0] == f"training batches {sae.log[-1]['fve']:.3f}"
    assert si.pl.training_curve(sae, value="loss").get_ylabel() == "loss"


# Benchmarks, control, readouts ----------------------------------------------------------------------------------------


def test_dictionaries_stand_in_their_world_at_the_mean_of_their_seeds():
    rows = worlds()
    ax = si.pl.recovery(rows)
    names = [t.get_text() for t in ax.get_yticklabels()]
    for kind in {r["dictionary"] for r in rows}:
        for (x, y), name in zip(named_lines(ax)[kind], names):
            seeds = [r["recall"] for r in rows if (r["world"], r["dictionary"]) == (name, kind)]
            assert x == pytest.approx(np.mean(seeds)) and round(y) == names.index(name)
    assert to_bytes(si.pl.recovery({"recovery": rows})) == to_bytes(ax)
    frozen = next(line for line in ax.lines if line.get_label() == "topk, frozen decoder")
    assert frozen.get_markerfacecolor() == "none"


def test_directions_that_did_not_reach_the_divergence_are_hollow_and_strange_ones_are_grey():
    table = pd.DataFrame(
        {
            "concept": ["a", "a", "b", "b"],
            "kind": ["feature", "mine", "feature", "mine"],
            "gain": [2.0, 1.0, 0.5, -1.0],
            "low": [1.0, np.nan, 0.0, np.nan],
            "high": [3.0, np.nan, 1.0, np.nan],
            "reached": [True, False, True, True],
        }
    )
    ax = si.pl.control_matrix(table)
    marks = {
        (float(x), float(y)): line
        for line in ax.lines
        if line.get_linestyle() == "None"
        for x, y in line.get_xydata()
    }
    assert {at: line.get_fillstyle() for at, line in marks.items()} == {
        (2.0, 0.0): "full",
        (1.0, 0.0): "none",
        (0.5, -1.0): "full",
        (-1.0, -1.0): "full",
    }
    assert marks[-1.0, -1.0].get_label() == "mine" and to_hex(marks[1.0, 0.0].get_color()) == "#8a9099"
    assert segments(ax).tolist() == [[[1, 0], [3, 0]], [[0, -1], [1, -1]]]
    doses = pd.DataFrame({"concept": "a", "kind": ["mine", "mine", "feature"], "direction": "d", "divergence": [0.2, 0.1, 0.3], "gain": [2, 1, 3]})  # fmt: skip
    lines = named_lines(si.pl.dose(doses))
    assert lines["mine"].tolist() == [[0.1, 1], [0.2, 2]] and lines["feature"].tolist() == [[0.3, 3]]


def test_scores_of_a_readout_stand_over_their_sizes_and_strange_readers_are_shown():
    table = pd.DataFrame(labelled(chance=0.25))
    table.loc[table["representation"] == "kmers", "representation"] = "mine"
    ax = si.pl.readout(Table(table, context={"chance": 0.25, "measure": "R2"}))
    lines = named_lines(ax)
    assert len([name for name in lines if not name.startswith("_")]) == table["representation"].nunique()
    for name, words in (("features", "features"), ("activations", "mean activations"), ("mine", "mine")):
        want = table[table["representation"] == name].sort_values("n")["score"]
        np.testing.assert_allclose(lines[words][:, 1], want)
        assert lines[words][:, 0].round().tolist() == [0, 1, 2]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["24", "96", "900"]
    assert ax.get_ylabel() == "held-out R2" and ax.lines[-1].get_ydata()[0] == 0.25


def test_a_rule_says_its_terms_points_and_scores_with_and_without_the_model():
    ax = si.pl.distil(rule())
    assert [p.get_width() for p in ax.patches] == [3, -1]
    assert [to_hex(p.get_facecolor()) for p in ax.patches] == ["#0072b2", "#e69f00"]
    assert (
        " ".join(ax.texts[0].get_text().split())
        == "largest above 1.2, residue:Trp41, without the model: motif WGxG"
    )
    said = " ".join(ax.get_title(loc="left").split())
    assert said == "AUROC, families left out: rule 0.80, all features 0.90, without the model 0.70"
    tree = si.pl.distil(rule(form="tree", plain=None, full=[np.nan, 0.1, 0.2]))
    assert [p.get_width() for p in tree.patches] == [1, 1] and tree.get_xlabel() == "asked by the tree"
    assert " ".join(tree.get_title(loc="left").split()).endswith("left out: rule 0.80")


# Scans ----------------------------------------------------------------------------------------------------------------


def test_a_scan_is_its_scores_by_letter_and_position():
    table = scan()
    ax = si.pl.assay_scan(table, features=[3])
    grid, rows = np.asarray(ax.images[0].get_array()), [t.get_text() for t in ax.get_yticklabels()]
    assert rows[-1] == "feature 3" and grid.shape == (20, 20)
    for _, one in table.obs.iterrows():
        assert grid[rows.index(one["alt"]), one["position"]] == one["score"]
    assert np.isnan(grid).sum() == 400 - len(table.obs)
    change = np.abs(table.X[:, [3]].toarray().ravel())
    mean = np.array([change[(table.obs["position"] == p).to_numpy()].mean() for p in range(20)])
    np.testing.assert_allclose([-p.get_height() for p in ax.patches], 1.4 * mean / mean.max())
    dense = table.copy()
    dense.X = table.X.toarray()
    typed = table.copy()
    typed.obs = table.obs.astype({"alt": "category", "ref": "category"})  # as a file gives it back
    for same in (dense, typed, table[np.random.default_rng(0).permutation(table.n_obs)].copy()):
        assert to_bytes(si.pl.assay_scan(same, features=[3])) == to_bytes(ax)
    double = pd.DataFrame({"position": [0, 1], "ref": ["AC", "C"], "alt": ["DE", "D"], "score": [9.0, 1.0]})
    assert np.asarray(si.pl.assay_scan(double).images[0].get_array()).tolist() == [[1.0]]


def test_a_change_is_told_with_its_rank_correlation():
    table = scan(60)
    ax = si.pl.assay_change(table, 3)
    x = table.X[:, [3]].toarray().ravel()
    np.testing.assert_allclose(np.asarray(ax.collections[0].get_offsets()), np.c_[x, table.obs["score"]])
    ranks = pd.Series(x).corr(pd.Series(table.obs["score"].to_numpy()), method="spearman")
    assert ax.texts[0].get_text() == f"rank correlation {ranks:.2f}, 60 variants"
    bent = table.copy()
    bent.obs["score"] = np.exp(table.obs["score"])
    assert si.pl.assay_change(bent, 3).texts[0].get_text() == ax.texts[0].get_text()
    assert not si.pl.assay_change(scan(60, 1.0), 3).texts  # a constant has no rank
