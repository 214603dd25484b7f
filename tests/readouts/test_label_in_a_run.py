"""A label in a run folder: the stage, its files, the report, and the verb."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from sciinterp.cli import app
from sciinterp.errors import InputError
from sciinterp.project import load_run, write_browser
from sciinterp.readouts.files import read_label
from sciinterp.readouts.position_splits import OPTIMISTIC
from sciinterp.readouts.readout import ReadoutSettings
from sciinterp.store import ledger

FAST = ReadoutSettings(n_draws=3, n_permutations=60)


def test_a_label_is_read_in_a_run_and_resumed(small_run, tmp_path, undrawn, undefined):
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    table = load_run(folder).samples.table
    table["isotype"].to_frame("kind").to_csv(tmp_path / "labels.tsv", sep="\t")
    asked = [
        "readout",
        str(folder),
        "--n",
        "24,all",
        "--draws",
        "3",
        "--classes",
        "IGHM=0,IGHD=0,IGHG=1,IGHA=1",
    ]
    done = CliRunner().invoke(app, [*asked, "--column", "kind", "--labels", str(tmp_path / "labels.tsv")])
    assert done.exit_code == 0, done.output
    for word in ("activations", "randomised", "letters", "shuffled labels", "report: ", "Features "):
        assert word in done.output
    assert ledger.is_done(folder, "readout")
    assert undefined(folder / "readout.tsv") == []
    page, content = (folder / "report.html").read_text(), json.loads((folder / "report.json").read_text())
    kept = content["readouts"]["kind"]
    assert "Labels of whole samples" in page and kept["rule"]["sentence"] in done.output
    assert {"readout_0", "rule_0"} <= {f["name"] for f in content["figures"]}
    rows = pd.read_csv(folder / "readout.tsv", sep="\t")
    assert set(rows["label"]) == {"kind"} and set(rows["n"]) == {24, kept["n_samples"]}
    before = (folder / "readout.json").stat().st_mtime_ns
    again = CliRunner().invoke(app, [*asked, "--column", "kind", "--labels", str(tmp_path / "labels.tsv")])
    assert again.exit_code == 0 and (folder / "readout.json").stat().st_mtime_ns == before
    made = load_run(folder)
    write_browser(made)
    index = (folder / "browser" / "data" / "index.js").read_text()
    assert "labels" in index and kept["sentence"].split(" (")[0] in index
    read_label(folder, "long", made.features, table["length"].gt(100).to_list(), n=(None,), settings=FAST)
    assert sorted(json.loads((folder / "readout.json").read_text())["labels"]) == ["kind", "long"]


def test_an_assay_and_variants_are_kept_in_a_run(small_run, tmp_path, undefined):
    """Both verbs with ``--run``: files in the ledger, a part of the report with its figures, concepts of the run."""
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    sample = load_run(folder).samples[0]
    text, rng = sample.sequence, np.random.default_rng(0)
    rows = [f"{text[i]}{i + 1}{x},{rng.normal():.3f}" for i in range(12) for x in "AK" if x != text[i]]
    (tmp_path / "scan.csv").write_text("mutant,DMS_score\n" + "\n".join([*rows, "1A,2"]))
    (tmp_path / "w.fasta").write_text(f">{sample.id}\n{text}\n")
    (tmp_path / "v.tsv").write_text(f"sample\tvariant\n{sample.id}\t{text[4]}5W\n{sample.id}\t1A\n")
    sae, more = str(folder / "sae"), ["--run", str(folder)]
    asked = ["assay", "antiberty", sae, str(tmp_path / "scan.csv"), "--wild-type", str(tmp_path / "w.fasta")]
    done = CliRunner().invoke(app, [*asked, *more])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(
        app, ["variants", "antiberty", sae, str(tmp_path / "w.fasta"), str(tmp_path / "v.tsv"), *more]
    )
    assert done.exit_code == 0, done.output
    assert ledger.is_done(folder, "assay") and ledger.is_done(folder, "variants")
    assert [undefined(folder / name) for name in ("assay.tsv", "variants.tsv")] == [[], []]
    page, content = (folder / "report.html").read_text(), json.loads((folder / "report.json").read_text())
    kept = content["assays"]["scan.csv"]
    assert kept["n_variants"] == len(rows) and kept["n_refused"] == 1
    assert {r["note"] for r in kept["table"] if r["split"] == "random"} == {OPTIMISTIC}
    assert page.count("<small>optimistic</small>") == sum(r["split"] == "random" for r in kept["table"])
    assert {"scan_0", "change_0"} <= {f["name"] for f in content["figures"]}
    (row,) = content["variants"]["rows"]
    assert row["variant"] == f"{text[4]}5W" and row["features"] and content["variants"]["n_refused"] == 1
    assert f'<th scope="row">{row["variant"]}</th>' in page
    rows = pd.read_csv(folder / "assay.tsv", sep="\t")
    assert set(rows["assay"]) == {"scan.csv"} and len(rows) == len(kept["table"])


def test_what_cannot_be_asked_of_a_run_is_one_line(small_run):
    for more, said in (
        (["--column", "isotope"], "isotype"),
        (["--column", "isotype", "--n", "x"], "no such sizes"),
    ):
        wrong = CliRunner().invoke(app, ["readout", str(small_run), *more])
        assert isinstance(wrong.exception, InputError) and said in str(wrong.exception)
