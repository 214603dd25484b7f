"""AIRR tables and IMGT numbering: positions agree with the alignment, and every row is accounted for."""

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sciinterp as si
from sciinterp.annotations.airr import motifs, parse_airr
from sciinterp.annotations.imgt import number_imgt
from sciinterp.errors import FormatError, SciinterpError
from sciinterp.readers.airr import CODONS, cdr3_positions, chain_of, expand_imgt, pack_imgt, region_of

FIRST = {amino: codon for codon, amino in CODONS.items()}
VH = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKNTLYLQMNSLRAEDTAVYYC"
    "AKDRGYYFDYWGQGTLVTVSS"
)
# IMGT columns of the V part of this chain: position 10, 31-34, 60-61 and 73 are gaps.
COLUMNS = [p for p in range(1, 105) if p not in (10, 31, 32, 33, 34, 60, 61, 73)]
JUNCTION = "CAKDRGYYFDYW"


def row(sequence: str = VH, *, germline: str | None = None, **cells: str) -> dict[str, str]:
    """A row of an AIRR table for a chain with the columns above; 97 residues of V, N 2, D 2, N 1, then J."""
    aligned = ["..."] * 104
    for column, amino in zip(COLUMNS, sequence):
        aligned[column - 1] = FIRST[amino]
    tail = "".join(FIRST[a] for a in sequence[len(COLUMNS) :])
    text = "".join(aligned) + tail
    if germline is None:
        n_tail = len(tail)
        # after position 104: 3 bases of V, 6 N, 6 D, 3 N, J
        layout = tail[:3] + "N" * 6 + tail[9:15] + "N" * 3 + tail[18:]
        assert len(layout) == n_tail
        germline = "".join(aligned) + layout
    j = len(tail) - 18
    return {
        "sequence_id": "r1",
        "productive": "T",
        "v_call": "IGHV3-23*01,IGHV3-23*04",
        "d_call": "IGHD3-10*01",
        "j_call": "IGHJ4*02",
        "c_call": "IGHM",
        "sequence_alignment": text,
        "germline_alignment": germline,
        "junction_aa": JUNCTION,
        "np1_length": "6",
        "np2_length": "3",
        "d_germline_start": "4",
        "d_germline_end": "9",
        "j_germline_start": "1",
        "j_germline_end": str(j),
    } | cells


def write(path, rows, *, packed=False):
    names = list(rows[0])
    text = "\n".join(["\t".join(names), *("\t".join(r[n] for n in names) for r in rows)]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return path


def text_of(annotations, concept, sequence=VH) -> list[str]:
    rows = annotations.frame[annotations.frame["concept"] == concept]
    return [sequence[a:b] for a, b in zip(rows["start"], rows["end"])]


def test_a_chain_is_the_translation_of_its_alignment() -> None:
    chain = chain_of(row())
    assert chain.sequence == VH
    assert chain.imgt[:96] == tuple(map(str, COLUMNS))
    assert chain.imgt[96:106] == ("105", "106", "107", "108", "109", "113", "114", "115", "116", "117")
    assert chain.imgt[106] == "118"
    assert chain.segment == "V" * 97 + "NN" + "DD" + "N" + "J" * (len(VH) - 102)


def test_regions_segments_and_residues_are_on_their_letters(tmp_path) -> None:
    annotations = parse_airr(write(tmp_path / "x.tsv.gz", [row()], packed=True))
    assert text_of(annotations, "imgt:FR1") == ["EVQLVESGGGLVQPGGSLRLSCAAS"]
    assert text_of(annotations, "imgt:CDR1") == ["GFTFSSYA"]
    assert text_of(annotations, "imgt:CDR2") == ["ISGSGGST"]
    assert text_of(annotations, "imgt:CDR3") == ["AKDRGYYFDY"]
    assert text_of(annotations, "imgt:FR4") == ["WGQGTLVTVSS"]
    assert text_of(annotations, "imgt:CDR") == ["GFTFSSYA", "ISGSGGST", "AKDRGYYFDY"]
    assert text_of(annotations, "residue:Cys23") == text_of(annotations, "residue:Cys104") == ["C"]
    assert text_of(annotations, "residue:Trp41") == ["W"]
    assert text_of(annotations, "segment:D") == ["RG"]
    assert text_of(annotations, "segment:N") == ["KD", "Y"]
    assert not text_of(annotations, "shm")
    whole = annotations.frame[annotations.frame["start"] == -1]
    assert set(whole["concept"]) == {"gene:IGHV3-23", "gene:IGHD3-10", "gene:IGHJ4", "isotype:IGHM"}


def test_mutations_are_counted_where_the_germline_is_known(tmp_path) -> None:
    mutant = VH[:30] + "W" + VH[31:97] + "W" + VH[98:]
    annotations = parse_airr(
        write(
            tmp_path / "x.tsv",
            [row(mutant, germline=row()["germline_alignment"], junction_aa=mutant[95:107])],
        )
    )
    rows = annotations.frame[annotations.frame["concept"] == "shm"]
    assert rows["start"].tolist() == [30]
    assert rows["note"].str.startswith(f"{VH[30]}>W; imgt={COLUMNS[30]}; segment=V").all()


def test_positions_are_those_of_the_samples_of_the_same_file(tmp_path) -> None:
    path = write(tmp_path / "x.tsv", [row(), row(sequence_id="r2", productive="F")])
    samples, annotations = si.read_samples(path), parse_airr(path)
    assert samples.ids == ("r1",)
    assert samples.dropped == annotations.counts["dropped"] == {"not productive": 1}
    assert annotations.positives(samples).shape[0] == len(VH)
    assert annotations.coverage["airr"] == annotations.coverage["airr:c_call"] == ("r1",)
    assert si.read_annotations(path).frame.equals(annotations.frame)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"productive": "F"}, "not productive"),
        ({"sequence_alignment": ""}, "no alignment"),
        ({"junction_aa": "CWWWWWWWWWWW"}, "junction not in frame"),
        ({"germline_alignment": "ACGT"}, "alignments of different length"),
        ({"sequence_alignment": "TAA" + row()["sequence_alignment"][3:]}, "stop codon"),
    ],
)
def test_rows_are_dropped_under_a_reason(tmp_path, cells, reason) -> None:
    counts = parse_airr(write(tmp_path / "x.tsv", [row(), row(**{"sequence_id": "r2"} | cells)])).counts
    assert counts == {"n_in": 2, "n_kept": 1, "dropped": {reason: 1}}


def test_a_broken_codon_is_left_out_and_counted() -> None:
    text = row()["sequence_alignment"]
    chain = chain_of(row(sequence_alignment=text[:15] + "-" + text[16:]))
    assert chain.broken == 1
    assert chain.sequence == VH[:5] + VH[6:]
    assert chain.imgt[4:6] == ("5", "7")


def test_an_alignment_without_imgt_gaps_has_no_regions() -> None:
    plain = row()
    chain = chain_of({k: v.replace(".", "") if "alignment" in k else v for k, v in plain.items()})
    assert chain.sequence == VH
    assert set(chain.imgt) == {""}


def test_files_that_are_no_airr_tables_are_refused(tmp_path) -> None:
    for raw in (b"", b"id\tseq\na\tMK\n", b"sequence_id\tsequence_alignment\nx\n", b"\xff\xfe\x00"):
        path = tmp_path / "x.tsv"
        path.write_bytes(raw)
        with pytest.raises(FormatError):
            parse_airr(path)


@given(st.integers(0, 60))
@settings(max_examples=61, deadline=None)
def test_cdr3_positions_are_distinct_ordered_and_inside(n) -> None:
    positions = cdr3_positions(n)
    assert len(positions) == len(set(positions)) == n
    assert {region_of(p) for p in positions} <= {"CDR3"}
    whole = [int(p.split(".")[0]) for p in positions]
    assert whole == sorted(whole)
    assert expand_imgt(pack_imgt(positions)) == positions


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
@settings(max_examples=150, deadline=None)
def test_any_bytes_give_rows_or_one_error(tmp_path_factory, raw) -> None:
    path = tmp_path_factory.mktemp("airr") / "x.tsv"
    path.write_bytes(raw)
    with pytest.raises(SciinterpError):
        parse_airr(path)


@given(
    st.dictionaries(st.sampled_from(sorted(row())), st.text("ACGTN.-*TFX019,\x00é ", max_size=30), max_size=6)
)
@settings(max_examples=150, deadline=None)
def test_any_cells_are_kept_or_dropped(tmp_path_factory, cells) -> None:
    path = write(tmp_path_factory.mktemp("airr") / "x.tsv", [row() | cells])
    try:
        counts = parse_airr(path).counts
    except SciinterpError:
        return
    assert counts["n_in"] == counts["n_kept"] + sum(counts["dropped"].values())


def test_motifs_overlap() -> None:
    assert [(a, b) for a, b, c, _ in motifs("NNSS") if c == "motif:N-glycosylation"] == [(0, 3), (1, 4)]
    assert not [c for _, _, c, _ in motifs("NPS") if c == "motif:N-glycosylation"]


def test_numbering_by_immunum_agrees_with_the_alignment(tmp_path) -> None:
    pytest.importorskip("immunum", reason="the extra 'demo' is not installed")
    path = write(tmp_path / "x.tsv", [row()])
    samples = si.Samples(["r1", "no"], [VH, "MKVLAAGCDEFG" * 8])
    numbered = number_imgt(samples)
    assert numbered.counts["n_in"] == 2
    assert sum(numbered.counts["dropped"].values()) == 1
    assert numbered.coverage == {"immunum": ("r1",)}
    ours = parse_airr(path)
    concepts = [c for c in numbered.names if c.startswith(("imgt:", "residue:"))]
    assert len(concepts) == 11
    same = numbered.positives(samples, concepts)[: len(VH)] != ours.positives(samples, concepts)[: len(VH)]
    assert same.nnz == 0


@pytest.mark.parametrize("text", ["999999999999", "9" * 40, "²", "-3", "2.0"])
def test_a_damaged_number_costs_the_segments_alone(text) -> None:
    chain = chain_of(row(np1_length=text))
    assert chain.sequence == VH
    assert set(chain.segment) == {"-"}
