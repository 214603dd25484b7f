# ruff: noqa: F811
"""Every figure draws on data, on nothing, on one row and on NaN; text is literal; bytes repeat."""

from __future__ import annotations

import sys
from pathlib import Path

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
from sciinterp.plots.letters import information
from sciinterp.plots.style import plain, to_bytes
from sciinterp.tables import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "report"))
import synthetic_run as made
from report_fixtures import run  # noqa: F401

RUNS = [
    {"architecture": a, "n_features": n, "l0": k, "fve": 0.7 + 0.02 * i, "mdl": 300 - 10 * i}
    for a in ("TopK", "ReLU")
    for i, (n, k) in enumerate([(512, 8), (1024, 16), (4096, 32)])
]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def figures(run: dict) -> dict:
    """name -> a function of ``ax`` that draws it on the synthetic run."""
    hits, features, pl = run["hits"], run["features"], si.pl
    sites = pd.DataFrame(
        {"site": ["layers.1", "layers.4"], "features": [9, 13], "neurons": [6, 9], "randomised": [2, 2]}
    )
    p = np.linspace(0, 1, 50)
    return {
        "concepts_vs_baselines": lambda ax: pl.concepts_vs_baselines(hits, ax=ax),
        "concept_counts": lambda ax: pl.concept_counts(hits, ax=ax),
        "heatmap": lambda ax: pl.heatmap(hits, ax=ax),
        "feature": lambda ax: pl.feature(features, 8, annotations=run["annotations"], ax=ax),
        "family_heatmap": lambda ax: pl.family_heatmap(features, 5, ax=ax),
        "logo": lambda ax: pl.logo(features, 1, ax=ax),
        "training_curve": lambda ax: pl.training_curve(run["sae"], ax=ax),
        "density_histogram": lambda ax: pl.density_histogram(features, ax=ax),
        "front": lambda ax: pl.front(RUNS, ax=ax),
        "scaling": lambda ax: pl.scaling(RUNS, ax=ax),
        "mdl": lambda ax: pl.mdl(RUNS, ax=ax),
        "dark_matter": lambda ax: pl.dark_matter(
            {"explained": 0.85, "linear": 0.1, "nonlinear": 0.05}, ax=ax
        ),
        "stability": lambda ax: pl.stability(np.linspace(0, 1, 99), null=np.linspace(0, 0.3, 20), ax=ax),
        "layer_sweep": lambda ax: pl.layer_sweep(sites, ax=ax),
        "precision_at_k": lambda ax: pl.precision_at_k(
            [{"k": 5, "precision": 0.8, "low": 0.5, "high": 1, "base": 0.1}], ax=ax
        ),
        "reliability": lambda ax: pl.reliability(p, p > 0.4, ax=ax),
        "variant_effect": lambda ax: pl.variant_effect(
            pd.DataFrame({"feature": [1, 2], "delta": [0.5, -1.0]}), ax=ax
        ),
    }


def test_every_public_figure_is_tested(run):
    assert set(figures(run)) == set(si.pl.__all__) - {"save", "style"}


@pytest.mark.parametrize("name", sorted(set(si.pl.__all__) - {"save", "style"}))
def test_draws_alone_and_on_given_axes(run, name):
    ax = figures(run)[name](None)
    svg = to_bytes(ax)
    assert svg.count(b"<path") > 5
    assert b"<text" not in svg  # outlines: the fonts are in the file
    assert to_bytes(ax) == svg == to_bytes(figures(run)[name](None))
    width = ax.get_figure().get_size_inches()[0] * 25.4
    assert round(width) in (89, 120, 183)
    _, given_ax = plt.subplots()
    assert figures(run)[name](given_ax) is given_ax
    assert len(plt.get_fignums()) == 3


def test_two_sizes_of_one_image_agree(run):
    """The picture is a function of the data, not of what was drawn before it."""
    first = np.frombuffer(to_bytes(si.pl.heatmap(run["hits"]), "png"), np.uint8)
    to_bytes(si.pl.logo(run["features"], 1), "png")
    assert np.array_equal(first, np.frombuffer(to_bytes(si.pl.heatmap(run["hits"]), "png"), np.uint8))


def test_pdf_embeds_type_42(run):
    pdf = to_bytes(si.pl.training_curve(run["sae"]), "pdf")
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf
    assert b"CreationDate" not in pdf


def empty_calls() -> dict:
    none = made.make_samples(3)
    silent = si.FeatureMatrix(sp.csr_array((none.n_positions, 4), dtype=np.float32), none)
    nothing = si.FeatureMatrix(sp.csr_array((0, 4), dtype=np.float32), si.Samples([], []))
    hits = Table({"concept": [], "feature": [], "selected": [], "f1": []})
    nan = Table(
        {
            "concept": ["a"],
            "feature": [0],
            "selected": [True],
            "f1": [np.nan],
            "f1_low": [np.nan],
            "f1_high": [np.nan],
            "delta_low": [np.nan],
            "best_baseline_f1": [np.nan],
        }
    )
    pl = si.pl
    return {
        "hits none": lambda: pl.concepts_vs_baselines(hits),
        "hits nan": lambda: pl.concepts_vs_baselines(nan),
        "counts none": lambda: pl.concept_counts(hits),
        "counts nan": lambda: pl.concept_counts(nan),
        "heat none": lambda: pl.heatmap(hits),
        "heat nan": lambda: pl.heatmap(nan),
        "silent": lambda: pl.feature(silent, 0),
        "silent logo": lambda: pl.logo(silent, 0),
        "silent density": lambda: pl.density_histogram(silent),
        "silent family": lambda: pl.family_heatmap(silent, 0),
        "nothing": lambda: pl.feature(nothing, 0),
        "nothing logo": lambda: pl.logo(nothing, 0),
        "nothing density": lambda: pl.density_histogram(nothing),
        "nothing family": lambda: pl.family_heatmap(nothing, 0),
        "nan density": lambda: pl.density_histogram([np.nan]),
        "one density": lambda: pl.density_histogram([1.0]),
        "curve none": lambda: pl.training_curve([]),
        "curve file": lambda: pl.training_curve("no/such/file"),
        "curve nan": lambda: pl.training_curve([{"step": 0, "fve": None}]),
        "curve one": lambda: pl.training_curve([{"step": 0, "fve": 0.5}]),
        "front none": lambda: pl.front([]),
        "front nan": lambda: pl.front([{"l0": 3, "fve": None}]),
        "scaling one": lambda: pl.scaling(RUNS[:1]),
        "scaling none": lambda: pl.scaling(None),
        "mdl none": lambda: pl.mdl([]),
        "dark none": lambda: pl.dark_matter({}),
        "dark nan": lambda: pl.dark_matter({"explained": np.nan}),
        "stability none": lambda: pl.stability([]),
        "stability nan": lambda: pl.stability([np.nan], null=[np.nan]),
        "sweep none": lambda: pl.layer_sweep(pd.DataFrame()),
        "sweep nan": lambda: pl.layer_sweep({"site": ["a"], "features": [np.nan]}),
        "precision none": lambda: pl.precision_at_k(None),
        "precision nan": lambda: pl.precision_at_k([{"k": 1, "precision": np.nan}]),
        "reliability none": lambda: pl.reliability([]),
        "reliability nan": lambda: pl.reliability([np.nan], [1]),
        "reliability one": lambda: pl.reliability([0.5], [1]),
        "variant none": lambda: pl.variant_effect(None),
        "variant nan": lambda: pl.variant_effect(pd.DataFrame({"delta": [np.nan]})),
    }


@pytest.mark.parametrize("name", sorted(empty_calls()))
def test_empty_single_and_nan_input_draws_honest_axes(name):
    assert to_bytes(empty_calls()[name]()).startswith(b"<?xml")


def test_unknown_feature_and_sample_are_named(run):
    with pytest.raises(InputError, match="no such feature"):
        si.pl.feature(run["features"], 10**6)
    with pytest.raises(InputError, match="no such sample"):
        si.pl.feature(run["features"], 0, samples=["nobody"])
    with pytest.raises(InputError, match="alignment columns"):
        si.pl.family_heatmap(run["features"], 0, columns=[1, 2])


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
    ):
        svg = to_bytes(ax)
        assert b"<script" not in svg
        assert b"<img" not in svg
        drawn += [t.get_text() for t in ax.get_yticklabels()]
    assert any(plain(text, 20)[:10] in line for line in drawn)


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


def test_save_writes_by_ending(run, tmp_path):
    ax = si.pl.training_curve(run["sae"])
    for ending, head in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        path = si.pl.save(ax, tmp_path / f"curve.{ending}")
        assert path.read_bytes().startswith(head)
    with pytest.raises(InputError, match="svg, pdf or png"):
        si.pl.save(ax, tmp_path / "curve.bmp")
