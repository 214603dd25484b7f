"""The evidence record of a candidate: what speaks for it, what against it, and what would refute it.

Every record is plain data. ``reason_against`` is the strongest of the reasons found for that row, as one
sentence with its numbers; the others stay in ``evidence["against"]`` (:mod:`sciinterp.discovery.caveats`). What only
the model can say (mutation scan, ablation) is added by :mod:`sciinterp.discovery.probe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sciinterp.association.explanations import THRESHOLDS, above_all
from sciinterp.discovery.caveats import against_missing, against_novel, against_refinement
from sciinterp.discovery.half_samples import READINGS, limits
from sciinterp.discovery.missing import Spans
from sciinterp.discovery.novel import Novel, firing_pattern
from sciinterp.discovery.problem import Problem
from sciinterp.discovery.records import (
    Fires,
    Lies,
    MissingRecord,
    Nearest,
    NovelRecord,
    RefinementRecord,
    Relatives,
)
from sciinterp.discovery.refinement import Refinement
from sciinterp.discovery.sequence_identity import SequenceIdentity
from sciinterp.discovery.sequence_readers import COLUMNS, OF_BACKBONE, describe

CONTEXT = 7  # letters shown on either side of an example
# Columns of a hit that stand in the records of its concept.
OF_HITS = ("feature f1 f1_low f1_high precision recall best_baseline best_baseline_f1 delta_f1 delta_low delta_high "
           "q_above explained_by q").split()  # fmt: skip


@dataclass(frozen=True)
class _Placed:
    """Where one concept is annotated: samples that carry it, their families, typical length."""

    carriers: np.ndarray
    is_carrier: np.ndarray
    typical: float


class Evidence:
    """What the records of one table share: sources, hits, sequence identity of samples.

    Parameters
    ----------
    problem : Problem
    hits : DataFrame
        Of :func:`sciinterp.associate`; may be empty.
    """

    def __init__(self, problem: Problem, hits: pd.DataFrame) -> None:
        self.problem = problem
        frame = problem.annotations.frame
        release = frame.groupby("source")["release"].first()
        self.sources = [{"source": str(s), "release": str(r) or "not stated"} for s, r in release.items()]
        selected = hits[hits["selected"].astype(bool)] if "selected" in hits.columns else hits
        self.hit = (
            {str(r["concept"]): r for r in selected.to_dict("records")} if "concept" in hits.columns else {}
        )
        self.above = set(selected["concept"][above_all(selected)].astype(str)) if self.hit else set()
        self.identity = SequenceIdentity(problem)
        self._placed: dict[str, _Placed] = {}
        self._also: dict[tuple[int, str], list[Fires]] = {}

    def placed(self, concept: str) -> _Placed:
        """Where a concept is annotated."""
        if concept not in self._placed:
            table = self.problem.instances_of(self.problem.names.index(concept))
            carriers = np.unique(table["sample"].to_numpy())
            member = np.isin(np.arange(len(self.problem.family)), carriers)
            self._placed[concept] = _Placed(carriers, member, float(np.median(table["end"] - table["start"])))
        return self._placed[concept]

    def baselines(self, concept: str) -> dict[str, bool | float | str | None]:
        """The concept's best feature beside its best baseline, from the hits."""
        row = self.hit.get(concept)
        if row is None:
            return {"run": False}
        record = {"run": True, **{k: _plain(row[k]) for k in OF_HITS if k in row}}
        if "delta_low" in row:
            record["beaten"] = concept in self.above
        return record

    def not_found(self, concept: str) -> str:
        """Why no instances of a concept are looked for: no feature finds those that are known; empty where one does.

        What hardly follows a concept in families that had no say follows something else where nobody annotated it. Where
        hits say nothing of a concept nothing is held against it.
        """
        row = self.hit.get(concept, {})
        if "f1" not in row or (row["f1"] >= THRESHOLDS.floor and not np.isnan(row.get("f1_low", 0.0))):
            return ""
        if not row["f1"] < THRESHOLDS.floor:
            return "too few families say how well features find it"
        return f"features hardly find it: an F1 of {row['f1']:.2f}, at least {THRESHOLDS.floor:g} is wanted"

    def nearest(self, feature: int) -> Nearest | None:
        """The concept whose positions the feature meets best, with its F1 over all positions."""
        problem = self.problem
        if not len(problem.names):
            return None
        f1 = problem.f1[:, feature]
        return {"concept": problem.names[int(np.argmax(f1))], "f1": round(float(f1.max()), 3)}

    def lies(self, peaks: np.ndarray) -> Lies:
        """Where peaks lie: the most enriched concept that holds half of them, and how far from the nearer end."""
        problem = self.problem
        sample = problem.sample_of[peaks]
        distance = {
            "start": peaks - problem.samples.offsets[sample] + 1,
            "end": problem.samples.offsets[sample + 1] - peaks,
        }
        spread = {end: np.quantile(d, [0.25, 0.5, 0.75]) for end, d in distance.items()}
        end = min(spread, key=lambda e: spread[e][2] - spread[e][0])
        low, middle, high = (round(float(v)) for v in spread[end])
        record: Lies = {
            "counted_from": end,
            "position": middle,
            "half_lie_between": [low, high],
            "concept": None,
        }
        if len(problem.names):
            share = np.asarray(problem.positives[peaks].sum(0)).ravel() / max(len(peaks), 1)
            lift, enriched = self._enrichment(share)
            i = int(np.argmax(enriched))
            if share[i] >= 0.5 and lift[i] > 1:
                record["concept"], record["share_of_peaks"] = problem.names[i], round(float(share[i]), 3)
        return record

    def _enrichment(self, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many times its share of positions each concept holds, and how much that says of what it holds."""
        lift = share / np.maximum(self.problem.n_positive / self.problem.n_positions, 1e-12)
        return lift, share * np.log(np.maximum(lift, 1))

    def also_fires_on(self, feature: int, *, without: str = "") -> list[Fires]:
        """Concepts that hold most of the feature's activity, most enriched first."""
        if (feature, without) not in self._also:
            self._also[feature, without] = self._fires_on(feature, without)
        return self._also[feature, without]

    def _fires_on(self, feature: int, without: str) -> list[Fires]:
        problem = self.problem
        if not len(problem.names):
            return []
        share = problem.overlap[:, feature] / max(problem.active[feature], 1)
        lift, enriched = self._enrichment(share)
        order = [i for i in np.argsort(-enriched, kind="stable") if problem.names[i] != without][:3]
        return [
            {
                "concept": problem.names[i],
                "share_of_activity": round(float(share[i]), 3),
                "lift": round(float(lift[i]), 2),
            }
            for i in order
            if share[i] >= 0.05
        ]


def _plain(value: object) -> bool | float | str | None:
    """What a cell of a table holds, as Python has it."""
    return (
        value.item()
        if isinstance(value, np.generic)
        else value
        if isinstance(value, bool | float | int | str)
        else None
    )


def missing_record(
    evidence: Evidence, spans: Spans, i: int, feature: int, contributors: list[int]
) -> MissingRecord:
    """The record of one missing annotation."""
    problem, placed = evidence.problem, evidence.placed(spans.concept)
    sample = int(problem.sample_of[spans.start[i]])
    mates = problem.family == problem.family[sample]
    relatives: Relatives = {
        "in_family": int(mates.sum()) - 1,
        "annotated": int((mates & placed.is_carrier).sum() - placed.is_carrier[sample]),
    }
    record: MissingRecord = {
        "claim": f"candidate: {spans.concept} at {_residues(problem, int(spans.start[i]), int(spans.end[i]))}, where no source "
        f"places it; {relatives['annotated']} of its {relatives['in_family']} relatives carry it",
        "features": contributors,
        "sources_checked": evidence.sources,
        "nearest_annotated_relative": evidence.identity.nearest(sample, placed.carriers),
        "relatives": relatives,
        "baselines": evidence.baselines(spans.concept),
        "features_also_fire_on": evidence.also_fires_on(feature, without=spans.concept),
        "span": {"length": int(spans.end[i] - spans.start[i]), "typical_length": placed.typical},
        "annotated_spans_it_outscores": round(float(spans.outscored[i]), 3),
        "unannotated_instances_estimated": round(spans.hidden, 1),
        "probability_that_any_was_left_out": round(spans.any_left_out, 3),
        "would_be_falsified_by": f"a substitution inside the span that leaves feature {feature} active, or an experiment that "
        f"finds no {spans.concept} there",
        "against": [],
    }
    record["against"] = against_missing(record, spans.concept)
    return record


def novel_record(evidence: Evidence, novel: Novel, i: int, companions: list[int]) -> NovelRecord:
    """The record of one novel feature, or of one set of features."""
    problem = evidence.problem
    feature = int(novel.feature[i])
    reads = _reads(problem, novel, i)
    stable = float(novel.stability[i])
    peaks = novel.peaks[i][novel.peaks[i] >= 0]
    found = novel.places[i]
    name = str(novel.sets[i]) if novel.sets else f"feature {feature}"
    record: NovelRecord = {
        "claim": "",
        "features": [*novel.members(i), *companions],
        "sources_checked": evidence.sources,
        "reader": reads,
        "pattern": firing_pattern(problem, feature),
        "lies": evidence.lies(peaks),
        "n_families": int(novel.n_families[i]),
        "families": {
            "all": found.n_families,
            "share_that_carry_it": round(found.carried, 3),
            "share_of_its_own_alike_around_it": round(found.homologous, 3),
            "probability_times": round(found.news, 3),
        },
        "nearest_concept": evidence.nearest(feature),
        "held_out_auroc": _rounded((*COLUMNS, *OF_BACKBONE), novel.measures[i]),
        "explains_the_peaks_from": _rounded(READINGS, limits(novel.measures[i : i + 1])[0]),
        "passes_in_half_samples": round(float(novel.share[i]), 3),
        "probability_that_any_is_real": round(novel.any_real, 3),
        "stability": None if np.isnan(stable) else round(stable, 3),
        "co_active": companions,
        "partial_matches": evidence.also_fires_on(feature),
        "typical_context": [_example(problem, int(p)) for p in peaks[:5]],
        "would_be_falsified_by": f"peaks of {name} in further families that do not share {reads['text']}",
        "against": [],
    }
    record["claim"], record["against"] = _novel_claim(record, name), against_novel(record)
    return record


def _rounded(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {name: round(float(v), 3) for name, v in zip(names, values)}


def _reads(problem: Problem, novel: Novel, i: int) -> dict[str, object]:
    """The chosen reader: name, sentence, held-out AUROC with its interval, and what every reader reached before."""
    read = novel.read
    assert read is not None  # there are rows
    auroc = read.measures[i, COLUMNS.index("reader")]
    return {
        **describe(problem, novel.peaks[i], str(read.reader[i])),
        **_rounded(("auroc", "auroc_low", "auroc_high"), np.array([auroc, read.low[i], read.high[i]])),
        "training_families_auroc": {
            name: None if np.isnan(v[i]) else round(float(v[i]), 3) for name, v in read.tried.items()
        },
    }


PATTERNS = {
    "point": "at single positions",
    "short": "in short runs",
    "long": "in long runs",
    "whole": "along whole samples",
}


def _novel_claim(record: NovelRecord, name: str) -> str:
    """One sentence: what is read, how, where, in how many families, and the nearest concept."""
    lies, pattern, near = record["lies"], record["pattern"], record["nearest_concept"]
    how = PATTERNS.get(pattern["class"], f"every {pattern.get('period')} positions")
    low, high = lies["half_lie_between"]
    reader = record["reader"]
    said = reader["text"] if reader["name"] == "motif" else f"{reader['name']}: {reader['text']},"
    where = (
        f"in {lies['concept']} ({100 * lies['share_of_peaks']:.0f}% of its peaks, one a family)"
        if "share_of_peaks" in lies
        else f"about {lies['position']} from the {lies['counted_from']} (half lie {low} to {high})"
    )
    known = (
        f"nearest concept {near['concept']} (F1 {near['f1']:.2f})"
        if near
        else "no concept on positions to compare with"
    )
    return (
        f"candidate: {name} reads {said} {how}, {where}, in "
        f"{record['n_families']} of {record['families']['all']} families; {known}"
    )


def _residues(problem: Problem, start: int, end: int) -> str:
    """A span in words, counted from 1."""
    sample = int(problem.sample_of[start])
    base = int(problem.samples.offsets[sample])
    return f"{start - base + 1} to {end - base} of {problem.samples.ids[sample]} (counted from 1)"


def _example(problem: Problem, at: int) -> dict[str, object]:
    """A peak with the letters around it, the peak's own in brackets."""
    sample = int(problem.sample_of[at])
    position = at - int(problem.samples.offsets[sample])
    text = problem.samples[sample].sequence
    around = f"{text[max(0, position - CONTEXT) : position]}[{text[position]}]{text[position + 1 : position + 1 + CONTEXT]}"
    return {"sample": problem.samples.ids[sample], "position": position, "letters": around}


def refinement_record(evidence: Evidence, found: Refinement) -> RefinementRecord:
    """The record of one refinement."""
    record: RefinementRecord = {
        "claim": f"candidate: {found.concept} is two things: of its families feature {found.a} alone reads {found.only_a}, "
        f"feature {found.b} alone {found.only_b}, both {found.both}",
        "features": [found.a, found.b],
        "sources_checked": evidence.sources,
        "tested_families": {
            "only_first": found.only_a,
            "only_second": found.only_b,
            "both": found.both,
            "neither": found.neither,
        },
        "test": {"name": "the best pair where the families of every feature are permuted", "p": found.p},
        "baselines": evidence.baselines(found.concept),
        "first_also_fires_on": evidence.also_fires_on(found.a, without=found.concept),
        "second_also_fires_on": evidence.also_fires_on(found.b, without=found.concept),
        "would_be_falsified_by": f"families of {found.concept} where features {found.a} and {found.b} fire on the same instances",
        "against": [],
    }
    record["against"] = against_refinement(record, found.concept)
    return record
