"""Write a report: one self-contained HTML file, the same content as JSON, and the figures beside it.

The page loads nothing, holds no script but our own static one, and its content-security policy names that
script and the one style sheet by their hashes. Everything from data is escaped by the template. Nothing in it
is a date or a path: the same run gives the same bytes.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciinterp.errors import InputError
from sciinterp.report import content as c
from sciinterp.report import pictures, prose
from sciinterp.report.beyond import beyond
from sciinterp.report.inline import inline_svg

if TYPE_CHECKING:
    import pandas as pd

    from sciinterp.activations import Activations
    from sciinterp.features import FeatureMatrix
    from sciinterp.sae import SAE

SCHEMA = 1
MAX_SCAN = 20_000  # features beyond which the listing of unexplained ones would take minutes


def report(
    path: str | Path,
    *,
    sae: SAE | None = None,
    features: FeatureMatrix,
    hits: pd.DataFrame,
    candidates: pd.DataFrame | None = None,
    acts: Activations | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """Write the enrichment report of a run.

    Parameters
    ----------
    path : path
        The HTML file; ``.json`` of the same name and a folder ``figures/`` (SVG and PNG) are beside it.
    sae : SAE, optional
        Its metrics, architecture and training log are shown; ``features.sae`` when not given.
    features : FeatureMatrix
    hits : pandas.DataFrame
        What ``associate`` returned; its ``context`` brings annotations, split, baselines, what was not run.
    candidates : pandas.DataFrame, optional
        What ``discover`` returned.
    acts : Activations, optional
        Names model and site where the SAE does not.
    manifest : mapping, optional
        The run's manifest: settings, licences, versions, hashes.

    Returns
    -------
    Path
        The HTML file.

    Raises
    ------
    InputError
        When ``hits`` is not a table of hits.
    StoreError
        When a file cannot be written.
    """
    from sciinterp.store.atomic import atomic_write, write_json

    path = Path(path)
    content, drawn, faces = _assemble(sae, features, hits, candidates, acts, manifest or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent / "figures"
    folder.mkdir(exist_ok=True)
    for picture in [*drawn, *faces]:
        atomic_write(folder / f"{picture.name}.svg", picture.svg)
        if picture.png is not None:
            atomic_write(folder / f"{picture.name}.png", picture.png)
    write_json(path.with_suffix(".json"), content)
    atomic_write(path, _page(content, drawn, faces).encode("utf-8"))
    return path


def _assemble(
    sae: Any,
    features: FeatureMatrix,
    hits: pd.DataFrame,
    candidates: Any,
    acts: Any,
    manifest: Mapping[str, Any],
) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """Content and figures."""
    missing = {"feature", "concept", "f1"} - set(getattr(hits, "columns", []))
    if missing:
        raise InputError(
            "this is not a table of hits",
            where="report",
            expected="columns feature, concept, f1",
            got=f"none of {sorted(missing)}",
            do="Pass what associate returned.",
        )
    sae = sae if sae is not None else features.sae
    context = getattr(hits, "context", None) or {}
    annotations, split = context.get("annotations"), context.get("split")
    names = {} if annotations is None else annotations.concepts["name"].astype(str).to_dict()
    concepts, used = c.concept_rows(hits, names)
    family = getattr(split, "family", None)
    family = family if family is not None and len(family) == len(features.samples) else None
    listing = c.with_motifs(c.unexplained(features, hits, family), features)
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "concepts": concepts,
        "unexplained": listing,
        "candidates": c.candidate_rows(candidates),
        "sae": c.sae_summary(sae, features),
        "beyond": beyond(manifest.get("full")),
        "controls": c.controls(hits, candidates, used),
        "done": describe(sae, features, hits, manifest, acts),
        "provenance": c.in_order(_provenance(sae, features, manifest)),
    }
    content["statements"] = prose.statements(concepts)
    content["letters_reach"] = c.letters_reach(concepts)
    content["summary"] = prose.summary(content)
    content["methods"] = prose.methods(content)
    content["notable"] = pictures.notable(concepts, listing)
    content = c.plain_data(content)
    show = content["shown_feature"] = pictures.shown_feature(concepts, features)
    drawn = pictures.six_figures(
        features=features, hits=hits, annotations=annotations, log=sae, concepts=concepts, show=show
    )
    faces = pictures.portraits(content["notable"], features=features, annotations=annotations, shown=show)
    content["figures"] = [{"name": p.name, "title": p.title, "caption": p.caption} for p in [*drawn, *faces]]
    return content, drawn, faces


def describe(
    sae: Any, features: FeatureMatrix, hits: Any, manifest: Mapping[str, Any], acts: Any = None
) -> dict[str, Any]:
    """What was done: model, site, data, annotations, split, licences."""
    samples, context = features.samples, getattr(hits, "context", None) or {}
    annotations, split = context.get("annotations"), context.get("split")
    identity = _identity(sae, features, acts, manifest)
    out: dict[str, Any] = {
        "model": _first(identity, "model", "name") or "a model that was not named",
        "site": str(_first(identity, "site") or (manifest.get("settings") or {}).get("site") or "not stated"),
        "data": {
            "kind": samples.kind,
            "n": len(samples),
            "positions": samples.n_positions,
            "n_in": samples.n_in,
            "dropped": dict(samples.dropped),
            "file": Path(samples.source).name if samples.source else "",
            "sha256": samples.digest,
        },
        "licences": dict(manifest.get("licences") or {}),
        "association_settings": c.in_order(context.get("settings") or {}),
        "annotations": None,
        "split": None,
    }
    if annotations is not None:
        sources = annotations.frame["source"].astype(str).value_counts().sort_index()
        releases = annotations.frame.groupby("source")["release"].agg(
            lambda s: ", ".join(sorted({str(v) for v in s if v}))
        )
        out["annotations"] = {
            "rows": len(annotations),
            "concepts": len(annotations.names),
            "counts": c.plain_data(annotations.counts),
            "sources": [
                {"source": s, "rows": int(n), "release": str(releases.get(s, ""))} for s, n in sources.items()
            ],
        }
    if split is not None:
        parts = {
            p: {"samples": len(split.part(p)), "families": len(split.families(p))}
            for p in ("train", "calibration", "test")
        }
        out["split"] = {
            "by": split.by,
            "seed": split.seed,
            "n_families": len(split.family_names),
            "parts": parts,
        }
    return out


def _identity(sae: Any, features: Any, acts: Any, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that names model and site, the most specific last."""
    merged: dict[str, Any] = {}
    for source in (
        manifest.get("model"),
        getattr(features, "identity", None),
        getattr(acts, "identity", None),
        getattr(sae, "identity", None),
    ):
        if isinstance(source, Mapping):
            merged.update({k: v for k, v in source.items() if v is not None})
    return merged


def _first(identity: Mapping[str, Any], *keys: str) -> str:
    """The first of ``keys`` found in nested mappings, breadth first."""
    level: list[Any] = [identity]
    while level:
        deeper: list[Any] = []
        for mapping in level:
            for key in keys:
                found = mapping.get(key)
                if isinstance(found, str) and found:
                    return found
            deeper += [v for v in mapping.values() if isinstance(v, Mapping)]
        level = deeper
    return ""


def _provenance(sae: Any, features: FeatureMatrix, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Identities, settings and versions as the run recorded them; else versions of this machine."""
    versions = dict(manifest.get("versions") or {})
    if not versions:
        from importlib import metadata

        versions = {n: metadata.version(n) for n in ("sciinterp", "numpy", "scipy", "pandas", "torch")}
    keep = ("settings", "model", "samples", "annotations", "results")
    return {
        "versions": versions,
        "sae": c.plain_data(getattr(sae, "identity", None) or {}),
        "features": c.plain_data(features.identity),
        "manifest": {k: c.plain_data(manifest[k]) for k in keep if k in manifest},
    }


def _page(content: dict[str, Any], drawn: list[Any], faces: list[Any]) -> str:
    """The HTML file."""
    from jinja2 import Environment, StrictUndefined

    style, script = _asset("report.css"), _asset("report.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=prose.value, flat=_flat, zip_same=lambda names: [(n, n) for n in names])
    environment.globals.update(
        verdicts=c.VERDICTS, pretraining=prose.PRETRAINING, glyph=_glyph, near=c.NEAR, found=c.FOUND
    )
    template = environment.from_string(_asset("report.html"))
    from markupsafe import Markup

    inlined = {
        p.name: Markup(inline_svg(p.svg, name=p.name.replace("_", "-"), title=p.title))
        for p in [*drawn, *faces]
    }
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )
    return template.render(
        content=content,
        figures=[dataclasses.asdict(p) for p in drawn],
        inlined=inlined,
        style=Markup(style),
        script=Markup(script),
        policy=policy,
    )


def _asset(name: str) -> str:
    return resources.files("sciinterp.report").joinpath("static", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested data as rows of name and value, for a table."""
    if isinstance(value, Mapping):
        return [row for k, v in value.items() for row in _flat(v, f"{prefix}{'.' if prefix else ''}{k}")]
    if isinstance(value, list) and any(isinstance(v, Mapping | list) for v in value):
        return [row for i, v in enumerate(value) for row in _flat(v, f"{prefix}[{i}]")]
    return [
        (
            prefix,
            ", ".join(map(str, value)) if isinstance(value, list) else "–" if value is None else str(value),
        )
    ]


def _glyph(row: Mapping[str, Any]) -> dict[str, float] | None:
    """Where interval, point and best baseline lie on a line 100 wide."""
    if row["f1"] is None:
        return None
    f1 = row["f1"]
    low, high = (f1 if row[k] is None else row[k] for k in ("f1_low", "f1_high"))
    best = row["best_baseline_f1"]
    place = {"point": f1, "low": low, "high": high, "best": -1.0 if best is None else best}
    return {k: round(4 + 92 * min(max(v, 0.0), 1.0), 1) if v >= 0 else -9.0 for k, v in place.items()}
