"""Association: exact integer counts first, statistics second, effects on held-out families."""

from __future__ import annotations

from sciinterp.association.kernel import Counts, count_overlaps
from sciinterp.association.ranking import PairScores, precision_recall

__all__ = ["Counts", "PairScores", "count_overlaps", "precision_recall"]
