"""Hostile files into every reader: one line within 10 s and 1 GB, or rows where the file says some; nothing executed.

A reader that is added to the registries of samples or annotations, or as ``si.read_*``, is met by all of them.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import pickle
import re
import resource
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest

import sciinterp as si
from sciinterp.config import read_config
from sciinterp.errors import SciinterpError
from sciinterp.readers import FORMATS
from sciinterp.readers.sample_tables import sample_columns

sys.path += [str(Path(__file__).parent / room) for room in ("samples", "annotations")]
from annotation_examples import BINARY, READERS
from annotation_examples import VALID as ANNOTATIONS
from test_hostile_samples import VALID as SAMPLES
from test_hostile_samples import needs

CONFIG = (
    b'[data]\nsamples = "a.fasta"\nannotations = "a.tsv"\n[model]\nname = "antiberty"\nsite = "layers.4"\n'
)


class Bomb:
    """What a pickle would execute."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("executed",)


def _all() -> dict[str, tuple[bytes, Callable[[Path], object]]]:
    """Reader -> a valid file of it, and how it is called."""
    out: dict[str, tuple[bytes, Callable[[Path], object]]] = {}
    for name in FORMATS:
        text = SAMPLES[name][1]
        out[f"samples {name}"] = (text or "").encode(), partial(si.read_samples, format=name)
    for name, read in READERS.items():
        out[f"annotations {name}"] = ANNOTATIONS[name], read
    windows = si.Samples(["chr1:1-9"], ["ACGTACGTA"])
    return out | {
        "assay": (b"mutant,DMS_score\nM1A,0.5\nK2R,-1\n", si.read_assay),
        "variants": (
            b"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\nchr1\t5\t.\tA\tG\n",
            si.read_variants,
        ),
        "values": (b"chr1\t0\t9\t1.5\n", partial(si.read_values, samples=windows)),
        "labels": (b"sample\tclass\na\tx\nb\ty\n", sample_columns),
        "configuration": (CONFIG, read_config),
    }


ALL = _all()
ARCHIVED = (*BINARY, "h5ad")


def _zip(raw: bytes) -> bytes:
    made = BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("x", raw)
    return made.getvalue()


def _numbers(raw: bytes, by: bytes) -> bytes:
    return re.sub(rb"[0-9]+", by, raw)


# Content made of a valid file, and whether no reader can take it for one of its own.
HOSTILE: dict[str, tuple[Callable[[bytes], bytes], bool]] = {
    "nothing": (lambda raw: b"", True),
    "zeros": (lambda raw: b"\0" * 300, True),
    "a pointer of Git LFS": (lambda raw: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", True),
    "bytes": (lambda raw: bytes(range(255, 0, -1)) * 20, True),
    "an archive cut short": (lambda raw: gzip.compress(os.urandom(3000) + raw * 9)[:-200], True),
    "the head of an archive": (lambda raw: gzip.compress(raw)[:12], True),
    "bzip2": (bz2.compress, True),
    "xz": (lzma.compress, True),
    "zip": (_zip, True),
    "Parquet": (lambda raw: b"PAR1" + raw + b"PAR1", True),
    "HDF5 without content": (lambda raw: b"\x89HDF\r\n\x1a\n" + b"\0" * 200, True),
    "a head of HDF5": (lambda raw: b"\x89HDF\r\n\x1a\n" + raw, True),
    "a pickle": (lambda raw: pickle.dumps(Bomb()), False),
    "a pickle as text": (lambda raw: pickle.dumps(Bomb(), protocol=0), False),
    "an archive that explodes": (lambda raw: gzip.compress(raw + b"\n" + b"ACGT" * (32 << 20), 9), False),
    "lines that explode": (lambda raw: gzip.compress(raw + raw[-40:] * (1 << 20), 9), False),
    "very many columns": (lambda raw: raw + b"\n" + b"x\t" * 300_000 + b"\n", False),
    "a header of very many columns": (lambda raw: b"x,\t" * 300_000 + b"\n" + raw, False),
    "brackets": (lambda raw: b"[" * 200_000, False),
    "braces": (lambda raw: b'{"a":' * 100_000, False),
    "elements": (lambda raw: b"<a>" * 100_000, False),
    "entities": (lambda raw: b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>', False),
    "a file it names": (
        lambda raw: b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
        False,
    ),
    "numbers of 5,000 digits": (lambda raw: _numbers(raw, b"9" * 5000), False),
    "negative numbers": (lambda raw: _numbers(raw, b"-1"), False),
    "numbers beyond any": (lambda raw: _numbers(raw, b"1e999"), False),
    "places at the end of the world": (lambda raw: _numbers(raw, b"999999999999999999"), False),
    "an open quote": (lambda raw: b'"' + raw * (1 + 200_000 // (len(raw) + 1)), False),
    "quotes": (lambda raw: raw + b'"' * 100_001, False),
    "one line again and again": (lambda raw: raw + (raw.splitlines() or [b"x"])[-1] * 20_000, False),
    "two files in one": (lambda raw: raw + raw[::-1], False),
    "UTF-16 without its mark": (lambda raw: raw.decode("latin-1").encode("utf-16-le"), False),
    "the first half": (lambda raw: raw[: len(raw) // 2], False),
    "the second half": (lambda raw: raw[len(raw) // 2 :], False),
    "lines in another order": (lambda raw: b"\n".join(sorted(raw.split(b"\n"))), False),
    "ends of lines within": (lambda raw: raw.replace(b"\t", b"\x0b").replace(b" ", b"\x0b"), False),
}
ALWAYS = ("nothing", "zeros", "places at the end of the world")


def check(reader: str, path: Path, *, must: bool, folder: Path) -> None:
    read = ALL[reader][1]
    needs(reader.split()[-1])
    start, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error: Exception | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read(path)
        except SciinterpError as caught:
            error = caught
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 1_000_000  # kilobytes
    assert not (folder / "executed").exists()
    assert error is None or ("\n" not in str(error) and len(str(error)) < 1500), error
    assert error is not None or not must


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_reader_is_here() -> None:
    named = {name for name in si.__all__ if name.startswith("read_")} - {"read_hits"}  # of a run's folder
    assert named == {"read_samples", "read_annotations", "read_assay", "read_variants", "read_values"}
    assert set(SAMPLES) == set(FORMATS)
    assert len(HOSTILE) >= 20


@pytest.mark.parametrize("reader", ALL)
@pytest.mark.parametrize(
    "name", [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in HOSTILE]
)
def test_hostile_files_are_one_line(folder: Path, name: str, reader: str) -> None:
    make, must = HOSTILE[name]
    path = folder / "input"
    path.write_bytes(make(ALL[reader][0]))
    check(reader, path, must=must, folder=folder)


@pytest.mark.parametrize("reader", ALL)
def test_what_is_no_file_is_refused_at_once(folder: Path, reader: str) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(folder / "nothing")
    for path in (
        folder / "pipe",
        folder / "folder",
        folder / "link",
        Path("/dev/zero"),
        folder / ("n" * 5000),
    ):
        check(reader, path, must=True, folder=folder)
