"""What finds a feature's peaks in sequence: readers, fitted on some families, chosen on others, judged on the rest.

Every feature is represented by its strongest peak in each family (relatives share sequence, so a family counts once)
and by other positions of the same samples, spread evenly over them. A *reader* is one record of :data:`READERS`: how it is fitted, how it scores
a position, what it says of itself. It is judged by the probability that a held-out peak scores above a held-out other
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
  letter;
* of samples with coordinates, :data:`~sciinterp.discovery.plain_readings.BACKBONE`, and *same_torsion, same_contacts*: the
  reader again, against positions of the same class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.stats import t as student

from sciinterp import distributed
from sciinterp.association._jit import compiled
from sciinterp.budget import give_back
from sciinterp.discovery.plain_readings import (
    AROUND,
    BACKBONE,
    SHARED,
    fit_classes,
    fit_place,
    fit_unordered,
    score_classes,
    score_conservation,
    score_place,
    score_unordered,
)
from sciinterp.discovery.problem import Problem
from sciinterp.discovery.reader_kinds import READERS, FitData, Model, Reader, Says
from sciinterp.discovery.surroundings import NONE, Surroundings

N_PARTS = 3
GOOD = 0.95  # AUROC on training families from which the motif is not challenged
MARGIN = 0.02  # AUROC on training families by which another reader must be better than the motif
ROWS = 256  # rows looked at together, which ranks and threads deal among themselves
SHUFFLED = 32  # rows whose windows are shuffled together
COLUMNS = ("reader", "composition", "centre", "position", "conservation", "order", "matched")
OF_BACKBONE = (*BACKBONE, *(f"same_{name}" for name in SHARED))


@dataclass(frozen=True)
class Draws:
    """How many things a peak is compared with.

    Attributes
    ----------
    compared : int
        Other positions of its sample.
    tried : int
        Of these while readers are chosen.
    shuffled : int
        Its window with the letters in another order.
    matched : int
        Positions with its own letter.
    """

    compared: int = 24
    tried: int = 2
    shuffled: int = 2
    matched: int = 8


# Steps of sequences that leave no gaps: along a sample, and from peak to peak.
GOLDEN, APART = (5**0.5 - 1) / 2, 2**0.5 - 1
# For the few that may be listed: so many comparisons, in batches with fits of their own, that which they are hardly matters.
FINE, N_FINE = Draws(compared=24, tried=8, shuffled=6, matched=8), 10


OF_ROWS = (
    "measures",
    "influence",
    "reader",
    "low",
    "high",
)  # what has an entry a feature, beside what was tried


@dataclass(frozen=True, eq=False)
class Coherence:
    """What finds the peaks of each feature.

    Attributes
    ----------
    measures : float [n, 7 or 12]
        AUROC of :data:`COLUMNS` in held-out families, and of :data:`OF_BACKBONE` where samples have coordinates.
    influence : float32 [n, 7 or 12, n_peaks]
        By how much each would move if the family of a peak counted twice.
    reader : object [n]
        Name of the reader that most parts chose.
    low, high : float [n]
        95% interval of the reader's AUROC over families.
    tried : dict
        AUROC [n] of each reader on the families it was chosen on; NaN where it was not asked.
    """

    measures: np.ndarray
    influence: np.ndarray
    reader: np.ndarray
    low: np.ndarray
    high: np.ndarray
    tried: dict[str, np.ndarray]

    def rows(self, some: np.ndarray) -> Coherence:
        """Some rows."""
        tried = {name: x[some] for name, x in self.tried.items()}
        return Coherence(*(getattr(self, name)[some] for name in OF_ROWS), tried=tried)

    @classmethod
    def joined(cls, parts: Sequence[Coherence]) -> Coherence:
        """The rows of several, one after another."""
        tried = {n: np.concatenate([part.tried[n] for part in parts]) for n in parts[0].tried}
        return cls(*(np.concatenate([getattr(part, n) for part in parts]) for n in OF_ROWS), tried=tried)

    def put(self, some: np.ndarray, drawn: Sequence[Coherence]) -> None:
        """Put the mean of several draws in the place of some rows; the reader is the one that most of them chose."""
        for name in ("measures", "influence", "low", "high"):
            getattr(self, name)[some] = np.mean([getattr(d, name) for d in drawn], axis=0)
        names = np.array(list(self.tried), object)
        votes = np.stack([[d.reader == name for name in names] for d in drawn]).sum(0)
        self.reader[some] = names[np.argmax(votes, axis=0)]
        for name, value in self.tried.items():
            asked = np.stack([d.tried[name] for d in drawn])
            n = (~np.isnan(asked)).sum(0)
            value[some] = np.where(n > 0, np.nansum(asked, axis=0) / np.maximum(n, 1), np.nan)


def coherence(
    problem: Problem, position: np.ndarray, *, batch: int = 0, draws: Draws | None = None
) -> Coherence:
    """How well readers and plain readings find held-out peaks.

    Parameters
    ----------
    problem : Problem
        Must have letters.
    position : int64 [n, n_peaks]
        Rows of peaks, one a family; -1 = none.
    batch : int
        Which comparisons: those of another batch lie between them.
    draws : Draws, optional
    """
    around, settled = problem.around, draws or Draws()
    for column in _alike(around).values():  # made once, before rows are looked at side by side
        for by_sample in (False, True):
            around.alike(column, by_sample)
    give_back()

    def of_rows(low: int) -> Coherence:
        rng = np.random.default_rng([batch, 0xC0] if low == 0 else [batch, 0xC0, low])
        return _coherence(around, position[low : low + ROWS], batch, settled, rng)

    return Coherence.joined(
        list(distributed.spread(range(0, max(len(position), 1), ROWS), of_rows, threads=True))
    )


def _alike(around: Surroundings) -> dict[str, str]:
    """What the peaks' own class is of, by the column of :func:`coherence` that asks for it."""
    return {"matched": "letters", **{f"same_{name}": name for name in SHARED if around.backbone}}


def _coherence(
    around: Surroundings, position: np.ndarray, batch: int, draws: Draws, rng: np.random.Generator
) -> Coherence:
    """Of some rows, which have nothing to do with the others."""
    at = around.padded(position)
    readers = [reader for reader in READERS if len(getattr(around, reader.column))]
    other = spread_over(around, at, draws.compared, batch)
    alike = _alike(around)
    beside = {name: _of_same_class(around, of, at, draws.matched, batch) for name, of in alike.items()}
    real, part = at >= 0, np.arange(at.shape[1]) % N_PARTS
    inner = np.stack([real & (part == k) for k in range(N_PARTS)])
    outer = np.stack([real & (part != k) for k in range(N_PARTS)])
    peaks = FitData(around, at, other[..., 0], np.concatenate([inner, outer]))
    # The motif comes first: where it is good nothing else is asked, where others are hardly better it stays.
    tried, models = np.full((len(readers), N_PARTS, len(at)), np.nan), []
    rows, some = np.arange(len(at)), peaks
    for r, reader in enumerate(readers):
        models.append(reader.fit(some))
        tried[r][:, rows] = _tried(reader, models[r][:N_PARTS], some, other[rows, :, : draws.tried], part)
        if r == 0:
            rows = np.flatnonzero((tried[0] < GOOD).any(0))
            some = peaks.rows(rows)
    challenged = np.nan_to_num(tried) - MARGIN * (np.arange(len(readers)) > 0)[:, None, None]
    choice = np.where(tried[0] >= GOOD, 0, np.argmax(challenged, axis=0))
    scores = _Scores(at, draws, beside)
    for r, reader in enumerate(readers):
        for k, model in enumerate(models[r][N_PARTS:]):
            mine = np.flatnonzero(choice[k] == r)
            cells = np.ix_(mine, np.flatnonzero(part == k))
            own = tuple(x[np.searchsorted(rows, mine) if r else mine] for x in model)
            scores.own[cells] = reader.score(around, at[cells], own)
            scores.other[cells] = _many(reader.score, around, other[cells], own)
            for name, drawn in beside.items():
                scores.against[name][cells] = _many(reader.score, around, drawn[cells], own)
            scores.order[cells] = _shuffled(reader, around, at[cells], own, draws.shuffled, rng)
    auroc, moved = _auroc(scores.own, scores.other, at, part)
    spread = _half_width(auroc, moved, real.sum(1))
    found = {"reader": (auroc, moved), **_plain(around, at, other, outer, part)}
    for name, others in {"order": scores.order, **scores.against}.items():
        found[name] = _auroc(scores.own, others, at, part)
    names, columns = (
        np.array([reader.name for reader in readers], object),
        (*COLUMNS, *(OF_BACKBONE if around.backbone else ())),
    )
    votes = (choice[..., None] == np.arange(len(readers))).sum(0)
    return Coherence(
        np.column_stack([found[name][0] for name in columns]),
        np.stack([found[name][1] for name in columns], axis=1).astype(np.float32),
        names[np.argmax(votes, axis=1)],
        np.clip(auroc - spread, 0, 1),
        np.clip(auroc + spread, 0, 1),
        {str(name): value for name, value in zip(names, tried.mean(1))},
    )


class _Scores:
    """Scores of the chosen readers: of peaks, and of what they are compared with."""

    def __init__(self, at: np.ndarray, draws: Draws, beside: Iterable[str]) -> None:
        self.own, self.order = np.zeros(at.shape), np.zeros((*at.shape, draws.shuffled))
        self.other = np.zeros((*at.shape, draws.compared))
        self.against = {name: np.zeros((*at.shape, draws.matched)) for name in beside}


def describe(problem: Problem, position: np.ndarray, name: str) -> Says:
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
    other = spread_over(around, at, 1)
    model = reader.fit(FitData(around, at, other[..., 0], at[None] >= 0))[0]
    return {"name": name, **reader.says(around, at, model)}


def _many(
    score: Callable[..., np.ndarray], around: Surroundings, at: np.ndarray, *model: Model
) -> np.ndarray:
    """Scores of several positions a peak."""
    return score(around, at.reshape(len(at), at.shape[1] * at.shape[2]), *model).reshape(at.shape)


def _tried(
    reader: Reader, models: Sequence[Model], peaks: FitData, other: np.ndarray, part: np.ndarray
) -> np.ndarray:
    """For each part [n_parts, n]: AUROC in the other two, each read by what was fitted on the other."""
    reached = np.zeros((N_PARTS, N_PARTS, len(peaks.at)))
    for k, model in enumerate(models):
        rest = np.flatnonzero(part != k)
        at, beside = peaks.at.take(rest, axis=1), other.take(rest, axis=1)
        own, others = reader.score(peaks.around, at, model), _many(reader.score, peaks.around, beside, model)
        for j in range(N_PARTS):
            if j != k:
                mine = np.flatnonzero(part[rest] == j)
                reached[k, j] = _auroc(*(x.take(mine, axis=1) for x in (own, others, at)))[0]
    return np.stack(
        [
            sum(reached[k, j] for k in range(N_PARTS) for j in range(N_PARTS) if len({c, j, k}) == N_PARTS)
            / 2
            for c in range(N_PARTS)
        ]
    )


def _shuffled(
    reader: Reader, around: Surroundings, at: np.ndarray, model: Model, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Scores of windows whose letters are shuffled [n_rows, n_peaks, n]."""
    out = np.zeros((*at.shape, n))
    for k in range(n if at.size else 0):
        for low in range(0, len(at), SHUFFLED):
            some = slice(low, low + SHUFFLED)
            mixed, where = around.shuffled(at[some], reader.reach, rng)
            out[some, :, k] = reader.score(mixed, where, tuple(x[some] for x in model))
    return out


def _plain(
    around: Surroundings, at: np.ndarray, other: np.ndarray, outer: np.ndarray, part: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """AUROC of the plain readings, and by how much each family moves it."""
    reach = {"composition": AROUND, "centre": 0}
    names = (*reach, "position", "conservation", *around.backbone)
    scores = {name: (np.zeros(at.shape), np.zeros(other.shape)) for name in names}
    for k, train in enumerate(outer):
        mine = np.flatnonzero(part == k)
        place = fit_place(around, at, other[..., 0], train)
        for name in names:
            if name in reach:
                odds = fit_unordered(around, at, train, reach[name])
                score = partial(score_unordered, odds=odds, reach=reach[name])
            elif name in around.backbone:
                odds = fit_classes(around, at, other[..., 0], train, name)
                score = partial(score_classes, odds=odds, name=name)
            else:
                score = partial(score_place, odds=place) if name == "position" else score_conservation
            scores[name][0][:, mine] = score(around, at.take(mine, axis=1))
            scores[name][1][:, mine] = _many(score, around, other.take(mine, axis=1))
    return {name: _auroc(*pair, at, part) for name, pair in scores.items()}


def _even(n_peaks: int, n: int, batch: int) -> np.ndarray:
    """Numbers [n_peaks, n] from 0 to 1, the first few as evenly spread as all (Kronecker's sequence)."""
    return (np.arange(n_peaks)[:, None] * APART + (batch * n + np.arange(n)) * GOLDEN) % 1


def spread_over(around: Surroundings, at: np.ndarray, n: int, batch: int = 0) -> np.ndarray:
    """Positions [n_rows, n_peaks, n] all over the samples of the peaks; -1 where there is no peak."""
    known = np.maximum(at, 0)
    before, behind = around.from_ends(known)
    first, length = (known - before)[..., None], (before + behind + 1)[..., None]
    drawn = first + (_even(at.shape[1], n, batch) * length).astype(np.int64)
    return np.where(at[..., None] >= 0, np.minimum(drawn, first + length - 1), NONE)


def _of_same_class(around: Surroundings, of: str, at: np.ndarray, n: int, batch: int) -> np.ndarray:
    """Positions [n_rows, n_peaks, n] that hold the peak's letter or class, in its sample or, where it is alone, in any."""
    known = np.where(at >= 0, at, at.max(initial=0))
    out = np.full((*at.shape, n), NONE)
    for by_sample in (False, True):
        alike = around.alike(of, by_sample)
        first, count = alike.group(around.key(of, by_sample, known))
        step = (_even(at.shape[1], n, batch) * (count[..., None] - 1)).astype(np.int64)
        # The peak itself is stepped over.
        step += step >= alike.rank(known, first, count)[..., None]
        drawn = alike.order[np.minimum(first[..., None] + step, len(alike.order) - 1)]
        out = np.where((count > 1)[..., None], drawn, out)
    return np.where(at[..., None] >= 0, out, NONE)


def _auroc(
    own: np.ndarray, other: np.ndarray, at: np.ndarray, part: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """AUROC [n] within parts, and by how much each family moves it [n, n_peaks].

    A family moves it by its peak and by what stands for it among the others (DeLong 1988).
    """
    part = np.zeros(at.shape[1], np.int64) if part is None else part
    mine, theirs, known = np.zeros(at.shape), np.zeros(at.shape), at >= 0
    _place(own, other, at, part, mine, theirs)
    n = known.sum(1)
    value = np.where(n > 0, np.where(known, mine, 0).sum(1) / np.maximum(n, 1), 0.5)
    return value, np.where(known, mine + theirs - 2 * value[:, None], 0) / np.maximum(n, 1)[:, None]


def _half_width(value: np.ndarray, moved: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Of the 95% interval over families. One more that says nothing stands in it, so that none is of no width."""
    n = np.maximum(n, 1)
    variance = (moved**2).sum(1) + ((value - 0.5) / n) ** 2
    return student.ppf(0.975, np.maximum(n - 1, 1)) * np.sqrt(variance)


@compiled
def _place(own, other, at, part, mine, theirs) -> None:
    """Share of others that each peak beats, and share of peaks that beat each family's others, within parts."""
    n_peaks, n_others = other.shape[1], other.shape[2]
    for i in range(other.shape[0]):
        for p in range(n_peaks):
            if at[i, p] < 0:
                continue
            for q in range(n_peaks):
                if at[i, q] < 0 or part[q] != part[p]:
                    continue
                # Whole numbers: one look at each pair serves both, and no order of the sum matters.
                x, twice = own[i, p], 0
                for y in other[i, q]:
                    twice += 2 * (y < x) + (y == x)
                mine[i, p] += twice / 2
                theirs[i, q] += twice / 2
        for p in range(n_peaks):
            n = 0
            for q in range(n_peaks):
                n += at[i, q] >= 0 and part[q] == part[p]
            mine[i, p] /= max(n, 1) * n_others
            theirs[i, p] /= max(n, 1) * n_others
