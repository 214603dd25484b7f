"""Layouts against the authors' own code, small and seeded; skipped by name where it is not installed."""

from typing import Any

import pytest
import torch

from sciinterp.errors import InputError
from sciinterp.models import capture, edit, layouts
from sciinterp.models.adapter import Adapter
from sciinterp.models.encodings import Letters
from sciinterp.testing import check_adapter


def windows(length: int) -> list[str]:
    """A full window and two shorter ones."""
    return [("ACGTTGCAACNG" * length)[:n] for n in (length, length * 3 // 4, length * 5 // 8)]


def drawn(module: Any) -> Any:
    """Every number drawn: the packages start some maps at zero, which would hide what passes through them."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(
                0, 0.2 / max(1.0, parameter[0].numel() ** 0.5 / 4) if parameter.ndim > 1 else 0.2
            )
    return module.eval()


def agree(model: Adapter, expected: dict[str, torch.Tensor], samples: list[str]) -> None:
    """What is captured at every site is what the module computes there, for every bin that a sequence reaches into."""
    found = capture(model, list(expected), model.encode(samples))
    assert set(expected) == set(model.sites().index)
    for name, whole in expected.items():
        site = model.site(name)
        for text, mine, theirs in zip(samples, found[name], whole):
            reached = min(-(-(len(text) - site.offset) // site.stride), whole.shape[1])
            assert len(mine) == reached > 0
            assert torch.allclose(mine, theirs[:reached], atol=1e-5), name


def test_enformer_is_its_package() -> None:
    package = pytest.importorskip("enformer_pytorch", reason="enformer-pytorch is not installed")
    module = drawn(
        package.Enformer.from_hparams(
            dim=96,
            depth=3,
            heads=4,
            target_length=4,
            attn_dim_key=8,
            num_downsamples=4,
            dim_divisible_by=8,
            output_heads={"human": 5, "mouse": 3},
        )
    )
    model, samples = layouts.enformer(module, width=96, length=640, bases_per_bin=16), windows(640)
    x = model.encode(samples).inputs["x"]
    with torch.no_grad():
        expected = {"embedding": module.conv_tower(module.stem(x.mT)).mT}
        for i, block in enumerate(module.transformer):
            expected[f"layers.{i}"] = block(list(expected.values())[-1])
        last = expected["layers.2"]
        expected["cropped"] = last[:, 18:22]
        heads = module._heads["human"](module.final_pointwise(expected["cropped"]))
        assert torch.allclose(heads, module(x)["human"], atol=1e-5)
    agree(model, expected, samples)
    assert (check_adapter(model, samples)["result"] == "failed").sum() == 0
    with pytest.raises(InputError, match="crop does not fit"):
        layouts.enformer(module, width=96, length=48, bases_per_bin=16)


def test_borzoi_is_its_package() -> None:
    package = pytest.importorskip("borzoi_pytorch", reason="borzoi-pytorch is not installed")
    module = drawn(
        package.Borzoi.from_hparams(
            dim=96, depth=2, heads=4, attn_dim_key=8, attn_dim_value=16, bins_to_return=8
        )
    )
    model, samples = layouts.borzoi(module, width=96, length=512), windows(512)
    x = model.encode(samples).inputs["x"]
    with torch.no_grad():
        trunk = module._max_pool(module.unet1(module.res_tower(module.conv_dna(x)))).mT
        expected = {"embedding": trunk}
        for i, block in enumerate(module.transformer):
            expected[f"layers.{i}"] = block(list(expected.values())[-1])
        expected["cropped"] = module.get_embs_after_crop(x).mT
        assert expected["cropped"].shape[1:] == (8, 96)
        batch = model.encode(samples)
        before = model.forward(batch)
        with edit(model, "cropped", lambda rows: rows):  # a crop is a part of a larger tensor, and stays one
            assert torch.equal(model.forward(batch), before)
    agree(model, expected, samples)


def test_hyenadna_is_its_file() -> None:
    """Their single file standalone_hyenadna.py, on the path; what its final norm reads is the last site."""
    theirs = pytest.importorskip("standalone_hyenadna", reason="standalone_hyenadna.py is not on the path")
    operator = {"_name_": "hyena", "emb_dim": 5, "filter_order": 8, "l_max": 66, "short_filter_order": 3}
    module = drawn(theirs.HyenaDNAModel(d_model=16, n_layer=3, d_inner=32, vocab_size=12, layer=operator))
    letters = Letters({c: 7 + i for i, c in enumerate("ACGTN")}, pad=4)
    named = {"name": "hyenadna", "width": 16, "licence": "BSD-3-Clause", "path": "backbone.layers"}
    model, samples = layouts.residual_pairs(module, letters, **named), windows(64)
    tokens, backbone = model.encode(samples).inputs["input_ids"], module.backbone
    with torch.no_grad():
        hidden, residual = backbone.embeddings(tokens), None
        expected = {"embedding": hidden}
        for i, block in enumerate(backbone.layers):
            hidden, residual = block(hidden, residual)
            expected[f"layers.{i}"] = hidden + residual
        assert torch.allclose(backbone.ln_f(expected["layers.2"]), module(tokens), atol=1e-5)
    agree(model, expected, samples)
