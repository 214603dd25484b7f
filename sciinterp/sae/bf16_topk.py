"""Screened top-k: a bfloat16 product proposes, exact float32 dot products decide, a bound certifies.

The encoder product is nearly all of a training step. Where the processor multiplies bfloat16 natively it runs
about twice as fast, but its rounding may exchange features near the ``k``-th place. So:

1. *Screen.* ``s = bf16(xin) bf16(W)^T + bf16(b)`` in bfloat16; the ``2k`` (at least ``k + 8``) largest of each
   row are candidates.
2. *Rescore.* Their pre-activations are computed in float32; the ``k`` largest are the answer, if it is certain.
3. *Certify.* Every feature that was not proposed has ``s_j <= s_min``, the last candidate's score, so its true
   pre-activation is at most ``s_min + bound``. With ``dx = xin - bf16(xin)`` and ``dW = W - bf16(W)``::

       |xin . w_j - bf16(xin) . bf16(w_j)| <= |xin| max_j |dw_j| + |dx| max_j |bf16(w_j)|
       bound = that + max_j |db_j| + 2^-7 (|s_min| + max_j |b_j|) + d 2^-23 |xin| max_j |w_j|

   (the last two terms cover two roundings of the output and of the sums). A row whose ``k``-th exact value is
   above ``s_min + bound`` is certain, and so is one where ``s_min + bound <= 0``: only positive entries count.
4. *Fall back.* All other rows go through the exact float32 product.

Outlier channels make the bound loose and send rows to the fallback: slower, never wrong. Whether a run
screens is decided once, from the processor and the sizes, written into its checkpoints and kept on resume,
since a dot product computed alone may differ from a matrix product's in the last bit.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sciinterp.sae import kernels
from sciinterp.sae.sparse import CHUNK, Encoder, Workspace, encode_topk, select

# Candidates beyond k: as many again, at least this. Eight do for peaked rows; with isotropic noise half of
# the rows would be doubtful, and a doubtful row costs both products.
SPARE = 8
# Below this many multiplications a row the product is too small a part of the step to be worth halving.
MIN_PRODUCT = 320 * 2048
_UNIT = 2.0**-7


@functools.cache
def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 natively (AVX512-BF16 or AMX), by its flags."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def choose_encoder(screen: str, device: torch.device, d_in: int, n_features: int) -> tuple[Encoder, bool]:
    """The encoder of a run, and whether it screens.

    "auto" screens on a CPU with native bfloat16, for dictionaries large enough to pay.
    """
    pays = device.type == "cpu" and has_bfloat16() and d_in * n_features >= MIN_PRODUCT
    chosen = screen == "on" or (screen == "auto" and pays)
    return (encode_screened, True) if chosen and device.type == "cpu" else (encode_topk, False)


def encode_screened(
    xin: Tensor, w_enc: Tensor, b_enc: Tensor, k: int, work: Workspace
) -> tuple[Tensor, Tensor]:
    """:func:`~sciinterp.sae.sparse.encode_topk` by screening; the same features, values to the last bits.

    A row with fewer than ``k`` positive pre-activations may be filled up with other features that are not
    positive: rectified, they are zero either way.
    """
    n, (n_features, d_in) = len(xin), w_enc.shape
    k_screen = k + max(k, SPARE)
    if k_screen >= n_features:
        return encode_topk(xin, w_enc, b_enc, k, work)
    coarse_w = work.take("screen.w", n_features, d_in, dtype=torch.bfloat16).copy_(w_enc)
    coarse_b = b_enc.bfloat16()
    longest = float(torch.linalg.vector_norm(xin, dim=1).max()) if n else 0.0
    limits = _limits(w_enc, b_enc, coarse_w, coarse_b, longest)
    values = torch.empty(n, k)
    columns = torch.empty(n, k, dtype=torch.int32)
    certain = np.empty(n, np.bool_)
    scores, proposed = np.empty((CHUNK, k_screen), np.int16), np.empty((CHUNK, k_screen), np.int32)
    for lo in range(0, n, CHUNK):
        rows = xin[lo : lo + CHUNK]
        m = len(rows)
        coarse_x = work.take("screen.x", m, d_in, dtype=torch.bfloat16).copy_(rows)
        out = work.take("screen.pre", m, n_features, dtype=torch.bfloat16)
        torch.addmm(coarse_b, coarse_x, coarse_w.T, out=out)
        # As 16-bit integers, non-negative bfloat16 numbers keep their order and stand above all negative
        # ones.
        floor = select(out.view(torch.int16).numpy(), scores[:m], proposed[:m])
        least = torch.from_numpy(floor).view(torch.bfloat16).float()
        margin = _margin(rows, coarse_x, least, limits, d_in).numpy()
        kernels.over_rows(
            m,
            kernels.rescore,
            rows.numpy(),
            w_enc.numpy(),
            b_enc.numpy(),
            proposed[:m],
            margin,
            (values[lo : lo + m].numpy(), columns[lo : lo + m].numpy(), certain[lo : lo + m]),
        )
    if not certain.all():
        doubtful = torch.from_numpy(np.flatnonzero(~certain))
        values[doubtful], columns[doubtful] = encode_topk(xin[doubtful], w_enc, b_enc, k, work)
    work.counts["screened"] = work.counts.get("screened", 0) + n
    work.counts["doubtful"] = work.counts.get("doubtful", 0) + int((~certain).sum())
    return values, columns


def _limits(
    w_enc: Tensor, b_enc: Tensor, coarse_w: Tensor, coarse_b: Tensor, longest: float
) -> tuple[float, ...]:
    """Largest norms of ``dW``, of the rounded and of the exact rows; largest ``|db|`` and ``|b|``.

    Features whose bias no row of the batch can lift above zero are left out of the last two: they are never
    active, and a dead feature's bias of -1000 would make every bound useless.
    """
    worst = np.zeros((3, len(w_enc)), np.float32)
    kernels.over_rows(
        len(w_enc), kernels.rounding_norms, w_enc.numpy(), coarse_w.view(torch.int16).numpy(), worst
    )
    lost, rounded, exact = (float(v) for v in np.sqrt(worst.max(1)) * (1 + 1e-5))
    within = b_enc > -longest * exact * (1 + 1e-3)
    bias_lost = ((b_enc - coarse_b.float()).abs() * within).max()
    return lost, rounded, exact, float(bias_lost), float((b_enc.abs() * within).max())


def _margin(rows: Tensor, coarse: Tensor, least: Tensor, limits: tuple[float, ...], d_in: int) -> Tensor:
    """What a pre-activation that was not proposed cannot exceed, per row."""
    lost, rounded, exact, bias_lost, bias = limits
    norm = torch.linalg.vector_norm(rows, dim=1)
    away = torch.linalg.vector_norm(rows - coarse, dim=1)
    bound = norm * (lost + d_in * 2.0**-23 * exact) + away * rounded
    return least + bound.mul_(1 + 1e-5) + bias_lost + _UNIT * (least.abs() + bias)
