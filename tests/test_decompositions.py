"""The comparison of decompositions: every architecture and twin has its row, calibration families judge, it resumes."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import sciinterp as si
from sciinterp import decompositions
from sciinterp.decompositions import MEASURES, DecompositionSettings, compare_decompositions
from sciinterp.errors import InputError, MismatchError
from sciinterp.sae.settings import TrainSettings
from sciinterp.store.sealed import write_sealed

FEW = DecompositionSettings(
    widths=(12,), l0=2, steps=10, batch_size=64, names=("topk", "jumprelu"), twins=("encoder",)
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    rng = np.random.default_rng(0)
    samples = si.Samples(
        [f"s{i}" for i in range(40)],
        ["A" * 20] * 40,
        table=pd.DataFrame({"family": [f"f{i // 2}" for i in range(40)]}),
    )
    x = rng.normal(size=(800, 8)).astype(np.float32)
    rows = np.flatnonzero(x[:, 3] > 1)
    spans = {
        "sample": [f"s{r // 20}" for r in rows],
        "start": rows % 20,
        "end": rows % 20 + 1,
        "concept": "high",
    }
    acts = si.activations_from_array(
        x, samples, out=tmp_path_factory.mktemp("acts") / "a", model="m", site="layers.0"
    )
    split = si.split_families(samples, by="family", seed=0, fractions=(0.6, 0.2, 0.2))
    return acts, si.Annotations(pd.DataFrame(spans)), split


def test_every_dictionary_has_its_row_and_a_comparison_resumes(world, tmp_path):
    acts, annotations, split = world
    table = compare_decompositions(acts, annotations, split=split, settings=FEW, out=tmp_path)
    assert table["dictionary"].tolist() == ["topk", "jumprelu", "topk, frozen encoder"]
    assert table[list(MEASURES)].notna().all(axis=None)
    topk = table.set_index("dictionary").loc["topk"]
    assert topk["l0"] == pytest.approx(2, abs=0.05)
    assert topk["steps"] == 10
    assert (table["steps"] <= 10).all()
    sae = si.train(
        acts, si.TopK(12, k=2), split=replace(split, test=split.calibration), steps=10, batch_size=64
    )
    other = si.train(
        acts,
        si.TopK(12, k=2),
        split=replace(split, test=split.calibration),
        steps=10,
        batch_size=64,
        seed=1,
        order_seed=0,
    )
    assert topk["fve"] == pytest.approx((sae.metrics["fve"] + other.metrics["fve"]) / 2)
    places = sorted(
        str(p.parent.relative_to(tmp_path / "saes")) for p in tmp_path.glob("saes/*/*/metrics.json")
    )
    jumps = [f"trained/jumprelu-12-target_l0=2-seed={seed}" for seed in (0, 1)]
    others = [f"{part}/topk-12-k=2-seed={seed}" for part in ("encoder", "trained") for seed in (0, 1)]
    assert places == sorted(jumps + others)
    kept = json.loads((tmp_path / "topk-12.json").read_text())
    kept["outcome"]["fve"] = 7.0
    write_sealed(tmp_path / "topk-12.json", kept)
    again = compare_decompositions(acts, annotations, split=split, settings=FEW, out=tmp_path)
    assert again["fve"].iloc[0] == 7.0
    with pytest.raises(MismatchError, match="other settings"):
        compare_decompositions(acts, annotations, split=split, settings=replace(FEW, l0=3), out=tmp_path)


def test_the_pace_is_of_the_steps_alone(world, monkeypatch):
    clock, trained = [0.0], []

    def training(rows, jobs):  # the first of a process compiles; each reads and measures beside its steps
        clock[0] += (3.0 if trained else 100.0) + 0.25 * jobs[0].settings.steps
        trained.append(len(rows))

    monkeypatch.setattr(decompositions, "train_together", training)
    monkeypatch.setattr(decompositions.time, "process_time", lambda: clock[0])
    how = TrainSettings(batch_size=64)
    assert decompositions._seconds(world[0], si.TopK(12, k=2), how) == {"seconds": 0.25}


def test_an_architecture_that_is_none_is_refused_by_name():
    with pytest.raises(InputError, match=r"no such architecture.*jumprelu"):
        DecompositionSettings(names=("jumprel",))


def test_a_row_knows_nothing_of_the_others_nor_of_a_folder(world, tmp_path):
    acts, annotations, split = world
    kept = compare_decompositions(acts, annotations, split=split, settings=FEW, out=tmp_path).set_index(
        "dictionary"
    )
    alone = replace(FEW, names=("topk",), twins=("encoder",), widths=(12, 10))
    found = compare_decompositions(acts, annotations, split=split, settings=alone)
    assert found[["n_features", "dictionary"]].values.tolist() == [
        [width, name] for width in (12, 10) for name in ("topk", "topk, frozen encoder")
    ]
    of_width = found[found["n_features"] == 12].set_index("dictionary")
    for name in of_width.index:
        assert of_width.loc[name].to_dict() == pytest.approx(kept.loc[name].to_dict())


def test_the_families_that_judge_are_those_of_calibration_alone(world):
    acts, annotations, split = world
    one = replace(FEW, names=("topk",), twins=(), seeds=(0,))
    found = compare_decompositions(acts, annotations, split=split, settings=one)
    assert found["stability"].isna().all()  # of one seed there is none
    other = replace(split, test=split.calibration, calibration=split.test)
    assert (
        compare_decompositions(acts, annotations, split=other, settings=one)["fve"].item()
        != found["fve"].item()
    )
    unseen = replace(split, test=split.test[:1])  # whatever the test families are
    again = compare_decompositions(acts, annotations, split=unseen, settings=one)
    assert again.iloc[0].drop("stability").to_dict() == found.iloc[0].drop("stability").to_dict()
