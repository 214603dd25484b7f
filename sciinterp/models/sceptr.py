"""SCEPTR (Nagano and others 2025, doi 10.1016/j.cels.2024.12.006): T-cell receptors by their six loops.

A sample is a list of six sequences, CDR1, CDR2 and CDR3 (the junction, from C to F) of the alpha chain and then
of the beta chain, empty where not known; positions are their residues end to end, and the third column of a
span is the number of the loop, 1 to 6. A residue is a letter, its place in the loop from 0 to 1, and the loop,
each as plain numbers; a linear map and three transformer blocks follow. The weights are read from the wheel of
``sceptr==1.2.0`` (MIT): the default variant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from sciinterp.errors import InputError

from .adapter import Adapter, ReadsBothSides
from .site import Batch, Site, block_sites, unit_spans
from .weight_files import built, fit, read_tensors, renamed, wheel_file

FILE = "sceptr/_model_saves/SCEPTR/state_dict.pt"
SHA256 = "b4c2d06bc5ac1c395cbf97e9be8e8e6db4b06996bc9b5b6a79451fef9ec3c8d8"
INSTALL = "--no-deps sceptr==1.2.0"
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
LOOPS = ("CDR1A", "CDR2A", "CDR3A", "CDR1B", "CDR2B", "CDR3B")
# Tokens: padding, mask, class, then the letters.
_MASK, _CLS, _FIRST = 1, 2, 3
# The checkpoint's names and ours.
NAMES = (
    (r"^_self_attention_stack\._initial_projector", "project"),
    (r"^_self_attention_stack\._standard_stack\._self_attention_stack", "encoder"),
    (r"^_mlm_token_prediction_projector\.projector", "letters"),
)


class SceptrModule(nn.Module):
    """Plain numbers of every residue, a linear map, transformer blocks; `letters` predicts hidden residues."""

    def __init__(self, *, width: int = 64, n_blocks: int = 3, n_heads: int = 8) -> None:
        super().__init__()
        self.n_tokens = _FIRST - 1 + len(LETTERS)
        self.project = nn.Linear(self.n_tokens + 1 + len(LOOPS), width, bias=False)
        block = nn.TransformerEncoderLayer(width, n_heads, 4 * width, batch_first=True)
        self.encoder = nn.TransformerEncoder(block, n_blocks)
        self.letters = nn.Linear(width, len(LETTERS))

    def forward(
        self, tokens: Int[Tensor, "B T"], place: Float[Tensor, "B T"], loop: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T D"]:
        letter = F.one_hot(tokens, self.n_tokens + 1)[..., 1:].to(place)
        which = F.one_hot(loop, len(LOOPS) + 1)[..., 1:].to(place)
        x = self.project(torch.cat([letter, place[..., None], which], -1))
        return self.encoder(x, src_key_padding_mask=tokens == 0)


@final
class Sceptr(ReadsBothSides, Adapter):
    """SCEPTR as an adapter; the loop of a hidden residue and its place in it stay known."""

    module: SceptrModule
    name = "sceptr"
    kind = "receptor"
    licence = "MIT"
    alphabet = LETTERS
    vocabulary = tuple(LETTERS)
    mask_token, mask_id = "[MASK]", _MASK
    token_key, first_word = "tokens", _FIRST

    def _sites(self) -> Iterable[Site]:
        width, n = self.module.project.out_features, len(self.module.encoder.layers)
        yield Site("embedding", "project", width, kind="embed")
        parts = {"attn_out": {"path": "self_attn", "select": (0,)}, "mlp_out": {"path": "linear2"}}
        yield from block_sites("encoder.layers", n, width, parts)

    def count_positions(self, data: Sequence[str]) -> int:
        """Residues of the six loops."""
        return sum(map(len, data))

    def _check(self, data: Sequence[str], who: str) -> None:
        """Refuse what is not six loops, unknown letters, and receptors without a residue."""
        if isinstance(data, str) or len(data) != len(LOOPS) or not all(isinstance(x, str) for x in data):
            raise InputError(
                "not a receptor",
                where=who,
                expected=f"six sequences: {', '.join(LOOPS)}",
                got=repr(data)[:60],
            )
        if not self.count_positions(data):
            raise InputError("an empty sample", where=who)
        for name, loop in zip(LOOPS, data):
            self._refuse_letters(loop, set(LETTERS), f"{who} {name}")

    def _encode(self, data: Sequence[Sequence[str]]) -> Batch:
        lengths = torch.tensor([self.count_positions(loops) for loops in data])
        size = (len(data), 1 + int(lengths.max()))
        tokens, loop, place = (
            torch.zeros(size, dtype=torch.long),
            torch.zeros(size, dtype=torch.long),
            torch.zeros(size),
        )
        tokens[:, 0] = _CLS
        for row, loops in enumerate(data):
            at = 1
            for number, text in enumerate(loops, start=1):
                n = len(text)
                here = slice(at, at + n)
                tokens[row, here] = torch.tensor([_FIRST + LETTERS.index(c) for c in text], dtype=torch.long)
                place[row, here] = torch.arange(n) / (n - 1) if n > 1 else 0.5
                loop[row, here] = number
                at += n
        mask, inputs = loop > 0, {"tokens": tokens, "place": place, "loop": loop}
        spans = unit_spans(mask, strand=loop)
        return Batch(inputs=inputs, mask=mask, spans=spans, lengths=lengths, present=tokens > 0)

    def _forward(self, batch: Batch) -> Float[Tensor, "B T D"]:
        return self.module(**batch.inputs)

    def logits(self, batch: Batch) -> Float[Tensor, "B T V"]:
        """Scores of the twenty letters for every token."""
        last = self.forward(batch).float()
        with torch.set_grad_enabled(self.grad):
            return self.module.letters(last)

    def vectors(self, batch: Batch) -> Float[Tensor, "B D"]:
        """SCEPTR's vector of each receptor: its first token after the last block, of length one."""
        return F.normalize(self.forward(batch)[:, 0].float(), dim=1)

    @property
    def probe(self) -> list[str]:
        """A receptor, for the model's fingerprint."""
        return ["TSENNYY", "QEAYKQQN", "CAHRSAGGGTSYGKLTF", "SNHLY", "FYNNEI", "CASSEFQGDNEQFF"]


def load(name: str, weights: object) -> Sceptr:
    """SCEPTR from the installed wheel, a copy of the file, or around a module of its class."""
    module = built(name, weights, SceptrModule)
    if module is None:
        path = wheel_file("sceptr", FILE, SHA256, install=INSTALL, weights=weights)
        state = renamed(read_tensors(name, path), NAMES)
        # The plain numbers of letters and loops are stored, too.
        state = {key: value for key, value in state.items() if not key.startswith("_token_embedder")}
        module = fit(name, SceptrModule(), state, where=path)
    return Sceptr(module)
