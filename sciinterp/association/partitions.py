"""Training and held-out positions of a split, with what every score needs of them.

Features, thresholds and baselines are fitted on the families of :attr:`Partition.train`; effects are measured
once, on those of :attr:`Partition.test`. Samples that the source of a concept does not cover are in neither.

Cross-fitting lets all families judge: they are dealt into folds, and what is fitted on the families of all other folds
is measured on those of one. Each family is judged once, by what was chosen without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from sciinterp.association.by_position import ByPosition, by_position, indicator
from sciinterp.codes.intervals import positions_type
from sciinterp.errors import InputError
from sciinterp.samples import Samples, Split

# Folds unless a number is asked for; fewer where there are fewer families.
FOLDS = 3


@dataclass(frozen=True, eq=False)
class Part:
    """Some whole samples, their positions end to end."""

    samples: np.ndarray  # int64 [n_samples]: numbers of the samples
    rows: np.ndarray  # int32 [n_positions]: their positions on the axis of all samples
    positives: sp.csr_array  # bool [n_positions, n_concepts]
    family: np.ndarray  # int32 [n_positions]: number of the family within this part, 0 to ``n_families - 1``
    family_codes: np.ndarray  # int64 [n_families]: the split's codes of those families

    @property
    def n_positions(self) -> int:
        """Number of positions."""
        return len(self.rows)

    @property
    def n_families(self) -> int:
        """Number of families."""
        return len(self.family_codes)

    @cached_property
    def by_position(self) -> ByPosition:
        """Concepts of each position, as the counting loops read them."""
        return by_position(self.positives, self.n_positions)

    @cached_property
    def by_concept(self) -> sp.csc_array:
        """Positives by concept."""
        return self.positives.tocsc()

    @property
    def positive_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Positive positions, concept by concept, and where each concept's begin, as the counting loops read them."""
        columns = self.by_concept
        return columns.indices.astype(np.int32, copy=False), columns.indptr.astype(np.int64, copy=False)

    def take(self, rows: np.ndarray | slice) -> Part:
        """The part on some of its positions, ascending; families keep their numbers."""
        return replace(self, rows=self.rows[rows], positives=self.positives[rows], family=self.family[rows])

    def truth(self, concept: int) -> np.ndarray:
        """uint8 [n_positions]: 1 where the concept is."""
        rows, starts = self.positive_rows
        out = np.zeros(self.n_positions, np.uint8)
        out[rows[starts[concept] : starts[concept + 1]]] = 1
        return out

    @cached_property
    def positive_by_family(self) -> np.ndarray:
        """int64 [n_concepts, n_families]: positive positions."""
        to_family = indicator(self.family, self.n_families, np.int64)
        return (self.positives.T.astype(np.int64) @ to_family).toarray()


@dataclass(frozen=True, eq=False)
class Partition:
    """Concepts that share one coverage, with their training and held-out parts."""

    concepts: np.ndarray
    train: Part
    test: Part


@dataclass(frozen=True, eq=False)
class Folds:
    """Partitions that judge one after another; parts are made as they are asked for."""

    samples: Samples
    positives: sp.csr_array  # bool [n_positions, n_concepts]: of the concepts of one coverage
    split: Split
    concepts: np.ndarray  # int64
    numbers: np.ndarray  # int64: the covered samples
    fold: np.ndarray  # int64 [n_samples]: the fold of every sample; those in none judge nothing

    def __iter__(self) -> Iterator[Partition]:
        """One partition a fold that holds a covered family; families are numbered alike in all."""
        numbers = self.numbers[self.fold[self.numbers] >= 0]
        of, codes = self.fold[numbers], np.unique(self.split.family[numbers])
        for k in np.unique(of):
            train, test = (
                make_part(self.samples, self.positives, self.split, numbers[mine], codes)
                for mine in (of != k, of == k)
            )
            yield Partition(self.concepts, train, test)


def deal(split: Split, n_folds: int | None = None) -> np.ndarray:
    """The fold of every sample: families of one part and of about one size go to the folds in turn.

    So that every fold holds its share of the families that trained the SAE, of large and of small ones.
    Samples in no part have -1. By default there are :data:`FOLDS`, or as many as there are families.
    """
    family, at = np.unique(split.family, return_inverse=True)
    at, n = np.asarray(at).reshape(-1), len(family)
    n_folds = max(2, min(FOLDS, n)) if n_folds is None else n_folds
    if not 2 <= n_folds <= n:
        raise InputError(
            "these families cannot be dealt into so many folds",
            where="folds",
            expected=f"2 to {n}, the number of families",
            got=str(n_folds),
            do="folds=1 measures on the test families of the split.",
        )
    part = np.zeros(n, np.int64)
    for number, name in enumerate(("train", "calibration", "test")):
        part[at[split.part(name)]] = number
    lengths = np.ones(len(at)) if split.lengths is None else split.lengths
    size = np.floor(np.log2(np.maximum(1, np.bincount(at, weights=lengths, minlength=n))))
    order = np.random.default_rng(split.seed).permutation(n)
    order = order[np.lexsort((-size[order], part[order]))]
    fold = np.empty(n, np.int64)
    fold[order] = np.arange(n) % n_folds
    judges = np.isin(np.arange(len(at)), np.concatenate([split.train, split.calibration, split.test]))
    return np.where(judges, fold[at], -1)


def partition(
    samples: Samples, positives: sp.csr_array, covered: np.ndarray, split: Split
) -> list[Partition]:
    """Group concepts by the samples their source covers, and divide those samples.

    `covered` is bool [n_samples, n_concepts]; every concept is in exactly one partition.
    """
    split.require_of(samples)
    out = []
    for concepts, inside in coverages(covered):
        of_group = positives[:, concepts] if len(concepts) < positives.shape[1] else positives
        train, test = (
            make_part(samples, of_group, split, numbers[inside[numbers]])
            for numbers in (split.train, split.test)
        )
        out.append(Partition(concepts, train, test))
    return out


def cross(
    samples: Samples, positives: sp.csr_array, covered: np.ndarray, split: Split, fold: np.ndarray
) -> list[Folds]:
    """As :func:`partition`, in the same order, with the folds of :func:`deal` in place of the parts of the split."""
    return [
        Folds(samples, sp.csr_array(positives[:, concepts]), split, concepts, np.flatnonzero(inside), fold)
        for concepts, inside in coverages(covered)
    ]


def coverages(covered: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Concepts (int64) of each distinct coverage, and the samples (bool) that it holds."""
    columns, group = np.unique(covered, axis=1, return_inverse=True)
    group = np.asarray(group).reshape(-1)
    return [(np.flatnonzero(group == number), columns[:, number]) for number in range(columns.shape[1])]


def make_part(
    samples: Samples,
    positives: sp.csr_array,
    split: Split,
    numbers: np.ndarray,
    codes: np.ndarray | None = None,
) -> Part:
    """The positions of some samples; families are numbered as in `codes`, by default those of these samples."""
    lengths, kind = samples.lengths[numbers], positions_type(samples.n_positions)
    rows = np.arange(int(lengths.sum()), dtype=kind)
    rows += np.repeat((samples.offsets[:-1][numbers] - (np.cumsum(lengths) - lengths)).astype(kind), lengths)
    codes = np.unique(split.family[numbers]) if codes is None else codes
    family = np.searchsorted(codes, split.family[numbers]).astype(np.int32)
    return Part(numbers, rows, sp.csr_array(positives[rows]), np.repeat(family, lengths), codes)
