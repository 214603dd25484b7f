"""Coding sequences of a genome: the parts of a CDS (GTF, GFF3, GenBank, EMBL) in reading order, and their proteins.

Parts belong together by transcript, and one part may be of several. A stop codon that stands in rows of its own (GTF) is added.
Of a sequence that begins before its chromosome does, the bases before the first whole codon (GFF's phase, GenBank's
codon_start) belong to none, nor do those behind the last. What is no whole codons and has a stop inside is out of frame: it is
left out and counted, as is what has parts elsewhere. Genetic codes are NCBI's; an alternative start codon is read as methionine where
the file says that the sequence begins there, and a codon of which ``transl_except`` (GenBank, NCBI's GFF3) states the residue as that.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from Bio.Data.CodonTable import ambiguous_dna_by_id
from Bio.Seq import Seq

from sciinterp.annotations import Annotations
from sciinterp.annotations.rows import ALSO
from sciinterp.readers.identifiers import match_chromosomes
from sciinterp.readers.notation import THREE
from sciinterp.samples import Samples

CODING = ("gff:CDS", "gff:cds", "genbank:CDS")
STOP, EXON = "gff:stop_codon", "gff:exon"
NOT_WHOLE, ELSEWHERE = "a coding sequence that is no whole codons", "a coding sequence with parts elsewhere"
_TRANSCRIPT = ("transcript_id", "Parent", "protein_id", "ID", "locus_tag", "gene_id", "gene", "gene_name")
_GENE = ("gene_name", "gene", "gene_id", "locus_tag")
_NO_BASE = re.compile("[^ACGTRYSWKMBDHVN]")
_OF = re.compile(r"(?:^|;\s*)(?:transcript_id|Parent)=([^;]+)")
# (pos:144..146,aa:Sec), its place also complement(...) or join(...)
_EXCEPT = re.compile(r"pos:([^:]+),\s*aa:([A-Za-z]+)")
_RESIDUES = {**THREE, "TERM": "*", "Term": "*", "OTHER": "X", "Other": "X"}


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
    # Residues that the file states, by codon; ends of the transcript's exons, where it has rows of them.
    stated: Mapping[int, str] = field(default_factory=dict)
    exons: tuple[tuple[int, int], ...] = ()

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
    def residues(self) -> str:
        """Residues and stops, those that the file states in their places."""
        found = list(self.translated(self.bases))
        for codon, letter in self.stated.items():
            found[codon : codon + 1] = [letter] * (codon < len(found))
        return "".join(found)

    @property
    def protein(self) -> str:
        """Residues, a stop at the end left out."""
        return self.residues.removesuffix("*")

    def translated(self, bases: str) -> str:
        """What bases are by the genetic code alone."""
        whole = _NO_BASE.sub("N", bases.replace("U", "T"))[: len(bases) // 3 * 3]
        return str(Seq(whole).translate(table=str(self.code)))

    def distance(self, position: int) -> int:
        """Bases to the nearest end of an exon, else of a coding part: 0 at its last base, 1 at the first of an intron."""
        return min(
            min(abs(position - a), abs(position - b + 1)) if a <= position < b else min(abs(position - a + 1), abs(position - b)) + 1
            for a, b in self.exons or self.parts
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
        columns=["sample", "transcript", "entry", "strand", "start", "end", "concept", "note", "parent"],
    )
    taken: set[str] = set()
    exons, genes = _exons(annotations.frame), _Genes(annotations.frame)
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
        begins = not skip and not open_ended
        gene = _named(note, _GENE) or genes.of(coding["parent"].iloc[0])
        found = Coding(transcript, gene, name, strand, tuple(parts), bases[skip:], skip, code, begins)
        stated = _stated_residues(coding["note"], found)
        starts = ambiguous_dna_by_id[code].start_codons
        read = coding["concept"].iloc[0] == "genbank:CDS" or code != 1
        if begins and read and bases[:3].replace("U", "T") in starts:
            stated = {0: "M", **stated}
        found = replace(
            found, stated=stated, exons=_whole(parts, exons.get((str(sample), str(transcript)), []))
        )
        if len(found.bases) < 3 or (len(found.bases) % 3 and "*" in found.residues):
            dropped[NOT_WHOLE] += 1
            continue
        if not transcript or transcript in taken:
            found = replace(found, transcript=f"{transcript or name} CDS {entry or found.low + 1}")
        taken.add(transcript)
        out.setdefault(name, []).append(found)
    return {k: sorted(v, key=lambda c: -len(c.bases)) for k, v in out.items()}, dropped


def _exons(frame: pd.DataFrame) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Rows of exons by sample and transcript, under every name that a row gives it."""
    rows, out = frame[frame["concept"] == EXON], {}
    for sample, start, end, notes in zip(*(rows[c].tolist() for c in ("sample", "start", "end", "note"))):
        for note in str(notes).split(ALSO):
            named = {t.strip() for several in _OF.findall(note) for t in several.split(",")}
            for transcript in named - {""}:
                out.setdefault((str(sample), transcript), []).append((int(start), int(end)))
    return out


def _whole(parts: list[tuple[int, int]], exons: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Exons of a transcript, and coding parts that lie in none of its rows; none where it has no rows."""
    beside = [(a, b) for a, b in parts if not any(low <= a and b <= high for low, high in exons)]
    return tuple(sorted({*exons, *beside})) if exons else ()


class _Genes:
    """GFF3's chain of parents, read where a coding sequence does not name its gene."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    @cached_property
    def _entries(self) -> dict[str, tuple[str, str]]:
        rows = self._frame[~self._frame["concept"].isin((*CODING, STOP, EXON))]
        rows = rows[rows["note"].astype(str).str.contains("ID=", regex=False)]
        said = [(c, n) for c, notes in zip(rows["concept"], rows["note"]) for n in str(notes).split(ALSO)]
        return {entry: (str(c), n) for c, n in said if (entry := _named(n, ("ID",)))}

    def of(self, parent: str) -> str:
        """The name of the gene at the end of the chain, as its row gives it, else its identifier."""
        seen: set[str] = set()
        while parent in self._entries and parent not in seen:
            seen.add(parent)
            concept, note = self._entries[parent]
            above = _named(note, ("Parent",)).split(",")[0].strip()
            named = _named(note, (*_GENE[:1], "Name", *_GENE[1:]) if concept.endswith("gene") else _GENE)
            if named or not above:
                return named or parent
            parent = above
        return parent


def _stated_residues(notes: pd.Series, coding: Coding) -> dict[int, str]:
    """Residues that ``transl_except`` states of whole codons, by the codon's number."""
    out = {}
    stated = [_named(note, ("transl_except",)) for note in notes if "transl_except" in note]
    for place, name in (found for text in stated for found in _EXCEPT.findall(text)):
        at = [int(n) - 1 for n in re.findall("[0-9]{1,12}", place)]
        first = (max if coding.strand == "-" else min)(at, default=-1)
        codon = np.flatnonzero(coding.positions == first)
        letter = _RESIDUES.get(name, _RESIDUES.get(name.capitalize(), "X"))
        if len(codon) and codon[0] % 3 == 0 and codon[0] + 3 <= len(coding.bases):
            out[int(codon[0]) // 3] = letter
    return out


def _stated(frame: pd.DataFrame) -> Iterator[tuple[str, str, str, str, int, int, str, str, str]]:
    """Each part once a transcript that has it."""
    columns = (frame[c].tolist() for c in ("sample", "strand", "start", "end", "concept", "note"))
    for sample, strand, start, end, concept, notes in zip(*columns):
        for note in str(notes).split(ALSO):
            parents = _named(note, ("Parent",)).split(",")
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
                    (transcript if transcript in parents else parents[0]).strip(),
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
