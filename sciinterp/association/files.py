"""Hits as files: ``hits.tsv``, ``hits.parquet``, and what went with them.

``hits.tsv`` and ``hits.parquet`` hold the same rows. Beside them ``hits.baselines.tsv`` has one row a concept
and baseline, and ``hits.context.json`` the settings, counts and what was not run or tested and why. Facts about
whole samples are not hits: their tests are in ``enrichment.tsv``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sciinterp.annotations import Annotations
from sciinterp.association.enrichment import enrichment
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import StoreError
from sciinterp.samples import Split
from sciinterp.store.atomic import read_json, write_json
from sciinterp.store.tables import read_tsv, write_parquet, write_tsv
from sciinterp.tables import Table

NAMES = ("hits.tsv", "hits.parquet", "hits.baselines.tsv", "hits.context.json")
_PLAIN = ("not_run", "not_tested", "caveats", "belongs", "settings", "counts")
_TEXT = ("concept", "test", "best_baseline", "explained_by", "baseline", "detail")


def write_hits(hits: Table, folder: str | Path) -> None:
    """Write hits and their context into a folder; the same hits give the same bytes.

    Parameters
    ----------
    hits : Table
        From :func:`associate`.
    folder : path
        Made if it does not exist.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    context: dict[str, Any] = getattr(hits, "context", None) or {}
    write_json(folder / "hits.context.json", {key: context.get(key, {}) for key in _PLAIN})
    write_tsv(
        context.get("baselines", pd.DataFrame({"concept": [], "baseline": []})), folder / "hits.baselines.tsv"
    )
    write_parquet(pd.DataFrame(hits), folder / "hits.parquet")
    write_tsv(pd.DataFrame(hits), folder / "hits.tsv")


def write_enrichment(
    features: FeatureMatrix, annotations: Annotations, folder: str | Path, *, split: Split, seed: int = 0
) -> bool:
    """Write :func:`enrichment` of the facts about whole samples as ``enrichment.tsv``.

    Parameters
    ----------
    features : FeatureMatrix
    annotations : Annotations
    folder : path
        Made if it does not exist.
    split : Split
    seed : int

    Returns
    -------
    bool
        Whether there are such facts; without any nothing is written.
    """
    if len(annotations.names) == len(annotations.position_names):
        return False
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_tsv(enrichment(features, annotations, split=split, seed=seed), folder / "enrichment.tsv")
    return True


def read_hits(
    folder: str | Path, *, annotations: Annotations | None = None, split: Split | None = None
) -> Table:
    """Read hits written by :func:`write_hits`.

    Parameters
    ----------
    folder : path
    annotations : Annotations, optional
    split : Split, optional
        Put into the context, as :func:`associate` does.

    Raises
    ------
    StoreError
        The folder holds no hits.
    """
    folder = Path(folder)
    if not (folder / "hits.tsv").is_file():
        raise StoreError(
            "this folder holds no hits",
            where=f"folder '{folder}'",
            expected="hits.tsv",
            do="Run associate first.",
        )
    context: dict[str, Any] = {"annotations": annotations, "split": split}
    if (folder / "hits.context.json").is_file():
        context |= read_json(folder / "hits.context.json")
        context.setdefault("caveats", context.pop("doubts", {}))  # the name of before
    if (folder / "hits.baselines.tsv").is_file():
        context["baselines"] = read_tsv(folder / "hits.baselines.tsv", text=_TEXT)
    return Table(read_tsv(folder / "hits.tsv", text=_TEXT), context=context)
