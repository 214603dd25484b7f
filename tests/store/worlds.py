"""A small store to break: three shards of seeded rows, written through the public writer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sciinterp.samples import Samples
from sciinterp.store.shards import open_writer

D_IN = 4
LENGTHS = (3, 0, 5, 2, 4, 1)
BOUNDS = [0, 2, 4, 6]


def samples() -> Samples:
    ids = ["../../up", "/abs", "a b", "=1+1", "CON", "\N{GREEK SMALL LETTER ALPHA}"]
    return Samples(ids, ["M" * n for n in LENGTHS])


def plan(dtype: str = "float32", **changes) -> dict:
    base = {
        "shards": BOUNDS,
        "d_in": D_IN,
        "dtype": dtype,
        "site": {"name": "layers.0"},
        "identity": {"model": "tiny", "weights_sha256": "00"},
        "environment": {"threads": 1, "cpu": "one"},
        "samples": {"n": len(LENGTHS), "positions": sum(LENGTHS), "digest": samples().digest},
    }
    return {**base, **changes}


def values(sample: int, dtype: str = "float32") -> np.ndarray:
    x = np.random.default_rng(sample).normal(size=(LENGTHS[sample], D_IN)).astype(np.float32)
    if dtype == "bfloat16":
        return (x.view(np.uint32) >> 16).astype(np.uint16)
    return x.astype(dtype)


def spans(sample: int) -> np.ndarray:
    start = np.arange(LENGTHS[sample])
    return np.stack([start, start + 1, np.zeros_like(start)], 1)


def build(folder: Path, *, dtype: str = "float32", computed=None, **changes) -> int:
    """Write what is missing; returns how many shards were made, and tells ``computed`` of each."""
    made = 0
    with open_writer(folder, plan(dtype, **changes), samples()) as writer:
        for number in writer.missing:
            if computed is not None:
                computed(number)
            made += 1
            group = list(writer.samples_of(number))
            writer.write(number, [values(i, dtype) for i in group], [spans(i) for i in group])
        if not writer.complete:
            writer.finish({"fingerprint": {}})
    return made


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
