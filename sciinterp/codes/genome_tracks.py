"""Features as tracks of a genome browser: what a feature says of every base, where it speaks, and what was proposed.

Samples are windows of chromosomes (:func:`sciinterp.splits.places.places`): codes go back to the bases they are of, on
the reverse strand backwards; where windows overlap the largest code of a base counts. Tracks are sorted by name of
the chromosome, then by place; no two intervals of one overlap, and bases without a code have no interval
(``windows.bed`` says what was read). Samples that have no place, proteins for one, are their own coordinates, and
intervals are GFF3, as UniProt and InterPro give theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import numpy as np

from sciinterp import distributed
from sciinterp.budget import BLOCK_VALUES
from sciinterp.codes.active import is_active
from sciinterp.codes.matrix import FeatureMatrix
from sciinterp.codes.write_bigwig import Intervals, write_bigwig, write_export
from sciinterp.errors import InputError, no_such, require_kinds
from sciinterp.readers.bounded import read_lines, whole
from sciinterp.readers.identifiers import match_chromosomes
from sciinterp.samples import Samples
from sciinterp.splits.places import places
from sciinterp.store.atomic import make_folder

if TYPE_CHECKING:
    import pandas as pd

_Column = tuple[int, np.ndarray, np.ndarray]
FORMATS = ("bigwig", "bedgraph")
STRANDS = (".", "+", "-")
# What is read of candidates.
_PROPOSED = ("kind", "sample", "start", "end", "concept", "feature", "probability")


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Where each sample lies: the name and number of its chromosome, its first base, its strand.

    Attributes
    ----------
    names : list of str
        Chromosomes, sorted as bytes.
    sizes : int64 [n_chromosomes]
    chromosome, start : int64 [n_samples]
    back : bool [n_samples]
        Whether the sample runs on the reverse strand.
    samples : Samples
    of_genome : bool
        False where samples are their own coordinates.
    """

    names: list[str]
    sizes: np.ndarray
    chromosome: np.ndarray
    start: np.ndarray
    back: np.ndarray
    samples: Samples
    of_genome: bool

    @classmethod
    def of(cls, samples: Samples, sizes: str | Path | None = None) -> Coordinates:
        """Places of samples; ``sizes`` is a table of names and lengths of chromosomes (chrom.sizes, .fai)."""
        try:
            where = places(samples)
        except InputError:
            if samples.kind in ("dna", "rna") or sizes is not None:
                raise
            n = len(samples)
            order = np.argsort(np.array([i.encode() for i in samples.ids], object), kind="stable")
            none = np.zeros(n, np.int64)
            names = [samples.ids[i] for i in order]
            return cls(
                names, samples.lengths[order], np.argsort(order), none, none.astype(bool), samples, False
            )
        start, end = where["start"].to_numpy(np.int64), where["end"].to_numpy(np.int64)
        called = where["chromosome"].astype(str).tolist()
        known = _sizes(Path(sizes)) if sizes is not None else {}
        meant = match_chromosomes(called, list(known)) if sizes is not None else dict(zip(called, called))
        if lost := next((name for name in called if name not in meant), None):
            raise no_such("chromosome", lost, known, where="the table of sizes")
        names = sorted(set(meant.values()), key=str.encode)
        number = {name: i for i, name in enumerate(names)}
        chromosome = np.array([number[meant[name]] for name in called], np.int64)
        longest = np.zeros(len(names), np.int64)
        np.maximum.at(longest, chromosome, end)
        stated = np.array([known.get(name, longest[i]) for i, name in enumerate(names)], np.int64)
        if (short := np.flatnonzero(stated < longest)).size:
            raise InputError(
                "a window ends beyond its chromosome",
                where=f"chromosome {names[short[0]]!r}",
                expected=f"at most {stated[short[0]]}",
                got=str(longest[short[0]]),
                do="Are these the sizes of the same assembly?",
            )
        back = (where["strand"] == "-").to_numpy()
        return cls(names, stated, chromosome, start, back, samples, True)

    def bases(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Chromosome and base of positions of the samples, laid end to end."""
        offsets = self.samples.offsets
        sample = np.searchsorted(offsets, rows, side="right") - 1
        inside = rows - offsets[sample]
        inside = np.where(self.back[sample], self.samples.lengths[sample] - 1 - inside, inside)
        return self.chromosome[sample], self.start[sample] + inside

    def interval(self, sample: int, start: int, end: int) -> tuple[int, int, int, str]:
        """Chromosome, start, end and strand of an interval of a sample."""
        n = int(self.samples.lengths[sample])
        low, high = (n - end, n - start) if self.back[sample] else (start, end)
        base = int(self.start[sample])
        strand = "." if not self.of_genome else "-" if self.back[sample] else "+"
        return int(self.chromosome[sample]), base + low, base + high, strand


def _columns(features: FeatureMatrix, wanted: list[int]) -> Iterator[list[_Column]]:
    """Feature, positions and values of some features, block by block; where many of a block are wanted it is read at once."""
    for low, high in features.feature_blocks(BLOCK_VALUES):
        mine = [j for j in wanted if low <= j < high]
        block = features.by_feature(low, high) if 4 * len(mine) > high - low else None
        many = ((block, j - low) if block is not None else (features.by_feature(j, j + 1), 0) for j in mine)
        yield [(j, *codes.column(at)) for j, (codes, at) in zip(mine, many)]


def track_of(rows: np.ndarray, value: np.ndarray, where: Coordinates) -> Intervals:
    """Positions and values of a feature on coordinates; neighbours of equal value are one interval."""
    keep = value > 0
    chromosome, base = where.bases(rows[keep].astype(np.int64))
    value = value[keep]
    step, further = np.diff(chromosome), np.diff(base)
    if not ((step > 0) | ((step == 0) & (further > 0))).all():
        order = np.lexsort((-value, base, chromosome))
        chromosome, base, value = chromosome[order], base[order], value[order]
        again = (np.diff(chromosome) == 0) & (np.diff(base) == 0)
        first = np.flatnonzero(np.append(True, ~again)[: len(base)])
        chromosome, base, value = chromosome[first], base[first], value[first]
    joined = (np.diff(chromosome) == 0) & (np.diff(base) == 1) & (np.diff(value) == 0)
    start = np.flatnonzero(np.append(True, ~joined)[: len(base)])
    end = np.append(start[1:], len(base)) - 1
    if not len(start):
        end = start
    return Intervals(chromosome[start], base[start], base[end] + 1, value[start])


def tracks(
    features: FeatureMatrix,
    which: Iterable[int],
    *,
    out: str | Path,
    candidates: pd.DataFrame | None = None,
    format: str = "bigwig",
    sizes: str | Path | None = None,
) -> list[Path]:
    """Write features as tracks that IGV and the UCSC browser open, with the places where they speak.

    Parameters
    ----------
    features : FeatureMatrix
    which : iterable of int
        The features.
    out : path
        Folder: ``feature_J.bw`` or ``feature_J.bedgraph``, ``peaks.bed``, ``candidates.bed`` and ``windows.bed``; of
        samples that are their own coordinates ``feature_J.bedgraph``, ``peaks.gff3`` and ``candidates.gff3``.
    candidates : DataFrame, optional
        Of :func:`sciinterp.discover`; those of these features that have a place are written, scored by their
        probability.
    format : {"bigwig", "bedgraph"}
    sizes : path, optional
        Names and lengths of the chromosomes (chrom.sizes, .fai). Names of samples are matched with and without
        ``chr``. Without it a chromosome is as long as its last window reaches.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        No such feature, format or chromosome, or bases whose place is not known.
    """
    require_kinds(features=(features, FeatureMatrix), out=(out, Path))
    if isinstance(which, str) or not isinstance(which, Iterable):
        raise InputError(
            "an argument of another kind", where="which=", expected="numbers of features", got=repr(which)
        )
    wanted = list(dict.fromkeys(features.number(j) for j in which))
    if format not in FORMATS:
        raise no_such("format", format, FORMATS)
    if sizes is not None:
        require_kinds(sizes=(sizes, Path))
    if candidates is not None:
        _require_candidates(candidates)
    where = Coordinates.of(features.samples, sizes)
    folder = make_folder(out)
    ending = "bw" if format == "bigwig" and where.of_genome else "bedgraph"
    written, peaks = [folder / f"feature_{j}.{ending}" for j in wanted], {}
    largest = features.largest

    def write(column: _Column) -> tuple[np.ndarray, ...]:
        j, rows, value = column
        track, path = track_of(rows, value, where), folder / f"feature_{j}.{ending}"
        if ending == "bw":
            write_bigwig(path, where.names, where.sizes, track)
        else:
            write_bedgraph(path, track, where)
        return _peaks(track, float(largest[j]))

    with ThreadPoolExecutor(distributed.workers(distributed.MOST)) as pool:
        for block in _columns(features, wanted):
            peaks.update(zip((j for j, *_ in block), pool.map(write, block)))
    written.append(_write_intervals(folder / "peaks", _Places.of_peaks(peaks), where))
    if candidates is not None:
        placed = candidates["start"] >= 0  # a refinement is of a concept, wherever that lies
        chosen = candidates[candidates["feature"].isin(wanted) & placed]
        written.append(_write_intervals(folder / "candidates", _proposed(chosen, where), where))
    if where.of_genome:
        rows = [
            (*where.interval(i, 0, int(n)), features.samples.ids[i], 0.0)
            for i, n in enumerate(where.samples.lengths)
        ]
        written.append(_write_intervals(folder / "windows", _Places.of(rows), where))
    return written


def write_bedgraph(path: Path, track: Intervals, where: Coordinates) -> None:
    """A track as bedGraph; values in the shortest form that float32 reads back bit for bit."""
    names = [_plain(name) if where.of_genome else _quoted(name) for name in where.names]
    lines = (
        f"{names[c]}\t{a}\t{b}\t{v}\n"
        for c, a, b, v in zip(
            track.chromosome, track.start, track.end, track.value.astype(np.float32).astype(str)
        )
    )
    head = f'track type=bedGraph name="{path.stem}"\n'
    write_export(path, (head + "".join(lines)).encode())


class _Places(NamedTuple):
    """Named intervals: number of chromosome, start, end, number of strand, number of name, score from 0 to 1; the names."""

    chromosome: np.ndarray
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray
    number: np.ndarray
    score: np.ndarray
    names: list[str]

    @classmethod
    def of(cls, rows: list[tuple[int, int, int, str, str, float]]) -> _Places:
        chromosome, start, end, strand, names, score = list(zip(*rows)) or [()] * 6
        signs = [STRANDS.index(sign) for sign in strand]
        whole = (np.array(column, np.int64) for column in (chromosome, start, end, signs, range(len(rows))))
        return cls._make([*whole, np.array(score, np.float64), list(names)])

    @classmethod
    def of_peaks(cls, peaks: dict[int, tuple[np.ndarray, ...]]) -> _Places:
        """Of every feature its :func:`_peaks`."""
        if not peaks:
            return cls.of([])
        chromosome, start, end, top = map(np.concatenate, zip(*peaks.values()))
        number = np.repeat(np.arange(len(peaks)), [len(found[0]) for found in peaks.values()])
        return cls(
            chromosome, start, end, np.zeros_like(number), number, top, [f"feature_{j}" for j in peaks]
        )


def _peaks(track: Intervals, scale: float) -> tuple[np.ndarray, ...]:
    """Stretches where a feature is active: chromosome, start, end, and the largest value as a share of the feature's scale."""
    on = np.flatnonzero(is_active(track.value, scale))
    new = (np.diff(track.chromosome[on]) != 0) | (track.start[on][1:] != track.end[on][:-1])
    first = np.flatnonzero(np.append(True, new)[: len(on)])
    last = np.append(first[1:], len(on))[: len(first)] - 1
    top = np.maximum.reduceat(track.value[on], first) / scale if len(on) else np.empty(0)
    return track.chromosome[on[first]], track.start[on[first]], track.end[on[last]], top


def _require_candidates(candidates: pd.DataFrame) -> None:
    """Raise unless these are candidates: asked before anything is written."""
    absent = [name for name in _PROPOSED if name not in getattr(candidates, "columns", ())]
    if absent:
        raise InputError(
            "these are not candidates",
            where="candidates=",
            expected="a table of si.discover",
            got=f"no column {absent[0]!r}" if hasattr(candidates, "columns") else repr(candidates)[:60],
        )


def _proposed(candidates: pd.DataFrame, where: Coordinates) -> _Places:
    rows = []
    for kind, sample, start, end, concept, feature, p in zip(*(candidates[c] for c in _PROPOSED)):
        name = f"{kind}:{concept or 'novel'}:feature_{feature}"
        place = where.interval(where.samples.index(str(sample)), int(start), int(end))
        rows.append((*place, name, 0.0 if np.isnan(p) else float(p)))
    return _Places.of(rows)


def _write_intervals(path: Path, found: _Places, where: Coordinates) -> Path:
    """BED on a genome, GFF3 on samples, sorted by place."""
    order = np.lexsort((found.end, found.start, found.chromosome))
    found = _Places._make([*(column[order] for column in found[:-1]), found.names])
    path = path.with_suffix(".bed" if where.of_genome else ".gff3")
    write_export(path, _bed(found, where) if where.of_genome else "".join(_gff3(found, where)).encode())
    return path


def _bed(found: _Places, where: Coordinates) -> bytes:
    """Lines of BED; there may be millions, which pyarrow writes in a tenth of the time of a loop."""
    import pyarrow as pa
    from pyarrow import csv

    def texts(numbers: np.ndarray, of: Sequence[str]) -> pa.Array:
        # no tab, no quote and no end of a line: nothing has to be quoted
        once = pa.array([_plain(text) for text in of], pa.string())
        return pa.DictionaryArray.from_arrays(pa.array(numbers, pa.int32()), once).cast(pa.string())

    columns = [
        texts(found.chromosome, where.names),
        found.start,
        found.end,
        texts(found.number, found.names),
        np.floor(1000 * found.score + 0.5).astype(np.int64),
        texts(found.strand, STRANDS),
    ]
    table = pa.table(columns, names=list("abcdef"))
    out = pa.BufferOutputStream()
    how = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    csv.write_csv(table, out, how)
    return out.getvalue().to_pybytes()


def _gff3(found: _Places, where: Coordinates) -> Iterator[str]:
    yield "##gff-version 3\n"
    names = [_quoted(name) for name in where.names]
    for name, n in zip(names, where.sizes.tolist()):
        yield f"##sequence-region {name} 1 {n}\n"
    for c, a, b, _, number, score in zip(*(column.tolist() for column in found[:-1])):
        told = f"Name={quote(found.names[number], safe=' :_.-()', errors='replace')}"
        yield f"{names[c]}\tsciinterp\tsequence_feature\t{a + 1}\t{b}\t{score:.6g}\t.\t.\t{told}\n"


def _quoted(name: str) -> str:
    """A sample's name as the first cell of GFF3, and of the bedGraph beside it: no two names become one."""
    return quote(name, safe=".:^*$@!+_?-|", errors="replace")


def _plain(name: str) -> str:
    """A name as one cell of BED, which knows no quotes."""
    return "".join(c for c in "_".join(name.split()) if c.isprintable()).replace('"', "'") or "."


def _sizes(path: Path) -> dict[str, int]:
    out: dict[str, int] = {}
    for number, line in read_lines(path):
        cells = line.split()
        if len(cells) >= 2 and not line.startswith("#"):
            out[cells[0]] = whole(cells[1], "the length of a chromosome", path, number)
    return out
