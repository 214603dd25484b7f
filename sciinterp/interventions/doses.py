"""Doses of a direction: what each does to the judge's score and off target, and the search for one level of divergence.

Divergence grows with a power of the dose that is near two for small doses and far steeper where letters tip over. The
next dose is where the line through the two nearest ones known, on logarithms of both, meets the level; a dose that misses
the level by little is carried there along that line. Of many samples a few, of as many families as there are, are asked
first: the dose found on them is where the search on all begins. A direction's search begins with dose and slope of the one
before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sciinterp.interventions.aims import Aim, judged
from sciinterp.interventions.effect import divergence, hidden, scored_tokens
from sciinterp.interventions.reading import batches
from sciinterp.interventions.writing import direction_edit, rows_at, writing
from sciinterp.models import Batch, CanMask, HasLogits, capture
from sciinterp.models.site import scored_spans
from sciinterp.samples import Samples

if TYPE_CHECKING:
    from sciinterp.models import Adapter

# The first dose and the largest, in units of the site's spread (root mean square distance from the mean activation).
FIRST, LARGEST = 0.5, 8.0
# A level of divergence is met where no more than this share of the dose leads there, or between two doses whose divergences
# are each within the last factor of it: gains are interpolated. A dose that misses the level by more than the factor between
# is not carried: neither gain nor divergence goes on as it began (a gain that has saturated falls with the dose).
CARRY, NEAR, BETWEEN = 0.1, 1.4, 3.0
# Of a small dose divergence is the square; near the level it is no steeper than this power.
SQUARE, STEEPEST = 2.0, 12.0
# Samples on which a dose is sought first, and how many times as many there must be for it to pay.
SCOUTS, PAYS = 4, 6


class Read(NamedTuple):
    """A direction at one level: gain of each sample, dose, divergence, whether the level was met, and all doses tried."""

    gain: np.ndarray
    dose: float
    divergence: float
    reached: bool
    tried: list[dict[str, float]]


class Stage:
    """One batch of an aim, run again and again: what is hidden, what is read, and the clean run.

    `numbers` says which samples of the aim are in the batch, in which what is read is hidden, where the model
    can hide it.
    """

    def __init__(self, model: Adapter, site: str, aim: Aim, numbers: np.ndarray, batch: Batch) -> None:
        self.model, self.site, self.aim, self.numbers, self.batch = model, site, aim, numbers, batch
        self.where = rows_at([aim.written[i] for i in numbers])
        self.about = scored_tokens(model, batch)
        self.spans = scored_spans(batch, self.about)
        self.off = ~rows_at([aim.target[i] for i in numbers])(self.spans)
        rows = torch.cat(capture(model, [site], self.batch)[site]).cpu().double()
        self.spread, self.n_rows = float((rows - rows.mean(0)).pow(2).sum()), len(rows)
        assert isinstance(model, HasLogits)
        words = [w.removeprefix("▁") for w in model.vocabulary]
        self.columns = [words.index(letter) for letter in aim.letters if letter in words]
        self.word = words.index(aim.judge) if isinstance(aim.judge, str) else None
        self.read = rows_at([aim.read[i] for i in numbers])(self.spans)
        self.uniform = [np.random.default_rng([int(i)]).random(int(aim.read[i].sum())) for i in numbers]
        self.clean = self.scores(None, 0.0)
        self.score = self.judged(self.clean)

    def scores(self, vector: Tensor | None, amount: float) -> Tensor:
        """Log probabilities [n, V] with so much of a direction written."""
        edits = []
        if vector is not None:
            edits = [direction_edit(self.site, vector[None], torch.tensor([amount]), where=self.where)]
        model = self.model
        assert isinstance(model, HasLogits)
        with torch.no_grad(), writing(model, edits):
            logits = model.logits(self.batch).float()
        return torch.log_softmax(logits[self.about.to(logits.device)], -1).cpu()

    def tried(self, vector: Tensor, amount: float) -> tuple[np.ndarray, float, int]:
        """Gain of each sample, and the sum of divergences off target with their number."""
        scores = self.scores(vector, amount)
        apart = divergence(self.clean[self.off], scores[self.off])
        return self.judged(scores) - self.score, float(apart.sum()), len(apart)

    def example(self, vector: Tensor, amount: float) -> dict[str, str | list[int]]:
        """The first sample, with the most probable letters where it is read, before and after."""
        sample, at = self.aim.samples[int(self.numbers[0])], np.flatnonzero(self.aim.read[self.numbers[0]])
        mine = self.read & (self.spans[:, 0] == 0)
        out = {"sample": sample.id, "positions": at.tolist(), "own": sample.sequence}
        for name, scores in (("before", self.clean), ("after", self.scores(vector, amount))):
            text = list(sample.sequence)
            best_letters = scores[mine][:, self.columns].argmax(1).tolist() if self.columns else ()
            for place, best in zip(at, best_letters):
                text[place] = self.aim.letters[best]
            out[name] = "".join(text)
        return out

    def judged(self, scores: Tensor) -> np.ndarray:
        """The judge's score of each sample."""
        owner = self.spans[self.read, 0].numpy()
        if self.word is not None:
            p = scores[self.read, self.word].double().exp().clamp(1e-12, 1 - 1e-12)
            return np.array([float(p[owner == row].logit().mean()) for row in range(len(self.numbers))])
        letters = torch.softmax(scores[self.read][:, self.columns], -1).double().numpy()
        parts = [letters[owner == row] for row in range(len(self.numbers))]
        if self.aim.judge is None:
            return np.array(
                [(p * self.aim.odds[i][: len(p)]).sum(1).mean() for p, i in zip(parts, self.numbers)]
            )
        drawn = []
        for p, i, u in zip(parts, self.numbers, self.uniform):
            text, at = list(self.aim.samples[int(i)].sequence), np.flatnonzero(self.aim.read[i])
            for place, q, x in zip(at, p, u):
                text[place] = self.aim.letters[min(int(np.searchsorted(np.cumsum(q), x)), len(q) - 1)]
            drawn.append("".join(text))
        names = [self.aim.samples.ids[i] for i in self.numbers]
        assert not isinstance(self.aim.judge, str)
        return judged(self.aim.judge, Samples(names, drawn, kind=self.aim.samples.kind))


class Tried(NamedTuple):
    """One dose: divergence off target in nats a token, and gain of each sample."""

    dose: float
    divergence: float
    gain: np.ndarray


class Start(NamedTuple):
    """Where a search begins: the first dose, and how steeply divergence grows there, as a power.

    ``rise`` is by how much the mean gain grows with the logarithm of the dose, where other samples have said it of this
    direction; their slope is this direction's, too. None: the slope is that of another direction.
    """

    dose: float = FIRST
    slope: float = SQUARE
    rise: float | None = None


def stages_of(model: Adapter, aim: Aim) -> tuple[list[tuple[np.ndarray, Batch]], int]:
    """The batches of an aim, with what is read hidden, and how many of them, the first, are asked before the others.

    These hold the first samples, which are of different families; none are where that would not pay.
    """
    hide = aim.read if isinstance(model, CanMask) else None
    n = len(aim.samples)
    few = SCOUTS if n >= PAYS * SCOUTS else 0
    found = []
    for lo, hi in ((0, few), (few, n)):
        given = batches(model, list(aim.samples)[lo:hi]) if hi > lo else ()
        found.append([(lo + at, hidden(model, batch, lo + at, hide)) for at, batch in given])
    return [*found[0], *found[1]], len(found[0])


def at_level(
    stages: Sequence[Stage],
    n_scouts: int,
    vector: Tensor,
    spread: float,
    *,
    start: Start,
    level: float,
    n_doses: int,
) -> tuple[Read, Start]:
    """A direction read at one level of divergence off target, and where the search for the next one begins.

    On the first `n_scouts` of all stages, which may be none, the dose is sought before. `spread` is the unit of
    doses, of which there are `n_doses` on all samples, and before that on the few, at most.
    """
    if n_scouts:
        known = _search(stages[:n_scouts], vector, spread, start, level, n_doses)
        dose, slope = _read(known, level, start).dose, _slope(known, level, start.slope)
        start = Start(dose, slope, _rise(known, level))
    known = _search(stages, vector, spread, start, level, n_doses)
    read = _read(known, level, start)
    return read, Start(read.dose, _slope(known, level, start.slope)) if read.reached else Start()


def _search(
    stages: Sequence[Stage], vector: Tensor, spread: float, start: Start, level: float, n_doses: int
) -> list[Tried]:
    """Doses until the level is met, smallest first; none at all is the first of them."""
    n = sum(len(stage.numbers) for stage in stages)
    known, dose = [Tried(0.0, 0.0, np.zeros(n))], start.dose
    for _ in range(n_doses):
        gain, total, count = np.zeros(n), 0.0, 0
        for stage in stages:
            some, apart, size = stage.tried(vector, dose * spread)
            gain[stage.numbers] = some
            total, count = total + apart, count + size
        apart = max(total / max(count, 1), 0.0)
        known.append(Tried(dose, apart, gain))
        known.sort(key=lambda one: one.dose)
        slope, nearest = _slope(known, level, start.slope), _nearest(known, level)[0]
        if _is_met(known, level, slope, start.rise is not None or len(known) > 2) or (
            dose >= LARGEST and apart < level
        ):
            break
        step = (level / max(nearest.divergence, 1e-12)) ** (1 / slope)
        dose = min(LARGEST, nearest.dose * float(np.clip(step, 0.1, 8.0)))
    return known


def _is_met(known: Sequence[Tried], level: float, slope: float, own: bool) -> bool:
    """Whether the level lies between two doses, or so near to one that it can be carried there."""
    ratio = np.array([one.divergence for one in known]) / level
    if ((ratio >= 1 / BETWEEN) & (ratio <= 1)).any() and ((ratio >= 1) & (ratio <= BETWEEN)).any():
        return True
    missed = abs(np.log(max(_nearest(known, level)[0].divergence, 1e-12) / level))
    # A slope that is another direction's may be as little as that of a square.
    return bool(missed <= np.log(NEAR) and missed / (slope if own else SQUARE) <= np.log1p(CARRY))


def _nearest(known: Sequence[Tried], level: float) -> list[Tried]:
    """Doses above zero that lie next to the level, the nearest first: one on either side where there are."""
    some = [one for one in known if one.dose > 0]
    above = next((i for i, one in enumerate(some) if one.divergence >= level), len(some))
    pair = some[max(above - 1, 0) : above + 1] if above < len(some) else some[-2:]
    if above == 0:
        pair = some[:2]
    return sorted(pair, key=lambda one: abs(np.log(max(one.divergence, 1e-12) / level)))


def _slope(known: Sequence[Tried], level: float, otherwise: float) -> float:
    """How steeply divergence grows with the dose near the level, as a power."""
    pair = _nearest(known, level)
    if len(pair) < 2 or pair[0].dose == pair[1].dose:
        return otherwise
    rise = np.diff(np.log([max(one.divergence, 1e-12) for one in pair]))
    return float(np.clip(rise / np.diff(np.log([one.dose for one in pair])), 1.0, STEEPEST)[0])


def _rise(known: Sequence[Tried], level: float) -> float | None:
    """By how much the mean gain grows with the logarithm of the dose near the level; None of one dose alone."""
    pair = _nearest(known, level)
    if len(pair) < 2 or pair[0].dose == pair[1].dose:
        return None
    (d0, _, g0), (d1, _, g1) = pair
    return float(g1.mean() - g0.mean()) / float(np.log(d1 / d0))


def _read(known: Sequence[Tried], level: float, start: Start) -> Read:
    """The gain at the level: between the doses on either side of it, or carried there from a dose that nearly meets it.

    It is carried as the gain grows with the dose, where that is known, else in proportion to the dose.
    """
    tried = [{"dose": d, "divergence": a, "gain": float(g.mean())} for d, a, g in known]
    above = next((i for i, one in enumerate(known) if one.divergence >= level), len(known))
    near = _nearest(known, level)[0]
    if 1 < above < len(known):
        (d0, a0, g0), (d1, a1, g1) = known[above - 1], known[above]
        # Between two doses the root of the divergence is nearly straight.
        share = float((np.sqrt(level) - np.sqrt(a0)) / (np.sqrt(a1) - np.sqrt(a0)))
        return Read(g0 + share * (g1 - g0), d0 + share * (d1 - d0), level, True, tried)
    if near.divergence < level / NEAR:
        return Read(near.gain, near.dose, near.divergence, False, tried)
    share = (level / near.divergence) ** (1 / _slope(known, level, start.slope))
    rise = _rise(known, level) if start.rise is None else start.rise
    far = rise is None or near.divergence > NEAR * level
    gain = share * near.gain if far else near.gain + rise * np.log(share)
    return Read(gain, share * near.dose, level, True, tried)
