"""Variants: read, refused where they do not fit, and felt by features."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest

from sciinterp.errors import InputError
from sciinterp.interventions.variants import variant_effect, variant_effects
from sciinterp.samples import Sample, Samples

SEQUENCE = "EVQLVESGGGLVKPGGSLRLSCAASGFTFSDYYMSWIRQAPGKG"


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
    assert long["variant"].iloc[0] == "V2_Q3del"


BAD_ROWS = [
    {"sample": "x", "variant": "A22W"},
    {"sample": "x", "variant": "p.(Cys22ProfsTer4)"},
    {"sample": "x", "variant": None},
    {"sample": "x", "variant": "C22O"},
    {"sample": "x", "variant": "E1_G44del"},
    {"sample": "nobody", "variant": "C22S"},
    {"variant": "C22S"},
    {"sample": "x", "pos": 1},
    {"sample": "x", "pos": "?", "ref": "E", "alt": "A"},
    {"sample": "x", "pos": 1, "ref": "E", "alt": "<DEL>"},
    {"sample": "x", "pos": 1, "ref": "E", "alt": "."},
    {"sample": "x", "pos": 1, "ref": "E", "alt": "*"},
    {"sample": "x", "pos": 2, "ref": "E", "alt": "A"},
    {"sample": "x", "pos": 99, "ref": "E", "alt": "A"},
]


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_table_of_bad_rows_alone_is_one_clear_line(tiny, row):
    model, sae = tiny
    with pytest.raises(InputError) as error:
        variant_effects(model, sae, Samples(["x"], [SEQUENCE]), pd.DataFrame([row]))
    assert "\n" not in str(error.value) and "row 1" in str(error.value)


@pytest.mark.parametrize("vcf", [True, False])
def test_one_bad_row_does_not_end_a_table(tiny, vcf):
    model, sae = tiny
    good = [
        {"sample": "x", "pos": 22, "ref": "c", "alt": "s"},
        {"sample": "x", "pos": 22, "ref": "C", "alt": "W,S,*"},
    ]
    if not vcf:
        good = [{"sample": "x", "variant": "C22S"}, {"sample": "x", "variant": "C22W"}]
    bad = [r for r in BAD_ROWS if ("pos" in r and "ref" in r) == vcf and "sample" in r]
    frame = pd.DataFrame([good[0], *bad, good[1]])
    found = variant_effects(model, sae, Samples(["x"], [SEQUENCE]), frame)
    told = found.context["variants"]
    assert [v["variant"] for v in told] == (["C22S", "C22W", "C22S"] if vcf else ["C22S", "C22W"])
    assert [v["row"] for v in told] == [1] + [len(frame)] * (len(told) - 1)
    assert [r["row"] for r in found.context["refused"][: len(bad)]] == list(range(2, len(bad) + 2))
    assert len(found.context["refused"]) == len(bad) + vcf
    if vcf:  # the same change however it is written
        one, two = (found[found["variant"] == "C22S"].iloc[i::2].reset_index(drop=True) for i in (0, 1))
        assert len(one) == len(two) > 0


def test_an_empty_table_has_its_columns(tiny):
    model, sae = tiny
    found = variant_effects(
        model, sae, Samples(["x"], [SEQUENCE]), pd.DataFrame({"sample": [], "variant": []})
    )
    assert len(found) == 0 and list(found.columns)[:3] == ["sample", "variant", "feature"]
    assert found.context == {"variants": [], "refused": []}


@pytest.mark.parametrize(
    "text",
    [
        "C22del",
        "G8_G10del",
        "S21_C22insW",
        "C22_A23delinsW",
        "C22delinsWWW",
        "V2dup",
        "V2_L4dup",
        "G44dup",
        "E1del",
    ],
)
def test_effects_of_every_form_agree_with_a_dense_comparison(tiny, text):
    from sciinterp.interventions.reading import codes_of
    from sciinterp.readers.notation import parse_variant

    model, sae = tiny
    sample = Sample("s", SEQUENCE)
    change = parse_variant(text).fitted(sample)
    short, table = change.trimmed(), variant_effect(model, sae, sample, text, min_change=0)
    before, after = (c.toarray().astype(float) for c in codes_of(model, sae, [sample, change.apply(sample)]))
    n, shared = len(SEQUENCE), short.start + min(len(short.ref), len(short.alt))
    tail = short.start + len(short.ref)
    same = [(i, i) for i in range(shared)] + [
        (i, i + len(short.alt) - len(short.ref)) for i in range(tail, n)
    ]
    left = [before[i] for i, _ in same] + [before[i] for i in range(shared, tail)]
    right = [after[j] for _, j in same] + [np.zeros(64) for _ in range(shared, tail)]
    come = range(shared, short.start + len(short.alt))
    for j in come:
        copied = j - len(come) if "dup" in text else min(shared, n - 1)
        left.append(before[copied])
        right.append(after[j])
    delta = np.array(right) - np.array(left)
    wanted = np.abs(delta).max(0)
    found = np.zeros(64)
    found[table["feature"]] = np.abs(table["delta"])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(table["total_before"], before.sum(0)[table["feature"]], rtol=1e-5)
    np.testing.assert_allclose(table["total_after"], after.sum(0)[table["feature"]], rtol=1e-5)
    np.testing.assert_allclose(
        table["before"], [before[p, j] for p, j in zip(table["position"], table["feature"])], atol=1e-5
    )


def test_inserted_letters_are_compared_with_what_stands_there():
    """Repeats with what they repeat, however the change is written; others with the letter behind them."""
    from sciinterp.interventions.variants import counterparts
    from sciinterp.readers.notation import Variant

    sequence = "ACGGGTCAG"
    forms = {
        Variant(6, "C", "CC"): [6],
        Variant(1, "C", "CG"): [2],  # as a VCF writes it, at the left of the run
        Variant(4, "G", "GG"): [4],  # as HGVS writes it, at its right
        Variant(6, "CAG", "CAGCAG"): [6, 7, 8],
        Variant(6, "CAG", "CAGCAGCAG"): [6, 7, 8, 6, 7, 8],
        Variant(5, "T", "TCAG"): [6, 7, 8],
        Variant(0, "A", "TA"): [0],
        Variant(8, "G", "GT"): [8],
        Variant(5, "T", "AAT"): [5, 5],
        Variant(5, "T", "AAC"): [6, 6],
    }
    for change, wanted in forms.items():
        assert counterparts(change, sequence)[0][len(sequence) :].tolist() == wanted, change


def test_a_strong_letter_twice_is_no_gain():
    """Codes that each letter has for itself: of a duplication nothing changes, of an insertion what the letter adds."""
    import scipy.sparse as sp

    from sciinterp.interventions.variants import _compare
    from sciinterp.readers.notation import parse_variant

    def codes(text: str) -> sp.csr_array:
        return sp.csr_array(np.array([[{"G": 13.0}.get(x, 0.0), {"L": 7.0}.get(x, 0.0)] for x in text]))

    def effect(text: str) -> pd.DataFrame:
        sample = Sample("s", "VESGKLV")
        change = parse_variant(text).fitted(sample)
        changed = change.apply(sample).sequence
        return _compare(codes(sample.sequence), codes(changed), change, sample.sequence, {}, 0.05)

    for text in ("G4dup", "G4_K5dup", "K5_L6dup", "S3_G4insG", "G4_K5insGG"):
        assert len(effect(text)) == 0, text
    assert effect("G4_K5insL").iloc[0].tolist() == [1, "gained", 4, 0.0, 7.0, 7.0, 7.0, 14.0, ""]
    assert effect("K5_L6insL").empty and effect("L6_V7insG")["position"].tolist() == [6]


def test_the_table_of_many_is_that_of_each_alone(tiny, monkeypatch):
    """Also where codes are read some samples at a time."""
    model, sae = tiny
    samples = Samples(["x", "y"], [SEQUENCE, SEQUENCE[5:]])
    frame = pd.DataFrame({"sample": ["x", "y", "x"], "variant": ["C22S", "C17S", "V2del"]})
    whole = variant_effects(model, sae, samples, frame)
    monkeypatch.setattr("sciinterp.interventions.variants.MAX_POSITIONS", 50)
    parts = variant_effects(model, sae, samples, frame)
    assert whole["feature"].tolist() == parts["feature"].tolist()
    np.testing.assert_allclose(whole["delta"], parts["delta"], atol=1e-5)


@pytest.mark.parametrize("text", ["C22S", "G8_G10del", "S21_C22insS"])
def test_both_strands_are_read_where_there_are_two(tiny, text):
    """Of a model whose other strand is the sequence backwards: the rows of each are those of reading it so."""
    from sciinterp.readers.notation import Variant, parse_variant

    model, sae = tiny
    two = copy.copy(model)
    two.reverse_complement = lambda sequence: sequence[::-1]
    sample = Sample("s", SEQUENCE)
    change = parse_variant(text).fitted(sample)
    n, back = len(SEQUENCE), SEQUENCE[::-1]
    mirrored = Variant(n - change.start - len(change.ref), change.ref[::-1], change.alt[::-1])
    both = variant_effect(two, sae, sample, text, min_change=0)
    one = variant_effect(model, sae, sample, text, min_change=0)
    other = variant_effect(model, sae, Sample("s", back), mirrored, min_change=0)
    for strand, alone in (("+", one), ("-", other)):
        rows = both[both["strand"] == strand].sort_values("feature")
        np.testing.assert_allclose(
            rows["delta"].abs().sum(), alone["delta"].abs().sum(), rtol=1e-4, atol=1e-5
        )
        assert set(rows["feature"]) == set(alone["feature"])
    place = both[both["strand"] == "-"].set_index("feature")["position"]
    if text == "C22S":
        assert (place == n - 1 - other.set_index("feature")["position"].loc[place.index]).mean() > 0.9
        known = [t.context["log_likelihood_change"] for t in (one, other)]
        assert both.context["log_likelihood_change"] == pytest.approx(np.mean(known), abs=1e-5)
    assert (np.diff(both["delta"].abs()) <= 1e-9).all()
    many = variant_effects(
        two, sae, Samples(["s"], [SEQUENCE]), pd.DataFrame({"sample": ["s"], "variant": [text]})
    )
    assert set(many["strand"]) == {"+", "-"}


def test_letters_the_model_does_not_know_are_refused(tiny):
    model, sae = tiny
    with pytest.raises(InputError, match="does not know this letter"):
        variant_effect(model, sae, SEQUENCE, "C22O")
