"""Any module by a list of sites: models whose layout is easier said than discovered.

HyenaDNA (Nguyen 2023), Caduceus (Schiff 2024), Evo 2 (Brixi 2025), Enformer (Avsec 2021) and Borzoi
(Linder 2025) come as modules of packages or of code next to their weights: build the module there, and
describe it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from typing import final

from torch import Tensor, nn

from sciinterp.samples import Samples

from .adapter import Adapter
from .encodings import Encoding, reverse_complement
from .site import Batch, Site


@final
class ByPath(Adapter):
    """A module, an encoding and its sites.

    Parameters
    ----------
    module : nn.Module
    encoding : Encoding
        `Letters`, `Kmers`, `Pieces`, `OneHot` or any record with an `alphabet` and an `encode` method.
    sites : sequence of Site
        At least ``embedding`` and ``layers.i`` for every block, from 0.
    name, kind, licence : str
    max_length : int, optional
    call : callable, optional
        Runs the module on a batch's inputs; by default with them as keywords.

    Examples
    --------
    >>> from sciinterp.models.encodings import Letters
    >>> module = nn.Sequential(nn.Embedding(5, 8), nn.GRU(8, 8, batch_first=True))
    >>> embedding = Site("embedding", "1", 8, io="input", kind="embed")
    >>> sites = [embedding, Site("layers.0", "1", 8, select=(0,), depth=1.0)]
    >>> letters = Letters({c: i for i, c in enumerate("ACGT")}, pad=4)
    >>> model = ByPath(module, letters, sites, name="gru", kind="dna", call=lambda m, x: m(x["input_ids"]))
    >>> model.encode(["ACG"]).spans[0, :, :2].tolist()
    [[0, 1], [1, 2], [2, 3]]
    """

    def __init__(
        self,
        module: nn.Module,
        encoding: Encoding,
        sites: Sequence[Site],
        *,
        name: str,
        kind: str,
        licence: str = "unknown",
        max_length: int | None = None,
        call: Callable[[nn.Module, Mapping[str, Tensor]], object] | None = None,
    ) -> None:
        super().__init__(module)
        self.encoding, self._listed, self._call = encoding, tuple(sites), call
        self.name, self.kind, self.licence, self.max_length = name, kind, licence, max_length
        self.alphabet = encoding.alphabet
        if kind == "dna":
            self.reverse_complement = reverse_complement

    def prepare(self, samples: Samples) -> Samples:
        """What the encoding makes of samples as they are read, where it reads something else."""
        how = getattr(self.encoding, "prepare", None)
        return samples if how is None else how(samples)

    def count_positions(self, data: Mapping[str, Sized] | Sequence[str]) -> int:
        """Letters, or genes of a cell."""
        return len(data["genes"]) if isinstance(data, Mapping) else len(data)

    def _sites(self) -> Iterable[Site]:
        return self._listed

    def _encode(self, data: Sequence[str]) -> Batch:
        return self.encoding.encode(data)

    def _forward(self, batch: Batch) -> object:
        return self._call(self.module, batch.inputs) if self._call else self.module(**batch.inputs)
