"""The blocks of Caduceus (Schiff and others 2024), written from their definition for tests.

A block hands on what it computed and the stream before it; their sum is the stream. It adds the two, norms, and runs a Mamba
(Gu and Dao 2023) over the sequence and another, with the same outer projections, from its end. Of a model that treats
strands alike (``strands=True``) the stream is a pair, the second half of it reverse complemented: flipped in place and channel;
a block exchanges the halves, as the fused code of published checkpoints does. The recurrence is a loop here.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STATES, TAPS, EPS = 16, 4, 1e-5


def reverse_complement(x: Tensor) -> Tensor:
    return x.flip((-2, -1))


class Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x / (x.square().mean(-1, keepdim=True) + EPS).sqrt()


class Mamba(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        inner, self.rank = 2 * width, -(-width // 16)
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, TAPS, groups=inner)
        self.x_proj = nn.Linear(inner, self.rank + 2 * STATES, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.A_log, self.D = nn.Parameter(torch.zeros(inner, STATES)), nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        x, z = self.in_proj(u).chunk(2, -1)
        x = F.silu(self.conv1d(F.pad(x.mT, (TAPS - 1, 0)))).mT
        step, b, c = self.x_proj(x).split([self.rank, STATES, STATES], -1)
        step = F.softplus(self.dt_proj(step))
        state, out = x.new_zeros(len(x), x.shape[2], STATES), []
        for t in range(x.shape[1]):
            fade = (step[:, t, :, None] * -self.A_log.exp()).exp()
            state = fade * state + (step[:, t] * x[:, t])[..., None] * b[:, t, None]
            out.append((state * c[:, t, None]).sum(-1))
        return self.out_proj((torch.stack(out, 1) + self.D * x) * F.silu(z))


class BothWays(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mamba_fwd, self.mamba_rev = Mamba(width), Mamba(width)
        self.mamba_rev.in_proj, self.mamba_rev.out_proj = self.mamba_fwd.in_proj, self.mamba_fwd.out_proj

    def forward(self, x: Tensor) -> Tensor:
        return self.mamba_fwd(x) + self.mamba_rev(x.flip(1)).flip(1)


class OnStrands(nn.Module):
    """A module on the first half of the channels, and on the second as the other strand reads it."""

    def __init__(self, submodule: nn.Module) -> None:
        super().__init__()
        self.submodule = submodule

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        return torch.cat([self.submodule(a), reverse_complement(self.submodule(reverse_complement(b)))], -1)


class Block(nn.Module):
    def __init__(self, width: int, strands: bool) -> None:
        super().__init__()
        mixer, self.norm, self.strands = BothWays(width), Norm(width), strands
        self.mixer = OnStrands(mixer) if strands else mixer

    def forward(self, x: Tensor, residual: Tensor | None = None) -> tuple[Tensor, Tensor]:
        stream = x if residual is None else x + residual
        if not self.strands:
            return self.mixer(self.norm(stream)), stream
        b, a = stream.chunk(2, -1)
        stream = torch.cat([a, b], -1)
        normed = torch.cat([self.norm(a), reverse_complement(self.norm(reverse_complement(b)))], -1)
        return self.mixer(normed), stream


class Letters(nn.Module):
    def __init__(self, vocabulary: int, width: int, complement: list[int] | None) -> None:
        super().__init__()
        self.embedding, self.complement = nn.Embedding(vocabulary, width), complement

    def forward(self, tokens: Tensor) -> Tensor:
        if self.complement is None:
            return self.embedding(tokens)
        other = torch.tensor(self.complement)[tokens]
        return torch.cat([self.embedding(tokens), self.embedding(other).flip(-1)], -1)


class Caduceus(nn.Module):
    def __init__(
        self, n: int = 2, width: int = 16, vocabulary: int = 16, complement: list[int] | None = None
    ):
        super().__init__()
        self.embeddings = Letters(vocabulary, width, complement)
        self.layers = nn.ModuleList(Block(width, complement is not None) for _ in range(n))

    def forward(self, tokens: Tensor) -> Tensor:
        x, residual = self.embeddings(tokens), None
        for block in self.layers:
            x, residual = block(x, residual)
        return x + residual if residual is not None else x
