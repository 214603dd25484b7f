"""Entries to samples: what the readers of sequences and tables share."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sciinterp.errors import FormatError, InputError
from sciinterp.readers.bounded import SMALL
from sciinterp.readers.identifiers import sample_id
from sciinterp.samples import Samples

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
_NUCLEOTIDES, _AMBIGUOUS, _GAPS = list(b"ACGTUN"), list(b"ACGTUNRYSWKMBDHV"), list(b"-.")

_NUMBERS = re.compile("[0-9]+", re.ASCII)


def kind_of(sequences: Iterable[str]) -> str:
    """``dna`` when every letter is a nucleotide and nine in ten are unambiguous, else ``protein``; gaps are no letters.

    Examples
    --------
    >>> kind_of(["ACGTTGCANN"]), kind_of(["MKVLAAGC"])
    ('dna', 'protein')
    """
    letters = Letters()
    for sequence in sequences:
        letters.add(sequence)
    return letters.kind


class Letters:
    """How often each letter occurs in sequences that pass by."""

    def __init__(self) -> None:
        self.counts, self._waiting = np.zeros(256, np.int64), bytearray()

    def add(self, sequence: str) -> None:
        """Count a sequence."""
        self._waiting += sequence.encode("utf-8", "surrogatepass")
        if len(self._waiting) > SMALL:
            self._count()

    def _count(self) -> None:
        self.counts += np.bincount(np.frombuffer(self._waiting, np.uint8), minlength=256)
        self._waiting = bytearray()

    @property
    def kind(self) -> str:
        """``dna`` or ``protein``, see :func:`kind_of`."""
        self._count()
        total, plain = int(self.counts.sum() - self.counts[_GAPS].sum()), int(self.counts[_NUCLEOTIDES].sum())
        return (
            "dna" if plain and plain >= 0.9 * total and self.counts[_AMBIGUOUS].sum() == total else "protein"
        )


def sequences_to_samples(
    entries: Iterable[tuple[str, str]],
    path: Path,
    *,
    kind: str | None,
    table: pd.DataFrame | None = None,
) -> Samples:
    """Samples of (identifier, sequence) entries: cleaned, counted, checked.

    White space and numbers (of positions) inside a sequence and one ``*`` at the end of a protein are removed, ``sp|P12345|NAME`` is
    shortened to its accession, all counted; entries without letters, or with others than ASCII, are dropped. Letters are upper case;
    whether a model knows them is the model's to say.

    Raises
    ------
    InputError
        No entry is left, or an identifier occurs twice.
    FormatError
        An entry has no identifier.
    """
    met = Met()
    found = list(met.cleaned(entries, path))
    ids, sequences = [name for _, name, _ in found], [sequence for _, _, sequence in found]
    check_ids(ids, path, "sequences", met.n_in)
    if table is not None:
        table = table.iloc[[number for number, _, _ in found]].reset_index(drop=True)
    samples = Samples(
        ids,
        sequences,
        table=table,
        kind=kind or kind_of(sequences),
        n_in=met.n_in,
        dropped=met.dropped,
        source=str(path),
    )
    samples.changed.update(+met.changed)
    met.say(path)
    return samples


@dataclass
class Met:
    """What was met on the way from entries to samples: how many, dropped and changed for which reason."""

    n_in: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    gapped: int = 0

    def say(self, path: Path) -> None:
        """Warn of an alignment: its gaps are letters like others to whoever reads it as sequences."""
        if self.gapped:
            log.warning(
                "%s: %d of %d sequences have gaps (- or .), as of an alignment; they are kept as positions",
                path.name,
                self.gapped,
                self.n_in,
            )

    def cleaned(self, entries: Iterable[tuple[str, str]], path: Path) -> Iterator[tuple[int, str, str]]:
        """(number, identifier, sequence) of every entry that has a sequence; see :func:`sequences_to_samples`."""
        changed = self.changed
        for number, (name, raw) in enumerate(entries):
            self.n_in += 1
            plain = "".join(raw.split())
            sequence = plain.upper()
            if len(sequence) != len(raw):
                changed["white space removed from the sequence"] += 1
            if _NUMBERS.search(sequence):
                sequence = _NUMBERS.sub("", sequence)
                changed["numbers removed from the sequence"] += 1
            if sequence.endswith("*"):
                sequence = sequence[:-1]
                changed["stop sign removed from the end"] += 1
            if not (short := sample_id(name.strip())):
                raise FormatError(
                    "a sequence without an identifier", file=str(path), got=f"entry {number + 1}"
                )
            if not sequence:
                self.dropped["empty sequence"] += 1
                continue
            if not plain.isascii():
                self.dropped["letters that are none of a sequence (not ASCII)"] += 1
                continue
            self.gapped += "-" in sequence or "." in sequence
            changed["name shortened to its accession"] += short != name.strip()
            yield number, short, sequence


def check_ids(ids: Sequence[str], path: str | Path, what: str, n_in: int) -> None:
    """An error where a reader kept nothing, or one that names the identifiers which occur more than once."""
    if not ids:
        raise InputError(
            f"no {what}",
            where=f"file '{path}'",
            expected="at least one",
            got=f"{n_in} entries, none usable" if n_in else "no entry of the format that it is read as",
        )
    twice = [name for name, n in Counter(ids).items() if n > 1]
    if twice:
        raise InputError(
            "identifiers occur more than once",
            where=f"file '{path}'",
            got=f"{len(twice)}: {', '.join(map(repr, twice[:5]))}{', ...' if len(twice) > 5 else ''}",
            do="Give every sample its own identifier.",
        )


def columns_of(rows: Sequence[Mapping[str, str]]) -> pd.DataFrame | None:
    """A table of the columns that say something, or nothing."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    frame = frame.loc[:, [c for c in frame.columns if (frame[c].astype(str) != "").any()]]
    return frame if len(frame.columns) else None
