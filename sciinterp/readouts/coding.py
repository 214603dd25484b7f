"""Variants of a genome on its windows, and through coding sequences on proteins, with what a fair comparison must match.

A coding sequence is the parts of a CDS (GTF, GFF3, GenBank) in reading order. Of each variant are told its consequence,
the place in its codon, the distance to the nearest end of an exon, its bases with their neighbours on the coding strand,
its gene, and the change of the protein. Of several transcripts the longest coding sequence that holds the variant, else
whose introns do, is taken. Coding sequences that are not whole codons are left out and counted; of one that begins before
its sequence does, the bases before its first whole codon (GFF's phase, GenBank's codon_start) belong to none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from Bio.Seq import Seq

from sciinterp.annotations import Annotations
from sciinterp.errors import InputError
from sciinterp.frames import Table
from sciinterp.readers.identifiers import match_ids
from sciinterp.readers.notation import Variant, accession, row_variants
from sciinterp.samples import Samples
from sciinterp.splits.places import places

CODING = ("gff:CDS", "gff:cds", "genbank:CDS")
_TRANSCRIPT = ("transcript_id", "Parent", "protein_id", "ID", "locus_tag", "gene_id", "gene", "gene_name")
_GENE = ("gene_name", "gene", "gene_id", "locus_tag", "Parent")
FACTS = (
    "consequence", "gene", "transcript", "strand", "codon_phase", "exon_distance", "trinucleotide", "protein_variant",
)  # fmt: skip
NOT_WHOLE, OTHER_BASES, OUTSIDE = (
    "a coding sequence that is no whole codons",
    "other bases than the genome's",
    "on no window",
)
_COMPLEMENT = str.maketrans("ACGTNacgtn", "TGCANtgcan")


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

    @cached_property
    def positions(self) -> np.ndarray:
        """The genome's positions, in reading order."""
        found = np.concatenate([np.arange(a, b) for a, b in sorted(self.parts)])
        return (found[::-1] if self.strand == "-" else found)[self.skip :]

    @cached_property
    def protein(self) -> str:
        """Residues, a stop at the end left out."""
        return str(Seq(self.bases).translate()).removesuffix("*")

    def distance(self, position: int) -> int:
        """Bases to the nearest end of an exon: 0 at its last base, 1 at the first of an intron."""
        return min(
            min(abs(position - a), abs(position - b + 1)) if a <= position < b else min(abs(position - a + 1), abs(position - b)) + 1
            for a, b in self.parts
        )  # fmt: skip


def place_variants(variants: pd.DataFrame, windows: Samples) -> Table:
    """Variants of chromosomes on windows of them: a row a variant and window, strand by strand.

    Parameters
    ----------
    variants : DataFrame
        ``chrom pos ref alt`` of :func:`sciinterp.read_variants`, or genomic HGVS in a column ``variant``; other columns
        are kept.
    windows : Samples
        With their places (columns ``chromosome start end strand``, or names such as ``chr16:100-199(-)``).

    Returns
    -------
    Table
        ``sample pos ref alt strand origin`` and the other columns, for :func:`sciinterp.variant_effects`; ``origin`` is
        the number of the variant's row, the same on both strands. ``context``: ``n_in``, ``n_placed``, ``dropped``.

    Examples
    --------
    >>> import sciinterp as si
    >>> windows = si.Samples(["c:10-14", "c:10-14(-)"], ["ACGT", "ACGT"], kind="dna")
    >>> table = pd.DataFrame({"chrom": ["c"], "pos": [12], "ref": ["C"], "alt": ["T"]})
    >>> place_variants(table, windows)[["sample", "pos", "ref", "alt"]].values.tolist()
    [['c:10-14', 2, 'C', 'T'], ['c:10-14(-)', 3, 'G', 'A']]
    """
    where = places(windows)
    meant = match_ids([c for c in _chromosomes(variants) if c], list(dict.fromkeys(where["chromosome"])))
    rows, dropped = [], Counter[str]()
    by = dict(iter(where.groupby("chromosome")))
    for number, chromosome, change, row in _changes(variants):
        if isinstance(change, InputError):
            dropped[change.what] += 1
            continue
        change, end = change, change.start + len(change.ref)
        inside = by.get(meant.get(chromosome, ""), where.iloc[:0])
        inside = inside[(inside["start"] <= change.start) & (inside["end"] >= end)]
        dropped[OUTSIDE] += not len(inside)
        for i, window in inside.iterrows():
            back = window["strand"] == "-"
            at = window["end"] - end if back else change.start - window["start"]
            ref, alt = ((x.translate(_COMPLEMENT)[::-1] if back else x) for x in (change.ref, change.alt))
            rows.append({**row, "sample": windows.ids[int(str(i))], "pos": int(at) + 1, "ref": ref, "alt": alt,
                         "strand": window["strand"], "origin": number})  # fmt: skip
    first = ["sample", "pos", "ref", "alt", "strand", "origin"]
    out = pd.DataFrame(
        rows, columns=[*first, *(c for c in variants.columns if c.lower() not in (*first, "variant", "hgvs"))]
    )
    n = len(set(out["origin"]))
    return Table(
        out,
        context={"n_in": len(variants), "n_placed": n, "dropped": {k: v for k, v in dropped.items() if v}},
    )


def consequences(variants: pd.DataFrame, genome: Samples, annotations: Annotations) -> Table:
    """What variants of a genome do to its coding sequences, with the facts that matched comparisons need.

    Parameters
    ----------
    variants : DataFrame
        As for :func:`place_variants`; positions count on the samples of ``genome``.
    genome : Samples
        Chromosomes.
    annotations : Annotations
        With rows of CDS (:func:`sciinterp.read_annotations` of GTF, GFF3 or GenBank, repeats kept for several transcripts).

    Returns
    -------
    Table
        The rows that can be read, with :data:`FACTS`; ``codon_phase`` is 0, 1 or 2, -1 outside codons; ``trinucleotide``
        such as ``A[C>T]G`` on the coding strand, of single bases; ``protein_variant`` such as ``R97P`` of the sample
        ``transcript``. ``context``: ``proteins`` (Samples), ``dropped``, ``n_in``.
    """
    coding, dropped = _coding_sequences(genome, annotations)
    meant = match_ids([c for c in _chromosomes(variants) if c], genome.ids)
    rows = []
    for _, chromosome, change, row in _changes(variants):
        if isinstance(change, InputError):
            dropped[change.what] += 1
            continue
        name = meant.get(chromosome)
        if name is None:
            dropped["on no chromosome of the genome"] += 1
            continue
        try:
            fitted = change.fitted(genome[name])
        except InputError:
            dropped[OTHER_BASES] += 1
            continue
        rows.append({**row, **_facts(fitted.trimmed(), genome[name].sequence, coding.get(name, []))})
    columns = [*(c for c in variants.columns if c not in FACTS), *FACTS]
    used = {r["transcript"] for r in rows} - {""}
    proteins = {c.transcript: c.protein for some in coding.values() for c in some if c.transcript in used}
    counts = {"n_in": len(variants), "dropped": {k: v for k, v in dropped.items() if v}}
    return Table(
        pd.DataFrame(rows, columns=columns),
        context={**counts, "proteins": Samples(list(proteins), list(proteins.values()), kind="protein")},
    )


def _chromosomes(variants: pd.DataFrame) -> list[str]:
    lower = {str(c).lower().lstrip("#"): c for c in variants.columns}
    column = next((lower[c] for c in ("chrom", "sample", "chromosome", "chr") if c in lower), None)
    if column is not None:
        return variants[column].astype(str).str.strip().tolist()
    column = next((lower[c] for c in ("variant", "hgvs") if c in lower), None)
    if column is None:
        raise InputError("variants without a chromosome", expected="columns chrom pos ref alt, or variant")
    return variants[column].astype(str).map(accession).tolist()


def _changes(variants: pd.DataFrame) -> Iterator[tuple[int, str, Variant | InputError, dict]]:
    """Number of the row, chromosome, change and the row itself."""
    records = variants.to_dict("records")
    for number, (chromosome, row) in enumerate(zip(_chromosomes(variants), records)):
        for change in row_variants(row, "dna"):
            yield number, chromosome, change, {str(k): v for k, v in row.items()}


def _coding_sequences(
    genome: Samples, annotations: Annotations
) -> tuple[dict[str, list[Coding]], Counter[str]]:
    """Coding sequences by chromosome, longest first."""
    frame = annotations.frame[annotations.frame["concept"].isin(CODING)]
    meant = match_ids(frame["sample"].unique(), genome.ids)
    out: dict[str, list[Coding]] = {}
    dropped: Counter[str] = Counter()
    keys = [frame["sample"], frame["note"].map(lambda n: _named(n, _TRANSCRIPT)), frame["strand"]]
    for (sample, transcript, strand), rows in frame.groupby(keys, sort=True):
        if sample not in meant:
            continue
        chromosome = genome[meant[sample]].sequence
        parts = tuple(sorted(set(zip(rows["start"].astype(int), rows["end"].astype(int)))))
        bases = "".join(chromosome[a:b] for a, b in parts).upper()
        skip = _skipped(rows, strand)
        bases = (bases.translate(_COMPLEMENT)[::-1] if strand == "-" else bases)[skip:]
        if not bases or len(bases) % 3:
            dropped[NOT_WHOLE] += 1
            continue
        gene = _named(rows["note"].iloc[0], _GENE)
        out.setdefault(meant[sample], []).append(
            Coding(transcript, gene, meant[sample], strand, parts, bases, skip)
        )
    return {k: sorted(v, key=lambda c: -len(c.bases)) for k, v in out.items()}, dropped


def _skipped(rows: pd.DataFrame, strand: str) -> int:
    """Bases before the first whole codon, as the first part in reading order states them."""
    first = rows.loc[rows["end"].idxmax() if strand == "-" else rows["start"].idxmin()]
    start = _named(first["note"], ("codon_start",))
    return int(start) - 1 if start else int(_named(first["note"], ("phase",)) or 0)


def _named(note: str, keys: tuple[str, ...]) -> str:
    """The first of some attributes that a note states."""
    found = dict(re.findall(r"(?:^|;\s*)([A-Za-z_]+)=([^;]+)", str(note)))
    return next((found[k].strip() for k in keys if k in found), "")


def _facts(change: Variant, chromosome: str, coding: list[Coding]) -> dict[str, object]:
    """Columns of :data:`FACTS` of one variant."""
    start, end = change.start, change.start + max(len(change.ref), 1)
    spanning = [c for c in coding if c.parts[0][0] <= start and end <= c.parts[-1][1]]
    inside = [c for c in spanning if any(a <= start and end <= b for a, b in c.parts)]
    found = next(iter(inside or spanning), None)
    one = len(change.ref) == len(change.alt) == 1
    back = found is not None and found.strand == "-"
    out: dict[str, object] = dict.fromkeys(FACTS, "")
    out |= {"consequence": "outside", "codon_phase": -1, "exon_distance": -1}
    if one and 0 < start < len(chromosome) - 1:
        three = chromosome[start - 1 : start + 2].upper()
        alt = change.alt.upper()
        if back:
            three, alt = three.translate(_COMPLEMENT)[::-1], alt.translate(_COMPLEMENT)
        out["trinucleotide"] = f"{three[0]}[{three[1]}>{alt}]{three[2]}"
    if found is None:
        return out
    out |= {
        "gene": found.gene,
        "transcript": found.transcript,
        "strand": found.strand,
        "exon_distance": found.distance(start),
    }
    if not inside:
        return out | {"consequence": _in_intron(found, start, end)}
    if not one:
        shift = (len(change.alt) - len(change.ref)) % 3
        return out | {"consequence": "frame shift" if shift else "in-frame"}
    if start not in found.positions:
        return out | {"consequence": "partial codon"}
    at = int(np.flatnonzero(found.positions == start)[0])
    codon, phase = found.bases[at // 3 * 3 : at // 3 * 3 + 3], at % 3
    letter = change.alt.upper().translate(_COMPLEMENT) if back else change.alt.upper()
    before, after = (str(Seq(c).translate()) for c in (codon, codon[:phase] + letter + codon[phase + 1 :]))
    kind = (
        "synonymous" if before == after else "start lost" if at < 3 and before == "M" else "stop lost" if before == "*"
        else "stop gained" if after == "*" else "missense"
    )  # fmt: skip
    return out | {
        "consequence": kind,
        "codon_phase": phase,
        "protein_variant": f"{before}{at // 3 + 1}{after}",
    }


def _in_intron(coding: Coding, start: int, end: int) -> str:
    """Whether a variant breaks the first or the last two bases of an intron."""
    for (_, left), (right, _) in zip(coding.parts, coding.parts[1:]):
        for low, high, first in ((left, left + 2, True), (right - 2, right, False)):
            if start < high and end > low:
                return "splice donor" if first == (coding.strand != "-") else "splice acceptor"
    return "intron"
