"""Choose features on training families, and measure them once on held-out ones.

Nothing of size features x concepts is held but the training F1 and its threshold (12 bytes a pair). Codes are read a
block of features at a time, once to choose and once to measure, and pairs are measured some at a time, so that all
of them can be asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sciinterp.association.background import lift, strata_of
from sciinterp.association.blocks import BLOCK_VALUES, blocks_of, count_listed
from sciinterp.association.bootstrap import FamilyCounts, count_pairs, f1_score, ratio
from sciinterp.association.domains import instance_recall, instances_of
from sciinterp.association.fitting import Fitted, Inputs
from sciinterp.association.partitions import Part, Partition
from sciinterp.association.ranking import fit_pairs, score_pairs
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.active import only_active
from sciinterp.codes.by_feature import ByFeature

# Features of the nearest density among which the median one stands for "a feature that fires as often".
_SAME_DENSITY = 21
# Counts (of pairs by families, or by strata of a background) held at once.
_CELLS = 1 << 22


@dataclass(frozen=True, eq=False)
class Training:
    """What every feature scores on every concept in training.

    Attributes
    ----------
    features : FeatureMatrix
    f1 : float64 [n_features, n_concepts]
    threshold : float32 [n_features, n_concepts]
    density : float64 [n_features]
        Share of held-out positions where the feature is active.
    """

    features: FeatureMatrix
    f1: np.ndarray
    threshold: np.ndarray
    density: np.ndarray


def train_pairs(features: FeatureMatrix, parts: Partition) -> Training:
    """The best F1 and its threshold of every pair in training."""
    shape = (features.n_features, parts.train.positives.shape[1])
    f1, threshold = np.zeros(shape), np.full(shape, np.inf, np.float32)
    density = np.zeros(features.n_features)
    for low, high in features.feature_blocks(BLOCK_VALUES):
        codes = features.by_feature(low, high)
        active = only_active(codes)
        f1[low:high], threshold[low:high] = fit_pairs(codes.at(parts.train.rows), parts.train.by_position)
        n_active = np.diff(active.at(parts.test.rows).starts)
        density[low:high] = n_active / max(1, parts.test.n_positions)
    return Training(features, f1, threshold, density)


def choose(training: Training, n_positive: np.ndarray, *, n_kept: int | None) -> pd.DataFrame:
    """The feature and threshold of each concept with the best F1 in training, and the strongest others.

    Parameters
    ----------
    training : Training
    n_positive : int64 [n_concepts]
        Positive positions in training; a concept without any has no pairs.
    n_kept : int or None
        Features kept for each concept, the selected one among them; None keeps all.

    Returns
    -------
    DataFrame
        ``feature concept selected f1_train threshold``, concept by concept, the best first.
    """
    f1, (n_features, n_concepts) = training.f1, training.f1.shape
    kept: int = n_features if n_kept is None else min(n_features, n_kept)
    feature = np.empty((n_concepts, kept), np.int64)
    step = max(1, (1 << 22) // max(1, n_features))
    for low in range(0, n_concepts, step):
        order = np.argsort(-f1[:, low : low + step], axis=0, kind="stable")
        feature[low : low + step] = order[:kept].T
    feature, concept = feature.reshape(-1), np.repeat(np.arange(n_concepts), kept)
    pairs = pd.DataFrame(
        {
            "feature": feature,
            "concept": concept,
            "selected": np.tile(np.arange(kept) == 0, n_concepts),
            "f1_train": f1[feature, concept],
            "threshold": training.threshold[feature, concept].astype(np.float64),
        }
    )
    carried = n_positive[concept] > 0
    return pairs[carried & (pairs["selected"] | (pairs["f1_train"] > 0))].reset_index(drop=True)


def measured(
    features: FeatureMatrix, parts: Partition, pairs: pd.DataFrame, instances: pd.DataFrame
) -> Iterator[tuple[pd.DataFrame, FamilyCounts]]:
    """Held-out effects of pairs and their counts by family, some rows at a time; the index says which rows.

    Parameters
    ----------
    features : FeatureMatrix
    parts : Partition
    pairs : DataFrame
        From :func:`choose`.
    instances : DataFrame
        ``concept`` (number within `parts`), ``start``, ``end``, ``sample`` on the axis of all samples.
    """
    test, samples = parts.test, features.samples
    strata = strata_of(samples, parts.train, test)
    step = max(1, _CELLS // max(1, *(part.n_families for part in (test, *strata.values()))))
    mine, lengths = instances_of(instances, samples, test), samples.lengths[test.samples]
    feature = pairs["feature"].to_numpy()
    for low, codes in blocks_of(features, test, np.unique(feature)):
        rows = np.flatnonzero((feature >= low) & (feature < low + codes.n_features))
        listed = (feature[rows] - low, pairs["concept"].to_numpy()[rows])
        ranked = score_pairs(codes, test.by_position, *listed)
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            table = pairs.iloc[rows[part]].copy()
            table["average_precision"], table["auroc"] = (score[part] for score in ranked)
            counts = _effects(table, codes, low, test, strata)
            number = table.assign(feature=table["feature"] - low)
            table["instance_recall"], table["instance_recall_iou"] = instance_recall(
                codes, test, mine, number, lengths
            )
            yield table, counts


def _effects(
    table: pd.DataFrame, codes: ByFeature, low: int, test: Part, strata: dict[str, Part]
) -> FamilyCounts:
    """Add precision, recall, F1 and lifts of pairs to their table; return their counts."""
    listed = (
        table["feature"].to_numpy() - low,
        table["concept"].to_numpy(),
        table["threshold"].to_numpy().astype(np.float32),
    )
    counts = count_pairs(codes, test, *listed)
    tp, predicted, positive = (x.sum(axis=1) for x in (counts.tp, counts.predicted, counts.positive))
    known = positive > 0
    table["precision"], table["recall"] = ratio(tp, predicted), ratio(tp, positive)
    table["f1"] = np.where(known, f1_score(tp, predicted, positive), np.nan)
    table["average_precision"] = np.where(known, table["average_precision"], np.nan)
    table["prevalence"], table["n_positive"] = positive / max(1, test.n_positions), positive
    for name, stratum in strata.items():
        table["lift" if name == "all" else f"lift_{name}"] = lift(codes, stratum, *listed)
    return counts


def same_density(inputs: Inputs) -> Fitted:
    """Of the features that fire about as often as the selected one, the median by F1 in training."""
    training = inputs.training
    assert training is not None  # the registry asks for it
    f1, (n_features, n_concepts), test = training.f1, training.f1.shape, inputs.parts.test
    concepts, selected = np.arange(n_concepts), np.argmax(f1, axis=0)
    density = np.log(np.maximum(training.density, 1e-12))
    n_near = min(_SAME_DENSITY, max(1, n_features - 1))
    chosen = np.zeros(n_concepts, np.int64)
    step = max(1, (1 << 22) // max(1, n_features))
    for low in range(0, n_concepts, step):
        mine = selected[low : low + step]
        away = np.abs(density[None, :] - density[mine, None])
        away[np.arange(len(mine)), mine] = np.inf
        near = np.argsort(away, axis=1, kind="stable")[:, :n_near]
        ranked = np.argsort(f1[near, concepts[low : low + step, None]], axis=1, kind="stable")
        chosen[low : low + step] = near[np.arange(len(mine)), ranked[:, n_near // 2]]
    blocks = blocks_of(training.features, test, chosen)
    counts = count_listed(blocks, test, chosen, concepts, training.threshold[chosen, concepts])
    return Fitted(f1[chosen, concepts], counts, [f"feature {j}" for j in chosen])
