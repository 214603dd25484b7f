r"""Features beside measured values: which feature follows a track of numbers, such as conservation or coverage?

A value of every position is a concept without a threshold. Within a family :math:`f` a feature follows it by Spearman's
:math:`\rho_f` over the family's positions (midranks, so that the many positions where a feature is silent are one
tie), and the effect is the mean over families. Families are dealt into folds; feature and sign are those of the largest
:math:`|\bar\rho|` on the families of all other folds, and the families of the fold judge.

The null shifts the values around each chain, all members of a family by the same fraction of their length, families
independently: what clusters along a chain stays clustered, and only the place is lost. The p-value counts draws of such
shifts whose mean is at least the observed one, in each fold and in all together. A value and a feature that both follow the distance from an end pass it;
so plain readers stand beside, fitted on the same families: the position in the sample, the letter, three letters,
and with activations the best single unit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.stats as stats

from sciinterp.annotations.signal import Values
from sciinterp.association.dense_baselines import position_rows, read_rows
from sciinterp.association.letters import Letters, distance_from_end, distance_from_start
from sciinterp.association.partitions import deal
from sciinterp.association.statistics import benjamini_hochberg
from sciinterp.association.worth import interval_of_mean
from sciinterp.budget import one_thread
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.by_feature import ByFeature
from sciinterp.errors import InputError, require_kinds
from sciinterp.frames import Table
from sciinterp.provenance import carried_split, require_activations
from sciinterp.samples import Samples, Split
from sciinterp.settings import SHARE, at_least, make_plain, plain_value, settings_of

if TYPE_CHECKING:
    from sciinterp.activations import Activations

# The geometric mean of three p-values is one itself, whatever their dependence, after multiplication by at most e (Vovk and
# Wang 2020); the sum over folds alone rejects 9.8% of 500 true nulls at .05 with 12 families, one fold alone 5.4%.
_TOGETHER = 1.5
# Shifts around a chain, equally spaced.
N_SHIFTS = 128
# Bins of the position in a sample, from either end.
_BINS = 20
# Observations by which the mean of a letter or word is drawn to the mean of all.
_PRIOR = 20.0
# Units read at once.
_UNITS = 64


@dataclass(frozen=True)
class CorrelateSettings:
    """How features are held against values.

    Attributes
    ----------
    folds : int, optional
        Folds of families; by default as many as :func:`sciinterp.associate` has.
    n_draws : int
        Shifts drawn; the least p-value is one over it.
    level : float
        Coverage of the intervals.
    min_families : int
        Families with values below which nothing is tested.
    min_positions : int
        Positions with a value below which a family is left out.
    """

    folds: int | None = None
    n_draws: int = 9999
    level: float = 0.95
    min_families: int = 5
    min_positions: int = 10

    def __post_init__(self) -> None:
        of_numbers = {"folds": 2, "n_draws": 1, "min_families": 2, "min_positions": 1}
        make_plain(self, level=SHARE, **{name: at_least(least) for name, least in of_numbers.items()})


@one_thread()
def correlate(
    features: FeatureMatrix,
    values: Values,
    *,
    split: Split | None = None,
    acts: Activations | np.ndarray | None = None,
    settings: CorrelateSettings | None = None,
    seed: int = 0,
) -> Table:
    """Find the feature that follows each track of values, judge it on held-out families, beside plain readers.

    Parameters
    ----------
    features : FeatureMatrix
    values : Values
        Of the same samples, see :func:`sciinterp.read_values`.
    split : Split, optional
        Families; by default the split that the SAE was trained with.
    acts : Activations or ndarray [n_positions, d_in], optional
        For the best single unit.
    settings : CorrelateSettings, optional
    seed : int
        Of the shifts that are drawn.

    Returns
    -------
    Table
        One row a track: ``track feature sign rho rho_low rho_high p q n_families folds_agree``, ``best_baseline
        best_baseline_rho`` and ``delta delta_low delta_high`` to it. ``feature`` is what most folds chose. ``context``
        holds ``baselines`` (one row a track and reader), ``not_tested`` and ``settings``.

    Raises
    ------
    InputError
        Values and features are of other samples, or no track has enough families.
    """
    settings, seed = settings_of(settings, CorrelateSettings), plain_value(seed, int, "seed")
    require_kinds(features=(features, FeatureMatrix), values=(values, Values))
    if values.samples.digest != features.samples.digest:
        raise InputError(
            "values and features are of other samples", do="Read the values for features.samples."
        )
    split = carried_split(features.origin, features.samples) if split is None else split
    require_kinds(split=(split, Split))
    require_activations(features, acts)
    fold, rows, baselines, not_tested = deal(split, settings.folds), [], [], {}
    rng = np.random.default_rng(seed)
    for number, name in enumerate(values.names):
        job = _Job.of(features.samples, split, values.values[:, number], fold, settings)
        if len(job.families) < settings.min_families:
            not_tested[name] = f"{len(job.families)} families have values, {settings.min_families} are needed"
            continue
        if len(np.unique(job.fold)) < 2:
            not_tested[name] = "all families that have values are in one fold"
            continue
        row, beside = _one(features, job, acts, settings, rng)
        rows.append({"track": name, **row})
        baselines += [{"track": name, "baseline": reader, **line} for reader, line in beside.items()]
    if not rows:
        raise InputError(
            "no track has values in enough families",
            got="; ".join(f"{k}: {v}" for k, v in not_tested.items()),
        )
    table = Table(rows)
    table.insert(7, "q", benjamini_hochberg(table["p"].to_numpy()))
    context = {
        "baselines": Table(baselines),
        "not_tested": not_tested,
        "settings": {**asdict(settings), "seed": seed},
    }
    return Table(table, context=context)


@dataclass(frozen=True, eq=False)
class _Job:
    """One track on the families that have values."""

    samples: Samples
    families: list[np.ndarray]  # int64 [n_of_family]: positions of each family, ascending
    of_position: np.ndarray  # int64 [n_positions]: number of the family, -1 where there is no value
    # float64 [n_positions]: ranks of the values within the family, centred and of length one; 0 where there
    # is no value.
    ranks: np.ndarray
    fold: np.ndarray  # int64 [n_families]

    @classmethod
    def of(
        cls, samples: Samples, split: Split, column: np.ndarray, fold: np.ndarray, settings: CorrelateSettings
    ) -> _Job:
        family = np.where(np.isfinite(column), split.position_family(samples), -1)
        order = np.argsort(family, kind="stable")
        order = order[family[order] >= 0]
        parts = np.split(order, np.flatnonzero(np.diff(family[order])) + 1) if len(order) else []
        of_position, ranks = np.full(samples.n_positions, -1), np.zeros(samples.n_positions)
        kept, folds, sample = [], [], samples.position_sample()
        for part in parts:
            centred = _centred(column[part])
            if len(part) >= settings.min_positions and centred.any() and fold[sample[part[0]]] >= 0:
                of_position[part], ranks[part] = len(kept), centred
                kept.append(part)
                folds.append(fold[sample[part[0]]])
        return cls(samples, kept, of_position, ranks, np.array(folds, np.int64))

    def rho(self, column: np.ndarray) -> np.ndarray:
        """float64 [n_families]: of a dense reading of all positions."""
        return np.array([_centred(column[part]) @ self.ranks[part] for part in self.families])


def _centred(values: np.ndarray) -> np.ndarray:
    """Midranks, centred and of length one; zeros where all are equal."""
    ranks = stats.rankdata(values)
    ranks -= ranks.mean()
    length = np.linalg.norm(ranks)
    return ranks / length if length else ranks


def spearman(codes: ByFeature, of_position: np.ndarray, ranks: np.ndarray, n_of: np.ndarray) -> np.ndarray:
    """float64 [n_families, n_features]: Spearman's correlation of sparse codes with values, family by family.

    Positions without a code are one tie at the bottom, so that only codes are sorted. `of_position` is -1 for
    positions that are left out, `ranks` are centred and of length one within each family, `n_of` counts
    positions of each.
    """
    n_families, n_features = len(n_of), codes.n_features
    feature = np.repeat(np.arange(n_features), np.diff(codes.starts))
    family = of_position[codes.rows]
    keep = (family >= 0) & (codes.values > 0)
    key = family[keep] * n_features + feature[keep]
    value, with_ranks = codes.values[keep], ranks[codes.rows[keep]]
    order = np.lexsort((value, key))
    key, value, with_ranks = key[order], value[order], with_ranks[order]
    n_codes = np.bincount(key, minlength=n_families * n_features)
    place = np.arange(len(key)) - np.repeat(np.cumsum(n_codes) - n_codes, n_codes)
    tie = np.append(True, (np.diff(key) != 0) | (np.diff(value) != 0))[: len(key)]
    group = np.cumsum(tie) - 1
    middle = (
        (np.bincount(group, weights=place) / np.maximum(np.bincount(group), 1))[group] if len(key) else place
    )
    n = np.repeat(n_of, n_features).astype(float)
    silent = n - n_codes
    rank = silent[key] + 1 + middle
    low = (silent + 1) / 2
    # the ranks of the values sum to zero, so the silent positions' share is minus that of the others
    together = np.bincount(key, weights=(rank - low[key]) * with_ranks, minlength=len(n))
    squares = np.bincount(key, weights=rank**2, minlength=len(n)) + silent * low**2 - n * ((n + 1) / 2) ** 2
    length = np.sqrt(np.maximum(squares, 0))
    rho = np.divide(together, length, out=np.zeros(len(n)), where=length > 1e-9)
    return rho.reshape(n_families, n_features)


def _one(
    features: FeatureMatrix,
    job: _Job,
    acts: Activations | np.ndarray | None,
    settings: CorrelateSettings,
    rng: np.random.Generator,
) -> tuple[dict[str, object], dict[str, dict[str, float]]]:
    """The row of one track, and those of the readers beside it."""
    n_of = np.array([len(part) for part in job.families])
    blocks = [
        spearman(features.by_feature(low, high), job.of_position, job.ranks, n_of)
        for low, high in features.feature_blocks()
    ]
    rho = np.concatenate(blocks, axis=1)
    held_out, chosen = np.zeros(len(n_of)), []
    curves = np.zeros((len(n_of), N_SHIFTS))
    for mine, j, sign in _chosen(rho, job.fold):
        chosen.append((j, sign))
        held_out[mine] = sign * rho[mine, j]
        column = features.column(j)
        for f in mine:
            curves[f] = sign * _curve(column, job, int(f))
    (feature, sign), agree = Counter(chosen).most_common(1)[0]
    low, high = interval_of_mean(held_out, settings.level)
    row: dict[str, object] = {
        "feature": feature, "sign": sign, "rho": held_out.mean(), "rho_low": low, "rho_high": high,
        "p": _p(curves, job.fold, settings.n_draws, rng), "n_families": len(n_of), "folds_agree": agree,
    }  # fmt: skip
    beside: dict[str, dict[str, float]] = {}
    for name, other in _readers(job, acts).items():
        low, high = interval_of_mean(other, settings.level)
        ends = interval_of_mean(held_out - other, settings.level)
        beside[name] = {
            "rho": other.mean(), "rho_low": low, "rho_high": high, "delta": held_out.mean() - other.mean(),
            "delta_low": ends[0], "delta_high": ends[1],
        }  # fmt: skip
    best = max(beside, key=lambda name: beside[name]["rho"])
    row |= {"best_baseline": best, "best_baseline_rho": beside[best]["rho"]}
    return row | {name: beside[best][name] for name in ("delta", "delta_low", "delta_high")}, beside


def _chosen(rho: np.ndarray, fold: np.ndarray) -> Iterator[tuple[np.ndarray, int, int]]:
    """Of every fold its families, and the column and sign of the largest mean correlation on those of the others."""
    for k in np.unique(fold):
        mean = rho[fold != k].mean(axis=0)
        j = int(np.argmax(np.abs(mean)))
        yield np.flatnonzero(fold == k), j, 1 if mean[j] >= 0 else -1


def _curve(column: np.ndarray, job: _Job, f: int) -> np.ndarray:
    """float64 [N_SHIFTS]: the correlation within one family when the values are shifted around its chains."""
    part, offsets = job.families[f], job.samples.offsets
    numbers = np.unique(np.searchsorted(offsets, part, side="right") - 1)
    rows = np.concatenate([np.arange(int(offsets[i]), int(offsets[i + 1])) for i in numbers])
    inside = np.where(job.of_position[rows] == f, job.ranks[rows], 0.0)
    codes, out, at = _centred(column[rows]), np.zeros(N_SHIFTS), 0
    for i in numbers:
        n = int(job.samples.lengths[i])
        a, b = codes[at : at + n], inside[at : at + n]
        around = np.fft.irfft(np.fft.rfft(a) * np.conj(np.fft.rfft(b)), n)
        out += around[np.arange(N_SHIFTS) * n // N_SHIFTS]
        at += n
    return out


def _p(curves: np.ndarray, fold: np.ndarray, n_draws: int, rng: np.random.Generator) -> float:
    """The p-value of all folds together, or 1.5 times the geometric mean of those of each, whichever is larger.

    Each fold's is exact, since its feature was chosen without it; their sum is not: each fold helps to choose the
    feature of the others, so that chance in one shows in all (see :data:`_TOGETHER`).
    """
    each = [_share(curves[fold == k], n_draws, rng) for k in np.unique(fold)]
    return min(1.0, max(_share(curves, n_draws, rng), _TOGETHER * float(np.exp(np.log(each).mean()))))


def _share(curves: np.ndarray, n_draws: int, rng: np.random.Generator) -> float:
    """Share of draws, one shift a family, whose sum is at least that without a shift."""
    sums = np.zeros(n_draws)
    for curve in curves:
        sums += curve[rng.integers(0, N_SHIFTS, n_draws)]
    return float((1 + (sums >= curves[:, 0].sum() - 1e-12).sum()) / (1 + n_draws))


def _readers(job: _Job, acts: Activations | np.ndarray | None) -> dict[str, np.ndarray]:
    """float64 [n_families] of each plain reader, fitted on the families of the other folds."""
    samples, out = job.samples, {}
    for name, cells in _cells(samples):
        out[name] = _folded(job, lambda train, cells=cells: _means(job, cells, train))
    if acts is not None:
        out["neuron"] = _best_unit(job, acts)
    return out


def _cells(samples: Samples) -> Iterator[tuple[str, np.ndarray]]:
    """What each position is to a reader: its place in the sample, its letter, its three letters."""
    length = np.repeat(samples.lengths, samples.lengths)
    yield "position", distance_from_start(samples) * _BINS // length
    yield "start", np.minimum(distance_from_start(samples), 10 * _BINS)
    yield "end", np.minimum(distance_from_end(samples), 10 * _BINS)
    letters = Letters.of(samples, np.arange(len(samples)))
    if letters is not None:
        yield "letter", letters.numbers.astype(np.int64)
        yield "word", np.unique(letters.words(-1), return_inverse=True)[1]


def _means(job: _Job, cells: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Of every position the mean rank of its cell on training families, drawn to the mean where there are few."""
    parts = [job.families[f] for f in train]
    rows, size = np.concatenate(parts), [len(part) for part in parts]
    scaled = job.ranks[rows] * np.sqrt(np.repeat(size, size))
    n = np.bincount(cells[rows], minlength=int(cells.max()) + 1)
    total = np.bincount(cells[rows], weights=scaled, minlength=len(n))
    return (total / (n + _PRIOR))[cells]


def _folded(job: _Job, fit: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    out = np.zeros(len(job.families))
    for k in np.unique(job.fold):
        mine = job.fold == k
        out[mine] = job.rho(fit(np.flatnonzero(~mine)))[mine]
    return out


def _best_unit(job: _Job, acts: Activations | np.ndarray) -> np.ndarray:
    """The single unit of the activations with the largest mean correlation, chosen fold by fold."""
    rows = position_rows(acts, job.samples)
    parts = []
    for part in job.families:
        known = part[rows[part] >= 0]
        dense = read_rows(acts, rows[known])
        ranks = job.ranks[known]
        found = [
            stats.rankdata(dense[:, low : low + _UNITS], axis=0) for low in range(0, dense.shape[1], _UNITS)
        ]
        centred = np.concatenate(found, axis=1)
        centred -= centred.mean(axis=0)
        length = np.linalg.norm(centred, axis=0)
        parts.append((ranks @ centred) / np.where(length > 0, length, 1))
    rho, out = np.array(parts), np.zeros(len(parts))
    for mine, j, sign in _chosen(rho, job.fold):
        out[mine] = sign * rho[mine, j]
    return out
