"""bigWig and BigBed, read within bounds (Kent and others 2010, Bioinformatics 26:2204, supplement).

A reader of our own: the libraries that read these files (libBigWig, bigtools) end the whole process on damaged ones,
measured with three flipped bytes. Every node of a tree is visited once, every block lies inside the file and is used
once, and nothing unpacks to more than :class:`sciinterp.readers.bounded.Limits` allows.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from sciinterp.errors import FormatError
from sciinterp.readers.bounded import bounds, open_regular, parsing

_MAGIC = {0x888FFC26: "bigwig", 0x8789F2EB: "bigbed"}
_CHROMOSOMES, _INDEX = 0x78CA8C91, 0x2468ACE0
# A block holds at most 65,535 items of at most 12 bytes (bigWig), or some hundred lines (BigBed).
_BLOCK = 16 << 20
_MAX_CHROMOSOMES = 5_000_000
_ITEMS = {1: np.dtype("<u4, <u4, <f4"), 2: np.dtype("<u4, <f4"), 3: np.dtype("<f4")}

_WORD: dict[str, Literal["little", "big"]] = {"<": "little", ">": "big"}
# Whether intervals of a chromosome between two bases are wanted.
Keep = Callable[[str, int, int], bool]


def kind_of_track(path: Path) -> str:
    """``bigwig``, ``bigbed``, or nothing, by the first bytes."""
    with open_regular(path) as handle:
        head = handle.read(4)
    return next((_MAGIC[n] for n in (int.from_bytes(head, o) for o in ("little", "big")) if n in _MAGIC), "")


@dataclass
class _File:
    """An open file: its byte order, its size, how much it may still unpack to."""

    handle: BinaryIO
    path: Path
    order: str = "<"
    size: int = 0
    left: int = 0
    packed: bool = False

    def unpack(self, at: int, form: str) -> tuple:
        """Numbers at a place."""
        layout = struct.Struct(self.order + form)
        return layout.unpack(self.bytes(at, layout.size))

    def bytes(self, at: int, n: int) -> bytes:
        """Bytes at a place, all of them or an error."""
        if at < 0 or n < 0 or at + n > self.size:
            raise ValueError("a place outside the file")
        self.handle.seek(at)
        return self.handle.read(n)

    def block(self, at: int, n: int) -> bytes:
        """A block of data, unpacked."""
        raw = self.bytes(at, n)
        if self.packed:
            unpacker = zlib.decompressobj()
            raw = unpacker.decompress(raw, _BLOCK)
            if unpacker.unconsumed_tail or not unpacker.eof:
                raise ValueError("a block that unpacks to more than it may")
        self.left -= len(raw)
        if self.left < 0:
            raise ValueError("unpacks to far more than its size")
        return raw


def _nodes(file: _File, root: int, item: int, child: int) -> Iterator[tuple[bool, bytes]]:
    """Items of all nodes of a tree from its root on, each node once: whether a leaf, and the bytes of one item."""
    waiting, seen = [root], set[int]()
    while waiting:
        at = waiting.pop()
        if at in seen:
            raise ValueError("a tree that turns in circles")
        seen.add(at)
        leaf, _, n = file.unpack(at, "BBH")
        width = item if leaf else child
        raw = file.bytes(at + 4, n * width)
        below = []
        for i in range(n):
            part = raw[i * width : (i + 1) * width]
            yield bool(leaf), part
            if not leaf:
                below.append(struct.unpack(file.order + "Q", part[-8:])[0])
        waiting += below[::-1]


def _chromosomes(file: _File, root: int) -> dict[int, tuple[str, int]]:
    magic, _, key, value, n, _ = file.unpack(root, "IIIIQQ")
    if magic != _CHROMOSOMES or value != 8 or not 0 < key < 1024 or n > _MAX_CHROMOSOMES:
        raise ValueError("no table of chromosomes")
    found: dict[int, tuple[str, int]] = {}
    for leaf, raw in _nodes(file, root + 32, key + 8, key + 8):
        if leaf:
            number, length = struct.unpack(file.order + "II", raw[key:])
            found[number] = raw[:key].rstrip(b"\0").decode(), length
    return found


def _blocks(
    path: Path, kind: str, keep: Keep | None
) -> Iterator[tuple[_File, dict[int, tuple[str, int]], bytes]]:
    """The file, its chromosomes (name and length by number), and a block, one after the other."""
    with open_regular(path) as handle, parsing(path, {"bigwig": "bigWig", "bigbed": "BigBed"}[kind]):
        size = os.fstat(handle.fileno()).st_size
        file = _File(handle, path, size=size, left=bounds().unpacked(size))
        magic = file.bytes(0, 4)
        file.order = "<" if _MAGIC.get(int.from_bytes(magic, "little")) == kind else ">"
        if _MAGIC.get(int.from_bytes(magic, _WORD[file.order])) != kind:
            raise ValueError("another first word")
        _, _, tree, _, index = file.unpack(4, "HHQQQ")
        (buffer,) = file.unpack(52, "I")
        file.packed, chromosomes = buffer > 0, _chromosomes(file, tree)
        if file.unpack(index, "I")[0] != _INDEX:
            raise ValueError("no index")
        used = 0
        for leaf, raw in _nodes(file, index + 48, 32, 24):
            if not leaf:
                continue
            first, low, last, high, at, n = struct.unpack(file.order + "IIIIQQ", raw)
            used += n
            if used > file.size:
                raise ValueError("blocks that overlap")
            name = chromosomes.get(first, ("", 0))[0]
            if keep is None or first != last or keep(name, low, high):
                yield file, chromosomes, file.block(at, n)


def read_bigwig_arrays(
    path: Path, keep: Keep | None = None
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Chromosome, starts, ends (int64) and values (float32) of every block, in the order of the file.

    Parameters
    ----------
    path : path
    keep : callable, optional
        Whether a stretch of a chromosome is wanted: (name, start, end) to bool; others are not read.

    Raises
    ------
    FormatError
        The file is not bigWig, or damaged.
    """
    with parsing(path, "bigWig"):
        for file, chromosomes, raw in _blocks(path, "bigwig", keep):
            number, first, _, step, span, kind, _, n = struct.unpack(file.order + "IIIIIBBH", raw[:24])
            if kind not in _ITEMS or number not in chromosomes:
                raise ValueError("a block of no known kind")
            form = _ITEMS[kind].newbyteorder(file.order)
            items: np.ndarray = np.frombuffer(raw, form, count=n, offset=24)
            if kind == 1:
                start, end = (items[name].astype(np.int64) for name in ("f0", "f1"))
                value = items["f2"]
            elif kind == 2:
                start, value = items["f0"].astype(np.int64), items["f1"]
                end = start + span
            else:
                start, value = first + step * np.arange(n, dtype=np.int64), items
                end = start + span
            name, length = chromosomes[number]
            if n and not ((start >= 0) & (start < end) & (end <= length)).all():
                raise ValueError(f"an interval outside {name!r}")
            if n and (np.diff(start) < 0).any():
                raise ValueError(f"intervals of {name!r} out of order")
            yield name, start, end, value.astype(np.float32)


def read_bigwig(path: Path, keep: Keep | None = None) -> Iterator[tuple[str, int, int, float]]:
    """(chromosome, start, end, value) of every interval; see :func:`read_bigwig_arrays`."""
    for name, start, end, value in read_bigwig_arrays(path, keep):
        yield from ((name, a, b, v) for a, b, v in zip(start.tolist(), end.tolist(), value.tolist()))


def read_bigbed(path: Path) -> Iterator[str]:
    """The lines of a BigBed file, as BED.

    Raises
    ------
    FormatError
        The file is not BigBed, or damaged.
    """
    with parsing(path, "BigBed"):
        for file, chromosomes, raw in _blocks(path, "bigbed", None):
            at = 0
            while at < len(raw):
                if (
                    at + 12 > len(raw)
                    or int.from_bytes(raw[at : at + 4], _WORD[file.order]) not in chromosomes
                ):
                    raise ValueError("a line of no chromosome")
                number, start, end = struct.unpack_from(file.order + "III", raw, at)
                stop = raw.index(b"\0", at + 12)
                name, length = chromosomes[number]
                if not start <= end <= length:
                    raise FormatError(
                        "an interval outside its chromosome", file=str(path), got=f"{name} {start} to {end}"
                    )
                rest = raw[at + 12 : stop].decode()
                yield "\t".join([name, str(start), str(end), *([rest] if rest else [])])
                at = stop + 1
