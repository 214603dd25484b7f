"""``discover`` on planted truth, where the answer is known."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import sciinterp as si
from sciinterp.annotations import Annotations
from sciinterp.discovery import (
    Controls,
    DiscoverySettings,
    PlantedSettings,
    benchmark_discovery,
    discover,
    plant,
)
from sciinterp.discovery.benchmark import mask_and_recover, score_world, temporal
from sciinterp.errors import InputError, ShapeError
from sciinterp.features import FeatureMatrix

SMALL = PlantedSettings(n_families=40, n_masked=4, n_novel=2, n_merged=1, n_plain=2, n_features=96)


@pytest.fixture(scope="module")
def world():
    return plant(1)


@pytest.fixture(scope="module")
def scored(world):
    return score_world(world, seed=1)


@pytest.fixture(scope="module")
def small():
    return plant(2, SMALL)


@pytest.fixture(scope="module")
def found(small):
    controls = Controls(seeds=small.seeds)
    return discover(small.features, small.annotations, pd.DataFrame(), split=small.split, control=controls)


def test_missing_annotations_are_found(scored):
    row, rows = scored
    assert row["precision_at_50"] >= 0.8
    assert row["gap_closed"] >= 0.5
    assert row["precision_q"] >= 0.8
    p, truth = rows["probability"], rows["truth"]
    assert abs(p.mean() - truth.mean()) < 0.1


def test_novel_concepts_are_found(scored):
    assert scored[0]["novel_found"] >= 4


def test_refinements_are_found(scored):
    assert scored[0]["refined_found"] >= 2


def test_nothing_is_found_where_nothing_is_hidden():
    world = plant(
        0,
        PlantedSettings(
            n_families=60, n_novel=2, n_merged=1, n_plain=1, n_masked=5, n_features=128, hide=False
        ),
    )
    found = discover(
        world.features,
        world.annotations,
        pd.DataFrame(),
        split=world.split,
        control=Controls(seeds=world.seeds),
    )
    assert not (found["q"] <= 0.1).any()


def test_rows_are_whole(small, found):
    from sciinterp.discovery.search import COLUMNS

    assert list(found.columns) == list(COLUMNS)
    assert set(found["kind"]) <= {"missing", "novel", "refinement"}
    assert found["probability"].between(0, 1).all()
    assert found["q"].between(0, 1).all()
    for kind, rows in found.groupby("kind"):
        assert (np.diff(rows["probability"]) <= 1e-9).all(), kind
    ids = set(small.features.samples.ids)
    for row in found[found["kind"] != "refinement"].to_dict("records"):
        assert row["sample"] in ids
        assert 0 <= row["start"] < row["end"] <= small.features.samples[row["sample"]].length


def test_no_candidate_lies_on_a_known_instance(small, found):
    known = small.annotations.frame
    for row in found[found["kind"] == "missing"].to_dict("records"):
        same = known[(known["sample"] == row["sample"]) & (known["concept"] == row["concept"])]
        assert not ((same["start"] < row["end"]) & (row["start"] < same["end"])).any()


def test_evidence_is_plain_and_says_candidate(found):
    assert len(found) > 0
    for row in found.to_dict("records"):
        text = json.dumps(row["evidence"])
        assert row["evidence"]["claim"].startswith("candidate: ")
        assert "discover" not in text.lower()
        assert row["reason_against"] == row["evidence"]["against"][0]
        assert row["reason_against"].endswith(".")
        assert row["evidence"]["sources_checked"]
        assert row["evidence"]["would_be_falsified_by"]


def test_reasons_differ_between_rows(found):
    missing = found[found["kind"] == "missing"]
    assert missing["reason_against"].nunique() > 3


def test_what_was_not_run_is_listed(small):
    settings = DiscoverySettings(n_decoys=0)
    found = discover(
        small.features,
        small.annotations,
        pd.DataFrame(),
        split=small.split,
        control=Controls(settings=settings),
    )
    assert {"stability over seeds", "randomised model", "ablation"} <= set(found.context["not_run"])


def test_exhaustive_sources_give_no_missing_candidates(small):
    concepts = small.annotations.concepts.assign(exhaustive=True)
    annotations = Annotations(small.annotations.frame, concepts=concepts)
    found = discover(small.features, annotations, pd.DataFrame(), split=small.split)
    assert not (found["kind"] == "missing").any()
    assert set(found.context["skipped"]) == set(annotations.position_names)


def test_ancestors_count_as_annotated(small, found):
    concept = found[found["kind"] == "missing"]["concept"].iloc[0]
    rows = found[(found["kind"] == "missing") & (found["concept"] == concept)]
    parents = rows[["sample", "start", "end"]].assign(concept="planted:parent")
    frame = pd.concat([small.annotations.frame, parents], ignore_index=True).fillna({"source": "planted"})
    concepts = small.annotations.concepts.copy()
    concepts.loc[concept, "parent"] = "planted:parent"
    again = discover(small.features, Annotations(frame, concepts=concepts), pd.DataFrame(), split=small.split)
    left = again[(again["kind"] == "missing") & (again["concept"] == concept)]
    keys = {tuple(r) for r in rows[["sample", "start"]].to_numpy().tolist()}
    assert not keys & {tuple(r) for r in left[["sample", "start"]].to_numpy().tolist()}


def test_same_seed_same_list(small, found):
    again = discover(
        small.features,
        small.annotations,
        pd.DataFrame(),
        split=small.split,
        control=Controls(seeds=small.seeds),
    )
    assert again.drop(columns="evidence").equals(found.drop(columns="evidence"))


def test_strangers_are_refused(small, world):
    with pytest.raises(ShapeError, match="split is not of these samples"):
        discover(small.features, small.annotations, pd.DataFrame(), split=world.split)
    with pytest.raises(InputError, match="other samples"):
        discover(small.features, small.annotations, pd.DataFrame(), split=small.split, control=world.features)


def test_samples_without_sequences_have_no_novel_candidates(small):
    samples = small.features.samples
    table = samples.table.reset_index(drop=True).assign(id=samples.ids, length=samples.lengths)
    features = FeatureMatrix(small.features.codes, table)
    found = discover(features, small.annotations, pd.DataFrame(), split=small.split)
    assert not (found["kind"] == "novel").any()
    assert "not sequences" in found.context["not_run"]["novel"]


def test_mask_and_recover_and_temporal(small):
    whole = Annotations(small.instances.assign(source="planted"))
    concept = "planted:plain0"
    table = mask_and_recover(small.features, whole, split=small.split, concepts=[concept])
    row = table.iloc[0]
    assert row["n_hidden"] > 0
    assert row["recall"] >= 0.5
    assert row["better"] == "features"
    newer = temporal(
        small.features,
        small.annotations,
        Annotations(pd.concat([small.annotations.frame, small.missing])),
        split=small.split,
    )
    assert newer["confirmed"].head(40).mean() > 0.8
    assert newer.context["n_added"] == len(small.missing)


def test_benchmark_returns_its_tables():
    tables = benchmark_discovery(
        seed=4,
        n_worlds=1,
        n_null=0,
        settings=PlantedSettings(
            n_families=24, n_masked=2, n_novel=1, n_merged=1, n_plain=1, n_features=64, n_seeds=0
        ),
    )
    assert {"worlds", "null", "calibration", "summary"} == set(tables)
    assert tables["summary"]["n_candidates"].iloc[0] == tables["calibration"]["n"].sum()


def test_discover_is_exported():
    assert si.discover is discover


@pytest.mark.slow
def test_two_hundred_worlds():
    tables = benchmark_discovery(seed=1000, n_worlds=200, n_null=200)
    worlds, summary = tables["worlds"], tables["summary"].iloc[0]
    assert summary["n_candidates"] >= 3000
    assert summary["ece"] < 0.05
    assert summary["null_lists_not_empty"] <= 0.10
    assert worlds["covered"].mean() >= 0.85
    assert (worlds["precision_at_50"] >= 0.8).mean() >= 0.95
    assert (worlds["gap_closed"] >= 0.5).mean() >= 0.95
    assert (worlds["novel_found"] >= 4).mean() >= 0.9
    assert (worlds["refined_found"] >= 2).mean() >= 0.9
