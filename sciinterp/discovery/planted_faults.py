"""Planted worlds whose sources or readers are at fault, and the calibration that is fitted on them.

:func:`sciinterp.discovery.planted.plant` draws a world where what is annotated is right and what is hidden is hidden by
families. Sources and dictionaries do worse, and a probability has to hold there too:

* *plain*: the world as it is, of few or many families;
* *look-alikes*: the readers of some concepts also fire on instances of another one, at 0.4 to 1 of the strength;
* *bounds*: annotations are moved, shortened and lengthened by a third of their length;
* *label noise*: one annotation in ten stands anywhere;
* *by sample*: instances are left out one by one, so that samples with one listed hold others that are not;
* *singletons*: families of one or two; *long*: samples of 150 to 320 positions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.annotations import Annotations
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.intervals import positions_in
from sciinterp.discovery.left_out import Calibration, Marks
from sciinterp.discovery.logistic import fit_logistic
from sciinterp.discovery.missing import find_spans
from sciinterp.discovery.planted import STATED, Planted, PlantedSettings, plant, under_one_name
from sciinterp.discovery.positive_unlabelled import fit_mixture
from sciinterp.discovery.problem import Problem, make_problem
from sciinterp.discovery.recover import meets_hidden
from sciinterp.errors import no_such
from sciinterp.settings import plain_value

SMALL = PlantedSettings(
    n_masked=6, n_novel=3, n_merged=2, n_plain=4, n_features=110, n_seeds=0, members=(2, 6)
)

SEEDS = range(42)  # of the stored calibration: 84 worlds, twelve of each kind
# Of the one that a test fits again: two worlds that are smaller still.
SMALLER = {"n_families": 30, "n_masked": 3, "n_novel": 0, "n_merged": 0, "n_plain": 1, "n_features": 40}
LEAST = 0.02  # of the mixture's probability, below which a span says nothing


def faulty(kind: str, seed: int, *, hide: bool = True, **smaller: object) -> Planted:
    """A small world of one kind of fault (a key of :data:`FAULTS`), with a tenth to nearly half of instances hidden.

    Fields of :class:`~sciinterp.discovery.planted.PlantedSettings` are given by name to make it smaller still.
    """
    if kind not in FAULTS:
        raise no_such("fault", kind, FAULTS)
    rng = np.random.default_rng([plain_value(seed, int, "seed"), 77])
    settings = replace(
        SMALL,
        hide=hide,
        n_families=int(rng.integers(50, 110)),
        hidden_fraction=float(rng.choice([0.1, 0.2, 0.3, 0.45])),
        noise=float(rng.choice([0.003, 0.006, 0.015])),
    )
    if kind == "singletons":
        settings = replace(settings, members=(1, 3), n_families=150)
    elif kind == "long":
        settings = replace(settings, length=(150, 320), n_families=45)
    return FAULTS[kind](plant(seed, replace(settings, **smaller)), rng)


def _as_it_is(world: Planted, rng: np.random.Generator) -> Planted:
    return world


def _look_alikes(world: Planted, rng: np.random.Generator) -> Planted:
    samples, names = world.features.samples, list(world.readers)
    parts = []
    for name in names:
        other = names[rng.integers(len(names))]
        if ("masked" not in name and "plain" not in name) or rng.random() < 0.4 or other == name:
            continue
        table = world.instances[world.instances["concept"] == other]
        number = np.array([samples.index(s) for s in table["sample"]], np.int64)
        family = world.split.family[number]
        some = rng.permutation(np.unique(family))
        chosen = np.isin(family, some[: max(2, int(0.4 * len(some)))])
        start = (samples.offsets[number] + table["start"].to_numpy())[chosen]
        end = (samples.offsets[number] + table["end"].to_numpy())[chosen]
        strength = rng.uniform(0.4, 1.0)
        for feature in world.readers[name]:
            hit = rng.random(len(start)) < 0.7 * strength
            _, where = positions_in(start[hit], end[hit])
            where = where[rng.random(len(where)) < 0.75]
            parts.append(
                (strength * 2.5 * rng.gamma(6, 1 / 6, len(where)), where, np.full(len(where), feature))
            )
    if not parts:
        return world
    value, row, column = (np.concatenate(x) for x in zip(*parts))
    codes = world.features.by_sample(np.arange(len(samples)))
    more = sp.coo_array((value.astype(np.float32), (row, column)), shape=codes.shape)
    return replace(world, features=FeatureMatrix(sp.csr_array(codes + more), samples))


def _with_frame(world: Planted, frame: pd.DataFrame) -> Planted:
    """The same world with other annotations."""
    frame = frame.drop_duplicates(["sample", "start", "end", "concept"])
    return replace(world, annotations=Annotations(frame, concepts=world.annotations.concepts))


def _lengths(world: Planted, frame: pd.DataFrame) -> np.ndarray:
    samples = world.features.samples
    return samples.lengths[[samples.index(s) for s in frame["sample"]]]


def _bounds(world: Planted, rng: np.random.Generator) -> Planted:
    frame = world.annotations.frame.copy()
    n, most = (frame["end"] - frame["start"]).to_numpy(), _lengths(world, frame)
    start = np.clip(frame["start"] + np.round(rng.normal(0, 0.3 * n + 0.5)).astype(int), 0, most - 1)
    longer = np.maximum(1, n + np.round(rng.normal(0, 0.2 * n)).astype(int))
    return _with_frame(world, frame.assign(start=start, end=np.minimum(start + longer, most)))


def _label_noise(world: Planted, rng: np.random.Generator) -> Planted:
    frame = world.annotations.frame.copy()
    n, most = (frame["end"] - frame["start"]).to_numpy(), _lengths(world, frame)
    anywhere = (rng.random(len(frame)) * (most - n)).astype(int)
    start = np.where(rng.random(len(frame)) < 0.1, anywhere, frame["start"])
    return _with_frame(world, frame.assign(start=start, end=start + n))


def _by_sample(world: Planted, rng: np.random.Generator) -> Planted:
    if not world.settings.hide:
        return world
    table = world.instances
    masked = table["concept"].str.startswith("planted:masked").to_numpy()
    gone = masked & (rng.random(len(table)) < world.settings.hidden_fraction)
    shown = table[~gone & ~table["concept"].str.startswith("planted:novel").to_numpy()]
    shown = under_one_name(shown).assign(**STATED)
    return replace(_with_frame(world, shown), missing=table[gone].reset_index(drop=True))


FAULTS: dict[str, Callable[[Planted, np.random.Generator], Planted]] = {
    "plain": _as_it_is,
    "look-alikes": _look_alikes,
    "bounds": _bounds,
    "label noise": _label_noise,
    "by sample": _by_sample,
    "singletons": _as_it_is,
    "long": _as_it_is,
}


def marks_in(world: Planted, problem: Problem) -> list[tuple[Marks, np.ndarray]]:
    """The marks of every concept that is not refused, and which of its unlabelled ones are instances left out."""
    out = []
    for spans in find_spans(problem, problem.names).values():
        if isinstance(spans, str) or spans.known.all():
            continue
        open_ = ~spans.known
        rows = problem.located(spans.start[open_], spans.end[open_], spans.concept)
        family, score = problem.family[problem.sample_of[spans.start]], spans.score
        marks = Marks(
            score[spans.known],
            score[open_],
            family[spans.known],
            family[open_],
            spans.beside[open_],
            spans.share,
        )
        out.append((marks, meets_hidden(rows, world.missing, problem.samples)))
    return out


def fit_calibration(
    seeds: Iterable[int], kinds: Iterable[str] = tuple(FAULTS), **smaller: object
) -> Calibration:
    """The coefficients of :mod:`sciinterp.discovery.left_out`, from worlds with and without something hidden.

    Kinds take turns over the seeds, as worlds of one seed share how many families there are and how much is hidden.
    """
    found, turns = [], tuple(kinds)
    for seed, hide in product(seeds, (True, False)):
        world = faulty(turns[seed % len(turns)], seed, hide=hide, **smaller)
        problem = make_problem(world.features, world.annotations, world.split)
        found += marks_in(world, problem)
    return fitted_on(found)


def fit_sample() -> Calibration:
    """The same on two small worlds, which a test draws again."""
    return fit_calibration([0], ["by sample"], **SMALLER)


def fitted_on(found: list[tuple[Marks, np.ndarray]]) -> Calibration:
    """The coefficients, from marks and which of the unlabelled ones are instances left out."""
    concepts, hidden, spans, truths = [], [], [], []
    for marks, truth in found:
        mixture = fit_mixture(marks)
        concepts.append(marks.of_concept(mixture.ratio))
        hidden.append(bool(truth.any()))
        if hidden[-1]:
            p = mixture.probability(marks.unlabelled)
            rows = marks.of_spans(p, marks.beside.astype(float), marks.kin.astype(float))
            spans.append(rows[p > LEAST])
            truths.append(truth[p > LEAST])
    return Calibration(
        tuple(fit_logistic(np.array(concepts), np.array(hidden), ridge=2.0).round(3).tolist()),
        tuple(fit_logistic(np.vstack(spans), np.concatenate(truths), ridge=3.0).round(3).tolist()),
        round(float(np.mean(hidden)), 3),
    )


if __name__ == "__main__":
    sys.stdout.write(f"CALIBRATION = {fit_calibration(SEEDS)}\nSAMPLE = {fit_sample()}\n")
