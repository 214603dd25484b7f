"""The ledger of a run folder: which stage made which files, from what, with the checksum of each.

``manifest.json`` of the folder holds, for every stage, its settings, the digests of its inputs and the sha256 of its
outputs; it is sealed by a sha256 of its own. A verb with ``out=`` writes its entry whether it is called from the
command line, from a notebook or by ``sciinterp run``; report and browser read what is there. Seconds and memory,
which differ from run to run, are lines of ``timings.jsonl``.

Activations, an SAE, codes and a control are folders of a run folder under their stage's own name (:data:`PLACES`);
under another name they are folders of their own, and no ledger is kept of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sciinterp import __version__, distributed
from sciinterp.errors import StoreError, no_such
from sciinterp.settings import Plain
from sciinterp.store.atomic import (
    read_json,
    remove,
    remove_temporaries,
    require_place,
    sha256_file,
    to_json,
)
from sciinterp.store.sealed import SEAL, seal, write_sealed

log = logging.getLogger(__name__)

# What only a ledger holds, and what only the manifest of a store holds.
_WORDS = (b'"stages"', b'"settings"', b'"complete"', b'"outputs"', b'"needs"', b'"licences"')
_STORE = (b'"sciinterp.store"', b'"sciinterp.activations"')

VERSION, NAME, TIMINGS = 2, "manifest.json", "timings.jsonl"
# Seconds after which a temporary that nobody writes to is what a killed verb left.
_IDLE = 3600.0


@dataclass(frozen=True)
class Stage:
    """One stage of a run: where its outputs lie, and which of them the ledger vouches for.

    Attributes
    ----------
    name : str
    place : str
        Folder of the outputs below the run folder; empty where they lie in the run folder itself.
    files : tuple of str
        Patterns of the outputs, relative to the run folder. A store is vouched for by its own manifest.
    needs : tuple of str
        Stages whose outputs it reads.
    read : bool
        Whether a later stage or a loader reads them; pages and pictures are for people.
    """

    name: str
    place: str
    files: tuple[str, ...]
    needs: tuple[str, ...] = ()
    read: bool = True


_SAE = ("cfg.json", "sae_weights.safetensors", "metrics.json", "training.jsonl", "training.safetensors")
_CONTROL = (
    "manifest.json",
    "activations/manifest.json",
    *(f"sae/{n}" for n in _SAE),
    "features/manifest.json",
)
STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("extract", "activations", ("activations/manifest.json",)),
        Stage("train", "sae", tuple(f"sae/{name}" for name in _SAE), ("extract",)),
        Stage("encode", "features", ("features/manifest.json",), ("train",)),
        Stage("control", "control", tuple(f"control/{name}" for name in _CONTROL), ("train",)),
        Stage(
            "twins",
            "twins",
            tuple(f"twins/*/{name}" for name in (*_SAE, "manifest.json", "features/manifest.json")),
            ("train",),
        ),
        Stage(
            "associate",
            "",
            tuple("annotations*.tsv split.tsv hits.* enrichment.tsv features.h5ad samples.h5ad".split()),
            ("encode", "control", "twins"),
        ),
        Stage("discover", "", ("candidates.tsv", "candidates.json"), ("associate",)),
        Stage("turn", "", ("turning.tsv", "turning.json"), ("associate",)),
        Stage("readout", "", ("readout.tsv", "readout.json"), ("encode", "associate")),
        Stage("assay", "", ("assay.tsv", "assay.json"), ("train",)),
        Stage("variants", "", ("variants.tsv", "variants.json"), ("train",)),
        Stage("full", "", ("full.json", "full/candidates.*"), ("discover",)),
        Stage("report", "", ("report.html", "report.json", "figures/*"), ("associate",), read=False),
        Stage("browse", "", ("browser/*", "browser/data/*", "browser/viewer/*"), ("associate",), read=False),
    )
}


def folder_of(stage: str, out: Path) -> Path | None:
    """The run folder that ``out`` of a stage belongs to; None where it stands alone.

    Examples
    --------
    >>> folder_of("train", Path("runs/ab/sae")).as_posix(), folder_of("train", Path("runs/mine"))
    ('runs/ab', None)
    """
    place = STAGES[stage].place
    if not place:
        return out
    return out.parent if out.name == place else None


@contextmanager
def recorded(
    stage: str,
    out: str | Path | None,
    *,
    settings: Mapping[str, object] | None = None,
    inputs: Mapping[str, object] | None = None,
) -> Iterator[None]:
    """Time a stage while open, and write its entry when it has ended well.

    Parameters
    ----------
    stage : str
        A key of :data:`STAGES`.
    out : path or None
        Where the stage writes; nothing is recorded for None, or outside a run folder.
    settings, inputs : mapping, optional
        What it is a function of: plain values, and digests of what it reads.
    """
    if stage not in STAGES:
        raise no_such("stage", stage, STAGES)
    if out is not None and distributed.first():
        require_place(out)
    folder = None if out is None else folder_of(stage, Path(out))
    if folder is None:
        yield
        return
    started = time.perf_counter()
    log.info("%s ...", stage)
    yield
    if distributed.first():
        _record(folder, stage, settings or {}, inputs or {}, started)
    distributed.meet()


def _record(
    folder: Path, stage: str, settings: Mapping[str, object], inputs: Mapping[str, object], started: float
) -> None:
    remove_temporaries(folder, idle=_IDLE)
    ours = is_ledger(folder) or (folder.is_dir() and not (folder / NAME).is_file())
    if ours and _enter(folder, stage, settings, inputs):
        _time(folder, stage, time.perf_counter() - started)


@contextmanager
def timed(folder: Path, name: str) -> Iterator[None]:
    """Append seconds and peak memory of what is done while open to ``timings.jsonl``."""
    started = time.perf_counter()
    log.info("%s ...", name)
    yield
    _time(folder, name, time.perf_counter() - started)


def is_ledger(folder: str | Path) -> bool:
    """Whether the manifest of a folder is that of a run, damaged or not: another's, or a store's, is not ours to judge."""
    path = Path(folder) / NAME
    if not path.is_file():
        return False
    raw = path.read_bytes()
    # Two of them, so that one damaged byte does not turn a ledger into a file of somebody else.
    return not is_store_manifest(path) and sum(word in raw for word in _WORDS) > 1


def is_store_manifest(path: Path) -> bool:
    """Whether a manifest is that of a store, which vouches for its own files."""
    return path.is_file() and any(word in path.read_bytes() for word in _STORE)


def _enter(folder: Path, stage: str, settings: Mapping[str, object], inputs: Mapping[str, object]) -> bool:
    """Write a stage's entry; False where it is there already, word for word."""
    manifest = read_ledger(folder)
    entry = {
        "settings": plain(settings),
        "inputs": plain(inputs),
        "needs": _needed(manifest["stages"], stage),
        "outputs": {name: sha256_file(folder / name) for name in outputs(folder, stage)},
    }
    if manifest["stages"].get(stage) == entry:
        return False
    manifest["stages"][stage] = entry
    write_ledger(folder, manifest)
    return True


def outputs(folder: Path, stage: str) -> list[str]:
    """Names, relative to the folder, of the outputs of a stage that are there."""
    found: list[str] = []
    for pattern in STAGES[stage].files:
        paths = sorted(p for p in folder.glob(pattern) if p.is_file() and not p.name.startswith("."))
        found += [p.relative_to(folder).as_posix() for p in paths]
    return found


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Package -> version; of this one as it runs, which is not always what was installed."""
    return {p: __version__ if p == "sciinterp" else metadata.version(p) for p in packages}


def read_ledger(folder: str | Path) -> Plain:
    """The manifest of a run folder, checked against its seal; an empty one where there is none.

    Raises
    ------
    StoreError
        It is damaged, or of a newer version.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        return {"version": VERSION, "stages": {}}
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("version"), int):
        raise StoreError("this is not the manifest of a run", where=f"file '{path}'")
    if found["version"] > VERSION:
        raise StoreError(
            "this run was made by a newer sciinterp",
            where=f"folder '{folder}'",
            expected=f"version {VERSION}",
            got=str(found["version"]),
            do="Update sciinterp.",
        )
    if (found["version"] > 1 or SEAL in found) and seal(found) != found:
        raise StoreError(
            "the manifest is damaged",
            where=f"file '{path}'",
            do="Restore it from a copy, or run the stages again.",
        )
    stages = found.get("stages")
    return {**found, "stages": stages if isinstance(stages, dict) else {}}


def read_stages(folder: str | Path) -> Plain:
    """The stages a folder's ledger names; none where its manifest is something else's, or missing."""
    folder = Path(folder)
    return read_ledger(folder)["stages"] if is_ledger(folder) else {}


def write_ledger(folder: Path, manifest: Mapping[str, object]) -> None:
    """Write the manifest with its seal."""
    write_sealed(folder / NAME, plain({**manifest, "version": VERSION}))


def forget(folder: Path) -> None:
    """Remove the files of all stages but stores and SAEs, whose own writers replace them, and the stages themselves."""
    kept = [STAGES[name].place for name in ("extract", "train", "encode", "control", "twins")]
    for name in checksums(read_ledger(folder)):
        if name.partition("/")[0] not in kept and (folder / name).is_file():
            remove(folder / name)
    write_ledger(folder, {})


def is_done(folder: str | Path, stage: str) -> bool:
    """Whether a stage has ended, its outputs are what was written, and the stages it needs have not changed since."""
    folder = Path(folder)
    stages = read_ledger(folder)["stages"]
    entry = stages.get(stage)
    if entry is None or entry["needs"] != _needed(stages, stage):
        return False
    found = {name: sha256_file(folder / name) for name in outputs(folder, stage)}
    return found == entry["outputs"]


def _needed(stages: Plain, stage: str) -> dict[str, str]:
    """Stage -> digest of the outputs that this one was made from."""
    made = {need: stages[need]["outputs"] for need in STAGES[stage].needs if need in stages}
    return {need: hashlib.sha256(to_json(files)).hexdigest() for need, files in made.items()}


def read_files(folder: str | Path) -> list[str]:
    """The tables and records that verbs read, as the ledger of a folder names them.

    Weights and stores are left to their own checksums; of a folder that was removed whole nothing is named.
    """
    folder, manifest = Path(folder), read_ledger(folder)
    for_people = {name for name, stage in STAGES.items() if not stage.read}
    pages = {n for name, e in manifest["stages"].items() if name in for_people for n in e["outputs"]}
    return [
        name
        for name in checksums(manifest)
        if name.endswith((".tsv", ".json", ".jsonl"))
        and name not in pages
        and (folder / name).parent.exists()
    ]


def checksums(manifest: Plain) -> dict[str, str]:
    """File name -> sha256 of everything a manifest vouches for, of version 1 too."""
    found = dict(manifest.get("files") or {})
    for entry in (manifest.get("stages") or {}).values():
        found |= entry.get("outputs") or {}
    return found


def require_kept(folder: str | Path) -> None:
    """Raise where a folder has the times of its stages and has lost its ledger.

    Raises
    ------
    StoreError
    """
    path = Path(folder) / NAME
    if not path.is_file() and (Path(folder) / TIMINGS).is_file():
        raise StoreError(
            "the manifest is missing",
            where=f"file '{path}'",
            do="Restore it from a copy, or run the stages again.",
        )


def require_intact(folder: str | Path, *names: str) -> None:
    """Raise unless these files are what the ledger of the folder says; files it does not name pass, and no ledger too.

    Raises
    ------
    StoreError
        One is damaged, or missing though the ledger names it.
    """
    folder = Path(folder)
    require_kept(folder)
    kept = checksums(read_ledger(folder)) if is_ledger(folder) else _kept_above(folder)
    for name in names:
        if name not in kept:
            continue
        path = folder / name
        if not path.is_file() or sha256_file(path) != kept[name]:
            raise StoreError(
                "a file is damaged" if path.is_file() else "a file is missing",
                where=f"file '{path}'",
                expected=f"sha256 {kept[name][:12]}",
                got=f"sha256 {sha256_file(path)[:12]}" if path.is_file() else "none",
                do="Run its stage again, or restore it from a copy.",
            )


def _kept_above(folder: Path) -> dict[str, str]:
    """What the ledger of the run folder above says of a folder inside it that has none, such as ``full``."""
    above, inside = folder.absolute().parent, f"{folder.absolute().name}/"
    kept = checksums(read_ledger(above)) if is_ledger(above) else {}
    return {name.removeprefix(inside): digest for name, digest in kept.items() if name.startswith(inside)}


def plain(value: Mapping[str, object]) -> Plain:
    """The object as its file returns it, so that a comparison after reading is exact: NaN comes back as null."""
    return json.loads(json.dumps(value, sort_keys=True, default=str), parse_constant=lambda _: None)


def _time(folder: Path, stage: str, seconds: float) -> None:
    """A line of seconds and peak memory."""
    import resource

    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    record = {"stage": stage, "seconds": round(seconds, 2), "peak_mib": peak}
    with open(folder / TIMINGS, "a", encoding="utf-8") as handle:
        handle.write(json.dumps(record) + "\n")
    log.info("%s: %.1f s, peak memory %d MiB", stage, seconds, peak)
