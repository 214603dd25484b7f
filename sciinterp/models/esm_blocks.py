"""The blocks of fair-esm's sequence models, computed faster and to the same numbers.

fair-esm keeps every attention map, averages it over heads for nobody, and evaluates the GELU in five steps.
Here attention is one fused kernel, rotation two multiplications, the GELU one; half of the time of a small
model. The submodules are called as before, so every hook sees what it saw. Below float32 only the matrix
products are of lower precision: a softmax over short rows gains nothing there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from esm.modules import TransformerLayer
    from esm.multihead_attention import MultiheadAttention


@contextmanager
def fast_blocks(module: nn.Module) -> Iterator[None]:
    """While open, the blocks of an ESM-1b, ESM-1v or ESM-2 take the short way; others are left alone."""
    layers = [layer for layer in module.get_submodule("layers").children() if _plain(layer)]
    try:
        for layer in layers:
            layer.forward = partial(_block, layer)
            layer.get_submodule("self_attn").forward = partial(_attention, layer.get_submodule("self_attn"))
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)
            layer.get_submodule("self_attn").__dict__.pop("forward", None)


def _plain(layer: nn.Module) -> bool:
    """Is it a block whose equations are those below, in evaluation?"""
    attention = getattr(layer, "self_attn", layer)
    parts = ("q_proj", "k_proj", "v_proj", "out_proj", "rot_emb", "bias_k", "add_zero_attn")
    names = ("self_attn_layer_norm", "final_layer_norm", "fc1", "fc2")
    return (
        all(hasattr(attention, part) for part in parts)
        and all(hasattr(layer, name) for name in names)
        and attention.bias_k is None
        and not attention.add_zero_attn
    )


def _block(
    layer: TransformerLayer,
    x: Float[Tensor, "T B D"],
    self_attn_mask: Tensor | None = None,
    self_attn_padding_mask: Tensor | None = None,
    need_head_weights: bool = False,
) -> tuple[Tensor, None]:
    if self_attn_mask is not None or need_head_weights:
        return type(layer).forward(layer, x, self_attn_mask, self_attn_padding_mask, need_head_weights)
    y = layer.self_attn_layer_norm(x)
    y, _ = layer.self_attn(y, y, y, key_padding_mask=self_attn_padding_mask, need_weights=False)
    x = x + y
    return x + layer.fc2(F.gelu(layer.fc1(layer.final_layer_norm(x)))), None


def _attention(
    own: MultiheadAttention,
    query: Float[Tensor, "T B D"],
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    **more: object,
) -> tuple[Tensor, Tensor | None]:
    if need_weights or more:
        return type(own).forward(
            own, query, key, value, key_padding_mask=key_padding_mask, need_weights=need_weights, **more
        )
    n, size, _ = query.shape
    # One cast for three products.
    if torch.is_autocast_enabled(query.device.type):
        query = query.to(torch.get_autocast_dtype(query.device.type))
    q, k, v = (
        f(query).view(n, size, own.num_heads, -1).permute(1, 2, 0, 3).float()
        for f in (own.q_proj, own.k_proj, own.v_proj)
    )
    if own.rot_emb:
        cos, sin = own.rot_emb._update_cos_sin_tables(k, seq_dimension=-2)
        q, k = _rotated(q, cos, sin), _rotated(k, cos, sin)
    mask = None if key_padding_mask is None else ~key_padding_mask.bool()[:, None, None, :]
    with torch.autocast(query.device.type, enabled=False):
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return own.out_proj(x.permute(2, 0, 1, 3).reshape(n, size, -1)), None


def _rotated(
    x: Float[Tensor, "B H T d"], cos: Float[Tensor, "1 T d"], sin: Float[Tensor, "1 T d"]
) -> Float[Tensor, "B H T d"]:
    """Each pair (x_i, x_{i + d/2}) turned by the angle of its place (Su and others 2021)."""
    half = x.shape[-1] // 2
    out, s = x * cos, sin[..., :half]
    out[..., :half].addcmul_(x[..., half:], s, value=-1)
    out[..., half:].addcmul_(x[..., :half], s)
    return out
