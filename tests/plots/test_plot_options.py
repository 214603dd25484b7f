# ruff: noqa: F811
"""Options of figures given in Python: a wrong kind, range or name is one line that says which, and what is expected."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from figure_cases import cases, helices, rule, scan, sweep_table, turned, worlds
from report_fixtures import run  # noqa: F401
from scipy import sparse as sp

import sciinterp as si
from sciinterp.errors import InputError

NAN = float("nan")
BAD_COUNTS = (0, -1, 1.5, "3", None, True, NAN)
# figure, the option, values that it cannot have, what the message has to say
OPTIONS = [
    ("concepts_vs_baselines", "top", BAD_COUNTS, "top=: expected"),
    ("heatmap", "top", BAD_COUNTS, "top=: expected"),
    ("heatmap", "value", ("f2", "f1_", "recal"), r"no such column, value=: expected .*'"),
    ("volcano", "effect", ("delta", "F1"), r"no such column, effect=: expected '"),
    ("volcano", "named", (-1, 0.5, "8"), "named=: expected"),
    ("concept_counts", "threshold", (NAN, "0.5", None, [0.5]), "threshold=: expected a number"),
    ("sets", "concept", ("nobody", "", 3), r"no such concept, concept=: expected 'imgt:"),
    ("feature", "n", BAD_COUNTS, "n=: expected"),
    ("feature", "samples", ([40], [-1], [10**9]), "no such sample, sample .*: expected 0 to 39"),
    ("feature", "samples", (["nobody"], "nobody"), "no such sample"),
    ("feature", "samples", ([1.5], [None]), "samples=: expected a whole number"),
    ("family_heatmap", "top", BAD_COUNTS, "top=: expected"),
    ("family_heatmap", "columns", ([1, 2], np.zeros(3, int), "abc", 5), "columns do not fit, columns=: expected 4720"),
    ("family_heatmap", "columns", (np.zeros(4720), np.full(4720, "1")), "columns=: expected 4720 whole numbers"),
    ("family_heatmap", "columns", ({"nobody": "AC"},), "no such sample"),
    ("logo", "flank", (-1, 2.5, "7", None), "flank=: expected"),
    ("logo", "top", BAD_COUNTS, "top=: expected"),
    ("training_curve", "value", ("fvee",), r"no such column, value=: expected 'fve'"),
    ("scaling", "value", ("fvee", "architectures"), r"no such column, value=: expected '"),
    ("recovery", "value", ("recal",), r"no such column, value=: expected 'recall'"),
    ("stability", "threshold", (NAN, "0.7", None), "threshold=: expected a number"),
    ("reliability", "bins", BAD_COUNTS, "bins=: expected"),
    ("reliability", "truth", ([1], np.ones(81)), "do not fit, truth=: expected 80"),
    ("variant_effect", "top", BAD_COUNTS, "top=: expected"),
    ("dose", "concept", ("nobody", 5), r"no such concept, concept=: expected 'FR3"),
    ("assay_scan", "features", ([10], [-1]), "no such feature: expected '0 to 9'"),
    ("assay_scan", "features", ([1.5], ["a"]), "feature: expected a whole number"),
    ("assay_change", "feature", (10, -1), "no such feature: expected '0 to 9'"),
    ("trace", "sample", ("nobody", ""), "no such sample"),
    ("contact_map", "sample", ("nobody",), "no such sample"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def inputs(run):
    """Figure -> what it is given before its options."""
    p = np.linspace(0.01, 0.99, 80)
    helix = si.FeatureMatrix(sp.csr_array(np.ones((60, 4), np.float32)), helices(2))
    made = dict.fromkeys(
        ("concepts_vs_baselines", "heatmap", "volcano", "concept_counts", "sets"), (run["hits"],)
    )
    made |= dict.fromkeys(("feature", "family_heatmap", "logo"), (run["features"], 8))
    made |= dict.fromkeys(("trace", "contact_map"), (helix, 1))
    made |= {
        "training_curve": ([{"step": 1, "fve": 0.5}],),
        "scaling": (sweep_table(1),),
        "recovery": (worlds(),),
    }
    made |= {"stability": (p,), "reliability": (p, p > 0.5), "dose": (turned(),), "assay_scan": (scan(),)}
    made |= {"assay_change": (scan(),), "variant_effect": (pd.DataFrame({"feature": [1], "delta": [1.0]}),)}
    return made  # fmt: skip


@pytest.mark.parametrize(
    ("figure", "option", "value", "said"),
    [(figure, option, value, said) for figure, option, values, said in OPTIONS for value in values],
    ids=lambda v: str(v)[:24],
)
def test_an_option_that_cannot_be_is_named(inputs, figure, option, value, said):
    given = inputs[figure][:1] if option == "truth" else inputs[figure]
    with pytest.raises(InputError, match=said) as error:
        getattr(si.pl, figure)(*given, **{option: value})
    assert "\n" not in str(error.value)
    assert not plt.get_fignums() or plt.gca().has_data() is False, "nothing is drawn of what cannot be"


@pytest.mark.parametrize(
    ("figure", "option", "value"),
    [
        ("heatmap", "top", np.int64(3)),
        ("logo", "flank", 0),
        ("volcano", "named", 0),
        ("concept_counts", "threshold", 1),
        ("concept_counts", "threshold", np.float32(0.5)),
        ("feature", "samples", "heavy_0003"),
        ("feature", "samples", [np.int64(3), "heavy_0004"]),
        ("feature", "samples", (0,)),
        ("family_heatmap", "columns", np.zeros(4720, np.int32)),
        ("assay_scan", "features", (np.int64(3),)),
    ],
)
def test_numbers_of_numpy_and_other_sequences_are_taken(inputs, figure, option, value):
    assert getattr(si.pl, figure)(*inputs[figure], **{option: value}).has_data()


NOT_TABLES = (5, "text", [1, 2], ["a"], b"bytes", 0.5)


@pytest.mark.parametrize("given", NOT_TABLES, ids=repr)
@pytest.mark.parametrize("figure", ["layer_sweep", "precision_at_k", "control_matrix", "dose", "readout", "recovery", "front", "scaling", "mdl", "training_curve", "dark_matter", "variant_effect", "assay_scan"])  # fmt: skip
def test_what_is_no_table_is_refused(figure, given):
    with pytest.raises(InputError, match=r"another kind, \w+=: expected a DataFrame|there is no such file"):
        getattr(si.pl, figure)(given)


@pytest.mark.parametrize("figure", ["concepts_vs_baselines", "concept_counts", "volcano", "heatmap", "sets"])
def test_what_is_no_table_of_hits_is_refused(figure):
    draw = getattr(si.pl, figure)
    for given in (5, "hits.tsv", [1], [{"concept": "a"}]):
        with pytest.raises(InputError, match="another kind, hits=: expected DataFrame"):
            draw(given)
    for given in (pd.DataFrame({"x": [1]}), pd.DataFrame({"feature": [1], "f1": [0.5]})):
        with pytest.raises(InputError, match=r"no such column, hits: expected .*, got '(feature|concept)'"):
            draw(given)
    assert draw(None).texts and draw(pd.DataFrame()).texts


@pytest.mark.parametrize(
    "probability", [[1.2, 0.1], [-0.01, 0.5], pd.DataFrame({"probability": [7], "truth": [1]})]
)
def test_a_probability_lies_between_none_and_one(probability):
    truth = None if isinstance(probability, pd.DataFrame) else [1, 0]
    with pytest.raises(InputError, match="probability=: expected between 0 and 1"):
        si.pl.reliability(probability, truth)


@pytest.mark.parametrize("density", [[-0.1, 0.5], [2.0], {"density": [0.1, 3]}])
def test_a_density_lies_between_none_and_one(density):
    with pytest.raises(InputError, match="features=: expected between 0 and 1"):
        si.pl.density_histogram(density)


def test_a_scan_without_codes_has_no_feature_and_a_rule_has_terms():
    with pytest.raises(InputError, match="scan=: expected an AnnData"):
        si.pl.assay_scan(scan().obs, features=[1])
    assert si.pl.assay_scan(scan().obs).has_data()
    for nothing in (5, "rule", [rule()]):
        with pytest.raises(InputError, match="rule=: expected a Rule"):
            si.pl.distil(nothing)


def test_axes_are_axes(run, tmp_path):
    figure, ax = plt.subplots()
    for name, kinds in cases(run).items():
        with pytest.raises(InputError, match="another kind, ax=: expected Axes"):
            kinds["full"]((figure, ax))
        assert not ax.has_data(), name
    for wrong in (figure, (figure, ax), None, "ax"):
        with pytest.raises(InputError, match="ax=: expected Axes"):
            si.pl.save(wrong, tmp_path / "a.svg")
    assert not list(tmp_path.iterdir())


def test_tables_of_other_columns_say_that_nothing_was_measured():
    other = pd.DataFrame({"x": [1, 2]})
    for figure in (
        "layer_sweep",
        "precision_at_k",
        "front",
        "scaling",
        "recovery",
        "control_matrix",
        "dose",
        "readout",
    ):
        assert len(getattr(si.pl, figure)(other).texts) == 1, figure
