"""Reading changed samples: their batches, and their codes as a model and its SAE make them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import scipy.sparse as sp

from sciinterp.codes.positions import to_positions
from sciinterp.errors import InputError, require_kinds
from sciinterp.models import Adapter, Batch, capture, plan_batches, spans_of
from sciinterp.provenance import check, origin_of, site_of
from sciinterp.sae import SAE
from sciinterp.samples import Sample, Samples

MAX_TOKENS = 4096


def checked_site(model: Adapter, sae: SAE) -> str:
    """The site the SAE reads; an error where the SAE is of another model, or does not say its origin."""
    site = site_of(sae)
    check(origin_of(sae), model.origin_at(site))
    return site


def as_samples(model: Adapter, given: Samples | Sequence[Sample | str] | Sample | str) -> Samples:
    """One sample, several, or plain sequences, as a collection."""
    if not isinstance(model, Adapter):
        raise InputError("this is no model", expected="what si.load_model returns", got=type(model).__name__)
    if isinstance(given, Samples):
        return given
    if not isinstance(given, (Sample, str, Iterable)) or isinstance(given, (bytes, Mapping)):
        raise InputError("these are no samples", expected="Samples, or sequences", got=type(given).__name__)
    some = [given] if isinstance(given, (Sample, str)) else list(given)
    if any(s is None for s in some):
        raise InputError("a sample is None", where=f"sample {[s is None for s in some].index(True)}")
    made = [
        s if isinstance(s, Sample) else Sample(f"sample {i}", s, model.count_positions(s))
        for i, s in enumerate(some)
    ]
    return Samples(
        [s.id for s in made], [s.data for s in made], lengths=[s.length for s in made], kind=model.kind
    )


def require_pair(model: object, sae: object) -> None:
    """Raise where these are no model and no SAE."""
    require_kinds(model=(model, Adapter), sae=(sae, SAE))


def one_sample(given: Sample | str, name: str) -> Sample:
    """One sample; a plain sequence gets the name."""
    require_kinds(sample=(given, Sample | str))
    return given if isinstance(given, Sample) else Sample(name, given)


def batches(model: Adapter, samples: Sequence[Sample]) -> Iterator[tuple[np.ndarray, Batch]]:
    """The samples in batches of similar length, with their numbers; alone where the model needs it."""
    most = 1 if model.batch_dependent else None
    limit = min(MAX_TOKENS, model.max_tokens or MAX_TOKENS)
    for part in plan_batches([s.length for s in samples], limit, max_samples=most):
        yield part, model.encode([samples[int(i)] for i in part])


def codes_of(model: Adapter, sae: SAE, samples: Sequence[Sample]) -> list[sp.csr_array]:
    """Codes [n_positions, n_features] of each sample; a position takes the largest code of its tokens."""
    site = checked_site(model, sae)
    out: list[sp.csr_array] = [sp.csr_array((0, 0))] * len(samples)
    for part, batch in batches(model, samples):
        rows = capture(model, [site], batch)[site]
        spans = spans_of(model, site, batch)
        for i, x, span in zip(part, rows, spans):
            matrix = sae.encode_scipy(x.detach())
            start, end = span[:, :2].numpy().T
            out[i] = to_positions(matrix, start, end, samples[i].length)
    return out
