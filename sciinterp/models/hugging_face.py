"""Hugging Face models: ESM-2, ESM-C, ProtT5 and Ankh, ProtBERT, Nucleotide Transformer, BPE and causal models.

The blocks are found in the module: the longest list of modules of one class. ``hidden_states[i]`` of these
models is what enters block i, except the last, which is after the final normalisation where there is one:
the site ``norm``. The ESM tokeniser merges or drops letters it does not know, so letters and 6-mers are
encoded here. Weights must fit: transformers would leave blocks random that a checkpoint lacks or names
otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, final
from urllib.error import HTTPError
from urllib.request import urlopen

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sciinterp.errors import InputError, MissingWeightsError, SciinterpError

from .adapter import LEAVE_OUT, Adapter, ReadsBothSides
from .encodings import Kmers, Letters, Pieces, Tokeniser, reverse_complement
from .generation import generate
from .site import Batch, Site, Targets, next_tokens, stack_sites
from .weight_files import WRAPPERS, log, misfit, path_of, reading, silence, transformers

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

PROTEIN_LETTERS = "ACDEFGHIKLMNPQRSTVWYXBUZO.-"
DNA_LETTERS = "ACGTN"
# Parts that no site and no score reads, by the names they have in checkpoints.
UNREAD = (
    "pooler",
    "lm_head",
    "cls",
    "classifier",
    "contact_head",
    "position_ids",
    "inv_freq",
    "qa_outputs",
    "score",
)
# The same among what a checkpoint lacks: a head must be there, or there are no scores.
NOT_NEEDED = ("pooler", "contact_head", "position_ids", "inv_freq")
# Wrappers' parts of names, as transformers renames them: everything of torch.compile, then one in front.
_INSIDE = {rf"(^|\.)(?:{WRAPPERS})\.": r"\1"}
RENAMED = (
    None,
    _INSIDE | {r"^module\.": ""},
    _INSIDE | {r"^(?:module\.)?(?:model|net|encoder|backbone)\.": ""},
)
# Models that count places from their padding token's number on.
COUNTED_FROM_PADDING = ("esm", "roberta", "xlm-roberta", "camembert")


@dataclass(frozen=True)
class Family:
    """What models published under one name have in common."""

    kind: str  # {"protein", "dna"}
    encoding: str  # {"letters", "kmers", "pieces"}
    licence: str


FAMILIES = {
    "hf-esm2": Family("protein", "letters", "MIT"),
    "esmc": Family("protein", "letters", "see the model card: 300M Cambrian Open, 600M non-commercial"),
    "prott5": Family("protein", "letters", "MIT"),
    "ankh": Family("protein", "letters", "CC BY-NC-SA 4.0"),
    "protbert": Family("protein", "letters", "MIT"),
    "nucleotide-transformer": Family("dna", "kmers", "CC BY-NC-SA 4.0"),
    "dna-bpe": Family("dna", "pieces", "see the model card"),
    "dna-letters": Family("dna", "letters", "see the model card"),
}


class HuggingFace(Adapter):
    """A transformers model and an encoding.

    Parameters
    ----------
    module : transformers.PreTrainedModel
    encoding : Letters, Kmers or Pieces
    name : str
    words : sequence of str
        The tokeniser's words, by number.
    mask_id : int, optional
        Number of the mask token.
    """

    module: PreTrainedModel

    def __init__(
        self,
        module: PreTrainedModel,
        encoding: Letters | Kmers | Pieces,
        *,
        name: str,
        words: Sequence[str],
        mask_id: int | None,
    ) -> None:
        super().__init__(module)
        family = FAMILIES[name]
        self.encoding, self.name, self.kind, self.licence = encoding, name, family.kind, family.licence
        self.alphabet, self.mask_id, self._words = encoding.alphabet, mask_id or 0, tuple(words)
        self._places = longest_input(module.config)
        self.max_length = None if self._places is None else encoding.positions(self._places)
        self.over_length = "window" if self.max_length else "refuse"
        if family.kind == "dna":
            self.reverse_complement = reverse_complement

    def _check(self, data: str, who: str) -> None:
        """Refuse unknown letters, and samples of more tokens than the model has places for."""
        super()._check(data, who)
        if self._places is None or isinstance(self.encoding, Letters):
            return
        batch = self.encoding.encode([data])
        start = batch.spans[0][batch.mask[0]][:, 0].contiguous()
        special = batch.mask.shape[1] - len(start)
        # The fullest window, where the sample is cut into some; the last one holds as much of the end as fits.
        window = self.max_length or len(data)
        first = start[start <= max(len(data) - window, 0)]
        beyond = torch.searchsorted(start, first + window)
        most = int((beyond - torch.arange(len(first))).max()) + special
        if most > self._places:
            raise InputError(
                f"too many tokens for {self.name}",
                where=who,
                expected=f"at most {self._places}",
                got=str(most),
                do=f"Cut it, or leave it out: {LEAVE_OUT}",
            )

    def _sites(self) -> Iterable[Site]:
        return discover_sites(self.module, self._width())

    def _width(self) -> int:
        return int(getattr(self.module.config, "hidden_size", None) or self.module.config.d_model)

    def _encode(self, data: Sequence[str]) -> Batch:
        batch = self.encoding.encode(data)
        ids, rows = batch.inputs["input_ids"], len(self.module.get_input_embeddings().get_parameter("weight"))
        if (most := int(ids.max())) >= rows:
            got, do = f"{most}", "Is this the model's own tokeniser?"
            raise InputError(
                f"a token that {self.name} does not know", expected=f"below {rows}", got=got, do=do
            )
        return replace(batch, inputs={k: v.long() for k, v in batch.inputs.items()})

    def _forward(self, batch: Batch) -> object:
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


class _Scored(HuggingFace):
    """With a head over the tokeniser's words; abstract."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The words that are scored."""
        return self._words

    def logits(self, batch: Batch) -> Float[Tensor, "B T V"]:
        """Scores of the vocabulary for every token."""
        return self.forward(batch)["logits"].float()

    generate = generate


class _Masked(ReadsBothSides, _Scored):
    """A mask token hides what is scored; abstract."""

    @property
    def mask_token(self) -> str:
        """The word that hides another."""
        return self._words[self.mask_id]


@final
class HuggingFaceLM(_Masked):
    """A masked language model."""


@final
class HuggingFaceCausal(_Scored):
    """A language model that reads from left to right."""

    def targets(self, batch: Batch) -> Targets:
        """The tokens that follow."""
        return next_tokens(batch)


@final
class HuggingFaceSeq2Seq(_Masked):
    """An encoder with its decoder (T5): sites are the encoder's, scores the decoder's.

    The decoder spells the sequence that was given from what the encoder made of the masked one, each token after
    those before it as they were.
    """

    unhashed = ("decoder.", "lm_head.")

    def _sites(self) -> Iterable[Site]:
        inside = discover_sites(self.module.get_submodule("encoder"), self._width())
        return [replace(s, path=f"encoder.{s.path}") for s in inside]

    def _encode(self, data: Sequence[str]) -> Batch:
        batch = super()._encode(data)
        ids, config = batch.inputs["input_ids"], self.module.config
        first = torch.full_like(ids[:, :1], config.decoder_start_token_id or 0)
        return replace(
            batch, inputs={**batch.inputs, "decoder_input_ids": torch.cat([first, ids[:, :-1]], 1)}
        )

    def _forward(self, batch: Batch) -> object:
        ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
        return self.module.get_submodule("encoder")(ids, attention_mask=mask)

    def logits(self, batch: Batch) -> Float[Tensor, "B T V"]:
        """Scores of the vocabulary for every token."""
        hidden, inputs = self.forward(batch), batch.to(self.device).inputs
        with torch.set_grad_enabled(self.grad):
            known = {k: inputs[k] for k in ("attention_mask", "decoder_input_ids")}
            return self.module(encoder_outputs=hidden, use_cache=False, **known)["logits"].float()

    def reference(self, batch: Batch) -> dict[str, Tensor]:
        """The framework's own hidden states of the encoder."""
        inputs = batch.to(self.device).inputs
        given = {k: inputs[k] for k in ("input_ids", "attention_mask")}
        hidden = self.module.get_submodule("encoder")(**given, output_hidden_states=True).hidden_states
        return dict(zip(["embedding", *(f"layers.{i}" for i in range(len(hidden) - 2)), "norm"], hidden))


def longest_input(config: PretrainedConfig) -> int | None:
    """Tokens that a model has places for, by its own configuration; None where they are not counted."""
    n = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if not n or config.model_type in ("t5", "mt5"):
        return None
    first = getattr(config, "pad_token_id", None) if config.model_type in COUNTED_FROM_PADDING else None
    return int(n) if first is None else int(n) - first - 1


def discover_sites(module: nn.Module, width: int) -> list[Site]:
    """Sites of a transformer of this width: its blocks are the longest list of modules of one class.

    InputError where the module has no such list.
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
    sites = list(stack_sites(path, n, width, norm=place))
    if norms:
        last = f"{parent_path}.{norms[0]}".lstrip(".")
        sites.append(Site("norm", last, width, kind="norm", norm="post", depth=1.0))
    return sites


def letters_of(tokenizer: Tokeniser, candidates: str) -> Letters:
    """The single-letter tokens of a tokeniser, and the special tokens it puts around a sequence.

    InputError where encoding letter by letter would give other tokens than the tokeniser does.
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


def kmers_of(tokenizer: Tokeniser, k: int = 6) -> Kmers:
    """The words of k bases and the single bases of a tokeniser; InputError where it has no words of k bases."""
    vocabulary = tokenizer.get_vocab()
    words = {w: i for w, i in vocabulary.items() if len(w) in (1, k) and set(w) <= set(DNA_LETTERS)}
    found = list(tokenizer("A" * k)["input_ids"])
    if not {"A" * k, *"ACGT"} <= words.keys() or words["A" * k] not in found:
        raise InputError(
            f"the tokeniser does not read words of {k} bases",
            expected=f"{'A' * k!r} and single bases among its words",
            got=", ".join(map(repr, list(vocabulary)[5:11])),
        )
    place = found.index(words["A" * k])
    return Kmers(words, k, tokenizer.pad_token_id or 0, tuple(found[:place]), tuple(found[place + 1 :]))


def wrap(module: PreTrainedModel, tokenizer: Tokeniser, *, name: str) -> HuggingFace:
    """An adapter around a built transformers model and its tokeniser, by a name of `FAMILIES`."""
    family = FAMILIES[name]
    encoding: Letters | Kmers | Pieces
    if family.encoding == "letters":
        encoding = letters_of(tokenizer, PROTEIN_LETTERS if family.kind == "protein" else DNA_LETTERS)
    else:
        encoding = kmers_of(tokenizer) if family.encoding == "kmers" else Pieces(tokenizer)
    module = module.eval().requires_grad_(False)
    config = module.config
    head = getattr(module, "get_output_embeddings", lambda: None)()
    vocabulary = tokenizer.get_vocab()
    # T5 hides with the first of its sentinels.
    mask = tokenizer.mask_token_id
    mask = vocabulary.get("<extra_id_0>") if mask is None and config.is_encoder_decoder else mask
    known = {i: w for w, i in vocabulary.items()}
    size = len(known) if head is None else head.weight.shape[0]
    kind: type[HuggingFace] = HuggingFaceEncoder
    if head is not None and config.is_encoder_decoder:
        kind = HuggingFaceEncoder if mask is None else HuggingFaceSeq2Seq
    elif head is not None and "ForMaskedLM" in type(module).__name__:
        kind = HuggingFaceEncoder if mask is None else HuggingFaceLM
    elif head is not None:
        kind = HuggingFaceCausal
    if kind is HuggingFaceSeq2Seq and not hasattr(module, "encoder"):
        raise InputError(f"{type(module).__name__} has a layout not known here", expected="that of T5")
    words = [known.get(i, f"<unused{i}>") for i in range(size)]
    return kind(module, encoding, name=name, words=words, mask_id=mask)


def load(name: str, weights: object) -> HuggingFace:
    """A model of one of the families, from a local folder, a hub id, or a pair (module, tokeniser)."""
    if isinstance(weights, tuple):
        if len(weights) != 2 or not isinstance(weights[0], nn.Module) or not hasattr(weights[1], "get_vocab"):
            raise InputError(f"these are no weights of {name}", expected="a pair (module, tokeniser)")
        return wrap(*weights, name=name)
    if weights is None:
        raise MissingWeightsError(
            f"{name} needs weights",
            do="Pass weights (--weights), a folder with the files of its Hugging Face repository, or its id.",
        )
    hf, where = transformers(name), str(path_of(name, weights))
    said = hf.utils.logging.get_verbosity()
    hf.utils.logging.set_verbosity_error()  # what does not fit is said here, in one line
    try:
        with reading(name, where):
            tokenizer, built = _found(hf, name, where)
            return wrap(built, tokenizer, name=name)
    finally:
        hf.utils.logging.set_verbosity(said)


def _found(hf: ModuleType, name: str, where: str) -> tuple[Tokeniser, PreTrainedModel]:
    """Tokeniser and model of a folder, of the hub's cache, or of the hub."""
    try:
        try:
            return _read(hf, name, where, local=True)
        except (OSError, ValueError) as error:
            if isinstance(error, SciinterpError) or Path(where).exists():
                raise
            _reach_hub()
            return _read(hf, name, where, local=False)
    except SciinterpError:
        raise
    except (OSError, ValueError) as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise MissingWeightsError(f"{name} could not be read ({line})", where=f"weights {where!r}") from None


def _read(hf: ModuleType, name: str, where: str, *, local: bool) -> tuple[Tokeniser, PreTrainedModel]:
    """Tokeniser and model, whole."""
    how = {"local_files_only": local, "trust_remote_code": False}
    config = hf.AutoConfig.from_pretrained(where, **how)
    try:
        tokenizer = hf.AutoTokenizer.from_pretrained(where, **how)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"{name} has no tokeniser that can be read",
            where=f"weights {where!r}",
            got=(str(error).splitlines() or [""])[0][:120],
            do="Save it beside the model: tokenizer.save_pretrained(FOLDER).",
        ) from None
    build = _class_of(hf, config)
    module, report, headless = fitted(build, where, config=config, **how)
    if headless and build is not hf.AutoModel:
        log.warning("%s: these weights have no head, so there are no scores, only activations", name)
        module, report, _ = fitted(hf.AutoModel, where, config=config, **how)
    if report:
        raise InputError(
            f"the weights do not fit {name}",
            where=f"weights {where!r}",
            expected=f"those of {type(module).__name__}",
            got=report,
        )
    return tokenizer, module


def fitted(build: Any, where: str, **how: Any) -> tuple[PreTrainedModel, str, bool]:
    """A module, what does not fit, and whether that is its head alone; wrappers' names are tried where it helps."""
    first: tuple[PreTrainedModel, str, bool] | None = None
    for mapping in RENAMED:
        module, info = build.from_pretrained(
            where, output_loading_info=True, ignore_mismatched_sizes=True, key_mapping=mapping, **how
        )
        missing, wrong = info["missing_keys"], [k[0] for k in info["mismatched_keys"]]
        absent = misfit(missing, (), wrong, NOT_NEEDED)
        report = "; ".join(filter(None, [absent, misfit((), info["unexpected_keys"], (), UNREAD)]))
        if not report:
            silence(module, missing)
            return module, "", False
        base = f"{module.base_model_prefix}."
        inside = [k for k in {*missing, *wrong} if k.startswith(base) or not hasattr(module, base[:-1])]
        first = first or (module, report, not misfit(inside, info["unexpected_keys"], (), UNREAD))
    assert first is not None
    return first


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


def _class_of(hf: ModuleType, config: PretrainedConfig) -> type[PreTrainedModel]:
    """The class to build: the one that was published, in the forms that are known here."""
    published = (getattr(config, "architectures", None) or [""])[0]
    if config.is_encoder_decoder:
        return hf.T5ForConditionalGeneration if "ConditionalGeneration" in published else hf.T5EncoderModel
    if published.endswith("ForMaskedLM"):
        return hf.AutoModelForMaskedLM
    return hf.AutoModelForCausalLM if published.endswith(("ForCausalLM", "LMHeadModel")) else hf.AutoModel
