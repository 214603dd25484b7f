"""Codes laid out feature by feature: what every loop over features reads.

Both kernels of association walk one feature at a time, so that its counts against every concept (some kilobytes)
stay in the fastest cache; figures, candidates and the browser ask for the values of one feature. Converting is one
counting sort over the stored values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float32, Int32, Int64

from sciinterp.errors import InputError, ShapeError


@dataclass(frozen=True, eq=False)
class ByFeature:
    """Codes laid out feature by feature, rows ascending within each.

    Attributes
    ----------
    values : float32 [n_stored]
    rows : int32 [n_stored]
        Position of each value.
    starts : int64 [n_features + 1]
        Values of feature ``j`` are ``starts[j]:starts[j + 1]``.
    n_positions : int
    """

    values: Float32[np.ndarray, " n_stored"]
    rows: Int32[np.ndarray, " n_stored"]
    starts: Int64[np.ndarray, " n_features_plus_1"]
    n_positions: int

    @property
    def n_features(self) -> int:
        """Number of features (columns)."""
        return len(self.starts) - 1

    @property
    def largest(self) -> np.ndarray:
        """float32 [n_features]: the largest value of each feature, its scale; 0 where it has none."""
        out, alive = np.zeros(self.n_features, np.float32), np.flatnonzero(np.diff(self.starts))
        if len(alive):
            out[alive] = np.maximum.reduceat(self.values, self.starts[alive])
        return out

    def keep(self, kept: np.ndarray) -> ByFeature:
        """The same features with some of their values: bool [n_stored]."""
        before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
        return ByFeature(self.values[kept], self.rows[kept], before[self.starts], self.n_positions)

    def block(self, lo: int, hi: int) -> ByFeature:
        """Features ``lo`` to ``hi`` (views)."""
        part = slice(int(self.starts[lo]), int(self.starts[hi]))
        return ByFeature(
            self.values[part], self.rows[part], self.starts[lo : hi + 1] - self.starts[lo], self.n_positions
        )

    def at(self, rows: np.ndarray) -> ByFeature:
        """The same features on some positions, ascending, which are numbered anew in that order."""
        number = np.full(self.n_positions, -1, np.int32)
        number[rows] = np.arange(len(rows), dtype=np.int32)
        new = number[self.rows]
        kept = np.flatnonzero(new >= 0)
        starts = np.searchsorted(kept, self.starts).astype(np.int64, copy=False)
        return ByFeature(self.values[kept], new[kept], starts, len(rows))

    def to_csc(self) -> sp.csc_array:
        """The same numbers as a SciPy array [n_positions, n_features]."""
        return sp.csc_array((self.values, self.rows, self.starts), shape=(self.n_positions, self.n_features))

    def column(self, feature: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and values stored for one feature (views)."""
        part = slice(self.starts[feature], self.starts[feature + 1])
        return self.rows[part], self.values[part]


def by_feature(codes: sp.csr_array | ByFeature) -> ByFeature:
    """Check codes and lay them out feature by feature.

    Parameters
    ----------
    codes : csr_array float32 [n_positions, n_features]
        Non-negative and finite; duplicates of one cell are summed, explicit zeros are allowed.

    Raises
    ------
    ShapeError
        Not two-dimensional.
    InputError
        A negative or NaN code.
    """
    if isinstance(codes, ByFeature):
        return codes
    matrix = as_csr(codes, "codes")
    if matrix.nnz and not matrix.data.min() >= 0:
        bad = "NaN" if np.isnan(matrix.data).any() else f"{matrix.data.min():g}"
        raise InputError("codes cannot be used", where="argument 'codes'", expected="values >= 0", got=bad)
    if matrix.shape[0] >= 2**31:
        raise ShapeError(
            "too many positions for one call",
            expected="fewer than 2**31",
            got=str(matrix.shape[0]),
            do="Count shard by shard: counts add.",
        )
    csc = canonical(matrix).tocsc()
    return ByFeature(
        np.ascontiguousarray(csc.data, np.float32),
        csc.indices.astype(np.int32, copy=False),
        csc.indptr.astype(np.int64, copy=False),
        int(matrix.shape[0]),
    )


def as_csr(matrix: object, name: str) -> sp.csr_array:
    """A matrix as CSR; ShapeError for anything that is not two-dimensional, or not of real numbers."""
    try:
        found = sp.csr_array(matrix) if sp.issparse(matrix) else np.asarray(matrix)
    except ValueError:  # lists of several lengths
        found = np.array(None)
    masked, where = np.ma.is_masked(matrix), f"argument '{name}'"
    if found.ndim != 2:
        raise ShapeError(
            f"{name} must be a sparse matrix",
            where=where,
            expected="[n_positions, columns]",
            got=f"{found.ndim} dimensions",
        )
    if masked or found.dtype.kind not in "fiub":
        got = "masked values" if masked else str(found.dtype)
        raise ShapeError(f"{name} must be real numbers", where=where, expected="real numbers", got=got)
    return sp.csr_array(found)


def canonical(matrix: sp.csr_array) -> sp.csr_array:
    """The same numbers with duplicates of a cell summed and columns ascending; what was given is not changed."""
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix
