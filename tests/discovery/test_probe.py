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


def row_of(kind: str, feature: int, **evidence) -> dict:
    return {
        "kind": kind, "sample": "x", "start": 3, "end": 5, "concept": "x:site" if kind == "missing" else "",
        "feature": feature, "reason_against": "r.", "evidence": {"against": ["r."], "features": [feature], **evidence},
    }  # fmt: skip


@pytest.fixture
def answers(monkeypatch):
    """What ablation and mutation scan say of each feature."""

    def answer(effect: dict[int, float | str], mutation: dict[int, dict | str]) -> None:
        monkeypatch.setattr(
            "sciinterp.interventions.ablation.ablation_effect",
            lambda m, x, f, n_random=4: (
                said if isinstance(said := effect[f], str) else {"times_random": said}
            ),
        )
        monkeypatch.setattr(
            "sciinterp.discovery.probe.mutation_scan", lambda m, x, sample, start, end, f: mutation[f]
        )

    return answer


def test_missing_candidates_are_tried_where_novel_ones_were_not_looked_for(answers):
    """Of samples without letters there are no novel candidates, and no counts of them."""
    from sciinterp.discovery.probe import probe

    answers({1: 1.2, 2: 0.4}, {1: "no letters", 2: "no letters"})
    context = {"counts": {"missing": {}}, "not_run": {}}
    rows, novel = probe(None, None, [row_of("missing", 1), row_of("missing", 2)], [], context=context, n=2)
    assert novel == [] and len(rows) == 2  # a missing annotation stays, and says so
    assert [row["reason_against"].split("only ")[1][:4] for row in rows] == ["1.20", "0.40"]
    assert context["not_run"] == {"falsifying mutation": "no letters"}


def test_what_the_model_cannot_say_is_said(answers):
    from sciinterp.discovery.probe import probe

    answers({1: "it has no scores", 2: 5.0}, {1: "silent", 2: "silent"})
    context = {"counts": {"novel": {}}, "not_run": {}}
    rows, novel = probe(None, None, [row_of("missing", 1)], [row_of("novel", 2), row_of("novel", 3)],
                        context=context, n=1)  # fmt: skip
    assert context["not_run"]["ablation"] == "it has no scores" and "ablation" not in rows[0]["evidence"]
    assert novel[0]["evidence"]["ablation"] == {"times_random": 5.0} and novel[0]["reason_against"] == "r."
    assert "Not probed: only the first 1" in novel[1]["evidence"]["against"][-1]
    assert context["counts"]["probed"] == {"missing": 1, "novel": 1}


@pytest.mark.parametrize(("alike", "place"), [(0.2, 0), (0.9, 1)])
def test_only_descent_is_a_stronger_reason_than_what_the_model_hardly_feels(answers, alike, place):
    from sciinterp.discovery.probe import probe

    answers({1: 1.2}, {1: "silent"})
    row = row_of("novel", 1, families={"share_of_its_own_alike_around_it": alike})
    (only,) = probe(None, None, [], [row], context={"counts": {}, "not_run": {}}, n=1)[1]
    assert "only 1.20 times" in only["evidence"]["against"][place]
    assert only["reason_against"] == only["evidence"]["against"][0]


@pytest.mark.parametrize("removes", [True, False])
def test_a_mutation_refutes_or_speaks_against(answers, removes):
    from sciinterp.discovery.probe import probe

    found = {"variant": "A4D;C6K", "feature": 1, "before": 2.0, "after": 0.1, "left": 0.05 if removes else 0.4,
             "removes": removes, "n_tried": 31}  # fmt: skip
    answers({1: 9.0}, {1: found})
    (row,), _ = probe(None, None, [row_of("missing", 1)], [], context={"counts": {}, "not_run": {}}, n=1)
    assert row["evidence"]["falsifying_mutation"] == found
    if removes:
        assert row["evidence"]["would_be_falsified_by"].startswith("a A4D;C6K mutant of x that keeps x:site")
        assert "5% of feature 1" in row["evidence"]["would_be_falsified_by"]
    else:
        assert "A4D;C6K leaves 40% of it, the least of 31 tried" in row["evidence"]["against"][-1]


def test_nothing_is_mutated_without_letters_or_a_dictionary(read):
    from sciinterp.discovery.probe import mutation_scan

    model, features = read
    bare = FeatureMatrix(features.codes, features.samples)
    assert mutation_scan(model, bare, "x", 0, 1, 0) == "the codes are without their SAE"
    other = Samples(["x"], [None], lengths=[features.n_positions])
    blind = FeatureMatrix(features.codes, other, sae=features.sae)
    assert "not sequences of letters" in mutation_scan(model, blind, "x", 0, 1, 0)


def test_shuffled_letters_are_the_same_for_a_seed_and_others_for_another(read):
    from sciinterp.discovery.probe import shuffled_codes

    model, features = read
    texts = [
        shuffled_codes(model, features.sae, features.samples, seed=s).samples.sequences for s in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]
