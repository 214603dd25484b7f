"""Bytes from anywhere to lines or trees: the part every parser shares, so that none of them can be surprised.

A parser is total: whatever the bytes, it gives rows or one :class:`FormatError` that names file and line.
Here live the reasons a file can be refused before its format is looked at: it is not UTF-8, it holds NUL
bytes, it is a truncated or explosive archive, its XML declares entities.
"""

from __future__ import annotations

import gzip
import importlib
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree
from xml.parsers import expat

from sciinterp.errors import FormatError, InputError

# Biological text compresses 4 to 20 times; beyond this ratio (and size) an archive is a bomb, not data.
MAX_RATIO, FREE_BYTES = 100, 4 << 20
# UniProt XML is 7 levels deep, its JSON 8.
MAX_DEPTH = 100
CHUNK = 1 << 16
_WHOLE = re.compile(r"[0-9]{1,18}", re.ASCII)


class _Limited(io.RawIOBase):
    """A decompressed stream that stops being read when it outgrows its archive."""

    def __init__(self, stream: Any, path: Path, packed: int) -> None:
        self._stream, self._path, self._read = stream, path, 0
        self._limit = max(FREE_BYTES, MAX_RATIO * packed)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._read += len(data)
        if self._read > self._limit:
            raise FormatError(
                "the archive unpacks to far more than biological text does",
                file=str(self._path),
                expected=f"at most {self._limit >> 20} MiB",
                do="Unpack it yourself if you trust it.",
            )
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def open_bytes(path: str | Path) -> BinaryIO:
    """Open a file for reading, unpacking gzip by its first bytes rather than by its name.

    Raises
    ------
    InputError
        When there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("there is no such file", where=f"file '{path}'")
    handle = path.open("rb")
    if handle.peek(2)[:2] != b"\x1f\x8b":
        return handle
    return io.BufferedReader(_Limited(gzip.GzipFile(fileobj=handle), path, path.stat().st_size), CHUNK)


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Lines of a text file with their 1-based numbers, without line ends.

    Raises
    ------
    FormatError
        When a line is not UTF-8 text, or the archive is damaged.
    """
    number = 0
    with open_bytes(path) as handle:
        try:
            for raw in handle:
                number += 1
                if b"\0" in raw:
                    raise FormatError(
                        "binary data in a text file", file=str(path), line=number, got="a NUL byte"
                    )
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise FormatError(
                        "this is not UTF-8 text",
                        file=str(path),
                        line=number,
                        got=f"byte 0x{raw[error.start]:02x}",
                        do="Save the file as UTF-8.",
                    ) from None
                yield number, line.rstrip("\r\n")
        except (EOFError, zlib.error, OSError) as error:
            raise FormatError(
                "the archive is damaged", file=str(path), line=number + 1, got=str(error)
            ) from None


def read_json(path: str | Path) -> Any:
    """The value in a JSON file (standard library: no code, no types, depth bounded by the interpreter)."""
    text = "\n".join(line for _, line in read_lines(path))
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise FormatError("this is not JSON", file=str(path), line=error.lineno, got=error.msg) from None
    except (RecursionError, ValueError) as error:
        raise FormatError("this JSON cannot be read", file=str(path), got=str(error)) from None


def read_xml(path: str | Path, tag: str) -> Iterator[tuple[int, ElementTree.Element]]:
    """The elements called ``tag`` (namespaces removed), one at a time, with the line where each ends.

    Document type declarations are refused, so no entity is ever expanded and no other file is ever opened.

    Raises
    ------
    FormatError
        When this is not XML, or it declares a document type, or it nests beyond reason.
    """
    done: list[tuple[int, ElementTree.Element]] = []
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    _collect(parser, tag, done, str(path))
    try:
        with open_bytes(path) as handle:
            while chunk := handle.read(CHUNK):
                parser.Parse(chunk, False)
                yield from done
                done.clear()
            parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise FormatError(
            "this is not XML", file=str(path), line=error.lineno, got=expat.ErrorString(error.code)
        ) from None
    except (EOFError, zlib.error, OSError, ValueError, LookupError) as error:
        if isinstance(error, FormatError | InputError):
            raise
        raise FormatError(
            "this XML cannot be read", file=str(path), line=parser.CurrentLineNumber, got=str(error)
        ) from None
    yield from done


def _collect(parser: Any, tag: str, done: list[tuple[int, ElementTree.Element]], file: str) -> None:
    """Let ``parser`` build a tree for every ``tag`` element and forget everything outside of them."""
    depth = 0
    inside = 0
    builder = ElementTree.TreeBuilder()

    def local(name: str) -> str:
        return name.rsplit("}", 1)[-1]

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, inside, builder
        depth += 1
        if depth > MAX_DEPTH:
            raise FormatError(
                "XML nested too deeply",
                file=file,
                line=parser.CurrentLineNumber,
                expected=f"{MAX_DEPTH} levels",
            )
        if not inside and local(name) == tag:
            inside, builder = depth, ElementTree.TreeBuilder()
        if inside:
            builder.start(local(name), {local(k): v for k, v in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth, inside
        if inside:
            element = builder.end(local(name))
            if depth == inside:
                done.append((parser.CurrentLineNumber, element))
                inside = 0
        depth -= 1

    def data(text: str) -> None:
        if inside:
            builder.data(text)

    def refuse(name: str, *_: Any) -> None:
        raise FormatError(
            "a document type declaration is refused",
            file=file,
            line=parser.CurrentLineNumber,
            got=f"DOCTYPE {name}",
        )

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, data
    parser.StartDoctypeDeclHandler = refuse


def whole(text: str, what: str, file: str | Path, line: int) -> int:
    """A non-negative whole number written in digits, or an error naming file and line."""
    text = text.strip()
    if not _WHOLE.fullmatch(text):
        raise FormatError(f"{what} is not a whole number", file=str(file), line=line, got=repr(text[:40]))
    return int(text)


def need(package: str, extra: str, what: str) -> Any:
    """Import an optional package, or say which extra brings it.

    Raises
    ------
    InputError
        When it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        top = package.split(".")[0]
        raise InputError(
            f"{what} needs a package that is not installed",
            where=f"package '{top}'",
            do=f"Install it with: pip install 'sciinterp[{extra}]'.",
        ) from None


def guard(call: Callable[[], Any], file: str | Path, what: str, line: Callable[[], int] = lambda: 0) -> Any:
    """Run a reader of another package; whatever it raises over the data becomes one :class:`FormatError`."""
    try:
        return call()
    except (FormatError, InputError, KeyboardInterrupt, MemoryError):
        raise
    # Other packages raise what they like over broken data; all of it means that the data are broken.
    except Exception as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise FormatError(f"this is not {what}", file=str(file), line=line(), got=text) from None
