"""Worlds of discovery: what is hidden is nowhere in the annotations, and what is there is written and read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sciinterp.trust.designs import meets
from sciinterp.trust.discovery_worlds import CLADES, MERGED, make_world
from sciinterp.trust.forms import (
    BACKGROUND,
    EXCHANGE,
    KINDS,
    LETTERS,
    OILY,
    draw_carriers,
    draw_families,
    draw_form,
    emit,
)

KEYS = ["sample", "start", "end", "concept"]


@pytest.fixture(scope="module")
def world():
    return make_world(2, n_seeds=1)


@pytest.fixture(scope="module")
def bare():
    return make_world(2, hide=False, n_seeds=0)


def truly(world, rows):
    """Whether rows lie on an instance of their own name."""
    return meets(rows, world.instances)


def test_hidden_instances_are_not_in_the_annotations(world):
    assert len(world.missing) > 30
    assert truly(world, world.missing).all()
    shown = world.annotations.frame
    both = world.missing.merge(shown, on=KEYS, how="inner")
    # An instance of the same concept may be invented there by the source: no more than chance makes of it.
    assert len(both) <= 1
    assert meets(world.missing, shown).mean() < 0.03


def test_novel_concepts_are_named_by_nobody(world):
    assert {kind for kind, _ in world.novel.values()} == set(KINDS)
    assert not set(world.novel) & set(world.annotations.names)
    assert not set(world.missing["concept"]) & set(world.novel)


def test_merged_concepts_share_a_name_and_no_family(world):
    assert len(world.merged) == len(MERGED)
    family = world.features.samples.table["family"]
    for name in world.merged:
        assert name in world.annotations.names
        halves = [
            set(family[world.instances.query(f"concept == '{name}-{half}'")["sample"]]) for half in "ab"
        ]
        assert all(len(half) >= 4 for half in halves) and not halves[0] & halves[1]
        assert not set(world.merged[name][0]) & set(world.merged[name][1])


def test_half_of_the_masked_concepts_lose_whole_families(world):
    family = world.features.samples.table["family"]
    shown = world.annotations.frame
    whole = 0
    for concept, hidden in world.missing.groupby("concept"):
        if not concept.startswith("masked"):
            continue
        rest = set(family[shown.loc[shown["concept"] == concept, "sample"]])
        lost = set(family[hidden["sample"]])
        whole += len(lost - rest) >= 3
    assert whole >= 3


def test_with_nothing_hidden_all_is_stated(bare):
    assert not len(bare.missing) and not bare.novel and not bare.merged
    assert meets(bare.instances, bare.annotations.frame).all()
    invented = ~truly(bare, bare.annotations.frame)
    assert 0 < invented.mean() < 0.05


def test_bounds_are_moved_and_names_swapped(world, bare):
    shown = bare.annotations.frame[KEYS]
    exact = shown.merge(bare.instances[KEYS], on=KEYS)
    assert 0.6 < len(exact) / len(shown) < 0.95
    of_others = world.missing[world.missing["concept"].str.startswith("plain")]
    assert len(of_others), "what lies under another name is left out under its own"


def test_codes_do_not_change_what_is_true():
    sparse, leaky = (make_world(3, codes=how, n_seeds=0) for how in ("topk", "relu"))
    assert sparse.annotations.frame.equals(leaky.annotations.frame)
    assert sparse.missing.equals(leaky.missing)
    assert sparse.features.samples.sequences == leaky.features.samples.sequences
    a, b = sparse.features.codes.toarray(), leaky.features.codes.toarray()
    assert (np.count_nonzero(a, axis=1) <= 8).all() and (b > 0).mean() > 0.4
    assert np.array_equal(a[a > 0], b[a > 0])


@pytest.mark.parametrize("which", ["features", "other"])
def test_readers_read_their_concept(world, which):
    """In the run's dictionary each does; in another one as many features do."""
    matrix = world.features if which == "features" else world.seeds[0]
    strong = matrix.codes.toarray() > 0.3
    offsets, samples = matrix.samples.offsets, matrix.samples
    for concept, readers in world.readers.items():
        rows = world.instances[world.instances["concept"] == concept]
        base = offsets[[samples.index(s) for s in rows["sample"]]]
        hit = np.array(
            [strong[b + s : b + e].any(0) for b, s, e in zip(base, rows["start"], rows["end"])]
        ).mean(0)
        found = hit[list(readers)] if which == "features" else np.sort(hit)[-len(readers) :]
        assert found.min() > 0.25, concept
        assert np.median(hit) < 0.2, concept


def test_same_seed_same_world(world):
    again = make_world(2, n_seeds=1)
    assert (again.features.codes != world.features.codes).nnz == 0
    assert (again.seeds[0].codes != world.seeds[0].codes).nnz == 0
    assert again.annotations.frame.equals(world.annotations.frame)
    other = make_world(4, n_seeds=0)
    assert other.features.samples.digest != world.features.samples.digest


def test_families_of_a_clade_are_alike_and_members_more_so():
    rng = np.random.default_rng(0)
    clade = np.repeat(np.arange(len(CLADES)), CLADES)
    forms = [draw_form(kind, rng) for kind in KINDS]
    carriers = [draw_carriers(clade, (0.5, 0.6), rng) for _ in forms]
    families = draw_families(forms, carriers, clade, rng)

    def share(a, b):
        n = min(len(a), len(b))
        return (a[:n] == b[:n]).mean()

    within = np.mean([share(f.letters[0], f.letters[1]) for f in families])
    same = np.mean(
        [share(a.letters[0], b.letters[0]) for a, b in zip(families, families[1:]) if a.clade == b.clade]
    )
    apart = np.mean(
        [share(a.letters[0], b.letters[0]) for a, b in zip(families, families[8:]) if a.clade != b.clade]
    )
    assert within > 0.75 > same > 0.25 > apart
    # Sites change at rates of their own: columns of a clade differ more in what they keep than chance makes them.
    first = np.stack([f.letters[0] for f in families if f.clade == 0])
    kept = (first[1:] == first[0]).mean(0)
    assert kept.std() > 1.3 * np.sqrt(kept.mean() * (1 - kept.mean()) / len(first[1:]))
    for family in families:
        written = np.concatenate([where for _, where, _, _ in family.written])
        assert len(written) == len(np.unique(written)), "nothing is written over another"


def test_carriers_gather_in_clades():
    rng = np.random.default_rng(0)
    clade = np.repeat(np.arange(len(CLADES)), CLADES)
    spread = []
    for _ in range(60):
        mine = draw_carriers(clade, (0.5, 0.65), rng)
        assert 0.45 * len(clade) <= len(mine) <= 0.7 * len(clade)
        share = np.bincount(clade[mine], minlength=len(CLADES)) / np.array(CLADES)
        spread.append(share.std())
    even = [
        np.bincount(rng.choice(clade, 25, replace=False), minlength=7) / np.array(CLADES) for _ in range(60)
    ]
    assert np.mean(spread) > 1.2 * np.mean([e.std() for e in even])
    outside = np.arange(10)
    assert not set(draw_carriers(clade, (0.3, 0.4), rng, outside=outside)) & set(outside)


@pytest.mark.parametrize("kind", KINDS)
def test_instances_are_what_their_form_says(kind):
    rng = np.random.default_rng(1)
    form = draw_form(kind, rng)
    assert form.kind == kind and sum(form.blocks) == len(form.columns) == len(form.face) == len(form.named)
    assert np.allclose(form.columns.sum(1), 1)
    text = np.stack([emit(form, 1.0, rng) for _ in range(300)])
    best = form.columns.argmax(1)
    observed = (text == best).mean(0)
    assert np.abs(observed - form.columns.max(1)).max() < 0.12
    strength = (form.columns * np.log2(form.columns / BACKGROUND + 1e-12)).sum(1)
    if kind == "periodic":
        oily = np.isin(LETTERS[text], list(OILY)).mean(0)
        assert oily[form.face].min() > 0.7 and oily[~form.face].max() < 0.3
        assert strength.max() < 2.5, "no position of it is a motif"
    if kind == "pair":
        assert form.gap[0] >= 18 and len(form.blocks) == 2
    if kind == "gapped":
        assert form.gap[1] > form.gap[0] and len(form.blocks) == 2
    if kind == "domain":
        assert np.median(strength) < 1.6 and len(strength) >= 22
    if kind == "site":
        assert form.named.sum() == 1 and strength[4] > 3 and np.delete(strength, 4).max() < 3.6


def test_letters_turn_into_letters_of_their_kind():
    table = np.diff(EXCHANGE, axis=1, prepend=0)
    at = {x: i for i, x in enumerate(LETTERS)}
    assert np.allclose(table.sum(1), 1)
    for a, b, other in (("I", "V", "K"), ("D", "E", "L"), ("F", "Y", "S")):
        assert table[at[a], at[b]] > 2 * table[at[a], at[other]]


def test_meets_is_of_one_sample_and_concept():
    rows = pd.DataFrame(
        [("a", 0, 3, "x"), ("a", 3, 4, "x"), ("b", 0, 3, "x"), ("a", 0, 3, "y")], columns=KEYS
    )
    others = pd.DataFrame([("a", 2, 3, "x")], columns=KEYS)
    assert meets(rows, others).tolist() == [True, False, False, False]
