"""AntiBERTy (Ruffolo, Gray and Sulam 2021, arXiv 2112.07782): antibodies, BERT with 8 blocks of width 512.

The weights are read as a file from the wheel of ``antiberty==0.1.3``; the package itself is never imported. Their BERT
(Devlin and others 2019) is here in plain PyTorch, with the parameter names of published checkpoints: embeddings of token,
position and segment are summed and normalised; every block is self-attention and a two-layer perceptron, each added to its
input and normalised after the sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from .adapter import Adapter, ReadsBothSides
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
