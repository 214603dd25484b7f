"""Rows of activations for training: where they come from, and shuffled batches of them.

A source is an Activations store, a stream, an array, a memmap or a tensor ``[n, d_in]``. Batches are a function of
(seed, epoch, position) alone: the reader's state is three integers, and a resumed run sees the rows an
undisturbed one would have seen. Rows are read in order, in groups that fit a budget of memory: blocks of
neighbouring rows are dealt to groups at random every epoch, then each group is shuffled as a whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sciinterp import distributed
from sciinterp.errors import InputError, ShapeError
from sciinterp.provenance import Origin, Training, origin_of

if TYPE_CHECKING:
    from sciinterp.samples import Samples, Split

BUDGET = 1 << 30  # bytes of one group
BLOCK = 1024  # neighbouring rows that stay together when dealt to groups
SPAN = 8192  # rows of one sequential read
HELD_OUT = 1 / 20  # of the rows, at most HELD_OUT_ROWS, when there is no split
HELD_OUT_ROWS = 20_000
MOMENT_ROWS = 1 << 18  # rows the mean and the scale are estimated from


class Source:
    """One view of everything that can be trained on.

    Attributes
    ----------
    n_rows, d_in : int
    samples : Samples or None
        Whose rows they are; for an array, the samples that were passed beside it.
    origin : Origin
        Model, weights, site and fingerprint where the source states them.
    block, budget : int
        Neighbouring rows that stay together when dealt to groups; bytes of one group.
    """

    def __init__(self, data: Any, samples: Samples | None = None) -> None:
        self._read = getattr(data, "read", None)
        self.samples: Samples | None = samples if samples is not None else getattr(data, "samples", None)
        self.origin, self._take = Origin(), None
        self.block, self.budget = BLOCK, BUDGET
        if callable(self._read):
            self.d_in, self.n_rows = int(data.d_in), int(data.n_tokens)
            self.origin = origin_of(data)
            self.digest = str(getattr(data, "digest", "") or getattr(data, "fingerprint", ""))
            self._take = getattr(data, "take", None)
            if callable(self._take):  # computed anew: longer runs, and as many as its buffer holds
                self.block, self.budget = SPAN, 4 * self.d_in * int(data.buffer_tokens)
        else:
            self._array = data.detach().cpu() if isinstance(data, Tensor) else data
            if getattr(self._array, "ndim", 0) != 2:
                raise ShapeError(
                    "cannot train on this",
                    where=type(data).__name__,
                    expected="activations [n, d_in]: a store, an array or a tensor",
                    got=str(getattr(data, "shape", "no shape")),
                )
            self.n_rows, self.d_in = (int(n) for n in self._array.shape)
            self.digest = self._sample_digest()
            if samples is not None and samples.n_positions != self.n_rows:
                raise ShapeError(
                    "the array does not fit its samples",
                    expected=f"{samples.n_positions} rows (positions end to end)",
                    got=str(self.n_rows),
                )
        self.data: Any = data
        if self.n_rows == 0:
            raise InputError("there are no activations to train on", expected="at least one row", got="0")

    def read(self, lo: int, hi: int) -> np.ndarray:
        """Rows ``lo:hi`` as float32 [hi - lo, d_in]."""
        if callable(self._read):
            return np.asarray(self._read(lo, hi), np.float32)
        part = self._array[lo:hi]
        return np.asarray(part.float() if isinstance(part, Tensor) else part, np.float32)

    def rows_of(self, samples: np.ndarray) -> np.ndarray:
        """Row numbers of some samples (ascending)."""
        if not hasattr(self.data, "rows"):
            if self.samples is None:
                raise InputError(
                    "a split needs to know which rows belong to which sample",
                    where="split=",
                    expected="an Activations store, or samples=",
                    got=type(self.data).__name__,
                    do="Pass samples= beside the array.",
                )
            return np.flatnonzero(np.isin(self.samples.position_sample(), samples))
        return np.sort(np.asarray(self.data.rows(np.asarray(samples)), np.int64))

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The rows of ascending numbers ``rows``, by sequential reads."""
        out = np.empty((len(rows), self.d_in), np.float32) if out is None else out
        if callable(self._take):
            return np.asarray(self._take(rows, out)) if len(rows) else out
        at = 0
        while at < len(rows):
            lo = int(rows[at])
            end = int(np.searchsorted(rows, lo + SPAN, side="left"))
            part = self.read(lo, int(rows[end - 1]) + 1)
            out[at:end] = part[rows[at:end] - lo]
            at = end
        return out

    def take_together(self, rows: np.ndarray) -> Tensor:
        """:meth:`take` of the same rows by all ranks: where rows are computed each computes its part of them."""
        if not callable(self._take) or distributed.size() == 1:
            return torch.from_numpy(self.take(rows))
        return torch.cat(distributed.joined(torch.from_numpy(self.take(distributed.mine(rows)))))

    def pieces(self, rows: np.ndarray, size: int = SPAN) -> Iterator[np.ndarray]:
        """:meth:`take` in pieces of ``size`` rows."""
        for at in range(0, len(rows), size):
            yield self.take(rows[at : at + size])

    def _sample_digest(self) -> str:
        digest = hashlib.sha256(f"{self.n_rows}x{self.d_in}".encode())
        for lo in np.linspace(0, max(self.n_rows - 16, 0), 16).astype(int):
            digest.update(np.ascontiguousarray(self.read(int(lo), int(lo) + 16)).tobytes())
        return digest.hexdigest()


def parts_of(data: Source, split: Split | None, seed: int) -> dict[str, np.ndarray]:
    """Row numbers to train on, to calibrate on and to measure on: those of a split, or a random twentieth kept out.

    Raises
    ------
    InputError
        The split has no training rows.
    """
    if split is not None:
        if data.samples is not None and len(split.family) != len(data.samples):
            raise InputError(
                "the split is of other samples",
                where="split=",
                expected=f"{len(data.samples)} samples",
                got=str(len(split.family)),
            )
        parts = {name: data.rows_of(getattr(split, name)) for name in ("train", "calibration", "test")}
        if not len(parts["train"]):
            raise InputError("the split has no training rows", where="split.train")
        for name in ("calibration", "test"):
            parts[name] = parts[name] if len(parts[name]) else parts["train"]
        return parts
    n_out = min(int(data.n_rows * HELD_OUT), HELD_OUT_ROWS)
    order = np.random.default_rng([seed, 2]).permutation(data.n_rows) if n_out else np.arange(data.n_rows)
    held = np.sort(order[:n_out]) if n_out else np.arange(data.n_rows)
    return {"train": np.sort(order[n_out:]), "calibration": held, "test": held}


def origin_of_trained(data: Source, split: Split | None) -> Origin:
    """The origin of an SAE trained on a source: its own, and which samples and families trained it."""
    if data.samples is None:
        return data.origin
    return replace(data.origin, training=Training.of(data.samples, split))


def thinned(rows: np.ndarray, limit: int) -> np.ndarray:
    """At most ``limit`` of some rows, evenly spread."""
    return rows if len(rows) <= limit else rows[np.linspace(0, len(rows) - 1, limit).astype(np.int64)]


class Reader:
    """Endless shuffled batches of some rows of a source.

    Parameters
    ----------
    source : Source
    rows : int64 array
        Row numbers, ascending.
    batch_size, seed : int
    budget : int, optional
        Bytes of activations held at once; the source's by default.
    """

    def __init__(
        self, source: Source, rows: np.ndarray, batch_size: int, seed: int, budget: int | None = None
    ) -> None:
        self.source, self.rows, self.batch_size, self.seed = source, rows, batch_size, seed
        held = (source.budget if budget is None else budget) // (4 * source.d_in)
        self._block = min(source.block, max(held, BLOCK))
        self._blocks_each = max(held // self._block, 1)
        self._n_blocks = -(-len(rows) // self._block)
        self._n_groups = -(-self._n_blocks // self._blocks_each)
        self.epoch = self.group = self.position = 0
        self._held: tuple[int, int] | None = None
        self._data = torch.empty(0, source.d_in)
        self._order = torch.empty(0, dtype=torch.int64)

    @property
    def state(self) -> dict[str, int]:
        """Where the next batch begins."""
        return {"epoch": self.epoch, "group": self.group, "position": self.position}

    @state.setter
    def state(self, value: dict[str, int]) -> None:
        self.epoch, self.group, self.position = (int(value[k]) for k in ("epoch", "group", "position"))

    def next(self) -> tuple[Tensor, Tensor]:
        """The next batch as (input, target), each [batch_size, d_in]; for an SAE they are the same rows.

        Of several ranks each gets its part of the batch.
        """
        part = distributed.share(self.batch_size)
        out = torch.empty(len(part), self.source.d_in)
        filled = 0
        while filled < self.batch_size:
            self._hold()
            take = self._order[self.position : self.position + self.batch_size - filled]
            lo, hi = max(part.start, filled), max(min(part.stop, filled + len(take)), part.start)
            if lo < hi:
                mine = take[lo - filled : hi - filled]
                torch.index_select(self._data, 0, mine, out=out[lo - part.start : hi - part.start])
            filled += len(take)
            self.position += len(take)
            if self.position == len(self._order):
                self.position, self.group = 0, self.group + 1
                if self.group == self._n_groups:
                    self.group, self.epoch = 0, self.epoch + 1
        return out, out

    def _hold(self) -> None:
        """Read and order the current group, unless it is the one at hand."""
        if self._held == (self.epoch, self.group):
            return
        if not (self._n_groups == 1 and self._held):
            deal = np.random.default_rng([self.seed, self.epoch]).permutation(self._n_blocks)
            mine = np.sort(deal[self.group * self._blocks_each : (self.group + 1) * self._blocks_each])
            numbers = np.concatenate([self.rows[b * self._block : (b + 1) * self._block] for b in mine])
            self._data = self.source.take_together(numbers)
        order = np.random.default_rng([self.seed, self.epoch, self.group, 1]).permutation(len(self._data))
        self._order = torch.from_numpy(order)
        self._held = (self.epoch, self.group)


def moments(source: Source, rows: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean [d_in] and mean squared distance from it, in float64, from up to 2^18 rows spread evenly.

    Raises
    ------
    InputError
        A row is not finite (it is named), or all rows are the same.
    """
    if len(rows) > MOMENT_ROWS:
        starts = np.linspace(0, len(rows) - BLOCK, MOMENT_ROWS // BLOCK).astype(np.int64)
        rows = rows[np.unique((starts[:, None] + np.arange(BLOCK)).ravel())]
    n, mean, spread = 0, np.zeros(source.d_in), 0.0
    for at in range(0, len(rows), SPAN):
        part = source.take(rows[at : at + SPAN]).astype(np.float64)
        bad = ~np.isfinite(part).all(1)
        if bad.any():
            raise InputError(
                "activations hold a value that is not finite",
                where=f"row {int(rows[at + int(np.argmax(bad))])}",
                do="Remove the sample it belongs to.",
            )
        here = part.mean(0)
        spread += float(
            ((part - here) ** 2).sum() + ((here - mean) ** 2).sum() * n * len(part) / (n + len(part))
        )
        mean += (here - mean) * len(part) / (n + len(part))
        n += len(part)
    if spread <= 1e-20 * n * max(float((mean**2).sum()), 1e-300):
        raise InputError("activations do not vary", expected="rows that differ", got=f"{n} equal rows")
    return mean, spread / n
