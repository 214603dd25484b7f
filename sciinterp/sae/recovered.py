"""Loss recovered: does the model still work when the SAE's reconstruction takes the activation's place?

A seeded fraction of positions is hidden; the cross-entropy of the model at those positions is measured with the
activation untouched, with the reconstruction spliced in at the SAE's site, with zeros, and with the mean
activation. After Bricken et al. (2023, Towards Monosemanticity):

    recovered = (loss_ablated - loss_sae) / (loss_ablated - loss_clean)

once against zero and once against mean ablation; 1 is perfect, 0 is no better than the ablation. A model without
a mask token is scored on its own next-token likelihood (position t from the scores at t - 1).

On a model with randomised weights there is nothing to recover: ablation does not raise the loss, the denominator
is noise, and the value is reported as NaN when the ablated loss is within one standard error of the clean one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sciinterp.errors import InputError
from sciinterp.models import CanMask, HasLogits, edit, plan_batches
from sciinterp.provenance import check, origin_of, site_of

if TYPE_CHECKING:
    from sciinterp.models import Adapter
    from sciinterp.samples import Samples

FRACTION = 0.15  # the fraction masked language models are trained to fill in


def loss_recovered(
    model: Adapter,
    sae: Any,
    samples: Samples,
    *,
    site: str | None = None,
    mean: np.ndarray | None = None,
    seed: int = 0,
    max_tokens: int = 4096,
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
        Mean activation for the ablation; the SAE's ``b_dec`` when not given.
    seed : int
        Which positions are hidden.

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
    if not isinstance(model, HasLogits):
        raise InputError(
            "this model gives no scores over a vocabulary",
            where=model.name,
            do="Loss recovered cannot be measured.",
        )
    at = site or site_of(sae)
    check(origin_of(sae), model.origin_at(at))
    centre = sae.b_dec.detach() if mean is None else torch.as_tensor(mean, dtype=torch.float32)
    edits: dict[str, Callable[[Tensor], Tensor] | None] = {
        "clean": None,
        "sae": lambda rows: sae.decode(sae.encode(rows.float())).to(rows.dtype),
        "zero": torch.zeros_like,
        "mean": lambda rows: centre.to(rows).expand_as(rows),
    }
    losses: dict[str, list[np.ndarray]] = {name: [] for name in edits}
    hidden = _hidden(samples, seed)
    for numbers in plan_batches(samples.lengths, max_tokens):
        batch = model.encode([samples[int(i)] for i in numbers])
        for name, fn in edits.items():
            losses[name].append(_losses(model, batch, [hidden[int(i)] for i in numbers], at, fn))
    values = {name: np.concatenate(parts) for name, parts in losses.items()}
    mean_loss = {name: float(v.mean()) for name, v in values.items()}
    out = {f"loss_{name}": value for name, value in mean_loss.items()}
    for name in ("zero", "mean"):
        gap = values[name] - values["clean"]
        error = gap.std() / np.sqrt(max(len(gap), 1))
        out[f"recovered_{name}"] = (
            float((values[name] - values["sae"]).mean() / gap.mean()) if gap.mean() > error else float("nan")
        )
    return {**out, "n": float(len(values["clean"]))}


def _hidden(samples: Samples, seed: int) -> list[np.ndarray]:
    """Positions to hide in each sample: at least one, a function of seed and sample alone."""
    out = []
    for number, length in enumerate(samples.lengths):
        rng = np.random.default_rng([seed, number])
        out.append(
            np.sort(rng.choice(int(length), size=max(1, round(FRACTION * int(length))), replace=False))
        )
    return out


def _losses(
    model: Any, batch: Any, hidden: list[np.ndarray], site: str, fn: Callable[[Tensor], Tensor] | None
) -> np.ndarray:
    """Cross-entropy at the hidden tokens of a batch, in nats."""
    where = torch.zeros_like(batch.mask)
    for row, positions in enumerate(hidden):
        tokens = torch.nonzero(batch.mask[row]).ravel()
        where[row, tokens[torch.as_tensor(positions)]] = True
    target = batch.inputs["input_ids"]
    masked = isinstance(model, CanMask)
    shown = model.masked(batch, where) if masked else batch
    if fn is None:
        scores = model.logits(shown)
    else:
        with edit(model, site, fn):
            scores = model.logits(shown)
    logp = torch.log_softmax(scores.float(), dim=-1)
    if not masked:
        logp, target, where = logp[:, :-1], target[:, 1:], where[:, 1:]
    return -logp.gather(-1, target.to(logp.device).unsqueeze(-1)).squeeze(-1)[where].double().cpu().numpy()
