"""The registry is honest and its errors help."""

import contextlib
import logging

import numpy as np
import pytest

import sciinterp as si
from sciinterp.errors import InputError, MissingWeightsError, ShapeError
from sciinterp.models import list_models, load_model
from sciinterp.models.registry import ENTRIES, _published, entry_of, stated_width


def test_every_row_says_what_where_and_how() -> None:
    models = list_models()
    assert models.index.is_unique
    assert {"antiberty", "esm2-8m", "esm1b", "unirep-64", "spliceai-1"} <= set(models.index)
    said = models["verified"].str.partition(": ")
    assert set(said[0]) <= {"real weights", "authors' code", "authors' layout", "reference"}
    assert ((said[2] != "") | (said[0] == "real weights")).all()
    assert (models[["takes", "licence", "weights"]] != "").all(axis=None)
    assert not models.loc["unirep-1900", "commercial"]
    assert models.loc["antiberty", "commercial"]


def test_unknown_models_list_close_names() -> None:
    with pytest.raises(InputError, match="esm2-8m"):
        load_model("esm2-8M-UR50D")
    with pytest.raises(InputError, match="antiberty"):
        load_model("AntiBERTy2")


def test_non_commercial_weights_are_announced(caplog) -> None:
    with caplog.at_level(logging.WARNING, logger="sciinterp"), contextlib.suppress(MissingWeightsError):
        load_model("unirep-64")
    assert "not for commercial use" in caplog.text


@pytest.mark.parametrize(
    ("given", "weights", "ours"),
    [
        ("esm2_t6_8M_UR50D", None, ("esm2-8m", None)),
        ("esm2_t6_8M_UR50D", "x.pt", ("esm2-8m", "x.pt")),
        ("facebook/esm2_t6_8M_UR50D", None, ("hf-esm2", "facebook/esm2_t6_8M_UR50D")),
        ("facebook/esm2_t6_8M_UR50D", "folder", ("hf-esm2", "folder")),
        ("facebook/esm2_t6_8M_UR50D", "x.pt", ("esm2-8m", "x.pt")),
        ("esm1v_t33_650M_UR90S_3", None, ("esm1v-3", None)),
        ("Rostlab/prot_t5_xl_uniref50", None, ("prott5", "Rostlab/prot_t5_xl_uniref50")),
        ("zhihan1996/DNABERT-2-117M", "folder", ("dna-bpe", "folder")),
        ("antiberty", None, ("antiberty", None)),
        ("esm2-8m", None, ("esm2-8m", None)),
        ("somebody/unknown", None, ("somebody/unknown", None)),
    ],
)
def test_names_that_authors_gave(given, weights, ours) -> None:
    assert _published(given, weights) == ours


def test_every_name_of_ours_is_left_as_it_is() -> None:
    for name in list_models().index:
        assert _published(name, None) == (name, None)


@pytest.mark.parametrize(
    "name",
    """antiberty unirep-64 unirep-256 unirep-1900 spliceai-3 rxnmapper chgnet chgnet-r2scan proteinmpnn-020
    solublempnn ligandmpnn membranempnn-residue membranempnn-global sceptr""".split(),
)
def test_the_sites_of_a_row_are_those_of_the_model(name) -> None:
    try:
        model = load_model(name)
    except MissingWeightsError as error:
        pytest.skip(str(error)[:200])
    assert dict(entry_of(name).sites) == dict(model.sites()["width"])


def test_the_sites_of_an_esm_row_are_those_of_a_module_of_its_size() -> None:
    esm = pytest.importorskip("esm", reason="the extra 'esm' is not installed")
    module = esm.model.esm2.ESM2(num_layers=6, embed_dim=320, attention_heads=20)
    assert dict(entry_of("esm2-8m").sites) == dict(load_model("esm2", weights=module).sites()["width"])


def test_rows_whose_weights_are_one_say_their_sites() -> None:
    one = [e.name for e in ENTRIES if e.verified == "real weights"]
    assert one and all(entry_of(name).sites for name in one)


@pytest.mark.parametrize(
    ("model", "site", "found"),
    [
        ("unirep-64", "layers.1", 64),
        ("unirep-64", "embedding", 10),
        ("esm2_t33_650M_UR50D", "layers.32.mlp_out", 1280),
        ("spliceai-3", "skip.4", 32),
        ("unirep64", "layers.1", "expected 'unirep-64'"),
        ("AntiBERTy", "layers.4", "expected 'antiberty'"),
        ("unirep-64", "layers.4", "no such site.*of unirep-64: expected 'layers.3'"),
        ("esmc", "layers.4", None),
        ("mine", "layer 12", None),
    ],
)
def test_a_name_that_a_person_states_is_held_against_its_row(model, site, found, caplog) -> None:
    """A model that does not exist, and a site that the model has not, were taken in silence."""
    caplog.set_level(logging.INFO, logger="sciinterp")
    origin = si.Origin(model=model, site=site)
    if isinstance(found, str):
        with pytest.raises(InputError, match=found):
            stated_width(origin, where="origin=")
        # who has a model of so close a name states its weights with it
        assert stated_width(si.Origin(model=model, site=site, weights_sha256="ab"), where="origin=") is None
        return
    assert stated_width(origin, where="origin=") == found
    assert ("could not be checked" in caplog.text or "could be checked" in caplog.text) == (found is None)
    assert ("your own" in caplog.text) == (model == "mine")


def test_an_array_is_held_to_the_model_it_names(tmp_path) -> None:
    samples, rows = si.Samples(["a"], ["MKVLA"]), np.ones((5, 64), np.float32)

    def kept(model, site):
        return si.activations_from_array(rows, samples, model=model, site=site, out=tmp_path / "acts")

    with pytest.raises(InputError, match="no such model, model=: expected 'unirep-64'"):
        kept("unirep64", "layers.1")
    with pytest.raises(InputError, match="no such site"):
        kept("unirep-64", "layers.7")
    with pytest.raises(ShapeError, match="256"):
        kept("unirep-256", "layers.1")
    assert kept("unirep-64", "layers.1").origin.site == "layers.1"
