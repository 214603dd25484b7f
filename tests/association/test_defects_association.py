"""One test for each defect of earlier work that concerns association: the wrong answer, and ours."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import hypergeom

from sciinterp.annotations import Annotations
from sciinterp.association import associate, count_overlaps, domain_adjusted_f1, precision_recall
from sciinterp.association.statistics import ScreenSettings, screen
from sciinterp.codes import FeatureMatrix
from sciinterp.samples import Samples, Split
from sciinterp.splits import split_families

LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))


def make(n_families, members, length, n_features, rows, cells, sequences=None, seed=0):
    """A world from (sample, start, end, concept) rows and (position, feature, value) cells."""
    n = n_families * members
    ids = [f"s{i}" for i in range(n)]
    table = pd.DataFrame({"family": np.repeat([f"f{i:03d}" for i in range(n_families)], members)})
    samples = Samples(ids, sequences or ["A" * length] * n, table=table)
    row, column, value = (np.array(x) for x in zip(*cells))
    codes = sp.csr_array((value.astype(np.float32), (row, column)), shape=(n * length, n_features))
    frame = pd.DataFrame(
        [(ids[s], a, b, c) for s, a, b, c in rows], columns=["sample", "start", "end", "concept"]
    )
    return FeatureMatrix(codes, samples), Annotations(frame), split_families(samples, by="family", seed=seed)


def test_defect_02_thresholds_apply_to_scaled_activations():
    rng = np.random.default_rng(0)
    rows, cells = [], []
    for s in range(24):
        rows.append((s, 5, 10, "site"))
        cells += [(s * 30 + p, 0, 100.0) for p in range(5, 10)]
        cells += [
            (s * 30 + p, 0, 30.0 * rng.random()) for p in range(15, 30)
        ]  # weak noise, all above 0.8 unscaled
    features, annotations, split = make(12, 2, 30, 1, rows, cells)
    raw = count_overlaps(
        features.codes, annotations.positives(features.samples), thresholds=np.float32([0.8])
    )
    assert raw.tp[0, 0, 0] / raw.predicted[0, 0] < 0.3
    found = domain_adjusted_f1(features, annotations, split=split).iloc[0]
    assert found["f1"] == 1
    assert found["threshold"] >= 0.5
    scaled = FeatureMatrix(features.codes * np.float32(1e-3), features.samples)
    pd.testing.assert_frame_equal(
        domain_adjusted_f1(scaled, annotations, split=split), found.to_frame().T, check_dtype=False
    )


def test_defect_03_the_threshold_is_chosen_on_training_families_alone():
    rng = np.random.default_rng(1)
    n, length = 80, 50
    rows = [(s, int(a), int(a) + 3, "site") for s in range(n) for a in rng.integers(0, 47, 1)]
    cells = [
        (p, j, rng.random() + 0.1) for j in range(300) for p in rng.choice(n * length, 80, replace=False)
    ]
    features, annotations, split = make(40, 2, length, 300, rows, cells)
    hit = associate(features, annotations, split=split)
    hit = hit[hit["selected"]].iloc[0]
    in_test = np.isin(features.samples.position_sample(), split.test)
    truth = annotations.positives(features.samples)[in_test]
    best_on_test = precision_recall(features.codes[in_test], truth).best_f1.max()
    # the winner of 300 null features looks like something where it was chosen, be that the test families
    assert hit["f1_train"] > hit["f1"] + 0.03
    assert best_on_test > hit["f1"] + 0.05
    assert hit["delta_low"] <= 0


def test_defect_04_overlapping_spans_and_tandem_repeats_all_count():
    rows = [
        (s, a, b, "repeat")
        for s in range(9)
        for a, b in [(2, 6), (4, 9), (12, 15), (15, 18), (20, 30), (22, 24)]
    ]
    cells = [(s * 40 + p, 0, 1.0) for s in range(9) for p in [*range(2, 9), *range(12, 18), *range(20, 30)]]
    features, annotations, split = make(9, 1, 40, 1, rows, cells)
    positives = annotations.positives(features.samples)
    instances = annotations.instances(features.samples)
    counts = count_overlaps(features.codes, positives, thresholds=np.float32([0]), instances=instances)
    assert annotations.position_names == ["repeat"]
    assert counts.n_instances[0] == counts.instances_hit[0, 0, 0] == 9 * 6  # a perfect feature has recall 1
    assert counts.tp[0, 0, 0] == counts.n_positive[0] == counts.predicted[0, 0] == 9 * 23
    assert domain_adjusted_f1(features, annotations, split=split)["f1"].tolist() == [1.0]


def test_defect_05_false_positives_count_in_samples_without_the_concept():
    rows = [(s, 0, 40, "domain") for s in range(0, 100, 10)]
    cells = [(p, 0, 1.0) for p in range(100 * 40)]
    features, annotations, split = make(50, 2, 40, 1, rows, cells)
    positives = annotations.positives(features.samples)
    counts = count_overlaps(features.codes, positives, thresholds=np.float32([0]))
    carrying = np.isin(features.samples.position_sample(), np.arange(0, 100, 10))
    assert counts.tp[0, 0, 0] / carrying.sum() == 1.0  # what counting inside carriers alone would say
    assert counts.tp[0, 0, 0] / counts.predicted[0, 0] == pytest.approx(0.10)
    hit = associate(features, annotations, split=split).iloc[0]
    assert hit["precision"] == pytest.approx(hit["prevalence"])
    assert hit["lift"] == pytest.approx(1.0)
    assert not hit["delta_low"] > 0


def null_world(seed, n_families=12, members=10, length=60):
    """Concept and feature are smooth spans drawn independently, each shared by the members of a family."""
    rng = np.random.default_rng(seed)
    carried = rng.permutation(n_families) < n_families // 2
    start, where = rng.integers(0, length - 15, n_families), rng.integers(0, length - 15, n_families)
    truth = np.zeros((n_families * members, length), bool)
    codes = np.zeros((n_families * members, length), np.float32)
    for s in range(n_families * members):
        f = s // members
        if carried[f]:
            truth[s, start[f] : start[f] + 15] = True
        codes[s, where[f] : where[f] + 15] = rng.lognormal(0.0, 0.1, 15) * (1 + (f * 7919 + seed) % 5)
    family = np.repeat(np.arange(n_families), members)
    samples = Samples([f"s{i}" for i in range(len(truth))], ["A" * length] * len(truth))
    split = Split(np.arange(0), np.arange(0), np.arange(0), family, tuple(map(str, range(n_families))))
    return FeatureMatrix(sp.csr_array(codes.reshape(-1, 1)), samples), truth.reshape(-1, 1), split


def test_defect_06_homologs_are_one_observation():
    by_position, by_family = [], []
    for seed in range(100):
        features, truth, split = null_world(seed)
        on = features.codes.toarray()[:, 0] > 0
        p = hypergeom.sf((on & truth[:, 0]).sum() - 1, len(on), truth.sum(), on.sum())
        by_position.append(min(p, 1 - p) < 0.025)
        covered = np.ones((len(features.samples), 1), bool)
        found = screen(
            features,
            sp.csr_array(truth),
            covered,
            split,
            settings=ScreenSettings(n_permutations=99),
            seed=seed,
        )
        by_family.append(found.p[0, 0] <= 0.05)
    assert np.mean(by_position) > 0.8
    assert np.mean(by_family) <= 0.075


def lysines(seed=0, n_families=40, members=3, length=80):
    rng = np.random.default_rng(seed)
    sequences, rows, cells = [], [], []
    for f in range(n_families):
        template = rng.choice(LETTERS, length)
        for m in range(members):
            s = f * members + m
            letters = np.where(rng.random(length) < 0.2, rng.choice(LETTERS, length), template)
            sequences.append("".join(letters))
            for p in np.flatnonzero(letters == "K"):
                cells.append((s * length + p, 0, 1.0))
                if rng.random() < 0.4:
                    rows.append((s, p, p + 1, "succinylation"))
    return make(n_families, members, length, 1, rows, cells, sequences)


def test_defect_07_a_lysine_detector_is_not_enriched_against_lysines():
    features, annotations, split = lysines()
    hit = associate(features, annotations, split=split).iloc[0]
    assert hit["lift"] > 12
    assert hit["lift_letter"] == pytest.approx(1.0, abs=0.02)
    assert hit["best_baseline"] == "identity"
    assert hit["explained_by"] == "letters"
    assert hit["delta_f1"] <= 0


def test_defect_08_position_is_named_and_cutting_both_ends_takes_it_away():
    rng = np.random.default_rng(0)

    def world(cut):
        n_families, members, length = 40, 2, 100
        lengths, rows, cells, sequences, offset = [], [], [], [], 0
        for s in range(n_families * members):
            a, b = (rng.integers(0, 26, 2)) if cut else (0, 0)
            n = length - a - b
            begin, end = max(0, 30 - a), max(0, 45 - a)
            rows.append((f"s{s}", begin, end, "FR2"))
            cells += [
                (offset + p, 0, 1.0) for p in range(30, 45) if p < n
            ]  # counts from residue 1, whatever is there
            sequences.append("".join(rng.choice(LETTERS, n)))
            lengths.append(n)
            offset += n
        table = pd.DataFrame({"family": np.repeat([f"f{i}" for i in range(n_families)], members)})
        samples = Samples([f"s{i}" for i in range(len(sequences))], sequences, table=table)
        row, column, value = (np.array(x) for x in zip(*cells))
        codes = sp.csr_array((value.astype(np.float32), (row, column)), shape=(offset, 1))
        frame = pd.DataFrame(rows, columns=["sample", "start", "end", "concept"])
        split = split_families(samples, by="family", seed=0)
        return associate(FeatureMatrix(codes, samples), Annotations(frame), split=split).iloc[0]

    whole, cut = world(cut=False), world(cut=True)
    assert whole["f1"] > 0.9
    assert whole["explained_by"] == "position"
    assert whole["lift_position"] == pytest.approx(1.0, abs=0.02)
    assert cut["f1"] < 0.6
    assert cut["explained_by"] == "position"
