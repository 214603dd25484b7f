"""A gapped profile: two conserved halves at a distance that varies from family to family.

Begun at the pair of letters that is most over-represented about the training peaks
(:mod:`sciinterp.discovery.letter_pairs`): windows are laid over each other at that pair, the most informative columns
become one half, the most informative ones beside it, allowed to slide, the other; then hard expectation and
maximisation over place and gap. A small profile hidden Markov model with one insertion.
"""

from __future__ import annotations

import numpy as np

from sciinterp.association._jit import compiled
from sciinterp.discovery.letter_pairs import AROUND, FAR, NEAR, Pairs

HALF = 4  # columns of a half
MAX_GAP = 12
LEFT, RIGHT = -20, 8  # where the first half may begin, counted from the peak
SPAN = 16  # how far from the pair the halves are looked for
STEPS, PRIOR = 4, 3.0


# Log odds of both halves [n, 2, HALF, n_letters + 1] and of the gap [n, MAX_GAP + 1].
Gapped = tuple[np.ndarray, ...]


def fit_gapped(
    letters: np.ndarray, word: np.ndarray, at: np.ndarray, train: np.ndarray, share: np.ndarray, pairs: Pairs
) -> Gapped:
    """Two halves for each row.

    Parameters
    ----------
    letters, word : uint8 [n_padded]
        The letters, and the words that ``pairs`` are of.
    pairs : Pairs
        Fitted on the same training peaks.
    """
    odds = np.zeros((len(at), 2, HALF, len(share) + 1))
    gap = np.zeros((len(at), MAX_GAP + 1))
    _fit(letters, word, np.where(train, at, -1), share, pairs[0], odds, gap)
    return odds, gap


def score_gapped(letters: np.ndarray, at: np.ndarray, model: Gapped) -> tuple[np.ndarray, np.ndarray]:
    """Best score [n, n_peaks] about each position; begin of the first half and gap [n, n_peaks, 2] there."""
    best, where = np.zeros(at.shape), np.zeros((*at.shape, 2), np.int64)
    odds, gap = model
    _align_all(letters, at, odds, gap, best, where)
    return best, where


@compiled
def _align_all(letters, at, odds, gap, best, where) -> None:
    for i in range(len(at)):
        _align(letters, at[i], odds[i], gap[i], best[i], where[i])


@compiled
def _align(letters, at, odds, gap, best, where) -> None:
    n = RIGHT - LEFT + HALF + MAX_GAP + 1
    first, second = np.zeros(n), np.zeros(n)
    for p in range(len(at)):
        if at[p] < 0:
            continue
        for k in range(n):
            a, b, begin = 0.0, 0.0, at[p] + LEFT + k
            for j in range(HALF):
                x = letters[begin + j]
                a += odds[0, j, x]
                b += odds[1, j, x]
            first[k], second[k] = a, b
        top = -np.inf
        for k in range(RIGHT - LEFT + 1):
            for g in range(MAX_GAP + 1):
                # The stretch must hold the peak, or lie beside it.
                if LEFT + k + 2 * HALF + g < -2:
                    continue
                value = first[k] + gap[g] + second[k + HALF + g]
                if value > top:
                    top = value
                    where[p, 0], where[p, 1] = LEFT + k, g
        best[p] = top


@compiled
def _column(counts, share, odds) -> float:
    """Log odds of one column from its counts; its information against the background."""
    total, information = PRIOR, 0.0
    for x in range(len(share)):
        total += counts[x]
    for x in range(len(share)):
        seen = (counts[x] + PRIOR * share[x]) / total
        odds[x] = np.log(seen / (share[x] + 1e-9) + 1e-12)
        information += seen * odds[x]
    odds[len(share)] = 0.0
    return information


@compiled
def _begin(letters, word, at, pair, share, odds) -> bool:
    """Both halves from the windows laid over each other at their best pair."""
    n_letters, a, b, d = len(share), pair[0], pair[1], pair[2]
    reach = NEAR if pair[3] else AROUND
    counts = np.zeros((2 * SPAN + 2 * HALF, n_letters + 1))
    for p in range(len(at)):
        if at[p] < 0:
            continue
        for step in range(reach + 1):
            found = False
            for o in (step, -step):
                for turn in range(2 if pair[3] else 1):
                    begin = at[p] + o - turn * d
                    if not found and word[begin] == a and word[begin + d] == b:
                        found = True
                        for k in range(len(counts)):
                            j = begin - SPAN + k
                            if abs(j - at[p]) <= FAR:
                                counts[k, letters[j]] += 1.0
            if found:
                break
    column, unused = np.zeros(len(counts)), np.zeros(n_letters + 1)
    for k in range(len(counts)):
        column[k] = _column(counts[k], share, unused)
    top, place = -1.0, 0
    for k in range(len(counts) - HALF + 1):
        value = 0.0
        for j in range(HALF):
            value += column[k + j]
        if value > top:
            top, place = value, k
    # The other half may slide: its columns are counted over neighbouring places too.
    blurred = np.zeros((len(counts), n_letters + 1))
    for k in range(len(counts)):
        for step in range(-2, 3):
            if 0 <= k + step < len(counts):
                weight = (1.0, 0.5, 0.25)[abs(step)]
                for x in range(n_letters + 1):
                    blurred[k, x] += weight * counts[k + step, x]
    for k in range(len(counts)):
        column[k] = _column(blurred[k], share, unused)
    top, other = -1.0, -1
    for k in range(len(counts) - HALF + 1):
        apart = k - place - HALF if k > place else place - k - HALF
        if 0 <= apart <= MAX_GAP:
            value = 0.0
            for j in range(HALF):
                value += column[k + j]
            if value > top:
                top, other = value, k
    if other < 0:
        return False
    first, second = (place, other) if place < other else (other, place)
    for j in range(HALF):
        _column((counts if first == place else blurred)[first + j], share, odds[0, j])
        _column((counts if second == place else blurred)[second + j], share, odds[1, j])
    return True


@compiled
def _fit(letters, word, at, share, pairs, odds, gap) -> None:
    n_letters, n_peaks = len(share), at.shape[1]
    best, where = np.zeros(n_peaks), np.zeros((n_peaks, 2), np.int64)
    for i in range(at.shape[0]):
        if pairs[i, 0, 2] == 0 or not _begin(letters, word, at[i], pairs[i, 0], share, odds[i]):
            continue
        for _ in range(STEPS):
            _align(letters, at[i], odds[i], gap[i], best, where)
            counts, gaps, total = np.zeros((2, HALF, n_letters + 1)), np.zeros(MAX_GAP + 1), 0.0
            for p in range(n_peaks):
                if at[i, p] >= 0:
                    begin, g = at[i, p] + where[p, 0], where[p, 1]
                    gaps[g] += 1.0
                    total += 1.0
                    for j in range(HALF):
                        counts[0, j, letters[begin + j]] += 1.0
                        counts[1, j, letters[begin + HALF + g + j]] += 1.0
            for half in range(2):
                for j in range(HALF):
                    _column(counts[half, j], share, odds[i, half, j])
            for g in range(MAX_GAP + 1):
                near = gaps[g] * 2 + gaps[max(g - 1, 0)] + gaps[min(g + 1, MAX_GAP)] + 2.0
                gap[i, g] = np.log(near / 4 / (total + (MAX_GAP + 1) / 2) * (MAX_GAP + 1))
