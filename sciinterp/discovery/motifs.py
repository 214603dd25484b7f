"""Is a feature coherent in sequence? Held-out tests of motif, composition and position at its peaks.

Every feature is represented by its strongest peak in each family (relatives share sequence, so a family counts
once) and by random positions of the same samples. Four log-odds models are fitted on half of the families and
read on the other half, one number is read as it is, and each is summarised by the probability that a peak scores
above a random position (AUROC, 0.5 = nothing learned):

* *motif*: an ungapped motif of ``WIDTH`` columns, aligned within ``REACH`` of the peak by hard expectation and
  maximisation (as MEME does, Bailey and Elkan 1994);
* *composition*: the unordered letters around the peak;
* *centre*: the letter at the peak;
* *position*: distance from either end of the sample;
* *conservation*: the share of relatives that hold the same three letters (not fitted);
* *order*: the motif again, against the same windows with the letters around the peak shuffled: near 0.5 for what
  only reads letters or composition, whatever these reach against random positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from sciinterp.association._jit import compiled
from sciinterp.codes.intervals import windows
from sciinterp.codes.peaks import largest_in_groups
from sciinterp.discovery.calibrate import auroc
from sciinterp.discovery.problem import Problem

WIDTH, REACH, HALF = 7, 6, 12
AROUND = 6  # letters on either side that count as the composition around a peak
MAX_PEAKS = 80
STRONG = 1 / 3  # of a feature's largest activation, from which a family's best position counts as a peak
ROWS = 1024  # features whose windows are laid out at once: about 100 MB
COLUMNS = ("motif", "composition", "centre", "position", "conservation", "order")


@dataclass(frozen=True, eq=False)
class Peaks:
    """Strongest peak of each feature in each family, strongest families first.

    Attributes
    ----------
    position : int64 [n_features, MAX_PEAKS]
        On the concatenated axis, -1 where there are fewer.
    n_families : int64 [n_features]
        Families with a peak of at least half of the feature's strong peaks and :data:`STRONG` of its largest
        (all of them, also beyond MAX_PEAKS).
    """

    position: np.ndarray
    n_families: np.ndarray


def find_peaks(problem: Problem) -> Peaks:
    """The strongest position of every feature in every family, where that is a strong one."""
    family = problem.family[problem.sample_of]
    position = np.full((problem.n_features, MAX_PEAKS), -1, np.int64)
    n_families = np.zeros(problem.n_features, np.int64)
    for first, block in problem.blocks():
        found = largest_in_groups(block, family)
        ends = np.cumsum(np.bincount(found.feature, minlength=block.n_features))
        for j, (lo, hi) in enumerate(zip(np.r_[0, ends], ends)):
            value, at = found.value[lo:hi], found.position[lo:hi]
            if not len(value):
                continue
            strong = np.flatnonzero(value >= max(np.quantile(value, 0.9) / 2, STRONG * value.max()))
            best = strong[np.argsort(-value[strong], kind="stable")][:MAX_PEAKS]
            position[first + j, : len(best)], n_families[first + j] = at[best], len(strong)
    return Peaks(position, n_families)


def coherence(problem: Problem, position: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """AUROC [n, 6] of :data:`COLUMNS` for rows of peaks (-1 = none).

    Parameters
    ----------
    problem : Problem
        Must have letters.
    position : int64 [n, n_peaks]
    """
    rng = np.random.default_rng([seed, 0xC0])
    real = position >= 0
    sample = problem.sample_of[np.maximum(position, 0)]
    lo, length = problem.samples.offsets[sample], problem.samples.lengths[sample]
    other = lo + (rng.random(position.shape) * length).astype(np.int64)
    half = np.arange(position.shape[1]) % 2
    scores = np.zeros((2, len(COLUMNS), *position.shape))
    scores[0, 4], scores[1, 4] = problem.conservation[np.maximum(position, 0)], problem.conservation[other]
    for part in (0, 1):
        train, test = real & (half == part), real & (half != part)
        scores[:, 3] = np.where(test, _place(problem, position, other, sample, train), scores[:, 3])
        for low in range(0, len(position), ROWS):
            rows = slice(low, low + ROWS)
            for name, pair in _score_models(problem, position[rows], other[rows], train[rows], rng).items():
                at = COLUMNS.index(name)
                scores[:, at, rows] = np.where(test[rows], pair, scores[:, at, rows])
    out = np.full((len(position), len(COLUMNS)), 0.5)
    for i in range(len(position)):
        mask = real[i]
        for j in range(len(COLUMNS)):
            out[i, j] = auroc(scores[0, j, i][mask], scores[1, j, i][mask])
    return out


def _score_models(
    problem: Problem, peaks: np.ndarray, other: np.ndarray, train: np.ndarray, rng: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores of peaks and of what they are compared with, under the models fitted on ``train``."""
    background = _background(problem)
    a, b = _windows(problem, peaks), _windows(problem, other)
    odds = _motif(a, train, background)
    near = slice(HALF - AROUND, HALF + AROUND + 1)
    shuffled = a.copy()
    shuffled[..., near] = rng.permuted(a[..., near], axis=-1)
    score = _best_offset(a, odds)[0]
    pick = lambda table, w: np.take_along_axis(table, w.reshape(len(w), -1), 1).reshape(w.shape).sum(-1)  # noqa: E731
    found = {"motif": (score, _best_offset(b, odds)[0]), "order": (score, _best_offset(shuffled, odds)[0])}
    for name, part in (("composition", near), ("centre", slice(HALF, HALF + 1))):
        table = _unordered(a[..., part], train, background)
        found[name] = (pick(table, a[..., part]), pick(table, b[..., part]))
    return found


def letters_of(problem: Problem) -> np.ndarray:
    """The letters, which everything here needs."""
    return cast("np.ndarray", problem.letters)


def _background(problem: Problem) -> np.ndarray:
    letters = letters_of(problem)
    return np.bincount(letters, minlength=len(problem.alphabet)) / len(letters)


def _windows(problem: Problem, position: np.ndarray) -> np.ndarray:
    """Letters around positions, int64 [n, n_peaks, 2 HALF + 1]; beyond the sample the number of letters."""
    return windows(letters_of(problem), position, HALF, problem.samples.offsets, beyond=len(problem.alphabet))


def _unordered(window: np.ndarray, train: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Log odds [n, n_letters + 1] of letters in training windows; nothing beyond the sample."""
    n, letters = len(window), len(background)
    row = np.broadcast_to(np.arange(n)[:, None, None], window.shape)
    use = np.broadcast_to(train[..., None], window.shape)
    counts = np.bincount((row * (letters + 1) + window)[use], minlength=n * (letters + 1)).reshape(
        n, letters + 1
    )[:, :letters]
    share = (counts + 5 * background) / (counts.sum(1, keepdims=True) + 5)
    return np.hstack([np.log(share / (background + 1e-9)), np.zeros((n, 1))])


def _motif(window: np.ndarray, train: np.ndarray, background: np.ndarray, *, steps: int = 6) -> np.ndarray:
    """Log odds [n, WIDTH, n_letters + 1] of the best alignment found from three starts."""
    best_odds, best_value = None, None
    for start in (0, -3, 3):
        offset = np.full(train.shape, start)
        odds = _columns(window, offset, train, background)
        for _ in range(steps):
            score, offset = _best_offset(window, odds)
            odds = _columns(window, offset, train, background)
        value = np.where(train, score, 0).sum(1)
        if best_odds is None or best_value is None:
            best_odds, best_value = odds, value
        else:
            better = value > best_value
            best_odds[better], best_value[better] = odds[better], value[better]
    return best_odds


def _columns(window: np.ndarray, offset: np.ndarray, train: np.ndarray, background: np.ndarray) -> np.ndarray:
    n, letters = len(window), len(background)
    at = HALF + offset[..., None] + np.arange(WIDTH) - WIDTH // 2
    letter = np.take_along_axis(window, at, 2)
    cell = (np.arange(n)[:, None, None] * WIDTH + np.arange(WIDTH)) * (letters + 1) + letter
    use = np.broadcast_to(train[..., None], letter.shape)
    counts = np.bincount(cell[use], minlength=n * WIDTH * (letters + 1)).reshape(n, WIDTH, letters + 1)[
        ..., :letters
    ]
    share = (counts + 3 * background) / (counts.sum(-1, keepdims=True) + 3)
    return np.concatenate([np.log(share / (background + 1e-9)), np.zeros((n, WIDTH, 1))], axis=-1)


def _best_offset(window: np.ndarray, odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best score and its offset for every window."""
    best, where = np.empty(window.shape[:2]), np.empty(window.shape[:2], np.int64)
    _slide(window, odds, best, where)
    return best, where


@compiled
def _slide(window, odds, best, where) -> None:
    for i in range(window.shape[0]):
        for p in range(window.shape[1]):
            top, at = -np.inf, 0
            for offset in range(-REACH, REACH + 1):
                score = 0.0
                for j in range(WIDTH):
                    score += odds[i, j, window[i, p, HALF + offset + j - WIDTH // 2]]
                if score > top:
                    top, at = score, offset
            best[i, p], where[i, p] = top, at


def _place(
    problem: Problem, peaks: np.ndarray, other: np.ndarray, sample: np.ndarray, train: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log odds of the distances from both ends, in bins of five."""
    lo, hi = problem.samples.offsets[sample], problem.samples.offsets[sample + 1]
    total = [np.zeros(peaks.shape), np.zeros(peaks.shape)]
    n_bins = 40
    for distance in (lambda x: x - lo, lambda x: hi - 1 - x):
        bins = [np.clip(distance(x) // 5, 0, n_bins - 1) for x in (peaks, other)]
        row = np.broadcast_to(np.arange(len(peaks))[:, None], peaks.shape)
        counts = [
            np.bincount((row * n_bins + b)[train], minlength=len(peaks) * n_bins).reshape(-1, n_bins)
            for b in bins
        ]
        # Random positions of all features together say how often a distance occurs at all.
        expected = counts[1].sum(0) / max(counts[1].sum(), 1)
        smooth = np.apply_along_axis(lambda row: np.convolve(row, [0.25, 0.5, 0.25], "same"), 1, counts[0])
        odds = np.log(
            (smooth + 4 * expected + 1e-4) / ((smooth.sum(1, keepdims=True) + 4) * (expected + 1e-4))
        )
        for t, b in zip(total, bins):
            t += np.take_along_axis(odds, b, 1)
    return total[0], total[1]


def motif_offsets(problem: Problem, position: np.ndarray) -> np.ndarray:
    """How far from each peak of one feature the middle of its aligned motif lies, int64 [n_peaks]."""
    window = _windows(problem, position[None])
    odds = _motif(window, np.ones((1, len(position)), bool), _background(problem))
    return _best_offset(window, odds)[1][0]


def consensus(problem: Problem, position: np.ndarray) -> tuple[str, float, np.ndarray]:
    """The aligned motif of one feature: consensus, information in bits, and frequencies [WIDTH, n_letters]."""
    position = position[position >= 0]
    background = _background(problem)
    window = _windows(problem, position[None])
    train = np.ones((1, len(position)), bool)
    odds = _motif(window, train, background)[0, :, :-1]
    share = np.exp(odds) * (background + 1e-9)
    share /= share.sum(1, keepdims=True)
    bits = (share * np.log2(share / (background + 1e-9) + 1e-12)).sum(1)
    text = "".join(
        problem.alphabet[int(np.argmax(p))]
        if p.max() > 0.5
        else (problem.alphabet[int(np.argmax(p))].lower() if p.max() > 0.3 else "x")
        for p in share
    )
    return text, float(bits.sum()), share
