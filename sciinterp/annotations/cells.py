"""Columns of an AnnData file as facts about cells: ``obs:cell_type:B cell``.

Every value of a column of text, categories or truth values is a concept, and every cell with it a row with
``start = end = -1``. A column is a source of its own, and cells without a value are not covered by it. Numbers are not concepts: cut them
into bins first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from sciinterp.annotations.rows import REPEATED, concept_name
from sciinterp.annotations.table import Annotations
from sciinterp.frames import require_columns
from sciinterp.readers.hdf5 import open_h5ad, table_of
from sciinterp.readers.sample_tables import MISSING
from sciinterp.settings import checked

# A column with a value of its own for nearly every cell is an identifier, not a class.
MAX_VALUES = 1000
NUMERIC = "a column of numbers"
MISSING_VALUE = "no value"
TOO_MANY = f"a column of more than {MAX_VALUES} values"


@checked()
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
    with open_h5ad(path, "obs") as file:
        return cell_annotations(table_of(file, "obs"), columns=columns, release=release)


@checked()
def cell_annotations(
    obs: pd.DataFrame, *, columns: Iterable[str] | None = None, release: str = ""
) -> Annotations:
    """Cell annotations of a table ``obs``, one row a cell; every column is a source, with its own coverage.

    Examples
    --------
    >>> obs = pd.DataFrame({"type": ["B", "T", None], "n": [1.5, 2.5, 3.5]}, index=["c1", "c2", "c3"])
    >>> annotations = cell_annotations(obs)
    >>> annotations.names, annotations.counts["dropped"], annotations.coverage
    (['obs:type:B', 'obs:type:T'], {'no value': 1, 'a column of numbers': 3}, {'obs:type': ('c1', 'c2')})
    """
    chosen = list(obs.columns) if columns is None else list(columns)
    require_columns(obs, chosen, "obs")
    parts, concepts, coverage = [], {}, {}
    dropped: Counter[str] = Counter()
    cells = obs.index.astype(str)
    dropped[REPEATED] = int(cells.duplicated().sum()) * len(chosen)
    obs, cells = obs[~cells.duplicated()], cells[~cells.duplicated()]
    for column in chosen:
        values = obs[column]
        numbers = pd.api.types.is_numeric_dtype(values) and values.dtype != bool
        text = values.astype(object).where(values.notna(), "").astype(str).str.strip()
        here = ~text.isin(MISSING).to_numpy()
        if numbers or text[here].nunique() > MAX_VALUES:
            dropped[NUMERIC if numbers else TOO_MANY] += len(obs)
            continue
        dropped[MISSING_VALUE] += int((~here).sum())
        source = concept_name("obs", str(column))
        names = {value: concept_name("obs", str(column), value) for value in text[here].unique()}
        concepts |= {
            n: {"name": v, "parent": source, "level": 1, "source": source, "exhaustive": True}
            for v, n in names.items()
        }
        part = {"sample": cells[here], "start": -1, "end": -1, "concept": text[here].map(names).to_numpy()}
        parts.append(pd.DataFrame(part | {"source": source, "release": release}))
        coverage[source] = tuple(cells[here])
    empty = pd.DataFrame(columns=["sample", "start", "end", "concept", "source", "release"])
    frame = pd.concat(parts, ignore_index=True) if parts else empty
    table = pd.DataFrame.from_dict(concepts, orient="index") if concepts else None
    counts = {
        "n_in": len(obs.index) * len(chosen) + dropped[REPEATED],
        "n_kept": len(frame),
        "dropped": {reason: n for reason, n in dropped.items() if n},
    }
    return Annotations(frame, concepts=table, coverage=coverage, counts=counts)
