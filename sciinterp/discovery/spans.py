"""Runs of high scores on the concatenated axis, and how they meet annotated intervals."""

from __future__ import annotations

import numpy as np

from sciinterp.codes.intervals import positions_in


def runs(
    score: np.ndarray, threshold: float, offsets: np.ndarray, *, gap: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Maximal runs above a threshold, within samples; runs no more than ``gap`` apart are joined.

    Examples
    --------
    >>> [a.tolist() for a in runs(np.array([1, 0, 1, 1, 0.0]), 0.5, np.array([0, 3, 5]), gap=1)]
    [[0, 3], [3, 4]]
    """
    above = np.flatnonzero(score > threshold)
    if not len(above):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    sample = np.searchsorted(offsets, above, side="right")
    cut = np.flatnonzero((np.diff(above) > gap + 1) | (np.diff(sample) > 0))
    return above[np.r_[0, cut + 1]], above[np.r_[cut, len(above) - 1]] + 1


def first_overlap(
    start: np.ndarray, end: np.ndarray, other_start: np.ndarray, other_end: np.ndarray
) -> np.ndarray:
    """bool: does each interval meet any of the others (which may overlap each other)?

    Examples
    --------
    >>> first_overlap(np.array([0, 5]), np.array([2, 6]), np.array([1, 8]), np.array([3, 9])).tolist()
    [True, False]
    """
    begins = np.searchsorted(np.sort(other_start), end, side="left")  # others that start before this ends
    ended = np.searchsorted(np.sort(other_end), start, side="right")  # others that end before this starts
    return begins > ended


def best_iou(
    start: np.ndarray, end: np.ndarray, other_start: np.ndarray, other_end: np.ndarray
) -> np.ndarray:
    """float: the largest intersection over union of each interval with the nearest others, 0 where none meets."""
    best = np.zeros(len(start))
    if not len(other_start):
        return best
    order = np.argsort(other_start, kind="stable")
    s, e = other_start[order], other_end[order]
    at = np.searchsorted(s, start)
    for shift in (-2, -1, 0, 1, 2):
        i = np.clip(at + shift, 0, len(s) - 1)
        meet = np.minimum(end, e[i]) - np.maximum(start, s[i])
        best = np.maximum(
            best, np.where(meet > 0, meet / (np.maximum(end, e[i]) - np.minimum(start, s[i])), 0)
        )
    return best


def per_run(values: np.ndarray, start: np.ndarray, end: np.ndarray, how: str) -> np.ndarray:
    """Maximum or mean of ``values`` in each interval (not empty, ascending, disjoint)."""
    if not len(start):
        return np.zeros(0)
    bounds = np.column_stack([start, end]).ravel()
    padded = np.append(values, 0.0)
    reduce = np.maximum.reduceat if how == "max" else np.add.reduceat
    out = reduce(padded, bounds)[::2]
    return out if how == "max" else out / (end - start)


def marked(rows: np.ndarray, n: int) -> np.ndarray:
    """The different ones of some rows of ``n``, ascending.

    Asked some hundred times of some hundred thousand rows, where numpy's ``unique`` takes ten times as long.

    Examples
    --------
    >>> marked(np.array([3, 1, 3]), 5).tolist()
    [1, 3]
    """
    mark = np.zeros(n, bool)
    mark[rows] = True
    return np.flatnonzero(mark)


def window_means(
    rows: np.ndarray, values: np.ndarray, width: int, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean over ``2 width + 1`` positions of a column that is zero but at some rows, never across samples.

    Parameters
    ----------
    rows : int [n]
        Ascending.
    values : float [n]

    Returns
    -------
    at : int64
        Positions whose window holds one of the rows.
    mean : float32
    """
    sample = np.searchsorted(offsets, rows, side="right") - 1
    _, at = positions_in(
        np.maximum(rows - width, offsets[sample]), np.minimum(rows + width + 1, offsets[sample + 1])
    )
    at = marked(at, int(offsets[-1]))
    sample = np.searchsorted(offsets, at, side="right") - 1
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    upto, before = (
        total[np.searchsorted(rows, edge)]
        for edge in (
            np.minimum(at + width + 1, offsets[sample + 1]),
            np.maximum(at - width, offsets[sample]),
        )
    )
    return at, ((upto - before) / (2 * width + 1)).astype(np.float32)
