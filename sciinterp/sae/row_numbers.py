"""Row numbers, kept as runs of neighbours: what is trained on may have billions of rows, and few places where it breaks."""

from __future__ import annotations

import hashlib
from typing import overload

import numpy as np
import numpy.typing as npt

PIECE = 1 << 20  # numbers written out at once


class Rows:
    """Ascending row numbers; 16 bytes a run of neighbours, and numbers only where they are asked for.

    Made of the first number of each run, and how many follow each other.

    Examples
    --------
    >>> rows = Rows.of(np.array([3, 4, 5, 9]))
    >>> len(rows), np.asarray(rows[1:]).tolist(), rows[np.array([0, 3])].tolist()
    (4, [4, 5, 9], [3, 9])
    >>> rows.below(np.array([3, 5, 100])).tolist()
    [0, 2, 4]
    """

    def __init__(self, first: np.ndarray, count: np.ndarray) -> None:
        some = count > 0
        self._first = np.asarray(first, np.int64)[some]
        self._ends = np.cumsum(np.asarray(count, np.int64)[some])

    @classmethod
    def of(cls, numbers: Rows | npt.ArrayLike) -> Rows:
        """Of ascending numbers."""
        if isinstance(numbers, Rows):
            return numbers
        numbers = np.asarray(numbers, np.int64)
        starts = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 2) != 1)
        return cls(numbers[starts], np.diff(starts, append=len(numbers)))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, key: slice) -> Rows | np.ndarray: ...
    @overload
    def __getitem__(self, key: npt.ArrayLike) -> np.ndarray: ...
    def __getitem__(self, key: slice | npt.ArrayLike) -> Rows | np.ndarray:
        """A stretch of them as :class:`Rows`; of places, or of a stretch with gaps, the numbers."""
        if not isinstance(key, slice):
            places = np.asarray(key, np.int64)
            run = np.searchsorted(self._ends, places, side="right")
            return self._first[run] + places - (self._ends[run - 1] * (run > 0))
        lo, hi, step = key.indices(len(self))
        if step != 1:
            return self[np.arange(lo, hi, step)]
        if lo >= hi:
            return Rows(self._first[:0], self._ends[:0])
        a, b = np.searchsorted(self._ends, [lo, hi - 1], side="right")
        ends = np.minimum(self._ends[a : b + 1], hi)
        starts = np.concatenate([[lo], self._ends[a:b]])
        return Rows(np.concatenate([[self[lo]], self._first[a + 1 : b + 1]]), ends - starts)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        count = np.diff(self._ends, prepend=0)
        numbers = np.repeat(self._first - (self._ends - count), count) + np.arange(len(self))
        return numbers if dtype is None else numbers.astype(dtype, copy=False)

    def below(self, numbers: np.ndarray) -> np.ndarray:
        """How many rows have a lower number than each of these."""
        if not len(self):
            return np.zeros(np.shape(numbers), np.int64)
        run = np.searchsorted(self._first, numbers, side="right") - 1
        count = np.diff(self._ends, prepend=0)
        inside = np.minimum(np.asarray(numbers) - self._first[run], count[run])
        return np.where(run < 0, 0, self._ends[run] - count[run] + inside)

    @property
    def digest(self) -> str:
        """sha256 of the numbers, its first 16 letters."""
        found = hashlib.sha256()
        for at in range(0, len(self), PIECE):
            found.update(np.asarray(self[at : at + PIECE], np.int64).tobytes())
        return found.hexdigest()[:16]
