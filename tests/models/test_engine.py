"""The engine's invariants: batches, layouts and their inverses, stops, calls, and what is put back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_readme_new_model import PeptideAdapter, Peptides, peptides
from torch import nn

from sciinterp.errors import InputError, ShapeError
from sciinterp.models import Batch, Site, capture, edit, gradients, plan_batches, spans_of
from sciinterp.models.encodings import letters_to_batch
from sciinterp.models.site import gather, put, scatter, select, site_tokens

DNA = {"A": 0, "C": 1, "G": 2, "T": 3}
sequences = st.lists(st.text("ACGT", min_size=1, max_size=9), min_size=1, max_size=4)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 500), max_size=300), st.integers(1, 3000))
def test_plan_holds_every_sample_once_within_the_budget(lengths, max_tokens) -> None:
    plan = plan_batches(lengths, max_tokens)
    assert sorted(np.concatenate(plan).tolist() if plan else []) == list(range(len(lengths)))
    for batch in plan:
        sizes = np.asarray(lengths)[batch]
        assert len(batch) == 1 or sizes.max() * len(batch) <= max_tokens
        assert sizes.sum() >= 0.95 * sizes.max() * len(batch)
    assert [b.tolist() for b in plan] == [b.tolist() for b in plan_batches(np.array(lengths), max_tokens)]


def test_padding_of_a_natural_length_distribution_is_under_five_percent() -> None:
    lengths = np.clip(np.random.default_rng(0).lognormal(np.log(120), 0.7, 2000).astype(int), 20, 500)
    plan = plan_batches(lengths, 8192)
    padded = sum(int(lengths[b].max()) * len(b) for b in plan)
    assert padded < lengths.sum() / 0.95
    assert len(plan) < 80


def test_one_sample_a_batch_where_the_model_needs_it() -> None:
    assert all(len(b) == 1 for b in plan_batches([3, 3, 3], max_samples=1))
    with pytest.raises(InputError):
        plan_batches([3], 0)


@settings(deadline=None, max_examples=60)
@given(sequences, st.permutations("BTD"), st.booleans(), st.integers(0, 3))
def test_gather_reads_what_scatter_writes_in_every_layout(data, axes, sliced, seed) -> None:
    batch = letters_to_batch(data, DNA, pad=4, prefix=(5,), suffix=(6, 7))
    generator = torch.Generator().manual_seed(seed)
    plain = torch.randn(*batch.mask.shape, 6, generator=generator)
    value = plain.permute(["BTD".index(a) for a in axes])
    channels = (2, 5) if sliced else None
    site = Site("x", "", 3 if sliced else 6, axes="".join(axes), channels=channels)
    rows, _ = gather(site, value, batch)
    expected = plain[batch.mask][:, 2:5] if sliced else plain[batch.mask]
    assert torch.equal(rows, expected)
    new = torch.randn(rows.shape, generator=generator)
    written = scatter(site, value, batch, new)
    assert torch.equal(gather(site, written, batch)[0], new)
    assert torch.equal(scatter(site, written, batch, rows), value)


def test_packed_rows_follow_the_tokens_the_model_sees() -> None:
    batch = letters_to_batch(["ACG", "T"], DNA, pad=4, prefix=(5,), suffix=(6,))
    tokens = batch.inputs["input_ids"][batch.present]
    site = Site("x", "", 1, axes="PD")
    rows, mask = gather(site, tokens[:, None], batch)
    assert rows[:, 0].tolist() == [0, 1, 2, 3]
    assert torch.equal(mask, batch.mask)


def test_alignments_are_two_token_axes() -> None:
    mask = torch.tensor([[[False, True, True], [False, False, False]]])
    value = torch.arange(6.0).reshape(2, 3, 1, 1)
    batch = Batch({}, mask.flatten(1), torch.zeros(1, 6, 3, dtype=torch.int64), torch.tensor([2]))
    assert gather(Site("x", "", 1, axes="RCBD"), value, batch)[0][:, 0].tolist() == [1.0, 2.0]


def test_pairs_are_summed_and_an_identity_edit_is_exact() -> None:
    batch = letters_to_batch(["ACGT"], DNA, pad=4)
    value = (torch.randn(1, 4, 2), torch.randn(1, 4, 2) * 1e6)
    site = Site("x", "", 2, select=(0,), combine=((1,),))
    rows, _ = gather(site, value, batch)
    assert torch.equal(rows, (value[0] + value[1])[0])
    assert torch.equal(scatter(site, value, batch, rows)[0], value[0])


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 7), st.integers(0, 5))
def test_bins_cover_what_their_tokens_cover(n, stride, offset) -> None:
    batch = letters_to_batch(["A" * n, "A" * max(1, n // 2)], DNA, pad=4)
    site = Site("bins", "", 1, stride=stride, offset=offset)
    if (n - offset) // stride < 1:
        with pytest.raises(ShapeError):
            site_tokens(site, batch)
        return
    mask, spans = site_tokens(site, batch)
    for i, length in enumerate(batch.lengths.tolist()):
        for t in range(mask.shape[1]):
            lo, hi = offset + t * stride, min(offset + (t + 1) * stride, length)
            assert bool(mask[i, t]) == (lo < hi)
            assert spans[i, t, :2].tolist() == ([lo, hi] if lo < hi else [-1, -1])


def test_items_of_nested_outputs() -> None:
    value = {"a": (1, [2, 3])}
    assert select(value, ("a", 1, 0)) == 2
    assert select(value, None) == 1
    changed = put(value, ("a", 1, 0), 9)
    assert changed == {"a": (1, [9, 3])}
    assert value == {"a": (1, [2, 3])}
    assert put(value, None, 7) == {"a": (7, [2, 3])}


def test_a_capture_stops_after_its_deepest_site() -> None:
    model = peptides()
    seen = []
    for i, block in enumerate(model.module.encoder.layers):
        block.register_forward_hook(lambda *_, i=i: seen.append(i))
    batch = model.encode(["MKTAY"])
    capture(model, ["embedding", "layers.1"], batch)
    assert seen == [0] or seen == [0, 1]
    with pytest.raises(InputError, match="never reached"):
        capture(model, [Site("head", "head", 21)], batch)


def test_padding_under_no_grad_does_not_become_a_nested_tensor() -> None:
    model = peptides()
    whole = capture(model, ["layers.0", "layers.2"], model.encode(["MKTAYIAK", "ACD"]))
    assert [len(r) for r in whole["layers.2"]] == [8, 3]
    assert torch.backends.mha.get_fastpath_enabled()


def test_shared_modules_are_told_apart_by_their_call() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Linear(4, 4)
            self.letters = nn.Embedding(21, 4)

        def forward(self, tokens):
            x = self.letters(tokens)
            for _ in range(3):
                x = self.block(x).tanh()
            return x

    class SharedAdapter(PeptideAdapter):
        def _sites(self):
            for i in range(3):
                yield Site(f"layers.{i}", "block", 4, call=i)

    torch.manual_seed(0)
    model = SharedAdapter(Shared())
    batch = model.encode(["MK"])
    found = capture(model, ["layers.0", "layers.2"], batch)
    again = capture(model, ["layers.2"], batch)
    assert torch.equal(found["layers.2"][0], again["layers.2"][0])
    assert not torch.equal(found["layers.0"][0], found["layers.2"][0])


def test_tensors_are_ordinary_even_inside_inference_mode() -> None:
    model = peptides()
    with torch.inference_mode():
        rows = capture(model, ["layers.0"], model.encode(["MKT"]))["layers.0"][0]
    assert not rows.is_inference()
    assert not rows.requires_grad
    with gradients(model):
        assert capture(model, ["layers.0"], model.encode(["MKT"]))["layers.0"][0].requires_grad


def test_an_edit_must_keep_the_shape_and_site_names_are_checked() -> None:
    model = peptides()
    batch = model.encode(["MKT"])
    with pytest.raises(ShapeError, match="another shape"), edit(model, "layers.0", lambda x: x[:1]):
        model.forward(batch)
    with pytest.raises(InputError, match=r"layers\.2"):
        model.site("layer.2")
    assert spans_of(model, "layers.0", batch)[0].tolist() == [[0, 1, 0], [1, 2, 0], [2, 3, 0]]


def test_randomised_models_keep_spread_gains_and_biases() -> None:
    model = peptides()
    other = model.randomised(3)
    for (name, p), q in zip(model.module.named_parameters(), other.module.parameters()):
        if p.ndim > 1:
            assert not torch.equal(p, q)
            assert float((q.std() / p.std()).detach()) == pytest.approx(1, abs=0.25), name
        else:
            assert torch.equal(q, torch.full_like(q, 1.0 if "norm" in name and "weight" in name else 0.0)), (
                name
            )
    assert other.identity["randomised_seed"] == 3
    assert other.identity != model.identity


def test_low_precision_is_a_choice_and_its_error_is_small() -> None:
    from sciinterp.models import activation_error

    model = PeptideAdapter(Peptides(), dtype="bfloat16")
    error = activation_error(model, ["embedding", "layers.2"], model.encode(["MKTAYIAK"]))
    assert error["embedding"] == 0
    assert 0 < error["layers.2"] < 0.05
    with pytest.raises(InputError, match="precision"):
        PeptideAdapter(Peptides(), dtype="int4")


def test_weights_cast_for_a_pass_are_put_back_and_follow_the_module() -> None:
    model = peptides().with_dtype("bfloat16")
    sample, head = ["MKTAYIAKQR"], model.module.encoder.layers[0].linear1
    weight, identity = head.weight, model.identity
    seen = []
    handle = head.register_forward_pre_hook(lambda m, _: seen.append(m.weight.dtype))
    one = capture(model, ["layers.2"], model.encode(sample))["layers.2"][0]
    with pytest.raises(KeyboardInterrupt), edit(model, "layers.1", interrupt):
        model.forward(model.encode(sample))
    assert head.weight is weight
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    with torch.no_grad():
        weight.mul_(2.0)
    two = capture(model, ["layers.2"], model.encode(sample))["layers.2"][0]
    capture(model, ["layers.2"], model.encode(sample), grad=True)
    handle.remove()
    assert seen == [torch.bfloat16] * 3 + [torch.float32]
    assert not torch.equal(one, two)
    exact = capture(model.with_dtype("float32"), ["layers.2"], model.encode(sample))["layers.2"][0]
    assert float((two - exact).abs().max()) < 0.1
    assert identity["weights_sha256"] == model.identity["weights_sha256"]


def interrupt(_rows: torch.Tensor) -> torch.Tensor:
    raise KeyboardInterrupt
