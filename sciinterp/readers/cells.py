"""Cells of an AnnData file: one sample a cell, its positions the genes it expresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sciinterp.errors import FormatError, InputError
from sciinterp.samples import Samples


def read_h5ad(path: Path, *, kind: str | None = None) -> Samples:
    """Cells of an ``.h5ad`` file, with ``obs`` as sample columns.

    A cell is a plain record of two lists, ``genes`` (names, in the order of ``var``) and ``values``, over the
    genes whose value is not zero; cells without any are dropped and counted.

    Raises
    ------
    FormatError
        When the file is not AnnData.
    InputError
        When it has no cell.
    """
    import anndata
    import pandas as pd
    import scipy.sparse as sp

    try:
        data = anndata.read_h5ad(path)
        matrix: Any = sp.csr_array(data.X if sp.issparse(data.X) else np.asarray(data.X))
    # The reader is another program's, and says "this is not my format" by whatever fails in it.
    except Exception as error:
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise FormatError("this is not AnnData", file=str(path), got=said) from None
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    genes = np.asarray(data.var_names, dtype=object)
    keep = np.flatnonzero(np.diff(matrix.indptr))
    if not len(keep):
        raise InputError(
            "no cells",
            where=f"file '{path}'",
            expected="at least one that expresses a gene",
            got=f"{len(genes)} genes, {matrix.shape[0]} cells",
        )
    cells = []
    for i in keep:
        inside = slice(matrix.indptr[i], matrix.indptr[i + 1])
        cells.append(
            {
                "genes": genes[matrix.indices[inside]].tolist(),
                "values": matrix.data[inside].astype(float).tolist(),
            }
        )
    table = (
        pd.DataFrame({str(c): _plain(data.obs[c]) for c in data.obs.columns})
        .iloc[keep]
        .reset_index(drop=True)
    )
    empty = matrix.shape[0] - len(keep)
    return Samples(
        [str(data.obs_names[i]) for i in keep],
        cells,
        lengths=[len(c["genes"]) for c in cells],
        table=table if len(table.columns) else None,
        kind=kind or "cells",
        n_in=matrix.shape[0],
        dropped={"no gene expressed": empty} if empty else {},
        source=str(path),
    )


def _plain(column: object) -> np.ndarray:
    """A column of ``obs`` as numbers or text: no categories, no missing values of their own kind."""
    import pandas as pd

    values = pd.Series(column)
    if values.dtype.kind in "fiub":
        return values.to_numpy()
    return values.astype(object).where(values.notna(), "").astype(str).to_numpy()
