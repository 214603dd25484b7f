"""Baselines inside the model: raw neurons, linear components, and a linear probe as a ceiling.

A raw neuron or component is read both ways, high and low, since its sign carries no meaning; the one with the
best F1 on training families is scored on the held-out ones, as the SAE's features are. The linear probe sees
all neurons and all labels at once: it says how much is there to be read, not what a single unit reads, so it
is reported beside and never as the best baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from sciinterp.activations.axes import Moments
from sciinterp.activations.axes import independent_axes as independent_axes
from sciinterp.activations.axes import principal_axes as principal_axes
from sciinterp.association._jit import compiled
from sciinterp.association.dense_scores import BLOCK_VALUES, thresholds_of
from sciinterp.association.partitions import Part
from sciinterp.codes.intervals import positions_in
from sciinterp.errors import ShapeError
from sciinterp.samples import Samples

if TYPE_CHECKING:
    from sciinterp.activations import Activations

# Bins of a unit's range in the first look, and units of each concept that get the second.
_BINS = 1024
_EXACT_UNITS = 2
# Weight of the identity added to the covariance of the probe, as a share of its mean variance.
_PROBE_RIDGE = 1e-3


@dataclass(frozen=True, eq=False)
class BestUnit:
    """The unit chosen for each concept on training families.

    Attributes
    ----------
    unit : int64 [n_concepts]
    sign : int64 [n_concepts]
        1 where high values predict the concept, -1 where low ones do.
    threshold : float64 [n_concepts]
        On ``sign * value``.
    f1_train : float64 [n_concepts]
    """

    unit: np.ndarray
    sign: np.ndarray
    threshold: np.ndarray
    f1_train: np.ndarray


def position_rows(acts: Activations | np.ndarray, samples: Samples) -> np.ndarray:
    """int64 [n_positions]: the row of `acts` that stands for each position, -1 where none does.

    Where several tokens cover a position the first does.
    """
    n_tokens = getattr(acts, "n_tokens", None) or len(acts)
    if not hasattr(acts, "spans"):
        if n_tokens != samples.n_positions:
            raise ShapeError(
                "activations do not fit the features",
                where="argument 'acts'",
                expected=f"{samples.n_positions} rows, one a position",
                got=str(n_tokens),
            )
        return np.arange(samples.n_positions)
    store = cast("Activations", acts)
    per_sample = np.diff(np.asarray(store.token_offsets))
    if len(per_sample) != len(samples):
        raise ShapeError(
            "activations are of other samples than the features",
            where="argument 'acts'",
            expected=f"{len(samples)} samples",
            got=str(len(per_sample)),
        )
    base = np.repeat(samples.offsets[:-1], per_sample)
    token, position = positions_in(
        base + np.asarray(store.spans["start"]), base + np.asarray(store.spans["end"])
    )
    out = np.full(samples.n_positions, -1, np.int64)
    out[position[::-1]] = token[::-1]
    return out


def read_rows(acts: Activations | np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float32 [n_rows, d_in]: some rows of the activations, read in order; zeros for row -1."""
    wanted = np.unique(rows[rows >= 0])
    if isinstance(acts, np.ndarray):
        found = np.asarray(acts[wanted], np.float32)
    else:
        found = np.empty((len(wanted), acts.d_in), np.float32)
        for low in range(0, len(wanted), 1 << 14):
            part = wanted[low : low + (1 << 14)]
            found[low : low + len(part)] = acts.read(int(part[0]), int(part[-1]) + 1)[part - part[0]]
    at = np.searchsorted(wanted, rows)
    if (rows < 0).any():
        out = np.zeros((len(rows), found.shape[1]), np.float32)
        out[rows >= 0] = found[at[rows >= 0]]
        return out
    return found if len(wanted) == len(rows) and (at == np.arange(len(rows))).all() else found[at]


def best_unit(values: np.ndarray, train: Part) -> BestUnit:
    """The unit, sign and threshold with the best F1 for each concept.

    All units are first scored on ``_BINS`` equal bins of their range, both ways at once; the few best of each
    concept are then ranked value by value, so that the threshold and its F1 are exact.

    Parameters
    ----------
    values : float32 [n_positions, n_units]
        On the positions of `train`.
    train : Part
    """
    n, n_units = values.shape
    n_concepts = train.positives.shape[1]
    none, zeros = np.full(n_concepts, np.inf), np.zeros(n_concepts)
    best = BestUnit(zeros.astype(np.int64), np.ones(n_concepts, np.int64), none, zeros)
    if n == 0 or n_units == 0:
        return best
    concepts = train.by_position
    coarse = np.zeros((2, n_units, n_concepts))
    step = max(1, BLOCK_VALUES // n)
    for low in range(0, n_units, step):
        block = np.ascontiguousarray(values[:, low : low + step].T)
        _binned_f1(
            block, concepts.starts, concepts.concepts, concepts.n_positive, coarse[:, low : low + step]
        )
    flat = coarse.transpose(1, 0, 2).reshape(2 * n_units, n_concepts)
    leading = np.argsort(-flat, axis=0, kind="stable")[:_EXACT_UNITS]
    concept = np.tile(np.arange(n_concepts), len(leading))
    unit, sign = leading.reshape(-1) // 2, 1 - 2 * (leading.reshape(-1) % 2)
    threshold, f1 = np.empty(len(unit)), np.empty(len(unit))
    for low in range(0, len(unit), step):
        part = slice(low, low + step)
        scores = read_units(values, unit[part], sign[part])
        threshold[part], f1[part] = thresholds_of(scores, train, concept[part])
    chosen = f1.reshape(-1, n_concepts).argmax(axis=0) * n_concepts + np.arange(n_concepts)
    return BestUnit(unit[chosen], sign[chosen], threshold[chosen], f1[chosen])


def read_units(values: np.ndarray, unit: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """float32 [n_units, n_positions]: some units, those with sign -1 turned round."""
    return np.ascontiguousarray(values[:, unit].T) * sign[:, None].astype(np.float32)


@compiled
def _binned_f1(block, row_starts, row_concepts, n_positive, out):
    """Best F1 over bins of each unit's range, for high values (out[0]) and for low values (out[1])."""
    n_units, n = block.shape
    n_concepts = len(n_positive)
    held = np.zeros(_BINS, np.int64)
    positive = np.zeros((n_concepts, _BINS), np.int64)
    for unit in range(n_units):
        lowest, highest = block[unit].min(), block[unit].max()
        scale = np.float32(_BINS) / (highest - lowest) if highest > lowest else np.float32(0)
        held[:] = 0
        positive[:] = 0
        for i in range(n):
            at = min(_BINS - 1, int((block[unit, i] - lowest) * scale))
            held[at] += 1
            for p in range(row_starts[i], row_starts[i + 1]):
                positive[row_concepts[p], at] += 1
        for concept in range(n_concepts):
            total = n_positive[concept]
            if total == 0:
                continue
            for way in range(2):
                k, tp, best = 0, 0, 0.0
                for b in range(_BINS):
                    at = b if way == 1 else _BINS - 1 - b
                    k += held[at]
                    tp += positive[concept, at]
                    best = max(best, 2.0 * tp / (k + total))
                out[way, unit, concept] = best


def linear_probe(values: np.ndarray, moments: Moments, train: Part) -> np.ndarray:
    """float64 [d_in, n_concepts]: one direction a concept, by ridge regression on the labels."""
    covariance = moments.covariance.copy()
    covariance[np.diag_indices(len(covariance))] += _PROBE_RIDGE * np.trace(covariance) / len(covariance)
    sums = np.asarray(train.positives.T.astype(np.float32) @ values, np.float64)
    share = np.asarray(train.positives.sum(axis=0)).reshape(-1) / max(1, len(values))
    cross = sums / max(1, len(values)) - share[:, None] * moments.mean
    return np.linalg.solve(covariance, cross.T)
