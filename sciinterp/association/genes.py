"""Genes of cells as a baseline: which gene a position is, or how strongly a cell expresses each.

What letters are to a sequence, genes are to a cell. Where a model reads a cell as genes, a position *is* a gene, and the
rival of a feature is one gene, wherever it stands. Where a position is a whole cell, the rival is the expression of one
gene, read high or low.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from sciinterp.association.partitions import Part
from sciinterp.codes.by_feature import ByFeature
from sciinterp.samples import Samples

# One-hot columns of genes that are scored at once.
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Genes:
    """Genes of all positions."""

    names: list[str]
    number: np.ndarray | None = None  # int64 [n_positions]: which gene a position is
    expression: sp.csc_array | None = None  # float32 [n_positions, n_genes]: of whole cells, one a position

    @classmethod
    def of(cls, samples: Samples) -> Genes | None:
        """Genes of some samples; None where their data name none."""
        named = [named_genes(data) for data in samples.data]
        lists = [genes for genes in named if genes is not None]
        if not lists or len(lists) < len(named):
            return None
        lengths = np.array([len(genes) for genes in lists])
        known, number = np.unique(
            np.array([str(g) for genes in lists for g in genes], dtype=object), return_inverse=True
        )
        number = np.asarray(number, np.int64).reshape(-1)
        names = list(map(str, known))
        if np.array_equal(lengths, samples.lengths):
            return cls(names, number)
        values = [data.get("values") if isinstance(data, Mapping) else None for data in samples.data]
        arrays = [np.asarray(v, np.float32) for v in values if v is not None]
        if not (samples.lengths == 1).all() or [len(v) for v in arrays] != lengths.tolist():
            return None
        held = np.concatenate(arrays)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        shape = (len(samples), len(names))
        return cls(names, expression=sp.csc_array(sp.csr_array((held, number, starts), shape=shape)))

    def columns(self, rows: np.ndarray) -> Iterator[tuple[int, ByFeature]]:
        """Blocks of one-hot columns, a gene each, on some positions."""
        assert self.number is not None  # positions are genes
        whole = one_hot(self.number[rows], len(self.names))
        for low in range(0, len(self.names), _BLOCK):
            yield low, whole.block(low, min(low + _BLOCK, len(self.names)))


def named_genes(data: object) -> list[str] | None:
    """The genes that the data of a sample name: a record with ``genes``, or the names themselves."""
    genes = data.get("genes") if isinstance(data, Mapping) else getattr(data, "genes", data)
    if not isinstance(genes, (list, tuple, np.ndarray)):
        return None
    return list(map(str, genes)) if all(isinstance(g, str) for g in genes) else None


def one_hot(column: np.ndarray, n_columns: int) -> ByFeature:
    """One-hot columns by the column of each position; positions of column ``n_columns`` are in none."""
    rows = np.argsort(column, kind="stable").astype(np.int32)
    starts = np.searchsorted(column[rows], np.arange(n_columns + 1)).astype(np.int64)
    rows = rows[: starts[-1]]
    return ByFeature(np.ones(len(rows), np.float32), rows, starts, len(column))


def one_hot_blocks(columns: np.ndarray, n: int) -> Callable[[Part], Iterator[tuple[int, ByFeature]]]:
    """Blocks of one-hot columns on a part: block ``i`` says which of `n` things stands in ``columns[:, i]``."""

    def blocks(part: Part) -> Iterator[tuple[int, ByFeature]]:
        for number in range(columns.shape[1]):
            yield number * n, one_hot(columns[part.rows, number], n)

    return blocks
