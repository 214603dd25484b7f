"""Variants through coding sequences: both strands, exon ends, every consequence; and onto windows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from Bio.Seq import Seq

import sciinterp as si
from sciinterp.annotations.gff import parse_gtf
from sciinterp.readers.notation import parse_variant
from sciinterp.readouts.coding import _coding_sequences, consequences, place_variants

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


def annotations(strand: str = "+", length: int = len(CHROMOSOME)) -> si.Annotations:
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
    found = consequences(table, genome(strand), annotations(strand))
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
    found = consequences(table, genome(), annotations())
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
    coding, dropped = _coding_sequences(genome, frame)
    found = [c for some in coding.values() for c in some]
    if keep:
        assert len(found) == 14 and not dropped
        assert all(c.protein.startswith("M") and "*" not in c.protein for c in found)
    else:  # exons that transcripts share are one row: what is left is no whole transcript, or is one
        assert 0 < len(found) < 14


def test_genomic_hgvs_names_its_chromosome():
    found = consequences(
        pd.DataFrame({"variant": ["c:g.8G>A", "c:g.8del", "x:g.8G>A"]}), genome(), annotations()
    )
    assert found["consequence"].tolist() == ["missense", "frame shift"]


def test_a_coding_sequence_of_no_whole_codons_is_counted():
    frame = annotations().frame.iloc[:1].assign(end=8)
    found = consequences(pd.DataFrame({"variant": ["c:g.5T>A"]}), genome(), si.Annotations(frame))
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
