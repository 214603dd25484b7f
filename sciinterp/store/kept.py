"""Outcomes of a long computation, a file each, so that it is stopped and resumed at will."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from sciinterp.errors import MismatchError
from sciinterp.settings import Plain
from sciinterp.store.atomic import as_json, make_folder, read_json
from sciinterp.store.sealed import SEAL, check_sealed, write_sealed

log = logging.getLogger(__name__)

PLAN = "plan.json"
# What every file here holds; two of them are enough to know one, so that a damaged byte does not hide it.
_WORDS = (b'"plan"', b'"outcome"', b'"sha256"')


def kept(
    folder: Path | None,
    name: str,
    make: Callable[[], Plain],
    *,
    plan: Mapping[str, object] | None = None,
) -> Plain:
    """What the file ``name`` of a folder holds, made first where there is none; only made where there is no folder.

    The file keeps the ``plan`` beside the outcome, so that one folder may hold outcomes of several plans, and the
    sha256 of both. One without a checksum, of an older version, is made again.

    Raises
    ------
    MismatchError
        The plan in the file is another.
    StoreError
        The file is damaged.
    """
    if folder is None:
        return make()
    path = folder / f"{name}.json"
    found = _read(path, plan or {})
    if found is None:
        write_sealed(path, {"plan": dict(plan or {}), "outcome": make()})
        found = read_json(path)
    return found["outcome"]


def planned_folder(out: str | Path | None, plan: Mapping[str, object]) -> Path | None:
    """The folder of outcomes, made where it is missing; None for None.

    Raises
    ------
    MismatchError
        Its plan, which is written first, is another.
    StoreError
        Its plan is damaged.
    """
    if out is None:
        return None
    folder = make_folder(out)
    if _read(folder / PLAN, plan) is None:
        write_sealed(folder / PLAN, {"plan": dict(plan), "outcome": None})
    return folder


def is_kept(path: Path) -> bool:
    """Whether a JSON file is one of these, damaged or not."""
    raw = path.read_bytes()
    return sum(word in raw for word in _WORDS) > 1


def check_kept(path: Path) -> Plain:
    """The content of a file.

    Raises
    ------
    StoreError, FormatError
        It is not what was written.
    """
    found = read_json(path)
    check_sealed(path, found, required=True)
    return found


def _read(path: Path, plan: Mapping[str, object]) -> Plain | None:
    """The content of a file of this plan; None where there is none, or an older one without a checksum."""
    if not path.is_file():
        return None
    found = read_json(path)
    sealed = isinstance(found, dict) and SEAL in found
    if sealed:
        found = check_kept(path)
    if plan:
        stated = found.get("plan", found) if isinstance(found, dict) else found
        _require_same(stated, plan, f"file '{path}'")
    if not sealed:
        log.info("%s is without a checksum, and made again", path)
    return found if sealed else None


def _require_same(found: object, plan: Mapping[str, object], where: str) -> None:
    if found != as_json(dict(plan)):
        raise MismatchError(
            "what lies there was made with other settings",
            where=where,
            expected=str(plan),
            got=str(found),
            do="Choose another --out.",
        )
