"""Write a file so that a crash leaves the old one or the new one, never half of either.

The order is fixed: a unique temporary in the same folder, flush, fsync, rename over the target, fsync the
folder. On any error, KeyboardInterrupt included, the temporary is removed and the old file is untouched. A
full disk becomes one :class:`~sciinterp.errors.StoreError` that names the need.

A process killed outright can leave a temporary behind; its name starts with :data:`TEMPORARY_PREFIX`, and the
next writer that holds the folder's lock removes it with :func:`remove_temporaries`. A run folder has no lock, since
its verbs may run side by side: there what nobody has written to for an hour is removed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sciinterp import distributed
from sciinterp.budget import give_back
from sciinterp.errors import HOME, StoreError
from sciinterp.store.guard import parse_json, readable, require_regular

TEMPORARY_PREFIX = ".sciinterp-"
TEMPORARY_SUFFIX = ".tmp"
# No space, over quota, file larger than the limit of the file system or of the process.
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_CHUNK = 1 << 20


def atomic_write(
    path: str | os.PathLike[str], data: bytes | Callable[[BinaryIO], None], *, need: int = 0
) -> None:
    """Write ``data`` to ``path`` in one step: readers see the old bytes or the new ones.

    Parameters
    ----------
    path : path
        The file to write; its folder must exist.
    data : bytes or callable
        The content, or a function that writes it to the binary file it is given.
    need : int
        Bytes the whole file is expected to take, for the message when the disk is full (known for ``bytes``).

    Raises
    ------
    StoreError
        The disk is full, or the folder does not exist or cannot be written.
    """
    size = need if callable(data) else len(data)
    with placed(path, need=size) as temporary:
        descriptor = os.open(
            temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666
        )
        with os.fdopen(descriptor, "wb") as file:
            if callable(data):
                data(file)
            else:
                file.write(data)


@contextmanager
def placed(path: str | os.PathLike[str], *, need: int = 0) -> Iterator[Path]:
    """A temporary to be written while open, which then becomes ``path``: for what opens the file it writes by name.

    Parameters
    ----------
    path : path
        The file to write; its folder must exist.
    need : int
        Bytes it is expected to take.

    Raises
    ------
    StoreError
        As of :func:`atomic_write`.
    """
    target = Path(path)
    temporary = target.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    try:
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            # Where even this fails the first error is the one to tell; the next writer removes what is left.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)
    except OSError as error:
        raise _explain(error, target, need) from error


def _explain(error: OSError, target: Path, size: int) -> StoreError:
    if error.errno not in _FULL and os.strerror(errno.ENOSPC) not in str(error):  # HDF5 gives no number
        return StoreError(
            f"cannot write ({error.strerror or error})",
            where=f"file {str(target)!r}",
            do="Check that the folder exists and can be written.",
        )
    try:
        free = f"{shutil.disk_usage(target.parent).free:,} bytes"
    except OSError:
        free = "less"
    return StoreError(
        "no space left to write",
        where=f"file {str(target)!r}",
        expected=f"{size:,} bytes free" if size else "more free space",
        got=free,
        do="Free some space and run the same command again: what was finished is kept.",
    )


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make renames in ``folder`` durable. Does nothing where folders cannot be opened (Windows)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems refuse fsync on a folder; the rename itself has already happened.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create a folder and its parents; an error is one :class:`~sciinterp.errors.StoreError`."""
    folder = Path(path)
    _require_no_home(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _explain(error, folder, 0) from error
    return folder


def _require_no_home(folder: Path) -> None:
    """No folder is called ``~``: it would lie where the command runs, and not where one looks for it."""
    if folder.parts[:1] and folder.parts[0].startswith("~"):
        raise StoreError("the folder begins with '~'", where=f"'{folder}'", do=HOME)


def require_place(path: str | os.PathLike[str]) -> None:
    """Raise unless a folder can be written, or be made where it is missing: asked before work, not after it.

    Raises
    ------
    StoreError
    """
    _require_no_home(Path(path))
    folder = Path(path).absolute()
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _explain(error, Path(path), 0) from error


def write_each(
    folder: str | os.PathLike[str],
    files: Mapping[str, Callable[[], object]],
    *,
    computed: object = None,
    shared: bool = False,
) -> None:
    """Write all files of a folder that can be written, then say which could not be.

    Parameters
    ----------
    folder : path
        Made if it does not exist.
    files : mapping of str to callable
        Name -> what writes it; whatever one raises does not cost those after it.
    computed : object, optional
        What the files hold; the error carries it.
    shared : bool
        All ranks are here with the same files, and take them in turn.

    Raises
    ------
    StoreError
    """
    causes: list[Exception] = []
    make_folder(folder)

    def reason(name: str) -> str | None:
        try:
            files[name]()
        except Exception as error:
            causes.append(error)
            return " ".join(str(error).split())
        finally:
            give_back()
        return None

    reasons = distributed.spread(files, reason) if shared else map(reason, files)
    failed = {name: why for name, why in zip(files, reasons) if why is not None}
    if failed:
        got = "; ".join(f"{name} ({why})" for name, why in failed.items())
        kept = [name for name in files if name not in failed]
        error = StoreError(
            f"{len(failed)} of {len(files)} files could not be written",
            where=f"folder {str(folder)!r}",
            got=got,
            do=(f"Written: {', '.join(kept)}." if kept else "")
            + (" Nothing computed is lost: the error holds it as .computed." if computed is not None else ""),
        )
        error.computed = computed
        raise error from (causes[0] if causes else None)


_OVERWRITING: ContextVar[bool] = ContextVar("overwriting", default=False)


@contextmanager
def overwriting(wanted: bool = True) -> Iterator[None]:
    """Let verbs replace what another call left in their ``out=``, while open; what is of no verb is never touched.

    Examples
    --------
    >>> with overwriting():
    ...     is_overwriting()
    True
    """
    token = _OVERWRITING.set(wanted)
    try:
        yield
    finally:
        _OVERWRITING.reset(token)


def is_overwriting() -> bool:
    """Whether :func:`overwriting` is open."""
    return _OVERWRITING.get()


def remove_temporaries(folder: str | os.PathLike[str], *, idle: float = 0.0) -> int:
    """Remove what a killed writer left in ``folder``; without ``idle`` call it only while holding the folder's lock.

    Parameters
    ----------
    folder : path
    idle : float
        Seconds since a temporary was last written to, below which it is kept.

    Returns
    -------
    int
        How many temporaries were removed.
    """
    names, newest = f"{TEMPORARY_PREFIX}*{TEMPORARY_SUFFIX}", time.time() - idle
    left = [p for p in Path(folder).glob(names) if p.is_file() and (not idle or p.stat().st_mtime < newest)]
    for path in left:
        # One that cannot be removed is in nobody's way.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    return len(left)


def remove(path: Path) -> None:
    """Remove a file if it is there; an error is one :class:`~sciinterp.errors.StoreError`."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _explain(error, path, 0) from error


def to_json(obj: object) -> bytes:
    """The deterministic JSON of ``obj``: sorted keys, NaN and infinities as null, a newline at the end.

    Examples
    --------
    >>> to_json({"b": float("nan"), "a": (1, 2)})
    b'{\\n  "a": [\\n    1,\\n    2\\n  ],\\n  "b": null\\n}\\n'
    """
    text = json.dumps(_plain(obj), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    # A lone surrogate has no UTF-8; as "\udcXX" it is the JSON escape of itself.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _plain(obj: object) -> object:
    """Python's own types only: numpy scalars and arrays, paths, tuples and sets are converted."""
    if obj is None or isinstance(obj, (str, bool)):
        return obj
    if isinstance(obj, float):
        return float(obj) if math.isfinite(obj) else None
    if isinstance(obj, int):
        return int(obj)
    if isinstance(obj, dict):
        return {str(key): _plain(value) for key, value in obj.items()}
    if isinstance(obj, (set, frozenset)):
        return sorted((_plain(value) for value in obj), key=repr)
    if isinstance(obj, (list, tuple)):
        return [_plain(value) for value in obj]
    if callable(whole := getattr(obj, "tolist", None)):  # numpy scalars and arrays
        return _plain(whole())
    if isinstance(obj, os.PathLike):
        return os.fspath(obj)
    raise TypeError(f"a {type(obj).__name__} cannot be written as JSON")


def as_json(obj: object) -> Any:
    """What comes back of ``obj`` when it was written and is read."""
    return json.loads(to_json(obj))


def write_json(path: str | os.PathLike[str], obj: object) -> None:
    """Write ``obj`` as deterministic JSON (see :func:`to_json`), atomically."""
    atomic_write(path, to_json(obj))


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file; any bytes give an object or one clear error.

    Raises
    ------
    StoreError
        The file is missing or cannot be read.
    FormatError
        The file is not JSON.
    """
    require_regular(path)
    with readable(path):
        raw = Path(path).read_bytes()
    return parse_json(raw, path)


def sha256_file(path: str | os.PathLike[str]) -> str:
    """The sha256 of a file, in hexadecimal, read in pieces of one MiB."""
    digest = hashlib.sha256()
    require_regular(path)
    with readable(path), open(path, "rb", buffering=0) as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def array_sha256(array: np.ndarray) -> str:
    """The sha256 of an array: its type, its shape and its numbers, some rows at a time."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    step = max(1, _CHUNK // max(1, array[:1].nbytes))
    for lo in range(0, len(array), step):
        digest.update(np.ascontiguousarray(array[lo : lo + step]).data)
    return digest.hexdigest()
