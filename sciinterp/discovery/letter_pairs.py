"""Pairs of letters at a distance: which two letters, how far apart, stand about a feature's peaks in more families than
about other positions.

A pair is *anchored* where one of its letters is at the peak or beside it and the other up to :data:`FAR` away, and
*free* where both are within :data:`AROUND` of the peak. All pairs are counted, once a family; what a pair is worth is
the log likelihood ratio of its count against chance. The best and those that no chance among all pairs explains are
read together (naive Bayes). Alphabets of a few letters are read in words of two or three.
"""

from __future__ import annotations

import numpy as np

from sciinterp.association._jit import compiled

FAR = 40  # how far from the peak an anchored pair may reach
AROUND, FREE = 16, 24  # reach and largest distance of a free pair
NEAR = 1  # how far from the peak an anchored letter may be
KEPT = 6  # pairs read together at most
MIN_WORDS, MAX_WORDS = 12, 22  # words told apart: as many as an alphabet of proteins has


# Word [n, KEPT, 4]: first word, second word, distance (0: no pair), and 1 where it is anchored; and weight [n, KEPT, 2]:
# log odds of being there and of not being there.
Pairs = tuple[np.ndarray, ...]


def word_table(letters: np.ndarray, n_letters: int) -> tuple[int, np.ndarray]:
    """Letters of a word, and the number of each word [n_letters ** size + 1]; :data:`MAX_WORDS` at most, rare ones none."""
    size = 1
    while n_letters > 1 and n_letters**size < MIN_WORDS:
        size += 1
    number = plain_words(letters, n_letters, size)
    n = n_letters**size
    common = np.sort(np.argsort(-np.bincount(number, minlength=n + 1)[:n], kind="stable")[:MAX_WORDS])
    table = np.full(n + 1, len(common), np.uint8)
    table[common] = np.arange(len(common))
    return size, table


def plain_words(letters: np.ndarray, n_letters: int, size: int) -> np.ndarray:
    """int64 [n_padded]: the word that begins at each position, ``n_letters ** size`` where one of its letters is none."""
    number, outside = np.zeros(len(letters), np.int64), np.zeros(len(letters), bool)
    for step in range(size):
        letter = np.roll(letters, -step)
        outside |= letter >= n_letters
        number = number * n_letters + np.minimum(letter, n_letters - 1)
    number[outside] = n_letters**size
    return number


def fit_pairs(word: np.ndarray, n: int, at: np.ndarray, train: np.ndarray, chance: np.ndarray) -> Pairs:
    """The pairs over-represented about the training peaks of each row.

    Parameters
    ----------
    word : uint8 [n_padded]
        ``n`` stands for none.
    chance : float [n_pairs]
        Share of other positions about which each pair stands (:func:`chance_of_pairs`).
    """
    found = np.zeros((len(at), KEPT, 4), np.int64)
    weight = np.zeros((len(at), KEPT, 2))
    _fit(word, n, np.where(train, at, -1), chance, np.log(len(chance)), found, weight)
    return found, weight


def chance_of_pairs(word: np.ndarray, n: int, at: np.ndarray) -> np.ndarray:
    """Share of positions about which each pair stands, float [n_pairs]."""
    count = np.zeros((FAR + FREE) * n * n, np.int32)
    stamp, twice = np.full(len(count), -1, np.int32), np.zeros(len(count), np.int32)
    positions = at[at >= 0]
    for p, position in enumerate(positions):
        _count(word, n, position, p, 0, stamp, count, twice, 0)
    return (count + 0.5) / (len(positions) + 1)


def score_pairs(word: np.ndarray, at: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Log odds [n, n_peaks] of the pairs about each position."""
    (found, weight), out = pairs, np.zeros(at.shape)
    _score(word, at, found, weight, out)
    return out


@compiled
def _see(code, p, first, stamp, count, twice, n_twice) -> int:
    """Count one pair about position ``p``, where it was not seen there before."""
    if stamp[code] != p:
        count[code] = count[code] + 1 if stamp[code] >= first else 1
        stamp[code] = p
        if count[code] == 2:
            twice[n_twice] = code
            n_twice += 1
    return n_twice


@compiled
def _count(word, n, position, p, first, stamp, count, twice, n_twice) -> int:
    """Count the pairs about one position, each once, since stamp ``first``; and list those that were seen twice."""
    for o in range(-NEAR, NEAR + 1):
        here = word[position + o]
        if here >= n:
            continue
        for d in range(2, FAR + 1 - NEAR):
            right, left = word[position + o + d], word[position + o - d]
            if right < n:
                code = ((d - 1) * n + here) * n + right
                n_twice = _see(code, p, first, stamp, count, twice, n_twice)
            if left < n:
                code = ((d - 1) * n + left) * n + here
                n_twice = _see(code, p, first, stamp, count, twice, n_twice)
    for o in range(-AROUND, AROUND):
        here = word[position + o]
        if here >= n:
            continue
        for d in range(1, min(FREE, AROUND - o) + 1):
            right = word[position + o + d]
            if right < n:
                code = ((FAR + d - 1) * n + here) * n + right
                n_twice = _see(code, p, first, stamp, count, twice, n_twice)
    return n_twice


@compiled
def _fit(word, n, at, chance, threshold, found, weight) -> None:
    stamp, count = np.full(len(chance), -1, np.int32), np.zeros(len(chance), np.int32)
    # Pairs that are seen twice about the peaks of a row: half of all there are at most.
    most = min(len(chance), at.shape[1] * (2 * NEAR + 1) * 2 * FAR + at.shape[1] * 2 * AROUND * FREE)
    twice, value, likely = np.zeros(most, np.int32), np.zeros(most), np.zeros(most, np.int64)
    for i in range(at.shape[0]):
        n_train, n_twice, first = 0.0, 0, i * at.shape[1]
        for p in range(at.shape[1]):
            if at[i, p] >= 0:
                n_train += 1.0
                n_twice = _count(word, n, at[i, p], first + p, first, stamp, count, twice, n_twice)
        n_likely, top = 0, -1.0
        for k in range(n_twice):
            code = twice[k]
            share, base = count[code] / n_train, chance[code]
            if share <= base:
                continue
            ratio = n_train * share * np.log(share / base)
            if share < 1:
                ratio += n_train * (1 - share) * np.log((1 - share) / (1 - base))
            # The best alone, or all those that no chance explains; of equal ones the first in the alphabet.
            alone = n_likely == 1 and top < threshold
            if ratio >= threshold or ratio > top or (alone and ratio == top and code < likely[0]):
                if ratio < threshold or top < threshold:
                    n_likely = 0
                likely[n_likely], value[n_likely] = code, ratio
                n_likely += 1
                top = max(top, ratio)
        for k in range(min(KEPT, n_likely)):
            place = 0
            for j in range(1, n_likely):
                if value[j] > value[place] or (value[j] == value[place] and likely[j] < likely[place]):
                    place = j
            best = likely[place]
            value[place] = -1.0
            base = chance[best]
            share = (count[best] + base) / (n_train + 1)
            distance, anchored = best // (n * n) + 1, 1
            if distance > FAR:
                distance, anchored = distance - FAR, 0
            found[i, k, 0], found[i, k, 1] = best // n % n, best % n
            found[i, k, 2], found[i, k, 3] = distance, anchored
            weight[i, k, 0] = np.log(share / base)
            weight[i, k, 1] = np.log((1 - share + 1e-3) / (1 - base + 1e-3))


@compiled
def _score(word, at, found, weight, out) -> None:
    for i in range(at.shape[0]):
        for p in range(at.shape[1]):
            position = at[i, p]
            if position < 0:
                continue
            for k in range(found.shape[1]):
                a, b, d = found[i, k, 0], found[i, k, 1], found[i, k, 2]
                if d == 0:
                    break
                there = False
                if found[i, k, 3]:
                    for o in range(-NEAR, NEAR + 1):
                        if word[position + o] == a and word[position + o + d] == b:
                            there = True
                        if word[position + o] == b and word[position + o - d] == a:
                            there = True
                else:
                    for o in range(-AROUND, AROUND + 1 - d):
                        if word[position + o] == a and word[position + o + d] == b:
                            there = True
                            break
                out[i, p] += weight[i, k, 0] if there else weight[i, k, 1]
