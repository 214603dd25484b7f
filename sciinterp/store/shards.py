"""The sharded store: plan first, shards of consecutive samples, manifest last. FORMAT.md is the spec.

A :class:`Writer` holds the folder's lock, keeps what an interrupted run finished, and writes the rest; the
plan says everything the bytes depend on, so two runs of one plan end in the same files. A :class:`Reader`
checks the sha256 of every file before a number of it is used, once per open, and again if the file changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sciinterp.errors import FormatError, MismatchError, SciinterpError, StoreError
from sciinterp.samples import Samples
from sciinterp.store.arrays import (
    SAMPLES,
    check_sha256,
    load_arrays,
    load_samples,
    read_header,
    read_rows,
    save_arrays,
    save_samples,
    widen,
)
from sciinterp.store.atomic import (
    TEMPORARY_PREFIX,
    make_folder,
    read_json,
    remove_temporaries,
    sha256_file,
    to_json,
    write_json,
)
from sciinterp.store.lock import LOCK, folder_lock

FORMAT, VERSION = "sciinterp.activations", 1
PLAN, MANIFEST, INDEX = "plan.json", "manifest.json", "index.safetensors"
DTYPES = ("float32", "float16", "bfloat16")
# version found -> function from its manifest to the next version's; old stores are read for ever.
MIGRATIONS: dict[int, Any] = {}
_OURS = re.compile(rf"({PLAN}|{MANIFEST}|{INDEX}|{SAMPLES}|shard-\d{{6}}\.(safetensors|json))\Z")
# What must agree to resume, but not to use a finished store: another machine's bytes differ in the last bit.
ENVIRONMENT = "environment"


def shard_name(number: int) -> str:
    """File name of a shard; names hold numbers only, never anything of the input."""
    return f"shard-{number:06d}.safetensors"


def _sidecar(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:06d}.json"


class Writer:
    """A folder being written; made by :func:`open_writer`.

    Attributes
    ----------
    folder : Path
    plan : dict
        The plan on disk: on resume its ``environment`` is that of the first run.
    complete : bool
        The manifest is there: nothing is left to do.
    """

    def __init__(self, folder: Path, plan: dict[str, Any], *, complete: bool) -> None:
        self.folder, self.plan, self.complete = folder, plan, complete
        self._plan_sha256 = sha256_file(folder / PLAN)
        self._records: dict[int, dict[str, Any]] = {}
        if not complete:
            for number in range(self.n_shards):
                record = self._finished(number)
                if record is not None:
                    self._records[number] = record

    @property
    def n_shards(self) -> int:
        """Shards of the plan."""
        return len(self.plan["shards"]) - 1

    @property
    def missing(self) -> list[int]:
        """Numbers of the shards still to be written, ascending."""
        return [] if self.complete else [k for k in range(self.n_shards) if k not in self._records]

    def samples_of(self, number: int) -> range:
        """Numbers of the samples in a shard."""
        return range(self.plan["shards"][number], self.plan["shards"][number + 1])

    def _finished(self, number: int) -> dict[str, Any] | None:
        """The record of a whole shard of this plan, or None when it must be made (again)."""
        try:
            record = read_json(_sidecar(self.folder, number))
            if record["plan"] != self._plan_sha256 or record["shard"] != number:
                return None
            check_sha256(self.folder / shard_name(number), record["sha256"])
        except (SciinterpError, KeyError, TypeError):
            return None
        return record

    def write(
        self,
        number: int,
        rows: list[np.ndarray],
        spans: list[np.ndarray],
        *,
        skipped: Mapping[int, str] | None = None,
    ) -> None:
        """Write one shard and then its record.

        Parameters
        ----------
        number : int
        rows : list of arrays [n_tokens_i, d_in]
            One per sample of the shard, in order, of the plan's dtype (uint16 bits for bfloat16).
        spans : list of int arrays [n_tokens_i, 3]
            Start, end (half-open, positions of the sample) and strand of every token.
        skipped : mapping
            Sample number to the reason why it has no rows.
        """
        d_in, dtype = int(self.plan["d_in"]), self.plan["dtype"]
        counts = np.array([len(x) for x in rows], dtype=np.int64)
        if len(rows) != len(self.samples_of(number)) or counts.tolist() != [len(x) for x in spans]:
            raise StoreError("rows do not fit the plan", where=f"shard {number} of {str(self.folder)!r}")
        stored = np.dtype("uint16" if dtype == "bfloat16" else dtype)
        if any(x.dtype != stored or x.shape[1:] != (d_in,) for x in rows):
            raise StoreError(
                "rows do not fit the plan",
                where=f"shard {number} of {str(self.folder)!r}",
                expected=f"{stored} of width {d_in}",
                got=", ".join(sorted({f"{x.dtype} of shape {x.shape}" for x in rows}))[:80],
            )
        joined = np.concatenate([np.zeros((0, 3), np.int32), *(np.asarray(x, np.int32) for x in spans)])
        arrays: dict[str, np.ndarray | list[np.ndarray]] = {
            "activations": [np.zeros((0, d_in), stored), *rows],
            "start": joined[:, 0],
            "end": joined[:, 1],
            "strand": joined[:, 2].astype(np.int8),
            "tokens": counts,
        }
        path = self.folder / shard_name(number)
        sha256 = save_arrays(path, arrays, bfloat16=("activations",) if dtype == "bfloat16" else ())
        record = {
            "shard": number, "plan": self._plan_sha256, "rows": int(counts.sum()),
            "bytes": path.stat().st_size, "sha256": sha256,
            "skipped": {str(k): v for k, v in sorted((skipped or {}).items())},
        }  # fmt: skip
        write_json(_sidecar(self.folder, number), record)
        self._records[number] = record

    def finish(self, extra: Mapping[str, Any] | None = None) -> None:
        """Write the index and then the manifest, which makes the store whole.

        Parameters
        ----------
        extra : mapping
            Facts to keep in the manifest; they must be functions of the plan.
        """
        if self.missing:
            raise StoreError(
                "the store is not finished",
                where=f"folder {str(self.folder)!r}",
                expected=f"{self.n_shards} shards",
                got=f"{len(self._records)}",
            )
        counts = [load_arrays_named(self.folder / shard_name(k), "tokens") for k in range(self.n_shards)]
        offsets = np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, np.int64), *counts]))])
        index = save_arrays(self.folder / INDEX, {"token_offsets": offsets.astype(np.int64)})
        records = [self._records[k] for k in range(self.n_shards)]
        manifest = {
            "format": FORMAT, "version": VERSION, "plan_sha256": self._plan_sha256,
            "samples_sha256": sha256_file(self.folder / SAMPLES), "index_sha256": index,
            "n_samples": len(offsets) - 1, "n_tokens": int(offsets[-1]), "d_in": self.plan["d_in"],
            "dtype": self.plan["dtype"], "extra": dict(extra or {}),
            "shards": [{"rows": r["rows"], "bytes": r["bytes"], "sha256": r["sha256"]} for r in records],
            "skipped": {k: v for r in records for k, v in r["skipped"].items()},
        }  # fmt: skip
        write_json(self.folder / MANIFEST, seal(manifest))
        self.complete = True


def load_arrays_named(path: Path, name: str, n: int | None = None) -> np.ndarray:
    """One array of a file already checked, or its first ``n`` rows."""
    entry = read_header(path)[name]
    return read_rows(path, entry, 0, entry.shape[0] if n is None else min(n, entry.shape[0]))


def seal(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with the sha256 of its own canonical JSON, so that it vouches for itself."""
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    return {**body, "sha256": hashlib.sha256(to_json(body)).hexdigest()}


@contextlib.contextmanager
def open_writer(
    folder: str | os.PathLike[str], plan: Mapping[str, Any], samples: Samples, *, overwrite: bool = False
) -> Iterator[Writer]:
    """Begin, resume or recognise the store of a plan; the folder's lock is held while the block runs.

    Parameters
    ----------
    folder : path
        New, empty, or a store of the same plan.
    plan : mapping
        Everything the bytes depend on: at least ``shards`` (bounds in sample numbers), ``d_in``, ``dtype``
        and ``environment``.
    samples : Samples
    overwrite : bool
        Remove a store of another plan first. A folder that holds anything else is never touched.

    Raises
    ------
    MismatchError
        The folder holds a store of another plan; the message names the first difference.
    StoreError
        The folder holds something else, or the disk is full.
    BusyError
        Another process is writing it.
    """
    folder = Path(folder)
    wanted = {"format": FORMAT, "version": VERSION, **_as_json(plan)}
    require_ours(folder)
    if not overwrite and (folder / MANIFEST).is_file():
        found = read_json(folder / PLAN)
        require_same(folder, found, wanted, complete=True)
        yield Writer(folder, found, complete=True)
        return
    make_folder(folder)
    with folder_lock(folder):
        remove_temporaries(folder)
        require_ours(folder)
        complete = (folder / MANIFEST).is_file()
        if (folder / PLAN).is_file():
            try:
                found = read_json(folder / PLAN)
                require_same(folder, found, wanted, complete=complete)
                wanted = found
            except SciinterpError:
                if not overwrite:
                    raise
                _clear(folder)
                complete = False
        if not (folder / PLAN).is_file():
            write_json(folder / PLAN, wanted)
        if not complete:
            save_samples(folder, samples)
        yield Writer(folder, wanted, complete=complete)


def _as_json(obj: Any) -> Any:
    import json

    return json.loads(to_json(obj))


def require_ours(folder: Path) -> None:
    """Raise unless the folder is new, empty, or holds a store and nothing else."""
    where = f"folder {str(folder)!r}"
    if folder.exists() and not folder.is_dir():
        raise StoreError("the output is not a folder", where=where, do="Choose another name.")
    if not folder.is_dir():
        return
    names = [n for n in os.listdir(folder) if n != LOCK and not n.startswith(TEMPORARY_PREFIX)]
    strange = sorted(name for name in names if not _OURS.match(name))
    if strange or (names and PLAN not in names):
        raise StoreError(
            "the output folder is in use",
            where=where,
            expected="a new or empty folder, or a store of activations",
            got=", ".join(repr(name) for name in (strange or sorted(names))[:3]),
            do="Choose another folder.",
        )


def require_same(folder: Path, found: Any, wanted: Mapping[str, Any], *, complete: bool) -> None:
    """Raise :class:`~sciinterp.errors.MismatchError` naming the first thing in which two plans differ."""
    where = f"folder {str(folder)!r}"
    if not isinstance(found, dict) or not isinstance(found.get("version"), int):
        raise FormatError("not a plan", file=str(folder / PLAN))
    if found["version"] > VERSION:
        raise _newer(folder, found["version"])
    skip = {ENVIRONMENT} if complete else set()
    for name in sorted({*found, *wanted} - skip):
        path, ours, theirs = _difference(name, found.get(name), wanted.get(name))
        if path:
            raise MismatchError(
                f"the folder holds a store of another plan ({path} differs)",
                where=where,
                expected=_brief(theirs),
                got=_brief(ours),
                do="Choose another folder, or overwrite this one (overwrite=True).",
            )


def _difference(path: str, a: Any, b: Any) -> tuple[str, Any, Any]:
    if isinstance(a, dict) and isinstance(b, dict):
        for name in sorted({*a, *b}):
            deeper = _difference(f"{path}.{name}", a.get(name), b.get(name))
            if deeper[0]:
                return deeper
        return "", None, None
    return ("", None, None) if a == b else (path, a, b)


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _newer(folder: Path, version: int) -> StoreError:
    return StoreError(
        "the store was written by a newer version",
        where=f"folder {str(folder)!r}",
        expected=f"format version up to {VERSION}",
        got=str(version),
        do="Update sciinterp.",
    )


def _clear(folder: Path) -> None:
    """Remove a store: the manifest first and the plan last, so that a crash leaves an unfinished store."""
    names = [name for name in os.listdir(folder) if _OURS.match(name)]
    for name in sorted(names, key=lambda n: (n != MANIFEST, n == PLAN, n)):
        (folder / name).unlink(missing_ok=True)


class Reader:
    """A finished store, every file of it checked before it is used.

    Raises
    ------
    StoreError
        No store, an unfinished one, a damaged file, or a newer version.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
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


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of a finished store, checked against itself and migrated to the current version.

    Raises
    ------
    StoreError
        No store here, an unfinished one, a damaged manifest, or a newer version.
    """
    folder = Path(folder)
    path, where = folder / MANIFEST, f"folder {str(folder)!r}"
    if not path.is_file():
        if not (folder / PLAN).is_file():
            raise StoreError(
                "this is not a store of activations",
                where=where,
                expected=MANIFEST,
                got="none",
                do="Make one with extract.",
            )
        raise StoreError(
            "the store is not finished", where=where, do="Run the same extract again to finish it."
        )
    manifest = read_json(path)
    damaged = StoreError(
        "the manifest is damaged", where=f"file {str(path)!r}", do="Restore it from a copy, or extract anew."
    )
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(
            "this is not a store of activations",
            where=where,
            expected=f"format {FORMAT!r}",
            got=_brief(manifest.get("format") if isinstance(manifest, dict) else manifest),
        )
    version = manifest.get("version")
    if isinstance(version, int) and version > VERSION:
        raise _newer(folder, version)
    if path.read_bytes() != to_json(manifest) or seal(manifest) != manifest:
        raise damaged
    for step in range(int(version or 0), VERSION):
        if step not in MIGRATIONS:
            raise damaged
        manifest = MIGRATIONS[step](manifest)
    return manifest
