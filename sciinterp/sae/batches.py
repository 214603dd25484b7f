"""Rows of activations for training: where they come from, and shuffled batches of them.

A source is an Activations store, a stream, an array, a memmap or a tensor ``[n, d_in]``. Batches are a function of
(seed, epoch, position) alone: the reader's state is three integers, and a resumed run sees the rows an
undisturbed one would have seen. Rows are read in order, in groups of about one size that fit a budget of memory: blocks
of neighbouring rows, or whole samples where rows are computed, are dealt to groups at random every epoch, then each
group is shuffled as a whole.

A group of computed rows holds what so many batches need that they differ as batches of all rows do: :data:`BATCHES`
batches of the training at hand, and where samples are long no fewer than :data:`SAMPLES` of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from sciinterp import distributed
from sciinterp.errors import InputError, ShapeError, require_kinds
from sciinterp.provenance import Origin, Training, origin_of
from sciinterp.sae.row_numbers import Rows
from sciinterp.samples import Samples, Split
from sciinterp.store.arrays import as_rows

BUDGET = 1 << 30  # bytes of one group
BLOCK = 1024  # neighbouring rows that stay together when dealt to groups
SPAN = 8192  # rows of one sequential read
# Rows computed at once where all are gone through, and worked on at once: copies of them in float64 are, beside the group
# at hand, what a training from a stream holds most of.
COMPUTED, PIECE = 2048, 1024
BATCHES, SAMPLES = 16, 128  # of a group of computed rows, at least
MOST = 1 << 18  # rows of such a group, for the sake of SAMPLES
HELD_OUT = 1 / 20  # of the rows, at most HELD_OUT_ROWS, when there is no split
HELD_OUT_ROWS = 20_000
MOMENT_ROWS = 1 << 18  # rows the mean and the scale are estimated from


@runtime_checkable
class Readable(Protocol):
    """Rows that are read by stretches: activations on disk, a stream of them, and their like."""

    @property
    def d_in(self) -> int: ...
    @property
    def n_tokens(self) -> int: ...
    def read(self, lo: int, hi: int, /) -> np.ndarray: ...


@runtime_checkable
class Computed(Readable, Protocol):
    """Rows that are computed anew whenever they are read."""

    @property
    def token_offsets(self) -> np.ndarray: ...
    @property
    def buffer_tokens(self) -> int | None: ...
    def take(self, rows: np.ndarray, out: np.ndarray, /) -> np.ndarray: ...


Trainable: TypeAlias = Readable | np.ndarray | Tensor


class Source:
    """One view of everything that can be trained on.

    `samples` are those whose rows they are; for an array, those that were passed beside it. `origin` has model,
    weights, site and fingerprint where the source states them, `offsets` [n_samples + 1] where the rows of each
    sample begin, if they are computed.
    """

    def __init__(self, data: Trainable, samples: Samples | None = None) -> None:
        require_kinds(samples=(samples, Samples | None))
        self._read = data.read if isinstance(data, Readable) else None
        self.samples: Samples | None = samples if samples is not None else getattr(data, "samples", None)
        self.origin, self._take = Origin(), None
        self.offsets: np.ndarray | None = None
        self._buffer = 0
        if isinstance(data, Readable):
            self.d_in, self.n_rows = int(data.d_in), int(data.n_tokens)
            self.origin = origin_of(data)
            self.digest = str(getattr(data, "digest", "") or getattr(data, "fingerprint", ""))
            if isinstance(data, Computed):
                self._take, self.offsets = data.take, data.token_offsets
                self._buffer = int(data.buffer_tokens or 0)
        else:
            self._array = data.detach().cpu() if isinstance(data, Tensor) else as_rows(data)
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
        self._rows = getattr(data, "rows", None)
        self._kind = type(data).__name__
        if self.n_rows == 0:
            raise InputError("there are no activations to train on", expected="at least one row", got="0")

    def read(self, lo: int, hi: int) -> np.ndarray:
        """Rows ``lo:hi`` as float32 [hi - lo, d_in]."""
        if self._read is not None:
            return np.asarray(self._read(lo, hi), np.float32)
        part = self._array[lo:hi]
        with np.errstate(over="ignore"):  # what is too large is found not to be finite
            return np.asarray(part.float() if isinstance(part, Tensor) else part, np.float32)

    def held(self, batch_size: int) -> int:
        """Rows of a group, about, for batches of so many rows."""
        if self.offsets is None:
            return BUDGET // (4 * self.d_in)
        mean = self.n_rows // (len(self.offsets) - 1)
        return self._buffer or max(BATCHES * batch_size, min(SAMPLES * mean, MOST))

    def units(self, rows: Rows) -> np.ndarray:
        """Where the parts of some rows begin that stay together when dealt to groups, and the end: int64 [n + 1]."""
        if self.offsets is None:
            return np.append(np.arange(0, len(rows), BLOCK), len(rows))
        return np.unique(rows.below(self.offsets))

    def rows_of(self, samples: np.ndarray) -> Rows:
        """Row numbers of some samples."""
        if self.offsets is not None:
            numbers = np.sort(np.asarray(samples, np.int64))
            return Rows(self.offsets[numbers], np.diff(self.offsets)[numbers])
        if self._rows is None:
            if self.samples is None:
                raise InputError(
                    "a split needs to know which rows belong to which sample",
                    where="split=",
                    expected="an Activations store, or samples=",
                    got=self._kind,
                    do="Pass samples= beside the array.",
                )
            return Rows.of(np.flatnonzero(np.isin(self.samples.position_sample(), samples)))
        return Rows.of(np.sort(np.asarray(self._rows(np.asarray(samples)), np.int64)))

    def take(self, rows: Rows | np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The rows of ascending numbers ``rows``, by sequential reads."""
        rows = np.asarray(rows, np.int64)
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

    def take_together(self, rows: np.ndarray, out: Tensor) -> None:
        """:meth:`take` of the same rows by all ranks: where rows are computed each computes its part of them."""
        shared = self.offsets is not None
        part = distributed.share(len(rows)) if shared else range(len(rows))
        self.take(rows[part.start : part.stop], out[part.start : part.stop].numpy())
        if shared:
            distributed.exchange(out)

    def pieces(self, rows: Rows | np.ndarray) -> Iterator[np.ndarray]:
        """:meth:`take` in pieces; computed rows by whole samples, so that none is computed for two pieces."""
        size, edges = SPAN, np.append(np.arange(0, len(rows), SPAN), len(rows))
        if self.offsets is not None:
            size, units = PIECE, self.units(Rows.of(rows))
            edges = np.append(units[np.flatnonzero(np.diff(units // COMPUTED, prepend=-1))], len(rows))
        for lo, hi in zip(edges, edges[1:]):
            part = self.take(rows[lo:hi])
            yield from (part[at : at + size] for at in range(0, len(part), size))

    def _sample_digest(self) -> str:
        digest = hashlib.sha256(f"{self.n_rows}x{self.d_in}".encode())
        for lo in np.linspace(0, max(self.n_rows - 16, 0), 16).astype(int):
            digest.update(np.ascontiguousarray(self.read(int(lo), int(lo) + 16)).tobytes())
        return digest.hexdigest()


def parts_of(data: Source, split: Split | None, seed: int) -> dict[str, Rows]:
    """Row numbers to train on, to calibrate on and to measure on: those of a split, or a random twentieth kept out.

    InputError where the split has no training rows.
    """
    if split is not None:
        if not hasattr(split, "train"):
            require_kinds(split=(split, Split))
        if data.samples is not None:
            split.require_of(data.samples)
        parts = {name: data.rows_of(getattr(split, name)) for name in ("train", "calibration", "test")}
        if not len(parts["train"]):
            raise InputError("the split has no training rows", where="split.train")
        for name in ("calibration", "test"):
            parts[name] = parts[name] if len(parts[name]) else parts["train"]
        return parts
    n_out = min(int(data.n_rows * HELD_OUT), HELD_OUT_ROWS)
    if not n_out:
        return dict.fromkeys(("train", "calibration", "test"), Rows(np.zeros(1), np.array([data.n_rows])))
    rng = np.random.default_rng([seed, 2])
    few = n_out < HELD_OUT_ROWS  # a permutation of all is as large as they are many
    drawn = rng.permutation(data.n_rows)[:n_out] if few else rng.choice(data.n_rows, n_out, replace=False)
    held = np.sort(drawn)
    breaks = np.concatenate([[-1], held, [data.n_rows]])
    left = Rows(breaks[:-1] + 1, np.diff(breaks) - 1)
    return {"train": left, "calibration": Rows.of(held), "test": Rows.of(held)}


def origin_of_trained(data: Source, split: Split | None) -> Origin:
    """The origin of an SAE trained on a source: its own, and which samples and families trained it."""
    if data.samples is None:
        return data.origin
    return replace(data.origin, training=Training.of(data.samples, split))


def thinned(rows: Rows, limit: int) -> np.ndarray:
    """At most ``limit`` of some rows, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), limit)).astype(np.int64)]


class Reader:
    """Endless shuffled batches of some rows of a source, by ascending numbers.

    `budget` is the bytes of activations held at once; by default what :meth:`Source.held` says.
    """

    def __init__(
        self, source: Source, rows: Rows | np.ndarray, batch_size: int, seed: int, budget: int | None = None
    ) -> None:
        self.source, self.rows, self.batch_size, self.seed = source, Rows.of(rows), batch_size, seed
        self.held = source.held(batch_size) if budget is None else max(budget // (4 * source.d_in), BLOCK)
        self._units = source.units(self.rows)
        # a group ends with the unit that begins in it
        longest = int(np.diff(self._units).max(initial=0))
        each = self.held if len(self.rows) <= self.held else max(self.held - longest, self.held // 2, 1)
        self._n_groups = -(-len(self.rows) // each)
        self._most = min(-(-len(self.rows) // max(self._n_groups, 1)) + longest, len(self.rows))
        self.epoch = self.group = self.position = 0
        self._held: tuple[int, int] | None = None
        self._n = 0
        self._deal: tuple[int, np.ndarray, np.ndarray] = (-1, self._units, self._units)
        self._data = torch.empty(0, source.d_in)
        self._order = self.places = torch.empty(0, dtype=torch.int64)

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
        filled, places = 0, []
        while filled < self.batch_size:
            self._hold()
            take = self._order[self.position : self.position + self.batch_size - filled]
            lo, hi = max(part.start, filled), max(min(part.stop, filled + len(take)), part.start)
            if lo < hi:
                mine = take[lo - filled : hi - filled]
                torch.index_select(self._data, 0, mine, out=out[lo - part.start : hi - part.start])
                places.append(mine)
            filled += len(take)
            self.position += len(take)
            if self.position == len(self._order):
                self.position, self.group = 0, self.group + 1
                if self.group == self._n_groups:
                    self.group, self.epoch = 0, self.epoch + 1
        self.places = torch.cat(places) if len(places) != 1 else places[0]
        return out, out

    @property
    def at_once(self) -> bool:
        """Whether all rows are held at once; ``places`` then says where among them those of the last batch are."""
        return self._n_groups == 1

    def whole(self) -> Tensor:
        """All rows [n, d_in] in their order, where they are held at once."""
        self._hold()
        return self._data[: self._n]

    def release(self) -> None:
        """Give the rows at hand back: the next batch reads them again."""
        self._held, self._data = None, torch.empty(0, self.source.d_in)

    def _hold(self) -> None:
        """Read and order the current group, unless it is the one at hand."""
        if self._held == (self.epoch, self.group):
            return
        if not (self._n_groups == 1 and self._held):
            places = self._dealt()
            if not len(self._data):  # once: every group goes into the same memory
                self._data = torch.empty(self._most, self.source.d_in)
            self.source.take_together(self.rows[places], self._data[: len(places)])
            self._n = len(places)
        order = np.random.default_rng([self.seed, self.epoch, self.group, 1]).permutation(self._n)
        self._order = torch.from_numpy(order)
        self._held = (self.epoch, self.group)

    def _dealt(self) -> np.ndarray:
        """Places among the rows of the current group: of units in a random order those that begin in its part."""
        sizes = np.diff(self._units)
        if self._deal[0] != self.epoch:
            deal = np.random.default_rng([self.seed, self.epoch]).permutation(len(sizes))
            starts = np.cumsum(sizes[deal]) - sizes[deal]
            self._deal = self.epoch, deal, starts
        _, deal, starts = self._deal
        edges = np.arange(self.group, self.group + 2) * len(self.rows) // self._n_groups
        lo, hi = np.searchsorted(starts, edges)
        mine = np.sort(deal[lo:hi])
        first = np.cumsum(sizes[mine]) - sizes[mine]
        return np.repeat(self._units[mine] - first, sizes[mine]) + np.arange(int(sizes[mine].sum()))


def finite_mean(part: np.ndarray, numbers: Rows | np.ndarray) -> np.ndarray:
    """Mean of some rows [d_in]; InputError, which names it by its number, where one is not finite."""
    mean = part.mean(0)
    if not np.isfinite(mean).all() and not (good := np.isfinite(part).all(1)).all():
        raise InputError(
            "activations hold a value that is not finite",
            where=f"row {int(np.asarray(numbers)[np.argmin(good)])}",
            do="Remove the sample it belongs to.",
        )
    return mean


def moments(source: Source, rows: Rows | np.ndarray) -> tuple[np.ndarray, float]:
    """Mean [d_in] and mean squared distance from it, in float64, from up to 2^18 rows spread evenly.

    InputError where a row is not finite (it is named), or all rows are the same.
    """
    rows = Rows.of(rows)
    if len(rows) > MOMENT_ROWS:
        starts = np.linspace(0, len(rows) - BLOCK, MOMENT_ROWS // BLOCK).astype(np.int64)
        rows = rows[np.unique((starts[:, None] + np.arange(BLOCK)).ravel())]
    n, mean, spread = 0, np.zeros(source.d_in), 0.0
    for piece in source.pieces(rows):
        part = piece.astype(np.float64)
        here = finite_mean(part, rows[n : n + len(part)])
        part -= here  # in place: a part in float64 is the largest thing that is held here
        np.square(part, out=part)
        spread += float(part.sum() + ((here - mean) ** 2).sum() * n * len(part) / (n + len(part)))
        mean += (here - mean) * len(part) / (n + len(part))
        n += len(part)
    if spread <= 1e-20 * n * max(float((mean**2).sum()), 1e-300):
        raise InputError("activations do not vary", expected="rows that differ", got=f"{n} equal rows")
    return mean, spread / n
