"""Arrays of a ``.pt`` file without torch, and without running anything from it.

A ``.pt`` file is a zip archive: ``data.pkl`` says which tensors there are, ``data/N`` hold their numbers. The pickle is
gone through operation by operation before it is read, and only dictionaries, texts, numbers and plain tensors come out:
everything else is refused by name. What a tensor declares is held against the bytes that are there before any is made.
"""

from __future__ import annotations

import collections
import math
import os
import zipfile
from collections.abc import Iterable

import numpy as np

from sciinterp.errors import FormatError, require_fetched
from sciinterp.store.arrays import widen
from sciinterp.store.guard import require_held, require_regular
from sciinterp.store.plain_pickle import PlainUnpickler, refusing

_STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
# What torch writes for named tensors; a larger pickle is something else.
_MAX_PICKLE, _MAX_ENTRIES = 8 << 20, 100_000
# Under what a training's state keeps the tensors.
_STATES = ("model_state_dict", "state_dict", "model")
# Tied weights are in the file once and under two names.
_TIMES, _SPARE = 2, 1 << 20


class _Storage(str):
    """The name of a storage type, as it stands in the pickle."""


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, object]]:
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
    if not isinstance(found, dict) or len(states) != 1:
        return _named(found, path), {}
    settings = found.get("model_config") or {}
    if not isinstance(settings, dict):
        raise FormatError("model_config is no table", file=str(path), got=type(settings).__name__)
    return _named(found[states[0]], path), {str(name): value for name, value in settings.items()}


def _loaded(path: str | os.PathLike[str]) -> object:
    """Whatever plain values the file holds."""
    size = require_regular(path)
    with open(path, "rb") as file:
        require_fetched(file.read(32), path)
    with refusing(path, "file of tensors"), zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        held = sum(entry.file_size for entry in entries)
        if len(entries) > _MAX_ENTRIES or any(e.compress_type != zipfile.ZIP_STORED for e in entries):
            raise ValueError("a compressed archive")
        require_held(held, size, path)
        record = next((e for e in entries if e.filename.endswith("/data.pkl")), None)
        if record is None or record.file_size > _MAX_PICKLE:
            raise ValueError("no data.pkl" if record is None else "a pickle larger than named tensors need")
        return _Reader(archive, record, path).load()


def _named(found: object, path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
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


class _Reader(PlainUnpickler):
    """An unpickler that admits dictionaries and plain tensors."""

    def __init__(
        self, archive: zipfile.ZipFile, record: zipfile.ZipInfo, path: str | os.PathLike[str]
    ) -> None:
        super().__init__(archive.read(record), path, self._admit)
        self.archive, self.root = archive, record.filename.removesuffix("data.pkl")
        self.kept: dict[str, np.ndarray] = {}

    def _admit(self, module: str, name: str) -> object:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in _STORAGES:
            return _Storage(_STORAGES[name])
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_: data
        if module.split(".")[0] == "torch" and (name.startswith("_rebuild") or name in ("device", "Size")):
            raise FormatError(
                "holds a tensor of a kind that is not read",
                file=str(self.path),
                expected="dense tensors on the CPU",
                got=name.removeprefix("_rebuild_"),
            )
        return None

    def persistent_load(self, pid: Iterable[object]) -> np.ndarray:
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


def _tensor(
    storage: np.ndarray, offset: int, shape: Iterable[int], stride: Iterable[int], *_: object
) -> np.ndarray:
    sides = [int(s) for s in shape]
    steps = [int(s) for s in stride]
    if len(sides) != len(steps) or offset < 0 or min([0, *sides, *steps]) < 0:
        raise ValueError("a negative shape or stride")
    count = math.prod(sides)
    last = offset + sum((side - 1) * step for side, step in zip(sides, steps))
    if count and last >= len(storage):
        raise ValueError("a tensor that reaches beyond its storage")
    if not count:
        return np.zeros([min(side, 1 << 31) for side in sides], storage.dtype)
    width = storage.itemsize
    return np.lib.stride_tricks.as_strided(storage[offset:], sides, [step * width for step in steps])
