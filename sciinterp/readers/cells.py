"""Cells of an AnnData file: one sample a cell, its positions the genes it expresses."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from sciinterp.errors import InputError
from sciinterp.readers.entries import check_ids
from sciinterp.readers.hdf5 import open_h5ad, table_of
from sciinterp.readers.identifiers import say_spoiled
from sciinterp.samples import Samples

log = logging.getLogger(__name__)


def read_h5ad(path: Path, *, kind: str | None = None, layer: str | None = None, raw: bool = False) -> Samples:
    """Cells of an ``.h5ad`` file, with ``obs`` as sample columns.

    A cell is a plain record of two lists, ``genes`` (names, in the order of ``var``) and ``values``, over the
    genes whose value is not zero; cells without any are dropped and counted.

    Parameters
    ----------
    path : path
    kind : str, optional
    layer : str, optional
        The matrix of ``layers`` to read instead of ``X``.
    raw : bool
        Read ``raw.X`` instead.

    Raises
    ------
    FormatError
        When the file is not AnnData.
    InputError
        When it has no cell, no such layer, or values that are no expression: negative, as after scaling.
    """
    import anndata
    import pandas as pd
    import scipy.sparse as sp

    part = "raw/X" if raw else f"layers/{layer}" if layer else "X"
    var = "raw/var" if raw else "var"
    others = _matrices(path, part)
    with open_h5ad(path, "obs", var, part) as file:
        obs, names, values = table_of(file, "obs"), table_of(file, var), anndata.io.read_elem(file[part])
        matrix = sp.csr_array(values)
        if matrix.shape != (len(obs), len(names)):
            raise ValueError(f"{part} is {matrix.shape}, obs and var have {len(obs)} and {len(names)} rows")
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    if matrix.nnz and not (matrix.data.min() >= 0 and np.isfinite(matrix.data.max())):
        raise InputError(
            "the values are not expression: they are scaled, or damaged",
            where=f"file '{path}', {part}",
            expected="counts, or their logarithms, from 0 up",
            got=f"{matrix.data.min():.4g} to {matrix.data.max():.4g}",
            do=f"Read another matrix with layer= or raw=True; the file has {', '.join(others) or 'no other'}.",
        )
    genes = names.index.astype(str).to_numpy(dtype=object)
    say_spoiled(path, genes)
    keep = np.flatnonzero(np.diff(matrix.indptr))
    obs = obs.iloc[keep]
    ids = obs.index.astype(str).tolist()
    check_ids(ids, path, "cells that express a gene", matrix.shape[0])
    cells = []
    for start, stop in zip(matrix.indptr[keep], matrix.indptr[keep + 1]):
        of, held = genes[matrix.indices[start:stop]], matrix.data[start:stop].astype(float)
        cells.append({"genes": of.tolist(), "values": held.tolist()})
    table = pd.DataFrame({str(c): _plain(obs[c]) for c in obs.columns}, index=range(len(keep)))
    empty = matrix.shape[0] - len(keep)
    samples = Samples(
        ids,
        cells,
        lengths=[len(c["genes"]) for c in cells],
        table=table if len(table.columns) else None,
        kind=kind or "cells",
        n_in=matrix.shape[0],
        dropped={"no gene expressed": empty} if empty else {},
        source=str(path),
    )
    if twice := int(names.index.duplicated(keep=False).sum()):
        log.warning(
            "%s: %d genes share their name with another; each stays a position of its own", path.name, twice
        )
    return samples


def _matrices(path: Path, part: str) -> list[str]:
    """The matrices of the file; an error where ``part`` is none of them."""
    with open_h5ad(path) as file:
        found = {f"layers/{name}": f"layer={name!r}" for name in file.get("layers", ())}
        found |= {"raw/X": "raw=True"} if "X" in file.get("raw", ()) else {}
        if part not in found and (part != "X" or ("X" not in file and found)):
            raise InputError(
                "there is no such matrix in the file",
                where=f"file '{path}'",
                expected=", ".join(found.values()) or "X alone",
                got=part,
            )
    return [name for at, name in found.items() if at != part]


def _plain(column: object) -> np.ndarray:
    """A column of ``obs`` as numbers or text, None where it is missing; no categories."""
    import pandas as pd

    values = pd.Series(column)
    if values.dtype.kind in "fiub":
        return values.to_numpy()
    return np.array([None if missing else str(v) for v, missing in zip(values, values.isna())], dtype=object)
