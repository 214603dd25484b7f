"""Hidden concepts are found again where a candidate's feature marks them, and nowhere else."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sciinterp as si
from sciinterp.discovery.rediscovery import came_back, rediscover
from sciinterp.errors import InputError

samples = si.Samples(["a", "b"], ["ACDEFGHIKL", "ACDEFGHIKL"])
annotations = si.Annotations(
    pd.DataFrame(
        [("a", 2, 4, "cap"), ("b", 5, 6, "cap"), ("a", 8, 9, "turn"), ("a", 0, 10, "ss:H")],
        columns=["sample", "start", "end", "concept"],
    )
)


def test_the_feature_that_marks_a_hidden_concept_is_named_with_its_rank() -> None:
    codes = np.zeros((20, 3), np.float32)
    codes[[2, 3, 15], 2] = 1.0  # the cap, everywhere
    codes[[8, 0, 1, 2, 3, 4, 5], 1] = 1.0  # a turn among much else
    novel = pd.DataFrame({"feature": [1, 2], "q": [0.1, 0.3]})
    rows = came_back(si.FeatureMatrix(sp.csr_array(codes), samples), novel, annotations, ["cap", "turn"])
    assert [(r["concept"], r["feature"], r["rank"], r["f1"], r["back"]) for r in rows] == [
        ("cap", 2, 2, 1.0, True),
        ("turn", 1, 1, 0.25, False),
    ]
    assert rows[0]["q"] == 0.3 and rows[0]["n"] == 3


def test_without_candidates_nothing_comes_back() -> None:
    codes = si.FeatureMatrix(sp.csr_array(np.ones((20, 2), np.float32)), samples)
    rows = came_back(codes, pd.DataFrame({"feature": [], "q": []}), annotations, ["cap"])
    assert [(r["f1"], r["feature"], r["rank"], r["back"]) for r in rows] == [(0.0, -1, 0, False)]


def test_something_must_stay_and_something_be_hidden() -> None:
    more = si.Samples(list("abcd"), ["ACDEFGHIKL"] * 4)
    codes = si.FeatureMatrix(sp.csr_array(np.ones((40, 2), np.float32)), more)
    split = si.split_families(more, by=list("wxyz"), seed=0)
    with pytest.raises(InputError, match="nothing to rediscover"):
        rediscover(codes, annotations, split=split, keep=("nothing",))
