"""Control as it lies in a folder: ``turning.tsv`` for people and other tools, ``turning.json`` with doses and examples."""

from __future__ import annotations

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
    folder = Path(folder)
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
    files = {
        NAMES[0]: lambda: write_tsv(pd.DataFrame(table), folder / NAMES[0]),
        NAMES[1]: lambda: write_json(folder / NAMES[1], record),
    }
    write_each(folder, files, computed=table)


def read_turning(folder: str | Path) -> Plain | None:
    """The content of ``turning.json``; None where control was not measured."""
    require_intact(folder, *NAMES)
    path = Path(folder) / NAMES[1]
    return read_json(path) if path.is_file() else None
