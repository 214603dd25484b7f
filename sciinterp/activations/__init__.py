"""Activations: what a model computes at a site for every token of some samples, kept on disk.

:func:`extract` plans first (shards of consecutive samples, batches of similar length inside each shard), then
runs the model shard by shard and writes each one whole; :class:`Activations` reads them back as rows, by
sample, or as shuffled batches. Rows are in the order of the samples, whatever the batches were.

Longer samples than the model takes are refused before work starts, or, where the model's adapter allows it,
cut into windows of the model's length that overlap; a token in several windows gets the mean of its rows.

Names are loaded when first used: reading activations needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .extraction import extract  # noqa: F401
    from .from_array import activations_from_array  # noqa: F401
    from .recorded import Activations, fingerprint, load_activations, same_fingerprint, site_folder  # noqa: F401
    from .settings import ExtractSettings  # noqa: F401
    from .streaming import Stream, stream  # noqa: F401

_MODULE_OF = {
    "activations_from_array": "from_array",
    "extract": "extraction",
    "Stream": "streaming",
    "stream": "streaming",
    "fingerprint": "recorded",
    "same_fingerprint": "recorded",
    "ExtractSettings": "settings",
    "site_folder": "recorded",
    "Activations": "recorded",
    "load_activations": "recorded",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_MODULE_OF)
