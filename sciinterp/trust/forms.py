"""Sequences with concepts in them: families of a tree, site by site at its own rate, and what is written into them.

Clades have unrelated roots. The families of a clade branch from each other one at a time; along every branch a site
changes at its own rate (gamma distributed), mostly to a letter of its own kind. A concept is carried by families of some
clades more than of others, at places that families do not share; members inherit them and now and then lose one.

Six kinds of concepts: an ungapped ``motif``; a ``gapped`` one, two words with a gap whose length differs between
families; a ``pair`` of short words some tens of positions apart; a ``periodic`` stretch with one oily face, helix or strand;
a weak ``domain``; and a point ``site`` whose neighbours only lean towards some letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
OILY, POLAR, SMALL, CHARGED = "FILMVWY", "EKRQDNHST", "AGSTCP", "DEKR"
KINDS = ("motif", "gapped", "pair", "periodic", "domain", "site")
# Letters of a kind replace each other more readily.
ALIKE = ("ILMV", "FWY", "KRH", "DE", "NQST", "AGSC", "P")


def _background() -> np.ndarray:
    """Share of each letter: even within kinds, oily and small ones more frequent than aromatic ones."""
    weight = np.ones(20)
    for letters, factor in (("LAGVESK", 1.6), ("WCHM", 0.4)):
        weight[[i for i, x in enumerate(LETTERS) if x in letters]] *= factor
    return weight / weight.sum()


BACKGROUND = _background()


def _exchange() -> np.ndarray:
    """float64 [20, 20]: what a letter becomes when it changes."""
    table = np.tile(BACKGROUND, (20, 1))
    for letters in ALIKE:
        mine = [i for i, x in enumerate(LETTERS) if x in letters]
        table[np.ix_(mine, mine)] *= 6
    return table / table.sum(1, keepdims=True)


EXCHANGE = _exchange().cumsum(1)


@dataclass(frozen=True, eq=False)
class Form:
    """How a concept is written.

    Attributes
    ----------
    kind : str
        One of :data:`KINDS`.
    columns : float64 [n, 20]
        Letter probabilities of its positions, those of a gap left out.
    blocks : tuple of int
        Lengths of its parts; one unless it is gapped or a pair.
    gap : tuple of int
        Shortest and longest distance between the parts.
    face : bool [n]
        Positions that readers look at first: the oily face of a periodic stretch, else all.
    named : bool [n]
        Positions that an annotation covers: the middle one of a point site, else all.
    """

    kind: str
    columns: np.ndarray
    blocks: tuple[int, ...]
    gap: tuple[int, int]
    face: np.ndarray
    named: np.ndarray


@dataclass(frozen=True, eq=False)
class Family:
    """Members of one family, aligned: letters int64 [n_members, length], and what was written into them.

    Attributes
    ----------
    clade : int
    letters : int64 [n_members, length]
    written : list of (concept, positions, present bool [n_members], genuine)
        ``genuine`` is False for look-alikes.
    """

    clade: int
    letters: np.ndarray
    written: list[tuple[int, np.ndarray, np.ndarray, bool]]


def draw_form(kind: str, rng: Generator) -> Form:
    """A concept of one kind."""
    gap, blocks = (0, 0), ()
    if kind == "motif":
        columns = _conserved(int(rng.integers(5, 9)), 0.82, rng)
    elif kind == "gapped":
        columns, blocks, gap = _conserved(7, 0.88, rng), (4, 3), (2, 6)
    elif kind == "pair":
        first = int(rng.integers(18, 32))
        columns, blocks, gap = _conserved(6, 0.9, rng), (3, 3), (first, first + 2)
    elif kind == "periodic":
        return _periodic(int(rng.integers(15, 23)), rng)
    elif kind == "domain":
        n = int(rng.integers(22, 34))
        columns = np.where((rng.random(n) < 0.25)[:, None], _conserved(n, 0.7, rng), _leaning(n, 0.6, 4, rng))
    else:
        return _site(rng)
    every = np.ones(len(columns), bool)
    return Form(kind, columns, blocks or (len(columns),), gap, every, every)


def _conserved(n: int, share: float, rng: Generator) -> np.ndarray:
    columns = np.tile(BACKGROUND * (1 - share), (n, 1))
    columns[np.arange(n), rng.integers(0, 20, n)] += share
    return columns


def _leaning(n: int, share: float, n_letters: int, rng: Generator) -> np.ndarray:
    columns = np.tile(BACKGROUND * (1 - share), (n, 1))
    for row in columns:
        row[rng.choice(20, n_letters, replace=False)] += share / n_letters
    return columns


def _of(letters: str, share: float) -> np.ndarray:
    mine = np.isin(LETTERS, list(letters))
    return (1 - share) * BACKGROUND + share * np.where(mine, BACKGROUND, 0) / BACKGROUND[mine].sum()


def _periodic(n: int, rng: Generator) -> Form:
    turn = (100.0, 180.0)[int(rng.integers(2))]
    face = np.cos(np.deg2rad(turn * np.arange(n) + rng.uniform(0, 360))) > 0.15
    columns = np.where(face[:, None], _of(OILY, 0.85), _of(POLAR, 0.85))
    return Form("periodic", columns, (n,), (0, 0), face, np.ones(n, bool))


def _site(rng: Generator) -> Form:
    columns = np.tile(BACKGROUND, (9, 1))
    columns[4] = 0.97 * np.eye(20)[rng.integers(0, 20)] + 0.03 * BACKGROUND
    for at in rng.permutation([1, 2, 3, 5, 6, 7])[:4]:
        columns[at] = _of((OILY, POLAR, SMALL, CHARGED, "KR", "DE", "P")[int(rng.integers(7))], 0.8)
    middle = np.arange(9) == 4
    return Form("site", columns, (9,), (0, 0), middle, middle)


def emit(form: Form, share: float, rng: Generator) -> np.ndarray:
    """int64 [n]: letters of one instance; a share of its positions is drawn as the concept says."""
    columns = share * form.columns + (1 - share) * BACKGROUND
    cumulative = columns.cumsum(1)
    return (rng.random((len(columns), 1)) > cumulative[:, :-1] / cumulative[:, -1:]).sum(1)


def draw_carriers(
    clade: np.ndarray,
    share: tuple[float, float],
    rng: Generator,
    *,
    outside: Sequence[int] | np.ndarray = (),
) -> np.ndarray:
    """int64: families that carry a concept, those of some clades more than of others."""
    free = np.setdiff1d(np.arange(len(clade)), np.asarray(outside, np.int64))
    wanted = round(rng.uniform(*share) * len(clade))
    taste = rng.gamma(1.5, 1.0, int(clade.max()) + 1)[clade[free]] + 0.05
    return np.sort(rng.choice(free, min(wanted, len(free)), replace=False, p=taste / taste.sum()))


def draw_families(
    forms: Sequence[Form],
    carriers: Sequence[np.ndarray],
    clade: np.ndarray,
    rng: Generator,
    *,
    length: tuple[int, int] = (170, 240),
    members: tuple[int, int] = (2, 4),
    lookalikes: float = 0.2,
) -> list[Family]:
    """Families of every clade's tree, with their concepts and look-alikes of concepts they do not carry.

    Parameters
    ----------
    forms : sequence of Form
    carriers : sequence of int64
        Families of each concept.
    clade : int64 [n_families]
    length, members : tuple of int
    lookalikes : float
        Share of the other families with a place where half of the concept's positions are as it says.
    """
    out: list[Family | None] = [None] * len(clade)
    for number in range(int(clade.max()) + 1):
        mine = np.flatnonzero(clade == number)
        n = int(rng.integers(*length))
        rate = rng.gamma(0.7, 1 / 0.7, n)
        lineages = [rng.choice(20, n, p=BACKGROUND)]
        while len(lineages) < len(mine):
            parent = lineages[int(rng.integers(len(lineages)))]
            lineages = [_evolve(x, rate, rng.exponential(0.12), rng) for x in (*lineages, parent)]
        for family, root in zip(mine, lineages):
            letters = _evolve(root, rate, rng.uniform(0.2, 0.5), rng)
            placed = _write(letters, int(family), forms, carriers, lookalikes, rng)
            out[family] = _members(number, letters, placed, rate, int(rng.integers(*members)), rng)
    return [family for family in out if family is not None]


def _evolve(letters: np.ndarray, rate: np.ndarray, time: float, rng: Generator) -> np.ndarray:
    """Letters after some time: a site changes with probability ``1 - exp(-rate * time)``."""
    changes = np.flatnonzero(rng.random(len(letters)) < 1 - np.exp(-rate * time))
    out = letters.copy()
    out[changes] = (rng.random((len(changes), 1)) > EXCHANGE[letters[changes]][:, :-1]).sum(1)
    return out


def _write(
    letters: np.ndarray,
    family: int,
    forms: Sequence[Form],
    carriers: Sequence[np.ndarray],
    lookalikes: float,
    rng: Generator,
) -> list[tuple[int, np.ndarray, bool]]:
    """Write a family's instances and look-alikes in places where nothing is yet, the longest first."""
    free, placed = np.ones(len(letters), bool), []
    mine = np.array([family in of for of in carriers])
    length = np.array([len(form.columns) + form.gap[1] for form in forms])
    for number in np.lexsort((-length, ~mine)):  # what is carried first
        form, carried = forms[number], bool(mine[number])
        copies = 1 + int(rng.random() < 0.15) if carried else int(rng.random() < lookalikes)
        for _ in range(copies):
            # A single half of a pair is what a reader of pairs must not take for one.
            half = form.kind == "pair" and not carried
            where = _free_place(form, free, rng)
            if where is None:
                continue
            use = slice(0, form.blocks[0]) if half else slice(None)
            text = emit(form, 1.0 if carried or half else 0.5, rng)
            letters[where[use]] = text[use]
            for at in where[use]:
                free[max(0, at - 1) : at + 2] = False
            placed.append((int(number), where[use], carried))
    return placed


def _free_place(form: Form, free: np.ndarray, rng: Generator) -> np.ndarray | None:
    """Positions of the parts of one instance, or None where there is no room left."""
    gap = int(rng.integers(form.gap[0], form.gap[1] + 1))
    parts = [np.arange(n) + i * gap + sum(form.blocks[:i]) for i, n in enumerate(form.blocks)]
    shape = np.concatenate(parts)
    start = np.arange(len(free) - shape[-1])
    start = start[free[start[:, None] + shape].all(1)] if len(start) else start
    return shape + rng.choice(start) if len(start) else None


def _members(
    clade: int,
    letters: np.ndarray,
    placed: list[tuple[int, np.ndarray, bool]],
    rate: np.ndarray,
    n: int,
    rng: Generator,
) -> Family:
    """Members of a family: what is written changes a third as fast, and one instance in twelve is lost."""
    slower = rate.copy()
    for _, where, _ in placed:
        slower[where] = rate.mean() / 3
    rows = np.stack([_evolve(letters, slower, rng.uniform(0.05, 0.25), rng) for _ in range(n)])
    written = []
    for number, where, genuine in placed:
        present = rng.random(n) >= 1 / 12
        for member in np.flatnonzero(~present):
            rows[member, where] = rng.choice(20, len(where), p=BACKGROUND)
        written.append((number, where, present, genuine))
    return Family(clade, rows, written)
