"""BatchTopK (Bussmann, Leask and Nanda 2024, "BatchTopK sparse autoencoders").

Over a batch of ``n`` rows the ``n k`` largest positive pre-activations are kept, wherever they are, so that
rows may differ in how many features they use. The loss is TopK's::

    L = 1/n sum || target - xhat ||^2  +  L_aux

Codes that depend on the other rows of a batch are no use afterwards: at the end one threshold is calibrated
on held-out rows, so that exactly ``k`` features a row are active there on average, and the SAE becomes a
threshold SAE whose codes of a row depend on that row alone. L0 on those rows is reported for both rules.

Exact selection without holding batch x dictionary: entries above a floor are collected chunk by chunk, the
floor being a little under the last batch's cut; if fewer than ``n k`` are found the floor was too high, and
the batch is collected again from a lower one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sciinterp import distributed
from sciinterp.sae.architecture import (
    Architecture,
    Calibration,
    Finished,
    Step,
    in_data_units,
    write_gradients,
)
from sciinterp.sae.auxk import add_auxk
from sciinterp.sae.parameters import Parameters
from sciinterp.sae.sparse import CHUNK, Codes, Workspace, code_gradients, decode, encode_above, keep_entries

# The next batch's cut is seldom below this fraction of the last one's.
FLOOR = 0.85


@dataclass(frozen=True)
class BatchTopK(Architecture):
    """On average ``k`` active features a row.

    Parameters
    ----------
    n_features : int
        Size of the dictionary.
    k : int
        Active features a row, on average.
    aux_alpha : float
        Weight of the auxiliary loss that revives dead features; 0 turns it off.
    """

    name: ClassVar[str] = "batchtopk"
    k: int = 32
    aux_alpha: float = 1 / 32

    def step(self, step: Step, x: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Loss and gradients of a batch; see the module's docstring."""
        p, n = step.parameters, len(x)
        xin = x - p["b_dec"]
        codes, cut = batch_topk(xin, p["W_enc"], p["b_enc"], self.k, step)
        error = decode(codes, p["W_dec"]).add_(p["b_dec"]).sub_(target)
        gradient = error * (2 / n)
        write_gradients(step, codes, gradient, code_gradients(codes, gradient, p["W_dec"]), xin)
        aux = add_auxk(step, xin, error.neg_(), self.aux_alpha)
        mse = error.square_().sum() / n
        l0 = torch.tensor(codes.columns.numel() / n)
        return {"loss": mse + aux, "mse": mse, "aux": aux, "l0": l0, "cut": cut}

    def finish(self, parameters: Parameters, scale: float, calibrate: Calibration) -> Finished:
        """A threshold SAE; see :func:`threshold_sae`."""
        return threshold_sae(parameters, self.k, scale, calibrate())


def batch_topk(xin: Tensor, w_enc: Tensor, b_enc: Tensor, k: int, step: Step) -> tuple[Codes, Tensor]:
    """The ``n k`` largest positive pre-activations of a batch as codes, and the smallest of them.

    Ties at the cut go to the earliest rows and lowest features. Of several ranks each gives the entries of its rows, the
    cut being that of all. ``step.memory["cut"]`` carries the cut from
    batch to batch.
    """
    wanted = distributed.total(len(xin)) * k
    floor = FLOOR * float(step.memory["cut"]) if "cut" in step.memory else 0.0
    while True:
        codes = encode_above(xin, w_enc, b_enc, floor, step.work)
        found = distributed.total(codes.columns.numel())
        if found >= wanted or floor <= 0:
            break
        floor = floor / 2 if floor > 1e-6 else 0.0
    if found > wanted:
        largest = (
            codes.values if len(codes.values) <= wanted else codes.values.topk(wanted, sorted=False).values
        )
        cut = torch.cat(distributed.joined(largest)).topk(wanted, sorted=False).values.min()
        keep = codes.values > cut
        ties = (codes.values == cut).nonzero().squeeze(1)
        # Ranks hold the rows of a batch in order, so that ties of earlier ranks come first.
        before = distributed.gathered(len(ties))[: distributed.rank()]
        keep[ties[: max(wanted - distributed.total(int(keep.sum())) - sum(before), 0)]] = True
        codes = keep_entries(codes, keep)
    else:
        every = torch.cat(distributed.joined(codes.values.sort().values[:1]))
        cut = every.min() if len(every) else xin.new_zeros(())
    step.memory["cut"] = cut.clone()
    return codes, cut


def threshold_sae(parameters: Parameters, k: float, scale: float, rows: Tensor) -> Finished:
    """Turn batch selection into one threshold, calibrated on held-out rows in training units.

    Weights in the data's units; the threshold, and L0 of the calibration rows under batch selection (before)
    and under the threshold (after).
    """
    p, work = parameters, Workspace()
    encoder = rows.to(p["b_dec"].device) - p["b_dec"], p["W_enc"], p["b_enc"]
    threshold = calibrate(*encoder, k, work)
    positive, above = (encode_above(*encoder, t, work).columns.numel() / len(rows) for t in (0.0, threshold))
    return in_data_units(p, scale, threshold=torch.full_like(p["b_enc"], threshold / scale)), {
        "threshold": threshold / scale,
        "l0_batch_selection": float(min(k, positive)),
        "l0_threshold": above,
        "calibration_rows": len(rows),
    }


def calibrate(xin: Tensor, w_enc: Tensor, b_enc: Tensor, k: float, work: Workspace) -> float:
    """The threshold above which ``k`` features a row are active on average; zero where fewer are positive."""
    wanted = max(1, round(len(xin) * k))
    # A pool of the strongest entries: each part adds its own, and its weakest are dropped when it grows.
    pool = xin.new_empty(0)
    floor = 0.0
    for lo in range(0, len(xin), CHUNK):
        found = encode_above(xin[lo : lo + CHUNK], w_enc, b_enc, floor, work).values
        pool = torch.cat([pool, found])
        if len(pool) > 2 * wanted:
            pool = pool.topk(wanted + 1, sorted=False).values
            floor = float(pool.min())
    if len(pool) <= wanted:
        return 0.0
    best = pool.topk(wanted + 1, sorted=True).values
    return float((best[-1].double() + best[-2].double()) / 2) if best[-1] < best[-2] else float(best[-1])
