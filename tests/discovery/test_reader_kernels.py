"""What readers compute, beside the plainest code that computes the same; and what they must not depend on."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from laid_out import problem_of, random_texts

from sciinterp.discovery import letter_pairs as lp
from sciinterp.discovery import plain_readings as plain
from sciinterp.discovery.gapped import HALF, LEFT, MAX_GAP, RIGHT, fit_gapped, score_gapped
from sciinterp.discovery.periodicity import (
    HALVES,
    LONG,
    PERIODS,
    SHIFT,
    _nearby,
    fit_periodicity,
    scales,
    score_periodicity,
)
from sciinterp.discovery.planted_forms import LETTERS
from sciinterp.discovery.profiles import MOTIF, fit_profile, score_profile
from sciinterp.discovery.reader_kinds import DOMAIN, LABELS, READERS, FitData
from sciinterp.discovery.sequence_readers import _even, _of_same_class, spread_over
from sciinterp.discovery.surroundings import MAX_LABELS, lay_out

ALPHABET = "".join(LETTERS)


@pytest.fixture(scope="module")
def around():
    return problem_of(random_texts(12, 50, 3)).around


@pytest.fixture(scope="module")
def peaks(around):
    """Ten peaks of each of four rows on the padded axis, some of them none."""
    rng = np.random.default_rng(0)
    at = around.at[rng.integers(0, len(around.at), (4, 10))]
    return np.where(rng.random(at.shape) < 0.15, -1, at)


def planted(write, n: int = 30, length: int = 90, letters: str = ALPHABET):
    """Surroundings of random sequences where ``write(rng)`` stands from 40 on, and a peak in its middle, one a sequence."""
    rng = np.random.default_rng(7)
    texts = [list(text) for text in random_texts(n, length, 5, letters)]
    for text in texts:
        here = write(rng)
        text[40 : 40 + len(here)] = here
    made = problem_of(["".join(text) for text in texts]).around
    return made, made.padded(np.arange(n)[None] * length + 44)


# Columns over the padded axis.


def test_the_padded_axis_keeps_letters_and_parts_samples():
    texts = ["ACDA", "W", "CCD"]
    around = problem_of(texts).around
    assert "".join(around.alphabet[x] for x in around.letters[around.at]) == "".join(texts)
    before, behind = around.from_ends(around.at)
    assert (before.tolist(), behind.tolist()) == ([0, 1, 2, 3, 0, 0, 1, 2], [3, 2, 1, 0, 0, 2, 1, 0])
    assert around.sample[around.at].tolist() == [0] * 4 + [1] + [2] * 3
    between = np.setdiff1d(np.arange(len(around.letters)), around.at)
    assert len(between) == 4 * lp.FAR and (around.letters[between] == around.n_letters).all()
    assert (around.sample[between] == -1).all() and not np.any(around.from_ends(between))
    assert around.padded(np.array([[3, -1]])).tolist() == [[around.at[3], -1]]
    counts = Counter("".join(texts))
    assert around.share() == pytest.approx([counts[x] / 8 for x in around.alphabet])


def test_broad_concepts_are_one_label_a_combination_commonest_first():
    held = np.array([[1, 0], [1, 0], [1, 1], [0, 0], [1, 0], [0, 0]], bool)
    letters, offsets = np.zeros(6, np.int64), np.array([0, 6])
    around = lay_out(letters, ["A"], offsets, np.zeros(6), held, ["h", "s"])
    assert around.label_names == ["h", "none", "h+s"]
    assert around.labels[around.at].tolist() == [0, 0, 2, 1, 0, 1]
    assert around.share("labels").tolist() == pytest.approx([3 / 6, 2 / 6, 1 / 6])
    none = lay_out(letters, ["A"], offsets, np.zeros(6), np.zeros((0, 0), bool), [])
    assert len(none.labels) == 0 and none.label_names == []


def test_more_combinations_than_are_told_apart_are_others():
    held = np.array(list(product([False, True], repeat=5)))
    n = len(held)
    around = lay_out(np.zeros(n, int), ["A"], np.array([0, n]), np.zeros(n), held, list("abcde"))
    assert len(around.label_names) == MAX_LABELS + 1 and around.label_names[-1] == "others"
    assert (around.labels[around.at] == MAX_LABELS).sum() == n - MAX_LABELS


@pytest.mark.parametrize(
    ("letters", "size"), [(ALPHABET, 1), ("ACGT", 2), ("AB", 4), ("A", 1), ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 1)]
)
def test_words_are_the_letters_that_follow(letters, size):
    text = random_texts(1, 400, 1, letters)[0]
    around = problem_of([text]).around
    assert around.word_size == size and around.n_words <= lp.MAX_WORDS
    common = Counter(text[i : i + size] for i in range(len(text) - size + 1)).most_common(around.n_words)
    number: dict[str, int] = {}
    for i in range(len(text) - size + 1):
        word = int(around.words[around.at[i]])
        assert word == around.n_words or number.setdefault(text[i : i + size], word) == word
    least = min(n for _, n in common)
    assert len(set(number.values())) == len(number) == around.n_words
    assert all(n <= least for word, n in Counter(text).items() if size == 1 and word not in number)
    last = around.words[around.at[len(text) - size + 1 :]]  # these words would reach beyond the end
    assert (last == around.n_words).all()


# Profiles.


@pytest.mark.parametrize(("shape", "column"), [(MOTIF, "letters"), (DOMAIN, "letters")])
def test_a_profile_scores_the_best_of_its_offsets(around, peaks, shape, column):
    values = getattr(around, column)
    odds = np.random.default_rng(1).normal(
        size=(len(peaks), shape.tie.max() + 1, len(around.share(column)) + 1)
    )
    best, where = score_profile(values, peaks, odds, shape)
    for (i, p), at in np.ndenumerate(peaks):
        if at < 0:
            assert best[i, p] == 0
            continue
        first = [at + o - shape.width // 2 for o in shape.offsets]
        sums = [sum(odds[i, c, values[f + j]] for j, c in enumerate(shape.tie)) for f in first]
        assert best[i, p] == pytest.approx(max(sums))
        assert where[i, p] == shape.offsets[int(np.argmax(sums))]


@pytest.mark.parametrize("shift", [-3, 0, 2])
def test_a_motif_is_found_where_peaks_lie_beside_it(shift):
    around, at = planted(lambda rng: list("WCHMYKW"))
    at = at + np.where(np.arange(at.shape[1]) % 2, shift, 0)
    odds = fit_profile(around.letters, at, at >= 0, around.share(), MOTIF)
    text = "".join(around.alphabet[i] for i in odds[0, :, :-1].argmax(1))
    assert "CHMYK" in text  # it may lie a column off
    assert (odds[0, :, -1] == 0).all()  # the sentinel says nothing
    where = score_profile(around.letters, at, odds, MOTIF)[1]
    assert len(set((at + where)[0] - around.padded(np.arange(30)[None] * 90)[0])) == 1


def test_a_fit_without_peaks_knows_the_background_alone(around, peaks):
    odds = fit_profile(around.letters, peaks, np.zeros(peaks.shape, bool), around.share(), MOTIF)
    assert np.abs(odds).max() < 1e-6


# Every reader: rows are fitted alone, the order of peaks and what is no peak say nothing.


def models_of(reader, around, at, train):
    other = spread_over(around, at, 1)[..., 0]
    return reader.fit(FitData(around, at, other, train[None]))[0]


TEXT_READERS = [reader for reader in READERS if reader.column == "letters"]


@pytest.mark.parametrize("reader", TEXT_READERS, ids=lambda r: r.name)
def test_a_row_is_read_as_if_it_were_alone(reader, around, peaks):
    whole = reader.score(around, peaks, models_of(reader, around, peaks, peaks >= 0))
    # Chance is counted over the rows that are fitted together, and so are the numbers that rank pairs.
    rows = [2] if reader.name not in ("pair", "gapped") else range(len(peaks))
    some = peaks[list(rows)]
    alone = reader.score(around, some, models_of(reader, around, some, some >= 0))
    np.testing.assert_array_equal(whole[list(rows)], alone)


@pytest.mark.parametrize("reader", TEXT_READERS, ids=lambda r: r.name)
def test_the_order_of_peaks_says_nothing(reader, around, peaks):
    order = np.random.default_rng(4).permutation(peaks.shape[1])
    other = spread_over(around, peaks, 1)[..., 0]
    train = peaks >= 0
    one = reader.fit(FitData(around, peaks, other, train[None]))[0]
    two = reader.fit(FitData(around, peaks[:, order], other[:, order], train[None][..., order]))[0]
    for a, b in zip(one, two):
        np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("reader", TEXT_READERS, ids=lambda r: r.name)
def test_what_is_not_trained_on_is_as_if_it_were_not_there(reader, around, peaks):
    seen = (peaks >= 0) & (np.arange(peaks.shape[1]) < 6)
    other = spread_over(around, peaks, 1)[..., 0]
    less = np.where(seen, peaks, -1)
    # What chance is, is counted at all other positions: the same of both.
    one = reader.fit(FitData(around, less, other, seen[None]))[0]
    moved = np.where(seen | (peaks < 0), peaks, around.at[7])
    two = reader.fit(FitData(around, moved, np.where(seen, other, -1), seen[None]))[0]
    for a, b in zip(one, two):
        np.testing.assert_array_equal(a, b)


# Pairs of letters.


def codes_about(word: np.ndarray, n: int, at: int) -> set[int]:
    """The pairs about one position, as the docstring of the file says it."""
    found = set()
    for o, d in product(range(-lp.NEAR, lp.NEAR + 1), range(2, lp.FAR + 1 - lp.NEAR)):
        here, right, left = (int(word[at + o + step]) for step in (0, d, -d))
        found |= {((d - 1) * n + here) * n + right} if max(here, right) < n else set()
        found |= {((d - 1) * n + left) * n + here} if max(here, left) < n else set()
    for a, b in product(range(-lp.AROUND, lp.AROUND + 1), repeat=2):
        if 1 <= b - a <= lp.FREE and max(word[at + a], word[at + b]) < n:
            found.add(((lp.FAR + b - a - 1) * n + int(word[at + a])) * n + int(word[at + b]))
    return found


def test_chance_is_the_share_of_positions_about_which_a_pair_stands(around, peaks):
    at = peaks[:1]
    chance = lp.chance_of_pairs(around.words, around.n_words, at)
    real = at[at >= 0]
    counts = Counter(code for x in real for code in codes_about(around.words, around.n_words, int(x)))
    wanted = np.full(len(chance), 0.5)
    for code, count in counts.items():
        wanted[code] += count
    np.testing.assert_allclose(chance, wanted / (len(real) + 1))


def test_the_pairs_that_are_read_are_those_least_by_chance():
    around, at = planted(lambda rng: ["W", *rng.choice(list(ALPHABET), 11), "C"])
    at = at - 4  # at the first letter
    n = around.n_words
    chance = lp.chance_of_pairs(around.words, n, spread_over(around, at, 1)[..., 0])
    found, weight = lp.fit_pairs(around.words, n, at, at >= 0, chance)
    counts = Counter(code for x in at[0] for code in codes_about(around.words, n, int(x)))

    def ratio(code: int) -> float:
        share, base = counts[code] / at.size, chance[code]
        rest = (1 - share) * np.log((1 - share) / (1 - base)) if share < 1 else 0.0
        return at.size * (share * np.log(share / base) + rest) if share > base and counts[code] > 1 else 0.0

    ranked = sorted(counts, key=lambda code: (-ratio(code), code))
    first, second, distance, anchored = found[0, 0]
    best = ranked[0]
    assert (first, second) == (best // n % n, best % n)
    assert distance == (best // n**2 + 1 if anchored else best // n**2 + 1 - lp.FAR) == 12
    assert (around.alphabet[first], around.alphabet[second]) == ("W", "C")
    share = (counts[best] + chance[best]) / (at.size + 1)
    assert weight[0, 0, 0] == pytest.approx(np.log(share / chance[best]))
    sure = [code for code in ranked if ratio(code) >= np.log(len(chance))]
    assert (found[0, :, 2] > 0).sum() == min(lp.KEPT, max(len(sure), 1))


def test_pairs_are_scored_where_they_stand(around, peaks):
    at = peaks[:1]
    model = lp.fit_pairs(
        around.words, around.n_words, at, at >= 0, lp.chance_of_pairs(around.words, around.n_words, at)
    )
    got = lp.score_pairs(around.words, at, model)
    for p, x in enumerate(at[0]):
        if x < 0:
            assert got[0, p] == 0
            continue
        there, n, total = codes_about(around.words, around.n_words, int(x)), around.n_words, 0.0
        for (a, b, d, anchored), (yes, no) in zip(model[0][0], model[1][0]):
            if d:
                code = ((d - 1 + (0 if anchored else lp.FAR)) * n + a) * n + b
                total += yes if code in there else no
        assert got[0, p] == pytest.approx(total)


# Two halves and what lies between them.


def test_halves_are_scored_at_their_best_place_and_gap(around, peaks):
    rng = np.random.default_rng(2)
    odds = rng.normal(size=(len(peaks), 2, HALF, around.n_letters + 1))
    gap = rng.normal(size=(len(peaks), MAX_GAP + 1))
    best, where = score_gapped(around.letters, peaks, (odds, gap))
    for (i, p), at in np.ndenumerate(peaks):
        if at < 0:
            continue

        def half(h: int, first: int, i: int = i) -> float:
            return sum(odds[i, h, j, around.letters[first + j]] for j in range(HALF))

        values = {
            (b, g): half(0, at + b) + gap[i, g] + half(1, at + b + HALF + g)
            for b in range(LEFT, RIGHT + 1)
            for g in range(MAX_GAP + 1)
            if b + 2 * HALF + g >= -2
        }
        assert best[i, p] == pytest.approx(max(values.values()))
        assert tuple(where[i, p]) == max(values, key=lambda k: values[k])


def test_halves_at_any_distance_are_found_with_their_gaps():
    gaps = []

    def write(rng):
        gaps.append(int(rng.integers(3, 8)))
        return ["W", "C", "H", "M", *rng.choice(list(ALPHABET), gaps[-1]), "Y", "K", "P", "F"]

    around, at = planted(write)
    data = FitData(around, at, spread_over(around, at, 1)[..., 0], (at >= 0)[None])
    model = fit_gapped(around.letters, around.words, at, at >= 0, around.share(), data.pairs[0])
    text = ["".join(around.alphabet[i] for i in half[:, :-1].argmax(1)) for half in model[0][0]]
    found = score_gapped(around.letters, at, model)[1][0, :, 1]
    # The halves may be laid a column or two off; then every gap is longer or shorter by as much.
    assert any(part in "WCHM" for part in (text[0][:3], text[0][1:])), text
    assert np.mean(found - gaps == np.median(found - gaps)) >= 0.8


# Periods.


@pytest.mark.parametrize(("half", "period"), [(7, 3.6), (10, 2.0), (15, 10.5)])
def test_running_sums_give_the_moment_of_every_window(half, period):
    around = problem_of(random_texts(3, 60, 8)).around
    values = around.properties[0]
    got = _nearby(around.letters, values, half, period)
    inside, moments = around.letters < around.n_letters, np.zeros(len(got))
    for i in range(half, len(got) - half):
        window = np.arange(i - half, i + half + 1)
        kept = window[inside[window]]
        if inside[i] and len(kept) >= half + 2:
            x = values[around.letters[kept]]
            moments[i] = abs(((x - x.mean()) * np.exp(2j * np.pi * kept / period)).sum()) / np.sqrt(len(kept))
    for i in np.flatnonzero(inside):
        assert got[i] == pytest.approx(moments[i - SHIFT : i + SHIFT + 1].max(), abs=1e-5)


@pytest.mark.parametrize("period", [3.6, 2.0, 7.0, 10.5])
def test_the_period_that_was_planted_is_chosen(period):
    def write(rng):
        turn = np.cos(2 * np.pi * np.arange(40) / period + rng.uniform(0, 2 * np.pi)) < 0
        return [str(rng.choice(list("AILMVF" if side else "DEKNQR"))) for side in turn]

    around, at = planted(write, n=40, length=120)
    at = at + 14
    other = spread_over(around, at, 1)[..., 0]
    ((scale,), (half,), (chosen,)) = fit_periodicity(
        around.letters, around.properties, at, other, (at >= 0)[None]
    )[0]
    assert (PERIODS[chosen], around.property_names[scale]) == (period, "hydropathy")
    assert (HALVES[half] == HALVES[-1]) == (period >= LONG)


def test_moments_are_kept_all_or_none(around, peaks, monkeypatch):
    other = spread_over(around, peaks, 1)[..., 0]
    given = (around.letters, around.properties, peaks, other, (peaks >= 0)[None])
    n = len(around.properties) * sum((p >= LONG) == (h == HALVES[-1]) for p in PERIODS for h in HALVES)
    found = []
    for room, kept in ((n * 4 * len(around.letters), n), (n * 4 * len(around.letters) - 1, 0)):
        monkeypatch.setattr("sciinterp.discovery.periodicity.KEPT", room)
        moments: dict[tuple[int, int, int], np.ndarray] = {}
        found.append(fit_periodicity(*given, moments=moments))
        assert len(moments) == kept
    np.testing.assert_array_equal(*found)


def test_kept_moments_change_no_fit(around, peaks):
    other = spread_over(around, peaks, 1)[..., 0]
    train = np.stack([peaks >= 0, (peaks >= 0) & (np.arange(10) < 5)])
    kept: dict[tuple[int, int, int], np.ndarray] = {}
    given = (around.letters, around.properties, peaks, other, train)
    fresh, first, second = (fit_periodicity(*given, moments=m) for m in (None, kept, kept))
    assert kept
    for a, b, c in zip(fresh, first, second):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert score_periodicity(around.letters, around.properties, peaks, fresh[0])[peaks < 0].max() == 0


@pytest.mark.parametrize(
    ("letters", "names"),
    [
        (ALPHABET, ["hydropathy", "charge", "volume"]),
        ("ACGT", ["purine", "strong pairing", "keto"]),
        ("ACGUN", ["purine", "strong pairing", "keto"]),
        ("()ab", ["(", ")", "a"]),
    ],
)
def test_properties_have_mean_zero_and_variance_one_over_the_letters_seen(letters, names):
    rng = np.random.default_rng(0)
    share = np.sort(rng.dirichlet(np.ones(len(letters))))[::-1]
    got, values = scales(list(letters), share)
    assert got == names
    np.testing.assert_allclose((values * share).sum(1), 0, atol=1e-12)
    np.testing.assert_allclose((values**2 * share).sum(1), 1, atol=1e-9)


def test_a_letter_without_a_property_stands_at_the_mean():
    share = np.append(np.full(20, 0.0499), 0.002)
    _, values = scales([*ALPHABET, "X"], share)
    assert (values[:, -1] == 0).all()


# Plain readings.


@pytest.mark.parametrize("reach", [0, 2, 6])
def test_unordered_letters_are_counted_and_summed_within_reach(around, peaks, reach):
    odds = plain.fit_unordered(around, peaks, peaks >= 0, reach)
    share = around.share()
    for i, row in enumerate(peaks):
        near = [around.letters[x + o] for x in row[row >= 0] for o in range(-reach, reach + 1)]
        counts = np.bincount(near, minlength=around.n_letters + 1)[:-1]
        seen = (counts + plain.PRIOR * share) / (counts.sum() + plain.PRIOR)
        np.testing.assert_allclose(odds[i, :-1], np.log(seen / share), atol=1e-6)
    got = plain.score_unordered(around, peaks, odds, reach)
    for (i, p), x in np.ndenumerate(peaks):
        wanted = sum(odds[i, around.letters[x + o]] for o in range(-reach, reach + 1)) if x >= 0 else 0
        assert got[i, p] == pytest.approx(wanted)


def test_peaks_at_one_distance_from_an_end_are_found_by_it(around):
    first = np.arange(12) * 50
    other = spread_over(around, around.padded(first[None]), 1)[..., 0]
    for step, end in ((7, 0), (48, 1)):
        at = around.padded((first + step)[None])
        odds = plain.fit_place(around, at, other, at >= 0)
        assert odds[end, 0].argmax() == (7 // plain.BIN if end == 0 else 1 // plain.BIN)
        everywhere = around.padded(np.arange(50)[None])
        score = plain.score_place(around, everywhere, odds)[0]
        assert score.argmax() // plain.BIN == step // plain.BIN


def test_relatives_that_hold_the_same_three_letters_are_counted():
    problem = problem_of(["ACDEF", "ACDEW", "GGGGG", "ACWEF"], families=[0, 0, 1, 0])
    kept = problem.conservation.reshape(4, 5)
    # Around the second letter ACD: one of two relatives. Around the fourth DEF or DEW or WEF: none.
    assert kept[0, 1] == 0.5 and kept[1, 1] == 0.5 and kept[3, 1] == 0
    assert kept[0, 3] == 0 and (kept[2] == 0).all()  # no relative
    around, at = problem.around, np.arange(20)[None]
    np.testing.assert_allclose(
        plain.score_conservation(around, around.padded(at))[0], problem.conservation, atol=1e-7
    )


def test_classes_of_the_backbone_are_weighed_against_their_share(around, peaks):
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, len(around.at))
    backbone = {"torsion": classes, "contacts": classes, "chain_end": classes, "abego": classes}
    laid = lay_out(
        around.letters[around.at].astype(np.int64), around.alphabet, np.arange(13) * 50,
        np.zeros(600), np.zeros((0, 0), bool), [], backbone,
    )  # fmt: skip
    other, train = spread_over(laid, peaks, 1)[..., 0], peaks >= 0
    odds = plain.fit_classes(laid, peaks, other, train, "contacts")
    of = laid.backbone["contacts"]
    share = (np.bincount(of[other[train]], minlength=4) + 1) / (train.sum() + 4)
    for i, row in enumerate(peaks):
        counts = np.bincount(of[row[row >= 0]], minlength=4)
        wanted = (counts + plain.PRIOR * share) / (counts.sum() + plain.PRIOR) / share
        np.testing.assert_allclose(odds[i], np.log(wanted))
    got = plain.score_classes(laid, peaks, odds, "contacts")
    assert got[0, 0] == (odds[0, of[peaks[0, 0]]] if peaks[0, 0] >= 0 else got[0, 0])


# What a peak is compared with.


@pytest.mark.parametrize("n", [1, 7, 24])
def test_other_positions_lie_all_over_the_sample_of_their_peak(around, peaks, n):
    other = spread_over(around, peaks, n, batch=1)
    assert (other[peaks < 0] == -1).all()
    for (i, p), at in np.ndenumerate(peaks):
        if at >= 0:
            assert (around.sample[other[i, p]] == around.sample[at]).all()
            if n == 24:  # two in every tenth of the sample, give or take
                place = around.from_ends(other[i, p])[0] // 5
                assert len(np.unique(place)) == 10


def test_batches_are_other_comparisons_and_parts_of_one_sequence():
    first, second = _even(5, 8, 0), _even(5, 8, 1)
    np.testing.assert_allclose(np.hstack([first, second]), _even(5, 16, 0))
    assert (first >= 0).all() and (first < 1).all() and not np.isclose(first, second).any()


def test_positions_of_the_same_letter_hold_it_and_are_not_the_peak(around, peaks):
    drawn = _of_same_class(around, "letters", peaks, 6, 0)
    for (i, p), at in np.ndenumerate(peaks):
        if at < 0:
            assert (drawn[i, p] == -1).all()
            continue
        assert (around.letters[drawn[i, p]] == around.letters[at]).all()
        assert (drawn[i, p] != at).all()
        mine = (around.sample == around.sample[at]) & (around.letters == around.letters[at])
        if mine.sum() > 1:
            assert (around.sample[drawn[i, p]] == around.sample[at]).all()


def test_a_letter_that_stands_nowhere_else_has_nothing_beside_it():
    around = problem_of(["AAAW", "AAAA"]).around
    drawn = _of_same_class(around, "letters", around.padded(np.array([[3, 0]])), 2, 0)
    assert (drawn[0, 0] == -1).all() and (drawn[0, 1] >= 0).all()


def test_labels_are_read_as_wide_as_their_profile():
    """A reader of labels sees a turn from one broad concept to another, whatever the letters are."""
    texts = random_texts(24, 60, 2)
    spans = [s for i in range(24) for s in ((f"s{i}", 0, 20 + i, "x:h"), (f"s{i}", 20 + i, 60, "x:s"))]
    problem = problem_of(texts, spans)
    around = problem.around
    assert set(around.label_names) == {"x:h", "x:s"}
    at = around.padded((np.arange(24) * 60 + 20 + np.arange(24))[None])
    odds = fit_profile(around.labels, at, at >= 0, around.share("labels"), LABELS)
    names = [around.label_names[i] for i in odds[0, :, :-1].argmax(1)]
    assert names == ["x:h"] * 6 + ["x:s"] * 7
