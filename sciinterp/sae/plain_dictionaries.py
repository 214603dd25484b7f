"""Baselines with the interface of an SAE: what a dictionary that was not trained to be sparse gives.

Each is an :class:`~sciinterp.sae.base.SAE` (``encode``, ``decode``, ``n_features``, files), so whatever is measured
of an SAE is measured of them:

neurons
    The model's own units, each twice: above its mean and below.
pca, ica
    Principal and independent components (FastICA) of the training rows, each twice.
random
    Random directions. With ``like``, as many as the SAE has features, each with the threshold at which it fires as
    often as one of them: any dictionary marks *something* at that density.

``k`` keeps the largest of each row; for the orthonormal axes of neurons and PCA these are the ones that reconstruct
best. The remaining baseline, an SAE trained by the same recipe on the model with randomised weights, is
:func:`sciinterp.randomised_control`: the codes it gives hold that SAE as ``.sae``.

On a model with randomised weights variance explained rises for PCA (fewer dimensions hold the variance) and does not
fall for the others; what they find of concepts falls, as for an SAE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sciinterp.activations.axes import Moments, independent_axes, principal_axes
from sciinterp.budget import one_thread
from sciinterp.devices import device_of, moved
from sciinterp.errors import InputError, require_kinds
from sciinterp.sae.base import SAE, ThresholdSAE, TopKSAE
from sciinterp.sae.batches import Source, Trainable, finite_mean, origin_of_trained, parts_of, thinned
from sciinterp.sae.metrics import firing_counts, measure, never_fire
from sciinterp.sae.row_numbers import Rows
from sciinterp.settings import at_least, plain_value

if TYPE_CHECKING:
    from sciinterp.samples import Split

KINDS = ("neurons", "pca", "ica", "random")
ROWS = 40_000  # axes and thresholds are fitted on at most so many training rows


@one_thread()
def baseline_sae(
    kind: str,
    source: Trainable,
    *,
    like: SAE | None = None,
    k: int | None = None,
    n_features: int | None = None,
    split: Split | None = None,
    seed: int = 0,
    device: str | None = None,
) -> SAE:
    """A dictionary that was not trained, behind the interface of an SAE.

    Parameters
    ----------
    kind : {"neurons", "pca", "ica", "random"}
    source : Activations, ndarray, memmap or Tensor [n, d_in]
    like : SAE, optional
        The SAE it stands beside: gives ``k``, and for "random" the number of features and their densities.
    k : int, optional
        Active features a row; without ``like`` or ``k``, all that are positive.
    n_features : int, optional
        Of "random" without ``like``; ``4 d_in`` when not given. The others have ``2 d_in``.
    split : Split, optional
        Fitted on its training samples and measured on its test samples, as :func:`sciinterp.train`.
    seed : int
        Of random directions, of the start of ICA, and of the held-out rows without a split.
    device : str, optional
        Where it is read on the rows, as :func:`sciinterp.encode`; it comes back on the processor.

    Returns
    -------
    SAE
        With ``metrics`` on held-out rows.

    Raises
    ------
    InputError
        There is no such baseline or device, or a row is not finite.

    Examples
    --------
    >>> import sciinterp as si
    >>> x = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    >>> pca = si.baseline_sae("pca", x, k=8)
    >>> pca.n_features, round(pca.metrics["fve"], 3)  # all eight axes, one way each: nothing is lost
    (16, 1.0)
    """
    if kind not in KINDS:
        raise InputError("there is no such baseline", where=str(kind), expected=", ".join(KINDS))
    require_kinds(like=(like, SAE | None))
    k = None if k is None else plain_value(k, int, "k", at_least(1))
    n_features = None if n_features is None else plain_value(n_features, int, "n_features", at_least(1))
    seed = plain_value(seed, int, "seed")
    place = device_of(device or "cpu")
    data = Source(source)
    parts = parts_of(data, split, seed)
    rows = _rows(data, parts["train"])
    if k is None and like is not None:
        k = like.k or max(1, round(like.metrics["l0"]))
    with moved(place, *([] if like is None else [like])):
        sae = _made(kind, rows, like, n_features or 4 * data.d_in, k, seed)
    sae.origin = origin_of_trained(data, split)
    sae.recipe = {"baseline": kind, "seed": seed, "rows": len(parts["train"])}
    with moved(place, sae):
        dead = float(never_fire(sae, data.pieces(parts["train"])).mean())
        measured = measure(sae, data.pieces(parts["test"]))
    sae.metrics = {
        **measured,
        "dead": dead,
        "n_features": sae.n_features,
        "d_in": sae.d_in,
        "seed": seed,
        "architecture": kind,
    }
    return sae


def _rows(data: Source, train: Rows) -> np.ndarray:
    """Training rows to fit on, all of them finite."""
    numbers = thinned(train, ROWS)
    rows = data.take(numbers)
    finite_mean(rows, numbers)
    return rows


def _made(kind: str, rows: np.ndarray, like: SAE | None, n_features: int, k: int | None, seed: int) -> SAE:
    moments = Moments.of(rows)
    mean = torch.from_numpy(moments.mean.astype(np.float32))
    if kind == "random":
        return _random(rows, mean, like, n_features, k, seed)
    ways = (np.concatenate([m, -m]).astype(np.float32) for m in _axes(kind, rows, moments, seed))
    read, write = map(torch.from_numpy, ways)
    return _dictionary(read.T, write, mean, k)


def _axes(kind: str, rows: np.ndarray, moments: Moments, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What reads each unit and what it writes, [n_units, d_in] each; their products sum to the identity."""
    d_in = rows.shape[1]
    if kind == "neurons":
        return np.eye(d_in), np.eye(d_in)
    axes = principal_axes(moments, d_in)
    if kind == "pca":
        return axes.T, axes.T
    rotation = independent_axes((rows - moments.mean.astype(np.float32)) @ axes.astype(np.float32), seed)
    read = axes @ rotation
    return read.T, np.linalg.pinv(read)


def _dictionary(encoder: Tensor, decoder: Tensor, mean: Tensor, k: int | None) -> SAE:
    zero = torch.zeros(len(decoder))
    if k is None:
        return ThresholdSAE(encoder, zero, decoder, mean, threshold=zero)
    return TopKSAE(encoder, zero, decoder, mean, k=min(k, len(decoder)))


def _random(
    rows: np.ndarray, mean: Tensor, like: SAE | None, n_features: int, k: int | None, seed: int
) -> SAE:
    """Random directions, with the densities of ``like`` dealt to them at random; codes are scaled so that the
    reconstruction has the least error a common factor can give.
    """
    n_features = like.n_features if like is not None else n_features
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(n_features, rows.shape[1], generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    if like is None:
        sae = _dictionary(directions.T, directions, mean, k)
    else:
        density = firing_counts(like, [rows]) / len(rows)
        wanted = np.round(density[torch.randperm(n_features, generator=generator).numpy()] * len(rows))
        threshold = torch.empty(n_features)
        centred = torch.from_numpy(rows) - mean
        for lo in range(0, n_features, 256):  # the scores of 40,000 rows on 256 directions are 40 MB
            scores = (centred @ directions[lo : lo + 256].T).sort(dim=0, descending=True).values
            place = torch.from_numpy(wanted[lo : lo + 256]).long().clamp(max=len(rows) - 1)
            threshold[lo : lo + 256] = scores.gather(0, place[None])[0]
        bias = (-threshold).clamp_min(0)  # a feature denser than half is one that reads from below the mean
        sae = ThresholdSAE(directions.T, bias, directions, mean, threshold=threshold)
    part = torch.from_numpy(rows[:: max(1, len(rows) // 4096)])
    back, target = sae.reconstruct(part) - mean, part - mean
    sae.W_dec.mul_(float((back * target).sum() / back.square().sum().clamp_min(1e-30)))
    return sae
