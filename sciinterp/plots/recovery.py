"""What dictionaries find of features that are known: one row a world, one mark a dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sciinterp.plots.given import require_column, table_of
from sciinterp.plots.style import (
    GREY,
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
from sciinterp.plots.training import MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMES = {
    "recall": "true directions found (cosine of 0.9 or more)",
    "cosine": "mean cosine of true directions with their match",
    "precision": "features that are a true direction",
    "probing": "F1 of the best feature for each true one",
    "fve": "fraction of variance explained",
}


def recovery(worlds: object, *, value: str = "recall", ax: Axes | None = None) -> Axes:
    """How much each dictionary finds in each world of ``sciinterp benchmark dictionary``.

    Parameters
    ----------
    worlds : DataFrame, iterable of mappings, or mapping with ``recovery``
        Columns ``world``, ``dictionary``, ``value``; seeds are drawn as their mean and range. Dictionaries a part of which is
        frozen are open marks.
    value : str
        Column to draw.

    Returns
    -------
    matplotlib.axes.Axes
    """
    held = worlds.get("recovery") if isinstance(worlds, Mapping) else None
    frame = table_of(worlds if held is None else held, "worlds")
    require_column(frame, value, "recall", option="value")
    known = {"world", "dictionary", value} <= set(frame.columns)
    frame = frame.assign(at=finite(frame[value])).dropna(subset=["at"]) if known else frame.iloc[:0]
    names = list(dict.fromkeys(frame["world"].astype(str))) if len(frame) else []
    with drawing(ax, width="half", height=24 + 8 * max(len(names), 2)) as axes:
        if not names:
            return note(axes, "no dictionary was measured")
        for y in range(len(names)):
            axes.axhline(y, color=RULE, lw=0.5, zorder=0)
        kinds = list(dict.fromkeys(frame["dictionary"].astype(str)))
        for i, kind in enumerate(kinds):
            mine = frame[frame["dictionary"].astype(str) == kind]
            seeds = mine.groupby(mine["world"].astype(str))["at"].agg(["mean", "min", "max"])
            frozen = "frozen" in kind
            colour = GREY if frozen else PALETTE[i % len(PALETTE)]
            y = np.array([names.index(world) for world in seeds.index]) + 0.5 * ((i + 0.5) / len(kinds) - 0.5)
            axes.hlines(y, seeds["min"], seeds["max"], color=colour, lw=0.9)
            mark: Look = {"marker": MARKERS[i % len(MARKERS)], "ms": 3.6, "mfc": "none" if frozen else colour}
            axes.plot(seeds["mean"], y, ls="", color=colour, label=kind, **mark)
        ticks(axes, "y", range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(min(-0.02, float(frame["at"].min())), max(1.02, float(frame["at"].max())))
        name_axes(axes, x=_NAMES.get(value, value))
        legend(axes, columns=3)
    return axes
