"""The planted world hides what it says it hides, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sciinterp.discovery import planted_faults
from sciinterp.discovery.left_out import CALIBRATION, SAMPLE, Calibration
from sciinterp.discovery.planted import PlantedSettings, plant
from sciinterp.discovery.planted_forms import FORMS

SMALL = PlantedSettings(n_families=24, n_seeds=1)


@pytest.fixture(scope="module")
def world():
    return plant(3, SMALL)


def test_hidden_and_shown_make_the_whole(world):
    shown = world.annotations.frame
    n_novel = world.instances["concept"].isin(world.novel).sum()
    assert len(shown) + len(world.missing) + n_novel == len(world.instances)
    assert not set(world.novel) & set(shown["concept"])


def test_hidden_share_is_that_of_the_settings(world):
    for concept, hidden in world.missing.groupby("concept"):
        total = (world.instances["concept"] == concept).sum()
        assert 0.3 <= len(hidden) / total < 1, concept


def test_whole_families_are_hidden(world):
    family = world.features.samples.table["family"]
    for concept, hidden in world.missing.groupby("concept"):
        shown = world.annotations.frame.query("concept == @concept")
        assert not set(family[hidden["sample"]]) & set(family[shown["sample"]]), concept


def test_halves_of_a_merged_concept_live_in_disjoint_families(world):
    family = world.features.samples.table["family"]
    for i in range(SMALL.n_merged):
        half = [
            set(family[world.instances.query(f"concept == 'planted:merged{h}{i}'")["sample"]]) for h in "ab"
        ]
        assert half[0] and half[1] and not half[0] & half[1]


def test_same_seed_same_world(world):
    again = plant(3, SMALL)
    assert (again.features.codes != world.features.codes).nnz == 0
    assert again.annotations.frame.equals(world.annotations.frame)
    assert again.features.samples.digest == world.features.samples.digest


def test_nothing_is_hidden_when_told_so():
    world = plant(0, PlantedSettings(n_families=12, n_seeds=0, hide=False))
    assert len(world.missing) == 0 and not world.novel and not world.merged
    assert len(world.annotations.frame) == len(world.instances)


def test_readers_fire_on_their_concept(world):
    names = sorted(world.readers)
    from sciinterp.annotations import Annotations

    positives = Annotations(world.instances).positives(world.features.samples, names)
    codes = world.features.codes
    for j, concept in enumerate(names):
        inside = np.asarray(positives[:, [j]].todense()).ravel()
        for feature in world.readers[concept][:1]:
            column = world.features.column(feature) > 0
            assert column[inside].mean() > 5 * column[~inside].mean(), (concept, codes.shape)


@pytest.fixture(scope="module")
def formed():
    from sciinterp.discovery.benchmark import OF_FORMS

    return plant(5, replace(OF_FORMS, n_families=24, n_seeds=0))


def instances_of(world, form):
    names = [concept for concept in world.novel if world.forms[concept] == form]
    return world.instances[world.instances["concept"].isin(names)]


def test_every_form_is_hidden_once_and_read(formed):
    assert sorted(formed.forms[c] for c in formed.novel) == sorted(FORMS)
    family = formed.features.samples.table["family"]
    for concept, features in formed.novel.items():
        spans = formed.instances.query("concept == @concept")
        assert family[spans["sample"]].nunique() >= 4, formed.forms[concept]
        offsets = formed.features.samples.offsets
        first = offsets[[formed.features.samples.index(s) for s in spans["sample"]]]
        inside = np.zeros(formed.features.n_positions, bool)
        for start, end in zip(first + spans["start"], first + spans["end"]):
            inside[start:end] = True
        column = formed.features.column(features[0]) > 0
        assert column[inside].mean() > 3 * column[~inside].mean(), formed.forms[concept]


def test_a_pair_is_two_letters_at_one_distance(formed):
    spans = instances_of(formed, "paired")
    assert (spans["end"] - spans["start"]).nunique() == 1
    for side in (spans["start"], spans["end"] - 1):
        letters = [formed.features.samples[s].data[i] for s, i in zip(spans["sample"], side)]
        assert max(map(letters.count, letters)) > 0.6 * len(letters)


def test_a_gap_is_as_wide_as_it_likes(formed):
    spans = instances_of(formed, "gapped")
    assert (spans["end"] - spans["start"]).nunique() > 2


def test_labels_are_annotated_and_their_turns_are_not(formed):
    labels = formed.annotations.frame[formed.annotations.frame["concept"].str.startswith("structure:")]
    assert set(labels["concept"]) == {"structure:helix", "structure:strand"}
    assert formed.annotations.concepts.loc["structure:helix", "exhaustive"]
    ends = set(zip(*(labels.query("concept == 'structure:helix'")[c] for c in ("sample", "end"))))
    spans = instances_of(formed, "labelled")
    assert all((s, start + 3) in ends for s, start in zip(spans["sample"], spans["start"]))


def _near(one: Calibration, other: Calibration) -> None:
    """The same to what a solver's last step moves a coefficient by."""
    np.testing.assert_allclose(one.concept + one.span, other.concept + other.span, atol=0.02)
    assert one.share == other.share


def test_the_function_gives_what_is_stored():
    """On a small sample; the command that prints the whole calibration prints this one, so both are of one source."""
    _near(planted_faults.fit_sample(), SAMPLE)


@pytest.mark.slow
def test_the_whole_calibration_is_what_is_stored():
    _near(planted_faults.fit_calibration(planted_faults.SEEDS), CALIBRATION)
    assert min(CALIBRATION.concept[0], CALIBRATION.span[0]) > 0
