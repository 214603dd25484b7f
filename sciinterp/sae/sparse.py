"""The sparse step: one dense encoder product in chunks, everything after it on the few active features.

With ``xin = x - b_dec``, codes ``f`` (sparse, at most some tens of entries a row) and ``xhat = f W_dec +
b_dec``, the gradients of any loss with ``G = dL/dxhat`` need only the entries of ``f``::

    dL/df    = G . W_dec[j]              at the entries             (sampled products)
    dL/dW_dec = f^T G                    sparse [F, n] times dense
    dL/dW_enc = (dL/df * active)^T xin   the same pattern           (rows of W_enc are features here)

No dense batch-by-dictionary product is computed backwards, where the usual step computes four.
Inside training ``W_enc`` is held as ``[n_features, d_in]``: features are rows everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from sciinterp.products import linear
from sciinterp.sae import kernels

# Rows of one encoder product. With 10,240 features 1,024 rows are 40 MB and 3% faster than 512, which are 8%
# faster than 128; with 4,096 features it makes no difference.
CHUNK = 1024
# More than one entry in eight active (a ReLU at its start): dense products are faster than sparse ones.
CROWD = 8


@dataclass
class Known:
    """What an encoder that does not move gives for rows that come again and again: found once, and looked up."""

    scores: Tensor  # [n, n_features]: ``x W_enc^T`` of all rows
    centre: Tensor  # [d_in]: ``b_dec``, which does move
    places: Tensor  # int64 [batch]: where among all rows those of the batch are


class Workspace:
    """Buffers kept from one step to the next, by name; a shape that grows replaces its buffer.

    With :attr:`known`, :func:`products` looks products up in the place of computing them; with :attr:`quick` it takes
    :func:`sciinterp.products.linear`.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.quick = False
        self.known: Known | None = None
        self._kept: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def take(
        self, name: str, *shape: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Tensor:
        """An uninitialised contiguous tensor of ``shape``."""
        key, need = (name, dtype, torch.device(device)), int(np.prod(shape))
        flat = self._kept.get(key)
        if flat is None or flat.numel() < need:
            flat = self._kept[key] = torch.empty(need, dtype=dtype, device=device)
        return flat[:need].view(*shape)


@dataclass
class Codes:
    """Sparse codes: entry ``i`` of bag ``b`` (``start[b] <= i < start[b+1]``) is ``values[i]`` at
    ``columns[i]``.

    A bag is a row of the batch, or a (row, prefix) pair in nested dictionaries. ``start`` and ``columns``
    are int32.
    """

    start: Tensor
    columns: Tensor
    values: Tensor

    @property
    def n_bags(self) -> int:
        """Number of bags."""
        return self.start.numel() - 1

    def bag_of(self) -> Tensor:
        """The bag of every entry, int32 [nnz]."""
        counts = self.start.diff()
        return torch.repeat_interleave(
            torch.arange(self.n_bags, dtype=torch.int32, device=counts.device),
            counts,
            output_size=self.columns.numel(),
        )


def products(
    xin: Tensor, w_enc: Tensor, b_enc: Tensor, work: Workspace, chunk: int = CHUNK
) -> Iterator[tuple[int, Tensor]]:
    """Pre-activations ``xin W_enc^T + b_enc`` in chunks of rows, each in the same reused buffer.

    A chunk is valid until the next, and comes with the number of its first row. Where the workspace knows ``x W_enc^T``, they are looked up: ``x W_enc^T +
    (b_enc - W_enc b_dec)``.
    """
    known = work.known
    shift = None if known is None else b_enc - w_enc @ known.centre
    for lo in range(0, len(xin), chunk):
        rows = xin[lo : lo + chunk]
        if work.quick and known is None:
            yield lo, linear(rows, w_enc, b_enc)
            continue
        out = work.take("pre", len(rows), len(w_enc), device=xin.device)
        if known is None or shift is None:
            torch.addmm(b_enc, rows, w_enc.T, out=out)
        else:
            torch.index_select(known.scores, 0, known.places[lo : lo + chunk], out=out).add_(shift)
        yield lo, out


def topk(pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Exact top ``k`` of each row: values [n, k], features int32 [n, k] in ascending order.

    A row holding NaN gives NaN values, so that a loss made of them cannot look healthy.
    """
    if pre.device.type != "cpu":
        columns = pre.topk(k, dim=1, sorted=False).indices.sort(dim=1).values
        return pre.gather(1, columns), columns.int()
    n = len(pre)
    values, columns = np.empty((n, k), np.float32), np.empty((n, k), np.int32)
    select(pre.numpy(), values, columns)
    lost = columns[:, 0] < 0
    if lost.any():
        values[lost], columns[lost] = np.nan, np.arange(k)
    return torch.from_numpy(values), torch.from_numpy(columns)


def select(pre: np.ndarray, values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """:func:`kernels.select_topk` over all rows; gives the ``k``-th value of each."""
    floor = np.empty(len(pre), pre.dtype)
    kernels.over_rows(
        len(pre),
        kernels.select_topk,
        pre,
        kernels.group_size(pre.shape[1], columns.shape[1]),
        values,
        columns,
        floor,
    )
    return floor


def encode_topk(xin: Tensor, w_enc: Tensor, b_enc: Tensor, k: int, work: Workspace) -> tuple[Tensor, Tensor]:
    """Exact top ``k`` pre-activations of each row: values [n, k], features int32 [n, k] ascending."""
    values = torch.empty(len(xin), k, device=xin.device)
    columns = torch.empty(len(xin), k, dtype=torch.int32, device=xin.device)
    for lo, pre in products(xin, w_enc, b_enc, work):
        values[lo : lo + len(pre)], columns[lo : lo + len(pre)] = topk(pre, k)
    return values, columns


def encode_above(
    xin: Tensor, w_enc: Tensor, b_enc: Tensor, threshold: Tensor | float, work: Workspace
) -> Codes:
    """All pre-activations strictly above ``threshold`` (a number, or one per feature), as codes."""
    counts, columns, values = [], [], []
    for _, pre in products(xin, w_enc, b_enc, work):
        keep = pre > threshold
        counts.append(keep.sum(1, dtype=torch.int32))
        place = keep.flatten().nonzero().squeeze(1)
        values.append(pre.flatten()[place])
        columns.append((place % pre.shape[1]).int())
    start = torch.zeros(len(xin) + 1, dtype=torch.int32, device=xin.device)
    if counts:
        start[1:] = torch.cumsum(torch.cat(counts), 0)
    empty = xin.new_empty(0)
    return Codes(start, torch.cat([empty.int(), *columns]), torch.cat([empty, *values]))


def drop_zeros(values: Tensor, columns: Tensor) -> Codes:
    """Codes of the positive entries of ``values [n, k]``."""
    keep = values > 0
    start = torch.zeros(len(values) + 1, dtype=torch.int32, device=values.device)
    torch.cumsum(keep.sum(1), 0, dtype=torch.int32, out=start[1:])
    return Codes(start, columns[keep], values[keep])


def fixed_codes(values: Tensor, columns: Tensor) -> Codes:
    """Codes with the same number of entries in every row."""
    n, k = values.shape
    start = torch.arange(0, n * k + 1, k, dtype=torch.int32, device=values.device)
    return Codes(start, columns.reshape(-1), values.reshape(-1))


def keep_entries(codes: Codes, keep: Tensor) -> Codes:
    """The entries where ``keep`` [nnz] is true."""
    kept = torch.zeros(len(keep) + 1, dtype=torch.int32, device=keep.device)
    torch.cumsum(keep, 0, dtype=torch.int32, out=kept[1:])
    return Codes(kept[codes.start.long()], codes.columns[keep], codes.values[keep])


def crowded(codes: Codes, n_features: int) -> bool:
    """Whether so many entries are active that dense products are the faster way to the same sums."""
    return codes.columns.numel() * CROWD > codes.n_bags * n_features


def spread(codes: Codes, values: Tensor, n_features: int) -> Tensor:
    """Dense [n_bags, n_features] with ``values`` at the entries."""
    out = torch.zeros(codes.n_bags, n_features, device=values.device)
    out.view(-1)[places(codes, n_features)] = values
    return out


def places(codes: Codes, n_features: int) -> Tensor:
    """Where the entries stand in the flattened dense codes, int64 [nnz]."""
    return codes.bag_of().long() * n_features + codes.columns


def decode(codes: Codes, w_dec: Tensor) -> Tensor:
    """``f W_dec`` [n_bags, d_in], without a bias."""
    if crowded(codes, len(w_dec)):
        return spread(codes, codes.values, len(w_dec)) @ w_dec
    return embedding_bag(
        codes.columns,
        w_dec,
        codes.start,
        per_sample_weights=codes.values,
        mode="sum",
        include_last_offset=True,
    )


def code_gradients(codes: Codes, gradient: Tensor, w_dec: Tensor) -> Tensor:
    """``dL/df`` at the entries: ``gradient[bag] . W_dec[column]`` [nnz]."""
    if crowded(codes, len(w_dec)):
        return (gradient @ w_dec.T).view(-1)[places(codes, len(w_dec))]
    if gradient.device.type != "cpu":
        bags, out = codes.bag_of(), torch.empty_like(codes.values)
        for lo in range(0, len(out), 1 << 16):
            part = slice(lo, lo + (1 << 16))
            out[part] = (gradient[bags[part]] * w_dec[codes.columns[part]]).sum(1)
        return out
    out = torch.empty_like(codes.values)
    kernels.over_rows(
        codes.n_bags,
        kernels.sampled_products,
        gradient.numpy(),
        w_dec.numpy(),
        codes.start.numpy(),
        codes.columns.numpy(),
        out.numpy(),
    )
    return out


class Transposed:
    """The transposed pattern of some codes: sums over the batch, one row per feature."""

    def __init__(self, codes: Codes, n_features: int, rows_of: Tensor | None = None) -> None:
        self.n_features, self.columns = n_features, codes.columns
        bags: Tensor = codes.bag_of() if rows_of is None else rows_of
        if codes.columns.device.type != "cpu":
            ordered, self.order = torch.sort(codes.columns, stable=True)
            self.rows = bags[self.order]
            self.start = torch.searchsorted(
                ordered, torch.arange(n_features + 1, dtype=torch.int32, device=ordered.device)
            ).int()
            return
        nnz = codes.columns.numel()
        self.start = torch.empty(n_features + 1, dtype=torch.int32)
        self.rows, order = torch.empty(nnz, dtype=torch.int32), torch.empty(nnz, dtype=torch.int32)
        kernels.transpose(
            codes.columns.numpy(),
            bags.numpy(),
            n_features,
            self.start.numpy(),
            self.rows.numpy(),
            order.numpy(),
        )
        self.order = order.long()

    def sum_rows(self, weights: Tensor, dense: Tensor, out: Tensor, rows: Tensor | None = None) -> None:
        """``out[j] = sum of weights * dense[row]`` over the entries of feature ``j``; ``rows`` replaces the
        rows.
        """
        places: Tensor = self.rows if rows is None else rows
        if dense.device.type != "cpu":
            out.copy_(
                embedding_bag(
                    places,
                    dense,
                    self.start,
                    per_sample_weights=weights[self.order],
                    mode="sum",
                    include_last_offset=True,
                )
            )
            return
        kernels.over_rows(
            self.n_features,
            kernels.scatter_rows,
            self.start.numpy(),
            places.numpy(),
            weights[self.order].numpy(),
            dense.numpy(),
            out.numpy(),
        )

    def sum_values(self, weights: Tensor) -> Tensor:
        """Sum of ``weights`` per feature [n_features], added in float64."""
        if weights.device.type == "mps":
            return sum_by_feature(self.columns, weights, self.n_features)
        total = torch.zeros(len(weights) + 1, dtype=torch.float64, device=weights.device)
        torch.cumsum(weights[self.order], 0, dtype=torch.float64, out=total[1:])
        ends = total[self.start.long()]
        return (ends[1:] - ends[:-1]).float()


def sum_by_feature(columns: Tensor, values: Tensor, n_features: int) -> Tensor:
    """Sum of entries' values per feature [n_features], added in float64: by the processor where a device has none."""
    home = torch.device("cpu") if values.device.type == "mps" else values.device
    total = torch.zeros(n_features, dtype=torch.float64, device=home)
    return total.index_add_(0, columns.to(home), values.to(home).double()).float().to(values.device)


def project_rows(gradient: Tensor, direction: Tensor) -> None:
    """Remove from each row of ``gradient`` its part along the unit rows of ``direction``, in place."""
    if gradient.device.type != "cpu":
        gradient.sub_((gradient * direction).sum(1, keepdim=True) * direction)
        return
    kernels.over_rows(len(gradient), kernels.project_rows, gradient.numpy(), direction.numpy())


def normalise_rows(matrix: Tensor) -> None:
    """Scale each row to norm one, in place; a row of zeros stays."""
    if matrix.device.type != "cpu":
        norm = matrix.norm(dim=1, keepdim=True)
        matrix.div_(torch.where(norm > 0, norm, 1))
        return
    kernels.over_rows(len(matrix), kernels.normalise_rows, matrix.numpy())


Encoder = Callable[[Tensor, Tensor, Tensor, int, Workspace], tuple[Tensor, Tensor]]
