"""Hits as files, and what belongs to them.

``hits.tsv`` and ``hits.parquet`` hold the same rows. Beside them ``hits.baselines.tsv`` has one row a concept and
baseline, ``hits.sets.tsv`` one a concept, reader, rule and size of set, and ``hits.context.json`` the settings, counts, caveats and what was not run or tested and why.
``annotations.tsv`` and ``split.tsv`` are what the hits were made with. Facts about whole samples are not hits: their
tests are in ``enrichment.tsv``. ``features.h5ad`` and ``samples.h5ad`` are for other tools
(:mod:`sciinterp.association.h5ad`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from sciinterp import distributed
from sciinterp.annotations import Annotations
from sciinterp.association.context import context_of
from sciinterp.association.enrichment import enrichment
from sciinterp.association.h5ad import write_features, write_samples
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import StoreError, require_kinds
from sciinterp.frames import Table
from sciinterp.samples import Split
from sciinterp.store.atomic import make_folder, read_json, write_each, write_json
from sciinterp.store.ledger import require_intact
from sciinterp.store.split_file import write_split
from sciinterp.store.tables import read_tsv, write_parquet, write_tsv

NAMES = ("hits.tsv", "hits.parquet", "hits.baselines.tsv", "hits.context.json")
_PLAIN = ("not_run", "not_tested", "held_out", "caveats", "belongs", "settings", "counts")
_TEXT = ("concept", "test", "best_baseline", "explained_by", "baseline", "detail", "reader", "rule", "units")
SETS = "hits.sets.tsv"


def write_hits(hits: Table, folder: str | Path) -> None:
    """Write hits and their context into a folder; the same hits give the same bytes."""
    require_kinds(hits=(hits, pd.DataFrame), folder=(folder, Path))
    write_each(folder, _hits_files(hits, Path(folder)), computed=hits)


def write_association(
    folder: str | Path,
    hits: Table,
    features: FeatureMatrix,
    annotations: Annotations,
    *,
    split: Split,
    seed: int = 0,
    shared: bool = False,
) -> None:
    """Write hits, the annotations and split they are of, enrichment and AnnData files, each on its own.

    `shared`: all ranks of a torchrun call this, and take the files in turn; by default who calls it writes
    them alone. When a file cannot be written all others are, and then StoreError says so.
    """
    require_kinds(folder=(folder, Path), hits=(hits, pd.DataFrame), features=(features, FeatureMatrix))
    require_kinds(annotations=(annotations, Annotations), split=(split, Split))
    folder = Path(folder)
    files: dict[str, Callable[[], object]] = {
        "annotations.tsv": lambda: annotations.write(folder / "annotations.tsv"),
        **_hits_files(hits, folder),
        "split.tsv": lambda: write_split(split, features.samples, folder / "split.tsv"),
        "enrichment.tsv": lambda: write_enrichment(features, annotations, folder, split=split, seed=seed),
        "features.h5ad": lambda: write_features(features, hits, folder / "features.h5ad"),
        "samples.h5ad": lambda: write_samples(features, hits, folder / "samples.h5ad"),
    }
    with nullcontext() if shared else distributed.alone():
        write_each(folder, files, computed=hits, shared=True)


def _hits_files(hits: Table, folder: Path) -> dict[str, Callable[[], object]]:
    context = context_of(hits)
    baselines = context.get("baselines", pd.DataFrame({"concept": [], "baseline": []}))
    plain = {key: context.get(key, {}) for key in _PLAIN}
    sets = context.get("sets", pd.DataFrame())
    return {
        "hits.tsv": lambda: write_tsv(pd.DataFrame(hits), folder / "hits.tsv"),
        **({SETS: lambda: write_tsv(sets, folder / SETS)} if len(sets) else {}),
        "hits.context.json": lambda: write_json(folder / "hits.context.json", plain),
        "hits.baselines.tsv": lambda: write_tsv(baselines, folder / "hits.baselines.tsv"),
        "hits.parquet": lambda: write_parquet(pd.DataFrame(hits), folder / "hits.parquet"),
    }


def write_enrichment(
    features: FeatureMatrix, annotations: Annotations, folder: str | Path, *, split: Split, seed: int = 0
) -> bool:
    """Write :func:`enrichment` of the facts about whole samples as ``enrichment.tsv``; False, and no file, without any."""
    if len(annotations.names) == len(annotations.position_names):
        return False
    folder = make_folder(folder)
    write_tsv(enrichment(features, annotations, split=split, seed=seed), folder / "enrichment.tsv")
    return True


def read_hits(folder: str | Path) -> Table:
    """Read hits written by :func:`write_hits`.

    Parameters
    ----------
    folder : path

    Raises
    ------
    StoreError
        The folder holds no hits, or not all that was written with them.
    """
    require_kinds(folder=(folder, Path))
    folder = Path(folder)
    absent = [name for name in NAMES if not name.endswith(".parquet") and not (folder / name).is_file()]
    if absent:
        raise StoreError(
            "this folder holds no hits" if "hits.tsv" in absent else "a part of the hits is missing",
            where=f"folder '{folder}'",
            expected="hits.tsv, hits.baselines.tsv and hits.context.json",
            got=f"no {', '.join(absent)}",
            do="Run associate first.",
        )
    require_intact(folder, "hits.tsv", "hits.context.json", "hits.baselines.tsv", SETS)
    context = dict(read_json(folder / "hits.context.json"))
    context.setdefault("caveats", context.pop("doubts", {}))  # the name of before
    context["baselines"] = read_tsv(folder / "hits.baselines.tsv", text=_TEXT)
    context["sets"] = read_tsv(folder / SETS, text=_TEXT) if (folder / SETS).is_file() else pd.DataFrame()
    return Table(read_tsv(folder / "hits.tsv", text=_TEXT), context=context)
