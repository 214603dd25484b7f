"""A small store of each schema to break: three shards of seeded rows, written through the public writer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.samples import Samples
from sciinterp.store import ledger
from sciinterp.store.arrays import load_arrays, save_arrays
from sciinterp.store.atomic import read_json, sha256_file, to_json
from sciinterp.store.codes_reader import CodesReader
from sciinterp.store.layout import shard_name, sidecar
from sciinterp.store.reader import Reader
from sciinterp.store.sealed import seal
from sciinterp.store.shards import open_writer
from sciinterp.store.tables import write_tsv

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


def codes(*numbers: int) -> sp.csr_array:
    """Codes of some samples end to end; feature 2 is never active."""
    parts = [
        np.where(np.random.default_rng(i).random((LENGTHS[i], D_IN)) < 0.6, values(i) ** 2, 0)
        for i in numbers
    ]
    dense = np.concatenate([np.zeros((0, D_IN), np.float32), *parts]).astype(np.float32)
    dense[:, 2] = 0
    return sp.csr_array(dense)


def codes_plan(**changes) -> dict:
    base = {k: v for k, v in plan().items() if k != "d_in"}
    return {**base, "schema": "sparse", "n_features": D_IN, **changes}


def build_codes(folder: Path, *, computed=None, **changes) -> int:
    """As :func:`build`, a store of codes."""
    made = 0
    with open_writer(folder, codes_plan(**changes), samples()) as writer:
        for number in writer.missing:
            if computed is not None:
                computed(number)
            made += 1
            group = list(writer.samples_of(number))
            writer.write_codes(number, codes(*group), np.array([LENGTHS[i] for i in group]))
        if not writer.complete:
            writer.finish()
    return made


def build_run(folder: Path, *, computed=None) -> int:
    """Three stages of a run that are not entered yet: a table each, and the ledger's entry."""
    made = 0
    for stage, name in (("associate", "hits.tsv"), ("discover", "candidates.tsv"), ("full", "full.json")):
        if stage in ledger.read_stages(folder):
            continue
        if computed is not None:
            computed(stage)
        made += 1
        folder.mkdir(exist_ok=True)
        with ledger.recorded(stage, folder, settings={"seed": 0}):
            write_tsv(pd.DataFrame({"of": [stage], "f1": [0.5]}), folder / name)
    return made


def read_everything(folder: Path):
    """Every number of a store of activations."""
    reader = Reader(folder)
    reader.samples()
    return reader.read_stored(0, reader.n), reader.read_spans(0, reader.n)


def read_all_codes(folder: Path):
    """Every number of a store of codes, in both orders."""
    reader = CodesReader(folder)
    reader.samples()
    return reader.read_rows(0, reader.n), reader.read_features(0, reader.width)


SCHEMAS = {"dense": (build, read_everything), "sparse": (build_codes, read_all_codes)}


def forge(folder: Path, number: int, **arrays: np.ndarray | None) -> None:
    """Put other arrays into a shard, and checksums to fit: damage that no checksum tells."""
    path = folder / shard_name(number)
    held = {**load_arrays(path), **arrays}
    sha256 = save_arrays(path, {name: x for name, x in held.items() if x is not None})
    manifest = read_json(folder / "manifest.json")
    manifest["shards"][number] |= {"sha256": sha256, "bytes": path.stat().st_size}
    (folder / "manifest.json").write_bytes(to_json(seal(manifest)))
    record = read_json(sidecar(folder, number)) | {"sha256": sha256, "bytes": path.stat().st_size}
    sidecar(folder, number).write_bytes(to_json(record))


def forge_manifest(folder: Path, **changes) -> None:
    """Change keys of the manifest, and its seal to fit."""
    manifest = read_json(folder / "manifest.json") | changes
    (folder / "manifest.json").write_bytes(to_json(seal(manifest)))


def forge_index(folder: Path, **arrays: np.ndarray) -> None:
    """Put other arrays into the index, and checksums to fit."""
    path = folder / "index.safetensors"
    save_arrays(path, {**load_arrays(path), **arrays})
    forge_manifest(folder, index_sha256=sha256_file(path))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file; of a run not its timings, which no two share, nor what another of its verbs may be writing."""
    run = (folder / ledger.TIMINGS).is_file()
    files = [p for p in folder.rglob("*") if p.is_file() and not (run and p.suffix in (".tmp", ".jsonl"))]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}
