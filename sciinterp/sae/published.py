"""One function a format: arrays and configuration of a published SAE, read as its authors' class reads them.

Every function is given what was found (:class:`Found`) and answers with :class:`~sciinterp.sae.weights.Weights`.
Arrays are matched whole: one that lacks, is left over, has another shape or holds a NaN is named. Keys that say how the
SAE computes are read, and a value that is not understood is refused; where class and arrays allow two readings, none
is taken.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sciinterp.errors import FormatError
from sciinterp.sae.weights import Weights
from sciinterp.store.fields import Fields

log = logging.getLogger(__name__)
_NATIVE = {"W_enc": "dF", "b_enc": "F", "W_dec": "Fd", "b_dec": "d"}
_LINEAR = {"encoder.weight": "Fd", "encoder.bias": "F", "decoder.weight": "dF"}
_REMOVE = "If it does not change what the SAE computes, remove it from the file."
# What SAELens 6 writes into cfg.json; an older one wrote the settings of its training too.
_SAELENS_KEYS = (
    "architecture d_in d_sae dtype device apply_b_dec_to_input normalize_activations reshape_activations metadata k"
    " rescale_acts_by_decoder_norm sha256"
).split()
_TRAINED = ("batchtopk", "matryoshka_batchtopk")  # SAELens's names while training; it saves them as jumprelu
_ARCHITECTURES = ("standard", "topk", "jumprelu", "gated", *_TRAINED)
# The last two are written here alone, for SAEs that another package made.
_NORMS = (
    "none",
    "layer_norm",
    "constant_norm_rescale",
    "expected_average_only_in",
    "standardised",
    "unit_norm",
)


@dataclass(frozen=True, eq=False)
class Found:
    """What lies there: arrays by name, the configuration beside them, and the class it names."""

    held: Mapping[str, np.ndarray]
    config: Fields
    file: Path
    stated: str = ""
    facts: Mapping[str, str] | None = None

    def wrong(self, what: str, *, expected: str = "", got: str = "", do: str = "") -> FormatError:
        """The error that says what is wrong with this file."""
        return FormatError(what, file=str(self.file), expected=expected, got=got, do=do)

    def arrays(self, spec: Mapping[str, str], *, drop: tuple[str, ...] = ()) -> dict[str, Tensor]:
        """The arrays of ``spec`` (name to the letters of its sides) as float32, all of them and no other."""
        sides: dict[str, int] = {}
        lost = [name for name in spec if name not in self.held]
        left = sorted(set(self.held) - set(spec) - set(drop))
        if lost:
            raise self.wrong(
                "the SAE lacks an array",
                expected=", ".join(spec),
                got=f"no {', '.join(lost)}; it has {_few(sorted(self.held))}",
            )
        if left:
            raise self.wrong("an array that is not understood", expected=", ".join(spec), got=_few(left))
        out = {}
        for name, letters in spec.items():
            array = self.held[name]
            shape = [sides.setdefault(letter, n) for letter, n in zip(letters, array.shape)]
            if list(array.shape) != shape or len(letters) != array.ndim or 0 in shape:
                known = ", ".join(str(sides.get(letter, letter)) for letter in letters)
                raise self.wrong(
                    f"{name} has a shape that does not fit", expected=f"[{known}]", got=str(list(array.shape))
                )
            if array.dtype.kind != "f":
                raise self.wrong(f"{name} holds no weights", expected="floating point", got=str(array.dtype))
            if not np.isfinite(array).all():
                raise self.wrong(f"{name} holds a value that is not finite")
            out[name] = torch.from_numpy(np.array(array, np.float32))
        for key, letter in (
            *(("d_in", "d"), ("activation_dim", "d"), ("d_model", "d")),
            *(("d_sae", "F"), ("dict_size", "F"), ("codebook_dim", "F")),
        ):
            if key in self.config and letter in sides and self.config.whole(key) != sides[letter]:
                raise self.config.refused(key, f"{sides[letter]}, as the arrays have it")
        return out

    def scalar(self, name: str) -> float | None:
        """The one number of an array; None where it is not there."""
        array = self.held.get(name)
        if array is None:
            return None
        if array.size != 1 or array.dtype.kind not in "fiub" or not np.isfinite(array).all():
            got = f"{array.dtype} {list(array.shape)}" if array.size != 1 else str(array.ravel()[0])
            raise self.wrong(f"{name} is not one finite number", got=got)
        return float(array.ravel()[0])

    def k(self, *said: int | None) -> int:
        """The number of active features, which array and configuration must agree on."""
        held = self.scalar("k")
        if held is not None and held != int(held):
            raise self.wrong("k is not a whole number", got=f"{held:g}")
        values = {int(k) for k in (held, *said) if k is not None}
        if len(values) != 1 or min(values) < 1:
            got = " and ".join(map(str, sorted(values))) or "none"
            raise self.wrong("k is not given once", expected="one k >= 1", got=got)
        return values.pop()


def _few(names: list[str]) -> str:
    return ", ".join(name[:40] for name in names[:4]) + (" ..." if len(names) > 4 else "")


def _gated(
    encoder: Tensor, gate: Tensor, magnitude: Tensor, r: Tensor, decoder: Tensor, b_dec: Tensor
) -> Weights:
    """``f = 1[p + gate > 0] relu(exp(r) p + magnitude)`` with ``p = (x - b_dec) W_enc``, as one threshold a feature."""
    scale = r.exp()
    threshold = (magnitude - scale * gate).clamp(min=0)
    return Weights(encoder * scale, magnitude, decoder, b_dec, threshold=threshold)


def _native(parts: Mapping[str, Tensor]) -> Weights:
    encoder, b_enc, decoder, b_dec = (parts[name] for name in _NATIVE)
    return Weights(encoder, b_enc, decoder, b_dec, threshold=parts.get("threshold"))


def _unit_directions(weights: Weights) -> Weights:
    """Codes that are pre-activations times ``|W_dec_j|``: the norm moves into the encoder."""
    norm = weights.W_dec.norm(dim=1)
    return replace(
        weights,
        W_enc=weights.W_enc * norm,
        b_enc=weights.b_enc * norm,
        W_dec=weights.W_dec / norm.clamp_min(1e-12)[:, None],
    )


def read_saelens(found: Found) -> Weights:
    """SAELens, before and since version 6 (``sae_lens/saes/``)."""
    config, held = found.config, dict(found.held)
    new = any("sae_lens_version" in part and _major(part) >= 6 for part in (config, config.inner("metadata")))
    kind, k = _saelens_kind(config, new)
    if new:
        config.only(_SAELENS_KEYS, _REMOVE)
    factor = next((held.pop(n) for n in ("scaling_factor", "finetuning_scaling_factor") if n in held), None)
    found = replace(found, held=held)
    extra = {"threshold": "F"} if kind == "jumprelu" else {}
    if kind == "gated":
        parts = found.arrays(
            {"W_enc": "dF", "b_gate": "F", "b_mag": "F", "r_mag": "F", "W_dec": "Fd", "b_dec": "d"}
        )
        weights = _gated(*(parts[n] for n in ("W_enc", "b_gate", "b_mag", "r_mag", "W_dec", "b_dec")))
    else:
        parts = found.arrays({**_NATIVE, **extra}, drop=("topk_threshold",) if kind in _TRAINED else ())
        weights = _native(parts)
    if kind == "topk":
        weights = replace(weights, k=fitting_k(k, weights, found))
    if kind in _TRAINED:
        weights = replace(weights, threshold=_one_threshold(found, "topk_threshold", weights))
    if config.flag("rescale_acts_by_decoder_norm", False):
        if kind not in ("topk", *_TRAINED):
            raise config.refused("rescale_acts_by_decoder_norm", f"false for {kind}")
        weights = _unit_directions(weights)
    if factor is not None or config.flag("finetuning_scaling_factor", False):
        weights = _finetuned(weights, factor, found)
    weights = replace(weights, centred=config.flag("apply_b_dec_to_input", True))
    config.choice(
        "reshape_activations", ("none", "hook_z"), "none"
    )  # heads side by side: the width of the site
    return _saelens_norm(weights, found)


def _major(config: Fields) -> int:
    head = config.text("sae_lens_version").split(".")[0]
    return int(head) if head.isascii() and head.isdigit() and len(head) < 6 else 0


def _saelens_kind(config: Fields, new: bool) -> tuple[str, int | None]:
    """Architecture and k. Before version 6 a top-k SAE could be a "standard" one with another activation."""
    do = "Transcoders and other architectures are not SAEs of one site."
    kind = config.choice("architecture", _ARCHITECTURES, "standard", do)
    k = config.whole("k", None, low=1)
    if new:
        return kind, k
    for key in ("activation_fn", "activation_fn_str"):
        said = config.choice(key, ("relu", "topk"), "relu")
        if said == "topk":
            arguments = config.inner("activation_fn_kwargs")
            arguments.only(["k"], _REMOVE)
            inner = arguments.whole("k", None, low=1)
            if kind not in ("standard", "topk") or None is inner is k or (inner and k and inner != k):
                raise config.refused(key, f"one k, and an architecture that is standard or topk, not {kind}")
            kind, k = "topk", k or inner
        elif key in config and kind == "topk" and k is None:
            raise config.refused(key, "topk with its k")
    return kind, k


def _saelens_norm(weights: Weights, found: Found) -> Weights:
    config = found.config
    norm = config.values.get("normalize_activations")
    if isinstance(norm, bool) or norm is None:
        norm = "expected_average_only_in" if norm else "none"
    else:
        norm = config.choice(
            "normalize_activations", _NORMS, "none", "Fold the scaling into the weights first."
        )
    if norm != "expected_average_only_in":
        return replace(weights, input_norm=norm)
    scaler = found.file.with_name("activation_scaler.json")
    if not scaler.is_file():
        raise config.refused(
            "normalize_activations",
            "none, or activation_scaler.json with the factor that is not in the weights yet",
            "Fold it in with SAELens (fold_activation_norm_scaling_factor) and save again.",
        )
    factor = Fields.read(scaler, inside=scaler.parent).number("scaling_factor")
    if not 1e-30 < factor < 1e30:
        raise FormatError("a scaling factor that cannot be", file=str(scaler), got=f"{factor:g}")
    return replace(
        weights, W_enc=weights.W_enc * factor, W_dec=weights.W_dec / factor, b_dec=weights.b_dec / factor
    )


def _finetuned(weights: Weights, factor: np.ndarray | None, found: Found) -> Weights:
    """SAELens before version 6 could scale codes before they are decoded; the factor belongs to the directions."""
    if factor is None:
        raise found.config.refused("finetuning_scaling_factor", "false, or the array it speaks of")
    spec = {"finetuning_scaling_factor": "F"}
    scale = replace(found, held={"finetuning_scaling_factor": factor}).arrays(spec)[
        "finetuning_scaling_factor"
    ]
    if len(scale) != len(weights.b_enc):
        raise found.wrong("scaling_factor has a shape that does not fit", got=str(list(scale.shape)))
    if (scale == 1).all():
        return weights
    if not found.config.flag("finetuning_scaling_factor", False):
        raise found.config.refused("finetuning_scaling_factor", "true, as there is a scaling_factor")
    return replace(weights, W_dec=weights.W_dec * scale[:, None])


def fitting_k(k: int | None, weights: Weights, found: Found) -> int:
    """The number of active features, which the dictionary must have."""
    k = found.k(k) if "k" in found.held else k
    if k is None or not 1 <= k <= len(weights.b_enc):
        raise found.wrong(
            "k does not fit the dictionary",
            expected=f"1 to {len(weights.b_enc)}",
            got=str(k) if k is not None else "none",
        )
    return k


def _one_threshold(found: Found, name: str, weights: Weights) -> Tensor:
    value = found.scalar(name)
    if value is None or value < 0:
        raise found.wrong(
            "the threshold of a BatchTopK SAE was never set",
            expected=f"{name} >= 0",
            got="none" if value is None else f"{value:g}",
            do="Without it codes would depend on the batch. Train it for longer, or set its threshold.",
        )
    return torch.full_like(weights.b_enc, value)


def read_sparsify(found: Found) -> Weights:
    """EleutherAI's sparsify (``sparse_coder.py``): top-k on the rectified product."""
    config = found.config
    if "W_skip" in found.held or config.flag("transcode", False) or config.flag("skip_connection", False):
        raise found.wrong(
            "a transcoder is not an SAE", expected="an SAE", got="transcode, skip_connection or W_skip"
        )
    config.choice("activation", ("topk",), "topk", "Only top-k is read.")
    if config.flag("signed", False):
        raise config.refused("signed", "false: codes are positive here")
    # W_dec is [F, d_in] as it stands, unlike the encoder's nn.Linear weight; reading it transposed is a known slip.
    spec = {"encoder.weight": "Fd", "encoder.bias": "F", "W_dec": "Fd", "b_dec": "d"}
    encoder, bias, decoder, b_dec = found.arrays(spec).values()
    latents = config.whole("num_latents", 0)
    if latents and latents != len(bias):
        raise config.refused("num_latents", f"{len(bias)}, as the arrays have it")
    weights = Weights(encoder.T, bias, decoder, b_dec)
    return replace(weights, k=fitting_k(config.whole("k", low=1), weights, found))


# Class of dictionary_learning or trainer of InterPLM, to what it is.
_CLASSES = {
    "AutoEncoder": "relu", "AutoEncoderNew": "relu", "GatedAutoEncoder": "gated", "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "batchtopk", "JumpReluAutoEncoder": "jumprelu", "MatryoshkaBatchTopKSAE": "matryoshka",
    "ReLUTrainer": "relu", "TopKTrainer": "topk", "BatchTopKTrainer": "batchtopk", "JumpReLUTrainer": "jumprelu",
}  # fmt: skip


def read_dictionary_learning(found: Found) -> Weights:
    """dictionary_learning (``dictionary.py`` and ``trainers/``), whatever trainer wrote it."""
    config, keys, stated = found.config, set(found.held), found.stated
    if stated and stated not in _CLASSES:
        raise found.wrong("a class that is not understood", expected=", ".join(_CLASSES), got=stated[:60])
    kind = _CLASSES.get(stated, "")
    if "gate_bias" in keys or "r_mag" in keys:
        is_a = "gated"
        spec = {
            "encoder.weight": "Fd",
            "gate_bias": "F",
            "mag_bias": "F",
            "r_mag": "F",
            "decoder.weight": "dF",
        }
        encoder, gate, magnitude, r, decoder, b_dec = found.arrays({**spec, "decoder_bias": "d"}).values()
        weights = _gated(encoder.T, gate, magnitude, r, decoder.T, b_dec)
    elif "W_enc" in keys and "threshold" in keys:
        # JumpReLU does not take b_dec from the input, Matryoshka's BatchTopK does.
        is_a = "matryoshka" if keys & {"group_sizes", "k"} else "jumprelu"
        each = {"threshold": "F"} if is_a == "jumprelu" else {}
        drop = ("k", "threshold", "group_sizes") if is_a == "matryoshka" else ()
        weights = replace(_native(found.arrays({**_NATIVE, **each}, drop=drop)), centred=is_a == "matryoshka")
        if not each:
            weights = replace(weights, threshold=_one_threshold(found, "threshold", weights))
    elif (
        "decoder.bias" in keys
    ):  # nothing is taken from the input; InterPLM's JumpReLU has thresholds beside it
        is_a = "jumprelu" if "threshold" in keys else "relu"
        each = {"threshold": "F"} if is_a == "jumprelu" else {}
        encoder, bias, decoder, b_dec, *rest = found.arrays({**_LINEAR, "decoder.bias": "d", **each}).values()
        weights = Weights(
            encoder.T, bias, decoder.T, b_dec, threshold=rest[0] if rest else None, centred=False
        )
    else:
        centre = "bias" if "bias" in keys else "b_dec"
        drop = ("k", "threshold") if centre == "b_dec" else ()
        encoder, bias, decoder, b_dec = found.arrays({**_LINEAR, centre: "d"}, drop=drop).values()
        weights = Weights(encoder.T, bias, decoder.T, b_dec)
        is_a = _top_or_batch(found, kind) if centre == "b_dec" else "relu"
        if is_a == "topk":
            # k is lowered while it trains; what the class uses is the array's.
            target = None if "k_anneal_steps" in config else config.whole("k", None, low=1)
            weights = replace(weights, k=fitting_k(found.k(target), weights, found))
        elif is_a == "batchtopk":
            weights = replace(weights, threshold=_one_threshold(found, "threshold", weights))
    if kind and kind != is_a:
        raise found.wrong(
            "class and arrays do not belong together",
            expected=f"the arrays of {stated}",
            got=_few(sorted(keys)),
        )
    return weights


def _top_or_batch(found: Found, kind: str) -> str:
    """TopK and BatchTopK hold the same arrays; TopK selects k at inference even where a threshold was trained."""
    if kind in ("topk", "batchtopk"):
        return kind
    if not kind and "threshold" not in found.held:
        return "topk"
    raise found.wrong(
        "these arrays are those of a TopK and of a BatchTopK SAE",
        expected='{"trainer": {"dict_class": "AutoEncoderTopK" or "BatchTopKSAE"}} in config.json',
        got=found.stated or "no class named",
        do="Put the config.json of its training beside it.",
    )


def read_interplm(found: Found) -> Weights:
    """InterPLM: dictionary_learning's classes with its own names, a scale a feature, and inputs of norm sqrt(d)."""
    held = dict(found.held)
    rescale = held.pop("activation_rescale_factor", held.pop("rescale_factor", None))
    normed = replace(found, held=held).scalar("normalize_to_sqrt_d")
    held.pop("normalize_to_sqrt_d", None)
    weights = read_dictionary_learning(replace(found, held=held))
    if rescale is not None and (rescale.dtype.kind != "f" or rescale.shape != tuple(weights.b_enc.shape)):
        raise found.wrong(
            "activation_rescale_factor has a shape that does not fit",
            expected=str(list(weights.b_enc.shape)),
            got=f"{rescale.dtype} {list(rescale.shape)}",
        )
    return replace(weights, input_norm="constant_norm_rescale") if normed else weights


def read_arrays(found: Found) -> Weights:
    """``W_enc``, ``b_enc``, ``W_dec`` and ``b_dec`` by SAELens's names, without its folder; turned where their shapes say so.

    What the configuration says is read as SAELens's. Without one it is that package's standard, ReLU with ``b_dec`` taken from
    the input, and a line says so: no shape tells it.
    """
    found, values = _turned(found), dict(found.config.values)
    if "k" in found.held or "k" in found.config:
        values = {"architecture": "topk", **values, "k": found.k(found.config.whole("k", None, low=1))}
    held = {name: array for name, array in found.held.items() if name != "k"}
    weights = read_saelens(replace(found, held=held, config=Fields(values, found.config.file or found.file)))
    if not values:
        log.warning(
            "nothing beside %s says how it computes: read as ReLU, with b_dec taken from the input; a config.json beside it "
            'says otherwise, {"k": 32} or {"apply_b_dec_to_input": false}',
            found.file,
        )
    return weights


def _turned(found: Found) -> Found:
    """With encoder [d_in, F] and decoder [F, d_in], by the length of ``b_dec``.

    Raises
    ------
    FormatError
        An array is square, so that it reads both ways.
    """
    d_in = found.held["b_dec"].size if "b_dec" in found.held else 0
    sides = {name: found.held[name].shape for name in ("W_enc", "W_dec") if name in found.held}
    if any(len(shape) == 2 and shape[0] == shape[1] for shape in sides.values()):
        raise found.wrong("a square array reads both ways", got=str(sides))
    turned = {
        name: found.held[name].T
        for name, shape in sides.items()
        if len(shape) == 2 and d_in in shape and (shape[0] == d_in) != (name == "W_enc")
    }
    return replace(found, held={**found.held, **turned})


def read_esmc(found: Found) -> Weights:
    """SAEs of ESM-C: no encoder bias, inputs standardised row by row, top-k with the k of the configuration."""
    if found.config.flag("use_residual_update_instead_of_states", False):
        raise found.config.refused(
            "use_residual_update_instead_of_states", "false: what a block adds is no site here"
        )
    found = _turned(found)
    bias = {"b_enc": "F"} if "b_enc" in found.held else {}
    extra = {name: "F" for name in ("idf", "max") if name in found.held}
    spec = {"W_enc": "dF", "W_dec": "Fd", "b_dec": "d", **bias, **extra}
    parts = found.arrays(spec)
    weights = Weights(
        parts["W_enc"],
        parts.get("b_enc", torch.zeros(parts["W_enc"].shape[1])),
        parts["W_dec"],
        parts["b_dec"],
        input_norm="layer_norm",
    )
    said = {found.config.whole(key, low=1) for key in ("k", "topk", "top_k") if key in found.config}
    if len(said) != 1:
        raise found.wrong(
            "k is not given once", expected="one k in config.json beside it", got=str(sorted(said))
        )
    return replace(weights, k=fitting_k(said.pop(), weights, found))


def kept_facts(found: Found) -> dict[str, object]:
    """What else the files say: lines of a YAML, scales of the features, names of model and site."""
    facts: dict[str, object] = dict(found.facts or {})
    for name in ("idf", "max", "activation_rescale_factor", "rescale_factor"):
        array = found.held.get(name)
        if array is not None and array.ndim == 1 and not (array == 1).all():
            facts["rescale_factor" if "rescale" in name else name] = array.astype(float).tolist()
    return facts
