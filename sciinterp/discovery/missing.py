"""Missing annotations: spans that look like a concept where no source places it.

For every concept, a small set of features is chosen and a ridge logistic model fitted on some families and
read on the others: first by correlation with the concept, then by what the first model leaves unexplained
(features that tell it from another concept). Log odds become spans, whose bounds are those that best agreed
with the annotated instances of the training families. A second model, cross-fitted in the same way, scores
each span against all annotated ones by peak, mean, length and number of agreeing features. Scores become
probabilities in :mod:`sciinterp.discovery.mixture`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sciinterp.discovery.linear import auroc, fit_logistic, predict
from sciinterp.discovery.mixture import fit_mixture
from sciinterp.discovery.spans import best_iou, first_overlap, per_run, runs, window_mean
from sciinterp.discovery.view import View

MIN_FAMILIES = 8  # families with an instance, below which nothing can be cross-fitted
FIRST, SECOND = 8, 8  # features by correlation, then by residual
MAX_POSITIVE, MAX_ACTIVE, MAX_SILENT = 6000, 12000, 3000  # training positions of a fold; the rest is weighted
MIN_CORRELATION = 0.06  # of the best feature with the concept, on training families
MIN_SEPARATION = 0.75  # AUROC of annotated spans against the others: below it the two are one heap
UNLABELLED_PER_LABELLED = 4.0  # candidates looked at, so that the decay of misfires can be seen


@dataclass(frozen=True, eq=False)
class ConceptModel:
    """What one fold's model of a concept is: features, coefficients, scale, window, thresholds."""

    features: np.ndarray
    scale: np.ndarray
    beta: np.ndarray
    width: int
    low: float
    bound: float
    gap: int


@dataclass(frozen=True, eq=False)
class Spans:
    """Spans a concept's models mark, over all samples (each read by a model of other families).

    Attributes
    ----------
    start, end : int64 [n]
        On the concatenated axis.
    known : bool [n]
        Meets an instance of the concept, an ancestor or an equivalent.
    score : float [n]
        Log odds of being known, cross-fitted.
    probability, low : float [n]
        Of being an instance left out, and from the lower bound of their number; 0 where known.
    """

    concept: str
    start: np.ndarray
    end: np.ndarray
    known: np.ndarray
    score: np.ndarray
    probability: np.ndarray
    low: np.ndarray
    models: tuple[ConceptModel | None, ...]
    hidden: float
    hidden_low: float


def find_spans(view: View, concept: str) -> Spans | str:
    """Spans of one concept, or the reason why it was left out.

    Parameters
    ----------
    view : View
    concept : str

    Returns
    -------
    Spans or str
    """
    c = view.names.index(concept)
    table = view.instances[view.instances["concept"] == c]
    n_families = len(np.unique(view.family[table["sample"]]))
    if n_families < MIN_FAMILIES:
        return f"instances in only {n_families} families, fewer than {MIN_FAMILIES}"
    inst_start, inst_end = table["start"].to_numpy(), table["end"].to_numpy()
    target = np.asarray(view.positives[:, [c]].todense()).ravel()
    blocked = _related(view, concept)
    parts, models = [], []
    for k in range(view.n_folds):
        train = (view.fold_of != k) & view.covered[view.sample_of, c]
        model, x = _fit_fold(view, c, target, train, k, inst_start, inst_end)
        models.append(model)
        if model is None:
            continue
        part = _mark(view, model, x, k)
        if len(part):
            parts.append(part.assign(fold=k))
    if not parts:
        return "no feature tells it from the rest"
    frame = pd.concat(parts, ignore_index=True).sort_values("start", ignore_index=True)
    start, end = frame["start"].to_numpy(), frame["end"].to_numpy()
    known = first_overlap(start, end, np.append(inst_start, blocked[0]), np.append(inst_end, blocked[1]))
    typical = np.median(inst_end - inst_start)
    score = _score_spans(view, frame, known, typical)
    return _calibrate(view, concept, frame, known, score, tuple(models))


def _related(view: View, concept: str) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of ancestors, descendants and equivalents: where they stand, the concept is not missing."""
    related = related_concepts(view, concept)
    table = view.instances[view.instances["concept"].isin([view.names.index(r) for r in related])]
    return table["start"].to_numpy(), table["end"].to_numpy()


def related_concepts(view: View, concept: str) -> list[str]:
    """Ancestors, descendants, and concepts that cover nearly the same positions (Jaccard above 0.8)."""
    parent = view.annotations.concepts["parent"].to_dict()

    def ancestors(name: str) -> list[str]:
        chain: list[str] = []
        while parent.get(name) and parent[name] not in chain:
            name = parent[name]
            chain.append(name)
        return chain

    c = view.names.index(concept)
    both = np.asarray(
        (view.positives[:, [c]].astype(np.int64).T @ view.positives.astype(np.int64)).todense()
    ).ravel()
    jaccard = both / np.maximum(view.n_positive + view.n_positive[c] - both, 1)
    up = ancestors(concept)
    return [
        n
        for i, n in enumerate(view.names)
        if n != concept and (n in up or concept in ancestors(n) or jaccard[i] > 0.8)
    ]


def _correlation(view: View, c: int, k: int) -> np.ndarray:
    """Correlation [n_features] of log codes with the concept on the families outside fold ``k``."""
    inside, total, square, positives, size = view.fold_sums
    keep = np.arange(view.n_folds) != k
    n, pos = size[keep].sum(), positives[keep, c].sum()
    mean = total[keep].sum(0) / n
    std = np.sqrt(np.maximum(square[keep].sum(0) / n - mean**2, 1e-12))
    return (inside[keep, c].sum(0) / n - mean * pos / n) / (
        std * np.sqrt(max(pos / n * (1 - pos / n), 1e-12))
    )


def _fit_fold(
    view: View,
    c: int,
    target: np.ndarray,
    train: np.ndarray,
    k: int,
    inst_start: np.ndarray,
    inst_end: np.ndarray,
) -> tuple[ConceptModel | None, np.ndarray]:
    """The model of the families outside fold ``k``, and its design over all positions."""
    rng = np.random.default_rng([view.seed, c, k])
    correlation = _correlation(view, c, k)
    first = np.argsort(-correlation, kind="stable")[:FIRST]
    first = first[correlation[first] > 0.01]
    if not len(first) or correlation[first[0]] < MIN_CORRELATION or not (target & train).any():
        return None, np.zeros((0, 0))
    width = int(np.clip(np.median(inst_end - inst_start) // 2, 1, 8))
    scale = _scales(view, first)
    x = _design(view, first, scale, width)
    rows, weight = _training_rows(x, target, train, rng)
    beta = fit_logistic(x[rows], target[rows], weight, ridge=2.0)
    residual = weight * (target[rows] - 0.5 * (1 + np.tanh(0.5 * predict(x[rows], beta))))
    codes = view.codes[rows]
    gradient = np.abs(codes.T @ residual) / np.sqrt(codes.power(2).T @ np.maximum(weight, 1e-9) + 1.0)
    gradient[first] = 0
    second = np.argsort(-gradient, kind="stable")[:SECOND]
    second = second[gradient[second] > 0]
    chosen = np.concatenate([first, second])
    more = _scales(view, second)
    x = _interleave(x, _design(view, second, more, width))
    scale = np.concatenate([scale, more])
    beta = fit_logistic(x[rows], target[rows], weight, ridge=2.0)
    eta = predict(x, beta)
    low, bound = _thresholds(view, eta, target, train, inst_start, inst_end, gap=min(width, 2))
    return ConceptModel(chosen, scale, beta, width, low, bound, min(width, 2)), x


def _scales(view: View, chosen: np.ndarray) -> np.ndarray:
    columns = view.columns
    return np.array([max(float(np.mean(columns.data[columns.indptr[f] : columns.indptr[f + 1]])), 1e-6)
                     if columns.indptr[f + 1] > columns.indptr[f] else 1.0 for f in chosen])  # fmt: skip


def _interleave(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Two designs as one: the positions' columns first, then the means'."""
    i, j = a.shape[1] // 2, b.shape[1] // 2
    return np.hstack([a[:, :i], b[:, :j], a[:, i:], b[:, j:]])


def _design(view: View, chosen: np.ndarray, scale: np.ndarray, width: int) -> np.ndarray:
    """Log codes at the position, and their mean around it: float32 [n_positions, 2 n_chosen]."""
    dense = np.log1p(view.columns[:, chosen].toarray() / scale)
    around = window_mean(dense, width, view.samples.offsets)
    return np.hstack([dense, around])


def _training_rows(
    x: np.ndarray, target: np.ndarray, train: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Positions to fit on: positives, positions where something is active, and some of the silent rest."""
    active = x.any(axis=1)
    rows, weights = [], []
    groups = (
        (train & target, MAX_POSITIVE),
        (train & ~target & active, MAX_ACTIVE),
        (train & ~target & ~active, MAX_SILENT),
    )
    for mask, limit in groups:
        index = np.flatnonzero(mask)
        take = index if len(index) <= limit else np.sort(rng.choice(index, limit, replace=False))
        rows.append(take)
        weights.append(np.full(len(take), len(index) / max(len(take), 1)))
    return np.concatenate(rows), np.concatenate(weights)


def _thresholds(
    view: View,
    eta: np.ndarray,
    target: np.ndarray,
    train: np.ndarray,
    inst_start: np.ndarray,
    inst_end: np.ndarray,
    *,
    gap: int,
) -> tuple[float, float]:
    """The bound at which runs best cover the instances of the training families, and a low one for candidates."""
    offsets = view.samples.offsets
    outside = np.where(train, eta, -np.inf)
    inside = train[inst_start]
    peaks = np.array([eta[s:e].max() for s, e in zip(inst_start[inside], inst_end[inside])])
    grid = np.unique(np.quantile(peaks, np.linspace(0.02, 0.9, 12)) - 0.3)
    best, bound = -1.0, float(grid[0])
    for threshold in grid:
        start, end = runs(outside, threshold, offsets, gap=gap)
        if not len(start):
            continue
        cover = best_iou(inst_start[inside], inst_end[inside], start, end).sum()
        quality = 2 * cover / (inside.sum() + len(start))
        if quality > best:
            best, bound = quality, float(threshold)
    wanted = UNLABELLED_PER_LABELLED * max(int(inside.sum()), 20)
    low = float(grid[0])
    floor = float(np.median(eta[train])) + 0.2
    for threshold in np.linspace(bound, min(floor, bound), 8):
        start, _ = runs(outside, threshold, offsets, gap=gap)
        low = float(threshold)
        if len(start) > wanted:
            break
    return min(low, bound), bound


def _mark(view: View, model: ConceptModel, x: np.ndarray, k: int) -> pd.DataFrame:
    """Spans of fold ``k`` with what the second model looks at."""
    eta = np.where(view.fold_of == k, predict(x, model.beta), -np.inf)
    offsets = view.samples.offsets
    start, end = runs(eta, model.low, offsets, gap=model.gap)
    if not len(start):
        return pd.DataFrame()
    weak = per_run(eta, start, end, "max") <= model.bound
    strong = runs(eta, model.bound, offsets, gap=model.gap)
    start, end = np.concatenate([start[weak], strong[0]]), np.concatenate([end[weak], strong[1]])
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    finite = np.where(np.isfinite(eta), eta, model.low)
    n = len(model.features)
    positive = model.beta[:n] + model.beta[n : 2 * n] > 0
    agree = sum((per_run(x[:, j], start, end, "max") > 0).astype(float) for j in np.flatnonzero(positive))
    against = sum(
        (per_run(x[:, j], start, end, "max") for j in np.flatnonzero(~positive)), np.zeros(len(start))
    )
    return pd.DataFrame({"start": start, "end": end, "peak": per_run(finite, start, end, "max"),
                         "mean": per_run(finite, start, end, "mean"), "agree": agree, "against": against})  # fmt: skip


def _score_spans(view: View, frame: pd.DataFrame, known: np.ndarray, typical: float) -> np.ndarray:
    """Cross-fitted log odds of each span being a known one."""
    length = np.log((frame["end"] - frame["start"]).to_numpy() / max(typical, 1.0))
    raw = np.column_stack([frame["peak"], frame["mean"], np.minimum(length, 0), np.maximum(length, 0),
                           frame["agree"], frame["against"]])  # fmt: skip
    x = (raw - raw.mean(0)) / (raw.std(0) + 1e-9)
    fold = frame["fold"].to_numpy()
    score = np.zeros(len(frame))
    for k in np.unique(fold):
        train = fold != k
        if known[train].any() and (~known[train]).any():
            score[~train] = predict(x[~train], fit_logistic(x[train], known[train], ridge=1.0))
        else:
            score[~train] = frame["peak"].to_numpy()[~train]
    return score


def _calibrate(
    view: View,
    concept: str,
    frame: pd.DataFrame,
    known: np.ndarray,
    score: np.ndarray,
    models: tuple[ConceptModel | None, ...],
) -> Spans | str:
    start, end = frame["start"].to_numpy(), frame["end"].to_numpy()
    family = view.family[view.sample_of[start]]
    if known.sum() < 10:
        return f"its features mark only {int(known.sum())} annotated instances"
    separation = auroc(score[known], score[~known])
    if separation < MIN_SEPARATION:
        return f"its features do not tell annotated spans from others (AUROC {separation:.2f})"
    probability, low = np.zeros(len(frame)), np.zeros(len(frame))
    hidden = hidden_low = 0.0
    if (~known).any():
        carries = np.zeros(len(view.samples), bool)
        carries[view.instances.loc[view.instances["concept"] == view.names.index(concept), "sample"]] = True
        mixture = fit_mixture(
            score[known],
            score[~known],
            family[known],
            family[~known],
            beside=carries[view.sample_of[start[~known]]],
            share=float(view.samples.lengths[carries].sum() / view.samples.n_positions),
        )
        probability[~known] = mixture.probability(score[~known])
        low[~known] = mixture.probability(score[~known], low=True)
        hidden, hidden_low = mixture.hidden, mixture.hidden_low
    return Spans(concept, start, end, known, score, probability, low, models, hidden, hidden_low)
