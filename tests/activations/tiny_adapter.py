"""A seeded two-block letter model, small enough to run thousands of times, that can be told to misbehave."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import nn

from sciinterp.models.adapter import Adapter
from sciinterp.models.encodings import letters_to_batch
from sciinterp.models.site import Site
from sciinterp.samples import Samples

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = x * mask[..., None]
        return x + torch.tanh(self.mix(x.transpose(1, 2)).transpose(1, 2))


class Tiny(nn.Module):
    def __init__(self, width: int = 8, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(len(LETTERS) + 1, width)
        self.blocks = nn.ModuleList([Block(width), Block(width)])
        self.embed.weight.data *= scale

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        x = self.embed(input_ids)
        for block in self.blocks:
            x = block(x, attention_mask)
        return x


@final
class TinyAdapter(Adapter):
    """`calls` counts forward passes; `poison` maps a sequence to the position that becomes NaN."""

    name = "tiny"
    alphabet = LETTERS

    def __init__(
        self, width: int = 8, *, scale: float = 1.0, max_length=None, over_length="refuse", **kwargs
    ):
        super().__init__(Tiny(width, scale).eval().requires_grad_(False), **kwargs)
        self.max_length, self.over_length = max_length, over_length
        self.calls, self.poison, self.stop_at = 0, {}, None
        self.sizes: list[tuple[int, int]] = []

    def _sites(self):
        width = self.module.embed.weight.shape[1]
        yield Site("embedding", "embed", width, kind="embed")
        yield Site("layers.0", "blocks.0", width, depth=0.5)
        yield Site("layers.1", "blocks.1", width, depth=1.0)

    def _encode(self, data):
        batch = letters_to_batch(data, {c: i for i, c in enumerate(LETTERS)}, pad=len(LETTERS))
        self._data = list(data)
        return batch

    def _forward(self, batch):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        self.sizes.append((int(batch.lengths.sum()), int(batch.lengths.max()) * len(batch)))
        hits = [(i, self.poison[s]) for i, s in enumerate(self._data) if s in self.poison]
        if not hits:
            return self.module(**batch.inputs)

        def spoil(_, __, output):
            output = output.clone()
            for i, position in hits:
                output[i, position, 1] = float("nan")
            return output

        handle = self.module.blocks[0].register_forward_hook(spoil, prepend=True)
        try:
            return self.module(**batch.inputs)
        finally:
            handle.remove()


def natural_lengths(n: int, seed: int = 0, *, low: int = 20, high: int = 500) -> np.ndarray:
    """Lengths with median 120 and a tail to 500."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.lognormal(np.log(120), 0.6, n).astype(int), low, high)


def make_samples(lengths, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    data = ["".join(rng.choice(list(LETTERS), n)) for n in lengths]
    return Samples([f"s/{i}" for i in range(len(data))], data)
