"""The plan of an extraction: windows, shards and batches, all functions of the samples and the settings.

A shard is a run of consecutive samples; its batches are made of samples of similar length inside it, so that
little of a batch is padding and a shard is a function of its samples alone, wherever a resumed run begins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from sciinterp.activations.settings import ExtractSettings
from sciinterp.errors import InputError
from sciinterp.models.engine import plan_batches
from sciinterp.samples import Samples
from sciinterp.store.layout import ENVIRONMENT, shard_bounds

if TYPE_CHECKING:
    from sciinterp.models import Adapter


class Item(NamedTuple):
    """What goes through the model at once: positions [lo, hi) of one sample."""

    sample: int
    lo: int
    hi: int


class Work:
    """The plan of a run: items, shards and batches, all functions of the samples and the settings."""

    def __init__(self, model: Adapter, samples: Samples, max_tokens: int, settings: ExtractSettings) -> None:
        self.model, self.samples, self.settings = model, samples, settings
        self.max_tokens = min(max_tokens, model.max_tokens or max_tokens)
        self.max_samples = 1 if model.batch_dependent else None
        limit = model.max_length
        long = limit is not None and model.over_length == "window" and int(samples.lengths.max()) > limit
        self.window = limit if long and limit else 0
        self.overlap = settings.overlap
        if self.window:
            if self.overlap >= self.window:
                raise InputError(
                    "windows must advance",
                    where="overlap",
                    expected=f"below the model's length {self.window}",
                    got=str(self.overlap),
                )
            if not samples.is_text:
                raise InputError(
                    f"too long for {model.name}",
                    where="samples that are not sequences",
                    expected=f"at most {limit} positions",
                    do="Only sequences can be cut into windows.",
                )
        self.bounds = shard_bounds(samples.lengths, settings.shard_tokens)

    def items(self, number: int) -> list[Item]:
        """What a shard sends through the model, in the order of the samples."""
        out = []
        for i in range(self.bounds[number], self.bounds[number + 1]):
            n = int(self.samples.lengths[i])
            starts = window_starts(n, self.window, self.overlap) if self.window else [0]
            out += [Item(i, lo, min(lo + self.window, n) if self.window else n) for lo in starts]
        return out

    def batches(self, items: Sequence[Item]) -> list[np.ndarray]:
        """Numbers of the items of each batch of a shard."""
        lengths = np.array([item.hi - item.lo for item in items])
        return plan_batches(lengths, self.max_tokens, max_samples=self.max_samples)

    def plan(self, threads: int) -> dict[str, object]:
        """Everything the bytes of the store depend on, site and type apart."""
        digest, real, padded = hashlib.sha256(), 0, 0
        for number in range(len(self.bounds) - 1):
            items = self.items(number)
            lengths = np.array([item.hi - item.lo for item in items])
            for batch in self.batches(items):
                digest.update(np.asarray(batch, "<i8").tobytes() + b"/")
                real += int(lengths[batch].sum())
                padded += int(lengths[batch].max()) * len(batch)
        windows = {"length": self.window, "overlap": self.overlap, "combine": "mean"} if self.window else None
        return {
            "samples": {
                "n": len(self.samples),
                "positions": self.samples.n_positions,
                "digest": self.samples.digest,
            },
            "shards": self.bounds,
            "max_tokens": self.max_tokens,
            "batches_sha256": digest.hexdigest(),
            "padding": round(1 - real / padded, 6),
            "windows": windows,
            "nonfinite": self.settings.nonfinite,
            ENVIRONMENT: environment(self.model.device, threads),
        }


def environment(device: torch.device, threads: int) -> dict[str, object]:
    """What can change the last bit of a number that torch computes."""
    name = device.type
    if name == "cuda":
        name = torch.cuda.get_device_name(device)
    elif name == "cpu":
        name = f"cpu {torch.backends.cpu.get_cpu_capability()}"
    return {"torch": torch.__version__, "threads": threads, "device": name}


def window_starts(n: int, window: int, overlap: int) -> list[int]:
    """Where the windows of a sample of ``n`` positions begin; the last one ends with the sample.

    Examples
    --------
    >>> window_starts(10, 6, 2), window_starts(6, 6, 2), window_starts(11, 6, 2)
    ([0, 4], [0], [0, 4, 5])
    """
    if n <= window:
        return [0]
    starts = list(range(0, n - window, window - overlap))
    return [*starts, n - window]
