"""Parts of the matrix of control beside other ways to the same: scipy, scikit-learn, plain loops, relabelling, limits."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from planted_control import DRIVEN, LETTERS, N_FEATURES, world
from scipy import stats
from sklearn.decomposition import PCA

import sciinterp as si
from sciinterp.errors import InputError, SciinterpError
from sciinterp.frames import Table
from sciinterp.interventions import aims
from sciinterp.interventions.ablation import ablation_effect
from sciinterp.interventions.aims import aim_at, judged
from sciinterp.interventions.control_matrix import ControlSettings, letters_of, randomised_hits, with_control
from sciinterp.interventions.control_statistics import mean_interval, over_random, rank_correlation, summarise
from sciinterp.interventions.directions import (
    COMPONENTS,
    feature_directions,
    noise_directions,
    plain_directions,
    separating,
    unit,
    units_of_set,
)
from sciinterp.interventions.files import read_turning, write_turning
from sciinterp.interventions.reading import codes_of
from sciinterp.interventions.variants import counterparts, feature_concepts
from sciinterp.readers.notation import Variant
from sciinterp.testing import tiny_model


@pytest.mark.parametrize("n", [5, 12, 40])
def test_families_of_one_have_students_interval(n):
    values = np.random.default_rng(n).normal(size=n)
    mean, low, high = mean_interval(values, np.arange(n))
    wanted = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert (mean, low, high) == pytest.approx((values.mean(), *wanted))


def test_an_interval_knows_no_names_no_order_and_no_units():
    rng = np.random.default_rng(0)
    family = rng.integers(0, 7, 30)
    values = rng.normal(size=30) + family
    whole = np.array(mean_interval(values, family))
    order = rng.permutation(30)
    assert np.array(mean_interval(values[order], family[order])) == pytest.approx(whole)
    assert np.array(mean_interval(values, 100 - 3 * family)) == pytest.approx(whole)
    assert np.array(mean_interval(5 + 2 * values, family)) == pytest.approx(5 + 2 * whole)
    mean, low, high = mean_interval(-values, family)
    assert (-mean, -high, -low) == pytest.approx(tuple(whole))
    twice = np.array(mean_interval(np.r_[values, values], np.r_[family, family]))
    assert twice == pytest.approx(whole)  # the same families, each of twice as many samples that say the same


def test_an_interval_at_its_limits():
    assert mean_interval(np.full(8, 3.0), np.arange(8)) == (3, 3, 3)
    assert np.isnan(mean_interval(np.arange(8.0), np.arange(8) % 4)[1:]).all()
    narrow, wide, cautious = (
        mean_interval(np.arange(8.0), np.arange(8), **more) for more in ({}, {"extra": 4.0}, {"freedom": 2})
    )
    assert wide[2] > narrow[2] < cautious[2] and wide[0] == narrow[0] == cautious[0]
    half = stats.t.ppf(0.975, 7) * np.sqrt(stats.sem(np.arange(8.0)) ** 2 + 4)
    assert wide[2] - wide[0] == pytest.approx(half)


def test_over_random_carries_the_spread_of_random_features():
    rng = np.random.default_rng(1)
    gain, random, family = rng.normal(size=12), rng.normal(size=(4, 12)), np.arange(12)
    mean, low, high = over_random(gain, random, family)
    less = gain - random.mean(0)
    variance = stats.sem(less) ** 2 + (1 + 1 / 4) * random.mean(1).var(ddof=1)
    half = stats.t.ppf(0.975, 3) * np.sqrt(variance)
    assert (mean, low, high) == pytest.approx((less.mean(), less.mean() - half, less.mean() + half))
    assert np.isnan(over_random(gain, random[:1], family)).all()
    assert over_random(gain, random[::-1], family) == pytest.approx((mean, low, high))


def test_rank_correlation_is_spearmans_with_ties():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {"kind": "feature", "f1": rng.integers(0, 4, 20) / 4, "over_random": rng.integers(0, 5, 20)}
    )
    found = rank_correlation(frame, n_draws=300)
    assert found["rho"] == pytest.approx(stats.spearmanr(frame["f1"], frame["over_random"])[0])
    assert found["low"] < found["rho"] < found["high"] and found["n_concepts"] == 20
    assert rank_correlation(frame.assign(f1=np.exp(frame["f1"])), n_draws=300) == found
    turned = rank_correlation(frame.assign(over_random=-frame["over_random"]), n_draws=300)
    assert (turned["rho"], turned["low"]) == pytest.approx((-found["rho"], -found["high"]))
    more = pd.concat([frame, frame.assign(kind="random", f1=1.0), frame.assign(f1=np.nan)])
    assert rank_correlation(more, n_draws=300) == found
    assert np.isnan(rank_correlation(frame.assign(f1=1.0), n_draws=20)["rho"])


def rows(concept, kind, gain, low, over_low):
    return {"concept": concept, "kind": kind, "direction": f"{kind} of {concept}", "f1": 0.9, "gain": gain, "low": low,
            "over_random_low": over_low}  # fmt: skip


def test_what_is_said_of_a_concept_by_hand():
    table = pd.DataFrame(
        [
            rows("b", "feature", 1.0, 0.5, 0.1), rows("b", "random", 0.2, -1, np.nan), rows("b", "random", 0.4, -1, np.nan),
            rows("b", "means", 2.0, 1, 1), rows("a", "feature", 1.0, 0.5, -0.1), rows("a", "randomised", 0.7, 0.1, 0.1),
            rows("c", "feature", 1.0, np.nan, np.nan),
        ]
    )  # fmt: skip
    told = summarise(table).set_index("concept")
    assert list(told.index) == ["b", "a", "c"]
    assert told["turns"].tolist() == [True, True, False] and told["control"].tolist() == [True, False, False]
    assert told.loc["b", "gain_random"] == pytest.approx(0.3) and told.loc["b", "over_means"] is False
    assert told.loc["a", "over_means"] is None and told.loc["a", "control_randomised"] is True
    assert told.loc["b", "control_randomised"] is None and told.loc["a", "gain_randomised"] == 0.7
    alone = summarise(table[table["concept"] == "a"])
    pd.testing.assert_series_equal(
        alone.iloc[0], told.reset_index().iloc[1], check_names=False, check_dtype=False
    )


def test_separating_against_plain_reckoning():
    """The component that tells the classes apart best is that of scikit-learn; the sign turns with the classes."""
    rng = np.random.default_rng(3)
    yes, no = (
        rng.normal(size=(60, 5)) * [1, 4, 1, 2, 1] + [1, 2, 0, 0, 0],
        rng.normal(size=(90, 5)) * [1, 4, 1, 2, 1],
    )
    means, neuron, component = separating(yes, no)
    gap = yes.mean(0) - no.mean(0)
    assert means.vector.numpy() == pytest.approx(gap / np.linalg.norm(gap), abs=1e-6)
    both = np.r_[yes, no]
    spread = np.sqrt((((yes - yes.mean(0)) ** 2).sum(0) + ((no - no.mean(0)) ** 2).sum(0)) / 150)
    best = int(np.argmax(np.abs(gap) / spread))
    assert neuron.name.startswith(f"neuron {best} ") and abs(float(neuron.vector[best])) == 1
    axes = PCA(5, svd_solver="full").fit(both).components_
    inside = np.r_[yes - yes.mean(0), no - no.mean(0)] @ axes.T
    apart = (axes @ gap) / inside.std(0)
    wanted = axes[np.argmax(np.abs(apart))] * np.sign(apart[np.argmax(np.abs(apart))])
    assert component.vector.numpy() == pytest.approx(wanted, abs=1e-5)
    assert component.name == f"component {np.argmax(np.abs(apart))}"
    for one, other in zip((means, neuron, component), separating(no, yes)):
        assert one.vector.numpy() == pytest.approx(-other.vector.numpy(), abs=1e-5)
    order = rng.permutation(5)
    for one, other in zip((means, component), separating(yes[:, order], no[:, order])[::2]):
        assert one.vector.numpy()[order] == pytest.approx(other.vector.numpy(), abs=1e-5)
    for one, other in zip((means, component), separating(7 * yes + 3, 7 * no + 3)[::2]):
        assert one.vector.numpy() == pytest.approx(other.vector.numpy(), abs=1e-5)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_directions_of_what_is_not_finite_are_refused(wrong):
    with pytest.raises(InputError, match="not finite"):
        separating(np.array([[wrong, 1]]), np.zeros((3, 2)))


def test_directions_have_length_one_and_noise_repeats_itself():
    assert float(unit(np.array([3.0, 4.0])).norm()) == 1 and not unit(np.zeros(3)).any()
    one, two = noise_directions(6, 3, 0), noise_directions(6, 2, 0)
    assert [d.name for d in one] == ["noise 0", "noise 1", "noise 2"]
    for a, b in zip(one, two):
        assert torch.equal(a.vector, b.vector) and float(a.vector.norm()) == pytest.approx(1)
    assert (
        not torch.equal(one[0].vector, noise_directions(6, 1, 1)[0].vector)
        and noise_directions(6, 0, 0) == []
    )


def test_random_features_are_of_like_density_and_none_of_the_concepts():
    features = world(0, 1)["features"]
    found = feature_directions(features, DRIVEN, [DRIVEN, 5], {1, 2}, n_random=4, seed=0)
    assert [d.kind for d in found] == ["feature", "set"] + ["random"] * 4
    W = features.sae.W_dec.detach()
    assert torch.allclose(found[0].vector, unit(W[DRIVEN]))
    together = unit(features.largest[DRIVEN] * W[DRIVEN] + features.largest[5] * W[5])
    assert torch.allclose(found[1].vector, together, atol=1e-6) and found[1].name == f"features {DRIVEN} 5"
    drawn = {int(d.name.split()[1]) for d in found[2:]}
    assert len(drawn) == 4 and drawn.isdisjoint({DRIVEN, 5, 1, 2})
    again = feature_directions(features, DRIVEN, [DRIVEN, 5], {1, 2}, n_random=4, seed=0)
    assert [d.name for d in again] == [d.name for d in found]
    every = feature_directions(features, DRIVEN, [], set(), n_random=99, seed=0)
    assert len(every) == N_FEATURES and [d.kind for d in every[1:]] == ["random"] * (N_FEATURES - 1)
    silent = si.FeatureMatrix(
        sp.csr_array((24, 3), dtype=np.float32), si.Samples(["a"], ["A" * 24]), sae=features.sae
    )
    assert [d.kind for d in feature_directions(silent, 0, [], set(), n_random=2, seed=0)] == ["feature"]


def test_plain_directions_are_of_the_positions_that_are_named():
    given = world(0, 1)
    x = np.random.default_rng(0).normal(size=(given["features"].n_positions, 40)).astype(np.float32)
    yes, no = np.arange(0, 500), np.arange(600, 1500)
    found, wanted = (
        plain_directions(x, given["features"], yes, no, seed=0),
        separating(x[yes].astype(float), x[no].astype(float)),
    )
    for one, other in zip(found, wanted):
        assert one.name == other.name and torch.allclose(one.vector, other.vector, atol=1e-5)
    assert int(found[2].name.split()[1]) < COMPONENTS


def test_the_best_set_of_a_concept():
    sets = pd.DataFrame({"concept": ["a", "a", "a", "b"], "reader": ["features", "features", "neuron", "features"],
                         "f1_train": [0.5, 0.7, 0.9, 0.1], "units": ["1", "4 2", "9", "3"]})  # fmt: skip
    assert units_of_set(sets, "a") == [4, 2] and units_of_set(sets, "b") == [3]
    assert (
        units_of_set(sets, "c")
        == units_of_set(None, "a")
        == units_of_set(sets.drop(columns="units"), "a")
        == []
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_window_is_put_where_nothing_is(seed):
    rng = np.random.default_rng(seed)
    n, length = int(rng.integers(4, 30)), int(rng.integers(1, 6))
    taken = np.sort(rng.integers(0, n + 1, (2, 2)), 1)
    free = [s for s in range(n - length + 1) if not any(a < s + length and s < b for a, b in taken)]
    found = {aims._free_start(n, length, taken, np.random.default_rng(i)) for i in range(60)}
    if n < 2 * length or not free:
        assert found == {None}
    else:
        assert found <= set(free) and (len(free) > 5 or found == set(free))
    assert aims._free_start(2 * length, length, None, rng) in range(length + 1)


def test_families_take_turns():
    family = np.array([0, 0, 0, 1, 1, 2])
    numbers = [0, 0, 1, 2, 3, 4, 5]  # sample 0 has two places
    for seed in range(20):
        found = aims._spread(numbers, family, 3, np.random.default_rng(seed))
        assert sorted(family[[numbers[i] for i in found]]) == [0, 1, 2]
        every = aims._spread(numbers, family, 99, np.random.default_rng(seed))
        assert sorted(numbers[i] for i in every) == [0, 1, 2, 3, 4, 5]
        assert every[:3] == found


def letters_world():
    rng = np.random.default_rng(0)
    data = ["".join(rng.choice(list("ACDE"), 20)) for _ in range(60)]
    samples = si.Samples(
        [f"s{i}" for i in range(60)], data, table=pd.DataFrame({"family": [f"f{i // 3}" for i in range(60)]})
    )
    spans = pd.DataFrame(
        {"sample": [f"s{i}" for i in range(0, 60, 2)], "start": 4, "end": 7, "concept": "x", "source": "t"}
    )
    return samples, spans, si.split_families(samples, by="family", seed=0)


def test_the_odds_of_a_judge_are_a_position_weight_matrix():
    samples, spans, split = letters_world()
    aim = aim_at("x", si.Annotations(spans), samples, split, letters="ACDE", n_samples=5)
    train = [samples[int(i)].sequence for i in split.train]
    plain = np.array([sum(t.count(x) for t in train) + 1 for x in "ACDE"], float)
    plain /= plain.sum()
    mine = [samples[int(i)].sequence[4:7] for i in split.train if i % 2 == 0]
    counts = np.array([[sum(t[p] == x for t in mine) for x in "ACDE"] for p in range(3)]) + plain
    odds = np.log(counts / counts.sum(1, keepdims=True) / plain)
    for number, written, read, told in zip(aim.numbers, aim.written, aim.read, aim.odds):
        at = np.flatnonzero(read) - np.flatnonzero(written)[0]
        assert told == pytest.approx(odds[at]) and len(at) == 2 and written.sum() == 3
        assert number % 2 or not written[4:7].any()


def test_an_aim_knows_no_order_of_rows():
    samples, spans, split = letters_world()
    one, two = (
        aim_at("x", si.Annotations(rows), samples, split, letters="ACDE")
        for rows in (spans, spans.iloc[::-1])
    )
    assert one.numbers.tolist() == two.numbers.tolist()
    for a, b in itertools.chain(
        zip(one.written, two.written), zip(one.read, two.read), zip(one.odds, two.odds)
    ):
        assert np.array_equal(a, b)
    with pytest.raises(InputError, match="no such concept on these samples"):
        aim_at("y", si.Annotations(spans), samples, split, letters="ACDE")
    everywhere = si.Annotations(
        pd.DataFrame({"sample": list(samples.ids), "start": 0, "end": 20, "concept": "x", "source": "t"})
    )
    assert "no sample of the test families" in aim_at("x", everywhere, samples, split, letters="ACDE")


def test_a_judge_may_give_any_numbers():
    samples = si.Samples(["a", "b"], ["AC", "D"])
    for told in ([1, 2], (True, False), np.array([1, 2], np.uint8), np.float32([0.5, 1])):
        found = judged(lambda _, told=told: told, samples)
        assert found.dtype == np.float64 and found.tolist() == np.asarray(told, float).tolist()
    for told in ([1], [[1, 2]], ["1", "2"], None, [1j, 2]):
        with pytest.raises(InputError, match="one number a sample"):
            judged(lambda _, told=told: told, samples)


def test_letters_are_those_the_model_has_a_word_for():
    model = world(0, 1)["model"]
    assert letters_of(model) == LETTERS
    model.vocabulary = ("▁W", "C", "<mask>", "xx")
    assert letters_of(model) == "CW"


def test_a_run_without_the_randomised_models_hits_stays_as_it_was():
    given = world(0, 1)
    assert list(randomised_hits(given["hits"]).columns) == ["concept", "feature", "f1"]
    table = Table({"concept": ["driven"]}, context={})
    features = given["features"]
    control = si.FeatureMatrix(features.by_sample(np.arange(80)), features.samples, origin=given["model"].randomised(3).origin_at("layers.0"))  # fmt: skip
    same = with_control(
        table,
        given["model"],
        control,
        given["hits"],
        given["annotations"],
        split=given["split"],
        settings=ControlSettings(),
    )
    assert same is table
    with pytest.raises(SciinterpError, match="randomised"):
        with_control(table, given["model"], features, given["hits"], given["annotations"], split=given["split"], settings=ControlSettings())  # fmt: skip


def turning():
    doses = pd.DataFrame(
        {"concept": ["a"], "kind": ["feature"], "dose": [0.5], "divergence": [0.1], "gain": [np.nan]}
    )
    told = {"doses": doses, "summary": pd.DataFrame({"concept": ["a"], "control": [True], "over_means": [None]}),
            "examples": [{"concept": "a", "positions": [1]}], "rank_correlation": {"rho": float("nan"), "n_concepts": 1.0},
            "not_run": {"b": "F1 below 0.5"}, "settings": ControlSettings(n_samples=3)}  # fmt: skip
    return Table({"concept": ["a"], "gain": [0.25], "low": [np.nan]}, context=told)


def test_control_in_a_folder_is_read_as_it_was_written(tmp_path):
    assert read_turning(tmp_path) is None
    write_turning(turning(), tmp_path / "run")
    kept = read_turning(tmp_path / "run")
    assert kept is not None and kept["table"] == [{"concept": "a", "gain": 0.25, "low": None}]
    assert kept["doses"][0]["gain"] is None and kept["summary"][0] == {
        "concept": "a",
        "control": True,
        "over_means": None,
    }
    assert kept["rank_correlation"] == {"rho": None, "n_concepts": 1.0} and kept["not_run"] == {
        "b": "F1 below 0.5"
    }
    assert kept["settings"]["n_samples"] == 3 and kept["settings"]["plain"] == [
        "means",
        "neuron",
        "component",
    ]
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    write_turning(turning(), tmp_path / "run")
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize("n", [1, 2, 5])
def test_counterparts_of_every_small_change(n):
    """Every place, every length before and after: each old and each new position once, what is neither keeps its letter."""
    for start, removed, added in itertools.product(range(n + 1), range(3), range(3)):
        if start + removed > n or removed == added == 0:
            continue
        wild = "ABCDE"[:n]
        change = Variant(start, wild[start : start + removed], "xyz"[:added])
        mutant = wild[:start] + change.alt + wild[start + removed :]
        left, right = counterparts(change, wild)
        assert sorted(left[:n]) == list(range(n)) and sorted(right[right >= 0]) == list(range(len(mutant)))
        assert (left[n:] == min(start + removed, n - 1)).all() and len(left) - n == max(added - removed, 0)
        outside = [(a, b) for a, b in zip(left[:n], right) if b >= 0 and not start <= a < start + removed]
        assert all(wild[a] == mutant[b] for a, b in outside) and len(outside) == n - removed


def test_the_concepts_of_features_the_best_first():
    hits = pd.DataFrame(
        {"feature": [1, 1, 2, 1], "concept": ["a", "b", "c", "d"], "f1": [0.4, 0.9, 0.9, 0.1]}
    )
    assert feature_concepts(hits, min_f1=0.3) == {1: ["b", "a"], 2: ["c"]}
    assert feature_concepts(None) == feature_concepts(hits[:0]) == {}
    with pytest.raises(InputError, match="no such column, hits"):
        feature_concepts(hits.drop(columns="f1"))


def test_ablation_of_one_feature_is_what_the_verb_says():
    """The mean divergence over the samples where it is strongest; random parts of its length beside it."""
    model, sae = tiny_model()
    texts = ["EVQLVESGG", "QVQLQQSGAEL", "DIQMTQSP", "GGGGG"]
    samples = si.Samples(list("abcd"), texts)
    codes = np.concatenate([c.toarray() for c in codes_of(model, sae, list(samples))])
    features = si.FeatureMatrix(codes, samples, sae=sae)
    feature = int(codes.sum(0).argmax())
    found = ablation_effect(model, features, feature, n_samples=2, n_random=2)
    best = np.argsort(-features.max_per_sample().toarray()[:, feature], kind="stable")[:2]
    wanted = si.ablate(model, features, samples.subset(best), feature).divergence
    assert isinstance(found, dict) and found["kl"] == pytest.approx(wanted, rel=1e-4)
    assert found["n_samples"] == 2 and found["times_random"] == pytest.approx(
        found["kl"] / found["kl_random"]
    )
    assert ablation_effect(model, features, feature, n_samples=2, n_random=2) == found
    quiet = si.FeatureMatrix(np.zeros_like(codes), samples, sae=sae)
    assert ablation_effect(model, quiet, 3) == "feature 3 never fires"
    assert ablation_effect(model, si.FeatureMatrix(codes, samples), 3) == "the codes are without their SAE"
    assert ablation_effect(object(), features, 3) == "the model gives no scores over a vocabulary"
    held = si.FeatureMatrix(codes, si.Samples(list("abcd"), lengths=samples.lengths), sae=sae)
    assert ablation_effect(model, held, 3) == "the samples' data are not held"
