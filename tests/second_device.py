"""A stand-in for a graphics card: tensors that say they are elsewhere, refuse numpy, and refuse to meet the processor's.

Device "lazy" is one that a PyTorch without accelerators knows by name. Its tensors here wrap one of the processor; an
operation on tensors of two devices raises, as it does on a card, but for numbers and masks, which a card takes too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.optim import optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "lazy"
# What a card does with tensors of the processor too: copies, and masks as indices.
BOTH = ("aten::copy_", "aten::_to_copy", "aten::index", "aten::index_put_", "aten::_index_put_impl_")


class There(torch.Tensor):
    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> There:
        out = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride() if inner.layout == torch.strided else None,
            dtype=inner.dtype,
            layout=inner.layout,
            device=torch.device(NAME, 0),
        )
        out.inner = inner
        return out

    @property
    def layout(self) -> torch.layout:  # type: ignore[override]
        return self.inner.layout

    def __repr__(self) -> str:  # type: ignore[override]
        return f"There({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    there = any(isinstance(x, There) for x in tensors)
    name, device = func._schema.name, kwargs.get("device")
    if there and name not in BOTH and any(x.ndim and not isinstance(x, There) for x in tensors):
        raise RuntimeError(f"{name}: tensors on two devices")
    if device is not None:
        there, kwargs = torch.device(device).type == NAME, {**kwargs, "device": torch.device("cpu")}
    given, named = tree_map(lambda x: x.inner if isinstance(x, There) else x, (args, kwargs))
    out = func(*given, **named)
    changed = args[0] if name.endswith("_") and args else kwargs.get("out")
    if isinstance(changed, torch.Tensor):
        return changed
    return tree_map(lambda x: There(x) if there and isinstance(x, torch.Tensor) else x, out)


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def second_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a device that is there while open."""
    monkeypatch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: ["cpu", NAME])
    with _Mode():
        yield NAME
