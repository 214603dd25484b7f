"""What a readout reads of a sample: its features, and what needs no features.

Codes become three numbers a feature and sample: the largest activation, the mean, and the share of positions where it is
active. Beside them stand mean-pooled activations, the same codes of the randomised model, and four readings of the letters
alone: their shares, words of two and three, the letter at each position where samples are aligned, and length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

from sciinterp.activations import Activations
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.active import active_cells
from sciinterp.errors import MismatchError, ShapeError
from sciinterp.provenance import require_same_samples
from sciinterp.readers.airr import imgt_rows
from sciinterp.samples import Samples

# name -> what it is, the plainest first; all but features are rivals, which may do without them
READ = {
    "length": "length",
    "composition": "shares of letters",
    "kmers": "words of two and three letters",
    "letters": "letter at each aligned position",
    "randomised": "features of the randomised model",
    "activations": "mean of the activations",
    "features": "features",
}
SUMMARIES = ("largest", "mean", "share")
# A column of letters or words must stand in so many samples.
MIN_SAMPLES = 3
# Positions of all samples up to which each is looked at as a letter at its place.
MOST_ALIGNED = 1_000_000


@dataclass(frozen=True, eq=False)
class Representation:
    """Numbers of every sample."""

    x: np.ndarray  # float [n_samples, n_columns]
    names: Sequence[str] = ()  # what a column is, where it has a plain name; empty otherwise
    parts: tuple[slice, ...] = (slice(None),)  # columns of one kind each; a reading takes one of them, or all
    scaled: bool = False  # whether columns have a scale of their own, and are not standardised

    def take(self, rows: np.ndarray) -> Representation:
        """Some samples."""
        return replace(self, x=self.x[rows])


def summarise_codes(features: FeatureMatrix, largest: np.ndarray | None = None) -> np.ndarray:
    """float32 [n_samples, 3 n_features]: largest activation, mean, share of active positions.

    Where a feature is active is said by its largest activation here, or by another one given.
    """
    parts, scale = [], features.largest if largest is None else largest
    for lo, hi in features.sample_blocks():
        codes = sp.csr_array(features.by_sample(np.arange(lo, hi)))
        lengths = features.samples.lengths[lo:hi]
        owner = np.repeat(np.arange(hi - lo), lengths)
        adds = sp.csr_array(
            (np.ones(len(owner)), (owner, np.arange(len(owner)))), shape=(hi - lo, len(owner))
        )
        size = np.maximum(lengths, 1)[:, None]
        active = active_cells(codes, scale).astype(np.float64)
        parts.append(np.hstack([(adds @ codes).toarray() / size, (adds @ active).toarray() / size]))
    most = sp.csr_array(features.max_per_sample()).toarray()
    return np.hstack([most, np.concatenate(parts)]).astype(np.float32)


def mean_activations(acts: Activations | np.ndarray, samples: Samples) -> np.ndarray:
    """float32 [n_samples, d_in]: the mean over each sample's tokens."""
    if isinstance(acts, np.ndarray):
        if len(acts) != samples.n_positions:
            n = f"{samples.n_positions} rows"
            raise ShapeError("activations of other positions", where="acts", expected=n, got=str(len(acts)))
        return np.array([acts[a:b].mean(0) for a, b in zip(samples.offsets, samples.offsets[1:])], np.float32)
    return np.array([acts.read_sample(i).mean(0) for i in range(len(samples))], np.float32)


def represent(
    features: FeatureMatrix,
    *,
    acts: Activations | np.ndarray | None = None,
    control: FeatureMatrix | None = None,
) -> dict[str, Representation]:
    """Every representation there is, the plainest first, the control being that of the randomised model."""
    samples = features.samples
    found = {"length": Representation(samples.lengths[:, None].astype(np.float32), ["length"])}
    if isinstance(samples[0].data, str):
        found |= _letters(samples)
    if control is not None:
        if control.samples.digest != samples.digest:
            raise MismatchError("the control is of other samples than the codes", where="control")
        found["randomised"] = _of_codes(control)
    if acts is not None:
        require_same_samples(features, acts, "acts=")
        found["activations"] = Representation(mean_activations(acts, samples))
    found["features"] = _of_codes(features)
    return found


def _of_codes(features: FeatureMatrix) -> Representation:
    n = features.n_features
    return Representation(
        summarise_codes(features), (), tuple(slice(i * n, (i + 1) * n) for i in range(len(SUMMARIES)))
    )


def _letters(samples: Samples) -> dict[str, Representation]:
    text, found = samples.sequences, {}
    counts, names = _counted(text, CountVectorizer(lowercase=False, analyzer="char", ngram_range=(1, 3)))
    one = np.array([len(name) == 1 for name in names], bool)
    share = counts[:, one] / np.maximum(samples.lengths, 1)[:, None]
    found["composition"] = Representation(share, [f"share of {n}" for n in names if len(n) == 1])
    if not one.all():
        # rare words count more, and a word that comes twice little more than once
        weighed = TfidfTransformer(sublinear_tf=True).fit_transform(counts[:, ~one]).toarray()
        words = [f"word {n}" for n in names if len(n) > 1]
        found["kmers"] = Representation(weighed.astype(np.float32), words, scaled=True)
    places = aligned(samples) if samples.n_positions <= MOST_ALIGNED else None
    if places is not None:
        rows = [[f"{a} at {p}" for a, p in zip(t, at)] for t, at in zip(text, places)]
        held, names = _counted(rows, CountVectorizer(lowercase=False, analyzer=lambda row: row))
        found["letters"] = Representation(held, names)
    return found


def _counted(rows: Sequence, words: CountVectorizer) -> tuple[np.ndarray, list[str]]:
    """float32 [n_samples, n_words] counts of what stands in some samples, and what that is."""
    counts = words.fit_transform(rows)
    often = np.asarray((counts > 0).sum(0)).ravel() >= min(MIN_SAMPLES, len(rows))
    return counts[:, often].toarray().astype(np.float32), words.get_feature_names_out()[often].tolist()


def aligned(samples: Samples) -> list[list[str]] | None:
    """The name of every position, where a name means the same in all samples: by IMGT, or one length; else None."""
    if "imgt" in samples.table.columns:
        places = imgt_rows(samples.table["imgt"].tolist())
        if [len(at) for at in places] == samples.lengths.tolist():
            return places
    if len(np.unique(samples.lengths)) == 1:
        return [[str(i + 1) for i in range(int(samples.lengths[0]))]] * len(samples)
    return None
