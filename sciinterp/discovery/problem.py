"""What every rule of discovery looks at: codes, concepts and families on one axis of positions.

A :class:`Problem` lays the samples end to end, numbers the concepts, divides the families into folds (the unit
of cross-fitting: what is said of a family was never learned from it) and holds the sums over positions that
the rules share. Nothing here decides anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.annotations import Annotations
from sciinterp.codes import FeatureMatrix
from sciinterp.samples import Samples, Split


@dataclass(frozen=True, eq=False)
class Problem:
    """Features and annotations of the same samples, with families in folds.

    Attributes
    ----------
    codes : csr float32 [n_positions, n_features]
    names : list of str
        Concepts placed on positions.
    family : int64 [n_samples]
    fold : int64 [n_samples]
    """

    codes: sp.csr_array
    samples: Samples
    annotations: Annotations
    names: list[str]
    family: np.ndarray
    fold: np.ndarray
    n_folds: int
    seed: int

    @cached_property
    def columns(self) -> sp.csc_array:
        """The codes by feature."""
        return self.codes.tocsc()

    @cached_property
    def sample_of(self) -> np.ndarray:
        """int64 [n_positions]: sample of each position."""
        return self.samples.position_sample()

    @cached_property
    def fold_of(self) -> np.ndarray:
        """int64 [n_positions]: fold of each position."""
        return self.fold[self.sample_of]

    @cached_property
    def positives(self) -> sp.csr_array:
        """csr bool [n_positions, n_concepts]."""
        return self.annotations.positives(self.samples, self.names)

    @cached_property
    def instances(self) -> pd.DataFrame:
        """Instances on the concatenated axis, sorted by start."""
        return self.annotations.instances(self.samples, self.names).sort_values("start", ignore_index=True)

    @cached_property
    def covered(self) -> np.ndarray:
        """bool [n_samples, n_concepts]: where absence says something."""
        return self.annotations.covered(self.samples, self.names)

    @cached_property
    def letters(self) -> np.ndarray | None:
        """int8 [n_positions]: the letters of sequences as numbers, or None where samples are not sequences."""
        if not all(
            isinstance(d, str) and len(d) == n for d, n in zip(self.samples.data, self.samples.lengths)
        ):
            return None
        raw = np.frombuffer("".join(self.samples.data).upper().encode("ascii", "replace"), np.uint8)
        alphabet, number = np.unique(raw, return_inverse=True)
        return number.astype(np.int64) if len(alphabet) <= 64 else None

    @cached_property
    def alphabet(self) -> list[str]:
        """The letters that :attr:`letters` numbers."""
        raw = "".join(self.samples.data).upper().encode("ascii", "replace")
        return [chr(c) for c in sorted(set(raw))]

    @cached_property
    def conservation(self) -> np.ndarray:
        """float64 [n_positions]: share of the other family members that hold the three letters around a position."""
        letters, base = cast("np.ndarray", self.letters), len(self.alphabet)
        padded = np.pad(letters, 1, mode="edge")
        word = (padded[:-2] * base + padded[1:-1]) * base + padded[2:]
        family = self.family[self.sample_of]
        # A sample that repeats a word counts once: pairs of sample and word first, then of family and word.
        pairs = np.unique(self.sample_of.astype(np.int64) * base**3 + word)
        key, count = np.unique(self.family[pairs // base**3] * base**3 + pairs % base**3, return_counts=True)
        holders = count[np.searchsorted(key, family * base**3 + word)]
        return (holders - 1) / np.maximum(np.bincount(self.family)[family] - 1, 1)

    @cached_property
    def overlap(self) -> np.ndarray:
        """float64 [n_concepts, n_features]: positions where a concept and an active feature meet."""
        return self._meet(np.ones(self.codes.nnz, np.float32), None)

    @cached_property
    def active(self) -> np.ndarray:
        """float64 [n_features]: positions where each feature is active."""
        return np.bincount(self.codes.indices[self.codes.data > 0], minlength=self.codes.shape[1]).astype(
            float
        )

    @cached_property
    def n_positive(self) -> np.ndarray:
        """float64 [n_concepts]: positions of each concept."""
        return np.asarray(self.positives.sum(0)).ravel().astype(float)

    @cached_property
    def fold_sums(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Per fold: sums of log codes inside concepts [K, C, F], over all [K, F], of squares [K, F], positives
        [K, C] and positions [K]."""
        value = np.log1p(self.codes.data)
        inside, total, square, positives, size = [], [], [], [], []
        row_fold = np.repeat(self.fold_of, np.diff(self.codes.indptr))
        for k in range(self.n_folds):
            mine = row_fold == k
            weights = np.where(mine, value, 0)
            inside.append(self._meet(weights, self.fold_of == k))
            index = self.codes.indices[mine]
            total.append(np.bincount(index, value[mine], self.codes.shape[1]))
            square.append(np.bincount(index, value[mine] ** 2, self.codes.shape[1]))
            rows = np.flatnonzero(self.fold_of == k)
            positives.append(np.asarray(self.positives[rows].sum(0)).ravel())
            size.append(len(rows))
        return np.array(inside), np.array(total), np.array(square), np.array(positives), np.array(size)

    def _meet(self, data: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
        codes = sp.csr_array(
            (data.astype(np.float32), self.codes.indices, self.codes.indptr), shape=self.codes.shape
        )
        positives = self.positives.astype(np.float32)
        if rows is not None:
            keep = np.flatnonzero(rows)
            codes, positives = codes[keep], positives[keep]
        return np.asarray((positives.T @ codes).todense(), dtype=np.float64)

    def shifted(self, seed: int) -> Problem:
        """The same problem with every sample's codes rotated along the sample, by one fraction per family.

        Density, autocorrelation, co-activation and the resemblance of relatives stay; the link to place is cut.
        """
        rng = np.random.default_rng([seed, 0x5F1F])
        fraction = rng.uniform(0.2, 0.8, self.family.max() + 1)[self.family]
        lengths = self.samples.lengths
        within = np.arange(self.codes.shape[0]) - np.repeat(self.samples.offsets[:-1], lengths)
        step = np.maximum(1, np.round(fraction * lengths)).astype(np.int64)
        source = np.repeat(self.samples.offsets[:-1], lengths) + (
            within + np.repeat(step, lengths)
        ) % np.repeat(lengths, lengths)
        return Problem(
            sp.csr_array(self.codes[source]),
            self.samples,
            self.annotations,
            self.names,
            self.family,
            self.fold,
            self.n_folds,
            self.seed,
        )

    def with_codes(self, codes: sp.csr_array) -> Problem:
        """The same samples and concepts read by other features."""
        return Problem(
            sp.csr_array(codes),
            self.samples,
            self.annotations,
            self.names,
            self.family,
            self.fold,
            self.n_folds,
            self.seed,
        )


def make_problem(
    features: FeatureMatrix, annotations: Annotations, split: Split, *, n_folds: int = 4, seed: int = 0
) -> Problem:
    """Lay out features and annotations; families go to folds of nearly equal numbers of positions."""
    samples = features.samples
    family = np.asarray(split.family, np.int64)
    size = np.bincount(family, weights=samples.lengths, minlength=family.max() + 1 if len(family) else 0)
    rng = np.random.default_rng([seed, 0xF01D])
    order = rng.permutation(len(size))
    order = order[np.argsort(-size[order], kind="stable")]
    n_folds = int(min(n_folds, max(2, (size > 0).sum())))
    fold, filled = np.zeros(len(size), np.int64), np.zeros(n_folds)
    for f in order:
        fold[f] = int(np.argmin(filled))
        filled[fold[f]] += size[f]
    return Problem(
        features.codes, samples, annotations, annotations.position_names, family, fold[family], n_folds, seed
    )
