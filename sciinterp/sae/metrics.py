"""The measures of an SAE, each defined once, all sums in float64 and streamed.

With rows ``x_i``, reconstructions ``xhat_i``, codes ``f_i`` and the mean ``m`` of the rows:

fve
    ``1 - sum ||x - xhat||^2 / sum ||x - m||^2``: the fraction of variance explained; ``fvu = 1 - fve``. The
    mean is that of all rows measured, never of a batch. On a model with randomised weights it *rises*:
    activations without structure are easier to reconstruct, so it is no evidence of meaning.
l0
    Mean number of codes above zero a row.
dead
    Fraction of features whose code is above zero on no row of the *training* data.
density
    Fraction of rows on which a feature's code is above zero, per feature; ``density_histogram`` counts features per decade.
cosine
    Mean cosine between ``x - b_dec`` and ``xhat - b_dec``. Rises with randomised weights, as fve does.
shrinkage
    ``sum ||xhat - b_dec||^2 / sum (xhat - b_dec).(x - b_dec)``: below one when codes are systematically too
    small (the relative reconstruction bias of Rajamanoharan et al. 2024). Least squares gives one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
from torch import Tensor

from sciinterp import distributed

if TYPE_CHECKING:
    from sciinterp.sae.base import SAE

SUMS = ("n", "sum", "square", "error", "cosine", "back", "both", "counts")
EQUAL = (
    1e-13  # variance over squared distance from the centre: the rounding of float32, squared, and of the sums
)
DECADES = 8  # the histogram's lowest bin holds densities in (0, 1e-7]


class Measured(TypedDict):
    """The measures of some rows; see the module's docstring."""

    fve: float
    mse: float
    l0: float
    cosine: float
    shrinkage: float
    density_histogram: dict[str, int]
    n_tokens: int


class Measures:
    """Streamed sums of :func:`measure`; add batches, then read :meth:`result`.

    Examples
    --------
    >>> measures = Measures(torch.zeros(2), n_features=3)
    >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    >>> measures.add(x, x / 2, torch.tensor([1, 1]), torch.tensor([0, 2]))
    >>> round(measures.result()["fve"], 6), measures.result()["l0"]
    (0.75, 1.0)
    """

    def __init__(self, centre: Tensor, n_features: int) -> None:
        self.centre = centre.cpu().double()
        self.n = 0
        self.sum = torch.zeros_like(self.centre)
        self.square = self.error = self.cosine = self.back = self.both = 0.0
        self.counts = torch.zeros(n_features, dtype=torch.int64)

    def add(self, x: Tensor, back: Tensor, per_row: Tensor, features: Tensor) -> None:
        """Add rows, their reconstructions, how many features are active on each, and the features of all entries."""
        x, back = (rows.cpu().double() - self.centre for rows in (x, back))
        self.n += len(x)
        self.sum += x.sum(0)
        self.error += float((x - back).square().sum())
        square, back_square, both = x.square().sum(1), back.square().sum(1), (x * back).sum(1)
        self.square += float(square.sum())
        self.back += float(back_square.sum())
        self.both += float(both.sum())
        self.cosine += float((both / (square * back_square).sqrt().clamp_min(1e-300)).sum())
        if int(per_row.sum()) != features.numel():
            raise ValueError("per_row and features count different entries")
        self.counts += torch.bincount(features.long().cpu(), minlength=len(self.counts))

    def join(self) -> Measures:
        """Take in what the other ranks measured on their rows."""
        for name, parts in zip(SUMS, zip(*distributed.gathered([getattr(self, name) for name in SUMS]))):
            setattr(self, name, sum(parts[1:], parts[0]))
        return self

    @property
    def variance(self) -> float:
        """Sum of the squared distances of the rows from their mean; 0 where float32 cannot tell them apart."""
        found = self.square - float(self.sum.square().sum()) / max(self.n, 1)
        return found if found > EQUAL * self.square else 0.0

    def result(self) -> Measured:
        """The measures of all rows added."""
        n, variance = max(self.n, 1), self.variance
        return {
            "fve": 1 - self.error / variance if variance > 0 else float("nan"),
            "mse": self.error / n,
            "l0": float(self.counts.sum()) / n,
            "cosine": self.cosine / n,
            "shrinkage": self.back / self.both if self.both else float("nan"),
            "density_histogram": density_histogram(self.counts.numpy() / n),
            "n_tokens": self.n,
        }


def measure(sae: SAE, batches: Iterable[Tensor | np.ndarray], *, shared: bool = False) -> Measured:
    """Measures of an SAE over batches of rows (see the module's docstring for each).

    ``shared`` says that several ranks each have some of the rows, and measure all of them together.
    """
    measures = Measures(sae.b_dec, sae.n_features)
    for batch in batches:
        x = torch.as_tensor(batch)
        codes = sae.encode(x)
        measures.add(
            x,
            sae.reconstruct(x) if sae.input_norm != "none" else sae.decode(codes),
            codes.crow_indices().diff(),
            codes.col_indices(),
        )
    return measures.join().result() if shared else measures.result()


def never_fire(sae: SAE, batches: Iterable[Tensor | np.ndarray]) -> np.ndarray:
    """Which features fire on no row, bool [n_features]; batches are read until every one has fired."""
    silent = np.ones(sae.n_features, bool)
    for batch in batches:
        silent[sae.encode(batch).col_indices().cpu().numpy()] = False
        if not silent.any():
            break
    return silent


def firing_counts(sae: SAE, batches: Iterable[Tensor | np.ndarray]) -> np.ndarray:
    """On how many rows each feature fires, int64 [n_features]."""
    counts = torch.zeros(sae.n_features, dtype=torch.int64)
    for batch in batches:
        counts += torch.bincount(sae.encode(batch).col_indices().cpu(), minlength=sae.n_features)
    return counts.numpy()


def density_histogram(density: np.ndarray) -> dict[str, int]:
    """Number of features per decade of density; features that never fire are counted apart.

    Examples
    --------
    >>> {k: v for k, v in density_histogram(np.array([0, 0.5, 0.02, 0.03])).items() if v}
    {'never': 1, '1e-02': 2, '1e-01': 1}
    """
    found = {"never": int((density == 0).sum())}
    place = np.clip(np.ceil(-np.log10(density[density > 0])), 1, DECADES).astype(int)
    for decade in range(DECADES, 0, -1):
        found[f"1e-{decade:02d}"] = int((place == decade).sum())
    return found
