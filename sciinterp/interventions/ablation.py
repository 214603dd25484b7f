"""Ablation: what a model's output loses when a feature's part of an activation is taken away."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sciinterp.codes.active import is_active
from sciinterp.interventions.reading import checked_site
from sciinterp.models import HasLogits, edit

if TYPE_CHECKING:
    from sciinterp.codes import FeatureMatrix
    from sciinterp.models import Adapter
    from sciinterp.sae import SAE


def ablation_effect(
    model: Adapter,
    features: FeatureMatrix,
    feature: int,
    *,
    n_samples: int = 4,
    n_random: int = 4,
    seed: int = 0,
) -> dict[str, float] | str:
    """How much the model's output moves when a feature's part of the activation is taken away.

    The part (its code times its decoder direction) is subtracted at every position where it fires, in the samples
    where it is strongest; beside it stand random directions of the same length at the same positions. The output
    moves by the mean Kullback-Leibler divergence of the scores over the vocabulary, in nats a token.

    Returns
    -------
    dict or str
        ``kl, kl_random, times_random, n_samples``, or why it could not be measured.
    """
    sae = features.sae
    if sae is None:
        return "the codes are without their SAE"
    if not isinstance(model, HasLogits):
        return "the model gives no scores over a vocabulary"
    if features.samples[0].data is None:
        return "the samples' data are not held"
    site = checked_site(model, sae)
    rows, values = features.by_feature(feature, feature + 1).column(0)
    best = np.zeros(len(features.samples))
    np.maximum.at(best, np.searchsorted(features.samples.offsets, rows, side="right") - 1, values)
    speaks = is_active(best, best.max(initial=0.0))
    chosen = [int(i) for i in np.argsort(-best, kind="stable")[:n_samples] if speaks[i]]
    if not chosen:
        return f"feature {feature} never fires"
    chosen = chosen[:1] if model.batch_dependent else chosen
    batch = model.encode([features.samples[i] for i in chosen])
    generator = torch.Generator().manual_seed(seed)
    direction = sae.W_dec[feature].detach().float().cpu()

    def scores(taken: Tensor | None) -> Tensor:
        change = nullcontext() if taken is None else edit(model, site, _without(sae, feature, taken))
        with torch.no_grad(), change:
            return torch.log_softmax(model.logits(batch).float(), -1)[batch.mask]

    clean = scores(None)

    def moved(taken: Tensor) -> float:
        return float((clean.exp() * (clean - scores(taken))).sum(-1).mean())

    effect, random = moved(direction), []
    for _ in range(n_random):
        noise = torch.randn(direction.shape, generator=generator)
        random.append(moved(noise / noise.norm() * direction.norm()))
    mean = float(np.mean(random))
    return {
        "kl": effect,
        "kl_random": mean,
        "times_random": effect / max(mean, 1e-12),
        "n_samples": len(chosen),
    }


def _without(sae: SAE, feature: int, direction: Tensor) -> Callable[[Tensor], Tensor]:
    """The edit that subtracts a feature's code times a direction from every row."""

    def change(rows: Tensor) -> Tensor:
        x = rows.detach().float().cpu()
        codes = sae.encode(x)
        at = (codes.col_indices() == feature).nonzero().ravel()
        own = torch.zeros(len(x))
        own[torch.searchsorted(codes.crow_indices(), at, right=True) - 1] = codes.values()[at]
        part = own[:, None] * direction * sae.units(x)[1]
        return rows - part.to(rows)

    return change
