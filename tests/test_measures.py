"""Measures of one dictionary: the loss against one computed by hand, each part of the whole against itself alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import sciinterp as si
from sciinterp.association.splitting import absorption, splitting
from sciinterp.errors import InputError, MismatchError
from sciinterp.measures import _thinned, fold_dictionaries, measure_sae, measure_splits, seed_stability
from sciinterp.models import edit
from sciinterp.sae.base import SAE, ThresholdSAE
from sciinterp.sae.darkmatter import dark_matter, unexplained_by_concept
from sciinterp.sae.grid import describe, rows_for_length
from sciinterp.sae.recovered import FRACTION, _chosen, _recovered
from sciinterp.store.tables import read_tsv

SITE, WIDTH, LETTERS = "layers.0", 32, "ACDEFGHIKLMNPQRSTVWY"


@pytest.fixture(scope="module")
def world(tiny: tuple, tmp_path_factory: pytest.TempPathFactory) -> dict:
    rng, (model, _) = np.random.default_rng(0), tiny
    sequences = ["".join(rng.choice(list(LETTERS), n)) for n in rng.integers(12, 30, 36)]
    samples = si.Samples([f"s{i}" for i in range(36)], sequences)
    split = si.split_families(samples, by=[str(i // 2) for i in range(36)], seed=0)
    acts = si.extract(model, samples, site=SITE, out=tmp_path_factory.mktemp("measures") / "acts")
    rows = [(s.id, i, i + 1, f"letter {c}") for s in samples for i, c in enumerate(s.sequence) if c in "ACD"]
    annotations = si.Annotations(pd.DataFrame(rows, columns=["sample", "start", "end", "concept"]))
    sae = si.train(acts, si.TopK(24, k=3), split=split, steps=15, batch_size=64)
    return {
        "model": model,
        "samples": samples,
        "split": split,
        "acts": acts,
        "annotations": annotations,
        "sae": sae,
    }


def of_site(world: dict, decoder: torch.Tensor, b_dec: torch.Tensor | None = None) -> SAE:
    """A dictionary that reads every dimension both ways and writes what it is told to."""
    both = torch.cat([torch.eye(WIDTH), -torch.eye(WIDTH)])
    zero, at = torch.zeros(2 * WIDTH), torch.zeros(WIDTH) if b_dec is None else b_dec
    made = ThresholdSAE(both.T, zero, decoder, at, threshold=zero)
    made.origin = world["sae"].origin
    return made


def exact(world: dict) -> SAE:
    return of_site(world, torch.cat([torch.eye(WIDTH), -torch.eye(WIDTH)]))


def test_what_reconstructs_exactly_loses_nothing_and_what_writes_nothing_is_the_ablation(world: dict) -> None:
    model, few = world["model"], world["samples"].subset(np.arange(9))
    found = si.loss_recovered(model, exact(world), few)
    assert found["loss_sae"] == pytest.approx(found["loss_clean"], abs=1e-5)
    for name in ("zero", "mean"):
        assert np.isnan(found[f"recovered_{name}"]) or found[f"recovered_{name}"] == pytest.approx(
            1, abs=1e-3
        )
    assert found["n"] == sum(max(1, round(FRACTION * n)) for n in few.lengths)
    nothing = si.loss_recovered(model, of_site(world, torch.zeros(2 * WIDTH, WIDTH)), few)
    assert nothing["loss_sae"] == nothing["loss_zero"] == nothing["loss_mean"]
    assert nothing["loss_clean"] == pytest.approx(found["loss_clean"], rel=1e-6)
    centre = torch.linspace(-1, 1, WIDTH)
    constant = of_site(world, torch.zeros(2 * WIDTH, WIDTH), centre)
    told = si.loss_recovered(model, exact(world), few, mean=centre.numpy())
    assert si.loss_recovered(model, constant, few)["loss_sae"] == pytest.approx(told["loss_mean"], rel=1e-5)
    assert told["loss_zero"] == pytest.approx(nothing["loss_zero"], rel=1e-6)


@pytest.mark.parametrize("max_tokens", [16, 40, 4096])
def test_the_loss_is_the_cross_entropy_at_hidden_positions_sample_by_sample(
    world: dict, max_tokens: int
) -> None:
    model, sae, few = world["model"], world["sae"], world["samples"].subset(np.arange(5))
    found = si.loss_recovered(model, sae, few, seed=3, max_tokens=max_tokens)
    losses: dict[str, list[float]] = {"clean": [], "sae": [], "zero": []}
    for number in range(5):
        batch = model.encode([few[number]])
        ids, about = model.targets(batch)
        where = _chosen(about, np.array([number]), 3)
        shown = model.masked(batch, where)
        edits = {
            "clean": lambda rows: rows,
            "sae": lambda rows: sae.reconstruct(rows.float()),
            "zero": torch.zeros_like,
        }
        for name, fn in edits.items():
            with torch.no_grad(), edit(model, SITE, fn):
                scores = model.logits(shown)[0]
            wanted = torch.nn.functional.cross_entropy(scores, ids[0], reduction="none")[where[0]]
            losses[name] += wanted.tolist()
    for name, values in losses.items():
        assert found[f"loss_{name}"] == pytest.approx(np.mean(values), rel=1e-4), name


def test_hidden_positions_are_a_function_of_seed_and_sample() -> None:
    about = torch.ones(3, 40, dtype=torch.bool)
    about[1, 20:], about[2] = False, False
    where = _chosen(about, np.array([7, 8, 9]), 0)
    assert where.sum(1).tolist() == [6, 3, 0] and not (where & ~about).any()
    moved = _chosen(about[[1, 0]], np.array([8, 7]), 0)
    assert torch.equal(moved, where[[1, 0]])
    assert not torch.equal(_chosen(about, np.array([7, 8, 9]), 1), where)
    assert not torch.equal(_chosen(about[:1], np.array([8]), 0)[0], where[0])
    one = torch.zeros(1, 5, dtype=torch.bool)
    one[0, 3] = True
    assert torch.equal(_chosen(one, np.array([0]), 0), one)


def test_what_is_recovered_is_a_share_of_a_gap_that_is_there() -> None:
    rng = np.random.default_rng(0)
    clean = rng.gamma(2, 1, 500)
    values = {"clean": clean, "sae": clean + 0.5, "zero": clean + 2.0, "mean": clean + rng.normal(0, 1, 500)}
    values["mean"] -= (values["mean"] - clean).mean()  # an ablation that changes nothing on average
    found = _recovered(values)
    assert found["recovered_zero"] == pytest.approx(0.75) and np.isnan(found["recovered_mean"])
    assert found["loss_zero"] - found["loss_clean"] == pytest.approx(2) and found["n"] == 500
    order = rng.permutation(500)
    assert _recovered({k: v[order] for k, v in values.items()})["recovered_zero"] == pytest.approx(0.75)
    better = _recovered({**values, "sae": clean - 1})
    assert better["recovered_zero"] > 1  # a reconstruction may do better than the model's own
    assert np.isnan(_recovered({**values, "zero": clean - 1})["recovered_zero"])


def test_a_dictionary_of_another_site_or_of_none_is_refused(world: dict) -> None:
    model, few = world["model"], world["samples"].subset(np.arange(2))
    stranger = exact(world)
    stranger.origin = si.Origin()
    with pytest.raises(MismatchError):
        si.loss_recovered(model, stranger, few, site=SITE)
    with pytest.raises(MismatchError, match="site"):
        si.loss_recovered(model, exact(world), few, site="layers.1")


def test_each_measure_is_the_one_taken_alone(world: dict) -> None:
    sae, acts, split, annotations = (world[name] for name in ("sae", "acts", "split", "annotations"))
    found = measure_sae(sae, acts, world["model"], split=split, annotations=annotations, loss_samples=3)
    assert {name: found[name] for name in ("fve", "l0", "dead")} == {
        n: sae.metrics[n] for n in ("fve", "l0", "dead")
    }
    fit, x, n_tokens = rows_for_length(acts, split, part="test")
    assert n_tokens == len(acts.rows(split.train)) == len(fit)
    assert found["description_length"] == describe(sae, (fit, x, n_tokens))
    few = world["samples"].subset(split.test[np.linspace(0, len(split.test) - 1, 3).astype(int)])
    assert found["loss"] == pytest.approx(
        si.loss_recovered(world["model"], sae, few, mean=fit.mean(0), site=SITE), nan_ok=True
    )
    whole = np.concatenate([fit, x])
    x_hat = sae.reconstruct(whole).numpy()
    halves = np.arange(len(fit)), np.arange(len(fit), len(whole))
    assert found["dark_matter"] == pytest.approx(dark_matter(whole, x_hat, *halves), rel=1e-5)
    table = pd.DataFrame(found["unexplained"])
    assert table["ratio"].is_monotonic_decreasing
    of_test = np.isin(world["samples"].position_sample(), split.test)
    alone = unexplained_by_concept(
        x, x_hat[len(fit) :], annotations.positives(world["samples"])[np.flatnonzero(of_test)],
        list(annotations.position_names), split.position_family(world["samples"])[of_test],
    )  # fmt: skip
    both = table.merge(alone, on="concept")
    assert len(both) == len(annotations.position_names)
    for name in ("ratio", "low", "high", "n"):
        assert np.allclose(both[f"{name}_x"], both[f"{name}_y"], rtol=1e-6, equal_nan=True), name


def test_splitting_and_absorption_are_records_of_their_tables(world: dict) -> None:
    features = si.encode(world["sae"], world["acts"])
    annotations, split = world["annotations"], world["split"]
    hits = si.associate(features, annotations, split=split)
    found = measure_splits(features, annotations, hits, split=split)
    for name, measured in (("splitting", splitting), ("absorption", absorption)):
        table = measured(features, annotations, hits, split=split)
        pd.testing.assert_frame_equal(
            pd.DataFrame(found[name], columns=table.columns), pd.DataFrame(table), check_dtype=False
        )


def test_other_seeds_are_trained_on_the_same_batches_kept_and_compared(world: dict, tmp_path: Path) -> None:
    sae, acts, split = world["sae"], world["acts"], world["split"]
    found = seed_stability(sae, acts, split, tmp_path / "seeds", seeds=3)
    assert sorted(p.name for p in (tmp_path / "seeds").iterdir()) == ["seed1", "seed2"]
    others = [si.load_sae(tmp_path / "seeds" / name) for name in ("seed1", "seed2")]
    assert [other.recipe["order_seed"] for other in others] == [0, 0]
    alone = si.train(acts, si.TopK(24, k=3), split=split, steps=15, batch_size=64, seed=2, order_seed=0)
    assert torch.equal(alone.W_dec, others[1].W_dec)
    x = acts.read(0, acts.n_tokens)[np.sort(acts.rows(split.calibration))]
    features, pairs = si.stability([sae, *others], x=x)
    assert found["shared"] == pairs["shared"].mean() and found["null_shared"] == pairs["null_shared"].mean()
    assert [(row["a"], row["b"]) for row in found["pairs"]] == [(0, 1), (0, 2), (1, 2)]
    kept = read_tsv(tmp_path / "seeds.tsv")
    assert kept["score"].tolist() == pytest.approx(features["score"].tolist(), rel=1e-4)
    assert json.dumps(seed_stability(sae, acts, split, tmp_path / "seeds", seeds=3)) == json.dumps(found)


def test_a_dictionary_that_does_not_say_how_it_was_trained_cannot_be_trained_again(
    world: dict, tmp_path: Path
) -> None:
    stranger, acts, split = exact(world), world["acts"], world["split"]
    with pytest.raises(InputError, match="does not say how it was trained"):
        seed_stability(stranger, acts, split, tmp_path / "seeds", seeds=2)
    features = si.encode(stranger, acts)
    with pytest.raises(InputError, match="does not say how it was trained"):
        fold_dictionaries(stranger, acts, features, world["annotations"], split, tmp_path / "folds")
    assert not list(tmp_path.iterdir())


def test_samples_are_thinned_evenly_and_none_twice(world: dict) -> None:
    samples, numbers = world["samples"], np.arange(3, 33)
    assert list(_thinned(samples, numbers, 100).ids) == [f"s{i}" for i in numbers]
    few = list(_thinned(samples, numbers, 4).ids)
    assert few == ["s3", "s12", "s22", "s32"]
    assert list(_thinned(samples, numbers[:1], 5).ids) == ["s3"]


def test_calibration_families_judge_where_they_are_asked_to(world: dict) -> None:
    acts, split = world["acts"], world["split"]
    rows = {part: rows_for_length(acts, split, part=part) for part in ("calibration", "test")}
    whole = acts.read(0, acts.n_tokens)
    for part, (fit, x, _) in rows.items():
        assert np.array_equal(x, whole[np.sort(acts.rows(getattr(split, part)))])
        assert np.array_equal(fit, whole[np.sort(acts.rows(split.train))])
    none = replace(split, calibration=split.calibration[:0])
    assert np.array_equal(rows_for_length(acts, none)[1], rows["test"][0])
