"""Published layouts of biology: InterProt's, Goodfire's and those of BioNeMo's recipes."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

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
