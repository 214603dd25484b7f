"""Candidates against planted truth, in as many worlds as one likes (:mod:`sciinterp.discovery.planted`).

Every world is one file of the output folder, so a long benchmark is stopped and resumed at will. The summary holds
the mean of each measure over worlds with a 90% interval from a bootstrap of the worlds.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd

from sciinterp import __version__
from sciinterp.discovery.calibrate import (
    average_precision,
    brier,
    expected_calibration_error,
    reliability,
    share_interval,
)
from sciinterp.discovery.files import are_sets
from sciinterp.discovery.planted import Planted, PlantedSettings, plant
from sciinterp.discovery.planted_forms import FORMS
from sciinterp.discovery.problem import make_problem
from sciinterp.discovery.recover import K, meets_hidden, quality, single_feature_rule
from sciinterp.discovery.search import discover
from sciinterp.discovery.settings import Controls, DiscoverySettings
from sciinterp.frames import Table
from sciinterp.settings import at_least, plain_value, settings_of
from sciinterp.store.kept import kept, planned_folder

# What a world is measured by, and what must hold of it (a bound, or None).
MEASURES = ((f"precision_at_{K}", 0.8), ("gap_closed", 0.5), ("ap", None), ("ap_single_feature", None), ("recall", None),
            ("recall_q", None), ("precision_q", None), ("novel_in_ten", 0.8), ("refined", 2 / 3), ("covered", 0.85))  # fmt: skip
MAX_ECE, MAX_NULL = 0.05, 0.10
KINDS = ("missing", "novel", "refinement")
# Worlds with one hidden concept of each form, in sequences long enough for a stretch of forty beside the known ones.
OF_FORMS = PlantedSettings(
    n_masked=4, n_plain=6, n_merged=0, n_novel=len(FORMS), length=(160, 240), novel_forms=FORMS
)
FORM_BOUNDS = {"motif": 0.6, "gapped": 0.3, "paired": 0.3, "periodic": 0.5}


def benchmark_discovery(
    *,
    seed: int = 0,
    n_worlds: int = 3,
    n_null: int = 3,
    n_forms: int = 0,
    settings: PlantedSettings | None = None,
    out: str | Path | None = None,
) -> dict[str, Table]:
    """Candidates against planted truth.

    Parameters
    ----------
    seed : int
        Worlds ``seed, seed + 1 ...`` are planted.
    n_worlds, n_null : int
        Worlds with something hidden, and worlds where everything is annotated.
    n_forms : int
        Worlds where a concept of each form is hidden (:mod:`sciinterp.discovery.planted_forms`): motif, gapped motif,
        pair, periodic stretch, domain, turn of labels.
    settings : PlantedSettings, optional
    out : path, optional
        Folder that keeps each world's outcome; run again to resume.

    Returns
    -------
    dict of Table
        ``worlds`` (one row a world: average precision beside the best single-feature rule, precision at 50 with its
        predicted interval, novel concepts in the first ten, refinements recovered), ``null`` (candidates at q <= 0.1
        where nothing is hidden), ``calibration`` (reliability of the pooled missing candidates) and ``summary``
        (``measure value low high bound n``; ``low, high`` a 90% interval); and ``forms``, where they are asked for: of
        each form the share found in the first ten candidates, and rows among these that read nothing hidden.

    Raises
    ------
    MismatchError
        When the folder holds worlds of other settings.
    """
    base, seed = settings_of(settings, PlantedSettings), plain_value(seed, int, "seed")
    given = {"n_worlds": n_worlds, "n_null": n_null, "n_forms": n_forms}
    n_worlds, n_null, n_forms = (plain_value(n, int, name, at_least(0)) for name, n in given.items())
    plan = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(base).items()}
    folder = planned_folder(out, {"settings": plan, "version": __version__})
    worlds, pooled, nulls = [], [], []
    for s in range(seed, seed + n_worlds):
        found = kept(folder, f"world-{s}", lambda s=s: _world(s, base))
        worlds.append({"seed": s, **found["row"]})
        pooled.append(pd.DataFrame({"probability": found["probability"], "truth": found["truth"]}))
    nothing = PlantedSettings(**{**base.__dict__, "hide": False})
    for s in range(seed, seed + n_null):
        nulls.append({"seed": s, **kept(folder, f"null-{s}", lambda s=s: _null(s, nothing))})
    pool = pd.concat(pooled, ignore_index=True) if pooled else pd.DataFrame({"probability": [], "truth": []})
    p, truth = pool["probability"].to_numpy(float), pool["truth"].to_numpy(float)
    frame, empty = pd.DataFrame(worlds), pd.DataFrame(nulls)
    forms = [kept(folder, f"forms-{s}", lambda s=s: _forms(s)) for s in range(seed, seed + n_forms)]
    by_form = {"forms": Table(_forms_summary(pd.DataFrame(forms)))} if forms else {}
    return by_form | {
        "worlds": Table(frame),
        "null": Table(empty),
        "calibration": Table(reliability(p, truth)),
        "summary": Table(_summary(frame, empty, pooled, p, truth)),
    }


class Measured(TypedDict):
    """A measure over worlds, with its interval and what must hold of it."""

    measure: str
    value: float
    low: float
    high: float
    bound: str
    n: int


def _over_worlds(measure: str, values: np.ndarray, bound: str) -> Measured:
    """The mean over worlds, with its bootstrap interval."""
    mean, low, high = share_interval(values, np.arange(len(values)))
    return {"measure": measure, "value": mean, "low": low, "high": high, "bound": bound, "n": len(values)}


def _summary(
    worlds: pd.DataFrame, nulls: pd.DataFrame, pooled: list[pd.DataFrame], p: np.ndarray, truth: np.ndarray
) -> list[Measured]:
    """Means over worlds with bootstrap intervals, pooled calibration, and lists that should have been empty."""
    rng = np.random.default_rng(0)
    rows = [
        _over_worlds(name, worlds[name].dropna().to_numpy(float), f">= {bound:.2f}" if bound else "")
        for name, bound in (MEASURES if len(worlds) else ())
    ]
    if len(p):
        errors = []
        for _ in range(200):
            some = pd.concat([pooled[i] for i in rng.integers(0, len(pooled), len(pooled))])
            errors.append(
                expected_calibration_error(some["probability"].to_numpy(), some["truth"].to_numpy())
            )
        of_all = (expected_calibration_error(p, truth), *np.quantile(errors, [0.05, 0.95]))
        for name, (value, low, high), bound in (
            ("calibration error", of_all, f"< {MAX_ECE:.2f}"),
            ("brier", (brier(p, truth), np.nan, np.nan), ""),
        ):
            rows.append(
                {"measure": name, "value": value, "low": low, "high": high, "bound": bound, "n": len(p)}
            )
    if len(nulls):
        rows.append(_over_worlds("null lists not empty", nulls["any"].to_numpy(float), f"<= {MAX_NULL:.2f}"))
    return rows


def _world(seed: int, settings: PlantedSettings) -> dict[str, object]:
    row, rows = score_world(plant(seed, settings), seed=seed)
    return {
        "row": row,
        "probability": rows["probability"].tolist(),
        "truth": [bool(t) for t in rows["truth"]],
    }


def _null(seed: int, settings: PlantedSettings) -> dict[str, object]:
    found = _search(plant(seed, settings), seed)
    kept = found[found["q"] <= 0.1]
    return {**{kind: int((kept["kind"] == kind).sum()) for kind in KINDS}, "any": bool(len(kept) > 0)}


def _forms(seed: int) -> dict[str, object]:
    """Of each form the share of its hidden concepts among the first ten; how many of these read nothing hidden."""
    world = plant(seed, OF_FORMS)
    found = _search(world, seed)
    names, n_false = _in_ten(found, world)
    row: dict[str, object] = {"false": n_false}
    for form in FORMS:
        hidden = [c for c in world.novel if world.forms[c] == form]
        row[form] = sum(c in names for c in hidden) / max(len(hidden), 1)
    return row


def _forms_summary(worlds: pd.DataFrame) -> list[Measured]:
    rows = []
    for name in (*FORMS, "false"):
        bound = f">= {FORM_BOUNDS[name]:.2f}" if name in FORM_BOUNDS else ""
        measure = "false rows in ten" if name == "false" else f"{name} in ten"
        rows.append(_over_worlds(measure, worlds[name].to_numpy(float), bound))
    return rows


def _in_ten(found: pd.DataFrame, world: Planted) -> tuple[set[str], int]:
    """Hidden concepts that the first ten novel features read, and how many of these read none."""
    novel = found[(found["kind"] == "novel") & ~are_sets(found)]["feature"].head(10)
    of = {f: concept for concept, features in world.novel.items() for f in features}
    return {of[f] for f in novel if f in of}, sum(f not in of for f in novel)


def _search(world: Planted, seed: int) -> Table:
    settings = DiscoverySettings(records=False, seed=seed)
    given = {"split": world.split, "control": Controls(seeds=world.seeds), "settings": settings}
    return discover(world.features, world.annotations, pd.DataFrame(), **given)


def score_world(world: Planted, *, seed: int = 0) -> tuple[dict[str, float], pd.DataFrame]:
    """One row of numbers, and the missing candidates with their truth."""
    found = _search(world, seed)
    samples = world.features.samples
    missing = found[found["kind"] == "missing"].reset_index(drop=True)
    missing["truth"] = meets_hidden(missing, world.missing, samples)
    truth = missing["truth"].to_numpy()
    family = world.split.family[np.array([samples.index(s) for s in missing["sample"]], np.int64)]
    cluster = pd.factorize(pd.Series(family).astype(str) + missing["concept"])[0]
    listed = quality(missing, truth, cluster, seed=seed)
    single = single_feature_rule(make_problem(world.features, world.annotations, world.split))
    n = len(world.missing)
    recall = [
        float(meets_hidden(world.missing, part, samples).mean()) if n else float("nan")
        for part in (missing, missing[missing["q"] <= 0.1])
    ]
    ap, ap_single = (
        average_precision(t["probability"].to_numpy(), of, n)
        for t, of in ((missing, truth), (single, meets_hidden(single, world.missing, samples)))
    )
    names = _in_ten(found, world)[0]
    refined = found[found["kind"] == "refinement"]
    split = sum(_is_split(row, world) for row in refined.to_dict("records"))
    row = {
        "ap": ap,
        "ap_single_feature": ap_single,
        "gap_closed": (ap - ap_single) / max(1 - ap_single, 1e-9),
        **listed,
        "covered": float(
            listed["predicted_low"] - 1e-9 <= listed[f"precision_at_{K}"] <= listed["predicted_high"] + 1e-9
        ),
        "recall": recall[0],
        "recall_q": recall[1],
        "novel_found": len(names),
        "novel_hidden": len(world.novel),
        "novel_in_ten": len(names) / max(len(world.novel), 1),
        "refined_found": int(split),
        "refined_hidden": len(world.merged),
        "refined": split / max(len(world.merged), 1),
    }
    return row, missing[["probability", "truth"]]


def _is_split(row: dict, world: Planted) -> bool:
    sides = world.merged.get(row["concept"])
    pair = row["evidence"]["features"]
    return sides is not None and (
        (pair[0] in sides[0] and pair[1] in sides[1]) or (pair[0] in sides[1] and pair[1] in sides[0])
    )
