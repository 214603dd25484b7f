"""Figures of scans and assays: every substitution with its score, and score against a feature's change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse as sp
from scipy.stats import spearmanr

from sciinterp.errors import InputError, no_such
from sciinterp.plots.given import Rows, table_of
from sciinterp.plots.style import BLUE, INK, MUTED, corner, drawing, finite, name_axes, note, ticks
from sciinterp.settings import plain_value

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
