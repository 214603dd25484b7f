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

from sciinterp.annotations import Annotations
from sciinterp.association.explanations import legend
from sciinterp.association.worth import worth
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.active import ACTIVE
from sciinterp.errors import InputError, require_kinds
from sciinterp.frames import Table
from sciinterp.provenance import origin_of
from sciinterp.report import content as c
from sciinterp.report import methods, pictures, prose
from sciinterp.report.beyond import beyond
from sciinterp.report.inline import inline_svg
from sciinterp.report.json_values import in_order, number, plain_data
from sciinterp.report.proposals import LOW_Q, candidate_rows
from sciinterp.report.shown import Shown, describe, gathered
from sciinterp.report.turned import turned_concepts
from sciinterp.samples import Split
from sciinterp.settings import Plain
from sciinterp.store import ledger
from sciinterp.store.atomic import atomic_write, make_folder, write_each, write_json

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
    require_kinds(path=(path, Path))
    path = Path(path)
    if path.suffix.lower() == ".json":
        raise InputError(
            "a report is a page of HTML",
            where=f"file '{path}'",
            do="Its content is written beside it as JSON.",
        )
    if path.is_dir():
        raise InputError(
            "a report is a page of HTML",
            where=f"folder '{path}'",
            expected=f"a file, as '{path / 'report.html'}'",
        )
    shown = gathered(path.parent, features, hits, candidates, annotations, split, manifest, sae=sae)
    with ledger.recorded("report", path.parent if path.name == "report.html" else None):
        content, drawn = _assemble(shown)
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


def _assemble(given: Shown) -> tuple[Plain, list[pictures.Picture]]:
    """Content, as it is written to ``report.json``, and figures."""
    sae, features, candidates, manifest = given.sae, given.features, given.candidates, given.manifest
    done = describe(given)
    context = {**(getattr(given.hits, "context", None) or {}), "held_out": done["judged"]}
    hits = Table(given.hits, context=context)
    concepts, used = c.concept_rows(hits, given.annotations, features.samples)
    family = getattr(given.split, "family", None)
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
        "provenance": _provenance(given),
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
        *pictures.portraits(chosen, features=features, annotations=given.annotations, shown=shown),
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


def _provenance(given: Shown) -> Plain:
    """Identities, settings and versions as the run recorded them; else versions of this machine."""
    told, packages = given.manifest, ("sciinterp", "numpy", "scipy", "pandas", "torch")
    keep = ("settings", "model", "samples", "annotations", "results")
    return {
        "versions": dict(told.get("versions") or {}) or ledger.versions(packages),
        "sae": origin_of(given.sae).to_record(),
        "features": given.features.origin.to_record(),
        "manifest": {k: plain_data(told[k]) for k in keep if k in told},
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
        active=ACTIVE,
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
    several = ", ".join(map(str, value)) if isinstance(value, list) else ""
    return [(prefix, several if isinstance(value, list) else "–" if value is None else str(value))]


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
