"""Killed at every step of every write, a second run ends byte-identical, one shard repeated at most."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from worlds import BOUNDS, SCHEMAS, build, build_codes, build_run, tree

from sciinterp.errors import StoreError
from sciinterp.store import ledger
from sciinterp.store.reader import Reader
from sciinterp.store.verify import check_files

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the crash harness needs fork")
CALLS = ("open", "write", "ftruncate", "fsync", "replace", "unlink", "close", "mkdir")


class Faults:
    """Counts every call that reaches the file system from the store, and does something at the n-th.

    A write through a file object counts too, and half of its bytes reach the disk before the fault.
    """

    def __init__(self, patch, act) -> None:
        self.count, self.act = 0, act
        for name in CALLS:
            patch(os, name, self._wrapped(getattr(os, name)))
        real = os.fdopen
        patch(os, "fdopen", lambda fd, mode: _Torn(real(fd, mode), self))

    def step(self) -> None:
        self.count += 1
        self.act(self.count)

    def _wrapped(self, call):
        def counted(*args, **kwargs):
            self.step()
            return call(*args, **kwargs)

        return counted


class _Torn:
    def __init__(self, file, faults) -> None:
        self.file, self.faults = file, faults

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        half = len(memoryview(data)) // 2
        self.file.write(memoryview(data)[:half])
        self.file.flush()
        self.faults.step()
        self.file.write(memoryview(data)[half:])


def setter(obj, name, value):
    setattr(obj, name, value)


def count_steps(folder: Path, monkeypatch, build=build) -> int:
    with monkeypatch.context() as patch:
        faults = Faults(patch.setattr, lambda _: None)
        build(folder)
        return faults.count


def killed_at(step: int, folder: Path, build=build) -> int:
    """Build in a child that dies without any clean-up at a step; how many shards it had begun to make."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        plain_write, kill = os.write, os._exit
        Faults(setter, lambda n: kill(9) if n == step else None)
        try:
            build(folder, computed=lambda _: plain_write(write, b"."))
        finally:
            kill(0)
    os.close(write)
    begun = b""
    while piece := os.read(read, 64):
        begun += piece
    os.close(read)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 9
    return len(begun)


# Each repetition waits for some dozens of fsyncs: a sample by default, every step with -m slow.
SWEEPS = [pytest.param(9, id="every-9th-step"), pytest.param(1, id="every-step", marks=pytest.mark.slow)]


@pytest.mark.parametrize("build", [build, build_codes, build_run], ids=[*SCHEMAS, "ledger"])
@pytest.mark.parametrize("every", SWEEPS)
def test_killed_at_steps(tmp_path, monkeypatch, every, build):
    whole = tmp_path / "whole"
    steps = count_steps(whole, monkeypatch, build)
    expected = tree(whole)
    assert steps > 40
    folder = tmp_path / "x"
    kills = range(1, steps + 1, every)
    for step in kills:
        begun = killed_at(step, folder, build)
        again = build(folder)
        assert tree(folder) == expected, f"killed at step {step} of {steps}"
        assert (check_files(folder)["status"] != "damaged").all(), f"killed at step {step} of {steps}"
        assert begun + again <= len(BOUNDS), f"step {step}: {begun} + {again} shards or stages made"
        shutil.rmtree(folder)
    print(f"{len(kills)} kills over {steps} steps")


def test_what_a_killed_verb_left_in_a_run_folder_goes_when_nobody_writes_to_it(tmp_path):
    build_run(tmp_path / "run")
    fresh, old = (tmp_path / "run" / f".sciinterp-{name}.tmp" for name in ("fresh", "old"))
    for path in (fresh, old):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    with ledger.recorded("report", tmp_path / "run"):
        pass
    assert fresh.exists()
    assert not old.exists()


def test_killed_again_and_again(tmp_path, monkeypatch):
    """Every run dies a few steps after it began to be useful; the store still ends whole."""
    whole = tmp_path / "whole"
    build(whole)
    folder = tmp_path / "x"
    for step in (20, 35, 50, 50, 50, 60):
        child = os.fork()
        if child == 0:
            kill = os._exit
            Faults(setter, lambda n, step=step, kill=kill: kill(9) if n == step else None)
            try:
                build(folder)
            finally:
                kill(0)
        os.waitpid(child, 0)
    build(folder)
    assert tree(folder) == tree(whole)


@pytest.mark.parametrize("every", SWEEPS)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_error_at_steps_leaves_a_store_that_resumes(tmp_path, monkeypatch, code, every):
    """A full disk is one clear error, whenever it happens; what was finished before is whole and kept."""
    whole = tmp_path / "whole"
    steps = count_steps(whole, monkeypatch)
    expected = tree(whole)
    seen = set()
    for step in range(1, steps + 1, every):
        folder = tmp_path / f"x{step}"

        def fail(n, step=step):
            if n == step:
                raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            Faults(patch.setattr, fail)
            try:
                build(folder)
            except StoreError as error:
                seen.add(str(error).split(",")[0])
            except OSError:
                seen.add("plain")  # closing the lock: nothing was being written
        for path in folder.glob("*.safetensors"):
            assert path.read_bytes() == expected[path.name]
        build(folder)
        assert tree(folder) == expected, f"error at step {step} of {steps}"
        shutil.rmtree(folder)
    if code == errno.ENOSPC:
        assert "no space left to write" in seen


def test_a_disk_that_is_really_full(tmp_path):
    """On a tmpfs of 128 KiB: one error that names the need, the old file whole, and a run that resumes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        build(tmp_path / "whole")
        filler = disk / "filler"
        filler.write_bytes(b"x" * (96 << 10))
        with pytest.raises(
            StoreError, match=r"no space left to write.*bytes free.*what was finished is kept"
        ):
            build(disk / "x", pad="y" * 40000)
        filler.unlink()
        build(disk / "x", pad="y" * 40000)
        assert Reader(disk / "x").n == Reader(tmp_path / "whole").n
    finally:
        subprocess.run(["umount", str(disk)], check=True)
