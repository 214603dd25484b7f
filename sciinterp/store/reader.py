"""Read a finished store: every file is checked before a number of it is used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from sciinterp.errors import StoreError
from sciinterp.samples import Samples
from sciinterp.store.arrays import check_sha256, load_arrays, load_samples, read_header, read_rows, widen
from sciinterp.store.atomic import read_json
from sciinterp.store.layout import INDEX, PLAN, read_manifest, shard_name


class Reader:
    """A finished store, every file of it checked before it is used.

    Raises
    ------
    StoreError
        No store, an unfinished one, a damaged file, or a newer version.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        # Absolute: shards are opened when read, perhaps after the working folder has changed.
        self.folder = Path(folder).absolute()
        self.manifest = read_manifest(self.folder)
        check_sha256(self.folder / PLAN, self.manifest["plan_sha256"])
        self.plan: dict[str, Any] = read_json(self.folder / PLAN)
        index = load_arrays(self.folder / INDEX, sha256=self.manifest["index_sha256"])
        self.token_offsets: np.ndarray = index["token_offsets"]
        self.token_offsets.setflags(write=False)
        self.d_in, self.dtype = int(self.manifest["d_in"]), str(self.manifest["dtype"])
        self.n = int(self.token_offsets[-1])
        self.bounds = np.concatenate([[0], np.cumsum([s["rows"] for s in self.manifest["shards"]])]).astype(
            np.int64
        )
        self._checked: dict[int, tuple[tuple[int, ...], dict[str, Any]]] = {}

    def samples(self) -> Samples:
        """The samples, in order."""
        return load_samples(self.folder, sha256=self.manifest["samples_sha256"])

    def _entries(self, number: int) -> dict[str, Any]:
        """Where the arrays of a shard lie; its checksum is verified once for the same bytes."""
        path = self.folder / shard_name(number)
        try:
            stat = path.stat()
        except OSError as error:
            raise StoreError(
                "a shard is missing", where=f"file {str(path)!r}", do="Run extract again."
            ) from error
        stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if number not in self._checked or self._checked[number][0] != stamp:
            check_sha256(path, self.manifest["shards"][number]["sha256"])
            self._checked[number] = (stamp, read_header(path))
        return self._checked[number][1]

    def read_stored(self, lo: int, hi: int) -> np.ndarray:
        """Rows ``[lo, hi)`` as they are stored (bfloat16 as uint16 bits)."""
        return self._read("activations", lo, hi)

    def widen(self, stored: np.ndarray) -> np.ndarray:
        """float32 of stored rows."""
        return widen(stored, self.dtype)

    def read_spans(self, lo: int, hi: int) -> dict[str, np.ndarray]:
        """``start`` and ``end`` (int64, half-open) and ``strand`` (int8) of the tokens ``[lo, hi)``."""
        spans = {name: self._read(name, lo, hi) for name in ("start", "end", "strand")}
        return {name: x if name == "strand" else x.astype(np.int64) for name, x in spans.items()}

    def _read(self, name: str, lo: int, hi: int) -> np.ndarray:
        if not 0 <= lo <= hi <= self.n:
            raise StoreError(
                "rows outside the store",
                where=f"folder {str(self.folder)!r}",
                expected=f"0 <= lo <= hi <= {self.n}",
                got=f"lo={lo}, hi={hi}",
            )
        first = int(np.searchsorted(self.bounds, lo, side="right")) - 1
        parts = []
        number = max(first, 0)
        while not parts or (lo < hi and number < len(self.bounds) - 1):
            base, top = int(self.bounds[number]), int(self.bounds[min(number + 1, len(self.bounds) - 1)])
            stop = max(lo, min(hi, top))
            if number < len(self.manifest["shards"]):
                entry = self._entries(number)[name]
                parts.append(read_rows(self.folder / shard_name(number), entry, lo - base, stop - base))
            else:
                parts.append(self._empty(name))
            lo, number = stop, number + 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _empty(self, name: str) -> np.ndarray:
        stored = "uint16" if self.dtype == "bfloat16" else self.dtype
        kinds = {"activations": stored, "strand": "int8"}
        return np.zeros((0, self.d_in) if name == "activations" else (0,), kinds.get(name, "int32"))
