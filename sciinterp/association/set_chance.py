"""What sets of features reach by chance: the whole choice repeated on concepts that say nothing of the features.

Positions are laid family by family and a concept is shifted along them, round the end, until every span lies in another
family. Its spans keep their lengths and their company, and other concepts are shifted with it, but where the features
are active has nothing to do with them any more. On each such rotation of the training and of the held-out positions sets
are chosen, weighted and read as on the concept itself. A concept that is independent of the features is one more rotation:
that its curve lies above the largest of :data:`DRAWS` others anywhere has a probability of 1 in 20 at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.association.fitting import Inputs
from sciinterp.association.partitions import Part, Partition
from sciinterp.association.sets import sparse_units, weighted_sets
from sciinterp.samples import Samples

READER = "rotated"
DRAWS = 19
# Rotated concepts at once: what choosing holds of each is its share with every unit looked at.
_AT_ONCE = 512


def chance_draws(inputs: Inputs, *, ks: Sequence[int], draws: int = DRAWS) -> list[Callable[[], np.ndarray]]:
    """What draws the largest F1 that a weighted set of any size reaches of a concept rotated between families.

    Each is of some rotations and gives float [n_concepts], their largest. The inputs have their ``training``.
    """
    assert inputs.training is not None
    rng = np.random.default_rng([inputs.seed, 19])
    parts, n_concepts = inputs.parts, inputs.parts.train.positives.shape[1]
    step = max(1, _AT_ONCE // n_concepts)
    sizes = [min(step, draws - first) for first in range(0, draws, step)]
    features = inputs.training.features

    def reached(shifts: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        pairs = zip((parts.train, parts.test), shifts)
        train, test = (_rotated(part, inputs.samples, shift) for part, shift in pairs)
        concepts = np.tile(parts.concepts, len(shifts[0]))
        rotated = replace(inputs, parts=Partition(concepts, train, test), kept={})
        found = weighted_sets(READER, sparse_units(rotated, features), test, ks, 0.95)
        if not len(found):  # no feature is active in training
            return np.zeros(n_concepts)
        best = found.groupby("concept")["f1"].max().to_numpy().reshape(-1, n_concepts)
        return np.nan_to_num(best).max(axis=0)

    return [partial(reached, (rng.random(n), rng.random(n))) for n in sizes]


def chance_curves(reached: Sequence[np.ndarray], ks: Sequence[int]) -> pd.DataFrame:
    """The largest of :func:`chance_draws`, as a curve of sets with the reader "rotated": ``f1`` is the same for all sizes."""
    highest = np.max(reached, axis=0)
    n_concepts = len(highest)
    return pd.DataFrame(
        {
            "concept": np.repeat(np.arange(n_concepts), len(ks)),
            "reader": READER,
            "k": np.tile(np.asarray(ks), n_concepts),
            "rule": "weighted",
            "f1_train": np.nan,
            "f1": np.repeat(highest, len(ks)),
            "f1_low": np.nan,
            "f1_high": np.nan,
            "units": "",
        }
    )


def _rotated(part: Part, samples: Samples, draws: np.ndarray) -> Part:
    """The part with its concepts shifted once for each draw (between 0 and 1), side by side."""
    n, order = part.n_positions, _by_family(part, samples)
    largest = int(np.bincount(part.family).max()) if n else 0
    low, high = (largest, n - largest) if n > 2 * largest else (n // 2, n // 2)
    shifted = []
    for draw in draws:
        source = np.empty(n, np.int64)
        source[np.roll(order, low + int(draw * (high - low + 1)))] = order
        shifted.append(part.positives[source])
    return replace(part, positives=sp.csr_array(sp.hstack(shifted, format="csr")))


def _by_family(part: Part, samples: Samples) -> np.ndarray:
    """int64 [n_positions]: positions family by family, in an order that the order of the samples does not change."""
    names = np.asarray([samples.ids[i] for i in part.samples])
    rank = np.argsort(np.argsort(names, kind="stable"), kind="stable")
    rank = np.repeat(rank, samples.lengths[part.samples])
    first = np.full(part.n_families, len(names))
    np.minimum.at(first, part.family, rank)
    return np.lexsort((rank, first[part.family]))
