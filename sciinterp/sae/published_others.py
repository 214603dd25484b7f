"""Published layouts of InterProt, Goodfire and BioNeMo's recipes, and of overcomplete, of computer vision.

Overcomplete (Fel and others 2025) has linear encoders without a centre and dictionaries of several kinds:
``f = act(x W_enc + b_enc)`` and ``xhat = f D``. The rows of ``D`` are normalised, or archetypal: ``D = W C + R``, each row of
``W`` a mean over candidate points ``C``, each row of ``R`` of a bounded length. A multiplier ``exp(m)`` may stand before it.
What the package saves, a state dict, lacks what the class was built with: k, the threshold of BatchTopK, the normalisation.
A ``config.json`` beside it says these, under the package's own names.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from math import exp

import torch
from torch import Tensor

from sciinterp.sae.published import Found, fitting_k
from sciinterp.sae.weights import Weights

log = logging.getLogger(__name__)
# Goodfire writes k into the name of the file: sae-layer26-mixed-expansion_8-k_64.pt
_K_IN_NAME = re.compile(r"[-_]k_([1-9][0-9]{0,5})(?:[-_].*)?\.(?:pt|safetensors)")


def _k(found: Found, weights: Weights) -> int:
    """k of the configuration or of the name of the file, which must agree."""
    named = _K_IN_NAME.search(found.file.name)
    said = {found.config.whole("k", low=1)} if "k" in found.config else set()
    said |= {int(named[1])} if named else set()
    if len(said) != 1 or not 1 <= min(said) <= len(weights.b_enc):
        raise found.wrong(
            "k is not given once",
            expected=f"one k from 1 to {len(weights.b_enc)}",
            got=" and ".join(map(str, sorted(said))) or "none",
            do='Load it by its name (sciinterp saes lists them), or put {"k": ...} into config.json beside it.',
        )
    return said.pop()


def read_interprot(found: Found) -> Weights:
    """InterProt: each row standardised, ``b_pre`` taken off, the k largest kept; back the same way.

    ``z = (x - mean) / (std + 1e-5)``, ``f = topk(relu((z - b_pre) w_enc + b_enc))``,
    ``xhat = (f w_dec + b_pre) std + mean``.
    """
    encoder, b_enc, decoder, b_pre = found.arrays(
        {"w_enc": "dF", "b_enc": "F", "w_dec": "Fd", "b_pre": "d"}, drop=("stats_last_nonzero",)
    ).values()
    weights = Weights(encoder, b_enc, decoder, b_pre, input_norm="layer_norm")
    return replace(weights, k=_k(found, weights))


def read_tied(found: Found) -> Weights:
    """Goodfire's SAE of Evo 2: one matrix for both ways, nothing taken from the input.

    ``f = topk(relu(x W + b_enc))``, ``xhat = f W^T + b_dec``. The authors keep the ``k n`` largest codes of all ``n``
    tokens that are encoded together; here each token keeps k, which is theirs for one token at a time, so that codes
    do not depend on what else is in a batch.
    """
    matrix, b_enc, b_dec = found.arrays({"W": "dF", "b_enc": "F", "b_dec": "d"}).values()
    weights = Weights(matrix, b_enc, matrix.T.contiguous(), b_dec, centred=False)
    log.warning(
        "%s: the authors select k codes a token over a batch, here each token keeps k", found.file.name
    )
    return replace(weights, k=_k(found, weights))


def read_bionemo(found: Found) -> Weights:
    """BioNeMo's recipes (``sae/architectures``): top-k, or ReLU trained with an L1 penalty.

    With ``y`` the row, ``f = topk(relu((y - pre_bias) W_enc + latent_bias))`` and ``xhat = f W_dec + pre_bias``. Where
    ``normalize_input`` is true, TopK standardises each row and scales its reconstruction back; ReLU scales ``x -
    pre_bias`` to norm 1, and the reconstruction is that of the row as it is.
    """
    config = found.config
    if "router.weight" in found.held:
        raise found.wrong(
            "a mixture of experts is not one SAE", expected="TopKSAE or ReLUSAE", got="MoESAE (router.weight)"
        )
    spec = {"encoder.weight": "Fd", "latent_bias": "F", "decoder.weight": "dF", "pre_bias": "d"}
    encoder, b_enc, decoder, b_dec = found.arrays(spec, drop=("stats_last_nonzero",)).values()
    for key, size in (("input_dim", len(b_dec)), ("hidden_dim", len(b_enc))):
        if key in config and config.whole(key) != size:
            raise config.refused(key, f"{size}, as the arrays have it")
    if "normalize_input" not in config:
        raise found.wrong(
            "whether inputs are normalised is not said",
            expected="normalize_input in the checkpoint's model_config, or in config.json beside it",
            got="none",
        )
    normed, weights = config.flag("normalize_input", False), Weights(encoder.T, b_enc, decoder.T, b_dec)
    said = {config.whole(key, low=1) for key in ("top_k", "k") if key in config}
    if said or "stats_last_nonzero" in found.held:  # ReLU keeps no count of when a feature fired
        k = fitting_k(found.k(*said), weights, found)
        return replace(weights, k=k, input_norm="standardised" if normed else "none")
    return replace(weights, centred=not normed, input_norm="unit_norm" if normed else "none")


_NORMALISATIONS = ("l2", "max_l2", "l1", "max_l1", "identity")
# Parts of encoders that are more than a linear map of one row.
_DEEP = ("mlp_blocks", "attention_blocks", "resnet_blocks")
_LINEAR, _NORM = "encoder.final_block.0.", "encoder.final_block.1."
# A step of training takes directions this far off norm 1 at most, before they are normalised again.
_NEARLY_ONE = 0.05


def read_overcomplete(found: Found) -> Weights:
    """An SAE, TopKSAE, BatchTopKSAE, JumpSAE or their archetypal kin, in eval mode."""
    encoder_spec, drop = _encoder_spec(found)
    archetypal = "dictionary.W" in found.held
    spec = (
        {"dictionary.W": "Fn", "dictionary.C": "nd", "dictionary.Relax": "Fd"}
        if archetypal
        else {"dictionary._weights": "Fd"}
    )
    jump = {"thresholds": "F"} if "thresholds" in found.held else {}
    parts = found.arrays({**spec, **encoder_spec, **jump}, drop=("dictionary.multiplier", *drop))
    atoms = _archetypes(found, parts) if archetypal else _normalised(found, parts["dictionary._weights"])
    multiplier = found.scalar("dictionary.multiplier") or 0.0
    if abs(multiplier) > 50:
        raise found.wrong("a multiplier that cannot be", got=f"exp({multiplier:g})")
    atoms = atoms * exp(multiplier)
    encoder, bias = _encoder(parts, atoms)
    weights = Weights(encoder, bias, atoms, torch.zeros(atoms.shape[1]), centred=False)
    if jump:
        return replace(weights, threshold=_from(parts["thresholds"].exp()))
    return _selection(found, weights)


def _encoder_spec(found: Found) -> tuple[dict[str, str], tuple[str, ...]]:
    """The arrays of an encoder that is one linear map, by their names; and what is not read of it."""
    keys = set(found.held)
    deep = sorted(name for name in keys if any(part in name for part in _DEEP))
    if deep or (_NORM + "weight" in keys and _NORM + "running_mean" not in keys):
        raise found.wrong(
            "an encoder that is more than a linear map",
            expected="the encoders linear, mlp_bn_1, tied or untied",
            got=deep[0] if deep else f"a normalisation over features ({_NORM}weight)",
        )
    spec = {name: "F" for name in ("encoder.bias",) if name in keys}
    if _LINEAR + "weight" in keys:
        spec |= {_LINEAR + "weight": "Fd", _LINEAR + "bias": "F"}
    elif "encoder.weight" in keys or not any(name.startswith("encoder.tied_to.") for name in keys):
        spec["encoder.weight"] = "Fd"
    if _NORM + "running_mean" in keys:
        spec |= {_NORM + name: "F" for name in ("weight", "bias", "running_mean", "running_var")}
    # a tied encoder names the dictionary a second time
    drop = (*(name for name in keys if name.startswith("encoder.tied_to.")), _NORM + "num_batches_tracked")
    return spec, drop


def _encoder(parts: dict[str, Tensor], atoms: Tensor) -> tuple[Tensor, Tensor]:
    """The linear map and its bias; a batch normalisation, constant in eval mode, belongs to it."""
    weight = parts.get(_LINEAR + "weight", parts.get("encoder.weight", atoms))
    bias = parts.get(_LINEAR + "bias", parts.get("encoder.bias", torch.zeros(len(atoms))))
    if _NORM + "running_mean" in parts:
        gain, shift, mean, variance = (
            parts[_NORM + name] for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gain / (variance.clamp(min=0) + 1e-5).sqrt()
        weight, bias = weight * scale[:, None], (bias - mean) * scale + shift
    return weight.T, bias


def _normalised(found: Found, rows: Tensor) -> Tensor:
    """Directions as the package normalises them when it leaves training."""
    kind = found.config.choice("normalization", _NORMALISATIONS, "")
    length = rows.norm(dim=1, keepdim=True)
    if not kind:
        if float((length - 1).abs().max()) > _NEARLY_ONE:
            raise found.wrong(
                "how directions are normalised is not said",
                expected=f"normalization in config.json: {', '.join(_NORMALISATIONS)}",
                got=f"directions of norm {float(length.min()):.3g} to {float(length.max()):.3g}",
            )
        kind = "l2"
    if kind == "identity":
        return rows
    size = length if kind.endswith("l2") else rows.norm(p=1, dim=1, keepdim=True)
    return rows / size.max() if kind.startswith("max") else rows / (size + 1e-8)


def _archetypes(found: Found, parts: dict[str, Tensor]) -> Tensor:
    """``W C + R``, with rows of ``W`` that are means and rows of ``R`` no longer than ``delta``."""
    weight, relax = parts["dictionary.W"].relu(), parts["dictionary.Relax"]
    weight = weight / (weight.sum(1, keepdim=True) + 1e-8)
    delta = found.config.number("delta") if "delta" in found.config else 1.0
    length = relax.norm(dim=1, keepdim=True)
    if delta <= 0 or ("delta" not in found.config and float(length.max()) > 1 + _NEARLY_ONE):
        raise found.wrong(
            "how far archetypes may lie from their points is not said",
            expected="delta > 0 in config.json",
            got=f"{delta:g}, relaxations of norm {float(length.max()):.3g}",
        )
    return weight @ parts["dictionary.C"] + relax * (delta / length.clamp_min(1e-30)).clamp(max=1)


def _from(threshold: Tensor) -> Tensor:
    """The package keeps codes that equal the threshold, too; here those above it are kept."""
    return torch.nextafter(threshold, torch.full_like(threshold, -1.0))


def _selection(found: Found, weights: Weights) -> Weights:
    """What is kept of the rectified codes: the k largest, those above a threshold, or all."""
    config, n = found.config, len(weights.b_enc)
    said = [key for key in ("top_k", "k", "running_threshold", "activation") if key in config]
    if len(said) != 1:
        raise found.wrong(
            "these arrays are those of an SAE, a TopKSAE and a BatchTopKSAE",
            expected="one of top_k, running_threshold or activation in config.json beside it",
            got=" and ".join(said) or "none",
            do="overcomplete does not save them: write what the class was built with.",
        )
    if said[0] == "activation":
        config.choice("activation", ("relu",), "relu")
        return weights
    if said[0] == "running_threshold":
        threshold = config.number("running_threshold")
        if threshold < 0:
            raise config.refused("running_threshold", "a number of 0 or more")
        return replace(weights, threshold=_from(torch.full((n,), threshold)))
    k = config.whole(said[0], low=1)
    if k > n:
        raise config.refused(said[0], f"1 to {n}")
    return replace(weights, k=k)
