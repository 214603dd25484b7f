"""Samples: the inputs of a model, in one immutable, ordered collection, and their splits by family.

A *sample* is one sequence, cell or crystal; its *positions* are the units the biology is about (residue,
base, gene, atom), 0-based. Everything downstream lays the positions of all samples end to end, in the
order of the collection: :attr:`Samples.offsets` is the one map between the two.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from sciinterp.errors import InputError, ShapeError
from sciinterp.frames import html_card, in_order_of, name_of
from sciinterp.split import Split as Split

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Sample:
    """One input: an identifier, its data, and how many positions it has.

    Examples
    --------
    >>> Sample("ab1", "EVQL").sequence
    'EVQL'
    """

    id: str
    data: Any
    length: int = -1

    def __post_init__(self) -> None:
        if self.length < 0:
            object.__setattr__(self, "length", len(self.data))

    @property
    def sequence(self) -> str:
        """The sequence; an error where the sample is not one."""
        letters = letters_of(self.data)
        if letters is None:
            raise InputError(
                "this sample is not a sequence",
                where=f"sample {self.id!r}",
                expected="str",
                got=type(self.data).__name__,
            )
        return letters


class Column(Sequence[str]):
    """One text a sample, made when it is asked for: what lies in a file that may be larger than memory.

    Where :class:`Samples` is given one for its identifiers or its data, it keeps it as it is.
    """

    def __init__(self, n: int) -> None:
        self._numbers: range | npt.NDArray[np.int64] = range(n)
        self._marks: tuple[np.ndarray, np.ndarray] | None = None

    @abstractmethod
    def entry(self, number: int) -> str:
        """The text of one entry of the file."""

    def take(self, numbers: npt.ArrayLike) -> Column:
        """The column of these samples, in the order given; nothing is read."""
        out = copy(self)
        out._numbers, out._marks = np.asarray(self._numbers, np.int64)[_numbers(numbers)], None
        return out

    def find(self, text: object) -> int:
        """The number of the first sample with this text, or -1."""
        if self._marks is None:
            marks = np.fromiter((hash(name) for name in self), np.int64, len(self))
            order = np.argsort(marks, kind="stable")
            self._marks = marks[order], order
        marks, order = self._marks
        low, high = np.searchsorted(marks, hash(text)), np.searchsorted(marks, hash(text), side="right")
        return next((int(i) for i in order[low:high] if self[int(i)] == text), -1)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> Column: ...
    def __getitem__(self, key: int | slice) -> str | Column:
        if isinstance(key, slice):
            return self.take(np.arange(len(self))[key])
        return self.entry(int(self._numbers[key]))

    def __len__(self) -> int:
        return len(self._numbers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Column, tuple)):
            return NotImplemented
        return self is other or (len(self) == len(other) and all(a == b for a, b in zip(self, other)))

    __hash__ = None  # type: ignore[assignment]


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """A table of sample columns whose names are text, each there once."""
    names = [str(name) for name in table.columns]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise InputError("a column occurs twice in the sample table", where=f"column {twice!r}")
    return table if names == list(table.columns) else table.set_axis(names, axis=1)


def _lengths(ids: Sequence[str], data: Sequence[object]) -> list[int]:
    """How many positions each sample has; an error that names one without data, such as a blank cell of a table."""
    # a number of numpy has the method, and no length
    sized = [len(entry) if isinstance(entry, Sized) and getattr(entry, "ndim", 1) else -1 for entry in data]
    if -1 in sized:
        number = sized.index(-1)
        raise InputError(
            "a sample without data",
            where=f"sample {ids[number]!r}",
            expected="a sequence",
            got=repr(data[number])[:60],
            do="Leave such samples out, or give lengths=.",
        )
    return sized


def _numbers(given: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Numbers of samples, which may be none of them, or a mask."""
    found = np.asarray(given)
    if found.dtype == bool:
        return np.flatnonzero(found)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        expected = "whole numbers of samples, or a mask of True and False"
        raise InputError("these are no samples", where="subset", expected=expected, got=str(given)[:60])
    return found.astype(np.int64)


class Samples(Sequence[Sample]):
    """An immutable, ordered collection of samples with a table of sample columns.

    Parameters
    ----------
    ids : iterable of str
        Unique identifiers; a :class:`Column` stays where it lies.
    data : iterable
        One entry a sample: a string for sequences; a :class:`Column` is read when it is used.
    lengths : array_like of int, optional
        Number of positions; ``len(data)`` when not given.
    table : pandas.DataFrame, optional
        Columns that describe samples (family, donor ...), one row a sample, in the same order or, where its index is the
        identifiers, in any.
    kind : str
        ``protein``, ``dna``, ``smiles``, ``crystal``, ``cells`` ...
    n_in, dropped, source
        How many entries the input had, how many were dropped for which reason, and where it lies.

    Examples
    --------
    >>> samples = Samples(["a", "b"], ["MKV", "AC"])
    >>> samples.offsets.tolist(), samples["b"].sequence
    ([0, 3, 5], 'AC')
    """

    def __init__(
        self,
        ids: Iterable[str],
        data: Iterable[object] | None = None,
        *,
        lengths: npt.ArrayLike | None = None,
        table: pd.DataFrame | None = None,
        kind: str = "protein",
        n_in: int | None = None,
        dropped: Mapping[str, int] | None = None,
        source: str = "",
    ) -> None:
        given = ids if isinstance(ids, Column) else tuple(ids)
        if not isinstance(given, Column) and any(i is None or i != i or i == "" for i in given):
            number = next(n for n, i in enumerate(given) if i is None or i != i or i == "")
            raise InputError("a sample without an identifier", where=f"sample {number} (counted from 0)")
        self.ids: Column | tuple[str, ...] = (
            given if isinstance(given, Column) else tuple(map(name_of, given))
        )
        self.data: Sequence[Any] = (
            data if isinstance(data, Column) else (None,) * len(self.ids) if data is None else tuple(data)
        )
        if len(self.data) != len(self.ids):
            raise ShapeError(
                "ids and data differ in number", expected=f"{len(self.ids)}", got=f"{len(self.data)}"
            )
        # a column's reader has seen that no identifier occurs twice
        named = () if isinstance(self.ids, Column) else self.ids
        self._number = {name: i for i, name in enumerate(named)}
        if len(self._number) != len(named):
            seen: set[str] = set()
            twice = next(i for i in self.ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise InputError(
                "an identifier occurs twice", where=f"sample {twice!r}", do="Give every sample its own."
            )
        if lengths is None:
            lengths = _lengths(self.ids, self.data)
        self.lengths = np.asarray(lengths, dtype=np.int64)
        if self.lengths.shape != (len(self.ids),):
            raise ShapeError(
                "one length a sample is needed", expected=f"({len(self.ids)},)", got=str(self.lengths.shape)
            )
        self.offsets = np.zeros(len(self.ids) + 1, np.int64)
        np.cumsum(self.lengths, out=self.offsets[1:])
        self.kind, self.source = kind, source
        self.n_in = len(self.ids) if n_in is None else int(n_in)
        self.dropped = dict(dropped or {})
        self.changed: dict[str, int] = {}  # what a reader altered, and in how many entries
        if table is not None and len(table) != len(self.ids):
            raise ShapeError(
                "the sample table does not fit", expected=f"{len(self.ids)} rows", got=f"{len(table)}"
            )
        self._table = table if table is None else in_order_of(_named(table), self.ids)
        self._kept_digest = self._read_digest = ""
        for array in (self.lengths, self.offsets):
            array.setflags(write=False)

    @classmethod
    def coerce(cls, samples: Samples | pd.DataFrame) -> Samples:
        """Samples as they are, or made of a table with columns ``id`` and ``length`` (others are kept)."""
        if isinstance(samples, Samples):
            return samples
        columns = list(getattr(samples, "columns", []))
        missing = {"id", "length"} - set(columns)
        if missing:
            raise InputError(
                "this is not a collection of samples",
                expected="Samples, or a table with columns id, length",
                got=f"{type(samples).__name__} with columns {columns}",
            )
        data = samples["sequence"] if "sequence" in columns else None
        return cls(
            samples["id"], data, lengths=samples["length"].to_numpy(), table=samples.drop(columns=["length"])
        )

    @property
    def table(self) -> pd.DataFrame:
        """Sample columns, indexed by identifier, in the order of the samples."""
        import pandas as pd

        if self._table is None:
            return pd.DataFrame(index=pd.Index(self.ids, name="sample"))
        table = self._table.copy()
        table.index = pd.Index(self.ids, name="sample")
        return table

    @property
    def columns(self) -> pd.DataFrame:
        """Sample columns in the order of the samples, numbered: :attr:`table` without an object for each identifier."""
        import pandas as pd

        return (
            pd.DataFrame(index=range(len(self)))
            if self._table is None
            else self._table.reset_index(drop=True)
        )

    @property
    def sequences(self) -> list[str]:
        """All sequences, in order."""
        return [sample.sequence for sample in self]

    @property
    def is_text(self) -> bool:
        """Whether every sample is a sequence, or another text."""
        return isinstance(self.data, Column) or all(isinstance(data, str) for data in self.data)

    @property
    def letters(self) -> list[str | None]:
        """The letters of every sample that has one for each of its positions; None for the others."""
        found = map(letters_of, self.data)
        return [x if x is not None and len(x) == n else None for x, n in zip(found, self.lengths)]

    @property
    def n_positions(self) -> int:
        """Positions of all samples together."""
        return int(self.offsets[-1])

    @property
    def digest(self) -> str:
        """sha256 over identifiers, lengths and data: the identity of the collection."""
        if self._kept_digest or self._read_digest:
            return self._kept_digest or self._read_digest
        h = hashlib.sha256()
        for name, data, length in zip(self.ids, self.data, self.lengths):
            feed_digest(h, name, data if isinstance(data, str) else _data_digest(data), int(length))
        if isinstance(self.data, Column):
            self._read_digest = h.hexdigest()
        return h.hexdigest()

    @property
    def is_held_elsewhere(self) -> bool:
        """Whether the data are not here, and the digest is the one that a store wrote."""
        return bool(self._kept_digest)

    def keep_digest(self, digest: str) -> None:
        """Remember the digest of data that is not held here (crystals, cells), as a store wrote it."""
        self._kept_digest = digest

    def tell_digest(self, digest: str) -> None:
        """Take the digest from a reader that has seen all data of a column."""
        self._read_digest = digest

    def index(self, value: object, start: int = 0, stop: int | None = None) -> int:
        """The number of the sample with this identifier (or equal to this sample)."""
        name = value.id if isinstance(value, Sample) else value
        if (number := self._find(name)) < 0:
            raise InputError(
                "there is no such sample",
                where=f"sample {name!r}",
                expected=f"one of {len(self)} identifiers",
            )
        return number

    def _find(self, name: object) -> int:
        if isinstance(self.ids, Column):
            return self.ids.find(name)
        return self._number.get(name, -1) if isinstance(name, str) else -1

    def subset(self, numbers: npt.ArrayLike) -> Samples:
        """The samples with these numbers, in the order given."""
        numbers = _numbers(numbers)
        some = numbers.tolist()
        table = None if self._table is None else self._table.iloc[numbers].reset_index(drop=True)
        return Samples(
            self.ids.take(numbers) if isinstance(self.ids, Column) else [self.ids[i] for i in some],
            self.data.take(numbers) if isinstance(self.data, Column) else [self.data[i] for i in some],
            lengths=self.lengths[numbers],
            table=table,
            kind=self.kind,
            source=self.source,
        )

    def with_table(self, table: pd.DataFrame | None) -> Samples:
        """The same samples with other columns, one row a sample, in the same order."""
        out = Samples(
            self.ids,
            self.data,
            lengths=self.lengths,
            table=table,
            kind=self.kind,
            n_in=self.n_in,
            dropped=self.dropped,
            source=self.source,
        )
        out.changed = dict(self.changed)
        out._kept_digest, out._read_digest = self._kept_digest, self._read_digest
        return out

    def position_sample(self) -> np.ndarray:
        """int64 [n_positions]: the number of the sample each position belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @overload
    def __getitem__(self, key: int | str) -> Sample: ...
    @overload
    def __getitem__(self, key: slice) -> Samples: ...
    def __getitem__(self, key: int | str | slice) -> Sample | Samples:
        if isinstance(key, slice):
            return self.subset(np.arange(len(self))[key])
        number = self.index(key) if isinstance(key, str) else key
        return Sample(self.ids[number], self.data[number], int(self.lengths[number]))

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: object) -> bool:
        return self._find(value.id if isinstance(value, Sample) else value) >= 0

    def __repr__(self) -> str:
        dropped = f", {sum(self.dropped.values()):,} dropped" if self.dropped else ""
        return f"Samples({len(self):,} {self.kind}, {self.n_positions:,} positions{dropped})"

    def _repr_html_(self) -> str:
        head = self[:5].table
        head["length"] = self.lengths[:5]
        return html_card(repr(self), self.dropped, head)


def feed_digest(h: hashlib._Hash, name: str, data: str, length: int) -> None:
    """Add one sample to the sha256 of a collection."""
    for part in (name, data, str(length)):
        raw = part.encode()
        h.update(len(raw).to_bytes(8, "little") + raw)


def letters_of(data: object) -> str | None:
    """The letters of a sample's data: of a sequence, or of a structure's record; None where it has none."""
    letters = data.get("sequence") if isinstance(data, Mapping) else data
    return letters if isinstance(letters, str) else None


def _data_digest(data: object) -> str:
    """A stable text for data that is not a string: arrays by their bytes, the rest by ``repr``."""
    if hasattr(data, "tobytes"):
        return hashlib.sha256(np.asarray(data, order="C").tobytes()).hexdigest()
    return repr(data)
