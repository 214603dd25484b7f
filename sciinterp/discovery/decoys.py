"""q-values of missing annotations: candidates compete with look-alikes that are known to be none.

The look-alikes are what the concept's features mark *beside* an annotated instance, in samples whose source has listed the
concept: of the same features, strength and width, in families that carry it, and not annotated although somebody
looked. As many a position as there are expected elsewhere, and one more, over the candidates at least as probable, is
their error (Barber and Candes 2015). The codes of shuffled sequences and of the randomised model are searched in the
same way as the features where they are given; what the randomised model marks at the place of a candidate agrees with it
and is no decoy. The strictest kind decides, and no q-value is below the list's own expected error.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from scipy.stats import nbinom

from sciinterp.codes import FeatureMatrix
from sciinterp.discovery.missing import Spans, find_spans
from sciinterp.discovery.problem import Problem
from sciinterp.discovery.records import Context
from sciinterp.discovery.settings import Controls
from sciinterp.discovery.spans import first_overlap

N_MADE, AT_ONCE = (
    60,
    12,
)  # made-up features of each of three sorts, and how many of them all are held together
DIGITS = 9  # of scores that are compared: probabilities are equal over whole stretches, but for the order of their sums
MOST_REAL = 200  # of a list, beyond which one more says nothing

# Probabilities of decoys, and how many expected false candidates each stands for.
Decoys = tuple[np.ndarray, np.ndarray]


def decoy_lists(problem: Problem, found: list[Spans], controls: Controls, context: Context) -> list[Decoys]:
    """The decoys of some concepts, one entry a kind."""
    lists = [look_alikes(found)]
    for name, control in (
        ("randomised model", controls.randomised),
        ("shuffled sequences", controls.shuffled),
    ):
        if control is None:
            context["not_run"][name] = "no such control was given; it is not among the decoys"
            continue
        p, hidden = _search(problem.with_features(control), found, apart=name == "randomised model")
        lists.append((p, np.ones(len(p))))
        context["counts"]["missing"][f"estimated_left_out_by_{name.replace(' ', '_')}"] = hidden
    return lists


def look_alikes(found: list[Spans]) -> Decoys:
    """Marks beside annotated instances, as probable as they would be elsewhere, at the rate expected there.

    Where sources leave instances out one by one some of these are real: each counts as far as it is not one.
    """
    beside = [s.beside & ~s.known for s in found]
    p = [s.as_away[b] for s, b in zip(found, beside)]
    weight = [(1 - s.probability[b]) * (1 - s.share) / max(s.share, 1e-9) for s, b in zip(found, beside)]
    none = np.zeros(0)
    return np.concatenate([none, *p]), np.concatenate([none, *weight])


def _search(
    problem: Problem, found: list[Spans], *, apart: bool = False
) -> tuple[np.ndarray, dict[str, float]]:
    """Probabilities of what a decoy problem marks, and the numbers it takes for left out."""
    values, hidden = [np.zeros(0)], {}
    marked = find_spans(problem, [spans.concept for spans in found])
    for spans in found:
        result = marked[spans.concept]
        if isinstance(result, str):
            continue
        kept = ~result.known
        if apart:
            mine = ~spans.known
            kept &= ~first_overlap(result.start, result.end, spans.start[mine], spans.end[mine])
        values.append(result.probability[kept])
        hidden[spans.concept] = round(result.hidden, 1)
    return np.concatenate(values), hidden


def q_values(p: np.ndarray, decoys: list[Decoys]) -> np.ndarray:
    """The largest of the list's own error and of the error every kind of decoy shows."""
    return np.max([list_error(p), *(decoy_error(p, *kind) for kind in decoys)], axis=0)


def list_error(p: np.ndarray, order: np.ndarray | None = None) -> np.ndarray:
    """Mean of one minus the probability over each candidate and all better ones; of equal ones those before it."""
    order = np.argsort(-p, kind="stable") if order is None else order
    out = np.empty(len(p))
    out[order] = np.cumsum(1 - p[order]) / np.arange(1, len(p) + 1)
    return out


def decoy_error(score: np.ndarray, decoys: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """One and the weights of the decoys that score as well, over the candidates that do; not decreasing."""
    score, decoys = np.round(score, DIGITS), np.round(decoys, DIGITS)
    order, ascending = np.argsort(-score, kind="stable"), np.argsort(decoys, kind="stable")
    upto = np.append(np.cumsum(weight[ascending][::-1])[::-1], 0.0)
    better = upto[np.searchsorted(decoys[ascending], score[order], side="left")]
    q = (1 + better) / np.arange(1, len(score) + 1)
    out = np.empty(len(score))
    out[order] = np.minimum(1, np.minimum.accumulate(q[::-1])[::-1])
    return out


def any_real(n: int, n_false: float) -> float:
    """Probability that any of `n` rows is real, where decoys as many as the false ones led to `n_false`.

    Beforehand nothing is there with probability one half, else ``r`` real rows with probability ``1 / (r (r + 1))``,
    which has no scale. The rate of false ones is what the decoys say of it, a Gamma distribution.

    Examples
    --------
    >>> [round(any_real(n, 0), 2) for n in (1, 2, 5, 10)]
    [0.5, 0.62, 0.81, 0.96]
    >>> any_real(5, 4) < 0.5
    True
    """
    if n < 1:
        return 0.0
    real = np.arange(min(n, MOST_REAL) + 1)
    prior = np.append(0.5, 0.5 / (real[1:] * (real[1:] + 1)))
    weight = prior * nbinom.pmf(n - real, n_false + 1, 0.5)
    return float(1 - weight[0] / weight.sum())


def made_up(problem: Problem) -> Iterator[Problem]:
    """Features that follow one letter, the composition of a window, or a distance from an end, in turn; a part at a time."""
    rng = np.random.default_rng(0xDEC0)
    for _ in _followed(
        problem, rng
    ):  # strengths are drawn after all places, which are drawn again a part at a time
        pass
    places = _followed(problem, np.random.default_rng(0xDEC0))
    while some := list(itertools.islice(places, AT_ONCE)):
        value = np.concatenate([rng.gamma(4, 0.25, len(r)).astype(np.float32) for r in some])
        at = np.concatenate(some), np.cumsum([0, *map(len, some)])
        codes = sp.csc_array((value, *at), shape=(problem.n_positions, len(some)))
        yield problem.with_features(FeatureMatrix(codes, problem.samples))


def _followed(problem: Problem, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """int32 [n]: where each made-up feature is active, :data:`N_MADE` of each sort, the sorts in turn."""
    lengths, offsets = problem.samples.lengths, problem.samples.offsets
    letters, n_letters = problem.text, len(problem.alphabet)

    def nine_in_ten(where: np.ndarray) -> np.ndarray:
        return where[rng.random(len(where)) < 0.9].astype(np.int32)

    for i in range(N_MADE):
        yield nine_in_ten(np.flatnonzero(letters == i % n_letters))
        favoured = rng.choice(n_letters, min(4, n_letters), replace=False)
        share = np.convolve(
            np.isin(letters, favoured).astype(np.float32), np.ones(9, np.float32) / 9, mode="same"
        )
        yield nine_in_ten(np.flatnonzero(share > np.quantile(share, 0.96)))
        ends = np.repeat((offsets[:-1] if i % 2 else offsets[1:] - 1).astype(np.int32), lengths)
        distance = np.abs(np.arange(len(letters), dtype=np.int32) - ends)
        centre, width = rng.uniform(0, np.median(lengths) * 0.8), rng.uniform(1.5, 8)
        near = np.flatnonzero(np.abs(distance - centre) < 4 * width)
        yield nine_in_ten(near[rng.random(len(near)) < np.exp(-(((distance[near] - centre) / width) ** 2))])
