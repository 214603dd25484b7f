"""Rows as people hold them: real numbers are read in whatever holds them, anything else is one line before it is cast."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import sciinterp as si
from sciinterp.errors import InputError, SciinterpError
from sciinterp.store.arrays import as_rows

X = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
SAMPLES = si.Samples(["a", "b"], ["MKVLA", "MKVLC"])
SAME = {
    "float64": X.astype(float), "order of columns": np.asfortranarray(X), "strided": np.repeat(X, 2, 0)[::2],
    "big-endian": X.astype(">f4"), "objects": X.astype(object), "a list": X.tolist(), "a table": pd.DataFrame(X),
    "a tensor": torch.tensor(X), "a parameter": torch.tensor(X, requires_grad=True), "matrix": np.matrix(X),
    "nothing masked": np.ma.masked_array(X, X > 1e9), "read-only": np.broadcast_to(X, X.shape),
}  # fmt: skip
NEAR = {
    "half": X.astype(np.float16),
    "bfloat16": torch.tensor(X).bfloat16(),
    "whole numbers": (X * 10).astype(int) / 10,
}
NONE = {
    "complex": X.astype(complex), "text": X.astype(str), "sparse": sp.csr_matrix(X), "sparse array": sp.csr_array(X),
    "masked": np.ma.masked_array(X, X > 1), "NaN": np.where(X > 1, np.nan, X), "infinite": np.where(X > 1, np.inf, X),
    "too large": np.where(X > 1, 1e300, X.astype(float)), "one axis": X[:, 0], "three axes": X[None],
    "no column": X[:, :0], "no row": X[:0], "nothing": None, "records": np.zeros(10, [("a", "f4")]),
    "words in a table": pd.DataFrame(X).assign(x="x"), "times": X.astype("datetime64[s]"),
}  # fmt: skip


@pytest.mark.parametrize("form", [*SAME, *NEAR])
def test_real_numbers_are_read_in_any_form(tmp_path, form) -> None:
    given = {**SAME, **NEAR}[form]
    acts = si.activations_from_array(given, SAMPLES, out=tmp_path / "acts")
    rows = np.concatenate([acts.read_sample(0), acts.read_sample(1)])
    assert rows.dtype == np.float32
    assert np.array_equal(rows, X) if form in SAME else np.allclose(rows, X, atol=0.1)
    if form in ("a list", "a table", "a parameter", "bfloat16", "objects"):
        assert si.train(given, si.TopK(n_features=8, k=2), seed=0, steps=2).n_features == 8


@pytest.mark.parametrize("form", NONE)
def test_what_a_cast_would_change_in_silence_is_refused(tmp_path, form) -> None:
    for make in (
        lambda: si.activations_from_array(NONE[form], SAMPLES, out=tmp_path / "acts"),
        lambda: si.train(NONE[form], si.TopK(n_features=8, k=2), seed=0, steps=2),
    ):
        with pytest.raises(SciinterpError) as caught:
            make()
        assert "\n" not in str(caught.value)


def test_a_map_of_a_file_stays_one(tmp_path) -> None:
    held = np.memmap(tmp_path / "x", np.float32, "w+", shape=X.shape)
    held[:] = X
    assert np.shares_memory(as_rows(held), held)


def test_negative_zero_is_zero_to_an_sae(tmp_path) -> None:
    sae = si.train(X, si.TopK(n_features=8, k=2), seed=0, steps=2)
    codes = [
        sae.encode_scipy(x).toarray() for x in (np.zeros((2, 4), np.float32), -np.zeros((2, 4), np.float32))
    ]
    assert np.array_equal(*codes)


def test_names_of_columns_are_text_and_stand_once() -> None:
    table = pd.DataFrame({1: ["x", "y"], "n": [1, 2]})
    assert list(si.Samples(["a", "b"], ["MK", "MK"], table=table).table.columns) == ["1", "n"]
    twice = pd.DataFrame([["x", "y"], ["z", "w"]], columns=["f", "f"])
    with pytest.raises(InputError, match="'f'"):
        si.Samples(["a", "b"], ["MK", "MK"], table=twice)
    rows = pd.DataFrame([["a", 0, 2, "x", "y"]], columns=["sample", "start", "end", "concept", "concept"])
    with pytest.raises(InputError, match="'concept'"):
        si.Annotations(rows)
    for nobody in (None, float("nan")):
        with pytest.raises(InputError, match="without an identifier"):
            si.Samples(["a", nobody], ["MK", "MK"])
