"""Worlds and claims of the second suite: what they must keep whatever the seed, beside the plain way to the same numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from sciinterp.errors import InputError
from sciinterp.trust import benchmark_trust, suite
from sciinterp.trust.association_worlds import (
    CARRIED,
    LOST,
    SLOT,
    Collection,
    planted,
    rivals,
    rotated,
    true_f1,
    unrelated,
)
from sciinterp.trust.claims import CLAIMS, Claim, calibration, difference, exact_interval, pooled
from sciinterp.trust.designs import meets
from sciinterp.trust.discovery_worlds import CODES, K, make_world
from sciinterp.trust.forms import BACKGROUND, EXCHANGE, KINDS, draw_carriers, draw_families, draw_form, emit

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=12, deadline=None)
COUNTS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 9)).map(lambda p: [min(p), max(p)]), min_size=1, max_size=9
)


@FEW
@given(COUNTS, st.randoms(use_true_random=False))
def test_a_pooled_rate_knows_no_order_of_worlds_and_lies_in_its_interval(counts, random):
    worlds = [{"k": pair} for pair in counts]
    value, low, high, trials = pooled([worlds], "k")
    moved = random.sample(worlds, len(worlds))
    assert pooled([moved], "k") == pytest.approx((value, low, high, trials), nan_ok=True)
    assert pooled([worlds[:1], worlds[1:]], "k") == pytest.approx((value, low, high, trials), nan_ok=True)
    assert trials == sum(n for _, n in counts)
    if trials:
        assert 0 <= low <= value <= high <= 1
        k = sum(k for k, _ in counts)
        exact = binomtest(k, trials).proportion_ci(0.95, "exact")
        assert low <= exact.low + 1e-9  # worlds that differ say no more than as many trials on their own
        assert high >= exact.high - 1e-9
    else:
        assert np.isnan([value, low, high]).all()


def test_a_single_world_is_the_binomial_of_its_trials():
    exact = binomtest(3, 11).proportion_ci(0.95, "exact")
    assert exact_interval(np.array([3.0]), np.array([11.0])) == pytest.approx((exact.low, exact.high))


def test_calibration_is_of_all_lists_together_and_of_no_order():
    rng = np.random.default_rng(0)
    lists = [
        {"p": p.tolist(), "truth": (rng.random(20) < p).astype(int).tolist()} for p in rng.random((6, 20))
    ]
    value, low, high, trials = calibration([lists], "p")
    p, truth = (np.concatenate([one[key] for one in lists]) for key in ("p", "truth"))
    bins = np.minimum((p * 10).astype(int), 9)
    by_hand = sum(abs((p - truth)[bins == b].sum()) for b in range(10)) / len(p)
    assert value == pytest.approx(by_hand)
    assert trials == 120
    assert low <= high
    assert calibration([lists[3:], lists[:3]], "p")[0] == pytest.approx(value)
    sure = [{"p": [0.0, 1.0], "truth": [0, 1]}]
    assert calibration([sure], "p")[0] == 0
    assert calibration([[{"p": [1.0], "truth": [0]}]], "p")[0] == 1


def test_a_difference_turns_its_sign_with_its_designs():
    rng = np.random.default_rng(1)
    one, other = ([{"k": [int(k), 9]} for k in rng.integers(0, 9, 12)] for _ in range(2))
    value, low, high, _ = difference([one, other], "k")
    back = difference([other, one], "k")
    assert back[:3] == pytest.approx((-value, -high, -low))
    assert difference([one, one], "k")[:3] == (0, 0, 0)
    assert difference([one[:4], other], "k") == difference([one[:4], other[:4]], "k")


@FEW
@given(SEEDS)
def test_rows_meet_where_they_share_a_position(seed):
    rng = np.random.default_rng(seed)

    def rows(n):
        start = rng.integers(0, 12, n)
        names = {"sample": rng.choice(["a", "b"], n), "concept": rng.choice(["x", "y"], n)}
        return pd.DataFrame(names | {"start": start, "end": start + rng.integers(1, 4, n)})

    some, others = rows(9), rows(7)

    def places(row):
        return {(row.sample, row.concept, p) for p in range(row.start, row.end)}

    there = set().union(*(places(o) for o in others.itertuples(name="Row")))
    expected = [bool(places(r) & there) for r in some.itertuples(name="Row")]
    assert meets(some, others).tolist() == expected
    assert not meets(some, others.iloc[:0]).any()
    assert meets(some.iloc[:0], others).shape == (0,)


def test_letters_change_to_letters_and_backgrounds_are_shares():
    assert BACKGROUND.sum() == pytest.approx(1)
    assert (np.diff(EXCHANGE, axis=1) > 0).all()
    np.testing.assert_allclose(EXCHANGE[:, -1], 1)


@pytest.mark.parametrize("kind", KINDS)
def test_forms_are_whole(kind):
    for seed in range(5):
        form = draw_form(kind, np.random.default_rng(seed))
        np.testing.assert_allclose(form.columns.sum(axis=1), 1)
        assert sum(form.blocks) == len(form.columns) == len(form.face) == len(form.named)
        assert form.face.any() or kind == "periodic"  # a strand turned by a right angle shows no face
        assert form.named.any()
        assert form.gap[0] <= form.gap[1]
        assert (form.gap != (0, 0)) == (len(form.blocks) > 1)
    rng = np.random.default_rng(0)
    drawn = np.stack([emit(form, 0.0, rng) for _ in range(3000)])
    share = np.bincount(drawn.ravel(), minlength=20) / drawn.size
    np.testing.assert_allclose(share, BACKGROUND, atol=0.02)  # nothing of the concept is left


def test_carriers_are_as_many_as_asked_and_none_outside():
    clade = np.repeat(np.arange(4), 10)
    rng = np.random.default_rng(0)
    outside = np.arange(0, 40, 3)
    for _ in range(20):
        found = draw_carriers(clade, (0.3, 0.5), rng, outside=outside)
        assert 12 <= len(found) <= 20
        assert (np.diff(found) > 0).all()
        assert not np.isin(found, outside).any()
    assert len(draw_carriers(clade, (1.0, 1.0), rng, outside=outside)) == 40 - len(outside)


def test_families_hold_what_their_concepts_say_and_no_two_at_one_place():
    rng = np.random.default_rng(0)
    clade = np.repeat([0, 1], 4)
    forms = [draw_form(kind, rng) for kind in KINDS]
    carriers = [draw_carriers(clade, (0.5, 0.5), rng) for _ in forms]
    families = draw_families(forms, carriers, clade, rng, length=(120, 130), members=(2, 4))
    assert [f.clade for f in families] == clade.tolist()
    for number, family in enumerate(families):
        n_members, length = family.letters.shape
        assert 2 <= n_members < 4
        assert 120 <= length < 130
        assert family.letters.min() >= 0
        assert family.letters.max() < 20
        places = np.concatenate([where for _, where, _, _ in family.written]) if family.written else []
        assert len(set(np.asarray(places).tolist())) == len(places)
        for concept, _, present, genuine in family.written:
            assert genuine == (number in carriers[concept])
            assert len(present) == n_members
    crowded = draw_families(forms, carriers, clade, rng, length=(12, 13), members=(2, 3))
    longest = max(len(form.columns) for form in forms)
    assert all(len(where) <= 12 < longest for family in crowded for _, where, _, _ in family.written)


WORLDS = {
    "unrelated": lambda seed, c: unrelated(seed, c),
    "planted": lambda seed, c: planted(seed, c, n_carriers=4, recall=0.7, n_planted=2),
    "rotated": lambda seed, c: rotated(seed, c),
}


@pytest.mark.parametrize("name", WORLDS)
def test_association_worlds_lie_inside_their_samples(name):
    collection = Collection(n_families=9, members=(1, 4), length=(20, 60), n_features=6, n_concepts=3)
    one, again, other = (WORLDS[name](seed, collection) for seed in (5, 5, 6))
    samples, frame = one.features.samples, one.annotations.frame
    length = samples.lengths[[samples.index(s) for s in frame["sample"]]]
    assert (frame["start"] >= 0).all()
    assert (frame["start"] < frame["end"]).all()
    assert (frame["end"] <= length).all()
    assert (one.features.codes.data > 0).all()
    parts = [one.split.part(part) for part in ("train", "calibration", "test")]
    assert sorted(np.concatenate(parts)) == list(range(len(samples)))
    families = [set(one.split.family[part]) for part in parts]
    assert not families[0] & families[2]  # no family on both sides
    np.testing.assert_array_equal(one.features.codes.toarray(), again.features.codes.toarray())
    assert one.features.codes.shape != other.features.codes.shape
    # processes have streams of their own: one more feature leaves the others as they were
    wider = WORLDS[name](5, Collection(9, (1, 4), (20, 60), n_features=7, n_concepts=3))
    np.testing.assert_array_equal(wider.features.codes.toarray()[:, :6], one.features.codes.toarray())
    pd.testing.assert_frame_equal(wider.annotations.frame, frame)


def test_rivals_mark_whole_slots_and_their_truth_is_what_they_reach_on_many_families():
    world = rivals(0, n_test=400, n_concepts=3, n_train=2)
    for reader in (world.features, *world.rivals):
        dense = reader.codes.toarray()
        assert set(np.unique(dense)) == {0, 1}
        slots = dense.reshape(-1, SLOT, 3)
        assert (slots == slots[:, :1]).all()
    truth = world.annotations.positives(world.features.samples, world.annotations.position_names).toarray()
    assert truth.mean() == pytest.approx(CARRIED * (1 - LOST), abs=0.01)
    for reader in (world.features, *world.rivals):
        on = reader.codes.toarray() > 0
        for c, name in enumerate(world.annotations.position_names):
            f1 = 2 * (on[:, c] & truth[:, c]).sum() / (on[:, c].sum() + truth[:, c].sum())
            assert f1 == pytest.approx(world.truth[name], abs=0.06)
    assert true_f1(0.4) < true_f1(0.6) < true_f1(0.85)


@pytest.mark.parametrize("codes", CODES)
def test_discovery_worlds_keep_what_they_say_of_codes_and_places(codes):
    world = make_world(2, codes=codes, n_seeds=1, clades=(3, 3))
    samples, per_position = world.features.samples, np.diff(world.features.codes.indptr)
    assert (world.features.codes.data > 0).all()
    assert per_position.max() <= (K if codes == "topk" else world.features.n_features)
    for table in (world.annotations.frame, world.missing, world.instances):
        placed = table[table["start"] >= 0]
        length = samples.lengths[[samples.index(s) for s in placed["sample"]]]
        assert (placed["start"] < placed["end"]).all()
        assert (placed["end"] <= length).all()
    readers = [j for own in world.readers.values() for j in own]
    assert len(set(readers)) == len(readers)
    # another dictionary is the same features in another order: as many answer anywhere
    assert world.seeds[0].codes.shape == world.features.codes.shape


@pytest.fixture
def toys(monkeypatch):
    """Two claims on toy designs; what is asked of them is counted."""
    asked = []

    def design(name, k):
        def run(seed):
            asked.append((name, seed))
            return {"k": [(seed + k) % 3, 5]}

        return run

    monkeypatch.setattr(suite, "DESIGNS", {"one": design("one", 0), "two": design("two", 1)})
    claims = (Claim("first", "a", ("one",), "k", ("<=", 0.5)), Claim("both", "b", ("one", "two"), "k"))
    monkeypatch.setattr(suite, "CLAIMS", claims)
    return asked


def test_halves_that_share_a_folder_make_the_whole(toys, tmp_path):
    whole = benchmark_trust(n_worlds=5, out=tmp_path / "whole")
    benchmark_trust(n_worlds=5, out=tmp_path / "shared", only=["first"])
    shared = benchmark_trust(n_worlds=5, out=tmp_path / "shared")
    pd.testing.assert_frame_equal(pd.DataFrame(shared), pd.DataFrame(whole))
    assert (tmp_path / "shared" / "trust.tsv").read_bytes() == (tmp_path / "whole" / "trust.tsv").read_bytes()
    pd.testing.assert_frame_equal(pd.DataFrame(benchmark_trust(n_worlds=5)), pd.DataFrame(whole))
    assert toys.count(("one", 0)) == 3  # the second call on the shared folder took what was there
    assert whole["worlds"].tolist() == [5, 10]
    assert whole["trials"].tolist() == [25, 50]


def test_a_design_is_run_once_for_all_its_claims_and_no_other_is(toys):
    benchmark_trust(n_worlds=2, only=("first",))
    assert toys == [("one", 0), ("one", 1)]
    assert not len(benchmark_trust(n_worlds=0))


def test_names_of_claims_are_a_list_of_them():
    with pytest.raises(InputError, match="no such claim"):
        benchmark_trust(n_worlds=0, only=["leads"])
    assert {claim.name for claim in CLAIMS} >= {"lead", "power", "coverage"}
