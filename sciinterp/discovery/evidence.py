"""The evidence record of a candidate: what speaks for it, what against it, and what would refute it.

Every record is plain data. ``reason_against`` is the strongest of the reasons found for that row, as one
sentence with its numbers; the others stay in ``evidence["against"]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.discovery.missing import Spans
from sciinterp.discovery.motifs import COLUMNS, consensus
from sciinterp.discovery.novel import Novel
from sciinterp.discovery.refinement import Refinement
from sciinterp.discovery.view import View

KMER = 3
PERIODIC = 0.35  # autocorrelation of the firing pattern from which a feature counts as periodic


class Evidence:
    """What the records of one table share: sources, hits, likeness of samples.

    Parameters
    ----------
    view : View
    hits : DataFrame
        Of :func:`sciinterp.associate`; may be empty.
    """

    def __init__(self, view: View, hits: pd.DataFrame) -> None:
        self.view = view
        frame = view.annotations.frame
        release = frame.groupby("source")["release"].first()
        self.sources = [{"source": str(s), "release": str(r) or "not stated"} for s, r in release.items()]
        selected = hits[hits["selected"].astype(bool)] if "selected" in hits.columns else hits
        self.hit = (
            {str(r["concept"]): r for r in selected.to_dict("records")} if "concept" in hits.columns else {}
        )
        self._kmers = _kmer_profiles(view)

    def nearest(self, sample: int, carriers: np.ndarray) -> dict[str, Any] | None:
        """The most alike sample among ``carriers``, by shared k-mers (Jaccard of sets)."""
        carriers = carriers[carriers != sample]
        if self._kmers is None or not len(carriers):
            return None
        mine = self._kmers[[sample]]
        shared = np.asarray((self._kmers[carriers] @ mine.T).todense()).ravel()
        size = np.asarray(self._kmers.sum(1)).ravel()
        like = shared / np.maximum(size[carriers] + size[sample] - shared, 1)
        best = int(np.argmax(like))
        return {"sample": self.view.samples.ids[int(carriers[best])], f"jaccard_{KMER}mers": round(float(like[best]), 3),
                "same_family": bool(self.view.family[carriers[best]] == self.view.family[sample])}  # fmt: skip

    def baselines(self, concept: str) -> dict[str, Any]:
        """The concept's best feature beside its best baseline, from the hits."""
        row = self.hit.get(concept)
        if row is None:
            return {"run": False}
        keep = ("feature", "f1", "f1_low", "f1_high", "precision", "recall", "best_baseline", "best_baseline_f1",
                "delta_f1", "delta_low", "delta_high", "q")  # fmt: skip
        return {"run": True, **{k: _plain(row[k]) for k in keep if k in row}}

    def also_fires_on(self, feature: int, *, without: str = "") -> list[dict[str, Any]]:
        """Concepts that hold most of the feature's activity, most enriched first."""
        view = self.view
        if not len(view.names):
            return []
        share = view.overlap[:, feature] / max(view.active[feature], 1)
        lift = share / np.maximum(view.n_positive / view.codes.shape[0], 1e-12)
        order = [
            i
            for i in np.argsort(-share * np.log(np.maximum(lift, 1)), kind="stable")
            if view.names[i] != without
        ][:3]
        return [{"concept": view.names[i], "share_of_activity": round(float(share[i]), 3), "lift": round(float(lift[i]), 2)}
                for i in order if share[i] >= 0.05]  # fmt: skip


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _kmer_profiles(view: View) -> sp.csr_array | None:
    """csr float32 [n_samples, n_kmers] of ones where a sample holds a k-mer."""
    if view.letters is None:
        return None
    n, base = len(view.letters), len(view.alphabet)
    code = np.zeros(max(n - KMER + 1, 0), np.int64)
    for j in range(KMER):
        code = code * base + view.letters[j : n - KMER + 1 + j]
    sample = view.sample_of[: len(code)]
    whole = view.sample_of[KMER - 1 :] == sample
    matrix = sp.coo_array((np.ones(whole.sum(), np.float32), (sample[whole], code[whole])),
                          shape=(len(view.samples), base**KMER)).tocsr()  # fmt: skip
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def missing_record(
    evidence: Evidence, spans: Spans, i: int, feature: int, contributors: list[int]
) -> dict[str, Any]:
    """The record of one missing annotation."""
    view = evidence.view
    c = view.names.index(spans.concept)
    table = view.instances[view.instances["concept"] == c]
    sample = int(view.sample_of[spans.start[i]])
    carriers = np.unique(table["sample"].to_numpy())
    mates = np.flatnonzero((view.family == view.family[sample]) & (np.arange(len(view.family)) != sample))
    length, typical = int(spans.end[i] - spans.start[i]), float(np.median(table["end"] - table["start"]))
    marked = int(spans.known.sum())
    better = float((spans.score[spans.known] < spans.score[i]).mean()) if marked else 0.0
    record = {
        "claim": f"candidate: {spans.concept} at a span where no source places it",
        "features": contributors,
        "sources_checked": evidence.sources,
        "nearest_annotated_relative": evidence.nearest(sample, carriers),
        "relatives": {"in_family": len(mates), "annotated": int(np.isin(mates, carriers).sum())},
        "baselines": evidence.baselines(spans.concept),
        "features_also_fire_on": evidence.also_fires_on(feature, without=spans.concept),
        "span": {"length": length, "typical_length": typical},
        "annotated_spans_it_outscores": round(better, 3),
        "unannotated_instances_estimated": round(spans.hidden, 1),
        "would_be_falsified_by": f"a substitution inside the span that leaves feature {feature} active, or an experiment that "
        f"finds no {spans.concept} there",
    }  # fmt: skip
    record["against"] = _against_missing(record, spans, length, typical)
    return record


def _against_missing(record: Mapping[str, Any], spans: Spans, length: int, typical: float) -> list[str]:
    reasons: list[tuple[float, str]] = []
    relatives, near, base = record["relatives"], record["nearest_annotated_relative"], record["baselines"]
    if relatives["in_family"] >= 2 and relatives["annotated"] == 0:
        reasons.append(
            (
                0.6,
                f"None of its {relatives['in_family']} relatives carries {spans.concept}, so the whole family may lack it.",
            )
        )
    if relatives["in_family"] == 0:
        reasons.append((0.3, "It has no relative here that could support it."))
    if base.get("run") and (base.get("delta_f1") or 0) < 0:
        reasons.append((0.7, f"{base['best_baseline']} alone finds {spans.concept} better (F1 {base['best_baseline_f1']:.2f} against "
                             f"{base['f1']:.2f}), so the features may repeat what it shows."))  # fmt: skip
    if not 0.5 <= length / max(typical, 1) <= 2:
        reasons.append(
            (0.5, f"The span is {length} long where annotated instances are typically {typical:.0f}.")
        )
    for other in record["features_also_fire_on"][:1]:
        if other["share_of_activity"] > 0.3 and other["lift"] > 2:
            reasons.append((other["share_of_activity"], f"{100 * other['share_of_activity']:.0f}% of its leading feature's activity "
                            f"lies in {other['concept']}, which it may be reading instead."))  # fmt: skip
    if record["annotated_spans_it_outscores"] < 0.2:
        reasons.append(
            (
                0.65,
                f"It scores below {100 * (1 - record['annotated_spans_it_outscores']):.0f}% of the annotated instances.",
            )
        )
    key = f"jaccard_{KMER}mers"
    if near is not None and near[key] < 0.1:
        reasons.append(
            (
                0.4,
                f"Its nearest annotated relative shares only {100 * near[key]:.0f}% of {KMER}-mers with it.",
            )
        )
    if not reasons:
        reasons.append(
            (
                0.1,
                f"{spans.concept} may be left unannotated there on purpose: the source gives no reason for absence.",
            )
        )
    return [text for _, text in sorted(reasons, key=lambda r: -r[0])]


def novel_record(evidence: Evidence, novel: Novel, i: int, companions: list[int]) -> dict[str, Any]:
    """The record of one novel feature."""
    view = evidence.view
    feature = int(novel.feature[i])
    motif, bits, _ = consensus(view, novel.peaks[i])
    measures = {name: round(float(v), 3) for name, v in zip(COLUMNS, novel.measures[i])}
    pattern = firing_pattern(view, feature)
    stable = float(novel.stability[i])
    peaks = novel.peaks[i][novel.peaks[i] >= 0]
    record = {
        "claim": "candidate: a coherent feature that no concept of the sources explains",
        "features": [feature, *companions],
        "sources_checked": evidence.sources,
        "motif": {"consensus": motif, "bits": round(bits, 1)},
        "pattern": pattern,
        "n_families": int(novel.n_families[i]),
        "held_out_auroc": measures,
        "stability": None if np.isnan(stable) else round(stable, 3),
        "partial_matches": evidence.also_fires_on(feature),
        "examples": [{"sample": view.samples.ids[int(view.sample_of[p])],
                      "position": int(p - view.samples.offsets[view.sample_of[p]])} for p in peaks[:5]],
        "would_be_falsified_by": f"peaks of feature {feature} in further families that do not share the motif {motif}",
    }  # fmt: skip
    record["against"] = _against_novel(record, measures, stable)
    return record


def _against_novel(record: Mapping[str, Any], measures: Mapping[str, float], stable: float) -> list[str]:
    reasons: list[tuple[float, str]] = []
    if np.isnan(stable):
        reasons.append(
            (
                0.995,
                "Its stability over seeds was not measured, so it may be an accident of one training run.",
            )
        )
    elif stable < 0.6:
        reasons.append((0.7, f"Another dictionary reads it only loosely (cosine {stable:.2f})."))
    for name, words in (("composition", "the composition around it"), ("centre", "the letter at the peak"),
                        ("position", "distance from the ends")):  # fmt: skip
        if measures[name] > max(0.7, measures["motif"] - 0.05):
            reasons.append((measures[name], f"{words[0].upper()}{words[1:]} alone finds its peaks with AUROC {measures[name]:.2f}, "
                                            f"the motif with {measures['motif']:.2f}."))  # fmt: skip
    for match in record["partial_matches"][:1]:
        reasons.append((0.3 + match["share_of_activity"] / 2, f"{100 * match['share_of_activity']:.0f}% of its activity lies in "
                        f"{match['concept']} ({match['lift']:.1f} times its share of positions), so it may be a part of that."))  # fmt: skip
    if measures["motif"] < 0.65:
        reasons.append((0.6, f"Its motif finds held-out peaks only with AUROC {measures['motif']:.2f}."))
    if record["n_families"] < 20:
        reasons.append((0.4, f"It was seen in only {record['n_families']} families."))
    if not reasons:
        reasons.append(
            (0.1, f"A source outside those checked may already describe {record['motif']['consensus']}.")
        )
    return [text for _, text in sorted(reasons, key=lambda r: -r[0])]


def refinement_record(evidence: Evidence, found: Refinement) -> dict[str, Any]:
    """The record of one refinement."""
    n = found.only_a + found.only_b + found.both + found.neither
    record = {
        "claim": f"candidate: {found.concept} is two things, read by different features in different families",
        "features": [found.a, found.b],
        "sources_checked": evidence.sources,
        "held_out_families": {
            "only_first": found.only_a,
            "only_second": found.only_b,
            "both": found.both,
            "neither": found.neither,
        },
        "test": {"name": "Fisher exact, held-out families", "p": found.p},
        "baselines": evidence.baselines(found.concept),
        "first_also_fires_on": evidence.also_fires_on(found.a, without=found.concept),
        "second_also_fires_on": evidence.also_fires_on(found.b, without=found.concept),
        "would_be_falsified_by": f"families of {found.concept} where features {found.a} and {found.b} fire on the same instances",
    }
    reasons = []
    if found.both:
        reasons.append(f"{found.both} of {n} held-out families are held by both features.")
    if n < 15:
        reasons.append(f"It was tested on only {n} held-out families (p = {found.p:.2g}).")
    reasons.append(f"Features {found.a} and {found.b} may tell groups of relatives apart by sequence around {found.concept} "
                   "rather than two kinds of it.")  # fmt: skip
    record["against"] = reasons
    return record


def firing_pattern(view: View, feature: int) -> dict[str, Any]:
    """How a feature fires along a sample: point, periodic, short, long or whole, with its numbers."""
    columns = view.columns
    where = np.sort(columns.indices[columns.indptr[feature] : columns.indptr[feature + 1]])
    if not len(where):
        return {"class": "silent"}
    cut = np.flatnonzero((np.diff(where) > 2) | (np.diff(view.sample_of[where]) > 0))
    run = np.diff(np.r_[0, cut + 1, len(where)])
    samples = np.unique(view.sample_of[where])
    cover = len(where) / max(view.samples.lengths[samples].sum(), 1)
    gaps = np.diff(where)[np.diff(view.sample_of[where]) == 0]
    share = np.bincount(np.clip(gaps, 0, 60), minlength=61) / max(len(gaps), 1)
    period = int(np.argmax(share[3:25]) + 3)
    median = float(np.median(run))
    if cover > 0.7:
        name = "whole"
    elif share[period] > PERIODIC and len(gaps) > 20:
        name = "periodic"
    else:
        name = "point" if median <= 1 else "short" if median <= 8 else "long"
    return {"class": name, "median_run": median, "share_of_its_samples": round(float(cover), 3),
            "period": period if name == "periodic" else None}  # fmt: skip
