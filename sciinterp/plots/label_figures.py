"""Figures of readouts: how well each representation reads a label, and the rule that is left of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sciinterp.errors import InputError
from sciinterp.plots.given import Rows, measured
from sciinterp.plots.style import (
    BLUE,
    GREY,
    INK,
    MUTED,
    ORANGE,
    PALETTE,
    RULE,
    _lines,
    drawing,
    figure_of,
    finite,
    legend,
    name_axes,
    note,
    plain,
    ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sciinterp.readouts.distilled import Rule

# representation -> (what it is called, colour)
NAMES = {
    "features": ("features", BLUE),
    "activations": ("mean activations", ORANGE),
    "kmers": ("words", PALETTE[2]),
    "letters": ("aligned letters", PALETTE[5]),
    "composition": ("composition", PALETTE[4]),
    "length": ("length", PALETTE[3]),
    "randomised": ("randomised model", MUTED),
    "shuffled labels": ("shuffled labels", GREY),
}


def readout(table: Rows, *, ax: Axes | None = None) -> Axes:
    """Held-out score of every representation against the number of training samples, with intervals over families.

    Parameters
    ----------
    table : DataFrame
        What :func:`sciinterp.readout` returned, or the rows of one label of ``readout.tsv``.

    Returns
    -------
    matplotlib.axes.Axes
    """
    frame = measured(table, "representation", numbers=["n", "score"])
    context = getattr(table, "context", None) or {}
    with drawing(ax, width="single", height=70) as axes:
        if not len(frame):
            return note(axes, "no label was read")
        sizes = sorted(set(finite(frame["n"])))
        of = dict(list(frame.groupby(frame["representation"].astype(str))))
        present = [*(name for name in NAMES if name in of), *sorted(of.keys() - NAMES.keys())]
        for k, name in enumerate(present):
            rows = of[name].sort_values("n")
            words, colour = NAMES.get(name, (name, GREY))
            at = np.searchsorted(sizes, finite(rows["n"])) + 0.5 * (k / max(len(present) - 1, 1) - 0.5)
            if {"low", "high"} <= set(rows.columns):
                axes.vlines(at, finite(rows["low"]), finite(rows["high"]), color=colour, lw=0.8)
            axes.plot(at, finite(rows["score"]), color=colour, marker="o", ms=3, lw=0.6, label=words)
        chance = context.get("chance", 0.5)
        axes.axhline(chance, color=RULE, lw=0.7)
        ticks(axes, "x", list(range(len(sizes))), [f"{v:.0f}" for v in sizes])
        axes.set_xlim(-0.5, len(sizes) - 0.5)
        name_axes(axes, x="labelled samples", y=f"held-out {context.get('measure', 'score')}")
        legend(axes, columns=2)
    return axes


def distil(rule: Rule | Mapping[str, object] | None, *, ax: Axes | None = None) -> Axes:
    """The terms of a rule with their points, and its score beside the full readout's and its own without the model.

    Parameters
    ----------
    rule : Rule or mapping
        What :func:`sciinterp.distil` returned, or its record in ``readout.json``.

    Returns
    -------
    matplotlib.axes.Axes
    """

    if not (rule is None or isinstance(rule, Mapping) or hasattr(rule, "terms")):
        raise InputError(
            "an argument of another kind", where="rule=", expected="a Rule or its record", got=repr(rule)[:60]
        )

    def of(name: str) -> object:
        return rule.get(name) if isinstance(rule, Mapping) else getattr(rule, name, None)

    terms = measured(of("terms"), "feature", "summary", numbers=["cut", "points"], name="terms")
    with drawing(ax, width="double", height=26 + 9 * max(len(terms), 2)) as axes:
        if not len(terms):
            return note(axes, "no rule was made")
        points = finite(terms["points"]) if of("form") == "points" else np.ones(len(terms))
        place = -np.arange(len(terms))
        axes.barh(place, points, color=[BLUE if p > 0 else ORANGE for p in points], height=0.6)
        axes.axvline(0, color=INK, lw=0.7)
        most = float(np.abs(points).max())
        for at, row in zip(place, terms.to_dict("records")):
            words = [f"{row['summary']} above {row['cut']:.3g}"]
            words += [plain(row["concept"], 24)] if row.get("concept") else []
            words += [f"without the model: {plain(row['plain'], 28)}"] if row.get("plain") else []
            text = axes.text(1.1 * most, float(at), "", va="center", fontsize=6, parse_math=False)
            text.set_text(_lines(", ".join(words), 0.42 * figure_of(axes).get_size_inches()[0], text))
        ticks(axes, "y", place.tolist(), [f"feature {j}" for j in terms["feature"]])
        axes.set_xlim(min(1.1 * float(points.min()), -0.1 * most), 3.2 * most)
        axes.set_ylim(-len(terms) + 0.4, 0.6)
        axes.set_xticks(np.arange(int(min(points.min(), 0)), int(most) + 1))
        names = (("rule", "score"), ("all features", "full"), ("without the model", "plain"))
        scores = [(word, finite(of(key))[:1]) for word, key in names]
        said = [f"{word} {value[0]:.2f}" for word, value in scores if len(value) and not np.isnan(value[0])]
        name_axes(
            axes,
            x="points" if of("form") == "points" else "asked by the tree",
            title=f"{of('measure') or 'score'}, families left out: {', '.join(said)}",
        )
    return axes
