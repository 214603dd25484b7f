"""Figures of an SAE and its training: curves, densities, and the fronts that choose between SAEs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from sciinterp.errors import InputError
from sciinterp.plots.given import Rows, read_log, require_column, table_of
from sciinterp.plots.style import (
    BLUE,
    GREY,
    INK,
    PALETTE,
    RULE,
    SKY,
    VERMILLION,
    Look,
    corner,
    drawing,
    finite,
    is_own,
    label,
    legend,
    log_axis,
    name_axes,
    note,
    style,
    ticks,
)
from sciinterp.provenance import measured_on, origin_of
from sciinterp.settings import plain_value

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from sciinterp.sae import SAE

MARKERS = "osD^vPXh"
_WORDS = {
    "fve": "fraction of variance explained",
    "fvu": "fraction of variance unexplained",
    "mdl": "description length (bits a token)",
    "n_features": "features in the dictionary",
    "k": "codes above zero a token",
    "tokens": "training tokens",
}


@runtime_checkable
class Laws(Protocol):
    """What ``si.scaling`` returns, which is not imported here: errors, and the law fitted to those of each reader."""

    runs: pd.DataFrame
    fits: pd.DataFrame

    @property
    def readers(self) -> list[str]: ...

    def curve(self, reader: str, over: str, values: Sequence[float]) -> np.ndarray: ...


def training_curve(log: Rows | str | Path | SAE, *, value: str | None = None, ax: Axes | None = None) -> Axes:
    """Reconstruction over training steps, and what is left of it on held-out families.

    Parameters
    ----------
    log : DataFrame, iterable of mappings, path of ``training.jsonl``, or SAE
        Needs a column ``step``. The held-out value is known where an SAE with ``metrics`` is given.
    value : str, optional
        Column to draw; ``fve`` where there is one, else ``fvu``, ``loss`` or ``mse``.

    Returns
    -------
    matplotlib.axes.Axes
    """
    frame = read_log(log)
    require_column(frame, value or "fve", "fve", option="value")
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
        held = float(finite([(getattr(log, "metrics", None) or {}).get(name)])[0])
        above = np.isnan(held) or y[last] >= held
        _say(axes, float(step[last]), float(y[last]), f"training batches {y[last]:.3f}", above=bool(above))
        if not np.isnan(held):
            axes.axhline(held, color=INK, lw=0.8, ls=(0, (3, 2)))
            _say(axes, float(step[last]), held, f"{measured_on(origin_of(log))} {held:.3f}", above=not above)
        if name in ("fve", "fvu"):
            axes.set_ylim(min(0.0, max(float(np.nanmin(y)), -0.2)), 1.0)
        axes.grid(axis="y")
        name_axes(axes, x="training step", y=_WORDS.get(name, name))
    return axes


def _say(ax: Axes, x: float, y: float, text: str, *, above: bool) -> None:
    """A value named beside its line, to the left of ``x``."""
    ax.annotate(
        text,
        (x, y),
        xytext=(0, 3.5 if above else -3.5),
        textcoords="offset points",
        ha="right",
        va="bottom" if above else "top",
        parse_math=False,
    )


def density_histogram(features: object, *, ax: Axes | None = None) -> Axes:
    """How often features fire: a histogram of the fraction of positions where each is active.

    Parameters
    ----------
    features : FeatureMatrix, mapping with ``density``, or array_like [n_features]
        Densities between 0 and 1.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        A density outside of 0 to 1.
    """
    held = (
        features.get("density") if isinstance(features, Mapping) else getattr(features, "density", features)
    )
    density = finite(held)
    density = density[~np.isnan(density)]
    if len(density) and not 0 <= density.min() <= density.max() <= 1 + 1e-6:
        got = f"{density.min():g} to {density.max():g}"
        raise InputError("densities out of range", where="features=", expected="between 0 and 1", got=got)
    with drawing(ax, width="single", height=52) as axes:
        if not len(density):
            return note(axes, "no densities")
        alive = density[density > 0]
        never = len(density) - len(alive)
        if not len(alive):
            return note(axes, f"none of {len(density):,} features is active here")
        low = np.floor(np.log10(alive.min()))
        axes.hist(np.clip(alive, None, 1.0), bins=np.logspace(min(low, -1), 0, 41), color=BLUE, lw=0)
        median = float(np.median(alive))
        axes.axvline(median, color=INK, lw=0.7, ls=(0, (3, 2)))
        log_axis(axes)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.14)
        side = "right" if median > 10 ** (np.log10(axes.get_xlim()[0]) / 2) else "left"
        top: Look = {"transform": axes.get_xaxis_transform(), "va": "top", "ha": side}
        label(axes, median, 0.99, f" median {median:.2g} ", **top)
        silent = f", {never:,} never active here" if never else ""
        corner(axes, 0.0, 1.02, f"{len(alive):,} features active{silent}")
        name_axes(axes, x="fraction of positions where a feature is active", y="features")
    return axes


def _runs(runs: object) -> pd.DataFrame:
    frame = read_log(runs, "runs")
    if "architecture" not in frame.columns and len(frame):
        frame = frame.assign(architecture="SAE")
    return frame


def _lines(ax: Axes, frame: pd.DataFrame, x: str, y: str, *, by: str, setting: str) -> bool:
    """One line an architecture (and a value of ``by`` where several are there): the mean of seeds and their range.

    Rows of one line and one ``setting`` are seeds of one run. False where nothing could be drawn.
    """
    drawn = False
    name, several = frame["architecture"].astype(str), by in frame.columns and frame[by].nunique() > 1
    if several:
        name = name + ", " + frame[by].map(lambda v: _setting(by, v))
    order = pd.DataFrame(
        {"name": name, "by": finite(frame[by]) if several else 0.0, "was": frame["architecture"].astype(str)}
    )
    for i, label_ in enumerate(order.drop_duplicates("name").sort_values(["was", "by"])["name"]):
        rows = frame[name.to_numpy() == label_]
        columns = {"x": rows[x], "y": rows[y], "at": rows.get(setting, rows[x])}
        table = pd.DataFrame({k: finite(v) for k, v in columns.items()}).dropna(subset=["x", "y"])
        table["at"] = table["at"].fillna(table["x"])
        seeds = table.groupby("at").agg(x=("x", "mean"), y=("y", "mean"), low=("y", "min"), high=("y", "max"))
        seeds = seeds.sort_values("x", kind="stable")
        if len(seeds):
            colour, marker = PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]
            ax.plot(seeds["x"], seeds["y"], color=colour, marker=marker, ms=3.5, label=label_)
            ax.vlines(seeds["x"], seeds["low"], seeds["high"], color=colour, lw=0.9)
            drawn = True
    return drawn


def _setting(name: str, value: object) -> str:
    number = finite([value])[0]
    text = str(value) if np.isnan(number) else f"{number:,g}" if number >= 1e5 else f"{number:,.10g}"
    return f"{text} features" if name == "n_features" else f"{name} = {text}"


def _wide_axis(ax: Axes, values: object) -> None:
    """The values themselves as ticks of x, logarithmic where they span a factor of four or more."""
    at = sorted({float(v) for v in finite(values) if v > 0})
    if at:
        if at[-1] >= 4 * at[0]:
            ax.set_xscale("log")
            ax.minorticks_off()
        kept = at[:1]
        for value in at[1:]:  # names stay apart
            if np.log(value / kept[-1]) > 0.09 * np.log(at[-1] / at[0]):
                kept.append(value)
        ticks(ax, "x", kept, [f"{v:,.0f}" for v in kept])


def front(runs: Rows | str | Path, *, ax: Axes | None = None) -> Axes:
    """Reconstruction against sparsity, one line an architecture and width: up and to the left is better.

    Parameters
    ----------
    runs : DataFrame or iterable of mappings
        Columns ``l0``, ``fve``; for several lines ``architecture``, ``n_features``; seeds of one ``k`` are drawn as
        their mean and range. A ring marks the front: no other mean has at most its L0 and at least its fve.

    Returns
    -------
    matplotlib.axes.Axes
    """
    frame = _runs(runs)
    with drawing(ax, width="single", height=60) as axes:
        if not {"l0", "fve"} <= set(frame.columns) or not _lines(
            axes, frame, "l0", "fve", by="n_features", setting="k"
        ):
            return note(axes, "no runs to compare")
        best = _front(frame)
        if len(best) > 1:
            ring: Look = {"facecolors": "none", "edgecolors": INK, "linewidths": 0.7}
            axes.scatter(best["l0"], best["fve"], s=40, label="on the front", **ring)
        _wide_axis(axes, frame["k"] if "k" in frame.columns and frame["k"].notna().all() else frame["l0"])
        axes.grid(axis="y")
        name_axes(axes, x="codes above zero a token (L0)", y="fraction of variance explained")
        legend(axes, columns=3)
    return axes


def _front(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds that no other mean beats in both l0 and fve."""
    lines = [c for c in ("architecture", "n_features", "k") if c in frame.columns and frame[c].notna().all()]
    known = frame.assign(l0=finite(frame["l0"]), fve=finite(frame["fve"])).dropna(subset=["l0", "fve"])
    mean = known.groupby(lines)[["l0", "fve"]].mean() if "k" in lines else known[["l0", "fve"]]
    l0, fve = mean["l0"].to_numpy(), mean["fve"].to_numpy()
    no_worse = (l0[None] <= l0[:, None]) & (fve[None] >= fve[:, None])
    better = no_worse & ((l0[None] < l0[:, None]) | (fve[None] > fve[:, None]))
    return mean[~better.any(axis=1)]


def scaling(
    runs: Rows | str | Path | Laws, *, value: str = "fve", over: str = "n_features", ax: Axes | None = None
) -> Axes:
    """How reconstruction changes with the number of features; of ``si.scaling``, errors with the law fitted to them.

    Parameters
    ----------
    runs : Scaling, DataFrame or iterable of mappings
        Columns ``n_features``, ``value``; for several lines ``architecture``, ``k``; seeds of one width are drawn as
        their mean and range. Of a :class:`Scaling`, one line a reader, the other quantities at their largest, and
        dashed what is irreducible, with its interval.
    value : str
        Column to draw.
    over : str
        Of a :class:`Scaling`: ``n_features``, ``k`` or ``tokens``.

    Returns
    -------
    matplotlib.axes.Axes
    """
    law = runs if isinstance(runs, Laws) else None
    frame = _runs(runs if law is None else law.runs)
    require_column(frame, value, "mdl" if value == "mdl" else "fve", option="value")
    with drawing(ax, width="single", height=60) as axes:
        if law is not None:
            return _law(axes, law, frame, over)
        if not {"n_features", value} <= set(frame.columns) or not _lines(
            axes, frame, "n_features", value, by="k", setting="n_features"
        ):
            return note(axes, "no runs to compare")
        _wide_axis(axes, frame["n_features"])
        axes.grid(axis="y")
        name_axes(axes, x="features in the dictionary", y=_WORDS.get(value, value))
        legend(axes, columns=3)
    return axes


def _law(axes: Axes, law: Laws, frame: pd.DataFrame, over: str) -> Axes:
    """Errors over one quantity, the others at their largest, with the fitted curve and the irreducible part."""
    rest = [q for q in ("n_features", "k", "tokens") if q in frame.columns and q != over]
    shown = pd.Series(True, index=frame.index)
    for quantity in rest:
        shown &= frame[quantity] == frame.groupby("reader")[quantity].transform("max")
    frame = frame[shown & frame["fvu"].notna()] if over in frame.columns else frame.iloc[:0]
    if not len(frame):
        return note(axes, "no runs to compare")
    floors = law.fits[law.fits["term"] == "irreducible"].set_index("reader")
    for i, reader in enumerate(law.readers):
        mine, colour = frame[frame["reader"] == reader], PALETTE[i % len(PALETTE)]
        if not len(mine):
            continue
        name, marker = str(reader).replace("_", " "), MARKERS[i % len(MARKERS)]
        axes.plot(mine[over], mine["fvu"], ls="", color=colour, marker=marker, ms=3.5, label=name)
        at = np.geomspace(float(mine[over].min()), 2 * float(mine[over].max()), 60)
        axes.plot(at, law.curve(reader, over, at.tolist()), color=colour, lw=1)
        floor = floors.loc[reader]
        axes.axhline(floor["error"], color=colour, lw=0.7, ls=(0, (3, 2)))
        axes.axhspan(floor["error_low"], floor["error_high"], color=colour, alpha=0.12, lw=0)
    _wide_axis(axes, frame[over])
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    name_axes(axes, x=_WORDS.get(over, over), y=_WORDS["fvu"])
    legend(axes, columns=3)
    return axes


def mdl(runs: Rows | str | Path, *, ax: Axes | None = None) -> Axes:
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
    frame = _runs(runs)
    axes = scaling(frame, value="mdl", ax=ax)
    if not {"n_features", "mdl"} <= set(frame.columns):
        return axes
    with style(own=is_own()) if ax is None else nullcontext():
        known = frame.assign(at=finite(frame["n_features"]), mdl=finite(frame["mdl"]))
        known = known.dropna(subset=["at", "mdl"])
        lines = [c for c in ("architecture", "k") if c in known.columns]
        # over seeds, as the lines
        mean = known.groupby([*lines, "at"], dropna=False)["mdl"].mean().reset_index()
        if len(mean):
            best = mean.loc[mean["mdl"].idxmin()]
            axes.plot(best["at"], best["mdl"], marker="o", ms=8, mfc="none", mec=INK, ls="", label="smallest")
            legend(axes, columns=3)
    return axes


def dark_matter(parts: Rows, *, ax: Axes | None = None) -> Axes:
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
    frame = table_of(parts, "parts")
    looks = {
        "explained": (BLUE, "white", "explained"),
        "linear": (SKY, INK, "error, linear in the input"),
        "nonlinear": (GREY, INK, "error, the rest"),
    }
    with drawing(ax, width="single", height=24 + 7 * max(len(frame), 1)) as axes:
        columns = [finite(frame[k]) if k in frame.columns else np.zeros(len(frame)) for k in looks]
        value = np.nan_to_num(np.stack(columns, 1))
        # a linear map that predicts worse than none explains nothing
        value[:, 2] += np.minimum(value[:, 1], 0)
        value = np.maximum(value, 0)
        if not value.sum() > 0:
            return note(axes, "the error was not split")
        y, left = np.arange(len(frame)), np.zeros(len(frame))
        for part, (colour, ink, words) in zip(value.T, looks.values()):
            axes.barh(y, part, left=left, color=colour, height=0.6, label=words)
            for row in np.flatnonzero(part >= 0.09):
                label(axes, left[row] + part[row] / 2, float(row), f"{part[row]:.2f}", ha="center", color=ink)
            left += part
        names = frame["name"] if "name" in frame.columns else ["SAE"] * len(frame)
        ticks(axes, "y", y, names)
        axes.set_ylim(len(frame) - 0.5, -0.5)
        axes.set_xlim(0, max(1.0, float(left.max())))
        name_axes(axes, x="fraction of variance")
        legend(axes, columns=3)
    return axes


def stability(
    cosines: object, *, null: object = None, threshold: float = 0.7, ax: Axes | None = None
) -> Axes:
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
    threshold = plain_value(threshold, float, "threshold=")
    # a cosine of one may be above it by what single precision rounds
    value, random = (np.minimum(v[~np.isnan(v)], 1) for v in (finite(cosines), finite(null)))
    with drawing(ax, width="single", height=52) as axes:
        if not len(value):
            return note(axes, "no second seed was trained")
        bins = np.linspace(min(0.0, float(value.min())), 1, 41).tolist()
        axes.hist(value, bins=bins, color=BLUE, lw=0, label="features")
        if len(random):
            outline: Look = {"histtype": "step", "color": VERMILLION, "lw": 1}
            weights = np.full(len(random), len(value) / len(random))
            axes.hist(random, bins=bins, weights=weights, label="random directions", **outline)
        axes.axvline(threshold, color=INK, lw=0.7, ls=(0, (3, 2)))
        corner(axes, 0.99, 0.98, f"{(value > threshold).mean():.0%} above {threshold:g}", color=None)
        axes.axhline(0, color=RULE, lw=0.5)
        name_axes(axes, x="cosine with the match in another seed", y="features")
        legend(axes)
    return axes
