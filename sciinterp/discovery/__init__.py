"""Candidate discoveries: typed, calibrated, with evidence for and against."""

from __future__ import annotations

from sciinterp.discovery.planted import Planted, PlantedSettings, plant

__all__ = ["Planted", "PlantedSettings", "plant"]
