"""Likelihoods of letters at positions, hidden (masked marginals, Meier and others 2021) or not, and of whole sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from sciinterp.interventions.reading import MAX_TOKENS, batches
from sciinterp.models import CanMask, HasLogits, plan_batches
from sciinterp.samples import Sample

if TYPE_CHECKING:
    from sciinterp.models import Adapter

# A position of a sample.
Place = tuple[Sample, int]


def letters_at(
    model: Adapter, places: Sequence[Place], *, hide: bool = True
) -> list[dict[str, float] | None]:
    """Log probability of every letter the model has a word for, at positions that are hidden, or as they stand.

    Each position of each sample is computed once, however often it is asked for.

    Returns
    -------
    list of dict or None
        None where the model has no scores, cannot hide, or reads the position together with others.
    """
    if not isinstance(model, HasLogits) or not isinstance(model, CanMask):
        return [None] * len(places)
    words: dict[str, int] = {}
    for number, word in enumerate(model.vocabulary):
        letter = word.removeprefix("▁")
        if len(letter) == 1 and letter in model.alphabet:
            words.setdefault(letter, number)
    distinct = {(sample.id, str(sample.data), position): (sample, position) for sample, position in places}
    wanted, found = list(distinct.values()), {}
    most = 1 if model.batch_dependent else None
    for part in plan_batches([s.length for s, _ in wanted], MAX_TOKENS, max_samples=most):
        batch = model.encode([wanted[i][0] for i in part])
        at = torch.tensor([wanted[i][1] for i in part])[:, None]
        start, end = batch.spans[..., 0], batch.spans[..., 1]
        where = batch.mask & (start <= at) & (at < end)
        alone = where.sum(1) == 1
        alone &= ((end - start) * where).sum(1) == 1
        with torch.no_grad():
            scores = torch.log_softmax(
                model.logits(model.masked(batch, where) if hide else batch).float(), -1
            ).cpu()
        for row, i in enumerate(part):
            key = (wanted[i][0].id, str(wanted[i][0].data), wanted[i][1])
            one = scores[row][where[row]]
            found[key] = {w: float(one[0, n]) for w, n in words.items()} if alone[row] else None
    return [found[sample.id, str(sample.data), position] for sample, position in places]


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
