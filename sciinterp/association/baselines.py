"""Every baseline of one call, scored as the features are: chosen on training families, measured held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.association import dense_baselines as dense
from sciinterp.association import profile_baseline as profile
from sciinterp.association import sequence_baselines as of_sequence
from sciinterp.association.bootstrap import FamilyCounts, count_pairs
from sciinterp.association.dense_scores import BLOCK_VALUES, best_thresholds, count_scores
from sciinterp.association.partitions import Part, Parts
from sciinterp.association.ranking import fit_pairs
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.by_feature import by_feature
from sciinterp.samples import Samples

if TYPE_CHECKING:
    from sciinterp.activations import Activations

# Shown beside, and by default never the best baseline. Window, kmer, domain and probe are fitted with the labels on
# many inputs at once: what the letters, or the model, hold for a reader who is told the answers. ICA is another
# dictionary learnt from the same activations: a rival of the SAE. Each has columns of its own in the hits.
CEILINGS = ("ica", "kmer", "window", "domain", "probe")


@dataclass(frozen=True, eq=False)
class Baseline:
    """One baseline on the concepts of one part: F1 in training, counts held out, what was chosen."""

    name: str
    f1_train: np.ndarray
    counts: FamilyCounts
    detail: list[str]


@dataclass
class Baselines:
    """Baselines that ran, and why the others did not."""

    ran: list[Baseline] = field(default_factory=list)
    not_run: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BaselineSettings:
    """How baselines are fitted.

    Attributes
    ----------
    reach : int
        Letters on either side of a position that ``identity`` and ``window`` see.
    n_components : int
        Principal, and independent, components tried.
    max_fit : int
        Training positions that regressions, neurons and probe are fitted on; whole training set if smaller.
    domain : bool
        Also build profile HMMs of each concept's instances with pyhmmer, a domain tool: minutes for long
        sequences or many concepts.
    """

    reach: int = 2
    n_components: int = 64
    max_fit: int = 150_000
    domain: bool = False


def run_baselines(
    samples: Samples,
    parts: Parts,
    *,
    acts: Activations | np.ndarray | None,
    control: FeatureMatrix | None,
    settings: BaselineSettings,
    seed: int,
    instances: pd.DataFrame | None = None,
) -> Baselines:
    """Run every baseline that its arguments allow.

    Parameters
    ----------
    samples : Samples
    parts : Parts
        Concepts of one coverage, training and held-out positions.
    acts : Activations or ndarray [n_positions, d_in], optional
        For neurons, components and the probe.
    control : FeatureMatrix, optional
        Codes of the same recipe on randomised weights.
    settings : BaselineSettings
    seed : int
    instances : DataFrame, optional
        ``concept`` (number within `parts`), ``start``, ``end``, ``sample`` on the axis of all samples: for the
        domain tool.

    Returns
    -------
    Baselines
    """
    out = Baselines()
    train, test = parts.train, parts.test
    out.ran.append(_everything(train, test))
    fit_on = _subset(train.n_positions, settings.max_fit, seed)
    for name, distance in (
        ("position", of_sequence.distance_from_start),
        ("position_c", of_sequence.distance_from_end),
    ):
        out.ran.append(
            _scored(name, train, test, of_sequence.position_scores(distance(samples), train, test))
        )
    found = of_sequence.letter_codes(samples, train.samples)
    if found is None:
        reason = "the samples carry no sequences"
        out.not_run |= dict.fromkeys(
            ("identity", "word", "composition", "complexity", "window", "kmer"), reason
        )
    else:
        _run_letters(out, samples, parts, *found, settings, fit_on)
    reason = "not asked for (BaselineSettings(domain=True))"
    if settings.domain:
        reason = (
            profile.why_not(samples) if instances is not None and found else "no instances or no sequences"
        )
    if reason:
        out.not_run["domain"] = reason
    else:
        scores = profile.profile_scores(samples, instances, train, test, seed=seed)
        out.ran.append(_scored("domain", train, test, scores))
    if acts is None:
        out.not_run |= dict.fromkeys(("neuron", "pca", "ica", "probe"), "no activations were given (acts)")
    else:
        _run_dense(out, samples, parts, acts, settings, fit_on, seed)
    if control is None:
        out.not_run["randomised"] = "no codes of the randomised model were given (control)"
    elif control.n_positions != samples.n_positions:
        out.not_run["randomised"] = (
            f"control has {control.n_positions} positions, the features {samples.n_positions}"
        )
    else:
        out.ran.append(_of_codes("randomised", control, train, test))
    return out


def _run_letters(
    out: Baselines,
    samples: Samples,
    parts: Parts,
    letters: np.ndarray,
    n_letters: int,
    settings: BaselineSettings,
    fit_on: np.ndarray,
) -> None:
    train, test = parts.train, parts.test
    names = of_sequence.letter_names(samples, train.samples)
    out.ran.append(_identity(samples, letters, names, train, test, settings.reach))
    out.ran.append(_word(samples, letters, names, train, test))
    shares = of_sequence.composition(letters, n_letters, samples)
    found = (shares[train.rows], shares[test.rows])
    out.ran.append(_units("composition", *found, train, test, lambda unit: f"share of {names[unit]}"))
    entropy = of_sequence.complexity(shares)[:, None]
    out.ran.append(
        _units("complexity", entropy[train.rows], entropy[test.rows], train, test, lambda unit: "entropy")
    )
    scores = of_sequence.window_scores(
        letters, n_letters, samples, train, test, reach=settings.reach, fit_on=fit_on
    )
    out.ran.append(_scored("window", train, test, scores))
    out.ran.append(
        _scored("kmer", train, test, of_sequence.kmer_scores(letters, n_letters, samples, train, test))
    )


def _run_dense(
    out: Baselines,
    samples: Samples,
    parts: Parts,
    acts: Activations | np.ndarray,
    settings: BaselineSettings,
    fit_on: np.ndarray,
    seed: int,
) -> None:
    train, test = parts.train, parts.test
    rows = dense.position_rows(acts, samples)
    of_test = dense.read_rows(acts, rows[test.rows])
    of_fit = dense.read_rows(acts, rows[train.rows[fit_on]])
    fit = train if len(fit_on) == train.n_positions else _rows_of(train, fit_on)
    out.ran.append(_units("neuron", of_fit, of_test, fit, test, lambda unit: f"neuron {unit}"))
    moments = dense.Moments.of(of_fit)
    mean = moments.mean.astype(np.float32)
    axes = dense.principal_axes(moments, settings.n_components).astype(np.float32)
    projected = [(x - mean) @ axes for x in (of_fit, of_test)]
    out.ran.append(_units("pca", projected[0], projected[1], fit, test, lambda unit: f"component {unit}"))
    rotation = dense.independent_axes(projected[0], seed)
    independent = [x @ rotation for x in projected]
    out.ran.append(_units("ica", independent[0], independent[1], fit, test, lambda unit: f"component {unit}"))
    directions = dense.linear_probe(of_fit, moments, fit).astype(np.float32)

    def probed(low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        mine = np.ascontiguousarray(directions[:, low:high].T)
        return mine @ of_fit.T, mine @ of_test.T

    out.ran.append(_scored("probe", fit, test, probed))


def _everything(train: Part, test: Part) -> Baseline:
    """Predict every position."""
    concepts = np.arange(train.positives.shape[1])
    share = np.asarray(train.positives.sum(axis=0)).reshape(-1)
    sizes = np.bincount(test.family, minlength=test.n_families)
    counts = FamilyCounts(
        test.positive_by_family, np.tile(sizes, (len(concepts), 1)), test.positive_by_family
    )
    return Baseline(
        "everything", 2 * share / np.maximum(1, share + train.n_positions), counts, [""] * len(concepts)
    )


def _scored(name: str, train: Part, test: Part, block: of_sequence.Block) -> Baseline:
    """A baseline that is one score for each concept."""
    n_concepts = train.positives.shape[1]
    f1 = np.zeros(n_concepts)
    tp, predicted = (np.zeros((n_concepts, test.n_families), np.int64) for _ in range(2))
    for low, high in _concept_blocks(n_concepts, train.n_positions + test.n_positions):
        of_train, of_test = block(low, high)
        threshold, f1[low:high] = best_thresholds(of_train, train, low)
        tp[low:high], predicted[low:high] = count_scores(of_test, threshold, test, low)
    return Baseline(name, f1, FamilyCounts(tp, predicted, test.positive_by_family), [""] * n_concepts)


def _concept_blocks(n_concepts: int, n_positions: int) -> list[tuple[int, int]]:
    """Ranges of concepts whose dense scores fit in a block."""
    step = max(1, BLOCK_VALUES // max(1, n_positions))
    return [(low, min(low + step, n_concepts)) for low in range(0, n_concepts, step)]


def _units(
    name: str,
    of_train: np.ndarray,
    of_test: np.ndarray,
    train: Part,
    test: Part,
    describe: Callable[[int], str],
) -> Baseline:
    """A baseline that is the best of many units, read both ways."""
    best = dense.best_unit(of_train, train)
    n_concepts = train.positives.shape[1]
    tp, predicted = (np.zeros((n_concepts, test.n_families), np.int64) for _ in range(2))
    for low, high in _concept_blocks(n_concepts, test.n_positions):
        scores = dense.read_units(of_test, best.unit[low:high], best.sign[low:high])
        tp[low:high], predicted[low:high] = count_scores(scores, best.threshold[low:high], test, low)
    detail = [f"{describe(int(u))} {'high' if s > 0 else 'low'}" for u, s in zip(best.unit, best.sign)]
    return Baseline(name, best.f1_train, FamilyCounts(tp, predicted, test.positive_by_family), detail)


def _identity(
    samples: Samples, letters: np.ndarray, names: list[str], train: Part, test: Part, reach: int
) -> Baseline:
    """The best single letter at one offset."""
    n_letters = len(names)
    window = of_sequence.windows(letters, n_letters, samples, reach)
    row, offset = np.nonzero(window < n_letters)
    column = offset * n_letters + window[row, offset]
    shape = (len(window), window.shape[1] * n_letters)
    matrix = sp.csr_array((np.ones(len(row), np.float32), (row, column)), shape=shape)
    return _best_column(
        "identity", matrix, train, test, lambda j: f"{names[j % n_letters]} at {j // n_letters - reach:+d}"
    )


def _word(samples: Samples, letters: np.ndarray, names: list[str], train: Part, test: Part) -> Baseline:
    """The best single word of three letters among those that cover the position."""
    size = len(names) + 1
    offsets = (-2, -1, 0)
    code = np.stack([of_sequence.words(letters, len(names), samples, o) for o in offsets], axis=1)
    code += np.arange(len(offsets)) * size**3
    known, column = np.unique(code, return_inverse=True)
    indptr = np.arange(len(code) + 1) * len(offsets)
    values = np.ones(code.size, np.float32)
    matrix = sp.csr_array((values, np.asarray(column).reshape(-1), indptr), shape=(len(code), len(known)))
    shown = [name if len(name) == 1 else "*" for name in [*names, "-"]]

    def describe(j: int) -> str:
        offset, word = divmod(int(known[j]), size**3)
        return f"{shown[word // size**2]}{shown[word // size % size]}{shown[word % size]} at {offsets[offset]:+d}"

    return _best_column("word", matrix, train, test, describe)


def _of_codes(name: str, features: FeatureMatrix, train: Part, test: Part) -> Baseline:
    return _best_column(name, features.codes, train, test, lambda j: f"feature {j}")


def _best_column(
    name: str, codes: sp.csr_array, train: Part, test: Part, describe: Callable[[int], str]
) -> Baseline:
    """The best column of a sparse matrix for each concept, as features are chosen."""
    concepts = np.arange(train.positives.shape[1])
    f1, threshold = fit_pairs(codes[train.rows], train.by_position)
    best = np.argmax(f1, axis=0)
    counts = count_pairs(by_feature(codes[test.rows]), test, best, concepts, threshold[best, concepts])
    return Baseline(name, f1[best, concepts], counts, [describe(int(j)) for j in best])


def _subset(n: int, limit: int, seed: int) -> np.ndarray:
    if n <= limit:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, limit, replace=False))


def _rows_of(part: Part, rows: np.ndarray) -> Part:
    """A part on some of its positions (for fitting; families keep their numbers)."""
    return Part(part.samples, part.rows[rows], part.positives[rows], part.family[rows], part.family_codes)
