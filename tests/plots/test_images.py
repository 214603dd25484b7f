# ruff: noqa: F811
"""Figures against committed images: forgiving of another rasteriser, not of a missing or moved part.

Write the images anew, and look at them, with ``python tests/plots/test_images.py``.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib import patheffects
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter, uniform_filter

import sciinterp as si

sys.path.insert(0, str(Path(__file__).resolve().parent))
from figure_cases import cases, made
from report_fixtures import run  # noqa: F401

REFERENCE = Path(__file__).parent / "reference"
NAMES = sorted(set(si.pl.__all__) - {"save", "style"})
DPI = 70
# A pixel differs when it lies this far (of 255) outside what the other image holds within three pixels of it.
GAP, REACH = 30.0, 7
# Pixels that may differ. Other hinting of the letters changes up to 39; a broken part, as below, 74 and more.
MOST = 60


def drawn(figure: Callable, change: Callable = lambda ax: None) -> np.ndarray:
    """uint8 [height, width, 3]: the figure in pixels, its letters as outlines, whatever hints a font library takes."""
    buffer = io.BytesIO()
    with mpl.rc_context({"path.effects": [patheffects.Normal()]}):
        ax = figure()
        change(ax)
        with si.pl.style():
            ax.get_figure().savefig(buffer, format="png", dpi=DPI)
    plt.close("all")
    return read(buffer)


def read(source) -> np.ndarray:
    return np.asarray(Image.open(source).convert("RGB"))


def difference(a: np.ndarray, b: np.ndarray) -> int:
    """Pixels of either image that the other holds nowhere near; all of them where sizes are far apart."""
    if max(abs(m - n) for m, n in zip(a.shape, b.shape)) > 3:
        return max(a.size, b.size)
    height, width = min(a.shape[0], b.shape[0]), min(a.shape[1], b.shape[1])
    soft = [uniform_filter(i[:height, :width].astype(np.float64), size=(2, 2, 1)) for i in (a, b)]
    far = np.zeros((height, width), bool)
    for here, there in (soft, soft[::-1]):
        low, high = (f(there, size=(REACH, REACH, 1)) for f in (minimum_filter, maximum_filter))
        far |= (np.maximum(low - here, here - high) > GAP).any(axis=2)
    return int(far.sum())


def agrees(a: np.ndarray, b: np.ndarray) -> bool:
    return difference(a, b) <= MOST


@pytest.mark.parametrize("name", NAMES)
def test_figure_looks_as_it_did(run, name):
    made_now, before = drawn(cases(run)[name]["full"]), read(REFERENCE / f"{name}.png")
    assert agrees(made_now, before), f"{name}: {difference(made_now, before)} pixels differ; see {REFERENCE}"


@pytest.mark.parametrize("name", NAMES)
def test_comparison_forgives_a_pixel(name):
    image = read(REFERENCE / f"{name}.png")
    for shift in ((1, 0), (0, 1)):
        assert agrees(np.roll(image, shift, axis=(0, 1)), image)


def test_comparison_sees_what_is_broken(run):
    """Another value, a colour, a missing line, mark, name or legend: each must fail."""
    figures = cases(run)

    def broken(name: str, change) -> bool:
        return not agrees(drawn(figures[name]["full"], change), read(REFERENCE / f"{name}.png"))

    assert broken("training_curve", lambda ax: ax.lines[0].remove())
    assert broken("layer_sweep", lambda ax: ax.lines[1].remove())
    assert broken("layer_sweep", lambda ax: ax.lines[0].set_color("#D55E00"))
    assert broken("concepts_vs_baselines", lambda ax: ax.get_legend().remove())
    assert broken("concepts_vs_baselines", lambda ax: ax.set_yticklabels(["x"] * len(ax.get_yticks())))
    assert broken("front", lambda ax: ax.set_ylim(0, 1))
    assert broken("logo", lambda ax: ax.collections[0].remove())
    assert broken("heatmap", lambda ax: ax.collections[0].set_cmap("Reds"))
    assert broken("reliability", lambda ax: ax.collections[0].remove())
    assert broken("feature", lambda ax: ax.patches[0].remove())
    assert broken("stability", lambda ax: ax.set_xlabel(""))
    assert broken("precision_at_k", lambda ax: ax.collections[0].remove())
    assert broken("dark_matter", lambda ax: ax.texts[0].remove())


def test_images_are_small():
    files = sorted(REFERENCE.iterdir())
    assert [f.stem for f in files] == NAMES
    assert sum(f.stat().st_size for f in files) < 1_000_000


if __name__ == "__main__":
    samples = made.make_samples()
    notes = made.make_annotations(samples)
    everything = {
        "sae": made.FakeSAE(),
        "features": made.make_features(samples),
        "annotations": notes,
        "hits": made.make_hits(samples, notes),
    }
    REFERENCE.mkdir(exist_ok=True)
    for name, kinds in cases(everything).items():
        image = Image.fromarray(drawn(kinds["full"])).quantize(200, dither=Image.Dither.NONE)
        image.save(REFERENCE / f"{name}.png", optimize=True)
        print(name, (REFERENCE / f"{name}.png").stat().st_size)
