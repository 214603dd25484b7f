"""Seeded, shuffled batches by sequential reads, with a bounded buffer and an exact position.

The rows are cut into blocks of neighbours. In every epoch the blocks are put in a new random order and read,
a pool of many blocks at a time; the rows of a pool are shuffled and handed out. So the disk sees long reads,
memory holds one pool, and a batch mixes rows from all over the store. Batches run on over the end of an
epoch, so all have the same size. The order is a function of (rows, batch size, seed) alone: the state is one
number, and a stream begun from it goes on as if it had never stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from sciinterp.errors import MismatchError, ShapeError

# Rows read in one piece: half a megabyte at width 512 in float32.
BLOCK = 256
# Rows of one pool, unless they would pass POOL_BYTES; a pool is what a resumed stream has to read again.
POOL = 1 << 16
POOL_BYTES = 1 << 28
# Rows further apart than this are read separately rather than read over.
GAP = 64


class Source(Protocol):
    """Where rows come from: a store of activations or a plain array."""

    n: int
    d_in: int

    def read_stored(self, lo: int, hi: int) -> np.ndarray:
        """Rows ``[lo, hi)`` in their own type."""
        ...

    def widen(self, stored: np.ndarray) -> np.ndarray:
        """The same rows as float32."""
        ...


class ArraySource:
    """A plain array or memmap [n, d_in] as a source of rows.

    Examples
    --------
    >>> source = ArraySource(np.ones((3, 2)))
    >>> source.n, source.d_in
    (3, 2)
    """

    def __init__(self, array: np.ndarray) -> None:
        if getattr(array, "ndim", 0) != 2:
            raise ShapeError(
                "activations must be a matrix", expected="shape [n, d_in]", got=f"shape {np.shape(array)}"
            )
        self.array = array
        self.n, self.d_in = (int(x) for x in array.shape)

    def read_stored(self, lo: int, hi: int) -> np.ndarray:
        """Rows ``[lo, hi)``."""
        return np.asarray(self.array[lo:hi])

    def widen(self, stored: np.ndarray) -> np.ndarray:
        """float32 of the rows."""
        return np.asarray(stored, dtype=np.float32)


class RowStream(Iterator[np.ndarray]):
    """An endless iterator of shuffled float32 batches [batch_size, d_in]; see :func:`stream_rows`.

    Attributes
    ----------
    state : dict
        Where the stream is, as plain JSON; hand it to :func:`stream_rows` to go on from here.
    epoch : float
        How many times the rows have been seen.
    """

    def __init__(self, source: Source, rows: np.ndarray | None, batch_size: int, seed: int) -> None:
        self._source, self._rows = source, rows
        self.n_rows = source.n if rows is None else len(rows)
        self.batch_size, self.seed = int(batch_size), int(seed)
        self.d_in = source.d_in
        self._position = 0
        per_pool = max(BLOCK, min(POOL, POOL_BYTES // (4 * max(self.d_in, 1))))
        self._blocks_per_pool = max(1, per_pool // BLOCK)
        self._n_blocks = -(-self.n_rows // BLOCK)
        self._epoch = -1
        self._pool_key = (-1, -1)
        self._pool = np.zeros((0, self.d_in), np.float32)
        self._order = np.zeros(0, np.int64)
        self._loaded = -1

    @property
    def state(self) -> dict[str, Any]:
        """The position, JSON-able, with what it is a position in."""
        return {
            "position": self._position,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "n_rows": self.n_rows,
            "rows_sha256": self._rows_sha256(),
            "layout": [BLOCK, self._blocks_per_pool],
        }

    @property
    def epoch(self) -> float:
        """Rows handed out so far, in multiples of all rows."""
        return self._position / self.n_rows

    def _rows_sha256(self) -> str:
        if not hasattr(self, "_digest"):
            raw = b"all" if self._rows is None else np.ascontiguousarray(self._rows).tobytes()
            self._digest = hashlib.sha256(raw).hexdigest()
        return self._digest

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to a position.

        Raises
        ------
        MismatchError
            The state is of a stream over other rows, or with another seed or batch size.
        """
        mine = self.state
        for name in ("seed", "batch_size", "n_rows", "rows_sha256", "layout"):
            if state.get(name) != mine[name]:
                raise MismatchError(
                    f"the state belongs to another stream ({name} differs)",
                    expected=str(mine[name]),
                    got=str(state.get(name)),
                    do="Resume with the same rows, seed and batch size.",
                )
        self._position = int(state["position"])

    def __next__(self) -> np.ndarray:
        out = np.empty((self.batch_size, self.d_in), np.float32)
        done = 0
        while done < self.batch_size:
            epoch, within = divmod(self._position, self.n_rows)
            offset = self._load(epoch, within)
            take = self._order[offset : offset + self.batch_size - done]
            out[done : done + len(take)] = self._source.widen(self._pool[take])
            done += len(take)
            self._position += len(take)
        return out

    def _load(self, epoch: int, within: int) -> int:
        """Make the pool that holds place ``within`` of an epoch current; return the place inside it."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._blocks = np.random.default_rng([self.seed, epoch, 0]).permutation(self._n_blocks)
            sizes = np.full(self._n_blocks, BLOCK)
            sizes[-1] = self.n_rows - BLOCK * (self._n_blocks - 1)
            ends = np.cumsum(sizes[self._blocks])
            step = self._blocks_per_pool
            self._starts = np.concatenate([[0], ends[step - 1 :: step]])
        number = int(np.searchsorted(self._starts, within, side="right")) - 1
        if self._pool_key != (epoch, number):
            blocks = np.sort(
                self._blocks[number * self._blocks_per_pool : (number + 1) * self._blocks_per_pool]
            )
            # One pool holds everything: read once for all epochs.
            if self._n_blocks > self._blocks_per_pool or self._loaded < 0:
                self._pool = np.zeros((0, self.d_in), np.float32)  # freed before the next is read
                self._pool = np.concatenate([self._read_block(int(b)) for b in blocks])
                self._loaded = number
            self._order = np.random.default_rng([self.seed, epoch, 1, number]).permutation(len(self._pool))
            self._pool_key = (epoch, number)
        return within - int(self._starts[number])

    def _read_block(self, block: int) -> np.ndarray:
        lo, hi = block * BLOCK, min((block + 1) * BLOCK, self.n_rows)
        if self._rows is None:
            return self._source.read_stored(lo, hi)
        rows = self._rows[lo:hi]
        parts = []
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > GAP) + 1):
            base = int(run[0])
            parts.append(self._source.read_stored(base, int(run[-1]) + 1)[run - base])
        return np.concatenate(parts)


def stream_rows(
    source: Source | np.ndarray,
    rows: np.ndarray | None = None,
    *,
    batch_size: int = 2048,
    seed: int = 0,
    state: Mapping[str, Any] | None = None,
) -> RowStream:
    """Shuffled batches without end, over all rows of a source or some of them.

    Parameters
    ----------
    source : Source or array [n, d_in]
    rows : int array, optional
        Numbers of the rows to use, in any order; a row named twice is seen twice. All rows by default.
    batch_size : int
    seed : int
    state : mapping, optional
        ``.state`` of an earlier stream over the same rows: the new one goes on where it was.

    Returns
    -------
    RowStream
        Yields float32 arrays [batch_size, d_in]. Every row is seen once in each epoch.

    Raises
    ------
    ShapeError
        No rows, or rows outside the source.
    MismatchError
        The state belongs to another stream.

    Examples
    --------
    >>> first = stream_rows(np.arange(10.0)[:, None], batch_size=5, seed=1)
    >>> one, state, two = next(first), first.state, next(first)
    >>> again = stream_rows(np.arange(10.0)[:, None], batch_size=5, seed=1, state=state)
    >>> bool((next(again) == two).all())
    True
    >>> sorted(np.concatenate([one, two]).ravel().tolist()) == list(range(10))
    True
    """
    place: Source = source if hasattr(source, "read_stored") else ArraySource(source)  # type: ignore[assignment]
    if rows is not None:
        rows = np.sort(np.asarray(rows, dtype=np.int64).ravel())
        if len(rows) and (rows[0] < 0 or rows[-1] >= place.n):
            raise ShapeError(
                "rows outside the activations", expected=f"0 to {place.n - 1}", got=f"{rows[0]} to {rows[-1]}"
            )
    if (place.n if rows is None else len(rows)) == 0 or batch_size < 1:
        raise ShapeError(
            "nothing to stream",
            expected="at least one row and a batch size of at least 1",
            got=f"{place.n if rows is None else len(rows)} rows, batch size {batch_size}",
        )
    stream = RowStream(place, rows, batch_size, seed)
    if state is not None:
        stream.restore(state)
    return stream
