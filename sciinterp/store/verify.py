"""Check every checksum below a folder, and say what a folder holds."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from sciinterp.errors import SciinterpError, StoreError
from sciinterp.provenance import UNKNOWN
from sciinterp.store.arrays import check_sha256, load_arrays, read_header
from sciinterp.store.atomic import TEMPORARY_PREFIX, read_json, to_json
from sciinterp.store.layout import (
    DENSE,
    INDEX,
    MANIFEST,
    PLAN,
    SPARSE,
    VERSION,
    read_manifest,
    schema_of,
    shard_name,
    sidecar,
)
from sciinterp.store.ledger import checksums
from sciinterp.store.lock import LOCK
from sciinterp.store.origins import TRAINING, training_sha256
from sciinterp.store.samples_file import SAMPLES, load_samples
from sciinterp.store.sealed import verify_sealed
from sciinterp.store.sparse import CodesReader
from sciinterp.store.tables import read_tsv

_HEADS = (PLAN, "features.json", "cfg.json")
FILES, SEAL = "files", "sha256"
SWEEPS = {"sweep.tsv": "sweep of SAEs", "sites.tsv": "sweep of sites"}


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
    rows: list[dict[str, Any]] = []
    for place in _stores(root):
        for path, check in _checks(place):
            name = path.relative_to(root).as_posix()
            try:
                check(path)
            except (SciinterpError, OSError, KeyError, TypeError, ValueError) as error:
                rows.append(_row(path, name, "damaged", str(getattr(error, "what", error))))
                continue
            rows.append(_row(path, name, "ok"))
    checked = {row["file"] for row in rows}
    if not rows:
        raise StoreError(
            "nothing to verify here", where=f"folder {str(root)!r}", expected="a store or a run folder"
        )
    others = sorted(
        p for p in root.rglob("*") if p.is_file() and p.relative_to(root).as_posix() not in checked
    )
    for path in others:
        name = path.relative_to(root).as_posix()
        if path.name != LOCK and not path.name.startswith(TEMPORARY_PREFIX):
            rows.append(_row(path, name, "unchecked"))
    return pd.DataFrame(rows, columns=["file", "bytes", "status", "detail"])


def _row(path: Path, name: str, status: str, detail: str = "") -> dict[str, Any]:
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


def _seal(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(to_json({k: v for k, v in manifest.items() if k != SEAL})).hexdigest()


def _run_checks(folder: Path) -> Iterator[tuple[Path, Callable[[Path], Any]]]:
    """The manifest of a finished run, and the tables it names; runs older than 0.2.0 name none."""
    kept: dict[str, str] = {}

    def whole(path: Path) -> None:
        manifest = read_json(path)
        if not isinstance(manifest, dict) or manifest.get(SEAL) != _seal(manifest):
            raise StoreError("the manifest is damaged", where=f"file {str(path)!r}")
        kept.update(checksums(manifest))

    yield folder / MANIFEST, whole
    for name, sha256 in kept.items():
        yield folder / name, _file_check(sha256)


def _is_sealed(folder: Path) -> bool:
    """A manifest that is neither that of a store nor of a run without checksums; a damaged one counts."""
    if _is_activations(folder) or not _has(folder, MANIFEST) or _has(folder, PLAN):
        return False
    try:
        manifest = read_json(folder / MANIFEST)
    except (SciinterpError, OSError, ValueError):
        return True
    return isinstance(manifest, dict) and bool({FILES, SEAL} & set(manifest))


def _stores(root: Path) -> list[Path]:
    found = {path.parent for head in (*_HEADS, MANIFEST) for path in root.rglob(head)}
    return sorted(
        folder
        for folder in found
        if _is_activations(folder) or _has(folder, "features.json", "cfg.json") or _is_sealed(folder)
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
    if _is_sealed(folder):
        yield from _run_checks(folder)
    if (folder / "features.json").is_file():
        yield folder / "features.json", read_json
        yield (
            folder / "codes.safetensors",
            lambda path: check_sha256(path, read_json(folder / "features.json")["sha256"]),
        )
        yield folder / SAMPLES, lambda _: load_samples(folder)
        yield from _training_check(folder, "features.json", "identity")
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
    sparse = manifest["schema"] == SPARSE.name
    if sparse and (sha256 := training_sha256(manifest["extra"].get("origin") or {})):
        yield folder / TRAINING, _file_check(sha256)
    for number, record in enumerate(manifest["shards"]):
        yield folder / shard_name(number), _codes_check(number) if sparse else _file_check(record["sha256"])
        yield sidecar(folder, number), _record_check(number, plan, record)


def _codes_check(number: int) -> Callable[[Path], Any]:
    """A shard of codes has to hold the same codes in both orders, beside its checksum."""
    return lambda path: CodesReader(path.parent).require_same_orders(number)


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


def _training_check(folder: Path, head: str, *keys: str) -> Iterator[tuple[Path, Callable[[Path], Any]]]:
    """The file beside an origin; a head that cannot be read is reported as itself."""
    with contextlib.suppress(SciinterpError, AttributeError, KeyError, TypeError):
        record = read_json(folder / head)
        for key in keys:
            record = record[key]
        if sha256 := training_sha256(record):
            yield folder / TRAINING, _file_check(sha256)


def _sae_checks(folder: Path) -> Iterator[tuple[Path, Callable[[Path], Any]]]:
    def weights(path: Path) -> None:
        ours = (read_json(folder / "cfg.json").get("metadata") or {}).get("sciinterp") or {}
        kept = ours.get("weights_sha256")
        if kept:
            check_sha256(path, kept)
        else:
            read_header(path)

    yield folder / "cfg.json", verify_sealed
    if (folder / "metrics.json").is_file():
        yield folder / "metrics.json", verify_sealed
    yield from _training_check(folder, "cfg.json", "metadata", "sciinterp", "identity")
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
    for head, kind in (
        ("features.json", "codes"),
        ("cfg.json", "sparse autoencoder"),
        (MANIFEST, "run"),
        ("hits.context.json", "associations"),
    ):
        if (root / head).is_file():
            facts = read_json(root / head)
            return {"kind": kind, "folder": str(root), **_flat(facts if isinstance(facts, dict) else {})}
    for table, kind in SWEEPS.items():
        if (root / table).is_file():
            return {
                "kind": kind,
                "folder": str(root),
                **_sweep_info(read_tsv(root / table, text=("name", "site"))),
            }
    raise StoreError(
        "this is not a folder of sciinterp",
        where=f"folder {str(root)!r}",
        expected=f"one of {', '.join((*_HEADS, MANIFEST, 'hits.context.json', *SWEEPS))}",
    )


def _sweep_info(table: pd.DataFrame) -> dict[str, str]:
    """One line an SAE or a site, and for SAEs which has the shortest description."""
    name = "name" if "name" in table else "site"
    out = {"SAEs": str(len(table))}
    for row in table.to_dict("records"):
        out[str(row[name])] = f"variance explained {row['fve']:.4f}, L0 {row['l0']:.1f}" + (
            f", description length {row['mdl']:.1f} bits a token"
            if "mdl" in row
            else f", {row['sae']} concepts"
        )
    if "mdl" in table:
        out["shortest description"] = str(table.loc[table["mdl"].idxmin(), name])
    return out


def _activation_info(root: Path) -> dict[str, str]:
    plan = read_json(root / PLAN)
    schema = schema_of(root)
    if schema is None:
        raise StoreError("this is not a store of activations", where=f"folder {str(root)!r}")
    shards = len(plan.get("shards", [])) - 1
    out = {
        "kind": schema.holds,
        "folder": str(root),
        "format version": f"{plan.get('version')} (newest known {VERSION})",
    }
    identity = plan.get("identity", {})
    for name in ("model", "weights_sha256", "randomised_seed", "site", "norm", "precision"):
        out[name] = str(identity.get(name, UNKNOWN))
    out |= {"samples": f"{plan['samples']['n']:,}", "positions": f"{plan['samples']['positions']:,}"}
    out |= {
        "width" if schema is DENSE else "features": str(plan.get(schema.width)),
        "kept as": str(plan.get("dtype")),
    }
    if schema is DENSE:
        out["padding"] = f"{plan.get('padding', 0):.1%}"
    if not (root / MANIFEST).is_file():
        done = sum(sidecar(root, k).is_file() for k in range(shards))
        return {**out, "finished": f"no, {done} of {shards} shards"}
    manifest = read_manifest(root)
    size = sum(p.stat().st_size for p in root.iterdir() if p.is_file())
    out |= {
        "finished": "yes",
        "shards": str(shards),
        f"{schema.unit}s": f"{manifest[f'n_{schema.unit}s']:,}",
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
