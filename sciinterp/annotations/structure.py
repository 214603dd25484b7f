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

import io
import warnings
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from sciinterp.annotations.rows import Rows
from sciinterp.annotations.table import Annotations
from sciinterp.annotations.text import guard, need, read_lines
from sciinterp.errors import FormatError, InputError

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
Key = tuple[str, int, str]  # chain, residue number, insertion code


def parse_structure(
    path: str | Path,
    *,
    format: str = "auto",
    positions: str = "observed",
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
    if positions not in ("observed", "full") or format not in ("auto", "pdb", "mmcif"):
        raise InputError(
            "no such choice",
            expected="positions: observed, full; format: auto, pdb, mmcif",
            got=f"positions={positions!r}, format={format!r}",
        )
    text = "".join(f"{line}\n" for _, line in read_lines(path))
    kind = (
        format
        if format != "auto"
        else "mmcif"
        if text.lstrip().startswith(("data_", "#", "loop_"))
        else "pdb"
    )
    if positions == "full" and kind == "pdb":
        raise InputError(
            "a PDB file does not say where its residues lie on the full sequence",
            where=f"file '{path}'",
            do="Use the mmCIF file of the entry.",
        )

    def run() -> tuple[str, Any, dict[str, list[Key | None]]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            entry, atoms, scheme = (_read_cif if kind == "mmcif" else _read_pdb)(text, Path(path))
            if len(np.unique(atoms.coord, axis=0)) < MIN_PLACES * len(atoms):
                raise FormatError(
                    "atoms lie on top of each other",
                    file=str(path),
                    expected=f"{len(atoms)} places",
                    got=f"{len(np.unique(atoms.coord, axis=0))}",
                    do="Is the same structure in the file several times?",
                )
            return entry, atoms, scheme if positions == "full" else _observed(atoms)

    entry, atoms, chains = guard(run, path, f"a {kind} structure")
    rows = Rows("structure", release=release)
    for chain, keys in chains.items():
        sample = f"{entry}_{chain}"
        rows.covers(sample)
        labels = guard(lambda c=chain: _labels(atoms, c, predicted), path, f"a {kind} structure")
        _chain(rows, sample, keys, labels)
    for concept, name in CONCEPTS.items():
        if concept in rows.concepts():
            rows.concept(concept, name=name, exhaustive=True)
    return rows.annotations()


def _read_pdb(text: str, path: Path) -> tuple[str, Any, dict[str, list[Key | None]]]:
    pdb = need("biotite.structure.io.pdb", "annotations", "reading structures")
    file = pdb.PDBFile.read(io.StringIO(text))
    atoms = pdb.get_structure(file, model=1, altloc="first", extra_fields=["b_factor"])
    header = next((line for line in text.splitlines() if line.startswith("HEADER")), "")
    return header[62:66].strip() or _stem(path), atoms, {}


def _read_cif(text: str, path: Path) -> tuple[str, Any, dict[str, list[Key | None]]]:
    pdbx = need("biotite.structure.io.pdbx", "annotations", "reading structures")
    file = pdbx.CIFFile.read(io.StringIO(text))
    atoms = pdbx.get_structure(file, model=1, altloc="first", extra_fields=["b_factor"])
    block = file.block
    scheme: dict[str, list[Key | None]] = {}
    if "pdbx_poly_seq_scheme" in block:
        table = block["pdbx_poly_seq_scheme"]
        strands, numbers, codes = (
            table[c].as_array(str) for c in ("pdb_strand_id", "auth_seq_num", "pdb_ins_code")
        )
        for chain, number, code in zip(strands, numbers, codes):
            key = (
                None
                if number in ("?", ".")
                else (str(chain), int(number), "" if code in (".", "?") else str(code))
            )
            scheme.setdefault(str(chain), []).append(key)
    named = [c for c in ("exptl", "struct") if c in block and "entry_id" in block[c]]
    entry = str(block[named[0]]["entry_id"].as_array(str)[0]) if named else _stem(path)
    return entry, atoms, scheme


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


def _keys(atoms: Any) -> list[Key]:
    return list(zip(map(str, atoms.chain_id), map(int, atoms.res_id), map(str, atoms.ins_code)))


def _observed(atoms: Any) -> dict[str, list[Key | None]]:
    """Residues with N and CA, chain by chain, in the order of the file."""
    names: dict[Key, set[str]] = {}
    for key, name in zip(_keys(atoms), atoms.atom_name):
        names.setdefault(key, set()).add(str(name))
    chains: dict[str, list[Key | None]] = {}
    for key, found in names.items():
        if {"N", "CA"} <= found:
            chains.setdefault(key[0], []).append(key)
    if not chains:
        raise ValueError("no residue of a protein")
    return chains


def _labels(atoms: Any, chain: str, predicted: bool) -> dict[Key, list[str]]:
    """The concepts of every residue of one chain, computed from that chain alone."""
    structure = need("biotite.structure", "annotations", "annotating structures")
    part = atoms[atoms.chain_id == chain]
    kept = set(_observed(part).get(chain, []))
    part = part[np.array([key in kept for key in _keys(part)], dtype=bool)]
    extent = np.ptp(part.coord, axis=0) if len(part) else np.zeros(3)
    if not np.prod(extent / 6 + 1) < MAX_CELLS:
        raise ValueError(f"coordinates of chain {chain} spread over {extent.max():.0f} angstrom")
    starts = structure.get_residue_starts(part)
    keys = [_keys(part)[i] for i in starts]
    labels: dict[Key, list[str]] = {k: [] for k in keys}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for key, sse in zip(keys, structure.annotate_sse(part)):
            if str(sse) in _SSE:
                labels[key].append(_SSE[str(sse)])
        surface = structure.apply_residue_wise(part, structure.sasa(part, point_number=POINTS), np.nansum)
    confidence = structure.apply_residue_wise(part, part.b_factor, np.mean)
    for key, i, area, plddt in zip(keys, starts, surface, confidence):
        largest = MAX_SURFACE.get(str(part.res_name[i]))
        if largest and np.isfinite(area):
            labels[key].append("structure:exposed" if area / largest >= EXPOSED else "structure:buried")
        if predicted and plddt < DISORDERED_PLDDT:
            labels[key].append("structure:disordered")
    return labels


def _chain(rows: Rows, sample: str, keys: list[Key | None], labels: dict[Key, list[str]]) -> None:
    """Runs of residues with one label become one instance; every residue is an item."""
    per_position = [["structure:disordered"] if k is None or k not in labels else labels[k] for k in keys]
    spans: dict[int, list[tuple[int, str]]] = {}
    for concept in CONCEPTS:
        at = 0
        for has, run in groupby(concept in found for found in per_position):
            length = len(list(run))
            if has:
                spans.setdefault(at, []).append((at + length, concept))
            at += length
    for position, found in enumerate(per_position):
        rows.item()
        if not found:
            rows.drop("a residue without secondary structure or standard surface")
            continue
        for end, concept in spans.get(position, ()):
            rows.add(sample, position, end, concept)
        rows.keep()
