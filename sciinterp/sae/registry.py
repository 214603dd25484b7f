"""The architectures by name: one row each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sciinterp.errors import InputError
from sciinterp.sae.architecture import Architecture
from sciinterp.sae.topk import TopK

ARCHITECTURES: dict[str, type[Architecture]] = {
    TopK.name: TopK,
}


def architecture_from(record: Mapping[str, Any]) -> Architecture:
    """The architecture that :meth:`Architecture.as_dict` described.

    Examples
    --------
    >>> architecture_from({"name": "topk", "n_features": 64, "k": 4}).k
    4
    """
    name = str(record.get("name"))
    if name not in ARCHITECTURES:
        raise InputError("there is no such architecture", where=name, expected=", ".join(ARCHITECTURES))
    return ARCHITECTURES[name](**{k: v for k, v in record.items() if k != "name"})
