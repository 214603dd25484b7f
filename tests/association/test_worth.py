"""What a dictionary is worth: every sentence says what the numbers say, and flips with them."""

import numpy as np
import pandas as pd
import pytest

from sciinterp.association.worth import GROUPS, worth
from sciinterp.frames import Table

CONCEPTS = [f"c{i}" for i in range(12)]
RNG = np.random.default_rng(0)
NOISE = RNG.normal(0, 0.02, 12)


def run(gap, rivals, *, sets=None):
    """Hits whose features lie ``gap`` above every rival."""
    hits = pd.DataFrame({"concept": CONCEPTS, "selected": True, "f1": 0.5 + gap + NOISE})
    rows = [{"concept": c, "baseline": name, "f1": 0.5} for name in rivals for c in CONCEPTS]
    context = {"baselines": pd.DataFrame(rows, columns=["concept", "baseline", "f1"])}
    return Table(hits, context=context | ({} if sets is None else {"sets": sets}))


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(("gap", "verdict"), [(0.2, "ahead"), (-0.2, "behind"), (0.0, "cannot tell")])
def test_each_answer_flips(group, gap, verdict):
    name = GROUPS[group][0][0]
    found = {w.against: w for w in worth(run(gap, [name]))}
    assert found[group].verdict == verdict
    assert found[group].rival == name
    assert found[group].n == 12
    assert found[group].features - found[group].others == pytest.approx(gap + NOISE.mean())
    assert all(w.verdict == "not run" for k, w in found.items() if k != group)
    words = {
        "ahead": "ahead, mean",
        "behind": "behind, mean",
        "cannot tell": "neither ahead nor behind, mean",
    }
    assert words[verdict] in found[group].sentence


def test_the_strongest_rival_speaks_for_its_group_and_untested_concepts_are_left_out():
    table = run(0.0, ["pca", "ica"])
    table.context["baselines"].loc[table.context["baselines"]["baseline"] == "ica", "f1"] = 0.9
    table.loc[:3, "f1"] = np.nan
    found = worth(table)[1]
    assert (found.rival, found.verdict, found.n) == ("ica", "behind", 8)


def test_one_concept_decides_nothing():
    table = run(0.4, ["randomised"])
    one = Table(table.iloc[:1], context=table.context)
    assert worth(one)[3].verdict == "cannot tell"
    assert "over 1 concept." in worth(one)[3].sentence


def test_sets_are_said_where_they_were_measured():
    rows = [
        {"concept": c, "reader": r, "rule": "weighted", "k": k, "f1": f}
        for c in CONCEPTS
        for r, k, f in [("features", 1, 0.5), ("features", 4, 0.75), ("components", 4, 0.25)]
    ]
    said = [w.sentence for w in worth(run(0.1, ["pca", "randomised"], sets=pd.DataFrame(rows)))]
    assert said[1].endswith("In sets of 4: 0.75 to 0.25 (components).")
    assert "sets" not in said[3]
