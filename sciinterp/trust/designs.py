"""Designs: one world each, run through the package as a user would, and what is counted of it.

A design is a function of a seed. It returns counts, ``key: [how many, of how many]``, and for calibration
the probabilities of a list with their truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd

from sciinterp.association import AssociationSettings, associate
from sciinterp.association.explanations import ABOVE
from sciinterp.association.shift_test import screen_places
from sciinterp.association.statistics import screen
from sciinterp.discovery import Controls, DiscoverySettings, discover
from sciinterp.discovery.files import are_sets
from sciinterp.frames import Table
from sciinterp.trust.association_worlds import (
    AssociationWorld,
    Collection,
    planted,
    rivals,
    rotated,
    unrelated,
)
from sciinterp.trust.discovery_worlds import CLADES, SETS, DiscoveryWorld, make_world

Counts = dict[str, list[int] | list[float]]
P, Q = 0.05, 0.1  # levels at which p and q are judged
TEN = 10  # novel candidates that are looked at

# Collections without a relation between features and concepts; lengths from 60 to 600 in all of them.
UNRELATED: Mapping[str, tuple[str, Collection]] = {
    "lengths": ("60 families of 5, lengths 60 to 600", Collection()),
    "sizes": ("60 families of 1 to 80, lengths 60 to 600", Collection(members=(1, 80))),
    "singletons": ("300 families of 1, lengths 60 to 600", Collection(n_families=300, members=(1, 1))),
    "runs": ("runs and spans of 40 positions", Collection(run=40.0, span=40.0)),
    "copies": ("every feature four times", Collection(copies=4)),
    "rare": ("concepts in 3 to 6 families", Collection(carriers=(3, 6))),
}
PLANTED: Mapping[str, tuple[str, int, float]] = {
    "planted-15-8": ("15 families, recall .8", 15, 0.8),
    "planted-15-4": ("15 families, recall .4", 15, 0.4),
    "planted-15-2": ("15 families, recall .2", 15, 0.2),
    "planted-6-8": ("6 families, recall .8", 6, 0.8),
    "planted-3-8": ("3 families, recall .8", 3, 0.8),
}
RIVALS = (5, 8, 14, 15, 40)  # test families
FOLDED = (15, 40)  # families in all, every one of which judges


def _unrelated(seed: int, make: Callable[[int], AssociationWorld]) -> Counts:
    """p of all pairs where none is there but by chance, and whether any hit has a small q."""
    world = make(seed)
    samples, names = world.features.samples, world.annotations.position_names
    positives = world.annotations.positives(samples, names)
    covered = world.annotations.covered(samples, names)
    presence = screen(world.features, positives, covered, world.split, seed=seed)
    place = screen_places(world.features, positives, world.split.family, presence)
    hits = _hits(world, seed, strongest=None)
    return {
        "presence": _few(presence.p, P),
        "place": _few(place.p, P),
        **{f"any-{name}": [int((hits[name] <= Q).any()), 1] for name in ("q", "q_presence", "q_place")},
    }


def _planted(seed: int, n_carriers: int, recall: float) -> Counts:
    """How many planted pairs have a small q, among 64 features and 12 concepts."""
    world = planted(seed, Collection(n_features=64), n_carriers=n_carriers, recall=recall)
    hits = _hits(world, seed, strongest=None)
    mine = _of_planted(hits, world)
    return {"found": [int((mine["q"] <= Q).sum()), len(world.planted)]}


def _rivals(seed: int, n_test: int, n_train: int = 30, folds: int | None = None) -> Counts:
    """Ends of the intervals of a difference that is 0, and of an F1 that is known."""
    hits = _selected(rivals(seed, n_test=n_test, n_train=n_train), seed, folds)
    low = hits["delta_low"].to_numpy(float)
    given = np.isfinite(hits[["f1_low", "f1_high"]].to_numpy(float)).all(1)
    inside = (hits["f1_low"] <= hits["truth"]) & (hits["truth"] <= hits["f1_high"])
    return {
        "above": [int((low > 0).sum()), int(np.isfinite(low).sum())],
        "covers": [int((inside & given).sum()), int(given.sum())],
        "given": [int(given.sum()), len(given)],
    }


def _verdicts(seed: int, lead: int) -> Counts:
    """Concepts called above every counted baseline, beside two rivals; the last ones are."""
    world = rivals(seed, n_test=14, n_rivals=2, lead=lead)
    hits = _selected(world, seed)
    above = (hits["explained_by"] == ABOVE).to_numpy()
    truly = hits["leads"].to_numpy(bool)
    return {
        "false": [int((above & ~truly).sum()), int(above.sum())],
        "any": [int((above & ~truly).any()), 1],
        "found": [int((above & truly).sum()), int(truly.sum())],
    }


def _hits(world: AssociationWorld, seed: int, *, strongest: int | None, folds: int | None = None) -> Table:
    # Rivals are a control and neurons: two kinds of readers that are chosen and judged as a feature is.
    control, acts = (*world.rivals, None, None)[:2]
    return associate(
        world.features,
        world.annotations,
        split=world.split,
        control=control,
        acts=None if acts is None else acts.by_feature(0, acts.n_features).to_csc().toarray(),
        settings=AssociationSettings(strongest=strongest, sets=(), folds=folds),
        seed=seed,
    )


def _selected(world: AssociationWorld, seed: int, folds: int | None = None) -> pd.DataFrame:
    """The selected hits of features that read their concept, with the truth beside."""
    hits = _hits(world, seed, strongest=len(world.planted), folds=folds)
    hits = _of_planted(pd.DataFrame(hits[hits["selected"]]), world)
    return hits.assign(
        truth=hits["concept"].map(world.truth), leads=[c in world.leading for c in hits["concept"]]
    )


def _of_planted(hits: pd.DataFrame, world: AssociationWorld) -> pd.DataFrame:
    """The rows of features and the concepts that they were made to read."""
    return hits[hits["concept"].map(world.planted) == hits["feature"]]


def _few(values: np.ndarray, level: float) -> list[int]:
    values = values[np.isfinite(values)]
    return [int((values <= level).sum()), len(values)]


def _discovered(
    seed: int, hide: bool, codes: str, clades: tuple[int, ...] = CLADES, sets: bool = False
) -> Counts:
    """What is listed of a world, and what of it is true."""
    world = make_world(seed, hide=hide, codes=codes, clades=clades, sets=sets)
    found = discover(
        world.features,
        world.annotations,
        pd.DataFrame(),
        split=world.split,
        control=Controls(seeds=world.seeds),
        settings=DiscoverySettings(records=False, seed=seed),
    )
    rows = pd.DataFrame(found).assign(true=judged(found, world), of_set=are_sets(found))
    listed = rows[rows["q"] <= Q]
    out: Counts = {
        "any": [int(len(listed) > 0), 1],
        "likely": [int((rows["probability"] > 0.5).any()), 1],
    }
    for kind in ("missing", "novel", "refinement"):
        mine = listed[listed["kind"] == kind]
        out[f"false-{kind}"] = [int((~mine["true"]).sum()), len(mine)]
    out["sets-likely"] = [int((rows["of_set"] & (rows["probability"] > 0.5)).any()), 1]
    out["sets-false"] = [int((~rows.loc[rows["of_set"], "true"]).sum()), int(rows["of_set"].sum())]
    missing = rows[rows["kind"] == "missing"]
    out["p"] = missing["probability"].round(4).tolist()
    out["truth"] = missing["true"].astype(int).tolist()
    high = missing[missing["probability"] >= 0.9]
    out["sure"] = [int(high["true"].sum()), len(high)]
    if hide:
        out |= _recalls(rows, world)
    return out


def _recalls(rows: pd.DataFrame, world: DiscoveryWorld) -> Counts:
    """How much of what is hidden is listed, by kind."""
    novel = rows[rows["kind"] == "novel"]
    out = {}
    for kind, own in world.novel.values():
        first = novel[novel["of_set"] == (kind in SETS)].head(TEN)
        out[f"novel-{kind}"] = [int((first["true"] & first["feature"].isin(own)).any()), 1]
    refined = rows[(rows["kind"] == "refinement") & rows["true"]]
    out["refined"] = [refined["concept"].nunique(), len(world.merged)]
    listed = rows[(rows["kind"] == "missing") & (rows["q"] <= Q)]
    out["recovered"] = [int(meets(world.missing, listed).sum()), len(world.missing)]
    return out


def judged(rows: pd.DataFrame, world: DiscoveryWorld) -> np.ndarray:
    """bool [n]: a missing row meets an instance that was left out, a novel one is a reader of a concept nobody names (all of a set
    are readers of one), and a refinement parts the readers of two concepts that share a name."""
    true = meets(rows, world.missing) & (rows["kind"] == "missing").to_numpy()
    for i, row in enumerate(rows.itertuples()):
        if row.kind == "novel":
            members = set(row.evidence["set"]["features"] if "set" in row.evidence else [row.feature])
            true[i] = any(members <= set(own) for _, own in world.novel.values())
        elif row.kind == "refinement" and row.concept in world.merged:
            pair, sides = row.evidence["features"][:2], world.merged[row.concept]
            true[i] = sorted(int(f in sides[1]) for f in pair if f in sides[0] + sides[1]) == [0, 1]
    return true


def meets(rows: pd.DataFrame, others: pd.DataFrame) -> np.ndarray:
    """bool [n]: does a row share a position with another of the same sample and concept?"""
    places: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for o in others.itertuples():
        places.setdefault((o.sample, o.concept), []).append((o.start, o.end))
    return np.array(
        [
            any(a < r.end and r.start < b for a, b in places.get((r.sample, r.concept), ()))
            for r in rows.itertuples()
        ],
        bool,
    )


DESIGNS: dict[str, Callable[[int], Counts]] = {
    **{
        name: partial(_unrelated, make=partial(unrelated, collection=of))
        for name, (_, of) in UNRELATED.items()
    },
    "rotated": partial(_unrelated, make=rotated),
    **{name: partial(_planted, n_carriers=n, recall=r) for name, (_, n, r) in PLANTED.items()},
    **{f"rivals-{n}": partial(_rivals, n_test=n, folds=1) for n in RIVALS},
    **{f"folded-{n}": partial(_rivals, n_test=n // 3, n_train=n - n // 3) for n in FOLDED},
    "verdicts-none": partial(_verdicts, lead=0),
    "verdicts-third": partial(_verdicts, lead=6),
    "hidden-topk": partial(_discovered, hide=True, codes="topk"),
    "hidden-sets": partial(_discovered, hide=True, codes="topk", sets=True),
    "hidden-relu": partial(_discovered, hide=True, codes="relu"),
    "nothing-topk": partial(_discovered, hide=False, codes="topk"),
}
