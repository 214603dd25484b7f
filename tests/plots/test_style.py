"""The helpers all figures share: literal text, numbers out of anything, ticks, notes, pages and files."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import importlib
import re
import unicodedata
from decimal import Decimal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.plots.concepts import white_to_blue

st = importlib.import_module("sciinterp.plots.style")  # si.pl.style is the function


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


NAN = float("nan")
NUMBERS = [
    (None, []),
    ([], []),
    (3, [3.0]),
    ([1, None, "2.5", "x", True], [1, NAN, 2.5, NAN, 1]),
    ([np.inf, -np.inf, NAN, 1e308], [NAN, NAN, NAN, 1e308]),
    (np.array([[1, 2], [3, 4]]), [1, 2, 3, 4]),
    (np.float32([0.5]), [0.5]),
    (pd.Series([1, pd.NA, 3], dtype="Int64"), [1, NAN, 3]),
    (pd.Categorical(["1", "b"]), [1, NAN]),
    ([Decimal("0.25"), np.int8(-3)], [0.25, -3]),
    (pd.Series([], dtype=object), []),
]


@pytest.mark.parametrize(("given", "want"), NUMBERS, ids=lambda v: str(v)[:30])
def test_numbers_are_read_out_of_anything(given, want):
    found = st.finite(given)
    assert found.dtype == np.float64 and found.ndim == 1
    np.testing.assert_array_equal(found, np.array(want, float))


def test_no_character_of_a_label_is_unseen():
    every = [chr(i) for i in range(0x3000)] + [chr(0xD800), chr(0xE000), chr(0x1F9EC), chr(0x10FFFF)]
    for c in every:
        line = st.plain(f"a{c}b")
        assert len(line) in (2, 3) and line[0] == "a" and line[-1] == "b"
        assert all(unicodedata.category(x) not in ("Cc", "Cf", "Cs", "Co", "Cn") for x in line)
    assert st.plain("x" * 48) == "x" * 48 and st.plain("x" * 49) == "x" * 47 + "…"
    assert st.plain(" a \n\t b ") == "a b" and st.plain(None) == "None" and st.plain("") == ""


@pytest.mark.parametrize("value", [10.0**k for k in range(-12, 13)])
def test_a_power_is_read_back(value):
    text = st.power(value).translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    assert 10.0 ** int(text[2:] or 0) == pytest.approx(value)
    assert st.power(0) == st.power(-value) == "0"


@pytest.mark.parametrize(
    ("x", "y", "ha", "va"),
    [
        (0.02, 0.98, "left", "top"),
        (0.98, 0.02, "right", "bottom"),
        (1, 1.01, "right", "bottom"),
        (0, 0, "left", "bottom"),
    ],
)
def test_text_in_a_corner_runs_towards_the_middle(x, y, ha, va):
    ax = plt.subplots()[1]
    text = st.corner(ax, x, y, "$x_1$")
    assert (text.get_ha(), text.get_va(), text.get_text()) == (ha, va, "$x_1$")
    assert text.get_transform() is ax.transAxes and not text.get_parse_math()
    assert st.label(ax, 3, 4, "a").get_transform() is ax.transData


@pytest.mark.parametrize("axis", ["x", "y"])
def test_ticks_are_literal_and_where_they_were_asked_for(axis):
    ax = plt.subplots()[1]
    st.ticks(ax, axis, np.array([0.5, 2]), iter(["$a$", 7]), rotation=45 if axis == "x" else 0)
    target = getattr(ax, f"{axis}axis")
    texts = target.get_ticklabels()
    assert target.get_ticklocs().tolist() == [0.5, 2] and [t.get_text() for t in texts] == ["$a$", "7"]
    assert {t.get_rotation() for t in texts} == {45.0 if axis == "x" else 0.0}
    assert not any(t.get_parse_math() for t in texts)


def test_a_logarithmic_axis_has_plain_labels():
    for axis in ("x", "y"):
        ax = plt.subplots()[1]
        ax.plot([1e-3, 1e2], [1e-3, 1e2])
        st.log_axis(ax, axis)
        ax.figure.canvas.draw()
        found = {t.get_text() for t in getattr(ax, f"get_{axis}ticklabels")()}
        assert {"10⁻³", "1", "10²"} <= found and (ax.get_xscale() == "log") == (axis == "x")


@pytest.mark.parametrize("names", [[], ["a"], ["$x$", "b"], ["long" * 20] * 3])
def test_a_legend_names_what_is_drawn_and_stays_on_the_page(names):
    ax = st._new_axes((89 / 25.4, 60 / 25.4))
    for name in names:
        ax.plot([0, 1], [0, 1], label=name)
    st.legend(ax, columns=3)
    drawn = ax.get_legend()
    assert (drawn is None) == (not names)
    if drawn is not None:
        assert [t.get_text() for t in drawn.get_texts()] == [st.plain(n, 32) for n in names]
        ax.figure.canvas.draw()
        assert drawn.get_window_extent().width <= ax.figure.bbox.width


@pytest.mark.parametrize(
    "words", ["short", "a rather long name of an axis that has to be broken " * 2, "x" * 200]
)
def test_long_names_of_axes_are_broken_and_cut(words):
    with st.style():
        ax = plt.subplots(figsize=(89 / 25.4, 60 / 25.4))[1]
        st.name_axes(ax, x=words, y=words, title=words)
    for text, most in ((ax.get_xlabel(), 90), (ax.get_ylabel(), 90), (ax.get_title(loc="left"), 110)):
        assert text.replace("\n", " ") == st.plain(words, most)
    plain = plt.subplots()[1]
    st.name_axes(plain, x="a")
    assert plain.get_title() == "" and plain.xaxis.label.get_ha() == "center"


@pytest.mark.parametrize(
    ("width", "millimetres"), [("single", 89), ("half", 120), ("double", 183), (50, 50), (12.5, 12.5)]
)
def test_a_page_is_as_wide_as_it_was_asked_to_be(width, millimetres):
    with st.drawing(None, width=width, height=40) as ax:
        assert np.allclose(ax.figure.get_size_inches() * 25.4, (millimetres, 40))
        assert ax.figure.get_layout_engine() is not None
    with (
        pytest.raises(InputError, match=r"no such figure width: expected one of .*'single'.*got 'wide'"),
        st.drawing(None, width="wide"),
    ):
        pass  # fmt: skip


def test_figures_off_screen_are_unknown_to_pyplot_and_look_the_same():
    log = [{"step": 1, "fve": 0.5}, {"step": 2, "fve": 0.6}]
    shown = st.to_bytes(si.pl.training_curve(log))
    plt.close("all")
    with st.offscreen():
        hidden = si.pl.training_curve(log)
        assert not plt.get_fignums()
        with st.offscreen():
            pass
        assert si.pl.training_curve(log) is not None and not plt.get_fignums()
    assert st.to_bytes(hidden) == shown
    si.pl.training_curve(log)
    assert len(plt.get_fignums()) == 1


def test_styles_are_nested_and_restored_after_an_error():
    def fails() -> None:
        with st.style():
            with st.style(own=True):
                assert st.is_own() and mpl.rcParams["font.size"] == 7
            assert not st.is_own()
            raise ZeroDivisionError

    before = dict(mpl.rcParams)
    with pytest.raises(ZeroDivisionError):
        fails()
    assert dict(mpl.rcParams) == before and not st.is_own()


@pytest.mark.parametrize("format", ["svg", "pdf", "png"])
def test_a_file_holds_no_date_and_is_the_same_twice(format, tmp_path):
    def draw():
        ax = si.pl.density_histogram([0.01, 0.2, 0.3])
        return st.to_bytes(ax, format), si.pl.save(ax, tmp_path / f"a.{format.upper()}").read_bytes()

    first, second = draw(), draw()
    assert first == second and first[0] == first[1]
    assert not re.search(rb"20\d\d-\d\d-\d\d|D:20\d\d|atplotlib v", first[0])
    for wrong in ("bmp", "", "SVG"):
        with pytest.raises(InputError, match="svg, pdf or png"):
            st.to_bytes(si.pl.density_histogram([0.1]), wrong)
    with pytest.raises(InputError, match="svg, pdf or png"):
        si.pl.save(si.pl.density_histogram([0.1]), tmp_path / "noending")


def test_a_note_is_all_there_is():
    ax = st.note(plt.subplots()[1], "nothing $here$")
    assert [t.get_text() for t in ax.texts] == ["nothing $here$"]
    assert not len(ax.get_xticks()) and not any(s.get_visible() for s in ax.spines.values())


def test_colours_are_apart_and_known_by_name():
    assert len(set(st.PALETTE)) == 8 and set(st.PALETTE) <= set(st.COLOURS.values())
    rgb = np.array([mpl.colors.to_rgb(c) for c in st.PALETTE])
    far = np.linalg.norm(rgb[:, None] - rgb[None], axis=-1) + np.eye(8)
    assert far.min() > 0.25
    colours = white_to_blue()(np.linspace(0, 1, 9))[:, :3]
    light = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) < 0).all(), "it reads the same in grey"
