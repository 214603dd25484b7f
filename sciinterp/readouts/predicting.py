r"""Reading an outcome from a representation: fitted on some families, scored on others.

By default a ridge regression, whose penalty and whose columns (one summary of codes, or all) are chosen on inner folds of
families. It is solved among samples, not columns: with :math:`K = X X^\top / p` of standardised columns a fit costs what
its samples do, however wide the representation is (scikit-learn's KernelRidge is the same, and on a hundred samples spends
five times as long on checking its input). Columns are standardised over all samples, labelled or not: what a
column's scale is does not depend on any label.

Any estimator of scikit-learn takes its place, then without a choice on inner folds: a grid search brings its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import GroupKFold

from sciinterp.association.jackknife import effective_families
from sciinterp.errors import InputError
from sciinterp.interventions.control_statistics import mean_interval
from sciinterp.readouts.outcome import Outcome
from sciinterp.readouts.representations import Representation

# Ridge penalties, in units of the mean diagonal of the centred kernel.
PENALTIES = (0.03, 0.3, 3.0)
INNER = 3


@runtime_checkable
class Estimator(Protocol):
    """What reads in place of the ridge regression: an estimator of scikit-learn, or what is called like one."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self: ...
    def predict(self, X: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Draw:
    """Held-out families: rows to fit on, rows to score, and a permutation of all rows for shuffled labels."""

    train: np.ndarray
    test: np.ndarray
    shuffle: np.ndarray

    def some(self, size: int | None, seed: int) -> np.ndarray:
        """So many of the training rows."""
        if size is None or size >= len(self.train):
            return self.train
        return np.sort(np.random.default_rng([seed, size]).choice(self.train, size, replace=False))


@dataclass(frozen=True, eq=False)
class Scores:
    """Predictions of the held-out rows of several draws, and how good they are."""

    outcome: Outcome
    found: list[tuple[np.ndarray, np.ndarray]]  # (rows, predictions)
    family: np.ndarray  # int [n]: of every sample

    @property
    def mean(self) -> float:
        """Mean over draws; NaN without any."""
        return float(np.nanmean(self.each)) if self.found else float("nan")

    @property
    def each(self) -> np.ndarray:
        """The score of each draw."""
        return np.array([self.outcome.score(rows, p) for rows, p in self.found])

    def without(self) -> np.ndarray:
        """The mean over draws without each family in turn."""
        whole = self.each
        names = np.unique(self.family)
        out = np.tile(whole, (len(names), 1))
        for k, (rows, p) in enumerate(self.found):
            for one in np.unique(self.family[rows]):
                keep = self.family[rows] != one
                at = np.searchsorted(names, one)
                out[at, k] = self.outcome.score(rows[keep], p[keep]) if keep.any() else np.nan
        return np.nanmean(out, axis=1)

    def interval(self, other: Scores | None = None) -> tuple[float, float, float]:
        """Mean and 95% interval over families, of the score or of its difference from another's on the same draws.

        An interval of a score ends where scores do.
        """
        if not self.found or (other is not None and not other.found):
            return float("nan"), float("nan"), float("nan")
        without = self.without() - (0.0 if other is None else other.without())
        each = self.each - (0.0 if other is None else other.each)
        mean, low, high = around(each, without, self.family)
        least = -1.0 if self.outcome.kind == "numbers" else 0.0
        return (mean, low, high) if other is not None else (mean, max(low, least), min(high, 1.0))


def around(each: np.ndarray, without: np.ndarray, family: np.ndarray) -> tuple[float, float, float]:
    """Mean of draws and a jackknife's interval: pseudo-values of families are its observations, as many as equal ones would be.

    The variance carries that of the mean over draws too: which samples were there to learn from.
    """
    n, mean = len(without), float(np.nanmean(each))
    equal = float(effective_families(np.unique(family, return_counts=True)[1][None])[1][0])
    pseudo = n * without.mean() - (n - 1) * without
    spread = float(np.nanvar(each, ddof=1)) / len(each) if len(each) > 1 else 0.0
    low, high = mean_interval(pseudo, np.arange(n), extra=spread, freedom=equal - 1)[1:]
    half = (high - low) / 2
    return mean, mean - half, mean + half


@dataclass(frozen=True, eq=False)
class Reader:
    """A representation made ready to be read, whatever the labels."""

    kernels: list[np.ndarray]  # float [n, n]: for ridge regressions
    x: np.ndarray  # float [n, n_columns]: for an estimator
    estimator: Estimator | None = None  # of scikit-learn

    @classmethod
    def of(cls, given: Representation, estimator: Estimator | None = None, n: int | None = None) -> Reader:
        """Of a representation; columns are standardised over all rows, or over the first n."""
        if estimator is None:
            return cls(list(_kernels(given, n)), given.x)
        return cls([], given.x if given.scaled else standardised(given.x, n), estimator)

    def read(
        self,
        outcome: Outcome,
        family: np.ndarray,
        draws: list[Draw],
        *,
        size: int | None = None,
        seed: int = 0,
    ) -> Scores:
        """Held-out predictions of every draw in which there is something to learn and to score."""
        found = []
        for number, draw in enumerate(draws):
            some = draw.some(size, seed + number)
            if outcome.varies(some) and outcome.varies(draw.test):
                found.append((draw.test, self.predicted(outcome, family, some, draw.test)))
        return Scores(outcome, found, family)

    def shuffled(
        self,
        outcome: Outcome,
        family: np.ndarray,
        draws: list[Draw],
        *,
        size: int | None = None,
        seed: int = 0,
    ) -> Scores:
        """The same, with the labels in another order in every draw."""
        found = []
        for number, draw in enumerate(draws):
            scores = self.read(outcome.take(draw.shuffle), family, [draw], size=size, seed=seed + number)
            found += [(draw.shuffle[rows], predicted) for rows, predicted in scores.found]
        return Scores(outcome, found, family)

    def predicted(
        self, outcome: Outcome, family: np.ndarray, some: np.ndarray, test: np.ndarray
    ) -> np.ndarray:
        """float64 [n_test, n_columns]: predictions of some rows, learnt on others."""
        if self.estimator is None:
            return _of_kernels(self.kernels, outcome, family, some, test)
        return _of_estimator(self.estimator, self.x, outcome, some, test)


def standardised(x: np.ndarray, n: int | None = None) -> np.ndarray:
    """float32 [n, n_moving]: columns that move, with mean 0 and variance 1 (over the first n rows)."""
    x = np.asarray(x, np.float32)
    spread = x[:n].std(0)
    moves = spread > 1e-6 * np.maximum(np.abs(x[:n]).max(0), 1e-30)
    return (x[:, moves] - x[:n, moves].mean(0)) / spread[moves]


def _kernels(given: Representation, rows: int | None) -> Iterator[np.ndarray]:
    """One of each part, and one of all."""
    total, n = np.zeros((len(given.x),) * 2), 0
    for part in given.parts:
        x = given.x - given.x.mean(0) if given.scaled else standardised(given.x[:, part], rows)
        kernel = (x @ x.T).astype(np.float64)
        total, n = total + kernel, n + x.shape[1]
        if len(given.parts) > 1:
            yield kernel / max(x.shape[1], 1)
    yield total / max(n, 1)


def inner_folds(
    outcome: Outcome, family: np.ndarray, rows: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit on and rows to score, of folds of some rows' families in which there is something to learn and to score."""
    folds = min(INNER, len(np.unique(family[rows])))
    inner = GroupKFold(folds).split(rows, rows, family[rows]) if folds > 1 else ()
    pairs = [(rows[a], rows[b]) for a, b in inner]
    return [(a, b) for a, b in pairs if outcome.varies(a) and outcome.varies(b)]


def _of_kernels(
    kernels: list[np.ndarray], outcome: Outcome, family: np.ndarray, some: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Predictions with the kernel and the penalty that read inner folds of families best."""
    pairs = inner_folds(outcome, family, some)
    best, most = (kernels[-1], PENALTIES[1]), -np.inf
    for kernel in kernels:
        if not pairs:
            break
        scores = np.array(
            [
                [outcome.score(b, p) for p in _ridge(kernel, outcome.target(a), a, b, PENALTIES)]
                for a, b in pairs
            ]
        ).mean(0)
        if np.nanmax(scores, initial=-np.inf) > most:
            most = float(np.nanmax(scores))
            best = kernel, PENALTIES[int(np.nanargmax(scores))]
    return _ridge(best[0], outcome.target(some), some, test, (best[1],))[0]


def _ridge(
    kernel: np.ndarray, target: np.ndarray, some: np.ndarray, test: np.ndarray, penalties: tuple[float, ...]
) -> list[np.ndarray]:
    """Predictions [n_test, n_columns] for each penalty."""
    inside, across = kernel[np.ix_(some, some)], kernel[np.ix_(test, some)]
    mean = inside.mean(0)
    across = across - across.mean(1, keepdims=True) - mean + mean.mean()
    inside = inside - mean - mean[:, None] + mean.mean()
    unit, aim, out = max(float(np.trace(inside)) / len(some), 1e-12), target - target.mean(0), []
    for penalty in penalties:
        solved = cho_factor(inside + penalty * unit * np.eye(len(some)), lower=True, check_finite=False)
        out.append(across @ cho_solve(solved, aim, check_finite=False))
    return out


def _of_estimator(
    estimator: Estimator, x: np.ndarray, outcome: Outcome, some: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Decisions, probabilities or numbers of an estimator, a column a class beyond two."""
    target = outcome.target(some)
    if not x.shape[1]:
        return np.zeros((len(test), target.shape[1]))
    if outcome.kind != "classes" and is_classifier(estimator):
        raise InputError("a classifier reads classes", expected="a regressor", got=type(estimator).__name__)
    try:
        if is_regressor(estimator) or outcome.kind != "classes":
            fitted = [clone(estimator).fit(x[some], column).predict(x[test]) for column in target.T]
            return np.stack([np.asarray(told, float).ravel() for told in fitted], 1)
        return _of_classifier(clone(estimator).fit(x[some], outcome.values[some]), x[test], outcome)
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(
            "the estimator cannot read these labels",
            where=repr(estimator)[:60],
            got=str(error).split("\n")[0],
        ) from error


def _of_classifier(fitted: Estimator, x: np.ndarray, outcome: Outcome) -> np.ndarray:
    n = len(outcome.classes)
    for way in ("decision_function", "predict_proba"):
        if hasattr(fitted, way):
            told = np.asarray(getattr(fitted, way)(x), float)
            break
    else:
        told = np.asarray(fitted.predict(x))[:, None] == np.arange(n)
    if n == 2:
        return told[:, None].astype(float) if told.ndim == 1 else told[:, -1:].astype(float)
    out = np.full((len(x), n), -np.inf)
    at = np.asarray(getattr(fitted, "classes_", np.arange(n))).astype(int)
    if told.ndim == 1:  # two of the classes were there to be learnt
        told = np.stack([-told, told], 1)
    out[:, at] = told
    return out
