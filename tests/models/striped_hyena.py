"""StripedHyena 2, the blocks of Evo 2 (Ku and others 2025; Brixi and others 2025), written from its definition for tests.

A block adds a mixer and a gated MLP to the stream, each behind a norm. Mixers are causal: attention with rotary angles, or
a Hyena: three projections, each through a filter of 3 positions, then x2 * (h conv (x1 * v)), where h is short and shared by a
group of channels (``hcs``, 7 taps), of middle length (``hcm``, 128, with a skip), or as long as the sequence (``hcl``, a
sum of exponentials, with a skip). Parameters have the names of published checkpoints. Every convolution is a sum over
places here, where the published code uses transforms.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The published order: seven blocks, again and again; in the 40b, three are left out before block 35.
ORDER = ("hcs", "hcm", "hcl", "attention", "hcs", "hcm", "hcl")
TAPS = {"hcs": 7, "hcm": 128}
STATES, SHORT, EPS = 16, 3, 1e-6


class Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x / (x.square().mean(-1, keepdim=True).sqrt() + EPS)


class Gated(nn.Module):
    """The MLP; only that of the first block has a nonlinearity beside its gate."""

    def __init__(self, width: int, inner: int, first: bool) -> None:
        super().__init__()
        self.l1, self.l2 = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.l3, self.first = nn.Linear(inner, width, bias=False), first

    def forward(self, x: Tensor) -> Tensor:
        a = self.l1(x)
        return self.l3((F.gelu(a) if self.first else a) * self.l2(x))


def convolved(x: Tensor, h: Tensor) -> Tensor:
    """y[t] = sum over j of h[j] x[t - j], channel by channel: x [B, D, T], h [D, taps]."""
    h = h[:, : x.shape[-1]]
    return F.conv1d(F.pad(x, (h.shape[1] - 1, 0)), h.flip(1)[:, None], groups=h.shape[0])


class Hyena(nn.Module):
    def __init__(self, width: int, kind: str, groups: int) -> None:
        super().__init__()
        self.kind = kind
        self.short_filter_weight = nn.Parameter(torch.randn(3 * width, 1, SHORT))
        if kind == "hcl":
            self.log_poles = nn.Parameter(torch.randn(width, STATES, 1))
            self.residues = nn.Parameter(torch.randn(width, STATES))
        else:
            self.h = nn.Parameter(torch.randn(groups, 1, TAPS[kind]))
        self.D = nn.Parameter(torch.zeros(width)) if kind != "hcs" else None

    def forward(self, u: Tensor) -> Tensor:
        z = convolved(u.mT, self.short_filter_weight[:, 0].flip(1))  # taps are kept latest last
        x2, x1, v = z[:, 0::3], z[:, 1::3], z[:, 2::3]
        gated = x1 * v
        if self.kind == "hcl":
            h = (self.residues[..., None] * (self.log_poles * torch.arange(u.shape[1])).exp()).sum(1)
        else:
            h = self.h[:, 0].repeat_interleave(gated.shape[1] // len(self.h), 0)
        y = convolved(gated, h.flip(1) if self.kind == "hcs" else h)
        return (x2 * (y if self.D is None else y + self.D[:, None] * gated)).mT


class Angles(nn.Module):
    inv_freq: Tensor

    def __init__(self, inv_freq: Tensor) -> None:
        super().__init__()
        self.register_buffer("inv_freq", inv_freq)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, stretch: float, base: float = 10_000) -> None:
        super().__init__()
        self.Wqkv, self.out_proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.heads, self.stretch, size = heads, stretch, width // heads
        self.rotary_emb = Angles(base ** (-torch.arange(0, size, 2) / size))

    def forward(self, u: Tensor) -> Tensor:
        q, k, v = self.Wqkv(u).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        angles = torch.outer(torch.arange(u.shape[1]) / self.stretch, self.rotary_emb.inv_freq)
        scores = turned(q, angles) @ turned(k, angles).mT / math.sqrt(q.shape[-1])
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        weights = scores.masked_fill(later, -torch.inf).softmax(-1)
        return self.out_proj((weights @ v).transpose(1, 2).flatten(2))


def turned(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary positions: channel i of the first half and of the second are a pair."""
    a, b = x.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Block(nn.Module):
    """(hidden, what a cache would hold), as published blocks return them."""

    def __init__(
        self, kind: str, width: int, inner: int, heads: int, groups: int, stretch: float, first: bool
    ):
        super().__init__()
        self.pre_norm, self.post_norm = Norm(width), Norm(width)
        if kind == "attention":
            self.inner_mha_cls = Attention(width, heads, stretch)
        else:
            self.projections = nn.Linear(width, 3 * width, bias=False)
            self.filter = Hyena(width, kind, groups)
            self.out_filter_dense = nn.Linear(width, width)
        self.kind, self.mlp = kind, Gated(width, inner, first)

    def forward(self, u: Tensor) -> tuple[Tensor, None]:
        x = self.pre_norm(u)
        if self.kind == "attention":
            u = u + self.inner_mha_cls(x)
        else:
            u = u + self.out_filter_dense(self.filter(self.projections(x)))
        return u + self.mlp(self.post_norm(u)), None


class StripedHyena(nn.Module):
    def __init__(
        self,
        n: int = 7,
        width: int = 32,
        inner: int = 48,
        heads: int = 2,
        groups: int = 4,
        stretch: float = 128,
    ):
        super().__init__()
        self.embedding_layer = nn.Embedding(512, width)
        self.blocks = nn.ModuleList(
            Block(ORDER[i % 7], width, inner, heads, groups, stretch, i == 0) for i in range(n)
        )
        self.norm = Norm(width)

    def forward(self, tokens: Tensor) -> tuple[Tensor, None]:
        x = self.embedding_layer(tokens)
        for block in self.blocks:
            x, _ = block(x)
        return self.norm(x) @ self.embedding_layer.weight.T, None
