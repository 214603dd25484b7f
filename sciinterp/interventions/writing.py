"""Writing into an activation: the part of some directions changed, everything else left as it is.

Of an activation ``x`` whose SAE gives the codes ``f``, an intervention on feature ``j`` writes

    x + s (f'_j - f_j) W_dec[j],        s the scale of the row where the SAE standardises its input, else 1,

so that what the SAE does not explain stays in place. Ablation sets ``f'`` to zero, steering adds a share of the
feature's largest activation, patching takes the code of another sample. A plain direction is written the same way,
without codes. Nothing is written where nothing changes: an intervention of zero strength is the clean run to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sciinterp.codes.active import is_active
from sciinterp.errors import InputError, ShapeError
from sciinterp.models import edit
from sciinterp.models.site import site_tokens

if TYPE_CHECKING:
    from sciinterp.models import Adapter
    from sciinterp.sae import SAE
    from sciinterp.samples import Samples

# How much of each direction is added to each row, from the rows and their places [n, 3]: number of the sample in the
# batch, first position, end.
Amounts = Callable[[Tensor, Tensor], Tensor]
# Whether a row is written to, from the places.
Where = Callable[[Tensor], Tensor]
# New codes [n, k] of features, from those there [n, k] and the places.
NewCodes = Callable[[Tensor, Tensor], Tensor]
# "all", "active" (where the feature is active), positions of every sample, or positions by the sample's identifier.
At = str | Sequence[int] | np.ndarray | Mapping[str, Sequence[int] | np.ndarray]


@dataclass(frozen=True, eq=False)
class Edit:
    """What is written at one site."""

    site: str
    directions: Float[Tensor, "k d_in"]
    amounts: Amounts  # takes rows [n, d_in] and places [n, 3], returns float32 [n, k]
    # The scale [n, 1] of each row, in which amounts are counted.
    units: Callable[[Tensor], Tensor | float] | None = None


def every_row(places: Tensor) -> Bool[Tensor, " n"]:
    """All rows."""
    return torch.ones(len(places), dtype=torch.bool)


def rows_at(masks: Sequence[np.ndarray]) -> Where:
    """Rows of tokens that cover one of the positions of their sample: a mask [n_positions] for each sample of a batch."""
    sums = [torch.from_numpy(np.r_[0, np.cumsum(mask)]) for mask in masks]

    def where(places: Tensor) -> Tensor:
        found = torch.zeros(len(places), dtype=torch.bool)
        for number, before in enumerate(sums):
            mine = (places[:, 0] == number).nonzero().ravel()
            start, end = (places[mine, i].clamp(max=len(before) - 1) for i in (1, 2))
            found[mine] = before[end] > before[start]
        return found

    return where


def masks_at(at: At, samples: Samples) -> list[np.ndarray]:
    """bool [n_positions] of every sample: the positions that ``at`` names, all of them where it names none.

    InputError: a position outside its sample, a sample that is not there, or a word that is neither "all" nor
    "active".
    """
    if isinstance(at, str):
        if at not in ("all", "active"):
            raise InputError("no such places", where="at", expected="all, active, or positions", got=repr(at))
        return [np.ones(n, bool) for n in samples.lengths]
    if isinstance(at, Mapping):
        for name in at:
            samples.index(name)
        wanted = [at.get(name, ()) for name in samples.ids]
    else:
        wanted = [at] * len(samples)
    masks = []
    for name, length, positions in zip(samples.ids, samples.lengths.tolist(), wanted):
        found = np.asarray(positions)
        if found.dtype == bool and found.shape == (length,):
            masks.append(found)
            continue
        odd = found.ndim > 1 or found.dtype.kind not in "iu"
        if found.size and (odd or found.min() < 0 or found.max() >= length):
            raise InputError(
                "there is no such position",
                where=f"sample {name!r}",
                expected=f"whole numbers 0 to {length - 1}",
                got=str(np.ravel(found)[-1]),
            )
        mask = np.zeros(length, bool)
        mask[found.astype(np.int64)] = True
        masks.append(mask)
    return masks


def codes_at(sae: SAE, rows: Float[Tensor, "n d_in"], features: Sequence[int]) -> Float[Tensor, "n k"]:
    """Codes of some features, dense."""
    codes = sae.encode(rows)
    column = torch.full((sae.n_features,), -1, dtype=torch.long, device=codes.device)
    column[torch.tensor(list(features))] = torch.arange(len(features), device=codes.device)
    at = column[codes.col_indices().long()]
    number = torch.arange(len(rows), device=codes.device)
    row = number.repeat_interleave(codes.crow_indices().long().diff())
    dense = torch.zeros(len(rows), len(features), device=codes.device)
    dense[row[at >= 0], at[at >= 0]] = codes.values()[at >= 0]
    return dense


def feature_edit(
    sae: SAE,
    site: str,
    features: Sequence[int],
    new: NewCodes,
    *,
    where: Where = every_row,
    active: np.ndarray | None = None,
) -> Edit:
    """The edit that gives features new codes, made from those there [n, k] and the places [n, 3].

    With `active`, the largest activation of each feature, something is written only where the feature is
    active.
    """

    def amounts(rows: Tensor, places: Tensor) -> Tensor:
        on = where(places)
        change = torch.zeros(len(rows), len(features))
        if not bool(on.any()):
            return change
        codes = codes_at(sae, rows[on.to(rows.device)], features).cpu()
        step = new(codes, places[on]) - codes
        if active is not None:
            step = torch.where(torch.from_numpy(is_active(codes.numpy(), active)), step, 0)
        change[on] = step.float()
        return change

    scaled = sae.input_norm != "none"
    units = (lambda rows: sae.units(rows)[1]) if scaled else None
    return Edit(site, sae.W_dec[torch.tensor(list(features))].detach(), amounts, units)


def direction_edit(
    site: str,
    directions: Float[Tensor, "k d_in"],
    amount: Float[Tensor, " k"],
    *,
    where: Where = every_row,
    units: Callable[[Tensor], Tensor | float] | None = None,
) -> Edit:
    """The edit that adds directions, so much of each, whatever is there."""

    def amounts(rows: Tensor, places: Tensor) -> Tensor:
        return where(places)[:, None] * amount.float()

    return Edit(site, directions, amounts, units)


@contextmanager
def writing(
    model: Adapter, edits: Sequence[Edit], written: list[Int[Tensor, "n 3"]] | None = None
) -> Iterator[None]:
    """While open, every forward pass of the model has the edits written into it, each at its site.

    Edits of one site are made one after the other; the places of rows that were changed are added to
    `written`. Hooks are gone afterwards, whatever happens.
    """
    with ExitStack() as stack:
        for one in edits:
            site = model.site(one.site)
            if one.directions.shape[1] != site.width:
                raise ShapeError(
                    "the directions do not fit the site",
                    where=f"site {one.site!r} of {model.name}",
                    expected=f"width {site.width}",
                    got=str(one.directions.shape[1]),
                )
            stack.enter_context(edit(model, site, partial(_write, model, one, written)))
        yield


def _write(model: Adapter, one: Edit, written: list[Tensor] | None, rows: Tensor) -> Tensor:
    """The rows of the running batch with one edit written into them."""
    places = _places(model, one.site)
    plain = rows.detach().float()
    amounts = one.amounts(plain, places).to(rows.device)
    on = amounts.ne(0).any(1)
    if written is not None:
        written.append(places[on.cpu()])
    if not bool(on.any()):
        return rows
    part = amounts[on] @ one.directions.to(rows.device, torch.float32)
    if one.units is not None:
        scale = one.units(plain[on])
        part = part * (scale.to(rows.device) if isinstance(scale, Tensor) else scale)
    out = rows.clone()
    out[on] = rows[on] + part.to(rows)
    return out


def _places(model: Adapter, site: str) -> Int[Tensor, "n 3"]:
    """Sample, first position and end of every row of a site in the running batch."""
    batch = model.running_batch
    assert batch is not None  # the hook of `edit` has asked already
    mask, spans = site_tokens(model.site(site), batch)
    return torch.cat([mask.nonzero()[:, :1], spans[mask][:, :2].long()], 1)
