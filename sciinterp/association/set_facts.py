"""What sets of features say of each concept and of all of them, as numbers and as sentences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sciinterp.association.explanations import THRESHOLDS
from sciinterp.association.set_chance import READER as CHANCE

FOUND, SHARE = (
    0.5,
    0.95,
)  # F1 at which a concept counts as found; share of the probe that stands for all of it
# Reader -> what it is called, the dictionary first.
READERS = {
    "features": "features",
    "twin_decoder": "twin, frozen decoder",
    "twin_decoder_soft": "twin, soft decoder",
    "twin_encoder": "twin, frozen encoder",
    "independent components": "independent components",
    "components": "principal components",
    "neurons": "neurons",
    "randomised": "randomised model",
    CHANCE: "a rotated concept",
    "probe": "linear probe",
}


@dataclass(frozen=True)
class SetFacts:
    """What sets say of one concept."""

    concept: str
    f1: dict[int, float]  # held-out F1 of the weighted set of each size
    k_found: int | None  # features of the smallest set with an F1 of FOUND
    k_probe: int | None  # features of the smallest set that reaches SHARE of the linear probe
    probe: float  # F1 of the probe, NaN where not measured
    chance: float  # the most that sets reach of the concept rotated between families, NaN where not measured
    # The smallest or-set that has the best F1 in training: the concept is where any of these features is.
    any_of: tuple[int, ...]
    any_f1: float  # held-out F1 of that or-set, and its interval
    any_low: float
    any_high: float
    one_f1: float  # held-out F1 of its first feature alone

    @property
    def curve(self) -> str:
        """The curve in words, with what it takes for :data:`FOUND` and for the probe."""
        known = {k: v for k, v in self.f1.items() if np.isfinite(v)}
        if not known:
            return ""
        sizes, values = [str(k) for k in known], [f"{v:.2f}" for v in known.values()]
        needs = f"{FOUND:g} takes {self.k_found or 'more'}"
        if np.isfinite(self.probe):
            needs += f", {100 * SHARE:.0f}% of the linear probe ({self.probe:.2f}) {self.k_probe or 'more'}"
        beside = f"; by chance up to {self.chance:.2f}" if np.isfinite(self.chance) else ""
        return f"F1 {_listed(values)} with weighted sets of {_listed(sizes)} features: {needs}{beside}."

    @property
    def sentence(self) -> str:
        """The or-set in words; empty where there is none."""
        first, f1 = (self.any_of or (0,))[0], self.any_f1
        if not self.any_of or not np.isfinite(f1):
            return ""
        within = f" ({self.any_low:.2f} to {self.any_high:.2f})" if np.isfinite(self.any_low) else ""
        if len(self.any_of) == 1:
            return f"{self.concept} is where feature {first} is: F1 {f1:.2f}{within}; no second feature adds to it in training."
        named = _listed([str(j) for j in self.any_of])
        return f"{self.concept} is where any of features {named} is: F1 {f1:.2f}{within}, with feature {first} alone {self.one_f1:.2f}."


def set_facts(sets: pd.DataFrame) -> list[SetFacts]:
    """One record a concept, in the order of ``hits.context["sets"]``, which may be empty.

    Examples
    --------
    >>> rows = [("a", "features", 1, "or", .6, .5, "7"), ("a", "features", 2, "or", .9, .8, "7 3")]
    >>> names = ["concept", "reader", "k", "rule", "f1_train", "f1", "units"]
    >>> set_facts(pd.DataFrame(rows, columns=names).assign(f1_low=.6, f1_high=.9))[0].sentence
    'a is where any of features 7 and 3 is: F1 0.80 (0.60 to 0.90), with feature 7 alone 0.50.'
    """
    if not len(sets):
        return []
    return [_of_concept(str(name), mine) for name, mine in sets.groupby("concept", sort=False)]


def _of_concept(concept: str, rows: pd.DataFrame) -> SetFacts:
    mine = rows[(rows["reader"] == "features") & (rows["rule"] == "weighted")].sort_values("k")
    f1 = {int(k): float(v) for k, v in zip(mine["k"], mine["f1"])}
    alone = {name: rows.loc[rows["reader"] == name, "f1"].max() for name in ("probe", CHANCE)}
    probe, chance = float(alone["probe"]), float(alone[CHANCE])
    grown = rows[(rows["reader"] == "features") & (rows["rule"] == "or")].sort_values("k")
    any_of: tuple[int, ...] = ()
    f1_any = low = high = one = np.nan
    if len(grown):
        best = grown.iloc[int(grown["f1_train"].to_numpy().argmax())]  # the first, and smallest, of equals
        any_of = tuple(int(j) for j in str(best["units"]).split())
        f1_any, low, high = (float(best[name]) for name in ("f1", "f1_low", "f1_high"))
        one = float(grown.iloc[0]["f1"])
    return SetFacts(
        concept,
        f1,
        _smallest(f1, FOUND),
        _smallest(f1, SHARE * probe),
        probe,
        chance,
        any_of,
        f1_any,
        low,
        high,
        one,
    )


def _smallest(f1: dict[int, float], least: float) -> int | None:
    """The smallest size that reaches so much; none where nothing is to be reached."""
    return next((k for k, value in f1.items() if value >= least), None)


def set_sentences(sets: pd.DataFrame) -> list[str]:
    """What ``hits.context["sets"]`` says of all concepts.

    How many are found with how many features, beside rivals; the probe; chance.
    """
    facts = [one for one in set_facts(sets) if any(np.isfinite(v) for v in one.f1.values())]
    if not facts:
        return []
    weighted, n = sets[sets["rule"] == "weighted"], len(facts)
    ks = sorted({k for one in facts for k in one.f1})
    found = (weighted.assign(found=weighted["f1"] >= FOUND).groupby(["reader", "k"])["found"].sum()).to_dict()
    counts = [str(found.get(("features", k), 0)) for k in ks]
    said = [
        f"Sets of {_listed([str(k) for k in ks])} features find {_listed(counts)} of the {n} concepts that test families of the split carry at an "
        f"F1 of {FOUND:g}"
        + "".join(
            f"; {words}, {_listed([str(found.get((reader, k), 0)) for k in ks])}"
            for reader, words in READERS.items()
            if reader not in ("features", "probe", CHANCE) and any((reader, k) in found for k in ks)
        )
        + "."
    ]
    probed = [one for one in facts if one.probe >= THRESHOLDS.floor]
    if probed:
        reached = [one.k_probe for one in probed if one.k_probe is not None]
        said.append(
            f"{100 * SHARE:.0f}% of the linear probe, which reads all inputs, is reached by {ks[-1]} features or fewer for "
            f"{len(reached)} of the {len(probed)} concepts that the probe finds at an F1 of {THRESHOLDS.floor:g} or more"
            + (f", half of them with {_half(reached)}." if reached else ".")
        )
    judged = [one for one in facts if np.isfinite(one.chance)]
    if judged:
        above = sum(max(v for v in one.f1.values() if np.isfinite(v)) > one.chance for one in judged)
        said.append(
            f"{above} of {len(judged)} concepts are read better than any of the same concept's rotations between families, "
            "which one in twenty is by chance."
        )
    return said


def _half(sizes: list[int]) -> str:
    middle = int(np.sort(sizes)[(len(sizes) - 1) // 2])
    return f"{middle} or fewer" if middle > 1 else "one"


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + f" and {items[-1]}"
