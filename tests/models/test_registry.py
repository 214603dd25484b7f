"""The registry is honest and its errors help."""

import contextlib
import logging

import pytest

from sciinterp.errors import InputError, MissingWeightsError
from sciinterp.models import list_models, load_model
from sciinterp.models.registry import _published


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
