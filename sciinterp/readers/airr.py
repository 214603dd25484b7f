"""AIRR rearrangements as protein chains with IMGT positions: the one place that knows the gapped alignment.

In an AIRR rearrangement table (https://docs.airr-community.org/en/stable/datarep/rearrangements.html) the
column ``sequence_alignment`` holds the nucleotides of one chain, gapped so that nucleotide column ``3 (p -
1)`` starts the codon of IMGT position ``p`` up to position 104 (Lefranc et al. 2003,
doi:10.1016/S0145-305X(02)00039-3); ``germline_alignment`` holds the germline in the same columns, with
``N`` where no germline segment templates the base. A *chain* here is the translation of the alignment,
codon by codon:

* a codon that is all gap is no residue; a codon broken by a deletion whose length is not a multiple of three
  has no knowable residue and is left out, and counted;
* bases inserted relative to the germline are not in the alignment, so they are not in the chain either;
* the junction (positions 104 to 118) must be read in frame: a chain that does not contain the file's own
  ``junction_aa`` there is refused, because every position after it would be wrong;
* an alignment without IMGT gaps (IgBLAST, TRUST4, 10x) need not start on a codon: its frame is stated by
  ``v_germline_start``, or by the junction, and its residues have no IMGT positions.

A residue belongs to the segment (V, N, D, J) that gives at least two bases of its codon; three different
segments in one codon make it N. Its germline residue is known only where all three germline bases are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from sciinterp.errors import FormatError
from sciinterp.readers.delimited import distinct, fitted, read_rows
from sciinterp.readers.entries import check_ids
from sciinterp.samples import Samples

# IMGT regions up to position 104; the junction (104-118) fixes the rest.
REGIONS = (("FR1", 1, 26), ("CDR1", 27, 38), ("FR2", 39, 55), ("CDR2", 56, 65), ("FR3", 66, 104))
_AMINO = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
CODONS = dict(zip(map("".join, product("TCAG", repeat=3)), _AMINO))
_COMPLEMENT = str.maketrans("ACGT", "TGCA")
# Positions and insertions, one by one or as runs, as :func:`pack_imgt` writes them.
_IMGT = re.compile(r"\d{1,3}(\.\d{1,2}|-\d{1,3})?( \d{1,3}(\.\d{1,2}|-\d{1,3})?)*", re.ASCII)
_TRUE, _FALSE = {"t", "true", "1", "yes"}, {"f", "false", "0", "no"}


@dataclass(frozen=True, slots=True)
class Chain:
    """One translated rearrangement.

    Attributes
    ----------
    sequence : str
        Amino acids.
    imgt : tuple of str
        IMGT position of every residue, ``"27"``; insertions of CDR3 are ``"111.1"``, ``"112.1"``. Empty
        strings where the alignment is not IMGT-gapped.
    segment : str
        ``V``, ``N``, ``D``, ``J`` or ``-`` (not stated) for every residue.
    germline : str
        Germline residue, or ``-`` where not known.
    broken : int
        Codons left out because a deletion broke them.
    calls : mapping
        ``v_call``, ``d_call``, ``j_call``, ``c_call``, ``locus`` as in the file.
    """

    id: str
    sequence: str
    imgt: tuple[str, ...]
    segment: str
    germline: str
    broken: int = 0
    calls: Mapping[str, str] = field(default_factory=dict)

    def region(self, i: int) -> str:
        """``FR1`` ... ``FR4`` of residue ``i``, or an empty string."""
        return region_of(self.imgt[i]) if self.imgt[i] else ""


def region_of(position: str) -> str:
    """The IMGT region of a position.

    Examples
    --------
    >>> region_of("23"), region_of("111.2"), region_of("118")
    ('FR1', 'CDR3', 'FR4')
    """
    p = int(position.split(".")[0])
    return next((name for name, first, last in REGIONS if first <= p <= last), "CDR3" if p <= 117 else "FR4")


def cdr3_positions(n: int) -> list[str]:
    """IMGT positions of a CDR3 of ``n`` residues: filled from both ends, insertions around 111 and 112.

    Examples
    --------
    >>> cdr3_positions(3), cdr3_positions(15)[6:10]
    (['105', '106', '117'], ['111', '111.1', '112.1', '112'])
    """
    if n <= 13:
        left = (n + 1) // 2
        return [str(105 + i) for i in range(left)] + [str(118 - n + i) for i in range(left, n)]
    extra = n - 13
    low, high = extra // 2, extra - extra // 2
    return (
        [str(p) for p in range(105, 112)]
        + [f"111.{i}" for i in range(1, low + 1)]
        + [f"112.{i}" for i in range(high, 0, -1)]
        + [str(p) for p in range(112, 118)]
    )


def pack_imgt(positions: Iterable[str]) -> str:
    """IMGT positions of a chain as a short text: runs of consecutive whole positions are written as ranges.

    Examples
    --------
    >>> pack_imgt(["8", "9", "11", "12", "111", "111.1", "112.1", "112"])
    '8-9 11-12 111 111.1 112.1 112'
    """
    out: list[list[str]] = []
    for p in positions:
        last = out[-1][-1] if out else ""
        if p.isdigit() and last.isdigit() and int(p) == int(last) + 1:
            out[-1].append(p)
        else:
            out.append([p])
    return " ".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in out)


def expand_imgt(text: str) -> list[str]:
    """The inverse of :func:`pack_imgt`: one IMGT position a residue.

    Examples
    --------
    >>> expand_imgt("8-9 11 111.1")
    ['8', '9', '11', '111.1']
    """
    out = []
    for run in text.split():
        first, dash, last = run.partition("-")
        out += [str(p) for p in range(int(first), int(last) + 1)] if dash else [first]
    return out


def imgt_rows(texts: Sequence[object]) -> list[list[str]]:
    """IMGT positions of every sample of a column; nothing where it holds something else."""
    known = [text if isinstance(text, str) and _IMGT.fullmatch(text) else "" for text in texts]
    return [expand_imgt(text) for text in known]


def gene_of(call: str) -> str:
    """The first gene of a call, without allele.

    Examples
    --------
    >>> gene_of("IGHV3-30*18,IGHV3-30-5*01"), gene_of("Homsap IGHV1-2*02 F")
    ('IGHV3-30', 'IGHV1-2')
    """
    words = call.split(",")[0].split()
    gene = next((w for w in words if w.upper().startswith(("IG", "TR"))), words[0] if words else "")
    return gene.split("*")[0]


def rows(path: str | Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row) of an AIRR table, tab-separated, plain or gzip.

    Raises
    ------
    FormatError
        Not text, no ``sequence_id`` and ``sequence_alignment`` in the header, or a row of another width.
    """
    header: list[str] = []
    for line, cells in read_rows(path):
        if not header:
            header = distinct([name.strip() for name in cells], path, line)
            if not {"sequence_id", "sequence_alignment"} <= set(header):
                break
            continue
        if len(cells) < len(header) or len(fitted(cells, len(header))) > len(header):
            raise FormatError(
                "a row of another width than the header",
                file=str(path),
                line=line,
                expected=f"{len(header)} cells",
                got=str(len(cells)),
            )
        yield line, dict(zip(header, cells))
    if not {"sequence_id", "sequence_alignment"} <= set(header):
        raise FormatError(
            "this is not an AIRR table",
            file=str(path),
            line=1,
            expected="columns sequence_id, sequence_alignment",
            got=", ".join(header)[:80] or "nothing",
        )


def chain_of(row: Mapping[str, str]) -> Chain | str:
    """The chain of one row, or the reason why there is none."""
    if row.get("productive", "").strip().lower() in _FALSE:
        return "not productive"
    aligned = row.get("sequence_alignment", "").strip().upper().replace("U", "T")
    if not aligned:
        return "no alignment"
    reference = row.get("germline_alignment", "").strip().upper()
    if reference and len(reference) != len(aligned):
        return "alignments of different length"
    junction = row.get("junction_aa", "").strip().upper()
    bases = row.get("junction", "").strip().upper()
    if not junction and len(bases) % 3 == 0:
        junction = _translate(bases)
    gapped = "." in (reference or aligned)
    if gapped:
        codons: list[list[int]] | str = [[at, at + 1, at + 2] for at in range(0, len(aligned) - 2, 3)]
    else:
        codons = _open_frame(row, aligned, junction, bases)
    if isinstance(codons, str):
        return codons
    layout = _layout(row, reference)
    residues, columns, segments, germline, broken = [], [], [], [], 0
    for first, second, third in codons:
        codon = aligned[first] + aligned[second] + aligned[third]
        if not set(codon) - set(".-"):
            continue
        if set(codon) & set(".-"):
            broken += 1
            continue
        residues.append(CODONS.get(codon, "X"))
        columns.append(first // 3)
        segments.append(_majority(layout[first] + layout[second] + layout[third]))
        whole = third == first + 2
        germline.append(CODONS.get(reference[first : third + 1], "-") if whole else "-")
    sequence = "".join(residues)
    if not sequence:
        return "no residue"
    if "*" in sequence:
        return "stop codon"
    start = next((i for i, c in enumerate(columns) if c >= 103), len(columns)) if gapped else -1
    found = sequence[start : start + len(junction)] == junction if gapped else junction in sequence
    if not found:
        return "junction not in frame"
    imgt = _positions(columns, start, len(junction)) if gapped and len(junction) >= 2 else [""] * len(columns)
    calls = {k: row.get(k, "").strip() for k in ("v_call", "d_call", "j_call", "c_call", "locus")}
    return Chain(
        row["sequence_id"].strip(), sequence, tuple(imgt), "".join(segments), "".join(germline), broken, calls
    )


def _translate(bases: str) -> str:
    return "".join(CODONS.get(bases[i : i + 3], "X") for i in range(0, len(bases) - 2, 3))


def _open_frame(row: Mapping[str, str], aligned: str, junction: str, bases: str) -> list[list[int]] | str:
    """The codons, as columns, of an alignment without IMGT gaps, or the reason why they cannot be known.

    The frame is stated by ``v_germline_start`` (the alignment starts there, or at ``v_sequence_start`` of the
    sequence), else by where the junction lies, else by the translations the row gives. What is deleted or
    inserted against the germline does not move it: the protein is that of the read.
    """
    if row.get("v_frameshift", "").strip().lower() in _TRUE:
        return "frameshift in the V segment"
    columns = [i for i, base in enumerate(aligned) if base not in ".-"]
    read = "".join(aligned[i] for i in columns)
    before = _before_v(row, read)
    first = max(before, 0)
    start = _number(row, "v_germline_start")
    at = read.rfind(bases) if bases else -1
    if start:
        frames = [first + (before - first + 1 - start) % 3]
    elif at >= first:
        frames = [first + (at - first) % 3]
    else:
        frames = [first, first + 1, first + 2]
    if len(frames) > 1:
        proteins = {frame: _translate(read[frame:]) for frame in frames}
        whole = row.get("sequence_alignment_aa", "").strip().upper().replace("-", "")
        clean = [f for f, protein in proteins.items() if "*" not in protein]
        frames = [f for f in clean if junction in proteins[f] and whole in proteins[f]]
        if not clean:
            return "stop codon"
        if len(frames) != 1:
            return "reading frame not stated" if frames else "junction not in frame"
    return [columns[i : i + 3] for i in range(frames[0], len(read) - 2, 3)]


def _before_v(row: Mapping[str, str], read: str) -> int:
    """Bases of the aligned read before V: below zero where the alignment starts inside V."""
    query = row.get("sequence", "").strip().upper().replace("U", "T")
    if row.get("rev_comp", "").strip().lower() in _TRUE:
        query = query.translate(_COMPLEMENT)[::-1]
    start, at = _number(row, "v_sequence_start"), query.find(read)
    return start - 1 - at if start and at >= 0 else 0


def _number(row: Mapping[str, str], name: str) -> int:
    """A whole number of a cell, 0 where there is none."""
    text = row.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _positions(columns: list[int], start: int, junction: int) -> list[str]:
    """IMGT positions: the column up to 104, the junction by its length, and counted on from 118."""
    head = [str(c + 1) for c in columns[:start]]
    tail = ["104", *cdr3_positions(junction - 2), "118"][:junction]
    return head + tail + [str(119 + i) for i in range(len(columns) - start - junction)]


def _layout(row: Mapping[str, str], reference: str) -> str:
    """V, N, D or J for every column, from the lengths of the segments counted back from the end."""

    def number(name: str) -> int:
        # No segment is longer than the alignment: a larger number is a damaged cell.
        return min(_number(row, name), len(reference) + 1)

    def span(segment: str) -> int:
        first, last = number(f"{segment}_germline_start"), number(f"{segment}_germline_end")
        return last - first + 1 if first and last >= first else 0

    n, d, j = len(reference), span("d"), span("j")
    n1, n2 = number("np1_length"), number("np2_length")
    v = n - j - n2 - d - n1
    layout = "V" * max(v, 0) + "N" * n1 + "D" * d + "N" * n2 + "J" * j
    agrees = (
        reference
        and j
        and v > 0
        and all((base == "N") == (kind == "N") for base, kind in zip(reference, layout))
    )
    return layout if agrees else "-" * len(row.get("sequence_alignment", "").strip())


def _majority(kinds: str) -> str:
    return next((kind for kind in kinds if kinds.count(kind) >= 2), "N")


def read_airr(path: str | Path, *, kind: str | None = None) -> Samples:
    """Productive chains of an AIRR table as proteins, with their calls as sample columns.

    Raises
    ------
    FormatError
        When the file is not such a table.
    InputError
        When it has no usable chain.
    """
    import pandas as pd

    found = [chain_of(row) for _, row in rows(path)]
    chains = [chain for chain in found if isinstance(chain, Chain)]
    dropped = Counter(reason for reason in found if isinstance(reason, str))
    ids, n_in = [chain.id for chain in chains], len(found)
    check_ids(ids, path, "sequences", n_in)
    genes = [{f"{s}_gene": gene_of(chain.calls[f"{s}_call"]) for s in "vj"} for chain in chains]
    samples = Samples(
        ids,
        [chain.sequence for chain in chains],
        table=pd.DataFrame([{**chain.calls, **gene} for chain, gene in zip(chains, genes)]),
        kind=kind or "protein",
        n_in=n_in,
        dropped=dropped,
        source=str(path),
    )
    broken = sum(c.broken > 0 for c in chains)
    if broken:
        samples.changed["codons broken by a deletion left out"] = broken
    return samples
