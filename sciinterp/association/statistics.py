"""The test that decides: is the feature present in the families that carry the concept?

Relatives share both their annotations and their features, so positions, and samples, are not independent:
on 12 families of 10 homologs a residue-level Fisher test rejects 97% of true nulls at 0.05. The family is
the unit here. A family *carries* a concept when at least a fifth of its covered samples do; a feature is
*present* in a family when its activity there (mean over samples of the largest activation) lies above a
threshold that divides the families' activities best (Otsu 1979), chosen without looking at any concept. The
table of the two is tested by Fisher's exact test, one-sided; with strata (family size by default) by its
exact stratified form, the conditional test behind Cochran-Mantel-Haenszel. Over all pairs q-values are
Benjamini and Hochberg's (1995), and ``p_family`` is the max-T adjusted p-value (Westfall and Young 1993) from
permuting whole families within strata.

A concept that every family carries (or all but a number too small to test against) has no such test: it is
called ``universal`` and judged by its held-out effect alone. With few families the smallest p-value that any feature could reach is ``p_min``; below a stated
number of families nothing is tested.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from scipy.special import gammaln, ndtr
from scipy.stats import false_discovery_control

from sciinterp.association._jit import compiled
from sciinterp.association.blocks import BLOCK_VALUES
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import InputError
from sciinterp.samples import Split

# Multiply-adds a permutation test may take before fewer permutations are drawn.
_PERMUTATION_WORK = 2e11
# Activities of families that are divided at once.
_OTSU_CELLS = 1 << 20
# Pairs with a smaller normal deviate get the normal p-value: they are far from any decision.
_EXACT_FROM = 0.5


@dataclass(frozen=True)
class ScreenSettings:
    """How the family-level test is made.

    Attributes
    ----------
    min_families : int
        Independent families below which nothing is tested.
    min_carriers : int
        Families with, and without, the concept below which it is not tested.
    carried : float
        Share of a family's covered samples that must carry the concept.
    strata : str
        ``size`` (families below and above the median number of samples) or ``none``.
    n_permutations : int
        Of whole families, for the max-T adjustment.
    """

    min_families: int = 8
    min_carriers: int = 3
    carried: float = 0.2
    strata: str = "size"
    n_permutations: int = 1000


@dataclass(frozen=True, eq=False)
class Screen:
    """Family-level tests of all pairs.

    Attributes
    ----------
    p, q, p_family : float64 [n_features, n_concepts]
        NaN where `test` says that there is none.
    p_min : float64 [n_concepts]
        The smallest p-value that a feature could reach.
    test : list of str
        ``fisher``, ``cochran-mantel-haenszel``, ``universal`` or ``too few families``.
    n_families : int64 [n_concepts]
        Families that carry the concept.
    present : bool [n_features, n_families]
    carriage : bool [n_concepts, n_families]
    summary : dict
    """

    p: np.ndarray
    q: np.ndarray
    p_family: np.ndarray
    p_min: np.ndarray
    test: list[str]
    n_families: np.ndarray
    present: np.ndarray
    carriage: np.ndarray
    summary: dict = field(default_factory=dict)


def screen(
    features: FeatureMatrix,
    positives: sp.csr_array,
    covered: np.ndarray,
    split: Split,
    *,
    settings: ScreenSettings | None = None,
    seed: int = 0,
) -> Screen:
    """Test every feature against every concept on families.

    Parameters
    ----------
    features : FeatureMatrix
    positives : csr_array bool [n_positions, n_concepts]
    covered : bool [n_samples, n_concepts]
        Whether the source of the concept covers the sample.
    split : Split
        Its families; all parts are used, since nothing is chosen here.
    settings : ScreenSettings, optional
    seed : int

    Returns
    -------
    Screen
    """
    samples = features.samples
    n = len(samples)
    at = (np.repeat(np.arange(n), samples.lengths), np.arange(samples.n_positions + 1))
    to_sample = sp.csr_array((np.ones(samples.n_positions, np.int64), *at), shape=(samples.n_positions, n))
    carries = (to_sample.T @ positives.astype(np.int64)).toarray() > 0
    return screen_samples(features, carries, covered, split, settings=settings, seed=seed)


def screen_samples(
    features: FeatureMatrix,
    carries: np.ndarray,
    covered: np.ndarray,
    split: Split,
    *,
    settings: ScreenSettings | None = None,
    seed: int = 0,
) -> Screen:
    """As :func:`screen`, for concepts said to be in samples: bool [n_samples, n_concepts]."""
    settings = settings or ScreenSettings()
    n_families = len(split.family_names)
    activity = family_activity(features, split.family, n_families)
    present = np.zeros(activity.shape, bool)
    step = max(1, _OTSU_CELLS // max(1, n_families))
    for low in range(0, len(activity), step):
        some = activity[low : low + step]
        present[low : low + step] = some > otsu(some)[:, None]
    n_features, n_concepts = features.n_features, carries.shape[1]
    share, known = carriage_share(carries, covered, split.family, n_families)
    carries = known & (share >= settings.carried)
    p, z = np.full((n_features, n_concepts), np.nan), np.full((n_features, n_concepts), -np.inf)
    p_family, p_min = np.full((n_features, n_concepts), np.nan), np.full(n_concepts, np.nan)
    test = [""] * n_concepts
    sizes = np.bincount(split.family, minlength=n_families)
    patterns, group = np.unique(known, axis=0, return_inverse=True)
    testable = []
    for number, inside in enumerate(patterns):
        inside = inside & (sizes > 0)
        strata = _strata(sizes[inside], settings.strata)
        mine = np.flatnonzero(np.asarray(group).reshape(-1) == number)
        label = "fisher" if len(np.unique(strata)) == 1 else "cochran-mantel-haenszel"
        for concept in mine:
            test[concept] = _verdict(carries[concept, inside], settings) or label
        tested = mine[[test[c] == label for c in mine]]
        if len(tested):
            p[:, tested], z[:, tested], p_min[tested] = stratified_exact(
                present[:, inside], carries[tested][:, inside], strata
            )
            testable.append((tested, inside, strata))
    n_done = _max_t(z, present, carries, testable, p_family, settings.n_permutations, seed)
    never = ~(activity > 0).any(axis=1)
    p[never], p_family[never] = np.nan, np.nan
    summary = {
        "families": int((sizes > 0).sum()),
        "pairs": int(np.isfinite(p).sum()),
        "permutations": n_done,
        "min_families": settings.min_families,
        "min_carriers": settings.min_carriers,
    }
    return Screen(
        p, benjamini_hochberg(p), p_family, p_min, test, carries.sum(axis=1), present, carries, summary
    )


def _verdict(carries: np.ndarray, settings: ScreenSettings) -> str:
    """Why there is no test, or an empty string."""
    n = int(carries.sum())
    if n >= settings.min_carriers and len(carries) - n < settings.min_carriers and n > len(carries) / 2:
        return "universal"
    if len(carries) < settings.min_families or min(n, len(carries) - n) < settings.min_carriers:
        return "too few families"
    return ""


def _strata(sizes: np.ndarray, kind: str) -> np.ndarray:
    """int64 [n_families]: stratum of each family."""
    if kind == "none" or len(sizes) == 0:
        return np.zeros(len(sizes), np.int64)
    if kind != "size":
        raise InputError(
            "there is no such way to form strata", where=f"strata={kind!r}", expected="size or none"
        )
    return (sizes > np.median(sizes)).astype(np.int64)


def family_activity(features: FeatureMatrix, family: np.ndarray, n_families: int) -> np.ndarray:
    """float64 [n_features, n_families]: mean over a family's samples of the feature's largest activation."""
    out = np.zeros((features.n_features, n_families))
    sample = features.samples.position_sample().astype(np.int64, copy=False)
    family = np.asarray(family, np.int64)
    for low, high in features.feature_blocks(BLOCK_VALUES):
        codes = features.by_feature(low, high)
        _sum_of_maxima(codes.values, codes.rows, codes.starts, sample, family, out[low:high])
    return out / np.maximum(1, np.bincount(family, minlength=n_families))


@compiled
def _sum_of_maxima(values, rows, starts, sample, family, out):
    for feature in range(len(starts) - 1):
        current, largest = -1, 0.0
        for j in range(
            starts[feature], starts[feature + 1]
        ):  # rows ascend, so samples come one after another
            at = sample[rows[j]]
            if at != current:
                if current >= 0:
                    out[feature, family[current]] += largest
                current, largest = at, 0.0
            largest = max(largest, values[j])
        if current >= 0:
            out[feature, family[current]] += largest


def otsu(activity: np.ndarray) -> np.ndarray:
    """float64 [n_features]: the threshold that divides each row into its two most separate classes.

    Examples
    --------
    >>> otsu(np.array([[0.0, 0.1, 5.0, 5.1], [2.0, 2.0, 2.0, 2.0]])).tolist()
    [2.55, 2.0]
    """
    ranked = np.sort(activity, axis=1)
    n = ranked.shape[1]
    if n < 2:
        return ranked.max(axis=1, initial=0.0)
    below = np.arange(1, n)
    total = np.cumsum(ranked, axis=1)
    mean_low, mean_high = total[:, :-1] / below, (total[:, -1:] - total[:, :-1]) / (n - below)
    between = below * (n - below) * (mean_high - mean_low) ** 2
    at = np.argmax(between, axis=1)[:, None]
    return (np.take_along_axis(ranked, at, 1) + np.take_along_axis(ranked, at + 1, 1))[:, 0] / 2


def carriage_share(
    carries: np.ndarray, covered: np.ndarray, family: np.ndarray, n_families: int
) -> tuple[np.ndarray, np.ndarray]:
    """Share of each family's covered samples that carry each concept, and which families have such samples.

    Parameters
    ----------
    carries, covered : bool [n_samples, n_concepts]
    family : int64 [n_samples]

    Returns
    -------
    share : float64 [n_concepts, n_families]
    known : bool [n_concepts, n_families]
    """
    n = len(carries)
    to_family = sp.csr_array((np.ones(n), family, np.arange(n + 1)), shape=(n, n_families))
    counted = to_family.T @ covered.astype(np.float64)
    carrying = to_family.T @ (carries & covered).astype(np.float64)
    return np.divide(carrying, counted, out=np.zeros_like(counted), where=counted > 0).T, counted.T > 0


def stratified_exact(
    present: np.ndarray, carries: np.ndarray, strata: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One-sided exact conditional test of association within strata, for all pairs.

    Parameters
    ----------
    present : bool [n_features, n_families]
    carries : bool [n_concepts, n_families]
    strata : int64 [n_families]

    Returns
    -------
    p : float64 [n_features, n_concepts]
        Probability of at least as many families with both, given the margins of every stratum.
    z : float64 [n_features, n_concepts]
        The same as a normal deviate (Cochran-Mantel-Haenszel); -inf where nothing can vary.
    p_min : float64 [n_concepts]
        The p-value of a feature present exactly in the families that carry the concept.

    Examples
    --------
    >>> rows = np.array([[1, 1, 1, 0, 0, 0]], dtype=bool)
    >>> p, z, p_min = stratified_exact(rows, rows, np.zeros(6, dtype=int))
    >>> p.round(3).tolist(), p_min.round(3).tolist()
    ([[0.05]], [0.05])
    """
    levels = np.unique(strata)
    both = np.zeros((len(present), len(carries)))
    mean, variance = np.zeros_like(both), np.zeros_like(both)
    sizes = np.array([(strata == s).sum() for s in levels], np.int64)
    with_feature = np.stack([present[:, strata == s].sum(axis=1) for s in levels], axis=1).astype(np.int64)
    with_concept = np.stack([carries[:, strata == s].sum(axis=1) for s in levels], axis=1).astype(np.int64)
    for i, level in enumerate(levels):
        inside = strata == level
        n, m, k = float(sizes[i]), with_feature[:, [i]].astype(float), with_concept[:, i].astype(float)
        both += present[:, inside].astype(np.float32) @ carries[:, inside].T.astype(np.float32)
        mean += m * k / n
        variance += m * k * (n - m) * (n - k) / (n * n * max(1.0, n - 1))
    deviation = np.sqrt(variance)
    z = np.divide(both - mean, deviation, out=np.full_like(both, -np.inf), where=deviation > 0)
    with np.errstate(invalid="ignore"):
        p = np.where(
            deviation > 0,
            ndtr(-np.divide(both - mean - 0.5, deviation, out=np.zeros_like(z), where=deviation > 0)),
            1.0,
        )
    log_factorial = gammaln(np.arange(int(sizes.sum()) + 2) + 1.0)
    feature, concept = np.nonzero(z > _EXACT_FROM)
    if len(feature):
        p[feature, concept] = _exact_tails(
            both.astype(np.int64), feature, concept, with_feature, with_concept, sizes, log_factorial
        )
    chosen = gammaln(with_concept + 1.0) + gammaln(sizes - with_concept + 1.0) - gammaln(sizes + 1.0)
    return p, z, np.exp(chosen.sum(axis=1))


@compiled
def _exact_tails(both, feature, concept, with_feature, with_concept, sizes, log_factorial):
    """P(sum over strata of hypergeometric counts >= both) of the listed pairs, by convolution."""
    out = np.empty(len(feature))
    n_total = 0
    for s in range(len(sizes)):
        n_total += sizes[s]
    weight, spread = np.zeros(n_total + 1), np.zeros(n_total + 1)
    for i in range(len(feature)):
        low, high = 0, 0
        weight[0] = 1.0
        for s in range(len(sizes)):
            n, m, k = sizes[s], with_feature[feature[i], s], with_concept[concept[i], s]
            first, last = max(0, m + k - n), min(m, k)
            for a in range(low + first, high + last + 1):
                spread[a] = 0.0
            whole = log_factorial[n] - log_factorial[k] - log_factorial[n - k]
            for x in range(first, last + 1):
                chance = np.exp(
                    log_factorial[m]
                    - log_factorial[x]
                    - log_factorial[m - x]
                    - whole
                    + log_factorial[n - m]
                    - log_factorial[k - x]
                    - log_factorial[n - m - k + x]
                )
                for a in range(low, high + 1):
                    spread[a + x] += weight[a] * chance
            low, high = low + first, high + last
            for a in range(low, high + 1):
                weight[a] = spread[a]
        total = 0.0
        for a in range(both[feature[i], concept[i]], high + 1):
            total += weight[a]
        out[i] = min(1.0, total)
    return out


def _max_t(z, present, carries, testable, p_family, n_permutations: int, seed: int) -> int:
    """Fill max-T adjusted p-values from permutations of whole families within strata; return their number."""
    work = sum(present.shape[0] * inside.sum() * len(tested) for tested, inside, _ in testable)
    if work == 0:
        return 0
    n_permutations = int(max(99, min(n_permutations, _PERMUTATION_WORK / work)))
    rng = np.random.default_rng(seed)
    largest = np.full(n_permutations, -np.inf)
    for tested, inside, strata in testable:
        has, of_concept = (
            present[:, inside].astype(np.float32),
            carries[tested][:, inside].T.astype(np.float32),
        )
        mean, deviation = _moments(has, of_concept, strata)
        alive = (deviation > 0).any(axis=1)
        has, mean, deviation = has[alive], mean[alive], deviation[alive]
        scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
        if not alive.any():
            continue
        members = [np.flatnonzero(strata == s) for s in np.unique(strata)]
        for b in range(n_permutations):
            order = np.arange(len(strata))
            for group in members:
                order[group] = rng.permutation(group)
            largest[b] = max(largest[b], float(((has @ of_concept[order] - mean) * scale).max()))
    ranked = np.sort(largest)
    for tested, _, _ in testable:
        # a hair below, so that a tie computed in another order still counts as one
        above = n_permutations - np.searchsorted(ranked, z[:, tested] - 1e-4, side="left")
        p_family[:, tested] = (1 + above) / (n_permutations + 1)
    return n_permutations


def _moments(has: np.ndarray, of_concept: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = np.zeros((len(has), of_concept.shape[1]), np.float32)
    variance = np.zeros_like(mean)
    for level in np.unique(strata):
        inside = strata == level
        n = float(inside.sum())
        m, k = has[:, inside].sum(axis=1)[:, None], of_concept[inside].sum(axis=0)
        mean += m * k / n
        variance += m * k * (n - m) * (n - k) / (n * n * max(1.0, n - 1))
    return mean, np.sqrt(variance)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """q-values of all finite p-values together; NaN stays NaN.

    Examples
    --------
    >>> benjamini_hochberg(np.array([0.01, 0.04, np.nan, 0.03])).round(3).tolist()
    [0.03, 0.04, nan, 0.04]
    """
    q = np.full(p.shape, np.nan)
    finite = np.isfinite(p)
    q[finite] = false_discovery_control(p[finite])
    return q
