"""SAEs made by other packages, read into the one SAE of this one.

====================  ===========================================  ==========================================
format                recognised by                                arrays
====================  ===========================================  ==========================================
sciinterp, saelens    ``cfg.json`` + ``sae_weights.safetensors``   ``W_enc [d, F]``, ``W_dec [F, d]``, biases
sparsify              ``cfg.json`` + ``sae.safetensors``           ``encoder.weight [F, d]``, ``W_dec [F, d]``
dictionary_learning   ``ae.pt`` + ``config.json``                  ``encoder.weight``, ``decoder.weight [d, F]``
interplm              ``ae*.pt`` + ``config.yaml``                 the same, with a factor per feature
esmc                  a safetensors file with ``idf``              ``W_enc W_dec b_dec idf max``
====================  ===========================================  ==========================================

Nothing here can run code from a file: ``.pt`` files are read with ``weights_only=True``, and one that needs
more is refused by name; other pickles are refused unread; YAML is never constructed, only its plain ``key:
value`` lines are looked at.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from sciinterp.errors import FormatError, InputError
from sciinterp.sae.weights import ARRAYS, CONFIG, Weights
from sciinterp.store.atomic import read_json

UNSAFE = (".pkl", ".pickle", ".joblib", ".npy", ".npz", ".ckpt", ".bin")
YAML = ("config.yaml", "config.yml")


def recognise(path: Path) -> str:
    """The format of a folder or file, by what is there.

    Raises
    ------
    InputError
        Nothing known is there, or only a file that could run code on loading.
    """
    if path.is_file():
        if path.name in (CONFIG, ARRAYS, "sae.safetensors", "ae.pt") and path.parent != path:
            return recognise(path.parent)
        if path.suffix == ".safetensors":
            return "esmc"
        if path.suffix == ".pt":
            return "dictionary_learning"
        raise _unsafe(path) if path.suffix in UNSAFE else _unknown(path)
    names = {p.name for p in path.iterdir()}
    if CONFIG in names and ARRAYS in names:
        return "saelens"
    if CONFIG in names and "sae.safetensors" in names:
        return "sparsify"
    if "ae.pt" in names and "config.json" in names:
        return "dictionary_learning"
    if any(n.startswith("ae") and n.endswith(".pt") for n in names):
        return "interplm"
    if any(n.endswith(".safetensors") for n in names):
        return "esmc"
    unsafe = sorted(n for n in names if Path(n).suffix in UNSAFE)
    raise _unsafe(path / unsafe[0]) if unsafe else _unknown(path)


def read(path: Path, format: str) -> tuple[Weights, dict[str, Any]]:
    """Arrays and what else is known of an SAE in a named format; errors as in :func:`sciinterp.load_sae`."""
    readers: dict[str, Callable[[Path], tuple[Weights, dict[str, Any]]]] = {
        "sparsify": _sparsify,
        "dictionary_learning": _dictionary_learning,
        "interplm": _interplm,
        "esmc": _esmc,
    }
    if format not in readers:
        known = ["auto", "sciinterp", "saelens", *readers]
        raise InputError("no such format", where=f"format={format!r}", expected=", ".join(known))
    try:
        return readers[format](path.parent if path.is_file() and format == "sparsify" else path)
    except (KeyError, TypeError) as error:
        raise FormatError(f"the SAE lacks {error}", file=str(path), expected=f"a {format} SAE") from error


def saelens(held: Mapping[str, Tensor], config: Mapping[str, Any], where: Path) -> Weights:
    """Arrays from SAELens's arrays and configuration."""
    names = ("W_enc", "b_enc", "W_dec", "b_dec")
    missing = [name for name in names if name not in held]
    if missing:
        raise FormatError(
            "the SAE lacks an array",
            file=str(where),
            expected=", ".join(names),
            got=f"no {', '.join(missing)}",
        )
    parts = [held[name].float() for name in names]
    if config.get("rescale_acts_by_decoder_norm"):  # codes are pre-activations times |W_dec_j|: fold the norm
        norm = parts[2].norm(dim=1)
        parts[:3] = parts[0] * norm, parts[1] * norm, parts[2] / norm.clamp_min(1e-12)[:, None]
    kind = str(config.get("architecture", "standard"))
    k = threshold = None
    if kind == "topk":
        k = int(config["k"])
    elif kind in ("jumprelu", "standard"):
        threshold = held.get("threshold")
        if kind == "jumprelu" and threshold is None:
            raise FormatError(
                "a JumpReLU SAE without thresholds", file=str(where), expected="threshold [n_features]"
            )
    else:
        raise FormatError(
            "this architecture cannot be read",
            file=str(where),
            got=kind,
            expected="standard, topk or jumprelu",
        )
    norm = str(config.get("normalize_activations", "none"))
    if norm not in ("none", "layer_norm", "constant_norm_rescale"):
        raise FormatError(
            "this input scaling cannot be read",
            file=str(where),
            expected="none, layer_norm or constant_norm_rescale",
            got=norm,
            do="Fold the scaling into the weights first.",
        )
    centred = bool(config.get("apply_b_dec_to_input", True))
    return Weights(*parts, k=k, threshold=threshold, centred=centred, input_norm=norm)


def _sparsify(folder: Path) -> tuple[Weights, dict[str, Any]]:
    config, held = read_json(folder / CONFIG), read_tensors(folder / "sae.safetensors")
    if "W_skip" in held or config.get("transcode"):
        raise FormatError(
            "a transcoder is not an SAE", file=str(folder), expected="an SAE", got="transcode or W_skip"
        )
    if config.get("activation", "topk") != "topk":
        raise FormatError("cannot be read", file=str(folder), expected="topk", got=str(config["activation"]))
    # W_dec is [F, d_in] as it stands, unlike the encoder's nn.Linear weight; reading it transposed is a
    # known slip.
    parts = held["encoder.weight"].T, held["encoder.bias"], held["W_dec"], held["b_dec"]
    return Weights(*parts, k=int(config["k"])), {}


def _dictionary_learning(path: Path) -> tuple[Weights, dict[str, Any]]:
    file = path / "ae.pt" if path.is_dir() else path
    config = file.with_name("config.json")
    kind = ""
    if config.exists():
        kind = str((read_json(config).get("trainer") or {}).get("dict_class", ""))
    return _linear(_load_pt(file), kind, file), {}


def _linear(held: Mapping[str, Tensor], kind: str, file: Path) -> Weights:
    """dictionary_learning's arrays, whatever class wrote them."""
    if "W_enc" in held:  # JumpReLU, and Matryoshka's BatchTopK
        parts = [held[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")]
        per_feature = held["threshold"].numel() == held["b_enc"].numel()
        # Its JumpReLU does not take b_dec from the input.
        return replace(_by_threshold(parts, held, file), centred=not per_feature)
    if "decoder.bias" in held and "bias" not in held:  # InterPLM's tied ReLU: nothing is taken from the input
        parts = [
            held["encoder.weight"].T,
            held["encoder.bias"],
            held["decoder.weight"].T,
            held["decoder.bias"],
        ]
        return Weights(*parts, centred=False)
    bias = held["bias"] if "bias" in held else held["b_dec"]
    if "gate_bias" in held or "r_mag" in held:
        raise FormatError(
            "gated SAEs of this package are not read", file=str(file), got=kind or "GatedAutoEncoder"
        )
    if "encoder.bias" not in held:
        raise FormatError("the SAE lacks an array", file=str(file), expected="encoder.bias")
    parts = [held["encoder.weight"].T, held["encoder.bias"], held["decoder.weight"].T, bias]
    if "k" not in held:
        return Weights(*parts)
    if kind == "AutoEncoderTopK" or (not kind and float(held.get("threshold", torch.tensor(-1.0))) < 0):
        return Weights(*parts, k=int(held["k"]))
    return _by_threshold(parts, held, file)


def _by_threshold(parts: list[Tensor], held: Mapping[str, Tensor], file: Path) -> Weights:
    threshold = held["threshold"].float().reshape(-1)
    if threshold.numel() == 1 and float(threshold) < 0:
        raise FormatError(
            "the threshold of a BatchTopK SAE was never set",
            file=str(file),
            expected="a threshold >= 0",
            got=f"{float(threshold):g}",
            do="Without it codes would depend on the batch. Train it for longer, or set its threshold.",
        )
    return Weights(*parts, threshold=threshold.expand(len(parts[1])))


def _interplm(path: Path) -> tuple[Weights, dict[str, Any]]:
    file = path
    if path.is_dir():
        files = [path / name for name in ("ae_normalized.pt", "ae.pt") if (path / name).exists()]
        file = files[0] if files else sorted(path.glob("ae*.pt"))[0]
    held = {name.removeprefix("module."): tensor for name, tensor in _load_pt(file).items()}
    weights, recipe = _linear(held, "", file), {}
    if bool(held.get("normalize_to_sqrt_d", torch.tensor(False))):
        weights = replace(weights, input_norm="constant_norm_rescale")
    for name in YAML:
        if file.with_name(name).exists():
            recipe = _plain_lines(file.with_name(name))
    factor = held.get("activation_rescale_factor", held.get("rescale_factor"))
    if factor is not None and factor.numel() == weights.b_enc.numel() and not (factor == 1).all():
        recipe["rescale_factor"] = [float(v) for v in factor]
    return weights, recipe


def _esmc(path: Path) -> tuple[Weights, dict[str, Any]]:
    file = path
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        if len(files) != 1:
            raise InputError(
                "several SAEs are here", where=f"'{path}'", expected="one .safetensors", got=str(len(files))
            )
        file = files[0]
    held = read_tensors(file)
    missing = [name for name in ("W_enc", "W_dec", "b_dec") if name not in held]
    if missing:
        raise FormatError(
            "this is not an SAE known here",
            file=str(file),
            expected="W_enc, W_dec, b_dec",
            got=", ".join(sorted(held)[:6]),
        )
    d_in = held["b_dec"].numel()
    encoder = held["W_enc"] if held["W_enc"].shape[0] == d_in else held["W_enc"].T
    decoder = held["W_dec"] if held["W_dec"].shape[1] == d_in else held["W_dec"].T
    bias = held.get("b_enc", torch.zeros(encoder.shape[1]))
    config = {}
    for name in ("config.json", CONFIG):
        if file.with_name(name).exists():
            config = read_json(file.with_name(name))
    k = next((int(config[key]) for key in ("k", "topk", "top_k") if key in config), None)
    recipe = {name: held[name].float().reshape(-1).tolist() for name in ("idf", "max") if name in held}
    return Weights(encoder, bias, decoder, held["b_dec"], k=k or None, input_norm="layer_norm"), recipe


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file."""
    try:
        return load(path.read_bytes())
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise FormatError(f"cannot be read as safetensors ({error})", file=str(path)) from error


def _load_pt(file: Path) -> dict[str, Tensor]:
    """A file of tensors written by torch, never of anything else."""
    try:
        held = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unsafe(file) from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise FormatError("cannot be read as a file of tensors", file=str(file)) from error
    if not isinstance(held, Mapping) or not all(isinstance(v, Tensor) for v in held.values()):
        raise FormatError("does not hold named tensors", file=str(file), got=type(held).__name__)
    return dict(held)


def _plain_lines(file: Path) -> dict[str, Any]:
    """The ``key: value`` lines of a YAML file as text; its tags and objects are never built."""
    found = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        key, colon, value = line.partition(":")
        if colon and key and not key[0].isspace() and value.strip() and "!" not in value:
            found[key.strip()] = value.strip()
    return found


def _unsafe(path: Path) -> InputError:
    return InputError(
        "this file could run code on loading",
        where=f"'{path}'",
        expected="safetensors, or a .pt file of tensors alone",
        do="Convert it where it comes from.",
    )


def _unknown(path: Path) -> InputError:
    return InputError(
        "this is not an SAE",
        where=f"'{path}'",
        expected=f"{CONFIG} with {ARRAYS} or sae.safetensors, or ae.pt",
        do="Name the format if the files have other names.",
    )
