"""Candidate discoveries: typed, calibrated, with evidence for and against."""

from __future__ import annotations

from sciinterp.discovery.files import read_candidates, write_candidates
from sciinterp.discovery.planted import Planted, PlantedSettings, plant
from sciinterp.discovery.search import Controls, DiscoverySettings, discover
from sciinterp.discovery.variants import parse_variant, variant_effect, variant_effects

__all__ = [
    "Controls", "DiscoverySettings", "Planted", "PlantedSettings", "discover", "parse_variant", "plant", "read_candidates",
    "variant_effect", "variant_effects", "write_candidates",
]  # fmt: skip
