"""Baselines that look at the input alone: where a position is, and which letters surround it.

Each gives one score a position and concept, learned on training families; its threshold is chosen there too,
as a feature's is. They answer what must be asked of every hit: would the position in the sequence, or the
letters around it, have done as well?

* ``position``, ``position_c``: the share of training sequences that carry the concept at this distance from
  the first or the last position, in bins wide enough to hold some of them.
* ``identity``: the best single letter at one offset of a window.
* ``word``: the best single word of three letters that covers the position.
* ``composition``, ``complexity``: the share of one letter, or the entropy of all, in a wider window, read
  both ways, high or low.

Two more are told the labels and fitted on many letters at once; they stand beside:

* ``window``: logistic regression on all letters of a window, fitted exactly (Newton steps).
* ``kmer``: the share of training positions with the same three letters that carry the concept, drawn towards
  that of the middle letter alone where the three are rare.

A share read at a training position leaves the position's own family out: a threshold chosen on shares that
have seen the answer would be too high for the held-out families, and the baseline weaker than it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp

from sciinterp.association._jit import compiled
from sciinterp.association.partitions import Part
from sciinterp.samples import Samples

# Positions a bin must hold before a share is read from it.
BIN_POSITIONS = 50
# Scores of the concepts low to high: float32 [high - low, n_positions] of training and of test.
Block: TypeAlias = Callable[[int, int], tuple[np.ndarray, np.ndarray]]
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


def position_scores(distance: np.ndarray, train: Part, test: Part) -> Block:
    """Share of training positions at this distance that carry each concept."""
    of_train = distance[train.rows]
    held = np.bincount(of_train)
    bin_of = (np.cumsum(held) - held) // BIN_POSITIONS
    _, bin_of = np.unique(bin_of, return_inverse=True)
    of_test = bin_of[np.minimum(distance[test.rows], len(bin_of) - 1)]
    return _shares(bin_of[of_train], of_test, int(bin_of.max(initial=0)) + 1, train)


def kmer_scores(letters: np.ndarray, n_letters: int, samples: Samples, train: Part, test: Part) -> Block:
    """Share of training positions with the same letter on both sides and in the middle, see the module."""
    size = n_letters + 1
    code = words(letters, n_letters, samples, -1)
    by_letter = np.zeros((size, train.positives.shape[1]), np.float32)
    middle = sp.csr_array(
        (
            np.ones(train.n_positions, np.float32),
            letters[train.rows].astype(np.int64),
            np.arange(train.n_positions + 1),
        ),
        shape=(train.n_positions, size),
    )
    held = np.bincount(letters[train.rows], minlength=size)[:, None]
    by_letter += (middle.T @ train.positives.astype(np.float32)).toarray() / np.maximum(1, held)
    parent = by_letter[np.arange(size**3) // size % size]
    return _shares(code[train.rows], code[test.rows], size**3, train, parent=parent)


def words(letters: np.ndarray, n_letters: int, samples: Samples, offset: int) -> np.ndarray:
    """int64 [n_positions]: number of the three letters that start `offset` from each position.

    Letters beyond the ends are ``n_letters``, so numbers are below ``(n_letters + 1) ** 3``.
    """
    reach = max(abs(offset), abs(offset + 2))
    window = windows(letters, n_letters, samples, reach)[:, offset + reach : offset + reach + 3]
    return window.astype(np.int64) @ (n_letters + 1) ** np.arange(2, -1, -1)


def _shares(
    of_train: np.ndarray, of_test: np.ndarray, n_codes: int, train: Part, *, parent: np.ndarray | None = None
) -> Block:
    """Shrunken share of training positions of the same code that carry each concept.

    Parameters
    ----------
    of_train, of_test : int64 [n_positions]
        Code of each position.
    n_codes : int
    train : Part
        The concept's positions, and families: each leaves itself out.
    parent : float32 [n_codes, n_concepts], optional
        What shares are drawn towards; by default the share of all positions.
    """
    key, own = np.unique(of_train * max(1, train.n_families) + train.family, return_inverse=True)
    own = np.asarray(own).reshape(-1)
    code = key // max(1, train.n_families)
    n_own, n_all = np.bincount(own, minlength=len(key)), np.bincount(of_train, minlength=n_codes)
    to_key = sp.csr_array((np.ones(len(own), np.float32), own, np.arange(len(own) + 1)), (len(own), len(key)))
    to_code = sp.csr_array(
        (np.ones(len(key), np.float32), code, np.arange(len(key) + 1)), (len(key), n_codes)
    )
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
) -> Block:
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
    truth = sp.csc_array(train.positives[fit_on])
    rows, starts = truth.indices.astype(np.int32), truth.indptr.astype(np.int64)

    def block(low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        weights = np.zeros((high - low, n_weights))
        _logistic(of_fit, rows, starts, low, weights)
        weights = weights.astype(np.float32)
        return _sum_of_weights(of_train, weights), _sum_of_weights(of_test, weights)

    return block


@compiled
def _logistic(columns, positive_rows, positive_starts, first, weights):
    """Weights of ridge logistic regressions on one-hot columns, one a concept; the last is the intercept."""
    n, n_weights = columns.shape[0], weights.shape[1]
    truth = np.zeros(n, np.uint8)
    for i in range(weights.shape[0]):
        mine = positive_rows[positive_starts[first + i] : positive_starts[first + i + 1]]
        truth[:] = 0
        for row in mine:
            truth[row] = 1
        share = min(max(len(mine) / max(1, n), 1e-6), 1 - 1e-6)
        weights[i, n_weights - 1] = np.log(share / (1 - share))
        for _ in range(_NEWTON_STEPS):
            hessian, gradient = np.zeros((n_weights, n_weights)), np.zeros(n_weights)
            _newton_sums(columns, truth, weights[i], hessian, gradient)
            for a in range(n_weights):
                penalty = _RIDGE if a < n_weights - 1 else 1e-6
                hessian[a, a] += penalty
                gradient[a] -= penalty * weights[i, a]
            step = _solve_in_place(hessian, gradient)
            # Loops, not array expressions: the same numbers, and a second less to compile.
            largest = 0.0
            for a in range(n_weights):
                largest = max(largest, abs(step[a]))
            scale = min(1.0, 5.0 / max(1e-12, largest))
            for a in range(n_weights):
                weights[i, a] += step[a] * scale
            if largest < 1e-3:
                break


@compiled
def _sum_of_weights(columns, weights):
    """float32 [n_concepts, n_positions]: the log-odds, but for the intercept."""
    out = np.zeros((weights.shape[0], columns.shape[0]), np.float32)
    for i in range(weights.shape[0]):
        for row in range(columns.shape[0]):
            total = np.float32(0)
            for a in range(columns.shape[1]):
                total += weights[i, columns[row, a]]
            out[i, row] = total
    return out


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
