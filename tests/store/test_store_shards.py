"""The store: what is read is what was written, or an error says what is wrong."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from worlds import BOUNDS, D_IN, LENGTHS, SCHEMAS, build, plan, read_everything, samples, spans, tree, values

from sciinterp.errors import BusyError, FormatError, MismatchError, SciinterpError, StoreError
from sciinterp.samples import Samples
from sciinterp.store import layout, lock
from sciinterp.store.arrays import read_header, save_arrays, widen
from sciinterp.store.atomic import read_json, sha256_file, to_json
from sciinterp.store.describe import info
from sciinterp.store.lock import folder_lock
from sciinterp.store.reader import Reader
from sciinterp.store.samples_file import load_samples, save_samples
from sciinterp.store.sealed import seal
from sciinterp.store.shards import open_writer
from sciinterp.store.verify import verify

ARCHIVE = Path(__file__).parent / "archive"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_rows_spans_and_samples_come_back(tmp_path, dtype):
    assert build(tmp_path / "s", dtype=dtype) == 3
    assert build(tmp_path / "s", dtype=dtype) == 0
    reader = Reader(tmp_path / "s")
    assert reader.samples().ids == samples().ids
    assert reader.samples().digest == samples().digest
    expected = np.concatenate([widen(values(i, dtype), dtype) for i in range(len(LENGTHS))])
    got = reader.widen(reader.read_stored(0, reader.n))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected)
    for lo in range(reader.n + 1):
        for hi in range(lo, reader.n + 1):
            np.testing.assert_array_equal(reader.widen(reader.read_stored(lo, hi)), expected[lo:hi])
    np.testing.assert_array_equal(reader.token_offsets, np.concatenate([[0], np.cumsum(LENGTHS)]))
    start = np.concatenate([spans(i)[:, 0] for i in range(len(LENGTHS))])
    np.testing.assert_array_equal(reader.read_spans(0, reader.n)["start"], start)
    with pytest.raises(StoreError, match="rows outside the store"):
        reader.read_stored(0, reader.n + 1)


def test_shards_are_safetensors_to_everyone(tmp_path):
    build(tmp_path / "s")
    with safe_open(str(tmp_path / "s" / "shard-000000.safetensors"), framework="np") as file:
        assert sorted(file.keys()) == ["activations", "end", "start", "strand", "tokens"]
        np.testing.assert_array_equal(file.get_tensor("activations"), np.concatenate([values(0), values(1)]))
    build(tmp_path / "b", dtype="bfloat16")
    torch = pytest.importorskip("torch")
    with safe_open(str(tmp_path / "b" / "shard-000000.safetensors"), framework="pt") as file:
        found = file.get_tensor("activations")
    assert found.dtype == torch.bfloat16
    assert torch.equal(found.view(torch.int16), torch.from_numpy(values(0, "bfloat16").view(np.int16)))


@pytest.mark.parametrize("schema", SCHEMAS)
def test_same_plan_same_bytes(tmp_path, schema):
    build, _ = SCHEMAS[schema]
    build(tmp_path / "a")
    build(tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_identifiers_never_become_paths(tmp_path):
    build(tmp_path / "s")
    assert {p.name for p in tmp_path.iterdir()} == {"s"}
    names = {p.name for p in (tmp_path / "s").iterdir()}
    shards = {f"shard-{k:06d}.{end}" for k in range(3) for end in ("json", "safetensors")}
    assert names == shards | {"plan.json", "manifest.json", "index.safetensors", "samples.parquet"}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_500_of_500_flipped_bytes_are_found(tmp_path, schema):
    """One bit of one byte, anywhere in the folder: reading everything raises, and so does verify."""
    build, read_everything = SCHEMAS[schema]
    build(tmp_path / "s")
    files = sorted(p for p in (tmp_path / "s").iterdir())
    used = [p for p in files if not p.name.startswith("shard") or p.suffix == ".safetensors"]
    rng = random.Random(0)
    found = 0
    for trial in range(500):
        path = rng.choice(used) if trial % 5 else rng.choice(files)
        raw = bytearray(path.read_bytes())
        place = rng.randrange(len(raw))
        raw[place] ^= 1 << rng.randrange(8)
        good = path.read_bytes()
        path.write_bytes(raw)
        if path in used:
            with pytest.raises(SciinterpError):
                read_everything(tmp_path / "s")
        with pytest.raises(StoreError, match=r"damaged|not a store|newer"):
            verify(tmp_path / "s")
        found += 1
        path.write_bytes(good)
    assert found == 500
    read_everything(tmp_path / "s")


def test_a_change_after_opening_is_found(tmp_path):
    build(tmp_path / "s")
    reader = Reader(tmp_path / "s")
    reader.read_stored(0, 3)
    path = tmp_path / "s" / "shard-000000.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(StoreError, match="damaged"):
        reader.read_stored(0, 3)


def test_a_damaged_shard_is_made_again_on_resume(tmp_path):
    build(tmp_path / "s")
    expected = tree(tmp_path / "s")
    (tmp_path / "s" / "manifest.json").unlink()
    path = tmp_path / "s" / "shard-000001.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    assert build(tmp_path / "s") == 1
    assert tree(tmp_path / "s") == expected


def test_another_plan_is_refused_by_name(tmp_path):
    build(tmp_path / "s")
    before = tree(tmp_path / "s")
    with pytest.raises(MismatchError, match=r"identity\.model differs.*expected 'other', got 'tiny'"):
        build(tmp_path / "s", identity={"model": "other", "weights_sha256": "00"})
    assert tree(tmp_path / "s") == before
    # A finished store may be used elsewhere; an unfinished one has to be finished where it was begun.
    assert build(tmp_path / "s", environment={"threads": 1, "cpu": "two"}) == 0
    (tmp_path / "s" / "manifest.json").unlink()
    with pytest.raises(MismatchError, match=r"environment\.cpu"):
        build(tmp_path / "s", environment={"threads": 1, "cpu": "two"})


def test_overwrite_replaces_a_store_and_nothing_else(tmp_path):
    build(tmp_path / "s")
    with open_writer(tmp_path / "s", plan(site={"name": "other"}), samples(), overwrite=True) as writer:
        assert writer.missing == [0, 1, 2]
    (tmp_path / "s" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"in use.*'notes\.txt'"):
        build(tmp_path / "s")
    with (
        pytest.raises(StoreError, match="in use"),
        open_writer(tmp_path / "s", plan(), samples(), overwrite=True),
    ):
        pass
    assert (tmp_path / "s" / "notes.txt").read_text() == "mine"


def test_folders_that_hold_something_else(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name, what in (("full", "in use"), ("file", "not a folder")):
        with pytest.raises(StoreError, match=what):
            build(tmp_path / name)
    assert tree(tmp_path) == {"full/x.txt": b"mine", "file": b"mine"}


def test_unfinished_missing_and_newer(tmp_path):
    with pytest.raises(StoreError, match="not a store of activations"):
        Reader(tmp_path)
    with open_writer(tmp_path / "s", plan(), samples()):
        pass
    with pytest.raises(StoreError, match="not finished"):
        Reader(tmp_path / "s")
    assert info(tmp_path / "s")["finished"] == "no, 0 of 3 shards"
    build(tmp_path / "s")
    manifest = read_json(tmp_path / "s" / "manifest.json")
    (tmp_path / "s" / "manifest.json").write_bytes(to_json(seal({**manifest, "version": 99})))
    with pytest.raises(StoreError, match=r"newer version.*got 99\. Update sciinterp"):
        Reader(tmp_path / "s")
    (tmp_path / "s" / "manifest.json").write_bytes(to_json(manifest))
    (tmp_path / "s" / "shard-000002.safetensors").unlink()
    reader = Reader(tmp_path / "s")
    with pytest.raises(StoreError, match="missing"):
        reader.read_stored(0, reader.n)


def test_a_future_version_is_reached_by_migration(tmp_path, monkeypatch):
    build(tmp_path / "s")
    monkeypatch.setattr(layout, "VERSION", 3)
    monkeypatch.setitem(layout.MIGRATIONS, 2, lambda record: {**record, "version": 3, "added": True})
    assert layout.read_manifest(tmp_path / "s")["added"]


ARCHIVED = sorted(ARCHIVE.glob("activations-*"))


@pytest.mark.parametrize("kept", ARCHIVED, ids=lambda p: p.name)
def test_archived_activations_are_read_for_ever(kept, tmp_path):
    shutil.copytree(kept / "store", tmp_path / "s")
    expected = json.loads((kept / "expected.json").read_text())
    reader = Reader(tmp_path / "s")
    rows = reader.widen(reader.read_stored(0, reader.n))
    assert rows.astype(float).tolist() == expected["rows"]
    assert {k: v.tolist() for k, v in reader.read_spans(0, reader.n).items()} == expected["spans"]
    assert reader.token_offsets.tolist() == expected["token_offsets"]
    assert list(reader.samples().ids) == expected["ids"]
    assert reader.samples().table.to_dict("list") == expected["table"]
    assert (verify(tmp_path / "s")["status"] == "ok").all()


@pytest.mark.parametrize("kept", ARCHIVED, ids=lambda p: p.name)
def test_archived_activations_are_recognised_and_finished_as_they_were_begun(kept, tmp_path):
    """The plan of an old store, given in today's words, is the same plan: whole, and after a kill."""
    folder = tmp_path / "s"
    shutil.copytree(kept / "store", folder)
    before = tree(folder)
    given = {
        k: v for k, v in read_json(folder / "plan.json").items() if k not in ("format", "version", "schema")
    }
    known = Reader(folder).samples()
    with open_writer(folder, given, known) as writer:
        assert writer.complete
    extra = read_json(folder / "manifest.json")["extra"]
    (folder / "manifest.json").unlink()
    with open_writer(folder, given, known) as writer:
        assert writer.missing == []
        writer.finish(extra)
    assert tree(folder) == before


def test_second_writer_is_told_who_the_first_is(tmp_path):
    read, write = os.pipe()
    done_read, done_write = os.pipe()
    child = os.fork()
    if child == 0:
        with open_writer(tmp_path / "s", plan(), samples()):
            os.write(write, b".")
            os.read(done_read, 1)
        os._exit(0)
    os.read(read, 1)
    try:
        with pytest.raises(BusyError, match=f"another run is writing here.*process {child} on "):
            build(tmp_path / "s")
    finally:
        os.write(done_write, b".")
        os.waitpid(child, 0)
    assert build(tmp_path / "s") == 3


def test_of_many_writers_one_writes(tmp_path):
    outcomes = []

    def work():
        try:
            outcomes.append(build(tmp_path / "s"))
        except BusyError:
            outcomes.append("busy")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(x for x in outcomes if x != "busy") == len(BOUNDS) - 1
    read_everything(tmp_path / "s")


@pytest.mark.parametrize("flock", [True, False])
def test_stale_locks_are_taken_over(tmp_path, monkeypatch, flock):
    if not flock:
        monkeypatch.setattr(lock, "fcntl", None)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    host = lock.socket.gethostname()
    (tmp_path / ".lock").write_text(json.dumps({"pid": child, "host": host}))
    with folder_lock(tmp_path):
        pass
    assert not (tmp_path / ".lock").exists()


def test_locks_without_flock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    with (
        folder_lock(tmp_path),
        pytest.raises(BusyError, match=f"process {os.getpid()} on "),
        folder_lock(tmp_path),
    ):
        pass
    for content in (json.dumps({"pid": 1, "host": "elsewhere"}), ""):
        (tmp_path / ".lock").write_text(content)
        with pytest.raises(BusyError), folder_lock(tmp_path):
            pass
    old = os.stat(tmp_path / ".lock").st_mtime - 60
    os.utime(tmp_path / ".lock", (old, old))
    with folder_lock(tmp_path):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_said_and_not_taken_for_another_run(
    tmp_path, monkeypatch, caplog, code
):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    assert build(tmp_path / "s") == 3
    assert "has no locks" in caplog.text
    with (
        folder_lock(tmp_path / "s"),
        pytest.raises(BusyError, match=f"process {os.getpid()} on "),
        folder_lock(tmp_path / "s"),
    ):
        pass
    assert not (tmp_path / "s" / ".lock").exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(StoreError, match="cannot write"), folder_lock(tmp_path / "none"):
        pass


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=200)
    | st.tuples(st.integers(0, 2**63), st.binary(max_size=60)).map(
        lambda x: x[0].to_bytes(8, "little") + x[1]
    )
    | st.dictionaries(
        st.text(max_size=3),
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "I8", "X", 3]),
                "shape": st.lists(st.integers(-2, 2**40), max_size=3) | st.none(),
                "data_offsets": st.lists(st.integers(-2, 90), min_size=1, max_size=3),
            }
        ),
        max_size=3,
    ).map(lambda x: (lambda t: len(t).to_bytes(8, "little") + t + b"0" * 64)(json.dumps(x).encode()))
)
def test_any_bytes_are_a_header_or_a_format_error(tmp_path_factory, raw):
    """Hostile headers: no memory is taken for what the file does not hold, and no other error is raised."""
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(raw)
    try:
        entries = read_header(path)
    except FormatError:
        return
    assert all(e.offset >= 0 and e.offset + e.nbytes <= len(raw) for e in entries.values())


def test_arrays_that_share_their_bytes_are_refused(tmp_path):
    """A thousand names for one array would be a thousand arrays in memory."""
    entry = {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}
    text = json.dumps({f"a{i}": entry for i in range(1000)}).encode()
    (tmp_path / "a").write_bytes(len(text).to_bytes(8, "little") + text + b"0" * 64)
    with pytest.raises(
        FormatError, match=r"declares what the file does not hold.*at most 64 bytes, got 64,000"
    ):
        read_header(tmp_path / "a")


@pytest.mark.parametrize("read", [read_json, read_header, sha256_file, load_samples])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "missing", "long"])
def test_a_name_that_is_no_file_is_one_line(tmp_path, kind, read):
    """A pipe would be waited for, a device never ends."""
    path = tmp_path / "samples.parquet"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "long":
        path = tmp_path / ("x" * 5000)
    with pytest.raises((StoreError, FormatError)):
        read(tmp_path if read is load_samples and kind != "long" else path)


def test_a_header_that_claims_gigabytes_is_refused(tmp_path):
    (tmp_path / "a").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with pytest.raises(FormatError, match="header of 1099511627776 bytes"):
        read_header(tmp_path / "a")


def test_rows_that_do_not_fit_the_plan_are_refused(tmp_path):
    with open_writer(tmp_path / "s", plan(), samples()) as writer:
        empty = np.zeros((0, 3), np.int32)
        for rows in (
            [values(0)],
            [values(0), values(1).astype(np.float64)],
            [values(0), np.zeros((0, D_IN + 1), np.float32)],
        ):
            with pytest.raises(StoreError, match="do not fit the plan"):
                writer.write(0, rows, [spans(0), empty])
        with pytest.raises(StoreError, match="not finished"):
            writer.finish()
    with pytest.raises(TypeError, match="cannot be stored"):
        save_arrays(tmp_path / "a", {"x": np.array(["text"])})


@pytest.mark.parametrize(
    "data",
    [
        ["MK", "V"],
        [None, None],
        [np.arange(3.0), np.eye(2, dtype=np.int8)],
        [{"b": [1, 2.5], "a": None}, {"x": "y"}],
        [{1, 2}, {3}],
    ],
    ids=["text", "none", "array", "json", "opaque"],
)
def test_samples_of_every_kind_keep_their_digest(tmp_path, data):
    import pandas as pd

    table = pd.DataFrame({"id": ["x", "y"], "data": [1, 2], "=f": [0.5, None]})
    one = Samples(["a", "../b"], data, lengths=[2, 1], table=table, kind="any", n_in=3, dropped={"short": 1})
    save_samples(tmp_path, one)
    two = load_samples(tmp_path)
    assert two.digest == one.digest
    assert (two.ids, two.kind, two.n_in, two.dropped) == (one.ids, "any", 3, {"short": 1})
    assert list(two.table.columns) == ["id", "data", "=f"]
    assert two.table["data"].tolist() == [1, 2]
    if data[0] is not None and not isinstance(data[0], set):
        assert repr(two.data) == repr(one.data)


def test_verify_and_info_of_other_folders(tmp_path):
    for call in (verify, info):
        with pytest.raises(StoreError):
            call(tmp_path)
    with pytest.raises(StoreError, match="no such folder"):
        verify(tmp_path / "none")
    build(tmp_path / "run" / "activations")
    (tmp_path / "run" / "report.html").write_text("x")
    found = verify(tmp_path / "run").set_index("file")["status"]
    assert found["report.html"] == "unchecked"
    assert found["activations/shard-000000.safetensors"] == "ok"
    assert info(tmp_path / "run" / "activations")["tokens"] == str(sum(LENGTHS))
