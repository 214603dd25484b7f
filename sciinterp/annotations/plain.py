"""The annotation table as a TSV: what this package writes, and what anyone can write in a spreadsheet.

A header with at least ``sample, start, end, concept``, then one row an annotation, 0-based and half-open.
Blank ``start`` and ``end`` mean the whole sample. ``x.concepts.tsv`` and ``x.coverage.tsv`` beside the table
are read with it: names and parents of concepts, and the samples each source covers.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from sciinterp.annotations.table import COLUMNS, Annotations, concepts_path, coverage_path
from sciinterp.annotations.text import read_lines
from sciinterp.errors import FormatError, InputError
from sciinterp.store.tables import unescape_cell

NEEDED = ("sample", "start", "end", "concept")
_NUMBER = re.compile(r"-1|[0-9]{1,18}", re.ASCII)


def parse_tsv(path: str | Path) -> Annotations:
    """A tab-separated annotation table, with the tables beside it where there are any.

    Raises
    ------
    FormatError
        When a column is missing, a row is cut short or an interval is impossible.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "sites.tsv"
    >>> _ = path.write_text("sample\\tstart\\tend\\tconcept\\nP1\\t4\\t9\\tsite\\nP1\\t\\t\\tmembrane\\n")
    >>> parse_tsv(path).frame[["start", "end", "concept"]].to_numpy().tolist()
    [[4, 9, 'site'], [-1, -1, 'membrane']]
    """
    path = Path(path)
    lines, header, rows = _read(path, NEEDED)
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    starts, ends = (_numbers(columns[c], c, lines, path) for c in ("start", "end"))
    texts = {
        c: [t.strip() for t in columns[c]] for c in COLUMNS if c in columns and c not in ("start", "end")
    }
    for i, (start, end) in enumerate(zip(starts, ends)):
        if not (start == end == -1 or 0 <= start < end):
            raise FormatError(
                "an impossible interval",
                file=str(path),
                line=lines[i],
                expected="0 <= start < end, or both blank",
                got=f"{start} to {end}",
            )
        if not texts["sample"][i] or not texts["concept"][i]:
            raise FormatError("a row without sample or concept", file=str(path), line=lines[i])
    frame = pd.DataFrame(texts | {"start": np.array(starts, np.int64), "end": np.array(ends, np.int64)})
    beside, covered = concepts_path(path), coverage_path(path)
    concepts = _table(beside, ("concept",)) if beside.is_file() else None
    coverage = None
    if covered.is_file():
        table = _table(covered, ("source", "sample"))
        coverage = {str(s): tuple(ids) for s, ids in table.groupby("source", sort=True)["sample"]}
    try:
        return Annotations(frame, concepts=concepts, coverage=coverage)
    except InputError as error:
        file = beside if "concepts table" in error.what else path
        raise FormatError(str(error).rstrip("."), file=str(file)) from None


def _read(path: Path, needed: tuple[str, ...]) -> tuple[list[int], list[str], list[list[str]]]:
    """Line numbers, header and cells as text; cells that were escaped or quoted are restored."""
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    for number, line in read_lines(path):
        cells = [_cell(c) for c in line.split("\t")]
        if not header:
            header = [c.strip() for c in cells]
            if not set(needed) <= set(header) or len(set(header)) != len(header):
                raise FormatError(
                    "this is not the header of the table",
                    file=str(path),
                    line=number,
                    expected=", ".join(needed),
                    got=repr(line[:60]),
                )
        elif len(cells) == len(header):
            rows.append(cells)
            lines.append(number)
        elif line.strip():
            raise FormatError(
                "a row of another width than the header",
                file=str(path),
                line=number,
                expected=f"{len(header)} cells",
                got=str(len(cells)),
            )
    if not header:
        raise FormatError("an empty file", file=str(path), line=1, expected=", ".join(needed))
    return lines, header, rows


def _table(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    _, header, rows = _read(path, needed)
    return pd.DataFrame(rows, columns=header, dtype=str)


def _cell(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('""', '"')
    return unescape_cell(text)


def _numbers(cells: list[str], name: str, lines: list[int], path: Path) -> list[int]:
    out = []
    for line, cell in zip(lines, cells):
        text = cell.strip()
        if text and not _NUMBER.fullmatch(text):
            raise FormatError(
                f"'{name}' is not a whole number", file=str(path), line=line, got=repr(text[:40])
            )
        out.append(int(text or "-1"))
    return out
