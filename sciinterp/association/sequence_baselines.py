"""Baselines that look at the input alone: where a position is, and which letters surround it.

Each gives one score a position and concept, learned on training families; its threshold is chosen there too,
as a feature's is. They answer what must be asked of every hit: would the position in the sequence, or the
letters around it, have done as well?

* ``position``, ``position_c``: the share of training sequences that carry the concept at this distance from
  the first or the last position, in bins wide enough to hold some of them.
* ``identity``: the best single letter at one offset of a window.
* ``composition``, ``complexity``: the share of one letter, or the entropy of all, in a wider window, read
  both ways, high or low.

Two more are told the labels and fitted on many letters at once; they are ceilings, shown beside:

* ``window``: logistic regression on all letters of a window, fitted exactly (Newton steps).
* ``kmer``: the share of training positions with the same three letters that carry the concept, drawn towards
  that of the middle letter alone where the three are rare.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from sciinterp.association._jit import compiled
from sciinterp.association.parts import Part
from sciinterp.samples import Samples

# Positions a bin must hold before a share is read from it.
BIN_POSITIONS = 50
# The score of a concept on the positions of training and of test.
Column: TypeAlias = Callable[[int], tuple[np.ndarray, np.ndarray]]
# Letters told apart; proteins have 20, reaction strings some dozens.
MAX_LETTERS = 30
# Pseudo-observations that draw a share towards its parent's.
SHRINK = 5.0
# Width of the window of composition and complexity (Wootton and Federhen 1993).
COMPOSITION_WINDOW = 12
_NEWTON_STEPS = 12
_RIDGE = 1.0


def distance_from_start(samples: Samples) -> np.ndarray:
    """int64 [n_positions]: 0 at the first position of each sample."""
    return np.arange(samples.n_positions) - np.repeat(samples.offsets[:-1], samples.lengths)


def distance_from_end(samples: Samples) -> np.ndarray:
    """int64 [n_positions]: 0 at the last position of each sample."""
    return np.repeat(samples.offsets[1:], samples.lengths) - 1 - np.arange(samples.n_positions)


def letter_codes(samples: Samples, train: np.ndarray) -> tuple[np.ndarray, int] | None:
    """Letters as numbers, the commonest of the training samples first; None where samples have no letters.

    Returns
    -------
    codes : uint8 [n_positions]
        Letters beyond the ``MAX_LETTERS`` commonest share the last number.
    n_letters : int
    """
    if not all(isinstance(data, str) and len(data) == n for data, n in zip(samples.data, samples.lengths)):
        return None
    kept = _common_letters(samples, train)
    table = np.full(256, len(kept), np.uint8)
    table[kept] = np.arange(len(kept))
    raw = np.frombuffer("".join(samples.data).encode("latin-1", "replace"), np.uint8)
    return table[raw], len(kept) + 1


def letter_names(samples: Samples, train: np.ndarray) -> list[str]:
    """The letter each number of :func:`letter_codes` stands for."""
    return [chr(letter) for letter in _common_letters(samples, train)] + ["a rare letter"]


def _common_letters(samples: Samples, train: np.ndarray) -> np.ndarray:
    known = np.frombuffer("".join(samples.data[i] for i in train).encode("latin-1", "replace"), np.uint8)
    counts = np.bincount(known, minlength=256)
    return np.argsort(-counts, kind="stable")[: min(MAX_LETTERS, int((counts > 0).sum()))]


def position_scores(distance: np.ndarray, train: Part, test: Part) -> Column:
    """Share of training positions at this distance that carry each concept."""
    of_train = distance[train.rows]
    held = np.bincount(of_train)
    bin_of = (np.cumsum(held) - held) // BIN_POSITIONS
    _, bin_of = np.unique(bin_of, return_inverse=True)
    table = _share_table(bin_of[of_train], int(bin_of.max(initial=0)) + 1, train, parent=None)
    of_test = bin_of[np.minimum(distance[test.rows], len(bin_of) - 1)]
    of_train = bin_of[of_train]
    return lambda concept: (table[of_train, concept], table[of_test, concept])


def kmer_scores(letters: np.ndarray, n_letters: int, samples: Samples, train: Part, test: Part) -> Column:
    """Share of training positions with the same letter on both sides and in the middle, see the module."""
    window = windows(letters, n_letters, samples, 1)
    size = n_letters + 1
    code = (window[:, 0].astype(np.int64) * size + window[:, 1]) * size + window[:, 2]
    middle = letters.astype(np.int64)
    by_letter = _share_table(middle[train.rows], n_letters, train, parent=None)
    parent = by_letter[(np.arange(size**3) // size) % size % n_letters]
    of_train, of_test = code[train.rows], code[test.rows]
    table = _share_table(of_train, size**3, train, parent=parent)
    return lambda concept: (table[of_train, concept], table[of_test, concept])


def _share_table(code: np.ndarray, n_codes: int, train: Part, *, parent: np.ndarray | None) -> np.ndarray:
    """float32 [n_codes, n_concepts]: shrunken share of positions of a code that carry each concept."""
    counts = np.bincount(code, minlength=n_codes)
    n_concepts = train.positives.shape[1]
    pairs = train.positives.tocoo()
    flat = code[pairs.coords[0]] * n_concepts + pairs.coords[1]
    positive = np.bincount(flat, minlength=n_codes * n_concepts).reshape(n_codes, n_concepts)
    towards = positive.sum(axis=0) / max(1, len(code)) if parent is None else parent
    return ((positive + SHRINK * towards) / (counts[:, None] + SHRINK)).astype(np.float32)


def windows(letters: np.ndarray, n_letters: int, samples: Samples, reach: int) -> np.ndarray:
    """uint8 [n_positions, 2 * reach + 1]: the letters around each position; ``n_letters`` beyond the ends."""
    start, end = distance_from_start(samples), distance_from_end(samples)
    out = np.full((len(letters), 2 * reach + 1), n_letters, np.uint8)
    for offset in range(-reach, reach + 1):
        inside = np.flatnonzero((start + offset >= 0) & (end - offset >= 0))
        out[inside, offset + reach] = letters[inside + offset]
    return out


def window_scores(
    letters: np.ndarray,
    n_letters: int,
    samples: Samples,
    train: Part,
    test: Part,
    *,
    reach: int,
    fit_on: np.ndarray,
) -> Column:
    """Log-odds of each concept given the letters of a window, by ridge logistic regression.

    Parameters
    ----------
    reach : int
        Letters on either side.
    fit_on : int64
        Positions of `train` to fit on.
    """
    window = windows(letters, n_letters, samples, reach)
    size = n_letters + 1
    columns = window.astype(np.int32) + np.arange(2 * reach + 1, dtype=np.int32) * size
    n_weights = (2 * reach + 1) * size + 1
    of_train, of_test, of_fit = columns[train.rows], columns[test.rows], columns[train.rows[fit_on]]

    def column(concept: int) -> tuple[np.ndarray, np.ndarray]:
        weights = _logistic(of_fit, train.truth(concept)[fit_on], n_weights).astype(np.float32)
        return weights[of_train].sum(axis=1), weights[of_test].sum(axis=1)

    return column


def _logistic(columns: np.ndarray, truth: np.ndarray, n_weights: int) -> np.ndarray:
    """Weights of a ridge logistic regression on one-hot columns; the last is the intercept."""
    weights = np.zeros(n_weights)
    share = np.clip(truth.mean() if len(truth) else 0.5, 1e-6, 1 - 1e-6)
    weights[-1] = np.log(share / (1 - share))
    penalty = np.full(n_weights, _RIDGE)
    penalty[-1] = 1e-6
    for _ in range(_NEWTON_STEPS):
        hessian, gradient = np.zeros((n_weights, n_weights)), np.zeros(n_weights)
        _newton_sums(columns, truth, weights, hessian, gradient)
        hessian[np.diag_indices(n_weights)] += penalty
        step = _solve_in_place(hessian, gradient - penalty * weights)
        step *= min(1.0, 5.0 / max(1e-12, np.abs(step).max()))
        weights += step
        if np.abs(step).max() < 1e-3:
            break
    return weights


@compiled
def _solve_in_place(upper, right):
    """Solve a small positive definite system given by its upper triangle (Cholesky).

    A few hundred unknowns are not worth waking a threaded library for, and the result is the same bit for bit
    whatever the number of threads.
    """
    n = len(right)
    for i in range(n):
        for k in range(i):
            factor = upper[k, i]
            if factor != 0.0:
                for j in range(i, n):
                    upper[i, j] -= factor * upper[k, j]
        pivot = np.sqrt(upper[i, i])
        for j in range(i, n):
            upper[i, j] /= pivot
    for i in range(n):
        for k in range(i):
            right[i] -= upper[k, i] * right[k]
        right[i] /= upper[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            right[i] -= upper[i, k] * right[k]
        right[i] /= upper[i, i]
    return right


@compiled
def _newton_sums(columns, truth, weights, hessian, gradient):
    """Upper triangle of the Hessian, and the gradient of the log likelihood."""
    last = len(weights) - 1
    width = columns.shape[1]
    for i in range(columns.shape[0]):
        logit = weights[last]
        for a in range(width):
            logit += weights[columns[i, a]]
        p = 1.0 / (1.0 + np.exp(-logit))
        rest, curve = truth[i] - p, p * (1.0 - p)
        gradient[last] += rest
        hessian[last, last] += curve
        for a in range(width):
            gradient[columns[i, a]] += rest
            hessian[columns[i, a], last] += curve
            for b in range(a, width):
                hessian[columns[i, a], columns[i, b]] += curve


def composition(letters: np.ndarray, n_letters: int, samples: Samples) -> np.ndarray:
    """float32 [n_positions, n_letters]: share of each letter in a window of ``COMPOSITION_WINDOW``."""
    half = COMPOSITION_WINDOW // 2
    start = np.repeat(samples.offsets[:-1], samples.lengths)
    end = np.repeat(samples.offsets[1:], samples.lengths)
    at = np.arange(samples.n_positions)
    low, high = np.maximum(at - half, start), np.minimum(at + half, end)
    out = np.zeros((samples.n_positions, n_letters), np.float32)
    for letter in range(n_letters):
        total = np.concatenate([[0], np.cumsum(letters == letter)])
        out[:, letter] = (total[high] - total[low]) / np.maximum(1, high - low)
    return out


def complexity(shares: np.ndarray) -> np.ndarray:
    """float32 [n_positions]: entropy in bits of the letters of a window, from :func:`composition`."""
    return -(shares * np.log2(np.maximum(shares, 1e-12))).sum(axis=1)
