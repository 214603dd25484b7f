"""Matryoshka dictionaries over BatchTopK (Bussmann et al. 2025; Nabeshima 2024).

Nested prefixes ``m_1 < ... < m_S = n_features`` of one dictionary must each reconstruct alone. With the
batch's ``n k`` largest positive pre-activations as codes ``f``, and ``xhat_s = f[:m_s] W_dec[:m_s] +
b_dec``::

    L = 1/n sum over rows of  1/S sum_s || target - xhat_s ||^2  +  L_aux

Early features stay general while late ones specialise, so a wide dictionary keeps its broad concepts. One
pass does all prefixes: entries are grouped by (row, segment between two prefixes), each group is decoded
once, and prefix reconstructions are running sums; the gradient a segment receives is the sum over the
prefixes that contain it. ``L_aux`` takes the residual of the whole dictionary. Inference is BatchTopK's:
one threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sciinterp.sae.architecture import Architecture, Step, require
from sciinterp.sae.auxk import add_auxk
from sciinterp.sae.batchtopk import batch_topk, threshold_sae
from sciinterp.sae.parameters import Parameters
from sciinterp.sae.sparse import Codes, Transposed, code_gradients, decode
from sciinterp.sae.weights import Weights


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
        object.__setattr__(self, "prefixes", sizes)
        require(
            sizes[0] >= 1 and sizes[-1] == self.n_features and list(sizes) == sorted(set(sizes)),
            self,
            "ascending prefixes up to n_features",
        )
        require(1 <= self.k <= self.n_features and self.aux_alpha >= 0, self, "1 <= k <= n_features")

    def step(self, step: Step, x: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Loss and gradients of a batch; see the module's docstring."""
        p, g, n = step.parameters, step.parameters.gradients, len(x)
        parts, d_in = len(self.prefixes), x.shape[1]
        xin = x - p["b_dec"]
        codes, cut = batch_topk(xin, p["W_enc"], p["b_enc"], self.k, step)
        bags = self._by_segment(codes)
        sums = decode(bags, p["W_dec"]).view(n, parts, d_in)
        errors = sums.cumsum_(1).add_(p["b_dec"]).sub_(target[:, None])
        last = errors[:, -1].clone()
        mse_each = errors.square().sum((0, 2)) / n
        # What segment s receives is the sum of the errors of prefixes s, s + 1, ...: a running sum from
        # behind.
        gradient = (
            errors.mul_(2 / (n * parts)).flip(1).cumsum(1).flip(1).reshape(n * parts, d_in).contiguous()
        )
        d_pre = code_gradients(bags, gradient, p["W_dec"])
        pattern = Transposed(bags, self.n_features)
        pattern.sum_rows(bags.values, gradient, g["W_dec"])
        rows = (pattern.rows // parts).int()
        pattern.sum_rows(d_pre, xin, g["W_enc"], rows)
        g["b_enc"].copy_(pattern.sum_values(d_pre))
        whole = gradient.view(n, parts, d_in)[:, 0].sum(0)
        torch.sub(whole, g["b_enc"] @ p["W_enc"], out=g["b_dec"])
        step.fired = pattern.start.diff() > 0
        aux = add_auxk(step, xin, last.neg_(), self.aux_alpha)
        return {
            "loss": mse_each.mean() + aux,
            "mse": mse_each[-1],
            "mse_first": mse_each[0],
            "aux": aux,
            "l0": torch.tensor(codes.columns.numel() / n),
            "cut": cut,
        }

    def _by_segment(self, codes: Codes) -> Codes:
        """The same entries with one bag per (row, segment); columns ascend, so their order stays."""
        ends = torch.tensor(self.prefixes, dtype=torch.int32).to(codes.columns.device)
        segment = torch.searchsorted(ends, codes.columns, right=True)
        bag = codes.bag_of().long() * len(ends) + segment
        start = torch.zeros(codes.n_bags * len(ends) + 1, dtype=torch.int32, device=bag.device)
        start[1:] = torch.cumsum(torch.bincount(bag, minlength=len(start) - 1), 0)
        return Codes(start, codes.columns, codes.values)

    def finish(
        self, parameters: Parameters, scale: float, calibrate: Callable[[], Tensor]
    ) -> tuple[Weights, dict]:
        """A threshold SAE of the whole dictionary; a prefix of its features is a dictionary too."""
        return threshold_sae(parameters, self.k, scale, calibrate())
