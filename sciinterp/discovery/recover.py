"""Hide what the sources of real data state, search, and count what comes back.

* :func:`mask_and_recover` hides concepts in some families (missing annotations).
* :func:`leave_concept_out` forgets concepts altogether (novel), and :func:`merge_and_recover` joins pairs of
  concepts on disjoint families (refinement).
* :func:`temporal` searches an older release and looks into the newer one.

What is hidden is a lower bound of what is true, so an observed precision is one too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.annotations import Annotations
from sciinterp.codes import FeatureMatrix
from sciinterp.discovery.calibrate import (
    average_precision,
    brier,
    precision_at,
    pu_adjusted,
    reliability,
    share_interval,
)
from sciinterp.discovery.decoys import look_alikes, q_values
from sciinterp.discovery.missing import find_spans
from sciinterp.discovery.novel import F1_KNOWN, find_novel
from sciinterp.discovery.problem import Problem, make_problem
from sciinterp.discovery.search import discover
from sciinterp.discovery.spans import first_overlap, per_run, runs
from sciinterp.errors import InputError, no_such, require_kinds
from sciinterp.frames import Table
from sciinterp.samples import Samples, Split
from sciinterp.settings import UP_TO_ONE, plain_value

K = 50


def _require(
    features: FeatureMatrix, annotations: Annotations, split: Split, control: FeatureMatrix | None = None
) -> None:
    """Raise where an argument is of another kind."""
    require_kinds(
        features=(features, FeatureMatrix), annotations=(annotations, Annotations), split=(split, Split)
    )
    if control is not None:
        require_kinds(control=(control, FeatureMatrix))


def _placed(annotations: Annotations, concepts: str | Sequence[str]) -> list[str]:
    """Concepts, or one, that are placed on positions; any other is refused."""
    wanted, known = [concepts] if isinstance(concepts, str) else list(concepts), annotations.position_names
    for name in wanted:
        if name not in known:
            raise no_such("concept on positions", name, known, where="concepts")
    return wanted


def meets_hidden(rows: pd.DataFrame, truth: pd.DataFrame, samples: Samples) -> np.ndarray:
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


def single_feature_rule(problem: Problem, concepts: Sequence[str] | None = None) -> pd.DataFrame:
    """The baseline: each concept's best feature and threshold by F1, spans ranked by the rule's own precision."""
    rows = []
    for concept in concepts or problem.names:
        c = problem.names.index(concept)
        feature = int(np.argmax(problem.f1[c]))
        column = problem.columns([feature]).toarray()[:, 0].astype(np.float64)
        target = np.asarray(problem.positives[:, [c]].todense()).ravel()
        if not column.any():
            continue
        grid = np.unique(np.quantile(column[column > 0], np.linspace(0, 0.95, 20)))
        quality = [2 * (column >= t)[target].sum() / ((column >= t).sum() + target.sum()) for t in grid]
        threshold = grid[int(np.argmax(quality))]
        start, end = runs(column, np.nextafter(threshold, 0), problem.samples.offsets, gap=1)
        table = problem.instances_of(c)
        known = first_overlap(start, end, table["start"].to_numpy(), table["end"].to_numpy())
        peak = per_run(column, start, end, "max")
        # Within a concept by peak, between concepts by precision: ties are broken, never reordered.
        score = known.mean() + 1e-6 * peak / max(peak.max(initial=0), 1e-9)
        rows.append(problem.located(start, end, concept).assign(probability=score)[~known])
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
    features: FeatureMatrix,
    annotations: Annotations,
    *,
    split: Split,
    concepts: Sequence[str] | None = None,
    control: FeatureMatrix | None = None,
    share: float = 0.3,
    seed: int = 0,
) -> Table:
    """Hide each concept in a share of its families and look for it there.

    Parameters
    ----------
    concepts : sequence of str, optional
        All concepts on positions when not given.
    control : FeatureMatrix, optional
        Codes of the randomised model, searched in the same way beside.

    Returns
    -------
    Table
        One row a concept: ``recall`` (with its cluster-bootstrap interval) at precision 0.5, average precision, both
        also for the best single feature, for the same search on plain letters and for the randomised model, and
        ``better``, which of these ranks best; the precision of the first 50 beside the interval predicted before they
        were checked; the Brier score; how many candidates reach q <= 0.1 and their precision. Precisions are lower
        bounds; ``precision_pu`` divides by the share of instances still listed.
    """
    _require(features, annotations, split, control)
    share, seed = plain_value(share, float, "share", UP_TO_ONE), plain_value(seed, int, "seed")
    samples = features.samples
    family = {s: int(f) for s, f in zip(samples.ids, split.family)}
    rows = []
    for concept in _placed(annotations, concepts or annotations.position_names):
        shown, hidden = hide_families(annotations, concept, family, share=share, seed=seed)
        if not len(shown) or not len(hidden):
            continue
        row = {"concept": concept, "n_shown": len(shown), "n_hidden": len(hidden)}
        problem = make_problem(features, shown, split)
        row |= _recovered(_spans_table(problem, concept), hidden, samples, len(shown), family)
        rivals = {"single feature": single_feature_rule(problem)}
        if problem.letters is not None:
            rivals["letters"] = _spans_table(problem.with_features(_one_hot(problem)), concept)
        if control is not None:
            rivals["randomised model"] = _spans_table(problem.with_features(control), concept)
        ap = {"features": row["ap"]}
        for name, table in rivals.items():
            found = _recovered(table, hidden, samples, len(shown), family)
            ap[name] = found["ap"]
            row |= {f"{name.split()[0]}_{k}": found[k] for k in ("recall", "ap")}
            if name == "randomised model":
                row |= {f"randomised_{k}": found[k] for k in ("n_q", "precision_q")}
        best = max(ap, key=lambda name: ap[name])
        row["better"] = best if ap[best] > 0 else "none"
        rows.append(row)
    return Table(rows, context={"share": share, "seed": seed})


def _one_hot(problem: Problem) -> FeatureMatrix:
    """The letters as features."""
    n, shape = len(problem.text), (len(problem.text), len(problem.alphabet))
    codes = sp.csr_array((np.ones(n, np.float32), problem.text, np.arange(n + 1)), shape=shape)
    return FeatureMatrix(codes, problem.samples)


def _spans_table(problem: Problem, concept: str) -> pd.DataFrame:
    """Candidates of one concept: spans, ``rank`` (log odds), probability and q-value."""
    found = find_spans(problem, [concept])[concept]
    columns = ["sample", "start", "end", "concept", "rank", "probability", "q"]
    if isinstance(found, str):
        return pd.DataFrame({name: [] for name in columns})
    open_ = ~found.known
    return problem.located(found.start[open_], found.end[open_], concept).assign(
        rank=found.score[open_],
        probability=found.probability[open_],
        q=q_values(found.probability[open_], [look_alikes([found])]),
    )


def _recovered(
    rows: pd.DataFrame, hidden: pd.DataFrame, samples: Samples, n_shown: int, family: dict[str, int]
) -> dict[str, float]:
    rank = "rank" if "rank" in rows.columns else "probability"
    rows = rows.sort_values(rank, ascending=False, kind="stable").reset_index(drop=True)
    true = meets_hidden(rows, hidden, samples)
    precision = true.cumsum() / np.arange(1, len(true) + 1)
    good = np.flatnonzero(precision >= 0.5)
    top = rows.head(int(good.max()) + 1 if len(good) else 0)
    met = meets_hidden(hidden, top, samples).astype(float)
    recall, low, high = share_interval(met, hidden["sample"].map(family).to_numpy())
    out = {
        "recall": recall,
        "recall_low": low,
        "recall_high": high,
        "ap": average_precision(rows[rank].to_numpy(), true, len(hidden)),
    }
    if "q" not in rows.columns:
        return out
    listed = quality(rows, true, rows["sample"].map(family).to_numpy())
    return {
        **out,
        **listed,
        "precision_pu": pu_adjusted(listed["precision_q"], n_shown / (n_shown + len(hidden))),
    }


def quality(rows: pd.DataFrame, true: np.ndarray, cluster: np.ndarray, *, seed: int = 0) -> dict[str, float]:
    """What a ranked list of missing annotations is worth, and what its probabilities promised.

    Parameters
    ----------
    rows : DataFrame
        ``probability``, ``q``.
    true : bool [n]
    cluster : int [n]
        Candidates that stand or fall together.
    """
    q, p = (rows[name].to_numpy(float) for name in ("q", "probability"))
    estimate, low, high = precision_at(p, cluster, K, seed=seed)
    return {
        f"precision_at_{K}": float(true[:K].mean()) if len(true) else float("nan"),
        "predicted": estimate,
        "predicted_low": low,
        "predicted_high": high,
        "brier": brier(p, true),
        "n_q": int((q <= 0.1).sum()),
        "precision_q": float(true[q <= 0.1].mean()) if (q <= 0.1).any() else float("nan"),
    }


def leave_concept_out(
    features: FeatureMatrix,
    annotations: Annotations,
    *,
    split: Split,
    concepts: Sequence[str],
    seeds: Sequence[FeatureMatrix] = (),
    control: FeatureMatrix | None = None,
) -> Table:
    """Forget each concept and ask where its features then stand among the novel candidates.

    Returns
    -------
    Table
        One row a concept: its best ``feature`` with its F1, how many features ``read`` it (F1 of 0.25 or more), the
        ``rank`` of the first of them among ``n_novel`` candidates (-1: none is listed) with its probability, and
        ``fate``, what became of the best one: a concept that a single letter finds is explained by that letter.
    """
    _require(features, annotations, split, control)
    whole = make_problem(features, annotations, split)
    rows = []
    for concept in _placed(annotations, concepts):
        c = whole.names.index(concept)
        f1 = whole.f1[c]
        best = int(np.argmax(f1))
        readers = np.union1d(np.flatnonzero(f1 >= F1_KNOWN), [best])
        rest = annotations.select([n for n in annotations.names if n != concept])
        problem = make_problem(features, rest, split)
        found = find_novel(problem, stability=seeds, randomised=control)
        row = {
            "concept": concept,
            "feature": best,
            "f1": float(f1[best]),
            "read": len(readers),
            "n_novel": 0,
            "rank": -1,
            "probability": 0.0,
            "fate": found if isinstance(found, str) else str(found.fate[best]),
        }
        if not isinstance(found, str):
            order = np.lexsort((-found.score, -found.probability))
            place = np.flatnonzero(np.isin(found.feature[order], readers))
            row["n_novel"] = len(order)
            if len(place):
                row |= {"rank": int(place[0]) + 1, "probability": float(found.probability[order[place[0]]])}
        rows.append(row)
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
    _require(features, annotations, split)
    _placed(annotations, [name for pair in pairs for name in pair])
    seed = plain_value(seed, int, "seed")
    half = np.random.default_rng([seed, 0x3E3]).random(int(split.family.max()) + 1) < 0.5
    family = {s: int(f) for s, f in zip(features.samples.ids, split.family)}
    rows = []
    for a, b in pairs:
        frame = annotations.frame[
            annotations.frame["concept"].isin([a, b]) & (annotations.frame["start"] >= 0)
        ]
        side = np.array([bool(half[family[s]]) if s in family else False for s in frame["sample"]])
        frame = frame[(frame["concept"] == a).to_numpy() == side].assign(concept="merged", source="merged")
        found = discover(
            features,
            Annotations(
                frame,
                concepts=pd.DataFrame({"exhaustive": [True]}, index=pd.Index(["merged"], name="concept")),
            ),
            pd.DataFrame(),
            split=split,
        )
        refined = found[found["kind"] == "refinement"]
        rows.append(
            {
                "first": a,
                "second": b,
                "found": len(refined) > 0,
                "probability": float(refined["probability"].max()) if len(refined) else 0.0,
                "q": float(refined["q"].min()) if len(refined) else 1.0,
            }
        )
    return Table(rows)


def temporal(features: FeatureMatrix, older: Annotations, newer: Annotations, *, split: Split) -> Table:
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
    _require(features, older, split)
    require_kinds(newer=(newer, Annotations))
    keys = ["sample", "start", "end", "concept"]
    both = newer.frame.merge(older.frame[keys].assign(old=True), on=keys, how="left")
    added = both[both["old"].isna() & both["concept"].isin(older.names) & (both["start"] >= 0)].reset_index(
        drop=True
    )
    if not len(added):
        raise InputError("the newer release adds no instance to a concept of the older one", where="temporal")
    found = discover(features, older, pd.DataFrame(), split=split)
    missing = found[found["kind"] == "missing"].reset_index(drop=True)
    missing["confirmed"] = meets_hidden(missing, added, features.samples)
    p = missing["probability"].to_numpy()
    return Table(
        missing,
        context={
            "n_added": len(added),
            "brier": brier(p, missing["confirmed"].to_numpy()),
            "reliability": reliability(p, missing["confirmed"].to_numpy()).to_dict("records"),
        },
    )
