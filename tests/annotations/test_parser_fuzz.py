"""Any bytes into any parser: rows, or one FormatError with file and line. Never another error or a hang."""

from __future__ import annotations

import gzip
import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from annotation_examples import BINARY, READERS, VALID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sciinterp.annotations import Annotations
from sciinterp.annotations.formats import FORMATS, guess, parser, read_annotations
from sciinterp.errors import FormatError, InputError


def check_bytes(format: str, path: Path, read: Callable[..., Annotations]) -> None:
    annotations = error = None
    try:
        annotations = read(path)
    except FormatError as caught:
        error = caught
    if annotations is None:
        assert error is not None
        assert (error.file, error.line >= 0, "\n" in str(error)) == (str(path), True, False)
        return
    counts = annotations.counts
    assert counts["n_in"] == counts["n_kept"] + sum(counts["dropped"].values())
    assert format == "tsv" or (annotations.frame["concept"].str.find("/") < 0).all()


JUNK = [b"\t", b"\n", b'"', b"..", b"<", b">", b"?", b"-1", b"9" * 20, b"\xff", b"\0", b"\xc2\x85", b";",
        b"=", b"/", b"//", b"{", b"}", b"]]>", b"&a;", b"\r", b"9" * 5000, b" ", b"^", b":", b"join(", b"'",
        b"<1..>9", b"\x1c", b"\xe2\x80\xa8", b"null", b"[", b",", b"1e999", b"=SUM(A1)",
        b"complement("]  # fmt: skip


def mutate(valid: bytes, seed: int) -> bytes:
    """Bytes that make it past the first lines: cuts, shuffles and edits of a valid file; sometimes noise."""
    draw = random.Random(seed)
    kind = draw.random()
    if kind < 0.05:
        return draw.randbytes(draw.randrange(200))
    if kind < 0.1:
        return valid[: draw.randrange(len(valid) + 1)]
    if kind < 0.25:
        return b"".join(draw.choices(valid.splitlines(keepends=True), k=draw.randrange(12)))
    data = valid
    for _ in range(draw.randrange(1, 5)):
        at, remove = draw.randrange(len(data) + 1), draw.randrange(10)
        insert = draw.choice(JUNK) if draw.random() < 0.7 else draw.randbytes(draw.randrange(5))
        data = data[:at] + insert + data[at + remove :]
    return data


def overwrite(valid: bytes, seed: int) -> bytes:
    """Bytes replaced where they stand, so that a format full of addresses is still found to be itself."""
    draw = random.Random(seed)
    data = bytearray(valid)
    for _ in range(draw.choice([1, 1, 2, 4, 20])):
        at = draw.randrange(len(data))
        new = draw.choice([b"\0", b"\xff", b"\xff" * 8, b"\0" * 8, draw.randbytes(1), draw.randbytes(4)])
        data[at : at + len(new)] = new
    return bytes(data[: len(valid)])


def check_fuzzed(format: str, folder: Path, examples: int) -> None:
    read = READERS[format]
    path = folder / "input"

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.integers(0, 2**32))
    def run(seed: int) -> None:
        change = overwrite if format in BINARY and seed % 20 == 0 else mutate
        path.unlink(missing_ok=True)
        path.write_bytes(change(VALID[format], seed))
        check_bytes(format, path, read)

    run()


def test_every_format_has_a_valid_example() -> None:
    assert set(VALID) == set(READERS)


@pytest.mark.parametrize("format", sorted(VALID))
def test_the_valid_example_gives_rows(format: str, tmp_path: Path) -> None:
    path = tmp_path / "valid"
    path.write_bytes(VALID[format])
    rows = len(READERS[format](path))
    assert rows
    if format in BINARY:  # compressed inside, and not read from a stream
        return
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(VALID[format]))
    assert len(READERS[format](packed)) == rows


@pytest.mark.parametrize("format", sorted(VALID))
def test_any_bytes_give_rows_or_one_format_error(format: str, tmp_path: Path) -> None:
    check_fuzzed(format, tmp_path, 150)


@pytest.mark.slow
@pytest.mark.parametrize("format", sorted(VALID))
def test_any_bytes_long(format: str, tmp_path: Path) -> None:
    check_fuzzed(format, tmp_path, 50_000)


@pytest.mark.parametrize("format", sorted(VALID))
def test_hostile_files(format: str, tmp_path: Path) -> None:
    valid = VALID[format]
    path = tmp_path / "hostile"
    hostile = [
        b"",
        b"\n\n",
        b"\xef\xbb\xbf",
        b"\0" * 99,
        b"[" * 100_000,
        b"<a>" * 50_000,
        b"9" * 6000,
        valid[:-1] * 2,
        valid.replace(b"\n", b"\r\n"),
        valid.replace(b"\n", b"\r"),
        valid.decode("latin-1").encode("utf-16"),
        gzip.compress(valid)[:-9],
        b"\x1f\x8b",
        b'{"results": [1, null, {}]}',
        b"[" + b"1," * 9 + b"NaN]",
        b'"\\ud800"',
        b"<a",
        b'<?xml version="1.0" encoding="x"?><a/>',
        b"\t" * 100_000,
        b"a\tb\n" * 5 + b"x" * 1_000_000,
        b"null",
        b'{"results": {}}',
        b'{"results": [{"primaryAccession": {"a": 1}}]}',
        b'{"primaryAccession": "P", "features": [1, null, {"type": 3, "location": 7}], "keywords": {},'
        b' "comments": [[]], "proteinDescription": [[[]]]}',
        b'{"primaryAccession": "P", "proteinDescription": ' + b'{"a": ' * 900 + b"1" + b"}" * 901,
        b"<uniprot><entry>" + b"<accession>" * 90 + b"</accession>" * 90 + b"</entry></uniprot>",
        valid.replace(b"1", b"9" * 30),
        valid.replace(b"\t", b"\t\t"),
    ]
    for data in hostile:
        path.write_bytes(data)
        check_bytes(format, path, READERS[format])


@pytest.mark.parametrize("format", sorted(VALID))
def test_a_megabyte_in_a_second(format: str, tmp_path: Path) -> None:
    """Valid text repeated, and all of it on one line: a second a megabyte, thrice that on a busy box."""
    path = tmp_path / "long"
    valid = VALID[format]
    for data in (valid * (1_000_000 // len(valid)), valid.replace(b"\n", b" ") * (1_000_000 // len(valid))):
        path.write_bytes(data)
        began = time.process_time()
        check_bytes(format, path, READERS[format])
        assert time.process_time() - began < 3.0


def test_damaged_hdf5_that_its_library_reads_for_ever_is_refused(tmp_path: Path) -> None:
    """Damage to the heap of strings that libhdf5 was seen to loop over (another build may refuse it itself)."""
    path = tmp_path / "cells.h5ad"
    path.write_bytes(overwrite(VALID["h5ad"], 93))
    began = time.process_time()
    check_bytes("h5ad", path, READERS["h5ad"])
    assert time.process_time() - began < 2


def test_an_archive_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.bed.gz"
    with gzip.open(path, "wb", compresslevel=9) as handle:
        for _ in range(8):
            handle.write(b"#" * (1 << 20))
    with pytest.raises(FormatError, match="unpacks"):
        read_annotations(path)


def test_names_and_first_lines_settle_the_format(tmp_path: Path) -> None:
    suffix = {
        "gmt": ".gmt",
    }
    for format in FORMATS:
        data = VALID[format]
        path = tmp_path / f"x{suffix.get(format, '.txt')}"
        path.write_bytes(data)
        assert guess(path) == format


def test_unknown_formats_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_annotations(tmp_path / "none.tsv")
    path = tmp_path / "a.tsv"
    path.write_bytes(VALID["tsv"])
    with pytest.raises(InputError, match="no such annotation format"):
        read_annotations(path, format="word")
    for name in itertools.islice(FORMATS, 3):
        with pytest.raises(InputError):
            parser(name)(tmp_path / "none")
