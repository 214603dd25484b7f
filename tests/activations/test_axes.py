"""Components of activations: as many as asked for, whatever the number of rows."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from sciinterp.activations.axes import Moments, independent_axes, principal_axes


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


@pytest.mark.parametrize("n", [5, 300, 20_000])
def test_principal_axes_are_scikit_learns(n: int) -> None:
    """In blocks or at once; up to the sign, which is that of the largest entry."""
    rng = np.random.default_rng(2)
    values = (rng.normal(size=(n, 6)) @ rng.normal(size=(6, 6)) + rng.normal(size=6)).astype(np.float32)
    moments = Moments.of(values)
    np.testing.assert_allclose(moments.mean, values.mean(0, dtype=float), atol=1e-6)
    np.testing.assert_allclose(moments.covariance, np.cov(values.T, bias=True), rtol=1e-3, atol=1e-3)
    axes = principal_axes(moments, 4)
    theirs = PCA(4).fit(values.astype(float)).components_.T
    np.testing.assert_allclose(np.abs((axes * theirs).sum(0)), 1, atol=1e-4)
    np.testing.assert_allclose(axes.T @ axes, np.eye(4), atol=1e-9)
    assert (axes[np.abs(axes).argmax(0), range(4)] > 0).all()
    assert principal_axes(moments, 60).shape == (6, 6)


def test_axes_follow_a_turn_of_the_space_and_not_the_order_of_rows() -> None:
    rng = np.random.default_rng(3)
    values = (rng.normal(size=(500, 4)) * [5, 3, 2, 1]).astype(np.float32)
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    plain, turned = (principal_axes(Moments.of(v.astype(np.float32)), 4) for v in (values, values @ turn))
    np.testing.assert_allclose(np.abs((turned * (turn.T @ plain)).sum(0)), 1, atol=1e-5)
    shuffled = principal_axes(Moments.of(values[rng.permutation(500)]), 4)
    np.testing.assert_allclose(shuffled, plain, atol=1e-5)


def test_independent_axes_are_a_function_of_the_seed_and_of_no_scale() -> None:
    projected = np.random.default_rng(4).laplace(size=(600, 3)).astype(np.float32)
    one, two = independent_axes(projected, 0), independent_axes(projected, 0)
    assert np.array_equal(one, two)
    scaled = independent_axes(projected * np.array([8, 0.25, 2], np.float32), 0)
    np.testing.assert_allclose(scaled * np.array([[8], [0.25], [2]]), one, rtol=1e-3, atol=1e-4)
    constant = independent_axes(np.c_[projected, np.zeros(600)].astype(np.float32), 0)
    assert np.isfinite(constant).all()
