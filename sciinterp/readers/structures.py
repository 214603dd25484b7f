"""Structures: protein chains of PDB and mmCIF through Biopython, crystals of CIF through pymatgen.

:func:`read_structure` says what the residues of a chain are, for samples, annotations and the browser alike.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from sciinterp.errors import FormatError
from sciinterp.readers.bounded import Text, first_lines, need, parsing, read_lines
from sciinterp.readers.entries import check_ids, sequences_to_samples
from sciinterp.samples import Samples

log = logging.getLogger(__name__)

_UNSAID = {"?", ".", ""}
# Names that force fields give to protonation states, where the archive's table of components has none ...
_STATES = {"HID": "H", "HIE": "H", "HSD": "H", "HSP": "H", "CYX": "C", "ASH": "D"}
# The letters of IUPAC beyond the twenty, and right-handed amino acids, which Biopython's table lacks.
_FURTHER = {"SEC": "U", "PYL": "O", "ASX": "B", "GLX": "Z", "XLE": "J"} | {
    name: letter
    for letter, name in zip(
        "ARNDCQEHILKMFPSTWYV",
        "DAL DAR DSG DAS DCY DGN DGL DHI DIL DLE DLY MED DPN DPR DSN DTH DTR DTY DVA".split(),
    )
}
# ... or another molecule of that name, which lacks an atom: homoserine is no histidine.
_STATES_BY_ATOM = {"HSE": ("CE1", "H"), "GLH": ("OE2", "E")}
UNTRACED = "residues whose alpha carbon has no coordinates, which are no positions"


class Atom(NamedTuple):
    """An atom at its best occupied place; ``coord`` and ``bfactor`` as in the file."""

    name: str
    element: str
    coord: np.ndarray
    bfactor: float
    occupancy: float


@dataclass(frozen=True, slots=True, eq=False)
class Residue:
    """One residue, or one other molecule of a chain.

    Attributes
    ----------
    number, insertion : int, str
        As the author of the structure numbered it.
    name, letter : str
        Three letters, and the letter of its parent: M of MSE, X where none is known.
    hetero : bool
        Whether its atoms are ``HETATM``.
    atoms : tuple of Atom
    """

    number: int
    insertion: str
    name: str
    letter: str
    hetero: bool
    atoms: tuple[Atom, ...]

    @property
    def alpha(self) -> Atom | None:
        """The alpha carbon of an amino acid, with or without the rest of it; never calcium."""
        found = next((a for a in self.atoms if a.name == "CA" and a.element == "C"), None)
        return found if not self.hetero or any(a.name == "N" for a in self.atoms) else None


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """A chain: its residues, which are the positions of a sample, and ``others``, its ligands and ions.

    ``untraced`` counts amino acids of the chain whose alpha carbon has no coordinates: neither one nor the other.
    """

    name: str
    residues: tuple[Residue, ...]
    others: tuple[Residue, ...]
    untraced: int = 0

    @property
    def sequence(self) -> str:
        """One letter a residue."""
        return "".join(residue.letter for residue in self.residues)


def read_structure(path: str | Path, *, format: str = "auto") -> tuple[str, list[Chain]]:
    """The entry's name and the chains of the first model of a PDB or mmCIF file.

    A residue is a number with its insertion code, in the order of the file, whose alpha carbon has coordinates.
    However often it is modelled (two names at one place, ``ATOM`` beside ``HETATM``, alternative locations, all
    of these line by line in turn), it is one residue: the best occupied, of two alike the first. Water is left
    out. A standard amino acid written as ``HETATM`` in a chain of ``ATOM`` is a ligand, not a residue; one whose alpha
    carbon has no coordinates is neither, and counted. Models beyond the first are left out, in a line. Where one name of a
    chain, or none, stands for several molecules whose numbers begin again, the second of ``A`` is ``A-2``, in a line.

    Raises
    ------
    FormatError
        When the file is not such a structure.
    """
    from Bio.Data.PDBData import protein_letters_3to1_extended
    from Bio.PDB.PDBParser import PDBParser

    path = Path(path)
    if format == "auto":
        first = next((line for line in first_lines(path) if not line.startswith("#")), "")
        format = "mmcif" if first.startswith(("data_", "loop_")) else "pdb"
    found = _Gatherer()
    if format == "mmcif":
        columns = mmcif_columns(path)
        with parsing(path, "a structure"):
            _gather(columns, found)
        code = next(iter(columns.get("_entry.id", ())), "").strip().strip("?.")
    else:
        with Text(path) as handle, parsing(path, "a structure"):
            try:
                PDBParser(structure_builder=found, QUIET=True).get_structure("x", handle)
            except ValueError:
                _require_numbers(path)
                raise
        code = str(found.header.get("idcode") or "").strip()
    found.close()
    for name, n in found.copies.items():
        log.warning("%s: %d molecules are called chain %r, read as chains of their own", path.name, n, name)
    if found.n_models > 1:
        log.warning("%s: the first of %d models is read", path.name, found.n_models)
    chains = [_chain(name.strip(), models) for name, models in found.chains.items()]
    bare = [r.name for c in chains for r in c.residues if r.name in _STATES_BY_ATOM and not _sides(r)]
    if bare:
        said = ", ".join(
            f"{name} as {_letter(name, {}, protein_letters_3to1_extended)}" for name in sorted(set(bare))
        )
        log.warning(
            "%s: %d residues without a side chain could be of two kinds; read: %s", path.name, len(bare), said
        )
    return code or path.name.removesuffix(".gz").rsplit(".", 1)[0], chains


def _sides(residue: Residue) -> set[str]:
    """The atoms of a side chain beyond its first."""
    return {atom.name for atom in residue.atoms if atom.element != "H"} - {"N", "CA", "C", "O", "OXT", "CB"}


def _require_numbers(path: Path) -> None:
    """Raise at the first residue of a PDB file whose number is none, as programs write them beyond 9,999."""
    for at, line in read_lines(path):
        if line.startswith(("ATOM", "HETATM")) and not re.fullmatch(r" *-?[0-9]+ *", line[22:26]):
            raise FormatError(
                "this is not the number of a residue",
                file=str(path),
                line=at,
                expected="a whole number in columns 23 to 26",
                got=repr(line[22:27]),
                do="PDB counts to 9,999 residues a chain: give the entry as mmCIF.",
            )


def mmcif_columns(path: str | Path) -> dict[str, list[str]]:
    """The items of a data block of an mmCIF file, by name in lower case; each is a list.

    Of several it is the first that has atoms: programs write restraints of ligands beside them.

    Raises
    ------
    FormatError
        When the file is not mmCIF.
    """
    from Bio.PDB.MMCIF2Dict import MMCIF2Dict

    with Text(path) as handle, parsing(path, "mmCIF"):
        blocks = _blocks(handle)
        held = [block for block in blocks if any(line.lower().startswith("_atom_site.") for line in block)]
        if len(held) > 1:
            log.warning(
                "%s: the first of %d entries (data blocks with atoms) is read", Path(path).name, len(held)
            )
        block = MMCIF2Dict(iter([*held, *blocks][0]))
    return {k.lower(): [v] if isinstance(v, str) else list(v) for k, v in block.items()}


def _blocks(lines: Iterable[str]) -> list[list[str]]:
    """The lines of each data block; text between semicolons is not looked into."""
    blocks: list[list[str]] = [[]]
    text = False
    for line in lines:
        text ^= line.startswith(";")
        if not text and line[:5].lower() == "data_" and any(part.strip("# \n") for part in blocks[-1]):
            blocks.append([])
        blocks[-1].append(line)
    return blocks


def _gather(columns: Mapping[str, list[str]], found: _Gatherer) -> None:
    """The atoms of an mmCIF file, numbered as its author did; what a writer left out has its usual value."""

    def column(*names: str, usual: str | None = None) -> list[str]:
        given = [columns[f"_atom_site.{name}"] for name in names if f"_atom_site.{name}" in columns]
        if not given and usual is None:
            raise ValueError(f"no _atom_site.{names[0]}")
        if not given:
            return [str(usual)] * n
        return [next((c for c in cells if c not in _UNSAID), cells[0]) for cells in zip(*given, strict=True)]

    n, last = len(column("cartn_x")), None
    atoms = zip(
        column("pdbx_pdb_model_num", usual="1"), column("auth_asym_id", "label_asym_id"),
        column("group_pdb", usual="ATOM"), column("label_comp_id", "auth_comp_id"),
        column("auth_seq_id", "label_seq_id"), column("pdbx_pdb_ins_code", usual="?"),
        column("label_atom_id", "auth_atom_id"), column("label_alt_id", usual="."), column("type_symbol", usual="?"),
        column("cartn_x"), column("cartn_y"), column("cartn_z"),
        column("occupancy", usual="?"), column("b_iso_or_equiv", usual="?"), strict=True,
    )  # fmt: skip
    for model, chain, group, residue, number, insertion, name, place, element, x, y, z, occupancy, b in atoms:
        if {x, y, z, number} & _UNSAID:
            continue
        flag = " " if group.upper() != "HETATM" else "W" if residue in ("HOH", "WAT") else "H"
        at = (model, chain, flag, residue, number, insertion)
        if last is None or at[0] != last[0]:
            found.init_model()
        if last is None or at[:2] != last[:2]:
            found.init_chain(chain)
        if at != last:
            found.init_residue(residue, flag, int(number), "" if insertion in _UNSAID else insertion)
        last = at
        coord = np.array([_number(x), _number(y), _number(z)], np.float32)
        element = "" if element in _UNSAID else element
        found.init_atom(name, coord, _number(b), _number(occupancy), place, name, None, element)


def _number(text: str) -> float:
    """A number without its uncertainty, ``1.00(2)``; 0 where it is not said."""
    return 0.0 if text in _UNSAID else float(text.partition("(")[0])


class _Gatherer:
    """What Biopython's parsers build into: the atoms of the first model, none lost to another of its place.

    Its own builder drops atoms, with a warning, where two residues at one place come line by line in turn.
    """

    def __init__(self) -> None:
        self.header: dict[str, object] = {}
        # chain -> (number, insertion code) -> (hetero flag, name) -> atom name -> atom
        self.chains: dict[str, dict[tuple[int, str], dict[tuple[str, str], dict[str, Atom]]]] = {}
        self.n_models = 0
        self.copies: dict[str, int] = {}
        self._name, self._at, self._model = "", (0, ""), ("", "")
        self._visit: list[tuple[bool, Atom]] = []
        self._traced: set[tuple[str, tuple[int, str]]] = set()
        self._run: list[tuple[int, str]] = []  # places since the numbers last fell

    def set_header(self, header: dict[str, object]) -> None:
        self.header = header or {}

    def init_model(self, *_: object) -> None:
        self.close()
        self.n_models += 1

    def init_chain(self, name: str) -> None:
        self.close()
        self._name, self._run = str(name).strip(), []
        if self.n_models == 1:
            self.chains.setdefault(self._called(), {})

    def init_residue(self, name: str, flag: str, number: int, insertion: str) -> None:
        self.close()
        self._at, self._model = (number, insertion.strip()), (flag, name.strip().upper())

    def _called(self) -> str:
        """The name of the molecule that is read: A, then A-2."""
        n = self.copies.get(self._name, 1)
        return self._name if n == 1 else f"{self._name}-{n}".lstrip("-")

    def close(self) -> None:
        """Lay the atoms of the residue that ends at its place, or at one of a second molecule of its chain's name."""
        from Bio.Data.PDBData import protein_letters_3to1

        visit, self._visit = self._visit, []
        flag, name = self._model
        if not visit or flag == "W" or self.n_models != 1:
            return
        ligand = flag != " " and name in protein_letters_3to1
        traced = not ligand and any(plain and a.name == "CA" and a.element == "C" for plain, a in visit)
        if self._run and self._at[0] < self._run[-1][0]:
            self._run = []
        if traced and (self._called(), self._at) in self._traced and self._at not in self._run[-1:]:
            self._begin_another()
        if traced:
            self._traced.add((self._called(), self._at))
        self._run.append(self._at)
        held = self.chains[self._called()].setdefault(self._at, {}).setdefault(self._model, {})
        for _, atom in visit:
            if atom.name not in held or atom.occupancy > held[atom.name].occupancy:
                held[atom.name] = atom

    def _begin_another(self) -> None:
        """What was read since the numbers fell belongs to another molecule of the same name."""
        before = self._called()
        self.copies[self._name] = self.copies.get(self._name, 1) + 1
        run = [] if self._at in self._run else self._run
        self.chains[self._called()] = {at: self.chains[before].pop(at) for at in dict.fromkeys(run)}
        self._traced |= {(self._called(), at) for at in run if (before, at) in self._traced}

    def init_atom(
        self, name: str, coord: np.ndarray, bfactor: float, occupancy: float | None, altloc: str, fullname: str,
        serial_number: object = None, element: str | None = None, *_: object, **__: object,
    ) -> None:  # fmt: skip
        if not np.isfinite(coord).all():
            raise ValueError(f"a coordinate of atom {name!r} is no number")
        letter = (element or name.lstrip("0123456789")[:1]).upper()
        atom = Atom(name, letter, coord, bfactor, occupancy or 0.0)
        self._visit.append((not altloc.strip(" .?"), atom))

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Lines, segments, symmetry, anisotropy: not asked for."""
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_: None


def _chain(chain: str, places: dict[tuple[int, str], dict[tuple[str, str], dict[str, Atom]]]) -> Chain:
    from Bio.Data.PDBData import protein_letters_3to1, protein_letters_3to1_extended

    letters = protein_letters_3to1_extended | _STATES | _FURTHER
    polymer = any(flag == " " for models in places.values() for flag, _ in models)
    residues, others, untraced = [], [], 0
    for (number, insertion), models in places.items():
        found = [
            Residue(
                number,
                insertion,
                name,
                _letter(name, atoms, letters),
                flag != " ",
                tuple(atoms.values()),
            )
            for (flag, name), atoms in models.items()
        ]
        traced = [residue for residue in found if residue.alpha]
        best = max(traced or found, key=lambda residue: np.mean([a.occupancy for a in residue.atoms] or [0]))
        free = polymer and best.name in protein_letters_3to1 and all(residue.hetero for residue in found)
        if not traced and not free and best.name in letters:
            untraced += 1
        else:
            (residues if traced and not free else others).append(best)
    return Chain(chain, tuple(residues), tuple(others), untraced)


def _letter(name: str, atoms: Mapping[str, Atom], letters: Mapping[str, str]) -> str:
    atom, letter = _STATES_BY_ATOM.get(name, ("", ""))
    return letter if atom in atoms else letters.get(name, "X")[0]


def read_mmcif(path: Path, *, kind: str | None = None) -> Samples:
    """Protein chains of an mmCIF file; see :func:`read_pdb`."""
    return _samples(path, "mmcif", kind)


def read_pdb(path: Path, *, kind: str | None = None) -> Samples:
    """Protein chains of a PDB file, the first model.

    The positions of a chain are its residues *with coordinates*, as :func:`read_structure` counts them, so that
    whatever is computed from the structure lands on the same positions. Identifiers are ``ENTRY_CHAIN``;
    modified residues get the letter of their parent, unknown ones X; ligands and water are no positions.

    Raises
    ------
    FormatError
        When the file is not such a structure.
    InputError
        When it has no protein chain.
    """
    return _samples(path, "pdb", kind)


def _samples(path: Path, format: str, kind: str | None) -> Samples:
    import pandas as pd

    entry, chains = read_structure(path, format=format)
    table = pd.DataFrame({"entry": entry, "chain": [chain.name for chain in chains]})
    rows = ((f"{entry}_{chain.name}", chain.sequence) for chain in chains)
    out = sequences_to_samples(rows, path, kind=kind or "protein", table=table)
    if untraced := sum(chain.untraced for chain in chains):
        out.changed[UNTRACED] = untraced
    return out


def read_crystals(path: Path, *, kind: str | None = None) -> Samples:
    """Crystals of a CIF file, one a data block, symmetry expanded; positions are atoms.

    A crystal is a plain record: ``lattice`` (3 x 3, angstrom, rows are vectors), ``species`` (symbols) and
    ``frac_coords`` (n x 3), so that stores keep it and no package is needed to read it back.

    Raises
    ------
    InputError
        When pymatgen is not installed, or there is no crystal.
    FormatError
        When the file is not CIF.
    """
    cif = need("pymatgen.io.cif", "crystals", "reading crystals")
    with Text(path) as handle, parsing(path, "CIF"):
        blocks = cif.CifFile.from_str(handle.read()).data
    ids, data, dropped = [], [], Counter()
    for name, block in blocks.items():
        crystal = _crystal(cif, name, block)
        if crystal is None:
            dropped["no crystal in the data block"] += 1
        else:
            ids.append(str(name))
            data.append(crystal)
    check_ids(ids, path, "crystals", len(blocks))
    return Samples(
        ids,
        data,
        lengths=[len(d["species"]) for d in data],
        kind=kind or "crystal",
        n_in=len(blocks),
        dropped=dropped,
        source=str(path),
    )


def _crystal(cif: ModuleType, name: str, block: object) -> dict[str, list] | None:
    try:
        text = f"data_{name}\n{block}" if not str(block).startswith("data_") else str(block)
        with warnings.catch_warnings():
            # What the parser supplies where the file is silent: symmetry from the name of the space group.
            warnings.simplefilter("ignore", UserWarning)
            structure = cif.CifParser.from_str(text).parse_structures(primitive=False)[0]
        species = [site.specie.symbol for site in structure]
    except (ValueError, AttributeError, IndexError, KeyError):
        return None
    return {
        "lattice": structure.lattice.matrix.tolist(),
        "species": species,
        "frac_coords": structure.frac_coords.tolist(),
    }
