"""``discover``: one table of candidates of three kinds, with their evidence."""

from __future__ import annotations

import logging
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sciinterp import distributed
from sciinterp.annotations import Annotations
from sciinterp.annotations.projection import require_placed
from sciinterp.association.explanations import THRESHOLDS
from sciinterp.budget import give_back, one_thread
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.active import is_active
from sciinterp.discovery.calibrate import precision_at
from sciinterp.discovery.decoys import decoy_lists, q_values
from sciinterp.discovery.evidence import Evidence, missing_record, novel_record, refinement_record
from sciinterp.discovery.files import typed, write_candidates
from sciinterp.discovery.missing import Spans, find_spans
from sciinterp.discovery.novel import Novel, find_novel, least_q
from sciinterp.discovery.novel_sets import find_sets
from sciinterp.discovery.probe import probe
from sciinterp.discovery.problem import Problem, make_problem
from sciinterp.discovery.records import Context, Place, Record, Row, Said
from sciinterp.discovery.refinement import LISTED, calibrate_refinements, find_refinements
from sciinterp.discovery.settings import Controls, DiscoverySettings
from sciinterp.discovery.together import co_active
from sciinterp.errors import InputError, require_kinds
from sciinterp.frames import Table, require_columns
from sciinterp.provenance import (
    carried_split,
    require_randomised,
    require_same,
    require_same_samples,
    standing,
)
from sciinterp.samples import Split
from sciinterp.settings import plain_value, settings_of
from sciinterp.store import ledger

if TYPE_CHECKING:
    from sciinterp.models import Adapter

log = logging.getLogger(__name__)


def discover(
    features: FeatureMatrix,
    annotations: Annotations,
    hits: pd.DataFrame,
    *,
    split: Split | None = None,
    model: Adapter | None = None,
    control: FeatureMatrix | Controls | None = None,
    settings: DiscoverySettings | None = None,
    out: str | Path | None = None,
    **old: object,
) -> Table:
    """List candidates: annotations that seem missing, features no concept explains, concepts that split.

    Parameters
    ----------
    features : FeatureMatrix
    annotations : Annotations
    hits : DataFrame
        Of :func:`sciinterp.associate`; an empty table will do, at the price of records without baselines.
    split : Split, optional
        Its families are the unit of cross-fitting and of the tests; by default the split the SAE was trained with.
    model : Adapter, optional
        With ``features.sae``, candidates are ablated and mutated, and novel ones the model does not feel are dropped.
    control : FeatureMatrix or Controls, optional
        Codes of the randomised model; a :class:`Controls` adds dictionaries of other seeds.
    settings : DiscoverySettings, optional
    out : path, optional
        Folder for ``candidates.tsv`` and ``candidates.json``.
    **old
        ``seed`` (now in ``settings``) and ``acts`` (never used) are taken with a warning for a release.

    Returns
    -------
    Table
        ``kind sample start end concept feature score probability q claim reason_against evidence``, best first within a
        kind. ``context`` holds settings, counts, what was skipped and what was not run. An empty table is an answer.

    Raises
    ------
    ShapeError, InputError, MismatchError
        When split, control or hits do not belong to the features.
    """
    settings = _settled(settings, old)
    require_kinds(features=(features, FeatureMatrix), annotations=(annotations, Annotations))
    if hits is not None:
        require_columns(hits, ("feature", "concept") if len(hits) else (), "hits")
    if model is not None and not hasattr(model, "origin_at"):
        raise InputError("this is no model", expected="what si.load_model returns", got=type(model).__name__)
    if control is not None and not isinstance(control, Controls):
        require_kinds(control=(control, FeatureMatrix))
        control = Controls(randomised=control)
    controls = control or Controls()
    split = carried_split(features.origin, features.samples) if split is None else split
    require_kinds(split=(split, Split))
    _require_fit(features, split, controls)
    require_placed(annotations, features.samples)
    about = standing(features, annotations, split)
    of_hits = (getattr(hits, "context", None) or {}).get("belongs") or {}
    require_same(about["belongs"], of_hits, names=("the codes", "the hits"))
    with one_thread(), ledger.recorded("discover", out, settings=asdict(settings), inputs=about["belongs"]):
        candidates = _discover(features, annotations, hits, split, model, controls, settings)
        candidates.context |= about
        if out is not None and distributed.first():
            write_candidates(candidates, out)
    return candidates


def _settled(settings: DiscoverySettings | None, old: dict[str, object]) -> DiscoverySettings:
    """The settings, with a seed given in the old way."""
    settings = settings_of(settings, DiscoverySettings)
    for name in old:
        if name not in ("seed", "acts"):
            raise TypeError(f"discover() got an unexpected keyword argument {name!r}")
        do = "pass settings=DiscoverySettings(seed=...)" if name == "seed" else "leave it out"
        warnings.warn(f"discover({name}=...) is deprecated: {do}", DeprecationWarning, stacklevel=3)
    return replace(settings, seed=plain_value(old["seed"], int, "seed")) if "seed" in old else settings


def _discover(
    features: FeatureMatrix,
    annotations: Annotations,
    hits: pd.DataFrame | None,
    split: Split,
    model: Adapter | None,
    controls: Controls,
    settings: DiscoverySettings,
) -> Table:
    """Rows of the three kinds, probed where there is a model."""
    problem = make_problem(features, annotations, split, n_folds=settings.n_folds)
    hits = pd.DataFrame() if hits is None else pd.DataFrame(hits)
    evidence = Evidence(problem, hits)
    context: Context = {"settings": asdict(settings), "counts": {}, "skipped": {}, "not_run": {}}
    missing = _missing_rows(problem, evidence, controls, settings, context)
    give_back()
    novel, sets = _novel_rows(problem, evidence, hits, controls, settings, context)
    give_back()
    refined = _refinement_rows(problem, evidence, context)
    if model is not None and features.sae is not None and missing + novel:
        missing, novel = probe(model, features, missing, novel, context=context, n=settings.n_probed)
    else:
        reason = "needs a model and features.sae" if missing + novel else "there is no candidate to try"
        context["not_run"] |= {"ablation": reason, "falsifying mutation": reason}
    context["precision_at"] = _expected_precision(missing, problem)
    listed = {"missing": missing, "novel": novel, "sets": sets, "refinement": refined}
    context["counts"]["listed"] = {kind: len(rows) for kind, rows in listed.items()}
    return Table(typed([row for rows in listed.values() for row in rows]), context=context)


def _expected_precision(missing: list[Row], problem: Problem) -> dict[str, dict[str, float]]:
    """What share of the first candidates is expected to be right, with its 90% interval."""
    p = np.array([r["probability"] for r in missing])
    family = [str(problem.family[problem.samples.index(r["sample"])]) + r["concept"] for r in missing]
    out = {}
    for k in (10, 50):
        if len(missing) >= k:
            estimate, low, high = precision_at(p, np.array(family), k)
            out[str(k)] = {"expected": estimate, "low": low, "high": high}
    return out


def _require_fit(features: FeatureMatrix, split: Split, controls: Controls) -> None:
    split.require_of(features.samples)
    require_randomised(controls.randomised, features)
    for other in (*controls.seeds, controls.shuffled):
        require_same_samples(features, other, "control=")


def _missing_rows(
    problem: Problem,
    evidence: Evidence,
    controls: Controls,
    settings: DiscoverySettings,
    context: Context,
) -> list[Row]:
    exhaustive = problem.annotations.concepts["exhaustive"].to_dict()
    found: list[Spans] = []
    for concept in problem.names:
        if exhaustive.get(concept):
            context["skipped"][concept] = "its source is exhaustive: absence is an answer, not a gap"
        elif why := evidence.not_found(concept):
            context["skipped"][concept] = why
    searched = [c for c in problem.names if c not in context["skipped"]]
    for concept, result in find_spans(problem, searched).items():
        if isinstance(result, str):
            context["skipped"][concept] = result
        else:
            found.append(result)
    counts = context["counts"]["missing"] = {
        "spans_examined": 0,
        "below_min_probability": 0,
        "beyond_max_rows": 0,
    }
    if not found:
        return []
    where = [(s, i) for s in found for i in np.flatnonzero(~s.known)]
    p = np.array([s.probability[i] for s, i in where])
    q = q_values(p, decoy_lists(problem, found, controls, context))
    listed = int((p >= settings.min_probability).sum())
    counts |= {
        "spans_examined": len(where),
        "below_min_probability": int((p < settings.min_probability).sum()),
        "beyond_max_rows": max(0, listed - settings.max_rows),
        "estimated_left_out": {s.concept: round(s.hidden, 1) for s in found},
        "probability_that_any_was_left_out": {s.concept: round(s.any_left_out, 3) for s in found},
    }
    order = np.lexsort((-np.array([s.score[i] for s, i in where]), -p))
    order = order[p[order] >= settings.min_probability][: settings.max_rows]
    return [
        _missing_row(
            problem, evidence, where[int(o)][0], int(where[int(o)][1]), float(q[o]), records=settings.records
        )
        for o in order
    ]


def _missing_row(
    problem: Problem, evidence: Evidence, spans: Spans, i: int, q: float, *, records: bool
) -> Row:
    start, end = int(spans.start[i]), int(spans.end[i])
    contributors = _contributors(problem, spans, start, end)
    record: Record = {"features": contributors, "against": [""]}
    if records:
        record = missing_record(evidence, spans, i, contributors[0], contributors)
    return {
        "kind": "missing",
        **_place(problem, start, end),
        "concept": spans.concept,
        "feature": contributors[0],
        "score": float(spans.score[i]),
        "probability": float(spans.probability[i]),
        "q": q,
        **_said(record),
    }


def _place(problem: Problem, start: int, end: int) -> Place:
    """Where a span of the concatenated axis lies in its sample."""
    sample = int(problem.sample_of[start])
    base = int(problem.samples.offsets[sample])
    return {"sample": problem.samples.ids[sample], "start": start - base, "end": end - base}


def _said(record: Record) -> Said:
    """The record, and what the table says of it."""
    return {"claim": record.get("claim", ""), "reason_against": record["against"][0], "evidence": record}


def _contributors(problem: Problem, spans: Spans, start: int, end: int) -> list[int]:
    """The features that raise the span's log odds, most first."""
    model = spans.models[int(problem.fold_of[start])]
    assert model is not None  # a span was marked by it
    n = len(model.features)
    sample = int(problem.sample_of[start])
    rows = np.arange(start, end) - problem.samples.offsets[sample]
    codes = problem.features.by_sample(sample)[rows][:, model.features].toarray()
    on = is_active(codes, problem.features.largest[model.features])
    codes = np.log1p(np.where(on, codes, 0) / model.scale)
    weight = codes.max(0) * model.beta[:n] + codes.mean(0) * model.beta[n : 2 * n]
    order = np.argsort(-weight, kind="stable")
    return [int(model.features[j]) for j in order if weight[j] > 0][:4] or [int(model.features[order[0]])]


def _novel_rows(
    problem: Problem,
    evidence: Evidence,
    hits: pd.DataFrame,
    controls: Controls,
    settings: DiscoverySettings,
    context: Context,
) -> tuple[list[Row], list[Row]]:
    """Rows of single features, and of sets of those that were left out."""
    known = np.zeros(0, np.int64)
    if {"feature", "f1", "q"} <= set(hits.columns):
        strong = hits[(hits["f1"] >= THRESHOLDS.floor) & (hits["q"] <= THRESHOLDS.q)]
        known = strong["feature"].dropna().to_numpy().astype(np.int64)
        known = np.unique(known[(known >= 0) & (known < problem.n_features)])
    if (n := len(controls.seeds)) < 3:
        why = f"needs codes of at least three other seeds, {n} given (a full run trains them)"
        if not n:
            least = least_q(0)
            why += f"; without them no novel candidate's probability exceeds {1 - least:.2f} and no q falls below {least:.2f}"
        context["not_run"]["stability over seeds"] = why
    result = find_novel(
        problem,
        stability=controls.seeds,
        randomised=controls.randomised,
        known_pairs=known,
        n_rotations=settings.n_decoys,
    )
    if isinstance(result, str):
        context["not_run"]["novel"] = result
        return [], []
    counts = context["counts"]["novel"] = dict(result.counts)
    if result.reason:
        context["not_run"]["novel"] = result.reason
    rows = _listed(problem, evidence, result, settings, counts)
    found = find_sets(problem, result, stability=controls.seeds)
    if found is None:
        return rows, []
    columns, of_sets = found
    counts = context["counts"]["sets"] = dict(of_sets.counts)
    context["not_run"]["ablation of sets"] = "sets of features are not tried on the model"
    return rows, _listed(columns, Evidence(columns, hits), of_sets, settings, counts)


def _listed(
    problem: Problem,
    evidence: Evidence,
    result: Novel,
    settings: DiscoverySettings,
    counts: dict[str, object],
) -> list[Row]:
    """The rows of a list, best first; what fires with a better one is named there."""
    counts["below_min_probability"] = int((result.probability < settings.min_probability).sum())
    order = np.lexsort((-result.score, -result.probability))
    order = order[result.probability[order] >= settings.min_probability][: settings.max_rows]
    leader = co_active(problem, result.feature[order])
    counts["fires with a better one"] = sum(lead != rank for rank, lead in enumerate(leader))
    rows = []
    for rank, i in enumerate(order):
        if leader[rank] == rank:
            others = [
                f
                for k in range(len(order))
                if leader[k] == rank and k != rank
                for f in result.members(order[k])
            ]
            rows.append(_novel_row(problem, evidence, result, int(i), others, records=settings.records))
    return rows


def _novel_row(
    problem: Problem, evidence: Evidence, novel: Novel, i: int, others: list[int], *, records: bool
) -> Row:
    members = novel.members(i)
    record: Record = {"features": [*members, *others], "against": [""]}
    if records:
        record = novel_record(evidence, novel, i, others)
    if novel.sets:
        record["set"] = {"kind": novel.sets[i].kind, "features": list(members)}
    peak = int(novel.peaks[i, 0])
    sample = int(problem.sample_of[peak])
    column = problem.columns([novel.feature[i]])
    where, value = column.indices, column.data
    # The span is where it is at least half as active as at its peak: a weak trace reaches over whole samples.
    active = set(where[value >= value[where == peak].max(initial=0.0) / 2].tolist())
    lo, hi = peak, peak + 1
    while lo - 1 in active and lo - 1 >= problem.samples.offsets[sample]:
        lo -= 1
    while hi in active and hi < problem.samples.offsets[sample + 1]:
        hi += 1
    p = float(novel.probability[i])
    return {
        "kind": "novel",
        **_place(problem, lo, hi),
        "concept": "",
        "feature": members[0],
        "score": float(np.log(p / (1 - p))),
        "probability": p,
        "q": float(novel.q[i]),
        **_said(record),
    }


def _refinement_rows(problem: Problem, evidence: Evidence, context: Context) -> list[Row]:
    found, skipped, n_tested = find_refinements(problem)
    probability, q = calibrate_refinements(found, n_tested, len(problem.names))
    order = [i for i in np.argsort(-probability, kind="stable") if probability[i] > LISTED]
    context["counts"]["refinement"] = {
        "concepts_tested": n_tested,
        "concepts_without_a_pair": len(skipped),
        "not supported by a test": len(found) - len(order),
    }
    return [
        {
            "kind": "refinement",
            "sample": "",
            "start": -1,
            "end": -1,
            "concept": found[i].concept,
            "feature": found[i].a,
            "score": found[i].score,
            "probability": float(probability[i]),
            "q": float(q[i]),
            **_said(refinement_record(evidence, found[i])),
        }
        for i in order
    ]
