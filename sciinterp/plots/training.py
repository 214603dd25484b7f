"""Figures of an SAE and its training: curves, densities, and the fronts that choose between SAEs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sciinterp.plots.style import (
    BLUE,
    GREY,
    INK,
    MUTED,
    PALETTE,
    RULE,
    SKY,
    VERMILLION,
    drawing,
    finite,
    label,
    legend,
    log_axis,
    name_axes,
    note,
    ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^vPXh"


def _frame(log: Any) -> pd.DataFrame:
    """A table of a log given as a table, rows, a ``.jsonl`` file, or an SAE that knows its folder."""
    if log is None:
        return pd.DataFrame()
    if isinstance(log, pd.DataFrame):
        return pd.DataFrame(log).reset_index(drop=True)
    if isinstance(log, str | Path):
        path = Path(log)
        path = path / "training.jsonl" if path.is_dir() else path
        if not path.is_file():
            return pd.DataFrame()
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
        return pd.DataFrame([r for r in rows if isinstance(r, dict)])
    if isinstance(log, Mapping):
        return pd.DataFrame(dict(log))
    if isinstance(log, Iterable):
        return pd.DataFrame([dict(row) for row in log])
    for name in ("log", "training_log", "folder"):
        if getattr(log, name, None) is not None:
            return _frame(getattr(log, name))
    return pd.DataFrame()


def training_curve(log: Any, *, value: str | None = None, ax: Axes | None = None) -> Axes:
    """Reconstruction over training steps.

    Parameters
    ----------
    log : DataFrame, iterable of mappings, path of ``training.jsonl``, or SAE
        Needs a column ``step``.
    value : str, optional
        Column to draw; ``fve`` where there is one, else ``fvu``, ``loss`` or ``mse``.

    Returns
    -------
    matplotlib.axes.Axes
    """
    frame = _frame(log)
    names = [value] if value else ["fve", "fvu", "loss", "mse"]
    name = next((n for n in names if n in frame.columns and not np.isnan(finite(frame[n])).all()), None)
    with drawing(ax, width="single", height=52) as axes:
        if name is None or not len(frame):
            return note(axes, "no training log")
        step = finite(frame["step"]) if "step" in frame.columns else np.arange(len(frame), dtype=float)
        y = finite(frame[name])
        axes.plot(step, y, color=BLUE, lw=1.2, marker="o" if len(frame) < 3 else None, ms=3)
        last = np.flatnonzero(~np.isnan(y))[-1]
        axes.plot(step[last], y[last], marker="o", ms=3.5, color=BLUE, clip_on=False)
        axes.annotate(
            f"{y[last]:.3f}",
            (step[last], y[last]),
            xytext=(0, -5),
            textcoords="offset points",
            ha="right",
            va="top",
        )
        if name in ("fve", "fvu"):
            axes.set_ylim(min(0.0, max(float(np.nanmin(y)), -0.2)), 1.0)
        axes.grid(axis="y")
        text = {"fve": "fraction of variance explained", "fvu": "fraction of variance unexplained"}.get(
            name, name
        )
        name_axes(axes, x="training step", y=text)
    return axes


def density_histogram(features: Any, *, ax: Axes | None = None) -> Axes:
    """How often features fire: a histogram of the fraction of positions where each is active.

    Parameters
    ----------
    features : FeatureMatrix, mapping with ``density``, or array_like [n_features]
        Densities between 0 and 1.

    Returns
    -------
    matplotlib.axes.Axes
    """
    if isinstance(features, Mapping):
        density = finite(features.get("density"))
    else:
        density = finite(getattr(features, "density", features))
    density = density[~np.isnan(density)]
    with drawing(ax, width="single", height=52) as axes:
        if not len(density):
            return note(axes, "no densities")
        alive = density[density > 0]
        never = len(density) - len(alive)
        if len(alive):
            low = np.floor(np.log10(alive.min()))
            axes.hist(np.clip(alive, None, 1.0), bins=np.logspace(min(low, -1), 0, 41), color=BLUE, lw=0)
            median = float(np.median(alive))
            axes.axvline(median, color=INK, lw=0.7, ls=(0, (3, 2)))
            log_axis(axes)
            side = "right" if median > 10 ** (np.log10(axes.get_xlim()[0]) / 2) else "left"
            label(
                axes,
                median,
                0.98,
                f" median {median:.2g} ",
                transform=axes.get_xaxis_transform(),
                va="top",
                ha=side,
            )
        label(
            axes,
            0.0,
            1.02,
            f"{len(alive):,} features active" + (f", {never:,} never active here" if never else ""),
            transform=axes.transAxes,
            va="bottom",
            color=MUTED,
        )
        name_axes(axes, x="fraction of positions where a feature is active", y="features")
    return axes


def _runs(runs: Any) -> pd.DataFrame:
    frame = _frame(runs)
    if "architecture" not in frame.columns and len(frame):
        frame = frame.assign(architecture="SAE")
    return frame


def _lines(ax: Axes, frame: pd.DataFrame, x: str, y: str) -> bool:
    """One line an architecture, with its own colour and marker; False where nothing could be drawn."""
    drawn = False
    for i, (name, rows) in enumerate(frame.groupby(frame["architecture"].astype(str), sort=True)):
        at, value = finite(rows[x]), finite(rows[y])
        kept = ~(np.isnan(at) | np.isnan(value))
        order = np.argsort(at[kept], kind="stable")
        if kept.any():
            ax.plot(
                at[kept][order],
                value[kept][order],
                color=PALETTE[i % len(PALETTE)],
                marker=MARKERS[i % len(MARKERS)],
                ms=3.5,
                label=str(name),
            )
            drawn = True
    return drawn


def front(runs: Any, *, ax: Axes | None = None) -> Axes:
    """Reconstruction against sparsity, one line an architecture: up and to the left is better.

    Parameters
    ----------
    runs : DataFrame or iterable of mappings
        Columns ``l0``, ``fve`` and, for several lines, ``architecture``.

    Returns
    -------
    matplotlib.axes.Axes
    """
    frame = _runs(runs)
    with drawing(ax, width="single", height=58) as axes:
        if not {"l0", "fve"} <= set(frame.columns) or not _lines(axes, frame, "l0", "fve"):
            return note(axes, "no runs to compare")
        axes.grid(axis="y")
        name_axes(axes, x="active features a token (L0)", y="fraction of variance explained")
        legend(axes, columns=3)
    return axes


def scaling(runs: Any, *, value: str = "fve", ax: Axes | None = None) -> Axes:
    """How reconstruction changes with the number of features.

    Parameters
    ----------
    runs : DataFrame or iterable of mappings
        Columns ``n_features``, ``value`` and, for several lines, ``architecture``.
    value : str
        Column to draw.

    Returns
    -------
    matplotlib.axes.Axes
    """
    frame = _runs(runs)
    with drawing(ax, width="single", height=58) as axes:
        if not {"n_features", value} <= set(frame.columns) or not _lines(axes, frame, "n_features", value):
            return note(axes, "no runs to compare")
        widths = sorted({float(v) for v in finite(frame["n_features"]) if v > 0})
        axes.set_xscale("log")
        axes.minorticks_off()
        ticks(axes, "x", widths, [f"{v:,.0f}" for v in widths])
        axes.grid(axis="y")
        name_axes(
            axes,
            x="features in the dictionary",
            y={"fve": "fraction of variance explained"}.get(value, value),
        )
        legend(axes, columns=3)
    return axes


def mdl(runs: Any, *, ax: Axes | None = None) -> Axes:
    """Description length a token against dictionary size: the lowest point is the width the data pay for.

    Parameters
    ----------
    runs : DataFrame or iterable of mappings
        Columns ``n_features``, ``mdl`` (bits a token) and, for several lines, ``architecture``.

    Returns
    -------
    matplotlib.axes.Axes

    References
    ----------
    Ayonrinde et al., arXiv:2410.11179.
    """
    axes = scaling(runs, value="mdl", ax=ax)
    frame = _runs(runs)
    if "mdl" in frame.columns and not np.isnan(finite(frame["mdl"])).all():
        best = int(np.nanargmin(finite(frame["mdl"])))
        axes.plot(
            finite(frame["n_features"])[best],
            finite(frame["mdl"])[best],
            marker="o",
            ms=8,
            mfc="none",
            mec=INK,
        )
        name_axes(axes, x="features in the dictionary", y="description length (bits a token)")
    return axes


def dark_matter(parts: Any, *, ax: Axes | None = None) -> Axes:
    """Where the variance goes: explained, linearly predictable error, and the rest.

    Parameters
    ----------
    parts : mapping of str to float, or iterable of mappings with ``name``
        Fractions of variance ``explained``, ``linear`` and ``nonlinear``.

    Returns
    -------
    matplotlib.axes.Axes

    References
    ----------
    Engels et al., arXiv:2410.14670.
    """
    rows = [dict(parts)] if isinstance(parts, Mapping) else [dict(p) for p in parts or []]
    keys = (("explained", BLUE), ("linear", SKY), ("nonlinear", GREY))
    with drawing(ax, width="single", height=24 + 7 * max(len(rows), 1)) as axes:
        value = np.array([[float(r.get(k, np.nan) or 0.0) for k, _ in keys] for r in rows]).reshape(
            len(rows), 3
        )
        value = np.nan_to_num(value)
        if not value.sum() > 0:
            return note(axes, "the error was not split")
        left = np.zeros(len(rows))
        for i, (name, colour) in enumerate(keys):
            axes.barh(
                np.arange(len(rows)),
                value[:, i],
                left=left,
                color=colour,
                height=0.6,
                label={
                    "explained": "explained",
                    "linear": "error, linear in the input",
                    "nonlinear": "error, the rest",
                }[name],
            )
            left += value[:, i]
        ticks(axes, "y", range(len(rows)), [r.get("name", "SAE") for r in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, max(1.0, float(left.max())))
        name_axes(axes, x="fraction of variance")
        legend(axes, columns=3)
    return axes


def stability(cosines: Any, *, null: Any = None, threshold: float = 0.7, ax: Axes | None = None) -> Axes:
    """How well each feature is found again by another seed, beside random directions.

    Parameters
    ----------
    cosines : array_like of float [n_features]
        Cosine of each feature with its one-to-one match in another seed.
    null : array_like of float, optional
        The same for random directions.
    threshold : float
        What counts as found again.

    Returns
    -------
    matplotlib.axes.Axes

    References
    ----------
    Paulo and Belrose, arXiv:2501.16615.
    """
    value, random = (finite(v)[~np.isnan(finite(v))] for v in (cosines, null))
    with drawing(ax, width="single", height=52) as axes:
        if not len(value):
            return note(axes, "no second seed was trained")
        bins = np.linspace(min(0.0, float(value.min())), 1, 41).tolist()
        axes.hist(value, bins=bins, color=BLUE, lw=0, label="features")
        if len(random):
            axes.hist(
                random,
                bins=bins,
                histtype="step",
                color=VERMILLION,
                lw=1,
                label="random directions",
                weights=np.full(len(random), len(value) / len(random)),
            )
        axes.axvline(threshold, color=INK, lw=0.7, ls=(0, (3, 2)))
        label(
            axes,
            0.99,
            0.98,
            f"{(value > threshold).mean():.0%} above {threshold:g}",
            transform=axes.transAxes,
            ha="right",
            va="top",
        )
        axes.axhline(0, color=RULE, lw=0.5)
        name_axes(axes, x="cosine with the match in another seed", y="features")
        legend(axes)
    return axes
