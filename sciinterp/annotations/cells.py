"""Columns of an AnnData file as facts about cells: ``obs:cell_type:B cell``.

Every value of a column of text, categories or truth values is a concept, and every cell with it a row with
``start = end = -1``. Cells without a value are not covered by the column. Numbers are not concepts: cut them
into bins first.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sciinterp.annotations.rows import Rows, concept_name
from sciinterp.annotations.table import Annotations
from sciinterp.annotations.text import guard
from sciinterp.errors import InputError

# A column with a value of its own for nearly every cell is an identifier, not a class.
MAX_VALUES = 1000
NUMERIC = "a column of numbers"
MISSING = "no value"
TOO_MANY = f"a column of more than {MAX_VALUES} values"


def parse_h5ad(path: str | Path, *, columns: Iterable[str] | None = None, release: str = "") -> Annotations:
    """Cell annotations of an ``.h5ad`` file; only ``obs`` is read.

    Parameters
    ----------
    path : path
    columns : iterable of str, optional
        Columns of ``obs``; by default all.
    release : str
        For the ``release`` column.

    Raises
    ------
    InputError
        When there is no such column.
    FormatError
        When this is not AnnData.
    """
    import anndata
    import h5py

    if not Path(path).is_file():
        raise InputError("there is no such file", where=f"file '{path}'")

    def run() -> Any:
        with h5py.File(path, "r") as file:
            return anndata.io.read_elem(file["obs"])

    return cell_annotations(guard(run, path, "AnnData"), columns=columns, release=release)


def cell_annotations(obs: Any, *, columns: Iterable[str] | None = None, release: str = "") -> Annotations:
    """Cell annotations of a table ``obs``, one row a cell.

    Examples
    --------
    >>> import pandas as pd
    >>> obs = pd.DataFrame({"type": ["B", "T", None], "n": [1.5, 2.5, 3.5]}, index=["c1", "c2", "c3"])
    >>> annotations = cell_annotations(obs)
    >>> annotations.names, annotations.counts["dropped"]
    (['obs:type:B', 'obs:type:T'], {'no value': 1, 'a column of numbers': 3})
    """
    import pandas as pd

    chosen = list(obs.columns) if columns is None else list(columns)
    unknown = [c for c in chosen if c not in obs.columns]
    if unknown:
        raise InputError(
            "there is no such column of obs",
            where=repr(unknown[0]),
            expected=", ".join(map(str, obs.columns)) or "any",
        )
    rows = Rows("obs", release=release)
    cells = [str(c) for c in obs.index]
    for cell in cells:
        rows.covers(cell)
    for column in chosen:
        values = obs[column]
        reason = NUMERIC if pd.api.types.is_numeric_dtype(values) and values.dtype != bool else ""
        values = values.astype(object)
        if not reason and values.nunique() > MAX_VALUES:
            reason = TOO_MANY
        parent = concept_name("obs", str(column))
        for cell, value in zip(cells, values):
            rows.item()
            if reason or pd.isna(value) or not str(value).strip():
                rows.drop(reason or MISSING)
                continue
            concept = concept_name("obs", str(column), str(value))
            rows.add(cell, -1, -1, concept)
            rows.concept(concept, name=str(value), parent=parent, level=1, exhaustive=True)
    return rows.annotations()
