"""Variants through coding sequences: both strands, exon ends, every consequence; and onto windows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from Bio import SeqIO
from Bio.Seq import Seq

import sciinterp as si
from sciinterp.annotations.gff import parse_gtf
from sciinterp.errors import InputError
from sciinterp.readers.notation import parse_variant
from sciinterp.readouts.coding import consequences, place_variants
from sciinterp.readouts.coding_sequences import coding_sequences

# exon ATGCGA, intron GTAAAG, exon GGTTGCTAA: M R G C *
CHROMOSOME = "CCC" + "ATGCGA" + "GTAAAG" + "GGTTGCTAA" + "TTT"
ROWS = [(3, 9), (15, 24)]


GENBANK = """LOCUS       c                        12 bp    DNA     linear   PRI 01-JAN-2000
ACCESSION   c
VERSION     c
FEATURES             Location/Qualifiers
     CDS             {place}
                     /gene="G"
                     /codon_start=2
ORIGIN
        1 {text}
//
"""


def coded(strand: str = "+", length: int = len(CHROMOSOME)) -> si.Annotations:
    spans = ROWS if strand == "+" else [(length - b, length - a) for a, b in ROWS]
    frame = pd.DataFrame(spans, columns=["start", "end"]).assign(
        sample="c", strand=strand, concept="gff:CDS", source="gff", note="transcript_id=t1; gene_name=G"
    )
    return si.Annotations(frame)


def genome(strand: str = "+") -> si.Samples:
    text = CHROMOSOME if strand == "+" else str(Seq(CHROMOSOME).reverse_complement())
    return si.Samples(["c"], [text], kind="dna")


CASES = [  # place in the forward chromosome, from 0; letter after; what follows
    (8, "G", "synonymous", 2, 0, "R2R"), (6, "T", "stop gained", 0, 2, "R2*"), (7, "A", "missense", 1, 1, "R2Q"),
    (3, "G", "start lost", 0, 0, "M1V"), (21, "C", "stop lost", 0, 2, "*5Q"), (9, "A", "splice donor", -1, 1, ""),
    (10, "A", "splice donor", -1, 2, ""), (14, "A", "splice acceptor", -1, 1, ""), (11, "G", "intron", -1, 3, ""),
    (1, "G", "outside", -1, -1, ""), (17, "A", "synonymous", 2, 2, "G3G"),
]  # fmt: skip


@pytest.mark.parametrize(("at", "alt", "kind", "phase", "distance", "protein"), CASES)
@pytest.mark.parametrize("strand", ["+", "-"])
def test_consequences_on_both_strands(at, alt, kind, phase, distance, protein, strand):
    ref, pos = CHROMOSOME[at], at + 1
    if strand == "-":
        ref, alt, pos = str(Seq(ref).complement()), str(Seq(alt).complement()), len(CHROMOSOME) - at
    table = pd.DataFrame({"chrom": ["c"], "pos": [pos], "ref": [ref], "alt": [alt], "CLNSIG": ["Benign"]})
    found = consequences(table, genome(strand), coded(strand))
    row = found.iloc[0]
    assert (row["consequence"], row["codon_phase"], row["exon_distance"], row["protein_variant"]) == (
        kind, phase, distance, protein,
    )  # fmt: skip
    assert row["CLNSIG"] == "Benign"
    if kind != "outside":
        forward = str(Seq(alt).complement()) if strand == "-" else alt
        assert row["trinucleotide"] == f"{CHROMOSOME[at - 1]}[{CHROMOSOME[at]}>{forward}]{CHROMOSOME[at + 1]}"
        assert (row["gene"], row["transcript"]) == ("G", "t1")
        assert found.context["proteins"].sequences == ["MRGC"]
    if kind == "missense":
        parse_variant(protein).apply(found.context["proteins"]["t1"])


def test_letters_that_come_and_go():
    table = pd.DataFrame(
        {
            "chrom": "c",
            "pos": [4, 4, 99, 4, 1],
            "ref": ["ATG", "AT", "A", "C", "C"],
            "alt": ["AT", "ATGGG", "C", "A", "<DEL>"],
        }
    )
    found = consequences(table, genome(), coded())
    assert found["consequence"].tolist() == ["frame shift", "in-frame"]
    assert found.context["n_in"] == 5 and sum(found.context["dropped"].values()) == 3


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize("layout", ["gff", "genbank"])
def test_a_coding_sequence_that_begins_before_its_sequence(strand, layout, tmp_path):
    """One base of a codon is left before the first whole one: phase 1 of GFF, codon_start 2 of GenBank."""
    text = "A" + "CGA" + "GTTGCT" + "GG"  # the last base of a codon, then R V A
    text = text if strand == "+" else str(Seq(text).reverse_complement())
    low, high = (1, 10) if strand == "+" else (3, 12)
    if layout == "gff":
        path = tmp_path / "a.gff3"
        path.write_text(f"##gff-version 3\nc\tx\tCDS\t{low}\t{high}\t.\t{strand}\t1\tID=t1;gene=G\n")
    else:
        path = tmp_path / "a.gb"
        place = f"<{low}..{high}" if strand == "+" else f"complement({low}..>{high})"
        path.write_text(GENBANK.format(place=place, text=text.lower()))
    at = [0, 3, 6] if strand == "+" else [11, 8, 5]
    alt = {"A": "C", "C": "A", "G": "A", "T": "G"}
    table = pd.DataFrame({"chrom": "c", "pos": [a + 1 for a in at], "ref": [text[a] for a in at]})
    found = consequences(
        table.assign(alt=[alt[r] for r in table["ref"]]),
        si.Samples(["c"], [text], kind="dna"),
        si.read_annotations(path),
    )
    assert found["consequence"].iloc[0] == "partial codon" and found.context["proteins"].sequences == ["RVA"]
    assert found["codon_phase"].tolist() == [-1, 2, 2]


@pytest.mark.parametrize("keep", [True, False])
def test_real_transcripts_are_read_in_frame(keep):
    """RefSeq's transcripts of a human slice: all begin with M and stop nowhere inside."""
    data = Path(os.environ.get("AUGUSTUS_DOC", "/usr/share/doc/augustus")) / "tutorial-cgp" / "data"
    if not (data / "genomes" / "hg38.fa").is_file():
        pytest.skip("hg38.fa of the Debian package augustus-doc is not unpacked here")
    genome = si.read_samples(data / "genomes" / "hg38.fa").subset([0])
    frame = parse_gtf(data / "refseq" / "refseq.hg38.gtf", duplicates="keep" if keep else "drop")
    coding, dropped = coding_sequences(genome, frame, {})
    found = [c for some in coding.values() for c in some]
    assert len(found) == 14 and not dropped  # of exons that transcripts share each has its own
    assert all(c.protein.startswith("M") and "*" not in c.protein for c in found)


SEVERAL = [  # what stands in the forward chromosome, what it becomes, what follows
    (3, "ATGCGA", "ATGCGC", "synonymous", "R2R"), (6, "CG", "TC", "missense", "R2S"), (6, "CGA", "TAA", "stop gained", "R2*"),
    (6, "CGA", "", "in-frame", "R2del"), (5, "G", "GGGG", "in-frame", "M1_R2insG"), (4, "TG", "AA", "start lost", "M1K"),
    (21, "TAA", "TGC", "stop lost", "*5C"), (1, "CCATG", "C", "start lost", ""), (22, "AATT", "A", "stop lost", ""),
    (8, "AGT", "A", "splice donor", ""), (13, "AGGG", "A", "splice acceptor", ""), (15, "GGT", "G", "frame shift", ""),
]  # fmt: skip


@pytest.mark.parametrize("strand", ["+", "-"])
def test_changes_of_several_bases(strand):
    """In one part they are read through codons; over an end of it by what they take away."""
    for at, ref, alt, kind, protein in SEVERAL:
        assert CHROMOSOME[at : at + len(ref)] == ref
        pos = at + 1
        if strand == "-":
            ref, alt, pos = _back(ref), _back(alt), len(CHROMOSOME) - at - len(ref) + 1
        if not alt:  # as a VCF has it, with the base before
            before = genome(strand)["c"].sequence[pos - 2]
            ref, alt, pos = before + ref, before, pos - 1
        table = pd.DataFrame({"chrom": ["c"], "pos": [pos], "ref": [ref], "alt": [alt]})
        row = consequences(table, genome(strand), coded(strand)).iloc[0]
        assert (row["consequence"], row["protein_variant"]) == (kind, protein), (at, ref, alt)
        if protein and "*" not in protein:
            parse_variant(protein).apply(si.Sample("p", "MRGC"))


def _back(bases):
    return str(Seq(bases).reverse_complement())


GTF = [("CDS", 4, 9), ("CDS", 16, 21), ("stop_codon", 22, 24)]
GFF3 = "c\tx\tCDS\t{}\t{}\t.\t{}\t{}\tID=c1;Parent=t1,t2\n"


@pytest.mark.parametrize("strand", ["+", "-"])
def test_stop_codons_of_their_own_shared_parts_and_codes(strand, tmp_path):
    """GTF ends a CDS before its stop; a part of two transcripts stands once, or once each."""
    n, size = len(CHROMOSOME), 3
    turn = (lambda a, b: (n - b + 1, n - a + 1)) if strand == "-" else (lambda a, b: (a, b))
    lines = [
        f'c\tx\t{kind}\t{turn(a, b)[0]}\t{turn(a, b)[1]}\t.\t{strand}\t0\tgene_id "G"; transcript_id "{t}";\n'
        for t in ("t1", "t2") for kind, a, b in GTF[: None if t == "t1" else 1]
    ]  # fmt: skip
    (tmp_path / "a.gtf").write_text("".join(lines))
    read = si.read_annotations(tmp_path / "a.gtf")
    coding, dropped = coding_sequences(genome(strand), read, {})
    assert {c.transcript: c.protein for c in coding["c"]} == {"t1": "MRGC", "t2": "MR"} and not dropped
    at = turn(22, 22)[0]
    letter = genome(strand)["c"].sequence[at - 1]
    table = pd.DataFrame(
        {"chrom": ["c"], "pos": [at], "ref": [letter], "alt": ["C" if strand == "+" else "G"]}
    )
    row = consequences(table, genome(strand), read).iloc[0]
    assert (row["consequence"], row["protein_variant"], row["exon_distance"]) == (
        "stop lost",
        "*5Q",
        size - 1,
    )
    (tmp_path / "a.gff3").write_text(
        "##gff-version 3\n" + "".join(GFF3.format(*turn(a + 1, b), strand, 0) for a, b in ROWS)
    )
    found, _ = coding_sequences(genome(strand), si.read_annotations(tmp_path / "a.gff3"), {"c": 2})
    assert {c.transcript: c.protein for c in found["c"]} == {"t1": "MRGC", "t2": "MRGC"}
    swapped = si.Samples(
        ["c"],
        [genome(strand)["c"].sequence.replace(*(("CGA", "TGA") if strand == "+" else ("TCG", "TCA")))],
        kind="dna",
    )
    for codes, protein in (({"c": 2}, "MWGC"), ({}, "M*GC")):
        found, _ = coding_sequences(swapped, si.read_annotations(tmp_path / "a.gff3"), codes)
        assert found["c"][0].protein == protein


@pytest.mark.parametrize(
    ("place", "protein"),
    [("join(10..12,1..6)", "MAC"), ("complement(join(7..9,1..3))", "CR"), ("join(1..3,c2.1:4..9)", None)],
)
def test_joins_across_the_origin_and_with_parts_elsewhere(place, protein, tmp_path):
    text = "GCATGCGCGATG"
    (tmp_path / "a.gb").write_text(
        GENBANK.replace("/codon_start=2", "/product=p").format(place=place, text=text.lower())
    )
    found, dropped = coding_sequences(
        si.Samples(["c"], [text], kind="dna"), si.read_annotations(tmp_path / "a.gb"), {}
    )
    assert (
        ([c.protein for c in found["c"]] == [protein] and not dropped)
        if protein
        else (not found and dropped.total() == 1)
    )


def test_a_genome_of_proteins_is_refused():
    with pytest.raises(InputError, match="a genome is nucleotides"):
        consequences(
            pd.DataFrame({"variant": ["c:g.8G>A"]}), si.Samples(["c"], ["MKV"], kind="protein"), coded()
        )


@pytest.mark.parametrize("name", ["embl/inv.dat", "embl/pro.dat", "genbank/gbbct1.seq"])
def test_real_entries_give_the_proteins_they_state(name):
    """Both strands, joins, alternative transcripts, alternative starts, partial entries of EMBOSS's test data."""
    path = Path(os.environ.get("EMBOSS_TEST", "/usr/share/EMBOSS/test")) / name
    if not path.is_file():
        pytest.skip("the Debian package emboss-test is not unpacked here")
    coding, dropped = coding_sequences(si.read_samples(path, kind="dna"), si.read_annotations(path), {})
    entries = [
        e
        for r in SeqIO.parse(path, name.split("/")[0].replace("genbank", "gb"))
        for e in r.features
        if e.type == "CDS"
    ]
    whole = [e for e in entries if all(part.ref is None for part in e.location.parts)]
    stated = {t.replace(" ", "") for e in whole for t in e.qualifiers.get("translation", [])}
    assert len(stated) > 10 and stated <= {c.protein for some in coding.values() for c in some}
    assert dropped.total() == len(entries) - len(whole)


def test_chromosomes_by_another_name_and_what_is_left_out_is_said(caplog):
    """ClinVar says 16 where genomes say chr16."""
    table = pd.DataFrame({"chrom": ["16", "17"], "pos": 8, "ref": "G", "alt": "A"})
    whole = si.Samples(["chr16"], [CHROMOSOME], kind="dna")
    rows = si.Annotations(coded().frame.assign(sample="NC_000016.10"))
    assert consequences(table, whole, rows)["consequence"].tolist() == ["missense"]
    assert "on no chromosome of the genome (1)" in caplog.text


def test_genomic_hgvs_names_its_chromosome():
    found = consequences(pd.DataFrame({"variant": ["c:g.8G>A", "c:g.8del", "x:g.8G>A"]}), genome(), coded())
    assert found["consequence"].tolist() == ["missense", "frame shift"]


def test_a_coding_sequence_out_of_frame_is_counted():
    frame = coded().frame.iloc[1:].assign(end=25)  # GGT TGC TAA T
    found = consequences(pd.DataFrame({"variant": ["c:g.17G>A"]}), genome(), si.Annotations(frame))
    assert found["consequence"].tolist() == ["outside"] and sum(found.context["dropped"].values()) == 1


@pytest.mark.parametrize("seed", range(3))
def test_windows_hold_the_same_change_on_either_strand(seed):
    rng = np.random.default_rng(seed)
    text = "".join(rng.choice(list("ACGT"), 60))
    whole = si.Samples(["c"], [text], kind="dna")
    names = ["c:10-40(+)", "c:10-40(-)", "c:30-60(+)"]
    parts = [text[10:40], str(Seq(text[10:40]).reverse_complement()), text[30:60]]
    windows = si.Samples(names, parts, kind="dna")
    at = int(rng.integers(32, 38))
    change = (
        f"c:g.{at + 1}_{at + 2}delinsAC"
        if seed
        else f"c:g.{at + 1}{text[at]}>{'A' if text[at] != 'A' else 'C'}"
    )
    stated = parse_variant(change).fitted(whole["c"])
    table = pd.DataFrame(
        {"chrom": ["c"], "pos": [stated.start + 1], "ref": [stated.ref], "alt": [stated.alt]}
    )
    found = place_variants(table, windows)
    assert found["sample"].tolist() == names and set(found["origin"]) == {0}
    changed = stated.apply(whole["c"]).sequence
    for row in found.to_dict("records"):
        made = windows[row["sample"]].sequence
        after = made[: row["pos"] - 1] + row["alt"] + made[row["pos"] - 1 + len(row["ref"]) :]
        assert made[row["pos"] - 1 :].startswith(row["ref"])
        assert (after if row["strand"] == "+" else str(Seq(after).reverse_complement())) in changed
    outside = place_variants(
        pd.DataFrame({"chrom": ["c", "y"], "pos": [1, 1], "ref": "A", "alt": "C"}), windows
    )
    assert len(outside) == 0 and sum(outside.context["dropped"].values()) == 2


def test_other_reference_bases_are_counted_and_unstated_ones_are_the_windows_own():
    """As bcftools norm --check-ref x leaves them out; of one window, of both strands and of every form."""
    windows = si.Samples(["c:10-16", "c:10-16(-)", "c:12-16"], ["ACGTTG", "CAACGT", "GTTG"], kind="dna")
    table = pd.DataFrame(
        {
            "chrom": ["c"] * 5 + ["y"],
            "pos": [11, 12, 12, 13, 90, 12],
            "ref": ["T", "C", "CG", "GT", "A", "C"],
            "alt": ["G", "T", "C", "G", "C", "T"],
        }
    )
    found = place_variants(table, windows)
    placed = [(1, 0, 2, "C", "T"), (1, 1, 5, "G", "A"), (2, 0, 2, "CG", "C"), (2, 1, 4, "CG", "G"),
              (3, 0, 3, "GT", "G"), (3, 1, 3, "AC", "C"), (3, 2, 1, "GT", "G")]  # fmt: skip
    assert found[["origin", "sample", "pos", "ref", "alt"]].values.tolist() == [
        [origin, windows.ids[window], *rest] for origin, window, *rest in placed
    ]
    counts = {"other bases than the genome's": 1, "on no window": 2}
    assert found.context == {"n_in": 6, "n_placed": 3, "dropped": counts}
    hgvs = place_variants(pd.DataFrame({"variant": ["c:g.12_13del", "c:g.14A>C", "c:g.11A>C"]}), windows)
    assert hgvs[["sample", "pos", "ref", "alt"]].values.tolist() == [
        ["c:10-16", 2, "CG", "-"], ["c:10-16(-)", 4, "CG", "-"], ["c:10-16", 1, "A", "C"], ["c:10-16(-)", 6, "T", "G"],
    ]  # fmt: skip
    assert hgvs.context["dropped"] == {"other bases than the genome's": 1}
    masked = si.Samples(["c:10-16"], ["acgtTG"], kind="dna")
    assert place_variants(table, masked)["ref"].tolist() == ["c", "cg", "gt"]  # in the window's own case
