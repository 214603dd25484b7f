"""Settings of :func:`sciinterp.extract`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sciinterp.settings import at_least, make_plain


@dataclass(frozen=True)
class ExtractSettings:
    """How the work is cut up, and what happens to what does not fit.

    Parameters
    ----------
    shard_tokens : int
        Positions of a shard, about: what a killed run has to repeat at most, and what memory holds.
    overlap : int
        Positions that neighbouring windows of a long sample share; more where a window must begin with a token of several
        letters.
    nonfinite : {"stop", "skip"}
        A NaN or an infinity among a sample's activations stops the run, or leaves the sample without rows and
        counts it.
    """

    shard_tokens: int = 65536
    overlap: int = 128
    nonfinite: Literal["stop", "skip"] = "stop"

    def __post_init__(self) -> None:
        make_plain(self, shard_tokens=at_least(1), overlap=at_least(0))
