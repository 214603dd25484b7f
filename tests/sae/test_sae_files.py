"""Files: what is written reads back, what others write is read, what could run code is refused."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import sciinterp as si
from sciinterp.errors import FormatError, InputError, MismatchError, ShapeError, StoreError
from sciinterp.sae import ThresholdSAE, TopKSAE, exports

D, F, N = 12, 40, 300
X = torch.randn(N, D, generator=torch.Generator().manual_seed(0)) * 2 + 1


def weights(seed=1):
    g = torch.Generator().manual_seed(seed)
    w_dec = torch.nn.functional.normalize(torch.randn(F, D, generator=g), dim=1)
    return w_dec.T.clone(), torch.randn(F, generator=g) * 0.3, w_dec, torch.randn(D, generator=g)


def make(kind: str):
    parts = weights()
    if kind == "topk":
        sae = TopKSAE(*parts, k=5)
    elif kind == "batchtopk":
        sae = ThresholdSAE(*parts, threshold=torch.full((F,), 0.7))
        sae.architecture = si.BatchTopK(F, k=5)
    elif kind == "relu":
        sae = ThresholdSAE(*parts, threshold=torch.zeros(F))
    else:
        sae = ThresholdSAE(*parts, threshold=torch.rand(F, generator=torch.Generator().manual_seed(2)))
    sae.identity = {"model": "esm2-8m", "weights_sha256": "ab" * 32, "site": "layers.4"}
    return sae


KINDS = ["topk", "batchtopk", "relu", "jumprelu"]


def assert_same(a, b, atol=1e-5):
    ca, cb = a.encode(X).to_dense(), b.encode(X).to_dense()
    assert torch.allclose(ca, cb, atol=atol)
    assert torch.allclose(a.reconstruct(X), b.reconstruct(X), atol=atol)


@pytest.mark.parametrize("kind", KINDS)
def test_native_round_trip_is_exact(kind, tmp_path):
    sae = make(kind)
    sae.metrics = {"fve": 0.5}
    sae.save(tmp_path / "a")
    back = si.load_sae(tmp_path / "a")
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        assert torch.equal(getattr(back, name), getattr(sae, name))
    assert (back.identity, back.metrics, back.architecture) == (sae.identity, sae.metrics, sae.architecture)
    assert torch.equal(back.encode(X).to_dense(), sae.encode(X).to_dense())
    back.save(tmp_path / "b")
    assert (tmp_path / "a" / "cfg.json").read_bytes() == (tmp_path / "b" / "cfg.json").read_bytes()
    assert si.load_sae(tmp_path / "a" / "cfg.json").d_in == D


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", exports.FORMATS)
@pytest.mark.parametrize("centred", [True, False])
def test_export_and_read_again(kind, format, centred, tmp_path):
    sae = make(kind)
    sae.centred = centred
    if format == "sparsify" and kind != "topk":
        with pytest.raises(InputError, match="top-k SAEs only"):
            sae.export(tmp_path, format=format)
        return
    sae.export(tmp_path, format=format)
    assert_same(si.load_sae(tmp_path), sae)


def test_what_is_exported_for_saelens_carries_its_checksum(tmp_path, caplog):
    make("topk").export(tmp_path, format="saelens")
    si.load_sae(tmp_path)
    assert "unchecked" not in caplog.text
    config = tmp_path / "cfg.json"
    config.write_text(config.read_text().replace('"k": ', '"k": 1'))
    with pytest.raises(StoreError, match="damaged or was changed"):
        si.load_sae(tmp_path)


def test_saelens_fields(tmp_path):
    make("topk").save(tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    assert {
        "architecture",
        "d_in",
        "d_sae",
        "k",
        "dtype",
        "device",
        "apply_b_dec_to_input",
        "normalize_activations",
        "reshape_activations",
        "metadata",
    } <= set(config)
    assert config["metadata"]["sae_lens_version"]
    held = load_file(tmp_path / "sae_weights.safetensors")
    assert {k: tuple(v.shape) for k, v in held.items()} == {
        "W_enc": (D, F),
        "b_enc": (F,),
        "W_dec": (F, D),
        "b_dec": (D,),
    }


def test_defect_17_sparsify_decoder_is_not_transposed(tmp_path):
    """Known defect 17 of other packages: W_dec is [F, d_in] in sparsify's files."""
    w_enc, b_enc, w_dec, b_dec = weights()
    save_file(
        {"encoder.weight": w_enc.T.contiguous(), "encoder.bias": b_enc, "W_dec": w_dec, "b_dec": b_dec},
        tmp_path / "sae.safetensors",
    )
    (tmp_path / "cfg.json").write_text(
        json.dumps({"activation": "topk", "k": 5, "d_in": D, "num_latents": F})
    )
    assert_same(si.load_sae(tmp_path), make("topk"))


def test_dictionary_learning_threshold_that_was_never_set(tmp_path):
    """Known defect 11 of other packages: a BatchTopK threshold of -1 would let everything through."""
    make("batchtopk").export(tmp_path, format="dictionary_learning")
    held = torch.load(tmp_path / "ae.pt", weights_only=True)
    held["threshold"] = torch.tensor(-1.0)
    torch.save(held, tmp_path / "ae.pt")
    with pytest.raises(FormatError, match="never set"):
        si.load_sae(tmp_path)


def test_interplm_folder(tmp_path):
    make("relu").export(tmp_path, format="dictionary_learning")
    held = torch.load(tmp_path / "ae.pt", weights_only=True)
    torch.save({**held, "activation_rescale_factor": torch.full((F,), 2.0)}, tmp_path / "ae_normalized.pt")
    (tmp_path / "config.json").unlink()
    (tmp_path / "ae.pt").unlink()
    (tmp_path / "config.yaml").write_text(
        "plm_name: esm2\nlayer: 3\nbad: !!python/object/apply:os.system ['true']\n"
    )
    sae = si.load_sae(tmp_path)
    assert_same(sae, make("relu"))
    assert sae.recipe["plm_name"] == "esm2"
    assert sae.recipe["rescale_factor"] == [2.0] * F
    assert "bad" not in sae.recipe


def test_esmc_folder(tmp_path):
    w_enc, _, w_dec, b_dec = weights()
    save_file(
        {
            "W_enc": w_enc.contiguous(),
            "W_dec": w_dec,
            "b_dec": b_dec,
            "idf": torch.ones(F),
            "max": torch.ones(F),
        },
        tmp_path / "model.safetensors",
    )
    (tmp_path / "config.json").write_text(json.dumps({"k": 5}))
    sae = si.load_sae(tmp_path)
    z = (X - X.mean(1, keepdim=True)) / (X.std(1, keepdim=True) + 1e-5)
    plain = TopKSAE(w_enc, torch.zeros(F), w_dec, b_dec, k=5)
    assert torch.allclose(sae.encode(X).to_dense(), plain.encode(z).to_dense(), atol=1e-5)
    back = plain.reconstruct(z) * X.std(1, keepdim=True) + X.mean(1, keepdim=True)
    assert torch.allclose(sae.reconstruct(X), back, atol=1e-5)
    sae.save(tmp_path / "ours")
    assert si.load_sae(tmp_path / "ours").input_norm == "layer_norm"


class Malicious:
    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def test_unsafe_files_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"W": Malicious()}, tmp_path / "ae.pt")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "sae.pkl").write_bytes(pickle.dumps(Malicious()))
    for path in (tmp_path, tmp_path / "ae.pt", tmp_path / "sae.pkl"):
        with pytest.raises(InputError, match=r"could run code.*(ae\.pt|sae\.pkl)|(ae\.pt|sae\.pkl).*"):
            si.load_sae(path)
    assert not (tmp_path / "ran").exists()


def test_damage_is_found(tmp_path):
    make("topk").save(tmp_path)
    path = tmp_path / "sae_weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(StoreError, match="damaged"):
        si.load_sae(tmp_path)
    path.write_bytes(bytes(data[:100]))
    with pytest.raises((StoreError, FormatError)):
        si.load_sae(tmp_path)


@pytest.mark.parametrize("cut", [{"W_enc"}, {"b_dec"}, {"W_dec", "b_enc"}])
def test_missing_arrays(cut, tmp_path):
    make("topk").export(tmp_path)
    path = tmp_path / "sae_weights.safetensors"
    save_file({k: v for k, v in load_file(path).items() if k not in cut}, path)
    with pytest.raises(FormatError, match=sorted(cut)[0]):
        si.load_sae(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="there is no SAE"):
        si.load_sae(tmp_path / "none")
    with pytest.raises(InputError, match="not an SAE"):
        si.load_sae(tmp_path)
    with pytest.raises(InputError, match="no such format"):
        si.load_sae(tmp_path, format="zarr")


class Model:
    def __init__(self, width=D, **identity):
        self.identity = {"model": "esm2-8m", "weights_sha256": "ab" * 32, "randomised_seed": None, **identity}
        self.width = width

    def site(self, name):
        return type("Site", (), {"width": self.width})


def test_loading_checks_the_model(tmp_path):
    """Known defect 18 of other packages: an SAE on another model raises and says what differs."""
    make("topk").save(tmp_path)
    si.load_sae(tmp_path, model=Model())
    with pytest.raises(MismatchError, match=r"model esm2-8m.*got model esm2-35m"):
        si.load_sae(tmp_path, model=Model(model="esm2-35m"))
    with pytest.raises(MismatchError, match="weights_sha256"):
        si.load_sae(tmp_path, model=Model(weights_sha256="cd" * 32))
    with pytest.raises(MismatchError, match=r"width 12.*got width 13"):
        si.load_sae(tmp_path, model=Model(width=13))


def test_wrong_width_and_values():
    sae = make("topk")
    with pytest.raises(ShapeError, match=r"expected \[n, 12\], got \[3, 5\]"):
        sae.encode(np.zeros((3, 5), np.float32))
    with pytest.raises(ShapeError):
        sae.decode(torch.zeros(3, 5))
    bad = X.clone()
    bad[7, 2] = float("nan")
    with pytest.raises(InputError, match="row 7"):
        sae.encode(bad)
    with pytest.raises(ShapeError, match="b_enc"):
        TopKSAE(torch.zeros(3, 4), torch.zeros(3), torch.zeros(4, 3), torch.zeros(3), k=1)


def test_encode_and_decode_against_dense():
    sae = make("topk")
    pre = (X - sae.b_dec) @ sae.W_enc + sae.b_enc
    best = pre.topk(5)
    dense = torch.zeros_like(pre).scatter(1, best.indices, best.values.relu())
    codes = sae.encode(X)
    assert codes.layout == torch.sparse_csr
    assert torch.allclose(codes.to_dense(), dense, atol=1e-5)
    assert torch.allclose(sae.decode(codes), dense @ sae.W_dec + sae.b_dec, atol=1e-5)
    assert torch.allclose(sae.decode(dense), sae.decode(codes), atol=1e-5)
    assert sae.encode(X[:0]).shape == (0, F)
    assert sae.decode(sae.encode(X[:0])).shape == (0, D)


NAMED = ("W_enc", "b_enc", "W_dec", "b_dec")
PLAIN = {name: array.contiguous() for name, array in zip(NAMED, weights())}


@pytest.mark.parametrize("turned", [(), ("W_enc",), ("W_dec",), ("W_enc", "W_dec")])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_four_arrays_by_their_common_names(turned, suffix, tmp_path, caplog):
    """A file of W_enc, b_enc, W_dec and b_dec alone was refused, with b_dec among what it lacks."""
    held = {n: a.T.contiguous() if n in turned else a for n, a in PLAIN.items()}
    path = tmp_path / f"mine{suffix}"
    (torch.save if suffix == ".pt" else save_file)(held, path)
    (tmp_path / "theirs").mkdir()
    save_file(PLAIN, tmp_path / "theirs" / "sae_weights.safetensors")
    (tmp_path / "theirs" / "cfg.json").write_text(
        json.dumps({"architecture": "standard", "d_in": D, "d_sae": F})
    )
    if suffix == ".safetensors":  # as SAELens names them: its cfg.json may be lost
        with pytest.raises(FormatError, match="not an SAE known here"):
            si.load_sae(path)
        sae = si.load_sae(path, format="arrays")
    else:
        sae = si.load_sae(path)
    assert "read as ReLU, with b_dec taken from the input" in caplog.text
    assert_same(sae, si.load_sae(tmp_path / "theirs"))
    assert ", relu, " in repr(sae)
    (tmp_path / "config.json").write_text('{"k": 3, "apply_b_dec_to_input": false}')
    caplog.clear()
    top = si.load_sae(path)
    assert (top.k, top.centred, caplog.text) == (3, False, "")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"b_enc": None}, "got no b_enc; it has W_dec, W_enc, b_dec"),
        ({"W_dec": None, "b_dec": None}, "got no W_dec, b_dec; it has W_enc, b_enc"),
        ({"W_enc": torch.ones(D, D), "b_enc": torch.ones(D), "W_dec": torch.ones(D, D)}, "both ways"),
        ({"W_dec": torch.ones(F, D + 1)}, "W_dec has a shape that does not fit"),
        ({"scale": torch.ones(6)}, "an array that is not understood.*got scale"),
    ],
)  # fmt: skip
def test_the_four_arrays_say_what_is_wrong_with_them(changed, said, tmp_path):
    held = {name: array for name, array in {**PLAIN, **changed}.items() if array is not None}
    torch.save(held, tmp_path / "mine.pt")
    with pytest.raises(FormatError, match=said):
        si.load_sae(tmp_path / "mine.pt")


def test_a_relu_is_called_so(tmp_path):
    """A ReLU SAE of dictionary_learning said it was a JumpReLU one."""
    make("relu").export(tmp_path / "relu", format="dictionary_learning")
    assert ", relu, " in repr(si.load_sae(tmp_path / "relu"))
    assert ", jumprelu, " in repr(ThresholdSAE(*weights(), threshold=torch.full((F,), 0.1)))
