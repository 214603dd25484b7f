"""BED: 3 to 12 columns, 0-based and half-open already; the name in column 4 is the concept, ``bed:NAME``.

Format of the UCSC Genome Browser. A line with blocks (columns 10 to 12) becomes one instance a block, an
exon of a transcript for example. Files without names have one concept, named after the file.
"""

from __future__ import annotations

from pathlib import Path

from sciinterp.annotations.rows import Rows, concept_name, join_note
from sciinterp.annotations.table import Annotations
from sciinterp.annotations.text import read_lines, whole
from sciinterp.errors import FormatError

MAX_BLOCKS = 100_000


def parse_bed(path: str | Path, *, name: str = "column", release: str = "") -> Annotations:
    """Intervals of a BED file.

    Parameters
    ----------
    path : path
    name : str
        ``column`` takes the concept from column 4; any other text is the one concept of the file
        (right for files whose names are identifiers of single intervals).
    release : str
        For the ``release`` column.

    Raises
    ------
    FormatError
        When a line has fewer than 3 or more than 12 columns, or its coordinates are impossible.
    """
    rows = Rows("bed", release=release)
    seen = False
    default = Path(path).name.split(".")[0] if name == "column" else name
    for number, line in read_lines(path):
        seen = seen or bool(line.strip())
        if line.strip() and not line.startswith(("#", "track", "browser")):
            _line(rows, line, name == "column", default, str(path), number)
    if not seen:
        raise FormatError("an empty file", file=str(path), line=1, expected="BED")
    return rows.annotations(coverage=False)


def _line(rows: Rows, line: str, named: bool, default: str, file: str, number: int) -> None:
    cells = line.split("\t") if "\t" in line else line.split()
    if not 3 <= len(cells) <= 12 or not cells[0].strip():
        raise FormatError("a line of BED has 3 to 12 columns", file=file, line=number, got=str(len(cells)))
    start, end = whole(cells[1], "the start", file, number), whole(cells[2], "the end", file, number)
    if end < start:
        raise FormatError(
            "an interval ends before it starts", file=file, line=number, got=f"{start} to {end}"
        )
    strand = cells[5].strip() if len(cells) > 5 else "."
    if strand not in ("+", "-", ".", ""):
        raise FormatError(
            "this is not a strand", file=file, line=number, expected="+ - or .", got=repr(strand[:20])
        )
    blocks = _blocks(cells, start, end, file, number)
    rows.item()
    if end == start:
        rows.drop("empty interval")
        return
    label = cells[3].strip() if named and len(cells) > 3 else ""
    concept = concept_name("bed", label if label not in ("", ".") else default)
    score = cells[4].strip() if len(cells) > 4 else ""
    kept = [(a, b) for a, b in blocks if b > a]
    for a, b in kept:
        rows.add(
            cells[0].strip(),
            a,
            b,
            concept,
            strand=strand or ".",
            note=join_note("", {"score": score if score not in (".", "0") else ""}),
        )
    if not kept:
        rows.drop("empty interval")


def _blocks(cells: list[str], start: int, end: int, file: str, number: int) -> list[tuple[int, int]]:
    if len(cells) < 12:
        return [(start, end)]
    count = whole(cells[9], "the number of blocks", file, number)
    sizes, starts = ([s for s in cells[i].split(",") if s.strip()] for i in (10, 11))
    if not 0 < count <= MAX_BLOCKS or len(sizes) != count or len(starts) != count:
        raise FormatError(
            "the blocks do not match their number",
            file=file,
            line=number,
            expected=f"{count} sizes and starts",
            got=f"{len(sizes)} and {len(starts)}",
        )
    blocks = []
    for size, first in zip(sizes, starts):
        a = start + whole(first, "a block's start", file, number)
        b = a + whole(size, "a block's size", file, number)
        if b > end:
            raise FormatError(
                "a block ends beyond its interval",
                file=file,
                line=number,
                expected=f"at most {end}",
                got=str(b),
            )
        blocks.append((a, b))
    return blocks
