"""ESM-1b, ESM-1v, ESM-2 and the MSA Transformer through the ``fair-esm`` package (Rives 2021, Meier 2021, Rao
2021, Lin 2023).

Their last block is followed by one more LayerNorm: ``layers.i`` is before it for every i, the site
``norm`` is after it, and fair-esm's own ``representations`` hold the latter under the number of the last
block.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, final
from urllib.error import URLError
from urllib.request import urlopen

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sciinterp.errors import FormatError, InputError, MissingWeightsError

from .adapter import Adapter, ReadsBothSides
from .encodings import letters_to_batch
from .esm_blocks import fast_blocks
from .generation import generate
from .registry import CHECKPOINTS
from .site import Batch, Site, stack_sites, unit_spans
from .weight_files import built, fit, path_of, read_tensors, reading, unwrapped

if TYPE_CHECKING:
    from esm import ESM2, Alphabet, ProteinBertModel
    from esm import MSATransformer as MSAModule

log = logging.getLogger(__name__)

HUB = "https://dl.fbaipublicfiles.com/fair-esm/models/"
# ESM-2 was trained on crops of so many tokens, two of them special.
MAX_TOKENS = 1024


class _FairESM(ReadsBothSides, Adapter):
    """What ESM models have in common; abstract."""

    module: ESM2 | ProteinBertModel | MSAModule
    kind = "protein"
    licence = "MIT"
    over_length = "window"
    mask_token, token_key = "<mask>", "tokens"

    def __init__(self, module: nn.Module, tokens: Alphabet, *, name: str) -> None:
        super().__init__(module, name=name)
        self.tokens, self.mask_id = tokens, tokens.mask_idx
        # Places that are learned are counted in the module; ESM-2 was trained on crops.
        places = getattr(getattr(module, "args", None), "max_positions", MAX_TOKENS)
        self.max_length = int(places) - tokens.prepend_bos - tokens.append_eos
        self.vocabulary = tuple(tokens.all_toks)
        self.alphabet = "".join(t for t in tokens.all_toks if len(t) == 1)

    def _forward(self, batch: Batch) -> dict[str, Tensor]:
        with fast_blocks(self.module):
            return self.module(batch.inputs["tokens"])

    def _blocks(self, axes: str, parts: dict[str, str]) -> Iterable[Site]:
        width, n = self.module.embed_tokens.embedding_dim, len(self.module.layers)
        norm = hasattr(self.module, "emb_layer_norm_after")
        fields = {kind: {"path": path} for kind, path in parts.items()}
        yield from stack_sites("layers", n, width, fields, axes=axes, norm="pre" if norm else "none")
        if norm:
            yield Site("norm", "emb_layer_norm_after", width, axes=axes, kind="norm", norm="post", depth=1.0)

    def reference(self, batch: Batch) -> dict[str, Tensor]:
        """fair-esm's own representations, by the names of our sites."""
        n = len(self.module.layers)
        found = self.module(batch.to(self.device).inputs["tokens"], repr_layers=range(n + 1))[
            "representations"
        ]
        last = "norm" if hasattr(self.module, "emb_layer_norm_after") else f"layers.{n - 1}"
        names = ["embedding", *(f"layers.{i}" for i in range(n - 1)), last]
        return {name: found[i] for i, name in enumerate(names)}


@final
class ESM(_FairESM):
    """ESM-1, ESM-1b, ESM-1v and ESM-2: one sequence per sample.

    Parameters
    ----------
    module : esm.ESM2 or esm.ProteinBertModel
    tokens : esm.Alphabet
    name : str
    """

    def _sites(self) -> Iterable[Site]:
        return self._blocks("TBD", {"attn_out": "self_attn", "mlp_out": "fc2"})

    def _encode(self, data: Sequence[str]) -> Batch:
        t = self.tokens
        return letters_to_batch(
            data,
            {letter: t.get_idx(letter) for letter in self.alphabet},
            pad=t.padding_idx,
            prefix=(t.cls_idx,) if t.prepend_bos else (),
            suffix=(t.eos_idx,) if t.append_eos else (),
            name="tokens",
        )

    def logits(self, batch: Batch) -> Float[Tensor, "B T V"]:
        """Scores of the vocabulary for every token."""
        return self.forward(batch)["logits"].float()

    generate = generate


@final
class MSATransformer(_FairESM):
    """A sample is an alignment, a tuple of rows of one length; its positions are those of the first row.

    The other rows are context: they are read by the model and have no rows of activations of their own.
    """

    batch_dependent = True  # alignments of different depth pad one another's columns
    over_length = "refuse"
    kind = "alignment"

    def _sites(self) -> Iterable[Site]:
        return self._blocks("RCBD", {"mlp_out": "feed_forward_layer.layer.fc2"})

    def count_positions(self, data: Sequence[str]) -> int:
        """Columns of the alignment."""
        return len(data[0]) if len(data) else 0

    def _check(self, data: Sequence[str], who: str) -> None:
        """Refuse unknown letters, and rows of different lengths."""
        if isinstance(data, str) or len({len(row) for row in data}) != 1 or not len(data[0]):
            raise InputError("not an alignment", where=who, expected="a tuple of rows of one length")
        for number, row in enumerate(data):
            self._refuse_letters(row, set(self.alphabet), f"{who} row {number}")

    def _encode(self, data: Sequence[Sequence[str]]) -> Batch:
        t = self.tokens
        depth, columns = max(len(rows) for rows in data), max(len(rows[0]) for rows in data)
        tokens = torch.full((len(data), depth, columns + 1), t.padding_idx)
        mask = torch.zeros(tokens.shape, dtype=torch.bool)
        for i, rows in enumerate(data):
            n = len(rows[0])
            tokens[i, : len(rows), 0] = t.cls_idx
            tokens[i, : len(rows), 1 : n + 1] = torch.tensor([[t.get_idx(c) for c in row] for row in rows])
            mask[i, 0, 1 : n + 1] = True
        flat = mask.flatten(1)
        lengths = torch.tensor([len(rows[0]) for rows in data])
        return Batch(inputs={"tokens": tokens}, mask=flat, spans=unit_spans(flat), lengths=lengths)

    def logits(self, batch: Batch) -> Float[Tensor, "B T V"]:
        """Scores of the vocabulary for every token, rows of the alignment one after the other."""
        return self.forward(batch)["logits"].float().flatten(1, 2)

    def reference(self, batch: Batch) -> dict[str, Tensor]:
        """fair-esm's own representations, by the names of our sites."""
        return {name: value.flatten(1, 2) for name, value in super().reference(batch).items()}


def load(name: str, weights: object) -> Adapter:
    """An ESM model from a local checkpoint, from the hub's cache or the hub, or around a built module."""
    esm = _package()
    module = built(name, weights, (esm.ESM2, esm.ProteinBertModel, esm.MSATransformer))
    if module is not None:
        tokens = getattr(module, "alphabet", None)
        if tokens is None:
            msa = isinstance(module, esm.MSATransformer)
            tokens = esm.Alphabet.from_architecture("msa_transformer" if msa else "ESM-1b")
    else:
        path = _found(name) if weights is None else path_of(name, weights)
        if not path.is_file():
            raise MissingWeightsError(
                f"no weights of {name}",
                where=f"file {str(path)!r}",
                do="Pass a local .pt checkpoint of fair-esm; a folder of transformers is read as hf-esm2.",
            )
        module, tokens = _read(name, path, esm)
    return (MSATransformer if tokens.use_msa else ESM)(module, tokens, name=name)


def _package() -> ModuleType:
    """fair-esm, and not the other package that is imported by the same name."""
    with suppress(ImportError):
        import_module("esm.pretrained")
        if hasattr(esm := import_module("esm"), "Alphabet"):
            return esm
    raise InputError(
        "the module 'esm' is not fair-esm",
        do="Another package shares its name: pip uninstall esm, then pip install fair-esm.",
    )


def _read(name: str, path: Path, esm: ModuleType) -> tuple[nn.Module, Alphabet]:
    """A module from a fair-esm checkpoint: tensors, plain containers and argparse.Namespace, nothing else."""
    contacts = path.with_name(f"{path.stem}-contact-regression.pt")
    with torch.serialization.safe_globals([argparse.Namespace]):
        data = read_tensors(name, path)
        extra = read_tensors(name, contacts) if contacts.is_file() else None
    if not isinstance(data, dict) or not {"args", "cfg"} & data.keys() or "model" not in data:
        raise FormatError(
            "this is not a checkpoint of fair-esm",
            file=str(path),
            expected="a record of model and args or cfg",
            got=", ".join(map(str, list(data)[:4])) if isinstance(data, dict) else type(data).__name__,
        )
    with reading(name, path):
        data["model"] = unwrapped(data["model"])
        if extra is not None:
            data["model"].update(extra["model"])
        core = esm.pretrained
        build = (
            core._load_model_and_alphabet_core_v2 if "cfg" in data else core._load_model_and_alphabet_core_v1
        )
        module, tokens, state = build(data)
    # The contact head is often in no file: zeros, so that the weights' hash is that of the file.
    return fit(name, module, state, where=path, unread=["contact_head"]), tokens


def _found(name: str) -> Path:
    """The checkpoint in torch's hub folder, fetched there if the hub answers."""
    if name not in CHECKPOINTS:
        raise MissingWeightsError(
            f"{name} needs weights",
            do="Pass weights=, a local .pt checkpoint or a built module, or name a size.",
        )
    file = f"{CHECKPOINTS[name]}.pt"
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if path.is_file():
        return path
    try:
        urlopen(HUB + file, timeout=10).close()
        path.parent.mkdir(parents=True, exist_ok=True)
        log.info("fetching %s to %s", HUB + file, path)
        torch.hub.download_url_to_file(HUB + file, str(path))
    except (URLError, OSError) as error:
        raise MissingWeightsError(
            f"the weights of {name} are not on this machine and the hub does not answer ({error})",
            where=f"file {str(path)!r}",
            do=f"Fetch {HUB + file} elsewhere and pass weights=PATH.",
        ) from None
    return path
