"""Worlds for association: codes and annotations whose relation is known, because it was made.

Nothing here is a sequence: codes and annotations are placed on samples of stated lengths. Every feature and every
concept is one *process*: a family has it or not, a family that has it shows it at some homologous sites, as many as its
length allows, and members miss or add sites of their own. Processes are drawn one by one from random streams of their
own, so that two of them share nothing but the families and their lengths: in :func:`unrelated` features and concepts are
independent given length, and both grow with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.random import Generator

from sciinterp.annotations import Annotations
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.intervals import positions_in
from sciinterp.samples import Samples, Split

Spans = tuple[np.ndarray, np.ndarray, np.ndarray]  # sample, start and end of instances
Codes = tuple[np.ndarray, np.ndarray]  # positions and values of a feature
SLOT = 8  # positions of a slot of the worlds of rivals
SLOTS = 14  # of a sample there
OWN = 0.03  # sites of its own that a member has, on 100 positions
CARRIED, LOST = 0.1, 0.1  # share of a family's slots that carry a concept; share of them that a member lost


@dataclass(frozen=True)
class Collection:
    """How many families there are, how large, how long, and how long things are on them.

    Parameters
    ----------
    n_families : int
    members : tuple of int
        Fewest and most members; log-uniform between them.
    length : tuple of int
        Shortest and longest family; log-uniform between them. Members differ by a twentieth.
    n_features, n_concepts : int
    run, span : float
        Mean number of positions that a feature fires, and that an instance covers.
    copies : int
        Nearly equal copies of every feature.
    carriers : tuple of int, optional
        Fewest and most families that carry a concept, drawn by length; by default a fifth to six tenths of them.
    """

    n_families: int = 60
    members: tuple[int, int] = (5, 5)
    length: tuple[int, int] = (60, 600)
    n_features: int = 24
    n_concepts: int = 12
    run: float = 5.0
    span: float = 8.0
    copies: int = 1
    carriers: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class AssociationWorld:
    """Codes, annotations and a split, with the pairs of feature and concept that belong together.

    Attributes
    ----------
    features : FeatureMatrix
    annotations : Annotations
    split : Split
    planted : dict
        Concept -> the feature that reads it.
    rivals : tuple of FeatureMatrix
        Other readers of the same concepts, column by column.
    truth : dict
        Concept -> the F1 of its feature over the families that could have been drawn.
    leading : set of str
        Concepts whose feature is truly better than every rival.
    """

    features: FeatureMatrix
    annotations: Annotations
    split: Split
    planted: dict[str, int]
    rivals: tuple[FeatureMatrix, ...] = ()
    truth: dict[str, float] = field(default_factory=dict)
    leading: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class _Places:
    """Samples laid end to end, with the family of each."""

    samples: Samples
    family: np.ndarray
    length: np.ndarray  # of families
    split: Split


def unrelated(seed: int, collection: Collection | None = None) -> AssociationWorld:
    """Features and concepts that have nothing to do with each other, given length.

    Examples
    --------
    >>> world = unrelated(0, Collection(n_families=10, n_features=3, n_concepts=2))
    >>> world.features.n_features, world.planted
    (3, {})
    """
    chosen = collection or Collection()
    places = _places(seed, chosen)
    spans = [_spans(places, chosen, np.random.default_rng([seed, 2, c])) for c in range(chosen.n_concepts)]
    codes = _features(seed, places, replace(chosen, n_features=chosen.n_features // chosen.copies))
    if chosen.copies > 1:
        codes = [
            _copy(c, np.random.default_rng([seed, 3, j, k]))
            for j, c in enumerate(codes)
            for k in range(chosen.copies)
        ]
    return AssociationWorld(_matrix(codes, places), _annotations(spans, places), places.split, {})


def planted(
    seed: int, collection: Collection, *, n_carriers: int, recall: float, n_planted: int = 4
) -> AssociationWorld:
    """As :func:`unrelated`, but the first concepts are each read by one feature.

    Parameters
    ----------
    seed : int
    collection : Collection
    n_carriers : int
        Families that carry each of these concepts.
    recall : float
        Share of their instances that the feature marks; elsewhere it fires where single members have sites of their own.
    n_planted : int
    """
    places = _places(seed, collection)
    few = replace(collection, carriers=(n_carriers, n_carriers))
    spans = [
        _spans(places, few if c < n_planted else collection, np.random.default_rng([seed, 2, c]))
        for c in range(collection.n_concepts)
    ]
    codes = _features(seed, places, collection, spans[:n_planted], recall)
    pairs = {_name(c): c for c in range(n_planted)}
    return AssociationWorld(_matrix(codes, places), _annotations(spans, places), places.split, pairs)


def rotated(seed: int, collection: Collection | None = None) -> AssociationWorld:
    """Concepts that features read, with every family's annotations moved along its samples.

    Which families carry a concept stays; where it lies is by chance. The shift is a share of the length, from 0.15 to
    0.85, and the same for all members.
    """
    chosen = collection or Collection(n_concepts=8)
    places = _places(seed, chosen)
    spans = [_spans(places, chosen, np.random.default_rng([seed, 2, c])) for c in range(chosen.n_concepts)]
    codes = _features(seed, places, chosen, spans, 0.85)
    share = np.random.default_rng([seed, 4]).uniform(0.15, 0.85, len(places.length))
    moved = []
    for sample, start, end in spans:
        length = places.samples.lengths[sample]
        size = end - start
        first = (start + np.round(share[places.family[sample]] * length).astype(np.int64)) % length
        first = np.minimum(first, length - size)
        moved.append((sample, first, first + size))
    return AssociationWorld(_matrix(codes, places), _annotations(moved, places), places.split, {})


def rivals(
    seed: int, *, n_test: int, n_concepts: int = 18, n_rivals: int = 1, lead: int = 0, n_train: int = 30
) -> AssociationWorld:
    """A feature a concept, and rival readers of the same strength: the true difference is 0.

    A sample is a row of slots. A family's slot carries a concept with probability 0.1 and all its members with it,
    but for one in ten that lost it. In every family each reader marks its own share of the instances and of the other
    slots, drawn from one distribution for feature and rivals alike, and half of the slots it reads as a common reader
    does, so that they are exchangeable and correlated as two readers of one model are.

    Parameters
    ----------
    seed : int
    n_test, n_train : int
        Families of the two parts, all of which can carry every concept; sizes 1 to 12.
    n_concepts, n_rivals : int
    lead : int
        Number of concepts, the last ones, whose rivals mark a third of what the feature marks.
    """
    rng = np.random.default_rng([seed, 5])
    n_families = n_train + n_test
    size = np.minimum(12, 1 + rng.geometric(0.3, n_families))
    family = np.repeat(np.arange(n_families), size)
    samples = _samples(family, np.full(len(family), SLOT * SLOTS))
    split = _split(samples, family, np.where(family >= n_train, 2, 0), seed=0)
    spans, marks = [], [[] for _ in range(1 + n_rivals)]
    truth = {}
    for c in range(n_concepts):
        strength = (0.85, 0.6, 0.4)[c % 3]
        there = (rng.random((n_families, SLOTS)) < CARRIED)[family] & (
            rng.random((len(family), SLOTS)) >= LOST
        )
        common = _marks(there, family, strength, rng)
        for reader in range(1 + n_rivals):
            own = _marks(there, family, strength, rng)
            third, half = (rng.random((2, n_families, SLOTS)) < [[[1 / 3]], [[1 / 2]]])[:, family]
            weaker = reader > 0 and c >= n_concepts - lead
            marks[reader].append(own & third if weaker else np.where(half, common, own))
        sample, slot = np.nonzero(there)
        spans.append((sample, slot * SLOT, (slot + 1) * SLOT))
        truth[_name(c)] = true_f1(strength)
    places = _Places(samples, family, np.full(n_families, SLOT * SLOTS), split)
    matrices = [FeatureMatrix(_slots(m), samples) for m in marks]
    return AssociationWorld(
        matrices[0],
        _annotations(spans, places),
        split,
        {_name(c): c for c in range(n_concepts)},
        tuple(matrices[1:]),
        truth,
        frozenset(map(_name, range(n_concepts - lead, n_concepts))),
    )


def true_f1(strength: float) -> float:
    """F1 over all families that could be drawn, of a reader of :func:`rivals`: twice the true over marked and there.

    Examples
    --------
    >>> round(true_f1(0.6), 3)
    0.612
    """
    carried = CARRIED * (1 - LOST)
    a, b, c, d = _betas(strength)
    marked, false = carried * a / (a + b), (1 - carried) * c / (c + d)
    return 2 * marked / (marked + false + carried)


def _betas(strength: float) -> tuple[float, float, float, float]:
    """Of the share of a family's instances, and of its other slots, that a reader marks."""
    return 6 * strength, 6 * (1 - strength), 1.0, 27.0


def _marks(there: np.ndarray, family: np.ndarray, strength: float, rng: Generator) -> np.ndarray:
    """bool [n_samples, SLOTS]: what a reader marks; relatives are mostly read alike."""
    n_families = int(family.max()) + 1
    a, b, c, d = _betas(strength)
    found, false = rng.beta(a, b, n_families)[family], rng.beta(c, d, n_families)[family]
    shared, own = rng.random((n_families, SLOTS))[family], rng.random(there.shape)
    draw = np.where((rng.random((n_families, SLOTS)) < 0.6)[family], shared, own)
    return draw < np.where(there, found[:, None], false[:, None])


def _slots(marks: list[np.ndarray]) -> sp.csr_array:
    """csr float32 [n_positions, n_readers]: 1 on the slots that each reader marks."""
    columns = [np.repeat(m.ravel(), SLOT) for m in marks]
    return sp.csr_array(np.stack(columns, axis=1).astype(np.float32))


def _places(seed: int, collection: Collection) -> _Places:
    rng = np.random.default_rng([seed, 0])
    n, (few, many), (short, long) = collection.n_families, collection.members, collection.length
    size = np.floor(np.exp(rng.uniform(np.log(few), np.log(many + 1), n))).astype(int).clip(few, many)
    length = np.exp(rng.uniform(np.log(short), np.log(long), n))
    family = np.repeat(np.arange(n), size)
    mine = np.round(length[family] * rng.uniform(0.95, 1.05, len(family))).astype(np.int64)
    samples = _samples(family, mine)
    part = np.where(np.arange(n) % 4 == 0, 2, 0)[rng.permutation(n)][family]
    return _Places(samples, family, length, _split(samples, family, part, seed=seed))


def _split(samples: Samples, family: np.ndarray, part: np.ndarray, *, seed: int) -> Split:
    """Samples of part 0 train, 1 calibrate, 2 test."""
    numbers, names = (
        [np.flatnonzero(part == p) for p in range(3)],
        tuple(f"F{f}" for f in range(family.max() + 1)),
    )
    return Split(*numbers, family=family, family_names=names, by="family", seed=seed, lengths=samples.lengths)


def _samples(family: np.ndarray, length: np.ndarray) -> Samples:
    table = pd.DataFrame({"family": [f"F{f}" for f in family]})
    return Samples([f"s{i}" for i in range(len(family))], lengths=length, table=table)


def _sites(
    places: _Places, has: np.ndarray, rate: np.ndarray | float, rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sample and place (0 to 1) of every site of a process: those of families, kept by four members in five, and own ones."""
    per = places.length / 100
    n_sites = rng.poisson(np.where(has, rate, 0.0) * per)
    of = np.repeat(np.arange(len(per)), n_sites)
    at = rng.random(len(of))
    first = np.searchsorted(places.family, np.arange(len(per) + 1))
    n_members = np.diff(first)[of]
    _, sample = positions_in(first[of], first[of] + n_members)
    where = np.repeat(at, n_members)
    kept = rng.random(len(sample)) < 0.8
    own = np.repeat(np.arange(len(places.family)), rng.poisson(OWN * places.samples.lengths / 100))
    return np.concatenate([sample[kept], own]), np.concatenate([where[kept], rng.random(len(own))])


def _intervals(places: _Places, sample: np.ndarray, where: np.ndarray, mean: float, rng: Generator) -> Spans:
    """Sample, start and end of sites, of geometric length, inside their samples."""
    length = places.samples.lengths[sample]
    size = np.minimum(rng.geometric(1 / mean, len(sample)), length // 2)
    start = np.floor(where * (length - size + 1)).astype(np.int64)
    return sample, start, start + size


def _features(
    seed: int,
    places: _Places,
    collection: Collection,
    read: Sequence[Spans] = (),
    recall: float = 1.0,
) -> list[Codes]:
    """Positions and values of all features; the first ones read the concepts whose instances are given."""
    streams = [np.random.default_rng([seed, 1, j]) for j in range(collection.n_features)]
    readers = [_reader(spans, places, recall, rng) for spans, rng in zip(read, streams)]
    return readers + [_codes(places, collection, rng) for rng in streams[len(readers) :]]


def _codes(places: _Places, collection: Collection, rng: Generator) -> Codes:
    """Positions and values of one feature."""
    has = rng.random(len(places.length)) < rng.uniform(0.25, 0.7)
    sample, where = _sites(places, has, rng.uniform(0.3, 1.5), rng)
    _, start, end = _intervals(places, sample, where, collection.run, rng)
    return _fire(places, sample, start, end, rng)


def _fire(places: _Places, sample: np.ndarray, start: np.ndarray, end: np.ndarray, rng: Generator) -> Codes:
    base = places.samples.offsets[sample]
    number, position = positions_in(base + start, base + end)
    gain = rng.lognormal(0, 0.3, len(places.length))[places.family[sample]]
    return position, (gain[number] * rng.gamma(4, 0.25, len(position))).astype(np.float32)


def _reader(spans: Spans, places: _Places, recall: float, rng: Generator) -> Codes:
    """Positions and values of a feature that marks a share of a concept's instances, and little else."""
    sample, start, end = spans
    found = rng.random(len(sample)) < recall
    other, where = _sites(places, np.zeros(len(places.length), bool), 0.0, rng)
    _, first, last = _intervals(places, other, where, 4.0, rng)
    return _fire(
        places,
        np.concatenate([sample[found], other]),
        np.concatenate([start[found], first]),
        np.concatenate([end[found], last]),
        rng,
    )


def _copy(codes: Codes, rng: Generator) -> Codes:
    """Nearly the same feature: one position in twenty is gone, values differ by a tenth."""
    position, value = codes
    kept = rng.random(len(position)) >= 0.05
    return position[kept], value[kept] * rng.lognormal(0, 0.1, int(kept.sum())).astype(np.float32)


def _spans(places: _Places, collection: Collection, rng: Generator) -> Spans:
    """Sample, start and end of the instances of one concept."""
    n = len(places.length)
    if collection.carriers is None:
        sample, where = _sites(places, rng.random(n) < rng.uniform(0.2, 0.6), rng.uniform(0.3, 1.0), rng)
        return _intervals(places, sample, where, collection.span, rng)
    few, many = collection.carriers
    # Longer families are likelier to carry it, as they are likelier to make a feature fire.
    chance = places.length / places.length.sum()
    carry = rng.choice(n, int(rng.integers(few, many + 1)), replace=False, p=chance)
    sample = np.flatnonzero(np.isin(places.family, carry))
    where = rng.random(n)[places.family[sample]]
    return _intervals(places, sample, where, collection.span, rng)


def _matrix(codes: list[Codes], places: _Places) -> FeatureMatrix:
    column = np.repeat(np.arange(len(codes)), [len(p) for p, _ in codes])
    position, value = (np.concatenate(x) for x in zip(*codes))
    shape = (places.samples.n_positions, len(codes))
    matrix = sp.coo_array((value, (position, column)), shape=shape).tocsr()
    matrix.sum_duplicates()
    return FeatureMatrix(matrix.astype(np.float32), places.samples)


def _name(number: int) -> str:
    return f"made:{number:02d}"


def _annotations(spans: list[Spans], places: _Places) -> Annotations:
    ids = np.array(places.samples.ids, dtype=object)
    rows = [
        pd.DataFrame({"sample": ids[sample], "start": start, "end": end, "concept": _name(c)})
        for c, (sample, start, end) in enumerate(spans)
    ]
    return Annotations(pd.concat(rows, ignore_index=True))
