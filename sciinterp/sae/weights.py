"""A sparse autoencoder as plain arrays: what an architecture ends in, a foreign file is read into, an export writes.

Codes are ``f = act((x - b_dec) W_enc + b_enc)`` and ``xhat = f W_dec + b_dec``. At inference an SAE keeps the
``k`` largest positive pre-activations of a row, or those above one threshold per feature (ReLU: zero).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

CONFIG, ARRAYS, METRICS = "cfg.json", "sae_weights.safetensors", "metrics.json"


@dataclass(frozen=True, eq=False)
class Weights:
    """Arrays of an SAE in the data's own units, with ``k`` or ``threshold``."""

    W_enc: Tensor  # [d_in, n_features]
    b_enc: Tensor  # [n_features]
    W_dec: Tensor  # [n_features, d_in]
    b_dec: Tensor  # [d_in]
    k: int | None = None  # of a top-k SAE; else ``threshold`` is there
    threshold: Tensor | None = None  # [n_features]
    centred: bool = True  # whether ``b_dec`` is taken from the input before encoding
    # {"none", "layer_norm", "constant_norm_rescale", "standardised", "unit_norm"}: what is done to each row
    # before encoding, and undone after decoding (but "unit_norm", which includes ``b_dec``).
    input_norm: str = "none"

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encoder, its bias, decoder, its bias."""
        return self.W_enc, self.b_enc, self.W_dec, self.b_dec

    @property
    def named(self) -> dict[str, Tensor]:
        """The arrays under SAELens's names, on the CPU."""
        held = {"W_enc": self.W_enc, "b_enc": self.b_enc, "W_dec": self.W_dec, "b_dec": self.b_dec}
        if self.threshold is not None:
            held["threshold"] = self.threshold
        return {name: tensor.detach().cpu().contiguous() for name, tensor in held.items()}
