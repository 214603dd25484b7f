"""Worlds of association: what is said to be unrelated shares nothing but families, and what is planted is there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from sciinterp.trust.association_worlds import (
    CARRIED,
    LOST,
    SLOT,
    SLOTS,
    Collection,
    planted,
    rivals,
    rotated,
    true_f1,
    unrelated,
)

SMALL = Collection(n_families=20, n_features=6, n_concepts=4)


def spans(world):
    return world.annotations.frame[["sample", "start", "end", "concept"]]


def carried(world) -> pd.DataFrame:
    """How many samples of each family carry each concept."""
    family = world.features.samples.table["family"]
    frame = world.annotations.frame
    return pd.crosstab(family[frame["sample"]].to_numpy(), frame["concept"])


@pytest.mark.parametrize("copies", [1, 3])
def test_features_do_not_know_the_concepts(copies):
    """Each is drawn from its own stream: with other concepts the codes are the same, and the other way round."""
    one = unrelated(0, replace(SMALL, copies=copies))
    other = unrelated(0, replace(SMALL, copies=copies, span=20.0, n_concepts=7))
    assert (one.features.codes != other.features.codes).nnz == 0
    assert not spans(one).equals(spans(other))
    third = unrelated(0, replace(SMALL, copies=copies, run=20.0))
    assert spans(one).equals(spans(third))
    assert (one.features.codes != third.features.codes).nnz > 0


@pytest.mark.parametrize(
    "world", [unrelated(1, SMALL), rotated(1), planted(1, SMALL, n_carriers=6, recall=0.8)]
)
def test_worlds_are_well_formed_and_come_again(world):
    samples = world.features.samples
    lengths = samples.lengths[[samples.index(s) for s in spans(world)["sample"]]]
    assert (spans(world)["start"] >= 0).all() and (spans(world)["end"] <= lengths).all()
    parts = [set(world.split.families(p)) for p in ("train", "test")]
    assert parts[0] and parts[1] and not parts[0] & parts[1]
    again = {True: planted(1, SMALL, n_carriers=6, recall=0.8), False: unrelated(1, SMALL)}
    if len(samples) == len(again[bool(world.planted)].features.samples):
        same = again[bool(world.planted)]
        assert spans(world).equals(spans(same)) and (world.features.codes != same.features.codes).nnz == 0


def test_sizes_and_lengths_are_those_asked_for():
    world = unrelated(0, Collection(members=(1, 80)))
    size = np.bincount(world.split.family)
    lengths = world.features.samples.lengths
    assert size.min() >= 1 and size.max() <= 80 and size.max() > 10 * size.min()
    assert lengths.min() >= 57 and lengths.max() <= 630 and lengths.max() > 6 * lengths.min()
    alone = unrelated(0, Collection(n_families=300, members=(1, 1)))
    assert len(alone.features.samples) == len(np.unique(alone.split.family)) == 300


def test_activity_and_carriage_both_grow_with_length():
    """The trap: length alone makes a feature and a concept go together."""
    world = unrelated(0, Collection(n_families=300, members=(1, 1)))
    samples = world.features.samples
    activity = world.features.max_per_sample().toarray()
    carries = np.zeros((len(samples), 12))
    frame = spans(world)
    carries[[samples.index(s) for s in frame["sample"]], pd.factorize(frame["concept"], sort=True)[0]] = 1
    for column in (*activity.T, *carries.T):
        assert spearmanr(column, samples.lengths).statistic > 0.05


def test_copies_are_nearly_the_same():
    codes = unrelated(0, Collection(copies=4)).features.codes.toarray()
    like = np.corrcoef(codes.T)
    groups = np.repeat(np.arange(6), 4)
    same = groups[:, None] == groups
    assert like[same].min() > 0.85 and like[~same].max() < 0.3


def test_rare_concepts_are_in_three_to_six_families():
    number = (carried(unrelated(0, Collection(carriers=(3, 6)))) > 0).sum()
    assert len(number) == 12 and number.between(3, 6).all()


def test_runs_are_as_long_as_asked():
    def mean_span(world):
        return float((spans(world)["end"] - spans(world)["start"]).mean())

    assert mean_span(unrelated(0, Collection(span=40.0))) > 3 * mean_span(unrelated(0, Collection()))


def test_what_is_planted_is_read():
    world = planted(0, Collection(), n_carriers=15, recall=0.8)
    positives = world.annotations.positives(world.features.samples).toarray()
    assert len(world.planted) == 4
    for concept, feature in world.planted.items():
        c = world.annotations.position_names.index(concept)
        active = world.features.column(feature) > 0
        assert (carried(world)[concept] > 0).sum() == 15
        assert (active & positives[:, c]).sum() / positives[:, c].sum() == pytest.approx(0.8, abs=0.15)
        assert (active & positives[:, c]).sum() / active.sum() > 0.5


def test_rotation_keeps_families_and_takes_places():
    """The readers fire in families that carry the concept, and no longer where it is said to be."""
    world = rotated(0)
    positives = world.annotations.positives(world.features.samples).toarray()
    carries, family = carried(world), world.split.position_family(world.features.samples)
    met, chance, kept = [], [], []
    for c, concept in enumerate(world.annotations.position_names):
        active = world.features.column(c) > 0
        fires = np.unique(family[active])
        has = carries[concept][carries[concept] > 0].index
        kept.append(np.isin([f"F{f}" for f in fires], has).mean())
        met.append((active & positives[:, c]).sum() / active.sum())
        share = positives[:, c][np.isin(family, fires)].mean()
        chance.append(share)
    assert np.mean(kept) > 0.8
    assert np.mean(met) < 4 * np.mean(chance) and np.mean(met) < 0.15


def test_slots_of_rivals_are_exchangeable():
    """Marked, found and common shares of feature and rival agree; F1 over many families is the stated one."""
    marked, found, f1 = ([] for _ in range(3))
    for seed in range(3):
        world = rivals(seed, n_test=300, n_concepts=6, n_train=10, n_rivals=1)
        truth = world.annotations.positives(world.features.samples).toarray()
        for reader in (world.features, world.rivals[0]):
            codes = reader.codes.toarray() > 0
            marked.append(codes.mean(0))
            found.append((codes & truth).sum(0) / truth.sum(0))
            f1.append(2 * (codes & truth).sum(0) / (codes.sum(0) + truth.sum(0)))
        assert truth.mean() == pytest.approx(CARRIED * (1 - LOST), rel=0.1)
    f1 = np.array(f1)
    stated = [world.truth[name] for name in world.annotations.position_names]
    assert np.abs(f1.mean(0) - stated).max() < 0.03
    assert np.abs(np.mean(marked[::2]) - np.mean(marked[1::2])) < 0.004
    assert np.abs(np.mean(found[::2]) - np.mean(found[1::2])) < 0.03


def test_leading_features_lead():
    world = rivals(0, n_test=40, n_rivals=2, lead=6)
    truth = world.annotations.positives(world.features.samples).toarray()
    assert len(world.leading) == 6 and len(world.rivals) == 2
    assert world.features.n_positions == len(world.features.samples) * SLOT * SLOTS
    for name in world.leading:
        c = world.planted[name]
        overlap = [(r.codes.toarray()[:, c] > 0)[truth[:, c]].mean() for r in (world.features, *world.rivals)]
        assert overlap[0] > 1.5 * max(overlap[1:])


@pytest.mark.parametrize("strength", [0.4, 0.6, 0.85])
def test_true_f1_is_that_of_its_shares(strength):
    carried = CARRIED * (1 - LOST)
    false = (1 - carried) / 28
    assert true_f1(strength) == pytest.approx(
        2 * carried * strength / (carried * strength + false + carried), rel=1e-12
    )
