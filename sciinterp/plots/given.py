"""What figures are given: tables and rows in any of their forms, and the names of columns in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sciinterp.errors import InputError, no_such, require_kinds
from sciinterp.frames import require_columns
from sciinterp.plots.style import finite

# A table, its columns by name, or its rows; nothing is an empty one.
Rows = pd.DataFrame | Mapping[str, object] | Iterable[Mapping[str, object]] | None


def table_of(given: object, name: str = "table") -> pd.DataFrame:
    """A table of what was given as one: a table, its columns, its rows, or one row.

    Raises
    ------
    InputError
        It is nothing of the kind.

    Examples
    --------
    >>> table_of([{"k": 8}, {"k": 16}])["k"].tolist(), table_of({"k": [8, 16]})["k"].tolist(), len(table_of(None))
    ([8, 16], [8, 16], 0)
    """
    if given is None or isinstance(given, pd.DataFrame):
        return pd.DataFrame(given)
    if isinstance(given, Mapping):
        columns = any(isinstance(v, Iterable) and not isinstance(v, str | Mapping) for v in given.values())
        return pd.DataFrame(dict(given) if columns else [given][: len(given)])
    rows = list(given) if isinstance(given, Iterable) and not isinstance(given, str | bytes) else [given]
    if not all(isinstance(row, Mapping) for row in rows):
        raise InputError(
            "an argument of another kind",
            where=f"{name}=",
            expected="a DataFrame, or rows that are mappings",
            got=repr(given)[:60],
        )
    return pd.DataFrame(rows)


def measured(given: object, *columns: str, numbers: Sequence[str], name: str = "table") -> pd.DataFrame:
    """Rows of a table that has all these columns, as far as they have all the numbers; else none.

    Examples
    --------
    >>> measured({"k": [8, 16], "fve": [0.5, None]}, "k", numbers=["fve"])["k"].tolist()
    [8]
    """
    frame = table_of(given, name)
    if not {*columns, *numbers} <= set(frame.columns):
        return pd.DataFrame(columns=[*columns, *numbers])
    return frame[~np.isnan([finite(frame[column]) for column in numbers]).any(axis=0)]


def hits_of(hits: object, *columns: str) -> pd.DataFrame:
    """A table of hits as it is, with its context; an empty one of None.

    Raises
    ------
    InputError
        It is no table, or one of something else, without these columns.
    """
    found: pd.DataFrame = pd.DataFrame() if hits is None else hits
    require_kinds(hits=(found, pd.DataFrame))
    require_columns(found, columns if len(found.columns) else (), "hits")
    return found


def require_column(frame: pd.DataFrame, column: str, usual: str, *, option: str) -> None:
    """Raise where a column other than the usual one was asked for, of a table that has rows and not this column."""
    if len(frame) and column != usual and column not in frame.columns:
        raise no_such("column", column, map(str, frame.columns), where=f"{option}=")


def read_log(log: object, name: str = "log") -> pd.DataFrame:
    """A table of a log given as a table, rows, a ``.jsonl`` file, or an SAE that knows its folder.

    Raises
    ------
    InputError
        There is no such file, or it is no log at all.
    """
    if isinstance(log, str | Path):
        path = Path(log)
        if not path.exists():
            raise InputError("there is no such file", where=f"file '{str(path)[:200]}'")
        path = path / "training.jsonl" if path.is_dir() else path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        rows = [json.loads(line) for line in lines if line.strip()]
        return pd.DataFrame([row for row in rows if isinstance(row, dict)])
    if hasattr(log, "architecture") and not isinstance(log, pd.DataFrame):  # an SAE
        held, folder = getattr(log, "log", None), getattr(log, "folder", None)
        at = folder if folder is not None and Path(folder).is_dir() else None
        return read_log(at if held is None else held)
    return table_of(log, name).reset_index(drop=True)
