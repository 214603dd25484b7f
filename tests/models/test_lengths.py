"""A model's longest input is what its own configuration says; beyond it, one line or windows."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from makers import DNA, PROTEINS, real
from test_hugging_face import build, esm_config, esm_tokeniser, hf, nucleotide_vocabulary

import sciinterp as si
from sciinterp.activations import ExtractSettings
from sciinterp.errors import InputError
from sciinterp.models import load_model
from sciinterp.models.hugging_face import longest_input


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"model_type": "esm", "max_position_embeddings": 1026, "pad_token_id": 1}, 1024),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, 512),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "t5", "n_positions": 512}, None),
        ({"model_type": "other"}, None),
    ],
)
def test_tokens_of_a_configuration(fields, tokens) -> None:
    assert longest_input(SimpleNamespace(**fields)) == tokens


@pytest.mark.parametrize("n", [34, 66])
def test_proteins_are_windowed_at_the_configured_length(n, tmp_path) -> None:
    """Every residue has a row, and no batch is longer than the model."""
    torch.manual_seed(0)
    module = hf.EsmForMaskedLM(esm_config(max_position_embeddings=n))
    model = load_model("hf-esm2", weights=(module, esm_tokeniser(tmp_path)))
    assert model.max_length == n - 4
    long = "".join(PROTEINS) * 2
    acts = si.extract(
        model,
        si.Samples(["a"], [long]),
        site="layers.0",
        out=tmp_path / "acts",
        settings=ExtractSettings(overlap=8),
    )
    assert acts.spans["start"].tolist() == list(range(len(long)))
    with pytest.raises(InputError, match=f"at most {n - 4} positions"):
        model.encode([long])


def test_words_of_six_bases_fill_up_with_unknown_bases(tmp_path) -> None:
    """A sequence of the longest length fits as words, and not when N breaks them into letters."""
    torch.manual_seed(0)
    words = nucleotide_vocabulary()
    module = hf.EsmForMaskedLM(esm_config(words, max_position_embeddings=22))
    model = load_model("nucleotide-transformer", weights=(module, esm_tokeniser(tmp_path, words, eos=None)))
    assert model.max_length == 6 * 19
    model.check(["ACGTAC" * 19])
    for sequence in ("N" * 114, "ACGTAC" * 19 + "N" * 60):
        with pytest.raises(InputError, match=r"too many tokens.*at most 20"):
            model.check([sequence])
    assert len(model.readable(si.Samples(["a", "b"], ["ACGTAC", "N" * 100], kind="dna"))) == 1
    texts = ["ACGTAC" * 50 + "ACGTAC"[:n] for n in range(6)]
    acts = si.extract(
        model,
        si.Samples(list("abcdef"), texts, kind="dna"),
        site="layers.0",
        out=tmp_path / "acts",
        settings=ExtractSettings(overlap=8),
    )
    for n, (first, last) in enumerate(pairwise(acts.token_offsets)):
        assert acts.spans["start"][first:last].tolist() == [*range(0, 300, 6), *range(300, 300 + n)]


def test_byte_pairs_are_counted(tmp_path) -> None:
    model = load_model("dna-bpe", weights=build("dna-bpe", tmp_path))
    limit = model.module.config.max_position_embeddings
    assert model.max_length is None
    model.check([DNA[0] * 10])
    with pytest.raises(InputError, match=f"too many tokens.*at most {limit}"):
        model.check(["CG" * limit])


def test_ambiguous_bases_are_named_with_what_to_write() -> None:
    model = real("spliceai-1")(None)
    with pytest.raises(InputError, match=r"position 2 .*got 'R'\. Write N"):
        model.check(["ACRT"])
    with pytest.raises(InputError) as caught:
        model.check(["AC*T"])
    assert "Write N" not in str(caught.value)
    for letter in "Uu":
        with pytest.raises(InputError, match=rf"got '{letter}'\. Write T for U"):
            model.check([f"AC{letter}T"])


def test_lengths_of_modules_with_counted_places() -> None:
    assert real("antiberty")(None).max_length == 510
