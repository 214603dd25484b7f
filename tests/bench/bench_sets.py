"""Sets of features at scale: 433 concepts, 10,240 features, 1,000,000 positions, in under 5 minutes and 3 GB.

    python tests/bench/bench_sets.py [--positions 1000000] [--draws 19]

32 codes and 1.35 concepts a position, 400 families, three quarters of them in training. Seconds are of the processor, of
weighted and or-sets of features and of a control as large; choosing single features, which `associate` does before, and
what sets reach by chance (``--draws``) are given apart. Measured beside other work with version 0.4.0: sets 39 seconds,
single features 17, a rotation of the 19 by chance 4.3 each; 2.5 GB, of which 1.2 are the codes that were made.
"""

from __future__ import annotations

import argparse
import os
import resource
import time

import numpy as np
import pandas as pd
import pytest
from bench_association import N_CONCEPTS, make

import sciinterp as si
from sciinterp.association.fitting import Inputs
from sciinterp.association.measure import train_pairs
from sciinterp.association.partitions import partition
from sciinterp.association.set_chance import chance_draws
from sciinterp.association.sets import KS, set_curves

LENGTH, FAMILIES = 500, 400
SECONDS, GIGABYTES = 300.0, 3.0


def measure(n_positions: int, draws: int) -> dict[str, float]:
    """Seconds of the processor, and the peak of memory in GB."""
    codes, positives, _ = make(n_positions)
    n_samples = n_positions // LENGTH
    family = np.arange(n_samples) % FAMILIES
    table = pd.DataFrame({"family": [f"f{i}" for i in family]})
    samples = si.Samples([f"s{i}" for i in range(n_samples)], ["A" * LENGTH] * n_samples, table=table)
    split = si.split_families(samples, by="family", seed=0)
    features = si.FeatureMatrix(codes, samples)
    control = si.FeatureMatrix(make(n_positions, seed=1)[0], samples)
    covered = np.ones((n_samples, N_CONCEPTS), bool)
    parts = partition(samples, positives, covered, split)[0]
    found: dict[str, float] = {"before": peak()}
    training = timed(found, "single features", lambda: train_pairs(features, parts))
    inputs = Inputs(samples, parts, control=control, training=training)
    sets = timed(found, "sets", lambda: pd.concat([draw() for draw in set_curves(inputs)]))
    assert len(sets) == N_CONCEPTS * len(KS) * 3
    found["GB"] = peak()
    if draws:
        timed(found, "chance", lambda: [draw() for draw in chance_draws(inputs, ks=KS, draws=draws)])
        found["GB with chance"] = peak()
    return found


def timed(found: dict[str, float], name: str, call):
    start = time.process_time()
    out = call()
    found[name] = time.process_time() - start
    return out


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


@pytest.mark.bench
def test_sets_at_scale() -> None:
    found = measure(1_000_000, 0)
    assert found["sets"] < SECONDS and found["GB"] < GIGABYTES


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--positions", type=int, default=1_000_000)
    parser.add_argument("--draws", type=int, default=0)
    given = parser.parse_args()
    for name, value in measure(given.positions, given.draws).items():
        print(f"{name}: {value:.2f}")
    print(f"load {os.getloadavg()[0]:.1f}")
