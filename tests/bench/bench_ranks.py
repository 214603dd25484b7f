"""Two ranks of one thread beside one: seconds of extract, encode, associate and training steps, and tokens a second of each.

    python tests/bench/bench_ranks.py [--chains 200] [--steps 8] [--only extract encode associate train]

AntiBERTy's real weights on embedded antibodies; an SAE of 512 x 10,240; training at batch 4,096 on rows of that model;
association of 1,024 features with the embedded annotations and every baseline. The efficiency is seconds of one rank over
seconds of two: of a verb alone, since interpreter, imports, compilation and the model's loading come before it, on a few
chains, in each rank; association is done three times, from its files on, and the least time counts: memory that a
process touches for the first time costs a virtual machine more than what is done there. Load on the machine is printed, because a busy one has no second core to give; beside it stands the
bound that processor seconds set, those of one rank over those of the rank of two that used more, which load changes little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

import sciinterp as si
from sciinterp import distributed
from sciinterp.activations import ExtractSettings
from sciinterp.codes import saving
from sciinterp.models.engine import capture
from sciinterp.sae.base import TopKSAE

DATA = Path(__file__).parents[2] / "data"
WIDTH, FEW, K, BATCH = 10_240, 1024, 32, 4096
WARM = 30  # chains of what is done once before a time is taken
T = TypeVar("T")
WHAT = ("extract", "encode", "associate", "train")


def worker(folder: Path, chains: int, steps: int, only: list[str]) -> None:
    """What each rank does; the first prints the seconds."""
    torch.set_num_threads(1)
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[distributed.rank() % len(allowed)]})  # one thread: a rank, a processor
    distributed.begin()
    model = si.load_model("antiberty")
    samples = si.read_samples(DATA / "antibodies.fasta", table=DATA / "antibodies.tsv")[:chains]
    seconds = {}

    def timed(name: str, tokens: int, do: Callable[[], T]) -> T:
        distributed.meet()
        started, used = time.perf_counter(), time.process_time()
        found = do()
        used = time.process_time() - used
        distributed.meet()
        seconds[name] = (time.perf_counter() - started, max(distributed.gathered(used)), tokens)
        return found

    with distributed.alone():
        capture(model, ["layers.4"], model.encode([samples[i] for i in range(WARM)]))
    settings = ExtractSettings(shard_tokens=max(1, samples.n_positions // 16))
    acts = timed(
        "extract",
        samples.n_positions,
        lambda: si.extract(model, samples, site="layers.4", out=folder / "activations", settings=settings),
    )
    if "encode" in only:
        sae = random_sae(acts, WIDTH)
        saving.SHARD_POSITIONS = settings.shard_tokens
        sae.encode_scipy(acts.read(0, 64))  # what is compiled, or read from a cache, once
        timed("encode", acts.n_tokens, lambda: si.encode(sae, acts, out=folder / "features"))
    if "associate" in only:
        features = si.encode(random_sae(acts, FEW), acts, out=folder / "few")
        annotations = si.read_annotations(DATA / "antibodies.annotations.tsv")
        split = si.split_families(samples, by="family", seed=0)
        me = distributed.rank()
        with distributed.alone():  # compiled and imported here, on a few chains
            few = samples[:WARM]
            rows = acts.read(0, int(acts.token_offsets[WARM]))
            codes = si.encode(random_sae(acts, 64), rows, samples=few)
            of_few = si.split_families(few, by="family", seed=0)
            si.associate(codes, annotations, split=of_few, acts=rows, out=folder / f"few_{me}")
        times = []
        for number in range(3):
            stored = si.load_features(features.folder)
            read = {"split": split, "acts": si.load_activations(acts.folder), "out": folder / str(number)}
            timed(
                "associate",
                acts.n_tokens,
                lambda stored=stored, read=read: si.associate(stored, annotations, **read),
            )
            times.append(seconds["associate"])
        seconds["associate"] = min(times)
    if "train" in only:
        how = {"batch_size": BATCH, "seed": 0, "screen": "off"}
        si.train(acts, si.TopK(WIDTH, k=K), steps=1, **how)  # what is compiled and measured at the end, once
        # Two lengths: their difference is steps alone.
        timed("short", 0, lambda: si.train(acts, si.TopK(WIDTH, k=K), steps=2, **how))
        timed("long", 0, lambda: si.train(acts, si.TopK(WIDTH, k=K), steps=2 + steps, **how))
        long, short = seconds.pop("long"), seconds.pop("short")
        seconds["train"] = (long[0] - short[0], long[1] - short[1], steps * BATCH)
    if distributed.first():
        print(json.dumps(seconds))
    distributed.end()


def random_sae(acts: si.Activations, width: int) -> TopKSAE:
    """Random directions: what encoding and association cost does not depend on a training."""
    directions = torch.nn.functional.normalize(
        torch.randn(width, acts.d_in, generator=torch.Generator().manual_seed(0)), dim=1
    )
    sae = TopKSAE(directions.T, torch.zeros(width), directions, torch.zeros(acts.d_in), k=K)
    sae.origin = acts.origin
    return sae


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=200)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=WHAT, default=list(WHAT))
    parser.add_argument("--worker", type=Path)
    given = parser.parse_args()
    if given.worker:
        worker(given.worker, given.chains, given.steps, given.only)
        return
    found = {}
    for ranks in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            options = ["--worker", folder, "--chains", str(given.chains), "--steps", str(given.steps)]
            options += ["--only", *given.only]
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
    print(
        f"{'':10}{'1 rank, s':>12}{'2 ranks, s':>12}{'times':>8}{'by processor':>14}{'tokens/s, 1':>14}{'tokens/s, 2':>14}"
    )
    for name, (one, used, tokens) in found[1].items():
        two, most, _ = found[2][name]
        each = f"{tokens / one:14,.0f}{tokens / two:14,.0f}"
        print(f"{name:10}{one:12.2f}{two:12.2f}{one / two:8.2f}{used / most:14.2f}{each}")


if __name__ == "__main__":
    main()
