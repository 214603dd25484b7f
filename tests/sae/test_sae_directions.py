"""Each measure moves on a model with randomised weights as its docstring says: AntiBERTy on its real antibodies.

The activations, SAEs and codes are those of the README's notebook; what is added here is small: two short trainings a
side for stability, a dozen chains for the loss.
"""

from pathlib import Path

import numpy as np
import pytest

import sciinterp as si
from sciinterp.measures import measure_sae
from sciinterp.sae.batches import Source
from sciinterp.sae.loop import Job, train_together
from sciinterp.sae.settings import TrainSettings
from sciinterp.sae.stability import stability


@pytest.fixture(scope="module")
def sides(readme_run: tuple[Path, dict]) -> dict[str, dict]:
    """Measures of the model's SAE and of its control's."""
    folder, names = readme_run
    control = folder / "runs/ab/control"
    side = {
        "model": (names["sae"], names["acts"], names["model"]),
        "control": (
            si.load_sae(control / "sae"),
            si.load_activations(control / "activations"),
            names["model"].randomised(0),
        ),
    }
    return {
        name: measure_sae(
            sae, acts, model, split=names["split"], annotations=names["annotations"], loss_samples=12
        )
        | {"metrics": sae.metrics, "acts": acts}
        for name, (sae, acts, model) in side.items()
    }


def both(sides: dict, *path: str) -> tuple[float, float]:
    found = []
    for name in ("model", "control"):
        value = sides[name]
        for key in path:
            value = value[key]
        found.append(value)
    return found[0], found[1]


def test_reconstruction_rises(sides: dict) -> None:
    for key in ("fve", "cosine"):
        model, control = both(sides, "metrics", key)
        assert control > model + 0.03


def test_there_is_no_loss_to_recover(sides: dict) -> None:
    for key in ("recovered_zero", "recovered_mean"):
        model, control = both(sides, "loss", key)
        assert model > 0.9
        assert np.isnan(control)


def test_description_length_falls_and_saves_nothing(sides: dict) -> None:
    for key in ("total", "gaussian"):
        model, control = both(sides, "description_length", key)
        assert control < model
    saved = [
        both(sides, "description_length", "gaussian")[i] - both(sides, "description_length", "total")[i]
        for i in (0, 1)
    ]
    assert saved[0] > 0 > saved[1]


def test_dark_matter_falls_and_its_norm_becomes_predictable(sides: dict) -> None:
    for key in ("fvu", "linear", "nonlinear", "linear_r2"):
        model, control = both(sides, "dark_matter", key)
        assert control < model
    model, control = both(sides, "dark_matter", "norm_r2")
    assert control > model + 0.1


def test_features_come_back_with_another_seed_only_where_there_is_something(
    sides: dict, readme_run: tuple
) -> None:
    split, pairs = readme_run[1]["split"], {}
    for name in ("model", "control"):
        acts = sides[name]["acts"]
        jobs = [Job(si.TopK(512, k=32), TrainSettings(steps=120, seed=s, order_seed=0)) for s in (0, 1)]
        data = Source(acts)
        x = data.take(data.rows_of(split.calibration)[::4])
        pairs[name] = stability(train_together(acts, jobs, split=split), x=x)[1].iloc[0]
    excess = {
        key: {name: pair[key] - pair[f"null_{key}"] for name, pair in pairs.items()}
        for key in ("shared", "decoder", "activation")
    }
    assert excess["shared"]["model"] > excess["shared"]["control"]
    for key in ("decoder", "activation"):  # after 120 steps: .23 and .11, .19 and -.01
        assert excess[key]["model"] > excess[key]["control"] + 0.05
    assert excess["activation"]["control"] < 0.05


def test_what_the_model_knows_is_explained_and_without_it_is_not(sides: dict) -> None:
    tables = {name: {r["concept"]: r for r in sides[name]["unexplained"]} for name in sides}
    assert set(tables["model"]) == set(tables["control"]) >= {"imgt:CDR3", "residue:Cys104"}
    for concept in (
        "residue:Cys104",
        "residue:Cys23",
    ):  # known to the model, and no easier than the rest without it
        assert tables["model"][concept]["high"] < min(1, tables["control"][concept]["low"])
    assert all(r["low"] <= r["ratio"] <= r["high"] for r in tables["model"].values() if r["n"])
