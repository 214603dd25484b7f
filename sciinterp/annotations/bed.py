"""BED, narrowPeak, broadPeak and gappedPeak: 0-based and half-open already; the name is the concept, ``bed:NAME``.

Formats of the UCSC Genome Browser. A line with blocks (columns 10 to 12) becomes one instance a block, an
exon of a transcript for example. Files without names, and peaks, whose names tell one peak from another, have
one concept, named after the file.
"""

from __future__ import annotations

from pathlib import Path

from sciinterp.annotations.rows import Rows, cells_of, concept_name, join_note
from sciinterp.annotations.table import Annotations
from sciinterp.readers.bounded import first_lines, whole
from sciinterp.settings import checked

MAX_BLOCKS = 100_000
# narrowPeak and gappedPeak, the widest of the family, add to BED's 12 columns
MAX_COLUMNS = 15
COMMENTS = ("#", "track", "browser")
EMPTY = "empty interval"


@checked()
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
        When a line has fewer than 3 or more than 15 columns, or its coordinates are impossible.
    """
    rows = Rows("bed", path, release=release)
    default = Path(path).name.split(".")[0] if name == "column" else name
    if track := says_values(Path(path)):
        raise rows.bad(
            "this is a track of values, not of intervals",
            1,
            expected="BED",
            got=track,
            do="Name a threshold= of read_annotations, or read it with si.read_values.",
        )
    for number, line in rows.lines("BED", skip=COMMENTS):
        parse_bed_line(rows, line, name == "column", default, number)
    return rows.annotations(unique=True, coverage=False)


@checked()
def parse_peaks(path: str | Path, *, release: str = "") -> Annotations:
    """Peaks of ENCODE (narrowPeak, broadPeak, gappedPeak): one concept, named after the file."""
    return parse_bed(path, name=Path(path).name.split(".")[0], release=release)


def says_values(path: Path) -> str:
    """What says that the fourth column is a value and no name: bedGraph or wiggle; empty for BED."""
    ending = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    types = [line.lower() for line in first_lines(path) if line.lower().startswith("track")]
    said = next(
        (t for t in ("bedgraph", "wiggle_0") if any(f"type={t}" in line.replace('"', "") for line in types)),
        "",
    )
    return said or (ending if ending in ("bedgraph", "bdg", "bg", "wig") else "")


def parse_bed_line(rows: Rows, line: str, named: bool, default: str, number: int) -> None:
    """Add one line; without ``named`` the concept is ``default``."""
    cells = cells_of(line) if "\t" in line else line.split()
    if not 3 <= len(cells) <= MAX_COLUMNS or not cells[0]:
        expected = f"3 to {MAX_COLUMNS} columns"
        raise rows.bad("this is not a line of BED", number, expected=expected, got=str(len(cells)))
    start, end = rows.ends(cells[1], cells[2], number)
    name, score, strand = (cells[3:6] + [""] * 3)[:3]
    if strand not in ("+", "-", ".", ""):
        raise rows.bad("this is not a strand", number, expected="+ - or .", got=repr(strand[:20]))
    blocks = _blocks(rows, cells, start, end, number)
    rows.item()
    concept = concept_name("bed", name if named and name not in ("", ".") else default)
    note = {"name": "" if named or name == "." else name, "score": score if score not in (".", "0") else ""}
    kept = [(a, b) for a, b in blocks if b > a]
    for a, b in kept:
        rows.add(cells[0], a, b, concept, strand=strand or ".", note=join_note("", note))
    if not kept:
        rows.drop(EMPTY)


def _blocks(rows: Rows, cells: list[str], start: int, end: int, number: int) -> list[tuple[int, int]]:
    if len(cells) < 12:
        return [(start, end)]
    count = whole(cells[9], "the number of blocks", rows.path, number)
    sizes, starts = ([s for s in cells[i].split(",") if s.strip()] for i in (10, 11))
    if not 0 < count <= MAX_BLOCKS or len(sizes) != count or len(starts) != count:
        expected, got = f"{count} sizes and starts", f"{len(sizes)} and {len(starts)}"
        raise rows.bad("the blocks do not match their number", number, expected=expected, got=got)
    blocks = []
    for size, first in zip(sizes, starts):
        a = start + whole(first, "a block's start", rows.path, number)
        b = a + whole(size, "a block's size", rows.path, number)
        if b > end:
            expected = f"at most {end}"
            raise rows.bad("a block ends beyond its interval", number, expected=expected, got=str(b))
        blocks.append((a, b))
    return blocks
