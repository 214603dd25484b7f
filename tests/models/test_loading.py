"""What loaders say of modules, tokenisers and files that are not what they are taken for."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from makers import PROTEINS, t5
from torch import nn

from sciinterp.devices import device_of, moved, using_threads
from sciinterp.errors import FormatError, InputError, MissingWeightsError
from sciinterp.models import Kmers, Letters, capture, weight_files
from sciinterp.models.fair_esm import _found
from sciinterp.models.hugging_face import _class_of, discover_sites, kmers_of, letters_of, load
from sciinterp.models.registry import CHECKPOINTS, ENTRIES
from sciinterp.models.weight_files import read_tensors, reading, transformers


class Says:
    """A tokeniser of some words, which reads them one after the other between others."""

    def __init__(
        self, words: list[str], *, before=(), after=(), size: int = 1, unknown: str = "<unk>"
    ) -> None:
        self.words = {word: i for i, word in enumerate(words)}
        self.before, self.after, self.size = before, after, size
        self.pad_token_id, self.mask_token_id = 0, None
        self.unk_token_id = self.words.get(unknown)

    def get_vocab(self):
        return self.words

    def __call__(self, text, **_):
        parts = [text[i : i + self.size] for i in range(0, len(text), self.size)]
        ids = [self.words.get(part, self.unk_token_id) for part in parts if part != " "]
        return {"input_ids": [*self.before, *ids, *self.after]}


def test_letters_and_special_tokens_of_a_tokeniser() -> None:
    found = letters_of(Says(["<pad>", "<unk>", "A", "C", "G", "-"], before=[7], after=[8, 9]), "ACGT-")
    assert found == Letters({"A": 2, "C": 3, "G": 4, "-": 5}, 0, (7,), (8, 9))
    for words, size in ((["<pad>", "<unk>"], 1), (["<unk>", "A", "C", "AC"], 2)):
        with pytest.raises(InputError, match="does not read one letter per token"):
            letters_of(Says(words, size=size), "AC")


def test_words_of_six_bases_of_a_tokeniser() -> None:
    words = ["<pad>", "<unk>", "AAAAAA", "ACGTAC", *"ACGTN", "ACG", "[CLS]"]
    found = kmers_of(Says(words, before=[10], size=6))
    ids = {"AAAAAA": 2, "ACGTAC": 3, "A": 4, "C": 5, "G": 6, "T": 7, "N": 8}
    assert found == Kmers(ids, 6, 0, (10,), ())
    for lacking in (words[3:], [w for w in words if w != "T"]):
        with pytest.raises(InputError, match=r"does not read words of 6 bases.*'AAAAAA' and single bases"):
            kmers_of(Says(["<pad>", "<unk>", *lacking] if lacking is words[3:] else lacking, size=6))


@pytest.mark.parametrize("norm", [True, False])
def test_blocks_are_the_longest_list_of_one_class(norm) -> None:
    module = nn.Module()
    module.inside = nn.Module()
    module.inside.few = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
    module.inside.layer = nn.ModuleList(nn.GRU(4, 4) for _ in range(3))
    module.mixed = nn.ModuleList([nn.Linear(4, 4), nn.GRU(4, 4), nn.Linear(4, 4), nn.Tanh()])
    if norm:
        module.inside.final = nn.LayerNorm(4)
    sites = {s.name: s for s in discover_sites(module, 4)}
    assert [s.path for s in sites.values()][1:4] == [f"inside.layer.{i}" for i in range(3)]
    assert ("norm" in sites) == norm and sites["layers.2"].norm == ("pre" if norm else "none")
    assert not norm or sites["norm"].path == "inside.final"
    with pytest.raises(InputError, match="no list of blocks in the module, Linear"):
        discover_sites(nn.Linear(2, 2), 2)


def test_states_of_a_t5s_encoder_are_transformers_own() -> None:
    model = t5(None)
    batch = model.encode(PROTEINS[:2])
    with torch.no_grad():
        theirs = model.reference(batch)
    ours = capture(model, list(theirs), batch)
    for name, state in theirs.items():
        for i, rows in enumerate(ours[name]):
            torch.testing.assert_close(rows, state[i][batch.mask[i]])
    assert list(theirs) == ["embedding", "layers.0", "norm"]
    # Each token is scored from those before it and the encoder: the first from its start alone.
    shown = model.masked(batch, torch.zeros_like(batch.mask))
    torch.testing.assert_close(model.logits(shown), model.logits(batch))


@pytest.mark.parametrize(
    ("published", "decodes", "built"),
    [
        ("T5ForConditionalGeneration", True, "T5ForConditionalGeneration"),
        ("T5EncoderModel", True, "T5EncoderModel"),
        ("EsmForMaskedLM", False, "AutoModelForMaskedLM"),
        ("GPT2LMHeadModel", False, "AutoModelForCausalLM"),
        ("LlamaForCausalLM", False, "AutoModelForCausalLM"),
        ("BertModel", False, "AutoModel"),
        (None, False, "AutoModel"),
    ],
)
def test_the_class_that_is_built_is_the_one_that_was_published(published, decodes, built) -> None:
    config = SimpleNamespace(architectures=published and [published], is_encoder_decoder=decodes)
    assert _class_of(SimpleNamespace(**{built: built}), config) == built


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\x80\x04nonsense", "could not be read"),
        (b"", "could not be read"),
    ],
)
def test_the_file_to_blame_is_named_with_the_reason(tmp_path, head, says) -> None:
    for name in ("model.pt", "model.safetensors"):
        (tmp_path / name).write_bytes(head)
    with pytest.raises(FormatError, match=says) as caught:
        read_tensors("x", tmp_path / "model.pt")
    assert "model.pt" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(FormatError, match=r"model\.safetensors|model\.pt"), reading("x", tmp_path):
        raise OSError("first line\nsecond line")


def test_what_fails_for_a_reason_of_its_own_says_its_first_line(tmp_path) -> None:
    (tmp_path / "x.bin").write_bytes(b"whole")
    with (
        pytest.raises(FormatError, match=r"got RuntimeError: first line\.$"),
        reading("x", tmp_path / "x.bin"),
    ):
        raise RuntimeError("\n first line\nsecond")
    with pytest.raises(FormatError, match=r"asks for os\.system, which is not run"), reading("x", tmp_path):
        raise RuntimeError("Unsupported global: GLOBAL os.system was not an allowed global")
    with pytest.raises(InputError, match="ours"), reading("x", tmp_path):  # a message of ours stays as it is
        raise InputError("ours")
    with pytest.raises(KeyboardInterrupt), reading("x", tmp_path):
        raise KeyboardInterrupt


def test_packages_and_names_that_are_not_here(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"hf-esm2 needs transformers.*sciinterp\[hf\]"):
        transformers("hf-esm2")
    with pytest.raises(MissingWeightsError, match="hf-esm2 needs weights"):
        load("hf-esm2", None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingWeightsError, match="esm2 needs weights"):
        _found("esm2")
    file = tmp_path / "checkpoints" / "esm1v_t33_650M_UR90S_2.pt"
    file.parent.mkdir()
    file.touch()
    assert _found("esm1v-2") == file  # what is there is not fetched
    assert set(CHECKPOINTS) == {e.name for e in ENTRIES if e.loader == "fair_esm:load"} - {"esm2"}
    assert weight_files.misfit(["a.b"], ["c"], [], ["b"]) == "1 unexpected (c)"


def test_a_rank_computes_on_its_own_card_and_threads_are_put_back(monkeypatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "93")
    with pytest.raises(InputError, match=r"no such device here.*got 'cuda:93'"):
        device_of("cuda")
    assert device_of("cpu").type == "cpu"
    before = torch.get_num_threads()
    seen = []

    def interrupted() -> None:
        with using_threads(before + 1):
            seen.append(torch.get_num_threads())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert seen == [before + 1]
    assert torch.get_num_threads() == before

    class Thing:
        device, calls = torch.device("cpu"), 0

        def to(self, device):
            Thing.calls += 1

    with moved(None, Thing(), Thing()) as place:
        assert place == torch.device("cpu") and Thing.calls == 2
    assert Thing.calls == 4
