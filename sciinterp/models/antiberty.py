"""AntiBERTy (Ruffolo, Gray and Sulam 2021, arXiv 2112.07782): antibodies, BERT with 8 blocks of width 512.

The weights are read as a file from the wheel of ``antiberty==0.1.3``; the package itself is never imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from .adapter import Adapter, ReadsBothSides
from .bert import Bert
from .encodings import letters_to_batch
from .generation import generate
from .site import Batch, Site, block_sites
from .weight_files import built, fit, read_tensors, wheel_file

FILE = "antiberty/trained_models/AntiBERTy_md_smooth/pytorch_model.bin"
SHA256 = "f1ae33eac8cc8784a7d4be5a600141d2fa7bc7d8d5b3f5324d64a6a63bd0f137"
# The order of vocab.txt in the wheel.
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"ACDEFGHIKLMNPQRSTVWY")
INSTALL = "antiberty==0.1.3 (version 1.0.0 carries no weights)."
SPECIES = ("Camel", "Human", "Mouse", "Rabbit", "Rat", "Rhesus")
CHAINS = ("Heavy", "Light")
_PAD, _CLS, _SEP, _MASK = 0, 2, 3, 4


class AntibertyModule(nn.Module):
    """The encoder and its heads, under the checkpoint's own names."""

    def __init__(self, *, n_blocks: int = 8, width: int = 512, n_heads: int = 8, inner: int = 2048) -> None:
        super().__init__()
        size = len(VOCABULARY)
        self.bert = Bert(
            vocabulary=size, width=width, n_blocks=n_blocks, n_heads=n_heads, inner=inner, max_tokens=512
        )
        dense, norm = nn.Linear(width, width), nn.LayerNorm(width, eps=1e-12)
        transform = nn.ModuleDict({"dense": dense, "LayerNorm": norm})
        predictions = nn.ModuleDict({"transform": transform, "decoder": nn.Linear(width, size)})
        heads = {"predictions": predictions, "species": nn.Linear(width, 6)}
        self.cls = nn.ModuleDict({**heads, "chain": nn.Linear(width, 2), "graft": nn.Linear(width, 2)})

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.bert(input_ids, attention_mask)

    def letters(self, last: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        """Scores of the vocabulary, from the last hidden state."""
        at = self.cls.get_submodule
        x = at("predictions.transform.LayerNorm")(F.gelu(at("predictions.transform.dense")(last)))
        return at("predictions.decoder")(x)


@final
class Antiberty(ReadsBothSides, Adapter):
    """AntiBERTy as an adapter; sites count blocks from 0."""

    name = "antiberty"
    kind = "protein"
    alphabet = "ACDEFGHIKLMNPQRSTVWY"
    licence = "MIT"
    module: AntibertyModule
    vocabulary = VOCABULARY
    mask_token, mask_id = "[MASK]", _MASK

    def __init__(self, module: AntibertyModule) -> None:
        super().__init__(module)
        # [CLS] and [SEP] take a place each.
        self.max_length = module.bert.embeddings.position_embeddings.num_embeddings - 2

    def _sites(self) -> Iterable[Site]:
        bert = self.module.bert
        width = bert.embeddings.word_embeddings.embedding_dim
        yield Site("embedding", "bert.embeddings", width, kind="embed")
        parts = {"attn_out": {"path": "attention.output.dense"}, "mlp_out": {"path": "output.dense"}}
        yield from block_sites("bert.encoder.layer", len(bert.blocks), width, parts)

    def _encode(self, data: Sequence[str]) -> Batch:
        ids = {letter: i for i, letter in enumerate(VOCABULARY) if len(letter) == 1}
        return letters_to_batch(data, ids, pad=_PAD, prefix=(_CLS,), suffix=(_SEP,))

    def _forward(self, batch: Batch) -> Float[Tensor, "B T D"]:
        return self.module(**batch.inputs)

    def logits(self, batch: Batch) -> Float[Tensor, "B T V"]:
        """Scores of the vocabulary for every token."""
        last = self.forward(batch).float()
        with torch.set_grad_enabled(self.grad):
            return self.module.letters(last)

    generate = generate

    def species_and_chain(self, batch: Batch) -> tuple[list[str], list[str]]:
        """Most probable species and chain of each sequence, from the published heads."""
        with torch.no_grad():
            pooled = self.module.bert.pooled(self.forward(batch).float())
            species, chain = (self.module.cls[h](pooled).argmax(1).tolist() for h in ("species", "chain"))
        return [SPECIES[i] for i in species], [CHAINS[i] for i in chain]


def load(name: str, weights: object) -> Antiberty:
    """AntiBERTy from the installed wheel, from a copy of its weights file, or around a module of its class."""
    module = built(name, weights, AntibertyModule)
    if module is None:
        path = wheel_file("antiberty", FILE, SHA256, install=INSTALL, weights=weights)
        state = read_tensors(name, path)
        # The mask tokens' positions are a constant range, and the decoder's bias is stored twice.
        del state["bert.embeddings.position_ids"], state["cls.predictions.bias"]
        module = fit(name, AntibertyModule(), state, where=path)
    return Antiberty(module)
