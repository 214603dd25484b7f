"""Figures of control: what turning features does, beside other directions, at equal divergence off target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sciinterp.errors import no_such
from sciinterp.plots.given import Rows, measured, table_of
from sciinterp.plots.style import (
    BLUE,
    GREY,
    INK,
    MUTED,
    ORANGE,
    PALETTE,
    RULE,
    Look,
    drawing,
    finite,
    legend,
    name_axes,
    note,
    ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# kind of direction -> (what it is called, colour, marker)
KINDS = {
    "feature": ("feature", BLUE, "o"),
    "set": ("its set", PALETTE[2], "s"),
    "means": ("difference of means", ORANGE, "D"),
    "neuron": ("best neuron", PALETTE[4], "^"),
    "component": ("best component", PALETTE[5], "v"),
    "randomised": ("feature, random weights", PALETTE[6 % len(PALETTE)], "P"),
    "noise": ("noise", INK, "x"),
    "random": ("random features", MUTED, "|"),
}


def looks_of(kinds: pd.Series) -> list[tuple[str, str, str, str]]:
    """Kinds of directions with their words, colours and markers, the first to be drawn last; those of others are grey."""
    others = [(kind, kind, GREY, "h") for kind in sorted(set(kinds.astype(str)) - set(KINDS))]
    return [*reversed(others), *((kind, *look) for kind, look in reversed(KINDS.items()))]


def control_matrix(table: Rows, *, ax: Axes | None = None) -> Axes:
    """Gain of every direction for every concept, at equal divergence off target; the feature's with its interval.

    A hollow mark is a direction that even at the largest dose did less elsewhere than that divergence.

    Parameters
    ----------
    table : DataFrame
        What :func:`sciinterp.control_matrix` returned.

    Returns
    -------
    matplotlib.axes.Axes
    """
    frame = measured(table, "concept", "kind", numbers=["gain"])
    concepts = list(dict.fromkeys(frame["concept"].tolist()))
    with drawing(ax, width="double", height=22 + 7 * max(len(concepts), 2)) as axes:
        if not concepts:
            return note(axes, "no feature was turned")
        place = {name: -i for i, name in enumerate(concepts)}
        axes.axvline(0, color=RULE, lw=0.7)
        for kind, words, colour, marker in looks_of(frame["kind"]):
            rows = frame[frame["kind"] == kind]
            y = np.array([place[c] for c in rows["concept"]])
            if kind == "feature" and {"low", "high"} <= set(rows.columns):
                axes.hlines(y, finite(rows["low"]), finite(rows["high"]), color=colour, lw=1)
            short = np.zeros(len(rows), bool)
            if "reached" in rows.columns:
                short = ~rows["reached"].to_numpy(bool)
            if len(rows):
                gain, style = finite(rows["gain"]), Look(ls="", color=colour, marker=marker, ms=4)
                axes.plot(gain[~short], y[~short], label=words, **style)
                axes.plot(gain[short], y[short], fillstyle="none", **style)
        ticks(axes, "y", [place[c] for c in concepts], concepts)
        axes.set_ylim(-len(concepts) + 0.4, 0.6)
        name_axes(axes, x="gain of the judge's score at equal divergence elsewhere")
        legend(axes, columns=4)
    return axes


def dose(table: Rows, concept: str | None = None, *, ax: Axes | None = None) -> Axes:
    """The judge's gain against the divergence off target, over the doses of each direction of one concept.

    The axis of divergence is logarithmic beyond a tenth of the level at which gains are read (a dotted line, where the
    table says it), and straight below.

    Parameters
    ----------
    table : DataFrame
        What :func:`sciinterp.control_matrix` returned, or the table of its doses: ``concept kind direction dose divergence
        gain``.
    concept : str, optional
        By default the first.

    Returns
    -------
    matplotlib.axes.Axes
    """
    context = getattr(table, "context", None) or {}
    doses, settings = context.get("doses", table), context.get("settings")
    frame = table_of(doses)
    known = {"concept", "kind", "divergence", "gain"} <= set(frame.columns) and len(frame)
    if known:
        if concept is not None and concept not in set(frame["concept"]):
            raise no_such("concept", concept, dict.fromkeys(frame["concept"].astype(str)), where="concept=")
        frame = frame[frame["concept"] == (frame["concept"].iloc[0] if concept is None else concept)]
        frame = frame[~np.isnan(finite(frame["gain"])) & ~np.isnan(finite(frame["divergence"]))]
    with drawing(ax, width="single", height=60) as axes:
        if not known or not len(frame):
            return note(axes, "no dose was tried")
        direction = frame["direction"] if "direction" in frame.columns else frame["kind"]
        axes.axhline(0, color=RULE, lw=0.7)
        level = 0.1 if settings is None else settings.divergence
        if settings is not None:
            axes.axvline(level, color=MUTED, lw=0.8, ls=":")
        axes.set_xscale("symlog", linthresh=level / 10)
        axes.set_xlim(left=0)
        for kind, words, colour, marker in looks_of(frame["kind"]):
            width = 0.5 if kind in ("random", "noise") else 1
            style = Look(color=colour, marker=marker, ms=3, lw=width)
            for number, (_, rows) in enumerate(frame[frame["kind"] == kind].groupby(direction, sort=True)):
                divergence, gain = finite(rows["divergence"]), finite(rows["gain"])
                order = np.argsort(divergence, kind="stable")
                name = words if number == 0 else None
                axes.plot(divergence[order], gain[order], label=name, **style)
        most = float(finite(frame["divergence"]).max())
        marks = [0.0, *(level * 10.0**k for k in range(-1, 4) if k <= 0 or level * 10.0**k <= most)]
        ticks(axes, "x", marks, [f"{mark:g}" for mark in marks])
        axes.grid(axis="y")
        name_axes(axes, x="divergence off target (nats a token)", y="gain of the judge's score")
        legend(axes, columns=2)
    return axes
