"""Coding sequences of a genome: the parts of a CDS (GTF, GFF3, GenBank, EMBL) in reading order, and their proteins.

Parts belong together by transcript, and one part may be of several. A stop codon that stands in rows of its own (GTF) is added.
Of a sequence that begins before its chromosome does, the bases before the first whole codon (GFF's phase, GenBank's
codon_start) belong to none, nor do those behind the last. What is no whole codons and has a stop inside is out of frame: it is
left out and counted, as is what has parts elsewhere. Genetic codes are NCBI's; an alternative start codon is read as methionine where
the file says that the sequence begins there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from Bio.Data.CodonTable import ambiguous_dna_by_id
from Bio.Seq import Seq

from sciinterp.annotations import Annotations
from sciinterp.annotations.rows import ALSO
from sciinterp.readers.identifiers import match_chromosomes
from sciinterp.samples import Samples

CODING = ("gff:CDS", "gff:cds", "genbank:CDS")
STOP = "gff:stop_codon"
NOT_WHOLE, ELSEWHERE = "a coding sequence that is no whole codons", "a coding sequence with parts elsewhere"
_TRANSCRIPT = ("transcript_id", "Parent", "protein_id", "ID", "locus_tag", "gene_id", "gene", "gene_name")
_GENE = ("gene_name", "gene", "gene_id", "locus_tag", "Parent")
_NO_BASE = re.compile("[^ACGTRYSWKMBDHVN]")


@dataclass(frozen=True, eq=False)
class Coding:
    """One coding sequence: its parts on a chromosome, in reading order."""

    transcript: str
    gene: str
    chromosome: str
    strand: str
    parts: tuple[tuple[int, int], ...]
    bases: str
    skip: int = 0
    code: int = 1
    begins: bool = False

    @property
    def low(self) -> int:
        """The first position of any part."""
        return min(a for a, _ in self.parts)

    @property
    def high(self) -> int:
        """One behind the last position of any part."""
        return max(b for _, b in self.parts)

    @property
    def circular(self) -> bool:
        """Whether it crosses the origin of a circle."""
        return list(self.parts) != sorted(self.parts, reverse=self.strand == "-")

    @cached_property
    def positions(self) -> np.ndarray:
        """The genome's positions, in reading order."""
        step = -1 if self.strand == "-" else 1
        return np.concatenate([np.arange(a, b)[::step] for a, b in self.parts])[self.skip :]

    @cached_property
    def protein(self) -> str:
        """Residues, a stop at the end left out."""
        return self.translated(self.bases).removesuffix("*")

    def translated(self, bases: str) -> str:
        """The residues of bases read as this sequence is."""
        whole = _NO_BASE.sub("N", bases.replace("U", "T"))[: len(bases) // 3 * 3]
        found = str(Seq(whole).translate(table=str(self.code)))
        starts = ambiguous_dna_by_id[self.code].start_codons
        return "M" + found[1:] if self.begins and whole[:3] in starts else found

    def distance(self, position: int) -> int:
        """Bases to the nearest end of an exon: 0 at its last base, 1 at the first of an intron."""
        return min(
            min(abs(position - a), abs(position - b + 1)) if a <= position < b else min(abs(position - a + 1), abs(position - b)) + 1
            for a, b in self.parts
        )  # fmt: skip


def turned(bases: str) -> str:
    """The other strand, ambiguous letters and case kept."""
    return str(Seq(bases).reverse_complement())


def coding_sequences(
    genome: Samples, annotations: Annotations, codes: Mapping[str, int]
) -> tuple[dict[str, list[Coding]], Counter[str]]:
    """Coding sequences by chromosome, longest first, and what is left out by reason.

    `codes` are genetic codes of chromosomes whose annotations state none.
    """
    frame = annotations.frame[annotations.frame["concept"].isin((*CODING, STOP))]
    meant = match_chromosomes(frame["sample"].unique(), genome.ids)
    out: dict[str, list[Coding]] = {}
    dropped: Counter[str] = Counter()
    known = pd.DataFrame(
        list(_stated(frame)),
        columns=["sample", "transcript", "entry", "strand", "start", "end", "concept", "note"],
    )
    taken: set[str] = set()
    for (sample, transcript, entry, strand), rows in known.groupby(
        ["sample", "transcript", "entry", "strand"], sort=True
    ):
        coding = rows[rows["concept"] != STOP].drop_duplicates(["start", "end"])
        if sample not in meant or not len(coding):
            continue
        if (coding["note"].map(lambda n: _named(n, ("parts",))) == "some elsewhere").any():
            dropped[ELSEWHERE] += 1
            continue
        back = strand == "-"
        name = meant[sample]
        order = coding["note"].map(lambda n: _stated_number(n, "part"))
        coding = coding.assign(part=order, at=coding["start"] * (-1 if back else 1)).sort_values(
            ["part", "at"]
        )
        parts = _with_stop(list(zip(coding["start"], coding["end"])), rows[rows["concept"] == STOP], back)
        text = genome[name].sequence
        bases = "".join(turned(text[a:b]) if back else text[a:b] for a, b in parts).upper()
        note = coding["note"].iloc[0]
        skip = max(_stated_number(note, "codon_start") - 1, 0) or _stated_number(note, "phase")
        code = _stated_number(note, "transl_table") or codes.get(name, codes.get(str(sample), 1))
        code = code if code in ambiguous_dna_by_id else 1
        open_ended = _named(note, ("partial",)) in ("true", "both", "end" if back else "start")
        begins = not skip and not open_ended and (coding["concept"].iloc[0] == "genbank:CDS" or code != 1)
        found = Coding(
            transcript, _named(note, _GENE), name, strand, tuple(parts), bases[skip:], skip, code, begins
        )
        if len(found.bases) < 3 or (len(found.bases) % 3 and "*" in found.translated(found.bases)):
            dropped[NOT_WHOLE] += 1
            continue
        if not transcript or transcript in taken:
            found = replace(found, transcript=f"{transcript or name} CDS {entry or found.low + 1}")
        taken.add(transcript)
        out.setdefault(name, []).append(found)
    return {k: sorted(v, key=lambda c: -len(c.bases)) for k, v in out.items()}, dropped


def _stated(frame: pd.DataFrame) -> Iterator[tuple[str, str, str, str, int, int, str, str]]:
    """Each part once a transcript that has it."""
    columns = (frame[c].tolist() for c in ("sample", "strand", "start", "end", "concept", "note"))
    for sample, strand, start, end, concept, notes in zip(*columns):
        for note in str(notes).split(ALSO):
            for transcript in _named(note, _TRANSCRIPT).split(","):
                yield (
                    sample,
                    transcript.strip(),
                    _named(note, ("entry",)),
                    strand,
                    int(start),
                    int(end),
                    concept,
                    note,
                )


def _with_stop(parts: list[tuple[int, int]], stops: pd.DataFrame, back: bool) -> list[tuple[int, int]]:
    """The parts in reading order, with a stop codon that lies behind them."""
    rows = sorted({(int(a), int(b)) for a, b in zip(stops["start"], stops["end"])}, reverse=back)
    for start, end in rows:
        a, b = parts[-1]
        if any(low <= start and end <= high for low, high in parts):
            continue
        if back and end == a:
            parts[-1] = (start, b)
        elif not back and start == b:
            parts[-1] = (a, end)
        elif (end < a) if back else (start > b):
            parts.append((start, end))
    return parts


def _named(note: str, keys: tuple[str, ...]) -> str:
    """The first of some attributes that a note states."""
    found = dict(re.findall(r"(?:^|;\s*)([A-Za-z_]+)=([^;]+)", str(note)))
    return next((found[k].strip() for k in keys if k in found), "")


def _stated_number(note: str, key: str) -> int:
    """A number that a note states; 0 where it states none."""
    stated = _named(note, (key,))
    return int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 6 else 0
