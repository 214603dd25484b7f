"""What is worked on at once: one budget of bytes, from which the size of every block follows.

Tables of features by concepts, by families or by positions grow with the data. Whoever goes through one takes as many
rows at a time as the budget holds of them, so that what is held beside the tables themselves stays the same however
large they are. Threads have a block each.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from threadpoolctl import threadpool_limits

BLOCK_BYTES = 32 << 20
# Codes of a block: 8 bytes each as they lie, some four times that while they are cut to the positions of a part.
BLOCK_VALUES = BLOCK_BYTES // 32
# A dense score: 4 bytes, and once more where it is sorted; and how many are a block.
SCORE_BYTES = 8
BLOCK_SCORES = BLOCK_BYTES // SCORE_BYTES
# One entry for each :func:`one_thread` that is open, whoever opened it, and the lock of who adds or takes one.
_LIMITS: list[threadpool_limits] = []
_LIMITING = Lock()


def ranges(n: int, row_bytes: int) -> list[tuple[int, int]]:
    """Ranges ``(low, high)`` of `n` rows that fit in the budget, one row at least.

    By what a row takes while it is worked on.

    Examples
    --------
    >>> ranges(5, BLOCK_BYTES // 2), ranges(2, 2 * BLOCK_BYTES), ranges(0, 8)
    ([(0, 2), (2, 4), (4, 5)], [(0, 1), (1, 2)], [])
    """
    step = max(1, BLOCK_BYTES // max(1, row_bytes))
    return [(low, min(low + step, n)) for low in range(0, n, step)]


def give_back() -> None:
    """Hand memory that was freed to the system.

    The C library of Linux keeps what was freed, of each thread in an arena of its own: after blocks of changing sizes were worked
    on side by side that is a fifth of what a process seems to hold. Asked between stages, it costs milliseconds.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


@contextmanager
def one_thread() -> Iterator[None]:
    """While open, or around a function, numpy's and scipy's products and decompositions are each made by one thread.

    How many threads part a product decides the order of its sums, and so the last digits of all that is fitted: FastICA,
    components, ridge and logistic regression. Verbs that fit run in here, and deal their blocks to threads themselves, where
    there are more. Small products that wake a second thread each time also take several times as long.

    Examples
    --------
    >>> import numpy as np
    >>> with one_thread():
    ...     np.ones((2, 3)) @ np.ones(3)
    array([3., 3.])
    """
    import scipy.linalg  # noqa: F401 - brings a library of its own, which can be limited once it is loaded

    with _LIMITING:
        _LIMITS.append(threadpool_limits(1, user_api="blas"))
    try:
        yield
    finally:
        with _LIMITING:  # whichever was opened last: what there was before the first comes back with the last
            _LIMITS.pop().restore_original_limits()
