"""One writer at a time: a lock file that names its holder and dies with it.

Where the system has ``flock`` the kernel drops the lock when the holder dies, however it dies, so a lock file
left behind is simply taken over. Where it has not (Windows, some cluster file systems) the file's own
existence is the lock, and one left by a process that no longer runs on this host is recognised as stale.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from sciinterp import distributed
from sciinterp.errors import BusyError, StoreError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

# Its name starts with a dot: a folder that holds only this is an empty folder.
LOCK = ".lock"
# A lock file that names nobody is being made, unless it is older than this.
_UNNAMED_SECONDS = 10.0
_NO_FLOCK = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}


@contextlib.contextmanager
def folder_lock(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the folder's lock while writing.

    Parameters
    ----------
    folder : path
        An existing folder; the lock is the file ``.lock`` in it, gone when the block ends.

    Of several ranks the first holds it for all.

    Raises
    ------
    BusyError
        Another process (or thread) writes here; the message names its pid and host.
    """
    if not distributed.first():  # the first rank holds it for all
        yield
        return
    path = Path(folder) / LOCK
    descriptor = _acquire(path)
    try:
        yield
    finally:
        # Unlinked before it is released, so nobody can lock a file that is about to vanish unseen.
        try:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _acquire(path: Path) -> int:
    for _ in range(100):
        try:
            descriptor = _flocked(path)
        except OSError as error:
            raise StoreError(
                f"cannot write ({error.strerror or error})", where=f"folder {str(path.parent)!r}"
            ) from error
        if descriptor is not None:
            # A full disk: the lock holds, it only does not say whose it is.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
            return descriptor
    raise _busy(path)


def _flocked(path: Path) -> int | None:
    """The lock file, locked by the kernel where it can; None when its holder removed it meanwhile."""
    if fcntl is None:
        return _created(path)
    made = True
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        made = False
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return None
    held = False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        pass
    except BlockingIOError:
        raise _busy(path) from None
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
        said = "%s: this file system has no locks; the file %s stands for one, and two hosts must not write here at once"
        log.warning(said, path.parent, LOCK)
        held = made
        if not made:
            return _created(path)
    finally:
        if not held:
            os.close(descriptor)
    return descriptor if held else None


def _created(path: Path) -> int | None:
    """The lock file, made by this process alone; None when a stale one was removed."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        pass
    try:
        holder, age = _holder(path), time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None
    here = holder.get("host") == socket.gethostname()
    if (here and not _alive(holder.get("pid"))) or (not holder and age > _UNNAMED_SECONDS):
        path.unlink(missing_ok=True)
        return None
    raise _busy(path)


def _holder(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _alive(pid: object) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _busy(path: Path) -> BusyError:
    holder = _holder(path)
    who = (
        f"process {holder['pid']} on {holder['host']}"
        if {"pid", "host"} <= set(holder)
        else "another process"
    )
    return BusyError(
        "another run is writing here",
        where=f"folder {str(path.parent)!r}",
        got=who,
        do="Wait for it to end, stop it, or choose another folder.",
    )
