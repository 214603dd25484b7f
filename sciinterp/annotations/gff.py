"""GFF3 and GTF: one line, one interval; the type in column 3 is the concept, ``gff:exon``.

GFF3 as specified by the Sequence Ontology (Stein, version 1.26), GTF 2.2. Both are 1-based with both ends
included. The same exon in several transcripts is one annotation, stated several times: repeats are dropped
and counted unless ``duplicates="keep"``. On a sequence marked ``Is_circular=true`` an interval that ends
beyond the last base goes on at the first: two rows.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib import parse

from sciinterp.annotations.rows import Duplicates, Rows, cells_of, concept_name, join_note
from sciinterp.annotations.table import Annotations
from sciinterp.readers.bounded import whole
from sciinterp.settings import checked

# key "value", or key value
_PAIR = re.compile(r'([A-Za-z_][\w.-]*)\s+(?:"([^"]*)"|([^\s;"]+))[;\s]*')
# attributes worth a place in the note: who it is and what it belongs to
_NOTED = "ID Name Parent gene gene_id gene_name transcript_id biotype gene_biotype gene_type transl_table transl_except partial Note attributes".split()
BEYOND = "beyond the end of the sequence"
NO_PAIRS = "attributes that are not keys with values"


class _Line(NamedTuple):
    sample: str
    start: int
    end: int
    strand: str
    concept: str
    evidence: str
    note: str
    circular: bool


@checked()
def parse_gff3(path: str | Path, *, duplicates: Duplicates = "drop", release: str = "") -> Annotations:
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


@checked()
def parse_gtf(path: str | Path, *, duplicates: Duplicates = "drop", release: str = "") -> Annotations:
    """Intervals of a GTF file; parameters and errors as of :func:`parse_gff3`."""
    return _parse(path, duplicates, release, gtf=True)


def _parse(path: str | Path, duplicates: str, release: str, *, gtf: bool) -> Annotations:
    rows = Rows("gff", path, release=release)
    lengths: dict[str, int] = {}
    circular: set[str] = set()
    beyond: list[_Line] = []
    regions = False
    for number, line in rows.lines("GTF" if gtf else "GFF3", skip=()):
        words = line.split()
        if line.startswith("##FASTA") or (line.startswith(">") and not gtf):
            break
        if line.startswith("##sequence-region") and len(words) == 4:
            lengths[unquote(words[1])] = whole(words[3], "the end of the region", path, number)
            rows.covers(unquote(words[1]))
            regions = True
        elif not line.startswith("#"):
            read = _line(rows, line, number, gtf)
            if read.circular:
                circular.add(read.sample)
                lengths.setdefault(read.sample, read.end)
            if read.end > lengths.get(read.sample, read.end):
                beyond.append(read)
            else:
                rows.item()
                rows.add(*read[:3], read.concept, strand=read.strand, evidence=read.evidence, note=read.note)
    for read in beyond:
        _wrapped(rows, read, lengths[read.sample], read.sample in circular)
    return rows.annotations(unique=duplicates == "drop", coverage=regions)


def unquote(text: str) -> str:
    return parse.unquote(text) if "%" in text else text


def _wrapped(rows: Rows, read: _Line, length: int, circular: bool) -> None:
    """An interval that goes on at the first base of a circle of ``length`` bases."""
    rows.item()
    if not circular or not length:
        rows.drop(BEYOND)
        return
    start, end = read.start % length, read.end - read.start // length * length
    if end > start + length:
        rows.drop(BEYOND)
        return
    for a, b in ((start, min(end, length)), (0, end - length)):
        if b > a:
            rows.add(
                read.sample, a, b, read.concept, strand=read.strand, evidence=read.evidence, note=read.note
            )


def _line(rows: Rows, line: str, number: int, gtf: bool) -> _Line:
    cells = cells_of(line)
    if len(cells) < 9 and not (len(cells) == 8 and not gtf):
        raise rows.bad("a line of GFF has nine tab-separated columns", number, got=str(len(cells)))
    sample, kind = (cells[0], cells[2]) if gtf else (unquote(cells[0]), unquote(cells[2]))
    if not sample.strip() or not kind.strip():
        raise rows.bad("a line without sequence or type", number)
    start, end = rows.ends(cells[3], cells[4], number, least=1)
    strand = cells[6]
    if strand not in ("+", "-", ".", "?", ""):
        raise rows.bad("this is not a strand", number, expected="+ - . or ?", got=repr(strand[:20]))
    if any(cells[9:]):
        rows.unknown("cells behind the ninth column")
    fields = _fields(rows, cells[8] if len(cells) > 8 else "")
    # Bases before the first whole codon: of a coding sequence that begins before the sequence does.
    noted = {"source": cells[1].strip("."), **{k: fields[k] for k in _NOTED if k in fields}}
    if cells[7] in ("1", "2") and kind.upper() == "CDS":
        noted["phase"] = cells[7]
    return _Line(
        sample.strip(),
        start - 1,
        end,
        strand if strand in ("+", "-") else ".",
        concept_name("gff", kind),
        ", ".join(c for c in fields["Ontology_term"].split(",") if c.startswith("ECO:"))
        if "Ontology_term" in fields
        else "",
        join_note("", noted),
        fields.get("Is_circular", "").lower() == "true",
    )


def _fields(rows: Rows, text: str) -> dict[str, str]:
    """Attributes in the way of GFF3 or of GTF, whichever the line is written in; other text is kept as it is."""
    if _PAIR.match(text):
        rest = _PAIR.sub("", text)
        fields = {m[1]: m[2] if m[2] is not None else m[3] for m in _PAIR.finditer(text)}
    else:
        parts = [pair.partition("=") for pair in text.split(";") if pair.strip(" .")]
        rest = "".join(k for k, equals, _ in parts if not equals)
        fields = {unquote(k.strip()): unquote(v.strip()) for k, equals, v in parts if equals}
    if rest.partition("#")[0].strip("; "):
        rows.unknown(NO_PAIRS)
        if not fields:
            fields["attributes"] = text
    return fields
