"""Ablation: what a model's output loses when a feature's part of an activation is taken away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sciinterp.codes.active import is_active
from sciinterp.devices import moved as on_device
from sciinterp.interventions.effect import divergence
from sciinterp.interventions.reading import checked_site
from sciinterp.interventions.writing import Edit, feature_edit, writing
from sciinterp.models import HasLogits, replayed

if TYPE_CHECKING:
    from sciinterp.codes import FeatureMatrix
    from sciinterp.models import Adapter
    from sciinterp.sae import SAE
    from sciinterp.samples import Sample


def ablation_effect(
    model: Adapter,
    features: FeatureMatrix,
    feature: int,
    *,
    n_samples: int = 4,
    n_random: int = 4,
    seed: int = 0,
    device: str | None = None,
) -> dict[str, float] | str:
    """How much the model's output moves when a feature's part of the activation is taken away.

    The part (its code times its decoder direction) is subtracted at every position where it fires, in the
    samples where it is strongest; beside it stand random directions of the same length at the same positions.
    The output moves by the mean Kullback-Leibler divergence of the scores over the vocabulary, in nats a token.
    Model and SAE compute on ``device``; where the model is when it is not given.

    ``kl, kl_random, times_random, n_samples``, or why it could not be measured.
    """
    sae = features.sae
    if sae is None:
        return "the codes are without their SAE"
    if not isinstance(model, HasLogits):
        return "the model gives no scores over a vocabulary"
    if features.samples[0].data is None:
        return "the samples' data are not held"
    checked_site(model, sae)
    rows, values = features.by_feature(feature, feature + 1).column(0)
    best = np.zeros(len(features.samples))
    np.maximum.at(best, np.searchsorted(features.samples.offsets, rows, side="right") - 1, values)
    speaks = is_active(best, best.max(initial=0.0))
    chosen = [int(i) for i in np.argsort(-best, kind="stable")[:n_samples] if speaks[i]]
    if not chosen:
        return f"feature {feature} never fires"
    chosen = chosen[:1] if model.batch_dependent else chosen
    with on_device(device, model, sae):
        effect, random = _effect(
            model, sae, feature, [features.samples[i] for i in chosen], n_random=n_random, seed=seed
        )
    mean = float(np.mean(random))
    return {
        "kl": effect,
        "kl_random": mean,
        "times_random": effect / max(mean, 1e-12),
        "n_samples": len(chosen),
    }


def _effect(
    model: Adapter, sae: SAE, feature: int, samples: Sequence[Sample], *, n_random: int, seed: int
) -> tuple[float, list[float]]:
    """How far the output moves without the feature's part, and without random parts of its length."""
    assert isinstance(model, HasLogits)
    site, batch = checked_site(model, sae), model.encode(samples)
    generator = torch.Generator().manual_seed(seed)
    own = feature_edit(sae, site, [feature], lambda codes, _: torch.zeros_like(codes))

    def scores(*edits: Edit) -> Tensor:
        with torch.no_grad(), writing(model, edits):
            return torch.log_softmax(model.logits(batch).float(), -1)[batch.mask].cpu()

    with replayed(model, site, batch):
        clean = scores()

        def moved(taken: Edit) -> float:
            return float(divergence(clean, scores(taken)).mean())

        effect, random = moved(own), []
        for _ in range(n_random):
            noise = torch.randn(own.directions.shape, generator=generator)
            random.append(moved(replace(own, directions=noise / noise.norm() * own.directions.norm().cpu())))
    return effect, random
