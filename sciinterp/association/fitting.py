"""How any baseline is scored: chosen on training families, measured held out, as the features are.

A baseline is one of three things: a score for each concept (:func:`scored`), the best of many units read both ways
(:func:`best_of_units`), or the best of many sparse columns (:func:`best_column`). What reads activations is fitted
first and read afterwards (:class:`Reader`), so that one pass over the held-out activations serves all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from sciinterp.association.blocks import count_listed
from sciinterp.association.dense_scores import best_thresholds, best_unit, count_scores, read_units
from sciinterp.association.family_counts import FamilyCounts
from sciinterp.association.genes import Genes
from sciinterp.association.letters import Letters
from sciinterp.association.partitions import Part, Partition
from sciinterp.association.ranking import pair_blocks
from sciinterp.budget import SCORE_BYTES, ranges
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.by_feature import ByFeature
from sciinterp.samples import Samples
from sciinterp.settings import at_least, make_plain

if TYPE_CHECKING:
    from sciinterp.activations import Activations
    from sciinterp.association.measure import Training

# Scores of the concepts low to high: float32 [high - low, n_positions] of training and of test.
Block: TypeAlias = Callable[[int, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class BaselineSettings:
    """How baselines are fitted.

    Attributes
    ----------
    reach : int
        Letters on either side of a position that ``identity`` and ``window`` see.
    n_components : int
        Principal, and independent, components tried.
    max_fit : int
        Training positions that regressions, neurons and probe are fitted on; whole training set if smaller.
    domain : bool
        Also build profile HMMs of each concept's instances with pyhmmer, a domain tool: minutes for long
        sequences or many concepts.
    """

    reach: int = 2
    n_components: int = 64
    max_fit: int = 150_000
    domain: bool = False

    def __post_init__(self) -> None:
        make_plain(self, reach=at_least(0), n_components=at_least(1), max_fit=at_least(1))


@dataclass(frozen=True, eq=False)
class Inputs:
    """What baselines of one partition may look at."""

    samples: Samples
    parts: Partition  # concepts of one coverage, training and held-out positions
    settings: BaselineSettings = field(default_factory=BaselineSettings)
    seed: int = 0
    # Activations or ndarray [n_positions, d_in]: for neurons, components and the probe.
    acts: Activations | np.ndarray | None = None
    control: FeatureMatrix | None = None  # codes of the same recipe on randomised weights
    # Codes of dictionaries a part of which was not trained, by the part.
    twins: Mapping[str, FeatureMatrix] = field(default_factory=dict)
    # ``concept`` (number within `parts`), ``start``, ``end``, ``sample`` on the axis of all samples.
    instances: pd.DataFrame | None = None
    training: Training | None = None  # what the features scored in training
    # int64: positions whose activations give the linear axes, where they are not those of the training part:
    # folds share them.
    axes_on: np.ndarray | None = None
    # What one baseline, or fold, computes and another reads.
    kept: dict[str, object] = field(default_factory=dict)

    @cached_property
    def letters(self) -> Letters | None:
        """The letters of the samples; None where they have none."""
        return Letters.of(self.samples, self.parts.train.samples)

    @cached_property
    def genes(self) -> Genes | None:
        """The genes of the positions, or of the cells that they are; None where samples name none."""
        return Genes.of(self.samples)

    def fit_on(self) -> np.ndarray:
        """Positions of the training part that regressions are fitted on."""
        n, limit = self.parts.train.n_positions, self.settings.max_fit
        if n <= limit:
            return np.arange(n)
        return np.sort(np.random.default_rng(self.seed).choice(n, limit, replace=False))


@dataclass(frozen=True, eq=False)
class Fitted:
    """A baseline on the concepts of one partition: F1 in training, counts held out, what was chosen."""

    f1_train: np.ndarray
    counts: FamilyCounts
    detail: list[str]


@dataclass(frozen=True, eq=False)
class Reader:
    """A baseline that is fitted and has still to be read on the held-out activations."""

    f1_train: np.ndarray  # float64 [n_concepts]
    threshold: np.ndarray  # float64 [n_concepts]
    detail: list[str]
    # float32 [n_positions, d_in] -> float32 [n_concepts, n_positions].
    scores: Callable[[np.ndarray], np.ndarray]


def pooled(folds: Sequence[Fitted]) -> Fitted:
    """One baseline as every fold has fitted it: counts of all families, and what was chosen how often."""
    if len(folds) == 1:
        return folds[0]
    said = [Counter(of_concept).most_common(1)[0] for of_concept in zip(*(fold.detail for fold in folds))]
    return Fitted(
        np.mean([fold.f1_train for fold in folds], axis=0),
        FamilyCounts.added([fold.counts for fold in folds]),
        [text and f"{text} ({times} of {len(folds)} folds)" for text, times in said],
    )


def read_all(readers: list[Reader], chunks: Iterator[tuple[slice, np.ndarray]], test: Part) -> list[Fitted]:
    """Measure readers in one pass over held-out activations, which come in chunks of positions."""
    shape = (test.positives.shape[1], test.n_families)
    counts = [(np.zeros(shape, np.int32), np.zeros(shape, np.int32)) for _ in readers]
    for rows, values in chunks:
        part = test.take(rows)
        for reader, (tp, predicted) in zip(readers, counts):
            found = count_scores(reader.scores(values), reader.threshold, part)
            tp += found[0]
            predicted += found[1]
    return [
        Fitted(reader.f1_train, FamilyCounts(tp, predicted, test.positive_by_family), reader.detail)
        for reader, (tp, predicted) in zip(readers, counts)
    ]


def everything(inputs: Inputs) -> Fitted:
    """Predict every position."""
    train, test = inputs.parts.train, inputs.parts.test
    share = np.asarray(train.positives.sum(axis=0)).reshape(-1)
    sizes = np.bincount(test.family, minlength=test.n_families)
    counts = FamilyCounts(test.positive_by_family, np.tile(sizes, (len(share), 1)), test.positive_by_family)
    return Fitted(2 * share / np.maximum(1, share + train.n_positions), counts, [""] * len(share))


def scored(inputs: Inputs, block: Block) -> Fitted:
    """A baseline that is one score for each concept."""
    train, test = inputs.parts.train, inputs.parts.test
    f1 = np.zeros(train.positives.shape[1])

    def read(low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        of_train, of_test = block(low, high)
        threshold, f1[low:high] = best_thresholds(of_train, train, low)
        return of_test, threshold

    counts = _counted(read, test, train.n_positions + test.n_positions)
    return Fitted(f1, counts, [""] * len(f1))


def _counted(
    read: Callable[[int, int], tuple[np.ndarray, np.ndarray]], test: Part, n_positions: int
) -> FamilyCounts:
    """Counts of dense scores, some concepts at a time: of each, its held-out scores and threshold."""
    n_concepts = test.positives.shape[1]
    tp, predicted = (np.zeros((n_concepts, test.n_families), np.int32) for _ in range(2))
    for low, high in ranges(n_concepts, SCORE_BYTES * n_positions):
        tp[low:high], predicted[low:high] = count_scores(*read(low, high), test, low)
    return FamilyCounts(tp, predicted, test.positive_by_family)


def best_of_units(
    inputs: Inputs,
    units: Callable[[Part, np.ndarray], np.ndarray],
    n_units: int,
    describe: Callable[[int], str],
) -> Fitted:
    """A baseline that is the best of many units, read both ways.

    `units` makes float32 [n_positions, n_units] of a part and numbers of units.
    """
    train, test = inputs.parts.train, inputs.parts.test
    best = best_unit(lambda number: units(train, number), n_units, train)

    def read(low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        scores = read_units(units(test, best.unit[low:high]), best.sign[low:high])
        return scores, best.threshold[low:high]

    return Fitted(best.f1_train, _counted(read, test, test.n_positions), best.detail(describe))


def best_column(
    inputs: Inputs,
    blocks: Callable[[Part], Iterator[tuple[int, ByFeature]]],
    describe: Callable[[int], str],
) -> Fitted:
    """A baseline that is the best of many sparse columns, chosen as features are.

    `blocks` makes of a part blocks of columns on its positions, each with the number of its first column.
    """
    train, test = inputs.parts.train, inputs.parts.test
    concepts = np.arange(train.positives.shape[1])
    best, f1 = np.zeros(len(concepts), np.int64), np.zeros(len(concepts))
    threshold = np.full(len(concepts), np.inf, np.float32)
    for first, codes in blocks(train):
        for low, scores in pair_blocks(codes, train.by_position):
            top = scores.best_f1.argmax(axis=0)
            of_top = scores.best_f1[top, concepts]
            better = of_top > f1
            best[better], f1[better] = top[better] + first + low, of_top[better]
            threshold[better] = scores.threshold[top, concepts][better]
    counts = count_listed(blocks(test), test, best, concepts, threshold)
    return Fitted(f1, counts, [describe(int(j)) for j in best])
