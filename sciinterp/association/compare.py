"""Features against baselines: differences on the same resampled families, and the words that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from sciinterp.association import baselines as registry
from sciinterp.association.bootstrap import FamilyCounts, intervals, ratio
from sciinterp.association.explanations import OTHER, explained_by
from sciinterp.association.fitting import Fitted


def compare(
    pieces: Iterator[tuple[pd.DataFrame, FamilyCounts]],
    ran: Mapping[str, Fitted],
    draws: np.ndarray,
    *,
    ceilings: tuple[str, ...],
    level: float,
) -> pd.DataFrame:
    """Intervals of each pair, and its difference to the baseline with the best held-out F1.

    Parameters
    ----------
    pieces : iterator
        From :func:`sciinterp.association.measure.measured`.
    ran : mapping of str to Fitted
    draws : float64 [n_boot, n_families]
    ceilings : tuple of str
        Baselines that are never the best one.
    level : float
    """
    names = [name for name in ran if name not in ceilings]
    rivals = [ran[name] for name in names]
    f1 = np.stack([rival.counts.f1() for rival in rivals])
    best, kinds = np.argmax(f1, axis=0), [explains(name) for name in names]
    reach = {kind: f1[[k == kind for k in kinds]].max(axis=0) for kind in kinds}
    beside = {name: ran[name] for name in registry.ceilings() if name in ran}
    tables = []
    for out, counts in pieces:
        out["f1_low"], out["f1_high"] = intervals(counts, draws, level=level)
        concept = out["concept"].to_numpy()
        out["best_baseline"], out["best_baseline_f1"] = (
            np.array(names)[best[concept]],
            f1[best[concept], concept],
        )
        out["delta_f1"] = out["f1"] - out["best_baseline_f1"]
        against = _of_best(rivals, best, concept, counts)
        out["delta_low"], out["delta_high"] = intervals(counts, draws, against=against, level=level)
        unknown = out["n_positive"].to_numpy() == 0
        out.loc[unknown, ["best_baseline_f1", "delta_f1"]] = np.nan
        reached = {kind: value[concept] for kind, value in reach.items()}
        out["explained_by"] = explained_by(
            np.where(unknown, np.nan, out["f1"]), out["delta_low"].to_numpy(), reached
        )
        for name, other in beside.items():
            out[f"{name}_f1"] = np.where(unknown, np.nan, other.counts.f1()[concept])
            # An interval costs more than the rest of a row; beside ceilings the selected pairs have one.
            mine, low = np.flatnonzero(out["selected"].to_numpy()), np.full(len(out), np.nan)
            low[mine] = intervals(
                counts.take(mine), draws, against=other.counts.take(concept[mine]), level=level
            )[0]
            out[f"{name}_delta_low"] = low
        tables.append(out)
    return pd.concat(tables).sort_index()


def explains(name: str) -> str:
    """The kind of a baseline; of one that is none of ours, :data:`~sciinterp.association.explanations.OTHER`."""
    record = registry.find(name)
    return OTHER if record is None else record.explains


def _of_best(
    rivals: list[Fitted], best: np.ndarray, concept: np.ndarray, counts: FamilyCounts
) -> FamilyCounts:
    """Counts of the best rival of each row's concept."""
    tp, predicted = np.empty_like(counts.tp), np.empty_like(counts.predicted)
    for number, rival in enumerate(rivals):
        mine = np.flatnonzero(best[concept] == number)
        tp[mine], predicted[mine] = rival.counts.tp[concept[mine]], rival.counts.predicted[concept[mine]]
    return FamilyCounts(tp, predicted, counts.positive)


def baseline_table(
    pairs: pd.DataFrame,
    of_feature: FamilyCounts,
    ran: Mapping[str, Fitted],
    draws: np.ndarray,
    *,
    ceilings: tuple[str, ...],
    level: float,
) -> pd.DataFrame:
    """One row a concept (by number) and baseline: chosen in training, held out, with the selected feature's lead over it.

    Parameters
    ----------
    pairs : DataFrame
        The selected ones of :func:`sciinterp.association.measure.choose`.
    of_feature : FamilyCounts
        Theirs.
    ran, draws, ceilings, level
        As for :func:`compare`.
    """
    concept = pairs["concept"].to_numpy()
    held_out = np.where(of_feature.positive.sum(axis=1) > 0, of_feature.f1(), np.nan)
    out = []
    for name, baseline in ran.items():
        mine = baseline.counts.take(concept)
        tp, predicted, positive = (x.sum(axis=1) for x in (mine.tp, mine.predicted, mine.positive))
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
        table["f1_low"], table["f1_high"] = intervals(mine, draws, level=level)
        table["delta_f1"] = held_out - f1
        table["delta_low"], table["delta_high"] = intervals(of_feature, draws, against=mine, level=level)
        out.append(pd.DataFrame({**table, "ceiling": name in ceilings}))
    return pd.concat(out, ignore_index=True)
