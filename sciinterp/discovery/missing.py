"""Missing annotations: spans that look like a concept where no source places it.

For every concept, a small set of features is chosen and a ridge logistic model fitted on some families and
read on the others: first by correlation with the concept, then by what the first model leaves unexplained
(features that tell it from another concept). Log odds become spans, whose bounds are those that best agreed
with the annotated instances of the training families. A second model, cross-fitted in the same way, scores
each span against all annotated ones by peak, mean, length and number of agreeing features. Scores become
probabilities in :mod:`sciinterp.discovery.positive_unlabelled` and :mod:`sciinterp.discovery.left_out`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.special import expit

from sciinterp import distributed
from sciinterp.budget import give_back
from sciinterp.discovery.calibrate import auroc, posterior
from sciinterp.discovery.design import Design, Rows
from sciinterp.discovery.left_out import Marks
from sciinterp.discovery.logistic import fit_logistic, predict
from sciinterp.discovery.positive_unlabelled import MAX_HIDDEN, fit_mixture
from sciinterp.discovery.problem import Problem
from sciinterp.discovery.spans import best_iou, first_overlap, per_run, runs

MIN_FAMILIES = 8  # families with an instance, below which nothing can be cross-fitted
FIRST, SECOND = 8, 8  # features by correlation, then by residual
MAX_POSITIVE, MAX_ACTIVE, MAX_SILENT = 3000, 6000, 1500  # training positions of a fold; the rest is weighted
MIN_CORRELATION = 0.06  # of the best feature with the concept, on training families
MIN_MARKED = 10  # annotated instances that must be marked, below which their scores have no distribution
MIN_OUTSCORED = 0.6  # AUROC of annotated spans against the other marks, below which no score tells them apart
MIN_SEPARATION = 0.75  # AUROC of annotated instances against other places, below which the two are one heap
BATCH = 48  # concepts whose features are chosen in one pass over the codes
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
    score, outscored : float [n]
        Log odds of being known, cross-fitted; share of the known spans that score lower.
    probability : float [n]
        Of being an instance left out; 0 where known.
    as_away : float [n]
        What the probability would be if no annotated instance stood in the same sample.
    beside : bool [n]
        One does.
    share : float
        Of all positions that lie in samples with an annotated instance.
    any_left_out : float
        Probability that the sources left out some of the concept at all.
    """

    concept: str
    start: np.ndarray
    end: np.ndarray
    known: np.ndarray
    score: np.ndarray
    outscored: np.ndarray
    probability: np.ndarray
    as_away: np.ndarray
    beside: np.ndarray
    share: float
    models: tuple[ConceptModel | None, ...]
    any_left_out: float

    @property
    def hidden(self) -> float:
        """Expected number of instances left out."""
        return float(self.probability.sum())


def find_spans(problem: Problem, concepts: Sequence[str]) -> dict[str, Spans | str]:
    """Spans of some concepts, or the reason why one was left out.

    Concepts are dealt to ranks; features are read in one pass over blocks for :data:`BATCH` of them at a time.
    """
    found: dict[str, Spans | str] = {}
    mine = distributed.mine(concepts)
    for low in range(0, len(mine), BATCH):
        searches: dict[str, _Search | str] = {c: _begin(problem, c) for c in mine[low : low + BATCH]}
        fits = [f for s in searches.values() if not isinstance(s, str) for f in s.fits if f is not None]
        _choose_second(problem, fits)
        for concept, search in searches.items():
            found[concept] = search if isinstance(search, str) else _conclude(problem, search)
        give_back()
    return _weighed({concept: s for part in distributed.gathered(found) for concept, s in part.items()})


def _weighed(found: dict[str, Spans | str]) -> dict[str, Spans | str]:
    """The same spans, their probabilities times that of anything being left out, estimated from all concepts."""
    spans = [s for s in found.values() if not isinstance(s, str)]
    chance = posterior(np.array([s.any_left_out for s in spans]))
    weighed = {
        s.concept: replace(s, probability=p * s.probability, as_away=p * s.as_away, any_left_out=float(p))
        for s, p in zip(spans, chance)
    }
    return {concept: weighed.get(concept, s) for concept, s in found.items()}


@dataclass(frozen=True, eq=False)
class _Search:
    """One concept on its way: its instances, its columns, and the first model of each fold."""

    problem: Problem
    concept: str
    start: np.ndarray
    end: np.ndarray
    design: Design
    fits: list[_Fit | None]

    @property
    def number(self) -> int:
        return self.problem.names.index(self.concept)

    def target(self) -> np.ndarray:
        """bool [n_positions]: where the concept is annotated."""
        return np.asarray(self.problem.positives[:, [self.number]].todense()).ravel()

    def train(self, k: int) -> np.ndarray:
        """bool [n_positions]: covered positions of the families outside fold ``k``."""
        return (self.problem.fold_of != k) & self.problem.covered[self.problem.sample_of, self.number]


@dataclass(eq=False)
class _Fit:
    """What a fold's first model leaves unexplained, and then the features of the second."""

    first: np.ndarray
    rows: np.ndarray
    weight: np.ndarray
    residual: np.ndarray
    second: np.ndarray


def _begin(problem: Problem, concept: str) -> _Search | str:
    """Instances, columns and first models, or why the concept is left out."""
    c = problem.names.index(concept)
    table = problem.instances_of(c)
    n_families = len(np.unique(problem.family[table["sample"]]))
    if n_families < MIN_FAMILIES:
        return f"instances in only {n_families} families, fewer than {MIN_FAMILIES}"
    start, end = table["start"].to_numpy(), table["end"].to_numpy()
    design = Design(problem, int(np.clip(np.median(end - start) // 2, 1, 8)))
    search = _Search(problem, concept, start, end, design, [])
    target = search.target()
    search.fits.extend(_first_fit(search, target, k) for k in range(problem.n_folds))
    design.made.clear()  # read again when the second models are fitted: a batch of concepts waits in between
    return search


def _conclude(problem: Problem, search: _Search) -> Spans | str:
    """Second models, the spans they mark on families they have not seen, and their probabilities."""
    parts, models, target = [], [], search.target()
    held_out = np.full(problem.n_positions, np.nan)
    for k, fit in enumerate(search.fits):
        model, x = (None, None) if fit is None else _second_fit(search, fit, target, k)
        models.append(model)
        if model is None or x is None:
            continue
        mine = problem.fold_of == k
        held_out[mine] = x.log_odds(model.beta)[mine]
        part = _mark(problem, model, x, held_out, k)
        if len(part):
            parts.append(part.assign(fold=k))
    if not parts:
        return "no feature tells it from the rest"
    separation = _separation(problem, held_out, search.start, search.end)
    if separation < MIN_SEPARATION:
        return f"its features do not tell annotated spans from other places (AUROC {separation:.2f})"
    frame = pd.concat(parts, ignore_index=True).sort_values("start", ignore_index=True)
    start, end = frame["start"].to_numpy(), frame["end"].to_numpy()
    blocked = _related(problem, search.concept)
    known = first_overlap(start, end, np.append(search.start, blocked[0]), np.append(search.end, blocked[1]))
    search.design.made.clear()
    score = _score_spans(problem, frame, known, np.median(search.end - search.start))
    return _calibrate(problem, search.concept, frame, known, score, tuple(models))


def _related(problem: Problem, concept: str) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of ancestors, descendants and equivalents: where they stand, the concept is not missing."""
    related = related_concepts(problem, concept)
    table = problem.instances[problem.instances["concept"].isin([problem.names.index(r) for r in related])]
    return table["start"].to_numpy(), table["end"].to_numpy()


def related_concepts(problem: Problem, concept: str) -> list[str]:
    """Ancestors, descendants, and concepts that cover nearly the same positions (Jaccard above 0.8)."""
    parent = problem.annotations.concepts["parent"].to_dict()

    def ancestors(name: str) -> list[str]:
        chain: list[str] = []
        while parent.get(name) and parent[name] not in chain:
            name = parent[name]
            chain.append(name)
        return chain

    c = problem.names.index(concept)
    both = problem.co_positive[c]
    jaccard = both / np.maximum(problem.n_positive + problem.n_positive[c] - both, 1)
    up = ancestors(concept)
    return [
        n
        for i, n in enumerate(problem.names)
        if n != concept and (n in up or concept in ancestors(n) or jaccard[i] > 0.8)
    ]


def _correlation(problem: Problem, c: int, k: int) -> np.ndarray:
    """Correlation [n_features] of log codes with the concept on the families outside fold ``k``."""
    inside, total, square, positives, size = problem.fold_sums
    keep = np.arange(problem.n_folds) != k
    n, pos = size[keep].sum(), positives[keep, c].sum()
    mean = total[keep].sum(0) / n
    std = np.sqrt(np.maximum(square[keep].sum(0) / n - mean**2, 1e-12))
    return (inside[keep, c].astype(np.float64).sum(0) / n - mean * pos / n) / (
        std * np.sqrt(max(pos / n * (1 - pos / n), 1e-12))
    )


def _first_fit(search: _Search, target: np.ndarray, k: int) -> _Fit | None:
    """The first model of the families outside fold ``k``: where it errs, and by how much."""
    problem, c, train = search.problem, search.number, search.train(k)
    correlation = _correlation(problem, c, k)
    first = np.argsort(-correlation, kind="stable")[:FIRST]
    first = first[correlation[first] > 0.01]
    if not len(first) or correlation[first[0]] < MIN_CORRELATION or not (target & train).any():
        return None
    x = search.design.matrix(first)
    rows, weight = _training_rows(x.any(), target, train)
    some = x.take(rows)
    beta = fit_logistic(some, target[rows], weight, ridge=2.0)
    residual = weight * (target[rows] - expit(predict(some, beta)))
    return _Fit(first, rows, weight, residual, np.zeros(0, np.int64))


def _choose_second(problem: Problem, fits: list[_Fit]) -> None:
    """Features that tell best where the first models err, of all features, in one pass."""
    if not fits:
        return
    job = np.repeat(np.arange(len(fits)), [len(f.rows) for f in fits])
    at, shape = np.concatenate([f.rows for f in fits]), (len(fits), problem.n_positions)
    residual, weight = (
        sp.csr_array((np.concatenate(values), (job, at)), shape=shape)
        for values in ([f.residual for f in fits], [np.maximum(f.weight, 1e-9) for f in fits])
    )
    gradient = np.zeros((len(fits), problem.n_features))
    for lo, block in problem.blocks():
        codes = sp.csr_array(block.to_csc())
        towards = np.abs(np.asarray((residual @ codes).todense()))
        spread = np.asarray((weight @ codes.power(2)).todense())
        gradient[:, lo : lo + block.n_features] = towards / np.sqrt(spread + 1.0)
    for fit, row in zip(fits, gradient):
        row[fit.first] = 0
        second = np.argsort(-row, kind="stable")[:SECOND]
        fit.second = second[row[second] > 0]


def _second_fit(search: _Search, fit: _Fit, target: np.ndarray, k: int) -> tuple[ConceptModel, Rows]:
    """The model of the families outside a fold, and its design over all positions."""
    chosen = np.concatenate([fit.first, fit.second])
    design = search.design
    x = design.matrix(chosen)
    beta = fit_logistic(x.take(fit.rows), target[fit.rows], fit.weight, ridge=2.0)
    gap = min(design.width, 2)
    low, bound = _thresholds(
        search.problem, x.log_odds(beta), target, search.train(k), search.start, search.end, gap=gap
    )
    return ConceptModel(chosen, design.scale(chosen), beta, design.width, low, bound, gap), x


def _training_rows(
    active: np.ndarray, target: np.ndarray, train: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Positions to fit on: positives, positions where something is active, and some of the silent rest, evenly spread."""
    rows, weights = [], []
    groups = (
        (train & target, MAX_POSITIVE),
        (train & ~target & active, MAX_ACTIVE),
        (train & ~target & ~active, MAX_SILENT),
    )
    for mask, limit in groups:
        index = np.flatnonzero(mask)
        take = index[_even(min(limit, len(index)), len(index))]
        rows.append(take)
        weights.append(np.full(len(take), len(index) / max(len(take), 1)))
    return np.concatenate(rows), np.concatenate(weights)


def _even(n: int, of: int) -> np.ndarray:
    """int64 [n]: evenly spread numbers below ``of``."""
    return np.arange(n) * of // max(n, 1)


def _thresholds(
    problem: Problem,
    eta: np.ndarray,
    target: np.ndarray,
    train: np.ndarray,
    inst_start: np.ndarray,
    inst_end: np.ndarray,
    *,
    gap: int,
) -> tuple[float, float]:
    """The bound at which runs best cover the instances of the training families, and a low one for candidates."""
    offsets = problem.samples.offsets
    outside = np.where(train, eta, -np.inf)
    inside = train[inst_start]
    peaks = _peaks(eta, inst_start[inside], inst_end[inside])
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


def _peaks(eta: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The largest log odds in each interval, which may overlap."""
    return np.array([eta[i:j].max() for i, j in zip(start, end)])


def _separation(problem: Problem, eta: np.ndarray, inst_start: np.ndarray, inst_end: np.ndarray) -> float:
    """AUROC of peaks inside instances against peaks of windows as long anywhere else, on held-out families.

    Instances left out are as rare among random places as the concept is, so a good detector is near 1 however many
    there are; spans that the model itself marks could not say so.
    """
    length = inst_end - inst_start
    start = _even(4 * len(length), len(eta))
    end = np.minimum(start + np.tile(length, 4), problem.samples.offsets[problem.sample_of[start] + 1])
    free = ~first_overlap(start, end, inst_start, inst_end)
    inside, outside = _peaks(eta, inst_start, inst_end), _peaks(eta, start[free], end[free])
    return auroc(inside[np.isfinite(inside)], outside[np.isfinite(outside)])


def _mark(problem: Problem, model: ConceptModel, x: Rows, held_out: np.ndarray, k: int) -> pd.DataFrame:
    """Spans of fold ``k`` with what the second model looks at."""
    eta = np.where(problem.fold_of == k, held_out, -np.inf)
    offsets = problem.samples.offsets
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
    agree, against = np.zeros((2, len(start)))
    for j, is_sign in enumerate(positive):
        largest = per_run(x.column(j), start, end, "max")
        if is_sign:
            agree += largest > 0
        else:
            against += largest
    return pd.DataFrame(
        {
            "start": start,
            "end": end,
            "peak": per_run(finite, start, end, "max"),
            "mean": per_run(finite, start, end, "mean"),
            "agree": agree,
            "against": against,
        }
    )


def _score_spans(problem: Problem, frame: pd.DataFrame, known: np.ndarray, typical: float) -> np.ndarray:
    """Cross-fitted log odds of each span being a known one."""
    length = np.log((frame["end"] - frame["start"]).to_numpy() / max(typical, 1.0))
    raw = np.column_stack(
        [
            frame["peak"],
            frame["mean"],
            np.minimum(length, 0),
            np.maximum(length, 0),
            frame["agree"],
            frame["against"],
        ]
    )
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
    problem: Problem,
    concept: str,
    frame: pd.DataFrame,
    known: np.ndarray,
    score: np.ndarray,
    models: tuple[ConceptModel | None, ...],
) -> Spans | str:
    start, end = frame["start"].to_numpy(), frame["end"].to_numpy()
    sample = problem.sample_of[start]
    family = problem.family[sample]
    if known.sum() < MIN_MARKED:
        return f"its features mark only {int(known.sum())} annotated instances"
    carriers = problem.instances_of(problem.names.index(concept))["sample"]
    carries = np.isin(np.arange(len(problem.samples)), carriers)
    share = float(problem.samples.lengths[carries].sum() / problem.samples.n_positions)
    outscored = np.searchsorted(np.sort(score[known]), score, side="left") / known.sum()
    none = np.zeros(len(frame))
    found = Spans(
        concept, start, end, known, score, outscored, none, none, carries[sample], share, models, 0.0
    )
    if known.all():
        return found
    marks = Marks(score[known], score[~known], family[known], family[~known], carries[sample[~known]], share)
    if marks.separation < MIN_OUTSCORED:
        return f"annotated spans do not outscore the others that its features mark (AUROC {marks.separation:.2f})"
    mixture = fit_mixture(marks)
    given_any, as_away = none.copy(), none.copy()
    p = mixture.probability(score[~known])
    given_any[~known], as_away[~known] = marks.given_any(p), marks.as_away(p)
    if mixture.at_bound or given_any.sum() >= MAX_HIDDEN * known.sum():
        return (
            f"{MAX_HIDDEN:g} times as many unannotated spans as annotated ones look like it: what is annotated "
            "is no sample of it"
        )
    evidence = marks.log_bayes_factor(mixture.ratio)
    return replace(found, probability=given_any, as_away=as_away, any_left_out=evidence)
