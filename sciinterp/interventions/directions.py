"""Directions that a concept could be turned by: its feature, its set, and plainer ones that need no dictionary.

All are unit vectors: what is compared is where they point. Plain ones are fitted on training families: the difference
of the mean activations of the concept and of its alternative, the neuron and the principal component that tell the two
apart best in units of their spread. Random features have the density of the concept's own and stand for any direction of
the same dictionary, noise for any direction at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.linalg import eigh
from torch import Tensor

from sciinterp.activations import Activations
from sciinterp.association.dense_baselines import position_rows, read_rows
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import InputError

# Kinds that need no dictionary.
PLAIN = ("means", "neuron", "component")
# Rows of each class that plain directions are fitted on, and principal components among which one is chosen.
ROWS, COMPONENTS = 4000, 32
# Random features are drawn among this many times as many of the nearest density.
NEAREST = 5


@dataclass(frozen=True, eq=False)
class Direction:
    """A unit vector at the SAE's site."""

    kind: str  # feature, set, means, neuron, component, random or noise
    name: str  # which one: "feature 534", "neuron 189 low"
    vector: Tensor  # float32 [d_in]


def unit(vector: np.ndarray | Tensor) -> Tensor:
    """The vector at length one."""
    found = torch.as_tensor(vector, dtype=torch.float32).detach().cpu()
    return found / found.norm().clamp_min(1e-12)


def feature_directions(
    features: FeatureMatrix, feature: int, units: list[int], avoid: set[int], n_random: int, seed: int
) -> list[Direction]:
    """The selected feature, its set (weighted by largest activations), and random features of equal density."""
    sae = features.sae
    assert sae is not None
    W, largest = sae.W_dec.detach().cpu(), features.largest
    found = [Direction("feature", f"feature {feature}", unit(W[feature]))]
    if len(units) > 1:
        together = sum((float(largest[j]) * W[j] for j in units), torch.zeros(W.shape[1]))
        found.append(Direction("set", "features " + " ".join(map(str, units)), unit(together)))
    density = features.density
    others = np.array([j for j in np.flatnonzero(density > 0) if j not in avoid | {feature, *units}])
    if len(others) and density[feature] > 0:
        apart = np.abs(np.log(density[others] / density[feature]))
        near = others[np.argsort(apart, kind="stable")[: NEAREST * n_random]]
        rng = np.random.default_rng([seed, feature])
        chosen = rng.choice(near, min(n_random, len(near)), replace=False)
        found += [Direction("random", f"feature {j}", unit(W[j])) for j in chosen.tolist()]
    return found


def plain_directions(
    acts: Activations | np.ndarray,
    features: FeatureMatrix,
    positive: np.ndarray,
    negative: np.ndarray,
    seed: int,
) -> list[Direction]:
    """Difference of class means, best neuron and best component, from positions of training families.

    `positive` and `negative` are positions of the concept and of its alternative, samples end to end.
    """
    rng = np.random.default_rng(seed)
    row = position_rows(acts, features.samples)
    parts = [row[np.sort(rng.choice(p, min(ROWS, len(p)), replace=False))] for p in (positive, negative)]
    parts = [p[p >= 0] for p in parts]
    both = read_rows(acts, np.concatenate(parts)).astype(np.float64)
    yes, no = both[: len(parts[0])], both[len(parts[0]) :]
    return separating(yes, no)


def separating(yes: np.ndarray, no: np.ndarray) -> list[Direction]:
    """The same from rows of the two classes [n, d_in]."""
    if not (np.isfinite(yes).all() and np.isfinite(no).all()):
        raise InputError("activations are not finite", where="acts")
    gap, n = yes.mean(0) - no.mean(0), len(yes) + len(no)
    both = np.concatenate([yes - yes.mean(0), no - no.mean(0)])
    # All that is asked of the rows is in their products: inside the classes, and with what lies between them.
    inside = both.T @ both
    which = int(np.argmax(np.abs(gap) / np.maximum(np.sqrt(np.diag(inside) / n), 1e-9)))
    spread = inside + len(yes) * len(no) / n * np.outer(gap, gap)
    axes = eigh(spread, subset_by_index=[max(len(gap) - COMPONENTS, 0), len(gap) - 1])[1].T[::-1]
    own = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", axes, inside, axes, optimize=True), 0) / n)
    apart = axes @ gap / np.maximum(own, 1e-9)
    best = int(np.argmax(np.abs(apart)))
    words = {True: "high", False: "low"}
    neuron = np.eye(len(gap))[which] * np.sign(gap[which])
    return [
        Direction("means", "difference of means", unit(gap)),
        Direction("neuron", f"neuron {which} {words[bool(gap[which] > 0)]}", unit(neuron)),
        Direction("component", f"component {best}", unit(axes[best] * np.sign(apart[best]))),
    ]


def noise_directions(width: int, n: int, seed: int) -> list[Direction]:
    """Gaussian directions."""
    generator = torch.Generator().manual_seed(seed)
    return [Direction("noise", f"noise {i}", unit(torch.randn(width, generator=generator))) for i in range(n)]


def units_of_set(sets: pd.DataFrame | None, concept: str) -> list[int]:
    """The features of a concept's best set by training F1; empty where none is known."""
    if sets is None or not {"concept", "reader", "f1_train", "units"} <= set(sets.columns):
        return []
    mine = sets[(sets["concept"] == concept) & (sets["reader"] == "features")]
    if not len(mine):
        return []
    return [int(j) for j in str(mine.loc[mine["f1_train"].idxmax(), "units"]).split()]
