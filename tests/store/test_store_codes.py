"""The sparse schema: both orders are what was written, ranges touch their own bytes, and no shape is taken on trust."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from worlds import (
    BOUNDS,
    D_IN,
    LENGTHS,
    build,
    build_codes,
    codes,
    forge,
    forge_index,
    forge_manifest,
    read_all_codes,
)

from sciinterp.errors import MismatchError, SciinterpError, StoreError
from sciinterp.store import reader as module
from sciinterp.store.arrays import load_arrays, save_arrays
from sciinterp.store.atomic import read_json, sha256_file, to_json
from sciinterp.store.codes_reader import CodesReader, read_old_codes
from sciinterp.store.describe import info
from sciinterp.store.layout import shard_name
from sciinterp.store.reader import Reader
from sciinterp.store.verify import verify

ARCHIVE = Path(__file__).parent / "archive"
ALL = codes(*range(len(LENGTHS)))


@pytest.fixture
def folder(tmp_path) -> Path:
    build_codes(tmp_path / "s")
    return tmp_path / "s"


def test_both_orders_come_back(folder):
    reader = CodesReader(folder)
    for lo in range(reader.n + 1):
        for hi in range(lo, reader.n + 1):
            np.testing.assert_array_equal(reader.read_rows(lo, hi).toarray(), ALL[lo:hi].toarray())
    turned = ALL.tocsc()
    for lo in range(D_IN + 1):
        for hi in range(lo, D_IN + 1):
            found = reader.read_features(lo, hi)
            part = slice(turned.indptr[lo], turned.indptr[hi])
            np.testing.assert_array_equal(found.starts, turned.indptr[lo : hi + 1] - turned.indptr[lo])
            np.testing.assert_array_equal(found.rows, turned.indices[part])
            np.testing.assert_array_equal(found.values, turned.data[part])
    assert reader.stored.tolist() == np.diff(turned.indptr).tolist()
    assert reader.largest.tolist() == ALL.max(axis=0).toarray().ravel().tolist()
    assert info(folder)["kind"] == "codes"
    assert info(folder)["positions"] == str(sum(LENGTHS))


def test_a_block_of_features_is_read_without_the_rest(folder, monkeypatch):
    """After the checksums, bytes read are those of the block: its codes, and the pointers to them."""
    monkeypatch.setattr("sciinterp.store.codes_reader.KEPT", 0)  # a store too large to be kept in memory
    reader, taken = CodesReader(folder), []
    reader.read_features(0, D_IN)

    def watched(path, entry, lo, hi):
        out = read(path, entry, lo, hi)
        taken.append(out.nbytes)
        return out

    read = module.read_rows
    monkeypatch.setattr(module, "read_rows", watched)
    monkeypatch.setattr(module, "check_sha256", lambda *_: pytest.fail("checked twice"))
    found = reader.read_features(1, 2)
    pointers = 2 * 8 * (len(BOUNDS) - 1)
    assert sum(taken) == found.values.nbytes + found.rows.nbytes + pointers
    taken.clear()
    rows = reader.read_rows(3, 5)
    assert sum(taken) == rows.data.nbytes + 4 * rows.nnz + 8 * 3


def test_a_small_store_is_read_once(folder, monkeypatch):
    wanted = CodesReader(folder).read_features(1, D_IN)
    reader = CodesReader(folder)
    reader.read_features(0, D_IN)
    monkeypatch.setattr(module, "read_rows", lambda *_: pytest.fail("read twice"))
    found = reader.read_features(1, D_IN)
    for name in ("starts", "rows", "values"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_one_schema_is_not_read_as_the_other(folder, tmp_path):
    build(tmp_path / "dense")
    with pytest.raises(StoreError, match=r"not a store of activations.*got a store of codes"):
        Reader(folder)
    with pytest.raises(StoreError, match=r"not a store of codes.*got a store of activations"):
        CodesReader(tmp_path / "dense")
    with pytest.raises(MismatchError, match="another plan"):
        build(folder)


def test_codes_that_do_not_fit_the_plan_are_refused(tmp_path):
    from worlds import codes_plan, samples

    from sciinterp.store.shards import open_writer

    counts = np.array(LENGTHS[:2])
    with open_writer(tmp_path / "s", codes_plan(), samples()) as writer:
        for given, n in ((codes(2), counts), (codes(0, 1), counts[:1]), (codes(0, 1)[:, :2], counts)):
            with pytest.raises(StoreError, match="do not fit the plan"):
                writer.write_codes(0, given, n)


def damage(array: np.ndarray, how: str) -> np.ndarray:
    """An array of the same kind that cannot be codes."""
    out = array.copy()
    if how == "negative":
        out[0] = -1
    elif how == "not finite":
        out[-1] = np.nan if out.dtype.kind == "f" else np.iinfo(out.dtype).max
    elif how == "infinite":
        out[0] = np.inf if out.dtype.kind == "f" else np.iinfo(out.dtype).min
    elif how == "backwards":
        out[:2] = [7, 6]
    elif how == "short":
        out = out[:-1]
    elif how == "long":
        out = np.append(out, out[-1:])
    elif how == "another type":
        out = out.astype(np.float64)
    elif how == "deep":
        out = out[:, None]
    return out


HOSTILE = [
    (name, how)
    for name in ("values", "indices", "indptr", "feature_values", "feature_rows", "feature_starts")
    for how in (
        "negative",
        "not finite",
        "infinite",
        "backwards",
        "short",
        "long",
        "another type",
        "deep",
        "absent",
    )
    if not (name.endswith("values") and how == "backwards")
]


@pytest.mark.parametrize(("name", "how"), HOSTILE)
def test_shards_that_are_whole_and_hold_no_codes_are_one_line(folder, name, how):
    held = load_arrays(folder / shard_name(1))[name]
    forge(folder, 1, **{name: None if how == "absent" else damage(held, how)})
    with pytest.raises(StoreError, match=r"does not hold what it should.*shard-000001") as caught:
        read_all_codes(folder)
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match="damaged"):
        verify(folder)


def test_two_orders_that_differ_are_found_by_verify(folder):
    held = load_arrays(folder / shard_name(1))["feature_values"]
    forge(folder, 1, feature_values=held * np.float32(2))
    with pytest.raises(StoreError, match="damaged"):
        verify(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"n_features": 1 << 50},
        {"n_features": -1},
        {"n_features": "4"},
        {"n_features": True},
        {"n_positions": 1 << 40},
        {"n_samples": 1 << 40},
        {"shards": [{"rows": 1 << 40, "sha256": "0", "bytes": 1}]},
        {"shards": {}},
        {"shards": [3]},
        {"dtype": "float16"},
        {"dtype": []},
        {"schema": "dense"},
        {"schema": ["x"]},
        {"schema": None},
        {"version": 2.5},
        {"version": True},
        {"format": "other"},
        {"extra": 3},
        {"skipped": []},
        {"index_sha256": None},
    ],
    ids=lambda x: " ".join(f"{k}={v}" for k, v in x.items())[:40],
)
def test_manifests_that_promise_what_is_not_there_are_one_line(folder, changes):
    forge_manifest(folder, **changes)
    with pytest.raises(StoreError) as caught:
        read_all_codes(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arrays",
    [
        {"stored": np.full(D_IN, 1 << 40)},
        {"stored": np.array([1 << 40, -(1 << 40), 3, 3])},
        {"stored": np.zeros(D_IN, np.int64)},
        {"stored": np.zeros(D_IN + 1, np.int64)},
        {"largest": np.zeros(D_IN, np.float64)},
        {"position_offsets": np.arange(len(LENGTHS) + 1)},
        {"position_offsets": np.array([0, 9, 3, 8, 10, 14, 15])},
        {"position_offsets": np.array([0, 15])},
    ],
    ids=lambda x: next(iter(x)),
)
def test_an_index_that_is_whole_and_wrong_is_one_line(folder, arrays):
    forge_index(folder, **arrays)
    with pytest.raises(StoreError, match="does not hold what it should"):
        read_all_codes(folder)


@pytest.mark.parametrize("kept", sorted(ARCHIVE.glob("codes-*")), ids=lambda p: p.name)
def test_archived_codes_are_read_for_ever(kept, tmp_path):
    import sciinterp as si

    shutil.copytree(kept / "store", tmp_path / "s")
    expected = json.loads((kept / "expected.json").read_text())
    features = si.load_features(tmp_path / "s")
    assert features.codes.toarray().astype(float).tolist() == expected["codes"]
    assert list(features.samples.ids) == expected["ids"]
    assert features.samples.table.to_dict("list") == expected["table"]
    assert features.origin.model == expected["identity"]["sae"]["model"]
    assert (verify(tmp_path / "s")["status"] == "ok").all()


OLD = ("data", "indices", "indptr")


@pytest.mark.parametrize(
    ("name", "how"),
    [(name, how) for name, how in HOSTILE if name in ("indices", "indptr")]
    + [
        ("data", how)
        for how in ("negative", "not finite", "infinite", "short", "long", "another type", "deep", "absent")
    ]
    + [
        ("shape", how)
        for how in ("negative", "not finite", "infinite", "short", "long", "another type", "absent")
    ],
)
def test_old_codes_that_are_whole_and_wrong_are_one_line(tmp_path, name, how):
    shutil.copytree(ARCHIVE / "codes-v1" / "store", tmp_path / "s")
    path, head = tmp_path / "s" / "codes.safetensors", tmp_path / "s" / "features.json"
    arrays = load_arrays(path)
    arrays[name] = damage(arrays[name], how)
    save_arrays(path, {k: x for k, x in arrays.items() if (k, how) != (name, "absent")})
    head.write_bytes(to_json(read_json(head) | {"sha256": sha256_file(path)}))
    with pytest.raises(StoreError, match="codes are damaged"):
        read_old_codes(tmp_path / "s")


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"{}",
        b"null",
        b"[" * 100000,
        b"\xff",
        b'{"version": 1}',
        b'{"version": 2}',
        b'{"version": true, "sha256": 1}',
    ],
    ids=lambda x: repr(x[:12]),
)
def test_old_heads_of_any_content_are_one_line(tmp_path, text):
    shutil.copytree(ARCHIVE / "codes-v1" / "store", tmp_path / "s")
    (tmp_path / "s" / "features.json").write_bytes(text)
    with pytest.raises(SciinterpError) as caught:
        read_old_codes(tmp_path / "s")
    assert "\n" not in str(caught.value)
