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


def test_counts_are_of_alleles_and_what_changes_nothing_is_no_variant():
    table = pd.DataFrame(
        {"chrom": "c", "pos": [8, 9, 9, 1], "ref": ["G", "A", "a", "A"], "alt": ["A,C,*", "A", "G", "C"]}
    )
    found = consequences(table, genome(), coded())
    assert found["protein_variant"].tolist() == ["R2Q", "R2P", "R2R"]
    counts = found.context
    assert counts["dropped"]["no change"] == 1 and counts["dropped"]["other bases than the genome's"] == 1
    assert (
        counts["n_in"] == 6 == len(found) + sum(counts["dropped"].values()) and not counts["dropped_coding"]
    )
    windows = si.Samples(["c:0-24"], [CHROMOSOME[:24]], kind="dna")
    placed = place_variants(table, windows).context
    assert placed["n_in"] == 6 == placed["n_placed"] + sum(placed["dropped"].values())
    assert placed["n_placed"] == 3 and placed["dropped"]["no change"] == 1


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
    assert found["consequence"].tolist() == ["outside"] and not found.context["dropped"]
    assert sum(found.context["dropped_coding"].values()) == 1


SEC = "ATGCGATGAGGTTGGTAA"  # M R U G W *


def recoded(tmp_path, strand, kind, stated):
    """A selenoprotein as GFF3 or GenBank has it, on either strand, and all its substitutions."""
    text = "CCC" + SEC + "TTTT"
    low, high, first = 4, 21, 10
    if strand == "-":
        text = _back(text)
        low, high, first = len(text) - 20, len(text) - 3, len(text) - 11
    place = f"{first}..{first + 2}" if strand == "+" else f"complement({first}..{first + 2})"
    if kind == "gff3":
        more = f";transl_except=(pos:{place}%2Caa:Sec)" if stated else ""
        path = tmp_path / "a.gff3"
        path.write_text(f"##gff-version 3\nc\tx\tCDS\t{low}\t{high}\t.\t{strand}\t0\tID=c1;Parent=t1{more}\n")
    else:
        path = tmp_path / "a.gb"
        more = f"/transl_except=(pos:{place},aa:Sec)" if stated else "/product=p"
        where = f"{low}..{high}" if strand == "+" else f"complement({low}..{high})"
        path.write_text(
            GENBANK.replace("/codon_start=2", more)
            .replace("12 bp", f"{len(text)} bp")
            .format(place=where, text=text.lower())
        )
    rows = [("c", p, text[p - 1], x) for p in range(low, high + 1) for x in "ACGT" if x != text[p - 1]]
    table = pd.DataFrame(rows, columns=["chrom", "pos", "ref", "alt"])
    return consequences(table, si.Samples(["c"], [text], kind="dna"), si.read_annotations(path)), text


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize("kind", ["gff3", "genbank"])
@pytest.mark.parametrize("stated", [True, False])
def test_a_stop_inside_leaves_changes_before_it_what_they_are(strand, kind, stated, tmp_path, caplog):
    """Each substitution against its codon's own translation by Biopython."""
    found, text = recoded(tmp_path, strand, kind, stated)
    for row in found.to_dict("records"):
        at = row["pos"] - 1
        changed = text[:at] + row["alt"] + text[at + 1 :]
        after = str(Seq(changed if strand == "+" else _back(changed))[3:21].translate())
        before = "MRUGW*" if stated else "MR*GW*"
        i = (at - 3 if strand == "+" else len(text) - 4 - at) // 3
        a, b = before[i], after[i]
        kinds = {"synonymous": a == b, "start lost": i == 0, "stop gained": b == "*", "stop lost": a == "*"}
        assert row["consequence"] == next((k for k, true in kinds.items() if true), "missense"), row
        assert row["protein_variant"] == f"{a}{i + 1}{b}"
    assert len(found) == 54
    assert found.context["inner_stops"] == ([] if stated else [found["transcript"].iloc[0]])
    assert ("stop before their end" in caplog.text) is not stated


def test_several_changed_bases_leave_a_stated_residue_between_them(tmp_path):
    """CGATGAGGT, R U G, becomes CGTTGAAGT: the last base of one codon and the first behind the next."""
    recoded(tmp_path, "+", "gff3", True)
    whole = si.Samples(["c"], ["CCC" + SEC + "TTTT"], kind="dna")
    read = si.read_annotations(tmp_path / "a.gff3")
    table = pd.DataFrame({"chrom": ["c"], "pos": [9], "ref": ["ATGAG"], "alt": ["TTGAA"]})
    row = consequences(table, whole, read).iloc[0]
    assert (row["consequence"], row["protein_variant"]) == ("missense", "G4S")


@pytest.mark.parametrize("kind", ["gff3", "gtf", "genbank"])
@pytest.mark.parametrize("code", ["", "1", "11"])
def test_a_start_is_lost_by_one_rule_in_every_format(kind, code, tmp_path):
    """An alternative start codon is none for the canonical one (SO:0002012), whoever states the sequence."""
    text = "CCC" + "ATGCGAGGTTAA" + "TTT"
    path = tmp_path / {"gff3": "a.gff3", "gtf": "a.gtf", "genbank": "a.gb"}[kind]
    if kind == "genbank":
        more = f"/transl_table={code}" if code else "/product=p"
        path.write_text(
            GENBANK.replace("/codon_start=2", more)
            .replace("12 bp", f"{len(text)} bp")
            .format(place="4..15", text=text.lower())
        )
    else:
        note = "ID=c1;Parent=t1" + (f";transl_table={code}" if code else "")
        if kind == "gtf":
            note = 'gene_id "G"; transcript_id "t1";' + (f' transl_table "{code}";' if code else "")
        path.write_text(f"c\tx\tCDS\t4\t15\t.\t+\t0\t{note}\n")
    rows = [("c", 4 + i, "ATG"[i], x) for i in range(3) for x in "ACGT" if x != "ATG"[i]]
    table = pd.DataFrame(rows, columns=["chrom", "pos", "ref", "alt"])
    found = consequences(table, si.Samples(["c"], [text], kind="dna"), si.read_annotations(path))
    assert set(found["consequence"]) == {"start lost"} and len(found) == 9
    assert found["protein_variant"].tolist() == [
        "M1L",
        "M1V",
        "M1L",
        "M1K",
        "M1T",
        "M1R",
        "M1I",
        "M1I",
        "M1I",
    ]
    table = pd.DataFrame({"chrom": "c", "pos": [3, 15], "ref": ["C", "A"], "alt": ["CGGG", "AGGG"]})
    found = consequences(table, si.Samples(["c"], [text], kind="dna"), si.read_annotations(path))
    assert found["consequence"].tolist() == ["outside"] * 2  # put in before the start and behind the stop


@pytest.mark.parametrize("strand", ["+", "-"])
def test_genes_by_the_chain_of_parents_and_distances_by_exons(strand, tmp_path, caplog):
    """Ensembl's GFF3: two transcripts of a gene, one of which has no rows of exons."""
    n = len(CHROMOSOME)
    lines = [("gene", 1, 26, "ID=gene:E1;Name=G"), ("mRNA", 1, 26, "ID=transcript:T1;Parent=gene:E1;Name=G-201"),
             ("exon", 1, 9, "Parent=transcript:T1"), ("exon", 16, 26, "Parent=transcript:T1"),
             ("CDS", 4, 9, "ID=CDS:P1;Parent=transcript:T1"), ("CDS", 16, 24, "ID=CDS:P1;Parent=transcript:T1"),
             ("mRNA", 1, 12, "ID=transcript:T2;Parent=gene:E1"), ("CDS", 4, 12, "ID=CDS:P2;Parent=transcript:T2")]  # fmt: skip
    text = "##gff-version 3\n"
    for kind, a, b, note in lines:
        a, b = (a, b) if strand == "+" else (n - b + 1, n - a + 1)
        text += f"c\tx\t{kind}\t{a}\t{b}\t.\t{strand}\t{0 if kind == 'CDS' else '.'}\t{note}\n"
    (tmp_path / "a.gff3").write_text(text)
    rows = []
    for at in (4, 17, 23, 10):
        ref, alt = CHROMOSOME[at], {"A": "C", "C": "A", "G": "A", "T": "C"}[CHROMOSOME[at]]
        rows.append(("c", at + 1, ref, alt) if strand == "+" else ("c", n - at, _back(ref), _back(alt)))
    table = pd.DataFrame(rows, columns=["chrom", "pos", "ref", "alt"])
    found = consequences(table, genome(strand), si.read_annotations(tmp_path / "a.gff3"))
    assert found["gene"].tolist() == ["G"] * 4
    assert found["transcript"].tolist() == [*["transcript:T1"] * 3, "transcript:T2"]
    # of the exons 0-9 and 15-26, though coding parts end at 3 and 24; T2 has a coding part 3-12 alone
    assert found["exon_distance"].tolist() == [4, 2, 2, 1]
    assert found.context["without_exons"] == ["transcript:T2"] and "1 of 2 transcripts" in caplog.text
    (tmp_path / "b.gff3").write_text(text.replace("ID=gene:E1;Name=G", "ID=gene:E2"))  # the chain ends early
    found = consequences(table, genome(strand), si.read_annotations(tmp_path / "b.gff3"))
    assert set(found["gene"]) == {"gene:E1"}


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
