"""Choose features on training families, and measure them once on held-out ones.

Nothing of size features x concepts is held but the training F1 and its threshold (12 bytes a pair). Codes are read a
block of features at a time, once to choose and once to measure, and pairs are measured some at a time, so that all
of them can be asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sciinterp import distributed
from sciinterp.association.background import BACKGROUNDS, expected, strata_of
from sciinterp.association.blocks import blocks_of, count_listed, dealt_blocks
from sciinterp.association.domains import instance_recall, instances_of
from sciinterp.association.family_counts import FamilyCounts, count_pairs, f1_score, ratio
from sciinterp.association.fitting import Fitted, Inputs
from sciinterp.association.partitions import Part, Partition
from sciinterp.association.ranking import fit_pairs, score_pairs
from sciinterp.budget import ranges
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.active import only_active
from sciinterp.codes.by_feature import ByFeature

# Features of the nearest density among which the median one stands for "a feature that fires as often".
_SAME_DENSITY = 21
# What a count of a pair in a family, or in a stratum of a background, takes while all of a pair's scores are made.
_CELL_BYTES = 64
# What a pair takes while the strongest are found.
_PAIR_BYTES = 32


@dataclass(frozen=True, eq=False)
class Training:
    """What every feature scores on every concept in training."""

    features: FeatureMatrix
    f1: np.ndarray  # float64 [n_features, n_concepts]
    threshold: np.ndarray  # float32 [n_features, n_concepts]
    density: np.ndarray  # float64 [n_features]: share of held-out positions where the feature is active

    def counted(self, part: Part, feature: np.ndarray, concept: np.ndarray) -> FamilyCounts:
        """Counts of listed pairs on a part, at their training thresholds."""
        blocks = blocks_of(self.features, part, feature)
        return count_listed(blocks, part, feature, concept, self.threshold[feature, concept])


def train_pairs(features: FeatureMatrix, parts: Partition) -> Training:
    """The best F1 and its threshold of every pair in training."""
    shape = (features.n_features, parts.train.positives.shape[1])
    f1, threshold = np.zeros(shape), np.full(shape, np.inf, np.float32)
    density = np.zeros(features.n_features)
    by_position, blocks = parts.train.by_position, dealt_blocks(features)

    def scores(block: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        codes = features.by_feature(*block)
        n_active = np.diff(only_active(codes).at(parts.test.rows).starts)
        return *fit_pairs(codes.at(parts.train.rows), by_position), n_active / max(1, parts.test.n_positions)

    for (low, high), found in zip(blocks, distributed.spread(blocks, scores, threads=True)):
        f1[low:high], threshold[low:high], density[low:high] = found
    return Training(features, f1, threshold, density)


def choose(training: Training, n_positive: np.ndarray, *, n_kept: int | None) -> pd.DataFrame:
    """The feature and threshold of each concept with the best F1 in training, and the strongest others.

    Of each concept `n_kept` in all, or every one; a concept without a positive position has no pairs. ``feature
    concept selected f1_train threshold``, concept by concept, the best first.
    """
    f1, (n_features, n_concepts) = training.f1, training.f1.shape
    kept: int = n_features if n_kept is None else min(n_features, n_kept)
    feature = np.empty((n_concepts, kept), np.int64)
    for low, high in ranges(n_concepts, _PAIR_BYTES * n_features):
        order = np.argsort(-f1[:, low:high], axis=0, kind="stable")
        feature[low:high] = order[:kept].T
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


@dataclass(frozen=True, eq=False)
class Judge:
    """Test families, with what reads them: a feature and a threshold a pair, chosen on other families."""

    test: Part
    strata: dict[str, Part]  # backgrounds, see association.background
    instances: pd.DataFrame  # of the test families
    lengths: np.ndarray  # int64 [n_samples]
    feature: np.ndarray  # int64 [n_pairs]
    threshold: np.ndarray  # float32 [n_pairs]

    @classmethod
    def of(cls, training: Training, parts: Partition, pairs: pd.DataFrame, instances: pd.DataFrame) -> Judge:
        """What reads the test part for pairs of :func:`choose`: of the selected ones, what this training selects.

        Instances are ``concept`` (number within `parts`), ``start``, ``end``, ``sample`` on the axis of all
        samples.
        """
        samples, test = training.features.samples, parts.test
        concept, selected = pairs["concept"].to_numpy(), pairs["selected"].to_numpy()
        feature = pairs["feature"].to_numpy().copy()
        feature[selected] = training.f1.argmax(axis=0)[concept[selected]]
        return cls(
            test,
            strata_of(samples, parts.train, test),
            instances_of(instances, samples, test),
            samples.lengths[test.samples],
            feature,
            training.threshold[feature, concept],
        )


def agreement(judges: Sequence[Judge], pairs: pd.DataFrame) -> np.ndarray:
    """int64 [n_pairs]: the judges whose training families select the pair's feature for its concept."""
    selected = pairs["selected"].to_numpy()
    place = np.full(int(pairs["concept"].max()) + 1, -1)
    place[pairs["concept"].to_numpy()[selected]] = np.arange(int(selected.sum()))
    at = place[pairs["concept"].to_numpy()]
    return np.sum([j.feature[selected][at] == pairs["feature"].to_numpy() for j in judges], axis=0)


class _Sums:
    """What adds up over judges: counts by family, and sums that scores are ratios of."""

    def __init__(self, n_rows: int, n_families: int) -> None:
        self.tp, self.predicted = (np.zeros((n_rows, n_families), np.int64) for _ in range(2))
        self.of: dict[str, np.ndarray] = {}

    def add(self, at: np.ndarray, counts: FamilyCounts, more: dict[str, np.ndarray]) -> None:
        """Add to some rows, each named once."""
        self.tp[at] += counts.tp
        self.predicted[at] += counts.predicted
        for name, value in more.items():
            self.of.setdefault(name, np.zeros(len(self.tp)))[at] += value


def measured(
    features: FeatureMatrix, judges: Sequence[Judge], pairs: pd.DataFrame
) -> Iterator[tuple[pd.DataFrame, FamilyCounts]]:
    """Held-out effects of pairs and their counts by family, some rows at a time; the index says which rows.

    Blocks of features are dealt: each rank yields the rows of its own. Each judge measures its own families,
    which are numbered alike; counts are of all together.
    """
    feature = np.stack([judge.feature for judge in judges], axis=1)
    concept = pairs["concept"].to_numpy()
    positive = np.sum([judge.test.positive_by_family for judge in judges], axis=0)
    moving = np.flatnonzero((feature != feature[:, :1]).any(axis=1))
    n_families = judges[0].test.n_families
    n_cells = max(n_families, *(part.n_families for judge in judges for part in judge.strata.values()))
    of_moving: list[tuple[np.ndarray, FamilyCounts, dict[str, np.ndarray]]] = []
    n_positions = sum(judge.test.n_positions for judge in judges)

    def closed(rows: np.ndarray, sums: _Sums) -> tuple[pd.DataFrame, FamilyCounts]:
        counts = FamilyCounts(sums.tp, sums.predicted, positive[concept[rows]])
        return _effects(pairs.iloc[rows].copy(), counts, sums.of, n_positions), counts

    # Judges read side by side, half of the rows each time so that threads come out even; counts are added in their order.
    with ThreadPoolExecutor(distributed.workers(2 * len(judges))) as pool:
        for low, high in distributed.mine(dealt_blocks(features)):
            inside = (feature >= low) & (feature < high)
            if not inside.any():
                continue
            codes = features.by_feature(low, high)

            def reading(k: int, codes=codes, low=low, inside=inside) -> _Reading:
                judge = judges[k]
                return _Reading(judge, codes.at(judge.test.rows), low, inside[:, k], concept)

            readings = list(pool.map(reading, range(len(judges))))
            steady = np.setdiff1d(np.flatnonzero(inside.any(axis=1)), moving)
            for first, last in ranges(len(steady), _CELL_BYTES * n_cells):
                rows = steady[first:last]
                sums = _Sums(len(rows), n_families)
                parts = np.array_split(np.arange(len(rows)), min(2, len(rows)))
                asked = [(one, part) for one in readings for part in parts]
                answers = pool.map(_Reading.of, *zip(*((one, rows[part]) for one, part in asked)))
                for (_, part), found in zip(asked, answers):
                    sums.add(part, *found)
                yield closed(rows, sums)
            for k, of_judge in enumerate(readings):
                mine = np.flatnonzero(inside[moving, k])
                for first, last in ranges(len(mine), _CELL_BYTES * n_cells):
                    at = mine[first:last]
                    of_moving.append((at, *of_judge.of(moving[at])))
    if len(moving):
        sums = _Sums(len(moving), n_families)
        for part in distributed.gathered(of_moving):
            for found in part:
                sums.add(*found)
        if distributed.first():
            yield closed(moving, sums)


class _Reading:
    """One judge's readings of a block of features."""

    def __init__(
        self, judge: Judge, codes: ByFeature, low: int, inside: np.ndarray, concept: np.ndarray
    ) -> None:
        self.judge, self.block, self.low, self.concept = judge, codes, low, concept
        rows = np.flatnonzero(inside)
        self.place = np.full(len(inside), -1)
        self.place[rows] = np.arange(len(rows))
        self.scores = score_pairs(codes, judge.test.by_position, judge.feature[rows] - low, concept[rows])

    def of(self, rows: np.ndarray) -> tuple[FamilyCounts, dict[str, np.ndarray]]:
        """Counts and sums of some pairs."""
        judge, test = self.judge, self.judge.test
        listed = (judge.feature[rows] - self.low, self.concept[rows], judge.threshold[rows])
        counts = count_pairs(self.block, test, *listed)
        ap, auroc = (score[self.place[rows]] for score in self.scores)
        n_positive = counts.positive.sum(axis=1)
        ranked = n_positive * (test.n_positions - n_positive)
        number = pd.DataFrame(dict(zip(("feature", "concept", "threshold"), listed)))
        touched, found, instances = instance_recall(self.block, test, judge.instances, number, judge.lengths)
        more = {
            "ap": ap * n_positive,
            "auroc": np.where(ranked > 0, auroc, 0) * ranked,
            "ranked": ranked,
            "touched": touched,
            "found": found,
            "instances": instances,
        }
        return counts, more | {
            name: expected(self.block, stratum, *listed) for name, stratum in judge.strata.items()
        }


def _effects(
    table: pd.DataFrame, counts: FamilyCounts, sums: dict[str, np.ndarray], n_positions: int
) -> pd.DataFrame:
    """Add the scores of pairs to their table; those of several judges count by positives, or pairs of positions."""
    tp, predicted, positive = counts.sums()
    table["average_precision"] = ratio(sums["ap"], positive)
    table["auroc"] = ratio(sums["auroc"], sums["ranked"])
    table["precision"], table["recall"] = ratio(tp, predicted), ratio(tp, positive)
    table["f1"] = np.where(positive > 0, f1_score(tp, predicted, positive), np.nan)
    table["prevalence"], table["n_positive"] = positive / max(1, n_positions), positive
    for name in BACKGROUNDS:
        if name in sums:
            table["lift" if name == "all" else f"lift_{name}"] = ratio(tp, sums[name])
    table["instance_recall"] = ratio(sums["touched"], sums["instances"])
    table["instance_recall_iou"] = ratio(sums["found"], sums["instances"])
    return table


def same_density(inputs: Inputs) -> Fitted:
    """Of the features that fire about as often as the selected one, the median by F1 in training."""
    training = inputs.training
    assert training is not None  # the registry asks for it
    f1, (n_features, n_concepts) = training.f1, training.f1.shape
    concepts, selected = np.arange(n_concepts), np.argmax(f1, axis=0)
    density = np.log(np.maximum(training.density, 1e-12))
    n_near = min(_SAME_DENSITY, max(1, n_features - 1))
    chosen = np.zeros(n_concepts, np.int64)
    for low, high in ranges(n_concepts, _PAIR_BYTES * n_features):
        mine = selected[low:high]
        away = np.abs(density[None, :] - density[mine, None])
        away[np.arange(len(mine)), mine] = np.inf
        near = np.argsort(away, axis=1, kind="stable")[:, :n_near]
        ranked = np.argsort(f1[near, concepts[low:high, None]], axis=1, kind="stable")
        chosen[low:high] = near[np.arange(len(mine)), ranked[:, n_near // 2]]
    counts = training.counted(inputs.parts.test, chosen, concepts)
    return Fitted(f1[chosen, concepts], counts, [f"feature {j}" for j in chosen])
