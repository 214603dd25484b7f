"""Proposals: the features asked for are reached where the model follows, and everything is judged without the intervention."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted_control import DRIVEN, IDLE, world

import sciinterp as si
from sciinterp.errors import InputError, ShapeError
from sciinterp.interventions.designing import DesignSettings
from sciinterp.models import GenerationSettings
from sciinterp.provenance import Training
from sciinterp.testing import tiny_model

START = "EVQLVESGGG"


def test_a_driven_feature_writes_its_letter_and_an_idle_one_does_not():
    given = world(0, 1)
    count = lambda samples: np.array([t.count("W") for t in samples.sequences])  # noqa: E731
    given |= {"positions": range(2, 8), "settings": DesignSettings(strength=20.0, judge=count)}
    model, features = given["model"], given["features"]
    driven, idle = (
        si.design(model, features, START, [j], positions=given["positions"], n=6, settings=given["settings"])
        for j in (DRIVEN, IDLE)
    )
    assert driven["judge"].mean() >= 4 > 2 > idle["judge"].mean()
    for table in (driven, idle):
        assert all(t[:2] == "EV" and t[8:] == "GG" for t in table["sequence"])
        assert table["written"].sum() == 6 and table["reached"].is_monotonic_decreasing
        assert (table["distance"] == [v.count(";") + bool(v) for v in table["variants"]]).all()
        assert table["likelihood"].lt(0).all() and set(table["nearest"]) <= set(given["features"].samples.ids)


def test_nothing_turned_is_what_the_model_writes_by_itself():
    model, sae = tiny_model()
    how = GenerationSettings(positions=(2, 3, 4), rounds=2)
    plain = model.generate(START, n=4, seed=0, settings=how)
    table = si.design(model, sae, START, [3], positions=[2, 3, 4], n=4, settings=DesignSettings(strength=0.0))
    assert sorted(set(plain)) == sorted(table["sequence"])
    assert table.context["start"]["sequence"] == START and table.context["start"]["reached"] == 0


def test_the_nearest_known_sequence_by_hand():
    model, sae = tiny_model()
    known = si.Samples(["far", "near"], ["WWWWWWWWWW", START[:9]])
    codes = np.zeros((19, 16), np.float32)
    codes[:, 3] = 1
    features = si.FeatureMatrix(codes, known, sae=sae)
    found = si.design(model, features, START, lower=[3], positions=[9], n=1)
    assert found["nearest"].tolist() == ["near"] and found["nearest_distance"].tolist() == [1.0]


def test_the_nearest_is_a_training_sample_where_the_split_is_known():
    """The start itself is among the samples, held out: it is nearest of all, and of the training samples it is not."""
    given = world(0, 1)
    samples, split = given["features"].samples, given["split"]
    held = samples[int(split.test[0])]
    training = {samples.ids[i] for i in split.train}

    def nearest(settings):
        how = {"positions": [0], "n": 1, "settings": settings}
        found = si.design(given["model"], given["features"], held, [DRIVEN], **how)
        return found["nearest"].tolist(), found["nearest_distance"].tolist(), found.context["nearest_among"]

    assert nearest(None)[0] == [held.id] and nearest(None)[1][0] <= 1 and nearest(None)[2] == "all samples"
    (name,), (apart,), among = nearest(DesignSettings(split=split))
    assert name in training and apart > 1 and among == "training samples of the split"
    given["features"].sae.origin = replace(
        given["model"].origin_at("layers.0"), training=Training.of(samples, split)
    )
    assert nearest(None) == ([name], [apart], "samples that trained the SAE")
    with pytest.raises(ShapeError, match="the split is of other samples"):
        si.design(given["model"], given["features"].subset(samples=np.arange(4)), held, [DRIVEN], positions=[0], settings=DesignSettings(split=split))  # fmt: skip


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "nothing to design"),
        ({"raise_": [3], "n": 2.5}, "n: expected a whole number"),
        ({"raise_": [3], "positions": []}, "one at least"),
        ({"raise_": [3], "positions": [99]}, "no such position"),
        ({"raise_": [3], "positions": [1.5]}, "no such position"),
        ({"raise_": [3], "positions": "all"}, "no such places"),
        ({"raise_": [3], "lower": [3]}, "named twice"),
        ({"raise_": [3.7]}, "no such feature"),
        ({"raise_": [3], "settings": DesignSettings(strength=float("inf"))}, "not finite"),
        (
            {"raise_": [3], "settings": GenerationSettings()},
            "expected DesignSettings, got GenerationSettings",
        ),
        ({"raise_": [3], "sample": [START, START]}, "one sample"),
    ],
)
def test_what_cannot_be_designed_is_one_line(given, says):
    model, sae = tiny_model()
    with pytest.raises(InputError, match=says):
        si.design(model, sae, **{"sample": START, **given})


def test_one_feature_may_be_named_without_a_list():
    model, sae = tiny_model()
    one, two = (si.design(model, sae, START, j, positions=[2], n=2)["sequence"].tolist() for j in (3, [3]))
    assert one == two
