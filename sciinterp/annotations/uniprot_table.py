"""UniProtKB as tables: the TSV with ``ft_*`` columns, and GFF.

A TSV cell writes features in the notation of the flat file, one after another. GFF states less: it has no
ligands, no cofactors, no uncertain ends (``<1`` becomes 1) and no isoforms, and UniProt leaves features with
unknown ends out of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from sciinterp.annotations.rows import Rows
from sciinterp.annotations.table import Annotations
from sciinterp.annotations.text import read_lines, whole
from sciinterp.annotations.uniprot import KEYS, Entry, Feature, codes_of, place
from sciinterp.annotations.uniprot_flat import cofactors, displayed, set_qualifiers
from sciinterp.errors import FormatError

# One feature in a TSV cell: KEY location; /qualifier="value"; /qualifier="value"
_CELL_FEATURE = re.compile(
    r'\s*([A-Z][A-Z_]{1,11}) ([^;"\s]+)((?:; */[a-z_]+(?:="(?:[^"]|"")*")?)*)(?:;|$)', re.ASCII
)
_CELL_QUALIFIER = re.compile(r'/([a-z_]+)(?:="((?:[^"]|"")*)")?', re.ASCII)


def parse_uniprot_tsv(path: str | Path, *, release: str | None = None) -> Annotations:
    """Features and cofactors of a UniProtKB table with ``ft_*`` columns and, if present, ``cc_cofactor``.

    Columns are known by the names of the query fields (``ft_binding``) or by the headers of the website
    ("Binding site"); ``Entry``, ``Length`` and ``Entry version`` are used where present.

    Raises
    ------
    FormatError
        When the header has no ``Entry`` or no feature column, or a cell cannot be read.
    """
    rows = Rows("uniprot", release=release or "")
    columns: dict[str, int] = {}
    features: list[int] = []
    width = 0
    for number, line in read_lines(path):
        cells = line.split("\t")
        if not width:
            columns = {c.strip().lower(): i for i, c in enumerate(cells)}
            features = [i for c, i in columns.items() if c.startswith("ft_") or c in KEYS]
            width = len(cells)
            if not ({"entry", "accession"} & set(columns)) or not (
                features or {"cc_cofactor", "cofactor"} & set(columns)
            ):
                raise FormatError(
                    "this is not a UniProtKB table",
                    file=str(path),
                    line=number,
                    expected="a header with Entry and ft_* columns",
                    got=repr(line[:60]),
                )
            continue
        if not line.strip():
            continue
        if len(cells) != width:
            raise FormatError(
                "a row of another width than the header",
                file=str(path),
                line=number,
                expected=f"{width} cells",
                got=str(len(cells)),
            )
        _row(rows, cells, columns, features, Path(path), number, release)
    if not width:
        raise FormatError(
            "an empty file", file=str(path), line=1, expected="a header with Entry and ft_* columns"
        )
    return rows.annotations()


def _row(
    rows: Rows,
    cells: list[str],
    columns: dict[str, int],
    features: list[int],
    path: Path,
    number: int,
    release: str | None,
) -> None:
    """One entry of the table."""

    def cell(*names: str) -> str:
        return next((cells[columns[n]].strip() for n in names if n in columns), "")

    entry = Entry(cell("entry", "accession"), release=release or "")
    if not entry.id:
        raise FormatError("a row without accession", file=str(path), line=number)
    if cell("length"):
        entry.length = whole(cell("length"), "the length", path, number)
    if release is None and cell("entry version", "version"):
        entry.release = f"entry version {cell('entry version', 'version')}"
    entry.displayed = displayed(cell("cc_alternative_products", "alternative products (isoforms)"))
    rows.covers(entry.id)
    for i in features:
        for feature in _cell_features(cells[i].strip(), path, number):
            if not place(rows, entry, feature):
                raise FormatError(
                    "this is not a feature location",
                    file=str(path),
                    line=number,
                    got=repr(feature.location[:60]),
                )
    for text in cell("cc_cofactor", "cofactor").split("COFACTOR:")[1:]:
        cofactors(rows, entry, text.strip())


def _cell_features(cell: str, path: Path, number: int) -> Iterator[Feature]:
    at = 0
    while at < len(cell):
        match = _CELL_FEATURE.match(cell, at)
        if match is None:
            raise FormatError(
                "this is not a feature",
                file=str(path),
                line=number,
                got=repr(cell[at : at + 60]),
                expected='KEY from..to; /qualifier="value"',
            )
        feature = Feature(match[1], match[2])
        set_qualifiers(
            feature, {q[1]: (q[2] or "").replace('""', '"') for q in _CELL_QUALIFIER.finditer(match[3])}
        )
        yield feature
        at = match.end()


def parse_uniprot_gff(path: str | Path, *, release: str | None = None) -> Annotations:
    """Features of UniProtKB's GFF; it states neither ligands nor cofactors (see the module's text).

    Raises
    ------
    FormatError
        When a line does not have UniProt's nine columns.
    """
    rows = Rows("uniprot", release=release or "")
    lengths: dict[str, int] = {}
    seen = False
    for number, line in read_lines(path):
        seen = seen or bool(line.strip())
        if line.startswith("##sequence-region"):
            words = line.split()
            if len(words) == 4:
                lengths[words[1]] = whole(words[3], "the length", path, number)
                rows.covers(words[1])
        elif line.startswith("##FASTA"):
            break
        elif line.strip() and not line.startswith("#"):
            _gff_feature(rows, line, lengths, Path(path), number, release or "")
    if not seen:
        raise FormatError("an empty file", file=str(path), line=1, expected="GFF of UniProtKB")
    return rows.annotations()


def _gff_feature(
    rows: Rows, line: str, lengths: dict[str, int], path: Path, number: int, release: str
) -> None:
    cells = line.split("\t")
    if len(cells) < 9 or cells[2].strip().lower() not in KEYS or not cells[0].strip():
        raise FormatError(
            "this is not a feature of UniProtKB's GFF", file=str(path), line=number, got=repr(line[:60])
        )
    values: dict[str, str] = {}
    for pair in cells[8].split(";"):
        key, equals, value = pair.partition("=")
        if equals:
            values[key.strip()] = value if key.strip() == "evidence" else unquote(value)
    first, last = whole(cells[3], "the start", path, number), whole(cells[4], "the end", path, number)
    feature = Feature(
        KEYS[cells[2].strip().lower()],
        f"{first}..{last}" if first != last else str(first),
        values.get("Note", ""),
    )
    feature.evidence = codes_of(unquote(values.get("evidence") or values.get("Ontology_term", "")))
    extra = {"id": "ID", "ligand": "Ligand", "ligand_id": "Ligand_id"}
    feature.fields = {ours: values[theirs] for ours, theirs in extra.items() if values.get(theirs)}
    entry = Entry(cells[0].strip(), lengths.get(cells[0].strip(), 0), release)
    rows.covers(entry.id)
    place(rows, entry, feature)
