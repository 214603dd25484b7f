"""One SAE a fold: trained on the families of the other folds, kept, and found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

import sciinterp as si
from sciinterp.measures import fold_dictionaries

LENGTH, WIDTH = 20, 8


def test_every_fold_has_an_sae_of_the_other_folds_families(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    family = np.repeat(np.arange(12), 3)
    table = pd.DataFrame({"family": family})
    ids = [f"s{i}" for i in range(len(family))]
    samples = si.Samples(ids, ["A" * LENGTH] * len(family), table=table)
    rows = rng.normal(size=(len(family), LENGTH, WIDTH)).astype(np.float32)
    rows[:, 5:8, 0] += 6
    acts = si.activations_from_array(
        rows.reshape(-1, WIDTH), samples, out=tmp_path / "acts", model="m", site="s"
    )
    split = si.split_families(samples, by="family", seed=0)
    sae = si.train(acts, si.TopK(n_features=16, k=2), split=split, steps=20, batch_size=64)
    frame = pd.DataFrame({"sample": ids, "start": 5, "end": 8, "concept": "c"})
    given = (sae, acts, si.encode(sae, acts), si.Annotations(frame), split, tmp_path)
    found = fold_dictionaries(*given)
    (row,) = found["concepts"]
    assert row["n_families"] == 12 and found["n"] == 1
    assert min(row["f1_shared"], row["f1_own"]) > 0.5
    trained = [len(si.load_sae(tmp_path / f"fold{k}").origin.training.families) for k in range(3)]
    assert all(0 < n < 8 + 1 for n in trained)
    assert fold_dictionaries(*given) == found
