"""Identifiers and labels: text stays text, missing stays missing, one name is one sample, and families have a default."""

import logging

import numpy as np
import pandas as pd
import pytest

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.readers.identifiers import match_ids, nearest, sample_id
from sciinterp.splits import families
from sciinterp.splits.places import places

FASTA = "".join(f">s{i}\nMKVLAAGC\n" for i in range(4))


def put(path, text):
    path.write_text(text)
    return path


def joined(tmp_path, cells, end="\n"):
    table = "".join(f"s{i}\t{cell}{end}" for i, cell in enumerate(cells))
    fasta = put(tmp_path / "x.fasta", FASTA)
    return (
        si.read_samples(fasta, table=put(tmp_path / "x.tsv", f"id\tfamily{end}{table}"))
        .table["family"]
        .tolist()
    )


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (["007", "7", "070", "70"], ["007", "7", "070", "70"]),
        (["1.10", "1.1", "2.30", "3.40"], ["1.10", "1.1", "2.30", "3.40"]),
        (["1", "1.0", "2", "3"], ["1", "1.0", "2", "3"]),
        (["1e3", "2", "3", "4"], ["1e3", "2", "3", "4"]),
        (["+1", "2", "3", "4"], ["+1", "2", "3", "4"]),
        (["\u22121.5", "0.5", "\u22122", "3"], [-1.5, 0.5, -2.0, 3.0]),
        (["\u2212", "0.5", "x", "3"], ["\u2212", "0.5", "x", "3"]),
        (["12345678901234567890", "1", "2", "3"], ["12345678901234567890", "1", "2", "3"]),
        (["1,000", "2", "3", "4"], ["1,000", "2", "3", "4"]),
        (["1", "2", "3", "4"], [1, 2, 3, 4]),
        (["0.5", "1.25", "2", "-3.5"], [0.5, 1.25, 2.0, -3.5]),
        (["a", "NA", "", "N/A"], ["a", None, None, None]),
        (['"a, b"', '"c"', " d ", "e"], ["a, b", "c", "d", "e"]),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_labels_keep_every_digit(tmp_path, cells, read, end) -> None:
    assert joined(tmp_path, cells, end) == read


def test_missing_numbers_are_missing(tmp_path) -> None:
    np.testing.assert_array_equal(joined(tmp_path, ["1", "", "NA", "4"]), [1, np.nan, np.nan, 4])


SIX = ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize("hole", [None, np.nan, "", " ", "NA", "nan"])
@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        lambda labels: np.array(labels, dtype=object),
        lambda labels: pd.Series(labels, dtype=object),
        lambda labels: pd.Categorical(labels),
        lambda labels: "column",
    ],
    ids=["list", "tuple", "array", "series", "categorical", "column"],
)
def test_families_that_are_missing_are_counted_in_every_form(form, hole) -> None:
    labels = [*SIX[:4], hole, hole]
    samples = si.Samples(SIX, ["MK"] * 6, table=pd.DataFrame({"column": labels}))
    with pytest.raises(InputError, match="2 of 6 labels are missing"):
        si.split_families(samples, by=form(labels))


def test_missing_numbers_are_no_family() -> None:
    with pytest.raises(InputError, match="1 of 6"):
        si.split_families(si.Samples(SIX, ["MK"] * 6), by=np.array([1, 2, 3, 4, 5, np.nan]))


def test_a_series_stands_with_its_identifiers() -> None:
    samples = si.Samples(SIX, ["MK"] * 6)
    labels = pd.Series({name: f"family of {name}" for name in reversed(SIX)})
    split = si.split_families(samples, by=labels)
    assert [split.family_names[f] for f in split.family] == [f"family of {name}" for name in SIX]


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("sp|P69905|HBA_HUMAN", "P69905"),
        ("tr|A0A024R1X5|A0A024_H", "A0A024R1X5"),
        ("sp|P69905.2|HBA_HUMAN", "P69905"),
        ("sp|P69905-2|HBA_HUMAN", "P69905-2"),
        ("gi|1|ref|NP_1.1|", "gi|1|ref|NP_1.1|"),
        ("P69905", "P69905"),
    ],
)
def test_the_identifier_of_a_title(name, short) -> None:
    assert sample_id(name) == short


@pytest.mark.parametrize(
    ("names", "ids", "found"),
    [
        (["sp|P1|A_B"], ["P1"], {"sp|P1|A_B": "P1"}),
        (["P1"], ["sp|P1|A_B"], {"P1": "sp|P1|A_B"}),
        (["NM_1.5"], ["NM_1"], {"NM_1.5": "NM_1"}),
        (["NM_1"], ["NM_1.5"], {"NM_1": "NM_1.5"}),
        (["NM_1.4", "NM_1.5"], ["NM_1.5"], {"NM_1.5": "NM_1.5"}),
        (["NM_1.4", "NM_1.6"], ["NM_1.5"], {}),
        (["NM_1"], ["NM_1.4", "NM_1.5"], {}),
        (["p1"], ["P1"], {"p1": "P1"}),
        (["p1"], ["P1", "p1"], {"p1": "p1"}),
        (["Ab"], ["AB", "ab"], {}),
        (["1.10"], ["1.1", "1"], {}),
        (["1.1"], ["1"], {}),
        (["16", "X", "MT"], ["chr16", "chrX", "chrM"], {"16": "chr16", "X": "chrX", "MT": "chrM"}),
        (["chr2L", "chrIV", "Chr1"], ["2L", "IV", "1"], {"chr2L": "2L", "chrIV": "IV", "Chr1": "1"}),
        (["NC_000016.10", "NC_000023.9"], ["16", "chrX"], {"NC_000016.10": "16", "NC_000023.9": "chrX"}),
        (["1", "chr1"], ["chr1"], {"1": "chr1", "chr1": "chr1"}),
        (["1"], ["chr1", "Chr1"], {}),
        (["NC_000999.1", "116"], ["chr16"], {}),
    ],
)
def test_names_mean_one_sample_or_none(names, ids, found) -> None:
    assert match_ids(names, ids) == found


def test_a_table_names_samples_in_its_own_way(tmp_path) -> None:
    fasta = put(tmp_path / "x.fasta", ">sp|P69905|HBA_HUMAN x\nMV\n>NM_1.5\nMK\n")
    table = put(tmp_path / "x.tsv", "id\tfamily\nsp|P69905|HBA_HUMAN\tf\nnm_1\tg\nother\th\n")
    samples = si.read_samples(fasta, table=table)
    assert samples.table["family"].tolist() == ["f", "g"]
    assert samples.changed == {
        "name shortened to its accession": 1,
        "rows of the sample table without a sample, left out": 1,
    }
    put(table, "id\tfamily\nP69950\tf\nNM_1\tg\n")
    with pytest.raises(InputError, match="the first 'P69905'; the nearest is 'P69950'"):
        si.read_samples(fasta, table=table)
    put(table, "id\tfamily\nP69905\tf\nsp|P69905|X\tf\nNM_1\tg\n")
    with pytest.raises(InputError, match="twice"):
        si.read_samples(fasta, table=table)


def test_the_nearest_name_is_bounded() -> None:
    assert nearest("x" * 100_000, (f"y{i}" * 1000 for i in range(5000))) == ""


def _cells(**columns):
    return si.Samples(
        "abcd", [{}] * 4, lengths=[1] * 4, kind="cells", table=pd.DataFrame(columns or {"t": list("xxyy")})
    )


def test_families_by_default_are_said_in_a_line(monkeypatch, caplog) -> None:
    sequences = ["MKVLAAGC" * 3, "WWYYHHFF" * 3, "DDEEKKRR" * 3, "STNQSTNQ" * 3]
    proteins = si.Samples("abcd", sequences)
    windows = si.Samples([f"chr1:{i * 100}-{i * 100 + 4}" for i in range(40)], ["ACGT"] * 40, kind="dna")
    with_column = si.Samples("abcd", sequences, table=pd.DataFrame({"family": list("wxyz")}))
    monkeypatch.setattr(families, "mmseqs_program", lambda: None)
    for samples, way in (
        (proteins, "composition"),
        (windows, "block:1000"),
        (_cells(donor=list("wxyz")), "donor"),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert si.split_families(samples).by == way
        assert [record.getMessage() for record in caplog.records if way in record.getMessage()]
    caplog.clear()
    assert si.split_families(with_column).by == "family"
    assert not caplog.records
    with pytest.raises(InputError, match="donors"):
        si.split_families(_cells())


def test_places_may_have_commas_and_must_be_whole() -> None:
    table = pd.DataFrame({"chrom": ["1", "1"], "start": ["1,000", "20"]})
    samples = si.Samples("ab", ["ACGT", "ACGT"], kind="dna", table=table)
    assert places(samples)["start"].tolist() == [1000, 20]
    for bad in ("x", None, "-1", "1.5"):
        wrong = samples.with_table(table.assign(start=["1", bad]))
        with pytest.raises(InputError, match="1 of 2"):
            places(wrong)


def test_a_mistyped_column_names_the_nearest() -> None:
    samples = si.Samples("abc", ["MK"] * 3, table=pd.DataFrame({"family": list("xyz")}))
    with pytest.raises(InputError, match="nearest is 'family'"):
        si.split_families(samples, by="famliy")


def test_columns_can_be_replaced() -> None:
    samples = si.Samples("ab", ["MK", "M"], n_in=3, dropped={"empty sequence": 1})
    other = samples.with_table(pd.DataFrame({"x": [1, 2]}))
    assert (other.digest, other.n_in, other.dropped) == (samples.digest, 3, samples.dropped)
    assert other.table["x"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "ids", "columns"),
    [
        ("SMILES\tID\nCCO\tm1\nCCN\tm2\n", ("m1", "m2"), []),
        ("smiles zinc_id\nCCO Z1\nCCN Z2\n", ("Z1", "Z2"), []),
        ("CCO ethyl alcohol\nCCN\n", ("ethyl alcohol", "row2"), []),
        ("SMILES\tName\tlogP\nCCO\tm1\t0.5\nCCN\tm2\t\n", ("m1", "m2"), ["logP"]),
        ("CCO\tm1\t0.5\nCCN\tm2\t1.5\n", ("m1", "m2"), ["column3"]),
    ],
)
def test_the_header_of_molecules_is_no_molecule(tmp_path, text, ids, columns) -> None:
    samples = si.read_samples(put(tmp_path / "x.smi", text))
    assert samples.ids == ids
    assert [c for c in samples.table.columns if c != "id"] == columns


ORDER = ["P44444", "P33333", "P22222", "P11111"]
# Names beside labels z, y, x, x: how they stand, and whether they are of the samples.
BESIDE = {
    "another order": (ORDER, True),
    "another form": ([f"sp|{name}|NAME" for name in ORDER], True),
    "other samples": (["q4", "q3", "q2", "q1"], False),
}


@pytest.mark.parametrize("name", BESIDE)
def test_labels_stand_with_the_names_beside_them(name) -> None:
    """Never by place in silence: families and labels of a readout alike."""
    from sciinterp.readouts.outcome import read_outcome

    index, fits = BESIDE[name]
    samples = si.Samples(ORDER[::-1], ["MK"] * 4)
    by, numbers = pd.Series(list("zyxx"), index=index), pd.Series([4.0, 3.0, 2.0, 1.0], index=index)
    more = pd.Series([*by, "w"], index=[*index, "P55555"])
    if name == "another order":
        for made in (
            si.Samples(samples.ids, samples.data, table=by.to_frame("f")),
            samples.with_table(by.to_frame("f")),
        ):
            assert made.table["f"].tolist() == ["x", "x", "y", "z"]
    if not fits:
        for call in (lambda: si.split_families(samples, by=by), lambda: read_outcome(numbers, samples)):
            with pytest.raises(InputError, match="no label is of one of these samples"):
                call()
        return
    for labels in (by, more):
        split = si.split_families(samples, by=labels)
        assert [split.family_names[i] for i in split.family] == ["x", "x", "y", "z"]
    for labels in (numbers, numbers.to_dict()):
        assert read_outcome(labels, samples)[0].values.tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("-", "-"), ("minus", "-"), ("Reverse", "-"), ("\N{MINUS SIGN}", "-"), (-1.0, "-"), (-1, "-"), ("+", "+"),
     ("plus", "+"), (1, "+"), (".", "+"), (None, "+"), ("x", None)],
)  # fmt: skip
def test_strands_of_windows_are_written_as_those_of_annotations(written, meant) -> None:
    table = pd.DataFrame({"chromosome": ["chr1"], "start": [10], "end": [15], "strand": [written]})
    window = si.Samples(["w"], ["ACGTA"], kind="dna", table=table)
    if meant is None:
        with pytest.raises(InputError, match="not a strand"):
            places(window)
    else:
        assert places(window)["strand"].tolist() == [meant]


@pytest.mark.parametrize(
    "column", [["1", "2"], [1, 2], [1.0, 2.0], pd.Categorical(["1", "2"]), [1.0, None], ["1", None]]
)
def test_chromosomes_of_a_column_are_names(column) -> None:
    table = pd.DataFrame({"chromosome": column, "start": [0, 7], "end": [5, 12]})
    windows = si.Samples(["a", "b"], ["ACGTA"] * 2, kind="dna", table=table)
    if table["chromosome"].isna().any():
        with pytest.raises(InputError, match="chromosome of a sample is not stated"):
            places(windows)
    else:
        assert places(windows)["chromosome"].tolist() == ["1", "2"]


def test_names_that_a_missing_cell_made_numbers_are_names() -> None:
    samples = si.Samples(pd.Series([7.0, 8.0]), ["MK"] * 2)
    assert samples.ids == ("7", "8")
    rows = pd.DataFrame({"sample": [7.0, 8.0], "start": 0, "end": 1, "concept": "x"})
    assert si.Annotations(rows).sample_numbers(samples).tolist() == [0, 1]
    variants = pd.DataFrame(
        {"chrom": [16.0, np.nan], "pos": [2.0, 3.0], "ref": ["C", "G"], "alt": ["T", "A"]}
    )
    assert len(si.place_variants(variants, si.Samples(["chr16:1-4"], ["ACGT"], kind="dna"))) == 1


@pytest.mark.parametrize(
    ("name", "chromosome"),
    [("HLA-A*01:01:01:01:11-20", "HLA-A*01:01:01:01"), ("HLA-B*07:02:01N:11-20", "HLA-B*07:02:01N"),
     ("g1::chr1:10-20(-)", "chr1"), ("gene:chr1:11-20", "chr1"), ("KI270728.1:11-20/rc", "KI270728.1")],
)  # fmt: skip
def test_names_of_contigs_may_hold_colons(name, chromosome) -> None:
    found = places(si.Samples([name], ["ACGTACGTAC"], kind="dna")).iloc[0].tolist()
    assert found == [chromosome, 10, 20, "-" if name.endswith(("(-)", "/rc")) else "+"]


@pytest.mark.parametrize(
    ("written", "known"),
    [("de\u0301ja\u0300", "d\xe9j\xe0"), ("P69905\u200b", "P69905"), ("\ufeffQ1\u00a0", "Q1"),
     ("gi|45|ref|NP_000508.1|", "NP_000508.1"), ("NP_000508", "gi|45|ref|NP_000508.1|"), ("x7", "gnl|db|x7")],
)  # fmt: skip
def test_names_that_look_the_same_are_the_same(written, known) -> None:
    assert match_ids([written], [known, "other"]) == {written: known}


# Index of a table whose rows say which sample they are of -> how they are laid on samples 3, 1, 2; None where refused.
INDEXED = {
    "counted": (range(3), "abc"), "names": (["1", "2", "3"], "cab"), "numbers": ([1, 2, 3], "cab"),
    "of a filter": ([5, 7, 9], "abc"), "other names": (["x", "y", "z"], None), "a name twice": (["1", "1", "3"], None),
    "some names": (["1", "2", "x"], None), "categories": (pd.Categorical(["2", "3", "1"]), "bca"),
    "a missing name": (["1", "2", None], None), "none": ([], ""),
}  # fmt: skip


@pytest.mark.parametrize("name", INDEXED)
def test_a_table_is_laid_by_its_index_where_that_names_samples(name) -> None:
    index, laid = INDEXED[name]
    table = pd.DataFrame({"f": list("abc")[: len(index)]}, index=index)
    if laid == "":
        assert not len(si.Samples([], [], table=table).table)
    elif laid is None:
        with pytest.raises(InputError, match=r"index of the sample table.*reset_index"):
            si.Samples(["3", "1", "2"], ["MK"] * 3, table=table)
    else:
        assert "".join(si.Samples(["3", "1", "2"], ["MK"] * 3, table=table).table["f"]) == laid


@pytest.mark.parametrize("blank", [float("nan"), None, 7])
def test_a_sample_without_data_is_named(blank) -> None:
    given = ["MK", blank]
    if blank is None:
        assert si.Samples(["a", "b"], lengths=[2, 2]).data == (None, None)
    with pytest.raises(InputError, match=f"without data, sample 'b': expected a sequence, got {blank!r}"):
        si.Samples(["a", "b"], given)
