"""Tracks of values: intervals above a threshold, and values base by base on windows of either strand."""

from pathlib import Path

import numpy as np
import pytest

import sciinterp as si
from sciinterp.codes.write_bigwig import Intervals, write_bigwig
from sciinterp.errors import FormatError, InputError

ROWS = [
    ("chr1", 2, 5, 1.5),
    ("chr1", 5, 6, 0.5),
    ("chr1", 6, 8, 2.0),
    ("chr1", 8, 10, 3.0),
    ("chr2", 0, 4, -1.0),
]


def track(folder: Path, form: str) -> Path:
    path = folder / ("depth.bw" if form == "bigwig" else "depth.bedgraph")
    if form == "bigwig":
        number = np.array([0, 0, 0, 0, 1])
        columns = (np.array([row[i] for row in ROWS]) for i in (1, 2))
        write_bigwig(
            path,
            ["chr1", "chr2"],
            np.array([100, 50]),
            Intervals(number, *columns, np.array([r[3] for r in ROWS], np.float32)),
        )
    else:
        path.write_text("track type=bedGraph\n" + "".join(f"{c} {a} {b} {v}\n" for c, a, b, v in ROWS))
    return path


@pytest.mark.parametrize("form", ["bigwig", "bedgraph"])
def test_stretches_above_a_threshold_are_annotations(tmp_path: Path, form: str) -> None:
    path = track(tmp_path, form)
    found = si.read_annotations(path, threshold=1)
    assert found.frame[["sample", "start", "end", "concept"]].to_numpy().tolist() == [
        ["chr1", 2, 5, "signal:depth"],
        ["chr1", 6, 10, "signal:depth"],
    ]
    assert found.frame["note"].tolist() == ["largest value 1.5", "largest value 3"]
    with pytest.raises(InputError, match="threshold"):
        si.read_annotations(path)
    (tmp_path / "x.bed").write_text("chr1\t1\t2\tx\n")
    with pytest.raises(InputError, match="only tracks of values"):
        si.read_annotations(tmp_path / "x.bed", threshold=1)


@pytest.mark.parametrize("form", ["bigwig", "bedgraph"])
def test_values_lie_on_windows_of_either_strand(tmp_path: Path, form: str) -> None:
    path = track(tmp_path, form)
    dense = np.full(100, np.nan, np.float32)
    for chromosome, a, b, v in ROWS[:4]:
        assert chromosome == "chr1"
        dense[a:b] = v
    samples = si.Samples(
        ["1:0-7", "chr1:4-12(-)", "chr3:0-5", "2:2-4"], ["A" * n for n in (7, 8, 5, 2)], kind="dna"
    )
    found = si.read_values({"x": path, "y": path}, samples)
    expected = np.concatenate([dense[:7], dense[4:12][::-1], np.full(5, np.nan), [-1, -1]])
    for column in found.values.T:
        np.testing.assert_array_equal(column, expected.astype(np.float32))
    assert found.counts == {"x": int(np.isfinite(expected).sum())} | {"y": int(np.isfinite(expected).sum())}
    with pytest.raises(InputError, match="says nothing of any sample"):
        si.read_values(path, si.Samples(["chr9:0-4"], ["ACGT"], kind="dna"))


def test_samples_that_a_track_names_have_its_values(tmp_path: Path) -> None:
    (tmp_path / "a.bg").write_text("P1 1 3 0.25\n")
    found = si.read_values(tmp_path / "a.bg", si.Samples(["P0", "P1"], ["MK", "MKV"]))
    np.testing.assert_array_equal(found.values[:, 0], [np.nan, np.nan, np.nan, 0.25, 0.25])
    for bad in ("P1 1 3\n", "P1 3 1 0.5\n", "P1 1 3 high\n", "P1 a 3 1\n"):
        (tmp_path / "b.bg").write_text(bad)
        with pytest.raises(FormatError, match="line 1"):
            si.read_values(tmp_path / "b.bg", si.Samples(["P1"], ["MKV"]))


@pytest.mark.parametrize("lines", [["0 6 1", "4 10 2"], ["0 6 1", "0 6 2"]])
def test_two_values_of_one_base_are_refused(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "x.bedgraph"
    path.write_text("".join(f"chr1 {line}\n" for line in lines))
    windows = si.Samples(["chr1:1-10", "chr1:1-4"], ["ACGTACGTAC", "ACGT"], kind="dna")
    with pytest.raises(FormatError, match="two values of one base"):
        si.read_values(path, windows)
    path.write_text("chr1 4 10 2\nchr1 0 4 1\n")
    assert si.read_values(path, windows).values.ravel().tolist() == [1] * 4 + [2] * 6 + [1] * 4
