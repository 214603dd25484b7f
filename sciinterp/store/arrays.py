"""Named arrays and samples as single files, checked when read.

Arrays are one safetensors file whose sha256 the caller keeps; samples are one Parquet file with a column an
attribute. Both are written atomically and are the same bytes for the same content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sciinterp.errors import StoreError
from sciinterp.samples import Samples
from sciinterp.store.atomic import atomic_write

_COLUMN = "column:"  # sample columns are stored under this prefix, so that none can shadow id, length or data


def save_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Write arrays to one safetensors file and return its sha256."""
    from safetensors.numpy import save

    raw = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    atomic_write(path, raw)
    return hashlib.sha256(raw).hexdigest()


def load_arrays(path: str | Path, *, sha256: str) -> dict[str, np.ndarray]:
    """Read a file written by :func:`save_arrays`.

    Raises
    ------
    StoreError
        When the file is missing, or its checksum is not the one kept.
    """
    from safetensors.numpy import load

    path = Path(path)
    if not path.is_file():
        raise StoreError("a file of the store is missing", where=f"file '{path}'")
    raw = path.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256:
        raise StoreError("the file is damaged", where=f"file '{path}'", expected=f"sha256 {sha256[:16]}", got=found[:16],
                         do="Remove the folder and make it again.")
    return load(raw)


def save_samples(folder: str | Path, samples: Samples) -> None:
    """Write ``samples.parquet``; data that is not text is represented by the digest alone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": pa.array(samples.ids, pa.string()), "length": pa.array(samples.lengths)}
    if all(isinstance(d, str) for d in samples.data):
        columns["data"] = pa.array(samples.data, pa.string())
    frame = samples.table.reset_index(drop=True)
    for name in frame.columns:
        columns[_COLUMN + str(name)] = pa.array(frame[name].tolist())
    table = pa.table(columns).replace_schema_metadata({"kind": samples.kind, "digest": samples.digest, "version": "1"})
    atomic_write(Path(folder) / "samples.parquet", lambda file: pq.write_table(table, file, compression="zstd"))


def load_samples(folder: str | Path) -> Samples:
    """Read ``samples.parquet``.

    Raises
    ------
    StoreError
        When the file is missing, unreadable, or its content is not what was written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(folder) / "samples.parquet"
    if not path.is_file():
        raise StoreError("a file of the store is missing", where=f"file '{path}'")
    try:
        table = pq.read_table(path)
        meta = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        frame = table.select([c for c in table.column_names if c.startswith(_COLUMN)]).to_pandas()
        frame.columns = [c.removeprefix(_COLUMN) for c in frame.columns]
        data = table["data"].to_pylist() if "data" in table.column_names else None
        samples = Samples(table["id"].to_pylist(), data, lengths=table["length"].to_numpy(), kind=meta["kind"],
                          table=frame if len(frame.columns) else None)
    except (pa.ArrowException, KeyError, OSError, UnicodeDecodeError) as error:
        raise StoreError("the file is damaged", where=f"file '{path}'", got=str(error).splitlines()[0]) from None
    if data is None:
        samples.keep_digest(meta["digest"])
    elif samples.digest != meta["digest"]:
        raise StoreError("the file is damaged", where=f"file '{path}'", expected=f"digest {meta['digest'][:16]}",
                         got=samples.digest[:16])
    return samples
