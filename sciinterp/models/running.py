"""A forward pass and everything around it that is put back: modes, gradients, precision, plain attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Protocol

import torch
from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from .site import Batch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Runnable(Protocol):
    """What an adapter holds of its passes."""

    @property
    def module(self) -> nn.Module: ...

    device: torch.device
    dtype: str
    grad: bool
    runs: int
    running_batch: Batch | None
    cast_weights: WeakIdKeyDictionary


@contextmanager
def gradients(adapter: Runnable) -> Iterator[None]:
    """While open, forward passes of the adapter keep the graph."""
    before, adapter.grad = adapter.grad, True
    try:
        yield
    finally:
        adapter.grad = before


@contextmanager
def running(adapter: Runnable, batch: Batch) -> Iterator[None]:
    """Everything a forward pass needs, and puts back: eval mode, gradient mode, precision, plain
    attention.
    """
    training = [m for m in adapter.module.modules() if m.training]
    fastpath = torch.backends.mha.get_fastpath_enabled()
    before = adapter.running_batch
    low = adapter.dtype != "float32"
    try:
        for module in training:
            module.training = False
        # The fused encoder layer skips the modules inside it, and with them their hooks.
        torch.backends.mha.set_fastpath_enabled(False)
        adapter.running_batch = batch
        adapter.runs += 1
        with (
            low_weights(adapter),
            torch.inference_mode(False),
            torch.set_grad_enabled(adapter.grad),
            torch.autocast(adapter.device.type, dtype=DTYPES[adapter.dtype]) if low else nullcontext(),
        ):
            yield
    finally:
        adapter.running_batch = before
        torch.backends.mha.set_fastpath_enabled(fastpath)
        for module in training:
            module.training = True


@contextmanager
def low_weights(adapter: Runnable) -> Iterator[None]:
    """While open, linear maps hold their weights in the adapter's precision, cast once and kept.

    Autocast would cast every weight in every pass, which costs a small batch a third of its time. Where
    gradients are asked for, the weights stay what they are.
    """
    if adapter.dtype == "float32" or adapter.grad:
        yield
        return
    own: list[tuple[nn.Module, str, nn.Parameter]] = []
    try:
        for module in adapter.module.modules():
            if type(module) is nn.Linear:
                for name, p in module._parameters.items():
                    if p is not None and p.dtype == torch.float32:
                        own.append((module, name, p))
                        module._parameters[name] = _cast(adapter, p)
        yield
    finally:
        for module, name, p in own:
            module._parameters[name] = p


def _cast(adapter: Runnable, p: nn.Parameter) -> nn.Parameter:
    """A weight in the adapter's precision, from the last time unless it has changed."""
    mark, kept = (p._version, p.data_ptr(), adapter.dtype), adapter.cast_weights.get(p)
    if kept is None or kept[0] != mark:
        low = nn.Parameter(p.detach().to(DTYPES[adapter.dtype]), requires_grad=False)
        adapter.cast_weights[p] = kept = (mark, low)
    return kept[1]
