"""The command line: every verb has help that loads nothing heavy, and bad input is one line, a code, and nothing written."""

import contextlib
import io
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import sciinterp as si
from sciinterp.cli import main
from sciinterp.cli.options import folded
from sciinterp.models import list_models

VERBS = [
    "demo",
    "init",
    "run",
    "control",
    "models",
    "sites",
    "saes",
    "tracks",
    "fit",
    "extract",
    "train",
    "encode",
    "associate",
    "discover",
    "report",
    "browse",
    "benchmark",
    "sweep-sites",
    "zoo",
    "verify",
    "info",
]


@dataclass
class Result:
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str) -> Result:
    """The command line in this process: what it prints and its exit code."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["sciinterp", *arguments])
        patch.setenv("COLUMNS", "200")
        try:
            main()
        except SystemExit as stop:
            return Result(int(stop.code or 0), out.getvalue(), err.getvalue())
    return Result(0, out.getvalue(), err.getvalue())


def assert_one_line(result: Result, *words: str) -> None:
    """Exit code not 0 and exactly one error line holding these words; anything else raises."""
    assert result.returncode not in (0, 1), result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "a.fasta"
    path.write_text(">a\nEVQLVESGGGLVQPGGSLRLSCAAS\n>b\nQVQLQQSGAELARPGASVKMSCKAS\n")
    return path


def test_help_lists_every_verb() -> None:
    result = run("--help")
    assert result.returncode == 0
    for verb in VERBS:
        assert f"\n  {verb} " in result.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['sciinterp', '--help']\nfrom sciinterp.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('HEAVY', sorted({'torch', 'pandas', 'scipy', 'matplotlib', 'numba'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "HEAVY []" in result.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    result = run(verb, "--help")
    assert result.returncode == 0
    assert "Usage" in result.stdout


WRITERS = ["demo", "run", "extract", "train", "encode", "control", "sweep-sites"]


@pytest.mark.parametrize("verb", WRITERS)
def test_every_verb_that_keeps_to_a_plan_can_replace_another(verb: str) -> None:
    assert "--overwrite" in run(verb, "--help").stdout


@pytest.mark.parametrize("verb", ["run", "extract", "control", "sweep-sites"])
def test_every_verb_that_reads_cells_can_name_their_matrix(verb: str) -> None:
    said = run(verb, "--help").stdout
    assert "--layer" in said
    assert "--raw" in said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "/data/mine"), "'/data/mine': Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(36, "File name too long", "n" * 5000), "File name too long"),
    ],
)
def test_what_the_system_refuses_is_one_line(error: OSError, said: str, monkeypatch) -> None:
    def refused(*_: object) -> None:
        raise error

    monkeypatch.setattr("sciinterp.store.describe.info", refused)
    assert_one_line(run("info", "anything"), said)


@pytest.mark.parametrize(
    ("words", "near"),
    [
        ("run --modell esm2-8m", "--model"),
        ("train acts --out o --step 3", "--steps"),
        ("encode a b --out o --divice cpu", "--device"),
        ("--verbos info x", "--verbose"),
    ],
)
def test_an_option_that_is_not_there_names_the_nearest(words: str, near: str) -> None:
    assert_one_line(run(*words.split()), "No such option", "Possible options", near)


def test_a_configuration_is_of_a_model_that_there_is(tmp_path: Path) -> None:
    assert_one_line(
        run("init", str(tmp_path / "a.toml"), "--model", "unirep64"), "no such model", "'unirep-64'"
    )
    assert not (tmp_path / "a.toml").exists()
    assert run("init", str(tmp_path / "a.toml"), "--model", "unirep-64").returncode == 0
    assert 'name = "unirep-64"' in (tmp_path / "a.toml").read_text()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One of each thing that verbs take by place, tiny."""
    out = tmp_path_factory.mktemp("made")
    samples, rows = si.Samples(["a", "b"], ["MKVLA", "GGST"]), np.random.default_rng(0).normal(size=(9, 6))
    acts = si.activations_from_array(rows, samples, model="mine", site="last", out=out / "activations")
    sae = si.train(acts, si.TopK(n_features=8, k=2), steps=3, batch_size=4, out=out / "sae")
    si.encode(sae, acts, out=out / "features")
    (out / "s.fasta").write_text(">a\nMKVLA\n>b\nGGST\n")
    (out / "a.tsv").write_text("sample\tstart\tend\tconcept\na\t1\t3\tx\n")
    names = {
        "SAE": "sae",
        "ACTS": "activations",
        "CODES": "features",
        "RUN": "",
        "FASTA": "s.fasta",
        "TSV": "a.tsv",
    }
    return {name: str(out / place) for name, place in names.items()} | {"MODEL": "unirep-64"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("encode ACTS SAE", "this is a store of activations, not an SAE"),
        ("encode RUN ACTS", "this is the folder of a run, not an SAE"),
        ("encode SAE CODES", "this is a store of codes, not a store of activations"),
        ("associate TSV CODES", "this is a store of codes, not a file of annotations"),
        ("discover SAE TSV", "this is an SAE, not a store of codes"),
        ("control MODEL FASTA SAE", "this is a file of sequences, not an SAE"),
        ("extract FASTA MODEL --site layers.1", "this is a file of sequences, not the name of a model"),
        ("sweep-sites MODEL TSV FASTA --site layers.1", "a file of sequences, not a file of annotations"),
        ("ablate MODEL FASTA CODES --feature 1", "this is a file of sequences, not a store of codes"),
        ("steer MODEL SAE FASTA --feature 1 --strength 1", "this is an SAE, not a store of codes"),
        ("fit MODEL SAE FASTA", "this is an SAE, not the name of a model"),
        ("assay MODEL TSV SAE", "this is an SAE, not a table of variants"),
        ("variants MODEL CODES FASTA TSV", "this is a store of codes, not an SAE"),
    ],
)
def test_places_in_another_order_are_told_apart(
    words: str, said: str, made: dict[str, str], tmp_path: Path
) -> None:
    """An SAE was looked for among the shards of activations: 'several SAEs are here, name the file of one'."""
    verb, *given = (made.get(word, word) for word in words.split())
    found = run(verb, *given, "--out", str(tmp_path / "new" if verb != "fit" else tmp_path))
    assert_one_line(found, said, f"The order is sciinterp {verb} ")
    assert not (tmp_path / "new").exists()


def test_a_folder_may_have_the_name_of_a_model(
    made: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "antiberty").symlink_to(made["RUN"], target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    assert_one_line(
        run("extract", "antiberty", "none.fasta", "--site", "layers.1", "--out", "new"), "none.fasta"
    )


def test_load_sae_says_what_else_it_was_given(made: dict[str, str]) -> None:
    for name, kind in {
        "ACTS": "a store of activations",
        "CODES": "a store of codes",
        "RUN": "the folder of a run",
    }.items():
        with pytest.raises(si.errors.InputError, match=f"this is {kind}, not an SAE"):
            si.load_sae(made[name])


def test_an_sae_that_says_nothing_is_told_its_origin(tmp_path: Path) -> None:
    """The error named ways of Python alone."""
    samples, rows = si.Samples(["a", "b"], ["MKVLA", "GGST"]), np.random.default_rng(0).normal(size=(9, 6))
    acts, sae = tmp_path / "acts", tmp_path / "sae"
    si.activations_from_array(rows, samples, model="mine", site="layer 12", out=acts)
    made = si.train(rows, si.TopK(n_features=8, k=2), steps=3, batch_size=4)
    made.export(sae, format="dictionary_learning")
    given = ("encode", str(sae), str(acts), "--out", str(tmp_path / "features"))
    assert_one_line(run(*given), "sciinterp fit SAE MODEL SAMPLES --out FOLDER", "--origin MODEL SITE")
    assert_one_line(run("-q", *given, "--origin", "mine", "layer 11"), "site layer 11", "site layer 12")
    assert not (tmp_path / "features").exists()
    assert run(*given, "--origin", "mine", "layer 12").returncode == 0
    assert si.load_features(tmp_path / "features").origin.site == "layer 12"


@pytest.mark.parametrize(
    "words", ["frob", "info --frob", "info", "models x", "extract a b --site s --out o --dtype"]
)
def test_wrong_usage_is_one_line_that_leads_to_help(words: str) -> None:
    assert_one_line(run(*words.split()), "--help'")


def test_unknown_model(fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert_one_line(
        run("extract", "antibertie", str(fasta), "--site", "layers.4", "--out", str(out)),
        "antibertie",
        "antiberty",
    )
    assert not out.exists()


def test_missing_weights(fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(
        "extract",
        "antiberty",
        str(fasta),
        "--site",
        "layers.4",
        "--out",
        str(out),
        "--weights",
        str(tmp_path / "no.bin"),
    )
    assert_one_line(result, "no such file", "no.bin")
    assert not out.exists()


def test_empty_fasta(tmp_path: Path) -> None:
    empty = tmp_path / "empty.fasta"
    empty.write_text("")
    assert_one_line(
        run("extract", "antiberty", str(empty), "--site", "layers.4", "--out", str(tmp_path / "out")),
        "empty.fasta",
    )
    assert not (tmp_path / "out").exists()


def test_no_such_file(tmp_path: Path) -> None:
    assert_one_line(
        run(
            "extract",
            "antiberty",
            str(tmp_path / "no.fasta"),
            "--site",
            "layers.4",
            "--out",
            str(tmp_path / "out"),
        ),
        "no.fasta",
    )


def test_illegal_letters_name_sample_and_position(tmp_path: Path) -> None:
    path = tmp_path / "bad.fasta"
    path.write_text(">fine\nEVQL\n>broken\nEVJQL\n")
    assert_one_line(
        run("extract", "antiberty", str(path), "--site", "layers.4", "--out", str(tmp_path / "out")),
        "broken",
        "position 2 (counted from 0)",
        "'J'",
        "--unreadable skip",
    )
    assert not (tmp_path / "out").exists()


def test_unreadable_samples_are_left_out_on_request_and_counted(tmp_path: Path) -> None:
    path, out = tmp_path / "bad.fasta", tmp_path / "out"
    path.write_text(">fine\nEVQL\n>broken\nEVJQL\n>long\n" + "A" * 700 + "\n>good\nQVQL\n")
    call = ("extract", "antiberty", str(path), "--site", "layers.4", "--out", str(out))
    assert_one_line(run(*call, "--unreadable", "drop"), "'stop' or 'skip'")
    result = run(*call, "--unreadable", "skip")
    assert result.returncode == 0, result.stderr
    assert "left out 2 of 4 samples: sample 'broken' position 2 (counted from 0)" in result.stderr
    assert "sample 'long'" in result.stderr
    samples = si.load_activations(out).samples
    assert samples.ids == ("fine", "good")
    assert (samples.n_in, samples.dropped) == (
        4,
        {"antiberty does not know this letter": 1, "too long for antiberty": 1},
    )
    path.write_text(">broken\nEVJQL\n")
    assert_one_line(run(*call, "--unreadable", "skip"), "broken")


def test_a_sequence_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "long.fasta"
    path.write_text(">long\n" + "A" * 700 + "\n")
    assert_one_line(
        run("extract", "antiberty", str(path), "--site", "layers.4", "--out", str(tmp_path / "out")),
        "long",
        "510",
        "700",
    )
    assert not (tmp_path / "out").exists()


def test_a_site_that_does_not_exist(fasta: Path, tmp_path: Path) -> None:
    assert_one_line(
        run("extract", "antiberty", str(fasta), "--site", "layers.44", "--out", str(tmp_path / "out")),
        "layers.44",
        "layers.4",
    )
    assert not (tmp_path / "out").exists()


def test_an_output_folder_in_use(fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("do not touch")
    assert_one_line(run("extract", "antiberty", str(fasta), "--site", "layers.4", "--out", str(out)), "mine")
    assert_one_line(run("demo", "--out", str(out)), "mine")
    assert [p.name for p in out.iterdir()] == ["thesis.txt"]


def test_data_that_are_not_there(tmp_path: Path) -> None:
    assert_one_line(
        run("demo", "--data", str(tmp_path), "--out", str(tmp_path / "out")), "antibodies.fasta", "--data"
    )


def test_not_a_run_and_not_a_store(tmp_path: Path) -> None:
    assert_one_line(run("report", str(tmp_path)), "manifest.json")
    assert_one_line(run("browse", str(tmp_path)), "manifest.json")
    assert run("verify", str(tmp_path)).returncode not in (0, 1)
    assert run("info", str(tmp_path / "none")).returncode not in (0, 1)


@pytest.mark.parametrize("width", [100, 140, 200])
def test_a_table_fits_its_terminal_whole(width: int) -> None:
    models = list_models().reset_index()
    lines = folded(models, width).splitlines()
    assert max(map(len, lines)) <= width
    assert {line.split()[0] for line in lines if line[:1].strip()} == {"name", *models["name"]}
    every = " ".join(" ".join(map(str, row)) for row in models.itertuples(index=False))
    assert sorted("".join(lines).replace(" ", "")) == sorted(("".join(models) + every).replace(" ", ""))
    assert folded(models, 40) == ""  # names and words do not fit


def test_models_and_sites() -> None:
    listed = run("models")
    assert listed.returncode == 0
    assert "antiberty" in listed.stdout
    assert "real weights" in listed.stdout
    sites = run("sites", "antiberty")
    assert sites.returncode == 0
    assert "layers.4" in sites.stdout
