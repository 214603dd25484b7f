"""The annotation table, whatever the order and the names of its rows: counted cell by cell, and by the table."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciinterp.annotations import Annotations, select_concepts
from sciinterp.annotations.select import sample_facts
from sciinterp.errors import InputError, ShapeError
from sciinterp.samples import Samples, Split

LENGTHS = (7, 1, 12, 5)
SAMPLES = Samples(["a", "b", "c", "d"], ["M" * n for n in LENGTHS])
COLUMNS = ["sample", "start", "end", "concept", "source"]


@st.composite
def rows(draw: st.DrawFn) -> list[tuple]:
    """Intervals inside their samples, facts about whole samples, and rows of a sample that is not there."""
    out = []
    for _ in range(draw(st.integers(1, 14))):
        number = draw(st.integers(0, len(LENGTHS)))
        concept, source = draw(st.sampled_from("xyz")), draw(st.sampled_from(("u", "v")))
        if number == len(LENGTHS):
            out.append(("elsewhere", 0, 3, concept, source))
        elif draw(st.integers(0, 4)) == 0:
            out.append((SAMPLES.ids[number], -1, -1, concept, source))
        else:
            start = draw(st.integers(0, LENGTHS[number] - 1))
            out.append(
                (SAMPLES.ids[number], start, draw(st.integers(start + 1, LENGTHS[number])), concept, source)
            )
    return out


def table(found: list[tuple], **keywords) -> Annotations:
    return Annotations(pd.DataFrame(found, columns=COLUMNS), **keywords)


def cells(found: list[tuple], samples: Samples, names: list[str]) -> np.ndarray:
    """bool [n_positions, n_concepts], one cell after the other."""
    out = np.zeros((samples.n_positions, len(names)), bool)
    for (i, name), (sample, start, end, concept, _) in product(enumerate(samples.ids), found):
        if sample == name and concept in names:
            for position in range(start, end) if start >= 0 else ():
                out[samples.offsets[i] + position, names.index(concept)] = True
    return out


@settings(max_examples=25, deadline=None)
@given(found=rows(), seed=st.integers(0, 9))
def test_positions_are_those_of_the_rows_in_any_order(found: list[tuple], seed: int) -> None:
    draw, names = np.random.default_rng(seed), ["x", "y", "z"]
    plain = table(found)
    expected = cells(found, SAMPLES, names)
    assert (plain.positives(SAMPLES, names).toarray() == expected).all()
    other = table([found[i] for i in draw.permutation(len(found))])
    assert other.digest == plain.digest
    assert (other.positives(SAMPLES, names).toarray() == expected).all()
    # the samples in another order, some left out, and under other names
    order = draw.permutation(len(SAMPLES))[:3]
    part = SAMPLES.subset(order)
    assert (plain.positives(part, names).toarray() == cells(found, part, names)).all()
    renamed = plain.rename_samples({name: f"s|{name}" for name in SAMPLES.ids})
    meant = Samples([f"s|{name}" for name in SAMPLES.ids], SAMPLES.sequences)
    assert (renamed.positives(meant, names).toarray() == expected).all()


@settings(max_examples=25, deadline=None)
@given(first=rows(), second=rows())
def test_of_two_tables_in_one_every_position_is_of_either(first: list[tuple], second: list[tuple]) -> None:
    names = ["x", "y", "z"]
    one, two = table(first), table(second)
    both = Annotations.merge([one, two])
    assert (
        both.positives(SAMPLES, names) != (one.positives(SAMPLES, names) + two.positives(SAMPLES, names))
    ).nnz == 0
    assert both.counts["n_in"] == both.counts["n_kept"] == len(first) + len(second)
    assert both.digest == Annotations.merge([two, one]).digest
    whole = Annotations.merge([both, one])
    assert whole.digest == Annotations.merge([one, Annotations.merge([two, one])]).digest
    # what is selected is what was there of it
    few = both.select([name for name in ("x", "z") if name in both.names])
    assert (few.positives(SAMPLES, names).toarray()[:, 1] == 0).all()
    kept = few.positives(SAMPLES, ["x", "z"]) != both.positives(SAMPLES, ["x", "z"])
    assert kept.nnz == 0


@settings(max_examples=25, deadline=None)
@given(found=rows(), listed=st.sets(st.sampled_from("abcd")), others=st.sets(st.sampled_from("abcd")))
def test_coverage_is_that_of_any_source_that_states_a_concept(
    found: list[tuple], listed: set[str], others: set[str]
) -> None:
    names = sorted({row[3] for row in found})
    both = table(found, coverage={"u": sorted(listed), "v": sorted(others)}).covered(SAMPLES, names)
    annotations = table(found, coverage={"u": sorted(listed)})
    covered = annotations.covered(SAMPLES, names)
    for (i, sample), (j, concept) in product(enumerate(SAMPLES.ids), enumerate(names)):
        sources = {row[4] for row in found if row[3] == concept}
        assert covered[i, j] == ("v" in sources or sample in listed)
        assert both[i, j] == (("v" in sources and sample in others) or ("u" in sources and sample in listed))
    group, covers = annotations.coverage_groups(SAMPLES, names)
    assert (covers[:, group] == covered).all()
    outside = sum(row[4] == "u" and row[0] not in listed for row in found)
    assert annotations.counts.get("outside_coverage", 0) == outside


@settings(max_examples=25, deadline=None)
@given(found=rows(), families=st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_what_selection_counts_is_counted_one_by_one(found: list[tuple], families: list[int]) -> None:
    annotations = table(found)
    split = Split(*(np.arange(0),) * 3, family=np.array(families), family_names=("p", "q", "r"))
    _, out = select_concepts(annotations, SAMPLES, split, min_instances=10**6, collapse=2.0)
    here = [row for row in found if row[0] in SAMPLES.ids]
    for concept, row in out.iterrows():
        mine = {r[:3] for r in here if r[3] == concept}
        facts = {r[0] for r in mine if r[1] < 0}
        positions = {(s, p) for s, a, b in mine for p in range(a, b) if a >= 0}
        assert row["n_instances"] == len(mine)
        assert row["n_positions"] == len(positions)
        assert row["n_families"] == len({families[SAMPLES.index(s)] for s, _, _ in mine})
        most = max(len(positions) / sum(LENGTHS), len(facts) / len(LENGTHS))
        assert row["prevalence"] == pytest.approx(most, abs=1e-12)
    # the numbers of families are codes: other codes of the same families change nothing
    other = Split(*(np.arange(0),) * 3, family=2 - np.array(families), family_names=("r", "q", "p"))
    again = select_concepts(annotations, SAMPLES, other, min_instances=10**6, collapse=2.0)[1]
    pd.testing.assert_frame_equal(out, again)
    facts = sample_facts(annotations, SAMPLES, annotations.names).toarray()
    for (i, sample), (j, concept) in product(enumerate(SAMPLES.ids), enumerate(annotations.names)):
        assert facts[i, j] == any(r[:3] == (sample, -1, -1) and r[3] == concept for r in found)


def test_a_long_and_a_wide_table_are_one_table() -> None:
    """Instances of one concept on one interval are one, whoever states it; other intervals stay apart."""
    found = [("a", 0, 3, "x", "u"), ("a", 0, 3, "x", "v"), ("a", 0, 4, "x", "u"), ("a", 0, 3, "y", "u")]
    instances = table(found).instances(SAMPLES)
    assert instances[["concept", "start", "end", "row"]].to_numpy().tolist() == [
        [0, 0, 3, 0],
        [0, 0, 4, 2],
        [1, 0, 3, 3],
    ]
    late = table([("c", 2, 5, "x", "u")]).instances(SAMPLES)
    assert late[["start", "end", "sample"]].to_numpy().tolist() == [[10, 13, 2]]


EMPTY = pd.DataFrame({name: [] for name in COLUMNS})


@pytest.mark.parametrize("samples", [SAMPLES, Samples([], [])], ids=["samples", "none"])
@pytest.mark.parametrize("found", [EMPTY, EMPTY.astype(object)], ids=["floats", "objects"])
def test_a_table_without_rows_is_a_table(found: pd.DataFrame, samples: Samples) -> None:
    empty = Annotations(found)
    assert (len(empty), empty.names, empty.position_names) == (0, [], [])
    assert empty.positives(samples).shape == (samples.n_positions, 0)
    assert empty.covered(samples, []).shape == (len(samples), 0)
    assert Annotations.merge([empty, empty]).counts["n_in"] == 0
    kept, out = select_concepts(empty, samples)
    assert len(kept) == len(out) == 0
    assert empty.digest == Annotations(found[::-1]).digest


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame(columns=["sample", "start", "end"]), "lacks a column, column 'concept'"),
        (pd.DataFrame([["a", 1, 2, "x", 1]], columns=["sample", "start", "end", "concept", "start"]), "occurs twice"),
        (pd.DataFrame([["a", 1.5, 2, "x", "u"]], columns=COLUMNS), "'start' is not a whole number"),
        (pd.DataFrame([["a", True, 2, "x", "u"]], columns=COLUMNS), "'start' is not a whole number"),
        (pd.DataFrame([["a", 1, 2**70, "x", "u"]], columns=COLUMNS), "'end' is not a whole number"),
        (pd.DataFrame([["a", 1, np.inf, "x", "u"]], columns=COLUMNS), "'end' is not a whole number"),
        (pd.DataFrame([["a", 0, 2, "x", "u"], ["a", 4, 4, "x", "u"]], columns=COLUMNS), "row 1 .*impossible|impossible.*row 1"),
        (pd.DataFrame([["a", -1, 4, "x", "u"]], columns=COLUMNS), "impossible interval"),
        (pd.DataFrame([["a", 1, None, "x", "u"]], columns=COLUMNS), "impossible interval"),
        (pd.DataFrame([[None, 1, 2, "x", "u"]], columns=COLUMNS), "without sample or concept.*coverage="),
        (pd.DataFrame([["a", 1, 2, "", "u"]], columns=COLUMNS), "without sample or concept.*coverage="),
        (pd.DataFrame([["a", 1, 2, "x", "sideways"]], columns=[*COLUMNS[:4], "strand"]), "not a strand"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_is_named(frame: pd.DataFrame, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Annotations(frame)


def test_what_is_asked_of_other_concepts_or_samples_is_refused() -> None:
    annotations = table([("a", 0, 9, "x", "u")])
    with pytest.raises(InputError, match="ends beyond its sample"):
        annotations.positives(SAMPLES)
    with pytest.raises(InputError, match="no such concept: expected 'x', got 'X'"):
        annotations.select(["X"])
    with pytest.raises(InputError, match="nothing to merge"):
        Annotations.merge([])
    with pytest.raises(InputError, match="occurs twice in the concepts table"):
        table([], concepts=pd.DataFrame({"concept": ["x", "x"]}))
    split = Split(*(np.arange(0),) * 3, family=np.zeros(3, np.int64), family_names=("p",))
    with pytest.raises(ShapeError, match="the split is of other samples"):
        select_concepts(table([]), SAMPLES, split)


def test_a_table_shows_itself_and_escapes_what_it_holds() -> None:
    annotations = table(
        [("<b>", 0, 2, "<script>", "u")], counts={"n_in": 3, "n_kept": 1, "dropped": {"why": 2}}
    )
    assert repr(annotations) == "Annotations(1 rows, 1 concepts, 1 samples, 2 dropped)"
    shown = annotations._repr_html_()
    assert "&lt;script&gt;" in shown and "<script>" not in shown and "why" in shown
