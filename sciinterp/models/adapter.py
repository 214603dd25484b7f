"""The adapter: what a model's layout is, and nothing else.

A subclass says which sites exist (`_sites`), how samples become a batch (`_encode`) and how to run the
module on it (`_forward`). Checks, precision, gradients, hooks, identity and randomisation are here or in
the engine, once. Subclasses are final; abilities beyond activations are the small protocols at the end.
"""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence, Set, Sized
from copy import copy, deepcopy
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Protocol, final, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from sciinterp.devices import device_of
from sciinterp.errors import InputError, no_such
from sciinterp.provenance import HasOrigin, Origin
from sciinterp.samples import Sample, Samples
from sciinterp.settings import plain_value

from .running import DTYPES, running
from .site import Batch, Site, Targets, hidden_tokens, own_tokens

if TYPE_CHECKING:
    import pandas as pd

    from .generation import GenerationSettings

# Letters of the sample that a model's fingerprint is taken on.
PROBE_LENGTH = 48
LEAVE_OUT = "'unreadable = \"skip\"' of [data] (--unreadable skip, model.readable(samples)) leaves out such samples and counts them."
# Letters for several bases (IUPAC).
AMBIGUOUS = "RYSWKMBDHV"
# Samples that a warning names.
NAMED = 8
log = logging.getLogger(__name__)


class Adapter(HasOrigin, ABC):
    """A foundation model, opened.

    Class attributes say what holds for every instance; `__init__` may set any of them on the instance.

    Attributes
    ----------
    name : str
        The model's name in the registry.
    kind : str
        What it takes: ``protein``, ``dna``, ``smiles``, ``crystal``, ``cells`` ...
    alphabet : str
        Letters a sample may hold; empty for samples that are no text.
    max_length : int or None
        Longest sample in positions.
    over_length : {"refuse", "window"}
        What happens to longer samples: refused, or cut into overlapping windows by `sciinterp.extract`.
    licence : str
    unhashed : tuple of str
        How names of weights begin that no activation depends on: they do not belong to the identity.
    batch_dependent : bool
        The output for a sample depends on the rest of its batch, so batches of one are used.
    max_tokens : int or None
        Largest batch `sciinterp.extract` makes, for models whose memory is not that of a sequence.
    module : nn.Module
    device : torch.device
    dtype : {"float32", "bfloat16", "float16"}
        Precision of the matrix products; the residual stream stays in the weights' own precision.
    """

    name: str = ""
    kind: str = "protein"
    alphabet: str = ""
    max_length: int | None = None
    over_length: str = "refuse"
    licence: str = "unknown"
    unhashed: tuple[str, ...] = ()
    batch_dependent: bool = False
    max_tokens: int | None = None

    def __init__(
        self, module: nn.Module, *, device: str = "cpu", dtype: str = "float32", name: str = ""
    ) -> None:
        self.name = name or self.name
        self.device, self.dtype = device_of(device), checked_dtype(dtype)
        self.module = module.to(self.device)
        self.grad = False
        self.runs = 0
        self.running_batch: Batch | None = None
        self.cast_weights: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._randomised_seed: int | None = None
        self._sha256: str | None = None

    @abstractmethod
    def _sites(self) -> Iterable[Site]:
        """Every site, in the order of the computation."""

    @abstractmethod
    def _encode(self, data: Sequence[Any]) -> Batch:
        """A batch from the samples' data, already checked."""

    @abstractmethod
    def _forward(self, batch: Batch) -> object:
        """Run the module."""

    @final
    def encode(self, samples: Sequence[object]) -> Batch:
        """Turn samples into what the model takes.

        Parameters
        ----------
        samples : sequence of Sample
            Or of plain sequences.

        Raises
        ------
        InputError
            A letter the model does not know, or a sample that is too long: nothing is dropped or cut.
        """
        self.check(samples)
        if not len(samples):
            raise InputError("no samples to encode", where=self.name)
        if self.over_length != "refuse":
            for number, sample in enumerate(samples):
                self._refuse_long(data_of(sample), name_of(sample, number))
        return self._encode([data_of(s) for s in samples])

    @final
    def forward(self, batch: Batch) -> Any:
        """Run the model in eval mode, without gradients unless `gradients` asks for them."""
        with running(self, batch):
            return self._forward(batch.to(self.device))

    @final
    def site(self, name: str) -> Site:
        """The record of one site; InputError with the closest names if there is none."""
        known = {s.name: s for s in self._sites()}
        if not isinstance(name, str) or name not in known:
            do = "`sciinterp sites MODEL` lists them all."
            raise no_such("site", name, known, where=f"site {name!r} of {self.name}", do=do)
        return known[name]

    @final
    def sites(self) -> pd.DataFrame:
        """Every site, indexed by name, with its path, width, kind, norm, stride and relative depth."""
        import pandas as pd

        frame = pd.DataFrame([asdict(s) for s in self._sites()]).set_index("name")
        columns = ["width", "kind", "norm", "stride", "depth", "path", "io", "axes", "call"]
        return frame.loc[:, columns]

    def check(self, samples: Sequence[object]) -> None:
        """Refuse what the model cannot take: InputError naming the sample and the position, counted from 0."""
        if isinstance(samples, str) or not isinstance(samples, Sized):
            got = "one sequence" if isinstance(samples, str) else type(samples).__name__
            raise InputError("several samples are read", where="samples", got=got, do="Give a list of them.")
        for number, sample in enumerate(samples):
            data, who = data_of(sample), name_of(sample, number)
            if not isinstance(data, Sized):
                raise InputError(f"{self.name} does not read this", where=who, got=type(data).__name__)
            if self.over_length == "refuse":
                self._refuse_long(data, who)
            self._check(data, who)

    def _check(self, data: Any, who: str) -> None:
        """Refuse what the model cannot take of one sample's data, its length apart; `who` names the sample."""
        if self.count_positions(data) == 0:
            raise InputError("an empty sample", where=who)
        if self.alphabet:
            self._refuse_letters(data, set(self.alphabet), who)

    def _refuse_letters(self, letters: Collection[str], known: Set[str], who: str) -> None:
        if not known >= set(letters):
            place, letter = next((i, c) for i, c in enumerate(letters) if c not in known)
            do = LEAVE_OUT
            if self.kind == "dna" and letter in "Uu" and "T" in known:
                do = "Write T for U: samples of RNA are read as the DNA they are copied from."
            elif self.kind == "dna" and "N" in known and letter in AMBIGUOUS:
                do = f"Write N for bases that are not certain, or leave it out: {LEAVE_OUT}"
            raise InputError(
                f"{self.name} does not know this letter",
                where=f"{who} position {place} (counted from 0)",
                expected=f"one of {''.join(sorted(known))}",
                got=repr(letter),
                do=do,
            )

    @final
    def readable(self, samples: Samples) -> Samples:
        """The samples that the model can read; those it cannot are named in a warning and counted as dropped.

        Parameters
        ----------
        samples : Samples

        Returns
        -------
        Samples
            In the same order; ``dropped`` counts the others by reason.

        Raises
        ------
        InputError
            The model can read none of them: the error of the first.

        Examples
        --------
        >>> import sciinterp as si
        >>> model = si.load_model("antiberty")
        >>> model.readable(si.Samples(["a", "b"], ["EVQLVES", "EVQ!VES"]))
        Samples(1 protein, 7 positions, 1 dropped)
        """
        refused: dict[int, InputError] = {}
        for number, sample in enumerate(samples):
            try:
                self.check([sample])
            except InputError as error:
                refused[number] = error
        if not refused:
            return samples
        if len(refused) == len(samples):
            raise refused[0]
        named = "; ".join(f"{e.where}: {e.what}" for e in list(refused.values())[:NAMED])
        more = f"; and {len(refused) - NAMED} more" if len(refused) > NAMED else ""
        log.warning("left out %d of %d samples: %s%s", len(refused), len(samples), named, more)
        kept = samples.subset([i for i in range(len(samples)) if i not in refused])
        kept.n_in, kept.dropped, kept.changed = samples.n_in, dict(samples.dropped), dict(samples.changed)
        for error in refused.values():
            kept.dropped[error.what] = kept.dropped.get(error.what, 0) + 1
        return kept

    def _refuse_long(self, data: Any, who: str) -> None:
        if self.max_length is not None and (n := self.count_positions(data)) > self.max_length:
            raise InputError(
                f"too long for {self.name}",
                where=who,
                expected=f"at most {self.max_length} positions",
                got=str(n),
                do=f"Cut it into windows, or leave it out: {LEAVE_OUT}",
            )

    def count_positions(self, data: Any) -> int:
        """Positions of one sample's data."""
        return len(data)

    def prepare(self, samples: Samples) -> Samples:
        """What the model reads of samples as they are read: the same, but for cells, whose genes may be ranked first."""
        return samples

    @property
    def probe(self) -> object:
        """The sample that the model's fingerprint is taken on: of its letters; None where it has none."""
        letters = "".join(sorted(set(self.alphabet)))
        n = max(len(letters), 1)
        return "".join(letters[(i * i + i // n) % n] for i in range(PROBE_LENGTH)) if letters else None

    @property
    def origin(self) -> Origin:  # type: ignore[override]
        """What an SAE trained on this model keeps: its name, its weights' hash, and whether randomised."""
        if self._sha256 is None:
            self._sha256 = weights_sha256(self.module, self.unhashed)
        return Origin(self.name, self._sha256, self._randomised_seed)

    @final
    def origin_at(self, site: str) -> Origin:
        """The origin of activations of this model at a site."""
        at = self.site(site)
        return replace(
            self.origin, site=site, kind=at.kind, norm=at.norm, d_in=at.width, precision=self.dtype
        )

    def with_dtype(self, dtype: str) -> Adapter:
        """The same model on the same weights in another precision."""
        other = copy(self)
        other.dtype, other.cast_weights = checked_dtype(dtype), WeakIdKeyDictionary()
        return other

    def placed(self, device: str | torch.device, dtype: str) -> Adapter:
        """The same model in another precision, its weights moved to a device."""
        return self.with_dtype(dtype).to(device)

    def to(self, device: str | torch.device) -> Adapter:
        """Move the weights to a device that is there, in place."""
        self.device = device_of(device)
        self.module.to(self.device)
        return self

    @final
    def randomised(self, seed: int) -> Adapter:
        """The same architecture and tokeniser with weights that know nothing.

        Every weight matrix and embedding is drawn anew from a normal distribution with its own standard
        deviation; gains of normalisations are one, biases zero.
        """
        seed = plain_value(seed, int, "seed")
        module = deepcopy(self.module)
        randomise(module, seed)
        other = copy(self)
        other.module, other._randomised_seed, other._sha256 = module, seed, None
        other.cast_weights = WeakIdKeyDictionary()
        return other

    def __repr__(self) -> str:
        random = "" if self._randomised_seed is None else f", randomised with seed {self._randomised_seed}"
        return f"<{self.name} on {self.device}, {self.dtype}{random}>"


@runtime_checkable
class HasLogits(Protocol):
    """Scores over a vocabulary for every token."""

    vocabulary: tuple[str, ...]

    def logits(self, batch: Batch) -> Float[Tensor, "B T V"]:
        """Scores aligned with the batch's tokens, in float32."""
        ...

    def targets(self, batch: Batch) -> Targets:
        """What the scores at each token are about: the token itself, or the one that follows."""
        ...


@runtime_checkable
class CanMask(Protocol):
    """A token that hides a position."""

    mask_token: str

    def masked(self, batch: Batch, where: Bool[Tensor, "B T"]) -> Batch:
        """The same batch with the tokens hidden where True."""
        ...


class ReadsBothSides:
    """For adapters whose scores are about the tokens themselves, any of which one token can hide."""

    token_key: str = "input_ids"  # of the tokens, in a batch's inputs
    first_word: int = 0  # the token that is the vocabulary's first word
    mask_id: int

    def targets(self, batch: Batch) -> Targets:
        """The tokens themselves."""
        return own_tokens(batch, self.token_key, first=self.first_word)

    def masked(self, batch: Batch, where: Bool[Tensor, "B T"]) -> Batch:
        """The batch with the mask token where True."""
        return hidden_tokens(batch, where, self.mask_id, self.token_key)


@runtime_checkable
class HasReverseComplement(Protocol):
    """Samples have two strands."""

    def reverse_complement(self, sequence: str) -> str:
        """The other strand, read in its own direction."""
        ...


@runtime_checkable
class CanGenerate(Protocol):
    """Writes samples: some positions drawn anew, or letters added.

    Every step is a forward pass of the adapter, so that what is written into an activation is felt at every step.
    """

    def generate(
        self, sample: object, *, n: int = 1, seed: int = 0, settings: GenerationSettings | None = None
    ) -> Sequence[object]:
        """Data of `n` samples like this one, by seeded draws; positions that may not change are as they were."""
        ...


def checked_dtype(dtype: str) -> str:
    """A precision that there is."""
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise no_such("precision", dtype, DTYPES, where="dtype")
    return dtype


def data_of(sample: object) -> Any:
    """A Sample's data, or the thing itself."""
    return sample.data if isinstance(sample, Sample) else sample


def name_of(sample: object, number: int) -> str:
    """How messages name a sample: by its identifier, or its number."""
    return f"sample {sample.id if isinstance(sample, Sample) else number!r}"


def weights_sha256(module: nn.Module, leave_out: tuple[str, ...] = ()) -> str:
    """Hash of a module's parameters and buffers by name, type, shape and bytes; the same on every device."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if name.startswith(leave_out):
            continue
        tensor = value.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def randomise(module: nn.Module, seed: int) -> None:
    """Draw a module's weights anew, in place, by one seeded generator in the order of the modules."""
    generator = torch.Generator().manual_seed(seed)
    done: set[int] = set()
    for owner in module.modules():
        norm = "norm" in type(owner).__name__.lower()
        with torch.no_grad():
            for name, p in owner.named_parameters(recurse=False):
                if id(p) in done:
                    continue
                done.add(id(p))
                gain = isinstance(owner, nn.ParameterDict) and p.ndim < 2
                if p.ndim < 2 and ("bias" in name or "beta" in name):
                    p.zero_()
                elif (norm or gain) and p.ndim < 2:
                    p.fill_(1.0)
                else:
                    own = float(p.float().std(correction=0))
                    p.copy_((torch.randn(p.shape, generator=generator) * own).to(p.dtype))
            padding = getattr(owner, "padding_idx", None)
            if isinstance(owner, nn.Embedding) and padding is not None:
                owner.weight[padding] = 0
            for name, b in owner.named_buffers(recurse=False):
                if norm and name in ("running_mean", "running_var"):
                    b.fill_(0.0 if name == "running_mean" else 1.0)
