"""An SAE in the files of other packages, written so that their own loaders give the same codes.

=====================  ==========================================  ===========================================
format                 files                                       which SAEs
=====================  ==========================================  ===========================================
saelens                ``cfg.json sae_weights.safetensors``        all (the native folder, without metrics)
dictionary_learning    ``ae.pt config.json``                       top-k, one threshold, many thresholds, ReLU
sparsify               ``cfg.json sae.safetensors``                top-k
=====================  ==========================================  ===========================================
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from sciinterp.errors import InputError
from sciinterp.sae.weights import ARRAYS, CONFIG, Weights
from sciinterp.store.atomic import atomic_write, make_folder, write_json
from sciinterp.store.sealed import write_sealed

FORMATS = ("saelens", "dictionary_learning", "sparsify")


def export(weights: Weights, config: Mapping[str, Any], folder: str | Path, format: str) -> Path:
    """Write an SAE, given as arrays and its SAELens configuration; see :meth:`sciinterp.sae.base.SAE.export`."""
    if format not in FORMATS:
        raise InputError("no such format", where=f"format={format!r}", expected=", ".join(FORMATS))
    known = ("none", "layer_norm", "constant_norm_rescale") if format == "saelens" else ("none",)
    if weights.input_norm not in known:
        raise InputError(
            f"{format} cannot express what this SAE does to its input",
            where=f"input_norm {weights.input_norm}",
            expected=" or ".join(known),
            do="Keep it with sae.save(folder), which si.load_sae reads.",
        )
    path = make_folder(folder)
    if format == "saelens":
        atomic_write(path / ARRAYS, save(weights.named))
        write_sealed(path / CONFIG, config)
    elif format == "sparsify":
        _sparsify(weights, path)
    else:
        _dictionary_learning(weights, config["metadata"], path)
    return path


def _centred_bias(weights: Weights) -> Tensor:
    """The encoder bias for an input from which ``b_dec`` has been taken."""
    return weights.b_enc if weights.centred else weights.b_enc + weights.b_dec @ weights.W_enc


def _plain_bias(weights: Weights) -> Tensor:
    """The encoder bias for an input as it is."""
    return weights.b_enc - weights.b_dec @ weights.W_enc if weights.centred else weights.b_enc


def _sparsify(weights: Weights, path: Path) -> None:
    if weights.k is None:
        raise InputError("sparsify holds top-k SAEs only", do="Use saelens or dictionary_learning.")
    held = {
        "encoder.weight": weights.W_enc.T,
        "encoder.bias": _centred_bias(weights),
        "W_dec": weights.W_dec,
        "b_dec": weights.b_dec,
    }
    atomic_write(path / "sae.safetensors", save(_plain(held)))
    d_in, n_features = weights.W_enc.shape
    config = {
        "activation": "topk",
        "d_in": d_in,
        "expansion_factor": max(1, n_features // d_in),
        "k": weights.k,
        "multi_topk": False,
        "normalize_decoder": True,
        "num_latents": n_features,
        "skip_connection": False,
        "transcode": False,
    }
    write_json(path / CONFIG, config)


def _dictionary_learning(weights: Weights, facts: Mapping[str, Any], path: Path) -> None:
    threshold = weights.threshold
    linear = {
        "encoder.weight": weights.W_enc.T,
        "encoder.bias": _centred_bias(weights),
        "decoder.weight": weights.W_dec.T,
    }
    held: dict[str, Tensor]
    if threshold is None:
        kind, k = "AutoEncoderTopK", int(weights.k or 1)
        held = {**linear, "b_dec": weights.b_dec, "k": _count(k), "threshold": torch.tensor(-1.0)}
    elif not threshold.any():
        kind, k = "AutoEncoder", 0
        held = {**linear, "bias": weights.b_dec}
    elif (threshold == threshold[0]).all():
        trained_as = facts["sciinterp"]["architecture"] or {}
        kind, k = "BatchTopKSAE", int(trained_as.get("k") or 1)
        held = {**linear, "b_dec": weights.b_dec, "k": _count(k), "threshold": threshold[0]}
    else:
        kind, k = "JumpReluAutoEncoder", 0
        held = {
            "W_enc": weights.W_enc,
            "b_enc": _plain_bias(weights),
            "W_dec": weights.W_dec,
            "b_dec": weights.b_dec,
            "threshold": threshold,
        }
    buffer = io.BytesIO()
    torch.save(_plain(held), buffer)
    atomic_write(path / "ae.pt", buffer.getvalue())
    trainer = {
        "dict_class": kind,
        "activation_dim": weights.W_enc.shape[0],
        "dict_size": weights.W_enc.shape[1],
        "layer": facts["hook_name"] or None,
        "lm_name": facts["model_name"] or None,
    }
    write_json(path / "config.json", {"trainer": {**trainer, **({"k": k} if k else {})}})


def _count(k: int) -> Tensor:
    return torch.tensor(k, dtype=torch.int)


def _plain(held: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in held.items()}
