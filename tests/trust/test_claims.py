"""The table's arithmetic, its resume, and that every claim has its designs."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

import sciinterp.trust.suite as benchmark
from sciinterp.discovery.calibrate import expected_calibration_error
from sciinterp.errors import InputError, MismatchError
from sciinterp.trust import benchmark_trust
from sciinterp.trust.claims import CLAIMS, Claim, calibration, difference, exact_interval, pooled
from sciinterp.trust.designs import DESIGNS


@pytest.mark.parametrize(("k", "n"), [(0, 7), (1, 7), (4, 7), (7, 7), (3, 60)])
def test_one_trial_a_world_is_the_exact_binomial(k, n):
    worlds = np.r_[np.ones(k), np.zeros(n - k)]
    found = exact_interval(worlds, np.ones(n))
    known = binomtest(k, n).proportion_ci(0.95, "exact")
    assert found == pytest.approx((known.low, known.high), abs=1e-9)


def test_worlds_that_agree_are_worth_all_their_trials():
    k, n = np.array([5.0, 5, 5, 5]), np.full(4, 100.0)
    known = binomtest(20, 400).proportion_ci(0.95, "exact")
    assert exact_interval(k, n) == pytest.approx((known.low, known.high), abs=1e-9)


def test_worlds_that_differ_are_worth_fewer():
    n = np.full(20, 50.0)
    alike, apart = np.full(20, 10.0), np.r_[np.full(4, 50.0), np.zeros(16)]
    narrow, wide = exact_interval(alike, n), exact_interval(apart, n)
    assert wide[0] < narrow[0] < 0.2 < narrow[1] < wide[1]
    # All or nothing in each world: about as wide as one trial a world.
    known = binomtest(4, 20).proportion_ci(0.95, "exact")
    assert wide == pytest.approx((known.low, known.high), abs=0.04)


def test_intervals_of_clustered_counts_cover():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        p = rng.beta(2, 18, 25)
        low, high = exact_interval(rng.binomial(40, p).astype(float), np.full(25, 40.0))
        inside += low <= 0.1 <= high
    assert inside / 300 >= 0.92


def test_nothing_to_judge_is_neither_yes_nor_no():
    value, low, high, trials = pooled([[{"k": [0, 0]}]], "k")
    assert np.isnan([value, low, high]).all() and trials == 0
    assert Claim("a", "b", (), "k", ("<=", 0.1)).holds(value) == ""
    assert Claim("a", "b", (), "k").holds(0.5) == ""


@pytest.mark.parametrize(
    ("bar", "value", "said"),
    [
        (("<=", 0.1), 0.1, "yes"),
        (("<=", 0.1), 0.11, "no"),
        ((">=", 0.6), 0.6, "yes"),
        ((">=", 0.6), 0.5, "no"),
    ],
)
def test_bars(bar, value, said):
    assert Claim("a", "b", (), "k", bar).holds(value) == said


def test_pooling_counts_every_world_of_every_design():
    value, low, high, trials = pooled([[{"k": [1, 4]}, {"k": [0, 2]}], [{"k": [2, 2]}]], "k")
    assert (value, trials) == (3 / 8, 8)
    assert low < value < high


def test_calibration_pools_null_worlds():
    hidden = [{"p": [0.95, 0.95], "truth": [1, 1]}]
    nothing = [{"p": [0.95, 0.95], "truth": [0, 0]}, {"p": [], "truth": []}]
    assert calibration([hidden], "p")[0] == pytest.approx(0.05)
    value, low, high, n = calibration([hidden, nothing], "p")
    assert value == pytest.approx(0.45) and n == 4 and low <= value <= high


def test_calibration_is_the_package_s_own():
    rng = np.random.default_rng(0)
    worlds = [{"p": rng.random(n).tolist(), "truth": rng.integers(0, 2, n).tolist()} for n in (30, 5, 0, 90)]
    p, truth = (np.concatenate([np.array(w[key], float) for w in worlds]) for key in ("p", "truth"))
    assert calibration([worlds], "p")[0] == pytest.approx(expected_calibration_error(p, truth))


def test_difference_is_of_the_seeds_that_both_have():
    one = [{"k": [1, 1]}, {"k": [1, 1]}, {"k": [0, 1]}]
    other = [{"k": [0, 1]}, {"k": [1, 1]}]
    value, low, high, _ = difference([one, other], "k")
    assert value == 0.5 and low <= value <= high


def test_every_claim_has_its_designs_and_every_design_a_claim():
    used = {name for claim in CLAIMS for name in claim.designs}
    assert used == set(DESIGNS)
    assert len({(c.name, c.design) for c in CLAIMS}) == len(CLAIMS)
    assert all(c.bar is None or c.bar[0] in ("<=", ">=") for c in CLAIMS)


@pytest.fixture
def toy(monkeypatch):
    """Two designs that count how often they are run."""
    runs: list[tuple[str, int]] = []

    def made(name):
        def design(seed):
            runs.append((name, seed))
            return {"k": [seed % 2, 1]}

        return design

    claims = (
        Claim("one", "toy", ("a",), "k", ("<=", 0.5), 0.5),
        Claim("two", "toy", ("b",), "k"),
        Claim("both", "toy", ("a", "b"), "k"),
    )
    monkeypatch.setattr(benchmark, "DESIGNS", {"a": made("a"), "b": made("b")})
    monkeypatch.setattr(benchmark, "CLAIMS", claims)
    return runs


def test_resumes_where_it_was_stopped(toy, tmp_path, monkeypatch):
    whole = benchmark_trust(n_worlds=4, seed=3)
    toy.clear()
    stop = dict(benchmark.DESIGNS)

    def interrupted(seed):
        if seed == 5:
            raise KeyboardInterrupt
        return stop["b"](seed)

    monkeypatch.setitem(benchmark.DESIGNS, "b", interrupted)
    with pytest.raises(KeyboardInterrupt):
        benchmark_trust(n_worlds=4, seed=3, out=tmp_path)
    monkeypatch.setitem(benchmark.DESIGNS, "b", stop["b"])
    done = list(toy)
    found = benchmark_trust(n_worlds=4, seed=3, out=tmp_path)
    assert sorted(toy) == sorted((name, s) for name in "ab" for s in range(3, 7)), "none is run twice"
    assert done == toy[: len(done)]
    pd.testing.assert_frame_equal(pd.DataFrame(found), pd.DataFrame(whole))


def test_table_is_of_what_the_folder_holds(toy, tmp_path):
    benchmark_trust(n_worlds=2, out=tmp_path, only=["one"])
    assert {name for name, _ in toy} == {"a"}
    first = pd.read_csv(tmp_path / "trust.tsv", sep="\t")
    assert first["claim"].tolist() == ["one"] and first["worlds"].tolist() == [2]
    benchmark_trust(n_worlds=4, out=tmp_path, only=["two"])
    table = pd.read_csv(tmp_path / "trust.tsv", sep="\t").set_index("claim")
    assert table["worlds"].to_dict() == {"one": 2, "two": 4, "both": 6}
    assert table.loc["one", "holds"] == "yes" and table.loc["one", "bar"] == "<= 0.5"
    record = json.loads((tmp_path / "trust.json").read_text())
    assert [row["claim"] for row in record["rows"]] == list(table.index) and {
        "version",
        "date",
        "seed",
    } <= set(record)
    toy.clear()
    assert len(benchmark_trust(n_worlds=0, out=tmp_path)) == 3 and not toy


def test_other_seeds_and_unknown_claims_are_refused(toy, tmp_path):
    benchmark_trust(n_worlds=1, out=tmp_path)
    with pytest.raises(MismatchError, match="other settings"):
        benchmark_trust(n_worlds=1, seed=1, out=tmp_path)
    with pytest.raises(InputError, match="no such claim"):
        benchmark_trust(only=["onn"])
