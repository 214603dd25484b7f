"""Association: exact integer counts first, statistics second, effects on held-out families."""

from __future__ import annotations

import warnings

from sciinterp.association.enrichment import enrich_genes, enrich_sets, enrichment
from sciinterp.association.files import read_hits, write_association, write_enrichment, write_hits
from sciinterp.association.fitting import BaselineSettings
from sciinterp.association.h5ad import features_anndata, samples_anndata, write_h5ad
from sciinterp.association.hits import AssociationSettings, associate
from sciinterp.association.kernel import Counts, count_overlaps
from sciinterp.association.published_scores import domain_adjusted_f1, family_f1
from sciinterp.association.ranking import PairScores, precision_recall
from sciinterp.association.shift_test import compare_shifts
from sciinterp.association.statistics import ScreenSettings

__all__ = [
    "AssociationSettings", "BaselineSettings", "Counts", "PairScores", "ScreenSettings", "associate", "compare_shifts",
    "count_overlaps", "domain_adjusted_f1", "enrich_genes", "enrich_sets", "enrichment", "family_f1",
    "features_anndata", "precision_recall", "read_hits", "samples_anndata", "write_association",
    "write_enrichment", "write_h5ad", "write_hits",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name == "localise":
        warnings.warn("localise is now called compare_shifts", DeprecationWarning, stacklevel=2)
        return compare_shifts
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
