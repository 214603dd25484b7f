"""Average precision and AUROC without each family in turn, exactly, in one walk along a feature's ranking.

Neither is a ratio of sums over families, so each family's share is followed along the ranking. With ``tp`` and ``k``
the positives and positions so far, and ``tp_f``, ``k_f`` those of family ``f``,

* average precision without ``f`` gains ``(gain - gain_f) * (tp - tp_f) / (k - k_f)`` at every group of ties;
* (positive, negative) pairs in the wrong order without ``f`` are all of them, less those of its positives, less those
  of its negatives, and once more those that lie within it.

The work of a pair is one step a stored code, and one a family where a group of ties gains a positive. What is
returned adds up over folds whose families are numbered alike: a fold that does not hold a family gives its whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from sciinterp import distributed
from sciinterp.association._jit import compiled
from sciinterp.association.blocks import blocks_of, listed
from sciinterp.association.jackknife import Jackknifed, interval
from sciinterp.association.measure import Judge
from sciinterp.association.partitions import Part
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.by_feature import ByFeature


def add_ranked_intervals(
    table: pd.DataFrame, features: FeatureMatrix, judges: Sequence[Judge], *, level: float
) -> None:
    """Add ends of the intervals of average precision and AUROC of the selected pairs to the table of all."""
    mine = np.flatnonzero(table["selected"].to_numpy() & (table["n_positive"].to_numpy() > 0))
    concept, n_families = table["concept"].to_numpy()[mine], judges[0].test.n_families
    own = distributed.mine(np.arange(len(mine)))
    sums = [np.zeros((len(own), n_families + 1)) for _ in range(4)]
    for judge in judges:
        feature = judge.feature[mine[own]]
        for at, codes, number in listed(blocks_of(features, judge.test, feature), feature):
            for total, value in zip(sums, sums_without(codes, judge.test, number, concept[own[at]])):
                total[at] += value
    sums = [np.concatenate(parts) for parts in zip(*distributed.gathered(sums))]
    positive = np.sum([judge.test.positive_by_family[concept] for judge in judges], axis=0)
    for name, of in zip(("average_precision", "auroc"), ranked(sums, positive)):
        for end, value in zip(("low", "high"), interval(of, level=level)):
            column = np.full(len(table), np.nan)
            column[mine] = value
            table[f"{name}_{end}"] = column


def ranked(sums: Sequence[np.ndarray], positive: np.ndarray) -> tuple[Jackknifed, Jackknifed]:
    """Average precision and AUROC from :func:`sums_without`, with what they move by as families are left out."""
    ap, right, n_positive, n_pairs = sums
    scores = [
        np.divide(above, below, out=np.zeros_like(below), where=below > 0)
        for above, below in ((ap, n_positive), (right, n_pairs))
    ]
    of_ap, of_auroc = (Jackknifed.of(score[:, -1], score[:, :-1], positive) for score in scores)
    return of_ap, of_auroc


def sums_without(
    codes: ByFeature, part: Part, feature: Int64[np.ndarray, " n"], concept: Int64[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, "n n_families_and_one"], ...]:
    """What the scores of listed pairs are ratios of, without each family, and in the last column without none.

    Sum of precisions over positives, (positive, negative) pairs in the right order, and of how many of each.
    """
    ap, wrong = (np.zeros((len(feature), part.n_families + 1)) for _ in range(2))
    feature, concept = np.asarray(feature, np.int64), np.asarray(concept, np.int64)
    positive, size = part.positive_by_family[concept], np.bincount(part.family, minlength=part.n_families)
    ranking = (codes.values, _descending(codes, feature), codes.rows, codes.starts)
    _walk(ranking, part.positive_rows, part.family, size, positive, feature, concept, ap, wrong)
    left = [x.sum(axis=1, keepdims=True) - np.pad(x, ((0, 0), (0, 1))) for x in (positive, size - positive)]
    n_pairs = (left[0] * left[1]).astype(np.float64)
    return ap, n_pairs - wrong, left[0].astype(np.float64), n_pairs


def _descending(codes: ByFeature, feature: np.ndarray) -> Int64[np.ndarray, " n_stored"]:
    """Where the codes of the features lie, each feature's largest first."""
    order = np.empty(len(codes.values), np.int64)
    for low, high in (codes.starts[j : j + 2] for j in np.unique(feature)):
        order[low:high] = low + np.argsort(-codes.values[low:high])
    return order


@compiled
def _walk(ranking, positives, family, size, positive, feature, concept, ap, wrong):
    values, order, rows, starts = ranking
    positive_rows, positive_starts = positives
    n_families = len(size)
    truth = np.zeros(len(family), np.uint8)
    k, tp = np.zeros(n_families + 1, np.int64), np.zeros(n_families + 1, np.int64)
    more, gain = np.zeros(n_families + 1, np.int64), np.zeros(n_families + 1, np.int64)
    of_positives, of_negatives = np.zeros(n_families), np.zeros(n_families)
    within = np.zeros(n_families)
    for i in range(len(feature)):
        low, high = positive_starts[concept[i]], positive_starts[concept[i] + 1]
        for p in range(low, high):
            truth[positive_rows[p]] = 1
        for f in range(n_families + 1):
            k[f], tp[f] = 0, 0
        total = 0
        for f in range(n_families):
            of_positives[f], of_negatives[f], within[f] = 0.0, 0.0, 0.0
            total += positive[i, f]
        first, end = starts[feature[i]], starts[feature[i] + 1]
        while first <= end:  # the last group are the positions without a stored code
            for f in range(n_families + 1):
                more[f], gain[f] = 0, 0
            last = first
            if first < end:
                while last < end and values[order[last]] == values[order[first]]:
                    at = rows[order[last]]
                    more[family[at]] += 1
                    gain[family[at]] += truth[at]
                    last += 1
            else:
                for f in range(n_families):
                    more[f], gain[f] = size[f] - k[f], positive[i, f] - tp[f]
                last += 1
            for f in range(n_families):
                more[n_families] += more[f]
                gain[n_families] += gain[f]
            others = more[n_families] - gain[n_families]
            before, after = k[n_families] - tp[n_families], total - tp[n_families] - gain[n_families]
            for f in range(n_families):
                mine_too = more[f] - gain[f]
                of_positives[f] += gain[f] * (before + 0.5 * others)
                of_negatives[f] += mine_too * (after + 0.5 * gain[n_families])
                within[f] += gain[f] * (k[f] - tp[f] + 0.5 * mine_too)
            for f in range(n_families + 1):
                k[f] += more[f]
                tp[f] += gain[f]
            if gain[n_families] > 0:
                for f in range(n_families):
                    if gain[n_families] > gain[f]:
                        share = (tp[n_families] - tp[f]) / (k[n_families] - k[f])
                        ap[i, f] += (gain[n_families] - gain[f]) * share
                ap[i, n_families] += gain[n_families] * (tp[n_families] / k[n_families])
            first = last
        every = of_positives.sum()
        wrong[i, n_families] = every
        for f in range(n_families):
            wrong[i, f] = every - of_positives[f] - of_negatives[f] + within[f]
        for p in range(low, high):
            truth[positive_rows[p]] = 0
