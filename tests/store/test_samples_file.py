"""Samples beside a store: in memory or left in the file they are the same, and damage is one line."""

from __future__ import annotations

import datetime
import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciinterp.errors import SciinterpError, StoreError
from sciinterp.samples import Column, Samples, Split
from sciinterp.splits import split_families
from sciinterp.store import samples_file
from sciinterp.store.samples_file import SAMPLES, load_samples, save_samples
from sciinterp.store.split_file import read_split, write_split

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
KINDS = {
    "text": ["MK", "", "VAL", "é"],
    "none": [None] * 4,
    "array": [np.arange(3.0), np.eye(2, dtype=np.int8), np.zeros((0, 3), np.float32), np.array(True)],
    "json": [{"b": [1, 2.5], "a": None}, [], "x", {"nested": {"deep": [True]}}],
    "opaque": [{1, 2}, {3}, (1,), object],
}  # fmt: skip


def collection(data: str = "text", **more) -> Samples:
    return Samples(
        ["a", "../b", "=1+1", "\N{GREEK SMALL LETTER ALPHA}"], KINDS[data], lengths=[2, 0, 3, 1], **more
    )


def alike(one: Samples, other: Samples) -> None:
    """Every fact of a collection that a store keeps."""
    assert list(one.ids) == list(other.ids) and one.lengths.tolist() == other.lengths.tolist()
    assert one.digest == other.digest and one.kind == other.kind and one.dropped == other.dropped
    assert (one.n_in, Path(one.source).name) == (other.n_in, other.source)
    pd.testing.assert_frame_equal(one.table, other.table, check_dtype=False)


@pytest.fixture(params=["in memory", "in the file"])
def where(request, monkeypatch) -> str:
    """Texts of large files stay there; here all are large, in groups of three rows."""
    if request.param == "in the file":
        monkeypatch.setattr(samples_file, "STAYS_FROM", -1)
        monkeypatch.setattr(samples_file, "ROWS", 3)
    return request.param


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_wherever_it_lies(tmp_path, where, kind):
    one = collection(kind, kind="any", n_in=9, dropped={"short": 5}, source="/somewhere/else/s.fasta")
    digest = save_samples(tmp_path, one)
    two = load_samples(tmp_path, sha256=digest)
    alike(one, two)
    assert (
        isinstance(two.ids, Column)
        == isinstance(two.data, Column)
        == (where == "in the file" and kind == "text")
    )
    if kind == "none" or kind == "opaque":
        assert list(two.data) == [None] * 4 and two.is_held_elsewhere == (kind == "opaque")
    else:
        assert list(map(repr, two.data)) == list(map(repr, one.data))
    # Written again they are the same bytes, also where the data was never held.
    (tmp_path / "again").mkdir()
    assert save_samples(tmp_path / "again", two) == digest


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(texts.filter(bool), texts), max_size=9, unique_by=lambda row: row[0]),
    st.integers(0, 10**6),
    st.integers(1, 4),
)
def test_texts_in_any_order_are_those_of_the_file(tmp_path_factory, rows, seed, group):
    folder = tmp_path_factory.mktemp("s")
    held = Samples([name for name, _ in rows], [text for _, text in rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples_file, "ROWS", group)
        save_samples(folder, held)
        patch.setattr(samples_file, "STAYS_FROM", -1)
        found = load_samples(folder)
    alike(held, found)
    order = np.random.default_rng(seed).integers(0, max(len(rows), 1), 12)[: 12 * bool(rows)]
    assert [found.data[int(i)] for i in order] == [held.data[int(i)] for i in order]
    part = found.subset(order[:3] if len(set(order[:3])) == 3 else [])
    assert list(part.data) == [held.data[held.index(name)] for name in part.ids]
    assert all(found.index(name) == i for i, (name, _) in enumerate(rows))


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 3, 4],
        [1.5, np.nan, -np.inf, 0.0],
        [True, False, True, True],
        ["x", None, "", "=y"],
        [None] * 4,
        pd.Categorical(["a", "b", "a", "b"]),
        [datetime.date(2020, 1, 2)] * 4,
        [[1, 2], [], [3], None],
    ],
    ids=["whole", "float", "bool", "text", "none", "categories", "dates", "lists"],
)
def test_columns_of_every_type_are_kept(tmp_path, where, values):
    table = pd.DataFrame({"id": ["p", "q", "r", "s"], "data": 0, "length": 1.5, "c": values})
    one = collection(table=table)
    save_samples(tmp_path, one)
    two = load_samples(tmp_path)
    assert list(two.table.columns) == ["id", "data", "length", "c"]
    for a, b in zip(one.table["c"], two.table["c"]):
        same = (pd.isna(a) and pd.isna(b)) if np.ndim(a) == 0 and np.ndim(b) == 0 else list(a) == list(b)
        assert same if isinstance(same, bool) and same else a == b


@pytest.mark.parametrize(
    "values", [[1, "x", 2.5, None], [{"a": 1}, "x", 3, None], [object()] * 4], ids=["mixed", "odd", "objects"]
)
def test_columns_of_several_types_are_kept_as_text_or_named(tmp_path, values):
    """A column that no table file holds stops nothing after hours of work: it is text."""
    one = collection(table=pd.DataFrame({"c": pd.Series(values, dtype=object)}))
    save_samples(tmp_path, one)
    found = load_samples(tmp_path).table["c"]
    assert [None if pd.isna(x) else x for x in found] == [None if x is None else str(x) for x in values]


def test_the_same_samples_are_the_same_bytes_wherever_they_lay(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one = save_samples(tmp_path / "a", collection(source="/x/s.fasta"))
    assert one == save_samples(tmp_path / "b", collection(source="y/s.fasta"))


def test_an_empty_collection_is_one(tmp_path, where):
    save_samples(tmp_path, Samples([], []))
    found = load_samples(tmp_path)
    assert len(found) == 0 and found.n_positions == 0 and found.digest == Samples([], []).digest


def rewritten(folder: Path, change) -> None:
    """The file with another table, whole."""
    table = pq.read_table(folder / SAMPLES)
    pq.write_table(change(table), folder / SAMPLES)


def head(table: pa.Table, **changes) -> pa.Table:
    meta = table.schema.metadata
    told = {**json.loads(meta[b"samples"]), **changes}
    return table.replace_schema_metadata({**meta, b"samples": json.dumps(told)})


WRONG = {
    "another letter": lambda t: t.set_column(2, "data", pa.array(["MK", "", "VAR", "é"])),
    "another length": lambda t: t.set_column(1, "length", pa.array([2, 0, 4, 1])),
    "another name": lambda t: t.set_column(0, "id", pa.array(["a", "b", "c", "d"])),
    "a name twice": lambda t: t.set_column(0, "id", pa.array(["a", "a", "c", "d"])),
    "no name": lambda t: t.set_column(0, "id", pa.array(["a", None, "c", "d"])),
    "a row less": lambda t: t.slice(0, 3).replace_schema_metadata(t.schema.metadata),
    "no lengths": lambda t: t.drop_columns(["length"]),
    "no data": lambda t: t.drop_columns(["data"]),
    "lengths as text": lambda t: t.set_column(1, "length", pa.array(["x"] * 4)),
    "no head": lambda t: t.replace_schema_metadata({}),
    "a head that is none": lambda t: t.replace_schema_metadata({"version": "1", "samples": "["}),
    "another kind of data": lambda t: head(t, data="json"),
    "arrays that are none": lambda t: head(t, data="array"),
    "another digest": lambda t: head(t, digest="00"),
    "no kind": lambda t: t.replace_schema_metadata({"version": "1", "samples": "{}"}),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_is_whole_and_wrong_is_one_line(tmp_path, where, what):
    save_samples(tmp_path, collection())
    rewritten(tmp_path, WRONG[what])
    with pytest.raises(StoreError, match="samples are damaged") as caught:
        load_samples(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_newer_version_and_another_file_are_named(tmp_path):
    digest = save_samples(tmp_path, collection())
    rewritten(tmp_path, lambda t: t.replace_schema_metadata({**t.schema.metadata, b"version": b"99"}))
    with pytest.raises(StoreError, match=r"newer version.*expected 1, got 99\. Update sciinterp"):
        load_samples(tmp_path)
    with pytest.raises(StoreError, match="damaged or was changed"):
        load_samples(tmp_path, sha256=digest)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "s").mkdir()
    save_samples(tmp_path, collection())
    (tmp_path / "s" / SAMPLES).symlink_to(tmp_path / SAMPLES)
    with pytest.raises(StoreError, match="leads out of its folder"):
        load_samples(tmp_path / "s")


def test_200_flipped_bits_are_the_same_samples_or_one_line(tmp_path, where):
    """Without a checksum of the whole: pages have theirs, and the digest tells the rest."""
    one, rng = collection(), random.Random(0)
    save_samples(tmp_path, one)
    whole = (tmp_path / SAMPLES).read_bytes()
    for _ in range(200):
        raw = bytearray(whole)
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        (tmp_path / SAMPLES).write_bytes(raw)
        try:
            found = load_samples(tmp_path)
        except SciinterpError as error:
            assert "\n" not in str(error)  # noqa: PT017
            continue
        assert found.digest == one.digest and list(found.data) == list(one.data)


def family_split(seed: int = 0, **more) -> tuple[Samples, Split]:
    n = 24
    samples = Samples([f"s{i}" for i in range(n)], ["MK" * (1 + i % 3) for i in range(n)])
    return samples, split_families(samples, by=[f"=f{i % 8}" for i in range(n)], seed=seed, **more)


@pytest.mark.parametrize("seed", [0, 7])
def test_a_split_comes_back(tmp_path, seed):
    samples, split = family_split(seed)
    write_split(split, samples, tmp_path / "split.tsv")
    found = read_split(tmp_path / "split.tsv", samples)
    for name in ("train", "calibration", "test"):
        np.testing.assert_array_equal(found.part(name), split.part(name))
    mine, theirs = (np.array(s.family_names, object)[s.family].tolist() for s in (split, found))
    assert mine == theirs and (found.by, found.seed) == (split.by, seed)
    write_split(found, samples, tmp_path / "again.tsv")
    assert (tmp_path / "again.tsv").read_bytes() == (tmp_path / "split.tsv").read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.iloc[:-1], "other samples, file '.*split.tsv': expected 's23' as sample 23, got 23 samples"),
        (lambda t: t.iloc[::-1], "the same samples in another order.*expected 's0' as sample 0, got 's23'"),
        (lambda t: t.iloc[:0], "not a split.*no rows"),
        (lambda t: t.drop(columns="part"), r"not a split.*sample family part by seed.*\['part'\]"),
        (lambda t: t.assign(part="tset"), "not a split.*train, calibration or test, got 'tset'"),
        (lambda t: t.assign(part=" "), "not a split.*train, calibration or test, got ' '"),
        (lambda t: t.assign(seed="x"), "line 2: expected a whole number as seed, got 'x'"),
        (lambda t: t.assign(seed=[0] * 23 + [1]), "line 25: expected one way and one seed.*, 1'"),
        (lambda t: t.assign(by=["a"] * 23 + ["b"]), "line 25: expected one way and one seed.*'b, 0'"),
    ],
    ids=["fewer", "backwards", "empty", "no part", "another word", "no word", "no number", "two seeds", "two ways"],
)  # fmt: skip
def test_a_table_that_is_no_split_of_these_is_one_line(tmp_path, change, said):
    samples, split = family_split()
    write_split(split, samples, tmp_path / "split.tsv")
    table = pd.read_csv(tmp_path / "split.tsv", sep="\t", keep_default_na=False)
    change(table).to_csv(tmp_path / "split.tsv", sep="\t", index=False)
    with pytest.raises(SciinterpError, match=said) as caught:
        read_split(tmp_path / "split.tsv", samples)
    assert "\n" not in str(caught.value)
