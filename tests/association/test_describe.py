"""Localisation, matched backgrounds, enrichment, and the scores of earlier work."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from sciinterp.annotations import Annotations
from sciinterp.association import (
    domain_adjusted_f1,
    enrich_genes,
    enrich_sets,
    enrichment,
    family_f1,
)
from sciinterp.association.background import expected, stratified
from sciinterp.association.dense_scores import best_thresholds, count_scores
from sciinterp.association.partitions import make_part
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.by_feature import by_feature
from sciinterp.discovery.planted import PlantedSettings, plant
from sciinterp.errors import InputError, ShapeError
from sciinterp.samples import Samples, Split


@pytest.fixture(scope="module")
def world():
    return plant(1, PlantedSettings(n_families=60, n_seeds=0, hide=False, n_features=96))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_a_background_expects_is_summed_within_strata(seed):
    rng = np.random.default_rng(seed)
    n = 200
    samples = Samples(["a", "b"], ["A" * 120, "C" * 80])
    codes, truth = (rng.random((n, 2)) < 0.3).astype(np.float32), rng.random((n, 1)) < 0.2
    stratum = rng.integers(0, 4, n)
    split = Split(np.array([], int), np.array([], int), np.array([0, 1]), np.array([0, 1]), ("x", "y"))
    part = make_part(samples, sp.csr_array(truth), split, split.test)
    got = expected(
        by_feature(sp.csr_array(codes)),
        stratified(part, stratum),
        np.array([0, 1]),
        np.array([0, 0]),
        np.zeros(2, np.float32),
    )
    for j in range(2):
        on = codes[:, j] > 0
        by_hand = [
            truth[stratum == s, 0].sum() * on[stratum == s].mean() for s in range(4) if (stratum == s).any()
        ]
        assert got[j] == pytest.approx(sum(by_hand))


def test_enrichment_of_sets_is_hypergeometric_against_its_background():
    rng = np.random.default_rng(0)
    members, sets = rng.random((400, 5)) < 0.1, rng.random((400, 7)) < 0.2
    members[:40, 0] = sets[:40, 3] = True
    background = rng.random(400) < 0.8
    found = enrich_sets(sp.csr_array(members), sp.csr_array(sets), background=background)
    for row in found.itertuples():
        a, b = members[background, row.feature], sets[background, int(row.set)]
        assert row.overlap == (a & b).sum()
        assert row.p == pytest.approx(hypergeom.sf(row.overlap - 1, background.sum(), b.sum(), a.sum()))
    assert (found.iloc[0]["feature"], found.iloc[0]["set"]) == (0, "3")
    assert found.iloc[0]["q"] < 0.01
    assert (found["q"].iloc[1:] > 0.01).all()
    with pytest.raises(ShapeError):
        enrich_sets(sp.csr_array(members), sp.csr_array(sets[:10]))


def test_genes_of_a_feature_are_compared_with_the_genes_that_cells_express():
    rng = np.random.default_rng(0)
    genes = [f"g{i}" for i in range(300)]
    cells, codes = [], []
    for _ in range(60):
        mine = rng.permutation(300)[:120]
        cells.append({"genes": [genes[j] for j in mine], "values": [1.0] * 120})
        codes.append(np.c_[np.where(mine < 40, rng.random(120), 0), (rng.random(120) < 0.1)])
    samples = Samples([f"c{i}" for i in range(60)], cells, lengths=[120] * 60, kind="cells")
    features = FeatureMatrix(sp.csr_array(np.concatenate(codes).astype(np.float32)), samples)
    sets = {"first": genes[:40], "unseen": ["x1", "x2", "x3"], "others": genes[100:200]}
    found = enrich_genes(features, sets, top=40)
    best = found[found["feature"] == 0].iloc[0]
    assert (best["set"], best["overlap"], best["n_feature"], best["n_background"]) == ("first", 40, 40, 300)
    assert best["p"] == pytest.approx(hypergeom.sf(39, 300, 40, 40))
    assert (found[found["feature"] == 1]["q"] > 0.01).all()
    assert "unseen" not in set(found["set"])
    assert (enrich_genes(features, sets, top=10)["n_feature"] <= 10).all()
    with pytest.raises(InputError, match="not named genes"):
        enrich_genes(FeatureMatrix(features.codes[:3], Samples(["a"], ["MKV"])), sets)


def test_facts_about_samples_are_tested_on_families(world):
    samples = world.features.samples
    reader, families = next(
        (r[0], f) for name, r in world.readers.items() if 8 < len(f := carriers(world, name)) < 45
    )
    carried = np.isin(world.split.family, families)
    fact = pd.DataFrame({"sample": np.array(samples.ids)[carried], "start": -1, "end": -1, "concept": "fact"})
    rest = pd.DataFrame({"sample": list(samples.ids), "start": -1, "end": -1, "concept": "alive"})
    found = enrichment(world.features, Annotations(pd.concat([fact, rest])), split=world.split)
    assert reader in set(found[(found["concept"] == "fact") & (found["q"] < 0.05)]["feature"])
    alive = found[found["concept"] == "alive"]
    assert alive["test"].tolist() == ["universal"]
    scores = family_f1(world.features, Annotations(fact), split=world.split)
    largest = world.features.max_per_sample().toarray()[world.split.test, scores["feature"][0]]
    on, truth = largest > np.float32(scores["threshold"][0]), carried[world.split.test]
    assert scores["f1"][0] == pytest.approx(2 * (on & truth).sum() / (on.sum() + truth.sum()))
    assert scores["n_positive"][0] == truth.sum()
    assert scores["auroc"][0] > 0.5


def carriers(world, name):
    mine = world.instances[world.instances["concept"].str.endswith(name)]
    number = pd.Index(world.features.samples.ids).get_indexer(pd.Index(mine["sample"]))
    family = world.split.family
    share = np.bincount(family[np.unique(number)], minlength=len(world.split.family_names)) / np.bincount(
        family
    )
    return np.flatnonzero(share >= 0.5)


def test_domain_adjusted_f1_by_hand(world):
    table = domain_adjusted_f1(world.features, world.annotations, split=world.split).set_index("concept")
    samples, split = world.features.samples, world.split
    position = samples.position_sample()
    for concept in table.index[:4]:
        row = table.loc[concept]
        column = world.features.column(int(row["feature"]))
        scale = column[np.isin(position, split.train)].max()
        on = column > np.float32(row["threshold"]) * scale
        test = np.isin(position, split.test)
        truth = world.annotations.positives(samples, [concept]).toarray()[:, 0]
        mine = world.annotations.instances(samples, [concept])
        mine = mine[np.isin(mine["sample"], split.test)]
        precision = (on & truth & test).sum() / max(1, (on & test).sum())
        recall = np.mean([on[a:b].any() for a, b in zip(mine["start"], mine["end"])])
        assert row["precision"] == pytest.approx(precision)
        assert row["recall"] == pytest.approx(recall)
        assert row["f1"] == pytest.approx(2 * precision * recall / (precision + recall))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 7]))
def test_best_thresholds_are_the_best_of_all(seed, digits):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    scores = (np.round(rng.normal(size=(3, n)), digits) * rng.choice([1e-6, 1, 1e6])).astype(np.float32)
    truth = rng.random((n, 3)) < [0.3, 0.9, 0.0]
    samples = Samples(["a", "b"], ["A" * (n // 2), "C" * (n - n // 2)])
    split = Split(np.array([], int), np.array([], int), np.array([0, 1]), np.array([0, 1]), ("x", "y"))
    part = make_part(samples, sp.csr_array(truth), split, split.test)
    threshold, f1 = best_thresholds(scores, part)
    tp, predicted = count_scores(scores, threshold, part)
    for c in range(3):

        def score(t, c=c):
            on = scores[c] > t
            return 2 * (on & truth[:, c]).sum() / max(1, on.sum() + truth[:, c].sum())

        assert f1[c] == pytest.approx(score(threshold[c]))
        assert f1[c] >= max(score(t) for t in np.append(scores[c], -np.inf)) - 1e-12
        on = scores[c] > threshold[c]
        np.testing.assert_array_equal(predicted[c], np.bincount(part.family[on], minlength=part.n_families))
        on &= truth[:, c]
        np.testing.assert_array_equal(tp[c], np.bincount(part.family[on], minlength=part.n_families))
    assert threshold[2] == np.inf or truth[:, 2].any()


def test_scores_of_earlier_work_leave_out_what_a_source_does_not_cover(world):
    samples, split = world.features.samples, world.split
    name = world.annotations.position_names[0]
    carrying = set(world.annotations.select([name]).frame["sample"])
    extra = [i for i in np.array(samples.ids)[split.test] if i not in carrying][:5]
    covered = sorted(carrying | set(extra))
    frame = world.annotations.select([name]).frame.assign(source="partial")
    partial = Annotations(frame, coverage={"partial": covered})
    whole = Annotations(frame)
    inside = np.isin(np.array(samples.ids)[split.test], covered)
    found = family_f1(world.features, partial, split=split)
    assert found["prevalence"][0] == pytest.approx(
        np.isin(np.array(samples.ids)[split.test], list(carrying)).sum() / inside.sum()
    )
    assert family_f1(world.features, whole, split=split)["prevalence"][0] < found["prevalence"][0]
    ours, theirs = (domain_adjusted_f1(world.features, a, split=split).iloc[0] for a in (partial, whole))
    position = samples.position_sample()
    on = world.features.column(int(ours["feature"]))
    scale = on[np.isin(position, split.train) & np.isin(np.array(samples.ids)[position], covered)].max()
    on = (on > np.float32(ours["threshold"]) * scale) & np.isin(position, split.test[inside])
    truth = whole.positives(samples).toarray()[:, 0]
    assert ours["precision"] == pytest.approx((on & truth).sum() / on.sum())
    assert ours["precision"] >= theirs["precision"]
