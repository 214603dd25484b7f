"""Figures of the association table: features against baselines, and features against concepts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sciinterp.association import baselines as registry
from sciinterp.association.explanations import ABOVE, NOT_TESTED, OTHER, THRESHOLDS, above_all, kind
from sciinterp.plots.given import hits_of, require_column, table_of
from sciinterp.plots.style import (
    COLOURS,
    GREY,
    INK,
    MUTED,
    ORANGE,
    RULE,
    Look,
    drawing,
    finite,
    label,
    legend,
    name_axes,
    note,
    plain,
    ticks,
)
from sciinterp.provenance import HELD_OUT_FAMILIES, families_of
from sciinterp.settings import at_least, plain_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

CEILING = "ceiling"
_LINES = "+x123"  # markers without a face


def baseline_kind(name: object, *, counted: bool = False) -> tuple[str, str, str]:
    """What a baseline of this name can explain, its colour and its marker; another name is known by the word it holds.

    Parameters
    ----------
    name : str
    counted : bool
        Whether a ceiling is to be read as the kind it would be if it counted, too.

    Examples
    --------
    >>> baseline_kind("position_c")[0], baseline_kind("best raw neuron")[0], baseline_kind("?")[0]
    ('position', 'neuron', 'other')
    """
    lowered = str(name).lower()
    record = registry.find(lowered) or next(
        (r for r in reversed(registry.BASELINES) if r.name in lowered), None
    )
    if record is None:
        return OTHER, GREY, "h"
    kind = CEILING if record.ceiling and not counted else record.explains
    return kind, COLOURS[record.colour], record.marker


def selected(hits: pd.DataFrame | None) -> pd.DataFrame:
    """The selected row of every concept, strongest first; a concept without a number comes last."""
    rows: pd.DataFrame = pd.DataFrame(hits_of(hits, "concept", "f1"))
    if not len(rows):
        return pd.DataFrame(columns=["concept", "feature", "f1"])
    if "selected" in rows.columns:
        rows = rows.iloc[_chosen(rows)]
    else:
        rows = rows.sort_values("f1", ascending=False, kind="stable").drop_duplicates("concept")
    order = np.lexsort(
        (rows["concept"].astype(str).to_numpy(), np.nan_to_num(-finite(rows["f1"]), nan=np.inf))
    )
    return rows.iloc[order].reset_index(drop=True)


def baselines_of(hits: pd.DataFrame | None) -> pd.DataFrame:
    """Held-out F1 of every baseline, concepts as rows; empty where the hits carry none."""
    table = table_of((getattr(hits, "context", None) or {}).get("baselines"), "baselines")
    if {"concept", "baseline"} <= set(table.columns):
        value = next((c for c in ("f1", "f1_test", "value") if c in table.columns), None)
        if value is None:
            return pd.DataFrame()
        wide = table.drop_duplicates(["concept", "baseline"]).pivot(
            index="concept", columns="baseline", values=value
        )
        return wide[sorted(wide.columns, key=_rank)]
    if "concept" in table.columns:
        table = table.set_index("concept")
    return table[~table.index.duplicated()].select_dtypes("number")


def _rank(name: object) -> tuple[int, str]:
    """Baselines in one order everywhere: as they are listed above, then the others."""
    names = [record.name for record in registry.BASELINES]
    lowered = str(name).lower()
    return (names.index(lowered) if lowered in names else len(names), lowered)


def concepts_vs_baselines(hits: pd.DataFrame | None, *, ax: Axes | None = None, top: int = 40) -> Axes:
    """Held-out F1 of every concept's selected feature, with its interval, beside the best baseline of each kind.

    A filled point is said to lie above every counted baseline, with false discovery control over concepts. Grey crosses
    are ceilings, fitted with the labels on many inputs at once: shown, not counted.

    Parameters
    ----------
    hits : pandas.DataFrame
        Columns ``concept f1 f1_low f1_high explained_by`` (or ``delta_low``); baselines come from ``hits.context["baselines"]``.
    top : int
        The strongest concepts to show.

    Returns
    -------
    matplotlib.axes.Axes
    """
    chosen = selected(hits)
    rows = chosen.head(plain_value(top, int, "top=", at_least(1)))
    with drawing(ax, width="double", height=16 + 4.4 * max(len(rows), 5)) as axes:
        value = finite(rows["f1"])
        if not len(rows) or np.isnan(value).all():
            return note(axes, "no concept could be tested")
        y = np.arange(len(rows))
        axes.hlines(y, 0, 1, color=RULE, lw=0.5, zorder=0)
        kinds = best_of_kinds(baselines_of(hits).reindex(rows["concept"].tolist()))
        if not kinds and "best_baseline_f1" in rows:
            kinds = {"best baseline": (finite(rows["best_baseline_f1"]), ORANGE, "D")}
        for name, (best, colour, marker) in kinds.items():
            face: Look = (
                {"color": colour} if marker in _LINES else {"facecolors": "none", "edgecolors": colour}
            )
            kept = ~np.isnan(best)
            face |= {"s": 15, "marker": marker, "linewidths": 0.9, "zorder": 2}
            axes.scatter(best[kept], y[kept], label=name, **face)
        _points(axes, rows, value, y)
        for at in np.flatnonzero(np.isnan(value)):
            label(axes, 0.01, float(at), NOT_TESTED)
        axes.axvline(THRESHOLDS.found, color=MUTED, lw=0.6, ls=(0, (3, 3)), zorder=1)
        ticks(axes, "y", y, rows["concept"])
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        more = f" ({len(rows)} of {len(chosen)} concepts)" if len(chosen) > len(rows) else ""
        name_axes(axes, x=f"F1 on {families_of(hits)}{more}")
        legend(axes, columns=4)
    return axes


def best_of_kinds(table: pd.DataFrame) -> dict[str, tuple[np.ndarray, str, str]]:
    """For every kind of baseline its best F1 a concept, its colour and its marker; density and prevalence are left out."""
    kinds: dict[str, list[object]] = {}
    for name in table.columns:
        said = baseline_kind(name)[0]
        kinds.setdefault(str(name) if said == OTHER else said, []).append(name)
    out = {}
    for said, names in sorted(kinds.items(), key=lambda item: _rank(item[1][0])):
        if said not in ("density", "prevalence"):
            _, colour, marker = baseline_kind(names[0]) if said != CEILING else ("", MUTED, "x")
            values = np.stack([finite(table[name]) for name in names])
            best = np.nanmax(np.where(np.isnan(values), -np.inf, values), axis=0)
            out["ceiling (not counted)" if said == CEILING else kind(said).short] = (
                np.where(np.isfinite(best), best, np.nan),
                colour,
                marker,
            )
    return out


def _points(ax: Axes, rows: pd.DataFrame, value: np.ndarray, y: np.ndarray, *, bars: bool = True) -> None:
    """The selected features: interval, then a filled or open point."""
    if bars and {"f1_low", "f1_high"} <= set(rows.columns):
        low, high = (
            np.where(np.isnan(v), value, v) for v in (finite(rows["f1_low"]), finite(rows["f1_high"]))
        )
        ax.hlines(y, low, high, color=INK, lw=1.1, zorder=3)
    beats = above_all(rows).to_numpy()
    style: Look = {"s": 20, "edgecolors": INK, "linewidths": 0.9, "zorder": 4}
    for mask, face, name in ((beats, INK, kind(ABOVE).short), (~beats, "white", "feature, not above")):
        if mask.any():
            ax.scatter(value[mask], y[mask], facecolors=face, label=name, **style)


def volcano(
    hits: pd.DataFrame | None, *, effect: str = "delta_f1", ax: Axes | None = None, named: int = 8
) -> Axes:
    """Effect against evidence, one point a pair: how much better than the best baseline, and how sure in families.

    Circles are the selected pairs, filled where they lie above every counted baseline; the line is the q-value up to
    which a pair counts. Pairs without a test (a concept that nearly every family carries) cannot be drawn and are
    counted.

    Parameters
    ----------
    hits : pandas.DataFrame
        Columns ``concept q`` and ``effect``.
    effect : str
        ``delta_f1``, or ``lift`` (drawn as its logarithm; a pair without a true positive has none), or another column.
    named : int
        Selected pairs to name, the smallest q first, as long as they count; names that would cover each other are
        left out.

    Returns
    -------
    matplotlib.axes.Axes
    """
    rows, named = pd.DataFrame(hits_of(hits, "concept")), plain_value(named, int, "named=", at_least(0))
    require_column(rows, effect, "delta_f1", option="effect")
    with drawing(ax, width="single", height=65) as axes:
        if not {"q", effect} <= set(rows.columns):
            return note(axes, f"no pair has a q-value and {effect}")
        q, x = finite(rows["q"]), finite(rows[effect])
        if effect.startswith("lift"):
            x = np.log2(np.where(x > 0, x, np.nan))
        drawn = ~np.isnan(q) & ~np.isnan(x)
        if not drawn.any():
            return note(axes, f"no pair has a q-value and {effect}")
        rows, x, y = rows[drawn], x[drawn], -np.log10(np.clip(q[drawn], 1e-300, 1))
        mine = np.isin(np.arange(len(rows)), _chosen(rows))
        axes.scatter(x[~mine], y[~mine], s=4, color=MUTED, alpha=0.5, linewidths=0, label="other pairs")
        _points(axes, rows[mine], x[mine], y[mine], bars=False)
        axes.axhline(-np.log10(THRESHOLDS.q), color=MUTED, lw=0.6, ls=(0, (3, 3)), zorder=1)
        axes.axvline(0, color=RULE, lw=0.6, zorder=0)
        axes.margins(x=0.08, y=0.08)
        axes.set_ylim(bottom=-0.03 * max(2.0, float(y.max())))
        _names(axes, rows["concept"].to_numpy(object)[mine], x[mine], y[mine], named)
        of = "" if drawn.all() else f" ({int(drawn.sum())} of {len(drawn)} pairs)"
        said = {"delta_f1": "F1 less that of the best baseline", "lift": "log2 of lift"}
        name_axes(axes, x=said.get(effect, effect) + of, y="-log10 q, presence in families")
        legend(axes, columns=3)
    return axes


def _chosen(rows: pd.DataFrame) -> np.ndarray:
    """Places of the selected pairs."""
    if "selected" not in rows:
        return np.arange(len(rows))
    return np.flatnonzero(rows["selected"].map(lambda v: str(v).lower() in ("true", "1", "1.0")))


def _names(ax: Axes, names: np.ndarray, x: np.ndarray, y: np.ndarray, most: int) -> None:
    """Names beside the highest points that count, towards the middle; none where another name stands already."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    taken: list[tuple[bool, float]] = []
    for i in np.lexsort((-x, -y))[:most]:
        if y[i] < -np.log10(THRESHOLDS.q):
            break
        inward = bool(x[i] > (left + right) / 2)
        if all(side != inward or abs(at - y[i]) > 0.05 * (high - low) for side, at in taken):
            taken.append((inward, float(y[i])))
            gap = (-0.02 if inward else 0.02) * (right - left)
            label(ax, float(x[i] + gap), float(y[i]), plain(names[i], 24), ha="right" if inward else "left")


def heatmap(hits: pd.DataFrame | None, *, value: str = "f1", ax: Axes | None = None, top: int = 30) -> Axes:
    """Features by concepts: held-out effect of every pair in the table; a dot marks the selected pair.

    Parameters
    ----------
    hits : pandas.DataFrame
        Columns ``feature concept selected`` and ``value``.
    value : str
        Column to colour by.
    top : int
        The strongest concepts to show; the features are those selected for them.

    Returns
    -------
    matplotlib.axes.Axes
    """
    pairs, rows = hits_of(hits, "feature", "concept", "f1"), selected(hits)
    require_column(pairs, value, "f1", option="value")
    rows = rows[~np.isnan(finite(rows["f1"]))].head(plain_value(top, int, "top=", at_least(1)))
    features = list(dict.fromkeys(rows["feature"])) if len(rows) else []
    with drawing(ax, width="double", height=26 + 4.2 * max(len(rows), 5)) as axes:
        if not features or value not in pairs.columns:
            return note(axes, "no pair of feature and concept to show")
        concepts = rows["concept"].tolist()
        cells = pd.DataFrame(pairs)[["feature", "concept", value]].drop_duplicates(["feature", "concept"])
        grid = cells.pivot(index="concept", columns="feature", values=value).reindex(
            index=concepts, columns=features
        )
        array = np.ma.masked_invalid(finite(grid.to_numpy()).reshape(grid.shape))
        colours = white_to_blue()
        mesh = axes.pcolormesh(array, cmap=colours, vmin=0, vmax=1, edgecolors="white", linewidth=0.4)
        blank_y, blank_x = np.nonzero(np.ma.getmaskarray(array))
        axes.scatter(blank_x + 0.5, blank_y + 0.5, marker=".", s=1.5, color=RULE, linewidths=0)
        at = [features.index(f) + 0.5 for f in rows["feature"]]
        axes.scatter(at, np.arange(len(rows)) + 0.5, s=7, facecolors="white", edgecolors=INK, linewidths=0.6)
        ticks(axes, "y", np.arange(len(rows)) + 0.5, concepts)
        ticks(axes, "x", np.arange(len(features)) + 0.5, features, rotation=90 if len(features) > 12 else 0)
        if len(features) > 12:
            for text in axes.get_xticklabels():
                text.set_verticalalignment("center")
        axes.tick_params(length=0)
        axes.set_ylim(len(rows), 0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        name_axes(axes, x="feature", y="")
        bar = axes.figure.colorbar(mesh, ax=axes, shrink=0.5, aspect=18, pad=0.01)
        bar.outline.set_visible(False)
        bar.set_label({"f1": f"F1 on {families_of(hits)}"}.get(value, value), parse_math=False)
    return axes


def white_to_blue() -> Colormap:
    """Pale to deep blue, even in lightness: it reads the same in grey and to colour-blind eyes."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("paper", ["#F4F6F8", "#B9D4E8", "#5FA2CE", "#0072B2", "#00395C"])


def concept_counts(
    hits: pd.DataFrame | None, *, threshold: float = THRESHOLDS.found, ax: Axes | None = None
) -> Axes:
    """SAE features against every baseline: how many concepts pass ``threshold`` with each.

    Raw neurons and the randomised model are the bars to beat; grey bars are ceilings (see
    :func:`concepts_vs_baselines`).

    Parameters
    ----------
    hits : pandas.DataFrame
        As for :func:`concepts_vs_baselines`.
    threshold : float
        Held-out F1 that counts as found.

    Returns
    -------
    matplotlib.axes.Axes
    """
    rows, threshold = selected(hits), plain_value(threshold, float, "threshold=")
    rows = rows[~np.isnan(finite(rows["f1"]))]  # those that were tested
    table = baselines_of(hits).reindex(rows["concept"].tolist())  # of these concepts alone
    with drawing(ax, width="single", height=22 + 5.5 * (table.shape[1] + 1)) as axes:
        if not len(rows):
            return note(axes, "no concept could be tested")
        table = table[sorted(table.columns, key=lambda c: baseline_kind(c)[0] == CEILING)]
        kinds = [baseline_kind(c) for c in table.columns]
        said = [f"{c} (ceiling)" if kind == CEILING else str(c) for c, (kind, *_) in zip(table, kinds)]
        names, colours = ["SAE features", *said], [INK, *(colour for _, colour, _ in kinds)]
        values = [rows["f1"], *(table[c] for c in table.columns)]
        found = [int((finite(v) >= threshold).sum()) for v in values]
        y = np.arange(len(names))
        axes.barh(y, found, color=colours, height=0.62)
        for at, number in zip(y, found):
            label(axes, number + 0.01 * len(rows), float(at), str(number))
        ticks(axes, "y", y, names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, len(rows) * 1.08)
        known = "held-out " if families_of(hits) == HELD_OUT_FAMILIES else ""
        name_axes(axes, x=f"concepts of {len(rows)} with {known}F1 of {threshold:g} or more")
    return axes
