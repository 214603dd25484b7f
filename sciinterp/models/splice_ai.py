"""SpliceAI (Jaganathan and others 2019, doi 10.1016/j.cell.2018.12.015): splice sites from DNA.

Sixteen residual blocks of dilated convolutions, 32 channels, four groups of growing kernel and dilation; a
skip path adds a 1x1 convolution after each group. Every base sees 5,000 bases on either side; beyond the
sequence they are N. Five models of one shape were trained. The arrays are read from the wheel of
``spliceai==1.3.1``, whose metadata says GPLv3; its authors offer the trained models under CC BY-NC 4.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sciinterp.errors import FormatError, InputError

from .adapter import Adapter
from .encodings import OneHot, reverse_complement
from .site import Batch, Site, Targets
from .weight_files import built, fit, reading, wheel_file

if TYPE_CHECKING:
    import h5py

SHA256 = (
    "e1fd5adcef7489d604b10e79c40078ef790d51ef048c4ce3869c9119ac5de42b",
    "6ab042b82ab966b6d3582cb31b96f0859ea08a864f168d69e83aa14450a3b66e",
    "e2e790bde53dfdf410c6dc434a86122a7d12f3f38dc2ef45d85986e9ecf22fad",
    "ca88ac9e58e69ba6fdeed319b72f063f164c9abf7392eaccef903e94c1d99dd6",
    "791cd22c62a80a08d2ca674615a93ce8159d7b55bd157cfef2983b1bd6b41391",
)
# (kernel, dilation) of the blocks, four a group.
GROUPS = ((11, 1), (11, 4), (21, 10), (41, 25))


class ResidualBlock(nn.Module):
    """Twice normalisation, ReLU and dilated convolution, added to the input."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.BatchNorm1d(width, eps=1e-3) for _ in range(2))
        self.conv1 = nn.Conv1d(width, width, kernel, dilation=dilation, padding="same")
        self.conv2 = nn.Conv1d(width, width, kernel, dilation=dilation, padding="same")

    def forward(self, x: Float[Tensor, "B D T"]) -> Float[Tensor, "B D T"]:
        y = self.conv1(self.norm1(x).relu())
        return x + self.conv2(self.norm2(y).relu())


class SpliceModule(nn.Module):
    """The network; scores of neither, acceptor and donor for every base, context included."""

    def __init__(self, width: int = 32, groups: Sequence[tuple[int, int]] = GROUPS) -> None:
        super().__init__()
        # Each of a block's two convolutions sees (kernel - 1) * dilation / 2 bases on either side.
        self.context = sum(4 * (kernel - 1) * dilation for kernel, dilation in groups)
        self.stem = nn.Conv1d(4, width, 1)
        self.blocks = nn.ModuleList(ResidualBlock(width, *group) for group in groups for _ in range(4))
        self.skips = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(5))
        self.head = nn.Conv1d(width, 3, 1)

    def forward(self, x: Float[Tensor, "B 4 T"]) -> Float[Tensor, "B T 3"]:
        x = self.stem(x)
        skip = self.skips[0](x)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i % 4 == 3:
                skip = skip + self.skips[i // 4 + 1](x)
        return self.head(skip).mT


@final
class SpliceAI(Adapter):
    """One of the five models; ``skip.i`` is what group i adds to the output's path."""

    module: SpliceModule
    kind = "dna"
    alphabet = "ACGTN"
    licence = "wheel: GPLv3; the trained models: CC BY-NC 4.0"
    vocabulary = ("neither", "acceptor", "donor")

    def __init__(self, module: SpliceModule, *, name: str) -> None:
        super().__init__(module, name=name)
        self.encoding = OneHot(channels_first=True, context=module.context)

    def _sites(self) -> Iterable[Site]:
        width, n = self.module.stem.out_channels, len(self.module.blocks)
        yield Site("embedding", "stem", width, axes="BDT", kind="embed")
        for i in range(n):
            yield Site(f"layers.{i}", f"blocks.{i}", width, axes="BDT", depth=(i + 1) / n)
            if i % 4 == 3:
                j = i // 4 + 1
                yield Site(f"skip.{j}", f"skips.{j}", width, axes="BDT", depth=(i + 1) / n, kind="skip")

    def _encode(self, data: Sequence[str]) -> Batch:
        return self.encoding.encode(data)

    def _forward(self, batch: Batch) -> Float[Tensor, "B T 3"]:
        return self.module(batch.inputs["x"])

    def logits(self, batch: Batch) -> Float[Tensor, "B T 3"]:
        """Scores of neither, acceptor and donor; their softmax is the published output."""
        return self.forward(batch).float()

    def targets(self, batch: Batch) -> Targets:
        """Nothing that the input states: whether a base is a splice site is what the model says of it."""
        return Targets(torch.zeros(batch.mask.shape, dtype=torch.long), torch.zeros_like(batch.mask))

    def reverse_complement(self, sequence: str) -> str:
        """The other strand."""
        return reverse_complement(sequence)


def load(name: str, weights: object) -> SpliceAI:
    """``spliceai-1`` to ``spliceai-5`` from the installed wheel or a copy of the file."""
    module = built(name, weights, SpliceModule)
    if module is None:
        number = int(name.rpartition("-")[2])
        file, install = f"spliceai/models/spliceai{number}.h5", "--no-deps spliceai==1.3.1 h5py"
        path = wheel_file("spliceai", file, SHA256[number - 1], install=install, weights=weights)
        with reading(name, path):
            state = read_state(path)
        module = fit(name, SpliceModule(), state, where=path)
    return SpliceAI(module, name=name)


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The parameters of `SpliceModule` from a stored Keras graph, checked against its shape.

    Layers are numbered in the order in which the graph was built, so the n-th convolution of the file is the
    n-th of the network: stem, first skip, then two per block and a skip after every fourth.
    """
    try:
        import h5py
    except ImportError:
        raise InputError("reading SpliceAI needs h5py", do="python -m pip install h5py.") from None
    with h5py.File(path) as file:
        graph = json.loads(str(np.asarray(file.attrs["model_config"])))["config"]["layers"]
        arrays = {layer["name"]: _arrays(file[f"model_weights/{layer['name']}"]) for layer in graph}
    ordered = sorted(graph, key=lambda layer: int(layer["name"].rpartition("_")[2]))
    convs = [layer for layer in ordered if layer["class_name"] == "Conv1D"]
    norms = [layer for layer in ordered if layer["class_name"] == "BatchNormalization"]
    wanted = {"stem": (1, 1), "skips.0": (1, 1)}
    for i in range(16):
        wanted |= {f"blocks.{i}.conv{j}": GROUPS[i // 4] for j in (1, 2)}
        wanted |= {f"skips.{i // 4 + 1}": (1, 1)} if i % 4 == 3 else {}
    wanted["head"] = (1, 1)
    found = [(c["config"]["kernel_size"][0], c["config"]["dilation_rate"][0]) for c in convs]
    if found != list(wanted.values()) or len(norms) != 32:
        raise FormatError("this graph is not SpliceAI's 10,000-base model", file=str(path))
    state = {}
    for name, layer in zip(wanted, convs):
        kernel, bias = arrays[layer["name"]]["kernel"], arrays[layer["name"]]["bias"]
        state |= {
            f"{name}.weight": torch.from_numpy(kernel.transpose(2, 1, 0).copy()),
            f"{name}.bias": torch.from_numpy(bias),
        }
    parts = {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }
    for i, layer in enumerate(norms):
        name = f"blocks.{i // 2}.norm{i % 2 + 1}"
        state |= {
            f"{name}.{ours}": torch.from_numpy(arrays[layer["name"]][theirs])
            for ours, theirs in parts.items()
        }
        state[f"{name}.num_batches_tracked"] = torch.tensor(0)
    return state


def _arrays(group: h5py.Group) -> dict[str, np.ndarray]:
    """The arrays of one layer by their short names."""
    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: object) -> None:
        if hasattr(item, "shape"):
            found[name.rpartition("/")[2].partition(":")[0]] = np.asarray(item)

    group.visititems(visit)
    return found
