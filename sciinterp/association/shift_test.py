"""Does the feature sit on the annotated places, or anywhere in the families that have them?

Presence in the right families (:mod:`sciinterp.association.statistics`) says nothing of where in them a feature is
active. Here the annotation is shifted around each chain, all relatives of a family by the same fraction of their
length, since relatives share their alignment and are one observation; families are shifted independently. Codes stay
where they are, so that whatever clusters along a chain stays clustered. With ``x_f(s)`` the active and annotated
positions of family ``f`` at shift ``s``, averaged over its annotated samples, the statistic is the sum of ``x_f(0)``
over families, and under the null every ``x_f(0)`` is one draw of the values that ``x_f`` takes over the shifts. Those
are counted exactly, at :data:`N_SHIFTS` shifts; nothing is drawn at random.

A stretch lies inside its chain, so it starts nowhere near the end, and long ones lie more often in the middle than
near the ends, as long runs of a feature do. Shifts at which the end of the chain would cut a stretch of the family
are therefore left out: where every start inside the chain is as likely, the shifts that are left are too. A family whose
stretches reach both ends of a chain counts as cut already, and is compared with the shifts that cut it.

The tail of the sum is exact for one family and for two. For more it is the saddlepoint approximation (Lugannani and
Rice 1980) to the sum of the families' exact distributions, with a correction for continuity of half a position, so
that coincidences of single positions do not pass for more than they are. It is far cheaper than draws, and it
reaches the small p-values that many pairs ask for.

Which families have a concept and whether a feature is active in them does not change under a shift: this test and
that of presence are about different things.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp import distributed
from sciinterp.association._jit import compiled
from sciinterp.association.blocks import dealt_blocks
from sciinterp.association.statistics import TOO_FEW, Screen, benjamini_hochberg
from sciinterp.budget import BLOCK_VALUES
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.active import only_active
from sciinterp.codes.by_feature import ByFeature
from sciinterp.errors import InputError, ShapeError, require_kinds
from sciinterp.samples import Samples

# Shifts around a chain, equally spaced; the least p-value of one family is one over this.
N_SHIFTS = 128
# Kinds of samples whose positions lie in no order along a chain, which a shift could keep.
UNORDERED = ("cells", "crystal")
# Pairs whose sum is not this many deviations above its mean get the normal p-value: they are far from any decision.
_EXACT_FROM = 1.0
# The approximation is off by up to a third where families are few; p-values err to the safe side by this factor.
_SAFETY = 1.25
# Smaller p-values are given as this: single precision ends there.
_LEAST = 1e-37
# Share of a family's samples of which a stretch may be cut: in large families some are off their alignment.
_CUT = 0.1
# Overlaps of less are rounding.
_TINY = 1e-9


class Runs(NamedTuple):
    """Annotated stretches of samples, sorted by concept, then family, then sample."""

    sample: np.ndarray  # int64 [n_runs]
    family: np.ndarray  # int64 [n_runs]
    start: np.ndarray  # int64 [n_runs]: within the sample
    end: np.ndarray  # int64 [n_runs]: half-open
    weight: np.ndarray  # float64 [n_runs]: one over the number of samples of the family that have the concept
    # int32 [n_runs]: first shift at which the end of the chain cuts the stretch; stretches at both ends of a
    # sample are one that is cut where it stands.
    cut: np.ndarray
    whole: np.ndarray  # int32 [n_runs]: first shift after it at which the stretch is whole again
    # int64 [n_concepts + 1]: runs of concept ``c`` are ``of_concept[c]:of_concept[c + 1]``.
    of_concept: np.ndarray
    # bool [n_concepts]: whether the concept is anywhere on less than the whole of a sample.
    placed: np.ndarray


@dataclass(frozen=True, eq=False)
class Places:
    """Tests of place of all pairs, each [n_features, n_concepts].

    NaN where there is no place: in samples without a chain, of concepts that always fill their samples, of concepts in
    too few families and of features that are never active.
    """

    p: np.ndarray  # float32: as in compare_shifts
    q: np.ndarray  # float64: Benjamini and Hochberg, over all these pairs
    fold: np.ndarray  # float32: likewise


def compare_shifts(
    features: FeatureMatrix,
    positives: sp.csr_array,
    family: np.ndarray,
    *,
    feature: np.ndarray,
    concept: np.ndarray,
) -> pd.DataFrame:
    """Test where features are active against where concepts [n_positions, n_concepts] are, for some pairs.

    Columns ``feature``, ``concept``, ``fold`` (active and annotated positions over their mean when shifted,
    NaN where there are none on any shift) and ``p_shift`` (probability of at least as many).

    Examples
    --------
    >>> codes = np.zeros((40, 1), np.float32); codes[[5, 25]] = 1
    >>> table = pd.DataFrame({"id": ["a", "b"], "length": [20, 20]})
    >>> found = compare_shifts(FeatureMatrix(codes, table), sp.csr_array(codes > 0), np.array([0, 1]),
    ...                        feature=np.array([0]), concept=np.array([0]))
    >>> bool(found["fold"][0] > 5), bool(found["p_shift"][0] < 0.05)
    (True, True)
    """
    require_kinds(features=(features, FeatureMatrix))
    feature, concept = np.asarray(feature, np.int64), np.asarray(concept, np.int64)
    if feature.shape != concept.shape:
        raise ShapeError(
            "one concept a feature is needed", expected=str(feature.shape), got=str(concept.shape)
        )
    for name, listed, n in (
        ("feature", feature, features.n_features),
        ("concept", concept, positives.shape[1]),
    ):
        if len(listed) and not (listed.min() >= 0 and listed.max() < n):
            got = f"{listed.min()} to {listed.max()}"
            raise InputError(
                f"there is no such {name}", where=f"argument '{name}'", expected=f"0 to {n - 1}", got=got
            )
    wanted, column = np.unique(concept, return_inverse=True)
    order = np.argsort(feature, kind="stable")
    p, fold = np.ones(len(feature)), np.full(len(feature), np.nan)
    runs = _runs(positives[:, wanted], features.samples, family)
    for low, high in features.feature_blocks(BLOCK_VALUES):
        starts = np.searchsorted(feature[order], np.arange(low, high + 1))
        mine = order[starts[0] : starts[-1]]
        if len(mine):
            codes = only_active(features.by_feature(low, high))
            p[mine], fold[mine] = _of_block(codes, features.samples, runs, starts - starts[0], column[mine])
    return pd.DataFrame({"feature": feature, "concept": concept, "fold": fold, "p_shift": p})


def screen_places(
    features: FeatureMatrix, positives: sp.csr_array, family: np.ndarray, tested: Screen
) -> Places:
    """As :func:`compare_shifts`, for every feature and concept that has not too few families, as `tested` says."""
    shape = (features.n_features, positives.shape[1])
    p, fold = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    runs = _runs(positives, features.samples, family)
    concepts = np.flatnonzero(runs.placed & np.array([word != TOO_FEW for word in tested.test], bool))
    if features.samples.kind in UNORDERED:
        concepts = concepts[:0]

    def of_block(block: tuple[int, int]) -> tuple[np.ndarray, ...]:
        n, codes = block[1] - block[0], only_active(features.by_feature(*block))
        starts = np.arange(n + 1) * len(concepts)
        found = _of_block(codes, features.samples, runs, starts, np.tile(concepts, n))
        of_p, of_fold = (values.reshape(n, len(concepts)).astype(np.float32) for values in found)
        of_p[np.diff(codes.starts) == 0] = np.nan
        return of_p, of_fold

    blocks = dealt_blocks(features)
    for (low, high), found in zip(blocks, distributed.spread(blocks, of_block)):
        p[low:high, concepts], fold[low:high, concepts] = found
    return Places(p, benjamini_hochberg(p), fold)


def _of_block(
    codes: ByFeature, samples: Samples, runs: Runs, starts: np.ndarray, column: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``p_shift`` and ``fold`` of the listed pairs of a block; ``column[starts[i]:starts[i + 1]]`` go with feature i."""
    p, fold = np.ones(len(column)), np.full(len(column), np.nan)
    of_position, cuts = samples.position_sample(), _cuts(samples.offsets)
    ends = np.linspace(0, codes.n_features, distributed.workers(8) + 1).astype(int)

    def part(first: int, last: int) -> None:
        own = slice(first, last + 1)
        chains = (of_position, samples.offsets, cuts)
        _shift(codes.rows, codes.starts[own], chains, runs, (starts[own], column), p, fold)

    with ThreadPoolExecutor(len(ends) - 1) as pool:
        list(pool.map(part, ends[:-1], ends[1:]))
    return p, fold


def _runs(positives: sp.csr_array, samples: Samples, family: np.ndarray) -> Runs:
    """Annotated stretches, from annotated positions."""
    if len(family) != len(samples):
        raise ShapeError(
            "one family a sample is needed",
            where="argument 'family'",
            expected=str(len(samples)),
            got=str(len(family)),
        )
    columns = sp.csc_array(positives, dtype=bool)
    columns.sum_duplicates()
    row, concept = columns.indices, np.repeat(np.arange(columns.shape[1]), np.diff(columns.indptr))
    sample = samples.position_sample()[row].astype(np.int64)
    new = np.append(True, (np.diff(row) != 1) | (np.diff(concept) != 0) | (np.diff(sample) != 0))[: len(row)]
    first = np.flatnonzero(new)
    length = np.diff(np.append(first, len(row)))
    sample, concept, start = sample[first], concept[first], row[first] - samples.offsets[sample[first]]
    of_family = np.asarray(family, np.int64)[sample]
    order = np.lexsort((sample, of_family, concept))
    sample, concept, of_family = sample[order], concept[order], of_family[order]
    new_group = np.append(True, (np.diff(concept) != 0) | (np.diff(of_family) != 0))[: len(order)]
    new_sample = new_group | np.append(True, np.diff(sample) != 0)[: len(order)]
    group = np.cumsum(new_group) - 1
    start, length = start[order].astype(np.int64), length[order]
    chain, last = samples.lengths[sample], np.append(new_sample[1:], True)[: len(order)]
    at_both = (start == 0)[new_sample] & (start + length == chain)[last] & ~(new_sample & last)[last]
    joined = last & at_both[np.cumsum(new_sample) - 1]
    part = concept[length < chain]
    return Runs(
        sample,
        of_family,
        start,
        start + length,
        1.0 / np.bincount(group, weights=new_sample)[group],
        _first_shift(chain - start - length + 1 - joined, chain),
        _first_shift(chain - start, chain),
        np.searchsorted(concept, np.arange(columns.shape[1] + 1)),
        np.isin(np.arange(columns.shape[1]), part),
    )


def _first_shift(by: np.ndarray, length: np.ndarray) -> np.ndarray:
    """int32: the first of the shifts, of ``g * length // N_SHIFTS`` positions, by so many positions or more."""
    return (-(-(by * N_SHIFTS) // length)).astype(np.int32)


@compiled
def _shift(rows, starts, chains, runs, pairs, p, fold):
    """Fill ``p`` and ``fold`` of the listed pairs, feature by feature."""
    sample_of, offsets, cuts = chains
    sample, family, begin, end, weight, shift_cut, shift_whole, of_concept, _ = runs
    pair_starts, column = pairs
    n_samples = len(offsets) - 1
    first, last = np.zeros(n_samples, np.int64), np.zeros(n_samples, np.int64)
    most = 0
    for c in range(len(of_concept) - 1):
        n = 0
        for r in range(of_concept[c], of_concept[c + 1]):
            n += r == of_concept[c] or family[r] != family[r - 1]
        most = max(most, n)
    values, ends = np.empty(most * N_SHIFTS + 1), np.empty(most + 1, np.int64)
    n_shifts = np.empty(most, np.int64)
    curve, barred = np.empty(N_SHIFTS + 1, np.int32), np.empty(N_SHIFTS + 1, np.int32)
    for j in range(len(starts) - 1):
        for i in range(starts[j], starts[j + 1]):
            s = sample_of[rows[i]]
            if last[s] == 0:
                first[s] = i
            last[s] = i + 1
        for k in range(pair_starts[j], pair_starts[j + 1]):
            n_families, ends[0], observed, mean, variance = 0, 0, 0.0, 0.0, 0.0
            r, stop = of_concept[column[k]], of_concept[column[k] + 1]
            while r < stop:
                current, touched = family[r], False
                for g in range(N_SHIFTS + 1):
                    barred[g] = 0
                while r < stop and family[r] == current:
                    s = sample[r]
                    barred[shift_cut[r]] += 1
                    barred[shift_whole[r]] -= 1
                    if last[s] > 0:
                        if not touched:
                            for g in range(N_SHIFTS + 1):
                                curve[g] = 0
                            touched = True
                        length, width = offsets[s + 1] - offsets[s], end[r] - begin[r]
                        cut = cuts[offsets[s] + s : offsets[s + 1] + s + 1]
                        base = offsets[s] + end[r] - 1
                        for i in range(first[s], last[s]):
                            low = rows[i] - base
                            low += length * (low < 0)
                            high = low + width
                            curve[cut[low]] += 1
                            if high > length:
                                curve[0] += 1
                                curve[cut[high - length]] -= 1
                            else:
                                curve[cut[high]] -= 1
                    r += 1
                if touched:
                    at, total, squares, level, n_cut, n = ends[n_families], 0, 0, 0, 0, 0
                    observed += curve[0] * weight[r - 1]
                    for g in range(N_SHIFTS):
                        level += curve[g]
                        n_cut += barred[g]
                        if (n_cut * weight[r - 1] > _CUT) != (barred[0] * weight[r - 1] > _CUT):
                            continue
                        n += 1
                        total += level
                        squares += level * level
                        values[at] = level * weight[r - 1]
                        at += level > 0
                    average = total * weight[r - 1] / n
                    mean += average
                    variance += squares * weight[r - 1] ** 2 / n - average**2
                    n_shifts[n_families] = n
                    n_families += 1
                    ends[n_families] = at
            if mean > _TINY:
                fold[k] = observed / mean
                p[k] = min(1.0, _SAFETY * _tail(values, ends, n_shifts, n_families, observed, mean, variance))
        for i in range(starts[j], starts[j + 1]):
            last[sample_of[rows[i]]] = 0


@compiled
def _cuts(offsets):
    """Of every sample, the first shift of at least 0, 1 ... length positions; shift g is of g * length // N_SHIFTS."""
    cuts = np.zeros(offsets[-1] + len(offsets) - 1, np.int32)
    for s in range(len(offsets) - 1):
        length = offsets[s + 1] - offsets[s]
        for x in range(1, length + 1):
            cuts[offsets[s] + s + x] = -(-(x * N_SHIFTS) // length)
    return cuts


@compiled
def _tail(values, ends, n_shifts, n_families, observed, mean, variance):
    """P(sum over families of one of its values each >= observed); values that are zero are not listed."""
    if observed <= _TINY or variance <= _TINY:
        return 1.0
    if n_families <= 2:
        return _count(values, ends, n_shifts, n_families, observed)
    wanted = observed - 0.5
    if wanted <= mean + _EXACT_FROM * math.sqrt(variance):
        return 0.5 * math.erfc((wanted - mean) / math.sqrt(2 * variance))
    theta, low, high = (wanted - mean) / variance, 0.0, math.inf
    k, slope, curvature = _cumulants(values, ends, n_shifts, n_families, theta)
    for _ in range(60):
        if abs(slope - wanted) <= 1e-4 * max(1.0, wanted):
            break
        if slope < wanted:
            low = theta
        else:
            high = theta
        step = theta + (wanted - slope) / curvature if curvature > 1e-300 else math.inf
        if low < step < high and step < 4 * theta:
            theta = step
        else:
            theta = 2 * theta if high == math.inf else (low + high) / 2
        k, slope, curvature = _cumulants(values, ends, n_shifts, n_families, theta)
    w = math.sqrt(max(0.0, 2 * (theta * wanted - k)))
    u = theta * math.sqrt(curvature)
    density = math.exp(-0.5 * w * w) / math.sqrt(2 * math.pi)
    return min(1.0, max(_LEAST, 0.5 * math.erfc(w / math.sqrt(2)) + density * (1 / u - 1 / w)))


@compiled
def _cumulants(values, ends, n_shifts, n_families, theta):
    """Log of the moment generating function of the sum at ``theta``, and its first two derivatives."""
    k, slope, curvature = 0.0, 0.0, 0.0
    for f in range(n_families):
        largest = 0.0
        for i in range(ends[f], ends[f + 1]):
            largest = max(largest, values[i])
        total = (n_shifts[f] - (ends[f + 1] - ends[f])) * math.exp(-theta * largest)
        first, second = 0.0, 0.0
        for i in range(ends[f], ends[f + 1]):
            mass = math.exp(theta * (values[i] - largest))
            total += mass
            first += mass * values[i]
            second += mass * values[i] * values[i]
        first, second = first / total, second / total
        k += theta * largest + math.log(total / n_shifts[f])
        slope += first
        curvature += second - first * first
    return k, slope, curvature


@compiled
def _count(values, ends, n_shifts, n_families, observed):
    """The same probability by looking at all shifts, of one family or two."""
    wanted, n = observed - _TINY, 0
    n_zero = n_shifts[0] - (ends[1] - ends[0])
    if n_families == 1:
        for i in range(ends[1]):
            n += values[i] >= wanted
        return n / n_shifts[0]
    for j in range(ends[1], ends[2]):
        n += n_zero * (values[j] >= wanted)
        for i in range(ends[1]):
            n += values[i] + values[j] >= wanted
    for i in range(ends[1]):
        n += (n_shifts[1] - (ends[2] - ends[1])) * (values[i] >= wanted)
    return n / (n_shifts[0] * n_shifts[1])
