"""Models: one protocol for every foundation model. Adapters hold layout, the engine holds behaviour."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "adapter": ("Adapter", "CanGenerate", "CanMask", "HasLogits", "HasReverseComplement"),
    "site": ("Batch", "Site", "Targets", "next_tokens", "own_tokens"),
    "encodings": ("Kmers", "Letters", "OneHot", "Pieces", "letters_to_batch", "reverse_complement"),
    "running": ("gradients",),
    "generation": ("GenerationSettings",),
    "engine": ("activation_error", "capture", "edit", "plan_batches", "replayed", "spans_of"),
    "registry": ("list_models", "load_model"),
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_MODULE_OF)
