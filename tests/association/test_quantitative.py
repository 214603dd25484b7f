"""Values position by position: Spearman exact, the shift null calibrated, what is planted found, baselines beside."""

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats as stats
from hypothesis import given, settings
from hypothesis import strategies as st

import sciinterp as si
from sciinterp.annotations.signal import Values
from sciinterp.association.quantitative import CorrelateSettings, spearman
from sciinterp.errors import InputError

LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))


def world(seed: int, *, planted: bool, n_families: int = 12) -> tuple[si.FeatureMatrix, Values, si.Split]:
    """Relatives share codes and values (their alignment), both cluster along the chain."""
    rng = np.random.default_rng(seed)
    length, members, width = 60, 4, 12
    smooth = np.exp(-0.5 * (np.arange(-6, 7) / 2.0) ** 2)
    codes, values, text, family = [], [], [], []
    for f in range(n_families):
        hidden = np.array([np.convolve(rng.normal(size=length), smooth, "same") for _ in range(width)])
        shown = np.convolve(rng.normal(size=length), smooth, "same")
        for _ in range(members):
            noisy = hidden + rng.normal(size=hidden.shape) * 0.3
            codes.append(np.maximum(noisy - 1.5, 0).T)
            value = shown + rng.normal(size=length) * 0.5
            values.append(value + (0.6 * noisy[3] if planted else 0))
            text.append("".join(rng.choice(LETTERS, length)))
            family.append(f"f{f:02d}")
    samples = si.Samples([f"s{i}" for i in range(len(text))], text)
    numbers, code = np.unique(family, return_inverse=True)
    split = Split_of(code, numbers, samples)
    column = np.concatenate(values).astype(np.float32)
    column[rng.random(len(column)) < 0.05] = np.nan
    matrix = si.FeatureMatrix(sp.csr_array(np.concatenate(codes).astype(np.float32)), samples)
    return matrix, Values(samples, ("x",), column[:, None]), split


def Split_of(code: np.ndarray, names: np.ndarray, samples: si.Samples) -> si.Split:
    part = code % 3
    parts = [np.flatnonzero(part == p) for p in range(3)]
    return si.Split(
        *parts, family=code.astype(np.int64), family_names=tuple(names), by="f", lengths=samples.lengths
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_spearman_of_sparse_codes_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, width = 60, 4
    dense = (np.round(rng.random((n, width)) * 4) / 4 * (rng.random((n, width)) < 0.5)).astype(np.float32)
    dense[:, 3] = 0
    family = rng.integers(-1, 3, n)
    values = np.round(rng.normal(size=n), 1)
    ranks, n_of = np.zeros(n), np.bincount(family[family >= 0], minlength=3)
    for f in range(3):
        r = stats.rankdata(values[family == f])
        ranks[family == f] = (r - r.mean()) / max(np.linalg.norm(r - r.mean()), 1e-300)
    found = spearman(si.FeatureMatrix(dense, si.Samples(["a"], ["A" * n])).by_feature(), family, ranks, n_of)
    for f in range(3):
        for j in range(width):
            a, b = dense[family == f, j], values[family == f]
            expected = stats.spearmanr(a, b).statistic if len(set(a)) > 1 and len(set(b)) > 1 else 0.0
            assert found[f, j] == pytest.approx(expected, abs=1e-9)


def rejected(worlds: range, *, planted: bool) -> float:
    rows = [si.correlate(*w[:2], split=w[2]).iloc[0] for w in (world(s, planted=planted) for s in worlds)]
    right = [row["p"] <= 0.05 and (row["feature"] == 3 or not planted) for row in rows]
    return float(np.mean(right))


def test_the_null_holds_and_what_is_planted_is_found() -> None:
    assert rejected(range(20), planted=False) <= 0.2
    assert rejected(range(10), planted=True) == 1


@pytest.mark.slow
def test_the_null_holds_and_what_is_planted_is_found_in_many_worlds() -> None:
    null, found = rejected(range(400), planted=False), rejected(range(200), planted=True)
    print(f"null rejected at .05: {null:.3f}; planted found: {found:.3f}")
    assert null <= 0.075 and found >= 0.95


def test_readers_that_explain_the_values_stand_beside() -> None:
    features, _, split = world(0, planted=False)
    samples = features.samples
    at = np.concatenate([np.arange(n) for n in samples.lengths])
    letter = np.frombuffer("".join(samples.sequences).encode(), np.uint8)
    acts = np.random.default_rng(0).normal(size=(samples.n_positions, 5)).astype(np.float32)
    cases = {
        "position": at,
        "letter": letter * 7 % 20 + 0.1 * acts[:, 0],
        "neuron": -acts[:, 2],
    }
    for name, column in cases.items():
        found = si.correlate(
            features, Values(samples, ("v",), column.astype(np.float32)[:, None]), split=split, acts=acts
        )
        row = found.iloc[0]
        beside = found.context["baselines"].set_index("baseline")["rho"]
        assert beside[name] > 0.35 and beside.idxmax() in (name, "start", "end", "word"), (name, beside)
        assert row["delta_high"] < 0.1 and row["best_baseline_rho"] == beside.max()
    assert set(beside.index) == {"position", "start", "end", "letter", "word", "neuron"}


def test_values_of_too_few_families_or_other_samples_are_refused() -> None:
    features, values, split = world(1, planted=True)
    column = values.values.copy()
    column[features.samples.offsets[12] :] = np.nan
    with pytest.raises(InputError, match="3 families have values, 5 are needed"):
        si.correlate(features, Values(features.samples, ("x",), column), split=split)
    with pytest.raises(InputError, match="other samples"):
        si.correlate(features.subset(samples=[0, 1]), values, split=split)
    two = Values(features.samples, ("x", "few"), np.concatenate([values.values, column], axis=1))
    found = si.correlate(features, two, split=split, settings=CorrelateSettings(n_draws=99))
    assert found["track"].tolist() == ["x"] and list(found.context["not_tested"]) == ["few"]
    again = si.correlate(features, two, split=split, settings=CorrelateSettings(n_draws=99))
    assert found.equals(again)
