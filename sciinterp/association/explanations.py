"""What held-out numbers say of a concept, in words: decided here for hits, report, browser, figures and terminal.

A concept is *above all* where its selected feature lies above every counted baseline, with false discovery control
over concepts; else it is explained by the simplest kind of baseline that does as well, or found by nothing, or not
separated. Chance is calling every position positive: what is no better than that explains nothing, but that itself
explains a concept that covers so much that nothing else has to be known. Where too few held-out families carry it nothing is said, and where none
does it is not tested. Each of these has its word, its sentence and its threshold here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sciinterp.association.jackknife import MIN_FAMILIES, POWER


@dataclass(frozen=True)
class Thresholds:
    """Numbers that decide a word: round conventions, which no procedure has fitted to data."""

    # Held-out F1 below which nothing is said to find, or to explain, a concept: with precision equal to
    # recall, fewer than one in three is right. One number for features, baselines, what discovery takes as
    # known and what a feature may stand for in a variant.
    floor: float = 0.3
    # Held-out F1 from which a concept counts as found: half of what is marked and half of what is there are
    # right together.
    found: float = 0.5
    # q-value of presence and place in families up to which discovery takes a hit for what the feature is
    # about.
    q: float = 0.05
    # q-value over concepts up to which a feature is said to lie above every counted baseline.
    q_above: float = 0.05


THRESHOLDS = Thresholds()
ABOVE, NOT_TESTED, NOT_FOUND, UNCLEAR, OTHER = "", "not tested", "not found", "unclear", "other"
TOO_FEW, PREVALENCE = "too few families", "prevalence"


@dataclass(frozen=True)
class Kind:
    """What it would mean that a baseline of some kind does as well as a feature."""

    name: str  # as in ``explained_by``
    short: str  # the baselines of this kind, in legends of figures
    verdict: str  # in a list of concepts
    sentence: str


# The simplest explanation first: of those that do as well as the feature, the first one is named.
KINDS: tuple[Kind, ...] = (
    Kind(
        "position", "position alone", "position alone does as well",
        "Explained by position alone: knowing only where in its sequence a position lies scores as high as the "
        "selected feature. These concepts say nothing about what the model has learned.",
    ),
    Kind(
        "letters", "a letter or word", "a letter or word does as well",
        "Explained by letters alone: one letter, or one word of letters, at or near the position "
        "scores as high as the selected feature.",
    ),
    Kind(
        "backbone", "the local backbone", "the local backbone does as well",
        "Explained by the backbone at the residue: its torsions, one state of secondary structure at or near it, or how "
        "many residues are near score as high as the selected feature.",
    ),
    Kind(
        "gene", "one gene", "one gene does as well",
        "Explained by one gene: which gene a position is, or how strongly the cell expresses it, scores as high as the "
        "selected feature.",
    ),
    Kind(
        "composition", "composition around", "composition alone does as well",
        "Explained by composition alone: which letters are frequent around the position, "
        "whatever their order, scores as high as the selected feature.",
    ),
    Kind(
        PREVALENCE, "everything positive", "calling everything positive does as well",
        "Calling every position positive scores as high: the concept covers too much to tell. This is the chance that every "
        "other baseline has to be better than before it is said to explain a concept.",
    ),
    Kind(
        "density", "how much is active", "how much is active does as well",
        "How much is active at a position, whatever it is, scores as high.",
    ),
    Kind(
        "neuron", "one raw neuron", "one raw neuron does as well",
        "One raw neuron scores as high as the selected feature: the dictionary adds nothing here.",
    ),
    Kind(
        "components", "one linear component", "a linear component does as well",
        "One linear component of the activations scores as high as the selected feature.",
    ),
    Kind(
        "twin", "an untrained dictionary", "an untrained dictionary does as well",
        "A dictionary by the same recipe whose directions stayed at random scores as high: training it adds nothing here.",
    ),
    Kind(
        "randomised", "randomised weights", "randomised weights do as well",
        "The same recipe on randomised weights scores as high: the architecture and "
        "the input explain it, not training.",
    ),
    Kind(
        "domain tool", "a domain tool", "a domain tool does as well",
        "A profile of the concept's own instances scores as high as the selected feature.",
    ),
    Kind(
        "probe", "a linear probe", "a linear probe does as well",
        "A linear probe of the activations scores as high as the selected feature.",
    ),
    Kind(
        OTHER, "another baseline", "a baseline does as well",
        "Another baseline scores as high as the selected feature.",
    ),
)  # fmt: skip
_ABOVE = Kind(
    ABOVE, "feature, above every baseline", "above every baseline",
    "The selected feature lies above every counted baseline: on held-out families the interval of its difference to "
    f"each of them lies above zero, and of all concepts said to be so a share of {THRESHOLDS.q_above:.0%} is expected to be "
    "wrong (Benjamini-Hochberg).",
)  # fmt: skip
_BEYOND = (
    Kind(
        UNCLEAR, "not separated", "not separated from the baselines",
        "No baseline that tells the concept from chance scores as high as the selected feature, but the interval of a "
        "difference reaches zero, or false discovery control over concepts takes the lead back.",
    ),
    Kind(
        NOT_FOUND, "found by nothing", "found by nothing",
        f"Found by nothing: neither the selected feature nor any counted baseline reaches an F1 of "
        f"{THRESHOLDS.floor:g} on held-out families, and the feature does not lie above all of them: there is "
        "nothing to explain.",
    ),
    Kind(
        TOO_FEW, "too few families", "too few families",
        f"Fewer than {MIN_FAMILIES} held-out families carry the concept: no interval would hold, so nothing is said of it "
        "(n_families_needed in hits.tsv: how many would be needed).",
    ),
    Kind(
        NOT_TESTED, "not tested", "not tested",
        "Could not be tested on this split: none of the held-out families carries the concept, so nothing is said of it.",
    ),
)  # fmt: skip


def kind(name: str) -> Kind:
    """The kind of this name; one that is not listed explains by itself, after all others."""
    known = next((k for k in (*KINDS, _ABOVE, *_BEYOND) if k.name == name), None)
    return known or Kind(
        name, name, f"{name} does as well", f"{name} scores as high as the selected feature."
    )


def verdicts() -> tuple[Kind, ...]:
    """All that can be said of a concept, in the order in which it is listed."""
    return (_ABOVE, *KINDS, *_BEYOND)


def shown(explained: str) -> str:
    """The word for a value of ``explained_by`` where no cell may be empty."""
    return explained or "above all"


def few_families(n_families: float, needed: float) -> str:
    """How many families carry a concept of which too few do, and how many would have to, in words.

    Examples
    --------
    >>> few_families(3, 9.0)
    '3 families carry it; about 9 would have to, to lie above every baseline with a power of 0.8'
    >>> few_families(1, float("nan"))
    '1 family carries it; a baseline scores as high there, so how many it would take is not known'
    """
    n = int(n_families)
    carry = "family carries" if n == 1 else "families carry"
    if not np.isfinite(needed):
        return f"{n} {carry} it; a baseline scores as high there, so how many it would take is not known"
    would = f"about {needed:.0f} would have to, to lie above every baseline with a power of {POWER:g}"
    return f"{n} {carry} it; {would}"


def legend() -> str:
    """What the words of ``explained_by`` mean: one line for table, report, browser and terminal."""
    return (
        f"'{shown(ABOVE)}': the feature lies above every counted baseline (each difference clears zero, q_above at most "
        f"{THRESHOLDS.q_above:g}); a kind of baseline: the simplest that does as well and is better than chance, which is "
        "calling everything positive, or that itself; "
        f"'{UNCLEAR}': none does, but the feature is not above all; '{NOT_FOUND}': neither feature nor baseline reaches "
        f"an F1 of {THRESHOLDS.floor:g}; '{TOO_FEW}': fewer than {MIN_FAMILIES} of the families it is measured on carry the concept; "
        f"'{NOT_TESTED}': none does"
    )


def explained_by(f1: np.ndarray, delta_low: np.ndarray, rivals: Mapping[str, np.ndarray]) -> np.ndarray:
    """What explains each pair of feature and concept.

    Of held-out F1 of the features, the least lower end of the intervals of their differences to the counted
    baselines, and by kind (of :data:`KINDS`) the best F1 of those that are better than chance, and of calling
    everything positive, which is chance. ``"not tested"`` where the concept could not be (F1 is NaN); ``"too
    few families"`` where no interval holds (its end is NaN); ``""`` where all intervals lie above zero; else
    ``"not found"`` where neither the feature nor a baseline reaches the floor; else the simplest kind that
    reaches both the feature's F1 and the floor; else ``"unclear"``: no baseline reaches the feature, but an
    interval does not exclude it.

    Examples
    --------
    >>> f1, low = np.array([0.9, 0.5, 0.5, 0.0, 0.9, np.nan]), np.array([0.1, -0.2, -0.1, -0.1, np.nan, np.nan])
    >>> explained_by(f1, low, {"position": np.array([0.6, 0.7, 0.45, 0.01, 0.5, 0.5])}).tolist()
    ['', 'position', 'unclear', 'not found', 'too few families', 'not tested']
    """
    f1, delta_low = np.asarray(f1, np.float64), np.asarray(delta_low, np.float64)
    out = np.full(f1.shape, UNCLEAR, dtype=object)
    highest = np.nan_to_num(f1, nan=0.0)
    for name in sorted(rivals, key=_simplicity, reverse=True):
        value = np.nan_to_num(np.asarray(rivals[name], np.float64), nan=-1.0)
        highest = np.maximum(highest, value)
        out[(value >= f1) & (value >= THRESHOLDS.floor)] = name
    out[highest < THRESHOLDS.floor] = NOT_FOUND
    out[delta_low > 0] = ABOVE
    out[np.isnan(delta_low)] = TOO_FEW
    out[np.isnan(f1)] = NOT_TESTED
    return out


def controlled(explained: pd.Series, f1: pd.Series, q_above: pd.Series) -> pd.Series:
    """What is left of ``explained_by`` under false discovery control over concepts.

    A pair without a q-value (not selected) keeps its word. Where a lead is taken back no baseline scores as high, so
    what is left to say is that the two are not separated, or that nothing finds the concept.

    Examples
    --------
    >>> said = controlled(pd.Series(["", "", "", "position"]), pd.Series([0.9, 0.9, 0.1, 0.5]), pd.Series([0.01, 0.2, 0.2, 0.9]))
    >>> said.tolist()
    ['', 'unclear', 'not found', 'position']
    """
    back = (explained == ABOVE) & (q_above > THRESHOLDS.q_above)
    return explained.mask(back, np.where(f1 < THRESHOLDS.floor, NOT_FOUND, UNCLEAR))


def above_all(hits: pd.DataFrame) -> pd.Series:
    """Selected rows whose feature is said to lie above every counted baseline; without verdicts, by the interval."""
    if "explained_by" not in hits:
        return above_without_control(hits)
    return _selected(hits) & (hits["explained_by"].fillna(ABOVE) == ABOVE)


def above_without_control(hits: pd.DataFrame) -> pd.Series:
    """Selected rows whose every difference clears zero, concept by concept: the raw count, to stand beside."""
    return _selected(hits) & (hits["delta_low"] > 0 if "delta_low" in hits else False)


def _selected(hits: pd.DataFrame) -> pd.Series:
    return hits["selected"].astype(bool) if "selected" in hits else pd.Series(True, hits.index)


def _simplicity(name: str) -> int:
    return next((i for i, k in enumerate(KINDS) if k.name == name), len(KINDS))
