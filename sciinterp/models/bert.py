"""A BERT encoder in plain PyTorch, with the parameter names of the published checkpoints.

Devlin and others 2019: embeddings of token, position and segment are summed and normalised; every block is
self-attention and a two-layer perceptron, each added to its input and normalised after the sum.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class BertEmbeddings(nn.Module):
    """Sum of token, position and segment embeddings, normalised."""

    def __init__(self, vocabulary: int, width: int, max_tokens: int, eps: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width, padding_idx=0)
        self.position_embeddings = nn.Embedding(max_tokens, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=eps)

    def forward(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        place = self.position_embeddings.weight[: ids.shape[1]] + self.token_type_embeddings.weight[0]
        return self.LayerNorm(self.word_embeddings(ids) + place)


class _Heads(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (
            f(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value)
        )
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


class _AddNorm(nn.Module):
    def __init__(self, width_in: int, width: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width_in, width)
        self.LayerNorm = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + residual)


class BertBlock(nn.Module):
    """Self-attention and perceptron, each with its residual and normalisation."""

    def __init__(self, width: int, n_heads: int, inner: int, eps: float) -> None:
        super().__init__()
        self.attention = nn.ModuleDict(
            {"self": _Heads(width, n_heads), "output": _AddNorm(width, width, eps)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = _AddNorm(inner, width, eps)

    def forward(
        self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B 1 1 T"] | None
    ) -> Float[Tensor, "B T D"]:
        x = self.attention["output"](self.attention["self"](x, mask), x)
        return self.output(F.gelu(self.intermediate["dense"](x)), x)


class Bert(nn.Module):
    """The encoder; `forward` returns the last hidden state."""

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int,
        n_blocks: int,
        n_heads: int,
        inner: int,
        max_tokens: int,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(vocabulary, width, max_tokens, eps)
        blocks = nn.ModuleList(BertBlock(width, n_heads, inner, eps) for _ in range(n_blocks))
        self.encoder = nn.ModuleDict({"layer": blocks})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(width, width)})

    def forward(self, ids: Int[Tensor, "B T"], present: Bool[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        mask = None if bool(present.all()) else present[:, None, None, :]
        x = self.embeddings(ids)
        for block in self.blocks:
            x = block(x, mask)
        return x

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks, in order."""
        return list(self.encoder["layer"].children())

    def pooled(self, last: Float[Tensor, "B T D"]) -> Float[Tensor, "B D"]:
        """Summary of a sequence, from its first token."""
        return torch.tanh(self.pooler["dense"](last[:, 0]))
