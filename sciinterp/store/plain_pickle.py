"""Plain values from a pickle, without running anything from it.

A pickle is gone through operation by operation before it is read, and only what the reader names is looked up: everything
else is refused by name. Published token dictionaries come as pickles; of one a dictionary from text to text or numbers comes
out, numbers of NumPy included.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from sciinterp.errors import FormatError, InputError
from sciinterp.settings import Plain
from sciinterp.store.guard import require_regular

MAX_BYTES = 64 << 20  # a dictionary of all genes has one or two
_OPERATIONS = set(
    "PROTO FRAME STOP MARK EMPTY_DICT DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS BINUNICODE SHORT_BINUNICODE BINUNICODE8"
    " UNICODE INT LONG FLOAT BININT BININT1 BININT2 LONG1 BINFLOAT NONE NEWTRUE NEWFALSE PUT GET BINPUT LONG_BINPUT BINGET"
    " LONG_BINGET MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD BINPERSID EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 BINBYTES"
    " SHORT_BINBYTES".split()
)


def unsafe(path: str | os.PathLike[str], what: str = "") -> InputError:
    """The error for a file that could run code on loading."""
    return InputError(
        "this file could run code on loading",
        where=f"'{path}'",
        expected="safetensors, or a .pt file of tensors alone",
        got=what[:80],
        do="Convert it where it comes from.",
    )


@contextmanager
def refusing(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Whatever a damaged file raises while open is one :class:`~sciinterp.errors.FormatError`."""
    try:
        yield
    except (FormatError, InputError):
        raise
    except Exception as error:
        said = (str(error).splitlines() or [""])[0][:80]
        raise FormatError(
            f"cannot be read as a {what}", file=str(path), got=said or type(error).__name__
        ) from error


class PlainUnpickler(pickle.Unpickler):
    """An unpickler that knows what ``admitted`` gives for a module and a name; None is refused."""

    def __init__(
        self, raw: bytes, path: str | os.PathLike[str], admitted: Callable[[str, str], object]
    ) -> None:
        super().__init__(io.BytesIO(raw))
        self.path, self.admitted = path, admitted
        for operation, argument, _ in pickletools.genops(raw):
            if operation.name not in _OPERATIONS:
                raise unsafe(path, operation.name)
            if operation.name in ("LONG_BINPUT", "PUT") and not 0 <= int(argument or 0) <= len(raw):
                raise ValueError("a place in memory that the pickle does not fill")

    def find_class(self, module: str, name: str) -> object:
        found = self.admitted(module, name)
        if found is None:
            raise unsafe(self.path, f"{module}.{name}")
        # What is called is new each time: a pickle may set attributes of what it looked up.
        return (lambda *given: found(*given)) if callable(found) else found


def read_plain(path: str | os.PathLike[str]) -> Plain:
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
    with refusing(path, "dictionary"), open(path, "rb") as file:
        found = PlainUnpickler(file.read(), path, _admitted).load()
    fault = "is no dictionary of text and numbers"
    if not isinstance(found, dict):
        raise FormatError(fault, file=str(path), got=type(found).__name__)
    plain: Plain = {}
    for key, value in found.items():
        value = value.value if isinstance(value, _Number) else value
        if not isinstance(key, str) or not isinstance(value, (str, int, float)):
            raise FormatError(fault, file=str(path), got=f"{str(key)[:40]!r}: {type(value).__name__}")
        plain[key] = value
    return plain


def _admitted(module: str, name: str) -> object:
    """NumPy's numbers, as classes of this file."""
    if (module, name) == ("numpy", "dtype"):
        return _Type
    if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "scalar":
        return _Number
    return None


class _Type:
    """A NumPy type, as the pickle describes it: its name, and a state that is not needed."""

    def __init__(self, name: str, *_: object) -> None:
        if name not in ("f8", "f4", "f2", "i8", "i4", "i2", "u4", "u8"):
            raise ValueError(f"numbers of type {name[:20]!r}")
        self.type = np.dtype("<" + name)

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] not in ("<", "|"):
            raise ValueError("numbers in another byte order")


class _Number:
    """One number of NumPy."""

    def __init__(self, kind: object, raw: object) -> None:
        if not isinstance(kind, _Type) or not isinstance(raw, bytes) or len(raw) != kind.type.itemsize:
            raise ValueError("a number that is none")
        self.value = np.frombuffer(raw, kind.type)[0].item()
