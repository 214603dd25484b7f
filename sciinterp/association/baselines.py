"""Every baseline of one call, scored as the features are: chosen on training families, measured held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from sciinterp.association import dense_baselines as dense
from sciinterp.association import sequence_baselines as of_sequence
from sciinterp.association.effects import FamilyCounts, best_threshold, count_pairs, count_scores
from sciinterp.association.layout import by_feature
from sciinterp.association.parts import Part, Parts
from sciinterp.association.ranking import precision_recall
from sciinterp.features import FeatureMatrix
from sciinterp.samples import Samples

if TYPE_CHECKING:
    from sciinterp.activations import Activations

# What it would mean that a baseline does as well as a feature.
EXPLAINS = {
    "position": "position", "position_c": "position", "identity": "composition", "composition": "composition",
    "complexity": "composition", "window": "composition", "kmer": "composition", "neuron": "neuron",
    "pca": "neuron", "ica": "neuron", "probe": "neuron", "randomised": "randomised", "density": "density",
    "everything": "prevalence",
}  # fmt: skip
# Shown beside and never the best baseline, because they are not simpler than a feature. Window, kmer and probe
# are fitted with the labels on many inputs at once: what the letters, or the model, hold for a reader who is told
# the answers. ICA is another dictionary learnt from the same activations: a rival of the SAE, not a control.
CEILINGS = ("window", "kmer", "probe", "ica")


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
    """

    reach: int = 2
    n_components: int = 64
    max_fit: int = 150_000


def run_baselines(
    samples: Samples,
    parts: Parts,
    *,
    acts: Activations | np.ndarray | None,
    control: FeatureMatrix | None,
    settings: BaselineSettings,
    seed: int,
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
        out.not_run |= dict.fromkeys(("identity", "composition", "complexity", "window", "kmer"), reason)
    else:
        _run_letters(out, samples, parts, *found, settings, fit_on)
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
    out: Baselines, samples: Samples, parts: Parts, letters: np.ndarray, n_letters: int,
    settings: BaselineSettings, fit_on: np.ndarray,
) -> None:  # fmt: skip
    train, test = parts.train, parts.test
    out.ran.append(_identity(samples, letters, n_letters, train, test, settings.reach))
    shares = of_sequence.composition(letters, n_letters, samples)
    names = of_sequence.letter_names(samples, train.samples)
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
    out: Baselines, samples: Samples, parts: Parts, acts: Activations | np.ndarray,
    settings: BaselineSettings, fit_on: np.ndarray, seed: int,
) -> None:  # fmt: skip
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
    out.ran.append(
        _scored("probe", fit, test, lambda c: (of_fit @ directions[:, c], of_test @ directions[:, c]))
    )


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


def _scored(
    name: str, train: Part, test: Part, column: Callable[[int], tuple[np.ndarray, np.ndarray]]
) -> Baseline:
    """A baseline that is one score for each concept: ``column(concept)`` gives it on training and test."""
    n_concepts = train.positives.shape[1]
    f1 = np.zeros(n_concepts)
    tp, predicted = (np.zeros((n_concepts, test.n_families), np.int64) for _ in range(2))
    for concept in range(n_concepts):
        of_train, of_test = column(concept)
        threshold, f1[concept] = best_threshold(of_train, train.truth(concept))
        tp[concept], predicted[concept] = count_scores(of_test, threshold, test, concept)
    return Baseline(name, f1, FamilyCounts(tp, predicted, test.positive_by_family), [""] * n_concepts)


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
    for concept in range(n_concepts):
        scores = of_test[:, best.unit[concept]] * np.float32(best.sign[concept])
        tp[concept], predicted[concept] = count_scores(scores, best.threshold[concept], test, concept)
    detail = [f"{describe(int(u))} {'high' if s > 0 else 'low'}" for u, s in zip(best.unit, best.sign)]
    return Baseline(name, best.f1_train, FamilyCounts(tp, predicted, test.positive_by_family), detail)


def _identity(
    samples: Samples, letters: np.ndarray, n_letters: int, train: Part, test: Part, reach: int
) -> Baseline:
    """The best single letter at one offset."""
    window = of_sequence.windows(letters, n_letters, samples, reach)
    row, offset = np.nonzero(window < n_letters)
    column = offset * n_letters + window[row, offset]
    shape = (len(window), window.shape[1] * n_letters)
    matrix = sp.csr_array((np.ones(len(row), np.float32), (row, column)), shape=shape)
    names = of_sequence.letter_names(samples, train.samples)
    return _best_column(
        "identity", matrix, train, test, lambda j: f"{names[j % n_letters]} at {j // n_letters - reach:+d}"
    )


def _of_codes(name: str, features: FeatureMatrix, train: Part, test: Part) -> Baseline:
    return _best_column(name, features.codes, train, test, lambda j: f"feature {j}")


def _best_column(
    name: str, codes: sp.csr_array, train: Part, test: Part, describe: Callable[[int], str]
) -> Baseline:
    """The best column of a sparse matrix for each concept, as features are chosen."""
    concepts = np.arange(train.positives.shape[1])
    scores = precision_recall(codes[train.rows], train.by_position)
    best = np.argmax(scores.best_f1, axis=0)
    threshold = scores.threshold[best, concepts]
    counts = count_pairs(by_feature(codes[test.rows]), test, best, concepts, threshold)
    return Baseline(name, scores.best_f1[best, concepts], counts, [describe(int(j)) for j in best])


def _subset(n: int, limit: int, seed: int) -> np.ndarray:
    if n <= limit:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, limit, replace=False))


def _rows_of(part: Part, rows: np.ndarray) -> Part:
    """A part on some of its positions (for fitting; families keep their numbers)."""
    return Part(part.samples, part.rows[rows], part.positives[rows], part.family[rows], part.family_codes)
