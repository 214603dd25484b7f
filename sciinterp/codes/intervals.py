"""Intervals on the concatenated axis of positions: written once, for annotations, peaks and windows alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def blocks(ends: np.ndarray, most: int, *, at_most: int | None = None) -> Iterator[tuple[int, int]]:
    """Ranges of things whose sizes add up to ``ends``: at most ``most`` together and ``at_most`` things, one at least.

    Examples
    --------
    >>> list(blocks(np.cumsum([3, 3, 3, 9, 1]), 6))
    [(0, 2), (2, 3), (3, 4), (4, 5)]
    """
    lo = 0
    while lo < len(ends):
        base = int(ends[lo - 1]) if lo else 0
        hi = max(lo + 1, int(np.searchsorted(ends, base + most, side="right")))
        hi = hi if at_most is None else min(hi, lo + at_most)
        yield lo, hi
        lo = hi


def positions_in(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every position of every interval, interval by interval.

    Parameters
    ----------
    start, end : int [n]
        Half-open; may overlap and be empty.

    Returns
    -------
    interval, position : int64
        Number of the interval, and the position.

    Examples
    --------
    >>> [a.tolist() for a in positions_in(np.array([3, 0]), np.array([5, 1]))]
    [[0, 0, 1], [3, 4, 0]]
    """
    start, width = np.asarray(start, np.int64), np.asarray(end, np.int64) - np.asarray(start, np.int64)
    interval = np.repeat(np.arange(len(start)), width)
    return interval, np.arange(len(interval)) + np.repeat(start - (np.cumsum(width) - width), width)


def covered_by(start: np.ndarray, end: np.ndarray, n_positions: int) -> np.ndarray:
    """bool [n_positions]: does any of the intervals hold the position? What lies outside is cut off.

    Examples
    --------
    >>> covered_by(np.array([-1, 3]), np.array([1, 9]), 5).tolist()
    [True, False, False, True, True]
    """
    change = np.zeros(n_positions + 1, np.int64)
    for at, step in ((start, 1), (end, -1)):
        change += step * np.bincount(np.clip(at, 0, n_positions), minlength=n_positions + 1)
    return np.cumsum(change[:-1]) > 0


def positions_type(n_positions: int) -> type[np.integer]:
    """Of the numbers of so many positions: 4 bytes where they suffice."""
    return np.int32 if n_positions < 1 << 31 else np.int64


def windows(
    values: np.ndarray, centre: np.ndarray, reach: int, offsets: np.ndarray, *, beyond: int
) -> np.ndarray:
    """What stands around positions, within their own samples: [..., 2 * reach + 1], in the values' own type.

    Parameters
    ----------
    values : int [n_positions]
        Letters as numbers.
    centre : int [...]
        Positions.
    reach : int
        Positions on either side.
    offsets : int [n_samples + 1]
        Where the samples begin.
    beyond : int
        Stands for what lies beyond the ends of a sample.

    Examples
    --------
    >>> windows(np.array([5, 6, 7, 8]), np.array([1, 2]), 1, np.array([0, 2, 4]), beyond=0).tolist()
    [[5, 6, 0], [0, 7, 8]]
    """
    centre = np.asarray(centre)
    sample = np.searchsorted(offsets, centre, side="right") - 1
    first, last = offsets[sample], offsets[sample + 1]
    out = np.full((*centre.shape, 2 * reach + 1), beyond, values.dtype)
    for k, step in enumerate(range(-reach, reach + 1)):
        at = centre + step
        inside = (at >= first) & (at < last)
        out[..., k][inside] = values[at[inside]]
    return out
