"""Average precision and AUROC without each family in turn, exactly, in one walk along a feature's ranking.

Neither is a ratio of sums over families, so each family's share is followed along the ranking. With ``tp`` and ``k``
the positives and positions so far, and ``tp_f``, ``k_f`` those of family ``f``,

* average precision without ``f`` gains ``(gain - gain_f) * (tp - tp_f) / (k - k_f)`` at every group of ties;
* (positive, negative) pairs in the wrong order without ``f`` are all of them, less those of its positives, less those
  of its negatives, and once more those that lie within it.

The work of a pair is one step a stored code, and one a family where a group of ties gains a positive.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from sciinterp.association._jit import compiled
from sciinterp.association.jackknife import Jackknifed
from sciinterp.association.partitions import Part
from sciinterp.codes.by_feature import ByFeature


def jackknife_ranking(
    codes: ByFeature, part: Part, feature: Int64[np.ndarray, " n"], concept: Int64[np.ndarray, " n"]
) -> tuple[Jackknifed, Jackknifed]:
    """Average precision and AUROC of listed pairs, as :func:`~sciinterp.association.ranking.score_pairs` gives them,
    with what they move by as families are left out.

    Parameters
    ----------
    codes : ByFeature
        Codes of the positions of `part`.
    part : Part
    feature, concept : int64 [n_pairs]
    """
    shape = (len(feature), part.n_families)
    # The last column leaves out no family.
    ap, wrong = (np.zeros((shape[0], shape[1] + 1)) for _ in range(2))
    columns, positive = part.by_concept, part.positive_by_family[np.asarray(concept, np.int64)]
    size = np.bincount(part.family, minlength=part.n_families)
    _walk(
        codes.values,
        codes.rows,
        codes.starts,
        columns.indices.astype(np.int32, copy=False),
        columns.indptr.astype(np.int64, copy=False),
        part.family,
        size,
        positive,
        np.asarray(feature, np.int64),
        np.asarray(concept, np.int64),
        ap,
        wrong,
    )
    negative = size - positive
    left = [x.sum(axis=1, keepdims=True) - np.pad(x, ((0, 0), (0, 1))) for x in (positive, negative)]
    pairs = (left[0] * left[1]).astype(np.float64)
    ap = np.divide(ap, left[0], out=np.zeros_like(ap), where=left[0] > 0)
    auroc = 1 - np.divide(wrong, pairs, out=np.full_like(wrong, np.nan), where=pairs > 0)
    return (
        Jackknifed.of(ap[:, -1], ap[:, :-1], positive),
        Jackknifed.of(auroc[:, -1], auroc[:, :-1], positive),
    )


@compiled
def _walk(
    values,
    rows,
    starts,
    positive_rows,
    positive_starts,
    family,
    size,
    positive,
    feature,
    concept,
    ap,
    wrong,
):
    n_families = len(size)
    truth = np.zeros(len(family), np.uint8)
    k, tp = np.zeros(n_families + 1, np.int64), np.zeros(n_families + 1, np.int64)
    more, gain = np.zeros(n_families + 1, np.int64), np.zeros(n_families + 1, np.int64)
    of_positives, of_negatives = np.zeros(n_families), np.zeros(n_families)
    within = np.zeros(n_families)
    for i in range(len(feature)):
        of = slice(positive_starts[concept[i]], positive_starts[concept[i] + 1])
        for p in positive_rows[of]:
            truth[p] = 1
        mine = slice(starts[feature[i]], starts[feature[i] + 1])
        value, row = values[mine], rows[mine]
        order = np.argsort(-value)
        k[:], tp[:], of_positives[:], of_negatives[:], within[:] = 0, 0, 0.0, 0.0, 0.0
        total = positive[i].sum()
        first = 0
        while first <= len(order):  # the last group are the positions without a stored code
            more[:], gain[:] = 0, 0
            last = first
            if first < len(order):
                while last < len(order) and value[order[last]] == value[order[first]]:
                    at = row[order[last]]
                    more[family[at]] += 1
                    gain[family[at]] += truth[at]
                    last += 1
            else:
                for f in range(n_families):
                    more[f], gain[f] = size[f] - k[f], positive[i, f] - tp[f]
                last += 1
            more[n_families], gain[n_families] = more[:n_families].sum(), gain[:n_families].sum()
            others = more[n_families] - gain[n_families]
            before, after = k[n_families] - tp[n_families], total - tp[n_families] - gain[n_families]
            for f in range(n_families):
                mine_too = more[f] - gain[f]
                of_positives[f] += gain[f] * (before + 0.5 * others)
                of_negatives[f] += mine_too * (after + 0.5 * gain[n_families])
                within[f] += gain[f] * (k[f] - tp[f] + 0.5 * mine_too)
            k += more
            tp += gain
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
        for p in positive_rows[of]:
            truth[p] = 0
