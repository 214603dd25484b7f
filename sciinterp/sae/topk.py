"""TopK (Gao et al. 2024, "Scaling and evaluating sparse autoencoders").

Codes are the ``k`` largest pre-activations of a row, rectified; the loss over a batch of ``n`` rows is::

    L = 1/n sum || target - xhat ||^2  +  L_aux        (see ``auxk.py``)

The gradient passes through the selected, positive entries and through nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sciinterp.sae.architecture import (
    Architecture,
    Calibration,
    Finished,
    Step,
    in_data_units,
    write_gradients,
)
from sciinterp.sae.auxk import add_auxk
from sciinterp.sae.parameters import Parameters
from sciinterp.sae.sparse import code_gradients, decode, fixed_codes


@dataclass(frozen=True)
class TopK(Architecture):
    """A fixed number of active features a row.

    Parameters
    ----------
    n_features : int
        Size of the dictionary.
    k : int
        Active features a row, at most.
    aux_alpha : float
        Weight of the auxiliary loss that revives dead features; 0 turns it off.

    Examples
    --------
    >>> TopK(n_features=1024, k=32)
    TopK(n_features=1024, k=32, aux_alpha=0.03125)
    """

    name: ClassVar[str] = "topk"
    screens: ClassVar[bool] = True
    quick: ClassVar[bool] = False  # by PyTorch's own product, as published dictionaries were
    k: int = 32
    aux_alpha: float = 1 / 32

    def step(self, step: Step, x: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Loss and gradients of a batch; see the module's docstring."""
        p, n = step.parameters, len(x)
        xin = x - p["b_dec"]
        values, columns = step.encode(xin, p["W_enc"], p["b_enc"], self.k, step.work)
        codes = fixed_codes(values.relu_(), columns)
        error = decode(codes, p["W_dec"]).add_(p["b_dec"]).sub_(target)
        gradient = error * (2 / n)
        d_pre = code_gradients(codes, gradient, p["W_dec"]).mul_(codes.values > 0)
        write_gradients(step, codes, gradient, d_pre, xin)
        aux = add_auxk(step, xin, error.neg_(), self.aux_alpha)
        mse = error.square_().sum() / n
        return {"loss": mse + aux, "mse": mse, "aux": aux, "l0": (codes.values > 0).sum() / n}

    def finish(self, parameters: Parameters, scale: float, calibrate: Calibration) -> Finished:
        """The weights as they are, biases in the data's units."""
        return in_data_units(parameters, scale, k=self.k), {}
