"""Recorded activations: rows of tokens on disk, read back as rows or by sample, and the mark of their model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sciinterp.errors import InputError, require_kinds
from sciinterp.frames import html_card
from sciinterp.provenance import UNKNOWN, HasOrigin, Origin
from sciinterp.samples import Samples
from sciinterp.store.reader import Reader

# Of a fingerprint: enough to tell two models apart, few enough to compare by eye.
FINGERPRINT_TOKENS = 256
FINGERPRINT_VALUES = 16
FINGERPRINT_TOLERANCE = 0.05


class Activations(HasOrigin):
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
    origin : Origin
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
        self.fingerprint: dict[str, object] = dict(self.manifest["extra"]["fingerprint"])
        recorded = {
            "site": self.site or UNKNOWN,
            **plan["identity"],
            "fingerprint": self.fingerprint or UNKNOWN,
        }
        self.origin = Origin.from_record(recorded)
        self.token_offsets: Int[np.ndarray, " n_samples_1"] = self._reader.token_offsets

    @cached_property
    def samples(self) -> Samples:
        """The samples, read back from the store."""
        return self._reader.samples()

    @cached_property
    def spans(self) -> dict[str, np.ndarray]:
        """``start``, ``end`` (half-open, positions of the sample) and ``strand`` of every token."""
        return self.read_spans(0, self.n_tokens)

    def read_spans(self, lo: int, hi: int) -> dict[str, np.ndarray]:
        """:attr:`spans` of the rows ``[lo, hi)`` alone."""
        return self._reader.read_spans(int(lo), int(hi))

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
        return rows_of(self.token_offsets, samples)

    def __len__(self) -> int:
        return self.n_tokens

    def __repr__(self) -> str:
        return (
            f"Activations({self.origin.model} at {self.origin.site}: "
            f"{len(self.token_offsets) - 1:,} samples, "
            f"{self.n_tokens:,} tokens x {self.d_in}, {self.dtype})"
        )

    def _repr_html_(self) -> str:
        return html_card(repr(self), {"folder": self.folder, "dtype": self.dtype, "norm": self.origin.norm})


def rows_of(
    token_offsets: Int[np.ndarray, " n_samples_1"], samples: Int[np.ndarray, " k"] | Sequence[int]
) -> Int[np.ndarray, " n"]:
    """Row numbers of all tokens of these samples, samples in the order given."""
    numbers = np.asarray(samples, dtype=np.int64)
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= len(token_offsets) - 1):
        raise InputError(
            "there is no such sample",
            expected=f"numbers 0 to {len(token_offsets) - 2}",
            got=f"{numbers.min()} to {numbers.max()}",
        )
    start, count = token_offsets[numbers], np.diff(token_offsets)[numbers]
    return np.repeat(start - (np.cumsum(count) - count), count) + np.arange(count.sum())


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
    require_kinds(folder=(folder, Path))
    return Activations(folder)


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


def fingerprint(rows: Float[np.ndarray, "n d_in"], probe: str) -> dict[str, object]:
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
