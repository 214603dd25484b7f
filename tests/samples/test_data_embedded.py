"""The embedded antibodies: what SOURCES.md says of them is true, and every annotation fits its sequence."""

import hashlib
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sciinterp as si
from sciinterp.annotations.airr import MOTIFS
from sciinterp.readers.airr import expand_imgt, region_of

DATA = Path(__file__).parents[2] / "data"
ORDER = ["FR1", "CDR1", "FR2", "CDR2", "FR3", "CDR3", "FR4"]
TWENTY = {
    "imgt:FR1",
    "imgt:CDR1",
    "imgt:FR2",
    "imgt:CDR2",
    "imgt:FR3",
    "imgt:CDR3",
    "imgt:FR4",
    "imgt:CDR",
    "segment:D",
    "segment:N",
    "segment:J",
    "shm",
    "motif:N-glycosylation",
    "motif:WGxG",
    "residue:Cys23",
    "residue:Trp41",
    "residue:Cys104",
    "FR3:IGHV1",
    "FR3:IGHV3",
    "FR3:IGHV4",
}


@pytest.fixture(scope="module")
def samples():
    return si.read_samples(DATA / "antibodies.fasta", table=DATA / "antibodies.tsv")


@pytest.fixture(scope="module")
def annotations():
    return si.read_annotations(DATA / "antibodies.annotations.tsv")


@pytest.fixture(scope="module")
def spans(samples, annotations) -> pd.DataFrame:
    frame = annotations.frame[annotations.frame["start"] >= 0].copy()
    frame["text"] = [
        samples[s].sequence[a:b] for s, a, b in zip(frame["sample"], frame["start"], frame["end"])
    ]
    return frame


def test_files_are_those_of_the_sources() -> None:
    text = (DATA / "SOURCES.md").read_text()
    stated = dict(re.findall(r"\| (antibodies[.a-z]+) \| [0-9,]+ \| `([0-9a-f]{64})` \|", text))
    assert len(stated) == 4
    for name, sha in stated.items():
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == sha, name


def test_counts(samples) -> None:
    text = (DATA / "SOURCES.md").read_text()
    counts = {k: int(v.replace(",", "")) for k, v in re.findall(r"^\| (.+?) \| ([0-9,]+) \|$", text, re.M)}
    assert len(samples) == counts["kept: chains"] == 1355
    assert counts["in: reads"] == 1355 + sum(v for k, v in counts.items() if k.startswith("dropped: "))
    table = samples.table
    assert table.groupby(["v_gene", "j_gene", "junction_length"]).ngroups == 243
    assert int(table["length_uncut"].sum()) == counts["residues before the cut"] == 172_772
    assert samples.n_positions == counts["residues after the cut"]
    assert table["reads"].sum() == 1355 + counts["dropped: the same protein as an earlier read"]


def test_the_letters_are_amino_acids(samples) -> None:
    assert set("".join(samples.sequences)) <= set("ACDEFGHIKLMNPQRSTVWY")
    assert len(set(samples.sequences)) == len(samples)


def test_both_ends_are_cut(samples) -> None:
    table = samples.table
    assert (table["length"].to_numpy() == samples.lengths).all()
    assert (table["length_uncut"] - table["cut_n"] - table["cut_c"] == table["length"]).all()
    for column in ("cut_n", "cut_c"):
        assert set(table[column]) == set(range(26))
    assert abs(np.corrcoef(table["cut_n"], table["cut_c"])[0, 1]) < 0.1


def test_the_twenty_concepts_are_there(annotations) -> None:
    assert not TWENTY - set(annotations.names)
    assert (annotations.concepts.loc[["imgt:CDR1", "imgt:CDR2", "imgt:CDR3"], "parent"] == "imgt:CDR").all()


def test_intervals_lie_inside_the_sequences(samples, annotations) -> None:
    annotations.positives(samples)
    assert set(annotations.frame["sample"]) == set(samples.ids)


@pytest.mark.parametrize(
    ("concept", "letter"), [("residue:Cys23", "C"), ("residue:Trp41", "W"), ("residue:Cys104", "C")]
)
def test_conserved_residues(spans, concept: str, letter: str) -> None:
    rows = spans[spans["concept"] == concept]
    assert len(rows) > 1000
    assert set(rows["text"]) == {letter}


@pytest.mark.parametrize("concept", MOTIFS)
def test_motifs_are_all_those_of_the_sequence(samples, spans, concept: str) -> None:
    rows = spans[spans["concept"] == concept]
    stated = set(zip(rows["sample"], rows["start"], rows["end"]))
    found = {
        (s.id, m.start(1), m.end(1))
        for s in samples
        for m in re.finditer(f"(?=({MOTIFS[concept]}))", s.sequence)
    }
    assert stated == found


def test_mutations_name_the_letter_they_lie_on(spans) -> None:
    rows = spans[spans["concept"] == "shm"]
    theirs, ours = rows["note"].str[0], rows["note"].str[2]
    assert (ours == rows["text"]).all()
    assert (theirs != ours).all()


def test_regions_are_in_order_and_tile_the_sequence(samples, spans) -> None:
    regions = spans[spans["concept"].str.match(r"imgt:(FR|CDR)[1-4]$")].sort_values(["sample", "start"])
    for name, group in regions.groupby("sample"):
        ranks = [ORDER.index(c.removeprefix("imgt:")) for c in group["concept"]]
        assert ranks == sorted(set(ranks)), name
        edges = list(zip(group["start"], group["end"]))
        assert edges[0][0] == 0
        assert edges[-1][1] == samples[name].length
        assert all(a[1] == b[0] for a, b in pairwise(edges)), name


def test_any_cdr_is_the_union_of_its_children(samples, annotations) -> None:
    matrix = annotations.positives(samples, ["imgt:CDR", "imgt:CDR1", "imgt:CDR2", "imgt:CDR3"]).toarray()
    assert (matrix[:, 0] == matrix[:, 1:].any(axis=1)).all()


def test_segments_do_not_overlap_and_cover_all(samples, annotations) -> None:
    matrix = annotations.positives(samples, [f"segment:{s}" for s in "VNDJ"]).toarray()
    assert (matrix.sum(axis=1) == 1).all()


def test_fr3_of_a_subgroup_is_fr3_of_its_chains(samples, spans) -> None:
    subgroup = samples.table["v_subgroup"]
    for name in ("IGHV1", "IGHV3", "IGHV4"):
        mine = spans[spans["concept"] == f"FR3:{name}"]
        fr3 = spans[(spans["concept"] == "imgt:FR3") & (spans["sample"].map(subgroup) == name)]
        assert set(zip(mine["sample"], mine["start"], mine["end"])) == set(
            zip(fr3["sample"], fr3["start"], fr3["end"])
        )


def test_imgt_positions_of_the_table_are_the_regions(samples, spans) -> None:
    stated = {
        (s, a, b): c
        for s, a, b, c in zip(spans["sample"], spans["start"], spans["end"], spans["concept"])
        if c.startswith("imgt:") and c != "imgt:CDR"
    }
    positions = {i: expand_imgt(text) for i, text in samples.table["imgt"].items()}
    assert all(len(positions[s.id]) == s.length for s in samples)
    for (sample, start, end), concept in stated.items():
        assert {region_of(p) for p in positions[sample][start:end]} == {concept.removeprefix("imgt:")}


def test_numbering_agrees_with_an_independent_program(samples) -> None:
    immunum = pytest.importorskip("immunum", reason="the extra 'demo' is not installed")
    number = immunum.Annotator(chains=["H"], scheme="imgt", min_confidence=0.7).number
    same = total = 0
    for sample, text in zip(samples, samples.table["imgt"]):
        result = number(sample.sequence)
        if result.error or result.query_start != 0 or result.query_end != sample.length - 1:
            continue
        ours = [p.split(".")[0] for p in expand_imgt(text)]
        theirs = [re.sub("[A-Z]", "", p) for p in result.numbering]
        same += sum(region_of(a) == region_of(b) for a, b in zip(ours, theirs))
        total += len(ours)
    assert total > 50_000
    assert same / total > 0.985


def test_families_split_sanely_for_every_seed(samples) -> None:
    subgroup = samples.table["v_subgroup"].to_numpy()
    for seed in range(20):
        split = si.split_families(samples, by="family", seed=seed)
        held_out = [split.family_names[f].split("-")[0] for f in split.families("test")]
        assert min(held_out.count(name) for name in ("IGHV1", "IGHV3", "IGHV4")) >= 2
        assert {"IGHV1", "IGHV3", "IGHV4"} <= set(subgroup[split.train])
        assert len(split.families("test")) >= 8
        np.testing.assert_allclose(split.summary()["fraction"], [0.75, 0.05, 0.2], atol=0.06)
