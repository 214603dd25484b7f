"""Batches for models that read one letter per token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from .site import Batch


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
    return Batch(
        inputs={name: torch.from_numpy(tokens), "attention_mask": torch.from_numpy(present)},
        mask=torch.from_numpy(real),
        spans=torch.from_numpy(letter_spans(real)),
        lengths=torch.from_numpy(lengths),
        present=torch.from_numpy(present),
    )


def letter_spans(real: np.ndarray) -> np.ndarray:
    """Spans [B, T, 3] of tokens that each stand for one position, in order."""
    start = np.where(real, np.cumsum(real, axis=1) - 1, -1)
    return np.stack([start, np.where(real, start + 1, -1), np.zeros_like(start)], axis=-1).astype(np.int64)
