"""What the files of a store are called, its two schemas, and the manifest that makes it whole. FORMAT.md is the spec."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sciinterp.errors import StoreError
from sciinterp.settings import Plain
from sciinterp.store.arrays import read_header, read_rows
from sciinterp.store.atomic import read_json, to_json
from sciinterp.store.samples_file import SAMPLES
from sciinterp.store.sealed import seal

FORMAT, VERSION = "sciinterp.store", 2
PLAN, MANIFEST, INDEX = "plan.json", "manifest.json", "index.safetensors"
# Codes of version 1: one file of codes, and a head beside it.
OLD_HEAD, OLD_CODES = "features.json", "codes.safetensors"
# What trained the SAE of some codes.
TRAINING = "training.safetensors"
DTYPES = ("float32", "float16", "bfloat16")
OURS = re.compile(
    rf"({PLAN}|{MANIFEST}|{INDEX}|{SAMPLES}|{OLD_HEAD}|{OLD_CODES}|{TRAINING}|shard-\d{{6}}\.(safetensors|json))\Z"
)
# What must agree to resume, but not to use a finished store: another machine's bytes differ in the last bit.
ENVIRONMENT = "environment"


class Schema(NamedTuple):
    """What the rows of a store are: the words of its messages, and the names of its counts."""

    name: str
    holds: str
    verb: str
    unit: str  # what a row is: manifests hold n_<unit>s, the index <unit>_offsets, a shard <unit>s a sample
    width: str  # the key of a row's width in plan and manifest


DENSE = Schema("dense", "activations", "extract", "token", "d_in")
SPARSE = Schema("sparse", "codes", "encode", "position", "n_features")
SCHEMAS = {schema.name: schema for schema in (DENSE, SPARSE)}


def _from_version_1(record: Plain) -> Plain:
    """Version 1 knew activations alone; their shards are those of the dense schema."""
    return {**record, "format": FORMAT, "version": 2, "schema": DENSE.name}


# version found -> function from its plan or manifest to the next version's; old stores are read for ever.
MIGRATIONS: dict[int, Callable[[Plain], Plain]] = {1: _from_version_1}
_FORMATS = {1: "sciinterp.activations"}


def shard_name(number: int) -> str:
    """File name of a shard; names hold numbers only, never anything of the input."""
    return f"shard-{number:06d}.safetensors"


def sidecar(folder: Path, number: int) -> Path:
    """The record beside a shard: its checksum, and the plan it belongs to."""
    return folder / f"shard-{number:06d}.json"


def shard_bounds(lengths: np.ndarray, rows: int) -> list[int]:
    """Bounds of shards of consecutive samples: a shard is closed by the sample that fills it with ``rows``.

    Examples
    --------
    >>> shard_bounds(np.array([5, 5, 5, 20, 1]), 10)
    [0, 2, 4, 5]
    """
    bounds, total = [0], 0
    for i, length in enumerate(np.asarray(lengths).tolist()):
        total += length
        if total >= rows:
            bounds.append(i + 1)
            total = 0
    if bounds[-1] != len(lengths):
        bounds.append(len(lengths))
    return bounds


def load_arrays_named(path: Path, name: str) -> np.ndarray:
    """One array of a file already checked."""
    entry = read_header(path)[name]
    return read_rows(path, entry, 0, entry.shape[0])


def brief(value: object) -> str:
    """A value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def migrated(record: object, where: str) -> Plain:
    """A plan or a manifest as the current version would hold it.

    Raises
    ------
    StoreError
        It is of something else, of a newer version, or damaged.
    """
    found: Plain = record if isinstance(record, dict) else {}
    version, form = found.get("version"), found.get("format")
    if isinstance(version, int) and version > VERSION and form in (FORMAT, *_FORMATS.values()):
        raise StoreError(
            "the store was written by a newer version",
            where=where,
            expected=f"format version up to {VERSION}",
            got=str(version),
            do="Update sciinterp.",
        )
    if type(version) is not int or form != _FORMATS.get(version, FORMAT) or version < 1:
        raise StoreError(
            "this is not a store of activations or codes",
            where=where,
            expected=f"format {FORMAT!r}",
            got=brief(form if isinstance(record, dict) else record),
        )
    for step in range(version, VERSION):
        found = MIGRATIONS[step](found)
    if not isinstance(found.get("schema"), str) or found["schema"] not in SCHEMAS:
        raise StoreError("a store of an unknown schema", where=where, got=brief(found.get("schema")))
    return found


def schema_of(folder: str | os.PathLike[str]) -> Schema | None:
    """Which schema the store in a folder has, finished or not; None where there is none of ours."""
    try:
        record = read_json(Path(folder) / PLAN)
        return SCHEMAS[migrated(record, f"folder {str(folder)!r}")["schema"]]
    except StoreError:
        return None
    except ValueError:
        # A plan that cannot be read beside what only a store has: damaged, and still a store.
        return DENSE if (Path(folder) / INDEX).is_file() else None


def read_manifest(folder: str | os.PathLike[str], schema: Schema | None = None) -> Plain:
    """The manifest of a finished store, checked against itself and migrated to the current version.

    Parameters
    ----------
    folder : path
    schema : Schema, optional
        What the store has to hold; either by default.

    Raises
    ------
    StoreError
        No store here, an unfinished one, a damaged manifest, another schema, or a newer version.
    """
    folder = Path(folder)
    path, where = folder / MANIFEST, f"folder {str(folder)!r}"
    verb = schema.verb if schema else "the step that wrote it"
    holds = f"a store of {schema.holds}" if schema else "a store"
    if not path.is_file():
        if not (folder / PLAN).is_file():
            do = f"Make one with {verb}." if schema else ""
            raise StoreError(f"this is not {holds}", where=where, expected=MANIFEST, got="none", do=do)
        raise StoreError("the store is not finished", where=where, do=f"Run {verb} again to finish it.")
    manifest = read_json(path)
    current = migrated(manifest, where)
    if path.read_bytes() != to_json(manifest) or seal(manifest) != manifest or not _is_sound(current):
        raise StoreError(
            "the manifest is damaged",
            where=f"file {str(path)!r}",
            do="Restore it from a copy, or make it anew.",
        )
    if schema is not None and current["schema"] != schema.name:
        raise StoreError(
            f"this is not {holds}", where=where, got=f"a store of {SCHEMAS[current['schema']].holds}"
        )
    return current


def _is_sound(manifest: Plain) -> bool:
    """Every key that readers use is there, and of its type."""
    schema = SCHEMAS[manifest["schema"]]

    def natural(value: object) -> bool:
        return type(value) is int and 0 <= value < 1 << 62

    def text(value: object) -> bool:
        return isinstance(value, str)

    shards = manifest.get("shards")
    return (
        all(natural(manifest.get(key)) for key in ("n_samples", f"n_{schema.unit}s", schema.width))
        and all(text(manifest.get(key)) for key in ("plan_sha256", "samples_sha256", "index_sha256"))
        and manifest.get("dtype") in (DTYPES if schema is DENSE else DTYPES[:1])
        and isinstance(manifest.get("extra"), dict)
        and isinstance(manifest.get("skipped"), dict)
        and isinstance(shards, list)
        and all(isinstance(s, dict) and natural(s.get("rows")) and text(s.get("sha256")) for s in shards)
        and sum(s["rows"] for s in shards) == manifest[f"n_{schema.unit}s"]
    )
