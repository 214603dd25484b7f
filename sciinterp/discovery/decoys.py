"""q-values of missing annotations: candidates compete with look-alikes that are known to be none.

The look-alikes are what the concept's features mark *beside* an annotated instance, in samples whose source has listed the
concept: of the same features, strength and width, in families that carry it, and not annotated although somebody
looked. As many a position as there are expected elsewhere, and one more, over the candidates at least as probable, is
their error (Barber and Candes 2015). The codes of shuffled sequences and of the randomised model are searched in the
same way as the features where they are given; what the randomised model marks at the place of a candidate agrees with it
and is no decoy. The strictest kind decides, and no q-value is below the list's own expected error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sciinterp.discovery.missing import Spans, find_spans
from sciinterp.discovery.problem import Problem
from sciinterp.discovery.settings import Controls
from sciinterp.discovery.spans import first_overlap

# Probabilities of decoys, and how many expected false candidates each stands for.
Decoys = tuple[np.ndarray, np.ndarray]


def decoy_lists(
    problem: Problem, found: list[Spans], controls: Controls, context: dict[str, Any]
) -> list[Decoys]:
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
    """Marks beside annotated instances, as probable as they would be elsewhere, at the rate expected there."""
    p = [s.as_away[s.beside & ~s.known] for s in found]
    weight = [np.full(len(v), (1 - s.share) / max(s.share, 1e-9)) for v, s in zip(p, found)]
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


def list_error(p: np.ndarray) -> np.ndarray:
    """Mean of one minus the probability over each candidate and all better ones."""
    order = np.argsort(-p, kind="stable")
    out = np.empty(len(p))
    out[order] = np.cumsum(1 - p[order]) / np.arange(1, len(p) + 1)
    return out


def decoy_error(score: np.ndarray, decoys: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """One and the weights of the decoys that score as well, over the candidates that do; not decreasing."""
    order, ascending = np.argsort(-score, kind="stable"), np.argsort(decoys, kind="stable")
    upto = np.append(np.cumsum(weight[ascending][::-1])[::-1], 0.0)
    better = upto[np.searchsorted(decoys[ascending], score[order], side="left")]
    q = (1 + better) / np.arange(1, len(score) + 1)
    out = np.empty(len(score))
    out[order] = np.minimum(1, np.minimum.accumulate(q[::-1])[::-1])
    return out
