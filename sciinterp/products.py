"""Products of float32 matrices on a processor by oneDNN, whose kernels go by what the processor can do.

PyTorch gives them to MKL, which keeps its widest instructions for one maker's processors: on others oneDNN, which PyTorch
brings along and takes for its compiled models, needs about half the time. Where it is not there, or switched off
(``torch.backends.mkldnn.flags(enabled=False)``), and for everything but float32 without gradients on a processor,
PyTorch's own product is taken. The two differ by rounding alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

P = ParamSpec("P")
R = TypeVar("R")
# PyTorch's own name for it, which a later version may take away.
PRODUCT = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``; `weight` [d_out, d_in] of any strides, so that the transpose of a matrix is not copied first.

    Examples
    --------
    >>> linear(torch.ones(1, 2), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0.0, 1.0]))
    tensor([[3., 8.]])
    """
    given = [x, weight] if bias is None else [x, weight, bias]
    if (
        (torch.is_grad_enabled() and any(one.requires_grad for one in given))
        or any(one.dtype != torch.float32 or one.device.type != "cpu" for one in given)
        or weight.dim() != 2
        or x.dim() < 2
        or not x.numel() * weight.numel()
        or PRODUCT is None
        or not torch.backends.mkldnn.enabled
        or not torch.backends.mkldnn.is_available()
    ):  # fmt: skip
        return F.linear(x, weight, bias)
    return PRODUCT(x, weight, bias, "none", [], "")


class ByOneDNN(TorchFunctionMode):
    """While open, linear maps of modules are :func:`linear`."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        """Linear maps by :func:`linear`, everything else as it is."""
        return (linear if func is F.linear else func)(*args, **(kwargs or {}))


def as_here(fn: Callable[P, R]) -> Callable[P, R]:
    """A function that multiplies in another thread as it would in this one: what is open is open for one thread."""
    if not any(isinstance(mode, ByOneDNN) for mode in _get_current_function_mode_stack()):
        return fn

    def multiplied(*args: P.args, **kwargs: P.kwargs) -> R:
        with ByOneDNN():
            return fn(*args, **kwargs)

    return multiplied
