"""Settings as text: frozen dataclasses from the sections of a TOML file, and back, with their documentation.

Every verb takes ``settings=<Verb>Settings(...)``; a configuration file is those dataclasses, section by section. A
key that is not a field is refused with the nearest one that is, and a value of another type is refused, too. What a
key means is read from the docstring of its class, so that file, manual and code say the same.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import textwrap
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from sciinterp.errors import FormatError, InputError, no_such

T = TypeVar("T")
MOST = 2**63  # no file, numpy or torch holds more
# Of a configuration: far more than any has, and little enough to be parsed in a second.
MAX_BYTES, MAX_PARTS = 1 << 20, 64
_BETWEEN_NAMES, _NO_BLANKS = re.compile(r"[\n=\[\]{},#]+"), str.maketrans("", "", " \t\r")
_ENTRY = re.compile(r"^(\w[\w, ]*) : .*$")


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises
    ------
    InputError, FormatError
        No such file, or it is not TOML: the message names the line.
    """
    path = Path(path)
    if not os.path.isfile(path):  # False, too, for a name that no file can have
        raise InputError(
            "there is no such file", where=f"file '{str(path)[:200]}'", do="'sciinterp init' writes one."
        )
    if path.stat().st_size > MAX_BYTES:
        raise FormatError(
            "too large for a configuration",
            file=str(path),
            expected=f"at most {MAX_BYTES:,} bytes",
            got=f"{path.stat().st_size:,}",
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        # The parser's time grows with the square of a name's parts.
        if any(token.count(".") > MAX_PARTS for token in _BETWEEN_NAMES.split(text.translate(_NO_BLANKS))):
            raise ValueError(f"a name of more than {MAX_PARTS} parts")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        line = re.search(r"line (\d+)", str(error))
        raise FormatError(
            "this is not TOML", file=str(path), line=int(line[1]) if line else 0, got=str(error)[:200]
        ) from None


def parse_value(text: str) -> Any:
    """A value as TOML would read it; text that is none stays text.

    Examples
    --------
    >>> parse_value("3"), parse_value("[1, 2]"), parse_value("layers.4")
    (3, [1, 2], 'layers.4')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def build(cls: type[T], values: Mapping[str, Any], *, section: str = "") -> T:
    """A settings record from plain values.

    Parameters
    ----------
    cls : frozen dataclass
    values : mapping
        Keys are fields of ``cls``; a field that is a dataclass itself takes a mapping.
    section : str
        Names the place in messages.

    Raises
    ------
    InputError
        A key that is no field, or a value of another type.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Train:
    ...     steps: int = 600
    >>> build(Train, {"steps": 30})
    Train(steps=30)
    >>> build(Train, {"step": 30}, section="train")
    Traceback (most recent call last):
    sciinterp.errors.InputError: no such key, [train]: expected 'steps', got 'step'.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"[{section}] is not a table", expected="key = value lines", got=repr(values)[:60])
    known = {f.name: f for f in fields(cls) if f.init}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise no_such("key", key, known, where=f"[{section}]" if section else "")
    hints = typing.get_type_hints(cls)
    found = {
        key: _value(value, hints[key], f"{section}.{key}" if section else key)
        for key, value in values.items()
    }
    absent = [name for name, f in known.items() if name not in found and _is_required(f)]
    if absent:
        raise InputError(
            "a key is missing",
            where=f"[{section}]",
            expected=", ".join(absent),
            got=", ".join(found) or "none",
        )
    try:
        return cls(**found)
    except InputError as error:
        raise InputError(
            error.what,
            where=f"[{section}] {error.where}".strip(),
            expected=error.expected,
            got=error.got,
            do=error.do,
        ) from None


def _is_required(f: Field[Any]) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def _value(value: Any, hint: Any, where: str) -> Any:
    """The value as its type asks for it, or an error that names the type."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        errors: list[InputError] = []
        for option in options:
            try:
                return _value(value, option, where)
            except InputError as error:
                errors.append(error)
        raise errors[0]
    if hint is type(None):
        ok = value is None
    elif origin is typing.Literal:
        if value not in options:
            raise no_such("choice", value, map(str, options), where=where)
        ok = True
    elif is_dataclass(hint):
        return build(typing.cast("type[Any]", hint), value, section=where)
    elif origin is tuple:
        ok = isinstance(value, list | tuple)
        if ok:
            each = options[:1] * len(value) if options[-1] is Ellipsis else options
            ok = len(each) == len(value)
            if ok:
                return tuple(_value(v, h, where) for v, h in zip(value, each))
    elif hint is float:
        ok = isinstance(value, int | float) and not isinstance(value, bool)
        ok = ok and value == value and (isinstance(value, float) or abs(value) < MOST)
        value = float(value) if ok else value
    elif hint in (int, bool, str):
        ok = type(value) is hint
        if ok and hint is int and not (0 if where.endswith("seed") else -MOST) <= value < MOST:
            said = f"a whole number below {MOST}, a seed from 0"
            raise InputError("a number that cannot be", where=where, expected=said, got=str(value)[:60])
    else:
        ok = True
    if not ok:
        raise InputError(
            "a value of another type", where=where, expected=_type_name(hint), got=repr(value)[:60]
        )
    return value


def plain_value(value: Any, hint: Any, where: str) -> Any:
    """A value given in Python, of numpy or not, as its type asks for it; errors as of a configuration's.

    Examples
    --------
    >>> plain_value(3, int, "seed")
    3
    """
    if is_dataclass(value):
        return value
    if typing.get_origin(hint) is tuple and isinstance(value, Iterable) and not isinstance(value, str):
        whole: Any = getattr(value, "tolist", None)
        parts: Any = whole() if callable(whole) else value
        value = tuple(parts)
    single: Any = getattr(value, "item", None)
    if callable(single) and getattr(value, "ndim", 1) == 0:
        value = single()
    return _value(value, hint, where)


def make_plain(made: Any) -> None:
    """Check the fields of a frozen dataclass that was made in Python as :func:`plain_value` does, and keep them so."""
    hints = typing.get_type_hints(type(made))
    for name in (field.name for field in fields(made)):
        value = getattr(made, name)
        plain = plain_value(value, hints[name], f"{type(made).__name__} {name}")
        if type(plain) is not type(value) and not isinstance(
            value, (int, float)
        ):  # a list, a number of numpy
            object.__setattr__(made, name, plain)


def _type_name(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(hint) or str(hint).replace("typing.", "")


def describe(cls: type[Any]) -> dict[str, str]:
    """Field -> what it is for, from the docstring of the class (its ``Attributes`` or ``Parameters``).

    Examples
    --------
    >>> describe(Documented)["steps"]
    'Training steps.'
    """
    lines, found, names = inspect.getdoc(cls) or "", {}, []
    for line in lines.splitlines():
        entry = _ENTRY.match(line)
        if entry:
            names = [name.strip() for name in entry[1].split(",")]
        elif line.startswith("    "):
            for name in names:
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
        elif line.strip():
            names = []
    return found


class Documented:
    """What :func:`describe` reads, for its example.

    Attributes
    ----------
    steps : int
        Training steps.
    """


def to_toml(record: Any, section: str, *, commented: bool = False) -> str:
    """A settings record as a section of TOML, each key below what it is for.

    Parameters
    ----------
    record : frozen dataclass
    section : str
    commented : bool
        Put every key behind ``#``: a template that shows defaults and changes nothing.
    """
    said, lines, nested = describe(type(record)), [f"[{section}]"], []
    mark = "# " if commented else ""
    for f in fields(record):
        value = getattr(record, f.name)
        if is_dataclass(value) and not isinstance(value, type):
            nested.append(to_toml(value, f"{section}.{f.name}", commented=commented))
            continue
        lines += [f"# {line}" for line in _wrapped(said.get(f.name, ""))]
        text = _literal(value)
        lines.append(f"{mark}{f.name} = {text}" if text is not None else f"# {f.name} =")
    return "\n".join(lines) + "\n" + "".join(f"\n{text}" for text in nested)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 100)


def _literal(value: Any) -> str | None:
    """TOML of a plain value; None where it has none (a None)."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_literal(v) or '""' for v in value) + "]"
    return repr(value) if isinstance(value, int | float) else json.dumps(str(value), ensure_ascii=False)
