"""GenBank and EMBL files, read by Biopython: the table of entries that all sequence archives share.

A joined location becomes one instance a part (the exons of a CDS, both sides of the origin of a circle), each
with its strand. Fuzzy ends keep their certain part. A record that states nothing but its source is not covered. ``repeat_region``, ``regulatory`` and ``ncRNA`` get a child concept by the family or class
they name: ``genbank:repeat_region:Alu``.

Source: the DDBJ/ENA/GenBank Feature Table Definition, version 11.3; Cock et al., Bioinformatics 25:1422
(2009).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sciinterp.annotations.rows import Duplicates, Rows, concept_name, join_note
from sciinterp.annotations.table import Annotations
from sciinterp.readers.bounded import Text, first_lines, parsing
from sciinterp.readers.sequences import CUT_SHORT, record_name
from sciinterp.settings import checked

if TYPE_CHECKING:
    from Bio.SeqFeature import SeqFeature, SimpleLocation
    from Bio.SeqRecord import SeqRecord

REFINED = {"repeat_region": ("rpt_family", "rpt_type"), "mobile_element": ("mobile_element_type",),
           "regulatory": ("regulatory_class",), "ncRNA": ("ncRNA_class",)}  # fmt: skip
_NOTED = ("gene", "locus_tag", "product", "number", "note", "protein_id", "transl_table", "transl_except")
UNREADABLE = "a location that cannot be read"
REMOTE = "on another sequence"
BETWEEN = "between two positions: N^M"
UNCERTAIN = "no position is certain"
ONLY_SOURCE = "of a record that states nothing but its source"
BEYOND = "beyond the end of the sequence"


Ids = Literal["id", "accession", "name"]


@checked()
def parse_genbank(
    path: str | Path, *, ids: Ids = "id", duplicates: Duplicates = "drop", release: str = ""
) -> Annotations:
    """Entries of a GenBank flat file.

    Parameters
    ----------
    path : path
    ids : str
        Samples are named by ``id`` (accession and version), ``accession`` or ``name``.
    duplicates : str
        ``drop`` counts an entry that repeats key and interval of an earlier one, ``keep`` keeps it.
    release : str
        For the ``release`` column.

    Raises
    ------
    FormatError
        When Biopython cannot read the file, with the line it had reached.
    """
    return _parse(path, "genbank", ids, duplicates, release)


@checked()
def parse_embl(
    path: str | Path, *, ids: Ids = "id", duplicates: Duplicates = "drop", release: str = ""
) -> Annotations:
    """Entries of an EMBL flat file; parameters and errors as of :func:`parse_genbank`."""
    return _parse(path, "embl", ids, duplicates, release)


def _parse(path: str | Path, format: str, ids: str, duplicates: str, release: str) -> Annotations:
    from Bio import BiopythonWarning, SeqIO

    rows = Rows("genbank", path, release=release)
    begins = "LOCUS " if format == "genbank" else "ID   "
    # archives begin with a header of their own, which Biopython passes over
    if not any(line.startswith(begins) for line in first_lines(path)):
        raise rows.bad(f"this is not {format}", 1, expected=f"a line that starts with {begins.strip()}")
    with Text(path, sequences=True) as text, warnings.catch_warnings():
        warnings.simplefilter("ignore", BiopythonWarning)
        warnings.filterwarnings("error", message=CUT_SHORT)
        with parsing(path, f"a readable {format} file", lambda: text.number):
            for record in SeqIO.parse(text, format):
                _record(rows, record, ids)
    return rows.annotations(unique=duplicates == "drop")


def _record(rows: Rows, record: SeqRecord, ids: str) -> None:
    known: Mapping[str, object] = record.annotations
    accessions = known.get("accessions")
    accession = accessions[0] if isinstance(accessions, list) and accessions else record.id
    sample = {"id": record_name(record), "accession": accession, "name": record.name}[ids]
    if not sample or sample in ("<unknown id>", "<unknown name>"):
        raise ValueError("a record without identifier")
    stated = any(entry.type != "source" for entry in record.features)
    rows.begin(sample)
    rows.says(sample, stated)
    for number, entry in enumerate(record.features, 1):
        _entry(rows, sample, len(record), entry, number, "" if stated else ONLY_SOURCE)


def _entry(rows: Rows, sample: str, length: int, entry: SeqFeature, number: int, reason: str) -> None:
    rows.item()
    if entry.location is None or reason:
        rows.drop(reason or UNREADABLE)
        return
    base = concept_name("genbank", entry.type)
    concepts = {base: entry.type}
    rows.concept(base, name=entry.type)
    of = next((" ".join(v) for q in REFINED.get(entry.type, ()) if (v := entry.qualifiers.get(q))), "")
    if of:
        child = concept_name("genbank", entry.type, of)
        concepts[child] = child.split(":", 2)[2]
        rows.concept(child, name=concepts[child], parent=base, level=1)
    fields = {k: ", ".join(map(str, entry.qualifiers[k])) for k in _NOTED if k in entry.qualifiers}
    if (first := str(entry.qualifiers.get("codon_start", ["1"])[0])) in ("2", "3"):
        fields["codon_start"] = first
    if entry.type == "CDS":  # what belongs together where no name says so
        fields["entry"] = str(number)
    evidence = ", ".join(
        str(e) for k in ("experiment", "inference", "evidence") for e in entry.qualifiers.get(k, [])
    )
    kept, parts = False, entry.location.parts
    found = [_certain(part, length) for part in parts]
    fields |= _joined([start for start, _, _ in found], [part.strand for part in parts])
    for i, (part, (start, end, flag)) in enumerate(zip(parts, found), 1):
        if start < 0:
            reason = flag
            continue
        note = join_note("", fields | {"partial": flag} | ({"part": str(i)} if "parts" in fields else {}))
        strand = {1: "+", -1: "-"}.get(part.strand or 0, ".")
        for concept in concepts:
            rows.add(sample, start, end, concept, strand=strand, evidence=evidence, note=note)
        kept = True
    if not kept:
        rows.drop(reason)


def _joined(starts: list[int], strands: list[int | None]) -> dict[str, str]:
    """What a joined location is that its parts in the order of the sequence do not say."""
    if min(starts) < 0 or len(set(strands)) > 1:
        return {"parts": "some elsewhere"}
    return {} if starts == sorted(starts, reverse=strands[0] == -1) else {"parts": "across the origin"}


def _certain(part: SimpleLocation, length: int) -> tuple[int, int, str]:
    """The part of a location that is certain, and which end is not; or -1 and the reason."""
    if part.ref is not None:
        return -1, -1, REMOTE
    kinds = {"start": type(part.start).__name__, "end": type(part.end).__name__}
    known = {f"{kind}Position" for kind in ("Exact", "Before", "After", "Within", "OneOf")}
    inverted = kinds["start"] == "AfterPosition" or kinds["end"] == "BeforePosition"
    if inverted or not set(kinds.values()) <= known:
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


def _innermost(position: Any, pick: Callable[..., int]) -> int:
    if type(position).__name__ == "WithinPosition":
        return pick(position._left, position._right)
    if type(position).__name__ == "OneOfPosition":
        return int(pick(map(int, position.position_choices)))
    return int(position)
