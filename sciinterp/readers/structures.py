"""Structures: protein chains of PDB and mmCIF through Biopython, crystals of CIF through pymatgen."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from sciinterp.errors import InputError
from sciinterp.readers.bounded import Text, need, parsing
from sciinterp.readers.entries import refuse_duplicates, sequences_to_samples
from sciinterp.samples import Samples


def read_mmcif(path: Path, *, kind: str | None = None) -> Samples:
    """Protein chains of an mmCIF file; see :func:`read_pdb`."""
    return _chains(path, "MMCIFParser", kind)


def read_pdb(path: Path, *, kind: str | None = None) -> Samples:
    """Protein chains of a PDB file, the first model.

    The positions of a chain are its residues *with coordinates*, in the order of the file, so that whatever
    is computed from the structure lands on the same positions. Identifiers are ``ENTRY_CHAIN``; modified
    residues get the letter of their parent, unknown ones X; ligands and water are no positions.

    Raises
    ------
    FormatError
        When the file is not such a structure.
    InputError
        When it has no protein chain.
    """
    return _chains(path, "PDBParser", kind)


def _chains(path: Path, parser: str, kind: str | None) -> Samples:
    import pandas as pd
    from Bio import PDB

    with Text(path) as handle, parsing(path, "a structure"):
        structure = getattr(PDB, parser)(QUIET=True).get_structure("x", handle)
        model = next(iter(structure))
    entry = _entry(structure, path)
    rows = [(f"{entry}_{chain.id}", chain.id, residues(chain)) for chain in model]
    table = pd.DataFrame({"entry": entry, "chain": [chain for _, chain, _ in rows]})
    return sequences_to_samples(
        ((name, letters) for name, _, letters in rows), path, kind=kind or "protein", table=table
    )


def residues(chain: Any) -> str:
    """One letter for every amino acid of a Biopython chain that has coordinates of its alpha carbon."""
    from Bio.Data.PDBData import protein_letters_3to1_extended as letters

    return "".join(letters.get(r.resname.strip().upper(), "X")[0] for r in chain if "CA" in r and "N" in r)


def _entry(structure: Any, path: Path) -> str:
    header = getattr(structure, "header", {}) or {}
    code = str(header.get("idcode", "")).strip()
    return code or path.name.removesuffix(".gz").rsplit(".", 1)[0]


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
    if not ids:
        raise InputError(
            "no crystals", where=f"file '{path}'", expected="at least one", got=f"{len(blocks)} data blocks"
        )
    refuse_duplicates(ids, path)
    return Samples(
        ids,
        data,
        lengths=[len(d["species"]) for d in data],
        kind=kind or "crystal",
        n_in=len(blocks),
        dropped=dropped,
        source=str(path),
    )


def _crystal(cif: Any, name: str, block: Any) -> dict[str, list] | None:
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
