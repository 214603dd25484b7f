"""ReLU with an L1 penalty weighted by decoder norms (Bricken et al. 2023; Conerly et al. 2024).

Codes are ``f = relu((x - b_dec) W_enc + b_enc)``, decoder norms are free, and the loss is::

    L = 1/n sum [ || target - xhat ||^2  +  l1 sum_j f_j |W_dec_j| ]

so that no code can shrink by letting its direction grow. At the end each direction is scaled to norm one
and its norm moves into the encoder, which changes no reconstruction. The gradient of the penalty is ``l1
|W_dec_j|`` for an active code and ``l1 sum_i f_ij W_dec_j / |W_dec_j| / n`` for the direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sciinterp.sae.architecture import Architecture, Calibration, Finished, Step, write_gradients
from sciinterp.sae.parameters import Parameters
from sciinterp.sae.sparse import code_gradients, decode, encode_above
from sciinterp.sae.weights import Weights


@dataclass(frozen=True)
class ReLU(Architecture):
    """Rectified codes with an L1 penalty.

    Parameters
    ----------
    n_features : int
        Size of the dictionary.
    l1 : float
        Weight of the penalty, for data whose centred rows have a mean squared norm of ``d_in``.
    """

    name: ClassVar[str] = "relu"
    unit_norm: ClassVar[bool] = False
    l1: float = 2.0

    def step(self, step: Step, x: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Loss and gradients of a batch; see the module's docstring."""
        p, n = step.parameters, len(x)
        xin = x - p["b_dec"]
        codes = encode_above(xin, p["W_enc"], p["b_enc"], 0.0, step.work)
        norm = torch.linalg.vector_norm(p["W_dec"], dim=1)
        weight = self.l1 * step.progress * step.unit / n
        error = decode(codes, p["W_dec"]).add_(p["b_dec"]).sub_(target)
        gradient = error * (2 / n)
        d_pre = code_gradients(codes, gradient, p["W_dec"]).add_(weight * norm[codes.columns])
        total = write_gradients(step, codes, gradient, d_pre, xin)
        p.gradients["W_dec"].addcmul_((weight * total / norm.clamp_min(1e-12))[:, None], p["W_dec"])
        mse = error.square_().sum() / n
        penalty = weight * (total * norm).sum()
        return {
            "loss": mse + penalty,
            "mse": mse,
            "penalty": penalty,
            "l0": torch.tensor(codes.columns.numel() / n),
        }

    def finish(self, parameters: Parameters, scale: float, calibrate: Calibration) -> Finished:
        """Directions of norm one, their norms in the encoder, biases in the data's units."""
        p = parameters
        norm = torch.linalg.vector_norm(p["W_dec"], dim=1, keepdim=True).clamp_min(1e-12)
        encoder, bias = p["W_enc"] * norm, p["b_enc"] * norm[:, 0] / scale
        zero = torch.zeros_like(bias)
        return Weights(encoder.T, bias, p["W_dec"] / norm, p["b_dec"] / scale, threshold=zero), {}
