"""AIRR rearrangement tables: IMGT regions, segments and somatic mutations, on the residues of each chain.

The chains are those of :mod:`sciinterp.readers.airr` (the same identifiers, the same residues as
``read_samples(path)`` gives), so positions agree by construction. The source is exhaustive for what it
states: a residue outside ``imgt:CDR3`` is known not to be in CDR3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from sciinterp.annotations.rows import Rows, concept_name
from sciinterp.annotations.table import Annotations
from sciinterp.readers.airr import Chain, chain_of, gene_of, region_of, rows
from sciinterp.settings import checked

SEGMENTS = "VDJN"
# Liability motifs (sequence alone; half-open spans of the whole motif).
MOTIFS = {
    "motif:N-glycosylation": "N[^P][ST]",
    "motif:deamidation": "N[GSNT]",
    "motif:isomerisation": "D[GSDT]",
    "motif:acid-labile": "DP",
    "motif:integrin-binding": "RGD|LDV",
    "motif:WGxG": "WG.G",
}
CONSERVED = (("residue:Cys23", "23", "C"), ("residue:Trp41", "41", "W"), ("residue:Cys104", "104", "C"))
# concept -> (name, parent, level); what is not here is its own name, without parent
CONCEPTS = {
    **{f"imgt:FR{i}": (f"framework region {i} (IMGT)", "", 0) for i in (1, 2, 3, 4)},
    "imgt:CDR": ("any complementarity-determining region (IMGT)", "", 0),
    **{f"imgt:CDR{i}": (f"complementarity-determining region {i} (IMGT)", "imgt:CDR", 1) for i in (1, 2, 3)},
    **{f"segment:{s}": (f"residues templated by the {s} gene segment", "", 0) for s in "VDJ"},
    "segment:N": ("residues of non-templated bases, V-D and D-J", "", 0),
    "shm": ("somatic mutation: residue differs from the germline", "", 0),
    "motif:N-glycosylation": ("N-glycosylation sequon N-x-S/T, x not P", "", 0),
    "motif:deamidation": ("asparagine deamidation motif", "", 0),
    "motif:isomerisation": ("aspartate isomerisation motif", "", 0),
    "motif:acid-labile": ("acid-labile Asp-Pro bond", "", 0),
    "motif:integrin-binding": ("integrin-binding motif", "", 0),
    "motif:WGxG": ("Trp-Gly-x-Gly that opens FR4", "", 0),
    "residue:Cys23": ("first conserved cysteine (IMGT 23)", "imgt:FR1", 1),
    "residue:Trp41": ("conserved tryptophan (IMGT 41)", "imgt:FR2", 1),
    "residue:Cys104": ("second conserved cysteine (IMGT 104)", "imgt:FR3", 1),
}

Span = tuple[int, int, str, str]  # start, end, concept, note


@checked()
def parse_airr(path: str | Path, *, release: str = "") -> Annotations:
    """Regions, conserved residues, segments, somatic mutations and genes of an AIRR table.

    Parameters
    ----------
    path : path
        Tab-separated, plain or gzip, with ``sequence_id, sequence_alignment`` and, for everything beyond
        genes, ``germline_alignment, junction_aa`` and the lengths of the segments.
    release : str
        Release of the germline database, kept in every row.

    Returns
    -------
    Annotations
        ``counts`` account for every row of the table: chains kept, others by reason.

    Raises
    ------
    FormatError
        When the file is not such a table.
    """
    out = Rows("airr", path, release=release)
    for _, row in rows(path):
        chain = chain_of(row)
        if not isinstance(chain, str):
            out.begin(chain.id)
        out.item()
        if isinstance(chain, str):
            out.drop(chain)
            continue
        sources = _sources(chain)
        for source in sources.values():
            out.covers(chain.id, source)
        placed = [*spans(chain), *facts(chain)]
        if not placed:
            out.drop("nothing stated about the chain")
        for start, end, concept, note in placed:
            name, parent, level = CONCEPTS.get(concept, (concept, "", 0))
            source = sources.get(concept) or next(s for p, s in sources.items() if concept.startswith(p))
            exhaustive = not concept.startswith("shm")
            out.concept(concept, name=name, parent=parent, level=level, exhaustive=exhaustive, source=source)
            out.add(chain.id, start, end, concept, note=note)
    return out.annotations()


def _sources(chain: Chain) -> dict[str, str]:
    """The parts of the table that say something of a chain, each with a coverage of its own.

    Keys are prefixes of concepts; a blank call or an alignment without IMGT gaps says nothing.
    """
    parts = {
        "imgt:": ("airr", chain.imgt),
        "residue:": ("airr", chain.imgt),
        "segment:": ("airr:segment", chain.segment.strip("-")),
        "shm": ("airr:germline", chain.germline.strip("-X")),
    }
    sources = {prefix: source for prefix, (source, found) in parts.items() if any(found)}
    calls = {concept: f"airr:{call}" for call, _, _, concept, _ in _calls(chain)}
    return sources | calls


def domain_spans(sequence: str, positions: Sequence[str]) -> Iterator[Span]:
    """Regions, any CDR and conserved residues of a domain; ``positions`` are IMGT's, one a residue, or empty."""
    for region, start, end in runs([region_of(p) if p else "" for p in positions]):
        yield start, end, f"imgt:{region}", ""
        if region.startswith("CDR"):
            yield start, end, "imgt:CDR", region
    for concept, position, letter in CONSERVED:
        if position in positions and sequence[at := positions.index(position)] == letter:
            yield at, at + 1, concept, ""


def spans(chain: Chain) -> Iterator[Span]:
    """Regions, any CDR, conserved residues, segments and mutations: half-open intervals on the chain."""
    yield from domain_spans(chain.sequence, chain.imgt)
    for segment, start, end in runs([s if s in SEGMENTS else "" for s in chain.segment]):
        yield start, end, f"segment:{segment}", ""
    for i, (ours, theirs) in enumerate(zip(chain.sequence, chain.germline)):
        if theirs not in "-X" and ours not in ("X", theirs):
            position = f"; imgt={chain.imgt[i]}" if chain.imgt[i] else ""
            yield i, i + 1, "shm", f"{theirs}>{ours}{position}; segment={chain.segment[i]}"


def facts(chain: Chain) -> Iterator[Span]:
    """Genes and isotype: rows on the whole sample."""
    for _, start, end, concept, note in _calls(chain):
        yield start, end, concept, note


def _calls(chain: Chain) -> Iterator[tuple[str, int, int, str, str]]:
    """(column, and the fact it states) for every call that names a gene."""
    for column, prefix in (("v_call", "gene"), ("d_call", "gene"), ("j_call", "gene"), ("c_call", "isotype")):
        call = chain.calls.get(column, "")
        if gene := gene_of(call):
            yield column, -1, -1, concept_name(prefix, gene), call if "," in call else ""


def motifs(sequence: str) -> Iterator[Span]:
    """Every occurrence of every motif, overlapping ones too."""
    for concept, pattern in MOTIFS.items():
        for match in re.finditer(f"(?=({pattern}))", sequence):
            yield match.start(1), match.end(1), concept, match[1]


def runs(labels: list[str]) -> Iterator[tuple[str, int, int]]:
    """(label, start, end) of every run of equal labels; empty labels are passed over.

    Examples
    --------
    >>> list(runs(["V", "V", "", "J"]))
    [('V', 0, 2), ('J', 3, 4)]
    """
    for label, group in groupby(enumerate(labels), key=lambda pair: pair[1]):
        members = [i for i, _ in group]
        if label:
            yield label, members[0], members[-1] + 1
