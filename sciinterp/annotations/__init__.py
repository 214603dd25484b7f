"""Annotations: what biology already says about samples, in one table, from many sources."""

from __future__ import annotations

from sciinterp.annotations.formats import read_annotations
from sciinterp.annotations.select import select_concepts
from sciinterp.annotations.table import Annotations

__all__ = ["Annotations", "read_annotations", "select_concepts"]
