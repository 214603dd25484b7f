"""FASTA, GenBank, EMBL and UniProt, through Biopython."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sciinterp.errors import FormatError, SciinterpError
from sciinterp.readers.text import (
    columns_of,
    first_lines,
    open_bytes,
    open_text,
    sample_id,
    sequences_to_samples,
)
from sciinterp.samples import Samples


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

    try:
        with open_text(path) as handle:
            for title, sequence in SimpleFastaParser(handle):
                words = title.split()
                yield (sample_id(words[0]) if words else ""), sequence
    except SciinterpError:
        raise
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise FormatError("this is not FASTA", file=str(path), got=str(error)) from None


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
    return _read(path, "uniprot-xml", kind or "protein")


def _read(path: Path, format: str, kind: str | None) -> Samples:
    records = list(_records(path, format))
    molecule = {str(r.annotations.get("molecule_type", "")).lower() for r in records}
    if kind is None and any("dna" in m or "rna" in m for m in molecule):
        kind = "dna"
    table = columns_of([_columns(r) for r in records])
    return sequences_to_samples(((r.id, _sequence(r)) for r in records), path, kind=kind, table=table)


def _records(path: Path, format: str) -> Iterator[Any]:
    from Bio import SeqIO

    n = 0
    try:
        if format == "uniprot-xml":
            _refuse_entities(path)
        with open_bytes(path) if format == "uniprot-xml" else open_text(path) as handle:
            for record in SeqIO.parse(handle, format):
                n += 1
                yield record
    except SciinterpError:
        raise
    # The parser is another program's, and says "this is not my format" by whatever fails in it.
    except Exception as error:
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise FormatError(
            f"this is not {format}", file=str(path), got=f"{said} (after {n} entries)"
        ) from None


def _refuse_entities(path: Path) -> None:
    if any("<!ENTITY" in line or "<!DOCTYPE" in line for line in first_lines(path)):
        raise FormatError("the XML declares entities", file=str(path), do="UniProt's files do not.")


def _sequence(record: Any) -> str:
    from Bio.Seq import UndefinedSequenceError

    try:
        return str(record.seq) if record.seq is not None else ""
    except UndefinedSequenceError:
        return ""


def _columns(record: Any) -> dict[str, str]:
    name = "" if record.name == record.id else str(record.name)
    return {"name": name, "organism": str(record.annotations.get("organism", ""))}
