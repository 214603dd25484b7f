"""Hugging Face models: ESM-2, ESM-C, ProtT5 and Ankh encoders, ProtBERT, Nucleotide Transformer, BPE models.

The blocks are found in the module: the longest list of modules of one class. ``hidden_states[i]`` of these
models is what enters block i, except the last, which is after the final normalisation where there is one:
the site ``norm``. The ESM tokeniser merges or drops letters it does not know, so letters and 6-mers are
encoded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final
from urllib.error import HTTPError
from urllib.request import urlopen

from jaxtyping import Bool, Float
from torch import Tensor, nn

from sciinterp.errors import InputError, MissingWeightsError

from .adapter import Adapter
from .site import Batch, Site
from .text import Encoding, Kmers, Letters, Pieces, reverse_complement

PROTEIN_LETTERS = "ACDEFGHIKLMNPQRSTVWYXBUZO.-"
DNA_LETTERS = "ACGTN"


@dataclass(frozen=True)
class Family:
    """What models published under one name have in common.

    Parameters
    ----------
    kind : {"protein", "dna"}
    encoding : {"letters", "kmers", "pieces"}
    licence : str
    max_length : int, optional
        In positions.
    """

    kind: str
    encoding: str
    licence: str
    max_length: int | None = None


FAMILIES = {
    "hf-esm2": Family("protein", "letters", "MIT", 1022),
    "esmc": Family("protein", "letters", "see the model card: 300M Cambrian Open, 600M non-commercial", 2046),
    "prott5": Family("protein", "letters", "MIT"),
    "ankh": Family("protein", "letters", "CC BY-NC-SA 4.0"),
    "protbert": Family("protein", "letters", "MIT", 1022),
    "nucleotide-transformer": Family("dna", "kmers", "CC BY-NC-SA 4.0", 5994),
    "dna-bpe": Family("dna", "pieces", "see the model card"),
    "dna-letters": Family("dna", "letters", "see the model card"),
}


class HuggingFace(Adapter):
    """A transformers model and an encoding.

    Parameters
    ----------
    module : transformers.PreTrainedModel
    encoding : Encoding
    name : str
    family : Family
    """

    def __init__(
        self, module: nn.Module, encoding: Encoding, *, name: str, family: Family, device: str, dtype: str
    ) -> None:
        super().__init__(module, device=device, dtype=dtype)
        self.encoding, self.name, self.kind, self.licence = encoding, name, family.kind, family.licence
        self.max_length, self.alphabet = family.max_length, encoding.alphabet
        self.over_length = "window" if self.max_length else "refuse"
        if family.kind == "dna":
            self.reverse_complement = reverse_complement

    def _sites(self) -> Iterable[Site]:
        return discover_sites(self.module, self._width())

    def _width(self) -> int:
        config: Any = self.module.config
        return int(getattr(config, "hidden_size", None) or config.d_model)

    def _encode(self, data: Sequence[str]) -> Batch:
        batch = self.encoding.encode(data)
        return replace(batch, inputs={k: v.long() for k, v in batch.inputs.items()})

    def _forward(self, batch: Batch) -> Any:
        return self.module(**batch.inputs)

    def reference(self, batch: Batch) -> dict[str, Tensor]:
        """The framework's own hidden states, by the names of our sites."""
        hidden = self.module(**batch.to(self.device).inputs, output_hidden_states=True).hidden_states
        names = [s.name for s in self._sites()]
        last = "norm" if "norm" in names else f"layers.{len(hidden) - 2}"
        return dict(zip(["embedding", *(f"layers.{i}" for i in range(len(hidden) - 2)), last], hidden))


@final
class HuggingFaceEncoder(HuggingFace):
    """Without a head: activations only."""


@final
class HuggingFaceLM(HuggingFace):
    """With a language-model head."""

    def __init__(
        self, module: nn.Module, encoding: Encoding, vocabulary: Sequence[str], mask_id: int, **named: Any
    ) -> None:
        super().__init__(module, encoding, **named)
        self.vocabulary, self.mask_token, self._mask_id = tuple(vocabulary), vocabulary[mask_id], mask_id

    def logits(self, batch: Batch) -> Float[Tensor, "B T V"]:
        """Scores of the vocabulary for every token."""
        return self.forward(batch)["logits"].float()

    def masked(self, batch: Batch, where: Bool[Tensor, "B T"]) -> Batch:
        """The batch with the mask token where True."""
        return replace(
            batch,
            inputs={**batch.inputs, "input_ids": batch.inputs["input_ids"].masked_fill(where, self._mask_id)},
        )


def discover_sites(module: nn.Module, width: int) -> list[Site]:
    """Sites of a transformer: its blocks are the longest list of modules of one class.

    Parameters
    ----------
    module : nn.Module
    width : int
        Of the residual stream.

    Raises
    ------
    InputError
        The module has no such list.
    """
    lists = {
        name: m
        for name, m in module.named_modules()
        if isinstance(m, nn.ModuleList) and len({type(b) for b in m}) == 1
    }
    if not lists:
        raise InputError(
            "no list of blocks in the module", where=type(module).__name__, do="Describe it with ByPath."
        )
    path = max(lists, key=lambda name: (len(lists[name]), -name.count(".")))
    parent_path, _, own = path.rpartition(".")
    parent = module.get_submodule(parent_path)
    names = [name for name, _ in parent.named_children()]
    after = names[names.index(own) + 1 :]
    norms = [name for name in after if "norm" in type(getattr(parent, name)).__name__.lower()]
    place, n = "pre" if norms else "none", len(lists[path])
    sites = [Site("embedding", f"{path}.0", width, io="input", kind="embed", norm=place)]
    sites += [Site(f"layers.{i}", f"{path}.{i}", width, norm=place, depth=(i + 1) / n) for i in range(n)]
    if norms:
        last = f"{parent_path}.{norms[0]}".lstrip(".")
        sites.append(Site("norm", last, width, kind="norm", norm="post", depth=1.0))
    return sites


def letters_of(tokenizer: Any, candidates: str) -> Letters:
    """The single-letter tokens of a tokeniser, and the special tokens it puts around a sequence.

    Raises
    ------
    InputError
        Encoding letter by letter would give other tokens than the tokeniser does.
    """
    vocabulary, unknown = tokenizer.get_vocab(), tokenizer.unk_token_id
    ids = {c: vocabulary.get(f"▁{c}", vocabulary.get(c, unknown)) for c in candidates}
    ids = {c: i for c, i in ids.items() if i is not None and i != unknown}
    probe = "".join(c for c in candidates if c in ids and c.isalpha())
    own = [ids[c] for c in probe]
    for text in (" ".join(probe), probe):
        found = list(tokenizer(text)["input_ids"])
        starts = [i for i in range(len(found)) if found[i : i + len(own)] == own]
        if own and starts:
            pad = tokenizer.pad_token_id or 0
            return Letters(ids, pad, tuple(found[: starts[0]]), tuple(found[starts[0] + len(own) :]))
    raise InputError("the tokeniser does not read one letter per token", do="Use an encoding with offsets.")


def kmers_of(tokenizer: Any, k: int = 6) -> Kmers:
    """The words of k bases and the single bases of a tokeniser."""
    vocabulary = tokenizer.get_vocab()
    words = {w: i for w, i in vocabulary.items() if len(w) in (1, k) and set(w) <= set(DNA_LETTERS)}
    found = list(tokenizer("A" * k)["input_ids"])
    place = found.index(words["A" * k])
    return Kmers(words, k, tokenizer.pad_token_id, tuple(found[:place]), tuple(found[place + 1 :]))


def wrap(
    module: nn.Module, tokenizer: Any, *, name: str, device: str = "cpu", dtype: str = "float32"
) -> HuggingFace:
    """An adapter around a built transformers model and its tokeniser.

    Parameters
    ----------
    module : transformers.PreTrainedModel
    tokenizer : transformers tokeniser
    name : str
        One of `FAMILIES`.
    """
    family = FAMILIES[name]
    encoding: Encoding
    if family.encoding == "letters":
        encoding = letters_of(tokenizer, PROTEIN_LETTERS if family.kind == "protein" else DNA_LETTERS)
    else:
        encoding = kmers_of(tokenizer) if family.encoding == "kmers" else Pieces(tokenizer)
    module = module.eval().requires_grad_(False)
    named = {"name": name, "family": family, "device": device, "dtype": dtype}
    head = getattr(module, "get_output_embeddings", lambda: None)()
    if head is None or tokenizer.mask_token_id is None:
        return HuggingFaceEncoder(module, encoding, **named)
    size = head.weight.shape[0]
    words = {i: w for w, i in tokenizer.get_vocab().items()}
    vocabulary = [words.get(i, f"<unused{i}>") for i in range(size)]
    return HuggingFaceLM(module, encoding, vocabulary, tokenizer.mask_token_id, **named)


def load(name: str, *, weights: Any = None, device: str = "cpu", dtype: str = "float32") -> HuggingFace:
    """A model of one of the families, from a local folder, a hub id, or a pair (module, tokeniser)."""
    if isinstance(weights, tuple):
        return wrap(*weights, name=name, device=device, dtype=dtype)
    if weights is None:
        raise MissingWeightsError(
            f"{name} needs weights",
            do="Pass weights (--weights), a folder with the files of its Hugging Face repository, or its id.",
        )
    try:
        import transformers as hf
    except ImportError:
        raise InputError(f"{name} needs transformers", do="python -m pip install 'sciinterp[hf]'.") from None
    where = str(weights)
    try:
        try:
            tokenizer, built = _read(hf, where, local=True)
        except (OSError, ValueError):
            if Path(where).exists():
                raise
            _reach_hub()
            tokenizer, built = _read(hf, where, local=False)
    except (OSError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        raise MissingWeightsError(f"{name} could not be read ({line})", where=f"weights {where!r}") from None
    return wrap(built, tokenizer, name=name, device=device, dtype=dtype)


def _read(hf: Any, where: str, *, local: bool) -> tuple[Any, nn.Module]:
    """Tokeniser and model of a folder or of the hub's cache; from the hub itself where not local."""
    how = {"local_files_only": local, "trust_remote_code": False}
    tokenizer = hf.AutoTokenizer.from_pretrained(where, **how)
    config = hf.AutoConfig.from_pretrained(where, **how)
    return tokenizer, _class_of(hf, config).from_pretrained(where, **how)


def _reach_hub() -> None:
    """An error at once where the hub does not answer, instead of half a minute of attempts."""
    from huggingface_hub.constants import ENDPOINT

    try:
        urlopen(ENDPOINT, timeout=10).close()
    except HTTPError:
        pass
    except OSError as error:
        raise OSError(
            f"it is no folder here and not in the hub's cache, and the hub does not answer: {error}"
        ) from None


def _class_of(hf: Any, config: Any) -> Any:
    """The class to build: encoders of encoder-decoders, language models where the weights are those of
    one.
    """
    if config.is_encoder_decoder:
        return hf.T5EncoderModel
    published = (getattr(config, "architectures", None) or [""])[0]
    if published.endswith("ForMaskedLM"):
        return hf.AutoModelForMaskedLM
    return hf.AutoModelForCausalLM if published.endswith("ForCausalLM") else hf.AutoModel
