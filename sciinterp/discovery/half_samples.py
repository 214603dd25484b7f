"""Is a feature explained by something plain, is it coherent in sequence: asked of half of the families at a time.

A cut-off on an AUROC of forty families is a coin where the AUROC lies near it. So every rule is asked of balanced
half-samples (McCarthy 1969, Plackett and Burman 1946): the columns of a Hadamard matrix say which families count twice
and which not at all, every two families meet equally often, and nothing is drawn. A measure moves by what its families
move it (:class:`sciinterp.discovery.sequence_readers.Coherence`). A feature is explained, or passes, as often as it
does so in the half-samples, and has to pass in half of them.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import hadamard

from sciinterp.budget import ranges
from sciinterp.discovery.calibrate import by_chance
from sciinterp.discovery.plain_readings import BACKBONE, SHARED
from sciinterp.discovery.sequence_readers import COLUMNS, OF_BACKBONE, Coherence

# AUROC from which something plainer than a reader explains the peaks, if it is not clearly worse than the reader.
EXPLAINED, CLEARLY = 0.9, 0.05
ORDERED = 0.6  # AUROC of the reader against shuffled windows below which the order of letters does not matter
COHERENT = 0.65  # AUROC of the reader at held-out peaks below which nothing is seen in the sequence
BETTER = 0.8  # AUROC from which something plainer explains the peaks if it does so at least as well
FAIR = 0.7  # AUROC from which it does if it is much better than the reader
READINGS = (
    "composition",
    "centre",
    "position",
    "conservation",
    *BACKBONE,
)  # the last of samples with coordinates alone
LEAST = 128  # half-samples
WORKING = 16  # numbers a measure takes while limits are found


def limits(measures: np.ndarray) -> np.ndarray:
    """AUROC [n, 4 or 7] from which each of :data:`READINGS` explains the peaks, given what the reader reaches.

    The letter at the peak explains them where it is as good as the reader; where the reader tells the peaks from other
    positions with the same letter (AUROC against these of 0.7 or more) the letter must be clearly better. Composition is
    held against the reader by how much the letters' order matters: where shuffling hardly hurts (AUROC against shuffled
    windows below 0.7) being about as good will do, where it hurts somewhat (below 0.8) as good, and beyond it must be
    clearly better, because the letters of a conserved motif are conserved too. The torsion and the number of neighbours are held against the
    reader as the letter is, with positions of the same torsion or as many neighbours. Distance from the ends and conservation
    explain them where they are as good, or about as good from 0.9. "About" and "clearly" are 0.05. All must reach 0.8;
    but 0.7 will do for what is better by 0.1, and anything for letters whose order does not matter at all (below 0.6).

    Parameters
    ----------
    measures : float [n, 7 or 12]
        As in :class:`sciinterp.discovery.sequence_readers.Coherence`.
    """
    reader, order, matched = (measures[:, COLUMNS.index(c)] for c in ("reader", "order", "matched"))
    about, as_good = reader - CLEARLY, np.maximum(BETTER, reader)
    clearly, unordered = np.maximum(BETTER, reader + CLEARLY), order < ORDERED
    composition = np.select(
        [unordered, order < 0.7, order < 0.8], [about, np.maximum(BETTER, about), as_good], clearly
    )
    centre = np.select([matched >= FAIR, unordered], [clearly, about], as_good)
    of_backbone = measures[:, len(COLUMNS) :]
    shared = [
        np.where(of_backbone[:, OF_BACKBONE.index(f"same_{name}")] >= FAIR, clearly, as_good)
        for name in SHARED
        if of_backbone.size
    ]
    plain = np.minimum(as_good, np.maximum(EXPLAINED, about))
    much_better = np.maximum(FAIR, reader + 2 * CLEARLY)
    ends = [plain] * (len(BACKBONE) - len(SHARED)) if shared else []
    return np.minimum(
        np.column_stack([composition, centre, plain, plain, *shared, *ends]), much_better[:, None]
    )


def explained(measures: np.ndarray, n_peaks: np.ndarray | None = None) -> np.ndarray:
    """bool [n]: a plain reading reaches the limit from which it explains the peaks, and tells `n_peaks` from chance."""
    reached, plain = _reached(measures)
    at = reached if n_peaks is None else reached & (plain > by_chance(n_peaks)[:, None])
    return np.asarray(at.any(1))


def _reached(measures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each of :data:`READINGS` reaches its limit, bool [n, 4 or 7], and what it reaches."""
    at = [COLUMNS.index(c) for c in READINGS[: -len(BACKBONE)]]
    plain = measures[:, [*at, *range(len(COLUMNS), min(measures.shape[1], len(COLUMNS) + len(BACKBONE)))]]
    return np.asarray((plain >= limits(measures)) & (plain > 0)), plain


def half_samples(n_families: int) -> np.ndarray:
    """int64 [n_samples, n_families]: 1 where a family counts twice, -1 where it does not; columns are orthogonal.

    Examples
    --------
    >>> signs = half_samples(5)
    >>> signs.shape, bool((signs.T @ signs == 128 * np.eye(5)).all()), signs.sum(axis=0).tolist()
    ((128, 5), True, [0, 0, 0, 0, 0])
    """
    order = max(LEAST, 1 << int(n_families).bit_length())
    return hadamard(order)[:, 1 : n_families + 1].astype(np.int64)


def shares(read: Coherence, n_peaks: np.ndarray, periodic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the half-samples [n] in which each feature is explained, and in which it passes.

    Parameters
    ----------
    read : Coherence
    n_peaks : int [n]
    periodic : bool [n]
        Features that need not be coherent in sequence.
    """
    gone, passed = np.zeros(len(read.measures)), np.zeros(len(read.measures))
    signs = half_samples(read.influence.shape[2]).astype(np.float32)
    n, chance = len(gone), by_chance(n_peaks)[:, None]
    for low, high in ranges(len(signs), read.measures.nbytes * WORKING):
        some = signs[low:high]
        moved = np.clip(read.measures + np.stack([read.influence @ sign for sign in some]), 0, 1)
        measures = moved.reshape(-1, moved.shape[2])
        # What reads no better than chance explains nothing: where it does as well as a motif, neither is there.
        at, reading = _reached(measures)
        reached, plain = at.any(1), (at & (reading > np.tile(chance, (len(some), 1)))).any(1)
        incoherent = (measures[:, COLUMNS.index("reader")] < COHERENT) | reached
        passes = ~plain & (np.tile(periodic, len(some)) | ~incoherent)
        gone += plain.reshape(-1, n).sum(0)
        passed += passes.reshape(-1, n).sum(0)
    return gone / len(signs), passed / len(signs)
