"""Outcomes of a long computation, a file each, so that it is stopped and resumed at will."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sciinterp.errors import MismatchError
from sciinterp.store.atomic import make_folder, read_json, write_json

PLAN = "plan.json"


def kept(folder: Path | None, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the file ``name`` of a folder holds, made first where there is none; only made where there is no folder."""
    if folder is None:
        return make()
    path = folder / f"{name}.json"
    if not path.is_file():
        write_json(path, make())
    return read_json(path)


def planned_folder(out: str | Path | None, plan: Mapping[str, Any]) -> Path | None:
    """The folder of outcomes, made where it is missing; None for None.

    Raises
    ------
    MismatchError
        Its plan, which is written first, is another.
    """
    if out is None:
        return None
    folder = make_folder(out)
    path = folder / PLAN
    if not path.is_file():
        write_json(path, dict(plan))
    elif (found := read_json(path)) != plan:
        raise MismatchError(
            "the folder holds a benchmark of other settings",
            where=f"folder '{folder}'",
            expected=str(plan),
            got=str(found),
            do="Choose another --out.",
        )
    return folder
