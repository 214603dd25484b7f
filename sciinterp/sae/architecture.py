"""What an architecture must say: its parameters, one training step with exact gradients, and how it ends.

The loop (``loop.py``) owns the data, the optimiser, the norm constraint, the log and the checkpoints. An
architecture is a frozen dataclass of its hyper-parameters with four methods; a new one is one file and one
row in ``registry.py``. Inside training ``W_enc`` is ``[n_features, d_in]``, and the data are scaled so that
the mean squared norm of a centred row is about ``d_in``; ``Step.unit`` says how exactly (see ``loop.py``).
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from sciinterp.errors import InputError
from sciinterp.sae.parameters import Parameters
from sciinterp.sae.sparse import Codes, Encoder, Transposed, Workspace, crowded, encode_topk, places, spread
from sciinterp.sae.weights import Weights
from sciinterp.settings import POSITIVE, Bound, at_least, make_plain

Calibration: TypeAlias = Callable[[], Tensor]  # gives held-out rows [n, d_in] in training units
Finished: TypeAlias = tuple[Weights, dict[str, float]]


@dataclass
class Step:
    """What one training step is given, and where it leaves what it found."""

    parameters: Parameters  # weights; the step overwrites all of ``parameters.gradients``
    dead: Tensor  # int64: features that have not fired within the dead window
    progress: float = 1.0  # fraction of the warm-up of the sparsity penalty, 0 to 1
    # Root mean square of a centred coordinate in training units: one but for the rounding of the scale to a
    # power of two. Penalties are multiplied by it, so that their meaning does not depend on the rounding.
    unit: float = 1.0
    # The architecture's own state; kept in checkpoints.
    memory: dict[str, Tensor] = field(default_factory=dict)
    work: Workspace = field(default_factory=Workspace)
    encode: Encoder = encode_topk
    # bool [n_features], written by the step.
    fired: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    still: str = ""  # a parameter that does not move, whose gradient need not be found; empty for none


@dataclass(frozen=True)
class Architecture(abc.ABC):
    """Base of the architectures; ``n_features`` is the size of the dictionary."""

    name: ClassVar[str]
    unit_norm: ClassVar[bool] = True
    screens: ClassVar[bool] = False  # whether ``Step.encode`` is used, which may screen
    quick: ClassVar[bool] = True  # whether products are those of ``products.py``
    n_features: int

    def __post_init__(self) -> None:
        # Of whichever of these there are, n_features before the others.
        make_plain(
            self,
            n_features=at_least(1),
            k=Bound("1 <= k <= n_features", lambda k: 1 <= k <= self.n_features),
            target_l0=Bound("0 < target_l0 <= n_features", lambda l0: 0 < l0 <= self.n_features),
            bandwidth=POSITIVE,
            **dict.fromkeys(("aux_alpha", "l1", "weight"), at_least(0)),
        )

    def shapes(self, d_in: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parameters."""
        f = self.n_features
        return {"W_enc": (f, d_in), "W_dec": (f, d_in), "b_enc": (f,), "b_dec": (d_in,)}

    def start(self, parameters: Parameters, unit: float) -> None:  # noqa: B027
        """Set parameters beyond the common ones, which the loop has set."""

    @abc.abstractmethod
    def step(self, step: Step, x: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Write the gradients of the loss of one batch; give the scalars to log (``loss``, ``mse``, ``l0`` ...).

        `target` is what to reconstruct; for an SAE the same rows as the input.
        """

    @abc.abstractmethod
    def finish(self, parameters: Parameters, scale: float, calibrate: Calibration) -> Finished:
        """The arrays of the inference SAE in the data's own units, and what was calibrated.

        Training rows are ``scale * x``. Biases and thresholds are divided by the scale, weights stay: exact, as
        it is a power of two.
        """

    def as_dict(self) -> dict[str, object]:
        """Name and hyper-parameters, for a file."""
        return {"name": self.name, **{f.name: getattr(self, f.name) for f in fields(self)}}


def require(condition: bool, architecture: Architecture, what: str) -> None:
    """Raise :class:`InputError` unless the hyper-parameters make sense."""
    if not condition:
        made = type(architecture).__name__
        names = {f.name for f in fields(architecture)}
        key = next((word for word in what.split() if word in names), "")  # what is wrong is named first
        got = repr(getattr(architecture, key)) if key else str(architecture)
        raise InputError(
            "the architecture cannot be trained", where=f"{made} {key}".strip(), expected=what, got=got
        )


def in_data_units(
    p: Parameters, scale: float, *, k: int | None = None, threshold: Tensor | None = None
) -> Weights:
    """The common parameters with their biases divided by the scale, and what selects codes."""
    return Weights(p["W_enc"].T, p["b_enc"] / scale, p["W_dec"], p["b_dec"] / scale, k=k, threshold=threshold)


def write_gradients(step: Step, codes: Codes, gradient: Tensor, d_pre: Tensor, xin: Tensor) -> Tensor:
    """Gradients of the common parameters from ``G = dL/dxhat`` and the entries' ``dL/dpre``.

    ``xin = x - b_dec``, so ``b_dec`` receives ``sum G`` from the decoder and ``-W_enc^T db_enc`` from the
    encoder. Sets ``step.fired``; gives the sum of codes per feature [n_features].
    """
    parameters, grads = step.parameters, step.parameters.gradients
    n_features = len(parameters["W_enc"])
    if crowded(codes, n_features):
        dense = spread(codes, codes.values, n_features)
        torch.mm(dense.T, gradient, out=grads["W_dec"])
        total = dense.sum(0)
        dense.view(-1)[places(codes, n_features)] = d_pre
        torch.mm(dense.T, xin, out=grads["W_enc"])
        torch.sum(dense, 0, out=grads["b_enc"])
    else:
        pattern = Transposed(codes, n_features)
        if step.still != "W_dec":
            pattern.sum_rows(codes.values, gradient, grads["W_dec"])
        if step.still != "W_enc":
            pattern.sum_rows(d_pre, xin, grads["W_enc"])
        grads["b_enc"].copy_(pattern.sum_values(d_pre))
        total = pattern.sum_values(codes.values)
    torch.sub(gradient.sum(0), grads["b_enc"] @ parameters["W_enc"], out=grads["b_dec"])
    step.fired = total > 0
    return total
