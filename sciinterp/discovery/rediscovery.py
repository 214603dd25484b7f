"""Rediscovery: with only broad concepts annotated, which narrow ones come back as novel candidates?

Annotations are cut down to what a first look gives (of structures: broad secondary structure and classes of
residues); the features are tested against those alone and searched for what none explains. A hidden concept has come
back where a novel candidate marks it: F1 on held-out families, of the one of its features (those that fire together are
one candidate) and at the threshold that are best on training families, of at least the floor below which nothing is said
to find anything. The same is done with the codes of the
randomised model, which should find nothing. What covers so much that calling every position marks it as well is not
marked, as in hits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from sciinterp.annotations import Annotations, select_concepts
from sciinterp.association import AssociationSettings, associate
from sciinterp.association.explanations import THRESHOLDS
from sciinterp.codes import FeatureMatrix
from sciinterp.discovery.files import are_sets
from sciinterp.discovery.search import discover
from sciinterp.discovery.settings import DiscoverySettings
from sciinterp.errors import InputError, require_kinds
from sciinterp.frames import Table
from sciinterp.samples import Split
from sciinterp.settings import plain_value
from sciinterp.store.kept import kept, planned_folder

# What a first look at structures gives: how names begin.
BROAD = ("ss:H", "ss:E", "ss:C", "residue:")
COLUMNS = ("codes", "concept", "n", "everything", "f1", "feature", "rank", "q", "best", "back")


def rediscover(
    features: FeatureMatrix,
    annotations: Annotations,
    *,
    split: Split,
    control: FeatureMatrix | None = None,
    keep: str | Sequence[str] = BROAD,
    seed: int = 0,
    out: str | Path | None = None,
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
    out : path, optional
        A folder that keeps what was found with each of the two codes; a stopped search resumes there.

    Returns
    -------
    Table
        One row a hidden concept and codes (``model``, ``randomised``): ``n`` positions, the F1 of calling ``everything``,
        and the first novel candidate of which a feature reaches the floor and is above that, with ``f1``, ``rank`` among novel candidates (from 1) and ``q``; where none does
        (``back`` is False), the one that marks it best. ``best`` is the F1 of the best one in the list. ``context``
        holds how many novel candidates there are, and why there are none.

    Raises
    ------
    InputError
        No concept stays, or none is hidden.
    MismatchError
        The folder holds a search with other codes, concepts or seed.
    """
    require_kinds(
        features=(features, FeatureMatrix), annotations=(annotations, Annotations), split=(split, Split)
    )
    keep, seed = (keep,) if isinstance(keep, str) else tuple(keep), plain_value(seed, int, "seed")
    known = select_concepts(annotations, features.samples, split)[0].position_names
    stay = [c for c in annotations.position_names if c.startswith(keep)]
    hidden = [c for c in known if c not in stay]
    if not stay or not hidden:
        raise InputError(
            "nothing to rediscover", expected=f"concepts that begin with {', '.join(keep)}, and others"
        )
    plan = {"stay": stay, "hidden": hidden, "seed": seed, "codes": features.origin.to_record()}
    folder, rows, context = planned_folder(out, plan), [], {}
    for name, codes, against in (("model", features, control), ("randomised", control, None)):
        if codes is None:
            continue
        search = partial(_searched, codes, against, annotations, stay, hidden, split, seed)
        found = kept(folder, name, search)
        context[name] = found["context"]
        rows += [{"codes": name, **row} for row in found["rows"]]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"q": float})
    return Table(table, context=context)


def _searched(
    codes: FeatureMatrix,
    against: FeatureMatrix | None,
    annotations: Annotations,
    stay: list[str],
    hidden: list[str],
    split: Split,
    seed: int,
) -> dict[str, object]:
    """What comes back of one model's codes, and how many novel candidates there are."""
    first_look = annotations.select(stay)
    hits = associate(codes, first_look, split=split, control=against, settings=AssociationSettings(folds=1))
    settings = DiscoverySettings(seed=seed, records=False)
    found = discover(codes, first_look, hits, split=split, control=against, settings=settings)
    novel = found[(found["kind"] == "novel") & ~are_sets(found)].drop_duplicates("feature")
    context = {"novel": len(novel), "not_run": dict(found.context.get("not_run") or {}).get("novel", "")}
    return {"rows": came_back(codes, novel, annotations, hidden, split), "context": context}


def came_back(
    codes: FeatureMatrix, novel: pd.DataFrame, annotations: Annotations, hidden: list[str], split: Split
) -> list[dict[str, object]]:
    """Of every hidden concept the first novel candidate that marks it, or the best; best first."""
    truth = annotations.positives(codes.samples, hidden).toarray().T
    train, test = (
        np.repeat(np.isin(np.arange(len(split.family)), p), codes.samples.lengths)
        for p in (split.train, split.test)
    )
    concepts, n = np.arange(len(hidden)), max(1, len(novel))
    best, which = np.zeros((len(hidden), n)), np.full((len(hidden), n), -1)
    for at, record in enumerate(novel["evidence"]):
        columns = [codes.column(int(j)) for j in record["features"]]
        chosen = np.argmax([held_out_f1(value, truth, train, train) for value in columns], axis=0)
        of_each = np.array([held_out_f1(value, truth, train, test) for value in columns])
        best[:, at] = of_each[chosen, concepts]
        which[:, at] = np.asarray(record["features"])[chosen]
    share = truth[:, test].mean(1)
    everything, rows = 2 * share / (1 + share), list[dict[str, object]]()
    for number in sorted(range(len(hidden)), key=lambda i: -round(float(best[i].max()), 3)):
        f1, there = best[number], len(novel) > 0
        reach = (f1 >= THRESHOLDS.floor) & (f1 > everything[number])
        at = int(reach.argmax() if reach.any() else f1.argmax())
        row = {"concept": hidden[number], "n": int(truth[number].sum())}
        row |= {"everything": round(float(everything[number]), 3), "f1": round(float(f1[at]), 3)}
        row |= {"feature": int(which[number, at]), "rank": at + 1 if there else 0}
        q = float(novel["q"].iloc[at]) if there else None
        rows.append({**row, "q": q, "best": round(float(f1.max()), 3), "back": bool(reach.any())})
    return rows


def held_out_f1(value: np.ndarray, truth: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """F1 [n_concepts] of a feature's codes [n] on test positions, each concept at its best threshold in training.

    Parameters
    ----------
    truth : bool [n_concepts, n]
    train, test : bool [n]
    """
    on = np.flatnonzero(train & (value > 0))
    on = on[np.argsort(-value[on], kind="stable")]
    if not len(on):
        return np.zeros(len(truth))
    last = np.flatnonzero(np.append(value[on][1:] < value[on][:-1], True))
    f1 = 2 * truth[:, on].cumsum(1)[:, last] / (last + 1 + truth[:, train].sum(1, keepdims=True))
    called = (value >= value[on][last][f1.argmax(1)][:, None]) & test
    return 2 * (truth & called).sum(1) / np.maximum(1, (truth & test).sum(1) + called.sum(1))
