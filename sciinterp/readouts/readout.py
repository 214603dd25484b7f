r"""Is a label of whole samples in the features, and were features needed to read it?

A third of the families is held out, a ridge regression is fitted on ``n`` samples of the others (its penalty chosen on
inner folds of families), and scored once on those held out; this is repeated over draws. Every representation sees the same
draws. The score is AUROC for two classes (macro, one against the rest, for more), rank correlation for numbers.

Intervals leave one family out at a time of the mean over draws. *Needed* compares the features with the best plainer
representation: ``yes`` where the lower end of their difference lies above zero, ``no`` where its upper end lies no more than
a small margin above it, else ``cannot tell``; ``nothing to read`` where the features themselves are no better than chance.

Features that carry the label are tested one by one on all samples: the label is permuted within families (between them
where it does not vary inside), and a feature counts where its score exceeds the largest of any feature in all but 5% of
permutations (Westfall and Young, 1993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, GroupShuffleSplit
from sklearn.preprocessing import StandardScaler

from sciinterp.activations import Activations
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import InputError
from sciinterp.frames import Table
from sciinterp.interventions.control_statistics import mean_interval
from sciinterp.readouts.representations import RIVALS, represent
from sciinterp.splits import label_samples

if TYPE_CHECKING:
    from sciinterp.samples import Samples

Labels = str | Mapping[str, object] | pd.Series | Sequence
# By how much features may be better, at most, where they are said not to be needed.
MARGIN = 0.02
# Ridge penalties, in units of the number of samples; columns are standardised.
PENALTIES = (0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class ReadoutSettings:
    """How labels are read.

    Attributes
    ----------
    n_draws : int
        Draws of held-out families.
    held_out : float
        Share of families held out.
    n_permutations : int
        Of the label, for the features that carry it.
    seed : int
    """

    n_draws: int = 12
    held_out: float = 1 / 3
    n_permutations: int = 200
    seed: int = 0


def readout(
    features: FeatureMatrix,
    labels: Labels,
    *,
    by: str | Sequence = "family",
    n: Sequence[int | None] = (24, 96, None),
    acts: Activations | np.ndarray | None = None,
    control: FeatureMatrix | None = None,
    settings: ReadoutSettings | None = None,
) -> Table:
    """Read a label of samples from their features, beside plainer representations by default.

    Parameters
    ----------
    features : FeatureMatrix
    labels : str, mapping, Series or sequence
        A column of the samples' table, values by identifier, or one value a sample; samples without one are left out.
        Text and truth values are classes, numbers are numbers.
    by : str or sequence
        What a family is, as for :func:`sciinterp.split_families`.
    n : sequence of int or None
        Sizes of training; None takes all.
    acts : Activations or array [n_positions, d_in], optional
    control : FeatureMatrix, optional
        Codes of the randomised model.
    settings : ReadoutSettings, optional

    Returns
    -------
    Table
        One row a size and representation: ``n representation score low high``, shuffled labels among them. ``context`` holds
        ``needed`` (yes, no, cannot tell, nothing to read), ``difference`` from the best plainer one at the largest size with
        its interval, ``stable`` (features that carry the label, with adjusted p), ``n_samples`` and ``n_families``.

    Raises
    ------
    InputError
        One value only, or too few samples or families.
    """
    settings = settings or ReadoutSettings()
    samples = features.samples
    values, known = _values(labels, samples)
    family = np.unique(np.asarray(label_samples(samples, by)[0], str), return_inverse=True)[1]
    if known.sum() < 20 or len(np.unique(family[known])) < 6 or len(np.unique(values[known])) < 2:
        raise InputError(
            "too little to read",
            expected="at least 20 samples with two values or more, in 6 families",
            got=f"{int(known.sum())} samples, {len(np.unique(family[known]))} families",
        )
    y, family = values[known], family[known]
    parts = {name: x[known] for name, x in represent(features, acts=acts, control=control).items()}
    draws = list(
        GroupShuffleSplit(settings.n_draws, test_size=settings.held_out, random_state=settings.seed).split(
            y, y, family
        )
    )
    shuffled = np.random.default_rng(settings.seed).permutation(y)
    rows, kept = [], {}
    for size in n:
        for name, x in [*parts.items(), ("shuffled labels", parts["features"])]:
            truth = shuffled if name == "shuffled labels" else y
            found = _scored(x, truth, family, draws, size, settings.seed)
            kept[size, name] = found
            score, low, high = _interval(found, family, np.unique(y))
            rows.append({"n": len(y) if size is None else size, "representation": name, "score": score, "low": low, "high": high})  # fmt: skip
    largest = n[-1]
    context = _needed({k: v for (s, k), v in kept.items() if s == largest}, family, y)
    stable = _stable(parts["features"][:, : features.n_features], y, family, settings)
    context |= {"stable": stable, "n_samples": len(y), "n_families": len(np.unique(family))}
    return Table(pd.DataFrame(rows), context=context)


def _values(labels: Any, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """One value a sample, numbers as float, classes as text; and which samples have one."""
    if isinstance(labels, str):
        if labels not in samples.table.columns:
            raise InputError("there is no such column of samples", where=f"labels {labels!r}")
        column = samples.table[labels].to_list()
    else:
        # a series with an index of its own is by identifier, any other by place
        index = list(labels.index) if isinstance(labels, pd.Series) else None
        named = index is not None and index != list(range(len(labels)))
        found = dict(labels.items()) if named or isinstance(labels, Mapping) else None
        column = list(labels) if found is None else [found.get(name) for name in samples.ids]
    if len(column) != len(samples):
        raise InputError("one label a sample is needed", expected=str(len(samples)), got=str(len(column)))
    given = pd.Series(column, dtype=object)
    known = given.notna().to_numpy() & (given.astype(str) != "").to_numpy()
    if all(
        isinstance(v, (int, float, np.number)) and not isinstance(v, (bool, np.bool_)) for v in given[known]
    ):
        return pd.to_numeric(given, errors="coerce").to_numpy(float), known
    return given.astype(str).to_numpy(object), known


def _scored(
    x: np.ndarray, y: np.ndarray, family: np.ndarray, draws: list, size: int | None, seed: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Held-out numbers, truths and predictions of every draw in which both can be had."""
    found = []
    for number, (train, test) in enumerate(draws):
        rng = np.random.default_rng([seed, number])
        some = (
            train if size is None or size >= len(train) else np.sort(rng.choice(train, size, replace=False))
        )
        if len(np.unique(y[some])) < 2 or len(np.unique(y[test])) < 2:
            continue
        scale = StandardScaler().fit(x[some])
        left, right = scale.transform(x[some]), scale.transform(x[test])
        if left.shape[1] > len(some):  # ridge penalties do not see a rotation
            axes = np.linalg.svd(left, full_matrices=False)[2].T
            left, right = left @ axes, right @ axes
        found.append((test, y[test], _predicted(left, y[some], family[some], right, np.unique(y))))
    return found


def _predicted(
    x: np.ndarray, y: np.ndarray, family: np.ndarray, right: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Predictions of a ridge regression, its penalty chosen on inner folds of families: a column a class, or numbers."""
    numeric = y.dtype == float
    target = y if numeric else (y[:, None] == classes).astype(float)
    folds = min(3, len(np.unique(family)))
    inner = list(GroupKFold(folds).split(x, y, family)) if folds > 1 else []

    def held_out(penalty: float) -> float:
        scores = [
            _score(y[b], Ridge(penalty * len(a)).fit(x[a], target[a]).predict(x[b]), classes)
            for a, b in inner
        ]
        return float(np.nanmean(scores)) if np.isfinite(scores).any() else 0.0

    best = max(PENALTIES, key=held_out) if inner else PENALTIES[1]
    return Ridge(best * len(x)).fit(x, target).predict(right)


def _score(truth: np.ndarray, predicted: np.ndarray, classes: np.ndarray) -> float:
    """AUROC of classes (mean over those that are there), rank correlation of numbers; NaN where there is one value."""
    if predicted.ndim == 1:
        return (
            float(np.corrcoef(rankdata(truth), rankdata(predicted))[0, 1])
            if np.ptp(truth) and np.ptp(predicted)
            else 0.0
        )
    ranks, scores = rankdata(predicted, axis=0), []
    for column, one in enumerate(classes):
        mine = truth == one
        if 0 < (n := int(mine.sum())) < len(truth):
            scores.append((ranks[mine, column].sum() - n * (n + 1) / 2) / (n * (len(truth) - n)))
    return float(np.mean(scores)) if scores else float("nan")


def _without(found: list, family: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The mean score over draws, without each family in turn."""
    out = []
    for one in np.unique(family):
        scores = [_score(t[keep], p[keep], classes) for i, t, p in found if (keep := family[i] != one).any()]
        out.append(np.nanmean(scores))
    return np.array(out)


def _interval(found: list, family: np.ndarray, classes: np.ndarray) -> tuple[float, float, float]:
    if not found:
        return float("nan"), float("nan"), float("nan")
    mean = float(np.nanmean([_score(t, p, classes) for _, t, p in found]))
    return _around(mean, _without(found, family, classes))


def _around(mean: float, without: np.ndarray) -> tuple[float, float, float]:
    """A jackknife's interval: pseudo-values of families are its observations."""
    n = len(without)
    low, high = mean_interval(n * without.mean() - (n - 1) * without, np.arange(n))[1:]
    half = (high - low) / 2
    return mean, mean - half, mean + half


def _needed(found: dict[str, list], family: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Were features needed, at the largest size?"""
    chance = 0.0 if y.dtype == float else 0.5
    score = {name: _interval(draws, family, np.unique(y)) for name, draws in found.items()}
    rivals = {name: s[0] for name, s in score.items() if RIVALS.get(name) and np.isfinite(s[0])}
    best = max(rivals, key=lambda name: rivals[name])
    gap = _around(
        score["features"][0] - rivals[best],
        _without(found["features"], family, np.unique(y)) - _without(found[best], family, np.unique(y)),
    )
    if not score["features"][1] > chance:
        word = "nothing to read"
    else:
        word = "yes" if gap[1] > 0 else "no" if gap[2] <= MARGIN else "cannot tell"
    return {"needed": word, "best_rival": best, "difference": gap}


def _stable(
    largest: np.ndarray, y: np.ndarray, family: np.ndarray, settings: ReadoutSettings
) -> pd.DataFrame:
    """Features that carry the label beyond family, by the largest score of any feature under permutation."""
    ranks = rankdata(largest, axis=0)
    ranks = (ranks - ranks.mean(0)) / np.maximum(ranks.std(0), 1e-12)
    target = rankdata(y)[:, None] if y.dtype == float else (y[:, None] == np.unique(y)).astype(float)
    names, code = np.unique(family, return_inverse=True)
    inside = sum(len(np.unique(y[code == f])) > 1 for f in range(len(names))) >= len(names) / 2
    rng = np.random.default_rng(settings.seed)

    def strength(order: np.ndarray) -> np.ndarray:
        t = target[order]
        t = (t - t.mean(0)) / np.maximum(t.std(0), 1e-12)
        return np.abs(ranks.T @ t / len(t)).max(1)

    real, most = strength(np.arange(len(y))), []
    for _ in range(settings.n_permutations):
        order = np.arange(len(y))
        for part in [np.flatnonzero(code == f) for f in range(len(names))] if inside else [order.copy()]:
            order[part] = rng.permutation(part)
        most.append(strength(order).max())
    p = (1 + (np.array(most)[None] >= real[:, None]).sum(1)) / (1 + len(most))
    frame = pd.DataFrame({"feature": np.arange(len(real)), "correlation": real, "p": p})
    return frame[frame["p"] <= 0.05].sort_values("correlation", ascending=False).reset_index(drop=True)
