"""A store of activations from an array that was computed elsewhere."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from sciinterp.activations.plan import shard_bounds
from sciinterp.activations.recorded import Activations, load_activations
from sciinterp.activations.settings import ExtractSettings
from sciinterp.errors import InputError, ShapeError, no_such, require_kinds
from sciinterp.models.adapter import Adapter
from sciinterp.models.registry import stated_width
from sciinterp.provenance import UNKNOWN, Origin, origin_of
from sciinterp.samples import Samples
from sciinterp.settings import plain_value
from sciinterp.store.arrays import as_rows
from sciinterp.store.layout import ENVIRONMENT
from sciinterp.store.shards import open_writer

if TYPE_CHECKING:
    import pandas as pd

DTYPES = ("float32", "float16")


def activations_from_array(
    array: Float[np.ndarray, "n d_in"],
    samples: Samples | pd.DataFrame,
    *,
    out: str | Path,
    model: Adapter | str | None = None,
    site: str | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
) -> Activations:
    """Keep activations that were computed elsewhere, so that splits, SAEs, codes and reports know their samples.

    Parameters
    ----------
    array : float [n_positions, d_in]
        One row a position; the positions of all samples end to end, in their order. May be a memmap.
    samples : Samples
    out : path
        A new or empty folder, or the store of the same array.
    model : Adapter or str, optional
        What computed them: a loaded model, or its name. Without model and site an SAE trained on this store is of
        unknown origin, and fits no other activations.
    site : str, optional
    dtype : {"float32", "float16"}
        What the rows are kept as.
    overwrite : bool
        Replace a store of another array.

    Returns
    -------
    Activations

    Raises
    ------
    ShapeError
        Rows and positions differ in number, or the width is not that of the model's site.
        These are no rows of real numbers: sparse, masked, complex, text.
    InputError
        A row holds a NaN or an infinity: sample and position are named.

    Examples
    --------
    >>> import tempfile, sciinterp as si
    >>> samples = si.Samples(["a", "b"], ["MKV", "AC"])
    >>> acts = si.activations_from_array(
    ...     np.eye(5, dtype=np.float32), samples, model="mine", site="last", out=tempfile.mkdtemp()
    ... )
    >>> acts.read_sample("b").shape
    (2, 5)
    """
    require_kinds(out=(out, Path))
    samples, overwrite = Samples.coerce(samples), plain_value(overwrite, bool, "overwrite")
    if dtype not in DTYPES:
        raise no_such("type", dtype, DTYPES, where="dtype")
    origin = _origin(model, site)
    array = as_rows(array)
    _require_fit(array, samples, origin)
    bounds, offsets = shard_bounds(samples.lengths, ExtractSettings().shard_tokens), samples.offsets
    width = int(array.shape[1])
    plan = {
        "samples": {"n": len(samples), "positions": samples.n_positions, "digest": samples.digest},
        "shards": bounds,
        "array_sha256": _digest(array, samples, bounds, dtype),
        "padding": 0.0,
        "windows": None,
        "identity": replace(origin, d_in=width, kept_as=dtype).to_record(),
        "site": {"name": site or "", "width": width},
        "d_in": width,
        "dtype": dtype,
        ENVIRONMENT: {},
    }
    with open_writer(out, plan, samples, overwrite=overwrite) as writer:
        for number in writer.mine:
            own = writer.samples_of(number)
            parts = [np.asarray(array[offsets[i] : offsets[i + 1]], dtype) for i in own]
            writer.write(number, parts, [_spans(len(part)) for part in parts])
        if not writer.complete:
            writer.finish({"fingerprint": {}, "precision_error": None})
    return load_activations(out)


def _origin(model: Adapter | str | None, site: str | None) -> Origin:
    at = UNKNOWN if site is None else plain_value(site, str, "site") or UNKNOWN
    if isinstance(model, str) or model is None:
        named = Origin(model=model or UNKNOWN, site=at)
        width = stated_width(named, where="model=") if named.named else None
        return named if width is None else replace(named, d_in=width)
    require_kinds(model=(model, Adapter))
    return origin_of(model, at)


def _digest(array: np.ndarray, samples: Samples, bounds: list[int], dtype: str) -> str:
    """The sha256 of the rows as they are kept, each of which is finite."""
    digest, offsets = hashlib.sha256(), samples.offsets
    for lo, hi in zip(bounds, bounds[1:]):
        with np.errstate(over="ignore"):  # what is too large for the type is named below
            rows = np.ascontiguousarray(array[offsets[lo] : offsets[hi]], dtype)
        _require_finite(rows, samples, int(offsets[lo]))
        digest.update(rows.data)
    return digest.hexdigest()


def _require_fit(array: np.ndarray, samples: Samples, origin: Origin) -> None:
    wanted = (samples.n_positions, origin.d_in if origin.d_in is not UNKNOWN else "d_in")
    if np.ndim(array) != 2 or array.shape[0] != wanted[0] or wanted[1] not in ("d_in", array.shape[1]):
        raise ShapeError(
            "the array does not fit its samples",
            expected=f"[{wanted[0]}, {wanted[1]}] (positions end to end)",
            got=str(list(np.shape(array))),
        )


def _spans(n: int) -> np.ndarray:
    start = np.arange(n, dtype=np.int32)
    return np.stack([start, start + 1, np.zeros(n, np.int32)], axis=1)


def _require_finite(rows: np.ndarray, samples: Samples, first: int) -> None:
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        row = first + int(bad[0])
        number = int(np.searchsorted(samples.offsets, row, side="right")) - 1
        raise InputError(
            "activations hold a value that is not finite",
            where=f"sample {samples.ids[number]!r} position {row - int(samples.offsets[number])} (counted from 0)",
            do="Remove the sample, or compute it again.",
        )
