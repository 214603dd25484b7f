"""Which columns of codes speak at the same places: within a dictionary, and between dictionaries of other seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from sciinterp.budget import BLOCK_VALUES
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.active import only_active
from sciinterp.discovery.problem import Problem

COLUMNS_AT_ONCE = 1024  # columns of codes compared with another dictionary at once
TOGETHER = 0.2  # cosine between code columns from which two features fire together

# Columns of codes that are read when asked for: of which problem, and their numbers there.
Columns = list[tuple[Problem, np.ndarray]]


def stability_of(
    columns: Columns, others: Sequence[FeatureMatrix | Sequence[FeatureMatrix]], *, where: np.ndarray
) -> np.ndarray:
    """Smallest over dictionaries of the best cosine between code columns; NaN without dictionaries.

    Only the columns ``where`` are looked at; the others get 0.
    """
    if not len(others):
        return np.full(len(where), np.nan)
    worst, first = where.astype(np.float64), 0
    for source, numbers in columns:
        chosen = np.flatnonzero(where[first : first + len(numbers)])
        for low in range(0, len(chosen), COLUMNS_AT_ONCE):
            some = chosen[low : low + COLUMNS_AT_ONCE]
            mine = sp.csr_array(source.columns(numbers[some]).astype(np.float64).T)
            for other in others:
                parts = [other] if isinstance(other, FeatureMatrix) else other
                best = np.max([cosines(mine, part, 1)[0][:, 0] for part in parts], axis=0)
                worst[first + some] = np.minimum(worst[first + some], best)
        first += len(numbers)
    return worst


def _length(codes: sp.csr_array | sp.csc_array, axis: int) -> np.ndarray:
    """Length of every column (``axis`` 0) or row of codes."""
    return np.sqrt(np.asarray(codes.power(2).sum(axis)).ravel()) + 1e-12


def cosines(mine: sp.csr_array, other: FeatureMatrix, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest cosines [n_rows, n] of columns of codes, laid as rows, with those of another dictionary, and whose."""
    norm = _length(mine, 1)
    best, whose = np.zeros((len(norm), n)), np.zeros((len(norm), n), np.int64)
    for lo, hi in other.feature_blocks(BLOCK_VALUES):
        codes = sp.csr_array(only_active(other.by_feature(lo, hi)).to_csc().astype(np.float64))
        cosine = np.asarray((mine @ codes).todense()) / norm[:, None] / _length(codes, 0)[None]
        values = np.hstack([best, cosine])
        of = np.hstack([whose, np.broadcast_to(np.arange(lo, hi), cosine.shape)])
        top = np.argpartition(-values, n - 1, axis=1)[:, :n]
        best, whose = (np.take_along_axis(x, top, 1) for x in (values, of))
    order = np.argsort(-best, axis=1, kind="stable")
    return np.take_along_axis(best, order, 1), np.take_along_axis(whose, order, 1)


def like(problem: Problem, features: np.ndarray, one: sp.csr_array | None = None) -> np.ndarray:
    """The cosine of every column of codes, those of the features where none are given, with that of every feature."""
    other, length, cross = np.zeros(len(features)), None, 0.0
    if one is not None:
        one = sp.csr_array(one.astype(np.float64))
        length = _length(one, 0)
    for part, codes in problem.rows(features):
        theirs = sp.csr_array(codes.astype(np.float64))
        mine = theirs if one is None else one[part]
        cross = cross + np.asarray((mine.T @ theirs).todense())
        other += np.asarray(theirs.power(2).sum(0)).ravel()
    other = np.sqrt(other) + 1e-12
    return cross / (other if length is None else length)[:, None] / other[None]


def co_active(problem: Problem, features: np.ndarray, *, cosine: float = TOGETHER) -> list[int]:
    """For each feature of a ranked list, the place of the first better one it fires with (itself if none)."""
    near, leader = like(problem, features), list[int]()
    for i in range(len(features)):
        first = next((j for j in range(i) if leader[j] == j and near[i, j] >= cosine), i)
        leader.append(first)
    return leader
