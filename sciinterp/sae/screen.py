"""Which encoder a run uses."""

from __future__ import annotations

import torch

from sciinterp.sae.sparse import Encoder, encode_topk


def choose_encoder(screen: str, device: torch.device, d_in: int, n_features: int) -> tuple[Encoder, bool]:
    """The encoder, and whether it screens."""
    return encode_topk, False
