"""Candidate discoveries: typed, calibrated, with evidence for and against."""

from __future__ import annotations

from sciinterp.discovery.files import read_candidates, write_candidates
from sciinterp.discovery.planted import Planted, PlantedSettings, plant
from sciinterp.discovery.search import Controls, DiscoverySettings, discover

__all__ = [
    "Controls", "DiscoverySettings", "Planted", "PlantedSettings", "discover", "plant", "read_candidates",
    "write_candidates",
]  # fmt: skip
