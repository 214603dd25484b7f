"""What is counted of a world: by hand where the answer is known, and a small sample of worlds through the package."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest

from sciinterp.trust import benchmark_trust
from sciinterp.trust.association_worlds import Collection, unrelated
from sciinterp.trust.claims import CLAIMS
from sciinterp.trust.designs import (
    DESIGNS,
    TEN,
    _discovered,
    _planted,
    _recalls,
    _rivals,
    _unrelated,
    _verdicts,
    judged,
)
from sciinterp.trust.discovery_worlds import make_world

FEW = (5, 5, 4)  # families of each clade


@pytest.fixture(scope="module")
def world():
    return make_world(1, n_seeds=0, clades=FEW)


def candidates(world) -> pd.DataFrame:
    """Everything that is hidden, as a list that knows it."""
    rows = world.missing.assign(kind="missing", feature=0, evidence=[{}] * len(world.missing))
    base = {"sample": "", "start": 0, "end": 0}
    novel = [
        {**base, "kind": "novel", "concept": "", "feature": own[0], "evidence": {}}
        for _, own in world.novel.values()
    ]
    refined = [
        {
            **base,
            "kind": "refinement",
            "concept": name,
            "feature": a[0],
            "evidence": {"features": [b[0], a[0]]},
        }
        for name, (a, b) in world.merged.items()
    ]
    return pd.concat([rows, pd.DataFrame(novel), pd.DataFrame(refined)], ignore_index=True).assign(q=0.0)


def test_what_is_hidden_is_judged_true_and_found(world):
    rows = candidates(world)
    true = judged(rows, world)
    assert true.all()
    found = _recalls(rows.assign(true=true, of_set=False), world)
    assert all(k == n for k, n in found.values())


def test_other_rows_are_judged_false(world):
    rows = candidates(world)
    known = next(own[0] for name, own in world.readers.items() if name.startswith("plain"))
    name, (first, _) = next(iter(world.merged.items()))
    wrong = rows.copy()
    wrong["feature"] = known
    wrong["evidence"] = [{"features": [first[0], known]}] * len(wrong)
    missing = wrong["kind"] == "missing"
    wrong.loc[missing, "concept"] = name
    assert not judged(wrong, world).any()
    same_side = wrong.assign(evidence=[{"features": [first[0], first[1]]}] * len(wrong))
    assert not judged(same_side, world).any()


def test_only_the_first_ten_novel_rows_count(world):
    rows = candidates(world)
    novel = rows[rows["kind"] == "novel"]
    filler = pd.concat([novel.head(1).assign(feature=9999)] * TEN)
    late = pd.concat([filler, novel], ignore_index=True).assign(true=True, of_set=False)
    found = _recalls(late, world)
    assert not any(found[f"novel-{kind}"][0] for kind, _ in world.novel.values())


def test_discovery_counts_add_up():
    found = _discovered(0, hide=True, codes="topk", clades=FEW)
    keys = {key for claim in CLAIMS for key in (claim.key,) if claim.designs == ("hidden-topk",)}
    assert keys <= set(found)
    assert len(found["p"]) == len(found["truth"]) and set(found["truth"]) <= {0, 1}
    for name, value in found.items():
        if name not in ("p", "truth"):
            assert 0 <= value[0] <= value[1], name
    assert found["sure"][1] == int((np.array(found["p"]) >= 0.9).sum())


@pytest.mark.parametrize("copies", [1, 2])
def test_pairs_without_a_relation(copies):
    few = Collection(n_families=24, n_features=8, n_concepts=4, copies=copies)
    found = _unrelated(0, partial(unrelated, collection=few))
    for name in ("presence", "place"):
        assert 0 < found[name][1] <= 32 and found[name][0] <= found[name][1]
    assert found["any-q"][1] == 1 and found["any-q"][0] <= found["any-q_presence"][0]


def test_one_rival_and_two():
    found = _rivals(0, 8, folds=1)
    assert found["given"][1] >= 15 and found["covers"][1] == found["given"][0]
    two = _verdicts(0, 6)
    assert two["found"][1] >= 4 and two["false"][0] <= two["false"][1]
    assert two["any"] == [int(two["false"][0] > 0), 1]


def test_a_strong_relation_is_found():
    assert _planted(0, 15, 0.8)["found"] == [4, 4]
    rotated = DESIGNS["rotated"](0)
    assert rotated["presence"][0] >= 8, "that families carry what their feature reads stays"
    assert rotated["any-q_place"][1] == 1


def test_every_claim_is_counted_by_its_designs():
    """Keys of the table are keys of what designs return; those of one kind return the same ones."""
    of_kind = {
        "rivals": {"above", "covers", "given"},
        "folded": {"above", "covers", "given"},
        "planted": {"found"},
        "verdicts": {"false", "any", "found"},
        "rotated": {"presence", "place", "any-q", "any-q_presence", "any-q_place"},
    }
    for claim in CLAIMS:
        for name in claim.designs:
            assert name in DESIGNS
            known = of_kind.get(name.split("-")[0])
            assert known is None or claim.key in known, (claim.name, name)


@pytest.fixture(scope="module")
def table():
    """Worlds whose seeds no table of the manual was made of."""
    return benchmark_trust(seed=100_000, n_worlds=20)


@pytest.mark.slow
@pytest.mark.parametrize("number", [i for i, claim in enumerate(CLAIMS) if claim.bar is not None])
def test_bars_hold(table, number):
    """No interval lies wholly on the wrong side of its bar."""
    claim = CLAIMS[number]
    row = table[(table["claim"] == claim.name) & (table["design"] == claim.design)].iloc[0]
    assert claim.bar is not None
    nearer = row["low"] if claim.bar[0] == "<=" else row["high"]
    assert claim.holds(nearer) != "no", row.to_dict()
