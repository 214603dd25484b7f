"""UniProtKB's flat ``.dat`` file, line by line.

Releases since 2019_11 write a feature as ``KEY from..to`` with ``/qualifier="value"`` lines below, older
ones in fixed columns; both are read. Positions are tested against ``Bio.SwissProt``, which reads the same
lines but stops at ``5^6`` and gives no line numbers.
"""

from __future__ import annotations

import re
from pathlib import Path

from sciinterp.annotations.rows import Rows
from sciinterp.annotations.table import Annotations
from sciinterp.annotations.text import read_lines
from sciinterp.annotations.uniprot import Entry, Feature, codes_of, place, place_cofactor
from sciinterp.errors import FormatError

# two-letter line codes; "**" lines are internal to UniProt
CODES = frozenset(
    [
        "ID",
        "AC",
        "DT",
        "DE",
        "GN",
        "OS",
        "OG",
        "OC",
        "OX",
        "OH",
        "RN",
        "RP",
        "RC",
        "RX",
        "RG",
        "RA",
        "RT",
        "RL",
        "CC",
        "DR",
        "PE",
        "KW",
        "FT",
        "SQ",
        "**",
    ]
) | {"  ", "//", ""}
_KEY = re.compile(r"[A-Z][A-Z_]{1,11}", re.ASCII)
_QUALIFIER = re.compile(r"/([A-Za-z_]{1,30})=?")
_VERSION = re.compile(r"entry version ([0-9]+)\.|Rel\. ([0-9.]+), Last annotation update", re.ASCII)
_LENGTH = re.compile(r"([0-9]{1,18}) AA\.", re.ASCII)
_MOLECULE = re.compile(r"^\[([^\]]*)\]:\s*")
_SEQUENCES = frozenset({"VAR_SEQ", "VARSPLIC"})


def parse_uniprot_dat(path: str | Path, *, ids: str = "accession", release: str | None = None) -> Annotations:
    """Features and cofactors of a UniProtKB flat file.

    Parameters
    ----------
    path : path
        ``.dat`` or ``.txt``, may be gzipped.
    ids : str
        Samples are named by ``accession`` (the primary one) or by entry ``name``.
    release : str, optional
        For the ``release`` column; by default the entry's version.

    Returns
    -------
    Annotations
        Every feature kept, or counted under the reason for dropping it.

    Raises
    ------
    FormatError
        When a line is not of the format, or the last entry is cut short.
    """
    rows = Rows("uniprot", release=release or "")
    reader = _Flat(rows, Path(path), ids, release)
    number = 0
    for number, line in read_lines(path):
        reader.line(number, line)
    reader.end(number)
    return rows.annotations()


class _Flat:
    """Reads a flat file line by line: only one entry is held at a time."""

    def __init__(self, rows: Rows, path: Path, ids: str, release: str | None) -> None:
        self.rows, self.path, self.ids, self.release = rows, path, ids, release
        self.entry: Entry | None = None
        self.entries = 0

    def line(self, number: int, line: str) -> None:
        code = line[:2]
        if self.entry is None:
            self._begin(number, line, code)
        elif code == "FT":
            self._feature_line(number, line)
        elif code == "CC":
            self.comments.append(line[5:])
        elif code == "AC":
            if not self.accession:
                self.accession = line[5:].split(";", 1)[0].strip()
                if self.ids == "accession":
                    self.entry.id = self.accession
        elif code == "DT":
            version = _VERSION.search(line)
            if version and self.release is None:
                self.entry.release = f"entry version {version[1] or version[2]}"
        elif code == "//":
            self._finish(number)
        elif code == "ID" or code not in CODES:
            raise self._error("this is not a line of a UniProtKB flat file", number, line)

    def end(self, number: int) -> None:
        if self.entry is not None:
            raise self._error(
                "the file ends inside an entry", number, "no '//' line", do="Was the download cut short?"
            )
        if not self.entries:
            raise self._error("no UniProtKB entry in the file", number, "an empty file")

    def _begin(self, number: int, line: str, code: str) -> None:
        if not line.strip():
            return
        words = line[5:].split()
        if code != "ID" or not words:
            raise self._error(
                "this is not a UniProtKB flat file", number, line, expected="a line that starts with 'ID   '"
            )
        length = _LENGTH.search(line)
        self.entry = Entry(words[0], int(length[1]) if length else 0, self.release or "")
        self.accession = ""
        self.comments: list[str] = []
        # features wait for the end of the entry, when its identifier and displayed isoform are known
        self.pending: list[tuple[int, Feature]] = []
        self.feature: Feature | None = None
        self.body: list[str] = []
        self.feature_at = number
        self.old = False

    def _feature_line(self, number: int, line: str) -> None:
        key = line[5:13].rstrip()
        if not key.strip():
            if self.feature is None:
                raise self._error("a feature is continued before it begins", number, line)
            self.body.append(line[34:] if self.old else line[21:])
            return
        self._close_feature()
        if not _KEY.fullmatch(key):
            raise self._error("this is not a feature key", number, key)
        self.old, self.feature_at = bool(line[13:21].strip()), number
        if self.old:
            first, last = line[14:20].strip(), line[21:27].strip()
            self.feature = Feature(key, first if first == last or not last else f"{first}..{last}")
            self.body = [line[34:]]
        else:
            self.feature = Feature(key, "".join(line[21:].split()))
            self.body = []

    def _close_feature(self) -> None:
        feature, self.feature = self.feature, None
        if feature is None:
            return
        if self.old:
            _old_body(feature, self.body)
        else:
            _new_body(feature, self.body, self.path, self.feature_at)
        self.pending.append((self.feature_at, feature))

    def _finish(self, number: int) -> None:
        self._close_feature()
        entry, self.entry = self.entry, None
        self.entries += 1
        if entry is None or not entry.id or (self.ids == "accession" and not self.accession):
            raise self._error("an entry without accession", number, "no AC line")
        topics = _topics(self.comments)
        entry.displayed = next(
            (i for t in topics if t.startswith("ALTERNATIVE PRODUCTS") if (i := displayed(t))), ""
        )
        self.rows.covers(entry.id)
        for at, feature in self.pending:
            if not place(self.rows, entry, feature):
                raise self._error("this is not a feature location", at, feature.location)
        for topic in topics:
            if topic.startswith("COFACTOR:"):
                cofactors(self.rows, entry, topic[len("COFACTOR:") :].strip())

    def _error(self, what: str, number: int, got: str, *, expected: str = "", do: str = "") -> FormatError:
        return FormatError(
            what, file=str(self.path), line=number, expected=expected, got=repr(got[:60]), do=do
        )


def _old_body(feature: Feature, body: list[str]) -> None:
    """The description of the fixed-column format: free text, then perhaps ``/FTId=``."""
    pieces = []
    for piece in (b.strip() for b in body):
        if piece.startswith("/FTId="):
            feature.fields["id"] = piece[6:].rstrip(".")
        else:
            pieces.append(piece)
    note = _glue(pieces)
    feature.note = _close_gaps(note) if feature.key in _SEQUENCES else note


def _new_body(feature: Feature, body: list[str], path: Path, number: int) -> None:
    """Qualifiers ``/name="value"``, values continued over lines, quotes doubled inside."""
    values: dict[str, list[str]] = {}
    name = ""
    quotes = 0
    for offset, piece in enumerate((b.strip() for b in body), start=1):
        if not name:
            if not piece:
                continue
            start = _QUALIFIER.match(piece)
            if start is None:
                raise FormatError(
                    "this is not a qualifier", file=str(path), line=number + offset, got=repr(piece[:60])
                )
            name, quotes = start[1], 0
            values[name] = []
            piece = piece[start.end() :]
        values[name].append(piece)
        quotes += piece.count('"')
        # closed by an even number of quotes, the last at the end of a line; doubled ones are text
        if not values[name][0].startswith('"') or (quotes > 0 and quotes % 2 == 0 and piece.endswith('"')):
            name = ""
    if name:
        raise FormatError("a qualifier is not closed", file=str(path), line=number, got=f"/{name}")
    set_qualifiers(feature, {k: _unquote(_glue(v)) for k, v in values.items()})


def set_qualifiers(feature: Feature, values: dict[str, str]) -> None:
    """Qualifiers into their places: note and evidence have one each, all others are kept as fields."""
    feature.note = values.pop("note", "")
    feature.evidence = codes_of(values.pop("evidence", ""))
    if feature.key in _SEQUENCES:
        feature.note = _close_gaps(feature.note)
    feature.fields = {k: v for k, v in values.items() if v}


def _unquote(value: str) -> str:
    return value[1:-1].replace('""', '"') if len(value) > 1 and value[0] == value[-1] == '"' else value


def _glue(pieces: list[str]) -> str:
    """Pieces of one text over several lines: a space between them, none after a hyphen."""
    spaced = [piece if piece.endswith("-") else f"{piece} " for piece in pieces[:-1] if piece]
    return "".join([*spaced, *pieces[-1:]])


def _close_gaps(note: str) -> str:
    """Sequences broken over lines lose the spaces: ``AB CD -> EF (in isoform 2)``."""
    before, arrow, after = note.partition(" -> ")
    if not arrow:
        return note
    sequence, bracket, rest = after.partition(" (")
    return f"{before.replace(' ', '')} -> {sequence.replace(' ', '')}{bracket}{rest}"


def _topics(comments: list[str]) -> list[str]:
    """The CC block cut at ``-!-``; the copyright box at its end is left out."""
    topics: list[list[str]] = []
    for line in comments:
        if line.startswith("-!- "):
            topics.append([line[4:].strip()])
        elif line.startswith("----"):
            break
        elif topics:
            topics[-1].append(line.strip())
    return [_glue(topic) for topic in topics]


def displayed(text: str) -> str:
    """The isoform whose sequence the entry shows: ``IsoId=P1-2; Sequence=Displayed`` gives ``P1-2``."""
    for part in text.split("IsoId=")[1:]:
        names, _, rest = part.partition(";")
        if rest.lstrip().startswith("Sequence=Displayed"):
            return names.split(",")[0].strip()
    return ""


def cofactors(rows: Rows, entry: Entry, text: str) -> None:
    """The cofactors of one comment, structured (``Name=...; Xref=...;``) or, before 2014, free text."""
    molecule = _MOLECULE.match(text)
    if molecule:
        text = text[molecule.end() :]
    whose = molecule[1] if molecule else ""
    found = [_cofactor(part) for part in text.split("Name=")[1:]]
    note = _strip_codes(text.partition("Note=")[2] if found or "Note=" in text else text)
    for name, xref, codes in found:
        place_cofactor(rows, entry, name=name, molecule=whose, evidence=codes, note=note, xref=xref)
    if not found:
        place_cofactor(rows, entry, name="", molecule=whose, note=note)


def _cofactor(text: str) -> tuple[str, str, tuple[str, ...]]:
    """``Zn(2+); Xref=ChEBI:CHEBI:29105; Evidence={ECO:0000305};`` as name, reference and codes."""
    name, _, rest = text.partition(";")
    xref, codes = "", ""
    rest = rest.lstrip()
    if rest.startswith("Xref="):
        xref, _, rest = rest.removeprefix("Xref=").partition(";")
        rest = rest.lstrip()
    if rest.startswith("Evidence={"):
        codes = rest.removeprefix("Evidence={").partition("}")[0]
    return name.strip(), xref.strip(), codes_of(codes)


def _strip_codes(text: str) -> str:
    return re.sub(r" ?\{[^{}]*\}", "", " ".join(text.split())).strip().rstrip(";").strip()
