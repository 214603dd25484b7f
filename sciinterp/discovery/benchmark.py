"""How much can a candidate be trusted? Hide what is known, search, and count what comes back.

* :func:`benchmark_discovery` plants worlds (:mod:`sciinterp.discovery.planted`), some with everything annotated.
* :func:`mask_and_recover` hides concepts of real annotations in some families (missing annotations).
* :func:`leave_concept_out` forgets concepts altogether (novel), and :func:`merge_and_recover` joins pairs of
  concepts on disjoint families (refinement).
* :func:`temporal` searches an older release and looks into the newer one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sciinterp.annotations import Annotations
from sciinterp.discovery.calibrate import (
    average_precision,
    brier,
    expected_calibration_error,
    precision_at,
    pu_adjusted,
    reliability,
)
from sciinterp.discovery.decoys import decoy_error, list_error
from sciinterp.discovery.missing import find_spans
from sciinterp.discovery.planted import Planted, PlantedSettings, plant
from sciinterp.discovery.search import Controls, DiscoverySettings, discover
from sciinterp.discovery.spans import first_overlap, per_run, runs
from sciinterp.discovery.view import View, make_view
from sciinterp.errors import InputError
from sciinterp.features import FeatureMatrix
from sciinterp.samples import Samples, Split
from sciinterp.tables import Table

K = 50


def benchmark_discovery(
    *, seed: int = 0, n_worlds: int = 3, n_null: int = 3, settings: PlantedSettings | None = None
) -> dict[str, Table]:
    """Candidates against planted truth.

    Parameters
    ----------
    seed : int
        Worlds ``seed, seed + 1 ...`` are planted.
    n_worlds, n_null : int
        Worlds with something hidden, and worlds where everything is annotated.
    settings : PlantedSettings, optional

    Returns
    -------
    dict of Table
        ``worlds`` (one row a world: average precision beside the best single-feature rule, precision at 50 with its
        predicted interval, novel concepts in the first ten, refinements recovered), ``null`` (candidates at q <= 0.1
        where nothing is hidden), ``calibration`` (reliability of the pooled missing candidates) and ``summary``.
    """
    base = settings or PlantedSettings()
    worlds, pooled, nulls = [], [], []
    for i in range(n_worlds):
        row, rows = score_world(plant(seed + i, base), seed=seed + i)
        worlds.append({"seed": seed + i, **row})
        pooled.append(rows)
    nothing = PlantedSettings(**{**base.__dict__, "hide": False})
    for i in range(n_null):
        found = _search(plant(seed + i, nothing), seed + i)
        kept = found[found["q"] <= 0.1]
        nulls.append({"seed": seed + i, **{kind: int((kept["kind"] == kind).sum()) for kind in ("missing", "novel", "refinement")},
                      "any": len(kept) > 0})  # fmt: skip
    pool = pd.concat(pooled, ignore_index=True) if pooled else pd.DataFrame({"probability": [], "truth": []})
    p, truth = pool["probability"].to_numpy(float), pool["truth"].to_numpy(float)
    summary = {"n_candidates": len(p), "ece": expected_calibration_error(p, truth), "brier": brier(p, truth),
               "null_lists_not_empty": float(np.mean([r["any"] for r in nulls])) if nulls else float("nan")}  # fmt: skip
    return {
        "worlds": Table(worlds),
        "null": Table(nulls),
        "calibration": Table(reliability(p, truth)),
        "summary": Table([summary]),
    }


def _search(world: Planted, seed: int) -> Table:
    controls = Controls(seeds=world.seeds, settings=DiscoverySettings(records=False))
    return discover(
        world.features, world.annotations, pd.DataFrame(), split=world.split, control=controls, seed=seed
    )


def score_world(world: Planted, *, seed: int = 0) -> tuple[dict[str, float], pd.DataFrame]:
    """One row of numbers, and the missing candidates with their truth."""
    found = _search(world, seed)
    samples = world.features.samples
    missing = found[found["kind"] == "missing"].reset_index(drop=True)
    missing["truth"] = _is_true(missing, world.missing, samples)
    p = missing["probability"].to_numpy()
    family = (
        world.split.family[[samples.index(s) for s in missing["sample"]]]
        if len(missing)
        else np.zeros(0, np.int64)
    )
    cluster = pd.factorize(pd.Series(family).astype(str) + missing["concept"])[0] if len(missing) else family
    estimate, low, high = precision_at(p, cluster, K, seed=seed)
    single = single_feature_rule(make_view(world.features, world.annotations, world.split, seed=seed))
    single["truth"] = _is_true(single, world.missing, samples)
    n = len(world.missing)
    observed = float(missing["truth"].head(K).mean()) if len(missing) else float("nan")
    ap, ap_single = (
        average_precision(t["probability"].to_numpy(), t["truth"].to_numpy(), n) for t in (missing, single)
    )
    novel = found[found["kind"] == "novel"].head(10)
    of = {f: concept for concept, features in world.novel.items() for f in features}
    names = {of[f] for f in novel["feature"] if f in of}
    refined = found[found["kind"] == "refinement"]
    split = sum(_is_split(row, world) for row in refined.to_dict("records"))
    q = missing["q"] <= 0.1
    row = {"ap": ap, "ap_single_feature": ap_single, "gap_closed": (ap - ap_single) / max(1 - ap_single, 1e-9),
           f"precision_at_{K}": observed, "predicted": estimate, "low": low, "high": high,
           "covered": float(low - 1e-9 <= observed <= high + 1e-9), "n_q": int(q.sum()),
           "precision_q": float(missing.loc[q, "truth"].mean()) if q.any() else float("nan"),
           "novel_found": len(names), "novel_hidden": len(world.novel), "refined_found": int(split), "refined_hidden": len(world.merged)}  # fmt: skip
    return row, missing[["probability", "truth"]]


def _is_true(rows: pd.DataFrame, truth: pd.DataFrame, samples: Samples) -> np.ndarray:
    """Does a candidate's span meet a hidden instance of its concept?"""
    out = np.zeros(len(rows), bool)
    for concept, part in rows.groupby("concept"):
        t = truth[truth["concept"] == concept]
        if not len(t):
            continue
        a, b = (samples.offsets[[samples.index(s) for s in frame["sample"]]] for frame in (part, t))
        out[part.index] = first_overlap(
            a + part["start"].to_numpy(),
            a + part["end"].to_numpy(),
            b + t["start"].to_numpy(),
            b + t["end"].to_numpy(),
        )
    return out


def _is_split(row: dict, world: Planted) -> bool:
    sides = world.merged.get(row["concept"])
    pair = row["evidence"]["features"]
    return sides is not None and (
        (pair[0] in sides[0] and pair[1] in sides[1]) or (pair[0] in sides[1] and pair[1] in sides[0])
    )


def single_feature_rule(view: View, concepts: Sequence[str] | None = None) -> pd.DataFrame:
    """The baseline: each concept's best feature and threshold by F1, spans ranked by the rule's own precision."""
    rows = []
    for concept in concepts or view.names:
        c = view.names.index(concept)
        f1 = 2 * view.overlap[c] / np.maximum(view.n_positive[c] + view.active, 1)
        feature = int(np.argmax(f1))
        column = np.zeros(view.codes.shape[0])
        lo, hi = view.columns.indptr[feature : feature + 2]
        column[view.columns.indices[lo:hi]] = view.columns.data[lo:hi]
        target = np.asarray(view.positives[:, [c]].todense()).ravel()
        if not column.any():
            continue
        grid = np.unique(np.quantile(column[column > 0], np.linspace(0, 0.95, 20)))
        quality = [2 * (column >= t)[target].sum() / ((column >= t).sum() + target.sum()) for t in grid]
        threshold = grid[int(np.argmax(quality))]
        start, end = runs(column, np.nextafter(threshold, 0), view.samples.offsets, gap=1)
        table = view.instances[view.instances["concept"] == c]
        known = first_overlap(start, end, table["start"].to_numpy(), table["end"].to_numpy())
        peak = per_run(column, start, end, "max")
        sample = view.sample_of[start]
        base = view.samples.offsets[sample]
        # Within a concept by peak, between concepts by precision: ties are broken, never reordered.
        score = known.mean() + 1e-6 * peak / max(peak.max(initial=0), 1e-9)
        rows.append(pd.DataFrame({"sample": np.array(view.samples.ids, dtype=object)[sample], "start": start - base, "end": end - base,
                                  "concept": concept, "probability": score})[~known])  # fmt: skip
    columns = ["sample", "start", "end", "concept", "probability"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def hide_families(
    annotations: Annotations, concept: str, family: dict[str, int], *, share: float, seed: int
) -> tuple[Annotations, pd.DataFrame]:
    """One concept, hidden in a share of its families and no longer exhaustive; and what was hidden."""
    frame = annotations.frame[(annotations.frame["concept"] == concept) & (annotations.frame["start"] >= 0)]
    of = frame["sample"].map(family)
    names = np.random.default_rng([seed, 0x41DE]).permutation(np.unique(of.dropna()))
    gone = of.isin(names[: max(1, round(share * len(names)))])
    concepts = annotations.concepts.loc[[concept]].assign(exhaustive=False, parent="")
    return Annotations(frame[~gone], concepts=concepts, coverage=annotations.coverage), frame[
        gone
    ].reset_index(drop=True)


def mask_and_recover(
    features: FeatureMatrix, annotations: Annotations, *, split: Split, concepts: Sequence[str] | None = None,
    control: FeatureMatrix | None = None, share: float = 0.3, seed: int = 0
) -> Table:  # fmt: skip
    """Hide each concept in a share of its families and look for it there.

    Parameters
    ----------
    concepts : sequence of str, optional
        All concepts on positions when not given.
    control : FeatureMatrix, optional
        Codes of the randomised model, measured beside.

    Returns
    -------
    Table
        One row a concept: ``recall`` at precision 0.5, average precision, both also for the best single feature and
        for the randomised model, how many candidates reach q <= 0.1 and their precision. Precisions are lower bounds;
        ``precision_pu`` divides by the share of instances still listed.
    """
    samples = features.samples
    family = {s: int(f) for s, f in zip(samples.ids, split.family)}
    rows = []
    for concept in concepts or annotations.position_names:
        shown, hidden = hide_families(annotations, concept, family, share=share, seed=seed)
        if not len(shown) or not len(hidden):
            continue
        row = {"concept": concept, "n_shown": len(shown), "n_hidden": len(hidden)}
        view = make_view(features, shown, split, seed=seed)
        row |= _recovered(_spans_table(view, concept), hidden, samples, len(shown))
        simple = _recovered(single_feature_rule(view), hidden, samples, len(shown))
        row |= {f"single_{k}": simple[k] for k in ("recall", "ap")}
        if control is not None:
            random = _recovered(
                _spans_table(view.with_codes(control.codes), concept), hidden, samples, len(shown)
            )
            row |= {f"random_{k}": random[k] for k in ("recall", "ap", "n_q", "precision_q")}
        row["better"] = _winner(row)
        rows.append(row)
    return Table(rows, context={"share": share, "seed": seed})


def _winner(row: dict[str, float]) -> str:
    """Who ranks the hidden instances best, by average precision."""
    ap = {
        "features": row["ap"],
        "single feature": row["single_ap"],
        "randomised model": row.get("random_ap", 0.0),
    }
    best = max(ap, key=lambda name: ap[name])
    return best if ap[best] > 0 else "none"


def _spans_table(view: View, concept: str) -> pd.DataFrame:
    found = find_spans(view, concept)
    if isinstance(found, str):
        return pd.DataFrame({"sample": [], "start": [], "end": [], "concept": [], "probability": [], "q": []})
    open_ = ~found.known
    sample = view.sample_of[found.start[open_]]
    base = view.samples.offsets[sample]
    q = np.maximum(list_error(found.low[open_]), decoy_error(found.probability[open_], np.zeros(0), 1))
    return pd.DataFrame({"sample": np.array(view.samples.ids, dtype=object)[sample], "start": found.start[open_] - base,
                         "end": found.end[open_] - base, "concept": concept, "probability": found.score[open_], "q": q})  # fmt: skip


def _recovered(rows: pd.DataFrame, hidden: pd.DataFrame, samples: Samples, n_shown: int) -> dict[str, float]:
    rows = rows.sort_values("probability", ascending=False, kind="stable").reset_index(drop=True)
    true = _is_true(rows, hidden, samples)
    precision = true.cumsum() / np.arange(1, len(true) + 1)
    good = np.flatnonzero(precision >= 0.5)
    top = rows.head(int(good.max()) + 1 if len(good) else 0)
    recall = float(_is_true(hidden, top, samples).mean()) if len(top) else 0.0
    q = rows["q"] <= 0.1 if "q" in rows.columns else pd.Series(np.zeros(len(rows), bool))
    observed = float(true[q].mean()) if q.any() else float("nan")
    return {"recall": recall, "ap": average_precision(rows["probability"].to_numpy(), true, len(hidden)), "n_q": int(q.sum()),
            "precision_q": observed, "precision_pu": pu_adjusted(observed, n_shown / (n_shown + len(hidden)))}  # fmt: skip


def leave_concept_out(features: FeatureMatrix, annotations: Annotations, *, split: Split, concepts: Sequence[str], seeds: Sequence[FeatureMatrix] = (),
                      seed: int = 0) -> Table:  # fmt: skip
    """Forget each concept and ask where its best feature then stands among the novel candidates (-1: not listed)."""
    whole = make_view(features, annotations, split, seed=seed)
    rows = []
    for concept in concepts:
        c = whole.names.index(concept)
        f1 = 2 * whole.overlap[c] / np.maximum(whole.n_positive[c] + whole.active, 1)
        best = int(np.argmax(f1))
        rest = annotations.select([n for n in annotations.names if n != concept])
        found = discover(
            features,
            rest,
            pd.DataFrame(),
            split=split,
            control=Controls(seeds=seeds, settings=DiscoverySettings(n_decoys=0)),
            seed=seed,
        )
        novel = found[found["kind"] == "novel"].reset_index(drop=True)
        place = [i for i, e in enumerate(novel["evidence"]) if best in e["features"]]
        rows.append({"concept": concept, "feature": best, "f1": float(f1[best]), "n_novel": len(novel), "rank": place[0] + 1 if place else -1,
                     "probability": float(novel["probability"][place[0]]) if place else 0.0})  # fmt: skip
    return Table(rows)


def merge_and_recover(
    features: FeatureMatrix,
    annotations: Annotations,
    *,
    split: Split,
    pairs: Sequence[tuple[str, str]],
    seed: int = 0,
) -> Table:
    """Join two concepts under one name, each on its own half of the families, and look for the split."""
    half = np.random.default_rng([seed, 0x3E3]).random(int(split.family.max()) + 1) < 0.5
    family = {s: int(f) for s, f in zip(features.samples.ids, split.family)}
    rows = []
    for a, b in pairs:
        frame = annotations.frame[
            annotations.frame["concept"].isin([a, b]) & (annotations.frame["start"] >= 0)
        ]
        side = np.array([bool(half[family[s]]) if s in family else False for s in frame["sample"]])
        frame = frame[(frame["concept"] == a).to_numpy() == side].assign(concept="merged", source="merged")
        found = discover(features, Annotations(frame, concepts=pd.DataFrame({"exhaustive": [True]}, index=pd.Index(["merged"], name="concept"))),
                         pd.DataFrame(), split=split, seed=seed)  # fmt: skip
        refined = found[found["kind"] == "refinement"]
        rows.append({"first": a, "second": b, "found": len(refined) > 0, "probability": float(refined["probability"].max()) if len(refined) else 0.0,
                     "q": float(refined["q"].min()) if len(refined) else 1.0})  # fmt: skip
    return Table(rows)


def temporal(
    features: FeatureMatrix, older: Annotations, newer: Annotations, *, split: Split, seed: int = 0
) -> Table:
    """Search an older release and look into the newer one.

    Returns
    -------
    Table
        One row a missing candidate of the older release, with ``confirmed``: the newer release places the concept
        there. ``context`` holds Brier score and the reliability curve; confirmation is a lower bound of truth.

    Raises
    ------
    InputError
        When the newer release adds nothing to a concept of the older one.
    """
    keys = ["sample", "start", "end", "concept"]
    both = newer.frame.merge(older.frame[keys].assign(old=True), on=keys, how="left")
    added = both[both["old"].isna() & both["concept"].isin(older.names) & (both["start"] >= 0)].reset_index(
        drop=True
    )
    if not len(added):
        raise InputError("the newer release adds no instance to a concept of the older one", where="temporal")
    found = discover(features, older, pd.DataFrame(), split=split, seed=seed)
    missing = found[found["kind"] == "missing"].reset_index(drop=True)
    missing["confirmed"] = _is_true(missing, added, features.samples)
    p = missing["probability"].to_numpy()
    return Table(missing, context={"n_added": len(added), "brier": brier(p, missing["confirmed"].to_numpy()),
                                   "reliability": reliability(p, missing["confirmed"].to_numpy()).to_dict("records")})  # fmt: skip
