"""Readouts in worlds whose truth is known: planted labels are found, plainer carriers are named, nulls stay silent."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.readouts.outcome import read_outcome
from sciinterp.readouts.readout import ReadoutSettings
from sciinterp.readouts.representations import summarise_codes

FAST = ReadoutSettings(n_draws=3, n_permutations=60)


def world(seed: int, n: int = 96, n_families: int = 24, n_features: int = 24):
    """Codes that know nothing of the letters, and samples in families of equal length."""
    rng = np.random.default_rng(seed)
    data = ["".join(rng.choice(list("ACDEFGHIKL"), 12)) for _ in range(n)]
    table = pd.DataFrame({"family": [f"f{i % n_families}" for i in range(n)]})
    samples = si.Samples([f"s{i}" for i in range(n)], data, table=table)
    codes = (rng.random((12 * n, n_features)) < 0.05) * rng.random((12 * n, n_features))
    features = si.FeatureMatrix(sp.csr_array(codes.astype(np.float32)), samples)
    return features, rng


def planted(seeds):
    """How often a label of two features is read, said to need them, and credited to both."""
    said = []
    for seed in seeds:
        features, rng = world(seed)
        most = features.max_per_sample().toarray()
        score = most[:, 3] + most[:, 7]
        label = np.where(score + rng.normal(0, 0.05, len(score)) > np.median(score), "yes", "no")
        table = si.readout(features, label, n=(None,), settings=FAST)
        best = table.set_index("representation")["score"]
        read = best["features"] > 0.8 > best["kmers"]
        said.append(
            (read, table.context["needed"] == "yes", {3, 7} <= set(table.context["stable"]["feature"]))
        )
    return np.mean(said, axis=0)


def test_a_label_of_two_features_is_found_and_both_are_named():
    assert (planted(range(2)) == 1).all()


@pytest.mark.slow
def test_forty_labels_of_two_features():
    assert (planted(range(40)) >= 0.95).all()


def test_a_label_carried_by_composition_is_not_credited_to_features():
    features, _ = world(1)
    share = np.array([t.count("A") for t in features.samples.sequences])
    table = si.readout(features, np.where(share > np.median(share), "yes", "no"), n=(None,), settings=FAST)
    assert table.context["needed"] in ("no", "nothing to read")
    assert table.context["best_rival"] == "composition" and not len(table.context["stable"])


def test_numbers_are_ranked():
    features, rng = world(2)
    value = features.max_per_sample().toarray()[:, 5] + rng.normal(0, 0.05, 96)
    table = si.readout(features, value, n=(48, None), settings=FAST)
    score = table.pivot(index="representation", columns="n", values="score")
    assert score.loc["features", 96] > 0.5 > score.loc["composition", 96]
    assert table.context["stable"]["feature"].iloc[0] == 5


def test_predictions_do_not_depend_on_the_number_of_threads():
    features, _ = world(0)
    most = features.max_per_sample().toarray()[:, 3]
    reading = si.readout(features, most > np.median(most), n=(48,), settings=FAST).context["reading"]
    found = []
    for n in (1, 2):
        with threadpool_limits(n, user_api="blas"):
            found.append(reading.predict(features))
    pd.testing.assert_frame_equal(*found, check_exact=True)


def silent(seeds, way):
    """How often a label that means nothing is said to need features, or any feature to carry it."""
    said = []
    for seed in seeds:
        features, rng = world(seed, n=60, n_families=15)
        inside = rng.permutation(np.repeat(["a", "b"], 30))
        label = inside if way == "within" else rng.permutation(np.arange(15) % 2)[np.arange(60) % 15]
        context = si.readout(features, label, n=(None,), settings=FAST).context
        said.append((context["needed"] == "yes", len(context["stable"]) > 0))
    return np.mean(said, axis=0)


@pytest.mark.parametrize("way", ["within", "between"])
def test_labels_without_meaning_are_rarely_read(way):
    assert (silent(range(2), way) <= 0.5).all()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["within", "between"])
def test_two_hundred_labels_without_meaning(way):
    assert (silent(range(200), way) <= 0.075).all()


def test_summaries_by_hand():
    codes = np.array([[0, 1.0], [2, 0.05], [0, 0], [4, 0]], np.float32)
    features = si.FeatureMatrix(sp.csr_array(codes), si.Samples(["a", "b"], ["MKV", "A"]))
    expected = [[2, 1, 2 / 3, 0.35, 1 / 3, 1 / 3], [4, 0, 4, 0, 1, 0]]
    assert summarise_codes(features) == pytest.approx(np.array(expected), rel=1e-6)


def test_what_cannot_be_read_is_one_line():
    features, _ = world(0)
    with pytest.raises(InputError, match="too little to read"):
        si.readout(features, ["a"] * 96)
    with pytest.raises(InputError, match="no such column"):
        si.readout(features, "isotype")
    with pytest.raises(InputError, match="one label a sample"):
        si.readout(features, ["a", "b"])


@pytest.mark.parametrize("missing", [None, float("nan"), "", "NA", "nan", "N/A", "null"])
def test_a_label_that_is_missing_in_a_file_is_missing_in_a_list(missing):
    samples = si.Samples(list("abcdef"), ["MKV"] * 6)
    found, known = read_outcome(["IgM", missing, "IgG", "IgM", "IgG", "IgM"], samples)
    assert known.tolist() == [True, False, True, True, True, True] and found.classes == ("IgG", "IgM")
