"""Records of backbones: packed and back, from structures and from a table, what is missing said."""

import gzip

import numpy as np
import pytest

import sciinterp as si
from sciinterp.errors import FormatError, InputError
from sciinterp.readers.backbones import BREAKS, BROKEN, NO_RESIDUE, pack, places_of, write_backbones
from sciinterp.readers.structures import UNTRACED

PDB = """ATOM      1  N   ALA A   1      11.104   6.134  -6.504  1.00  0.00           N
ATOM      2  CA  ALA A   1      11.639   6.071  -5.147  1.00  0.00           C
ATOM      3  C   ALA A   1      10.734   5.271  -4.238  1.00  0.00           C
ATOM      4  O   ALA A   1       9.530   5.500  -4.200  1.00  0.00           O
ATOM      5  N   GLY A   2      11.300   4.300  -3.500  1.00  0.00           N
ATOM      6  CA  GLY A   2      10.500   3.400  -2.600  1.00  0.00           C
ATOM      7  C   GLY A   2      11.300   2.200  -2.100  1.00  0.00           C
ATOM      8  N   SER A   2A     12.300   2.100  -1.300  1.00  0.00           N
ATOM      9  CA  SER A   2A     12.900   1.100  -0.500  1.00  0.00           C
ATOM     10  C   SER A   2A     13.100   0.100  -0.400  1.00  0.00           C
ATOM     11  O   SER A   2A     13.500   0.050   0.400  1.00  0.00           O
TER
ATOM     12  N   TRP B   5      21.104   6.134  -6.504  1.00  0.00           N
ATOM     13  CA  TRP B   5      21.639   6.071  -5.147  1.00  0.00           C
ATOM     14  C   TRP B   5      20.734   5.271  -4.238  1.00  0.00           C
ATOM     15  O   TRP B   5      19.530   5.500  -4.200  1.00  0.00           O
HETATM   16 ZN    ZN A 101      15.000   5.000  -4.000  1.00  0.00          ZN
HETATM   17  O   HOH A 201      16.000   5.000  -4.000  1.00  0.00           O
END
"""


@pytest.fixture
def entry(tmp_path):
    path = tmp_path / "1abc.pdb"
    path.write_text(PDB)
    return path


def test_an_entry_is_one_sample_and_its_chains_are_entities(entry) -> None:
    samples = si.read_samples(entry, kind="structure")
    assert samples.kind == "structure" and samples.ids == ("1abc",)
    d = samples[0].data
    assert d["sequence"] == samples[0].sequence == "AGSW" and d["chain"] == list("AAAB")
    assert d["number"] == [1, 2, 2, 5] and d["insertion"] == ["", "", "A", ""]
    assert d["elements"] == ["ZN"] and d["places"] == [[15.0, 5.0, -4.0]]
    places = places_of(d)
    assert places.shape == (4, 4, 3) and np.isnan(places[1, 3]).all() and np.isnan(places).sum() == 3
    assert places[3, 1].tolist() == [21.639, 6.071, -5.147]
    assert samples.changed == {BROKEN: 1}


def _without(*atoms: tuple[int, str]) -> str:
    """The entry without some atoms, by residue number and name."""
    lines = PDB.splitlines(keepends=True)
    return "".join(x for x in lines if x[:4] != "ATOM" or (int(x[22:26]), x[12:16].strip()) not in atoms)


@pytest.mark.parametrize(
    ("text", "letters", "said"),
    [
        (_without((1, "CA")), "GSW", {UNTRACED: 1, BROKEN: 1}),
        (_without((1, "C")), "AGSW", {BROKEN: 2, BREAKS: 1}),
        (_without((5, "CA")), "AGS", {UNTRACED: 1, BROKEN: 1}),
        (_without((2, "C")), "AGSW", {BROKEN: 2, BREAKS: 1}),
        (PDB.replace("ALA A   1 ", "MSE A   1 "), "MGSW", {BROKEN: 1}),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_and_no_part_of_a_residue_is_a_ligand(tmp_path, text, letters, said) -> None:
    (tmp_path / "x.pdb").write_text(text)
    samples = si.read_samples(tmp_path / "x.pdb", kind="structure")
    assert samples.letters == [letters] and samples[0].data["elements"] == ["ZN"]
    assert samples.changed == said


def test_the_first_of_several_models_is_read_and_said(tmp_path, caplog) -> None:
    atoms = PDB.removesuffix("END\n")
    moved = atoms.replace("11.104", "91.104")
    (tmp_path / "x.pdb").write_text(f"MODEL        1\n{atoms}ENDMDL\nMODEL        2\n{moved}ENDMDL\nEND\n")
    one = si.read_samples(tmp_path / "x.pdb", kind="structure")
    assert places_of(one[0].data)[0, 0, 0] == 11.104 and one.letters == ["AGSW"]
    assert "x.pdb: the first of 2 models is read" in caplog.text


def test_a_chain_of_a_ligand_alone_is_no_sample_and_counted(tmp_path) -> None:
    (tmp_path / "x.pdb").write_text(PDB.replace("ZN    ZN A", "ZN    ZN Z"))
    whole, apart = (si.read_samples(tmp_path / "x.pdb", kind=kind) for kind in ("structure", "chains"))
    assert whole[0].data["elements"] == ["ZN"] and all("elements" not in s.data for s in apart)
    assert apart.ids == ("x_A", "x_B") and apart.n_in == 3 and apart.dropped == {NO_RESIDUE: 1}


def test_chains_apart_stand_on_the_positions_of_their_letters(entry) -> None:
    apart, letters = (si.read_samples(entry, kind=kind) for kind in ("chains", None))
    assert apart.ids == letters.ids and apart.letters == letters.sequences
    assert apart.table["chain"].tolist() == ["A", "B"]


def test_packed_places_are_the_places() -> None:
    draw = np.random.default_rng(0).normal(0, 50, (7, 4, 3))
    draw[2, 1] = np.nan
    back = places_of({"backbone": pack(draw)})
    assert np.allclose(back, draw, atol=5.1e-4, equal_nan=True)
    nested = [[None if np.isnan(a).any() else a.tolist() for a in r] for r in draw]
    assert np.array_equal(places_of({"backbone": nested}), draw, equal_nan=True)


@pytest.mark.parametrize("ending", ["tsv", "tsv.gz"])
def test_a_table_gives_back_what_was_written(entry, tmp_path, ending) -> None:
    samples, path = si.read_samples(entry, kind="chains"), tmp_path / f"x.{ending}"
    write_backbones(path, samples)
    first = path.read_bytes()
    again = si.read_samples(path)
    assert again.kind == "structure" and again.ids == samples.ids and again.letters == samples.letters
    assert again.data == samples.data and "elements" in again[0].data
    write_backbones(path, again)
    assert path.read_bytes() == first


def test_rows_that_are_no_residues_are_named(tmp_path) -> None:
    head = "sample\tchain\tnumber\tletter\tN\tCA\tC\tO\n"
    good = "a\tA\t1\tG\t0 0 0\t1 0 0\t1 1 0\t1 1 1\n"
    for bad in (
        "a\tA\tx\tG\t0 0 0\t1 0 0\t\t",
        "a\tA\t1\tJ\t\t\t\t",
        "a\t\tZN\t*\t\t\t\t",
        "a\t\t7\t*\t\t0 0 0\t\t",
        "a\tA\t1\tG\t0 0\t\t\t",
        "a\tA\t1\tG\t\t\tnan 0 0\t",
    ):
        (tmp_path / "x.tsv").write_text(head + good + bad + "\n")
        with pytest.raises(FormatError, match="line 3"):
            si.read_samples(tmp_path / "x.tsv")
    (tmp_path / "x.tsv").write_text(head + good + good.replace("a\t", "b\t", 1) + good)
    with pytest.raises(InputError, match="more than once"):
        si.read_samples(tmp_path / "x.tsv")
    (tmp_path / "x.tsv.gz").write_bytes(gzip.compress((head + good).encode()))
    assert si.read_samples(tmp_path / "x.tsv.gz").letters == ["G"]


def test_samples_keep_their_backbones_in_a_store(entry, tmp_path) -> None:
    from sciinterp.store.samples_file import load_samples, save_samples

    samples = si.read_samples(entry, kind="structure")
    save_samples(tmp_path, samples)
    again = load_samples(tmp_path)
    assert again.data == samples.data and again.digest == samples.digest and again.letters == ["AGSW"]
