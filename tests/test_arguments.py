"""What is given in Python to a verb and is no such thing: one line that names the argument, before anything is made."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import sciinterp as si
from sciinterp.config import read_config
from sciinterp.errors import SciinterpError, require_kinds
from sciinterp.frames import require_columns
from sciinterp.project import load_run
from sciinterp.readouts.readout import ReadoutSettings
from sciinterp.report.browser import write_browser
from sciinterp.samples import Sample
from sciinterp.testing import tiny_model

S = ["EVQLVESGG", "QVQLQQSG"]
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def given():
    model, sae = tiny_model()
    n = 48
    data = ["".join(RNG.choice(list("ACDE"), 6)) for _ in range(n)]
    table = pd.DataFrame({"family": [f"f{i % 12}" for i in range(n)]})
    samples = si.Samples([f"s{i}" for i in range(n)], data, table=table)
    features = si.FeatureMatrix(
        RNG.random((6 * n, 4)).astype(np.float32) * (RNG.random((6 * n, 4)) < 0.2), samples
    )
    labels = (np.arange(n) % 2).tolist()
    few = ReadoutSettings(n_draws=1, n_permutations=2)
    variants = pd.DataFrame({"gene": ["a", "a", "b", "b", "b"], "hit": [True, False, True, False, False]})
    rows = si.Annotations(
        pd.DataFrame({"sample": ["s0"], "start": [0], "end": [1], "concept": ["x"], "source": ["t"]})
    )
    return {
        "m": model, "s": sae, "f": features, "labels": labels, "rd": si.readout(features, labels, n=(None,), settings=few), "few": few,
        "tab": variants, "P": si.panel(variants, "hit", match=["gene"]), "samples": si.Samples(["a", "b"], S), "rows": rows,
        "V": pd.DataFrame({"sample": ["a"], "variant": ["E1A"]}), "g": si.Samples(["c"], ["ACGTACGTACGT"], kind="dna"),
        "A": pd.DataFrame({"variant": ["E1A"], "score": [1.0]}), "G": pd.DataFrame({"variant": ["c:g.8T>A"]}),
        "split": si.split_families(samples, by="family"), "hits": pd.DataFrame({"feature": [1], "concept": ["x"], "f1": [0.5]}),
    }  # fmt: skip


def steer(g, wrong):
    call = {"model": g["m"], "sae": g["s"], "samples": S, "feature": 3, "strength": 1.0, **wrong}
    return si.steer(**call)


def saturate(g, wrong):
    return si.saturate(
        **{
            "model": g["m"],
            "sae": g["s"],
            "sample": "EVQ",
            "positions": None if "variants" in wrong else [1],
            **wrong,
        }
    )


def effect(g, wrong):
    return si.variant_effect(**{"model": g["m"], "sae": g["s"], "sample": "EVQ", "variant": "E1A", **wrong})


def effects(g, wrong):
    return si.variant_effects(
        **{"model": g["m"], "sae": g["s"], "samples": g["samples"], "table": g["V"], **wrong}
    )


def design(g, wrong):
    return si.design(**{"model": g["m"], "sae": g["s"], "sample": "EVQ", "raise_": [3], **wrong})


def assay(g, wrong):
    return si.assay(**{"model": g["m"], "sae": g["s"], "wild_type": "EVQ", "measured": g["A"], **wrong})


def readout(g, wrong):
    return si.readout(
        **{"features": g["f"], "labels": g["labels"], "n": (None,), "settings": g["few"], **wrong}
    )


def distil(g, wrong):
    return si.distil(**{"readout": g["rd"], **wrong})


def panel(g, wrong):
    return si.panel(**{"variants": g["tab"], "cases": "hit", "match": ["gene"], **wrong})


def contrast(g, wrong):
    return si.contrast(**{"values": np.ones((len(g["P"]), 2)), "matched": g["P"], **wrong})


def place(g, wrong):
    return si.place_variants(**{"variants": g["G"], "windows": g["g"], **wrong})


def consequences(g, wrong):
    return si.consequences(**{"variants": g["G"], "genome": g["g"], "annotations": g["rows"], **wrong})


def fit_check(g, wrong):
    return si.fit_check(**{"sae": g["s"], "model": g["m"], "samples": g["samples"], **wrong})


def control(g, wrong):
    return si.randomised_control(
        **{"model": g["m"], "sae": g["s"], "samples": g["samples"], "out": "none", **wrong}
    )


def sweep(g, wrong):
    call = {"sites": ["layers.0"], "split": g["split"], "out": "none", **wrong}
    return si.sweep_sites(**{"model": g["m"], "samples": g["samples"], "annotations": g["rows"], **call})


def report(g, wrong):
    return si.report(**{"path": "none/r.html", "features": g["f"], "hits": g["hits"], **wrong})


def discover(g, wrong):
    return si.discover(
        **{"features": g["f"], "annotations": g["rows"], "hits": None, "split": g["split"], **wrong}
    )


NAN, LONG = float("nan"), np.zeros((3, 2))
# Verb, what is wrong, and what is said of it: the argument's name, or what it should be.
CASES = [
    (steer, {"model": None}, "this is no model"), (steer, {"sae": None}, "sae="), (steer, {"sae": 3}, "sae="), (steer, {"samples": None}, "no samples"),
    (steer, {"feature": "3"}, "no such feature"), (steer, {"feature": None}, "no such feature"), (steer, {"strength": True}, "strength a feature"),
    (steer, {"strength": {3: 1}}, "strength a feature"), (steer, {"strength": NAN}, "not finite"), (steer, {"at": None}, "no such position"),
    (steer, {"at": 1.5}, "no such position"), (steer, {"at": [[1], [2]]}, "no such position"), (steer, {"at": "some"}, "at"),
    (steer, {"later": 3}, "later="), (steer, {"later": "sae"}, "later="), (steer, {"later": None}, "later="), (steer, {"later": [None]}, "later="),
    (steer, {"hide": "some"}, "no such places"), (steer, {"hide": [99]}, "no such position"),
    (design, {"model": 3}, "this is no model"), (design, {"sample": None}, "no samples"), (design, {"n": "2"}, "n: expected a whole number"),
    (design, {"n": True}, "n: expected a whole number"), (design, {"n": 0}, "n: expected 1 or more"), (design, {"raise_": "3"}, "no such feature"),
    (saturate, {"model": "x"}, "model=: expected Adapter, got 'x'. si.load_model"), (saturate, {"sae": None}, "sae=: expected SAE"),
    (saturate, {"sample": None}, "sample=: expected Sample or str"), (saturate, {"sample": 3}, "sample="), (saturate, {"positions": "12"}, "positions"),
    (saturate, {"positions": [1.5]}, "positions"), (saturate, {"positions": [True]}, "positions"), (saturate, {"positions": []}, "positions"),
    (saturate, {"positions": [3]}, "0 to 2, got 3"), (saturate, {"at": [0.5]}, "at: expected whole numbers 0 to 2"), (saturate, {"at": []}, "at: "),
    (saturate, {"at": [-1]}, "at: "), (saturate, {"variants": 3}, "variants="), (saturate, {"variants": [None]}, "variant="),
    (saturate, {"likelihood": "yes"}, "likelihood"), (saturate, {"device": "gpu"}, "device"),
    (effect, {"variant": None}, "variant="), (effect, {"min_change": "x"}, "min_change"), (effect, {"min_change": NAN}, "min_change"),
    (effect, {"min_change": -1}, "0 or more"), (effect, {"hits": "x"}, "hits="), (effect, {"hits": pd.DataFrame({"a": [1]})}, "column, hits"),
    (effect, {"sample": 3}, "sample="), (effect, {"model": None}, "model="), (effect, {"sae": "x"}, "sae="),
    (effects, {"samples": S}, "samples=: expected Samples, got list"), (effects, {"table": "v.tsv"}, "table=: expected DataFrame, got 'v.tsv'"),
    (effects, {"table": [1]}, "table="), (effects, {"min_change": None}, "min_change"), (effects, {"sae": None}, "sae="),
    (assay, {"wild_type": 3}, "wild_type=: expected Sample or Samples or str"), (assay, {"measured": "x.csv"}, "measured="),
    (assay, {"measured": pd.DataFrame({"variant": ["E1A"]})}, "column, measured: expected 'variant', got 'score'"), (assay, {"beside": [1]}, "beside="),
    (assay, {"beside": {"x": [1, 2]}}, "beside 'x': expected 1"), (assay, {"beside": {"x": ["a"]}}, "beside 'x'"),
    (readout, {"features": None}, "features="), (readout, {"labels": None}, "labels="), (readout, {"labels": 3}, "labels="), (readout, {"n": ()}, "no draw"),
    (readout, {"n": 24}, "n="), (readout, {"n": "24"}, "n: expected a whole number, got '2'"), (readout, {"n": (0,)}, "n: expected 1 or more"),
    (readout, {"n": (1.5,)}, "n: expected a whole"), (readout, {"by": 3}, "by="), (readout, {"acts": "acts"}, "acts="), (readout, {"acts": LONG}, "acts: expected 288 rows, got 3"),
    (readout, {"control": "c"}, "control="), (readout, {"hits": "x"}, "hits="), (readout, {"hits": pd.DataFrame({"a": [1]})}, "column, hits"),
    (distil, {"readout": None}, "made of a readout"), (distil, {"readout": pd.DataFrame()}, "made of a readout"), (distil, {"n_features": 0}, "n_features: expected 1 or more"),
    (distil, {"n_features": "5"}, "n_features"), (distil, {"n_features": 2.5}, "n_features"), (distil, {"form": 3}, "no such form"),
    (panel, {"variants": "x"}, "variants="), (panel, {"match": 3}, "match="), (panel, {"match": ["gen"]}, "column, variants: expected 'gene'"),
    (panel, {"per_case": 0}, "per_case: expected 1 or more"), (panel, {"per_case": 1.5}, "per_case"), (panel, {"max_auroc": "x"}, "max_auroc"),
    (panel, {"max_auroc": NAN}, "max_auroc"), (panel, {"max_auroc": 60}, "from 0 to 1"), (panel, {"seed": -1}, "seed from 0"), (panel, {"cases": None}, "cases="),
    (panel, {"cases": list("abcde")}, "no truth values, cases"), (panel, {"cases": "gene"}, "no truth values, cases"),
    (contrast, {"values": None}, "values="), (contrast, {"values": "x"}, "values="), (contrast, {"values": np.full((4, 2), np.nan)}, "not finite, values"),
    (contrast, {"matched": "x"}, "matched="), (contrast, {"matched": pd.DataFrame({"gene": ["a"]})}, "column, matched"), (contrast, {"by": "chrom"}, "column, matched"),
    (contrast, {"replicate": [LONG]}, "replicate="), (contrast, {"seed": "0"}, "seed"),
    (place, {"variants": "x"}, "variants="), (place, {"windows": None}, "windows="), (consequences, {"genome": None}, "genome="),
    (consequences, {"annotations": None}, "annotations="), (consequences, {"codes": {"c": 99}}, "no such genetic code"), (consequences, {"codes": "2"}, "codes="),
    (fit_check, {"sae": None}, "sae="), (fit_check, {"model": None}, "model="), (fit_check, {"samples": S}, "samples="),
    (control, {"sae": None}, "sae="), (control, {"model": None}, "model="), (control, {"samples": None}, "samples="), (control, {"out": 3}, "out="), (control, {"seed": 1.5}, "seed"),
    (sweep, {"sites": "layers.0"}, "sites: expected a list"), (sweep, {"sites": []}, "no sites"), (sweep, {"architecture": "topk"}, "architecture="), (sweep, {"split": None}, "split="),
    (sweep, {"annotations": "a.tsv"}, "annotations="), (sweep, {"out": None}, "out="),
    (report, {"path": 3}, "path="), (report, {"features": None}, "features="), (report, {"hits": "x"}, "hits="), (report, {"candidates": "c"}, "candidates="),
    (report, {"annotations": "a"}, "annotations="), (report, {"split": "s"}, "split="), (report, {"manifest": "m"}, "manifest="),
    (discover, {"hits": "hits.tsv"}, "hits=: expected DataFrame"), (discover, {"hits": [1]}, "hits="), (discover, {"hits": pd.DataFrame({"a": [1]})}, "column, hits"),
    (discover, {"model": "antiberty"}, "this is no model: expected what si.load_model returns"), (discover, {"control": "c"}, "control="),
]  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "wrong", "says"),
    CASES,
    ids=[f"{v.__name__}-{next(iter(w))}-{i}" for i, (v, w, _) in enumerate(CASES)],
)
def test_what_is_no_such_thing_is_one_line_that_names_it(verb, wrong, says, given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SciinterpError) as error:
        verb(given, wrong)
    assert says in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_one_of_several_may_be_named_alone(given):
    """A place, a variant, a column: as in a list of one."""
    model, sae = given["m"], given["s"]
    assert (si.saturate(model, sae, "EVQ", "E1A").X != si.saturate(model, sae, "EVQ", ["E1A"]).X).nnz == 0
    assert (
        si.saturate(model, sae, "EVQ", positions=1).X != si.saturate(model, sae, "EVQ", positions=[1]).X
    ).nnz == 0
    one, two = (si.ablate(model, sae, S, 3, at=at).divergence for at in (2, [2]))
    assert one == two
    one, two = (si.panel(given["tab"], "hit", match=match)["row"].tolist() for match in ("gene", ["gene"]))
    assert one == two


def test_kinds_and_columns_as_they_are_asked_for():
    require_kinds(a=(3, int), b=(None, int | None), c=("x", str | Sample))
    with pytest.raises(SciinterpError, match="b=: expected int or str, got None"):
        require_kinds(a=(3, int), b=(None, int | str))
    table = pd.DataFrame({"f1": [0.5], 3: [1]})
    require_columns(table, (), "x")
    require_columns(table, ("f1",), "x")
    with pytest.raises(SciinterpError, match="no such column, x: expected 'f1' or '3', got 'f2'"):
        require_columns(table, ("f1", "f2"), "x")


HOMES = {
    "extract": lambda g: si.extract(g["m"], g["samples"], site=["layers.0", "layers.1"], out="~/x"),
    "array": lambda g: si.activations_from_array(np.ones((17, 3), np.float32), g["samples"], out="~/x"),
    "train": lambda g: si.train(np.ones((54, 4), np.float32), si.TopK(8, k=2), steps=2, out="~/x"),
    "encode": lambda g: si.encode(g["s"], np.ones((17, 16), np.float32), samples=g["samples"], out="~/x"),
    "associate": lambda g: si.associate(g["f"], g["rows"], split=g["split"], out="~/x"),
    "discover": lambda g: discover(g, {"out": "~/x"}),
    "sweep_sites": lambda g: sweep(g, {"samples": g["f"].samples, "out": "~/x"}),
    "sweep_saes": lambda g: si.sweep_saes(np.ones((54, 4), np.float32), [si.TopK(8, k=2)], out="~/x", steps=2),
    "control": lambda g: control(g, {"out": "~/x"}),
    "report": lambda g: report(g, {"path": "~/x/report.html"}),
    "browse": lambda g: write_browser("~/x", features=g["f"], hits=g["hits"]),
    "tracks": lambda g: si.tracks(g["f"], [1], out="~/x"),
    "save": lambda g: g["s"].save("~/x"),
    "codes": lambda g: g["f"].save("~/x"),
    "config": lambda g: read_config("~/x.toml"),
    **{verb.__name__: lambda g, verb=verb: verb("~/x") for verb in (
        load_run, si.load_sae, si.load_features, si.load_activations, si.read_hits, si.read_samples, si.read_annotations, si.read_assay, si.read_variants
    )},
}  # fmt: skip


@pytest.mark.parametrize("verb", HOMES)
def test_no_path_begins_with_a_home_that_only_a_shell_knows(verb, given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SciinterpError, match=r"'~'.*expanduser") as error:
        HOMES[verb](given)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())
