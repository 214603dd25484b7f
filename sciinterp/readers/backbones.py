"""Backbones: the records that models of structures read, and the table that holds many of them.

A *record* is plain: ``sequence``, one letter a residue; ``backbone``, the places of N, CA, C and O in angstrom,
either ``[n][4][3]`` with None for a missing atom or packed (:func:`pack`); ``chain`` and ``number``, the author's
name and number of every residue; ``insertion`` where some residue has a code; ``elements`` and ``places`` of the
ligands' atoms where there are any. Positions are the residues whose CA has coordinates, as everywhere.

The *table* (:func:`write_backbones`) is tab-separated text, gzipped or not, one row a residue, rows of a sample
together: ``sample chain number letter N CA C O``, where number carries the insertion code and an atom is three
numbers in angstrom to the thousandth, or nothing. An atom of a ligand is a row of the letter ``*``, with its element
in the place of the number and its place as CA.
"""

from __future__ import annotations

import base64
import gzip
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np
from jaxtyping import Bool, Float

from sciinterp.errors import FormatError, InputError
from sciinterp.readers.bounded import read_lines
from sciinterp.readers.entries import check_ids
from sciinterp.readers.structures import UNTRACED, Chain, read_structure
from sciinterp.samples import Sample, Samples

if TYPE_CHECKING:
    import pandas as pd

ATOMS = ("N", "CA", "C", "O")
LETTERS = "ACDEFGHIKLMNPQRSTVWYX"
LIGAND = "*"
COLUMNS = ("sample", "chain", "number", "letter", *ATOMS)
# Packed places are thousandths of an angstrom; this one is an atom without.
MISSING, PRECISION = np.iinfo(np.int32).min, 1000.0
# Beyond this (in angstrom) a place is damaged; a peptide bond is shorter than that.
FARTHEST, PEPTIDE = 1e5, 2.5
NO_RESIDUE = "chains without a residue of a protein"
BROKEN = "residues without a whole backbone, which models of backbones do not see"
BREAKS = "breaks of a chain, where residues or atoms are missing"


class Record(TypedDict):
    """A structure's residues and what is bound to them; see the text of this module."""

    sequence: str
    backbone: str
    chain: list[str]
    number: list[int]
    insertion: NotRequired[list[str]]
    elements: NotRequired[list[str]]
    places: NotRequired[list[list[float]]]


def pack(places: Float[np.ndarray, "n 4 3"]) -> str:
    """Places in angstrom (NaN where missing) as text: base64 of little-endian int32, in thousandths."""
    whole = np.where(np.isfinite(places), np.round(np.nan_to_num(places) * PRECISION), MISSING)
    return base64.b64encode(whole.astype("<i4").tobytes()).decode()


def places_of(record: Mapping[str, object]) -> Float[np.ndarray, "n 4 3"]:
    """float64 [n, 4, 3]: N, CA, C and O of every residue in angstrom, NaN where missing.

    Raises
    ------
    InputError
        What is there is no such places.
    """
    given = record["backbone"]
    try:
        if isinstance(given, str):
            whole = np.frombuffer(base64.b64decode(given, validate=True), "<i4").reshape(-1, 4, 3)
            return np.where(whole == MISSING, np.nan, whole / PRECISION)
        if not isinstance(given, Sequence):
            raise TypeError
        empty = (np.nan,) * 3
        filled = [[empty if atom is None else atom for atom in residue] for residue in given]
        found = np.array(filled, np.float64).reshape(-1, 4, 3)
        for atom, place in zip((a for residue in given for a in residue), found.reshape(-1, 3)):
            if atom is not None and not np.isfinite(place).all():
                raise ValueError
    except (TypeError, ValueError):
        raise InputError(
            "places of a backbone must be finite numbers",
            expected="[x, y, z] in angstrom or None for each of N, CA, C, O of every residue",
        ) from None
    return found


def joined(places: Float[np.ndarray, "n 4 3"], chain: np.ndarray) -> Bool[np.ndarray, " n"]:
    """Whether each residue is bound to the one before it: same chain, C to N within 2.5 angstrom."""
    out = np.zeros(len(places), bool)
    gap = np.linalg.norm(places[1:, 0] - places[:-1, 2], axis=1)
    out[1:] = (chain[1:] == chain[:-1]) & (gap < PEPTIDE)
    return out


def record_of(chains: Sequence[Chain]) -> Record:
    """The record of one or several chains and what is bound to them."""
    residues = [(chain.name, residue) for chain in chains for residue in chain.residues]
    places = np.full((len(residues), 4, 3), np.nan)
    for i, (_, residue) in enumerate(residues):
        for atom in residue.atoms:
            if atom.name in ATOMS and not (atom.name == "CA" and atom.element != "C"):
                places[i, ATOMS.index(atom.name)] = atom.coord
    letters = "".join(r.letter if r.letter in LETTERS else "X" for _, r in residues)
    out = Record(
        sequence=letters,
        backbone=pack(places),
        chain=[name for name, _ in residues],
        number=[r.number for _, r in residues],
    )
    if any(r.insertion for _, r in residues):
        out["insertion"] = [r.insertion for _, r in residues]
    bound = [
        a for chain in chains for other in chain.others for a in other.atoms if a.element not in ("H", "D")
    ]
    if bound:
        out["elements"] = [atom.element for atom in bound]
        out["places"] = [[round(float(x), 3) for x in atom.coord] for atom in bound]
    return out


def read_entry(path: Path, *, kind: str | None = None, format: str = "auto") -> Samples:
    """The entry of a PDB or mmCIF file as one sample; of the kind ``chains`` each of its chains.

    Raises
    ------
    InputError
        When it has no protein chain.
    """
    import pandas as pd

    apart = kind == "chains"
    entry, chains = read_structure(path, format=format)
    traced = [chain for chain in chains if chain.residues]
    parts = (
        [([chain], f"{entry}_{chain.name}") for chain in traced]
        if apart
        else [(chains, entry)] * bool(traced)
    )
    check_ids([name for _, name in parts], path, "protein chains", len(parts))
    data = [record_of(group) for group, _ in parts]
    table = pd.DataFrame({"entry": entry, "chain": ["".join(dict.fromkeys(d["chain"])) for d in data]})
    out = _samples([name for _, name in parts], data, path, table, untraced=sum(c.untraced for c in chains))
    if apart and len(traced) < len(chains):
        out.n_in, out.dropped = len(chains), Counter({NO_RESIDUE: len(chains) - len(traced)})
    return out


def _samples(
    ids: Sequence[str],
    data: Sequence[Record],
    path: Path,
    table: pd.DataFrame | None = None,
    untraced: int = 0,
) -> Samples:
    lengths = [len(d["sequence"]) for d in data]
    out = Samples(ids, data, lengths=lengths, kind="structure", source=str(path), table=table)
    met = Counter({UNTRACED: untraced})
    for d in data:
        places, chain = places_of(d), np.array(d["chain"])
        met[BROKEN] += int(np.isnan(places).any((1, 2)).sum())
        met[BREAKS] += int((~joined(places, chain)[1:] & (chain[1:] == chain[:-1])).sum())
    out.changed.update(+met)
    return out


def read_backbones(path: Path, *, kind: str | None = None) -> Samples:
    """Samples of a table of backbones.

    Raises
    ------
    FormatError
        A row that is no residue, with its line; rows of one sample apart from each other.
    InputError
        A table without rows.
    """
    rows = read_lines(path)
    first = next(rows, (1, ""))[1].split("\t")
    if tuple(first) != COLUMNS:
        raise FormatError("not a table of backbones", file=str(path), line=1, expected=" ".join(COLUMNS))
    ids, data = [], []
    for sample, group in groupby((_row(line, n, path) for n, line in rows), key=lambda row: row[0]):
        rows_of = list(group)
        found = [row for row in rows_of if row[3] != LIGAND]
        bound = [row for row in rows_of if row[3] == LIGAND]
        ids.append(sample)
        record = Record(
            sequence="".join(row[3] for row in found),
            backbone=pack(np.array([row[4] for row in found])),
            chain=[row[1] for row in found],
            number=[int(row[2][0]) for row in found],
        )
        if any(row[2][1] for row in found):
            record["insertion"] = [row[2][1] for row in found]
        if bound:
            record["elements"] = [row[2][0] for row in bound]
            record["places"] = [row[4][1] for row in bound]
        data.append(record)
    check_ids(ids, path, "structures", len(ids))
    return _samples(ids, data, path)


def _row(line: str, n: int, path: Path) -> tuple[str, str, tuple[str, str], str, list[list[float]]]:
    cells = line.split("\t")
    try:
        sample, chain, number, letter = cells[:4]
        code = number if letter == LIGAND or number.lstrip("-").isdigit() else number[:-1]
        if letter != LIGAND:
            int(code)
        places = [[float(x) for x in cell.split()] if cell else [np.nan] * 3 for cell in cells[4:]]
        if len(places) != 4 or any(len(p) != 3 for p in places) or letter not in (*LETTERS, LIGAND):
            raise ValueError
        if letter == LIGAND and not (number.isalpha() and cells[5]):
            raise ValueError
        if not all(abs(x) < FARTHEST for p, cell in zip(places, cells[4:]) if cell for x in p):
            raise ValueError
    except ValueError:
        raise FormatError("not a residue of a backbone", file=str(path), line=n, got=line[:60]) from None
    return sample, chain, (code, number[len(code) :]), letter, places


def write_backbones(path: str | Path, samples: Iterable[Sample]) -> None:
    """Write samples of structures as a table; gzipped where the name ends so, with the same bytes every time."""
    lines = ["\t".join(COLUMNS)]
    for sample in samples:
        d = sample.data
        codes = d.get("insertion") or [""] * sample.length
        for i, atoms in enumerate(places_of(d)):
            cells = ["" if np.isnan(a).any() else " ".join(f"{x:.3f}" for x in a) for a in atoms]
            lines.append(
                "\t".join([sample.id, d["chain"][i], f"{d['number'][i]}{codes[i]}", d["sequence"][i], *cells])
            )
        for element, place in zip(d.get("elements", ()), d.get("places", ())):
            spot = " ".join(f"{x:.3f}" for x in place)
            lines.append("\t".join([sample.id, "", element, LIGAND, "", spot, "", ""]))
    raw = ("\n".join(lines) + "\n").encode()
    Path(path).write_bytes(gzip.compress(raw, 9, mtime=0) if str(path).endswith(".gz") else raw)
