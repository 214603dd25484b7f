"""What stands around positions: every column that a reader of peaks may look at, on one padded axis.

Samples are laid end to end with :data:`FAR` sentinels before, between and behind them, so that what is within
:data:`FAR` of a position is read without a look at the ends, and no reader ever sees the next sample.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sciinterp.discovery.letter_pairs import FAR, plain_words, word_table
from sciinterp.discovery.periodicity import scales
from sciinterp.discovery.problem import Problem

MAX_LABELS = 24  # combinations of broad concepts told apart
BROAD = (
    0.1  # share of all positions from which a concept is broad: a label of positions, not a thing to be found
)
NONE = -1  # no peak


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Columns over the padded axis.

    Attributes
    ----------
    letters : uint8 [n_padded]
        ``n_letters`` is the sentinel.
    alphabet : list of str
    labels : uint8 [n_padded]
        Which broad concepts hold a position, as one number; empty where there are none.
    label_names : list of str
    from_start, from_end : int32 [n_padded]
    conservation : float32 [n_padded]
    sample : int32 [n_padded]
        -1 in the padding.
    word_size : int
    word_table : uint8
        Numbers of the words that pairs are read in (:func:`sciinterp.discovery.letter_pairs.word_table`).
    property_names : list of str
    properties : float64 [n_properties, n_letters]
        Of the letters (:func:`sciinterp.discovery.periodicity.scales`).
    """

    letters: np.ndarray
    alphabet: list[str]
    labels: np.ndarray
    label_names: list[str]
    from_start: np.ndarray
    from_end: np.ndarray
    conservation: np.ndarray
    sample: np.ndarray
    word_size: int
    word_table: np.ndarray
    property_names: list[str]
    properties: np.ndarray

    @cached_property
    def words(self) -> np.ndarray:
        """uint8 [n_padded]: the word that begins at each position."""
        return self.word_table[plain_words(self.letters, self.n_letters, self.word_size)]

    @property
    def n_words(self) -> int:
        """Words told apart; the number itself stands for none."""
        return int(self.word_table.max())

    @property
    def n_letters(self) -> int:
        """Letters told apart; the number itself is the sentinel."""
        return len(self.alphabet)

    def share(self, column: str = "letters") -> np.ndarray:
        """float64: how often each letter or label occurs at all."""
        values = getattr(self, column)[self.sample >= 0]
        n = self.n_letters if column == "letters" else len(self.label_names)
        return np.bincount(values, minlength=n)[:n] / max(len(values), 1)

    def shuffled(
        self, at: np.ndarray, reach: int, rng: np.random.Generator
    ) -> tuple[Surroundings, np.ndarray]:
        """The same windows, each with what lies within ``reach`` of its middle in random order; and where they are."""
        width = 2 * FAR + 1
        window = at[..., None] + np.arange(-FAR, FAR + 1)
        order = np.broadcast_to(np.arange(width), window.shape).copy()
        near = slice(FAR - reach, FAR + reach + 1)
        key = rng.random((*at.shape, 2 * reach + 1), dtype=np.float32)
        # Sentinels stay where they are: they sort before or behind every key.
        outside = self.sample[np.maximum(window[..., near], 0)] != self.sample[np.maximum(at, 0)][..., None]
        key[outside] = np.broadcast_to(np.arange(-reach, reach + 1) * 4.0, outside.shape)[outside]
        order[..., near] = FAR - reach + np.argsort(key, axis=-1, kind="stable")
        source = np.take_along_axis(window, order, -1)
        flat = np.where(at[..., None] >= 0, source, 0).ravel()
        there = np.where(at >= 0, np.arange(at.size).reshape(at.shape) * width + FAR, NONE)
        mixed = {
            name: getattr(self, name)[flat] for name in ("letters", "labels") if len(getattr(self, name))
        }
        return replace(self, **mixed), there


def surroundings(problem: Problem) -> Surroundings:
    """Lay out the columns of a problem that has letters."""
    samples = problem.samples
    if problem.letters is None:
        raise ValueError("only sequences have letters around their positions")
    n_padded = problem.n_positions + FAR * (len(samples) + 1)
    at = padded(problem, np.arange(problem.n_positions))
    n_letters = len(problem.alphabet)
    labels, names = _labels(problem)

    def lay(values: np.ndarray, beyond: float, dtype: type) -> np.ndarray:
        out = np.full(n_padded, beyond, dtype)
        out[at] = values
        return out

    from_start = np.arange(problem.n_positions) - np.repeat(samples.offsets[:-1], samples.lengths)
    from_end = np.repeat(samples.lengths, samples.lengths) - 1 - from_start
    letters = lay(problem.letters, n_letters, np.uint8)
    share = np.bincount(problem.letters, minlength=n_letters) / max(problem.n_positions, 1)
    return Surroundings(
        letters,
        problem.alphabet,
        lay(labels, len(names), np.uint8) if names else np.zeros(0, np.uint8),
        names,
        lay(from_start, 0, np.int32),
        lay(from_end, 0, np.int32),
        lay(problem.conservation, 0, np.float32),
        lay(problem.sample_of, -1, np.int32),
        *word_table(letters, n_letters),
        *scales(problem.alphabet, share),
    )


def padded(problem: Problem, position: np.ndarray) -> np.ndarray:
    """Where positions stand on the padded axis; -1 stays."""
    known = np.maximum(position, 0)
    if not problem.n_positions:
        return np.full(np.shape(position), NONE)
    return np.where(position >= 0, known + FAR * (problem.sample_of[known].astype(np.int64) + 1), NONE)


def _labels(problem: Problem) -> tuple[np.ndarray, list[str]]:
    """The broad concepts of every position as one number, the commonest combinations first; and their names."""
    broad = np.flatnonzero(problem.n_positive >= BROAD * problem.n_positions)
    if not len(broad):
        return np.zeros(0, np.int64), []
    held = np.asarray(problem.positives[:, broad].todense(), bool)
    kinds, number, count = np.unique(held, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(-count, kind="stable")[:MAX_LABELS]
    place = np.full(len(kinds), len(order))
    place[order] = np.arange(len(order))
    names = ["+".join(problem.names[c] for c in broad[kinds[i]]) or "none" for i in order]
    if len(kinds) > len(order):
        names.append("a rare one")
    return place[np.ravel(number)], names
