"""The measures of a dictionary against values found another way, and what must leave them as they are."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from scipy.optimize import brentq
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

import sciinterp as si
from sciinterp.sae.base import SAE, ThresholdSAE, TopKSAE
from sciinterp.sae.darkmatter import RIDGE, dark_matter, unexplained_by_concept
from sciinterp.sae.grid import codes_of, name_of, nearest, pareto
from sciinterp.sae.ground_truth import World, make_rows, measure_recovery
from sciinterp.sae.mdl import MAX_LEVELS, STEPS, description_length, gaussian_rate
from sciinterp.sae.metrics import Measures, density_histogram, firing_counts, measure, never_fire
from sciinterp.sae.power_laws import fit_scaling
from sciinterp.sae.stability import _correlation, match_features, stability

pytestmark = pytest.mark.filterwarnings(
    "error::RuntimeWarning"
)  # what cannot be measured is NaN without a word
N, D, F = 300, 6, 10
RNG = np.random.default_rng(3)
X = (RNG.normal(size=(N, D)) * (1 + np.arange(D)) + 2).astype(np.float32)
FAMILY = np.sort(RNG.integers(0, 12, N))


def random_sae(f: int = F, d: int = D, *, seed: int = 0, k: int | None = None) -> SAE:
    g = torch.Generator().manual_seed(seed)
    encoder, decoder = torch.randn(d, f, generator=g), torch.randn(f, d, generator=g) / d
    biases = torch.randn(f, generator=g), torch.randn(d, generator=g)
    if k is not None:
        return TopKSAE(encoder, biases[0], decoder, biases[1], k=k)
    return ThresholdSAE(encoder, biases[0], decoder, biases[1], threshold=torch.rand(f, generator=g))


def shuffled(sae: SAE, order: np.ndarray) -> SAE:
    """The same dictionary with its features in another order."""
    w = sae.weights
    moved = {name: getattr(w, name)[order] for name in ("b_enc", "W_dec")}
    threshold = None if w.threshold is None else w.threshold[order]
    return replaced(sae, W_enc=w.W_enc[:, order], threshold=threshold, **moved)


def replaced(sae: SAE, **changed: object) -> SAE:
    from sciinterp.sae.base import sae_of

    return sae_of(replace(sae.weights, **changed))


# --- reconstruction and activity ---------------------------------------------------------------------------


@pytest.mark.parametrize("k", [None, 1, 3, F])
def test_every_measure_is_its_definition_on_dense_arrays(k: int | None) -> None:
    sae, x = random_sae(k=k), X.astype(np.float64)
    codes = sae.encode(X).to_dense().double().numpy()
    back = codes @ sae.W_dec.double().numpy() + sae.b_dec.double().numpy()
    found = measure(sae, [X])
    centred, moved = x - sae.b_dec.double().numpy(), back - sae.b_dec.double().numpy()
    both, lengths = (centred * moved).sum(1), np.linalg.norm(centred, axis=1) * np.linalg.norm(moved, axis=1)
    assert found["fve"] == pytest.approx(1 - ((x - back) ** 2).sum() / ((x - x.mean(0)) ** 2).sum(), rel=1e-5)
    assert found["mse"] == pytest.approx(((x - back) ** 2).sum(1).mean(), rel=1e-5)
    assert found["l0"] == (codes > 0).sum(1).mean()
    assert found["cosine"] == pytest.approx((both / np.maximum(lengths, 1e-300)).mean(), rel=1e-5)
    assert found["shrinkage"] == pytest.approx((moved**2).sum() / both.sum(), rel=1e-5)
    assert firing_counts(sae, [X]).tolist() == (codes > 0).sum(0).tolist()
    assert never_fire(sae, [X]).tolist() == (~(codes > 0).any(0)).tolist()
    density = (codes > 0).mean(0)
    assert found["density_histogram"]["never"] == (density == 0).sum()
    assert sum(found["density_histogram"].values()) == F


@pytest.mark.parametrize("cuts", [[1], [7, 8, 299], list(range(1, N))])
def test_measures_know_nothing_of_batches_or_of_the_order_of_rows_and_features(cuts: list[int]) -> None:
    sae = random_sae()
    whole = measure(sae, [X])
    order, features = RNG.permutation(N), RNG.permutation(F)
    for found in (
        measure(sae, np.split(X, cuts)),
        measure(sae, [X[order]]),
        measure(shuffled(sae, features), [X]),
    ):
        assert found["density_histogram"] == whole["density_histogram"] and found["n_tokens"] == N
        for name in ("fve", "mse", "l0", "cosine", "shrinkage"):
            assert found[name] == pytest.approx(whole[name], rel=1e-5), name
    assert np.array_equal(firing_counts(sae, np.split(X, cuts)), firing_counts(sae, [X]))
    assert np.array_equal(firing_counts(shuffled(sae, features), [X]), firing_counts(sae, [X])[features])


def test_measures_of_nothing_and_of_rows_that_do_not_vary_are_not_numbers() -> None:
    for batches, n in (([], 0), ([np.ones((5, D), np.float32)], 5)):
        found = measure(random_sae(), batches)
        assert np.isnan(found["fve"]) and found["n_tokens"] == n
    silent = replaced(random_sae(), b_enc=torch.full((F,), -1e4))
    found = measure(silent, [X])
    assert found["l0"] == 0 and np.isnan(found["shrinkage"]) and found["density_histogram"]["never"] == F
    with pytest.raises(ValueError, match="different entries"):
        Measures(torch.zeros(2), 3).add(
            torch.ones(1, 2), torch.ones(1, 2), torch.tensor([2]), torch.tensor([0])
        )


@pytest.mark.parametrize(
    ("density", "bin"), [(1.0, "1e-01"), (0.1, "1e-01"), (0.0999, "1e-02"), (0.01, "1e-02"), (1e-12, "1e-08"), (0, "never")]
)  # fmt: skip
def test_a_density_lies_in_the_decade_it_closes(density: float, bin: str) -> None:
    assert [name for name, n in density_histogram(np.array([density])).items() if n] == [bin]


# --- description length --------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0.01, 0.2, 0.7, 1.0, 2.0])
def test_the_rate_is_that_of_the_water_level_found_by_a_root_finder(part: float) -> None:
    error = X.astype(np.float64)
    values = np.linalg.eigvalsh(error.T @ error / N)
    distortion = part * values.sum()
    if part >= 1:
        assert gaussian_rate(error, distortion) == 0
        return
    level = brentq(lambda t: np.minimum(values, t).sum() - distortion, 0, values.max(), xtol=1e-14)
    assert gaussian_rate(error, distortion) == pytest.approx(
        0.5 * np.log2(np.maximum(values / level, 1)).sum(), rel=1e-6
    )
    turn = np.linalg.qr(RNG.normal(size=(D, D)))[0]
    for other, scale in ((error @ turn, 1.0), (error[RNG.permutation(N)], 1.0), (7 * error, 49.0)):
        assert gaussian_rate(other, scale * distortion) == pytest.approx(
            gaussian_rate(error, distortion), rel=1e-6
        )


def by_hand(fit: np.ndarray, held_out: np.ndarray, step: float) -> float:
    """Bits a row of rounded codes, feature by feature and row by row."""
    fit, held_out = (np.minimum(np.rint(m / step), MAX_LEVELS - 1).astype(int) for m in (fit, held_out))
    symbols, bits = max(fit.max(), held_out.max()) + 1, 0.0
    for j in range(fit.shape[1]):
        for level in held_out[:, j]:
            bits -= np.log2(((fit[:, j] == level).sum() + 0.5) / (len(fit) + 0.5 * symbols))
    return bits / len(held_out)


def length_of(sae: SAE, fit: np.ndarray, x: np.ndarray, **how: float) -> dict[str, float]:
    codes = [codes_of(sae, rows) for rows in (fit, x)]
    w_dec, b_dec = sae.W_dec.numpy(), sae.b_dec.numpy()
    return description_length(codes[1], x, w_dec, b_dec, train=(codes[0], fit), n_tokens=1000, **how)


def test_code_bits_are_those_of_tables_counted_by_hand() -> None:
    sae, fit, x = random_sae(k=3), X[:200], X[200:]
    found = length_of(sae, fit, x)
    codes = [codes_of(sae, rows).toarray() for rows in (fit, x)]
    assert found["codes"] == pytest.approx(by_hand(*codes, found["step"]), rel=1e-6)
    assert found["dictionary"] == F * D * 16 / 1000
    assert found["total"] == pytest.approx(found["codes"] + found["dictionary"] + found["residual"])


def test_the_step_is_the_coarsest_that_keeps_the_tolerance() -> None:
    sae, fit = random_sae(k=3), X[:200]
    codes = codes_of(sae, fit)
    steps = STEPS * float(codes.data.mean())

    def lost(step: float) -> float:
        rounded = codes.copy()
        rounded.data = np.minimum(np.rint(codes.data / step), MAX_LEVELS - 1) * step
        errors = [((fit - c @ sae.W_dec.numpy() - sae.b_dec.numpy()) ** 2).sum() for c in (rounded, codes)]
        return (errors[0] - errors[1]) / ((fit - fit.mean(0)) ** 2).sum()

    for tolerance in (1e-4, 0.005, 0.1):
        step = length_of(sae, fit, X[200:], tolerance=tolerance)["step"]
        at = int(np.argmin(np.abs(steps - step)))
        assert lost(step) <= tolerance * (1 + 1e-6)
        assert all(lost(coarser) > tolerance * (1 - 1e-6) for coarser in steps[:at])


def test_a_description_knows_no_order_and_pays_for_a_feature_that_says_nothing() -> None:
    sae, fit, x = random_sae(k=3), X[:200], X[200:]
    plain = length_of(sae, fit, x)
    features, rows = RNG.permutation(F), RNG.permutation(100)
    for found in (length_of(shuffled(sae, features), fit, x), length_of(sae, fit[::-1], x[rows])):
        assert found == pytest.approx(plain, rel=1e-5)
    w = sae.weights
    wider = replaced(
        sae,
        W_enc=torch.cat([w.W_enc, torch.zeros(D, 1)], 1),
        b_enc=torch.cat([w.b_enc, torch.tensor([-1.0])]),
        W_dec=torch.cat([w.W_dec, torch.ones(1, D)]),
    )
    silent = length_of(wider, fit, x)
    assert silent["dictionary"] - plain["dictionary"] == pytest.approx(D * 16 / 1000)
    assert silent["residual"] == pytest.approx(plain["residual"], rel=1e-9)
    assert 0 < silent["codes"] - plain["codes"] < 0.6  # a table of which one symbol is seen


def test_rows_that_do_not_vary_and_codes_that_are_none_have_a_length_all_the_same() -> None:
    eye, same = np.eye(D, dtype=np.float32), np.full((50, D), 2, np.float32)
    none = description_length(sp.csr_array((50, D), dtype=np.float32), same, eye, np.full(D, 2.0))
    assert (none["codes"], none["residual"], none["gaussian"]) == (0, 0, 0)
    told = description_length(sp.csr_array(same), same, eye, np.zeros(D))
    assert told["residual"] == 0 and told["step"] in STEPS * 2


# --- dark matter -----------------------------------------------------------------------------------------------


def test_the_linear_part_is_that_of_a_ridge_regression_of_scikit_learn() -> None:
    x = X.astype(np.float64)
    x_hat = 0.6 * x + RNG.normal(size=x.shape)
    train, test = np.arange(200), np.arange(200, N)
    found = dark_matter(x, x_hat, train, test)
    design, error = np.column_stack([x, np.ones(N)]), x - x_hat
    norm = (error**2).sum(1)
    alpha = RIDGE * np.trace(design[train].T @ design[train]) / (D + 1)
    ridge = Ridge(alpha=alpha, fit_intercept=False).fit(design[train], np.column_stack([error, norm])[train])
    told = ridge.predict(design[test])
    variance = ((x[test] - x[test].mean(0)) ** 2).sum()
    rest = ((error[test] - told[:, :-1]) ** 2).sum()
    assert found["nonlinear"] == pytest.approx(rest / variance, rel=1e-9)
    assert found["fvu"] == pytest.approx((error[test] ** 2).sum() / variance, rel=1e-9)
    assert found["linear"] + found["nonlinear"] == pytest.approx(found["fvu"], rel=1e-9)
    spread = ((norm[test] - norm[test].mean()) ** 2).sum()
    assert found["norm_r2"] == pytest.approx(1 - ((norm[test] - told[:, -1]) ** 2).sum() / spread, rel=1e-6)
    shuffle = RNG.permutation(200), 200 + RNG.permutation(N - 200)
    assert dark_matter(x, x_hat, *shuffle) == pytest.approx(found, rel=1e-9)
    turn = np.linalg.qr(RNG.normal(size=(D, D)))[0]
    assert dark_matter(x @ turn, x_hat @ turn, train, test) == pytest.approx(found, rel=1e-6)
    assert dark_matter(5 * x, 5 * x_hat, train, test)["fvu"] == pytest.approx(found["fvu"], rel=1e-9)


def test_nothing_left_over_and_nothing_that_varies() -> None:
    halves = np.arange(150), np.arange(150, N)
    assert set(dark_matter(X, X, *halves).values()) == {0.0}
    flat = dark_matter(np.ones((N, D)), np.zeros((N, D)), *halves)
    assert all(np.isnan(flat[name]) for name in ("fvu", "linear", "nonlinear"))


def test_what_is_unexplained_in_a_concept_is_a_ratio_of_means() -> None:
    x_hat = (X + RNG.normal(size=X.shape)).astype(np.float32)
    inside = RNG.random((N, 3)) < (0.05, 0.3, 0.8)
    found = unexplained_by_concept(X, x_hat, sp.csr_array(inside), ["a", "b", "c"], FAMILY)
    error = ((X.astype(np.float64) - x_hat) ** 2).sum(1)
    expected = [error[inside[:, j]].mean() / error[~inside[:, j]].mean() for j in range(3)]
    assert found["ratio"].tolist() == pytest.approx(expected, rel=1e-9)
    assert found["n"].tolist() == inside.sum(0).tolist()
    assert ((found["low"] <= found["ratio"]) & (found["ratio"] <= found["high"])).all()
    rows, concepts = RNG.permutation(N), [2, 0, 1]
    moved = sp.csr_array(inside[rows][:, concepts])
    again = unexplained_by_concept(X[rows], x_hat[rows], moved, ["c", "a", "b"], FAMILY[rows] * 10 + 3)
    pd.testing.assert_frame_equal(again.iloc[[1, 2, 0]].reset_index(drop=True), found)


def test_a_concept_everywhere_or_nowhere_has_no_ratio_and_one_family_no_interval() -> None:
    inside = sp.csr_array(np.stack([np.ones(N, bool), np.zeros(N, bool), np.arange(N) < 9], 1))
    found = unexplained_by_concept(X, 0.5 * X, inside, ["all", "none", "some"], np.zeros(N))
    assert found["ratio"].isna().tolist() == [True, True, False]
    some = found.iloc[2]
    assert some["low"] == some["ratio"] == some["high"]
    exact = unexplained_by_concept(X, X, inside, ["all", "none", "some"], FAMILY)
    assert exact[["ratio", "low", "high"]].isna().all(axis=None)


# --- stability -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_a", "n_b"), [(4, 4), (3, 5), (5, 3), (1, 1), (0, 3), (3, 0)])
def test_the_match_is_the_best_of_all_assignments(n_a: int, n_b: int) -> None:
    a, b = RNG.normal(size=(n_a, 4)), RNG.normal(size=(n_b, 4))
    match, cosine = match_features(a, b)
    similar = (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (
        b / np.linalg.norm(b, axis=1, keepdims=True)
    ).T
    few, many = sorted((n_a, n_b))
    best = max(
        sum(similar[i, j] if n_a <= n_b else similar[j, i] for i, j in enumerate(chosen))
        for chosen in permutations(range(many), few)
    )
    assert cosine.sum() == pytest.approx(best)
    assert (match >= 0).sum() == few and (cosine[match < 0] == 0).all()
    scaled = match_features(a * RNG.uniform(0.1, 9, (n_a, 1)), b * 3)
    assert np.array_equal(scaled[0], match) and np.allclose(scaled[1], cosine)


def test_correlations_of_sparse_columns_are_numpys() -> None:
    a, b = (RNG.random((N, 5)) * (RNG.random((N, 5)) < 0.3) for _ in range(2))
    a[:, 2] = 0
    found = _correlation(sp.csr_array(a), sp.csr_array(b))
    for j in (0, 1, 3, 4):
        assert found[j] == pytest.approx(np.corrcoef(a[:, j], b[:, j])[0, 1], rel=1e-9)
    assert np.isnan(found[2])


def test_stability_is_of_features_that_fire_and_their_order_is_nothing() -> None:
    one, two = random_sae(k=3, seed=1), random_sae(k=3, seed=2)
    features, pairs = stability([one, two], x=X)
    order = RNG.permutation(F)
    moved, same = stability([one, shuffled(two, order)], x=X)
    for name in ("score", "decoder", "encoder", "activation", "shared"):
        assert moved[name].tolist() == pytest.approx(features[name].tolist(), rel=1e-5, nan_ok=True)
    assert same["decoder"].item() == pytest.approx(pairs["decoder"].item(), rel=1e-6)
    fires = firing_counts(one, [X]) > 0
    assert features["feature"].tolist() == np.flatnonzero(fires).tolist()
    itself, perfect = stability([one, one], x=X)
    assert (itself["score"] > 1 - 1e-5).all() and perfect["shared"].item() == 1
    assert np.allclose(itself["activation"].dropna(), 1, atol=1e-5)
    given = stability(
        [one, two], codes=[codes_of(one, X), codes_of(two, X)], alive=[fires, firing_counts(two, [X]) > 0]
    )
    assert given[0]["activation"].tolist() == pytest.approx(
        features["activation"].tolist(), rel=1e-9, nan_ok=True
    )


def test_stability_where_nothing_fires_is_not_a_number_and_says_nothing() -> None:
    silent = replaced(random_sae(k=3), b_enc=torch.full((F,), -1e4))
    features, pairs = stability([silent, random_sae(k=3, seed=2)], x=X)
    assert not len(features)
    assert pairs.drop(columns=["a", "b"]).isna().all(axis=None)


# --- other dictionaries, sweeps, laws ------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3])
def test_principal_components_reconstruct_as_scikit_learns_do(k: int) -> None:
    samples = si.Samples([f"s{i}" for i in range(30)], ["A" * 10] * 30)
    split = si.split_families(samples, by=[str(i) for i in range(30)], seed=0)
    x = X - X.mean(0)
    store = samples.position_sample()
    rows = {name: np.flatnonzero(np.isin(store, getattr(split, name))) for name in ("train", "test")}
    pca = PCA().fit(x[rows["train"]])
    sae = si.baseline_sae("pca", x, k=D)
    assert sae.metrics["fve"] == pytest.approx(1, abs=1e-4)
    few = replaced(sae, k=k)
    projected = few.encode(x).to_dense().numpy()
    assert (np.count_nonzero(projected, axis=1) <= k).all()
    train_only = si.baseline_sae("pca", x[rows["train"]], k=D)
    axes = np.abs(train_only.W_dec.numpy()[:D] @ pca.components_.T)
    assert np.allclose(axes.max(1), 1, atol=0.05)


def test_a_row_that_is_not_finite_is_named_by_every_kind_of_baseline() -> None:
    spoilt = X.copy()
    spoilt[17, 2] = np.nan
    for kind in ("neurons", "pca", "ica", "random"):
        with pytest.raises(si.errors.InputError, match="not finite, row 17"):
            si.baseline_sae(kind, spoilt, seed=4)


def test_the_front_by_comparing_all_pairs_and_unknown_values_are_not_on_it() -> None:
    l0, fve = RNG.integers(1, 6, 40).astype(float), RNG.integers(0, 6, 40) / 5
    on = pareto(l0, fve)
    for i in range(40):
        beaten = any(
            l0[j] <= l0[i] and fve[j] >= fve[i] and (l0[j] < l0[i] or fve[j] > fve[i]) for j in range(40)
        )
        assert on[i] == (not beaten)
    assert pareto([1, 2, 3], [np.nan, 0.5, 0.4]).tolist() == [False, True, False]
    order = RNG.permutation(40)
    assert np.array_equal(pareto(l0[order], fve[order]), on[order])


def test_names_of_a_sweep_tell_every_hyper_parameter_apart() -> None:
    many = [
        *(kind(f, k=k, aux_alpha=a) for kind in (si.TopK, si.BatchTopK) for f in (8, 16) for k in (2, 4) for a in (0, 1 / 32)),
        *(si.Matryoshka(16, k=2, prefixes=p) for p in ((), (4,), (4, 8), (8,))),
        *(si.JumpReLU(8, target_l0=2, weight=w, bandwidth=b) for w in (0.5, 1.0) for b in (0.4, 1.0)),
        *(kind(8, l1=w) for kind in (si.ReLU, si.Gated) for w in (1.0, 2.0)),
    ]  # fmt: skip
    names = [name_of(one, seed) for one in many for seed in (0, 1)]
    assert len(set(names)) == len(names)
    assert name_of(si.JumpReLU(8, target_l0=4), 0) == name_of(si.JumpReLU(8, target_l0=4), 0)


def test_the_nearest_is_by_ratio_and_the_first_of_equals() -> None:
    saes = [random_sae(k=1) for _ in range(4)]
    for sae, l0 in zip(saes, (0.0, 8.0, 2.0, 3.9)):
        sae.metrics = {"l0": l0}
    assert nearest(saes, 4) == 3 and nearest(saes[:3], 4) == 1
    assert nearest(saes[:1], 4) == 0


def test_a_law_knows_no_units_no_order_and_no_other_reader() -> None:
    width, k = (v.ravel() for v in np.meshgrid(2.0 ** np.arange(5, 10), [4, 8, 16]))
    noise = np.exp(np.random.default_rng(0).normal(0, 0.01, len(width)))
    fvu = (0.1 + 2 * width**-0.6 + 0.5 * k**-0.8) * noise
    runs = pd.DataFrame({"n_features": width, "k": k, "fvu": fvu})
    fits = fit_scaling(runs).fits
    numbers = [name for name in fits if name not in ("reader", "term", "at")]
    other = fit_scaling(runs.assign(n_features=width * 1000, fvu=fvu)).fits
    assert np.allclose(other[numbers], fits[numbers], rtol=1e-3, atol=1e-5, equal_nan=True)
    shuffle = RNG.permutation(len(runs))
    assert np.allclose(
        fit_scaling(runs.iloc[shuffle]).fits[numbers], fits[numbers], rtol=1e-3, atol=1e-5, equal_nan=True
    )
    half = fit_scaling(runs.assign(fvu=fvu / 2)).fits
    errors = [name for name in numbers if name.startswith(("error", "saves"))]
    assert np.allclose(half[errors] * 2, fits[errors], rtol=1e-2, atol=1e-4, equal_nan=True)
    both = fit_scaling(pd.concat([runs.assign(reader="a"), runs.assign(reader="b", fvu=fvu / 2)]))
    assert both.readers == ["a", "b"]
    assert np.allclose(both.fits[numbers][:3], fits[numbers], equal_nan=True)
    at = fits.set_index("term")["at"]
    whole = fits["error"].sum()
    curve = both.curve("a", "n_features", [at["n_features"], 1e12])
    assert curve[0] == pytest.approx(whole) and curve[1] < curve[0]
    assert both.curve("a", "tokens", [1, 2]).tolist() == pytest.approx([whole, whole])


def test_recovery_knows_no_order_and_no_length_of_directions() -> None:
    truth = make_rows(World("small", "", d=16, n_true=16, l0=2, children=0.25), 2000, seed=1)
    directions = torch.from_numpy(truth.directions)
    turned = torch.nn.functional.normalize(
        directions + 0.3 * torch.randn(16, 16, generator=torch.manual_seed(0)), dim=1
    )
    sae = ThresholdSAE(turned.T, torch.zeros(16), turned, torch.zeros(16), threshold=torch.full((16,), 0.2))
    plain = measure_recovery(sae, truth)
    order = RNG.permutation(16)
    assert measure_recovery(shuffled(sae, order), truth) == pytest.approx(plain, rel=1e-5, nan_ok=True)
    longer = replaced(sae, W_dec=sae.W_dec * 3)
    of_directions = (
        "cosine",
        "recall",
        "precision",
        "false",
        "splitting",
        "absorption",
        "probing",
        "l0",
        "dead",
    )
    found = measure_recovery(longer, truth)
    assert {name: found[name] for name in of_directions} == pytest.approx(
        {n: plain[n] for n in of_directions}, nan_ok=True
    )
    w = sae.weights
    doubled = replaced(  # every feature twice, the second never firing
        sae,
        W_enc=torch.cat([w.W_enc, w.W_enc], 1),
        b_enc=torch.cat([w.b_enc, w.b_enc - 1e4]),
        W_dec=torch.cat([w.W_dec, w.W_dec]),
        threshold=torch.cat([sae.threshold, sae.threshold]),
    )
    twice = measure_recovery(doubled, truth)
    assert twice["dead"] == pytest.approx((plain["dead"] + 1) / 2)
    assert {n: twice[n] for n in ("recall", "precision", "l0", "fve")} == pytest.approx(
        {n: plain[n] for n in ("recall", "precision", "l0", "fve")}, rel=1e-5
    )
