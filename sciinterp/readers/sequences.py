"""FASTA, GenBank and EMBL through Biopython; UniProt flat files, XML and JSON by the bounded reader."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sciinterp.errors import FormatError
from sciinterp.readers.bounded import Text, first_lines, parsing, read_json, read_lines, read_xml
from sciinterp.readers.entries import columns_of, sequences_to_samples
from sciinterp.samples import Samples

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from Bio.SeqRecord import SeqRecord

# What Biopython says of a sequence that is not as long as its record states.
CUT_SHORT = "Expected sequence length"
# Titles of NBRF/PIR, in which a line of description stands between title and sequence.
_PIR = re.compile(r"(?:P1|F1|D[LC]|R[LC]|N[13]|XX);")
_LENGTH = re.compile(r"([0-9]{1,18}) AA\.", re.ASCII)
# accession, sequence, name, organism, its common name, stated length
_Entry = tuple[str, str, str, str, str, str]


def read_fasta(path: Path, *, kind: str | None = None) -> Samples:
    """FASTA; the identifier is the first word of the title line.

    Raises
    ------
    FormatError
        When the file is not FASTA.
    """
    first = first_lines(path, n=1)
    if first and not first[0].startswith(">"):
        raise FormatError(
            "this is not FASTA",
            file=str(path),
            line=1,
            expected="a line that starts with >",
            got=repr(first[0][:40]),
        )
    with Text(path, sequences=True) as handle:
        return sequences_to_samples(fasta_entries(handle, path), path, kind=kind)


def fasta_entries(lines: Iterable[str], path: Path) -> Iterator[tuple[str, str]]:
    """(first word of the title, sequence) of the entries of FASTA, without Pearson's lines of comment (``;``).

    Raises
    ------
    FormatError
        This is NBRF/PIR.
    """
    from Bio.SeqIO.FastaIO import SimpleFastaParser

    for title, sequence in SimpleFastaParser(line for line in lines if not line.startswith(";")):
        if _PIR.match(title):
            raise FormatError(
                "this is NBRF/PIR, not FASTA: the line below a title is a description",
                file=str(path),
                got=repr(title[:40]),
                do="Convert it, as Bio.SeqIO.convert(path, 'pir', out, 'fasta') does.",
            )
        words = title.split()
        yield (words[0] if words else ""), sequence


def read_genbank(path: Path, *, kind: str | None = None) -> Samples:
    """GenBank; the identifier is the accession with its version."""
    return _read(path, "genbank", kind)


def read_embl(path: Path, *, kind: str | None = None) -> Samples:
    """EMBL; the identifier is the accession with its version."""
    return _read(path, "embl", kind)


def read_uniprot(path: Path, *, kind: str | None = None) -> Samples:
    """UniProtKB flat file; the identifier is the first accession.

    Raises
    ------
    FormatError
        This is no such file, or it ends within a protein.
    """
    return _uniprot(path, _flat(path), kind)


def _flat(path: Path) -> Iterator[_Entry]:
    """Lines by their two-letter codes, as the annotations of the same file are read: an entry that Biopython does
    not take (a site between two residues, an unknown qualifier) has a sequence all the same."""
    text: dict[str, list[str]] = {}
    number = 0
    for number, line in read_lines(path, sequences=True):
        if not line.strip():
            continue
        code = line[:2]
        if not text and code != "ID":
            raise FormatError(
                "this is not a UniProtKB flat file",
                file=str(path),
                line=number,
                expected="ID",
                got=repr(line[:40]),
            )
        if code != "//":
            text.setdefault(code, []).append(line[5:].strip())
            continue
        length = _LENGTH.search(text["ID"][0])
        yield (
            text.get("AC", [""])[0].split(";")[0].strip(),
            "".join("".join(text.get("  ", ())).split()),
            (text["ID"][0].split() or [""])[0],
            " ".join(text.get("OS", ())).strip().rstrip("."),
            "",
            length[1] if length else "",
        )
        text = {}
    if any(map("".join, text.values())):
        raise FormatError(
            "the file ends inside a protein", file=str(path), line=number, do="Was the download cut short?"
        )


def read_uniprot_xml(path: Path, *, kind: str | None = None) -> Samples:
    """UniProtKB XML; the identifier is the first accession."""

    def text(of: Element, where: str) -> str:
        return (of.findtext(where) or "").strip()

    return _uniprot(
        path,
        (
            (
                text(entry, "accession"),
                text(entry, "sequence"),
                text(entry, "name"),
                text(entry, "organism/name[@type='scientific']"),
                text(entry, "organism/name[@type='common']"),
                getattr(entry.find("sequence"), "attrib", {}).get("length", ""),
            )
            for _, entry in read_xml(path, "entry")
        ),
        kind,
    )


def read_uniprot_json(path: Path, *, kind: str | None = None) -> Samples:
    """UniProtKB JSON, one entry or the results of a query; the identifier is the primary accession."""

    def value(of: object, *keys: str) -> str:
        for key in keys:
            of = of.get(key) if isinstance(of, dict) else None
        return of if isinstance(of, str) else ""

    found = read_json(path)
    entries = found.get("results", [found]) if isinstance(found, dict) else found
    if not isinstance(entries, list) or not all(value(entry, "primaryAccession") for entry in entries):
        raise FormatError(
            "this is not UniProtKB JSON", file=str(path), expected="entries with a primaryAccession"
        )
    return _uniprot(
        path,
        (
            (
                value(entry, "primaryAccession"),
                value(entry, "sequence", "value"),
                value(entry, "uniProtkbId"),
                value(entry, "organism", "scientificName"),
                value(entry, "organism", "commonName"),
                str(entry["sequence"].get("length", "")) if isinstance(entry.get("sequence"), dict) else "",
            )
            for entry in entries
        ),
        kind,
    )


def _uniprot(path: Path, entries: Iterable[_Entry], kind: str | None) -> Samples:
    """Samples of the entries, whichever form they came in."""
    found = list(entries)
    for accession, sequence, *_, stated in found:
        n = len("".join(sequence.split()))
        if n and stated.isascii() and stated.isdigit() and int(stated[:18]) != n:
            raise FormatError(
                "a sequence is not as long as its entry states",
                file=str(path),
                expected=stated[:18],
                got=f"{n} in {accession!r}",
                do="Was the file cut short?",
            )
    columns = [{"name": e[2], "organism": f"{e[3]} ({e[4]})" if e[4] else e[3]} for e in found]
    table = columns_of(columns)
    return sequences_to_samples((e[:2] for e in found), path, kind=kind or "protein", table=table)


def _read(path: Path, format: str, kind: str | None) -> Samples:
    from Bio import SeqIO

    with (
        Text(path, sequences=True) as handle,
        warnings.catch_warnings(),
        parsing(path, format, lambda: handle.number),
    ):
        warnings.filterwarnings("error", message=CUT_SHORT)
        records = list(SeqIO.parse(handle, format))
    molecule = {str(r.annotations.get("molecule_type", "")).lower() for r in records}
    if kind is None and any("dna" in m or "rna" in m for m in molecule):
        kind = "dna"
    table = columns_of([_columns(r) for r in records])
    return sequences_to_samples(
        ((record_name(r), _sequence(r)) for r in records), path, kind=kind, table=table
    )


def record_name(record: SeqRecord) -> str:
    """Accession and version of a record of Biopython; its name where editors of plasmids leave these blank."""
    return str(record.name if record.id in ("", ".", "<unknown id>") else record.id)


def _sequence(record: SeqRecord) -> str:
    from Bio.Seq import UndefinedSequenceError

    try:
        return str(record.seq) if record.seq is not None else ""
    except UndefinedSequenceError:
        return ""


def _columns(record: SeqRecord) -> dict[str, str]:
    name = "" if record.name == record_name(record) else str(record.name)
    topology = str(record.annotations.get("topology", ""))
    return {
        "name": name,
        "organism": str(record.annotations.get("organism", "")),
        "topology": topology if topology == "circular" else "",
    }
