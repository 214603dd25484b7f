"""Sentences of the report: summary and plain statements."""

from __future__ import annotations

from collections.abc import Sequence

from sciinterp.association.explanations import verdicts
from sciinterp.provenance import HELD_OUT_FAMILIES
from sciinterp.report.content import FOUND, NEAR
from sciinterp.report.proposals import LOW_Q
from sciinterp.settings import Plain

# Kind of samples -> what one of their positions is, and what they are.
UNITS_AND_THINGS = {
    "protein": ("residues", "protein sequences"),
    "airr": ("residues", "receptor sequences"),
    "structure": ("residues", "protein structures"),
    "dna": ("bases", "DNA sequences"),
    "rna": ("bases", "RNA sequences"),
    "cells": ("genes", "cells"),
    "crystal": ("atoms", "crystals"),
    "smiles": ("characters", "molecules"),
}


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


def value(x: float | str | None, digits: int = 2) -> str:
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


def statements(concepts: Sequence[Plain], families: str) -> list[Plain]:
    """For every verdict the concepts it holds for, and the sentence that says so."""
    out = []
    for kind in verdicts():
        key, says = kind.name or "above", kind.sentence.replace(HELD_OUT_FAMILIES, families)
        mine = [c for c in concepts if c["verdict"] == key]
        names = [f"{c['concept']}: {c['few']}" if c.get("few") else str(c["concept"]) for c in mine]
        if names:
            out.append({"verdict": key, "says": says, "concepts": names, "n": len(names)})
    return out


def _uncontrolled(concepts: Sequence[Plain]) -> str:
    """How many there are before false discovery control, where the hits say so."""
    if all(c.get("q_above") is None for c in concepts):
        return ""
    raw = sum((c.get("delta_low") or 0.0) > 0 for c in concepts)
    return f" ({raw} before false discovery control over concepts)"


def summary(content: Plain) -> list[dict[str, str]]:
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
            "text": f"concepts found by one feature at F1 {FOUND:g} or more on {content['done']['judged']['families']}"
            + _others_find(content["controls"]["run"]),
        },
        {
            "value": str(above),
            "of": f"of {len(tested)}",
            "text": "concepts where a feature lies above every counted baseline" + _uncontrolled(concepts),
        },
        {
            "value": value(metrics.get("fve"), 3),
            "of": "",
            "text": "fraction of variance explained by the autoencoder" + _control(sae["control_fve"]),
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
            "text": f"active features that no concept explains: with none is an F1 of {NEAR:g} or more on "
            f"{content['done']['judged']['families']}",
        },
        {
            "value": f"{content['candidates']['n']:,}",
            "of": "",
            "text": "candidates for a person to examine" + _surviving(content["candidates"]["kinds"]),
        },
    ]


def _others_find(baselines: Sequence[Plain]) -> str:
    """How many of the same concepts neurons, components and the randomised model find, beside the features."""
    said = {
        "neuron": "the best raw neuron finds",
        "pca": "one linear component",
        "ica": "one ICA component",
        "randomised": "randomised weights",
    }
    found = {b["name"]: b["found"] for b in baselines}
    beside = [f"{words} {found[name]}" for name, words in said.items() if name in found]
    return f"; {', '.join(beside)}" if beside else ""


def _control(fve: float | None) -> str:
    """What the same recipe reaches where there is nothing to know."""
    return "" if fve is None else f"; {value(fve, 3)} with the same recipe on randomised weights"


def letters_reach(content: Plain) -> str:
    """How often the letters, to a reader who is told the answers, say as much as the best feature."""
    reached, tested = content["letters_reach"], [c for c in content["concepts"] if c["f1"] is not None]
    if not reached:
        return ""
    if "identity" in {b["name"] for b in content["controls"]["run"] if not b["counted"]}:
        why = "No reader of letters is counted here: what it reaches says how far a concept is a matter of letters."
    else:
        why = "It is fitted with the annotations, as one feature is not, and so it is a ceiling and not counted in the "
        why += "verdicts."
    return (
        f"For {len(reached)} of {count(len(tested), 'concept')} a reader of the letters around each position reaches the "
        f"feature's F1. {why}"
    )


def _surviving(kinds: Sequence[Plain]) -> str:
    """How many candidates survive the comparison with decoys, where it was made."""
    known = [k["low_q"] for k in kinds if k["low_q"] is not None]
    return f"; {sum(known):,} of them with a q-value of {LOW_Q:g} or less" if known else ""
