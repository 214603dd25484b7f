"""Activations: what a model computes at a site for every token of some samples, kept on disk.

:func:`extract` plans first (shards of consecutive samples, batches of similar length inside each shard), then
runs the model shard by shard and writes each one whole; :class:`Activations` reads them back as rows, by
sample, or as shuffled batches. Rows are in the order of the samples, whatever the batches were.

Longer samples than the model takes are refused before work starts, or, where the model's adapter allows it,
cut into windows of the model's length that overlap; a token in several windows gets the mean of its rows.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from jaxtyping import Float, Int

from sciinterp.errors import InputError
from sciinterp.samples import Samples
from sciinterp.store.layout import DTYPES
from sciinterp.store.reader import Reader
from sciinterp.store.stream import RowStream, stream_rows

if TYPE_CHECKING:
    import pandas as pd

    from sciinterp.models import Adapter

log = logging.getLogger(__name__)

# Enough to tell two models apart, few enough to compare by eye.
FINGERPRINT_TOKENS = 256
FINGERPRINT_VALUES = 16
FINGERPRINT_TOLERANCE = 0.05


@dataclass(frozen=True)
class ExtractSettings:
    """How the work is cut up, and what happens to what does not fit.

    Parameters
    ----------
    shard_tokens : int
        Positions of a shard, about: what a killed run has to repeat at most, and what memory holds.
    overlap : int
        Positions that neighbouring windows of a long sample share.
    nonfinite : {"stop", "skip"}
        A NaN or an infinity among a sample's activations stops the run, or leaves the sample without rows and
        counts it.
    """

    shard_tokens: int = 65536
    overlap: int = 128
    nonfinite: Literal["stop", "skip"] = "stop"

    def __post_init__(self) -> None:
        if self.shard_tokens < 1 or self.overlap < 0:
            raise InputError(
                "sizes must be positive",
                where="ExtractSettings",
                got=f"shard_tokens={self.shard_tokens}, overlap={self.overlap}",
            )
        if self.nonfinite not in ("stop", "skip"):
            raise InputError(
                "no such policy",
                where="ExtractSettings.nonfinite",
                expected="'stop' or 'skip'",
                got=repr(self.nonfinite),
            )


class Activations:
    """The activations of some samples at one site, on disk.

    Rows are tokens: those of sample ``i`` are ``token_offsets[i]`` to ``token_offsets[i + 1]``.

    Attributes
    ----------
    samples : Samples
    site : str
    d_in : int
        Width of a row.
    n_tokens : int
        Number of rows.
    identity : dict
        Model, hash of its weights, site, normalisation, precision: what an SAE trained on these rows keeps.
    fingerprint : dict
        Moments and a few values of the model's activations on a fixed probe; see :func:`same_fingerprint`.
    token_offsets : ndarray of int64 [n_samples + 1]
    folder : Path
    """

    def __init__(self, folder: str | Path) -> None:
        self._reader = Reader(folder)
        self.folder = Path(folder)
        plan, self.manifest = self._reader.plan, self._reader.manifest
        self.site: str = plan["site"]["name"]
        self.d_in, self.n_tokens = self._reader.d_in, self._reader.n
        self.dtype = self._reader.dtype
        self.identity: dict[str, Any] = dict(plan["identity"])
        self.fingerprint: dict[str, Any] = dict(self.manifest["extra"]["fingerprint"])
        self.token_offsets: Int[np.ndarray, " n_samples_1"] = self._reader.token_offsets

    @cached_property
    def samples(self) -> Samples:
        """The samples, read back from the store."""
        return self._reader.samples()

    @cached_property
    def spans(self) -> dict[str, np.ndarray]:
        """``start``, ``end`` (half-open, positions of the sample) and ``strand`` of every token."""
        return self._reader.read_spans(0, self.n_tokens)

    @property
    def skipped(self) -> dict[str, int]:
        """How many samples have no rows, by reason."""
        reasons = list(self.manifest["skipped"].values())
        return {reason: reasons.count(reason) for reason in sorted(set(reasons))}

    @property
    def padding(self) -> float:
        """Fraction of the tokens the model was given that were padding."""
        return float(self._reader.plan["padding"])

    @property
    def digest(self) -> str:
        """sha256 of the manifest, and so of every byte of the store."""
        return str(self.manifest["sha256"])

    def read(self, lo: int, hi: int) -> Float[np.ndarray, "n d_in"]:
        """Rows ``[lo, hi)`` as float32."""
        return self._reader.widen(self._reader.read_stored(int(lo), int(hi)))

    def read_sample(self, number: int | str) -> Float[np.ndarray, "n d_in"]:
        """The rows of one sample, by number or identifier."""
        i = self.samples.index(number) if isinstance(number, str) else int(number)
        if not 0 <= i < len(self.token_offsets) - 1:
            raise InputError(
                "there is no such sample", where=f"sample {i}", expected=f"0 to {len(self.token_offsets) - 2}"
            )
        return self.read(self.token_offsets[i], self.token_offsets[i + 1])

    def rows(self, samples: Int[np.ndarray, " k"] | Sequence[int]) -> Int[np.ndarray, " n"]:
        """Row numbers of all tokens of these samples, samples in the order given."""
        numbers = np.asarray(samples, dtype=np.int64)
        if len(numbers) and (numbers.min() < 0 or numbers.max() >= len(self.token_offsets) - 1):
            raise InputError(
                "there is no such sample",
                expected=f"numbers 0 to {len(self.token_offsets) - 2}",
                got=f"{numbers.min()} to {numbers.max()}",
            )
        start, count = self.token_offsets[numbers], np.diff(self.token_offsets)[numbers]
        return np.repeat(start - (np.cumsum(count) - count), count) + np.arange(count.sum())

    def stream(
        self,
        rows: Int[np.ndarray, " n"] | None = None,
        batch_size: int = 2048,
        *,
        seed: int = 0,
        state: Mapping[str, Any] | None = None,
    ) -> RowStream:
        """Shuffled float32 batches without end; see :func:`sciinterp.store.stream.stream_rows`.

        Parameters
        ----------
        rows : int array, optional
            Row numbers, for example ``acts.rows(split.train)``; all by default.
        batch_size : int
        seed : int
        state : mapping, optional
            ``.state`` of an earlier stream, to go on from there.
        """
        return stream_rows(self._reader, rows, batch_size=batch_size, seed=seed, state=state)

    def __len__(self) -> int:
        return self.n_tokens

    def __repr__(self) -> str:
        return (
            f"Activations({self.identity.get('model')} at {self.site}: "
            f"{len(self.token_offsets) - 1:,} samples, "
            f"{self.n_tokens:,} tokens x {self.d_in}, {self.dtype})"
        )

    def _repr_html_(self) -> str:
        from sciinterp.tables import html_card

        return html_card(
            repr(self), {"folder": self.folder, "dtype": self.dtype, "norm": self.identity.get("norm")}
        )


def load_activations(folder: str | Path) -> Activations:
    """Open a store written by :func:`extract`.

    Parameters
    ----------
    folder : path

    Raises
    ------
    StoreError
        No store, an unfinished or damaged one, or one of a newer version.
    """
    return Activations(folder)


def fingerprint(rows: Float[np.ndarray, "n d_in"], probe: str) -> dict[str, Any]:
    """A small, readable mark of a model at a site: moments and a few values of its activations on a probe.

    Parameters
    ----------
    rows : float32 [n, d_in]
        Activations of the probe; at most :data:`FINGERPRINT_TOKENS` rows are used.
    probe : str
        What the rows are activations of; only marks of one probe can be compared.

    Examples
    --------
    >>> mark = fingerprint(np.eye(3, dtype=np.float32), "three unit vectors")
    >>> mark["n"], mark["d_in"], mark["rms"]
    (3, 3, 0.57735)
    >>> same_fingerprint(mark, fingerprint(2 * np.eye(3, dtype=np.float32), "three unit vectors"))
    False
    """
    x = np.asarray(rows[:FINGERPRINT_TOKENS], dtype=np.float64)
    pick = np.linspace(0, max(x.size - 1, 0), min(FINGERPRINT_VALUES, x.size)).astype(int)
    return {
        "probe": probe,
        "n": int(x.shape[0]),
        "d_in": int(x.shape[1]),
        "mean": float(f"{x.mean() if x.size else 0.0:.6g}"),
        "rms": float(f"{np.sqrt(np.mean(x**2)) if x.size else 0.0:.6g}"),
        "values": [float(f"{v:.6g}") for v in x.ravel()[pick]],
    }


def same_fingerprint(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> bool:
    """Could two marks be of one model at one site? Also true where they cannot be compared.

    Values may differ by :data:`FINGERPRINT_TOLERANCE` of their root mean square: more than threads,
    processors and half precision change, far less than other weights do.
    """
    if not a or not b or a.get("probe") != b.get("probe"):
        return True
    if (a["n"], a["d_in"]) != (b["n"], b["d_in"]):
        return False
    x, y = np.array([*a["values"], a["rms"]]), np.array([*b["values"], b["rms"]])
    return bool(np.allclose(x, y, rtol=0, atol=FINGERPRINT_TOLERANCE * max(a["rms"], b["rms"])))


@overload
def extract(
    model: Adapter,
    samples: Samples | pd.DataFrame,
    *,
    site: str,
    out: str | Path,
    dtype: str = ...,
    max_tokens: int = ...,
    settings: ExtractSettings | None = ...,
    overwrite: bool = ...,
) -> Activations: ...
@overload
def extract(
    model: Adapter,
    samples: Samples | pd.DataFrame,
    *,
    site: list[str],
    out: str | Path,
    dtype: str = ...,
    max_tokens: int = ...,
    settings: ExtractSettings | None = ...,
    overwrite: bool = ...,
) -> dict[str, Activations]: ...
def extract(
    model: Adapter,
    samples: Samples | pd.DataFrame,
    *,
    site: str | list[str],
    out: str | Path,
    dtype: str = "float32",
    max_tokens: int = 8192,
    settings: ExtractSettings | None = None,
    overwrite: bool = False,
) -> Activations | dict[str, Activations]:
    """Record a model's activations on samples. Run it again to resume; a finished store is returned at once.

    Parameters
    ----------
    model : Adapter
        Its ``dtype`` is the precision it computes in; below float32 the error is measured and kept.
    samples : Samples
    site : str or list of str
        One site, kept in ``out``; or several from one forward pass, each kept in a folder of ``out`` named
        after it.
    out : path
        A new or empty folder, or the store to resume.
    dtype : {"float32", "float16", "bfloat16"}
        What the rows are kept as.
    max_tokens : int
        Tokens of a batch, padding included.
    settings : ExtractSettings, optional
    overwrite : bool
        Replace a store of another plan; anything else in the folder is never touched.

    Returns
    -------
    Activations, or dict of site name to Activations

    Raises
    ------
    InputError
        An unknown site, a sample the model cannot take (before anything is written), or a NaN, which is named
        by sample, position and site.
    MismatchError
        The folder holds activations of another model, site, samples or settings.
    StoreError, BusyError
        The folder is in use, or the disk is full; what was finished is kept.
    """
    from sciinterp.activations.extraction import run

    samples = Samples.coerce(samples)
    if dtype not in DTYPES:
        raise InputError("no such type", where="dtype", expected=" or ".join(DTYPES), got=repr(dtype))
    sites = [site] if isinstance(site, str) else list(dict.fromkeys(site))
    if not sites or not len(samples):
        raise InputError(
            "nothing to extract",
            expected="at least one site and one sample",
            got=f"{len(sites)} sites, {len(samples)} samples",
        )
    out = Path(out)
    folders = {name: out if isinstance(site, str) else out / site_folder(name) for name in sites}
    run(
        model,
        samples,
        folders,
        dtype=dtype,
        max_tokens=max_tokens,
        settings=settings or ExtractSettings(),
        overwrite=overwrite,
    )
    found = {name: load_activations(folder) for name, folder in folders.items()}
    return found[site] if isinstance(site, str) else found


def site_folder(name: str) -> str:
    """A file name for a site: the site's own where that is safe, else letters of it and a hash.

    Examples
    --------
    >>> site_folder("layers.4"), site_folder("../x")
    ('layers.4', 'x-d6b96a97')
    """
    plain = "".join(c for c in name if c.isascii() and (c.isalnum() or c in "._-")).lstrip(".-")
    if plain == name and 0 < len(name) <= 64:
        return name
    return f"{plain[:48]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")
