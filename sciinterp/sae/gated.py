"""Gated SAE (Rajamanoharan et al. 2024, "Improving dictionary learning with gated sparse autoencoders").

One encoder decides which features are active and, rescaled, how strongly::

    gate = (x - b_dec) W_enc + b_enc          mag = exp(r) * ((x - b_dec) W_enc) + b_mag
    f    = 1[gate > 0] relu(mag)              xhat = f W_dec + b_dec

    L = 1/n sum [ || target - xhat ||^2  +  l1 sum_j relu(gate_j)
                  + || target - (relu(gate) W_dec' + b_dec') ||^2 ]

with ``W_dec'`` and ``b_dec'`` frozen copies: the auxiliary reconstruction trains the gate without touching
the decoder, so the L1 penalty cannot shrink the codes. After training it is exactly a JumpReLU: encoder
``exp(r) W_enc``, bias ``b_mag`` and threshold ``max(0, b_mag - exp(r) b_enc)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sciinterp.sae.architecture import Architecture, Calibration, Finished, Step, write_gradients
from sciinterp.sae.parameters import Parameters
from sciinterp.sae.sparse import Codes, code_gradients, decode, encode_above, sum_by_feature
from sciinterp.sae.weights import Weights


@dataclass(frozen=True)
class Gated(Architecture):
    """Separate paths for whether and how much.

    Parameters
    ----------
    n_features : int
        Size of the dictionary.
    l1 : float
        Weight of the penalty on the gate, for data whose centred rows have a mean squared norm of ``d_in``.
    """

    name: ClassVar[str] = "gated"
    l1: float = 2.0

    def shapes(self, d_in: int) -> dict[str, tuple[int, ...]]:
        """The common parameters (``b_enc`` is the gate's bias), the rescaling and the magnitude's bias."""
        return {**super().shapes(d_in), "r": (self.n_features,), "b_mag": (self.n_features,)}

    def step(self, step: Step, x: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Loss and gradients of a batch; see the module's docstring."""
        p, g, n = step.parameters, step.parameters.gradients, len(x)
        xin = x - p["b_dec"]
        gate = encode_above(xin, p["W_enc"], p["b_enc"], 0.0, step.work)
        columns, rescale = gate.columns, p["r"].exp()
        scaled = (gate.values - p["b_enc"][columns]) * rescale[columns]
        strength = scaled + p["b_mag"][columns]
        codes = Codes(gate.start, columns, strength.relu())
        error = decode(codes, p["W_dec"]).add_(p["b_dec"]).sub_(target)
        gradient = error * (2 / n)
        gate_error = decode(gate, p["W_dec"]).add_(p["b_dec"]).sub_(target)
        weight = self.l1 * step.progress * step.unit / n
        d_mag = code_gradients(codes, gradient, p["W_dec"]).mul_(strength > 0)
        d_gate = code_gradients(gate, gate_error * (2 / n), p["W_dec"]).add_(weight)
        # b_dec sees the encoder's input through both paths; the gate's bias only through its own.
        write_gradients(step, codes, gradient, d_gate + rescale[columns] * d_mag, xin)
        for name, entries in (("b_enc", d_gate), ("b_mag", d_mag), ("r", d_mag * scaled)):
            g[name].copy_(sum_by_feature(columns, entries, self.n_features))
        mse, aux = error.square_().sum() / n, gate_error.square_().sum() / n
        penalty = weight * gate.values.sum()
        l0 = (codes.values > 0).sum() / n
        return {"loss": mse + aux + penalty, "mse": mse, "aux": aux, "penalty": penalty, "l0": l0}

    def finish(self, parameters: Parameters, scale: float, calibrate: Calibration) -> Finished:
        """The equivalent threshold SAE, in the data's units."""
        p = parameters
        rescale = p["r"].exp()
        threshold = (p["b_mag"] - rescale * p["b_enc"]).clamp_(min=0) / scale
        encoder = (p["W_enc"] * rescale[:, None]).T
        weights = Weights(encoder, p["b_mag"] / scale, p["W_dec"], p["b_dec"] / scale, threshold=threshold)
        return weights, {}
