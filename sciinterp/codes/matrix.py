"""Feature codes: what an SAE says of every position, as one sparse matrix.

``codes[p, j]`` is the activation of feature ``j`` at position ``p``, where the positions of all samples are
laid end to end. Where one token spans several positions each of them gets its code; where several tokens
cover one position the largest wins.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from sciinterp.codes.by_feature import ByFeature, by_feature
from sciinterp.codes.intervals import positions_in
from sciinterp.errors import InputError, ShapeError, StoreError
from sciinterp.provenance import UNKNOWN, HasOrigin, Origin, differing, origin_of
from sciinterp.samples import Samples

if TYPE_CHECKING:
    import pandas as pd

    from sciinterp.activations import Activations
    from sciinterp.sae import SAE

BATCH_TOKENS = 8192
# Codes of a block of features held at once: about 130 MB.
BLOCK_VALUES = 1 << 24

log = logging.getLogger(__name__)


class FeatureMatrix(HasOrigin):
    """Codes of all positions of some samples.

    Parameters
    ----------
    codes : scipy.sparse array, float32 [n_positions, n_features]
        Non-negative; rows are the positions of ``samples``, end to end.
    samples : Samples or pandas.DataFrame
        A table needs the columns ``id`` and ``length``; other columns (``family`` ...) are kept.
    sae : SAE, optional
        The SAE that made the codes.
    origin : Origin, optional
        Model, site, weights and SAE the codes come from; the SAE's own when not given.
    identity : mapping, optional
        Deprecated: its record.

    Raises
    ------
    ShapeError
        When rows and positions differ in number.
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
        codes: Any,
        samples: Samples | pd.DataFrame,
        *,
        sae: SAE | None = None,
        origin: Origin | None = None,
        identity: Mapping[str, Any] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.samples = Samples.coerce(samples)
        self.codes = sp.csr_array(codes, dtype=np.float32)
        if not self.codes.has_sorted_indices:
            self.codes = self.codes.sorted_indices()
        if self.codes.shape[0] != self.samples.n_positions:
            raise ShapeError(
                "codes do not fit the samples",
                expected=f"{self.samples.n_positions} rows (positions end to end)",
                got=f"{self.codes.shape[0]}",
            )
        if self.codes.nnz and not (np.isfinite(self.codes.data).all() and self.codes.data.min() >= 0):
            raise InputError(
                "codes must be finite and non-negative",
                expected="values >= 0",
                got=f"a minimum of {self.codes.data.min()}",
            )
        self._by_feature: ByFeature | None = None
        self.sae, self.folder = sae, folder
        self.origin = origin or (Origin.from_record(identity) if identity is not None else origin_of(sae))

    @property
    def n_positions(self) -> int:
        """Rows of the matrix."""
        return self.codes.shape[0]

    @property
    def n_features(self) -> int:
        """Columns of the matrix."""
        return self.codes.shape[1]

    @property
    def density(self) -> np.ndarray:
        """float64 [n_features]: the fraction of positions where each feature is active."""
        active = np.bincount(self.codes.indices[self.codes.data > 0], minlength=self.n_features)
        return active / max(self.n_positions, 1)

    def rows(self, sample: int | str) -> slice:
        """The rows of one sample, by number or identifier."""
        number = self.samples.index(sample) if isinstance(sample, str) else int(sample)
        return slice(int(self.samples.offsets[number]), int(self.samples.offsets[number + 1]))

    def by_sample(self, numbers: np.ndarray | Sequence[int] | int) -> sp.csr_array:
        """csr float32 [positions of these samples, n_features]: the codes of one or some samples, end to end."""
        numbers = np.atleast_1d(np.asarray(numbers, np.int64))
        lengths = self.samples.lengths[numbers]
        shift = np.repeat(self.samples.offsets[numbers] - (np.cumsum(lengths) - lengths), lengths)
        return sp.csr_array(self.codes[np.arange(int(lengths.sum())) + shift])

    def by_feature(self, lo: int = 0, hi: int | None = None) -> ByFeature:
        """The codes of features ``lo`` to ``hi`` (half-open), laid out feature by feature."""
        hi = self.n_features if hi is None else hi
        if not 0 <= lo <= hi <= self.n_features:
            raise InputError(
                "there are no such features", where=f"{lo} to {hi}", expected=f"0 to {self.n_features}"
            )
        if self._by_feature is None:
            self._by_feature = by_feature(self.codes)
        return self._by_feature if (lo, hi) == (0, self.n_features) else self._by_feature.block(lo, hi)

    def feature_blocks(self, max_values: int = BLOCK_VALUES) -> Iterator[tuple[int, int]]:
        """Ranges ``(lo, hi)`` of features that hold at most ``max_values`` codes each, one feature at least."""
        ends = np.cumsum(self.stored_per_feature)
        lo = 0
        while lo < self.n_features:
            base = int(ends[lo - 1]) if lo else 0
            hi = max(lo + 1, int(np.searchsorted(ends, base + max_values, side="right")))
            yield lo, hi
            lo = hi

    @cached_property
    def stored_per_feature(self) -> np.ndarray:
        """int64 [n_features]: the codes kept of each feature."""
        return np.bincount(self.codes.indices, minlength=self.n_features)

    @property
    def n_stored(self) -> int:
        """Codes kept of all features."""
        return int(self.stored_per_feature.sum())

    def column(self, feature: int) -> np.ndarray:
        """float32 [n_positions]: one feature's activation, dense."""
        if not 0 <= int(feature) < self.n_features:
            raise InputError(
                "there is no such feature", where=f"feature {feature}", expected=f"0 to {self.n_features - 1}"
            )
        rows, values = self.by_feature(int(feature), int(feature) + 1).column(0)
        dense = np.zeros(self.n_positions, np.float32)
        dense[rows] = values
        return dense

    def max_per_sample(self) -> sp.csr_array:
        """csr float32 [n_samples, n_features]: the largest activation in each sample."""
        row = np.repeat(self.samples.position_sample(), np.diff(self.codes.indptr))
        order = np.lexsort((self.codes.data, self.codes.indices, row))
        row, column, value = row[order], self.codes.indices[order], self.codes.data[order]
        last = (
            np.append((np.diff(row) != 0) | (np.diff(column) != 0), True) if len(row) else np.zeros(0, bool)
        )
        shape = (len(self.samples), self.n_features)
        return sp.csr_array((value[last], (row[last], column[last])), shape=shape)

    def __repr__(self) -> str:
        l0 = self.codes.nnz / max(self.n_positions, 1)
        return f"FeatureMatrix({self.n_positions:,} positions x {self.n_features:,} features, {l0:.1f} active a position)"

    def _repr_html_(self) -> str:
        from sciinterp.tables import html_card

        density = self.density
        alive = density[density > 0]
        return html_card(
            repr(self),
            {
                "model": self.origin.model or None,
                "site": self.origin.site or None,
                "never active": int((density == 0).sum()),
                "median density": float(np.median(alive)) if len(alive) else None,
            },
        )

    def save(self, folder: str | Path) -> None:
        """Write codes, samples and origin; :func:`load_features` reads them back."""
        from sciinterp.store.arrays import save_arrays
        from sciinterp.store.atomic import write_json
        from sciinterp.store.origins import save_origin
        from sciinterp.store.samples_file import save_samples

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_samples(folder, self.samples)
        checksum = save_arrays(
            folder / "codes.safetensors",
            {
                "data": self.codes.data,
                "indices": self.codes.indices.astype(np.int32),
                "indptr": self.codes.indptr.astype(np.int64),
                "shape": np.asarray(self.codes.shape, np.int64),
            },
        )
        write_json(
            folder / "features.json",
            {
                "version": 1,
                "identity": {
                    "sae": save_origin(folder, self.origin),
                    "activations": self.origin.to_record().get("fingerprint"),
                },
                "samples": self.samples.digest,
                "sha256": checksum,
            },
        )


def load_features(folder: str | Path) -> FeatureMatrix:
    """Read a folder written by :meth:`FeatureMatrix.save`; a flipped byte is an error.

    Raises
    ------
    StoreError
        When the folder is incomplete, damaged or of a newer version.
    """
    from sciinterp.store.arrays import load_arrays
    from sciinterp.store.atomic import read_json
    from sciinterp.store.origins import load_origin
    from sciinterp.store.samples_file import load_samples

    folder = Path(folder)
    if not (folder / "features.json").is_file():
        raise StoreError(
            "this is not a folder of codes",
            where=f"folder '{folder}'",
            expected="features.json",
            got="none",
            do="Run encode first.",
        )
    head = read_json(folder / "features.json")
    if head.get("version") != 1:
        raise StoreError(
            "codes of an unknown version",
            where=f"folder '{folder}'",
            expected="1",
            got=str(head.get("version")),
            do="Update sciinterp.",
        )
    arrays = load_arrays(folder / "codes.safetensors", sha256=head["sha256"])
    codes = sp.csr_array(
        (arrays["data"], arrays["indices"], arrays["indptr"]), shape=tuple(arrays["shape"].tolist())
    )
    samples = load_samples(folder)
    if samples.digest != head["samples"]:
        raise StoreError("the samples are not those of the codes", where=f"folder '{folder}'")
    return FeatureMatrix(codes, samples, origin=load_origin(folder, head["identity"]), folder=folder)


def encode(
    sae: SAE, acts: Activations | np.ndarray, *, samples: Samples | None = None, out: str | Path | None = None
) -> FeatureMatrix:
    """Codes of all positions.

    Parameters
    ----------
    sae : SAE
    acts : Activations or ndarray [n_positions, d_in]
        An array needs ``samples`` beside it.
    out : path, optional
        Folder to keep the codes in; run again, it returns what is there.

    Raises
    ------
    MismatchError
        When the activations come from another model, weights or site than the SAE was trained on, or it is not
        known what the SAE is of.
    """
    from tqdm import tqdm

    sae.check(acts)
    samples = samples if samples is not None else getattr(acts, "samples", None)
    if samples is None:
        raise InputError("an array of activations needs its samples", where="encode", do="Pass samples=.")
    origin = sae.signed()
    if origin_of(acts).fingerprint is not UNKNOWN:
        origin = replace(origin, fingerprint=origin_of(acts).fingerprint)
    if out is not None and (Path(out) / "features.json").is_file():
        found = load_features(out)
        if not differing(found.origin, origin) and found.samples.digest == samples.digest:
            found.sae = sae
            return found
        raise InputError(
            "the output folder holds codes of another run",
            where=f"folder '{out}'",
            do="Choose another folder or remove this one.",
        )
    array = isinstance(acts, np.ndarray)
    n = len(acts) if array else acts.n_tokens
    parts: list[Any] = []
    log.info("encode: %s tokens with %d features", f"{n:,}", sae.n_features)
    with tqdm(total=n, unit="token", desc="encode", disable=None) as bar:
        for lo in range(0, n, BATCH_TOKENS):
            hi = min(lo + BATCH_TOKENS, n)
            x = np.asarray(acts[lo:hi], np.float32) if array else acts.read(lo, hi)
            parts.append(sae.encode_scipy(x))
            bar.update(hi - lo)
    codes = sp.vstack(parts, format="csr")
    if not array:
        codes = _to_positions(codes, acts, samples)
    features = FeatureMatrix(codes, samples, sae=sae, origin=origin)
    if out is not None:
        features.save(out)
        features.folder = Path(out)
    return features


def _to_positions(codes: sp.csr_array, acts: Activations, samples: Samples) -> sp.csr_array:
    """Token codes on positions: the largest code of the tokens that cover a position."""
    start, end = np.asarray(acts.spans["start"]), np.asarray(acts.spans["end"])
    per_sample = np.diff(acts.token_offsets)
    if np.array_equal(per_sample, samples.lengths):
        within = np.arange(len(start)) - np.repeat(acts.token_offsets[:-1], per_sample)
        if np.array_equal(start, within) and np.array_equal(end, within + 1):
            return codes
    base = np.repeat(samples.offsets[:-1], per_sample)
    token, position = positions_in(base + start, base + end)
    spread = codes[token]
    row = np.repeat(position, np.diff(spread.indptr))
    order = np.lexsort((spread.data, spread.indices, row))
    row, column, value = row[order], spread.indices[order], spread.data[order]
    last = np.append((np.diff(row) != 0) | (np.diff(column) != 0), True) if len(row) else np.zeros(0, bool)
    return sp.csr_array((value[last], (row[last], column[last])), shape=(samples.n_positions, codes.shape[1]))
