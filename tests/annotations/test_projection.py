"""Coordinates: circles, windows of chromosomes on both strands and back, genes on the cells that express them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sciinterp as si
from sciinterp.annotations import Annotations, read_annotations
from sciinterp.annotations.genbank import parse_embl, parse_genbank
from sciinterp.annotations.gene_sets import parse_gmt
from sciinterp.annotations.gff import parse_gff3
from sciinterp.annotations.projection import placed
from sciinterp.errors import InputError
from sciinterp.readers.identifiers import match_chromosomes
from sciinterp.samples import Samples, Split
from sciinterp.splits.places import places

GENBANK = """LOCUS       CIRC  20 bp  DNA circular SYN 18-JUN-2025
ACCESSION   CIRC
VERSION     CIRC
FEATURES             Location/Qualifiers
     source          1..20
                     /mol_type="genomic DNA"
     CDS             join(15..20,1..4)
     gene            {gene}
ORIGIN
        1 acgtacgtac gtacgtacgt
//
"""
EMBL = """ID   CIRC; SV 1; circular; genomic DNA; STD; SYN; 20 BP.
XX
AC   CIRC;
FH   Key             Location/Qualifiers
FT   CDS             join(15..20,1..4)
FT   gene            complement(join(18..20,1..2))
SQ   Sequence 20 BP; 5 A; 5 C; 5 G; 5 T; 0 other;
     acgtacgtac gtacgtacgt                                                    20
//
"""
GFF = """##gff-version 3
CIRC\tx\tregion\t1\t20\t.\t+\t.\tID=r;Is_circular=true
CIRC\tx\tCDS\t15\t24\t.\t+\t.\tID=c
CIRC\tx\tgene\t18\t22\t.\t-\t.\tID=g
"""


def positions(annotations: Annotations, concept: str) -> list[tuple[int, str]]:
    frame = annotations.frame[annotations.frame["concept"].str.endswith(f":{concept}")]
    spans = zip(frame["start"], frame["end"], frame["strand"])
    return sorted((p, strand) for start, end, strand in spans for p in range(start, end))


def test_formats_agree_across_the_origin_of_a_circle(tmp_path: Path) -> None:
    texts = {
        "a.gb": (parse_genbank, GENBANK.format(gene="complement(join(18..20,1..2))")),
        "a.embl": (parse_embl, EMBL),
        "a.gff": (parse_gff3, GFF),
    }
    for name, (parse, text) in texts.items():
        (tmp_path / name).write_text(text)
        annotations = parse(tmp_path / name)
        assert positions(annotations, "CDS") == [(p, "+") for p in (0, 1, 2, 3, *range(14, 20))], name
        assert positions(annotations, "gene") == [(p, "-") for p in (0, 1, 17, 18, 19)], name
        assert not annotations.counts["dropped"]
        sample = Samples([annotations.frame["sample"][0]], ["A" * 20])
        assert annotations.positives(sample).sum(axis=0).max() <= 20


def test_a_line_beyond_the_end_of_what_is_no_circle_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.gff").write_text(
        GFF.replace(";Is_circular=true", "").replace("##gff", "##sequence-region CIRC 1 20\n##gff")
    )
    annotations = parse_gff3(tmp_path / "a.gff")
    assert annotations.counts["dropped"] == {"beyond the end of the sequence": 2}
    (tmp_path / "a.gff").write_text(GFF + "CIRC\tx\ttwice\t5\t45\t.\t+\t.\tID=t\n")
    assert parse_gff3(tmp_path / "a.gff").counts["dropped"] == {"beyond the end of the sequence": 1}


@pytest.mark.parametrize(
    ("name", "length", "place"),
    [
        ("chr16:100-119", 19, ("chr16", 100, 119, "+")),
        ("chr16:100-119", 20, ("chr16", 99, 119, "+")),
        ("chr16:100-119(-)", 19, ("chr16", 100, 119, "-")),
        ("chr16:100-119/rc", 20, ("chr16", 99, 119, "-")),
        ("chr16:1,000-1,010(+)", 10, ("chr16", 1000, 1010, "+")),
        ("chr1:0-599", 600, ("chr1", 0, 600, "+")),
        ("chr1:0-600", 600, ("chr1", 0, 600, "+")),
        ("chr1:1-600", 600, ("chr1", 0, 600, "+")),
        ("chr1:0-599(-)", 600, ("chr1", 0, 600, "-")),
    ],
)
def test_the_length_tells_how_a_name_counts(name: str, length: int, place: tuple) -> None:
    assert tuple(places(Samples([name], ["A" * length])).iloc[0]) == place


def test_a_base_0_is_of_names_that_count_from_0() -> None:
    """Neighbours are named by one rule: what follows a window that starts at 0 and ends at its last base does, too."""
    windows = Samples(["chr1:0-599", "chr1:600-1199", "chr2:600-1199"], ["A" * 600] * 3)
    assert places(windows)[["start", "end"]].to_numpy().tolist() == [[0, 600], [600, 1200], [600, 1200]]
    table = pd.DataFrame({"chrom": "c", "start": [0, 10], "end": [9, 19]})
    stated = places(Samples(["v", "w"], ["A" * 10] * 2, table=table))
    assert stated[["start", "end"]].to_numpy().tolist() == [[0, 10], [10, 20]]
    for length in (598, 601):
        with pytest.raises(InputError, match="length"):
            places(Samples(["chr1:0-599"], ["A" * length]))


def test_columns_state_the_place_and_another_length_is_refused() -> None:
    table = pd.DataFrame({"chrom": ["c"], "start": [11], "end": [20], "strand": ["-"]})
    assert tuple(places(Samples(["w"], ["A" * 10], table=table)).iloc[0]) == ("c", 10, 20, "-")
    with pytest.raises(InputError, match="not known"):
        places(Samples(["w"], ["A" * 10]))
    with pytest.raises(InputError, match="length"):
        places(Samples(["c:1-50"], ["A" * 10]))


intervals = st.lists(
    st.tuples(
        st.sampled_from("cd"),
        st.integers(0, 40),
        st.integers(1, 15),
        st.sampled_from("+-."),
        st.sampled_from("xy"),
    ),
    min_size=1,
    max_size=12,
)
windows = st.lists(
    st.tuples(st.sampled_from("cde"), st.integers(0, 40), st.integers(1, 20), st.booleans()),
    min_size=1,
    max_size=6,
    unique_by=lambda w: (w[0], w[1], w[2]),
)


def table(rows: list[tuple]) -> Annotations:
    frame = pd.DataFrame(rows, columns=["sample", "start", "width", "strand", "concept"])
    return Annotations(frame.assign(end=frame["start"] + frame["width"]).drop(columns="width"))


def window_samples(found: list[tuple]) -> Samples:
    names = [f"{c}:{start}-{start + n}{'(-)' if back else '(+)'}" for c, start, n, back in found]
    return Samples(names, ["A" * n for _, _, n, _ in found])


@settings(max_examples=80, deadline=None)
@given(rows=intervals, found=windows)
def test_projection_is_base_by_base_what_the_window_shows(rows: list[tuple], found: list[tuple]) -> None:
    annotations, samples = table(rows), window_samples(found)
    shown = annotations.project(samples)
    dense = shown.positives(samples, ["x", "y"]).toarray()
    for i, (chromosome, start, n, back) in enumerate(found):
        for column, concept in enumerate("xy"):
            stated = {
                p
                for c, a, w, strand, name in rows
                if (c, name) == (chromosome, concept) and strand in (".", "-" if back else "+")
                for p in range(a, a + w)
            }
            truth = [p in stated for p in range(start, start + n)]
            ours = dense[samples.offsets[i] : samples.offsets[i + 1], column]
            assert ours.tolist() == (truth[::-1] if back else truth)
    counts = shown.counts
    assert counts["n_in"] == len(rows) == counts["n_kept"] + sum(counts["dropped"].values())


@settings(max_examples=80, deadline=None)
@given(rows=intervals, found=windows)
def test_there_and_back_gives_what_lies_inside_the_windows(rows: list[tuple], found: list[tuple]) -> None:
    annotations, samples = table(rows), window_samples(found)
    back = annotations.project(samples).unproject(samples)
    seen = {
        (c, p, s) for c, a, n, back in found for p in range(a, a + n) for s in (".", "-" if back else "+")
    }

    def bases(frame: pd.DataFrame) -> set[tuple]:
        columns = zip(*(frame[c] for c in ("sample", "start", "end", "strand", "concept")))
        return {(c, p, strand, concept) for c, a, b, strand, concept in columns for p in range(a, b)}

    assert bases(back.frame) == {row for row in bases(annotations.frame) if row[:3] in seen}
    again = back.project(samples)
    assert bases(again.frame) == bases(annotations.project(samples).frame)


def test_a_strand_is_a_strand_of_windows() -> None:
    """A word of one strand is found on the windows that read it, whole, and on no other."""
    word, turned = "GTAAGTCC", "GGACTTAC"
    genome = "".join(np.random.default_rng(3).choice(list("ACGT"), 2400).tolist())
    rows = []
    for at in range(20, 2380, 60):
        strand = "+" if at % 120 == 20 else "-"
        genome = genome[:at] + (word if strand == "+" else turned) + genome[at + 8 :]
        rows.append(("chr1", at, at + 8, strand, "site"))
    both = Annotations(pd.DataFrame(rows, columns=["sample", "start", "end", "strand", "concept"]))
    names = [f"chr1:{at}-{at + 300}({strand})" for at in range(0, 2400, 300) for strand in "+-"]
    read = [genome[at : at + 300] for at in range(0, 2400, 300)]
    complement = str.maketrans("ACGT", "TGCA")
    shown = [text if strand == "+" else text[::-1].translate(complement) for text in read for strand in "+-"]
    samples = Samples(names, shown, kind="dna")
    placed = both.project(samples)
    truth = np.zeros(samples.n_positions, bool)
    for at, text in zip(samples.offsets, shown):
        for start in [i for i in range(len(text)) if text.startswith(word, i)]:
            truth[at + start : at + start + 8] = True
    assert (placed.positives(samples, ["site"]).toarray()[:, 0] == truth).all()
    assert placed.counts == {"n_in": 40, "n_kept": 40, "dropped": {}}
    # a site of the other strand is a negative of the concept, not an unknown
    covered = placed.covered(samples, ["site"])
    assert covered.all() and truth.sum() == 40 * 8
    # without a strand it lies on both, as in a file of three columns
    wide = Annotations(both.frame.assign(strand=".")).project(samples)
    assert wide.positives(samples, ["site"]).sum() == 2 * 40 * 8


def test_what_lies_on_the_other_strand_alone_is_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    rows = pd.DataFrame(
        {
            "sample": "chr1",
            "start": [2, 12, 30],
            "end": [6, 16, 34],
            "strand": ["+", "-", "-"],
            "concept": "x",
        }
    )
    samples = Samples(["chr1:0-10", "chr1:10-20"], ["A" * 10] * 2)
    shown = Annotations(rows).project(samples)
    assert shown.frame[["sample", "start", "end"]].to_numpy().tolist() == [["chr1:0-10", 2, 6]]
    assert shown.counts["dropped"] == {"on windows of the other strand alone": 1, "outside every window": 1}
    assert "1 of 3 not placed, on windows of the other strand alone" in caplog.text
    with pytest.raises(InputError, match="1 of 2 are on windows of the other strand alone"):
        placed(Annotations(rows[1:]), samples)
    with caplog.at_level("INFO"):
        placed(Annotations(rows), samples)
    assert "1 of 3 kept, 1 on windows of the other strand alone, 1 outside" in caplog.text


def test_partial_overlaps_facts_and_coverage_are_said() -> None:
    rows = pd.DataFrame(
        {
            "sample": ["chr1", "chr1", "chr2", "chr1"],
            "start": [5, 90, 5, -1],
            "end": [15, 99, 9, -1],
            "concept": ["exon", "exon", "exon", "chromosome"],
            "source": "gff",
        }
    )
    samples = Samples(["chr1:10-20", "chr2:0-10", "chr3:0-10"], ["A" * 10] * 3)
    shown = Annotations(rows, coverage={"gff": ["chr1", "chr2"]}).project(samples)
    assert shown.frame[["sample", "start", "end"]].to_numpy().tolist() == [
        ["chr1:10-20", 0, 5],
        ["chr2:0-10", 5, 9],
    ]
    assert shown.counts == {
        "n_in": 4,
        "n_kept": 2,
        "dropped": {"a fact about the whole sequence, not about a window": 1, "outside every window": 1},
        "partial": 1,
    }
    assert shown.coverage == {"gff": ("chr1:10-20", "chr2:0-10")}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("chr16", "16"), ("16", "chr16"), ("Chr1", "1"), ("MT", "chrM"), ("chrM", "MT"), ("CHRX", "X")],
)
def test_chromosomes_are_one_with_and_without_chr(theirs: str, ours: str) -> None:
    row = pd.DataFrame({"sample": [theirs], "start": [5], "end": [15], "concept": ["exon"], "source": "bed"})
    shown = Annotations(row, coverage={"bed": [theirs]}).project(Samples([f"{ours}:10-20"], ["A" * 10]))
    assert shown.frame[["sample", "start", "end"]].to_numpy().tolist() == [[f"{ours}:10-20", 0, 5]]
    assert shown.coverage == {"bed": (f"{ours}:10-20",)}


def test_two_chromosomes_that_differ_by_chr_alone_stay_two() -> None:
    assert match_chromosomes(["chr1", "1"], ["1", "chr1"]) == {"chr1": "chr1", "1": "1"}
    assert match_chromosomes(["chr1", "1"], ["1"]) == {"chr1": "1", "1": "1"}
    assert match_chromosomes(["chr2"], ["Chr2", "2", "CHR2"]) == {}


def test_gene_sets_lie_on_the_genes_that_cells_express(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "sets.gmt"
    path.write_text(
        "GLYCOLYSIS\thttp://x\tPGK1\tENO1\tPGK1\nEMPTY\tna\nOTHER\tsome words\tENO1,1.0\tABSENT\n"
    )
    sets = read_annotations(path)
    assert sets.counts == {"n_in": 3, "n_kept": 2, "dropped": {"a set without genes": 1}}
    assert sets.concepts["name"].to_dict() == {
        "geneset:GLYCOLYSIS": "GLYCOLYSIS",
        "geneset:OTHER": "some words",
        "geneset:EMPTY": "EMPTY",
    }
    cells = [
        {"genes": ["ENO1", "TP53", "PGK1"], "values": [1.0] * 3},
        {"genes": ["TP53", "PGK1"], "values": [1.0] * 2},
    ]
    samples = Samples(["c1", "c2"], cells, lengths=[3, 2], kind="cells")
    placed = sets.project(samples)
    names = ["geneset:GLYCOLYSIS", "geneset:OTHER"]
    np.testing.assert_array_equal(
        placed.positives(samples, names).toarray().T, [[1, 0, 1, 0, 1], [1, 0, 0, 0, 0]]
    )
    assert placed.counts["dropped"] == {"of a gene that no cell expresses": 1}
    named = [{"genes": ["ENSG00000141510", "ENSG00000136997"], "values": [1.0] * 2}]
    assert len(sets.project(Samples(["c1"], named, lengths=[2], kind="cells"))) == 0
    assert "genes are called 'ENSG00000141510'" in caplog.text
    proteins = Samples(["ENO1", "TP53"], ["MK", "MK"])
    assert parse_gmt(path).covered(proteins, names)[:, 0].tolist() == [True, False]


BED = pd.DataFrame(
    {"sample": ["chr16"] * 3, "start": [105, 130, 900], "end": [110, 150, 910], "concept": ["x"] * 3}
)
WINDOWS = Samples(["chr16:100-119", "chr16:120-139(-)"], ["A" * 20] * 2, kind="dna")


def test_annotations_on_no_sample_are_refused_with_what_to_do() -> None:
    codes = np.ones((40, 2), np.float32)
    features = si.FeatureMatrix(codes, WINDOWS)
    split = Split(*(np.array([i]) for i in (0, 1, 1)), family=np.array([0, 1]), family_names=("a", "b"))
    for verb in (si.associate, lambda f, a, split: si.discover(f, a, pd.DataFrame(), split=split)):
        with pytest.raises(
            InputError, match=r"no annotation lies on any sample.*project\(samples\) puts 2 of 3"
        ):
            verb(features, Annotations(BED), split=split)
    with pytest.raises(InputError, match="rename_samples"):
        si.associate(features, Annotations(BED.assign(sample="chrX")), split=split)


def test_the_command_line_projects_by_itself_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        shown = placed(Annotations(BED), WINDOWS)
    assert shown.frame[["sample", "start", "end"]].to_numpy().tolist() == [
        ["chr16:100-119", 6, 11],
        ["chr16:120-139(-)", 0, 9],
    ]
    assert "2 of 3 kept, 1 outside every window, 1 cut by a window" in caplog.text
    assert placed(shown, WINDOWS) is shown
    with pytest.raises(InputError, match="no annotation lies on any sample"):
        placed(Annotations(BED.assign(sample="chrX")), WINDOWS)
