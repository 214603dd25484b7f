"""How variants are parted for an honest test, and intervals that know that variants of a position are alike.

Notin and others (ProteinNPT, 2023; ProteinGym) part variants three ways: at *random*, which leaves every position on both
sides and is optimistic; in *contiguous* stretches of positions; by position *modulo* the number of parts. Of a variant of
several positions all must be held out for it to be tested, and none for it to be trained on.

Scores are rank correlations inside each held-out part, averaged by size: what differs between parts, such as the mean of
their training sets, earns nothing. Intervals draw positions with replacement, ranks held as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

SPLITS = ("random", "contiguous", "modulo")
OPTIMISTIC = "optimistic: every position is on both sides"
# A part of fewer tested variants says nothing about ranks.
SMALLEST = 4


def parts_of(
    positions: Sequence[Sequence[int]], how: str, *, folds: int, seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Numbers of variants that are trained on and tested, part by part, from the changed positions of each.

    Examples
    --------
    >>> [test.tolist() for _, test in parts_of([[0], [0], [1], [2], [1, 2]], "contiguous", folds=2)]
    [[0, 1, 2], [3]]
    """
    n = len(positions)
    if how == "random":
        part = np.random.default_rng(seed).permutation(n) % folds
        return [(np.flatnonzero(part != f), np.flatnonzero(part == f)) for f in range(folds)]
    owner = np.repeat(np.arange(n), [len(p) for p in positions])
    flat = np.concatenate([np.asarray(p, np.int64) for p in positions])
    if how == "modulo":
        part = flat % folds
    else:
        names, place = np.unique(flat, return_inverse=True)
        part = place * folds // len(names)
    inside = np.zeros((n, folds), np.int64)
    np.add.at(inside, (owner, part), 1)
    width = inside.sum(1)
    return [
        (np.flatnonzero(inside[:, f] == 0), np.flatnonzero((inside[:, f] == width) & (width > 0)))
        for f in range(folds)
    ]


def correlation(
    truth: np.ndarray,
    predicted: np.ndarray,
    parts: Sequence[np.ndarray],
    block: np.ndarray,
    draws: np.ndarray,
) -> tuple[float, np.ndarray]:
    """Rank correlation inside parts, averaged by size, and the same in every draw of blocks [n_draws].

    Predictions are read at the numbers in ``parts`` alone; where all of a part are equal it counts as zero.
    What is drawn together (a position, a protein) is one `block`, and `draws` [n_draws, n_blocks] says how
    often each is.
    """
    mean, total = 0.0, 0
    drawn, weights = np.zeros(len(draws)), np.zeros(len(draws))
    for part in parts:
        known = part[np.isfinite(predicted[part])]
        if len(known) < SMALLEST:
            continue
        x, y = _ranks(predicted[known]), rankdata(truth[known])
        sums = np.zeros((draws.shape[1], 6))
        np.add.at(sums, block[known], np.c_[np.ones(len(x)), x, y, x * x, y * y, x * y])
        mean += len(known) * float(_pearson(sums.sum(0)))
        total += len(known)
        of_draw = draws @ sums
        drawn += of_draw[:, 0] * _pearson(of_draw)
        weights += of_draw[:, 0]
    if not total:
        return float("nan"), np.full(len(draws), np.nan)
    return mean / total, drawn / np.maximum(weights, 1)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks; all the same where values differ by rounding alone."""
    return np.zeros(len(values)) if np.ptp(values) <= 1e-9 * np.abs(values).max() else rankdata(values)


def _pearson(sums: np.ndarray) -> np.ndarray:
    """Correlations from sums of 1, x, y, xx, yy, xy; zero where one does not vary."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    n = np.maximum(n, 1)
    spread = (xx - x * x / n) * (yy - y * y / n)
    found = (xy - x * y / n) / np.sqrt(np.where(spread > 1e-9, spread, 1.0))
    return np.where(spread > 1e-9, found, 0.0)


def draws_of(n_blocks: int, n_draws: int, seed: int = 0) -> np.ndarray:
    """How often each of the blocks is drawn, in every draw [n_draws, n_blocks]."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=n_draws).astype(np.float64)


def interval(drawn: np.ndarray) -> tuple[float, float]:
    """The middle 95% of draws."""
    if not np.isfinite(drawn).any():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def top_recall(truth: np.ndarray, predicted: np.ndarray, parts: Sequence[np.ndarray], share: float) -> float:
    """Of the variants highest in truth, how many are highest in prediction; ties count in part."""
    found = total = 0.0
    for part in parts:
        known = part[np.isfinite(predicted[part])]
        if len(known) < SMALLEST:
            continue
        k = max(1, round(share * len(known)))
        p, best = _ranks(predicted[known]), np.argsort(-truth[known], kind="stable")[:k]
        edge = np.sort(p)[-k]
        ties = p == edge
        weight = np.where(p > edge, 1.0, ties * (k - (p > edge).sum()) / ties.sum())
        found, total = found + weight[best].sum(), total + k
    return float(found / total) if total else float("nan")
