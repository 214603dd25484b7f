"""Baselines that look at the input alone: where a position is, and which letters surround it.

Each is learned on training families; its threshold is chosen there too, as a feature's is. They answer what must be
asked of every hit: would the position in the sequence, or the letters around it, have done as well?

* ``position``, ``position_c``: the share of training sequences that carry the concept at this distance from
  the first or the last position, in bins wide enough to hold some of them.
* ``identity``: the best single letter at one offset of a window.
* ``word``: the best single word of three letters that covers the position.
* ``composition``, ``complexity``: the share of one letter, or the entropy of all, in a wider window, read
  both ways, high or low.
* ``gene``: of cells, the best single gene, see :mod:`sciinterp.association.genes`.

Two more are told the labels and fitted on many letters at once; they stand beside:

* ``window``: logistic regression on all letters of a window (:mod:`sciinterp.association.window_regression`).
* ``kmer``: the share of training positions with the same three letters that carry the concept, drawn towards
  that of the middle letter alone where the three are rare; where positions are genes, of the same gene.

A share read at a training position leaves the position's own family out: a threshold chosen on shares that
have seen the answer would be too high for the held-out families, and the baseline weaker than it is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from sciinterp.association.by_position import indicator
from sciinterp.association.fitting import Block, Fitted, Inputs, best_column, best_of_units, scored
from sciinterp.association.genes import one_hot, one_hot_blocks
from sciinterp.association.letters import Letters, distance_from_end, distance_from_start
from sciinterp.association.partitions import Part
from sciinterp.association.window_regression import window_scores
from sciinterp.codes.by_feature import ByFeature
from sciinterp.codes.intervals import positions_type

# Positions a bin must hold before a share is read from it.
BIN_POSITIONS = 50
# Pseudo-observations that draw a share towards its parent's.
SHRINK = 5.0
# Width of the window of composition and complexity (Wootton and Federhen 1993).
COMPOSITION_WINDOW = 12
# Positions whose letters are counted at once.
_CHUNK = 1 << 16


def position(inputs: Inputs) -> Fitted:
    """Distance from the first position."""
    return by_distance(inputs, distance_from_start(inputs.samples))


def position_c(inputs: Inputs) -> Fitted:
    """Distance from the last position."""
    return by_distance(inputs, distance_from_end(inputs.samples))


def identity(inputs: Inputs) -> Fitted:
    """The best single letter at one offset."""
    letters, reach = _letters(inputs), inputs.settings.reach
    n, blocks = letters.n_letters, one_hot_blocks(letters.windows(reach), letters.n_letters)
    return best_column(inputs, blocks, lambda j: f"{letters.names[j % n]} at {j // n - reach:+d}")


def word(inputs: Inputs) -> Fitted:
    """The best single word of three letters among those that cover the position."""
    letters, offsets = _letters(inputs), (-2, -1, 0)
    size = letters.n_letters + 1
    words = [letters.words(offset) for offset in offsets]
    known = [np.unique(code) for code in words]
    first = np.cumsum([0, *map(len, known)])
    shown = [name if len(name) == 1 else "*" for name in [*letters.names, "-"]]

    def blocks(part: Part) -> Iterator[tuple[int, ByFeature]]:
        for low, code, of in zip(first, words, known):
            yield int(low), one_hot(np.searchsorted(of, code[part.rows]), len(of))

    def describe(j: int) -> str:
        at = int(np.searchsorted(first, j, side="right")) - 1
        code = int(known[at][j - first[at]])
        return f"{shown[code // size**2]}{shown[code // size % size]}{shown[code % size]} at {offsets[at]:+d}"

    return best_column(inputs, blocks, describe)


def gene(inputs: Inputs) -> Fitted:
    """The best single gene: which one the position is, or its expression where a position is a whole cell."""
    genes = inputs.genes
    assert genes is not None  # the registry asks for them
    if genes.number is not None:
        return best_column(inputs, lambda part: genes.columns(part.rows), lambda j: genes.names[j])
    values = genes.expression
    assert values is not None  # one of the two is there
    return best_of_units(
        inputs,
        lambda part, units: values[:, units][part.rows].toarray(),
        len(genes.names),
        lambda unit: f"expression of {genes.names[unit]}",
    )


def composition(inputs: Inputs) -> Fitted:
    """The share of one letter around the position."""
    letters = _letters(inputs)
    around = _Surroundings(letters)
    return best_of_units(
        inputs,
        lambda part, units: around.shares(part.rows, units),
        letters.n_letters,
        lambda unit: f"share of {letters.names[unit]}",
    )


def complexity(inputs: Inputs) -> Fitted:
    """The entropy of the letters around the position."""
    around = _Surroundings(_letters(inputs))
    entropy = {part: around.entropy(part.rows)[:, None] for part in (inputs.parts.train, inputs.parts.test)}
    return best_of_units(inputs, lambda part, units: entropy[part][:, units], 1, lambda unit: "entropy")


def window(inputs: Inputs) -> Fitted:
    """Logistic regression on the letters of a window."""
    reach, fit_on, parts = inputs.settings.reach, inputs.fit_on(), inputs.parts
    return scored(
        inputs, window_scores(_letters(inputs), parts.train, parts.test, reach=reach, fit_on=fit_on)
    )


def kmer(inputs: Inputs) -> Fitted:
    """Share of training positions of the same three letters, or of the same gene."""
    train, test = inputs.parts.train, inputs.parts.test
    if inputs.letters is None and inputs.genes is not None and inputs.genes.number is not None:
        of = inputs.genes.number
        return scored(inputs, shares(of[train.rows], of[test.rows], len(inputs.genes.names), train))
    return scored(inputs, kmer_scores(_letters(inputs), train, test))


def _letters(inputs: Inputs) -> Letters:
    assert inputs.letters is not None  # the registry asks for them
    return inputs.letters


class _Surroundings:
    """How many of each letter lie in the window of ``COMPOSITION_WINDOW`` around every position, one byte each."""

    def __init__(self, letters: Letters) -> None:
        samples, half = letters.samples, COMPOSITION_WINDOW // 2
        before = np.minimum(half, distance_from_start(samples))
        low = np.arange(samples.n_positions, dtype=before.dtype) - before
        high = low + before + np.minimum(half, distance_from_end(samples) + before.dtype.type(1))
        self.width = (high - low).astype(np.uint8)
        self.counts = np.empty((letters.n_letters, samples.n_positions), np.uint8)
        total = np.zeros(samples.n_positions + 1, before.dtype)
        for letter in range(letters.n_letters):
            np.cumsum(letters.numbers == letter, out=total[1:])
            self.counts[letter] = total[high] - total[low]

    def shares(self, rows: np.ndarray, units: np.ndarray | slice) -> np.ndarray:
        """float32 [n_rows, n_units]: shares of some letters."""
        return np.divide(self.counts[units][:, rows], self.width[rows], dtype=np.float32).T

    def entropy(self, rows: np.ndarray) -> np.ndarray:
        """float32 [n_rows]: entropy in bits."""
        out = np.empty(len(rows), np.float32)
        for low in range(0, len(rows), _CHUNK):
            shares = np.ascontiguousarray(self.shares(rows[low : low + _CHUNK], slice(None)))
            out[low : low + _CHUNK] = -(shares * np.log2(np.maximum(shares, 1e-12))).sum(axis=1)
        return out


def by_distance(inputs: Inputs, distance: np.ndarray) -> Fitted:
    """Share of training positions at this distance that carry each concept."""
    train, test = inputs.parts.train, inputs.parts.test
    of_train = distance[train.rows]
    held = np.bincount(of_train)
    bin_of = (np.cumsum(held) - held) // BIN_POSITIONS
    _, bin_of = np.unique(bin_of, return_inverse=True)
    of_test = bin_of[np.minimum(distance[test.rows], len(bin_of) - 1)]
    return scored(inputs, shares(bin_of[of_train], of_test, int(bin_of.max(initial=0)) + 1, train))


def kmer_scores(letters: Letters, train: Part, test: Part) -> Block:
    """Share of training positions with the same letter on both sides and in the middle, see the module."""
    size = letters.n_letters + 1
    code, middle = letters.words(-1), letters.numbers[train.rows].astype(np.int32)
    to_letter = indicator(middle, size, np.float32)
    held = np.bincount(middle, minlength=size)[:, None]
    by_letter = (to_letter.T @ train.positives.astype(np.float32)).toarray() / np.maximum(1, held)
    parent = by_letter.astype(np.float32)[np.arange(size**3) // size % size]
    return shares(code[train.rows], code[test.rows], size**3, train, parent=parent)


def shares(
    of_train: np.ndarray, of_test: np.ndarray, n_codes: int, train: Part, *, parent: np.ndarray | None = None
) -> Block:
    """Shrunken share of training positions of the same code that carry each concept.

    Each family leaves itself out. `of_train` and `of_test` are codes [n_positions]; shares are drawn towards
    `parent` [n_codes, n_concepts], by default the share of all positions.
    """
    n_families = max(1, train.n_families)
    kind = positions_type(n_codes * n_families)
    key, own = np.unique(
        of_train.astype(kind) * kind(n_families) + train.family.astype(kind), return_inverse=True
    )
    own, code = np.asarray(own, kind).reshape(-1), key.astype(np.int64) // n_families
    n_own, n_all = np.bincount(own, minlength=len(key)), np.bincount(of_train, minlength=n_codes)
    to_key, to_code = indicator(own, len(key), np.float32), indicator(code, n_codes, np.float32)
    in_family = sp.csc_array(to_key.T @ train.positives.astype(np.float32))
    overall = np.asarray(train.positives.sum(axis=0)).reshape(-1) / max(1, len(own))

    def block(low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        mine = in_family[:, low:high].toarray()
        every = to_code.T @ mine
        towards = np.broadcast_to(overall[low:high], every.shape) if parent is None else parent[:, low:high]
        share = (every + SHRINK * towards) / (n_all[:, None] + SHRINK)
        others = (every[code] - mine + SHRINK * towards[code]) / ((n_all[code] - n_own)[:, None] + SHRINK)
        return others.T.astype(np.float32)[:, own], share.T.astype(np.float32)[:, of_test]

    return block
