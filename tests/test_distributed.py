"""Ranks of a real torchrun: the same files as of one process, trainings that repeat themselves, ends without hanging."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import program_of_ranks as program
import pytest
import torch
from program_of_ranks import ends_plainly, files

import sciinterp as si
from sciinterp import distributed

HERE = Path(__file__).parent
# Ranks killed in each stage, at random.
TIMES = int(os.environ.get("SCIINTERP_KILLS", "10"))


def torchrun(*arguments: object, **kwargs) -> subprocess.Popen[str]:
    """Two ranks of one thread each."""
    path = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*command, str(HERE / "program_of_ranks.py"), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **kwargs,
    )


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """A folder, filled by one process of one thread."""
    folder, threads = tmp_path_factory.mktemp("ranks"), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for place, name, size in program.SMALL:
                patch.setattr(place, name, size)
            acts = program.activations(folder / "one" / "activations")
            fve = program.trained(folder / "one", acts)
            program.shared_out(folder / "one", si.load_sae(folder / "one" / "topk"))
            program.hits(folder / "one" / "hits")
            program.candidates(folder / "one" / "candidates", folder / "one" / "hits")
    finally:
        torch.set_num_threads(threads)
    return folder, fve


@pytest.fixture(scope="module")
def killed(one: tuple[Path, dict[str, float]]) -> str:
    """A rank is killed as it writes its second shard of activations: what was said."""
    started = time.monotonic()
    run = torchrun("extract", one[0], one[0] / "two" / "activations", 1, 12)
    errors = run.communicate(timeout=120)[1]
    assert run.returncode != 0 and time.monotonic() - started < 60
    return errors


@pytest.fixture(scope="module")
def two(one: tuple[Path, dict[str, float]], killed: str) -> tuple[Path, str]:
    """The same by two ranks, which go on where one of two was killed; and what they said."""
    run = torchrun("all", one[0])
    said, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors[-3000:]
    return one[0], said


@pytest.mark.parametrize("name", ["activations", "sites", "features", "sweep", "hits", "candidates"])
def test_two_ranks_write_the_files_of_one_process(two: tuple[Path, str], name: str) -> None:
    folder, _ = two
    mine, theirs = files(folder / "one" / name), files(folder / "two" / name)
    assert sorted(mine) == sorted(theirs)
    assert [path for path in mine if mine[path] != theirs[path]] == []


def test_one_rank_alone_may_write_an_association(two: tuple[Path, str]) -> None:
    alone, theirs = files(two[0] / "two" / "alone"), files(two[0] / "one" / "hits")
    assert "features.h5ad" in alone and [name for name in alone if alone[name] != theirs[name]] == []


@pytest.mark.parametrize("name", [a.name for a in program.ARCHITECTURES])
def test_training_by_two_ranks_repeats_itself_and_is_that_of_one_process(
    one: tuple[Path, dict[str, float]], two: tuple[Path, str], name: str
) -> None:
    folder, fve = one
    assert files(folder / "two" / name) == files(folder / "again" / name)
    assert si.load_sae(folder / "two" / name).metrics["fve"] == pytest.approx(fve[name], abs=1e-3)


def test_a_control_is_shared_out(two: tuple[Path, str]) -> None:
    control = si.load_features(two[0] / "two" / "control" / "features")
    assert control.samples.digest == program.the_samples()[0].digest


def test_a_killed_rank_ends_all_in_plain_words(killed: str) -> None:
    assert ends_plainly(killed), killed


def test_the_first_rank_alone_speaks(two: tuple[Path, str]) -> None:
    folder, said = two
    assert said.count("FeatureMatrix(") == 1 and said.count("kind: codes") == 1, said
    assert files(folder / "two" / "command").keys() == files(folder / "two" / "features").keys()


def test_one_process_is_a_rank_of_its_own() -> None:
    assert (distributed.size(), distributed.rank(), distributed.first()) == (1, 0, True)
    assert distributed.mine("abc") == "abc"
    assert distributed.gathered(3) == [3] and distributed.told(3) == 3 and distributed.total(3) == 3
    assert distributed.once(distributed.common_name(), torch.ones(2).numpy).tolist() == [1, 1]


def test_shares_are_all_and_none_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    for size in (1, 2, 3, 7):
        monkeypatch.setenv("WORLD_SIZE", str(size))
        for n in (0, 1, 5, 100):
            dealt = []
            for rank in range(size):
                monkeypatch.setenv("RANK", str(rank))
                dealt += distributed.share(n)
                with distributed.alone():
                    assert distributed.size() == 1
            assert dealt == list(range(n))


@pytest.mark.slow
def test_a_rank_that_fails_ends_all_with_one_message(tmp_path: Path) -> None:
    started = time.monotonic()
    run = torchrun("poisoned", tmp_path / "out")
    errors = run.communicate(timeout=120)[1]
    assert run.returncode != 0 and time.monotonic() - started < 90
    assert errors.count("error: NaN or infinity in the activations, sample 's/59' position 3") == 1, errors


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["extract", "encode", "train", "control", "associate", "discover"])
def test_a_rank_killed_anywhere_ends_all_and_resumes_to_the_same_bytes(
    one: tuple[Path, dict[str, float]], stage: str
) -> None:
    path = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(HERE / "program_of_ranks.py"), "sweep", str(one[0]), stage, str(TIMES)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-5000:]
    print(done.stdout.strip())
