"""What holds of every format of annotations: text, names, repeats, coverage and recognition mean one thing."""

from __future__ import annotations

import codecs
import gzip
import json
import logging
import re
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from annotation_examples import BINARY, COMMENTS, FILES, READERS, TABULAR, VALID

from sciinterp.annotations import Annotations, read_annotations
from sciinterp.annotations.cells import cell_annotations
from sciinterp.annotations.formats import FORMATS, guess
from sciinterp.errors import FormatError, InputError
from sciinterp.samples import Samples

PLACED = ["sample", "start", "end", "strand", "concept", "source"]
TEXT = sorted(set(VALID) - set(BINARY))


def read(format: str, data: bytes, folder: Path, name: str = "input") -> Annotations:
    path = folder / name
    path.write_bytes(data)
    return READERS[format](path)


def placed(annotations: Annotations) -> set[tuple]:
    return set(map(tuple, annotations.frame[PLACED].to_numpy().tolist()))


def samples_of(annotations: Annotations) -> Samples:
    """Samples long enough for every row."""
    ends = annotations.frame.groupby("sample")["end"].max()
    return Samples(list(ends.index), ["A" * max(int(n), 1) for n in ends])


def per_cell(data: bytes, change) -> bytes:
    """Every cell of every data line changed."""
    out = []
    for line in data.decode().split("\n"):
        data_line = "\t" in line and not line.startswith(COMMENTS)
        out.append("\t".join(map(change, line.split("\t"))) if data_line else line)
    return "\n".join(out).encode()


VARIANTS = {
    "old Macs": lambda data: data.replace(b"\n", b"\r"),
    "Windows": lambda data: data.replace(b"\n", b"\r\n"),
    "a byte order mark": lambda data: codecs.BOM_UTF8 + data,
    "no last line end": lambda data: data.rstrip(b"\n"),
    "blank lines at the end": lambda data: data + b"\n\n",
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("format", TEXT)
def test_line_ends_and_marks_change_nothing(format: str, variant: str, tmp_path: Path) -> None:
    plain, other = (
        read(format, VALID[format], tmp_path),
        read(format, VARIANTS[variant](VALID[format]), tmp_path),
    )
    pd.testing.assert_frame_equal(plain.frame, other.frame)
    pd.testing.assert_frame_equal(plain.concepts, other.concepts)
    assert (plain.counts, plain.coverage) == (other.counts, other.coverage)


@pytest.mark.parametrize("format", [f for f in TEXT if f not in ("uniprot-xml", "structure", "mmcif")])
def test_sixteen_bit_text_is_read_like_any(format: str, tmp_path: Path) -> None:
    wide = VALID[format].decode().encode("utf-16")
    pd.testing.assert_frame_equal(
        read(format, wide, tmp_path).frame, read(format, VALID[format], tmp_path).frame
    )


@pytest.mark.parametrize("format", TABULAR)
def test_cells_in_the_quotes_of_spreadsheets_mean_the_same(format: str, tmp_path: Path) -> None:
    plain = read(format, VALID[format], tmp_path)
    for change in (lambda c: '"' + c.replace('"', '""') + '"', lambda c: f" {c} "):
        other = read(format, per_cell(VALID[format], change), tmp_path)
        pd.testing.assert_frame_equal(plain.frame, other.frame)
        assert plain.counts == other.counts


@pytest.mark.parametrize("format", sorted(VALID))
def test_what_the_file_states_is_covered_and_accounted_for(format: str, tmp_path: Path) -> None:
    annotations = read(format, VALID[format], tmp_path)
    counts = annotations.counts
    assert counts["n_in"] == counts["n_kept"] + sum(counts["dropped"].values())
    assert "outside_coverage" not in counts
    for source, sample in zip(annotations.frame["source"], annotations.frame["sample"]):
        ids = annotations.coverage.get(source)
        assert ids is None or sample in ids
    samples = samples_of(annotations)
    names = annotations.names
    stated = np.zeros((len(samples), len(names)), bool)
    number = dict(zip(names, range(len(names))))
    for sample, concept in zip(annotations.frame["sample"], annotations.frame["concept"]):
        stated[samples.index(sample), number[concept]] = True
    assert annotations.covered(samples, names)[stated].all()


REPEATED = {
    "uniprot-json": lambda text: json.dumps({"results": json.loads(text)["results"] * 2}),
    "uniprot-xml": lambda text: re.sub(r"(<entry .*</entry>)", r"\1\1", text, flags=re.S),
    "gff3": lambda text: text.split("##FASTA")[0] * 2,
    **{f: lambda text: text + "\n".join(text.split("\n")[1:]) for f in ("tsv", "uniprot-tsv", "airr")},
    **dict.fromkeys(
        ("uniprot-dat", "uniprot-gff", "gtf", "genbank", "embl", "interpro", "go", "bed", "peaks", "gmt"),
        lambda text: text * 2,
    ),
}


@pytest.mark.parametrize("format", sorted(REPEATED))
def test_what_is_stated_twice_counts_once(format: str, tmp_path: Path) -> None:
    text = VALID[format].decode()
    once, twice = (
        read(format, text.encode(), tmp_path),
        read(format, REPEATED[format](text).encode(), tmp_path),
    )
    assert twice.counts["n_in"] == 2 * once.counts["n_in"]
    assert placed(once) == placed(twice)
    assert once.coverage == twice.coverage
    samples = samples_of(once)
    columns = ["concept", "start", "end", "sample"]
    pd.testing.assert_frame_equal(once.instances(samples)[columns], twice.instances(samples)[columns])
    assert len(once.frame) == len(twice.frame) or format == "tsv"


@pytest.mark.parametrize("form", ["sp|{}|NAME_HUMAN", "{}.3"])
@pytest.mark.parametrize(
    "format", ["uniprot-dat", "uniprot-xml", "uniprot-json", "uniprot-tsv", "uniprot-gff"]
)
def test_accessions_fit_however_samples_write_them(format: str, form: str, tmp_path: Path) -> None:
    annotations = read(format, VALID[format], tmp_path)
    plain = samples_of(annotations)
    named = Samples([form.format(name) for name in plain.ids], plain.sequences)
    assert annotations.positives(named).nnz == annotations.positives(plain).nnz > 0
    assert annotations.covered(named, annotations.names).all()


ROWS = {
    "tsv": "sample\tstart\tend\tconcept\nP1\t{}\t{}\tx\n",
    "bed": "P1\t{}\t{}\tx\n",
    "peaks": "P1\t{}\t{}\t.\t0\t.\t1.5\t5.0\t-1\t5\n",
    "gff3": "##gff-version 3\nP1\ty\tx\t{}\t{}\t.\t+\t.\tID=a\n",
    "gtf": 'P1\ty\tx\t{}\t{}\t.\t+\t.\tgene_id "a";\n',
    "interpro": "P1\t0123456789abcdef0123456789abcdef\t90\tPfam\tPF00069\tx\t{}\t{}\t1\tT\t18-06-2025\n",
    "uniprot-gff": "P1\tUniProtKB\tDomain\t{}\t{}\t.\t.\t.\tNote=SH3\n",
}


@pytest.mark.parametrize("format", ROWS)
def test_thousands_are_numbers_and_other_text_is_one_error_with_its_line(format: str, tmp_path: Path) -> None:
    plain = read(format, ROWS[format].format(1001, 12000).encode(), tmp_path)
    assert placed(plain) == placed(read(format, ROWS[format].format("1,001", "12,000").encode(), tmp_path))
    line = ROWS[format].count("\n")
    for start, end in (
        ("1O", "20"),
        ("1", "2e1"),
        ("5", "-3"),
        ("1,00", "2,000"),
        ("9", "3"),
        ("1", "9" * 20),
    ):
        if format == "uniprot-gff" and end == "3":  # UniProt's own mistakes are counted, in every form
            continue
        with pytest.raises(FormatError) as caught:
            read(format, ROWS[format].format(start, end).encode(), tmp_path)
        assert caught.value.line == line
        assert caught.value.file == str(tmp_path / "input")


@pytest.mark.parametrize("blank", ["", "NA", "nan", "#N/A", "None"])
def test_blank_cells_mean_the_whole_sample_and_labels_stay_text(blank: str, tmp_path: Path) -> None:
    table = f"sample\tstart\tend\tconcept\n007\t{blank}\t{blank}\t1.10\n1.0\t3.0\t4\t0012\nP\t1\t2\t{blank}\n"
    for text in (
        table,
        table.replace("\t", ","),
        table.upper().replace("NAN", "nan").replace("NONE", "None"),
    ):
        annotations = read("tsv", text.encode(), tmp_path)
        assert annotations.frame[["sample", "start", "end", "concept"]].to_numpy().tolist() == [
            ["007", -1, -1, "1.10"],
            ["1.0", 3, 4, "0012"],
        ]
        assert annotations.counts == {"n_in": 3, "n_kept": 2, "dropped": {"no sample or no concept": 1}}


def test_labels_stay_text_in_every_format(tmp_path: Path) -> None:
    assert read("bed", b"007\t1\t2\t1.10\n", tmp_path).frame[["sample", "concept"]].to_numpy().tolist() == [
        ["007", "bed:1.10"]
    ]
    assert read("gmt", b"007\tNA\t1.10\tNA\n", tmp_path).frame[["sample", "concept"]].to_numpy().tolist() == [
        ["1.10", "geneset:007"]
    ]
    obs = pd.DataFrame({"leiden": pd.Categorical(["1.10", "007", "nan"])}, index=["c1", "c2", "c3"])
    cells = cell_annotations(obs)
    assert cells.names == ["obs:leiden:007", "obs:leiden:1.10"]
    assert cells.coverage == {"obs:leiden": ("c1", "c2")}


# a file that names the sample "named" and says nothing of it, and states something of "stated"
NAMED = {
    "uniprot-dat": "ID   A   Reviewed;   9 AA.\nAC   named;\n//\nID   B   Reviewed;   9 AA.\nAC   stated;\nKW   Zinc.\n//\n",
    "uniprot-json": '[{"entryType": "Inactive", "primaryAccession": "named"},'
    ' {"primaryAccession": "stated", "features": []}]',
    "uniprot-json (mapped)": '{"results": [{"from": "x", "to": "named"},'
    ' {"from": "y", "to": {"primaryAccession": "stated", "keywords": [{"name": "Zinc"}]}}]}',
    "uniprot-xml": "<uniprot><entry><accession>named</accession></entry>"
    '<entry><accession>stated</accession><sequence length="9"/></entry></uniprot>',
    "uniprot-tsv": "Entry\tLength\tActive site\nnamed\t\t\nstated\t9\t\n",
    "genbank": "LOCUS       named  9 bp  DNA linear SYN 18-JUN-2025\nVERSION     named\nFEATURES             Location/Qualifiers\n"
    '     source          1..9\n                     /mol_type="genomic DNA"\nORIGIN\n        1 acgtacgta\n//\n'
    "LOCUS       stated  9 bp  DNA linear SYN 18-JUN-2025\nVERSION     stated\nFEATURES             Location/Qualifiers\n"
    "     gene            1..4\nORIGIN\n        1 acgtacgta\n//\n",
    "go": "UniProtKB\tnamed\tg\t\tGO:0008150\tR\tND\t\tP\t\t\tprotein\ttaxon:1\t2025\tX\t\t\n"
    "UniProtKB\tstated\tg\tNOT|enables\tGO:0005524\tR\tIDA\t\tF\t\t\tprotein\ttaxon:1\t2025\tX\t\t\n",
}  # fmt: skip


@pytest.mark.parametrize("case", NAMED)
def test_a_sample_that_is_only_named_is_not_a_negative(case: str, tmp_path: Path) -> None:
    format = case.split(" ")[0]
    annotations = read(format, NAMED[case].encode(), tmp_path)
    assert list(annotations.coverage.values()) == [("stated",)]


def test_a_blank_call_or_ungapped_alignment_is_not_a_negative(tmp_path: Path) -> None:
    lines = VALID["airr"].decode().rstrip("\n").split("\n")
    header, cells = lines[0].split("\t"), lines[1].split("\t")
    without = dict(zip(header, cells)) | {"sequence_id": "without", "c_call": "", "d_call": ""}
    text = "\n".join([lines[0], lines[1], "\t".join(without[name] for name in header)]) + "\n"
    coverage = read("airr", text.encode(), tmp_path).coverage
    assert "without" in coverage["airr"]
    assert "without" not in coverage.get("airr:c_call", ())
    assert "without" not in coverage.get("airr:d_call", ())


REGIONS = {
    "gff3": "##gff-version 3\n##sequence-region a 1 30\n##sequence-region empty 1 30\na\tx\tloop\t5\t9\t.\t+\t.\tID=1\n"
    "b\tx\tloop\t5\t9\t.\t+\t.\tID=2\n",
    "uniprot-gff": "##sequence-region a 1 30\n##sequence-region empty 1 30\n"
    "a\tUniProtKB\tHelix\t5\t9\t.\t.\t.\t.\nb\tUniProtKB\tHelix\t5\t9\t.\t.\t.\t.\n",
}


@pytest.mark.parametrize("format", REGIONS)
def test_a_list_of_some_regions_does_not_silence_the_others(format: str, tmp_path: Path) -> None:
    annotations = read(format, REGIONS[format].encode(), tmp_path)
    samples = Samples(["a", "b", "empty", "elsewhere"], ["A" * 30] * 4)
    assert annotations.covered(samples, annotations.names)[:, 0].tolist() == [True, True, True, False]
    assert annotations.positives(samples).sum() == 10


def test_rows_outside_a_stated_coverage_are_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x.tsv").write_text("sample\tstart\tend\tconcept\nin\t0\t2\tc\nout\t0\t2\tc\nout\t3\t4\tc\n")
    (tmp_path / "x.coverage.tsv").write_text("source\tsample\nuser\tin\n")
    annotations = read_annotations(tmp_path / "x.tsv")
    assert annotations.counts["outside_coverage"] == 2
    Annotations(annotations.frame, coverage=annotations.coverage)
    said = [r.message for r in caplog.records if "coverage" in r.message]
    assert len(said) == 1
    assert "2 rows" in said[0] and "'out'" in said[0]


def test_a_concept_of_two_sources_is_covered_by_either() -> None:
    rows = {"start": 0, "end": 2, "concept": "site"}
    first = Annotations(pd.DataFrame([{"sample": "a", "source": "x", **rows}]), coverage={"x": ["a"]})
    second = Annotations(pd.DataFrame([{"sample": "b", "source": "y", **rows}]), coverage={"y": ["b"]})
    samples = Samples(["a", "b", "c"], ["MKV"] * 3)
    both = Annotations.merge([first, second])
    assert both.covered(samples, ["site"]).ravel().tolist() == [True, True, False]
    unlimited = Annotations(pd.DataFrame([{"sample": "b", "source": "x", **rows}]))
    assert Annotations.merge([first, unlimited]).covered(samples, ["site"]).all()


UNKNOWN = {
    "uniprot-dat": (b"FT   MUTAGEN ", b"FT   NEWKEY  "),
    "uniprot-tsv": (b"MUTAGEN 45", b"NEWKEY 45"),
    "uniprot-xml": (b'type="mutagenesis site"', b'type="a new kind"'),
    "uniprot-json": (b'"type": "Mutagenesis"', b'"type": "A new kind"'),
    "uniprot-gff": (b"\tMutagenesis\t", b"\tA new kind\t"),
    "gtf": (b'gene_id "g;1"', b"g1.t1"),
    "gff3": (b"Parent=g1", b"g1.t1"),
}


@pytest.mark.parametrize("format", UNKNOWN)
def test_an_unknown_type_or_attribute_is_counted_and_the_file_is_read(format: str, tmp_path: Path) -> None:
    old, new = UNKNOWN[format]
    assert old in VALID[format]
    known = read(format, VALID[format], tmp_path)
    other = read(format, VALID[format].replace(old, new), tmp_path)
    assert sum(other.counts["unknown"].values()) == 1
    assert other.counts["n_in"] == known.counts["n_in"] and len(other) == len(known)


# names that say nothing, and how far into the file the data begin
@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"gmt"}))
def test_the_content_tells_the_format(format: str, tmp_path: Path) -> None:
    for name in ("input", "input.txt", "gene_association.x"):
        path = tmp_path / name
        path.write_bytes(VALID[format])
        assert guess(path) == format
    comment = {"bed": b"#", "peaks": b"#", "gff3": b"#", "gtf": b"#!", "go": b"!", "interpro": b"#"}.get(
        format
    )
    if comment:
        path.write_bytes((comment + b"a comment\n") * 500 + VALID[format])
        assert guess(path) == format
        headless = re.sub(rb"^(##|!|track).*\n", b"", VALID[format], flags=re.M)
        path.write_bytes(headless)
        assert guess(path) == format


@pytest.mark.parametrize("content", [b"hello world\n", b"a,b,c\n1,2,3\n", b">seq\nMKV\n", b"<svg></svg>"])
def test_what_cannot_be_told_lists_the_names(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"narrowpeak|peaks") as caught:
        read_annotations(path)
    assert all(name in str(caught.value) for name in FORMATS)
    assert "format=" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", gzip.compress(b"", mtime=0)],
    ids=["no byte", "blank lines", "an archive of nothing"],
)
def test_an_empty_file_is_called_empty(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(content)
    with pytest.raises(FormatError, match=r"the file is empty.*input"):
        read_annotations(tmp_path / "input")


def test_a_mistyped_format_is_answered_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(VALID["bed"])
    with pytest.raises(InputError, match="no such annotation format, format: expected 'interpro'"):
        read_annotations(path, format="interpor")


@pytest.mark.parametrize("format", sorted(VALID))
def test_a_name_that_is_no_file_is_refused_at_once(format: str, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", Path("/dev/zero")):
        with pytest.raises(InputError):
            READERS[format](path)


def test_nothing_is_said_of_ordinary_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for format in sorted(set(VALID) - {"go", "obo"}):
        read(format, VALID[format], tmp_path)
    assert [r.message for r in caplog.records if r.name.startswith("sciinterp.annotations")] == []


def test_cells_of_a_file_are_those_of_its_table(tmp_path: Path) -> None:
    obs = pd.DataFrame({"type": pd.Categorical(["B", None])}, index=["c1", "c2"])
    anndata.AnnData(np.ones((2, 1), np.float32), obs=obs).write_h5ad(tmp_path / "x.h5ad")
    annotations = read_annotations(tmp_path / "x.h5ad")
    samples = Samples(["c1", "c2"], ["M", "M"])
    assert annotations.covered(samples, annotations.names).ravel().tolist() == [True, False]
    assert FILES.is_dir()
