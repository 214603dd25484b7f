"""Choose features on training families, and measure them once on held-out ones.

Nothing of size features x concepts is held but the training F1 and its threshold (12 bytes a pair); the pairs
that are kept are measured some at a time, so that all of them can be asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sciinterp.association.background import matched_lifts, strata_of
from sciinterp.association.baselines import Baseline
from sciinterp.association.bootstrap import FamilyCounts, count_pairs, f1_score, ratio
from sciinterp.association.domains import instance_recall, instances_of
from sciinterp.association.partitions import Part, Parts
from sciinterp.association.ranking import fit_pairs, score_pairs
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.by_feature import ByFeature, by_feature

# Features of the nearest density among which the median one stands for "a feature that fires as often".
_SAME_DENSITY = 21
# Counts (of pairs by families, or by strata of a background) held at once.
_CELLS = 1 << 24


@dataclass(frozen=True, eq=False)
class Chosen:
    """Pairs chosen in training, one row each, and what measures them.

    Attributes
    ----------
    pairs : DataFrame
        ``feature concept selected f1_train threshold``, concept by concept, the best first.
    density : Baseline
        A feature that fires about as often as the selected one.
    """

    pairs: pd.DataFrame
    density: Baseline
    features: FeatureMatrix
    parts: Parts
    codes: ByFeature
    instances: pd.DataFrame

    def measured(self) -> Iterator[tuple[pd.DataFrame, FamilyCounts]]:
        """Held-out effects of the pairs and their counts by family, some rows at a time."""
        strata = strata_of(self.features.samples, self.parts.train, self.parts.test)
        widest = max(self.parts.test.n_families, *(len(np.unique(s)) for s in strata.values()))
        step = max(1, _CELLS // max(1, widest))
        for low in range(0, len(self.pairs), step):
            yield self._measure(self.pairs.iloc[low : low + step].reset_index(drop=True), strata)

    def _measure(
        self, pairs: pd.DataFrame, strata: dict[str, np.ndarray]
    ) -> tuple[pd.DataFrame, FamilyCounts]:
        test, codes = self.parts.test, self.codes
        feature, concept = pairs["feature"].to_numpy(), pairs["concept"].to_numpy()
        counts = count_pairs(codes, test, feature, concept, pairs["threshold"].to_numpy())
        tp, predicted, positive = (x.sum(axis=1) for x in (counts.tp, counts.predicted, counts.positive))
        known = positive > 0
        pairs["precision"], pairs["recall"] = ratio(tp, predicted), ratio(tp, positive)
        pairs["f1"] = np.where(known, f1_score(tp, predicted, positive), np.nan)
        ap, pairs["auroc"] = score_pairs(codes, test.positives, feature, concept)
        pairs["average_precision"] = np.where(known, ap, np.nan)
        pairs["prevalence"], pairs["n_positive"] = positive / max(1, test.n_positions), positive
        listed = {"feature": feature, "concept": concept, "threshold": pairs["threshold"].to_numpy()}
        for name, lift in matched_lifts(codes, test, listed, strata).items():
            pairs["lift" if name == "all" else f"lift_{name}"] = lift
        lengths = self.features.samples.lengths[test.samples]
        pairs["instance_recall"], pairs["instance_recall_iou"] = instance_recall(
            codes, test, self.instances, pairs, lengths
        )
        return pairs, counts


def choose(features: FeatureMatrix, parts: Parts, instances: pd.DataFrame, *, n_kept: int | None) -> Chosen:
    """The feature and threshold of each concept with the best F1 in training, and the strongest others.

    Parameters
    ----------
    features : FeatureMatrix
    parts : Parts
    instances : DataFrame
        ``concept`` (number within `parts`), ``start``, ``end``, ``sample`` on the axis of all samples.
    n_kept : int or None
        Features kept for each concept, the selected one among them; None keeps all.
    """
    f1, threshold = fit_pairs(features.codes[parts.train.rows], parts.train.by_position)
    codes = by_feature(features.codes[parts.test.rows])
    pairs = _pairs(f1, threshold, parts.train.by_position.n_positive, n_kept)
    of_test = instances_of(instances, features.samples, parts.test)
    density = _same_density(f1, threshold, codes, parts.test)
    return Chosen(pairs, density, features, parts, codes, of_test)


def _pairs(f1: np.ndarray, threshold: np.ndarray, n_positive: np.ndarray, n_kept: int | None) -> pd.DataFrame:
    """The best feature of each concept by F1 in training, and the next ones."""
    n_features, n_concepts = f1.shape
    kept: int = n_features if n_kept is None else min(n_features, n_kept)
    feature = np.empty((n_concepts, kept), np.int64)
    step = max(1, (1 << 24) // max(1, n_features))
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
            "threshold": threshold[feature, concept].astype(np.float64),
        }
    )
    carried = n_positive[concept] > 0
    return pairs[carried & (pairs["selected"] | (pairs["f1_train"] > 0))].reset_index(drop=True)


def _same_density(f1: np.ndarray, threshold: np.ndarray, codes: ByFeature, test: Part) -> Baseline:
    """Of the features that fire about as often as the selected one, the median by F1 in training."""
    n_features, n_concepts = f1.shape
    concepts, selected = np.arange(n_concepts), np.argmax(f1, axis=0)
    density = np.log(np.maximum(np.diff(codes.starts) / max(1, test.n_positions), 1e-12))
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
    counts = count_pairs(codes, test, chosen, concepts, threshold[chosen, concepts])
    return Baseline("density", f1[chosen, concepts], counts, [f"feature {j}" for j in chosen])
