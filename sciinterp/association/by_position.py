"""The layouts the counting loops read: codes by feature, positives by position, checked once.

Both kernels walk one feature at a time, so that its counts against every concept (some kilobytes) stay in
the fastest cache; that needs the codes column by column. Converting is one counting sort over the stored
values and is the only copy made of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from jaxtyping import Int, Int32, Int64

from sciinterp.codes.by_feature import as_csr
from sciinterp.errors import InputError, ShapeError


@dataclass(frozen=True, eq=False)
class ByPosition:
    """Concepts present at each position, as row starts and concept numbers."""

    concepts: Int32[np.ndarray, " n_stored"]
    starts: Int[np.ndarray, " n_positions_plus_1"]
    n_positive: Int64[np.ndarray, " n_concepts"]

    @property
    def n_concepts(self) -> int:
        """Number of concepts (columns)."""
        return len(self.n_positive)

    @property
    def n_positions(self) -> int:
        """Number of positions (rows)."""
        return len(self.starts) - 1


def by_position(positives: sp.csr_array | ByPosition, n_positions: int) -> ByPosition:
    """Check positives and lay them out position by position; explicit False cells are dropped.

    ShapeError where their number of positions is not that of the codes.
    """
    if isinstance(positives, ByPosition):
        found = positives
    else:
        matrix = as_csr(positives, "positives")
        if matrix.nnz and not matrix.data.all():
            matrix = matrix.copy()
            matrix.eliminate_zeros()
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        indices = matrix.indices.astype(np.int32, copy=False)
        counts = np.bincount(indices, minlength=matrix.shape[1]).astype(np.int64)
        found = ByPosition(
            indices, matrix.indptr.astype(np.int32 if matrix.nnz < 1 << 31 else np.int64, copy=False), counts
        )
    if found.n_positions != n_positions:
        raise ShapeError(
            "codes and positives do not describe the same positions",
            where="argument 'positives'",
            expected=f"{n_positions} rows",
            got=f"{found.n_positions}",
            do="Lay both out on the positions of the same samples, end to end.",
        )
    return found


def threshold_table(thresholds: np.ndarray, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds as float32 [n_features, n_thresholds] ascending, and the order that sorts them.

    ShapeError where they are given in another shape, or for all features; InputError where one is NaN.
    """
    table = np.asarray(thresholds, dtype=np.float32)
    if table.ndim == 1:
        table = np.broadcast_to(table, (n_features, len(table)))
    if table.ndim != 2 or table.shape[0] != n_features:
        raise ShapeError(
            "thresholds have the wrong shape",
            where="argument 'thresholds'",
            expected=f"[n_thresholds] or [{n_features}, n_thresholds]",
            got=str(list(np.shape(thresholds))),
        )
    if np.isnan(table).any():
        raise InputError("a threshold is NaN", where="argument 'thresholds'", expected="numbers")
    order = np.argsort(table, axis=1, kind="stable")
    return np.ascontiguousarray(np.take_along_axis(table, order, axis=1)), order


def indicator(column: np.ndarray, n_columns: int, kind: npt.DTypeLike = np.float64) -> sp.csr_array:
    """csr [n_rows, n_columns]: one in each row, in its column; its transpose sums rows by column.

    Examples
    --------
    >>> indicator(np.array([1, 0, 1]), 2).T @ np.array([1.0, 2.0, 4.0])
    array([2., 5.])
    """
    n = len(column)
    return sp.csr_array((np.ones(n, kind), column, np.arange(n + 1)), shape=(n, n_columns))
