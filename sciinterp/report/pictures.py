"""The figures of a report: drawn once, written as SVG and PNG, and inlined into the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sciinterp.plots import (
    concepts_vs_baselines,
    density_histogram,
    feature,
    heatmap,
    logo,
    training_curve,
)
from sciinterp.plots.style import new_axes, style, to_bytes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from sciinterp.features import FeatureMatrix

MAX_NOTABLE = 6  # features with a section of their own


@dataclass(frozen=True)
class Picture:
    """One drawn figure: its file name, what it shows, and its bytes."""

    name: str
    title: str
    caption: str
    wide: bool
    svg: bytes
    png: bytes | None = None


def draw(
    name: str,
    title: str,
    caption: str,
    figure: Callable[[Axes], Axes],
    *,
    wide: bool,
    height: float,
    png: bool = True,
) -> Picture:
    """Draw one figure off screen, in the journal style."""
    with style():
        axes = new_axes(width="double" if wide else "single", height=height)
        figure(axes)
        svg, pixels = to_bytes(axes, "svg"), to_bytes(axes, "png") if png else None
    return Picture(name, title, caption, wide, svg, pixels)


def notable(concepts: list[dict[str, Any]], listing: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Features that deserve a section: those that beat every baseline, then unexplained ones."""
    above = sorted(
        (c for c in concepts if c["verdict"] == "above" and c["feature"] is not None),
        key=lambda c: (-(c["delta_f1"] or 0.0), c["concept"]),
    )
    chosen: dict[int, dict[str, Any]] = {}
    for c in above:
        entry = chosen.setdefault(
            c["feature"], {"feature": c["feature"], "concepts": [], "why": "beats every baseline"}
        )
        entry["concepts"].append(c)
    out = list(chosen.values())[: MAX_NOTABLE - 2]
    for row in sorted(listing["rows"], key=lambda r: -sum(c.isupper() for c in r.get("motif", ""))):
        if len(out) >= MAX_NOTABLE:
            break
        if row["feature"] not in chosen and row.get("motif", "").strip("."):
            out.append(
                {"feature": row["feature"], "concepts": [], "why": "no concept explains it", "row": row}
            )
    return out


def six_figures(
    *,
    features: FeatureMatrix,
    hits: pd.DataFrame,
    annotations: Any,
    log: Any,
    concepts: list[dict[str, Any]],
    show: int | None,
) -> list[Picture]:
    """The six figures a paper could take."""
    n = min(len(concepts), 40)
    out = [
        draw(
            "training",
            "Training of the autoencoder",
            "Reconstruction over training steps.",
            lambda ax: training_curve(log, ax=ax),
            wide=False,
            height=52,
        ),
        draw(
            "density",
            "How often features fire",
            "Fraction of positions where each feature is active.",
            lambda ax: density_histogram(features, ax=ax),
            wide=False,
            height=52,
        ),
        draw(
            "concepts_vs_baselines",
            "Concepts against baselines",
            "F1 of the feature selected on training families, measured once on held-out families, "
            "with its interval "
            "(bootstrap over families). Filled points beat every baseline.",
            lambda ax: concepts_vs_baselines(hits, ax=ax),
            wide=True,
            height=18 + 4.4 * max(n, 5),
        ),
        draw(
            "heatmap",
            "Features by concepts",
            "F1 on held-out families of the pairs in the table; a ring marks the feature selected "
            "for each concept.",
            lambda ax: heatmap(hits, ax=ax),
            wide=True,
            height=28 + 4.2 * max(min(n, 30), 5),
        ),
    ]
    if show is not None:
        out += [
            draw(
                "activation",
                f"Feature {show} along two sequences",
                "Activation of one feature along the sequences where it is strongest, with the "
                "annotations that lie on them.",
                lambda ax: feature(features, show, annotations=annotations, n=2, ax=ax),
                wide=True,
                height=58,
            ),
            draw(
                "logo",
                f"What stands around the peaks of feature {show}",
                "Information around the strongest position of each sequence, in bits, with "
                "small-sample correction.",
                lambda ax: logo(features, show, ax=ax),
                wide=False,
                height=46,
            ),
        ]
    return out


def portraits(
    chosen: list[dict[str, Any]], *, features: FeatureMatrix, annotations: Any, shown: int | None
) -> list[Picture]:
    """Logo and activation of every notable feature but the one already ``shown``."""
    out = []
    for entry in (e for e in chosen if e["feature"] != shown):
        j = int(entry["feature"])
        out.append(
            draw(
                f"feature_{j}_logo",
                f"Logo around the peaks of feature {j}",
                "",
                lambda ax, j=j: logo(features, j, ax=ax),
                wide=False,
                height=40,
                png=False,
            )
        )
        out.append(
            draw(
                f"feature_{j}_track",
                f"Activation of feature {j} along a sequence",
                "",
                lambda ax, j=j: feature(features, j, annotations=annotations, n=1, ax=ax),
                wide=True,
                height=38,
                png=False,
            )
        )
    return out


def shown_feature(concepts: list[dict[str, Any]], features: FeatureMatrix) -> int | None:
    """The feature the single-feature figures show: the clearest one, else the most active one."""
    for verdict in ("above", None):
        rows = [
            c
            for c in concepts
            if c["feature"] is not None and c["f1"] is not None and verdict in (c["verdict"], None)
        ]
        rows = [c for c in rows if c["feature"] < features.n_features]
        if rows:
            return max(rows, key=lambda c: ((c["delta_f1"] or 0.0) if verdict else c["f1"], c["concept"]))[
                "feature"
            ]
    return int(np.argmax(features.density)) if features.codes.nnz else None
