"""fair-esm models: equal to the package's own representations, on seeded modules of the published shapes."""

import argparse
import sys
import types

import esm
import pytest
import torch

from sciinterp.errors import FormatError, InputError, MissingWeightsError
from sciinterp.models import capture, edit, load_model
from sciinterp.models.esm_blocks import fast_blocks
from sciinterp.testing import check_adapter

SAMPLES = ["MKTAYIAKQRQISFVKSHFSRQ", "GSHMEELLKKAWDQ", "ACDKTWYVHEF"]


def args(arch: str, **more) -> argparse.Namespace:
    small = {"layers": 3, "embed_dim": 32, "ffn_embed_dim": 64, "attention_heads": 4, "max_positions": 1024}
    rates = {"dropout": 0.1, "attention_dropout": 0.1, "activation_dropout": 0.1, "max_tokens": 2**14}
    return argparse.Namespace(arch=arch, **small, **rates, **more)


def esm2(layers: int = 6, width: int = 320, heads: int = 20) -> torch.nn.Module:
    torch.manual_seed(0)
    return esm.model.esm2.ESM2(num_layers=layers, embed_dim=width, attention_heads=heads)


def test_esm2_equals_fair_esm_at_every_layer() -> None:
    module = esm2()
    model = load_model("esm2", weights=module)
    batch = model.encode(SAMPLES)
    with torch.no_grad():
        theirs = module(batch.inputs["tokens"], repr_layers=range(7))["representations"]
    names = ["embedding", *(f"layers.{i}" for i in range(5)), "norm"]
    ours = capture(model, [*names, "layers.5"], batch)
    for number, name in enumerate(names):
        for i, rows in enumerate(ours[name]):
            assert torch.allclose(rows, theirs[number][i][batch.mask[i]], atol=1e-5, rtol=0), name
    last = torch.cat(ours["layers.5"])
    assert torch.allclose(module.emb_layer_norm_after(last), torch.cat(ours["norm"]), atol=1e-5)
    assert not torch.allclose(last, torch.cat(ours["norm"]), atol=1e-2)
    record = model.sites()
    assert record.loc["layers.5", "norm"] == "pre"
    assert record.loc["norm", "norm"] == "post"


def test_tokens_are_those_of_the_batch_converter() -> None:
    module = esm2(2, 32, 4)
    model = load_model("esm2", weights=module)
    _, _, tokens = module.alphabet.get_batch_converter()([(str(i), s) for i, s in enumerate(SAMPLES)])
    assert torch.equal(model.encode(SAMPLES).inputs["tokens"], tokens)


def test_the_short_way_is_left_whatever_happens() -> None:
    """Blocks are the package's own again after a pass, an early stop and an interrupt; hooks inside still fire."""
    module = esm2(3, 32, 4)
    model = load_model("esm2", weights=module)
    batch = model.encode(SAMPLES)
    seen = []
    handle = module.layers[1].self_attn.q_proj.register_forward_hook(lambda *_: seen.append("inside"))
    ours = model.forward(batch)["logits"]
    handle.remove()
    assert seen == ["inside"]
    capture(model, ["layers.0"], batch)
    with pytest.raises(KeyboardInterrupt), edit(model, "layers.1.attn_out", interrupt):
        model.forward(batch)
    for layer in module.layers:
        assert "forward" not in vars(layer)
        assert "forward" not in vars(layer.self_attn)
    with torch.no_grad():
        theirs = module(batch.inputs["tokens"], need_head_weights=True)
    assert torch.allclose(ours, theirs["logits"], atol=1e-5)
    with fast_blocks(module), torch.no_grad():
        maps = module(batch.inputs["tokens"], need_head_weights=True)["attentions"]
    assert torch.equal(maps, theirs["attentions"])


def interrupt(_rows: torch.Tensor) -> torch.Tensor:
    raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["esm2", "esm1b", "esm1v", "msa"])
def test_conformance(kind: str) -> None:
    torch.manual_seed(0)
    if kind == "esm2":
        report = check_adapter(load_model("esm2", weights=esm2(3, 32, 4)), SAMPLES)
    elif kind == "msa":
        alphabet = esm.Alphabet.from_architecture("msa_transformer")
        module = esm.MSATransformer(args("msa_transformer", embed_positions_msa=True), alphabet)
        model = load_model("esm-msa1b", weights=module)
        report = check_adapter(model, [("MKTAYI", "MKT-YI", "M--AYI"), ("ACDEFGHI", "ACDEF--I")])
        with pytest.raises(InputError, match="alignment"):
            model.encode([("ACD", "AC")])
        with pytest.raises(InputError, match="letter"):
            model.encode([("ACD", "AjD")])
    else:
        alphabet = esm.Alphabet.from_architecture("ESM-1b")
        extra = {"token_dropout": True, "emb_layer_norm_before": kind == "esm1b"}
        module = esm.ProteinBertModel(args("roberta_large", **extra), alphabet)
        report = check_adapter(load_model(kind.replace("1v", "1v-1"), weights=module), SAMPLES)
    assert report.loc["reference", "result"] == "passed"
    assert report.loc["reference", "measured"] < 1e-5


@pytest.mark.parametrize("name", ["esm1b", "esm2-8m"])
def test_a_local_checkpoint_is_read_without_pickle(name, tmp_path) -> None:
    """The two forms of fair-esm's files, with their Namespace, as torch.save writes them."""
    torch.manual_seed(0)
    if name == "esm1b":
        module = esm.ProteinBertModel(
            args("roberta_large", token_dropout=True, emb_layer_norm_before=True),
            esm.Alphabet.from_architecture("ESM-1b"),
        )
        prefix = "encoder.sentence_encoder."
        head = {"args": args("roberta_large", token_dropout=True)}
    else:
        module = esm2(3, 32, 4)
        prefix = "encoder.sentence_encoder."
        cfg = argparse.Namespace(
            encoder_layers=3, encoder_embed_dim=32, encoder_attention_heads=4, token_dropout=True
        )
        head = {"cfg": {"model": cfg}}
    with torch.no_grad():
        module.embed_tokens.weight[module.mask_idx] = 0
    state = module.state_dict()
    weights = {
        ("encoder." + k if k.startswith("lm_head") else prefix + k): v
        for k, v in state.items()
        if "contact" not in k
    }
    path = tmp_path / "some_copy.pt"
    torch.save({**head, "model": weights}, path)
    model = load_model(name, weights=path)
    batch = model.encode(SAMPLES)
    ours = torch.cat(capture(model, ["layers.1"], batch)["layers.1"])
    theirs = torch.cat(capture(load_model(name, weights=module), ["layers.1"], batch)["layers.1"])
    assert torch.equal(ours, theirs)
    assert load_model(name, weights=path).identity == model.identity


def test_a_file_that_is_no_checkpoint_is_one_clear_error(tmp_path, capsys) -> None:
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    path = tmp_path / "x.pt"
    for content, message in (
        ({"args": args("roberta_large"), "model": Evil()}, "could not be read.*print"),
        ({"weights": torch.zeros(2)}, "not a checkpoint"),
        ([1, 2], "not a checkpoint"),
        (b"no archive", "could not be read"),
        (b"", "could not be read"),
    ):
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        with pytest.raises(FormatError, match=message) as caught:
            load_model("esm1b", weights=path)
        assert "\n" not in str(caught.value)
    assert "ran" not in capsys.readouterr().out


def test_missing_weights_say_how_to_get_them(tmp_path, monkeypatch) -> None:
    from sciinterp.models import fair_esm

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(fair_esm, "HUB", "http://127.0.0.1:9/")
    with pytest.raises(MissingWeightsError, match=r"esm2_t6_8M_UR50D\.pt"):
        load_model("esm2-8m")
    with pytest.raises(MissingWeightsError, match="needs weights"):
        load_model("esm2")
    with pytest.raises(MissingWeightsError, match=r"no\.pt"):
        load_model("esm2", weights=tmp_path / "no.pt")


def test_the_other_package_of_the_same_name_is_told_apart(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "esm", types.ModuleType("esm"))
    with pytest.raises(InputError, match="is not fair-esm"):
        load_model("esm2-8m")
