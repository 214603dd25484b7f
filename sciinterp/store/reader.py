"""Read a finished store: every file is checked before a number of it is used, and once for the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sciinterp.errors import StoreError
from sciinterp.samples import Samples
from sciinterp.settings import Plain
from sciinterp.store.arrays import Entry, check_sha256, load_arrays, read_header, read_rows, widen
from sciinterp.store.atomic import read_json, to_json
from sciinterp.store.layout import DENSE, INDEX, PLAN, Schema, read_manifest, shard_name, sidecar
from sciinterp.store.samples_file import load_samples


def require_record(number: int, plan: str, record: Plain, path: Path) -> None:
    """Raise unless the record beside a shard says what the manifest says, in its canonical bytes.

    Raises
    ------
    StoreError
    """
    found = read_json(path)
    skipped = found.get("skipped") if isinstance(found, dict) else None
    facts = {**record, "shard": number, "plan": plan, "skipped": skipped}
    if path.read_bytes() != to_json(facts):
        raise StoreError(
            "a record differs from the manifest",
            where=f"file {str(path)!r}",
            do="Run its step again, or restore it from a copy.",
        )


class Shards:
    """A finished store of either schema: manifest, plan, samples, and checked ranges of its shards.

    Raises
    ------
    StoreError
        No store, an unfinished one, a damaged file, another schema, or a newer version.
    """

    def __init__(self, folder: str | os.PathLike[str], schema: Schema) -> None:
        # Absolute: shards are opened when read, perhaps after the working folder has changed.
        self.folder = Path(folder).absolute()
        self.manifest = read_manifest(self.folder, schema)
        check_sha256(self.folder / PLAN, self.manifest["plan_sha256"])
        self.plan: Plain = read_json(self.folder / PLAN)
        self.index = load_arrays(self.folder / INDEX, sha256=self.manifest["index_sha256"])
        self.n, self.width = int(self.manifest[f"n_{schema.unit}s"]), int(self.manifest[schema.width])
        rows = [shard["rows"] for shard in self.manifest["shards"]]
        self.bounds = np.concatenate([[0], np.cumsum(np.array(rows, np.int64))]).astype(np.int64)
        self.offsets = self.index_array(f"{schema.unit}_offsets", int(self.manifest["n_samples"]) + 1)
        if self.offsets[0] != 0 or self.offsets[-1] != self.n or (np.diff(self.offsets) < 0).any():
            raise self.damaged(INDEX, f"offsets that do not lead from 0 to {self.n}")
        self._checked: dict[int, tuple[tuple[int, ...], dict[str, Entry]]] = {}

    def index_array(self, name: str, length: int, dtype: str = "int64") -> np.ndarray:
        """One array of the index; an error unless it is of this type and length."""
        array = self.index.get(name)
        if array is None or array.dtype != dtype or array.shape != (length,):
            raise self.damaged(INDEX, f"no {name} of {length} numbers")
        array.setflags(write=False)
        return array

    def samples(self) -> Samples:
        """The samples, in order."""
        found = load_samples(self.folder, sha256=self.manifest["samples_sha256"])
        if len(found) != len(self.offsets) - 1:
            raise self.damaged("samples.parquet", f"{len(found)} samples, not {len(self.offsets) - 1}")
        return found

    def damaged(self, name: str, got: str) -> StoreError:
        """The error for a file that is whole and does not hold what it should."""
        return StoreError(
            "a file of the store does not hold what it should",
            where=f"file {str(self.folder / name)!r}",
            got=got,
            do="Remove the folder and run the step again.",
        )

    def entries(self, number: int) -> dict[str, Entry]:
        """Where the arrays of a shard lie; its checksum is verified once for the same bytes."""
        path = self.folder / shard_name(number)
        try:
            stat = path.stat()
        except OSError as error:
            raise StoreError(
                "a shard is missing", where=f"file {str(path)!r}", do="Run the step that wrote it again."
            ) from error
        stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if number not in self._checked or self._checked[number][0] != stamp:
            record = self.manifest["shards"][number]
            check_sha256(path, record["sha256"])
            require_record(number, self.manifest["plan_sha256"], record, sidecar(self.folder, number))
            self._checked[number] = (stamp, read_header(path))
        return self._checked[number][1]

    def part(
        self, number: int, name: str, shape: tuple[int, ...], dtype: str, lo: int = 0, hi: int | None = None
    ) -> np.ndarray:
        """Rows ``[lo, hi)`` of one array of a shard, which must be of this shape and type."""
        entry = self.entries(number).get(name)
        if entry is None or entry.dtype != dtype or entry.shape != shape:
            raise self.damaged(shard_name(number), f"no {name} of {dtype} and shape {list(shape)}")
        return read_rows(self.folder / shard_name(number), entry, lo, entry.shape[0] if hi is None else hi)

    def pieces(self, lo: int, hi: int) -> Iterator[tuple[int, int, int]]:
        """The shards that hold rows ``[lo, hi)``: number, and the rows of it, counted from its first."""
        if not 0 <= lo <= hi <= self.n:
            raise StoreError(
                "rows outside the store",
                where=f"folder {str(self.folder)!r}",
                expected=f"0 <= lo <= hi <= {self.n}",
                got=f"lo={lo}, hi={hi}",
            )
        first, last = np.searchsorted(self.bounds, [lo, hi], side="right") - 1
        for number in range(int(first), min(int(last) + 1, len(self.bounds) - 1)):
            base, top = int(self.bounds[number]), int(self.bounds[number + 1])
            if max(lo, base) < min(hi, top):
                yield number, max(lo, base) - base, min(hi, top) - base


class Reader(Shards):
    """A finished store of activations: dense rows, one a token.

    Raises
    ------
    StoreError
        No store, an unfinished one, a damaged file, or a newer version.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__(folder, DENSE)
        self.d_in, self.dtype, self.token_offsets = self.width, str(self.manifest["dtype"]), self.offsets

    def read_stored(self, lo: int, hi: int) -> np.ndarray:
        """Rows ``[lo, hi)`` as they are stored (bfloat16 as uint16 bits)."""
        return self._read("activations", self.dtype, lo, hi, (self.d_in,))

    def widen(self, stored: np.ndarray) -> np.ndarray:
        """float32 of stored rows."""
        return widen(stored, self.dtype)

    def read_spans(self, lo: int, hi: int) -> dict[str, np.ndarray]:
        """``start`` and ``end`` (int64, half-open) and ``strand`` (int8) of the tokens ``[lo, hi)``."""
        spans = {name: self._read(name, "int32", lo, hi).astype(np.int64) for name in ("start", "end")}
        return {**spans, "strand": self._read("strand", "int8", lo, hi)}

    def _read(self, name: str, dtype: str, lo: int, hi: int, row: tuple[int, ...] = ()) -> np.ndarray:
        parts = []
        for number, a, b in self.pieces(lo, hi):
            rows = int(self.bounds[number + 1] - self.bounds[number])
            parts.append(self.part(number, name, (rows, *row), dtype, a, b))
        if not parts:
            return np.zeros((0, *row), "uint16" if dtype == "bfloat16" else dtype)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
