"""Text to tokens and back: every encoding against a plain loop, and what a tokeniser would change in silence."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from Bio.Seq import Seq
from hypothesis import given, settings
from hypothesis import strategies as st

from sciinterp.errors import InputError
from sciinterp.models import Kmers, Letters, OneHot, Pieces, reverse_complement
from sciinterp.models.encodings import letters_to_batch, pieces_to_batch

WORDS = {"".join(w): i for i, w in enumerate(product("ACGT", repeat=3))}
KMERS = Kmers({**WORDS, **{c: 100 + i for i, c in enumerate("ACGTN")}}, 3, pad=200, prefix=(201,))
sequences = st.lists(st.text("ACGTN", min_size=1, max_size=14), min_size=1, max_size=5)


@settings(deadline=None, max_examples=60)
@given(sequences, st.lists(st.integers(10, 12), max_size=2), st.lists(st.integers(13, 15), max_size=2))
def test_letters_are_tokens_between_the_special_ones(texts, prefix, suffix) -> None:
    ids = dict(zip("ACGTN", range(5)))
    letters = Letters(ids, 9, tuple(prefix), tuple(suffix), "tokens")
    batch = letters.encode(texts)
    longest = max(map(len, texts))
    for i, text in enumerate(texts):
        row = [*prefix, *(ids[c] for c in text), *suffix]
        size = len(prefix) + longest + len(suffix)
        assert batch.inputs["tokens"][i].tolist() == row + [9] * (size - len(row))
        assert batch.present[i].tolist() == [t < len(row) for t in range(size)]
        real = batch.spans[i][batch.mask[i]]
        assert real.tolist() == [[p, p + 1, 0] for p in range(len(text))]
        assert batch.mask[i].nonzero().flatten().tolist() == [len(prefix) + p for p in range(len(text))]
    assert batch.lengths.tolist() == [len(t) for t in texts]
    assert letters.positions(20) == 20 - len(prefix) - len(suffix)


def test_one_letter_a_token_is_pieces_of_one_letter() -> None:
    """Two paths to one batch."""
    ids, texts = dict(zip("ACGT", range(4))), ["ACGT", "G", "TT"]
    one = letters_to_batch(texts, ids, pad=7, prefix=(5,), suffix=(6,))
    rows = [[(ids[c], i, i + 1) for i, c in enumerate(text)] for text in texts]
    two = pieces_to_batch(rows, [len(t) for t in texts], pad=7, prefix=(5,), suffix=(6,))
    assert torch.equal(one.inputs["input_ids"], two.inputs["input_ids"])
    for name in ("mask", "spans", "lengths", "present"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name


@settings(deadline=None, max_examples=80)
@given(st.text("ACGTN", min_size=1, max_size=30))
def test_words_spell_the_sequence_and_break_at_n_alone(text) -> None:
    batch = KMERS.encode([text])
    spans = batch.spans[0][batch.mask[0]][:, :2].tolist()
    back = {i: w for w, i in KMERS.ids.items()}
    tokens = batch.inputs["input_ids"][0][batch.mask[0]].tolist()
    assert "".join(back[t] for t in tokens) == text
    assert [text[a:b] for a, b in spans] == [back[t] for t in tokens]
    for a, b in spans:  # a single letter only where no word of three bases begins
        assert b - a == 3 or "N" in text[a : a + 3] or a + 3 > len(text)
    assert KMERS.positions(11) == 30 and KMERS.alphabet == "ACGTN"


@settings(deadline=None, max_examples=40)
@given(sequences, st.booleans(), st.integers(0, 4), st.integers(0, 30))
def test_channels_are_bases_and_padding_is_zero(texts, first, context, length) -> None:
    batch = OneHot(channels_first=first, context=context, length=length or None).encode(texts)
    x = batch.inputs["x"].mT if first else batch.inputs["x"]
    size = max(max(map(len, texts)) + 2 * context, length)
    assert x.shape == (len(texts), size, 4) and batch.mask.shape == x.shape[:2]
    for i, text in enumerate(texts):
        there = np.array([[c == base for base in "ACGT"] for c in text], float)
        assert np.array_equal(x[i][batch.mask[i]].numpy(), there)
        assert not x[i][~batch.mask[i]].any() and (batch.spans[i][~batch.mask[i]][:, :2] == -1).all()
        assert batch.mask[i].nonzero()[0].item() == context


@settings(deadline=None, max_examples=60)
@given(st.text("ACGTN", max_size=40))
def test_the_other_strand_is_biopythons(text) -> None:
    assert reverse_complement(text) == str(Seq(text).reverse_complement())
    assert reverse_complement(reverse_complement(text)) == text


def spoken(offsets: list[tuple[int, int]]) -> Pieces:
    """A tokeniser that reports these offsets, whatever it is given."""

    class Says(SimpleNamespace):
        def __call__(self, text, **_):
            return {"input_ids": list(range(len(offsets))), "offset_mapping": offsets}

    return Pieces(Says(pad_token_id=None, unk_token_id=None, get_vocab=dict))


def test_offsets_are_positions_and_special_tokens_have_none() -> None:
    batch = spoken([(0, 0), (0, 3), (3, 4), (0, 0)]).encode(["ACGT"])
    assert batch.mask.tolist() == [[False, True, True, False]]
    assert batch.spans[0][batch.mask[0]][:, :2].tolist() == [[0, 3], [3, 4]]
    assert spoken([]).positions(12) is None


@pytest.mark.parametrize("offsets", [[(0, 3)], [(0, 3), (2, 4)], [(0, 4), (0, 4)], []])
def test_a_tokeniser_that_drops_or_repeats_letters_is_refused(offsets) -> None:
    with pytest.raises(InputError, match=r"dropped or repeated letters.*'ACGT'"):
        spoken(offsets).encode(["ACGT"])
