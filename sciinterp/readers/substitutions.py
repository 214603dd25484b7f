"""Substitutions as assays list them by the million: ``A42G``, ``A1C:D2E``, ``p.Ala42Gly``, read as arrays.

What :func:`sciinterp.readers.notation.parse_variant` reads one by one, for the notation nearly every row has: residues
whose letters are stated, other than before, each position once and in ascending order. The rest is left to it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sciinterp.readers.notation import THREE

_ONE = "[A-Z][1-9][0-9]{0,8}[A-WYZ]"  # X is a stop in some tables
_PLAIN = re.compile(f"{_ONE}(?:[:;,]{_ONE})*", re.ASCII)
_LONG = re.compile(r"(?:p\.)?([A-Z][a-z]{2})([1-9][0-9]{0,8})([A-Z][a-z]{2})", re.ASCII)
_TO_ONE = str.maketrans(":,", ";;")
_TO_NUMBERS = {ord(c): " " for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ;"}
INSIDE, OUTSIDE, OTHER = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Substitutions:
    """Substitutions of some rows of a table.

    Attributes
    ----------
    rows : int64 [n]
        Their numbers, ascending.
    texts : list of str
        The substitutions of each, ``A1C;D2E``.
    first : int64 [n + 1]
        Where those of each begin in the arrays below.
    start : int64 [m]
        Positions, from 0.
    ref, alt : uint8 [m]
        Letters before and after.
    """

    rows: np.ndarray
    texts: list[str]
    first: np.ndarray
    start: np.ndarray
    ref: np.ndarray
    alt: np.ndarray

    def references(self) -> dict[int, Counter[str]]:
        """Position -> how often each letter is named as the one before."""
        keys, at, n = np.unique(self.start * 256 + self.ref, return_index=True, return_counts=True)
        said: dict[int, Counter[str]] = {}
        for i in np.argsort(at, kind="stable").tolist():
            position, letter = divmod(int(keys[i]), 256)
            said.setdefault(position, Counter())[chr(letter)] = int(n[i])
        return said

    def fit(self, sequence: str, offset: int) -> np.ndarray:
        """int8 [n]: :data:`INSIDE` the sequence, :data:`OUTSIDE` of it, or naming another letter than stands there."""
        letters = np.frombuffer(sequence.encode("utf-32-le"), np.uint32)
        where = self.start + offset
        outside = (where < 0) | (where >= len(letters))
        wrong = ~outside
        wrong[wrong] = letters[where[wrong]] != self.ref[wrong]
        each = np.where(outside, 2, wrong)  # outside is said before another letter
        if not len(self.rows):
            return np.zeros(0, np.int8)
        return np.array([INSIDE, OTHER, OUTSIDE], np.int8)[np.maximum.reduceat(each, self.first[:-1])]

    def moved(self, number: int, offset: int) -> str:
        """The substitutions of one row, as text, with positions moved."""
        if not offset:
            return self.texts[number]
        return ";".join(f"{chr(a)}{at + offset + 1}{chr(b)}" for at, a, b in self.of(number))

    def of(self, number: int) -> Iterator[tuple[int, int, int]]:
        """Position, letter before and letter after of each substitution of a row."""
        part = slice(self.first[number], self.first[number + 1])
        return zip(self.start[part].tolist(), self.ref[part].tolist(), self.alt[part].tolist())

    def put(self, number: int, sequence: str, *, back: bool = False, offset: int = 0) -> str:
        """A sequence with the substitutions of a row made, or taken back; beyond its end they are nothing."""
        for at, ref, alt in self.of(number):
            i = at + offset
            if 0 <= i < len(sequence):
                sequence = f"{sequence[:i]}{chr(ref if back else alt)}{sequence[i + 1 :]}"
        return sequence


def read_substitutions(texts: list[str], rows: np.ndarray) -> Substitutions:
    """The rows among ``rows`` whose text is of the usual notation; ``texts`` are those of all rows.

    Examples
    --------
    >>> found = read_substitutions(["A1C:D4E", "A1del", "p.Ala12Gly", "D4E:A1C"], np.arange(4))
    >>> found.rows.tolist(), found.texts, found.start.tolist()
    ([0, 2], ['A1C;D4E', 'A12G'], [0, 3, 11])
    """
    named = [_one_letter(texts[row]) for row in rows.tolist()]
    there = np.array([bool(text) for text in named], bool)
    return _arrays(rows[there], [text for text in named if text])


def _arrays(rows: np.ndarray, kept: list[str]) -> Substitutions:
    """Texts as arrays, without those that name a position twice or downwards, or a letter that stays."""
    joined = ";".join(kept)
    data = np.frombuffer(joined.encode(), np.uint8)
    parted = np.flatnonzero(data == ord(";"))
    ref = data[np.append(0, parted + 1)] if len(data) else data
    alt = data[np.append(parted - 1, len(data) - 1)] if len(data) else data
    start = np.array(list(map(int, joined.translate(_TO_NUMBERS).split())), np.int64) - 1
    first = np.append(0, np.cumsum([text.count(";") + 1 for text in kept], dtype=np.int64))
    odd = ref == alt
    inner = np.ones(len(start), bool)
    inner[first[:-1]] = False
    odd[1:] |= inner[1:] & (start[1:] <= start[:-1])
    if odd.any():
        owner = np.repeat(np.arange(len(kept)), np.diff(first))
        usual = np.ones(len(kept), bool)
        usual[owner[odd]] = False
        return _arrays(rows[usual], [text for text, is_usual in zip(kept, usual) if is_usual])
    return Substitutions(rows, kept, first, start, ref, alt)


def _one_letter(text: str) -> str:
    """The substitutions in one-letter codes, parted by semicolons; empty where it is another notation."""
    if _PLAIN.fullmatch(text):
        return text.translate(_TO_ONE) if ":" in text or "," in text else text
    if match := _LONG.fullmatch(text):
        ref, at, alt = match.groups()
        return f"{THREE[ref]}{at}{THREE[alt]}" if ref in THREE and alt in THREE else ""
    return ""
