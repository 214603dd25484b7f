"""The annotation table as a TSV: what this package writes, and what anyone can write in a spreadsheet.

A header with at least ``sample, start, end, concept``, then one row an annotation, 0-based and half-open.
Blank ``start`` and ``end`` mean the whole sample. ``x.concepts.tsv`` and ``x.coverage.tsv`` beside the table
are read with it: names and parents of concepts, and the samples each source covers.
"""

from __future__ import annotations

import re
from pathlib import Path

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
    frame = _read(path, NEEDED)
    _check_intervals(frame, path)
    beside, covered = concepts_path(path), coverage_path(path)
    concepts = _read(beside, ("concept",)) if beside.is_file() else None
    coverage = None
    if covered.is_file():
        table = _read(covered, ("source", "sample"))
        coverage = {str(s): tuple(ids) for s, ids in table.groupby("source", sort=True)["sample"]}
    try:
        return Annotations(frame, concepts=concepts, coverage=coverage)
    except InputError as error:
        file = beside if "concepts table" in error.what else path
        raise FormatError(str(error).rstrip("."), file=str(file)) from None


def _read(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    """All cells as text; cells that were escaped or quoted are restored."""
    header: list[str] = []
    rows: list[list[str]] = []
    for number, line in read_lines(path):
        cells = [_cell(c) for c in line.split("\t")]
        if not header:
            header = [c.strip() for c in cells]
            missing = [c for c in needed if c not in header]
            if missing or len(set(header)) != len(header):
                raise FormatError(
                    "this is not the header of the table",
                    file=str(path),
                    line=number,
                    expected=", ".join(needed),
                    got=repr(line[:60]),
                )
        elif not line.strip():
            rows.append([])
        elif len(cells) != len(header):
            raise FormatError(
                "a row of another width than the header",
                file=str(path),
                line=number,
                expected=f"{len(header)} cells",
                got=str(len(cells)),
            )
        else:
            rows.append(cells)
    if not header:
        raise FormatError("an empty file", file=str(path), line=1, expected=", ".join(needed))
    # the index is the line number, so that a bad cell can be named by it
    kept = [i for i, row in enumerate(rows) if row]
    return pd.DataFrame([rows[i] for i in kept], columns=header, index=[i + 2 for i in kept], dtype=str)


def _cell(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('""', '"')
    return unescape_cell(text)


def _check_intervals(frame: pd.DataFrame, path: Path) -> None:
    """Numbers in place of text, and the first impossible row named by its line."""
    for column in ("start", "end"):
        text = frame[column].str.strip().replace("", "-1")
        bad = ~text.map(lambda cell: bool(_NUMBER.fullmatch(cell))).astype(bool)
        if bad.any():
            line = int(frame.index[bad.to_numpy().argmax()])
            raise FormatError(
                f"'{column}' is not a whole number",
                file=str(path),
                line=line,
                got=repr(frame.at[line, column][:40]),
            )
        frame[column] = text.astype("int64")
    start, end = frame["start"], frame["end"]
    whole = (start == -1) & (end == -1)
    possible = whole | ((start >= 0) & (end > start))
    named = (frame["sample"].str.strip() != "") & (frame["concept"].str.strip() != "")
    for good, what, expected in (
        (possible, "an impossible interval", "0 <= start < end, or both blank"),
        (named, "a row without sample or concept", ""),
    ):
        if not good.all():
            line = int(frame.index[(~good).to_numpy().argmax()])
            raise FormatError(
                what, file=str(path), line=line, expected=expected, got=f"{start[line]} to {end[line]}"
            )
    for column in COLUMNS:
        if column in frame.columns and column not in ("start", "end"):
            frame[column] = frame[column].str.strip()
