"""Models: one protocol for every foundation model. Adapters hold layout, the engine holds behaviour."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "Adapter": "adapter", "CanGenerate": "adapter", "CanMask": "adapter", "HasLogits": "adapter",
    "HasReverseComplement": "adapter", "Batch": "site", "Site": "site", "activation_error": "engine",
    "capture": "engine", "edit": "engine", "gradients": "engine", "plan_batches": "engine", "spans_of": "engine",
    "list_models": "registry", "load_model": "registry",
}  # fmt: skip
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
