"""Baselines answer as SAEs do, and are what their names say."""

from pathlib import Path

import numpy as np
import pytest
import torch

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.sae.metrics import firing_counts
from sciinterp.sae.plain_dictionaries import KINDS

RNG = np.random.default_rng(0)
MIXING = RNG.normal(size=(10, 10))
X = (RNG.laplace(size=(6000, 10)) ** 3 @ MIXING + 3).astype(np.float32)


@pytest.fixture(scope="module")
def trained() -> si.SAE:
    return si.train(X, si.TopK(40, k=4), steps=60, batch_size=256)


@pytest.mark.parametrize("kind", KINDS)
def test_a_baseline_does_what_an_sae_does(kind: str, trained: si.SAE, tmp_path: Path) -> None:
    baseline = si.baseline_sae(kind, X, like=trained)
    codes = baseline.encode(X[:200])
    assert codes.shape == (200, baseline.n_features)
    assert (codes.values() > 0).all()
    assert torch.allclose(baseline.decode(codes), baseline.reconstruct(X[:200]))
    assert baseline.metrics["l0"] == pytest.approx(4, abs=0.3)
    baseline.save(tmp_path)
    again = si.load_sae(tmp_path)
    assert torch.equal(again.encode(X[:200]).to_dense(), codes.to_dense())
    samples = si.Samples(["a", "b"], ["A" * 100, "C" * 100])
    assert si.encode(baseline, X[:200], samples=samples).n_features == baseline.n_features


@pytest.mark.parametrize("kind", ["neurons", "pca", "ica"])
def test_all_axes_together_lose_nothing(kind: str) -> None:
    assert si.baseline_sae(kind, X).metrics["fve"] == pytest.approx(1, abs=1e-4)


def test_principal_components_reconstruct_best_among_orthonormal_axes() -> None:
    best, neurons = (si.baseline_sae(kind, X, k=3).metrics["fve"] for kind in ("pca", "neurons"))
    assert best > neurons
    centred = X - X.mean(0)
    values = np.linalg.eigvalsh(np.cov(centred.T))[::-1]
    assert (
        best >= values[:3].sum() / values.sum() - 0.02
    )  # three of each row's own choice, not the same three


def test_independent_components_are_the_sources() -> None:
    ica = si.baseline_sae("ica", X)
    written = ica.W_dec[:10].numpy() / np.linalg.norm(ica.W_dec[:10].numpy(), axis=1, keepdims=True)
    sources = MIXING / np.linalg.norm(MIXING, axis=1, keepdims=True)
    assert np.abs(sources @ written.T).max(1).min() > 0.95


def test_random_directions_fire_as_often_as_the_features(trained: si.SAE) -> None:
    random = si.baseline_sae("random", X, like=trained)
    mine, theirs = (np.sort(firing_counts(s, [X])) / len(X) for s in (random, trained))
    assert np.abs(mine - theirs).max() < 0.02
    other = si.baseline_sae("random", X, like=trained, seed=1)
    assert not torch.equal(random.W_enc, other.W_enc)


def test_only_training_rows_are_fitted_on() -> None:
    half = X.copy()
    order = np.random.default_rng([0, 2]).permutation(len(X))[: len(X) // 20]
    half[order] *= 100
    assert torch.equal(si.baseline_sae("pca", half, k=3).W_enc, si.baseline_sae("pca", X, k=3).W_enc)


def test_no_such_baseline() -> None:
    with pytest.raises(InputError, match="neurons, pca, ica, random"):
        si.baseline_sae("umap", X)
