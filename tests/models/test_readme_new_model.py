"""Adding a new model: the README's example, sixty lines, and the suite it passes."""

import torch
from torch import nn

from sciinterp.models import Adapter, Site, letters_to_batch, own_tokens
from sciinterp.testing import check_adapter


class Peptides(nn.Module):
    """Somebody's model: a transformer over amino acids, padding is letter 20."""

    def __init__(self, width: int = 16, n_layers: int = 3) -> None:
        super().__init__()
        self.letters = nn.Embedding(21, width, padding_idx=20)
        self.places = nn.Embedding(64, width)
        block = nn.TransformerEncoderLayer(width, nhead=2, dim_feedforward=32, batch_first=True)
        self.encoder = nn.TransformerEncoder(block, n_layers)
        self.head = nn.Linear(width, 21)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.letters(tokens) + self.places.weight[: tokens.shape[1]]
        return self.encoder(x, src_key_padding_mask=tokens == 20)


class PeptideAdapter(Adapter):
    """What sciinterp needs to know about it."""

    name = "peptides"
    kind = "protein"
    alphabet = "ACDEFGHIKLMNPQRSTVWY"
    max_length = 64
    licence = "MIT"
    vocabulary = (*alphabet, "<pad>")

    def _sites(self):
        n = len(self.module.encoder.layers)
        yield Site("embedding", "encoder.layers.0", 16, io="input", kind="embed")
        for i in range(n):
            yield Site(f"layers.{i}", f"encoder.layers.{i}", 16, depth=(i + 1) / n)

    def _encode(self, data):
        ids = {letter: i for i, letter in enumerate(self.alphabet)}
        return letters_to_batch(data, ids, pad=20, name="tokens")

    def _forward(self, batch):
        return self.module(batch.inputs["tokens"])

    def logits(self, batch):
        return self.module.head(self.forward(batch))

    def targets(self, batch):
        return own_tokens(batch, "tokens")  # next_tokens for models that read from left to right


def peptides() -> PeptideAdapter:
    torch.manual_seed(0)
    return PeptideAdapter(Peptides())


def test_a_new_model_passes_the_suite() -> None:
    report = check_adapter(peptides(), ["MKTAYIAKQR", "GSHMEELLKKAWDQ", "ACDKT"])
    assert set(report["result"]) <= {"passed", "not applicable"}
    assert (report["result"] == "passed").sum() >= 18
