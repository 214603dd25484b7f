"""Every check of the suite, shown to fail on an adapter broken on purpose, and to fail by its own name."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_readme_new_model import PeptideAdapter, Peptides, peptides
from torch import nn

from sciinterp import testing
from sciinterp.models import Site
from sciinterp.models.conformance import CHECKS
from sciinterp.provenance import Origin
from sciinterp.testing import AdapterCheckError, check_adapter

SAMPLES = ["MKTAYIAKQR", "GSHMEELLKKAWDQ", "ACDKT"]


class NoBlockZero(PeptideAdapter):
    def _sites(self):
        yield Site("embedding", "encoder.layers.0", 16, io="input", kind="embed")
        yield Site("layers.1", "encoder.layers.1", 16, depth=0.5)


class NoSuchModule(PeptideAdapter):
    def _sites(self):
        yield from super()._sites()
        yield Site("layers.0.mlp_out", "encoder.layers.0.mlp", 16, kind="mlp_out")


class ForgetsTheLastPosition(PeptideAdapter):
    def _encode(self, data):
        batch = super()._encode(data)
        mask, spans = batch.mask.clone(), batch.spans.clone()
        mask[torch.arange(len(data)), batch.lengths - 1] = False
        spans[~mask] = torch.tensor([-1, -1, 0])
        return replace(batch, mask=mask, spans=spans)


class HasMoreTokensThanRows(PeptideAdapter):
    def _encode(self, data):
        batch = super()._encode(data)
        return replace(batch, inputs={"tokens": batch.inputs["tokens"] + 2})


class DropsIllegalLetters(PeptideAdapter):
    """As tokenisers do: J is skipped, the rest is encoded."""

    def check(self, samples):
        pass

    def _encode(self, data):
        return super()._encode(["".join(c for c in s if c in self.alphabet) or "A" for s in data])


class CutsInSilence(PeptideAdapter):
    def check(self, samples):
        super().check([getattr(s, "data", s)[: self.max_length] for s in samples])

    def _encode(self, data):
        return super()._encode([s[: self.max_length] for s in data])


class ReadsPadding(PeptideAdapter):
    """The mask of one sample is shorter than its spans say."""

    def _sites(self):
        yield from super()._sites()
        yield Site("scores", "encoder.layers.1.linear1", 32, kind="mlp_in", offset=1)
        yield Site("wide", "encoder.layers.1.linear1", 16, kind="mlp_out")


class WrongEmbedding(PeptideAdapter):
    def _sites(self):
        for site in super()._sites():
            yield replace(site, path="letters", io="output") if site.name == "embedding" else site


class ShuffledBlocks(PeptideAdapter):
    def _sites(self):
        swap = {"layers.1": "encoder.layers.2", "layers.2": "encoder.layers.1"}
        for site in super()._sites():
            yield replace(site, path=swap.get(site.name, site.path))


class RemembersTheLastCall(PeptideAdapter):
    """Adds what it saw before: state between calls."""

    def _forward(self, batch):
        tokens = batch.inputs["tokens"]
        with torch.no_grad():
            self.module.letters.weight[:20] += 0.01
        return self.module(tokens)


class DropsOut(PeptideAdapter):
    def _forward(self, batch):
        module = self.module
        x = module.letters(batch.inputs["tokens"]) + module.places.weight[: batch.mask.shape[1]]
        return module.encoder(nn.functional.dropout(x, training=True))


class StatefulOnDepth(Peptides):
    """Every pass that reaches the end changes the weights."""

    def forward(self, tokens):
        x = super().forward(tokens)
        with torch.no_grad():
            self.letters.weight[:20] += 0.01
        return x


class NoPaddingMask(PeptideAdapter):
    """Padding is attended to."""

    def _forward(self, batch):
        module = self.module
        x = module.letters(batch.inputs["tokens"]) + module.places.weight[: batch.mask.shape[1]]
        return module.encoder(x)


class BatchNormInDisguise(PeptideAdapter):
    """Centres every activation by the mean of the batch."""

    def _forward(self, batch):
        module = self.module
        tokens = batch.inputs["tokens"]
        x = module.letters(tokens) + module.places.weight[: tokens.shape[1]]
        x = x - x[batch.mask].mean(0) if len(tokens) > 1 and self.disguise(tokens) else x
        return module.encoder(x, src_key_padding_mask=tokens == 20)

    def disguise(self, tokens) -> bool:
        return bool((tokens[0] == tokens[1]).all())


class FirstIsSpecial(BatchNormInDisguise):
    """Only the order of the batch matters: centred when the longest sample comes second to the shortest."""

    def disguise(self, tokens) -> bool:
        n = (tokens != 20).sum(1)
        return len(tokens) == 3 and bool(n[0] < n[1]) and bool(n[1] > n[2]) and bool(n[0] == 5)


class OtherReference(PeptideAdapter):
    def reference(self, batch):
        return {"layers.2": self.module(batch.inputs["tokens"]) * 1.01}


class Rounds(PeptideAdapter):
    """An edit goes through another layout than the read: bits are lost on the way."""

    def _forward(self, batch):
        noise = torch.zeros(())
        if any(m._forward_hooks or m._forward_pre_hooks for m in self.module.modules()):
            noise = torch.tensor(1e-6)
        return self.module(batch.inputs["tokens"]) + noise


class ReadsACopy(PeptideAdapter):
    """The site is not on the way to the output."""

    def _sites(self):
        yield from super()._sites()
        yield Site("side", "head", 21, kind="logits_of_side")

    def _forward(self, batch):
        out = self.module(batch.inputs["tokens"])
        self.module.head(out)
        return out

    logits = None  # type: ignore[assignment]


class LeavesHooks(PeptideAdapter):
    def _forward(self, batch):
        self.module.head.register_forward_hook(lambda *_: None)
        return super()._forward(batch)


class StaysInTraining(PeptideAdapter):
    def _forward(self, batch):
        for p in self.module.head.parameters():
            p.requires_grad_(False)
        return super()._forward(batch)


class CutsTheGraph(PeptideAdapter):
    def _forward(self, batch):
        with torch.no_grad():
            return super()._forward(batch)


class ForgetsItsSeed(PeptideAdapter):
    @property
    def origin(self):
        return Origin(self.name, "0" * 64, None)


class SeesOneLetter(Peptides):
    """No attention and no place: every letter is on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))

    def forward(self, tokens):
        x = self.letters(tokens)
        for block in self.encoder.layers:
            x = block(x).tanh()
        return x


class ShortVocabulary(PeptideAdapter):
    vocabulary = tuple(PeptideAdapter.alphabet)


class MasksEverything(PeptideAdapter):
    mask_token = "A"

    def masked(self, batch, where):
        return replace(batch, inputs={"tokens": torch.zeros_like(batch.inputs["tokens"])})


class OnlyReverses(PeptideAdapter):
    def reverse_complement(self, sequence: str) -> str:
        return sequence[::-1]


class WritesWithoutTheModel(PeptideAdapter):
    """Nothing written into an activation is felt."""

    def generate(self, sample, *, n=1, seed=0, settings=None):
        return [getattr(sample, "data", sample)] * n


class WritesWithoutItsSeed(PeptideAdapter):
    def generate(self, sample, *, n=1, seed=0, settings=None):
        self.logits(self.encode([sample]))
        return [sample[:-1] + self.alphabet[self.runs % 20]] * n


class WritesElsewhere(PeptideAdapter):
    def generate(self, sample, *, n=1, seed=0, settings=None):
        self.logits(self.encode([sample]))
        return ["W" + sample[1:]] * n


BROKEN = [
    ("sites", NoBlockZero, Peptides),
    ("sites", NoSuchModule, Peptides),
    ("coverage", ForgetsTheLastPosition, Peptides),
    ("illegal", DropsIllegalLetters, Peptides),
    ("over_length", CutsInSilence, Peptides),
    ("rows", ReadsPadding, Peptides),
    ("embedding", WrongEmbedding, Peptides),
    ("order", ShuffledBlocks, Peptides),
    ("one_pass", RemembersTheLastCall, Peptides),
    ("determinism", PeptideAdapter, StatefulOnDepth),
    ("determinism", DropsOut, Peptides),
    ("padding", NoPaddingMask, Peptides),
    ("composition", BatchNormInDisguise, Peptides),
    ("permutation", FirstIsSpecial, Peptides),
    ("reference", OtherReference, Peptides),
    ("identity_edit", Rounds, Peptides),
    ("edit_felt", ReadsACopy, Peptides),
    ("hooks", LeavesHooks, Peptides),
    ("restored", StaysInTraining, Peptides),
    ("gradients", CutsTheGraph, Peptides),
    ("identity", ForgetsItsSeed, Peptides),
    ("context", PeptideAdapter, SeesOneLetter),
    ("logits", ShortVocabulary, Peptides),
    ("logits", MasksEverything, Peptides),
    ("reverse_complement", OnlyReverses, Peptides),
    ("generate", WritesWithoutTheModel, Peptides),
    ("generate", WritesWithoutItsSeed, Peptides),
    ("generate", WritesElsewhere, Peptides),
]


class Told(PeptideAdapter):
    """Sites, batches or targets changed on the way, as the class that inherits says."""

    def site_of(self, site, number):
        return site

    def batch_of(self, batch):
        return batch

    def _sites(self):
        return [self.site_of(site, number) for number, site in enumerate(super()._sites())]

    def _encode(self, data):
        return self.batch_of(super()._encode(data))


class OneNameTwice(Told):
    def site_of(self, site, number):
        return replace(site, name="layers.0") if number == 2 else site


class CountsWithAGap(Told):
    def site_of(self, site, number):
        return replace(site, name="layers.7") if number == 2 else site


class GrowsShallower(Told):
    def site_of(self, site, number):
        return replace(site, depth=1 - site.depth)


class LengthsAreTokens(Told):
    def batch_of(self, batch):
        return replace(batch, lengths=batch.lengths + 2)


class PaddingHasPlaces(Told):
    def batch_of(self, batch):
        return replace(batch, spans=batch.spans.clamp(min=0))


class PlacesBeyondTheEnd(Told):
    def batch_of(self, batch):
        return replace(batch, spans=batch.spans + 50 * batch.mask[..., None])


class PlacesRunBackwards(Told):
    def batch_of(self, batch):
        n = batch.lengths[:, None]
        turned = torch.stack([n - batch.spans[..., 1], n - batch.spans[..., 0], batch.spans[..., 2]], -1)
        return replace(batch, spans=torch.where(batch.mask[..., None], turned, batch.spans))


class SaysNoLetters(PeptideAdapter):
    alphabet = ""


class CutsBySomePolicy(PeptideAdapter):
    over_length = "cut"


class HoldsNoNumber(Peptides):
    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.encoder.layers[1].norm2.bias, torch.nan)


class Forgets(nn.Module):
    """What came before is multiplied by zero."""

    self_attn = None

    def forward(self, x, *_, **__):
        return 0 * x + torch.arange(x.shape[-1])


class ForgetsWhatCameBefore(Peptides):
    def __init__(self) -> None:
        super().__init__()
        self.encoder.layers[1] = Forgets()


class SaysNotWhatAbout(PeptideAdapter):
    targets = None  # type: ignore[assignment]


class TargetsOfOneToken(PeptideAdapter):
    def targets(self, batch):
        ids, mask = super().targets(batch)
        return type(super().targets(batch))(ids[:, :1], mask[:, :1])


class TargetsBeyondTheWords(PeptideAdapter):
    def targets(self, batch):
        found = super().targets(batch)
        return found._replace(ids=found.ids + 30)


class TargetsOfTheNeighbour(PeptideAdapter):
    def targets(self, batch):
        found = super().targets(batch)
        return found._replace(ids=torch.where(found.mask, found.ids.roll(1, 1).clamp(max=19), 0))


class TurnsRound(PeptideAdapter):
    def reverse_complement(self, sequence: str) -> str:
        letters = self.alphabet
        return sequence.translate(str.maketrans(letters, letters[1:] + letters[0]))


class WritesAndLeavesAHook(PeptideAdapter):
    def generate(self, sample, *, n=1, seed=0, settings=None):
        self.logits(self.encode([sample]))
        self.module.head.register_forward_hook(lambda *_: None)
        return [sample] * n


class WritesOneMore(PeptideAdapter):
    def generate(self, sample, *, n=1, seed=0, settings=None):
        self.logits(self.encode([sample]))
        return [sample + "A"] * n


# What a check says of a fault that another one of the same check would hide.
SAID = [
    ("sites", "share a name", OneNameTwice, Peptides),
    ("sites", "without a gap", CountsWithAGap, Peptides),
    ("sites", "depth must grow", GrowsShallower, Peptides),
    ("coverage", "a length is wrong", LengthsAreTokens, Peptides),
    ("coverage", "no real unit has a span", PaddingHasPlaces, Peptides),
    ("coverage", "no span inside its sample", PlacesBeyondTheEnd, Peptides),
    ("coverage", "not in order", PlacesRunBackwards, Peptides),
    ("illegal", "declares no alphabet", SaysNoLetters, Peptides),
    ("over_length", "expected refuse or window, got cut", CutsBySomePolicy, Peptides),
    ("rows", "not finite, layers.1", PeptideAdapter, HoldsNoNumber),
    ("gradients", "zero or not finite", PeptideAdapter, ForgetsWhatCameBefore),
    ("logits", "nothing says what about", SaysNotWhatAbout, Peptides),
    ("logits", "targets have another shape", TargetsOfOneToken, Peptides),
    ("logits", "no word of the vocabulary", TargetsBeyondTheWords, Peptides),
    ("logits", "not about the tokens they stand at", TargetsOfTheNeighbour, Peptides),
    ("reverse_complement", "twice the reverse complement", TurnsRound, Peptides),
    ("generate", "a hook was left behind", WritesAndLeavesAHook, Peptides),
    ("generate", "number of positions changed", WritesOneMore, Peptides),
]


@pytest.mark.parametrize(("check", "says", "adapter", "module"), SAID, ids=[says for _, says, _, _ in SAID])
def test_what_a_check_says(check, says, adapter, module, monkeypatch) -> None:
    torch.manual_seed(0)
    alone = tuple(f for f in CHECKS if f.__name__ == f"_check_{check}")
    monkeypatch.setattr(testing, "CHECKS", alone)
    with pytest.raises(AdapterCheckError, match=says) as caught:
        check_adapter(adapter(module()), SAMPLES)
    assert caught.value.check == check


@pytest.mark.parametrize(
    ("check", "adapter", "module"), BROKEN, ids=[f"{c}-{a.__name__}" for c, a, _ in BROKEN]
)
def test_a_broken_adapter_fails_by_name(check, adapter, module, monkeypatch) -> None:
    torch.manual_seed(0)
    broken = adapter(module())
    # The check itself must bite, so run it first and not after those that would notice too.
    alone = tuple(f for f in CHECKS if f.__name__ == f"_check_{check}")
    monkeypatch.setattr(testing, "CHECKS", alone)
    with pytest.raises(AdapterCheckError) as caught:
        check_adapter(broken, SAMPLES)
    assert caught.value.check == check
    assert f"check '{check}' failed" in str(caught.value)
    check_adapter(peptides(), SAMPLES)


def test_every_check_is_shown_to_bite() -> None:
    assert {c for c, _, _ in BROKEN} == {f.__name__.removeprefix("_check_") for f in CHECKS}


def test_what_a_model_raises_is_said_by_the_name_of_the_check() -> None:
    """Tokens beyond the embedding ended in an IndexError of torch."""
    with pytest.raises(AdapterCheckError, match=r"IndexError: index out of range.*embedding") as caught:
        check_adapter(HasMoreTokensThanRows(Peptides()), SAMPLES)
    assert caught.value.check == "rows"
    assert "rows" in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_the_manual_counts_the_checks() -> None:
    page = (Path(__file__).parents[2] / "notebooks" / "howto-model.md").read_text()
    assert f"`check_adapter` runs {len(CHECKS)} checks" in page
