"""Codes in the files of others: keys and texts that HDF5 holds, bigWigs whose summaries are the plain sums, places both ways."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sciinterp as si
from sciinterp.codes import write_bigwig as module
from sciinterp.codes.exports import keys, plain_frame, plain_text
from sciinterp.codes.genome_tracks import Coordinates, track_of
from sciinterp.codes.write_bigwig import Intervals, write_bigwig
from sciinterp.errors import InputError, SciinterpError
from sciinterp.readers.bigwig import read_bigwig

NAMES = ["a/b", "a|b", "a/b", "_index", "", ".", "..", "n_positions", 7, None, "x\0y", "\ud800", "é", "a|b_2"]


def test_keys_are_one_each_and_nest_nothing():
    found = keys(NAMES, taken=("n_positions",))
    assert len(set(found)) == len(found) == len(NAMES)
    assert not {"_index", "", ".", "..", "n_positions"} & set(found)
    assert all("/" not in key and "\0" not in key and key.encode() for key in found)
    assert keys(["plain", "é"]) == ["plain", "é"] and keys([]) == []
    assert found[:3] == ["a|b", "a|b_2", "a|b_3"]


def test_keys_do_not_depend_on_those_that_come_later():
    for n in range(len(NAMES)):
        assert keys(NAMES[:n]) == keys(NAMES)[:n]


def test_plain_text_is_held_and_said_once():
    assert plain_text("é\0") == "é\N{REPLACEMENT CHARACTER}" and plain_text(1.5) == "1.5"
    for name in NAMES:
        assert plain_text(plain_text(name)) == plain_text(name)


def odd_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "bool": [True, False, True], "maybe": pd.array([True, None, False], dtype="boolean"),
            "int": [1, 2, 3], "nullable": pd.array([1, None, 3], dtype="Int64"), "small": np.array([1, 2, 3], np.uint8),
            "float": [0.5, np.nan, np.inf], "text": ["a", None, "b\0"], "string": pd.array(["a", None, "c"], dtype="string"),
            "kind": pd.Categorical(["u", None, "v"]), "mixed": [1, "x", None], "when": pd.to_datetime(["2020", None, "2021"]),
        }
    )  # fmt: skip


def test_a_frame_becomes_types_that_anndata_writes(tmp_path):
    plain = plain_frame(odd_table())
    kinds = {name: plain[name].to_numpy().dtype for name in plain}
    assert [kinds[name].kind for name in ("bool", "int", "small", "nullable", "float")] == list("biiff")
    assert {kinds[name].kind for name in ("text", "string", "kind", "mixed", "when")} == {"O"}
    assert plain["nullable"].isna().tolist() == [False, True, False] and plain["text"].tolist() == [
        "a",
        "",
        "b\N{REPLACEMENT CHARACTER}",
    ]
    assert plain["mixed"].tolist() == ["1", "x", ""] and plain["maybe"].isna().tolist() == [
        False,
        True,
        False,
    ]
    pd.testing.assert_frame_equal(plain_frame(plain), plain)
    plain.index = pd.Index(["p", "q", "r"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        anndata.AnnData(X=np.zeros((3, 1)), obs=plain).write_h5ad(tmp_path / "a.h5ad")
        back = anndata.read_h5ad(tmp_path / "a.h5ad").obs
    for name in plain:
        np.testing.assert_array_equal(back[name].astype(plain[name].dtype).to_numpy(), plain[name].to_numpy())


def test_codes_with_odd_names_are_written_and_read(tmp_path):
    table = pd.DataFrame({"a/b": [1, 2], "n_positions": ["x", "y"], "\0": [0.5, None]})
    samples = si.Samples(["s/1", "=\ud800"], ["MK", "V"], table=table)
    features = si.FeatureMatrix(np.array([[0, 1.5], [0, 0], [2, 0]], np.float32), samples)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        features.to_anndata().write_h5ad(tmp_path / "a.h5ad")
        back = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert back.obs["n_positions"].tolist() == [2, 1] and back.obs["a|b"].tolist() == [1, 2]
    assert back.shape == (2, 2) and back.X.toarray().tolist() == [[0, 1.5], [2, 0]]
    assert back.var["density"].tolist() == pytest.approx([1 / 3, 1 / 3]) and back.obs.shape[1] == 4


def made_track(seed: int, n: int, n_chromosomes: int = 3) -> tuple[list[str], np.ndarray, Intervals]:
    """Intervals of many widths with gaps, on chromosomes of which one has none."""
    rng = np.random.default_rng(seed)
    chromosome = np.sort(
        rng.choice(np.delete(np.arange(n_chromosomes), 1 % n_chromosomes), n) if n else np.zeros(0, int)
    )
    start = np.zeros(n, np.int64)
    end = start.copy()
    at = {}
    for i, c in enumerate(chromosome.tolist()):
        start[i] = at.get(c, 0) + rng.integers(0, 40)
        end[i] = at[c] = start[i] + rng.choice([1, 1, 1, 7, 300])
    sizes = np.array([at.get(c, 0) + 5 for c in range(n_chromosomes)])
    names = sorted((f"chr{c}" for c in range(n_chromosomes)), key=str.encode)
    return names, sizes, Intervals(chromosome, start, end, rng.gamma(1.0, size=n).astype(np.float32))


def dense(track: Intervals, number: int, size: int) -> np.ndarray:
    out = np.full(size, np.nan)
    for c, a, b, v in zip(*track):
        if c == number:
            out[a:b] = v
    return out


@pytest.mark.parametrize(
    ("n", "items", "fanout"), [(0, 1024, 256), (1, 1024, 256), (700, 1024, 256), (700, 8, 4), (60, 1, 2)]
)
def test_a_bigwig_of_any_depth_is_read_by_others(tmp_path, monkeypatch, n, items, fanout):
    """Intervals bit for bit, and every summary the plain one over bases, through indexes of one level or five."""
    pybigtools = pytest.importorskip("pybigtools")
    monkeypatch.setattr(module, "_ITEMS", items)
    monkeypatch.setattr(module, "_FANOUT", fanout)
    names, sizes, track = made_track(n, n)
    path = tmp_path / "a.bw"
    write_bigwig(path, names, sizes, track)
    wanted = [(names[c], int(a), int(b), float(v)) for c, a, b, v in zip(*track)]
    assert list(read_bigwig(path)) == wanted
    if not n:
        return
    with pybigtools.open(str(path)) as theirs:
        assert dict(theirs.chroms()) == dict(zip(names, sizes.tolist()))
        assert [(c, a, b, v) for c in theirs.chroms() for a, b, v in theirs.records(c)] == wanted
        told = theirs.info()["summary"]
        values = np.concatenate([dense(track, c, int(size)) for c, size in enumerate(sizes)])
        covered = values[~np.isnan(values)]
        assert told["basesCovered"] == len(covered) and told["sum"] == pytest.approx(covered.sum())
        assert (told["min"], told["max"]) == (covered.min(), covered.max())
        for number, name in enumerate(names):
            plain = dense(track, number, int(sizes[number]))
            for lo, hi in ((0, len(plain)), (3, min(len(plain), 900))):
                part = plain[lo:hi]
                if np.isnan(part).all():
                    continue
                mean = theirs.values(
                    name, lo, hi, bins=1, summary="mean", exact=True, missing=np.nan, oob=np.nan
                )
                assert mean[0] == pytest.approx(np.nanmean(part), rel=1e-6)


def test_the_summary_of_a_file_is_of_all_bases():
    names, sizes, track = made_track(0, 50)
    values = np.concatenate([dense(track, c, int(sizes[c])) for c in range(len(names))])
    values = values[~np.isnan(values)]
    found = struct.unpack("<Qdddd", module._total(track))
    plain = (len(values), values.min(), values.max(), values.sum(), (values**2).sum())
    assert found == pytest.approx(plain)
    assert struct.unpack("<Qdddd", module._total(made_track(0, 0)[2])) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_summaries_of_bins_are_the_plain_ones(seed):
    names, sizes, track = made_track(seed, 60)
    for bases in (7, 64, 10**6):
        rows = module._binned(track, bases)
        found = {(int(r["chromosome"]), int(r["start"]) // bases): r for r in rows}
        assert len(found) == len(rows)
        wanted = 0
        for number in range(len(names)):
            plain = dense(track, number, int(sizes[number]))
            for cell in range(0, -(-len(plain) // bases)):
                part = plain[cell * bases : (cell + 1) * bases]
                part = part[~np.isnan(part)]
                if len(part):
                    row, wanted = found[number, cell], wanted + 1
                    assert row["n"] == len(part) and row["sum"] == pytest.approx(part.sum(), rel=1e-5)
                    assert (row["least"], row["most"]) == (part.min(), part.max())
                    assert row["squares"] == pytest.approx((part**2).sum(), rel=1e-5)
                    where = np.flatnonzero(~np.isnan(plain[cell * bases : (cell + 1) * bases])) + cell * bases
                    assert (row["start"], row["end"]) == (where[0], where[-1] + 1)
        assert wanted == len(rows)


def test_zooms_grow_coarser_and_end(tmp_path):
    _, _, track = made_track(0, 3000)
    zooms = module._zooms(track)
    sizes = [len(rows) for _, rows in zooms]
    assert len(zooms) > 1 and sizes == sorted(sizes, reverse=True)
    assert all(b == 8 * a for (a, _), (b, _) in zip(zooms, zooms[1:]))
    total = (track.end - track.start).sum()
    assert all(rows["n"].sum() == total for _, rows in zooms)
    assert module._zooms(made_track(0, 0)[2]) == []


def test_more_chromosomes_than_the_format_holds_are_said(tmp_path):
    n = 65_536
    with pytest.raises(
        InputError, match=r"too many chromosomes.*at most 65,535, got 65,536\. Write bedGraph"
    ):
        write_bigwig(tmp_path / "a.bw", ["c"] * n, np.ones(n), made_track(0, 0)[2])
    assert not list(tmp_path.iterdir())


GENOME = ["chr2:100-120", "chr10:5-25(-)", "chr2:110-130(-)", "chrX:0-7"]


def windows() -> si.Samples:
    return si.Samples(GENOME, ["A" * n for n in (20, 20, 20, 7)], kind="dna")


@pytest.mark.parametrize("sample", range(4))
def test_bases_and_intervals_are_two_ways_to_one_place(sample):
    where, of = Coordinates.of(windows()), windows()
    n = int(of.lengths[sample])
    for lo in range(n):
        for hi in range(lo + 1, n + 1):
            chromosome, base = where.bases(np.arange(of.offsets[sample] + lo, of.offsets[sample] + hi))
            found = where.interval(sample, lo, hi)
            assert found[:3] == (chromosome[0], base.min(), base.max() + 1)
            assert found[3] == ("-" if GENOME[sample].endswith("(-)") else "+")


@pytest.mark.parametrize("seed", range(4))
def test_a_track_does_not_depend_on_the_order_of_samples(seed):
    rng, of = np.random.default_rng(seed), windows()
    values = (rng.integers(0, 3, of.n_positions)).astype(np.float32)
    order = rng.permutation(4)
    moved = of.subset(order)
    rows = np.concatenate([np.arange(of.offsets[i], of.offsets[i + 1]) for i in order])
    one = track_of(np.flatnonzero(values), values[values > 0], Coordinates.of(of))
    other = track_of(np.flatnonzero(values[rows]), values[rows][values[rows] > 0], Coordinates.of(moved))
    for a, b in zip(one, other):
        np.testing.assert_array_equal(a, b)
    zeros = track_of(np.arange(of.n_positions), values, Coordinates.of(of))
    assert all(np.array_equal(a, b) for a, b in zip(one, zeros)), "a stored zero is no value"


def matrix() -> si.FeatureMatrix:
    codes = (np.random.default_rng(0).random((67, 3)) * 2).round(1).astype(np.float32)
    return si.FeatureMatrix(codes, windows())


WRONG = [
    ({"which": [3]}, "no such feature, feature 3: expected 0 to 2"), ({"which": [-1]}, "no such feature"),
    ({"which": [0.5]}, "no such feature, feature 0.5"), ({"which": ["0"]}, "no such feature"), ({"which": [None]}, "no such feature"),
    ({"which": 1}, "which=.*features, got 1"), ({"which": "01"}, "which=.*features, got '01'"),
    ({"format": "wig"}, "no such format"), ({"format": None}, "no such format"), ({"out": None}, "out=: expected a path"),
    ({"out": 3}, "out=: expected a path"), ({"features": "runs/ab"}, "features=: expected FeatureMatrix"),
    ({"candidates": "c.tsv"}, "not candidates, candidates=.*got 'c.tsv'"), ({"candidates": pd.DataFrame({"kind": ["novel"]})}, "not candidates.*no column 'sample'"),
    ({"sizes": "no such file"}, "no such file"), ({"sizes": 5}, "sizes=: expected a path"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"), WRONG, ids=[next(iter(g)) + str(i) for i, (g, _) in enumerate(WRONG)]
)
def test_tracks_names_what_cannot_be_given(tmp_path, given, said):
    given = {"features": matrix(), "which": [0], "out": tmp_path / "out", **given}
    with pytest.raises(SciinterpError, match=said) as caught:
        si.tracks(given.pop("features"), given.pop("which"), **given)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_tracks_of_none_of_the_features_and_of_one_twice(tmp_path):
    made = si.tracks(matrix(), [], out=tmp_path / "none")
    assert [p.name for p in made] == ["peaks.bed", "windows.bed"] and (
        tmp_path / "none" / "peaks.bed"
    ).read_text() == ""
    made = si.tracks(matrix(), [np.int64(1), 1.0, 1], out=tmp_path / "one")
    assert [p.name for p in made] == ["feature_1.bw", "peaks.bed", "windows.bed"]
    empty = si.FeatureMatrix(sp.csr_array((67, 1), dtype=np.float32), windows())
    si.tracks(empty, [0], out=tmp_path / "empty")
    assert list(read_bigwig(Path(tmp_path / "empty" / "feature_0.bw"))) == []
