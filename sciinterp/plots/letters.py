"""Sequence logos: what stands around a feature's peaks, in bits.

The height of a column is its information ``log2(A) - H - e(n)``, with ``A`` letters, entropy ``H`` and the
small-sample correction ``e(n) = (A - 1) / (2 n ln 2)`` of Schneider et al. (1986); a letter takes its share.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from sciinterp.plots.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    VERMILLION,
    drawing,
    label,
    name_axes,
    note,
    ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sciinterp.codes import FeatureMatrix

ALPHABETS = {"protein": "ACDEFGHIKLMNPQRSTVWY", "dna": "ACGT", "rna": "ACGU"}
_GROUPS = {"DE": VERMILLION, "KRH": BLUE, "FWY": PURPLE, "STNQ": GREEN, "C": ORANGE}
PROTEIN_COLOURS = {letter: colour for letters, colour in _GROUPS.items() for letter in letters}
DNA_COLOURS = {"A": GREEN, "C": BLUE, "G": ORANGE, "T": VERMILLION, "U": VERMILLION}


def peak_counts(
    features: FeatureMatrix, j: int, *, flank: int = 7, top: int = 200
) -> tuple[np.ndarray, str, int]:
    """Letters around the strongest position of each of the ``top`` samples.

    Returns
    -------
    counts : int64 [2 * flank + 1, n_letters]
    alphabet : str
    n_peaks : int
    """
    kind = "protein" if features.samples.kind == "airr" else features.samples.kind
    alphabet = ALPHABETS.get(kind, "")
    column, offsets, data = features.column(j), features.samples.offsets, features.samples.data
    peaks = []
    for s, (lo, hi) in enumerate(pairwise(offsets)):
        if hi > lo and isinstance(data[s], str):
            at = int(np.argmax(column[lo:hi]))
            if column[lo + at] > 0:
                peaks.append((-float(column[lo + at]), s, at))
    peaks = sorted(peaks)[:top]
    if not alphabet:
        alphabet = "".join(sorted({c for _, s, _ in peaks for c in data[s]}))[:40]
    number = {letter: i for i, letter in enumerate(alphabet)}
    counts = np.zeros((2 * flank + 1, max(len(alphabet), 1)), np.int64)
    for _, s, at in peaks:
        for shift in range(-flank, flank + 1):
            if 0 <= at + shift < len(data[s]):
                letter = number.get(data[s][at + shift].upper())
                if letter is not None:
                    counts[shift + flank, letter] += 1
    return counts, alphabet, len(peaks)


def information(counts: np.ndarray) -> np.ndarray:
    """Letter heights in bits.

    Parameters
    ----------
    counts : int [n_columns, n_letters]

    Returns
    -------
    float64 [n_columns, n_letters]

    Examples
    --------
    >>> float(information(np.array([[1000, 0, 0, 0]])).sum().round(2))
    2.0
    """
    total = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(total, 1)
    entropy = -np.sum(
        np.where(share > 0, share * np.log2(np.where(share > 0, share, 1)), 0), axis=1, keepdims=True
    )
    correction = (counts.shape[1] - 1) / (2 * np.maximum(total, 1) * np.log(2))
    bits = np.maximum(np.log2(max(counts.shape[1], 1)) - entropy - correction, 0)
    return np.where(total > 0, share * bits, 0.0)


@lru_cache(maxsize=128)
def outline(letter: str) -> Any:
    """A letter's outline scaled into the unit square."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    path = TextPath(
        (0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"), usetex=False
    )
    box = path.get_extents()
    width = max(box.width, 0.5)
    shift = (width - box.width) / 2
    return path.transformed(
        Affine2D().translate(-box.x0 + shift, -box.y0).scale(1 / width, 1 / max(box.height, 1e-6))
    )


def logo(features: FeatureMatrix, j: int, *, ax: Axes | None = None, flank: int = 7, top: int = 200) -> Axes:
    """Sequence logo around a feature's peaks, one peak a sample.

    Parameters
    ----------
    features : FeatureMatrix
        Its samples must be sequences.
    j : int
        The feature.
    flank : int
        Positions on either side of the peak.
    top : int
        The strongest samples to use.

    Returns
    -------
    matplotlib.axes.Axes

    References
    ----------
    Schneider et al., J. Mol. Biol. 188 (1986) 415.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import PathPatch
    from matplotlib.transforms import Affine2D

    counts, alphabet, n_peaks = peak_counts(features, j, flank=flank, top=top)
    with drawing(ax, width="single", height=42) as axes:
        if n_peaks == 0:
            return note(axes, f"feature {j} has no peak on a sequence")
        heights = information(counts)
        colours = DNA_COLOURS if features.samples.kind in ("dna", "rna") else PROTEIN_COLOURS
        patches, faces = [], []
        for x, column in enumerate(heights):
            y = 0.0
            for i in np.argsort(column, kind="stable"):
                if column[i] > 1e-3:
                    move = Affine2D().scale(0.92, column[i]).translate(x - 0.46, y)
                    patches.append(PathPatch(outline(alphabet[i]).transformed(move)))
                    faces.append(colours.get(alphabet[i], INK))
                    y += float(column[i])
        axes.add_collection(PatchCollection(patches, facecolors=faces, linewidths=0))
        full = float(np.log2(len(alphabet)))
        axes.set_xlim(-0.6, 2 * flank + 0.6)
        axes.set_ylim(0, full * 1.02)
        ticks(
            axes,
            "x",
            range(2 * flank + 1),
            [f"{i - flank:+d}" if i != flank else "peak" for i in range(2 * flank + 1)],
        )
        if not patches:
            label(axes, flank, full / 2, "no column holds information", ha="center", color=MUTED)
        name_axes(axes, x="position from the peak", y="bits", title=f"Feature {j}, {n_peaks} peaks")
    return axes
