"""Dictionaries that are not trained, or hardly: what a recipe gives without learning its directions.

A *twin* is trained by the same recipe on the same rows in the same order, but a part of it stays at its random start
(Korznikov et al. 2026, arXiv:2602.14111, who found such dictionaries on a par with trained ones on most published
measures):

* ``decoder``: the decoder rows ``W_dec`` do not move; encoder and biases learn.
* ``decoder_soft``: each decoder row keeps a cosine of at least 0.8 with its start; a step that leaves the cone is
  taken back onto it.
* ``encoder``: ``W_enc`` does not move, nor is it pulled towards the decoder; decoder and biases learn.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sciinterp.sae.parameters import Parameters

COSINE = 0.8  # of a decoder row with its start, at least: the bound of the paper


class Frozen:
    """Keeps a part of the parameters at its start, or near it.

    `part` is one of :data:`sciinterp.sae.settings.FROZEN`, or empty; `start` [n_features, d_in], the decoder at
    the start, of norm one, is copied where it is needed.
    """

    def __init__(self, part: str, start: Tensor) -> None:
        self.part, self.start = part, start.clone() if part.startswith("decoder") else None

    @property
    def pulls(self) -> bool:
        """Whether the encoder may be pulled towards the decoder."""
        return self.part != "encoder"

    @property
    def still(self) -> str:
        """The parameter that does not move, or empty."""
        return {"decoder": "W_dec", "encoder": "W_enc"}.get(self.part, "")

    def before(self, parameters: Parameters) -> None:
        """Take the gradient of what does not move away."""
        if self.still:
            parameters.gradients[self.still].zero_()

    def after(self, parameters: Parameters) -> None:
        """Put the decoder back to its start, or onto the cone around it."""
        if self.start is None:
            return
        if self.part == "decoder":
            parameters["W_dec"].copy_(self.start)  # a norm constraint may have moved a last bit
        else:
            back_onto_cone(parameters["W_dec"], self.start)


def back_onto_cone(directions: Tensor, start: Tensor, cosine: float = COSINE) -> None:
    """Turn rows whose cosine with ``start`` is below ``cosine`` to the nearest row that has it, in place.

    Their norms stay; those of ``start`` are one.

    Examples
    --------
    >>> rows = torch.tensor([[0.0, 2.0], [1.0, 0.1]])
    >>> back_onto_cone(rows, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    >>> [[round(v, 3) for v in row] for row in rows.tolist()]
    [[1.6, 1.2], [1.0, 0.1]]
    """
    norm = torch.linalg.vector_norm(directions, dim=1)
    along = torch.linalg.vecdot(directions, start)
    out = along < cosine * norm
    if not out.any():
        return
    # What is across has the norm of `across`; the turned row is norm * (cosine * start + sine * what is across / across).
    across = (norm**2 - along**2).clamp_min(1e-24).sqrt()
    stretch = norm * (1 - cosine**2) ** 0.5 / across
    keep, add = torch.where(out, stretch, 1), torch.where(out, norm * cosine - stretch * along, 0)
    directions.mul_(keep[:, None]).addcmul_(start, add[:, None])
