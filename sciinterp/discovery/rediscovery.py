"""Rediscovery: with only broad concepts annotated, which narrow ones come back as novel candidates?

Annotations are cut down to what a first look gives (of structures: broad secondary structure and classes of
residues); the features are tested against those alone and searched for what none explains. A hidden concept has come
back where a novel candidate's feature marks it: F1 over all positions, at the rule of
:mod:`sciinterp.codes.active`, of at least the floor below which nothing is said to find anything. The same is done
with the codes of the randomised model, which should find nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sciinterp.annotations import Annotations, select_concepts
from sciinterp.association import AssociationSettings, associate
from sciinterp.association.explanations import THRESHOLDS
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.active import is_active
from sciinterp.discovery.search import discover
from sciinterp.discovery.settings import DiscoverySettings
from sciinterp.errors import InputError
from sciinterp.frames import Table
from sciinterp.samples import Split

# What a first look at structures gives: how names begin.
BROAD = ("ss:H", "ss:E", "ss:C", "residue:")
COLUMNS = ("codes", "concept", "n", "f1", "feature", "rank", "q", "back")


def rediscover(
    features: FeatureMatrix,
    annotations: Annotations,
    *,
    split: Split,
    control: FeatureMatrix | None = None,
    keep: Sequence[str] = BROAD,
    seed: int = 0,
) -> Table:
    """Hide all but broad concepts, search for novel candidates, and say which hidden concepts they are.

    Parameters
    ----------
    features, control : FeatureMatrix
        Codes of the model, and of the randomised one.
    annotations : Annotations
    split : Split
    keep : sequence of str
        Beginnings of the names of concepts that stay.
    seed : int

    Returns
    -------
    Table
        One row a hidden concept and codes (``model``, ``randomised``): ``n`` positions, the novel candidate whose
        feature marks it best, with ``f1``, ``rank`` among novel candidates (from 1) and ``q``; ``back`` where f1 reaches
        the floor. ``context`` holds how many novel candidates there are, and why there are none.

    Raises
    ------
    InputError
        No concept stays, or none is hidden.
    """
    known = select_concepts(annotations, features.samples, split)[0].position_names
    kept = [c for c in annotations.position_names if c.startswith(tuple(keep))]
    hidden = [c for c in known if c not in kept]
    if not kept or not hidden:
        raise InputError(
            "nothing to rediscover", expected=f"concepts that begin with {', '.join(keep)}, and others"
        )
    first_look, rows, context = annotations.select(kept), [], {}
    for name, codes, against in (("model", features, control), ("randomised", control, None)):
        if codes is None:
            continue
        hits = associate(
            codes, first_look, split=split, control=against, settings=AssociationSettings(folds=1)
        )
        settings = DiscoverySettings(seed=seed, records=False)
        found = discover(codes, first_look, hits, split=split, control=against, settings=settings)
        novel = found[found["kind"] == "novel"].drop_duplicates("feature")
        context[name] = {
            "novel": len(novel),
            "not_run": dict(found.context.get("not_run") or {}).get("novel", ""),
        }
        rows += [{"codes": name, **row} for row in came_back(codes, novel, annotations, hidden)]
    return Table(pd.DataFrame(rows, columns=list(COLUMNS)), context=context)


def came_back(
    codes: FeatureMatrix, novel: pd.DataFrame, annotations: Annotations, hidden: list[str]
) -> list[dict[str, object]]:
    """Of every hidden concept the novel candidate whose feature marks it best, best first."""
    spots = annotations.instances(codes.samples, hidden)
    truth = np.zeros((len(hidden), codes.n_positions), bool)
    for concept, start, end in zip(spots["concept"], spots["start"], spots["end"]):
        truth[int(concept), int(start) : int(end)] = True
    order, best = novel["feature"].astype(int).tolist(), np.zeros((len(hidden), max(1, len(novel))))
    for at, j in enumerate(order):
        on = is_active(codes.column(j), codes.largest[j])
        best[:, at] = 2 * truth[:, on].sum(1) / np.maximum(1, truth.sum(1) + on.sum())
    rows = []
    for number, concept in enumerate(hidden):
        at, there = int(best[number].argmax()), bool(order)
        f1 = float(best[number, at])
        row = {"concept": concept, "n": int(truth[number].sum()), "f1": round(f1, 3)}
        row |= {"feature": order[at] if there else -1, "rank": at + 1 if there else 0}
        q = float(novel["q"].iloc[at]) if there else float("nan")
        rows.append({**row, "q": q, "back": f1 >= THRESHOLDS.floor})
    return sorted(rows, key=lambda row: -float(row["f1"]))  # type: ignore[arg-type]
