"""Tracks: every base its own code, both strands, sorted, without overlaps, bit for bit; names that browsers know."""

import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import sciinterp as si
from sciinterp.codes.genome_tracks import Coordinates, track_of
from sciinterp.errors import InputError
from sciinterp.readers.bigwig import read_bigwig

NAMES = ["chr2:100-120", "chr10:5-25(-)", "chr2:110-130(-)", "chrX:0-7"]
LENGTHS = [20, 20, 20, 7]


def matrix(seed: int = 0, density: float = 0.4) -> si.FeatureMatrix:
    rng = np.random.default_rng(seed)
    codes = rng.random((sum(LENGTHS), 3), np.float32) * (rng.random((sum(LENGTHS), 3)) < density)
    codes[:, 1] = np.round(codes[:, 1] * 2)  # neighbours of equal value
    return si.FeatureMatrix(codes, si.Samples(NAMES, ["A" * n for n in LENGTHS], kind="dna"))


def expected(features: si.FeatureMatrix, j: int) -> dict[tuple[str, int], float]:
    """Base by base, without any of our arithmetic."""
    out: dict[tuple[str, int], float] = {}
    column = features.column(j)
    for i, name in enumerate(NAMES):
        chromosome, rest = name.split(":")
        start = int(rest.split("-")[0])
        values = column[features.samples.offsets[i] : features.samples.offsets[i + 1]]
        for k, v in enumerate(values[::-1] if name.endswith("(-)") else values):
            if v > 0:
                at = (chromosome, start + k)
                out[at] = max(out.get(at, 0), float(v))
    return out


def by_base(rows: list[tuple[str, int, int, float]]) -> dict[tuple[str, int], float]:
    out = {}
    for chromosome, start, end, value in rows:
        for p in range(start, end):
            assert (chromosome, p) not in out, "two intervals overlap"
            out[chromosome, p] = value
    return out


def bedgraph(path: Path) -> list[tuple[str, int, int, float]]:
    cells = [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("track")]
    return [(c, int(a), int(b), float(np.float32(v))) for c, a, b, v in cells]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), density=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_a_track_is_the_codes_base_by_base(seed: int, density: float) -> None:
    features = matrix(seed, density)
    where = Coordinates.of(features.samples)
    for j in range(3):
        rows_of, value = features.by_feature(j, j + 1).column(0)
        track = track_of(rows_of, value, where)
        rows = [
            (where.names[c], int(a), int(b), float(v))
            for c, a, b, v in zip(track.chromosome, track.start, track.end, track.value)
        ]
        assert by_base(rows) == expected(features, j)
        assert rows == sorted(rows, key=lambda r: (r[0].encode(), r[1]))
        joined = [(a, b) for a, b in zip(rows, rows[1:]) if a[0] == b[0] and a[2] == b[1] and a[3] == b[3]]
        assert not joined


@pytest.mark.parametrize("format", ["bigwig", "bedgraph"])
def test_files_give_back_the_codes_bit_for_bit(tmp_path: Path, format: str) -> None:
    features = matrix()
    made = si.tracks(features, [0, 1, 2], out=tmp_path, format=format)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in made)
    for j in range(3):
        if format == "bedgraph":
            rows = bedgraph(tmp_path / f"feature_{j}.bedgraph")
        else:
            rows = list(read_bigwig(tmp_path / f"feature_{j}.bw"))
        assert by_base(rows) == expected(features, j)
        assert rows == sorted(rows, key=lambda r: (r[0].encode(), r[1]))
    windows = [line.split("\t")[:3] for line in (tmp_path / "windows.bed").read_text().splitlines()]
    assert ["chr10", "5", "25"] in windows and len(windows) == 4


def test_another_reader_reads_our_bigwig(tmp_path: Path) -> None:
    pybigtools = pytest.importorskip("pybigtools")
    features = matrix()
    si.tracks(features, [0], out=tmp_path, sizes=sizes(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pybigtools.open(str(tmp_path / "feature_0.bw"))
        assert dict(theirs.chroms()) == {"2": 500, "10": 400, "X": 300}
        rows = [(f"chr{c}", a, b, v) for c in theirs.chroms() for a, b, v in theirs.records(c)]
    assert by_base(rows) == expected(features, 0)


def sizes(folder: Path) -> Path:
    path = folder / "chrom.sizes"
    path.write_text("2\t500\n10\t400\nX\t300\nMT\t16569\n")
    return path


def test_names_and_lengths_of_chromosomes(tmp_path: Path) -> None:
    features = matrix()
    where = Coordinates.of(features.samples, sizes(tmp_path))
    assert where.names == ["10", "2", "X"] and where.sizes.tolist() == [400, 500, 300]
    (tmp_path / "short").write_text("chr2\t129\nchr10\t400\nchrX\t7\n")
    with pytest.raises(InputError, match="beyond its chromosome"):
        Coordinates.of(features.samples, tmp_path / "short")
    (tmp_path / "other").write_text("chr2\t500\nchr1\t400\nchrX\t7\n")
    with pytest.raises(InputError, match=r"no such chromosome.*'chr1'.*got 'chr10'"):
        Coordinates.of(features.samples, tmp_path / "other")
    mitochondrion = si.Samples(["chrM:0-4"], ["ACGT"], kind="dna")
    assert Coordinates.of(mitochondrion, sizes(tmp_path)).names == ["MT"]


def test_peaks_and_candidates_are_bed_on_a_genome(tmp_path: Path) -> None:
    codes = np.zeros((67, 2), np.float32)
    codes[20:23, 0], codes[30, 0], codes[24, 0] = (4, 1, 2), 0.3, 0.2  # sample chr10:5-25(-), backwards
    features = si.FeatureMatrix(codes, matrix().samples)
    candidates = pd.DataFrame(
        {"kind": ["missing", "novel"], "sample": [NAMES[1], NAMES[0]], "start": [0, 2], "end": [3, 5], "concept": ["a b\tc", ""],
         "feature": [0, 1], "probability": [0.5, np.nan]}
    )  # fmt: skip
    si.tracks(features, [0], out=tmp_path, candidates=candidates, format="bedgraph")
    peaks = [line.split("\t") for line in (tmp_path / "peaks.bed").read_text().splitlines()]
    assert peaks == [["chr10", "22", "25", "feature_0", "1000", "."]]  # .2 and .3 are below a tenth of 4
    assert (tmp_path / "candidates.bed").read_text() == "chr10\t22\t25\tmissing:a_b_c:feature_0\t500\t-\n"


def test_proteins_are_gff3_that_reads_back(tmp_path: Path) -> None:
    codes = np.zeros((9, 2), np.float32)
    codes[2:4, 1], codes[7, 1] = 3, 1.5
    features = si.FeatureMatrix(codes, si.Samples(["P2;x", "P1"], ["MKVLA", "EVQL"]))
    candidates = pd.DataFrame(
        {"kind": ["missing", "refinement"], "sample": ["P1", ""], "start": [1, -1], "end": [3, -1], "concept": ["zinc, finger", "helix"],
         "feature": [1, 1], "probability": [0.25, 0.5]}
    )  # fmt: skip
    made = si.tracks(features, [1], out=tmp_path, candidates=candidates)
    assert [p.name for p in made] == ["feature_1.bedgraph", "peaks.gff3", "candidates.gff3"]
    found = si.read_annotations(tmp_path / "peaks.gff3", format="gff3").frame
    assert found[["sample", "start", "end"]].to_numpy().tolist() == [["P1", 2, 3], ["P2;x", 2, 4]]
    assert (
        "P1\tsciinterp\tsequence_feature\t2\t3\t0.25\t.\t.\tName=missing:zinc%2C finger:feature_1"
        in (tmp_path / "candidates.gff3").read_text()
    )
    assert "refinement" not in (tmp_path / "candidates.gff3").read_text()  # it has no place


def test_what_cannot_be_written_is_said_before_anything_is(tmp_path: Path) -> None:
    features, out = matrix(), tmp_path / "out"
    for given_, words in (
        ({"which": [3]}, "no such feature"),
        ({"which": [0], "format": "wiggle"}, "no such format"),
    ):
        with pytest.raises(InputError, match=words):
            si.tracks(features, out=out, **given_)
    lost = si.FeatureMatrix(np.ones((4, 1), np.float32), si.Samples(["contig"], ["ACGT"], kind="dna"))
    with pytest.raises(InputError, match="place of a sample"):
        si.tracks(lost, [0], out=out)
    assert not out.exists()


@pytest.mark.bench
def test_100_kb_of_1024_features_in_ten_seconds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n, width, k = 100_000, 1024, 32
    codes = sp.csr_array(
        (rng.random(n * k, np.float32), rng.integers(0, width, n * k), np.arange(0, n * k + 1, k)),
        shape=(n, width),
    )
    codes.sum_duplicates()
    samples = si.Samples(
        [f"chr1:{i * 1000}-{i * 1000 + 1000}" for i in range(100)], ["A" * 1000] * 100, kind="dna"
    )
    features = si.FeatureMatrix(codes, samples)
    began, worked = time.perf_counter(), time.process_time()
    si.tracks(features, range(width), out=tmp_path)
    seconds = time.perf_counter() - began
    print(
        f"{seconds:.1f} s ({time.process_time() - worked:.1f} s of work) for {codes.nnz:,} codes in {width} bigWigs"
    )
    assert seconds < 10
