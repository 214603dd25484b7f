"""Where an activation is read or written, and which of its rows are real: `Site` and `Batch`.

A model keeps an activation in some layout of its own: batch first or second, channels first or last, several
token axes, packed without padding, inside a tuple, split in a (hidden, residual) pair. A `Site` names that
layout once; `gather` turns the model's tensor into rows, one for each real token, samples one after the
other, and `scatter` puts rows back through the inverse layout. Both only index and permute, so an identity
edit is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sciinterp.errors import ShapeError

# The order in which axes are laid before rows are read: sample, row and column of an alignment, token,
# channel.
CANONICAL_AXES = "BRCTD"
# Start, end and strand of a token that stands for no position.
NO_SPAN = torch.tensor([-1, -1, 0])


@dataclass(frozen=True)
class Site:
    """A named place in a model where an activation is read or written.

    Parameters
    ----------
    name : str
        The name users type: ``embedding`` (what enters block 0), ``layers.i`` (output of block i, from 0),
        ...
    path : str
        Dotted path of the module inside the adapter's module; empty for the module itself.
    width : int
        Channels of one row.
    io : {"output", "input"}
        Read what the module returns, or what it is given.
    select : tuple of int or str, optional
        Which item of a nested tuple or mapping; for an input, an int counts positional arguments and a str
        names a keyword. None takes the value itself, or its first item when it is a tuple.
    axes : str
        Order of the tensor's axes: ``B`` sample, ``T`` token, ``D`` channel, ``R`` and ``C`` rows and
        columns of an alignment; no ``B`` for models that run one sample; ``PD`` for packed tokens or the
        nodes of graphs.
    combine : tuple of selections
        Items to be summed with the selected one, as in (hidden, residual) pairs. Edits go to the selected
        item.
    channels : (int, int), optional
        Half-open slice of the channel axis.
    call : int
        Which call of the module within one forward pass, for modules that share weights between layers.
    stride, offset : int
        Token t of this site covers the batch's tokens ``offset + t * stride`` up to ``stride`` further ones.
    n_tokens : int, optional
        Tokens of the site, for models whose output is cropped; by default as many as the batch has room for.
    kind : str
        ``embed``, ``resid_post``, ``attn_out``, ``mlp_out``, ``norm``, ``state`` ...
    norm : {"none", "pre", "post"}
        Before or after the model's last normalisation; ``none`` where the model has none after its blocks.
    depth : float
        0 for the embedding, 1 for the last block.
    """

    name: str
    path: str
    width: int
    io: str = "output"
    select: tuple[int | str, ...] | None = None
    axes: str = "BTD"
    combine: tuple[tuple[int | str, ...], ...] = ()
    channels: tuple[int, int] | None = None
    call: int = 0
    stride: int = 1
    offset: int = 0
    n_tokens: int | None = None
    kind: str = "resid_post"
    norm: str = "none"
    depth: float = 0.0

    @property
    def is_block(self) -> bool:
        """Whether this is the output of a block: ``layers.i``."""
        return self.name.startswith("layers.") and self.name[7:].isdigit()


def block_sites(
    path: str, n: int, width: int, parts: Mapping[str, Mapping[str, Any]] | None = None, **common: Any
) -> Iterator[Site]:
    """The sites of a plain stack: ``layers.i`` for each block, after those of its parts.

    Parameters
    ----------
    path : str
        Of the list of blocks.
    n, width : int
    parts : mapping of kind to fields of `Site`, optional
        ``path`` is inside the block; the site is named ``layers.i.KIND``.
    common
        Fields that all of them share.

    Examples
    --------
    >>> [s.name for s in block_sites("blocks", 2, 8, {"mlp_out": {"path": "fc2"}})]
    ['layers.0.mlp_out', 'layers.0', 'layers.1.mlp_out', 'layers.1']
    """
    for i in range(n):
        here, shared = f"{path}.{i}", {**common, "depth": (i + 1) / n}
        for kind, fields in (parts or {}).items():
            own = {**shared, **fields, "path": f"{here}.{fields['path']}"}
            yield Site(f"layers.{i}.{kind}", width=width, kind=kind, **own)
        yield Site(f"layers.{i}", here, width, **shared)


def stack_sites(
    path: str, n: int, width: int, parts: Mapping[str, Mapping[str, Any]] | None = None, **common: Any
) -> Iterator[Site]:
    """The sites of :func:`block_sites` after ``embedding``: what enters the first block."""
    yield Site("embedding", f"{path}.0", width, io="input", kind="embed", **common)
    yield from block_sites(path, n, width, parts, **common)


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples as a model takes them.

    Parameters
    ----------
    inputs : mapping of str to Tensor (or to what the model takes)
        What the model is called with.
    mask : Bool[B, T]
        The positive list of real units: False for padding, for [CLS] and for every other token that stands
        for no position.
    spans : Int[B, T, 3]
        Start and end of the positions a token stands for, half-open, and its strand or entity; -1, -1, 0
        where the mask is False.
    lengths : Int[B]
        Positions of each sample.
    present : Bool[B, T], optional
        Tokens the model sees in a packed layout (real and special ones); by default the real ones.
    """

    inputs: Mapping[str, Any]
    mask: Bool[Tensor, "B T"]
    spans: Int[Tensor, "B T 3"]
    lengths: Int[Tensor, " B"]
    present: Bool[Tensor, "B T"] | None = field(default=None)

    def __len__(self) -> int:
        return int(self.lengths.shape[0])

    def to(self, device: str | torch.device) -> Batch:
        """Return the batch with its inputs on a device; mask and spans stay where numpy can read them."""
        moved = {
            k: v.to(device) if isinstance(v, Tensor) or hasattr(v, "to") else v
            for k, v in self.inputs.items()
        }
        return replace(self, inputs=moved)


class Targets(NamedTuple):
    """What the scores at each token are about, int [B, T] (0 where the mask is False), and which are about a real token."""

    ids: Int[Tensor, "B T"]
    mask: Bool[Tensor, "B T"]


def own_tokens(batch: Batch, name: str = "input_ids", *, first: int = 0) -> Targets:
    """Scores about the token itself; `first` is the number of the vocabulary's first word."""
    ids = batch.inputs[name].cpu().reshape(batch.mask.shape).long() - first
    return Targets(torch.where(batch.mask, ids, 0), batch.mask)


def next_tokens(batch: Batch, name: str = "input_ids") -> Targets:
    """Scores about the token that follows."""
    ids, mask = own_tokens(batch, name)
    last = torch.zeros_like(mask[:, :1])
    mask = torch.cat([mask[:, 1:], last], 1)
    return Targets(torch.where(mask, ids.roll(-1, 1), 0), mask)


def hidden_tokens(batch: Batch, where: Bool[Tensor, "B T"], token: int, name: str = "input_ids") -> Batch:
    """The batch with a token that hides in place of those where True."""
    ids = batch.inputs[name]
    hidden = ids.masked_fill(where.to(ids.device).reshape(ids.shape), token)
    return replace(batch, inputs={**batch.inputs, name: hidden})


def unit_spans(
    mask: Bool[Tensor, "B T"],
    start: Int[Tensor, "B T"] | None = None,
    strand: Int[Tensor, "B T"] | None = None,
) -> Int[Tensor, "B T 3"]:
    """Spans of tokens that stand for one position each: the next of their sample, or `start`."""
    start = mask.cumsum(1) - 1 if start is None else start
    strand = torch.zeros_like(start) if strand is None else strand
    return torch.where(mask[..., None], torch.stack([start, start + 1, strand], -1), NO_SPAN)


def scored_spans(batch: Batch, about: Bool[Tensor, "B T"]) -> Int[Tensor, "n 3"]:
    """Sample, first position and end of what each score is about, in the order of the scores.

    Scores of a sample are about its last tokens: of themselves, or, where a model reads from left to right, of those
    that follow.
    """
    parts = []
    for row in range(len(batch)):
        own, n = batch.spans[row][batch.mask[row]][:, :2].long(), int(about[row].sum())
        parts.append(torch.cat([torch.full((n, 1), row), own[len(own) - n :]], 1))
    return torch.cat(parts)


def site_tokens(site: Site, batch: Batch) -> tuple[Bool[Tensor, "B n"], Int[Tensor, "B n 3"]]:
    """Mask and spans of the tokens a site has for every sample of a batch.

    A token of a site that covers several of the batch's tokens is real when it covers a real one, and its
    span runs from the first real position it covers to the last.
    """
    mask, spans = batch.mask, batch.spans
    width = mask.shape[1]
    n = (width - site.offset) // site.stride if site.n_tokens is None else site.n_tokens
    if site.stride == 1 and site.offset == 0 and n == width:
        return mask, spans
    if n < 1 or site.offset < 0 or site.offset + site.stride * (n - 1) >= width:
        raise ShapeError(
            "the site lies outside the batch", where=f"site {site.name!r}", got=f"{width} tokens"
        )
    index = torch.arange(width).expand_as(mask)
    following = torch.where(mask, index, width).flip(1).cummin(1).values.flip(1)
    previous = torch.where(mask, index, -1).cummax(1).values
    start = site.offset + site.stride * torch.arange(n)
    stop = start + site.stride
    first = following[:, start]
    last = previous[:, (stop - 1).clamp(max=width - 1)]
    real = (first < stop) & (first < width)
    lo = spans.gather(1, first.clamp(max=width - 1)[..., None].expand(-1, -1, 3))
    hi = spans.gather(1, last.clamp(min=0)[..., None].expand(-1, -1, 3))
    joined = torch.stack([lo[..., 0], hi[..., 1], lo[..., 2]], -1)
    return real, torch.where(real[..., None], joined, NO_SPAN.to(spans.dtype))


def gather(site: Site, value: object, batch: Batch) -> tuple[Float[Tensor, "n d"], Bool[Tensor, "B T"]]:
    """Rows of a site, one per real token, samples in order; and the mask that says which tokens they are."""
    tensor = _padded(site, select(value, site.select), batch)
    for extra in site.combine:
        tensor = tensor + _padded(site, select(value, extra), batch)
    view, mask, flat = _view(site, tensor, batch)
    rows = view[mask.to(view.device)]
    if rows.shape[1] != site.width:
        raise ShapeError(
            "the activation has another width",
            where=f"site {site.name!r}",
            expected=str(site.width),
            got=str(rows.shape[1]),
        )
    return rows, flat


def scatter(site: Site, value: object, batch: Batch, rows: Float[Tensor, "n d"]) -> object:
    """Return the value with the rows of its real tokens replaced, everything else as it was."""
    tensor = _padded(site, select(value, site.select), batch)
    if site.combine:
        old, _ = gather(site, value, batch)
        view, mask, _ = _view(site, tensor, batch)
        rows = view[mask.to(view.device)] + (rows - old)
    out = _copied(tensor)
    view, mask, _ = _view(site, out, batch)
    view[mask.to(view.device)] = rows.to(out.dtype)
    return put(value, site.select, out)


def _copied(tensor: Tensor) -> Tensor:
    """A copy with the strides of the original, be it a part of a larger tensor: other strides may take kernels whose
    last bits differ (Borzoi's crop before a convolution).
    """
    if tensor.is_contiguous() or 0 in tensor.stride():
        return tensor.clone()
    return torch.empty_strided(
        tensor.size(), tensor.stride(), dtype=tensor.dtype, device=tensor.device
    ).copy_(tensor)


def select(value: Any, path: tuple[int | str, ...] | None) -> Any:
    """One item of a nested tuple, list, mapping or output object."""
    if path is None:
        while isinstance(value, (tuple, list, Mapping)):
            value = next(iter(value.values())) if isinstance(value, Mapping) else value[0]
        return value
    for key in path:
        value = value[key]
    return value


def put(value: Any, path: tuple[int | str, ...] | None, new: object) -> object:
    """A copy of a nested value with one item replaced; containers keep their types."""
    if path is None:
        if not isinstance(value, (tuple, list, Mapping)):
            return new
        key = next(iter(value)) if isinstance(value, Mapping) else 0
        return _replaced(value, key, put(value[key], None, new))
    if not path:
        return new
    return _replaced(value, path[0], put(value[path[0]], path[1:], new))


def _replaced(value: Any, key: Any, new: object) -> object:
    if isinstance(value, MutableMapping):
        changed = copy(value)
        changed[key] = new
        return changed
    items = list(value)
    items[key] = new
    return like(value, items)


def like(value: tuple | list, items: list) -> tuple | list:
    """Items in a container of the type of another, be it a named tuple."""
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def _padded(site: Site, tensor: object, batch: Batch) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise ShapeError(
            "this is not a tensor",
            where=f"site {site.name!r}",
            got=type(tensor).__name__,
            do="Correct the site's select.",
        )
    if tensor.is_nested:
        size = (batch.mask.shape[0], batch.mask.shape[1], tensor.size(-1))
        return torch.nested.to_padded_tensor(tensor, 0.0, output_size=size)
    return tensor


def _view(site: Site, tensor: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """A view [B, token axes, D] of a tensor, the mask over its leading axes, and the same mask as [B, T]."""
    if tensor.ndim != len(site.axes):
        raise ShapeError(
            "the activation has other axes",
            where=f"site {site.name!r}",
            expected=site.axes,
            got=f"shape {tuple(tensor.shape)}",
        )
    if site.axes == "PD":
        view, flat = tensor, batch.mask
        mask = batch.mask[batch.mask if batch.present is None else batch.present]
    else:
        view = tensor.permute([site.axes.index(a) for a in CANONICAL_AXES if a in site.axes])
        view = view if "B" in site.axes else view[None]
        flat, _ = site_tokens(site, batch)
        mask = flat.reshape(view.shape[:-1]) if flat.numel() == view.shape[:-1].numel() else flat
    if mask.shape != view.shape[:-1]:
        raise ShapeError(
            "the activation has another number of tokens",
            where=f"site {site.name!r}",
            expected=str(tuple(mask.shape)),
            got=str(tuple(view.shape[:-1])),
            do="Correct the site's axes.",
        )
    if site.channels is not None:
        view = view[..., site.channels[0] : site.channels[1]]
    return view, mask, flat
