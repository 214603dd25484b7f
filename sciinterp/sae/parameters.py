"""All weights in one flat tensor, their gradients in another, and Adam over the pair.

One fused pass updates everything: per-tensor loops and their temporaries cost more than the arithmetic.
Each part starts on a 64-byte boundary, so its rows stay aligned for the matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adam import adam

from sciinterp.sae.sparse import normalise_rows, project_rows

ALIGN = 16  # float32 numbers in 64 bytes
BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Parameters:
    """Named views into a flat tensor and its gradient.

    ``W_enc`` and ``W_dec`` are ``[n_features, d_in]``. With `unit_norm` the rows of ``W_dec`` are kept at norm
    one: the gradient along them is removed and the rows are normalised after the step.

    Examples
    --------
    >>> parameters = Parameters({"W_dec": (2, 3), "b_dec": (3,)}, unit_norm=True)
    >>> parameters["b_dec"].shape, parameters.gradients["W_dec"].shape
    (torch.Size([3]), torch.Size([2, 3]))
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], *, unit_norm: bool, device: torch.device | str = "cpu"
    ) -> None:
        self.unit_norm = unit_norm
        places, size = {}, 0
        for name, shape in shapes.items():
            n = int(torch.Size(shape).numel())
            places[name] = (size, n, shape)
            size += -(-n // ALIGN) * ALIGN
        self.flat = torch.zeros(size, device=device)
        self.flat.grad = torch.zeros(size, device=device)
        self._views = {name: self.flat[at : at + n].view(shape) for name, (at, n, shape) in places.items()}
        self.gradients = {
            name: self.flat.grad[at : at + n].view(shape) for name, (at, n, shape) in places.items()
        }
        # Adam's state, under torch's own names: its class would import a compiler, a second or two of every process.
        self._adam = {
            "step": torch.zeros((), device=device),
            "exp_avg": torch.zeros(size, device=device),
            "exp_avg_sq": torch.zeros(size, device=device),
        }

    def __getitem__(self, name: str) -> Tensor:
        return self._views[name]

    def __contains__(self, name: object) -> bool:
        return name in self._views

    def names(self) -> list[str]:
        """Names of the parts."""
        return list(self._views)

    def gradient_norm(self, clip: float) -> Tensor:
        """Norm of the gradient along the constraint; a norm above ``clip`` is scaled down to it.

        A single NaN or infinity anywhere makes the norm so, which is how a bad step is found before it is
        made.
        """
        if self.unit_norm:
            project_rows(self.gradients["W_dec"], self["W_dec"])
        gradient = self.flat.grad
        if gradient is None:
            raise RuntimeError("the flat tensor has lost its gradient")
        norm = torch.linalg.vector_norm(gradient)
        if clip > 0 and norm > clip:
            gradient.mul_(clip / norm)
        return norm

    def update(self, learning_rate: float) -> None:
        """One step of Adam, then the norm constraint."""
        assert self.flat.grad is not None
        step, first, second = ([part] for part in self._adam.values())
        adam(
            [self.flat],
            [self.flat.grad],
            first,
            second,
            [],
            step,
            fused=True,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=learning_rate,
            weight_decay=0.0,
            eps=EPSILON,
            maximize=False,
        )
        if self.unit_norm:
            normalise_rows(self["W_dec"])

    def state(self) -> dict[str, Tensor]:
        """Everything a resume needs, as tensors."""
        return {"flat": self.flat, **{f"adam.{name}": value for name, value in self._adam.items()}}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take the numbers of :meth:`state` back."""
        self.flat.copy_(state["flat"])
        for name, kept in self._adam.items():
            kept.copy_(state[f"adam.{name}"])
