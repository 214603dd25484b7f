"""Loss recovered: does the model still work when the SAE's reconstruction takes the activation's place?

A seeded fraction of positions is hidden; the cross-entropy of the model at those positions is measured with the
activation untouched, with the reconstruction spliced in at the SAE's site, with zeros, and with the mean
activation. After Bricken et al. (2023, Towards Monosemanticity):

    recovered = (loss_ablated - loss_sae) / (loss_ablated - loss_clean)

once against zero and once against mean ablation; 1 is perfect, 0 is no better than the ablation. A model without
a mask token is scored on its own likelihood of the tokens that follow.

On a model with randomised weights there is nothing to recover: ablation does not raise the loss, the denominator
is noise, and the value is reported as NaN when the ablated loss is within one standard error of the clean one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from sciinterp.devices import moved
from sciinterp.errors import InputError, require_kinds
from sciinterp.models import Adapter, CanMask, HasLogits, edit, plan_batches
from sciinterp.provenance import check, origin_of, site_of
from sciinterp.sae.base import SAE
from sciinterp.samples import Samples

FRACTION = 0.15  # the fraction masked language models are trained to fill in


def loss_recovered(
    model: Adapter,
    sae: SAE,
    samples: Samples,
    *,
    site: str | None = None,
    mean: np.ndarray | None = None,
    seed: int = 0,
    max_tokens: int = 4096,
    device: str | None = None,
) -> dict[str, float]:
    """Cross-entropy with the reconstruction spliced in, against zero and mean ablation.

    Parameters
    ----------
    model : Adapter
        With ``logits``; with a mask token the masked likelihood is scored, else the causal one.
    sae : SAE
    samples : Samples
        Held-out samples.
    site : str, optional
        The SAE's own when not given.
    mean : ndarray [d_in], optional
        Mean activation for the ablation; when not given what the SAE reconstructs without a feature: its ``b_dec``,
        scaled back where its input is standardised row by row.
    seed : int
        Which positions are hidden.
    max_tokens : int
        Tokens of a batch, padding included.
    device : str, optional
        Where model and SAE compute; where the model is when not given.

    Returns
    -------
    dict
        ``recovered_zero, recovered_mean, loss_clean, loss_sae, loss_zero, loss_mean, n`` in nats a token.

    Raises
    ------
    MismatchError
        The SAE is of another model or site, or of unknown origin.
    InputError
        When the model gives no scores over a vocabulary.
    """
    require_kinds(model=(model, Adapter), sae=(sae, SAE), samples=(samples, Samples))
    if not isinstance(model, HasLogits):
        raise InputError(
            "this model gives no scores over a vocabulary",
            where=model.name,
            do="Its adapter has logits but no targets(batch)."
            if hasattr(model, "logits")
            else "Loss recovered cannot be measured.",
        )
    at = site or site_of(sae)
    check(origin_of(sae), model.origin_at(at))
    centre = None if mean is None else torch.as_tensor(mean, dtype=torch.float32)

    def silent(rows: Tensor) -> Tensor:
        """What the SAE reconstructs where no feature speaks, in units of the activations."""
        shift, scale = sae.units(rows.float())
        return (sae.b_dec.detach() * scale + shift).to(rows).expand_as(rows)

    edits: dict[str, Callable[[Tensor], Tensor] | None] = {
        "clean": None,
        "sae": lambda rows: sae.reconstruct(rows.float()).to(rows),
        "zero": torch.zeros_like,
        "mean": silent if centre is None else lambda rows: centre.to(rows).expand_as(rows),
    }
    with moved(device, model, sae):
        losses = _losses(model, at, samples, edits, seed=seed, max_tokens=max_tokens)
    if not any(len(part) for part in losses["clean"]):
        raise InputError(
            "this model's scores are not about its input",
            where=model.name,
            do="Loss recovered cannot be measured.",
        )
    return _recovered({name: np.concatenate(parts) for name, parts in losses.items()})


def _losses(
    model: Adapter,
    at: str,
    samples: Samples,
    edits: dict[str, Callable[[Tensor], Tensor] | None],
    *,
    seed: int,
    max_tokens: int,
) -> dict[str, list[np.ndarray]]:
    """Cross-entropy at the chosen positions of each batch, under each edit."""
    assert isinstance(model, HasLogits)
    losses: dict[str, list[np.ndarray]] = {name: [] for name in edits}
    for numbers in plan_batches(samples.lengths, max_tokens):
        batch = model.encode([samples[int(i)] for i in numbers])
        ids, about = model.targets(batch)
        where = _chosen(about, numbers, seed)
        if not where.any():
            continue
        masks = model if isinstance(model, CanMask) else None
        shown = batch if masks is None else masks.masked(batch, where)
        for name, fn in edits.items():
            with torch.no_grad(), edit(model, at, fn) if fn is not None else nullcontext():
                scores = torch.log_softmax(model.logits(shown).float(), dim=-1).cpu()
            found = -scores.gather(-1, ids.unsqueeze(-1)).squeeze(-1)[where]
            losses[name].append(found.double().numpy())
    return losses


def _recovered(values: dict[str, np.ndarray]) -> dict[str, float]:
    """Mean losses, and the share of the loss that the reconstruction takes back from each ablation."""
    out = {f"loss_{name}": float(v.mean()) for name, v in values.items()}
    for name in ("zero", "mean"):
        gap = values[name] - values["clean"]
        error = gap.std() / np.sqrt(max(len(gap), 1))
        out[f"recovered_{name}"] = (
            float((values[name] - values["sae"]).mean() / gap.mean()) if gap.mean() > error else float("nan")
        )
    return {**out, "n": float(len(values["clean"]))}


def _chosen(about: Tensor, numbers: np.ndarray, seed: int) -> Tensor:
    """Where scores are read [B, T]: a fraction of each sample's tokens that they are about, one at least.

    A function of the seed and the sample alone.
    """
    where = torch.zeros_like(about)
    for row, number in enumerate(numbers):
        tokens = torch.nonzero(about[row]).ravel()
        rng = np.random.default_rng([seed, int(number)])
        n = min(len(tokens), max(1, round(FRACTION * len(tokens))))
        where[row, tokens[np.sort(rng.choice(len(tokens), size=n, replace=False))] if n else tokens] = True
    return where
