"""Bytes from anywhere to lines, tables or trees: the one way text, gzip, JSON and XML enter the package.

A reader is total: whatever the bytes, it gives what the file says or one error that names file and line. Here
live the reasons for which a file is refused before its format is looked at: it is no regular file (a pipe
would never end), it is not text, a line or a table is wider than any of its kind, the archive is damaged or
unpacks to more than its bytes can mean, the XML declares a document type. Every bound is checked while
reading, before memory is taken.

Text is UTF-8, or UTF-16 with its mark, with or without a byte order mark; a line ends with LF, CRLF or CR.
"""

from __future__ import annotations

import codecs
import gzip
import importlib
import io
import json
import os
import re
import stat
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import BinaryIO
from xml.etree import ElementTree
from xml.parsers import expat

from sciinterp.errors import HOME, FormatError, InputError, SciinterpError, no_such_file, require_fetched

CHUNK, SMALL = 1 << 16, 1 << 20
# Archives that are not unpacked here, by their first bytes.
_FOREIGN = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip (or a spreadsheet)",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x1f\x9d": "compress (.Z)",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!": "RAR",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet (.xls)",
    b"PAR1": "Parquet",
    b"%PDF": "PDF",
}
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_WHOLE = re.compile(r"[0-9]{1,18}|[0-9]{1,3}(?:,[0-9]{3}){1,5}", re.ASCII)
_ESCAPED = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may be at most; :func:`limits` changes it for a while.

    Attributes
    ----------
    ratio, free_bytes, unpacked_bytes : int
        An archive may unpack to ``free_bytes``, or to ``ratio`` times its own size, never beyond
        ``unpacked_bytes``. Biological text compresses 4 to 20 times.
    line : int
        Characters of a line. Sequences are exempt: a chromosome may stand on one.
    columns : int
        Columns of a table.
    depth : int
        Levels of XML; UniProt's has 7.
    """

    ratio: int = 100
    free_bytes: int = 4 << 20
    unpacked_bytes: int = 64 << 30
    line: int = 1 << 24
    columns: int = 10_000
    depth: int = 100

    def unpacked(self, packed: int) -> int:
        """How many bytes an archive (or a compressed data set) of ``packed`` bytes may hold."""
        return min(max(self.free_bytes, self.ratio * packed), self.unpacked_bytes)


_USUAL = Limits()
_LIMITS: ContextVar[Limits] = ContextVar("limits", default=_USUAL)


def bounds() -> Limits:
    """The limits in force."""
    return _LIMITS.get()


@contextmanager
def limits(**changes: int) -> Iterator[Limits]:
    """Read with other limits, for files that are trusted.

    Examples
    --------
    >>> with limits(ratio=5000) as wide:
    ...     wide.ratio, bounds().ratio
    (5000, 5000)
    """
    token = _LIMITS.set(replace(_LIMITS.get(), **changes))
    try:
        yield _LIMITS.get()
    finally:
        _LIMITS.reset(token)


def open_regular(path: str | Path) -> io.BufferedReader:
    """Open a regular file; anything else behind the name is refused at once, never waited for.

    Raises
    ------
    InputError
        There is no such file, it may not be read, or it is a pipe, a device, a folder.
    """
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        if stat.S_ISREG(os.fstat(number).st_mode):
            os.read(number, 1)  # a disk or a server that fails says so here
            os.lseek(number, 0, os.SEEK_SET)
    except FileNotFoundError:
        raise no_such_file(path, do=HOME if str(path).startswith("~") else "") from None
    except (OSError, ValueError) as error:
        said = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError("the file cannot be opened", where=f"file '{str(path)[:200]}'", got=said) from None
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        kind = next((name for test, name in _KINDS if test(mode)), "something else")
        raise InputError("this is no regular file", where=f"file '{path}'", got=kind)
    return os.fdopen(number, "rb")


class _Unpacked(io.RawIOBase):
    """A decompressed stream that stops being read when it outgrows its archive."""

    def __init__(self, packed: BinaryIO, path: Path) -> None:
        self._packed, self._stream, self._path, self._read = packed, gzip.GzipFile(fileobj=packed), path, 0
        self._limit = bounds().unpacked(os.fstat(packed.fileno()).st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
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
        self._packed.close()
        super().close()


def open_bytes(path: str | Path) -> io.BufferedReader:
    """Open a regular file for reading, unpacking gzip by its first bytes rather than by its name.

    Raises
    ------
    InputError
        See :func:`open_regular`.
    FormatError
        It is an archive of another kind.
    """
    handle = open_regular(path)
    head = handle.peek(32)[:32]
    if head[:2] == b"\x1f\x8b":
        if os.fstat(handle.fileno()).st_size < SMALL:  # looked through before any parser spends time on it
            with suppress(OSError, EOFError, zlib.error), _Unpacked(open_regular(path), Path(path)) as once:
                while once.read(CHUNK):
                    pass
        return io.BufferedReader(_Unpacked(handle, Path(path)), CHUNK)
    try:
        require_fetched(head, path)
    except FormatError:
        handle.close()
        raise
    kind = next((name for magic, name in _FOREIGN.items() if head.startswith(magic)), None)
    if kind:
        handle.close()
        raise FormatError(
            "an archive of this kind is not read",
            file=str(path),
            expected="text, or gzip",
            got=kind,
            do="Unpack it, or save it as text.",
        )
    return handle


class Text(io.TextIOBase):
    """A text file as a stream of checked lines that end with LF; ``number`` is the line reached, from 1."""

    def __init__(
        self, path: str | Path, *, sequences: bool = False, opened: io.BufferedReader | None = None
    ) -> None:
        self._file, self.number, self._rest = str(path), 0, ""
        self._longest = (1 << 40) if sequences else bounds().line
        self._raw = opened or open_bytes(path)
        try:
            head = self._raw.peek(2)[:2]
        except (EOFError, zlib.error, OSError) as error:
            self._raw.close()
            raise self._damaged(error) from None
        wide = head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        decoder = codecs.getincrementaldecoder("utf-16" if wide else "utf-8-sig")("surrogateescape")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
        # Whole lines that are not handed out yet; the beginning of the next one; whether any of it may be refused.
        self._lines: deque[str] = deque()
        self._begun: list[str] = []
        self._length = 0
        self._suspect = self._ended = False

    def _damaged(self, error: Exception) -> FormatError:
        if isinstance(error, FormatError):
            return error
        what = "this is not text" if isinstance(error, UnicodeError) else "the archive is damaged"
        return FormatError(what, file=self._file, line=self.number + 1, got=str(error))

    def _bad(self, what: str, **said: str) -> FormatError:
        return FormatError(what, file=self._file, line=self.number, **said)

    def readable(self) -> bool:
        return True

    def piece(self) -> str:
        """The next characters of the file, unchecked; empty at its end."""
        text = ""
        while not (text or self._ended):
            try:
                data = self._raw.read1(CHUNK)
                text = self._decoder.decode(data, final=not data)
            except (EOFError, zlib.error, OSError, UnicodeError, FormatError) as error:
                raise self._damaged(error) from None
            self._ended = not data
        return text

    def _fill(self) -> bool:
        """Read on until there is a whole line, or the last one; whether there is any."""
        while not (self._lines or self._ended):
            text = self.piece()
            self._suspect = (self._suspect and self._length > 0) or _suspect(text)
            self._suspect |= self._length + len(text) > self._longest
            *whole, rest = text.split("\n")
            if whole:
                whole[0] = "".join([*self._begun, whole[0]])
                self._lines.extend(whole)
                self._begun, self._length = [], 0
            if rest:
                self._begun.append(rest)
                self._length += len(rest)
            if (self._ended and self._begun) or self._length > self._longest:
                self._lines.append("".join(self._begun))
        return bool(self._lines)

    def _next(self) -> str:
        """The next of the lines that are there, checked."""
        line = self._lines.popleft()
        self.number += 1
        if not self._suspect:
            return line
        if len(line) > self._longest:
            raise self._bad("a line is too long", expected=f"at most {self._longest:,} characters")
        if "\0" in line:
            raise self._bad("binary data in a text file", got="a NUL byte")
        if bad := _ESCAPED.search(line):
            got = f"byte 0x{ord(bad[0]) - 0xDC00:02x}"
            raise self._bad("this is not UTF-8 text", got=got, do="Save the file as UTF-8.")
        return line.removeprefix("\ufeff")  # the mark of a file that was put behind another

    def readline(self, size: int | None = -1, /) -> str:
        if not self._fill():
            return ""
        line = self._next()
        return line if self._ended and self._begun and not self._lines else line + "\n"

    def lines(self) -> Iterator[str]:
        """The lines that are left, without their ends."""
        while self._fill():
            while self._lines:
                yield self._next()

    def read(self, size: int | None = -1, /) -> str:
        if size is None or size < 0:
            out, self._rest = self._rest + "".join(iter(self.readline, "")), ""
            return out
        while len(self._rest) < size and (line := self.readline()):
            self._rest += line
        out, self._rest = self._rest[:size], self._rest[size:]
        return out

    def close(self) -> None:
        self._raw.close()
        super().close()


def _suspect(text: str) -> bool:
    """Whether a line of it may have to be refused or changed."""
    return "\0" in text or bool(not text.isascii() and (_ESCAPED.search(text) or "\ufeff" in text))


def read_lines(path: str | Path, *, sequences: bool = False) -> Iterator[tuple[int, str]]:
    """Lines of a text file with their 1-based numbers, without line ends.

    Parameters
    ----------
    path : path
    sequences : bool
        Whether a line may hold a whole sequence, so that its length is not bounded.

    Raises
    ------
    FormatError
        When a line is not text or too long, or the archive is damaged.
    """
    with Text(path, sequences=sequences) as handle:
        yield from enumerate(handle.lines(), start=1)


def first_lines(path: str | Path, n: int = 50, width: int = 4000) -> list[str]:
    """The first lines that are not blank, each cut at ``width``.

    Raises
    ------
    FormatError
        It is empty or damaged, or an archive that is not unpacked here.
    """
    text = io.StringIO()
    with Text(path, opened=open_bytes(path)) as handle:
        while text.tell() < n * width and (piece := handle.piece()):
            text.write(piece)
    lines = text.getvalue()[: n * width].split("\n")
    if not text.getvalue().strip():
        raise FormatError("the file is empty", file=str(path))
    return [line[:width] for line in lines if line.strip()][:n]


def read_json(path: str | Path) -> object:
    """The value in a JSON file (standard library: no code, no types, depth bounded by the interpreter)."""
    with Text(path, sequences=True) as handle:
        text = "".join(handle)
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
    except SciinterpError:
        raise
    except (EOFError, zlib.error, OSError, ValueError, LookupError) as error:
        raise FormatError(
            "this XML cannot be read", file=str(path), line=parser.CurrentLineNumber, got=str(error)
        ) from None
    yield from done


def _collect(
    parser: expat.XMLParserType, tag: str, done: list[tuple[int, ElementTree.Element]], file: str
) -> None:
    """Let ``parser`` build a tree for every ``tag`` element and forget everything outside of them."""
    depth = inside = 0
    deepest = bounds().depth
    builder = ElementTree.TreeBuilder()

    def local(name: str) -> str:
        return name.rsplit("}", 1)[-1]

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, inside, builder
        depth += 1
        if depth > deepest:
            raise FormatError(
                "XML nested too deeply",
                file=file,
                line=parser.CurrentLineNumber,
                expected=f"{deepest} levels",
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

    def refuse(name: str, *_: object) -> None:
        raise FormatError(
            "a document type declaration, which may declare entities, is refused",
            file=file,
            line=parser.CurrentLineNumber,
            got=f"DOCTYPE {name}",
        )

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, data
    parser.StartDoctypeDeclHandler = refuse


def whole(text: str, what: str, file: str | Path, line: int) -> int:
    """A non-negative whole number in digits, with or without commas at the thousands, or an error.

    Examples
    --------
    >>> whole("1,000", "the start", "a.bed", 1), whole(" 12 ", "the start", "a.bed", 1)
    (1000, 12)
    """
    text = text.strip()
    if not _WHOLE.fullmatch(text):
        raise FormatError(f"{what} is not a whole number", file=str(file), line=line, got=repr(text[:40]))
    return int(text.replace(",", ""))


def need(package: str, extra: str, what: str) -> ModuleType:
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


@contextmanager
def parsing(file: str | Path, what: str, line: Callable[[], int] = lambda: 0) -> Iterator[None]:
    """Whatever another package raises over the data becomes one :class:`FormatError`: this is not ``what``."""
    try:
        yield
    except (SciinterpError, MemoryError):
        raise
    # Other packages raise what they like over broken data; all of it means that the data are broken.
    except Exception as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise FormatError(f"this is not {what}", file=str(file), line=line(), got=text) from None
