"""Activations drawn along sequences, with the annotations that lie on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.transforms import Affine2D

from sciinterp.codes.active import is_active
from sciinterp.codes.peaks import peaks_of
from sciinterp.errors import InputError
from sciinterp.plots.concepts import white_to_blue
from sciinterp.plots.logos import outline
from sciinterp.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    RULE,
    SKY,
    VERMILLION,
    YELLOW,
    drawing,
    name_axes,
    note,
    plain,
    ticks,
)
from sciinterp.readers.airr import imgt_rows
from sciinterp.samples import letters_of
from sciinterp.settings import at_least, plain_value

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from sciinterp.annotations import Annotations
    from sciinterp.codes import FeatureMatrix
    from sciinterp.samples import Samples

MAX_LETTERS = 160  # beyond this many positions letters could not be read on a page
MAX_LANES = 7
# Annotation colours, each also paler and darker: a concept has one colour in all figures. Blue is the activation's.
_HUES = (ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW, GREY)
FAINTEST = 1 / 3  # of the largest peak: a weaker sample has no row in the picture of a family
# Where positions stand in an alignment: aligned rows by sample, or the number of a column for every position.
Columns = Mapping[str, str] | Sequence[int] | np.ndarray
LANE = 0.25  # height of one annotation lane, in units of one activation track


def top_samples(features: FeatureMatrix, j: int, n: int = 3) -> np.ndarray:
    """int64 [<= n]: the samples where feature ``j`` is strongest, one a family where families are known."""
    order = peaks_of(features, j).group
    table = features.samples.table
    if "family" in table.columns:
        order = order[firsts_first(table["family"].astype(str).to_numpy()[order])]
    return order[:n]


def firsts_first(family: np.ndarray) -> np.ndarray:
    """int64 [n]: an order in which the first of every family stands before all others."""
    _, first = np.unique(family, return_index=True)
    return np.concatenate([np.sort(first), np.setdiff1d(np.arange(len(family)), first)])


def feature(
    features: FeatureMatrix,
    j: int,
    *,
    annotations: Annotations | None = None,
    ax: Axes | None = None,
    samples: Sequence[int | str] | None = None,
    n: int = 3,
) -> Axes:
    """One feature's activation along sequences, each with its annotations below it, one lane a concept.

    Parameters
    ----------
    features : FeatureMatrix
    j : int
        The feature.
    annotations : Annotations, optional
        The concepts with most activation under them are drawn, seven at most; the axis says of how many. A concept
        has the same colour in every figure of the same annotations.
    samples : sequence of int or str, optional
        Samples to draw; the strongest ``n`` (one a family where families are known) when not given.
    n : int

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        When there is no such feature or sample.
    """
    j = features.number(j)  # an unknown feature is named before anything is drawn
    column = features.column(j)
    index = features.samples
    if samples is None:
        chosen = top_samples(features, j, plain_value(n, int, "n=", at_least(1))).tolist()
    else:
        chosen = [_number(index, s) for s in ([samples] if isinstance(samples, str) else samples)]
    concepts, spans, n_under = _concepts_under(features, column, annotations, chosen)
    lanes = {s: [c for c in concepts if (s, c) in spans] for s in chosen}
    n_lanes = sum(map(len, lanes.values()))
    with drawing(ax, width="double", height=12 + 17 * max(len(chosen), 1) + 3.7 * n_lanes) as axes:
        if not chosen:
            return note(axes, f"feature {j} is active in no sample")
        peak = max(float(column[features.rows(s)].max(initial=0.0)) for s in chosen) or 1.0
        colour = _colours(concepts, annotations)
        top, places, names = 0.0, [], []
        for s in chosen:
            places.append(top - 0.5)
            names.append(index.ids[s])
            value = column[features.rows(s)]
            _draw_track(
                axes, value / peak, is_active(value, features.largest[j]), letters_of(index.data[s]), top
            )
            for at, concept in enumerate(lanes[s]):
                low = top - 1.26 - LANE * (at + 1)
                _draw_lane(axes, spans[s, concept], low, colour[concept])
                places.append(low + LANE * 0.4)
                names.append(concept)
            top -= 1.26 + LANE * len(lanes[s]) + 0.3
        ticks(axes, "y", places, names, limit=26)
        for text, name in zip(axes.get_yticklabels(), names):
            text.set_fontsize(5.5 if name in colour else 6.5)
        longest = int(max(index.lengths[s] for s in chosen))
        axes.set_xlim(-0.5, max(longest, 1) - 0.5)
        axes.set_ylim(top + 0.2, 0.15)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        some = (
            f"; {len(concepts)} of {n_under} concepts, those the feature overlaps most"
            if n_under > len(concepts)
            else ""
        )
        name_axes(axes, x=f"position, from 0{some}", title=f"Feature {j}, activation from 0 to {peak:.3g}")
    return axes


def _number(samples: Samples, which: int | str) -> int:
    """The number of a sample that is named or numbered."""
    if isinstance(which, str):
        return samples.index(which)
    number = plain_value(which, int, "samples=")
    if not 0 <= number < len(samples):
        raise InputError(
            "there is no such sample", where=f"sample {number}", expected=f"0 to {len(samples) - 1}"
        )
    return number


def _draw_track(ax: Axes, value: np.ndarray, on: np.ndarray, sequence: str | None, top: float) -> None:
    """One sample: filled steps of height 1, letters below, those where the feature is active in ink."""
    edges = np.arange(len(value) + 1) - 0.5
    ax.stairs(value + top - 1, edges, baseline=top - 1, fill=True, color=BLUE, lw=0)
    ax.hlines(top - 1, -0.5, len(value) - 0.5, color=INK, lw=0.5)
    if isinstance(sequence, str) and len(sequence) <= MAX_LETTERS:
        _draw_letters(ax, sequence, top - 1.16, on)


def _draw_letters(ax: Axes, sequence: str, low: float, on: np.ndarray) -> None:
    """The sequence below its track, active positions in ink: one collection of outlines."""
    wide = min(0.74, 0.0095 * len(sequence))  # in positions: about a millimetre on a page
    patches = []
    for at, letter in enumerate(sequence):
        if not letter.isspace():
            move = Affine2D().scale(wide, 0.115).translate(at - wide / 2, low)
            patches.append(PathPatch(outline(plain(letter)).transformed(move)))
    faces = [INK if active else MUTED for active, letter in zip(on, sequence) if not letter.isspace()]
    ax.add_collection(PatchCollection(patches, facecolors=faces, linewidths=0))


def _concepts_under(
    features: FeatureMatrix, column: np.ndarray, annotations: Annotations | None, chosen: list[int]
) -> tuple[list[str], dict[tuple[int, str], list[tuple[int, int]]], int]:
    """Concepts with the most activation under them, their spans in every chosen sample, and of how many concepts."""
    if annotations is None or not chosen:
        return [], {}, 0
    frame: pd.DataFrame = annotations.frame
    number = {features.samples.ids[s]: s for s in chosen}
    rows = frame[frame["sample"].isin(list(number)) & (frame["start"] >= 0)]
    weight: dict[str, float] = {}
    spans: dict[tuple[int, str], list[tuple[int, int]]] = {}
    for sample, start, end, concept in zip(rows["sample"], rows["start"], rows["end"], rows["concept"]):
        s, concept = number[sample], str(concept)
        spans.setdefault((s, concept), []).append((int(start), int(end)))
        lo = int(features.samples.offsets[s])
        weight[concept] = weight.get(concept, 0.0) + float(column[lo + int(start) : lo + int(end)].sum())
    kept = sorted(weight, key=lambda c: (-weight[c], c))[:MAX_LANES]
    drawn = {key: sorted(v, key=lambda r: (r[0] - r[1], r)) for key, v in spans.items() if key[1] in kept}
    return kept, drawn, len(weight)


def _colours(concepts: list[str], annotations: Annotations | None) -> dict[str, str]:
    """The colour of each concept: by its place among all concepts on positions, so the same in every figure."""
    if annotations is None:
        return {}
    rank = {name: i for i, name in enumerate(sorted(map(str, annotations.position_names)))}
    shades = (lambda v: v, lambda v: 0.6 * v, lambda v: 1 - 0.5 * (1 - v))
    out = {}
    for name in concepts:
        round_, hue = divmod(rank.get(name, 0), len(_HUES))
        shade = shades[round_ % len(shades)]
        red, green, blue = map(shade, to_rgb(_HUES[hue]))
        out[name] = to_hex((red, green, blue))
    return out


def _draw_lane(ax: Axes, spans: list[tuple[int, int]], low: float, colour: str) -> None:
    """The spans of one concept, the shorter over the longer."""
    bars = [Rectangle((start - 0.5, low), end - start, LANE * 0.76) for start, end in spans]
    ax.add_collection(PatchCollection(bars, facecolors=colour, edgecolors="white", linewidths=0.3))


def family_heatmap(
    features: FeatureMatrix, j: int, *, columns: Columns | None = None, ax: Axes | None = None, top: int = 80
) -> Axes:
    """One feature over an aligned family: sequences as rows, alignment columns across.

    Parameters
    ----------
    features : FeatureMatrix
    j : int
        The feature.
    columns : optional
        Where every position stands in the alignment: a mapping from sample to its aligned row (letters, with ``-`` or
        ``.`` for gaps, as in an MSA), or int [n_positions] with -1 for none. When not given, IMGT positions where
        the samples carry them (column ``imgt``), else the position from the start.
    top : int
        Most rows to show: the strongest sample of every family where families are known, then the strongest of
        the others, all of them with a peak of at least a third of the largest one.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        When ``columns`` has another length than there are positions, or an aligned row other letters than its sample.
    """
    j, top = features.number(j), plain_value(top, int, "top=", at_least(1))
    value = features.column(j)
    active = top_samples(features, j, len(features.samples))
    peak = np.array([value[features.rows(int(s))].max() for s in active])
    chosen = np.flatnonzero(peak >= FAINTEST * peak.max(initial=0.0))[:top]
    chosen = active[chosen[np.argsort(-peak[chosen], kind="stable")]]
    column, names, axis = _alignment(features, columns)
    with drawing(ax, width="double", height=24 + 1.1 * max(len(chosen), 20)) as axes:
        if not len(chosen) or not len(names):
            return note(axes, f"feature {j} is active in no sample")
        grid = np.full((len(chosen), len(names)), np.nan)
        for row, s in enumerate(chosen):
            span = features.rows(int(s))
            at, here = column[span], value[span]
            grid[row, at[at >= 0]] = here[at >= 0]

        used = np.flatnonzero(~np.isnan(grid).all(axis=0))
        mesh = axes.pcolormesh(
            np.ma.masked_invalid(grid[:, used]), cmap=white_to_blue(), vmin=0, rasterized=True
        )
        named = [at for at, i in enumerate(used) if "." not in names[i]]  # insertions stand between them
        named = named[:: max(1, -(-len(named) // 24))]
        ticks(axes, "x", np.array(named) + 0.5, [names[used[at]] for at in named])
        axes.set_ylim(len(chosen), 0)
        axes.set_yticks([])
        axes.set_facecolor(RULE)
        name_axes(
            axes,
            x=axis,
            y=f"{len(chosen)} of {len(active)} samples, strongest first",
            title=f"Feature {j} over the aligned family",
        )
        bar = axes.figure.colorbar(mesh, ax=axes, shrink=0.6, aspect=18, pad=0.01)
        bar.outline.set_visible(False)
        bar.set_label("activation (grey: gap)", parse_math=False)
    return axes


def _alignment(features: FeatureMatrix, columns: Columns | None) -> tuple[np.ndarray, list[str], str]:
    """int64 [n_positions] alignment column of every position, the columns' names, and what they are."""
    index = features.samples
    if columns is None and "imgt" in index.table.columns:
        rows = imgt_rows(index.table["imgt"].tolist())
        if [len(row) for row in rows] == index.lengths.tolist():
            names = sorted({name for row in rows for name in row}, key=_imgt_order)
            number = {name: i for i, name in enumerate(names)}
            flat = [number[name] for row in rows for name in row]
            return np.array(flat, np.int64).reshape(-1), names, "IMGT position"
    if isinstance(columns, Mapping):
        column = _from_rows(features, columns)
    elif columns is None:
        column = np.arange(features.n_positions) - np.repeat(index.offsets[:-1], index.lengths)
    else:
        column = np.asarray(columns)
        if column.shape != (features.n_positions,) or column.dtype.kind not in "iu":
            raise InputError(
                "alignment columns do not fit",
                where="columns=",
                expected=f"{features.n_positions} whole numbers, or a mapping from sample to aligned row",
                got=f"{column.dtype} of shape {column.shape}",
            )
        column = column.astype(np.int64)
    names = [str(i) for i in range(int(column.max(initial=-1)) + 1)]
    return column, names, "position" if columns is None else "alignment column"


def _from_rows(features: FeatureMatrix, rows: Mapping[str, str]) -> np.ndarray:
    """Alignment columns from aligned rows; samples without a row have none."""
    index, out = features.samples, np.full(features.n_positions, -1, np.int64)
    for name, row in rows.items():
        s = index.index(str(name))
        at = [i for i, letter in enumerate(row) if letter not in "-."]
        if len(at) != int(index.lengths[s]):
            raise InputError(
                "an aligned row does not fit its sample",
                where=f"sample '{name}'",
                expected=f"{index.lengths[s]} letters besides gaps",
                got=str(len(at)),
            )
        out[features.rows(s)] = at
    return out


def _imgt_order(name: str) -> tuple[int, float]:
    """The order of IMGT positions: insertions rise after 111 and fall before 112."""
    whole, _, part = name.partition(".")
    inserted = float(part) if part else 0.0
    return int(whole), -inserted if whole == "112" else inserted
