"""Scaling: exact without noise, intervals that cover, bounds that hold, and a verb that trains what it needs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.sae.power_laws import LEAST, MOST, Law, fit_scaling
from sciinterp.sae.scaling import FITS, RUNS, ScalingSettings, _some_families
from sciinterp.store.describe import info

WIDTHS, KS, TOKENS = (256, 512, 1024, 2048, 4096), (8, 16, 32, 64), (13_600, 27_000, 54_000, 109_000)
GRID = np.array(
    [(w, k, TOKENS[-1]) for w in WIDTHS for k in KS] + [(w, KS[-1], t) for w in WIDTHS for t in TOKENS[:-1]],
    float,
)
TOP = GRID.max(axis=0)


def errors(theta, *, noise=0.0, rng=None):
    """Of the irreducible part, and pairs of part at the top and exponent."""
    parts = [part * (GRID[:, i] / TOP[i]) ** -power for i, (part, power) in enumerate(theta[1])]
    y = theta[0] + np.sum(parts, axis=0)
    return y if rng is None else y * np.exp(rng.normal(0, noise, len(y)))


def table(y):
    return pd.DataFrame(GRID, columns=["n_features", "k", "tokens"]).assign(fvu=y)


@pytest.mark.parametrize(
    ("floor", "parts"),
    [
        (0.08, ((0.05, 0.4), (0.04, 0.9), (0.02, 0.6))),
        (0.0, ((0.05, 0.3), (0.04, 0.9), (0.02, 0.6))),
        (0.2, ((0.01, 1.5), (0.03, 0.25), (0.05, 0.5))),
    ],
)
def test_without_noise_the_law_is_found(floor, parts):
    fits = fit_scaling(table(errors((floor, parts)))).fits.set_index("term")
    assert fits.loc["irreducible", "error"] == pytest.approx(floor, abs=1e-4)
    for name, (part, power) in zip(("n_features", "k", "tokens"), parts):
        assert fits.loc[name, "error"] == pytest.approx(part, abs=1e-4)
        assert fits.loc[name, "exponent"] == pytest.approx(power, abs=2e-3)
        assert fits.loc[name, "saves"] == pytest.approx(part * (1 - 2**-power), abs=1e-4)


def test_the_jacobian_is_the_derivative():
    law = Law(GRID, errors((0.08, ((0.05, 0.4), (0.04, 0.9), (0.02, 0.6)))), 0.9)
    for one in (law, law.saying_part(1)):
        theta = one.best * 1.05
        exact = one._jacobian(theta)
        for i in range(len(theta)):
            step = np.zeros(len(theta))
            step[i] = 1e-6
            change = (np.log(one._values(theta + step)) - np.log(one._values(theta - step))) / 2e-6
            assert np.allclose(change, exact[:, i], rtol=1e-4, atol=1e-6)


def test_what_does_not_pay_is_said_not_to():
    rng = np.random.default_rng(0)
    fits = fit_scaling(table(errors((0.1, ((0.05, 0.5), (0.03, 0.5), (0.0, 1.0))), noise=0.01, rng=rng))).fits
    saves = fits.set_index("term").loc["tokens"]
    assert saves["saves_low"] == pytest.approx(0, abs=1e-4)
    assert saves["saves_high"] < 0.005


@pytest.mark.parametrize("seed", [0, 1])
def test_what_says_nothing_of_a_power_leaves_its_whole_range(seed):
    rng = np.random.default_rng(seed)
    law = Law(GRID, errors((0.1, ((0.05, 0.5), (0.03, 0.5), (0.0, 1.0))), noise=0.01, rng=rng), 0.9)
    law.best[5] = 0  # no part of the error: any exponent is as good
    assert law.interval(6) == (LEAST, MOST)


def covered(n, seed):
    """Shares of worlds whose interval of 90% holds the truth: irreducible part, and savings."""
    rng = np.random.default_rng(seed)
    hits = np.zeros(4)
    for _ in range(n):
        floor, powers, parts = rng.uniform(0, 0.15), rng.uniform(0.2, 1.2, 3), rng.uniform(0.01, 0.06, 3)
        law = Law(GRID, errors((floor, tuple(zip(parts, powers))), noise=0.01, rng=rng), 0.9)
        truth = [floor, *(parts * (1 - 2**-powers))]
        for i, at in enumerate((0, 1, 3, 5)):
            low, high = law.interval(at)
            hits[i] += low - 1e-9 <= truth[i] <= high + 1e-9
    return hits / n


def test_intervals_cover_in_a_few_worlds():
    assert (covered(4, 3) >= 2 / 4).all()


@pytest.mark.slow
def test_intervals_cover_nine_times_in_ten():
    assert (covered(100, 0) >= 0.84).all()  # 0.9 less twice the standard error of a share of 100
    assert covered(100, 1).mean() >= 0.88


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"n_features": [256, 512] * 4, "fvu": np.linspace(0.3, 0.2, 8)}),
        pd.DataFrame({"n_features": [256, 512, 1024], "fvu": [0.3, 0.2, 0.1]}),
        pd.DataFrame({"n_features": [256] * 8, "fvu": np.linspace(0.3, 0.2, 8)}),
        pd.DataFrame({"n_features": np.arange(8) + 1, "fvu": np.zeros(8)}),
    ],
    ids=["two widths", "three rows", "nothing varies", "no error"],
)
def test_too_few_are_refused(frame):
    with pytest.raises(InputError, match="too few dictionaries"):
        fit_scaling(frame)


X = np.random.default_rng(0).normal(size=(1200, 10)).astype(np.float32) @ np.diag(
    np.geomspace(3, 0.2, 10)
).astype(np.float32)
SAMPLES = si.Samples(
    [f"s{i}" for i in range(60)],
    ["A" * 20] * 60,
    table=pd.DataFrame({"family": [f"f{i // 2}" for i in range(60)]}),
)
FEW = ScalingSettings(
    widths=(4, 8, 16), ks=(1, 2, 3), shares=(0.25, 0.5, 1.0), twins=("decoder",), steps=8, batch_size=64
)


def test_twins_control_and_shares_are_trained_and_fitted(tmp_path):
    split = si.split_families(SAMPLES, by="family", seed=0)
    acts = si.activations_from_array(X, SAMPLES, out=tmp_path / "acts", model="m", site="layers.0")
    found = si.scaling(acts, split=split, control=acts, settings=replace(FEW, ks=(2,)))
    assert found.readers == ["features", "twin_decoder", "randomised"]
    runs = found.runs[found.runs["reader"] == "features"]
    assert len(runs) == 3 * 3
    assert np.allclose(sorted(runs["tokens"].unique() / runs["tokens"].max()), [0.25, 0.5, 1], atol=0.05)
    same = found.runs[found.runs["reader"] == "randomised"]["fvu"].to_numpy()
    assert np.allclose(same, runs["fvu"], rtol=1e-6)  # the same rows: the same dictionaries
    assert len(found.sentences) == 3
    for sentence in found.sentences:
        assert "is irreducible in this form; the next doubling" in sentence


def test_a_run_is_kept_resumed_and_described(tmp_path, undefined):
    few = replace(FEW, shares=(1.0,), twins=(), ks=(2,), seeds=(0, 1))
    si.scaling(X, settings=few, out=tmp_path)
    before = (tmp_path / FITS).read_bytes()
    si.scaling(X, settings=few, out=tmp_path)
    assert (tmp_path / FITS).read_bytes() == before
    assert len(pd.read_csv(tmp_path / RUNS, sep="\t")) == 6
    assert [undefined(tmp_path / name, f"{RUNS} and {FITS}") for name in (RUNS, FITS)] == [[], []]
    assert any(key.startswith("features, irreducible") for key in info(tmp_path))


def test_the_figure_draws_points_law_and_floor_of_each_reader():
    readers = [("features", 0.05), ("twin_decoder", 0.1)]
    runs = [
        table(errors((floor, ((0.05, 0.4), (0.04, 0.9), (0.02, 0.6))))).assign(reader=name)
        for name, floor in readers
    ]
    found = fit_scaling(pd.concat(runs))
    for over in ("n_features", "k", "tokens"):
        ax = si.pl.scaling(found, over=over)
        points, curve, _ = ax.lines[:3]
        at = points.get_xdata()
        assert np.allclose(np.interp(at, curve.get_xdata(), curve.get_ydata()), points.get_ydata(), rtol=0.01)
        assert len(ax.lines) == 6
        assert ax.lines[5].get_ydata()[0] == pytest.approx(0.1, abs=1e-3)
    assert si.pl.scaling(found, over="steps").texts[0].get_text() == "no runs to compare"


def test_shares_are_nested_whole_families():
    split = si.split_families(SAMPLES, by="family", seed=0)
    parts = [_some_families(split, share) for share in (0.25, 0.5)]
    assert set(parts[0].train) < set(parts[1].train) < set(split.train)
    for part in parts:
        inside = np.isin(split.family[split.train], part.families("train"))
        assert np.array_equal(split.train[inside], part.train)
        assert np.array_equal(part.test, split.test)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (ScalingSettings(widths=(4, 8)), "three values or more"),
        (ScalingSettings(shares=(0.1, 0.2, 0.5)), "1 among them"),
        (ScalingSettings(shares=(0.0, 0.5, 1.0)), "above 0"),
        (ScalingSettings(), "families are needed"),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_training(settings, says):
    with pytest.raises(InputError, match=says):
        si.scaling(X, settings=settings)
