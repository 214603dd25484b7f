# ruff: noqa: F811
"""Logos, tracks, aligned families and structures: counted by loops, and the same however samples are laid or turned."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from Bio.PDB.vectors import Vector, calc_dihedral
from figure_cases import reason
from report_fixtures import run  # noqa: F401
from scipy.spatial.distance import cdist, pdist
from scipy.spatial.transform import Rotation
from scipy.stats import entropy

import sciinterp as si
from sciinterp.codes.active import is_active
from sciinterp.errors import InputError
from sciinterp.plots.logos import Letters, information, logo, outline
from sciinterp.plots.style import to_bytes
from sciinterp.plots.tracks import _imgt_order, top_samples
from sciinterp.readers.backbones import pack

AMINO = "ACDEFGHIKLMNPQRSTVWY"


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def sequences(n: int = 6, *, kind: str = "protein", alphabet: str = AMINO, seed: int = 0) -> si.Samples:
    rng = np.random.default_rng(seed)
    text = ["".join(rng.choice(list(alphabet), rng.integers(1, 30))) for _ in range(n)]
    return si.Samples([f"s{i}" for i in range(n)], text, kind=kind)


def codes_on(
    samples: si.Samples, n_features: int = 3, *, seed: int = 0, share: float = 0.3
) -> si.FeatureMatrix:
    rng = np.random.default_rng(seed)
    dense = rng.gamma(2, 1, (samples.n_positions, n_features)) * (
        rng.random((samples.n_positions, n_features)) < share
    )
    return si.FeatureMatrix(sp.csr_array(dense.astype(np.float32)), samples)


# Logos ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_letters", [1, 2, 4, 20])
def test_heights_are_information_less_the_correction_of_small_samples(n_letters):
    counts = np.random.default_rng(0).integers(0, 40, (9, n_letters))
    counts[3] = 0
    bits = information(counts)
    for column, height in zip(counts, bits):
        n = column.sum()
        if not n:
            assert (height == 0).all()
            continue
        correction = (n_letters - 1) / (2 * n * np.log(2))
        whole = max(np.log2(n_letters) - entropy(column, base=2) - correction, 0)
        np.testing.assert_allclose(height, column / n * whole, atol=1e-12)
    shuffled = np.random.default_rng(1).permutation(n_letters)
    np.testing.assert_allclose(information(counts[:, shuffled]), bits[:, shuffled])
    assert (
        information(counts * 1000).sum(1) >= bits.sum(1) - 1e-12
    ).all()  # more of the same is never less sure


@pytest.mark.parametrize(
    ("kind", "alphabet"), [("protein", AMINO), ("dna", "ACGT"), ("rna", "ACGU"), ("smiles", "C")]
)
@pytest.mark.parametrize("flank", [0, 2, 40])
def test_letters_around_positions_are_those_of_a_loop(kind, alphabet, flank):
    samples = sequences(kind=kind, alphabet=alphabet)
    letters, rng = Letters(samples), np.random.default_rng(1)
    where = rng.integers(0, samples.n_positions, 25)
    want = np.zeros((2 * flank + 1, len(letters.alphabet)), int)
    home = samples.position_sample()
    for at in where:
        s = int(home[at])
        start, text = int(samples.offsets[s]), samples[s].sequence
        for step in range(-flank, flank + 1):
            i = at - start + step
            if 0 <= i < len(text) and text[i] in letters.alphabet:
                want[step + flank, letters.alphabet.index(text[i])] += 1
    np.testing.assert_array_equal(letters.counts(where, flank), want)


def test_letters_are_counted_alike_in_small_case_alone_or_among_others():
    text = ["ACDX-EF", "WWBZ", "acdef"]
    all_of = Letters(si.Samples(list("abc"), text))
    assert all_of.numbers[:4].tolist() == [0, 1, 2, -1]
    first = 0
    for one in text:
        alone = Letters(si.Samples(["x"], [one]))
        where = np.arange(len(one))
        np.testing.assert_array_equal(alone.counts(where, 3), all_of.counts(where + first, 3))
        np.testing.assert_array_equal(alone.numbers, Letters(si.Samples(["x"], [one.upper()])).numbers)
        first += len(one)


@pytest.mark.parametrize(
    ("column", "said"), [([1000, 0, 0, 0], "A"), ([0, 0, 500, 500], "g"), ([25, 25, 25, 25], "")]
)
def test_a_motif_is_capital_from_a_bit_and_a_half(column, said):
    letters = Letters(sequences(kind="dna", alphabet="ACGT"))
    counts = np.array([column])
    assert letters.motif(counts, information(counts)) == said


def test_letters_stand_on_each_other_as_high_as_the_column(run):
    samples = sequences(80, kind="dna", alphabet="AC")
    features = codes_on(samples)
    ax = logo(features, 1, flank=3)
    peaks = features.column(1)
    best = [
        int(rows.start + np.argmax(peaks[rows]))
        for rows in (features.rows(s) for s in range(len(samples)))
        if is_active(peaks[rows], features.largest[1]).any()
    ]
    heights = information(Letters(samples).counts(np.array(best), 3)).sum(1)
    tops = [path.get_extents() for path in ax.collections[0].get_paths()]
    for x, height in enumerate(heights):
        mine = [box for box in tops if x - 0.5 < (box.x0 + box.x1) / 2 < x + 0.5]
        assert max((box.y1 for box in mine), default=0) == pytest.approx(height, abs=3e-3)
    assert ax.get_title(loc="left") == f"Feature 1, {len(best)} peaks"
    assert ax.get_ylim()[1] == pytest.approx(2.04)


@pytest.mark.parametrize("letter", ["A", "I", "-", ".", "W"])
def test_outlines_fill_the_unit_square_from_below(letter):
    box = outline(letter).get_extents()
    assert box.x0 >= -1e-9 and box.x1 <= 1 + 1e-9
    assert box.y0 == pytest.approx(0) and box.y1 == pytest.approx(1)


def test_a_constant_sequence_holds_no_information(recwarn):
    ax = logo(codes_on(si.Samples(["a", "b"], ["CCCC", "CC"], kind="smiles"), share=1.0), 0)
    assert [t.get_text() for t in ax.texts] == ["no column holds information"]
    assert not [w for w in recwarn if "identical" in str(w.message)]


# Tracks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_families", [False, True])
def test_the_strongest_samples_come_first_and_one_of_each_family_before_all(with_families):
    samples = sequences(24)
    families = [f"f{i % 5}" for i in range(24)]
    if with_families:
        samples = si.Samples(samples.ids, samples.sequences, table=pd.DataFrame({"family": families}))
    features = codes_on(samples, share=0.2)
    value = features.column(2)
    peak = {s: value[features.rows(s)].max(initial=0) for s in range(24)}
    active = [s for s in peak if is_active(np.array([peak[s]], np.float32), features.largest[2])[0]]
    ranked = sorted(active, key=lambda s: (-peak[s], s))
    if with_families:
        first = {}
        for s in ranked:
            first.setdefault(families[s], s)
        ranked = [*first.values(), *(s for s in ranked if s not in first.values())]
    assert top_samples(features, 2, 100).tolist() == ranked
    assert top_samples(features, 2, 3).tolist() == ranked[:3]


def test_a_track_is_the_activation_over_the_peak_and_letters_are_dark_where_it_fires(run):
    features, index = run["features"], run["samples"]
    ax = si.pl.feature(features, 8, samples=[3, 5])
    value, peak = features.column(8), max(features.column(8)[features.rows(s)].max() for s in (3, 5))
    for s, patch in zip((3, 5), ax.patches):
        steps, edges, base = patch.get_data()
        np.testing.assert_allclose(steps - base, value[features.rows(s)] / peak, atol=1e-6)
        assert edges[0] == -0.5 and len(edges) == index.lengths[s] + 1
    shades = [c.get_facecolor() for c in ax.collections if len(c.get_facecolor()) > 50]
    for s, faces in zip((3, 5), shades):
        on = is_active(value[features.rows(s)], features.largest[8])
        dark = (faces == np.array(mpl.colors.to_rgba("#1B1F24"))).all(1)
        np.testing.assert_array_equal(dark, on)
    assert ax.get_title(loc="left") == f"Feature 8, activation from 0 to {peak:.3g}"
    named = si.pl.feature(features, 8, samples=[index.ids[3], index.ids[5]])
    assert to_bytes(named) == to_bytes(ax)


def test_lanes_are_the_concepts_with_most_activation_below_them(run):
    features, notes, s = run["features"], run["annotations"], 4
    value = features.column(8)[features.rows(s)]
    rows = notes.frame[(notes.frame["sample"] == run["samples"].ids[s]) & (notes.frame["start"] >= 0)]
    under = {r.concept: value[r.start : r.end].sum() for r in rows.itertuples()}
    ranked = sorted(under, key=lambda c: (-under[c], c))
    ax = si.pl.feature(features, 8, annotations=notes, samples=[s])
    assert [t.get_text() for t in ax.get_yticklabels()] == [run["samples"].ids[s], *ranked[:7]]
    assert ax.get_xlabel().replace("\n", " ").endswith("; 7 of 10 concepts, those the feature overlaps most")
    bars = [
        c
        for c in ax.collections
        if len(c.get_paths()) == 1 and len(c.get_edgecolor()) and c.get_linewidth() == 0.3
    ]
    at = [(b.get_paths()[0].get_extents().x0 + 0.5, b.get_paths()[0].get_extents().x1 + 0.5) for b in bars]
    want = {r.concept: (r.start, r.end) for r in rows.itertuples()}
    assert at == [want[c] for c in ranked[:7]]


def test_a_concept_has_one_colour_whatever_stands_beside_it(run):
    features, notes = run["features"], run["annotations"]

    def colours(j: int) -> dict[str, str]:
        ax = si.pl.feature(features, j, annotations=notes, n=1)
        names = [t.get_text() for t in ax.get_yticklabels()][1:]
        bars = [c for c in ax.collections if c.get_linewidth() == 0.3]
        return {name: mpl.colors.to_hex(b.get_facecolor()[0]) for name, b in zip(names, bars)}

    one, other = colours(3), colours(9)
    shared = one.keys() & other.keys()
    assert shared and one.keys() != other.keys()
    assert all(one[name] == other[name] for name in shared)
    assert len(set(one.values())) == len(one)


def test_aligned_rows_and_numbers_of_columns_are_one_alignment(run):
    text = ["ACDEF", "ACF", "DE"]
    rows = {"a": "ACDEF", "b": "AC--F", "c": "..DE."}
    samples = si.Samples(list("abc"), text)
    codes = np.arange(1, 11, dtype=np.float32)[:, None]
    features = si.FeatureMatrix(sp.csr_array(codes), samples)
    columns = np.array([0, 1, 2, 3, 4, 0, 1, 4, 2, 3])
    by_row = si.pl.family_heatmap(features, 0, columns=rows)
    for same in (columns, columns.tolist(), dict(reversed(rows.items()))):
        assert to_bytes(si.pl.family_heatmap(features, 0, columns=same)) == to_bytes(by_row)
    grid = by_row.collections[0].get_array()
    want = [
        [np.nan, np.nan, 9, 10, np.nan],
        [6, 7, np.nan, np.nan, 8],
        [1, 2, 3, 4, 5],
    ]  # the strongest first
    np.testing.assert_array_equal(np.ma.filled(grid, np.nan), want)
    hidden = columns.copy()
    hidden[5:8] = -1
    left = si.pl.family_heatmap(features, 0, columns=hidden).collections[0].get_array()
    assert np.ma.getmaskarray(left)[1].all() and not np.ma.getmaskarray(left)[2].any()
    alone = si.pl.family_heatmap(features, 0, columns={"a": "AC-DEF"})
    assert alone.collections[0].get_array().shape == (3, 5)  # a column of gaps alone is not drawn
    weak = codes.copy()
    weak[5:8] /= 4
    ax = si.pl.family_heatmap(si.FeatureMatrix(sp.csr_array(weak), samples), 0, columns=rows)
    assert ax.get_ylabel() == "2 of 3 samples, strongest first"


def test_insertions_of_imgt_rise_after_111_and_fall_before_112():
    names = "112 1 111.2 111.10 112.1 110 111 112.2 111.1 113".split()
    want = "1 110 111 111.1 111.2 111.10 112.2 112.1 112 113".split()
    assert sorted(names, key=_imgt_order) == want


# Structures -----------------------------------------------------------------------------------------------------------


def folded(
    n: int = 24, *, seed: int = 0, missing: tuple[int, ...] = (), turn: Rotation | None = None
) -> si.FeatureMatrix:
    """A chain whose atoms lie at random, bound one to the next, as it is or turned and moved."""
    rng = np.random.default_rng(seed)
    places = np.cumsum(rng.normal(0, 0.8, (n * 4, 3)), 0)
    if turn is not None:
        places = turn.apply(places) + np.array([30.0, -20.0, 7.0])
    places = places.reshape(n, 4, 3)
    places[list(missing), 1] = np.nan
    text = (AMINO * 3)[:n]
    record = {"sequence": text, "backbone": pack(places), "chain": ["A"] * n, "number": list(range(1, n + 1))}
    samples = si.Samples(["x"], [record], lengths=[n], kind="structure")
    codes = np.zeros((n, 3), np.float32)
    for at, value in ((2, 4.0), (7, 2.0), (8, 3.0)):
        codes[min(at, n - 1), 1] = value
    return si.FeatureMatrix(sp.csr_array(codes), samples)


def alphas(features: si.FeatureMatrix) -> np.ndarray:
    from sciinterp.readers.backbones import places_of

    return places_of(features.samples.data[0])[:, 1]


TURNS = [None, *Rotation.random(2, random_state=0)]


@pytest.mark.parametrize("turn", TURNS, ids=["as it is", "turned", "turned again"])
def test_torsions_are_those_of_biopython_and_of_the_turned_structure(turn):
    features = folded(turn=turn)
    from sciinterp.readers.backbones import joined, places_of

    places = places_of(features.samples.data[0])
    bound = joined(places, np.array(["A"] * len(places)))
    ax = si.pl.ramachandran(features, 1)
    drawn = np.asarray(ax.collections[1].get_offsets())
    want = []
    for i in (2, 8, 7):  # the strongest first
        if bound[i] and bound[i + 1]:
            n, ca, c, after, before = (
                Vector(*p) for p in (*places[i, :3], places[i + 1, 0], places[i - 1, 2])
            )
            want.append(np.degrees([calc_dihedral(before, n, ca, c), calc_dihedral(n, ca, c, after)]))
    assert want
    np.testing.assert_allclose(drawn, want, atol=1e-6)


@pytest.mark.parametrize("turn", TURNS, ids=["as it is", "turned", "turned again"])
def test_contacts_are_pairs_within_eight_angstrom_from_both_sides(turn):
    features = folded(turn=turn)
    near = cdist(alphas(features), alphas(features)) < 8
    ax = si.pl.contact_map(features, 1)
    quiet, touched, peaks = (set(map(tuple, line.get_xydata().astype(int))) for line in ax.lines)
    pairs = {(i, j) for i, j in np.argwhere(near)}
    assert quiet | touched == pairs and not quiet & touched
    assert touched == {(i, j) for i, j in pairs if {i, j} & {2, 7, 8}}
    assert {(j, i) for i, j in touched} == touched
    assert peaks == {(2, 2), (7, 7), (8, 8)}


@pytest.mark.parametrize("turn", TURNS, ids=["as it is", "turned", "turned again"])
def test_a_trace_is_seen_along_its_shortest_axis(turn):
    features = folded(turn=turn)
    alpha = alphas(features)
    spread = np.linalg.eigvalsh(np.cov(alpha.T, bias=True))
    ax = si.pl.trace(features, 1)
    bonds = np.asarray(ax.collections[0].get_segments())
    flat = {tuple(p) for p in bonds.reshape(-1, 2).round(6)}
    dots = np.asarray(ax.collections[1].get_offsets())
    assert len(dots) == 3
    middle = alpha.mean(0)
    if len(flat) == len(alpha):  # every residue is bound to a neighbour
        assert np.var(sorted(flat), axis=0).sum() == pytest.approx(spread[1:].sum(), rel=1e-4)
    for dot in dots:
        assert any(np.linalg.norm(dot) <= np.linalg.norm(alpha[i] - middle) + 1e-6 for i in (2, 7, 8))
    assert {t.get_text() for t in ax.texts} <= {f"{AMINO[i]}{i + 1}" for i in (2, 7, 8)}
    assert ax.texts[0].get_text() == f"{AMINO[2]}3"  # the strongest has its name before the others
    base = si.pl.trace(folded(), 1)
    np.testing.assert_allclose(
        pdist(np.asarray(ax.collections[1].get_offsets())).round(2).max(),
        pdist(np.asarray(base.collections[1].get_offsets())).round(2).max(),
        atol=0.02,
    )


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("draw", ["trace", "contact_map", "ramachandran"])
def test_the_shortest_structures_have_pictures(n, draw):
    ax = getattr(si.pl, draw)(folded(n), 1)
    assert to_bytes(ax).startswith(b"<?xml")
    assert (reason(ax) is not None) == (draw == "ramachandran")


@pytest.mark.parametrize("draw", ["trace", "contact_map"])
def test_a_residue_without_a_place_is_left_out(draw):
    whole, holed = (getattr(si.pl, draw)(folded(missing=gone), 1) for gone in ((), (7,)))
    if draw == "trace":
        assert len(holed.collections[1].get_offsets()) == len(whole.collections[1].get_offsets()) - 1
        assert np.isfinite(np.asarray(holed.collections[1].get_offsets())).all()
        none = si.pl.trace(folded(6, missing=tuple(range(6))), 1)
        assert reason(none) == "the samples have no coordinates of a backbone"
    else:
        gone = {tuple(p) for line in holed.lines[:2] for p in line.get_xydata().astype(int)}
        assert gone and not any(7 in pair for pair in gone)


def test_sequences_have_no_structure(run):
    for draw in (si.pl.trace, si.pl.contact_map, si.pl.ramachandran):
        assert reason(draw(run["features"], 1)) == "the samples have no coordinates of a backbone"
    with pytest.raises(InputError, match="no such feature"):
        si.pl.trace(folded(), 3)
    assert "active in no sample" in reason(si.pl.trace(folded(), 0))
