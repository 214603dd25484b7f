"""Check every checksum below a folder, and say what a folder holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from sciinterp.errors import SciinterpError, StoreError
from sciinterp.store.arrays import SAMPLES, check_sha256, load_arrays, load_samples, read_header
from sciinterp.store.atomic import TEMPORARY_PREFIX, read_json, to_json
from sciinterp.store.layout import FORMAT, INDEX, MANIFEST, PLAN, VERSION, read_manifest, shard_name, sidecar
from sciinterp.store.lock import LOCK

_HEADS = (PLAN, "features.json", "cfg.json")


def verify(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """Check every file with a checksum in a folder and in the folders below it.

    Parameters
    ----------
    folder : path
        A store of activations, of codes, an SAE, or a run folder that holds them.

    Returns
    -------
    DataFrame
        One row a file: ``file``, ``bytes``, ``status`` (``ok``, or ``unchecked`` where no checksum is kept).

    Raises
    ------
    StoreError
        Something is damaged, missing or unfinished, or the folder holds nothing of ours; all are named.
    """
    root = Path(folder)
    if not root.is_dir():
        raise StoreError("there is no such folder", where=f"folder {str(root)!r}")
    rows: list[dict[str, Any]] = []
    wrong: list[str] = []
    for place in _stores(root):
        for path, check in _checks(place):
            name = path.relative_to(root).as_posix()
            try:
                check(path)
            except (SciinterpError, OSError, KeyError, TypeError, ValueError) as error:
                wrong.append(f"{name} ({getattr(error, 'what', error)})")
                continue
            rows.append({"file": name, "bytes": path.stat().st_size, "status": "ok"})
    checked = {row["file"] for row in rows}
    if not rows and not wrong:
        raise StoreError(
            "nothing to verify here", where=f"folder {str(root)!r}", expected="a store or a run folder"
        )
    if wrong:
        raise StoreError(
            f"{len(wrong)} of {len(rows) + len(wrong)} files are damaged, missing or unfinished",
            where=f"folder {str(root)!r}",
            got="; ".join(wrong[:8]) + (" ..." if len(wrong) > 8 else ""),
            do="Remove what is damaged and run the step again, or restore it from a copy.",
        )
    others = sorted(
        p for p in root.rglob("*") if p.is_file() and p.relative_to(root).as_posix() not in checked
    )
    for path in others:
        name = path.relative_to(root).as_posix()
        if path.name != LOCK and not path.name.startswith(TEMPORARY_PREFIX):
            rows.append({"file": name, "bytes": path.stat().st_size, "status": "unchecked"})
    return pd.DataFrame(rows, columns=["file", "bytes", "status"])


def _stores(root: Path) -> list[Path]:
    found = {path.parent for head in _HEADS for path in root.rglob(head)}
    return sorted(
        folder for folder in found if _is_activations(folder) or _has(folder, "features.json", "cfg.json")
    )


def _has(folder: Path, *names: str) -> bool:
    return any((folder / name).is_file() for name in names)


def _is_activations(folder: Path) -> bool:
    """A plan alone can be that of a training run."""
    return _has(folder, PLAN) and _has(folder, SAMPLES, INDEX, MANIFEST)


def _checks(folder: Path) -> Iterator[tuple[Path, Callable[[Path], Any]]]:
    """Every file of one store with the function that raises when it is not what was written."""
    if _is_activations(folder):
        yield from _activation_checks(folder)
    if (folder / "features.json").is_file():
        yield folder / "features.json", read_json
        yield (
            folder / "codes.safetensors",
            lambda path: check_sha256(path, read_json(folder / "features.json")["sha256"]),
        )
        yield folder / SAMPLES, lambda _: load_samples(folder)
    if (folder / "cfg.json").is_file():
        yield from _sae_checks(folder)


def _activation_checks(folder: Path) -> Iterator[tuple[Path, Callable[[Path], Any]]]:
    manifest: dict[str, Any] = {}

    def whole(_: Path) -> None:
        manifest.update(read_manifest(folder))

    yield folder / MANIFEST, whole
    if not manifest:
        return
    plan = manifest["plan_sha256"]
    yield folder / PLAN, lambda path: check_sha256(path, plan)
    yield folder / INDEX, lambda path: load_arrays(path, sha256=manifest["index_sha256"])
    yield folder / SAMPLES, lambda _: load_samples(folder, sha256=manifest["samples_sha256"])
    for number, record in enumerate(manifest["shards"]):
        yield folder / shard_name(number), _file_check(record["sha256"])
        yield sidecar(folder, number), _record_check(number, plan, record)


def _file_check(sha256: str) -> Callable[[Path], Any]:
    return lambda path: check_sha256(path, sha256)


def _record_check(number: int, plan: str, record: dict[str, Any]) -> Callable[[Path], Any]:
    """A record has to say what the manifest says, in its canonical bytes."""

    def check(path: Path) -> None:
        found = read_json(path)
        facts = {**record, "shard": number, "plan": plan, "skipped": found["skipped"]}
        if path.read_bytes() != to_json(facts):
            raise StoreError("a record differs from the manifest", where=f"file {str(path)!r}")

    return check


def _sae_checks(folder: Path) -> Iterator[tuple[Path, Callable[[Path], Any]]]:
    def weights(path: Path) -> None:
        ours = (read_json(folder / "cfg.json").get("metadata") or {}).get("sciinterp") or {}
        kept = ours.get("weights_sha256")
        if kept:
            check_sha256(path, kept)
        else:
            read_header(path)

    yield folder / "cfg.json", read_json
    if (folder / "sae_weights.safetensors").is_file():
        yield folder / "sae_weights.safetensors", weights


def info(folder: str | os.PathLike[str]) -> dict[str, str]:
    """What a folder holds, as names and short texts; the rows themselves are not read or checked.

    Parameters
    ----------
    folder : path
        A store of activations (finished or not), of codes, an SAE, or a run folder.

    Raises
    ------
    StoreError
        The folder holds nothing of ours.
    """
    root = Path(folder)
    if _is_activations(root):
        return _activation_info(root)
    for head, kind in (("features.json", "codes"), ("cfg.json", "sparse autoencoder"), (MANIFEST, "run")):
        if (root / head).is_file():
            facts = read_json(root / head)
            return {"kind": kind, "folder": str(root), **_flat(facts if isinstance(facts, dict) else {})}
    raise StoreError("this is not a folder of sciinterp", where=f"folder {str(root)!r}",
                     expected=f"one of {', '.join((*_HEADS, MANIFEST))}")  # fmt: skip


def _activation_info(root: Path) -> dict[str, str]:
    plan = read_json(root / PLAN)
    if not isinstance(plan, dict) or plan.get("format") != FORMAT:
        raise StoreError("this is not a store of activations", where=f"folder {str(root)!r}")
    shards = len(plan.get("shards", [])) - 1
    out = {
        "kind": "activations",
        "folder": str(root),
        "format version": f"{plan.get('version')} (newest known {VERSION})",
    }
    for name in ("model", "weights_sha256", "randomised_seed", "site", "norm", "precision"):
        out[name] = str(plan.get("identity", {}).get(name))
    out |= {"samples": f"{plan['samples']['n']:,}", "positions": f"{plan['samples']['positions']:,}"}
    out |= {
        "width": str(plan.get("d_in")),
        "kept as": str(plan.get("dtype")),
        "padding": f"{plan.get('padding', 0):.1%}",
    }
    if not (root / MANIFEST).is_file():
        done = sum(sidecar(root, k).is_file() for k in range(shards))
        return {**out, "finished": f"no, {done} of {shards} shards"}
    manifest = read_manifest(root)
    size = sum(p.stat().st_size for p in root.iterdir() if p.is_file())
    out |= {
        "finished": "yes",
        "shards": str(shards),
        "tokens": f"{manifest['n_tokens']:,}",
        "bytes": f"{size:,}",
    }
    out["skipped samples"] = str(len(manifest["skipped"]))
    if manifest["extra"].get("precision_error") is not None:
        out["precision error"] = (
            f"{manifest['extra']['precision_error']:.2e} of the activations' standard deviation"
        )
    return out


def _flat(facts: dict[str, Any], prefix: str = "") -> dict[str, str]:
    out: dict[str, str] = {}
    for name, value in facts.items():
        if isinstance(value, dict) and value and not prefix:
            out |= _flat(value, f"{name}.")
        else:
            text = str(value)
            out[prefix + str(name)] = text if len(text) <= 100 else f"{text[:97]}..."
    return out
