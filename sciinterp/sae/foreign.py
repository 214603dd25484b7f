"""SAEs of other packages."""

from __future__ import annotations

from pathlib import Path

from sciinterp.errors import InputError
from sciinterp.sae.base import SAE
from sciinterp.sae.files import CONFIG, WEIGHTS, load_native


def recognise(path: Path) -> str:
    """The format of a folder or file."""
    if (path / CONFIG).exists() and (path / WEIGHTS).exists():
        return "saelens"
    raise InputError("this is not an SAE", where=f"'{path}'", expected=f"{CONFIG} and {WEIGHTS}")


def read(path: Path, format: str) -> SAE:
    """An SAE in a named format."""
    return load_native(path)
