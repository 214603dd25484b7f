"""What each parser makes of its format: positions, strands, names, reasons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sciinterp.annotations import Annotations, read_annotations
from sciinterp.annotations.bed import parse_bed
from sciinterp.annotations.genbank import parse_embl, parse_genbank
from sciinterp.annotations.gff import parse_gff3
from sciinterp.annotations.go import parse_go, read_ontology
from sciinterp.annotations.interpro import parse_interpro
from sciinterp.errors import FormatError, InputError
from sciinterp.samples import Samples

FILES = Path(__file__).parent / "files"


def placed(annotations: Annotations) -> list[tuple]:
    return list(
        map(tuple, annotations.frame[["sample", "start", "end", "strand", "concept"]].to_numpy().tolist())
    )


def test_gff3_is_shifted_and_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.gff3"
    path.write_text(
        "##gff-version 3\n##sequence-region chr%201 1 50\n"
        "chr%201\tx\texon\t1\t10\t.\t+\t.\tID=e1;Name=a%3Bb\n"
        "chr%201\tx\texon\t1\t10\t.\t+\t.\tID=e2\nchr%201\tx\texon\t1\t10\t.\t-\t.\tID=e3\n"
        "chr%201\tx\tgene\t40\t60\t.\t?\t.\tID=g\n##FASTA\n>chr 1\nACGT\n"
    )
    annotations = parse_gff3(path)
    assert placed(annotations) == [("chr 1", 0, 10, "+", "gff:exon"), ("chr 1", 0, 10, "-", "gff:exon")]
    assert annotations.counts == {
        "n_in": 4,
        "n_kept": 2,
        "dropped": {"beyond the end of the sequence": 1, "the same interval stated again": 1},
    }
    assert annotations.coverage == {"gff": ("chr 1",)}
    assert annotations.frame["note"][0] == "source=x; ID=e1; Name=a;b || source=x; ID=e2"
    assert len(parse_gff3(path, duplicates="keep")) == 3


def test_gtf_attributes_and_shared_exons(tmp_path: Path) -> None:
    path = tmp_path / "a.gtf"
    exon = 'c\tx\texon\t5\t9\t.\t+\t.\tgene_id "g;1"; transcript_id "{}";\n'
    path.write_text(exon.format("t1") + exon.format("t2") + "c\tx\tCDS\t7\t9\t.\t+\t0\tgene_id g1\n")
    annotations = read_annotations(path)
    assert placed(annotations) == [("c", 4, 9, "+", "gff:exon"), ("c", 6, 9, "+", "gff:CDS")]
    assert (
        annotations.frame["note"][0]
        == "source=x; gene_id=g;1; transcript_id=t1 || source=x; gene_id=g;1; transcript_id=t2"
    )
    assert annotations.counts["dropped"] == {"the same interval stated again": 1}


@pytest.mark.parametrize(
    "line",
    [
        "c\tx\texon\t0\t9\t.\t+\t.\tID=a",
        "c\tx\texon\t9\t5\t.\t+\t.\tID=a",
        "c\tx\texon\t5\t9\t.\tx\t.\tID=a",
        "c x exon 5 9",
        "c\tx\t\t5\t9\t.\t+\t.\tID=a",
    ],
)
def test_impossible_gff_lines_are_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.gff"
    path.write_text(f"##gff-version 3\nc\tx\texon\t5\t9\t.\t+\t.\tID=a\n{line}\n")
    with pytest.raises(FormatError) as caught:
        parse_gff3(path)
    assert caught.value.line == 3


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("x.bedgraph", ""),
        ("x.bg", ""),
        ("x.bed", "track type=bedGraph name=x\n"),
        ("x.bed", 'track type="wiggle_0"\n'),
    ],
)
def test_a_track_of_values_is_no_list_of_intervals(tmp_path: Path, name: str, head: str) -> None:
    (tmp_path / name).write_text(f"{head}chr1\t0\t4\t1.5\n")
    with pytest.raises(FormatError, match="a track of values"):
        parse_bed(tmp_path / name)


def test_bed_of_three_to_twelve_columns(tmp_path: Path) -> None:
    path = tmp_path / "peaks.bed"
    path.write_text(
        "browser x\ntrack name=a\nc 0 9\nc\t5\t40\ttx/1\t900\t-\t5\t40\t0\t2\t5,7\t0,28,\nc\t3\t3\tp\n"
    )
    annotations = read_annotations(path)
    assert placed(annotations) == [
        ("c", 0, 9, ".", "bed:peaks"),
        ("c", 5, 10, "-", "bed:tx 1"),
        ("c", 33, 40, "-", "bed:tx 1"),
    ]
    assert annotations.counts == {"n_in": 3, "n_kept": 2, "dropped": {"empty interval": 1}}
    assert set(parse_bed(path, name="peak").frame["concept"]) == {"bed:peak"}


def test_genbank_and_embl_agree_and_join_by_part() -> None:
    genbank, embl = parse_genbank(FILES / "entry.gb"), parse_embl(FILES / "entry.embl")
    pd.testing.assert_frame_equal(genbank.frame, embl.frame)
    coding = genbank.frame[genbank.frame["concept"] == "genbank:CDS"]
    assert coding[["start", "end", "strand"]].to_numpy().tolist() == [
        [4, 20, "+"],
        [30, 50, "+"],
        [60, 70, "-"],
    ]
    assert genbank.counts["dropped"] == {
        "between two positions: N^M": 1,
        "beyond the end of the sequence": 1,
        "the same interval stated again": 1,
    }
    row = genbank.frame.set_index("concept").loc["genbank:variation"]
    assert (row["start"], row["end"], row["note"]) == (16, 25, "partial=start")
    assert genbank.concepts.loc["genbank:repeat_region:Alu", "parent"] == "genbank:repeat_region"
    assert set(parse_genbank(FILES / "entry.gb", ids="accession").frame["sample"]) == {"TST000001"}


def test_genbank_positions_agree_with_biopython() -> None:
    assert_same_as_biopython(FILES / "entry.embl")


def assert_same_as_biopython(path: Path) -> dict[str, int]:
    """Every local part Biopython places exactly is ours, to the base and strand."""
    from Bio import SeqIO

    theirs = []
    for record in SeqIO.parse(path, "embl"):
        # a record that states nothing but its source is not covered, and counted
        for feature in record.features if {f.type for f in record.features} != {"source"} else ():
            for part in feature.location.parts:
                exact = {type(part.start).__name__, type(part.end).__name__} <= {
                    "ExactPosition",
                    "BeforePosition",
                    "AfterPosition",
                }
                if part.ref is None and exact and 0 <= part.start < part.end <= len(record):
                    strand = {1: "+", -1: "-"}.get(part.strand, ".")
                    theirs.append(
                        (record.id, int(part.start), int(part.end), strand, f"genbank:{feature.type}")
                    )
    annotations = parse_embl(path, duplicates="keep")
    ours = [row for row in placed(annotations) if row[4].count(":") == 1 and row[4] != "genbank:variation"]
    assert sorted(ours) == sorted(t for t in theirs if t[4] != "genbank:variation")
    return pd.Series([t[4] for t in theirs]).value_counts().to_dict()


def test_interpro_places_signature_and_entry() -> None:
    annotations = parse_interpro(FILES / "matches.tsv")
    assert ("P1", 4, 40, ".", "pfam:PF00069") in placed(annotations)
    assert placed(annotations).count(("P1", 4, 40, ".", "interpro:IPR000719")) == 1
    assert ("P3", 2, 30, ".", "pfam:PF00051") in placed(annotations)
    assert annotations.counts["dropped"] == {"a match marked as false": 1}
    assert annotations.concepts.loc["smart:SM00220", "parent"] == "interpro:IPR000719"
    assert "mobidblite:mobidb-lite" in annotations.names


class TestGeneOntology:
    @pytest.fixture
    def annotations(self) -> Annotations:
        pytest.importorskip("obonet", reason="obonet reads the ontology")
        return parse_go(FILES / "genes.gaf", ontology=FILES / "terms.obo")

    def terms(self, annotations: Annotations, sample: str) -> set[str]:
        return set(annotations.frame.loc[annotations.frame["sample"] == sample, "concept"])

    def test_true_path_over_is_a_and_part_of(self, annotations: Annotations) -> None:
        assert self.terms(annotations, "S1") == {"go:0000001", "go:0000002", "go:0000003", "go:0000004"}
        assert (annotations.frame[["start", "end"]] == -1).all(axis=None)

    def test_not_is_never_positive_and_is_recorded(self, annotations: Annotations) -> None:
        assert self.terms(annotations, "S2") == {"go:0000001", "go:0000003", "go:0000004"}
        assert self.terms(annotations, "S4") == set()
        assert annotations.counts["negated"] == [["S2", "GO:0000002"], ["S4", "GO:0000003"]]

    def test_old_identifiers_obsolete_terms_and_no_data(self, annotations: Annotations) -> None:
        assert self.terms(annotations, "S3") == {"go:0000001", "go:0000002"}
        assert self.terms(annotations, "S5") | self.terms(annotations, "S6") == set()
        counts = annotations.counts
        assert counts["n_in"] == counts["n_kept"] + sum(counts["dropped"].values()) == 9

    def test_hierarchy(self, annotations: Annotations) -> None:
        assert annotations.concepts.loc["go:0000003", ["name", "parent", "level"]].tolist() == [
            "leaf",
            "go:0000002",
            2,
        ]

    def test_relations_are_a_choice(self) -> None:
        pytest.importorskip("obonet", reason="obonet reads the ontology")
        ontology = read_ontology(FILES / "terms.obo", relations=["is_a"])
        assert ontology.ancestors("GO:0000003") == ("GO:0000002", "GO:0000001")

    def test_gpad(self, tmp_path: Path) -> None:
        first, second = tmp_path / "a.gpad", tmp_path / "b.gpad"
        first.write_text(
            "!gpa-version: 1.2\n"
            "UniProtKB\tS1\tNOT|enables\tGO:0000002\tPMID:1\tECO:0000314\t\t\t2025\tX\t\t\n"
        )
        second.write_text(
            "!gpad-version: 2.0\nUniProtKB:S1\tNOT\tRO:1\tGO:0000002\tPMID:1\tECO:0000314\t\t\t2025\tX\t\t\n"
        )
        for path in (first, second):
            annotations = parse_go(path)
            assert annotations.counts["negated"] == [["S1", "GO:0000002"]]
            assert len(annotations) == 0


def test_round_trip_of_the_plain_table(tmp_path: Path) -> None:
    annotations = read_annotations(FILES / "entries.dat")
    path = tmp_path / "x.annotations.tsv"
    annotations.write(path)
    again = read_annotations(path)
    pd.testing.assert_frame_equal(annotations.frame, again.frame)
    pd.testing.assert_frame_equal(annotations.concepts, again.concepts)
    assert annotations.coverage == again.coverage


def test_a_plain_table_may_come_from_a_spreadsheet(tmp_path: Path) -> None:
    path = tmp_path / "sites.tsv"
    path.write_bytes(
        b'\xef\xbb\xbfconcept\tsample\tstart\tend\tnote\r\nsite\tP1\t4\t9\t"a ""b"" c"\r\n'
        b"membrane\tP1\t\t\t\r\n\r\n"
    )
    annotations = read_annotations(path)
    assert placed(annotations) == [("P1", 4, 9, ".", "site"), ("P1", -1, -1, ".", "membrane")]
    assert annotations.frame["note"][0] == 'a "b" c'


def test_defect_09_labels_never_shift_against_the_sequence() -> None:
    """A sequence cut to a model's limit makes its annotations an error, not labels of other residues."""
    rows = pd.DataFrame({"sample": ["long", "next"], "start": [1100, 0], "end": [1110, 3], "concept": "site"})
    annotations = Annotations(rows)
    whole = Samples(["long", "next"], ["M" * 1200, "MKV"])
    found = np.flatnonzero(annotations.positives(whole).toarray()[:, 0])
    assert found.tolist() == [*range(1100, 1110), 1200, 1201, 1202]
    cut = Samples(["long", "next"], ["M" * 1022, "MKV"])
    with pytest.raises(InputError, match="beyond its sample"):
        annotations.positives(cut)


def test_merge_keeps_every_row_and_account() -> None:
    first, second = read_annotations(FILES / "entries.dat"), parse_interpro(FILES / "matches.tsv")
    both = Annotations.merge([first, second])
    assert len(both) == len(first) + len(second)
    assert both.counts["n_in"] == first.counts["n_in"] + second.counts["n_in"]
    assert both.counts["n_in"] == both.counts["n_kept"] + sum(both.counts["dropped"].values())
    assert both.coverage == {"uniprot": ("T3ST01", "T3ST02"), "interpro": None}
    covered = both.covered(
        Samples(["T3ST01", "P1"], ["M" * 120, "M" * 90]), ["uniprot:SIGNAL", "pfam:PF00069"]
    )
    assert covered.tolist() == [[True, True], [False, True]]


def test_samples_of_other_names_are_matched_or_said(caplog: pytest.LogCaptureFixture) -> None:
    annotations = read_annotations(FILES / "entries.dat")
    for name in ("T3ST01", "sp|T3ST01|TESTA_SYNTH", "t3st01", "T3ST01.2"):
        samples = Samples([name], ["M" * 120])
        assert annotations.positives(samples, ["uniprot:SIGNAL"]).nnz == 21
        assert annotations.covered(samples, ["uniprot:SIGNAL"]).all()
    other = Samples(["T3ST10"], ["M" * 120])
    assert annotations.positives(other).nnz == 0
    assert "rename_samples" in caplog.text
    assert "the nearest is 'T3ST10'" in caplog.text
    renamed = annotations.rename_samples({"T3ST01": "T3ST10"})
    assert renamed.positives(other, ["uniprot:SIGNAL"]).nnz == 21
    assert "T3ST10" in renamed.coverage["uniprot"]


def test_an_ontology_is_for_genes_alone() -> None:
    with pytest.raises(InputError, match="GAF or GPAD"):
        read_annotations(FILES / "entries.dat", ontology=FILES / "terms.obo")


def test_a_table_without_places_is_of_whole_samples(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("Sample,Concept\nP1,enzyme\nP2,\nP3,NA\n")
    found = read_annotations(path)
    assert found.frame[["sample", "start", "end", "concept"]].values.tolist() == [["P1", -1, -1, "enzyme"]]
    assert found.counts["n_in"] == 3
    for header in ("sample,concept,position", "sample,concept,start", "sample,concept,strand"):
        path.write_text(f"{header}\nP1,enzyme,4\n")
        with pytest.raises(FormatError, match="not the header"):
            read_annotations(path)


def test_a_table_of_other_columns_says_which_it_needs(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("Protein;From;To;Type\nP1;4;9;site\nP2;4;9;site\n")
    with pytest.raises(FormatError, match=r"columns sample, start, end and concept"):
        read_annotations(path)
