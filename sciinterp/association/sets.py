r"""Sets: a few units read together, chosen and weighted on training families and read once on held-out ones.

For each concept :math:`y` and number :math:`k`, orthogonal matching pursuit on the moments of training positions takes
the unit that lowers the squared error of a linear reading of :math:`y` most, then the next given the first, and so on;
the weights of a set are its least-squares weights, the threshold has the best F1 in training. (On the embedded
antibodies a logistic regression on the same units changes the mean F1 by at most .003 for features and .016 for
components.) Moments are taken once for all concepts, so that nothing is fitted concept by concept.

An *or-set* has no weights: a position is positive where any of its features is above its own threshold. It is grown
greedily by F1 in training, to at most :math:`k` features and only while that F1 rises, and reads as a sentence.

Sets say what one unit cannot: how many units a reading needs. The curve over :math:`k` of features stands beside those
of neurons, components, the randomised model and twins (:func:`sciinterp.twins`), the linear probe, which reads all inputs,
and what sets of features reach of a concept that says nothing of them (:mod:`sciinterp.association.set_chance`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.association.blocks import blocks_of, listed
from sciinterp.association.dense_baselines import Fit, probe
from sciinterp.association.dense_scores import best_thresholds, count_scores
from sciinterp.association.family_counts import FamilyCounts, f1_score
from sciinterp.association.fitting import Inputs, read_all
from sciinterp.association.jackknife import interval
from sciinterp.association.measure import Training
from sciinterp.association.partitions import Part
from sciinterp.association.pursuit import pursue, summed
from sciinterp.association.set_scores import best_thresholds_of_sets, count_sets
from sciinterp.budget import BLOCK_SCORES, BLOCK_VALUES, SCORE_BYTES, ranges
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.by_feature import ByFeature
from sciinterp.codes.intervals import positions_in

KS = (1, 2, 4, 8)
_View: TypeAlias = Callable[[Fit, np.ndarray], np.ndarray]
_Held: TypeAlias = Callable[[Fit, np.ndarray | slice], np.ndarray]
# Units looked at: the best correlated ones of each concept, and how many in all (their products take 64 MB).
_OF_CONCEPT, _IN_ALL = 64, 4096
# Features an or-set is made of, at most: one bit each.
_OR_CANDIDATES = 12


@dataclass(frozen=True, eq=False)
class Units:
    """Rival units on the positions a set is fitted on, and on held-out ones."""

    fit: np.ndarray | sp.csr_array  # float32 [n_fit, n_units]
    part: Part  # the positions of `fit`
    # Units -> chunks ``(positions, values [n, n_units])`` of the held-out part.
    held_out: Callable[[np.ndarray], Iterator[tuple[slice, np.ndarray | sp.csr_array]]]
    number: np.ndarray  # int64 [n_units]: what each unit is called


def set_curves(
    inputs: Inputs, *, ks: Sequence[int] = KS, level: float = 0.95
) -> list[Callable[[], pd.DataFrame]]:
    """What draws the curve over the size of a set, for features and for every rival that is there.

    Each makes a DataFrame: ``concept`` (number within the partition) ``reader k rule f1_train f1 f1_low f1_high
    units``: ``rule`` is "weighted" or "or" (features alone), ``units`` the numbers of the set, in the order
    they were taken. The reader "probe" has one row a concept, ``k`` being all its inputs. The inputs have their
    ``training``; activations, control and twins are read where they are given.
    """
    training = inputs.training
    assert training is not None
    ks = sorted({int(k) for k in ks})
    curves: list[Callable[[], pd.DataFrame]] = [partial(_or_sets, inputs, training, ks, level)]
    for name, units in _readers(inputs, training):
        curves.append(
            lambda name=name, units=units: weighted_sets(name, units(), inputs.parts.test, ks, level)
        )
    if inputs.acts is not None:
        curves.append(partial(_probe, inputs, level))
    return curves


def _probe(inputs: Inputs, level: float) -> pd.DataFrame:
    """The linear probe on the positions that sets are fitted and read on."""
    fit, test = Fit.of(inputs), inputs.parts.test
    found = read_all([probe(inputs)], fit.held_out(test), test)[0]
    words = [""] * len(found.f1_train)
    return _table("probe", fit.values.shape[1], "weighted", found.f1_train, found.counts, words, level)


def _readers(inputs: Inputs, training: Training) -> Iterator[tuple[str, Callable[[], Units]]]:
    """Rival readers and how their units are made, by whoever draws their curve."""
    twins = {f"twin_{part}": codes for part, codes in inputs.twins.items()}
    codes = {"features": training.features, "randomised": inputs.control, **twins}
    for name, features in codes.items():
        if features is not None and features.n_positions == inputs.samples.n_positions:
            yield name, partial(sparse_units, inputs, features)
    # Units of activations, and those of all activations held where a baseline has made them.
    views: dict[str, tuple[_View, _Held]] = {
        "neurons": (_centred, lambda fit, rows: _centred(fit, fit.values[rows])),
        "components": (Fit.project, lambda fit, rows: fit.components[rows]),
        "independent components": (
            lambda fit, x: fit.project(x) @ fit.rotation,
            lambda fit, rows: fit.independent[rows],
        ),
    }
    for name, (view, held) in views.items() if inputs.acts is not None else ():
        yield name, partial(_dense_units, inputs, view, held)


def _centred(fit: Fit, x: np.ndarray) -> np.ndarray:
    return x - fit.moments.mean.astype(np.float32)


def _dense_units(inputs: Inputs, view: _View, held: _Held) -> Units:
    fit = Fit.of(inputs)
    rows, part = fit.training(inputs)
    values = held(fit, rows)

    def held_out(chosen: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        for rows, block in fit.held_out(inputs.parts.test):
            yield rows, view(fit, block)[:, chosen]

    return Units(values, part, held_out, np.arange(values.shape[1]))


def sparse_units(inputs: Inputs, features: FeatureMatrix) -> Units:
    """Codes as units of sets: the columns best correlated with some concept, on the fitted positions."""
    train, on = inputs.parts.train, inputs.fit_on()
    part = train if len(on) == train.n_positions else train.take(on)
    labels = sp.csr_array(part.positives.astype(np.float32))
    share = np.asarray(labels.mean(axis=0)).reshape(-1)
    strength = np.zeros((features.n_features, labels.shape[1]), np.float32)
    for low, codes in blocks_of(features, part):
        columns = codes.to_csc()
        mean, spread = _spread(columns)
        cross = summed(columns, labels) / max(1, part.n_positions) - np.outer(mean, share)
        strength[low : low + codes.n_features] = np.abs(cross) / spread[:, None]
    n = min(_OF_CONCEPT, features.n_features)
    best = np.argpartition(-strength, n - 1, axis=0)[:n]
    rank = np.sort(np.take_along_axis(strength, best, 0), axis=0)
    wanted = np.unique(best[np.take_along_axis(strength, best, 0) > 0])
    if len(wanted) > _IN_ALL:  # those nearest to the top of some concept's list
        relative = (strength[wanted] / np.maximum(rank[-1], 1e-12)).max(axis=1)
        wanted = np.sort(wanted[np.argsort(-relative, kind="stable")[:_IN_ALL]])

    def held_out(chosen: np.ndarray) -> Iterator[tuple[slice, sp.csr_array]]:
        samples, done = inputs.parts.test.samples, 0
        step = max(1, BLOCK_SCORES // max(1, labels.shape[1]))
        block = (np.cumsum(features.samples.lengths[samples]) - 1) // step
        for numbers in np.split(samples, np.flatnonzero(np.diff(block)) + 1):
            values = features.by_sample(numbers)[:, wanted[chosen]]
            yield slice(done, done + values.shape[0]), values
            done += values.shape[0]

    return Units(_columns(features, part, wanted), part, held_out, wanted)


def _columns(features: FeatureMatrix, part: Part, wanted: np.ndarray) -> sp.csr_array:
    """csr float32 [positions of the part, wanted]: some features, in ascending order."""
    blocks = listed(blocks_of(features, part, wanted), wanted)
    kept = [codes.to_csc()[:, number] for _, codes, number in blocks]
    return (
        sp.csr_array(sp.hstack(kept, format="csr"))
        if kept
        else sp.csr_array((part.n_positions, 0), dtype=np.float32)
    )


def _spread(columns: sp.csc_array) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column."""
    n = max(1, columns.shape[0])
    mean = np.asarray(columns.sum(axis=0), np.float64).reshape(-1) / n
    square = np.asarray(columns.multiply(columns).sum(axis=0), np.float64).reshape(-1) / n
    return mean, np.sqrt(np.maximum(square - mean**2, 1e-18))


def weighted_sets(name: str, units: Units, test: Part, ks: Sequence[int], level: float) -> pd.DataFrame:
    """Sets of one reader: chosen, weighted, and read on the held-out positions."""
    n_units, n_concepts = len(units.number), units.part.positives.shape[1]
    sizes = [k for k in ks if k <= n_units]
    chosen, weights = pursue(units.fit, units.part.positives, max(sizes, default=0))
    fit = sp.csc_array(units.fit) if sp.issparse(units.fit) else units.fit
    tables = []
    used = np.unique(chosen)
    place = np.searchsorted(used, chosen)
    threshold, f1_train = {}, {}
    for k in sizes:
        threshold[k], f1_train[k] = _thresholds(fit, _matrix(chosen[:, :k], weights[k], n_units), units.part)
    counts = {k: np.zeros((2, n_concepts, test.n_families), np.int64) for k in sizes}
    for rows, values in units.held_out(used) if sizes else ():
        part = test.take(rows)
        values = sp.csc_array(values) if sp.issparse(values) else values
        for k in sizes:
            sets = _matrix(place[:, :k], weights[k], len(used))
            counts[k] += np.stack(_counts(values, sets, threshold[k], part))
    for k in sizes:
        found = FamilyCounts(counts[k][0], counts[k][1], test.positive_by_family)
        words = [" ".join(map(str, units.number[row])) for row in chosen[:, :k]]
        tables.append(_table(name, k, "weighted", f1_train[k], found, words, level))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _matrix(chosen: np.ndarray, weights: np.ndarray, n_units: int) -> sp.csc_array:
    """csc float32 [n_units, n_concepts]: the weights of the sets."""
    n_concepts, k = chosen.shape
    columns = np.repeat(np.arange(n_concepts), k)
    entries = (weights.reshape(-1).astype(np.float32), (chosen.reshape(-1), columns))
    return sp.coo_array(entries, shape=(n_units, n_concepts)).tocsc()


def _thresholds(
    values: np.ndarray | sp.csc_array, sets: sp.csc_array, part: Part
) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(values, np.ndarray):
        return best_thresholds_of_sets(values, sets, part)
    blocks = ranges(sets.shape[1], SCORE_BYTES * part.n_positions)
    found = [best_thresholds(_scores(values, sets[:, low:high]), part, low) for low, high in blocks]
    threshold, f1 = (np.concatenate([np.zeros(0), *of_all]) for of_all in zip(*found))
    return threshold, f1


def _counts(
    values: np.ndarray | sp.csc_array, sets: sp.csc_array, threshold: np.ndarray, part: Part
) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(values, np.ndarray):
        return count_sets(values, sets, threshold, part)
    return count_scores(_scores(values, sets), threshold, part)


def _scores(values: np.ndarray, sets: sp.csc_array) -> np.ndarray:
    """float32 [n_concepts, n_positions]"""
    return np.ascontiguousarray((values @ sets.toarray()).T, np.float32)


def _table(
    reader: str, k: int, rule: str, f1_train: np.ndarray, counts: FamilyCounts, units: list[str], level: float
) -> pd.DataFrame:
    found = counts.jackknifed()
    low, high = interval(found, level=level)
    known = counts.positive.sum(axis=1) > 0
    return pd.DataFrame(
        {
            "concept": np.arange(len(f1_train)),
            "reader": reader,
            "k": k,
            "rule": rule,
            "f1_train": f1_train,
            "f1": np.where(known, found.value, np.nan),
            "f1_low": low,
            "f1_high": high,
            "units": units,
        }
    )


def _or_sets(inputs: Inputs, training: Training, ks: Sequence[int], level: float) -> pd.DataFrame:
    """Or-sets of features, grown greedily by F1 in training."""
    train, test = inputs.parts.train, inputs.parts.test
    n_slots = min(_OR_CANDIDATES, training.f1.shape[0])
    n_concepts = training.f1.shape[1]
    best = np.argsort(-training.f1, axis=0, kind="stable")[:n_slots].T  # [n_concepts, n_slots]
    threshold = training.threshold[best, np.arange(n_concepts)[:, None]]
    # Some concepts at a time: as many as have a block of codes.
    block = np.cumsum(training.features.stored_per_feature[best].sum(axis=1)) // BLOCK_VALUES
    tables = []
    for mine in np.split(np.arange(n_concepts), np.flatnonzero(np.diff(block)) + 1):
        of_some = _or_sets_of(training.features, train, test, (mine, best[mine], threshold[mine]), ks, level)
        tables += [table.assign(concept=mine[table["concept"]]) for table in of_some]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _or_sets_of(
    features: FeatureMatrix,
    train: Part,
    test: Part,
    candidates: tuple[np.ndarray, np.ndarray, np.ndarray],
    ks: Sequence[int],
    level: float,
) -> list[pd.DataFrame]:
    """Or-sets of some concepts: which, their candidates and their thresholds; a table a size."""
    concepts, best, threshold = candidates
    n_concepts, n_slots = best.shape
    on = _masks(features, train, concepts, best, threshold)
    total = train.by_position.n_positive[concepts]
    slots, every = 1 << np.arange(n_slots), np.arange(n_concepts)
    mask, f1 = [np.zeros(n_concepts, np.int64)], [np.zeros(n_concepts)]
    members = np.full((n_concepts, n_slots), -1)
    for t in range(min(max(ks), n_slots)):
        score = np.stack([_or_f1(on, mask[-1] | bit, total) for bit in slots])
        slot = score.argmax(axis=0)
        rises = score[slot, every] > f1[-1]
        members[:, t] = np.where(rises, best[every, slot], -1)
        mask.append(np.where(rises, mask[-1] | slots[slot], mask[-1]))
        f1.append(np.where(rises, score[slot, every], f1[-1]))
    held, tables = _masks(features, test, concepts, best, threshold), []
    for k in [k for k in ks if k < len(mask)]:
        counts = FamilyCounts(*_by_family(held, mask[k], test), test.positive_by_family[concepts])
        units = [" ".join(str(j) for j in row if j >= 0) for row in members[:, :k]]
        tables.append(_table("features", k, "or", f1[k], counts, units, level))
    return tables


@dataclass(frozen=True, eq=False)
class _Masks:
    """Where any candidate of a concept is above its threshold: which ones (a bit each), and whether the concept is there."""

    concept: np.ndarray
    position: np.ndarray
    mask: np.ndarray
    positive: np.ndarray


def _masks(
    features: FeatureMatrix, part: Part, concepts: np.ndarray, candidates: np.ndarray, threshold: np.ndarray
) -> _Masks:
    """Of some concepts, numbered in their order."""
    n_concepts, n_slots = candidates.shape
    feature, n = candidates.reshape(-1), max(1, part.n_positions)
    concept, slot = np.divmod(np.arange(len(feature)), n_slots)
    keys, bits = [], []
    for mine, codes, number in listed(blocks_of(features, part, np.unique(feature)), feature):
        pair, row = _above(codes, number, threshold.reshape(-1)[mine])
        keys.append(concept[mine[pair]] * n + row)
        bits.append(1 << slot[mine[pair]])
    key = np.concatenate([np.zeros(0, np.int64), *keys])
    order = np.argsort(key, kind="stable")
    key, bit = key[order], np.concatenate([np.zeros(0, np.int64), *bits])[order]
    first = np.flatnonzero(np.append(True, key[1:] != key[:-1]))[: len(key)]
    mask = np.bitwise_or.reduceat(bit, first) if len(key) else bit
    concept_of, position = np.divmod(key[first], n)
    columns = part.by_concept[:, concepts]
    there = np.repeat(np.arange(n_concepts), np.diff(columns.indptr)) * n + columns.indices
    return _Masks(concept_of, position, mask, np.isin(key[first], there))


def _above(codes: ByFeature, feature: np.ndarray, threshold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (by number) and positions at which the feature of a pair is above its threshold."""
    pair, at = positions_in(codes.starts[feature], codes.starts[feature + 1])
    keep = codes.values[at] > threshold[pair]
    return pair[keep], codes.rows[at[keep]].astype(np.int64)


def _or_f1(on: _Masks, mask: np.ndarray, total: np.ndarray) -> np.ndarray:
    covered = (on.mask & mask[on.concept]) != 0
    predicted = np.bincount(on.concept[covered], minlength=len(mask))
    tp = np.bincount(on.concept[covered & on.positive], minlength=len(mask))
    return f1_score(tp, predicted, total)


def _by_family(on: _Masks, mask: np.ndarray, part: Part) -> tuple[np.ndarray, np.ndarray]:
    covered = (on.mask & mask[on.concept]) != 0
    cell = on.concept * part.n_families + part.family[on.position] if len(on.concept) else on.concept
    shape, size = (len(mask), part.n_families), len(mask) * part.n_families
    tp = np.bincount(cell[covered & on.positive], minlength=size).reshape(shape)
    return tp, np.bincount(cell[covered], minlength=size).reshape(shape)
