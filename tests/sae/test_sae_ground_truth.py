"""Ground truth: worlds are what they say, measures are right where the answer is known, the benchmark resumes."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from sciinterp.errors import InputError, MismatchError
from sciinterp.sae.base import ThresholdSAE, TopKSAE
from sciinterp.sae.dictionary_benchmark import CONTESTANTS, GroundTruthSettings, benchmark_dictionary
from sciinterp.sae.ground_truth import WORLDS, World, make_rows, measure_recovery
from sciinterp.sae.settings import FROZEN

SMALL = World("small", "", d=16, n_true=16, l0=2)


def oracle(truth, *, k=None, scale=1.0):
    """A dictionary that has the true directions (which must be orthogonal)."""
    directions = torch.from_numpy(truth.directions)
    n, d = directions.shape
    zero, at = torch.zeros(n), torch.zeros(d)
    if k:
        return TopKSAE(directions.T * scale, zero, directions, at, k=k)
    return ThresholdSAE(directions.T * scale, zero, directions, at, threshold=torch.full((n,), 1e-4))


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_a_world_is_what_it_says(world):
    truth, n = make_rows(world, 20_000, seed=1), 20_000
    counts = np.diff(truth.values.tocsc().indptr)
    assert np.allclose(np.linalg.norm(truth.directions, axis=1), 1, atol=1e-5)
    assert (truth.circle >= 0).sum() == 2 * world.circles
    assert (truth.values[:, truth.circle < 0].data > 0).all()
    free = (truth.parent < 0) & (truth.circle < 0)
    l0 = counts[free].sum() / n + counts[truth.circle >= 0].sum() / 2 / n
    assert l0 == pytest.approx(world.l0, rel=0.15)
    dense = truth.values.toarray() != 0
    for child in np.flatnonzero(truth.parent >= 0)[:20]:
        assert not (dense[:, child] & ~dense[:, truth.parent[child]]).any()
    if world.circles:
        first = dense[:, truth.circle == 0]
        assert (first.any(1) == first.all(1)).all()
    if world.tail:
        assert np.sort(counts[free])[-5:].mean() > 5 * np.median(counts[free])
    again = make_rows(world, 20_000, seed=1)
    assert np.array_equal(truth.x, again.x)
    if not world.noise:
        assert np.allclose(truth.values @ truth.directions, truth.x, atol=1e-5)


def test_topics_bring_features_together_and_leave_frequencies():
    plain, topics = (make_rows(World("t", "", n_true=64, topics=t), 40_000) for t in (0, 8))
    for truth in (plain, topics):
        assert np.diff(truth.values.tocsc().indptr).mean() / 40_000 == pytest.approx(8 / 64, rel=0.05)
    strongest = [
        np.sort(np.corrcoef((t.values.toarray() > 0).T)[~np.eye(64, dtype=bool)])[-50:].mean()
        for t in (plain, topics)
    ]
    assert strongest[1] > strongest[0] + 0.1


def test_the_true_dictionary_finds_everything_and_a_random_one_nothing():
    truth = make_rows(SMALL, 4000)
    found = measure_recovery(oracle(truth), truth)
    assert found["recall"] == found["precision"] == found["splitting"] == 1
    assert found["false"] == found["dead"] == 0
    assert found["cosine"] == pytest.approx(1, abs=1e-5)
    assert found["shrinkage"] == pytest.approx(0, abs=1e-4)
    assert found["probing"] > 0.99
    assert found["fve"] > 0.999
    other = make_rows(SMALL, 10, seed=9)
    random = measure_recovery(oracle(other), truth)
    assert random["recall"] <= 0.1
    assert random["probing"] < 0.7


def test_shrinkage_and_absorption_are_those_that_were_built_in():
    truth = make_rows(SMALL, 4000)
    assert measure_recovery(oracle(truth, scale=0.7), truth)["shrinkage"] == pytest.approx(0.3, abs=0.01)
    nested = make_rows(replace(SMALL, children=0.25), 4000, seed=2)
    child = int(np.flatnonzero(nested.parent >= 0)[0])
    whole = oracle(nested)
    assert measure_recovery(whole, nested)["absorption"] == pytest.approx(0, abs=1e-6)
    parent = nested.parent[child]
    eaten = oracle(nested)
    eaten._encoder[parent] -= 50 * torch.from_numpy(
        nested.directions[child]
    )  # the parent is silent under its child
    only = replace_parents(nested, keep=child)
    assert measure_recovery(eaten, only)["absorption"] == pytest.approx(1, abs=0.02)


def replace_parents(truth, *, keep):
    parent = np.where(np.arange(len(truth.parent)) == keep, truth.parent, -1)
    return replace(truth, parent=parent)


def test_directions_within_the_plane_of_a_circle_are_not_false():
    truth = make_rows(World("circles", "", d=16, n_true=16, l0=2, circles=8), 2000)
    found = measure_recovery(
        oracle(truth), replace(truth, circle=np.where(truth.circle == 0, -1, truth.circle))
    )
    assert found["precision"] == 1
    assert found["false"] == 0


def test_the_benchmark_resumes_and_refuses_other_settings(tmp_path):
    few = GroundTruthSettings(rows=2048, held_out=1024, steps=5, batch_size=256)
    tables = benchmark_dictionary(worlds=[SMALL], seeds=(0, 1), settings=few, out=tmp_path)
    assert tables["recovery"]["dictionary"].tolist() == 2 * [
        *CONTESTANTS,
        *(f"topk, frozen {p}" for p in FROZEN),
    ]
    assert tables["seeds"]["world"].tolist() == ["small"]
    assert len(list((tmp_path / "saes" / "small-0").glob("*/*/metrics.json"))) == 14
    (tmp_path / "small-1.json").unlink()  # its dictionaries are there still
    again = benchmark_dictionary(worlds=[SMALL], seeds=(0, 1), settings=few, out=tmp_path)
    assert again["recovery"].equals(tables["recovery"])
    with pytest.raises(MismatchError, match="other settings"):
        benchmark_dictionary(worlds=[SMALL], settings=replace(few, steps=6), out=tmp_path)


def test_a_world_that_cannot_be_is_refused():
    with pytest.raises(InputError, match="cannot be made"):
        World("none", "", n_true=4, l0=8)


# A folder that keeps worlds and seeds that are done, so that the slow tests can be stopped and run again.
WORLDS_DONE = os.environ.get("SCIINTERP_WORLDS")
SEEDS = (0, 1, 2)


@pytest.mark.slow
def test_every_architecture_finds_the_easy_world():
    found = benchmark_dictionary(worlds=WORLDS[:1], seeds=SEEDS, out=WORLDS_DONE)["summary"].set_index(
        "dictionary"
    )
    assert (found.loc[list(CONTESTANTS), "recall"] >= 0.95).all()
    assert (found.loc[[f"topk, frozen {part}" for part in FROZEN], "recall"] < 0.2).all()


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS[1:], ids=lambda world: world.name)
def test_seeds_agree_on_which_architecture_finds_more(world):
    found = benchmark_dictionary(worlds=[world], seeds=SEEDS, out=WORLDS_DONE)["seeds"]
    assert found["rank_correlation"].item() >= 0.8
