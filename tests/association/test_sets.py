"""Sets of units: the pursuit is least squares, planted pairs are found, independent concepts are not read."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sciinterp as si
from sciinterp.association import AssociationSettings
from sciinterp.association.sets import pursue
from sciinterp.errors import InputError, MismatchError

N_FAMILIES, PER_FAMILY, LENGTH = 24, 2, 40


def world(seed, *, n_features=40, concept="or"):
    """Sparse codes of families, and a concept that is where feature 3 or feature 7 is (or nothing of the kind)."""
    rng = np.random.default_rng(seed)
    n_samples = N_FAMILIES * PER_FAMILY
    n = n_samples * LENGTH
    codes = (rng.random((n, n_features)) < 0.05) * rng.gamma(4, 0.5, size=(n, n_features))
    family = np.repeat(np.arange(N_FAMILIES), PER_FAMILY)
    samples = si.Samples(
        [f"s{i}" for i in range(n_samples)],
        ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), LENGTH)) for _ in range(n_samples)],
        table=pd.DataFrame({"family": [f"f{x}" for x in family]}),
    )
    on = (codes[:, 3] > 0) | (codes[:, 7] > 0)
    if concept == "independent":
        on = rng.random(n) < on.mean()
    rows = np.flatnonzero(on)
    frame = pd.DataFrame(
        {
            "sample": [f"s{r // LENGTH}" for r in rows],
            "start": rows % LENGTH,
            "end": rows % LENGTH + 1,
            "concept": "planted",
            "source": "test",
        }
    )
    annotations = si.Annotations(frame)
    features = si.FeatureMatrix(sp.csr_array(codes.astype(np.float32)), samples)
    return features, annotations, si.split_families(samples, by="family", seed=seed)


def sets_of(seed, **how):
    features, annotations, split = world(seed, **how)
    settings = AssociationSettings(ceilings=())
    return si.associate(features, annotations, split=split, settings=settings).context["sets"]


@pytest.mark.parametrize("sparse", [False, True])
def test_pursuit_is_greedy_least_squares(sparse):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(500, 12)) * (rng.random((500, 12)) < 0.4) * rng.uniform(0.1, 9, 12)
    labels = np.stack([values[:, 2] + values[:, 5] > 0.5, values[:, 9] - values[:, 1] > 1], axis=1)
    chosen, weights = pursue(sp.csr_array(values) if sparse else values, sp.csr_array(labels), 4)
    for c in range(2):
        y = labels[:, c] - labels[:, c].mean()
        x = values - values.mean(0)
        taken = []
        for _ in range(4):
            errors = [
                np.inf if j in taken else np.linalg.lstsq(x[:, [*taken, j]], y, rcond=None)[1][0]
                for j in range(12)
            ]
            taken.append(int(np.argmin(errors)))
        assert chosen[c].tolist() == taken
        best = np.linalg.lstsq(x[:, taken], y, rcond=None)[0]
        assert np.allclose(weights[4][c], best, rtol=2e-3, atol=1e-5)


def test_two_features_that_share_a_concept_are_found_by_name():
    found = sets_of(0)
    pairs = found[(found["reader"] == "features") & (found["k"] == 2)].set_index("rule")
    for rule in ("or", "weighted"):
        assert set(pairs.loc[rule, "units"].split()) == {"3", "7"}
        assert pairs.loc[rule, "f1"] > 0.95
    one = found[(found["reader"] == "features") & (found["k"] == 1)].set_index("rule")
    assert (one["f1"] < 0.85).all()


def test_an_or_set_grows_only_while_training_gains_and_keeps_its_score():
    found = sets_of(1)
    grown = found[(found["rule"] == "or")].sort_values("k")
    assert (np.diff(grown["f1_train"]) >= 0).all()
    four = grown.set_index("k").loc[4, "units"].split()
    assert len(four) <= 4
    assert set(four[:2]) == {"3", "7"}


def test_a_concept_independent_of_all_features_is_not_read_better_by_more_of_them():
    for seed in range(3):
        found = sets_of(seed, concept="independent")
        share = 0.0975  # of positions: predicting all of them has F1 of 2 * share / (1 + share)
        assert (found["f1"] < 2 * share / (1 + share) + 0.05).all()


def test_no_sets_where_none_are_wanted_and_files_keep_them(tmp_path):
    features, annotations, split = world(2)
    none = si.associate(features, annotations, split=split, settings=AssociationSettings(sets=()))
    assert len(none.context["sets"]) == 0
    some = si.associate(
        features, annotations, split=split, settings=AssociationSettings(sets=(1, 3)), out=tmp_path / "run"
    )
    assert sorted(some.context["sets"]["k"].unique()) == [1, 3]
    again = si.read_hits(tmp_path / "run").context["sets"]
    assert again["units"].tolist() == some.context["sets"]["units"].tolist()
    assert np.allclose(again["f1"], some.context["sets"]["f1"])


def test_samples_in_another_order_give_the_same_sets():
    features, annotations, split = world(3)
    order = np.random.default_rng(0).permutation(len(features.samples))
    other = features.subset(samples=order)
    ids = [features.samples.ids[i] for i in order]
    again = si.split_families(other.samples, by="family", seed=3)
    assert {ids[i] for i in again.test} == {features.samples.ids[i] for i in split.test}
    a, b = (
        si.associate(f, annotations, split=s).context["sets"][["reader", "rule", "k", "units", "f1"]]
        for f, s in ((features, split), (other, again))
    )
    assert a["units"].tolist() == b["units"].tolist()
    assert np.allclose(a["f1"], b["f1"], atol=1e-6)


@pytest.mark.slow
def test_the_right_pair_is_found_in_95_of_100_worlds():
    right = 0
    for seed in range(100):
        found = sets_of(seed)
        pair = found[(found["rule"] == "or") & (found["k"] == 2)]
        right += set(pair["units"].iloc[0].split()) == {"3", "7"}
    assert right >= 95


def test_twins_stand_beside_hits_and_in_sets_and_others_are_refused():
    features, annotations, split = world(4)
    rng = np.random.default_rng(9)
    twin = si.FeatureMatrix(
        sp.csr_array(rng.random(features.codes.shape).astype(np.float32)), features.samples
    )
    hits = si.associate(features, annotations, split=split, control={"encoder": twin, "randomised": twin})
    assert hits.loc[hits["selected"], "twin_encoder_f1"].notna().all()
    assert "twin_decoder" in hits.context["not_run"]
    assert {"twin_encoder", "randomised", "features"} == set(hits.context["sets"]["reader"])
    with pytest.raises(InputError, match=r"no such control.*decoder.*got 'decoders'"):
        si.associate(features, annotations, split=split, control={"decoders": twin})
    stranger = si.FeatureMatrix(twin.codes, twin.samples, origin=si.Origin(model="a", site="b"))
    mine = si.FeatureMatrix(features.codes, features.samples, origin=si.Origin(model="a", site="c"))
    with pytest.raises(MismatchError, match="another site"):
        si.associate(mine, annotations, split=split, control={"encoder": stranger})
