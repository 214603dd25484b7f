"""The annotation table: one row a concept placed on one interval of one sample.

Columns are ``sample, start, end, strand, concept, source, evidence, note, release``; intervals are 0-based
and half-open; a fact about a whole sample has ``start = end = -1``. A *concepts* table goes with it:
``concept, name, parent, level, source, exhaustive``. What absence means is stated by the source: inside the
samples it covers absence counts as negative (and precision is then a lower bound); samples it does not cover
are left out.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from pandas.api.types import infer_dtype

from sciinterp.annotations.projection import project, unproject
from sciinterp.codes.intervals import positions_in, positions_type
from sciinterp.errors import InputError, no_such
from sciinterp.frames import html_card, name_of
from sciinterp.readers.identifiers import match_ids, nearest, spoiled, strand_of
from sciinterp.readers.sample_tables import MISSING
from sciinterp.samples import Samples
from sciinterp.settings import Plain
from sciinterp.store.tables import write_tsv

COLUMNS = ("sample", "start", "end", "strand", "concept", "source", "evidence", "note", "release")
CONCEPT_COLUMNS = ("name", "parent", "level", "source", "exhaustive")
_DIGITS, _THOUSANDS = re.compile("-?[0-9]{1,18}"), re.compile("[0-9]{1,3}(?:,[0-9]{3})+")
log = logging.getLogger(__name__)
DEFAULTS = {"strand": ".", "source": "user", "evidence": "", "note": "", "release": ""}


class Annotations:
    """Validated annotations, immutable.

    Parameters
    ----------
    frame : pandas.DataFrame
        At least ``sample, start, end, concept``; other columns are filled with their defaults.
    concepts : pandas.DataFrame, optional
        Indexed by concept (or with a ``concept`` column): ``name, parent, level, source, exhaustive``.
    coverage : mapping, optional
        source -> identifiers of the samples it covers; ``None`` or no entry means every sample.
    counts : mapping, optional
        ``n_in``, ``n_kept`` and ``dropped`` by reason, as a parser counted them.

    Raises
    ------
    InputError
        When a column is missing or an interval is impossible.

    Examples
    --------
    >>> rows = pd.DataFrame({"sample": ["a"], "start": [1], "end": [3], "concept": ["site"]})
    >>> annotations = Annotations(rows)
    >>> annotations.positives(Samples(["a"], ["MKVL"])).toarray().T.astype(int)
    array([[0, 1, 1, 0]])
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        *,
        concepts: pd.DataFrame | None = None,
        coverage: Mapping[str, Iterable[str] | None] | None = None,
        counts: Mapping[str, object] | None = None,
    ) -> None:
        self.frame = validate(frame)
        self.concepts = _concepts_table(self.frame, concepts)
        self.coverage = {k: None if v is None else tuple(map(str, v)) for k, v in (coverage or {}).items()}
        self._matches: tuple[Samples | None, dict[str, np.ndarray]] = (None, {})
        self.read_from: tuple[str, np.ndarray | None] = ("", None)  # the file, and the line of each row
        n = len(self.frame)
        self.counts: Plain = dict(counts or {"n_in": n, "n_kept": n, "dropped": {}})
        outside = [
            _outside(self.frame, source, ids) for source, ids in self.coverage.items() if ids is not None
        ]
        if any(outside):
            self.counts["outside_coverage"] = sum(outside)

    @property
    def names(self) -> list[str]:
        """Concepts that have at least one row, sorted."""
        return sorted(self.frame["concept"].unique())

    @property
    def position_names(self) -> list[str]:
        """Concepts placed on intervals at least once, sorted."""
        return sorted(self.frame.loc[self.frame["start"] >= 0, "concept"].unique())

    @property
    def digest(self) -> str:
        """sha256 over which concept lies where, whatever the order of the rows."""
        rows = self.frame[["sample", "start", "end", "concept"]]
        marks = np.sort(pd.util.hash_pandas_object(rows, index=False).to_numpy())
        return hashlib.sha256(marks.tobytes()).hexdigest()

    def select(self, concepts: Iterable[str]) -> Annotations:
        """Only these concepts, or this one."""
        keep = {concepts} if isinstance(concepts, str) else set(concepts)
        unknown = keep - set(self.concepts.index)
        if unknown:
            raise no_such("concept", min(unknown, key=str), self.concepts.index)
        frame = self.frame[self.frame["concept"].isin(keep)]
        return Annotations(
            frame,
            concepts=self.concepts.loc[[c for c in self.concepts.index if c in keep]],
            coverage=self.coverage,
        )

    def instances(self, samples: Samples, concepts: list[str] | None = None) -> pd.DataFrame:
        """Intervals on the concatenated axis of ``samples``; the same concept on the same interval is one.

        Returns
        -------
        pandas.DataFrame
            ``concept`` (number in ``concepts``), ``start``, ``end``, ``sample`` (number), ``row`` (in
            ``frame``); rows of samples that are not among ``samples`` are left out.

        Raises
        ------
        InputError
            When an interval ends beyond its sample.
        """
        names = self.position_names if concepts is None else concepts
        code = pd.Index(names).get_indexer(pd.Index(self.frame["concept"]))
        sample = self.sample_numbers(samples)
        start, end = self.frame["start"].to_numpy(), self.frame["end"].to_numpy()
        keep = np.flatnonzero((code >= 0) & (sample >= 0) & (start >= 0))
        code, sample, start, end = code[keep], sample[keep], start[keep], end[keep]
        beyond = np.flatnonzero(end > samples.lengths[sample])
        if len(beyond):
            i, (file, lines) = beyond[0], self.read_from
            at = f" line {lines[keep[i]]}" if lines is not None else ""
            raise InputError(
                "an annotation ends beyond its sample",
                where=f"{file and f'file {file!r}{at}, '}sample {samples.ids[int(sample[i])]!r}, {names[code[i]]}",
                expected=f"end <= {samples.lengths[sample[i]]}",
                got=str(end[i]),
                do="Were the sequences cut, or are these annotations of another sequence?",
            )
        base = samples.offsets[sample]
        columns = {"concept": code.astype(np.int64), "start": base + start, "end": base + end}
        out = pd.DataFrame(columns | {"sample": sample.astype(np.int64), "row": keep})
        return out[~out.duplicated(["concept", "start", "end"])].reset_index(drop=True)

    def sample_numbers(self, samples: Samples) -> np.ndarray:
        """int64 [n_rows]: the number in ``samples`` of the sample of every row, -1 where it is not among them.

        Names are matched as :func:`sciinterp.readers.identifiers.match_ids` does, by accession and version.
        """
        code, names = pd.factorize(self.frame["sample"])
        number = self._matched("", names, samples)
        lost = np.flatnonzero(number < 0)
        if len(lost) and len(samples):
            first = str(names[lost[0]])
            close = spoiled(map(str, names[lost])) or (
                "" if len(lost) < len(names) else nearest(first, samples.ids)
            )
            _say(
                f"{len(lost):,} of {len(names):,} annotated samples are not among these {len(samples):,}, such as "
                f"{first!r}{f' ({close})' if close else ''}; samples are {samples.ids[0]!r} ... "
                "(see Annotations.rename_samples)",
                logging.WARNING if len(lost) == len(names) else logging.INFO,
            )
        return number[code] if len(names) else np.zeros(0, np.int64)

    def _matched(self, what: str, names: Iterable[str], samples: Samples) -> np.ndarray:
        """:func:`_numbers_of`, kept for the samples asked about last."""
        if self._matches[0] is not samples:
            self._matches = (samples, {})
        found = self._matches[1]
        if what not in found:
            found[what] = _numbers_of(names, samples)
        return found[what]

    def positives(self, samples: Samples, concepts: list[str] | None = None) -> sp.csr_array:
        """csr bool [n_positions, n_concepts]: the positions each concept covers (overlaps count once)."""
        names = self.position_names if concepts is None else concepts
        table = self.instances(samples, names)
        which, row = positions_in(table["start"].to_numpy(), table["end"].to_numpy())
        column = table["concept"].to_numpy()[which]
        matrix = sp.coo_array(
            (np.ones(len(row), np.int8), (row, column)), shape=(samples.n_positions, len(names))
        ).tocsr()
        matrix.sum_duplicates()
        kind = positions_type(max(matrix.nnz, samples.n_positions))
        parts = (np.ones(matrix.nnz, bool), matrix.indices.astype(kind), matrix.indptr.astype(kind))
        return sp.csr_array(parts, shape=matrix.shape)

    def covered(self, samples: Samples, concepts: list[str]) -> np.ndarray:
        """bool [n_samples, n_concepts]: does a source of the concept cover the sample?"""
        group, covers = self.coverage_groups(samples, concepts)
        return covers[:, group]

    def coverage_groups(self, samples: Samples, concepts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Concepts that share their sources: int [n_concepts], and bool [n_samples, n_groups] for each group.

        A concept that rows of several sources state is covered where any of them covers.
        """
        stated = (
            self.frame[["concept", "source"]].drop_duplicates().groupby("concept")["source"].agg(frozenset)
        )
        owner = self.concepts["source"].reindex(concepts)
        sources = [
            rows if (rows := stated.get(c)) is not None and source in rows else frozenset([source])
            for c, source in zip(concepts, owner)
        ]
        distinct = list(dict.fromkeys(sources))
        covers = np.ones((len(samples), len(distinct)), bool)
        inside = {s: np.zeros(len(samples), bool) for s, ids in self.coverage.items() if ids is not None}
        for source, mask in inside.items():
            number = self._matched(f"coverage {source}", self.coverage[source] or (), samples)
            mask[number[number >= 0]] = True
        for g, names in enumerate(distinct):
            if names <= set(inside):
                covers[:, g] = np.any([inside[name] for name in names], axis=0)
        return np.array([distinct.index(s) for s in sources], np.int64), covers

    def rename_samples(self, names: Mapping[str, str]) -> Annotations:
        """The same annotations under other sample identifiers; those that are not mapped stay.

        Examples
        --------
        >>> rows = pd.DataFrame({"sample": ["P1"], "start": [1], "end": [3], "concept": ["site"]})
        >>> Annotations(rows).rename_samples({"P1": "sp|P1|A"}).frame["sample"][0]
        'sp|P1|A'
        """
        frame = self.frame.assign(sample=[names.get(s, s) for s in self.frame["sample"]])
        coverage = {k: None if v is None else [names.get(s, s) for s in v] for k, v in self.coverage.items()}
        return Annotations(frame, concepts=self.concepts, coverage=coverage, counts=self.counts)

    def project(self, samples: Samples) -> Annotations:
        """These annotations in the coordinates of ``samples``: of chromosomes on windows, of genes on cells.

        An annotation with a strand lies on the windows of that strand (``+`` where a window states none), one
        without on both; what windows of the other strand alone show is counted and not placed.

        Parameters
        ----------
        samples : Samples
            Windows with a place (sample columns ``chromosome, start, end, strand``, or names such as
            ``chr16:100-119``), or cells, on whose expressed genes facts about genes are placed.

        Returns
        -------
        Annotations
            ``counts`` account for every row; ``counts["partial"]`` are intervals that a window cuts.

        Raises
        ------
        InputError
            When the place of a sample is not known.

        Examples
        --------
        >>> rows = pd.DataFrame({"sample": "chr1", "start": 95, "end": 103, "strand": ["-", "."], "concept": ["a", "b"]})
        >>> windows = Samples(["chr1:100-109", "chr1:90-99(-)"], ["ACGTACGTAC", "ACGTACGTA"])
        >>> Annotations(rows).project(windows).frame[["sample", "start", "end", "strand", "concept"]].to_numpy().tolist()
        [['chr1:90-99(-)', 0, 4, '+', 'a'], ['chr1:100-109', 0, 4, '.', 'b'], ['chr1:90-99(-)', 0, 4, '.', 'b']]
        """
        return project(self, samples)

    def unproject(self, samples: Samples) -> Annotations:
        """Annotations of windows in the coordinates of their chromosomes: the way back of :meth:`project`."""
        return unproject(self, samples)

    @classmethod
    def merge(cls, parts: Iterable[Annotations]) -> Annotations:
        """Several sources in one table: rows one after another, counts added, the first word on a concept kept.

        A source that occurs twice covers what either part says it covers.
        """
        parts = list(parts)
        if not parts:
            raise InputError("nothing to merge", expected="at least one table of annotations")
        coverage: dict[str, tuple[str, ...] | None] = {}
        for part in parts:
            for source in dict.fromkeys((*part.coverage, *part.frame["source"].unique())):
                ids, known = part.coverage.get(source), coverage.get(source, ())
                both = None if ids is None or known is None else tuple(dict.fromkeys((*known, *ids)))
                coverage[source] = both
        concepts = pd.concat([p.concepts for p in parts])
        return cls(
            pd.concat([p.frame for p in parts], ignore_index=True),
            concepts=concepts[~concepts.index.duplicated()],
            coverage=coverage,
            counts=_added([p.counts for p in parts]),
        )

    def write(self, path: str | Path) -> None:
        """Write ``path`` (tab-separated), and beside it the concepts table and the coverage where limited."""
        path = Path(path)
        write_tsv(self.frame, path)
        write_tsv(self.concepts.reset_index(), concepts_path(path))
        covered = [(s, i) for s, ids in sorted(self.coverage.items()) if ids is not None for i in ids]
        if covered:
            write_tsv(pd.DataFrame(covered, columns=["source", "sample"]), coverage_path(path))

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        n_samples, dropped = self.frame["sample"].nunique(), sum(self.counts.get("dropped", {}).values())
        tail = f", {dropped:,} dropped" if dropped else ""
        return f"Annotations({len(self):,} rows, {len(self.names)} concepts, {n_samples:,} samples{tail})"

    def _repr_html_(self) -> str:
        return html_card(repr(self), self.counts.get("dropped"), self.frame.head(5))


class RowError(InputError):
    """A row of an annotation table that cannot be; ``row`` is its number from 0."""

    def __init__(self, row: int, what: str, *, where: str = "", **more: str) -> None:
        self.row = int(row)
        super().__init__(what, where=f"row {row}{where}", **more)


def validate(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with every column, right types and possible intervals, or an error that names a bad row."""
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise InputError("a column occurs twice in an annotation table", where=f"column {twice!r}")
    missing = [c for c in ("sample", "start", "end", "concept") if c not in frame.columns]
    if missing:
        raise InputError(
            "an annotation table lacks a column",
            where=f"column {missing[0]!r}",
            expected="sample, start, end, concept",
            got=", ".join(map(str, frame.columns)) or "none",
        )
    out: dict[str, np.ndarray] = {}
    for column in COLUMNS:
        if column in ("start", "end"):
            out[column] = _whole_numbers(frame[column], column)
        elif column in frame.columns:
            out[column] = _texts(frame[column], DEFAULTS.get(column, ""))
        else:
            out[column] = np.full(len(frame), DEFAULTS[column], dtype=object)
    start, end = out["start"], out["end"]
    bad = np.flatnonzero(~(((start == -1) & (end == -1)) | ((start >= 0) & (end > start))))
    if len(bad):
        raise RowError(
            bad[0],
            "an impossible interval",
            where=f" (sample {out['sample'][bad[0]]!r})",
            expected="0 <= start < end, or start = end = -1 for a whole sample",
            got=f"{start[bad[0]]} to {end[bad[0]]}",
            do="Intervals are 0-based and half-open: the first ten positions are 0 to 10.",
        )
    out["strand"] = _strands(out["strand"])
    empty = np.flatnonzero((out["sample"] == "") | (out["concept"] == ""))
    if len(empty):
        todo = "Leave such rows out. Where the label of a sample is not known, coverage={source: the labelled samples} keeps it from counting as a negative."
        raise RowError(empty[0], "a row without sample or concept", do=todo)
    return pd.DataFrame(out)


def _strands(column: np.ndarray) -> np.ndarray:
    """``+``, ``-`` or ``.`` for whatever a table writes."""
    code, words = pd.factorize(column)
    meant = [strand_of(text) for text in words]
    if "" in meant:
        row = int(np.argmax(code == meant.index("")))
        raise RowError(row, "this is not a strand", expected="+ - or .", got=repr(column[row][:20]))
    return np.array(meant, dtype=object)[code] if len(column) else column


def _whole_numbers(column: pd.Series, name: str) -> np.ndarray:
    """Whole numbers of numbers or text (``1,000``, ``12.0``); a blank or missing cell is -1, the whole sample."""
    values = column.to_numpy()
    if values.dtype.kind in "iu" and (not len(values) or abs(values.max()) < 2**62):
        return values.astype(np.int64)
    if infer_dtype(column, skipna=False) != "string":
        column = column.astype(object).where(column.notna(), "").astype(str)
    code, texts = pd.factorize(column.to_numpy(object))
    numbers = [int(t) if _DIGITS.fullmatch(t) else _whole_number(t) for t in texts]
    if None in numbers:
        row = int(np.argmax(code == numbers.index(None)))
        got = repr(values[row])[:40]
        raise RowError(row, f"'{name}' is not a whole number", expected="an integer", got=got)
    return np.array(numbers, np.int64)[code]


def _whole_number(text: str) -> int | None:
    text = "-1" if (text := text.strip()) in MISSING else text
    text = re.sub(r"\.0+$", "", text.replace(",", "") if _THOUSANDS.fullmatch(text) else text)
    return int(text) if _DIGITS.fullmatch(text) else None


def _numbers_of(names: Iterable[str], samples: Samples) -> np.ndarray:
    """The number in ``samples`` of every name, -1 where there is none."""
    index, wanted = pd.Index(samples.ids), pd.Index(names, dtype=object)
    number = index.get_indexer(wanted)
    if len(lost := np.flatnonzero(number < 0)):
        meant = match_ids(wanted[lost], samples.ids)
        number[lost] = index.get_indexer(pd.Index([meant.get(n) for n in wanted[lost]], dtype=object))
    return number


def _outside(frame: pd.DataFrame, source: str, covered: tuple[str, ...]) -> int:
    """How many rows of a source lie on samples that it does not cover; said, for they count for nothing."""
    names = frame.loc[frame["source"] == source, "sample"]
    outside = names[~names.isin(covered)]
    if len(outside):
        _say(
            f"{len(outside):,} rows of {source} lie on samples that its coverage does not list, such as "
            f"{outside.iloc[0]!r}: they count for nothing"
        )
    return len(outside)


@lru_cache(maxsize=1000)
def _say(text: str, level: int = logging.WARNING) -> None:
    """A message that is given once."""
    log.log(level, text)


def _added(counts: list[Plain]) -> Plain:
    """Accounts of several sources in one: numbers are added, lists joined, tables added key by key."""
    out: Plain = {"n_in": 0, "n_kept": 0, "dropped": {}}
    for key, value in (pair for account in counts for pair in account.items()):
        if isinstance(value, Mapping):
            known = out.get(key, {})
            out[key] = {k: known.get(k, 0) + value.get(k, 0) for k in dict.fromkeys((*known, *value))}
        else:
            out[key] = out[key] + value if key in out else value
    out.pop("outside_coverage", None)
    return out


def _texts(column: pd.Series, default: str) -> np.ndarray:
    values = column.to_numpy(dtype=object)
    if infer_dtype(values, skipna=False) == "string":
        return values
    out = np.empty(len(values), dtype=object)
    out[:] = [v if type(v) is str else default if pd.isna(v) else name_of(v) for v in values]
    return out


def _concepts_table(frame: pd.DataFrame, concepts: pd.DataFrame | None) -> pd.DataFrame:
    """The concepts table, completed for every concept of the rows."""
    stated = frame[["concept", "source"]].drop_duplicates("concept").set_index("concept")
    given = pd.DataFrame(index=pd.Index([]))
    if concepts is not None:
        given = concepts.set_index("concept") if "concept" in concepts.columns else concepts.copy()
        given.index = given.index.astype(str)
        if given.index.has_duplicates:
            twice = given.index[given.index.duplicated()][0]
            raise InputError("a concept occurs twice in the concepts table", where=f"concept {twice!r}")
    names = sorted(set(stated.index) | set(given.index))
    out = pd.DataFrame(index=pd.Index(names, name="concept", dtype=frame["concept"].dtype))
    plain = {"name": names, "parent": "", "level": 0, "exhaustive": False}
    plain["source"] = stated["source"].reindex(names).fillna("user").tolist()
    for column in CONCEPT_COLUMNS:
        default = pd.Series(plain[column], index=out.index, dtype=object)
        if column in given.columns:
            default = given[column].astype(object).reindex(names).where(lambda v: v.notna(), default)
        out[column] = [_CONCEPT_CELL.get(column, str)(value) for value in default]
    return out


def _level(value: object) -> int:
    text = str(value).strip().removesuffix(".0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


# how a cell of the concepts table is read; others are text
_CONCEPT_CELL: dict[str, Callable[[object], object]] = {
    "level": _level,
    "exhaustive": lambda value: str(value).strip().lower() in ("true", "1", "yes"),
}


def concepts_path(path: Path) -> Path:
    """Where the concepts table of an annotation table lies: ``x.annotations.tsv`` -> ``x.concepts.tsv``."""
    return path.with_name(f"{_stem(path)}.concepts.tsv")


def coverage_path(path: Path) -> Path:
    """Where the samples each source covers are listed: ``x.annotations.tsv`` -> ``x.coverage.tsv``."""
    return path.with_name(f"{_stem(path)}.coverage.tsv")


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".tsv").removesuffix(".annotations")
