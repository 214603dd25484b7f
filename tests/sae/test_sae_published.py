"""Published formats: codes and reconstruction are those of the authors' class, written here from its definition."""

import json
import shutil
from pathlib import Path

import pytest
import test_sae_hostile
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import sciinterp as si
from sciinterp.errors import SciinterpError
from sciinterp.sae import foreign, published
from sciinterp.sae.weights import Weights

D, N, K = 6, 16, 3
G = torch.Generator().manual_seed(0)
W_ENC, W_DEC = torch.randn(D, N, generator=G), torch.randn(N, D, generator=G)
B_ENC, B_DEC = torch.randn(N, generator=G) * 0.1, torch.randn(D, generator=G) * 0.1
R, GATE, MAG = (torch.randn(N, generator=G) * 0.3 for _ in range(3))
THETA = torch.rand(N, generator=G)
X = torch.randn(50, D, generator=G) * 2 + 1
NATIVE = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
LINEAR = {"encoder.weight": W_ENC.T, "encoder.bias": B_ENC, "decoder.weight": W_DEC.T}


def top(acts, k=K):
    best = acts.relu().topk(k)
    return torch.zeros_like(acts).scatter(1, best.indices, best.values)


def put(folder: Path, held: dict, files: dict, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    held = {key: value.contiguous() for key, value in held.items()}
    if name.endswith(".pt"):
        torch.save(held, folder / name)
    else:
        save_file(held, folder / name)
    for file, content in files.items():
        (folder / file).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def check_agrees(sae, codes, back, x=X):
    assert torch.allclose(sae.encode(x).to_dense(), codes, atol=1e-5)
    assert torch.allclose(sae.reconstruct(x), back, atol=1e-5)


V6 = {"d_in": D, "d_sae": N, "dtype": "float32", "apply_b_dec_to_input": True, "reshape_activations": "none"}
V6 = {**V6, "normalize_activations": "none", "metadata": {"sae_lens_version": "6.18.0"}}
OLD = {"architecture": "standard", "d_in": D, "d_sae": N, "hook_name": "blocks.1.hook_resid_post", "lr": 3e-4}
NORM = W_DEC.norm(dim=1)


def pre(centred=True):
    return (X - B_DEC if centred else X) @ W_ENC + B_ENC


def gated(gate_first=True):
    p = (X - B_DEC) @ W_ENC
    return (p + GATE > 0) * F.relu(R.exp() * p + MAG)


def plain(codes):
    return codes, codes @ W_DEC + B_DEC


def layer_norm():
    mean, std = X.mean(1, keepdim=True), X.std(1, keepdim=True)
    codes = top(((X - mean) / (std + 1e-5) - B_DEC) @ W_ENC + B_ENC)
    return codes, (codes @ W_DEC + B_DEC) * std + mean


def constant_norm():
    scale = D**0.5 / X.norm(dim=1, keepdim=True)
    codes = top((X * scale - B_DEC) @ W_ENC + B_ENC)
    return codes, (codes @ W_DEC + B_DEC) / scale


def average_norm(factor=0.5):
    codes = F.relu((X * factor - B_DEC) @ W_ENC + B_ENC)
    return codes, (codes @ W_DEC + B_DEC) / factor


def rescaled():
    codes = top(pre() * NORM)
    return codes, (codes / NORM) @ W_DEC + B_DEC


def rescaled_batch(theta=0.8):
    codes = F.relu(pre() * NORM)
    codes = codes * (codes > theta)
    return codes, (codes / NORM) @ W_DEC + B_DEC


def above(acts, theta):
    return F.relu(acts) * (acts > theta)


SAELENS = {
    "6 standard": ({**V6, "architecture": "standard"}, {}, lambda: plain(F.relu(pre()))),
    "6 topk": ({**V6, "architecture": "topk", "k": K}, {}, lambda: plain(top(pre()))),
    "6 topk, whole float": ({**V6, "architecture": "topk", "k": float(K)}, {}, lambda: plain(top(pre()))),
    "6 jumprelu": (
        {**V6, "architecture": "jumprelu"},
        {"threshold": THETA},
        lambda: plain(above(pre(), THETA)),
    ),
    "6 gated": (
        {**V6, "architecture": "gated"},
        {"b_enc": None, "b_gate": GATE, "b_mag": MAG, "r_mag": R},
        lambda: plain(gated()),
    ),
    "6 uncentred": (
        {**V6, "architecture": "standard", "apply_b_dec_to_input": False},
        {},
        lambda: plain(F.relu(pre(False))),
    ),
    "6 rescaled": (
        {**V6, "architecture": "topk", "k": K, "rescale_acts_by_decoder_norm": True},
        {},
        rescaled,
    ),
    "6 batchtopk while training": (
        {**V6, "architecture": "batchtopk", "k": K, "rescale_acts_by_decoder_norm": True},
        {"topk_threshold": torch.tensor(0.8)},
        rescaled_batch,
    ),
    "6 layer_norm": (
        {**V6, "architecture": "topk", "k": K, "normalize_activations": "layer_norm"},
        {},
        layer_norm,
    ),
    "6 constant_norm_rescale": (
        {**V6, "architecture": "topk", "k": K, "normalize_activations": "constant_norm_rescale"},
        {},
        constant_norm,
    ),
    "6 expected_average_only_in": (
        {**V6, "architecture": "standard", "normalize_activations": "expected_average_only_in"},
        {"activation_scaler.json": {"scaling_factor": 0.5}},
        average_norm,
    ),
    "old topk": (
        {**OLD, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}},
        {},
        lambda: plain(top(pre())),
    ),
    "old topk, other name": (
        {**OLD, "activation_fn": "topk", "activation_fn_kwargs": {"k": K}},
        {},
        lambda: plain(top(pre())),
    ),
    "old relu, no normalisation": (
        {**OLD, "activation_fn_str": "relu", "normalize_activations": False},
        {},
        lambda: plain(F.relu(pre())),
    ),
    "old, fine-tuned": (
        {**OLD, "finetuning_scaling_factor": True},
        {"finetuning_scaling_factor": THETA},
        lambda: (F.relu(pre()), (F.relu(pre()) * THETA) @ W_DEC + B_DEC),
    ),
    "old, factor of ones": (
        {**OLD, "finetuning_scaling_factor": False},
        {"scaling_factor": torch.ones(N)},
        lambda: plain(F.relu(pre())),
    ),
}


def saelens(folder, config, extra):
    arrays = {**NATIVE, **{k: v for k, v in extra.items() if not isinstance(v, dict)}}
    files = {k: v for k, v in extra.items() if isinstance(v, dict)}
    held = {k: v for k, v in arrays.items() if v is not None}
    return put(folder, held, {"cfg.json": config, **files}, "sae_weights.safetensors")


@pytest.mark.parametrize("name", SAELENS)
def test_saelens(name, tmp_path):
    config, extra, definition = SAELENS[name]
    check_agrees(si.load_sae(saelens(tmp_path, config, extra)), *definition())


REFUSED = {
    "activation tanh-relu": {**OLD, "activation_fn_str": "tanh-relu"},
    "topk without k": {**OLD, "activation_fn_str": "topk"},
    "topk with two k": {**OLD, "k": 4, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}},
    "topk after another activation": {
        **OLD,
        "activation_fn": "topk",
        "activation_fn_kwargs": {"k": 3, "postact_fn": "tanh"},
    },
    "normalisation that is not folded in": {**OLD, "normalize_activations": "expected_average_only_in"},
    "old true for it": {**OLD, "normalize_activations": True},
    "unknown normalisation": {**V6, "normalize_activations": "batch_norm"},
    "unknown key": {**V6, "architecture": "standard", "decoder_gain": 2.0},
    "transcoder": {**V6, "architecture": "transcoder", "d_out": D},
    **{  # every other class it registers (6.54.12)
        name: {**V6, "architecture": name}
        for name in (
            *("skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"),
            *("temporal", "matching_pursuit"),
        )
    },
    "reshape": {**V6, "architecture": "standard", "reshape_activations": "hook_q"},
    "rescaled standard": {**V6, "architecture": "standard", "rescale_acts_by_decoder_norm": True},
    "factor that is not there": {**OLD, "finetuning_scaling_factor": True},
    "jumprelu without thresholds": {**V6, "architecture": "jumprelu"},
    "another width": {**V6, "architecture": "standard", "d_in": D + 1},
    "another size": {**V6, "architecture": "standard", "d_sae": N + 1},
    "k beyond the dictionary": {**V6, "architecture": "topk", "k": N + 1},
    "batchtopk without its threshold": {**V6, "architecture": "batchtopk", "k": K},
}


@pytest.mark.parametrize("name", REFUSED)
def test_saelens_refused_by_name(name, tmp_path):
    with pytest.raises(SciinterpError) as error:
        si.load_sae(saelens(tmp_path, REFUSED[name], {}))
    assert "\n" not in str(error.value)
    assert tmp_path.name in str(error.value)
    assert REFUSED[name].get("architecture") != name or name in str(error.value)


THRESHOLD, COUNT = torch.tensor(0.8), torch.tensor(K, dtype=torch.int)
TOP = {**LINEAR, "b_dec": B_DEC, "k": COUNT, "threshold": THRESHOLD}
GATED = {"encoder.weight": W_ENC.T, "decoder.weight": W_DEC.T, "decoder_bias": B_DEC}
GATED = {**GATED, "r_mag": R, "gate_bias": GATE, "mag_bias": MAG}
# class, arrays, definition
DICTIONARIES = {
    "AutoEncoder": ({**LINEAR, "bias": B_DEC}, lambda: plain(F.relu(pre()))),
    "AutoEncoderNew": ({**LINEAR, "decoder.bias": B_DEC}, lambda: plain(F.relu(pre(False)))),
    "GatedAutoEncoder": (GATED, lambda: plain(gated())),
    "AutoEncoderTopK": (TOP, lambda: plain(top(pre()))),
    "BatchTopKSAE": (TOP, lambda: plain(above(pre(), 0.8))),
    "JumpReluAutoEncoder": ({**NATIVE, "threshold": THETA}, lambda: plain(above(pre(False), THETA))),
    "MatryoshkaBatchTopKSAE": (
        {**NATIVE, "k": COUNT, "threshold": THRESHOLD, "group_sizes": torch.tensor([4, 12])},
        lambda: plain(above(pre(), 0.8)),
    ),
}


@pytest.mark.parametrize("name", DICTIONARIES)
@pytest.mark.parametrize("place", ["folder", "checkpoints", "wrapped", "compiled and wrapped"])
def test_dictionary_learning(name, place, tmp_path):
    """In its folder, as a checkpoint with config.json one level up, and with what torch puts before all names."""
    held, definition = DICTIONARIES[name]
    config = {"trainer": {"dict_class": name, "activation_dim": D, "dict_size": N}}
    if "k" in held:
        config["trainer"]["k"] = K
    prefix = {"wrapped": "module.", "compiled and wrapped": "module._orig_mod."}.get(place, "")
    held = {prefix + key: value for key, value in held.items()}
    if place == "checkpoints":
        put(tmp_path, {}, {"config.json": config}, "x.pt")
        (tmp_path / "x.pt").unlink()
        for number in (5000, 900, 10000):  # the highest number, not the last name
            scaled = {k: v if number == 10000 or v.ndim < 2 else v * 7 for k, v in held.items()}
            put(tmp_path / "checkpoints", scaled, {}, f"ae_{number}.pt")
        check_agrees(si.load_sae(tmp_path), *definition())
        check_agrees(si.load_sae(tmp_path / "checkpoints" / "ae_10000.pt"), *definition())
    else:
        check_agrees(si.load_sae(put(tmp_path, held, {"config.json": config}, "ae.pt")), *definition())


def test_dictionary_learning_takes_no_guess(tmp_path):
    def refused(match, held, config, name="ae.pt"):
        folder = put(tmp_path / match.split()[0], held, {"config.json": config}, name)
        with pytest.raises(SciinterpError, match=match):
            si.load_sae(folder)

    refused("TopK and of a BatchTopK", TOP, {})
    refused("belong together", {**LINEAR, "bias": B_DEC}, {"trainer": {"dict_class": "AutoEncoderTopK"}})
    refused("k is not given once", TOP, {"trainer": {"dict_class": "AutoEncoderTopK", "k": K + 1}})
    refused("class that is not", TOP, {"trainer": {"dict_class": "CrossCoder"}})
    refused(
        "array that is not understood.*W_skip",
        {**TOP, "W_skip": W_DEC},
        {"trainer": {"dict_class": "BatchTopKSAE"}},
    )
    refused(
        "never set", {**TOP, "threshold": torch.tensor(-1.0)}, {"trainer": {"dict_class": "BatchTopKSAE"}}
    )
    held = {**LINEAR, "b_dec": B_DEC, "k": COUNT}  # before thresholds there was one class with a k
    check_agrees(si.load_sae(put(tmp_path / "old", held, {}, "ae.pt")), *plain(top(pre())))
    annealed = {"trainer": {"dict_class": "AutoEncoderTopK", "k": 1, "k_anneal_steps": 50}}
    check_agrees(
        si.load_sae(put(tmp_path / "annealed", TOP, {"config.json": annealed}, "ae.pt")), *plain(top(pre()))
    )
    for name in ("ae_first.pt", "ae_second.pt"):
        put(tmp_path / "two", TOP, {}, name)
    with pytest.raises(SciinterpError, match=r"several SAEs are here.*ae_first\.pt, ae_second\.pt"):
        si.load_sae(tmp_path / "two")


def yaml(trainer: str) -> dict:
    tag = f"!!python/object:interplm.train.trainers.some.{trainer}TrainerConfig"
    return {"config.yaml": f"plm_name: esm2\ntrainer_cfg: {tag}\n  k: {K}\n  lr: 0.1\n"}


NORMED = {"activation_rescale_factor": THETA + 1, "normalize_to_sqrt_d": torch.tensor(True)}
RAW = {**NORMED, "normalize_to_sqrt_d": torch.tensor(False)}
INTERPLM = {
    "ReLU": ({**LINEAR, "bias": B_DEC}, lambda p, q: F.relu(p)),
    "TopK": (TOP, lambda p, q: top(p)),
    "BatchTopK": (TOP, lambda p, q: above(p, 0.8)),
    "JumpReLU": ({**LINEAR, "decoder.bias": B_DEC, "threshold": THETA}, lambda p, q: above(q, THETA)),
}


@pytest.mark.parametrize("trainer", INTERPLM)
@pytest.mark.parametrize("normed", [True, False])
def test_interplm(trainer, normed, tmp_path):
    held, activation = INTERPLM[trainer]
    folder = put(tmp_path, {**held, **(NORMED if normed else RAW)}, yaml(trainer), "ae_normalized.pt")
    scale = X.norm(dim=1, keepdim=True) / D**0.5 if normed else torch.ones(len(X), 1)
    x = X / scale
    codes = activation((x - B_DEC) @ W_ENC + B_ENC, x @ W_ENC + B_ENC)
    sae = si.load_sae(folder)
    check_agrees(sae, codes, (codes @ W_DEC + B_DEC) * scale)
    assert sae.recipe["plm_name"] == "esm2"
    assert torch.allclose(torch.tensor(sae.recipe["rescale_factor"]), THETA + 1)


SPARSIFY = {"encoder.weight": W_ENC.T, "encoder.bias": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
CODER = {
    "activation": "topk",
    "k": K,
    "d_in": D,
    "num_latents": 0,
    "expansion_factor": 3,
    "multi_topk": False,
}


def test_sparsify(tmp_path):
    check_agrees(
        si.load_sae(put(tmp_path, SPARSIFY, {"cfg.json": CODER}, "sae.safetensors")), *plain(top(pre()))
    )


OTHER = {"activation": "groupmax", "signed": True, "transcode": True, "skip_connection": True, "k": None}


@pytest.mark.parametrize("key", [*OTHER, "signum", "num_latents", "d_in"])
def test_sparsify_refused_by_name(key, tmp_path):
    change = {"activation": "signum"} if key == "signum" else {key: OTHER.get(key, N + 1)}
    with pytest.raises(SciinterpError) as error:
        si.load_sae(put(tmp_path, SPARSIFY, {"cfg.json": {**CODER, **change}}, "sae.safetensors"))
    assert next(iter(change)) in str(error.value)


def test_arrays_without_a_configuration_are_not_guessed(tmp_path):
    """A missing cfg.json does not turn a TopK SAE into another one."""
    si.train(X.numpy(), si.TopK(N, k=K), steps=3, batch_size=16, out=tmp_path / "a")
    (tmp_path / "a" / "cfg.json").unlink()
    for path in (tmp_path / "a", tmp_path / "a" / "sae_weights.safetensors"):
        with pytest.raises(SciinterpError, match=r"cfg\.json is missing"):
            si.load_sae(path)
    save_file({k: v.contiguous() for k, v in NATIVE.items()}, tmp_path / "model.safetensors")
    with pytest.raises(SciinterpError, match="not an SAE known here"):
        si.load_sae(tmp_path / "model.safetensors")


def read_turned(found: published.Found) -> Weights:
    """Somebody's layout: every array under a name of its own, the encoder turned."""
    parts = found.arrays({"lift": "Fd", "shift": "F", "atoms": "Fd", "centre": "d"})
    return Weights(parts["lift"].T, parts["shift"], parts["atoms"], parts["centre"], k=found.k(found.config.whole("active")))  # fmt: skip


def test_a_new_format_is_one_function_and_one_row(tmp_path, monkeypatch):
    """Recognised by its arrays, asked for by name, checked, saved and exported as any other; and unknown without it."""
    held = {"lift": W_ENC.T, "shift": B_ENC, "atoms": W_DEC, "centre": B_DEC}
    folder = put(tmp_path / "theirs", held, {"config.json": {"active": K}}, "weights.safetensors")
    with pytest.raises(SciinterpError, match="esmc"):
        si.load_sae(folder)
    mine = foreign.Format(lambda found: "atoms" in found.held, read_turned)
    monkeypatch.setitem(foreign.FORMATS, "turned", mine)
    for format in ("auto", "turned"):
        sae = si.load_sae(folder, format=format)
        check_agrees(sae, *plain(top(pre())))
    sae.save(tmp_path / "ours")
    check_agrees(si.load_sae(tmp_path / "ours"), *plain(top(pre())))
    check_agrees(si.load_sae(sae.export(tmp_path / "back", format="sparsify")), *plain(top(pre())))
    for harm in ({"centre": B_DEC[1:]}, {"shift": B_ENC * float("nan")}, {"extra": B_ENC + 1}):
        bad = put(
            tmp_path / next(iter(harm)), held | harm, {"config.json": {"active": K}}, "weights.safetensors"
        )
        with pytest.raises(SciinterpError, match=next(iter(harm))):
            si.load_sae(bad)


# Ways in which the same arrays are saved; every format inherits them.
AROUND = {
    **{
        front: lambda held, front=front: {front + name: array for name, array in held.items()}
        for front in (
            "_orig_mod.",
            "module._orig_mod.",
            "model.",
            "net.",
            "encoder.",
            "_fsdp_wrapped_module.",
        )
    },
    "compiled inside": lambda held: {
        name.replace(".", "._orig_mod.", 1): array for name, array in held.items()
    },
    "double": lambda held: {n: a.double() if a.is_floating_point() else a for n, a in held.items()},
    "strided": lambda held: {n: a.t().contiguous().t() if a.ndim == 2 else a for n, a in held.items()},
    "parameters": lambda held: {
        n: torch.nn.Parameter(a) if a.is_floating_point() else a for n, a in held.items()
    },
    "state_dict": lambda held: {"state_dict": held, "epoch": 3},
    "model": lambda held: {"model": held},
}


@pytest.mark.parametrize("name", [*test_sae_hostile.FORMATS])
def test_however_the_arrays_are_saved_the_sae_is_the_same(name, tmp_path):
    file, held, _, _ = test_sae_hostile.FORMATS[name]
    x = torch.randn(7, test_sae_hostile.D, generator=torch.Generator().manual_seed(3))

    def made(folder):
        sae = si.load_sae(folder)
        with torch.no_grad():
            return sae.decode(sae.encode(x))

    plain = made(test_sae_hostile.write(tmp_path / "plain", name))
    for number, (way, change) in enumerate(AROUND.items()):
        folder = test_sae_hostile.write(tmp_path / str(number), name)
        if file.endswith(".pt"):
            torch.save(change(held), folder / file)
        elif way in ("state_dict", "model", "parameters"):
            continue  # safetensors holds tensors alone
        else:
            test_sae_hostile.write(folder, name, change(held))
        assert torch.allclose(made(folder), plain, atol=1e-5), way


def test_a_shard_that_is_missing_and_a_second_sae_are_named(tmp_path):
    held = test_sae_hostile.FORMATS["sparsify"][1]
    for lost in (1, 2):
        folder = test_sae_hostile.write(tmp_path / str(lost), "sparsify")
        (folder / "sae.safetensors").unlink()
        for number in {1, 2} - {lost}:
            part = {k: held[k] for k in sorted(held)[number - 1 :: 2]}
            save_file(part, folder / f"sae-0000{number}-of-00002.safetensors")
        with pytest.raises(SciinterpError, match=f"sae-0000{lost}-of-00002"):
            si.load_sae(folder)
    folder = test_sae_hostile.write(tmp_path / "two", "tied")
    for number in (9, 10):
        shutil.copy(folder / "m.pt", folder / f"ae_{number}.pt")
    with pytest.raises(SciinterpError, match="several SAEs are here"):
        si.load_sae(folder)
    (folder / "m.pt").unlink()
    assert si.load_sae(folder).n_features == test_sae_hostile.F
