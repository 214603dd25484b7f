"""Memory and time of ``associate`` on codes that are larger than memory.

    python tests/bench/bench_codes.py [--positions 2000000] [--features 10240] [--concepts 400] [--codes 32]

The codes are drawn anew whenever a block of features is asked for, as a store would read them, so that what is
measured is what ``associate`` itself holds: the peak above the process's memory just before the call, after a small
call has compiled every loop. A control of the same size is given, too. The bar at the whole size is 1.5 GB, and ten
times more positions may raise the peak by 15%. One line of JSON is printed; ``tests/association/test_blocks.py`` runs
the small end of it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.annotations import Annotations
from sciinterp.association import AssociationSettings, associate
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.by_feature import ByFeature
from sciinterp.samples import Samples
from sciinterp.splits import split_families

LENGTH, MEMBERS = 500, 5


class Drawn(FeatureMatrix):
    """Codes that are nowhere: feature ``j`` is drawn from its own seed whenever it is asked for."""

    def __init__(self, samples: Samples, n_features: int, per_position: float, seed: int) -> None:
        super().__init__(sp.csr_array((samples.n_positions, n_features), dtype=np.float32), samples)
        share = np.random.default_rng(seed).lognormal(0, 1, n_features)
        self.seed = seed
        self._stored = np.maximum(1, per_position * samples.n_positions * share / share.sum()).astype(int)

    @property
    def stored_per_feature(self) -> np.ndarray:  # type: ignore[override]
        return self._stored

    def by_feature(self, lo: int = 0, hi: int | None = None) -> ByFeature:
        hi = self.n_features if hi is None else hi
        rows = []
        for j in range(lo, hi):
            drawn = np.random.default_rng([self.seed, j]).integers(0, self.n_positions, self._stored[j])
            rows.append(np.unique(drawn).astype(np.int32))
        starts = np.cumsum([0, *map(len, rows)]).astype(np.int64)
        on = np.concatenate(rows) if rows else np.zeros(0, np.int32)
        values = (1 + on % 997 / 500).astype(np.float32)
        return ByFeature(values, on, starts, self.n_positions)


def world(n_positions: int, n_features: int, n_concepts: int, per_position: float):
    """Samples of five relatives each, one span of a concept every 25 positions, codes and their control."""
    rng = np.random.default_rng(0)
    n = max(40, n_positions // LENGTH)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    sequences = ["".join(row) for row in letters[rng.integers(0, 20, (n, LENGTH))]]
    table = pd.DataFrame({"family": [f"f{i // MEMBERS}" for i in range(n)]})
    samples = Samples([f"s{i}" for i in range(n)], sequences, table=table)
    n_spans = LENGTH // 25
    start = rng.integers(0, LENGTH - 30, n * n_spans)
    spans = pd.DataFrame(
        {
            "sample": np.repeat(samples.ids, n_spans),
            "start": start,
            "end": start + rng.integers(3, 30, len(start)),
            "concept": [f"c{i}" for i in rng.integers(0, n_concepts, len(start))],
        }
    )
    features, control = (Drawn(samples, n_features, per_position, seed) for seed in (1, 2))
    return features, Annotations(spans), split_families(samples, by="family", seed=0), control


def run(n_positions: int, n_features: int, n_concepts: int, per_position: float) -> dict[str, float]:
    """Seconds and megabytes of one call."""
    settings = AssociationSettings(n_boot=200)
    for size in ((20_000, 16, 4, 4.0), (n_positions, n_features, n_concepts, per_position)):
        features, annotations, split, control = world(*size)
        before, started = _reset_peak(), time.perf_counter()
        associate(features, annotations, split=split, control=control, settings=settings)
        seconds, peak = time.perf_counter() - started, _memory("VmHWM")
    return {"positions": n_positions, "seconds": round(seconds, 1), "peak_mb": round(peak - before, 1)}


def _reset_peak() -> float:
    """Forget the process's peak; returns what it holds now."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return _memory("VmRSS")


def _memory(key: str) -> float:
    def lines() -> Iterator[str]:
        with open("/proc/self/status") as file:
            yield from file

    return next(float(line.split()[1]) / 1024 for line in lines() if line.startswith(key))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name, value in (("positions", 2_000_000), ("features", 10_240), ("concepts", 400), ("codes", 32)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    print(json.dumps(run(given.positions, given.features, given.concepts, given.codes)))
