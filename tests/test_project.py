"""A run is a function of its inputs: the same bytes twice, and the same after being killed anywhere."""

import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from small import SMALL
from test_cli import run as command

import sciinterp as si
from sciinterp.config import RunConfig, from_mapping
from sciinterp.errors import InputError, MismatchError
from sciinterp.full import run_full
from sciinterp.project import load_run, read_inputs, site_of
from sciinterp.project import run as run_project
from sciinterp.sae import load_sae
from sciinterp.store import ledger
from sciinterp.store.atomic import sha256_file
from sciinterp.store.verify import check_files

MAY_DIFFER = {"timings.jsonl", ".lock"}


def configured(data: Path, **changed: object) -> RunConfig:
    return from_mapping({**SMALL, **changed}, base=data)[0]


def do(data: Path, out: Path, **changed: object):
    return run_project(configured(data, **changed), out)


def content(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.name not in MAY_DIFFER)
    return {str(p.relative_to(folder)): sha256_file(p) for p in files}


def test_the_folder_holds_what_is_promised(small_run: Path) -> None:
    promised = """manifest.json timings.jsonl activations/manifest.json sae/cfg.json sae/sae_weights.safetensors
    sae/metrics.json sae/training.jsonl features/manifest.json control/features/manifest.json split.tsv features.h5ad samples.h5ad
    hits.tsv hits.parquet candidates.tsv candidates.json report.html""".split()
    missing = [name for name in promised if not (small_run / name).is_file()]
    assert not missing
    assert list((small_run / "figures").glob("*.svg"))


def test_the_site_that_a_run_takes_is_said_once(small_data: Path, tmp_path: Path, caplog) -> None:
    model = dict(SMALL["model"])
    del model["site"]
    config = configured(small_data, model=model)
    with caplog.at_level("INFO"):
        made = read_inputs(config, tmp_path / "run")
        assert site_of(made.model, config.model.site) == site_of(made.model, None) == "layers.4"
    assert [m for m in caplog.messages if m.startswith("site:")] == [
        "site: layers.4, the block output nearest to 60% of depth (--site names another)"
    ]


def test_every_file_of_a_run_is_in_the_manual(small_run: Path, root: Path) -> None:
    page = (root / "notebooks" / "files.md").read_text().split("## The ledger")[0]
    known = set(re.findall(r"`([^`]+)`", page))
    assert {"annotations.coverage.tsv", "features/", "hits.tsv"} <= known
    made = {p.relative_to(small_run) for p in small_run.rglob("*") if p.is_file() and p.name != ".lock"}
    assert {str(p) for p in made if f"{p.parts[0]}/" not in known and str(p) not in known} == set()


def test_killed_and_started_again_ends_with_the_same_files(
    small_data: Path, small_run: Path, tmp_path: Path
) -> None:
    """Killed three times at seeded moments, then left to end."""
    code = (
        "import sys, torch; from pathlib import Path; from sciinterp.config import from_mapping\n"
        "from sciinterp.project import run\n"
        f"torch.set_num_threads({torch.get_num_threads()})\n"
        f"run(from_mapping({SMALL!r}, base=Path(sys.argv[1]))[0], Path(sys.argv[2]))\n"
    )
    draw, out = random.Random(0), tmp_path / "run"
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(small_data), str(out)], stderr=subprocess.DEVNULL
        )
        time.sleep(draw.uniform(4, 14))
        child.send_signal(signal.SIGKILL)
        child.wait()
    do(small_data, out)
    assert content(out) == content(small_run)


def test_a_finished_run_is_loaded_as_it_was(small_data: Path, small_run: Path) -> None:
    again, loaded = do(small_data, small_run), load_run(small_run)
    assert again.manifest == loaded.manifest
    assert loaded.hits["selected"].sum() == loaded.hits["concept"].nunique()
    assert loaded.features.n_features == 64


def test_a_finished_run_makes_again_what_is_not_there(
    small_data: Path, small_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(small_run, out)
    (out / "candidates.tsv").unlink()
    (out / "report.html").unlink()
    do(small_data, out)
    assert content(out) == content(small_run)


def test_associate_on_the_command_line_finds_what_lies_beside(small_run: Path, tmp_path: Path) -> None:
    """Activations and control of the run are used without being named, so the hits are the run's, byte for byte."""
    said = command(
        "associate",
        str(small_run / "features"),
        str(small_run / "annotations.tsv"),
        "--out",
        str(tmp_path),
    )
    assert said.returncode == 0
    assert f"activations: {small_run / 'activations'}" in said.stderr
    assert f"control: {small_run / 'control' / 'features'}" in said.stderr
    assert (tmp_path / "hits.tsv").read_bytes() == (small_run / "hits.tsv").read_bytes()
    head = next(line for line in said.stdout.splitlines() if "best_baseline" in line)
    assert head.split()[:3] == ["concept", "feature", "folds_agree"]
    assert head.split()[-2:] == ["q_above", "explained_by"]
    assert "and of choosing where folds_agree, the folds that chose the feature, is not 3;" in said.stdout


def test_a_folder_filled_verb_by_verb_has_a_report_and_a_browser(small_run: Path, tmp_path: Path) -> None:
    """Activations, SAE and codes are those of the run; hits and candidates are made by the verbs."""
    folder = tmp_path / "mine"
    for name in ("activations", "sae", "features"):
        shutil.copytree(small_run / name, folder / name)
    missing = command("report", str(folder))
    assert missing.returncode == 2
    assert "annotations.tsv" in missing.stderr
    given = (str(folder / "features"), str(small_run / "annotations.tsv"), "--out", str(folder))
    assert command("associate", *given).returncode == 0
    for verb, page in (("report", "report.html"), ("browse", "browser/index.html")):
        done = command(verb, str(folder))
        assert done.returncode == 0, done.stderr
        assert (folder / page).is_file()
    assert command("discover", *given).returncode == 0
    assert load_run(folder).candidates is not None
    assert command("info", str(folder)).stdout.startswith("kind: run")


def test_associate_away_from_a_run_says_what_is_missing(small_run: Path, tmp_path: Path) -> None:
    """Codes beside the activations of another model and without a control: neither is used, and the line says so."""
    shutil.copytree(small_run / "features", tmp_path / "features")
    shutil.copytree(small_run / "control" / "activations", tmp_path / "activations")
    said = command(
        "associate",
        str(tmp_path / "features"),
        str(small_run / "annotations.tsv"),
        "--out",
        str(tmp_path / "out"),
    )
    line = next(line for line in said.stdout.splitlines() if line.startswith("not run: "))
    for name in ("neuron", "pca", "ica", "probe", "randomised"):
        assert f"{name} (" in line


@pytest.mark.parametrize(
    "name",
    ["hits.tsv", "hits.parquet", "candidates.json", "manifest.json", "features/shard-000000.safetensors"],
)
def test_a_flipped_bit_of_a_run_is_exit_code_1(small_run: Path, tmp_path: Path, name: str) -> None:
    """The final tables and the manifest are covered; the summary names the file and counts the others."""
    folder = Path(shutil.copytree(small_run, tmp_path / "run"))
    sound = command("verify", str(folder))
    assert sound.returncode == 0
    assert sound.stdout.rstrip().endswith("0 damaged (unchecked: no checksum is kept of them)")
    for place in (0.1, 0.5, 0.9):
        raw = bytearray((small_run / name).read_bytes())
        raw[int(place * len(raw))] ^= 1
        (folder / name).write_bytes(raw)
        found = command("verify", str(folder))
        assert found.returncode == 1
        assert f"\ndamaged: {name} (" in found.stdout
        assert ", 1 damaged" in found.stdout
    if name != "manifest.json":
        (folder / name).unlink()
        assert command("verify", str(folder)).returncode == 1


def test_other_settings_are_refused_and_nothing_changes(small_data: Path, small_run: Path) -> None:
    before = content(small_run)
    with pytest.raises(MismatchError, match="settings"):
        do(small_data, small_run, seed=1)
    assert content(small_run) == before


def test_bad_input_leaves_no_folder(small_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"layers\.99"):
        do(small_data, tmp_path / "run", model={"name": "antiberty", "site": "layers.99"})
    assert not (tmp_path / "run").exists()


def test_the_full_run_measures_model_and_control(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeds, widths and measures on a copy; loss is recovered on the model, and there is none to recover without."""
    run = load_run(shutil.copytree(small_run, tmp_path / "run"))
    monkeypatch.setattr("sciinterp.full.turn_features", turn := Mock())  # its own tests run it
    found = run_full(run, seeds=3, calibrate=False)
    assert turn.called
    assert found["measures"]["loss"]["recovered_zero"] > 0.5
    assert found["measures_control"]["loss"]["recovered_zero"] is None
    assert found["measures_control"]["fve"] > found["measures"]["fve"]
    assert sum(row["selected"] for row in found["width"]) == 1
    assert {(row["architecture"], row["k"]) for row in found["width"]} >= {
        ("matryoshka", run.sae.architecture.k)
    }
    folds = found["one_a_fold"]
    assert folds["low"] <= folds["difference"] <= folds["high"] and len(folds["concepts"]) == folds["n"] > 0
    length = found["measures"]["description_length"]
    assert length["total"] == pytest.approx(length["codes"] + length["dictionary"] + length["residual"])
    assert "Beyond reconstruction" in (run.folder / "report.html").read_text()
    files = check_files(run.folder).set_index("file")["status"]
    assert (files[["full.json", "full/candidates.tsv", "full/candidates.json", "hits.tsv"]] == "ok").all()
    assert not (files == "damaged").any()


def test_another_run_or_training_takes_the_place_of_one_only_where_told(
    small_data: Path, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    shutil.copytree(small_run, out)
    (out / "notes.txt").write_text("mine")
    changed = {"associate": {"level": 0.9}}
    with pytest.raises(MismatchError, match="--overwrite"):
        do(small_data, out, **changed)
    ours = set(ledger.read_files(out))
    monkeypatch.setattr("sciinterp.project._represent", lambda *_: None)
    monkeypatch.setattr("sciinterp.project._conclude", stop := Mock(side_effect=InterruptedError))
    with si.overwriting(), pytest.raises(InterruptedError):
        do(small_data, out, **changed)
    assert stop.called
    assert content(out / "sae") == content(small_run / "sae")
    assert (out / "notes.txt").read_text() == "mine"
    kept = {
        name for name in ours if name.split("/")[0] in ("activations", "sae", "features", "control", "twins")
    }
    assert kept == {name for name in ours if (out / name).exists()} < ours
    assert ledger.read_ledger(out)["settings"]["associate"]["level"] == 0.9
    words = ["train", str(out / "activations"), "--out", str(out / "sae"), "--features", "32", "--steps", "3"]
    assert "--overwrite" in command(*words).stderr
    assert command(*words, "--overwrite").returncode == 0
    assert load_sae(out / "sae").n_features == 32
    codes = ["encode", str(out / "sae"), str(out / "activations"), "--out", str(out / "features")]
    assert command(*codes).returncode == 2
    assert command(*codes, "--overwrite").returncode == 0
