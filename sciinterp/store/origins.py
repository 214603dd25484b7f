"""An origin in a folder: its record goes into the folder's JSON, what trained the SAE into a file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sciinterp.errors import StoreError
from sciinterp.provenance import Origin, Training
from sciinterp.settings import Plain
from sciinterp.store.arrays import load_arrays, save_arrays
from sciinterp.store.layout import TRAINING


def save_origin(folder: Path, origin: Origin) -> Plain:
    """Write which samples and families trained an SAE, where that is known; the record to keep names its sha256."""
    record, told = origin.to_record(), origin.training
    if isinstance(told, Training) and told.samples is not None and told.families is not None:
        arrays = {"samples": told.samples, "families": told.families}
        record["trained_on"]["sha256"] = save_arrays(folder / TRAINING, arrays)
    return record


def load_origin(folder: Path, record: Mapping[str, object]) -> Origin:
    """The origin of a record that :func:`save_origin` gave.

    Raises
    ------
    StoreError
        The file beside it is missing or damaged.
    """
    try:
        origin = Origin.from_record(record)
    except (TypeError, ValueError, OverflowError) as error:
        raise StoreError("the origin is damaged", where=f"folder {str(folder)!r}", got=str(error)) from error
    told, sha256 = origin.training, training_sha256(record)
    if not isinstance(told, Training) or sha256 is None:
        return origin
    if not (folder / TRAINING).is_file():
        raise StoreError(
            "a file is missing",
            where=f"file {str(folder / TRAINING)!r}",
            do="Restore it from a copy, or train again.",
        )
    arrays = load_arrays(folder / TRAINING, sha256=sha256)
    if not {"samples", "families"} <= set(arrays):
        raise StoreError("the origin is damaged", where=f"file {str(folder / TRAINING)!r}")
    return replace(origin, training=replace(told, samples=arrays["samples"], families=arrays["families"]))


def training_sha256(record: Mapping[str, object]) -> str | None:
    """The checksum of the file beside a record; None where there is none."""
    inner = record.get("sae")
    told = (inner if isinstance(inner, Mapping) else record).get("trained_on")
    found = told.get("sha256") if isinstance(told, Mapping) else None
    return str(found) if found else None
