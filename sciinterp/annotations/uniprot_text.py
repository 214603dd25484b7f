"""UniProtKB as text: the flat ``.dat`` file, the TSV with ``ft_*`` columns, and GFF.

Releases since 2019_11 write an entry as ``KEY from..to`` with ``/qualifier="value"`` lines below, older ones
in fixed columns; a TSV cell holds entries of the first notation one after another. Positions of the flat file
are tested against ``Bio.SwissProt``, which reads the same lines but ends the file at ``5^6``, drops the lines
of qualifiers it does not know and gives no line numbers; that is why these lines are read here.

GFF states less: it has no ligands, no facts about the protein, no uncertain ends (``<1`` becomes 1) and no
isoforms, and UniProt leaves entries with unknown ends out of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from sciinterp.annotations.rows import Rows, cells_of
from sciinterp.annotations.table import Annotations
from sciinterp.annotations.uniprot import KEYS, Entry, Fact, Protein, codes_of, gather, go_fact
from sciinterp.readers.bounded import whole
from sciinterp.settings import checked

# two-letter line codes; "**" lines are internal to UniProt
CODES = frozenset("ID AC DT DE GN OS OG OC OX OH RN RP RC RX RG RA RT RL CC DR PE KW FT SQ ** //".split()) | {
    "  "
}
_KEY = re.compile(r"[A-Z][A-Z_]{1,11}", re.ASCII)
_VERSION = re.compile(r"entry version ([0-9]+)\.|Rel\. ([0-9.]+), Last annotation update", re.ASCII)
_LENGTH = re.compile(r"([0-9]{1,18}) AA\.", re.ASCII)
_MOLECULE = re.compile(r"^\[([^\]]*)\]:\s*")
_SEQUENCES = frozenset({"VAR_SEQ", "VARSPLIC"})
# /name="value", quotes doubled inside; in a TSV cell a semicolon goes before
_QUALIFIER = re.compile(r'(?:; *)?/([A-Za-z_]{1,30})(?:=(?:"((?:[^"]|"")*+)"|([^\s";]*)))?\s*', re.ASCII)
_CELL_HEAD = re.compile(r'[;\s]*([A-Z][A-Z_]{1,11}) ([^;"\s]+)', re.ASCII)
_CODES = re.compile(r" ?\{([^{}]*)\}")
_XREF, _EVIDENCE = re.compile(r"^\s*Xref=([^;]*);"), re.compile(r"^[^{]*?Evidence=\{([^}]*)")
_OLD_EC = re.compile(r"\bEC[= ]([0-9][0-9n.-]*)(?: \{([^{}]*)\})?", re.ASCII)
_GO_CELL = re.compile(r"(?:^|; *)([^;].*?) \[(GO:[0-9]{7})\]", re.ASCII)
# Columns that every protein fills: where all of them are blank the file only names it.
_ALWAYS = ("length", "sequence", "mass", "organism", "organism (id)", "entry version", "version")
_GO_COLUMNS = (
    "gene ontology (go)", "gene ontology (biological process)", "gene ontology (cellular component)",
    "gene ontology (molecular function)", "go", "go_p", "go_c", "go_f",
)  # fmt: skip
_FACT_COLUMNS = (
    *_GO_COLUMNS,
    *("cc_cofactor", "cofactor", "keywords", "keyword", "gene ontology ids", "go_id", "ec number", "ec"),
)


@checked()
def parse_uniprot_dat(
    path: str | Path, *, ids: Literal["accession", "name"] = "accession", release: str | None = None
) -> Annotations:
    """Entries and facts of a UniProtKB flat file.

    Parameters
    ----------
    path : path
        ``.dat`` or ``.txt``, may be gzipped.
    ids : str
        Samples are named by ``accession`` (the primary one) or by entry ``name``.
    release : str, optional
        For the ``release`` column; by default the version that the protein states.

    Returns
    -------
    Annotations
        Every entry kept, or counted under the reason for dropping it.

    Raises
    ------
    FormatError
        When a line is not of the format, or the last protein is cut short.
    """
    rows = Rows("uniprot", path, release=release or "")
    return gather(rows, _flat(rows, ids), release)


def _flat(rows: Rows, ids: str) -> Iterator[Protein]:
    record: dict[str, list[tuple[int, str]]] = {}
    number = 0
    for number, line in rows.lines("UniProtKB", skip=()):
        code = line[:2]
        if not record and code != "ID":
            expected = "a line that starts with 'ID   '"
            raise rows.bad(
                "this is not a UniProtKB flat file", number, expected=expected, got=repr(line[:60])
            )
        if code == "//":
            yield _protein(rows, record, number, ids)
            record = {}
        elif code not in CODES or (record and code == "ID"):
            raise rows.bad("this is not a line of a UniProtKB flat file", number, got=repr(line[:60]))
        else:
            record.setdefault(code, []).append((number, line))
    if record:
        do = "Was the download cut short?"
        raise rows.bad("the file ends inside a protein", number, got="no '//' line", do=do)


def _protein(rows: Rows, record: dict[str, list[tuple[int, str]]], number: int, ids: str) -> Protein:
    def text(code: str) -> str:
        return " ".join(line[5:].strip() for _, line in record.get(code, ()))

    first, head = record["ID"][0]
    names, accession = head[5:].split()[:1], text("AC").split(";", 1)[0].strip()
    if not names or not accession:
        raise rows.bad("a protein without accession", number, got="no AC line" if names else repr(head[:60]))
    length, version = _LENGTH.search(head), _VERSION.search(text("DT"))
    topics = _topics([line[5:] for _, line in record.get("CC", ())])
    isoforms = next((t for t in topics if t.startswith("ALTERNATIVE PRODUCTS")), "")
    protein = Protein(
        accession if ids == "accession" else names[0],
        first,
        int(length[1]) if length else 0,
        (version[1] or version[2]) if version else "",
        _displayed(isoforms),
        stated=bool({"SQ", "CC", "DR", "KW", "FT"} & set(record)),
        entries=list(_entries(rows, record.get("FT", ()))),
    )
    for topic in topics:
        if topic.startswith("COFACTOR:"):
            protein.facts += _cofactors(topic[len("COFACTOR:") :].strip())
    protein.facts += [
        Fact("KEYWORD", name, evidence=codes) for name, codes in _coded(text("KW").rstrip(". "), ";")
    ]
    for _, line in record.get("DR", ()):
        parts = [part.strip() for part in line[5:].rstrip(". ").split("; ")]
        if parts[0] == "GO" and len(parts) > 2:
            protein.facts.append(go_fact(parts[1], parts[2], *parts[3:4]))
    protein.facts += [
        Fact("EC", m[1].rstrip("."), evidence=codes_of(m[2] or "")) for m in _OLD_EC.finditer(text("DE"))
    ]
    return protein


def _entries(rows: Rows, lines: Iterable[tuple[int, str]]) -> Iterator[Entry]:
    groups: list[list[tuple[int, str]]] = []
    for number, line in lines:
        if line[5:13].strip():
            groups.append([])
        elif not groups:
            raise rows.bad("an entry is continued before it begins", number, got=repr(line[:60]))
        groups[-1].append((number, line))
    for group in groups:
        number, head = group[0]
        key = head[5:13].rstrip().upper()
        if not _KEY.fullmatch(key):
            raise rows.bad("this is not the key of an entry", number, got=repr(key[:60]))
        if head[13:21].strip():
            yield _old_entry(key, head, [line[34:].strip() for _, line in group], number)
            continue
        values, rest = _qualifiers(_glue([line[21:].strip() for _, line in group[1:]]))
        if rest:
            raise rows.bad("this is not a qualifier, or it is not closed", number, got=repr(rest[:60]))
        yield _entry(key, "".join(head[21:].split()), values, number)


def _old_entry(key: str, head: str, body: list[str], number: int) -> Entry:
    """The fixed-column format: ends, free text, then perhaps ``/FTId=``."""
    first, last = head[14:20].strip(), head[21:27].strip()
    note = _glue([piece for piece in body if not piece.startswith("/FTId=")])
    ids = [piece[6:].rstrip(".") for piece in body if piece.startswith("/FTId=")]
    location = first if first == last or not last else f"{first}..{last}"
    return Entry(
        key,
        location,
        _close_gaps(note) if key in _SEQUENCES else note,
        fields={"id": ids[-1]} if ids else {},
        line=number,
    )


def _qualifiers(text: str) -> tuple[dict[str, str], str]:
    """Qualifiers at the beginning of a text, and what is left of it."""
    values: dict[str, str] = {}
    at = 0
    while match := _QUALIFIER.match(text, at):
        values[match[1]] = (match[2] or match[3] or "").replace('""', '"')
        at = match.end()
    return values, text[at:]


def _entry(key: str, location: str, values: dict[str, str], line: int) -> Entry:
    """Qualifiers into their places: note and evidence have one each, all others are kept as fields."""
    note, evidence = values.pop("note", ""), codes_of(values.pop("evidence", ""))
    fields = {k: v for k, v in values.items() if v}
    return Entry(key, location, _close_gaps(note) if key in _SEQUENCES else note, evidence, fields, line)


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


def _displayed(text: str) -> str:
    """The isoform whose sequence is shown: ``IsoId=P1-2; Sequence=Displayed`` gives ``P1-2``."""
    for part in text.split("IsoId=")[1:]:
        names, _, rest = part.partition(";")
        if rest.lstrip().startswith("Sequence=Displayed"):
            return names.split(",")[0].strip()
    return ""


def _coded(text: str, separator: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names with evidence codes in braces behind them: ``Kinase {ECO:0000305}; Zinc``."""
    for part in _CODES.sub(lambda m: f"{{{m[1].replace(separator, ',')}}}", text).split(separator):
        if name := _CODES.sub("", part).strip():
            yield name, codes_of(", ".join(_CODES.findall(part)))


def _cofactors(text: str) -> list[Fact]:
    """The cofactors of one comment, structured (``Name=...; Xref=...;``) or, before 2014, free text."""
    molecule = _MOLECULE.match(text)
    text = text[molecule.end() :] if molecule else text
    fields = {"molecule": molecule[1]} if molecule else {}
    parts = text.split("Name=")[1:]
    note = " ".join((text.partition("Note=")[2] if parts or "Note=" in text else text).split())
    note = _CODES.sub("", note).strip().rstrip(";").strip()
    facts = []
    for part in parts:
        name, _, rest = part.partition(";")
        xref, codes = (found[1] if (found := r.search(rest)) else "" for r in (_XREF, _EVIDENCE))
        cofactor = {"cofactor_id": xref.strip(), **fields}
        facts.append(Fact("COFACTOR", name.strip(), "", codes_of(codes), cofactor, note))
    return facts or [Fact("COFACTOR", "", fields=fields, note=note)]


@checked()
def parse_uniprot_tsv(path: str | Path, *, release: str | None = None) -> Annotations:
    """Entries and facts of a UniProtKB table, also one saved by a spreadsheet.

    Columns are known by the names of the query fields (``ft_binding``, ``keyword``) or by the headers of the
    website ("Binding site"); ``Entry``, ``Length`` and ``Entry version`` are used where present.

    Raises
    ------
    FormatError
        When the header has no ``Entry`` or nothing to read, or a cell cannot be read.
    """
    rows = Rows("uniprot", path, release=release or "")
    return gather(rows, _table(rows), release)


def _table(rows: Rows) -> Iterator[Protein]:
    columns: dict[str, int] = {}
    placed: list[int] = []
    for number, line in rows.lines("a header with Entry and ft_* columns", skip=()):
        cells = [c.strip() for c in cells_of(line)]
        if not columns:
            columns = {c.lower(): i for i, c in enumerate(cells)}
            placed = [i for c, i in columns.items() if c.startswith("ft_") or c in KEYS]
            if not {"entry", "accession"} & set(columns) or not (placed or set(_FACT_COLUMNS) & set(columns)):
                expected = "a header with Entry and ft_* columns"
                raise rows.bad(
                    "this is not a UniProtKB table", number, expected=expected, got=repr(line[:60])
                )
            width = len(cells)
        elif len(cells) != width:
            expected = f"{width} cells"
            raise rows.bad(
                "a row of another width than the header", number, expected=expected, got=str(len(cells))
            )
        else:
            yield _table_row(rows, cells, columns, placed, number)


def _table_row(
    rows: Rows, cells: list[str], columns: dict[str, int], placed: list[int], number: int
) -> Protein:
    def cell(*names: str) -> str:
        return next((cells[columns[n]] for n in names if n in columns), "")

    always = [cells[columns[n]] for n in _ALWAYS if n in columns]
    protein = Protein(cell("entry", "accession"), number, stated=not always or any(always))
    if not protein.id:
        raise rows.bad("a row without accession", number)
    if cell("length"):
        protein.length = whole(cell("length"), "the length", rows.path, number)
    protein.version = cell("entry version", "version")
    protein.displayed = _displayed(cell("cc_alternative_products", "alternative products (isoforms)"))
    for i in placed:
        protein.entries += _cell_entries(rows, cells[i], number)
    for text in cell("cc_cofactor", "cofactor").split("COFACTOR:")[1:]:
        protein.facts += _cofactors(text.strip())
    protein.facts += [Fact("KEYWORD", name) for name, _ in _coded(cell("keywords", "keyword"), ";")]
    terms = {t: n for c in _GO_COLUMNS for n, t in _GO_CELL.findall(cell(c))}
    terms |= {t: "" for t, _ in _coded(cell("gene ontology ids", "go_id"), ";") if t not in terms}
    protein.facts += [go_fact(term, name) for term, name in terms.items()]
    protein.facts += [Fact("EC", ec) for ec, _ in _coded(cell("ec number", "ec"), ";")]
    return protein


def _cell_entries(rows: Rows, cell: str, number: int) -> Iterator[Entry]:
    while cell:
        head = _CELL_HEAD.match(cell)
        values, rest = _qualifiers(cell[head.end() :]) if head else ({}, cell)
        if head is None or (rest and not rest.startswith(";")):
            expected = 'KEY from..to; /qualifier="value"'
            raise rows.bad("this is not an entry", number, expected=expected, got=repr(cell[:60]))
        yield _entry(head[1], head[2], values, number)
        cell = rest.lstrip("; ")


@checked()
def parse_uniprot_gff(path: str | Path, *, release: str | None = None) -> Annotations:
    """Entries of UniProtKB's GFF; it states neither ligands nor facts (see the module's text).

    Raises
    ------
    FormatError
        When a line does not have UniProt's nine columns.
    """
    rows = Rows("uniprot", path, release=release or "")
    proteins: list[Protein] = []
    latest: dict[str, Protein] = {}
    for number, line in rows.lines("GFF of UniProtKB", skip=()):
        if line.startswith("##FASTA"):
            break
        words = line.split()
        if line.startswith("##sequence-region") and len(words) == 4:
            length = whole(words[3], "the length", path, number)
            proteins.append(Protein(words[1], number, length, release or ""))
            latest[words[1]] = proteins[-1]
        elif not line.startswith("#"):
            sample, entry = _gff_entry(rows, line, number)
            if sample not in latest:
                proteins.append(Protein(sample, number))
                latest[sample] = proteins[-1]
            latest[sample].entries.append(entry)
    return gather(rows, proteins, release)


def _gff_entry(rows: Rows, line: str, number: int) -> tuple[str, Entry]:
    cells = [c.strip() for c in cells_of(line)]
    if len(cells) < 9 or not cells[2] or not cells[0]:
        raise rows.bad("this is not an entry of UniProtKB's GFF", number, got=repr(line[:60]))
    pairs = (pair.partition("=") for pair in cells[8].split(";"))
    values = {k.strip(): unquote(v) for k, equals, v in pairs if equals}
    first, last = (whole(cells[i], f"the {e}", rows.path, number) for i, e in ((3, "start"), (4, "end")))
    extra = {"id": "ID", "ligand": "Ligand", "ligand_id": "Ligand_id"}
    return cells[0], Entry(
        KEYS.get(cells[2].lower(), cells[2].lower()),
        f"{first}..{last}" if first != last else str(first),
        values.get("Note", ""),
        codes_of(values.get("evidence") or values.get("Ontology_term", "")),
        {ours: values[theirs] for ours, theirs in extra.items() if values.get(theirs)},
        number,
    )
