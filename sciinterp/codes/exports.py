"""Codes as AnnData: samples by features, so that scanpy and the readers of other languages can open them.

No "/" in a key, no nullable columns, plain text. Activations of single positions stay in the store: an obs is never a
token.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

if TYPE_CHECKING:
    from sciinterp.codes.matrix import FeatureMatrix


def to_anndata(features: FeatureMatrix, *, values: bool = True) -> anndata.AnnData:
    """Samples by features: the largest activation of each feature in each sample, or no numbers yet."""
    obs = features.samples.table.copy()
    obs.columns = keys(obs.columns, taken=("n_positions",))
    obs.insert(0, "n_positions", features.samples.lengths)
    obs.index = pd.Index([plain_text(i) for i in features.samples.ids])
    names = pd.Index([str(j) for j in range(features.n_features)], name="feature")
    largest = sp.csr_matrix(features.max_per_sample()) if values else None
    return anndata.AnnData(
        X=largest, obs=plain_frame(obs), var=pd.DataFrame({"density": features.density}, index=names)
    )


def keys(names: Iterable[object], taken: Iterable[str] = ()) -> list[str]:
    """Names as keys of an HDF5 group: no "/", which would nest, none that AnnData keeps for itself, no two alike."""
    out, used = [], {"_index", "", ".", "..", *taken}
    for name in names:
        key = plain = plain_text(name).replace("/", "|")
        number = 2
        while key in used:
            key, number = f"{plain}_{number}", number + 1
        used.add(key)
        out.append(key)
    return out


def plain_text(value: object) -> str:
    """Text that HDF5 can hold: no NUL and no half of a character."""
    return str(value).encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def plain_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Text as plain object strings, no nullable types."""
    out = {}
    for name in frame.columns:
        values = frame[name]
        if pd.api.types.is_bool_dtype(values.dtype) and not values.isna().any():
            out[name] = values.to_numpy(dtype=bool)
        elif pd.api.types.is_numeric_dtype(values.dtype):
            whole = pd.api.types.is_integer_dtype(values.dtype) and not values.isna().any()
            out[name] = values.to_numpy(np.int64) if whole else values.to_numpy(np.float64, na_value=np.nan)
        else:
            texts = values.astype(object).where(values.notna(), "")
            out[name] = np.array([plain_text(x) for x in texts], dtype=object)
    index = pd.Index(np.array(frame.index, dtype=object), dtype=object, name=frame.index.name)
    return pd.DataFrame(out, index=index)
