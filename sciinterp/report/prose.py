"""Sentences of the report: summary, plain statements, and methods text to paste into a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sciinterp.report.content import FOUND, NEAR, VERDICTS

UNITS = {
    "protein": "residues",
    "airr": "residues",
    "dna": "bases",
    "rna": "bases",
    "cells": "genes",
    "crystal": "atoms",
    "smiles": "characters",
}
THINGS = {
    "protein": "protein sequences",
    "airr": "receptor sequences",
    "dna": "DNA sequences",
    "rna": "RNA sequences",
    "cells": "cells",
    "crystal": "crystals",
    "smiles": "molecules",
}
PRETRAINING = (
    "Families were held out from the sparse autoencoder and from the associations, not from the model's own "
    "pre-training: the model may have seen relatives of the test sequences."
)


def count(n: int | float | None, thing: str, things: str = "") -> str:
    """A number with its noun.

    Examples
    --------
    >>> count(1, "concept"), count(1200, "family", "families")
    ('1 concept', '1,200 families')
    """
    if n is None:
        return f"an unknown number of {things or thing + 's'}"
    return f"{n:,} {thing if n == 1 else things or thing + 's'}"


def value(x: Any, digits: int = 2) -> str:
    """A number as the report prints it; an en dash where there is none.

    Examples
    --------
    >>> value(0.123456), value(None), value(1e-7)
    ('0.12', '–', '1e-07')
    """
    if x is None or isinstance(x, str | bool):
        return "–" if x is None else str(x)
    if isinstance(x, int):
        return f"{x:,}"
    if x != 0 and abs(x) < 10**-digits / 2:
        return f"{x:.1g}"
    return f"{x:.{digits}f}"


def join(items: Sequence[str]) -> str:
    """Items as an English list.

    Examples
    --------
    >>> join(["a", "b", "c"])
    'a, b and c'
    """
    items = list(items)
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1] if items else "none"


def statements(concepts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For every verdict the concepts it holds for, and the sentence that says so."""
    text = {
        "above": "The selected feature beats every baseline: the interval of the difference on "
        "held-out families lies above zero.",
        "position": "Explained by position alone: knowing only where in its sequence a position "
        "lies scores as high as the "
        "selected feature. These concepts say nothing about what the model has learned.",
        "composition": "Explained by composition alone: the letters at and around the position "
        "score as high as the selected feature.",
        "neuron": "One raw neuron scores as high as the selected feature: the dictionary adds nothing here.",
        "components": "One linear component of the activations scores as high as the selected feature.",
        "randomised": "The same recipe on randomised weights scores as high: the architecture and "
        "the input explain it, not training.",
        "density": "How much is active at a position, whatever it is, scores as high.",
        "prevalence": "Calling every position positive scores as high: the concept covers too much to tell.",
        "other": "Another baseline scores as high as the selected feature.",
        "unclear": "The selected feature scores higher than every baseline, but the interval of the "
        "difference reaches zero.",
        "untested": "Could not be tested on this split: too few families carry the concept, or all "
        "of them do.",
    }
    out = []
    for key in VERDICTS:
        names = [str(c["concept"]) for c in concepts if c["verdict"] == key]
        if names:
            out.append({"verdict": key, "says": text[key], "concepts": names, "n": len(names)})
    return out


def summary(content: Mapping[str, Any]) -> list[dict[str, str]]:
    """The figures a reader sees first: value, what it counts, and of how many."""
    concepts, sae = content["concepts"], content["sae"]
    metrics = sae["metrics"]
    tested = [c for c in concepts if c["f1"] is not None]
    above = sum(c["verdict"] == "above" for c in concepts)
    dead = metrics.get("dead")
    return [
        {
            "value": str(sum(c["found"] for c in concepts)),
            "of": f"of {len(tested)}",
            "text": f"concepts found at F1 {FOUND:g} or more on held-out families",
        },
        {
            "value": str(above),
            "of": f"of {len(tested)}",
            "text": "concepts where the feature beats every baseline",
        },
        {
            "value": value(metrics.get("fve"), 3),
            "of": "",
            "text": "fraction of variance explained by the autoencoder",
        },
        {
            "value": value(sae["l0_here"] if metrics["l0"] is None else metrics["l0"], 1),
            "of": f"of {sae['n_features']:,}",
            "text": f"features active a token; "
            f"{'dead: unknown' if dead is None else f'{100 * dead:.1f}% dead'}",
        },
        {
            "value": f"{content['unexplained']['n']:,}",
            "of": f"of {content['unexplained']['n_active']:,}",
            "text": f"active features that no concept explains (best F1 below {NEAR:g})",
        },
        {"value": f"{content['candidates']['n']:,}", "of": "", "text": "candidates for a person to examine"},
    ]


def methods(content: Mapping[str, Any]) -> list[str]:
    """Paragraphs of methods text, with every number the content knows and none it does not."""
    return [
        p
        for p in (
            _recording(content),
            _dictionary(content),
            _testing(content),
            _controls(content),
            _candidates(content),
            _software(content),
        )
        if p
    ]


def _recording(content: Mapping[str, Any]) -> str:
    done, data = content["done"], content["done"]["data"]
    unit, thing = UNITS.get(data["kind"], "positions"), THINGS.get(data["kind"], "samples")
    dropped = join([f"{v} {k}" for k, v in data["dropped"].items()])
    lost = f" ({data['n_in']:,} entries were read; dropped: {dropped})" if data["dropped"] else ""
    return (
        f"Activations of {done['model']} were recorded at site {done['site']} for {data['n']:,} {thing} "
        f"({data['positions']:,} {unit}){lost}."
    )


def _dictionary(content: Mapping[str, Any]) -> str:
    sae, split, m = content["sae"], content["done"]["split"], content["sae"]["metrics"]
    settings = sae["architecture"]["settings"]
    extra = ", ".join(f"{k} = {v}" for k, v in settings.items() if k != "n_features" and v is not None)
    text = f"A sparse autoencoder ({sae['architecture']['name']}{', ' + extra if extra else ''}) "
    text += f"with {sae['n_features']:,} features"
    text += f" over {m['d_in']:,} dimensions" if m.get("d_in") else ""
    text += " was trained on the training families only" if split else " was trained"
    text += f" (seed {m['seed']})" if m.get("seed") is not None else ""
    said = [
        f"{value(m['fve'], 3)} of the variance" if m.get("fve") is not None else "",
        f"with {value(m['l0'], 1)} active features a token" if m.get("l0") is not None else "",
    ]
    said = [s for s in said if s]
    text += (
        f"; on held-out families it explains {' '.join(said)}" if said and m.get("fve") is not None else ""
    )
    text += (
        f"; {100 * m['dead']:.1f}% of features never fire on the training data"
        if m.get("dead") is not None
        else ""
    )
    return text + "."


def _testing(content: Mapping[str, Any]) -> str:
    split, concepts, settings = (
        content["done"]["split"],
        content["concepts"],
        content["done"]["association_settings"],
    )
    tested = [c for c in concepts if c["f1"] is not None]
    text = ""
    if split:
        parts = join(
            [
                f"{p['samples']:,} samples in {p['families']:,} families for {name}"
                for name, p in split["parts"].items()
            ]
        )
        text = (
            f"Samples were divided by {split['by'] or 'family'} ({split['n_families']:,} families) "
            f"so that no family is in two "
            f"parts: {parts}. "
        )
    text += (
        f"Each of {len(tested)} concepts was tested against every feature. The feature and its "
        f"threshold were chosen by F1 on "
        "training families and scored once on held-out families; precision is a lower bound where a "
        "source does not annotate "
        "exhaustively. "
    )
    tests = sorted({c["test"] for c in tested if c["test"] not in ("", "universal")})
    text += f"Presence was tested by {join(tests)}, with Benjamini-Hochberg q-values. " if tests else ""
    text += "Intervals come from a bootstrap over families. "
    if settings:
        text += (
            "Settings: "
            + ", ".join(f"{k} = {v}" for k, v in settings.items() if not isinstance(v, dict | list))
            + ". "
        )
    return text + PRETRAINING


def _controls(content: Mapping[str, Any]) -> str:
    run, missing = content["controls"]["run"], content["controls"]["not_run"]
    text = (
        f"Baselines on the same families and concepts: {join([b['name'] for b in run])}. "
        if run
        else "No baseline was run. "
    )
    if missing:
        text += (
            "Not run: "
            + join([f"{m['name']}{' (' + m['reason'] + ')' if m['reason'] else ''}" for m in missing])
            + "."
        )
    return text.strip()


def _candidates(content: Mapping[str, Any]) -> str:
    listing = content["candidates"]
    if not listing["n"]:
        return ""
    kinds = join([f"{n:,} {kind}" for kind, n in listing["by_kind"].items()])
    return (
        f"Candidates ({kinds}) carry a probability calibrated by hiding and recovering known "
        f"annotations and a q-value "
        "against decoys; none has been confirmed."
    )


def _software(content: Mapping[str, Any]) -> str:
    versions = content["provenance"]["versions"]
    if not versions:
        return ""
    first = f"sciinterp {versions['sciinterp']}" if "sciinterp" in versions else "sciinterp"
    rest = join([f"{k} {v}" for k, v in versions.items() if k != "sciinterp"])
    return f"Computed with {first} on {rest}."
