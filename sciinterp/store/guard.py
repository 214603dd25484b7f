"""What is asked of a file before a byte of it is used: that it is one, lies where it should, and holds what it says.

A name can be a pipe, which is never read to its end, or a link to somewhere else; a header of some bytes can promise
gigabytes. Each is one line here instead of a process that hangs or is killed.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sciinterp.errors import FormatError, StoreError

# JSON nested deeper than this is no record of ours; the parser itself gives up at some thousands.
MAX_DEPTH = 100
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


@contextmanager
def readable(path: str | os.PathLike[str]) -> Iterator[None]:
    """A file that cannot be read while open is one :class:`~sciinterp.errors.StoreError`."""
    try:
        yield
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise StoreError(f"cannot read ({said})", where=f"file {str(path)!r}") from error


def require_regular(path: str | os.PathLike[str], *, inside: str | os.PathLike[str] | None = None) -> int:
    """The size of a file in bytes; an error unless it is a regular file, and, where asked for, inside a folder.

    Parameters
    ----------
    path : path
    inside : path, optional
        A folder that links must not lead out of.

    Raises
    ------
    StoreError
        Missing, a folder, a pipe, a device, or a link that leads out of the folder.
    """
    where = f"file {str(path)!r}"
    with readable(path):
        found = os.stat(path)
        real = os.path.realpath(path)
    if not stat.S_ISREG(found.st_mode):
        raise StoreError("cannot read (not a regular file)", where=where)
    if inside is not None and not Path(real).is_relative_to(os.path.realpath(inside)):
        raise StoreError(
            "a link leads out of its folder", where=where, do="Put the file itself there, if you trust it."
        )
    return found.st_size


def require_held(declared: int, held: int, path: str | os.PathLike[str]) -> None:
    """Raise unless a file holds as many bytes as its header declares; call it before anything is allocated.

    Raises
    ------
    FormatError
    """
    if not 0 <= declared <= held:
        raise FormatError(
            "the header declares what the file does not hold",
            file=str(path),
            expected=f"at most {held:,} bytes",
            got=f"{declared:,}",
        )


def parse_json(raw: bytes, path: str | os.PathLike[str]) -> Any:
    """The object that bytes of JSON hold.

    Raises
    ------
    FormatError
        Not JSON, not UTF-8, or nested deeper than :data:`MAX_DEPTH`.
    """
    depth = deepest = 0
    for match in _BRACKETS.finditer(raw) if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH else ():
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(match.group(), 0)
        deepest = max(deepest, depth)
    try:
        if deepest > MAX_DEPTH:
            raise ValueError(f"nested {deepest} deep")
        return json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise FormatError(
            "not a JSON file", file=str(path), line=getattr(error, "lineno", 0), got=str(error)
        ) from error
