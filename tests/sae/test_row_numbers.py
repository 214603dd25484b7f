"""Row numbers as runs: everything that is asked of them is what an array of the numbers answers."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from sciinterp.sae.row_numbers import PIECE, Rows

CASES = {
    "none": np.zeros(0, np.int64),
    "one": np.array([7]),
    "all": np.arange(40),
    "every other": np.arange(0, 40, 2),
    "runs": np.array([0, 1, 2, 9, 10, 30, 31, 32, 33, 39]),
    "drawn": np.sort(np.random.default_rng(0).choice(300, 120, replace=False)),
}


@pytest.mark.parametrize("name", CASES)
def test_rows_are_the_array_of_their_numbers(name: str) -> None:
    numbers = CASES[name]
    rows, n = Rows.of(numbers), len(numbers)
    assert len(rows) == n and np.array_equal(np.asarray(rows), numbers)
    assert Rows.of(rows) is rows
    for lo, hi in ((0, n), (1, n - 1), (n // 3, n // 2), (3, 3), (0, n + 5)):
        part = rows[lo:hi]
        assert isinstance(part, Rows) and np.array_equal(np.asarray(part), numbers[lo:hi]), (lo, hi)
    assert np.array_equal(rows[::3], numbers[::3])
    if n:
        places = np.random.default_rng(1).integers(0, n, 20)
        assert np.array_equal(rows[places], numbers[places])
    below = np.arange(-2, 305)
    assert np.array_equal(rows.below(below), np.searchsorted(numbers, below))
    assert rows.digest == hashlib.sha256(numbers.tobytes()).hexdigest()[:16]


def test_a_stretch_of_rows_costs_its_runs_alone() -> None:
    rows = Rows(np.array([0, 10**12]), np.array([10**11, 10**11]))
    assert len(rows) == 2 * 10**11
    middle = rows[10**11 - 2 : 10**11 + 2]
    assert np.asarray(middle).tolist() == [10**11 - 2, 10**11 - 1, 10**12, 10**12 + 1]


def test_the_digest_of_more_than_a_piece() -> None:
    numbers = np.arange(3, PIECE + 10)
    assert Rows.of(numbers).digest == hashlib.sha256(numbers.tobytes()).hexdigest()[:16]
