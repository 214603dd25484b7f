"""Arrays of a ``.pt`` file without torch, and without running anything from it.

A ``.pt`` file is a zip archive: ``data.pkl`` says which tensors there are, ``data/N`` hold their numbers. The pickle is
gone through operation by operation before it is read, and only dictionaries, texts, numbers and plain tensors come out:
everything else is refused by name. What a tensor declares is held against the bytes that are there before any is made.
"""

from __future__ import annotations

import collections
import io
import os
import pickle
import pickletools
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from sciinterp.errors import FormatError, InputError, require_fetched
from sciinterp.store.arrays import widen
from sciinterp.store.guard import require_held, require_regular

_STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
# What torch writes for named tensors. A larger pickle, or another operation, is something else.
_MAX_PICKLE, _MAX_ENTRIES = 8 << 20, 100_000
_OPERATIONS = set(
    "PROTO STOP MARK GLOBAL REDUCE BUILD BINPERSID EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3"
    " BINPUT LONG_BINPUT BINGET LONG_BINGET BINUNICODE SHORT_BINUNICODE BININT BININT1 BININT2 LONG1 BINFLOAT"
    " NEWTRUE NEWFALSE NONE SETITEM SETITEMS APPEND APPENDS FRAME MEMOIZE".split()
)
# Under what a training's state keeps the tensors.
_STATES = ("model_state_dict", "state_dict", "model")
# Tied weights are in the file once and under two names.
_TIMES, _SPARE = 2, 1 << 20


class _Storage(str):
    """The name of a storage type, as it stands in the pickle."""


def unsafe(path: str | os.PathLike[str], what: str = "") -> InputError:
    """The error for a file that could run code on loading."""
    return InputError(
        "this file could run code on loading",
        where=f"'{path}'",
        expected="safetensors, or a .pt file of tensors alone",
        got=what[:80],
        do="Convert it where it comes from.",
    )


def read_torch(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The named tensors of a ``.pt`` file as arrays (bfloat16 as float32); errors as of :func:`read_checkpoint`."""
    return _named(_loaded(path), path)


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The named tensors of a ``.pt`` file, or of a training's state that holds them, and that training's settings.

    Returns
    -------
    arrays : dict of str to array
        Bfloat16 as float32.
    settings : dict
        What stands under ``model_config`` beside the tensors' own table; empty in a file of tensors alone.

    Raises
    ------
    InputError
        The file could run code on loading.
    FormatError
        Not such a file, damaged, tensors of another kind (sparse, quantised, meta ...), or more declared than it holds.
    StoreError
        Not a regular file.
    """
    found = _loaded(path)
    states = [key for key in _STATES if isinstance(found, dict) and isinstance(found.get(key), dict)]
    if len(states) != 1:
        return _named(found, path), {}
    settings = found.get("model_config") or {}
    if not isinstance(settings, dict):
        raise FormatError("model_config is no table", file=str(path), got=type(settings).__name__)
    return _named(found[states[0]], path), {str(name): value for name, value in settings.items()}


def _loaded(path: str | os.PathLike[str]) -> Any:
    """Whatever plain values the file holds."""
    size = require_regular(path)
    with open(path, "rb") as file:
        require_fetched(file.read(32), path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            held = sum(entry.file_size for entry in entries)
            if len(entries) > _MAX_ENTRIES or any(e.compress_type != zipfile.ZIP_STORED for e in entries):
                raise ValueError("a compressed archive")
            require_held(held, size, path)
            record = next((e for e in entries if e.filename.endswith("/data.pkl")), None)
            if record is None or record.file_size > _MAX_PICKLE:
                raise ValueError(
                    "no data.pkl" if record is None else "a pickle larger than named tensors need"
                )
            reader = _Reader(archive, record, path)
            return reader.load()
    except (FormatError, InputError):
        raise
    except (OSError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError, zlib.error) as error:
        raise FormatError(
            "cannot be read as a file of tensors", file=str(path), got=str(error)[:80]
        ) from error
    except (
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        OverflowError,
        EOFError,
        RuntimeError,
        MemoryError,
    ) as error:
        raise FormatError(
            "cannot be read as a file of tensors", file=str(path), got=type(error).__name__
        ) from error


def _named(found: Any, path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Named tensors alone, of no more numbers than the file holds."""
    if not isinstance(found, dict) or not found:
        raise FormatError("does not hold named tensors", file=str(path), got=type(found).__name__)
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray):
            what = f"{str(name)[:40]!r}: {type(value).__name__}"
            raise FormatError("does not hold named tensors alone", file=str(path), got=what)
    held = _TIMES * os.stat(path).st_size + _SPARE
    require_held(sum(value.nbytes for value in found.values()), held, path)
    return dict(found)


class _Reader(pickle.Unpickler):
    """An unpickler that admits dictionaries and plain tensors."""

    def __init__(
        self, archive: zipfile.ZipFile, record: zipfile.ZipInfo, path: str | os.PathLike[str]
    ) -> None:
        raw = archive.read(record)
        super().__init__(io.BytesIO(raw))
        self.archive, self.root, self.path = (
            archive,
            record.filename.removesuffix("data.pkl"),
            Path(path),
        )
        self.kept: dict[str, np.ndarray] = {}
        for operation, argument, _ in pickletools.genops(raw):
            if operation.name == "GLOBAL":
                self._admit(*str(argument).split(" ", 1))
            elif operation.name not in _OPERATIONS:
                raise unsafe(path, operation.name)
            elif operation.name == "LONG_BINPUT" and not 0 <= int(argument or 0) <= len(raw):
                raise ValueError("a place in memory that the pickle does not fill")

    def _admit(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in _STORAGES:
            return _Storage(_STORAGES[name])
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_: data
        if module.split(".")[0] == "torch" and (name.startswith("_rebuild") or name in ("device", "Size")):
            raise FormatError(
                "holds a tensor of a kind that is not read",
                file=str(self.path),
                expected="dense tensors on the CPU",
                got=name.removeprefix("_rebuild_"),
            )
        raise unsafe(self.path, f"{module}.{name}")

    def find_class(self, module: str, name: str) -> Any:
        return self._admit(module, name)

    def persistent_load(self, pid: Any) -> np.ndarray:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, _Storage) or not isinstance(key, str):
            raise ValueError("a storage of an unknown kind")
        if key not in self.kept:
            raw = self.archive.read(f"{self.root}data/{key}")
            array = np.frombuffer(raw, np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<"))
            if len(array) != count:
                raise ValueError(f"a storage of {count} numbers that holds {len(array)}")
            self.kept[key] = widen(array, dtype) if dtype == "bfloat16" else array
        return self.kept[key]

    def _tensor(self, storage: np.ndarray, offset: int, shape: Any, stride: Any, *_: Any) -> np.ndarray:
        sides = [int(s) for s in shape]
        steps = [int(s) for s in stride]
        if len(sides) != len(steps) or offset < 0 or min([0, *sides, *steps]) < 0:
            raise ValueError("a negative shape or stride")
        count = 1
        for side in sides:
            count *= side
        last = offset + sum((side - 1) * step for side, step in zip(sides, steps))
        if count and last >= len(storage):
            raise ValueError("a tensor that reaches beyond its storage")
        if not count:
            return np.zeros([min(side, 1 << 31) for side in sides], storage.dtype)
        width = storage.itemsize
        return np.lib.stride_tricks.as_strided(storage[offset:], sides, [step * width for step in steps])
