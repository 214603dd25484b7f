"""Enrichment of sets: for models whose positions are genes, and for facts about whole samples.

*Genes*: is a feature's set of genes richer in a gene set than the genes that could have been in it? The
background is what decides here, and it is the genes the model saw, not the genome: expressed and in the
vocabulary. One-sided hypergeometric test, Benjamini and Hochberg over all pairs.

A feature's genes are those with the largest mean activation over the cells that express them; genes seen in
few cells are in neither.

*Samples*: relatives are not independent, so facts about samples (isotype, species, donor) are tested on
families, and facts about cells that every donor has on the cells within donors, as
:mod:`sciinterp.association.statistics` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import hypergeom

from sciinterp.annotations import Annotations
from sciinterp.association.by_position import indicator
from sciinterp.association.genes import named_genes
from sciinterp.association.published_scores import sample_carriage
from sciinterp.association.statistics import Screen, ScreenSettings, benjamini_hochberg, screen_samples
from sciinterp.budget import BLOCK_VALUES
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.active import is_active
from sciinterp.errors import InputError, ShapeError, require_kinds
from sciinterp.samples import Split
from sciinterp.settings import at_least, plain_value

# What is said of the place of a fact about a whole sample.
WHOLE = "none: a fact about the whole sample"


def enrich_sets(
    members: sp.csr_array,
    sets: sp.csr_array,
    *,
    background: np.ndarray | None = None,
    names: list[str] | None = None,
    min_size: int = 3,
) -> pd.DataFrame:
    """Hypergeometric enrichment of every feature's items, `members` [n_items, n_features], in every set [n_items, n_sets].

    Items outside `background` are left out of every count, and sets with fewer than `min_size` items in it
    are not tested. Rows ``feature set overlap n_feature n_set n_background fold p q`` are of pairs that
    overlap; the others have p = 1 and are counted in the q-values.

    Examples
    --------
    >>> genes = sp.csr_array(np.array([[1], [1], [0], [0], [0], [0]], dtype=bool))
    >>> enrich_sets(genes, genes, min_size=1)[["overlap", "n_background", "p"]].round(3).values.tolist()
    [[2.0, 6.0, 0.067]]
    """
    min_size, (n_items, n_sets) = plain_value(min_size, int, "min_size", at_least(0)), sets.shape
    for what, number, expected in (
        ("features and sets are over different items", members.shape[0], n_items),
        ("the background is of other items", n_items if background is None else len(background), n_items),
        ("one name a set is needed", n_sets if names is None else len(names), n_sets),
    ):
        if number != expected:
            raise ShapeError(what, expected=str(expected), got=str(number))
    kept = np.arange(members.shape[0]) if background is None else np.flatnonzero(np.asarray(background, bool))
    of_feature, of_set = (sp.csr_array(m[kept]).astype(np.int64) for m in (members, sets))
    n_feature, n_set = (np.asarray(m.sum(axis=0)).reshape(-1) for m in (of_feature, of_set))
    both = sp.coo_array(of_feature.T @ of_set)
    feature, column, overlap = *both.coords, both.data
    tested = (n_set[column] >= min_size) & (overlap > 0)
    feature, column, overlap = feature[tested], column[tested], overlap[tested]
    n = len(kept)
    p = hypergeom.sf(overlap - 1, n, n_set[column], n_feature[feature])
    n_pairs = int((n_feature > 0).sum()) * int((n_set >= min_size).sum())
    q = benjamini_hochberg(np.concatenate([p, np.ones(max(0, n_pairs - len(p)))]))[: len(p)]
    label = np.arange(sets.shape[1]).astype(str) if names is None else np.asarray(names, dtype=object)
    table = pd.DataFrame(
        {
            "feature": feature,
            "set": label[column],
            "overlap": overlap,
            "n_feature": n_feature[feature],
            "n_set": n_set[column],
            "n_background": n,
            "fold": overlap * n / (n_set[column] * n_feature[feature]),
            "p": p,
            "q": q,
        }
    )
    return table.sort_values(["p", "feature", "set"], kind="stable", ignore_index=True)


def enrich_genes(
    features: FeatureMatrix,
    sets: Mapping[str, Iterable[str]],
    *,
    top: int = 100,
    min_cells: int = 3,
    min_size: int = 3,
) -> pd.DataFrame:
    """Hypergeometric enrichment of every feature's genes in gene sets, for models whose positions are genes.

    Each sample's data names the gene of every position (a record with ``genes``, or the names); InputError
    where it does not. A feature's genes are the `top` most active ones; the background is of genes that
    `min_cells` cells express, and those the model never saw do not count. The table is that of
    :func:`enrich_sets`.

    Examples
    --------
    >>> from sciinterp.samples import Samples
    >>> cells = Samples(["a", "b"], [("CD3E", "CD8A", "ACTB"), ("CD3E", "CD8A", "MS4A1", "CD19")], kind="cells")
    >>> codes = sp.csr_array(np.array([[2, 1, 0, 2, 1, 0, 0]], np.float32).T)
    >>> found = enrich_genes(FeatureMatrix(codes, cells), {"T": ["CD3E", "CD8A"]}, min_cells=1, min_size=1)
    >>> found[["set", "overlap", "n_background", "p"]].round(3).values.tolist()
    [['T', 2, 5, 0.1]]
    """
    require_kinds(features=(features, FeatureMatrix), sets=(sets, Mapping))
    top, min_cells = (
        plain_value(top, int, "top", at_least(1)),
        plain_value(min_cells, int, "min_cells", at_least(1)),
    )
    for name, mine in sets.items():
        if isinstance(mine, str):
            raise InputError("a set is a list of genes", where=f"set {str(name)!r}", got=repr(mine)[:60])
    names, gene = np.unique(_genes(features), return_inverse=True)
    gene = np.asarray(gene).reshape(-1)
    to_gene = indicator(gene, len(names))
    n_cells = np.bincount(gene, minlength=len(names))
    background = np.flatnonzero(n_cells >= min_cells)
    per_cell = sp.diags_array(1 / n_cells[background]) @ sp.csr_array(to_gene.T)[background]
    blocks = (features.by_feature(*block) for block in features.feature_blocks(BLOCK_VALUES))
    means = (sp.csc_array(per_cell @ block.to_csc().astype(np.float64)) for block in blocks)
    members = sp.hstack([_largest(mean, top) for mean in means], format="csr")
    number = {str(name): i for i, name in enumerate(names[background])}
    rows = [sorted({number[g] for g in map(str, genes) if g in number}) for genes in sets.values()]
    starts = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    held = np.concatenate([np.asarray(r, np.int64) for r in rows]) if rows else np.zeros(0, np.int64)
    of_set = sp.csc_array((np.ones(len(held), bool), held, starts), shape=(len(background), len(sets)))
    return enrich_sets(sp.csr_array(members), sp.csr_array(of_set), names=list(sets), min_size=min_size)


def _genes(features: FeatureMatrix) -> np.ndarray:
    """Name of the gene of every position."""
    out: list[str] = []
    for number, data in enumerate(features.samples.data):
        genes = named_genes(data)
        if genes is None or len(genes) != features.samples.lengths[number]:
            raise InputError(
                "positions of these samples are not named genes",
                where=f"sample {features.samples.ids[number]!r}",
                expected="a list of genes, one a position",
                got=type(data).__name__,
                do="For gene sets made elsewhere use enrich_sets.",
            )
        out.extend(genes)
    return np.array(out, dtype=object)


def _largest(values: sp.csc_array, top: int) -> sp.csc_array:
    """bool: the `top` largest active entries of each column, the first where they tie."""
    column = np.repeat(np.arange(values.shape[1]), np.diff(values.indptr))
    order = np.lexsort((values.indices, -values.data, column))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - np.repeat(values.indptr[:-1], np.diff(values.indptr))
    scale = values.max(axis=0).toarray().ravel()
    kept = (place < top) & is_active(values.data, scale[column])
    return sp.csc_array((kept[kept], (values.indices[kept], column[kept])), shape=values.shape)


def enrichment(
    features: FeatureMatrix,
    annotations: Annotations,
    *,
    split: Split,
    settings: ScreenSettings | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Facts about whole samples (rows with ``start = end = -1``), tested on families.

    Columns ``feature concept families_with families_both q p_presence q_presence p_place q_place place
    p_family test``; the pairs with p_presence <= 0.05, and one row with feature -1 for every concept that
    could not be tested. A fact about a whole sample has no place in it: `place` says so, `p_place` and
    `q_place` are NaN and `q` is `q_presence`.
    """
    require_kinds(
        features=(features, FeatureMatrix), annotations=(annotations, Annotations), split=(split, Split)
    )
    frame, seed = annotations.frame, plain_value(seed, int, "seed")
    names = sorted(frame.loc[frame["start"] < 0, "concept"].unique())
    carries = sample_carriage(annotations, features.samples, names).toarray()
    covered = annotations.covered(features.samples, names)
    found = screen_samples(features, carries, covered, split, settings=settings, seed=seed)
    return _table(found, names)


def _table(found: Screen, names: list[str]) -> pd.DataFrame:
    feature, concept = np.nonzero(np.nan_to_num(found.p, nan=2.0) <= 0.05)
    table = pd.DataFrame(
        {
            "feature": feature,
            "concept": np.array(names, dtype=object)[concept],
            "families_with": found.n_families[concept],
            "families_both": found.families_both(feature, concept),
            "q": found.q[feature, concept],
            "p_presence": found.p[feature, concept],
            "q_presence": found.q[feature, concept],
            "p_place": np.nan,
            "q_place": np.nan,
            "place": WHOLE,
            "p_family": found.p_family[feature, concept],
            "test": np.array(found.test, dtype=object)[concept],
        }
    )
    without = [c for c in range(len(names)) if not np.isfinite(found.p[:, c]).any()]
    rest = pd.DataFrame(
        {
            "feature": -1,
            "concept": [names[c] for c in without],
            "families_with": found.n_families[without],
            "place": WHOLE,
            "test": [found.test[c] for c in without],
        }
    )
    table = pd.concat([table, rest], ignore_index=True) if len(rest) else table
    return table.sort_values(["p_presence", "concept", "feature"], kind="stable", ignore_index=True)
