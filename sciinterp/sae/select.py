"""Choose the width and sparsity of a dictionary by description length on held-out families.

Variance explained always prefers the widest dictionary and the most active features, and concepts are lost on the
way: a wide dictionary splits them. Description length (:mod:`sciinterp.sae.mdl`) charges for both, so it has a
minimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from sciinterp.sae.mdl import description_length
from sciinterp.tables import Table

if TYPE_CHECKING:
    from sciinterp.samples import Split

# Rows the code tables and covariances are estimated on; more changes the third digit.
MAX_ROWS = 40_000


def select_width(
    source: Any,
    *,
    split: Split,
    widths: Sequence[int] = (256, 512, 1024, 2048),
    ks: Sequence[int] = (32,),
    out: str | Path | None = None,
    seed: int = 0,
    steps: int = 600,
    architecture: Any = None,
) -> Table:
    """Train one SAE a (width, k) and compare their description lengths on calibration families.

    Parameters
    ----------
    source : Activations
    split : Split
        SAEs are trained on ``train`` and compared on ``calibration``.
    widths, ks : sequences of int
        Dictionary sizes and active features; every pair is trained.
    out : path, optional
        Folder with one SAE a pair; run again, trained ones are kept.
    architecture : type, optional
        An architecture taking ``n_features`` and ``k``; TopK when not given.

    Returns
    -------
    Table
        One row a pair: ``n_features, k, fve, l0, total, codes, dictionary, residual, gaussian, selected``, in bits a
        token; exactly one row, of the smallest total, is ``selected``.
    """
    from sciinterp.sae import TopK, train

    make = architecture or TopK
    rows = []
    for width in widths:
        for k in ks:
            folder = None if out is None else Path(out) / f"width{width}-k{k}"
            sae = train(source, make(n_features=width, k=k), split=split, out=folder, seed=seed, steps=steps)
            rows.append(
                {
                    "n_features": width,
                    "k": k,
                    "fve": sae.metrics["fve"],
                    "l0": sae.metrics["l0"],
                    **describe(sae, source, split),
                }
            )
    table = Table(rows, context={"seed": seed, "steps": steps, "selected_on": "calibration families"})
    table["selected"] = np.arange(len(table)) == int(table["total"].to_numpy().argmin())
    return table


def describe(sae: Any, source: Any, split: Split, *, part: str = "calibration") -> dict[str, float]:
    """Description length of an SAE on one part of a split, its code tables fitted on the training part."""
    fit, held_out = split_rows(source, split, "train"), split_rows(source, split, part)
    n_tokens = len(source.rows(split.part("train")))
    fit_x, x = read_rows(source, fit), read_rows(source, held_out)
    w_dec, b_dec = sae.W_dec.detach().numpy(), sae.b_dec.detach().numpy()
    return description_length(
        codes_of(sae, x), x, w_dec, b_dec, train=(codes_of(sae, fit_x), fit_x), n_tokens=n_tokens
    )


def split_rows(source: Any, split: Split, part: str, limit: int = MAX_ROWS) -> np.ndarray:
    """Rows of one part, evenly thinned to ``limit``."""
    rows = source.rows(split.part(part))
    return rows if len(rows) <= limit else rows[np.linspace(0, len(rows) - 1, limit).astype(np.int64)]


def read_rows(source: Any, rows: np.ndarray) -> np.ndarray:
    """float32 [n, d_in]: these rows (ascending) of a store, by sequential reads."""
    out = np.empty((len(rows), source.d_in), np.float32)
    step = 65536
    for lo in range(0, source.n_tokens, step):
        a, b = np.searchsorted(rows, [lo, lo + step])
        if b > a:
            first, last = int(rows[a]), int(rows[b - 1]) + 1
            out[a:b] = source.read(first, last)[rows[a:b] - first]
    return out


def codes_of(sae: Any, x: np.ndarray) -> Any:
    """scipy csr [n, n_features] of the rows of ``x``."""
    import scipy.sparse as sp

    parts = []
    for lo in tqdm(range(0, len(x), 8192), desc="encode", unit="batch", leave=False, disable=None):
        parts.append(sae.encode_scipy(x[lo : lo + 8192]))
    return sp.vstack(parts, format="csr")
