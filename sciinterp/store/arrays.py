"""Arrays in safetensors files, checked by sha256 before a number is used.

The writer is our own because the file must be the same bytes for the same arrays (names in sorted order, data
64-byte aligned) and because numpy has no bfloat16: such arrays are ``uint16`` here and tagged ``BF16`` in the
file, so that every safetensors reader sees bfloat16.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from sciinterp.errors import FormatError, ShapeError, StoreError, require_fetched
from sciinterp.settings import Plain
from sciinterp.store.atomic import atomic_write, sha256_file
from sciinterp.store.guard import parse_json, require_held, require_regular

_TAGS = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
_NAMES = {tag: name for name, tag in _TAGS.items()}
# Our own headers are small; a larger one is damage or an attack, not a store.
_MAX_HEADER = 16 << 20
_ALIGN = 64


class Entry(NamedTuple):
    """Where one array lies in a file: its dtype name, its shape, its first byte and its size in bytes."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The numpy dtype that holds it: uint16 for bfloat16."""
        return np.dtype("uint16" if self.dtype == "bfloat16" else self.dtype).newbyteorder("<")


class _Hashing:
    """A file that hashes what is written through it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: bytes | memoryview) -> None:
        self.digest.update(data)
        self.file.write(data)


def save_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray | list[np.ndarray]],
    *,
    bfloat16: tuple[str, ...] = (),
) -> str:
    """Write arrays to one safetensors file, atomically; the same arrays give the same bytes.

    Parameters
    ----------
    path : path
        The file.
    arrays : mapping
        Name to array, or to a list of arrays whose rows are written one after the other, as if concatenated.
    bfloat16 : tuple of str
        Names of uint16 arrays whose bits are bfloat16.

    Returns
    -------
    str
        sha256 of the file.
    """
    pieces = {
        name: value if isinstance(value, list) else [np.asarray(value)] for name, value in arrays.items()
    }
    header: dict[str, dict[str, object]] = {}
    position = 0
    # Wide types first keeps every array aligned without gaps, which the format forbids.
    order = sorted(pieces, key=lambda name: (-pieces[name][0].dtype.itemsize, name))
    for name in order:
        parts = pieces[name]
        dtype, shape = parts[0].dtype, list(parts[0].shape)
        if shape and len(parts) > 1:
            shape[0] = sum(len(part) for part in parts)
        tag = "BF16" if name in bfloat16 else _TAGS.get(dtype.name)
        if (
            tag is None
            or (name in bfloat16 and dtype != np.uint16)
            or any(part.dtype != dtype or part.shape[1:] != parts[0].shape[1:] for part in parts)
        ):
            raise TypeError(f"array {name!r} of dtype {dtype} cannot be stored")
        nbytes = sum(part.nbytes for part in parts)
        header[name] = {"dtype": tag, "shape": shape, "data_offsets": [position, position + nbytes]}
        position += nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGN)
    total = 8 + len(text) + position
    digest = ""

    def write(file: BinaryIO) -> None:
        nonlocal digest
        out = _Hashing(file)
        out.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            for part in pieces[name]:
                if part.size:
                    part = np.ascontiguousarray(part, dtype=part.dtype.newbyteorder("<"))
                    out.write(part.reshape(-1).view(np.uint8).data)
        digest = out.digest.hexdigest()

    atomic_write(path, write, need=total)
    return digest


def read_header(path: str | os.PathLike[str]) -> dict[str, Entry]:
    """Where every array of a safetensors file lies.

    Raises
    ------
    FormatError
        Not a safetensors file: whatever the bytes are, no other exception is raised.
    """
    try:
        size = require_regular(path)
        with open(path, "rb") as file:
            head = file.read(32)
            require_fetched(head, path)
            length = int.from_bytes(head[:8], "little")
            file.seek(8)
            if size < 8 or length > min(_MAX_HEADER, size - 8):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            found = parse_json(file.read(length), path)
            found.pop("__metadata__", None)
            _require_known({record["dtype"] for record in found.values()}, path)
            entries = {name: _entry(record, 8 + length, size) for name, record in found.items()}
        # Arrays that share bytes would be read once for each.
        require_held(sum(entry.nbytes for entry in entries.values()), size - 8 - length, path)
        return entries
    except StoreError as error:
        raise FormatError("not a safetensors file", file=str(path), got=error.what) from error
    except FormatError:
        raise
    except OSError as error:
        raise FormatError(f"cannot read ({error.strerror or error})", file=str(path)) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FormatError("not a safetensors file", file=str(path), got=str(error)) from error


def _require_known(tags: set[str], path: str | os.PathLike[str]) -> None:
    """Raise where numbers are of a type that is none of ours, such as the eight bits of ``F8_E4M3``."""
    if other := sorted(map(str, tags - set(_NAMES))):
        raise FormatError(
            "numbers of a type that is not read",
            file=str(path),
            expected=", ".join(_NAMES),
            got=", ".join(other)[:60],
            do="Save the weights as float32, float16 or bfloat16.",
        )


def _entry(record: Plain, base: int, size: int) -> Entry:
    first, last = (int(x) for x in record["data_offsets"])
    shape = tuple(int(x) for x in record["shape"])
    entry = Entry(_NAMES[record["dtype"]], shape, base + first, last - first)
    if min(shape, default=0) < 0:
        raise ValueError("a negative shape")
    if first < 0 or base + last > size or entry.numpy.itemsize * math.prod(shape) != last - first:
        raise ValueError("offsets that do not fit the shape or the file")
    return entry


def read_rows(path: str | os.PathLike[str], entry: Entry, lo: int, hi: int) -> np.ndarray:
    """Rows ``[lo, hi)`` of one array, read from the file without mapping it."""
    width = entry.numpy.itemsize * math.prod(entry.shape[1:])
    out = np.empty((hi - lo, *entry.shape[1:]), entry.numpy)
    if out.nbytes:
        with open(path, "rb", buffering=0) as file:
            file.seek(entry.offset + lo * width)
            view, done = out.reshape(-1).view(np.uint8).data, 0
            while done < len(view):
                got = file.readinto(view[done:])
                if not got:
                    raise StoreError("a file ends early", where=f"file {str(path)!r}")
                done += got
    return out


def load_arrays(path: str | os.PathLike[str], *, sha256: str | None = None) -> dict[str, np.ndarray]:
    """Read all arrays of a file (bfloat16 as uint16 bits).

    Parameters
    ----------
    path : path
        The file.
    sha256 : str, optional
        What the file's hash must be; it is checked before anything is read.

    Raises
    ------
    StoreError
        The file is not the one that was written.
    """
    if sha256 is not None:
        check_sha256(path, sha256)
    header = read_header(path)
    return {
        name: read_rows(path, e, 0, e.shape[0]) if e.shape else _scalar(path, e) for name, e in header.items()
    }


def _scalar(path: str | os.PathLike[str], entry: Entry) -> np.ndarray:
    return read_rows(path, entry._replace(shape=(1,)), 0, 1).reshape(())


def check_sha256(path: str | os.PathLike[str], expected: str) -> None:
    """Raise :class:`~sciinterp.errors.StoreError` unless the file has this sha256."""
    found = sha256_file(path)
    if found != expected:
        raise StoreError(
            "a file is damaged or was changed",
            where=f"file {str(path)!r}",
            expected=f"sha256 {expected[:16]}…",
            got=f"{found[:16]}…",
            do="Remove the folder and run the step again, or restore it from a copy.",
        )


def widen(array: np.ndarray, dtype: str) -> np.ndarray:
    """float32 values of a stored array; ``dtype`` says what its bits are.

    Examples
    --------
    >>> widen(np.array([0x3FC0], np.uint16), "bfloat16")
    array([1.5], dtype=float32)
    """
    if dtype == "bfloat16":
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return np.asarray(array, dtype=np.float32)


def as_rows(data: Any) -> np.ndarray:
    """Rows of real numbers out of whatever holds them; a memmap stays one.

    Raises
    ------
    ShapeError
        Sparse, masked, complex, text, or a table with columns that are no numbers: what a cast would turn into other
        numbers in silence.

    Examples
    --------
    >>> as_rows([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    what = type(data).__name__
    if hasattr(data, "detach"):  # a tensor of torch, which this room does not import
        data = data.detach().cpu()
        data = data.float() if str(data.dtype) == "torch.bfloat16" else data
    if hasattr(data, "tocsr"):
        raise ShapeError("sparse rows are not read as activations", where=what, do="Pass x.toarray().")
    kind = getattr(data, "dtype", None)
    if isinstance(kind, np.dtype) and kind.kind in "fiu" and not isinstance(data, np.ndarray):
        return data  # a data set in a file, which is read by rows
    if np.ma.is_masked(data):
        raise ShapeError(
            "masked values are no activations", where=what, do="Leave their rows out, or x.filled()."
        )
    try:
        found = np.asarray(data)
        found = found.astype(np.float64) if found.dtype == object else found
    except (TypeError, ValueError):
        raise ShapeError("these are no rows of numbers", where=what, expected="[n, d_in]") from None
    if found.dtype.kind not in "fiub" or (found.ndim == 2 and not found.shape[1]):
        got = str(found.dtype) if found.dtype.kind not in "fiub" else str(list(found.shape))
        raise ShapeError("these are no rows of real numbers", where=what, expected="[n, d_in]", got=got)
    return found
