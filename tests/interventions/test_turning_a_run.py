"""Control in a run folder: the stage, its files, the report, and the verbs."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

from sciinterp.cli import app
from sciinterp.errors import InputError
from sciinterp.interventions.control_matrix import ControlSettings
from sciinterp.interventions.files import read_turning
from sciinterp.project import load_run, turn_features, write_browser, write_report
from sciinterp.report.turned import with_effects
from sciinterp.store import ledger

FAST = ControlSettings(n_samples=2, n_random=2, n_noise=1, n_doses=2)


@pytest.fixture(scope="module")
def turned(small_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("turned") / "run"
    shutil.copytree(small_run, folder)
    made = load_run(folder)
    assert read_turning(folder) is None
    table = turn_features(made, concepts=["residue:Cys104"], settings=FAST)
    write_report(made)
    return folder, table


def test_the_stage_is_in_the_ledger_with_its_files(turned, undefined):
    folder, table = turned
    assert undefined(folder / "turning.tsv") == []
    assert ledger.is_done(folder, "turn")
    kept = read_turning(folder)
    assert kept is not None and len(kept["table"]) == len(table) and kept["settings"]["n_samples"] == 2
    assert {"feature", "means", "neuron", "component", "random", "noise"} <= set(table["kind"])
    rows = pd.read_csv(folder / "turning.tsv", sep="\t")
    assert rows["gain"].to_numpy() == pytest.approx(table["gain"].to_numpy())
    example = kept["examples"][0]
    at = set(example["positions"])
    for name in ("before", "after"):
        changed = [i for i, (a, b) in enumerate(zip(example["own"], example[name])) if a != b]
        assert set(changed) <= at and len(example[name]) == len(example["own"])


def test_the_report_shows_it(turned):
    folder, _ = turned
    page, content = (folder / "report.html").read_text(), json.loads((folder / "report.json").read_text())
    assert "What turning features does" in page and (folder / "figures" / "control_matrix.svg").is_file()
    assert [r["concept"] for r in content["turning"]["summary"]] == ["residue:Cys104"]
    assert "0 of 1 feature" in page  # two samples of too few families prove nothing
    best = content["turning"]["best"]
    assert best["concept"] == "residue:Cys104" and best["example"]["after"] in page and len(best["doses"]) > 3
    assert "On randomised weights" in page and "randomised" in {d["kind"] for d in best["doses"]}


def test_browser_and_candidates_show_it(turned, tmp_path):
    folder, _ = turned
    made = load_run(folder)
    assert made.hits is not None
    feature = int(made.hits.query("selected and concept == 'residue:Cys104'")["feature"].iloc[0])
    chunk = (write_browser(made).parent / "data" / f"features-{feature // 32}.js").read_text()
    shown = json.loads(json.loads(chunk[chunk.index(",") + 1 : -3]))[feature % 32]["turned"]
    assert [one["concept"] for one in shown] == ["residue:Cys104"] and shown[0]["example"]["after"]
    others = {d["kind"] for d in shown[0]["others"]}
    assert others >= {"means", "neuron", "component", "noise"} and others.isdisjoint({"feature", "random"})
    told = read_turning(folder)
    assert told is not None
    told["summary"][0]["control"] = True
    rows = [
        {"feature": feature, "evidence": {"for": ["a"]}},
        {"feature": -1, "evidence": {"features": [feature]}},
        {"feature": feature + 1, "evidence": {}},
    ]
    known = {**told, "table": [{**r, "over_random": 1.0} for r in told["table"]]}
    one, two, other = with_effects(rows, known)
    assert one["evidence"]["for"][0] == "a" and "turns residue:Cys104" in one["evidence"]["for"][1]
    assert len(two["evidence"]["for"]) == 1 and other["evidence"] == {}
    told["summary"][0]["control"] = False
    assert "was not shown to turn" in with_effects(rows, known)[0]["evidence"]["against"][0]


def test_an_unknown_concept_is_named(turned):
    with pytest.raises(InputError, match="no such concept"):
        turn_features(load_run(turned[0]), concepts=["residue:Cys105"], settings=FAST)


def test_verbs_turn_features(turned, small_data, tmp_path, undefined):
    folder, _ = turned
    fasta = tmp_path / "two.fasta"
    fasta.write_text("".join((small_data / "s.fasta").read_text().splitlines(keepends=True)[:4]))
    features = load_run(folder).features
    assert features is not None
    feature = str(int(features.density.argmax()))
    common = ["antiberty", str(folder / "features"), str(fasta), "--feature", feature]
    gone = CliRunner().invoke(app, ["ablate", *common, "--at", "active", "--out", str(tmp_path / "a.tsv")])
    assert gone.exit_code == 0, gone.output
    assert undefined(tmp_path / "a.tsv", "Tokens of ablate and steer") == []
    frame = pd.read_csv(tmp_path / "a.tsv", sep="\t")
    assert frame["written"].any() and frame.loc[frame["written"], "divergence"].gt(0).all()
    more = CliRunner().invoke(app, ["steer", *common, "--strength", "2", "--at", "3,4"])
    assert more.exit_code == 0 and "4 positions written" in more.output
    wrong = CliRunner().invoke(app, ["steer", *common, "--strength", "2", "--at", "x"])
    assert isinstance(wrong.exception, InputError)
