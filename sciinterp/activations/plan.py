"""The plan of an extraction: windows, shards and batches, all functions of the samples and the settings.

A shard is a run of consecutive samples; its batches are made of samples of similar length inside it, so that
little of a batch is padding and a shard is a function of its samples alone, wherever a resumed run begins.

A long sample goes through the model in windows. Where tokens are words of several letters a window begins with a token of the one
before, so that both part the letters there alike, and each position is kept once: tokens of the earlier window up to the last place
where both have an end of a token, those of the later one from there on. A word that the end of a window cut is none of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from sciinterp.activations.settings import ExtractSettings
from sciinterp.errors import InputError
from sciinterp.models.engine import plan_batches
from sciinterp.samples import Sample, Samples
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
        self._starts: dict[int, list[int]] = {}

    def starts(self, number: int) -> list[int]:
        """Where the windows of a sample begin."""
        n = int(self.samples.lengths[number])
        if not self.window or n <= self.window:
            return [0]
        if number not in self._starts:
            sample = self.samples[number]

            def tokens(lo: int, hi: int) -> np.ndarray:
                batch = self.model.encode([Sample(sample.id, sample.sequence[lo:hi])])
                return lo + batch.spans[0][batch.mask[0]][:, 0].numpy()

            def fits(lo: int) -> bool:
                try:
                    self.model.check([Sample(sample.id, sample.sequence[lo:])])
                except InputError:
                    return False
                return True

            self._starts[number] = window_starts(n, self.window, self.overlap, tokens, fits)
        return self._starts[number]

    def items(self, number: int) -> list[Item]:
        """What a shard sends through the model, in the order of the samples."""
        out = []
        for i in range(self.bounds[number], self.bounds[number + 1]):
            n = int(self.samples.lengths[i])
            out += [Item(i, lo, min(lo + self.window, n) if self.window else n) for lo in self.starts(i)]
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


def window_starts(
    n: int,
    window: int,
    overlap: int,
    tokens: Callable[[int, int], np.ndarray] | None = None,
    fits: Callable[[int], bool] = lambda _: True,
) -> list[int]:
    """Where the windows of a sample of ``n`` positions begin; the last one ends with the sample.

    Parameters
    ----------
    n, window, overlap : int
    tokens : callable, optional
        Where the tokens of the positions ``[lo, hi)`` begin; by default everywhere. Windows that have to begin with a token
        overlap by more where it begins earlier, and the last one may be shorter.
    fits : callable, optional
        Whether all positions from one on fit into a window: letters behind the last word are tokens of their own.

    Examples
    --------
    >>> window_starts(10, 6, 2), window_starts(6, 6, 2), window_starts(11, 6, 2)
    ([0, 4], [0], [0, 4, 5])
    >>> window_starts(11, 6, 2, lambda lo, hi: np.arange(lo, hi, 3))  # words of three
    [0, 3, 6]
    """
    starts = [0]
    while (lo := starts[-1]) + window < n:
        latest = lo + window - overlap
        if tokens is None:
            starts.append(min(latest, n - window))
            continue
        places = np.append(tokens(lo, lo + window), lo + window)
        places = places[places > lo]
        last = next((int(place) for place in places if place >= n - window and fits(int(place))), n)
        # where nothing that is left fits, a window before it ends within the sample
        before = places[places <= (latest if last < n else min(latest, n - window - 1))]
        step = int(before.max() if len(before) else places.min())
        starts.append(last if last <= latest or step + window >= n > last else step)
    return starts


def kept_tokens(windows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Which tokens of the windows of one sample are kept, so that each position is covered once.

    Parameters
    ----------
    windows : sequence of int [n_tokens, 3]
        Start, end and strand of the tokens of each window, in the order of the sample.

    Returns
    -------
    list of bool [n_tokens]

    Raises
    ------
    InputError
        Two windows have no end of a token in common where they overlap.

    Examples
    --------
    >>> one, two = np.array([[0, 3, 0], [3, 6, 0], [6, 7, 0]]), np.array([[3, 6, 0], [6, 9, 0]])
    >>> [kept.tolist() for kept in kept_tokens([one, two])]  # the window's end cut the word at 6
    [[True, True, False], [False, True]]
    """
    keep, cut = [np.ones(len(spans), bool) for spans in windows], 0
    begin = [spans[:, 0].min() for spans in windows]
    for k, (one, two) in enumerate(pairwise(windows)):
        if one[:, 1].max() <= begin[k + 1]:
            continue
        common = np.intersect1d(_ends(one), _ends(two))
        # not beyond where the window after them begins, so that it has a place in common as well
        common = common[(common >= cut) & (common <= min(begin[k + 2 :], default=common.max(initial=0)))]
        if not len(common):
            raise InputError("windows cut the tokens in different places")
        cut = int(common[-1])
        keep[k] &= one[:, 1] <= cut
        keep[k + 1] &= two[:, 0] >= cut
    return keep


def _ends(spans: np.ndarray) -> np.ndarray:
    """Places where a token begins or ends, and none goes on."""
    starts, stops = np.sort(spans[:, 0]), np.sort(spans[:, 1])
    places = np.unique(spans[:, :2])
    begun = np.searchsorted(starts, places, side="left")
    return places[begun == np.searchsorted(stops, places, side="right")]
