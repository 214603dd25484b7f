"""What must not matter to hits: names, scales, orders, silent company; and what must, by exactly as much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from sciinterp.annotations import Annotations
from sciinterp.association import AssociationSettings, associate, domain_adjusted_f1, family_f1
from sciinterp.association.fitting import BaselineSettings
from sciinterp.association.splitting import splitting
from sciinterp.association.statistics import ScreenSettings
from sciinterp.codes import FeatureMatrix
from sciinterp.samples import Samples, Split
from sciinterp.splits import split_families

N_FAMILIES, MEMBERS, LENGTH, N_FEATURES = 16, 2, 24, 7
PLAIN = AssociationSettings(
    folds=1,
    strongest=None,
    sets=(1, 2),
    set_draws=2,
    screen=ScreenSettings(n_permutations=99),
    baselines=BaselineSettings(n_components=3),
)
# A permutation's own p-value depends on which are drawn; where draws follow the order, it is not compared.
DRAWN = ["p_family"]


class World:
    """Families of two; feature ``c`` reads concept ``c`` in part, and its activations are continuous: no ties."""

    def __init__(self) -> None:
        rng = np.random.default_rng(11)
        n = N_FAMILIES * MEMBERS
        self.family = np.repeat([f"f{i:02d}" for i in range(N_FAMILIES)], MEMBERS)
        self.sequences = ["".join(rng.choice(list("ACDEFGHIKL"), LENGTH)) for _ in range(n)]
        self.ids = [f"s{i:02d}" for i in range(n)]
        truth = np.zeros((n, LENGTH, 3), bool)
        for c in range(3):
            carrying = np.isin(np.arange(n) // MEMBERS, rng.permutation(N_FAMILIES)[:9])
            at = np.repeat(rng.integers(0, LENGTH - 4, N_FAMILIES), MEMBERS)
            for i in np.flatnonzero(carrying):
                truth[i, at[i] : at[i] + 4, c] = True
        dense = rng.random((n, LENGTH, N_FEATURES)) * (rng.random((n, LENGTH, N_FEATURES)) < 0.15)
        dense[:, :, :3] += truth * (rng.random(truth.shape) < 0.7) * (1 + rng.random(truth.shape))
        self.truth, self.dense = truth, dense.astype(np.float32)
        self.acts = rng.normal(size=(n, LENGTH, 5)).astype(np.float32)
        self.acts[:, :, 1] += 2 * truth[:, :, 1]

    def of(self, order=None, columns=None, scale=1.0, copies=1, names=("a", "b", "c"), prefix="s"):
        """Features, annotations, split and activations, with samples or features in another order, or scaled."""
        order = np.arange(len(self.ids)) if order is None else order
        columns = np.arange(N_FEATURES) if columns is None else columns
        order = np.tile(order, copies)
        ids = [f"{prefix}{self.ids[i]}.{k // len(self.ids)}" for k, i in enumerate(order)]
        table = pd.DataFrame({"family": self.family[order]})
        samples = Samples(ids, [self.sequences[i] for i in order], table=table)
        codes = self.dense[order][:, :, columns].reshape(-1, len(columns)) * np.float32(scale)
        sample, start, concept = np.nonzero(self.truth[order])
        frame = {"sample": np.array(ids)[sample], "start": start, "end": start + 1}
        annotations = Annotations(pd.DataFrame(frame | {"concept": np.array(names, object)[concept]}))
        split = split_families(samples, by="family", seed=2)
        return (
            FeatureMatrix(sp.csr_array(codes), samples),
            annotations,
            split,
            self.acts[order].reshape(-1, 5),
        )


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def plain(world):
    return run(*world.of())


def run(features, annotations, split, acts):
    return associate(features, annotations, split=split, acts=acts, settings=PLAIN)


def same(one, other, *, but=(), rtol=1e-5):
    """Tables hold the same, row by row of (concept, feature), columns `but` some."""
    by = ["concept", "feature"]
    left, right = (
        pd.DataFrame(t).drop(columns=list(but)).sort_values(by).reset_index(drop=True) for t in (one, other)
    )
    pd.testing.assert_frame_equal(left, right, rtol=rtol, atol=1e-6)


def same_sets(one, other):
    by = ["concept", "reader", "rule", "k"]
    left, right = (t.drop(columns="units").sort_values(by).reset_index(drop=True) for t in (one, other))
    pd.testing.assert_frame_equal(left, right, rtol=1e-5, atol=1e-6)


def test_features_in_another_order_are_the_same_features(world, plain):
    columns = np.random.default_rng(3).permutation(N_FEATURES)
    other = run(*world.of(columns=columns))
    other["feature"] = columns[other["feature"]]
    same(other, plain)
    same_sets(other.context["sets"], plain.context["sets"])


@pytest.mark.parametrize("scale", [0.25, 64.0])
def test_codes_on_another_scale_move_the_threshold_and_nothing_else(world, plain, scale):
    other = run(*world.of(scale=scale))
    np.testing.assert_allclose(other["threshold"], plain["threshold"] * scale, rtol=1e-6)
    same(other, plain, but=["threshold"])
    same_sets(other.context["sets"], plain.context["sets"])


def test_samples_in_another_order_say_the_same(world, plain):
    order = np.random.default_rng(4).permutation(N_FAMILIES * MEMBERS)
    other = run(*world.of(order=order))
    same(other, plain, but=DRAWN)
    by = ["concept", "baseline"]
    left, right = (
        t.context["baselines"].drop(columns="detail").sort_values(by).reset_index(drop=True)
        for t in (other, plain)
    )
    pd.testing.assert_frame_equal(left, right, rtol=1e-4, atol=1e-4)


def test_names_of_samples_and_concepts_are_names(world, plain):
    other = run(*world.of(names=("x", "y", "z"), prefix="another "))
    other["concept"] = other["concept"].map({"x": "a", "y": "b", "z": "c"})
    same(other, plain)


def test_relatives_that_say_it_again_add_positions_and_no_certainty(world, plain):
    """Every sample twice, in its own family: twice the positives, and the same shares, intervals and tests of families."""
    other = run(*world.of(copies=2))
    mine = plain.sort_values(["concept", "feature"]).reset_index(drop=True)
    twice = other.sort_values(["concept", "feature"]).reset_index(drop=True)
    assert twice["n_positive"].tolist() == (2 * mine["n_positive"]).tolist()
    kept = [
        "threshold",
        "precision",
        "recall",
        "f1",
        "f1_low",
        "f1_high",
        "average_precision",
        "auroc",
        "prevalence",
    ]
    kept += ["n_test_families", "n_test_families_effective", "n_families", "instance_recall", "lift"]
    pd.testing.assert_frame_equal(twice[kept], mine[kept], rtol=1e-6, atol=1e-9)


def test_a_feature_that_is_never_active_changes_nothing_of_the_others(world, plain):
    features, *rest = world.of()
    wider = sp.hstack(
        [features.codes, sp.csr_array((features.n_positions, 1), dtype=np.float32)], format="csr"
    )
    other = run(FeatureMatrix(sp.csr_array(wider), features.samples), *rest)
    silent = other[other["feature"] == N_FEATURES]
    assert not silent["selected"].any()
    others = other[other["feature"] < N_FEATURES]
    same(others, plain, but=DRAWN)


def test_a_further_concept_moves_only_what_is_over_all_pairs(world, plain):
    features, annotations, split, acts = world.of()
    frame = annotations.frame
    extra = frame[frame["concept"] == "a"].assign(concept="d", start=0, end=3)
    other = run(features, Annotations(pd.concat([frame, extra])), split, acts)
    over_all = ["q", "q_presence", "q_place", "q_above", "p_family", "explained_by"]
    same(other[other["concept"] != "d"], plain, but=over_all)


def test_a_split_by_other_names_of_the_same_families_is_the_same_split(world, plain):
    features, annotations, split, acts = world.of()
    renamed = replace(split, family_names=tuple(f"another {name}" for name in split.family_names))
    same(run(features, annotations, renamed, acts), plain)


def test_samples_of_no_part_are_read_by_nobody_but_the_tests_of_families(world):
    """Effects are those of the split's parts: samples in none may carry anything."""
    features, annotations, split, acts = world.of()
    left_out = split.calibration
    assert len(left_out)
    dense = world.dense.copy()
    dense[left_out] = dense[left_out][:, ::-1]
    flipped = FeatureMatrix(sp.csr_array(dense.reshape(-1, N_FEATURES)), features.samples)
    columns = [
        "f1_train",
        "threshold",
        "precision",
        "recall",
        "f1",
        "f1_low",
        "delta_low",
        "average_precision",
    ]
    one, other = (run(f, annotations, split, acts) for f in (features, flipped))
    pd.testing.assert_frame_equal(pd.DataFrame(one)[columns], pd.DataFrame(other)[columns])


@pytest.mark.parametrize("score", [domain_adjusted_f1, family_f1, splitting])
def test_scores_of_earlier_work_know_neither_order_nor_scale(world, plain, score):
    def scored(hits, features, annotations, split, _):
        given = (hits,) if score is splitting else ()
        return score(features, annotations, *given, split=split)

    expected = scored(plain, *world.of())
    order = np.random.default_rng(6).permutation(N_FAMILIES * MEMBERS)
    moved = world.of(order=order)
    pd.testing.assert_frame_equal(scored(run(*moved), *moved), expected, rtol=1e-6)
    larger = world.of(scale=8.0)
    found = scored(run(*larger), *larger)
    if score is family_f1:  # its thresholds are on codes as they are
        found["threshold"] /= 8
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6)


def test_one_family_on_each_side_gives_numbers_and_no_intervals(world):
    features, annotations, split, acts = world.of()
    one = Split(
        np.arange(2), np.zeros(0, int), np.arange(2, 4), family=split.family, family_names=split.family_names
    )
    carried = annotations.frame[annotations.frame["sample"].isin(features.samples.ids[:4])]
    hits = run(features, Annotations(carried), one, acts)
    assert hits["f1_low"].isna().all()
    assert hits["delta_low"].isna().all()
    assert set(hits["explained_by"]) <= {"too few families", "not tested"}
    assert hits["f1_train"].between(0, 1).all()


def test_one_feature_is_enough(world, plain):
    """Alone it is what it was among others: its density has no neighbours, its sets one size."""
    features, *rest = world.of(columns=np.array([1]))
    hits = run(features, *rest)
    mine = plain[plain["feature"] == 1]
    kept = ["concept", "f1_train", "threshold", "precision", "recall", "f1", "average_precision", "auroc"]
    for row in hits.itertuples():
        before = mine[mine["concept"] == row.concept]
        if len(before):
            for name in kept[1:]:
                assert getattr(row, name) == pytest.approx(before.iloc[0][name], nan_ok=True)
    assert set(hits.context["sets"].query("reader == 'features' and rule == 'weighted'")["k"]) == {1}
