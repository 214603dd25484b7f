"""The ledger: what is done stays done until something it was made from changes, and outcomes are kept by their plan."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import sciinterp as si
from sciinterp.errors import FormatError, InputError, MismatchError, SciinterpError, StoreError
from sciinterp.store import ledger
from sciinterp.store.atomic import (
    is_overwriting,
    make_folder,
    overwriting,
    read_json,
    remove,
    remove_temporaries,
    require_place,
    to_json,
    write_each,
    write_json,
)
from sciinterp.store.fields import Fields
from sciinterp.store.kept import is_kept, kept, planned_folder
from sciinterp.store.sealed import check_sealed, seal, write_sealed
from sciinterp.store.verify import check_files, summarise_files, verify

FILES = {
    "associate": "hits.tsv", "discover": "candidates.tsv", "turn": "turning.tsv", "readout": "readout.json",
    "full": "full.json", "report": "report.json",
}  # fmt: skip


def enter(folder: Path, stage: str, text: str = "x\n", **settings: object) -> None:
    with ledger.recorded(stage, folder, settings=settings, inputs={"of": stage}):
        (folder / FILES[stage]).write_text(text)


@pytest.fixture
def run(tmp_path) -> Path:
    for stage in FILES:
        enter(tmp_path, stage)
    return tmp_path


@pytest.mark.parametrize("stage", ledger.STAGES)
def test_where_a_stage_belongs_follows_from_the_name_of_its_folder(stage):
    place = ledger.STAGES[stage].place
    assert ledger.folder_of(stage, Path("runs/ab") / place) == Path("runs/ab")
    assert ledger.folder_of(stage, Path("runs/ab/mine")) == (None if place else Path("runs/ab/mine"))
    for need in ledger.STAGES[stage].needs:
        assert list(ledger.STAGES).index(need) < list(ledger.STAGES).index(stage)


@pytest.mark.parametrize("changed", FILES)
def test_a_stage_is_done_until_its_files_or_what_it_needs_change(run, changed):
    assert all(ledger.is_done(run, stage) for stage in FILES)
    (run / FILES[changed]).write_text("y\n")
    assert [stage for stage in FILES if not ledger.is_done(run, stage)] == [changed]
    enter(run, changed, "y\n")
    below = {stage for stage in FILES if changed in ledger.STAGES[stage].needs}
    assert {stage for stage in FILES if not ledger.is_done(run, stage)} == below
    enter(run, changed)
    assert all(ledger.is_done(run, stage) for stage in FILES), "the same files again are the same stage"


def test_what_was_not_made_is_not_done(tmp_path):
    assert not ledger.is_done(tmp_path, "associate") and ledger.read_stages(tmp_path) == {}
    enter(tmp_path, "associate")
    (tmp_path / "hits.tsv").unlink()
    assert not ledger.is_done(tmp_path, "associate")
    with (
        pytest.raises(InputError, match=r"no such stage.*'associate'.*got 'asociate'"),
        ledger.recorded("asociate", tmp_path),
    ):
        pytest.fail("a stage that is none began")


def test_a_stage_that_failed_leaves_the_ledger_as_it_was(run):
    before = (run / ledger.NAME).read_bytes()
    with pytest.raises(RuntimeError), ledger.recorded("associate", run, settings={"seed": 1}):
        raise RuntimeError
    assert (run / ledger.NAME).read_bytes() == before


ODD = {
    "nan": float("nan"), "inf": float("-inf"), "path": Path("a/b"), "numpy": np.float32(0.5), "tuple": (1, (2,)), "none": None,
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_the_same_stage_again_changes_no_byte_and_is_timed_once(tmp_path, name):
    enter(tmp_path, "associate", **{name: ODD[name]})
    before = (tmp_path / ledger.NAME).read_bytes()
    enter(tmp_path, "associate", **{name: ODD[name]})
    assert (tmp_path / ledger.NAME).read_bytes() == before
    assert len((tmp_path / ledger.TIMINGS).read_text().splitlines()) == 1
    enter(tmp_path, "associate", **{name: "another"})
    assert (tmp_path / ledger.NAME).read_bytes() != before
    assert len((tmp_path / ledger.TIMINGS).read_text().splitlines()) == 2


def test_the_order_of_stages_changes_no_byte_of_their_entries(tmp_path):
    """Those that do not need each other."""
    entries = []
    for number, order in enumerate(itertools.permutations(["turn", "readout", "full"])):
        folder = make_folder(tmp_path / str(number))
        for stage in order:
            enter(folder, stage)
        entries.append((folder / ledger.NAME).read_bytes())
    assert len(set(entries)) == 1


def test_an_entry_names_what_it_was_made_from(run):
    stages = ledger.read_stages(run)
    assert list(stages) == sorted(FILES)
    for stage, name in FILES.items():
        digest = hashlib.sha256((run / name).read_bytes()).hexdigest()
        assert stages[stage]["outputs"] == {name: digest} and stages[stage]["inputs"] == {"of": stage}
    wanted = hashlib.sha256(to_json(stages["associate"]["outputs"])).hexdigest()
    assert stages["discover"]["needs"] == {"associate": wanted} and stages["associate"]["needs"] == {}
    told = [json.loads(line) for line in (run / ledger.TIMINGS).read_text().splitlines()]
    assert [line["stage"] for line in told] == list(FILES) and all(line["peak_mib"] > 10 for line in told)


def test_what_verbs_read_is_tables_and_records_and_no_page(run):
    assert sorted(ledger.read_files(run)) == sorted(set(FILES.values()) - {"report.json"})
    assert sorted(ledger.checksums(ledger.read_ledger(run))) == sorted(FILES.values())
    ledger.require_intact(run, *FILES.values(), "a file that nobody named")
    (run / "report.json").write_text("edited")
    ledger.require_intact(run, *ledger.read_files(run))


@pytest.mark.parametrize("how", ["edited", "removed"])
def test_a_file_that_is_not_what_the_ledger_says_is_named(run, how):
    path = run / "hits.tsv"
    path.write_text("y\n") if how == "edited" else path.unlink()
    said = (
        "a file is damaged.*expected sha256 .*got sha256"
        if how == "edited"
        else "a file is missing.*got none"
    )
    with pytest.raises(StoreError, match=rf"{said}.*Run its stage again"):
        ledger.require_intact(run, "candidates.tsv", "hits.tsv")
    ledger.require_intact(run, "candidates.tsv")


def test_forgetting_removes_tables_and_leaves_stores(run):
    (run / "sae").mkdir()
    (run / "notes.txt").write_text("mine")
    with ledger.recorded("train", run / "sae"):
        (run / "sae" / "cfg.json").write_text("{}")
    ledger.forget(run)
    left = sorted(p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file())
    assert left == ["manifest.json", "notes.txt", "sae/cfg.json", "timings.jsonl"]
    assert ledger.read_stages(run) == {}


def test_a_run_that_lost_its_ledger_says_so(run):
    (run / ledger.NAME).unlink()
    with pytest.raises(StoreError, match="the manifest is missing"):
        ledger.require_intact(run, "hits.tsv")
    with pytest.raises(StoreError, match=r"manifest\.json \(the manifest is missing\)"):
        verify(run)


LEDGERS = {
    "a list": (b"[]", "not the manifest of a run"),
    "no version": (b'{"stages": {}}', "not the manifest of a run"),
    "newer": (b'{"version": 9, "stages": {}}', r"newer sciinterp.*got 9\. Update"),
    "no seal": (b'{"version": 2, "stages": {}}', "the manifest is damaged"),
    "no json": (b'{"version"', "not a JSON file"),
}


@pytest.mark.parametrize("kind", LEDGERS)
def test_a_ledger_that_is_none_is_one_line(tmp_path, kind):
    raw, said = LEDGERS[kind]
    (tmp_path / ledger.NAME).write_bytes(raw)
    with pytest.raises(SciinterpError, match=said) as caught:
        ledger.read_ledger(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_seal_covers_every_value_and_no_order():
    values = {"b": [1, {"c": None}], "a": "x"}
    made = seal(values)
    assert (
        made == seal(made) == seal(dict(reversed(values.items()))) and {k: made[k] for k in values} == values
    )
    for other in ({"b": [1, {"c": 0}], "a": "x"}, {"a": "x"}, {**values, "d": 1}):
        assert seal(other)["sha256"] != made["sha256"]


def test_a_sealed_file_is_what_was_written_or_refused(tmp_path):
    path = tmp_path / "a.json"
    write_sealed(path, {"n": 1})
    found = read_json(path)
    assert check_sealed(path, found) and not check_sealed(path, {"n": 1})
    path.write_bytes(to_json({**found, "n": 2}))
    for values in (read_json(path), found):
        with pytest.raises(StoreError, match="damaged or was changed"):
            check_sealed(path, values)
    with pytest.raises(StoreError, match="got none"):
        check_sealed(path, {"n": 1}, required=True)
    path.write_bytes(to_json(found) + b" ")
    with pytest.raises(StoreError, match="damaged"):
        check_sealed(path, read_json(path))


def counted(calls: list[int], value: object = 0.5):
    def make() -> dict[str, object]:
        calls.append(len(calls))
        return {"n": len(calls), "value": value}

    return make


def test_an_outcome_is_made_once_and_comes_back_as_its_file_says(tmp_path):
    calls: list[int] = []
    for _ in range(3):
        found = kept(tmp_path, "a", counted(calls, (np.float64(0.5), float("nan"))), plan={"seed": 0})
        assert found == {"n": 1, "value": [0.5, None]}
    assert kept(tmp_path, "b", counted(calls), plan={"seed": 1})["n"] == 2
    assert len(calls) == 2 and is_kept(tmp_path / "a.json")
    assert kept(None, "a", counted(calls))["n"] == 3 and not (tmp_path / "None").exists()
    with pytest.raises(
        MismatchError, match=r"other settings.*expected \{'seed': 9\}, got \{'seed': 0\}.*another --out"
    ):
        kept(tmp_path, "a", counted(calls), plan={"seed": 9})
    assert len(calls) == 3


def test_an_outcome_without_a_checksum_is_made_again(tmp_path):
    """As an older version left it; one of another plan is refused all the same."""
    calls: list[int] = []
    (tmp_path / "a.json").write_bytes(to_json({"plan": {"seed": 0}, "outcome": {"n": 99}}))
    with pytest.raises(MismatchError):
        kept(tmp_path, "a", counted(calls), plan={"seed": 1})
    assert kept(tmp_path, "a", counted(calls), plan={"seed": 0})["n"] == 1
    assert kept(tmp_path, "a", counted(calls), plan={"seed": 0})["n"] == 1


def test_a_planned_folder_is_of_one_plan(tmp_path):
    assert planned_folder(None, {"seed": 0}) is None
    for _ in range(2):
        assert planned_folder(tmp_path / "x", {"seed": 0, "names": ("a",)}) == tmp_path / "x"
    with pytest.raises(MismatchError, match="made with other settings"):
        planned_folder(tmp_path / "x", {"seed": 1, "names": ("a",)})


def test_files_that_can_be_written_are_and_the_others_are_named(tmp_path):
    made = {"rows": [1]}

    def fail() -> None:
        raise OSError("no\nroom")

    files = {
        "a": lambda: (tmp_path / "a").write_text("x"),
        "b": fail,
        "c": lambda: (tmp_path / "c").write_text("y"),
    }
    with pytest.raises(
        StoreError, match=r"1 of 3 files could not.*b \(no room\)\. Written: a, c\. Nothing computed is lost"
    ) as caught:
        write_each(tmp_path, files, computed=made)
    assert caught.value.computed is made and isinstance(caught.value.__cause__, OSError)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "c"]
    write_each(tmp_path / "new", {"a": lambda: None})
    with pytest.raises(StoreError, match=r"1 of 1 .*got b \(no room\)\.$"):
        write_each(tmp_path, {"b": fail})


def test_overwriting_is_open_only_while_it_is(tmp_path):
    assert not is_overwriting()
    with si.overwriting():
        assert is_overwriting()
        with overwriting(False):
            assert not is_overwriting()
        assert is_overwriting()
    with pytest.raises(RuntimeError), overwriting():
        raise RuntimeError
    assert not is_overwriting()


@pytest.mark.parametrize("path", ["~/runs", "~"])
def test_a_home_is_no_folder_and_a_file_holds_none(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    for place in (make_folder, require_place):
        with pytest.raises(StoreError, match=r"begins with '~'.*home folder"):
            place(path)
    (tmp_path / "file").write_text("x")
    for place in (make_folder, require_place):
        with pytest.raises(StoreError, match=r"cannot write \(Not a directory\)"):
            place("file/below/it")
        place("new/deep")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "new"]


def test_temporaries_go_by_age_and_name(tmp_path):
    for name in (".sciinterp-1.tmp", ".sciinterp-2.tmp", "x.tmp", ".sciinterp-3"):
        (tmp_path / name).write_text("")
    assert remove_temporaries(tmp_path, idle=3600) == 0
    (tmp_path / ".sciinterp-4.tmp").mkdir()
    assert remove_temporaries(tmp_path) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [".sciinterp-3", ".sciinterp-4.tmp", "x.tmp"]
    remove(tmp_path / "no such file")
    with pytest.raises(StoreError, match="cannot write"):
        remove(tmp_path / ".sciinterp-4.tmp")


JSON = {
    "k": 3,
    "whole": 4.0,
    "part": 2.5,
    "yes": True,
    "word": "b",
    "in": {"k": "x", "deep": {"n": -1}},
    "none": None,
    "big": 1 << 63,
}


@pytest.mark.parametrize(
    ("ask", "found"),
    [
        (lambda f: f.whole("k"), 3),
        (lambda f: f.whole("whole"), 4),
        (lambda f: f.whole("none", None), None),
        (lambda f: f.whole("no", 7), 7),
        (lambda f: f.number("part"), 2.5),
        (lambda f: f.number("k"), 3.0),
        (lambda f: f.flag("yes", False), True),
        (lambda f: f.flag("none", False), False),
        (lambda f: f.text("word"), "b"),
        (lambda f: f.text("no", "z"), "z"),
        (lambda f: f.choice("word", ("a", "b"), "a"), "b"),
        (lambda f: f.choice("no", ("a", "b"), "anything"), "anything"),
        (lambda f: f.inner("in").text("k"), "x"),
        (lambda f: dict(f.inner("no").values), {}),
        (lambda f: ("k" in f, "none" in f, "no" in f), (True, False, False)),
    ],
)
def test_fields_of_their_type_are_given(ask, found):
    got = ask(Fields(JSON, "cfg.json"))
    assert got == found and type(got) is type(found)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda f: f.whole("no"), "'no'.*a whole number, got 'nothing'"),
        (lambda f: f.whole("k", low=4), "'k'.*a whole number, at least 4, got 3"),
        (lambda f: f.whole("part"), "'part'.*a whole number, at least 0, got 2.5"),
        (lambda f: f.whole("yes"), "'yes'.*a whole number, got True"),
        (lambda f: f.whole("big"), "'big'.*at least 0"),
        (lambda f: f.whole("word", 3), "'word'.*got 'b'"),
        (lambda f: f.number("none"), "'none'.*a finite number"),
        (lambda f: f.number("yes"), "'yes'.*a finite number"),
        (lambda f: f.flag("k", True), "'k'.*true or false, got 3"),
        (lambda f: f.text("k"), "'k'.*text, got 3"),
        (lambda f: f.choice("k", ("a",), "a"), "'k'.*text, got 3"),
        (lambda f: f.choice("word", ("a", "c"), "a", "Use a."), r"'word'.*a or c, got 'b'\. Use a\."),
        (lambda f: f.inner("in").whole("k"), r"'in\.k'.*got 'x'"),
        (lambda f: f.inner("in").inner("deep").whole("n"), r"'in\.deep\.n'.*at least 0, got -1"),
        (lambda f: f.inner("k"), "holds no object.*expected k, got int"),
        (lambda f: f.inner("in").only(["k"], "Update."), r"not understood.*got 'deep'\. Update\."),
    ],
)
def test_fields_of_another_type_are_named(ask, said):
    with pytest.raises(FormatError, match=rf"cfg\.json.*{said}|{said}") as caught:
        ask(Fields(JSON, "cfg.json"))
    assert "\n" not in str(caught.value) and "cfg.json" in str(caught.value)


def test_fields_of_a_file(tmp_path):
    write_json(tmp_path / "a.json", JSON)
    assert Fields.read(tmp_path / "a.json").whole("k") == 3
    assert not dict(Fields.read(None).values)
    write_json(tmp_path / "a.json", [1])
    with pytest.raises(FormatError, match=r"holds no object.*got list"):
        Fields.read(tmp_path / "a.json")
    Fields({"k": 1, "j": 2}, "a").only(["j", "k", "l"], "")


def test_what_verify_counts_is_what_is_there(run):
    (run / "notes").mkdir()
    (run / "notes" / "mine.txt").write_text("x" * 7)
    (run / "hits.tsv").write_text("edited")
    files = check_files(run)
    assert files["status"].value_counts().to_dict() == {"ok": 6, "unchecked": 2, "damaged": 1}
    assert files.set_index("file").loc["hits.tsv", "status"] == "damaged" and files["file"].is_unique
    there = {p.relative_to(run).as_posix(): p.stat().st_size for p in run.rglob("*") if p.is_file()}
    assert dict(zip(files["file"], files["bytes"])) == there
    told = summarise_files(files)
    assert told[["ok", "unchecked", "damaged"]].to_dict("index") == {
        ".": {"ok": 6, "unchecked": 1, "damaged": 1},
        "notes": {"ok": 0, "unchecked": 1, "damaged": 0},
    }
    assert told["bytes"].sum() == sum(there.values())
    with pytest.raises(StoreError, match=r"1 of 7 files are damaged.*hits\.tsv \(a file is damaged"):
        verify(run)
