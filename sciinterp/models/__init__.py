"""Models: one protocol for every foundation model. Adapters hold layout, the engine holds behaviour."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .adapter import Adapter, CanGenerate, CanMask, HasLogits, HasReverseComplement  # noqa: F401
    from .encodings import Kmers, Letters, OneHot, Pieces, letters_to_batch, reverse_complement  # noqa: F401
    from .engine import activation_error, capture, edit, plan_batches, replayed, spans_of  # noqa: F401
    from .generation import GenerationSettings  # noqa: F401
    from .registry import list_models, load_model  # noqa: F401
    from .running import gradients  # noqa: F401
    from .site import Batch, Site, Targets, next_tokens, own_tokens  # noqa: F401

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


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_MODULE_OF)
