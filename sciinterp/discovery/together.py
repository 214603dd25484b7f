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
            norm = np.sqrt(np.asarray(mine.power(2).sum(1)).ravel()) + 1e-12
            for other in others:
                parts = [other] if isinstance(other, FeatureMatrix) else other
                best = np.max([_best_cosine(mine, norm, part) for part in parts], axis=0)
                worst[first + some] = np.minimum(worst[first + some], best)
        first += len(numbers)
    return worst


def _best_cosine(mine: sp.csr_array, norm: np.ndarray, other: FeatureMatrix) -> np.ndarray:
    """The largest cosine [n] of some columns of codes with those of another dictionary."""
    return cosines(mine, norm, other, 1)[0][:, 0]


def cosines(
    mine: sp.csr_array, norm: np.ndarray, other: FeatureMatrix, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """The largest cosines [n_columns, n] of some columns of codes with those of another dictionary, and whose they are."""
    best, whose = np.zeros((len(norm), n)), np.zeros((len(norm), n), np.int64)
    for lo, hi in other.feature_blocks(BLOCK_VALUES):
        codes = sp.csr_array(only_active(other.by_feature(lo, hi)).to_csc().astype(np.float64))
        length = np.sqrt(np.asarray(codes.power(2).sum(0)).ravel()) + 1e-12
        cosine = np.asarray((mine @ codes).todense()) / norm[:, None] / length[None]
        values = np.hstack([best, cosine])
        of = np.hstack([whose, np.broadcast_to(np.arange(lo, hi), cosine.shape)])
        top = np.argpartition(-values, n - 1, axis=1)[:, :n]
        best, whose = (np.take_along_axis(x, top, 1) for x in (values, of))
    order = np.argsort(-best, axis=1, kind="stable")
    return np.take_along_axis(best, order, 1), np.take_along_axis(whose, order, 1)


def co_active(problem: Problem, features: np.ndarray, *, cosine: float = TOGETHER) -> list[int]:
    """For each feature of a ranked list, the place of the first better one it fires with (itself if none)."""
    mine = sp.csr_array(problem.columns(features).astype(np.float64))
    norm = np.sqrt(np.asarray(mine.power(2).sum(0)).ravel()) + 1e-12
    like = np.asarray((mine.T @ mine).todense()) / norm[:, None] / norm[None]
    leader: list[int] = []
    for i in range(len(features)):
        first = next((j for j in range(i) if leader[j] == j and like[i, j] >= cosine), i)
        leader.append(first)
    return leader
