"""Activations: what a model computes at a site for every token of some samples, kept on disk.

:func:`extract` plans first (shards of consecutive samples, batches of similar length inside each shard), then
runs the model shard by shard and writes each one whole; :class:`Activations` reads them back as rows, by
sample, or as shuffled batches. Rows are in the order of the samples, whatever the batches were.

Longer samples than the model takes are refused before work starts, or, where the model's adapter allows it,
cut into windows of the model's length that overlap; a token in several windows gets the mean of its rows.

What computes with torch is loaded when it is first used: reading activations needs none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .recorded import Activations, fingerprint, load_activations, same_fingerprint, site_folder  # noqa: F401
from .settings import ExtractSettings  # noqa: F401

if TYPE_CHECKING:
    from .extraction import extract  # noqa: F401
    from .from_array import activations_from_array  # noqa: F401
    from .streaming import Stream, stream  # noqa: F401

_WITH_TORCH = {
    "activations_from_array": "from_array",
    "extract": "extraction",
    "Stream": "streaming",
    "stream": "streaming",
}


def __getattr__(name: str) -> object:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WITH_TORCH[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WITH_TORCH])
