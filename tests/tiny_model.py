"""A seeded antibody model and an SAE on it, small enough to run in every test that needs a model."""

from __future__ import annotations

import torch

from sciinterp.models.antiberty import Antiberty, AntibertyModule
from sciinterp.sae.base import TopKSAE


def tiny_model_and_sae():
    """Two blocks of width 32; 64 random directions, the eight largest kept."""
    torch.manual_seed(0)
    model = Antiberty(AntibertyModule(n_blocks=2, width=32, n_heads=2, inner=64).eval())
    directions = torch.nn.functional.normalize(torch.randn(64, 32), dim=1)
    sae = TopKSAE(directions.T.clone(), torch.zeros(64), directions, torch.zeros(32), k=8)
    sae.identity = {**model.identity, "site": "layers.0"}
    return model, sae
