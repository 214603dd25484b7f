# ruff: noqa: F811
"""Every figure draws on data, on nothing, on one row and on NaN; text is literal; bytes repeat."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.frames import Table
from sciinterp.plots.logos import information
from sciinterp.plots.style import figure_of, plain, to_bytes

sys.path.insert(0, str(Path(__file__).resolve().parent))
from figure_cases import KINDS, cases, labelled, made, reason, rule, scan, sites, sweep_table, turned, worlds
from report_fixtures import run  # noqa: F401


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


NAMES = sorted(set(si.pl.__all__) - {"save", "style"})


@pytest.fixture(scope="module")
def figures(run):
    return cases(run)


def test_every_public_figure_is_tested_on_every_kind_of_input(figures):
    assert sorted(figures) == NAMES
    assert all(set(kinds) == set(KINDS) for kinds in figures.values())


@pytest.mark.parametrize("name", NAMES)
def test_draws_alone_and_on_given_axes(figures, name):
    ax = figures[name]["full"]()
    assert reason(ax) is None
    svg = to_bytes(ax)
    assert svg.count(b"<path") > 5
    assert b"<text" not in svg  # outlines: the fonts are in the file
    assert to_bytes(ax) == svg == to_bytes(figures[name]["full"]())
    width = ax.get_figure().get_size_inches()[0] * 25.4
    assert round(width) in (89, 120, 183)
    _, given_ax = plt.subplots()
    assert figures[name]["full"](given_ax) is given_ax
    assert len(plt.get_fignums()) == 3


@pytest.mark.parametrize("name", NAMES)
def test_one_row_is_drawn(figures, name):
    ax = figures[name]["one"]()
    assert reason(ax) is None
    assert ax.has_data()
    to_bytes(ax)


@pytest.mark.parametrize("kind", ["empty", "nan"])
@pytest.mark.parametrize("name", NAMES)
def test_empty_and_nan_input_says_why_nothing_is_drawn(figures, name, kind):
    ax = figures[name][kind]()
    assert reason(ax), (name, [t.get_text() for t in ax.texts])
    assert to_bytes(ax).startswith(b"<?xml")


@pytest.mark.parametrize(
    "name", sorted(set(NAMES) - {"feature", "family_heatmap", "logo", "ramachandran", "trace", "contact_map"})
)  # codes hold no NaN
def test_some_nan_among_the_rows_is_left_out(run, name):
    """A hole in every column of numbers, and no warning turned into a crash."""
    holes = {"hits": run["hits"].copy(), "runs": sweep_table(), "sites": sites()}
    for table in holes.values():
        for i, column in enumerate(table.select_dtypes("number").columns):
            if column != "feature":
                table[column] = table[column].astype(float)
                table.loc[table.index[i % len(table)], column] = np.nan
    holes["hits"] = Table(holes["hits"], context=run["hits"].context)
    takes = {
        "concepts_vs_baselines": "hits",
        "concept_counts": "hits",
        "heatmap": "hits",
        "volcano": "hits",
        "front": "runs",
        "scaling": "runs",
        "mdl": "runs",
        "layer_sweep": "sites",
    }
    if name in takes:
        ax = getattr(si.pl, name)(holes[takes[name]])
    else:
        holed = scan()
        holed.obs["score"] = holed.obs["score"].mask(np.arange(len(holed.obs)) % 3 == 0)
        more = {
            "training_curve": (
                [{"step": 1, "fve": 0.2}, {"step": np.nan, "fve": 0.5}, {"step": 3, "fve": np.nan}],
            ),
            "density_histogram": ([0.1, np.nan, 0.01],),
            "dark_matter": ({"explained": 0.5, "linear": np.nan, "nonlinear": 0.1},),
            "stability": ([0.5, np.nan],),
            "recovery": ([*worlds(), {"world": "easy", "dictionary": "gated", "recall": np.nan}],),
            "sets": (run["hits"].context["sets"].assign(f1=lambda t: t["f1"].mask(t.index % 3 == 0)),),
            "control_matrix": (
                pd.DataFrame(turned()).assign(gain=lambda t: t["gain"].mask(t.index % 3 == 1)),
            ),
            "dose": (turned().context["doses"].assign(gain=lambda t: t["gain"].mask(t.index % 3 == 1)),),
            "readout": (pd.DataFrame(labelled()).assign(score=lambda t: t["score"].mask(t.index % 3 == 1)),),
            "distil": (rule(terms=[rule()["terms"][0], {**rule()["terms"][1], "cut": np.nan}]),),
            "precision_at_k": (
                [{"k": 5, "precision": 0.5, "low": np.nan, "high": 1}, {"k": 9, "precision": np.nan}],
            ),
            "reliability": ([0.5, np.nan, 0.2], [1, 1, np.nan]),
            "assay_scan": (holed,),
            "assay_change": (holed, 3),
            "variant_effect": (
                pd.DataFrame({"feature": [1, 2], "before": [0.0, np.nan], "after": [1.0, 2.0]}),
            ),
        }
        ax = getattr(si.pl, name)(*more[name])
    assert reason(ax) is None
    to_bytes(ax)


def test_two_sizes_of_one_image_agree(run):
    """The picture is a function of the data, not of what was drawn before it."""
    first = np.frombuffer(to_bytes(si.pl.heatmap(run["hits"]), "png"), np.uint8)
    to_bytes(si.pl.logo(run["features"], 1), "png")
    assert np.array_equal(first, np.frombuffer(to_bytes(si.pl.heatmap(run["hits"]), "png"), np.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_pdf_embeds_every_font_as_type_42(figures, name):
    pdf = to_bytes(figures[name]["full"](), "pdf")
    fonts = re.findall(rb"/Type /Font\b.*?endobj", pdf, re.S) or re.findall(
        rb"<<[^<>]*/Subtype /\w+Font\w*", pdf
    )
    assert b"/FontFile2" in pdf  # TrueType outlines are in the file
    assert pdf.count(b"/FontFile2") == pdf.count(b"/Type /FontDescriptor")
    assert b"/Type3" not in pdf
    assert fonts
    assert b"CreationDate" not in pdf


def test_text_is_of_the_size_journals_ask_for(figures):
    for name in NAMES:
        ax = figures[name]["full"]()
        texts = [
            t for t in ax.get_figure().findobj(mpl.text.Text) if t.get_text().strip() and t.get_visible()
        ]
        sizes = {round(t.get_fontsize(), 1) for t in texts}
        assert min(sizes) >= 5 and max(sizes) <= 8, (name, sizes)
        plt.close("all")


def test_images_have_a_ground_and_vectors_none(run):
    ax = si.pl.training_curve(run["sae"])
    pixels = plt.imread(io.BytesIO(to_bytes(ax, "png")))
    assert (pixels[0, 0] == 1).all()
    assert b"fill: #ffffff" not in to_bytes(ax, "svg").split(b"axes_1")[0]


def test_counts_are_of_the_concepts_given(run):
    ax = si.pl.concept_counts(Table(run["hits"].head(5), context=run["hits"].context))
    assert max(p.get_width() for p in ax.patches) <= 1
    assert ax.get_xlabel().startswith("concepts of 1 ")


def test_volcano_draws_what_has_a_test_and_counts_the_rest(run):
    hits = Table(run["hits"].copy(), context=run["hits"].context)
    hits["lift"] = 2.0 ** np.arange(len(hits))
    hits.loc[hits.index[:2], "q"], hits.loc[hits.index[2], "q"] = np.nan, 0.0
    hits.loc[hits.index[3], "lift"] = 0.0
    for effect, without in (("delta_f1", 2), ("lift", 3)):
        ax = si.pl.volcano(hits, effect=effect)
        points = np.concatenate([c.get_offsets() for c in ax.collections])
        assert len(points) == len(hits) - without
        assert ax.get_xlabel().endswith(f"({len(points)} of {len(hits)} pairs)")
        assert np.isfinite(points).all()
    assert sorted(points[:, 0].round()) == [2, *range(4, len(hits))]
    selected = hits[hits["selected"] & hits["q"].notna()]
    filled = {c.get_label(): len(c.get_offsets()) for c in si.pl.volcano(hits).collections}
    assert filled["feature, above every baseline"] == (selected["delta_low"] > 0).sum()


def test_curves_of_sets_are_means_over_concepts_and_one_concept_is_its_own(run):
    table = run["hits"].context["sets"]
    mine = table[(table["reader"] == "features") & (table["rule"] == "weighted")]
    lines = {line.get_label(): line for line in si.pl.sets(run["hits"]).lines}
    assert np.allclose(lines["features"].get_ydata(), mine.groupby("k")["f1"].mean())
    assert {
        "any of the features",
        "principal components",
        "randomised model",
        "a rotated concept",
        "linear probe",
    } <= set(lines)
    name = mine["concept"].iloc[-1]
    one = {line.get_label(): line for line in si.pl.sets(run["hits"], concept=name).lines}
    assert np.allclose(one["features"].get_ydata(), mine.loc[mine["concept"] == name, "f1"])


def test_unknown_feature_and_sample_are_named(run):
    for none in (10**6, -1, 1.5, float("nan"), "1", True, None):
        for draw in (si.pl.feature, si.pl.family_heatmap, si.pl.logo):
            with pytest.raises(InputError, match="no such feature"):
                draw(run["features"], none)
    assert run["features"].number(np.float64(1)) == 1  # as a table may hold it
    with pytest.raises(InputError, match="no such sample"):
        si.pl.feature(run["features"], 0, samples=["nobody"])
    with pytest.raises(InputError, match="alignment columns"):
        si.pl.family_heatmap(run["features"], 0, columns=[1, 2])
    with pytest.raises(InputError, match="aligned row does not fit"):
        si.pl.family_heatmap(run["features"], 0, columns={run["samples"].ids[0]: "AC-D"})


def test_aligned_rows_and_imgt_positions_place_residues_in_their_columns():
    table = pd.DataFrame({"imgt": ["1-3 111 111.1 112.1 112", "2-3 111 112.2 112.1 112"]})
    samples = si.Samples(["a", "b"], ["ACDEFGH", "CDEFGH"], table=table)
    codes = np.zeros((13, 1), np.float32)
    codes[[5, 7 + 4], 0] = 2.0  # 112.1 in both
    features = si.FeatureMatrix(sp.csr_array(codes), samples)
    ax = si.pl.family_heatmap(features, 0)
    assert ax.get_xlabel() == "IMGT position"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "3", "111", "112"]
    grid = ax.collections[0].get_array()
    assert grid.shape == (2, 8)  # 1 2 3 111 111.1 112.2 112.1 112
    assert (grid[:, 6] == 2).all()
    assert np.ma.getmaskarray(grid).tolist() == [[0, 0, 0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 1, 0, 0, 0]]
    rows = {"a": "ACDEFGH-", "b": "-CDEFG-H"}
    grid = si.pl.family_heatmap(features, 0, columns=rows).collections[0].get_array()
    assert np.argwhere(grid == 2).tolist() == [[0, 5], [1, 5]]
    broken = si.Samples(["a"], ["ACD"], table=pd.DataFrame({"imgt": ["1-999999999999"]}))
    ax = si.pl.family_heatmap(si.FeatureMatrix(sp.csr_array(np.ones((3, 1), np.float32)), broken), 0)
    assert ax.get_xlabel() == "position"


def test_doses_are_told_in_plain_numbers():
    for level in (0.02, 0.1):
        table = turned()
        table.context["settings"] = SimpleNamespace(divergence=level)
        ax = si.pl.dose(table)
        names = [t.get_text() for t in ax.get_xticklabels()]
        assert names[:3] == ["0", f"{level / 10:g}", f"{level:g}"]
        assert any(line.get_xdata()[0] == level for line in ax.lines)


@pytest.mark.parametrize("text", made.hostile()[::6])
def test_hostile_text_is_drawn_as_text(text):
    samples = made.make_samples(6, names=[text])
    annotations = made.make_annotations(samples, {"imgt:FR1": text, "imgt:CDR3": text + "b"})
    hits = made.make_hits(samples, annotations)
    drawn = []
    for ax in (
        si.pl.concepts_vs_baselines(hits),
        si.pl.heatmap(hits),
        si.pl.feature(made.make_features(samples), 3, annotations=annotations),
        si.pl.sets(hits, concept=hits["concept"].iloc[0]),
        si.pl.control_matrix(turned((text, "b"))),
        si.pl.dose(turned((text, "b")), text),
        si.pl.distil(rule(text)),
    ):
        svg = to_bytes(ax)
        assert b"<script" not in svg
        assert b"<img" not in svg
        drawn += [t.get_text() for t in ax.get_yticklabels()]
    assert any(plain(text, 20)[:10] in line for line in drawn)
    ax = si.pl.volcano(hits, named=30)
    assert b"<script" not in to_bytes(ax)
    assert {t.get_text() for t in ax.texts} <= {plain(c, 24) for c in hits["concept"]}


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_plain_gives_one_printable_line(text):
    line = plain(text, 20)
    assert len(line) <= 20
    assert "\n" not in line
    assert "\x00" not in line
    line.encode("utf-8")


@given(st.lists(st.lists(st.integers(0, 400), min_size=4, max_size=4), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_information_is_between_zero_and_two_bits(counts):
    bits = information(np.array(counts)).sum(axis=1)
    assert (bits >= 0).all()
    assert (bits <= 2 + 1e-9).all()


def test_style_leaves_no_trace(run):
    before = dict(mpl.rcParams)
    si.pl.training_curve(run["sae"])
    with si.pl.style():
        assert mpl.rcParams["pdf.fonttype"] == 42
    assert dict(mpl.rcParams) == before


def over_the_edge(ax) -> float:
    """How far, in mm, anything drawn lies outside the page."""
    figure = figure_of(ax)
    figure.canvas.draw()
    left, low, right, high = figure.get_tightbbox(figure.canvas.get_renderer()).extents
    width, height = figure.get_size_inches()
    return 25.4 * max(-left, -low, right - width, high - height)


@pytest.mark.parametrize("name", NAMES)
def test_everything_drawn_lies_inside_the_page_of_89_mm_too(figures, name):
    for kind in KINDS:
        assert over_the_edge(figures[name][kind]()) < 0.3, kind
    for kind in ("full", "empty"):
        with si.pl.style():
            _, ax = plt.subplots(figsize=(89 / 25.4, 60 / 25.4), layout="constrained")
            assert over_the_edge(figures[name][kind](ax)) < 0.3, kind


def test_long_names_stay_inside_the_page():
    long = "a very long name of a concept from an ontology, with a comma and a tail of forty letters"
    samples = made.make_samples(8, names=[f"{long} {i}" for i in range(8)])
    annotations = made.make_annotations(samples, {"imgt:FR1": long, "imgt:CDR3": f"{long} too"})
    hits = made.make_hits(samples, annotations)
    for draw in (
        lambda ax: si.pl.concepts_vs_baselines(hits, ax=ax),
        lambda ax: si.pl.heatmap(hits, ax=ax),
        lambda ax: si.pl.volcano(hits, ax=ax),
        lambda ax: si.pl.feature(made.make_features(samples), 3, annotations=annotations, ax=ax),
        lambda ax: si.pl.family_heatmap(made.make_features(samples), 3, ax=ax),
        lambda ax: si.pl.layer_sweep(sites().assign(site=[f"{long} {i}" for i in range(5)]), ax=ax),
    ):
        assert over_the_edge(draw(None)) < 0.3
        with si.pl.style():
            _, ax = plt.subplots(figsize=(89 / 25.4, 80 / 25.4), layout="constrained")
            assert over_the_edge(draw(ax)) < 0.3


@pytest.mark.parametrize("name", NAMES)
def test_ones_own_style_is_kept(figures, name):
    mine = {"font.family": "DejaVu Serif", "axes.linewidth": 2.5, "text.color": "#123456"}
    with mpl.rc_context(mine):
        with si.pl.style(own=True):
            ax = figures[name]["full"]()
        _, given_ax = plt.subplots()
        figures[name]["full"](given_ax)
        for one in (ax, given_ax):
            assert {t.get_fontfamily()[0] for t in [*one.get_xticklabels(), one.xaxis.label]} == {
                "DejaVu Serif"
            }
            assert one.spines["bottom"].get_linewidth() == 2.5
        before = to_bytes(ax)
    assert figures[name]["full"]().spines["bottom"].get_linewidth() == 0.6
    assert len(before) > 1000


def test_save_writes_by_ending(run, tmp_path):
    ax = si.pl.training_curve(run["sae"])
    for ending, head in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        path = si.pl.save(ax, tmp_path / f"curve.{ending}")
        assert path.read_bytes().startswith(head)
    with pytest.raises(InputError, match="svg, pdf or png"):
        si.pl.save(ax, tmp_path / "curve.bmp")


def test_the_style_leaves_the_backend_as_it_finds_it() -> None:
    """A notebook's backend, loaded by the first figure, makes later figures show; the style must not undo that."""
    before = mpl.is_interactive()
    try:
        for set_inside in (True, False):
            with si.pl.style():
                mpl.interactive(set_inside)
            assert mpl.is_interactive() is set_inside
    finally:
        mpl.interactive(before)
