"""An SAE on disk: ``cfg.json`` and ``sae_weights.safetensors``, a folder SAELens reads too.

``sae_weights.safetensors`` holds float32 ``W_enc [d_in, F]``, ``b_enc [F]``, ``W_dec [F, d_in]``, ``b_dec
[d_in]`` and, for threshold SAEs, ``threshold [F]``. ``cfg.json`` holds SAELens's fields;
``metadata.sciinterp`` adds what the SAE was trained as, how, and on which model, weights and site.
``sha256`` of the weights is kept there and checked on reading: a flipped byte passes safetensors in
silence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from sciinterp.errors import FormatError, InputError, StoreError
from sciinterp.sae.base import SAE, ThresholdSAE, TopKSAE
from sciinterp.sae.registry import architecture_from
from sciinterp.store.atomic import atomic_write, make_folder, read_json, sha256_file, write_json

CONFIG, WEIGHTS, METRICS = "cfg.json", "sae_weights.safetensors", "metrics.json"
# The field is how SAELens tells its own folders from others; without it the metadata is dropped on loading.
SAELENS_VERSION = "6.0.0"


def config_of(sae: SAE) -> dict[str, Any]:
    """SAELens's configuration of an SAE."""
    return {
        "architecture": "topk" if sae.k is not None else "jumprelu",
        "d_in": sae.d_in,
        "d_sae": sae.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.centred,
        "normalize_activations": sae.input_norm,
        "reshape_activations": "none",
        **({"k": sae.k, "rescale_acts_by_decoder_norm": False} if sae.k is not None else {}),
        "metadata": {
            "sae_lens_version": SAELENS_VERSION,
            "model_name": str(sae.identity.get("model", "")),
            "hook_name": str(sae.identity.get("site", "")),
            "sciinterp": {
                "architecture": sae.architecture.as_dict() if sae.architecture else None,
                "identity": sae.identity,
                "recipe": sae.recipe,
            },
        },
    }


def weights_of(sae: SAE) -> dict[str, Tensor]:
    """The arrays of an SAE under SAELens's names."""
    held = {"W_enc": sae.W_enc, "b_enc": sae.b_enc, "W_dec": sae.W_dec, "b_dec": sae.b_dec}
    if sae.threshold is not None:
        held["threshold"] = sae.threshold
    return {name: tensor.detach().cpu().contiguous() for name, tensor in held.items()}


def save_sae(sae: SAE, folder: str | Path) -> Path:
    """Write an SAE: weights, configuration with their sha256, metrics last."""
    path = make_folder(folder)
    atomic_write(path / WEIGHTS, save(weights_of(sae)))
    config = config_of(sae)
    config["metadata"]["sciinterp"]["weights_sha256"] = sha256_file(path / WEIGHTS)
    write_json(path / CONFIG, config)
    if sae.metrics:
        write_json(path / METRICS, sae.metrics)
    sae.folder = path
    return path


def save_metrics(sae: SAE) -> None:
    """Write ``metrics.json`` again, where the SAE has a folder."""
    if sae.folder is not None:
        write_json(sae.folder / METRICS, sae.metrics)


def load_native(folder: Path) -> SAE:
    """Read a folder that :func:`save_sae` or SAELens wrote.

    Raises
    ------
    StoreError
        The weights are not those the configuration describes.
    FormatError
        A field or an array is missing.
    """
    config = read_json(folder / CONFIG)
    ours = (config.get("metadata") or {}).get("sciinterp") or {}
    recorded = ours.get("weights_sha256")
    if recorded and recorded != sha256_file(folder / WEIGHTS):
        raise StoreError(
            "the weights are damaged",
            where=f"'{folder / WEIGHTS}'",
            expected=f"sha256 {recorded[:12]}",
            got=f"sha256 {sha256_file(folder / WEIGHTS)[:12]}",
            do="Train or fetch this SAE again.",
        )
    sae = build(read_tensors(folder / WEIGHTS), config, folder)
    sae.identity, sae.recipe = dict(ours.get("identity") or {}), dict(ours.get("recipe") or {})
    if ours.get("architecture"):
        sae.architecture = architecture_from(ours["architecture"])
    if (folder / METRICS).exists():
        sae.metrics = read_json(folder / METRICS)
    return sae


def build(weights: Mapping[str, Tensor], config: Mapping[str, Any], where: Path) -> SAE:
    """An SAE from SAELens's arrays and configuration."""
    names = ("W_enc", "b_enc", "W_dec", "b_dec")
    missing = [name for name in names if name not in weights]
    if missing:
        raise FormatError(
            "the SAE lacks an array",
            file=str(where),
            expected=", ".join(names),
            got=f"no {', '.join(missing)}",
        )
    parts = [weights[name].float() for name in names]
    if config.get("rescale_acts_by_decoder_norm"):  # codes are pre-activations times |W_dec_j|: fold the norm
        norm = parts[2].norm(dim=1)
        parts[:3] = parts[0] * norm, parts[1] * norm, parts[2] / norm.clamp_min(1e-12)[:, None]
    kind = str(config.get("architecture", "standard"))
    if kind == "topk":
        sae: SAE = TopKSAE(*parts, k=int(config["k"]))
    elif kind in ("jumprelu", "standard"):
        threshold = weights.get("threshold")
        if kind == "jumprelu" and threshold is None:
            raise FormatError(
                "a JumpReLU SAE without thresholds", file=str(where), expected="threshold [n_features]"
            )
        sae = ThresholdSAE(*parts, threshold=torch.zeros_like(parts[1]) if threshold is None else threshold)
    else:
        raise FormatError(
            "this architecture cannot be read",
            file=str(where),
            got=kind,
            expected="standard, topk or jumprelu",
        )
    sae.centred = bool(config.get("apply_b_dec_to_input", True))
    norm = str(config.get("normalize_activations", "none"))
    if norm not in ("none", "layer_norm", "constant_norm_rescale"):
        raise FormatError(
            "this input scaling cannot be read",
            file=str(where),
            expected="none, layer_norm or constant_norm_rescale",
            got=norm,
            do="Fold the scaling into the weights first.",
        )
    sae.input_norm, sae.folder = norm, where
    return sae


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file."""
    try:
        return load(path.read_bytes())
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise FormatError(f"cannot be read as safetensors ({error})", file=str(path)) from error


def load_sae(path: str | Path, *, format: str = "auto", model: Any = None) -> SAE:
    """Read an SAE made here or by another package.

    Parameters
    ----------
    path : folder or file
    format : {"auto", "sciinterp", "saelens", "dictionary_learning", "sparsify", "interplm", "esmc"}
        "auto" decides by the files.
    model : Adapter, optional
        Checked against the model, weights and site the SAE was trained on.

    Raises
    ------
    MismatchError
        ``model`` is another model; the message names what differs.
    InputError, FormatError, StoreError
        No SAE is there; it is not in the format; its weights are damaged; the file could run code on loading.
    """
    from sciinterp.sae import foreign

    place = Path(path)
    if not place.exists():
        raise InputError("there is no SAE", where=f"'{path}'", expected="a folder or a file")
    kind = foreign.recognise(place) if format == "auto" else format
    sae = foreign.read(place, kind)
    if model is not None:
        sae.check(model)
    return sae
