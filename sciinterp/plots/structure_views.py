"""Structures: where a feature speaks in the Ramachandran plane, on the trace of a chain, and between which residues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize

from sciinterp.annotations.backbone_motifs import torsions
from sciinterp.codes.active import is_active
from sciinterp.plots.style import BLUE, INK, RULE, VERMILLION, drawing, name_axes, note
from sciinterp.plots.tracks import top_samples
from sciinterp.readers.backbones import joined, places_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sciinterp.codes import FeatureMatrix
    from sciinterp.samples import Samples

# Residues drawn as the ground of the Ramachandran plane, and those of the feature.
GROUND, SHOWN = 20_000, 2_000
NEAR = 8.0
# Residues named on a trace, and how far apart their names stand, as shares of its length: across and up.
NAMED, APART = 8, np.array([0.13, 0.04])
NOTHING = "the samples have no coordinates of a backbone"


def has_backbones(samples: Samples) -> bool:
    """Whether every sample is a record of a backbone."""
    return bool(len(samples)) and all(isinstance(d, dict) and "backbone" in d for d in samples.data)


def ramachandran(features: FeatureMatrix, j: int, *, ax: Axes | None = None) -> Axes:
    """Phi and psi of the residues where a feature is active, on the density of all residues.

    Parameters
    ----------
    features : FeatureMatrix
        Of structures.
    j : int
        The feature.

    Returns
    -------
    matplotlib.axes.Axes
    """
    j = features.number(j)
    column = features.column(j)
    with drawing(ax, width="single", height=84) as axes:
        if not has_backbones(features.samples):
            return note(axes, NOTHING)
        angle = _angles(features.samples)
        known = np.isfinite(angle).all(1)
        on = np.flatnonzero(known & is_active(column, features.largest[j]))
        if not len(on):
            return note(axes, f"feature {j} is active at no residue with both torsions")
        ground = np.flatnonzero(known)
        ground = ground[:: max(1, len(ground) // GROUND)]
        on = on[np.argsort(-column[on], kind="stable")][:SHOWN]
        axes.hexbin(
            *angle[ground].T, gridsize=48, extent=(-180, 180, -180, 180), bins="log", cmap="Greys", lw=0.1
        )
        axes.scatter(*angle[on].T, s=1 + 7 * column[on] / column[on].max(), color=VERMILLION, lw=0, alpha=0.6)
        axes.set_xlim(-180, 180)
        axes.set_ylim(-180, 180)
        axes.set_aspect("equal")
        for side in (axes.xaxis, axes.yaxis):
            side.set_ticks([-180, -90, 0, 90, 180])
        name_axes(axes, x="phi (degrees)", y="psi (degrees)", title=f"Feature {j} among all residues")
    return axes


def trace(features: FeatureMatrix, j: int, *, sample: str | None = None, ax: Axes | None = None) -> Axes:
    """A structure's CA trace, seen along its shortest axis, coloured by a feature's activation.

    Parameters
    ----------
    sample : str, optional
        By default the one where the feature is strongest.
    """
    with drawing(ax, width="single", height=84) as axes:
        found = _strongest(features, j, sample)
        if isinstance(found, str):
            return note(axes, found)
        number, value, largest = found
        data = features.samples.data[number]
        places = places_of(data)
        placed = np.isfinite(places[:, 1]).all(1)
        if not placed.any():
            return note(axes, NOTHING)
        alpha = places[:, 1] - places[placed, 1].mean(0)
        flat = alpha @ np.linalg.svd(alpha[placed], full_matrices=bool(placed.sum() < 3))[2].T
        follows = joined(places, np.asarray(data["chain"]))
        bonds = np.flatnonzero(follows)
        height = (flat[bonds - 1, 2] + flat[bonds, 2]) / 2
        order = np.argsort(height, kind="stable")
        parts, shades = [flat[[i - 1, i], :2] for i in bonds[order]], np.linspace(0.3, 0.85, len(bonds))
        lines = LineCollection(parts, array=shades, cmap="Greys", norm=Normalize(0, 1), lw=1.6)
        lines.set_capstyle("round")
        axes.add_collection(lines)
        on = np.flatnonzero(is_active(value, largest) & placed)
        on = on[np.argsort(flat[on, 2], kind="stable")]
        strength = value[on] / max(float(largest), 1e-12)
        axes.scatter(*flat[on, :2].T, s=6 + 26 * strength, color=VERMILLION, edgecolor=INK, lw=0.3, zorder=3)
        named: list[int] = []
        for i in on[np.argsort(-value[on], kind="stable")]:
            # A name that would lie on another one is left out.
            apart = np.abs(flat[named, :2] - flat[i, :2]) > np.ptp(flat[placed, :2], axis=0).max() * APART
            if len(named) == NAMED or not apart.any(1).all():
                continue
            named.append(int(i))
            text = f"{features.samples[number].sequence[i]}{data['number'][i]}"
            axes.annotate(
                text, flat[i, :2], xytext=(3, 3), textcoords="offset points", fontsize=5.5, zorder=4
            )
        axes.set_aspect("equal")
        axes.autoscale_view()
        if np.ptp(flat[placed, 1]) < 1e-6:  # residues on a line
            axes.set_ylim(-1, 1)
        axes.set_axis_off()
        axes.set_title(f"Feature {j} on {features.samples.ids[number]}")
    return axes


def contact_map(
    features: FeatureMatrix, j: int, *, sample: str | None = None, ax: Axes | None = None
) -> Axes:
    """Residues within 8 angstrom of each other, and those among them where a feature is active.

    Parameters
    ----------
    sample : str, optional
        By default the one where the feature is strongest.
    """
    with drawing(ax, width="single", height=84) as axes:
        found = _strongest(features, j, sample)
        if isinstance(found, str):
            return note(axes, found)
        number, value, largest = found
        alpha = places_of(features.samples.data[number])[:, 1]
        near = np.linalg.norm(alpha[:, None] - alpha[None], axis=-1) < NEAR
        on = is_active(value, largest)
        rows, columns = np.nonzero(near)
        touched = on[rows] | on[columns]
        axes.plot(rows[~touched], columns[~touched], "s", ms=0.9, color=RULE, mew=0)
        axes.plot(rows[touched], columns[touched], "s", ms=1.1, color=BLUE, mew=0)
        peaks = np.flatnonzero(on)
        axes.plot(peaks, peaks, "o", ms=2.2, color=VERMILLION, mew=0)
        axes.set_aspect("equal")
        name_axes(
            axes,
            x="residue, from 0",
            y="residue, from 0",
            title=f"Feature {j}: contacts in {features.samples.ids[number]}",
        )
    return axes


def _strongest(features: FeatureMatrix, j: int, sample: str | None) -> tuple[int, np.ndarray, float] | str:
    """A sample's number, the feature's values in it and its largest anywhere; or why there is none."""
    j = features.number(j)
    column = features.column(j)
    if not has_backbones(features.samples):
        return NOTHING
    chosen = top_samples(features, j, 1).tolist() if sample is None else [features.samples.index(sample)]
    if not chosen:
        return f"feature {j} is active in no sample"
    return chosen[0], column[features.rows(chosen[0])], float(features.largest[j])


def _angles(samples: Samples) -> np.ndarray:
    """float [n_positions, 2]: phi and psi."""
    parts = []
    for data in samples.data:
        places = places_of(data)
        angle = torsions(places, joined(places, np.asarray(data["chain"])))
        parts.append(np.stack([angle["phi"], angle["psi"]], 1))
    return np.concatenate(parts)
