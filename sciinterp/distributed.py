"""Ranks: the processes of one ``torchrun``, which do one verb together.

``torchrun --nproc-per-node 4 -m sciinterp extract ...`` starts the same command four times; every rank makes the same
plan, does its share of it and meets the others where something is needed whole. Shards, blocks of features, baselines,
concepts, tables and whole SAEs of a sweep are dealt, so that what comes out does not depend on the number of ranks; a
training splits each batch, and repeats itself for the same number of ranks. The first rank alone holds locks, writes what
is no share of a rank, and speaks.

A rank that fails ends: ``torchrun`` sees it and stops the others, wherever they wait. What was finished is kept.

Nothing here imports torch before there are several ranks.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


T = TypeVar("T")
R = TypeVar("R")
Part = TypeVar("Part", covariant=True)


class Stretch(Protocol[Part]):
    """Things in a row, of which a part can be taken."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: slice, /) -> Part: ...


# A rank may wait for as long as another's share of the work takes; one that died is seen by its closed connection.
PATIENCE = timedelta(days=7)
# Things that a rank works on at once, each with a block of its own in memory.
MOST = 8
# One entry for each :func:`alone` that is open: in all threads, which work for what opened it.
_ALONE: list[None] = []
# Numbers of names, in the order in which all ranks come to them.
_NUMBER = itertools.count()
_SHARED_BYTES = 16 << 20
# Numbers of a tensor whose halves are added up at once, by the two threads that gloo has: 42 MB in 43 ms, not 52.
_HALVED = 1 << 20


def size() -> int:
    """How many ranks work together; 1 without ``torchrun``.

    Examples
    --------
    >>> size(), rank(), share(10)
    (1, 0, range(0, 10))
    """
    launched = "TORCHELASTIC_RUN_ID" in os.environ and not _ALONE
    return int(os.environ.get("WORLD_SIZE", "1")) if launched else 1


def rank() -> int:
    """Which of them this process is, from 0."""
    return int(os.environ["RANK"]) if size() > 1 else 0


def first() -> bool:
    """Whether this rank holds locks, writes what is no share, and speaks."""
    return rank() == 0


@contextmanager
def alone() -> Iterator[None]:
    """While open this process is the only rank: what it does is not shared out."""
    _ALONE.append(None)
    try:
        yield
    finally:
        _ALONE.pop()


def share(n: int) -> range:
    """This rank's part of ``n`` things in a row."""
    me, of = rank(), size()
    return range(n * me // of, n * (me + 1) // of)


def mine(things: Stretch[R]) -> R:
    """This rank's part of some things, neighbours together."""
    part = share(len(things))
    return things[part.start : part.stop]


def spread(things: Iterable[T], work: Callable[[T], R], *, threads: bool = False) -> Iterable[R]:
    """What ``work`` makes of every thing, in their order: a rank that is free takes the next, and all have all of it.

    Things are a function of the inputs, not of the ranks: then so is what comes out, to the byte. Put those
    that take long first. What is made of one can be pickled; with `threads` a rank works on several at once.

    Examples
    --------
    >>> list(spread(range(3), lambda n: n * n))
    [0, 1, 4]
    """
    if size() == 1:
        return _side_by_side(list(things), work) if threads else map(work, things)
    wanted, name = list(things), common_name()
    most = workers(min(len(wanted), MOST)) if threads else 1
    turns = [_turns(name, len(wanted)) for _ in range(most)]

    def taken(numbers: Iterator[int]) -> list[tuple[int, R]]:
        return [(number, work(wanted[number])) for number in numbers]

    with alone(), ThreadPoolExecutor(most) as pool:  # one at a time stays in the thread whose memory is warm
        own = list(pool.map(taken, turns) if most > 1 else map(taken, turns))
    found = dict(one for of_rank in gathered(own) for of_thread in of_rank for one in of_thread)
    return [found[number] for number in range(len(wanted))]


def _turns(name: str, n: int) -> Iterator[int]:
    """Numbers up to ``n`` that no other rank or thread takes, as they are asked for."""
    while (number := _common().add(name, 1) - 1) < n:
        yield number


def once(name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array that ranks need, each when it comes to it, as the first of them made it; those that come meanwhile make it too.

    `name` begins with a :func:`common_name`; nothing is shared under one that is empty, nor an array of more
    than 16 MB.
    """
    if not name:
        return make()
    if _common().check([name]):
        return np.load(io.BytesIO(_common().get(name)), allow_pickle=False)
    made, file = make(), io.BytesIO()
    if made.nbytes <= _SHARED_BYTES:
        np.save(file, made)
        _common().set(name, file.getvalue())
    return made


def common_name() -> str:
    """A name that no other has and all ranks know, all having come here; empty where there are none."""
    if size() == 1:
        return ""
    begin()
    return f"of all ranks {next(_NUMBER)}"


def _common() -> Any:
    """The store that all ranks of a torchrun have in common."""
    return _joined_ranks().distributed_c10d._get_default_store()


def _side_by_side(things: list[T], work: Callable[[T], R]) -> Iterator[R]:
    """In their order, none kept once it was given."""
    with ThreadPoolExecutor(workers(min(len(things), MOST))) as pool:
        yield from pool.map(work, things)


def workers(most: int) -> int:
    """Threads for so many things side by side: the processors this one may use, parted among the machine's ranks."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    allowed = getattr(os, "sched_getaffinity", None)  # fewer than the machine has under SLURM or taskset
    return max(1, min(most, (len(allowed(0)) if allowed else os.cpu_count() or 1) // ranks))


def begin() -> None:
    """Join the other ranks; nothing where there are none, or a second time."""
    if size() > 1:
        _joined_ranks()


def _joined_ranks() -> ModuleType:
    """torch's own module, after this rank has joined the others."""
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group("gloo", timeout=PATIENCE)
    return dist


def end() -> None:
    """Leave the other ranks, all having come here."""
    if size() == 1:
        return
    import torch.distributed as dist

    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
        _cards.cache_clear()


def gathered(value: T) -> list[T]:
    """What every rank says, in the order of the ranks."""
    if size() == 1:
        return [value]
    dist = _joined_ranks()
    found = [value] * size()
    dist.all_gather_object(found, value)
    return found


def told(value: T) -> T:
    """What the first rank says."""
    if size() == 1:
        return value
    dist = _joined_ranks()
    said = [value]
    dist.broadcast_object_list(said, src=0)
    return said[0]


def meet() -> None:
    """Wait until every rank has come here."""
    gathered(None)


def total(number: int) -> int:
    """Sum of what every rank counted."""
    return sum(gathered(number))


def add_up(tensor: Tensor) -> Tensor:
    """Sum of the ranks' tensors, in place: by NCCL on graphics cards, by gloo elsewhere."""
    if size() == 1:
        return tensor
    dist = _joined_ranks()
    group = _cards() if tensor.device.type == "cuda" else None
    halves = tensor.view(-1).chunk(2 if tensor.numel() >= _HALVED else 1)
    passing = [dist.all_reduce(half, group=group, async_op=True) for half in halves]
    for half in filter(None, passing):
        half.wait()
    return tensor


@cache
def _cards():
    """The ranks on their graphics cards."""
    import torch.distributed as dist

    return dist.new_group(backend="nccl", timeout=PATIENCE)


def joined(tensor: Tensor) -> list[Tensor]:
    """The ranks' tensors, which may differ in length, in the order of the ranks."""
    if size() == 1:
        return [tensor]
    return [part.to(tensor.device) for part in gathered(tensor.cpu())]


def exchange(tensor: Tensor) -> None:
    """Let every rank have what each wrote into its :func:`share` of a tensor's rows, in place."""
    if size() == 1:
        return
    dist = _joined_ranks()
    edges = [len(tensor) * r // size() for r in range(size() + 1)]
    for source, (lo, hi) in enumerate(zip(edges, edges[1:])):
        if lo < hi:
            dist.broadcast(tensor[lo:hi], src=source)


def is_lost(error: RuntimeError) -> bool:
    """Whether an error says that another rank is gone: its end of a connection was closed."""
    told = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Application timeout")
    return size() > 1 and any(words in str(error) for words in told)


def fails_first() -> bool:
    """Whether this rank is the first to fail, and so the one that says why."""
    if size() == 1:
        return True
    import torch.distributed as dist

    if not dist.is_initialized():
        return first()
    return _common().add("failed", 1) == 1
