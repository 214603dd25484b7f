"""Tables as people save them: rows and cells, whatever wrote the separators, the quotes and the line ends."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from sciinterp.errors import FormatError
from sciinterp.readers.bounded import Text, bounds

# What a spreadsheet may write before the header.
_SEPARATOR = re.compile(r'"?sep=(.)"?')
# Texts that are remembered, so that one that recurs, such as a family, is one object however many rows have it.
KNOWN = 1 << 16
# Lines of one cell at most: a quote that stays open longer is no quote.
MAX_LINES = 100


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
        separator = said[1] if said else next((c for c in "\t,;" if c in shown), ",")
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
                    raise FormatError(
                        "a table of too many columns",
                        file=str(path),
                        line=handle.number,
                        expected=f"at most {bounds().columns:,}",
                        got=f"{len(cells):,}",
                    )
                if cells:
                    if len(known) < KNOWN:
                        known.update((cell, cell) for cell in cells if cell not in known)
                    yield handle.number, [known.get(cell, cell) for cell in cells]
        except csv.Error as error:
            raise FormatError(
                "this is not a table", file=str(path), line=handle.number, got=str(error)
            ) from None


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
        opened = cells[-1].startswith('"') and cells[-1].count('"') % 2 == 1
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
    """A table: names of columns, rows as wide as these, and rows that are wider, each with its line."""

    header: list[str]
    rows: list[tuple[int, list[str]]]
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
    numbered = [(line, cells) for line, cells in read_rows(path) if any(cell.strip() for cell in cells)]
    n = next(
        (i for i, (_, cells) in enumerate(numbered) if not cells[0].lstrip().startswith("#")), len(numbered)
    )
    if (
        n
        and len(numbered[n - 1][1]) > 1
        and len(numbered[n - 1][1]) == len(numbered[min(n, len(numbered) - 1)][1])
    ):
        n -= 1  # the header is written as the last comment
    if n == len(numbered):
        raise FormatError("this is not a table", file=str(path), line=1, expected="a header line")
    at, first = numbered[n]
    header = [cell.strip() for cell in first]
    header[0] = header[0].lstrip("#").strip()
    body = numbered[n + 1 :]
    width = max((i + 1 for i, name in enumerate(header) if name), default=1)
    if body and all(len(cells) == len(header) + 1 and cells[-1].strip() for _, cells in body):
        header, width = ["", *header], width + 1
    while any(
        cells[width : len(header)] and any(c.strip() for c in cells[width : len(header)]) for _, cells in body
    ):
        width += 1  # an unnamed column with content
    header = distinct(header[:width], path, at)
    rows, wide = [], []
    for line, cells in body:
        cells = fitted(cells, width)
        (wide if len(cells) > width else rows).append((line, cells))
    return Table(header, rows, wide)


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
