"""Feature codes: what an SAE says of every position, as one sparse matrix on disk or in memory.

The codes of position ``p`` and feature ``j`` is the activation of the feature there, where the positions of all
samples are laid end to end. Rows and columns are asked for in blocks; nobody has to hold all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from sciinterp.budget import BLOCK_VALUES
from sciinterp.codes.active import is_active
from sciinterp.codes.by_feature import ByFeature, as_csr, by_feature, canonical
from sciinterp.codes.intervals import blocks, positions_in
from sciinterp.codes.peaks import peaks_per_sample
from sciinterp.codes.positions import largest
from sciinterp.codes.saving import sae_beside, save_features
from sciinterp.errors import InputError, ShapeError, require_kinds
from sciinterp.frames import html_card
from sciinterp.provenance import HasOrigin, Origin, origin_of
from sciinterp.samples import Samples
from sciinterp.settings import Plain
from sciinterp.store.codes_reader import CodesReader

if TYPE_CHECKING:
    import anndata
    import pandas as pd

    from sciinterp.codes.peaks import Peaks
    from sciinterp.sae import SAE

# Positions of a block of samples.
_POSITIONS = 1 << 16
# Samples, features: numbers, identifiers, a mask or a slice.
Wanted: TypeAlias = "np.ndarray | Sequence[int] | Sequence[str] | slice | None"


class HeldCodes:
    """Codes in memory, as one CSR matrix [n, width], with the answers of a :class:`CodesReader`, whose codes are in files.

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


class FeatureMatrix(HasOrigin):
    """Codes of all positions of some samples.

    Parameters
    ----------
    codes : scipy.sparse array, float32 [n_positions, n_features], or CodesReader
        Non-negative; rows are the positions of ``samples``, end to end. A store is read when it is asked.
    samples : Samples or pandas.DataFrame
        A table needs the columns ``id`` and ``length``; other columns (``family`` ...) are kept.
    sae : SAE, optional
        The SAE that made the codes; where it is not given and lies beside the codes' folder it is loaded when used.
    origin : Origin, optional
        Model, site, weights and SAE the codes come from; the SAE's own when not given.
    identity : mapping, optional
        Deprecated: its record.

    Attributes
    ----------
    measured : dict
        Of an SAE that was not measured in training: ``fve`` and ``l0`` on ``n_tokens`` of the activations it was used on.

    Raises
    ------
    ShapeError
        When codes are no matrix of real numbers, or rows and positions differ in number.
    InputError
        When a code is negative, NaN or infinite.

    Examples
    --------
    >>> features = FeatureMatrix(sp.csr_array([[0, 1.5], [0, 0], [2, 0]]), Samples(["a", "b"], ["MK", "V"]))
    >>> features.density.round(2).tolist()
    [0.33, 0.33]
    """

    def __init__(
        self,
        codes: npt.ArrayLike | sp.sparray | sp.spmatrix | CodesReader,
        samples: Samples | pd.DataFrame,
        *,
        sae: SAE | None = None,
        origin: Origin | None = None,
        identity: Mapping[str, object] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.samples = Samples.coerce(samples)
        self._source = codes if isinstance(codes, CodesReader) else HeldCodes(codes)
        if self._source.n != self.samples.n_positions:
            raise ShapeError(
                "codes do not fit the samples",
                expected=f"{self.samples.n_positions} rows (positions end to end)",
                got=f"{self._source.n}",
            )
        self.sae, self.folder = sae, folder
        self.measured: Plain = {}
        self.origin = origin or (Origin.from_record(identity) if identity is not None else origin_of(sae))

    @property
    def codes(self) -> sp.csr_array:
        """csr float32 [n_positions, n_features]: all codes at once, read if they are on disk. For small data."""
        return self._all if isinstance(self._source, CodesReader) else self._source.codes

    @cached_property
    def _all(self) -> sp.csr_array:
        return self._source.read_rows(0, self.n_positions)

    @property
    def sae(self) -> SAE | None:
        """The SAE that made the codes, loaded from beside their folder when first used; None where none is known."""
        if self._sae is None and self.folder is not None and isinstance(self._source, CodesReader):
            self._sae = sae_beside(self._source, self.origin)
        return self._sae

    @sae.setter
    def sae(self, sae: SAE | None) -> None:
        self._sae = sae

    @property
    def n_positions(self) -> int:
        """Rows of the matrix."""
        return self._source.n

    @property
    def n_features(self) -> int:
        """Columns of the matrix."""
        return self._source.width

    @property
    def stored_per_feature(self) -> np.ndarray:
        """int64 [n_features]: the codes kept of each feature."""
        return self._source.stored

    @property
    def n_stored(self) -> int:
        """Codes kept of all features."""
        return int(self.stored_per_feature.sum())

    @property
    def largest(self) -> np.ndarray:
        """float32 [n_features]: the largest activation of each feature, its scale; 0 where it is never active."""
        return self._source.largest

    @cached_property
    def active_per_feature(self) -> np.ndarray:
        """int64 [n_features]: positions where each feature is active (:func:`sciinterp.codes.active.is_active`)."""
        count = np.zeros(self.n_features, np.int64)
        for _, part in self._source.by_shard():
            scale = np.repeat(self.largest, np.diff(part.starts))
            before = np.concatenate([[0], np.cumsum(is_active(part.values, scale))])
            count += np.diff(before[part.starts])
        return count

    @property
    def density(self) -> np.ndarray:
        """float64 [n_features]: the fraction of positions where each feature is active."""
        return self.active_per_feature / max(self.n_positions, 1)

    def rows(self, sample: int | str) -> slice:
        """The rows of one sample, by number or identifier."""
        if isinstance(sample, str):
            sample = self.samples.index(sample)
        (number,) = _numbers(sample, len(self.samples), "sample").tolist()
        return slice(int(self.samples.offsets[number]), int(self.samples.offsets[number + 1]))

    def by_sample(self, numbers: np.ndarray | Sequence[int] | int) -> sp.csr_array:
        """csr float32 [positions of these samples, n_features]: the codes of one or some samples, end to end."""
        numbers = _numbers(numbers, len(self.samples), "sample")
        starts, lengths = self.samples.offsets[numbers], self.samples.lengths[numbers]
        if isinstance(self._source, HeldCodes):
            return sp.csr_array(self._source.codes[positions_in(starts, starts + lengths)[1]])
        # Neighbours are read in one piece.
        ends = starts + lengths
        first = np.flatnonzero(np.append(True, starts[1:] != ends[:-1]))[: len(numbers)]
        last = np.append(first[1:] - 1, len(numbers) - 1)[: len(first)]
        parts = [self._source.read_rows(int(starts[a]), int(ends[b])) for a, b in zip(first, last)]
        if not parts:
            return sp.csr_array((0, self.n_features), dtype=np.float32)
        return parts[0] if len(parts) == 1 else sp.csr_array(sp.vstack(parts, format="csr"))

    def by_feature(self, lo: int = 0, hi: int | None = None) -> ByFeature:
        """The codes of features ``lo`` to ``hi`` (half-open), laid out feature by feature."""
        hi = self.n_features if hi is None else hi
        if not 0 <= lo <= hi <= self.n_features:
            raise InputError(
                "there are no such features", where=f"{lo} to {hi}", expected=f"0 to {self.n_features}"
            )
        return self._source.read_features(lo, hi)

    def feature_blocks(self, max_values: int = BLOCK_VALUES) -> Iterator[tuple[int, int]]:
        """Ranges ``(lo, hi)`` of features that hold at most ``max_values`` codes each, one feature at least."""
        return blocks(np.cumsum(self.stored_per_feature), max_values)

    def sample_blocks(self, max_positions: int = _POSITIONS) -> Iterator[tuple[int, int]]:
        """Ranges ``(lo, hi)`` of samples that hold at most ``max_positions`` positions each, one sample at least."""
        return blocks(self.samples.offsets[1:], max_positions)

    def number(self, feature: object) -> int:
        """The number of a feature, which a table may hold as a float; an error where there is none of it."""
        try:
            number = int(feature) if feature == int(feature) else -1  # type: ignore[call-overload]
        except (TypeError, ValueError, OverflowError):
            number = -1
        if isinstance(feature, (str, bool)) or not 0 <= number < self.n_features:
            raise InputError(
                "there is no such feature", where=f"feature {feature}", expected=f"0 to {self.n_features - 1}"
            )
        return number

    def column(self, feature: int) -> np.ndarray:
        """float32 [n_positions]: one feature's activation, dense."""
        feature = self.number(feature)
        rows, values = self.by_feature(feature, feature + 1).column(0)
        dense = np.zeros(self.n_positions, np.float32)
        dense[rows] = values
        return dense

    def max_per_sample(self) -> sp.csr_array:
        """csr float32 [n_samples, n_features]: the largest activation in each sample."""
        empty = sp.csr_array((0, self.n_features), dtype=np.float32)
        return sp.csr_array(sp.vstack([empty, *self.max_of_samples()], format="csr"))

    def max_of_samples(self) -> Iterator[sp.csr_array]:
        """The rows of :meth:`max_per_sample`, some samples at a time."""
        for lo, hi in self.sample_blocks():
            group = np.repeat(np.arange(hi - lo), self.samples.lengths[lo:hi])
            yield largest(self.by_sample(np.arange(lo, hi)), group, hi - lo)

    def peaks(self) -> Peaks:
        """Where each feature is most active in each sample: feature, sample, position and value of the peak."""
        return peaks_per_sample(self)

    def subset(self, *, samples: Wanted = None, features: Wanted = None) -> FeatureMatrix:
        """Some samples, some features, in the order given, in memory.

        Parameters
        ----------
        samples : numbers, identifiers, mask or slice, optional
        features : numbers, mask or slice, optional
            They are numbered anew, and have no ``sae``.

        Examples
        --------
        >>> features = FeatureMatrix(sp.csr_array([[0, 1.5], [0, 0], [2, 0]]), Samples(["a", "b"], ["MK", "V"]))
        >>> features.subset(samples=["b"], features=[0]).codes.toarray().tolist()
        [[2.0]]
        """
        kept = self.samples
        if samples is not None:
            if isinstance(samples, str):
                samples = [samples]
            if not isinstance(samples, slice) and any(isinstance(x, str) for x in samples):
                samples = [self.samples.index(x) for x in samples]
            samples = _numbers(samples, len(self.samples), "sample")
            kept = self.samples.subset(samples)
        if features is None:
            every = np.arange(len(self.samples))
            codes = self.by_sample(every if samples is None else samples)
            found = FeatureMatrix(codes, kept, sae=self._sae, origin=self.origin)
            found.measured = self.measured
            return found
        columns = _numbers(features, self.n_features, "feature")
        parts = [self.by_feature(j, j + 1).to_csc() for j in columns.tolist()]
        codes = sp.csr_array(
            sp.hstack([sp.csc_array((self.n_positions, 0), dtype=np.float32), *parts], format="csr")
        )
        if samples is not None:
            codes = FeatureMatrix(codes, self.samples).by_sample(samples)
        return FeatureMatrix(codes, kept, origin=self.origin)

    def to_frame(self) -> pd.DataFrame:
        """One row a code: ``sample``, ``position`` (counted from 0), ``feature``, ``activation``; all are read.

        Examples
        --------
        >>> features = FeatureMatrix(sp.csr_array([[0, 1.5], [0, 0], [2, 0]]), Samples(["a", "b"], ["MK", "V"]))
        >>> features.to_frame().to_numpy().tolist()
        [['a', 0, 1, 1.5], ['b', 0, 0, 2.0]]
        """
        import pandas as pd

        codes = self._source.read_rows(0, self.n_positions).tocoo()
        number = np.searchsorted(self.samples.offsets, codes.coords[0], side="right") - 1
        return pd.DataFrame(
            {
                "sample": np.array(self.samples.ids, object)[number],
                "position": codes.coords[0] - self.samples.offsets[number],
                "feature": codes.coords[1],
                "activation": codes.data,
            }
        )

    def to_anndata(self) -> anndata.AnnData:
        """Samples x features for Scanpy: ``X`` is the largest activation in each sample, ``obs`` the sample columns."""
        from sciinterp.codes.exports import to_anndata

        return to_anndata(self)

    def save(self, folder: str | Path) -> None:
        """Write codes, samples and origin as a store; :func:`load_features` reads them back."""
        require_kinds(folder=(folder, Path))
        save_features(self, folder)

    def __repr__(self) -> str:
        l0 = self.n_stored / max(self.n_positions, 1)
        return f"FeatureMatrix({self.n_positions:,} positions x {self.n_features:,} features, {l0:.1f} codes a position)"

    def _repr_html_(self) -> str:
        density = self.density
        alive = density[density > 0]
        return html_card(
            repr(self),
            {
                "model": self.origin.model or None,
                "site": self.origin.site or None,
                "never active": int((density == 0).sum()),
                "median density": float(np.median(alive)) if len(alive) else None,
                "folder": self.folder,
            },
        )


def _numbers(wanted: Wanted | int, n: int, what: str) -> np.ndarray:
    """The numbers that a mask, a slice or numbers stand for."""
    if isinstance(wanted, slice):
        return np.arange(n)[wanted]
    found = np.atleast_1d(np.asarray(wanted))
    if found.dtype == bool and found.shape == (n,):
        return np.flatnonzero(found)
    if found.ndim != 1 or (
        found.size and (found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= n)
    ):
        raise InputError(
            f"there is no such {what}",
            expected=f"numbers 0 to {n - 1}, or a mask of {n}",
            got=repr(wanted)[:60],
        )
    return found.astype(np.int64)
