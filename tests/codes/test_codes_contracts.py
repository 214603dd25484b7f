"""Codes by what must not matter: order and names of samples and features, scale, blocks, how often they were saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sciinterp as si
from sciinterp.budget import BLOCK_VALUES
from sciinterp.codes import saving
from sciinterp.codes.active import active_cells, is_active, only_active
from sciinterp.codes.by_feature import ByFeature, as_csr, by_feature
from sciinterp.codes.intervals import blocks
from sciinterp.codes.peaks import largest_in_groups, peaks_of, strongest_first
from sciinterp.codes.positions import largest, to_positions
from sciinterp.errors import InputError, SciinterpError, ShapeError

LENGTHS, WIDTH = (4, 0, 7, 1, 5, 3), 6
SEEDS = range(4)


def table(seed: int = 0, density: float = 0.5) -> np.ndarray:
    """Codes with ties, an empty feature and a row of zeros."""
    rng = np.random.default_rng(seed)
    shape = (sum(LENGTHS), WIDTH)
    dense = np.round(rng.gamma(2.0, size=shape), 1) * (rng.random(shape) < density)
    dense[:, 3], dense[5] = 0, 0
    return dense.astype(np.float32)


def samples() -> si.Samples:
    ids = [f"s{i}" for i in range(len(LENGTHS))]
    return si.Samples(ids, ["M" * n for n in LENGTHS], table=pd.DataFrame({"family": list("xyxyzz")}))


@pytest.fixture(params=["memory", "disk"])
def made(request, tmp_path, monkeypatch):
    """A maker of codes in memory, or of the same in shards of some positions."""
    monkeypatch.setattr(saving, "SHARD_POSITIONS", 6)
    count = iter(range(99))

    def make(dense: np.ndarray, of: si.Samples | None = None) -> si.FeatureMatrix:
        held = si.FeatureMatrix(sp.csr_array(dense), samples() if of is None else of)
        if request.param == "memory":
            return held
        folder = tmp_path / str(next(count))
        held.save(folder)
        return si.load_features(folder)

    return make


def rows_of(of: si.Samples, numbers: list[int]) -> np.ndarray:
    return np.concatenate([np.zeros(0, int), *(np.arange(of.offsets[i], of.offsets[i + 1]) for i in numbers)])


def peak_table(features: si.FeatureMatrix) -> set[tuple[int, str, int, float]]:
    """Feature, name of the sample, position in it, value: what no order of samples changes."""
    found, of = features.peaks(), features.samples
    where = found.position - of.offsets[found.group]
    return set(
        zip(found.feature.tolist(), np.array(of.ids)[found.group], where.tolist(), found.value.tolist())
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_samples_moves_rows_and_nothing_else(made, seed):
    dense, order = table(seed), np.random.default_rng(seed).permutation(len(LENGTHS)).tolist()
    one = made(dense)
    two = made(dense[rows_of(samples(), order)], samples().subset(order))
    for name in ("stored_per_feature", "largest", "active_per_feature", "density"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    np.testing.assert_array_equal(one.max_per_sample().toarray()[order], two.max_per_sample().toarray())
    assert peak_table(one) == peak_table(two)
    moved = one.subset(samples=order)
    np.testing.assert_array_equal(moved.codes.toarray(), two.codes.toarray())
    assert moved.samples.ids == two.samples.ids and moved.origin is one.origin
    for name in samples().ids:
        np.testing.assert_array_equal(
            one.by_sample(one.samples.index(name)).toarray(), two.by_sample(two.samples.index(name)).toarray()
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_the_numbers_of_features_move_columns_and_nothing_else(made, seed):
    dense, order = table(seed), np.random.default_rng(seed).permutation(WIDTH)
    one, two = made(dense), made(dense[:, order])
    for name in ("stored_per_feature", "largest", "active_per_feature", "density"):
        np.testing.assert_array_equal(getattr(one, name)[order], getattr(two, name))
    np.testing.assert_array_equal(one.subset(features=order).codes.toarray(), dense[:, order])
    assert {(int(order[j]), *rest) for j, *rest in peak_table(two)} == peak_table(one)
    for j in range(WIDTH):
        np.testing.assert_array_equal(two.column(j), dense[:, order[j]])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_power_of_two_scales_values_and_changes_no_place(made, seed):
    """Of each feature its own: whether it is active is a matter of its own scale."""
    dense = table(seed)
    scale = np.float32(2.0) ** np.random.default_rng(seed).integers(-9, 9, WIDTH).astype(np.float32)
    one, two = made(dense), made(dense * scale)
    np.testing.assert_array_equal(one.density, two.density)
    np.testing.assert_array_equal(one.largest * scale, two.largest)
    assert {(j, s, p, v * float(scale[j])) for j, s, p, v in peak_table(one)} == peak_table(two)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_collections_end_to_end_are_one(made, seed):
    """Counts add, scales are the larger, and each sample is what it was."""
    first, second = [0, 1, 2], [3, 4, 5]
    dense, of = table(seed), samples()
    whole = made(dense)
    parts = [made(dense[rows_of(of, part)], of.subset(part)) for part in (first, second)]
    np.testing.assert_array_equal(whole.stored_per_feature, sum(p.stored_per_feature for p in parts))
    np.testing.assert_array_equal(whole.largest, np.maximum(parts[0].largest, parts[1].largest))
    stacked = sp.vstack([p.max_per_sample() for p in parts]).toarray()
    np.testing.assert_array_equal(whole.max_per_sample().toarray(), stacked)
    frames = pd.concat([p.to_frame() for p in parts], ignore_index=True)
    pd.testing.assert_frame_equal(whole.to_frame(), frames, check_dtype=False)


def test_subsets_of_subsets_are_subsets(made):
    features, dense = made(table()), table()
    samples_of, features_of = [4, 0, 2], [5, 1, 0, 3]
    once = features.subset(samples=samples_of, features=features_of)
    twice = features.subset(features=features_of).subset(samples=samples_of)
    wanted = dense[rows_of(samples(), samples_of)][:, features_of]
    for found in (once, twice, features.subset(samples=samples_of).subset(features=features_of)):
        np.testing.assert_array_equal(found.codes.toarray(), wanted)
        assert found.samples.ids == ("s4", "s0", "s2") and found.samples.table["family"].tolist() == [
            "z",
            "x",
            "x",
        ]
    np.testing.assert_array_equal(once.subset(features=[2, 2]).codes.toarray(), wanted[:, [2, 2]])
    empty = features.subset(samples=[], features=[])
    assert (empty.n_positions, empty.n_features, len(empty.samples)) == (0, 0, 0)
    assert empty.max_per_sample().shape == (0, 0) and len(empty.to_frame()) == 0


@pytest.mark.parametrize("which", [0, 1, 2], ids=["no samples", "empty samples", "no codes"])
def test_limits(made, which):
    of = [si.Samples([], []), si.Samples(["a", "b"], ["", ""]), si.Samples(["a", "b"], ["MK", "V"])][which]
    features = made(np.zeros((of.n_positions, 3), np.float32), of)
    assert features.density.tolist() == features.largest.tolist() == [0, 0, 0] and features.n_stored == 0
    assert features.max_per_sample().shape == (len(of), 3) and len(features.peaks().value) == 0
    assert len(peaks_of(features, 1).value) == 0 and features.column(2).shape == (of.n_positions,)
    assert features.to_anndata().shape == (len(of), 3) and features.by_feature().to_csc().shape == (
        of.n_positions,
        3,
    )
    assert "FeatureMatrix" in features._repr_html_() and features.by_sample([]).shape == (0, 3)


def test_saved_again_from_disk_it_is_the_same_store(made, tmp_path):
    features = made(table())
    features.save(tmp_path / "a")
    si.load_features(tmp_path / "a").save(tmp_path / "b")
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in "ab")
    assert one == two


def test_answers_do_not_hand_out_what_others_read(made):
    """Somebody who writes into an answer changes nothing for the next."""
    features, dense = made(table()), table()
    for ask in (lambda: features.column(0), lambda: features.max_per_sample().data, lambda: features.density):
        found = ask()
        found[...] = 7
    np.testing.assert_array_equal(features.column(0), dense[:, 0])
    np.testing.assert_array_equal(features.largest, dense.max(0))
    assert features.density.max() <= 1


NO_SAMPLE = [-1, 6, [0, 9], [-1], [0.5], "s0", ["s0"], [[0]], None, np.nan]


@pytest.mark.parametrize("wanted", NO_SAMPLE, ids=str)
def test_a_sample_that_is_none_is_named(made, wanted):
    with pytest.raises(SciinterpError, match=r"there is no such sample.*0 to 5") as caught:
        made(table()).by_sample(wanted)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wanted", [-1, 6, "x", 0.5, None, True], ids=str)
def test_rows_of_a_sample_that_is_none_are_named(made, wanted):
    features = made(table())
    with pytest.raises(SciinterpError, match="there is no such sample"):
        features.rows(wanted)
    assert features.rows("s2") == features.rows(2) == features.rows(np.int64(2)) == slice(4, 11)


@pytest.mark.parametrize("wanted", [-1, 6, "0", 0.5, None, True, np.nan, np.inf, [0], 1e30], ids=str)
def test_a_feature_that_is_none_is_named(made, wanted):
    features = made(table())
    for ask in (
        features.number,
        features.column,
        lambda j: peaks_of(features, j),
        lambda j: features.subset(features=[j]),
    ):
        with pytest.raises(InputError, match="there is no such feature"):
            ask(wanted)
    assert features.number(np.float64(5)) == features.number(np.int8(5)) == 5


@pytest.mark.parametrize("block", [(-1, 2), (2, 1), (0, 7), (7, 7)], ids=str)
def test_a_block_of_features_that_is_none_is_named(made, block):
    with pytest.raises(InputError, match=r"no such features.*0 to 6"):
        made(table()).by_feature(*block)


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (np.zeros(23, np.float32), "two-dimensional|dimensions"),
        (np.zeros((20, 2, 1), np.float32), "two-dimensional|dimensions"),
        (np.full((20, 2), "x"), "real numbers|rows of numbers"),
        (np.zeros((20, 2), complex), "real numbers"),
        (np.ma.masked_greater(np.ones((20, 2)), 0), "masked"),
        ("codes.npz", "dimensions|numbers"),
        (None, "dimensions|numbers"),
        (np.ones((19, 2), np.float32), "do not fit the samples.*expected 20 rows.*got 19"),
        (-np.ones((20, 2), np.float32), "finite and non-negative.*minimum of -1"),
        (np.full((20, 2), np.nan), "finite and non-negative"),
        (np.full((20, 2), 1e39), "finite and non-negative"),
    ],
    ids=[
        "flat",
        "deep",
        "text",
        "complex",
        "masked",
        "a path",
        "nothing",
        "rows",
        "negative",
        "nan",
        "too large",
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_what_is_no_matrix_of_codes_is_one_line(codes, said):
    with pytest.raises(SciinterpError, match=said) as caught:
        si.FeatureMatrix(codes, samples())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "kind",
    [sp.csr_array, sp.csr_matrix, sp.csc_array, sp.coo_array, sp.lil_array, np.asarray, np.ndarray.tolist],
)
@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.float32])
def test_every_form_of_a_matrix_is_read_alike(kind, dtype):
    dense = np.floor(table()).astype(dtype)
    features = si.FeatureMatrix(kind(dense), samples())
    assert features.codes.dtype == np.float32
    np.testing.assert_array_equal(features.codes.toarray(), dense)
    np.testing.assert_array_equal(features.by_feature().to_csc().toarray(), dense)


def test_a_matrix_that_was_given_is_not_changed():
    given = sp.csr_array(
        (np.array([1.0, 2.0, 4.0]), np.array([1, 1, 0]), np.array([0, 3] + [3] * 19)), shape=(20, 2)
    )
    before = given.copy()
    features = si.FeatureMatrix(given, samples())
    assert features.codes.toarray()[0].tolist() == [4, 3] and given.nnz == before.nnz == 3
    found = by_feature(given)
    assert found.values.tolist() == [4, 3] and given.nnz == 3


@pytest.mark.parametrize("seed", SEEDS)
def test_by_feature_agrees_with_scipy(seed):
    dense = table(seed)
    codes, rng = by_feature(sp.csr_array(dense)), np.random.default_rng(seed)
    assert by_feature(codes) is codes and codes.n_features == WIDTH and codes.n_positions == len(dense)
    rows = np.sort(rng.choice(len(dense), 9, replace=False))
    kept = rng.random(len(codes.values)) < 0.5
    np.testing.assert_array_equal(codes.at(rows).to_csc().toarray(), dense[rows])
    np.testing.assert_array_equal(codes.at(rows[:0]).to_csc().toarray(), dense[:0])
    np.testing.assert_array_equal(codes.block(2, 5).to_csc().toarray(), dense[:, 2:5])
    np.testing.assert_array_equal(codes.block(2, 2).to_csc().toarray(), dense[:, 2:2])
    np.testing.assert_array_equal(codes.largest, dense.max(0))
    csc = sp.csc_array(dense)
    csc.data = np.where(kept, csc.data, 0)
    np.testing.assert_array_equal(codes.keep(kept).to_csc().toarray(), csc.toarray())
    assert [codes.column(j)[0].tolist() for j in range(WIDTH)] == [
        np.flatnonzero(dense[:, j]).tolist() for j in range(WIDTH)
    ]
    active = is_active(dense, dense.max(0))
    np.testing.assert_array_equal(only_active(codes).to_csc().toarray(), np.where(active, dense, 0))
    np.testing.assert_array_equal(active_cells(sp.csr_array(dense), dense.max(0)).toarray(), active)
    twice = only_active(only_active(codes))
    assert twice.values.tobytes() == only_active(codes).values.tobytes()


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (sp.csr_array([[-1.0, 2.0]]), "got -1"),
        (sp.csr_array([[np.nan, -2.0]]), "got NaN"),
    ],
)
def test_a_negative_code_is_none_to_the_kernels(codes, said):
    with pytest.raises(InputError, match=f"codes cannot be used.*values >= 0.*{said}"):
        by_feature(codes)
    with pytest.raises(ShapeError, match=r"must be a sparse matrix.*argument 'x'.*1 dimensions"):
        as_csr(np.zeros(3), "x")


@pytest.mark.parametrize("most", [0, 1, 3, 10**9])
@pytest.mark.parametrize("sizes", [[], [0], [5], [0, 0, 0], [2, 9, 0, 1, 1, 1], [1] * 7])
def test_blocks_cover_all_and_are_as_large_as_they_may_be(sizes, most):
    found = list(blocks(np.cumsum(sizes), most))
    assert [i for lo, hi in found for i in range(lo, hi)] == list(range(len(sizes)))
    for lo, hi in found:
        assert sum(sizes[lo:hi]) <= most or hi == lo + 1
        assert hi == len(sizes) or sum(sizes[lo : hi + 1]) > most, "one more would have fitted"
    assert BLOCK_VALUES > 1 << 16


@pytest.mark.parametrize("seed", SEEDS)
def test_the_largest_of_groups_does_not_depend_on_the_order_of_rows(seed):
    dense, rng = table(seed), np.random.default_rng(seed)
    group, order = rng.integers(0, 4, len(dense)), rng.permutation(len(dense))
    one = largest(sp.csr_array(dense), group, 5).toarray()
    np.testing.assert_array_equal(one, largest(sp.csr_array(dense[order]), group[order], 5).toarray())
    frame = pd.DataFrame(dense).groupby(group).max()
    np.testing.assert_array_equal(one[frame.index], frame.to_numpy())
    # Groups of groups: the largest of the largest.
    coarse = np.array([0, 1, 0, 1, 1])
    np.testing.assert_array_equal(
        largest(sp.csr_array(one), coarse, 2).toarray(),
        largest(sp.csr_array(dense), coarse[group], 2).toarray(),
    )
    spans = np.arange(len(dense))
    given = sp.csr_array(dense)
    assert to_positions(given, spans, spans + 1, len(dense)) is given
    np.testing.assert_array_equal(
        to_positions(given[order], spans[order], spans[order] + 1, len(dense)).toarray(), dense
    )
    assert (
        to_positions(given[:0], spans[:0], spans[:0], 3).toarray().tolist() == np.zeros((3, WIDTH)).tolist()
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_peaks_are_those_of_pandas(made, seed):
    dense, of = table(seed), samples()
    features = made(dense)
    active = np.where(is_active(dense, dense.max(0)), dense, np.nan)
    frame = pd.DataFrame(active, columns=range(WIDTH)).groupby(of.position_sample())
    wanted = {(j, g): v for j in range(WIDTH) for g, v in frame[j].max().dropna().items()}
    found = features.peaks()
    assert dict(
        zip(zip(found.feature.tolist(), found.group.tolist()), found.value.tolist())
    ) == pytest.approx(wanted)
    assert list(zip(found.feature, found.group)) == sorted(wanted)
    for j in range(WIDTH):
        mine = peaks_of(features, j)
        assert mine.value.tolist() == sorted(mine.value.tolist(), reverse=True)
        assert {(g, v) for g, v in zip(mine.group.tolist(), mine.value.tolist())} == {
            (g, np.float32(v)) for (k, g), v in wanted.items() if k == j
        }
        equal = np.flatnonzero(np.diff(mine.value) == 0)
        assert (mine.group[equal] < mine.group[equal + 1]).all()
    again = strongest_first(strongest_first(found))
    assert again.position.tolist() == strongest_first(found).position.tolist()
    whole = largest_in_groups(features.by_feature(), np.zeros(len(dense), int))
    assert whole.value.tolist() == [v for v in dense.max(0).tolist() if v > 0]
    assert isinstance(features.by_feature(), ByFeature)


def test_density_and_the_card_say_what_pandas_says(made, tmp_path: Path):
    dense = table()
    features = made(dense)
    active = is_active(dense, dense.max(0))
    assert features.density.tolist() == active.mean(0).tolist()
    card = features._repr_html_()
    assert "<td>1</td>" in card and f"{np.median(active.mean(0)[active.any(0)]):.4g}" in card
    assert (
        repr(features)
        == f"FeatureMatrix(20 positions x 6 features, {np.count_nonzero(dense) / 20:.1f} codes a position)"
    )
