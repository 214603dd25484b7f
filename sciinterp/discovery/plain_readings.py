"""What finds peaks without any order of letters: the readings that explain a feature away.

* *composition*: the unordered letters around the peak;
* *centre*: the letter at the peak;
* *position*: distance from either end of the sample;
* *conservation*: the share of relatives that hold the same three letters (not fitted);
* of samples with coordinates also :data:`BACKBONE`: the bin of phi and psi, how many residues are near, the distance from
  the nearer end of the chain, as the baselines of structures read them (:mod:`sciinterp.association.backbone_baselines`).

Each has the form of a reader (:mod:`sciinterp.discovery.sequence_readers`): fitted log odds, and a score of positions.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import convolve1d

from sciinterp.association._jit import compiled
from sciinterp.association.backbone_baselines import geometry
from sciinterp.discovery.surroundings import Surroundings
from sciinterp.samples import Samples

AROUND = 6  # letters on either side that count as the composition around a peak
PRIOR = 5.0
N_BINS, BIN = 40, 5  # bins of five positions from an end; the last holds all beyond
SMOOTH = (0.25, 0.5, 0.25)
NEAR = 2  # residues in a bin of how many are near
BACKBONE = ("torsion", "contacts", "chain_end")
# Of these, what many residues of a sample share: a reader is asked to tell the peaks from others of the same class, too.
SHARED = ("torsion", "contacts")


def fit_unordered(around: Surroundings, at: np.ndarray, train: np.ndarray, reach: int) -> np.ndarray:
    """Log odds [n, n_letters + 1] of the letters within ``reach`` of training peaks; 0 for the sentinel."""
    share = around.share()
    counts = np.zeros((len(at), len(share) + 1))
    _count(around.letters, at, train & (at >= 0), reach, counts)
    counts = counts[:, :-1]
    seen = (counts + PRIOR * share) / (counts.sum(1, keepdims=True) + PRIOR)
    return np.hstack([np.log(seen / (share + 1e-9) + 1e-12), np.zeros((len(at), 1))])


def score_unordered(around: Surroundings, at: np.ndarray, odds: np.ndarray, reach: int) -> np.ndarray:
    """Sum of the log odds [n, n_positions] within ``reach`` of each position."""
    out = np.zeros(at.shape)
    _sum(around.letters, at, odds, reach, out)
    return out


def fit_place(around: Surroundings, at: np.ndarray, other: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Log odds [2, n, N_BINS] of the distances from both ends; random positions say how often each occurs at all."""
    train = train & (at >= 0)
    row = np.broadcast_to(np.arange(len(at))[:, None], at.shape)[train]
    odds = np.zeros((2, len(at), N_BINS))
    for end in range(2):
        counts, by_chance = (_bins(around, x, end)[train] for x in (at, other))
        counts = np.bincount(row * N_BINS + counts, minlength=len(at) * N_BINS).reshape(-1, N_BINS)
        expected = np.bincount(by_chance, minlength=N_BINS) / max(len(by_chance), 1)
        smooth = convolve1d(counts.astype(float), SMOOTH, mode="constant")
        odds[end] = np.log(
            (smooth + 4 * expected + 1e-4) / ((smooth.sum(1, keepdims=True) + 4) * (expected + 1e-4))
        )
    return odds


def score_place(around: Surroundings, at: np.ndarray, odds: np.ndarray) -> np.ndarray:
    """Sum of the log odds [n, n_positions] of both distances."""
    return np.sum([np.take_along_axis(odds[end], _bins(around, at, end), 1) for end in range(2)], axis=0)


def score_conservation(around: Surroundings, at: np.ndarray) -> np.ndarray:
    """Share of relatives [n, n_positions] that hold the three letters at each position."""
    return around.conservation[np.maximum(at, 0)]


def backbone_classes(samples: Samples) -> dict[str, np.ndarray]:
    """int64 [n_positions] of each of :data:`BACKBONE` and ``abego``; empty where samples have no coordinates."""
    of = geometry(samples)
    if of is None:
        return {}
    end = np.minimum(of.end // BIN, N_BINS - 1)
    return {**dict(zip(BACKBONE, (of.torsion, of.contacts // NEAR, end))), "abego": of.abego}


def fit_classes(
    around: Surroundings, at: np.ndarray, other: np.ndarray, train: np.ndarray, name: str
) -> np.ndarray:
    """Log odds [n, n_classes] of the class of the backbone at training peaks; random positions say how often each occurs."""
    train, of = train & (at >= 0), around.backbone[name]
    n = int(of.max(initial=0)) + 1
    row = np.broadcast_to(np.arange(len(at))[:, None], at.shape)[train]
    counts = np.bincount(row * n + of[at[train]], minlength=len(at) * n).reshape(-1, n)
    share = (np.bincount(of[other[train]], minlength=n) + 1) / (train.sum() + n)
    seen = (counts + PRIOR * share) / (counts.sum(1, keepdims=True) + PRIOR)
    return np.log(seen / share)


def score_classes(around: Surroundings, at: np.ndarray, odds: np.ndarray, name: str) -> np.ndarray:
    """Log odds [n, n_positions] of the class at each position."""
    return np.take_along_axis(odds, around.backbone[name][np.maximum(at, 0)], 1)


def _bins(around: Surroundings, at: np.ndarray, end: int) -> np.ndarray:
    return np.minimum(around.from_ends(np.maximum(at, 0))[end] // BIN, N_BINS - 1)


@compiled
def _count(letters, at, train, reach, counts) -> None:
    for i in range(at.shape[0]):
        for p in range(at.shape[1]):
            if train[i, p]:
                for o in range(-reach, reach + 1):
                    counts[i, letters[at[i, p] + o]] += 1.0


@compiled
def _sum(letters, at, odds, reach, out) -> None:
    for i in range(at.shape[0]):
        for p in range(at.shape[1]):
            if at[i, p] >= 0:
                for o in range(-reach, reach + 1):
                    out[i, p] += odds[i, letters[at[i, p] + o]]
