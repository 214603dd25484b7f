"""Components of activations: as many as asked for, whatever the number of rows."""

import numpy as np
import pytest

from sciinterp.activations.axes import independent_axes


@pytest.mark.parametrize("n", [1, 2, 5, 8, 400])
def test_independent_components_for_any_number_of_rows(n: int) -> None:
    projected = np.random.default_rng(0).laplace(size=(n, 8)).astype(np.float32)
    found = independent_axes(projected, 0)
    assert found.shape == (8, 8)
    assert np.isfinite(found).all()
    assert np.linalg.matrix_rank(found) == 8


def test_independent_components_are_found() -> None:
    rng = np.random.default_rng(1)
    sources = rng.laplace(size=(5000, 4))
    mixing = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    found = (sources @ mixing) @ independent_axes((sources @ mixing).astype(np.float32), 0)
    match = np.abs(np.corrcoef(sources.T, found.T)[:4, 4:])
    assert (match.max(axis=0) > 0.95).all()
