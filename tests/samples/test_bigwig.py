"""bigWig: what is written is read back, by another library too; damaged files are one line, in bounded time."""

import random
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from sciinterp.codes import write_bigwig as writer
from sciinterp.codes.write_bigwig import Intervals, write_bigwig
from sciinterp.errors import SciinterpError
from sciinterp.readers.bigwig import kind_of_track, read_bigwig, read_bigwig_arrays

NAMES, SIZES = ["c1", "c10", "c2"], np.array([3000, 50, 2_000_000_000])


def intervals(n: int = 400, seed: int = 0) -> Intervals:
    rng = np.random.default_rng(seed)
    chromosome = np.sort(rng.choice([0, 2], n))
    width, gap = rng.integers(1, 5, n), rng.integers(0, 3, n)
    start = np.zeros(n, np.int64)
    for c in (0, 2):
        mine = chromosome == c
        start[mine] = np.cumsum(width[mine] + gap[mine]) - width[mine]
    return Intervals(chromosome, start, start + width, rng.normal(size=n).astype(np.float32))


def rows(found: Intervals) -> list[tuple[str, int, int, float]]:
    return [(NAMES[c], int(a), int(b), float(v)) for c, a, b, v in zip(*found)]


@pytest.mark.parametrize(("items", "fanout"), [(1024, 256), (4, 3), (1, 2), (7, 100)])
def test_what_is_written_is_read_back_by_us_and_by_another_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, items: int, fanout: int
) -> None:
    import pybigtools

    monkeypatch.setattr(writer, "_ITEMS", items)
    monkeypatch.setattr(writer, "_FANOUT", fanout)
    found, path = intervals(), tmp_path / "x.bw"
    write_bigwig(path, NAMES, SIZES, found)
    assert kind_of_track(path) == "bigwig" and list(read_bigwig(path)) == rows(found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pybigtools.open(str(path))
        assert dict(theirs.chroms()) == dict(zip(NAMES, SIZES.tolist()))
        assert [(c, *row) for c in NAMES for row in theirs.records(c)] == rows(found)
        told, width = theirs.info()["summary"], found.end - found.start
        assert told["basesCovered"] == width.sum() and np.isclose(told["sum"], (width * found.value).sum())
        assert (told["min"], told["max"]) == (found.value.min(), found.value.max())
        dense = np.full(1024, np.nan)
        for c, a, b, v in zip(*found):
            if c == 0 and a < 1024:
                dense[a:b] = v
        for bins in (16, 4, 2):  # from the summaries
            shown = np.array(theirs.values("c1", 0, 1024, bins=bins, summary="max", exact=False))
            np.testing.assert_allclose(shown, np.nanmax(dense.reshape(bins, -1), axis=1), rtol=1e-6)


def test_a_track_without_an_interval(tmp_path: Path) -> None:
    import pybigtools

    none = np.zeros(0, np.int64)
    write_bigwig(tmp_path / "x.bw", NAMES, SIZES, Intervals(none, none, none, none.astype(np.float32)))
    assert list(read_bigwig(tmp_path / "x.bw")) == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(pybigtools.open(str(tmp_path / "x.bw")).records("c1")) == []


def test_the_other_kinds_of_blocks(tmp_path: Path) -> None:
    """Files of the other library hold the block of intervals alone: the two others are written out here."""
    import struct
    import zlib

    found, path = intervals(6), tmp_path / "x.bw"
    value = np.arange(4, dtype="<f4")
    wanted = {
        2: (np.rec.fromarrays([np.array([5, 9, 20, 31], "<u4"), value]).tobytes(), 0, 3, [5, 9, 20, 31]),
        3: (value.tobytes(), 10, 3, [7, 17, 27, 37]),
    }
    for kind, (raw, step, span, starts) in wanted.items():
        head = struct.pack("<IIIIIBBH", 0, 7, 40, step, span, kind, 0, 4)
        block = writer._Block(zlib.compress(head + raw), (0, 7), (0, 40))
        original = writer._interval_blocks
        try:
            writer._interval_blocks = lambda _, block=block: [block]  # type: ignore[assignment]
            write_bigwig(path, NAMES, SIZES, found)
        finally:
            writer._interval_blocks = original
        assert list(read_bigwig(path)) == [("c1", a, a + 3, float(v)) for a, v in zip(starts, value)]


def test_only_what_is_wanted_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_ITEMS", 8)
    found, path = intervals(), tmp_path / "x.bw"
    write_bigwig(path, NAMES, SIZES, found)
    part = list(read_bigwig_arrays(path, lambda name, start, end: name == "c1" and start < 100))
    assert {name for name, *_ in part} == {"c1"} and 0 < len(part) < 8
    kept = [
        row
        for row in read_bigwig(path, lambda name, start, end: name == "c1" and start < 100)
        if row[1] < 100
    ]
    assert kept == [row for row in rows(found) if row[0] == "c1" and row[1] < 100]


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.bw"
    write_bigwig(path, NAMES, SIZES, intervals())
    raw, draw, said = path.read_bytes(), random.Random(0), []
    hostile = [raw[:n] for n in range(0, len(raw), len(raw) // 60)] + [b"", raw[:4] + b"\xff" * 2000]
    for i in range(600):
        data = bytearray(raw)
        for _ in range(draw.choice([1, 1, 3, 10])):
            at = draw.randrange(400 if i % 2 else len(data))
            new = draw.choice([b"\0", b"\xff" * 8, draw.randbytes(1), draw.randbytes(4)])
            data[at : at + len(new)] = new
        hostile.append(bytes(data))
    began = time.perf_counter()
    for data in hostile:
        path.write_bytes(data)
        try:
            list(read_bigwig(path))
        except SciinterpError as error:
            said.append(str(error))
    assert len(said) > 200 and all("\n" not in line and "x.bw" in line for line in said)
    assert time.perf_counter() - began < 10
