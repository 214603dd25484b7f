"""Splits by family, the unit of inference: relatives never stand on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np

from sciinterp.errors import InputError
from sciinterp.samples import Samples, Split


def split(samples: Samples, *, by: str | Any, fractions: tuple[float, float, float], seed: int) -> Split:
    """Place families, largest first, where the deficit of positions is greatest."""
    if isinstance(by, str):
        table = samples.table
        if by not in table.columns:
            raise InputError("there is no such sample column", where=f"by={by!r}", expected=f"one of {list(table.columns)}")
        labels, name = table[by].astype(str).to_numpy(), by
    else:
        labels, name = np.asarray(by).astype(str), "labels"
    names, family = np.unique(labels, return_inverse=True)
    if len(names) < 3:
        raise InputError("too few families to split", where=f"by={name!r}", expected="at least 3", got=str(len(names)))
    size = np.bincount(family, weights=samples.lengths, minlength=len(names))
    wanted = np.asarray(fractions) / np.sum(fractions) * size.sum()
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-size[order] // (size.sum() * 0.02), kind="stable")]
    part, filled = np.zeros(len(names), int), np.zeros(3)
    for f in order:
        part[f] = int(np.argmax((wanted - filled) / wanted))
        filled[part[f]] += size[f]
    chosen = part[family]
    return Split(*(np.flatnonzero(chosen == p) for p in range(3)), family=family.astype(np.int64),
                 family_names=tuple(names.tolist()), by=name, seed=seed)
