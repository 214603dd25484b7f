"""Reading changed samples: their codes, as a model and its SAE make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from sciinterp.models import capture, plan_batches, spans_of
from sciinterp.provenance import check, origin_of, site_of
from sciinterp.samples import Sample

if TYPE_CHECKING:
    from sciinterp.models import Adapter
    from sciinterp.sae import SAE

MAX_TOKENS = 4096


def checked_site(model: Adapter, sae: SAE) -> str:
    """The site the SAE reads.

    Raises
    ------
    MismatchError, InputError
        The SAE is of another model, or does not say its origin.
    """
    site = site_of(sae)
    check(origin_of(sae), model.origin_at(site))
    return site


def codes_of(model: Adapter, sae: SAE, samples: Sequence[Sample]) -> list[sp.csr_array]:
    """Codes [n_positions, n_features] of each sample; a position takes the largest code of its tokens."""
    site = checked_site(model, sae)
    out: list[sp.csr_array] = [sp.csr_array((0, 0))] * len(samples)
    for part in plan_batches([s.length for s in samples], MAX_TOKENS):
        batch = model.encode([samples[i] for i in part])
        rows = capture(model, [site], batch)[site]
        spans = spans_of(model, site, batch)
        for i, x, span in zip(part, rows, spans):
            matrix = sae.encode_scipy(x.detach().cpu())
            out[i] = _on_positions(matrix, span.cpu().numpy(), samples[i].length)
    return out


def _on_positions(codes: sp.csr_array, span: np.ndarray, length: int) -> sp.csr_array:
    start, width = span[:, 0].astype(np.int64), (span[:, 1] - span[:, 0]).astype(np.int64)
    if len(start) == length and np.array_equal(start, np.arange(length)) and (width == 1).all():
        return codes
    token = np.repeat(np.arange(len(start)), width)
    position = np.repeat(start, width) + np.arange(len(token)) - np.repeat(width.cumsum() - width, width)
    dense = np.zeros((length, codes.shape[1]), np.float32)
    np.maximum.at(dense, position, codes[token].toarray())
    return sp.csr_array(dense)
