"""Likelihoods of letters at positions, hidden (masked marginals, Meier and others 2021) or not, and of whole sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from sciinterp.interventions.reading import batches
from sciinterp.models import CanMask, HasLogits
from sciinterp.samples import Sample

if TYPE_CHECKING:
    from sciinterp.models import Adapter

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
