"""Structures of proteins: secondary structure, exposure and disorder of every residue, by biotite.

Samples are chains and positions are residues, as ``read_samples`` reads the same file: identifiers are
``ENTRY_CHAIN``, residues those with coordinates. With ``positions="full"`` an mmCIF file places them on the
sequence that was in the experiment instead, and residues without coordinates are disordered.

* ``structure:helix``, ``structure:strand``, ``structure:coil``: P-SEA, from the CA trace
  (Labesse et al., Computer Applications in the Biosciences 13:291, 1997);
* ``structure:buried``, ``structure:exposed``: accessible surface of the chain alone, below and from 25% of
  the largest a residue can have (Tien et al., PLoS ONE 8:e80635, 2013);
* ``structure:disordered``: no coordinates, or in predicted models a pLDDT below 50.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import numpy as np

from sciinterp.annotations.airr import runs
from sciinterp.annotations.rows import Rows
from sciinterp.annotations.table import Annotations
from sciinterp.errors import FormatError, InputError
from sciinterp.readers.bounded import need, parsing
from sciinterp.readers.structures import Chain, mmcif_columns, read_structure
from sciinterp.settings import checked

# Largest accessible surface in square angstrom, theoretical values of Tien et al. 2013, table 1.
MAX_SURFACE = {
    "ALA": 129, "ARG": 274, "ASN": 195, "ASP": 193, "CYS": 167, "GLU": 223, "GLN": 225, "GLY": 104,
    "HIS": 224, "ILE": 197,
    "LEU": 201, "LYS": 236, "MET": 224, "PHE": 240, "PRO": 159, "SER": 155, "THR": 172,
    "TRP": 285, "TYR": 263, "VAL": 174,
}  # fmt: skip
EXPOSED = 0.25
DISORDERED_PLDDT = 50.0
# Points per atom for the surface: an error of about 1% of a residue's surface.
POINTS = 200
# Cells of 6 angstrom for the search of neighbours: coordinates spread wider than this are damaged.
MAX_CELLS = 5e6
# Atoms at different places, as a fraction: a file repeated within itself would take time by the square.
MIN_PLACES = 0.5
CONCEPTS = {
    "structure:helix": "alpha helix (P-SEA)", "structure:strand": "beta strand (P-SEA)",
    "structure:coil": "neither helix nor strand (P-SEA)", "structure:exposed": "at least 25% exposed",
    "structure:buried": "less than 25% exposed",
    "structure:disordered": "without coordinates or of low pLDDT",
}  # fmt: skip
_SSE = {"a": "structure:helix", "b": "structure:strand", "c": "structure:coil"}
DISORDERED = "structure:disordered"
Key = tuple[int, str]  # residue number, insertion code


@checked()
def parse_structure(
    path: str | Path,
    *,
    format: Literal["auto", "pdb", "mmcif"] = "auto",
    positions: Literal["observed", "full"] = "observed",
    predicted: bool = False,
    release: str = "",
) -> Annotations:
    """Secondary structure, exposure and disorder of the protein chains of a PDB or mmCIF file.

    Parameters
    ----------
    path : path
    format : str
        ``pdb``, ``mmcif``, or ``auto`` by the first lines.
    positions : str
        ``observed`` counts residues with coordinates, as ``read_samples`` does; ``full`` counts residues of
        the sequence that was in the experiment (mmCIF only).
    predicted : bool
        Whether the B-factor column holds pLDDT, as in AlphaFold's models.
    release : str
        For the ``release`` column.

    Raises
    ------
    InputError
        When biotite is not installed, or ``full`` is asked of a PDB file.
    FormatError
        When this is not such a structure.
    """
    need("biotite", "annotations", "annotating structures")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entry, chains = read_structure(path, format=format)
    chains = [chain for chain in chains if chain.residues]
    if not chains:
        raise FormatError("no residue of a protein", file=str(path))
    places = np.array([atom.coord for chain in chains for r in chain.residues for atom in r.atoms])
    if len(np.unique(places, axis=0)) < MIN_PLACES * len(places):
        raise FormatError(
            "atoms lie on top of each other",
            file=str(path),
            expected=f"{len(places)} places",
            got=f"{len(np.unique(places, axis=0))}",
            do="Is the same structure in the file several times?",
        )
    scheme = _scheme(path) if positions == "full" else {}
    rows = Rows("structure", release=release)
    for chain in chains:
        sample = f"{entry}_{chain.name}"
        rows.covers(sample)
        with parsing(path, "a structure"):
            found = _labels(chain, predicted)
        if positions == "full":
            of: dict[Key | None, list[str]] = dict(
                zip(((r.number, r.insertion) for r in chain.residues), found)
            )
            found = [of.get(key, [DISORDERED]) for key in scheme.get(chain.name, ())]
        _chain(rows, sample, found)
    for concept, name in CONCEPTS.items():
        if concept in rows.concepts():
            rows.concept(concept, name=name, exhaustive=True)
    return rows.annotations()


def _scheme(path: str | Path) -> dict[str, list[Key | None]]:
    """The residues of the sequence that was in the experiment, by chain; None where not even a number is known."""
    try:
        block = mmcif_columns(path)
    except FormatError:
        block = {}
    columns = [
        block.get(f"_pdbx_poly_seq_scheme.{c}") for c in ("pdb_strand_id", "auth_seq_num", "pdb_ins_code")
    ]
    if not all(columns):
        raise InputError(
            "the file does not say where its residues lie on the full sequence",
            where=f"file '{path}'",
            expected="mmCIF with pdbx_poly_seq_scheme",
            do="Use the mmCIF file of the entry.",
        )
    out: dict[str, list[Key | None]] = {}
    for chain, number, code in zip(*columns):
        absent = number in ("?", ".") or not number.lstrip("-").isdigit()
        key = None if absent else (int(number), "" if code in (".", "?") else code)
        out.setdefault(chain, []).append(key)
    return out


def _labels(chain: Chain, predicted: bool) -> list[list[str]]:
    """The concepts of every residue of one chain, computed from that chain alone."""
    structure = need("biotite.structure", "annotations", "annotating structures")
    atoms = [(i, residue, atom) for i, residue in enumerate(chain.residues) for atom in residue.atoms]
    part = structure.AtomArray(len(atoms))
    part.coord = np.array([atom.coord for _, _, atom in atoms], np.float32)
    part.chain_id[:] = "A"
    part.res_id = np.array([i + 1 for i, _, _ in atoms])
    part.res_name = np.array([residue.name for _, residue, _ in atoms])
    part.hetero = np.array([residue.hetero for _, residue, _ in atoms])
    part.atom_name = np.array([atom.name for _, _, atom in atoms])
    part.element = np.array([atom.element for _, _, atom in atoms])
    extent = np.ptp(part.coord, axis=0)
    if not np.prod(extent / 6 + 1) < MAX_CELLS:
        raise ValueError(f"coordinates of chain {chain.name} spread over {extent.max():.0f} angstrom")
    labels: list[list[str]] = [[] for _ in chain.residues]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for found, sse in zip(labels, structure.annotate_sse(part)):
            if str(sse) in _SSE:
                found.append(_SSE[str(sse)])
        try:
            area = structure.sasa(part, point_number=POINTS)
        except (
            KeyError,
            ValueError,
        ):  # a residue whose atoms have no radii of their own: those of the elements
            area = structure.sasa(part, point_number=POINTS, vdw_radii="Single")
        surface = structure.apply_residue_wise(part, area, np.nansum)
    for found, residue, exposed in zip(labels, chain.residues, surface):
        largest = MAX_SURFACE.get(residue.name)
        if largest and np.isfinite(exposed):
            found.append("structure:exposed" if exposed / largest >= EXPOSED else "structure:buried")
        if predicted and np.mean([atom.bfactor for atom in residue.atoms]) < DISORDERED_PLDDT:
            found.append(DISORDERED)
    return labels


def _chain(rows: Rows, sample: str, per_position: list[list[str]]) -> None:
    """Runs of residues with one label become one instance; every residue is an item."""
    spans: dict[int, list[tuple[int, str]]] = {}
    for concept in CONCEPTS:
        for _, start, end in runs([concept if concept in found else "" for found in per_position]):
            spans.setdefault(start, []).append((end, concept))
    for position, found in enumerate(per_position):
        rows.item()
        if not found:
            rows.drop("a residue without secondary structure or standard surface")
            continue
        for end, concept in spans.get(position, ()):
            rows.add(sample, position, end, concept)
        rows.keep()
