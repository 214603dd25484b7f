"""Structures for the browser: the atoms of one model, tied to the positions of a sample, and the viewer.

The file is read by Biopython and written anew as the few mmCIF columns a viewer needs, so nothing of what a
stranger put into it but atoms reaches the page.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sciinterp.errors import FormatError, InputError, require_kinds
from sciinterp.readers.backbones import places_of
from sciinterp.readers.structures import Atom, Residue
from sciinterp.readers.structures import read_structure as read_chains
from sciinterp.samples import Sample, Samples
from sciinterp.settings import Plain

ENDINGS = (".pdb", ".ent", ".cif", ".mmcif")
# The viewer: Mol* (Sehnal et al. 2021, doi:10.1093/nar/gkab314), MIT, as the package molstar-cli ships it.
VIEWER_PACKAGE = "molstar_cli"
VIEWER_FILES = {"molstar.js": "molstar.js", "molstar.css": "molstar.css", "LICENSE.molstar": "LICENSE.txt"}
_COLUMNS = (
    "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id label_seq_id "
    "Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv auth_seq_id auth_asym_id pdbx_PDB_model_num"
).split()


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
        given = {samples.index(str(name)): Path(path) for name, path in place.items()}
        for path in given.values():
            if not path.is_file():
                raise InputError("there is no such file", where=f"file '{path}'", expected="a structure")
        return given
    require_kinds(structures=(place, Path))
    folder = Path(place)
    if not folder.is_dir():
        raise InputError("there is no such folder of structures", where=f"folder '{folder}'")
    found = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in ENDINGS}
    return {i: found[name] for i, name in enumerate(samples.ids) if name in found}


def viewer_files() -> dict[str, bytes]:
    """The viewer's files under the names the site gives them; empty where its package is not installed."""
    try:
        spec = importlib.util.find_spec(VIEWER_PACKAGE)
    except (ImportError, ValueError):
        return {}
    if spec is None or not spec.submodule_search_locations:
        return {}
    folder = Path(next(iter(spec.submodule_search_locations))) / "static" / "molstar"
    if not all((folder / name).is_file() for name in VIEWER_FILES):
        return {}
    return {ours: (folder / theirs).read_bytes() for theirs, ours in VIEWER_FILES.items()}


def read_structure(path: Path, sequence: str) -> Plain:
    """The atoms of the first model, and the chains that match ``sequence``.

    Returns
    -------
    dict
        ``cif`` (all atoms, as text), ``all_chains`` (how many), ``chains`` (by name of a matching chain: position of every residue of
        the chain in the sequence, -1 where they differ), and for the best chain ``chain``, ``matched``
        (fraction of the sequence), ``xyz`` (alpha carbons, angstrom) and their ``position``.

    Raises
    ------
    FormatError
        When the file holds no protein chain.
    """
    _, chains = read_chains(path)
    names = _words([chain.name for chain in chains])
    best, matching, rows = None, {}, []
    for number, (name, chain) in enumerate(zip(names, chains)):
        rows += _atom_rows((*chain.residues, *chain.others), name, number + 1, len(rows))
        if not chain.residues:
            continue
        position = _match(chain.sequence, sequence)
        matched = sum(p >= 0 for p in position) / max(len(sequence), 1)
        matching[name] = (matched, [*position, *[-1] * len(chain.others)])
        if best is None or matched > best["matched"]:
            xyz = [round(float(v), 2) for r in chain.residues if r.alpha for v in r.alpha.coord]
            best = {"chain": name, "matched": round(matched, 4), "xyz": xyz, "position": position}
    if best is None:
        raise FormatError("no protein chain in this structure", file=str(path))
    close = {n: at for n, (share, at) in matching.items() if share >= 0.9 * best["matched"]}
    return {**best, "chains": close, "all_chains": len(chains), "cif": _cif(rows)}


def record_structure(sample: Sample) -> Plain:
    """The same of a sample that is a record of a backbone: its alpha carbons, positions its own residues."""
    from Bio.Data.PDBData import protein_letters_1to3

    data, places = sample.data, places_of(sample.data)
    names = list(dict.fromkeys(data["chain"]))
    rows: list[str] = []
    chains: dict[str, list[int]] = {}
    for entity, (name, word) in enumerate(zip(names, _words(names)), 1):
        chains[word] = [i for i, own in enumerate(data["chain"]) if own == name]
        residues = []
        for i in chains[word]:
            at = places[i, 1]
            kept = (Atom("CA", "C", at, 0.0, 1.0),) if np.isfinite(at).all() else ()
            three = protein_letters_1to3.get(sample.sequence[i], "Unk").upper()
            residues.append(Residue(data["number"][i], "", three, sample.sequence[i], False, kept))
        rows += _atom_rows(residues, word, entity, len(rows))
    best = max(chains, key=lambda word: len(chains[word]))
    shown = [i for i in chains[best] if np.isfinite(places[i, 1]).all()]
    return {
        "chain": best,
        "matched": round(len(chains[best]) / max(sample.length, 1), 4),
        "xyz": [round(float(v), 2) for i in shown for v in places[i, 1]],
        "position": shown,
        "chains": chains,
        "all_chains": len(chains),
        "cif": _cif(rows),
    }


def _words(names: Sequence[str]) -> list[str]:
    """Chains by their names as words; all by their number where two would have one."""
    words = [_word(name, f"c{i}") for i, name in enumerate(names)]
    return words if len(set(words)) == len(words) else [f"c{i}" for i in range(len(words))]


def _cif(rows: list[str]) -> str:
    head = "data_structure\nloop_\n" + "".join(f"_atom_site.{name}\n" for name in _COLUMNS)
    return head + "\n".join(rows) + "\n#\n"


def _atom_rows(residues: Sequence[Residue], chain: str, entity: int, done: int) -> list[str]:
    """One mmCIF line an atom; the residue's number is its place in the chain, from 1."""
    rows = []
    for number, residue in enumerate(residues):
        kind = "HETATM" if residue.hetero else "ATOM"
        for atom in residue.atoms:
            x, y, z = (f"{float(v):.3f}" for v in atom.coord)
            rows.append(
                f"{kind} {done + len(rows) + 1} {_word(atom.element, 'X')} {_word(atom.name, 'X')} . "
                f"{_word(residue.name, 'UNK')} {chain} {entity} {number + 1} {x} {y} {z} 1.00 0.00 "
                f"{residue.number} {chain} 1"
            )
    return rows


def _word(text: object, otherwise: str) -> str:
    """A short word that means nothing else in mmCIF, or the other one.

    Examples
    --------
    >>> _word(" CA ", "X"), _word("loop_", "X"), _word("<b>", "X"), _word("O5'", "X")
    ('CA', 'X', 'X', '"O5\\'"')
    """
    word = str(text).strip()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9'*+]{0,7}", word):
        return otherwise
    return f'"{word}"' if "'" in word else word


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
