"""Models in which a known direction drives a known letter, through one and through two later layers.

The driven direction passes through every later layer to the letter that it raises; the idle one has a feature that reads
the same letter as faithfully, and is read by nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import nn

import sciinterp as si
from sciinterp.models import Adapter, Batch, Site, Targets, letters_to_batch, own_tokens
from sciinterp.models.generation import generate
from sciinterp.sae.base import ThresholdSAE

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
WIDTH, N_FEATURES, DRIVEN, IDLE = 24, 16, 3, 7
MARK = "W"  # the letter that the driven direction raises


class PlantedModule(nn.Module):
    """Letters are embedded; ``site`` is the stream; later layers hand the driven direction on to the letter it raises."""

    def __init__(self, seed: int, n_later: int) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=g)).Q
        self.directions = basis[:N_FEATURES]
        self.embed = nn.Embedding(22, WIDTH)
        self.embed.weight.data = (
            0.3 * torch.randn(22, WIDTH, generator=g) @ basis[N_FEATURES:].T @ basis[N_FEATURES:]
        )
        self.stream = nn.Identity()
        self.later = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(n_later))
        # What a layer adds is seen by the neighbours, so that steering has a price elsewhere.
        noise = 0.2 * torch.randn(WIDTH, WIDTH, generator=g)
        idle = self.directions[IDLE]
        for layer in self.later:
            layer.bias.data.zero_()
            layer.weight.data = (
                torch.eye(WIDTH) + noise - torch.outer((torch.eye(WIDTH) + noise) @ idle, idle)
            ).clone()
        self.head = nn.Linear(WIDTH, 22)
        self.head.bias.data.zero_()
        head = 0.3 * torch.randn(22, WIDTH, generator=g)
        through = torch.eye(WIDTH)
        for layer in self.later:
            through = layer.weight.data @ through
        # Every feature but the idle one raises a letter of its own, and nothing else: only one of them raises W.
        read = [j for j in range(N_FEATURES) if j != IDLE]
        raised = torch.zeros(22, len(read))
        others = [i for i, letter in enumerate(LETTERS) if letter != MARK]
        for column, j in enumerate(read):
            raised[LETTERS.index(MARK) if j == DRIVEN else others[j], column] = 2.0
        inverse = torch.linalg.pinv(through @ self.directions[read].T)
        self.head.weight.data = head + (raised - head @ through @ self.directions[read].T) @ inverse

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.stream(self.embed(tokens))
        for layer in self.later:
            x = layer(x)
            x = x + 0.3 * x.roll(1, 1)
        return self.head(x)


@final
class Planted(Adapter):
    """The adapter of such a model."""

    name, kind, alphabet, licence = "planted", "protein", LETTERS, "none"
    vocabulary = (*LETTERS, "<mask>", "<pad>")
    mask_token = "<mask>"

    def _sites(self):
        yield Site("embedding", "embed", WIDTH, kind="embed")
        yield Site("layers.0", "stream", WIDTH, depth=0.5)

    def _encode(self, data: Sequence[str]) -> Batch:
        return letters_to_batch(data, {x: i for i, x in enumerate(LETTERS)}, pad=21, name="tokens")

    def _forward(self, batch: Batch) -> Any:
        return self.module(batch.inputs["tokens"])

    def logits(self, batch: Batch) -> torch.Tensor:
        return self.forward(batch).float()

    generate = generate

    def targets(self, batch: Batch) -> Targets:
        return own_tokens(batch, "tokens")

    def masked(self, batch: Batch, where: torch.Tensor) -> Batch:
        tokens = batch.inputs["tokens"].masked_fill(where, 20)
        return type(batch)({"tokens": tokens}, batch.mask, batch.spans, batch.lengths, batch.present)


def world(seed: int, n_later: int) -> dict[str, Any]:
    """A model, its dictionary, samples in families, and two concepts: both are letters W, read perfectly by two features.

    ``driven`` names the feature whose direction raises W, ``idle`` the one that nothing reads.
    """
    rng = np.random.default_rng(seed)
    model = Planted(PlantedModule(seed, n_later).eval())
    D = model.module.directions
    n, length, n_families = 80, 24, 60
    data = ["".join(rng.choice(list(LETTERS), length)) for _ in range(n)]
    family = [f"f{i % n_families}" for i in range(n)]
    samples = si.Samples([f"s{i}" for i in range(n)], data, table=pd.DataFrame({"family": family}))
    sae = ThresholdSAE(
        D.T.clone(), torch.zeros(N_FEATURES), D, torch.zeros(WIDTH), threshold=torch.zeros(N_FEATURES)
    )
    sae.origin = model.origin_at("layers.0")
    is_mark = np.array([x == MARK for text in data for x in text])
    codes = (rng.random((len(is_mark), N_FEATURES)) < is_mark.mean()) * rng.random((len(is_mark), N_FEATURES))
    for j in (DRIVEN, IDLE):
        codes[:, j] = is_mark * (0.5 + 0.5 * rng.random(len(is_mark)))
    features = si.FeatureMatrix(sp.csr_array(codes.astype(np.float32)), samples, sae=sae, origin=sae.origin)
    number, place = np.divmod(np.flatnonzero(is_mark), length)
    rows = [
        {"sample": f"s{i}", "start": p, "end": p + 1, "concept": c, "source": "planted"}
        for i, p in zip(number, place)
        for c in ("driven", "idle")
    ]
    hits = pd.DataFrame(
        {"concept": ["driven", "idle"], "feature": [DRIVEN, IDLE], "f1": 1.0, "selected": True}
    )
    split = si.split_families(samples, by="family", seed=0)
    return {
        "model": model,
        "features": features,
        "hits": hits,
        "annotations": si.Annotations(pd.DataFrame(rows)),
        "split": split,
    }
