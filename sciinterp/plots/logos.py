"""Sequence logos: what stands around a feature's peaks, in bits.

The height of a column is its information ``log2(A) - H - e(n)``, with ``A`` letters, entropy ``H`` and the
small-sample correction ``e(n) = (A - 1) / (2 n ln 2)`` of Schneider et al. (1986); a letter takes its share.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from sciinterp.codes.intervals import windows
from sciinterp.codes.peaks import peaks_of
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
from sciinterp.settings import at_least, plain_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path

    from sciinterp.codes import FeatureMatrix
    from sciinterp.samples import Samples

ALPHABETS = {"protein": "ACDEFGHIKLMNPQRSTVWY", "dna": "ACGT", "rna": "ACGU"}
_GROUPS = {"DE": VERMILLION, "KRH": BLUE, "FWY": PURPLE, "STNQ": GREEN, "C": ORANGE}
PROTEIN_COLOURS = {letter: colour for letters, colour in _GROUPS.items() for letter in letters}
DNA_COLOURS = {"A": GREEN, "C": BLUE, "G": ORANGE, "T": VERMILLION, "U": VERMILLION}


class Letters:
    """All sequences end to end as small integers, for counting letters around many peaks at once.

    Attributes
    ----------
    alphabet : str
        Of another kind than protein, DNA and RNA the first forty letters in use.
    numbers : int16 [n_positions]
        Place of each letter in the alphabet, -1 for any other.
    is_sequence : bool [n_samples]
        Samples without a letter for every position have none.
    """

    def __init__(self, samples: Samples) -> None:
        kind = "protein" if samples.kind in ("airr", "structure") else samples.kind
        texts = samples.letters
        self.is_sequence = np.array([text is not None for text in texts], bool)
        joined = "".join(
            " " * int(n) if text is None else text.upper() for text, n in zip(texts, samples.lengths)
        )
        self.alphabet = ALPHABETS.get(kind) or "".join(sorted(set(joined) - {" "}))[:40]
        points = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
        table = np.array([ord(c) for c in self.alphabet] or [0], np.uint32)
        order = np.argsort(table)
        at = np.clip(np.searchsorted(table[order], points), 0, len(table) - 1)
        self.numbers = np.where(table[order][at] == points, order[at], -1).astype(np.int16)
        self.offsets = samples.offsets

    def counts(self, positions: np.ndarray, flank: int) -> np.ndarray:
        """int64 [2 * flank + 1, n_letters]: letters around positions, within their own samples."""
        letter = windows(self.numbers, positions, flank, self.offsets, beyond=-1)
        n, wide = max(len(self.alphabet), 1), 2 * flank + 1
        flat = (np.arange(wide) * n + letter)[letter >= 0]
        return np.bincount(flat, minlength=wide * n).reshape(wide, n)

    def motif(self, counts: np.ndarray, bits: np.ndarray) -> str:
        """The prevailing letters: capital from 1.5 bits, small from 0.5, else a dot; outer dots are cut."""
        if not self.alphabet:
            return ""
        best = [self.alphabet[i] for i in counts.argmax(axis=1)]
        height = bits.sum(axis=1)
        text = "".join("." if b < 0.5 else c if b >= 1.5 else c.lower() for c, b in zip(best, height))
        return text.strip(".")


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
def outline(letter: str) -> Path:
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

    flank, top = (
        plain_value(n, int, f"{o}=", at_least(o == "top")) for n, o in ((flank, "flank"), (top, "top"))
    )
    j = features.number(j)
    letters, peaks = Letters(features.samples), peaks_of(features, j)
    alphabet, sequence = letters.alphabet, letters.is_sequence[peaks.group]
    where = peaks.position[sequence][:top]
    counts, n_peaks = letters.counts(where, flank), len(where)
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
        full = float(np.log2(max(len(alphabet), 2)))
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
