"""Arguments given in Python to what records activations: each wrong one is one line, before anything is written."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tiny_adapter import TinyAdapter, make_samples

import sciinterp as si
from sciinterp.activations import ExtractSettings
from sciinterp.errors import SciinterpError

SAMPLES = make_samples((5, 9, 3))
EXTRACT = [
    ("model", 3, "model="),
    ("model", "antiberty", "model=.*got 'antiberty'"),
    ("samples", ["MKV"], "not a collection of samples"),
    ("samples", None, "not a collection of samples"),
    ("samples", SAMPLES.subset([]), "nothing to extract"),
    ("samples", pd.DataFrame({"id": ["a"]}), "not a collection of samples"),
    ("site", "layers.9", "no such site"),
    ("site", [], "nothing to extract"),
    ("site", ["layers.0", 3], "site"),
    ("site", 3, "site"),
    ("site", None, "site"),
    ("out", 3, "out=.*expected a path"),
    ("out", None, "out="),
    ("dtype", "float64", "no such type, dtype: expected.*'float32'.*got 'float64'"),
    ("dtype", None, "no such type, dtype"),
    ("max_tokens", 0, "max_tokens: expected 1 or more, got 0"),
    ("max_tokens", -5, "max_tokens"),
    ("max_tokens", 8.5, "max_tokens: expected a whole number, got 8.5"),
    ("max_tokens", "64", "max_tokens"),
    ("max_tokens", float("nan"), "max_tokens"),
    ("max_tokens", True, "max_tokens"),
    ("settings", {"overlap": 3}, "settings=.*ExtractSettings.*got dict"),
    ("overwrite", "no", "overwrite: expected true or false, got 'no'"),
    ("overwrite", 1, "overwrite"),
]
STREAM = [
    *(case for case in EXTRACT if case[0] in ("model", "samples", "max_tokens") and "nothing" not in case[2]),
    ("samples", SAMPLES.subset([]), "nothing to read"),
    ("site", "layers.9", "no such site"),
    ("site", 3, "no such site"),
    ("buffer_tokens", 0, "buffer_tokens: expected 1 or more, got 0"),
    ("buffer_tokens", 1.5, "buffer_tokens"),
    ("buffer_tokens", "many", "buffer_tokens"),
]
ARRAY = [
    *(case for case in EXTRACT if case[0] in ("samples", "out", "overwrite") and "nothing" not in case[2]),
    ("dtype", "bfloat16", "no such type, dtype"),
    ("array", "text", "array|rows|numbers"),
    ("array", np.zeros((4, 2)), "does not fit its samples"),
    ("model", 3, "model=.*expected Adapter, got 3"),
    ("site", 3, "site"),
]
SETTINGS = [
    ("shard_tokens", 0, "ExtractSettings shard_tokens: expected 1 or more, got 0"),
    ("shard_tokens", 1.5, "ExtractSettings shard_tokens"),
    ("shard_tokens", "x", "ExtractSettings shard_tokens"),
    ("overlap", -1, "ExtractSettings overlap: expected 0 or more"),
    ("overlap", None, "ExtractSettings overlap"),
    ("overlap", float("nan"), "ExtractSettings overlap"),
    ("nonfinite", "ignore", "ExtractSettings nonfinite.*'skip'"),
    ("nonfinite", 3, "ExtractSettings nonfinite"),
]


def refused(make, given: dict, name: str, value: object, says: str) -> None:
    with pytest.raises(SciinterpError, match=says) as caught:
        make(**{**given, name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "value", "says"), EXTRACT)
def test_extract(tmp_path, name, value, says) -> None:
    given = {"model": TinyAdapter(), "samples": SAMPLES, "site": "layers.0", "out": tmp_path / "a"}
    refused(si.extract, given, name, value, says)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "value", "says"), STREAM)
def test_stream(name, value, says) -> None:
    refused(si.stream, {"model": TinyAdapter(), "samples": SAMPLES, "site": "layers.0"}, name, value, says)


@pytest.mark.parametrize(("name", "value", "says"), ARRAY)
def test_activations_from_array(tmp_path, name, value, says) -> None:
    given = {"array": np.zeros((17, 2)), "samples": SAMPLES, "out": tmp_path / "a"}
    refused(si.activations_from_array, given, name, value, says)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "value", "says"), SETTINGS)
def test_extract_settings(name, value, says) -> None:
    refused(ExtractSettings, {}, name, value, says)


@pytest.mark.parametrize(("value", "says"), [(3, "folder="), (None, "folder="), ("nowhere", "nowhere")])
def test_load_activations(value, says) -> None:
    refused(si.load_activations, {}, "folder", value, says)


def test_numbers_of_numpy_and_sites_in_any_form_are_right(tmp_path) -> None:
    model = TinyAdapter()
    one = si.extract(model, SAMPLES, site="layers.0", out=tmp_path / "one", max_tokens=np.int64(8))
    both = si.extract(
        model, SAMPLES, site=("layers.0", "embedding", "layers.0"), out=str(tmp_path / "two"), max_tokens=8
    )
    assert list(both) == ["layers.0", "embedding"] and both["layers.0"].digest == one.digest
    settings = ExtractSettings(shard_tokens=np.int32(9), overlap=np.uint8(2))
    assert type(settings.shard_tokens) is int and settings == ExtractSettings(9, 2)
