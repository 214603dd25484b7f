"""Codes moved to other rows, the largest winning: tokens to positions, positions to samples or families."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from sciinterp.codes.intervals import positions_in
from sciinterp.errors import ShapeError


def to_positions(codes: sp.csr_array, start: np.ndarray, end: np.ndarray, n_positions: int) -> sp.csr_array:
    """Token codes on positions: the largest code of the tokens that cover a position.

    Parameters
    ----------
    codes : csr float32 [n_tokens, n_features]
    start, end : int [n_tokens]
        The positions that each token covers, half-open.
    n_positions : int

    Returns
    -------
    csr float32 [n_positions, n_features]
        ``codes`` itself where every position is one token.

    Raises
    ------
    ShapeError
        A span that leaves the positions.

    Examples
    --------
    >>> codes = sp.csr_array(np.array([[1, 0], [2, 3]], np.float32))
    >>> to_positions(codes, np.array([0, 1]), np.array([2, 3]), 4).toarray().tolist()
    [[1.0, 0.0], [2.0, 3.0], [2.0, 3.0], [0.0, 0.0]]
    """
    start, end = np.asarray(start, np.int64), np.asarray(end, np.int64)
    if (
        len(start) == n_positions
        and np.array_equal(start, np.arange(n_positions))
        and (end == start + 1).all()
    ):
        return codes
    if len(start) and (start.min() < 0 or (end < start).any() or end.max() > n_positions):
        raise ShapeError(
            "a token leaves the positions of its samples", expected=f"spans in 0 to {n_positions}"
        )
    token, position = positions_in(start, end)
    return largest(codes[token], position, n_positions)


def largest(codes: sp.csr_array, group: np.ndarray, n_groups: int) -> sp.csr_array:
    """The largest code of each feature among the rows of each group.

    Parameters
    ----------
    codes : csr float32 [n, n_features]
    group : int [n]
        The group of each row: its sample, its family, its position.
    n_groups : int

    Returns
    -------
    csr float32 [n_groups, n_features]

    Examples
    --------
    >>> codes = sp.csr_array(np.array([[1, 0], [2, 3], [0, 4]], np.float32))
    >>> largest(codes, np.array([0, 0, 1]), 3).toarray().tolist()
    [[2.0, 3.0], [0.0, 4.0], [0.0, 0.0]]
    """
    shape = (n_groups, codes.shape[1])
    if not codes.nnz:
        return sp.csr_array(shape, dtype=codes.dtype)
    cell = np.repeat(np.asarray(group, np.int64), np.diff(codes.indptr)) * shape[1] + codes.indices
    order = np.argsort(cell)
    cell = cell[order]
    first = np.flatnonzero(np.append(True, cell[1:] != cell[:-1]))
    value = np.maximum.reduceat(codes.data[order], first)
    return sp.csr_array((value, np.divmod(cell[first], shape[1])), shape=shape)
