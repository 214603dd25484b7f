"""Structures for the browser: one trace of alpha carbons a sample, tied to its positions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sciinterp.errors import FormatError, InputError
from sciinterp.samples import Samples

ENDINGS = (".pdb", ".ent", ".cif", ".mmcif")


def find_structures(place: str | Path | Mapping[str, str | Path] | None, samples: Samples) -> dict[int, Path]:
    """The structure file of every sample that has one.

    Parameters
    ----------
    place : mapping or path
        Identifier -> file, or a folder whose files are named by identifier.
    """
    if place is None:
        return {}
    if isinstance(place, Mapping):
        return {samples.index(str(name)): Path(path) for name, path in place.items()}
    folder = Path(place)
    if not folder.is_dir():
        raise InputError("there is no such folder of structures", where=f"folder '{folder}'")
    found = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in ENDINGS}
    return {i: found[name] for i, name in enumerate(samples.ids) if name in found}


def read_trace(path: Path, sequence: str) -> dict[str, Any]:
    """Alpha carbons of the chain that matches ``sequence`` best, and their positions in it.

    Returns
    -------
    dict
        ``xyz`` (three numbers a residue, angstrom), ``position`` (-1 where the chain does not match),
        ``chain``, ``matched`` (fraction of the sequence).

    Raises
    ------
    FormatError
        When the file holds no protein chain.
    """
    from Bio.PDB.MMCIFParser import MMCIFParser
    from Bio.PDB.PDBParser import PDBParser
    from Bio.SeqUtils import seq1

    parser = MMCIFParser(QUIET=True) if path.suffix.lower() in (".cif", ".mmcif") else PDBParser(QUIET=True)
    try:
        structure: Any = parser.get_structure("s", str(path))  # Biopython says that it may be None
        model = next(iter(structure))
    except (StopIteration, ValueError, KeyError, OSError, UnicodeDecodeError, AttributeError) as error:
        raise FormatError("this is not a structure", file=str(path), got=str(error)) from None
    best: dict[str, Any] | None = None
    for chain in model:
        residues = [r for r in chain if "CA" in r]
        if not residues:
            continue
        letters = "".join(seq1(r.get_resname(), undef_code="X") or "X" for r in residues)
        position = _match(letters, sequence)
        matched = sum(p >= 0 for p in position) / max(len(sequence), 1)
        if best is None or matched > best["matched"]:
            xyz = [round(float(v), 2) for r in residues for v in r["CA"].coord]
            best = {"xyz": xyz, "position": position, "chain": str(chain.id), "matched": round(matched, 4)}
    if best is None:
        raise FormatError("no protein chain in this structure", file=str(path))
    return best


def _match(letters: str, sequence: str) -> list[int]:
    """The position in ``sequence`` of every residue of a chain, -1 where the alignment has none."""
    from Bio.Align import PairwiseAligner

    at = letters.find(sequence)
    if at >= 0:
        return [i - at if 0 <= i - at < len(sequence) else -1 for i in range(len(letters))]
    aligner = PairwiseAligner(
        mode="global", match_score=2, mismatch_score=-1, open_gap_score=-4, extend_gap_score=-0.5
    )
    out = [-1] * len(letters)
    if not letters or not sequence:
        return out
    alignment = aligner.align(letters, sequence)[0]
    for (a0, a1), (b0, _) in zip(*alignment.aligned):
        for k in range(a1 - a0):
            if letters[a0 + k] == sequence[b0 + k]:
                out[a0 + k] = int(b0 + k)
    return out
