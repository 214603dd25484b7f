"""Periodicity: do the properties of the letters about a feature's peaks come and go with a period?

The moment of Eisenberg, Weiss and Terwilliger (1984): the length of the sum of one property, less its mean, around a
circle that is turned once a period; the largest within :data:`SHIFT` of the peak. An amphipathic helix has a period of 3.6 in hydropathy, a
heptad 3.5, a strand 2 to 2.3, codons 3, a turn of the double helix 10.5. Which property, period and width a feature
follows is chosen on training families.
"""

from __future__ import annotations

import numpy as np

from sciinterp.association._jit import compiled
from sciinterp.association.residue_properties import PROPERTIES
from sciinterp.budget import BLOCK_BYTES

SHIFT = 6  # how far from the peak the middle of the stretch may lie
# Periods, and how far the windows reach: a strand or a helix; a coiled coil or three turns of DNA. What lies between two
# periods is read by the nearer one: a window of 15 does not tell 3.6 from 3.3.
PERIODS = (2.0, 2.4, 3.0, 3.6, 4.6, 7.0, 10.5)
HALVES = (7, 10, 15)
LONG = 5.0  # period from which only the widest window is used, and below which it is not
OF_PROTEINS = {name: PROPERTIES[name] for name in ("hydropathy", "charge", "volume")}
OF_BASES = {
    "purine": {"A": 1.0, "G": 1.0},
    "strong pairing": {"C": 1.0, "G": 1.0},
    "keto": {"G": 1.0, "T": 1.0, "U": 1.0},
}


# What each row follows: numbers [n] of a property, a width and a period (HALVES, PERIODS).
Periodicity = tuple[np.ndarray, ...]


def scales(alphabet: list[str], share: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names of the properties and their values [n_scales, n_letters], mean 0 and variance 1 over the letters seen."""
    if set(alphabet) <= set("ACGTUN"):
        tables = OF_BASES
    elif set("ACDEFGHIKLMNPQRSTVWY") >= {x for x, s in zip(alphabet, share) if s > 0.005}:
        tables = OF_PROTEINS
    else:  # of letters that nobody measured: each of the commonest against the others
        common = np.argsort(-share, kind="stable")[:3]
        tables = {alphabet[i]: {alphabet[i]: 1.0} for i in common}
    values = np.array([[table.get(x, np.nan) for x in alphabet] for table in tables.values()])
    absent = np.array([[0.0] if len(t) < 8 else [np.nan] for t in tables.values()])
    values = np.where(np.isnan(values), absent, values)
    known = ~np.isnan(values)
    weight = np.where(known, share, 0) / np.maximum((share * known).sum(1, keepdims=True), 1e-12)
    centred = np.where(known, values - (weight * np.where(known, values, 0)).sum(1, keepdims=True), 0.0)
    spread = np.sqrt((weight * centred**2).sum(1, keepdims=True))
    return list(tables), centred / np.maximum(spread, 1e-9)


# Bytes of moments that are kept from one fit to the next, which reads the same letters: all of them or none.
KEPT = BLOCK_BYTES


def fit_periodicity(
    letters: np.ndarray,
    values: np.ndarray,
    at: np.ndarray,
    other: np.ndarray,
    train: np.ndarray,
    *,
    moments: dict[tuple[int, int, int], np.ndarray] | None = None,
) -> list[Periodicity]:
    """Of each row the property, width and period that differ most between training peaks and other positions.

    Parameters
    ----------
    values : float [n_scales, n_letters]
        Of :func:`scales`.
    at, other : int64 [n, n_peaks]
    train : bool [n_fits, n, n_peaks]
        A fit for each part of the families.
    moments : dict, optional
        What fits on the same letters have found of a property, a width and a period: read, and added to.
    """
    moments = {} if moments is None else moments
    best = np.full(train.shape[:2], -np.inf)
    chosen = np.zeros((3, *train.shape[:2]), np.int64)
    n = np.maximum(train.sum(-1), 1)
    asked = [
        (s, h, t)
        for s, h, t in np.ndindex(len(values), len(HALVES), len(PERIODS))
        if (PERIODS[t] >= LONG) == (h == len(HALVES) - 1)
    ]
    kept = len(asked) * len(letters) * np.dtype(np.float32).itemsize <= KEPT
    for s, h, t in asked:
        near = moments.get((s, h, t))
        if near is None:
            near = _nearby(letters, values[s], HALVES[h], PERIODS[t])
            if kept:
                moments[s, h, t] = near
        a, b = (near[np.maximum(x, 0)] for x in (at, other))
        for k, part in enumerate(train):
            mean = [np.where(part, x, 0).sum(1) / n[k] for x in (a, b)]
            spread = sum(np.where(part, (x - m[:, None]) ** 2, 0).sum(1) / n[k] for x, m in zip((a, b), mean))
            value = (mean[0] - mean[1]) / np.sqrt(spread + 1e-6)
            better = value > best[k]
            best[k, better] = value[better]
            chosen[:, k, better] = np.array([[s], [h], [t]])
    return [tuple(chosen[:, k]) for k in range(len(train))]


def score_periodicity(
    letters: np.ndarray, values: np.ndarray, at: np.ndarray, found: Periodicity
) -> np.ndarray:
    """The largest moment [n, n_peaks] within :data:`SHIFT` of each position, of what each row follows."""
    out = np.zeros(at.shape)
    scale, half, period = found
    _largest(letters, at, values[scale], np.array(HALVES)[half], np.array(PERIODS)[period], out)
    return out


def _nearby(letters: np.ndarray, values: np.ndarray, half: int, period: float) -> np.ndarray:
    """float32 [n_padded]: the largest :func:`_moment` within :data:`SHIFT` of every position, from running sums."""
    out, recent = np.zeros(len(letters), np.float32), np.zeros(2 * SHIFT + 1, np.float32)
    _run(letters, np.append(values, 0.0), half, period, np.zeros((6, 2 * half + 2)), recent, out)
    return out


@compiled
def _run(letters, values, half, period, total, recent, out) -> None:
    """Sums up to each position, of which a window is kept: of letters, values, values and letters around the circle.

    And the latest moments, whose largest is what the position in their middle is given.
    """
    turn, n_letters, size = 2 * np.pi / period, len(values) - 1, total.shape[1]
    for last in range(len(letters)):
        cosine, sine, x = np.cos(turn * last), np.sin(turn * last), values[letters[last]]
        inside = 1.0 if letters[last] < n_letters else 0.0
        before, high = last % size, (last + 1) % size
        total[0, high] = total[0, before] + inside
        total[1, high] = total[1, before] + x
        total[2, high] = total[2, before] + x * cosine
        total[3, high] = total[3, before] + x * sine
        total[4, high] = total[4, before] + inside * cosine
        total[5, high] = total[5, before] + inside * sine
        i = last - half  # whose window ends here
        if i < half:
            continue
        low = (i - half) % size
        n, moment = total[0, high] - total[0, low], 0.0
        if letters[i] < n_letters and n >= half + 2:
            mean = (total[1, high] - total[1, low]) / n
            real = total[2, high] - total[2, low] - mean * (total[4, high] - total[4, low])
            imaginary = total[3, high] - total[3, low] - mean * (total[5, high] - total[5, low])
            moment = np.sqrt((real**2 + imaginary**2) / n)
        recent[i % len(recent)] = moment
        for x in recent:
            out[i - SHIFT] = max(out[i - SHIFT], x)


@compiled
def _largest(letters, at, values, half, period, out) -> None:
    """The largest moment near each position."""
    for i in range(at.shape[0]):
        cosines, sines = _circle(half[i], period[i])
        for p in range(at.shape[1]):
            if at[i, p] >= 0:
                for step in range(-SHIFT, SHIFT + 1):
                    moment = _moment(letters, at[i, p] + step, values[i], half[i], cosines, sines)
                    out[i, p] = max(out[i, p], moment)


@compiled
def _circle(half, period) -> tuple:
    """Cosine and sine at each letter of a window."""
    turn, cosines, sines = 2 * np.pi / period, np.zeros(2 * half + 1), np.zeros(2 * half + 1)
    step_real, step_imaginary = np.cos(turn), np.sin(turn)
    cosine, sine = np.cos(turn * half), -np.sin(turn * half)
    for o in range(2 * half + 1):
        cosines[o], sines[o] = cosine, sine
        cosine, sine = (
            cosine * step_real - sine * step_imaginary,
            sine * step_real + cosine * step_imaginary,
        )
    return cosines, sines


@compiled
def _moment(letters, position, values, half, cosines, sines) -> float:
    """Length of the turned sum over one window, per root of its letters; 0 at the ends and in the padding."""
    n_letters = len(values)
    if letters[position] >= n_letters:
        return 0.0
    total, n = 0.0, 0
    for o in range(-half, half + 1):
        x = letters[position + o]
        if x < n_letters:
            total += values[x]
            n += 1
    if n < half + 2:
        return 0.0
    mean, real, imaginary = total / n, 0.0, 0.0
    for o in range(2 * half + 1):
        x = letters[position - half + o]
        if x < n_letters:
            real += (values[x] - mean) * cosines[o]
            imaginary += (values[x] - mean) * sines[o]
    return np.sqrt((real**2 + imaginary**2) / n)
