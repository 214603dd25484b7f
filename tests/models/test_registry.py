"""The registry is honest and its errors help."""

import contextlib
import logging

import pytest

from sciinterp.errors import InputError, MissingWeightsError
from sciinterp.models import list_models, load_model


def test_every_row_says_what_where_and_how() -> None:
    models = list_models()
    assert models.index.is_unique
    assert {"antiberty", "esm2-8m", "esm1b", "unirep-64", "spliceai-1"} <= set(models.index)
    assert set(models["verified"]) <= {"real weights", "against a reference", "layout only"}
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
