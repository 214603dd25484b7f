"""Rows of activations that lie far apart are read a stretch at a time, and are the same rows."""

from __future__ import annotations

import numpy as np

from sciinterp.association import dense_baselines
from sciinterp.association.dense_baselines import read_rows


class Store:
    """Rows on request, which notes how many were asked for at once."""

    d_in, n_tokens = 4, 5000

    def __init__(self):
        self.rows = np.arange(self.n_tokens * self.d_in, dtype=np.float32).reshape(-1, self.d_in)
        self.most = 0

    def read(self, lo, hi):
        self.most = max(self.most, hi - lo)
        return self.rows[lo:hi]


def test_far_rows_are_read_a_stretch_at_a_time(monkeypatch):
    monkeypatch.setattr(dense_baselines, "_CHUNK_VALUES", 400)
    store = Store()
    rows = np.random.default_rng(0).choice(store.n_tokens, 300, replace=False)
    for wanted in (rows, np.sort(rows), np.r_[rows[:5], -1, rows[:5]], np.zeros(0, np.int64), np.array([-1])):
        expected = np.where(wanted[:, None] >= 0, store.rows[wanted], 0)
        assert np.array_equal(read_rows(store, wanted), expected)
    assert 0 < store.most <= 100
