"""What comes by blocks is what comes at once, and memory does not grow with the codes."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sciinterp
from sciinterp.annotations import Annotations
from sciinterp.association import (
    AssociationSettings,
    associate,
    compare_shifts,
    domain_adjusted_f1,
    enrichment,
    features_anndata,
    samples_anndata,
)
from sciinterp.association.h5ad import write_features, write_samples
from sciinterp.association.measure import Judge, choose, measured, train_pairs
from sciinterp.association.partitions import partition
from sciinterp.association.presence import family_activity
from sciinterp.association.statistics import ScreenSettings, screen
from sciinterp.codes import FeatureMatrix, load_features
from sciinterp.samples import Samples, Split
from sciinterp.splits import split_families
from sciinterp.store.atomic import TEMPORARY_PREFIX

ROOT = Path(__file__).resolve().parents[2]
READERS = ("blocks", "presence", "measure", "published_scores", "enrichment", "h5ad", "shift_test")


def world(seed=0, n=60, length=40, n_features=30):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"family": [f"f{i // 3}" for i in range(n)]})
    sequences = ["".join(rng.choice(list("ACDEFGHIKL"), length)) for _ in range(n)]
    samples = Samples([f"s{i}" for i in range(n)], sequences, table=table)
    dense = rng.exponential(size=(n * length, n_features)) * (rng.random((n * length, n_features)) < 0.1)
    rows = [
        (f"s{i}", int(a), int(a) + 4, f"c{i % 3}") for i in range(n) for a in rng.integers(0, length - 4, 2)
    ]
    rows += [(f"s{i}", -1, -1, "fact") for i in range(n) if (i // 3) % 2]
    annotations = Annotations(pd.DataFrame(rows, columns=["sample", "start", "end", "concept"]))
    codes = FeatureMatrix(sp.csr_array(dense.astype(np.float32)), samples)
    return codes, annotations, split_families(samples, by="family", seed=0), rng


def everything_of(features, annotations, split, acts):
    """All that association reads of codes."""
    hits = associate(
        features,
        annotations,
        split=split,
        acts=acts,
        control=features,
        settings=AssociationSettings(strongest=None),
    )
    names = annotations.position_names
    positives = annotations.positives(features.samples, names)
    pairs = {"feature": np.array([29, 3, 3]), "concept": np.array([0, 1, 2])}
    return {
        "hits": pd.DataFrame(hits),
        "baselines": hits.context["baselines"],
        "sets": hits.context["sets"],
        "published": domain_adjusted_f1(features, annotations, split=split),
        "facts": enrichment(features, annotations, split=split),
        "shifts": compare_shifts(features, positives, split.family, **pairs),
        "activity": pd.DataFrame(family_activity(features, split.family, 20)),
        "samples": pd.DataFrame(samples_anndata(features).X.toarray()),
    }


@pytest.fixture(scope="module")
def at_once():
    """A small world and its activations, and all that is read of them at once."""
    features, annotations, split, rng = world(n=36, length=16)
    acts = rng.normal(size=(features.n_positions, 6)).astype(np.float32)
    return features, annotations, split, acts, everything_of(features, annotations, split, acts)


@pytest.mark.parametrize("n_values", [1, 50, 250])
def test_blocks_of_any_size_give_the_same(n_values, at_once, monkeypatch):
    features, annotations, split, acts, whole = at_once
    for name in READERS:
        monkeypatch.setattr(
            sys.modules[f"sciinterp.association.{name}"], "BLOCK_VALUES", n_values, raising=False
        )
    monkeypatch.setattr("sciinterp.association.dense_baselines._CHUNK_VALUES", 6 * n_values)
    monkeypatch.setattr("sciinterp.budget.BLOCK_BYTES", 200 * n_values)
    monkeypatch.setattr("sciinterp.association.sets.BLOCK_VALUES", n_values)
    monkeypatch.setattr("sciinterp.association.sets.BLOCK_SCORES", n_values)
    for name, table in everything_of(features, annotations, split, acts).items():
        pd.testing.assert_frame_equal(table, whole[name], rtol=1e-6, obj=name)


def test_no_reader_asks_for_all_codes(monkeypatch):
    """Neither the matrix itself nor all features at once: a matrix on disk has to do."""
    features, annotations, split, _ = world()
    for name in READERS:
        monkeypatch.setattr(sys.modules[f"sciinterp.association.{name}"], "BLOCK_VALUES", 500, raising=False)
    asked, by_feature = [], features.by_feature

    def spied(low=0, high=None):
        asked.append((low, features.n_features if high is None else high))
        return by_feature(low, high)

    monkeypatch.setattr(features, "by_feature", spied)
    everything_of(features, annotations, split, None)
    assert asked
    assert max(high - low for low, high in asked) < features.n_features
    source = (p.read_text() for p in (Path(sciinterp.__file__).parent / "association").glob("*.py"))
    assert not [line for text in source for line in text.splitlines() if "features.codes" in line]


def peak_of_tests_and_choice(folder, n_positions, monkeypatch, block):
    """Bytes held at most by the tests of all pairs, the choice in training and what is measured, of codes on disk."""
    monkeypatch.setattr("sciinterp.codes.saving.SHARD_POSITIONS", 500)
    monkeypatch.setattr("sciinterp.store.codes_reader.KEPT", 0)
    monkeypatch.setattr("sciinterp.budget.BLOCK_BYTES", 32 * block)
    monkeypatch.setattr("sciinterp.association.blocks.LEAST_VALUES", block)
    for name, module in list(sys.modules.items()):  # each holds what it has imported, whatever ran before
        if name.startswith("sciinterp") and hasattr(module, "BLOCK_VALUES"):
            monkeypatch.setattr(module, "BLOCK_VALUES", block)
    rng, n, n_features, n_concepts = np.random.default_rng(0), n_positions // 25, 1500, 60
    samples = Samples([f"s{i}" for i in range(n)], lengths=[25] * n)
    row = np.repeat(np.arange(n_positions), 32)
    feature = rng.integers(0, n_features, len(row))
    codes = sp.coo_array((1 + rng.random(len(row), np.float32), (row, feature)), (n_positions, n_features))
    FeatureMatrix(codes.tocsr(), samples).save(folder)
    del codes, row, feature
    features, covered = load_features(folder), np.ones((n, n_concepts), bool)
    positives = sp.random_array((n_positions, n_concepts), density=0.01, rng=rng, format="csr").astype(bool)
    train, none, test = np.split(np.arange(n), [n // 2, n // 2])
    split = Split(train, none, test, np.arange(n) % 16, tuple(f"f{i}" for i in range(16)))
    tracemalloc.start()
    tested = screen(features, positives, covered, split, settings=ScreenSettings(n_permutations=99))
    parts = partition(samples, positives, covered, split)[0]
    training = train_pairs(features, parts)
    pairs = choose(training, parts.train.by_position.n_positive, n_kept=20)
    judge = Judge.of(
        training,
        parts,
        pairs,
        pd.DataFrame({"concept": [], "start": [], "end": [], "sample": []}, dtype=np.int64),
    )
    assert sum(len(table) for table, _ in measured(features, [judge], pairs)) == len(pairs)
    assert np.isfinite(tested.p).any()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_what_is_held_does_not_grow_with_positions(tmp_path, monkeypatch):
    """Ten times the positions, of as many features, concepts and families, and a budget that both fill: at most 15% more.

    All codes at once would be more than that: with a budget that holds them, it is.
    """
    peak_of_tests_and_choice(
        tmp_path / "compiled", 1_000, monkeypatch, 1 << 12
    )  # what compiling takes is not counted
    few, many, at_once = (
        peak_of_tests_and_choice(tmp_path / f"{n}-{block}", n, monkeypatch, block)
        for n, block in ((1_000, 1 << 12), (10_000, 1 << 12), (10_000, 1 << 20))
    )
    assert many < 1.15 * few < at_once, (few, many, at_once)


@pytest.mark.bench
def test_memory_does_not_grow_with_the_codes():
    """Ten times the positions and codes: associate holds little more, in the process it runs in."""
    bench = ROOT / "tests" / "bench" / "bench_codes.py"
    size = "--positions 10000 100000 --features 64 --concepts 4 --codes 32 --verbs associate --together"
    done = subprocess.run(
        [sys.executable, str(bench), *size.split()], capture_output=True, text=True, check=True, cwd=ROOT
    )
    small, large = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert (small["positions"], large["positions"]) == (10_000, 100_000)
    assert small["rows"] and large["rows"]
    assert large["peak_mb"] < 1.15 * small["peak_mb"] + 30, (small, large)


def test_statistics_are_written_one_at_a_time(tmp_path):
    """The file holds every layer that the object does."""
    features, annotations, split, _ = world()
    hits = associate(features, annotations, split=split, settings=AssociationSettings(strongest=None))
    write_features(features, hits, tmp_path / "features.h5ad")
    wanted, found = features_anndata(features, hits), anndata.read_h5ad(tmp_path / "features.h5ad")
    assert {"q", "f1_low", "precision"} <= set(wanted.layers) == set(found.layers)
    np.testing.assert_array_equal(found.X, wanted.X)
    for name, layer in wanted.layers.items():
        np.testing.assert_array_equal(found.layers[name], layer)
    assert np.isfinite(found.X).any() and np.isfinite(found.layers["precision"]).any()
    pd.testing.assert_frame_equal(found.obs, wanted.obs, check_dtype=False, check_categorical=False)
    assert set(found.uns["sciinterp"]) == set(wanted.uns["sciinterp"])


def test_samples_are_written_some_at_a_time(tmp_path, monkeypatch):
    """The file of many blocks holds what the object does, and is read as any other."""
    features, _, _, _ = world()
    blocks = FeatureMatrix.sample_blocks
    monkeypatch.setattr(FeatureMatrix, "sample_blocks", lambda self: blocks(self, 130))
    largest, left = FeatureMatrix.max_of_samples, set()

    def seen(self):
        for some in largest(self):
            left.update(path.name for path in tmp_path.iterdir())
            yield some

    monkeypatch.setattr(FeatureMatrix, "max_of_samples", seen)
    write_samples(features, None, tmp_path / "samples.h5ad")
    # Killed here it would leave what the next writer removes.
    assert len(left) == 1 and all(name.startswith(TEMPORARY_PREFIX) for name in left)
    wanted, found = samples_anndata(features), anndata.read_h5ad(tmp_path / "samples.h5ad")
    assert len(list(features.max_of_samples())) == 20
    pd.testing.assert_frame_equal(found.obs, wanted.obs, check_dtype=False, check_categorical=False)
    np.testing.assert_array_equal(found.X.toarray(), wanted.X.toarray())
    assert found.X.dtype == wanted.X.dtype
