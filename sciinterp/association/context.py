"""What hits are and carry beside their rows: settings, counts, baselines, sets, what was not run or tested and why."""

from __future__ import annotations

from typing import TypedDict

import pandas as pd


class HitsContext(TypedDict, total=False):
    """The ``context`` of hits.

    Attributes
    ----------
    baselines, sets : DataFrame
        One row a concept and baseline; one a concept, reader, rule and size.
    not_run, not_tested : dict of str to str
        Baseline, and concept, to the reason.
    held_out, caveats, belongs : dict
        From :func:`sciinterp.provenance.standing`.
    settings, counts : dict
    """

    baselines: pd.DataFrame
    sets: pd.DataFrame
    not_run: dict[str, str]
    not_tested: dict[str, str]
    held_out: dict[str, object]
    caveats: dict[str, object]
    belongs: dict[str, object]
    settings: dict[str, object]
    counts: dict[str, object]


def context_of(hits: pd.DataFrame | None) -> HitsContext:
    """The context of hits; empty for a plain table."""
    return getattr(hits, "context", None) or {}
