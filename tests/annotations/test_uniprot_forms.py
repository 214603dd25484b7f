"""UniProt entries: every feature kept or counted, positions as Biopython reads them, forms agree."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from Bio import SwissProt

from sciinterp.annotations import Annotations, read_annotations
from sciinterp.annotations.uniprot import Entry, kind_of, locate
from sciinterp.annotations.uniprot_text import parse_uniprot_dat
from sciinterp.errors import FormatError
from sciinterp.samples import Samples

FILES = Path(__file__).parent / "files"
FORMS = ("dat", "xml", "json", "tsv", "gff")
COLUMNS = ["sample", "start", "end", "strand", "concept", "source", "evidence", "note", "release"]


def read(form: str) -> Annotations:
    return read_annotations(FILES / f"entries.{form}")


def rows(frame: pd.DataFrame, columns: list[str] = COLUMNS) -> list[tuple]:
    return sorted(map(tuple, frame[columns].to_numpy().tolist()))


def account(annotations: Annotations) -> None:
    counts = annotations.counts
    assert counts["n_in"] == counts["n_kept"] + sum(counts["dropped"].values())


@pytest.mark.parametrize("form", FORMS)
def test_every_entry_and_fact_is_kept_or_counted(form: str) -> None:
    annotations = read(form)
    account(annotations)
    text = (FILES / f"entries.{form}").read_text()
    stated = {
        "dat": len(re.findall(r"^FT   [A-Z]|Name=\w+\(2\+\);|^DR   GO;|EC=", text, re.M)) + len(["Signal", "Zinc"]),
        "xml": len(re.findall(r"<feature |<cofactor |<keyword |<ecNumber|type=\"GO\"", text)),
        "json": len(re.findall(r'"location": {|"cofactorCrossReference"|"KW-|"GO:', text)) + len(["2.7.11.1", "2.7.-"]),
        "tsv": len(re.findall(r"[A-Z_]{4,} [<>?\dT]|Xref=| \[GO:", text)) + len(["Signal", "Zinc", "2.7.11.1", "2.7.-"]),
        "gff": text.count("\tUniProtKB\t"),
    }[form]  # fmt: skip
    assert annotations.counts["n_in"] == stated
    assert annotations.coverage == {"uniprot": ("T3ST01", "T3ST02")}


@pytest.mark.parametrize("form", ["xml", "json", "tsv"])
def test_forms_of_one_protein_give_the_same_rows(form: str) -> None:
    """All but the evidence of facts, which the table lacks and XML writes in codes of its own."""
    ours, flat = read(form), read("dat")
    placed = [
        a.frame[(a.frame["start"] >= 0) | a.frame["concept"].str.startswith("uniprot:COF")]
        for a in (ours, flat)
    ]
    assert rows(placed[0]) == rows(placed[1])
    stated = [c for c in COLUMNS if c != "evidence"]
    assert rows(ours.frame, stated) == rows(flat.frame, stated)
    pd.testing.assert_frame_equal(ours.concepts, flat.concepts)


@pytest.mark.parametrize("form", ["dat", "xml", "json", "tsv"])
def test_keywords_terms_and_enzyme_classes_are_facts_about_the_protein(form: str) -> None:
    annotations = read(form)
    frame = annotations.frame[~annotations.frame["concept"].str.contains("COFACTOR")]
    facts = frame[frame["start"] == -1]
    assert set(facts["sample"]) == {"T3ST01"}
    assert sorted(set(facts["concept"])) == [
        *(f"uniprot:EC:{number}" for number in ("2", "2.7", "2.7.11", "2.7.11.1")),
        "uniprot:GO:0005524",
        "uniprot:KEYWORD:Signal",
        "uniprot:KEYWORD:Zinc",
    ]
    concepts = annotations.concepts
    assert concepts.loc["uniprot:EC:2.7.11", ["parent", "level"]].tolist() == ["uniprot:EC:2.7", 2]
    assert concepts.loc["uniprot:GO:0005524", "name"] == "ATP binding"
    assert form == "tsv" or annotations.counts["dropped"]["evidence ND: no data"] == 1


def test_gff_gives_the_rows_it_can_state() -> None:
    """UniProt's GFF has no ligands, no cofactors, no uncertain ends and no isoforms; the rest agrees."""
    where = ["sample", "start", "end", "concept", "evidence"]
    flat, gff = read("dat").frame, read("gff").frame
    stated = flat[(flat["start"] >= 0) & ~flat["concept"].str.startswith("uniprot:BINDING:")]
    extra = {("uniprot:PEPTIDE", 40), ("uniprot:MOD_RES", 11), ("uniprot:MOD_RES:Phosphothreonine", 11)}
    ours = [t for t in map(tuple, gff[where].to_numpy().tolist()) if (t[3], t[1]) not in extra]
    assert sorted(ours) == sorted(map(tuple, stated[where].to_numpy().tolist()))


def test_reasons_name_what_was_dropped() -> None:
    assert read("dat").counts["dropped"] == {
        "unknown position: ?": 1,
        "uncertain position: ?N": 1,
        "between two positions: N^M": 1,
        "on another isoform or sequence": 1,
        "evidence ND: no data": 1,
    }


def test_positions_agree_with_biopython(tmp_path: Path) -> None:
    # Biopython stops at N^M, which is checked to be dropped above
    text = re.sub(r"FT   SITE +31\^32\nFT +/note=\"Cleavage\"\n", "", (FILES / "entries.dat").read_text())
    path = tmp_path / "entries.dat"
    path.write_text(text)
    assert_same_as_biopython(path)


def assert_same_as_biopython(path: Path) -> int:
    """Every feature Biopython places with certainty is ours, to the residue, and the reverse."""
    theirs = []
    with path.open() as handle:
        for record in SwissProt.parse(handle):
            for feature in record.features:
                start, end = feature.location.start, feature.location.end
                names = {type(start).__name__, type(end).__name__}
                if feature.location.ref in (None, f"{record.accessions[0]}-1") and not names & {
                    "UnknownPosition",
                    "UncertainPosition",
                }:
                    theirs.append((record.accessions[0], int(start), int(end), f"uniprot:{feature.type}"))
    annotations = parse_uniprot_dat(path)
    account(annotations)
    frame = annotations.frame
    placed = frame[(frame["start"] >= 0) & (frame["concept"].str.count(":") == 1)]
    ours = list(map(tuple, placed[["sample", "start", "end", "concept"]].to_numpy().tolist()))
    assert sorted(ours) == sorted(theirs)
    return len(ours)


def test_defect_01_ligands_are_not_zero() -> None:
    samples = Samples(["T3ST01"], ["M" * 120])
    for form in ("dat", "xml", "json", "tsv"):
        annotations = read(form)
        names = ["uniprot:BINDING", "uniprot:BINDING:ATP", "uniprot:BINDING:Zn(2+)", "uniprot:SIGNAL"]
        found = annotations.positives(samples, names).sum(axis=0)
        assert found.tolist() == [9 + 1 + 1, 9, 1, 21]
        note = annotations.frame.loc[annotations.frame["concept"] == "uniprot:BINDING:Zn(2+)", "note"].item()
        assert "ligand_id=ChEBI:CHEBI:29105" in note
        assert "ligand_note=catalytic" in note
        cofactors = annotations.frame[annotations.frame["concept"].str.startswith("uniprot:COFACTOR:")]
        assert sorted(cofactors["concept"]) == ["uniprot:COFACTOR:Mg(2+)", "uniprot:COFACTOR:Zn(2+)"]
        assert (cofactors[["start", "end"]] == -1).all(axis=None)
        assert annotations.concepts.loc["uniprot:BINDING:ATP", "parent"] == "uniprot:BINDING"


def test_defect_04_repeats_are_instances_of_one_concept() -> None:
    frame = read("dat").frame
    domains = frame[frame["concept"] == "uniprot:DOMAIN:SH3"]
    assert domains[["start", "end"]].to_numpy().tolist() == [[24, 60], [60, 90]]
    overlapping = pd.DataFrame({"sample": "a", "start": [0, 2, 2], "end": [5, 9, 4], "concept": "x"})
    instances = Annotations(overlapping).instances(Samples(["a"], ["M" * 9]))
    assert len(instances) == 3


def test_a_disulfide_bond_is_two_residues() -> None:
    frame = read("dat").frame
    bonded = frame[frame["concept"] == "uniprot:DISULFID:bonded residue"]
    assert bonded[["start", "end"]].to_numpy().tolist() == [[79, 80], [109, 110], [111, 112]]


def test_evidence_and_partial_ends_survive() -> None:
    frame = read("dat").frame.set_index("concept")
    assert frame.loc["uniprot:ACT_SITE", "evidence"] == (
        "ECO:0000255|PROSITE-ProRule:PRU00159, ECO:0000255|PROSITE-ProRule:PRU10027"
    )
    assert frame.loc["uniprot:TRANSIT", "note"].endswith("partial=start")
    assert frame.loc["uniprot:CHAIN", "note"].endswith("partial=end")
    assert frame.loc["uniprot:MOD_RES:Phosphoserine", "note"] == 'Phosphoserine; by "test" kinase'


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("5..40", (4, 40, "")),
        ("<5..40", (4, 40, "start")),
        ("5..>40", (4, 40, "end")),
        ("<1..>9", (0, 9, "both")),
        ("7", (6, 7, "")),
    ],
)
def test_locations(location: str, expected: tuple[int, int, str]) -> None:
    assert locate(location) == expected


@pytest.mark.parametrize(
    "location", ["?", "?..5", "5..?", "?5", "5^6", "<5", ">5", ">5..9", "3..<9", "0", "9..5", "", "a"]
)
def test_uncertain_locations_are_never_guessed(location: str) -> None:
    start, end, reason = locate(location)
    assert (start, end) == (-1, -1)
    assert reason


def test_kinds() -> None:
    assert kind_of(Entry("ZN_FING", "1..9", "C2H2-type 12; degenerate")) == "C2H2-type"
    assert kind_of(Entry("REPEAT", "1..9", "3")) == ""
    assert kind_of(Entry("VARIANT", "1", "A -> G")) == ""


def test_old_fixed_column_features(tmp_path: Path) -> None:
    path = tmp_path / "old.dat"
    path.write_text(
        "ID   OLD_SYNTH      STANDARD;      PRT;    40 AA.\nAC   T3ST03;\n"
        "DT   01-OCT-2000 (Rel. 40, Last annotation update)\n"
        "CC   -!- COFACTOR: Binds 1 zinc ion (By similarity).\n"
        "FT   SIGNAL       <1     12       Potential.\n"
        "FT   METAL        15     15       Zinc 1 (By similarity).\n"
        "FT   CARBOHYD     20     20       N-linked (GlcNAc...) (Potential).\n"
        "FT                                /FTId=CAR_999901.\n"
        "FT   CHAIN         ?     40       A chain whose name goes on over-\n"
        "FT                                line.\n"
        "FT   DOMAIN       30     41       Beyond.\n"
        "SQ   SEQUENCE   40 AA;  4000 MW;  0123456789ABCDEF CRC64;\n     MKV\n//\n"
    )
    annotations = parse_uniprot_dat(path)
    account(annotations)
    assert annotations.counts["dropped"] == {"unknown position: ?": 1, "beyond the end of the sequence": 1}
    frame = annotations.frame.set_index("concept")
    assert frame.loc["uniprot:METAL:Zinc", "evidence"] == "By similarity"
    assert frame.loc["uniprot:CARBOHYD:N-linked (GlcNAc...)", "note"] == "N-linked (GlcNAc...); id=CAR_999901"
    assert frame.loc["uniprot:COFACTOR", "note"].startswith("Binds 1 zinc ion")
    assert (frame["release"] == "Rel. 40").all() or frame["release"].iloc[0] == "entry version 40"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("//\nID   TESTB", "ID   TESTB"), 107),
        (("45\n", "4x5\n"), 58),
        (('"ATP"', '"ATP'), 62),
        (("AC   T3ST01; T3ST0X;\n", ""), 0),
    ],
)
def test_damage_is_named_by_line(tmp_path: Path, change: tuple[str, str], line: int) -> None:
    path = tmp_path / "damaged.dat"
    path.write_text((FILES / "entries.dat").read_text().replace(*change, 1))
    with pytest.raises(FormatError) as caught:
        parse_uniprot_dat(path)
    assert caught.value.file == str(path)
    assert caught.value.line > 0
    if line:
        assert abs(caught.value.line - line) <= 6


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.dat"
    path.write_text((FILES / "entries.dat").read_text()[:-200])
    with pytest.raises(FormatError, match="inside a protein"):
        parse_uniprot_dat(path)


def test_xml_entities_are_refused(tmp_path: Path) -> None:
    bomb = (
        '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaa"><!ENTITY b "&a;&a;&a;">]><uniprot>&b;</uniprot>'
    )
    path = tmp_path / "bomb.xml"
    path.write_text(bomb)
    with pytest.raises(FormatError, match="document type"):
        read_annotations(path)
    path.write_text('<!DOCTYPE x SYSTEM "file:///etc/hostname"><uniprot/>')
    with pytest.raises(FormatError, match="document type"):
        read_annotations(path)
