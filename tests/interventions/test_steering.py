"""Interventions by hand: what is written, where, in which unit, and what comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import sciinterp as si
from sciinterp.errors import InputError, MismatchError, ShapeError
from sciinterp.interventions.effect import divergence, run
from sciinterp.interventions.reading import codes_of
from sciinterp.interventions.writing import direction_edit, feature_edit, rows_at, writing
from sciinterp.models import capture, edit
from sciinterp.readouts.readout import ReadoutSettings
from sciinterp.testing import tiny_model

SEQUENCES = ["EVQLVESGG", "QVQLQQSGAEL", "DIQMTQSP"]


@pytest.fixture(scope="module", params=["none", "layer_norm", "constant_norm_rescale"])
def pair(request):
    model, sae = tiny_model()
    sae.input_norm = request.param
    return model, sae


def rows_of(model, samples, edits=()):
    batch = model.encode(samples)
    with writing(model, edits):
        return torch.cat(capture(model, ["layers.0"], batch)["layers.0"]), batch


def test_only_the_features_part_changes(pair):
    """What is left after ablation is the activation less code times direction, in the activation's units, elsewhere the same bits."""
    model, sae = pair
    clean, _ = rows_of(model, SEQUENCES)
    codes = sae.encode(clean).to_dense()
    scale = sae.units(clean)[1]
    for features in ([3], [3, 5, 11]):
        edit = feature_edit(sae, "layers.0", features, lambda c, _: torch.zeros_like(c))
        found, _ = rows_of(model, SEQUENCES, [edit])
        part = codes[:, features] @ sae.W_dec[features] * scale
        assert torch.allclose(found, clean - part, atol=1e-5)
        silent = codes[:, features].eq(0).all(1)
        assert torch.equal(found[silent], clean[silent])


def test_ablation_and_its_own_part_restored_is_the_clean_run(pair):
    model, sae = pair
    batch = model.encode(SEQUENCES)
    clean, _ = rows_of(model, SEQUENCES)
    codes, scale = sae.encode(clean).to_dense()[:, [3]], sae.units(clean)[1]
    gone = feature_edit(sae, "layers.0", [3], lambda c, _: torch.zeros_like(c))
    back = direction_edit("layers.0", sae.W_dec[[3]], torch.ones(1))
    part = codes * scale
    restored = type(back)(back.site, back.directions, lambda rows, places: part)
    one, two = (run(model, batch, edits).scores for edits in ([], [gone, restored]))
    assert one is not None and two is not None
    assert not torch.equal(one, run(model, batch, [gone]).scores)
    assert float((one - two).abs().max()) < 1e-5


def test_strength_counts_in_the_features_own_largest_activation(pair):
    model, sae = pair
    samples = si.Samples(["a", "b", "c"], SEQUENCES)
    largest = max(float(c[:, [3]].max()) for c in codes_of(model, sae, list(samples)))
    clean, batch = rows_of(model, SEQUENCES)
    found = si.steer(model, sae, samples, 3, 2.0)
    step = 2 * largest * sae.W_dec[3] * sae.units(clean)[1]
    with edit(model, "layers.0", lambda rows: rows + step), torch.no_grad():
        by_hand = torch.log_softmax(model.logits(batch), -1)[batch.mask]
    assert np.allclose(found.after, by_hand.numpy(), atol=1e-5)
    # The codes bring the unit with them: of more samples than those that are turned.
    features = si.FeatureMatrix(sae.encode_scipy(clean), samples, sae=sae)
    few = si.steer(model, features, samples[:1], 3, 2.0)
    assert np.allclose(few.after, found.after[:9], atol=1e-5)


def test_places(pair):
    """Everywhere, at positions, by sample, or where the feature is active."""
    model, sae = pair
    samples = si.Samples(["a", "b"], SEQUENCES[:2])

    def written(at):
        return [np.flatnonzero(m).tolist() for m in si.steer(model, sae, samples, 3, 1.0, at=at).written]

    assert written("all") == [list(range(9)), list(range(11))]
    assert written([0, 4]) == [[0, 4], [0, 4]]
    assert written({"b": [10]}) == [[], [10]]
    codes = [c[:, [3]].toarray().ravel() for c in codes_of(model, sae, list(samples))]
    most = max(c.max() for c in codes)
    assert written("active") == [np.flatnonzero(c > np.float32(0.1) * most).tolist() for c in codes]


def test_effect_of_one_sample_is_that_among_others(pair):
    model, sae = pair
    samples = si.Samples(["a", "b", "c"], SEQUENCES)
    features = si.FeatureMatrix(np.concatenate([c.toarray() for c in codes_of(model, sae, list(samples))]), samples, sae=sae)  # fmt: skip
    whole, alone = si.ablate(model, features, samples, 3), si.ablate(model, features, samples[1:2], 3)
    mine = whole.tokens[whole.tokens["sample"] == "b"]
    assert np.allclose(mine["divergence"], alone.tokens["divergence"], atol=1e-6)
    assert whole.tokens["word"].str.cat() == "".join(SEQUENCES)
    assert whole.words().query("sample == 'a' and position == 2")["word"].tolist() == list(model.vocabulary)


def test_divergence_by_hand():
    p, q = torch.tensor([[0.5, 0.5, 0.0]]).log(), torch.tensor([[0.25, 0.75, 0.0]]).log()
    assert float(divergence(p, q)) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3), abs=1e-6)
    assert float(divergence(p, p)) == 0


def test_two_sites_at_once_and_features_of_a_later_one():
    model, sae = tiny_model()
    other = type(sae)(sae.W_enc.flip(1), sae.b_enc, sae.W_dec.flip(0), sae.b_dec, k=8)
    other.origin = model.origin_at("layers.1")
    both = si.steer(model, [sae, other], SEQUENCES, [[3], [5, 6]], [1.0, [0.5, 2.0]])
    one = si.steer(model, sae, SEQUENCES, 3, 1.0, later=other)
    assert both.divergence != one.divergence
    found = one.features.iloc[0]
    codes = codes_of(model, other, list(si.Samples(["a", "b", "c"], SEQUENCES)))
    number = int(found["sample"].removeprefix("sample "))
    assert found["before"] == pytest.approx(float(codes[number][:, [int(found["feature"])]].max()), abs=1e-4)
    assert abs(one.features["change"]).is_monotonic_decreasing


def test_a_readout_is_read_out():
    """What a label's readout says moves as the features do that it reads; unchanged codes say what they said."""
    model, sae = tiny_model()
    rng = np.random.default_rng(0)
    data = ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 12)) for _ in range(40)]
    table = pd.DataFrame({"family": [f"f{i % 20}" for i in range(40)]})
    samples = si.Samples([f"s{i}" for i in range(40)], data, table=table)
    codes = np.concatenate([c.toarray() for c in codes_of(model, sae, list(samples))])
    features = si.FeatureMatrix(codes, samples, sae=sae)
    means = codes.reshape(40, 12, 16)[:, :, 3].mean(1)
    for labels, name in ((means, "number"), (np.where(means > np.median(means), "yes", "no"), "yes")):
        read = si.readout(
            features, labels.tolist(), n=(None,), settings=ReadoutSettings(n_draws=2, n_permutations=9)
        )
        still = si.steer(model, features, samples[:3], 3, 0.0, later=read).labels
        more = si.steer(model, features, samples[:3], 3, 1.0, later=[read, sae])
        said = read.context["reading"].predict(features)
        assert np.allclose(still["before"], said[name].iloc[:3]) and (still["change"] == 0).all()
        assert more.labels["label"].tolist() == [name] * 3 and (more.labels["change"] > 0).all()
        assert np.corrcoef(said[name], means)[0, 1] > 0.5
        assert len(more.features) and set(more.labels["sample"]) == {"s0", "s1", "s2"}
    bare = si.FeatureMatrix(codes, samples)
    read.context["reading"] = replace(read.context["reading"], features=bare)
    with pytest.raises(InputError, match="without their SAE"):
        si.steer(model, features, samples[:3], 3, 1.0, later=read)


def test_hidden_positions_are_hidden_in_both_runs():
    model, sae = tiny_model()
    open_, hidden = (si.steer(model, sae, SEQUENCES, 3, 1.0, hide=h) for h in (None, [2]))
    assert not np.allclose(open_.before[2], hidden.before[2])
    assert len(open_.tokens) == len(hidden.tokens)


def test_patch_brings_the_sources_codes(pair):
    model, sae = pair
    source, target = "EVQLVESGG", "DIQMTQSPA"
    theirs = codes_of(model, sae, list(si.Samples(["s"], [source])))[0]
    feature = int(np.argmax(theirs.toarray().max(0)))
    found = si.patch(model, sae, source, target, feature, at=[4])
    mine = codes_of(model, sae, list(si.Samples(["t"], [target])))[0]
    amount = float(theirs[4, feature] - mine[4, feature])
    edit = direction_edit("layers.0", sae.W_dec[[feature]], torch.tensor([amount]), where=rows_at([np.arange(9) == 4]), units=lambda x: sae.units(x)[1])  # fmt: skip
    by_hand = run(model, model.encode([target]), [edit])
    assert np.allclose(found.after, by_hand.scores.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda m, s: si.ablate(m, s, SEQUENCES, 99), InputError, "0 to 15"),
        (lambda m, s: si.ablate(m, s, SEQUENCES, [3, 3]), InputError, "named twice"),
        (lambda m, s: si.ablate(m, s, SEQUENCES, []), InputError, "none"),
        (lambda m, s: si.ablate(m, s, SEQUENCES, 3.7), InputError, "whole numbers 0 to 15"),
        (lambda m, s: si.ablate(m, s, SEQUENCES, True), InputError, "whole numbers 0 to 15"),
        (lambda m, s: si.ablate(m, s, SEQUENCES, [[3]]), InputError, "whole numbers 0 to 15"),
        (lambda m, s: si.ablate(m, s, SEQUENCES, None), InputError, "whole numbers 0 to 15"),
        (lambda m, s: si.ablate(m, s, [None], 3), InputError, "a sample is None"),
        (lambda m, s: si.ablate(m, s, 3, 3), InputError, "these are no samples"),
        (lambda m, s: si.ablate(s, m, SEQUENCES, 3), InputError, "this is no model"),
        (lambda m, s: si.ablate(m, [], SEQUENCES, []), InputError, "one sequence of features"),
        (lambda m, s: si.steer(m, s, SEQUENCES, 3, "2"), InputError, "one strength a feature"),
        (lambda m, s: si.steer(m, s, SEQUENCES, 3, None), InputError, "one strength a feature"),
        (lambda m, s: si.steer(m, s, SEQUENCES, 3, 1e38), InputError, "no numbers any more"),
        (lambda m, s: si.steer(m, s, SEQUENCES, 3, 1, hide="active"), InputError, "what is hidden"),
        (lambda m, s: si.steer(m, s, SEQUENCES, 3, 1, later=pd.DataFrame()), InputError, "this is no readout"),
        (lambda m, s: si.steer(m, s, SEQUENCES, 3, [1, 2]), InputError, "one strength a feature"),
        (lambda m, s: si.steer(m, s, SEQUENCES, 3, float("nan")), InputError, "not finite"),
        (lambda m, s: si.steer(m, s, SEQUENCES, 3, 1, at=[99]), InputError, "no such position"),
        (lambda m, s: si.steer(m, s, SEQUENCES, 3, 1, at="there"), InputError, "all, active, or positions"),
        (lambda m, s: si.steer(m, s, SEQUENCES, 3, 1, at={"nobody": [1]}), InputError, "no such sample"),
        (lambda m, s: si.steer(m, [s, s], SEQUENCES, 3, 1), InputError, "one sequence of features"),
        (lambda m, s: si.patch(m, s, "EVQ", "EVQL", 3), ShapeError, "position by position"),
        (lambda m, s: si.ablate(m.randomised(1), s, SEQUENCES, 3), MismatchError, "the SAE"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(call, error, says):
    model, sae = tiny_model()
    with pytest.raises(error, match=says):
        call(model, sae)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.module.modules())
