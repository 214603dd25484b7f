"""Every reader finds what it is for, says so, and finds nothing where nothing is; in proteins and in DNA alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from sciinterp.annotations import Annotations
from sciinterp.codes import FeatureMatrix
from sciinterp.discovery.letter_pairs import FAR
from sciinterp.discovery.periodicity import HALVES, PERIODS, SHIFT, score_periodicity
from sciinterp.discovery.planted_forms import BACKGROUND, KEEP, LETTERS, draw_form
from sciinterp.discovery.problem import Problem, make_problem
from sciinterp.discovery.reader_kinds import READERS
from sciinterp.discovery.sequence_readers import COLUMNS, _auroc, coherence, describe
from sciinterp.samples import Samples
from sciinterp.splits import split_families

N_FAMILIES, LENGTH = 40, 140


def problem_of(sequences: list[str], spans: pd.DataFrame | None = None) -> Problem:
    """A problem without features: readers look at sequences only. Each sequence is a family."""
    table = pd.DataFrame({"family": [f"F{i}" for i in range(len(sequences))]}, index=range(len(sequences)))
    ids = [f"s{i}" for i in range(len(sequences))]
    samples = Samples(ids, sequences, table=table.set_index(pd.Index(ids, name="id")), kind="protein")
    n = int(samples.lengths.sum())
    features = FeatureMatrix(sp.csr_array((n, 1), dtype=np.float32), samples)
    spans = pd.DataFrame({"sample": [], "start": [], "end": [], "concept": []}) if spans is None else spans
    return make_problem(features, Annotations(spans), split_families(samples, by="family", seed=0))


def planted(kind: str, seed: int, *, letters: str = "".join(LETTERS)) -> tuple[Problem, np.ndarray]:
    """Sequences that hold one instance of a form each, and a peak somewhere in it (at an end of a pair)."""
    rng = np.random.default_rng([seed, 5])
    share = BACKGROUND / BACKGROUND.sum() if len(letters) == 20 else np.full(len(letters), 1 / len(letters))
    sequences = rng.choice(len(letters), (N_FAMILIES, LENGTH), p=share)
    starts = rng.integers(20, LENGTH - 65, N_FAMILIES)
    peaks = np.zeros(N_FAMILIES, np.int64)
    spans = []
    form = draw_form(kind, rng, share) if len(letters) == 20 and kind in KINDS else None
    half = rng.integers(0, len(letters), (2, 5))
    for i, (row, start) in enumerate(zip(sequences, starts)):
        if form is not None:
            here = form.write(rng, share)
        elif kind == "gapped":
            here = np.concatenate([half[0], np.full(rng.integers(2, 9), KEEP), half[1]])
        elif kind == "paired":
            here = np.concatenate([half[0, :3], np.full(20, KEEP), half[1, :3]])
        elif kind == "periodic":  # a purine every third base of thirty
            here = np.where(
                np.arange(30) % 3 == rng.integers(3), rng.choice([0, 2], 30), rng.choice([1, 3], 30)
            )
        else:
            here = np.full(6, KEEP)
        row[start : start + len(here)] = np.where(here == KEEP, row[start : start + len(here)], here)
        at = rng.integers(len(here)) if kind != "paired" else (0, len(here) - 1)[rng.integers(2)]
        peaks[i] = i * LENGTH + start + at
        spans.append((f"s{i}", 5, start + 3, "structure:helix"))
        spans.append((f"s{i}", start + 3, start + 40, "structure:strand"))
    frame = pd.DataFrame(spans, columns=["sample", "start", "end", "concept"])
    text = ["".join(letters[x] for x in row) for row in sequences]
    return problem_of(text, frame if kind == "labelled" else None), peaks[None]


KINDS = ("gapped", "paired", "periodic", "domain")


@pytest.mark.parametrize(
    ("kind", "reader", "auroc", "chosen"),
    [
        ("gapped", "gapped", 0.85, 3),
        ("paired", "pair", 0.85, 3),
        ("periodic", "periodic", 0.7, 2),  # a stretch is told from others by a moment only so far
        ("domain", "domain", 0.65, 2),
        ("labelled", "labels", 0.9, 4),
    ],
)
def test_a_planted_form_is_found_by_its_reader(kind, reader, auroc, chosen):
    read = [coherence(*planted(kind, seed)) for seed in range(4)]
    mean = dict(zip(COLUMNS, np.mean([r.measures[0] for r in read], axis=0)))
    assert mean["reader"] >= auroc
    assert mean["order"] >= auroc - 0.05  # shuffling what it looks at takes it away
    assert sum(r.reader[0] == reader for r in read) >= chosen
    assert all(r.low[0] <= r.measures[0, 0] <= r.high[0] for r in read)


@pytest.mark.parametrize("kind", ["gapped", "paired", "periodic"])
def test_dna_is_read_too(kind):
    read = [coherence(*planted(kind, seed, letters="ACGT")) for seed in range(3)]
    assert np.mean([r.measures[0, 0] for r in read]) >= 0.8
    assert np.mean([r.measures[0, COLUMNS.index("order")] for r in read]) >= 0.8


@pytest.mark.parametrize("letters", ["".join(LETTERS), "ACGT"])
def test_trying_more_readers_finds_nothing_where_nothing_is(letters):
    rng = np.random.default_rng(3)
    problem, _ = planted("none", 1, letters=letters)
    starts = np.arange(N_FAMILIES) * LENGTH
    rows = starts + rng.integers(0, LENGTH, (120, N_FAMILIES))
    found = coherence(problem, rows)
    mean = found.measures.mean(0)
    names = ["reader", "composition", "centre", "position", "order", "matched"]
    assert np.abs(mean[[COLUMNS.index(n) for n in names]] - 0.5).max() <= 0.02
    assert (found.measures[:, 0] >= 0.65).mean() <= 0.05
    assert (found.low > 0.5).mean() <= 0.075


def test_the_order_of_samples_says_nothing():
    problem, peaks = planted("gapped", 0)
    order = np.random.default_rng(0).permutation(N_FAMILIES)
    text = [problem.samples.data[i] for i in order]
    moved = problem_of(text)
    where = np.argsort(order)
    family, step = peaks[0] // LENGTH, peaks[0] % LENGTH
    again = where[family] * LENGTH + step
    assert describe(problem, peaks[0], "gapped") == describe(moved, again, "gapped")
    for name in ("motif", "pair", "domain"):
        assert describe(problem, peaks[0], name)["text"] == describe(moved, again, name)["text"]


def test_rows_are_judged_alone():
    problem, peaks = planted("paired", 2)
    one, twice = (coherence(problem, rows) for rows in (peaks, np.vstack([peaks, peaks])))
    assert one.reader[0] == twice.reader[0] == twice.reader[1]
    assert np.abs(one.measures[0] - twice.measures[0]).max() < 0.1  # other positions are drawn


@pytest.mark.parametrize("rows", [np.zeros((0, 80), np.int64), np.full((2, 80), -1), np.full((1, 0), -1)])
def test_no_peak_says_nothing(rows):
    problem, _ = planted("none", 0)
    found = coherence(problem, rows)
    assert found.measures.shape == (len(rows), len(COLUMNS))
    assert (found.measures == 0.5).all()
    assert len(found.reader) == len(rows)


@pytest.mark.parametrize("letters", ["ACDEFGHIKLMNPQRSTVWYXUBZO*", "ab=#()1[]CcNnOo", "AAAA", "acgtn"])
def test_letters_outside_the_alphabet_are_letters(letters):
    rng = np.random.default_rng(1)
    text = ["".join(rng.choice(list(letters), n)) for n in rng.integers(1, 90, 30)]
    problem = problem_of(text)
    offsets = problem.samples.offsets
    rows = np.stack([offsets[:-1], offsets[1:] - 1])  # the very ends, where windows reach beyond
    found = coherence(problem, rows)
    assert np.isfinite(found.measures).all()
    for reader in (r for r in READERS if r.column == "letters"):
        assert describe(problem, rows[0], reader.name)["text"]


def test_no_reader_sees_the_next_sample():
    text = ["A" * 10, "W" * 10, "C" * 3]
    around = problem_of(text).around
    for position in range(23):
        window = around.letters[around.at[position] + np.arange(-FAR, FAR + 1)]
        own = around.letters[around.at[position]]
        assert set(window.tolist()) <= {int(own), around.n_letters}


def test_shuffled_windows_keep_their_letters_and_ends():
    problem, peaks = planted("none", 0)
    around = problem.around
    at = around.padded(np.append(peaks[0], [0, 1, problem.n_positions - 1])[None])
    mixed, there = around.shuffled(at, 20, np.random.default_rng(0))
    moved = 0
    for before, after in zip(at[0], there[0]):
        old, new = (
            around.letters[before - FAR : before + FAR + 1],
            mixed.letters[after - FAR : after + FAR + 1],
        )
        assert sorted(old) == sorted(new)
        assert ((old == around.n_letters) == (new == around.n_letters)).all()
        near = np.abs(np.arange(-FAR, FAR + 1)) <= 20
        assert (old[~near] == new[~near]).all()
        moved += int((old != new).any())
    assert moved == at.size


def test_shares_of_what_peaks_beat_are_those_of_all_pairs_in_their_part() -> None:
    rng = np.random.default_rng(0)
    at, part = np.where(rng.random((5, 12)) < 0.2, -1, 1), np.arange(12) % 3
    own, other = (rng.integers(0, 6, size).astype(float) for size in ((5, 12), (5, 12, 4)))  # many are equal
    value, moved = _auroc(own, other, at, part)
    for i in range(5):
        there = np.flatnonzero(at[i] >= 0)
        alike = part[there][:, None] == part[there]
        beats = (own[i, there][:, None, None] > other[i, there]) + 0.5 * (
            own[i, there][:, None, None] == other[i, there]
        )
        each = [(beats.mean(2) * alike).sum(axis) / alike.sum(1) for axis in (1, 0)]
        assert value[i] == pytest.approx(each[0].mean())
        assert moved[i, there] == pytest.approx((each[0] + each[1] - 2 * value[i]) / len(there))
        assert not moved[i, at[i] < 0].any()


def test_a_moment_is_the_turned_sum_of_what_stands_in_its_window() -> None:
    rng = np.random.default_rng(0)
    letters, scale = rng.integers(0, 4, 200).astype(np.uint8), rng.normal(size=(1, 4))
    for half, period in np.ndindex(len(HALVES), len(PERIODS)):
        found = tuple(np.array([x]) for x in (0, half, period))
        places = np.arange(100 - SHIFT, 101 + SHIFT)
        windows = [scale[0, letters[p - HALVES[half] : p + HALVES[half] + 1]] for p in places]
        turns = np.exp(2j * np.pi * np.arange(2 * HALVES[half] + 1) / PERIODS[period])
        moments = [abs(((x - x.mean()) * turns).sum()) / len(x) ** 0.5 for x in windows]
        got = score_periodicity(letters, scale, np.array([[100, -1]]), found)
        assert got[0] == pytest.approx([max(moments), 0.0])
