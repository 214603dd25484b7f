"""The values of a JSON object, asked for by name and type: what is wrong with one is a line that names the key."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sciinterp.errors import FormatError
from sciinterp.store.atomic import read_json
from sciinterp.store.guard import require_regular

_NONE = object()
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
        self.values: Mapping[str, Any] = values

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

    def whole(self, key: str, default: Any = _NONE, *, low: int = 0) -> Any:
        """An integer of at least ``low``."""
        value = self.values.get(key)
        if value is None and default is not _NONE:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.refused(key, "a whole number")
        if value != int(value) or not low <= value < 1 << 62:
            raise self.refused(key, f"a whole number, at least {low}")
        return int(value)

    def number(self, key: str) -> float:
        """A finite number."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.refused(key, "a finite number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.refused(key, "true or false")
        return value

    def text(self, key: str, default: str = "") -> str:
        """Text."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.refused(key, "text")
        return value

    def choice(self, key: str, choices: Iterable[str], default: str, do: str = "") -> str:
        """One of some words."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or value not in (known := tuple(choices)):
            raise self.refused(key, " or ".join(known) if isinstance(value, str) else "text", do)
        return value

    def inner(self, key: str) -> Fields:
        """The object under a key; an empty one where there is none."""
        value = self.values.get(key)
        where = f"{self.inside}.{key}" if self.inside else key
        return Fields({} if value is None else value, self.file, where)

    def only(self, known: Iterable[str], do: str) -> None:
        """Raise for a key that is not known: what is not understood is never passed over."""
        for key in sorted(set(map(str, self.values)) - set(known)):
            raise FormatError("a key that is not understood", file=self.file, got=f"'{key}'", do=do)
