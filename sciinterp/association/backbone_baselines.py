"""Baselines of structures: would the backbone at a residue, read plainly, have done as well?

Where samples have coordinates (:mod:`sciinterp.readers.backbones`):

* ``torsion``: the share of training residues with phi and psi in the same bin of 30 degrees that carry the concept;
* ``state``: the best single state of Kabsch and Sander at one offset of at most two residues;
* ``contacts``: how many CA lie within 10 angstrom, read high or low;
* ``chain_end``: the share of training residues at this distance from the nearer end of their chain.

A reader that is right everywhere in training is the concept's own definition (a state of the residue, the sign of
phi): of such concepts it says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

from sciinterp.annotations.backbone_motifs import torsions
from sciinterp.annotations.secondary import STATES, secondary
from sciinterp.association.family_counts import FamilyCounts
from sciinterp.association.fitting import Fitted, Inputs, best_column, best_of_units, scored
from sciinterp.association.genes import one_hot_blocks
from sciinterp.association.sequence_baselines import by_distance, shares
from sciinterp.readers.backbones import places_of
from sciinterp.samples import Samples

BIN, CONTACT, REACH = 30.0, 10.0, 2
# A training F1 from which a reader is the definition of what it reads.
DEFINES = 0.995


@dataclass(frozen=True, eq=False)
class Geometry:
    """The backbones of all positions."""

    # int64 [n_positions]: the bin of phi and psi; the last one where a neighbour is missing.
    torsion: np.ndarray
    # int64 [n_positions, 2 * REACH + 1]: the state around each position; ``len(STATES)`` beyond the ends of
    # its chain.
    state: np.ndarray
    contacts: np.ndarray  # int64 [n_positions]
    end: np.ndarray  # int64 [n_positions]
    abego: np.ndarray  # int64 [n_positions]: number in ABEGO


# Regions of the Ramachandran plot (Lin and others 2015): helix, strand, the rest of positive phi, left-handed helix, a cis
# bond before the residue; and what has no torsions.
ABEGO = "ABEGOx"
N_SIDE = int(360 / BIN)
N_TORSIONS = N_SIDE**2 + 1


@lru_cache(maxsize=2)
def geometry(samples: Samples) -> Geometry | None:
    """The backbones of samples that all have one; None of others."""
    if not len(samples) or not all(isinstance(d, dict) and "backbone" in d for d in samples.data):
        return None
    parts = [_of_structure(s.data, s.sequence) for s in samples]
    return Geometry(*(np.concatenate(column) for column in zip(*parts)))


def _of_structure(data: dict, letters: str) -> tuple[np.ndarray, ...]:
    places, chain = places_of(data), np.asarray(data["chain"])
    found = secondary(places, chain, np.array(list(letters)) == "P")
    angle = torsions(places, found.joined)
    known = np.isfinite(angle["phi"]) & np.isfinite(angle["psi"])
    bins = [((np.nan_to_num(angle[name]) + 180) // BIN).astype(np.int64) % N_SIDE for name in ("phi", "psi")]
    torsion = np.where(known, bins[0] * N_SIDE + bins[1], N_TORSIONS - 1)
    abego = np.where(known, _region(angle["phi"], angle["psi"], angle["omega"]), ABEGO.index("x"))
    number = np.array([STATES.index(s) for s in found.state])
    n, at = len(number), np.arange(len(number))
    around = at[:, None] + np.arange(-REACH, REACH + 1)
    inside = (around >= 0) & (around < n)
    around = around.clip(0, n - 1)
    state = np.where(inside & (chain[around] == chain[:, None]), number[around], len(STATES))
    alpha = np.nan_to_num(places[:, 1], nan=1e6)
    tree = cKDTree(alpha)
    contacts = np.array([len(x) for x in tree.query_ball_point(alpha, CONTACT)]) - 1
    start = np.flatnonzero(np.r_[True, chain[1:] != chain[:-1]])
    length = np.diff(np.r_[start, n])
    first = at - np.repeat(start, length)
    end = np.minimum(first, np.repeat(length, length) - 1 - first)
    return torsion, state, contacts, end, abego


def _region(phi: np.ndarray, psi: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """int64: number in :data:`ABEGO` of torsions in degrees.

    Examples
    --------
    >>> angles = np.array([[-60, -45, 180], [-120, 130, 180], [60, 40, 180], [80, -170, 180], [-70, 150, 0]])
    >>> "".join(ABEGO[i] for i in _region(*angles.T))
    'ABGEO'
    """
    left = np.where((psi >= -75) & (psi < 50), ABEGO.index("A"), ABEGO.index("B"))
    right = np.where((psi >= -100) & (psi < 100), ABEGO.index("G"), ABEGO.index("E"))
    return np.where(np.abs(omega) < 90, ABEGO.index("O"), np.where(phi < 0, left, right))


def torsion(inputs: Inputs) -> Fitted:
    """Share of training residues in the same bin of phi and psi."""
    of, train, test = _geometry(inputs).torsion, inputs.parts.train, inputs.parts.test
    return _but_definitions(scored(inputs, shares(of[train.rows], of[test.rows], N_TORSIONS, train)))


def state(inputs: Inputs) -> Fitted:
    """The best single state at one offset."""
    n, blocks = len(STATES), one_hot_blocks(_geometry(inputs).state, len(STATES))
    return _but_definitions(best_column(inputs, blocks, lambda j: f"{STATES[j % n]} at {j // n - REACH:+d}"))


def contacts(inputs: Inputs) -> Fitted:
    """How many residues are near."""
    of = _geometry(inputs).contacts.astype(np.float32)[:, None]
    return best_of_units(inputs, lambda part, units: of[part.rows][:, units], 1, lambda unit: "contacts")


def chain_end(inputs: Inputs) -> Fitted:
    """Distance from the nearer end of the chain."""
    return _but_definitions(by_distance(inputs, _geometry(inputs).end))


def _geometry(inputs: Inputs) -> Geometry:
    found = geometry(inputs.samples)
    assert found is not None  # the registry asks for it
    return found


def _but_definitions(found: Fitted) -> Fitted:
    """The same, without what was right everywhere in training."""
    keep = found.f1_train < DEFINES
    counts = found.counts
    silent = FamilyCounts(counts.tp * keep[:, None], counts.predicted * keep[:, None], counts.positive)
    detail = [text if ok else "its definition" for text, ok in zip(found.detail, keep)]
    return replace(found, f1_train=np.where(keep, found.f1_train, 0.0), counts=silent, detail=detail)
