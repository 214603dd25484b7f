"""``discover`` on planted truth, where the answer is known."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import sciinterp as si
from sciinterp.annotations import Annotations
from sciinterp.codes import FeatureMatrix
from sciinterp.discovery import (
    Controls,
    DiscoverySettings,
    PlantedSettings,
    benchmark_discovery,
    discover,
    plant,
    sequence_readers,
)
from sciinterp.discovery.benchmark import score_world
from sciinterp.discovery.files import are_sets, describe_candidates
from sciinterp.discovery.novel import find_novel
from sciinterp.discovery.problem import make_problem
from sciinterp.discovery.recover import leave_concept_out, mask_and_recover, temporal
from sciinterp.errors import MismatchError, ShapeError

SMALL = PlantedSettings(n_families=40, n_masked=4, n_novel=2, n_merged=1, n_plain=2, n_features=96)


MIDDLING = PlantedSettings(
    n_families=80, n_masked=6, n_novel=3, n_merged=2, n_plain=2, n_features=128, n_seeds=3
)


@pytest.fixture(scope="module")
def world():
    return plant(1, MIDDLING)


@pytest.fixture(scope="module")
def scored(world):
    return score_world(world, seed=1)


@pytest.fixture(scope="module")
def small():
    return plant(2, SMALL)


@pytest.fixture
def no_novel(monkeypatch):
    """Novel concepts are not looked for, which takes longest: for what is said of missing annotations alone."""
    monkeypatch.setattr("sciinterp.discovery.search._novel_rows", lambda *_: ([], []))


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
    assert scored[0]["novel_found"] >= 2


def test_refinements_are_found(scored):
    assert scored[0]["refined_found"] == 2


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
    from sciinterp.discovery.files import COLUMNS

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
        assert row["claim"] == row["evidence"]["claim"]
        assert "discover" not in text.lower()
        assert row["reason_against"] == row["evidence"]["against"][0]
        assert row["reason_against"].endswith(".")
        assert row["evidence"]["sources_checked"]
        assert row["evidence"]["would_be_falsified_by"]


def test_a_claim_names_what_where_and_in_how_many_families(found):
    assert found["claim"].is_unique
    for row in found[found["kind"] == "novel"].to_dict("records"):
        about = row["evidence"]
        assert about["reader"]["text"] in row["claim"]
        assert f"{about['n_families']} of 40 families" in row["claim"]
        assert (
            f"{about['nearest_concept']['concept']} (F1 {about['nearest_concept']['f1']:.2f})" in row["claim"]
        )
        for name, limit in about["explains_the_peaks_from"].items():
            assert limit is None or about["held_out_auroc"][name] <= limit  # both are rounded
    for row in found[found["kind"] == "missing"].head(5).to_dict("records"):
        assert f"{row['concept']} at {row['start'] + 1} to {row['end']} of {row['sample']}" in row["claim"]


def test_q_and_probability_say_the_same(small, found):
    """q is the mean of one minus the probability over a row and all better ones, or the error that decoys show, whichever is
    larger; without other seeds it cannot be small, and the list says from where on."""
    novel = found[(found["kind"] == "novel") & ~are_sets(found)]
    p = novel["probability"].to_numpy()
    mean = np.cumsum(1 - p) / np.arange(1, len(p) + 1)
    assert len(p) > 0 and (np.diff(p) <= 1e-9).all()
    # Rows that fire with a better one are not listed, so the list's own mean may only be too small.
    assert (novel["q"] >= mean - 1e-9).all() and (np.diff(novel["q"]) >= 0).all()
    # No list is less in error than one false row among all that were found.
    n_found = len(p) + found.context["counts"]["novel"]["fires with a better one"]
    assert novel["q"].min() >= 1 / n_found - 1e-9
    assert (novel["q"] < 1).any() or n_found == 1
    there = {row["probability_that_any_is_real"] for row in novel["evidence"]}
    assert len(there) == 1 and p.max() <= 0.95 * there.pop() + 1e-3
    bare = DiscoverySettings(records=False)
    again = discover(small.features, small.annotations, pd.DataFrame(), split=small.split, settings=bare)
    told, again = again.context["not_run"], again[again["kind"] == "novel"]
    assert again["q"].min() >= 0.107 - 1e-9 and again["probability"].max() <= 0.893 + 1e-9
    assert "no q falls below 0.11" in told["stability over seeds"]


def listed_of(novel):
    """Probability of every novel feature that is likely enough to be listed."""
    likely = novel.probability >= DiscoverySettings().min_probability
    return dict(zip(novel.feature[likely].tolist(), novel.probability[likely].tolist()))


def test_every_novel_feature_stands_in_a_row(small, found):
    again = make_problem(small.features, small.annotations, small.split)
    once = listed_of(find_novel(again, stability=small.seeds))
    rows = found[(found["kind"] == "novel") & ~are_sets(found)]  # sets change nothing about single features
    every = {f for record in rows["evidence"] for f in record["features"]}
    assert set(once) == every and len(every) > len(rows) > 0
    assert dict(zip(rows["feature"], rows["probability"])).items() <= once.items()


@pytest.mark.slow
def test_what_peaks_are_compared_with_changes_little(world, monkeypatch):
    """The positions that peaks are compared with are an even sequence; moved along, it gives the same list."""
    even, lists = sequence_readers._even, []
    for move in (0.0, 0.2, 0.4, 0.6):
        monkeypatch.setattr(sequence_readers, "_even", lambda *of, move=move: (even(*of) + move) % 1)
        problem = make_problem(world.features, world.annotations, world.split)
        lists.append(listed_of(find_novel(problem, stability=world.seeds)))
    for i, one in enumerate(lists):
        for other in lists[:i]:
            assert len(one.keys() & other.keys()) >= 0.8 * len(one.keys() | other.keys())
            assert abs(max(one.values()) - max(other.values())) <= 0.1


def test_reasons_differ_between_rows(found):
    missing = found[found["kind"] == "missing"]
    assert missing["reason_against"].nunique() > 3


def test_nothing_is_dropped_without_a_count(small, found):
    missing, novel = found.context["counts"]["missing"], found.context["counts"]["novel"]
    listed = found.context["counts"]["listed"]
    left_out = missing["below_min_probability"] + missing["beyond_max_rows"]
    assert missing["spans_examined"] == listed["missing"] + left_out
    gone = sum(v for k, v in novel.items() if k != "targets")
    assert small.features.n_features == listed["novel"] + gone
    assert novel["targets"] > listed["novel"] > 0


def test_what_no_feature_finds_is_not_looked_for(small, found, no_novel):
    names = [c for c, n in found.loc[found["kind"] == "missing", "concept"].value_counts().items() if n > 2]
    low, few, kept = names[0], names[1], names[2:]
    hits = pd.DataFrame(
        {"feature": 0, "concept": names[:3], "f1": [0.29, 0.9, 0.3], "f1_low": [0.2, np.nan, 0.01]}
    )
    again = discover(small.features, small.annotations, hits, split=small.split)
    assert "F1 of 0.29, at least 0.3 is wanted" in again.context["skipped"][low]
    assert "too few families" in again.context["skipped"][few]
    listed = set(again.loc[again["kind"] == "missing", "concept"])
    assert kept and listed >= set(kept)  # of what hits find, and of what they say nothing


def test_more_left_out_than_a_sample_could_miss_is_no_list(small, found, no_novel, monkeypatch):
    hidden = found.context["counts"]["missing"]["estimated_left_out"]
    most = max(hidden, key=hidden.get)
    monkeypatch.setattr("sciinterp.discovery.missing.MAX_HIDDEN", 0.01)
    again = discover(small.features, small.annotations, pd.DataFrame(), split=small.split)
    assert "0.01 times as many unannotated spans as annotated ones" in again.context["skipped"][most]


def test_known_features_too_few_to_learn_from_are_counted(small):
    one = small.annotations.select([small.annotations.position_names[0]])
    found = discover(small.features, one, pd.DataFrame(), split=small.split)
    counts = found.context["counts"]["novel"]
    assert "cannot be learned" in found.context["not_run"]["novel"]
    assert counts["not judged"] == counts["targets"] > 0


def test_relatives_have_an_aligned_identity(small, found):
    near = [e["nearest_annotated_relative"] for e in found.loc[found["kind"] == "missing", "evidence"]]
    family = small.features.samples.table["family"]
    same = [n["identity"] for n in near if n["same_family"]]
    other = [n["identity"] for n in near if not n["same_family"]]
    assert all(0 <= n["identity"] <= 1 and 0 <= n["aligned_share"] <= 1 for n in near)
    assert len(same) + len(other) == len(near) > 0
    assert not same or np.median(same) > np.median(other)
    assert family.index.isin([n["sample"] for n in near]).any()


def test_a_clean_reader_is_not_held_against_what_it_finds():
    """Every instance is read cleanly and half of them are hidden: whatever is marked elsewhere is true."""
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    n, length = 160, 60
    ids = [f"s{i}" for i in range(n)]
    samples = si.Samples(
        ids,
        ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), length)) for _ in ids],
        table=pd.DataFrame({"family": [f"f{i // 4}" for i in range(n)]}, index=pd.Index(ids, name="id")),
    )
    start = rng.integers(0, length - 6, n)
    dense = (rng.random((n * length, 30)) < 0.02) * rng.gamma(2, 0.5, (n * length, 30))
    for i, s in enumerate(start):
        dense[i * length + s : i * length + s + 6, :2] += rng.gamma(8, 0.5, (6, 2))
    rows = pd.DataFrame({"sample": ids, "start": start, "end": start + 6, "concept": "x:site"})
    hidden = (np.arange(n) // 4) % 2 == 0
    found = discover(
        si.FeatureMatrix(sp.csr_array(dense.astype(np.float32)), samples),
        Annotations(rows[~hidden]),
        pd.DataFrame(),
        split=si.split_families(samples, by="family", seed=0),
    )
    sure = found[(found["kind"] == "missing") & (found["probability"] >= 0.5)]
    met = [
        ((rows["sample"] == r["sample"]) & (rows["start"] < r["end"]) & (r["start"] < rows["end"])).any()
        for r in sure.to_dict("records")
    ]
    assert np.mean(met) >= 0.9
    assert sum(met) >= 0.8 * hidden.sum()


def test_the_randomised_model_and_shuffled_sequences_are_decoys(small, found, request):
    def shifted(by):
        return FeatureMatrix(
            small.features.codes[np.roll(np.arange(small.features.n_positions), by)], small.features.samples
        )

    bare = DiscoverySettings(records=False)
    controls = Controls(randomised=shifted(40), shuffled=shifted(57), seeds=small.seeds)
    given = {"split": small.split, "settings": bare}
    again = discover(small.features, small.annotations, pd.DataFrame(), control=controls, **given)
    assert not {"randomised model", "shuffled sequences"} & set(again.context["not_run"])
    both = found.merge(
        again, on=["kind", "sample", "start", "end", "concept", "feature"], suffixes=("", "_more")
    )
    both = both[both["kind"] == "missing"]
    assert len(both) == (found["kind"] == "missing").sum()
    assert (both["q_more"] >= both["q"] - 1e-12).all()
    # Features that know as much as the model leave no candidate standing.
    request.getfixturevalue("no_novel")
    same = Controls(shuffled=small.features)
    none = discover(small.features, small.annotations, pd.DataFrame(), control=same, **given)
    assert (none.loc[none["kind"] == "missing", "q"] > 0.5).all()


def test_a_list_is_described_in_sentences(found):
    lines = describe_candidates(found)
    assert str(len(found)) in lines[0] and "none is confirmed" in lines[0]
    assert any("explained by" in line for line in lines)
    assert any(line.startswith("not run: randomised model") for line in lines)


def test_what_was_not_run_is_listed(small):
    settings = DiscoverySettings(n_decoys=0)
    found = discover(
        small.features,
        small.annotations,
        pd.DataFrame(),
        split=small.split,
        settings=settings,
    )
    assert {"stability over seeds", "randomised model", "ablation"} <= set(found.context["not_run"])


def test_exhaustive_sources_give_no_missing_candidates(small, no_novel):
    concepts = small.annotations.concepts.assign(exhaustive=True)
    annotations = Annotations(small.annotations.frame, concepts=concepts)
    found = discover(small.features, annotations, pd.DataFrame(), split=small.split)
    assert not (found["kind"] == "missing").any()
    assert set(found.context["skipped"]) == set(annotations.position_names)


def test_ancestors_count_as_annotated(small, found, no_novel):
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


def test_any_seed_gives_the_same_list(small, found):
    """Folds, training positions and comparisons are the same for every seed, of missing annotations too."""
    again = discover(
        small.features,
        small.annotations,
        pd.DataFrame(),
        split=small.split,
        control=Controls(seeds=small.seeds),
        settings=DiscoverySettings(seed=3),
    )
    assert set(found["kind"]) == {"missing", "novel", "refinement"}
    assert again.drop(columns="evidence").equals(found.drop(columns="evidence"))


def test_strangers_are_refused(small, world):
    with pytest.raises(ShapeError, match="the split is of other samples"):
        discover(small.features, small.annotations, pd.DataFrame(), split=world.split)
    with pytest.raises(MismatchError, match="other samples"):
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


def test_a_forgotten_concept_is_found_among_the_novel(small):
    whole = Annotations(small.instances.assign(source="planted"))
    concept = sorted(small.novel)[0]
    row = leave_concept_out(
        small.features, whole, split=small.split, seeds=small.seeds, concepts=[concept]
    ).iloc[0]
    assert row["feature"] in small.readers[concept]
    assert 1 <= row["rank"] <= 3
    assert 0.25 < row["probability"] <= 0.5  # alone in its list, it may be what chance finds


def test_benchmark_is_resumed_and_refuses_other_settings(tmp_path, monkeypatch):
    tiny = PlantedSettings(
        n_families=24, n_masked=2, n_novel=1, n_merged=1, n_plain=1, n_features=64, n_seeds=0
    )
    tables = benchmark_discovery(seed=4, n_worlds=1, n_null=1, settings=tiny, out=tmp_path)
    assert {"worlds", "null", "calibration", "summary"} == set(tables)
    summary = tables["summary"].set_index("measure")
    assert summary.loc["calibration error", "n"] == tables["calibration"]["n"].sum()
    assert {"precision_at_50", "novel_in_ten", "refined", "covered", "null lists not empty"} <= set(
        summary.index
    )
    monkeypatch.setattr("sciinterp.discovery.benchmark.plant", None)  # nothing is planted again
    again = benchmark_discovery(seed=4, n_worlds=1, n_null=1, settings=tiny, out=tmp_path)
    assert again["worlds"].equals(tables["worlds"])
    with pytest.raises(MismatchError, match="other settings"):
        benchmark_discovery(seed=4, n_worlds=1, n_null=0, out=tmp_path)


def test_discover_is_exported():
    assert si.discover is discover


@pytest.mark.slow
def test_two_hundred_worlds():
    tables = benchmark_discovery(seed=1000, n_worlds=200, n_null=200)
    worlds, value = tables["worlds"], tables["summary"].set_index("measure")["value"]
    assert tables["calibration"]["n"].sum() >= 3000
    assert value["calibration error"] < 0.05
    assert value["null lists not empty"] <= 0.10
    assert value["covered"] >= 0.85
    assert (worlds["precision_at_50"] >= 0.8).mean() >= 0.95
    assert (worlds["gap_closed"] >= 0.5).mean() >= 0.95
    assert (worlds["novel_found"] >= 4).mean() >= 0.9
    assert (worlds["refined_found"] >= 2).mean() >= 0.9
