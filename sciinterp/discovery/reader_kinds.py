"""The readers of sequence, one record each: a further reader is one record of :data:`READERS`.

======== =================================================================================== ===================
name     what it reads                                                                       file
======== =================================================================================== ===================
motif    seven columns of letters, without a gap                                             ``profiles``
gapped   two halves of four columns at a distance that varies                                ``gapped``
pair     letters at a distance from each other                                               ``letter_pairs``
periodic a property of the letters that comes and goes with a period                         ``periodicity``
domain   weak composition in four parts along thirty-six letters                             ``profiles``
labels   columns of labels: which broad concepts (a helix, a region) stand where             ``profiles``
torsions regions of the Ramachandran plot, of samples with coordinates                       ``profiles``
bins     seven columns of torsions in bins of 30 degrees, of these samples                   ``profiles``
======== =================================================================================== ===================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sciinterp.association.backbone_baselines import ABEGO, BIN, N_SIDE, N_TORSIONS
from sciinterp.discovery.gapped import fit_gapped, score_gapped
from sciinterp.discovery.letter_pairs import FAR, chance_of_pairs, fit_pairs, score_pairs
from sciinterp.discovery.periodicity import HALVES, PERIODS, fit_periodicity, score_periodicity
from sciinterp.discovery.profiles import MOTIF, Shape, fit_profile, score_profile
from sciinterp.discovery.surroundings import Surroundings

DOMAIN = Shape(np.repeat(np.arange(4), 9), np.arange(-18, 19, 3), np.array([0]), steps=4, prior=12.0)
LABELS = Shape(np.arange(13), np.arange(-2, 3), np.array([0]), steps=3, prior=6.0)
BINS = Shape(np.arange(7), np.arange(-2, 3), np.array([0]), steps=3, prior=6.0)  # as wide as a motif

Model = tuple[np.ndarray, ...]  # what a reader has fitted, its own: arrays with one row a row of peaks
Says = dict[str, object]  # of itself: a sentence, ``text``, and its numbers


@dataclass(frozen=True, eq=False)
class FitData:
    """What readers are fitted on: peaks, and what they are compared with.

    Attributes
    ----------
    around : Surroundings
    at, other : int64 [n, n_peaks]
        Peaks on the padded axis, -1 = none, and a random position of the same sample for each.
    train : bool [n_fits, n, n_peaks]
        Which peaks each fit may see.
    """

    around: Surroundings
    at: np.ndarray
    other: np.ndarray
    train: np.ndarray

    def rows(self, some: np.ndarray) -> FitData:
        """Some rows."""
        return FitData(self.around, self.at[some], self.other[some], self.train[:, some])

    @cached_property
    def pairs(self) -> list[Model]:
        """Pairs of each fit, which two readers need."""
        around = self.around
        chance = chance_of_pairs(around.words, around.n_words, np.where(self.at >= 0, self.other, -1))
        return [fit_pairs(around.words, around.n_words, self.at, train, chance) for train in self.train]


@dataclass(frozen=True)
class Reader:
    """One way to read sequence.

    Attributes
    ----------
    name : str
    fit : callable
        Data to one model a fit.
    score : callable
        Surroundings, positions [n, n_positions] and a model to scores of the same shape; what is -1 may be anything.
    says : callable
        Surroundings, positions [1, n_peaks] and a model of one row to a sentence and its numbers.
    reach : int
        Letters on either side that are shuffled where the question is whether their order matters.
    column : str
        What it reads: a reader of an empty column is left out.
    """

    name: str
    fit: Callable[[FitData], list[Model]]
    score: Callable[[Surroundings, np.ndarray, Model], np.ndarray]
    says: Callable[[Surroundings, np.ndarray, Model], Says]
    reach: int
    column: str = "letters"


def _profile(shape: Shape, column: str, says: Callable, *, name: str, reach: int) -> Reader:
    """A reader of one shape of profile in one column."""

    def fit(peaks: FitData) -> list[Model]:
        values, share = getattr(peaks.around, column), peaks.around.share(column)
        return [(fit_profile(values, peaks.at, train, share, shape),) for train in peaks.train]

    def score(around: Surroundings, at: np.ndarray, model: Model) -> np.ndarray:
        return score_profile(getattr(around, column), at, model[0], shape)[0]

    return Reader(name, fit, score, says, reach, column)


def _fit_gapped(peaks: FitData) -> list[Model]:
    around, share = peaks.around, peaks.around.share()
    return [
        fit_gapped(around.letters, around.words, peaks.at, train, share, pairs)
        for train, pairs in zip(peaks.train, peaks.pairs)
    ]


def columns_of(odds: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Letter probabilities [n_columns, n_letters] of log odds with their sentinel."""
    seen = np.exp(odds[:, :-1]) * (share + 1e-9)
    return seen / seen.sum(1, keepdims=True)


def consensus(columns: np.ndarray, alphabet: list[str]) -> str:
    """The commonest letters: a capital above one half, a small one above 0.3, x else."""
    best = [alphabet[i] for i in np.argmax(columns, axis=1)]
    return "".join(x if p > 0.5 else x.lower() if p > 0.3 else "x" for x, p in zip(best, columns.max(1)))


def bits(columns: np.ndarray, share: np.ndarray) -> float:
    """Information against the background."""
    return float((columns * np.log2(columns / (share + 1e-9) + 1e-12)).sum())


def logo(columns: np.ndarray, alphabet: list[str]) -> list[dict[str, float]]:
    """Frequencies of the letters that matter, one entry a column."""
    return [{alphabet[j]: round(float(p[j]), 3) for j in np.argsort(-p)[:4] if p[j] >= 0.05} for p in columns]


def _says_motif(around: Surroundings, at: np.ndarray, model: Model) -> Says:
    return _says_columns(model, around.share(), around.alphabet)


def _says_columns(model: Model, share: np.ndarray, alphabet: list[str], text: str = "{}") -> Says:
    """Of a profile of one column a position; its consensus stands in ``text``."""
    columns = columns_of(model[0][0], share)
    said = consensus(columns, alphabet)
    return {
        "text": text.format(said),
        "consensus": said,
        "bits": round(bits(columns, share), 1),
        "logo": logo(columns, alphabet),
    }


def _says_gapped(around: Surroundings, at: np.ndarray, model: Model) -> Says:
    halves = [columns_of(odds, around.share()) for odds in model[0][0]]
    gap = score_gapped(around.letters, at, model)[1][0, :, 1][at[0] >= 0]
    low, high = (int(v) for v in np.quantile(gap, [0.1, 0.9])) if len(gap) else (0, 0)
    first, second = (consensus(h, around.alphabet) for h in halves)
    return {
        "text": f"{first}-({low} to {high})-{second}",
        "gap": [low, high],
        "bits": round(sum(bits(h, around.share()) for h in halves), 1),
        "logo": [logo(h, around.alphabet) for h in halves],
    }


def _says_pairs(around: Surroundings, at: np.ndarray, model: Model) -> Says:
    names = _word_names(around)
    pairs = [
        {
            "first": names[a],
            "second": names[b],
            "distance": int(d),
            "times_as_often": round(float(np.exp(w)), 1),
        }
        for (a, b, d, _), (w, _) in zip(model[0][0].tolist(), model[1][0])
        if d
    ]
    text = ", ".join(f"{p['first']} and {p['second']} {p['distance']} apart" for p in pairs[:2])
    return {"text": text or "no pair", "pairs": pairs}


def _word_names(around: Surroundings) -> list[str]:
    kept = np.flatnonzero(around.word_table < around.n_words)
    n, size = around.n_letters, around.word_size
    return ["".join(around.alphabet[i // n**k % n] for k in reversed(range(size))) for i in kept]


def _says_periodic(around: Surroundings, at: np.ndarray, model: Model) -> Says:
    scale, half, period = (int(x[0]) for x in model)
    name, width = around.property_names[scale], 2 * HALVES[half] + 1
    return {
        "text": f"{name} with a period of {PERIODS[period]:g} over {width} letters",
        "property": name,
        "period": PERIODS[period],
        "width": width,
    }


def _says_domain(around: Surroundings, at: np.ndarray, model: Model) -> Says:
    columns = columns_of(model[0][0], around.share())
    rich = [
        "".join(around.alphabet[i] for i in np.argsort(-odds[:-1])[:3] if odds[i] > np.log(1.5)) or "nothing"
        for odds in model[0][0]
    ]
    return {
        "text": f"{DOMAIN.width} letters, rich in {', then '.join(rich)}",
        "rich_in": rich,
        "bits": round(bits(columns, around.share()) * DOMAIN.width / len(columns), 1),
    }


def _says_labels(around: Surroundings, at: np.ndarray, model: Model) -> Says:
    columns = columns_of(model[0][0], around.share("labels"))
    names = [around.label_names[i] for i in np.argmax(columns, axis=1)]
    turns = [names[0], *(b for a, b in zip(names, names[1:]) if a != b)]
    return {"text": ", then ".join(turns), "labels": names}


def _says_torsions(around: Surroundings, at: np.ndarray, model: Model) -> Says:
    return _says_columns(model, around.share("abego"), list(ABEGO), "torsions {} (ABEGO)")


def _says_bins(around: Surroundings, at: np.ndarray, model: Model) -> Says:
    best = np.argmax(columns_of(model[0][0], around.share("torsion")), axis=1)
    middles = [
        None if b == N_TORSIONS - 1 else [(i + 0.5) * BIN - 180 for i in divmod(b, N_SIDE)]
        for b in best.tolist()
    ]
    text = " ".join("none" if m is None else f"{m[0]:.0f}/{m[1]:.0f}" for m in middles)
    return {"text": f"phi/psi {text}", "torsions": middles}


READERS = (
    _profile(MOTIF, "letters", _says_motif, name="motif", reach=6),
    Reader(
        "gapped", _fit_gapped, lambda around, at, m: score_gapped(around.letters, at, m)[0], _says_gapped, 20
    ),
    Reader(
        "pair", lambda p: p.pairs, lambda around, at, m: score_pairs(around.words, at, m), _says_pairs, FAR
    ),
    Reader(
        "periodic",
        lambda p: fit_periodicity(
            p.around.letters, p.around.properties, p.at, p.other, p.train, moments=p.around.moments
        ),
        lambda around, at, m: score_periodicity(around.letters, around.properties, at, m),
        _says_periodic,
        20,
    ),
    _profile(DOMAIN, "letters", _says_domain, name="domain", reach=36),
    _profile(LABELS, "labels", _says_labels, name="labels", reach=8),
    _profile(MOTIF, "abego", _says_torsions, name="torsions", reach=6),
    _profile(BINS, "torsion", _says_bins, name="bins", reach=6),
)
