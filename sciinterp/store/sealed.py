"""JSON that vouches for itself: the sha256 of the object stands in it, so that a file and its checksum change at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from sciinterp.errors import StoreError
from sciinterp.settings import Plain
from sciinterp.store.atomic import to_json, write_json

SEAL = "sha256"


def seal(values: Mapping[str, object]) -> Plain:
    """The object with the sha256 of its own canonical JSON."""
    body = {key: value for key, value in values.items() if key != SEAL}
    return {**body, SEAL: hashlib.sha256(to_json(body)).hexdigest()}


def write_sealed(path: str | os.PathLike[str], values: Mapping[str, object]) -> None:
    """Write an object with its checksum, atomically."""
    write_json(path, seal(values))


def check_sealed(
    path: str | os.PathLike[str], values: Mapping[str, object], *, required: bool = False
) -> bool:
    """Whether an object read from ``path`` carries its checksum.

    Raises
    ------
    StoreError
        The file is not the one that was written, or (``required``) has lost its checksum.
    """
    if SEAL not in values and not required:
        return False
    kept = dict(values)
    if seal(kept) != kept or Path(path).read_bytes() != to_json(kept):
        raise StoreError(
            "a file is damaged or was changed",
            where=f"file {str(path)!r}",
            expected=f"sha256 {str(seal(kept)[SEAL])[:12]}",
            got=str(kept.get(SEAL, "none"))[:12],
            do="Restore it from a copy, or run the step that wrote it again.",
        )
    return True
