"""From a crystal to a graph: who is within a cutoff of whom, over all periodic images, and which bonds meet.

A crystal is a plain record, as `sciinterp.read_samples` gives it: ``lattice`` [3, 3] in angstrom (rows are
vectors), ``species`` (symbols) and ``frac_coords`` [n, 3]. A *directed edge* goes from an atom to one image of
a neighbour; the two directions of a pair are one *bond*. An *angle* is an ordered pair of different directed
edges that leave one atom, both shorter than a second cutoff.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypedDict

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from sciinterp.errors import InputError

ELEMENTS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y "
    "Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re "
    "Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu"
).split()
NUMBER = {symbol: z for z, symbol in enumerate(ELEMENTS, start=1)}
# Nearer than this an image is the atom itself.
SELF = 1e-8


class Crystal(TypedDict):
    """A crystal as it is read."""

    lattice: ArrayLike
    species: Sequence[str]
    frac_coords: ArrayLike


@dataclass(frozen=True)
class CrystalGraph:
    """Edges, bonds and angles of some crystals, atoms laid end to end."""

    center: Int[np.ndarray, " e"]  # the atom an edge leaves
    neighbour: Int[np.ndarray, " e"]  # the atom it reaches
    bond: Int[np.ndarray, " e"]  # the number of its bond
    length: Float[np.ndarray, " b"]  # angstrom
    angle_center: Int[np.ndarray, " a"]  # the atom
    angle_bond: Int[np.ndarray, " a"]  # the bond that is turned from
    angle_other: Int[np.ndarray, " a"]  # the bond that is turned to
    angle: Float[np.ndarray, " a"]  # radians


def check_crystal(data: object, who: str) -> None:
    """Refuse what is no crystal, and elements beyond plutonium: InputError naming the sample and the atom."""
    if not isinstance(data, Mapping) or not {"lattice", "species", "frac_coords"} <= set(data):
        raise InputError(
            "not a crystal",
            where=who,
            expected="a record of lattice, species and frac_coords",
            got=type(data).__name__,
        )
    unknown = [(i, s) for i, s in enumerate(data["species"]) if s not in NUMBER]
    if unknown:
        place, symbol = unknown[0]
        raise InputError(
            "not an element of the model",
            where=f"{who} position {place} (counted from 0)",
            expected="H to Pu",
            got=repr(symbol),
        )
    lattice, places = (np.asarray(data[key], dtype=np.float64) for key in ("lattice", "frac_coords"))
    n = len(data["species"])
    if (
        lattice.shape != (3, 3)
        or places.shape != (n, 3)
        or not np.isfinite(lattice).all()
        or not np.isfinite(places).all()
    ):
        raise InputError(
            "not a crystal",
            where=who,
            expected=f"a lattice (3, 3) and coordinates ({n}, 3), all finite",
            got=f"{lattice.shape} and {places.shape}",
        )
    if abs(np.linalg.det(lattice)) < SELF:
        raise InputError("not a crystal", where=who, expected="three vectors that span a volume")


def edges(
    crystal: Crystal, cutoff: float
) -> tuple[Int[np.ndarray, " e"], Int[np.ndarray, " e"], Int[np.ndarray, "e 3"], Float[np.ndarray, "e 3"]]:
    """Every (center, neighbour, image) within a cutoff, and the vector from center to neighbour in angstrom.

    Examples
    --------
    >>> copper = {"lattice": 2.0 * np.eye(3), "species": ["Cu"], "frac_coords": [[0.3, 0, 0]]}
    >>> center, neighbour, image, vector = edges(copper, 2.5)
    >>> len(center), np.linalg.norm(vector, axis=1).tolist()
    (6, [2.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    """
    lattice = np.asarray(crystal["lattice"], dtype=np.float64)
    places = np.asarray(crystal["frac_coords"], dtype=np.float64).reshape(-1, 3)
    inside = places - np.floor(places)
    # The distance between two faces of the cell is one over the length of a reciprocal vector.
    reach = np.floor(cutoff * np.linalg.norm(np.linalg.inv(lattice), axis=0)).astype(int) + 1
    between = (inside[None] - inside[:, None]) @ lattice
    found = []
    for image in product(*(range(-r, r + 1) for r in reach)):
        vector = between + np.array(image) @ lattice
        distance = np.sqrt((vector**2).sum(-1))
        i, j = np.nonzero((distance <= cutoff) & (distance > SELF))
        found.append((i, j, np.tile(image, (len(i), 1)), vector[i, j]))
    center, neighbour, shift, vector = (np.concatenate(column) for column in zip(*found))
    order = np.lexsort((*shift.T, neighbour, center))
    return center[order], neighbour[order], shift[order], vector[order]


def build_graph(crystals: Sequence[Crystal], *, cutoff: float, angle_cutoff: float) -> CrystalGraph:
    """The graph of several crystals; longest edge and longest bond of an angle in angstrom."""
    parts, n_atoms, n_bonds = [], 0, 0
    for crystal in crystals:
        center, neighbour, image, vector = edges(crystal, cutoff)
        bond, length = _bonds(center, neighbour, image, vector)
        left, right = _angles(center, np.linalg.norm(vector, axis=1), angle_cutoff)
        unit = vector / np.linalg.norm(vector, axis=1, keepdims=True)
        # A straight angle has no derivative: the model was trained with cosines a millionth smaller.
        angle = np.arccos((unit[left] * unit[right]).sum(1) * (1 - 1e-6))
        parts.append(
            (
                center + n_atoms,
                neighbour + n_atoms,
                bond + n_bonds,
                length.astype(np.float32),
                center[left] + n_atoms,
                bond[left] + n_bonds,
                bond[right] + n_bonds,
                angle.astype(np.float32),
            )
        )
        n_atoms, n_bonds = n_atoms + len(crystal["species"]), n_bonds + len(length)
    return CrystalGraph(*(np.concatenate(column) for column in zip(*parts)))


def _bonds(
    center: np.ndarray, neighbour: np.ndarray, image: np.ndarray, vector: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The bond of every edge, and the length of every bond: (i, j, image) and (j, i, -image) are one."""
    there = np.column_stack([center, neighbour, image])
    back = np.column_stack([neighbour, center, -image])
    different = there != back
    first = different.argmax(1)
    rows = np.arange(len(there))
    swap = different.any(1) & (back[rows, first] < there[rows, first])
    _, chosen, bond = np.unique(
        np.where(swap[:, None], back, there), axis=0, return_index=True, return_inverse=True
    )
    return bond.ravel().astype(np.int64), np.linalg.norm(vector[chosen], axis=1)


def _angles(center: np.ndarray, length: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Ordered pairs of different short edges that leave one atom; edges are sorted by their center."""
    short = np.flatnonzero(length < cutoff)
    owner = center[short]
    start = np.searchsorted(owner, owner, side="left")
    count = np.searchsorted(owner, owner, side="right") - start
    left = np.repeat(np.arange(len(short)), count)
    within = np.arange(len(left)) - np.repeat(np.cumsum(count) - count, count)
    right = np.repeat(start, count) + within
    other = left != right
    return short[left[other]], short[right[other]]
