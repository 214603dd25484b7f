"""The budget of blocks, and memory that goes back to the system."""

import subprocess
import sys

import pytest

from sciinterp.budget import BLOCK_BYTES, ranges


@pytest.mark.parametrize("n", [0, 1, 7, 1000])
@pytest.mark.parametrize("row_bytes", [0, 1, 4096, BLOCK_BYTES // 3, BLOCK_BYTES, 5 * BLOCK_BYTES])
def test_ranges_cover_every_row_once_within_the_budget(n: int, row_bytes: int) -> None:
    found = ranges(n, row_bytes)
    assert [i for low, high in found for i in range(low, high)] == list(range(n))
    for low, high in found:
        assert high - low == 1 or (high - low) * row_bytes <= BLOCK_BYTES
    # No more blocks than the budget asks for: the next row would not have fitted.
    assert all((high - low + 1) * max(1, row_bytes) > BLOCK_BYTES for low, high in found[:-1])


_THREADS = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from sciinterp.budget import give_back

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def fill(_):
    many = [np.ones(10_000) for _ in range(500)]  # 40 MB in pieces too small to be mapped one by one
    return many, np.ones(100)  # the last piece keeps the arena from shrinking by itself

with ThreadPoolExecutor(2) as pool:
    kept = [small for _, small in pool.map(fill, range(2))]
    before = resident()
    give_back()
    print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux keeps what was freed")
def test_what_threads_freed_goes_back_to_the_system() -> None:
    # In a process of its own: what others left in its arenas would be given back as well.
    done = subprocess.run([sys.executable, "-c", _THREADS], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert int(done.stdout) > 40 << 20
