"""Columns of an AnnData file as facts about cells: ``obs:cell_type:B cell``.

Every value of a column of text, categories or truth values is a concept, and every cell with it a row with
``start = end = -1``. A column is a source of its own, and cells without a value are not covered by it. Numbers are not concepts: cut them
into bins first.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from sciinterp.annotations.rows import REPEATED, concept_name
from sciinterp.annotations.table import Annotations
from sciinterp.errors import InputError
from sciinterp.readers.bounded import bounds, open_regular, parsing
from sciinterp.readers.tables import MISSING

# A column with a value of its own for nearly every cell is an identifier, not a class.
MAX_VALUES = 1000
NUMERIC = "a column of numbers"
# What a process of its own reads: the attributes and data sets that anndata would.
_READ_ALL = """
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except ImportError:
    pass
import h5py
def look(item):
    for name in item.attrs:
        item.attrs[name]
    if isinstance(item, h5py.Dataset):
        item[()]
with h5py.File(sys.argv[1], "r") as file:
    look(file["obs"])
    file["obs"].visititems(lambda _, item: look(item))
"""
MISSING_VALUE = "no value"
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

    open_regular(path).close()
    with parsing(path, "AnnData"):
        with h5py.File(path, "r") as file:
            _possible(file["obs"], Path(path).stat().st_size)
        _survive(Path(path))
        with h5py.File(path, "r") as file:
            obs = anndata.io.read_elem(file["obs"])
        return cell_annotations(obs, columns=columns, release=release)


def _survive(path: Path) -> None:
    """Read the file once in a process of its own, within a bound of processor time.

    The HDF5 library can loop for ever over damaged bytes; nothing in this process could stop it. Errors are not
    looked at: the reading that follows meets them again.
    """
    seconds = 3 + path.stat().st_size // 1_000_000
    done = subprocess.run(
        [sys.executable, "-c", _READ_ALL, str(path), str(seconds)], capture_output=True, check=False
    )
    if done.returncode < 0:
        raise ValueError(f"reading it ended by signal {-done.returncode}")


def _possible(obs: Any, n_bytes: int) -> None:
    """Raise where a damaged or hostile file claims more than its bytes could hold, before it is read."""
    import h5py

    def look(item: Any) -> None:
        for name in item.attrs:
            attribute = h5py.h5a.open(item.id, name.encode())
            if attribute.get_space().get_simple_extent_npoints() * attribute.get_type().get_size() > n_bytes:
                raise ValueError(f"attribute {name!r} claims more than the file holds")
        if isinstance(item, h5py.Dataset) and item.size * item.dtype.itemsize > bounds().unpacked(n_bytes):
            raise ValueError(f"data set {item.name!r} claims more than the file could unpack to")

    look(obs)
    if isinstance(obs, h5py.Group):
        obs.visititems(lambda _, item: look(item))


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
    unknown = [c for c in chosen if c not in obs.columns]
    if unknown:
        raise InputError(
            "there is no such column of obs",
            where=repr(unknown[0]),
            expected=", ".join(map(str, obs.columns)) or "any",
        )
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
