"""Baselines inside the model: raw neurons, linear components, and a linear probe as a ceiling.

Each is fitted on training activations, at most ``max_fit`` positions and half a gigabyte of them, and read on the
held-out ones in chunks: all rows are never in memory at once. The linear probe sees all neurons and all labels at
once: it says how much is there to be read, not what a single unit reads, so it is reported beside and never as the
best baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np

from sciinterp import distributed
from sciinterp.activations.axes import Moments, independent_axes, principal_axes
from sciinterp.association.dense_scores import best_thresholds, best_unit, read_units
from sciinterp.association.fitting import Inputs, Reader
from sciinterp.association.partitions import Part
from sciinterp.budget import BLOCK_SCORES, SCORE_BYTES, ranges
from sciinterp.codes.intervals import positions_in
from sciinterp.errors import InputError, ShapeError
from sciinterp.samples import Samples

if TYPE_CHECKING:
    from sciinterp.activations import Activations

# Weight of the identity added to the covariance of the probe, as a share of its mean variance.
_PROBE_RIDGE = 1e-3
# Activations held at once: to fit on (512 MB), and of the held-out positions (16 MB).
_FIT_VALUES, _CHUNK_VALUES = 1 << 27, BLOCK_SCORES


class Fit:
    """Activations that baselines are fitted on, and what is computed of them once.

    Axes are unsupervised, as a dictionary is: one set, of the activations that the split trains on, serves all
    folds. What is chosen of them, and its threshold, is each fold's own. Inputs are those of the first fold,
    where there are several.
    """

    def __init__(self, inputs: Inputs) -> None:
        assert inputs.acts is not None
        self.acts, self.settings, self.seed = inputs.acts, inputs.settings, inputs.seed
        self.rows = position_rows(self.acts, inputs.samples)
        d_in = self.acts.shape[1] if isinstance(self.acts, np.ndarray) else self.acts.d_in
        trained = inputs.parts.train.rows if inputs.axes_on is None else inputs.axes_on
        judged = np.concatenate([inputs.parts.train.rows, inputs.parts.test.rows])
        self.held = trained if inputs.axes_on is None else np.union1d(trained, judged)
        limit = min(self.settings.max_fit, max(1, _FIT_VALUES // d_in))
        if len(self.held) > limit:
            rng = np.random.default_rng(self.seed)
            self.held = self.held[np.sort(rng.choice(len(self.held), limit, replace=False))]
        self.values = read_rows(self.acts, self.rows[self.held])
        if not np.isfinite(self.values.sum(axis=0, dtype=np.float64)).all():
            raise InputError(
                "activations hold numbers that are none", where="argument 'acts'", expected="finite ones"
            )
        self.trained = np.isin(self.held, trained)
        self.last: tuple[np.ndarray, np.ndarray] | None = None
        self.name = distributed.common_name()

    @classmethod
    def of(cls, inputs: Inputs) -> Fit:
        """The one of these inputs, read on the first call."""
        found = inputs.kept.get("activations")
        if not isinstance(found, Fit):
            found = inputs.kept["activations"] = cls(inputs)
        return found

    def training(self, inputs: Inputs) -> tuple[np.ndarray | slice, Part]:
        """Which of the rows held are in training, and the training part on them."""
        train = inputs.parts.train
        at = np.searchsorted(train.rows, self.held)
        inside = train.rows[np.minimum(at, train.n_positions - 1)] == self.held
        part = train if inside.sum() == train.n_positions else train.take(at[inside])
        return slice(None) if inside.all() else np.flatnonzero(inside), part

    def held_out(self, test: Part) -> Iterator[tuple[slice, np.ndarray]]:
        """Held-out activations in chunks of positions; those that are in memory are not read again."""
        rows, at = self.rows[test.rows], np.searchsorted(self.held, test.rows)
        there = bool(np.isin(test.rows, self.held).all())
        step = max(1, _CHUNK_VALUES // max(1, self.values.shape[1]))
        for low in range(0, len(rows), step):
            part = slice(low, low + step)
            yield part, self.values[at[part]] if there else read_rows(self.acts, rows[part])

    @cached_property
    def moments(self) -> Moments:
        """Mean and covariance."""

        def made() -> np.ndarray:
            found = Moments.of(self.values if self.trained.all() else self.values[self.trained])
            return np.vstack([found.mean, found.covariance])

        both = self._once("moments", made)
        return Moments(both[0], both[1:])

    def _once(self, what: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """What one rank makes for all, where all have come to these activations together."""
        return distributed.once(self.name and f"{self.name} {what}", make)

    @cached_property
    def axes(self) -> np.ndarray:
        """float32 [d_in, n_components]: principal axes."""

        def made() -> np.ndarray:
            return principal_axes(self.moments, self.settings.n_components).astype(np.float32)

        return self._once("principal", made)

    @cached_property
    def components(self) -> np.ndarray:
        """float32 [n, n_components]: principal components of the activations held."""
        return self.project(self.values)

    @cached_property
    def rotation(self) -> np.ndarray:
        """float32 [n_components, n_components]: from principal to independent components."""
        return self._once("independent", lambda: independent_axes(self.components[self.trained], self.seed))

    @cached_property
    def independent(self) -> np.ndarray:
        """float32 [n, n_components]: independent components of the activations held."""
        return self.components @ self.rotation

    def project(self, values: np.ndarray) -> np.ndarray:
        """float32 [n, n_components]: principal components of activations; of the same ones as last time, the same."""
        last = self.last  # read once: folds run side by side
        if last is None or last[0] is not values:
            self.last = last = values, (values - self.moments.mean.astype(np.float32)) @ self.axes
        return last[1]


def neuron(inputs: Inputs) -> Reader:
    """The best raw neuron."""
    return _best(inputs, Fit.of(inputs).values, lambda x: x, "neuron")


def pca(inputs: Inputs) -> Reader:
    """The best principal component."""
    fit = Fit.of(inputs)
    return _best(inputs, fit.components, fit.project, "component")


def ica(inputs: Inputs) -> Reader:
    """The best independent component."""
    fit = Fit.of(inputs)
    return _best(inputs, fit.independent, lambda x: fit.project(x) @ fit.rotation, "component")


def _best(
    inputs: Inputs, values: np.ndarray, transform: Callable[[np.ndarray], np.ndarray], word: str
) -> Reader:
    rows, part = Fit.of(inputs).training(inputs)

    def units(number: np.ndarray) -> np.ndarray:
        first, last = int(number[0]), int(number[-1])
        neighbours = last - first + 1 == len(number) and bool((np.diff(number) == 1).all())
        return (values[:, first : last + 1] if neighbours else values[:, number])[rows]

    best = best_unit(units, values.shape[1], part)
    detail = best.detail(lambda unit: f"{word} {unit}")
    return Reader(
        best.f1_train, best.threshold, detail, lambda x: read_units(transform(x)[:, best.unit], best.sign)
    )


def probe(inputs: Inputs) -> Reader:
    """A linear direction for each concept, told the labels: ridge regression."""
    fit = Fit.of(inputs)
    rows, part = fit.training(inputs)
    values = fit.values[rows]
    directions = np.ascontiguousarray(linear_probe(fit.moments, values, part).astype(np.float32).T)
    threshold, f1 = np.empty(len(directions)), np.empty(len(directions))
    for low, high in ranges(len(directions), SCORE_BYTES * len(values)):
        scores = directions[low:high] @ values.T
        threshold[low:high], f1[low:high] = best_thresholds(scores, part, low)
    return Reader(f1, threshold, [""] * len(directions), lambda x: directions @ x.T)


def linear_probe(moments: Moments, values: np.ndarray, part: Part) -> np.ndarray:
    """float64 [d_in, n_concepts]: one direction a concept, by ridge regression on the labels of `values`."""
    positives, covariance = part.positives, moments.covariance.copy()
    ridge = _PROBE_RIDGE * np.trace(covariance) / len(covariance)
    covariance[np.diag_indices(len(covariance))] += ridge or 1.0  # where nothing varies nothing is read
    sums = np.asarray(positives.T.astype(np.float32) @ values, np.float64)
    share = np.asarray(positives.sum(axis=0)).reshape(-1) / max(1, len(values))
    cross = sums / max(1, len(values)) - share[:, None] * values.mean(axis=0, dtype=np.float64)
    return np.linalg.solve(covariance, cross.T)


def position_rows(acts: Activations | np.ndarray, samples: Samples) -> np.ndarray:
    """int64 [n_positions]: the row of `acts` that stands for each position, -1 where none does.

    Where several tokens cover a position the first does.
    """
    if not hasattr(acts, "spans") and not (isinstance(acts, np.ndarray) and acts.ndim == 2):
        raise ShapeError(
            "activations are of another kind",
            where="argument 'acts'",
            expected="an array [n_positions, d_in], or what si.extract returns",
            got=str(getattr(acts, "shape", type(acts).__name__)),
        )
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
        # Rows far apart are read a stretch at a time: from the first to the last of them may be the whole store.
        ends = np.flatnonzero(np.diff(wanted // max(1, _CHUNK_VALUES // acts.d_in))) + 1
        for low, high in pairwise([0, *ends.tolist(), len(wanted)]):
            part = wanted[low:high]
            if len(part):
                stretch = acts.read(int(part[0]), int(part[-1]) + 1)
                np.take(stretch, part - part[0], axis=0, out=found[low:high], mode="clip")
    at = np.searchsorted(wanted, rows)
    if (rows < 0).any():
        out = np.zeros((len(rows), found.shape[1]), np.float32)
        out[rows >= 0] = found[at[rows >= 0]]
        return out
    return found if len(wanted) == len(rows) and (at == np.arange(len(rows))).all() else found[at]
