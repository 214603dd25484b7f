"""The values of a JSON object, asked for by name and type: what is wrong with one is a line that names the key."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sciinterp.errors import FormatError
from sciinterp.store.atomic import read_json
from sciinterp.store.guard import require_regular

T = TypeVar("T")
_NONE: Any = object()
MAX_BYTES = 64 << 20  # a configuration of more is none


class Fields:
    """One JSON object of a file, read with a schema instead of a try a line.

    Parameters
    ----------
    values : mapping
    file : str
        For messages.
    inside : str
        The key the object itself stands under.

    Examples
    --------
    >>> Fields({"k": 3.0}, "cfg.json").whole("k", low=1)
    3
    """

    def __init__(self, values: object, file: str | os.PathLike[str], inside: str = "") -> None:
        self.file, self.inside = str(file), inside
        if not isinstance(values, Mapping):
            raise FormatError(
                "holds no object",
                file=self.file,
                expected=inside or "a JSON object",
                got=type(values).__name__,
            )
        self.values: Mapping[str, object] = values

    @classmethod
    def read(cls, path: Path | None, *, inside: Path | None = None) -> Fields:
        """The object of a JSON file; an empty one where there is no file."""
        if path is None:
            return cls({}, "")
        if require_regular(path, inside=inside) > MAX_BYTES:
            raise FormatError(
                "larger than a configuration", file=str(path), expected=f"at most {MAX_BYTES} bytes"
            )
        return cls(read_json(path), path)

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def refused(self, key: str, expected: str, do: str = "") -> FormatError:
        """The error for a value that cannot be used."""
        got = repr(self.values.get(key, "nothing"))
        got = got if len(got) <= 60 else got[:60] + "..."
        where = f"{self.inside}.{key}" if self.inside else key
        return FormatError(f"'{where}' cannot be used", file=self.file, expected=expected, got=got, do=do)

    def whole(self, key: str, default: T = _NONE, *, low: int = 0) -> int | T:
        """An integer of at least ``low``."""
        if self.values.get(key) is None and default is not _NONE:
            return default
        value = self._finite(key, "a whole number")
        if value != int(value) or not low <= value < 1 << 62:
            raise self.refused(key, f"a whole number, at least {low}")
        return int(value)

    def number(self, key: str) -> float:
        """A finite number."""
        return float(self._finite(key, "a finite number"))

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        return self._of(bool, key, default, "true or false")

    def text(self, key: str, default: str = "") -> str:
        """Text."""
        return self._of(str, key, default, "text")

    def choice(self, key: str, choices: Iterable[str], default: str, do: str = "") -> str:
        """One of some words."""
        value, known = self._of(str, key, default, "text", do), tuple(choices)
        if key in self and value not in known:
            raise self.refused(key, " or ".join(known), do)
        return value

    def _finite(self, key: str, expected: str) -> int | float:
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.refused(key, expected)
        return value

    def _of(self, kind: type[T], key: str, default: T, expected: str, do: str = "") -> T:
        value = self.values.get(key)
        if value is not None and not isinstance(value, kind):
            raise self.refused(key, expected, do)
        return default if value is None else value

    def inner(self, key: str) -> Fields:
        """The object under a key; an empty one where there is none."""
        value = self.values.get(key)
        where = f"{self.inside}.{key}" if self.inside else key
        return Fields({} if value is None else value, self.file, where)

    def only(self, known: Iterable[str], do: str) -> None:
        """Raise for a key that is not known: what is not understood is never passed over."""
        for key in sorted(set(map(str, self.values)) - set(known)):
            raise FormatError("a key that is not understood", file=self.file, got=f"'{key}'", do=do)
