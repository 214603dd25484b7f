"""Write a sharded store: plan first, shards of consecutive samples, manifest last. FORMAT.md is the spec.

A :class:`Writer` holds the folder's lock, keeps what an interrupted run finished, and writes the rest; the
plan says everything the bytes depend on, so two runs of one plan end in the same files.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sciinterp.errors import FormatError, MismatchError, SciinterpError, StoreError
from sciinterp.samples import Samples
from sciinterp.store.arrays import SAMPLES, check_sha256, save_arrays, save_samples
from sciinterp.store.atomic import (
    TEMPORARY_PREFIX,
    make_folder,
    read_json,
    remove_temporaries,
    sha256_file,
    to_json,
    write_json,
)
from sciinterp.store.layout import (
    ENVIRONMENT,
    FORMAT,
    INDEX,
    MANIFEST,
    OURS,
    PLAN,
    VERSION,
    brief,
    load_arrays_named,
    newer,
    seal,
    shard_name,
    sidecar,
)
from sciinterp.store.lock import LOCK, folder_lock

_DERIVED = ("batches_sha256", "padding", "shards", "windows")


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
            record = read_json(sidecar(self.folder, number))
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
            "shard": number,
            "plan": self._plan_sha256,
            "rows": int(counts.sum()),
            "bytes": path.stat().st_size,
            "sha256": sha256,
            "skipped": {str(k): v for k, v in sorted((skipped or {}).items())},
        }
        write_json(sidecar(self.folder, number), record)
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
            "format": FORMAT,
            "version": VERSION,
            "plan_sha256": self._plan_sha256,
            "samples_sha256": sha256_file(self.folder / SAMPLES),
            "index_sha256": index,
            "n_samples": len(offsets) - 1,
            "n_tokens": int(offsets[-1]),
            "d_in": self.plan["d_in"],
            "dtype": self.plan["dtype"],
            "extra": dict(extra or {}),
            "shards": [{"rows": r["rows"], "bytes": r["bytes"], "sha256": r["sha256"]} for r in records],
            "skipped": {k: v for r in records for k, v in r["skipped"].items()},
        }
        write_json(self.folder / MANIFEST, seal(manifest))
        self.complete = True


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
    wanted = _full(plan)
    require_free(folder, plan, overwrite=overwrite)
    if (folder / MANIFEST).is_file() and _matches(folder, wanted):
        _sweep(folder)
        yield Writer(folder, read_json(folder / PLAN), complete=True)
        return
    make_folder(folder)
    with folder_lock(folder):
        remove_temporaries(folder)
        # Looked at again, because another run may have begun or ended since.
        require_free(folder, plan, overwrite=overwrite)
        if (folder / PLAN).is_file() and _matches(folder, wanted):
            wanted = read_json(folder / PLAN)
        else:
            _clear(folder)
            write_json(folder / PLAN, wanted)
        complete = (folder / MANIFEST).is_file()
        if not complete:
            save_samples(folder, samples)
        yield Writer(folder, wanted, complete=complete)


def _sweep(folder: Path) -> None:
    """Remove what a killed writer left beside a finished store, if nobody is writing there."""
    if any(name == LOCK or name.startswith(TEMPORARY_PREFIX) for name in os.listdir(folder)):
        with contextlib.suppress(StoreError), folder_lock(folder):
            remove_temporaries(folder)


def _full(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plan as it is written and read back."""
    return {"format": FORMAT, "version": VERSION, **json.loads(to_json(dict(plan)))}


def require_free(folder: Path, plan: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Raise unless :func:`open_writer` could write this plan here; nothing is written."""
    require_ours(folder)
    if not overwrite and (folder / PLAN).is_file():
        complete = (folder / MANIFEST).is_file()
        require_same(folder, read_json(folder / PLAN), _full(plan), complete=complete)


def _matches(folder: Path, wanted: Mapping[str, Any]) -> bool:
    try:
        require_same(folder, read_json(folder / PLAN), wanted, complete=(folder / MANIFEST).is_file())
    except SciinterpError:
        return False
    return True


def require_parent(folder: Path) -> None:
    """Raise unless the folder is new or holds only folders of stores."""
    if folder.is_dir() and all(
        (p / PLAN).is_file() or not any(p.iterdir()) for p in folder.iterdir() if p.is_dir()
    ):
        strange = sorted(p.name for p in folder.iterdir() if not p.is_dir())
    else:
        strange = [folder.name] if folder.exists() else []
    if strange:
        raise StoreError(
            "the output folder is in use",
            where=f"folder {str(folder)!r}",
            expected="a new or empty folder, or a folder of stores of activations",
            got=", ".join(map(repr, strange[:3])),
            do="Choose another folder.",
        )


def require_ours(folder: Path) -> None:
    """Raise unless the folder is new, empty, or holds a store and nothing else."""
    where = f"folder {str(folder)!r}"
    if folder.exists() and not folder.is_dir():
        raise StoreError("the output is not a folder", where=where, do="Choose another name.")
    if not folder.is_dir():
        return
    names = [n for n in os.listdir(folder) if n != LOCK and not n.startswith(TEMPORARY_PREFIX)]
    strange = sorted(name for name in names if not OURS.match(name))
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
        raise newer(folder, found["version"])
    skip = {ENVIRONMENT} if complete else set()
    # What is derived from the rest (the composition of batches) is named only if nothing else is.
    names = sorted({*found, *wanted} - skip, key=lambda name: (name in _DERIVED, name))
    for name in names:
        path, ours, theirs = _difference(name, found.get(name), wanted.get(name))
        if path:
            raise MismatchError(
                f"the folder holds a store of another plan ({path} differs)",
                where=where,
                expected=brief(theirs),
                got=brief(ours),
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


def _clear(folder: Path) -> None:
    """Remove a store: the manifest first and the plan last, so that a crash leaves an unfinished store."""
    names = [name for name in os.listdir(folder) if OURS.match(name)]
    for name in sorted(names, key=lambda n: (n != MANIFEST, n == PLAN, n)):
        (folder / name).unlink(missing_ok=True)
