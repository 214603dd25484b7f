"""Settings as text: frozen dataclasses from the sections of a TOML file, and back, with their documentation.

Every verb takes ``settings=<Verb>Settings(...)``; a configuration file is those dataclasses, section by section. A
key that is not a field is refused with the nearest one that is, and a value of another type is refused, too. What a
key means is read from the docstring of its class, so that file, manual and code say the same.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import textwrap
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, Protocol, TypeVar, runtime_checkable

from sciinterp.errors import FormatError, InputError, no_such, no_such_file, require_kinds

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
Taken = ParamSpec("Taken")
# Names and their values as JSON, TOML and a row of a table hold them: of any kind, until whoever reads them says which.
Plain = dict[str, Any]
MOST = 2**63  # no file, numpy or torch holds more
# Of a configuration: far more than any has, and little enough to be parsed in a second.
MAX_BYTES, MAX_PARTS = 1 << 20, 64
_BETWEEN_NAMES, _NO_BLANKS = re.compile(r"[\n=\[\]{},#]+"), str.maketrans("", "", " \t\r")
_ENTRY = re.compile(r"^(\w[\w, ]*) : .*$")


def read_toml(path: str | Path) -> Plain:
    """The tables of a TOML file; an error where there is no such file, or, with its line, where it is not TOML."""
    require_kinds(path=(path, Path))
    path = Path(path)
    if os.path.isdir(path):
        raise InputError("this is no configuration", where=f"file '{str(path)[:200]}'", got="a folder")
    if not os.path.isfile(path):  # False, too, for a name that no file can have
        raise no_such_file(path, do="'sciinterp init' writes one.")
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


def parse_value(text: str) -> object:
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


def build(cls: type[T], values: object, *, section: str = "") -> T:
    """A settings record, a frozen dataclass that may hold others, of plain values; `section` names the place in messages.

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
        said = f"key = value lines, or in Python {cls.__name__}(...)"
        raise InputError("this is not a table", where=f"[{section}]", expected=said, got=repr(values)[:60])
    known = {f.name: f for f in fields(cls) if f.init}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise no_such("key", key, known, where=f"[{section}]" if section else "")
    hints = typing.get_type_hints(cls)
    found = {key: _value(value, hints[key], _place(section, key)) for key, value in values.items()}
    absent = [name for name, f in known.items() if name not in found and _is_required(f)]
    if absent:
        raise InputError(
            "a key is missing",
            where=_place(section, absent[0]),
            expected=", ".join(absent),
            got=", ".join(found) or "none",
        )
    try:
        return cls(**found)
    except InputError as error:
        error.told_at(_place(section, error.where.removeprefix(f"{cls.__name__} ")))
        raise


def _place(section: str, key: str) -> str:
    """A key of a section, as messages name it."""
    return f"[{section}] {key}".rstrip() if section else key


def _is_required(f: Field[object]) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def _value(value: object, hint: object, where: str) -> object:
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
    if is_dataclass(hint) and isinstance(hint, type):
        section = re.sub(r"^\[(.*)\] ", r"\1.", where)
        return value if isinstance(value, hint) else build(hint, value, section=section)
    if origin is typing.Literal and value not in options:
        raise no_such("choice", value, map(str, options), where=where)
    if origin is tuple and isinstance(value, list | tuple):
        each = options[:1] * len(value) if options[-1] is Ellipsis else options
        if len(each) == len(value):
            return tuple(_value(v, h, where) for v, h in zip(value, each))
    if not _is_of(value, hint, origin, options):
        raise InputError(
            "a value of another type", where=where, expected=_type_name(hint), got=repr(value)[:60]
        )
    least = 0 if where.endswith("seed") else -MOST
    if hint is int and isinstance(value, int) and not least <= value < MOST:
        said = f"a whole number below {MOST}, a seed from 0"
        raise InputError("a number that cannot be", where=where, expected=said, got=str(value)[:60])
    return float(value) if hint is float and isinstance(value, int | float) else value


def _is_of(value: object, hint: object, origin: object, options: tuple[object, ...]) -> bool:
    """Whether a value is what a plain type, a class or a kind of collection asks for."""
    if hint is type(None):
        return value is None
    if hint is float:
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < MOST
        return whole or (isinstance(value, float) and value == value)
    if hint in (int, bool, str):
        return type(value) is hint
    if hint is typing.Any or origin is typing.Literal:
        return True
    if origin is type:
        of = options[0] if isinstance(options[0], type) and options[0] is not typing.Any else object
        return isinstance(value, type) and issubclass(value, of)
    kind = hint if origin is None else origin
    return origin is not tuple and (not isinstance(kind, type) or isinstance(value, kind))


@runtime_checkable
class _Array(Protocol):
    """What numpy and torch hold: one value, or a list of them."""

    ndim: int

    def item(self) -> object: ...
    def tolist(self) -> Iterable[object]: ...


class Bound(NamedTuple):
    """What a number may be: in words, and as a test."""

    says: str
    holds: Callable[[float], bool]


POSITIVE = Bound("a finite number above 0", lambda x: 0 < x < float("inf"))
SHARE = Bound("between 0 and 1", lambda x: 0 < x < 1)
UP_TO_ONE = Bound("from 0 to 1", lambda x: 0 <= x <= 1)


def at_least(least: float) -> Bound:
    """Finite numbers from one on.

    Examples
    --------
    >>> at_least(1).says, at_least(1).holds(0)
    ('1 or more', False)
    """
    return Bound(f"{least:g} or more", lambda x: least <= x < float("inf"))


def plain_value(value: object, hint: type[T], where: str, bound: Bound | None = None) -> T:
    """A value given in Python, of numpy or not, as its type asks for it; errors as of a configuration's.

    Examples
    --------
    >>> plain_value(3, int, "seed"), plain_value(3, float, "level")
    (3, 3.0)
    >>> plain_value(0, int, "n", at_least(1))
    Traceback (most recent call last):
    sciinterp.errors.InputError: a number out of range, n: expected 1 or more, got 0.
    """
    found = _plain(value, hint, where, bound)
    assert isinstance(found, hint)
    return found


def plain_row(values: object, kind: type[T], where: str, bound: Bound | None = None) -> tuple[T, ...]:
    """Several values as :func:`plain_value` takes one; text is one value, not a row of letters.

    Examples
    --------
    >>> plain_row([1, 2], int, "seeds")
    (1, 2)
    """
    found = _plain(values, tuple[kind, ...], where, bound)  # type: ignore[valid-type]
    assert isinstance(found, tuple)
    return found


def _plain(value: object, hint: object, where: str, bound: Bound | None = None) -> object:
    some = any(typing.get_origin(one) is tuple for one in (hint, *typing.get_args(hint)))
    if some and isinstance(value, Iterable) and not isinstance(value, str | Mapping):
        value = tuple(map(_single, value.tolist() if isinstance(value, _Array) else value))
    found = _value(_single(value), hint, where)
    for one in found if isinstance(found, tuple) else (found,):
        if bound is not None and isinstance(one, int | float) and not bound.holds(one):
            raise InputError("a number out of range", where=where, expected=bound.says, got=str(one)[:60])
    return found


def _single(value: object) -> object:
    return value.item() if isinstance(value, _Array) and value.ndim == 0 else value


def make_plain(made: DataclassInstance, **bounds: Bound) -> None:
    """Check the fields of a frozen dataclass that was made in Python as :func:`plain_value` does, and keep them so."""
    kind = type(made)
    hints = typing.get_type_hints(kind)
    for name in (field.name for field in fields(kind)):
        value = getattr(made, name)
        plain = _plain(value, hints[name], f"{kind.__name__} {name}", bounds.get(name))
        if type(plain) is not type(value) and not isinstance(
            value, (int, float)
        ):  # a list, a number of numpy
            object.__setattr__(made, name, plain)


def settings_of(given: T | None, kind: type[T]) -> T:
    """The settings that were given, or those by default; InputError where they are those of another verb."""
    if given is None:
        return kind()
    require_kinds(settings=(given, kind))
    return given


def checked(**bounds: Bound) -> Callable[[Callable[Taken, T]], Callable[Taken, T]]:
    """Check what a verb is given by the types it states, numbers by their bounds, as the values of a configuration.

    Examples
    --------
    >>> @checked(n=at_least(1))
    ... def draw(n: int, by: typing.Literal["row", "column"] = "row") -> int:
    ...     return n
    >>> draw(2)
    2
    >>> draw(2, by="rows")
    Traceback (most recent call last):
    sciinterp.errors.InputError: no such choice, by: expected 'row' or 'column', got 'rows'.
    """

    def wrapped(verb: Callable[Taken, T]) -> Callable[Taken, T]:
        signature, hints = inspect.signature(verb), dict[str, object]()

        @functools.wraps(verb)
        def call(*args: Taken.args, **named: Taken.kwargs) -> T:
            hints.update(hints or typing.get_type_hints(verb))
            given = signature.bind(*args, **named)
            for name, value in given.arguments.items():
                given.arguments[name] = _argument(value, hints[name], name, bounds.get(name))
            return verb(*given.args, **given.kwargs)

        return call

    return wrapped


def _argument(value: object, hint: object, name: str, bound: Bound | None) -> object:
    kind = Path if set(typing.get_args(hint)) == {str, Path} else hint
    plain = typing.get_origin(kind) or is_dataclass(kind) or kind in (int, float, bool, str)
    if plain or not isinstance(kind, type):
        return _plain(value, hint, name, bound)
    require_kinds(**{name: (value, kind)})
    return value


def _type_name(hint: object) -> str:
    names: dict[object, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        some: dict[object, str] = {int: "whole numbers", float: "numbers", str: "texts"}
        number = "" if options[-1] is Ellipsis else f"{len(options)} "
        return f"a list of {number}{some.get(options[0], 'values') if len({*options} - {...}) == 1 else 'values'}"
    if origin is Mapping:
        return "a table of key = value lines"
    plain = hint.__name__ if isinstance(hint, type) and origin is None else str(hint)
    return names.get(hint) or plain.replace("typing.", "")


def describe(cls: type) -> dict[str, str]:
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


def to_toml(
    record: DataclassInstance, section: str, *, commented: bool = False, only: Iterable[str] | None = None
) -> str:
    """A settings record as a section of TOML, each key below what it is for.

    With `commented` every key stands behind ``#``: a template that shows defaults and changes nothing; `only` names
    some of its fields, and keys of an empty section stand above the first one.
    """
    said, lines, nested = describe(type(record)), [f"[{section}]"] if section else [], []
    mark = "# " if commented else ""
    for f in (f for f in fields(record) if only is None or f.name in only):
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


def _literal(value: object) -> str | None:
    """TOML of a plain value; None where it has none (a None)."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_literal(v) or '""' for v in value) + "]"
    return repr(value) if isinstance(value, int | float) else json.dumps(str(value), ensure_ascii=False)
