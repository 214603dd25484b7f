"""Variants: read, refused where they do not fit, and felt by features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciinterp.discovery.variants import THREE, Variant, parse_variant, variant_effect, variant_effects
from sciinterp.errors import InputError
from sciinterp.samples import Sample, Samples

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
SEQUENCE = "EVQLVESGGGLVKPGGSLRLSCAASGFTFSDYYMSWIRQAPGKG"


@pytest.fixture(scope="module")
def tiny():
    torch = pytest.importorskip("torch")
    from sciinterp.models.antiberty import Antiberty, AntibertyModule
    from sciinterp.sae.base import TopKSAE

    torch.manual_seed(0)
    model = Antiberty(AntibertyModule(n_blocks=2, width=32, n_heads=2, inner=64).eval())
    directions = torch.nn.functional.normalize(torch.randn(64, 32), dim=1)
    sae = TopKSAE(directions.T.clone(), torch.zeros(64), directions, torch.zeros(32), k=8)
    sae.identity = {**model.identity, "site": "layers.0"}
    return model, sae


@given(st.sampled_from(sorted(THREE)), st.integers(1, 5000), st.sampled_from(sorted(THREE)))
@settings(max_examples=60, deadline=None)
def test_every_spelling_reads_the_same(ref, position, alt):
    short = f"{THREE[ref]}{position}{THREE[alt]}"
    wanted = Variant(position - 1, THREE[ref], THREE[alt])
    for text in (short, f"p.{short}", f"p.{ref}{position}{alt}", f"p.({ref}{position}{alt})", f" {short} "):
        assert parse_variant(text) == wanted
    assert parse_variant(f"{ref}{position}del") == Variant(position - 1, THREE[ref], "")
    assert parse_variant(str(wanted)) == wanted


@given(st.text(max_size=12))
@settings(max_examples=80, deadline=None)
def test_any_text_is_a_variant_or_one_clear_error(text):
    try:
        assert parse_variant(text).start >= 0
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "text", ["", "A0G", "42", "AG", "p.Xxx4Gly", "A42*", "A42fs", "c.42A>G", "A42_G44del"]
)
def test_other_notations_are_refused(text):
    with pytest.raises(InputError):
        parse_variant(text)


def test_wrong_reference_says_what_stands_there():
    with pytest.raises(InputError, match="expected A at position 2, got V"):
        parse_variant("A2G").apply(Sample("s", SEQUENCE))
    with pytest.raises(InputError, match="expected position 1 to 44, got 99"):
        parse_variant("A99G").apply(Sample("s", SEQUENCE))


@given(st.integers(0, len(SEQUENCE) - 1), st.sampled_from(LETTERS))
@settings(max_examples=30, deadline=None)
def test_a_variant_and_its_reverse_cancel(position, alt):
    sample = Sample("s", SEQUENCE)
    there = Variant(position, SEQUENCE[position], alt).apply(sample)
    assert Variant(position, alt, SEQUENCE[position]).apply(there).sequence == SEQUENCE


def test_no_change_no_effect(tiny):
    model, sae = tiny
    table = variant_effect(model, sae, SEQUENCE, "C22C")
    assert len(table) == 0
    assert table.context["log_likelihood_change"] == 0


def test_effect_is_the_difference_of_the_codes(tiny):
    from sciinterp.interventions.reading import codes_of

    model, sae = tiny
    table = variant_effect(model, sae, SEQUENCE, "C22S", min_change=0)
    before, after = codes_of(
        model, sae, [Sample("a", SEQUENCE), Sample("b", SEQUENCE[:21] + "S" + SEQUENCE[22:])]
    )
    for row in table.to_dict("records"):
        a, b = before[:, [row["feature"]]].toarray().ravel(), after[:, [row["feature"]]].toarray().ravel()
        assert row["delta"] == pytest.approx((b - a)[row["position"]], abs=1e-6)
        assert abs(row["delta"]) == pytest.approx(np.abs(b - a).max(), abs=1e-6)
        assert (row["change"] == "gained") == (row["before"] == 0 and row["after"] > 0)
        assert (row["change"] == "lost") == (row["after"] == 0 and row["before"] > 0)
    assert (np.diff(table["delta"].abs()) <= 1e-9).all()
    assert np.isfinite(table.context["log_likelihood_change"])


def test_deletion_compares_counterparts(tiny):
    model, sae = tiny
    table = variant_effect(model, sae, SEQUENCE, "C22del", min_change=0)
    assert len(table) > 0
    assert table["position"].between(0, len(SEQUENCE) - 1).all()
    assert table.context["log_likelihood_change"] is None


def test_concepts_come_from_the_hits(tiny):
    model, sae = tiny
    plain = variant_effect(model, sae, SEQUENCE, "C22S")
    feature = int(plain["feature"].iloc[0])
    hits = pd.DataFrame(
        {"feature": [feature, feature, feature], "concept": ["low", "weak", "site"], "f1": [0.4, 0.1, 0.9]}
    )
    named = variant_effect(model, sae, SEQUENCE, "C22S", hits=hits)
    assert named["concepts"].iloc[0] == "site; low"


def test_tables_of_variants(tiny):
    model, sae = tiny
    samples = Samples(["x", "y"], [SEQUENCE, SEQUENCE[5:]])
    hgvs = variant_effects(
        model, sae, samples, pd.DataFrame({"sample": ["x", "y"], "variant": ["p.Cys22Ser", "C17S"]})
    )
    vcf = variant_effects(
        model, sae, samples, pd.DataFrame({"CHROM": ["x", "y"], "POS": ["22", 17], "REF": "C", "ALT": "S"})
    )
    assert pd.DataFrame(hgvs).equals(pd.DataFrame(vcf))
    assert [v["sample"] for v in hgvs.context["variants"]] == ["x", "y"]
    alone = variant_effect(model, sae, samples["x"], "C22S")
    np.testing.assert_allclose(hgvs[hgvs["sample"] == "x"]["delta"], alone["delta"], atol=1e-5)
    long = variant_effects(
        model, sae, samples, pd.DataFrame({"sample": ["x"], "pos": [1], "ref": ["EVQ"], "alt": ["E"]})
    )
    assert long["variant"].iloc[0] == "EVQ1E"


@pytest.mark.parametrize(
    "row",
    [
        {"variant": "C22S"},
        {"sample": "x", "pos": 1},
        {"sample": "x", "pos": "?", "ref": "E", "alt": "A"},
        {"sample": "x", "pos": 1, "ref": "E", "alt": "<DEL>"},
        {"sample": "nobody", "variant": "C22S"},
    ],
)
def test_bad_rows_are_one_clear_line(tiny, row):
    model, sae = tiny
    with pytest.raises(InputError) as error:
        variant_effects(model, sae, Samples(["x"], [SEQUENCE]), pd.DataFrame([row]))
    assert "\n" not in str(error.value)


def test_letters_the_model_does_not_know_are_refused(tiny):
    model, sae = tiny
    with pytest.raises(InputError, match="does not know this letter"):
        variant_effect(model, sae, SEQUENCE, "C22O")


def test_ablation_moves_the_output(tiny):
    from sciinterp.codes import FeatureMatrix
    from sciinterp.interventions.reading import ablation_effect, codes_of

    model, sae = tiny
    samples = Samples(["x", "y"], [SEQUENCE, SEQUENCE[5:]])
    import scipy.sparse as sp

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
    import scipy.sparse as sp

    from sciinterp.codes import FeatureMatrix
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
    effect = {1: 0.4, 2: 1.2, 3: 9.0}
    monkeypatch.setattr(
        "sciinterp.interventions.reading.ablation_effect", lambda m, x, f, seed: {"times_random": effect[f]}
    )
    context = {"counts": {"novel": {}}, "not_run": {}}
    _, felt = module.probe(model, features, [], rows, context=context, n=3, seed=0)
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
