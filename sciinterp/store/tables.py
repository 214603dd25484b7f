"""Tables as plain text that spreadsheets cannot be tricked by, and as Parquet.

TSV, UTF-8, one header line, ``\\n`` line ends. Numbers are written by ``repr``, so float64 comes back bit for
bit (float32 columns are widened first). A text cell is written as it is, unless that would be unsafe or
ambiguous; then it starts with an apostrophe, which spreadsheets read as "this is text", and has its control
characters and backslashes escaped:

* cells that start with ``= + - @`` (or their full-width forms), an apostrophe, a byte order mark, a tab or a line end:
  a spreadsheet would run them as formulas. A lone ``+`` or ``-`` (a strand) is harmless and stays.
* cells that hold a tab, a line end or a NUL anywhere, or blanks at an end, which other programs take off.

:func:`read_tsv` undoes exactly that. A cell with a double quote is quoted as in CSV, so that other readers
see what we see.

``pandas.read_csv(path, sep="\\t", float_precision="round_trip")``, or its engine ``pyarrow``, gives the numbers bit for
bit; the default of pandas trades the last digit for speed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from sciinterp.budget import give_back
from sciinterp.errors import FormatError, StoreError
from sciinterp.readers.delimited import unquoted
from sciinterp.settings import Plain
from sciinterp.store.atomic import atomic_write, to_json

# Rows written, and bytes read, at once: tables of hits have hundreds of thousands of rows.
_ROWS, _BYTES = 1 << 14, 1 << 22
# Sizes of numbers that Arrow writes as ``repr`` does, but for whole ones: elsewhere exponents differ.
_ALIKE = (1e-4, 1e7)
_STARTS = "=+-@＝＋－＠'\ufeff"
_CONTROL = re.compile("[\t\n\r\0\x0b\x0c\x85\u2028\u2029]")
_ESCAPE = {
    "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0",
    "\x0b": "\\v", "\x0c": "\\f", "\x85": "\\e", "\u2028": "\\l", "\u2029": "\\p",
}  # fmt: skip
_UNESCAPE = {written: original for original, written in _ESCAPE.items()}
_ESCAPED = re.compile(r"\\[\\tnr0vfelp]")
_SPECIAL = re.compile("[\\\\\t\n\r\0\x0b\x0c\x85\u2028\u2029]")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})\Z")
_FLOAT = re.compile(r"-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\Z|-?inf\Z|nan\Z|NaN\Z|\Z")


def escape_cell(text: str) -> str:
    """The written form of one text cell.

    Examples
    --------
    >>> escape_cell("=SUM(A1)"), escape_cell("F/C=C\\\\F"), escape_cell("-"), escape_cell("a\\tb")
    ("'=SUM(A1)", 'F/C=C\\\\F', '-', "'a\\\\tb")
    """
    if text in ("+", "-"):
        return text
    if (text[:1] and text[0] in _STARTS) or _CONTROL.search(text) or text != text.strip():
        return "'" + _SPECIAL.sub(lambda match: _ESCAPE[match.group()], text)
    return text


def unescape_cell(text: str) -> str:
    """The inverse of :func:`escape_cell`; a cell that it would not have written is returned as it is.

    Examples
    --------
    >>> unescape_cell("'=SUM(A1)"), unescape_cell("5'UTR"), unescape_cell("'a\\\\tb")
    ('=SUM(A1)', "5'UTR", 'a\\tb')
    """
    if not text.startswith("'"):
        return text
    original = _ESCAPED.sub(lambda match: _UNESCAPE[match.group()], text[1:])
    return original if escape_cell(original) == text else text


def write_tsv(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table as TSV, atomically.

    A named index is written as the first column; an unnamed one is not written. Cells that are dictionaries
    or lists are written as JSON. Missing numbers are ``nan``, missing text is empty.

    Parameters
    ----------
    frame : DataFrame
        Columns of unique names.
    path : path
        The file to write.
    """
    frame = _with_index(frame)

    def write(file: BinaryIO) -> None:
        header = "\t".join(_quote(escape_cell(str(name))) for name in frame.columns)
        file.write((header + "\n").encode("utf-8", "surrogatepass"))
        for low in range(0, len(frame), _ROWS):
            some = frame.iloc[low : low + _ROWS]
            rows = zip(*(_written(some.iloc[:, j]) for j in range(frame.shape[1])))
            lines = ("\t".join(row) + "\n" for row in rows)
            file.write("".join(lines).encode("utf-8", "surrogatepass"))

    atomic_write(path, write)


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    frame = pd.DataFrame(frame)
    if frame.index.name is not None and frame.index.name not in frame.columns:
        frame = frame.reset_index()
    if not frame.columns.is_unique:
        raise StoreError("a table has two columns of one name", got=", ".join(map(str, frame.columns)))
    return frame


def _written(column: pd.Series) -> list[str]:
    values = column.to_numpy()
    if values.dtype.kind == "f":
        return _numbers(values.astype(np.float64))
    if values.dtype.kind in "iub":
        return [str(x) for x in values.tolist()]
    known: dict[str, str] = {}
    out = []
    for value in column.tolist():
        text = value if type(value) is str else cell_text(value)
        if text not in known:
            known[text] = _quote(escape_cell(text))
        out.append(known[text])
    return out


def _numbers(values: np.ndarray) -> list[str]:
    """Each as ``repr`` writes it, one that comes again written once; by Arrow, four times as fast, where it writes the same."""
    import pyarrow as pa

    bits, again = np.unique(values.view(np.int64), return_inverse=True)  # 0.0 is not -0.0
    often = 2 * len(bits) <= len(values)
    wanted = bits.view(np.float64) if often else values
    texts = pa.array(wanted).cast(pa.string()).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        whole = wanted == np.trunc(wanted)
    odd = np.flatnonzero(whole | ~((np.abs(wanted) >= _ALIKE[0]) & (np.abs(wanted) < _ALIKE[1])))
    texts[odd] = [repr(x) for x in wanted[odd].tolist()]
    return (texts[again] if often else texts).tolist()


def cell_text(value: object) -> str:
    """One value as text: missing is empty, containers are JSON on one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, (dict, list, tuple, np.ndarray)):
        return " ".join(line.strip() for line in to_json(value).decode("utf-8", "surrogatepass").splitlines())
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def _quote(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if '"' in cell else cell


def plain_value(value: object) -> object:
    """What JSON can hold: tuples as lists, numbers of numpy as Python's, NaN as None."""
    if isinstance(value, tuple | list):
        return [plain_value(v) for v in value]
    value = single() if callable(single := getattr(value, "item", None)) else value
    return None if isinstance(value, float) and value != value else value


def records(frame: pd.DataFrame) -> list[Plain]:
    """Rows as plain values, None for what was not measured."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{k: plain_value(v) for k, v in r.items()} for r in plain.to_dict("records")]


def read_tsv(path: str | os.PathLike[str], *, text: Iterable[str] = ()) -> pd.DataFrame:
    """Read a table written by :func:`write_tsv`, or any plain TSV with a header line.

    A column is bool when every cell is ``True`` or ``False``, int64 when every cell is a whole number without
    leading zeros, float64 when every cell is a number, ``nan`` or empty (and one is a number), else text.

    Parameters
    ----------
    path : path
        The file.
    text : iterable of str
        Columns to leave as text, whatever they look like.

    Raises
    ------
    FormatError
        Not UTF-8, no header, two columns of one name, or a line with another number of cells.
    """
    raw = _read_bytes(path)
    names = next(_rows_of(raw, path), [[]])[0]
    names = [unescape_cell(unquoted(name)) for name in names]
    if not raw or not names:
        raise FormatError("an empty table", file=str(path), expected="a header line")
    if len(set(names)) != len(names):
        raise FormatError("two columns have one name", file=str(path), line=1, got=", ".join(names))
    keep = set(text)
    # Twice over the lines: what a column is follows from all of its cells, and a cell as text takes much memory.
    columns = [_Column(name in keep) for name in names]
    for cells in _columns_of(raw, path, len(names)):
        for column, some in zip(columns, cells):
            column.see(some)
    for cells in _columns_of(raw, path, len(names)):
        for column, some in zip(columns, cells):
            column.take(some)
    typed = {name: column.series() for name, column in zip(names, columns)}
    del columns, raw
    give_back()
    return pd.DataFrame(typed, columns=pd.Index(names, dtype="str"))


def _rows_of(raw: bytes, path: str | os.PathLike[str]) -> Iterator[list[list[str]]]:
    """The cells of some lines at a time."""
    how, low, number = "strict" if b"\xed" not in raw else "surrogatepass", 0, 1
    while low < len(raw):
        end = raw.find(b"\n", low + _BYTES)
        high = len(raw) if end < 0 else end + 1
        try:
            content = raw[low:high].decode("utf-8" if low else "utf-8-sig", how)
        except UnicodeDecodeError as error:
            line = number + raw.count(b"\n", low, low + error.start)
            raise FormatError("not UTF-8 text", file=str(path), line=line, got=str(error.reason)) from error
        lines = content.split("\n")
        if lines[-1] == "" or (lines[-1] == "\r" and high == len(raw)):
            lines.pop()
        if lines:
            yield [line.removesuffix("\r").split("\t") for line in lines]
        low, number = high, number + len(lines)


def _columns_of(raw: bytes, path: str | os.PathLike[str], width: int) -> Iterator[Iterable[tuple[str, ...]]]:
    """The cells of some lines below the header at a time, column by column."""
    number = 1
    for rows in _rows_of(raw, path):
        for line, row in enumerate(rows, start=number):
            if len(row) != width:
                raise FormatError(
                    "a line has another number of cells than the header",
                    file=str(path),
                    line=line,
                    expected=f"{width} cells",
                    got=str(len(row)),
                )
        yield zip(*(rows[1:] if number == 1 else rows))
        number += len(rows)


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FormatError(f"cannot read ({error.strerror or error})", file=str(path)) from error


class _Column:
    """One column of a table as it is read: what all of its cells can be, then the cells."""

    def __init__(self, as_text: bool) -> None:
        self.could = dict.fromkeys((bool, int, float), not as_text)
        self.valued, self.nan = False, not as_text
        self.parts: list[np.ndarray] = []
        self.known: dict[str, str] = {}
        self.texts: list[str] = []

    def see(self, cells: Iterable[str]) -> None:
        """Narrow what the column can be."""
        unique = set(cells)
        self.valued = self.valued or bool(unique - {"", "nan", "NaN"})
        self.nan = self.nan and unique <= {"nan", "NaN"}
        self.could[bool] = self.could[bool] and unique <= {"True", "False"}
        for kind, form in ((int, _INTEGER), (float, _FLOAT)):
            self.could[kind] = self.could[kind] and all(map(form.match, unique))

    @property
    def kind(self) -> type:
        """What the column is; without any value it is numbers where every cell is ``nan``, else text."""
        if not self.valued:
            return float if self.nan else str
        return next((kind for kind, could in self.could.items() if could), str)

    def take(self, cells: Iterable[str]) -> None:
        """Keep some cells."""
        kind = self.kind
        if kind is str:
            for cell in cells:
                if cell not in self.known:
                    self.known[cell] = unescape_cell(unquoted(cell))
                self.texts.append(self.known[cell])
        elif kind is bool:
            self.parts.append(np.array([cell == "True" for cell in cells], bool))
        elif kind is int:
            self.parts.append(np.array([int(cell) for cell in cells], np.int64))
        else:
            self.parts.append(np.array([float(cell) if cell else np.nan for cell in cells]))

    def series(self) -> pd.Series:
        """The cells as a column."""
        return pd.Series(np.concatenate(self.parts)) if self.parts else pd.Series(self.texts, dtype="str")


def write_parquet(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table as Parquet (zstd), atomically; index and containers as in :func:`write_tsv`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    frame = _with_index(frame).copy(deep=False)
    frame.attrs = {}
    frame.columns = [str(name) for name in frame.columns]
    for name in frame.columns:
        if frame[name].dtype == object:
            frame[name] = [None if x is None else cell_text(x) for x in frame[name]]
    table = pa.Table.from_pandas(frame, preserve_index=False)
    raw = pa.BufferOutputStream()
    pq.write_table(table, raw, compression="zstd", write_page_checksum=True)
    atomic_write(path, raw.getvalue().to_pybytes())


def read_parquet(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a Parquet table.

    Raises
    ------
    FormatError
        The file is missing or is not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(pa.BufferReader(_read_bytes(path)), page_checksum_verification=True).to_pandas()
    except pa.ArrowException as error:
        raise FormatError("not a Parquet table", file=str(path), got=str(error).splitlines()[0]) from error
