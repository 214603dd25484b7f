"""Alignments without IMGT gaps: the protein is the same wherever the read starts and however its frame is stated."""

import pytest

import sciinterp as si
from sciinterp.readers.airr import CODONS, chain_of

VH = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKNTLYLQMNSLRAEDTAVYYC"
    "AKDRGYYFDYWGQGTLVTVSS"
)
JUNCTION = "CAKDRGYYFDYW"
CODON = {amino: codon for codon, amino in CODONS.items()}
BASES = "".join(CODON[a] for a in VH)
AT = VH.index(JUNCTION) * 3
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def row(aligned: str, **cells: str) -> dict[str, str]:
    return {
        "sequence_id": "r",
        "productive": "T",
        "v_call": "IGHV3-23*01",
        "sequence_alignment": aligned,
    } | cells


# how the frame is stated -> the cells of a read whose first `cut` bases are missing
STATED = {
    "start in the germline": lambda cut: {"v_germline_start": str(cut + 1), "junction_aa": JUNCTION},
    "bases of the junction": lambda cut: {"junction": BASES[AT : AT + 36]},
    "the junction as amino acids": lambda cut: {"junction_aa": JUNCTION},
    "the translation": lambda cut: {"sequence_alignment_aa": VH[-(-cut // 3) :]},
}


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 10, 17])
@pytest.mark.parametrize("stated", STATED)
def test_a_read_that_starts_anywhere_is_read_in_frame(stated, cut) -> None:
    chain = chain_of(row(BASES[cut:], **STATED[stated](cut)))
    assert chain.sequence == VH[-(-cut // 3) :]


@pytest.mark.parametrize("cut", [0, 1, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_what_lies_before_v_is_not_translated(cut, reverse) -> None:
    read = "GGTAA" + BASES[cut:]
    query = "ACGTAC" + read + "TTT"
    cells = {
        "sequence": query.translate(COMPLEMENT)[::-1] if reverse else query,
        "rev_comp": "T" if reverse else "F",
        "v_sequence_start": str(len("ACGTAC") + len("GGTAA") + 1),
        "v_germline_start": str(cut + 1),
        "junction_aa": JUNCTION,
    }
    assert chain_of(row(read, **cells)).sequence == VH[-(-cut // 3) :]


def test_insertions_and_deletions_are_those_of_the_read() -> None:
    shorter, longer = BASES[:30] + "---" + BASES[33:], BASES[:30] + "GCT" + BASES[30:]
    germline = BASES[:30] + "---" + BASES[30:]
    cells = {"v_germline_start": "1", "junction_aa": JUNCTION}
    assert chain_of(row(shorter, germline_alignment=BASES, **cells)).sequence == VH[:10] + VH[11:]
    chain = chain_of(row(longer, germline_alignment=germline, **cells))
    assert chain.sequence == VH[:10] + "A" + VH[10:]
    assert chain.germline == VH[:10] + "-" + VH[10:]


def test_rna_is_read_as_dna() -> None:
    assert chain_of(row(BASES.replace("T", "U"), v_germline_start="1", junction_aa=JUNCTION)).sequence == VH


@pytest.mark.parametrize(
    ("read", "cells", "reason"),
    [
        (BASES, {"v_germline_start": "2", "junction_aa": JUNCTION}, "junction not in frame"),
        (BASES[:60] * 3, {"v_germline_start": "1", "junction_aa": JUNCTION}, "junction not in frame"),
        (BASES, {"v_germline_start": "1", "junction": CODON["W"] * 4}, "junction not in frame"),
        (BASES, {"junction_aa": "CWWWW"}, "junction not in frame"),
        (BASES, {"v_germline_start": "1", "v_frameshift": "T"}, "frameshift in the V segment"),
        ("GCT" * 40, {}, "reading frame not stated"),
        ("TAACTAACTAACT", {}, "stop codon"),
    ],
)
def test_a_frame_that_cannot_be_is_a_reason(read, cells, reason) -> None:
    assert chain_of(row(read, **cells)) == reason


def test_samples_and_annotations_agree_to_the_residue(tmp_path) -> None:
    rows = [
        row(BASES[cut:], **STATED["start in the germline"](cut)) | {"sequence_id": f"r{cut}"}
        for cut in range(7)
    ]
    path = tmp_path / "x.tsv"
    path.write_text(
        "\n".join("\t".join(cells) for cells in [list(rows[0]), *(list(r.values()) for r in rows)]) + "\n"
    )
    samples, annotations = si.read_samples(path), si.read_annotations(path)
    assert len(samples) == len(rows)
    assert not samples.dropped
    assert not annotations.counts["dropped"]
    assert set(annotations.frame["sample"]) == set(samples.ids)
    motifs = annotations.frame[annotations.frame["start"] >= 0]
    assert (motifs["end"].to_numpy() <= samples.lengths[[samples.index(s) for s in motifs["sample"]]]).all()
