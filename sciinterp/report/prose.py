"""Sentences of the report: summary and plain statements."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from sciinterp.association.explanations import verdicts
from sciinterp.provenance import HELD_OUT_FAMILIES
from sciinterp.report.content import FOUND, NEAR, tally
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


def releases(names: Iterable[str]) -> str:
    """Releases of a source; of more than three how many, and between which numbers where they differ by one number.

    Examples
    --------
    >>> releases(["2", "1", "2"]), releases(f"entry version {n}" for n in (95, 36, 100, 7))
    ('1, 2', 'entry version 7 to 100 (4 of them)')
    """
    found = sorted({name for name in names if name})
    if len(found) <= 3:
        return ", ".join(found)
    parts = [re.split(r"(\d+)", name) for name in found]
    words = {tuple(part[::2]) for part in parts}
    if len(words) == 1 and all(len(part) == 3 for part in parts):
        (before, after), numbers = words.pop(), sorted(int(part[1]) for part in parts)
        return f"{before}{numbers[0]} to {numbers[-1]}{after} ({len(found)} of them)"
    return f"{found[0]} to {found[-1]}, by name ({len(found)} of them)"


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


def above_so(n: Mapping[str, int], *, controlled: bool = True) -> str:
    """How many lie above all before false discovery control, where there was one, and of how many nothing can be said.

    Parameters
    ----------
    n : mapping of str to int
        From :func:`sciinterp.report.content.tally`.
    controlled : bool

    Examples
    --------
    >>> n = {"concepts_tested": 9, "concepts_beating_every_baseline_uncontrolled": 2}
    >>> above_so(n | {"concepts_in_too_few_families": 4})
    ' (2 before false discovery control over concepts; 4 of the 9 lie in too few families to say)'
    """
    raw, few = n["concepts_beating_every_baseline_uncontrolled"], n["concepts_in_too_few_families"]
    said = [f"{raw} before false discovery control over concepts"] * controlled
    said += [f"{few} of the {n['concepts_tested']} lie in too few families to say"] * bool(few)
    return f" ({'; '.join(said)})" if said else ""


def found_so(n: Mapping[str, int]) -> str:
    """What there is to know of the concepts found: some at equal positions, some by another feature in each fold.

    Parameters
    ----------
    n : mapping of str to int
        From :func:`sciinterp.report.content.tally`.

    Examples
    --------
    >>> n = {"concepts_tested": 9, "concepts_tested_once": 8, "concepts_f1_half": 3, "concepts_f1_half_once": 2}
    >>> found_so(n | {"concepts_f1_half_of_one_feature": 1})
    ' (2 of 8 where concepts at equal positions count once; for 1 of the 3 all folds chose one feature)'
    """
    found, once, agreed = (n[f"concepts_f1_half{what}"] for what in ("", "_once", "_of_one_feature"))
    said = [f"{once} of {n['concepts_tested_once']} where concepts at equal positions count once"] * (
        once < found
    )
    said += [f"for {agreed} of the {found} all folds chose one feature"] * (agreed < found)
    return f" ({'; '.join(said)})" if said else ""


def summary(content: Plain) -> list[dict[str, str]]:
    """The figures a reader sees first: value, what it counts, and of how many."""
    concepts, sae = content["concepts"], content["sae"]
    metrics = sae["metrics"]
    n = tally(concepts)
    dead = metrics.get("dead")
    return [
        {
            "value": str(n["concepts_f1_half"]),
            "of": f"of {n['concepts_tested']}",
            "text": f"concepts found by one feature at F1 {FOUND:g} or more on {content['done']['judged']['families']}"
            + found_so(n)
            + _others_find(content["controls"]["run"]),
        },
        {
            "value": str(n["concepts_beating_every_baseline"]),
            "of": f"of {n['concepts_tested']}",
            "text": "concepts where a feature lies above every counted baseline"
            + above_so(n, controlled=any(c.get("q_above") is not None for c in concepts)),
        },
        {
            "value": value(metrics.get("fve"), 3),
            "of": "",
            "text": "fraction of variance explained by the autoencoder" + _control(sae["control_fve"]),
        },
        {
            "value": value(sae["l0_here"] if metrics["l0"] is None else metrics["l0"], 1),
            "of": f"of {sae['n_features']:,}",
            "text": f"features with a code above zero a token; "
            f"{'dead: unknown' if dead is None else f'{100 * dead:.1f}% dead'}",
        },
        {
            "value": f"{content['unexplained']['n']:,}",
            "of": f"of {content['unexplained']['n_active']:,}",
            "text": f"features that fire here and no concept explains: with none is an F1 of {NEAR:g} or more on "
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
    reached, of = content["letters_reach"]["concepts"], content["letters_reach"]["of"]
    if not of:
        return ""
    if "identity" in {b["name"] for b in content["controls"]["run"] if not b["counted"]}:
        why = "No reader of letters is counted here: what it reaches says how far a concept is a matter of letters."
    else:
        why = "It is fitted with the annotations, as one feature is not, and so it is a ceiling and not counted in the "
        why += "verdicts."
    return (
        f"Of {count(of, 'concept')} that one feature or a reader of the letters around each position finds at an F1 of "
        f"{NEAR:g} or more, the letters reach the feature's F1 for {len(reached)}. {why}"
    )


def _surviving(kinds: Sequence[Plain]) -> str:
    """How many candidates survive the comparison with decoys, where it was made."""
    known = [k["low_q"] for k in kinds if k["low_q"] is not None]
    return f"; {sum(known):,} of them with a q-value of {LOW_Q:g} or less" if known else ""
