"""Weights: whatever a loader cannot read is one line, and what it reads fits whole or is refused by name."""

import contextlib

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sciinterp.errors import FormatError, InputError, SciinterpError
from sciinterp.models import capture, load_model
from sciinterp.models.registry import ENTRIES
from sciinterp.models.weight_files import fit, misfit

LOADERS = {entry.loader: entry.name for entry in reversed(ENTRIES)}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 31000000\n"
BAD = {
    "nothing there": None,
    "empty": b"",
    "garbage": bytes(range(256)) * 8,
    "short": b"abc",
    "pointer": POINTER,
    "page": b"<!DOCTYPE html><html>not found</html>",
    "half a zip": b"PK\x03\x04" + bytes(64),
    "no path": 3,
    "another module": nn.Linear(2, 2),
    "a folder": "folder",
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("name", LOADERS.values())
def test_what_cannot_be_read_is_one_line(name, kind, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9/")
    content = BAD[kind]
    weights = content if isinstance(content, (int, nn.Module)) else tmp_path / "weights.pt"
    if isinstance(content, bytes):
        weights.write_bytes(content)
    elif content == "folder":
        weights.mkdir()
        (weights / "model.safetensors").write_bytes(POINTER)
    with pytest.raises(SciinterpError) as caught:
        load_model(name, weights=weights)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


# What wrappers and trainers put in front of every name; every loader takes it off.
IN_FRONT = [
    "_orig_mod.", "module.", "module._orig_mod.", "model.", "_fsdp_wrapped_module.", "net.", "encoder.",
    "model._orig_mod.", "_forward_module.module.", "backbone.",
]  # fmt: skip


@pytest.mark.parametrize("around", ["{}", *(f"{front}{{}}" for front in IN_FRONT)])
def test_wrappers_names_are_taken_off_where_that_makes_it_fit(around) -> None:
    state = {around.format(k): v + 1 for k, v in small().state_dict().items()}
    for held in (state, {"state_dict": state, "epoch": 3}, {"model": state}):
        found = fit("m", small(), held, where="x.pt").state_dict()
        assert all(torch.equal(found[k], v + 1) for k, v in small().state_dict().items())


def test_a_compiled_part_inside_is_understood() -> None:
    state = {k.replace("0.", "0._orig_mod.", 1): v + 1 for k, v in small().state_dict().items()}
    module = small()
    fit("m", module, state, where="x.pt")
    assert all(torch.equal(v, w) for v, w in zip(module.state_dict().values(), state.values()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("0.weight"), r"1 missing \(0\.weight\)"),
        (lambda s: s.update(extra=torch.zeros(1)), r"1 unexpected \(extra\)"),
        (lambda s: s.update({"2.bias": torch.zeros(3)}), r"1 of another shape \(2\.bias\)"),
        (lambda s: s.clear(), r"6 missing \(0\.bias, 0\.weight, 1\.bias, 1\.weight and 2 more\)"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(change, said) -> None:
    module = small()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    state = {k: v + 1 for k, v in before.items()}
    change(state)
    with pytest.raises(InputError, match=said) as caught:
        fit("m", module, state, where="x.pt")
    assert "x.pt" in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_what_no_site_reads_is_zero_not_chance() -> None:
    """The same file gives the same hash, whatever the seed was."""
    state = {k: v for k, v in small().state_dict().items() if not k.startswith("2.")}
    found = []
    for seed in (1, 2):
        module = small()
        nn.init.normal_(module[2].weight, seed)
        found.append(fit("m", module, state, where="x.pt", unread=["2"]).state_dict())
    assert all(torch.equal(v, found[1][k]) for k, v in found[0].items())
    assert not found[0]["2.weight"].any()
    assert not misfit(["a.pooler.weight"], ["b.pooler"], [], ["pooler"])
    assert "1 missing" in misfit(["a.pooling.weight"], [], [], ["pooler"])


def test_fit_leaves_a_module_for_reading() -> None:
    module = fit("m", small().train(), small().state_dict(), where="x.pt")
    assert not module.training and not any(p.requires_grad for p in module.parameters())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder of a small ESM-2, as `save_pretrained` writes it."""
    pytest.importorskip("transformers", reason="the extra 'hf' is not installed")
    from test_hugging_face import build

    folder = tmp_path_factory.mktemp("saved")
    module, tokeniser = build("hf-esm2", folder)
    module.save_pretrained(folder)
    tokeniser.save_pretrained(folder)
    return folder


def changed(saved, folder, change):
    """A copy of the folder whose arrays are changed."""
    import shutil

    shutil.copytree(saved, folder)
    state = load_file(folder / "model.safetensors")
    save_file(change(state), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def rows(model) -> torch.Tensor:
    return torch.cat(capture(model, ["layers.1"], model.encode(["MKTAYI"]))["layers.1"])


@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_a_folder_in_another_precision_is_read_in_the_models(saved, tmp_path, kind) -> None:
    folder = changed(
        saved, tmp_path / "x", lambda s: {k: v.to(kind) if v.is_floating_point() else v for k, v in s.items()}
    )
    model, plain = load_model("hf-esm2", weights=folder), load_model("hf-esm2", weights=saved)
    assert rows(model).dtype == torch.float32
    assert torch.allclose(rows(model), rows(plain), atol=0.05)


def test_a_folder_in_shards_is_read_whole_or_the_missing_one_is_named(saved, tmp_path) -> None:
    import json
    import shutil

    state = load_file(saved / "model.safetensors")
    names = sorted(state)
    parts = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}

    def folder(name, *, index=True, without=""):
        shutil.copytree(saved, tmp_path / name)
        (tmp_path / name / "model.safetensors").unlink()
        for file, held in parts.items():
            if file != without:
                save_file({k: state[k] for k in held}, tmp_path / name / file, metadata={"format": "pt"})
        where = {k: file for file, held in parts.items() for k in held}
        if index:
            text = json.dumps({"metadata": {"total_size": 1}, "weight_map": where})
            (tmp_path / name / "model.safetensors.index.json").write_text(text)
        return tmp_path / name

    plain = rows(load_model("hf-esm2", weights=saved))
    assert torch.equal(rows(load_model("hf-esm2", weights=folder("whole"))), plain)
    for bad in (folder("no-index", index=False), folder("one", without=next(iter(parts)))):
        with pytest.raises(SciinterpError) as caught:
            load_model("hf-esm2", weights=bad)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("prefix", IN_FRONT[::2])
def test_a_folder_saved_from_a_wrapped_model(saved, tmp_path, prefix) -> None:
    folder = changed(saved, tmp_path / "x", lambda s: {prefix + k: v for k, v in s.items()})
    model, plain = load_model("hf-esm2", weights=folder), load_model("hf-esm2", weights=saved)
    assert torch.equal(rows(model), rows(plain))
    assert torch.equal(model.logits(model.encode(["MKT"])), plain.logits(plain.encode(["MKT"])))


def without(state, part):
    return {k: v for k, v in state.items() if part not in k}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: without(s, "layer.1.attention"), r"missing \(esm\.encoder\.layer\.1\.attention"),
        (lambda s: {k.replace("self.query", "self.Wq"): v for k, v in s.items()}, "missing.*unexpected.*Wq"),
        (lambda s: s | {"esm.encoder.layer.9.output.dense.bias": torch.zeros(32)}, r"1 unexpected.*layer\.9"),
        (
            lambda s: {k: v[:8].clone() if "intermediate" in k else v for k, v in s.items()},
            "of another shape",
        ),
        (lambda s: without(s, "word_embeddings"), r"missing \(esm\.embeddings\.word"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_by_name(saved, tmp_path, change, said) -> None:
    with pytest.raises(InputError, match=said) as caught:
        load_model("hf-esm2", weights=changed(saved, tmp_path / "x", change))
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_head_has_activations_and_no_scores(saved, tmp_path, caplog) -> None:
    folder = changed(saved, tmp_path / "x", lambda s: without(s, "lm_head"))
    model = load_model("hf-esm2", weights=folder)
    assert not hasattr(model, "logits") and "no head" in caplog.text
    assert torch.equal(rows(model), rows(load_model("hf-esm2", weights=saved)))
    again = load_model("hf-esm2", weights=folder)
    assert again.origin.weights_sha256 == model.origin.weights_sha256


def test_a_checkpoint_of_fair_esm_from_a_compiled_model(tmp_path) -> None:
    esm = pytest.importorskip("esm")
    from argparse import Namespace

    torch.manual_seed(0)
    module = esm.model.esm2.ESM2(num_layers=2, embed_dim=32, attention_heads=4)
    named = {
        "encoder_layers": 2,
        "encoder_embed_dim": 32,
        "encoder_attention_heads": 4,
        "token_dropout": True,
    }
    state = {("encoder." if k.startswith("lm_head") else "encoder.sentence_encoder.") + k: v
             for k, v in module.state_dict().items() if "contact" not in k}  # fmt: skip
    head = {"cfg": {"model": Namespace(**named)}}
    for number, prefix in enumerate(("", "_orig_mod.", "module.")):
        path = tmp_path / f"{number}.pt"
        torch.save({**head, "model": {prefix + k: v for k, v in state.items()}}, path)
        assert torch.equal(rows(load_model("esm2", weights=path)), rows(load_model("esm2", weights=module)))
    for change, said in ((lambda s: without(s, "layers.1.fc1"), r"2 missing \(layers\.1\.fc1"),
                         (lambda s: s | {"encoder.sentence_encoder.new": torch.zeros(1)}, "1 unexpected")):  # fmt: skip
        torch.save({**head, "model": change(state)}, tmp_path / "bad.pt")
        with pytest.raises(InputError, match=said):
            load_model("esm2", weights=tmp_path / "bad.pt")
    torch.save(module.state_dict(), tmp_path / "plain.pt")
    with pytest.raises(FormatError, match=r"not a checkpoint.*args or cfg"):
        load_model("esm2", weights=tmp_path / "plain.pt")


def test_a_wrapped_module_is_taken_out() -> None:
    from sciinterp.models.unirep import UnirepModule

    module = UnirepModule(8, 2)
    model = load_model("unirep-64", weights=nn.DataParallel(module))
    assert model.module is module
    with contextlib.suppress(RuntimeError):
        assert load_model("unirep-64", weights=torch.compile(module)).module is module


@pytest.mark.parametrize("name", ["antiberty", "unirep-64", "esm2-8m"])
def test_a_device_is_tried_before_weights_are_looked_for(name) -> None:
    with pytest.raises(InputError, match=r"no such device here, device: expected cpu"):
        load_model(name, weights="nowhere.pt", device="cuda:77")
    with pytest.raises(InputError, match="no such precision"):
        load_model(name, weights="nowhere.pt", dtype="float8")
