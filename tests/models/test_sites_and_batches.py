"""Sites and batches: rows come out of any nested output and go back into it, and what does not fit is named."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_readme_new_model import PeptideAdapter, peptides
from torch import nn

from sciinterp.errors import InputError, ShapeError
from sciinterp.models import Batch, Site, activation_error, capture, edit, next_tokens, own_tokens, replayed
from sciinterp.models.encodings import letters_to_batch, pieces_to_batch
from sciinterp.models.site import (
    block_sites,
    gather,
    hidden_tokens,
    put,
    scatter,
    scored_spans,
    select,
    stack_sites,
    unit_spans,
)

DNA = {"A": 0, "C": 1, "G": 2, "T": 3}
Pair = namedtuple("Pair", ["hidden", "cache"])
masks = st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4)


class Loud(dict):
    """A mapping of a type of its own, as transformers' outputs are."""


@pytest.mark.parametrize("make", [tuple, list, lambda x: Pair(*x), lambda x: OrderedDict(zip("ab", x)),
                                  lambda x: Loud(zip("ab", x)), lambda x: {"a": [x[0]], "b": (x[1], {"c": 1})}])  # fmt: skip
@pytest.mark.parametrize("path", [None, "first", "second"])
def test_what_is_put_is_selected_and_all_else_is_as_it_was(make, path) -> None:
    value = make([torch.zeros(2), torch.ones(2)])
    keys = list(value) if isinstance(value, dict) else [0, 1]
    place = None if path is None else (keys[path == "second"],)
    new = torch.full((2,), 7.0)
    changed = put(value, place, new)
    assert select(changed, place) is new
    assert type(changed) is type(value) and select(value, place) is not new
    other = keys[path != "second"]
    assert changed[other] is value[other]


@settings(deadline=None, max_examples=40)
@given(masks, st.booleans())
def test_spans_of_units_by_counting(rows, strands) -> None:
    mask = torch.tensor(rows)
    strand = torch.arange(6).expand(mask.shape) if strands else None
    found = unit_spans(mask, strand=strand)
    for i, row in enumerate(rows):
        seen = 0
        for t, real in enumerate(row):
            expected = [seen, seen + 1, t if strands else 0] if real else [-1, -1, 0]
            assert found[i, t].tolist() == expected
            seen += real
    start = torch.arange(6).expand(mask.shape)
    assert torch.equal(unit_spans(mask, start)[mask][:, 0], start[mask])


def test_a_hidden_token_is_hidden_where_it_is_asked_for_alone() -> None:
    batch = letters_to_batch(["ACG", "T"], DNA, pad=4, prefix=(5,), name="tokens")
    where = torch.tensor([[False, True, False, True], [False, False, False, False]])
    found = hidden_tokens(batch, where, 9, "tokens").inputs["tokens"]
    assert found.tolist() == [[5, 9, 1, 9], [5, 3, 4, 4]]
    assert batch.inputs["tokens"].tolist() == [[5, 0, 1, 2], [5, 3, 4, 4]]
    columns = Batch(
        {"tokens": torch.arange(4).reshape(1, 2, 2)}, batch.mask[:1], batch.spans, batch.lengths[:1]
    )
    assert hidden_tokens(columns, where[:1], 9, "tokens").inputs["tokens"].tolist() == [[[0, 9], [2, 9]]]


def test_targets_and_their_spans_of_both_directions() -> None:
    """Words of one to three letters: each score is about a word of its own sample, and none about a special token."""
    rows = [[(10, 0, 1), (11, 1, 4)], [(12, 0, 2)]]
    batch = pieces_to_batch(rows, [4, 2], pad=0, prefix=(1,), suffix=(2,))
    own, following = own_tokens(batch), next_tokens(batch)
    assert own.ids[own.mask].tolist() == following.ids[following.mask].tolist() == [10, 11, 12]
    assert own.mask.tolist() == [[False, True, True, False], [False, True, False, False]]
    assert following.mask.tolist() == [[True, True, False, False], [True, False, False, False]]
    for about in (own.mask, following.mask):
        assert scored_spans(batch, about).tolist() == [[0, 0, 1], [0, 1, 4], [1, 0, 2]]
    first = following.mask & torch.tensor([[False, True, True, True]])  # no score about the first word
    assert scored_spans(batch, first).tolist() == [[0, 1, 4]]


def test_sites_of_a_stack() -> None:
    parts = {"attn_out": {"path": "attn", "select": (0,)}, "mlp_out": {"path": "mlp", "width": 5}}
    with pytest.raises(TypeError, match="width"):  # parts of a block have its width
        list(block_sites("blocks", 2, 8, parts))
    del parts["mlp_out"]["width"]
    found = {s.name: s for s in stack_sites("blocks", 4, 8, parts, axes="TBD", norm="pre")}
    assert list(found)[:4] == ["embedding", "layers.0.attn_out", "layers.0.mlp_out", "layers.0"]
    assert [n for n, s in found.items() if s.is_block] == [f"layers.{i}" for i in range(4)]
    assert [found[f"layers.{i}"].depth for i in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert {s.axes for s in found.values()} == {"TBD"} and {s.norm for s in found.values()} == {"pre"}
    assert (found["embedding"].path, found["embedding"].io) == ("blocks.0", "input")
    assert found["layers.3.attn_out"].path == "blocks.3.attn"


@pytest.mark.parametrize(
    ("site", "value", "says"),
    [
        (Site("x", "", 3), torch.zeros(1, 4, 2), "another width.*expected 3, got 2"),
        (Site("x", "", 2), torch.zeros(4, 2), "other axes.*expected BTD"),
        (Site("x", "", 2), torch.zeros(1, 5, 2), "another number of tokens.*expected .1, 4., got .1, 5."),
        (Site("x", "", 2, axes="PD"), torch.zeros(3, 2), "another number of tokens"),
        (Site("x", "", 2, select=(1,)), (torch.zeros(1, 4, 2), "text"), "not a tensor.*got str"),
        (Site("x", "", 2, n_tokens=9), torch.zeros(1, 9, 2), "outside the batch"),
    ],
)
def test_a_record_that_does_not_fit_its_tensor_is_named(site, value, says) -> None:
    batch = letters_to_batch(["ACGT"], DNA, pad=4)
    with pytest.raises(ShapeError, match=rf"{says}") as caught:
        gather(site, value, batch)
    assert "'x'" in str(caught.value)


@pytest.mark.parametrize("form", ["contiguous", "transposed", "part of a larger one", "expanded"])
def test_an_edit_of_any_memory_writes_the_rows_and_leaves_the_given_tensor(form) -> None:
    batch = letters_to_batch(["ACGT", "AC"], DNA, pad=4)
    base = torch.randn(2, 4, 3)
    value = {
        "contiguous": base,
        "transposed": base.mT.contiguous().mT,
        "part of a larger one": torch.randn(2, 4, 9)[..., 2:5],
        "expanded": base[:1, :, :1].expand(2, 4, 3),
    }[form]
    before, new = value.clone(), torch.randn(6, 3)
    out = scatter(Site("x", "", 3), value, batch, new)
    assert torch.equal(out[batch.mask], new) and torch.equal(out[~batch.mask], before[~batch.mask])
    assert torch.equal(value, before)
    if form != "expanded":
        assert out.stride() == value.stride() or form == "part of a larger one"


class Named(nn.Module):
    """Its block is called by keyword; the second keyword is what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.letters, self.block = nn.Embedding(21, 4), Adding()

    def forward(self, tokens):
        return self.block(scale=2.0, x=self.letters(tokens))


class Adding(nn.Module):
    def forward(self, scale, x):
        return scale * x + 1


class NamedAdapter(PeptideAdapter):
    where: tuple = ("x",)

    def _sites(self):
        yield Site("embedding", "block", 4, io="input", select=self.where, kind="embed")
        yield Site("layers.0", "block", 4, depth=1.0)


def test_inputs_by_keyword_are_read_and_written() -> None:
    torch.manual_seed(0)
    model = NamedAdapter(Named())
    batch = model.encode(["MK", "ACD"])
    found = capture(model, ["embedding", "layers.0"], batch)
    for before, after in zip(found["embedding"], found["layers.0"]):
        assert torch.equal(2 * before + 1, after)
    with edit(model, "embedding", torch.zeros_like):
        assert torch.equal(model.forward(batch)[batch.mask], torch.ones(5, 4))
    model.where = None  # the first of the keywords is a number
    with pytest.raises(ShapeError, match="not a tensor"):
        capture(model, ["embedding"], batch)


def test_a_pass_that_the_adapter_did_not_begin_is_not_edited_in_silence() -> None:
    model = peptides()
    batch = model.encode(["MKT"])
    with edit(model, "layers.0", lambda x: x), pytest.raises(InputError, match=r"Call adapter\.forward"):
        model.module(batch.inputs["tokens"])
    model.module(batch.inputs["tokens"])


def test_only_the_replayed_batches_may_run() -> None:
    model = peptides()
    one, other = model.encode(["MKTAY"]), model.encode(["ACD"])
    plain = model.logits(one)
    with replayed(model, "layers.1", one):
        assert torch.equal(model.logits(one), plain)
        with pytest.raises(InputError, match="another batch"):
            model.logits(other)
    assert torch.equal(model.logits(other), model.logits(other))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_error_of_a_precision_by_its_definition(dtype) -> None:
    model = peptides().with_dtype(dtype)
    batch = model.encode(["MKTAYIAKQR", "ACD"])
    low, exact = (
        torch.cat(capture(m, ["layers.2"], batch)["layers.2"]).double().numpy()
        for m in (model, model.with_dtype("float32"))
    )
    rms = np.sqrt(((low - exact) ** 2).mean())
    expected = rms / np.sqrt(((exact - exact.mean(0)) ** 2).mean())
    assert activation_error(model, ["layers.2"], batch)["layers.2"] == pytest.approx(expected, rel=1e-9)
    assert activation_error(model.with_dtype("float32"), ["layers.2"], batch) == {"layers.2": 0.0}
