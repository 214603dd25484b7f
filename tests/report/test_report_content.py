"""What a report says does not depend on whether its tables are fresh or come from their files."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from sciinterp.annotations import Annotations
from sciinterp.codes import FeatureMatrix
from sciinterp.discovery.files import describe_candidates
from sciinterp.frames import Table
from sciinterp.report.content import concept_rows, controls, letters_reach, tally
from sciinterp.report.methods import _split
from sciinterp.report.prose import found_so, releases, statements
from sciinterp.report.shown import Shown, describe
from sciinterp.samples import Samples
from sciinterp.splits import split_families

HITS = pd.DataFrame({"concept": ["a"], "feature": [1], "f1": [0.5], "selected": [True]})
CANDIDATES = pd.DataFrame({"kind": ["novel"], "probability": [0.5]})


def test_order_of_facts_is_not_that_of_their_arrival() -> None:
    missing = {"torsion": "no coordinates", "chain_end": "no coordinates", "domain": "not asked for"}
    found = {
        "not_run": missing,
        "not_tested": {"z": "too few", "b": "none"},
        "counts": {"refinement": {"tried": 2, "refused": 1}, "missing": {"tried": 3}},
        "skipped": {"z": "no source", "b": "too few families"},
        "precision_at": {str(k): {"expected": 0.5, "low": 0.1, "high": 0.9} for k in (10, 50, 100)},
    }
    backwards = {
        key: dict(reversed([(k, dict(reversed(v.items())) if key == "counts" else v) for k, v in of.items()]))
        for key, of in found.items()
    }
    first, second = ((Table(HITS, context=c), Table(CANDIDATES, context=c)) for c in (found, backwards))
    assert controls(*first, [], []) == controls(*second, [], [])
    assert [one["name"] for one in controls(*first, [], [])["not_run"]] == sorted(missing) * 2
    assert describe_candidates(first[1]) == describe_candidates(second[1])
    assert [line.split()[3] for line in describe_candidates(first[1])[1:4]] == ["10", "50", "100"]


FEW = [  # families that carry the concept, families needed, explained_by -> what is said beside its name
    (3, 9.0, "too few families", "c: 3 families carry it; about 9 would have to, to lie above every baseline with a power of 0.8"),
    (4, np.nan, "too few families", "c: 4 families carry it; a baseline scores as high there, so how many it would take is not known"),
    (None, None, "too few families", "c"),
    (9, 12.0, "unclear", "c"),
]  # fmt: skip


@pytest.mark.parametrize(("n", "needed", "word", "said"), FEW)
def test_too_few_families_is_said_with_the_number_needed(n, needed, word, said) -> None:
    row = {"concept": "c", "feature": 1, "f1": 0.5, "selected": True, "explained_by": word}
    if n is not None:
        row |= {"n_test_families": n, "n_families_needed": needed}
    rows, _ = concept_rows(pd.DataFrame([row]))
    assert [s["concepts"] for s in statements(rows, "held-out families")] == [[said]]


def world(**columns: list) -> Table:
    """Hits of five concepts in three folds: one found at equal positions twice, one by the letters, three by nothing."""
    rows = pd.DataFrame(
        {
            "concept": ["helix", "helix:alpha", "motif", "rare", "never"],
            "feature": [3, 3, 4, 5, 6],
            "f1": [0.7, 0.7, 0.2, 0.0, np.nan],
            "selected": True,
            "folds_agree": [0, 3, 3, 1, 3],
            "explained_by": ["", "", "letters", "too few families", "not tested"],
            "delta_low": [0.1, 0.1, -0.1, np.nan, np.nan],
        }
    ).assign(**columns)
    rivals = [("helix", "window", 0.1), ("helix:alpha", "window", 0.7), ("motif", "window", 0.4)]
    rivals += [
        ("rare", "window", 0.0),
        ("never", "window", np.nan),
        ("motif", "word", 0.3),
        ("rare", "word", 0.0),
    ]
    table = pd.DataFrame(rivals, columns=["concept", "baseline", "f1"])
    return Table(rows, context={"baselines": table, "counts": {"folds": 3}})


HELICES = Annotations(
    pd.DataFrame(
        {
            "sample": "s",
            "start": [0, 0, 2, 1, 6],
            "end": [4, 2, 4, 3, 7],
            "concept": ["helix", "helix:alpha", "helix:alpha", "motif", "rare"],
        }
    )
)


def test_counts_leave_out_what_nothing_finds_and_say_equal_positions_once() -> None:
    rows, used = concept_rows(world(), HELICES, Samples(["s"], ["MKVLAAGIVG"]))
    assert {row["concept"]: row["same_as"] for row in rows if row["same_as"]} == {"helix:alpha": "helix"}
    assert letters_reach(rows) == {
        "concepts": ["helix:alpha", "motif"],
        "of": 3,
    }  # rare: 0 is not reached by 0
    n = tally(rows)
    assert (n["concepts_tested"], n["concepts_tested_once"]) == (4, 3)
    assert (n["concepts_f1_half"], n["concepts_f1_half_once"], n["concepts_f1_half_of_one_feature"]) == (
        2,
        1,
        1,
    )
    assert (n["concepts_beating_every_baseline"], n["concepts_in_too_few_families"]) == (2, 1)
    assert found_so(n) == (
        " (1 of 3 where concepts at equal positions count once; for 1 of the 2 all folds chose one feature)"
    )
    run = {one["name"]: one for one in controls(world(), None, rows, used)["run"]}
    assert [run["window"][key] for key in ("found", "of", "reaches", "either")] == [1, 4, 2, 3]
    assert [run["word"][key] for key in ("found", "of", "reaches", "either")] == [0, 2, 1, 1]


def test_scores_of_choosing_are_said_beside_the_feature_that_not_all_folds_chose() -> None:
    rows, _ = concept_rows(world())
    said = {row["concept"]: row["choosing"] for row in rows}
    assert said["helix"] == "of choosing: 0 of 3 folds chose it"
    assert said["rare"] == "of choosing: 1 of 3 folds chose it"
    assert said["helix:alpha"] == said["motif"] == ""


HOW = [  # what the split says, a column of the samples -> what the report says of its families
    ("mmseqs", "x", "clusters of MMseqs2 at an identity of 0.3 over 0.8 of both sequences"),
    ("mmseqs:0.5", "x", "clusters of MMseqs2 at an identity of 0.5 over 0.8 of both sequences"),
    ("mmseqs", "mmseqs", "the sample column mmseqs"),
    ("donor", "donor", "the sample column donor"),
    ("block:1Mb", "x", "blocks of 1Mb of a chromosome"),
    ("", "x", "a way that is not stated"),
]


@pytest.mark.parametrize(("by", "column", "said"), HOW)
def test_a_way_of_finding_families_is_not_called_a_column(by, column, said) -> None:
    samples = Samples(["a", "b", "c"], ["MKV"] * 3, table=pd.DataFrame({column: ["x", "y", "z"]}))
    features = FeatureMatrix(sp.csr_array((9, 2), dtype=np.float32), samples)
    split = replace(split_families(samples, by=column), by=by)
    assert describe(Shown(features, HITS, None, None, None, split, {}))["split"]["how"] == said
    told = {"split": {"how": said, "n_families": 3, "seed": 0, "parts": []}, "judged": {"pretraining": ""}}
    assert f"divided by {said} (3 families" in _split({"done": told})


@pytest.mark.parametrize(
    ("model", "said"), [("unirep-64", {"model": "unirep-64: CC BY-NC 4.0"}), ("mine", {})]
)
def test_the_licence_of_a_listed_model_is_stated_without_a_run(model, said) -> None:
    identity = {"sae": {"model": model, "site": "layers.1"}}
    features = FeatureMatrix(
        sp.csr_array((3, 2), dtype=np.float32), Samples(["a"], ["MKV"]), identity=identity
    )
    assert describe(Shown(features, HITS, None, None, None, None, {}))["licences"] == said
    own = {"licences": {"model": "own"}}
    assert describe(Shown(features, HITS, None, None, None, None, own))["licences"] == own["licences"]


def test_rows_of_other_samples_are_counted_where_the_annotations_are() -> None:
    rows = {
        "sample": ["a", "b", "b"],
        "start": [0, 0, 1],
        "end": [1, 1, 2],
        "concept": "x",
        "release": ["3", "20", "1"],
    }
    features = FeatureMatrix(sp.csr_array((3, 2), dtype=np.float32), Samples(["a"], ["MKV"]))
    told = describe(Shown(features, HITS, None, None, Annotations(pd.DataFrame(rows)), None, {}))[
        "annotations"
    ]
    assert (told["rows"], told["elsewhere"], told["sources"][0]["release"]) == (3, 2, "1, 20, 3")


def test_many_releases_are_their_range_and_number() -> None:
    assert (
        releases(f"entry version {n}" for n in [95, 36, 100, 95, 7]) == "entry version 7 to 100 (4 of them)"
    )
    assert releases(["2024_01", "2023_05", "2022_01", "2021_02"]) == "2021_02 to 2024_01, by name (4 of them)"
    assert releases(["", "5", ""]) == "5" and releases([]) == ""
