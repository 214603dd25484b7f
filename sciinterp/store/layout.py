"""What the files of a store are called, and the manifest that makes a store whole. FORMAT.md is the spec."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sciinterp.errors import StoreError
from sciinterp.store.arrays import SAMPLES, read_header, read_rows
from sciinterp.store.atomic import read_json, to_json

FORMAT, VERSION = "sciinterp.activations", 1
PLAN, MANIFEST, INDEX = "plan.json", "manifest.json", "index.safetensors"
DTYPES = ("float32", "float16", "bfloat16")
# version found -> function from its manifest to the next version's; old stores are read for ever.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
OURS = re.compile(rf"({PLAN}|{MANIFEST}|{INDEX}|{SAMPLES}|shard-\d{{6}}\.(safetensors|json))\Z")
# What must agree to resume, but not to use a finished store: another machine's bytes differ in the last bit.
ENVIRONMENT = "environment"


def shard_name(number: int) -> str:
    """File name of a shard; names hold numbers only, never anything of the input."""
    return f"shard-{number:06d}.safetensors"


def sidecar(folder: Path, number: int) -> Path:
    """The record beside a shard: its checksum, and the plan it belongs to."""
    return folder / f"shard-{number:06d}.json"


def load_arrays_named(path: Path, name: str, n: int | None = None) -> np.ndarray:
    """One array of a file already checked, or its first ``n`` rows."""
    entry = read_header(path)[name]
    return read_rows(path, entry, 0, entry.shape[0] if n is None else min(n, entry.shape[0]))


def seal(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with the sha256 of its own canonical JSON, so that it vouches for itself."""
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    return {**body, "sha256": hashlib.sha256(to_json(body)).hexdigest()}


def brief(value: Any) -> str:
    """A value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def newer(folder: Path, version: int) -> StoreError:
    """The error for a store of a version this program does not know."""
    return StoreError(
        "the store was written by a newer version",
        where=f"folder {str(folder)!r}",
        expected=f"format version up to {VERSION}",
        got=str(version),
        do="Update sciinterp.",
    )


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of a finished store, checked against itself and migrated to the current version.

    Raises
    ------
    StoreError
        No store here, an unfinished one, a damaged manifest, or a newer version.
    """
    folder = Path(folder)
    path, where = folder / MANIFEST, f"folder {str(folder)!r}"
    if not path.is_file():
        if not (folder / PLAN).is_file():
            raise StoreError(
                "this is not a store of activations",
                where=where,
                expected=MANIFEST,
                got="none",
                do="Make one with extract.",
            )
        raise StoreError(
            "the store is not finished", where=where, do="Run the same extract again to finish it."
        )
    manifest = read_json(path)
    damaged = StoreError(
        "the manifest is damaged", where=f"file {str(path)!r}", do="Restore it from a copy, or extract anew."
    )
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(
            "this is not a store of activations",
            where=where,
            expected=f"format {FORMAT!r}",
            got=brief(manifest.get("format") if isinstance(manifest, dict) else manifest),
        )
    version = manifest.get("version")
    if isinstance(version, int) and version > VERSION:
        raise newer(folder, version)
    if path.read_bytes() != to_json(manifest) or seal(manifest) != manifest:
        raise damaged
    for step in range(int(version or 0), VERSION):
        if step not in MIGRATIONS:
            raise damaged
        manifest = MIGRATIONS[step](manifest)
    return manifest
