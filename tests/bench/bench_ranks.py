"""Two ranks of one thread beside one: seconds of extract, encode and training steps, and the tokens a second of each.

    python tests/bench/bench_ranks.py [--chains 200] [--steps 8]

AntiBERTy's real weights on embedded antibodies; an SAE of 512 x 10,240; training at batch 4,096 on rows of that model. The
efficiency is seconds of one rank over seconds of two. Load on the machine is printed, because a busy one has no second
core to give.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import sciinterp as si
from sciinterp import distributed
from sciinterp.activations import ExtractSettings
from sciinterp.sae.base import TopKSAE

DATA = Path(__file__).parents[2] / "data"
WIDTH, K, BATCH = 10_240, 32, 4096


def worker(folder: Path, chains: int, steps: int) -> None:
    """What each rank does; the first prints the seconds."""
    torch.set_num_threads(1)
    distributed.begin()
    model = si.load_model("antiberty")
    samples = si.read_samples(DATA / "antibodies.fasta", table=DATA / "antibodies.tsv")[:chains]
    seconds = {}

    def timed(name: str, tokens: int, do) -> object:
        distributed.meet()
        started = time.perf_counter()
        found = do()
        distributed.meet()
        seconds[name] = (time.perf_counter() - started, tokens)
        return found

    settings = ExtractSettings(shard_tokens=max(1, samples.n_positions // 16))
    acts = timed(
        "extract",
        samples.n_positions,
        lambda: si.extract(model, samples, site="layers.4", out=folder / "activations", settings=settings),
    )
    directions = torch.nn.functional.normalize(
        torch.randn(WIDTH, 512, generator=torch.Generator().manual_seed(0)), dim=1
    )
    sae = TopKSAE(directions.T, torch.zeros(WIDTH), directions, torch.zeros(512), k=K)
    sae.origin = acts.origin
    from sciinterp.codes import saving

    saving.SHARD_POSITIONS = settings.shard_tokens
    timed("encode", acts.n_tokens, lambda: si.encode(sae, acts, out=folder / "features"))
    how = {"batch_size": BATCH, "seed": 0, "screen": "off"}
    si.train(acts, si.TopK(WIDTH, k=K), steps=1, **how)  # what is compiled and measured at the end, once
    # Two lengths: their difference is steps alone.
    timed("short", 0, lambda: si.train(acts, si.TopK(WIDTH, k=K), steps=2, **how))
    timed("long", 0, lambda: si.train(acts, si.TopK(WIDTH, k=K), steps=2 + steps, **how))
    seconds["train"] = (seconds.pop("long")[0] - seconds.pop("short")[0], steps * BATCH)
    if distributed.first():
        print(json.dumps(seconds))
    distributed.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=200)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--worker", type=Path)
    given = parser.parse_args()
    if given.worker:
        worker(given.worker, given.chains, given.steps)
        return
    found = {}
    for ranks in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            options = ["--worker", folder, "--chains", str(given.chains), "--steps", str(given.steps)]
            start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
            done = subprocess.run(
                [*start, str(ranks), __file__, *options],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        found[ranks] = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    print(f"{'':10}{'1 rank, s':>12}{'2 ranks, s':>12}{'times':>8}{'tokens/s, 1':>14}{'tokens/s, 2':>14}")
    for name, (one, tokens) in found[1].items():
        two = found[2][name][0]
        print(f"{name:10}{one:12.2f}{two:12.2f}{one / two:8.2f}{tokens / one:14,.0f}{tokens / two:14,.0f}")


if __name__ == "__main__":
    main()
