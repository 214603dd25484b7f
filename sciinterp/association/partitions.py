"""Training and held-out positions of a split, with what every score needs of them.

Features, thresholds and baselines are fitted on the families of :attr:`Partition.train`; effects are measured
once, on those of :attr:`Partition.test`. Samples that the source of a concept does not cover are in neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from sciinterp.association.layout import ByPosition, by_position
from sciinterp.samples import Samples, Split


@dataclass(frozen=True, eq=False)
class Part:
    """Some whole samples, their positions end to end.

    Attributes
    ----------
    samples : int64 [n_samples]
        Numbers of the samples.
    rows : int64 [n_positions]
        Their positions on the axis of all samples.
    positives : csr_array bool [n_positions, n_concepts]
    family : int64 [n_positions]
        Number of the family within this part, 0 to ``n_families - 1``.
    family_codes : int64 [n_families]
        The split's codes of those families.
    """

    samples: np.ndarray
    rows: np.ndarray
    positives: sp.csr_array
    family: np.ndarray
    family_codes: np.ndarray

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

    def take(self, rows: np.ndarray | slice) -> Part:
        """The part on some of its positions, ascending; families keep their numbers."""
        return Part(self.samples, self.rows[rows], self.positives[rows], self.family[rows], self.family_codes)

    def truth(self, concept: int) -> np.ndarray:
        """uint8 [n_positions]: 1 where the concept is."""
        columns = self.by_concept
        out = np.zeros(self.n_positions, np.uint8)
        out[columns.indices[columns.indptr[concept] : columns.indptr[concept + 1]]] = 1
        return out

    @cached_property
    def positive_by_family(self) -> np.ndarray:
        """int64 [n_concepts, n_families]: positive positions."""
        indicator = sp.csr_array(
            (np.ones(self.n_positions, np.int64), self.family, np.arange(self.n_positions + 1)),
            shape=(self.n_positions, self.n_families),
        )
        return (self.positives.T.astype(np.int64) @ indicator).toarray()


@dataclass(frozen=True, eq=False)
class Partition:
    """Concepts that share one coverage, with their training and held-out parts."""

    concepts: np.ndarray
    train: Part
    test: Part


def partition(
    samples: Samples, positives: sp.csr_array, covered: np.ndarray, split: Split
) -> list[Partition]:
    """Group concepts by the samples their source covers, and divide those samples.

    Parameters
    ----------
    samples : Samples
    positives : csr_array bool [n_positions, n_concepts]
    covered : bool [n_samples, n_concepts]
    split : Split

    Returns
    -------
    list of Partition
        One for each distinct coverage; every concept is in exactly one.
    """
    columns, group = np.unique(covered, axis=1, return_inverse=True)
    group = np.asarray(group).reshape(-1)
    out = []
    for number in range(columns.shape[1]):
        concepts = np.flatnonzero(group == number)
        inside = columns[:, number]
        of_group = positives[:, concepts] if columns.shape[1] > 1 else positives
        train, test = (
            make_part(samples, of_group, split, numbers[inside[numbers]])
            for numbers in (split.train, split.test)
        )
        out.append(Partition(concepts, train, test))
    return out


def make_part(samples: Samples, positives: sp.csr_array, split: Split, numbers: np.ndarray) -> Part:
    """The positions of some samples."""
    lengths = samples.lengths[numbers]
    shift = np.repeat(samples.offsets[:-1][numbers] - (np.cumsum(lengths) - lengths), lengths)
    rows = np.arange(int(lengths.sum())) + shift
    codes, family = np.unique(split.family[numbers], return_inverse=True)
    return Part(
        numbers,
        rows,
        sp.csr_array(positives[rows]),
        np.repeat(np.asarray(family).reshape(-1), lengths),
        codes,
    )
