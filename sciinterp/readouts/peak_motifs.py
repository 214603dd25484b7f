"""What stands at the peaks of a feature, and how well each sample matches it: a reading that needs no model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciinterp.codes import FeatureMatrix

FLANK = 4
# Peaks a motif is made of; a peak is at least this share of the feature's largest.
MOST_PEAKS, STRONG = 100, 1 / 3
PRIOR = 2.0
# A letter is written where this share of the peaks has it.
WRITTEN = 0.5


@dataclass(frozen=True, eq=False)
class Motifs:
    """The letters of all samples, end to end, each sample between gaps."""

    features: FeatureMatrix
    alphabet: str
    # int [n_positions, 2 FLANK + 1]: the letters around each position; ``len(alphabet)`` beyond an
    # end.
    letters: np.ndarray

    @classmethod
    def of(cls, features: FeatureMatrix) -> Motifs | None:
        """None where samples are not sequences of letters."""
        samples = features.samples
        if not isinstance(samples[0].data, str) or (samples.lengths == 0).any():
            return None
        text = "".join(samples.sequences)
        alphabet = "".join(sorted(set(text)))
        code = np.array([alphabet.index(c) for c in text], np.int16)
        start = np.repeat(samples.offsets[:-1], samples.lengths)
        end = np.repeat(samples.offsets[1:], samples.lengths)
        at = np.arange(len(code))[:, None] + np.arange(-FLANK, FLANK + 1)
        inside = (at >= start[:, None]) & (at < end[:, None])
        return cls(features, alphabet, np.where(inside, code[np.clip(at, 0, len(code) - 1)], len(alphabet)))

    def best(self, feature: int, rows: np.ndarray) -> tuple[str, np.ndarray] | None:
        """The motif at the peaks in some samples, and the best match of every sample; None with fewer than five peaks."""
        samples = self.features.samples
        at, values = self.features.by_feature(feature, feature + 1).column(0)
        owner = np.searchsorted(samples.offsets, at, side="right") - 1
        mine = np.isin(owner, rows)
        at, values, owner = at[mine], values[mine], owner[mine]
        order = np.lexsort((at, -values))
        order = order[np.unique(owner[order], return_index=True)[1]]
        order = order[np.argsort(-values[order], kind="stable")][:MOST_PEAKS]
        order = order[values[order] >= STRONG * values.max(initial=0)]
        if len(order) < 5:
            return None
        n = len(self.alphabet)
        seen = self.letters[at[order]]
        counts = np.stack([np.bincount(column, minlength=n + 1)[:n] for column in seen.T]).astype(float)
        share = np.bincount(self.letters[:, FLANK], minlength=n)[:n] / len(self.letters)
        p = (counts + PRIOR * share) / (counts.sum(1, keepdims=True) + PRIOR)
        odds = np.hstack([np.log(p / share), np.zeros((len(p), 1))])
        score = odds[np.arange(len(odds)), self.letters].sum(1)
        written = "".join(self.alphabet[row.argmax()] if row.max() >= WRITTEN else "x" for row in p)
        return written.strip("x") or written, np.maximum.reduceat(score, samples.offsets[:-1])
