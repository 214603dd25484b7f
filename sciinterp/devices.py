"""Where torch computes: a device that is there, or one line before any work.

Every verb that computes with torch takes ``device=``, every such command ``--device``. A model is where
:func:`sciinterp.load_model` put it, an SAE where it was trained or read (the processor); a verb that is told a device
moves what it works with there, once, and back when it has ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import shorten
from typing import Protocol

import torch

from sciinterp.errors import InputError, no_such

KINDS = ("cpu", "cuda", "mps", "auto")


class Placed(Protocol):
    """A model or an SAE: it has a device, and can be moved in place."""

    @property
    def device(self) -> torch.device: ...

    def to(self, device: torch.device | str) -> object: ...


def device_of(name: str | torch.device) -> torch.device:
    """A device that is there, or an InputError that lists those that are: "cpu", "cuda", "cuda:1", "mps" or "auto".

    "auto" is a graphics card where there is one, else the processor. Of several ranks on one machine
    (``torchrun``) each gets its own card by "cuda" and "auto".

    Examples
    --------
    >>> device_of("cpu")
    device(type='cpu')
    """
    wanted = str(name)
    if wanted == "auto":
        wanted = (
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    if wanted == "cuda" and "LOCAL_RANK" in os.environ:
        wanted = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device).fill_(0)
    except Exception as error:
        if wanted.partition(":")[0] not in KINDS:
            raise no_such("device here", wanted, KINDS, where="device") from None
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        there += ["mps"] * torch.backends.mps.is_available()
        raise InputError(
            "no such device here",
            where="device",
            expected=" or ".join(there),
            got=f"{wanted!r} ({shorten(str(error).split('. ')[0] or type(error).__name__, 100)})",
        ) from None
    return device


@contextmanager
def moved(device: str | torch.device | None, *things: Placed) -> Iterator[torch.device]:
    """While open, models and SAEs are on one device: the one named, or where the first of them is; then back.

    InputError where there is no such device here; nothing was moved.
    """
    target = things[0].device if device is None else device_of(device)
    homes = [thing.device for thing in things]
    try:
        for thing in things:
            thing.to(target)
        yield target
    finally:
        for thing, home in zip(things, homes):
            thing.to(home)


@contextmanager
def using_threads(number: int) -> Iterator[None]:
    """While open, torch works with this many threads."""
    before = torch.get_num_threads()
    if number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
