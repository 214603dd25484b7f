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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor

from sciinterp.errors import InputError
from sciinterp.sae.files import CONFIG, WEIGHTS, config_of, weights_of
from sciinterp.store.atomic import atomic_write, make_folder, write_json

if TYPE_CHECKING:
    from sciinterp.sae.base import SAE

FORMATS = ("saelens", "dictionary_learning", "sparsify")


def export_sae(sae: SAE, folder: str | Path, format: str) -> Path:
    """Write ``sae`` as ``format``; see :meth:`sciinterp.sae.base.SAE.export`.

    Raises
    ------
    InputError
        An unknown format, or one that cannot express this SAE.
    """
    if format not in FORMATS:
        raise InputError("no such format", where=f"format={format!r}", expected=", ".join(FORMATS))
    if format != "saelens" and sae.input_norm != "none":
        raise InputError(
            f"{format} cannot express an SAE with standardised input", where=str(sae), do="Use saelens."
        )
    path = make_folder(folder)
    if format == "saelens":
        atomic_write(path / WEIGHTS, save(weights_of(sae)))
        write_json(path / CONFIG, config_of(sae))
    elif format == "sparsify":
        _sparsify(sae, path)
    else:
        _dictionary_learning(sae, path)
    return path


def _centred_bias(sae: SAE) -> Tensor:
    """The encoder bias for an input from which ``b_dec`` has been taken."""
    return sae.b_enc if sae.centred else sae.b_enc + sae.b_dec @ sae.W_enc


def _plain_bias(sae: SAE) -> Tensor:
    """The encoder bias for an input as it is."""
    return sae.b_enc - sae.b_dec @ sae.W_enc if sae.centred else sae.b_enc


def _sparsify(sae: SAE, path: Path) -> None:
    if sae.k is None:
        raise InputError(
            "sparsify holds top-k SAEs only", where=str(sae), do="Use saelens or dictionary_learning."
        )
    held = {
        "encoder.weight": sae.W_enc.T,
        "encoder.bias": _centred_bias(sae),
        "W_dec": sae.W_dec,
        "b_dec": sae.b_dec,
    }
    atomic_write(path / "sae.safetensors", save(_plain(held)))
    config = {
        "activation": "topk",
        "d_in": sae.d_in,
        "expansion_factor": max(1, sae.n_features // sae.d_in),
        "k": sae.k,
        "multi_topk": False,
        "normalize_decoder": True,
        "num_latents": sae.n_features,
        "skip_connection": False,
        "transcode": False,
    }
    write_json(path / CONFIG, config)


def _dictionary_learning(sae: SAE, path: Path) -> None:
    threshold = sae.threshold
    linear = {
        "encoder.weight": sae.W_enc.T,
        "encoder.bias": _centred_bias(sae),
        "decoder.weight": sae.W_dec.T,
    }
    held: dict[str, Tensor]
    if threshold is None:
        kind, k = "AutoEncoderTopK", int(sae.k or 1)
        held = {**linear, "b_dec": sae.b_dec, "k": _count(k), "threshold": torch.tensor(-1.0)}
    elif not threshold.any():
        kind, k = "AutoEncoder", 0
        held = {**linear, "bias": sae.b_dec}
    elif (threshold == threshold[0]).all():
        kind, k = "BatchTopKSAE", int(getattr(sae.architecture, "k", 0) or 1)
        held = {**linear, "b_dec": sae.b_dec, "k": _count(k), "threshold": threshold[0]}
    else:
        kind, k = "JumpReluAutoEncoder", 0
        held = {
            "W_enc": sae.W_enc,
            "b_enc": _plain_bias(sae),
            "W_dec": sae.W_dec,
            "b_dec": sae.b_dec,
            "threshold": threshold,
        }
    buffer = io.BytesIO()
    torch.save(_plain(held), buffer)
    atomic_write(path / "ae.pt", buffer.getvalue())
    trainer: dict[str, Any] = {
        "dict_class": kind,
        "activation_dim": sae.d_in,
        "dict_size": sae.n_features,
        "layer": sae.identity.get("site"),
        "lm_name": sae.identity.get("model"),
    }
    write_json(path / "config.json", {"trainer": {**trainer, **({"k": k} if k else {})}})


def _count(k: int) -> Tensor:
    return torch.tensor(k, dtype=torch.int)


def _plain(held: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in held.items()}
