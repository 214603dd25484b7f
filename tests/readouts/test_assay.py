"""Assays: what position alone tells is not credited under held-out positions, and what is planted is found."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.models.mpnn_layers import MpnnModule
from sciinterp.readers.notation import Variant, parse_variant
from sciinterp.readouts.assay_readers import Reader, readers_of
from sciinterp.readouts.assay_scores import AssaySettings, compare, follow
from sciinterp.readouts.position_splits import correlation, draws_of, parts_of, top_recall
from sciinterp.sae.base import TopKSAE

WILD = "EVQLVESGGGLVKPGGSLRLSCAAS"
QUICK = AssaySettings(n_draws=100, n_permutations=60)


@pytest.fixture(scope="module")
def scan(tiny):
    return si.saturate(*tiny, WILD)


@pytest.fixture(scope="module")
def changes(scan):
    return [parse_variant(v) for v in scan.obs["variant"]]


@pytest.fixture(scope="module")
def readers(scan, changes):
    return readers_of(scan, changes, protein=True)[0]


def by(table, split, reader):
    return table[(table["split"] == split) & (table["reader"] == reader)].iloc[0]


@pytest.mark.parametrize(
    ("n_seeds", "most"), [(1, 0.6), pytest.param(40, 0.1, marks=pytest.mark.slow)], ids=["one", "forty"]
)
def test_a_function_of_position_alone_ranks_nothing_held_out(readers, changes, n_seeds, most):
    """Twenty-five positions leave one draw a standard deviation of .2."""
    position = np.array([c.start for c in changes])
    held: dict[str, list[float]] = {}
    for seed in range(n_seeds):
        y = np.random.default_rng(seed).normal(size=len(WILD))[position]
        table, _ = compare(readers, y, changes, settings=QUICK)
        assert by(table, "random", "position means")["correlation"] > 0.9
        assert (table.loc[table["split"] == "random", "note"] != "").all()
        assert (table.loc[table["split"] != "random", "note"] == "").all()
        for row in table[table["split"] != "random"].itertuples():
            held.setdefault(row.reader, []).append(row.correlation)
    for name, found in held.items():
        assert abs(np.mean(found)) < most, name
    assert set(held["position means"]) == {0.0}


def test_what_substitutions_tell_is_theirs(readers, changes):
    """A score of hydrophobicity is read by substitutions under every split; features add nothing to it."""
    rng = np.random.default_rng(0)
    y = readers["hydrophobicity"].values + rng.normal(size=len(changes))
    table, added = compare(readers, y, changes, settings=QUICK)
    for split in ("random", "contiguous", "modulo"):
        assert by(table, split, "substitution")["correlation"] > 0.7
        row = by(table, split, "hydrophobicity")
        assert row["low"] < row["correlation"] < row["high"] and row["top_recall"] > 0.3
    held = added[(added["added"] == "features") & (added["split"] != "random")]
    assert (held["low"] < 0.02).all()


def test_what_is_added_costs_nothing_where_it_says_nothing_and_is_used_where_it_does():
    """Eighty columns of noise beside three that tell the score, then eighty of which two tell the rest of it."""
    rng = np.random.default_rng(0)
    changes = [Variant(i, "A", x) for i in range(60) for x in "CDEFG"]
    plain, added = rng.normal(size=(300, 3)), rng.normal(size=(300, 80))
    told = plain.sum(1) + rng.normal(size=300)
    gaps = []
    for y in (told, told + added[:, 0] - added[:, 1]):
        readers = {
            "base": Reader(plain, "baseline"),
            "base + more": Reader(np.c_[plain, added], "features", 3),
        }
        table, gap = compare(readers, y, changes, over="base", settings=QUICK)
        assert (table.loc[table["reader"] == "base", "correlation"] > 0.45).all()
        gaps.append(gap["difference"])
    assert (gaps[0] > -0.02).all() and (gaps[1] > 0.1).all()


def test_planted_features_are_found_within_position_and_class(scan, changes):
    rng = np.random.default_rng(0)
    x = sp.csr_array(scan.X)
    spread = np.asarray(abs(x).sum(0)).ravel()
    one = int(np.argmax(spread))
    column = x[:, [one]].toarray().ravel()
    y = column / column.std() + rng.normal(size=len(changes))
    assert follow(x, y, changes, settings=QUICK)["feature"].iloc[0] == one


def test_position_and_class_alone_make_no_feature_follow(scan, changes):
    """Scores of position, class and noise: a feature in at most one of twelve."""
    x, found = sp.csr_array(scan.X), 0
    position = np.array([c.start for c in changes])
    hydrophobic = np.array([c.alt in "AVILMC" for c in changes])
    for seed in range(12):
        rng = np.random.default_rng(seed)
        y = 3 * rng.normal(size=len(WILD))[position] + 2 * hydrophobic + rng.normal(size=len(changes))
        found += len(follow(x, y, changes, settings=QUICK)) > 0
    assert found <= 2


@pytest.mark.slow
def test_position_and_class_alone_make_no_feature_follow_in_full(scan, changes):
    x, found = sp.csr_array(scan.X), 0
    position = np.array([c.start for c in changes])
    hydrophobic = np.array([c.alt in "AVILMC" for c in changes])
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y = 3 * rng.normal(size=len(WILD))[position] + 2 * hydrophobic + rng.normal(size=len(changes))
        found += len(follow(x, y, changes, settings=AssaySettings())) > 0
    assert found <= 15  # 7.5%


def test_the_verb_in_one_go(tiny):
    rng = np.random.default_rng(1)
    names = [f"{WILD[i]}{i + 1}{x}" for i in range(0, 25, 2) for x in "ADKW" if x != WILD[i]]
    frame = pd.DataFrame(
        {"variant": [*names, "V2dup", "A1G", "E1K:Q3R"], "score": rng.normal(size=len(names) + 3)}
    )
    table = si.assay(
        *tiny,
        WILD,
        frame,
        beside={"noise": rng.normal(size=len(frame))},
        settings=AssaySettings(n_draws=50, n_permutations=20),
    )
    assert {"masked marginal", "wild type marginal", "BLOSUM62", "features", "activations", "noise"} <= set(
        table["reader"]
    )
    facts = table.context
    assert facts["n_variants"] == len(names) + 1 and len(facts["refused"]) == 2
    assert facts["scan"].obs["score"].to_numpy() == pytest.approx(
        frame["score"].to_numpy()[[*range(len(names)), -1]]
    )
    assert list(facts["features"].columns) == ["feature", "correlation", "p", "n_changed", "concepts"]
    assert set(facts["added"]["added"]) == {"features", "activations", "masked marginal"}
    assert (table["low"] <= table["high"]).all() and (table["n"] <= len(names) + 1).all()
    with pytest.raises(InputError, match="too small"):
        si.assay(*tiny, WILD, frame.head(5))
    with pytest.raises(InputError, match="not known"):
        si.assay(*tiny, None, frame)


@pytest.fixture(scope="module")
def backbones():
    """Ten helices with other letters, a small model of backbones, and an SAE of its decoder's last layer."""
    torch.manual_seed(0)
    model = si.load_model("proteinmpnn", weights=MpnnModule(width=16, k=8))
    record, letters = model.probe, model.probe["sequence"][:-1]
    rng = np.random.default_rng(0)
    data = [{**record, "sequence": "".join(rng.permutation(list(letters))) + "A"} for _ in range(10)]
    samples = si.Samples([f"p{i}" for i in range(10)], data, lengths=[21] * 10, kind="structure")
    directions = torch.nn.functional.normalize(torch.randn(32, 16), dim=1)
    sae = TopKSAE(directions.T.clone(), torch.zeros(32), directions, torch.zeros(16), k=4)
    sae.origin = model.origin_at("decoder.2")
    return model, sae, samples


def test_several_proteins_are_held_out_whole(backbones):
    """As for measured stability: a score of substitution and burial is theirs, and no feature adds to it."""
    model, sae, samples = backbones
    rng, rows = np.random.default_rng(1), []
    for sample in samples:
        for at in rng.choice(20, 5, replace=False):
            ref = sample.sequence[at]
            alt = rng.choice([x for x in "AVLKDG" if x != ref])
            burial = rng.normal()
            score = burial - (alt == "G") + 0.3 * rng.normal()
            rows.append((sample.id, f"{ref}{at + 1}{alt}", score, burial))
    frame = pd.DataFrame([*rows, ("p0", "A1WW", 0, 0), ("nobody", "A1C", 0, 0)], columns=["sample", "variant", "score", "burial"])  # fmt: skip
    found = si.assay(model, sae, samples, frame, beside={"burial": frame["burial"].tolist()}, settings=QUICK)
    facts = found.context
    assert set(found["split"]) == {"held out"} and "position means" not in set(found["reader"])
    assert facts["n_samples"] == 10 and facts["n_variants"] == len(rows)
    assert {r["sample"] for r in facts["refused"]} == {"p0", "nobody"}
    assert list(dict.fromkeys(facts["scan"].obs["sample"])) == list(samples.ids)
    both = by(found, "held out", "substitution + burial")
    assert both["low"] > 0.3 and both["correlation"] > by(found, "held out", "substitution")["correlation"]
    assert set(facts["added"]["added"]) == {"masked marginal", "features", "activations"}
    assert (facts["added"]["low"] < 0.05).all()
    scan = facts["scan"]
    assert np.isfinite(scan.obs["masked_marginal"]).all() and abs(scan.X).sum() > 0
    with pytest.raises(InputError, match="hold samples out"):
        si.assay(model, sae, samples, frame.head(30), settings=QUICK)
    with pytest.raises(InputError, match="several samples"):
        si.assay(model, sae, WILD, frame)


@pytest.mark.parametrize("how", ["contiguous", "modulo"])
def test_no_position_is_on_both_sides(how):
    rng = np.random.default_rng(0)
    positions = [sorted(rng.choice(30, rng.integers(1, 4), replace=False).tolist()) for _ in range(200)]
    tested = []
    for train, test in parts_of(positions, how, folds=5):
        assert not {p for i in train for p in positions[i]} & {p for i in test for p in positions[i]}
        tested += test.tolist()
    assert len(tested) == len(set(tested)) >= 60


def test_correlation_is_that_of_ranks_inside_parts():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    y = x + rng.normal(size=60)
    parts = [np.arange(30), np.arange(30, 60)]
    block = np.arange(60) // 3
    one, drawn = correlation(y, np.r_[x[:30] + 100, x[30:]], parts, block, draws_of(20, 500))
    assert one == pytest.approx(np.mean([spearmanr(x[p], y[p])[0] for p in parts]))
    assert drawn.std() == pytest.approx(np.sqrt((1 - one**2) ** 2 / 58), rel=0.5)
    assert correlation(y, np.ones(60), parts, block, draws_of(20, 10))[0] == 0


def test_ties_count_in_part():
    truth = np.arange(20.0)
    assert top_recall(truth, truth, [np.arange(20)], 0.1) == 1
    assert top_recall(truth, np.zeros(20), [np.arange(20)], 0.1) == pytest.approx(0.1)
    assert top_recall(truth, -truth, [np.arange(20)], 0.1) == 0


def test_a_reader_of_noise_is_chance():
    rng = np.random.default_rng(0)
    changes = [Variant(i, "A", x) for i in range(40) for x in "CDEFG"]
    y = rng.normal(size=len(changes))
    found = compare(
        {"substitution": Reader(rng.normal(size=(200, 50)), "baseline")}, y, changes, settings=QUICK
    )[0]
    assert (found["correlation"].abs() < 0.25).all()
