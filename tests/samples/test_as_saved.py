"""What spreadsheets, editors and databases do to files, over every reader of tables and every form of an entry."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pandas as pd
import pytest
from test_hostile_samples import AIRR, VALID, needs, put

import sciinterp as si
from sciinterp.annotations.formats import FORMATS as ANNOTATIONS
from sciinterp.errors import FormatError, InputError
from sciinterp.readers import FORMATS, delimited
from sciinterp.readers.delimited import read_rows, read_table

ENTRIES = Path(__file__).parents[1] / "annotations" / "files"


def of_samples(format):
    def read(path):
        found = si.read_samples(path, format=format)
        table = None if found.table is None else found.table.astype(str).to_dict("list")
        return list(found.ids), list(found.data), table

    return read


def of_annotations(path):
    found = si.read_annotations(path, format="tsv")
    return found.frame.to_numpy().tolist(), found.counts


def of_assay(path):
    return si.read_assay(path)[["variant", "score"]].to_numpy().tolist()


# A table of every kind with a note in its last column, tab-separated; a new reader of tables adds one row.
TABLES = {
    "samples": ("id\tsequence\tnote\n007\tMKVLA\tx\nb\tMKVLC\ty\n", of_samples("table")),
    "SMILES": ("id\tsmiles\tnote\n007\tCCO\tx\nb\tCCC\ty\n", of_samples("smiles")),
    "receptors": ("id\tcdr3a\tcdr3b\tnote\n007\tCAVF\tCASF\tx\nb\tCAVF\tCASF\ty\n", of_samples("receptors")),
    "rearrangements": (AIRR.replace("junction_aa\n", "junction_aa\tnote\n").replace("CAW\n", "CAW\tx\n"), of_samples("airr")),
    "annotations": ("sample\tstart\tend\tconcept\tnote\na\t0\t5\tx\tx\nb\t\t\ty\ty\n", of_annotations),
    "assay": ("variant\tscore\tnote\nM1A\t0.5\tx\nK2R\t-1\ty\n", of_assay),
}  # fmt: skip
SAVED = {
    "Windows": lambda text: text.replace("\n", "\r\n"),
    "old Macs": lambda text: text.replace("\n", "\r"),
    "a byte order mark": lambda text: "\ufeff" + text,
    "sixteen bits": lambda text: text.encode("utf-16"),
    "quotes": lambda text: re.sub(r"[^\t\n]+", r'"\g<0>"', text),
    "commas": lambda text: text.replace("\t", ","),
    "semicolons named above": lambda text: "sep=;\n" + text.replace("\t", ";"),
    "cells behind the rows": lambda text: text.replace("\n", "\t\t\n").replace("\t\t\n", "\n", 1),
    "cells behind every line": lambda text: text.replace("\n", "\t\n"),
    "blank lines": lambda text: "\n" + text.replace("\n", "\n\n"),
    "rows without content": lambda text: text + "\t\t\n",
    "a mark in the middle": lambda text: text.replace("\n", "\n\ufeff", 1),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("way", SAVED)
def test_however_a_table_is_saved_it_says_the_same(tmp_path, kind, way) -> None:
    text, read = TABLES[kind]
    plain = read(put(tmp_path / "x.tsv", text))
    assert read(put(tmp_path / "x.tsv", SAVED[way](text))) == plain


@pytest.mark.parametrize("kind", sorted(set(TABLES) - {"rearrangements"}))
def test_comments_above_and_lines_within_a_cell(tmp_path, kind) -> None:
    text, read = TABLES[kind]
    plain = read(put(tmp_path / "x.tsv", text))
    above = '# made, by; "somebody\n#\n' + text
    assert read(put(tmp_path / "x.tsv", above)) == plain
    within = text.replace("\tx\n", '\t"two\nlines"\n')
    read(put(tmp_path / "x.tsv", within))
    assert read_table(tmp_path / "x.tsv").cells.iloc[:, -1].tolist() == ["two\nlines", "y"]


@pytest.mark.parametrize("kind", TABLES)
def test_columns_that_could_be_taken_for_another_are_refused(tmp_path, kind) -> None:
    text, read = TABLES[kind]
    header, _, rest = text.partition("\n")
    name = header.split("\t")[1]
    with pytest.raises(FormatError, match=r"twice|two columns"):
        read(put(tmp_path / "x.tsv", f"{header}\t{name}\n" + rest.replace("\n", "\tz\n")))


@pytest.mark.parametrize(
    ("text", "header", "rows"),
    [
        ("a,b\n1,2,\n3,4,\n", ["a", "b"], [["1", "2"], ["3", "4"]]),  # not R's: the last cells are blank
        ("a,b\nx,1,2\ny,3,4\n", ["", "a", "b"], [["x", "1", "2"], ["y", "3", "4"]]),
        ("#a\tb\n1\t2\n", ["a", "b"], [["1", "2"]]),
        ("#a, b\nc\td\n1\t2\n", ["c", "d"], [["1", "2"]]),
        ('a\tb\n1\t"x\n2\t"y\n', ["a", "b"], [["1", '"x'], ["2", '"y']]),  # quotes that are none
        ('a\tb\tc\n1\t"x\ty\n2\t3\t4\n', ["a", "b", "c"], [["1", '"x', "y"], ["2", "3", "4"]]),
        ("a\tb\t\n1\t2\t\n3\t4\tx\n", ["a", "b", ""], [["1", "2", ""], ["3", "4", "x"]]),
        ("a\tb\n1\n", ["a", "b"], [["1", ""]]),
    ],
)
@pytest.mark.parametrize("quick", [True, False])
def test_headers_and_rows(tmp_path, monkeypatch, quick, text, header, rows) -> None:
    if not quick:
        monkeypatch.setattr(delimited, "_quick", lambda path: None)
    table = read_table(put(tmp_path / "x", text))
    assert (table.header, table.cells.to_numpy().tolist(), table.wide) == (header, rows, [])


def _said(path) -> object:
    try:
        table = read_table(path)
        return table.header, table.cells.to_numpy().tolist(), table.cells.index.tolist(), table.wide
    except FormatError as error:
        return str(error)


@pytest.mark.parametrize("seed", range(4))
def test_two_ways_of_reading_a_table_are_one(tmp_path, monkeypatch, seed) -> None:
    """Whatever the quotes, separators and line ends: pandas' reader is used only where it says the same."""
    draw = random.Random(seed)
    pieces = ["a", "b1", " ", "\t", ",", ";", '"', '""', "\n", "\n", "\r\n", "#", "'", "é", "NA", "7", "\x0b"]
    simple = ["a,", "b1,", '"x, y",', "c\n", '"d"\n', "\n", "7,8\n", " \n", ",,,\n", "a\tb\t", '\t"q"\t']
    quick, used = delimited._quick, 0
    monkeypatch.setattr(delimited, "LOOKED_AT", 3)
    for i in range(150):
        path = put(tmp_path / "x", "".join(draw.choices(simple if i % 2 else pieces, k=draw.randint(1, 40))))
        monkeypatch.setattr(delimited, "_quick", lambda path: None)
        slow = _said(path)
        monkeypatch.setattr(delimited, "_quick", quick)
        assert _said(path) == slow, path.read_text()
        used += quick(path) is not None
    assert used > 40


def test_rows_far_shorter_than_their_header_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(delimited, "FREE_CELLS", 1000)
    path = put(tmp_path / "x", ",".join(f"c{i}" for i in range(200)) + "\n" + "1\n" * 2000)
    for quick in (delimited._quick, lambda path: None):
        monkeypatch.setattr(delimited, "_quick", quick)
        with pytest.raises(FormatError, match="far shorter than its header"):
            read_table(path)


def test_lines_are_named_where_they_stand(tmp_path) -> None:
    path = put(tmp_path / "x", 'sep=;\n# c\n\na;b\n1;"2\n3"\n\n4;5\n')
    assert [line for line, _ in read_rows(path)] == [2, 4, 6, 8]


ARCHIVES = {
    "zip": b"PK\x03\x04aaaa", "zstd": b"\x28\xb5\x2f\xfdaaaa", "lz4": b"\x04\x22\x4d\x18aaaa", "bzip2": b"BZh91AYaa",
    "xz": b"\xfd7zXZ\x00aa", "compress": b"\x1f\x9d\x90aa", "7-Zip": b"7z\xbc\xaf\x27\x1caa", "RAR": b"Rar!\x1a\x07aa",
    "xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Parquet": b"PAR1aaaa", "PDF": b"%PDF-1.4\n",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 9\n",
    "web page": b"\n<!DOCTYPE html>\n<html><body>404</body></html>\n",
}  # fmt: skip


@pytest.mark.parametrize("what", ARCHIVES)
def test_an_archive_is_named_before_its_format_is_asked_for(tmp_path, what) -> None:
    for name in ("x", "x.fa", "x.tsv.zst"):
        path = put(tmp_path / name, ARCHIVES[what])
        for read in (si.read_samples, si.read_annotations, si.read_assay, si.read_variants):
            with pytest.raises(FormatError, match=re.escape(what)):
                read(path)


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"h5ad"}))
def test_every_reader_of_samples_names_an_archive(tmp_path, format) -> None:
    needs(format)
    with pytest.raises(FormatError, match="zstd"):
        si.read_samples(put(tmp_path / VALID[format][0], ARCHIVES["zstd"]), format=format)


@pytest.mark.parametrize("format", sorted(set(ANNOTATIONS) - {"h5ad", "bigbed", "signal", "structure"}))
def test_every_reader_of_annotations_names_an_archive(tmp_path, format) -> None:
    with pytest.raises(FormatError, match="zstd"):
        si.read_annotations(put(tmp_path / "x", ARCHIVES["zstd"]), format=format)


# What a spreadsheet or a program made of the identifiers SEPT2, 007 and 12.
SPOILED = {
    "2-Sep": "dates or numbers that a spreadsheet made of names, such as '2-Sep'",
    "2001-09-02 00:00:00": "dates or numbers",
    "9/2/2001": "dates or numbers",
    "2.31E+13": "dates or numbers",
    "7": "the table has '7', a number",
    "12.0": "the table has '12.0', a number",
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_join_says_what_became_of_identifiers(tmp_path, name) -> None:
    fasta = put(tmp_path / "x.fasta", ">SEPT2\nMK\n>007\nMK\n>12\nMK\n")
    with pytest.raises(InputError, match=SPOILED[name]):
        si.read_samples(fasta, table=put(tmp_path / "t.csv", f"id,family\n{name},f\n"))
    if "dates" in SPOILED[name]:
        with pytest.raises(InputError, match="Column 'gene' has them: put it first"):
            si.read_samples(fasta, table=put(tmp_path / "t.csv", f"n,gene\n1,SEPT2\n2,007\n3,12\n{name},\n"))


def test_genes_that_became_dates_are_said(tmp_path, caplog) -> None:
    si.read_annotations(put(tmp_path / "x.gmt", "SET\t\tTP53\t2-Sep\n"))
    rows = pd.DataFrame({"sample": ["1-Mar"], "start": [-1], "end": [-1], "concept": ["x"]})
    si.Annotations(rows).sample_numbers(si.Samples(["MARCHF1"], ["MK"]))
    said = [record.getMessage() for record in caplog.records]
    assert sum("a spreadsheet made of names" in line for line in said) == 2
    plain = "SEPT2 MARCH1 sep-1 dec-7 HLA-A 1-acid AC012345.1 7SK 1E5 2310009E13Rik P53-2"
    caplog.clear()
    si.read_annotations(put(tmp_path / "x.gmt", "SET\t\t" + "\t".join(plain.split()) + "\n"))
    assert not caplog.records


@pytest.mark.parametrize("form", ["dat", "xml", "json"])
def test_an_entry_is_one_sample_in_every_form_of_uniprot(tmp_path, form) -> None:
    """The annotated file itself, with sites that other readers stop at, gives the samples its annotations lie on."""
    path = ENTRIES / f"entries.{form}"
    samples = si.read_samples(path)
    assert list(samples.ids) == ["T3ST01", "T3ST02"] == list(si.read_annotations(path).coverage["uniprot"])
    assert samples.table["name"].tolist() == ["TESTA_SYNTH", "TESTB_SYNTH"]
    flat = si.read_samples(ENTRIES / "entries.dat")
    assert list(samples.data) == list(flat.data)
    assert samples.lengths.tolist() == [120, 30]
    text = path.read_text()
    shorter = put(tmp_path / path.name, text.replace("MKVLLAAAAA", "MKVLLAAAA", 1))
    with pytest.raises(FormatError, match="not as long as its entry states"):
        si.read_samples(shorter)


@pytest.mark.parametrize("format", ["genbank", "embl"])
def test_a_record_that_is_cut_short_is_refused(tmp_path, format) -> None:
    name, text, _ = VALID[format]
    path = put(tmp_path / name, text.replace("acgtacgtaa", "acgtacg"))
    for read in (si.read_samples, si.read_annotations):
        with pytest.raises(FormatError, match="Expected sequence length 10, found 7"):
            read(path, format=format)


def test_letters_that_are_none_and_gaps_are_said(tmp_path, caplog) -> None:
    text = ">a\nMKVL\n>b\nMKV\N{EN DASH}L\n>c\nMKV\N{LATIN SMALL LETTER SHARP S}\n>d\nMK--V\n"
    for index in (False, True):
        caplog.clear()
        samples = si.read_samples(put(tmp_path / "x.fa", text), index=index)
        assert list(samples.ids) == ["a", "d"]
        assert samples.dropped == {"letters that are none of a sequence (not ASCII)": 2}
        assert any("1 of 4 sequences have gaps" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("+", "+"), ("1", "+"), (1.0, "+"), ("plus", "+"), ("-1", "-"), (-1, "-"), ("\N{MINUS SIGN}", "-"),
     ("Reverse", "-"), ("", "."), (None, "."), ("NA", "."), (0, "."), ("?", "."), ("x", None), ("2", None)],
)  # fmt: skip
def test_strands_are_plus_minus_or_unknown(written, meant) -> None:
    rows = pd.DataFrame({"sample": ["a"], "start": [0], "end": [5], "strand": [written], "concept": ["x"]})
    if meant is None:
        with pytest.raises(InputError, match="not a strand"):
            si.Annotations(rows)
    else:
        assert si.Annotations(rows).frame["strand"].tolist() == [meant]


def test_a_match_beyond_its_protein_is_counted(tmp_path) -> None:
    line = f"P1\t{'a' * 32}\t40\tPfam\tPF00001\td\t5\t50\t1e-5\tT\t01-01-2020\n"
    found = si.read_annotations(put(tmp_path / "x.tsv", line + line.replace("\t50\t", "\t40\t")))
    assert found.frame[["start", "end"]].to_numpy().tolist() == [[4, 40]]
    assert found.counts["dropped"] == {"beyond the end of the sequence": 1}


def test_a_table_of_annotations_without_rows_is_none(tmp_path) -> None:
    found = si.read_annotations(put(tmp_path / "x.tsv", "sample\tstart\tend\tconcept\n"))
    assert len(found) == 0
    assert found.counts == {"n_in": 0, "n_kept": 0, "dropped": {}}
