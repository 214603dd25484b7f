"""What it flatters a feature that the families which judge it trained the dictionary.

Effects are cross-fitted, but one dictionary serves all folds, so that most judging families were among those it was trained
on. Here every fold has a dictionary of its own, trained on the families of the other folds, and features are chosen and
judged as before, once among its features and once among those of the shared one. Features of different dictionaries are not the
same, so what is compared is what is chosen: the best feature of every concept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from sciinterp.annotations import Annotations
from sciinterp.association.family_counts import FamilyCounts
from sciinterp.association.jackknife import difference
from sciinterp.association.measure import train_pairs
from sciinterp.association.partitions import Folds, cross
from sciinterp.association.worth import interval_of_mean
from sciinterp.codes import FeatureMatrix
from sciinterp.frames import Table
from sciinterp.samples import Split


def without_fold(split: Split, fold: np.ndarray, k: int) -> Split:
    """The split of a fold: its samples are the test, those of the other folds train, but for the calibration's.

    Where the fold holds all calibration families, the smallest of the others takes their place.
    """
    others = np.flatnonzero((fold >= 0) & (fold != k))
    calibration = np.intersect1d(split.calibration, others)
    if not len(calibration):
        codes, size = np.unique(split.family[others], return_counts=True)
        calibration = others[split.family[others] == codes[size.argmin()]]
    train = np.setdiff1d(others, calibration)
    return replace(split, train=train, calibration=calibration, test=np.flatnonzero(fold == k))


def one_a_fold(
    shared: FeatureMatrix,
    own: Sequence[FeatureMatrix],
    annotations: Annotations,
    split: Split,
    fold: np.ndarray,
) -> Table:
    """F1 of the best feature of each concept, of the shared dictionary and of `own`, one a fold (each of all samples).

    ``concept n_families f1_shared f1_own difference low high``; the interval is over families, as that of two
    readers. ``context``: ``difference low high n``, the mean over concepts with Student's interval, which
    describes these concepts.
    """
    samples, names = shared.samples, annotations.position_names
    positives, covered = annotations.positives(samples, names), annotations.covered(samples, names)
    rows = []
    for folds in cross(samples, positives, covered, split, fold):
        one, many = _judged([shared] * len(own), folds), _judged(own, folds)
        low, high = difference(one.jackknifed(), many.jackknifed())
        rows.append(
            pd.DataFrame(
                {
                    "concept": [names[c] for c in folds.concepts],
                    "n_families": (one.positive > 0).sum(axis=1),
                    "f1_shared": one.f1(),
                    "f1_own": many.f1(),
                    "difference": one.f1() - many.f1(),
                    "low": low,
                    "high": high,
                }
            )
        )
    table = pd.concat(rows, ignore_index=True)
    table = table[table["n_families"] > 0].reset_index(drop=True)
    gap = table["difference"].to_numpy()
    low, high = interval_of_mean(gap)
    context = {"difference": float(gap.mean()), "low": low, "high": high, "n": len(gap)}
    return Table(table, context=context)


def _judged(dictionaries: Sequence[FeatureMatrix], folds: Folds) -> FamilyCounts:
    """Counts of the best feature of every concept, chosen on the other folds, by the family that judges."""
    found = []
    for parts in folds:
        training = train_pairs(dictionaries[int(folds.fold[parts.test.samples[0]])], parts)
        chosen = training.f1.argmax(axis=0)
        found.append(training.counted(parts.test, chosen, np.arange(len(chosen))))
    return FamilyCounts.added(found)
