"""TSV: text cannot become a formula, numbers come back bit for bit, any bytes give rows or one error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciinterp.errors import FormatError, StoreError
from sciinterp.store.tables import (
    escape_cell,
    read_parquet,
    read_tsv,
    unescape_cell,
    write_parquet,
    write_tsv,
)

texts = st.text(st.characters() | st.sampled_from("=+-@'\"\\\t\r\n\0 ntr0"), max_size=12)


@settings(max_examples=300, deadline=None)
@given(texts)
def test_escape_is_invertible_and_safe(text):
    written = escape_cell(text)
    assert unescape_cell(written) == text
    assert not any(c in written for c in "\t\n\r\0")
    assert len(written) < 2 or written[0] not in "=+-@"


@settings(max_examples=100, deadline=None)
@given(st.lists(texts, min_size=1, max_size=8), st.text(st.characters(), min_size=1, max_size=5))
def test_text_round_trip(tmp_path_factory, cells, name):
    path = tmp_path_factory.getbasetemp() / "t.tsv"
    write_tsv(pd.DataFrame({name: pd.Series(cells, dtype=object), "id": "x"}), path)
    if name != "id":
        back = read_tsv(path, text=[name])
        assert back[name].tolist() == cells
        assert list(back.columns) == [name, "id"]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(width=64), min_size=1, max_size=8),
    st.lists(st.floats(width=32), min_size=1, max_size=8),
)
def test_floats_are_bit_equal_also_through_pandas(tmp_path_factory, wide, narrow):
    path = tmp_path_factory.getbasetemp() / "f.tsv"
    n = min(len(wide), len(narrow))
    frame = pd.DataFrame(
        {"w": np.array(wide[:n]), "n": np.array(narrow[:n], dtype=np.float32), "t": ["=x"] * n}
    )
    write_tsv(frame, path)
    for back in (read_tsv(path), pd.read_csv(path, sep="\t", float_precision="round_trip")):
        w, t = back["w"].to_numpy(np.float64), back["n"].to_numpy(np.float32)
        np.testing.assert_array_equal(np.isnan(w), np.isnan(frame["w"]))
        ok = ~np.isnan(w)
        assert w[ok].tobytes() == frame["w"].to_numpy()[ok].tobytes()
        ok = ~np.isnan(t)
        assert t[ok].tobytes() == frame["n"].to_numpy()[ok].tobytes()


def test_a_number_is_written_as_repr_writes_it(tmp_path):
    rng, powers = np.random.default_rng(0), 10.0 ** np.arange(-20, 20)
    numbers = np.concatenate(
        [
            rng.normal(size=20_000) * 10.0 ** rng.integers(-7, 12, 20_000),
            rng.integers(0, 2**63, 5_000).view(np.float64),
            rng.integers(-(10**8), 10**8, 5_000).astype(np.float64),
            *(sign * near for sign in (1, -1) for near in (powers, np.nextafter(powers, 0))),
            [0.0, -0.0, np.nan, np.inf, -np.inf],
        ]
    )
    few = np.tile([0.25, -0.0, 0.0, np.nan, 1e-5, 3.0], len(numbers))[: len(numbers)]
    write_tsv(pd.DataFrame({"many": numbers, "few": few}), tmp_path / "a.tsv")
    lines = (tmp_path / "a.tsv").read_text().splitlines()[1:]
    assert lines == [f"{one!r}\t{other!r}" for one, other in zip(numbers.tolist(), few.tolist())]


def test_types_index_and_containers(tmp_path):
    frame = pd.DataFrame(
        {
            "i": [1, -2, 3],
            "b": [True, False, True],
            "f": [0.1, np.nan, -np.inf],
            "t": ["001", "", None],
            "d": [{"b": 1, "a": float("nan")}, [1, 2], None],
            "strand": ["+", "-", "."],
        },
        index=pd.Index(["x", "=y", "z"], name="sample"),
    )
    write_tsv(frame, tmp_path / "a.tsv")
    back = read_tsv(tmp_path / "a.tsv")
    assert list(back.columns) == ["sample", "i", "b", "f", "t", "d", "strand"]
    assert back["sample"].tolist() == ["x", "=y", "z"]
    assert back["i"].dtype == np.int64
    assert back["b"].dtype == bool
    assert back["f"].dtype == np.float64
    assert back["t"].tolist() == ["001", "", ""]
    assert back["d"].tolist() == ['{ "a": null, "b": 1 }', "[ 1, 2 ]", ""]
    assert "\t+\n" in (tmp_path / "a.tsv").read_text()
    write_parquet(frame, tmp_path / "a.parquet")
    assert read_parquet(tmp_path / "a.parquet")["sample"].tolist() == ["x", "=y", "z"]


def test_same_table_same_bytes(tmp_path):
    frame = pd.DataFrame({"a": [1.5, 2.0], "b": ["x", "y"]})
    for write, end in ((write_tsv, "tsv"), (write_parquet, "parquet")):
        write(frame, tmp_path / f"1.{end}")
        write(frame, tmp_path / f"2.{end}")
        assert (tmp_path / f"1.{end}").read_bytes() == (tmp_path / f"2.{end}").read_bytes()


def test_empty_table_keeps_its_columns(tmp_path):
    write_tsv(pd.DataFrame({"a": [], "b": []}), tmp_path / "a.tsv")
    assert list(read_tsv(tmp_path / "a.tsv").columns) == ["a", "b"]
    assert len(read_tsv(tmp_path / "a.tsv")) == 0


def test_hand_made_files_are_read_as_they_are(tmp_path):
    (tmp_path / "a.tsv").write_bytes("\ufeffid\tsmiles\tnote\r\nx\tF/C=C\\n\t'5 end'\r\n".encode())
    back = read_tsv(tmp_path / "a.tsv")
    assert back.iloc[0].tolist() == ["x", "F/C=C\\n", "'5 end'"]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80) | st.text(st.sampled_from("ab\t\n\r\"'=1."), max_size=40).map(str.encode))
def test_any_bytes_give_rows_or_a_format_error(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "any.tsv"
    path.write_bytes(raw)
    try:
        read_tsv(path)
    except FormatError as error:
        assert "any.tsv" in str(error)  # noqa: PT017


@pytest.mark.parametrize("n_bytes", [1, 7, 40])
def test_read_and_written_some_lines_at_a_time(tmp_path, monkeypatch, n_bytes):
    """What a column is follows from all of its lines, and an error names its line, wherever the pieces end."""
    frame = pd.DataFrame(
        {
            "late": ["1", "2", "3", "x"], "int": [1, 2, 3, 4], "float": [1.0, np.nan, 0.5, np.inf],
            "gap": [np.nan] * 4, "yes": [True, False, True, True], "text": ["é", "", "a\tb", "=1"], "none": [""] * 4,
        }
    )  # fmt: skip
    write_tsv(frame, tmp_path / "whole.tsv")
    whole = read_tsv(tmp_path / "whole.tsv")
    monkeypatch.setattr("sciinterp.store.tables._BYTES", n_bytes)
    monkeypatch.setattr("sciinterp.store.tables._ROWS", 3)
    write_tsv(frame, tmp_path / "parts.tsv")
    assert (tmp_path / "parts.tsv").read_bytes() == (tmp_path / "whole.tsv").read_bytes()
    pd.testing.assert_frame_equal(read_tsv(tmp_path / "parts.tsv"), whole)
    assert [t.kind for t in whole.dtypes] == list("OiffbOO")
    for line, fault in ((3, b"1\n"), (4, b"\xff\t\n")):
        lines = (tmp_path / "whole.tsv").read_bytes().splitlines(keepends=True)
        (tmp_path / "bad.tsv").write_bytes(b"".join([*lines[: line - 1], fault, *lines[line:]]))
        with pytest.raises(FormatError, match=f"line {line}"):
            read_tsv(tmp_path / "bad.tsv")


def test_ragged_line_names_its_number(tmp_path):
    (tmp_path / "a.tsv").write_text("a\tb\n1\t2\n3\n")
    with pytest.raises(FormatError, match=r"line 3: expected 2 cells, got 1"):
        read_tsv(tmp_path / "a.tsv")
    with pytest.raises(FormatError, match="cannot read"):
        read_tsv(tmp_path / "none.tsv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(FormatError, match="not a Parquet"):
        read_parquet(tmp_path / "bad.parquet")


def test_duplicate_columns_are_refused(tmp_path):
    with pytest.raises(StoreError, match="two columns"):
        write_tsv(pd.DataFrame([[1, 2]], columns=["a", "a"]), tmp_path / "a.tsv")
