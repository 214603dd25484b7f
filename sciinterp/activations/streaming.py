"""Activations that are computed when they are used, and never written: a model and its samples as a source of rows.

A stream answers as a store does (rows by number, rows of samples, spans), so that training and encoding take either. A
training reads it in groups of whole samples that fit the buffer, dealt anew every epoch and shuffled as a whole: what
is held does not grow with the samples, every row is computed once an epoch, and a resumed training computes its own
group again and goes on with the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from sciinterp.activations.extraction import fingerprints, landed
from sciinterp.activations.plan import Work
from sciinterp.activations.recorded import rows_of
from sciinterp.activations.settings import ExtractSettings
from sciinterp.errors import InputError, StoreError, require_kinds
from sciinterp.models.adapter import Adapter
from sciinterp.models.engine import MAX_TOKENS, capture, plan_batches, spans_of
from sciinterp.provenance import HasOrigin, Origin
from sciinterp.samples import Samples
from sciinterp.settings import at_least, plain_value
from sciinterp.store.atomic import to_json

if TYPE_CHECKING:
    import pandas as pd

# Samples whose tokens are counted at once.
COUNTED = 256
# Tokens of a batch on the processor. On AntiBERTy, one thread, 13,000 tokens take 6.8 s of processor in batches of 512 and
# 6.4 to 7.0 in batches of 1,024 and 2,048, whose changing shapes leave 60 MB of scattered memory behind.
PROCESSOR_TOKENS = 512


def stream(
    model: Adapter,
    samples: Samples | pd.DataFrame,
    *,
    site: str,
    max_tokens: int | None = None,
    buffer_tokens: int | None = None,
) -> Stream:
    """A model's activations on samples as a source for :func:`sciinterp.train`, without writing them.

    Use it where the activations would not fit the disk, or are used once. The model runs once an epoch; a store
    (:func:`sciinterp.extract`) is the better choice for several trainings, neurons and components.

    Parameters
    ----------
    model : Adapter
        It computes where it is.
    samples : Samples
        None longer than the model takes.
    site : str
    max_tokens : int, optional
        Tokens of a batch of the model, padding included; by default 512 on the processor, which larger batches make no
        faster, and 8,192 elsewhere.
    buffer_tokens : int, optional
        Rows held and shuffled together, about; by default those of 16 batches of the training, and where samples are
        long those of 128 samples, up to 262,144 rows.

    Returns
    -------
    Stream
        With the origin of stored activations: ``sae.check`` takes the one for the other.

    Raises
    ------
    InputError
        No such site, no samples, or one that the model cannot take whole.

    Examples
    --------
    >>> import sciinterp as si
    >>> from sciinterp.testing import tiny_model
    >>> model, _ = tiny_model()
    >>> samples = si.Samples(["a", "b"], ["EVQLVESGGGLVQPGG", "QVQLQQSGAE"])
    >>> si.stream(model, samples, site="layers.0")
    Stream(antiberty at layers.0: 2 samples, 26 tokens x 16)
    """
    require_kinds(model=(model, Adapter))
    samples = Samples.coerce(samples)
    if not len(samples):
        raise InputError("nothing to read", expected="at least one sample", got="0 samples")
    if buffer_tokens is not None:
        buffer_tokens = plain_value(buffer_tokens, int, "buffer_tokens", at_least(1))
    record = model.site(site)
    model.check(samples)
    if max_tokens is None:
        max_tokens = PROCESSOR_TOKENS if model.device.type == "cpu" else MAX_TOKENS
    most = plain_value(max_tokens, int, "max_tokens", at_least(1))
    work = Work(model, samples, most, ExtractSettings(overlap=0))
    if work.window:
        raise InputError(
            f"too long for {model.name}",
            where="samples",
            expected=f"at most {work.window} positions",
            do="Cut them, or use sciinterp.extract, which reads them in windows.",
        )
    return Stream(work, record.name, int(record.width), buffer_tokens)


class Stream(HasOrigin):
    """Activations of samples at a site, computed when they are read; made by :func:`stream`.

    Attributes
    ----------
    samples : Samples
    site : str
    d_in, n_tokens : int
    token_offsets : ndarray of int64 [n_samples + 1]
    origin : Origin
        That of activations stored as float32.
    digest : str
        Of samples, model and site.
    buffer_tokens : int, optional
    """

    def __init__(self, work: Work, site: str, d_in: int, buffer_tokens: int | None) -> None:
        self._work, self.model, self.samples = work, work.model, work.samples
        self.site, self.d_in, self.buffer_tokens = site, d_in, buffer_tokens
        n = len(self.samples)
        counts = np.fromiter(map(len, self._spans(range(n))), np.int64, n)
        self.token_offsets: Int[np.ndarray, " n_samples_1"] = np.r_[0, np.cumsum(counts)]
        self.n_tokens = int(self.token_offsets[-1])
        self.fingerprint: dict[str, object] = fingerprints(work, [site])[site]
        identity = {**self.model.origin_at(site).to_record(), "kept_as": "float32"}
        self.origin = Origin.from_record({"site": site, **identity, "fingerprint": self.fingerprint})
        about = {"samples": self.samples.digest, "identity": identity, "max_tokens": work.max_tokens}
        self.digest = hashlib.sha256(to_json(about)).hexdigest()

    def _spans(self, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """Spans of the tokens of some samples, which need no pass of the model."""
        size = 1 if self.model.batch_dependent else COUNTED
        for lo in range(0, len(numbers), size):
            batch = self.model.encode([self.samples[i] for i in numbers[lo : lo + size]])
            yield from (span.numpy() for span in spans_of(self.model, self.site, batch))

    def take(
        self, rows: Int[np.ndarray, " n"], out: Float[np.ndarray, "n d_in"] | None = None
    ) -> Float[np.ndarray, "n d_in"]:
        """The rows of ascending numbers."""
        out = np.empty((len(rows), self.d_in), np.float32) if out is None else out
        wanted = np.unique(np.searchsorted(self.token_offsets, rows, side="right") - 1)
        held = np.cumsum(self.samples.lengths[wanted]) // self._work.settings.shard_tokens
        for part in np.split(wanted, np.flatnonzero(np.diff(held)) + 1):
            for batch in plan_batches(
                self.samples.lengths[part], self._work.max_tokens, max_samples=self._work.max_samples
            ):
                self._put(part[batch], rows, out)
        return out

    def _put(self, numbers: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
        """Compute some samples, and write those of their rows that are wanted."""
        encoded = self.model.encode([self.samples[int(i)] for i in numbers])
        captured = landed(capture(self.model, [self.site], encoded)[self.site])
        for i, values in zip(numbers, captured):
            first, last = self.token_offsets[i], self.token_offsets[i + 1]
            lo, hi = np.searchsorted(rows, [first, last])
            out[lo:hi] = values.detach().float().numpy()[rows[lo:hi] - first]
            if not np.isfinite(out[lo:hi]).all():
                raise InputError(
                    "NaN or infinity in the activations",
                    where=f"sample {self.samples.ids[i]!r} site {self.site!r}",
                    do="Leave the sample out.",
                )

    def read(self, lo: int, hi: int) -> Float[np.ndarray, "n d_in"]:
        """Rows ``[lo, hi)``."""
        self._require_rows(lo, hi)
        return self.take(np.arange(int(lo), int(hi)))

    def _require_rows(self, lo: int, hi: int) -> None:
        if not 0 <= lo <= hi <= self.n_tokens:
            expected, got = f"0 <= lo <= hi <= {self.n_tokens}", f"lo={lo}, hi={hi}"
            raise StoreError("rows outside the stream", where=repr(self), expected=expected, got=got)

    def read_spans(self, lo: int, hi: int) -> dict[str, np.ndarray]:
        """``start``, ``end`` (half-open) and ``strand`` of the tokens ``[lo, hi)``."""
        self._require_rows(lo, hi)
        first = int(np.searchsorted(self.token_offsets, lo, side="right")) - 1
        last = int(np.searchsorted(self.token_offsets, hi, side="left"))
        spans = self._spans(range(first, last)) if lo < hi else ()
        joined = np.concatenate([np.zeros((0, 3), np.int64), *spans])
        start, end, strand = joined[lo - self.token_offsets[first] :][: hi - lo].T
        return {"start": start, "end": end, "strand": strand.astype(np.int8)}

    def rows(self, samples: Int[np.ndarray, " k"] | Sequence[int]) -> Int[np.ndarray, " n"]:
        """Row numbers of all tokens of these samples, samples in the order given."""
        return rows_of(self.token_offsets, samples)

    def __repr__(self) -> str:
        return (
            f"Stream({self.origin.model} at {self.site}: {len(self.samples):,} samples, "
            f"{self.n_tokens:,} tokens x {self.d_in})"
        )
