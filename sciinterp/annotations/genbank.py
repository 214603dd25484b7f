"""GenBank and EMBL files, read by Biopython: the feature table all sequence archives share.

A joined location becomes one instance a part (the exons of a CDS), each with its strand. Fuzzy ends keep
their certain part. ``repeat_region``, ``regulatory`` and ``ncRNA`` get a child concept by the family or class
they name: ``genbank:repeat_region:Alu``.

Source: the DDBJ/ENA/GenBank Feature Table Definition, version 11.3; Cock et al., Bioinformatics 25:1422
(2009).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sciinterp.annotations.rows import Rows, concept_name, join_note
from sciinterp.annotations.table import Annotations
from sciinterp.annotations.text import guard, read_lines
from sciinterp.errors import FormatError, InputError

REFINED = {"repeat_region": ("rpt_family", "rpt_type"), "mobile_element": ("mobile_element_type",),
           "regulatory": ("regulatory_class",), "ncRNA": ("ncRNA_class",)}  # fmt: skip
_NOTED = ("gene", "locus_tag", "product", "number", "note", "protein_id")
UNREADABLE = "a location that cannot be read"
REMOTE = "on another sequence"
BETWEEN = "between two positions: N^M"
UNCERTAIN = "no position is certain"
BEYOND = "beyond the end of the sequence"


def parse_genbank(
    path: str | Path, *, ids: str = "id", duplicates: str = "drop", release: str = ""
) -> Annotations:
    """Features of a GenBank flat file.

    Parameters
    ----------
    path : path
    ids : str
        Samples are named by ``id`` (accession and version), ``accession`` or ``name``.
    duplicates : str
        ``drop`` counts a feature that repeats key and interval of an earlier one, ``keep`` keeps it.
    release : str
        For the ``release`` column.

    Raises
    ------
    FormatError
        When Biopython cannot read the file, with the line it had reached.
    """
    return _parse(path, "genbank", ids, duplicates, release)


def parse_embl(
    path: str | Path, *, ids: str = "id", duplicates: str = "drop", release: str = ""
) -> Annotations:
    """Features of an EMBL flat file; parameters and errors as of :func:`parse_genbank`."""
    return _parse(path, "embl", ids, duplicates, release)


class _Counted(io.TextIOBase):
    """Lines as a text stream that knows how far it was read."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines, self.number = lines, 0

    def readable(self) -> bool:
        return True

    def readline(self, size: int | None = -1, /) -> str:
        number, line = next(self._lines, (0, None))
        if line is None:
            return ""
        self.number = number
        return line + "\n"

    def read(self, size: int | None = -1, /) -> str:
        return "" if size == 0 else "".join(iter(self.readline, ""))


def _parse(path: str | Path, format: str, ids: str, duplicates: str, release: str) -> Annotations:
    if ids not in ("id", "accession", "name") or duplicates not in ("drop", "keep"):
        raise InputError(
            "no such choice",
            expected="ids: id, accession, name; duplicates: drop, keep",
            got=f"ids={ids!r}, duplicates={duplicates!r}",
        )
    from Bio import BiopythonWarning, SeqIO

    rows = Rows("genbank", release=release)
    handle = _Counted(read_lines(path))
    first = handle.readline()
    while first and not first.strip():
        first = handle.readline()
    if not first.startswith("LOCUS " if format == "genbank" else "ID   "):
        raise FormatError(
            f"this is not {format}", file=str(path), line=max(handle.number, 1), got=repr(first[:40])
        )
    handle._lines = _again(first, handle.number, handle._lines)

    def run() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BiopythonWarning)
            for record in SeqIO.parse(handle, format):
                _record(rows, record, ids)

    guard(run, path, f"a readable {format} file", lambda: handle.number)
    return rows.annotations(unique=duplicates == "drop")


def _again(first: str, number: int, rest: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield number, first.rstrip("\n")
    yield from rest


def _record(rows: Rows, record: Any, ids: str) -> None:
    accession = (record.annotations.get("accessions") or [record.id])[0]
    sample = {"id": record.id, "accession": accession, "name": record.name}[ids]
    if not sample or sample in ("<unknown id>", "<unknown name>"):
        raise ValueError("an entry without identifier")
    rows.covers(sample)
    for feature in record.features:
        _feature(rows, sample, len(record), feature)


def _feature(rows: Rows, sample: str, length: int, feature: Any) -> None:
    rows.item()
    if feature.location is None:
        rows.drop(UNREADABLE)
        return
    base = concept_name("genbank", feature.type)
    concepts = [base]
    for qualifier in REFINED.get(feature.type, ()):
        of = " ".join(feature.qualifiers.get(qualifier, []))
        if of:
            concepts.append(concept_name("genbank", feature.type, of))
            break
    fields = {k: ", ".join(map(str, feature.qualifiers[k])) for k in _NOTED if k in feature.qualifiers}
    evidence = ", ".join(
        str(e) for k in ("experiment", "inference", "evidence") for e in feature.qualifiers.get(k, [])
    )
    reason = ""
    kept = False
    for part in feature.location.parts:
        start, end, flag = _certain(part, length)
        if start < 0:
            reason = flag
            continue
        kept = True
        note = join_note("", fields | {"partial": flag})
        for concept in concepts:
            rows.add(
                sample,
                start,
                end,
                concept,
                strand={1: "+", -1: "-"}.get(part.strand, "."),
                evidence=evidence,
                note=note,
            )
    if not kept:
        rows.drop(reason)
        return
    rows.concept(base, name=feature.type)
    if len(concepts) > 1:
        rows.concept(concepts[1], name=concepts[1].split(":", 2)[2], parent=base, level=1)


def _certain(part: Any, length: int) -> tuple[int, int, str]:
    """The part of a location that is certain, and which end is not; or -1 and the reason."""
    if part.ref is not None:
        return -1, -1, REMOTE
    kinds = {"start": type(part.start).__name__, "end": type(part.end).__name__}
    if not set(kinds.values()) <= {
        "ExactPosition",
        "BeforePosition",
        "AfterPosition",
        "WithinPosition",
        "OneOfPosition",
    }:
        return -1, -1, UNCERTAIN
    if kinds["start"] == "AfterPosition" or kinds["end"] == "BeforePosition":
        return -1, -1, UNCERTAIN
    start, end = _innermost(part.start, max), _innermost(part.end, min)
    if start == end and set(kinds.values()) == {"ExactPosition"}:
        return -1, -1, BETWEEN
    if start < 0 or end <= start:
        return -1, -1, UNCERTAIN
    if length and end > length:
        return -1, -1, BEYOND
    fuzzy = [end for end, kind in kinds.items() if kind != "ExactPosition"]
    return start, end, "both" if len(fuzzy) == 2 else "".join(fuzzy)


def _innermost(position: Any, pick: Any) -> int:
    if type(position).__name__ == "WithinPosition":
        return pick(position._left, position._right)
    if type(position).__name__ == "OneOfPosition":
        return int(pick(map(int, position.position_choices)))
    return int(position)
