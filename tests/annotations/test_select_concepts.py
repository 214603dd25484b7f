"""Concept selection: what is left out, why, and that overlaps are what they are by definition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciinterp.annotations import Annotations, select, select_concepts
from sciinterp.errors import InputError
from sciinterp.samples import Samples, Split


def world(
    rows: list[tuple[str, int, int, str]], concepts: pd.DataFrame | None = None, **keywords
) -> Annotations:
    return Annotations(
        pd.DataFrame(rows, columns=["sample", "start", "end", "concept"]), concepts=concepts, **keywords
    )


SAMPLES = Samples([f"s{i}" for i in range(6)], ["M" * 20] * 6)


def test_reasons() -> None:
    rows = [(f"s{i}", 0, 20, "chain") for i in range(6)]
    rows += [(f"s{i}", 2, 5, "site") for i in range(6)] + [(f"s{i}", 2, 5, "site:x") for i in range(6)]
    rows += [("s0", 7, 9, "rare"), ("s0", 3, 4, "narrow"), ("s0", 5, 6, "narrow"), ("s0", 8, 9, "narrow")]
    rows += [(f"s{i}", -1, -1, "fact") for i in range(3)] + [("elsewhere", 0, 1, "absent")]
    concepts = pd.DataFrame(
        {"parent": {"site": "chain", "site:x": "site"}, "level": {"site": 0, "site:x": 1}}
    )
    annotations = world(rows, concepts)
    kept, out = select_concepts(annotations, SAMPLES, min_instances=3, min_families=2)
    assert kept.names == ["fact", "site"]
    assert out["reason"].to_dict() == {
        "absent": select.ABSENT,
        "chain": select.CATCH_ALL,
        "narrow": select.NARROW,
        "rare": select.RARE,
        "site:x": select.DUPLICATE,
    }
    assert out.loc["site:x", "kept_as"] == "site"
    assert out.loc["narrow", ["n_instances", "n_positions", "n_families"]].tolist() == [3, 3, 1]
    assert kept.concepts.loc["site", "parent"] == ""
    assert kept.counts["n_in"] == len(rows)


def test_families_of_the_split_count() -> None:
    rows = [(f"s{i}", 2, 5, "site") for i in range(6)]
    halves = np.array([0, 0, 0, 1, 1, 1])
    part = [np.array([0, 1]), np.array([2, 3]), np.array([4, 5])]
    split = Split(*part, family=halves, family_names=("a", "b"), by="f", seed=0)
    _, out = select_concepts(world(rows), SAMPLES, split, min_instances=1, min_families=3)
    assert out["n_families"].tolist() == [2]
    kept, _ = select_concepts(world(rows), SAMPLES, split, min_instances=1, min_families=2)
    assert kept.names == ["site"]


def test_prevalence_is_among_covered_samples() -> None:
    rows = [("s0", 0, 15, "a"), ("s1", 0, 15, "a")]
    everywhere, covered = world(rows), world(rows, coverage={"user": ["s0", "s1"]})
    assert select_concepts(everywhere, SAMPLES, min_instances=1, min_families=1)[0].names == ["a"]
    _, out = select_concepts(covered, SAMPLES, min_instances=1, min_families=1)
    assert out.loc["a", ["reason", "prevalence"]].tolist() == [select.CATCH_ALL, 0.75]


def test_a_kept_grandchild_hangs_from_the_nearest_kept_ancestor() -> None:
    rows = (
        [(f"s{i}", 0, 9, "top") for i in range(6)]
        + [("s0", 0, 5, "mid")]
        + [(f"s{i}", 4, 5, "leaf") for i in range(6)]
    )
    concepts = pd.DataFrame({"parent": {"leaf": "mid", "mid": "top"}, "level": {"leaf": 2, "mid": 1}})
    kept, _ = select_concepts(world(rows, concepts), SAMPLES, min_instances=2, min_families=2)
    assert kept.concepts["parent"].to_dict() == {"leaf": "top", "top": ""}


intervals = st.lists(st.tuples(st.sampled_from(SAMPLES.ids), st.integers(0, 18), st.integers(1, 6),
                               st.sampled_from("abcdef")), min_size=1, max_size=25)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(rows=intervals, collapse=st.sampled_from([0.3, 0.6, 1.0]))
def test_collapsed_concepts_overlap_and_kept_ones_do_not(rows: list[tuple], collapse: float) -> None:
    annotations = world([(s, a, min(a + w, 20), c) for s, a, w, c in rows])
    kept, out = select_concepts(
        annotations, SAMPLES, min_instances=1, min_families=1, max_prevalence=1.0, collapse=collapse
    )
    assert set(kept.names) | set(out.index) == set(annotations.names)
    dense = dict(zip(annotations.names, annotations.positives(SAMPLES).toarray().T))

    def jaccard(a: str, b: str) -> float:
        return (dense[a] & dense[b]).sum() / (dense[a] | dense[b]).sum()

    for concept, row in out.iterrows():
        assert row["kept_as"] in kept.names
        assert jaccard(concept, row["kept_as"]) >= collapse - 1e-12
    for i, a in enumerate(kept.names):
        for b in kept.names[i + 1 :]:
            assert jaccard(a, b) < collapse


def test_impossible_bounds() -> None:
    with pytest.raises(InputError):
        select_concepts(world([("s0", 0, 1, "a")]), SAMPLES, max_prevalence=0.0)
