"""Say what a folder holds."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from sciinterp.errors import StoreError
from sciinterp.provenance import UNKNOWN
from sciinterp.settings import Plain
from sciinterp.store.atomic import read_json
from sciinterp.store.layout import (
    DENSE,
    MANIFEST,
    OLD_HEAD,
    PLAN,
    VERSION,
    read_manifest,
    schema_of,
    sidecar,
)
from sciinterp.store.ledger import is_ledger
from sciinterp.store.tables import read_tsv
from sciinterp.store.verify import is_store

# The file that tells a folder, and what the folder then holds.
HEADS = {
    "features.json": "codes",
    "cfg.json": "sparse autoencoder",
    MANIFEST: "run",
    "hits.context.json": "associations",
}
FASTA = (".fasta", ".fa", ".faa", ".fna")
SWEEPS = {"sweep.tsv": "sweep of SAEs", "sites.tsv": "sweep of sites", "scaling.fits.tsv": "scaling of SAEs"}


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
    if is_store(root):
        return _activation_info(root)
    for head, kind in HEADS.items():
        if (root / head).is_file():
            found = read_json(root / head)
            return {"kind": kind, "folder": str(root), **_flat(found if isinstance(found, dict) else {})}
    for name, kind in SWEEPS.items():
        if (root / name).is_file():
            table = read_tsv(root / name, text=("name", "site"))
            return {"kind": kind, "folder": str(root), **_sweep_info(table)}
    raise StoreError(
        "this is not a folder of sciinterp",
        where=f"folder {str(root)!r}",
        expected=f"one of {', '.join((PLAN, *HEADS, *SWEEPS))}",
    )


def kind_of(path: str | os.PathLike[str]) -> str:
    """What lies at a path, in words, where the names of its files tell; empty where they do not.

    Examples
    --------
    >>> kind_of("proteins.fasta.gz"), kind_of("Table.tsv")
    ('a file of sequences', '')
    """
    place = Path(path)
    if not place.is_dir():
        stem = place.name.lower().removesuffix(".gz").removesuffix(".bgz")
        return "a file of sequences" if stem.endswith(FASTA) else ""
    if (place / "sae_weights.safetensors").is_file():
        return "an SAE"
    if (place / OLD_HEAD).is_file():
        return "a store of codes"
    if is_store(place):
        schema = schema_of(place)
        return f"a store of {schema.holds}" if schema else ""
    return "the folder of a run" if is_ledger(place) else ""


def _sweep_info(table: pd.DataFrame) -> dict[str, str]:
    """One line an SAE, a site or a term of a law, and for SAEs which has the shortest description."""
    if "term" in table:
        return {
            f"{row['reader']}, {row['term']}": f"error {row['error']:.4f} [{row['error_low']:.4f}, {row['error_high']:.4f}]"
            for row in table.to_dict("records")
        }
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
    shards, identity = len(plan.get("shards", [])) - 1, plan.get("identity", {})
    told = ("model", "weights_sha256", "randomised_seed", "site", "norm", "precision")
    out = {
        "kind": schema.holds,
        "folder": str(root),
        "format version": f"{plan.get('version')} (newest known {VERSION})",
        **{name: str(identity.get(name, UNKNOWN)) for name in told},
        "samples": f"{plan['samples']['n']:,}",
        "positions": f"{plan['samples']['positions']:,}",
        "width" if schema is DENSE else "features": str(plan.get(schema.width)),
        "kept as": str(plan.get("dtype")),
    }
    if schema is DENSE:
        out["padding"] = f"{plan.get('padding', 0):.1%}"
    if not (root / MANIFEST).is_file():
        done = sum(sidecar(root, k).is_file() for k in range(shards))
        return {**out, "finished": f"no, {done} of {shards} shards"}
    manifest = read_manifest(root)
    out |= {
        "finished": "yes",
        "shards": str(shards),
        f"{schema.unit}s": f"{manifest[f'n_{schema.unit}s']:,}",
        "bytes": f"{sum(p.stat().st_size for p in root.iterdir() if p.is_file()):,}",
        "skipped samples": str(len(manifest["skipped"])),
    }
    if (error := manifest["extra"].get("precision_error")) is not None:
        out["precision error"] = f"{error:.2e} of the activations' standard deviation"
    return out


def _flat(facts: Plain, prefix: str = "") -> dict[str, str]:
    out: dict[str, str] = {}
    for name, value in facts.items():
        if isinstance(value, dict) and value and not prefix:
            out |= _flat(value, f"{name}.")
        else:
            text = str(value)
            out[prefix + str(name)] = text if len(text) <= 100 else f"{text[:97]}..."
    return out
