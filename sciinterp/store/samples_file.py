"""``samples.parquet``: the samples beside a store's shards, checked before one of them is used."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sciinterp.errors import FormatError, StoreError
from sciinterp.samples import Samples
from sciinterp.store.arrays import check_sha256
from sciinterp.store.atomic import atomic_write
from sciinterp.store.guard import require_held, require_regular

SAMPLES_VERSION = 1
# What a file may unpack to: so many times its size, and so many bytes besides.
EXPANSION, SLACK = 200, 64 << 20
SAMPLES = "samples.parquet"
# Sample columns are stored under this prefix, so that none can shadow id, length or data.
_COLUMN = "column:"


def save_samples(folder: str | os.PathLike[str], samples: Samples) -> str:
    """Write ``samples.parquet`` and return its sha256.

    Identifiers are cells of a table and never names of files. Data that is neither text nor plain JSON nor an
    array of numbers is represented by the digest alone.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind, cells = ("opaque", None) if samples.is_held_elsewhere else _data_cells(samples.data)
    columns = {"id": pa.array(samples.ids, pa.string()), "length": pa.array(samples.lengths)}
    if cells is not None:
        columns["data"] = pa.array(cells, pa.large_string())
    frame = samples.table.reset_index(drop=True)
    for name in frame.columns:
        columns[_COLUMN + str(name)] = pa.array(frame[name].tolist())
    head = {
        "kind": samples.kind,
        "digest": samples.digest,
        "data": kind,
        "source": Path(samples.source).name,
        "n_in": samples.n_in,
        "dropped": samples.dropped,
    }
    # The source's folder stays out: the same samples give the same bytes wherever they lay.
    meta = {"version": str(SAMPLES_VERSION), "samples": json.dumps(head, sort_keys=True)}
    table = pa.table(columns).replace_schema_metadata(meta)
    raw = pa.BufferOutputStream()
    pq.write_table(table, raw, compression="zstd", write_page_checksum=True)
    content = raw.getvalue().to_pybytes()
    atomic_write(Path(folder) / SAMPLES, content)
    return hashlib.sha256(content).hexdigest()


def _data_cells(data: Sequence[Any]) -> tuple[str, list[str] | None]:
    """How sample data is written: ``text``, ``none``, ``json``, ``array``, or ``opaque`` (not kept)."""
    if all(isinstance(x, str) for x in data):
        return "text", list(data)
    if all(x is None for x in data):
        return "none", None
    if all(isinstance(x, np.ndarray) and x.dtype.kind in "fiub" for x in data):
        return "array", [json.dumps([x.dtype.str, list(x.shape), x.tobytes().hex()]) for x in data]
    try:
        cells = [json.dumps(x, allow_nan=False) for x in data]
    except (TypeError, ValueError):
        return "opaque", None
    exact = all(repr(json.loads(cell)) == repr(x) for cell, x in zip(cells, data))
    return ("json", cells) if exact else ("opaque", None)


def load_samples(folder: str | os.PathLike[str], *, sha256: str | None = None) -> Samples:
    """Read samples written by :func:`save_samples`.

    Raises
    ------
    StoreError
        Missing, damaged, or of a newer version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(folder) / SAMPLES
    where = f"file {str(path)!r}"
    size = require_regular(path, inside=folder)
    if sha256 is not None:
        check_sha256(path, sha256)
    try:
        told = pq.read_metadata(path)
        groups = sum(told.row_group(i).total_byte_size for i in range(told.num_row_groups))
        require_held(max(groups, 8 * told.num_rows * told.num_columns), SLACK + EXPANSION * size, path)
        texts = [field.name for field in told.schema.to_arrow_schema() if _is_text(field.type)]
        table = pq.read_table(path, page_checksum_verification=True, read_dictionary=texts)
        require_held(sum(_unpacked(table[name]) for name in texts), SLACK + EXPANSION * size, path)
        table = table.cast(told.schema.to_arrow_schema())
        meta = table.schema.metadata or {}
        version = int(meta[b"version"])
        if version > SAMPLES_VERSION:
            raise StoreError(
                "samples of a newer version",
                where=where,
                expected=str(SAMPLES_VERSION),
                got=str(version),
                do="Update sciinterp.",
            )
        head = json.loads(meta[b"samples"])
        frame = table.select([c for c in table.column_names if c.startswith(_COLUMN)]).to_pandas()
        frame.columns = [c.removeprefix(_COLUMN) for c in frame.columns]
        samples = Samples(
            table["id"].to_pylist(),
            _read_data(head["data"], table),
            lengths=table["length"].to_numpy(),
            kind=head["kind"],
            table=frame if len(frame.columns) else None,
            n_in=head["n_in"],
            dropped=head["dropped"],
            source=head["source"],
        )
        if head["data"] == "opaque":
            samples.keep_digest(head["digest"])
        found = samples.digest
    except (StoreError, FormatError):
        raise
    except (pa.ArrowException, KeyError, OSError, TypeError, ValueError) as error:
        raise StoreError("the samples are damaged", where=where, got=str(error).splitlines()[0]) from error
    if found != head["digest"]:
        raise StoreError(
            "the samples are damaged", where=where, expected=f"digest {head['digest'][:16]}", got=found[:16]
        )
    return samples


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _unpacked(column: Any) -> int:
    """Bytes of a column of texts once every cell has its own: a page holds a text once, however often it is meant."""
    import pyarrow.compute as pc

    total = 0
    for chunk in column.chunks:
        sizes = pc.fill_null(pc.binary_length(chunk.dictionary), 0).cast("int64")
        total += pc.sum(sizes.take(chunk.indices)).as_py() or 0
    return total


def _read_data(kind: str, table: Any) -> list[Any] | None:
    if kind in ("none", "opaque"):
        return None
    cells = table["data"].to_pylist()
    if kind == "text":
        return cells
    if kind == "json":
        return [json.loads(cell) for cell in cells]
    parts = [json.loads(cell) for cell in cells]
    return [np.frombuffer(bytes.fromhex(raw), dtype).reshape(shape).copy() for dtype, shape, raw in parts]
