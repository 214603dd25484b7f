"""Open foundation models of biology and materials: sparse autoencoders, tested features, candidates.

Names are loaded when first used (PEP 562), so ``import sciinterp`` costs nothing: no torch, pandas,
matplotlib or anndata is imported until a function that needs it is touched.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.4.0"

# public name -> module that defines it
_EXPORTS = {
    "Sample": "samples",
    "Samples": "samples",
    "Split": "samples",
    "read_samples": "readers",
    "split_families": "splits",
    "load_model": "models",
    "list_models": "models",
    "extract": "activations",
    "stream": "activations",
    "Activations": "activations",
    "activations_from_array": "activations",
    "load_activations": "activations",
    "train": "sae",
    "load_sae": "sae",
    "list_saes": "sae.hub",
    "fit_check": "fit",
    "SAE": "sae",
    "ReLU": "sae",
    "TopK": "sae",
    "BatchTopK": "sae",
    "JumpReLU": "sae",
    "Gated": "sae",
    "Matryoshka": "sae",
    "encode": "codes",
    "FeatureMatrix": "codes",
    "tracks": "codes.genome_tracks",
    "load_features": "codes",
    "randomised_control": "control",
    "Origin": "provenance",
    "Annotations": "annotations",
    "read_annotations": "annotations",
    "read_values": "annotations.signal",
    "associate": "association",
    "correlate": "association.quantitative",
    "read_hits": "association",
    "count_overlaps": "association",
    "precision_recall": "association",
    "discover": "discovery",
    "Effect": "interventions.effect",
    "ablate": "interventions.steering",
    "steer": "interventions.steering",
    "patch": "interventions.steering",
    "design": "interventions.designing",
    "control_matrix": "interventions.control_matrix",
    "variant_effect": "interventions.variants",
    "variant_effects": "interventions.variants",
    "saturate": "interventions.saturation",
    "read_variants": "readers.vcf",
    "read_assay": "readers.assays",
    "readout": "readouts.readout",
    "assay": "readouts.assay_scores",
    "distil": "readouts.distilled",
    "panel": "readouts.panels",
    "contrast": "readouts.panels",
    "place_variants": "readouts.coding",
    "consequences": "readouts.coding",
    "report": "report.write",
    "sweep_sites": "sweep",
    "select_width": "sae.grid",
    "baseline_sae": "sae.plain_dictionaries",
    "sweep_saes": "sae.grid",
    "scaling": "sae.scaling",
    "twins": "sae.twins",
    "stability": "sae.stability",
    "loss_recovered": "sae.recovered",
    "overwriting": "store.atomic",
}
_MODULES = {"pl": "plots", "testing": "testing", "errors": "errors", "judges": "interventions.judges"}

__all__ = sorted([*_EXPORTS, *_MODULES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    elif name in _EXPORTS:
        value = getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
