"""Write a report: one self-contained HTML file, the same content as JSON, and the figures beside it.

The page loads nothing, holds no script but our own static one, and its content-security policy names that
script and the one style sheet by their hashes. Everything from data is escaped by the template. Nothing in it
is a date or a path: the same run gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from sciinterp.annotations import Annotations, read_annotations
from sciinterp.association.explanations import legend
from sciinterp.association.worth import worth
from sciinterp.budget import one_thread
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import InputError, require_kinds
from sciinterp.frames import Table
from sciinterp.plots.given import hits_of
from sciinterp.provenance import Origin, held_out, origin_of, require_one_run
from sciinterp.report import content as c
from sciinterp.report import methods, pictures, prose
from sciinterp.report.beyond import beyond
from sciinterp.report.inline import inline_svg
from sciinterp.report.json_values import in_order, number, plain_data
from sciinterp.report.proposals import LOW_Q, candidate_rows
from sciinterp.report.turned import turned_concepts
from sciinterp.samples import Samples, Split
from sciinterp.settings import Plain
from sciinterp.store import ledger
from sciinterp.store.atomic import atomic_write, make_folder, write_each, write_json
from sciinterp.store.split_file import read_split

if TYPE_CHECKING:
    from sciinterp.sae import SAE

SCHEMA = 2
# measures of an SAE in words; another one is shown under its own name
METRICS = {
    "mse": "Squared error a token",
    "cosine": "Cosine of input and reconstruction",
    "shrinkage": "Shrinkage (1: none)",
    "n_tokens": "Tokens these were measured on",
    "n_train_tokens": "Tokens trained on",
    "dead_counted_on": "Tokens dead features were counted on",
    "d_in": "Width of the input",
    "steps": "Training steps",
    "batch_size": "Tokens a step",
    "seed": "Seed",
    "scale": "Factor on the input",
    "threads": "Threads",
    "screened": "Trained with the bfloat16 screen",
}


@one_thread()
def report(
    path: str | Path,
    *,
    sae: SAE | None = None,
    features: FeatureMatrix,
    hits: pd.DataFrame,
    candidates: pd.DataFrame | None = None,
    annotations: Annotations | None = None,
    split: Split | None = None,
    manifest: Mapping[str, object] | None = None,
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
        What ``associate`` returned; its ``context`` brings baselines and what was not run.
    candidates : pandas.DataFrame, optional
        What ``discover`` returned.
    annotations, split : optional
        What the hits were made with; read from the folder of ``path`` where ``associate`` wrote them there.
    manifest : mapping, optional
        The run's manifest: settings, licences, versions, hashes; ``full`` (what the full run measured) and
        ``control`` (the metrics of the autoencoder on randomised weights) where they are known.

    Returns
    -------
    Path
        The HTML file.

    Raises
    ------
    InputError
        When ``hits`` is not a table of hits, or an argument is of another kind.
    StoreError
        When a file cannot be written.
    """
    require_kinds(path=(path, Path), features=(features, FeatureMatrix))
    require_report_kinds(candidates, annotations, split, manifest)
    path, hits = Path(path), hits_of(hits, "feature", "concept", "f1")
    if path.suffix.lower() == ".json":
        raise InputError(
            "a report is a page of HTML",
            where=f"file '{path}'",
            do="Its content is written beside it as JSON.",
        )
    made_with = belonging(path.parent, features.samples, annotations, split)
    with ledger.recorded("report", path.parent if path.name == "report.html" else None):
        content, drawn = _assemble(sae, features, hits, candidates, *made_with, dict(manifest or {}))
        page = render(content, {p.name: p.svg for p in drawn}).encode("utf-8", "replace")
        images = {f"figures/{p.name}.svg": p.svg for p in drawn}
        images |= {f"figures/{p.name}.png": p.png for p in drawn if p.png is not None}
        files: dict[str, Callable[[], object]] = {
            path.name: lambda: atomic_write(path, page),
            path.with_suffix(".json").name: lambda: write_json(path.with_suffix(".json"), content),
            "figures": lambda: make_folder(path.parent / "figures"),
        }
        files |= {name: partial(atomic_write, path.parent / name, image) for name, image in images.items()}
        write_each(path.parent, files)
    return path


def require_report_kinds(candidates: object, annotations: object, split: object, manifest: object) -> None:
    """Raise where one of what may be given beside codes and hits is given, and of another class."""
    kinds = {
        "candidates": (candidates, pd.DataFrame),
        "annotations": (annotations, Annotations),
        "split": (split, Split),
        "manifest": (manifest, Mapping),
    }
    require_kinds(**{name: pair for name, pair in kinds.items() if pair[0] is not None})


def belonging(
    folder: Path, samples: Samples, annotations: Annotations | None, split: Split | None
) -> tuple[Annotations | None, Split | None]:
    """Annotations and split as passed; what was not passed is read from a run folder that holds hits.

    Parameters
    ----------
    folder : path
        Where the report is written.
    samples : Samples
        Of the codes; the split has to be of these.
    annotations, split
        What the caller passed.

    Raises
    ------
    StoreError, MismatchError
        What lies there is damaged, or of other samples.
    """
    if "associate" in ledger.read_stages(folder):
        ledger.require_intact(folder, "annotations.tsv", "annotations.concepts.tsv", "split.tsv")
        if annotations is None and (folder / "annotations.tsv").is_file():
            annotations = read_annotations(folder / "annotations.tsv")
        if split is None and (folder / "split.tsv").is_file():
            split = read_split(folder / "split.tsv", samples)
    return annotations, split


def _assemble(
    sae: SAE | None,
    features: FeatureMatrix,
    hits: pd.DataFrame,
    candidates: pd.DataFrame | None,
    annotations: Annotations | None,
    split: Split | None,
    manifest: Plain,
) -> tuple[Plain, list[pictures.Picture]]:
    """Content, as it is written to ``report.json``, and figures."""
    sae = sae if sae is not None else features.sae
    require_one_run(features, hits, candidates, sae=sae, annotations=annotations, split=split)
    done = describe(sae, features, hits, manifest, annotations, split)
    context = {**(getattr(hits, "context", None) or {}), "held_out": done["judged"]}
    hits = Table(hits, context=context)
    names = {} if annotations is None else annotations.concepts["name"].astype(str).to_dict()
    concepts, used = c.concept_rows(hits, names)
    family = getattr(split, "family", None)
    family = family if family is not None and len(family) == len(features.samples) else None
    portraits = c.Portraits(features, hits, family)
    listing = c.unexplained(portraits)
    shown = pictures.shown_feature(concepts, features)
    chosen = c.notable(concepts, listing, portraits, shown)
    full = manifest.get("full") or {}
    of_sample = {} if family is None else dict(zip(features.samples.ids, family.tolist()))
    content: Plain = {
        "schema": SCHEMA,
        "concepts": concepts,
        "unexplained": listing,
        "notable": chosen,
        "shown_feature": shown,
        "candidates": candidate_rows(candidates, of_sample, manifest.get("turning")),
        "sae": c.sae_summary(sae, features, manifest.get("control") or full.get("measures_control")),
        "beyond": beyond(full),
        "turning": _turning(manifest.get("turning")),
        "readouts": manifest.get("readouts"),
        "assays": manifest.get("assays"),
        "variants": manifest.get("variants"),
        "worth": [
            {k: v if isinstance(v, str) else number(v) for k, v in asdict(w).items() if k != "against"}
            for w in worth(hits)
        ],
        "sets": c.set_rows(hits),
        "controls": c.controls(hits, candidates, concepts, used),
        "done": done,
        "provenance": _provenance(sae, features, manifest),
    }
    content = in_order(content)
    said = {k: v for k, v in (context.get("caveats") or {}).items() if k != "held_out"}
    known = done["judged"]["state"] == "held out"
    content["caveats"] = said if known else said | {"held_out": done["judged"]["sentence"]}
    content["statements"] = prose.statements(concepts, content["done"]["judged"]["families"])
    content["letters_reach"] = c.letters_reach(concepts)
    content["summary"], content["letters_say"] = prose.summary(content), prose.letters_reach(content)
    content["methods"] = methods.methods(content)
    drawn = [
        *pictures.run_figures(features, hits, sae, content, full),
        *pictures.turning_figures(manifest.get("turning")),
        *pictures.label_figures(manifest.get("readouts")),
        *pictures.assay_figures(manifest.get("assays")),
        *pictures.portraits(chosen, features=features, annotations=annotations, shown=shown),
        *pictures.candidate_figures(content),
    ]
    content["figures"] = [
        {"name": p.name, "title": p.title, "caption": p.caption, "width": p.width} for p in drawn
    ]
    return in_order(content), drawn


def _turning(turning: Plain | None) -> Plain | None:
    """What turning features did, with the concept that shows it best."""
    found = turned_concepts(turning)
    return {**turning, "best": found[0]} if turning and found else None


def describe(
    sae: SAE | None,
    features: FeatureMatrix,
    hits: pd.DataFrame,
    manifest: Plain,
    annotations: Annotations | None = None,
    split: Split | None = None,
) -> Plain:
    """What was done: model, site, data, annotations, split, licences."""
    samples, context = features.samples, getattr(hits, "context", None) or {}
    origin = origin_of(sae).filled(features.origin)
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
        "licences": dict(manifest.get("licences") or {}),
        "association_settings": context.get("settings") or {},
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
            "on_positions": len(annotations.position_names),
            "counts": plain_data(annotations.counts),
            "sources": [
                {"source": s, "rows": int(n), "release": str(releases.get(s, ""))} for s, n in sources.items()
            ],
        }
    if split is not None:
        parts = [
            {"part": p, "samples": len(split.part(p)), "families": len(split.families(p))}
            for p in ("train", "calibration", "test")
        ]
        out["split"] = {
            "by": split.by,
            "seed": split.seed,
            "n_families": len(split.family_names),
            "parts": parts,
        }
    return out


def _provenance(sae: SAE | None, features: FeatureMatrix, manifest: Plain) -> Plain:
    """Identities, settings and versions as the run recorded them; else versions of this machine."""
    versions = dict(manifest.get("versions") or {})
    if not versions:
        versions = ledger.versions(("sciinterp", "numpy", "scipy", "pandas", "torch"))
    keep = ("settings", "model", "samples", "annotations", "results")
    return {
        "versions": versions,
        "sae": origin_of(sae).to_record(),
        "features": features.origin.to_record(),
        "manifest": {k: plain_data(manifest[k]) for k in keep if k in manifest},
    }


def render(content: Plain, figures: Mapping[str, bytes]) -> str:
    """The page: a function of the content of ``report.json`` and the figures' SVG, and of nothing else.

    Parameters
    ----------
    content : mapping
    figures : mapping of str to bytes
        The SVG of every figure that the content names.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    style, script = asset("report.css"), asset("report.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        number=prose.value,
        flat=_flat,
        words=_words,
        claim=_claim,
        zip_same=lambda names: [(n, n) for n in names],
    )
    environment.globals.update(
        verdicts=c.VERDICTS,
        legend=legend(),
        glyph=_glyph,
        found=c.FOUND,
        floor=c.NEAR,
        low_q=LOW_Q,
        count=prose.count,
        what_is=methods.what_is,
        metric_names=METRICS,
    )
    inlined = {
        f["name"]: Markup(inline_svg(figures[f["name"]], name=f["name"].replace("_", "-"), title=f["title"]))
        for f in content["figures"]
    }
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )
    return environment.from_string(asset("report.html")).render(
        content=content,
        figures={f["name"]: f for f in content["figures"]},
        next_number=partial(next, itertools.count(1)),  # of figures, in the order of the page
        by_concept={row["concept"]: row for row in content["concepts"]},
        notable={entry["feature"] for entry in content["notable"]},
        inlined=inlined,
        style=Markup(style),
        script=Markup(script),
        policy=policy,
    )


def asset(name: str) -> str:
    """A file that every page has."""
    return resources.files("sciinterp.report").joinpath("static", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _flat(value: object, prefix: str = "") -> list[tuple[str, str]]:
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


def _words(value: object, prefix: str = "") -> list[tuple[str, str]]:
    """Nested evidence as rows of name and value to be read: keys as words, numbers of four significant digits."""
    if (
        isinstance(value, Mapping)
        and prefix
        and not any(isinstance(v, Mapping | list) for v in value.values())
    ):
        return [(prefix, ", ".join(f"{_plain_key(k)} {_scalar(v)}" for k, v in value.items()) or "–")]
    if isinstance(value, Mapping):
        joint = ", " if prefix else ""
        return [row for k, v in value.items() for row in _words(v, f"{prefix}{joint}{_plain_key(k)}")]
    if isinstance(value, list) and any(isinstance(v, Mapping | list) for v in value):
        return [row for i, v in enumerate(value, start=1) for row in _words(v, f"{prefix} {i}")]
    return [(prefix, ", ".join(map(_scalar, value)) or "–" if isinstance(value, list) else _scalar(value))]


def _plain_key(key: object) -> str:
    return str(key).replace("_", " ")


def _scalar(value: object) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _claim(row: Plain) -> str:
    """What a candidate claims, without the word that says it is one: the section does."""
    return str(row.get("claim") or "").removeprefix("candidate: ")


def _glyph(row: Plain) -> dict[str, float] | None:
    """Where interval, point and best baseline lie on a line 100 wide."""
    if row["f1"] is None:
        return None
    f1 = row["f1"]
    low, high = (f1 if row[k] is None else row[k] for k in ("f1_low", "f1_high"))
    best = row["best_baseline_f1"]
    place = {"point": f1, "low": low, "high": high, "best": -1.0 if best is None else best}
    return {k: round(4 + 92 * min(max(v, 0.0), 1.0), 1) if v >= 0 else -9.0 for k, v in place.items()}
