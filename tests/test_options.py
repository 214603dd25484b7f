"""Every option of every verb against wrong values: one line that says it, a code that is not 0, no traceback.

The options are those of the verbs' own signatures, so a new one is tried too. A sample of the calls always, all of them
under ``slow``.
"""

import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pytest
import typer
from test_cli import run as command

import sciinterp as si
from sciinterp.cli import act, look, make, whole
from sciinterp.models import registry

VERBS = {name: verb for room in (whole, make, act, look) for name, verb in room.VERBS.items()}
EVERY = 12  # of the calls that open files, one in so many is always made
# What a verb needs before the value under test is looked at; NEW is a folder or file that is not there yet.
GIVEN: dict[str, dict[str, str]] = {
    "demo": {"out": "NEW"},
    "init": {"path": "NEW"},
    "run": {"model": "antiberty", "samples": "fasta", "annotations": "annotations", "table": "table", "out": "NEW"},
    "zoo": {"out": "NEW"},
    "extract": {"model": "antiberty", "samples": "fasta", "site": "layers.4", "out": "NEW"},
    "train": {"activations": "activations", "out": "NEW", "features": "32", "k": "4"},
    "encode": {"sae": "sae", "activations": "activations", "out": "NEW"},
    "control": {"model": "antiberty", "sae": "sae", "samples": "fasta", "table": "table", "out": "NEW"},
    "associate": {"features": "features", "annotations": "annotations", "out": "NEW"},
    "discover": {"features": "features", "annotations": "annotations", "out": "NEW"},
    "sweep-sites": {"model": "antiberty", "samples": "fasta", "annotations": "annotations", "table": "table", "site": "layers.4", "out": "NEW"},
    "ablate": {"model": "antiberty", "features": "features", "samples": "fasta", "feature": "3"},
    "steer": {"model": "antiberty", "features": "features", "samples": "fasta", "feature": "3", "strength": "2"},
    "turn": {"run": "run"},
    "readout": {"run": "run", "column": "isotype"},
    "assay": {"model": "antiberty", "sae": "sae", "measured": "scan", "wild_type": "fasta"},
    "variants": {"model": "antiberty", "sae": "sae", "samples": "fasta", "table": "variants"},
    "models": {},
    "sites": {"model": "antiberty"},
    "saes": {},
    "report": {"run": "run"},
    "browse": {"run": "run"},
    "tracks": {"run": "run", "features": "3", "out": "NEW"},
    "fit": {"sae": "sae", "model": "antiberty", "samples": "fasta"},
    "benchmark": {"what": "rediscovery", "run": "run"},
    "verify": {"folder": "run"},
    "info": {"folder": "run"},
}  # fmt: skip
# Text that may be anything, or that other options decide the meaning of.
ANY_TEXT = {
    *(("init", name) for name in ("samples", "annotations")),
    ("saes", "like"), ("run", "settings"), ("train", "grid"), ("demo", "device"), ("benchmark", "only"),
    ("benchmark", "what"), ("readout", "classes"), ("run", "layer"), ("turn", "concept"),
}  # fmt: skip
# Wrong for others, and right here: what writes one table replaces the one that is there.
RIGHT = {("browse", "structures", "folder"), ("run", "config", "empty")} | {
    (verb, "out", "file") for verb in ("ablate", "steer", "variants")
}
WRONG_NUMBERS = {"int": ("x", "1.5", "-1", "9" * 20, ""), "float": ("x", "nan", "")}
READ = ("missing", "empty", "binary", "folder", "words", "pipe", "long")
WRITTEN = ("file", "below a file", "long")


def parameters(verb: str) -> Iterator[tuple[str, str, str]]:
    """Name, type and option of every parameter of a verb; the option is empty for what is told by place."""
    for name, parameter in inspect.signature(VERBS[verb], eval_str=True).parameters.items():
        kind, told = parameter.annotation, None
        if get_origin(kind) is Annotated:
            kind, told = get_args(kind)
        by_place = isinstance(told, typer.models.ArgumentInfo) or (
            told is None and parameter.default is parameter.empty
        )
        named = [d for d in getattr(told, "param_decls", None) or () if d.startswith("--")]
        option = "" if by_place else (named or [f"--{name.replace('_', '-')}"])[0]
        text = str(kind)
        yield name, next(t for t in ("Path", "int", "float", "bool", "str") if t in text), option


def cases() -> Iterator[tuple[str, str, str, str]]:
    """Verb, parameter, its type, and what is wrong with the value."""
    for verb in VERBS:
        for name, kind, _ in parameters(verb):
            writes = name == "out" or (verb, name) == ("init", "path")
            if kind == "Path":
                wrong = WRITTEN if writes else READ
            elif kind == "str":
                wrong = () if (verb, name) in ANY_TEXT else ("no such thing",)
            else:
                wrong = WRONG_NUMBERS.get(kind, ())
            yield from ((verb, name, kind, value) for value in wrong if (verb, name, value) not in RIGHT)


CASES = list(cases())


@pytest.fixture(scope="module")
def world(small_data: Path, small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files that are right, and files of each wrong kind."""
    folder = tmp_path_factory.mktemp("options")
    sample = si.read_samples(small_data / "s.fasta")[0]
    (folder / "one.fasta").write_text(f">{sample.id}\n{sample.sequence}\n")
    (folder / "scan.csv").write_text(
        f"mutant,DMS_score\n{sample.sequence[0]}1W,1\n{sample.sequence[1]}2W,2\n"
    )
    (folder / "v.tsv").write_text(f"sample\tvariant\n{sample.id}\t{sample.sequence[4]}5W\n")
    (folder / "empty").write_text("")
    (folder / "binary").write_bytes(bytes(range(256)) * 20)
    (folder / "words").write_text("some words\nthat are nothing\n")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    wrong = {name: str(folder / name) for name in ("empty", "binary", "words", "folder", "pipe")}
    return {
        **{name: str(small_run / name) for name in ("sae", "features", "activations")},
        "run": str(small_run),
        "annotations": str(small_run / "annotations.tsv"),
        "fasta": str(folder / "one.fasta"),
        "table": str(small_data / "s.tsv"),
        "scan": str(folder / "scan.csv"),
        "variants": str(folder / "v.tsv"),
        **wrong,
        "missing": str(folder / "no" / "such"),
        "long": "n" * 300,
        "file": str(folder / "words"),
        "below a file": str(folder / "words" / "x"),
    }


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model of the small run is opened once."""
    real = registry.load_model

    def load(name: str, **given: object) -> object:
        if name != "antiberty" or given.get("weights") or given.get("dtype", "float32") != "float32":
            return real(name, **given)
        return KNOWN.setdefault(name, real(name)) if name not in KNOWN else KNOWN[name]

    for place in (si, registry, __import__("sciinterp.models", fromlist=["x"])):
        monkeypatch.setattr(place, "load_model", load)


KNOWN: dict[str, object] = {}


def call(verb: str, name: str, value: str, world: dict[str, str], new: Path) -> tuple[int, list[str]]:
    """Exit code and lines of errors of a verb whose parameter has this value."""
    places, options = [], []
    for other, _, option in parameters(verb):
        if other != name and other not in GIVEN[verb]:
            continue
        given = GIVEN[verb].get(other, "")
        text = value if other == name else str(new) if given == "NEW" else world.get(given, given)
        if option:
            options.append(f"{option}={text}")
        else:
            places.append(text)
    said = command(verb, *options, "--", *places)
    return said.returncode, [line for line in said.stderr.splitlines() if line.strip()]


def test_every_verb_is_tried() -> None:
    assert set(GIVEN) == set(VERBS)
    assert len({case[:2] for case in CASES}) > 120
    assert all(
        (verb, name) in {(v, p) for v in VERBS for p, _, _ in parameters(v)} for verb, name in ANY_TEXT
    )


@pytest.mark.parametrize(
    ("verb", "name", "kind", "value"),
    [
        pytest.param(
            *case,
            marks=[] if i % EVERY == 0 or case[2] in WRONG_NUMBERS else [pytest.mark.slow],
            id="-".join(case),
        )
        for i, case in enumerate(CASES)
    ],
)
def test_a_wrong_value_is_one_line(verb, name, kind, value, world, loaded, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    new = tmp_path / "new"
    code, lines = call(verb, name, world.get(value, value) if kind == "Path" else value, world, new)
    assert code in (1, 2), lines
    assert lines[-1].startswith("error: ") and sum("error: " in line for line in lines) == 1, lines
    assert kind == "Path" or not new.exists(), "written before its arguments were looked at"
