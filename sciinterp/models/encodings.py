"""From text to tokens: one letter per token, k-mers that re-phase, and tokenisers that know their offsets.

An encoding is a small record with an `alphabet` and an `encode` method, so that adapters of many models share
it. Letters are looked up here and not by a framework's tokeniser, which may merge or drop what it does not
know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional as F

from sciinterp.errors import InputError

from .site import NO_SPAN, Batch, unit_spans

COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


class Encoding(Protocol):
    """What turns text into a batch."""

    @property
    def alphabet(self) -> str:
        """Letters a sequence may hold."""
        ...

    def encode(self, sequences: Sequence[Any]) -> Batch:
        """A batch of sequences whose letters are all in the alphabet, or of what else the encoding reads."""
        ...


class Tokeniser(Protocol):
    """What is used of a fast tokeniser of transformers."""

    pad_token_id: int | None
    unk_token_id: int | None
    mask_token_id: int | None

    def get_vocab(self) -> Mapping[str, int]: ...

    def __call__(
        self, text: str, *, return_offsets_mapping: bool = ..., truncation: bool = ...
    ) -> Mapping[str, list]: ...


@dataclass(frozen=True)
class Letters:
    """One token per letter between fixed special tokens.

    Parameters
    ----------
    ids : mapping of letter to token
    pad : int
    prefix, suffix : tuples of int
    name : str
        Key of the tokens in the batch's inputs.
    """

    ids: Mapping[str, int]
    pad: int
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    name: str = "input_ids"

    @property
    def alphabet(self) -> str:
        return "".join(self.ids)

    def positions(self, n_tokens: int) -> int:
        """Positions that so many tokens hold at most, special ones among them."""
        return n_tokens - len(self.prefix) - len(self.suffix)

    def encode(self, sequences: Sequence[str]) -> Batch:
        return letters_to_batch(
            sequences, self.ids, pad=self.pad, prefix=self.prefix, suffix=self.suffix, name=self.name
        )


@dataclass(frozen=True)
class Kmers:
    """Words of k letters from the left, single letters where a word would hold N or run over the end.

    Words start anew after every single letter: their phase is not a stride (Dalla-Torre and others 2023).

    Parameters
    ----------
    ids : mapping of word and of single letter to token
    k : int
    pad : int
    prefix, suffix : tuples of int
    """

    ids: Mapping[str, int]
    k: int
    pad: int
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()

    @property
    def alphabet(self) -> str:
        return "".join(w for w in self.ids if len(w) == 1)

    def positions(self, n_tokens: int) -> int:
        """Positions that so many tokens hold at most, special ones among them."""
        return self.k * (n_tokens - len(self.prefix) - len(self.suffix))

    def encode(self, sequences: Sequence[str]) -> Batch:
        rows = []
        for sequence in sequences:
            row, start = [], 0
            while start < len(sequence):
                size = self.k if sequence[start : start + self.k] in self.ids else 1
                size = size if start + size <= len(sequence) else 1
                row.append((self.ids[sequence[start : start + size]], start, start + size))
                start += size
            rows.append(row)
        return pieces_to_batch(
            rows, [len(s) for s in sequences], pad=self.pad, prefix=self.prefix, suffix=self.suffix
        )


@dataclass(frozen=True, eq=False)
class Pieces:
    """Any fast Hugging Face tokeniser, by the offsets it reports.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerFast
    letters : str
        Candidates for the alphabet; those that the tokeniser knows are allowed.
    """

    tokenizer: Tokeniser
    letters: str = "ACGTN"

    @property
    def alphabet(self) -> str:
        unknown = self.tokenizer.unk_token_id
        return "".join(c for c in self.letters if unknown not in self.tokenizer(c)["input_ids"])

    def positions(self, n_tokens: int) -> None:
        """How many letters a token holds depends on the letters."""

    def encode(self, sequences: Sequence[str]) -> Batch:
        rows = []
        for sequence in sequences:
            found = self.tokenizer(sequence, return_offsets_mapping=True, truncation=False)
            spans = [(a, b) if b > a else (-1, -1) for a, b in found["offset_mapping"]]
            if sum(b - a for a, b in spans) != len(sequence):
                raise InputError("the tokeniser dropped or repeated letters", got=repr(sequence[:40]))
            rows.append([(token, a, b) for token, (a, b) in zip(found["input_ids"], spans)])
        pad = self.tokenizer.pad_token_id or 0
        return pieces_to_batch(rows, [len(s) for s in sequences], pad=pad)


@dataclass(frozen=True)
class OneHot:
    """DNA as four channels, N as zeros, padded with zeros on both sides; one token per base of the whole
    input.

    Parameters
    ----------
    channels_first : bool
        [B, 4, T] instead of [B, T, 4].
    context : int
        Bases of padding on either side, which are no positions.
    length : int, optional
        Of the input of a model that takes one length only: sequences are padded to it on the right.
    """

    channels_first: bool = False
    context: int = 0
    length: int | None = None
    alphabet: str = "ACGTN"

    def encode(self, sequences: Sequence[str]) -> Batch:
        side = (4,) * self.context
        batch = letters_to_batch(sequences, dict(zip("ACGTN", range(5))), pad=4, prefix=side, suffix=side)
        tokens, mask, spans = batch.inputs["input_ids"], batch.mask, batch.spans
        if self.length is not None and self.length > tokens.shape[1]:
            more = self.length - tokens.shape[1]
            tokens, mask = F.pad(tokens, (0, more), value=4), F.pad(mask, (0, more))
            spans = torch.cat([spans, NO_SPAN.expand(len(spans), more, 3)], dim=1)
        x = torch.eye(5)[tokens][..., :4]
        return Batch({"x": x.mT if self.channels_first else x}, mask, spans, batch.lengths)


def reverse_complement(sequence: str) -> str:
    """The other strand, read in its own direction; N stays N.

    Examples
    --------
    >>> reverse_complement("AACGN")
    'NCGTT'
    """
    return sequence.translate(COMPLEMENT)[::-1]


def pieces_to_batch(
    rows: Sequence[Sequence[tuple[int, int, int]]],
    lengths: Sequence[int],
    *,
    pad: int,
    prefix: Sequence[int] = (),
    suffix: Sequence[int] = (),
    name: str = "input_ids",
) -> Batch:
    """Tokens with their own spans, padded on the right.

    Rows are of (token, start, end), which are -1 for tokens that stand for no position; `lengths` are the
    positions of each sequence, `name` is the key of the tokens in the batch's inputs, beside
    ``attention_mask``.
    """
    full = [[(t, -1, -1) for t in prefix] + list(r) + [(t, -1, -1) for t in suffix] for r in rows]
    table = np.full((len(full), max(map(len, full)), 3), (pad, -1, -1), dtype=np.int64)
    present = np.zeros(table.shape[:2], dtype=bool)
    for i, row in enumerate(full):
        table[i, : len(row)] = row
        present[i, : len(row)] = True
    tokens, spans = table[..., 0], table[..., 1:]
    strand = np.zeros_like(tokens)[..., None]
    return Batch(
        inputs={name: torch.from_numpy(tokens.copy()), "attention_mask": torch.from_numpy(present)},
        mask=torch.from_numpy(spans[..., 0] >= 0),
        spans=torch.from_numpy(np.concatenate([spans, strand], axis=-1)),
        lengths=torch.tensor(list(lengths), dtype=torch.int64),
        present=torch.from_numpy(present),
    )


def letters_to_batch(
    sequences: Sequence[str],
    ids: Mapping[str, int],
    *,
    pad: int,
    prefix: Sequence[int] = (),
    suffix: Sequence[int] = (),
    name: str = "input_ids",
) -> Batch:
    """One token per letter between fixed special tokens, padded on the right.

    Parameters
    ----------
    sequences : sequence of str
        Letters outside `ids` must have been refused before.
    ids : mapping of letter to token
    pad : int
    prefix, suffix : sequences of int
        Tokens before and after every sequence, such as [CLS] and [SEP].
    name : str
        Key of the token tensor in the batch's inputs, beside ``attention_mask`` (True for every token that is
        not padding).
    """
    table = np.full(256, -1, dtype=np.int64)
    for letter, token in ids.items():
        table[ord(letter)] = token
    lengths = np.array([len(s) for s in sequences], dtype=np.int64)
    n, longest, lead = len(sequences), int(lengths.max()), len(prefix)
    tokens = np.full((n, lead + longest + len(suffix)), pad, dtype=np.int64)
    for row, sequence in zip(tokens, sequences):
        stop = lead + len(sequence)
        row[:lead] = prefix
        row[lead:stop] = table[np.frombuffer(sequence.encode("latin-1"), dtype=np.uint8)]
        row[stop : stop + len(suffix)] = suffix
    column = np.arange(tokens.shape[1]) - lead
    real = (column >= 0) & (column < lengths[:, None])
    present = column < (lengths[:, None] + len(suffix))
    mask, present = torch.from_numpy(real), torch.from_numpy(present)
    return Batch(
        inputs={name: torch.from_numpy(tokens), "attention_mask": present},
        mask=mask,
        spans=unit_spans(mask),
        lengths=torch.from_numpy(lengths),
        present=present,
    )
