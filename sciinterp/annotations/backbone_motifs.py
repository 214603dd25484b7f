"""What the backbone of a structure does at every residue: states, caps, turns, bulges, torsions, ends, classes.

Samples are records of backbones (:mod:`sciinterp.readers.backbones`); positions are residues.

* ``ss:H`` to ``ss:C``: eight states of Kabsch and Sander (:mod:`sciinterp.annotations.secondary`);
* ``helix:N-cap N1 N2 N3 C-cap C'``: around an alpha helix, N1 to C1: at least five residues of state H, cut back at
  both ends to one whose phi and psi are within 30 degrees of a helix's; the caps are the residues beside it, half in
  and half out (Aurora and Rose, Protein Sci 7:21, 1998). By bonds alone 15% of C-caps had a positive phi, which is C's;
* ``helix:Schellman``: C' of a helix whose N-H binds the C=O of the residue before C3, with that of the residue
  after it bound to C3 (Schellman 1980; the same);
* ``turn:I II I' II' VIa VIb``: the two middle residues of four whose outer CA lie within 7 angstrom, by phi and psi
  within 30 degrees of the ideal, one of them within 45 (Hutchinson and Thornton, Protein Sci 3:2207, 1994);
* ``bulge``: the residue in excess between two bridges of an antiparallel ladder;
* ``ppII``: three or more residues in a row within 29 degrees of phi -75 and psi 145, in no helix or strand
  (Mansiaux and others, PLoS ONE 6:e18401, 2011);
* ``cis``: the bond before the residue is within 30 degrees of flat (``cis:proline`` where it is one);
* ``phi:positive``; ``end:N``, ``end:C``: the first and last three residues of a chain; ``residue:...``: letters.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from sciinterp.annotations.rows import Rows
from sciinterp.annotations.secondary import STATES, Secondary, secondary
from sciinterp.annotations.table import Annotations
from sciinterp.errors import InputError
from sciinterp.readers.backbones import places_of
from sciinterp.samples import Samples
from sciinterp.settings import checked

STATE_NAMES = dict(zip(STATES, (
    "alpha helix", "bridge alone", "strand of a ladder", "3-10 helix", "pi helix", "turn", "bend", "no state",
)))  # fmt: skip
# phi and psi of the second residue, of the third; and whether the bond between them is cis.
TURNS: dict[str, tuple[tuple[float, float, float, float], bool]] = {
    "I": ((-60, -30, -90, 0), False),
    "II": ((-60, 120, 80, 0), False),
    "I'": ((60, 30, 90, 0), False),
    "II'": ((60, -120, -80, 0), False),
    "VIa": ((-60, 120, -90, 0), True),
    "VIb": ((-135, 135, -75, 160), True),
}
TURN_CA, TURN_NEAR, TURN_FAR = 7.0, 30.0, 45.0
PPII, PPII_NEAR, PPII_RUN = (-75.0, 145.0), 29.0, 3
CIS, END = 30.0, 3
HELIX, HELIX_NEAR, HELIX_RUN = (-64.0, -41.0), 30.0, 5
CLASSES = {
    "glycine": "G", "proline": "P", "cysteine": "C", "asparagine": "N", "aspartate": "D", "aromatic": "FWYH",
    "aliphatic": "AVILM", "positive": "KR", "negative": "DE", "polar": "STNQ",
}  # fmt: skip
CAPS = ("N-cap", "N1", "N2", "N3", "C-cap", "C'")
NAMES = {
    **{f"ss:{s}": f"{name} (Kabsch and Sander)" for s, name in STATE_NAMES.items()},
    **{f"helix:{cap}": f"{cap} of an alpha helix" for cap in CAPS},
    "helix:Schellman": "Schellman motif at the end of a helix",
    **{f"turn:{kind}": f"beta turn of type {kind}" for kind in TURNS},
    "bulge": "classic beta bulge", "ppII": "polyproline II helix", "cis": "cis peptide bond before it",
    "cis:proline": "cis proline", "phi:positive": "positive phi", "end:N": "first three residues of a chain",
    "end:C": "last three residues of a chain", **{f"residue:{name}": f"{name} residue" for name in CLASSES},
}  # fmt: skip


def dihedral(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """degrees [n]: the angle between the planes a b c and b c d, -180 to 180."""
    one, axis, two = a - b, c - b, d - c
    axis = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    flat, other = (v - (v * axis).sum(1, keepdims=True) * axis for v in (one, two))
    return np.degrees(np.arctan2((np.cross(axis, flat) * other).sum(1), (flat * other).sum(1)))


def torsions(places: Float[np.ndarray, "n 4 3"], follows: np.ndarray) -> dict[str, np.ndarray]:
    """``phi psi omega`` in degrees, NaN where a neighbour is missing; omega is of the bond before the residue."""
    n, (N, CA, C, _) = len(places), places.transpose(1, 0, 2)
    out = {name: np.full(n, np.nan) for name in ("phi", "psi", "omega")}
    out["phi"][1:] = np.where(follows[1:], dihedral(C[:-1], N[1:], CA[1:], C[1:]), np.nan)
    out["psi"][:-1] = np.where(follows[1:], dihedral(N[:-1], CA[:-1], C[:-1], N[1:]), np.nan)
    out["omega"][1:] = np.where(follows[1:], dihedral(CA[:-1], C[:-1], N[1:], CA[1:]), np.nan)
    return out


def away(angle: np.ndarray, ideal: float) -> np.ndarray:
    """Degrees between angles, 0 to 180."""
    return np.abs((angle - ideal + 180) % 360 - 180)


@checked()
def annotate_backbones(samples: Samples, *, release: str = "") -> Annotations:
    """What the backbone does at every residue, from coordinates alone.

    Parameters
    ----------
    samples : Samples
        Records of backbones.
    release : str
        For the ``release`` column.

    Raises
    ------
    InputError
        Samples without coordinates.
    """
    rows = Rows("backbone", release=release)
    for sample in samples:
        if not isinstance(sample.data, dict) or "backbone" not in sample.data:
            raise InputError("this sample has no backbone", where=f"sample {sample.id!r}")
        rows.covers(sample.id)
        marks = motifs(places_of(sample.data), np.asarray(sample.data["chain"]), sample.sequence)
        for concept, mark in marks.items():
            for start, end in (
                runs(mark) if concept not in POINTS else ((i, i + 1) for i in np.flatnonzero(mark))
            ):
                rows.item()
                rows.add(sample.id, int(start), int(end), concept)
                rows.keep()
    for concept, name in NAMES.items():
        if concept in rows.concepts():
            rows.concept(concept, name=name, exhaustive=True)
    return rows.annotations()


# Concepts of single residues: two beside each other are two instances.
POINTS = {*(f"helix:{c}" for c in CAPS), "helix:Schellman", "bulge", "cis", "cis:proline", "phi:positive"} | {
    f"residue:{name}" for name in CLASSES
}


def runs(mark: np.ndarray) -> list[tuple[int, int]]:
    """Half-open intervals where a mark is set."""
    edges = np.flatnonzero(np.diff(np.r_[False, mark, False]))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


def motifs(places: Float[np.ndarray, "n 4 3"], chain: np.ndarray, letters: str) -> dict[str, np.ndarray]:
    """concept -> bool [n], for one structure."""
    letter = np.array(list(letters))
    found = secondary(places, chain, letter == "P")
    state, angle = np.array(list(found.state)), torsions(places, found.joined)
    out = {f"ss:{s}": state == s for s in STATES}
    out |= _helices(found, state, angle) | _turn_types(places, angle, found, state)
    n, (phi, psi) = len(letters), (angle["phi"], angle["psi"])
    out["bulge"] = np.isin(np.arange(n), found.bulges)
    with np.errstate(invalid="ignore"):
        near = (
            (away(phi, PPII[0]) <= PPII_NEAR)
            & (away(psi, PPII[1]) <= PPII_NEAR)
            & np.isin(state, list("CTS"))
        )
        out["cis"], out["phi:positive"] = away(angle["omega"], 0) < CIS, phi > 0
    out["ppII"] = np.zeros(n, bool)
    for start, end in _joined_runs(near, found.joined):
        out["ppII"][start:end] = end - start >= PPII_RUN
    out["cis:proline"] = out["cis"] & (letter == "P")
    ends = [np.flatnonzero(chain == name) for name in dict.fromkeys(chain.tolist())]
    out["end:N"] = np.isin(np.arange(n), np.concatenate([e[:END] for e in ends]))
    out["end:C"] = np.isin(np.arange(n), np.concatenate([e[-END:] for e in ends]))
    return out | {f"residue:{name}": np.isin(letter, list(which)) for name, which in CLASSES.items()}


def _joined_runs(mark: np.ndarray, follows: np.ndarray) -> list[tuple[int, int]]:
    """Runs of a mark, cut where the chain is."""
    out = []
    for start, end in runs(mark):
        cuts = [start, *(i for i in range(start + 1, end) if not follows[i]), end]
        out += list(zip(cuts[:-1], cuts[1:]))
    return out


def _helices(found: Secondary, state: np.ndarray, angle: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Caps and Schellman motifs of alpha helices."""
    n, out = len(state), {f"helix:{name}": np.zeros(len(state), bool) for name in (*CAPS, "Schellman")}
    with np.errstate(invalid="ignore"):
        helical = (away(angle["phi"], HELIX[0]) <= HELIX_NEAR) & (away(angle["psi"], HELIX[1]) <= HELIX_NEAR)
    for start, end in _joined_runs(state == "H", found.joined):
        inside = start + np.flatnonzero(helical[start:end])
        if not len(inside) or inside[-1] - inside[0] + 1 < HELIX_RUN:
            continue
        start, end = int(inside[0]), int(inside[-1]) + 1
        places = {"N1": start, "N2": start + 1, "N3": start + 2}
        if start and found.joined[start]:
            places["N-cap"] = start - 1
        if end < n and found.joined[end]:
            places["C-cap"] = end
            if end + 1 < n and found.joined[end + 1]:
                places["C'"] = end + 1
                # C'' binds C3 and C' binds C2, where C1 is the residue before the cap.
                if (
                    end + 2 < n
                    and found.joined[end + 2]
                    and found.bonds[end - 3, end + 2]
                    and found.bonds[end - 2, end + 1]
                ):
                    places["Schellman"] = end + 1
        for name, at in places.items():
            out[f"helix:{name}"][at] = True
    return out


def _turn_types(
    places: np.ndarray, angle: dict[str, np.ndarray], found: Secondary, state: np.ndarray
) -> dict[str, np.ndarray]:
    """The two middle residues of beta turns, by type."""
    n, out = len(state), {f"turn:{kind}": np.zeros(len(state), bool) for kind in TURNS}
    if n < 4:
        return out
    i = np.arange(n - 3)
    whole = found.joined[i + 1] & found.joined[i + 2] & found.joined[i + 3]
    with np.errstate(invalid="ignore"):
        close = np.linalg.norm(places[3:, 1] - places[:-3, 1], axis=1) < TURN_CA
        bent = whole & close & (state[i + 1] != "H") & (state[i + 2] != "H")
        flat = away(angle["omega"][i + 2], 0) < CIS
        for kind, (ideal, cis) in TURNS.items():
            given = [angle["phi"][i + 1], angle["psi"][i + 1], angle["phi"][i + 2], angle["psi"][i + 2]]
            off = np.stack([away(a, b) for a, b in zip(given, ideal)])
            fits = (off <= TURN_FAR).all(0) & ((off > TURN_NEAR).sum(0) <= 1) & (flat == cis)
            for at in np.flatnonzero(bent & fits):
                out[f"turn:{kind}"][at + 1 : at + 3] = True
    return out
