"""Tracks of values (bigWig, bedGraph) and BigBed: intervals above a threshold, and values position by position.

A track says of every base how much: conservation, coverage, accessibility. Two readings are offered. With a threshold
it is a concept, ``signal:NAME``, on the stretches at or above it. Without one its values are placed on the positions of
samples (:func:`read_values`), and :func:`sciinterp.correlate` asks which feature follows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sciinterp.annotations.bed import COMMENTS, parse_bed_line
from sciinterp.annotations.rows import Rows, concept_name
from sciinterp.annotations.table import Annotations
from sciinterp.codes.intervals import positions_in
from sciinterp.errors import FormatError, InputError, ShapeError
from sciinterp.readers.bigwig import Keep, kind_of_track, read_bigbed, read_bigwig_arrays
from sciinterp.readers.identifiers import match_chromosomes, plain_chromosome
from sciinterp.samples import Samples
from sciinterp.settings import checked
from sciinterp.splits.places import places

_LINES = 1 << 14
# Chromosome, starts, ends, values of a piece of a track.
_Piece = tuple[str, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Values:
    """What is measured of every position of some samples, by any number of tracks.

    Attributes
    ----------
    samples : Samples
    names : tuple of str
    values : float32 [n_positions, n_tracks]
        NaN where nothing was measured.
    counts : mapping
        Positions with a value, of each track.
    """

    samples: Samples
    names: tuple[str, ...]
    values: np.ndarray

    def __post_init__(self) -> None:
        expected = (self.samples.n_positions, len(self.names))
        if self.values.shape != expected:
            raise ShapeError(
                "values do not fit the samples", expected=str(expected), got=str(self.values.shape)
            )

    @property
    def counts(self) -> Mapping[str, int]:
        """Positions with a value, of each track."""
        return dict(zip(self.names, np.isfinite(self.values).sum(axis=0).tolist()))

    def __repr__(self) -> str:
        told = ", ".join(f"{name} {n:,}" for name, n in self.counts.items())
        return f"Values({self.samples.n_positions:,} positions: {told})"


@checked()
def parse_bigbed(path: str | Path, *, name: str = "column", release: str = "") -> Annotations:
    """Intervals of a BigBed file, as :func:`sciinterp.annotations.bed.parse_bed` reads them."""
    rows = Rows("bed", path, release=release)
    default = Path(path).name.split(".")[0] if name == "column" else name
    for number, line in enumerate(read_bigbed(Path(path)), start=1):
        parse_bed_line(rows, line, name == "column", default, number)
    return rows.annotations(unique=True, coverage=False)


@checked()
def parse_signal(path: str | Path, *, threshold: float | None = None, release: str = "") -> Annotations:
    """Stretches of a track (bigWig, bedGraph) whose value is at or above a threshold; neighbours are one interval.

    Raises
    ------
    InputError
        No threshold is given.
    FormatError
        The file is neither, or damaged.
    """
    path = Path(path)
    if threshold is None or not np.isfinite(threshold):
        raise InputError(
            "a track of values is no annotation until a threshold is named",
            where=f"file '{path}'",
            do="Pass threshold= to read_annotations, or read values with si.read_values and si.correlate.",
        )
    rows = Rows("signal", path, release=release)
    concept = concept_name("signal", _stem(path))
    last: tuple[str, int, int, float] | None = None
    for chromosome, start, end, value in _pieces(path):
        above = value >= threshold
        for a, b, v in zip(start[above].tolist(), end[above].tolist(), value[above].tolist()):
            if last is not None and last[0] == chromosome and last[2] == a:
                last = chromosome, last[1], b, max(last[3], v)
                continue
            _add(rows, last, concept)
            last = chromosome, a, b, v
    _add(rows, last, concept)
    return rows.annotations(unique=True, coverage=False)


def _add(rows: Rows, interval: tuple[str, int, int, float] | None, concept: str) -> None:
    if interval is not None:
        chromosome, start, end, value = interval
        rows.item()
        rows.add(chromosome, start, end, concept, note=f"largest value {value:.6g}")


@checked()
def read_values(path: str | Path | Mapping[str, str | Path], samples: Samples) -> Values:
    """Values of tracks on the positions of windows, or of samples that a track names itself.

    Parameters
    ----------
    path : path, or mapping of str to path
        bigWig or bedGraph; several by name.
    samples : Samples
        Windows with a place (:func:`sciinterp.splits.places.places`), or samples that the track calls by name. On
        the reverse strand a window runs backwards.

    Returns
    -------
    Values
        NaN where the track says nothing.

    Raises
    ------
    InputError
        A track says nothing of any sample.
    FormatError
        A file is neither bigWig nor bedGraph, or damaged.
    """
    given = path if isinstance(path, Mapping) else {_stem(Path(path)): path}
    columns = []
    for name, file in given.items():
        column = _on_positions(Path(file), samples)
        if not np.isfinite(column).any():
            raise InputError(
                "the track says nothing of any sample",
                where=f"track {name!r}",
                expected=f"values at places such as {samples.ids[0]!r}",
                do="Are names of chromosomes and assembly the same?",
            )
        columns.append(column)
    return Values(samples, tuple(given), np.stack(columns, axis=1))


def _on_positions(path: Path, samples: Samples) -> np.ndarray:
    """float32 [n_positions]: the values of one track, NaN where it says nothing."""
    chromosomes, low, back = _windows(samples)
    chromosomes = np.array([plain_chromosome(name) for name in chromosomes], object)
    names = list(dict.fromkeys(chromosomes))
    high = low + samples.lengths
    order = {name: np.flatnonzero(chromosomes == name) for name in names}
    order = {name: of[np.argsort(low[of], kind="stable")] for name, of in order.items()}
    out = np.full(samples.n_positions, np.nan, np.float32)
    meant: dict[str, str] = {}

    def name_of(called: str) -> str:
        if called not in meant:
            meant[called] = match_chromosomes([called], names).get(called, "")
        return meant[called]

    def touched(called: str, start: int, end: int) -> np.ndarray:
        of = order.get(name_of(called), np.zeros(0, np.int64))
        return of[(low[of] < end) & (high[of] > start)]

    for called, start, end, value in _pieces(path, lambda *place: len(touched(*place)) > 0):
        for window in touched(called, int(start.min()), int(end.max())) if len(start) else ():
            inside = (start < high[window]) & (end > low[window])
            a = np.maximum(start[inside], low[window]) - low[window]
            b = np.minimum(end[inside], high[window]) - low[window]
            which, at = positions_in(a, b)
            at = samples.lengths[window] - 1 - at if back[window] else at
            at += samples.offsets[window]
            if np.isfinite(out[at]).any() or len(np.unique(at)) < len(at):
                raise FormatError(
                    "a track has two values of one base",
                    file=str(path),
                    expected="intervals that do not overlap",
                    got=f"overlaps on {samples.ids[window]!r}",
                )
            out[at] = value[inside][which]
    return out


def _windows(samples: Samples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chromosome, first base and strand of every sample; samples without a place are their own chromosomes."""
    try:
        where = places(samples)
    except InputError:
        n = len(samples)
        return np.array(samples.ids, object), np.zeros(n, np.int64), np.zeros(n, bool)
    chromosome = where["chromosome"].astype(str).to_numpy(object)
    return chromosome, where["start"].to_numpy(np.int64), (where["strand"] == "-").to_numpy()


def _pieces(path: Path, keep: Keep | None = None) -> Iterator[_Piece]:
    return read_bigwig_arrays(path, keep) if kind_of_track(path) == "bigwig" else _bedgraph(path)


def _bedgraph(path: Path) -> Iterator[_Piece]:
    """The lines of a bedGraph, some of one chromosome at a time."""
    name, rows, file = "", list[tuple[int, int, float]](), Rows("signal", path)
    for number, line in file.lines("bedGraph", skip=COMMENTS):
        cells = line.split()
        if len(cells) != 4:
            raise file.bad(
                "this is not a line of bedGraph", number, expected="4 columns", got=str(len(cells))
            )
        start, end = file.ends(cells[1], cells[2], number)
        value = _number(cells[3], path, number)
        if end == start:
            raise file.bad("an interval without a base", number, got=f"{start} to {end}")
        if rows and (cells[0] != name or len(rows) == _LINES):
            yield _piece(name, rows)
            rows = []
        name = cells[0]
        rows.append((start, end, value))
    if rows:
        yield _piece(name, rows)


def _piece(name: str, rows: list[tuple[int, int, float]]) -> _Piece:
    start, end, value = zip(*rows)
    return name, np.array(start, np.int64), np.array(end, np.int64), np.array(value, np.float32)


def _number(text: str, path: Path, line: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise FormatError(
            "the value is not a number", file=str(path), line=line, got=repr(text[:40])
        ) from None


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[0] or path.name
