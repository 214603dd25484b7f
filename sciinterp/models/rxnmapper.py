"""RXNMapper (Schwaller and others 2021, doi 10.1126/sciadv.abe4166): ALBERT over reaction SMILES.

One block of weights is applied twelve times: ``layers.i`` is its i-th call. Positions are the atoms, in
the order of the SMILES; bonds, brackets and ring closures are read by the model and stand for no position.
The weights are read from the wheel of ``rxnmapper==0.4.3`` (MIT).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, final

from jaxtyping import Float
from torch import Tensor

from sciinterp.errors import InputError

from .adapter import Adapter, ReadsBothSides
from .encodings import pieces_to_batch
from .site import Batch, Site
from .weight_files import built, fit, read_tensors, transformers, wheel_file

if TYPE_CHECKING:
    from transformers import AlbertForMaskedLM

FOLDER = "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k"
SHA256 = "8541f3f500dae71abe678d546bd035ca946e2d1c819f6b2cf41a97faedd7e6a2"
VOCABULARY_SHA256 = "399868a653e85549ce150af4a1f6cd2776240c6a3d951ced2120565f00f027fd"
INSTALL = "--no-deps rxnmapper==0.4.3"
# Bracket atoms, two-letter elements, ring closures of two digits and the arrow are one token each.
TOKEN = re.compile(r"\[[^\]]+\]|Br|Cl|%\d\d|>>|.", re.DOTALL)
ATOM = re.compile(r"\[[^\]]+\]|Br|Cl|[BCNOPSFIbcnops]")


@final
class RXNMapper(ReadsBothSides, Adapter):
    """Reaction SMILES; a token of the wheel's vocabulary each."""

    module: AlbertForMaskedLM
    name = "rxnmapper"
    kind = "smiles"
    licence = "MIT"
    mask_token = "[MASK]"

    def __init__(self, module: AlbertForMaskedLM, vocabulary: Sequence[str]) -> None:
        super().__init__(module)
        self.vocabulary = tuple(vocabulary)
        self._ids = {token: i for i, token in enumerate(vocabulary)}
        self.mask_id = self._ids[self.mask_token]
        known = [t for t in vocabulary if TOKEN.fullmatch(t)]
        self.alphabet = "".join(sorted({c for token in known for c in token}))

    def _sites(self) -> Iterable[Site]:
        config = self.module.config
        n, width, path = config.num_hidden_layers, config.hidden_size, "albert.encoder"
        yield Site("embedding", f"{path}.embedding_hidden_mapping_in", width, kind="embed")
        for i in range(n):
            yield Site(f"layers.{i}", f"{path}.albert_layer_groups.0", width, call=i, depth=(i + 1) / n)

    def count_positions(self, data: str) -> int:
        """Atoms of a SMILES."""
        return sum(ATOM.fullmatch(token) is not None for token in TOKEN.findall(data))

    def _check(self, data: str, who: str) -> None:
        """Refuse what the vocabulary lacks and what is too many tokens, whatever the number of atoms."""
        if not isinstance(data, str):
            raise InputError("not a SMILES", where=who, expected="text", got=type(data).__name__)
        super()._check(data, who)
        tokens, places = TOKEN.findall(data), self.module.config.max_position_embeddings - 2
        if unknown := [t for t in tokens if t not in self._ids]:
            raise InputError("rxnmapper does not know this token", where=who, got=repr(unknown[0]))
        if len(tokens) > places:
            raise InputError(
                "too long for rxnmapper",
                where=who,
                expected=f"at most {places} tokens",
                got=str(len(tokens)),
            )

    def _encode(self, data: Sequence[str]) -> Batch:
        rows, lengths = [], []
        for smiles in data:
            row, atoms = [], 0
            for token in TOKEN.findall(smiles):
                is_atom = ATOM.fullmatch(token) is not None
                row.append((self._ids[token], atoms, atoms + 1) if is_atom else (self._ids[token], -1, -1))
                atoms += is_atom
            rows.append(row)
            lengths.append(atoms)
        ids = self._ids
        batch = pieces_to_batch(
            rows, lengths, pad=ids["[PAD]"], prefix=(ids["[CLS]"],), suffix=(ids["[SEP]"],)
        )
        return replace(batch, inputs={key: value.long() for key, value in batch.inputs.items()})

    def _forward(self, batch: Batch) -> object:
        return self.module(**batch.inputs)

    def logits(self, batch: Batch) -> Float[Tensor, "B T V"]:
        """Scores of the vocabulary for every token."""
        return self.forward(batch)["logits"].float()

    def reference(self, batch: Batch) -> dict[str, Tensor]:
        """The framework's own hidden states."""
        hidden = self.module(**batch.to(self.device).inputs, output_hidden_states=True).hidden_states
        return dict(zip(["embedding", *(f"layers.{i}" for i in range(len(hidden) - 1))], hidden))


def load(name: str, weights: object) -> RXNMapper:
    """RXNMapper from the installed wheel; needs transformers for the ALBERT module."""
    hf = transformers(name)
    words = wheel_file("rxnmapper", f"{FOLDER}/vocab.txt", VOCABULARY_SHA256, install=INSTALL)
    vocabulary = words.read_text(encoding="utf-8").splitlines()
    module = built(name, weights, hf.AlbertForMaskedLM)
    if module is None:
        path = wheel_file(
            "rxnmapper", f"{FOLDER}/pytorch_model.bin", SHA256, install=INSTALL, weights=weights
        )
        config = hf.AlbertConfig(
            vocab_size=len(vocabulary),
            embedding_size=128,
            hidden_size=256,
            num_hidden_layers=12,
            num_attention_heads=8,
            intermediate_size=512,
            hidden_act="gelu",
            layer_norm_eps=1e-12,
        )
        # The encoder is used without its pooler.
        state = read_tensors(name, path)
        module = fit(name, hf.AlbertForMaskedLM(config), state, where=path, unread=["pooler"])
    return RXNMapper(module, vocabulary)
