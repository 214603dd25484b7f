"""What every rule of discovery looks at: codes, concepts and families on one axis of positions.

A :class:`Problem` lays the samples end to end, numbers the concepts, divides the families into folds (the unit
of cross-fitting: what is said of a family was never learned from it) and holds the sums over positions that
the rules share. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.annotations import Annotations
from sciinterp.budget import BLOCK_VALUES
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.active import is_active, only_active
from sciinterp.codes.by_feature import ByFeature
from sciinterp.discovery.plain_readings import backbone_classes
from sciinterp.discovery.surroundings import Surroundings, lay_out
from sciinterp.samples import Samples, Split

BROAD = 0.1  # share of all positions from which a concept is a label of positions, not a thing to be found
# What a problem holds of samples and concepts alone: shared with its decoys.
OF_CONCEPTS = ("sample_of", "fold_of", "positives", "instances", "covered", "letters", "alphabet", "n_positive",
               "co_positive", "around")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Problem:
    """Features and annotations of the same samples, with families in folds.

    Attributes
    ----------
    features : FeatureMatrix
        Read some features at a time, where they are active; nothing here holds all codes.
    names : list of str
        Concepts placed on positions.
    family : int64 [n_samples]
    fold : int64 [n_samples]
    moved : int32 [n_positions], optional
        Where the codes of each position are put instead (:meth:`shifted`).
    """

    features: FeatureMatrix
    annotations: Annotations
    names: list[str]
    family: np.ndarray
    fold: np.ndarray
    n_folds: int
    moved: np.ndarray | None = None

    @property
    def samples(self) -> Samples:
        """The samples, end to end."""
        return self.features.samples

    @property
    def n_positions(self) -> int:
        """Positions of all samples."""
        return self.features.n_positions

    @property
    def n_features(self) -> int:
        """Features of the dictionary."""
        return self.features.n_features

    def blocks(self) -> Iterator[tuple[int, ByFeature]]:
        """All codes at which a feature is active, some features at a time: the first feature and their codes."""
        for lo, hi in self.features.feature_blocks(BLOCK_VALUES):
            yield lo, self._placed(only_active(self.features.by_feature(lo, hi)))

    def columns(self, features: np.ndarray | Sequence[int]) -> sp.csc_array:
        """csc float32 [n_positions, n]: the codes at which some features are active, in their order."""
        wanted = np.asarray(features, np.int64)
        read: dict[int, ByFeature] = {}
        for lo, hi in self.features.feature_blocks(BLOCK_VALUES) if len(wanted) else ():
            mine = np.unique(wanted[(wanted >= lo) & (wanted < hi)])
            if 4 * len(mine) > hi - lo:  # a large part of a block is read at once
                block = self.features.by_feature(lo, hi)
                read |= {int(f): only_active(block.block(f - lo, f - lo + 1)) for f in mine}
            else:
                read |= {int(f): only_active(self.features.by_feature(f, f + 1)) for f in mine.tolist()}
        parts = [read[int(f)] for f in wanted]
        none = np.zeros(0)
        codes = ByFeature(
            np.concatenate([none.astype(np.float32), *(p.values for p in parts)]),
            np.concatenate([none.astype(np.int32), *(p.rows for p in parts)]),
            np.cumsum([0, *(len(p.values) for p in parts)]).astype(np.int64),
            self.n_positions,
        )
        return self._placed(codes).to_csc()

    def rows(self, features: np.ndarray | Sequence[int]) -> Iterator[tuple[slice, sp.csr_array]]:
        """The same codes some samples at a time, for what adds up over positions: which, and csr float32 [n, n_features]."""
        wanted, offsets = np.asarray(features, np.int64), self.samples.offsets
        scale = self.features.largest[wanted]
        for lo, hi in self.features.sample_blocks():
            part = slice(int(offsets[lo]), int(offsets[hi]))
            codes = sp.csr_array(self.features.by_sample(np.arange(lo, hi))[:, wanted])
            codes.data[~is_active(codes.data, scale[codes.indices])] = 0
            codes.eliminate_zeros()
            if self.moved is not None:  # along each sample, so none leaves its block
                back = np.argsort(self.moved[part])
                codes = sp.csr_array(codes[back])
            yield part, codes

    def _placed(self, codes: ByFeature) -> ByFeature:
        """The same codes where this problem puts them."""
        if self.moved is None:
            return codes
        rows = self.moved[codes.rows]
        order = np.lexsort((rows, np.repeat(np.arange(codes.n_features), np.diff(codes.starts))))
        return ByFeature(codes.values[order], rows[order], codes.starts, codes.n_positions)

    @cached_property
    def sample_of(self) -> np.ndarray:
        """int32 [n_positions]: sample of each position."""
        return np.repeat(np.arange(len(self.samples), dtype=np.int32), self.samples.lengths)

    @cached_property
    def fold_of(self) -> np.ndarray:
        """int32 [n_positions]: fold of each position."""
        return self.fold.astype(np.int32)[self.sample_of]

    @cached_property
    def positives(self) -> sp.csr_array:
        """csr bool [n_positions, n_concepts]."""
        return self.annotations.positives(self.samples, self.names)

    @cached_property
    def instances(self) -> pd.DataFrame:
        """Instances on the concatenated axis, sorted by start."""
        return self.annotations.instances(self.samples, self.names).sort_values("start", ignore_index=True)

    def instances_of(self, concept: int) -> pd.DataFrame:
        """Those of one concept, given by its number."""
        return self.instances[self.instances["concept"] == concept]

    @cached_property
    def covered(self) -> np.ndarray:
        """bool [n_samples, n_concepts]: where absence says something."""
        return self.annotations.covered(self.samples, self.names)

    @cached_property
    def letters(self) -> np.ndarray | None:
        """uint8 [n_positions]: the letters of sequences as numbers, or None where samples are not sequences."""
        texts = [text for text in self.samples.letters if text is not None]
        if len(texts) < len(self.samples):
            return None
        raw = np.frombuffer("".join(texts).upper().encode("ascii", "replace"), np.uint8)
        alphabet, number = np.unique(raw, return_inverse=True)
        return number.astype(np.uint8) if len(alphabet) <= 64 else None

    @property
    def text(self) -> np.ndarray:
        """The letters, for what needs them: asked for only where there are letters."""
        assert self.letters is not None
        return self.letters

    @cached_property
    def alphabet(self) -> list[str]:
        """The letters that :attr:`letters` numbers."""
        raw = "".join(map(str, self.samples.letters)).upper().encode("ascii", "replace")
        return [chr(c) for c in sorted(set(raw))]

    @property
    def conservation(self) -> np.ndarray:
        """float64 [n_positions]: share of the other family members that hold the three letters around a position."""
        base = len(self.alphabet)
        padded = np.pad(self.text, 1, mode="edge").astype(np.int64)
        word = (padded[:-2] * base + padded[1:-1]) * base + padded[2:]
        family = self.family[self.sample_of]
        # A sample that repeats a word counts once: pairs of sample and word first, then of family and word.
        pairs = np.unique(self.sample_of.astype(np.int64) * base**3 + word)
        key, count = np.unique(self.family[pairs // base**3] * base**3 + pairs % base**3, return_counts=True)
        holders = count[np.searchsorted(key, family * base**3 + word)]
        return (holders - 1) / np.maximum(np.bincount(self.family)[family] - 1, 1)

    @cached_property
    def around(self) -> Surroundings:
        """What stands around positions, for readers of peaks; asked for only where there are letters."""
        broad = np.flatnonzero(self.n_positive >= BROAD * self.n_positions)
        held = np.asarray(self.positives[:, broad].todense(), bool) if len(broad) else np.zeros((0, 0), bool)
        offsets, names = self.samples.offsets, [self.names[c] for c in broad]
        backbone = backbone_classes(self.samples)
        return lay_out(self.text, self.alphabet, offsets, self.conservation, held, names, backbone)

    @cached_property
    def _met(self) -> tuple[np.ndarray, np.ndarray]:
        """float64 [n_concepts, n_features] and [n_features]: active positions in a concept, and of each feature."""
        overlap, active = np.zeros((len(self.names), self.n_features)), np.zeros(self.n_features)
        member = sp.csc_array(self.positives.T.astype(np.float32))
        for lo, block in self.blocks():
            csc = block.to_csc()
            csc = sp.csc_array((np.ones(csc.nnz, np.float32), csc.indices, csc.indptr), shape=csc.shape)
            part = slice(lo, lo + block.n_features)
            overlap[:, part] = (member @ csc).todense()
            active[part] = np.bincount(_feature_of(block), csc.data, block.n_features)
        return overlap, active

    @property
    def overlap(self) -> np.ndarray:
        """float64 [n_concepts, n_features]: positions where a concept and an active feature meet."""
        return self._met[0]

    @property
    def active(self) -> np.ndarray:
        """float64 [n_features]: positions where each feature is active."""
        return self._met[1]

    @cached_property
    def f1(self) -> np.ndarray:
        """float64 [n_concepts, n_features]: of being active as a sign of each concept, over all positions."""
        return 2 * self.overlap / np.maximum(self.n_positive[:, None] + self.active[None], 1)

    def located(self, start: np.ndarray, end: np.ndarray, concept: str) -> pd.DataFrame:
        """Intervals of the concatenated axis as rows ``sample start end concept``, counted within samples."""
        sample = self.sample_of[start]
        base = self.samples.offsets[sample]
        names = np.array(self.samples.ids, dtype=object)[sample]
        return pd.DataFrame({"sample": names, "start": start - base, "end": end - base, "concept": concept})

    @cached_property
    def n_positive(self) -> np.ndarray:
        """float64 [n_concepts]: positions of each concept."""
        return np.asarray(self.positives.sum(0)).ravel().astype(float)

    @cached_property
    def co_positive(self) -> np.ndarray:
        """int64 [n_concepts, n_concepts]: positions of both concepts."""
        member = self.positives.astype(np.int32)
        return np.asarray((member.T @ member).todense()).astype(np.int64)

    @cached_property
    def fold_sums(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Per fold: sums of log codes inside concepts float32 [K, C, F], over all [K, F], of squares [K, F], positives
        [K, C] and positions [K]."""
        n_folds, n_concepts = self.n_folds, len(self.names)
        placed = self.positives.tocoo()
        member = sp.coo_array(
            (
                np.ones(placed.nnz, np.float32),
                (self.fold_of[placed.coords[0]] * n_concepts + placed.coords[1], placed.coords[0]),
            ),
            shape=(n_folds * n_concepts, self.n_positions),
        ).tocsc()
        inside = np.zeros((n_folds, n_concepts, self.n_features), np.float32)
        total, square = np.zeros((2, n_folds, self.n_features))
        for lo, block in self.blocks():
            value, n = np.log1p(block.values), block.n_features
            csc = sp.csc_array((value, block.rows, block.starts), shape=(self.n_positions, n))
            part = slice(lo, lo + n)
            inside[:, :, part] = np.asarray((member @ csc).todense()).reshape(n_folds, n_concepts, n)
            key = self.fold_of[block.rows] * n + _feature_of(block)
            total[:, part] = np.bincount(key, value, n_folds * n).reshape(n_folds, n)
            square[:, part] = np.bincount(key, value**2, n_folds * n).reshape(n_folds, n)
        positives = np.bincount(member.indices, minlength=n_folds * n_concepts).reshape(n_folds, n_concepts)
        return inside, total, square, positives, np.bincount(self.fold_of, minlength=n_folds)

    def shifted(self, number: int) -> Problem:
        """The same problem with every sample's codes rotated along the sample, by one fraction per family.

        Density, autocorrelation, co-activation and the resemblance of relatives stay; the link to place is cut.
        """
        rng = np.random.default_rng([number, 0x5F1F])
        fraction = rng.uniform(0.2, 0.8, self.family.max() + 1)[self.family]
        lengths, first = self.samples.lengths, self.samples.offsets[:-1]
        step = np.maximum(1, np.round(fraction * lengths)).astype(np.int64)
        within = np.arange(self.n_positions) - np.repeat(first + step, lengths)
        moved = np.repeat(first, lengths) + within % np.repeat(lengths, lengths)
        return self._with(self.features, moved.astype(np.int32))

    def with_features(self, features: FeatureMatrix) -> Problem:
        """The same samples and concepts read by other features."""
        return self._with(features, None)

    def _with(self, features: FeatureMatrix, moved: np.ndarray | None) -> Problem:
        """Other codes, and what does not depend on codes kept."""
        other, known = replace(self, features=features, moved=moved), vars(self)
        vars(other).update({name: known[name] for name in OF_CONCEPTS if name in known})
        return other


def _feature_of(block: ByFeature) -> np.ndarray:
    """int64 [n_stored]: the feature of each code of a block, from 0."""
    return np.repeat(np.arange(block.n_features), np.diff(block.starts))


def make_problem(
    features: FeatureMatrix, annotations: Annotations, split: Split, *, n_folds: int = 4
) -> Problem:
    """Lay out features and annotations; families go to folds of nearly equal numbers of positions, always to the same."""
    samples = features.samples
    split.require_of(samples)
    family = np.asarray(split.family, np.int64)
    size = np.bincount(family, weights=samples.lengths, minlength=family.max() + 1 if len(family) else 0)
    order = np.random.default_rng([0, 0xF01D]).permutation(len(size))
    order = order[np.argsort(-size[order], kind="stable")]
    n_folds = int(min(n_folds, max(2, (size > 0).sum())))
    fold, filled = np.zeros(len(size), np.int64), np.zeros(n_folds)
    for f in order:
        fold[f] = int(np.argmin(filled))
        filled[fold[f]] += size[f]
    return Problem(features, annotations, annotations.position_names, family, fold[family], n_folds)
