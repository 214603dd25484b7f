"""A FASTA of 2 million sequences (600 MB): under 200 MB and a minute to open once it has been indexed."""

import sys
from pathlib import Path

import pytest

import sciinterp as si

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "samples"))


@pytest.mark.bench
def test_two_million_sequences(tmp_path: Path) -> None:
    from test_indexed_fasta import opened

    path = tmp_path / "x.fasta"
    block = "".join(f">s{{0:03d}}{i:04d}\n{'ACDEFGHIKL' * 28}\n" for i in range(5000))
    with path.open("w") as file:
        for i in range(400):
            file.write(block.format(i))
    si.read_samples(path, index=True)
    n, _, mib, seconds = opened(path)
    print(
        f"{path.stat().st_size / 1e6:.0f} MB, {n:,} sequences: opened in {seconds:.1f} s with {mib:.0f} MiB"
    )
    assert n == 2_000_000 and mib < 200e6 / (1 << 20) and seconds < 60
