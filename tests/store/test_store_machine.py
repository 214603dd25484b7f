"""Any order of writing, dying, damaging, resuming and reading: right numbers or an error, never wrong ones."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from worlds import LENGTHS, build, plan, samples, tree, values

from sciinterp.errors import MismatchError, SciinterpError
from sciinterp.store.reader import Reader
from sciinterp.store.shards import open_writer


class Killed(BaseException):
    """Not an Exception, as a signal is not."""


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.folder, self.damaged = self.root / "s", False
        build(self.root / "whole")
        self.whole = tree(self.root / "whole")
        self.rows = np.concatenate([values(i) for i in range(len(LENGTHS))])
        self.open = None

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @rule(after=st.integers(0, 3))
    def write_and_die(self, after):
        made = 0

        def stop(_):
            nonlocal made
            made += 1
            if made > after:
                raise Killed

        try:
            build(self.folder, computed=stop)
        except (Killed, SciinterpError):
            return
        self.damaged = self.damaged and tree(self.folder) != self.whole

    @rule()
    def finish(self):
        try:
            build(self.folder)
        except SciinterpError:
            assert self.damaged
            return
        if not self.damaged:
            assert tree(self.folder) == self.whole

    @rule(seed=st.integers(0, 10**6))
    def damage(self, seed):
        files = sorted(p for p in self.folder.rglob("*") if p.is_file()) if self.folder.exists() else []
        if not files:
            return
        rng = random.Random(seed)
        path = rng.choice(files)
        raw = bytearray(path.read_bytes())
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        path.write_bytes(raw)
        self.damaged = tree(self.folder) != {k: self.whole[k] for k in tree(self.folder)}

    @rule()
    def lose_the_manifest(self):
        (self.folder / "manifest.json").unlink(missing_ok=True)

    @rule()
    def begin_anew(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.damaged, self.open = False, None

    @rule()
    def another_plan(self):
        if not self.folder.exists():
            return
        before = tree(self.folder)
        try:
            with open_writer(self.folder, plan(site={"name": "other"}), samples()) as writer:
                assert not before
                assert writer.missing
        except (MismatchError, SciinterpError):
            assert tree(self.folder) == before
            return
        self.begin_anew()

    @rule()
    def open_reader(self):
        try:
            self.open = Reader(self.folder)
        except SciinterpError:
            self.open = None

    @invariant()
    def what_is_read_is_right(self):
        """A fresh reader and one opened long ago give the right numbers or raise."""
        readers = [self.open] if self.open else []
        try:
            readers.append(Reader(self.folder))
        except SciinterpError:
            whole = self.folder.exists() and tree(self.folder) == self.whole
            assert not whole
        for reader in readers:
            try:
                got = reader.read_stored(0, reader.n)
            except SciinterpError:
                continue
            np.testing.assert_array_equal(got, self.rows)


StoreMachine.TestCase.settings = settings(max_examples=8, stateful_step_count=12, deadline=None)
test_any_order = StoreMachine.TestCase
