"""Cross-fitting: every family judges once, what was chosen without it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from sciinterp.annotations import Annotations
from sciinterp.association import AssociationSettings, associate
from sciinterp.association.measure import Judge, choose, train_pairs
from sciinterp.association.partitions import cross, deal, partition
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import InputError
from sciinterp.samples import Samples, Split
from sciinterp.splits import split_families

LENGTH = 40
LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))


class World:
    """Families of relatives; feature ``c`` reads concept ``c`` with some recall, the other features read nothing."""

    def __init__(self, seed, *, n_families=18, members=3, recall=(0.9, 0.6), carriers=9, n_features=12):
        rng = np.random.default_rng(seed)
        family = np.repeat(np.arange(n_families), members)
        n = len(family)
        sequences = ["".join(rng.choice(LETTERS, LENGTH)) for _ in range(n)]
        self.samples = Samples([f"s{i}" for i in range(n)], sequences, table=pd.DataFrame({"family": family}))
        truth = np.zeros((n, LENGTH, len(recall)), bool)
        dense = np.where(rng.random((n, LENGTH, n_features)) < 0.08, rng.random((n, LENGTH, n_features)), 0)
        for c, share in enumerate(recall):
            carrying = rng.permutation(n_families)[:carriers]
            start = rng.integers(0, LENGTH - 6, n_families)
            for i in np.flatnonzero(np.isin(family, carrying)):
                truth[i, start[family[i]] : start[family[i]] + 6, c] = True
            read = truth[:, :, c] & (rng.random((n, LENGTH)) < share)
            dense[:, :, c] += read * (1 + rng.random((n, LENGTH)))
        self.truth = truth.reshape(n * LENGTH, -1)
        self.features = FeatureMatrix(
            sp.csr_array(dense.reshape(n * LENGTH, -1).astype(np.float32)), self.samples
        )
        self.split = split_families(self.samples, by="family", seed=seed)
        self.annotations = annotations_of(self.truth, self.samples)


def annotations_of(truth, samples):
    at, concept = np.nonzero(truth)
    sample, start = at // LENGTH, at % LENGTH
    frame = {"sample": np.array(samples.ids)[sample], "start": start, "end": start + 1}
    return Annotations(pd.DataFrame(frame | {"concept": [f"c{c}" for c in concept]}))


def run(world, folds, split=None, **given):
    plain = AssociationSettings(folds=folds, strongest=None)
    return associate(world.features, world.annotations, split=split or world.split, settings=plain, **given)


def counted(world, rows, of_half):
    """True positives, predictions and positives of a half's row, by hand."""
    on = world.features.column(int(of_half["feature"]))[rows] > np.float32(of_half["threshold"])
    truth = world.truth[rows, int(of_half["concept"][1:])]
    return (on & truth).sum(), on.sum(), truth.sum()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 30), st.integers(2, 12))
def test_folds_hold_whole_families_alike_in_number(seed, n_families, n_folds):
    rng = np.random.default_rng(seed)
    family = np.concatenate([np.arange(n_families), rng.integers(0, n_families, 40)])
    samples = Samples(
        [f"s{i}" for i in range(len(family))], ["A" * int(k) for k in rng.integers(1, 9, len(family))]
    )
    split = split_families(samples, by=family.astype(str), seed=seed % 1000)
    if n_folds > n_families:
        with pytest.raises(InputError, match="folds: expected 2 to"):
            deal(split, n_folds)
        return
    fold = deal(split, n_folds)
    assert (fold == deal(split, n_folds)).all()
    of_family = [np.unique(fold[split.family == f]) for f in range(n_families)]
    assert all(len(k) == 1 for k in of_family)
    counts = np.bincount(np.concatenate(of_family), minlength=n_folds)
    assert counts.max() - counts.min() <= 1
    for part in ("train", "test"):  # families that trained the SAE are shared out, too
        counts = np.bincount([of_family[f][0] for f in split.families(part)], minlength=n_folds)
        assert counts.max() - counts.min() <= 1


def test_each_covered_family_is_tested_once_and_never_beside_itself():
    world = World(0)
    covered = np.ones((len(world.samples), 2), bool)
    covered[world.split.family % 3 == 0, 1] = False
    fold = deal(world.split, 4)
    for folds in cross(world.samples, sp.csr_array(world.truth), covered, world.split, fold):
        inside = np.unique(world.split.family[folds.numbers])
        tested = []
        for parts in folds:
            assert not set(parts.train.samples) & set(parts.test.samples)
            assert not set(parts.train.family) & set(parts.test.family)
            assert (parts.train.family_codes == inside).all()
            tested += [*np.unique(parts.test.family)]
        assert sorted(tested) == list(range(len(inside)))


def test_two_folds_are_two_half_splits():
    world = World(1)
    fold = deal(world.split, 2)
    none = np.zeros(0, np.int64)
    halves = []
    for k in (0, 1):
        s = world.split
        parts = (np.flatnonzero(fold != k), none, np.flatnonzero(fold == k))
        half = Split(*parts, family=s.family, family_names=s.family_names, by=s.by, lengths=s.lengths)
        halves.append(run(world, 1, split=half))
    crossed = run(world, 2)
    position_fold = fold[world.samples.position_sample()]
    chosen = [h[h["selected"]].set_index("concept", drop=False) for h in halves]
    of_row = [h.set_index(["feature", "concept"], drop=False) for h in halves]
    unlike: list[float] = []
    for row in crossed.itertuples():
        key = (row.feature, row.concept)
        both = [c.loc[row.concept] if row.selected else h.loc[key] for c, h in zip(chosen, of_row)]
        counts = [counted(world, position_fold == k, of_half) for k, of_half in enumerate(both)]
        tp, predicted, positive = np.sum(counts, axis=0)
        assert row.f1 == pytest.approx(2 * tp / (predicted + positive))
        assert (row.n_positive, row.recall) == (positive, pytest.approx(tp / positive))
        by_chance = sum(p * n / size for (_, p, n), size in zip(counts, np.bincount(position_fold)))
        assert row.lift == pytest.approx(tp / by_chance)  # within folds
        unlike.append(row.lift / (row.precision / row.prevalence))
        assert row.average_precision == pytest.approx(
            np.average([h["average_precision"] for h in both], weights=[c[2] for c in counts])
        )
        assert row.folds_agree == sum(row.feature == c.loc[row.concept, "feature"] for c in chosen)
    assert np.nanmax(np.abs(np.array(unlike) - 1)) > 0.01  # it is not precision over prevalence
    found, *parts = (
        h.context["baselines"].set_index(["concept", "baseline"]).sort_index() for h in (crossed, *halves)
    )
    of = [c.loc[found.index.get_level_values(0), "n_positive"].to_numpy() for c in chosen]
    tp = sum(p["recall"].to_numpy() * n for p, n in zip(parts, of))
    assert (found["recall"].to_numpy() * sum(of)).round(6).tolist() == tp.round(6).tolist()
    np.testing.assert_allclose(found["f1_train"], np.mean([p["f1_train"] for p in parts], axis=0))


def test_what_reads_a_fold_does_not_know_its_labels():
    world = World(2, recall=(0.4, 0.2))
    covered = np.ones((len(world.samples), 2), bool)
    fold, rng = deal(world.split, 3), np.random.default_rng(0)
    (parts,) = partition(world.samples, sp.csr_array(world.truth), covered, world.split)
    pairs = choose(train_pairs(world.features, parts), parts.train.by_position.n_positive, n_kept=None)
    none = pd.DataFrame({name: np.zeros(0, np.int64) for name in ("concept", "start", "end", "sample")})

    def judges(truth):
        (folds,) = cross(world.samples, sp.csr_array(truth), covered, world.split, fold)
        return [Judge.of(train_pairs(world.features, p), p, pairs, none) for p in folds]

    plain = judges(world.truth)
    for k in range(3):
        rows = np.flatnonzero((fold == k)[world.samples.position_sample()])
        moved = world.truth.copy()
        moved[rows] = moved[rng.permutation(rows)]
        other = judges(moved)
        assert (other[k].feature == plain[k].feature).all()
        assert (other[k].threshold == plain[k].threshold).all()
        assert any((a.threshold != b.threshold).any() for i, (a, b) in enumerate(zip(other, plain)) if i != k)


def test_labels_that_mean_nothing_are_not_found():
    auroc, fitted, judged = [], [], []
    for seed in range(4):
        world = World(seed, recall=(0.0,) * 6, n_features=60)
        chosen = run(world, 5)
        chosen = chosen[chosen["selected"]]
        auroc += [*chosen["auroc"]]
        fitted += [*chosen["f1_train"]]
        judged += [*chosen["f1"]]
        assert not (chosen["delta_low"] > 0).any()
    assert abs(np.mean(auroc) - 0.5) < 4 * np.std(auroc) / np.sqrt(len(auroc))
    assert np.mean(judged) < np.mean(fitted)


def test_all_families_judge_and_the_same_call_gives_the_same_table():
    world = World(3)
    first, second, split = run(world, 5), run(world, 5), run(world, 1)
    pd.testing.assert_frame_equal(first, second)
    assert first.context["counts"]["folds"] == 5
    assert split.context["counts"]["folds"] == 1
    chosen = first[first["selected"]].set_index("concept")
    assert chosen["n_positive"].to_dict() == {"c0": world.truth[:, 0].sum(), "c1": world.truth[:, 1].sum()}
    assert chosen["feature"].to_dict() == {"c0": 0, "c1": 1}
    assert (chosen["folds_agree"] == 5).all()
    assert (split["folds_agree"] == split["selected"]).all()
    same = ["feature", "concept", "selected", "f1_train", "threshold"]
    pd.testing.assert_frame_equal(pd.DataFrame(first[same]), pd.DataFrame(split[same]))


def test_more_folds_than_families_are_one_line():
    with pytest.raises(InputError, match=r"folds: expected 2 to 18.*got 19.*folds=1") as error:
        run(World(4), 19)
    assert "\n" not in str(error.value)
