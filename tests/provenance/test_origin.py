"""An origin: unknown is equal to nothing, records survive the disk, and what does not belong together is refused."""

import copy
import dataclasses
import json
import pickle
import warnings

import numpy as np
import pytest
import torch

import sciinterp as si
from sciinterp.errors import InputError, MismatchError, ShapeError, StoreError
from sciinterp.provenance import UNKNOWN, Origin, Training, check, differing, require_activations, stated
from sciinterp.store.verify import verify

SAMPLES = si.Samples(["a", "b", "c"], ["MKVL", "ACD", "WWYYK"], table=None)
X = np.random.default_rng(0).normal(size=(SAMPLES.n_positions, 8)).astype(np.float32)
KNOWN = Origin("m", "ab", None, "layers.1", norm="none", d_in=8)


@pytest.fixture
def acts(tmp_path):
    return si.activations_from_array(X, SAMPLES, model="m", site="layers.1", out=tmp_path / "acts")


def train(source, **more):
    return si.train(source, si.TopK(n_features=16, k=2), steps=3, batch_size=8, **more)


def test_unknown_is_equal_to_nothing():
    assert UNKNOWN != UNKNOWN
    assert copy.deepcopy(UNKNOWN) is copy.copy(UNKNOWN) is pickle.loads(pickle.dumps(UNKNOWN)) is UNKNOWN  # noqa: S301
    assert Origin() != Origin()
    assert not differing(Origin(), Origin())
    assert not differing(Origin(), KNOWN)
    assert list(differing(KNOWN, dataclasses.replace(KNOWN, randomised_seed=0))) == ["randomised_seed"]


def test_records_survive_json():
    training = Training.of(SAMPLES, None)
    record = dataclasses.replace(KNOWN, training=training, licence="MIT").to_record()
    again = Origin.from_record(json.loads(json.dumps(record)))
    assert again.to_record() == record
    assert again.randomised_seed is None
    assert again.precision is UNKNOWN


@pytest.mark.parametrize(
    ("old", "model"),
    [
        ({"model": "m", "site": "s"}, "m"),
        ({"model": {"model": "m", "weights_sha256": "ab"}, "site": "s"}, "m"),
        ({"sae": {"model": "m", "site": "s"}, "activations": {"rms": 1.0}}, "m"),
        ({"sae": None, "activations": None}, UNKNOWN),
        ({"model": 7, "site": ["s"], "d_in": "8", "trained_on": [1]}, UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_identities_of_before_are_read(old, model):
    found = Origin.from_record(old)
    assert found.model is model or found.model == model
    assert found.site is UNKNOWN or found.site == "s"


@pytest.mark.parametrize("field", ["model", "weights_sha256", "randomised_seed", "site", "norm", "d_in"])
def test_check_names_what_differs(field):
    other = dataclasses.replace(KNOWN, **{field: 7 if field in ("d_in", "randomised_seed") else "other"})
    with pytest.raises(MismatchError, match="width" if field == "d_in" else field):
        check(KNOWN, other)
    check(KNOWN, dataclasses.replace(other, **{field: UNKNOWN}))


def test_an_sae_of_unknown_origin_is_refused_at_equal_width(acts, tmp_path, caplog):
    """A dictionary of another model passed in silence where its width was the same."""
    sae = train(X)
    with pytest.raises(MismatchError, match=r"not known which model and site.*origin=") as caught:
        si.encode(sae, acts)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(MismatchError, match="not known"):
        require_activations(si.FeatureMatrix(sae.encode_scipy(X), SAMPLES, sae=sae), acts)
    codes = si.encode(sae, X, samples=SAMPLES)
    assert not codes.origin.model
    sae.export(tmp_path / "foreign", format="dictionary_learning")
    for origin in (si.Origin(model="m", site="layers.1"), {"model": "m", "site": "layers.1"}, acts):
        fits = si.load_sae(tmp_path / "foreign", origin=origin)
        assert fits.origin.how == "stated"
        assert si.encode(fits, acts).origin.model == "m"
        fits.save(tmp_path / "kept")
        assert si.load_sae(tmp_path / "kept").origin.site == "layers.1"
    assert "activations do not say" not in caplog.text  # they do, and what is stated agrees with them
    for origin, error in (
        (si.Origin(model="m"), InputError),
        ({"model": "m", "layer": 1}, InputError),
        (si.Origin(model="m", site="layers.1", d_in=9), MismatchError),
        (3, InputError),
        ({"model": "unirep64", "site": "layers.1"}, InputError),  # no such model
        ({"model": "unirep-64", "site": "layers.1"}, MismatchError),  # of width 64
    ):
        with pytest.raises(error):
            si.load_sae(tmp_path / "foreign", origin=origin)
    wrong = si.load_sae(tmp_path / "foreign", origin=si.Origin(model="m", site="layers.2"))
    with pytest.raises(MismatchError, match="site"):
        si.encode(wrong, acts)


def test_a_dict_takes_the_weights_of_a_loaded_model():
    class Model:
        def origin_at(self, site):
            return dataclasses.replace(KNOWN, site=site)

    found = stated({"model": Model(), "site": "layers.3", "licence": "MIT"})
    assert (found.model, found.weights_sha256, found.site, found.licence) == ("m", "ab", "layers.3", "MIT")


def test_the_record_of_before_is_deprecated_and_works(acts):
    sae = train(acts)
    with pytest.warns(DeprecationWarning, match="origin"):
        assert sae.identity["model"] == acts.identity["model"] == "m"
    with pytest.warns(DeprecationWarning, match="origin"):
        sae.identity = {"model": "n", "site": "s"}
    assert str(sae.origin) == "n s"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        si.encode(train(acts), acts)


@pytest.mark.parametrize("damage", ["flip", "remove"])
@pytest.mark.parametrize("folder", ["sae", "features"])
def test_what_trained_the_sae_is_checked(damage, folder, acts, tmp_path):
    sae = train(acts, out=tmp_path / "sae")
    si.encode(sae, acts, out=tmp_path / "features")
    path = tmp_path / folder / "training.safetensors"
    assert verify(tmp_path / folder).set_index("file")["status"][path.name] == "ok"
    if damage == "remove":
        path.unlink()
    else:
        raw = bytearray(path.read_bytes())
        raw[-3] ^= 1
        path.write_bytes(raw)
    with pytest.raises(StoreError, match=r"training\.safetensors"):
        si.load_sae(tmp_path / folder) if folder == "sae" else si.load_features(tmp_path / folder)
    with pytest.raises(StoreError, match="damaged"):
        verify(tmp_path / folder)


def test_another_sae_does_not_resume_the_codes_of_one(acts, tmp_path):
    sae = train(acts)
    si.encode(sae, acts, out=tmp_path / "f")
    assert si.encode(sae, acts, out=tmp_path / "f").folder == tmp_path / "f"
    with pytest.raises(MismatchError, match="another plan"):
        si.encode(train(acts, seed=1), acts, out=tmp_path / "f")


def test_arrays_know_their_samples(tmp_path):
    split = si.split_families(SAMPLES, by=["x", "y", "z"], fractions=(0.4, 0.3, 0.3))
    acts = si.activations_from_array(X, SAMPLES, model="m", site="s", out=tmp_path / "a")
    beside, kept = train(X, samples=SAMPLES, split=split), train(acts, split=split)
    assert torch.equal(beside.W_enc, kept.W_enc)
    assert beside.recipe == kept.recipe
    with pytest.raises(InputError, match="samples="):
        train(X, split=split)
    with pytest.raises(ShapeError, match="12 rows"):
        train(X[1:], samples=SAMPLES)
    with pytest.raises(ShapeError):
        si.activations_from_array(X[1:], SAMPLES, out=tmp_path / "b")
    bad = X.copy()
    bad[5, 1] = np.nan
    with pytest.raises(InputError, match="'b' position 1"):
        si.activations_from_array(bad, SAMPLES, out=tmp_path / "b")
    assert not (tmp_path / "b").exists()
    with pytest.raises(MismatchError, match="array_sha256"):
        si.activations_from_array(2 * X, SAMPLES, model="m", site="s", out=tmp_path / "a")
    half = si.activations_from_array(X, SAMPLES, dtype="float16", out=tmp_path / "c")
    assert np.allclose(half.read(0, half.n_tokens), X, atol=1e-2)
    assert np.array_equal(acts.read_sample("c"), X[7:])
