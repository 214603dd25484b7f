"""Dictionaries of text and numbers from a pickle, without running anything from it.

Published token dictionaries come as pickles. This one is gone through operation by operation before it is read; only a
dictionary from text to text or numbers comes out, numbers of NumPy included, and everything else is refused by name.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from typing import Any

import numpy as np

from sciinterp.errors import FormatError, InputError
from sciinterp.store.guard import require_regular
from sciinterp.store.torch_file import unsafe

MAX_BYTES = 64 << 20  # a dictionary of all genes has one or two
_OPERATIONS = set(
    "PROTO FRAME STOP MARK EMPTY_DICT DICT SETITEM SETITEMS BINUNICODE SHORT_BINUNICODE BINUNICODE8 UNICODE INT LONG FLOAT"
    " BININT BININT1 BININT2 LONG1 BINFLOAT NONE NEWTRUE NEWFALSE PUT GET BINPUT LONG_BINPUT BINGET LONG_BINGET MEMOIZE"
    " GLOBAL STACK_GLOBAL REDUCE BUILD TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_TUPLE BINBYTES SHORT_BINBYTES".split()
)


def read_plain(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The dictionary of a pickle: text to text or numbers.

    Raises
    ------
    InputError
        The file could run code on loading.
    FormatError
        Damaged, too large, or something else than such a dictionary.
    StoreError
        Not a regular file.
    """
    if require_regular(path) > MAX_BYTES:
        raise FormatError("larger than a dictionary", file=str(path), expected=f"at most {MAX_BYTES} bytes")
    try:
        with open(path, "rb") as file:
            raw = file.read()
        for operation, argument, _ in pickletools.genops(raw):
            if operation.name not in _OPERATIONS:
                raise unsafe(path, operation.name)
            if operation.name in ("LONG_BINPUT", "PUT") and not 0 <= int(argument or 0) <= len(raw):
                raise ValueError("a place in memory that the pickle does not fill")
        found = _Reader(raw, path).load()
    except (FormatError, InputError):
        raise
    # whatever a damaged pickle raises
    except Exception as error:
        said = (str(error).splitlines() or [""])[0][:80]
        raise FormatError(
            "cannot be read as a dictionary", file=str(path), got=said or type(error).__name__
        ) from error
    plain = {key: value.value if isinstance(value, _Number) else value for key, value in _items(found, path)}
    for key, value in plain.items():
        if not isinstance(key, str) or not isinstance(value, (str, int, float)):
            what = f"{str(key)[:40]!r}: {type(value).__name__}"
            raise FormatError("is no dictionary of text and numbers", file=str(path), got=what)
    return plain


def _items(found: Any, path: str | os.PathLike[str]) -> Any:
    if not isinstance(found, dict):
        raise FormatError("is no dictionary of text and numbers", file=str(path), got=type(found).__name__)
    return found.items()


class _Type:
    """A NumPy type, as the pickle describes it: its name, and a state that is not needed."""

    def __init__(self, name: str, *_: Any) -> None:
        if name not in ("f8", "f4", "f2", "i8", "i4", "i2", "u4", "u8"):
            raise ValueError(f"numbers of type {name[:20]!r}")
        self.type = np.dtype("<" + name)

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] not in ("<", "|"):
            raise ValueError("numbers in another byte order")


class _Number:
    """One number of NumPy."""

    def __init__(self, kind: Any, raw: Any) -> None:
        if not isinstance(kind, _Type) or not isinstance(raw, bytes) or len(raw) != kind.type.itemsize:
            raise ValueError("a number that is none")
        self.value = np.frombuffer(raw, kind.type)[0].item()


class _Reader(pickle.Unpickler):
    """An unpickler that knows NumPy's numbers, as classes of this file, and nothing else."""

    def __init__(self, raw: bytes, path: str | os.PathLike[str]) -> None:
        super().__init__(io.BytesIO(raw))
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "dtype"):
            return _Type
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "scalar":
            return _Number
        raise unsafe(self.path, f"{module}.{name}")
