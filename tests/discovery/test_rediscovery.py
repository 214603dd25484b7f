"""Hidden concepts are found again where a candidate's feature marks them, and nowhere else."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sciinterp as si
from sciinterp.discovery.rediscovery import came_back, held_out_f1, rediscover
from sciinterp.errors import InputError

samples = si.Samples(["a", "b"], ["ACDEFGHIKL", "ACDEFGHIKL"])
annotations = si.Annotations(
    pd.DataFrame(
        [
            ("a", 2, 4, "cap"),
            ("b", 5, 6, "cap"),
            ("a", 8, 9, "turn"),
            ("b", 8, 9, "turn"),
            ("a", 0, 10, "ss:H"),
        ],
        columns=["sample", "start", "end", "concept"],
    )
)
split = si.Split(
    np.array([0]), np.zeros(0, np.int64), np.array([1]), np.array([0, 1]), ("a", "b"), lengths=samples.lengths
)


def test_the_feature_that_marks_a_hidden_concept_is_named_with_its_rank() -> None:
    codes = np.zeros((20, 3), np.float32)
    codes[[2, 3, 15], 2] = 2.0  # the cap, everywhere, where it is strong
    codes[[7, 12], 2] = 0.5
    codes[[2, 3, 15, 16, 17, 18], 0] = 1.0  # the cap, among much else where it was not chosen
    codes[[8, 0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 18], 1] = 1.0  # a turn among much else
    novel = pd.DataFrame({"feature": [1, 0, 2], "q": [0.1, 0.2, 0.3]})
    found = si.FeatureMatrix(sp.csr_array(codes), samples)
    rows = came_back(found, novel, annotations, ["cap", "turn"], split)
    assert [(r["concept"], r["feature"], r["rank"], r["f1"], r["best"], r["back"]) for r in rows] == [
        ("cap", 0, 2, 0.4, 1.0, True),
        ("turn", 0, 2, 0.4, 0.4, True),
    ]
    assert rows[0]["q"] == 0.2 and rows[0]["n"] == 3


def test_thresholds_are_chosen_in_training_and_equal_codes_stay_together() -> None:
    value = np.array([3, 3, 1, 0, 3, 2, 1, 0], np.float32)
    truth = np.array([[1, 0, 0, 0, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0, 1, 1], [0] * 8], bool)
    train = np.arange(8) < 4
    assert held_out_f1(value, truth, train, ~train).tolist() == pytest.approx([1.0, 0.4, 0.0])
    assert held_out_f1(0 * value, truth, train, ~train).tolist() == [0, 0, 0]


def test_without_candidates_nothing_comes_back() -> None:
    codes = si.FeatureMatrix(sp.csr_array(np.ones((20, 2), np.float32)), samples)
    rows = came_back(codes, pd.DataFrame({"feature": [], "q": []}), annotations, ["cap"], split)
    assert [(r["f1"], r["feature"], r["rank"], r["back"]) for r in rows] == [(0.0, -1, 0, False)]


def test_something_must_stay_and_something_be_hidden() -> None:
    more = si.Samples(list("abcd"), ["ACDEFGHIKL"] * 4)
    codes = si.FeatureMatrix(sp.csr_array(np.ones((40, 2), np.float32)), more)
    split = si.split_families(more, by=list("wxyz"), seed=0)
    with pytest.raises(InputError, match="nothing to rediscover"):
        rediscover(codes, annotations, split=split, keep=("nothing",))
