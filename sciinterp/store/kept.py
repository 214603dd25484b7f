"""Outcomes of a long computation, a file each, so that it is stopped and resumed at will."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sciinterp.errors import MismatchError
from sciinterp.store.atomic import make_folder, read_json, to_json, write_json

PLAN = "plan.json"


def kept(
    folder: Path | None,
    name: str,
    make: Callable[[], dict[str, Any]],
    *,
    plan: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the file ``name`` of a folder holds, made first where there is none; only made where there is no folder.

    With a ``plan`` the file keeps it beside the outcome, so that one folder may hold outcomes of several plans.

    Raises
    ------
    MismatchError
        The plan in the file is another.
    """
    if folder is None:
        return make()
    path = folder / f"{name}.json"
    if not path.is_file():
        outcome = make()
        write_json(path, outcome if plan is None else {"plan": dict(plan), "outcome": outcome})
    found = read_json(path)
    if plan is None:
        return found
    _require_same(found["plan"], plan, f"file '{path}'")
    return found["outcome"]


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
    else:
        _require_same(read_json(path), plan, f"folder '{folder}'")
    return folder


def _require_same(found: Any, plan: Mapping[str, Any], where: str) -> None:
    if found != json.loads(to_json(dict(plan))):
        raise MismatchError(
            "what lies there was made with other settings",
            where=where,
            expected=str(plan),
            got=str(found),
            do="Choose another --out.",
        )
