"""Figures of sweeps, of calibration, and of variants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sciinterp.errors import InputError
from sciinterp.plots.given import Rows, table_of
from sciinterp.plots.style import (
    BLUE,
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
    plain,
    ticks,
)
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


def variant_effect(effects: Rows, *, ax: Axes | None = None, top: int = 20) -> Axes:
    """Features a variant strengthens and weakens, from their value in the reference to that in the variant.

    Parameters
    ----------
    effects : DataFrame
        What :func:`sciinterp.variant_effect` returned: ``feature before after`` (or ``delta`` alone); ``concepts``
        (or ``concept``) names what a feature stands for.
    top : int
        The largest changes to show.

    Returns
    -------
    matplotlib.axes.Axes
    """
    top, frame = plain_value(top, int, "top=", at_least(1)), table_of(effects, "effects")
    if "delta" not in frame.columns and {"before", "after"} <= set(frame.columns):
        frame = frame.assign(delta=finite(frame["after"]) - finite(frame["before"]))
    delta = finite(frame["delta"]) if "delta" in frame.columns else np.full(len(frame), np.nan)
    order = np.argsort(-np.abs(delta), kind="stable")  # what is no number comes last
    order = order[: min(top, int((~np.isnan(delta)).sum()))]
    with drawing(ax, width="half", height=24 + 4 * max(len(order), 4)) as axes:
        if not len(order):
            return note(axes, "the variant changes no feature")
        rows, value, y = frame.iloc[order], delta[order], np.arange(len(order))
        both = {"before", "after"} <= set(rows.columns)
        before = finite(rows["before"]) if both else np.zeros(len(rows))
        after = finite(rows["after"]) if both else value
        axes.hlines(y, -1e9, 1e9, color=RULE, lw=0.4, zorder=0)
        for at, colour, marker, words in (
            (value >= 0, BLUE, ">", "stronger in the variant"),
            (value < 0, VERMILLION, "<", "weaker in the variant"),
        ):
            if at.any():
                axes.hlines(y[at], before[at], after[at], color=colour, lw=2, label=words)
                axes.scatter(after[at], y[at], s=16, color=colour, marker=marker, zorder=3, linewidths=0)
        if both:
            ring: Look = {"facecolors": "white", "edgecolors": INK, "linewidths": 0.7}
            axes.scatter(before, y, s=9, zorder=4, label="reference", **ring)
        ends = np.concatenate([before, after, [0.0]])
        room = 0.05 * (float(np.nanmax(ends) - np.nanmin(ends)) or 1.0)
        axes.set_xlim(float(np.nanmin(ends)) - room, float(np.nanmax(ends)) + room)
        ticks(axes, "y", y, _feature_names(rows), limit=36)
        axes.axvline(0, color=INK, lw=0.6)
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        change = str((getattr(effects, "context", None) or {}).get("variant") or "")
        name_axes(axes, x="activation" if both else "change of activation", y="", title=change)
        legend(axes, columns=3)
        if change:
            axes.set_title(plain(change), pad=14, parse_math=False)
    return axes


def _feature_names(rows: pd.DataFrame) -> list[str]:
    """Features with what they stand for, where it is known."""
    known = next((rows[c].tolist() for c in ("concepts", "concept") if c in rows.columns), [""] * len(rows))
    words = [
        ", ".join(map(str, k)) if isinstance(k, list | tuple) else k if isinstance(k, str) else ""
        for k in known
    ]
    features = rows["feature"].tolist() if "feature" in rows.columns else range(len(rows))
    return [f"{word} {feature}" if word else f"feature {feature}" for word, feature in zip(words, features)]
