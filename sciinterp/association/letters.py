"""Letters of sequences as numbers, the windows and words around each position, and how far the ends are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciinterp.budget import ranges
from sciinterp.codes.intervals import positions_type, windows
from sciinterp.samples import Samples

# Letters told apart; proteins have 20, reaction strings some dozens.
MAX_LETTERS = 30


def distance_from_start(samples: Samples) -> np.ndarray:
    """int32 [n_positions]: 0 at the first position of each sample."""
    out = np.arange(samples.n_positions, dtype=positions_type(samples.n_positions))
    out -= np.repeat(samples.offsets[:-1].astype(out.dtype), samples.lengths)
    return out


def distance_from_end(samples: Samples) -> np.ndarray:
    """int32 [n_positions]: 0 at the last position of each sample."""
    kind = positions_type(samples.n_positions)
    out = np.repeat(samples.offsets[1:].astype(kind) - kind(1), samples.lengths)
    out -= np.arange(samples.n_positions, dtype=kind)
    return out


@dataclass(frozen=True, eq=False)
class Letters:
    """Letters of all positions, the commonest of the training samples first."""

    numbers: np.ndarray  # uint8 [n_positions]: letters beyond the MAX_LETTERS commonest share the last number
    names: list[str]  # what each number stands for
    samples: Samples

    @classmethod
    def of(cls, samples: Samples, train: np.ndarray) -> Letters | None:
        """Letters of some samples, ranked on those numbered `train`; None where samples have no letters."""
        texts = [text for text in samples.letters if text is not None]
        if len(texts) < len(samples):
            return None
        known = np.frombuffer("".join(texts[i] for i in train).encode("latin-1", "replace"), np.uint8)
        counts = np.bincount(known, minlength=256)
        kept = np.argsort(-counts, kind="stable")[: min(MAX_LETTERS, int((counts > 0).sum()))]
        table = np.full(256, len(kept), np.uint8)
        table[kept] = np.arange(len(kept))
        raw = np.frombuffer("".join(texts).encode("latin-1", "replace"), np.uint8)
        return cls(table[raw], [*map(chr, kept), "a rare letter"], samples)

    @property
    def n_letters(self) -> int:
        """Numbers in use; this one itself stands for what lies beyond the ends."""
        return len(self.names)

    def windows(self, reach: int) -> np.ndarray:
        """uint8 [n_positions, 2 * reach + 1]: the letters around each position; ``n_letters`` beyond the ends."""
        n, offsets = len(self.numbers), self.samples.offsets
        out = np.empty((n, 2 * reach + 1), self.numbers.dtype)
        for low, high in ranges(n, 64):
            where = np.arange(low, high)
            out[low:high] = windows(self.numbers, where, reach, offsets, beyond=self.n_letters)
        return out

    def words(self, offset: int) -> np.ndarray:
        """int32 [n_positions]: number of the three letters that start `offset` from each position.

        Letters beyond the ends are ``n_letters``, so numbers are below ``(n_letters + 1) ** 3``.
        """
        reach = max(abs(offset), abs(offset + 2))
        window = self.windows(reach)[:, offset + reach : offset + reach + 3]
        out = np.zeros(len(window), np.int32)
        for letter in window.T:
            out *= self.n_letters + 1
            out += letter
        return out
