"""What is given to a verb of discovery in Python is checked as a configuration is: one line that names it and what is right."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from sciinterp.discovery import (
    Controls,
    DiscoverySettings,
    PlantedSettings,
    benchmark_discovery,
    describe_candidates,
    discover,
    leave_concept_out,
    mask_and_recover,
    merge_and_recover,
    plant,
    read_candidates,
    temporal,
    write_candidates,
)
from sciinterp.discovery.planted_faults import faulty
from sciinterp.discovery.probe import shuffled_codes
from sciinterp.discovery.rediscovery import rediscover
from sciinterp.errors import InputError

FEW = {
    "n_families": 12,
    "n_masked": 1,
    "n_novel": 1,
    "n_merged": 1,
    "n_plain": 1,
    "n_features": 24,
    "n_seeds": 0,
}
NAN = float("nan")


@pytest.fixture(scope="module")
def world():
    return plant(0, PlantedSettings(**FEW))


def one_line(error: pytest.ExceptionInfo[InputError], *words: str) -> None:
    said = str(error.value)
    assert "\n" not in said
    for word in words:
        assert word in said, said


@pytest.mark.parametrize(
    ("cls", "name", "value", "expected"),
    [
        (DiscoverySettings, "min_probability", 1.2, "from 0 to 1"),
        (DiscoverySettings, "min_probability", NAN, "a number"),
        (DiscoverySettings, "min_probability", "0.1", "a number"),
        (DiscoverySettings, "max_rows", -1, "0 or more"),
        (DiscoverySettings, "max_rows", 10.0, "a whole number"),
        (DiscoverySettings, "n_folds", 1, "2 or more"),
        (DiscoverySettings, "n_folds", True, "a whole number"),
        (DiscoverySettings, "n_decoys", -2, "0 or more"),
        (DiscoverySettings, "n_probed", -1, "0 or more"),
        (DiscoverySettings, "records", 1, "true or false"),
        (DiscoverySettings, "seed", -1, "a seed from 0"),
        (PlantedSettings, "n_families", 2, "3 or more"),
        (PlantedSettings, "n_masked", -1, "0 or more"),
        (PlantedSettings, "n_seeds", 1.5, "a whole number"),
        (PlantedSettings, "members", (0, 3), "1 or more"),
        (PlantedSettings, "members", (3, 3), "low < high"),
        (PlantedSettings, "members", 3, "a list of 2 whole numbers"),
        (PlantedSettings, "length", (10, 90), "50 or more"),
        (PlantedSettings, "length", (90, 60), "low < high"),
        (PlantedSettings, "length", (60, 70, 80), "a list of 2 whole numbers"),
        (PlantedSettings, "hidden_fraction", 1.01, "from 0 to 1"),
        (PlantedSettings, "noise", NAN, "a number"),
        (PlantedSettings, "n_features", 30, "60 or more"),
        (PlantedSettings, "novel_forms", ("motive",), "'motif'"),
        (PlantedSettings, "novel_forms", (), "one or more"),
        (PlantedSettings, "hide", "no", "true or false"),
    ],
)
def test_a_setting_is_checked_where_it_is_made(cls, name, value, expected):
    assert name in {field.name for field in fields(cls)}
    with pytest.raises(InputError) as error:
        cls(**{name: value})
    one_line(error, name if name != "novel_forms" else "", expected)


def test_a_world_has_a_concept():
    with pytest.raises(InputError, match="a world of no concept"):
        PlantedSettings(n_masked=0, n_novel=0, n_merged=0, n_plain=0)


def test_what_numpy_and_lists_hold_is_as_good():
    made = PlantedSettings(
        members=[2, 4], n_families=np.int64(5), noise=np.float32(0.5), novel_forms=["gapped"]
    )
    assert made.members == (2, 4) and made.novel_forms == ("gapped",) and type(made.n_families) is int
    assert type(DiscoverySettings(max_rows=np.int32(3)).max_rows) is int


def test_just_as_many_features_as_concepts_need_will_do():
    made = plant(0, PlantedSettings(**{**FEW, "n_features": 3 + 2 * 4}))
    assert sorted(f for fs in made.readers.values() for f in fs) == list(range(11))


@pytest.mark.parametrize(
    ("verb", "name", "value", "words"),
    [
        (discover, "features", None, ["features=", "FeatureMatrix", "si.encode"]),
        (discover, "annotations", "a.tsv", ["annotations=", "Annotations", "si.read_annotations"]),
        (discover, "hits", [1], ["hits=", "DataFrame"]),
        (discover, "split", np.zeros(3), ["split=", "Split", "si.split_families"]),
        (discover, "control", np.zeros(3), ["control=", "FeatureMatrix"]),
        (discover, "settings", {"seed": 1}, ["settings=", "DiscoverySettings"]),
        (discover, "settings", PlantedSettings(), ["settings=", "DiscoverySettings"]),
        (mask_and_recover, "features", np.zeros(3), ["features=", "FeatureMatrix"]),
        (mask_and_recover, "control", "x", ["control=", "FeatureMatrix"]),
        (mask_and_recover, "share", 1.5, ["share", "from 0 to 1"]),
        (mask_and_recover, "share", NAN, ["share", "a number"]),
        (mask_and_recover, "seed", 1.5, ["seed", "a whole number"]),
        (mask_and_recover, "concepts", ["planted:plain1"], ["concept on positions", "'planted:plain0'"]),
        (mask_and_recover, "concepts", "planted:plain1", ["concept on positions", "'planted:plain0'"]),
        (leave_concept_out, "concepts", ["planted:plain1"], ["concept on positions", "'planted:plain0'"]),
        (leave_concept_out, "split", None, ["split=", "Split"]),
        (merge_and_recover, "pairs", [("planted:plain0", "planted:x")], ["concept on positions", "'planted:x'"]),
        (merge_and_recover, "seed", -1, ["seed"]),
        (temporal, "newer", pd.DataFrame(), ["newer=", "Annotations"]),
        (temporal, "older", None, ["annotations=", "Annotations"]),
        (rediscover, "annotations", None, ["annotations=", "Annotations"]),
        (rediscover, "seed", NAN, ["seed", "a whole number"]),
        (rediscover, "keep", "nothing", ["nothing to rediscover", "begin with nothing,"]),
    ],
)  # fmt: skip
def test_an_argument_of_another_kind_is_named(world, verb, name, value, words):
    given = {"features": world.features, "annotations": world.annotations, "split": world.split}
    more = {
        discover: {"hits": pd.DataFrame()},
        leave_concept_out: {"concepts": ["planted:plain0"]},
        merge_and_recover: {"pairs": [("planted:plain0", "planted:masked0")]},
        temporal: {"older": world.annotations, "newer": world.annotations},
    }
    given |= more.get(verb, {})
    if verb is temporal:
        del given["annotations"]
    with pytest.raises(InputError) as error:
        verb(**{**given, name: value})
    one_line(error, *words)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("n_worlds", -1, ["n_worlds", "0 or more"]),
        ("n_null", 1.5, ["n_null", "a whole number"]),
        ("n_forms", True, ["n_forms", "a whole number"]),
        ("seed", "1", ["seed", "a whole number"]),
        ("settings", DiscoverySettings(), ["settings=", "PlantedSettings"]),
    ],
)
def test_a_benchmark_is_asked_for_in_whole_numbers(name, value, words):
    with pytest.raises(InputError) as error:
        benchmark_discovery(**{name: value})
    one_line(error, *words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"randomised": np.zeros(3)}, ["randomised=", "FeatureMatrix"]),
        ({"shuffled": "x"}, ["shuffled=", "FeatureMatrix"]),
        ({"seeds": 3}, ["seeds=", "Sequence"]),
        ({"seeds": ["x"]}, ["seeds[0]=", "FeatureMatrix"]),
    ],
)
def test_a_control_is_codes(given, words):
    with pytest.raises(InputError) as error:
        Controls(**given)
    one_line(error, *words)


def test_seeds_are_several(world):
    with pytest.raises(InputError, match=r"seeds=.*Sequence"):
        Controls(seeds=world.features)
    assert Controls(seeds=[world.features]).seeds == [world.features]


@pytest.mark.parametrize(
    "call",
    [
        lambda: plant(1.5),
        lambda: plant(-1),
        lambda: plant(0, {"n_families": 3}),
        lambda: faulty("plain", NAN),
        lambda: faulty("plane", 0),
        lambda: write_candidates([], "x"),
        lambda: write_candidates(pd.DataFrame(), 3),
        lambda: read_candidates(None),
        lambda: describe_candidates("candidates.tsv"),
        lambda: shuffled_codes(None, None, ["ACD"]),
    ],
)
def test_the_rest_say_so_too(call):
    with pytest.raises(InputError) as error:
        call()
    one_line(error, "expected")


def test_an_unknown_name_is_an_error_of_python(world):
    with pytest.raises(TypeError, match="unexpected keyword argument 'seeds'"):
        discover(world.features, world.annotations, pd.DataFrame(), split=world.split, seeds=3)


def test_old_names_are_taken_with_a_warning(world, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "sciinterp.discovery.search._discover", lambda *given: asked.append(given[-1]) or 1 / 0
    )
    for name, value, seed in (("seed", 7, 7), ("acts", object(), 0)):
        with pytest.warns(DeprecationWarning, match=name), pytest.raises(ZeroDivisionError):
            discover(world.features, world.annotations, pd.DataFrame(), split=world.split, **{name: value})
        assert asked[-1].seed == seed
    with pytest.warns(DeprecationWarning, match="seed"), pytest.raises(InputError, match="a whole number"):
        discover(world.features, world.annotations, pd.DataFrame(), split=world.split, seed="x")
