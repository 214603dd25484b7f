"""AnnData files for other tools: features by concepts, and samples by features.

``features.h5ad``: obs are features, var are concepts, X the held-out F1 of the pairs that were measured,
every other statistic a layer, ``obsm["decoder"]`` the decoder directions, ``uns["sciinterp"]`` where it all
comes from. ``samples.h5ad``: obs are samples, var are features, X the largest activation (CSR). Activations
of single positions stay in the store: an obs is never a token.

Written so that scanpy and the readers of other languages can open them: no "/" in a key, no nullable columns,
plain text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.association.context import context_of
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.exports import keys, plain_frame, to_anndata
from sciinterp.errors import require_kinds
from sciinterp.frames import Table, require_columns
from sciinterp.store.atomic import make_folder, placed

if TYPE_CHECKING:
    import anndata

    from sciinterp.sae import SAE

_NEEDED = ("feature", "concept", "selected", "f1_train", "f1")
_STATISTICS = (
    "f1_train", "threshold", "precision", "recall", "f1_low", "f1_high", "average_precision", "auroc", "q",
    "p_presence", "q_presence", "p_place", "q_place", "p_family", "delta_f1", "delta_low", "delta_high",
)  # fmt: skip
_OF_CONCEPT = (
    "prevalence", "n_positive", "n_test_families", "n_test_families_effective", "n_families", "test", "p_min",
    "best_baseline", "best_baseline_f1", "p_above", "q_above", "explained_by",
)  # fmt: skip


def features_anndata(features: FeatureMatrix, hits: Table, *, sae: SAE | None = None) -> anndata.AnnData:
    """Features by concepts as an AnnData object, NaN where hits hold no pair; directions are of `sae` or ``features.sae``."""
    require_kinds(features=(features, FeatureMatrix))
    require_columns(hits, _NEEDED, "hits")
    out = _without_layers(features, hits, sae=sae)
    for name, value in _layers(features, hits):
        out.layers[name] = value
    return out


def write_features(features: FeatureMatrix, hits: Table, path: Path, *, sae: SAE | None = None) -> None:
    """Write :func:`features_anndata`, a layer at a time: one alone is 16 MB for 10,240 features and 400 concepts."""
    write_anndata(_without_layers(features, hits, sae=sae), path, layers=_layers(features, hits))


def _layers(features: FeatureMatrix, hits: Table) -> Iterator[tuple[str, np.ndarray]]:
    """The statistics behind ``X``, each features by concepts."""
    return ((name, _by_concept(features, hits, name)) for name in _STATISTICS if name in hits.columns)


def _selected(hits: Table) -> Table:
    return hits[hits["selected"]].drop_duplicates("concept").set_index("concept")


def _by_concept(features: FeatureMatrix, hits: Table, name: str) -> np.ndarray:
    """float32 [n_features, n_concepts]: a column of the hits."""
    concepts = _selected(hits).index
    column = concepts.get_indexer(pd.Index(hits["concept"]))
    inside = column >= 0
    out = np.full((features.n_features, len(concepts)), np.nan, np.float32)
    out[hits["feature"].to_numpy()[inside], column[inside]] = hits[name].to_numpy()[inside]
    return out


def _without_layers(features: FeatureMatrix, hits: Table, *, sae: SAE | None) -> anndata.AnnData:
    import anndata

    selected = _selected(hits)
    concepts = selected.index
    best = (
        hits.sort_values("f1_train", ascending=False, kind="stable")
        .drop_duplicates("feature")
        .set_index("feature")
        .reindex(range(features.n_features))
    )
    names = [str(j) for j in range(features.n_features)]
    obs = pd.DataFrame(
        {
            "density": features.density,
            "max_activation": features.largest,
            "concept": best["concept"].fillna("").astype(str).to_numpy(),
            "f1": best["f1"].to_numpy(np.float64),
        },
        index=pd.Index(names, name="feature"),
    )
    var = pd.DataFrame(
        {k: selected[k].to_numpy() for k in _OF_CONCEPT if k in selected.columns},
        index=pd.Index(keys(concepts)),
    )
    var["concept"], var["selected_feature"] = concepts.astype(str).to_numpy(), selected["feature"].to_numpy()
    out = anndata.AnnData(X=_by_concept(features, hits, "f1"), obs=plain_frame(obs), var=plain_frame(var))
    decoder = _decoder(sae if sae is not None else features.sae)
    if decoder is not None and len(decoder) == features.n_features:
        out.obsm["decoder"] = decoder
    out.uns["sciinterp"] = _provenance(features, hits)
    return out


def samples_anndata(features: FeatureMatrix, hits: Table | None = None) -> anndata.AnnData:
    """Samples by features as an AnnData object: the largest activation of each feature in each sample."""
    require_kinds(features=(features, FeatureMatrix))
    out = to_anndata(features)
    out.uns["sciinterp"] = _provenance(features, hits)
    return out


def write_h5ad(features: FeatureMatrix, hits: Table, folder: str | Path, *, sae: SAE | None = None) -> None:
    """Write ``features.h5ad`` and ``samples.h5ad`` into a folder, each atomically."""
    require_kinds(features=(features, FeatureMatrix), folder=(folder, Path))
    require_columns(hits, _NEEDED, "hits")
    folder = make_folder(folder)
    write_features(features, hits, folder / "features.h5ad", sae=sae)
    write_samples(features, hits, folder / "samples.h5ad")


def write_samples(features: FeatureMatrix, hits: Table | None, path: Path) -> None:
    """Write :func:`samples_anndata`, some samples at a time."""
    data = to_anndata(features, values=False)
    data.uns["sciinterp"] = _provenance(features, hits)
    write_anndata(data, path, features.max_of_samples())


def write_anndata(
    data: anndata.AnnData,
    path: Path,
    rows: Iterable[sp.csr_array] = (),
    layers: Iterable[tuple[str, np.ndarray]] = (),
) -> None:
    """Write an AnnData object, atomically; the rows of its ``X`` may come some at a time, and its layers one at a time."""
    import h5py
    from anndata.io import sparse_dataset, write_elem

    with placed(path) as temporary:
        data.write_h5ad(temporary, compression="gzip")
        for number, some in enumerate(rows):
            with h5py.File(temporary, "r+") as file:
                if number:
                    sparse_dataset(file["X"]).append(sp.csr_matrix(some))
                else:
                    file.pop("X", None)
                    write_elem(file, "X", sp.csr_matrix(some), dataset_kwargs={"compression": "gzip"})
        for name, layer in layers:
            with h5py.File(temporary, "r+") as file:
                write_elem(file["layers"], name, layer, dataset_kwargs={"compression": "gzip"})


def _decoder(sae: SAE | None) -> np.ndarray | None:
    weight = getattr(sae, "W_dec", None)
    if weight is None:
        return None
    return np.asarray(weight.detach().cpu() if hasattr(weight, "detach") else weight, dtype=np.float32)


def _provenance(features: FeatureMatrix, hits: Table | None) -> dict[str, str]:
    context = context_of(hits)
    plain = {key: context.get(key, {}) for key in ("settings", "counts", "not_run", "not_tested", "caveats")}
    described = {"identity": features.origin.to_record(), "samples": features.samples.digest, **plain}
    return {key: json.dumps(value, sort_keys=True, default=str) for key, value in described.items()}
