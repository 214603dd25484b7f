"""Codes in memory, with the questions that a store on disk answers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from sciinterp.codes.by_feature import as_csr, by_feature, canonical
from sciinterp.errors import InputError
from sciinterp.store.codes_reader import ByFeature


class HeldCodes:
    """One CSR matrix [n, width], as :class:`sciinterp.store.codes_reader.CodesReader` is many in files.

    Raises
    ------
    ShapeError
        Not a matrix of real numbers.
    InputError
        When a code is negative, NaN or infinite.
    """

    def __init__(self, codes: npt.ArrayLike | sp.sparray | sp.spmatrix) -> None:
        held = canonical(as_csr(codes, "codes").astype(np.float32, copy=False))
        if held.nnz and not (np.isfinite(held.data).all() and held.data.min() >= 0):
            raise InputError(
                "codes must be finite and non-negative",
                expected="values >= 0",
                got=f"a minimum of {held.data.min()}",
            )
        self.codes = held
        self.n, self.width = held.shape

    @cached_property
    def stored(self) -> np.ndarray:
        """int64 [n_features]: codes kept of each feature."""
        return np.bincount(self.codes.indices, minlength=self.width)

    @cached_property
    def largest(self) -> np.ndarray:
        """float32 [n_features]: the largest code of each feature, 0 where there is none."""
        out = np.zeros(self.width, np.float32)
        np.maximum.at(out, self.codes.indices, self.codes.data)
        return out

    @cached_property
    def _turned(self) -> ByFeature:
        return by_feature(self.codes)

    def read_rows(self, lo: int, hi: int) -> sp.csr_array:
        """csr float32 [hi - lo, n_features]: the codes of the positions ``[lo, hi)``."""
        return self.codes if (lo, hi) == (0, self.n) else self.codes[lo:hi]

    def read_features(self, lo: int, hi: int) -> ByFeature:
        """The codes of the features ``[lo, hi)``, one after the other, positions ascending within each (views)."""
        return self._turned.block(lo, hi)

    def by_shard(self) -> Iterator[tuple[int, ByFeature]]:
        """All codes by feature, as the one shard they are."""
        yield 0, self._turned
