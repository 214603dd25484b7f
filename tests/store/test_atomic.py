"""A crash or a full disk leaves the old file whole."""

from __future__ import annotations

import errno
import json
import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciinterp.errors import FormatError, SciinterpError, StoreError
from sciinterp.store import atomic
from sciinterp.store.atomic import (
    TEMPORARY_PREFIX,
    atomic_write,
    placed,
    read_json,
    remove_temporaries,
    sha256_file,
    to_json,
    write_json,
)


def test_writes_bytes_and_callables(tmp_path):
    atomic_write(tmp_path / "a", b"one")
    atomic_write(tmp_path / "a", lambda file: file.write(b"two"))
    assert (tmp_path / "a").read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert sha256_file(tmp_path / "a") == "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"


def test_respects_umask(tmp_path):
    old = os.umask(0o027)
    try:
        atomic_write(tmp_path / "a", b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("call", ["fsync", "replace", "fdopen"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES])
def test_error_leaves_the_old_file(tmp_path, monkeypatch, call, code):
    path = tmp_path / "a"
    atomic_write(path, b"old")

    def fail(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.os, call, fail)
    with pytest.raises(StoreError) as caught:
        atomic_write(path, b"n" * 12345)
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert str(path) in str(caught.value)
    if code in (errno.ENOSPC, errno.EDQUOT):
        assert "12,345 bytes" in str(caught.value)


def test_interrupt_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    atomic_write(path, b"old")

    def interrupted(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, interrupted)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_full_device_is_a_store_error(tmp_path, monkeypatch):
    """/dev/full refuses every write with ENOSPC at flush, as a full disk does."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    real = os.open
    monkeypatch.setattr(atomic.os, "open", lambda path, flags, mode=0o777: real("/dev/full", os.O_WRONLY))
    with pytest.raises(StoreError, match=r"no space left.*1,000 bytes free"):
        atomic_write(tmp_path / "a", b"x" * 1000)


def test_what_opens_its_file_by_name_is_placed_whole(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with placed(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old" and temporary.name.startswith(TEMPORARY_PREFIX)
    assert path.read_text() == "new"
    said = "Can't write data (file write failed: errno = 28, error message = 'No space left on device')"

    def half() -> None:
        with placed(path) as temporary:
            temporary.write_text("half")
            raise OSError(said)  # as HDF5 does

    with pytest.raises(StoreError, match="no space left to write"):
        half()
    assert path.read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_missing_folder_is_one_clear_error(tmp_path):
    with pytest.raises(StoreError, match="Check that the folder exists"):
        atomic_write(tmp_path / "none" / "a", b"")


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    (tmp_path / ".sciinterp-0011.tmp").write_bytes(b"")
    (tmp_path / "keep.tmp").write_bytes(b"")
    assert remove_temporaries(tmp_path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["keep.tmp"]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def finite(obj):
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else None
    if isinstance(obj, list):
        return [finite(x) for x in obj]
    return {k: finite(v) for k, v in obj.items()} if isinstance(obj, dict) else obj


@settings(max_examples=100, deadline=None)
@given(values)
def test_json_round_trip_is_exact_and_deterministic(obj):
    raw = to_json(obj)
    assert json.loads(raw) == finite(obj)
    assert to_json(json.loads(raw)) == raw


def test_json_of_numpy_and_surrogates(tmp_path):
    obj = {
        "a": np.float32(0.5),
        "b": np.arange(2),
        "c": "\udc80x",
        "d": {3, 1},
        "e": tmp_path,
        "f": np.bool_(True),
    }
    write_json(tmp_path / "a.json", obj)
    assert read_json(tmp_path / "a.json") == {
        "a": 0.5,
        "b": [0, 1],
        "c": "\udc80x",
        "d": [1, 3],
        "e": str(tmp_path),
        "f": True,
    }


@settings(max_examples=100, deadline=None)
@given(raw=st.binary(max_size=60) | st.sampled_from([b"[" * 100000, b'{"a":', b"\xff", b"1" * 9999]))
def test_reading_any_bytes_is_total(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(raw)
    try:
        read_json(path)
    except FormatError as error:
        assert "any.json" in str(error)  # noqa: PT017


def test_missing_file_is_a_store_error(tmp_path):
    for read in (read_json, sha256_file):
        with pytest.raises(SciinterpError, match="cannot read"):
            read(tmp_path / "none")
