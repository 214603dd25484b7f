"""Check every checksum below a folder: the ledger of a run, the manifest of a store, the seals of an SAE."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from sciinterp.errors import SciinterpError, StoreError
from sciinterp.settings import Plain
from sciinterp.store.arrays import check_sha256, load_arrays, read_header
from sciinterp.store.atomic import TEMPORARY_PREFIX, read_json
from sciinterp.store.codes_reader import CodesReader, read_old_codes
from sciinterp.store.kept import check_kept, is_kept
from sciinterp.store.layout import (
    INDEX,
    MANIFEST,
    OLD_CODES,
    OLD_HEAD,
    PLAN,
    SPARSE,
    read_manifest,
    shard_name,
    sidecar,
)
from sciinterp.store.ledger import TIMINGS, checksums, is_ledger, is_store_manifest, read_ledger, require_kept
from sciinterp.store.lock import LOCK
from sciinterp.store.origins import TRAINING, training_sha256
from sciinterp.store.reader import require_record
from sciinterp.store.samples_file import SAMPLES, load_samples
from sciinterp.store.sealed import check_sealed

# The files of an SAE, as sciinterp.sae.weights names them: no torch is imported here.
CONFIG, ARRAYS, METRICS = "cfg.json", "sae_weights.safetensors", "metrics.json"
Check = tuple[Path, Callable[[Path], object]]


def verify(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """Check every file with a checksum in a folder and in the folders below it.

    Parameters
    ----------
    folder : path
        A store of activations, of codes, an SAE, or a run folder that holds them.

    Returns
    -------
    DataFrame
        One row a file: ``file``, ``bytes``, ``status`` (``ok``, or ``unchecked`` where no checksum is kept: reports,
        figures, the browser, logs, tables of an SAE).

    Raises
    ------
    StoreError
        Something is damaged, missing or unfinished, or the folder holds nothing of ours; all are named.
    """
    files = check_files(folder)
    wrong = files[files["status"] == "damaged"]
    if len(wrong):
        named = [f"{file} ({why})" for file, why in zip(wrong["file"], wrong["detail"])]
        raise StoreError(
            f"{len(wrong)} of {int((files['status'] != 'unchecked').sum())} files are damaged, missing or unfinished",
            where=f"folder {str(Path(folder))!r}",
            got="; ".join(named[:8]) + (" ..." if len(named) > 8 else ""),
            do="Remove what is damaged and run the step again, or restore it from a copy.",
        )
    return files.drop(columns="detail")


def check_files(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """As :func:`verify`, with what is damaged in the table instead of an error.

    Parameters
    ----------
    folder : path

    Returns
    -------
    DataFrame
        One row a file: ``file``, ``bytes``, ``status`` (``ok``, ``damaged`` or ``unchecked``), and ``detail``, what is
        wrong with a damaged one (which may be missing).

    Raises
    ------
    StoreError
        The folder holds nothing of ours.
    """
    root = Path(folder)
    if not root.is_dir():
        raise StoreError("there is no such folder", where=f"folder {str(root)!r}")
    rows: dict[str, Plain] = {}
    for place in sorted({root, *(path.parent for path in root.rglob("*"))}):
        for path, check in _checks(place):
            name, wrong = path.relative_to(root).as_posix(), ""
            try:
                check(path)
            except (SciinterpError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
                wrong = str(getattr(error, "what", error))
            # The ledger of a run names files that a store vouches for too: one row, and one fault is enough.
            if name not in rows or wrong:
                rows[name] = _row(path, name, "damaged" if wrong else "ok", wrong)
    if not rows:
        raise StoreError(
            "nothing to verify here", where=f"folder {str(root)!r}", expected="a store or a run folder"
        )
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        if name not in rows and path.name != LOCK and not path.name.startswith(TEMPORARY_PREFIX):
            rows[name] = _row(path, name, "unchecked")
    return pd.DataFrame(list(rows.values()), columns=["file", "bytes", "status", "detail"])


def _row(path: Path, name: str, status: str, detail: str = "") -> Plain:
    size = path.stat().st_size if path.is_file() else 0
    return {"file": name, "bytes": size, "status": status, "detail": detail}


def summarise_files(files: pd.DataFrame) -> pd.DataFrame:
    """Folders of :func:`check_files` that hold more than sound files: how many are ok, unchecked and damaged.

    Examples
    --------
    >>> files = pd.DataFrame({"file": ["a.tsv", "sae/cfg.json", "sae/x"], "bytes": 1,
    ...                       "status": ["ok", "ok", "unchecked"]})
    >>> summarise_files(files)[["ok", "unchecked"]].to_dict("index")
    {'sae': {'ok': 1, 'unchecked': 1}}
    """
    place = files["file"].map(lambda name: name.rpartition("/")[0] or ".").rename("folder")
    counts = pd.crosstab(place, files["status"]).reindex(columns=["ok", "unchecked", "damaged"], fill_value=0)
    counts.columns.name = None
    counts = counts.assign(bytes=files.groupby(place)["bytes"].sum())
    return counts[counts["unchecked"] + counts["damaged"] > 0]


def is_store(folder: Path) -> bool:
    """Whether a folder holds a sharded store, finished or not; a plan alone can be that of a training run."""
    if _has(folder, OLD_HEAD, OLD_CODES):
        return False
    made = _has(folder, PLAN) and _has(folder, MANIFEST)
    return made or _has(folder, INDEX, SAMPLES) or is_store_manifest(folder / MANIFEST)


def _has(folder: Path, *names: str) -> bool:
    return any((folder / name).is_file() for name in names)


def _checks(folder: Path) -> Iterator[Check]:
    """Every file that a folder vouches for, with the function that raises when it is not what was written."""
    if is_store(folder):
        yield from _store_checks(folder)
    elif _has(folder, OLD_HEAD, OLD_CODES):
        yield folder / OLD_CODES, lambda _: read_old_codes(folder)
        yield folder / OLD_HEAD, read_json
        yield folder / SAMPLES, lambda _: load_samples(folder)
        yield from _training_check(folder, OLD_HEAD, "identity")
    elif _has(folder, CONFIG, ARRAYS):
        yield from _sae_checks(folder)
    elif is_ledger(folder) or _has(folder, TIMINGS):
        yield from _ledger_checks(folder)
    else:
        yield from ((p, check_kept) for p in sorted(folder.glob("*.json")) if p.is_file() and is_kept(p))


def _ledger_checks(folder: Path) -> Iterator[Check]:
    """The ledger of a run, and what it names; runs older than 0.2.0 name nothing."""
    kept: dict[str, str] = {}

    def whole(_: Path) -> None:
        require_kept(folder)
        kept.update(checksums(read_ledger(folder)))

    yield folder / MANIFEST, whole
    for name, sha256 in kept.items():
        yield folder / name, _file_check(sha256)


def _store_checks(folder: Path) -> Iterator[Check]:
    manifest: Plain = {}

    def whole(_: Path) -> None:
        manifest.update(read_manifest(folder))

    yield folder / MANIFEST, whole
    if not manifest:
        return
    plan = manifest["plan_sha256"]
    yield folder / PLAN, lambda path: check_sha256(path, plan)
    yield folder / INDEX, lambda path: load_arrays(path, sha256=manifest["index_sha256"])
    yield folder / SAMPLES, lambda _: load_samples(folder, sha256=manifest["samples_sha256"])
    sparse = manifest["schema"] == SPARSE.name
    if sparse and (sha256 := training_sha256(manifest["extra"].get("origin") or {})):
        yield folder / TRAINING, _file_check(sha256)
    for number, record in enumerate(manifest["shards"]):
        yield folder / shard_name(number), _codes_check(number) if sparse else _file_check(record["sha256"])
        yield sidecar(folder, number), partial(require_record, number, plan, record)


def _codes_check(number: int) -> Callable[[Path], object]:
    """A shard of codes has to hold the same codes in both orders, beside its checksum."""
    return lambda path: CodesReader(path.parent).require_same_orders(number)


def _file_check(sha256: str) -> Callable[[Path], object]:
    return lambda path: check_sha256(path, sha256)


def _training_check(folder: Path, head: str, *keys: str) -> Iterator[Check]:
    """The file beside an origin; a head that cannot be read is reported as itself."""
    with contextlib.suppress(SciinterpError, AttributeError, KeyError, TypeError):
        record = read_json(folder / head)
        for key in keys:
            record = record[key]
        if sha256 := training_sha256(record):
            yield folder / TRAINING, _file_check(sha256)


def _sae_checks(folder: Path) -> Iterator[Check]:
    """An SAE made here; of one that another package wrote only the form can be checked."""
    ours: Plain = {}

    def config(path: Path) -> None:
        values = read_json(path)
        ours.update((values.get("metadata") or {}).get("sciinterp") or {})
        check_sealed(path, values, required="measured" in ours)

    def weights(path: Path) -> None:
        read_header(path)
        if kept := ours.get("weights_sha256"):
            check_sha256(path, kept)

    yield folder / CONFIG, config
    if _has(folder, METRICS) or ours.get("measured"):
        yield (
            folder / METRICS,
            lambda path: check_sealed(path, read_json(path), required="measured" in ours),
        )
    yield from _training_check(folder, CONFIG, "metadata", "sciinterp", "identity")
    if ours or _has(folder, ARRAYS):
        yield folder / ARRAYS, weights
