"""The repertoire: what hides comes back, and what breaks is felt. Slow: it makes a whole run first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

DATA = Path(__file__).parents[2] / "data"
# Margin of the variant test, in codes summed over the sample: measured 20.3 against 0.8 for the worse of two others.
MARGIN = 5.0
SHM_MARGIN = 3.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from sciinterp.demo import demo_config
    from sciinterp.project import run

    out = tmp_path_factory.mktemp("repertoire") / "run"
    return run(demo_config(), out)


def test_hidden_concepts_come_back(run):
    from sciinterp.discovery import mask_and_recover

    concepts = ["residue:Cys23", "residue:Trp41", "residue:Cys104", "motif:WGxG", "segment:D"]
    table = mask_and_recover(
        run.features, run.annotations, split=run.split, control=run.control, concepts=concepts
    )
    assert (table["recall"] >= 0.5).all()
    assert set(table["better"]) <= {"features", "single feature", "randomised model"}
    listed = table[table["n_q"] > 0]
    assert (listed["precision_q"] >= 0.8).all()


def test_candidates_on_the_repertoire_are_honest(run):
    found = run.candidates
    exhaustive = set(run.annotations.concepts.query("exhaustive").index)
    assert not set(found.loc[found["kind"] == "missing", "concept"]) & exhaustive
    assert (
        not found["kind"].eq("missing").any()
    )  # every source of the repertoire is computed at every residue
    for row in found[found["kind"] == "novel"].to_dict("records"):
        measures = row["evidence"]["held_out_auroc"]
        assert measures["reader"] >= 0.65
        assert measures["centre"] < max(0.8, measures["reader"] + 0.05)
        assert row["evidence"].get("ablation", {"times_random": 2})["times_random"] > 1


def test_randomised_weights_give_no_list(run):
    from sciinterp.discovery import discover

    found = discover(run.control, run.annotations, pd.DataFrame(), split=run.split)
    assert not (found["q"] <= 0.1).any()


def test_breaking_cys104_is_felt_by_its_features(run):
    from sciinterp.discovery import variant_effects

    samples = run.features.samples
    rng = np.random.default_rng(0)
    held_out = {samples.ids[i] for i in run.split.test}
    frame = run.annotations.frame.query("concept == 'residue:Cys104'")
    rows = []
    for row in frame[frame["sample"].isin(held_out)].head(12).itertuples():
        sequence = samples[row.sample].sequence
        rows.append((row.sample, f"C{row.start + 1}S", True))
        away = [p for p in range(len(sequence)) if abs(p - row.start) > 8 and sequence[p] not in "CS"]
        rows += [(row.sample, f"{sequence[p]}{p + 1}S", False) for p in rng.choice(away, 2, replace=False)]
    table = pd.DataFrame(rows, columns=["sample", "variant", "breaks"])
    effect = variant_effects(run.model, run.sae, samples, table, hits=run.hits, min_change=0)
    match = effect[effect["concepts"].str.contains("residue:Cys104")]
    loss = (match["total_before"] - match["total_after"]).groupby([match["sample"], match["variant"]]).sum()
    table["loss"] = [loss.get((s, v), 0.0) for s, v in zip(table["sample"], table["variant"])]
    broken, others = (
        table[table["breaks"]].set_index("sample")["loss"],
        table[~table["breaks"]].groupby("sample")["loss"].max(),
    )
    assert (broken - others.reindex(broken.index)).median() >= MARGIN


def test_reverting_a_somatic_mutation_is_felt_by_its_features(run):
    from sciinterp.discovery import variant_effects

    samples, hits = run.features.samples, pd.DataFrame(run.hits)
    # Features chosen on training families alone; the mutations are those of held-out ones.
    mine = hits[(hits["concept"] == "shm") & (hits["f1_train"] >= 0.15)]["feature"].astype(int)
    frame = run.annotations.frame.query("concept == 'shm'")
    mutated = {s: set(g) for s, g in frame.groupby("sample")["start"]}
    held_out = {samples.ids[i] for i in run.split.test}
    frame = frame[frame["sample"].isin(held_out) & frame["note"].str.contains("segment=V")]
    rng, rows = np.random.default_rng(0), []
    for row in frame.sample(40, random_state=0).itertuples():
        germline, seen = row.note.split(";")[0].split(">")
        sequence = samples[row.sample].sequence
        rows.append((row.sample, f"{seen}{row.start + 1}{germline}", True))
        # The matched random substitution puts the same letter where the chain is germline and has another one.
        away = [
            p
            for p in range(len(sequence))
            if p not in mutated[row.sample] and abs(p - row.start) > 4 and sequence[p] != germline
        ]
        p = int(rng.choice(away))
        rows.append((row.sample, f"{sequence[p]}{p + 1}{germline}", False))
    table = pd.DataFrame(rows, columns=["sample", "variant", "reverts"])
    effect = variant_effects(run.model, run.sae, samples, table, hits=hits, min_change=0)
    match = effect[effect["feature"].isin(mine)]
    loss = (match["total_before"] - match["total_after"]).groupby([match["sample"], match["variant"]]).sum()
    table["loss"] = [loss.get((s, v), 0.0) for s, v in zip(table["sample"], table["variant"])]
    reverted, others = (table.loc[table["reverts"] == x, "loss"].to_numpy() for x in (True, False))
    assert np.median(reverted - others) >= SHM_MARGIN
