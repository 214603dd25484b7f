"""Residues of a structure: however a residue is modelled it is one, for samples, annotations and the browser alike."""

import gzip
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
    "protonation states of force fields": (
        {
            i: list(atoms(name, i, names=(*BACKBONE[:3], more)))
            for i, (name, more) in enumerate(
                [
                    ("HID", "O"),
                    ("HIE", "O"),
                    ("HSD", "O"),
                    ("HSP", "O"),
                    ("HSE", "CE1"),
                    ("HSE", "O"),
                    ("CYX", "O"),
                    ("ASH", "O"),
                    ("GLH", "OE2"),
                    ("LYN", "O"),
                ],
                2,
            )
        },
        "AHHHHHSCDEKA",
    ),
    "letters beyond the twenty, right-handed amino acids": (
        {i: list(atoms(n, i, record="HETATM")) for i, n in enumerate("SEC PYL DAL DTR MED HYP".split(), 2)}
        | {8: list(atoms("ASX", 8))},
        "AUOAWMPBAAAA",
    ),
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


COLUMNS = (
    "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id label_seq_id "
    "pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv auth_seq_id auth_comp_id auth_asym_id auth_atom_id "
    "pdbx_PDB_model_num"
).split()


def mmcif(pdb, *, without=(), columns=COLUMNS, quote='"', chains="", **instead):
    """The entry as mmCIF: the archive's own numbers and names of chains beside those of the author."""
    names = [name for name in columns if name not in without]
    lines = ["data_1ABC", "_entry.id 1ABC", "#", "loop_", *(f"_atom_site.{name}" for name in names)]
    number, last, model = 0, None, "1"
    for line in pdb.splitlines():
        model = line[10:14].strip() if line.startswith("MODEL") else model
        if line.startswith(("ATOM", "HETATM")):
            number, last = number + (line[21:27] != last), line[21:27]
            hetero, atom = line.startswith("HETATM"), f"{quote}{line[12:16].strip()}{quote}"
            chain = line[21] if chains == "author" else "B" if hetero else "Z"
            where = [line[a : a + 8].strip() for a in (30, 38, 46)]
            cells = [
                line[:6].strip(), "1", line[76:78].strip(), atom, line[16].strip() or ".", line[17:20].strip(), chain,
                "1", "." if hetero else str(number), line[26].strip() or "?", *where, line[54:60].strip(),
                line[60:66].strip(), line[22:26].strip(), line[17:20].strip(), line[21], atom, model,
            ]  # fmt: skip
            values = dict(zip(COLUMNS, cells)) | instead
            lines.append(" ".join(values[name] for name in names))
    return "\n".join([*lines, "#", ""])


def residues(path):
    code, chains = read_structure(path)
    return code, [
        (c.name, [(r.number, r.insertion, r.name, r.hetero, len(r.atoms)) for r in c.residues], [(r.number, r.name) for r in c.others])
        for c in chains
    ]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_mmcif_is_its_pdb_twin(tmp_path, name) -> None:
    (tmp_path / "x.pdb").write_text(chain_of(CASES[name][0]))
    (tmp_path / "x.cif").write_text(mmcif(chain_of(CASES[name][0])))
    assert residues(tmp_path / "x.cif") == residues(tmp_path / "x.pdb")
    assert si.read_samples(tmp_path / "x.cif").sequences == [CASES[name][1]]


AUTHOR = ("auth_seq_id", "auth_comp_id", "auth_asym_id", "auth_atom_id")
# How writers of mmCIF differ: what is left out, said in another way, or written after.
WRITERS = {
    **{f"without {name}": {"without": (name,)} for name in COLUMNS if not name.startswith(("Cartn", "auth", "label_alt"))},
    "without alternatives": {"without": ("label_alt_id",)},
    "without the author": {"without": AUTHOR, "chains": "author"},
    "only the author's atoms": {"without": ("label_atom_id", "label_comp_id")},
    "columns backwards": {"columns": COLUMNS[::-1]},
    "without quotes": {"quote": ""},
    "single quotes": {"quote": "'"},
    "no occupancy said": {"occupancy": "?"},
    "no factor said": {"B_iso_or_equiv": "."},
    "with uncertainties": {"occupancy": "1.00(2)", "B_iso_or_equiv": "50.0(12)"},
    "no author's number": {"auth_seq_id": "?"},
    "no author's chain": {"auth_asym_id": "?", "chains": "author"},
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_mmcif_of_any_writer(tmp_path, name) -> None:
    (tmp_path / "x.pdb").write_text(chain_of())
    (tmp_path / "x.cif").write_text(mmcif(chain_of(), **WRITERS[name]))
    assert residues(tmp_path / "x.cif") == residues(tmp_path / "x.pdb")


TWO = "\n".join(["HEADER    TEST                                    01-JAN-20   1ABC", "MODEL        5", *atoms("ALA", 1),
                 "ENDMDL", "MODEL        7", *atoms("TRP", 1), "ENDMDL", "END", ""])  # fmt: skip
FORMS = {
    "models": lambda text: mmcif(TWO).encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
    "capitals": lambda text: text.replace("_atom_site", "_ATOM_SITE").replace("loop_", "LOOP_").encode(),
    "comments": lambda text: f"# of a program\n\n{text}".encode(),
    "two blocks": lambda text: (text + text.replace("1ABC", "2XYZ")).encode(),
}


@pytest.mark.parametrize("name", FORMS)
def test_mmcif_in_any_form(tmp_path, name) -> None:
    (tmp_path / "x.pdb").write_text(TWO if name == "models" else chain_of(CASES["insertion codes"][0]))
    (tmp_path / "x.cif").write_bytes(FORMS[name](mmcif(chain_of(CASES["insertion codes"][0]))))
    assert residues(tmp_path / "x.cif") == residues(tmp_path / "x.pdb")


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        ({"without": ("Cartn_x",)}, "no _atom_site.cartn_x"),
        ({"Cartn_y": "nan"}, "is no number"),
        ({"Cartn_z": "x"}, "x"),
    ],
)
def test_mmcif_without_places_is_one_line(tmp_path, instead, said) -> None:
    (tmp_path / "x.cif").write_text(mmcif(chain_of(), **instead))
    with pytest.raises(FormatError, match=said) as error:
        read_structure(tmp_path / "x.cif")
    assert "\n" not in str(error.value)


# Molecules of one chain's name, each a first number and its residues -> chains and sequences.
TWINS = {
    "a dimer": ([(1, "ALA GLY SER"), (1, "ALA GLY SER")], {"A": "AGS", "A-2": "AGS"}),
    "another molecule": ([(1, "ALA GLY SER"), (1, "LYS ARG")], {"A": "AGS", "A-2": "KR"}),
    "three, the numbers of the second lower": (
        [(5, "ALA GLY"), (3, "LYS ARG HIS TRP"), (4, "PHE")], {"A": "AG", "A-2": "KRHW", "A-3": "F"},
    ),
    "numbers that go on": ([(1, "ALA GLY"), (3, "LYS ARG")], {"A": "AGKR"}),
    "a number between": ([(1, "ALA GLY"), (5, "LYS"), (3, "ARG")], {"A": "AGKR"}),
}  # fmt: skip


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("chain", ["A", " "])
def test_molecules_that_share_the_name_of_a_chain_are_not_merged(tmp_path, caplog, name, chain) -> None:
    molecules, wanted = TWINS[name]
    lines = ["HEADER    TEST                                    01-JAN-20   1ABC"]
    for number, (first, names) in enumerate(molecules):
        for i, residue in enumerate(names.split(), first):
            lines += atoms(residue, i, chain=chain, at=i + 40 * number)
        lines += ["TER"] * (number % 2)
    text = "\n".join([*lines, "END", ""])
    wanted = {f"1ABC_{c}" if chain == "A" else f"1ABC_{c[2:]}": s for c, s in wanted.items()}
    (tmp_path / "x.pdb").write_text(text)
    (tmp_path / "x.cif").write_text(mmcif(text, chains="author"))
    for path in (tmp_path / "x.pdb", *([tmp_path / "x.cif"] if chain == "A" else ())):
        caplog.clear()
        samples = si.read_samples(path)
        assert dict(zip(samples.ids, samples.sequences)) == wanted
        assert ("molecules are called chain" in caplog.text) == (len(wanted) > 1)
        assert sum(si.read_samples(path, kind="structure").lengths) == samples.n_positions
        assert si.read_samples(path, kind="chains").lengths.tolist() == samples.lengths.tolist()


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


@pytest.mark.parametrize(
    "first", ["", "# a comment\n", "data_comp_list\nloop_\n_chem_comp.id\nLIG\n", "_x.y\n;\ndata_no\n;\n"]
)
def test_of_several_entries_in_one_file_the_first_is_read_and_said(tmp_path, caplog, first) -> None:
    (tmp_path / "x.cif").write_text(
        text := (first if first[:1] != "_" else "") + mmcif(chain_of(n=3), chains="author")
    )
    assert si.read_samples(tmp_path / "x.cif", format="mmcif").sequences == ["AAA"]
    assert "data blocks" not in caplog.text
    (tmp_path / "y.cif").write_text(
        text + (first if first[:1] == "_" else "") + mmcif(chain_of(n=5), chains="author")
    )
    assert si.read_samples(tmp_path / "y.cif", format="mmcif").sequences == ["AAA"]
    assert "the first of 2 entries (data blocks with atoms) is read" in caplog.text


def test_residues_of_two_kinds_and_numbers_that_are_none_are_said(tmp_path, caplog) -> None:
    path = tmp_path / "x.pdb"
    path.write_text(chain_of({2: list(atoms("HSE", 2)), 3: list(atoms("GLH", 3)), 4: list(atoms("GLH", 4))}))
    assert si.read_samples(path).sequences == ["ASQQ" + "A" * 8]
    assert "3 residues without a side chain could be of two kinds; read: GLH as Q, HSE as S" in caplog.text
    beyond = chain_of({5: [line[:22] + "A000" + line[26:] for line in atoms("SER", 5)]})
    path.write_text(beyond)
    with pytest.raises(FormatError, match=r"line 18: expected a whole number .* got 'A000 '.*mmCIF"):
        si.read_samples(path)
