"""Assays and variants as they lie in a run folder: tables for people and other tools, JSON with what a report shows.

A folder holds several assays, by the name of their file, and the variants that were asked last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.frames import Table
from sciinterp.interventions.files import by_name, read_pair, write_pair
from sciinterp.settings import Plain
from sciinterp.store import ledger
from sciinterp.store.tables import plain_value, records

if TYPE_CHECKING:
    import anndata

ASSAY, VARIANTS = ("assay.tsv", "assay.json"), ("variants.tsv", "variants.json")
# Features of an assay whose changes are drawn, and rows of variants that a page lists.
DRAWN, LISTED = 3, 200
_COUNTS = ("n_samples", "n_variants", "n_positions", "wild_type")


def keep_assay(folder: str | Path, name: str, found: Table, *, read: Plain | None = None) -> None:
    """Keep what :func:`sciinterp.assay` returned in a run folder, beside other assays.

    One of this name is replaced. `read` is the context of :func:`sciinterp.read_assay`: how many rows there
    were, and which were refused.
    """
    folder, facts, read = Path(folder), found.context, read or {}
    refused = [*read.get("refused", []), *facts["refused"]]
    kept = {**(_assays(folder) or {})} if ledger.is_done(folder, "assay") else {}
    with ledger.recorded("assay", folder, settings={"assays": sorted({*kept, name})}):
        kept[name] = {
            "table": records(pd.DataFrame(found)),
            "added": records(facts["added"]),
            "features": records(facts["features"]),
            "scan": _drawn(facts["scan"], facts["features"]),
            "n_refused": len(refused),
            "refused": refused[:LISTED],
            "wrong_reference": read.get("wrong_reference"),
            **{key: plain_value(facts[key]) for key in _COUNTS},
        }
        kept = {key: kept[key] for key in sorted(kept)}
        write_pair(folder, ASSAY, by_name(kept, "assay"), {"assays": kept}, computed=found)


def keep_variants(folder: str | Path, found: Table) -> None:
    """Keep what :func:`sciinterp.variant_effects` returned in a run folder, in place of what was asked before."""
    folder = Path(folder)
    variants, refused = found.context["variants"], found.context["refused"]
    with ledger.recorded("variants", folder, settings={"n": len(variants)}):
        largest = pd.DataFrame(found).groupby(["sample", "variant"], sort=False).head(DRAWN)
        by = {key: records(part) for key, part in largest.groupby(["sample", "variant"], sort=False)}
        rows = [
            {
                **{k: plain_value(v) for k, v in row.items()},
                "features": by.get((row["sample"], row["variant"]), []),
            }
            for row in variants[:LISTED]
        ]
        record = {"n": len(variants), "rows": rows, "n_refused": len(refused), "refused": refused[:LISTED]}
        write_pair(folder, VARIANTS, found, record, computed=found)


def read_assays(folder: str | Path) -> dict[str, Plain | None]:
    """What of assays and variants a run folder holds: ``assays`` by name and ``variants``, None where there are none."""
    return {"assays": _assays(folder), "variants": read_pair(folder, VARIANTS)}


def _assays(folder: str | Path) -> Plain | None:
    found = read_pair(folder, ASSAY)
    return None if found is None else found["assays"]


def drawn_scan(record: Mapping[str, Plain]) -> anndata.AnnData:
    """The scan of a kept assay, with the changes of the features that are drawn and of no other."""
    import anndata

    kept = record["scan"]
    obs = pd.DataFrame({key: kept[key] for key in ("position", "ref", "alt", "score")})
    obs.index = obs.index.astype(str)
    numbers = kept["features"]
    values = np.array(kept["changes"], np.float32).reshape(len(obs), len(numbers))
    row = np.repeat(np.arange(len(obs)), len(numbers))
    shape = (len(obs), max(numbers, default=0) + 1)
    matrix = sp.csr_matrix(
        (values.ravel(), (row, np.tile(np.array(numbers, np.int64), len(obs)))), shape=shape
    )
    return anndata.AnnData(X=matrix, obs=obs)


def _drawn(scan: anndata.AnnData, features: pd.DataFrame) -> Plain:
    """What the figures of an assay are drawn from: scores, and changes of the features that follow them, else the largest."""
    chosen: Sequence[int] = features["feature"].astype(int).tolist()[:DRAWN]
    x = sp.csr_array(scan.X)
    if not chosen:
        size = np.asarray(abs(x).sum(0)).ravel()
        chosen = [int(j) for j in np.argsort(-size, kind="stable")[:1] if size[j] > 0]
    return {
        **{key: scan.obs[key].tolist() for key in ("position", "ref", "alt", "score")},
        "features": list(chosen),
        "changes": np.round(x[:, list(chosen)].toarray().astype(float), 5).tolist(),
    }
