"""What stages leave in a run folder: a table for people and other tools, beside it JSON with all that was said.

Of control these are ``turning.tsv`` and ``turning.json``, with doses and examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from sciinterp.frames import Table
from sciinterp.settings import Plain
from sciinterp.store.atomic import read_json, write_each, write_json
from sciinterp.store.ledger import require_intact
from sciinterp.store.tables import records, write_tsv

NAMES = ("turning.tsv", "turning.json")


def write_turning(table: Table, folder: str | Path) -> None:
    """Write what :func:`sciinterp.control_matrix` returned."""
    context = table.context
    record = {
        "table": records(pd.DataFrame(table)),
        "doses": records(context["doses"]),
        "summary": records(context["summary"]),
        "examples": context["examples"],
        "rank_correlation": {k: v if v == v else None for k, v in context["rank_correlation"].items()},
        "not_run": context["not_run"],
        "settings": asdict(context["settings"]),
    }
    write_pair(folder, NAMES, table, record, computed=table)


def read_turning(folder: str | Path) -> Plain | None:
    """The content of ``turning.json``; None where control was not measured."""
    return read_pair(folder, NAMES)


def write_pair(
    folder: str | Path, names: tuple[str, str], frame: pd.DataFrame, record: Plain, *, computed: object
) -> None:
    """Write a table and its record under these names."""
    table, told = (Path(folder) / name for name in names)
    files = {
        names[0]: lambda: write_tsv(pd.DataFrame(frame), table),
        names[1]: lambda: write_json(told, record),
    }
    write_each(folder, files, computed=computed)


def read_pair(folder: str | Path, names: tuple[str, str]) -> Plain | None:
    """The record of such a pair, as the ledger knows it; None where there is none."""
    require_intact(folder, *names)
    path = Path(folder) / names[1]
    return read_json(path) if path.is_file() else None


def by_name(records: Mapping[str, Plain], what: str) -> pd.DataFrame:
    """The tables of several records under one another, their names in the first column."""
    rows = [pd.DataFrame(record["table"]).assign(**{what: name}) for name, record in records.items()]
    frame = pd.concat(rows, ignore_index=True)
    return frame[[what, *[c for c in frame.columns if c != what]]]
