"""The curve over the size of a set: features beside everything else that could be read in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sciinterp.association.set_chance import READER as CHANCE
from sciinterp.association.set_facts import READERS
from sciinterp.errors import no_such
from sciinterp.plots.given import hits_of, table_of
from sciinterp.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Look,
    corner,
    drawing,
    finite,
    legend,
    name_axes,
    note,
    ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Reader -> colour and marker.
_LOOKS = {
    "features": (BLUE, "o"),
    "twin_decoder": (SKY, "v"),
    "twin_decoder_soft": (SKY, "^"),
    "twin_encoder": (PURPLE, "<"),
    "independent components": (GREEN, "s"),
    "components": (GREEN, "D"),
    "neurons": (ORANGE, "P"),
    "randomised": (VERMILLION, "X"),
    CHANCE: (GREY, ""),
}


def sets(hits: pd.DataFrame | None, *, concept: str | None = None, ax: Axes | None = None) -> Axes:
    """Held-out F1 of sets of units against their size: features, twins, components, neurons, the randomised model.

    Dashed: or-sets of features (any of them above its threshold). Grey: what sets of features reach of the same concept
    rotated between families. Dotted: the linear probe, which reads all inputs.

    Parameters
    ----------
    hits : pandas.DataFrame
        From :func:`sciinterp.associate`, with its context; or ``hits.context["sets"]`` itself.
    concept : str, optional
        One concept; by default the mean over all, with the mean of their intervals.

    Returns
    -------
    matplotlib.axes.Axes
    """
    hits = hits_of(hits, "concept")
    table = table_of((getattr(hits, "context", None) or {}).get("sets", hits))
    named = {"concept", "reader", "k", "rule", "f1"} <= set(table.columns)
    if named and len(table) and concept is not None:
        known = table["concept"].astype(str)
        if not (known == concept).any():
            raise no_such("concept", concept, dict.fromkeys(known), where="concept=")
        table = table[known == concept]
    with drawing(ax, width="single", height=78) as axes:
        if not named:
            return note(axes, "no sets were read")
        numbers = [name for name in ("f1", "f1_low", "f1_high") if name in table.columns]
        table = table.assign(**{name: finite(table[name]) for name in numbers}, k=finite(table["k"]))
        means = table.dropna(subset=["k", "f1"]).groupby(["reader", "rule", "k"])[numbers].mean()
        means = means.reindex(columns=["f1", "f1_low", "f1_high"]).reset_index()
        curves = means[means["reader"] != "probe"]
        if not len(curves):
            return note(axes, "no sets were read")
        ks = sorted(curves["k"].unique())
        _draw(axes, curves, ks)
        probed = means.loc[means["reader"] == "probe", "f1"]
        if len(probed):
            axes.axhline(float(probed.iloc[0]), color=INK, lw=0.8, ls=(0, (1, 1.5)), label=READERS["probe"])
        ticks(axes, "x", range(len(ks)), [f"{k:g}" for k in ks])
        axes.set_xlim(-0.35, len(ks) - 0.65)
        axes.set_ylim(0, 1)
        axes.grid(axis="y")
        name_axes(axes, x="units in the set", y="F1 on test families")
        n = table["concept"].nunique()
        over = concept if concept is not None else f"mean over {n} concept{'s' * (n != 1)}"
        corner(axes, 0.99, 0.01, over)
        legend(axes, columns=2)
    return axes


def _draw(axes: Axes, curves: pd.DataFrame, ks: list[float]) -> None:
    """A line a reader and rule; points of one size stand side by side, so that intervals can be told apart."""
    order = [*READERS, *sorted(set(curves["reader"]) - set(READERS))]
    lines = [(reader, rule) for reader in order for rule in ("weighted", "or")]
    drawn = dict(list(curves.groupby(["reader", "rule"], sort=False)))
    shown = [key for key in lines if key in drawn]
    for i, (reader, rule) in enumerate(shown):
        rows = drawn[reader, rule].sort_values("k")
        colour, marker = _LOOKS.get(reader, (GREY, "h"))
        x = np.searchsorted(ks, rows["k"]) + 0.24 * ((i + 0.5) / len(shown) - 0.5)
        name = "any of the features" if rule == "or" else READERS.get(reader, str(reader))
        how: Look = {"ls": (0, (3, 2)), "mfc": "none"} if rule == "or" else {"mfc": colour}
        width = 1.6 if reader == "features" else 0.9
        axes.plot(x, rows["f1"], color=colour, marker=marker, ms=3.2, lw=width, label=name, **how)
        if reader != CHANCE:
            axes.vlines(x, rows["f1_low"], rows["f1_high"], color=colour, lw=0.5, alpha=0.6)
