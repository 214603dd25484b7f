"""Choose features on training families, and measure them once on held-out ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sciinterp.association.background import matched_lifts
from sciinterp.association.baselines import Baseline
from sciinterp.association.domains import instance_recall, instances_of
from sciinterp.association.effects import FamilyCounts, count_pairs, f1_score, ratio
from sciinterp.association.layout import by_feature
from sciinterp.association.parts import Parts
from sciinterp.association.ranking import PairScores, precision_recall
from sciinterp.features import FeatureMatrix

# Features of the nearest density among which the median one stands for "a feature that fires as often".
_SAME_DENSITY = 21


@dataclass(frozen=True, eq=False)
class Measured:
    """Pairs with their held-out effects, one row each, and their counts by family."""

    pairs: pd.DataFrame
    counts: FamilyCounts
    density: Baseline


def measure(
    features: FeatureMatrix, parts: Parts, instances: pd.DataFrame, *, strongest: int | None
) -> Measured:
    """Effects of the selected pair of each concept and of the strongest others.

    Parameters
    ----------
    features : FeatureMatrix
    parts : Parts
    instances : DataFrame
        ``concept`` (number within `parts`), ``start``, ``end``, ``sample`` on the axis of all samples.
    strongest : int or None
        Other features kept for each concept; None keeps all.
    """
    test = parts.test
    fitted = precision_recall(features.codes[parts.train.rows], parts.train.by_position)
    pairs = _choose(fitted, strongest)
    feature, concept = pairs["feature"].to_numpy(), pairs["concept"].to_numpy()
    codes = by_feature(features.codes[test.rows])
    counts = count_pairs(codes, test, feature, concept, pairs["threshold"].to_numpy())
    held_out = precision_recall(codes, test.by_position)
    tp, predicted, positive = (x.sum(axis=1) for x in (counts.tp, counts.predicted, counts.positive))
    known = positive > 0
    pairs["precision"], pairs["recall"] = ratio(tp, predicted), ratio(tp, positive)
    pairs["f1"] = np.where(known, f1_score(tp, predicted, positive), np.nan)
    pairs["average_precision"] = np.where(known, held_out.average_precision[feature, concept], np.nan)
    pairs["auroc"] = held_out.auroc[feature, concept]
    pairs["prevalence"], pairs["n_positive"] = held_out.prevalence[concept], positive
    listed = {"feature": feature, "concept": concept, "threshold": pairs["threshold"].to_numpy()}
    for name, lift in matched_lifts(features.samples, codes, parts.train, test, listed).items():
        pairs["lift" if name == "all" else f"lift_{name}"] = lift
    lengths = features.samples.lengths[test.samples]
    of_test = instances_of(instances, features.samples, test)
    pairs["instance_recall"], pairs["instance_recall_iou"] = instance_recall(
        codes, test, of_test, pairs, lengths
    )
    return Measured(
        pairs, counts, _same_density(fitted, codes, parts, np.diff(codes.starts) / max(1, test.n_positions))
    )


def _choose(fitted: PairScores, strongest: int | None) -> pd.DataFrame:
    """Feature and threshold by F1 in training: the best of each concept, and the next ones."""
    n_features, n_concepts = fitted.best_f1.shape
    n_kept = n_features if strongest is None else min(n_features, strongest + 1)
    order = np.argsort(-fitted.best_f1, axis=0, kind="stable")[:n_kept]
    feature, concept = order.T.reshape(-1), np.repeat(np.arange(n_concepts), n_kept)
    pairs = pd.DataFrame({
        "feature": feature, "concept": concept, "selected": np.tile(np.arange(n_kept) == 0, n_concepts),
        "f1_train": fitted.best_f1[feature, concept],
        "threshold": fitted.threshold[feature, concept].astype(np.float64),
    })  # fmt: skip
    carried = fitted.n_positive[concept] > 0
    return pairs[carried & (pairs["selected"] | (pairs["f1_train"] > 0))].reset_index(drop=True)


def _same_density(fitted: PairScores, codes, parts: Parts, density: np.ndarray) -> Baseline:
    """Of the features that fire about as often as the selected one, the median by F1 in training."""
    concepts = np.arange(fitted.best_f1.shape[1])
    selected = np.argmax(fitted.best_f1, axis=0)
    chosen = np.zeros(len(concepts), np.int64)
    for concept in concepts:
        away = np.abs(np.log(np.maximum(density, 1e-12) / max(density[selected[concept]], 1e-12)))
        away[selected[concept]] = np.inf
        near = np.argsort(away, kind="stable")[: min(_SAME_DENSITY, max(1, len(density) - 1))]
        ranked = near[np.argsort(fitted.best_f1[near, concept], kind="stable")]
        chosen[concept] = ranked[len(ranked) // 2]
    threshold = fitted.threshold[chosen, concepts]
    counts = count_pairs(codes, parts.test, chosen, concepts, threshold)
    return Baseline("density", fitted.best_f1[chosen, concepts], counts, [f"feature {j}" for j in chosen])
