"""The test that decides: is the feature present in the families that carry the concept?

Relatives share both their annotations and their features, so positions, and samples, are not independent:
on 12 families of 10 homologs a residue-level Fisher test rejects 97% of true nulls at 0.05. The family is
the unit here. A family *carries* a concept when at least a fifth of its covered samples do; a feature is
*present* in a family when its activity there (mean over samples of the largest activation) lies above a
threshold that divides the families' activities best (Otsu 1979), chosen without looking at any concept. The
table of the two is tested by Fisher's exact test, one-sided; with strata of like exposure
(:mod:`sciinterp.association.exposure`: family size and length, which make any feature and any concept more likely to
be seen) by its exact stratified form, the conditional test behind Cochran-Mantel-Haenszel. Over all pairs q-values
are Benjamini and Hochberg's (1995), and ``p_family`` is the max-T adjusted p-value (Westfall and Young 1993) from
permuting whole families among those of a stratum that are nearest in exposure.

A concept that every family carries (or all but a number too small to test against) has no such test: it is
called ``universal`` and judged by its held-out effect alone; where the samples of a family are exchangeable, as the
cells of a donor, it is tested within families instead (:mod:`sciinterp.association.within`). With few families the smallest p-value that any feature could reach is ``p_min``; below a stated
number of families nothing is tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np
import scipy.sparse as sp
from scipy.special import gammaln, ndtr
from scipy.stats import false_discovery_control

from sciinterp import distributed
from sciinterp.association._jit import compiled
from sciinterp.association.by_position import indicator
from sciinterp.association.exposure import NEIGHBOURS, family_exposure, strata_of_exposure
from sciinterp.association.partitions import coverages
from sciinterp.association.presence import family_activity, present_in
from sciinterp.association.within import Units, families_leaning, mixed_families, within_families
from sciinterp.budget import ranges
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import no_such
from sciinterp.samples import Split
from sciinterp.settings import UP_TO_ONE, at_least, make_plain, settings_of

# Multiply-adds a permutation test may take before fewer permutations are drawn.
_PERMUTATION_WORK = 2e11
# What samples may be, beside what somebody calls his own.
KINDS = ("protein", "dna", "rna", "structure", "cells", "receptor", "alignment", "crystal", "smiles", "airr")
STRATA = ("exposure", "none")
UNIVERSAL, TOO_FEW, WITHIN = "universal", "too few families", "within families"
# What a pair takes while it is tested, or permuted.
_BYTES = 64
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
        ``exposure`` (families of like size and length, :mod:`sciinterp.association.exposure`) or ``none``.
    n_permutations : int
        Of whole families, for the max-T adjustment.
    within : tuple of str
        Kinds of samples that are exchangeable within a family: what cannot be tested on families is tested there.
    per_family : int
        Samples of a family that such a test looks at, at most, drawn by the seed.
    """

    min_families: int = 8
    min_carriers: int = 3
    carried: float = 0.2
    strata: str = "exposure"
    n_permutations: int = 1000
    within: tuple[str, ...] = ("cells",)
    per_family: int = 200

    def __post_init__(self) -> None:
        names = ("min_families", "min_carriers", "n_permutations", "per_family")
        make_plain(self, carried=UP_TO_ONE, **dict.fromkeys(names, at_least(1)))
        if self.strata not in STRATA:
            raise no_such("choice", self.strata, STRATA, where="strata")
        for (
            name
        ) in self.within:  # somebody's own kind may have a name of its own, but not nearly one of these
            if name not in KINDS and get_close_matches(name.lower(), KINDS, n=1):
                raise no_such("kind of samples", name, KINDS, where="within")


@dataclass(frozen=True, eq=False)
class Screen:
    """Family-level tests of all pairs."""

    # float64 [n_features, n_concepts], all three: NaN where `test` says that there is none.
    p: np.ndarray
    q: np.ndarray
    p_family: np.ndarray
    p_min: np.ndarray  # float64 [n_concepts]: the smallest p-value that a feature could reach
    # ``fisher``, ``cochran-mantel-haenszel``, ``within families``, ``universal`` or ``too few families``.
    test: list[str]
    # int64 [n_concepts]: families that carry the concept; of those tested within families, the ones with and
    # without it.
    n_families: np.ndarray
    present: np.ndarray  # bool [n_features, n_families]
    carriage: np.ndarray  # bool [n_concepts, n_families]
    within: Units | None = None  # samples, where something was tested within families
    summary: dict = field(default_factory=dict)

    def families_both(self, feature: np.ndarray, concept: np.ndarray) -> np.ndarray:
        """int64 [n_pairs]: carrying families in which the feature is present, or present rather in the carriers."""
        out = (self.present[feature] & self.carriage[concept]).sum(axis=1)
        inside = np.array([self.test[c] == WITHIN for c in concept], bool)
        if self.within is not None and inside.any():
            listed = (feature[inside], concept[inside])
            out[inside] = families_leaning(self.within, *listed, self.carriage)
        return out


@dataclass(frozen=True, eq=False)
class _Tested:
    """Concepts that are tested on the same units, their strata, and in them who is permuted with whom."""

    concepts: np.ndarray
    units: Units
    inside: np.ndarray
    strata: np.ndarray
    neighbours: np.ndarray

    @property
    def present(self) -> np.ndarray:
        return self.units.present[:, self.inside]

    @property
    def carries(self) -> np.ndarray:
        return self.units.carries[self.concepts][:, self.inside]


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

    All parts of the split are used, since nothing is chosen here. `covered` [n_samples, n_concepts] says
    whether the source of a concept covers a sample.
    """
    to_sample = indicator(features.samples.position_sample(), len(features.samples), np.int64)
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
    settings = settings_of(settings, ScreenSettings)
    split.require_of(features.samples)
    n_families = len(split.family_names)
    activity = family_activity(features, split.family, n_families)
    share, known = carriage_share(carries, covered, split.family, n_families)
    present, never = present_in(activity), ~(activity > 0).any(axis=1)
    del activity
    families = Units(
        present,
        known & (share >= settings.carried),
        known,
        np.arange(n_families),
        family_exposure(features.samples.lengths, split.family, n_families),
    )
    test, tables = _by_family(families, settings)
    carriage, within = families.carries, None
    left = np.array([t in (UNIVERSAL, TOO_FEW) for t in test], bool)
    if features.samples.kind in settings.within and left.any():
        how = {"per_family": settings.per_family, "seed": seed}
        within = within_families(features, carries, covered, split.family, **how)
        mixed = mixed_families(within, n_families)
        left &= mixed.sum(axis=1) >= settings.min_carriers
        carriage = np.where(left[:, None], mixed, carriage)
        for mine, inside in _groups(within, np.flatnonzero(left)):
            strata = _strata(within.exposure[inside], settings.strata, within.family[inside])
            tables.append(_Tested(mine, within, inside, *strata))
        test = [WITHIN if on else word for word, on in zip(test, left)]
    p, p_family, p_min, n_done = _tests_of(
        tables, (features.n_features, len(test)), settings.n_permutations, seed
    )
    p[never], p_family[never] = np.nan, np.nan
    summary = {
        "families": len(np.unique(split.family)),
        "pairs": int(np.isfinite(p).sum()),
        "permutations": n_done,
        "min_families": settings.min_families,
        "min_carriers": settings.min_carriers,
    }
    counts, q = carriage.sum(axis=1), benjamini_hochberg(p)
    return Screen(p, q, p_family, p_min, test, counts, families.present, carriage, within, summary)


def _tests_of(
    tables: list[_Tested], shape: tuple[int, int], n_permutations: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """p, p_family, p_min of all that is tested, NaN elsewhere, and the number of permutations."""
    p, z, p_min = np.full(shape, np.nan), np.full(shape, -np.inf), np.full(shape[1], np.nan)
    for table in tables:
        present, carries, strata = table.present, table.carries, table.strata
        blocks = ranges(len(present), _BYTES * len(carries))

        def tails(block: tuple[int, int], present=present, carries=carries, strata=strata):
            return stratified_exact(present[slice(*block)], carries, strata)

        for (low, high), found in zip(blocks, distributed.spread(blocks, tails)):
            p[low:high, table.concepts], z[low:high, table.concepts], p_min[table.concepts] = found
    n_done = _max_t(z, tables, n_permutations, seed)
    return p, z, p_min, n_done


def _by_family(families: Units, settings: ScreenSettings) -> tuple[list[str], list[_Tested]]:
    """The test of each concept on families, or why there is none, and what is tested."""
    test, tables = [""] * len(families.carries), []
    for mine, inside in _groups(families, np.arange(len(test))):
        strata, neighbours = _strata(families.exposure[inside], settings.strata)
        label = "fisher" if len(np.unique(strata)) == 1 else "cochran-mantel-haenszel"
        for concept in mine:
            test[concept] = _verdict(families.carries[concept, inside], settings) or label
        tested = mine[[test[c] == label for c in mine]]
        if len(tested):
            tables.append(_Tested(tested, families, inside, strata, neighbours))
    return test, tables


def _groups(units: Units, concepts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Concepts known of the same units, and a mask of those units."""
    return ((concepts[mine], inside) for mine, inside in coverages(units.known[concepts].T))


def _verdict(carries: np.ndarray, settings: ScreenSettings) -> str:
    """Why there is no test, or an empty string."""
    n = int(carries.sum())
    if n >= settings.min_carriers and len(carries) - n < settings.min_carriers and n > len(carries) / 2:
        return UNIVERSAL
    if len(carries) < settings.min_families or min(n, len(carries) - n) < settings.min_carriers:
        return TOO_FEW
    return ""


def _strata(
    exposure: np.ndarray, kind: str, group: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """int64 [n_units], twice: stratum of each unit, those of different groups never in one, and its nearest in it."""
    exposure = exposure if kind == "exposure" else exposure[:, :0]
    strata = strata_of_exposure(exposure, group)
    return strata, strata_of_exposure(exposure, strata, least=NEIGHBOURS)


def carriage_share(
    carries: np.ndarray, covered: np.ndarray, family: np.ndarray, n_families: int
) -> tuple[np.ndarray, np.ndarray]:
    """Share of each family's covered samples that carry each concept, and which families have such samples.

    Both [n_concepts, n_families], of what is said of samples [n_samples, n_concepts].
    """
    to_family = indicator(family, n_families)
    counted = to_family.T @ covered.astype(np.float64)
    carrying = to_family.T @ (carries & covered).astype(np.float64)
    return np.divide(carrying, counted, out=np.zeros_like(counted), where=counted > 0).T, counted.T > 0


def stratified_exact(
    present: np.ndarray, carries: np.ndarray, strata: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One-sided exact conditional test of association within strata, for all pairs.

    Of `present` [n_features, n_families] and `carries` [n_concepts, n_families]: ``p``, the probability of at
    least as many families with both, given the margins of every stratum; ``z``, the same as a normal deviate
    (Cochran-Mantel-Haenszel), -inf where nothing can vary; and ``p_min``, the p-value of a feature present
    exactly in the families that carry the concept.

    Examples
    --------
    >>> rows = np.array([[1, 1, 1, 0, 0, 0]], dtype=bool)
    >>> p, z, p_min = stratified_exact(rows, rows, np.zeros(6, dtype=int))
    >>> p.round(3).tolist(), p_min.round(3).tolist()
    ([[0.05]], [0.05])
    """
    both = (present.astype(np.float32) @ carries.T.astype(np.float32)).astype(np.float64)
    sizes, with_feature, with_concept = _margins(present, carries, strata)
    mean, deviation = _moments(sizes, with_feature.astype(float), with_concept.astype(float))
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


def _max_t(z: np.ndarray, tables: list[_Tested], n_permutations: int, seed: int) -> int:
    """Turn deviates, in place, into max-T adjusted p-values by permutations of whole units among neighbours in strata.

    Returns their number; what is in no table becomes NaN.
    """
    work = sum(len(z) * table.inside.sum() * len(table.concepts) for table in tables)
    if work == 0:
        z[:] = np.nan
        return 0
    n_permutations = int(max(99, min(n_permutations, _PERMUTATION_WORK / work)))
    rng = np.random.default_rng(seed)
    largest, own = np.full(n_permutations, -np.inf), distributed.share(n_permutations)
    for table in tables:
        of_concept, blocks = table.carries.T.astype(np.float32), _varying(table)
        if not blocks:
            continue
        order, slots = np.arange(len(table.strata)), np.argsort(table.neighbours, kind="stable")
        for b in range(n_permutations):
            order[slots] = np.lexsort((rng.random(len(slots)), table.neighbours))
            if b in own:
                permuted = of_concept[order]
                for has, mean, scale in blocks:
                    largest[b] = max(largest[b], float(_highest(has, permuted, mean, scale)))
    ranked = np.sort(np.max(distributed.gathered(largest), axis=0))
    for low, high in ranges(len(z), _BYTES * z.shape[1]):
        deviate = z[low:high].copy()
        z[low:high] = np.nan
        for table in tables:
            # a hair below, so that a tie computed in another order still counts as one
            below = np.searchsorted(ranked, deviate[:, table.concepts] - 1e-4, side="left")
            z[low:high, table.concepts] = (1 + n_permutations - below) / (n_permutations + 1)
    return n_permutations


def _varying(table: _Tested) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of the features that can vary, some at a time: where present, and mean and reciprocal deviation of the counts."""
    out, present, of_concept = [], table.present, table.carries.T.astype(np.float32)
    for low, high in ranges(len(present), _BYTES * of_concept.shape[1]):
        has = present[low:high].astype(np.float32)
        sizes, *counts = _margins(present[low:high], table.carries, table.strata)
        mean, deviation = _moments(sizes, *(count.astype(np.float32) for count in counts))
        alive = (deviation > 0).any(axis=1)
        if alive.any():
            scale = np.divide(
                1.0, deviation[alive], out=np.zeros_like(deviation[alive]), where=deviation[alive] > 0
            )
            out.append((has[alive], mean[alive], scale))
    return out


def _highest(has: np.ndarray, of_concept: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.floating:
    deviate = has @ of_concept
    deviate -= mean
    deviate *= scale
    return deviate.max()


def _margins(
    present: np.ndarray, carries: np.ndarray, strata: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int64: units of each stratum, and with each feature and with each concept [.., n_strata]."""
    inside = [strata == level for level in np.unique(strata)]
    with_feature, with_concept = (
        np.stack([rows[:, mine].sum(axis=1, dtype=np.int64) for mine in inside], axis=1)
        for rows in (present, carries)
    )
    return np.sum(inside, axis=1), with_feature, with_concept


def _moments(
    sizes: np.ndarray, with_feature: np.ndarray, with_concept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the units with both, in the precision of the margins."""
    mean = np.zeros((len(with_feature), len(with_concept)), with_feature.dtype)
    variance = np.zeros_like(mean)
    for i, n in enumerate(sizes.astype(float).tolist()):
        m, k = with_feature[:, [i]], with_concept[:, i]
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
