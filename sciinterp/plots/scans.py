"""Figures of variants: what one changes, every substitution with its score, and score against a feature's change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse as sp
from scipy.stats import spearmanr

from sciinterp.errors import InputError, no_such
from sciinterp.plots.given import Rows, table_of
from sciinterp.plots.style import (
    BLUE,
    INK,
    MUTED,
    RULE,
    VERMILLION,
    Look,
    corner,
    drawing,
    finite,
    legend,
    name_axes,
    note,
    plain,
    ticks,
)
from sciinterp.settings import at_least, plain_value

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

# Letters by kind, so that alike ones are neighbours.
LETTERS = "GAVILMCPFYWHKRQNEDST"


def assay_scan(scan: AnnData | Rows, *, features: Sequence[int] = (), ax: Axes | None = None) -> Axes:
    """A scan's scores, letters by positions, with a track below for each of some features.

    Parameters
    ----------
    scan : AnnData or DataFrame
        Of :func:`sciinterp.saturate`, or ``context["scan"]`` of :func:`sciinterp.assay`: ``position ref alt`` and
        ``score`` (else the first likelihood). Substitutions of one letter are drawn.
    features : sequence of int
        Each track shows the mean size of a feature's change over the substitutions at a position, its largest being one.

    Returns
    -------
    matplotlib.axes.Axes
    """
    frame, score = _single(scan)
    changes = [_change(scan, feature)[frame["row"].to_numpy()] for feature in features] if len(frame) else []
    with drawing(ax, width="double", height=58 + 4 * len(features)) as axes:
        if not len(frame):
            return note(axes, "no substitution was scored")
        first, last = int(frame["position"].min()), int(frame["position"].max())
        letters = [x for x in LETTERS if x in set(frame["alt"])] or sorted(set(frame["alt"]))
        letters += sorted(set(frame["alt"]) - set(letters))
        grid = np.full((len(letters), last - first + 1), np.nan)
        row, column = frame["alt"].map(letters.index).to_numpy(), frame["position"].to_numpy(int) - first
        grid[row, column] = frame["value"]
        width = float(np.nanmax(np.abs(grid - np.nanmedian(grid)))) or 1.0
        middle = float(np.nanmedian(grid))
        extent = (first + 0.5, last + 1.5, len(letters) - 0.5, -0.5)
        axes.imshow(grid, cmap="RdBu_r", vmin=middle - width, vmax=middle + width, extent=extent, aspect="auto", interpolation="nearest")  # fmt: skip
        seen = np.maximum(np.bincount(column, minlength=grid.shape[1]), 1)
        for number, change in enumerate(changes):
            mean = np.bincount(column, np.abs(change), minlength=grid.shape[1]) / seen
            low, height = len(letters) + 0.5 + 2 * number, -1.4 * mean / (mean.max() or 1)
            axes.bar(np.arange(first, last + 1) + 1, height, bottom=low + 1, width=0.9, color=BLUE, lw=0)
        names = [*letters, *(f"feature {j}" for j in features)]
        places = [*range(len(letters)), *(len(letters) + 0.9 + 2 * i for i in range(len(features)))]
        ticks(axes, "y", np.array(places), names)
        axes.set_xlim(first + 0.5, last + 1.5)
        axes.set_ylim(len(letters) - 0.5 + 2 * len(features) + 0.5 * bool(features), -0.5)
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", integer=True)
        name_axes(axes, x="position", y="letter after")
        corner(axes, 1, 1.01, f"{score}: {middle - width:.3g} (blue) to {middle + width:.3g} (red)")
    return axes


def assay_change(scan: AnnData | None, feature: int, *, ax: Axes | None = None) -> Axes:
    """What was measured of each variant against the change of a feature.

    Parameters
    ----------
    scan : AnnData
        With ``score``, as ``context["scan"]`` of :func:`sciinterp.assay`.
    feature : int

    Returns
    -------
    matplotlib.axes.Axes
    """
    y = np.zeros(0) if scan is None or "score" not in scan.obs else finite(scan.obs["score"])
    with drawing(ax, width="single", height=62) as axes:
        if scan is None or np.isfinite(y).sum() < 1:
            return note(axes, "no variant was scored")
        x = _change(scan, feature)
        keep = np.isfinite(y) & np.isfinite(x)
        x, y = x[keep], y[keep]
        axes.axvline(0, color=MUTED, lw=0.6)
        axes.scatter(x, y, s=6, color=BLUE, alpha=0.5, linewidths=0)
        if len(x) > 2 and np.ptp(x) and np.ptp(y):
            said = f"rank correlation {spearmanr(x, y)[0]:.2f}, {len(x):,} variants"
            corner(axes, 0.02, 0.98, said, color=INK)
        name_axes(axes, x=f"change of feature {feature}", y="score")
    return axes


def _change(scan: object, feature: int) -> np.ndarray:
    """float64 [n_variants]: the change of one feature in every variant of a scan."""
    codes = getattr(scan, "X", None)
    if codes is None:
        raise InputError("a table of scores holds no features", where="scan=", expected="an AnnData")
    j, n = plain_value(feature, int, "feature"), codes.shape[1]
    if not 0 <= j < n:
        raise no_such("feature", j, [f"0 to {n - 1}"])
    column = codes[:, [j]]
    return np.asarray(column.toarray() if sp.issparse(column) else column, float).ravel()


def _single(scan: object) -> tuple[pd.DataFrame, str]:
    """Substitutions of one letter, with what is drawn of them."""
    obs = table_of(getattr(scan, "obs", scan), "scan")
    known = [c for c in ("score", "masked_marginal", "wild_type_marginal", "causal") if c in obs.columns]
    if not known or not {"position", "ref", "alt"} <= set(obs.columns):
        return pd.DataFrame(), ""
    frame = obs.assign(value=finite(obs[known[0]]), row=np.arange(len(obs)))
    one = (frame["ref"].str.len() == 1) & (frame["alt"].str.len() == 1) & np.isfinite(frame["value"])
    return frame[one.to_numpy()], known[0].replace("_", " ")


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
