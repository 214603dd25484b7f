"""Variants of a genome on its windows, and through coding sequences on proteins, with what a fair comparison must match.

Of each variant are told its consequence, the place in its codon, the distance to the nearest end of an exon, its bases
with their neighbours on the coding strand, its gene, and the change of the protein. Of several transcripts the longest coding
sequence that holds the variant, else that it overlaps, else whose introns hold it, is taken.

A consequence is that of the codons which a variant changes. A start is lost where the first codon of a sequence that begins with
methionine is changed into one that the genetic code does not read as methionine, whatever the format of the annotations: an alternative
start codon is none for it (SO:0002012, *canonical* start codon, as Ensembl's VEP has it; SnpEff calls ATG>CTG
``initiator_codon_variant``). A stop is gained where a changed codon becomes a stop that was none before.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from Bio.Data.CodonTable import ambiguous_dna_by_id

from sciinterp.annotations import Annotations
from sciinterp.errors import InputError, no_such, require_kinds
from sciinterp.frames import Table, name_of
from sciinterp.readers.identifiers import match_chromosomes
from sciinterp.readers.notation import Variant, accession, row_variants
from sciinterp.readouts.coding_sequences import Coding, coding_sequences, turned
from sciinterp.samples import Sample, Samples, letters_of
from sciinterp.splits.places import places

log = logging.getLogger(__name__)

FACTS = (
    "consequence", "gene", "transcript", "strand", "codon_phase", "exon_distance", "trinucleotide", "protein_variant",
)  # fmt: skip
OTHER_BASES, OUTSIDE, SAME = "other bases than the genome's", "on no window", "no change"


def place_variants(variants: pd.DataFrame, windows: Samples) -> Table:
    """Variants of chromosomes on windows of them: a row a variant and window, strand by strand.

    A variant whose reference bases are not the window's is placed on none and counted, as ``bcftools norm --check-ref x``
    leaves it out: it is of another assembly, or damaged. Bases that genomic HGVS leaves unstated are the window's.

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
        the number of the variant's row, the same on both strands. ``context``, all in alleles: ``n_in``, ``n_placed``, ``dropped``
        (reason -> how many).

    Examples
    --------
    >>> import sciinterp as si
    >>> windows = si.Samples(["c:10-14", "c:10-14(-)"], ["ACGT", "ACGT"], kind="dna")
    >>> table = pd.DataFrame({"chrom": ["c"], "pos": [12], "ref": ["C"], "alt": ["T"]})
    >>> place_variants(table, windows)[["sample", "pos", "ref", "alt"]].values.tolist()
    [['c:10-14', 2, 'C', 'T'], ['c:10-14(-)', 3, 'G', 'A']]
    """
    require_kinds(variants=(variants, pd.DataFrame), windows=(windows, Samples))
    where = places(windows)
    meant = match_chromosomes(
        [c for c in _chromosomes(variants) if c], list(dict.fromkeys(where["chromosome"]))
    )
    rows, dropped, n_in = [], Counter[str](), 0
    by = dict(iter(where.groupby("chromosome")))
    for number, chromosome, change, row in _changes(variants):
        n_in += 1
        if isinstance(change, InputError):
            dropped[change.what] += 1
            continue
        if change.ref.upper() == change.alt.upper():
            dropped[SAME] += 1
            continue
        end, before = change.start + len(change.ref), len(rows)
        inside = by.get(meant.get(chromosome, ""), where.iloc[:0])
        inside = inside[(inside["start"] <= change.start) & (inside["end"] >= end)]
        for i, window in inside.iterrows():
            back = window["strand"] == "-"
            at = int(window["end"] - end if back else change.start - window["start"])
            ref, alt = ((turned(x) if back else x) for x in (change.ref, change.alt))
            name, letters = windows.ids[int(str(i))], letters_of(windows.data[int(str(i))])
            fitted = Variant(0, ref, alt)
            try:
                if letters is not None:
                    fitted = fitted.fitted(Sample(name, letters[at : at + len(ref)]))
            except InputError:
                continue
            rows.append({**row, "sample": name, "pos": at + 1, "ref": fitted.ref, "alt": fitted.alt or "-",
                         "strand": window["strand"], "origin": number})  # fmt: skip
        if len(rows) == before:
            dropped[OTHER_BASES if len(inside) else OUTSIDE] += 1
    first = ["sample", "pos", "ref", "alt", "strand", "origin"]
    out = pd.DataFrame(
        rows, columns=[*first, *(c for c in variants.columns if c.lower() not in (*first, "variant", "hgvs"))]
    )
    _warn(dropped, "variants are not placed")
    return Table(out, context={"n_in": n_in, "n_placed": n_in - dropped.total(), "dropped": dict(dropped)})


def consequences(
    variants: pd.DataFrame,
    genome: Samples,
    annotations: Annotations,
    *,
    codes: Mapping[str, int] | None = None,
) -> Table:
    """What variants of a genome do to its coding sequences, with the facts that matched comparisons need.

    Parameters
    ----------
    variants : DataFrame
        As for :func:`place_variants`; positions count on the samples of ``genome``.
    genome : Samples
        Chromosomes.
    annotations : Annotations
        With rows of CDS (:func:`sciinterp.read_annotations` of GTF, GFF3, GenBank or EMBL).
    codes : mapping of str to int, optional
        NCBI's number of the genetic code of chromosomes whose annotations state none, such as ``{"chrM": 2}``; else 1.

    Returns
    -------
    Table
        A row an allele that can be read, with :data:`FACTS`. ``codon_phase`` is 0, 1 or 2 of a single base changed in a whole codon;
        -1 of everything else: outside, in introns, in partial codons, over an end of a part, of insertions, deletions and
        changes of several bases. ``exon_distance`` is to the nearest end of an exon of the transcript, or, of those in
        ``context["without_exons"]``, of a coding part: the annotations have no rows of their exons (GenBank and EMBL tie none to a
        CDS); -1 outside. ``trinucleotide`` such as ``A[C>T]G`` on the coding strand, of single bases; ``protein_variant`` such as ``R97P``
        or ``K23_V25del`` of the sample ``transcript``. ``gene`` of GFF3 is at the end of the chain of parents where the rows of
        CDS do not name it. ``context``: ``n_in`` and ``dropped`` in alleles (``n_in`` are the rows and these), ``dropped_coding`` (coding sequences left
        out), ``proteins`` (Samples), and of transcripts in the table ``without_exons`` and ``inner_stops`` (those that stop before their end
        in the genome itself: another genetic code, a selenocysteine that no ``transl_except`` states, or a pseudogene).

    Raises
    ------
    InputError
        A genome of proteins; variants without a chromosome.
    """
    require_kinds(variants=(variants, pd.DataFrame), genome=(genome, Samples), codes=(codes, Mapping | None))
    require_kinds(annotations=(annotations, Annotations))
    for code in (codes or {}).values():
        if code not in ambiguous_dna_by_id:
            raise no_such("genetic code", code, map(str, sorted(ambiguous_dna_by_id)), where="codes")
    if genome.kind == "protein":
        raise InputError(
            "a genome is nucleotides", where="genome", expected="DNA", got="proteins", do="Give kind='dna'."
        )
    coding, left_out = coding_sequences(genome, annotations, codes or {})
    meant = match_chromosomes([c for c in _chromosomes(variants) if c], genome.ids)
    rows, dropped = [], Counter[str]()
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
        if fitted.ref == fitted.alt:
            dropped[SAME] += 1
            continue
        rows.append({**row, **_facts(fitted.trimmed(), genome[name].sequence, coding.get(name, []))})
    _warn(left_out, "coding sequences are left out")
    _warn(dropped, "variants are left out")
    columns = [*(c for c in variants.columns if c not in FACTS), *FACTS]
    counts = {"n_in": len(rows) + dropped.total(), "dropped": dict(dropped), "dropped_coding": dict(left_out)}
    used = {r["transcript"] for r in rows} - {""}
    told = _of_transcripts(
        {c.transcript: c for some in coding.values() for c in some if c.transcript in used}
    )
    return Table(pd.DataFrame(rows, columns=columns), context={**counts, **told})


def _of_transcripts(found: dict[str, Coding]) -> dict[str, object]:
    """What the context tells of transcripts that are in the table, and what must be known of them."""
    without_exons = sorted(name for name, c in found.items() if not c.exons)
    inner_stops = sorted(name for name, c in found.items() if "*" in c.protein)
    _say(inner_stops, len(found), "stop before their end in the genome itself: codes={'chrM': 2} gives a "
         "chromosome's genetic code, transl_except of GenBank or GFF3 a selenocysteine; else their proteins are no proteins")  # fmt: skip
    _say(
        without_exons, len(found), "have no rows of exons: exon_distance is to the ends of their coding parts"
    )
    proteins = Samples(list(found), [c.protein for c in found.values()], kind="protein")
    return {"proteins": proteins, "without_exons": without_exons, "inner_stops": inner_stops}


def _say(names: list[str], n: int, what: str) -> None:
    if names:
        log.warning("%d of %d transcripts (such as %s) %s", len(names), n, ", ".join(names[:3]), what)


def _warn(dropped: Counter[str], what: str) -> None:
    if dropped.total():
        reasons = "; ".join(f"{reason} ({n})" for reason, n in dropped.most_common() if n)
        log.warning("%d %s: %s", dropped.total(), what, reasons)


def _chromosomes(variants: pd.DataFrame) -> list[str]:
    lower = {str(c).lower().lstrip("#"): c for c in variants.columns}
    column = next((lower[c] for c in ("chrom", "sample", "chromosome", "chr") if c in lower), None)
    if column is not None:
        return [name_of(name).strip() for name in variants[column]]
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


def _facts(change: Variant, chromosome: str, coding: list[Coding]) -> dict[str, object]:
    """Columns of :data:`FACTS` of one variant."""
    start, end = change.start, change.start + max(len(change.ref), 1)
    # bases put in before the first of a sequence or behind its last change no codon of it
    around = [c for c in coding if start < c.high and start + len(change.ref) > c.low]
    inside = [c for c in around if any(a <= start and end <= b for a, b in c.parts)]
    touched = [c for c in around if any(start < b and end > a for a, b in c.parts)]
    found = next(iter(inside or touched or around), None)
    one = len(change.ref) == len(change.alt) == 1
    back = found is not None and found.strand == "-"
    out: dict[str, object] = dict.fromkeys(FACTS, "")
    out |= {"consequence": "outside", "codon_phase": -1, "exon_distance": -1}
    if one and 0 < start < len(chromosome) - 1:
        three = chromosome[start - 1 : start + 2].upper()
        alt = change.alt.upper()
        if back:
            three, alt = turned(three), turned(alt)
        out["trinucleotide"] = f"{three[0]}[{three[1]}>{alt}]{three[2]}"
    if found is None or (not touched and found.circular):
        return out
    out |= {
        "gene": found.gene,
        "transcript": found.transcript,
        "strand": found.strand,
        "exon_distance": found.distance(start),
    }
    if not inside:
        return out | {"consequence": _beside(found, start, end)}
    return out | _in_codons(found, change, one)


def _in_codons(coding: Coding, change: Variant, one: bool) -> dict[str, object]:
    """Consequence, place in the codon and change of the protein of a variant within one part."""
    back = coding.strand == "-"
    ref, alt = (turned(x) if back else x for x in (change.ref.upper(), change.alt.upper()))
    # the base that comes first in reading order; of an insertion the one behind it
    first = change.start + (max(len(ref), 1) - 1) * back
    place = np.flatnonzero(coding.positions == first)
    at = int(place[0]) + (back and not ref) if len(place) else -1
    if at < 0 or at + len(ref) > len(coding.bases) // 3 * 3:
        return {"consequence": "partial codon"}
    if (len(alt) - len(ref)) % 3:
        return {"consequence": "frame shift"}
    low, high = at // 3, -(-(at + len(ref)) // 3)
    bases = coding.bases[3 * low : at] + alt + coding.bases[at + len(ref) : 3 * high]
    before, new = coding.residues, coding.translated(bases)
    if len(alt) == len(ref):  # what the file states of a codon stands where its bases do
        kept = [bases[3 * i : 3 * i + 3] == coding.bases[3 * (low + i) :][:3] for i in range(high - low)]
        new = "".join(before[low + i] if same else new[i] for i, same in enumerate(kept))
    after = before[:low] + new + before[high:]
    kind = _kind(coding, low, high, new)
    return {
        "consequence": kind,
        "codon_phase": at % 3 if one else -1,
        "protein_variant": f"{before[low]}{low + 1}{new}"
        if one
        else _named_change(before, after)
        if kind != "synonymous"
        else "",
    }


def _kind(coding: Coding, low: int, high: int, new: str) -> str:
    """The consequence of residues `low` to `high` becoming `new`."""
    before = coding.residues
    old = before[low:high]
    # what is put in behind the stop that ends the sequence is not read
    if old == new or (high == len(before) and old.endswith("*") and new.startswith(old)):
        return "synonymous"
    if low == 0 and coding.begins and old[:1] == "M" and not new.startswith("M"):
        return "start lost"
    change = Variant(low, old, new).trimmed()
    was, becomes = change.ref.find("*"), change.alt.find("*")
    if was >= 0 and becomes < 0:
        return "stop lost"
    if becomes >= 0 and (was < 0 or becomes < was):
        return "stop gained"
    return "missense" if len(old) == len(new) else "in-frame"


def _named_change(before: str, after: str) -> str:
    """The change of a protein in the notation of :func:`parse_variant`, between neighbours where letters come alone."""
    change = Variant(0, before, after).trimmed()
    if not change.ref and not change.alt:
        return ""
    if not change.ref and 0 < change.start < len(before):
        two = before[change.start - 1 : change.start + 1]
        change = Variant(change.start - 1, two, two[0] + change.alt + two[1])
    return str(change)


def _beside(coding: Coding, start: int, end: int) -> str:
    """Whether a variant takes an end of the coding sequence, or the first or last two bases of an intron."""
    touched = any(start < b and end > a for a, b in coding.parts)
    ends = ("start lost", "stop lost") if coding.strand != "-" else ("stop lost", "start lost")
    if touched and (start < coding.low or end > coding.high):
        return ends[0] if start < coding.low else ends[1]
    parts = sorted(coding.parts)
    for (_, left), (right, _) in zip(parts, parts[1:]):
        for low, high, first in ((left, left + 2, True), (right - 2, right, False)):
            if start < high and end > low:
                return "splice donor" if first == (coding.strand != "-") else "splice acceptor"
    return "intron"
