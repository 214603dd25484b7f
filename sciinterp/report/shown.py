"""What a page shows: codes, hits and what goes with them, passed or read from their folder, and all of one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from sciinterp.annotations import Annotations, read_annotations
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import require_kinds
from sciinterp.models.registry import ENTRIES
from sciinterp.plots.given import hits_of
from sciinterp.provenance import Origin, held_out, origin_of, require_one_run
from sciinterp.report.json_values import plain_data
from sciinterp.report.prose import releases
from sciinterp.samples import Split
from sciinterp.settings import Plain
from sciinterp.splits.families import in_words
from sciinterp.store import ledger
from sciinterp.store.split_file import read_split

if TYPE_CHECKING:
    from sciinterp.sae import SAE


@dataclass(frozen=True, eq=False)
class Shown:
    """What a report or a browser is made of; see :func:`sciinterp.report.write.report`."""

    features: FeatureMatrix
    hits: pd.DataFrame
    sae: SAE | None
    candidates: pd.DataFrame | None
    annotations: Annotations | None
    split: Split | None
    manifest: Plain


def gathered(
    folder: Path,
    features: FeatureMatrix,
    hits: pd.DataFrame,
    candidates: pd.DataFrame | None,
    annotations: Annotations | None,
    split: Split | None,
    manifest: Mapping[str, object] | None,
    *,
    sae: SAE | None = None,
) -> Shown:
    """What was given; annotations and split that were not are read from a run folder that holds hits.

    Raises
    ------
    InputError
        Something is of another class.
    StoreError, MismatchError
        What lies in the folder is damaged, or the parts are not of one run.
    """
    optional = {
        "candidates": (candidates, pd.DataFrame),
        "annotations": (annotations, Annotations),
        "split": (split, Split),
        "manifest": (manifest, Mapping),
    }
    require_kinds(features=(features, FeatureMatrix))
    require_kinds(**{name: pair for name, pair in optional.items() if pair[0] is not None})
    hits = hits_of(hits, "feature", "concept", "f1")
    if "associate" in ledger.read_stages(folder):
        ledger.require_intact(folder, "annotations.tsv", "annotations.concepts.tsv", "split.tsv")
        if annotations is None and (folder / "annotations.tsv").is_file():
            annotations = read_annotations(folder / "annotations.tsv")
        if split is None and (folder / "split.tsv").is_file():
            split = read_split(folder / "split.tsv", features.samples)
    sae = features.sae if sae is None else sae
    require_one_run(features, hits, candidates, sae=sae, annotations=annotations, split=split)
    return Shown(features, hits, sae, candidates, annotations, split, dict(manifest or {}))


def describe(given: Shown) -> Plain:
    """What was done: model, site, data, annotations, split, licences."""
    annotations, split, manifest = given.annotations, given.split, given.manifest
    samples, context = given.features.samples, getattr(given.hits, "context", None) or {}
    origin = origin_of(given.sae).filled(given.features.origin)
    origin = origin.filled(Origin.from_record(manifest.get("model") or {}))
    of_hits = context.get("held_out") or {}
    told = held_out(origin, samples, split).to_record()
    judged = told
    if split is None:  # as it was when the hits were made
        told = judged = of_hits or told
    elif of_hits.get("crossed"):  # all families judged the hits, and those of the test part the SAE
        judged = held_out(origin, samples, split, all_judge=True).to_record()
    counts = context.get("counts") or {}
    out: Plain = {
        "held_out": told,
        "judged": judged,
        "folds": counts.get("folds", 1),
        "q_says": (counts.get("screen") or {}).get("q_says", ""),
        "model": origin.model or "a model that was not named",
        "site": str(origin.site or (manifest.get("settings") or {}).get("site") or "not stated"),
        "data": {
            "kind": samples.kind,
            "n": len(samples),
            "positions": samples.n_positions,
            "n_in": samples.n_in,
            "dropped": dict(samples.dropped),
            "file": Path(samples.source).name if samples.source else "",
            "sha256": samples.digest,
        },
        "licences": dict(manifest.get("licences") or _licence_of(origin.model)),
        "association_settings": context.get("settings") or {},
        "annotations": None,
        "split": None,
    }
    if annotations is not None:
        sources = annotations.frame["source"].astype(str).value_counts().sort_index()
        told_of = annotations.frame.groupby("source")["release"].agg(lambda s: releases(map(str, s)))
        out["annotations"] = {
            "rows": len(annotations),
            "elsewhere": int((annotations.sample_numbers(samples) < 0).sum()),
            "concepts": len(annotations.names),
            "on_positions": len(annotations.position_names),
            "counts": plain_data(annotations.counts),
            "sources": [
                {"source": s, "rows": int(n), "release": str(told_of.get(s, ""))} for s, n in sources.items()
            ],
        }
    if split is not None:
        parts = [
            {"part": p, "samples": len(split.part(p)), "families": len(split.families(p))}
            for p in ("train", "calibration", "test")
        ]
        out["split"] = {
            "by": split.by,
            "how": in_words(split.by, list(samples.columns)),
            "seed": split.seed,
            "n_families": len(split.family_names),
            "parts": parts,
        }
    return out


def _licence_of(model: object) -> dict[str, str]:
    """The licence of a model that is listed, as a run states it; nothing of another one."""
    entry = next((e for e in ENTRIES if e.name == model), None)
    return {} if entry is None else {"model": f"{entry.name}: {entry.licence}"}
