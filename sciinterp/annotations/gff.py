"""GFF3 and GTF: one line, one interval; the type in column 3 is the concept, ``gff:exon``.

GFF3 as specified by the Sequence Ontology (Stein, version 1.26), GTF 2.2. Both are 1-based with both ends
included. The same exon in several transcripts is one annotation, stated several times: repeats are dropped
and counted unless ``duplicates="keep"``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from sciinterp.annotations.rows import Rows, concept_name, join_note
from sciinterp.annotations.table import Annotations
from sciinterp.annotations.text import read_lines, whole
from sciinterp.errors import FormatError, InputError

_GTF_PAIR = re.compile(r'\s*([A-Za-z_][\w.-]*)\s+(?:"([^"]*)"|([^\s;"]+))\s*(?:;|$)')
# attributes worth a place in the note: who it is and what it belongs to
_NOTED = (
    "ID",
    "Name",
    "Parent",
    "gene",
    "gene_id",
    "gene_name",
    "transcript_id",
    "biotype",
    "gene_biotype",
    "gene_type",
    "Note",
)


def parse_gff3(path: str | Path, *, duplicates: str = "drop", release: str = "") -> Annotations:
    """Intervals of a GFF3 file; ``##sequence-region`` lines say which samples it covers.

    Parameters
    ----------
    path : path
    duplicates : str
        ``drop`` counts a line that repeats type, interval and strand of an earlier one, ``keep`` keeps it.
    release : str
        For the ``release`` column.

    Raises
    ------
    FormatError
        When a line does not have nine columns, or its coordinates or strand are impossible.
    """
    return _parse(path, duplicates, release, gtf=False)


def parse_gtf(path: str | Path, *, duplicates: str = "drop", release: str = "") -> Annotations:
    """Intervals of a GTF file; parameters and errors as of :func:`parse_gff3`."""
    return _parse(path, duplicates, release, gtf=True)


def _parse(path: str | Path, duplicates: str, release: str, *, gtf: bool) -> Annotations:
    if duplicates not in ("drop", "keep"):
        raise InputError("no such choice for 'duplicates'", expected="drop or keep", got=repr(duplicates))
    rows = Rows("gff", release=release)
    lengths: dict[str, int] = {}
    seen = regions = False
    for number, line in read_lines(path):
        seen = seen or bool(line.strip())
        if line.startswith("##FASTA") or (line.startswith(">") and not gtf):
            break
        if line.startswith("##sequence-region"):
            regions = _region(rows, line, lengths, path, number) or regions
        elif line.strip() and not line.startswith("#"):
            _line(rows, line, lengths, str(path), number, gtf)
    if not seen:
        raise FormatError("an empty file", file=str(path), line=1, expected="GTF" if gtf else "GFF3")
    return rows.annotations(unique=duplicates == "drop", coverage=regions)


def _region(rows: Rows, line: str, lengths: dict[str, int], path: str | Path, number: int) -> bool:
    words = line.split()
    if len(words) != 4:
        return False
    lengths[unquote(words[1])] = whole(words[3], "the end of the region", path, number)
    rows.covers(unquote(words[1]))
    return True


def _line(rows: Rows, line: str, lengths: dict[str, int], file: str, number: int, gtf: bool) -> None:
    cells = line.split("\t")
    if len(cells) < 9 and not (len(cells) == 8 and not gtf):
        raise FormatError(
            "a line of GFF has nine tab-separated columns", file=file, line=number, got=str(len(cells))
        )
    sample, kind = (cells[0], cells[2]) if gtf else (unquote(cells[0]), unquote(cells[2]))
    if not sample.strip() or not kind.strip():
        raise FormatError("a line without sequence or type", file=file, line=number)
    start, end = whole(cells[3], "the start", file, number), whole(cells[4], "the end", file, number)
    strand = cells[6].strip()
    if strand not in ("+", "-", ".", "?", ""):
        raise FormatError(
            "this is not a strand", file=file, line=number, expected="+ - . or ?", got=repr(strand[:20])
        )
    if start < 1 or end < start:
        raise FormatError(
            "an impossible interval",
            file=file,
            line=number,
            expected="1 <= start <= end",
            got=f"{start} to {end}",
            do="GFF counts from 1 and includes both ends.",
        )
    rows.item()
    sample = sample.strip()
    if end > lengths.get(sample, end):
        rows.drop("beyond the end of the sequence")
        return
    fields = dict(
        _gtf_fields(cells[8], file, number) if gtf else _gff_fields(cells[8] if len(cells) > 8 else "")
    )
    evidence = ", ".join(c for c in fields.get("Ontology_term", "").split(",") if c.startswith("ECO:"))
    noted = {k: fields[k] for k in _NOTED if fields.get(k)}
    origin = cells[1].strip()
    rows.add(
        sample,
        start - 1,
        end,
        concept_name("gff", kind),
        strand=strand if strand in ("+", "-") else ".",
        evidence=evidence,
        note=join_note("", {"source": origin if origin != "." else ""} | noted),
    )


def _gff_fields(text: str) -> Iterator[tuple[str, str]]:
    for pair in text.split(";"):
        key, equals, value = pair.partition("=")
        if equals:
            yield unquote(key.strip()), unquote(value.strip())


def _gtf_fields(text: str, file: str, number: int) -> Iterator[tuple[str, str]]:
    at = 0
    text = text.split("#", 1)[0].strip() if '"' not in text else text.strip()
    while at < len(text):
        pair = _GTF_PAIR.match(text, at)
        if pair is None:
            if not text[at:].strip(" ;"):
                return
            raise FormatError(
                "these are not GTF attributes",
                file=file,
                line=number,
                expected='key "value";',
                got=repr(text[at : at + 40]),
            )
        yield pair[1], pair[2] if pair[2] is not None else pair[3]
        at = pair.end()
