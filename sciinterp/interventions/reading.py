"""Reading changed samples: their codes, as a model and its SAE make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import scipy.sparse as sp

from sciinterp.codes.positions import to_positions
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
            start, end = span[:, :2].cpu().numpy().T
            out[i] = to_positions(matrix, start, end, samples[i].length)
    return out
