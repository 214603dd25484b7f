"""The capability matrix: every verb that touches a model, on every adapter that declares the ability."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from makers import MAKERS

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.interventions.ablation import ablation_effect
from sciinterp.interventions.effect import run
from sciinterp.interventions.reading import codes_of, letters_at
from sciinterp.interventions.steering import steering_edit, turned_features
from sciinterp.interventions.writing import (
    Edit,
    codes_at,
    direction_edit,
    every_row,
    feature_edit,
    writing,
)
from sciinterp.models import Adapter, CanGenerate, CanMask, GenerationSettings, HasLogits, capture, replayed
from sciinterp.sae import ThresholdSAE

SITE = "layers.0"


@dataclass
class Case:
    """A model with an SAE of one of its sites."""

    model: Adapter
    samples: si.Samples
    split: si.Split
    acts: si.Activations
    sae: si.SAE
    features: si.FeatureMatrix
    folder: Path


@pytest.fixture(scope="module", params=MAKERS)
def case(request, tmp_path_factory) -> Case:
    folder = tmp_path_factory.mktemp("case")
    pytest.importorskip("esm")
    pytest.importorskip("transformers", reason="the extra 'hf' is not installed")
    make, data = MAKERS[request.param]
    model = make(folder)
    names = [f"s{i}" for i in range(len(data))]
    samples = si.Samples(
        names,
        list(data),
        table=pd.DataFrame({"family": names}),
        lengths=[model.count_positions(d) for d in data],
        kind=model.kind,
    )
    split = si.split_families(samples, by="family", seed=0)
    acts = si.extract(model, samples, site=SITE, out=folder / "acts")
    sae = si.train(acts, si.TopK(n_features=16, k=4), split=split, seed=0, steps=20)
    return Case(model, samples, split, acts, sae, si.encode(sae, acts, samples=samples), folder)


def test_extract_train_encode(case: Case) -> None:
    """Rows are those of a pass of the sample alone; codes stand on its positions; read again they are the same."""
    batch = case.model.encode([case.samples[0]])
    alone = capture(case.model, [SITE], batch)[SITE][0].numpy()
    assert np.allclose(case.acts.read_sample(0), alone, atol=1e-4 * max(1.0, float(np.abs(alone).max())))
    assert case.features.n_positions == case.samples.n_positions
    again = codes_of(case.model, case.sae, [case.samples[0]])[0]
    kept = case.features.by_sample(0)
    assert again.shape == kept.shape
    assert abs(again - kept).max() < 1e-2 * max(1.0, abs(kept).max())
    case.sae.check(case.model)


def test_loss_recovered(case: Case) -> None:
    if not isinstance(case.model, HasLogits):
        with pytest.raises(InputError, match="gives no scores"):
            si.loss_recovered(case.model, case.sae, case.samples)
        return
    about = case.model.targets(case.model.encode([case.samples[0]])).mask
    if not about.any():
        with pytest.raises(InputError, match="not about its input"):
            si.loss_recovered(case.model, case.sae, case.samples)
        return
    found = si.loss_recovered(case.model, case.sae, case.samples)
    losses = [found[f"loss_{name}"] for name in ("clean", "sae", "zero", "mean")]
    assert np.isfinite(losses).all() and min(losses) > 0
    assert found["n"] >= len(case.samples)
    again = si.loss_recovered(case.model, case.sae, case.samples)
    assert losses == [again[f"loss_{name}"] for name in ("clean", "sae", "zero", "mean")]
    # What is spliced in matters, and the clean loss does not depend on what is.
    assert len({round(x, 9) for x in losses}) > 1
    other = si.loss_recovered(case.model, case.sae, case.samples, mean=np.zeros(case.sae.d_in, np.float32))
    assert other["loss_clean"] == found["loss_clean"]
    assert other["loss_mean"] == pytest.approx(found["loss_zero"], abs=1e-6)


def test_targets_are_the_letters_of_the_sample(case: Case) -> None:
    """A model that reads one letter a token is scored on that letter, or on the next."""
    if not isinstance(case.model, HasLogits):
        pytest.skip("no scores")
    batch = case.model.encode([case.samples[0]])
    ids, mask = case.model.targets(batch)
    assert ids.shape == mask.shape == batch.mask.shape and not ids[~mask].any()
    data, words = case.samples[0].data, [case.model.vocabulary[i] for i in ids[mask].tolist()]
    if isinstance(data, str) and case.model.kind == "protein":
        assert "".join(w.removeprefix("▁") for w in words) == data
    elif isinstance(data, str) and case.model.kind == "dna" and words:
        assert data.endswith("".join(words))


def test_ablation(case: Case) -> None:
    feature = int(np.argmax(case.features.density))
    found = ablation_effect(case.model, case.features, feature, n_samples=2, n_random=1)
    if not isinstance(case.model, HasLogits):
        assert found == "the model gives no scores over a vocabulary"
        return
    assert isinstance(found, dict)
    assert np.isfinite(found["kl"]) and found["kl"] > -1e-6 and found["kl_random"] > -1e-6
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in case.model.module.modules())


def later_sae(case: Case) -> si.SAE:
    """Random directions at the last site of the case's model."""
    sites = case.model.sites()
    last = sites[sites["kind"].isin(["resid_post", "hidden"])].index[-1]
    width = int(sites.loc[last, "width"])
    directions = torch.nn.functional.normalize(
        torch.randn(8, width, generator=torch.Generator().manual_seed(1)), dim=1
    )
    sae = ThresholdSAE(
        directions.T.clone(), torch.zeros(8), directions, torch.zeros(width), threshold=torch.zeros(8)
    )
    sae.origin = case.model.origin_at(last)
    return sae


def hooks(model: Adapter) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.module.modules())


def test_interventions(case: Case) -> None:
    """Zero strength is the clean run to the bit; a feature taken away, added or patched is felt; no hook stays."""
    later = later_sae(case)
    feature = int(np.argmax(case.features.density))
    turn = (case.model, case.features, case.samples)
    still = si.steer(*turn, feature, 0.0, later=later)
    assert np.array_equal(still.before, still.after) and not len(still.features)
    assert not any(mask.any() for mask in still.written)
    gone, more = si.ablate(*turn, feature, later=later), si.steer(*turn, feature, 3.0, at=[0, 1], later=later)
    for effect in (gone, more):
        assert len(effect.features) and any(mask.any() for mask in effect.written)
        assert not hooks(case.model)
    active = case.features.column(feature) > 0
    if len(active) == len(np.concatenate(gone.written)):
        assert np.array_equal(np.concatenate(gone.written), active)
    assert all(mask.sum() >= 2 for mask in more.written)
    own = si.patch(case.model, case.features, case.samples, case.samples, feature, later=later)
    assert abs(own.features["change"]).max() < 1e-3 if len(own.features) else True
    if not isinstance(case.model, HasLogits):
        assert not len(gone.tokens)
        with pytest.raises(InputError, match="nothing to read the effect by"):
            si.ablate(*turn, feature)
        return
    assert (still.tokens["divergence"] == 0).all() and gone.divergence > 0 and more.divergence > 0
    assert own.divergence < 1e-5 * max(1.0, gone.divergence)
    assert set(gone.tokens["sample"]) == set(case.samples.ids)


def test_what_was_taken_away_and_put_back_is_the_clean_run(case: Case) -> None:
    """The feature's part out of every row and in again: scores and later codes as they were, to 1e-5 of their size."""
    later, feature = later_sae(case), int(np.argmax(case.features.density))
    batch, sites = case.model.encode([case.samples[0]]), [str(later.origin.site)]
    rows = torch.cat(capture(case.model, [SITE], batch)[SITE]).float()
    scale = case.sae.units(rows)[1] if case.sae.input_norm != "none" else 1.0
    part = codes_at(case.sae, rows, [feature]) * scale
    gone = feature_edit(case.sae, SITE, [feature], lambda codes, _: torch.zeros_like(codes))
    back = Edit(SITE, gone.directions, lambda *_: part)
    clean, away, again = (run(case.model, batch, e, [later], sites) for e in ([], [gone], [gone, back]))
    for one, two, three in zip(clean.later, away.later, again.later):
        assert abs(one - three).max() <= 1e-5 * max(1.0, abs(one).max()) and abs(one - two).max() > 0
    if clean.scores is not None and away.scores is not None and again.scores is not None:
        finite = clean.scores.isfinite()
        size = max(1.0, float(clean.scores[finite].abs().max()))
        assert float((clean.scores - again.scores)[finite].abs().max()) <= 1e-5 * size


def test_replayed_passes_are_the_same_to_the_bit(case: Case) -> None:
    """Blocks before a site are computed once; an edit there is felt as ever, and everything is put back."""
    later = later_sae(case)
    sites = [str(later.origin.site)]
    batch = case.model.encode([case.samples[0]])
    edits = [direction_edit(sites[0], later.W_dec[:1], torch.tensor([0.5]))]
    plain, changed = (run(case.model, batch, some, [later], sites) for some in ([], edits))
    own = [m.__dict__.get("forward") for m in case.model.module.modules()]
    with replayed(case.model, sites[0], batch):
        again, moved = (run(case.model, batch, some, [later], sites) for some in ([], edits))
    assert own == [m.__dict__.get("forward") for m in case.model.module.modules()] and not hooks(case.model)
    for one, two in ((plain, again), (changed, moved)):
        assert (one.scores is None) == (two.scores is None)
        assert one.scores is None or torch.equal(one.scores, two.scores)
        assert all(abs(a - b).nnz == 0 for a, b in zip(one.later, two.later))


def test_an_interrupted_intervention_leaves_no_hook(case: Case) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    feature = int(np.argmax(case.features.density))
    handle = case.model.module.get_submodule(case.model.site(SITE).path).register_forward_hook(stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            si.steer(case.model, case.features, case.samples, feature, 1.0, later=later_sae(case))
        assert hooks(case.model) == 1
    finally:
        handle.remove()


def test_likelihoods_of_hidden_letters(case: Case) -> None:
    """Where a letter is a token of its own: all its probabilities, equal whatever else is asked for."""
    one, two, again = letters_at(
        case.model, [(case.samples[0], 3), (case.samples[1], 0), (case.samples[0], 3)]
    )
    if not (isinstance(case.model, HasLogits) and isinstance(case.model, CanMask)):
        assert one is two is again is None
        return
    if one is None:
        pytest.skip("a token covers several positions")
    assert one == again and one.keys() <= set(case.model.alphabet)
    assert 0 < sum(np.exp(list(one.values()))) <= 1 + 1e-5
    alone = letters_at(case.model, [(case.samples[0], 3)])[0]
    assert alone is not None
    assert all(one[k] == pytest.approx(alone[k], abs=1e-3) for k in one)


def test_variant_effect(case: Case) -> None:
    sample = case.samples[0]
    if case.model.kind != "protein":
        pytest.skip("variants are of proteins")
    letter = sample.data[2]
    found = si.variant_effect(case.model, case.sae, sample, f"{letter}3{'A' if letter != 'A' else 'G'}")
    said = found.context["log_likelihood_change"]
    assert (said is not None) == (isinstance(case.model, HasLogits) and isinstance(case.model, CanMask))
    assert said is None or np.isfinite(said)


def test_control(case: Case) -> None:
    """The same recipe on weights drawn anew: other codes, on the same positions, of a model that says so."""
    control = si.randomised_control(
        case.model, case.sae, case.samples, split=case.split, out=case.folder / "control"
    )
    assert control.codes.shape == case.features.codes.shape
    assert abs(control.codes - case.features.codes).sum() > 0
    assert case.model.origin.randomised_seed is None
    random = case.model.randomised(0)
    assert random.origin.randomised_seed == 0
    assert random.origin.weights_sha256 != case.model.origin.weights_sha256


def test_generate(case: Case) -> None:
    """Zero strength writes the same, step by step; what may not change or be drawn is left; each draw has its own seed."""
    if not isinstance(case.model, CanGenerate):
        pytest.skip("does not write")
    first = case.samples[0]
    n = first.length
    settings = GenerationSettings(positions=(n - 4, n - 2, n - 1), without="A", rounds=2)
    write = partial(case.model.generate, first, seed=1, settings=settings)
    plain, feature = write(n=2), int(np.argmax(case.features.density))
    turned = turned_features(case.model, case.features, feature, case.samples)
    for strength, same in ((0.0, True), (1e4, None)):
        edit = steering_edit(turned, np.array([strength]), where=every_row)
        written: list[torch.Tensor] = []
        runs = case.model.runs
        with writing(case.model, [edit], written):
            found = write(n=2)
        assert len(written) == case.model.runs - runs > 0 and not hooks(case.model)
        assert all(len(rows) for rows in written) == bool(strength)
        assert same is None or (found == plain) == same
    assert write(n=1) == plain[:1] and len(plain) == 2
    if isinstance(first.data, str):
        for text in plain:
            changed = [i for i, (a, b) in enumerate(zip(text, first.data)) if a != b]
            assert len(text) == n and {*changed} <= {n - 4, n - 2, n - 1}
            assert not any(text[i] == "A" for i in changed)


def test_a_device_that_is_not_there_is_one_line_before_any_work(case: Case) -> None:
    for device in ("cuda:99", "nonsense", "meta:x"):
        with pytest.raises(InputError, match=r"no such device here.*cpu"):
            case.model.placed(device, "float32")
    assert case.model.placed("cpu", "bfloat16").dtype == "bfloat16"
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("norm", ["none", "constant_norm_rescale", "layer_norm"])
def test_an_exact_sae_loses_nothing_whatever_its_input_norm(case: Case, norm: str) -> None:
    """What is scaled before encoding is scaled back before it takes the activation's place."""
    if not isinstance(case.model, HasLogits):
        pytest.skip("no scores")
    eye, zero = torch.eye(case.sae.d_in), torch.zeros(2 * case.sae.d_in)
    both = torch.cat([eye, -eye])
    exact = ThresholdSAE(both.T, zero, both, zero[: case.sae.d_in], threshold=zero)
    exact.input_norm, exact.origin = norm, case.sae.origin
    try:
        found = si.loss_recovered(case.model, exact, case.samples)
    except InputError:
        pytest.skip("no likelihood of its own letters, refused by name")
    assert found["loss_sae"] == pytest.approx(found["loss_clean"], rel=1e-3, abs=1e-3)


def test_what_replaces_an_activation_has_its_units(case: Case) -> None:
    """Without a mean of its own, the ablation puts the SAE's bias there: scaled back, not as the encoder sees it."""
    if not isinstance(case.model, HasLogits):
        pytest.skip("no scores")
    eye, zero = torch.eye(case.sae.d_in), torch.zeros(case.sae.d_in)
    mute = ThresholdSAE(eye, zero - 1e9, eye, zero + 0.1, threshold=zero)  # no feature ever speaks
    mute.input_norm, mute.origin = "constant_norm_rescale", case.sae.origin
    try:
        found = si.loss_recovered(case.model, mute, case.samples)
    except InputError:
        pytest.skip("no likelihood of its own letters, refused by name")
    assert found["loss_mean"] == found["loss_sae"]
