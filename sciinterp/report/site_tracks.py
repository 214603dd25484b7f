"""Activations along samples, packed for the browser: every active feature, in chunks of bounded size.

A track is the activation of one feature along one sample. Positions and values of all tracks of a sample are
two little-endian uint16 arrays in base64, a value being a fraction of the sample's largest activation: half the
size of the numbers as text, and exact to 1/65,535 of that maximum. A sample longer than :data:`TILE` is stored
twice: as maxima over equal bins for the whole, and as tiles of positions for the parts one zooms into.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sciinterp.codes.intervals import blocks
from sciinterp.settings import Plain

if TYPE_CHECKING:
    import scipy.sparse as sp

    from sciinterp.codes import FeatureMatrix

TILE = 8192  # positions a tile; also the longest sample that is kept whole
BINS = 2048  # bins of the overview of a longer sample
ENTRIES_A_CHUNK = 40_000  # activations in a chunk of several samples: about 0.4 MB
LETTERS_A_CHUNK = 60_000  # letters in a chunk of several sequences


def cut(weights: np.ndarray, most: int, at_most: int = 64) -> list[int]:
    """First numbers of consecutive blocks whose weights add up to ``most`` or less (a heavier one stands alone).

    Examples
    --------
    >>> cut(np.array([3, 3, 3, 9, 1]), 6)
    [0, 2, 3, 4]
    """
    return [lo for lo, _ in blocks(np.cumsum(weights), most, at_most=at_most)] or [0]


def bin_width(length: int) -> int:
    """Positions a bin of the overview: 1 where a sample is kept whole.

    Examples
    --------
    >>> bin_width(300), bin_width(200_000)
    (1, 98)
    """
    return 1 if length <= TILE else -(-length // BINS)


def pack(codes: sp.csr_array, start: int, stop: int, *, width: int = 1) -> Plain:
    """All tracks over rows ``start`` to ``stop`` of the codes.

    Parameters
    ----------
    codes : csr [n_positions, n_features]
    start, stop : int
        At most 65,536 bins apart.
    width : int
        Positions a bin; the largest value of a bin stands for it.

    Returns
    -------
    dict
        ``width``, ``scale`` (largest value), ``feature`` and ``count`` (one entry a track, features ascending),
        ``at`` and ``value`` (uint16 in base64: bin, and value as a fraction of the scale).
    """
    step = width * max(1, TILE // width)  # whole bins, so that no sort is of a whole chromosome
    parts = [
        _in_bins(codes, start, first, min(first + step, stop), width)
        for first in range(start, max(stop, start + 1), step)
    ]
    feature, at, value = map(np.concatenate, zip(*parts))
    order = np.argsort(feature, kind="stable")
    feature, at, value = feature[order], at[order], value[order]
    names, count = np.unique(feature, return_counts=True)
    scale = float(value.max()) if len(value) else 0.0
    level = np.maximum(np.round(value / (scale or 1.0) * 65535), 1)
    return {
        "width": width,
        "scale": scale,
        "feature": names.tolist(),
        "count": count.tolist(),
        "at": _text(at),
        "value": _text(level),
    }


def _in_bins(
    codes: sp.csr_array, start: int, first: int, last: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Feature, bin and largest value over rows ``first`` to ``last``, bins ascending within each feature."""
    lo, hi = int(codes.indptr[first]), int(codes.indptr[last])
    feature, value = codes.indices[lo:hi].astype(np.int64), codes.data[lo:hi]
    at = np.repeat(np.arange(first - start, last - start) // width, np.diff(codes.indptr[first : last + 1]))
    keep = value > 0
    feature, at, value = feature[keep], at[keep], value[keep]
    order = np.lexsort((at, feature))
    feature, at, value = feature[order], at[order], value[order]
    if len(feature) and width > 1:
        head = np.flatnonzero(np.r_[True, (np.diff(feature) != 0) | (np.diff(at) != 0)])
        feature, at, value = feature[head], at[head], np.maximum.reduceat(value, head)
    return feature, at, value


def _text(numbers: np.ndarray) -> str:
    return base64.b64encode(numbers.astype("<u2").tobytes()).decode("ascii")


def track_chunks(features: FeatureMatrix, starts: list[int]) -> Iterator[tuple[str, object]]:
    """``tracks-i`` for every block of samples, and ``tile-s-t`` for the parts of every long sample."""
    samples, letters = features.samples, features.samples.letters
    for i, (lo, hi) in enumerate(zip(starts, [*starts[1:], len(samples)])):
        block, codes = [], features.by_sample(np.arange(lo, hi))
        starts_here = samples.offsets[lo : hi + 1] - samples.offsets[lo]
        for s, start, stop in zip(range(lo, hi), starts_here.tolist(), starts_here[1:].tolist()):
            width = bin_width(stop - start)
            block.append(pack(codes, start, stop, width=width))
            if width > 1:
                data = letters[s] or ""
                for t, first in enumerate(range(start, stop, TILE)):
                    tile, at = pack(codes, first, min(first + TILE, stop)), first - start
                    yield f"tile-{s}-{t}", {**tile, "start": at, "sequence": data[at : at + TILE]}
        yield f"tracks-{i}", block


def entries(features: FeatureMatrix) -> np.ndarray:
    """int64 [n_samples]: how many activations the packed tracks of every sample hold, at most."""
    samples = features.samples
    count = np.zeros(len(samples), np.int64)
    for lo, hi in features.sample_blocks():
        ends = samples.offsets[lo : hi + 1] - samples.offsets[lo]
        count[lo:hi] = np.diff(features.by_sample(np.arange(lo, hi)).indptr[ends])
    return np.where(samples.lengths > TILE, np.minimum(count, ENTRIES_A_CHUNK), count).astype(np.int64)
