"""What cannot be asked of association is refused in one line that names the argument and what it may be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from sciinterp.annotations import Annotations
from sciinterp.annotations.signal import Values
from sciinterp.association import (
    AssociationSettings,
    BaselineSettings,
    ScreenSettings,
    associate,
    compare_shifts,
    count_overlaps,
    domain_adjusted_f1,
    enrich_genes,
    enrich_sets,
    enrichment,
    family_f1,
    features_anndata,
    precision_recall,
    read_hits,
    samples_anndata,
    write_association,
    write_h5ad,
    write_hits,
)
from sciinterp.association.baselines import ceilings
from sciinterp.association.partitions import deal
from sciinterp.association.quantitative import CorrelateSettings, correlate
from sciinterp.association.splitting import absorption, splitting
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import SciinterpError
from sciinterp.samples import Samples, Split
from sciinterp.settings import build
from sciinterp.trust import benchmark_trust

SAMPLES = Samples(["a", "b", "c", "d"], ["ACDE"] * 4)
CODES = FeatureMatrix(sp.csr_array(np.eye(16, 3, dtype=np.float32)), SAMPLES)
PLACED = Annotations(pd.DataFrame({"sample": list("abcd"), "start": 0, "end": 2, "concept": "site"}))
SPLIT = Split(np.array([0, 1]), np.array([], int), np.array([2, 3]), np.arange(4), tuple("wxyz"))
NO_HITS = pd.DataFrame(columns=["feature", "concept", "selected", "threshold", "f1_train"])
TRUTH = PLACED.positives(SAMPLES)
MEMBERS = sp.csr_array(np.eye(5, 2, dtype=bool))
VALUES = Values(SAMPLES, ("x",), np.arange(16, dtype=np.float32)[:, None])
NAN = float("nan")

SETTINGS = [
    (AssociationSettings, "strongest", 0, "1 or more"),
    (AssociationSettings, "strongest", 2.5, "whole number"),
    (AssociationSettings, "strongest", True, "whole number"),
    (AssociationSettings, "folds", 0, "1 or more"),
    (AssociationSettings, "folds", "three", "whole number"),
    (AssociationSettings, "level", 1.0, "between 0 and 1"),
    (AssociationSettings, "level", 0, "between 0 and 1"),
    (AssociationSettings, "level", NAN, "a number"),
    (AssociationSettings, "level", "0.95", "a number"),
    (AssociationSettings, "sets", (1, 0), "1 or more"),
    (AssociationSettings, "sets", 4, "a list"),
    (AssociationSettings, "sets", (1.5,), "whole number"),
    (AssociationSettings, "set_draws", -1, "0 or more"),
    (AssociationSettings, "ceilings", ("prob",), "'probe'"),
    (AssociationSettings, "ceilings", "probe", "a list"),
    (AssociationSettings, "screen", 3, "ScreenSettings"),
    (AssociationSettings, "screen", BaselineSettings(), "ScreenSettings"),
    (AssociationSettings, "baselines", ScreenSettings(), "BaselineSettings"),
    (ScreenSettings, "min_families", 0, "1 or more"),
    (ScreenSettings, "min_carriers", -3, "1 or more"),
    (ScreenSettings, "carried", 1.2, "from 0 to 1"),
    (ScreenSettings, "carried", NAN, "a number"),
    (ScreenSettings, "strata", "length", "'exposure' or 'none'"),
    (ScreenSettings, "n_permutations", 0, "1 or more"),
    (ScreenSettings, "n_permutations", 1e3, "whole number"),
    (ScreenSettings, "within", "cells", "a list"),
    (ScreenSettings, "per_family", 0, "1 or more"),
    (BaselineSettings, "reach", -1, "0 or more"),
    (BaselineSettings, "n_components", 0, "1 or more"),
    (BaselineSettings, "max_fit", None, "whole number"),
    (BaselineSettings, "domain", 1, "true or false"),
    (CorrelateSettings, "folds", 1, "2 or more"),
    (CorrelateSettings, "n_draws", 0, "1 or more"),
    (CorrelateSettings, "level", 2.0, "between 0 and 1"),
    (CorrelateSettings, "min_families", 1, "2 or more"),
    (CorrelateSettings, "min_positions", 0, "1 or more"),
]


def line(error: pytest.ExceptionInfo[SciinterpError]) -> str:
    said = str(error.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize(("record", "name", "value", "expected"), SETTINGS)
def test_settings_are_refused_alike_in_python_and_in_a_file(record, name, value, expected) -> None:
    with pytest.raises(SciinterpError) as in_python:
        record(**{name: value})
    assert name in line(in_python)
    assert expected in line(in_python)
    if not hasattr(value, "__dataclass_fields__"):
        with pytest.raises(SciinterpError) as in_a_file:
            build(record, {name: list(value) if isinstance(value, tuple) else value}, section="here")
        assert "here" in line(in_a_file)
        assert name in line(in_a_file)
        assert expected in line(in_a_file)


@pytest.mark.parametrize("record", [AssociationSettings, ScreenSettings, BaselineSettings, CorrelateSettings])
def test_numbers_and_lists_of_numpy_are_numbers_and_lists(record) -> None:
    default = record()
    given = {name: getattr(default, name) for name in record.__dataclass_fields__}
    held = {
        name: np.array(value) if isinstance(value, tuple) else np.asarray(value)[()]
        for name, value in given.items()
        if isinstance(value, (int, float, tuple))
    }
    assert record(**held) == default


def test_each_ceiling_can_be_made_a_rival() -> None:
    for name in ceilings():
        assert AssociationSettings(ceilings=[name]).ceilings == (name,)
    assert AssociationSettings(ceilings=()).ceilings == ()


CALLS = {
    "features are codes": (lambda: associate("codes", PLACED, split=SPLIT), "features=", "FeatureMatrix"),
    "annotations": (lambda: associate(CODES, "a.tsv", split=SPLIT), "annotations=", "Annotations"),
    "split": (lambda: associate(CODES, PLACED, split="family"), "split=", "Split"),
    "settings of another verb": (
        lambda: associate(CODES, PLACED, split=SPLIT, settings=ScreenSettings()), "settings=", "AssociationSettings",
    ),
    "seed": (lambda: associate(CODES, PLACED, split=SPLIT, seed=-1), "seed", "seed from 0"),
    "seed of a list": (lambda: associate(CODES, PLACED, split=SPLIT, seed=[1]), "seed", "whole number"),
    "control": (lambda: associate(CODES, PLACED, split=SPLIT, control={"randomized": CODES}), "control", "'randomised'"),
    "values": (lambda: correlate(CODES, TRUTH, split=SPLIT), "values=", "Values"),
    "settings of correlate": (
        lambda: correlate(CODES, VALUES, split=SPLIT, settings=AssociationSettings()), "settings=", "CorrelateSettings",
    ),
    "split of correlate": (lambda: correlate(CODES, VALUES, split=3), "split=", "Split"),
    "facts": (lambda: enrichment(CODES, PLACED.frame, split=SPLIT), "annotations=", "Annotations"),
    "settings of facts": (
        lambda: enrichment(CODES, PLACED, split=SPLIT, settings=AssociationSettings()), "settings=", "ScreenSettings",
    ),
    "items": (lambda: enrich_sets(MEMBERS, MEMBERS[:3]), "different items", "expected 3"),
    "background": (lambda: enrich_sets(MEMBERS, MEMBERS, background=np.ones(4, bool)), "background", "expected 5"),
    "names of sets": (lambda: enrich_sets(MEMBERS, MEMBERS, names=["one"]), "one name a set", "expected 2"),
    "size of sets": (lambda: enrich_sets(MEMBERS, MEMBERS, min_size=-1), "min_size", "0 or more"),
    "a gene for a set": (lambda: enrich_genes(CODES, {"T": "CD3E"}), "set 'T'", "list of genes"),
    "sets of genes": (lambda: enrich_genes(CODES, ["CD3E"]), "sets=", "Mapping"),
    "genes of a feature": (lambda: enrich_genes(CODES, {}, top=0), "top", "1 or more"),
    "cells of a gene": (lambda: enrich_genes(CODES, {}, min_cells=1.5), "min_cells", "whole number"),
    "no thresholds": (lambda: domain_adjusted_f1(CODES, PLACED, split=SPLIT, thresholds=()), "thresholds", "at least one"),
    "NaN threshold": (lambda: domain_adjusted_f1(CODES, PLACED, split=SPLIT, thresholds=(NAN,)), "thresholds", "a number"),
    "negative threshold": (
        lambda: domain_adjusted_f1(CODES, PLACED, split=SPLIT, thresholds=(-0.1,)), "thresholds", "0 or more",
    ),
    "concepts": (lambda: family_f1(CODES, PLACED, split=SPLIT, concepts=["sites"]), "concept", "'site'"),
    "NaN of a kernel": (lambda: count_overlaps(CODES.codes, TRUTH, thresholds=np.array([NAN])), "thresholds", "numbers"),
    "features with gaps": (
        lambda: precision_recall(CODES.codes, TRUTH, features=slice(0, 3, 2)), "features", "a step of 1",
    ),
    "backwards": (lambda: precision_recall(CODES.codes, TRUTH, features=slice(None, None, -1)), "features", "a step of 1"),
    "memory": (lambda: precision_recall(CODES.codes, TRUTH, memory_budget=10), "features", "at most 10 bytes"),
    "feature that is not there": (lambda: shifts([3], [0]), "feature", "0 to 2"),
    "negative feature": (lambda: shifts([-1], [0]), "feature", "0 to 2"),
    "concept that is not there": (lambda: shifts([0], [1]), "concept", "0 to 0"),
    "pairs": (lambda: shifts([0, 1], [0]), "one concept a feature", "(2,)"),
    "families": (lambda: shifts([0], [0], np.arange(3)), "family", "expected 4"),
    "hits of splitting": (lambda: splitting(CODES, PLACED, "hits.tsv", split=SPLIT), "hits=", "DataFrame"),
    "parts": (lambda: splitting(CODES, PLACED, NO_HITS, split=SPLIT, max_features=0), "max_features", "1 or more"),
    "split of absorption": (lambda: absorption(CODES, PLACED, pd.DataFrame(), split=None), "split=", "Split"),
    "hits to write": (lambda: write_hits(None, "there"), "hits=", "DataFrame"),
    "folder of hits": (lambda: write_hits(pd.DataFrame(), 3), "folder=", "a path"),
    "folder to read": (lambda: read_hits(7), "folder=", "a path"),
    "split to write": (
        lambda: write_association("there", pd.DataFrame(), CODES, PLACED, split=None), "split=", "Split",
    ),
    "features of h5ad": (lambda: features_anndata(TRUTH, pd.DataFrame()), "features=", "FeatureMatrix"),
    "hits of h5ad": (lambda: write_h5ad(CODES, {}, "there"), "hits=", "DataFrame"),
    "samples of h5ad": (lambda: samples_anndata(SAMPLES), "features=", "FeatureMatrix"),
    "claims": (lambda: benchmark_trust(only="lead"), "only=", "['lead']"),
    "no such claim": (lambda: benchmark_trust(only=["leed"]), "claim", "'lead'"),
    "worlds": (lambda: benchmark_trust(n_worlds=-1), "n_worlds", "0 or more"),
    "seed of worlds": (lambda: benchmark_trust(seed=0.5), "seed", "whole number"),
}  # fmt: skip


def shifts(feature, concept, family=None):
    family = np.arange(4) if family is None else family
    return compare_shifts(CODES, TRUTH, family, feature=np.array(feature), concept=np.array(concept))


@pytest.mark.parametrize("case", CALLS)
def test_arguments_are_refused_by_name(case, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    call, name, expected = CALLS[case]
    with pytest.raises(SciinterpError) as caught:
        call()
    assert name in line(caught)
    assert expected in line(caught)
    assert not list(tmp_path.iterdir())  # nothing is written of what is refused


def test_pairs_that_are_there_are_tested_in_any_order_and_none_is_nothing() -> None:
    both = shifts([2, 0], [0, 0])
    assert both["feature"].tolist() == [2, 0]
    pd.testing.assert_frame_equal(both.iloc[[1]].reset_index(drop=True), shifts([0], [0]))
    none = shifts(np.zeros(0, int), np.zeros(0, int))
    assert not len(none)
    assert list(none) == list(both)


def test_values_of_families_that_lie_in_one_fold_are_not_tested() -> None:
    """Nothing is left to choose on: said so, not a feature chosen on nothing."""
    rng = np.random.default_rng(0)
    samples = Samples([f"s{i}" for i in range(9)], ["ACDEFGHIKL" * 2] * 9)
    codes = FeatureMatrix(sp.csr_array(rng.random((180, 3)).astype(np.float32)), samples)
    numbers = np.arange(9)
    split = Split(numbers, np.array([], int), np.array([], int), numbers, tuple("abcdefghi"))
    assert correlated(codes, split, rng, numbers)["n_families"].tolist() == [9]
    with pytest.raises(SciinterpError, match="in one fold"):
        correlated(codes, split, rng, np.flatnonzero(deal(split, 3) == 0))


def correlated(codes, split, rng, families):
    values = np.full((180, 1), np.nan, np.float32)
    for family in families:
        values[20 * family : 20 * family + 20, 0] = rng.random(20)
    settings = CorrelateSettings(folds=3, min_families=2, n_draws=99)
    return correlate(codes, Values(codes.samples, ("x",), values), split=split, settings=settings)
