"""Candidate discoveries: typed, calibrated, with evidence for and against."""

from __future__ import annotations

from sciinterp.discovery.benchmark import benchmark_discovery
from sciinterp.discovery.files import describe_candidates, read_candidates, write_candidates
from sciinterp.discovery.planted import Planted, PlantedSettings, plant
from sciinterp.discovery.recover import leave_concept_out, mask_and_recover, merge_and_recover, temporal
from sciinterp.discovery.search import discover
from sciinterp.discovery.settings import Controls, DiscoverySettings
from sciinterp.interventions.variants import variant_effect, variant_effects
from sciinterp.readers.notation import parse_variant

__all__ = [
    "Controls", "DiscoverySettings", "Planted", "PlantedSettings", "benchmark_discovery", "describe_candidates", "discover", "leave_concept_out",
    "mask_and_recover", "merge_and_recover", "parse_variant", "plant", "read_candidates", "temporal", "variant_effect",
    "variant_effects", "write_candidates",
]  # fmt: skip
