"""Figures of sweeps and benchmarks, and of calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sciinterp.errors import InputError
from sciinterp.plots.given import Rows, measured, require_column, table_of
from sciinterp.plots.style import (
    BLUE,
    GREY,
    INK,
    MUTED,
    ORANGE,
    PALETTE,
    RULE,
    VERMILLION,
    Look,
    corner,
    drawing,
    finite,
    label,
    legend,
    name_axes,
    note,
    ticks,
)
from sciinterp.plots.training import MARKERS
from sciinterp.settings import at_least, plain_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# column -> (what it is called, colour, marker); what else a sweep's table holds is no count of concepts
_SERIES = {
    "sae": ("SAE features", BLUE, "o"),
    "features": ("SAE features", BLUE, "o"),
    "beat_every_baseline": ("above every baseline", INK, "s"),
    "neurons": ("raw neurons", ORANGE, "D"),
    "randomised": ("randomised weights", VERMILLION, "^"),
}


_OF_WORLDS = {
    "recall": "true directions found (cosine of 0.9 or more)",
    "cosine": "mean cosine of true directions with their match",
    "precision": "features that are a true direction",
    "probing": "F1 of the best feature for each true one",
    "fve": "fraction of variance explained",
}


def layer_sweep(table: Rows, *, ax: Axes | None = None) -> Axes:
    """Concepts found at every site: by SAE features, by single neurons, and with randomised weights.

    Parameters
    ----------
    table : DataFrame
        What :func:`sciinterp.sweep_sites` returned: ``site`` (or sites as index) and the counts ``sae`` (or
        ``features``), ``neurons``, ``randomised``, ``beat_every_baseline``; ``concepts`` is how many were tested.
        Rows of one site (seeds) are drawn as their mean and range.

    Returns
    -------
    matplotlib.axes.Axes

    References
    ----------
    The figure follows Simon and Zou (InterPLM), Nature Methods 2025, with its controls added.
    """
    frame = table_of(table)
    frame = frame if "site" in frame.columns else frame.rename_axis("site").reset_index()
    columns = [c for c in _SERIES if c in frame.columns and not np.isnan(finite(frame[c])).all()]
    with drawing(ax, width="single", height=60) as axes:
        if not columns or not len(frame):
            return note(axes, "no sites were compared")
        sites = list(dict.fromkeys(frame["site"].tolist()))
        x = np.arange(len(sites))
        for name in columns:
            words, colour, marker = _SERIES[name]
            seeds = pd.Series(finite(frame[name])).groupby(frame["site"].to_numpy())
            seeds = seeds.agg(["mean", "min", "max"]).reindex(sites)
            axes.plot(x, seeds["mean"], color=colour, marker=marker, ms=3.5, label=words)
            axes.vlines(x, seeds["min"], seeds["max"], color=colour, lw=0.9)
        ticks(axes, "x", x, sites, rotation=0 if sum(len(str(s)) for s in sites) <= 56 else 45)
        axes.locator_params(axis="y", integer=True)
        axes.set_ylim(bottom=0)
        axes.set_xlim(-0.3, len(sites) - 0.7)
        axes.grid(axis="y")
        tested = finite(frame["concepts"]) if "concepts" in frame.columns else finite([np.nan])
        of = f" of {np.nanmax(tested):.0f}" if not np.isnan(tested).all() else ""
        name_axes(axes, x="site", y=f"concepts found{of}")
        legend(axes, columns=3)
    return axes


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
    frame = measured(frame, "world", "dictionary", numbers=[value])
    frame = frame.assign(at=finite(frame[value]))
    names = list(dict.fromkeys(frame["world"].astype(str)))
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
        name_axes(axes, x=_OF_WORLDS.get(value, value))
        legend(axes, columns=3)
    return axes


def precision_at_k(table: Rows, *, ax: Axes | None = None) -> Axes:
    """Precision among the ``k`` highest candidates, with its interval, on hidden annotations.

    Parameters
    ----------
    table : DataFrame or iterable of mappings
        Columns ``k``, ``precision``; where known ``low``, ``high``, ``base`` (precision at random), ``kind``.

    Returns
    -------
    matplotlib.axes.Axes
    """
    frame = table_of(table)
    with drawing(ax, width="single", height=55) as axes:
        if not {"k", "precision"} <= set(frame.columns) or np.isnan(finite(frame["precision"])).all():
            return note(axes, "precision was not measured")
        kinds = frame["kind"].astype(str) if "kind" in frame.columns else np.repeat("candidates", len(frame))
        for i, (kind, rows) in enumerate(frame.groupby(kinds, sort=True)):
            colour, k = PALETTE[i % len(PALETTE)], finite(rows["k"])
            order = np.argsort(k, kind="stable")
            value = {c: finite(rows[c])[order] for c in ("precision", "low", "high") if c in rows.columns}
            axes.plot(k[order], value["precision"], color=colour, marker="o", ms=3, label=str(kind))
            if len(value) == 3:
                axes.fill_between(k[order], value["low"], value["high"], color=colour, alpha=0.18, lw=0)
        if "base" in frame.columns and not np.isnan(finite(frame["base"])).all():
            base = float(np.nanmean(finite(frame["base"])))
            axes.axhline(base, color=MUTED, lw=0.7, ls=(0, (3, 2)))
            place: Look = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom"}
            label(axes, 1, base, "at random", color=MUTED, **place)
        axes.set_ylim(0, 1.02)
        axes.locator_params(axis="x", integer=True)
        axes.grid(axis="y")
        name_axes(axes, x="k", y="precision among the k highest")
        legend(axes, columns=3)
    return axes


def reliability(probability: object, truth: object = None, *, bins: int = 10, ax: Axes | None = None) -> Axes:
    """Calibrated probabilities against what turned out true: on the diagonal they can be believed.

    Parameters
    ----------
    probability : array_like of float [n], or DataFrame
        Probabilities with ``truth``, or a table of columns ``probability`` and ``truth``, or one already in bins:
        ``probability``, ``observed`` (share true) and ``n``.
    truth : array_like of bool [n]
    bins : int
        Equal-width bins.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        A probability outside of 0 to 1, or not as many of them as of truths.
    """
    mean_p, mean_t, size = _in_bins(probability, truth, plain_value(bins, int, "bins=", at_least(1)))
    with drawing(ax, width="single", height=62) as axes:
        if not len(size):
            return note(axes, "no probability could be checked")
        z2 = 1.96**2 / size  # Wilson's interval
        centre = (mean_t + z2 / 2) / (1 + z2)
        spread = np.maximum(mean_t * (1 - mean_t) / size * 1.96**2, 0) + z2**2 / 4
        half = np.sqrt(spread) / (1 + z2)
        axes.plot([0, 1], [0, 1], color=MUTED, lw=0.7, ls=(0, (3, 2)), zorder=0)
        axes.vlines(mean_p, np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1), color=INK, lw=0.8)
        axes.scatter(mean_p, mean_t, s=8 + 40 * size / size.max(), color=BLUE, zorder=3, linewidths=0)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        name_axes(axes, x="stated probability", y="fraction true")
        corner(axes, 0.98, 0.03, f"{size.sum():,.0f} candidates, 95% intervals")
    return axes


def _in_bins(probability: object, truth: object, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability, share true and size of every bin that holds something."""
    if truth is None and isinstance(probability, pd.DataFrame | Mapping):
        table = table_of(probability, "probability")
        if {"observed", "n"} <= set(table.columns):
            p, t, n = (finite(table[c]) for c in ("probability", "observed", "n"))
            kept = ~(np.isnan(p) | np.isnan(t)) & (n > 0)
            return p[kept], t[kept], n[kept]
        probability, truth = table.get("probability"), table.get("truth")
    p, t = finite(probability), finite(truth)
    if truth is not None and len(p) != len(t):
        raise InputError(
            "probabilities and truths do not fit", where="truth=", expected=f"{len(p)}", got=f"{len(t)}"
        )
    kept = ~np.isnan(t) & ~np.isnan(p[: len(t)])
    p, t = p[: len(t)][kept], t[kept]
    if ((p < 0) | (p > 1)).any():
        wrong = p[(p < 0) | (p > 1)][0]
        raise InputError(
            "a number out of range", where="probability=", expected="between 0 and 1", got=f"{wrong:g}"
        )
    which = np.clip((p * bins).astype(int), 0, bins - 1)
    size = np.bincount(which, minlength=bins)
    full = size > 0
    mean_p, mean_t = (np.bincount(which, weights=v, minlength=bins)[full] / size[full] for v in (p, t))
    return mean_p, mean_t, size[full].astype(float)
