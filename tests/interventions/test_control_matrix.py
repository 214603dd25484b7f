"""Control: found where it was planted, not where it was not; aims, directions, intervals by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from planted_control import DRIVEN, IDLE, world
from scipy.stats import binom

import sciinterp as si
from sciinterp.errors import InputError, ShapeError
from sciinterp.frames import Table
from sciinterp.interventions.aims import Aim, aim_at
from sciinterp.interventions.control_matrix import ControlSettings, beside_randomised, randomised_hits
from sciinterp.interventions.control_statistics import mean_interval, over_random, rank_correlation
from sciinterp.interventions.directions import separating
from sciinterp.interventions.doses import Start, at_level

FAST = ControlSettings(divergence=0.02, n_samples=10, n_random=6, n_noise=1)


def found(seeds, n_later):
    """Control of the driven and of the idle feature, and of the random ones, in some worlds."""
    rows = []
    for seed in seeds:
        table = si.control_matrix(**world(seed, n_later), settings=FAST)
        control = (table["low"] > 0) & (table["over_random_low"] > 0)
        rows.append(table.assign(control=control))
    return pd.concat(rows)


def shares(table):
    own = table[table["kind"] == "feature"].groupby("concept")["control"]
    others = (table["kind"] == "random") & (table["direction"] != f"feature {DRIVEN}")
    random = table[others]["control"]
    return own.mean(), float(random.mean()), len(random)


@pytest.mark.parametrize("n_later", [1, 2])
def test_the_driven_feature_has_control_and_others_have_none(n_later):
    table = found(range(4), n_later)
    own, random, n = shares(table)
    assert own["driven"] == 1 and own["idle"] == 0 and random * n <= binom.isf(0.01, n, 0.05)
    idle = table[(table["concept"] == "idle") & (table["kind"] == "feature")]
    assert (idle["gain"].abs() < 1e-6).all() and (idle["f1"] == 1).all() and not idle["reached"].any()
    driven = table[(table["concept"] == "driven") & (table["kind"] == "feature")]
    assert (driven["gain"] > 0.1).all() and set(driven["direction"]) == {f"feature {DRIVEN}"}


@pytest.mark.slow
@pytest.mark.parametrize("n_later", [1, 2])
def test_a_hundred_worlds(n_later):
    own, random, n = shares(found(range(100), n_later))
    assert own["driven"] >= 0.95 and own["idle"] <= 0.05
    assert random * n <= binom.isf(0.01, n, 0.05)


def test_doses_are_read_at_one_divergence():
    table = si.control_matrix(**world(0, 2), settings=FAST)
    reached = table[table["reached"]]
    assert len(reached) >= 6 and np.allclose(reached["divergence"], FAST.divergence, rtol=0.16)
    doses = table.context["doses"]
    for _, part in doses.groupby(["concept", "direction"]):
        assert part["dose"].is_monotonic_increasing and part["divergence"].iloc[0] == 0
    summary = table.context["summary"].set_index("concept")
    assert bool(summary.loc["driven", "control"]) and not bool(summary.loc["idle", "control"])
    again = si.control_matrix(**world(0, 2), settings=FAST)
    assert np.array_equal(table["gain"], again["gain"])


def test_the_level_is_sought_on_a_few_samples_first(monkeypatch):
    """Of many samples: fewer doses of all of them, the same gains at the same level."""
    settings = ControlSettings(divergence=0.02, n_samples=14, n_random=6, n_noise=1)
    plain = si.control_matrix(**world(0, 2), settings=settings)
    monkeypatch.setattr("sciinterp.interventions.doses.PAYS", 1)
    scouted = si.control_matrix(**world(0, 2), settings=settings)
    assert (plain["reached"] == scouted["reached"]).all() and plain["n_samples"].eq(14).all()
    reached = plain["reached"]
    assert np.allclose(plain["gain"][reached], scouted["gain"][reached], rtol=0.1, atol=0.01)
    doses = [len(table.context["doses"].query("dose > 0")) for table in (plain, scouted)]
    assert doses[1] < doses[0]


def test_the_search_follows_a_steep_rise():
    """A power of the dose far above two, as where letters tip over, is met in a few doses and read at the level."""

    class Steep:
        numbers, tries = np.arange(3), []

        def tried(self, vector, amount):
            self.tries.append(amount)
            return np.full(3, 2.0 * amount), 0.1 * (amount / 4) ** 7, 1

    stages: Any = [Steep()]
    read, following = at_level(stages, 0, torch.ones(2), 1.0, start=Start(), level=0.1, n_doses=5)
    assert read.reached and len(Steep.tries) <= 4
    assert abs(read.dose - 4) < 0.1 and np.allclose(read.gain, 2 * read.dose) and read.divergence == 0.1
    # The next direction begins where this one was read, as steeply: one dose is enough, and another slope is sought.
    assert (
        following.dose == read.dose
        and following.slope == pytest.approx(7, abs=0.3)
        and following.rise is None
    )
    again = at_level(stages, 0, torch.ones(2), 1.0, start=following, level=0.1, n_doses=5)[0]
    assert len(again.tried) == 2 and np.allclose(again.gain, read.gain, rtol=0.02)
    far, other = at_level(stages, 0, torch.ones(2), 1.0, start=Start(), level=1e9, n_doses=5)
    assert other == Start()
    assert not far.reached and far.dose == 8.0 and far.divergence < 1e9


def test_a_judge_of_ones_own():
    """Any function of samples: here, how many W it holds."""
    given = world(1, 1)
    count = lambda samples: np.array([text.count("W") for text in samples.sequences])  # noqa: E731
    table = si.control_matrix(
        **given, judge={"driven": count}, settings=ControlSettings(n_samples=16, divergence=0.4)
    )
    gain = table[table["kind"] == "feature"].set_index("concept")["gain"]
    assert gain["driven"] > 0.2


def test_plain_directions_by_hand():
    rng = np.random.default_rng(0)
    no = rng.normal(size=(400, 6))
    yes = rng.normal(size=(400, 6)) + np.array([0, 0, 3, 0, -1, 0])
    means, neuron, component = separating(yes, no)
    gap = torch.tensor([0, 0, 3, 0, -1, 0]).div(10**0.5)
    assert float(means.vector @ gap.float()) > 0.99
    assert neuron.name == "neuron 2 high" and neuron.vector.tolist() == [0, 0, 1, 0, 0, 0]
    assert float(component.vector @ gap.float()) > 0.9 and abs(float(component.vector.norm()) - 1) < 1e-5


def families_of_two():
    """FR:A and FR:B take the same place and differ at two of six positions."""
    rng = np.random.default_rng(0)
    ids, data, rows, names = [], [], [], []
    for i in range(80):
        kind = "AB"[i % 2]
        inside = "CWCCCY" if kind == "A" else "CFCCCH"
        ids.append(f"s{i}")
        data.append("".join(rng.choice(list("GST"), 5)) + inside + "".join(rng.choice(list("GST"), 6)))
        rows.append({"sample": f"s{i}", "start": 5, "end": 11, "concept": f"FR:{kind}", "source": "x"})
        names.append(f"f{i // 4}")
    samples = si.Samples(ids, data, table=pd.DataFrame({"family": names}))
    return samples, si.Annotations(pd.DataFrame(rows)), si.split_families(samples, by="family", seed=0)


def test_an_aim_is_the_place_of_an_alternative_read_where_they_differ():
    samples, annotations, split = families_of_two()
    aim = aim_at("FR:A", annotations, samples, split, letters="ACDEFGHIKLMNPQRSTVWY", n_samples=6)
    assert isinstance(aim, Aim) and aim.instead_of == "FR:B" and len(aim.samples) == 6
    assert set(aim.numbers) <= set(split.test) and len(np.unique(aim.family)) == min(
        6, len(split.families("test"))
    )
    for sample, written, target, read, odds in zip(aim.samples, aim.written, aim.target, aim.read, aim.odds):
        assert np.flatnonzero(written).tolist() == list(range(5, 11)) and sample.sequence[6] == "F"
        at = np.flatnonzero(read)
        assert np.flatnonzero(target).tolist() == [6, 10] and len(at) == 1 and at[0] in (6, 10)
        score = dict(zip(aim.letters, odds[0]))
        mine, other = ("W", "F") if at[0] == 6 else ("Y", "H")
        assert score[mine] == max(score.values()) > 0 > score[other] == pytest.approx(min(score.values()))
        # A letter of neither scores as the alternative's: a place that is wiped out has not been turned.
        assert [score[x] for x in "DKM"] == pytest.approx([score[other]] * 3)


def test_an_aim_without_an_alternative_is_a_window_elsewhere():
    samples, annotations, split = families_of_two()
    only = annotations.select(["FR:A"])
    aim = aim_at("FR:A", only, samples, split, letters="ACDEFGHIKLMNPQRSTVWY", n_samples=6)
    assert isinstance(aim, Aim) and aim.instead_of == "any letters"
    for number, written in zip(aim.numbers, aim.written):
        assert written.sum() == 6
        if samples[int(number)].sequence[6] == "W":
            assert not written[5:11].any()
    few = samples[:16]
    rare = si.Annotations(annotations.frame[annotations.frame["sample"].isin(few.ids)])
    assert "instances" in str(aim_at("FR:A", rare, samples, split, letters="ACW"))


def test_intervals_cover():
    """Means of families of unequal size: 95% intervals hold the truth in 92% or more of 400 draws."""
    rng = np.random.default_rng(0)
    family = np.repeat(np.arange(10), rng.integers(1, 4, 10))
    held = 0
    for _ in range(400):
        values = rng.normal(size=10)[family] + rng.normal(size=len(family))
        _, low, high = mean_interval(values, family)
        held += low <= 0 <= high
    assert held >= 0.92 * 400
    assert np.isnan(mean_interval(np.ones(4), np.arange(4))[1])


def test_one_of_many_random_features_is_rarely_over_the_others():
    """Every direction has an effect of its own: a new one lies over eight others in at most 5%."""
    rng, family, above = np.random.default_rng(0), np.arange(12), 0
    for _ in range(600):
        effects = rng.normal(size=9)[:, None] + 0.3 * rng.normal(size=(9, 12))
        above += over_random(effects[0], effects[1:], family)[1] > 0
    assert above <= 0.05 * 600


def test_rank_correlation():
    frame = pd.DataFrame({"kind": "feature", "f1": np.arange(8) / 8, "over_random": np.arange(8.0) ** 2})
    assert rank_correlation(frame)["rho"] == pytest.approx(1)
    assert np.isnan(rank_correlation(frame[:4])["rho"])


def test_what_cannot_be_measured_is_said():
    given = world(0, 1)
    with pytest.raises(InputError, match="no concept can be turned"):
        si.control_matrix(**given, settings=ControlSettings(min_f1=1.1))
    bare = si.FeatureMatrix(given["features"].codes, given["features"].samples)
    with pytest.raises(InputError, match="codes with their SAE"):
        si.control_matrix(**{**given, "features": bare})
    with pytest.raises(InputError, match=r"expected a FeatureMatrix, got .*si\.encode"):
        si.control_matrix(**{**given, "features": given["features"].sae})
    with pytest.raises(InputError, match="expected Annotations, got Samples"):
        si.control_matrix(**{**given, "annotations": given["features"].samples})
    assert IDLE != DRIVEN


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"hits": lambda h: h.drop(columns="f1")}, "no such column, hits"),
        ({"hits": lambda h: [1]}, "hits=: expected DataFrame, got list"),
        ({"hits": lambda h: h.assign(feature=99)}, "expected 0 to 15, got 99"),
        ({"hits": lambda h: h.assign(feature=-1)}, "expected 0 to 15, got -1"),
        ({"hits": lambda h: h.assign(feature=np.nan)}, "expected 0 to 15, got nan"),
        ({"split": lambda s: None}, "split=: expected Split, got None"),
        ({"judge": lambda _: 3}, "this is no judge"),
        ({"judge": lambda _: {"drivn": len}}, "no such concept, judge: expected 'driven'"),
        ({"settings": lambda _: {"n_samples": 3}}, "settings=: expected ControlSettings, got dict"),
        ({"acts": lambda _: np.full((1920, 24), np.nan, np.float32)}, "not finite"),
    ],
)
def test_what_does_not_belong_together_is_one_line(other, says):
    given: dict[str, Any] = {**world(0, 1), "settings": FAST}
    with pytest.raises((InputError, ShapeError), match=says):
        si.control_matrix(**{**given, **{name: make(given.get(name)) for name, make in other.items()}})


def test_plain_directions_are_those_asked_for():
    acts = np.random.default_rng(0).normal(size=(1920, 24)).astype(np.float32)
    given: dict[str, Any] = {**world(0, 1), "acts": acts}
    one = si.control_matrix(**given, settings=replace(FAST, n_random=2, plain=("means",)))
    none = si.control_matrix(**given, settings=replace(FAST, n_random=2, plain=()))
    assert set(one["kind"]) - set(none["kind"]) == {"means"}
    assert {"neuron", "component"}.isdisjoint(one["kind"]) and none.context["summary"][
        "gain_means"
    ].isna().all()
    with pytest.raises(InputError, match=r"plain direction.*neuron"):
        ControlSettings(plain=("neurons",))


def test_the_randomised_model_stands_beside():
    """Its own feature for the concept comes from the hits' baseline, and joins as a kind of its own."""
    hits = Table(
        world(0, 1)["hits"],
        context={
            "baselines": pd.DataFrame(
                {
                    "concept": ["driven", "driven", "idle"],
                    "baseline": ["neuron", "randomised", "randomised"],
                    "detail": ["neuron 3 high", "feature 7 (3 of 3 folds)", None],
                    "f1": [0.5, 0.25, 0.1],
                }
            )
        },
    )
    found = randomised_hits(hits)
    assert found.to_dict("records") == [{"concept": "driven", "feature": 7, "f1": 0.25}]
    given = world(0, 1)
    table = si.control_matrix(**given, settings=FAST)
    other = si.control_matrix(**{**given, "hits": found}, settings=FAST)
    both = beside_randomised(table, other)
    row = both[both["kind"] == "randomised"]
    assert row["direction"].tolist() == ["feature 7"] and len(both) == len(table) + 1
    told = both.context["summary"].set_index("concept")
    assert (
        told.loc["driven", "control_randomised"] is False and told.loc["idle", "control_randomised"] is None
    )
    assert told.loc["driven", "control"] and abs(told.loc["driven", "gain_randomised"]) < 1e-6
    assert set(both.context["doses"]["kind"]) >= {"randomised", "feature"}
