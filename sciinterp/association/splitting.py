"""Splitting and absorption: what a dictionary does to concepts that have parts.

*Splitting*: several features together describe a concept better than one, because each took a part of it. Features
are added greedily while the union of their marks (each at its own training threshold) gains F1 on training
families; the gain counts on held-out ones.

*Absorption* (Chanin et al., arXiv:2409.14507): the feature of a general concept is silent exactly where a feature
of one of its special cases speaks. For a parent and a child in the concepts table: the fraction of the child's
held-out positions that the parent's feature misses while the child's feature marks them, beside the fraction of
the parent's other positions that it misses. Absorption is the excess of the first over the second.

On a model with randomised weights the features of parent and child are both weak, so unions gain and excesses mean
nothing there: read either only for concepts whose own F1 is high.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sciinterp.annotations import Annotations
from sciinterp.association.family_counts import f1_score
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import require_kinds
from sciinterp.frames import require_columns
from sciinterp.samples import Split
from sciinterp.settings import at_least, plain_value

# A further feature must bring this much training F1 to count as a part of its own.
MIN_GAIN = 0.03
# Features of a concept that are tried, the best in training first.
N_TRIED = 21
ABSORPTION = (
    "parent", "child", "parent_feature", "child_feature", "missed_in_child", "missed_elsewhere", "absorbed",
)  # fmt: skip


def splitting(
    features: FeatureMatrix,
    annotations: Annotations,
    hits: pd.DataFrame,
    *,
    split: Split,
    max_features: int = 4,
) -> pd.DataFrame:
    """How many features a concept is spread over, of its strongest pairs in `hits` and at most `max_features`.

    ``concept, n_features, features, f1_single, f1_set, gain``: F1 on held-out families of the selected feature
    and of the set chosen on training families.
    """
    _require(features, annotations, hits, split, "f1_train")
    max_features = plain_value(max_features, int, "max_features", at_least(1))
    train, test = (_rows(features, split.part(p)) for p in ("train", "test"))
    rows = []
    for concept, pairs in hits.groupby("concept", sort=True):
        truth = annotations.positives(features.samples, [str(concept)]).toarray().ravel()
        if not truth[train].any() or not truth[test].any():
            continue
        pairs = pairs.sort_values(["selected", "f1_train"], ascending=False).head(N_TRIED)
        marks = {int(j): features.column(int(j)) > t for j, t in zip(pairs["feature"], pairs["threshold"])}
        chosen = _greedy(marks, truth, train, max_features)
        single = _f1(marks[chosen[0]][test], truth[test])
        together = _f1(np.logical_or.reduce([marks[j][test] for j in chosen]), truth[test])
        rows.append((concept, len(chosen), tuple(chosen), single, together, together - single))
    return pd.DataFrame(rows, columns=["concept", "n_features", "features", "f1_single", "f1_set", "gain"])


def absorption(
    features: FeatureMatrix, annotations: Annotations, hits: pd.DataFrame, *, split: Split
) -> pd.DataFrame:
    """Where the feature of a child concept silences that of its parent; empty where no concept has a parent.

    One row a (parent, child) pair of the concepts table that were both tested: ``parent, child, parent_feature,
    child_feature, missed_in_child, missed_elsewhere, absorbed``, fractions of held-out positions; ``absorbed``
    is at least 0.
    """
    _require(features, annotations, hits, split)
    test = _rows(features, split.test)
    selected = hits[hits["selected"]].set_index("concept")
    rows = []
    for child, parent in annotations.concepts["parent"].items():
        if child not in selected.index or parent not in selected.index:
            continue
        a, b = selected.loc[parent], selected.loc[child]
        if a["feature"] == b["feature"]:
            continue
        truth = annotations.positives(features.samples, [str(parent), str(child)]).toarray()[test]
        silent = features.column(int(a["feature"]))[test] <= a["threshold"]
        speaks = features.column(int(b["feature"]))[test] > b["threshold"]
        inside, elsewhere = truth[:, 1], truth[:, 0] & ~truth[:, 1]
        if not inside.any() or not elsewhere.any():
            continue
        missed, other = float((silent & speaks)[inside].mean()), float(silent[elsewhere].mean())
        rows.append(
            (parent, child, int(a["feature"]), int(b["feature"]), missed, other, max(missed - other, 0.0))
        )
    return pd.DataFrame(rows, columns=list(ABSORPTION))


def _require(features: object, annotations: object, hits: object, split: object, *columns: str) -> None:
    require_kinds(features=(features, FeatureMatrix), annotations=(annotations, Annotations))
    require_kinds(split=(split, Split))
    require_columns(hits, ("feature", "concept", "selected", "threshold", *columns), "hits")


def _greedy(
    marks: dict[int, np.ndarray], truth: np.ndarray, train: np.ndarray, max_features: int
) -> list[int]:
    """The set with the best training F1 of its union, grown one feature at a time from the selected one."""
    inside, target = {j: m[train] for j, m in marks.items()}, truth[train]
    chosen = [next(iter(marks))]
    union = inside[chosen[0]]
    best = _f1(union, target)
    while len(chosen) < max_features:
        scores = {j: _f1(union | m, target) for j, m in inside.items() if j not in chosen}
        if not scores:
            break
        j = max(scores, key=lambda key: scores[key])
        if scores[j] < best + MIN_GAIN:
            break
        chosen.append(j)
        union, best = union | inside[j], scores[j]
    return chosen


def _f1(marked: np.ndarray, truth: np.ndarray) -> float:
    return float(f1_score(np.array((marked & truth).sum()), np.array(marked.sum()), np.array(truth.sum())))


def _rows(features: FeatureMatrix, numbers: np.ndarray) -> np.ndarray:
    keep = np.zeros(len(features.samples), bool)
    keep[numbers] = True
    return keep[features.samples.position_sample()]
