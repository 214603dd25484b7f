"""Every format of samples against the same hostile files: one line, nothing hung, nothing unpacked without bound."""

import bz2
import gzip
import os
import resource
import time
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from test_structures import chain_of

import sciinterp as si
from sciinterp.errors import FormatError, InputError, SciinterpError
from sciinterp.readers import FORMATS, guess
from sciinterp.readers.bounded import Limits, Text, bounds, limits, read_json, read_lines, read_xml
from sciinterp.readers.delimited import read_rows

GENBANK = """LOCUS       AB1                       10 bp    DNA     circular BCT 01-JAN-2000
DEFINITION  d.
ACCESSION   AB1
VERSION     AB1.2
FEATURES             Location/Qualifiers
ORIGIN
        1 acgtacgtaa
//
"""
EMBL = """ID   AB1; SV 2; linear; DNA; STD; UNC; 10 BP.
AC   AB1;
SQ   Sequence 10 BP;
     acgtacgtaa                                                               10
//
"""
FLAT = """ID   HBA_X                   Reviewed;           5 AA.
AC   P12345;
DT   01-JAN-1990, integrated into UniProtKB/Swiss-Prot.
DT   01-JAN-1990, sequence version 1.
DT   01-JAN-2020, entry version 9.
OS   Homo sapiens (Human).
SQ   SEQUENCE   5 AA;  500 MW;  0000000000000000 CRC64;
     MKVLA
//
"""
XML = """<?xml version="1.0" encoding="UTF-8"?>
<uniprot xmlns="http://uniprot.org/uniprot">
<entry><accession>P12345</accession><name>HBA_X</name>
<organism><name type="scientific">Homo sapiens</name><name type="common">Human</name></organism>
<sequence length="5">MKVLA</sequence></entry>
</uniprot>
"""
JSON = (
    '{"results": [{"primaryAccession": "P12345", "uniProtkbId": "HBA_X",\n'
    '"organism": {"scientificName": "Homo sapiens", "commonName": "Human"},\n'
    '"sequence": {"value": "MKVLA", "length": 5}}]}\n'
)
MMCIF = """data_1ABC
_entry.id 1ABC
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_seq_id
_atom_site.pdbx_PDB_ins_code
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.occupancy
_atom_site.B_iso_or_equiv
_atom_site.auth_seq_id
_atom_site.auth_asym_id
_atom_site.pdbx_PDB_model_num
ATOM 1 N N . MET A 1 ? 0.0 0.0 0.0 1.0 0.0 1 A 1
ATOM 2 C CA . MET A 1 ? 1.4 0.0 0.0 1.0 0.0 1 A 1
"""
CIF = """data_NaCl
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1 Na 0 0 0
Cl1 Cl 0.5 0.5 0.5
"""
AIRR = "sequence_id\tproductive\tsequence_alignment\tjunction_aa\nr1\tT\tGAGGTGCAGTGTGCGTGG\tCAW\n"
# format -> a name, a file of it, what comes of it: identifier and data
VALID = {
    "fasta": ("x.fasta", ">a words\nMKV\nLA\n", ("a", "MKVLA")),
    "genbank": ("x.gb", GENBANK, ("AB1.2", "ACGTACGTAA")),
    "embl": ("x.embl", EMBL, ("AB1.2", "ACGTACGTAA")),
    "uniprot": ("x.dat", FLAT, ("P12345", "MKVLA")),
    "uniprot-xml": ("x.xml", XML, ("P12345", "MKVLA")),
    "uniprot-json": ("x.json", JSON, ("P12345", "MKVLA")),
    "airr": ("x.tsv", AIRR, ("r1", "EVQCAW")),
    "smiles": ("x.smi", "CCO ethanol\n", ("ethanol", "CCO")),
    "receptors": ("x.tsv", "id\tcdr3a\tcdr3b\nt1\tCAVF\tCASF\n", ("t1", ["", "", "CAVF", "", "", "CASF"])),
    "table": ("x.tsv", "id\tsequence\tdonor\n007\tMKVLA\td1\n", ("007", "MKVLA")),
    "mmcif": ("x.cif", MMCIF, ("1ABC_A", "M")),
    "pdb": ("x.pdb", chain_of(), ("1ABC_A", "A" * 12)),
    "backbones": (
        "x.tsv",
        "sample\tchain\tnumber\tletter\tN\tCA\tC\tO\na\tA\t1\tM\t1 2 3\t2 2 3\t3 2 3\t4 2 3\n",
        ("a", None),
    ),
    "cif": ("x.cif", CIF, ("NaCl", None)),
    "h5ad": ("x.h5ad", None, ("c1", {"genes": ["G1"], "values": [2.0]})),
}
TEXTS = sorted(set(VALID) - {"h5ad"})


def needs(format) -> None:
    for package in {"cif": ("pymatgen.io.cif",), "h5ad": ("anndata",)}.get(format, ()):
        pytest.importorskip(package, reason=f"{format} is read by {package}")


def put(path, raw):
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    return path


def write_h5ad(path, counts=((2, 0), (0, 0)), obs=None, **parts):
    import anndata

    counts = np.array(counts, np.float32)
    obs = pd.DataFrame(index=[f"c{i + 1}" for i in range(len(counts))]) if obs is None else obs
    var = pd.DataFrame(index=[f"G{i + 1}" for i in range(counts.shape[1])])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = anndata.AnnData(counts, obs=obs, var=var, **parts)
        data.write_h5ad(path)
    return path


def check_refused(path, format, words=None) -> str:
    """The one line a reader says, within bounds of time and memory."""
    needs(format)
    start, memory = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(SciinterpError, match=words) as caught:
            si.read_samples(path, format=format)
    assert time.monotonic() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 1_000_000  # kilobytes
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_format_is_here() -> None:
    assert set(VALID) == set(FORMATS)


@pytest.mark.parametrize("format", sorted(VALID))
def test_a_file_is_known_by_its_content_and_read(tmp_path, format) -> None:
    needs(format)
    name, text, (sample, data) = VALID[format]
    path = write_h5ad(tmp_path / name) if text is None else put(tmp_path / name, text)
    assert guess(path) == format
    samples = si.read_samples(path)
    assert samples.ids[0] == sample
    assert data is None or samples.data[0] == data
    assert samples.n_in == len(samples) + sum(samples.dropped.values())
    if format not in ("smiles", "h5ad"):  # these two are known by their names
        assert guess(path.rename(tmp_path / "x.anything")) == format


@pytest.mark.parametrize("end", ["\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "marked"])
@pytest.mark.parametrize("format", TEXTS)
def test_line_ends_marks_and_packing_change_nothing(tmp_path, format, mark, end) -> None:
    needs(format)
    name, text, (sample, data) = VALID[format]
    raw = mark + text.replace("\n", end).encode()
    for file in (put(tmp_path / name, raw), put(tmp_path / f"{name}.gz", gzip.compress(raw))):
        samples = si.read_samples(file)
        assert samples.ids == (sample,)
        assert data is None or samples.data == (data,)


def test_utf16_with_its_mark_is_text(tmp_path) -> None:
    for encoding in ("utf-16", "utf-16-be"):
        mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
        path = put(tmp_path / "x.tsv", mark + "id\tsequence\ndé\tMKV\n".encode(encoding))
        assert si.read_samples(path).ids == ("dé",)


@pytest.mark.parametrize("format", TEXTS)
def test_an_archive_that_explodes_is_refused(tmp_path, format) -> None:
    name, text, _ = VALID[format]
    more = text if format not in ("uniprot-xml", "uniprot-json", "cif") else " " * 4096
    if format in ("table", "receptors", "airr"):
        more = text.split("\n", 1)[1]
    raw = text.encode() + more.encode() * ((64 << 20) // len(more))
    path = put(tmp_path / f"{name}.gz", gzip.compress(raw, 9))
    check_refused(path, format, "unpacks to far more")


@pytest.mark.parametrize("format", sorted(VALID))
def test_what_is_no_file_is_refused_without_waiting(tmp_path, format) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for path, words in (
        (tmp_path / "pipe", "pipe"),
        (tmp_path / "folder", "folder"),
        (tmp_path / "link", "no such file"),
        ("/dev/zero", "device"),
        (tmp_path / ("n" * 5000), "cannot be opened"),
        ("a\0b", "cannot be opened"),
    ):
        check_refused(path, format, words)


@pytest.mark.parametrize("format", sorted(VALID))
def test_damaged_and_foreign_bytes_are_one_line(tmp_path, format) -> None:
    name, text, _ = VALID[format]
    raw = (text or "x" * 500).encode()
    packed = gzip.compress(os.urandom(3000) + raw * 50)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(name, raw)
    for content in (
        b"",
        b"\x00" * 300,
        packed[:-200],
        packed[:40],
        bz2.compress(raw),
        (tmp_path / "x.zip").read_bytes(),
        raw[: len(raw) // 2].rstrip(b"ACGTMKV\n") + b"\xff\xfe\xfd" + raw,
    ):
        check_refused(put(tmp_path / name, content), format)


@pytest.mark.parametrize("format", ["table", "receptors", "smiles", "airr"])
def test_tables_are_bounded_in_columns_and_lines(tmp_path, format) -> None:
    wide = "\t".join(["sequence_id", "sequence_alignment", "cdr3a", "smiles", "sequence"] + ["x"] * 200_000)
    check_refused(put(tmp_path / "x.tsv", wide + "\n" + wide + "\n"), format, "too many columns")
    long = VALID[format][1].split("\n")[0] + "\n" + "x" * (bounds().line + 10) + "\n"
    check_refused(put(tmp_path / "x.tsv", long), format, "too long")


def test_xml_that_could_expand_is_refused(tmp_path) -> None:
    bomb = "<!DOCTYPE x [" + '<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">' + "]>"
    for text in (
        XML.replace("<uniprot ", bomb + "<uniprot "),
        XML.replace("<uniprot ", "<!-- " + "x" * 300_000 + " -->" + bomb + "<uniprot "),
        XML.replace("<entry>", "<entry>" + "<a>" * 5000),
    ):
        check_refused(put(tmp_path / "x.xml", text), "uniprot-xml", "entities|too deeply")


def test_json_of_other_things_is_one_line(tmp_path) -> None:
    for text in (
        "[" * 100_000,
        '{"results": 3}',
        '[{"primaryAccession": 7}]',
        "[1]",
        "{}",
        '"x"',
        "9" * 5000,
    ):
        check_refused(put(tmp_path / "x.json", text), "uniprot-json")


def test_limits_can_be_changed_for_a_while(tmp_path) -> None:
    path = put(tmp_path / "x.fasta.gz", gzip.compress(b">a\n" + b"A" * (8 << 20)))
    check_refused(path, "fasta", "unpacks")
    with limits(ratio=100_000):
        assert si.read_samples(path).lengths.tolist() == [8 << 20]
    with limits(ratio=100_000, unpacked_bytes=1 << 20):
        check_refused(path, "fasta", "at most 1 MiB")
    assert bounds() == Limits()


def test_lines_and_reads_of_the_stream_agree(tmp_path) -> None:
    path = put(tmp_path / "x", "a\rb\r\n\ncd\x0be")
    assert list(read_lines(path)) == [(1, "a"), (2, "b"), (3, ""), (4, "cd\x0be")]
    with Text(path) as handle:
        assert handle.read(0) == ""
        assert [handle.read(3), handle.read(), handle.read()] == ["a\nb", "\n\ncd\x0be", ""]
        assert handle.number == 4


@pytest.mark.parametrize("piece", [1, 2, 7])
def test_lines_do_not_depend_on_how_a_file_is_cut(tmp_path, monkeypatch, piece) -> None:
    monkeypatch.setattr("sciinterp.readers.bounded.CHUNK", piece)
    text = "\ufeffa\r\nb\rc\n\n\ufeffd\u00e9\U0001d538\x0b\x85e\n" + "f" * 30
    lines = ["a", "b", "c", "", "d\u00e9\U0001d538\x0b\x85e", "f" * 30]
    for code in ("utf-8", "utf-16"):
        path = put(tmp_path / "x", text.removeprefix("\ufeff" * (code == "utf-16")).encode(code))
        assert [line for _, line in read_lines(path)] == lines
        with limits(line=20), pytest.raises(FormatError, match=r"too long.*line 6"):
            list(read_lines(path))
    for bad, said in ((b"\xff", "0xff"), (b"\0", "NUL")):
        with pytest.raises(FormatError, match=rf"line 3.*{said}"):
            list(read_lines(put(tmp_path / "y", b"a\nb\nc" + bad + b"d\ne\n")))


def test_a_bad_byte_is_named_with_its_line(tmp_path) -> None:
    path = put(tmp_path / "x", b"ok\rd\xe9j\xe0\r")
    with pytest.raises(FormatError, match=r"line 2.*0xe9"):
        list(read_lines(path))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('a\tb\n"1, 2"\t"say ""x"""\n', [["a", "b"], ["1, 2", 'say "x"']]),
        ('a,b\n"1, 2",3\n\n', [["a", "b"], ["1, 2", "3"]]),
        ('a,b\n"1\n2",3\n', [["a", "b"], ["1\n2", "3"]]),
        ("a;b\n1,5;2\n", [["a", "b"], ["1,5", "2"]]),
        ('a\tb\n5" end\t"x\n', [["a", "b"], ['5" end', '"x']]),
    ],
)
def test_quotes_and_separators_of_spreadsheets(tmp_path, text, rows) -> None:
    assert [cells for _, cells in read_rows(put(tmp_path / "x", text))] == rows


@pytest.mark.parametrize("text", ['a,b\n"1,2\n3,4\n', 'a,b\n"1"x,2\n'])
def test_a_quote_without_its_other_half_is_an_error(tmp_path, text) -> None:
    with pytest.raises(FormatError, match="not a table"):
        list(read_rows(put(tmp_path / "x", text)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id\tsequence\tsequence\na\tMK\tMK\n", "column occurs twice"),
        ("id\tsequence\na\tMK\tx\nb\tMK\n", "wider than the header"),
        ("id\tsequence\n\tMK\n", "without an identifier"),
        ("id\tsequence\na\tMK\na\tMK\n", "more than once"),
    ],
)
def test_tables_that_could_be_misread_are_refused(tmp_path, text, words) -> None:
    check_refused(put(tmp_path / "x.tsv", text), "table", words)


def test_a_table_as_r_writes_it_and_one_cut_short(tmp_path) -> None:
    fasta = put(tmp_path / "x.fasta", ">a\nMK\n>b\nMK\n")
    table = put(tmp_path / "x.tsv", '"family"\t"n"\n"a"\t"f1"\t1\n"b"\t"f2"\t2\n')
    samples = si.read_samples(fasta, table=table)
    assert samples.table["family"].tolist() == ["f1", "f2"]
    short = put(tmp_path / "y.tsv", "id\tfamily\tnote\t\na\tf1\nb\tf2\tx\t\n")
    assert si.read_samples(fasta, table=short).table["note"].tolist() == [None, "x"]


def test_what_cannot_be_told_lists_the_formats(tmp_path) -> None:
    with pytest.raises(FormatError, match="format= of read_samples") as caught:
        si.read_samples(put(tmp_path / "x.txt", "neither this nor that\n"))
    assert all(format in str(caught.value) for format in FORMATS)


@pytest.mark.parametrize("depth", [100, 40_000])
def test_a_protein_below_a_long_licence_is_no_crystal(tmp_path, depth) -> None:
    licence = "".join(f"_x.line{i} word\n" for i in range(depth))
    path = put(tmp_path / "x.cif", MMCIF.replace("_entry.id 1ABC\n", licence))
    assert guess(path) == "mmcif"


def test_cells_of_scaled_values_name_what_can_be_read(tmp_path) -> None:
    needs("h5ad")
    counts = np.array([[2, 0], [0, 3]], np.float32)
    path = write_h5ad(tmp_path / "x.h5ad", counts - 1, layers={"counts": counts})
    assert "layer='counts'" in check_refused(path, "h5ad", "scaled")
    assert si.read_samples(path, layer="counts").data[1] == {"genes": ["G2"], "values": [3.0]}
    with pytest.raises(InputError, match="no such matrix"):
        si.read_samples(path, raw=True)
    with pytest.raises(InputError, match="only AnnData"):
        si.read_samples(put(tmp_path / "x.fasta", ">a\nMK\n"), layer="counts")


def test_a_file_without_x_names_what_it_has(tmp_path) -> None:
    needs("h5ad")
    import h5py

    path = write_h5ad(tmp_path / "x.h5ad", layers={"counts": np.array([[2, 0], [0, 3]], np.float32)})
    with h5py.File(path, "r+") as file:
        del file["X"]
    assert "layer='counts'" in check_refused(path, "h5ad", "no such matrix")
    assert si.read_samples(path, layer="counts").data[1] == {"genes": ["G2"], "values": [3.0]}


@pytest.mark.parametrize("read", [si.read_samples, si.read_annotations])
def test_cells_as_anndata_wrote_them_before_seven_are_named(tmp_path, read) -> None:
    needs("h5ad")
    import h5py

    with h5py.File(tmp_path / "x.h5ad", "w") as file:
        file["X"] = np.eye(2, dtype=np.float32)
        file["obs"] = np.array([(b"c1", 1), (b"c2", 0)], dtype=[("index", "S2"), ("type", "i4")])
        file["var"] = np.array([(b"A",), (b"B",)], dtype=[("index", "S2")])
    with pytest.raises(FormatError, match=r"before 0\.7.*read_h5ad"):
        read(tmp_path / "x.h5ad")


def test_cells_of_raw_counts(tmp_path) -> None:
    needs("h5ad")
    import anndata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = anndata.AnnData(
            np.array([[1, 2]], np.float32),
            obs=pd.DataFrame({"t": pd.Categorical([None], ["a"])}, index=["c1"]),
        )
        data.raw = data
        data.X = data.X - 5
        data.write_h5ad(tmp_path / "x.h5ad")
    samples = si.read_samples(tmp_path / "x.h5ad", raw=True)
    assert samples.data[0]["values"] == [1.0, 2.0]
    assert samples.table["t"].isna().all()


def test_hdf5_that_claims_or_leads_elsewhere_is_refused(tmp_path) -> None:
    needs("h5ad")
    import h5py

    other = write_h5ad(tmp_path / "other.h5ad")
    for change in (
        lambda file: file.create_dataset(
            "X", shape=(1 << 20, 1 << 12), dtype="f4", chunks=True, compression="gzip"
        ),
        lambda file: file.__setitem__("X", h5py.ExternalLink(str(other), "X")),
        lambda file: file.create_dataset("X", shape=(2, 2), dtype="f4", external=[(str(other), 0, 16)]),
        lambda file: None,
    ):
        path = write_h5ad(tmp_path / "x.h5ad")
        with h5py.File(path, "r+") as file:
            del file["X"]
            change(file)
        check_refused(path, "h5ad", "not AnnData")


def test_xml_and_json_come_through_the_same_door(tmp_path) -> None:
    for read in (read_json, lambda path: list(read_xml(path, "entry"))):
        with pytest.raises(InputError, match="folder"):
            read(tmp_path)


def test_a_disk_that_fails_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "a.fasta"
    path.write_text(">a\nMKV\n")

    def fails(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("sciinterp.readers.bounded.os.read", fails)
    for read in (si.read_samples, si.read_annotations, si.read_variants):
        with pytest.raises(InputError, match="Input/output error"):
            read(path)
