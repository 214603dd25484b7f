"""What every adapter has: samples that are checked and left out, an identity of the weights, weights drawn anew."""

from __future__ import annotations

import hashlib
import logging

import numpy as np
import pytest
import torch
from test_readme_new_model import PeptideAdapter, Peptides, peptides
from torch import nn

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.models import capture
from sciinterp.models.adapter import PROBE_LENGTH, randomise, weights_sha256
from sciinterp.samples import Sample

PROBE = "ACFLTGTLFCACFLTGTLFCCDGMVHVMGDCDGMVHVMGDDEHNWIWN"


class Windowed(PeptideAdapter):
    over_length = "window"


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (["MKT", ""], "an empty sample, sample 1"),
        (
            [Sample("p", "MKT"), Sample("q", "MKJT")],
            r"letter, sample 'q' position 2 .counted from 0.*got 'J'",
        ),
        (["M" * 65], "too long.*sample 0.*at most 64 positions, got 65"),
        (["M" * 65 + "J"], "too long"),
        ([], "no samples"),
        ("MKTAY", "several samples are read.*got one sequence"),
        (None, "several samples are read.*got NoneType"),
        ([None], "does not read this, sample 0: got NoneType"),
        ([3, "MKT"], "does not read this, sample 0: got int"),
        ([["MKT", "ACD"]], "letter, sample 0 position 0.*got 'MKT'"),
        ([b"MKT"], "letter, sample 0"),
        ([{"a": "MKT"}], "letter, sample 0"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_it(samples, says) -> None:
    with pytest.raises(InputError, match=says) as caught:
        peptides().encode(samples)
    assert "\n" not in str(caught.value)


def test_long_samples_of_a_model_with_windows_pass_the_check_and_not_the_model() -> None:
    model = Windowed(Peptides())
    model.check(["M" * 65])
    with pytest.raises(InputError, match="at most 64"):
        model.encode(["M" * 65])
    with pytest.raises(InputError, match="letter"):
        model.check(["M" * 65 + "J"])


def test_samples_and_their_data_are_read_alike() -> None:
    model, texts = peptides(), ["MKT", "ACDEF"]
    plain, named = model.encode(texts), model.encode([Sample(f"s{i}", t) for i, t in enumerate(texts)])
    whole = model.encode(si.Samples(["a", "b"], texts))
    for other in (named, whole, model.encode(np.array(texts))):
        assert torch.equal(plain.inputs["tokens"], other.inputs["tokens"])


def test_unreadable_samples_are_named_counted_and_carried(caplog) -> None:
    model = peptides()
    data = ["MKT", "MJT", "A" * 70, "ACD", "BBB", "WWW"]
    table = {"family": list("aabbcc")}
    import pandas as pd

    samples = si.Samples(list("uvwxyz"), data, n_in=9, dropped={"blank": 3}, table=pd.DataFrame(table))
    samples.changed = {"upper case": 2}
    with caplog.at_level(logging.WARNING, logger="sciinterp"):
        kept = model.readable(samples)
    assert kept.ids == ("u", "x", "z") and kept.table["family"].tolist() == ["a", "b", "c"]
    assert kept.dropped == {
        "blank": 3,
        "peptides does not know this letter": 2,
        "too long for peptides": 1,
    }
    assert kept.n_in == len(kept) + sum(kept.dropped.values()) and kept.changed == {"upper case": 2}
    assert "left out 3 of 6 samples" in caplog.text and "'v' position 1" in caplog.text
    assert samples.dropped == {"blank": 3}  # the given ones are as they were
    assert model.readable(kept) is kept
    with pytest.raises(InputError, match="sample 'v'"):
        model.readable(samples.subset([1, 2]))
    many = si.Samples([f"s{i}" for i in range(12)], ["MKT", *["J"] * 11])
    caplog.clear()
    model.readable(many)
    assert caplog.text.count("does not know") == 8 and "and 3 more" in caplog.text


def test_names_of_sites_and_of_precisions_are_found_by_the_nearest() -> None:
    model = peptides()
    for wrong, near in (
        ("layer.1", "layers.1"),
        ("Embedding", "embedding"),
        (3, "embedding"),
        (["x"], "embedding"),
    ):
        with pytest.raises(InputError, match=rf"no such site, site .*of peptides.*'{near}'"):
            model.site(wrong)
    for wrong in ("float64", "fp16", None, ["float32"]):
        with pytest.raises(InputError, match=r"no such precision, dtype.*'float32'"):
            model.with_dtype(wrong)


def test_the_identity_is_a_hash_of_names_types_shapes_and_bytes() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} torch.float32 {tuple(value.shape)}\n".encode() + value.numpy().tobytes())
    one = weights_sha256(module)
    assert one == digest.hexdigest()
    turned = nn.ModuleDict({"1": module[1], "0": module[0]})  # another order of the same arrays
    assert weights_sha256(turned) == one
    assert weights_sha256(module, ("1.",)) != one
    module[1].bias.data += 1
    assert weights_sha256(module, ("1.",)) == weights_sha256(turned, ("1.",))
    assert weights_sha256(module) != one
    assert weights_sha256(module.half()) != weights_sha256(module.float())


def test_weights_are_drawn_by_the_seed_alone() -> None:
    class All(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.letters = nn.Embedding(30, 16, padding_idx=3)
            self.twin, self.norm = nn.Embedding(30, 16), nn.BatchNorm1d(16)
            self.twin.weight = self.letters.weight
            self.gates = nn.ParameterDict({"gain": nn.Parameter(torch.full((4,), 5.0))})
            self.far = nn.Linear(16, 400)
            self.far.weight.data.mul_(10)

    torch.manual_seed(0)
    one, two, three = All(), All(), All()
    three.norm.running_mean += 3
    before = one.far.weight.std().item()
    two.load_state_dict(one.state_dict())
    for module, seed in ((one, 5), (two, 5), (three, 6)):
        randomise(module, seed)
    assert weights_sha256(one) == weights_sha256(two) != weights_sha256(three)
    assert one.far.weight.std().item() == pytest.approx(before, rel=0.05)
    assert not one.letters.weight[3].any() and one.twin.weight is one.letters.weight
    assert not one.far.bias.any() and (one.gates["gain"] == 1).all()
    assert not three.norm.running_mean.any() and (three.norm.weight == 1).all()


@pytest.mark.parametrize("seed", ["x", 1.5, -1, None, True])
def test_a_seed_is_a_whole_number(seed) -> None:
    with pytest.raises(InputError, match="seed"):
        peptides().randomised(seed)


def test_copies_share_weights_and_nothing_that_is_counted() -> None:
    model = peptides()
    low, other = model.with_dtype("bfloat16"), model.randomised(1)
    assert low.module is model.module and other.module is not model.module
    assert low.origin.weights_sha256 == model.origin.weights_sha256 != other.origin.weights_sha256
    batch = model.encode(["MKT"])
    rows = capture(model, ["layers.0"], batch)["layers.0"][0]
    capture(other, ["layers.0"], batch)
    assert torch.equal(capture(model, ["layers.0"], batch)["layers.0"][0], rows)
    assert repr(other) == "<peptides on cpu, float32, randomised with seed 1>"
    assert repr(low) == "<peptides on cpu, bfloat16>"
    at = model.origin_at("layers.1")
    assert (at.site, at.d_in, at.precision) == ("layers.1", 16, "float32")


@pytest.mark.parametrize(
    "alphabet", ["A", "ACGTN", "ACDEFGHIKLMNPQRSTVWY", "".join(map(chr, range(65, 113)))]
)
def test_the_probe_is_of_the_alphabet_whatever_its_order(alphabet) -> None:
    model = peptides()
    model.alphabet = alphabet
    probe = model.probe
    assert set(probe) <= set(alphabet) and len(probe) == PROBE_LENGTH
    model.alphabet = alphabet[::-1] * 2
    assert model.probe == probe
    model.alphabet = ""
    assert model.probe is None


def test_the_probe_of_proteins_is_what_marks_of_before_were_taken_on() -> None:
    assert peptides().probe == PROBE
