"""bigWig files: values of a genome, compressed, indexed, and summarised for every zoom of a browser.

Written here because a run has a thousand features: the libraries take 20 to 60 ms a file of 3,000 intervals, this 3. Kent
and others 2010, Bioinformatics 26:2204, supplement, is the format; numbers are little-endian, values float32. The
tests read the files with another library.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sciinterp.codes.intervals import positions_in
from sciinterp.errors import InputError

_MAGIC, _CHROMOSOMES, _INDEX, _VERSION = 0x888FFC26, 0x78CA8C91, 0x2468ACE0, 4
# Items of a block, and children of a node of an index.
_ITEMS, _FANOUT = 1024, 256
# Bases of a bin of the finest summary, and how many times as many each coarser one has.
_FINEST, _COARSER, _LEVELS = 64, 8, 7
_LEVEL = 1  # of zlib: random values pack as small as by its default, in half the time
_MAX_CHROMOSOMES = 65_535  # in one node
_INTERVAL = np.dtype([("start", "<u4"), ("end", "<u4"), ("value", "<f4")])
_SUMMARY = np.dtype(
    [("chromosome", "<u4"), ("start", "<u4"), ("end", "<u4"), ("n", "<u4")]
    + [(name, "<f4") for name in ("least", "most", "sum", "squares")]
)


class Intervals(NamedTuple):
    """Values of a genome: intervals sorted by number of chromosome, then place, none overlapping."""

    chromosome: np.ndarray
    start: np.ndarray
    end: np.ndarray
    value: np.ndarray


class _Block(NamedTuple):
    """A compressed block, and the stretch of genome that it covers."""

    raw: bytes
    first: tuple[int, int]
    last: tuple[int, int]


def write_bigwig(path: Path, names: Sequence[str], sizes: np.ndarray, found: Intervals) -> None:
    """Write values as bigWig.

    Parameters
    ----------
    path : path
    names : sequence of str
        Chromosomes, sorted as bytes.
    sizes : int [n_chromosomes]
    found : Intervals

    Raises
    ------
    InputError
        More chromosomes than one table of the format holds.
    """
    if len(names) > _MAX_CHROMOSOMES:
        raise InputError(
            "too many chromosomes for a bigWig",
            where=f"file '{path}'",
            expected=f"at most {_MAX_CHROMOSOMES:,}",
            got=f"{len(names):,}",
            do="Write bedGraph.",
        )
    zooms = _zooms(found)
    table = _table(names, sizes)
    summary = 64 + 24 * len(zooms)
    at_table = summary + 40
    at_data = at_table + len(table)
    body, at_index = _section(_interval_blocks(found), at_data, "<Q")
    out = [table, body]
    at = at_data + len(body)
    heads = b""
    for bases, rows in zooms:
        body, index = _section(_summary_blocks(rows), at, "<I", len(rows))
        heads += struct.pack("<IIQQ", bases, 0, at, index)
        out.append(body)
        at += len(body)
    largest = 24 + _ITEMS * _SUMMARY.itemsize
    places = (len(zooms), at_table, at_data, at_index)
    head = struct.pack("<IHHQQQHHQQIQ", _MAGIC, _VERSION, *places, 0, 0, 0, summary, largest, 0)
    write_export(path, b"".join([head, heads, _total(found), *out, struct.pack("<I", _MAGIC)]))


def write_export(path: Path, content: bytes) -> None:
    """Write a file whole; what can be made again is not forced to the disk, which takes longer than making it."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)


def _table(names: Sequence[str], sizes: np.ndarray) -> bytes:
    """Names and sizes of chromosomes, as one leaf of a tree."""
    raw = [name.encode() for name in names]
    width = max(map(len, raw), default=1)
    head = struct.pack("<IIIIQQBBH", _CHROMOSOMES, max(len(raw), 1), width, 8, len(raw), 0, 1, 0, len(raw))
    return head + b"".join(
        name.ljust(width, b"\0") + struct.pack("<II", i, n) for i, (name, n) in enumerate(zip(raw, sizes))
    )


def _total(found: Intervals) -> bytes:
    width, value = (found.end - found.start).astype(float), found.value.astype(float)
    if not len(value):
        return struct.pack("<Qdddd", 0, 0, 0, 0, 0)
    parts = int(width.sum()), value.min(), value.max(), (width * value).sum(), (width * value**2).sum()
    return struct.pack("<Qdddd", *parts)


def _cuts(chromosome: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of at most ``_ITEMS`` items of one chromosome."""
    first = np.flatnonzero(np.diff(chromosome, prepend=-1))
    ends = np.append(first[1:], len(chromosome))
    return [
        (low, min(low + _ITEMS, b))
        for a, b in zip(first.tolist(), ends.tolist())
        for low in range(a, b, _ITEMS)
    ]


def _interval_blocks(found: Intervals) -> list[_Block]:
    items = np.zeros(len(found.start), _INTERVAL)
    items["start"], items["end"], items["value"] = found.start, found.end, found.value
    blocks = []
    for low, high in _cuts(found.chromosome):
        number, a, b = (int(x) for x in (found.chromosome[low], found.start[low], found.end[high - 1]))
        head = struct.pack("<IIIIIBBH", number, a, b, 0, 0, 1, 0, high - low)
        blocks.append(
            _Block(zlib.compress(head + items[low:high].tobytes(), _LEVEL), (number, a), (number, b))
        )
    return blocks


def _summary_blocks(rows: np.ndarray) -> list[_Block]:
    blocks = []
    for low, high in _cuts(rows["chromosome"].astype(np.int64)):
        part = rows[low:high]
        number, a, b = int(part["chromosome"][0]), int(part["start"][0]), int(part["end"][-1])
        blocks.append(_Block(zlib.compress(part.tobytes(), _LEVEL), (number, a), (number, b)))
    return blocks


def _zooms(found: Intervals) -> list[tuple[int, np.ndarray]]:
    """Summaries by bins of bases, finest first, until one has hardly any bin.

    As UCSC's own writer does, one that is more than half as large as the intervals is left out: readers take those.
    """
    out, most = [], len(found.start) * _INTERVAL.itemsize / (2 * _SUMMARY.itemsize)
    for bases in [_FINEST * _COARSER**level for level in range(_LEVELS)] if len(found.start) else ():
        if not out and np.count_nonzero(np.diff(found.start // bases)) >= most:
            continue
        rows = _binned(found, bases)
        out.append((bases, rows))
        if len(rows) <= 2 * (int(found.chromosome[-1]) + 1):
            break
    return out


def _binned(found: Intervals, bases: int) -> np.ndarray:
    first, last = found.start // bases, (found.end - 1) // bases
    which, cell = positions_in(first, last + 1)
    start, end = (
        np.maximum(found.start[which], cell * bases),
        np.minimum(found.end[which], (cell + 1) * bases),
    )
    chromosome, value, width = found.chromosome[which], found.value[which].astype(float), end - start
    new = np.append(True, (np.diff(cell) != 0) | (np.diff(chromosome) != 0))
    at = np.flatnonzero(new)
    rows = np.zeros(len(at), _SUMMARY)
    rows["chromosome"], rows["start"] = chromosome[at], start[at]
    rows["end"] = end[np.append(at[1:], len(end)) - 1]
    rows["n"] = np.add.reduceat(width, at)
    rows["least"], rows["most"] = np.minimum.reduceat(value, at), np.maximum.reduceat(value, at)
    rows["sum"], rows["squares"] = np.add.reduceat(width * value, at), np.add.reduceat(width * value**2, at)
    return rows


def _section(blocks: list[_Block], at: int, form: str, n: int | None = None) -> tuple[bytes, int]:
    """A count, blocks and their index, to stand at a place; and where the index begins."""
    head = struct.pack(form, len(blocks) if n is None else n)
    places = np.cumsum([at + len(head), *(len(block.raw) for block in blocks)]).tolist()
    body = head + b"".join(block.raw for block in blocks)
    return body + _tree(blocks, places), at + len(body)


def _tree(blocks: list[_Block], places: list[int]) -> bytes:
    """The index of blocks that lie at ``places[:-1]`` and end at ``places[-1]``, where it begins itself."""
    at = places[-1]
    first, last = (blocks[0].first, blocks[-1].last) if blocks else ((0, 0), (0, 0))
    head = struct.pack("<IIQIIIIQII", _INDEX, _FANOUT, len(blocks), *first, *last, at, _ITEMS, 0)
    spans = [(*block.first, *block.last) for block in blocks]
    leaves = [(*span, place, len(block.raw)) for span, place, block in zip(spans, places, blocks)]
    # from the leaves up: what each node holds, and the stretch it covers
    levels: list[list[list[tuple[int, ...]]]] = [
        [leaves[i : i + _FANOUT] for i in range(0, max(len(leaves), 1), _FANOUT)]
    ]
    while len(levels[0]) > 1:
        covered = [(*node[0][:2], *node[-1][2:4]) for node in levels[0]]
        levels.insert(0, [covered[i : i + _FANOUT] for i in range(0, len(covered), _FANOUT)])
    out, here = [head], at + len(head)
    for depth, level in enumerate(levels):
        leaf = depth == len(levels) - 1
        here += sum(4 + (32 if leaf else 24) * len(node) for node in level)
        child = here  # the next level begins where this one ends
        below = iter(levels[depth + 1]) if not leaf else iter(())
        wide = 32 if depth + 1 == len(levels) - 1 else 24
        for node in level:
            out.append(struct.pack("<BBH", leaf, 0, len(node)))
            for item in node:
                if leaf:
                    out.append(struct.pack("<IIIIQQ", *item))
                else:
                    out.append(struct.pack("<IIIIQ", *item, child))
                    child += 4 + wide * len(next(below))
    return b"".join(out)
