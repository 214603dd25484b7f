"""Worlds for discovery: what a dictionary reads of sequences with concepts in them, and what sources say of these.

Sequences are those of :mod:`sciinterp.trust.forms`. Every concept has two or three readers, which miss instances and
whole families, spill over the bounds, misfire and answer weakly to look-alikes; around them stand features of letters,
words, composition and ends, of stretches that a clade conserves, of runs that relatives share, and of two concepts at
once. All features answer to everything a little. From these activations codes are made in one of two ways: the ``k``
largest at each position (``topk``), or all that are positive (``relu``), which leaves four positions in ten weakly active.

Sources err: bounds are moved, some instances are stated where nothing is, some under the name of another concept. Hidden
are, of some concepts, whole families or single instances; some concepts altogether, one of each kind; and of two pairs of
concepts, each on families of its own, that they are two. Worlds with ``sets`` have two more hidden concepts, motifs that no
feature reads alone: of ``either`` each of three readers sees a third of the families; the two readers of ``both`` also answer to much else, each to
its own. With ``hide=False`` all is stated but for the errors, of
which none is then an instance left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.random import Generator

from sciinterp.annotations import Annotations
from sciinterp.association.letters import distance_from_end, distance_from_start
from sciinterp.codes import FeatureMatrix
from sciinterp.samples import Samples, Split
from sciinterp.splits import split_families
from sciinterp.trust.forms import (
    BACKGROUND,
    KINDS,
    LETTERS,
    OILY,
    Family,
    Form,
    draw_carriers,
    draw_families,
    draw_form,
)

# Kinds of the concepts of each role.
MASKED = KINDS
PLAIN = ("motif", "domain", "site")
MERGED = ("motif", "domain")
CLADES = (8, 8, 7, 6, 6, 5, 4)  # families of each clade
K = 8  # largest activations kept at a position
NOISE = 0.08  # spread of what a feature answers to everything, where a concept gets 1
BY_FAMILY, BY_INSTANCE = 0.3, 0.2  # share of a masked concept that is hidden, by families or one by one
MOVED, INVENTED, SWAPPED = (
    0.3,
    0.02,
    0.02,
)  # shares of instances with wrong bounds, of false ones, of wrong names
CODES = ("topk", "relu")
SETS = {"either": (0.65, 0.75), "both": (0.5, 0.65)}  # share of the families that carry them
PARTS = 3  # readers of "either", which share its families out
ELSE = 0.04  # share of all positions where a reader of "both" answers to something of its own


@dataclass(frozen=True, eq=False)
class DiscoveryWorld:
    """Codes and annotations, and what the annotations leave out.

    Attributes
    ----------
    features : FeatureMatrix
    annotations : Annotations
    split : Split
    seeds : tuple of FeatureMatrix
        Other dictionaries of the same samples, features in another order.
    missing : DataFrame
        ``sample start end concept`` of every instance that was left out.
    novel : dict
        Concept that no source names -> its kind and its readers.
    merged : dict
        Name given to two concepts -> readers of the one and of the other.
    instances : DataFrame
        Every instance, under its own name; one row a part.
    readers : dict
        Concept -> its readers.
    """

    features: FeatureMatrix
    annotations: Annotations
    split: Split
    seeds: tuple[FeatureMatrix, ...]
    missing: pd.DataFrame
    novel: dict[str, tuple[str, tuple[int, ...]]]
    merged: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    instances: pd.DataFrame
    readers: dict[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class _Concept:
    name: str
    role: str
    form: Form
    carriers: np.ndarray


@dataclass(frozen=True, eq=False)
class _Written:
    """Samples, and for every instance its concept, family, number, positions on the axis of all samples."""

    samples: Samples
    letters: np.ndarray
    family: np.ndarray  # of samples
    clade: np.ndarray  # of families
    aligned: np.ndarray  # of positions: column of the family
    table: pd.DataFrame  # concept family sample genuine site, site: number shared by relatives
    where: list[np.ndarray]


def make_world(
    seed: int,
    *,
    hide: bool = True,
    codes: str = "topk",
    n_seeds: int = 3,
    clades: tuple[int, ...] = CLADES,
    sets: bool = False,
) -> DiscoveryWorld:
    """Draw one world; sequences, concepts and errors do not depend on how codes are made.

    Parameters
    ----------
    seed : int
    hide : bool
    codes : str
        ``topk`` or ``relu``.
    n_seeds : int
        Other dictionaries.
    clades : tuple of int
        Families of each clade.
    sets : bool
        Also plant what only sets of features read; another world of the same kind.
    """
    rng = np.random.default_rng([seed, 0x7257])
    clade = np.repeat(np.arange(len(clades)), clades)
    concepts = _draw_concepts(clade, rng, list(SETS) if sets else [])
    families = draw_families([c.form for c in concepts], [c.carriers for c in concepts], clade, rng)
    written = _lay_out(families, rng)
    roles = _draw_roles(concepts, rng)
    frame, missing, merged = _state(concepts, written, hide, np.random.default_rng([seed, 0x50]))
    matrices = []
    for number in range(1 + n_seeds):
        own = np.random.default_rng([seed, 0xC0DE, number])
        answers = _answers(concepts, written, roles, own)
        order = own.permutation(answers.shape[1]) if number else np.arange(answers.shape[1])
        matrices.append(FeatureMatrix(_codes(answers[:, order], codes), written.samples))
    readers = {c.name: roles.readers[i] for i, c in enumerate(concepts)}
    novel = {
        c.name: (c.name.removeprefix("novel:"), readers[c.name])
        for c in concepts
        if hide and c.role == "novel"
    }
    return DiscoveryWorld(
        matrices[0],
        Annotations(frame, concepts=_table(frame)),
        split_families(written.samples, by="family", seed=seed),
        tuple(matrices[1:]),
        missing,
        novel,
        {name: (readers[a], readers[b]) for name, (a, b) in merged.items()},
        _rows(written.table.query("genuine").index, concepts, written),
        readers,
    )


def _draw_concepts(clade: np.ndarray, rng: Generator, sets: list[str]) -> list[_Concept]:
    out = []
    for role, kinds in (("masked", MASKED), ("novel", KINDS), ("plain", PLAIN)):
        for kind in kinds:
            out.append(
                _Concept(f"{role}:{kind}", role, draw_form(kind, rng), draw_carriers(clade, (0.5, 0.65), rng))
            )
    for kind in MERGED:
        first = draw_carriers(clade, (0.34, 0.38), rng)
        second = draw_carriers(clade, (0.34, 0.38), rng, outside=first)
        out += [
            _Concept(f"merged:{kind}-{half}", "merged", draw_form(kind, rng), mine)
            for half, mine in (("a", first), ("b", second))
        ]
    for kind in sets:
        carriers = draw_carriers(clade, SETS[kind], rng)
        out.append(_Concept(f"novel:{kind}", "novel", draw_form("motif", rng), carriers))
    return out


def _lay_out(families: list[Family], rng: Generator) -> _Written:
    """Members end to end, each cut by up to eight positions at its start."""
    sequences, family, aligned, rows, where, offset, site = [], [], [], [], [], 0, 0
    for number, of in enumerate(families):
        cut = rng.integers(0, 9, len(of.letters))
        for member, letters in enumerate(of.letters):
            for k, (concept, at, present, genuine) in enumerate(of.written):
                if present[member] and at[0] >= cut[member]:
                    rows.append((concept, number, len(sequences), genuine, site + k))
                    where.append(offset + at - cut[member])
            sequences.append("".join(LETTERS[letters[cut[member] :]]))
            family.append(number)
            aligned.append(np.arange(cut[member], len(letters)))
            offset += len(letters) - int(cut[member])
        site += len(of.written)
    samples = Samples(
        [f"s{i:03d}" for i in range(len(sequences))],
        sequences,
        table=pd.DataFrame({"family": [f"F{f:02d}" for f in family]}),
    )
    letters = np.searchsorted(LETTERS, np.array(list("".join(sequences))))
    table = pd.DataFrame(rows, columns=["concept", "family", "sample", "genuine", "site"])
    clade = np.array([f.clade for f in families])
    return _Written(samples, letters, np.array(family), clade, np.concatenate(aligned), table, where)


@dataclass(frozen=True, eq=False)
class _Roles:
    """Which feature reads what, the same for every dictionary of a world."""

    readers: dict[int, tuple[int, ...]]
    also: tuple[tuple[int, int], ...]  # feature, concept that it reads besides its own
    nuisance: tuple[tuple[str, int], ...]  # kind, number of its own
    shares: dict[int, np.ndarray]
    n_features: int


# Features that read no concept.
NUISANCE = (
    ("letter", 6), ("word", 4), ("oily", 2), ("charged", 2), ("start", 2), ("end", 2), ("clade", 5), ("shared", 8),
    ("burst", 8), ("dense", 2), ("dead", 2),
)  # fmt: skip


def _draw_roles(concepts: list[_Concept], rng: Generator) -> _Roles:
    readers, shares, n = {}, {}, 0
    for number, concept in enumerate(concepts):
        size = 2 + int(rng.random() < 0.5)
        size = {"novel:either": PARTS, "novel:both": 2}.get(concept.name, size)
        readers[number] = tuple(range(n, n + size))
        shares[number] = rng.uniform(0.6, 0.95, size)
        n += size
    known = [i for i, c in enumerate(concepts) if c.role in ("masked", "plain")]
    others = rng.permutation(known)
    also = tuple((readers[a][-1], int(b)) for a, b in zip(known[:4], others) if a != b)
    nuisance = tuple((kind, i) for kind, count in NUISANCE for i in range(count))
    return _Roles(readers, also, nuisance, shares, n + len(nuisance))


def _answers(concepts: list[_Concept], written: _Written, roles: _Roles, rng: Generator) -> np.ndarray:
    """float32 [n_positions, n_features]: activations of one dictionary before anything is cut."""
    n = written.samples.n_positions
    out = NOISE * rng.standard_normal((n, roles.n_features), dtype=np.float32)
    for number, concept in enumerate(concepts):
        for k, (feature, share) in enumerate(zip(roles.readers[number], roles.shares[number])):
            unseen = np.delete(concept.carriers, np.s_[k::PARTS]) if concept.name == "novel:either" else ()
            _read(out[:, feature], number, concept, written, share, 1.0, rng, unseen)
            _add_runs(out[:, feature], written, 0.002, 3.0, 0.5, rng)
            if concept.name == "novel:both":
                _add_runs(out[:, feature], written, ELSE, 3.0, 1.0, rng)
    for feature, number in roles.also:
        _read(out[:, feature], number, concepts[number], written, 0.5, 0.7, rng)
    first = roles.n_features - len(roles.nuisance)
    for i, (kind, own) in enumerate(roles.nuisance):
        _add_nuisance(out[:, first + i], kind, own, written, rng)
    return out


def _read(
    column: np.ndarray,
    number: int,
    concept: _Concept,
    written: _Written,
    share: float,
    gain: float,
    rng: Generator,
    unseen: np.ndarray | tuple[int, ...] = (),
) -> None:
    """Add what a reader says of the instances of a concept, and of its look-alikes, but in families it never sees."""
    table = written.table[written.table["concept"] == number]
    n_families = len(written.clade)
    blind = rng.random(n_families) < 0.06
    blind[np.asarray(unseen, np.int64)] = True
    strength = gain * rng.lognormal(0, 0.2, n_families)
    by_site = {s: rng.random() for s in table["site"].unique()}
    on_face = rng.random() < 0.5
    for row in table.itertuples():
        # Relatives are read alike, three times in four.
        draw = by_site[row.site] if rng.random() < 0.75 else rng.random()
        if blind[row.family] or draw >= (share if row.genuine else 0.4 * share):
            continue
        where = written.where[row.Index]
        form = concept.form
        full = len(where) == len(form.columns)
        inside = form.face if on_face or form.kind != "periodic" else form.named
        at = where[inside[: len(where)]] if full else where
        at = at[rng.random(len(at)) < (1.0 if len(at) == 1 else 0.85)]
        if len(at) > 1 and rng.random() < 0.3:  # it spills over an end
            edge = at[-1] + 1 if rng.random() < 0.5 else at[0] - 1
            at = np.append(at, np.clip(edge, 0, len(column) - 1))
        value = strength[row.family] * rng.gamma(8, 1 / 8, len(at))
        column[at] += value if row.genuine else 0.5 * value


def _add_runs(
    column: np.ndarray, written: _Written, share: float, mean: float, gain: float, rng: Generator
) -> None:
    """Add runs of geometric length at random places, until about a share of the positions is covered."""
    n = len(column)
    start = rng.integers(0, n, max(1, round(share * n / mean)))
    for at, size in zip(start, rng.geometric(1 / mean, len(start))):
        column[at : at + size] += gain * rng.gamma(4, 0.25)


def _add_nuisance(column: np.ndarray, kind: str, own: int, written: _Written, rng: Generator) -> None:
    """Add what a feature says that reads no concept."""
    # What it reads is its own in every dictionary of a world; how strongly is not.
    fixed = np.random.default_rng([len(column), KINDS.index("site"), own, len(kind), ord(kind[0])])
    letters, n, lengths = written.letters, len(column), written.samples.lengths
    where = np.zeros(n, bool)
    if kind == "letter":
        where = letters == fixed.integers(20)
    elif kind == "word":
        first, second = fixed.choice(20, 2, p=BACKGROUND)
        where[1:] = (letters[:-1] == first) & (letters[1:] == second)
    elif kind in ("oily", "charged"):
        like = np.isin(letters, np.flatnonzero(np.isin(LETTERS, list(OILY if kind == "oily" else "DEKR"))))
        around = np.convolve(like, np.ones(7 + 4 * own) / (7 + 4 * own), mode="same")
        where = around >= np.quantile(around, 0.97)
    elif kind in ("start", "end"):
        distance = distance_from_start if kind == "start" else distance_from_end
        where = distance(written.samples) < fixed.integers(2, 12)
    elif kind == "clade":
        first, size = fixed.integers(10, 100), fixed.integers(6, 25)
        mine = (written.clade == own % (int(written.clade.max()) + 1))[written.family]
        where = np.repeat(mine, lengths) & (written.aligned >= first) & (written.aligned < first + size)
    elif kind == "shared":
        n_families = len(written.clade)
        start = fixed.integers(0, 150, n_families)
        size = np.where(
            fixed.random(n_families) < fixed.uniform(0.2, 0.7), fixed.integers(2, 20, n_families), 0
        )
        of = np.repeat(written.family, lengths)
        where = (written.aligned >= start[of]) & (written.aligned < start[of] + size[of])
    elif kind == "burst":
        _add_runs(column, written, float(fixed.uniform(0.003, 0.03)), float(fixed.uniform(2, 15)), 1.0, rng)
    elif kind == "dense":
        where = rng.random(n) < 0.35
    else:
        column[:] = -1.0
    at = np.flatnonzero(where & (rng.random(n) < 0.9))
    column[at] += rng.gamma(4, 0.25, len(at)) * (0.4 if kind == "dense" else 1.0)


def _codes(answers: np.ndarray, how: str) -> sp.csr_array:
    """csr float32: the largest of each position, or all that are positive; of what is there for no reason half is positive."""
    if how == "relu":
        kept = np.maximum(answers, 0)
    else:
        least = np.partition(answers, -K, axis=1)[:, [-K]]
        kept = np.where((answers >= least) & (answers > 0), answers, 0)
    return sp.csr_array(kept.astype(np.float32))


def _rows(index: np.ndarray | pd.Index, concepts: list[_Concept], written: _Written) -> pd.DataFrame:
    """``sample start end concept`` of instances; a pair has a row for each of its words, a gapped motif one in all."""
    ids, offsets, rows = written.samples.ids, written.samples.offsets, []
    for i in index:
        number, sample = int(written.table.at[i, "concept"]), int(written.table.at[i, "sample"])
        form = concepts[number].form
        where = written.where[i][form.named] - offsets[sample]
        cuts = np.flatnonzero(np.diff(where) > 1) + 1 if form.kind == "pair" else []
        rows += [
            (ids[sample], int(part[0]), int(part[-1]) + 1, concepts[number].name, int(i))
            for part in np.split(where, cuts)
        ]
    return pd.DataFrame(rows, columns=["sample", "start", "end", "concept", "instance"])


def _state(
    concepts: list[_Concept], written: _Written, hide: bool, rng: Generator
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, tuple[str, str]]]:
    """What sources say, what they leave out, and which names stand for two concepts."""
    frame = _rows(written.table.query("genuine").index, concepts, written)
    family = pd.Series(written.family, index=list(written.samples.ids))[frame["sample"]].to_numpy()
    gone, merged = np.zeros(len(frame), bool), {}
    if hide:
        for number, concept in enumerate(concepts):
            mine = (frame["concept"] == concept.name).to_numpy()
            if concept.role == "novel":
                gone |= mine
            elif concept.role == "masked" and number % 2:
                carriers = rng.permutation(np.unique(family[mine]))
                gone |= mine & np.isin(family, carriers[: max(1, round(BY_FAMILY * len(carriers)))])
            elif concept.role == "masked":
                chosen = frame.loc[mine, "instance"].unique()
                hidden = rng.choice(chosen, max(1, round(BY_INSTANCE * len(chosen))), replace=False)
                gone |= mine & frame["instance"].isin(hidden).to_numpy()
    masked = {c.name for c in concepts if c.role == "masked"}
    missing = frame[gone & frame["concept"].isin(masked).to_numpy()]
    shown = frame[~gone].copy()
    if hide:
        swapped = _swap(shown, concepts, rng)
        missing = pd.concat([missing, shown[swapped != shown["concept"]]])
        shown["concept"] = swapped
        halves = [c.name for c in concepts if c.role == "merged"]
        merged = {a.removesuffix("-a"): (a, b) for a, b in zip(halves[::2], halves[1::2])}
        shown["concept"] = shown["concept"].str.replace(r"^(merged:.*)-[ab]$", r"\1", regex=True)
    shown = pd.concat([_move(shown, written.samples, rng), _invent(shown, written.samples, rng)])
    columns = ["sample", "start", "end", "concept"]
    return shown[columns].reset_index(drop=True), missing[columns].reset_index(drop=True), merged


def _swap(shown: pd.DataFrame, concepts: list[_Concept], rng: Generator) -> pd.Series:
    """Concepts of the rows, some instances of the masked and plain ones under the name of another."""
    names = [c.name for c in concepts if c.role in ("masked", "plain")]
    instances = shown.loc[shown["concept"].isin(names), "instance"].unique()
    wrong = instances[rng.random(len(instances)) < SWAPPED]
    other = dict(zip(wrong, rng.permutation(np.resize(names, len(wrong)))))
    return shown["instance"].map(other).fillna(shown["concept"]).astype(str)


def _move(shown: pd.DataFrame, samples: Samples, rng: Generator) -> pd.DataFrame:
    """Both ends of some of the intervals of four positions or more, by up to a quarter of the length each."""
    size = (shown["end"] - shown["start"]).to_numpy()
    moved = (rng.random(len(shown)) < MOVED) & (size >= 4)
    most = np.where(moved, size // 4, 0)
    start = shown["start"].to_numpy() + rng.integers(-most, most + 1)
    end = shown["end"].to_numpy() + rng.integers(-most, most + 1)
    length = samples.lengths[[samples.index(s) for s in shown["sample"]]]
    return shown.assign(start=np.maximum(start, 0), end=np.minimum(end, length))


def _invent(shown: pd.DataFrame, samples: Samples, rng: Generator) -> pd.DataFrame:
    """A few intervals where nothing is, of the concepts and lengths that there are."""
    some = shown[rng.random(len(shown)) < INVENTED].copy()
    number = rng.integers(0, len(samples), len(some))
    size = (some["end"] - some["start"]).to_numpy()
    start = np.floor(rng.random(len(some)) * (samples.lengths[number] - size)).astype(np.int64)
    some["sample"] = np.array(samples.ids, dtype=object)[number]
    return some.assign(start=start, end=start + size)


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    """The concepts table: sources are not exhaustive."""
    names = sorted(frame["concept"].unique())
    return pd.DataFrame({"name": names, "exhaustive": False}, index=pd.Index(names, name="concept"))
