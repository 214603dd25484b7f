"""Codes read from a store: rows of positions or columns of features, each without touching the rest.

What is read is checked first, since a file may be whole and still not hold codes: pointers that ascend and stay
inside, indices that ascend within a row, values that are finite and not negative.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float32, Int32, Int64

from sciinterp.errors import MismatchError, ShapeError, StoreError
from sciinterp.samples import Samples
from sciinterp.settings import Plain
from sciinterp.store.arrays import load_arrays
from sciinterp.store.atomic import read_json
from sciinterp.store.layout import OLD_CODES, OLD_HEAD, SPARSE, shard_name
from sciinterp.store.reader import Shards
from sciinterp.store.samples_file import load_samples

# A file of version 1 says how many features there are and holds nothing that proves it.
MOST_FEATURES = 1 << 24


@dataclass(frozen=True, eq=False)
class ByFeature:
    """Codes laid out feature by feature, rows ascending within each.

    Attributes
    ----------
    values : float32 [n_stored]
    rows : int32 [n_stored]
        Position of each value.
    starts : int64 [n_features + 1]
        Values of feature ``j`` are ``starts[j]:starts[j + 1]``.
    n_positions : int
    """

    values: Float32[np.ndarray, " n_stored"]
    rows: Int32[np.ndarray, " n_stored"]
    starts: Int64[np.ndarray, " n_features_plus_1"]
    n_positions: int

    @property
    def n_features(self) -> int:
        """Number of features (columns)."""
        return len(self.starts) - 1

    @property
    def largest(self) -> np.ndarray:
        """float32 [n_features]: the largest value of each feature, its scale; 0 where it has none."""
        out, alive = np.zeros(self.n_features, np.float32), np.flatnonzero(np.diff(self.starts))
        if len(alive):
            out[alive] = np.maximum.reduceat(self.values, self.starts[alive])
        return out

    def keep(self, kept: np.ndarray) -> ByFeature:
        """The same features with some of their values: bool [n_stored]."""
        before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
        return ByFeature(self.values[kept], self.rows[kept], before[self.starts], self.n_positions)

    def block(self, lo: int, hi: int) -> ByFeature:
        """Features ``lo`` to ``hi`` (views)."""
        part = slice(int(self.starts[lo]), int(self.starts[hi]))
        return ByFeature(
            self.values[part], self.rows[part], self.starts[lo : hi + 1] - self.starts[lo], self.n_positions
        )

    def at(self, rows: np.ndarray) -> ByFeature:
        """The same features on some positions, ascending, which are numbered anew in that order."""
        number = np.full(self.n_positions, -1, np.int32)
        number[rows] = np.arange(len(rows), dtype=np.int32)
        new = number[self.rows]
        kept = np.flatnonzero(new >= 0)
        starts = np.searchsorted(kept, self.starts).astype(np.int64, copy=False)
        return ByFeature(self.values[kept], new[kept], starts, len(rows))

    def to_csc(self) -> sp.csc_array:
        """The same numbers as a SciPy array [n_positions, n_features]."""
        return sp.csc_array((self.values, self.rows, self.starts), shape=(self.n_positions, self.n_features))

    def column(self, feature: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and values stored for one feature (views)."""
        part = slice(self.starts[feature], self.starts[feature + 1])
        return self.rows[part], self.values[part]


def codes_fault(pointers: np.ndarray, indices: np.ndarray, values: np.ndarray, bound: int) -> str:
    """What is wrong with compressed codes whose indices stay below ``bound``; empty where nothing is.

    Examples
    --------
    >>> one, two = np.array([0, 2]), np.array([3, 1])
    >>> codes_fault(one, two, np.ones(2, np.float32), 4), codes_fault(one, two[::-1], np.ones(2, np.float32), 4)
    ('indices that do not ascend', '')
    """
    n = len(values)
    if not len(pointers) or pointers[0] != 0 or pointers[-1] != n or (np.diff(pointers) < 0).any():
        return f"pointers that do not ascend from 0 to {n}"
    if not n:
        return ""
    if len(indices) != n or indices.min() < 0 or indices.max() >= bound:
        return f"indices outside 0 to {bound - 1}"
    within = np.diff(indices) > 0
    ends = pointers[(pointers > 0) & (pointers < n)]
    within[ends - 1] = True
    if not within.all():
        return "indices that do not ascend"
    if not (values.min() >= 0 and np.isfinite(values.max())):
        return "values that are negative or not finite"
    return ""


# The arrays of a shard, in either order.
_BY_ROW = ("indptr", "indices", "values")
_BY_FEATURE = ("feature_starts", "feature_rows", "feature_values")
# Codes of a store that are kept in memory by feature: 64 MB.
KEPT = 1 << 23
# A reader of less than this part of the features reads a few; a block that ranks deal among themselves is more.
_FEW = 32


class CodesReader(Shards):
    """A finished store of codes: sparse rows, one a position.

    Attributes
    ----------
    stored : int64 [n_features]
        Codes of each feature.
    largest : float32 [n_features]
        The largest of them, 0 where there is none.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__(folder, SPARSE)
        self.stored = self.index_array("stored", self.width)
        self.largest = self.index_array("largest", self.width, "float32")
        self._kept: ByFeature | None = None

    def read_rows(self, lo: int, hi: int) -> sp.csr_array:
        """csr float32 [hi - lo, n_features]: the codes of the positions ``[lo, hi)``."""
        parts = []
        for number, a, b in self.pieces(lo, hi):
            rows = int(self.bounds[number + 1] - self.bounds[number])
            indptr, indices, values = self._read(number, _BY_ROW, rows, a, b, self.width)
            parts.append(sp.csr_array((values, indices, indptr), shape=(b - a, self.width)))
        if not parts:
            return sp.csr_array((hi - lo, self.width), dtype=np.float32)
        return parts[0] if len(parts) == 1 else sp.csr_array(sp.vstack(parts, format="csr"))

    def read_features(self, lo: int, hi: int) -> ByFeature:
        """The codes of the features ``[lo, hi)``, one after the other, positions ascending within each.

        A store of at most :data:`KEPT` codes is kept once more than a few features were asked for: its readers come back
        many times, and what they get is shared, so nobody writes into it.
        """
        kept = self._kept
        if kept is None:
            if (hi - lo) * _FEW < self.width or int(self.stored.sum()) > KEPT:
                return self._gathered(lo, hi)
            kept = self._kept = self._gathered(0, self.width)
        return kept.block(lo, hi)

    def _gathered(self, lo: int, hi: int) -> ByFeature:
        """As :meth:`read_features`, from the files."""
        if self.n >= 1 << 31:
            raise ShapeError(
                "too many positions for one layout by feature", expected="fewer than 2**31", got=f"{self.n:,}"
            )
        pointers = np.concatenate([[0], np.cumsum(self.stored[lo:hi])]).astype(np.int64)
        total = sum(self._held(number) for number in range(len(self.bounds) - 1))
        if (np.diff(pointers) < 0).any() or pointers[-1] > total:
            raise self.damaged("index.safetensors", "counts of codes that the shards do not hold")
        rows = np.empty(pointers[-1], np.int32)
        values = np.empty(pointers[-1], np.float32)
        filled = pointers[:-1].copy()
        for number, found in self.by_shard(lo, hi):
            count = np.diff(found.starts)
            if (filled + count > pointers[1:]).any():
                raise self.damaged(shard_name(number), "more codes of a feature than the index counts")
            place = np.repeat(filled - found.starts[:-1], count) + np.arange(len(found.values))
            rows[place] = found.rows + int(self.bounds[number])
            values[place] = found.values
            filled += count
        if not np.array_equal(filled, pointers[1:]):
            raise self.damaged("index.safetensors", "more codes of a feature than the shards hold")
        return ByFeature(values, rows, pointers, self.n)

    def by_shard(self, lo: int = 0, hi: int | None = None) -> Iterator[tuple[int, ByFeature]]:
        """The codes of some features, shard by shard; positions are counted from the first of the shard."""
        hi = self.width if hi is None else hi
        for number in range(len(self.bounds) - 1):
            n = int(self.bounds[number + 1] - self.bounds[number])
            starts, rows, values = self._read(number, _BY_FEATURE, self.width, lo, hi, n)
            yield number, ByFeature(values, rows, starts, n)

    def require_same_orders(self, number: int) -> None:
        """Raise unless a shard holds the same codes by position and by feature."""
        lo, hi = int(self.bounds[number]), int(self.bounds[number + 1])
        turned = self.read_rows(lo, hi).tocsc()
        found = self._read(number, _BY_FEATURE, self.width, 0, self.width, hi - lo)
        pairs = zip(found, (turned.indptr, turned.indices, turned.data))
        if not all(np.array_equal(one, other) for one, other in pairs):
            raise self.damaged(shard_name(number), "other codes by feature than by position")

    def _held(self, number: int) -> int:
        """How many codes a shard holds; the header has to have pointers to them for every row."""
        entry = self.entries(number).get("values")
        rows = int(self.bounds[number + 1] - self.bounds[number])
        self.part(number, "indptr", (rows + 1,), "int64", 0, 0)
        return entry.shape[0] if entry is not None and len(entry.shape) == 1 else 0

    def _read(
        self, number: int, names: tuple[str, str, str], n: int, lo: int, hi: int, bound: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pointers, indices and values of the entries ``[lo, hi)`` of the ``n`` of one order of a shard, checked."""
        held = (self._held(number),)
        pointers = self.part(number, names[0], (n + 1,), "int64", lo, hi + 1)
        if pointers[0] < 0 or pointers[-1] > held[0] or (np.diff(pointers) < 0).any():
            raise self.damaged(shard_name(number), f"{names[0]} outside its {held[0]} values or descending")
        first, last = int(pointers[0]), int(pointers[-1])
        indices = self.part(number, names[1], held, "int32", first, last)
        values = self.part(number, names[2], held, "float32", first, last)
        fault = codes_fault(pointers - first, indices, values, bound)
        if fault:
            raise self.damaged(shard_name(number), f"{fault} ({names[1]}, {names[2]})")
        return pointers - first, indices, values


def read_old_codes(folder: Path) -> tuple[sp.csr_array, Samples, Plain]:
    """Codes, samples and identity of a folder of version 1.

    Raises
    ------
    StoreError
        When the folder is incomplete, damaged or of another version.
    """
    where = f"folder {str(folder)!r}"
    head = read_json(folder / OLD_HEAD)
    kinds = {"version": int, "sha256": str, "identity": dict, "samples": str}
    if not isinstance(head, dict) or any(type(head.get(key)) is not kind for key, kind in kinds.items()):
        raise StoreError("the head of the codes is damaged", where=f"file {str(folder / OLD_HEAD)!r}")
    if head["version"] != 1:
        raise StoreError(
            "codes of an unknown version",
            where=where,
            expected="1",
            got=str(head["version"]),
            do="Update sciinterp.",
        )
    arrays = load_arrays(folder / OLD_CODES, sha256=head["sha256"])
    kinds = {"data": "float32", "indices": "int32", "indptr": "int64", "shape": "int64"}
    if any(
        name not in arrays or arrays[name].dtype != kind or arrays[name].ndim != 1
        for name, kind in kinds.items()
    ):
        fault = f"not the arrays {', '.join(kinds)}"
    elif (
        len(arrays["shape"]) != 2
        or arrays["shape"][0] + 1 != len(arrays["indptr"])
        or not 0 <= arrays["shape"][1] <= MOST_FEATURES
    ):
        fault = "a shape that does not fit the pointers"
    else:
        fault = codes_fault(arrays["indptr"], arrays["indices"], arrays["data"], int(arrays["shape"][1]))
    if fault:
        raise StoreError("the codes are damaged", where=f"file {str(folder / OLD_CODES)!r}", got=fault)
    samples = load_samples(folder)
    if samples.digest != head["samples"]:
        raise MismatchError("the samples are not those of the codes", where=where)
    parts = (arrays["data"], arrays["indices"], arrays["indptr"])
    return sp.csr_array(parts, shape=tuple(arrays["shape"].tolist())), samples, head["identity"]
