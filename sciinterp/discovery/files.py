"""``candidates.tsv`` and ``candidates.json``: the list, and the list with its evidence."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sciinterp.discovery.search import COLUMNS
from sciinterp.store.atomic import read_json, write_json
from sciinterp.store.tables import write_tsv
from sciinterp.tables import Table

VERSION = 1


def write_candidates(candidates: pd.DataFrame, folder: str | Path) -> None:
    """Write ``candidates.tsv`` (without evidence) and ``candidates.json`` (with it) into a folder.

    Parameters
    ----------
    candidates : Table
        Of :func:`sciinterp.discover`.
    folder : path
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(candidates)
    write_tsv(
        frame[[c for c in COLUMNS if c in frame.columns and c != "evidence"]], folder / "candidates.tsv"
    )
    rows = frame.to_dict("records")
    write_json(folder / "candidates.json", {
        "version": VERSION,
        "note": "Each row is a candidate: a claim that no source states and nobody has confirmed.",
        "context": dict(getattr(candidates, "context", None) or {}),
        "candidates": rows,
    })  # fmt: skip


def read_candidates(folder: str | Path) -> Table:
    """Read what :func:`write_candidates` wrote.

    Raises
    ------
    StoreError, FormatError
        When the file is missing or no JSON.
    """
    found = read_json(Path(folder) / "candidates.json")
    frame = pd.DataFrame(found["candidates"], columns=list(COLUMNS))
    for name in ("start", "end", "feature"):
        frame[name] = frame[name].astype("int64")
    for name in ("score", "probability", "q"):
        frame[name] = frame[name].astype("float64")
    return Table(frame, context=found.get("context", {}))
