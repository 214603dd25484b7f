"""A real model, killed at random times; memory that does not grow with the number of sequences."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}

EXTRACT = """
import sys
import sciinterp as si
from sciinterp.activations import ExtractSettings
from tiny_adapter import make_samples, natural_lengths
samples = make_samples(natural_lengths(60, high=200))
si.extract(si.load_model("antiberty"), samples, site=["embedding", "layers.2"], out=sys.argv[1],
           settings=ExtractSettings(shard_tokens=500))
"""

# Without oneDNN, which keeps compiled code for every shape of a convolution it has met (up to a limit of its
# own): that growth is the model's and not the store's.
PEAK = """
import resource, sys
import torch
import sciinterp as si
torch.backends.mkldnn.enabled = False
from sciinterp.activations import ExtractSettings
from tiny_adapter import TinyAdapter, make_samples, natural_lengths
samples = make_samples(natural_lengths(int(sys.argv[2]), seed=1))
settings = ExtractSettings(shard_tokens=int(sys.argv[3]))
acts = si.extract(TinyAdapter(64), samples, site="layers.0", out=sys.argv[1], settings=settings)
for lo in range(0, acts.n_tokens, 4096):
    acts.read(lo, min(lo + 4096, acts.n_tokens))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def hashes(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


@pytest.mark.slow
def test_killed_at_random_times_with_a_real_model(tmp_path):
    pytest.importorskip("antiberty", reason="the weights come from the wheel of antiberty")

    def run(folder):
        return subprocess.Popen([sys.executable, "-c", EXTRACT, str(folder)], env=ENVIRONMENT)

    began = time.monotonic()
    assert run(tmp_path / "whole").wait() == 0
    whole = time.monotonic() - began
    expected = hashes(tmp_path / "whole")
    rng = random.Random(0)
    for trial in range(3):
        folder, kills = tmp_path / f"x{trial}", 0
        while kills < 4:
            process = run(folder)
            time.sleep(whole * rng.uniform(0.3, 0.95))
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        assert run(folder).wait() == 0
        assert hashes(folder) == expected


# A shard is what memory holds: the few sequences of the sample fill more than one.
SIZES = [
    pytest.param(100, 4096, id="small-shards"),
    pytest.param(800, 65536, id="default-shards", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("n", "shard_tokens"), SIZES)
def test_ten_times_the_sequences_raise_peak_memory_by_under_a_tenth(tmp_path, n, shard_tokens):
    peaks = []
    for number in (n, 10 * n):
        command = [sys.executable, "-c", PEAK, str(tmp_path / str(number)), str(number), str(shard_tokens)]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]))
    print(f"peak memory {peaks[0] / 1024:.0f} MiB, with ten times the sequences {peaks[1] / 1024:.0f} MiB")
    assert peaks[1] < 1.1 * peaks[0]
