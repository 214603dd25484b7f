"""Baselines inside the model: raw neurons, linear components, and a linear probe as a ceiling.

A raw neuron or component is read both ways, high and low, since its sign carries no meaning; the one with the
best F1 on training families is scored on the held-out ones, as the SAE's features are. The linear probe sees
all neurons and all labels at once: it says how much is there to be read, not what a single unit reads, so it
is reported beside and never as the best baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sciinterp.association.layout import ByFeature
from sciinterp.association.parts import Part
from sciinterp.association.ranking import precision_recall
from sciinterp.errors import ShapeError
from sciinterp.samples import Samples

if TYPE_CHECKING:
    from sciinterp.activations import Activations

# Values ranked at once.
_BLOCK_VALUES = 1 << 22
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


def position_rows(acts: Activations, samples: Samples) -> np.ndarray:
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
    per_sample = np.diff(np.asarray(acts.token_offsets))
    if len(per_sample) != len(samples):
        raise ShapeError(
            "activations are of other samples than the features",
            where="argument 'acts'",
            expected=f"{len(samples)} samples",
            got=str(len(per_sample)),
        )
    start, end = np.asarray(acts.spans["start"]), np.asarray(acts.spans["end"])
    base = np.repeat(samples.offsets[:-1], per_sample)
    width = end - start
    token = np.repeat(np.arange(len(start)), width)
    inside = np.arange(len(token)) - np.repeat(np.cumsum(width) - width, width)
    out = np.full(samples.n_positions, -1, np.int64)
    out[(base[token] + start[token] + inside)[::-1]] = token[::-1]
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

    Parameters
    ----------
    values : float32 [n_positions, n_units]
        On the positions of `train`.
    train : Part
    """
    n, n_units = values.shape
    n_concepts = train.positives.shape[1]
    best = BestUnit(
        np.zeros(n_concepts, np.int64),
        np.ones(n_concepts, np.int64),
        np.full(n_concepts, np.inf),
        np.zeros(n_concepts),
    )
    step = max(1, _BLOCK_VALUES // max(1, n))
    for low in range(0, n_units, step):
        block = np.ascontiguousarray(values[:, low : low + step].T)
        for sign in (1, -1):
            signed = block if sign == 1 else -block
            floor = signed.min(axis=1, keepdims=True) if n else np.zeros((len(block), 1), np.float32)
            scores = precision_recall(_columns(signed - floor), train.by_position)
            unit = np.argmax(scores.best_f1, axis=0)
            f1 = scores.best_f1[unit, np.arange(n_concepts)]
            better = np.flatnonzero(f1 > best.f1_train)
            best.unit[better], best.sign[better], best.f1_train[better] = low + unit[better], sign, f1[better]
            best.threshold[better] = (
                scores.threshold[unit[better], better].astype(np.float64) + floor[unit[better], 0]
            )
    return best


def unit_scores(values: np.ndarray, best: BestUnit) -> np.ndarray:
    """float64 [n_positions, n_concepts]: the chosen unit of each concept, signed so that high predicts."""
    return values[:, best.unit].astype(np.float64) * best.sign


def _columns(block: np.ndarray) -> ByFeature:
    """Dense units as codes: every position stored."""
    n_units, n = block.shape
    rows = np.tile(np.arange(n, dtype=np.int32), n_units)
    return ByFeature(np.ascontiguousarray(block, np.float32).reshape(-1), rows, np.arange(n_units + 1) * n, n)


def principal_axes(values: np.ndarray, n_axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean [d_in] and leading principal axes [n_axes, d_in] of training activations."""
    mean = values.mean(axis=0, dtype=np.float64)
    covariance = _covariance(values, mean)
    _, vectors = np.linalg.eigh(covariance)
    axes = vectors[:, ::-1][:, :n_axes].T
    return mean, axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]


def linear_probe(values: np.ndarray, train: Part) -> tuple[np.ndarray, np.ndarray]:
    """Mean [d_in] and one direction a concept [d_in, n_concepts], by ridge regression on the labels."""
    mean = values.mean(axis=0, dtype=np.float64)
    covariance = _covariance(values, mean)
    covariance[np.diag_indices(len(covariance))] += _PROBE_RIDGE * np.trace(covariance) / len(covariance)
    sums = np.asarray(train.positives.T.astype(np.float32) @ values, np.float64)
    share = np.asarray(train.positives.sum(axis=0)).reshape(-1) / max(1, len(values))
    cross = sums / max(1, len(values)) - share[:, None] * mean
    return mean, np.linalg.solve(covariance, cross.T)


def _covariance(values: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """float64 [d_in, d_in], block by block."""
    total = np.zeros((values.shape[1], values.shape[1]))
    for low in range(0, len(values), 1 << 14):
        block = values[low : low + (1 << 14)] - mean.astype(np.float32)
        total += block.T @ block
    return total / max(1, len(values))
