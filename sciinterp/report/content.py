"""The content of a report as plain data: what ``report.json`` holds and the page shows.

Every number in the report comes from here; the template only lays it out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sciinterp.annotations.select import same_positions
from sciinterp.association.explanations import (
    ABOVE,
    OTHER,
    THRESHOLDS,
    TOO_FEW,
    explained_by,
    few_families,
    verdicts,
)
from sciinterp.association.set_facts import set_facts, set_sentences
from sciinterp.plots.concepts import baseline_kind, baselines_of, selected
from sciinterp.plots.given import read_log, table_of
from sciinterp.plots.logos import Letters, information
from sciinterp.plots.style import finite
from sciinterp.provenance import measured_on, origin_of
from sciinterp.report.feature_facts import FLANK, TOP_PEAKS, Activity, activities
from sciinterp.report.json_values import number, plain_data
from sciinterp.settings import Plain

if TYPE_CHECKING:
    from sciinterp.annotations import Annotations
    from sciinterp.codes import FeatureMatrix
    from sciinterp.sae import SAE
    from sciinterp.sae.architecture import Architecture
    from sciinterp.samples import Samples

FOUND = THRESHOLDS.found  # held-out F1 from which a concept counts as found
NEAR = THRESHOLDS.floor  # a feature whose best concept stays below this held-out F1 is called unexplained
MAX_UNEXPLAINED = 300
# features with a section of their own: those above every baseline or found, and unexplained ones
MAX_FOUND, MAX_SILENT = 24, 2
# what is said of a concept, in the order in which it is listed: the hits' explained_by, "above" where that is empty
VERDICTS = {kind.name or "above": kind.verdict for kind in verdicts()}
NUMBERS = (
    "f1_train threshold precision recall f1 f1_low f1_high average_precision average_precision_low "
    "average_precision_high auroc auroc_low auroc_high prevalence n_positive n_test_families n_test_families_effective "
    "n_families p_presence p_place q best_baseline_f1 delta_f1 delta_low delta_high p_above q_above folds_agree"
).split()

OF_SETS = "concept k_found k_probe probe chance any_of any_f1 sentence".split()


def verdict(row: Plain, baselines: Mapping[str, float | None]) -> str:
    """What is said of one concept, as a key of :data:`VERDICTS`: what its hit says, else what its numbers do.

    Parameters
    ----------
    row : mapping
        ``explained_by``; or ``f1 delta_low``, and ``best_baseline best_baseline_f1`` for hits without their baselines.
    baselines : mapping of str to float
        Held-out F1 of the counted baselines.

    Returns
    -------
    str
        ``"above"``, or what :func:`sciinterp.association.explanations.explained_by` says.
    """
    given = row.get("explained_by")
    if isinstance(given, str):
        return given or "above"
    f1, low = number(row.get("f1")), number(row.get("delta_low"))
    if not baselines and row.get("best_baseline"):
        baselines = {str(row["best_baseline"]): number(row.get("best_baseline_f1"))}
    best: dict[str, float] = {}
    for name, value in baselines.items():
        if value is not None:
            best[_explains(name)] = max(value, best.get(_explains(name), -1.0))
    said = explained_by(
        np.array([np.nan if f1 is None else f1]),
        np.array([-np.inf if low is None else low]),  # without an interval nothing is above
        {k: np.array([v]) for k, v in best.items()},
    )
    return "above" if said[0] == ABOVE else str(said[0])


def _explains(baseline: str) -> str:
    """What a counted baseline can explain; a name that is not ours is known by the word it holds."""
    kind = baseline_kind(baseline, counted=True)[0]
    return kind if kind in VERDICTS else OTHER


def _ceilings(hits: pd.DataFrame, names: Iterable[str]) -> set[str]:
    """Baselines that were not counted: as the hits say, else those that never are by default."""
    table = table_of((getattr(hits, "context", None) or {}).get("baselines"), "baselines")
    if {"baseline", "ceiling"} <= set(table.columns):
        marked = table.loc[table["ceiling"].map(lambda v: str(v).lower() in ("true", "1")), "baseline"]
        return set(marked.astype(str))
    return {name for name in names if baseline_kind(name)[0] == "ceiling"}


def concept_rows(
    hits: pd.DataFrame, annotations: Annotations | None = None, samples: Samples | None = None
) -> tuple[list[Plain], list[dict[str, str]]]:
    """One row a concept, strongest first, and the baselines that were run.

    Annotations bring names in words, and with samples which concepts have the positions of a stronger one.
    """
    chosen, table, names, same = selected(hits), baselines_of(hits), {}, {}
    folds = ((getattr(hits, "context", None) or {}).get("counts") or {}).get("folds", 1)
    if annotations is not None:
        names = annotations.concepts["name"].astype(str).to_dict()
    if annotations is not None and samples is not None:
        same = same_positions(annotations, samples, chosen["concept"].astype(str))
    ceilings = _ceilings(hits, map(str, table.columns))
    used = [
        {"name": str(c), "kind": "ceiling" if str(c) in ceilings else _explains(str(c))}
        for c in table.columns
    ]
    rows = []
    for record in chosen.to_dict("records"):
        concept = str(record["concept"])
        base = {
            str(c): number(table.at[record["concept"], c]) if record["concept"] in table.index else None
            for c in table.columns
        }
        competing = {k: v for k, v in base.items() if k not in ceilings}
        row: Plain = {
            "concept": concept,
            "name": names.get(concept, concept),
            "same_as": same.get(concept, ""),
        }
        feature = number(record.get("feature"))
        row["feature"] = int(feature) if feature is not None and feature >= 0 else None
        row.update({key: number(record.get(key)) for key in NUMBERS})
        row |= {key: str(record.get(key) or "") for key in ("test", "best_baseline")}
        row["baselines"], row["verdict"] = base, verdict(record, competing)
        row["choosing"] = of_choosing(row["folds_agree"], folds)
        row["few"] = _few(record) if row["verdict"] == TOO_FEW else ""
        row["found"] = row["f1"] is not None and row["f1"] >= FOUND
        rows.append(row)
    return rows, used


def tally(rows: list[Plain]) -> dict[str, int]:
    """How many concepts were tested, found and lie above all; ``once``: those at equal positions count as one."""
    tested = [row for row in rows if row["f1"] is not None]
    found = [row for row in tested if row["found"]]
    return {
        "concepts_tested": len(tested),
        "concepts_tested_once": sum(not row["same_as"] for row in tested),
        "concepts_f1_half": len(found),
        "concepts_f1_half_once": sum(not row["same_as"] for row in found),
        "concepts_f1_half_of_one_feature": sum(not row["choosing"] for row in found),
        "concepts_beating_every_baseline": sum(row["verdict"] == "above" for row in tested),
        "concepts_beating_every_baseline_uncontrolled": sum((row["delta_low"] or 0) > 0 for row in tested),
        "concepts_in_too_few_families": sum(row["verdict"] == TOO_FEW for row in tested),
    }


def _few(record: Plain) -> str:
    """What is said of a concept in too few families; hits of before 0.4 do not say how few."""
    n, needed = (number(record.get(key)) for key in ("n_test_families", "n_families_needed"))
    return "" if n is None else few_families(n, float("nan") if needed is None else needed)


def set_rows(hits: pd.DataFrame) -> Plain:
    """Of sets of features: sentences, sizes, and one row a concept; empty where no sets were read."""
    table = (getattr(hits, "context", None) or {}).get("sets")
    facts = set_facts(table) if isinstance(table, pd.DataFrame) else []
    sizes = sorted({k for one in facts for k in one.f1})
    return {
        "sentences": set_sentences(table) if facts else [],
        "sizes": sizes,
        "rows": [
            {name: plain_data(getattr(one, name)) for name in OF_SETS}
            | {"f1": [number(one.f1.get(k)) for k in sizes]}
            for one in facts
        ],
    }


def of_choosing(folds_agree: float | None, folds: int) -> str:
    """That scores of a selected row are not those of its feature, where not all folds chose it; else nothing.

    Examples
    --------
    >>> of_choosing(0, 3), of_choosing(3, 3)
    ('of choosing: 0 of 3 folds chose it', '')
    """
    if folds_agree is None or folds_agree >= folds:
        return ""
    return f"of choosing: {folds_agree:.0f} of {folds} folds chose it"


def letters_reach(rows: list[Plain]) -> Plain:
    """Concepts whose selected feature is no better than a fitted reader of the letters around a position.

    Returns
    -------
    dict
        ``concepts``: those that the letters find at :data:`NEAR` or more; ``of``: how many either of the two finds.
    """
    out, n = [], 0
    for row in rows:
        fitted = [row["baselines"].get(name) for name in ("window", "kmer")]
        fitted = [v for v in fitted if v is not None]
        if row["f1"] is not None and fitted:
            n += max(*fitted, row["f1"]) >= NEAR
            if max(fitted) >= max(row["f1"], NEAR):
                out.append(row["concept"])
    return {"concepts": out, "of": n}


class Portraits:
    """What can be said of any feature: where and how often it fires, and what it was tested against.

    Parameters
    ----------
    features : FeatureMatrix
    hits : pandas.DataFrame
    family : ndarray [n_samples], optional
        The family of every sample.
    """

    def __init__(self, features: FeatureMatrix, hits: pd.DataFrame, family: np.ndarray | None) -> None:
        self.features, self.concepts = features, _concepts_of(hits)
        self.letters = Letters(features.samples)
        density = features.density
        group = np.arange(len(features.samples)) if family is None else family
        self.rows: list[Plain] = []
        self.around: list[np.ndarray] = []  # the highest peaks of each feature
        for active in activities(features):
            self.rows.append(self._facts(active, float(density[active.feature]), group))
            self.around.append(active.position[:TOP_PEAKS].copy())

    def _facts(self, active: Activity, density: float, group: np.ndarray) -> Plain:
        """Facts of one feature; ``max`` is 0 where it never fires."""
        value, where = active.value, active.sample
        best = self.concepts.get(active.feature, [])
        return {
            "feature": active.feature,
            "density": density,
            "samples": len(where),
            "families": len(np.unique(group[where])),
            "max": float(value.max(initial=0.0)),
            "mean_peak": float(value.mean()) if len(value) else 0.0,
            "top_sample": self.features.samples.ids[int(where[0])] if len(where) else None,
            "nearest_concept": best[0][1] if best else None,
            "nearest_f1": best[0][0] if best else None,
        }

    def motif(self, j: int) -> str:
        """What stands around the highest peaks: capital letters from 1.5 bits, small from 0.5, dots elsewhere."""
        counts = self.letters.counts(self.around[j], FLANK)
        return self.letters.motif(counts, information(counts)) if counts.sum() else ""


def unexplained(portraits: Portraits) -> Plain:
    """Active features for which no tested concept reaches :data:`NEAR`, those seen in most families first."""
    active = [row for row in portraits.rows if row["samples"]]
    rows = [row for row in active if (row["nearest_f1"] or 0.0) < NEAR]
    rows.sort(key=lambda r: (-r["families"], -r["mean_peak"], r["feature"]))
    shown = [{**row, "motif": portraits.motif(row["feature"])} for row in rows[:MAX_UNEXPLAINED]]
    return {"n": len(rows), "n_active": len(active), "below": NEAR, "shown": len(shown), "rows": shown}


def notable(concepts: list[Plain], listing: Plain, portraits: Portraits, shown: int | None) -> list[Plain]:
    """Features that deserve a section: the one shown first, those above every baseline, those found, unexplained ones."""
    of_feature: dict[int, list[str]] = {}
    for c in concepts:
        if c["feature"] is not None and c["f1"] is not None:
            of_feature.setdefault(c["feature"], []).append(c["concept"])
    strong = sorted(
        (c for c in concepts if (c["verdict"] == "above" or c["found"]) and c["feature"] is not None),
        key=lambda c: (c["verdict"] != "above", -(c["delta_f1"] or 0.0), c["concept"]),
    )
    chosen: dict[int, str] = {}
    if shown is not None and shown not in {c["feature"] for c in strong}:
        chosen[shown] = "the clearest feature"
    for c in strong:
        if len(chosen) < MAX_FOUND:
            said = VERDICTS[c["verdict"]]
            chosen.setdefault(
                c["feature"], said if c["verdict"] == "above" else f"F1 of {FOUND:g} or more, {said}"
            )
    silent = sorted(listing["rows"], key=lambda r: -sum(c.isupper() for c in r["motif"]))
    for row in [r for r in silent if r["motif"]][:MAX_SILENT]:
        chosen.setdefault(row["feature"], "no concept explains it")
    out = [
        {
            **portraits.rows[j],
            "motif": portraits.motif(j),
            "why": why,
            "concepts": of_feature.get(j, []),
            "others": [{"concept": c, "f1": f1} for f1, c in portraits.concepts.get(j, [])[:5]],
        }
        for j, why in chosen.items()
        if j < portraits.features.n_features
    ]
    return sorted(out, key=lambda entry: entry["feature"] != shown)


def _concepts_of(hits: pd.DataFrame) -> dict[int, list[tuple[float, str]]]:
    """feature -> held-out F1 and concept of the pairs in the table, best first."""
    found: dict[int, list[tuple[float, str]]] = {}
    if len(hits) and {"feature", "concept", "f1"} <= set(hits.columns):
        for j, concept, f1 in zip(finite(hits["feature"]), hits["concept"].astype(str), finite(hits["f1"])):
            if not (math.isnan(j) or math.isnan(f1)):
                found.setdefault(int(j), []).append((float(f1), concept))
    return {j: sorted(pairs, key=lambda pair: (-pair[0], pair[1])) for j, pairs in found.items()}


def sae_summary(sae: SAE | None, features: FeatureMatrix, control: Plain | None = None) -> Plain:
    """Reconstruction, sparsity, dead features, densities and how it was trained.

    ``control`` holds the metrics of the same recipe on randomised weights.
    """
    trained = dict(getattr(sae, "metrics", None) or {})
    metrics = {**features.measured, **trained}
    density = features.density
    alive = density[density > 0]
    quantiles = np.quantile(alive, [0.05, 0.5, 0.95]).tolist() if len(alive) else [None] * 3
    keep: Plain = {"fve": None, "l0": None, "dead": None}
    keep |= {k: v for k, v in metrics.items() if not isinstance(v, np.ndarray | list | tuple | Mapping)}
    recipe = {k: v for k, v in (getattr(sae, "recipe", None) or {}).items() if v is not None}
    return {
        "architecture": _architecture(getattr(sae, "architecture", None)),
        "n_features": features.n_features,
        "metrics": keep,
        "measured_on": measured_on(origin_of(sae)) if trained or not metrics else "tokens of these samples",
        "control_fve": number((control or {}).get("fve")),
        "recipe": recipe,
        "peak_learning_rate": _peak_rate(sae),
        "density": {"low": quantiles[0], "median": quantiles[1], "high": quantiles[2]},
        "never_active_here": int((density == 0).sum()),
        "active_here": float(density.sum()),
        "l0_here": float(features.n_stored / max(features.n_positions, 1)),
    }


def _peak_rate(sae: SAE | None) -> float | None:
    """The largest learning rate of the training log."""
    log = read_log(sae)
    rates = finite(log["lr"]) if "lr" in log.columns else np.zeros(0)
    return float(np.nanmax(rates)) if len(rates) and not np.isnan(rates).all() else None


def _architecture(value: Architecture | str | None) -> Plain:
    if value is None:
        return {"name": "not stated", "settings": {}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        settings = {k: v for k, v in dataclasses.asdict(value).items() if k != "n_features"}
        return {"name": type(value).__name__, "settings": settings}
    return {"name": str(value), "settings": {}}


def controls(
    hits: pd.DataFrame,
    candidates: pd.DataFrame | None,
    concepts: list[Plain],
    used: list[dict[str, str]],
) -> Plain:
    """Which controls and baselines were run, how far each gets, and which were not run, with the reason."""
    run = []
    for name, kind in ((b["name"], b["kind"]) for b in used):
        values = [(c["baselines"].get(name), c["f1"]) for c in concepts]
        values = [(v, f1) for v, f1 in values if v is not None and f1 is not None]
        run.append(
            {
                "name": name,
                "kind": kind,
                "counted": kind != "ceiling",
                "found": sum(v >= FOUND for v, _ in values),
                "of": len(values),
                "reaches": sum(v >= max(f1, NEAR) for v, f1 in values),
                "either": sum(max(v, f1) >= NEAR for v, f1 in values),
            }
        )
    missing: list[dict[str, str]] = []
    for stage, table in (("association", hits), ("discovery", candidates)):
        not_run = (getattr(table, "context", None) or {}).get("not_run") or {}
        pairs = sorted(not_run.items()) if isinstance(not_run, Mapping) else ((str(n), "") for n in not_run)
        missing += [{"stage": stage, "name": str(k), "reason": str(v)} for k, v in pairs]
    not_tested = (getattr(hits, "context", None) or {}).get("not_tested") or {}
    return {
        "run": run,
        "not_run": missing,
        "not_tested": [{"name": str(k), "reason": str(v)} for k, v in sorted(not_tested.items())],
    }
