"""q-values of missing annotations: what the same search says of features that know nothing.

Three kinds of decoys are searched in the same way as the features: the features rotated along their samples (same
density, autocorrelation and resemblance of relatives), the codes of shuffled sequences, and the codes of the randomised
model. What the randomised model marks at the place of a candidate agrees with it and is no decoy. The strictest kind
decides, and no q-value is below the list's own expected error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sciinterp.discovery.missing import Spans, find_spans
from sciinterp.discovery.problem import Problem
from sciinterp.discovery.settings import Controls
from sciinterp.discovery.spans import first_overlap


def decoy_lists(
    problem: Problem, found: list[Spans], controls: Controls, context: dict[str, Any], *, n_rotations: int
) -> list[tuple[np.ndarray, int]]:
    """Probabilities of decoy spans and the number of runs they come from, one entry a kind."""
    n, lists = n_rotations, []
    if n:
        rotated = [_search(problem.shifted(problem.seed * 1000 + r), found) for r in range(n)]
        lists.append((np.concatenate([np.zeros(0), *(p for p, _ in rotated)]), n))
    for name, control in (
        ("randomised model", controls.randomised),
        ("shuffled sequences", controls.shuffled),
    ):
        if control is None:
            context["not_run"][name] = "no such control was given; it is not among the decoys"
            continue
        p, hidden = _search(problem.with_features(control), found, apart=name == "randomised model")
        lists.append((p, 1))
        context["counts"]["missing"][f"estimated_left_out_by_{name.replace(' ', '_')}"] = hidden
    return lists


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


def q_values(p: np.ndarray, low: np.ndarray, decoys: list[tuple[np.ndarray, int]]) -> np.ndarray:
    """The largest of the list's own error and of the error every kind of decoy shows."""
    q = list_error(low)
    for values, runs in decoys:
        q = np.maximum(q, decoy_error(p, values, runs))
    return q


def list_error(low: np.ndarray) -> np.ndarray:
    """Mean of one minus the lower probability over each candidate and all better ones."""
    order = np.argsort(-low, kind="stable")
    out = np.empty(len(low))
    out[order] = np.cumsum(1 - low[order]) / np.arange(1, len(low) + 1)
    return out


def decoy_error(p: np.ndarray, decoys: np.ndarray, n_decoys: int) -> np.ndarray:
    """Decoys at least as probable, one added, per run, over candidates at least as probable."""
    order = np.argsort(-p, kind="stable")
    better = len(decoys) - np.searchsorted(np.sort(decoys), p[order], side="left")
    q = (better + 1) / n_decoys / np.arange(1, len(p) + 1)
    out = np.empty(len(p))
    out[order] = np.minimum(1, np.minimum.accumulate(q[::-1])[::-1])
    return out
