"""``discover``: one table of candidates of three kinds, with their evidence."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sciinterp.annotations import Annotations
from sciinterp.discovery.evidence import Evidence, missing_record, novel_record, refinement_record
from sciinterp.discovery.missing import Spans, find_spans
from sciinterp.discovery.novel import Novel, co_active, find_novel
from sciinterp.discovery.refinement import calibrate_refinements, find_refinements
from sciinterp.discovery.view import View, make_view
from sciinterp.errors import InputError, ShapeError
from sciinterp.features import FeatureMatrix
from sciinterp.samples import Split
from sciinterp.tables import Table

if TYPE_CHECKING:
    from sciinterp.activations import Activations

log = logging.getLogger(__name__)

COLUMNS = (
    "kind",
    "sample",
    "start",
    "end",
    "concept",
    "feature",
    "score",
    "probability",
    "q",
    "reason_against",
    "evidence",
)
# A hit counts as an explanation of its feature from this held-out F1 and q on.
HIT_F1, HIT_Q = 0.3, 0.05
MAX_P_REFINEMENT = 0.2  # a pair that held-out families do not support is not listed


@dataclass(frozen=True)
class DiscoverySettings:
    """Settings of :func:`discover`.

    Attributes
    ----------
    min_probability : float
        Candidates below are counted, not listed.
    max_rows : int
        Longest list of one kind.
    n_folds : int
        Parts the families are divided into for cross-fitting.
    n_decoys : int
        Rotations of the features that are searched for missing annotations in the same way.
    n_ablated : int
        Novel candidates whose removal from the model is tried, when a model is given.
    """

    min_probability: float = 0.05
    max_rows: int = 2000
    n_folds: int = 4
    n_decoys: int = 1
    n_ablated: int = 3


@dataclass(frozen=True, eq=False)
class Controls:
    """More than one control for :func:`discover`.

    Attributes
    ----------
    randomised : FeatureMatrix, optional
        Codes of the randomised model.
    seeds : sequence of FeatureMatrix
        Codes of the same positions by dictionaries trained with other seeds, three or more.
    settings : DiscoverySettings
    """

    randomised: FeatureMatrix | None = None
    seeds: Sequence[FeatureMatrix] = ()
    settings: DiscoverySettings = DiscoverySettings()


def discover(
    features: FeatureMatrix,
    annotations: Annotations,
    hits: pd.DataFrame,
    *,
    split: Split,
    model: Any = None,
    control: FeatureMatrix | Controls | None = None,
    acts: Activations | np.ndarray | None = None,
    seed: int = 0,
) -> Table:
    """List candidates: annotations that seem missing, features no concept explains, concepts that split.

    Parameters
    ----------
    features : FeatureMatrix
    annotations : Annotations
    hits : DataFrame
        Of :func:`sciinterp.associate`; an empty table will do, at the price of records without baselines.
    split : Split
        Its families are the unit of cross-fitting and of the tests.
    model : Adapter, optional
        With ``features.sae``, novel candidates are ablated.
    control : FeatureMatrix or Controls, optional
        Codes of the randomised model; a :class:`Controls` adds dictionaries of other seeds and settings.
    acts : Activations, optional
        Not needed by any rule; accepted so that the verbs take the same arguments.
    seed : int

    Returns
    -------
    Table
        ``kind sample start end concept feature score probability q reason_against evidence``, best first within a
        kind. ``context`` holds settings, counts, what was skipped and what was not run. An empty table is an answer.

    Raises
    ------
    ShapeError, InputError
        When split or control do not belong to the features' samples.
    """
    controls = control if isinstance(control, Controls) else Controls(randomised=control)
    settings = controls.settings
    _require_fit(features, split, controls)
    view = make_view(features, annotations, split, n_folds=settings.n_folds, seed=seed)
    hits = pd.DataFrame() if hits is None else pd.DataFrame(hits)
    evidence = Evidence(view, hits)
    context: dict[str, Any] = {
        "settings": {**asdict(settings), "seed": seed},
        "counts": {},
        "skipped": {},
        "not_run": {},
    }
    missing = _missing_rows(view, evidence, controls, context)
    novel = _novel_rows(view, evidence, hits, controls, context)
    refined = _refinement_rows(view, evidence, split, context)
    if model is not None and features.sae is not None and novel:
        _ablate(model, features, novel[: settings.n_ablated], context, seed)
    else:
        context["not_run"]["ablation"] = (
            "needs a model and features.sae" if novel else "there is no novel candidate"
        )
    rows = missing + novel + refined
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    for name in ("start", "end", "feature"):
        frame[name] = frame[name].astype(np.int64)
    for name in ("score", "probability", "q"):
        frame[name] = frame[name].astype(np.float64)
    context["counts"]["listed"] = {
        k: len(v) for k, v in (("missing", missing), ("novel", novel), ("refinement", refined))
    }
    return Table(frame, context=context)


def _require_fit(features: FeatureMatrix, split: Split, controls: Controls) -> None:
    if len(split.family) != len(features.samples):
        raise ShapeError("the split is not of these samples", where="discover", expected=f"{len(features.samples)} samples",
                         got=str(len(split.family)))  # fmt: skip
    for other in (*controls.seeds, *([controls.randomised] if controls.randomised is not None else [])):
        if other.samples.ids != features.samples.ids or other.n_positions != features.n_positions:
            raise InputError("a control has other samples than the features", where="discover",
                             do="Encode the same samples, in the same order.")  # fmt: skip


def _missing_rows(
    view: View, evidence: Evidence, controls: Controls, context: dict[str, Any]
) -> list[dict[str, Any]]:
    exhaustive = view.annotations.concepts["exhaustive"].to_dict()
    found: list[Spans] = []
    for concept in view.names:
        if exhaustive.get(concept):
            context["skipped"][concept] = "its source is exhaustive: absence is an answer, not a gap"
            continue
        result = find_spans(view, concept)
        if isinstance(result, str):
            context["skipped"][concept] = result
        else:
            found.append(result)
    if not found:
        return []
    decoys = _decoy_probabilities(view, [s.concept for s in found], controls, context)
    where = [(s, i) for s in found for i in np.flatnonzero(~s.known)]
    p = np.array([s.probability[i] for s, i in where])
    low = np.array([s.low[i] for s, i in where])
    q = np.maximum(list_error(low), decoy_error(p, decoys, controls.settings.n_decoys))
    context["counts"]["missing"] = {"spans_examined": len(where), "below_min_probability": int((p < controls.settings.min_probability).sum()),
                                    "estimated_left_out": {s.concept: round(s.hidden, 1) for s in found}}  # fmt: skip
    order = np.lexsort((-np.array([s.score[i] for s, i in where]), -p))
    rows = []
    for o in order[: controls.settings.max_rows]:
        if p[o] < controls.settings.min_probability:
            break
        spans, at = where[int(o)]
        rows.append(_missing_row(view, evidence, spans, int(at), float(q[o])))
    return rows


def list_error(low: np.ndarray) -> np.ndarray:
    """Mean of one minus the lower probability over each candidate and all better ones."""
    order = np.argsort(-low, kind="stable")
    out = np.empty(len(low))
    out[order] = np.cumsum(1 - low[order]) / np.arange(1, len(low) + 1)
    return out


def decoy_error(p: np.ndarray, decoys: np.ndarray, n_decoys: int) -> np.ndarray:
    """Decoys at least as probable, one added, per run, over candidates at least as probable."""
    if not n_decoys:
        return np.zeros(len(p))
    order = np.argsort(-p, kind="stable")
    better = len(decoys) - np.searchsorted(np.sort(decoys), p[order], side="left")
    q = (better + 1) / n_decoys / np.arange(1, len(p) + 1)
    out = np.empty(len(p))
    out[order] = np.minimum(1, np.minimum.accumulate(q[::-1])[::-1])
    return out


def _decoy_probabilities(
    view: View, concepts: list[str], controls: Controls, context: dict[str, Any]
) -> np.ndarray:
    """What the same search says of features rotated along their samples."""
    values = [np.zeros(0)]
    for r in range(controls.settings.n_decoys):
        rotated = view.shifted(view.seed * 1000 + r)
        for concept in concepts:
            result = find_spans(rotated, concept)
            if not isinstance(result, str):
                values.append(result.probability[~result.known])
    if controls.randomised is None:
        context["not_run"]["randomised model"] = "no control was given; decoys are rotated features alone"
    else:
        random = view.with_codes(controls.randomised.codes)
        context["counts"]["estimated_left_out_by_randomised_model"] = {
            c: round(r.hidden, 1) for c in concepts if not isinstance(r := find_spans(random, c), str)}  # fmt: skip
    return np.concatenate(values)


def _missing_row(view: View, evidence: Evidence, spans: Spans, i: int, q: float) -> dict[str, Any]:
    start, end = int(spans.start[i]), int(spans.end[i])
    sample = int(view.sample_of[start])
    contributors = _contributors(view, spans, start, end)
    record = missing_record(evidence, spans, i, contributors[0], contributors)
    base = int(view.samples.offsets[sample])
    return {"kind": "missing", "sample": view.samples.ids[sample], "start": start - base, "end": end - base,
            "concept": spans.concept, "feature": contributors[0], "score": float(spans.score[i]),
            "probability": float(spans.probability[i]), "q": q, "reason_against": record["against"][0], "evidence": record}  # fmt: skip


def _contributors(view: View, spans: Spans, start: int, end: int) -> list[int]:
    """The features that raise the span's log odds, most first."""
    model = spans.models[int(view.fold_of[start])]
    assert model is not None  # a span was marked by it
    n = len(model.features)
    codes = np.log1p(view.codes[np.arange(start, end)][:, model.features].toarray() / model.scale)
    weight = codes.max(0) * model.beta[:n] + codes.mean(0) * model.beta[n : 2 * n]
    order = np.argsort(-weight, kind="stable")
    return [int(model.features[j]) for j in order if weight[j] > 0][:4] or [int(model.features[order[0]])]


def _novel_rows(
    view: View, evidence: Evidence, hits: pd.DataFrame, controls: Controls, context: dict[str, Any]
) -> list[dict[str, Any]]:
    known = np.zeros(0, np.int64)
    if {"feature", "f1", "q"} <= set(hits.columns):
        strong = hits[(hits["f1"] >= HIT_F1) & (hits["q"] <= HIT_Q)]
        known = strong["feature"].dropna().to_numpy().astype(np.int64)
        known = np.unique(known[(known >= 0) & (known < view.codes.shape[1])])
    if len(controls.seeds) < 3:
        context["not_run"]["stability over seeds"] = (
            f"needs codes of at least three other seeds, {len(controls.seeds)} given"
        )
    result = find_novel(view, stability=[s.codes for s in controls.seeds], known_pairs=known, seed=view.seed)
    if isinstance(result, str):
        context["not_run"]["novel"] = result
        return []
    context["counts"]["novel"] = result.counts
    order = np.lexsort((-result.score, -result.probability))
    order = order[result.probability[order] >= controls.settings.min_probability][
        : controls.settings.max_rows
    ]
    leader = co_active(view, result.feature[order])
    rows = []
    for rank, i in enumerate(order):
        if leader[rank] == rank:
            others = [
                int(result.feature[order[k]]) for k in range(len(order)) if leader[k] == rank and k != rank
            ]
            rows.append(_novel_row(view, evidence, result, int(i), others))
    return rows


def _novel_row(view: View, evidence: Evidence, novel: Novel, i: int, others: list[int]) -> dict[str, Any]:
    record = novel_record(evidence, novel, i, others)
    peak = int(novel.peaks[i, 0])
    sample = int(view.sample_of[peak])
    base, column = int(view.samples.offsets[sample]), view.columns
    active = set(
        column.indices[column.indptr[novel.feature[i]] : column.indptr[novel.feature[i] + 1]].tolist()
    )
    lo, hi = peak, peak + 1
    while lo - 1 in active and lo - 1 >= base:
        lo -= 1
    while hi in active and hi < view.samples.offsets[sample + 1]:
        hi += 1
    return {"kind": "novel", "sample": view.samples.ids[sample], "start": lo - base, "end": hi - base, "concept": "",
            "feature": int(novel.feature[i]), "score": float(novel.score[i]), "probability": float(novel.probability[i]),
            "q": float(novel.q[i]), "reason_against": record["against"][0], "evidence": record}  # fmt: skip


def _refinement_rows(
    view: View, evidence: Evidence, split: Split, context: dict[str, Any]
) -> list[dict[str, Any]]:
    held_out = np.ones(len(view.samples), bool)
    held_out[split.train] = False
    found, skipped, n_tested = find_refinements(view, held_out)
    context["counts"]["refinement"] = {"concepts_tested": n_tested, "concepts_without_a_pair": len(skipped)}
    probability, q = calibrate_refinements(found, n_tested, len(view.names))
    rows = []
    for i in np.argsort(-probability, kind="stable"):
        if found[i].p > MAX_P_REFINEMENT:
            continue
        record = refinement_record(evidence, found[i])
        rows.append({"kind": "refinement", "sample": "", "start": -1, "end": -1, "concept": found[i].concept,
                     "feature": found[i].a, "score": found[i].score, "probability": float(probability[i]), "q": float(q[i]),
                     "reason_against": record["against"][0], "evidence": record})  # fmt: skip
    return rows


def _ablate(
    model: Any, features: FeatureMatrix, rows: list[dict[str, Any]], context: dict[str, Any], seed: int
) -> None:
    from sciinterp.sae.reading import ablation_effect

    for row in rows:
        result = ablation_effect(model, features, row["feature"], seed=seed)
        if isinstance(result, str):
            context["not_run"]["ablation"] = result
            return
        row["evidence"]["ablation"] = result
        if result["times_random"] < 1:
            text = (f"Removing it changes the model's output less than removing random directions of its size does "
                    f"({result['times_random']:.2f} times).")  # fmt: skip
            row["evidence"]["against"].insert(0, text)
            row["reason_against"] = text
