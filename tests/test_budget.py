"""The budget of blocks, and memory that goes back to the system."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
from threadpoolctl import threadpool_info, threadpool_limits

import sciinterp as si
from sciinterp.budget import BLOCK_BYTES, one_thread, ranges
from sciinterp.report.feature_facts import _components
from sciinterp.sae.darkmatter import dark_matter
from sciinterp.sae.mdl import gaussian_rate


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


def n_threads() -> set[int]:
    assert scipy.linalg  # which brings a library of its own
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_products_have_one_thread_until_the_last_who_asked_has_ended() -> None:
    """Those that ask inside each other, or side by side: whichever ends first."""
    with threadpool_limits(2, user_api="blas"):
        assert one_thread()(one_thread()(n_threads))() == {1} and n_threads() == {2}
        with pytest.raises(ZeroDivisionError):
            one_thread()(divmod)(1, 0)
        assert n_threads() == {2}
        one, other = one_thread(), one_thread()
        one.__enter__()
        other.__enter__()
        one.__exit__(None, None, None)
        assert n_threads() == {1}
        other.__exit__(None, None, None)
        assert n_threads() == {2}


RNG = np.random.default_rng(0)
WIDE = (RNG.laplace(size=(1000, 256)) @ RNG.normal(size=(256, 256))).astype(np.float32)
ROWS = (RNG.laplace(size=(2000, 48)) @ RNG.normal(size=(48, 48))).astype(np.float32)
FITS = {
    "independent components": lambda: si.baseline_sae("ica", ROWS, k=8).W_enc.numpy(),
    "principal components": lambda: si.baseline_sae("pca", ROWS, k=8).W_enc.numpy(),
    "rate": lambda: gaussian_rate(WIDE, 0.1 * WIDE.var(0).sum()),
    "map": lambda: _components(WIDE)[0],
    "dark matter": lambda: dark_matter(WIDE, WIDE[::-1].copy(), np.arange(600), np.arange(600, 1000)),
}


@pytest.mark.parametrize("name", FITS)
def test_what_is_fitted_does_not_depend_on_the_number_of_threads(name: str) -> None:
    found = []
    for n in (1, 2):
        with threadpool_limits(n, user_api="blas"):
            found.append(FITS[name]())
    assert np.array_equal(*found) if isinstance(found[0], np.ndarray) else found[0] == found[1]
