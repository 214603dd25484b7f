"""Samples: the inputs of a model, in one immutable, ordered collection, and their splits by family.

A *sample* is one sequence, cell or crystal; its *positions* are the units the biology is about (residue,
base, gene, atom), 0-based. Everything downstream lays the positions of all samples end to end, in the
order of the collection: :attr:`Samples.offsets` is the one map between the two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from sciinterp.errors import InputError, ShapeError
from sciinterp.frames import html_card

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
        if not isinstance(self.data, str):
            raise InputError(
                "this sample is not a sequence",
                where=f"sample {self.id!r}",
                expected="str",
                got=type(self.data).__name__,
            )
        return self.data


class Samples(Sequence[Sample]):
    """An immutable, ordered collection of samples with a table of sample columns.

    Parameters
    ----------
    ids : iterable of str
        Unique identifiers.
    data : iterable
        One entry a sample: a string for sequences.
    lengths : array_like of int, optional
        Number of positions; ``len(data)`` when not given.
    table : pandas.DataFrame, optional
        Columns that describe samples (family, donor ...), one row a sample, in the same order.
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
        data: Iterable[Any] | None = None,
        *,
        lengths: Any = None,
        table: pd.DataFrame | None = None,
        kind: str = "protein",
        n_in: int | None = None,
        dropped: Mapping[str, int] | None = None,
        source: str = "",
    ) -> None:
        self.ids = tuple(str(i) for i in ids)
        self.data: tuple[Any, ...] = tuple(data) if data is not None else (None,) * len(self.ids)
        if len(self.data) != len(self.ids):
            raise ShapeError(
                "ids and data differ in number", expected=f"{len(self.ids)}", got=f"{len(self.data)}"
            )
        self._number = {name: i for i, name in enumerate(self.ids)}
        if len(self._number) != len(self.ids):
            seen: set[str] = set()
            twice = next(i for i in self.ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise InputError(
                "an identifier occurs twice", where=f"sample {twice!r}", do="Give every sample its own."
            )
        if lengths is None:
            lengths = [len(d) for d in self.data]
        self.lengths = np.asarray(lengths, dtype=np.int64)
        if self.lengths.shape != (len(self.ids),):
            raise ShapeError(
                "one length a sample is needed", expected=f"({len(self.ids)},)", got=str(self.lengths.shape)
            )
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)
        self.kind, self.source = kind, source
        self.n_in = len(self.ids) if n_in is None else int(n_in)
        self.dropped = dict(dropped or {})
        self.changed: dict[str, int] = {}  # what a reader altered, and in how many entries
        if table is not None and len(table) != len(self.ids):
            raise ShapeError(
                "the sample table does not fit", expected=f"{len(self.ids)} rows", got=f"{len(table)}"
            )
        self._table = table
        self._kept_digest = ""
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
    def sequences(self) -> list[str]:
        """All sequences, in order."""
        return [sample.sequence for sample in self]

    @property
    def n_positions(self) -> int:
        """Positions of all samples together."""
        return int(self.offsets[-1])

    @property
    def digest(self) -> str:
        """sha256 over identifiers, lengths and data: the identity of the collection."""
        if self._kept_digest:
            return self._kept_digest
        h = hashlib.sha256()
        for name, data, length in zip(self.ids, self.data, self.lengths):
            text = data if isinstance(data, str) else _data_digest(data)
            for part in (name, text, str(length)):
                raw = part.encode()
                h.update(len(raw).to_bytes(8, "little") + raw)
        return h.hexdigest()

    @property
    def is_held_elsewhere(self) -> bool:
        """Whether the data are not here, and the digest is the one that a store wrote."""
        return bool(self._kept_digest)

    def keep_digest(self, digest: str) -> None:
        """Remember the digest of data that is not held here (crystals, cells), as a store wrote it."""
        self._kept_digest = digest

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """The number of the sample with this identifier (or equal to this sample)."""
        name = value.id if isinstance(value, Sample) else value
        if name not in self._number:
            raise InputError(
                "there is no such sample",
                where=f"sample {name!r}",
                expected=f"one of {len(self)} identifiers",
            )
        return self._number[name]

    def subset(self, numbers: Any) -> Samples:
        """The samples with these numbers, in the order given."""
        numbers = np.asarray(numbers)
        if numbers.dtype == bool:
            numbers = np.flatnonzero(numbers)
        table = None if self._table is None else self._table.iloc[numbers].reset_index(drop=True)
        return Samples(
            [self.ids[i] for i in numbers],
            [self.data[i] for i in numbers],
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
        out.changed, out._kept_digest = dict(self.changed), self._kept_digest
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
        return (value.id if isinstance(value, Sample) else value) in self._number

    def __repr__(self) -> str:
        dropped = f", {sum(self.dropped.values()):,} dropped" if self.dropped else ""
        return f"Samples({len(self):,} {self.kind}, {self.n_positions:,} positions{dropped})"

    def _repr_html_(self) -> str:
        head = self.table.head(5)
        head["length"] = self.lengths[:5]
        return html_card(repr(self), self.dropped, head)


def _data_digest(data: Any) -> str:
    """A stable text for data that is not a string: arrays by their bytes, the rest by ``repr``."""
    if hasattr(data, "tobytes"):
        return hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()
    return repr(data)


_PARTS = ("train", "calibration", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Samples divided by family: no family has samples in two parts.

    Attributes
    ----------
    train, calibration, test : ndarray of int64
        Numbers of samples, ascending.
    family : ndarray of int64 [n_samples]
        The family of every sample, a code into ``family_names``.
    family_names : tuple of str
    by, seed
        How families were found, and the seed that placed them.
    lengths : ndarray of int64 [n_samples], optional
        Positions of every sample, for :meth:`summary`.
    fractions : tuple of float
        Wanted fractions of positions in the three parts.
    """

    train: np.ndarray
    calibration: np.ndarray
    test: np.ndarray
    family: np.ndarray
    family_names: tuple[str, ...]
    by: str = ""
    seed: int = 0
    lengths: np.ndarray | None = None
    fractions: tuple[float, ...] = (0.75, 0.05, 0.2)

    @property
    def digest(self) -> str:
        """sha256 over the part and the family of every sample: whether two splits are one."""
        part = np.zeros(len(self.family), "<i8")
        for number, name in enumerate(_PARTS):
            part[self.part(name)] = number + 1
        _, first, family = np.unique(self.family, return_index=True, return_inverse=True)
        numbered = np.argsort(np.argsort(first))[family]  # by first sample, whatever the codes are
        return hashlib.sha256(part.tobytes() + numbered.astype("<i8").tobytes()).hexdigest()

    @property
    def training_digest(self) -> str:
        """sha256 over the numbers of the training samples: whether two things were trained on the same families."""
        return hashlib.sha256(np.ascontiguousarray(self.train, "<i8").tobytes()).hexdigest()

    def part(self, name: str) -> np.ndarray:
        """Sample numbers of ``train``, ``calibration`` or ``test``."""
        if name not in _PARTS:
            raise InputError(
                "there is no such part of a split", expected="train, calibration or test", got=repr(name)
            )
        return getattr(self, name)

    def families(self, part: str) -> np.ndarray:
        """Codes of the families in a part."""
        return np.unique(self.family[self.part(part)])

    def position_family(self, samples: Samples) -> np.ndarray:
        """int64 [n_positions]: the family of every position of ``samples``, laid end to end."""
        if len(samples) != len(self.family):
            raise ShapeError(
                "the split is of other samples", expected=f"{len(self.family)} samples", got=f"{len(samples)}"
            )
        return np.repeat(self.family, samples.lengths)

    def summary(self) -> pd.DataFrame:
        """How many samples, families and positions each part holds, and its fraction of the positions."""
        import pandas as pd

        lengths = np.ones(len(self.family), np.int64) if self.lengths is None else self.lengths
        rows = [(len(self.part(p)), len(self.families(p)), int(lengths[self.part(p)].sum())) for p in _PARTS]
        out = pd.DataFrame(
            rows, index=pd.Index(_PARTS, name="part"), columns=["samples", "families", "positions"]
        )
        out["fraction"] = out["positions"] / max(int(out["positions"].sum()), 1)
        return out

    def __repr__(self) -> str:
        sizes = ", ".join(f"{p} {len(self.part(p))} in {len(self.families(p))}" for p in _PARTS)
        return f"Split(by {self.by!r}, seed {self.seed}: samples in families: {sizes})"

    def _repr_html_(self) -> str:
        return html_card(
            f"Split by {self.by}, seed {self.seed}: no family is in two parts", table=self.summary()
        )
