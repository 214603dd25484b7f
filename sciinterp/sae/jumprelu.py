"""JumpReLU with a target L0 (Rajamanoharan et al. 2024, "Jumping ahead").

With pre-activations ``z``, thresholds ``theta`` and the step function ``H``, codes are ``f = z H(z -
theta)`` and::

    L = 1/n sum || target - xhat ||^2  +  w d_in (L0 / target_l0 - 1)^2 ,   L0 = 1/n sum_ij H(z_ij - theta_j)

``H`` has no gradient, so thresholds learn by straight-through estimators with the rectangle kernel
``K(u) = 1 for |u| < 1/2`` of bandwidth ``eps``, over its *whole* window, on both sides of the threshold::

    df/dtheta      := -(theta / eps) K((z - theta) / eps)
    dH/dtheta      := -(1 / eps)     K((z - theta) / eps) ,     dH/dz := 0 ,     df/dz = H(z - theta)

Thresholds are learned as they are, in float32, never as logarithms: the gradient of a logarithm is smaller by
the threshold itself. One unit of their parameter is ``RATE`` units of pre-activation, so that Adam can carry
them as far as they must go, and they start from the first batch, where each feature is made to fire ``START``
times as often as the target asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sciinterp import distributed
from sciinterp.sae.architecture import (
    Architecture,
    Calibration,
    Finished,
    Step,
    in_data_units,
    write_gradients,
)
from sciinterp.sae.parameters import Parameters
from sciinterp.sae.sparse import code_gradients, decode, encode_above, keep_entries, products, sum_by_feature

RATE = 4.0
START = 4


@dataclass(frozen=True)
class JumpReLU(Architecture):
    """Thresholds learned per feature towards a target L0.

    Parameters
    ----------
    n_features : int
        Size of the dictionary.
    target_l0 : float
        Active features a row to aim for.
    weight : float
        Weight of the quadratic penalty, in units of the data's variance.
    bandwidth : float
        ``eps``, in pre-activations of data whose centred rows have a mean squared norm of ``d_in``.
    """

    name: ClassVar[str] = "jumprelu"
    target_l0: float = 32.0
    weight: float = 0.5
    bandwidth: float = 0.4

    def shapes(self, d_in: int) -> dict[str, tuple[int, ...]]:
        """The common parameters and the thresholds, in units of ``RATE``."""
        return {**super().shapes(d_in), "theta": (self.n_features,)}

    def step(self, step: Step, x: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Loss and gradients of a batch; see the module's docstring."""
        p, g, n = step.parameters, step.parameters.gradients, len(x)
        xin = x - p["b_dec"]
        if "started" not in step.memory:
            self._start_thresholds(step, xin)
        theta, eps = p["theta"].clamp(min=0) * RATE, self.bandwidth * step.unit
        near = encode_above(xin, p["W_enc"], p["b_enc"], theta - eps / 2, step.work)
        limit = theta[near.columns]
        active = near.values > limit
        codes = keep_entries(near, active)
        error = decode(codes, p["W_dec"]).add_(p["b_dec"]).sub_(target)
        gradient = error * (2 / n)
        d_code = code_gradients(near, gradient, p["W_dec"])
        write_gradients(step, codes, gradient, d_code[active], xin)
        l0 = x.new_full((), distributed.total(codes.columns.numel()) / distributed.total(n))
        off = l0 / self.target_l0 - 1
        weight = self.weight * step.progress * x.shape[1] * step.unit**2
        slope = 2 * weight * off / (self.target_l0 * n)
        window = near.values - limit < eps / 2
        entries = torch.where(window, -(limit * d_code + slope) / eps, 0)
        g["theta"].copy_(sum_by_feature(near.columns, entries, self.n_features)).mul_(RATE)
        mse = error.square_().sum() / n
        penalty = weight * off.square()
        return {"loss": mse + penalty, "mse": mse, "penalty": penalty, "l0": l0, "theta": theta.mean()}

    def _start_thresholds(self, step: Step, xin: Tensor) -> None:
        """Thresholds at which each feature fires on ``START * target_l0 / n_features`` of the batch."""
        p, n = step.parameters, distributed.total(len(xin))
        place = min(max(1, round(n * START * self.target_l0 / self.n_features)), max(n // 2, 1))
        pre = torch.cat([part.clone() for _, part in products(xin, p["W_enc"], p["b_enc"], step.work)])
        if distributed.size() > 1:
            pre = torch.cat(distributed.joined(pre.topk(min(place, len(pre)), dim=0).values))
        p["theta"].copy_(pre.topk(place, dim=0).values[-1].clamp_(min=0) / RATE)
        step.memory["started"] = torch.ones(1)

    def finish(self, parameters: Parameters, scale: float, calibrate: Calibration) -> Finished:
        """The thresholds and biases in the data's units."""
        theta = parameters["theta"].clamp(min=0) * RATE / scale
        return in_data_units(parameters, scale, threshold=theta), {"threshold_mean": float(theta.mean())}
