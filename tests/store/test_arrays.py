"""Arrays in files: what the safetensors library writes is read, what is written it reads, and ranges are slices."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sciinterp.errors import FormatError, StoreError
from sciinterp.store import atomic
from sciinterp.store.arrays import check_sha256, load_arrays, read_header, read_rows, save_arrays, widen
from sciinterp.store.atomic import array_sha256, sha256_file

KINDS = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Of one type and shape, and every bit alike, NaN too."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


arrays = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
        lambda name: name != "__metadata__"
    ),
    hnp.arrays(st.sampled_from(KINDS).map(np.dtype), hnp.array_shapes(min_dims=0, min_side=0, max_side=4)),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(arrays)
def test_the_library_and_we_read_each_other(tmp_path_factory, made):
    folder = tmp_path_factory.getbasetemp()
    ours, theirs = folder / "ours.safetensors", folder / "theirs.safetensors"
    digest = save_arrays(ours, made)
    assert digest == hashlib.sha256(ours.read_bytes()).hexdigest()
    # The library keeps nothing of a bool that numpy does not: it is given copies in plain order.
    plain = {name: np.array(x, order="C") for name, x in made.items()}
    safetensors.numpy.save_file(plain, theirs)
    found = [safetensors.numpy.load_file(ours), load_arrays(ours, sha256=digest), load_arrays(theirs)]
    for read in found:
        assert set(read) == set(made)
        assert all(same(read[name], plain[name]) for name in made)
    length = int.from_bytes(ours.read_bytes()[:8], "little")
    assert (8 + length) % 64 == 0
    assert all(e.offset % e.numpy.itemsize == 0 for e in read_header(ours).values())
    # The order in which they are given changes no byte.
    assert save_arrays(ours, dict(reversed(made.items()))) == digest


@pytest.mark.parametrize(
    "turned",
    [
        lambda x: x[::-1],
        lambda x: x.T.copy().T,
        lambda x: x.astype(x.dtype.newbyteorder(">")),
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: np.asfortranarray(x),
    ],
    ids=["backwards", "transposed", "big-endian", "strided", "fortran"],
)
def test_how_an_array_lies_in_memory_changes_nothing(tmp_path, turned):
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    lies = turned(x)
    wanted = np.ascontiguousarray(lies.astype("<f4"))
    assert save_arrays(tmp_path / "a", {"x": lies}) == save_arrays(tmp_path / "b", {"x": wanted})
    assert same(load_arrays(tmp_path / "a")["x"], wanted)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.sampled_from(["f4", "u2", "i8"]))
def test_parts_are_written_as_if_concatenated(tmp_path_factory, rows, kind):
    folder = tmp_path_factory.getbasetemp()
    parts = [np.random.default_rng(i).integers(0, 99, (n, 2)).astype(kind) for i, n in enumerate(rows)]
    one = save_arrays(folder / "parts", {"x": parts, "y": np.arange(3)})
    assert one == save_arrays(folder / "whole", {"x": np.concatenate(parts), "y": np.arange(3)})


@pytest.mark.parametrize(
    "given",
    [
        {"x": np.array(["text"])},
        {"x": np.array([object()])},
        {"x": np.zeros(2, np.complex64)},
        {"x": [np.zeros((1, 2), np.float32), np.zeros((1, 2))]},
        {"x": [np.zeros((0, 2), np.float32), np.zeros((1, 3), np.float32)]},
        {"x": [np.zeros((2, 2), np.float32), np.zeros(2, np.float32)]},
    ],
    ids=["text", "objects", "complex", "two types", "two widths", "two depths"],
)
def test_what_no_reader_would_open_is_never_written(tmp_path, given):
    with pytest.raises(TypeError, match=r"'x'.*cannot be stored"):
        save_arrays(tmp_path / "a", given)
    with pytest.raises(TypeError, match="cannot be stored"):
        save_arrays(tmp_path / "a", {"x": np.zeros(2, np.float32)}, bfloat16=("x",))
    assert not list(tmp_path.iterdir())


def test_every_range_of_rows_is_a_slice(tmp_path):
    made = {"one": np.arange(7), "two": np.arange(14.0).reshape(7, 2), "deep": np.arange(28).reshape(7, 2, 2)}
    save_arrays(tmp_path / "a", made)
    entries = read_header(tmp_path / "a")
    for name, x in made.items():
        for lo in range(8):
            for hi in range(lo, 8):
                assert same(read_rows(tmp_path / "a", entries[name], lo, hi), x[lo:hi])


def test_a_file_that_was_cut_is_no_rows(tmp_path):
    save_arrays(tmp_path / "a", {"x": np.arange(100)})
    entry = read_header(tmp_path / "a")["x"]
    raw = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(raw[:-8])
    with pytest.raises(StoreError, match="ends early"):
        read_rows(tmp_path / "a", entry, 0, 100)
    assert same(read_rows(tmp_path / "a", entry, 0, 99), np.arange(99))
    with pytest.raises(FormatError, match="not a safetensors file"):
        read_header(tmp_path / "a")
    with pytest.raises(StoreError, match=r"damaged or was changed.*expected sha256 "):
        check_sha256(tmp_path / "a", hashlib.sha256(raw).hexdigest())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS.*git lfs pull"),
        (b"<!DOCTYPE html><html>not found</html>", "web page"),
        (b"", "not a safetensors file"),
        (b"\0" * 8, "not a JSON file"),
    ],
    ids=["pointer", "page", "empty", "no header"],
)
def test_what_stands_in_the_place_of_a_file_is_said(tmp_path, content, said):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(FormatError, match=said):
        load_arrays(tmp_path / "a")


def header(folder: Path, **entries: object) -> Path:
    """A file of 16 bytes of data with any header."""
    text = json.dumps(entries).encode()
    (folder / "a").write_bytes(len(text).to_bytes(8, "little") + text + b"0" * 16)
    return folder / "a"


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2", "C64", "F6_E2M3"])
def test_numbers_of_a_type_that_is_not_read_are_named(tmp_path, kind):
    path = header(tmp_path, x={"dtype": kind, "shape": [2], "data_offsets": [0, 2]})
    with pytest.raises(FormatError, match=f"type that is not read.*got {kind}.*float32") as caught:
        read_header(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "record",
    [
        {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]},
        {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]},
        {"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": 4, "data_offsets": [0, 16]},
        {"dtype": "F32", "data_offsets": [0, 16]},
        {"dtype": ["F32"], "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0]},
        {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]},
        [],
        None,
    ],
    ids=["before", "beyond", "negative", "too few", "no list", "no shape", "a list", "one end", "backwards", "list", "null"],
)  # fmt: skip
def test_a_header_that_does_not_fit_is_one_line(tmp_path, record):
    with pytest.raises(FormatError) as caught:
        read_header(header(tmp_path, x=record))
    assert "\n" not in str(caught.value)


def test_a_header_may_hold_metadata_and_gaps(tmp_path):
    path = header(
        tmp_path,
        __metadata__={"format": "pt"},
        x={"dtype": "U8", "shape": [2], "data_offsets": [4, 6]},
        y={"dtype": "U8", "shape": [], "data_offsets": [15, 16]},
    )
    found = load_arrays(path)
    assert found["x"].tolist() == [48, 48] and found["y"].shape == () and list(found) == ["x", "y"]


def test_bfloat16_widens_as_torch_does():
    bits = np.concatenate([np.arange(0, 1 << 16, 7), [0x7F80, 0xFF80, 0x7FC0, 0x8000, 1]]).astype(np.uint16)
    theirs = torch.from_numpy(bits.view(np.int16).copy()).view(torch.bfloat16).float().numpy()
    assert widen(bits, "bfloat16").view(np.uint32).tolist() == theirs.view(np.uint32).tolist()
    half = np.array([1.5, np.inf, -0.0], np.float16)
    assert same(widen(half, "float16"), half.astype(np.float32))


@pytest.mark.parametrize("chunk", [1, 24, 100, 1 << 20])
def test_the_digest_of_an_array_is_of_its_numbers_and_nothing_else(monkeypatch, chunk):
    x = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    wanted = hashlib.sha256(f"{x.dtype.str}{x.shape}".encode() + x.tobytes()).hexdigest()
    monkeypatch.setattr(atomic, "_CHUNK", chunk)
    assert (
        array_sha256(x)
        == array_sha256(np.asfortranarray(x))
        == array_sha256(np.repeat(x, 2, 0)[::2])
        == wanted
    )
    other = [
        x[::-1],
        x.reshape(3, 9),
        x.ravel(),
        x.view(np.int32),
        x[:-1],
        x.astype(np.float64),
        x + 0 * x[0] + 1,
    ]
    assert len({wanted, *map(array_sha256, other)}) == 1 + len(other)
    assert array_sha256(x[:0]) != array_sha256(x[:0].T)


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_the_digest_of_a_file_does_not_depend_on_the_pieces(tmp_path, monkeypatch, chunk):
    raw = bytes(range(256)) * 3
    (tmp_path / "a").write_bytes(raw)
    monkeypatch.setattr(atomic, "_CHUNK", chunk)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(raw).hexdigest()
