"""The architectures by name: one row each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sciinterp.errors import InputError
from sciinterp.sae.architecture import Architecture
from sciinterp.sae.batchtopk import BatchTopK
from sciinterp.sae.gated import Gated
from sciinterp.sae.jumprelu import JumpReLU
from sciinterp.sae.matryoshka import Matryoshka
from sciinterp.sae.relu import ReLU
from sciinterp.sae.topk import TopK

ARCHITECTURES: dict[str, type[Architecture]] = {
    ReLU.name: ReLU,
    TopK.name: TopK,
    BatchTopK.name: BatchTopK,
    JumpReLU.name: JumpReLU,
    Gated.name: Gated,
    Matryoshka.name: Matryoshka,
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
    fields: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in record.items() if k != "name"
    }
    return ARCHITECTURES[name](**fields)
