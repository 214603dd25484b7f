"""Whole instances: touched at all, and found with about their extent.

A prediction is a set of positions; its maximal runs within a sample are its segments. An instance (one
annotated interval) is *touched* when any of its positions is predicted, and *found* when a single segment has
an intersection over union with it of at least one half. Overlapping instances count each.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sciinterp.association._jit import compiled
from sciinterp.association.partitions import Part
from sciinterp.codes.by_feature import ByFeature
from sciinterp.samples import Samples

IOU = 0.5


def instances_of(instances: pd.DataFrame, samples: Samples, part: Part) -> pd.DataFrame:
    """Instances on the positions of a part: ``concept``, ``start``, ``end``, sorted.

    They are given on the axis of all samples, with the number of their ``sample``.
    """
    lengths = samples.lengths[part.samples]
    shift = np.full(len(samples), -1, np.int64)
    shift[part.samples] = np.cumsum(lengths) - lengths - samples.offsets[:-1][part.samples]
    inside = np.zeros(len(samples), bool)
    inside[part.samples] = True
    kept = instances[inside[instances["sample"].to_numpy()]]
    by = shift[kept["sample"].to_numpy()]
    table = pd.DataFrame(
        {
            "concept": kept["concept"].to_numpy(),
            "start": kept["start"].to_numpy() + by,
            "end": kept["end"].to_numpy() + by,
        }
    )
    return table.sort_values(["concept", "start", "end"], kind="stable", ignore_index=True)


def of_concepts(instances: pd.DataFrame, concepts: np.ndarray) -> pd.DataFrame:
    """Instances of some concepts (ascending), which are numbered as there."""
    mine = instances[np.isin(instances["concept"], concepts)]
    return mine.assign(concept=np.searchsorted(concepts, mine["concept"]))


def instance_recall(
    codes: ByFeature, part: Part, instances: pd.DataFrame, pairs: pd.DataFrame, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int64 [n_pairs], three: instances that each pair touches, that it finds, and of how many.

    `codes` are those of the positions of `part`, `instances` from :func:`instances_of`, `pairs` have
    ``feature``, ``concept`` and ``threshold``, `lengths` [n_samples of the part].
    """
    n_concepts = part.positives.shape[1]
    concept = instances["concept"].to_numpy(np.int64)
    starts = np.searchsorted(concept, np.arange(n_concepts + 1))
    sample = np.repeat(np.arange(len(lengths)), lengths).astype(np.int64)
    start, end = (instances[name].to_numpy(np.int64) for name in ("start", "end"))
    feature, of_pair = (pairs[name].to_numpy(np.int64) for name in ("feature", "concept"))
    listed = (feature, of_pair, pairs["threshold"].to_numpy(np.float32))
    touched, found = np.zeros(len(pairs), np.int64), np.zeros(len(pairs), np.int64)
    placed = (start, end, starts.astype(np.int64))
    _recall((codes.values, codes.rows, codes.starts), sample, placed, listed, touched, found)
    return touched, found, np.diff(starts)[of_pair]


@compiled
def _recall(codes, sample, instances, listed, touched, found):
    values, rows, starts = codes
    begin, end, of_concept = instances
    feature, concept, threshold = listed
    run_start, run_end = np.empty(len(sample), np.int64), np.empty(len(sample), np.int64)
    for i in range(len(feature)):
        first, last = of_concept[concept[i]], of_concept[concept[i] + 1]
        if first == last:
            continue
        n_runs = 0
        for j in range(starts[feature[i]], starts[feature[i] + 1]):
            row = rows[j]
            if not values[j] > threshold[i]:
                continue
            if n_runs and run_end[n_runs - 1] == row and sample[row] == sample[row - 1]:
                run_end[n_runs - 1] = row + 1
            else:
                run_start[n_runs], run_end[n_runs] = row, row + 1
                n_runs += 1
        n_touched, n_found, before = 0, 0, 0
        for k in range(first, last):  # in the order of their starts
            while before < n_runs and run_end[before] <= begin[k]:
                before += 1
            run, overlaps, best = before, False, 0.0
            while run < n_runs and run_start[run] < end[k]:
                shared = min(run_end[run], end[k]) - max(run_start[run], begin[k])
                union = max(run_end[run], end[k]) - min(run_start[run], begin[k])
                overlaps = True
                best = max(best, shared / union)
                run += 1
            n_touched += overlaps
            n_found += best >= IOU
        touched[i], found[i] = n_touched, n_found
