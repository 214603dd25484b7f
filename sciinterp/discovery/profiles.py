"""Profiles: letter probabilities per column, aligned to peaks by hard expectation and maximisation.

As MEME does (Bailey and Elkan 1994). Columns may be tied: a *motif* has a column a position, a *domain* has four
parts whose positions share one column each, so that weak composition along a stretch adds up. Columns may be of
letters or of labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciinterp.association._jit import compiled


@dataclass(frozen=True, eq=False)
class Shape:
    """What a profile looks like before it is fitted.

    Attributes
    ----------
    tie : int64 [width]
        Which column each position of the profile uses.
    offsets : int64
        Where the middle of the profile may lie, counted from the peak.
    starts : int64
        Offsets from which the alignment is begun.
    steps : int
    prior : float
        Letters of the background added to each column.
    """

    tie: np.ndarray
    offsets: np.ndarray
    starts: np.ndarray
    steps: int
    prior: float

    @property
    def width(self) -> int:
        """Positions of the profile."""
        return len(self.tie)


MOTIF = Shape(np.arange(7), np.arange(-6, 7), np.array([0, -3, 3]), steps=6, prior=3.0)


def fit_profile(
    values: np.ndarray, at: np.ndarray, train: np.ndarray, share: np.ndarray, shape: Shape
) -> np.ndarray:
    """Log odds [n, n_columns, n_letters + 1] of each row's best alignment from the starts; 0 for the sentinel.

    Parameters
    ----------
    values : uint8 [n_padded]
    at : int64 [n, n_peaks]
    train : bool [n, n_peaks]
    share : float [n_letters]
        Of the background.
    shape : Shape
    """
    odds = np.zeros((len(at), int(shape.tie.max()) + 1, len(share) + 1))
    _fit(
        values,
        np.where(train, at, -1),
        share,
        shape.tie,
        shape.offsets,
        shape.starts,
        shape.steps,
        shape.prior,
        odds,
    )
    return odds


def score_profile(
    values: np.ndarray, at: np.ndarray, odds: np.ndarray, shape: Shape
) -> tuple[np.ndarray, np.ndarray]:
    """Best score [n, n_peaks] about each position and its offset; 0 where there is no peak."""
    best, where = np.zeros(at.shape), np.zeros(at.shape, np.int64)
    _slide(values, at, odds, shape.tie, shape.offsets, best, where)
    return best, where


@compiled
def _slide(values, at, odds, tie, offsets, best, where) -> None:
    for i in range(at.shape[0]):
        _slide_row(values, at[i], odds[i], tie, offsets, best[i], where[i])


@compiled
def _slide_row(values, at, odds, tie, offsets, best, where) -> None:
    half = len(tie) // 2
    for p in range(len(at)):
        if at[p] < 0:
            continue
        top, place = -np.inf, 0
        for offset in offsets:
            score, first = 0.0, at[p] + offset - half
            for j in range(len(tie)):
                score += odds[tie[j], values[first + j]]
            if score > top:
                top, place = score, offset
        best[p], where[p] = top, place


@compiled
def _columns(values, at, where, share, tie, prior, counts, odds) -> None:
    """Log odds of the columns, given where the profile lies about each peak."""
    half, n_letters = len(tie) // 2, len(share)
    for c in range(odds.shape[0]):
        for x in range(n_letters + 1):
            counts[c, x] = 0.0
    for p in range(len(at)):
        if at[p] >= 0:
            first = at[p] + where[p] - half
            for j in range(len(tie)):
                counts[tie[j], values[first + j]] += 1.0
    for c in range(odds.shape[0]):
        total = prior
        for x in range(n_letters):
            total += counts[c, x]
        for x in range(n_letters):
            seen = (counts[c, x] + prior * share[x]) / total
            odds[c, x] = np.log(seen / (share[x] + 1e-9) + 1e-12)
        odds[c, n_letters] = 0.0


@compiled
def _fit(values, at, share, tie, offsets, starts, steps, prior, out) -> None:
    n_peaks = at.shape[1]
    best, where, before = np.zeros(n_peaks), np.zeros(n_peaks, np.int64), np.zeros(n_peaks, np.int64)
    odds, counts = np.zeros((out.shape[1], out.shape[2])), np.zeros((out.shape[1], out.shape[2]))
    for i in range(at.shape[0]):
        top = -np.inf
        for start in starts:
            for p in range(n_peaks):
                where[p] = start
            _columns(values, at[i], where, share, tie, prior, counts, odds)
            for _ in range(steps):
                for p in range(n_peaks):
                    before[p] = where[p]
                _slide_row(values, at[i], odds, tie, offsets, best, where)
                moved = False
                for p in range(n_peaks):
                    moved = moved or before[p] != where[p]
                if not moved:
                    break
                _columns(values, at[i], where, share, tie, prior, counts, odds)
            # As it was scored before its last fit: what the alignment itself reached.
            value = 0.0
            for p in range(n_peaks):
                if at[i, p] >= 0:
                    value += best[p]
            if value > top:
                top = value
                for c in range(odds.shape[0]):
                    for x in range(odds.shape[1]):
                        out[i, c, x] = odds[c, x]
