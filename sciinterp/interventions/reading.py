"""Reading changed samples: their batches, their codes as a model and its SAE make them, and likelihoods.

Likelihoods are of letters at positions, hidden (masked marginals, Meier and others 2021) or not, and of whole sequences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch

from sciinterp.codes.positions import to_positions
from sciinterp.errors import InputError, require_kinds
from sciinterp.models import Adapter, Batch, CanMask, HasLogits, capture, plan_batches, spans_of
from sciinterp.provenance import check, origin_of, site_of
from sciinterp.sae import SAE
from sciinterp.samples import Sample, Samples

if TYPE_CHECKING:
    from sciinterp.models import Adapter

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


# A position of a sample.
Place = tuple[Sample, int]


def letters_at(
    model: Adapter, places: Sequence[Place], *, hide: bool = True
) -> list[dict[str, float] | None]:
    """Log probability of every letter the model has a word for, at positions that are hidden, or as they stand.

    Each position of each sample is computed once, however often it is asked for; letters that stand, in one run
    a sample. None where the model has no scores, cannot hide, or reads the position together with others.
    """
    if not isinstance(model, HasLogits) or not isinstance(model, CanMask):
        return [None] * len(places)
    words: dict[str, int] = {}
    for number, word in enumerate(model.vocabulary):
        letter = word.removeprefix("▁")
        if len(letter) == 1 and letter in model.alphabet:
            words.setdefault(letter, number)
    asked: dict[tuple[str, str], dict[int, dict[str, float] | None]] = {}
    samples: dict[tuple[str, str], Sample] = {}
    for sample, position in places:
        key = (sample.id, str(sample.data))
        samples[key] = sample
        asked.setdefault(key, {})[position] = None
    # One run a hidden position; as they stand, one run a sample says all.
    runs = [
        (key, [p] if hide else list(known)) for key, known in asked.items() for p in (known if hide else [0])
    ]
    for numbers, batch in batches(model, [samples[key] for key, _ in runs]):
        of_run = [runs[i] for i in numbers]
        row = np.repeat(np.arange(len(of_run)), [len(positions) for _, positions in of_run])
        at = torch.tensor([p for _, positions in of_run for p in positions])[:, None]
        start, end = batch.spans[row][..., 0], batch.spans[row][..., 1]
        where = batch.mask[row] & (start <= at) & (at < end)
        alone = (where.sum(1) == 1) & (((end - start) * where).sum(1) == 1)
        token = where.int().argmax(1)
        with torch.no_grad():
            scores = model.logits(model.masked(batch, where) if hide else batch)
            found = torch.log_softmax(scores[row, token.to(scores.device)].float(), -1).cpu().numpy()
        each = [(key, p) for key, positions in of_run for p in positions]
        for (key, p), told, values in zip(each, alone.tolist(), found):
            asked[key][p] = {w: float(values[n]) for w, n in words.items()} if told else None
    return [asked[sample.id, str(sample.data)][position] for sample, position in places]


def sequence_likelihoods(model: Adapter, samples: Sequence[Sample]) -> np.ndarray | None:
    """float64 [n]: the log probability of each whole sample; None where scores are not about the sample's tokens."""
    if not isinstance(model, HasLogits):
        return None
    out = np.zeros(len(samples))
    for numbers, batch in batches(model, samples):
        ids, about = model.targets(batch)
        if not bool(about.any()):
            return None
        with torch.no_grad():
            scores = torch.log_softmax(model.logits(batch).float(), -1).cpu()
        own = scores.gather(-1, ids.cpu().long()[..., None])[..., 0].double()
        out[numbers] = (own * about.cpu()).sum(1).numpy()
    return out
