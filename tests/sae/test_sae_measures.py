"""Description length, dark matter and stability behave as their definitions say."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from sciinterp.errors import InputError
from sciinterp.sae.darkmatter import dark_matter, unexplained_by_concept
from sciinterp.sae.mdl import description_length, gaussian_rate
from sciinterp.sae.stability import match_features, stability


def planted(n=4000, d=16, n_features=32, k=3, noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(n_features, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    codes = np.zeros((n, n_features), np.float32)
    for row in codes:
        row[rng.choice(n_features, k, replace=False)] = rng.uniform(1, 2, k)
    return (
        codes,
        (codes @ directions + noise * rng.normal(size=(n, d))).astype(np.float32),
        directions.astype(np.float32),
    )


def test_the_true_dictionary_has_the_shortest_description() -> None:
    codes, x, w_dec = planted()
    zero = np.zeros(x.shape[1], np.float32)
    true = description_length(sp.csr_array(codes), x, w_dec, zero, n_tokens=10**6)
    rng = np.random.default_rng(1)
    other = rng.normal(size=w_dec.shape).astype(np.float32)
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    wrong = np.maximum(x @ other.T - 0.5, 0)
    assert true["total"] < description_length(sp.csr_array(wrong), x, other, zero, n_tokens=10**6)["total"]
    assert true["total"] == pytest.approx(true["codes"] + true["dictionary"] + true["residual"])


def test_a_dictionary_is_paid_for() -> None:
    codes, x, w_dec = planted()
    zero = np.zeros(x.shape[1], np.float32)
    few, many = (description_length(sp.csr_array(codes), x, w_dec, zero, n_tokens=n) for n in (10**3, 10**6))
    assert few["dictionary"] == pytest.approx(1000 * many["dictionary"])
    assert few["codes"] == many["codes"]


def test_gaussian_rate_is_zero_within_the_distortion_and_grows_below() -> None:
    x = np.random.default_rng(0).normal(size=(5000, 4))
    assert gaussian_rate(x, 10.0) == 0
    assert gaussian_rate(x, 0.4) > gaussian_rate(x, 1.0) > 0


def test_dark_matter_parts_add_up_and_find_the_linear_part() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 8))
    noise = 0.5 * rng.normal(size=x.shape)
    train, test = np.arange(2000), np.arange(2000, 4000)
    split = dark_matter(x, 0.7 * x + noise, train, test)
    assert split["linear"] + split["nonlinear"] == pytest.approx(split["fvu"])
    assert split["linear"] == pytest.approx(0.09, abs=0.02)
    assert split["nonlinear"] == pytest.approx(0.25, abs=0.03)


def test_unexplained_part_is_found_in_its_concept() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 4))
    inside = np.zeros((3000, 2), bool)
    inside[::10, 0] = True
    inside[1::10, 1] = True
    x_hat = x + 0.1 * rng.normal(size=x.shape)
    x_hat[inside[:, 0]] += 1.0
    table = unexplained_by_concept(x, x_hat, sp.csr_array(inside), ["bad", "good"], np.arange(3000) // 100)
    assert table.set_index("concept").loc["bad", "low"] > 5
    assert table.set_index("concept").loc["good", "high"] < 1


def fake_sae(w: np.ndarray) -> SimpleNamespace:
    return SimpleNamespace(W_dec=torch.as_tensor(w), W_enc=torch.as_tensor(w.T))


def test_the_same_directions_in_another_order_are_stable_and_random_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=(200, 64))
    same, pairs = stability([fake_sae(w), fake_sae(w[rng.permutation(200)])])
    assert (same["score"] > 0.999).all()
    assert pairs["shared"].item() == 1
    assert pairs["null_shared"].item() < 0.05
    other, pairs = stability([fake_sae(w), fake_sae(rng.normal(size=(200, 64)))])
    assert other["shared"].mean() <= 0.05
    assert pairs["decoder"].item() == pytest.approx(pairs["null_decoder"].item(), abs=0.03)


def test_matches_are_one_to_one() -> None:
    rng = np.random.default_rng(0)
    match, _ = match_features(rng.normal(size=(50, 8)), rng.normal(size=(70, 8)))
    assert len(set(match.tolist())) == 50


def test_stability_of_one_sae_is_refused() -> None:
    with pytest.raises(InputError, match="2 or more"):
        stability([fake_sae(np.eye(3))])
