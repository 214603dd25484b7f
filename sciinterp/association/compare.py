"""Features against baselines: differences on the same families, and the words that follow from them.

A pair lies above every counted baseline where its difference to each of them clears zero: its verdict rests on the
*least* lower end, and its p-value is the largest of the one-sided ones (an intersection-union test, which needs no
correction for the number of baselines). Which baseline scores best held out decides neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sciinterp import distributed
from sciinterp.association import baselines as registry
from sciinterp.association.explanations import OTHER, PREVALENCE, explained_by
from sciinterp.association.family_counts import FamilyCounts, ratio
from sciinterp.association.fitting import Fitted
from sciinterp.association.jackknife import Jackknifed, difference, families_needed, interval, p_above
from sciinterp.frames import stacked


@dataclass(frozen=True, eq=False)
class Rivals:
    """Baselines of one partition, held out."""

    ran: Mapping[str, Fitted]
    of: dict[str, Jackknifed]  # F1 of every baseline that ran, one row a concept
    counted: list[str]  # those that a feature has to lie above
    # bool [n_concepts]: whether its own interval lies above chance: above calling every position positive, on
    # the same families.
    separates: dict[str, np.ndarray]
    level: float

    @classmethod
    def made(cls, ran: Mapping[str, Fitted], ceilings: tuple[str, ...], level: float) -> Rivals:
        """Of baselines that ran; `ceilings` are never counted."""
        of = {name: fitted.counts.jackknifed() for name, fitted in ran.items()}
        chance = next((value for name, value in of.items() if explains(name) == PREVALENCE), None)
        separates = {
            name: np.ones(len(value.value), bool)
            if chance is None
            else np.asarray(difference(value, chance, level=level)[0] > 0)
            for name, value in of.items()
        }
        return cls(ran, of, [name for name in of if name not in ceilings], separates, level)

    def reach(self) -> dict[str, np.ndarray]:
        """Kind to the best F1 [n_concepts] of its counted baselines; of those that are no better than chance, NaN.

        Calling everything positive is chance itself: it is what the verdict on too wide a concept is about.
        """
        out: dict[str, np.ndarray] = {}
        for name in self.counted:
            kind, f1 = explains(name), self.of[name].value
            reads = self.separates[name] | (kind == PREVALENCE)
            out[kind] = np.fmax(out.get(kind, np.nan), np.where(reads, f1, np.nan))
        return out


def compare(
    pieces: Iterator[tuple[pd.DataFrame, FamilyCounts]], rivals: Rivals
) -> tuple[pd.DataFrame, FamilyCounts]:
    """Intervals of each pair, and its differences to the counted baselines; and the counts of the selected pairs.

    `pieces` come from :func:`sciinterp.association.measure.measured`: each rank has its own, and gets the table
    of all.
    """
    level = rivals.level
    f1 = np.stack([rivals.of[name].value for name in rivals.counted])
    best, reach = np.argmax(f1, axis=0), rivals.reach()
    beside = [name for name in registry.ceilings() if name in rivals.of]
    tables, of_chosen = [], []
    for out, counts in pieces:
        mine, concept = counts.jackknifed(), out["concept"].to_numpy()
        out["n_test_families"], out["n_test_families_effective"] = mine.n_families, mine.effective
        out["f1_low"], out["f1_high"] = interval(mine, level=level)
        out["best_baseline"] = np.array(rivals.counted, object)[best[concept]]
        out["best_baseline_f1"] = f1[best[concept], concept]
        out["delta_f1"] = out["f1"] - out["best_baseline_f1"]
        out["delta_low"], out["delta_high"] = _over_all(mine, rivals, best, concept)
        unknown = out["n_positive"].to_numpy() == 0
        out.loc[unknown, ["best_baseline_f1", "delta_f1"]] = np.nan
        out["explained_by"] = explained_by(
            np.where(unknown, np.nan, out["f1"]),
            out["delta_low"].to_numpy(),
            {kind: value[concept] for kind, value in reach.items()},
        )
        for name in beside:
            other = rivals.of[name].take(concept)
            out[f"{name}_f1"] = np.where(unknown, np.nan, other.value)
            out[f"{name}_delta_low"] = difference(mine, other, level=level)[0]
        tables.append(out)
        of_chosen.append(counts.take(np.flatnonzero(out["selected"].to_numpy())))
    parts = distributed.gathered((tables, of_chosen))
    tables = [one for part in parts for one in part[0]]
    index = np.concatenate([one.index.to_numpy() for one in tables])
    chosen = np.concatenate([one["selected"].to_numpy() for one in tables])
    counts = FamilyCounts.joined([one for part in parts for one in part[1]]).take(np.argsort(index[chosen]))
    del parts
    table = stacked(tables, np.argsort(index))
    _add_verdicts(table, counts.jackknifed(), rivals)
    return table, counts


def _over_all(
    mine: Jackknifed, rivals: Rivals, best: np.ndarray, concept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The least lower end over counted baselines, and the upper end to the best one."""
    low, high = np.full(len(concept), np.inf), np.full(len(concept), np.nan)
    for number, name in enumerate(rivals.counted):
        ends = difference(mine, rivals.of[name].take(concept), level=rivals.level)
        low = np.minimum(low, ends[0])
        high = np.where(best[concept] == number, ends[1], high)
    return low, high


def _add_verdicts(table: pd.DataFrame, mine: Jackknifed, rivals: Rivals) -> None:
    """Of selected rows, whose counts are `mine`, the largest p-value over counted baselines, and the families it takes.

    So many families would let the lower end lie above every counted baseline with a power of .8; NaN for no number.
    """
    chosen = np.flatnonzero(table["selected"].to_numpy())
    others = [rivals.of[name].take(table["concept"].to_numpy()[chosen]) for name in rivals.counted]

    def above(other: Jackknifed) -> tuple[np.ndarray, np.ndarray]:
        return p_above(mine, other), families_needed(mine, other, level=rivals.level)

    for name, values in zip(("p_above", "n_families_needed"), zip(*distributed.spread(others, above))):
        column = np.full(len(table), np.nan)
        column[chosen] = np.max(values, axis=0)
        table[name] = column


def explains(name: str) -> str:
    """The kind of a baseline; of one that is none of ours, :data:`~sciinterp.association.explanations.OTHER`."""
    record = registry.find(name)
    return OTHER if record is None else record.explains


def baseline_table(pairs: pd.DataFrame, of_feature: FamilyCounts, rivals: Rivals) -> pd.DataFrame:
    """One row a concept (by number) and baseline: chosen in training, held out, with the feature's lead over it.

    `pairs` are the selected ones of :func:`sciinterp.association.measure.choose`, `of_feature` theirs.
    """
    concept = pairs["concept"].to_numpy()
    held_out = np.where(of_feature.positive.sum(axis=1) > 0, of_feature.f1(), np.nan)
    of_chosen, out = of_feature.jackknifed(), []
    for name, baseline in rivals.ran.items():
        mine = baseline.counts.take(concept)
        tp, predicted, positive = mine.sums()
        f1 = np.where(positive > 0, mine.f1(), np.nan)
        table = {
            "concept": concept,
            "baseline": name,
            "detail": [baseline.detail[c] for c in concept],
            "f1_train": baseline.f1_train[concept],
            "precision": ratio(tp, predicted),
            "recall": ratio(tp, positive),
            "f1": f1,
        }
        other = rivals.of[name].take(concept)
        table["f1_low"], table["f1_high"] = interval(other, level=rivals.level)
        table["separates"] = rivals.separates[name][concept]
        table["delta_f1"] = held_out - f1
        table["delta_low"], table["delta_high"] = difference(of_chosen, other, level=rivals.level)
        out.append(pd.DataFrame({**table, "ceiling": name not in rivals.counted}))
    return pd.concat(out, ignore_index=True)
