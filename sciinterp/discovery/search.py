"""``discover``: one table of candidates of three kinds, with their evidence."""

from __future__ import annotations
