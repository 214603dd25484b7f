"""Collections and their splits: what they are in any order, under any names, in part and whole, and with nothing in them."""

from __future__ import annotations

import pickle
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import sciinterp as si
from sciinterp.errors import InputError, SciinterpError, ShapeError
from sciinterp.samples import Sample, Samples, Split
from sciinterp.splits import place
from sciinterp.splits.families import by_block, by_composition, kmer_profiles
from sciinterp.splits.places import places

PARTS = ("train", "calibration", "test")
entries = st.lists(
    st.tuples(st.text("abcXYZ|:.-", min_size=1, max_size=4), st.text("ACDEF", max_size=6)),
    max_size=8,
    unique_by=lambda entry: entry[0],
)


def collection(found: list[tuple[str, str]]) -> Samples:
    table = pd.DataFrame({"n": range(len(found)), "family": [text[:1] for _, text in found]})
    return Samples([name for name, _ in found], [text for _, text in found], table=table)


@settings(max_examples=60, deadline=None)
@given(found=entries, seed=st.integers(0, 9))
def test_a_part_is_what_stands_there(found: list[tuple[str, str]], seed: int) -> None:
    samples = collection(found)
    assert samples.n_positions == sum(len(text) for _, text in found)
    assert [(s.id, s.sequence, s.length) for s in samples] == [(n, t, len(t)) for n, t in found]
    laid = [(i, p) for i, (_, text) in enumerate(found) for p in range(len(text))]
    assert samples.position_sample().tolist() == [i for i, _ in laid]
    assert [samples.offsets[i] + p for i, p in laid] == list(range(len(laid)))
    order = np.random.default_rng(seed).permutation(len(found))
    part = samples.subset(order)
    assert part.ids == tuple(found[i][0] for i in order)
    assert part.table["n"].tolist() == order.tolist() and list(part.table.index) == list(part.ids)
    back = part.subset(np.argsort(order))
    assert (back.ids, back.digest) == (samples.ids, samples.digest)
    mask = np.arange(len(found)) % 2 == 0
    assert samples.subset(mask).ids == samples[::2].ids == samples.ids[::2]
    for name in samples.ids:
        assert name in samples and samples[name] == samples[samples.index(name)]
        assert samples.index(samples[name]) == samples.index(name)
    assert "no such name" not in samples


@settings(max_examples=60, deadline=None)
@given(found=entries)
def test_a_digest_says_what_and_in_which_order_and_nothing_else(found: list[tuple[str, str]]) -> None:
    assume(len(found) > 1)
    samples = collection(found)
    assert Samples(samples.ids, samples.data, kind="dna", source="elsewhere").digest == samples.digest
    assert samples.with_table(None).digest == samples.digest
    assert pickle.loads(pickle.dumps(samples)).digest == samples.digest  # noqa: S301 - our own, made above
    names, texts = map(list, zip(*found))
    others = [
        Samples(names[::-1], texts[::-1]),
        Samples([*names[:-1], names[-1] + "'"], texts),
        Samples(names, [*texts[:-1], texts[-1] + "A"]),
        Samples(names[:-1], texts[:-1]),
        Samples(names, texts, lengths=[len(text) + 1 for text in texts]),
    ]
    assert samples.digest not in {other.digest for other in others}
    # the ends of names and of sequences are told apart
    assert Samples(["ab"], ["C"]).digest != Samples(["a"], ["bC"], lengths=[1]).digest


def test_data_of_other_kinds_are_told_apart_by_what_they_hold() -> None:
    def of(data: object) -> str:
        return Samples(["a"], [data], lengths=[2]).digest

    same = np.arange(6.0).reshape(2, 3)
    assert of(same) == of(same.copy(order="F")) == of(np.asfortranarray(same))
    digests = {
        of(same),
        of(same + 1),
        of(same.astype("f4")),
        of({"genes": ["x"]}),
        of({"genes": ["y"]}),
        of([1, 2]),
    }
    assert len(digests) == 6


def test_letters_are_those_of_samples_with_one_for_each_position() -> None:
    record = {"sequence": "MK", "backbone": []}
    samples = Samples("abcd", ["MKV", record, ["x", "y"], "CCO>>C"], lengths=[3, 2, 2, 4])
    assert samples.letters == ["MKV", "MK", None, None]
    assert samples["b"].sequence == "MK" and not samples.is_text
    assert collection([("a", "MK")]).is_text
    with pytest.raises(InputError, match="this sample is not a sequence, sample 'c'"):
        _ = samples["c"].sequence


@pytest.mark.parametrize("found", [[], [("a", "")], [("a", "M")]], ids=["none", "empty", "one"])
def test_nothing_and_one_are_collections(found: list[tuple[str, str]]) -> None:
    samples = collection(found)
    n = sum(len(text) for _, text in found)
    assert (len(samples), samples.n_positions, samples.offsets[-1]) == (len(found), n, n)
    assert samples.table.shape == (len(found), 2) and samples.columns.shape == (len(found), 2)
    assert len(samples.digest) == 64 and samples.position_sample().shape == (n,)
    assert f"Samples({len(found)} protein, {n} positions)" == repr(samples)
    assert "<table" in samples._repr_html_()
    assert samples[:0].ids == () and list(samples[:0]) == []


def test_a_table_of_samples_is_a_collection() -> None:
    table = pd.DataFrame({"id": ["a", "b"], "length": [3, 1], "sequence": ["MKV", "A"], "donor": ["x", "y"]})
    samples = Samples.coerce(table)
    assert samples.ids == ("a", "b") and samples["a"].sequence == "MKV"
    assert samples.table["donor"].tolist() == ["x", "y"] and "length" not in samples.columns
    assert Samples.coerce(samples) is samples
    bare = Samples.coerce(table[["id", "length"]])
    assert bare.lengths.tolist() == [3, 1] and bare.data == (None, None)
    for wrong in (table[["id"]], [1, 2], "a"):
        with pytest.raises(InputError, match="not a collection of samples"):
            Samples.coerce(wrong)


REFUSED = {
    "an identifier that is blank": (lambda: Samples(["a", ""], ["M", "K"]), "without an identifier, sample 1"),
    "an identifier that is none": (lambda: Samples([None], ["M"]), "without an identifier, sample 0"),
    "an identifier that is NaN": (lambda: Samples([float("nan")], ["M"]), "without an identifier"),
    "an identifier twice": (lambda: Samples(["a", "b", "a"], ["M"] * 3), "twice, sample 'a'"),
    "too few data": (lambda: Samples(["a", "b"], ["M"]), "expected 2, got 1"),
    "too few lengths": (lambda: Samples(["a", "b"], lengths=[1]), "one length a sample"),
    "a table of other rows": (lambda: Samples(["a"], ["M"], table=pd.DataFrame({"x": [1, 2]})), "expected 1 rows, got 2"),
    "a column twice": (lambda: Samples(["a"], ["M"], table=pd.DataFrame([[1, 2]], columns=["x", "x"])), "column 'x'"),
    "no data and no lengths": (lambda: Samples(["a"], [3.5]), "without data, sample 'a'"),
    "an unknown sample": (lambda: Samples(["a"], ["M"]).index("b"), "no such sample, sample 'b'"),
    "an unknown name as a key": (lambda: Samples(["a"], ["M"])["b"], "no such sample, sample 'b'"),
    "an unknown part": (lambda: SPLIT.part("validation"), "expected train, calibration or test"),
    "a split of other samples": (lambda: SPLIT.position_family(Samples(["a"], ["M"])), "expected 1 samples, got 4"),
}  # fmt: skip
SPLIT = Split(
    np.array([0, 1]),
    np.array([2]),
    np.array([3]),
    family=np.array([0, 0, 1, 2]),
    family_names=("x", "y", "z"),
)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_collection_is_one_line(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(SciinterpError) as error:
        make()
    assert words in str(error.value) and "\n" not in str(error.value)
    assert isinstance(error.value, (InputError, ShapeError))


def test_two_splits_are_one_whatever_the_codes_of_their_families() -> None:
    other = Split(SPLIT.train, SPLIT.calibration, SPLIT.test, np.array([5, 5, 0, 9]), family_names=("",) * 10)
    assert other.digest == SPLIT.digest and other.training_digest == SPLIT.training_digest
    moved = Split(SPLIT.train, SPLIT.test, SPLIT.calibration, SPLIT.family, SPLIT.family_names)
    assert moved.digest != SPLIT.digest and moved.training_digest == SPLIT.training_digest
    joined = Split(SPLIT.train, SPLIT.calibration, SPLIT.test, np.array([0, 0, 1, 1]), ("x", "y"))
    assert joined.digest != SPLIT.digest
    shown = SPLIT.summary()
    assert shown["samples"].tolist() == [2, 1, 1] and shown["families"].tolist() == [1, 1, 1]
    assert shown["fraction"].tolist() == [0.5, 0.25, 0.25]
    assert "train 2 in 1" in repr(SPLIT) and "no family is in two parts" in SPLIT._repr_html_()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=6, max_size=40), st.integers(0, 20))
def test_a_split_is_of_families_whatever_the_order_of_samples(labels: list[int], seed: int) -> None:
    assume(len(set(labels)) >= 3)
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, 90, len(labels))
    names = [f"s{i}" for i in range(len(labels))]
    table = pd.DataFrame(
        {"family": [f"f{label}" for label in labels], "clade": [f"c{label // 3}" for label in labels]}
    )
    plain = si.split_families(Samples(names, lengths=lengths, table=table), by="family", seed=seed)
    order = draw.permutation(len(labels))
    turned = si.split_families(
        Samples(
            [names[i] for i in order], lengths=lengths[order], table=table.iloc[order].reset_index(drop=True)
        ),
        by="family",
        seed=seed,
    )
    for part in PARTS:
        assert {names[i] for i in plain.part(part)} == {names[order[i]] for i in turned.part(part)}
        assert (np.diff(plain.part(part)) > 0).all()
    # labels, a series and a column are one way of saying it
    for by in (list(table["family"]), table["family"].to_numpy(), table["family"].set_axis(names)):
        again = si.split_families(Samples(names, lengths=lengths, table=table), by=by, seed=seed)
        assert again.digest == plain.digest


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=3, max_size=40), st.integers(0, 9), st.booleans())
def test_sizes_count_in_proportion(sizes: list[int], seed: int, grouped: bool) -> None:
    wanted, size = np.array([0.6, 0.15, 0.25]), np.array(sizes, float)
    groups = np.arange(len(sizes)) % 3 if grouped else None
    part = place(size, wanted, groups=groups, seed=seed)
    assert set(part) == {0, 1, 2} and part[np.argmax(size)] == 0
    assert (part == place(size * 8, wanted, groups=groups, seed=seed)).all()  # 8 bytes a letter, say
    if not grouped:  # no part lacks more than one family
        missing = wanted * size.sum() - np.bincount(part, weights=size, minlength=3)
        assert missing.max() <= size.max() + 1e-9
    one = np.zeros(len(sizes), int)
    assert set(place(size, wanted, groups=one, seed=seed)) == {0, 1, 2}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["1", "2"]), st.integers(0, 30), st.integers(1, 6)),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from([1, 5, 100]),
)
def test_windows_that_share_a_base_are_one_family(found: list[tuple[str, int, int]], size: int) -> None:
    table = pd.DataFrame([(c, a) for c, a, _ in found], columns=["chrom", "start"])
    samples = Samples(
        [f"w{i}" for i in range(len(found))], ["A" * n for _, _, n in found], table=table, kind="dna"
    )
    label = by_block(samples, size)
    chain = list(range(len(found)))  # windows that share bases, and those that share bases with these
    for _ in found:
        for (i, (c, a, n)), (j, (d, b, m)) in product(enumerate(found), repeat=2):
            if c == d and a < b + m and b < a + n:
                chain[i] = min(chain[i], chain[j])
    first = {k: min(start for (_, start, _), of in zip(found, chain) if of == k) for k in chain}
    assert label.tolist() == [f"{c}:{first[k] // size}" for (c, _, _), k in zip(found, chain)]
    order = np.argsort([start for _, start, _ in found])[::-1]
    assert by_block(samples.subset(order), size).tolist() == label[order].tolist()


def test_names_of_places_are_read_back() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        a, n, strand = int(draw.integers(0, 10**7)), int(draw.integers(2, 40)), draw.choice(["+", "-"])
        text = draw.choice([f"{a:,}-{a + n:,}", f"{a}-{a + n}"])
        for first, name in ((a, text), (a, f"{a + 1}-{a + n}")):
            found = places(Samples([f"chr7:{name}({strand})"], ["A" * n]))
            assert found.to_numpy().tolist() == [["chr7", first, a + n, strand]]


def test_profiles_are_counts_of_words() -> None:
    draw = np.random.default_rng(0)
    sequences = ["".join(draw.choice(list("ACGT"), n)) for n in (0, 2, 3, 40, 90)]
    profiles = kmer_profiles(sequences, 3, n_bins=1 << 16)
    words = sorted({s[i : i + 3] for s in sequences for i in range(len(s) - 2)})
    counts = np.array(
        [[sum(s[i : i + 3] == w for i in range(len(s) - 2)) for w in words] for s in sequences], float
    )
    cosine = counts @ counts.T / np.maximum(np.outer(*(np.linalg.norm(counts, axis=1),) * 2), 1e-12)
    np.testing.assert_allclose(profiles @ profiles.T, cosine, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.text("ACGT", min_size=8, max_size=12), min_size=1, max_size=10, unique=True),
    st.integers(0, 9),
)
def test_clusters_by_composition_do_not_depend_on_the_order(texts: list[str], seed: int) -> None:
    samples = Samples([f"s{i}" for i in range(len(texts))], texts)
    found = dict(zip(samples.ids, by_composition(samples, similarity=0.5, k=2)))
    assert all(found[founder] == founder for founder in found.values())
    order = np.random.default_rng(seed).permutation(len(texts))
    part = samples.subset(order)
    assert dict(zip(part.ids, by_composition(part, similarity=0.5, k=2))) == found
    profiles = kmer_profiles(texts, 2)
    number = {name: i for i, name in enumerate(samples.ids)}
    for name, founder in found.items():
        assert len(texts[number[founder]]) >= len(texts[number[name]])
        assert name == founder or profiles[number[name]] @ profiles[number[founder]] >= 0.5
    founders = sorted(set(found.values()))
    for i, a in enumerate(founders):
        for b in founders[i + 1 :]:
            assert profiles[number[a]] @ profiles[number[b]] < 0.5


def test_a_single_sample_of_a_column_stands_where_it_lies() -> None:
    assert Sample("a", "MKV").length == 3
    with pytest.raises(InputError, match="not a sequence"):
        _ = Sample("a", 5, 1).sequence
