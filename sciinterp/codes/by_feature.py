"""Codes laid out feature by feature: what every loop over features reads.

Both kernels of association walk one feature at a time, so that its counts against every concept (some kilobytes)
stay in the fastest cache; figures, candidates and the browser ask for the values of one feature. Converting is one
counting sort over the stored values.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from sciinterp.errors import InputError, ShapeError
from sciinterp.store.codes_reader import ByFeature


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
