"""FASTA, GenBank, EMBL and UniProt flat files through Biopython; UniProt XML and JSON by the bounded reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciinterp.errors import FormatError
from sciinterp.readers.bounded import Text, first_lines, parsing, read_json, read_xml
from sciinterp.readers.entries import columns_of, sequences_to_samples
from sciinterp.samples import Samples

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


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
    return sequences_to_samples(_fasta_entries(path), path, kind=kind)


def _fasta_entries(path: Path) -> Iterator[tuple[str, str]]:
    from Bio.SeqIO.FastaIO import SimpleFastaParser

    with Text(path, sequences=True) as handle:
        for title, sequence in SimpleFastaParser(handle):
            words = title.split()
            yield (words[0] if words else ""), sequence


def read_genbank(path: Path, *, kind: str | None = None) -> Samples:
    """GenBank; the identifier is the accession with its version."""
    return _read(path, "genbank", kind)


def read_embl(path: Path, *, kind: str | None = None) -> Samples:
    """EMBL; the identifier is the accession with its version."""
    return _read(path, "embl", kind)


def read_uniprot(path: Path, *, kind: str | None = None) -> Samples:
    """UniProtKB flat file; the identifier is the first accession."""
    return _read(path, "swiss", kind or "protein")


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
            )
            for _, entry in read_xml(path, "entry")
        ),
        kind,
    )


def read_uniprot_json(path: Path, *, kind: str | None = None) -> Samples:
    """UniProtKB JSON, one entry or the results of a query; the identifier is the primary accession."""

    def value(of: Any, *keys: str) -> str:
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
            )
            for entry in entries
        ),
        kind,
    )


def _uniprot(path: Path, entries: Iterable[tuple[str, str, str, str, str]], kind: str | None) -> Samples:
    """Samples of (accession, sequence, name, organism, its common name)."""
    found = list(entries)
    columns = [{"name": e[2], "organism": f"{e[3]} ({e[4]})" if e[4] else e[3]} for e in found]
    table = columns_of(columns)
    return sequences_to_samples((e[:2] for e in found), path, kind=kind or "protein", table=table)


def _read(path: Path, format: str, kind: str | None) -> Samples:
    from Bio import SeqIO

    with Text(path, sequences=True) as handle, parsing(path, format, lambda: handle.number):
        records = list(SeqIO.parse(handle, format))
    molecule = {str(r.annotations.get("molecule_type", "")).lower() for r in records}
    if kind is None and any("dna" in m or "rna" in m for m in molecule):
        kind = "dna"
    table = columns_of([_columns(r) for r in records])
    return sequences_to_samples(((r.id, _sequence(r)) for r in records), path, kind=kind, table=table)


def _sequence(record: Any) -> str:
    from Bio.Seq import UndefinedSequenceError

    try:
        return str(record.seq) if record.seq is not None else ""
    except UndefinedSequenceError:
        return ""


def _columns(record: Any) -> dict[str, str]:
    name = "" if record.name == record.id else str(record.name)
    topology = str(record.annotations.get("topology", ""))
    return {
        "name": name,
        "organism": str(record.annotations.get("organism", "")),
        "topology": topology if topology == "circular" else "",
    }
