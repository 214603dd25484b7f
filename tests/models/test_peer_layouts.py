"""Layouts against the authors' own code, small and seeded; skipped by name where it is not installed."""

import contextlib
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from caduceus_blocks import Caduceus, Norm
from striped_hyena import ORDER, StripedHyena, turned

from sciinterp.errors import InputError
from sciinterp.models import capture, edit, layouts
from sciinterp.models.adapter import Adapter
from sciinterp.models.comparisons import AdapterCheckError
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
    named: dict[str, Any] = {
        "name": "hyenadna",
        "width": 16,
        "licence": "BSD-3-Clause",
        "path": "backbone.layers",
    }
    named["causal"] = True
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


def evo2_by_definition(module: Any, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """The stream of a module of tests/models/striped_hyena.py at every site, block by block."""
    expected = {"embedding": module.embedding_layer(tokens)}
    for i, block in enumerate(module.blocks):
        expected[f"layers.{i}"] = block(list(expected.values())[-1])[0]
    return expected


def long_poles(module: Any) -> Any:
    """Drawn, and with long filters that fade, as those of a trained model do."""
    drawn(module)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("log_poles"):
                parameter.copy_(-parameter.abs() - 0.01)
    return module


def test_evo2_is_its_definition() -> None:
    """Every kind of block, sequences longer than the filter of 128; what a site holds is what the next block reads."""
    module = long_poles(StripedHyena())
    model, samples = layouts.evo2(module, width=32), windows(160)
    assert [block.kind for block in module.blocks] == list(ORDER)
    tokens = model.encode(samples).inputs["input_ids"]
    with torch.no_grad():
        expected = evo2_by_definition(module, tokens)
        logits = module.norm(expected["layers.6"]) @ module.embedding_layer.weight.T
        assert torch.allclose(logits, module(tokens)[0], atol=1e-5)
        assert all((a - b).abs().max() > 1e-2 for a, b in zip(expected.values(), list(expected.values())[1:]))
    agree(model, expected, samples)
    assert (check_adapter(model, [s[:40] for s in samples])["result"] == "failed").sum() == 0


def without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their blocks on a processor: the rotary kernel by its equation, no device to choose."""
    kernels, embedding, rotary = (
        ModuleType(f"vortex.ops{n}") for n in ("", ".embedding", ".embedding.rotary")
    )

    def apply_rotary(x, cos, sin, seqlen_offsets=0, interleaved=False, inplace=True, **_):
        assert inplace and not interleaved and not seqlen_offsets
        angles = torch.atan2(sin, cos)[: x.shape[1]]
        return x.copy_(turned(x.transpose(1, 2), angles).transpose(1, 2))

    rotary.apply_rotary = apply_rotary  # type: ignore[attr-defined]
    for module in (kernels, embedding, rotary):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())


def test_evo2_is_the_definition_of_its_package(monkeypatch, tmp_path) -> None:
    """vtx 1.1.0 on the path, and the published configurations of evo2: their blocks, their weights in ours, at every site."""
    pytest.importorskip("vortex.model.config", reason="vtx is not on the path")
    yaml = pytest.importorskip("yaml")
    monkeypatch.chdir(tmp_path)  # it writes a log
    without_a_gpu(monkeypatch)
    from vortex.model.model import StripedHyena as Theirs
    from vortex.model.utils import dotdict

    places = find_spec("evo2")
    assert places is not None and places.origin, "evo2 is not on the path"
    published = {
        p.stem: yaml.safe_load(p.read_text()) for p in Path(places.origin).parent.glob("configs/*.yml")
    }
    names = {"hcs": "hcs", "hcm": "hcm", "hcl": "hcl", "attn": "attention"}
    for name, config in published.items():
        kinds = {i: kind for key, kind in names.items() for i in config[f"{key}_layer_idxs"]}
        order = [ORDER[(i + 3 * ("40b" in name and i > 34)) % 7] for i in range(config["num_layers"])]
        assert [kinds[i] for i in range(config["num_layers"])] == order, name
        lengths = [config[f"{key}_filter_length"] for key in ("hcs", "hcm", "short")]
        assert lengths == [7, 128, 3] and config["state_size"] == 16, name
    few = {f"{key}_layer_idxs": [i for i, kind in enumerate(ORDER) if kind == names[key]] for key in names}
    sizes = {
        "hidden_size": 32,
        "num_filters": 32,
        "hcl_filter_groups": 32,
        "inner_mlp_size": 48,
        "num_layers": 7,
        "hcm_filter_groups": 4,
        "hcs_filter_groups": 4,
        "num_attention_heads": 2,
        "use_fp8_input_projections": False,
        "use_flash_attn": False,
    }
    precise = {f"{part}_dtype": torch.float32 for part in ("attn_block", "mlp", "hyena_block", "params")}
    for name, stretch in (("evo2-7b-1m", 128), ("evo2-1b-8k", 1)):
        theirs = long_poles(Theirs(dotdict({**published[name], **few, **sizes, **precise})).float())
        ours = StripedHyena(stretch=stretch).eval()
        left = ours.load_state_dict(theirs.state_dict(), strict=False)
        assert not left.missing_keys and all("extra_state" in key for key in left.unexpected_keys), left
        model, samples = layouts.evo2(theirs, width=32), windows(160)
        tokens = model.encode(samples).inputs["input_ids"]
        with torch.no_grad():
            agree(model, evo2_by_definition(ours, tokens), samples)
            assert torch.allclose(theirs(tokens)[0], ours(tokens)[0], atol=1e-5)


COMPLEMENT = [0, 1, 2, 3, 4, 5, 6, 10, 9, 8, 7, 11, 12, 13, 14, 15]  # of their letters, A to N from 7
CADUCEUS: dict[str, Any] = {"name": "caduceus", "licence": "Apache-2.0", "path": "layers"}


def caduceus_by_definition(module: Any, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """The stream of a module of tests/models/caduceus_blocks.py at every site, block by block."""
    x, residual = module.embeddings(tokens), None
    expected = {"embedding": x}
    for i, block in enumerate(module.layers):
        x, residual = block(x, residual)
        expected[f"layers.{i}"] = x + residual
    return expected


@pytest.mark.parametrize("complement", [None, COMPLEMENT], ids=["ph", "ps"])
def test_caduceus_is_its_definition(complement) -> None:
    """Both kinds; each sample alone, since a position reads both ways and no mask is taken."""
    module, width = drawn(Caduceus(complement=complement)), 16 if complement is None else 32
    letters = Letters({c: 7 + i for i, c in enumerate("ACGTN")}, pad=4)
    model = layouts.residual_pairs(module, letters, width=width, **CADUCEUS)
    for text in windows(12):
        with torch.no_grad():
            expected = caduceus_by_definition(module, model.encode([text]).inputs["input_ids"])
        agree(model, expected, [text])
    assert (check_adapter(model, windows(12))["result"] == "failed").sum() == 0
    careless = layouts.residual_pairs(module, letters, width=width, causal=True, **CADUCEUS)
    with pytest.raises(AdapterCheckError, match="padding"):  # what the keyword is for
        check_adapter(careless, windows(12))


def kernels_by_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mamba's package without its kernels: the norm by its equation, the scan by the loop that its own file has."""
    place = find_spec("mamba_ssm")
    if place is None or place.submodule_search_locations is None:
        pytest.skip("mamba_ssm is not on the path")
    for name, below in (("mamba_ssm", ""), ("mamba_ssm.ops", "ops"), ("mamba_ssm.ops.triton", "ops/triton")):
        package = ModuleType(name)
        package.__path__ = [str(Path(p) / below) for p in place.submodule_search_locations]
        monkeypatch.setitem(sys.modules, name, package)
    norms = ModuleType("mamba_ssm.ops.triton.layer_norm")

    class RMSNorm(Norm):
        def __init__(self, width, eps=1e-5, **_):
            super().__init__(width)
            self.eps, self.bias = eps, None

    def layer_norm_fn(x, weight, bias, residual=None, prenorm=False, residual_in_fp32=False, eps=1e-5, **_):
        stream = x if residual is None else x + residual
        normed = weight * stream / (stream.square().mean(-1, keepdim=True) + eps).sqrt()
        return (normed, stream) if prenorm else normed

    for name, value in (
        ("RMSNorm", RMSNorm),
        ("layer_norm_fn", layer_norm_fn),
        ("rms_norm_fn", layer_norm_fn),
    ):
        setattr(norms, name, value)
    norms._layer_norm_fwd = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, norms.__name__, norms)
    simple = pytest.importorskip("mamba_ssm.modules.mamba_simple", reason="mamba_ssm is not on the path")
    scan = sys.modules["mamba_ssm.ops.selective_scan_interface"].selective_scan_ref
    monkeypatch.setattr(simple, "selective_scan_fn", scan)


@pytest.mark.parametrize("complement", [None, COMPLEMENT], ids=["ph", "ps"])
def test_caduceus_is_the_definition_of_its_file(complement, monkeypatch) -> None:
    """kuleshov-group/caduceus 0060a6d and mamba_ssm on the path: their blocks, their weights in ours, at every site."""
    kernels_by_definition(monkeypatch)
    theirs = pytest.importorskip("caduceus.modeling_caduceus", reason="caduceus is not on the path")
    mapping = None if complement is None else dict(enumerate(complement))
    config = theirs.CaduceusConfig(
        d_model=16, n_layer=2, vocab_size=16, rcps=complement is not None, complement_map=mapping
    )
    module = drawn(theirs.CaduceusMixerModel(config))
    ours = Caduceus(complement=complement).eval()
    names = {"word_embeddings.embedding.": "embedding.", "word_embeddings.": "embedding."}
    state = {
        key: value
        for key, value in module.state_dict().items()
        if "norm_f" not in key and "complement" not in key
    }
    for old, new in names.items():
        state = {key.replace(old, new): value for key, value in state.items()}
    ours.load_state_dict(state)
    letters = Letters({c: 7 + i for i, c in enumerate("ACGTN")}, pad=4)
    model = layouts.residual_pairs(module, letters, width=16 if complement is None else 32, **CADUCEUS)
    model._call = lambda m, x: m(x["input_ids"])[0]
    for text in windows(12):
        with torch.no_grad():
            expected = caduceus_by_definition(ours, model.encode([text]).inputs["input_ids"])
        agree(model, expected, [text])
