"""What is worked on at once: one budget of bytes, from which the size of every block follows.

Tables of features by concepts, by families or by positions grow with the data. Whoever goes through one takes as many
rows at a time as the budget holds of them, so that what is held beside the tables themselves stays the same however
large they are. Threads have a block each.
"""

from __future__ import annotations

import ctypes
import sys

BLOCK_BYTES = 32 << 20
# Codes of a block: 8 bytes each as they lie, some four times that while they are cut to the positions of a part.
BLOCK_VALUES = BLOCK_BYTES // 32
# A dense score: 4 bytes, and once more where it is sorted; and how many are a block.
SCORE_BYTES = 8
BLOCK_SCORES = BLOCK_BYTES // SCORE_BYTES


def ranges(n: int, row_bytes: int) -> list[tuple[int, int]]:
    """Ranges ``(low, high)`` of `n` rows that fit in the budget, one row at least.

    Parameters
    ----------
    n : int
    row_bytes : int
        What a row takes while it is worked on.

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
