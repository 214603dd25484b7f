"""What turning a concept on would mean, in letters: where it is written, where it is read, and by whom it is judged.

The judge knows nothing of the model. It is a letter profile of *training* families: at each place of the concept's spans,
the log odds of a letter there against the composition of all training letters (a position weight matrix). The odds are
not those against the alternative: letters of neither would then score half way between the two, so that whatever wipes
a place out would seem to turn the concept on. Against the composition they score as low as the alternative's.

Where other concepts of the same kind take the same place (``FR3:IGHV1`` and ``FR3:IGHV3``: same length, never in one
sample), the samples are held-out ones that carry such an alternative, the place is its span, and the *target* is the
positions where the two profiles differ. Elsewhere a window of the concept's length is put at random outside it, and all
of it is the target. What changes outside the target is damage, in the same span, too.

Half of the target is read, and hidden from the model where it can hide positions: a letter that it sees it repeats.

A model with a head over words that are no letters (SpliceAI) is read by such a word: its log odds at the positions read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.random import Generator

from sciinterp.annotations import Annotations
from sciinterp.errors import InputError
from sciinterp.samples import Samples, Split

# Letter counts get this much of the composition, so that a letter never seen has odds.
PSEUDOCOUNT = 1.0
# Half the sum of differences of two profiles from which a position is one where they differ.
DIFFER = 0.5
# Spans of one length from which positions of spans are compared one by one; else their composition is.
ALIKE = 0.5
# Instances a profile needs, and the longest window that is put somewhere.
MIN_SPANS, MAX_WINDOW = 10, 24

# Score of each of some samples: any function, of sequences, that knows nothing of the model.
Judge = Callable[[Samples], np.ndarray]


def judged(judge: Judge, samples: Samples) -> np.ndarray:
    """float64 [n]: a judge's scores; InputError where it gave something else than one number a sample."""
    found = np.asarray(judge(samples))
    if found.shape != (len(samples),) or found.dtype.kind not in "fiub":
        raise InputError(
            "a judge gives one number a sample",
            where="judge",
            expected=str(len(samples)),
            got=f"{found.dtype} of shape {list(found.shape)}",
        )
    return found.astype(np.float64)


@dataclass(frozen=True, eq=False)
class Aim:
    """A concept to be turned on in some samples."""

    concept: str
    instead_of: str  # the alternatives it is compared with
    samples: Samples
    numbers: np.ndarray  # int [n]: their numbers among all samples
    family: np.ndarray  # int [n]: the family of each
    written: tuple[np.ndarray, ...]  # bool [n_positions] each: where it is written
    target: tuple[np.ndarray, ...]  # likewise, where its letters differ from those there
    read: tuple[np.ndarray, ...]  # likewise, which of these are read (and hidden)
    letters: str
    odds: tuple[
        np.ndarray, ...
    ]  # float [n_read, n_letters] each: log odds of each letter at each position read
    # In place of the odds: scores the samples with letters drawn at the positions that are
    # read, or a word of the model's own head.
    judge: Judge | str | None = None


def aim_at(
    concept: str,
    annotations: Annotations,
    samples: Samples,
    split: Split,
    *,
    letters: str,
    n_samples: int = 12,
    seed: int = 0,
    judge: Judge | str | None = None,
) -> Aim | str:
    """The aim of a concept: held-out samples without it, spread over families; or why there is none.

    `letters` are those that are compared; `judge` is in place of letter profiles.
    """
    spans = _spans(annotations, samples)
    if concept not in set(spans["concept"]):
        raise InputError("there is no such concept on these samples", where=f"concept {concept!r}")
    rng = np.random.default_rng([seed, *concept.encode()])
    training = spans[np.isin(spans["sample"], split.train)]
    mine = training[training["concept"] == concept]
    if len(mine) < MIN_SPANS:
        return f"{len(mine)} instances in training families, {MIN_SPANS} are needed for a profile"
    size = mine["end"] - mine["start"]
    length = int(size.mode().iloc[0])
    aligned = bool((size == length).mean() >= ALIKE)
    counts = _letter_counts(samples, split.train, letters)
    plain = counts / counts.sum()
    profile = _profile(samples, mine, length, letters, plain, aligned)
    odds = np.log(profile / plain)
    others = _alternatives(concept, training, length) if aligned else []
    held = spans[np.isin(spans["sample"], split.test)]
    with_it = set(held.loc[held["concept"] == concept, "sample"])
    places: list[tuple[int, int, np.ndarray, np.ndarray]] = []
    if others:
        against = {
            name: _profile(samples, training[training["concept"] == name], length, letters, plain, True)
            for name in others
        }
        for number, start, end, name in held[["sample", "start", "end", "concept"]].itertuples(index=False):
            if name in against and end - start == length and number not in with_it:
                differ = np.abs(profile - against[name]).sum(1) / 2 >= DIFFER
                if differ.any():
                    places.append((number, start, differ, odds))
    else:
        every = np.ones(len(profile), bool)
        busy = held[held["concept"] == concept].groupby("sample")[["start", "end"]]
        taken = {n: g.to_numpy() for n, g in busy}
        for number in split.test.tolist():
            start = _free_start(int(samples.lengths[number]), len(profile), taken.get(number), rng)
            if start is not None:
                places.append((number, start, every, odds))
    if not places:
        return "no sample of the test families without it has a place for it"
    chosen = _spread([p[0] for p in places], split.family, n_samples, rng)
    made = [_placed(samples, places[i], len(profile), rng) for i in chosen]
    written, target, read, scores = (tuple(m[i] for m in made) for i in range(4))
    numbers = np.array([places[i][0] for i in chosen])
    return Aim(
        concept, ", ".join(others) or "any letters", samples.subset(numbers), numbers, split.family[numbers],
        written, target, read, letters, scores, judge,
    )  # fmt: skip


def _spans(annotations: Annotations, samples: Samples) -> pd.DataFrame:
    """Intervals on the samples: number of the sample, start, end, concept."""
    found = annotations.instances(samples)
    base = samples.offsets[found["sample"].to_numpy()]
    names = np.array(annotations.position_names, object)[found["concept"].to_numpy()]
    columns = {"sample": found["sample"], "start": found["start"] - base, "end": found["end"] - base}
    return pd.DataFrame({**columns, "concept": names})


def _letter_counts(samples: Samples, numbers: np.ndarray, letters: str) -> np.ndarray:
    text = "".join(samples[int(i)].sequence for i in numbers)
    return np.array([text.count(letter) for letter in letters], float) + 1


def _profile(
    samples: Samples, spans: pd.DataFrame, length: int, letters: str, plain: np.ndarray, aligned: bool
) -> np.ndarray:
    """float64 [n_positions, n_letters]: letters at each position of spans of one length, or their composition."""
    column = {letter: i for i, letter in enumerate(letters)}
    n = length if aligned else min(length, MAX_WINDOW)
    counts = np.tile(PSEUDOCOUNT * plain, (n, 1))
    for number, start, end in spans[["sample", "start", "end"]].itertuples(index=False):
        if aligned and end - start != length:
            continue
        for i, letter in enumerate(samples[int(number)].sequence[start:end]):
            if letter in column:
                counts[i if aligned else slice(None), column[letter]] += 1
    return counts / counts.sum(1, keepdims=True)


def _alternatives(concept: str, training: pd.DataFrame, length: int) -> list[str]:
    """Concepts of the same kind that take the same place: spans of one length, never in one sample with it."""
    kind = concept.partition(":")[0] + ":"
    mine = set(training.loc[training["concept"] == concept, "sample"])
    found = []
    for name, part in training[training["concept"].str.startswith(kind)].groupby("concept"):
        size = part["end"] - part["start"]
        if name != concept and (size == length).sum() >= MIN_SPANS and mine.isdisjoint(part["sample"]):
            found.append(str(name))
    return found


def _free_start(n: int, length: int, taken: np.ndarray | None, rng: Generator) -> int | None:
    """A start of a window that touches none of the intervals taken."""
    if n < 2 * length:
        return None
    for start in rng.permutation(n - length + 1).tolist():
        if taken is None or not ((taken[:, 0] < start + length) & (start < taken[:, 1])).any():
            return start
    return None


def _spread(numbers: list[int], family: np.ndarray, n: int, rng: Generator) -> list[int]:
    """Places of ``n`` samples, one a sample, as many families as there are: the families take turns."""
    order = rng.permutation(len(numbers))
    first = [i for i in order if i == next(j for j in order if numbers[j] == numbers[i])]
    turn: dict[int, int] = {}
    keyed = []
    for i in first:
        own = int(family[numbers[i]])
        turn[own] = turn.get(own, 0) + 1
        keyed.append((turn[own], len(keyed), int(i)))
    return [i for _, _, i in sorted(keyed)[:n]]


def _placed(
    samples: Samples, place: tuple[int, int, np.ndarray, np.ndarray], length: int, rng: Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where it is written in one sample, its target, the half of it that is read, and the odds there."""
    number, start, differ, odds = place
    n = int(samples.lengths[number])
    written, target, read = (np.zeros(n, bool) for _ in range(3))
    written[start : start + length] = True
    open_ = np.flatnonzero(differ)
    chosen = np.sort(rng.choice(open_, max(1, (len(open_) + 1) // 2), replace=False))
    target[start + open_], read[start + chosen] = True, True
    return written, target, read, odds[chosen]
