"""What the loops of association count, beside the plain way to count it: loops over sets, pandas, SciPy, scikit-learn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scipy.stats as stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from sciinterp.activations.axes import Moments
from sciinterp.annotations import Annotations
from sciinterp.association import AssociationSettings, associate, enrich_sets, read_hits, write_hits
from sciinterp.association.blocks import blocks_of, count_listed, listed
from sciinterp.association.by_position import by_position, indicator
from sciinterp.association.dense_baselines import _PROBE_RIDGE, linear_probe, position_rows, read_rows
from sciinterp.association.domains import IOU, instance_recall, instances_of, of_concepts
from sciinterp.association.explanations import THRESHOLDS, controlled, explained_by
from sciinterp.association.family_counts import FamilyCounts, count_pairs
from sciinterp.association.fitting import Fitted, Inputs, pooled
from sciinterp.association.genes import one_hot, one_hot_blocks
from sciinterp.association.jackknife import difference, effective_families, families_needed, interval, p_above
from sciinterp.association.letters import MAX_LETTERS, Letters, distance_from_end, distance_from_start
from sciinterp.association.measure import same_density, train_pairs
from sciinterp.association.partitions import Part, coverages, make_part, partition
from sciinterp.association.presence import family_activity, otsu, present_in, present_in_samples
from sciinterp.association.ranking import score_pairs
from sciinterp.association.sequence_baselines import COMPOSITION_WINDOW, _Surroundings
from sciinterp.association.sets import set_curves
from sciinterp.association.statistics import carriage_share, stratified_exact
from sciinterp.association.worth import interval_of_mean
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.by_feature import by_feature
from sciinterp.samples import Samples, Split

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=12, deadline=None)


def small(seed, *, n_features=5, n_concepts=3, digits=1):
    """A few short samples of some families, their codes (with ties) and concepts, and the part of some of them."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, 8)
    n = int(lengths.sum())
    samples = Samples([f"s{i}" for i in range(8)], lengths=lengths)
    dense = np.round(rng.random((n, n_features)), digits) * (rng.random((n, n_features)) < 0.5)
    truth = rng.random((n, n_concepts)) < 0.3
    family = rng.integers(0, 3, 8)
    split = Split(
        np.zeros(0, int), np.zeros(0, int), np.sort(rng.permutation(8)[:6]), family, ("x", "y", "z")
    )
    features = FeatureMatrix(sp.csr_array(dense.astype(np.float32)), samples)
    return rng, features, sp.csr_array(truth), make_part(samples, sp.csr_array(truth), split, split.test)


def on_part(features, part):
    return features.codes.toarray()[part.rows]


@FEW
@given(SEEDS)
def test_counts_by_family_are_those_of_a_loop(seed):
    rng, features, _, part = small(seed)
    feature, concept = rng.integers(0, 5, 12), rng.integers(0, 3, 12)
    threshold = np.round(rng.random(12), 1).astype(np.float32)
    dense, truth = on_part(features, part), part.positives.toarray()
    got = count_pairs(by_feature(sp.csr_array(dense)), part, feature, concept, threshold)
    for i, (j, c, t) in enumerate(zip(feature, concept, threshold)):
        on = dense[:, j] > t
        for f in range(part.n_families):
            inside = part.family == f
            cells = (on & truth[:, c] & inside).sum(), (on & inside).sum(), (truth[:, c] & inside).sum()
            assert (got.tp[i, f], got.predicted[i, f], got.positive[i, f]) == cells
    assert got.f1().tolist() == pytest.approx(
        [
            f1_score(truth[:, c], dense[:, j] > t, zero_division=0.0)
            for j, c, t in zip(feature, concept, threshold)
        ]
    )


@FEW
@given(SEEDS, st.integers(1, 4))
def test_codes_that_come_in_blocks_are_counted_as_at_once(seed, size):
    rng, features, _, part = small(seed)
    feature, concept = rng.integers(0, 5, 9), rng.integers(0, 3, 9)
    threshold = rng.random(9).astype(np.float32)
    codes = by_feature(features.codes).at(part.rows)
    blocks = [(low, codes.block(low, min(low + size, 5))) for low in range(0, 5, size)]
    whole, parts = count_pairs(codes, part, feature, concept, threshold), (feature, concept, threshold)
    by_block = count_listed(iter(blocks), part, *parts)
    for name in ("tp", "predicted", "positive"):
        np.testing.assert_array_equal(getattr(by_block, name), getattr(whole, name))
    seen = []
    for mine, some, number in listed(iter(blocks), feature):
        assert (number < some.n_features).all()
        seen += [(int(i), int(feature[i])) for i in mine]
    assert sorted(seen) == list(enumerate(feature.tolist()))


@FEW
@given(SEEDS)
def test_listed_pairs_are_scored_as_scikit_learn_scores_them(seed):
    rng, features, _, part = small(seed)
    feature, concept = rng.integers(0, 5, 6), rng.integers(0, 3, 6)
    dense, truth = on_part(features, part), part.positives.toarray()
    ap, auroc = score_pairs(by_feature(sp.csr_array(dense)), part.by_position, feature, concept)
    for i, (j, c) in enumerate(zip(feature, concept)):
        if 0 < truth[:, c].sum() < len(truth):
            assert ap[i] == pytest.approx(average_precision_score(truth[:, c], dense[:, j]))
            assert auroc[i] == pytest.approx(roc_auc_score(truth[:, c], dense[:, j]))


def runs(on, sample):
    """Maximal runs of a mask within samples, as sets of positions."""
    out = []
    for p in np.flatnonzero(on):
        if out and p - 1 in out[-1] and sample[p] == sample[p - 1]:
            out[-1].add(int(p))
        else:
            out.append({int(p)})
    return out


@FEW
@given(SEEDS)
def test_instances_are_touched_and_found_as_sets_of_positions_are(seed):
    rng, features, _, part = small(seed, n_features=3)
    samples = features.samples
    sample = rng.integers(0, 8, 14)
    start = np.array([rng.integers(0, samples.lengths[s]) for s in sample])
    end = np.array([rng.integers(a + 1, samples.lengths[s] + 1) for a, s in zip(start, sample)])
    base = samples.offsets[sample]
    table = pd.DataFrame(
        {"concept": rng.integers(0, 3, 14), "start": base + start, "end": base + end, "sample": sample}
    )
    placed = instances_of(table, samples, part)
    pairs = pd.DataFrame(
        {
            "feature": rng.integers(0, 3, 6),
            "concept": rng.integers(0, 3, 6),
            "threshold": np.round(rng.random(6), 1),
        }
    )
    dense = on_part(features, part)
    codes, lengths = by_feature(sp.csr_array(dense)), samples.lengths[part.samples]
    touched, found, of = instance_recall(codes, part, placed, pairs, lengths)
    number = np.repeat(np.arange(len(lengths)), lengths)
    position = {int(row): i for i, row in enumerate(part.rows)}
    for i, pair in enumerate(pairs.itertuples()):
        segments = runs(dense[:, pair.feature] > np.float32(pair.threshold), number)
        mine = table[(table["concept"] == pair.concept) & table["sample"].isin(part.samples)]
        spans = [{position[p] for p in range(a, b)} for a, b in zip(mine["start"], mine["end"])]
        overlaps = [max((len(s & x) / len(s | x) for x in segments), default=0.0) for s in spans]
        assert of[i] == len(spans)
        assert touched[i] == sum(share > 0 for share in overlaps)
        assert found[i] == sum(share >= IOU for share in overlaps)


def test_instances_of_some_concepts_are_numbered_as_these():
    table = pd.DataFrame({"concept": [4, 0, 2, 4, 1], "start": range(5)})
    found = of_concepts(table, np.array([0, 4]))
    assert found["concept"].tolist() == [1, 0, 1]
    assert found["start"].tolist() == [0, 1, 3]
    assert not len(of_concepts(table, np.array([3])))


@FEW
@given(SEEDS)
def test_activity_of_a_family_is_the_mean_of_its_samples_maxima(seed):
    _, features, _, _ = small(seed)
    family = np.random.default_rng(seed).integers(0, 4, 8)
    frame = pd.DataFrame(features.codes.toarray()).groupby(features.samples.position_sample()).max()
    expected = frame.groupby(family).mean().reindex(range(4), fill_value=0.0)
    np.testing.assert_allclose(family_activity(features, family, 4), expected.T, rtol=1e-6)


@FEW
@given(st.lists(st.integers(0, 6), min_size=2, max_size=12))
def test_the_dividing_threshold_parts_the_most_separate_classes(values):
    row = np.array(values, float)
    cut = otsu(row[None])[0]

    def between(mask):
        return mask.mean() * (~mask).mean() * (row[mask].mean() - row[~mask].mean()) ** 2

    splits = [between(row > t) for t in np.unique(row)[:-1]]
    if splits:
        assert between(row > cut) == pytest.approx(max(splits))
        np.testing.assert_array_equal(present_in(row[None])[0], row > cut)
    else:
        assert not present_in(row[None]).any()  # all alike: in none
    largest = sp.csr_array(row[:, None].astype(np.float32))
    np.testing.assert_array_equal(present_in_samples(largest), present_in(row[None].astype(np.float32)))


@FEW
@given(SEEDS)
def test_shares_of_families_and_coverages_are_those_of_a_table(seed):
    rng = np.random.default_rng(seed)
    carries, covered, family = rng.random((20, 3)) < 0.4, rng.random((20, 3)) < 0.7, rng.integers(0, 5, 20)
    share, known = carriage_share(carries, covered, family, 5)
    for c in range(3):
        frame = pd.Series(carries[:, c].astype(float))[covered[:, c]].groupby(family[covered[:, c]]).mean()
        expected = frame.reindex(range(5))
        np.testing.assert_array_equal(known[c], expected.notna())
        np.testing.assert_allclose(share[c], expected.fillna(0.0))
    groups = coverages(covered)
    assert sorted(np.concatenate([concepts for concepts, _ in groups]).tolist()) == [0, 1, 2]
    for concepts, inside in groups:
        assert all((covered[:, c] == inside).all() for c in concepts)


@FEW
@given(SEEDS)
def test_the_normal_deviate_is_that_of_hypergeometric_counts(seed):
    rng = np.random.default_rng(seed)
    present, carries, strata = rng.random((4, 18)) < 0.5, rng.random((3, 18)) < 0.4, rng.integers(0, 3, 18)
    p, z, p_min = stratified_exact(present, carries, strata)
    for j in range(4):
        for c in range(3):
            moments = [
                stats.hypergeom.stats(m.sum(), present[j, m].sum(), carries[c, m].sum(), moments="mv")
                for m in (strata == s for s in np.unique(strata))
            ]
            both, (mean, variance) = (present[j] & carries[c]).sum(), np.nansum(moments, axis=0)
            if variance > 0:
                assert z[j, c] == pytest.approx((both - mean) / np.sqrt(variance), abs=1e-9)
            else:
                assert (z[j, c], p[j, c]) == (-np.inf, 1.0)
    # strata by another number are the same strata, and so are units in another order
    order = rng.permutation(18)
    for other in ((present, carries, 7 - strata), (present[:, order], carries[:, order], strata[order])):
        for one, two in zip(stratified_exact(*other), (p, z, p_min)):
            np.testing.assert_allclose(one, two, atol=1e-9)


def test_a_linear_probe_is_ridge_regression():
    rng = np.random.default_rng(0)
    values, truth = rng.normal(size=(300, 6)).astype(np.float32), rng.random((300, 2)) < 0.3
    values[:, 2] += 2 * truth[:, 0]
    none = np.zeros(300, np.int32)
    part = Part(np.arange(1), np.arange(300), sp.csr_array(truth), none, np.zeros(1, np.int64))
    found = linear_probe(Moments.of(values), values, part)
    penalty = _PROBE_RIDGE * np.trace(np.cov(values.T, bias=True)) / 6 * 300
    expected = Ridge(alpha=penalty).fit(values, truth.astype(float)).coef_.T
    np.testing.assert_allclose(found, expected, atol=1e-6)


@FEW
@given(SEEDS)
def test_one_hot_columns_are_rows_of_the_identity(seed):
    rng = np.random.default_rng(seed)
    columns = rng.integers(0, 5, (30, 2))  # 4 is in none
    eye = np.eye(5)[:, :4]
    np.testing.assert_array_equal(one_hot(columns[:, 0], 4).to_csc().toarray(), eye[columns[:, 0]])
    np.testing.assert_array_equal(indicator(columns[:, 1], 5).toarray(), np.eye(5)[columns[:, 1]])
    part = Part(np.arange(1), np.arange(0, 30, 3), sp.csr_array((10, 1)), np.zeros(10, np.int32), np.zeros(1))
    for (low, codes), number in zip(one_hot_blocks(columns, 4)(part), range(2)):
        assert low == 4 * number
        np.testing.assert_array_equal(codes.to_csc().toarray(), eye[columns[part.rows, number]])


def test_letters_words_and_surroundings_are_those_of_the_text():
    rng = np.random.default_rng(1)
    texts = ["".join(rng.choice(list("ACDE"), n)) for n in (1, 2, 7, 20)]
    samples = Samples([f"s{i}" for i in range(4)], texts)
    letters = Letters.of(samples, np.array([2, 3]))
    assert letters is not None
    beyond, size = letters.n_letters, letters.n_letters + 1
    name = [*letters.names, "-"]
    places = [(text, p) for text in texts for p in range(len(text))]
    assert [name[i] for i in letters.numbers] == [text[p] for text, p in places]
    np.testing.assert_array_equal(distance_from_start(samples), [p for _, p in places])
    np.testing.assert_array_equal(distance_from_end(samples), [len(text) - 1 - p for text, p in places])

    def around(text, p, steps):
        return [text[p + s] if 0 <= p + s < len(text) else "-" for s in steps]

    for row, (text, p) in zip(letters.windows(2), places):
        assert [name[i] for i in row] == around(text, p, range(-2, 3))
    for offset in (-2, -1, 0):
        for code, (text, p) in zip(letters.words(offset), places):
            word = [name[code // size**2], name[code // size % size], name[code % size]]
            assert word == around(text, p, range(offset, offset + 3))
    seen, half = _Surroundings(letters), COMPOSITION_WINDOW // 2
    shares, entropy = seen.shares(np.arange(30), slice(None)), seen.entropy(np.arange(30))
    for i, (text, p) in enumerate(places):
        held = Counter(text[max(0, p - half) : p + half])
        total = sum(held.values())
        assert shares[i].tolist() == pytest.approx([held[x] / total for x in letters.names])
        assert entropy[i] == pytest.approx(stats.entropy(list(held.values()), base=2), abs=1e-6)
    assert beyond <= MAX_LETTERS + 1


def test_more_letters_than_are_told_apart_share_the_last_number():
    text = "".join(chr(48 + i) * (40 - i) for i in range(40))
    letters = Letters.of(Samples(["a"], [text]), np.array([0]))
    assert letters is not None
    assert letters.names[:MAX_LETTERS] == [chr(48 + i) for i in range(MAX_LETTERS)]
    assert set(letters.numbers[np.frombuffer(text.encode(), np.uint8) >= 48 + MAX_LETTERS]) == {MAX_LETTERS}


@FEW
@given(SEEDS)
def test_tokens_stand_for_the_positions_that_they_cover_first(seed):
    """Rows of activations, in a store or an array, and none where no token lies."""
    rng = np.random.default_rng(seed)
    samples = Samples(["a", "b"], ["ACDEF", "GHI"])

    class Store:
        def __init__(self):
            self.spans = {"start": np.array([0, 1, 3, 0]), "end": np.array([2, 3, 4, 3])}
            self.token_offsets, self.n_tokens, self.d_in = np.array([0, 3, 4]), 4, 3
            self.values = rng.normal(size=(4, 3)).astype(np.float32)

        def read(self, low, high):
            return self.values[low:high]

    store = Store()
    rows = position_rows(store, samples)
    assert rows.tolist() == [0, 0, 1, 2, -1, 3, 3, 3]
    wanted = rng.permutation(rows)[:5]
    expected = np.where(wanted[:, None] >= 0, store.values[wanted], 0)
    np.testing.assert_array_equal(read_rows(store, wanted), expected)
    np.testing.assert_array_equal(read_rows(store.values, wanted), expected)


@FEW
@given(SEEDS)
def test_the_median_neighbour_in_density_is_that_of_a_list(seed):
    _, features, truth, _ = small(seed, n_features=9)
    family = np.arange(8) // 2
    split = Split(np.arange(4), np.zeros(0, int), np.arange(4, 8), family, tuple("wxyz"))
    parts = partition(features.samples, truth, np.ones((8, 3), bool), split)[0]
    training = train_pairs(features, parts)
    found = same_density(Inputs(features.samples, parts, training=training))
    for c in range(3):
        best = int(np.argmax(training.f1[:, c]))
        others = [j for j in range(9) if j != best]
        ranked = sorted(others, key=lambda j: training.f1[j, c])
        assert found.f1_train[c] == training.f1[ranked[len(ranked) // 2], c]


def test_counts_of_folds_add_up_and_rows_can_be_taken():
    rng = np.random.default_rng(0)
    some = [FamilyCounts(*rng.integers(0, 9, (3, 4, 5))) for _ in range(3)]
    added, joined = FamilyCounts.added(some), FamilyCounts.joined(some)
    np.testing.assert_array_equal(added.tp, some[0].tp + some[1].tp + some[2].tp)
    assert joined.tp.shape == (12, 5)
    np.testing.assert_array_equal(joined.take(np.arange(4, 8)).positive, some[1].positive)
    assert [s.tolist() for s in added.sums()] == [
        getattr(added, n).sum(axis=1).tolist() for n in ("tp", "predicted", "positive")
    ]
    np.testing.assert_array_equal(added.jackknifed().value, added.f1())
    folds = [
        Fitted(np.full(4, k), counts, list(said))
        for k, (counts, said) in enumerate(zip(some, ("aabb", "abbb", "cab ")))
    ]
    together = pooled(folds)
    assert together.f1_train.tolist() == [1.0] * 4
    assert together.detail[2:] == ["b (3 of 3 folds)", "b (2 of 3 folds)"]
    assert pooled(folds[:1]) is folds[0]


@pytest.mark.parametrize("n", [2, 3, 30])
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_interval_of_a_mean_is_students(n, level):
    values = np.random.default_rng(n).normal(size=n)
    expected = stats.ttest_1samp(values, 0).confidence_interval(level)
    assert interval_of_mean(values, level) == pytest.approx(tuple(expected))


def test_effective_families_lie_between_one_and_their_number():
    rng = np.random.default_rng(2)
    counts = rng.integers(0, 50, (40, 9))
    number, effective = effective_families(counts)
    assert (effective >= 1 - 1e-12).all()
    assert (effective <= number + 1e-12).all()
    np.testing.assert_allclose(effective_families(3 * counts)[1], effective)
    assert np.isnan(effective_families(np.zeros((1, 4)))[1]).all()


def test_intervals_know_neither_the_order_nor_the_names_of_families():
    rng = np.random.default_rng(3)
    positive = rng.integers(1, 9, (6, 12))
    mine, other = (
        FamilyCounts(rng.integers(0, positive + 1), positive + rng.integers(0, 3, positive.shape), positive)
        for _ in range(2)
    )
    order = rng.permutation(12)
    moved = [FamilyCounts(*(x[:, order] for x in (c.tp, c.predicted, c.positive))) for c in (mine, other)]
    one, two = ([c.jackknifed() for c in pair] for pair in ((mine, other), moved))
    for measure in (difference, p_above, families_needed):
        np.testing.assert_allclose(measure(*one), measure(*two), rtol=1e-6)
    np.testing.assert_allclose(interval(one[0]), interval(two[0]))
    with_silent = FamilyCounts(
        *(np.pad(x, ((0, 0), (0, 3))) for x in (mine.tp, mine.predicted, mine.positive))
    )
    np.testing.assert_allclose(interval(with_silent.jackknifed()), interval(one[0]), atol=0.02)


@FEW
@given(SEEDS)
def test_enrichment_of_sets_does_not_know_the_order_of_items(seed):
    rng = np.random.default_rng(seed)
    members, sets = rng.random((40, 4)) < 0.3, rng.random((40, 3)) < 0.4
    order = rng.permutation(40)
    whole = enrich_sets(sp.csr_array(members), sp.csr_array(sets))
    moved = enrich_sets(sp.csr_array(members[order]), sp.csr_array(sets[order]), background=np.ones(40, bool))
    pd.testing.assert_frame_equal(whole, moved)
    # q-values are over all pairs, those that do not overlap with p = 1
    p = np.array([[stats.hypergeom.sf((members[:, j] & sets[:, s]).sum() - 1, 40, sets[:, s].sum(), members[:, j].sum())
                   for s in range(3)] for j in range(4)])  # fmt: skip
    q = stats.false_discovery_control(p.ravel()).reshape(4, 3)
    for row in whole.itertuples():
        assert row.q == pytest.approx(q[row.feature, int(row.set)])
    none = enrich_sets(sp.csr_array(members[:, :0]), sp.csr_array(sets))
    assert not len(none)
    assert list(none) == list(whole)


@FEW
@given(st.floats(0, 1), st.floats(-1, 1), st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_a_word_is_said_of_one_pair_whatever_stands_beside_it(f1, low, rivals):
    """Explained by what reaches feature and floor; never by what does not; of two that do, the simpler."""
    given_one = {"position": np.array([rivals[0]]), "neuron": np.array([rivals[1]])}
    word = explained_by(np.array([f1]), np.array([low]), given_one)[0]
    reach = {name: value[0] >= max(f1, THRESHOLDS.floor) for name, value in given_one.items()}
    if low > 0:
        assert word == ""
    elif max(f1, *rivals) < THRESHOLDS.floor:
        assert word == "not found"
    else:
        assert word == next((name for name, enough in reach.items() if enough), "unclear")
    twice = explained_by(
        np.array([f1, 0.9]), np.array([low, 1.0]), {k: np.append(v, 0) for k, v in given_one.items()}
    )
    assert twice.tolist() == [word, ""]
    back = controlled(pd.Series([word]), pd.Series([f1]), pd.Series([1.0]))[0]
    assert back == (word or ("not found" if f1 < THRESHOLDS.floor else "unclear"))


def test_an_or_set_is_the_union_of_its_features_at_their_training_thresholds():
    _, features, truth, _ = small(5, n_features=6, digits=3)
    split = Split(np.arange(5), np.zeros(0, int), np.arange(5, 8), np.arange(8), tuple("abcdefgh"))
    parts = partition(features.samples, truth, np.ones((8, 3), bool), split)[0]
    training = train_pairs(features, parts)
    curves = pd.concat(
        [draw() for draw in set_curves(Inputs(features.samples, parts, training=training), ks=(1, 2, 3))]
    )
    dense, whole = features.codes.toarray(), truth.toarray()
    rows = curves[curves["rule"] == "or"]
    assert set(rows["k"]) == {1, 2, 3}
    for row in rows.itertuples():
        units = [int(j) for j in row.units.split()]
        on = np.logical_or.reduce([dense[:, j] > training.threshold[j, row.concept] for j in units])
        for part, f1 in ((parts.train, row.f1_train), (parts.test, row.f1)):
            if whole[part.rows, row.concept].any():
                score = f1_score(whole[part.rows, row.concept], on[part.rows], zero_division=0.0)
                assert f1 == pytest.approx(score)
    grown = rows.pivot(index="concept", columns="k", values="f1_train")
    assert (grown.diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)


def test_hits_come_back_from_their_files_as_they_were(tmp_path):
    rng = np.random.default_rng(8)
    samples = Samples([f"s{i}" for i in range(12)], ["ACDEFGHI"] * 12)
    dense = (rng.random((96, 4)) * (rng.random((96, 4)) < 0.3)).astype(np.float32)
    frame = pd.DataFrame(
        [(f"s{i}", 1, 4, c) for i in range(12) for c in ("None", "1", "NA")],
        columns=["sample", "start", "end", "concept"],
    )
    split = Split(np.arange(6), np.zeros(0, int), np.arange(6, 12), np.arange(12), tuple("abcdefghijkl"))
    quick = AssociationSettings(folds=1, sets=(1,), set_draws=1)
    hits = associate(
        FeatureMatrix(sp.csr_array(dense), samples), Annotations(frame), split=split, settings=quick
    )
    write_hits(hits, tmp_path)
    back = read_hits(tmp_path)
    assert sorted(back["concept"].unique()) == ["1", "NA", "None"]
    empty = {"explained_by", "best_baseline", "test"}  # an empty word is an empty cell
    for name in hits.columns:
        left, right = hits[name].to_numpy(), back[name].to_numpy()
        if name in empty or hits[name].dtype == object:
            assert [str(x) for x in left] == ["" if x is None or x != x else str(x) for x in right]
        else:
            np.testing.assert_allclose(left.astype(float), right.astype(float), rtol=1e-6, atol=1e-9)
    assert back.context["not_run"] == hits.context["not_run"]
    pd.testing.assert_frame_equal(
        back.context["sets"].drop(columns="units"),
        hits.context["sets"].reset_index(drop=True).drop(columns="units"),
        rtol=1e-5,
        check_dtype=False,
    )


def test_blocks_name_the_first_of_their_features():
    _, features, _, part = small(3)
    whole = features.by_feature().at(part.rows).to_csc().toarray()
    got = np.hstack([codes.to_csc().toarray() for _, codes in blocks_of(features, part)])
    np.testing.assert_array_equal(got, whole)
    assert not list(blocks_of(features, part, np.zeros(0, int)))
    assert (
        by_position(part.positives, part.n_positions).n_positive.tolist()
        == part.positives.sum(axis=0).tolist()
    )
