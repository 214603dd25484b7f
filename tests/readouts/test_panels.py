"""Panels: what is matched no longer tells cases from controls; what is not is refused; contrasts hold their error rate."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.readouts.panels import auroc, contrast, panel, separation


def variants(n: int = 600, seed: int = 0) -> pd.DataFrame:
    """Synonymous and missense variants, told apart by the place in the codon almost alone."""
    rng = np.random.default_rng(seed)
    case = rng.random(n) < 0.4
    return pd.DataFrame(
        {
            "case": case,
            "codon_phase": np.where(
                case, rng.choice(3, n, p=[0.1, 0.1, 0.8]), rng.choice(3, n, p=[0.4, 0.4, 0.2])
            ),
            "exon_distance": rng.integers(0, 200, n),
            "gene": rng.choice([f"g{i}" for i in range(12)], n),
        }
    )


def test_what_is_matched_is_equal_and_no_control_is_drawn_twice():
    table = variants()
    found = panel(table, "case", match=["codon_phase", "gene"], confounders=["exon_distance"])
    assert not found["row"].duplicated().any()
    for _, pair in found.groupby("pair"):
        assert pair["case"].tolist() == [True, False]
        assert pair["codon_phase"].nunique() == pair["gene"].nunique() == 1
    facts = found.context
    assert facts["before"]["codon_phase"] > 0.7 and facts["separation"]["codon_phase"] <= 0.6
    assert facts["n_cases"] + facts["n_unmatched"] == table["case"].sum() and facts["n_cases"] * 2 == len(
        found
    )
    assert panel(table, "case", match=["gene"], per_case=2)["case"].mean() == pytest.approx(1 / 3)


@pytest.mark.parametrize("per_case", [1, 2])
def test_what_is_matched_exactly_is_told_by_nothing(per_case):
    """Case and control are one class: one half by construction, however the parts fall."""
    for seed in range(5):
        found = panel(variants(seed=seed), "case", match=["gene"], per_case=per_case, seed=seed)
        assert found.context["separation"] == {"gene": 0.5}


def test_a_confounder_that_still_separates_is_refused_by_name():
    with pytest.raises(InputError, match=r"'codon_phase'.*Match it"):
        panel(variants(), "case", match=["gene"], confounders=["codon_phase"])
    with pytest.raises(InputError, match=r"got 0\.\d+ \(0\.\d+ to 0\.\d+\)"):
        panel(variants(), "case", match=["gene"], confounders=["codon_phase"])
    loose = panel(variants(), "case", match=["gene"], confounders=["codon_phase"], max_auroc=1)
    assert loose.context["separation"]["codon_phase"] > 0.7


def test_numbers_are_matched_in_doubling_classes():
    found = panel(variants(2000), "case", match=["exon_distance"])
    for _, pair in found.groupby("pair"):
        low, high = sorted(pair["exon_distance"] + 1)
        assert high <= 2 * low


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cases": "nobody"}, "no such column"), ({"match": ["codon"]}, "codon_phase"), ({"cases": [True]}, "one truth value"),
        ({"cases": [True] * 600}, "no case has a control"), ({"confounders": ["x"]}, "no such column"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_one_line(given, message):
    with pytest.raises(InputError, match=message):
        panel(variants(), **{"cases": "case", "match": ["gene"], **given})


def test_noise_separates_nothing():
    rng = np.random.default_rng(0)
    found = [
        separation(pd.Series(rng.integers(0, k, 400)), rng.random(400) < 0.5)
        for k in (3, 64, 10_000)
        for _ in range(10)
    ]
    assert max(found) < 0.6 and abs(np.mean(found) - 0.5) < 0.04


def test_auroc_counts_ties_half():
    assert auroc(np.array([[0.0], [1], [1], [2]]), np.array([False, True, False, True]))[0] == 0.875


def test_a_contrast_finds_what_is_planted_and_replicates_it():
    table = panel(variants(), "case", match=["codon_phase", "gene"])
    rng = np.random.default_rng(1)
    x, again = rng.normal(size=(2, len(table), 20))
    for values, j in ((x, 7), (again, 3)):
        values[:, j] = np.abs(values[:, j]) + 1.2 * table["case"]
    found = contrast(x, table, replicate={"second": again})
    row = found.iloc[0]
    assert (
        row["feature"] == 7
        and row["low"] > 0.6
        and row["q"] < 1e-6
        and row["mean_case"] > row["mean_control"]
    )
    best = found.context["best"]
    assert best["feature"].tolist() == [7, 3] and (best["low"] > 0.55).all()
    assert best["reader"].tolist() == ["features", "second"]


def test_the_best_feature_has_an_interval_with_few_genes_and_is_chance_in_noise():
    """Eight genes: chosen on four and scored on four, both ways round, so that all of them count."""
    table = panel(variants().assign(gene=lambda t: t["gene"].replace({f"g{i}": "g0" for i in range(8, 12)})), "case", match=["codon_phase", "gene"])  # fmt: skip
    rng, inside = np.random.default_rng(3), []
    for _ in range(20):
        best = contrast(rng.normal(size=(len(table), 50)), table).context["best"].iloc[0]
        inside.append(best["low"] <= 0.5 <= best["high"])
    assert sum(inside) >= 17
    x = rng.normal(size=(len(table), 50))
    x[:, 4] = np.abs(x[:, 4]) - 1.2 * table["case"]  # smaller in cases
    x[:, 4] -= x[:, 4].min()
    best = contrast(x, table).context["best"].iloc[0]
    assert best["feature"] == 4 and best["low"] > 0.5


def test_a_contrast_of_noise_is_chance():
    table = panel(variants(), "case", match=["codon_phase", "gene"])
    x = np.random.default_rng(2).normal(size=(len(table), 200))
    found = contrast(x, table)
    inside = (found["low"] <= 0.5) & (found["high"] >= 0.5)
    assert (found["q"] > 0.05).all() and inside.mean() > 0.88
    assert found.context["best"]["low"].iloc[0] < 0.5


def test_values_of_other_rows_are_refused():
    table = panel(variants(), "case", match=["gene"])
    with pytest.raises(InputError, match="other rows"):
        contrast(np.zeros((3, 2)), table)
    assert si.contrast is contrast and si.panel is panel
