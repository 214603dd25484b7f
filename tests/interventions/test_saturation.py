"""A scan says of each variant what a run of it alone says."""

from __future__ import annotations

import numpy as np
import pytest

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.interventions.reading import MAX_TOKENS, codes_of
from sciinterp.readers.notation import parse_variant
from sciinterp.samples import Sample

SEQUENCE = "EVQLVESGGGLVKPGGSLRLSCAASGFTFSDYYMSWIRQAPGKG"
SOME = ["C22S", "V2A:L4W", "V2dup", "G8_G10del", "E1=", "S21_C22insW"]


@pytest.fixture(scope="module")
def scan(tiny):
    return si.saturate(*tiny, SEQUENCE, positions=[1, 21])


def test_every_substitution_in_order(scan):
    assert scan.shape == (38, 64)
    assert scan.obs["variant"].tolist() == [
        f"{a}{i}{x}" for a, i in (("V", 2), ("C", 22)) for x in "ACDEFGHIKLMNPQRSTVWY" if x != a
    ]
    assert scan.obs["position"].tolist() == [1] * 19 + [21] * 19
    assert scan.uns["wild_type"] == SEQUENCE and scan.obsm["activations"].shape == (38, 64)


def test_it_agrees_with_each_variant_alone(tiny, scan):
    model, sae = tiny
    for row in (0, 25):
        effect = si.variant_effect(model, sae, SEQUENCE, scan.obs["variant"].iloc[row], min_change=0)
        delta = scan.X[[row]].toarray().ravel()
        np.testing.assert_allclose(np.abs(delta[effect["feature"]]), np.abs(effect["delta"]), atol=1e-5)
        assert not np.delete(delta, effect["feature"]).any()
        assert scan.obs["masked_marginal"].iloc[row] == pytest.approx(
            effect.context["log_likelihood_change"], abs=1e-5
        )


def test_any_variants_against_a_dense_comparison(tiny):
    model, sae = tiny
    found = si.saturate(model, sae, Sample("s", SEQUENCE), SOME)
    for row, text in enumerate(SOME):
        change = parse_variant(text).fitted(Sample("s", SEQUENCE))
        a, b = (
            c.toarray()
            for c in codes_of(model, sae, [Sample("s", SEQUENCE), change.apply(Sample("s", SEQUENCE))])
        )
        here = found.layers["here"][[row]].toarray().ravel()
        if change.substitutions:
            at = [v.start for v in change.substitutions]
            np.testing.assert_allclose(here, (b - a)[at].sum(0), atol=1e-5)
        effect = si.variant_effect(model, sae, SEQUENCE, text, min_change=0)
        np.testing.assert_allclose(
            np.abs(found.X[[row]].toarray().ravel()[effect["feature"]]), np.abs(effect["delta"]), atol=1e-5
        )  # fmt: skip
    marginal = found.obs["masked_marginal"].to_numpy()
    assert np.isfinite(marginal).tolist() == [True, True, False, False, True, False]
    assert found.obs["n_changes"].tolist() == [1, 2, 1, 1, 1, 1] and marginal[4] == 0
    single = si.saturate(model, sae, SEQUENCE, ["V2A", "L4W"])
    assert marginal[1] == pytest.approx(single.obs["masked_marginal"].sum(), abs=1e-5)
    assert not np.allclose(marginal[:2], found.obs["wild_type_marginal"][:2])


def test_changes_are_read_where_they_are_asked_for(tiny):
    """At one position: its code with the variant less its code without, wherever the variant is."""
    model, sae = tiny
    sample, place = Sample("s", SEQUENCE), 30
    found = si.saturate(model, sae, sample, SOME, at=np.array([place]))
    for row, text in enumerate(SOME):
        change = parse_variant(text).fitted(sample)
        moved = place + len(change.alt) - len(change.ref)  # every change here is before the place
        before, after = (c.toarray() for c in codes_of(model, sae, [sample, change.apply(sample)]))
        np.testing.assert_allclose(found.X[[row]].toarray()[0], after[moved] - before[place], atol=1e-5)
    np.testing.assert_allclose(found.var["wild_type"], before[place], atol=1e-6)
    everywhere = si.saturate(model, sae, sample, SOME)
    np.testing.assert_allclose(everywhere.var["wild_type"], before.max(0), atol=1e-6)
    assert (np.abs(everywhere.X.toarray()) >= np.abs(found.X.toarray()) - 1e-6).all()
    assert (everywhere.layers["here"] != found.layers["here"]).nnz == 0
    with pytest.raises(InputError, match=r"outside the sample.*got 44"):
        si.saturate(model, sae, sample, SOME, at=[44])


def test_a_scan_runs_the_model_no_more_often_than_it_must(tiny):
    """One pass a batch of mutants and of hidden positions, one for the wild type's codes, one for its letters."""
    model, sae = tiny
    before = model.runs
    scan = si.saturate(model, sae, SEQUENCE, positions=range(6))
    a_batch = MAX_TOKENS // len(SEQUENCE)
    assert model.runs - before == 2 + -(-len(scan) // a_batch) + -(-6 // a_batch)


def test_activations_move_where_the_letter_does(tiny):
    model, sae = tiny
    found = si.saturate(model, sae, SEQUENCE, ["C22S", "C22=", "V2del"])
    dense = found.obsm["activations"]
    assert np.abs(dense[0, 32:]).max() > 0.01 and np.abs(dense[1]).max() < 1e-5
    assert np.abs(dense[2, :32]).max() > 0


def test_causal_models_say_the_whole_sequence(tiny):
    from sciinterp.interventions.reading import sequence_likelihoods
    from sciinterp.models.unirep import Unirep, UnirepModule

    model = Unirep(UnirepModule(8, 1).eval(), name="unirep-64")
    one, two = (sequence_likelihoods(model, [Sample("s", s)]) for s in ("MKTAY", "MKTAYW"))
    both = sequence_likelihoods(model, [Sample("a", "MKTAYW"), Sample("b", "MKTAY")])
    assert one is not None and two is not None and both is not None
    np.testing.assert_allclose(both, np.r_[two, one], atol=1e-4)
    assert (both < 0).all() and one > two


def test_what_cannot_be_tried_is_refused(tiny):
    model, sae = tiny
    for given in ({"variants": []}, {"positions": [99]}, {"variants": ["A1G"]}, {"variants": ["x"]}):
        with pytest.raises(InputError):
            si.saturate(model, sae, SEQUENCE, **given)
