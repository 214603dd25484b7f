"""Readers of samples: what they keep, what they count, and the one line they say when a file is wrong."""

import contextlib
import gzip
import string
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sciinterp as si
from sciinterp.errors import FormatError, InputError, SciinterpError
from sciinterp.readers import FORMATS, guess
from sciinterp.readers.sample_tables import smiles_atoms

NAMES = st.text(string.ascii_letters + string.digits + "_.-:", min_size=1, max_size=12)
PROTEINS = st.text("ACDEFGHIKLMNPQRSTVWY", min_size=1, max_size=60)


def put(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@given(
    st.dictionaries(NAMES, PROTEINS, min_size=1, max_size=8),
    st.integers(1, 70),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_fasta_comes_back_however_it_is_written(tmp_path_factory, entries, width, end, mark, packed) -> None:
    lines = []
    for name, sequence in entries.items():
        lines += [
            f">{name} some words",
            *(sequence[i : i + width] for i in range(0, len(sequence), width)),
            "",
        ]
    raw = (b"\xef\xbb\xbf" if mark else b"") + end.join(lines).encode()
    path = put(tmp_path_factory.mktemp("fasta") / "x.fasta", gzip.compress(raw) if packed else raw)
    samples = si.read_samples(path)
    assert dict(zip(samples.ids, samples.sequences)) == entries
    assert samples.n_in == len(entries)
    assert not samples.dropped


def test_fasta_is_cleaned_and_counted(tmp_path) -> None:
    path = put(tmp_path / "x.faa", ">a\nMK V\tL*\n>b\n\n>c\nmkvl\n")
    samples = si.read_samples(path)
    assert samples.sequences == ["MKVL", "MKVL"]
    assert samples.n_in == len(samples) + sum(samples.dropped.values()) == 3
    assert samples.dropped == {"empty sequence": 1}
    assert sum(samples.changed.values()) == 2


def test_a_stop_inside_and_unknown_letters_are_left_to_the_model(tmp_path) -> None:
    assert si.read_samples(put(tmp_path / "x.fa", ">a\nMK*VJ\n")).sequences == ["MK*VJ"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        (">a\n>b\n", "no sequences"),
        ("MKVL\n", "not FASTA"),
        (">a\nMK\n>b\nMK\n>a\nMK\n", "'a'"),
        (">\nMKV\n", "identifier"),
    ],
)
def test_what_is_wrong_with_a_fasta_is_said_in_one_line(tmp_path, text, words) -> None:
    with pytest.raises(SciinterpError, match=words) as caught:
        si.read_samples(put(tmp_path / "x.fasta", text))
    assert "\n" not in str(caught.value)


def test_truncated_and_binary_files_are_refused(tmp_path) -> None:
    packed = gzip.compress(b">a\n" + b"MKVLAAGC" * 100)
    for raw in (packed[:-30], b"\xff\xfe\x00\x01" * 40):
        with pytest.raises(SciinterpError):
            si.read_samples(put(tmp_path / "x.fasta.gz", raw))


def test_a_missing_file_and_an_unknown_format_are_named(tmp_path) -> None:
    with pytest.raises(InputError, match="no such file"):
        si.read_samples(tmp_path / "no.fasta")
    with pytest.raises(InputError, match="fasta"):
        si.read_samples(put(tmp_path / "x", ">a\nMK\n"), format="word")


def test_dna_is_known_from_protein(tmp_path) -> None:
    assert si.read_samples(put(tmp_path / "a.fa", ">a\nACGTNACGTTACGGT\n")).kind == "dna"
    assert si.read_samples(put(tmp_path / "b.fa", ">a\nMKVLAAGC\n")).kind == "protein"
    assert si.read_samples(tmp_path / "b.fa", kind="dna").kind == "dna"


def test_uniprot_titles_give_accessions(tmp_path) -> None:
    path = put(
        tmp_path / "x.fasta", ">sp|P69905|HBA_HUMAN Hemoglobin\nMVLSPADK\n>tr|A0A024R1X5|A0A024_H x\nMKV\n"
    )
    assert si.read_samples(path).ids == ("P69905", "A0A024R1X5")


def test_hostile_identifiers_stay_data(tmp_path) -> None:
    names = ("../../etc/passwd", "<script>alert(1)</script>", "=1+2", "$x^2$")
    path = put(tmp_path / "x.fasta", "".join(f">{n}\nMKV\n" for n in names))
    assert si.read_samples(path).ids == names
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.fasta"]


def test_columns_are_joined_by_identifier(tmp_path) -> None:
    fasta = put(tmp_path / "x.fasta", ">01\nMKV\n>b\nMK\n")
    table = put(tmp_path / "x.tsv", "id\tfamily\tcut\nb\tNA\t2\nz\tq\t3\n01\tf\t1\n")
    samples = si.read_samples(fasta, table=table)
    assert samples.table.index.tolist() == ["01", "b"]
    assert samples.table["family"].tolist() == ["f", None]
    assert samples.table["cut"].tolist() == [1, 2]
    assert "id" not in samples.table.columns
    assert sum(samples.changed.values()) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id\tf\nb\t1\n", "1 missing, the first 'a'"),
        ("id\tf\na\t1\na\t2\nb\t1\n", "twice"),
        ("", "not a table"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, text, words) -> None:
    fasta = put(tmp_path / "x.fasta", ">a\nMKV\n>b\nMK\n")
    with pytest.raises(SciinterpError, match=words):
        si.read_samples(fasta, table=put(tmp_path / "x.tsv", text))


def _records():
    from Bio.Seq import Seq
    from Bio.SeqRecord import SeqRecord

    records = [
        SeqRecord(Seq(s), id=i, name=i.split(".")[0], description="d")
        for i, s in (("AB1.2", "ACGTACGTAA"), ("AB2.1", "GGGTTT"))
    ]
    for record in records:
        record.annotations |= {"molecule_type": "DNA", "organism": "Homo sapiens"}
    return records


@pytest.mark.parametrize(
    ("format", "name"), [("genbank", "x.gb"), ("embl", "x.embl"), ("genbank", "x.txt"), ("embl", "x.dat")]
)
def test_records_through_biopython(tmp_path, format, name) -> None:
    from Bio import SeqIO

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        SeqIO.write(_records(), tmp_path / name, format)
    samples = si.read_samples(tmp_path / name)
    assert samples.ids == ("AB1.2", "AB2.1")
    assert samples.sequences == ["ACGTACGTAA", "GGGTTT"]
    assert samples.kind == "dna"
    assert samples.table["organism"].tolist() == ["Homo sapiens"] * 2


FLAT = """ID   HBA_X                   Reviewed;           5 AA.
AC   P12345; Q11111;
DT   01-JAN-1990, integrated into UniProtKB/Swiss-Prot.
DT   01-JAN-1990, sequence version 1.
DT   01-JAN-2020, entry version 9.
DE   RecName: Full=Something;
OS   Homo sapiens (Human).
OC   Eukaryota.
OX   NCBI_TaxID=9606;
PE   1: Evidence at protein level;
SQ   SEQUENCE   5 AA;  500 MW;  0000000000000000 CRC64;
     MKVLA
//
"""
XML = """<?xml version="1.0" encoding="UTF-8"?>
<uniprot xmlns="http://uniprot.org/uniprot">
<entry dataset="Swiss-Prot" created="1990-01-01" modified="2020-01-01" version="9">
<accession>P12345</accession><accession>Q11111</accession><name>HBA_X</name>
<protein><recommendedName><fullName>Something</fullName></recommendedName></protein>
<organism><name type="scientific">Homo sapiens</name><dbReference type="NCBI Taxonomy" id="9606"/></organism>
<sequence length="5" mass="500" checksum="0" modified="1990-01-01" version="1">MKVLA</sequence>
</entry></uniprot>
"""


@pytest.mark.parametrize(("name", "text"), [("x.dat", FLAT), ("x.xml", XML)])
def test_uniprot_flat_and_xml_give_the_first_accession(tmp_path, name, text) -> None:
    samples = si.read_samples(put(tmp_path / name, text))
    assert samples.ids == ("P12345",)
    assert samples.sequences == ["MKVLA"]
    assert samples.table["organism"].iloc[0].startswith("Homo sapiens")


def test_xml_that_declares_entities_is_refused(tmp_path) -> None:
    bomb = XML.replace("<uniprot ", '<!DOCTYPE x [<!ENTITY a "aaaa">]>\n<uniprot ')
    with pytest.raises(FormatError, match="entities"):
        si.read_samples(put(tmp_path / "x.xml", bomb))


def test_positions_of_molecules_are_atoms(tmp_path) -> None:
    path = put(tmp_path / "x.csv", "name,smiles,logp\nbenzene,c1ccccc1,2.1\nsalt,[Na+].[Cl-],\nnothing,,0\n")
    samples = si.read_samples(path)
    assert samples.kind == "smiles"
    assert samples.lengths.tolist() == [6, 2]
    np.testing.assert_array_equal(samples.table["logp"], [2.1, np.nan])
    assert samples.dropped == {"empty SMILES": 1}
    rows = si.read_samples(put(tmp_path / "x.smi", "CCO ethanol\nCC(=O)Cl\n"))
    assert rows.ids == ("ethanol", "row2")
    assert rows.lengths.tolist() == [3, 4]


def test_atoms_of_a_reaction_are_where_they_stand() -> None:
    text = "Cl.[nH]1cccc1>>BrC*"
    assert [text[a:b] for a, b in smiles_atoms(text)] == ["Cl", "[nH]", "c", "c", "c", "c", "Br", "C", "*"]


def test_a_table_of_sequences(tmp_path) -> None:
    samples = si.read_samples(
        put(tmp_path / "x.tsv", "id\tsequence\tdonor\na\tMKV\td1\nb\t\td2\nc\tMK\td3\n")
    )
    assert samples.ids == ("a", "c")
    assert samples.table["donor"].tolist() == ["d1", "d3"]
    with pytest.raises(FormatError, match="sequence"):
        si.read_samples(put(tmp_path / "y.tsv", "id\tx\na\t1\n"))


PDB = """HEADER    TEST                                    01-JAN-00   1ABC
ATOM      1  N   MET A   1       0.000   0.000   0.000  1.00  0.00           N
ATOM      2  CA  MET A   1       1.400   0.000   0.000  1.00  0.00           C
ATOM      3  N   LYS A   5       2.000   1.000   0.000  1.00  0.00           N
ATOM      4  CA  LYS A   5       3.400   1.000   0.000  1.00  0.00           C
HETATM    5  N   MSE A   6       4.000   1.000   0.000  1.00  0.00           N
HETATM    6  CA  MSE A   6       5.400   1.000   0.000  1.00  0.00           C
HETATM    7  O   HOH A 101       9.400   1.000   0.000  1.00  0.00           O
HETATM    8 ZN    ZN B   1       9.400   5.000   0.000  1.00  0.00          ZN
END
"""


def test_positions_of_a_structure_are_residues_with_coordinates(tmp_path) -> None:
    samples = si.read_samples(put(tmp_path / "x.pdb", PDB))
    assert samples.ids == ("1ABC_A",)
    assert samples.sequences == ["MKM"]
    assert samples.dropped == {"empty sequence": 1}
    from Bio import PDB as bio

    out = bio.MMCIFIO()
    out.set_structure(bio.PDBParser(QUIET=True).get_structure("x", tmp_path / "x.pdb"))
    out.save(str(tmp_path / "y.mmcif"))
    assert si.read_samples(tmp_path / "y.mmcif").sequences == ["MKM"]


CIF = """data_NaCl
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1 Na 0 0 0
Cl1 Cl 0.5 0.5 0.5
"""


def test_crystals_are_plain_records_of_atoms(tmp_path) -> None:
    path = put(tmp_path / "x.cif", CIF)
    pytest.importorskip("pymatgen.io.cif", reason="the extra 'crystals' is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = si.read_samples(path)
    assert samples.kind == "crystal"
    assert samples.ids == ("NaCl",)
    assert samples.lengths.tolist() == [8]
    assert sorted(set(samples.data[0]["species"])) == ["Cl", "Na"]


def test_cells_have_the_genes_they_express(tmp_path) -> None:
    anndata = pytest.importorskip("anndata", reason="anndata is not installed")
    counts = np.array([[0, 2.5, 1], [0, 0, 0], [3, 0, 0]], dtype=np.float32)
    obs = pd.DataFrame(
        {"donor": pd.Categorical(["d1", "d2", "d1"]), "n": [1, 2, 3]}, index=["c1", "c2", "c3"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=["G1", "G2", "G3"])).write_h5ad(
            tmp_path / "x.h5ad"
        )
    samples = si.read_samples(tmp_path / "x.h5ad")
    assert samples.kind == "cells"
    assert samples.ids == ("c1", "c3")
    assert samples.data == ({"genes": ["G2", "G3"], "values": [2.5, 1.0]}, {"genes": ["G1"], "values": [3.0]})
    assert samples.table["donor"].tolist() == ["d1", "d1"]
    assert samples.dropped == {"no gene expressed": 1}


def test_stored_samples_keep_every_kind_of_data(tmp_path) -> None:
    from sciinterp.store.samples_file import load_samples, save_samples

    molecules = si.read_samples(put(tmp_path / "x.smi", "CCO ethanol\nC[NH3+] amine\n"))
    save_samples(tmp_path, molecules)
    again = load_samples(tmp_path)
    assert again.digest == molecules.digest
    assert again.lengths.tolist() == molecules.lengths.tolist()


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"h5ad", "cif"}))
@given(raw=st.binary(max_size=200) | st.text(max_size=120).map(str.encode))
@settings(max_examples=25, deadline=None)
def test_any_bytes_give_samples_or_one_error(tmp_path_factory, format, raw) -> None:
    path = put(tmp_path_factory.mktemp("bytes") / "x", raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            samples = si.read_samples(path, format=format)
        except SciinterpError as error:
            said = str(error)
        else:
            said = ""
            assert samples.n_in == len(samples) + sum(samples.dropped.values())
    assert "\n" not in said


@pytest.mark.parametrize(("format", "text"), [("uniprot", FLAT), ("uniprot-xml", XML), ("pdb", PDB)])
@given(at=st.integers(0, 1200), n=st.integers(1, 80), put_in=st.binary(max_size=5))
@settings(max_examples=40, deadline=None)
def test_damaged_files_give_samples_or_one_error(tmp_path_factory, format, text, at, n, put_in) -> None:
    raw = text.encode()
    at %= len(raw)
    path = put(tmp_path_factory.mktemp("damaged") / "x", raw[:at] + put_in + raw[at + n :])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(SciinterpError):
            samples = si.read_samples(path, format=format)
            assert samples.n_positions == sum(map(len, samples.data))


def test_formats_are_guessed_by_content(tmp_path) -> None:
    for text, format in (
        (FLAT, "uniprot"),
        (XML, "uniprot-xml"),
        (PDB, "pdb"),
        (">a\nMK\n", "fasta"),
        ("sequence_id\tsequence_alignment\n", "airr"),
    ):
        assert guess(put(tmp_path / "x", text)) == format
    assert guess(put(tmp_path / "x.cif", CIF)) == "cif"
    assert guess(put(tmp_path / "x.cif", "data_1ABC\n_entry.id 1ABC\n")) == "mmcif"


TABLES = [  # name, text -> identifiers, sequences, dropped, changed
    ("x.csv", "id,sequence\na,MKV\nb,\nc,NA\nd,nan\n", ("a",), ["MKV"], {"empty sequence": 3}, {}),
    ("x.csv", "smiles,id\nCCO,007\nnan,c\nNA,d\n", ("007",), ["CCO"], {"empty SMILES": 2}, {}),
    ("x.fa", ">a\n 1 MKV LLL\n 7 MKK\n", ("a",), ["MKVLLLMKK"], {}, {"numbers removed from the sequence": 1}),
    ("x.fa", ">sp|P69905|HBA x\rmkv*\r>1.10\rMKL\r", ("P69905", "1.10"), ["MKV", "MKL"], {},
     {"name shortened to its accession": 1, "stop sign removed from the end": 1}),
    ("x.fna", ">chr1\nACGTacgtNNRYK\n", ("chr1",), ["ACGTACGTNNRYK"], {}, {}),
    ("x.csv", '\ufeff"id";"Sequence"\n"007";"MKV"\n', ("007",), ["MKV"], {}, {}),
    ("x.fa", ">a\n; a comment\nMKV\n;\nLA\n", ("a",), ["MKVLA"], {}, {}),
    ("x.csv", ",sequence,donor\nP1,MKV,d\nP2,MKL,d\n", ("P1", "P2"), ["MKV", "MKL"], {}, {}),  # pandas' index
    ("x.csv", '"sequence","donor"\n"P1","MKV","d"\n"P2","MKL","d"\n', ("P1", "P2"), ["MKV", "MKL"], {}, {}),  # R's
    ("x.csv", ",smiles\nethanol,CCO\nmethane,C\n", ("ethanol", "methane"), ["CCO", "C"], {}, {}),
    ("x.csv", "donor,protein_id,sequence\nd,P1,MKV\nd,P2,MKL\n", ("P1", "P2"), ["MKV", "MKL"], {}, {}),
    ("x.csv", "sample,sequence,sequence_id\nd1,MKV,P1\nd1,MKL,P2\n", ("P1", "P2"), ["MKV", "MKL"], {}, {}),
    ("x.csv", "protein,sequence\nP1,MKV\nP1,MKL\n", ("row1", "row2"), ["MKV", "MKL"], {}, {}),  # no row has its own
    ("x.csv", ",sequence\n0,MKV\n1,MKL\n", ("row1", "row2"), ["MKV", "MKL"], {}, {}),
    ("x.smi", "CC |r,c:1| a\nCCC |$x$|\tb b\nCCN c |d\n", ("a", "b b", "c |d"), ["CC", "CCC", "CCN"], {}, {}),
    ("x.csv", "id,smiles\na,CCO |r|\n", ("a",), ["CCO"], {}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "ids", "data", "dropped", "changed"), TABLES)
def test_what_a_cell_or_line_means(tmp_path, caplog, name, text, ids, data, dropped, changed) -> None:
    for index in (False, True) if name.endswith(".fa") and "\r" not in text else (False,):
        samples = si.read_samples(put(tmp_path / name, text), index=index)
        assert tuple(samples.ids) == ids
        assert list(samples.data) == data
        assert samples.dropped == dropped
        assert samples.changed == changed
    assert ("samples are row1, row2" in caplog.text) == ("row1" in ids)
    assert ("repeats its names" in caplog.text) == ("sequence_id" in text)


def test_a_description_of_pir_never_becomes_residues(tmp_path) -> None:
    path = put(tmp_path / "x.fasta", ">P1;CRAB_ANAPL\nALPHA CRYSTALLIN B CHAIN\n  MDITIHNPLI*\n")
    for index in (False, True):
        with pytest.raises(FormatError, match="NBRF/PIR"):
            si.read_samples(path, index=index)


@pytest.mark.parametrize(
    ("letters", "kind"),
    [("ACGT--ACGTAC", "dna"), ("ACGU..ACGUAC", "dna"), ("----ACGTNN", "dna"), ("MK--VLAAGC", "protein"), ("----", "protein")],
)  # fmt: skip
def test_gaps_of_an_alignment_are_no_letters(tmp_path, letters, kind) -> None:
    path = put(tmp_path / "x.fa", f">a\n{letters}\n")
    assert {si.read_samples(path, index=index).kind for index in (False, True)} == {kind}


@pytest.mark.parametrize("blank", ["ACCESSION   .\nVERSION     .\n", "ACCESSION   \nVERSION     \n", ""])
def test_plasmids_without_an_accession_have_their_names(tmp_path, blank) -> None:
    text = "".join(
        f"LOCUS       {name:<16}{10:>12} bp    DNA     circular SYN 01-JAN-2020\nDEFINITION  .\n{blank}FEATURES"
        f"             Location/Qualifiers\n     CDS             2..7\nORIGIN\n        1 acgtacgtaa\n//\n"
        for name in ("pUC19", "pBR322")
    )
    path = put(tmp_path / "x.gb", text)
    assert list(si.read_samples(path).ids) == ["pUC19", "pBR322"]
    assert si.read_annotations(path).frame["sample"].tolist() == ["pUC19", "pBR322"]
