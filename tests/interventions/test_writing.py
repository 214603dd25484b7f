"""What is written into an activation, where, and what is read of it: against plain loops over positions and tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from scipy.stats import entropy

import sciinterp as si
from sciinterp.errors import InputError, ShapeError
from sciinterp.interventions.effect import divergence, measure, run
from sciinterp.interventions.reading import (
    MAX_TOKENS,
    as_samples,
    batches,
    codes_of,
    letters_at,
    sequence_likelihoods,
)
from sciinterp.interventions.writing import (
    Edit,
    codes_at,
    direction_edit,
    every_row,
    feature_edit,
    masks_at,
    rows_at,
    writing,
)
from sciinterp.samples import Sample
from sciinterp.testing import tiny_model

SEQUENCES = ["EVQLVESGG", "QVQLQQSGAEL", "DIQMTQSP"]


@pytest.fixture(scope="module")
def pair():
    return tiny_model()


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_those_whose_span_covers_a_position(seed):
    """Spans of any length, also empty ones and ones that run past the end of their sample."""
    rng = np.random.default_rng(seed)
    masks = [rng.random(n) < 0.3 for n in (1, 4, 9)]
    start = rng.integers(0, 9, 40)
    places = np.stack([rng.integers(0, 3, 40), start, start + rng.integers(0, 4, 40)], 1)
    wanted = [bool(masks[i][a:b].any()) for i, a, b in places]
    assert rows_at(masks)(torch.from_numpy(places)).tolist() == wanted
    assert every_row(torch.from_numpy(places)).all() and len(rows_at(masks)(torch.zeros(0, 3).long())) == 0


@pytest.mark.parametrize(
    ("at", "wanted"),
    [
        ("all", [[0, 1, 2], [0, 1]]),
        ("active", [[0, 1, 2], [0, 1]]),
        ([], [[], []]),
        ([0, 1], [[0, 1], [0, 1]]),
        (np.array([1]), [[1], [1]]),
        (range(2), [[0, 1], [0, 1]]),
        ([1, 1, 0], [[0, 1], [0, 1]]),
        ({}, [[], []]),
        ({"b": [1]}, [[], [1]]),
        ({"a": np.array([True, False, True]), "b": ()}, [[0, 2], []]),
        (np.array([], np.int64), [[], []]),
    ],
)
def test_places_however_they_are_told(at, wanted):
    samples = si.Samples(["a", "b"], ["MKV", "AC"])
    assert [np.flatnonzero(mask).tolist() for mask in masks_at(at, samples)] == wanted


@pytest.mark.parametrize(
    "at", ["there", [2], [-1], [0.5], ["0"], {"c": [0]}, {"a": [3]}, np.array([True, False]), [None]]
)
def test_places_that_are_none_are_one_line(at):
    with pytest.raises(InputError) as error:
        masks_at(at, si.Samples(["a", "b"], ["MKV", "AC"]))
    assert "\n" not in str(error.value)


def test_codes_of_some_features_are_columns_of_all(pair):
    _, sae = pair
    rows = torch.randn(30, 16, generator=torch.Generator().manual_seed(0))
    dense = sae.encode(rows).to_dense()
    for features in ([0], [5, 2, 11], list(range(16))):
        assert torch.equal(codes_at(sae, rows, features), dense[:, features])
    assert codes_at(sae, rows[:0], [3]).shape == (0, 1)


def captured(model, edits):
    seen = []
    with writing(model, edits, seen), torch.no_grad():
        scores = model.logits(model.encode(SEQUENCES))
    return scores, seen


def test_an_edit_of_nothing_is_the_clean_run_to_the_bit(pair):
    model, sae = pair
    clean, _ = captured(model, [])
    nothing = torch.zeros(1)
    for edit in (
        direction_edit("layers.0", sae.W_dec[[3]], nothing),
        feature_edit(sae, "layers.0", [3], lambda codes, _: codes),
        direction_edit("layers.0", sae.W_dec[[3]], nothing + 5, where=lambda p: torch.zeros(len(p), dtype=torch.bool)),
    ):  # fmt: skip
        scores, seen = captured(model, [edit])
        assert torch.equal(scores, clean) and not sum(map(len, seen))


def test_edits_of_one_site_add_up_in_any_order(pair):
    model, sae = pair
    one, two = (direction_edit("layers.0", sae.W_dec[[j]], torch.tensor([a])) for j, a in ((3, 1.5), (7, -2)))
    both = Edit(
        "layers.0", sae.W_dec[[3, 7]], lambda rows, places: torch.tensor([[1.5, -2.0]]).expand(len(rows), 2)
    )
    found = [captured(model, edits)[0] for edits in ([one, two], [two, one], [both])]
    clean = captured(model, [])[0]
    for other in found[1:]:
        assert torch.allclose(found[0], other, atol=1e-5)
    assert not torch.allclose(found[0], clean, atol=1e-2)


def test_places_that_were_written_are_told_with_their_sample(pair):
    model, sae = pair
    masks = [np.arange(n) == n - 1 for n in map(len, SEQUENCES)]
    _, (seen,) = captured(
        model, [direction_edit("layers.0", sae.W_dec[[3]], torch.ones(1), where=rows_at(masks))]
    )
    assert seen.tolist() == [[i, len(s) - 1, len(s)] for i, s in enumerate(SEQUENCES)]


def test_what_does_not_fit_leaves_no_hook(pair):
    model, sae = pair
    hooks = lambda: sum(len(m._forward_hooks) for m in model.module.modules())  # noqa: E731
    with (
        pytest.raises(ShapeError, match="width 16"),
        writing(model, [direction_edit("layers.0", torch.ones(1, 5), torch.ones(1))]),
    ):
        pass  # fmt: skip
    with (
        pytest.raises(ZeroDivisionError),
        writing(model, [direction_edit("layers.0", sae.W_dec[[3]], torch.ones(1))]),
    ):
        raise ZeroDivisionError
    with (
        pytest.raises(InputError, match="no such site"),
        writing(model, [direction_edit("layers.9", sae.W_dec[[3]], torch.ones(1))]),
    ):
        pass  # fmt: skip
    assert hooks() == 0


@pytest.mark.parametrize("seed", range(4))
def test_divergence_is_scipys_and_never_negative(seed):
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.full(7, 0.3), size=(2, 50)).astype(np.float64)
    found = divergence(torch.from_numpy(np.log(p)), torch.from_numpy(np.log(q))).numpy()
    assert found == pytest.approx(rel_entr(p, q).sum(1), abs=1e-9) and found == pytest.approx(
        entropy(p, q, axis=1), abs=1e-9
    )
    assert (found >= 0).all() and not divergence(
        torch.from_numpy(np.log(p)), torch.from_numpy(np.log(p))
    ).any()
    order = rng.permutation(7)
    again = divergence(torch.from_numpy(np.log(p[:, order])), torch.from_numpy(np.log(q[:, order]))).numpy()
    assert again == pytest.approx(found, abs=1e-12)


def test_an_effect_is_of_its_tokens(pair):
    """Its means, words and table by hand from the tokens; nothing turned has no effect and no divergence."""
    model, sae = pair
    samples = si.Samples(["a", "b", "c"], SEQUENCES)
    found = si.steer(model, sae, samples, 3, 2.0, at={"a": [1, 2], "c": [0]})
    tokens = found.tokens
    assert tokens["sample"].tolist() == [n for n, s in zip("abc", SEQUENCES) for _ in s]
    assert found.divergence == pytest.approx(tokens["divergence"].mean())
    written = [
        (s, p)
        for s, p in zip(tokens["sample"], tokens["position"])
        if (s, p) in {("a", 1), ("a", 2), ("c", 0)}
    ]
    assert tokens.loc[tokens["written"], ["sample", "position"]].to_records(index=False).tolist() == written
    assert found.on_target == pytest.approx(tokens["divergence"][tokens["written"]].mean())
    assert found.off_target == pytest.approx(tokens["divergence"][~tokens["written"]].mean())
    facts = found.to_frame().context
    assert (
        facts["n_written"] == 3
        and facts["divergence"] == found.divergence
        and "3 positions written" in repr(found)
    )
    words = found.words()
    assert len(words) == len(tokens) * len(found.vocabulary)
    own = words.merge(tokens[["sample", "position", "word", "after"]], on=["sample", "position", "word"])
    assert own["after_x"].to_numpy() == pytest.approx(own["after_y"].to_numpy())
    assert np.exp(words["after"]).groupby(
        [words["sample"], words["position"]]
    ).sum().to_numpy() == pytest.approx(1, abs=1e-5)
    none = si.steer(model, sae, samples, 3, 2.0, at=[])
    assert none.divergence == 0 and np.isnan(none.on_target) and not none.tokens["written"].any()
    whole = si.steer(model, sae, samples, 3, 2.0)
    assert np.isnan(whole.off_target) and len(whole.features) == len(whole.labels) == 0


def test_an_effect_does_not_depend_on_order_or_company(pair):
    model, sae = pair
    samples = si.Samples(["a", "b", "c"], SEQUENCES)
    codes = np.concatenate([c.toarray() for c in codes_of(model, sae, list(samples))])
    features = si.FeatureMatrix(codes, samples, sae=sae)
    one = si.ablate(model, features, samples, [3, 5], later=sae)
    two = si.ablate(model, features, samples.subset([2, 0, 1]), [5, 3], later=sae)
    for name in "abc":
        mine, theirs = (e.tokens[e.tokens["sample"] == name]["divergence"].to_numpy() for e in (one, two))
        assert mine == pytest.approx(theirs, abs=1e-6)
    key = ["sample", "feature"]
    later = [e.features.set_index(key).sort_index() for e in (one, two)]
    assert later[0].index.equals(later[1].index)
    assert later[0]["change"].to_numpy() == pytest.approx(later[1]["change"].to_numpy(), abs=1e-5)
    assert (later[0]["change"] - (later[0]["after"] - later[0]["before"])).abs().max() < 1e-6


def test_one_of_several_dictionaries_alone_is_itself(pair):
    model, sae = pair
    one, alone = si.ablate(model, [sae], SEQUENCES, [[3]]), si.ablate(model, sae, SEQUENCES, 3)
    assert np.array_equal(one.after, alone.after)


def test_a_sample_put_in_its_own_place_changes_nothing(pair):
    model, sae = pair
    still = si.patch(model, sae, SEQUENCES[0], SEQUENCES[0], list(range(16)))
    assert still.divergence == pytest.approx(0, abs=1e-9)
    many = si.patch(model, sae, ["EVQLVESGG", "DIQMTQSPA"], ["DIQMTQSPA", "EVQLVESGG"], 3)
    for target, source in (("DIQMTQSPA", "EVQLVESGG"), ("EVQLVESGG", "DIQMTQSPA")):
        alone = si.patch(model, sae, source, target, 3).tokens["divergence"].to_numpy()
        number = ["DIQMTQSPA", "EVQLVESGG"].index(target)
        assert many.tokens["divergence"].to_numpy()[9 * number : 9 * number + 9] == pytest.approx(
            alone, abs=1e-6
        )


def test_without_scores_and_later_features_there_is_nothing_to_read(pair, monkeypatch):
    model, _ = pair
    monkeypatch.setattr("sciinterp.interventions.effect.HasLogits", type("Scores", (), {}))
    with pytest.raises(InputError, match=r"nothing to read the effect by.*Give later="):
        measure(model, as_samples(model, SEQUENCES), lambda numbers: [])


def test_a_model_without_scores_is_read_by_later_features(pair, monkeypatch):
    model, sae = pair
    told = si.steer(model, sae, SEQUENCES, 3, 2.0, later=sae).features
    monkeypatch.setattr("sciinterp.interventions.effect.HasLogits", type("Scores", (), {}))
    found = si.steer(model, sae, SEQUENCES, 3, 2.0, later=sae)
    assert len(found.tokens) == 0 and np.isnan(found.divergence) and found.before.shape == (0, 0)
    assert found.features["feature"].tolist() == told["feature"].tolist()
    assert found.features["change"].to_numpy() == pytest.approx(told["change"].to_numpy(), abs=1e-5)


@pytest.mark.parametrize(
    "given", ["EVQL", ["EVQL"], Sample("x", "EVQL"), [Sample("x", "EVQL")], si.Samples(["x"], ["EVQL"])]
)
def test_samples_however_they_are_given(pair, given):
    made = as_samples(pair[0], given)
    assert made.sequences == ["EVQL"] and made.kind == "protein" and made.lengths.tolist() == [4]


@pytest.mark.parametrize("given", [None, 3, b"EVQL", {"a": "EVQL"}, [None], ["EVQL", None]])
def test_what_is_no_sample_is_one_line(pair, given):
    with pytest.raises(InputError, match=r"these are no samples|a sample is None"):
        as_samples(pair[0], given)


def test_batches_hold_every_sample_once_within_the_limit(pair):
    model, sae = pair
    lengths = np.random.default_rng(0).integers(1, 400, 60)
    samples = [Sample(f"s{i}", "A" * n) for i, n in enumerate(lengths)]
    seen = []
    for numbers, batch in batches(model, samples):
        assert batch.lengths.tolist() == lengths[numbers].tolist()
        assert len(numbers) == 1 or len(numbers) * lengths[numbers].max() <= MAX_TOKENS
        seen += numbers.tolist()
    assert sorted(seen) == list(range(60)) and list(batches(model, [])) == []
    together, alone = codes_of(model, sae, samples[:5]), [codes_of(model, sae, [s])[0] for s in samples[:5]]
    for a, b in zip(together, alone):
        assert a.toarray() == pytest.approx(b.toarray(), abs=1e-5)


def test_hidden_letters_against_runs_one_by_one(pair):
    model, _ = pair
    sample, other = Sample("a", SEQUENCES[0]), Sample("b", SEQUENCES[2])
    places = [(sample, 3), (other, 0), (sample, 3), (sample, 8)]
    before = model.runs
    found = letters_at(model, places)
    assert found[0] == found[2] and model.runs - before == 2  # one a length
    for (s, p), told in zip(places, found):
        batch = model.encode([s.data])
        where = torch.zeros_like(batch.mask)
        where[0, batch.mask[0].nonzero().ravel()[p]] = True
        with torch.no_grad():
            scores = torch.log_softmax(model.logits(model.masked(batch, where)).float(), -1)[where][0]
        assert told is not None and set(told) == set(model.alphabet) & {
            w for w in model.vocabulary if len(w) == 1
        }
        for letter, value in told.items():
            assert value == pytest.approx(float(scores[model.vocabulary.index(letter)]), abs=1e-5)
    seen = letters_at(model, places, hide=False)
    clean = run(model, model.encode([sample.data]), []).scores
    assert clean is not None and seen[0] is not None
    assert seen[0]["E"] == pytest.approx(float(clean[3, model.vocabulary.index("E")]), abs=1e-5)
    assert letters_at(model, []) == []


def test_the_likelihood_of_a_sequence_is_the_sum_of_its_letters(pair):
    model, _ = pair
    samples = [Sample(str(i), s) for i, s in enumerate(SEQUENCES)]
    found = sequence_likelihoods(model, samples)
    for sample, value in zip(samples, found):
        told = letters_at(model, [(sample, p) for p in range(sample.length)], hide=False)
        assert value == pytest.approx(sum(t[x] for t, x in zip(told, sample.data)), abs=1e-4)
    assert sequence_likelihoods(model, samples[::-1]) == pytest.approx(found[::-1], abs=1e-4)
    assert (
        letters_at(object(), [(samples[0], 0)]) == [None] and sequence_likelihoods(object(), samples) is None
    )
