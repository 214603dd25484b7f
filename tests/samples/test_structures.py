"""Residues of a structure: however a residue is modelled it is one, for samples, annotations and the browser alike."""

from itertools import chain

import numpy as np
import pytest

import sciinterp as si
from sciinterp.errors import FormatError, SciinterpError
from sciinterp.readers.structures import read_structure
from sciinterp.report.viewer import read_structure as read_traces

BACKBONE = ("N", "CA", "C", "O")
OFFSETS = np.array([[1.4, -0.7, -0.9], [0, 0, 0], [-0.8, 0.7, 1.1], [-0.5, 1.0, 2.3]])


def atoms(
    name, number, *, record="ATOM", chain="A", at=None, altloc=" ", icode=" ", occupancy=1.0, names=BACKBONE
):
    """Lines of one residue on a helix, by place."""
    at = number if at is None else at
    centre = np.array([2.3 * np.cos(1.745 * at), 2.3 * np.sin(1.745 * at), 1.5 * at])
    for atom, (x, y, z) in zip(names, centre + OFFSETS):
        yield (
            f"{record:<6}{1:>5}  {atom:<3}{altloc}{name:>3} {chain}{number:>4}{icode}   "
            f"{x:8.3f}{y:8.3f}{z:8.3f}{occupancy:6.2f}{50.0:6.2f}          {atom[0]:>2}"
        )


def chain_of(replaced=(), n=12):
    """Twelve alanines, of which some are modelled in another way."""
    other = dict(replaced)
    lines = ["HEADER    TEST                                    01-JAN-20   1ABC"]
    for i in range(1, n + 1):
        lines += other.get(i) or list(atoms("ALA", i))
    return "\n".join([*lines, *other.get(0, []), "END", ""])


def in_turn(*residues):
    return [line for lines in zip(*residues) for line in lines]


def twin(standard, modified, number=5, occupancies=(0.4, 0.6)):
    return (
        list(atoms(standard, number, altloc="A", occupancy=occupancies[0])),
        list(atoms(modified, number, altloc="B", record="HETATM", occupancy=occupancies[1])),
    )


ZINC = "HETATM    1 ZN    ZN A 301       9.000   9.000   9.000  1.00  0.00          ZN"
CALCIUM = "HETATM    1 CA    CA A 302      29.000   9.000   9.000  1.00  0.00          CA"
WATER = "HETATM    1  O   HOH A 401       9.500   1.000   0.000  1.00  0.00           O"
# name -> (what replaces residues of a chain of twelve alanines, the sequence)
CASES = {
    "plain": ({}, "A" * 12),
    "MET and MSE": ({5: [*chain.from_iterable(twin("MET", "MSE"))]}, "AAAAMAAAAAAA"),
    "MSE before MET": ({5: [*chain.from_iterable(reversed(twin("MET", "MSE")))]}, "AAAAMAAAAAAA"),
    "CYS and CSO in turn": ({5: in_turn(*twin("CYS", "CSO"))}, "AAAACAAAAAAA"),
    "LYS and KCX at the end of the file": (
        {5: twin("LYS", "KCX")[0], 0: twin("LYS", "KCX")[1]},
        "AAAAKAAAAAAA",
    ),
    "two amino acids, the better occupied": (
        {5: [*atoms("GLY", 5, altloc="A", occupancy=0.3), *atoms("SER", 5, altloc="B", occupancy=0.7)]},
        "AAAASAAAAAAA",
    ),
    "two amino acids in turn, alike": (
        {
            5: in_turn(
                list(atoms("GLY", 5, altloc="A", occupancy=0.5)),
                list(atoms("SER", 5, altloc="B", occupancy=0.5)),
            )
        },
        "AAAAGAAAAAAA",
    ),
    "alternative locations of one residue": (
        {
            5: in_turn(
                list(atoms("SER", 5, altloc="A", occupancy=0.5)),
                list(atoms("SER", 5, altloc="B", occupancy=0.5)),
            )
        },
        "AAAASAAAAAAA",
    ),
    "insertion codes": (
        {5: [*atoms("TRP", 5), *atoms("TYR", 5, at=20, icode="A"), *atoms("PHE", 5, at=21, icode="B")]},
        "AAAAWYFAAAAAAA",
    ),
    "a modified residue alone": ({5: list(atoms("SEP", 5, record="HETATM"))}, "AAAASAAAAAAA"),
    "a residue nobody knows": ({5: list(atoms("QQQ", 5))}, "AAAAXAAAAAAA"),
    "ions and water": ({0: [ZINC, CALCIUM, WATER]}, "A" * 12),
    "an amino acid as a ligand": ({0: list(atoms("GLU", 501, record="HETATM", at=30))}, "A" * 12),
    "no coordinates of the alpha carbon": ({5: list(atoms("TRP", 5, names=("N",)))}, "A" * 11),
    "a trace of alpha carbons": (
        {i: [line for line in atoms("ALA", i) if " CA " in line] for i in range(1, 13)},
        "A" * 12,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_samples_annotations_and_browser_count_the_same_residues(tmp_path, name) -> None:
    replaced, sequence = CASES[name]
    path = tmp_path / "x.pdb"
    path.write_text(chain_of(replaced))
    samples = si.read_samples(path)
    assert samples.ids == ("1ABC_A",)
    assert samples.sequences == [sequence]
    _, (found,) = read_structure(path)
    assert len(found.residues) == len(sequence)
    trace = read_traces(path, sequence)
    assert trace["position"] == list(range(len(sequence)))
    pytest.importorskip("biotite", reason="biotite annotates structures")
    annotations = si.read_annotations(path)
    assert annotations.counts["n_in"] == len(sequence)
    rows = annotations.frame
    assert rows["end"].max() <= len(sequence)
    assert set(rows["sample"]) == {"1ABC_A"}


@pytest.mark.parametrize(
    "name", ["plain", "two amino acids, the better occupied", "insertion codes", "ions and water"]
)
def test_mmcif_gives_the_residues_of_pdb(tmp_path, name) -> None:
    from Bio import PDB

    replaced, sequence = CASES[name]
    (tmp_path / "x.pdb").write_text(chain_of(replaced))
    out = PDB.MMCIFIO()
    out.set_structure(PDB.PDBParser(QUIET=True).get_structure("x", tmp_path / "x.pdb"))
    out.save(str(tmp_path / "y.cif"))
    assert si.read_samples(tmp_path / "y.cif").sequences == [sequence]
    text = (tmp_path / "y.cif").read_text()
    for line, entry in (
        ("_entry.id 4HHB\n", "4HHB"),
        ("_entry.id AF-P69905-F1\n", "AF-P69905-F1"),
        ("_entry.id ?\n", "y"),
    ):
        head, _, rest = text.partition("\n")
        (tmp_path / "y.cif").write_text(f"{head}\n{line}{rest}")
        assert si.read_samples(tmp_path / "y.cif").ids == (f"{entry}_A",)


def test_only_the_first_model_is_read(tmp_path) -> None:
    one = "\n".join(["MODEL        1", *atoms("ALA", 1), "ENDMDL", ""])
    two = "\n".join(["MODEL        2", *atoms("TRP", 1), *atoms("TRP", 2), "ENDMDL", "END", ""])
    (tmp_path / "x.pdb").write_text(one + two)
    assert si.read_samples(tmp_path / "x.pdb").sequences == ["A"]


def test_numbers_and_places_are_those_of_the_file(tmp_path) -> None:
    (tmp_path / "x.pdb").write_text(chain_of(CASES["insertion codes"][0]))
    _, (found,) = read_structure(tmp_path / "x.pdb")
    assert [(r.number, r.insertion) for r in found.residues[4:8]] == [(5, ""), (5, "A"), (5, "B"), (6, "")]
    assert np.allclose(
        found.residues[0].alpha.coord, [2.3 * np.cos(1.745), 2.3 * np.sin(1.745), 1.5], atol=1e-3
    )


@pytest.mark.parametrize("text", ["", "not a structure\n", "data_x\n", "data_x\nloop_\n_atom_site.id\n1\n"])
@pytest.mark.parametrize("format", ["pdb", "mmcif"])
def test_what_is_no_structure_is_one_error(tmp_path, format, text) -> None:
    path = tmp_path / "x"
    path.write_text(text)
    for read in (si.read_samples, lambda p, format: si.read_annotations(p, format="structure")):
        with pytest.raises(SciinterpError) as caught:
            read(path, format=format)
        assert "\n" not in str(caught.value)
    with pytest.raises(FormatError):
        read_traces(path, "MKV")
