"""What the model says of a candidate: ablation, the smallest mutation that removes a feature, shuffled controls."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from sciinterp.codes import FeatureMatrix
from sciinterp.readers.notation import parse_variant
from sciinterp.samples import Sample, Samples

SEQUENCE = "EVQLVESGGGLVKPGGSLRLSCAASGFTFSDYYMSWIRQAPGKG"


def test_ablation_moves_the_output(tiny):
    from sciinterp.interventions.ablation import ablation_effect
    from sciinterp.interventions.reading import codes_of

    model, sae = tiny
    samples = Samples(["x", "y"], [SEQUENCE, SEQUENCE[5:]])
    features = FeatureMatrix(sp.vstack(codes_of(model, sae, list(samples))), samples, sae=sae)
    busy = int(np.argmax(features.density))
    result = ablation_effect(model, features, busy)
    assert result["kl"] > 0
    assert result["n_samples"] == 2
    silent = np.flatnonzero(features.density == 0)
    if len(silent):
        assert "never fires" in ablation_effect(model, features, int(silent[0]))


@pytest.fixture(scope="module")
def read(tiny):
    """Two samples read by the tiny model."""
    from sciinterp.interventions.reading import codes_of

    model, sae = tiny
    samples = Samples(["x", "y"], [SEQUENCE, SEQUENCE[5:]])
    return model, FeatureMatrix(
        sp.csr_array(sp.vstack(codes_of(model, sae, list(samples)))), samples, sae=sae
    )


def test_the_falsifying_mutation_does_what_it_says(read):
    from sciinterp.discovery.probe import REMOVED, mutation_scan
    from sciinterp.interventions.reading import codes_of

    model, features = read
    outcomes = set()
    for feature in np.flatnonzero(features.density > 0)[:12]:
        column = features.codes[: len(SEQUENCE)][:, [int(feature)]].toarray().ravel()
        if not column.any():
            continue
        at = int(np.argmax(column))
        found = mutation_scan(model, features, "x", at, at + 1, int(feature))
        letters = list(SEQUENCE)
        for one in found["variant"].split(";"):
            change = parse_variant(one)
            assert letters[change.start] == change.ref
            assert abs(change.start - at) <= 5
            letters[change.start] = change.alt
        after = (
            codes_of(model, features.sae, [Sample("m", "".join(letters))])[0][[at]][:, [int(feature)]]
            .toarray()
            .max()
        )
        assert found["before"] == pytest.approx(column[at], rel=1e-4)
        assert found["after"] == pytest.approx(after, abs=1e-4)
        assert found["removes"] == (after <= REMOVED * column[at])
        outcomes.add(found["removes"])
    assert True in outcomes
    assert "silent" in mutation_scan(
        model, features, "x", 0, 1, int(np.flatnonzero(features.codes[[0]].toarray().ravel() == 0)[0])
    )


def test_what_the_model_does_not_feel_is_dropped_and_counted(read, monkeypatch):
    from sciinterp.discovery import probe as module

    model, features = read
    rows = [
        {
            "kind": "novel",
            "sample": "x",
            "start": 3,
            "end": 5,
            "concept": "",
            "feature": f,
            "reason_against": "r.",
            "evidence": {"against": ["r."]},
        }
        for f in (1, 2, 3)
    ]
    effect = {1: {4: 0.4}, 2: {4: 0.9, 16: 1.2}, 3: {4: 9.0}}  # where few directions are near, many decide
    monkeypatch.setattr(
        "sciinterp.interventions.ablation.ablation_effect",
        lambda m, x, f, n_random=4: {"times_random": effect[f][n_random]},
    )
    context = {"counts": {"novel": {}}, "not_run": {}}
    _, felt = module.probe(model, features, [], rows, context=context, n=3)
    assert [r["feature"] for r in felt] == [2, 3]
    assert context["counts"]["novel"]["not felt by the model when ablated"] == 1
    assert "only 1.20 times" in felt[0]["reason_against"]
    assert felt[1]["reason_against"] == "r."


def test_shuffled_codes_belong_to_the_same_samples(read):
    from sciinterp.discovery.probe import shuffled_codes

    model, features = read
    shuffled = shuffled_codes(model, features.sae, features.samples, seed=1)
    assert shuffled.samples.ids == features.samples.ids
    for a, b in zip(shuffled.samples.data, features.samples.data):
        assert sorted(a) == sorted(b) and a != b
    assert (shuffled.codes != features.codes).nnz > 0
