"""Every file of a run folder, damaged or removed, is found by ``verify`` and by what reads it, before it is used."""

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from test_cli import run as command

import sciinterp as si
from sciinterp.discovery import read_candidates
from sciinterp.errors import FormatError, SciinterpError, StoreError
from sciinterp.interventions.files import read_turning
from sciinterp.project import load_run, write_browser
from sciinterp.readouts.assay_files import read_assays
from sciinterp.readouts.files import read_readouts
from sciinterp.store import ledger
from sciinterp.store.atomic import write_json
from sciinterp.store.kept import kept, planned_folder
from sciinterp.store.samples_file import SAMPLES, load_samples
from sciinterp.store.verify import check_files

# Of these no checksum is kept, and why.
UNCHECKED = {
    "*timings.jsonl": "seconds and memory differ from run to run",
    "*/checkpoints/*": "states of training carry a checksum inside, which training that goes on reads",
}
KINDS = ("flipped", "digit", "removed")
TEXT = (".json", ".jsonl", ".tsv")


def _features(place: Path) -> None:
    found = si.load_features(place)
    found.by_feature(0, found.n_features)


def _activations(place: Path) -> None:
    found = si.load_activations(place)
    assert len(found.samples)
    found.read(0, 1)


def _annotations(place: Path) -> None:
    si.read_annotations(place / "annotations.tsv")


# pattern of files -> what reads them, given the folder they lie in; those that nothing reads are not here.
READERS: dict[str, tuple[Callable[[Path], Any], ...]] = {
    "activations/*.*": (_activations,),
    "control/activations/*.*": (_activations,),
    "features/*.*": (_features,),
    "control/features/*.*": (_features,),
    "sae/*.*": (si.load_sae, lambda place: load_run(place.parent)),
    "control/sae/*.json*": (si.load_sae, lambda place: load_run(place.parent.parent)),
    "control/sae/*.safetensors": (si.load_sae,),
    "control/manifest.json": (lambda place: load_run(place.parent),),
    "twins/*/*.json*": (lambda place: load_run(place.parent.parent),),
    "twins/*/*.safetensors": (si.load_sae,),
    "twins/*/features/*.*": (_features,),
    "annotations*.tsv": (_annotations, load_run),
    "split.tsv": (load_run,),
    "hits.tsv": (si.read_hits, load_run),
    "hits.context.json": (si.read_hits, load_run),
    "hits.baselines.tsv": (si.read_hits, load_run),
    "hits.sets.tsv": (si.read_hits, load_run),
    "enrichment.tsv": (load_run,),
    "candidates.tsv": (load_run,),
    "candidates.json": (read_candidates, load_run),
    "manifest.json": (load_run, si.read_hits),
}


@pytest.fixture(scope="module")
def sound(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run with a browser."""
    folder = Path(shutil.copytree(small_run, tmp_path_factory.mktemp("sound") / "run"))
    write_browser(load_run(folder))
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "run"))


def files(folder: Path) -> list[str]:
    """Names of the files that have a checksum, in order."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return [name for name in names if not any(fnmatch(name, known) for known in UNCHECKED)]


def harm(path: Path, kind: str, seed: int) -> bool:
    """Damage a file; False where it cannot be damaged so."""
    raw, draw = bytearray(path.read_bytes()), random.Random(f"{path.name} {seed}")
    if kind == "removed":
        path.unlink()
        return True
    places = [m.start() for m in re.finditer(rb"\d", raw)] if kind == "digit" else range(len(raw))
    if not places or (kind == "digit" and path.suffix not in TEXT):
        return False
    place = draw.choice(places)
    raw[place] = 48 + (raw[place] - 47 + draw.randrange(9)) % 10 if kind == "digit" else raw[place] ^ 1
    path.write_bytes(raw)
    return True


def harms(folder: Path, seeds: int) -> Iterator[tuple[str, str]]:
    """Damage one file after another, each mended before the next: its name and how."""
    for name in files(folder):
        whole = (folder / name).read_bytes()
        for kind in KINDS:
            for seed in range(1 if kind == "removed" else seeds):
                if harm(folder / name, kind, seed):
                    yield name, f"{kind} {seed}"
                (folder / name).write_bytes(whole)


def readers(name: str) -> list[Callable[[Path], Any]]:
    place = name.rpartition("/")[0]
    rows = [row for row in READERS if row.count("/") == name.count("/") and fnmatch(name, row)]
    return list(dict.fromkeys(read for row in rows for read in READERS[row])) if place or rows else []


def unnoticed(folder: Path, seeds: int) -> list[str]:
    """Damage that a reader of the file takes, or says in more than a line."""
    missed = []
    for name, how in harms(folder, seeds):
        for read in readers(name):
            try:
                read((folder / name).parent)
            except SciinterpError as error:
                if "\n" in str(error):
                    missed.append(f"{name} ({how}): several lines")
            else:
                missed.append(f"{name} ({how})")
    return missed


def test_a_sound_run_is_read_and_every_file_of_it_is_checked(sound: Path) -> None:
    found = check_files(sound).set_index("file")["status"]
    assert found.index.is_unique
    assert found[files(sound)].eq("ok").all()
    assert {read((sound / name).parent) is not None for name in files(sound) for read in readers(name)}


@pytest.mark.parametrize("kind", KINDS)
def test_verify_names_every_damaged_file(folder: Path, kind: str) -> None:
    """All at once, but for those that say what to check."""
    heads = [name for name in files(folder) if Path(name).name in ("manifest.json", "cfg.json")]
    leaves = [n for n in files(folder) if n not in heads and harm(folder / n, kind, 0)]
    found = check_files(folder).set_index("file")["status"]
    assert found[leaves].eq("damaged").all()
    assert found[heads].eq("ok").all()


@pytest.mark.parametrize("kind", KINDS)
def test_verify_names_every_damaged_head(folder: Path, kind: str) -> None:
    for name in files(folder):
        if Path(name).name in ("manifest.json", "cfg.json"):
            whole = (folder / name).read_bytes()
            assert harm(folder / name, kind, 1)
            assert check_files(folder).set_index("file")["status"][name] == "damaged"
            (folder / name).write_bytes(whole)


def test_what_reads_a_file_refuses_it(folder: Path) -> None:
    assert unnoticed(folder, 1) == []


@pytest.mark.slow
def test_ten_places_of_every_file(folder: Path) -> None:
    assert unnoticed(folder, 10) == []
    missed = [
        f"{name} ({how})"
        for name, how in harms(folder, 10)
        if not (check_files(folder)["status"] == "damaged").any()
    ]
    assert missed == []


@pytest.mark.parametrize("verb", ["report", "browse", "verify"])
@pytest.mark.parametrize("name", ["hits.tsv", "features/shard-000000.json"])
def test_a_verb_stops_at_damage(folder: Path, verb: str, name: str) -> None:
    """A report was written, and browsed, of codes whose record beside the shard was damaged."""
    harm(folder / name, "digit", 0)
    said = command(verb, str(folder))
    assert said.returncode == (1 if verb == "verify" else 2)
    assert name in said.stdout + said.stderr
    assert "Traceback" not in said.stderr


# What a verb reads of a run folder: every file of it, and those tried by default.
INPUTS = {
    "associate": ("features/*", "activations/*", "control/features/*", "annotations*.tsv"),
    "discover": ("features/*", "control/features/*", "annotations*.tsv", "hits.*s[tv]*", "manifest.json"),
}
TRIED = {"associate": ("activations/shard-*0.safetensors", "control/features/index*"), "discover": ("features/shard-*0.safetensors", "manifest.json")}  # fmt: skip


def stopped(
    verb: str, folder: Path, patterns: tuple[str, ...], kinds: tuple[str, ...]
) -> tuple[int, list[str]]:
    """How many damaged inputs a command was given, and those at which it neither stopped with one line that names them
    nor made them again (hits), as they were.
    """
    tried, missed = 0, []
    kept = {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    for name in (
        n for n in files(folder) if any(fnmatch(n, p) and n.count("/") == p.count("/") for p in patterns)
    ):
        whole = (folder / name).read_bytes()
        for kind in kinds:
            if not harm(folder / name, kind, 0):
                continue
            tried += 1
            out = folder if verb == "discover" else folder / "again"
            said = command(verb, str(folder / "features"), str(folder / "annotations.tsv"), "--out", str(out))
            errors = [line for line in said.stderr.splitlines() if "error: " in line]
            named = len(errors) == 1 and Path(name).name in errors[0] and "Traceback" not in said.stderr
            made_again = said.returncode == 0 and (folder / name).read_bytes() == whole
            if not (made_again or (said.returncode == 2 and named)):
                missed.append(f"{name} ({kind}): {said.returncode} {said.stderr[-300:]!r}")
            (folder / name).write_bytes(whole)
            assert not (folder / "again" / "hits.tsv").exists()
            results = [p for p, raw in kept.items() if p.suffix != ".jsonl" and p.read_bytes() != raw]
            assert results == [], "a result was written from damaged inputs"
    return tried, missed


@pytest.mark.parametrize("verb", TRIED)
def test_a_command_stops_at_a_damaged_input(folder: Path, verb: str) -> None:
    tried, missed = stopped(verb, folder, TRIED[verb], KINDS[:1])
    assert tried >= len(TRIED[verb])
    assert missed == []


@pytest.mark.slow
@pytest.mark.parametrize("verb", INPUTS)
def test_a_command_stops_at_every_damaged_input(folder: Path, verb: str) -> None:
    tried, missed = stopped(verb, folder, INPUTS[verb], KINDS)
    print(f"{verb}: {tried} damaged inputs")
    assert tried > 20
    assert missed == []


def test_an_sae_that_stands_alone_keeps_its_seal(small_run: Path, tmp_path: Path) -> None:
    """A damaged name of the checksum does not make the file one without a checksum."""
    alone = Path(shutil.copytree(small_run / "sae", tmp_path / "mine"))
    lines = (alone / "cfg.json").read_text().splitlines(keepends=True)
    seal = next(line for line in lines if line.startswith('  "sha256"'))
    for written in (seal.replace("sha256", "sha255"), ""):
        (alone / "cfg.json").write_text("".join(written if line == seal else line for line in lines))
        assert check_files(alone).set_index("file")["status"]["cfg.json"] == "damaged"
        with pytest.raises(SciinterpError):
            si.load_sae(alone)


def test_a_new_stage_is_timed_checked_and_resumed_by_its_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One entry in the ledger's table, and nothing else."""
    monkeypatch.setitem(ledger.STAGES, "assay", ledger.Stage("assay", "", ("assay.tsv", "assay/*.json")))
    monkeypatch.setitem(ledger.STAGES, "rank", ledger.Stage("rank", "", ("rank.tsv",), ("assay",)))
    (tmp_path / "assay").mkdir()
    for stage in ("assay", "rank"):
        with ledger.recorded(stage, tmp_path, settings={"seed": 0}):
            (tmp_path / f"{stage}.tsv").write_text("sample\tvalue\nA\t1\n")
            (tmp_path / "assay" / "fit.json").write_text("1\n")
    timed = (tmp_path / ledger.TIMINGS).read_text().splitlines()
    assert [json.loads(line)["stage"] for line in timed] == ["assay", "rank"]
    assert ledger.is_done(tmp_path, "assay")
    assert ledger.is_done(tmp_path, "rank")
    status = check_files(tmp_path).set_index("file")["status"]
    assert status[["manifest.json", "assay.tsv", "assay/fit.json", "rank.tsv"]].eq("ok").all()
    with ledger.recorded("assay", tmp_path, settings={"seed": 1}):
        (tmp_path / "assay.tsv").write_text("sample\tvalue\nA\t2\n")
    assert not ledger.is_done(tmp_path, "rank"), "what it was made from has changed"
    (tmp_path / "assay.tsv").write_text("sample\tvalue\nA\t3\n")
    assert not ledger.is_done(tmp_path, "assay")
    with pytest.raises(StoreError, match="damaged"):
        ledger.require_intact(tmp_path, *ledger.read_files(tmp_path))
    assert check_files(tmp_path).set_index("file")["status"]["assay.tsv"] == "damaged"


def test_a_ledger_of_version_1_is_read_and_checked(tmp_path: Path) -> None:
    """Its checksums stand in ``files``; its seal is of the same kind."""
    (tmp_path / "hits.tsv").write_text("feature\tconcept\n1\tsite\n")
    kept = {"hits.tsv": ledger.sha256_file(tmp_path / "hits.tsv")}
    ledger.write_ledger(tmp_path, {"settings": {"seed": 0}, "complete": True, "licences": {}, "files": kept})
    manifest = {**ledger.read_json(tmp_path / ledger.NAME), "version": 1}
    manifest = ledger.seal(manifest)
    write_json(tmp_path / ledger.NAME, manifest)
    assert check_files(tmp_path)["status"].eq("ok").all()
    assert ledger.read_files(tmp_path) == ["hits.tsv"]
    (tmp_path / "hits.tsv").write_text("feature\tconcept\n2\tsite\n")
    with pytest.raises(StoreError, match="damaged"):
        ledger.require_intact(tmp_path, "hits.tsv")
    write_json(tmp_path / ledger.NAME, {**manifest, "complete": False})
    with pytest.raises(StoreError, match="manifest is damaged"):
        ledger.read_ledger(tmp_path)


def test_the_manifest_of_somebody_else_is_not_ours_to_judge(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "page", "version": 3, "settings": {}}')
    (tmp_path / "sites.tsv").write_text("sample\tstart\tend\tconcept\nA\t0\t2\tsite\n")
    assert len(si.read_annotations(tmp_path / "sites.tsv")) == 1


def test_samples_that_unpack_to_gigabytes_are_refused_before(tmp_path: Path) -> None:
    """One text of 100,000 letters that 200,000 cells mean: 300 KB that declare themselves as 2 MB."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    n = 200_000
    head = {"kind": "protein", "digest": "", "data": "text", "source": "", "n_in": n, "dropped": {}}
    one = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array(["A" * 100_000]))
    columns = {"id": pa.array([str(i) for i in range(n)]), "length": pa.array([100_000] * n), "data": one}
    table = pa.table(columns).replace_schema_metadata({"version": "1", "samples": json.dumps(head)})
    pq.write_table(table, tmp_path / SAMPLES, compression="zstd", store_schema=False)
    with pytest.raises(FormatError, match="declares what the file does not hold"):
        load_samples(tmp_path)


def test_candidates_of_a_folder_inside_a_run_are_held_against_its_ledger(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    path = tmp_path / "full" / "candidates.json"
    text = '{"candidates": [], "context": {"seed": 0}}'
    path.write_text(text)
    (tmp_path / "full.json").write_text("{}")
    with ledger.recorded("full", tmp_path):
        pass
    assert len(read_candidates(tmp_path / "full")) == 0
    path.write_text(text.replace("0", "1"))
    with pytest.raises(StoreError, match="damaged"):
        read_candidates(tmp_path / "full")


# Records that a stage keeps beside its table, and who reads one alone: a new stage of this kind adds a row.
RECORDS: dict[str, tuple[str, Any, Callable[[Path], Any]]] = {
    "turn": ("turning", {"table": [{"effect": 1.25}]}, read_turning),
    "readout": ("readout", {"labels": {"kind": {"n": 24}}}, read_readouts),
    "assay": ("assay", {"assays": {"scan": {"n_refused": 3}}}, read_assays),
    "variants": ("variants", {"n": 1, "rows": [{"row": 12}]}, read_assays),
}


@pytest.mark.parametrize("stage", RECORDS)
def test_a_record_read_alone_is_checked(stage: str, tmp_path: Path) -> None:
    name, content, read = RECORDS[stage]
    with ledger.recorded(stage, tmp_path, settings={}):
        (tmp_path / f"{name}.tsv").write_text("n\tp\n12\t0.5\n")
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    read(tmp_path)
    for file in (f"{name}.tsv", f"{name}.json"):
        whole = (tmp_path / file).read_bytes()
        for kind in KINDS:
            for seed in range(1 if kind == "removed" else 10):
                assert harm(tmp_path / file, kind, seed)
                with pytest.raises(SciinterpError, match=file) as caught:
                    read(tmp_path)
                assert "\n" not in str(caught.value)
                assert check_files(tmp_path).set_index("file")["status"][file] == "damaged"
                (tmp_path / file).write_bytes(whole)
    read(tmp_path)


@pytest.mark.parametrize("file", ["plan.json", "world-0.json"])
def test_an_outcome_that_is_kept_is_checked(file: str, tmp_path: Path) -> None:
    """Of benchmarks and comparisons: refused, or made again as it was."""
    calls: list[int] = []

    def read() -> dict[str, Any]:
        folder = planned_folder(tmp_path, {"seed": 0, "name": "small"})
        return kept(folder, "world-0", lambda: {"n": len(calls), "rows": [calls.append(0) or 1.25]})

    first = read()
    assert (first, len(calls)) == ({"n": 0, "rows": [1.25]}, 1)
    whole, path = (tmp_path / file).read_bytes(), tmp_path / file
    for kind in KINDS[:2]:
        for seed in range(10):
            assert harm(path, kind, seed)
            assert check_files(tmp_path).set_index("file")["status"][file] == "damaged"
            try:
                found = read()
            except SciinterpError as error:
                assert file in str(error) and "\n" not in str(error)  # noqa: PT017
            else:
                assert found["rows"] == first["rows"] and (len(calls) > 1 or path.read_bytes() == whole)
            del calls[1:]
            path.write_bytes(whole)
    assert read() == first
    assert check_files(tmp_path)["status"].eq("ok").all()
