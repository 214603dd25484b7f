"""Tables as people save them: rows and cells, whatever wrote the separators, the quotes and the line ends."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from sciinterp.errors import FormatError
from sciinterp.readers.bounded import Text, bounds

# What a spreadsheet may write before the header.
_SEPARATOR = re.compile(r'"?sep=(.)"?')
# Texts that are remembered, so that one that recurs, such as a family, is one object however many rows have it.
KNOWN = 1 << 16
# Lines of one cell at most: a quote that stays open longer is no quote.
MAX_LINES = 100
# Rows that say how wide a table is; those cut short there are looked at whole.
LOOKED_AT = 1000
# Cells that a table may have without bytes for them: those a few rows lack at their end.
FREE_CELLS, CELLS_A_BYTE = 1 << 24, 2


def read_rows(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Cells of a table, row by row, each with its line number; the first row is the header.

    The separator is a tab where the header has one, else a comma, else a semicolon. Cells may stand in double
    quotes, as spreadsheets write them, and these may hold line ends. Blank lines, and the line ``sep=;`` with which
    a spreadsheet names its separator, are passed over; comments (``#``) above the header say nothing of it.

    Raises
    ------
    FormatError
        A quote without its other half, or more columns than any table has.
    """
    known: dict[str, str] = {}
    with Text(path) as handle:
        above, first, separator = _top(handle)
        for number, line in above:
            yield number, line.split(separator)
        lines = chain([first], handle) if first else []
        if separator == "\t":
            rows: Iterator[list[str]] = _tabbed(lines)
        else:
            csv.field_size_limit(max(csv.field_size_limit(), bounds().line))
            rows = csv.reader(lines, delimiter=separator, strict=True)
        try:
            for cells in rows:
                if len(cells) > bounds().columns:
                    raise _too_wide(path, handle.number, len(cells))
                if cells:
                    if len(known) < KNOWN:
                        known.update((cell, cell) for cell in cells if cell not in known)
                    yield handle.number, [known.get(cell, cell) for cell in cells]
        except csv.Error as error:
            raise FormatError(
                "this is not a table", file=str(path), line=handle.number, got=str(error)
            ) from None


def _top(handle: Text) -> tuple[list[tuple[int, str]], str, str]:
    """Comments above the header with their numbers, the first line of the table, and the separator."""
    above: list[tuple[int, str]] = []
    first, said = "", None
    while not first and (line := handle.readline()):
        if not above and not said and (said := _SEPARATOR.fullmatch(line.strip())):
            continue
        if line.lstrip().startswith("#"):
            above.append((handle.number, line.strip("\n")))
        elif line.strip():
            first = line
    shown = first or next((line for _, line in above), "")
    return above, first, said[1] if said else next((c for c in "\t,;" if c in shown), ",")


def _too_wide(path: str | Path, line: int, got: int) -> FormatError:
    return FormatError(
        "a table of too many columns",
        file=str(path),
        line=line,
        expected=f"at most {bounds().columns:,}",
        got=f"{got:,}",
    )


def _tabbed(lines: Iterable[str]) -> Iterator[list[str]]:
    """Rows of a table with tabs; one that ends too soon, within a cell whose quote is open, goes on below."""
    held: list[str] = []
    width = 0
    for line in lines:
        if not held and not line.strip():
            continue
        held.append(line)
        cells = "".join(held).rstrip("\n").split("\t")
        width = width or len(cells)
        opened = _opened(cells[-1])
        if opened and len(cells) <= width and len(held) < MAX_LINES:
            continue
        lone = [cells] if len(held) == 1 or (len(cells) <= width and not opened) else map(_split, held)
        yield from ([unquoted(cell) for cell in row] for row in lone)
        held = []
    yield from ([unquoted(cell) for cell in _split(line)] for line in held if line.strip())


def _split(line: str) -> list[str]:
    return line.rstrip("\n").split("\t")


def fitted(cells: list[str], width: int) -> list[str]:
    """A row without the blank cells that spreadsheets and editors leave behind the last column; short ones filled."""
    cells = cells if any(cell.strip() for cell in cells[width:]) else cells[:width]
    return cells + [""] * (width - len(cells))


def distinct(header: list[str], path: str | Path, line: int) -> list[str]:
    """A header, or an error that names a column which occurs twice in it."""
    twice = next((name for name, n in Counter(header).items() if name and n > 1), None)
    if twice is not None:
        raise FormatError("a column occurs twice", file=str(path), line=line, got=repr(twice[:60]))
    return header


class Table(NamedTuple):
    """A table: names of columns, rows as wide as these, and rows that are wider, each with its line.

    ``cells`` is text, its columns numbered, its index the line on which a row ends.
    """

    header: list[str]
    cells: pd.DataFrame
    wide: list[tuple[int, list[str]]]

    def whole(self, path: str | Path) -> Table:
        """This table, or an error that names the first row which is wider than the header."""
        for line, cells in self.wide[:1]:
            raise FormatError(
                "a row wider than the header",
                file=str(path),
                line=line,
                expected=f"{len(self.header)} cells",
                got=str(len(cells)),
            )
        return self


class _Grid(NamedTuple):
    """Rows cut to as many cells as the first ones have, and one more; how many each had; all of those cut off."""

    cells: pd.DataFrame
    widths: np.ndarray
    cut: dict[int, list[str]]


def read_table(path: str | Path) -> Table:
    """A table with a header, whatever editors and spreadsheets did to its rows.

    Comments above the header are passed over (a ``#`` before its first name is taken off), blank columns at its end
    are left out. Rows without content are passed over, cells missing at the end of a row are empty, and blank ones
    beyond the last column are nothing. A header one cell short, as R writes it, gets an unnamed first column where
    every row has one cell more, with something in it.

    Raises
    ------
    FormatError
        No header, or a column named twice.
    """
    cells, widths, cut = _with_content(_quick(path) or _slow(path))
    n = next((i for i, cell in enumerate(cells[0]) if not cell.lstrip().startswith("#")), len(cells))
    if n and widths[n - 1] > 1 and widths[n - 1] == widths[min(n, len(cells) - 1)]:
        n -= 1  # the header is written as the last comment
    if n == len(cells):
        raise FormatError("this is not a table", file=str(path), line=1, expected="a header line")
    header = [cell.strip() for cell in cells.iloc[n, : widths[n]]]
    header[0] = header[0].lstrip("#").strip()
    at, body, widths = int(cells.index[n]), cells[n + 1 :], widths[n + 1 :]
    cut = {row - n - 1: texts for row, texts in cut.items()}
    width = max((i + 1 for i, name in enumerate(header) if name), default=1)
    if len(body) and (widths == len(header) + 1).all() and not _blank(body[len(header)]).any():
        header, width = ["", *header], width + 1
    while width < len(header) and not _blank(body[width]).all():
        width += 1  # an unnamed column with content
    header = distinct(header[:width], path, at)
    beyond = np.zeros(len(body), bool)
    for column in range(width, body.shape[1]):
        beyond |= ~_blank(body[column])
    for row, texts in cut.items():
        beyond[row] |= any(text.strip() for text in texts[width:])
    wide = [
        (int(body.index[i]), cut.get(i) or body.iloc[i, : widths[i]].tolist())
        for i in np.flatnonzero(beyond).tolist()
    ]
    body = body[range(width)]
    return Table(header, body[~beyond] if wide else body, wide)


def _with_content(grid: _Grid) -> _Grid:
    """Without the rows in which nothing is written."""
    cells, widths, cut = grid
    keep = ~_blank(cells[0])
    if keep.all():
        return grid
    keep[~keep] = ~np.all([_blank(column) for _, column in cells[~keep].items()], axis=0)
    for row, texts in cut.items():
        keep[row] |= any(text.strip() for text in texts)
    place = np.cumsum(keep) - 1
    return _Grid(
        cells[keep], widths[keep], {int(place[row]): texts for row, texts in cut.items() if keep[row]}
    )


def _blank(column: pd.Series) -> np.ndarray:
    """bool [n_rows]: nothing but white space."""
    return each(column, str.strip) == ""


def each(column: pd.Series, make: Callable[[str], object]) -> np.ndarray:
    """What a function makes of every cell, asked once for each text that occurs."""
    code, texts = pd.factorize(column.to_numpy())
    made = np.empty(len(texts), object)
    made[:] = [make(text) for text in texts]
    return made[code]


def _slow(path: str | Path) -> _Grid:
    """The rows of any table."""
    rows = list(read_rows(path))
    width = max((len(cells) for _, cells in rows[:LOOKED_AT]), default=0) + 1
    _require_filled(path, len(rows), width, sum(sum(map(len, cells)) + len(cells) for _, cells in rows))
    cut = {i: cells for i, (_, cells) in enumerate(rows) if len(cells) > width}
    filled = [(cells + [""] * (width - len(cells)))[:width] for _, cells in rows]
    frame = pd.DataFrame(filled, index=[line for line, _ in rows], columns=range(width), dtype=object)
    return _Grid(frame, np.array([len(cells) for _, cells in rows], np.int64), cut)


def _quick(path: str | Path) -> _Grid | None:
    """The rows of a table by pandas' reader; None where that might read its quotes otherwise than :func:`read_rows`."""
    with Text(path) as handle:
        above, first, separator = _top(handle)
        start = handle.number
        text = "\n".join([first.removesuffix("\n"), *handle.lines()]).rstrip("\n") if first else ""
    if not (text and separator.isascii()) or separator == '"':
        return None
    data = np.frombuffer(text.encode(), np.uint8)
    ends = np.append(np.flatnonzero(data == 10), len(data))
    parted, quotes = np.flatnonzero(data == ord(separator)), np.flatnonzero(data == 34)
    if len(quotes) and separator != "\t":
        if not _closed(data, ord(separator), quotes, ends):
            return None
        parted = parted[np.searchsorted(quotes, parted) % 2 == 0]
    widths = np.diff(np.searchsorted(parted, ends), prepend=0) + 1
    top = [line.split(separator) for _, line in above]
    width = max(int(widths[:LOOKED_AT].max()), *map(len, top), 1) + 1
    wide = np.flatnonzero(widths > width)
    if max(int(widths.max()), width - 1) > bounds().columns or (len(wide) and len(quotes)):
        return None
    _require_filled(path, len(widths), width, len(data))
    starts = np.append(0, ends[:-1] + 1)
    cut = {int(i) + len(top): bytes(data[starts[i] : ends[i]]).decode().split(separator) for i in wide}
    there = range(min(width, int(widths.max())))
    quoting = csv.QUOTE_NONE if separator == "\t" or not len(quotes) else csv.QUOTE_MINIMAL
    frame = pd.read_csv(
        io.StringIO(text),
        sep=separator,
        header=None,
        names=there,
        usecols=there,
        index_col=False,
        dtype=object,
        na_filter=False,
        quoting=quoting,
        skip_blank_lines=False,
        low_memory=False,
    )
    if len(frame) != len(widths):
        return None
    if len(quotes) and separator == "\t":
        if any(each(column, _opened).any() for _, column in frame.items()):
            return None
        frame = frame.apply(each, make=unquoted)
    frame = frame.reindex(columns=range(width), fill_value="")
    frame.index = pd.RangeIndex(start, start + len(frame))
    if top:
        filled = [row + [""] * (width - len(row)) for row in top]
        frame = pd.concat([pd.DataFrame(filled, index=[number for number, _ in above], dtype=object), frame])
        widths = np.append([len(row) for row in top], widths)
    return _Grid(frame, widths, cut)


def _closed(data: np.ndarray, separator: int, quotes: np.ndarray, ends: np.ndarray) -> bool:
    """Whether every quote stands at an end of a cell, and every quoted cell on one line."""
    if len(quotes) % 2:
        return False
    edge = np.pad(np.isin(data, (separator, 10)), 1, constant_values=True)
    opens, closes = quotes[::2], quotes[1::2]
    one_line = np.searchsorted(ends, opens) == np.searchsorted(ends, closes)
    return bool((edge[opens] & edge[closes + 2] & one_line).all())


def _opened(cell: str) -> bool:
    """Whether a quote is open at the end of the cell."""
    return cell.startswith('"') and cell.count('"') % 2 == 1


def _require_filled(path: str | Path, rows: int, width: int, size: int) -> None:
    """No table is so much larger than its file."""
    if rows * width > FREE_CELLS + CELLS_A_BYTE * size:
        raise FormatError(
            "the rows of the table are far shorter than its header",
            file=str(path),
            line=1,
            expected=f"{width - 1:,} cells a row",
            got=f"{rows:,} rows in {size:,} bytes",
        )


def unquoted(cell: str) -> str:
    """A cell without the quotes a spreadsheet puts around it.

    Examples
    --------
    >>> unquoted('"5"" end, capped"'), unquoted('5" end')
    ('5" end, capped', '5" end')
    """
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell
