"""InterPro: the TSV of InterProScan, and ``protein2ipr.dat``.

A line is a match of one signature. It places the signature's concept (``pfam:PF00069``, ``smart:SM00220``)
and, where the signature is integrated, the entry's (``interpro:IPR000719``), which is the signature's parent.
Matches are 1-based with both ends included. The file names only proteins with matches, so it is taken to
cover every sample.

Source: Blum et al., Nucleic Acids Research 53:D444 (2025); InterProScan 5 output formats.
"""

from __future__ import annotations

import re
from pathlib import Path

from sciinterp.annotations.rows import Rows, concept_name, join_note
from sciinterp.annotations.table import Annotations
from sciinterp.annotations.text import read_lines, whole
from sciinterp.errors import FormatError

_ENTRY = re.compile(r"IPR[0-9]{6}", re.ASCII)
_DATABASE = re.compile(r"[A-Za-z][\w -]{1,30}", re.ASCII)


def parse_interpro(path: str | Path, *, release: str = "") -> Annotations:
    """Matches of InterProScan (11 to 15 columns) or of ``protein2ipr.dat`` (6 columns).

    Raises
    ------
    FormatError
        When a line has another number of columns, or impossible positions.
    """
    rows = Rows("interpro", release=release)
    seen = False
    for number, line in read_lines(path):
        if not line.strip() or line.startswith("#"):
            continue
        seen = True
        cells = [c.strip() for c in line.split("\t")]
        if len(cells) == 6 and _ENTRY.fullmatch(cells[1]):
            protein, entry, entry_name, signature, first, last = cells
            match = (protein, "", signature, "", first, last, "", entry, entry_name, "T")
        elif 11 <= len(cells) <= 15:
            entry, entry_name = (cells[11], cells[12]) if len(cells) > 12 else ("-", "-")
            match = (
                cells[0],
                cells[3],
                cells[4],
                cells[5],
                cells[6],
                cells[7],
                cells[8],
                entry,
                entry_name,
                cells[9],
            )
        else:
            raise FormatError(
                "this is not a match of InterPro",
                file=str(path),
                line=number,
                expected="11 to 15 columns, or 6 of protein2ipr",
                got=str(len(cells)),
            )
        _match(rows, match, str(path), number)
    if not seen:
        raise FormatError("an empty file", file=str(path), line=1, expected="matches of InterPro")
    return rows.annotations(unique=True, coverage=False)


def _match(rows: Rows, match: tuple[str, ...], file: str, number: int) -> None:
    protein, database, signature, title, first, last, score, entry, entry_name, status = match
    start, end = whole(first, "the start", file, number), whole(last, "the end", file, number)
    if start < 1 or end < start:
        raise FormatError(
            "an impossible interval",
            file=file,
            line=number,
            expected="1 <= start <= end",
            got=f"{start} to {end}",
        )
    if not protein or not signature or (database and not _DATABASE.fullmatch(database)):
        raise FormatError("a match without protein, database or signature", file=file, line=number)
    rows.item()
    if status.upper() == "F":
        rows.drop("a match marked as false")
        return
    parent = concept_name("interpro", entry) if _ENTRY.fullmatch(entry) else ""
    name = concept_name(_prefix(database, signature), signature)
    note = join_note("", {"signature": signature, "e_value": score if score != "-" else ""})
    rows.add(protein, start - 1, end, name, note=note)
    rows.concept(
        name, name=title if title not in ("", "-") else signature, parent=parent, level=int(bool(parent))
    )
    if parent:
        rows.add(protein, start - 1, end, parent, note=note)
        rows.concept(parent, name=entry_name if entry_name not in ("", "-") else entry)


def _prefix(database: str, signature: str) -> str:
    """The database in lower case; in ``protein2ipr.dat`` it is known by the look of the signature."""
    if database:
        return database.lower().replace(" ", "_")
    return "pfam" if re.fullmatch(r"PF[0-9]{5}", signature) else "signature"
