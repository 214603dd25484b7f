"""Exact, threshold-free scores of every feature against every concept.

Positions are ranked by a feature's code; those without a stored code tie at zero, below all others. Walking
the ranking once, group of ties by group of ties, with ``k`` positions and ``tp`` positives so far:

* average precision  AP = sum over groups of (tp gained / P) * tp / k, ties as one group, the zeros last;
* AUROC = 1 - U / (P N), where U counts (positive, negative) pairs ranked the wrong way, ties as one half;
* best F1 = max over groups of 2 tp / (k + P), with the threshold midway to the next lower code.

Only groups that gain a positive can change a concept's AP or raise its F1, so the work is one step per
(stored code, concept of its position): there is no grid of thresholds and no sorting per pair. AP and AUROC
equal scikit-learn's ``average_precision_score`` and ``roc_auc_score``. The F1 is over thresholds of at least
zero: predicting every position is a baseline and not something a feature does (its F1 is ``f1_everything``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float32, Float64, Int64

from sciinterp.association._jit import compiled
from sciinterp.association.by_position import ByPosition, by_position
from sciinterp.budget import ranges
from sciinterp.codes.by_feature import ByFeature, by_feature
from sciinterp.errors import InputError

# Bytes per (feature, concept) pair of the result: three float64 and one float32.
_PAIR_BYTES = 28
# A result above this many bytes is refused with advice: `features` scores a block of them.
MEMORY_BUDGET = 3 << 30
# Below this many values, insertion is faster than four passes over 256 counters.
_SHORT = 40


@dataclass(frozen=True, eq=False)
class PairScores:
    """Scores of every (feature, concept) pair; a position is predicted when its code > `threshold`.

    AP is 0 for a concept without positives; AUROC is NaN where one class is empty. Thresholds are at least 0,
    infinite where the feature meets no positive.
    """

    average_precision: Float64[np.ndarray, "n_features n_concepts"]
    auroc: Float64[np.ndarray, "n_features n_concepts"]
    best_f1: Float64[np.ndarray, "n_features n_concepts"]
    threshold: Float32[np.ndarray, "n_features n_concepts"]
    n_positive: Int64[np.ndarray, " n_concepts"]
    n_positions: int

    @property
    def prevalence(self) -> Float64[np.ndarray, " n_concepts"]:
        """Share of positions that are positive: the average precision of chance."""
        return self.n_positive / max(1, self.n_positions)

    @property
    def f1_everything(self) -> Float64[np.ndarray, " n_concepts"]:
        """F1 of predicting every position."""
        return 2 * self.n_positive / np.maximum(1, self.n_positive + self.n_positions)


def precision_recall(
    codes: sp.csr_array | ByFeature,
    positives: sp.csr_array | ByPosition,
    *,
    features: slice | None = None,
    memory_budget: int = MEMORY_BUDGET,
) -> PairScores:
    """Exact average precision, AUROC and best F1 of every (feature, concept) pair.

    Parameters
    ----------
    codes : csr_array float32 [n_positions, n_features]
        Non-negative.
    positives : csr_array bool [n_positions, n_concepts]
    features : slice with step 1, optional
        Score only these features.
    memory_budget : int
        Bytes the result may take.

    Returns
    -------
    PairScores

    Raises
    ------
    InputError
        The result would be larger than `memory_budget`.

    Examples
    --------
    >>> codes = sp.csr_array(np.array([[3.0], [2.0], [1.0], [0.0]], dtype=np.float32))
    >>> concept = sp.csr_array(np.array([[1], [0], [1], [0]], dtype=bool))
    >>> scores = precision_recall(codes, concept)
    >>> scores.average_precision.round(3), scores.auroc, scores.best_f1, scores.threshold
    (array([[0.833]]), array([[0.75]]), array([[0.8]]), array([[0.5]], dtype=float32))
    """
    columns = by_feature(codes)
    concepts = by_position(positives, columns.n_positions)
    low, high, step = (features or slice(None)).indices(columns.n_features)
    if step != 1:
        raise InputError(
            "features are not next to each other",
            where="argument 'features'",
            expected="a step of 1",
            got=str(step),
        )
    shape = (max(0, high - low), concepts.n_concepts)
    if shape[0] * shape[1] * _PAIR_BYTES > memory_budget:
        raise InputError(
            "scores of all pairs do not fit in memory",
            where="argument 'features'",
            expected=f"at most {memory_budget} bytes",
            got=str(shape[0] * shape[1] * _PAIR_BYTES),
            do="Score blocks of features, one call each.",
        )
    ap, auroc, best_f1 = (np.zeros(shape) for _ in range(3))
    threshold = np.full(shape, np.inf, np.float32)
    of_codes = (columns.values, columns.rows, columns.starts)
    of_concepts = (concepts.starts, concepts.concepts, concepts.n_positive)
    longest = int(np.diff(columns.starts[low : high + 1]).max(initial=0))
    scores = (ap, auroc, best_f1, threshold)
    _rank(of_codes, of_concepts, columns.n_positions, low, high, longest, scores)
    return PairScores(ap, auroc, best_f1, threshold, concepts.n_positive, columns.n_positions)


def fit_pairs(
    codes: sp.csr_array | ByFeature, positives: ByPosition
) -> tuple[Float64[np.ndarray, "n_features n_concepts"], Float32[np.ndarray, "n_features n_concepts"]]:
    """Best F1 and its threshold of every pair, as :func:`precision_recall` gives them, in 12 bytes a pair."""
    f1 = np.zeros((by_feature(codes).n_features, positives.n_concepts))
    threshold = np.full(f1.shape, np.inf, np.float32)
    for low, scores in pair_blocks(codes, positives):
        part = slice(low, low + len(scores.best_f1))
        f1[part], threshold[part] = scores.best_f1, scores.threshold
    return f1, threshold


def pair_blocks(codes: sp.csr_array | ByFeature, positives: ByPosition) -> Iterator[tuple[int, PairScores]]:
    """:func:`precision_recall` of some features after the other, each block with the number of its first."""
    columns = by_feature(codes)
    for low, high in ranges(columns.n_features, _PAIR_BYTES * positives.n_concepts):
        yield low, precision_recall(columns, positives, features=slice(low, high))


def score_pairs(
    codes: ByFeature, positives: ByPosition, feature: np.ndarray, concept: np.ndarray
) -> tuple[Float64[np.ndarray, " n_pairs"], Float64[np.ndarray, " n_pairs"]]:
    """Average precision and AUROC of listed pairs."""
    ap, auroc = np.zeros(len(feature)), np.zeros(len(feature))
    for low, high in ranges(codes.n_features, _PAIR_BYTES * positives.n_concepts):
        mine = np.flatnonzero((feature >= low) & (feature < high))
        if len(mine):
            scores = precision_recall(codes, positives, features=slice(low, high))
            at = (feature[mine] - low, concept[mine])
            ap[mine], auroc[mine] = scores.average_precision[at], scores.auroc[at]
    return ap, auroc


@compiled
def _rank(codes, concepts, n_positions, low, high, longest, scores):
    values, rows, starts = codes
    row_starts, row_concepts, n_positive = concepts
    ap = scores[0]
    n_concepts = len(n_positive)
    keys, order = np.empty(longest, np.uint32), np.empty(longest, np.int32)
    spare_keys, spare_order = np.empty(longest, np.uint32), np.empty(longest, np.int32)
    counters = np.empty(256, np.int64)
    tp = np.zeros(n_concepts, np.int64)
    gained = np.zeros(n_concepts, np.int64)
    wrong = np.zeros(n_concepts, np.float64)
    best_tp = np.zeros(n_concepts, np.int64)
    best_k = np.zeros(n_concepts, np.int64)
    touched = np.empty(n_concepts, np.int32)
    bits = values.view(np.uint32)
    pair = np.zeros(2, np.uint32)
    pair_values = pair.view(np.float32)
    for feature in range(low, high):
        out = feature - low
        n, swapped = _descending(
            bits, rows, starts[feature], starts[feature + 1], keys, order, spare_keys, spare_order, counters
        )
        key, row = (spare_keys, spare_order) if swapped else (keys, order)
        for concept in range(n_concepts):
            tp[concept], wrong[concept], best_tp[concept], best_k[concept] = 0, 0.0, 0, 0
        first = 0
        while first < n:
            last = first + 1
            while last < n and key[last] == key[first]:
                last += 1
            n_touched = 0
            for i in range(first, last):
                for p in range(row_starts[row[i]], row_starts[row[i] + 1]):
                    concept = row_concepts[p]
                    if gained[concept] == 0:
                        touched[n_touched] = concept
                        n_touched += 1
                    gained[concept] += 1
            for t in range(n_touched):
                concept = touched[t]
                gain = gained[concept]
                gained[concept] = 0
                wrong[concept] += gain * ((first - tp[concept]) + 0.5 * (last - first - gain))
                tp[concept] += gain
                ap[out, concept] += gain * (tp[concept] / last)
                total = n_positive[concept]
                if tp[concept] * (best_k[concept] + total) > best_tp[concept] * (last + total):
                    best_tp[concept] = tp[concept]
                    best_k[concept] = last
            first = last
        found = (tp, wrong, best_tp, best_k)
        for concept in range(n_concepts):
            _finish(out, concept, n, found, n_positive, n_positions, key, (pair, pair_values), scores)


@compiled
def _finish(out, concept, n, found, n_positive, n_positions, key, pair, scores):
    """Close a pair with the group of zeros, and turn its best rank into an F1 and a threshold."""
    tp, wrong, best_tp, best_k = found
    ap, auroc, best_f1, threshold = scores
    total = n_positive[concept]
    if total == 0:
        auroc[out, concept] = np.nan
        return
    missed = total - tp[concept]
    zeros = n_positions - n
    ap[out, concept] = (ap[out, concept] + missed * (total / n_positions)) / total
    if total == n_positions:
        auroc[out, concept] = np.nan
    else:
        pairs = float(total) * float(n_positions - total)
        ties = missed * ((n - tp[concept]) + 0.5 * (zeros - missed))
        auroc[out, concept] = 1.0 - (wrong[concept] + ties) / pairs
    if best_tp[concept] > 0:
        k = best_k[concept]
        best_f1[out, concept] = 2.0 * best_tp[concept] / (k + total)
        threshold[out, concept] = _midway(key, k, n, *pair)


@compiled
def _midway(key, k, n, pair, pair_values):
    """A threshold that keeps the first `k` of the ranking and no other; `pair_values` are `pair`'s bits."""
    pair[0] = ~key[k - 1]
    pair[1] = ~key[k] if k < n else np.uint32(0)
    kept, next_lower = pair_values[0], pair_values[1]
    middle = np.float32(0.5) * next_lower + np.float32(0.5) * kept
    return middle if next_lower <= middle < kept else next_lower


@compiled
def _descending(bits, rows, start, end, keys, order, spare_keys, spare_order, counters):
    """Sort the positive values of one feature, largest first; return their number and where they are.

    Bits of non-negative floats order as the floats do, so inverted bits ascending are values descending.
    The sort is stable and its time proportional to the number of values.
    """
    n = 0
    for j in range(start, end):
        if bits[j] != 0 and bits[j] != 0x80000000:
            keys[n] = ~bits[j]
            order[n] = rows[j]
            n += 1
    if n < _SHORT:
        for i in range(1, n):
            key, row = keys[i], order[i]
            j = i
            while j > 0 and keys[j - 1] > key:
                keys[j], order[j] = keys[j - 1], order[j - 1]
                j -= 1
            keys[j], order[j] = key, row
        return n, False
    swapped = False
    for shift in range(0, 32, 8):
        source, source_order = (spare_keys, spare_order) if swapped else (keys, order)
        target, target_order = (keys, order) if swapped else (spare_keys, spare_order)
        for byte in range(256):
            counters[byte] = 0
        for i in range(n):
            counters[(source[i] >> shift) & 255] += 1
        if counters[(source[0] >> shift) & 255] == n:
            continue
        total = 0
        for byte in range(256):
            total, counters[byte] = total + counters[byte], total
        for i in range(n):
            byte = (source[i] >> shift) & 255
            target[counters[byte]] = source[i]
            target_order[counters[byte]] = source_order[i]
            counters[byte] += 1
        swapped = not swapped
    return n, swapped
