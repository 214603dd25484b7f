"""The control is the same recipe on weights that know nothing, and resumes."""

from __future__ import annotations

import copy

import pytest
from tiny_adapter import TinyAdapter, make_samples

import sciinterp as si
from sciinterp.activations import ExtractSettings, load_activations
from sciinterp.errors import InputError, MismatchError

CUT = ExtractSettings(shard_tokens=200)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("control")
    model, samples = TinyAdapter(), make_samples([30] * 24)
    split = si.split_families(samples, by=[str(i // 3) for i in range(24)])
    acts = si.extract(model, samples, site="layers.0", out=folder / "activations")
    sae = si.train(
        acts, si.TopK(n_features=16, k=2), split=split, out=folder / "sae", steps=12, batch_size=64, seed=3
    )
    control = si.randomised_control(
        model, sae, samples, split=split, out=folder / "control", seed=5, settings=CUT
    )
    return folder, model, samples, split, sae, control


def test_it_is_the_same_recipe_on_other_weights(world):
    folder, model, samples, _, sae, control = world
    assert control.samples.digest == samples.digest
    assert control.n_features == 16
    twin = si.load_sae(folder / "control" / "sae")
    assert twin.recipe == sae.recipe
    assert twin.architecture == sae.architecture
    identity = load_activations(folder / "control" / "activations").identity
    assert identity["randomised_seed"] == 5
    assert identity["weights_sha256"] == model.randomised(5).identity["weights_sha256"]
    assert identity["weights_sha256"] != sae.identity["weights_sha256"]
    assert not (twin.W_enc == sae.W_enc).all()
    # 720 positions, six or seven samples a shard: cut as it was asked for.
    assert len(list((folder / "control" / "activations").glob("shard-*.safetensors"))) > 1


def test_a_second_call_returns_what_is_there(world):
    folder, model, samples, split, sae, control = world
    before = {p: p.stat().st_mtime_ns for p in (folder / "control").rglob("*") if p.is_file()}
    again = si.randomised_control(
        model, sae, samples, split=split, out=folder / "control", seed=5, settings=CUT
    )
    assert (again.codes != control.codes).nnz == 0
    assert {p: p.stat().st_mtime_ns for p in (folder / "control").rglob("*") if p.is_file()} == before


def test_what_cannot_be_controlled_is_refused_before_work(world, tmp_path):
    _, model, samples, split, sae, _ = world
    with pytest.raises(MismatchError):
        si.randomised_control(TinyAdapter(scale=3.0), sae, samples, split=split, out=tmp_path / "c")
    foreign = copy.copy(sae)
    foreign.recipe = {}
    with pytest.raises(InputError, match="does not say how it was trained"):
        si.randomised_control(model, foreign, samples, split=split, out=tmp_path / "c")
    assert not (tmp_path / "c").exists()
