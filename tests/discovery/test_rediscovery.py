"""Hidden concepts are found again where a candidate's feature marks them, and nowhere else."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sciinterp as si
from sciinterp.discovery.rediscovery import came_back, held_out_f1, rediscover
from sciinterp.errors import InputError, MismatchError

COLUMNS = ["sample", "start", "end", "concept"]
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
        columns=COLUMNS,
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
    alone = [{"features": [j]} for j in (1, 0, 2)]
    novel = pd.DataFrame({"feature": [1, 0, 2], "q": [0.1, 0.2, 0.3], "evidence": alone})
    found = si.FeatureMatrix(sp.csr_array(codes), samples)
    rows = came_back(found, novel, annotations, ["cap", "turn"], split)
    assert [(r["concept"], r["feature"], r["rank"], r["f1"], r["best"], r["back"]) for r in rows] == [
        ("cap", 0, 2, 0.4, 1.0, True),
        ("turn", 0, 2, 0.4, 0.4, True),
    ]
    assert (
        rows[0]["q"] == 0.2 and rows[0]["n"] == 3 and rows[0]["everything"] == pytest.approx(2 / 11, abs=1e-3)
    )
    # The cap's own feature fires with the first: it is chosen in training, and it is what marks the cap.
    novel["evidence"] = [{"features": [1, 2]}, {"features": [0]}, {"features": [2]}]
    cap = came_back(found, novel, annotations, ["cap", "turn"], split)[0]
    assert (cap["concept"], cap["feature"], cap["rank"], cap["f1"]) == ("cap", 2, 1, 1.0)


def test_what_everything_marks_as_well_does_not_come_back() -> None:
    wide = si.Annotations(pd.DataFrame([("a", 0, 8, "most"), ("b", 0, 8, "most")], columns=COLUMNS))
    codes = np.zeros((20, 2), np.float32)
    codes[[*range(7), *range(10, 15)], 0] = (
        1.0  # five of eight, and nothing else: .77 where everything reaches .89
    )
    codes[[*range(8), *range(10, 18)], 1] = 1.0
    found = si.FeatureMatrix(sp.csr_array(codes), samples)
    for features, back in ((0, False), (1, True)):
        novel = pd.DataFrame({"feature": [features], "q": [0.1], "evidence": [{"features": [features]}]})
        row = came_back(found, novel, wide, ["most"], split)[0]
        assert row["everything"] == 0.889 and row["back"] == back


def test_thresholds_are_chosen_in_training_and_equal_codes_stay_together() -> None:
    value = np.array([3, 3, 1, 0, 3, 2, 1, 0], np.float32)
    truth = np.array([[1, 0, 0, 0, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0, 1, 1], [0] * 8], bool)
    train = np.arange(8) < 4
    assert held_out_f1(value, truth, train, ~train).tolist() == pytest.approx([1.0, 0.4, 0.0])
    assert held_out_f1(0 * value, truth, train, ~train).tolist() == [0, 0, 0]


def test_without_candidates_nothing_comes_back() -> None:
    codes = si.FeatureMatrix(sp.csr_array(np.ones((20, 2), np.float32)), samples)
    rows = came_back(
        codes, pd.DataFrame({"feature": [], "q": [], "evidence": []}), annotations, ["cap"], split
    )
    assert [(r["f1"], r["feature"], r["rank"], r["back"]) for r in rows] == [(0.0, -1, 0, False)]


def test_something_must_stay_and_something_be_hidden() -> None:
    more = si.Samples(list("abcd"), ["ACDEFGHIKL"] * 4)
    codes = si.FeatureMatrix(sp.csr_array(np.ones((40, 2), np.float32)), more)
    split = si.split_families(more, by=list("wxyz"), seed=0)
    with pytest.raises(InputError, match="nothing to rediscover"):
        rediscover(codes, annotations, split=split, keep=("nothing",))


def test_a_stopped_search_resumes_and_other_settings_are_refused(tmp_path, monkeypatch) -> None:
    more = si.Samples([*"ab", *(f"s{i}" for i in range(28))], ["ACDEFGHIKL"] * 30)
    wide = si.Annotations(
        pd.DataFrame(
            [(name, at, at + 2, c) for name in more.ids for at, c in ((2, "cap"), (6, "ss:H"))],
            columns=["sample", "start", "end", "concept"],
        )
    )
    codes = si.FeatureMatrix(sp.csr_array(np.ones((300, 2), np.float32)), more)
    families = si.split_families(more, by=[f"f{i}" for i in range(30)], seed=0)
    row = {"concept": "cap", "n": 60, "f1": 0.5, "feature": 1, "rank": 2, "best": 0.5, "back": True}
    asked: list[str] = []

    def searched(codes, against, *_):
        asked.append("model" if against is not None else "randomised")
        if len(asked) == 2:
            raise KeyboardInterrupt
        return {"rows": [{**row, "q": None if against is None else 0.1}], "context": {"novel": 3}}

    monkeypatch.setattr("sciinterp.discovery.rediscovery._searched", searched)
    given = {"split": families, "control": codes, "out": tmp_path / "kept"}
    with pytest.raises(KeyboardInterrupt):
        rediscover(codes, wide, **given)
    found = rediscover(codes, wide, **given)
    assert asked == ["model", "randomised", "randomised"] and found["codes"].tolist() == [
        "model",
        "randomised",
    ]
    assert found["q"].tolist() == pytest.approx([0.1, np.nan], nan_ok=True)
    assert found.context["model"] == {"novel": 3}
    with pytest.raises(MismatchError, match="other settings"):
        rediscover(codes, wide, **given, seed=1)
