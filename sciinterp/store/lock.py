"""One writer at a time: a lock file that names its holder and dies with it.

Where the system has ``flock`` the kernel drops the lock when the holder dies, however it dies, so a lock file
left behind is simply taken over. Where it has not (Windows, some cluster file systems) the file's own
existence is the lock, and one left by a process that no longer runs on this host is recognised as stale.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from sciinterp.errors import BusyError, StoreError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Its name starts with a dot: a folder that holds only this is an empty folder.
LOCK = ".lock"
_NO_FLOCK = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}


@contextlib.contextmanager
def folder_lock(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the folder's lock while writing.

    Parameters
    ----------
    folder : path
        An existing folder; the lock is the file ``.lock`` in it, gone when the block ends.

    Raises
    ------
    BusyError
        Another process (or thread) writes here; the message names its pid and host.
    """
    path = Path(folder) / LOCK
    descriptor = _acquire(path)
    try:
        yield
    finally:
        # Unlinked before it is released, so nobody can lock a file that is about to vanish unseen.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path) -> int:
    for _ in range(100):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StoreError(
                f"cannot write ({error.strerror or error})", where=f"folder {str(path.parent)!r}"
            ) from error
        try:
            if not _lock(descriptor, path):
                raise _busy(path)
            if not _same_file(descriptor, path):  # the holder removed it between our open and our lock
                os.close(descriptor)
                continue
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
            return descriptor
        except BaseException:
            os.close(descriptor)
            raise
    raise _busy(path)


def _lock(descriptor: int, path: Path) -> bool:
    """True when this descriptor now holds the lock."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            if error.errno not in _NO_FLOCK:
                raise
    holder = _holder(path)
    return not holder or (holder.get("host") == socket.gethostname() and not _alive(holder.get("pid")))


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


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
