"""Figures of sweeps, of calibration, and of variants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sciinterp.plots.style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    PALETTE,
    RULE,
    VERMILLION,
    drawing,
    finite,
    label,
    legend,
    name_axes,
    note,
    plain,
    ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SERIES = (("features", BLUE, "o"), ("neurons", ORANGE, "D"), ("randomised", VERMILLION, "^"))


def layer_sweep(table: Any, *, ax: Axes | None = None) -> Axes:
    """Concepts found at every site, by features, by single neurons and with randomised weights.

    Parameters
    ----------
    table : DataFrame
        Column ``site`` (or sites as index) and concepts found: ``features``, ``neurons``, ``randomised``.

    Returns
    -------
    matplotlib.axes.Axes
    """
    frame = pd.DataFrame(table)
    sites = frame["site"].tolist() if "site" in frame.columns else frame.index.tolist()
    known = {name: (colour, marker) for name, colour, marker in _SERIES}
    columns = [
        c for c in frame.columns if c != "site" and not np.isnan(finite(frame[c])).all() and len(frame)
    ]
    with drawing(ax, width="single", height=58) as axes:
        if not columns:
            return note(axes, "no sites were compared")
        x = np.arange(len(sites))
        for i, name in enumerate(columns):
            colour, marker = known.get(str(name), (PALETTE[(i + 3) % len(PALETTE)], "s"))
            axes.plot(x, finite(frame[name]), color=colour, marker=marker, ms=3.5, label=str(name))
        ticks(axes, "x", x, sites, rotation=0 if len(sites) <= 6 else 45)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        name_axes(axes, x="site", y="concepts found")
        legend(axes, columns=3)
    return axes


def precision_at_k(table: Any, *, ax: Axes | None = None) -> Axes:
    """Precision among the ``k`` highest candidates, with its interval, on hidden annotations.

    Parameters
    ----------
    table : DataFrame or iterable of mappings
        Columns ``k``, ``precision``; where known ``low``, ``high``, ``base`` (precision at random), ``kind``.

    Returns
    -------
    matplotlib.axes.Axes
    """
    frame = pd.DataFrame(table if table is not None else [])
    with drawing(ax, width="single", height=55) as axes:
        if not {"k", "precision"} <= set(frame.columns) or np.isnan(finite(frame["precision"])).all():
            return note(axes, "precision was not measured")
        kinds = (
            frame["kind"].astype(str)
            if "kind" in frame.columns
            else pd.Series("candidates", index=frame.index)
        )
        for i, (kind, rows) in enumerate(frame.groupby(kinds, sort=True)):
            colour, k = PALETTE[i % len(PALETTE)], finite(rows["k"])
            order = np.argsort(k, kind="stable")
            axes.plot(
                k[order], finite(rows["precision"])[order], color=colour, marker="o", ms=3, label=str(kind)
            )
            if {"low", "high"} <= set(rows.columns):
                axes.fill_between(
                    k[order],
                    finite(rows["low"])[order],
                    finite(rows["high"])[order],
                    color=colour,
                    alpha=0.18,
                    lw=0,
                )
        if "base" in frame.columns and not np.isnan(finite(frame["base"])).all():
            base = float(np.nanmean(finite(frame["base"])))
            axes.axhline(base, color=MUTED, lw=0.7, ls=(0, (3, 2)))
            label(
                axes,
                1,
                base,
                "at random",
                transform=axes.get_yaxis_transform(),
                ha="right",
                va="bottom",
                color=MUTED,
            )
        axes.set_ylim(0, 1.02)
        axes.grid(axis="y")
        name_axes(axes, x="highest k candidates", y="precision on hidden annotations")
        legend(axes, columns=3)
    return axes


def reliability(probability: Any, truth: Any = None, *, bins: int = 10, ax: Axes | None = None) -> Axes:
    """Calibrated probabilities against what turned out true: on the diagonal they can be believed.

    Parameters
    ----------
    probability : array_like of float [n], or DataFrame with columns ``probability`` and ``truth``
    truth : array_like of bool [n]
    bins : int
        Equal-width bins.

    Returns
    -------
    matplotlib.axes.Axes
    """
    if truth is None and isinstance(probability, pd.DataFrame | Mapping):
        truth, probability = probability.get("truth"), probability.get("probability")
    p, t = finite(probability), finite(truth)
    n = min(len(p), len(t))
    kept = ~(np.isnan(p[:n]) | np.isnan(t[:n]))
    p, t = p[:n][kept], t[:n][kept]
    with drawing(ax, width="single", height=62) as axes:
        if not len(p):
            return note(axes, "no probability could be checked")
        which = np.clip((p * bins).astype(int), 0, bins - 1)
        size = np.bincount(which, minlength=bins)
        full = size > 0
        mean_p, mean_t = (np.bincount(which, weights=v, minlength=bins)[full] / size[full] for v in (p, t))
        z2 = 1.96**2 / size[full]
        centre, half = (
            (mean_t + z2 / 2) / (1 + z2),
            np.sqrt(np.maximum(mean_t * (1 - mean_t) / size[full] * 1.96**2, 0) + z2**2 / 4) / (1 + z2),
        )
        axes.plot([0, 1], [0, 1], color=RULE, lw=0.8, zorder=0)
        axes.vlines(mean_p, np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1), color=INK, lw=0.8)
        axes.scatter(mean_p, mean_t, s=8 + 40 * size[full] / size.max(), color=BLUE, zorder=3, linewidths=0)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        name_axes(axes, x="stated probability", y="fraction true")
        label(axes, 0.02, 0.98, f"{len(p):,} candidates", transform=axes.transAxes, va="top", color=MUTED)
    return axes


def variant_effect(effects: Any, *, ax: Axes | None = None, top: int = 20) -> Axes:
    """Features a variant gains (right) and loses (left), strongest first.

    Parameters
    ----------
    effects : DataFrame
        Columns ``feature`` and ``delta`` (or ``before``, ``after``); ``concept`` names a feature where known.
    top : int

    Returns
    -------
    matplotlib.axes.Axes
    """
    frame = pd.DataFrame(effects if effects is not None else [])
    if "delta" not in frame.columns and {"before", "after"} <= set(frame.columns):
        frame = frame.assign(delta=finite(frame["after"]) - finite(frame["before"]))
    delta = finite(frame["delta"]) if "delta" in frame.columns else np.zeros(0)
    order = np.argsort(-np.abs(np.nan_to_num(delta)), kind="stable")[:top]
    order = order[~np.isnan(delta[order])] if len(delta) else order
    with drawing(ax, width="single", height=22 + 4 * max(len(order), 4)) as axes:
        if not len(order):
            return note(axes, "the variant changes no feature")
        rows, value, y = frame.iloc[order], delta[order], np.arange(len(order))
        axes.barh(y, value, color=np.where(value >= 0, BLUE, VERMILLION), height=0.66)
        names = [
            f"{f}" if not isinstance(c, str) or not c else f"{f} {plain(c, 20)}"
            for f, c in zip(
                rows.get("feature", y), rows["concept"] if "concept" in rows.columns else [""] * len(rows)
            )
        ]
        ticks(axes, "y", y, names)
        axes.axvline(0, color=INK, lw=0.6)
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        name_axes(axes, x="change of activation (variant - reference)", y="feature")
    return axes
