"""Splitting and absorption find what is planted and nothing where nothing is."""

import numpy as np
import pandas as pd
import scipy.sparse as sp

import sciinterp as si
from sciinterp.association.splitting import absorption, splitting

N, LENGTH = 60, 30


def world(absorbed: bool):
    """A parent concept on 5..15, its child on 10..15; feature 0 marks the parent, feature 1 the child."""
    samples = si.Samples([f"s{i}" for i in range(N)], ["A" * LENGTH] * N)
    frame = pd.DataFrame(
        [(f"s{i}", a, b, c) for i in range(N) for a, b, c in ((5, 15, "whole"), (10, 15, "part"))],
        columns=["sample", "start", "end", "concept"],
    )
    concepts = pd.DataFrame({"concept": ["whole", "part"], "parent": ["", "whole"]})
    codes = np.zeros((N, LENGTH, 4), np.float32)
    codes[:, 5 : 10 if absorbed else 15, 0] = 1
    codes[:, 10:15, 1] = 1
    codes[:, 20:25, 2] = 1
    features = si.FeatureMatrix(sp.csr_array(codes.reshape(-1, 4)), samples)
    hits = pd.DataFrame(
        {
            "concept": ["whole", "whole", "whole", "part"],
            "feature": [0, 1, 2, 1],
            "threshold": 0.5,
            "f1_train": [0.9, 0.5, 0.1, 1.0],
            "selected": [True, False, False, True],
        }
    )
    return (
        features,
        si.Annotations(frame, concepts=concepts),
        hits,
        si.split_families(samples, by=np.arange(N) // 4),
    )


def test_absorption_is_found_where_it_is() -> None:
    features, annotations, hits, split = world(absorbed=True)
    row = absorption(features, annotations, hits, split=split).iloc[0]
    assert (row["parent"], row["child"]) == ("whole", "part")
    assert row["missed_in_child"] == 1
    assert row["missed_elsewhere"] == 0
    assert row["absorbed"] == 1


def test_no_absorption_where_the_parent_speaks_everywhere() -> None:
    features, annotations, hits, split = world(absorbed=False)
    assert absorption(features, annotations, hits, split=split)["absorbed"].tolist() == [0]


def test_a_split_concept_needs_both_features_and_a_whole_one_does_not() -> None:
    features, annotations, hits, split = world(absorbed=True)
    table = splitting(features, annotations, hits, split=split).set_index("concept")
    assert table.loc["whole", "features"] == (0, 1)
    assert table.loc["whole", "f1_set"] == 1
    assert table.loc["part", "n_features"] == 1
    features, annotations, hits, split = world(absorbed=False)
    table = splitting(features, annotations, hits, split=split).set_index("concept")
    assert table.loc["whole", "n_features"] == 1
