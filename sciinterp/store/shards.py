"""Write a sharded store: plan first, shards of consecutive samples, manifest last. FORMAT.md is the spec.

A :class:`Writer` holds the folder's lock, keeps what an interrupted run finished, and writes the rest; the
plan says everything the bytes depend on, so two runs of one plan end in the same files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from sciinterp import distributed
from sciinterp.errors import MismatchError, SciinterpError, StoreError
from sciinterp.samples import Samples
from sciinterp.settings import Plain
from sciinterp.store.arrays import check_sha256, save_arrays
from sciinterp.store.atomic import (
    TEMPORARY_PREFIX,
    as_json,
    is_overwriting,
    make_folder,
    read_json,
    remove,
    remove_temporaries,
    sha256_file,
    write_json,
)
from sciinterp.store.layout import (
    DENSE,
    ENVIRONMENT,
    FORMAT,
    INDEX,
    MANIFEST,
    OLD_HEAD,
    OURS,
    PLAN,
    SCHEMAS,
    SPARSE,
    VERSION,
    brief,
    load_arrays_named,
    migrated,
    shard_name,
    sidecar,
)
from sciinterp.store.lock import LOCK, folder_lock
from sciinterp.store.samples_file import SAMPLES, save_samples
from sciinterp.store.sealed import write_sealed

_DERIVED = ("batches_sha256", "padding", "shards", "windows")
_ANOTHER = "Choose another folder, or overwrite this one (--overwrite, overwrite=True)."


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

    def __init__(self, folder: Path, plan: Plain, *, complete: bool) -> None:
        self.folder, self.plan, self.complete = folder, plan, complete
        self._schema = SCHEMAS[migrated(plan, f"folder {str(folder)!r}")["schema"]]
        self._plan_sha256 = sha256_file(folder / PLAN)
        self._records: dict[int, Plain] = {}
        if not complete and distributed.first():
            found = ((number, self._finished(number)) for number in self.missing)
            self._records = {number: record for number, record in found if record is not None}
        # Found by one rank for all: the others may have begun to write by the time this one looks.
        self._records = distributed.told(self._records)

    @property
    def n_shards(self) -> int:
        """Shards of the plan."""
        return len(self.plan["shards"]) - 1

    @property
    def mine(self) -> Sequence[int]:
        """The missing ones that this rank is to write."""
        return distributed.mine(self.missing)

    @property
    def missing(self) -> list[int]:
        """Numbers of the shards still to be written, ascending."""
        return [] if self.complete else [k for k in range(self.n_shards) if k not in self._records]

    def samples_of(self, number: int) -> range:
        """Numbers of the samples in a shard."""
        return range(self.plan["shards"][number], self.plan["shards"][number + 1])

    def _finished(self, number: int) -> Plain | None:
        """The record of a whole shard of this plan, or None when it must be made (again)."""
        try:
            record = read_json(sidecar(self.folder, number))
            if record["plan"] != self._plan_sha256 or record["shard"] != number:
                return None
            check_sha256(self.folder / shard_name(number), record["sha256"])
        except (SciinterpError, KeyError, TypeError):
            return None
        return record

    def _unfit(self, what: str, number: int, expected: str = "", got: str = "") -> StoreError:
        where = f"shard {number} of {str(self.folder)!r}"
        return StoreError(f"{what} do not fit the plan", where=where, expected=expected, got=got)

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
            raise self._unfit("rows", number)
        stored = np.dtype("uint16" if dtype == "bfloat16" else dtype)
        if any(x.dtype != stored or x.shape[1:] != (d_in,) for x in rows):
            got = ", ".join(sorted({f"{x.dtype} of shape {x.shape}" for x in rows}))[:80]
            raise self._unfit("rows", number, f"{stored} of width {d_in}", got)
        joined = np.concatenate([np.zeros((0, 3), np.int32), *(np.asarray(x, np.int32) for x in spans)])
        arrays: dict[str, np.ndarray | list[np.ndarray]] = {
            "activations": [np.zeros((0, d_in), stored), *rows],
            "start": joined[:, 0],
            "end": joined[:, 1],
            "strand": joined[:, 2].astype(np.int8),
        }
        self._write(number, arrays, counts, skipped or {}, ("activations",) if dtype == "bfloat16" else ())

    def write_codes(self, number: int, codes: sp.csr_array, counts: np.ndarray) -> None:
        """Write one shard of codes, by position and by feature, and then its record.

        Parameters
        ----------
        number : int
        codes : csr float32 [n_positions, n_features]
            The positions of the shard's samples end to end; columns ascending within a row, none twice.
        counts : int array [n_samples]
            Positions of each sample.
        """
        shape = (int(np.sum(counts)), int(self.plan[SPARSE.width]))
        if len(counts) != len(self.samples_of(number)) or codes.shape != shape:
            wanted = f"{shape[0]} positions of {len(self.samples_of(number))} samples, {shape[1]} features"
            raise self._unfit("codes", number, wanted, f"shape {codes.shape}")
        turned = codes.tocsc()
        arrays: dict[str, np.ndarray | list[np.ndarray]] = {
            "indptr": codes.indptr.astype(np.int64),
            "indices": codes.indices.astype(np.int32),
            "values": codes.data.astype(np.float32),
            "feature_starts": turned.indptr.astype(np.int64),
            "feature_rows": turned.indices.astype(np.int32),
            "feature_values": turned.data.astype(np.float32),
        }
        self._write(number, arrays, np.asarray(counts, np.int64), {}, ())

    def _write(
        self,
        number: int,
        arrays: dict[str, np.ndarray | list[np.ndarray]],
        counts: np.ndarray,
        skipped: Mapping[int, str],
        bfloat16: tuple[str, ...],
    ) -> None:
        """The shard's file, whole, and its record beside it."""
        path = self.folder / shard_name(number)
        sha256 = save_arrays(path, {**arrays, f"{self._schema.unit}s": counts}, bfloat16=bfloat16)
        record = {
            "shard": number,
            "plan": self._plan_sha256,
            "rows": int(counts.sum()),
            "bytes": path.stat().st_size,
            "sha256": sha256,
            "skipped": {str(k): v for k, v in sorted(skipped.items())},
        }
        write_json(sidecar(self.folder, number), record)
        self._records[number] = record

    def finish(self, extra: Mapping[str, object] | None = None) -> None:
        """Write the index and then the manifest, which makes the store whole; of several ranks the first does.

        Parameters
        ----------
        extra : mapping
            Facts to keep in the manifest; they must be functions of the plan.
        """
        for of_rank in distributed.gathered(self._records):
            self._records |= of_rank
        largest = {}
        if self._schema is SPARSE and not self.missing:
            paths = [self.folder / shard_name(k) for k in range(self.n_shards)]
            largest = _per_feature(paths, int(self.plan[SPARSE.width]))
        if distributed.first():
            self._finish(extra or {}, largest)
        distributed.meet()
        self.complete = True

    def _finish(self, extra: Mapping[str, object], largest: Mapping[str, np.ndarray]) -> None:
        if self.missing:
            raise StoreError(
                "the store is not finished",
                where=f"folder {str(self.folder)!r}",
                expected=f"{self.n_shards} shards",
                got=f"{len(self._records)}",
            )
        unit, width = self._schema.unit, self._schema.width
        paths = [self.folder / shard_name(k) for k in range(self.n_shards)]
        counts = [load_arrays_named(path, f"{unit}s") for path in paths]
        offsets = np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, np.int64), *counts]))])
        index = {f"{unit}_offsets": offsets.astype(np.int64), **largest}
        records = [self._records[k] for k in range(self.n_shards)]
        manifest = {
            # A store begun by an earlier version ends as one of that version.
            **{key: self.plan[key] for key in ("format", "version", "schema") if key in self.plan},
            "plan_sha256": self._plan_sha256,
            "samples_sha256": sha256_file(self.folder / SAMPLES),
            "index_sha256": save_arrays(self.folder / INDEX, index),
            "n_samples": len(offsets) - 1,
            f"n_{unit}s": int(offsets[-1]),
            width: self.plan[width],
            "dtype": self.plan["dtype"],
            "extra": dict(extra),
            "shards": [{"rows": r["rows"], "bytes": r["bytes"], "sha256": r["sha256"]} for r in records],
            "skipped": {k: v for r in records for k, v in r["skipped"].items()},
        }
        write_sealed(self.folder / MANIFEST, manifest)


def _per_feature(paths: list[Path], n_features: int) -> dict[str, np.ndarray]:
    """How many codes each feature has in all shards, and the largest of them; each rank reads its share."""
    stored, largest = np.zeros(n_features, np.int64), np.zeros(n_features, np.float32)
    for path in distributed.mine(paths):
        starts = load_arrays_named(path, "feature_starts")
        there = np.flatnonzero(np.diff(starts))
        if len(there):
            of_shard = np.maximum.reduceat(load_arrays_named(path, "feature_values"), starts[there])
            largest[there] = np.maximum(largest[there], of_shard)
        stored += np.diff(starts)
    counts, highest = zip(*distributed.gathered((stored, largest)))
    return {"stored": np.sum(counts, axis=0), "largest": np.max(highest, axis=0)}


@contextlib.contextmanager
def open_writer(
    folder: str | os.PathLike[str], plan: Mapping[str, object], samples: Samples, *, overwrite: bool = False
) -> Iterator[Writer]:
    """Begin, resume or recognise the store of a plan; the folder's lock is held while the block runs.

    Of several ranks the first begins it, and tells the others; each then writes its :attr:`Writer.mine`.

    Parameters
    ----------
    folder : path
        New, empty, or a store of the same plan.
    plan : mapping
        Everything the bytes depend on: at least ``shards`` (bounds in sample numbers), ``dtype``, ``environment`` and
        ``d_in``; or ``schema`` "sparse" and ``n_features``.
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
    if not distributed.first():
        wanted, complete = distributed.told(({}, False))
        yield Writer(folder, wanted, complete=complete)
        return
    require_free(folder, plan, overwrite=overwrite)
    if (folder / MANIFEST).is_file() and _matches(folder, wanted):
        _sweep(folder)
        wanted, complete = distributed.told((read_json(folder / PLAN), True))
        yield Writer(folder, wanted, complete=complete)
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
        distributed.told((wanted, complete))
        yield Writer(folder, wanted, complete=complete)


def _sweep(folder: Path) -> None:
    """Remove what a killed writer left beside a finished store, if nobody is writing there."""
    if any(name == LOCK or name.startswith(TEMPORARY_PREFIX) for name in os.listdir(folder)):
        with contextlib.suppress(StoreError), folder_lock(folder):
            remove_temporaries(folder)


def _full(plan: Mapping[str, object]) -> Plain:
    """The plan as it is written and read back."""
    return {"format": FORMAT, "version": VERSION, "schema": DENSE.name, **as_json(dict(plan))}


def require_free(folder: Path, plan: Mapping[str, object], *, overwrite: bool = False) -> None:
    """Raise unless :func:`open_writer` could write this plan here; nothing is written."""
    require_ours(folder)
    overwrite = overwrite or is_overwriting()
    if not overwrite and (folder / PLAN).is_file():
        complete = (folder / MANIFEST).is_file()
        require_same(folder, read_json(folder / PLAN), _full(plan), complete=complete)
    elif not overwrite and (folder / OLD_HEAD).is_file():
        raise MismatchError(
            "the folder holds codes of an earlier version", where=f"folder {str(folder)!r}", do=_ANOTHER
        )


def _matches(folder: Path, wanted: Mapping[str, object]) -> bool:
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
        raise _in_use(folder, "a folder of stores of activations", strange)


def require_ours(folder: Path) -> None:
    """Raise unless the folder is new, empty, or holds a store and nothing else."""
    if folder.exists() and not folder.is_dir():
        raise StoreError(
            "the output is not a folder", where=f"folder {str(folder)!r}", do="Choose another name."
        )
    if not folder.is_dir():
        return
    names = [n for n in os.listdir(folder) if n != LOCK and not n.startswith(TEMPORARY_PREFIX)]
    strange = sorted(name for name in names if not OURS.match(name))
    if strange or (names and PLAN not in names and OLD_HEAD not in names):
        raise _in_use(folder, "a store of activations or codes", strange or sorted(names))


def _in_use(folder: Path, or_else: str, names: list[str]) -> StoreError:
    return StoreError(
        "the output folder is in use",
        where=f"folder {str(folder)!r}",
        expected=f"a new or empty folder, or {or_else}",
        got=", ".join(map(repr, names[:3])),
        do="Choose another folder.",
    )


def require_same(folder: Path, found: object, wanted: Mapping[str, object], *, complete: bool) -> None:
    """Raise :class:`~sciinterp.errors.MismatchError` naming the first thing in which two plans differ."""
    where = f"folder {str(folder)!r}"
    found = migrated(found, where)
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
                do=_ANOTHER,
            )


def _difference(path: str, a: object, b: object) -> tuple[str, object, object]:
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
        remove(folder / name)
