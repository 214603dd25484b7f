"""AuxK: dead features are revived by letting them explain what the live ones leave over (Gao et al. 2024).

With ``e = target - xhat`` the residual, *detached*, and ``z`` the ``k_aux`` largest pre-activations among
dead features, rectified::

    L_aux = alpha * mean over rows of || e - z W_dec ||^2 ,   alpha = 1/32, k_aux = d_in / 2

There is no bias in ``z W_dec``, the residual carries none, and ``b_dec`` gets no gradient from this loss; the
encoder and the decoder of the dead features do. It is estimated on the first rows of the (shuffled) batch: a
sixteenth of them bounds its cost, and its mean is an unbiased estimate of the whole batch's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sciinterp.sae.architecture import Step
from sciinterp.sae.sparse import topk

ALPHA = 1 / 32
PART = 16  # one row in so many
MIN_ROWS = 16


def add_auxk(step: Step, xin: Tensor, residual: Tensor, alpha: float = ALPHA) -> Tensor:
    """Add the gradients of the auxiliary loss; gives the loss (zero when no feature is dead).

    `xin` is the centred input, ``x - b_dec``; `residual`, ``target - xhat``, is taken as a constant.
    """
    dead = step.dead
    if not len(dead) or alpha == 0:
        return xin.new_zeros(())
    n = min(len(xin), max(MIN_ROWS, len(xin) // PART))
    xin, residual = xin[:n], residual[:n]
    parameters, grads = step.parameters, step.parameters.gradients
    w_enc, w_dec = parameters["W_enc"][dead], parameters["W_dec"][dead]
    pre = torch.addmm(parameters["b_enc"][dead], xin, w_enc.T)
    k_aux = max(1, xin.shape[1] // 2)
    if k_aux < len(dead):
        values, columns = topk(pre, k_aux)
        codes = torch.zeros_like(pre).scatter_(1, columns.long(), values.relu_())
    else:
        codes = pre.relu_()
    error = torch.addmm(residual, codes, w_dec, beta=-1)
    gradient = error * (2 * alpha / n)
    d_pre = (gradient @ w_dec.T).mul_(codes > 0)
    grads["W_dec"].index_add_(0, dead, codes.T @ gradient)
    grads["W_enc"].index_add_(0, dead, d_pre.T @ xin)
    grads["b_enc"].index_add_(0, dead, d_pre.sum(0))
    return error.square_().sum() * (alpha / n)
