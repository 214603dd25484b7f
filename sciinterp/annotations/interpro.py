"""InterPro: the TSV of InterProScan (5 and 6), and ``protein2ipr.dat``.

A line is a match of one signature. It places the signature's concept (``pfam:PF00069``, ``smart:SM00220``)
and, where the signature is integrated, InterPro's (``interpro:IPR000719``), which is the signature's parent.
Matches are 1-based with both ends included. The file names only proteins with matches, so it is taken to
cover every sample.

Source: Blum et al., Nucleic Acids Research 53:D444 (2025); InterProScan 5 output formats.
"""

from __future__ import annotations

import re
from pathlib import Path

from sciinterp.annotations.rows import Rows, cells_of, concept_name, join_note
from sciinterp.annotations.table import Annotations
from sciinterp.readers.bounded import whole
from sciinterp.settings import checked

_ENTRY = re.compile(r"IPR[0-9]{6}", re.ASCII)
_DATABASE = re.compile(r"[A-Za-z][\w -]{1,30}", re.ASCII)


@checked()
def parse_interpro(path: str | Path, *, release: str = "") -> Annotations:
    """Matches of InterProScan (11 to 15 columns) or of ``protein2ipr.dat`` (6 columns).

    Raises
    ------
    FormatError
        When a line has another number of columns, or impossible positions.
    """
    rows = Rows("interpro", path, release=release)
    for number, line in rows.lines("matches of InterPro"):
        cells = [c.strip() for c in cells_of(line)]
        if len(cells) == 6 and _ENTRY.fullmatch(cells[1]):
            protein, entry, entry_name, signature, first, last = cells
            match = (protein, "", signature, "", first, last, "", entry, entry_name, "T", "")
        elif 11 <= len(cells) <= 15:
            entry, entry_name = (cells[11], cells[12]) if len(cells) > 12 else ("-", "-")
            match = (cells[0], *cells[3:9], entry, entry_name, cells[9], cells[2])
        else:
            expected = "11 to 15 columns, or 6 of protein2ipr"
            raise rows.bad("this is not a match of InterPro", number, expected=expected, got=str(len(cells)))
        _match(rows, match, number)
    return rows.annotations(unique=True, coverage=False)


def _match(rows: Rows, match: tuple[str, ...], number: int) -> None:
    protein, database, signature, title, first, last, score, entry, entry_name, status, length = match
    start, end = rows.ends(first, last, number, least=1)
    if not protein or not signature or (database and not _DATABASE.fullmatch(database)):
        raise rows.bad("a match without protein, database or signature", number)
    rows.item()
    if status.upper() == "F":
        rows.drop("a match marked as false")
        return
    if length and end > whole(length, "the length", rows.path, number) > 0:
        rows.drop("beyond the end of the sequence")
        return
    parent = concept_name("interpro", entry) if _ENTRY.fullmatch(entry) else ""
    # in protein2ipr.dat the database is known by the look of the signature
    known = "pfam" if re.fullmatch(r"PF[0-9]{5}", signature) else "signature"
    concept = concept_name(database.lower().replace(" ", "_") or known, signature)
    note = join_note("", {"signature": signature, "e_value": score if score != "-" else ""})
    title = title if title not in ("", "-") else signature
    rows.concept(concept, name=title, parent=parent, level=int(bool(parent)))
    rows.add(protein, start - 1, end, concept, note=note)
    if parent:
        rows.concept(parent, name=entry_name if entry_name not in ("", "-") else entry)
        rows.add(protein, start - 1, end, parent, note=note)
