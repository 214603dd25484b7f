"""Baselines inside the model: raw neurons, linear components, and a linear probe as a ceiling.

Each is fitted on training activations, at most ``max_fit`` positions and half a gigabyte of them, and read on the
held-out ones in chunks: all rows are never in memory at once. The linear probe sees all neurons and all labels at
once: it says how much is there to be read, not what a single unit reads, so it is reported beside and never as the
best baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np

from sciinterp.activations.axes import Moments, independent_axes, principal_axes
from sciinterp.association.dense_scores import best_thresholds
from sciinterp.association.dense_units import best_unit, read_units
from sciinterp.association.fitting import Inputs, Reader, concept_blocks
from sciinterp.codes.intervals import positions_in
from sciinterp.errors import ShapeError
from sciinterp.samples import Samples

if TYPE_CHECKING:
    from sciinterp.activations import Activations

# Weight of the identity added to the covariance of the probe, as a share of its mean variance.
_PROBE_RIDGE = 1e-3
# Activations held at once: to fit on (512 MB), and of the held-out positions (16 MB).
_FIT_VALUES, _CHUNK_VALUES = 1 << 27, 1 << 22


class Fit:
    """Training activations of one call, and what is computed of them once.

    Parameters
    ----------
    inputs : Inputs
        With ``acts``.
    """

    def __init__(self, inputs: Inputs) -> None:
        assert inputs.acts is not None
        self.inputs, self.acts = inputs, inputs.acts
        self.rows = position_rows(self.acts, inputs.samples)
        train = inputs.parts.train
        d_in = self.acts.shape[1] if isinstance(self.acts, np.ndarray) else self.acts.d_in
        on = inputs.fit_on(max(1, _FIT_VALUES // d_in))
        self.part = train if len(on) == train.n_positions else train.take(on)
        self.values = read_rows(self.acts, self.rows[self.part.rows])

    @classmethod
    def of(cls, inputs: Inputs) -> Fit:
        """The one of these inputs, read on the first call."""
        if "activations" not in inputs.kept:
            inputs.kept["activations"] = cls(inputs)
        return inputs.kept["activations"]

    def held_out(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Held-out activations in chunks of positions."""
        rows = self.rows[self.inputs.parts.test.rows]
        step = max(1, _CHUNK_VALUES // max(1, self.values.shape[1]))
        for low in range(0, len(rows), step):
            yield slice(low, low + step), read_rows(self.acts, rows[low : low + step])

    @cached_property
    def moments(self) -> Moments:
        """Mean and covariance."""
        return Moments.of(self.values)

    @cached_property
    def axes(self) -> np.ndarray:
        """float32 [d_in, n_components]: principal axes."""
        return principal_axes(self.moments, self.inputs.settings.n_components).astype(np.float32)

    @cached_property
    def rotation(self) -> np.ndarray:
        """float32 [n_components, n_components]: from principal to independent components."""
        return independent_axes(self.project(self.values), self.inputs.seed)

    def project(self, values: np.ndarray) -> np.ndarray:
        """float32 [n, n_components]: principal components of activations."""
        return (values - self.moments.mean.astype(np.float32)) @ self.axes


def neuron(inputs: Inputs) -> Reader:
    """The best raw neuron."""
    return _best(Fit.of(inputs), lambda x: x, "neuron")


def pca(inputs: Inputs) -> Reader:
    """The best principal component."""
    fit = Fit.of(inputs)
    return _best(fit, fit.project, "component")


def ica(inputs: Inputs) -> Reader:
    """The best independent component."""
    fit = Fit.of(inputs)
    return _best(fit, lambda x: fit.project(x) @ fit.rotation, "component")


def _best(fit: Fit, transform: Callable[[np.ndarray], np.ndarray], word: str) -> Reader:
    values = transform(fit.values)
    best = best_unit(lambda number: values[:, number], values.shape[1], fit.part)
    detail = best.detail(lambda unit: f"{word} {unit}")
    return Reader(
        best.f1_train, best.threshold, detail, lambda x: read_units(transform(x)[:, best.unit], best.sign)
    )


def probe(inputs: Inputs) -> Reader:
    """A linear direction for each concept, told the labels: ridge regression."""
    fit = Fit.of(inputs)
    directions = np.ascontiguousarray(linear_probe(fit).astype(np.float32).T)
    threshold, f1 = np.empty(len(directions)), np.empty(len(directions))
    for low, high in concept_blocks(len(directions), len(fit.values)):
        scores = directions[low:high] @ fit.values.T
        threshold[low:high], f1[low:high] = best_thresholds(scores, fit.part, low)
    return Reader(f1, threshold, [""] * len(directions), lambda x: directions @ x.T)


def linear_probe(fit: Fit) -> np.ndarray:
    """float64 [d_in, n_concepts]: one direction a concept, by ridge regression on the labels."""
    values, positives, covariance = fit.values, fit.part.positives, fit.moments.covariance.copy()
    covariance[np.diag_indices(len(covariance))] += _PROBE_RIDGE * np.trace(covariance) / len(covariance)
    sums = np.asarray(positives.T.astype(np.float32) @ values, np.float64)
    share = np.asarray(positives.sum(axis=0)).reshape(-1) / max(1, len(values))
    cross = sums / max(1, len(values)) - share[:, None] * fit.moments.mean
    return np.linalg.solve(covariance, cross.T)


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
