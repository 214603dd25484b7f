"""The architectures by name: one row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import product
from typing import Any

from sciinterp.errors import InputError, no_such
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

    InputError where there is no such architecture or parameter, or a value is not of its type.

    Examples
    --------
    >>> architecture_from({"name": "topk", "n_features": 64, "k": 4}).k
    4
    """
    kind = _kind(str(record.get("name"))[:60])
    known = [f.name for f in fields(kind)]
    values = {name: value for name, value in record.items() if name != "name"}
    for name in values:
        if name not in known:
            raise no_such(f"parameter of {kind.name}", name[:60], known)
    return kind(**{"n_features": None, **values})  # of which every value is checked as it is made


def architectures_from(name: str, values: Mapping[str, Sequence[str]]) -> list[Architecture]:
    """The architectures that text describes: one for each combination of the values of each hyper-parameter.

    The numbers of a tuple are parted by colons. InputError as of :func:`architecture_from`.

    Examples
    --------
    >>> architectures_from("topk", {"n_features": ["64"], "k": ["4", "8"]})
    [TopK(n_features=64, k=4, aux_alpha=0.03125), TopK(n_features=64, k=8, aux_alpha=0.03125)]
    """
    kind = _kind(name)
    types = {f.name: str(f.type) for f in fields(kind)}
    read = []
    for parameter, texts in values.items():
        if parameter not in types:
            raise no_such("parameter", parameter, types, where=parameter)
        try:
            read.append([_number(text, types[parameter]) for text in texts])
        except ValueError:
            raise InputError(
                f"this value of {name} cannot be read",
                where=parameter,
                expected=types[parameter],
                got=", ".join(texts),
            ) from None
    return [kind(**dict(zip(values, row))) for row in product(*read)]


def _number(text: str, type: str) -> Any:
    if type.startswith("tuple"):
        return tuple(int(part) for part in text.split(":"))
    return int(text) if type == "int" else float(text)


def _kind(name: str) -> type[Architecture]:
    if name not in ARCHITECTURES:
        raise no_such("architecture", name, ARCHITECTURES, where="architecture")
    return ARCHITECTURES[name]
