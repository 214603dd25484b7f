"""Planted truth: sequences, features and annotations whose hidden part is known.

Families share a template; members are mutated, cut at the N terminus and now and then lose an instance.
*Leaf concepts* are motifs (short) or biased stretches (long) written into the templates. Each is read by two
or three features that miss some instances, fire weakly on look-alikes and on autocorrelated noise shared by
relatives, and partly fire on another concept. Around them stand nuisance features: smooth runs shared by
families, distance from either end, single letters, window composition, dead and dense ones. Three things are
then withheld from the annotations and kept as truth:

* *masked*: a share of the instances of some concepts, whole families at a time (missing annotations);
* *novel*: some concepts altogether;
* *merged*: pairs of concepts that live in disjoint families, annotated under one name (refinements).

With ``hide=False`` the same world is annotated completely: nothing is left to find.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.annotations import Annotations
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.intervals import positions_in
from sciinterp.discovery.planted_forms import (
    BACKGROUND,
    KEEP,
    LETTERS,
    Form,
    draw_form,
    hide_whole_families,
    label_spans,
    motif_form,
    starts_of,
    structure,
)
from sciinterp.discovery.settings import PlantedSettings
from sciinterp.samples import Samples, Split
from sciinterp.settings import plain_value, settings_of
from sciinterp.splits import split_families

LENGTHS = (6, 1, 12, 4, 8, 25, 6, 3, 9, 16)  # span lengths, taken in turn by the concepts


@dataclass(frozen=True, eq=False)
class Planted:
    """A planted world.

    Attributes
    ----------
    features : FeatureMatrix
    annotations : Annotations
        What a reader of the sources would know.
    split : Split
    seeds : tuple of FeatureMatrix
        The same samples read by other dictionaries, features in another order.
    missing : DataFrame
        ``sample start end concept`` of every withheld instance.
    novel : dict
        Withheld concept -> features that read it.
    merged : dict
        Merged concept -> (features of one half, features of the other half).
    instances : DataFrame
        Every instance under its leaf name.
    readers : dict
        Leaf concept -> features that read it.
    forms : dict
        Leaf concept -> what it looks like in sequence.
    """

    features: FeatureMatrix
    annotations: Annotations
    split: Split
    seeds: tuple[FeatureMatrix, ...]
    missing: pd.DataFrame
    novel: dict[str, tuple[int, ...]]
    merged: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    instances: pd.DataFrame
    readers: dict[str, tuple[int, ...]]
    forms: dict[str, str]
    settings: PlantedSettings = field(default_factory=PlantedSettings)


@dataclass(frozen=True, eq=False)
class _Leaf:
    name: str
    kind: str
    length: int
    form: Form
    families: np.ndarray
    near_start: bool


@dataclass(frozen=True, eq=False)
class _World:
    """Sequences and instances, before any feature looks at them (arrays over the concatenated axis)."""

    sequences: list[np.ndarray]
    family: np.ndarray
    cut: np.ndarray
    offsets: np.ndarray
    leaves: list[_Leaf]
    instances: pd.DataFrame
    lookalikes: pd.DataFrame
    labels: pd.DataFrame


def plant(seed: int = 0, settings: PlantedSettings | None = None) -> Planted:
    """Draw one planted world.

    Parameters
    ----------
    seed : int
    settings : PlantedSettings, optional

    Returns
    -------
    Planted

    Examples
    --------
    >>> world = plant(0, PlantedSettings(n_families=20, n_seeds=0))
    >>> len(world.novel), len(world.merged)
    (5, 3)
    >>> bool((world.features.largest >= 0).all())
    True
    """
    settings, seed = settings_of(settings, PlantedSettings), plain_value(seed, int, "seed")
    rng = np.random.default_rng([seed, 0xD15C])
    leaves = _draw_leaves(settings, rng)
    world = _draw_world(settings, leaves, rng)
    samples = _samples(world)
    split = split_families(samples, by="family", seed=seed)
    roles = _draw_roles(settings, leaves, rng)
    features = FeatureMatrix(_read_world(world, roles, settings, rng), samples)
    seeds = []
    for _ in range(settings.n_seeds):
        codes = _read_world(world, roles, settings, rng)
        seeds.append(FeatureMatrix(codes[:, rng.permutation(settings.n_features)], samples))
    return _withhold(world, samples, split, features, tuple(seeds), roles, settings, rng)


def _draw_leaves(settings: PlantedSettings, rng: np.random.Generator) -> list[_Leaf]:
    kinds = (
        [("masked", i) for i in range(settings.n_masked)]
        + [("novel", i) for i in range(settings.n_novel)]
        + [(f"merged{half}", i) for i in range(settings.n_merged) for half in "ab"]
        + [("plain", i) for i in range(settings.n_plain)]
    )
    leaves = []
    for number, (kind, i) in enumerate(kinds):
        # A novel concept must be recognisable without its name: a motif of at least four positions.
        length = LENGTHS[number % len(LENGTHS)] if kind != "novel" else (6, 8, 5, 10, 7)[i % 5]
        if kind == "mergedb":
            length = leaves[-1].length
        order = rng.permutation(settings.n_families)
        share = rng.uniform(0.35, 0.6)
        if kind == "mergedb":  # the other half lives in the families that the first half does not
            order = np.setdiff1d(order, leaves[-1].families)
            families = order[: max(4, int(len(order) * 0.8))]
        else:
            families = order[: max(4, int(settings.n_families * (0.45 if kind == "mergeda" else share)))]
        form = motif_form(length, rng, BACKGROUND)
        if kind == "novel" and (other := settings.novel_forms[i % len(settings.novel_forms)]) != "motif":
            form = draw_form(other, rng, BACKGROUND)
        leaves.append(_Leaf(f"{kind}{i}", kind, form.longest, form, np.sort(families), number % 7 == 3))
    return leaves


def _draw_world(settings: PlantedSettings, leaves: list[_Leaf], rng: np.random.Generator) -> _World:
    sequences, family, cuts, rows, alikes, labelled, offset = [], [], [], [], [], [], 0
    offsets = [0]
    with_labels = any(leaf.form.kind == "labelled" for leaf in leaves)
    for fam in range(settings.n_families):
        length = int(rng.integers(*settings.length))
        template = rng.choice(20, length, p=BACKGROUND)
        labels = structure(length, rng) if with_labels else np.zeros(0, np.int64)
        before = template.copy()
        placed, lookalike = _place(fam, leaves, length, template, starts_of(labels), rng)
        inside = np.zeros(length, bool)
        for number, start, size in placed:
            whole = leaves[number].form.kind in ("motif", "periodic", "domain")
            inside[start : start + size] = whole | (template != before)[start : start + size]
        for _ in range(int(rng.integers(*settings.members))):
            letters = template.copy()
            mutated = rng.random(length) < np.where(inside, 0.06, 0.15)
            letters[mutated] = rng.choice(20, int(mutated.sum()), p=BACKGROUND)
            cut = int(rng.integers(0, 10))
            for leaf, start, size in placed:
                if rng.random() < 0.1:  # this member lost the instance
                    letters[start : start + size] = rng.choice(20, size, p=BACKGROUND)
                elif start >= cut:
                    rows.append((leaf, len(sequences), offset + start - cut, size, fam))
            for leaf, start, size in lookalike:
                if start >= cut:
                    alikes.append((leaf, len(sequences), offset + start - cut, size, fam))
            labelled += [
                (len(sequences), max(0, a - cut), b - cut, name)
                for a, b, name in label_spans(labels)
                if b > cut
            ]
            sequences.append(letters[cut:])
            family.append(fam)
            cuts.append(cut)
            offset += length - cut
            offsets.append(offset)
    columns = ["leaf", "sample", "start", "size", "family"]
    return _World(
        sequences,
        np.array(family),
        np.array(cuts),
        np.array(offsets, np.int64),
        leaves,
        pd.DataFrame(rows, columns=columns),
        pd.DataFrame(alikes, columns=columns),
        pd.DataFrame(labelled, columns=["sample", "start", "end", "concept"]),
    )


def _place(
    fam: int,
    leaves: list[_Leaf],
    length: int,
    template: np.ndarray,
    turns: np.ndarray,
    rng: np.random.Generator,
) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Write the family's instances and look-alikes into its template, none overlapping another."""
    free = np.ones(length, bool)
    placed, lookalike = [], []
    for number in rng.permutation(len(leaves)):
        leaf = leaves[number]
        present = fam in leaf.families
        copies = 1 + int(rng.random() < 0.25) if present else int(rng.random() < 0.15)
        for _ in range(copies):
            for _ in range(12):
                top = max(1, length - leaf.length)
                start = int(rng.integers(0, min(top, 24) if leaf.near_start and rng.random() < 0.7 else top))
                if leaf.form.kind == "labelled":
                    if not present or not len(turns):
                        break
                    start = int(rng.choice(turns))
                if free[max(0, start - 2) : start + leaf.length + 2].all():
                    letters = leaf.form.write(rng, BACKGROUND, strength=1.0 if present else 0.45)
                    here = template[start : start + len(letters)]
                    here[:] = np.where(letters == KEEP, here, letters)
                    free[start : start + len(letters)] = False
                    (placed if present else lookalike).append((int(number), start, len(letters)))
                    break
    return placed, lookalike


def _samples(world: _World) -> Samples:
    ids = [f"s{i:04d}" for i in range(len(world.sequences))]
    table = pd.DataFrame({"family": [f"F{f:03d}" for f in world.family]}, index=pd.Index(ids, name="id"))
    return Samples(ids, ["".join(LETTERS[s]) for s in world.sequences], table=table, kind="protein")


@dataclass(frozen=True)
class _Roles:
    """Who reads what: (leaf, feature, share of instances, share of positions, gain), and the nuisance."""

    readers: tuple[tuple[int, int, float, float, float], ...]
    by_leaf: dict[int, tuple[int, ...]]
    position: tuple[tuple[int, str, float, float], ...]
    letter: tuple[tuple[int, int], ...]
    window: tuple[tuple[int, tuple[int, ...]], ...]
    dense: tuple[int, ...]
    nuisance: tuple[int, ...]


def _draw_roles(settings: PlantedSettings, leaves: list[_Leaf], rng: np.random.Generator) -> _Roles:
    order = iter(rng.permutation(settings.n_features).tolist())
    readers, by_leaf = [], {}
    for number, leaf in enumerate(leaves):
        own = [next(order) for _ in range(2 if leaf.kind != "masked" else 3)]
        shares = (0.85, 0.7, 0.6)
        readers += [
            (number, f, shares[i], (0.85, 0.7, 0.7)[i], (3.0, 2.5, 2.0)[i]) for i, f in enumerate(own)
        ]
        by_leaf[number] = tuple(own)
    known = [n for n, leaf in enumerate(leaves) if leaf.kind in ("masked", "plain")]
    for n, other in zip(known, rng.permutation(known).tolist()):
        if n != other:  # the main reader of one concept also fires on part of another
            readers.append((other, by_leaf[n][0], 0.5, 0.7, 2.2))
    rest = list(order)
    take = lambda n: [rest.pop() for _ in range(min(n, len(rest)))]  # noqa: E731
    position = tuple(
        (f, "NC"[i % 2], float(rng.integers(2, 40)), float(rng.uniform(2, 6))) for i, f in enumerate(take(8))
    )
    letter = tuple((f, int(rng.integers(0, 20))) for f in take(8))
    window = tuple((f, tuple(rng.choice(20, 4, replace=False).tolist())) for f in take(6))
    take(6)  # these never fire
    return _Roles(tuple(readers), by_leaf, position, letter, window, tuple(take(3)), tuple(rest))


def _read_world(
    world: _World, roles: _Roles, settings: PlantedSettings, rng: np.random.Generator
) -> sp.csr_array:
    """The codes [n_positions, n_features] of one dictionary."""
    n = int(world.offsets[-1])
    rows, columns, values = [], [], []

    def add(where: np.ndarray, feature: int, value: np.ndarray) -> None:
        rows.append(where)
        columns.append(np.full(len(where), feature))
        values.append(value)

    for leaf, feature, share, inside, gain in roles.readers:
        mine = world.instances[world.instances.leaf == leaf]
        where, instance = _fire(mine, share, inside, rng)
        if world.leaves[leaf].form.kind == "paired":  # a pair is read at its two ends
            step = where - mine["start"].to_numpy()[instance]
            where = where[(step == 0) | (step == mine["size"].to_numpy()[instance] - 1)]
        add(where, feature, gain * rng.gamma(6, 1 / 6, len(where)))
        alike = world.lookalikes[world.lookalikes.leaf == leaf]
        where, _ = _fire(alike, share * 0.5, inside * 0.7, rng)
        add(where, feature, 0.4 * gain * rng.gamma(2, 1 / 2, len(where)))
    for feature in {f for fs in roles.by_leaf.values() for f in fs}:
        where = _runs(world, settings.noise, 3.0, rng)
        add(where, feature, rng.exponential(0.9, len(where)))
    for feature in roles.nuisance:
        where = _runs(world, float(rng.uniform(0.003, 0.04)), float(rng.uniform(2, 12)), rng)
        add(where, feature, rng.gamma(2, 1.0, len(where)))
    _add_confounders(world, roles, add, rng)
    codes = sp.coo_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(n, settings.n_features),
    ).tocsr()
    codes.sum_duplicates()
    return codes.astype(np.float32)


def _fire(
    instances: pd.DataFrame, share: float, inside: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Positions where a reader fires: a share of the instances, and a share of the positions inside."""
    fires = np.flatnonzero(rng.random(len(instances)) < share)
    start, size = (instances[name].to_numpy()[fires] for name in ("start", "size"))
    instance, where = positions_in(start, start + size)
    keep = (rng.random(len(where)) < inside) | (np.repeat(size, size) == 1)
    return where[keep].astype(np.int64), fires[instance[keep]]


def _runs(world: _World, density: float, mean_run: float, rng: np.random.Generator) -> np.ndarray:
    """Autocorrelated noise, half of it shared by the members of a family at the same template position."""
    n = int(world.offsets[-1])
    lengths = np.diff(world.offsets)
    events = rng.poisson(density * n / mean_run)
    start = rng.integers(0, n, events)
    sample = np.searchsorted(world.offsets, start, side="right") - 1
    shared = rng.random(events) < 0.5 / 4  # an event of about four members each
    parts_sample, parts_start = [sample[~shared]], [(start - world.offsets[sample])[~shared]]
    for s, p in zip(sample[shared], (start - world.offsets[sample])[shared]):
        mates = np.flatnonzero((world.family == world.family[s]) & (rng.random(len(world.family)) < 0.8))
        parts_sample.append(mates)
        parts_start.append(p + world.cut[s] - world.cut[mates])
    sample, begin = np.concatenate(parts_sample), np.concatenate(parts_start)
    size = rng.geometric(1 / mean_run, len(sample))
    run, where = positions_in(begin, begin + size)
    inside = (where >= 0) & (where < lengths[sample[run]])
    return np.unique((where + world.offsets[sample[run]])[inside])


def _add_confounders(world: _World, roles: _Roles, add, rng: np.random.Generator) -> None:
    """Features of position, of single letters, of window composition, and dense ones."""
    n = int(world.offsets[-1])
    letters = np.concatenate(world.sequences)
    lengths = np.diff(world.offsets)
    from_start = np.concatenate([np.arange(m) for m in lengths])
    from_end = np.repeat(lengths, lengths) - 1 - from_start
    for feature, end, centre, width in roles.position:
        distance = from_start if end == "N" else from_end
        where = np.flatnonzero(rng.random(n) < 0.9 * np.exp(-(((distance - centre) / width) ** 2)))
        add(where, feature, 2 * rng.gamma(4, 1 / 4, len(where)))
    for feature, letter in roles.letter:
        where = np.flatnonzero((letters == letter) & (rng.random(n) < 0.9))
        add(where, feature, 2 * rng.gamma(4, 1 / 4, len(where)))
    for feature, favoured in roles.window:
        share = np.convolve(np.isin(letters, favoured).astype(float), np.ones(9) / 9, mode="same")
        where = np.flatnonzero((share > np.quantile(share, 0.96)) & (rng.random(n) < 0.9))
        add(where, feature, 2 * rng.gamma(4, 1 / 4, len(where)))
    for feature in roles.dense:
        where = np.flatnonzero(rng.random(n) < 0.4)
        add(where, feature, rng.gamma(2, 1 / 2, len(where)))


# How every planted annotation is stated.
STATED = {"strand": ".", "source": "planted", "evidence": "planted", "note": "", "release": "1"}


def under_one_name(frame: pd.DataFrame) -> pd.DataFrame:
    """The halves of merged concepts as their source knows them."""
    names = frame["concept"].str.replace(r"^planted:merged[ab](\d+)$", r"planted:merged\1", regex=True)
    return frame.assign(concept=names)


def _withhold(
    world: _World,
    samples: Samples,
    split: Split,
    features: FeatureMatrix,
    seeds: tuple[FeatureMatrix, ...],
    roles: _Roles,
    settings: PlantedSettings,
    rng: np.random.Generator,
) -> Planted:
    """Turn instances into annotations, less what is hidden."""
    table = world.instances
    leaf = table["leaf"].to_numpy()
    kinds = np.array([x.kind for x in world.leaves], dtype=object)[leaf]
    names = np.array([f"planted:{x.name}" for x in world.leaves], dtype=object)[leaf]
    ids = np.array(samples.ids, dtype=object)
    start = table["start"].to_numpy() - world.offsets[table["sample"].to_numpy()]
    frame = pd.DataFrame({"sample": ids[table["sample"]], "start": start, "end": start + table["size"]})
    frame["concept"] = names
    hidden = np.zeros(len(frame), bool)
    novel, merged = {}, {}
    if settings.hide:
        for number, item in enumerate(world.leaves):
            mine = leaf == number
            if item.kind == "masked":
                hidden |= mine & hide_whole_families(
                    table["family"].to_numpy(), mine, settings.hidden_fraction, rng
                )
            elif item.kind == "novel":
                novel[f"planted:{item.name}"] = roles.by_leaf[number]
            elif item.kind == "mergeda":
                name = f"planted:merged{item.name[7:]}"
                merged[name] = (roles.by_leaf[number], roles.by_leaf[number + 1])
    shown = frame[~hidden & ~((kinds == "novel") & settings.hide)]
    shown = under_one_name(shown) if settings.hide else shown
    if len(world.labels):
        spans = world.labels.assign(
            sample=ids[world.labels["sample"]], concept="structure:" + world.labels["concept"]
        )
        shown = pd.concat([shown, spans], ignore_index=True)
    names = sorted(set(shown["concept"]))
    of = {"name": names, "parent": "", "level": 0, "source": "planted"}
    concepts = pd.DataFrame(
        {**of, "exhaustive": [c.startswith("structure:") for c in names]},
        index=pd.Index(names, name="concept"),
    )
    return Planted(
        features,
        Annotations(shown.assign(**STATED), concepts=concepts),
        split,
        seeds,
        frame[hidden].reset_index(drop=True),
        novel,
        merged,
        frame,
        {f"planted:{x.name}": roles.by_leaf[i] for i, x in enumerate(world.leaves)},
        {f"planted:{x.name}": x.form.kind for x in world.leaves},
        settings,
    )
