"""Figures (``si.pl``): every function takes ``ax=None``, draws, and returns the Axes.

Figures made with ``ax=None`` come in the journal style; :func:`style` gives the same style to your own.
:func:`save` writes SVG, PDF or PNG whose bytes depend on nothing but the figure.
"""

from __future__ import annotations

from sciinterp.plots.calibration import layer_sweep, precision_at_k, recovery, reliability
from sciinterp.plots.concepts import concept_counts, concepts_vs_baselines, heatmap, volcano
from sciinterp.plots.label_figures import distil, readout
from sciinterp.plots.logos import logo
from sciinterp.plots.scans import assay_change, assay_scan, variant_effect
from sciinterp.plots.set_curves import sets
from sciinterp.plots.structure_views import contact_map, ramachandran, trace
from sciinterp.plots.style import save, style
from sciinterp.plots.tracks import family_heatmap, feature
from sciinterp.plots.training import (
    dark_matter,
    density_histogram,
    front,
    mdl,
    scaling,
    stability,
    training_curve,
)
from sciinterp.plots.turning import control_matrix, dose

__all__ = [
    "assay_change",
    "assay_scan",
    "concept_counts",
    "concepts_vs_baselines",
    "contact_map",
    "control_matrix",
    "dark_matter",
    "density_histogram",
    "distil",
    "dose",
    "family_heatmap",
    "feature",
    "front",
    "heatmap",
    "layer_sweep",
    "logo",
    "mdl",
    "precision_at_k",
    "ramachandran",
    "readout",
    "recovery",
    "reliability",
    "save",
    "scaling",
    "sets",
    "stability",
    "style",
    "trace",
    "training_curve",
    "variant_effect",
    "volcano",
]
