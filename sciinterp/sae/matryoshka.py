"""Matryoshka dictionaries over BatchTopK (Bussmann et al. 2025; Nabeshima 2024).

Nested prefixes ``m_1 < ... < m_S = n_features`` of one dictionary must each reconstruct alone. With the
batch's ``n k`` largest positive pre-activations as codes ``f``, and ``xhat_s = f[:m_s] W_dec[:m_s] +
b_dec``::

    L = 1/n sum over rows of  1/S sum_s || target - xhat_s ||^2  +  L_aux

Early features stay general while late ones specialise, so a wide dictionary keeps its broad concepts. One
pass over each row does all prefixes: prefix reconstructions are running sums over its entries; the gradient that
the part between two prefixes (a segment) receives is the sum of the errors of the
prefixes that contain it. ``L_aux`` takes the residual of the whole dictionary. Inference is BatchTopK's:
one threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sciinterp.sae import kernels
from sciinterp.sae.architecture import Architecture, Calibration, Finished, Step, require
from sciinterp.sae.auxk import add_auxk
from sciinterp.sae.batchtopk import batch_topk, threshold_sae
from sciinterp.sae.parameters import Parameters
from sciinterp.sae.sparse import Codes, Transposed, code_gradients, decode


@dataclass(frozen=True)
class Matryoshka(Architecture):
    """Nested dictionaries: every prefix reconstructs.

    Parameters
    ----------
    n_features : int
        Size of the whole dictionary.
    k : int
        Active features a row, on average.
    prefixes : tuple of int, optional
        Sizes of the nested dictionaries, ascending; by default a sixteenth, an eighth, ... and the whole.
    aux_alpha : float
        Weight of the auxiliary loss that revives dead features; 0 turns it off.

    Examples
    --------
    >>> Matryoshka(n_features=1024, k=32).prefixes
    (64, 128, 256, 512, 1024)
    """

    name: ClassVar[str] = "matryoshka"
    k: int = 32
    prefixes: tuple[int, ...] = ()
    aux_alpha: float = 1 / 32

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = tuple(int(m) for m in self.prefixes) or tuple(
            sorted({max(1, self.n_features // q) for q in (16, 8, 4, 2, 1)})
        )
        if sizes[-1] < self.n_features:
            sizes = (*sizes, self.n_features)
        require(
            sizes[0] >= 1 and sizes[-1] == self.n_features and list(sizes) == sorted(set(sizes)),
            self,
            "ascending prefixes up to n_features",
        )
        object.__setattr__(self, "prefixes", sizes)

    def step(self, step: Step, x: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Loss and gradients of a batch; see the module's docstring."""
        p, g, n = step.parameters, step.parameters.gradients, len(x)
        parts = len(self.prefixes)
        xin = x - p["b_dec"]
        codes, cut = batch_topk(xin, p["W_enc"], p["b_enc"], self.k, step)
        gradient, d_pre, bags, squares, error = self._nested(codes, p, target, step)
        pattern = Transposed(codes, self.n_features, bags)
        pattern.sum_rows(codes.values, gradient, g["W_dec"])
        pattern.sum_rows(d_pre, xin, g["W_enc"], (pattern.rows // parts).int())
        g["b_enc"].copy_(pattern.sum_values(d_pre))
        whole = gradient.view(n, -1)[:, : x.shape[1]].sum(0)
        torch.sub(whole, g["b_enc"] @ p["W_enc"], out=g["b_dec"])
        step.fired = pattern.start.diff() > 0
        aux = add_auxk(step, xin, error.neg_(), self.aux_alpha)
        mse_each = squares / n
        return {
            "loss": mse_each.mean() + aux,
            "mse": mse_each[-1],
            "mse_first": mse_each[0],
            "aux": aux,
            "l0": torch.tensor(codes.columns.numel() / n),
            "cut": cut,
        }

    def _nested(self, codes: Codes, p: Parameters, target: Tensor, step: Step) -> tuple[Tensor, ...]:
        """What nested reconstructions say.

        The gradient [n parts, d_in] of the part of a reconstruction that a segment between two prefixes
        makes, that of the codes [nnz], row and segment of each entry, squared error of each prefix [parts],
        and error of the whole [n, d_in].
        """
        (n, d_in), parts, place = target.shape, len(self.prefixes), target.device
        scale, ends = 2 / (n * parts), torch.tensor(self.prefixes, dtype=torch.int32).to(place)
        if place.type != "cpu":
            bags = codes.bag_of() * parts + torch.searchsorted(ends, codes.columns, right=True)
            start = torch.zeros(n * parts + 1, dtype=torch.int32, device=place)
            start[1:] = torch.cumsum(torch.bincount(bags, minlength=n * parts), 0)
            split = Codes(start, codes.columns, codes.values)
            errors = decode(split, p["W_dec"]).view(n, parts, d_in).cumsum_(1)
            errors.add_(p["b_dec"]).sub_(target[:, None])
            # What segment s receives is the sum over prefixes s, s + 1, ...: a running sum from behind.
            gradient = (errors * scale).flip(1).cumsum(1).flip(1).reshape(n * parts, d_in).contiguous()
            given = code_gradients(split, gradient, p["W_dec"])
            return gradient, given, bags.int(), errors.square().sum((0, 2)), errors[:, -1].clone()
        gradient = step.work.take("nested", n * parts, d_in)
        squares, error = torch.empty(n, parts), torch.empty(n, d_in)
        given, bags = torch.empty_like(codes.values), torch.empty_like(codes.columns)
        kernels.over_rows(
            n,
            kernels.nested_gradients,
            (codes.start.numpy(), codes.columns.numpy(), codes.values.numpy()),
            ends.numpy(),
            (p["W_dec"].numpy(), p["b_dec"].numpy()),
            target.numpy(),
            np.float32(scale),
            tuple(t.numpy() for t in (gradient.view(n, parts, d_in), given, bags, squares, error)),
        )
        return gradient, given, bags, squares.sum(0), error

    def finish(self, parameters: Parameters, scale: float, calibrate: Calibration) -> Finished:
        """A threshold SAE of the whole dictionary; a prefix of its features is a dictionary too."""
        return threshold_sae(parameters, self.k, scale, calibrate())
