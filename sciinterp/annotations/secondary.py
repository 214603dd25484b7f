"""Secondary structure from the backbone: hydrogen bonds, and eight states, as Kabsch and Sander define them.

Kabsch and Sander, Biopolymers 22:2577 (1983). The hydrogen of N-H lies opposite the C=O before it; a bond from a
C=O to an N-H has an energy below -0.5 kcal/mol, with charges of 0.42 and 0.20 electrons on C, O and N, H:

    E = 0.084 * 332 * (1/r(ON) + 1/r(CH) - 1/r(OH) - 1/r(CN))

A turn of n residues is a bond from i to i + n; two turns in a row make a helix (4: H, 3: G, 5: I); two bonds that
link two strands make a bridge, bridges in a row a ladder, joined over a bulge of at most one residue on one strand
and four on the other (E, a bridge alone B); other turns are T, bends of the CA trace above 70 degrees S, the rest C.
Where states overlap, H comes before B and E, those before G, I, T and S.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sciinterp.readers.backbones import joined

STATES = "HBEGITSC"
CHARGES, BOND_ENERGY, NH = 0.084 * 332.0, -0.5, 1.01
# CA further apart than this (angstrom) carry no bond between their residues.
BONDED_CA = 9.0
BEND = 70.0
# Residues between two bridges of one ladder, on the one strand and the other.
BULGE_SHORT, BULGE_LONG = 2, 5


class Bridge(NamedTuple):
    """Residues i < j side by side on two strands."""

    i: int
    j: int
    parallel: bool


@dataclass(frozen=True)
class Secondary:
    """What the hydrogen bonds of a structure say.

    Attributes
    ----------
    state : str
        One of ``STATES`` a residue.
    bonds : bool [n, n]
        ``bonds[i, j]``: from the C=O of i to the N-H of j.
    joined : bool [n]
        Whether the residue follows the one before it in its chain.
    bridges : list of Bridge
    bulges : list of int
        The residue in excess between two bridges in a row of an antiparallel ladder (a classic bulge).
    """

    state: str
    bonds: Bool[np.ndarray, "n n"]
    joined: Bool[np.ndarray, " n"]
    bridges: list[Bridge] = field(default_factory=list)
    bulges: list[int] = field(default_factory=list)


def hydrogen_bonds(
    places: Float[np.ndarray, "n 4 3"], follows: Bool[np.ndarray, " n"], proline: Bool[np.ndarray, " n"]
) -> Bool[np.ndarray, "n n"]:
    """Whether the C=O of each residue (rows) binds the N-H of another (columns)."""
    n, (N, CA, C, O) = len(places), places.transpose(1, 0, 2)
    H = np.full((n, 3), np.nan)
    before = C[:-1] - O[:-1]
    H[1:] = N[1:] + NH * before / np.linalg.norm(before, axis=1, keepdims=True)
    H[~follows | proline] = np.nan
    i, j = np.nonzero(np.linalg.norm(CA[:, None] - CA[None], axis=-1) < BONDED_CA)
    # A C=O binds neither its own N-H nor that of the residue after it.
    i, j = (x[(j != i) & (j != i + 1)] for x in (i, j))

    def inverse(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return 1 / np.maximum(np.linalg.norm(a - b, axis=1), 0.5)

    energy = CHARGES * (inverse(O[i], N[j]) + inverse(C[i], H[j]) - inverse(O[i], H[j]) - inverse(C[i], N[j]))
    out = np.zeros((n, n), bool)
    strong = energy < BOND_ENERGY
    out[i[strong], j[strong]] = True
    return out


def secondary(places: Float[np.ndarray, "n 4 3"], chain: np.ndarray, proline: np.ndarray) -> Secondary:
    """Eight states of every residue of one structure.

    Parameters
    ----------
    places : float [n, 4, 3]
        N, CA, C and O in angstrom, NaN where missing: such residues bind nothing.
    chain : [n]
        Each residue's chain.
    proline : bool [n]
        Residues without N-H.
    """
    n, follows = len(places), joined(places, chain)
    bonds = hydrogen_bonds(places, follows, np.asarray(proline, bool))
    run = np.cumsum(~follows)  # residues of one number are one unbroken stretch
    state = np.full(n, "C")
    bend = _bends(places[:, 1], run)
    state[bend] = "S"
    turns = {size: _turns(bonds, run, size) for size in (3, 4, 5)}
    for size, at in turns.items():
        for i in np.flatnonzero(at):
            state[i + 1 : i + size] = "T"
    helix = {size: (np.flatnonzero(at[1:] & at[:-1]) + 1).tolist() for size, at in turns.items()}
    for size, letter in ((5, "I"), (3, "G")):
        for i in helix[size]:
            if not set(state[i : i + size]) & set("HEBG" if letter == "I" else "HEB"):
                state[i : i + size] = letter
    bridges = _bridges(bonds, run)
    strands, bulges = _ladders(bridges)
    for i, extended in strands.items():
        state[i] = "E" if extended or state[i] == "E" else "B"
    for i in helix[4]:
        state[i : i + 4] = "H"
    return Secondary("".join(state), bonds, follows, bridges, bulges)


def _bends(alpha: np.ndarray, run: np.ndarray) -> np.ndarray:
    """bool [n]: where the CA trace turns by more than 70 degrees over five residues."""
    out = np.zeros(len(alpha), bool)
    if len(alpha) < 5:
        return out
    one, two = alpha[2:-2] - alpha[:-4], alpha[4:] - alpha[2:-2]
    cosine = (one * two).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1))
    with np.errstate(invalid="ignore"):
        out[2:-2] = (cosine < np.cos(np.radians(BEND))) & (run[4:] == run[:-4])
    return out


def _turns(bonds: np.ndarray, run: np.ndarray, size: int) -> np.ndarray:
    """bool [n]: where a turn of so many residues begins."""
    out = np.zeros(len(run), bool)
    if len(run) > size:
        out[:-size] = np.diagonal(bonds, size) & (run[size:] == run[:-size])
    return out


def _bridges(bonds: np.ndarray, run: np.ndarray) -> list[Bridge]:
    """Every bridge, by its first residue."""
    n, found = len(run), {}
    inside = np.zeros(n, bool)
    inside[1:-1] = (run[2:] == run[:-2]) if n > 2 else False
    # From i - 1 to j and from j to i + 1; from i to j and back, or around both.
    shifted = np.zeros((n + 2, n + 2), bool)
    shifted[1:-1, 1:-1] = bonds

    def at(di: int, dj: int) -> np.ndarray:
        return shifted[1 + di : n + 1 + di, 1 + dj : n + 1 + dj]

    parallel = (at(-1, 0) & at(0, 1).T) | (at(-1, 0).T & at(0, 1))
    against = (at(0, 0) & at(0, 0).T) | (at(-1, 1) & at(-1, 1).T)
    for kind, table in ((True, parallel), (False, against)):
        for i, j in zip(*np.nonzero(np.triu(table & inside[:, None] & inside, 3))):
            found.setdefault((int(i), int(j)), kind)
    return [Bridge(i, j, kind) for (i, j), kind in sorted(found.items())]


def _ladders(bridges: list[Bridge]) -> tuple[dict[int, bool], list[int]]:
    """Residues of bridges and whether their ladder has two; residues in excess in antiparallel ladders."""
    strands: dict[int, bool] = {}
    bulges: list[int] = []
    known = {(b.i, b.j): b.parallel for b in bridges}
    for bridge in bridges:
        for end in (bridge.i, bridge.j):
            strands.setdefault(end, False)
        sign = 1 if bridge.parallel else -1
        nearest = None
        for di in range(1, BULGE_LONG + 1):
            for dj in range(1, BULGE_LONG + 1):
                other = known.get((bridge.i + di, bridge.j + sign * dj))
                if (
                    other == bridge.parallel
                    and min(di, dj) <= BULGE_SHORT
                    and bridge.i + di < bridge.j + sign * dj
                ):
                    step = (di + dj, di, dj)
                    nearest = step if nearest is None or step < nearest else nearest
        if nearest is None:
            continue
        _, di, dj = nearest
        for low, high in (
            (bridge.i, bridge.i + di),
            tuple(sorted((bridge.j, bridge.j + sign * dj))),
        ):
            for residue in range(low, high + 1):
                strands[residue] = True
        if not bridge.parallel and {di, dj} == {1, 2}:
            bulges.append(bridge.i + 1 if di == 2 else bridge.j - 1)
    return strands, sorted(set(bulges))
