"""What the public verbs of the room are given in Python: wrong things are one line that names them, before any work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import sciinterp as si
from sciinterp.decompositions import DecompositionSettings, compare_decompositions
from sciinterp.errors import InputError, SciinterpError
from sciinterp.fit import FitSettings
from sciinterp.sae.base import TopKSAE
from sciinterp.sae.dictionary_benchmark import GroundTruthSettings, benchmark_dictionary
from sciinterp.sae.ground_truth import World
from sciinterp.sae.scaling import ScalingSettings
from sciinterp.sae.settings import TrainSettings

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
TOPK = si.TopK(8, k=2)
EYE = torch.eye(4)
SAE = TopKSAE(EYE, torch.zeros(4), EYE, torch.zeros(4), k=2)
NAN, INF = float("nan"), float("inf")

NEEDED = {World: {"name": "one", "says": ""}}
# Class, field, values that cannot be, what is expected instead.
SETTINGS = [
    *((TrainSettings, name, (0, -1, INF, NAN, "3", True), "> 0|number")
      for name in ("epochs", "learning_rate", "dead_window")),
    *((TrainSettings, name, (0, -1, 2.5, "3", True), "> 0|or more|whole number")
      for name in ("steps", "batch_size", "log_every", "checkpoint_every")),
    *((TrainSettings, name, (-0.1, 1.1, NAN, "x"), "from 0 to 1|a number")
      for name in ("warmup", "decay", "sparsity_warmup")),
    *((TrainSettings, name, (-1, INF, NAN), "0 or more|a number") for name in ("encoder_pull", "clip")),
    (TrainSettings, "screen", ("maybe",), "'auto' or 'on' or 'off'"),
    (TrainSettings, "frozen", ("decoders",), "'decoder'"),
    (TrainSettings, "order_seed", (-1, 0.5, "0"), "whole number"),
    (FitSettings, "n_tokens", (0, -5, "many", 10.5), "> 0|or more|whole number"),
    *((FitSettings, name, (-0.1, 1.5, NAN, "x"), "from 0 to 1|a number") for name in ("least_fve", "least_gain", "ahead")),
    (FitSettings, "norm_ratio", ((0.5,), (-1.0, 2.0), "ab", 0.5), "a list|0 or more"),
    (GroundTruthSettings, "rows", (0, -1, "x"), "> 0|or more|whole number"),
    (GroundTruthSettings, "steps", (0, 1.5), "> 0|or more|whole number"),
    *((ScalingSettings, name, ((0,), (-4, 8), "abc", 8, (1.5,)), "or more|a list|whole number") for name in ("widths", "ks")),
    (ScalingSettings, "level", (0.0, 1.0, 95, NAN), "between 0 and 1|a number"),
    (ScalingSettings, "twins", (("decodr",), "decoder"), "'decoder'|a list"),
    (ScalingSettings, "seeds", ((-1.5,), "0"), "whole number|a list"),
    *((World, name, (-1.0, NAN, "x"), "0 or more|a number|whole") for name in ("tail", "noise", "circles")),
    (World, "children", (1.5, -0.1), "from 0 to 1"),
    (DecompositionSettings, "names", (("topc",), "topk"), "'topk'|a list"),
    (DecompositionSettings, "twins", (("decodr",),), "'decoder'"),
    (DecompositionSettings, "l0", (0, -3, 2.5), "> 0|or more|whole number"),
    (DecompositionSettings, "widths", ((0,), 64), "or more|a list"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("made", "name", "value", "said"),
    [(made, name, value, said) for made, name, values, said in SETTINGS for value in values],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_setting_that_cannot_be_is_named_with_what_is_expected(made, name, value, said) -> None:
    with pytest.raises(InputError, match=said) as error:
        made(**(NEEDED.get(made, {}) | {name: value}))
    assert name in str(error.value) or "screen" in str(error.value) or "no such" in str(error.value)
    assert "\n" not in str(error.value)


# Architecture, its arguments, what is expected instead.
ARCHITECTURES = [
    (si.TopK, {"n_features": 0}, "1 or more"), (si.TopK, {"n_features": 8, "k": 9}, "1 <= k <= n_features"),
    (si.TopK, {"n_features": 8, "k": 0}, "1 <= k <= n_features"), (si.BatchTopK, {"n_features": 8, "k": 2.5}, "whole number"),
    *((kind, {"n_features": 8, "k": 2, "aux_alpha": value}, "aux_alpha")
      for kind in (si.TopK, si.BatchTopK, si.Matryoshka) for value in (-1.0, INF, NAN)),
    *((kind, {"n_features": 8, "l1": value}, "l1") for kind in (si.ReLU, si.Gated) for value in (-1.0, INF, NAN)),
    (si.JumpReLU, {"n_features": 8, "target_l0": 0}, "target_l0 <= n_features"),
    (si.JumpReLU, {"n_features": 8, "target_l0": 9.0}, "target_l0 <= n_features"),
    *((si.JumpReLU, {"n_features": 8, "target_l0": 2, "bandwidth": value}, "bandwidth") for value in (0.0, -1.0, INF)),
    (si.JumpReLU, {"n_features": 8, "target_l0": 2, "weight": -0.5}, "0 or more"),
    *((si.Matryoshka, {"n_features": 8, "k": 2, "prefixes": value}, "ascending")
      for value in ((4, 4, 8), (0, 8), (9,), (8, 4), (-1, 8))),
    (si.Matryoshka, {"n_features": 8, "k": 2, "prefixes": "48"}, "a list"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given", "said"), ARCHITECTURES)
def test_a_hyper_parameter_that_cannot_be_is_the_one_that_is_named(kind, given, said) -> None:
    with pytest.raises(InputError, match=f"expected.*{said}|{said}: expected"):
        kind(**given)


def test_the_ends_of_what_hyper_parameters_may_be_are_within() -> None:
    assert si.TopK(1, k=1, aux_alpha=0).k == 1
    assert si.JumpReLU(8, target_l0=8, weight=0).target_l0 == 8
    assert si.ReLU(1, l1=0).l1 == 0
    assert si.Matryoshka(5, k=5, prefixes=(5,)).prefixes == (5,)
    assert TrainSettings(warmup=0, decay=1, clip=0, encoder_pull=0).n_steps(10) == 600


# What is called with something of another kind, and what the line names.
CALLS = {
    "train: text": (lambda: si.train("acts", TOPK), "no rows of real numbers"),
    "train: nothing": (lambda: si.train(None, TOPK), "expected activations"),
    "train: one row": (lambda: si.train(X[0], TOPK), r"expected activations.*\(4,\)"),
    "train: complex": (lambda: si.train(X.astype(complex), TOPK), "real numbers"),
    "train: sparse": (lambda: si.train(sp.csr_array(X), TOPK), "sparse rows"),
    "train: a name": (lambda: si.train(X, "topk"), "architecture=: expected Architecture, got 'topk'.*si.TopK"),
    "train: a class": (lambda: si.train(X, si.TopK), "architecture=: expected Architecture"),
    "train: a dict": (lambda: si.train(X, TOPK, settings={"steps": 3}), "settings=: expected TrainSettings, got dict"),
    "train: no field": (lambda: si.train(X, TOPK, step=3), "no such setting of train: expected 'steps'"),
    "train: split": (lambda: si.train(X, TOPK, split="family"), "split=: expected Split, got 'family'"),
    "train: samples": (lambda: si.train(X, TOPK, samples=["a"]), "samples=: expected Samples, got list"),
    "train: out": (lambda: si.train(X, TOPK, out=5), "out=: expected a path, got 5"),
    "train: device": (lambda: si.train(X, TOPK, device="gpu"), "no such device"),
    "sweep_saes: one": (lambda: si.sweep_saes(X, TOPK), "architectures=: expected Sequence"),
    "sweep_saes: names": (lambda: si.sweep_saes(X, ["topk"]), "architectures=: expected Architecture"),
    "sweep_saes: none": (lambda: si.sweep_saes(X, []), "different SAEs"),
    "sweep_saes: twice": (lambda: si.sweep_saes(X, [TOPK, TOPK]), "none twice"),
    "sweep_saes: a seed": (lambda: si.sweep_saes(X, [TOPK], seeds=3), "seeds: expected a list"),
    "sweep_saes: half a seed": (lambda: si.sweep_saes(X, [TOPK], seeds=(1.5,)), "seeds: expected a whole number"),
    "sweep_saes: below": (lambda: si.sweep_saes(X, [TOPK], seeds=(-1,)), "seed from 0, got -1"),
    "select_width: a width": (lambda: si.select_width(X, split=None, widths=8), "widths: expected a list"),
    "select_width: no k": (lambda: si.select_width(X, split=None, ks=("2",)), "ks: expected a whole number"),
    "select_width: name": (lambda: si.select_width(X, split=None, architecture="topk"), "architecture=: expected type"),
    "select_width: field": (lambda: si.select_width(X, split=None, stepz=3), "select_width: expected 'steps'"),
    "select_width: clip": (lambda: si.select_width(X, split=None, clip=1.0), "no such setting of select_width"),
    "twins: text": (lambda: si.twins(X, TOPK, frozen="decoder"), "frozen: expected a list.*'decoder'"),
    "twins: part": (lambda: si.twins(X, TOPK, frozen=("decodr",)), "no such frozen part.*'decodr'"),
    "twins: name": (lambda: si.twins(X, "topk"), "architecture=: expected Architecture"),
    "scaling: a dict": (lambda: si.scaling(X, settings={}), "settings=: expected ScalingSettings"),
    "baseline_sae: kind": (lambda: si.baseline_sae("pcs", X), "no such baseline, pcs"),
    "baseline_sae: no kind": (lambda: si.baseline_sae(3, X), "no such baseline, 3"),
    "baseline_sae: k": (lambda: si.baseline_sae("pca", X, k=0), "k: expected 1 or more, got 0"),
    "baseline_sae: text": (lambda: si.baseline_sae("pca", X, k="2"), "k: expected a whole number"),
    "baseline_sae: none": (lambda: si.baseline_sae("random", X, n_features=0), "n_features: expected 1 or more"),
    "baseline_sae: seed": (lambda: si.baseline_sae("ica", X, seed=-1), "seed"),
    "baseline_sae: like": (lambda: si.baseline_sae("random", X, like="sae"), "like=: expected SAE"),
    "baseline_sae: split": (lambda: si.baseline_sae("pca", X, split=3), "split=: expected Split"),
    "stability: names": (lambda: si.stability(["a", "b"]), "saes=: expected SAE, got 'a'"),
    "loss_recovered: model": (lambda: si.loss_recovered("esm", SAE, None), "model=: expected Adapter.*si.load_model"),
    "fit_check: sae": (lambda: si.fit_check("sae", None, None), "sae=: expected SAE, got 'sae'"),
    "fit_check: model": (lambda: si.fit_check(SAE, "esm", None), "model=: expected Adapter"),
    "sweep_sites: model": (
        lambda: si.sweep_sites("m", None, None, sites=["a"], split=None, out="x"), "model=: expected Adapter"),
    "compare_decompositions": (
        lambda: compare_decompositions(None, None, split=None, settings={}), "settings=: expected DecompositionSettings"),
    "benchmark_dictionary": (lambda: benchmark_dictionary(settings={}), "settings=: expected GroundTruthSettings"),
    "benchmark_dictionary: seeds": (lambda: benchmark_dictionary(worlds=(), seeds=("a",)), "seeds"),
    "World": (lambda: World("x", "", l0=2000), "cannot be made, x"),
    "load_sae: format": (lambda: si.load_sae(".", format="what"), "no such format"),
    "load_sae: revision": (lambda: si.load_sae(".", revision="main"), "only a published SAE has a revision"),
    "encode: complex": (lambda: SAE.encode(X.astype(complex)), "real numbers"),
    "encode: complex tensor": (lambda: SAE.encode(torch.ones(2, 4, dtype=torch.complex64)), "real numbers"),
    "encode: masked": (lambda: SAE.encode(np.ma.masked_less(X, 0)), "masked"),
    "encode: text": (lambda: SAE.encode("rows"), "real numbers"),
    "encode: sparse": (lambda: SAE.encode(sp.csr_array(X)), "sparse rows"),
    "encode: width": (lambda: SAE.encode(X[:, :3]), r"expected \[n, 4\], got \[60, 3\]"),
    "encode: NaN": (lambda: SAE.encode(np.where(X > 2, NAN, X)), "not finite, row"),
    "decode: array": (lambda: SAE.decode(X), "codes=: expected Tensor, got ndarray"),
    "decode: width": (lambda: SAE.decode(torch.ones(2, 5)), r"expected \[n, 4\], got \(2, 5\)"),
    "save": (lambda: SAE.save(3), "folder=: expected a path"),
    "export": (lambda: SAE.export(3), "folder=: expected a path"),
    "export: format": (lambda: SAE.export("x", format="pt"), "no such format"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_an_argument_of_another_kind_is_one_line_and_nothing_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, said = CALLS[name]
    with pytest.raises(SciinterpError, match=said) as error:
        call()
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_sites_are_names_in_a_row_not_one_text(tiny: tuple, tmp_path: Path) -> None:
    samples = si.Samples(list("abc"), ["MK"] * 3)
    split = si.split_families(samples, by=list("abc"))
    rows = si.Annotations(pd.DataFrame({"sample": ["a"], "start": [0], "end": [1], "concept": ["x"]}))
    for given, said in (
        ({"sites": "layers.0"}, "sites: expected a list"),
        ({"architecture": "topk"}, "architecture=: expected Architecture"),
        ({"settings": {"steps": 3}}, "settings=: expected TrainSettings"),
        ({"split": "family"}, "split=: expected Split"),
    ):
        known = {"sites": ["layers.0"], "split": split, "out": tmp_path / "out", **given}
        with pytest.raises(InputError, match=said):
            si.sweep_sites(tiny[0], samples, rows, **known)
    assert not (tmp_path / "out").exists()


def test_what_is_given_as_numpy_or_as_a_list_is_taken_as_plain_python() -> None:
    assert ScalingSettings(widths=[4, 8, 16], ks=np.array([1, 2, 3])).ks == (1, 2, 3)
    assert DecompositionSettings(widths=[12], names=["topk"]).widths == (12,)
    one = si.sweep_saes(X, [TOPK], seeds=np.array([0, 1]), steps=2, batch_size=16)
    two = si.sweep_saes(X, (TOPK,), seeds=[0, 1], steps=2, batch_size=16)
    assert one.equals(two) and one.context == two.context


def test_nothing_to_freeze_is_nothing_to_train() -> None:
    assert si.twins(X, TOPK, frozen=(), steps=2) == {}
