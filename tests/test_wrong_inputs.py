"""What is wrong in a configuration or in a file it names: one line that says where and what is right, and nothing is written."""

import functools
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from test_cli import run

import sciinterp.cli.whole
import sciinterp.project
from sciinterp.config import template
from sciinterp.models import load_model

TOML = """seed = 0
out = "run"
[data]
samples = "s.fasta"
table = "t.tsv"
annotations = "a.tsv"
[model]
name = "antiberty"
site = "layers.4"
[split]
by = "family"
[sae]
n_features = 64
k = 8
[train]
steps = 20
"""
HEADER = "sample\tstart\tend\tconcept\n"
NAMES = [f"P{i:02d}" for i in range(12)]


def rows(names: list[str] = NAMES, end: object = 9) -> str:
    return "".join(f"{name}\t3\t{end}\tsite\n" for name in names)


FILES = {
    "s.fasta": "".join(f">{name}\nEVQLVESGGGLVQPGGSLRL{'SCAAS'[: i % 5]}\n" for i, name in enumerate(NAMES)),
    "t.tsv": "sample\tfamily\tdonor\n" + "".join(f"{n}\tf{i // 2}\td\n" for i, n in enumerate(NAMES)),
    "a.tsv": HEADER + rows(),
}
BROKEN = gzip.compress(FILES["a.tsv"].encode())[:-20]

# What stands in the place of what, in the configuration -> what the line says.
KEYS = {
    ("[split]", "[splits]"): ["no such section", "my.toml", "'split'", "'splits'"],
    ("seed = 0", "sed = 0"): ["no such section or key", "my.toml", "'seed'", "'sed'"],
    ("seed = 0", 'seed = "0"'): ["my.toml, seed", "a whole number", "'0'"],
    ("seed = 0", "seed = -1"): ["my.toml, seed", "from 0", "-1"],
    ("seed = 0", "control = 1"): ["my.toml, control", "true or false"],
    ("seed = 0", "twins = 3"): ["my.toml, twins", "a list of texts"],
    ("seed = 0", 'twins = ["decodr"]'): ["my.toml, twins", "'decoder'", "'decodr'"],
    ("seed = 0", 'licences = "MIT"'): ["my.toml, licences", "a table"],
    ("seed = 0", "seed = 0\nseed = 1"): ["not TOML", "my.toml", "line 2"],
    ('out = "run"', "out = 5"): ["my.toml, out", "text"],
    ('out = "run"', 'out = "s.fasta"'): ["my.toml, out", "not a folder"],
    ('out = "run"', 'out = "."'): ["my.toml, out", "in use by something else"],
    ('out = "run"\n', ""): ["my.toml, out", "no folder to write"],
    ("[data]", "[data"): ["not TOML", "my.toml", "line 3"],
    ("[data]", "[dta]"): ["no such section", "my.toml", "'data'"],
    ("table =", "tables ="): ["[data]", "'table'", "'tables'"],
    ("samples =", "sampels ="): ["[data]", "'samples'", "'sampels'"],
    ('samples = "s.fasta"\n', ""): ["my.toml, [data] samples", "missing"],
    ('"s.fasta"', "3"): ["my.toml, [data] samples", "text"],
    ('"s.fasta"', '"ss.fasta"'): ["no such file", "my.toml, [data] samples", "'s.fasta'"],
    ('"s.fasta"', '"folder"'): ["my.toml, [data] samples", "a folder"],
    ('"s.fasta"', '"a.tsv"'): ["my.toml, [data] samples", "a.tsv"],
    ('"s.fasta"', '"s.gz"'): ["my.toml, [data] samples", "archive is damaged"],
    ('"t.tsv"', '"tt.tsv"'): ["no such file", "my.toml, [data] table", "'t.tsv'"],
    ('"t.tsv"', '"folder"'): ["my.toml, [data] table", "a folder"],
    ('"t.tsv"', '"none/t.tsv"'): ["my.toml, [data] table", "no folder", "none"],
    ('"a.tsv"', '"aa.tsv"'): ["no such file", "my.toml, [data] annotations", "'a.tsv'"],
    ('"a.tsv"', '"folder"'): ["my.toml, [data] annotations", "a folder"],
    ('"a.tsv"', '"s.fasta"'): ["my.toml, [data] annotations", "cannot be told", "s.fasta", "annotations_format in a configuration"],
    ('"a.tsv"', '"s.gz"'): ["my.toml, [data] annotations", "archive is damaged"],
    ("table =", 'samples_format = "fastaa"\ntable ='): ["my.toml, [data] samples_format", "'fasta'"],
    ("table =", 'samples_format = "genbank"\ntable ='): ["my.toml, [data] samples", "no entry of the format"],
    ("table =", 'annotations_format = "gff"\ntable ='): ["my.toml, [data] annotations_format", "'gff3'"],
    ("table =", 'annotations_format = "gff3"\ntable ='): ["my.toml, [data] annotations", "a.tsv", "line 1"],
    ("table =", 'layer = "counts"\ntable ='): ["my.toml, [data] layer", "AnnData"],
    ("table =", "raw = true\ntable ="): ["my.toml, [data] raw", "AnnData"],
    ("table =", 'unreadable = "skipp"\ntable ='): ["my.toml, [data] unreadable", "'skip'"],
    ('"antiberty"', '"antibery"'): ["no such model", "my.toml, [model] name", "'antiberty'"],
    ('name = "antiberty"\n', ""): ["my.toml, [model] name", "missing"],
    ("site =", "sites ="): ["[model]", "'site'", "'sites'"],
    ("layers.4", "layer.4"): ["no such site", "my.toml, [model] site", "'layers.4'", "'layer.4'"],
    ("layers.4", "layers.99"): ["no such site", "my.toml, [model] site", "'layers.99'"],
    ('"layers.4"', '["layers.4"]'): ["my.toml, [model] site", "text"],
    ("site =", 'precision = "float64"\nsite ='): ["my.toml, [model] precision", "'float32'"],
    ("site =", 'kept_as = "int8"\nsite ='): ["my.toml, [model] kept_as", "'float16'"],
    ("site =", 'device = "gpu"\nsite ='): ["my.toml, [model] device", "'cpu' or 'cuda' or 'mps' or 'auto'"],
    ("site =", 'weights = "t.tv"\nsite ='): ["no such file", "my.toml, [model] weights", "'t.tsv'"],
    ('"family"', '"famly"'): ["my.toml, [split] by", "nearest is 'family'"],
    ('"family"', '"mmseqs:1.8"'): ["my.toml, [split] by", "at most 1", "'1.8'"],
    ('"family"', '"block:abc"'): ["my.toml, [split] by", "block:1Mb", "'abc'"],
    ('"family"', '"donor"'): ["my.toml, [split] by", "at least 3"],
    ("by =", "fractions = [0.5, 0.5, 0.5]\nby ="): ["my.toml, [split] fractions", "sum to 1", "1.5"],
    ("by =", "fractions = [0.8, 0.2]\nby ="): ["my.toml, [split] fractions", "3 numbers"],
    ("by =", "fractions = [1.2, -0.3, 0.1]\nby ="): ["my.toml, [split] fractions", "from 0 to 1", "1.2"],
    ("by =", "fractions = [0.9, 0.1, 0]\nby ="): ["my.toml, [split] fractions", "calibration alone"],
    ("k = 8", "kk = 8"): ["[sae]", "'k'", "'kk'"],
    ("k = 8", "k = -8"): ["my.toml, [sae] k", "-8"],
    ("k = 8", "k = 100"): ["my.toml, [sae] k", "n_features", "100"],
    ("k = 8", "k = 8\nprefixes = [16, 128]"): ["my.toml, [sae] prefixes", "ascending", "got (16, 128)"],
    ("k = 8", 'architecture = "topkk"'): ["my.toml, [sae] architecture", "'topk'"],
    ("n_features = 64", "n_features = 64.5"): ["my.toml, [sae] n_features", "whole number"],
    ("steps = 20", "step = 20"): ["my.toml, [train]", "'steps'", "'step'"],
    ("steps = 20", 'steps = "twenty"'): ["my.toml, [train] steps", "whole number", "'twenty'"],
    ("steps = 20", "steps = 0"): ["my.toml, [train] steps", "> 0"],
    ("steps = 20", "steps = 20\nepochs = 2"): ["my.toml, [train] steps", "epochs"],
    ("steps = 20", 'device = "cdua"'): ["my.toml, [train] device", "'cuda'"],
    ("steps = 20", 'screen = "yes"'): ["my.toml, [train] screen", "'auto'"],
    ("steps = 20", 'frozen = "decodr"'): ["my.toml, [train] frozen", "'decoder'"],
    ("[train]", "[associate.screens]\nx = 1\n[train]"): ["my.toml, [associate]", "'screen'", "'screens'"],
    ("[train]", "[associate.screen]\nmin_familys = 3\n[train]"): ["my.toml, [associate.screen]", "'min_families'"],
    ("[train]", "[associate.screen]\ncarried = 1.5\n[train]"): ["my.toml, [associate.screen] carried", "1.5"],
    ("[train]", "[associate]\nfolds = 500\n[train]"): ["my.toml, [associate] folds", "2 to 6", "500"],
    ("[train]", '[associate]\nceilings = ["probee"]\n[train]'): ["my.toml, [associate] ceilings", "'probe'"],
    ("[train]", "[discover]\nn_fold = 3\n[train]"): ["my.toml, [discover]", "'n_folds'"],
    ("[train]", "[discover]\nmin_probability = 5\n[train]"): ["my.toml, [discover] min_probability", "0 to 1"],
    ("[train]", '[extract]\nnonfinite = "dropp"\n[train]'): ["my.toml, [extract] nonfinite", "'skip'"],
    ("[train]", "[extract]\nshard_tokens = 0\n[train]"): ["my.toml, [extract] shard_tokens", "1 or more"],
}  # fmt: skip
# A file, what stands in it -> what the line says.
CONTENTS = {
    ("s.fasta", ""): ["my.toml, [data] samples", "s.fasta", "the file is empty"],
    ("s.fasta", FILES["s.fasta"] + ">P00\nEVQL\n"): ["my.toml, [data] samples", "more than once", "'P00'"],
    ("s.fasta", FILES["s.fasta"].replace("EVQL", "EV!L", 1)): ["my.toml, [data]", "'P00'", "unreadable = \"skip\""],
    ("t.tsv", ""): ["my.toml, [data] table", "t.tsv"],
    ("t.tsv", FILES["t.tsv"].replace("P00", "PP00")): ["my.toml, [data] table", "nearest is 'PP00'"],
    ("t.tsv", FILES["t.tsv"].replace("\tf0", "\t")): ["my.toml, [split] by", "'family'", "2 of 12"],
    ("a.tsv", ""): ["my.toml, [data] annotations", "a.tsv", "the file is empty"],
    ("a.tsv", HEADER): ["my.toml, [data] annotations", "no row at all"],
    ("a.tsv", HEADER.replace("concept", "label") + rows()): ["my.toml, [data] annotations", "no column 'concept'"],
    ("a.tsv", HEADER.replace("start", "begin") + rows()): ["my.toml, [data] annotations", "no column 'start'"],
    ("a.tsv", HEADER + rows(end="nine")): ["my.toml, [data] annotations", "a.tsv' line 2", "'nine'"],
    ("a.tsv", HEADER + rows(end=1)): ["my.toml, [data] annotations", "a.tsv' line 2", "3 to 1"],
    ("a.tsv", HEADER + rows(NAMES[:3]) + rows(NAMES[3:], 999)): ["my.toml, [data] annotations", "a.tsv' line 5", "999"],
    ("a.tsv", HEADER + rows([f"X{n}" for n in NAMES])): ["my.toml, [data] annotations", "'XP00'", "nearest is 'P00'"],
    ("a.tsv", "sample\tconcept\n" + "".join(f"{n}\tbinder\n" for n in NAMES)): ["[data] annotations", "enrichment"],
}  # fmt: skip
# Options in the place of keys -> what the line says.
OPTIONS = {
    ("--site", "layer.4"): ["--site of antiberty", "'layers.4'"],
    ("--model", "antibery"): ["no such model, --model", "'antiberty'"],
    ("--by", "famly"): ["--by", "'family'"],
    ("--samples", "ss.fasta"): ["--samples", "'s.fasta'"],
    ("--annotations", "aa.tsv"): ["--annotations", "'a.tsv'"],
    ("--device", "gpu"): ["--device", "'cuda'"],
    ("--set", "train.step=3"): ["--set train.step", "'steps'"],
    ("--set", "trian.steps=3"): ["--set trian.steps", "'train'"],
    ("--set", "train.steps=many"): ["--set train.steps", "whole number"],
    ("--set", "split.fractions=[1, 1, 1]"): ["--set split.fractions", "sum to 1"],
}


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a configuration, and holds that it ends with one line of these words before anything is computed or written."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "s.gz").write_bytes(BROKEN)
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sciinterp.project, "load_model", opened)
    monkeypatch.setattr(sciinterp.project, "_represent", lambda *_: pytest.fail("it was computed"))

    def refuse(text: str, words: list[str], *options: str) -> None:
        (tmp_path / "my.toml").write_text(text)
        before = sorted(tmp_path.rglob("*"))
        said = run("run", "my.toml", *options)
        assert said.returncode == 2, said.stderr
        assert said.stderr.startswith("error: ") and said.stderr.count("\n") == 1, said.stderr
        assert said.stdout == ""
        assert not [word for word in words if word not in said.stderr], said.stderr
        assert sorted(tmp_path.rglob("*")) == before

    return refuse


@functools.cache
def opened(name: str, **how: str | None):
    return load_model(name, **how)


@pytest.mark.parametrize("edit", KEYS, ids=lambda edit: edit[1].replace("\n", " ").strip()[:40])
def test_a_wrong_configuration_is_one_line(edit: tuple[str, str], refused: Callable[..., None]) -> None:
    assert TOML.count(edit[0]) == 1
    refused(TOML.replace(*edit), KEYS[edit])


@pytest.mark.parametrize("file", CONTENTS, ids=lambda file: f"{file[0]} {CONTENTS[file][-1]}")
def test_a_wrong_file_is_one_line(
    file: tuple[str, str], refused: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / file[0]).write_text(file[1])
    refused(TOML, CONTENTS[file])


@pytest.mark.parametrize("option", OPTIONS, ids=" ".join)
def test_an_option_in_the_place_of_a_key_is_named(
    option: tuple[str, str], refused: Callable[..., None]
) -> None:
    refused(TOML, OPTIONS[option], *option)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--site", "layer.4"), "no such site, --site of antiberty: expected 'layers.4'"),
        (("--dtype", "int8"), "no such type, --dtype: expected 'float32'"),
        (("--device", "gpu"), "no such device here, --device: expected 'cpu' or 'cuda'"),
        (
            ("--table", "tt.tsv"),
            "there is no such file, --table, file 'tt.tsv'. The nearest beside it is 't.tsv'.",
        ),
        (("--format", "fst"), "no such format of samples, --format: expected 'fasta'"),
    ],
)
def test_other_verbs_name_their_options(
    options: tuple[str, str], said: str, refused: Callable[..., None], tmp_path: Path
) -> None:
    found = run("extract", "antiberty", "s.fasta", "--site", "layers.4", "--out", "x", *options)
    assert found.returncode == 2 and found.stderr.startswith(f"error: {said}"), found.stderr
    assert found.stderr.count("\n") == 1 and not (tmp_path / "x").exists()


def test_a_model_and_an_option_that_are_not_there_are_answered_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, said in (
        (("init", "x.toml", "--model", "unirep64"), "no such model, --model: expected 'unirep-64'"),
        (("run", "--modell", "antiberty"), "--model"),
    ):
        found = run(*words)
        assert found.returncode == 2 and said in found.stderr.replace("--modell", ""), found.stderr
        assert found.stderr.count("\n") == 1 and not list(tmp_path.iterdir())
    assert run("init", "x.toml", "--model", "facebook/esm2_t6_8M_UR50D").returncode == 0


def test_what_is_no_configuration_is_one_line(refused: Callable[..., None]) -> None:
    refused("", ["a section is missing, my.toml", "[data]"])
    for name, said in (("folder", "a folder"), ("m.toml", "The nearest beside it is 'my.toml'")):
        found = run("run", name)
        assert found.returncode == 2 and found.stderr.count("\n") == 1 and said in found.stderr


def test_what_the_manual_shows_is_what_is_said(refused: Callable[..., None], root: Path) -> None:
    page = (root / "notebooks" / "howto-run.md").read_text()
    shown = next(line for line in page.splitlines() if line.startswith("error: no such key"))
    refused(TOML.replace("steps =", "step ="), [shown.replace("mine.toml", "my.toml")])


def test_every_section_and_key_that_is_known_is_in_the_template() -> None:
    text = template("my.toml")
    for name in ("control", "twins", "candidates", "turn"):
        assert f"\n# {name} = " in text.partition("\n[")[0]
    assert "\n[licences]\n" in text


def test_what_is_said_of_inputs_is_not_lost_where_nothing_is_wrong(
    refused: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that a wrong input holds back are said in their order once work begins, or when the command ends."""
    (tmp_path / "my.toml").write_text(TOML)
    monkeypatch.setattr(sciinterp.project, "_represent", lambda *_: None)
    monkeypatch.setattr(sciinterp.project, "_conclude", lambda *_: None)
    monkeypatch.setattr(sciinterp.project, "_end", lambda *_: None)
    monkeypatch.setattr(sciinterp.cli.whole, "_end", lambda *_: None)
    said = run("run", "my.toml")
    assert said.returncode == 0, said.stderr
    assert said.stderr.startswith("a.tsv: places are counted from 0")
