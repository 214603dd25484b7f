"""FASTA larger than memory: where each sequence lies, so that it is read when it is used.

An index beside the file (``x.fasta.sciinterp-index``) holds identifiers, lengths and places of all sequences, and
what reading them all has told: their digest, their letters, what was dropped and changed. It is made once, and anew
when the size or the time of the file has changed. A sequence that is read must have the name and the length that the
index states, so that an index which says what is not so is refused, whoever wrote it.

Plain text and bgzip (BGZF, by Biopython) can be read from the middle; an ordinary gzip cannot. pyfaidx and samtools
index only files whose lines are of one length, and hold one object a sequence in memory: 2 million take a gigabyte.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import logging
import os
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd

from sciinterp.errors import FormatError, InputError
from sciinterp.readers.bounded import bounds, open_bytes, open_regular, parsing
from sciinterp.readers.entries import Letters, Met, check_ids
from sciinterp.readers.sequences import fasta_entries
from sciinterp.samples import Column, Samples, feed_digest

if TYPE_CHECKING:
    from Bio.bgzf import BgzfReader

log = logging.getLogger(__name__)
VERSION, SUFFIX = 1, ".sciinterp-index"
# Files from this size on are read by index unless told otherwise: in memory they take several times as much.
INDEX_FROM = 256 << 20
_HEAD = 1 << 16


def is_bgzip(path: Path) -> bool:
    """Whether the file is gzip in blocks: its first header has BGZF's extra field."""
    with open_regular(path) as handle:
        head = handle.read(16)
    return head[:4] == b"\x1f\x8b\x08\x04" and head[12:14] == b"BC"


def can_be_indexed(path: Path) -> bool:
    """Whether the file can be read from the middle: plain text of one byte a letter, or bgzip."""
    with open_regular(path) as handle:
        head = handle.read(2)
    return head not in (b"\xff\xfe", b"\xfe\xff") and (head != b"\x1f\x8b" or is_bgzip(path))


def read_indexed(path: Path, *, kind: str | None = None) -> Samples:
    """Samples of a FASTA file whose sequences stay in it; the index is made, or read where it lies.

    Raises
    ------
    InputError
        The file cannot be read from the middle, has no sequence, or an identifier twice.
    FormatError
        The file is not FASTA, or its index is not one.
    """
    if not can_be_indexed(path):
        raise InputError(
            "this file cannot be read by index",
            where=f"file '{path}'",
            expected="plain UTF-8 text, or bgzip",
            do="Compress it with bgzip in place of gzip, or unpack it.",
        )
    index = _kept(path) or _made(path)
    index.name_ends = index.name_ends.astype(np.min_scalar_type(len(index.names)))  # int64 in the file
    names = Names(index.names, index.name_ends)
    samples = Samples(
        names,
        Sequences(path, names, index),
        lengths=index.lengths,
        kind=kind or index.told["kind"],
        n_in=index.told["n_in"],
        dropped=index.told["dropped"],
        source=str(path),
    )
    samples.changed.update(index.told["changed"])
    samples.tell_digest(index.told["digest"])
    return samples


class Told(TypedDict):
    """What reading all sequences has told of their samples."""

    kind: str
    digest: str
    n_in: int
    dropped: dict[str, int]
    changed: dict[str, int]


@dataclass
class Index:
    """Where the sequences of a FASTA file lie; places count unpacked bytes.

    Attributes
    ----------
    starts : int64 [n + 1]
        First byte of each entry, and the end of the last.
    lengths : int64 [n]
    name_ends : int64 [n]
        Where each identifier ends in ``names``.
    blocks : int64 [n_blocks, 2]
        Of bgzip: where each block starts, packed and unpacked.
    names : bytes
    told : Told
    """

    starts: np.ndarray
    lengths: np.ndarray
    name_ends: np.ndarray
    blocks: np.ndarray
    names: bytes
    told: Told


class Names(Column):
    """Identifiers, end to end in one text."""

    def __init__(self, text: bytes, ends: np.ndarray) -> None:
        super().__init__(len(ends))
        self._text, self._ends = text, ends

    def entry(self, number: int) -> str:
        start = int(self._ends[number - 1]) if number else 0
        return self._text[start : int(self._ends[number])].decode()


class Sequences(Column):
    """Sequences in their file, each cleaned as :func:`sciinterp.readers.entries.sequences_to_samples` does."""

    def __init__(self, path: Path, names: Names, index: Index) -> None:
        super().__init__(len(names))
        self._path, self._names, self._index, self._stamp = path, names, index, _stamp(path)
        self._handle: tuple[int, io.BufferedReader, BgzfReader | None] | None = None

    def entry(self, number: int) -> str:
        index = self._index
        raw = self._read(int(index.starts[number]), int(index.starts[number + 1]))
        # an entry that was dropped may follow
        found = list(Met().cleaned(_entries(raw, self._path), self._path))[:1]
        expected = self._names.entry(number), int(index.lengths[number])
        if not found or (found[0][1], len(found[0][2])) != expected:
            raise FormatError(
                "the file is not what its index says",
                file=str(self._path),
                expected=f"{expected[0]!r} of {expected[1]} positions",
                got=f"{found[0][1]!r} of {len(found[0][2])}" if found else "no sequence",
                do=f"Delete '{_beside(self._path).name}': it is made anew.",
            )
        return found[0][2]

    def _read(self, start: int, end: int) -> bytes:
        handle = self._handle
        if handle is None or handle[0] != os.getpid():  # a forked process shares the place in a file
            if _stamp(self._path) != self._stamp:
                raise InputError("the file has changed since it was opened", where=f"file '{self._path}'")
            plain, blocks = open_regular(self._path), None
            if len(self._index.blocks):
                from Bio.bgzf import BgzfReader

                blocks = BgzfReader(fileobj=plain, mode="rb")
            handle = self._handle = os.getpid(), plain, blocks
        _, plain, blocks = handle
        with parsing(self._path, "what its index says: delete the index"):
            if blocks is None:
                return os.pread(plain.fileno(), end - start, start)
            number = int(np.searchsorted(self._index.blocks[:, 1], start, side="right")) - 1
            packed, unpacked = self._index.blocks[number]
            blocks.seek(int(packed) << 16 | (start - int(unpacked)))
            found = blocks.read(end - start)
            assert isinstance(found, bytes)  # in the mode "rb"
            return found

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_handle": None}


def _stamp(path: Path) -> list[int]:
    state = os.stat(path)
    return [state.st_size, state.st_mtime_ns]


def _beside(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def _entries(raw: bytes, path: Path) -> Iterator[tuple[str, str]]:
    """(first word of the title, sequence) of the entries in some bytes."""
    if b"\0" in raw or raw.count(b"\r") != raw.count(b"\r\n"):
        raise InputError(
            "this FASTA cannot be read by index",
            where=f"file '{path}'",
            expected="text whose lines end with LF or CRLF",
            do="Read it with index=False.",
        )
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise FormatError("this is not UTF-8 text", file=str(path), got=str(error.reason)) from None
    yield from fasta_entries(io.StringIO(text), path)


def _made(path: Path) -> Index:
    """Read the whole file once, keep where everything lies, and write that beside it where that is allowed."""
    log.info("%s: reading it once, to index it", path.name)
    stamp, met, letters, digest = _stamp(path), Met(), Letters(), hashlib.sha256()
    starts, lengths, ends = array("q"), array("q"), array("q")
    names = bytearray()
    places = array("q")
    for number, name, sequence in met.cleaned(_scan(path, places), path):
        starts.append(places[number])
        lengths.append(len(sequence))
        names += name.encode()
        ends.append(len(names))
        letters.add(sequence)
        feed_digest(digest, name, sequence, len(sequence))
    starts.append(places[-1] if places else 0)
    columns = [np.frombuffer(column, np.int64) for column in (starts, lengths, ends)]
    told = Told(
        kind=letters.kind,
        digest=digest.hexdigest(),
        n_in=met.n_in,
        dropped=dict(met.dropped),
        changed=dict(+met.changed),
    )
    index = Index(*columns, blocks=_blocks(path), names=bytes(names), told=told)
    _check_names(Names(index.names, index.name_ends), path, met.n_in)
    met.say(path)
    if _stamp(path) != stamp:
        raise InputError("the file changed while it was read", where=f"file '{path}'")
    try:
        _write(_beside(path), index, stamp)
    except OSError as error:
        log.info("%s: the index stays in memory (%s)", path.name, error.strerror)
    return index


def _scan(path: Path, places: array[int]) -> Iterator[tuple[str, str]]:
    """Entries of the file; ``places`` gets the first byte of each, and at last the end of the file."""
    with open_bytes(path) as handle, parsing(path, "FASTA: the archive is damaged, or no text"):
        at, lines = 0, list[bytes]()
        for line in handle:
            if at == 0 and line.startswith(b"\xef\xbb\xbf"):
                at, line = 3, line[3:]
            if line.startswith(b">"):
                if lines:
                    yield from _entries(b"".join(lines), path)
                places.append(at)
                lines = [line]
            elif lines:
                lines.append(line)
            elif line.strip():
                raise FormatError(
                    "this is not FASTA",
                    file=str(path),
                    expected="a line that starts with >",
                    got=repr(line[:40].decode("latin-1")),
                )
            at += len(line)
        if lines:
            yield from _entries(b"".join(lines), path)
        places.append(at)


def _blocks(path: Path) -> np.ndarray:
    """int64 [n, 2]: where each block of a bgzip starts, packed and unpacked; none of a plain file."""
    if not is_bgzip(path):
        return np.zeros((0, 2), np.int64)
    from Bio.bgzf import BgzfBlocks

    with open_regular(path) as handle, parsing(path, "bgzip"):
        return np.array([block[0:3:2] for block in BgzfBlocks(handle)], np.int64).reshape(-1, 2)


def _check_names(names: Names, path: Path, n_in: int) -> None:
    marks = pd.Series(np.fromiter((hash(name) for name in names), np.int64, len(names)))
    suspects = np.flatnonzero(marks.duplicated(keep=False)).tolist()
    check_ids([names[i] for i in suspects or range(min(len(names), 1))], path, "sequences", n_in)


_PARTS = ("starts", "lengths", "name_ends", "blocks")


def _write(path: Path, index: Index, stamp: list[int]) -> None:
    """A line of JSON, the arrays as little-endian int64, the names."""
    parts = [np.ascontiguousarray(getattr(index, name), "<i8") for name in _PARTS]
    head = {"sciinterp-index": VERSION, "file": stamp, "shapes": [list(part.shape) for part in parts]}
    line = json.dumps({**head, "names": len(index.names), "told": index.told}).encode() + b"\n"
    if len(line) > _HEAD:
        return
    number, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            file.writelines([line, *(part.data for part in parts if part.size), index.names])
        os.replace(name, path)
    except OSError:
        with suppress(OSError):
            os.unlink(name)
        raise


def _kept(path: Path) -> Index | None:
    """The index beside a file; none where there is none, or where the file has changed since."""
    place = _beside(path)
    if not place.exists():
        return None
    with (
        open_regular(place) as file,
        parsing(place, "an index of a FASTA file: delete it, and it is made anew"),
    ):
        head = json.loads(file.readline(_HEAD))
        if head["sciinterp-index"] != VERSION:
            raise ValueError(f"version {head['sciinterp-index']}, expected {VERSION}")
        if head["file"] != _stamp(path):
            log.warning("%s: the file has changed since it was indexed", path.name)
            return None
        shapes = [tuple(map(int, shape)) for shape in head["shapes"]]
        sizes, n_names = [8 * int(np.prod(shape)) for shape in shapes], int(head["names"])
        rest = os.fstat(file.fileno()).st_size - file.tell()
        if min(*sizes, n_names) < 0 or sum(sizes) + n_names != rest:
            raise ValueError("arrays that do not fill the file")
        arrays = [np.frombuffer(file.read(size), "<i8").reshape(shape) for size, shape in zip(sizes, shapes)]
        index = Index(*arrays, names=file.read(n_names), told=head["told"])
        _check(index, path)
    return index


def _check(index: Index, path: Path) -> None:
    """Whether an index can be of this file; that each entry is what it says is seen when it is read."""
    n, told = len(index.lengths), {**index.told}
    size = os.stat(path).st_size
    inside = bounds().unpacked(size) if len(index.blocks) else size
    sound = (
        n > 0
        and index.starts.shape == (n + 1,)
        and index.name_ends.shape == index.lengths.shape == (n,)
        and index.blocks.shape[1:] == (2,)
        and index.starts[0] >= 0
        and index.starts[-1] <= inside
        and bool((index.starts[1:] > index.starts[:-1]).all())
        and index.name_ends[0] > 0
        and bool((index.name_ends[1:] > index.name_ends[:-1]).all())
        and index.name_ends[-1] == len(index.names)
        and bool((index.lengths > 0).all())
        and all(
            (index.lengths[a : a + _HEAD] <= np.diff(index.starts[a : a + _HEAD + 1])).all()
            for a in range(0, n, _HEAD)
        )
        and bool(len(index.blocks)) == is_bgzip(path)
        and (not len(index.blocks) or bool((np.diff(index.blocks, axis=0) >= 0).all()))
        and (not len(index.blocks) or index.blocks[0].tolist() == [0, 0])
    )
    kinds = {"kind": str, "digest": str, "n_in": int, "dropped": dict, "changed": dict}
    if not sound or any(not isinstance(told.get(name), kind) for name, kind in kinds.items()):
        raise ValueError("places, names or lengths that cannot be")
    decoder = codecs.getincrementaldecoder("utf-8")()
    for at in range(0, len(index.names), _HEAD):  # piece by piece: the whole as text is another copy
        decoder.decode(index.names[at : at + _HEAD])
    decoder.decode(b"", final=True)
