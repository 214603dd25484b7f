"""``samples.parquet``: the samples beside a store's shards, checked before one of them is used."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from sciinterp.errors import FormatError, StoreError
from sciinterp.samples import Column, Samples
from sciinterp.settings import Plain
from sciinterp.store.arrays import check_sha256
from sciinterp.store.atomic import atomic_write, sha256_file
from sciinterp.store.guard import require_held, require_regular

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SAMPLES_VERSION = 1
# What a file may unpack to: so many times its size, and so many bytes besides.
EXPANSION, SLACK = 200, 64 << 20
SAMPLES = "samples.parquet"
# Rows of a group, which is read at once where texts stay in the file; and the unpacked bytes from which they do.
ROWS, STAYS_FROM = 1 << 14, 64 << 20
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
    names = pa.chunked_array(
        [pa.array(list(samples.ids[at : at + ROWS]), pa.string()) for at in range(0, len(samples), ROWS)],
        pa.string(),
    )
    columns = {"id": names, "length": pa.array(samples.lengths)}
    frame = samples.columns
    for name in frame.columns:
        columns[_COLUMN + str(name)] = _cells_of(frame[name].tolist())
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
    table = pa.table(columns)
    schema = table.schema if cells is None else table.schema.insert(2, pa.field("data", pa.large_string()))
    how: Plain = {"compression": "zstd", "write_page_checksum": True}

    def write(file: BinaryIO) -> None:
        with pq.ParquetWriter(file, schema.with_metadata(meta), **how) as writer:
            for low in range(0, max(len(samples), 1), ROWS):
                part = table[low : low + ROWS]
                if cells is not None:
                    texts = pa.array(list(cells[low : low + ROWS]), pa.large_string())
                    part = part.add_column(2, schema.field("data"), texts)
                writer.write_table(part.replace_schema_metadata(meta))

    atomic_write(Path(folder) / SAMPLES, write)
    return sha256_file(Path(folder) / SAMPLES)


def _cells_of(values: list[object]) -> pa.Array:
    """A column of the table; one of values of several types, which no such table holds, as text."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if x is None or x != x else str(x) for x in values], pa.string())


def _data_cells(data: Sequence[object]) -> tuple[str, Sequence[str] | None]:
    """How sample data is written: ``text``, ``none``, ``json``, ``array``, or ``opaque`` (not kept)."""
    if isinstance(data, Column):
        return "text", data
    texts = [x for x in data if isinstance(x, str)]
    if len(texts) == len(data):
        return "text", texts
    if all(x is None for x in data):
        return "none", None
    arrays = [x for x in data if isinstance(x, np.ndarray) and x.dtype.kind in "fiub"]
    if len(arrays) == len(data):
        return "array", [json.dumps([x.dtype.str, list(x.shape), x.tobytes().hex()]) for x in arrays]
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
        schema, stays = told.schema.to_arrow_schema(), "data" if groups > STAYS_FROM else ""
        kinds = (pa.string(), pa.large_string())
        texts = [field.name for field in schema if field.type in kinds and field.name != stays]
        here = [name for name in schema.names if name != stays]
        table = pq.read_table(path, columns=here, page_checksum_verification=True, read_dictionary=texts)
        require_held(sum(_unpacked(table[name]) for name in texts), SLACK + EXPANSION * size, path)
        table = table.cast(schema.remove(schema.get_field_index(stays)) if stays in schema.names else schema)
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
        held = table["data"].to_pylist() if "data" in table.column_names else []
        cells = _Texts(path, told, size) if stays in schema.names else held
        data = cells if head["data"] == "text" else _read_data(head["data"], cells)
        samples = Samples(
            _Names(table["id"]) if isinstance(data, _Texts) else table["id"].to_pylist(),
            data,
            lengths=table["length"].to_numpy(),
            kind=head["kind"],
            table=frame if len(frame.columns) else None,
            n_in=head["n_in"],
            dropped=head["dropped"],
            source=head["source"],
        )
        if head["data"] == "opaque":
            samples.keep_digest(head["digest"])
        found, wanted = samples.digest, str(head["digest"])
    except (StoreError, FormatError):
        raise
    except (pa.ArrowException, KeyError, OSError, TypeError, ValueError) as error:
        raise StoreError("the samples are damaged", where=where, got=str(error).splitlines()[0]) from error
    if found != wanted:
        raise StoreError(
            "the samples are damaged", where=where, expected=f"digest {wanted[:16]}", got=found[:16]
        )
    return samples


class _Names(Column):
    """Identifiers as Arrow holds them, end to end: a million are not a million objects."""

    def __init__(self, texts: pa.ChunkedArray) -> None:
        import pyarrow.compute as pc

        super().__init__(len(texts))
        if texts.null_count or pc.count_distinct(texts).as_py() < len(texts):
            raise ValueError("an identifier is missing, or occurs twice")
        self._texts = texts.combine_chunks()

    def entry(self, number: int) -> str:
        return self._texts[number].as_py()


class _Texts(Column):
    """Texts that stay in the file: a group of rows is read when one of it is used, and kept until another is."""

    def __init__(self, path: Path, told: pq.FileMetaData, size: int) -> None:
        super().__init__(told.num_rows)
        self._path, self._most = path, SLACK + EXPANSION * size
        sizes = [told.row_group(i).num_rows for i in range(told.num_row_groups)]
        self._ends = np.cumsum(sizes)
        self._held: dict[int, pa.LargeStringArray] = {}

    def entry(self, number: int) -> str:
        group = int(np.searchsorted(self._ends, number, side="right"))
        held = self._held.get(group)
        if held is None:
            held = self._read(group)
            self._held = {group: held}
        return held[number - (int(self._ends[group - 1]) if group else 0)].as_py()

    def _read(self, group: int) -> pa.LargeStringArray:
        import pyarrow.parquet as pq

        how: Plain = {"page_checksum_verification": True, "read_dictionary": ["data"]}
        found = pq.ParquetFile(self._path, **how).read_row_group(group, columns=["data"])["data"]
        require_held(_unpacked(found), self._most, self._path)
        return found.cast("large_string").combine_chunks()


def _unpacked(column: pa.ChunkedArray) -> int:
    """Bytes of a column of texts once every cell has its own: a page holds a text once, however often it is meant."""
    import pyarrow.compute as pc

    total = 0
    for chunk in column.chunks:
        sizes = pc.fill_null(pc.binary_length(chunk.dictionary), 0).cast("int64")
        total += pc.sum(sizes.take(chunk.indices)).as_py() or 0
    return total


def _read_data(kind: str, cells: Iterable[str]) -> list[object] | None:
    if kind in ("none", "opaque"):
        return None
    parts = [json.loads(cell) for cell in cells]
    if kind == "json":
        return parts
    return [np.frombuffer(bytes.fromhex(raw), dtype).reshape(shape).copy() for dtype, shape, raw in parts]
