"""Reading changed samples: codes, likelihoods and ablations of a model and its SAE (torch, imported here).

Everything in this file runs the model. Discovery works without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import torch

from sciinterp.models import CanMask, HasLogits, capture, edit, plan_batches, spans_of
from sciinterp.provenance import check, origin_of, site_of
from sciinterp.samples import Sample

if TYPE_CHECKING:
    from sciinterp.models import Adapter

MAX_TOKENS = 4096


def checked_site(model: Adapter, sae: Any) -> str:
    """The site the SAE reads.

    Raises
    ------
    MismatchError, InputError
        The SAE is of another model, or does not say its origin.
    """
    site = site_of(sae)
    check(origin_of(sae), model.origin_at(site))
    return site


def codes_of(model: Adapter, sae: Any, samples: Sequence[Sample]) -> list[sp.csr_array]:
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


def log_likelihoods(
    model: Adapter, sample: Sample, position: int, letters: Sequence[str]
) -> dict[str, float] | None:
    """Log probability of letters at a hidden position, or None where the model cannot say.

    The position is masked and everything else shown (Meier 2021, masked marginals).
    """
    if (
        not isinstance(model, HasLogits)
        or not isinstance(model, CanMask)
        or not set(letters) <= set(model.vocabulary)
    ):
        return None
    batch = model.encode([sample])
    spans = batch.spans
    where = batch.mask & (spans[..., 0] <= position) & (position < spans[..., 1])
    if int(where.sum()) != 1:
        return None
    with torch.no_grad():
        scores = torch.log_softmax(
            model.logits(model.masked(batch, where.to(model.device))).float(), -1
        ).cpu()
    row = scores[where]
    index = {letter: i for i, letter in enumerate(model.vocabulary)}
    return {letter: float(row[0, index[letter]]) for letter in letters}


def ablation_effect(
    model: Any, features: Any, feature: int, *, n_samples: int = 4, n_random: int = 4, seed: int = 0
) -> dict[str, Any] | str:
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
    if not isinstance(model, HasLogits):
        return "the model gives no scores over a vocabulary"
    if features.samples[0].data is None:
        return "the samples' data are not held"
    site = checked_site(model, sae)
    column = features.codes[:, [feature]].tocoo()
    best = np.zeros(len(features.samples))
    np.maximum.at(best, features.samples.position_sample()[column.coords[0]], column.data)
    chosen = [int(i) for i in np.argsort(-best, kind="stable")[:n_samples] if best[i] > 0]
    if not chosen:
        return f"feature {feature} never fires"
    batch = model.encode([features.samples[i] for i in chosen])
    generator = torch.Generator().manual_seed(seed)
    direction = sae.W_dec[feature].detach().float().cpu()

    def without(direct: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        def change(rows: torch.Tensor) -> torch.Tensor:
            codes = sae.encode(rows.detach().float().cpu()).to_dense()
            full = sae.reconstruct(rows.detach().float().cpu())
            part = codes[:, feature : feature + 1] * direct * _scale(sae, rows, codes, full)
            return rows - part.to(rows)

        return change

    def scores(fn: Callable[[torch.Tensor], torch.Tensor] | None) -> torch.Tensor:
        with torch.no_grad():
            if fn is None:
                return torch.log_softmax(model.logits(batch).float(), -1)[batch.mask]
            with edit(model, site, fn):
                return torch.log_softmax(model.logits(batch).float(), -1)[batch.mask]

    clean = scores(None)
    kl = lambda other: float((clean.exp() * (clean - other)).sum(-1).mean())  # noqa: E731
    effect = kl(scores(without(direction)))
    random = []
    for _ in range(n_random):
        noise = torch.randn(direction.shape, generator=generator)
        random.append(kl(scores(without(noise / noise.norm() * direction.norm()))))
    mean = float(np.mean(random))
    return {
        "kl": effect,
        "kl_random": mean,
        "times_random": effect / max(mean, 1e-12),
        "n_samples": len(chosen),
    }


def _scale(sae: Any, rows: torch.Tensor, codes: torch.Tensor, full: torch.Tensor) -> torch.Tensor | float:
    """Length of the activation in units of the SAE's input, a row: 1 unless the SAE standardises its rows."""
    if sae.input_norm == "none":
        return 1.0
    inner = codes @ sae.W_dec
    return (full - full.mean(-1, keepdim=True)).norm(dim=-1, keepdim=True) / inner.norm(
        dim=-1, keepdim=True
    ).clamp_min(1e-6)
