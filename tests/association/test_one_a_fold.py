"""One dictionary a fold: judged as the shared one is, whatever its features are numbered."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from test_crossfit import World

from sciinterp.association.one_a_fold import one_a_fold, without_fold
from sciinterp.association.partitions import deal
from sciinterp.codes import FeatureMatrix


def dense(features: FeatureMatrix) -> np.ndarray:
    return features.by_feature(0, features.n_features).to_csc().toarray()


def cross_fitted(codes: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> float:
    """F1 of all folds together, each by the feature and the value that are best on the others.

    Thresholds lie between values, so that a few positions may be called differently.
    """
    called = np.zeros(len(truth), bool)
    for k in np.unique(fold):
        best = (-1.0, 0, 0.0)
        for j, value in enumerate(codes[fold != k].T):
            order = np.argsort(-value)[: (value > 0).sum()]
            hit = truth[fold != k][order].cumsum()
            f1 = 2 * hit / (np.arange(1, len(order) + 1) + truth[fold != k].sum())
            best = max(best, (f1.max(), j, value[order][f1.argmax()]))
        called[fold == k] = codes[fold == k, best[1]] >= best[2]
    return 2 * (called & truth).sum() / (called.sum() + truth.sum())


def test_another_numbering_of_the_same_dictionary_is_worth_the_same() -> None:
    world = World(0)
    codes, fold = dense(world.features), deal(world.split)
    own = [
        FeatureMatrix(sp.csr_array(np.roll(codes, k, axis=1)), world.samples) for k in range(fold.max() + 1)
    ]
    found = one_a_fold(world.features, own, world.annotations, world.split, fold)
    expected = [
        cross_fitted(codes, world.truth[:, c], np.repeat(fold, world.samples.lengths)) for c in (0, 1)
    ]
    assert np.allclose(found.set_index("concept").loc[["c0", "c1"], "f1_shared"], expected, atol=0.01)
    assert np.allclose(found["f1_own"], found["f1_shared"])
    assert (found["low"] <= 0).all() and (found["high"] >= 0).all()
    assert found.context["difference"] == 0


def test_what_a_dictionary_knows_of_the_families_it_saw_is_found() -> None:
    """A dictionary that forgets a concept in the families of its fold: none of it is left."""
    world = World(1)
    codes, fold = dense(world.features), deal(world.split)
    position = np.repeat(fold, world.samples.lengths)
    own = []
    for k in range(fold.max() + 1):
        blind = codes.copy()
        blind[position == k, 0] = 0
        own.append(FeatureMatrix(sp.csr_array(blind), world.samples))
    found = one_a_fold(world.features, own, world.annotations, world.split, fold).set_index("concept")
    assert found.loc["c0", "f1_own"] < 0.2 < found.loc["c0", "f1_shared"] and found.loc["c0", "low"] > 0
    assert found.loc["c1", "difference"] == 0


def test_no_family_trains_the_dictionary_that_it_judges() -> None:
    world = World(2)
    fold = deal(world.split)
    for k in range(fold.max() + 1):
        split = without_fold(world.split, fold, k)
        parts = [set(split.families(part)) for part in ("train", "calibration", "test")]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 18 and all(parts)
