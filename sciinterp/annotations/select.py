"""Which concepts are worth testing: common enough, not everywhere, not the same thing twice.

A concept is left out when it has too few instances or families (nothing could be shown about it), when it
covers nearly everything (a catch-all), or when a kept concept covers the same positions
up to a Jaccard index ``|A and B| / |A or B|``. All overlaps come from one sparse product of the position
matrix with itself; nothing is looped over positions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.annotations.table import Annotations
from sciinterp.samples import Samples, Split
from sciinterp.settings import POSITIVE, Bound, at_least, checked

COLUMNS = ("reason", "kept_as", "n_instances", "n_positions", "n_families", "prevalence")
ABSENT = "no instance in these samples"
RARE = "too few instances"
NARROW = "too few families"
CATCH_ALL = "covers nearly everything"
DUPLICATE = "covers the same positions as another concept"
PREVALENCE = Bound("above 0, at most 1", lambda x: 0 < x <= 1)


def same_positions(annotations: Annotations, samples: Samples, names: Iterable[str]) -> dict[str, str]:
    """Concepts that cover exactly the positions of one that is named before them: that one, by concept.

    Parameters
    ----------
    annotations : Annotations
    samples : Samples
    names : iterable of str
        Concepts in their order; one without a position is like no other.

    Examples
    --------
    >>> rows = pd.DataFrame({"sample": "s", "start": [0, 0, 1], "end": [2, 2, 2], "concept": ["helix", "helix:alpha", "turn"]})
    >>> same_positions(Annotations(rows), Samples(["s"], ["MKV"]), ["helix", "helix:alpha", "turn"])
    {'helix:alpha': 'helix'}
    """
    names = list(names)
    columns = annotations.positives(samples, names).tocsc()
    first: dict[bytes, str] = {}
    same = {}
    for name, low, high in zip(names, columns.indptr, columns.indptr[1:]):
        mark = hashlib.sha256(columns.indices[low:high].astype(np.int64)).digest()
        if high > low and first.setdefault(mark, name) != name:
            same[name] = first[mark]
    return same


@checked(min_instances=at_least(0), min_families=at_least(0), collapse=POSITIVE, max_prevalence=PREVALENCE)
def select_concepts(
    annotations: Annotations,
    samples: Samples,
    split: Split | None = None,
    *,
    min_instances: int = 10,
    min_families: int = 5,
    max_prevalence: float = 0.5,
    collapse: float = 0.95,
) -> tuple[Annotations, pd.DataFrame]:
    """Concepts worth testing, and the others with the reason.

    Parameters
    ----------
    annotations : Annotations
    samples : Samples
        Only their annotations count.
    split : Split, optional
        Its families; without it every sample is its own family.
    min_instances, min_families : int
        The fewest instances, and families that carry one.
    max_prevalence : float
        The largest fraction of positions (for facts about samples: of samples) that a concept may cover,
        among those its source covers.
    collapse : float
        Concepts whose positions agree up to this Jaccard index are one; the one nearer to the root, then with
        more instances, then first by name is kept. Above 1 nothing is collapsed.

    Returns
    -------
    Annotations
        The kept concepts; parents that were left out are replaced by the nearest kept one.
    pandas.DataFrame
        One row a concept left out: ``reason, kept_as, n_instances, n_positions, n_families, prevalence``.

    Examples
    --------
    >>> from sciinterp.samples import Samples
    >>> rows = pd.DataFrame({"sample": ["a", "a", "b"], "start": [0, 3, 1], "end": [5, 4, 2],
    ...                      "concept": ["chain", "site", "site"]})
    >>> kept, out = select_concepts(Annotations(rows), Samples(["a", "b"], ["MKVLA", "MKV"]),
    ...                             min_instances=1, min_families=1)
    >>> kept.names, out["reason"].to_dict()
    (['site'], {'chain': 'covers nearly everything'})
    """
    names = annotations.names
    if split is not None:
        split.require_of(samples)
    family = np.arange(len(samples)) if split is None else np.asarray(split.family, dtype=np.int64)
    placed, facts = annotations.positives(samples, names), sample_facts(annotations, samples, names)
    table = _measure(annotations, samples, names, placed, facts, family)
    reason = np.full(len(names), "", dtype=object)
    for why, bad in (
        (CATCH_ALL, table["prevalence"] > max_prevalence),
        (NARROW, table["n_families"] < min_families),
        (RARE, table["n_instances"] < min_instances),
        (ABSENT, table["n_instances"] == 0),
    ):
        reason[bad.to_numpy()] = why
    kept_as = np.full(len(names), "", dtype=object)
    alive = np.flatnonzero(reason == "")
    rank = _rank(annotations, names, table)
    for of, by in _duplicates(placed[:, alive], facts[:, alive], rank[alive], collapse).items():
        reason[alive[of]], kept_as[alive[of]] = DUPLICATE, names[alive[by]]
    table.insert(0, "reason", reason)
    table.insert(1, "kept_as", kept_as)
    kept = [n for n, r in zip(names, reason) if not r]
    return _kept(annotations, kept, reason), table[table["reason"] != ""][list(COLUMNS)]


def sample_facts(annotations: Annotations, samples: Samples, concepts: list[str]) -> sp.csr_array:
    """csr int32 [n_samples, n_concepts]: facts about whole samples (rows with ``start = end = -1``)."""
    frame = annotations.frame
    code = pd.Index(concepts).get_indexer(pd.Index(frame["concept"]))
    sample = annotations.sample_numbers(samples)
    use = (code >= 0) & (sample >= 0) & (frame["start"].to_numpy() < 0)
    ones = np.ones(int(use.sum()), np.int32)
    matrix = sp.coo_array((ones, (sample[use], code[use])), shape=(len(samples), len(concepts))).tocsr()
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def _measure(
    annotations: Annotations,
    samples: Samples,
    names: list[str],
    placed: sp.csr_array,
    facts: sp.csr_array,
    family: np.ndarray,
) -> pd.DataFrame:
    """Instances, positions, families and prevalence of every concept."""
    instances = annotations.instances(samples, names)
    n_positions, n_facts = (np.asarray(m.sum(axis=0)).ravel().astype(np.int64) for m in (placed, facts))
    fact_sample, fact_concept = facts.nonzero()
    concept = np.concatenate([instances["concept"].to_numpy(), fact_concept])
    carrier = family[np.concatenate([instances["sample"].to_numpy(), fact_sample])]
    pairs = np.unique(concept.astype(np.int64) * (int(family.max(initial=0)) + 1) + carrier)
    n_families = np.bincount(pairs // (int(family.max(initial=0)) + 1), minlength=len(names))
    group, covers = annotations.coverage_groups(samples, names)
    positions, covered = (samples.lengths @ covers)[group], covers.sum(axis=0)[group]
    prevalence = np.maximum(n_positions / np.maximum(positions, 1), n_facts / np.maximum(covered, 1))
    n_instances = np.bincount(instances["concept"].to_numpy(), minlength=len(names)) + n_facts
    columns = {"n_instances": n_instances, "n_positions": n_positions, "n_families": n_families}
    return pd.DataFrame(columns | {"prevalence": prevalence}, index=pd.Index(names, name="concept"))


def _rank(annotations: Annotations, names: list[str], table: pd.DataFrame) -> np.ndarray:
    """The order in which duplicates are kept: nearer to the root, more instances, first by name."""
    level = annotations.concepts["level"].reindex(names).to_numpy()
    return np.argsort(np.lexsort((np.arange(len(names)), -table["n_instances"].to_numpy(), level)))


def _duplicates(
    placed: sp.csr_array, facts: sp.csr_array, rank: np.ndarray, collapse: float
) -> dict[int, int]:
    """concept -> the concept that stands for it; concepts on intervals and facts are never one."""
    first, second = [], []
    for matrix in (placed, facts):
        counts = sp.csr_array(matrix, dtype=np.int64)
        both = sp.coo_array(counts.T @ counts)
        n = np.asarray(counts.sum(axis=0)).ravel()
        i, j = both.coords
        same = (i != j) & (both.data >= collapse * (n[i] + n[j] - both.data))
        first.append(i[same])
        second.append(j[same])
    i, j = np.concatenate(first), np.concatenate(second)
    out: dict[int, int] = {}
    # only pairs above the bound are left; the better of a pair stands, unless something better stood for it
    for k in np.lexsort((rank[j], rank[i])):
        if rank[i[k]] < rank[j[k]] and int(i[k]) not in out:
            out.setdefault(int(j[k]), int(i[k]))
    return out


def _kept(annotations: Annotations, kept: list[str], reason: np.ndarray) -> Annotations:
    """The kept concepts under their nearest kept ancestors."""
    chosen = annotations.select(kept)
    parent = annotations.concepts["parent"].to_dict()
    keep = set(kept)

    def nearest(concept: str) -> str:
        seen: set[str] = set()
        while (concept := parent.get(concept, "")) and concept not in keep and concept not in seen:
            seen.add(concept)
        return concept if concept in keep else ""

    concepts = chosen.concepts.copy()
    concepts["parent"] = [nearest(c) for c in concepts.index]
    why, number = np.unique(reason[reason != ""].astype(str), return_counts=True)
    counts = {**annotations.counts, "concepts_left_out": dict(zip(why.tolist(), number.tolist()))}
    return Annotations(chosen.frame, concepts=concepts, coverage=annotations.coverage, counts=counts)
