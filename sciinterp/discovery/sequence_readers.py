"""What finds a feature's peaks in sequence: readers, fitted on some families, chosen on others, judged on the rest.

Every feature is represented by its strongest peak in each family (relatives share sequence, so a family counts once)
and by random positions of the same samples. A *reader* is one record of :data:`READERS`: how it is fitted, how it scores
a position, what it says of itself. It is judged by the probability that a held-out peak scores above a held-out random
position (AUROC, 0.5 = nothing learned).

*Choice*: families are dealt into three parts. For each part the readers are fitted on one of the other two and tried on
the other; the best of them, the motif where none is better by :data:`MARGIN`, is fitted on both and scores the part. No
part has a say in which reader judges it: where there is nothing to find, trying more readers does not raise the AUROC.

Columns of :func:`coherence`:

* *reader*: the chosen reader;
* *composition, centre, position, conservation*: :mod:`sciinterp.discovery.plain_readings`, fitted on the same families;
* *order*: the reader again, against the same windows with their letters shuffled: near 0.5 for what only reads letters
  or composition, whatever these reach against random positions;
* *matched*: the reader again, against positions that hold the same letter as the peak: near 0.5 for what only reads the
  letter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import t as student

from sciinterp.association._jit import compiled
from sciinterp.discovery.plain_readings import (
    AROUND,
    fit_place,
    fit_unordered,
    score_conservation,
    score_place,
    score_unordered,
)
from sciinterp.discovery.problem import Problem
from sciinterp.discovery.reader_kinds import READERS, FitData, Model, Reader
from sciinterp.discovery.surroundings import NONE, Surroundings

N_PARTS = 3
N_COMPARED = 24  # random positions that a peak is compared with
N_TRIED = 2  # of these while readers are chosen
N_SHUFFLED = 2  # shuffled windows a peak
N_MATCHED = 8  # positions with the peak's own letter
GOOD = 0.95  # AUROC on training families from which the motif is not challenged
MARGIN = 0.02  # AUROC on training families by which another reader must be better than the motif
ROWS = 256  # rows whose windows are shuffled at once
COLUMNS = ("reader", "composition", "centre", "position", "conservation", "order", "matched")


@dataclass(frozen=True, eq=False)
class Coherence:
    """What finds the peaks of each feature.

    Attributes
    ----------
    measures : float [n, 7]
        AUROC of :data:`COLUMNS` in held-out families.
    reader : object [n]
        Name of the reader that most parts chose.
    low, high : float [n]
        95% interval of the reader's AUROC over families.
    tried : dict
        AUROC [n] of each reader on the families it was chosen on; NaN where it was not asked.
    """

    measures: np.ndarray
    reader: np.ndarray
    low: np.ndarray
    high: np.ndarray
    tried: dict[str, np.ndarray]

    def rows(self, some: np.ndarray) -> Coherence:
        """Some rows."""
        tried = {name: value[some] for name, value in self.tried.items()}
        return Coherence(self.measures[some], self.reader[some], self.low[some], self.high[some], tried)


def coherence(problem: Problem, position: np.ndarray, *, seed: int = 0) -> Coherence:
    """How well readers and plain readings find held-out peaks.

    Parameters
    ----------
    problem : Problem
        Must have letters.
    position : int64 [n, n_peaks]
        Rows of peaks, one a family; -1 = none.
    """
    rng = np.random.default_rng([seed, 0xC0])
    around, at = problem.around, problem.around.padded(position)
    readers = [reader for reader in READERS if len(getattr(around, reader.column))]
    other, matched = _random(around, at, N_COMPARED, rng), _with_same_letter(around, at, N_MATCHED, rng)
    real, part = at >= 0, np.arange(at.shape[1]) % N_PARTS
    inner = np.stack([real & (part == k) for k in range(N_PARTS)])
    outer = np.stack([real & (part != k) for k in range(N_PARTS)])
    peaks = FitData(around, at, other[..., 0], np.concatenate([inner, outer]))
    # The motif comes first: where it is good nothing else is asked, where others are hardly better it stays.
    tried, models = np.full((len(readers), N_PARTS, len(at)), np.nan), []
    rows, some = np.arange(len(at)), peaks
    for r, reader in enumerate(readers):
        models.append(reader.fit(some))
        tried[r][:, rows] = _tried(reader, models[r][:N_PARTS], some, other[rows], part)
        if r == 0:
            rows = np.flatnonzero((tried[0] < GOOD).any(0))
            some = peaks.rows(rows)
    challenged = np.nan_to_num(tried) - MARGIN * (np.arange(len(readers)) > 0)[:, None, None]
    choice = np.where(tried[0] >= GOOD, 0, np.argmax(challenged, axis=0))
    scores = _Scores(at, other.shape, matched.shape)
    for r, reader in enumerate(readers):
        for k, model in enumerate(models[r][N_PARTS:]):
            mine = np.flatnonzero(choice[k] == r)
            cells = np.ix_(mine, np.flatnonzero(part == k))
            own = tuple(x[np.searchsorted(rows, mine) if r else mine] for x in model)
            scores.own[cells] = reader.score(around, at[cells], own)
            scores.other[cells] = _many(reader.score, around, other[cells], own)
            scores.matched[cells] = _many(reader.score, around, matched[cells], own)
            scores.order[cells] = _shuffled(reader, around, at[cells], own, rng)
    auroc, spread = _auroc(scores.own, scores.other, at, part)
    measures = {"reader": auroc, **_plain(around, at, other, outer, part)}
    for name in ("order", "matched"):
        measures[name] = _auroc(scores.own, getattr(scores, name), at, part)[0]
    names = np.array([reader.name for reader in readers], object)
    votes = (choice[..., None] == np.arange(len(readers))).sum(0)
    return Coherence(
        np.column_stack([measures[name] for name in COLUMNS]),
        names[np.argmax(votes, axis=1)],
        np.clip(auroc - spread, 0, 1),
        np.clip(auroc + spread, 0, 1),
        {str(name): value for name, value in zip(names, tried.mean(1))},
    )


class _Scores:
    """Scores of the chosen readers: of peaks, and of what they are compared with."""

    def __init__(self, at: np.ndarray, other: tuple[int, ...], matched: tuple[int, ...]) -> None:
        self.own, self.order = np.zeros(at.shape), np.zeros((*at.shape, N_SHUFFLED))
        self.other, self.matched = np.zeros(other), np.zeros(matched)


def describe(problem: Problem, position: np.ndarray, name: str) -> dict[str, Any]:
    """What one reader says of the peaks of one feature, fitted on all of them.

    Parameters
    ----------
    position : int64 [n_peaks]
        -1 = none.
    name : str
        Of a record of :data:`READERS`.
    """
    around, at = problem.around, problem.around.padded(position[None])
    reader = next(r for r in READERS if r.name == name)
    other = _random(around, at, 1, np.random.default_rng(0))
    model = reader.fit(FitData(around, at, other[..., 0], at[None] >= 0))[0]
    return {"name": name, **reader.says(around, at, model)}


def _many(score: Callable[..., np.ndarray], around: Surroundings, at: np.ndarray, *model: Any) -> np.ndarray:
    """Scores of several positions a peak."""
    return score(around, at.reshape(len(at), at.shape[1] * at.shape[2]), *model).reshape(at.shape)


def _tried(
    reader: Reader, models: Sequence[Model], peaks: FitData, other: np.ndarray, part: np.ndarray
) -> np.ndarray:
    """For each part [n_parts, n]: AUROC in the other two, each read by what was fitted on the other."""
    reached = np.zeros((N_PARTS, N_PARTS, len(peaks.at)))
    for k, model in enumerate(models):
        rest = np.flatnonzero(part != k)
        own = reader.score(peaks.around, peaks.at[:, rest], model)
        others = _many(reader.score, peaks.around, other[:, rest, :N_TRIED], model)
        for j in range(N_PARTS):
            if j != k:
                mine = part[rest] == j
                reached[k, j] = _auroc(own[:, mine], others[:, mine], peaks.at[:, rest][:, mine])[0]
    return np.stack(
        [
            sum(reached[k, j] for k in range(N_PARTS) for j in range(N_PARTS) if len({c, j, k}) == N_PARTS)
            / 2
            for c in range(N_PARTS)
        ]
    )


def _shuffled(
    reader: Reader, around: Surroundings, at: np.ndarray, model: Model, rng: np.random.Generator
) -> np.ndarray:
    """Scores of windows whose letters are shuffled [n, n_peaks, N_SHUFFLED]."""
    out = np.zeros((*at.shape, N_SHUFFLED))
    for low in range(0, len(at), ROWS):
        rows = slice(low, low + ROWS)
        for k in range(N_SHUFFLED):
            mixed, where = around.shuffled(at[rows], reader.reach, rng)
            out[rows, :, k] = reader.score(mixed, where, tuple(x[rows] for x in model))
    return out


def _plain(
    around: Surroundings, at: np.ndarray, other: np.ndarray, outer: np.ndarray, part: np.ndarray
) -> dict[str, np.ndarray]:
    """AUROC of the plain readings."""
    reach = {"composition": AROUND, "centre": 0}
    names = (*reach, "position", "conservation")
    scores = {name: (np.zeros(at.shape), np.zeros(other.shape)) for name in names}
    for k, train in enumerate(outer):
        mine = np.flatnonzero(part == k)
        place = fit_place(around, at, other[..., 0], train)
        for name in names:
            if name in reach:
                odds = fit_unordered(around, at, train, reach[name])
                score = partial(score_unordered, odds=odds, reach=reach[name])
            else:
                score = partial(score_place, odds=place) if name == "position" else score_conservation
            scores[name][0][:, mine] = score(around, at[:, mine])
            scores[name][1][:, mine] = _many(score, around, other[:, mine])
    return {name: _auroc(*pair, at, part)[0] for name, pair in scores.items()}


def _random(around: Surroundings, at: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Random positions [n_rows, n_peaks, n] of the samples of the peaks; -1 where there is no peak."""
    known = np.maximum(at, 0)
    first = (known - around.from_start[known])[..., None]
    length = (around.from_start[known] + around.from_end[known] + 1)[..., None]
    drawn = first + (rng.random((*at.shape, n), dtype=np.float32) * length).astype(np.int64)
    return np.where(at[..., None] >= 0, np.minimum(drawn, first + length - 1), NONE)


def _with_same_letter(around: Surroundings, at: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Random positions [n_rows, n_peaks, n] that hold the peak's letter, in its sample or, where it is alone, in any."""
    inside = np.flatnonzero(around.sample >= 0)
    known = np.where(at >= 0, at, inside[0] if len(inside) else 0)
    out = np.full((*at.shape, n), NONE)
    for by_sample in (False, True):
        key = around.letters.astype(np.int64) + (around.sample.astype(np.int64) * 256 if by_sample else 0)
        order = inside[np.argsort(key[inside], kind="stable")]
        first = np.searchsorted(key[order], key[known], "left")
        count = np.searchsorted(key[order], key[known], "right") - first
        step = (rng.random(out.shape) * (count[..., None] - 1)).astype(np.int64)
        # The peak itself is stepped over.
        rank = np.zeros(len(around.letters), np.int64)
        rank[order] = np.arange(len(order))
        step += step >= (rank[known] - first)[..., None]
        drawn = order[np.minimum(first[..., None] + step, len(order) - 1)]
        out = np.where((count > 1)[..., None], drawn, out)
    return np.where(at[..., None] >= 0, out, NONE)


def _auroc(
    own: np.ndarray, other: np.ndarray, at: np.ndarray, part: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """AUROC [n] within parts, and half the width of its 95% interval over families.

    A family moves it by its peak and by what stands for it among the others (DeLong 1988). One more family that says
    nothing stands in the interval, so that none is of no width.
    """
    part = np.zeros(at.shape[1], np.int64) if part is None else part
    mine, theirs, known = np.zeros(at.shape), np.zeros(at.shape), at >= 0
    _place(own, other, at, part, mine, theirs)
    n = known.sum(1)
    value = np.where(n > 0, np.where(known, mine, 0).sum(1) / np.maximum(n, 1), 0.5)
    moved = np.where(known, mine + theirs - 2 * value[:, None], 0)
    variance = ((moved**2).sum(1) + (value - 0.5) ** 2) / np.maximum(n, 1)
    return value, student.ppf(0.975, np.maximum(n - 1, 1)) * np.sqrt(variance / np.maximum(n, 1))


@compiled
def _place(own, other, at, part, mine, theirs) -> None:
    """Share of others that each peak beats, and share of peaks that beat each family's others, within parts."""
    n_peaks, n_others = other.shape[1], other.shape[2]
    for i in range(other.shape[0]):
        for p in range(n_peaks):
            if at[i, p] < 0:
                continue
            n = 0
            for q in range(n_peaks):
                if at[i, q] < 0 or part[q] != part[p]:
                    continue
                n += 1
                for k in range(n_others):
                    x, y = own[i, p], other[i, q, k]
                    mine[i, p] += 1.0 if y < x else 0.5 if y == x else 0.0
                    x, y = own[i, q], other[i, p, k]
                    theirs[i, p] += 1.0 if y < x else 0.5 if y == x else 0.0
            mine[i, p] /= n * n_others
            theirs[i, p] /= n * n_others
