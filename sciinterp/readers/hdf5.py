"""AnnData files, looked over before they are read: what they claim, where they lead, whether reading them ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sciinterp.errors import FormatError
from sciinterp.readers.bounded import bounds, open_regular, parsing

if TYPE_CHECKING:
    import h5py
    import pandas as pd

# What a process of its own reads: the attributes and data sets that anndata would.
_READ_ALL = """
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except ImportError:
    pass
import h5py
def look(item):
    for name in item.attrs:
        item.attrs[name]
    if isinstance(item, h5py.Dataset):
        item[()]
with h5py.File(sys.argv[1], "r") as file:
    for name in sys.argv[3:]:
        look(file[name])
        if isinstance(file[name], h5py.Group):
            file[name].visititems(lambda _, item: look(item))
"""
# Beyond this, matrices are not read twice: only the tables are tried in a process of their own.
MAX_TRIED = 64 << 20


@contextmanager
def open_h5ad(path: str | Path, *names: str) -> Iterator[h5py.File]:
    """An h5py file of which the parts ``names`` are safe to read.

    Raises
    ------
    InputError
        No regular file.
    FormatError
        Not HDF5, a part is missing, claims more than the file holds, or leads to another file.
    """
    path = Path(path)
    open_regular(path).close()
    with parsing(path, "AnnData"):
        import h5py

        size = path.stat().st_size
        with h5py.File(path, "r") as file:
            for name in names:
                _possible(file, name, size)
        _survive(path, names if size < MAX_TRIED else [name for name in names if name in ("obs", "var")])
        with h5py.File(path, "r") as file:
            yield file


def table_of(file: h5py.File, name: str) -> pd.DataFrame:
    """A table of an AnnData file.

    Raises
    ------
    FormatError
        It is laid out as anndata did before 0.7, in which codes of categories look like numbers.
    """
    import anndata
    import pandas as pd

    found = anndata.io.read_elem(file[name])
    if not isinstance(found, pd.DataFrame):
        raise FormatError(
            f"{name} is laid out as anndata wrote it before 0.7",
            file=str(file.filename),
            expected="a table with a column of names",
            got=type(found).__name__,
            do="Write the file anew: anndata.read_h5ad(path).write_h5ad(path).",
        )
    return found


def _survive(path: Path, names: Iterable[str]) -> None:
    """Read the parts once in a process of its own, within a bound of processor time.

    The HDF5 library can loop for ever over damaged bytes; nothing in this process could stop it. Errors are not
    looked at: the reading that follows meets them again.
    """
    seconds = 3 + path.stat().st_size // 1_000_000
    command = [sys.executable, "-c", _READ_ALL, str(path), str(seconds), *names]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode < 0:
        raise ValueError(f"reading it ended by signal {-done.returncode}")


def _possible(group: h5py.Group, name: str, n_bytes: int, depth: int = 0) -> None:
    """Raise where a part claims more than the bytes could hold, or leads out of the file, before it is read."""
    import h5py

    if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
        raise ValueError(f"{name!r} leads to another file")
    if depth > bounds().depth:
        raise ValueError("groups nested too deeply")
    item = group[name]
    for attribute in item.attrs:
        found = h5py.h5a.open(item.id, attribute.encode())
        if found.get_space().get_simple_extent_npoints() * found.get_type().get_size() > n_bytes:
            raise ValueError(f"attribute {attribute!r} claims more than the file holds")
    if isinstance(item, h5py.Dataset):
        if item.external or item.is_virtual:
            raise ValueError(f"data set {item.name!r} leads to another file")
        if item.size * item.dtype.itemsize > bounds().unpacked(n_bytes):
            raise ValueError(f"data set {item.name!r} claims more than the file could unpack to")
    else:
        for inside in item:
            _possible(item, inside, n_bytes, depth + 1)
