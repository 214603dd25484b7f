"""Activations drawn along sequences, with the annotations that lie on them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from sciinterp.errors import InputError
from sciinterp.plots.style import (
    INK,
    MUTED,
    PALETTE,
    RULE,
    drawing,
    label,
    legend,
    name_axes,
    note,
    plain,
    ticks,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from sciinterp.annotations import Annotations
    from sciinterp.features import FeatureMatrix

MAX_LETTERS = 160  # beyond this many positions letters could not be read on a page
MAX_CONCEPTS = 8  # as many as the palette has colours
LANE = 0.26  # height of one annotation lane, in units of one activation track


def top_samples(features: FeatureMatrix, j: int, n: int = 3) -> np.ndarray:
    """int64 [<= n]: the samples where feature ``j`` is strongest, one a family where families are known."""
    column = features.column(j)
    offsets = features.samples.offsets
    peak = np.array([column[lo:hi].max(initial=0.0) for lo, hi in pairwise(offsets)])
    order = np.argsort(-peak, kind="stable")
    order = order[peak[order] > 0]
    table = features.samples.table
    if "family" in table.columns:
        family = table["family"].astype(str).to_numpy()[order]
        _, first = np.unique(family, return_index=True)
        order = np.concatenate([order[np.sort(first)], np.delete(order, first)])
    return order[:n]


def feature(
    features: FeatureMatrix,
    j: int,
    *,
    annotations: Annotations | None = None,
    ax: Axes | None = None,
    samples: Sequence[int | str] | None = None,
    n: int = 3,
) -> Axes:
    """One feature's activation along sequences, each with its annotation tracks.

    Parameters
    ----------
    features : FeatureMatrix
    j : int
        The feature.
    annotations : Annotations, optional
        Concepts drawn as bars below each track; those under the activation come first.
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
    features.column(j)  # an unknown feature is named before anything is drawn
    index = features.samples
    chosen = (
        top_samples(features, j, n)
        if samples is None
        else [index.index(s) if isinstance(s, str) else int(s) for s in samples]
    )
    bars = _bars(features, j, annotations, chosen)
    lanes = [max((lane for *_, lane in bars.get(s, [])), default=-1) + 1 for s in chosen]
    with drawing(ax, width="double", height=14 + 15 * max(len(chosen), 1) + 3.6 * sum(lanes)) as axes:
        if not len(chosen):
            return note(axes, f"feature {j} is active in no sample")
        peak = max(float(features.column(j)[features.rows(int(s))].max(initial=0.0)) for s in chosen) or 1.0
        names = sorted({name for rows in bars.values() for _, _, name, _ in rows})
        colour = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
        top, middle = 0.0, []
        unnamed: set[str] = set()
        for s, n_lanes in zip(chosen, lanes):
            middle.append(top - 0.5)
            _draw_track(axes, features, j, int(s), top=top, peak=peak)
            unnamed |= _draw_bars(axes, bars.get(s, []), top - 1.0 - 0.24, colour)
            top -= 1.0 + 0.24 + LANE * n_lanes + 0.42
        ticks(axes, "y", middle, [index.ids[int(s)] for s in chosen], limit=22)
        longest = int(max(index.lengths[int(s)] for s in chosen))
        axes.set_xlim(-0.5, max(longest, 1) - 0.5)
        axes.set_ylim(top + 0.3, 0.25)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        name_axes(axes, x="position", title=f"Feature {j}: activation, 0 to {peak:.3g}")
        _name_bars(axes, sorted(unnamed), colour)
    return axes


def _draw_track(ax: Axes, features: FeatureMatrix, j: int, s: int, *, top: float, peak: float) -> None:
    """One sample: filled steps of height 1, letters below."""
    value = features.column(j)[features.rows(s)] / peak
    edges = np.arange(len(value) + 1) - 0.5
    ax.stairs(value + top - 1, edges, baseline=top - 1, fill=True, color="#0072B2", lw=0)
    ax.hlines(top - 1, -0.5, len(value) - 0.5, color=INK, lw=0.5)
    sequence = features.samples.data[s]
    if isinstance(sequence, str) and len(sequence) <= MAX_LETTERS:
        _draw_letters(ax, sequence, top - 1.16, value > 0)


def _draw_letters(ax: Axes, sequence: str, low: float, on: np.ndarray) -> None:
    """The sequence below its track, active positions in ink: one collection of outlines."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import PathPatch
    from matplotlib.transforms import Affine2D

    from sciinterp.plots.letters import outline

    wide = min(0.74, 0.0095 * len(sequence))  # in positions: about a millimetre on a page
    patches = []
    for at, letter in enumerate(sequence):
        if not letter.isspace():
            move = Affine2D().scale(wide, 0.115).translate(at - wide / 2, low)
            patches.append(PathPatch(outline(plain(letter)).transformed(move)))
    faces = [INK if active else MUTED for active, letter in zip(on, sequence) if not letter.isspace()]
    ax.add_collection(PatchCollection(patches, facecolors=faces, linewidths=0))


def _bars(
    features: FeatureMatrix, j: int, annotations: Annotations | None, chosen: Any
) -> dict[int, list[tuple[int, int, str, int]]]:
    """sample -> (start, end, concept, lane), the concepts with the most activation under them first."""
    if annotations is None or not len(chosen):
        return {}
    frame: pd.DataFrame = annotations.frame
    number = {features.samples.ids[int(s)]: int(s) for s in chosen}
    rows = frame[frame["sample"].isin(list(number)) & (frame["start"] >= 0)]
    column = features.column(j)
    weight: dict[str, float] = {}
    spans: dict[int, list[tuple[int, int, str]]] = {}
    for sample, start, end, concept in zip(rows["sample"], rows["start"], rows["end"], rows["concept"]):
        s = number[sample]
        spans.setdefault(s, []).append((int(start), int(end), str(concept)))
        lo = int(features.samples.offsets[s])
        weight[concept] = weight.get(concept, 0.0) + float(column[lo + int(start) : lo + int(end)].sum())
    kept = set(sorted(weight, key=lambda c: (-weight[c], c))[:MAX_CONCEPTS])
    return {s: _pack([r for r in rows_ if r[2] in kept]) for s, rows_ in spans.items()}


def _pack(spans: list[tuple[int, int, str]]) -> list[tuple[int, int, str, int]]:
    """Give every span the first lane where it overlaps nothing: longest first, at most six lanes."""
    free: list[list[tuple[int, int]]] = []
    placed = []
    for start, end, name in sorted(spans, key=lambda r: (-(r[1] - r[0]), r)):
        lane = next(
            (i for i, taken in enumerate(free) if all(end <= a or start >= b for a, b in taken)), len(free)
        )
        if lane == len(free):
            free.append([])
        free[lane].append((start, end))
        placed.append((start, end, name, min(lane, 5)))
    return placed


def _draw_bars(
    ax: Axes, bars: list[tuple[int, int, str, int]], top: float, colour: dict[str, str]
) -> set[str]:
    """Draw the bars; the concepts whose name did not fit into their bar are returned."""
    from matplotlib.patches import Rectangle

    unnamed = set()
    for start, end, name, lane in bars:
        low = top - LANE * (lane + 1)
        ax.add_patch(
            Rectangle(
                (start - 0.5, low),
                end - start,
                LANE * 0.78,
                facecolor=colour[name],
                edgecolor="white",
                lw=0.3,
            )
        )
        text = plain(name, 30)
        if end - start >= 0.85 * len(text) + 1:
            label(
                ax,
                (start + end - 1) / 2,
                low + LANE * 0.37,
                text,
                ha="center",
                color=INK if colour[name] in ("#F0E442", "#56B4E9", "#E69F00", "#CC79A7") else "white",
            ).set_fontsize(4.6)
        else:
            unnamed.add(name)
    return unnamed


def _name_bars(ax: Axes, names: list[str], colour: dict[str, str]) -> None:
    from matplotlib.patches import Patch

    if names:
        handles = [Patch(facecolor=colour[name], label=name) for name in names]
        ax.set_title(ax.get_title(loc="left"), pad=8 + 9 * ((len(names) + 5) // 6), parse_math=False)
        legend(ax, columns=6, handles=handles)


def family_heatmap(
    features: FeatureMatrix, j: int, *, columns: Any = None, ax: Axes | None = None, top: int = 80
) -> Axes:
    """One feature over an aligned family: sequences as rows, alignment columns (IMGT, MSA) across.

    Parameters
    ----------
    features : FeatureMatrix
    j : int
        The feature.
    columns : array_like of int [n_positions], optional
        The alignment column of every position, -1 for none; counted from the start when not given.
    top : int
        The strongest samples to show.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        When ``columns`` has another length than there are positions.
    """
    value = features.column(j)
    index = features.samples
    within = np.arange(features.n_positions) - np.repeat(index.offsets[:-1], index.lengths)
    column = within if columns is None else np.asarray(columns, dtype=np.int64)
    if column.shape != (features.n_positions,):
        raise InputError(
            "alignment columns do not fit", expected=f"{features.n_positions} values", got=str(column.shape)
        )
    chosen = top_samples(features, j, top)
    with drawing(ax, width="double", height=22 + 1.1 * max(len(chosen), 20)) as axes:
        width = int(column.max(initial=-1)) + 1
        if not len(chosen) or width == 0:
            return note(axes, f"feature {j} is active in no sample")
        grid = np.full((len(chosen), width), np.nan)
        for row, s in enumerate(chosen):
            span = features.rows(int(s))
            at, here = column[span], value[span]
            grid[row, at[at >= 0]] = here[at >= 0]
        from sciinterp.plots.concepts import _white_to_blue

        used = np.flatnonzero(~np.isnan(grid).all(axis=0))
        mesh = axes.pcolormesh(
            np.ma.masked_invalid(grid[:, used]), cmap=_white_to_blue(), vmin=0, rasterized=grid.size > 20000
        )
        step = max(1, len(used) // 12)
        ticks(axes, "x", np.arange(0, len(used), step) + 0.5, used[::step].tolist())
        axes.set_ylim(len(chosen), 0)
        axes.set_facecolor(RULE)
        name_axes(
            axes,
            x="alignment column" if columns is not None else "position",
            y=f"{len(chosen)} samples",
            title=f"Feature {j}",
        )
        bar = axes.figure.colorbar(mesh, ax=axes, shrink=0.6, aspect=18, pad=0.01)
        bar.outline.set_visible(False)
        bar.set_label("activation", parse_math=False)
    return axes
