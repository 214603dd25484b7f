"""Counting beside a plain SciPy sparse product per threshold, in one interleaved run.

    python tests/bench/bench_association.py [--rounds 3] [--million] [--growth]

* one pass for all thresholds, with and without instances, and the threshold-free scores of every pair,
  against ``(codes > t).T @ positives`` once for each threshold, at 300,000 positions x 10,240 features x 433
  concepts x 5 thresholds, 32 codes and 1.35 positive concepts a position;
* ``--million``: threshold-free scores at 1,000,000 positions, seconds and peak memory;
* ``--growth``: seconds for 10,000 to 1,000,000 positions.

Ratios are ours over SciPy's, so below one is faster; the targets are 1.2, 2 and 4. Both sides use one thread,
so seconds of the processor are compared: they suffer less from other load, which is printed all the same.
SciPy's products are checked to give the same integers.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from sciinterp.association import count_overlaps, precision_recall

N_FEATURES, N_CONCEPTS, K, CONCEPTS_A_POSITION, SPAN = 10_240, 433, 32, 1.35, 20
THRESHOLDS = np.array([0, 0.25, 0.5, 1, 2], np.float32)
TARGETS = {"counts": 1.2, "counts with instances": 2.0, "threshold-free": 4.0}


def make(n: int, seed: int = 0) -> tuple[sp.csr_array, sp.csr_array, pd.DataFrame]:
    """Codes, positives and instances of `n` positions."""
    rng = np.random.default_rng(seed)
    feature = rng.integers(0, N_FEATURES, (n, K), dtype=np.int32)
    value = rng.exponential(size=n * K).astype(np.float32)
    codes = sp.csr_array((value, feature.ravel(), np.arange(n + 1) * K), shape=(n, N_FEATURES))
    codes.sum_duplicates()
    n_spans = int(n * CONCEPTS_A_POSITION / SPAN)
    start, concept = rng.integers(0, n - SPAN, n_spans), rng.integers(0, N_CONCEPTS, n_spans)
    row = (start[:, None] + np.arange(SPAN)).ravel()
    matrix = sp.csr_array((np.ones(len(row), bool), (row, np.repeat(concept, SPAN))), shape=(n, N_CONCEPTS))
    matrix.sum_duplicates()
    return codes, matrix, pd.DataFrame({"concept": concept, "start": start, "end": start + SPAN})


def scipy_products(codes: sp.csr_array, positives: sp.csr_array) -> list[sp.csr_array]:
    """True positives at each threshold, the plain way."""
    out = []
    for threshold in THRESHOLDS:
        on = sp.csr_array(
            ((codes.data > threshold).astype(np.int64), codes.indices, codes.indptr), codes.shape, copy=True
        )
        on.eliminate_zeros()
        out.append(on.T @ positives.astype(np.int64))
    return out


def seconds(call: Callable[[], object]) -> float:
    """Processor seconds of a call; everything here runs in one thread."""
    start = time.process_time()
    call()
    return time.process_time() - start


def compare(n: int, rounds: int) -> dict[str, float]:
    """Median ratio of each way of counting to SciPy's time, measured in turn."""
    codes, positives, instances = make(n)
    ways: dict[str, Callable[[], object]] = {
        "counts": lambda: count_overlaps(codes, positives, thresholds=THRESHOLDS),
        "counts with instances": lambda: count_overlaps(
            codes, positives, thresholds=THRESHOLDS, instances=instances
        ),
        "threshold-free": lambda: precision_recall(codes, positives),
    }
    small = make(1000)
    count_overlaps(small[0], small[1], thresholds=THRESHOLDS)
    count_overlaps(small[0], small[1], thresholds=THRESHOLDS, instances=small[2])
    precision_recall(small[0], small[1])
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        plain = seconds(lambda: scipy_products(codes, positives))
        line = f"scipy {plain:.2f} s"
        for name, call in ways.items():
            taken = seconds(call)
            ratios[name].append(taken / plain)
            line += f", {name} {taken:.2f} s ({taken / plain:.2f})"
        print(f"{line}; load {os.getloadavg()[0]:.1f}", flush=True)
    counts = count_overlaps(codes, positives, thresholds=THRESHOLDS)
    for t, product in enumerate(scipy_products(codes, positives)):
        np.testing.assert_array_equal(product.toarray(), counts.tp[:, :, t])
    return {name: statistics.median(values) for name, values in ratios.items()}


def peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def growth() -> list[tuple[int, float, float]]:
    """(stored values, seconds of counting, seconds of threshold-free scores) over a hundredfold range."""
    out = []
    for n in (10_000, 100_000, 1_000_000):
        codes, positives, instances = make(n)

        def count(c=codes, p=positives, i=instances):
            return count_overlaps(c, p, thresholds=THRESHOLDS, instances=i)

        def score(c=codes, p=positives):
            return precision_recall(c, p)

        out.append((codes.nnz, min(seconds(count), seconds(count)), min(seconds(score), seconds(score))))
        line = f"{n:,} positions, {codes.nnz:,} codes: counts with instances {out[-1][1]:.2f} s"
        print(f"{line}, threshold-free {out[-1][2]:.2f} s, peak {peak_gigabytes():.2f} GB", flush=True)
    return out


@pytest.mark.bench
def test_targets() -> None:
    found = compare(300_000, 3)
    assert peak_gigabytes() < 4
    assert {name: ratio for name, ratio in found.items() if ratio > TARGETS[name]} == {}


@pytest.mark.bench
def test_time_grows_in_proportion() -> None:
    (values, counting, scoring), (_, _, _), (more, later, last) = growth()
    assert later / counting < 2 * more / values
    assert last / scoring < 2 * more / values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--growth", action="store_true")
    chosen = parser.parse_args()
    if chosen.million:
        codes, positives, _ = make(1_000_000)
        start = time.perf_counter()
        taken = seconds(lambda: precision_recall(codes, positives))
        wall = time.perf_counter() - start
        print(
            f"1,000,000 positions: {taken:.1f} s of processor, {wall:.1f} s; peak {peak_gigabytes():.2f} GB"
        )
    elif chosen.growth:
        growth()
    else:
        print(compare(300_000, chosen.rounds), f"peak {peak_gigabytes():.2f} GB")


if __name__ == "__main__":
    main()
