"""What the ranks of one torchrun do in ``test_distributed.py``: every verb that is shared out, on a tiny model."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

sys.path.append(str(Path(__file__).parent / "activations"))

from tiny_adapter import TinyAdapter, make_samples, natural_lengths

import sciinterp as si
from sciinterp import distributed
from sciinterp.activations import ExtractSettings
from sciinterp.association import blocks, set_chance, write_association
from sciinterp.cli import main, one_message
from sciinterp.codes import encoding, saving
from sciinterp.discovery import PlantedSettings, plant, sequence_readers
from sciinterp.errors import StoreError
from sciinterp.store.atomic import TEMPORARY_PREFIX, write_each

# Several shards of few positions, batches that two of them share, blocks of few features.
SMALL = (
    (saving, "SHARD_POSITIONS", 400),
    (encoding, "BATCH_TOKENS", 300),
    (blocks, "LEAST_VALUES", 400),
    (set_chance, "_AT_ONCE", 60),
    (sequence_readers, "ROWS", 16),
)
ARCHITECTURES = (
    si.TopK(24, k=4),
    si.BatchTopK(24, k=4),
    si.JumpReLU(24, target_l0=4),
    si.Gated(24),
    si.ReLU(24),
    si.Matryoshka(24, k=4),
)
STEPS = {"steps": 12, "batch_size": 128}
WORLD = PlantedSettings(
    n_families=24,
    n_masked=2,
    n_novel=1,
    n_merged=1,
    n_plain=6,
    n_features=48,
    n_seeds=2,
    members=(2, 4),
    length=(50, 80),
)


def the_samples() -> tuple[si.Samples, si.Split]:
    samples = make_samples(natural_lengths(60, low=10, high=60))
    return samples, si.split_families(samples, by=[str(i // 3) for i in range(60)])


def activations(out: Path, site: str | list[str] = "layers.0"):
    settings = ExtractSettings(shard_tokens=400)
    return si.extract(TinyAdapter(), the_samples()[0], site=site, out=out, settings=settings)


def shared_out(out: Path, sae: si.SAE) -> None:
    """Verbs whose files do not depend on the number of ranks."""
    acts, split = activations(out / "activations"), the_samples()[1]
    activations(out / "sites", ["embedding", "layers.1"])
    sae.folder = None  # what is kept of it is relative to the codes
    si.encode(sae, acts, out=out / "features")
    si.sweep_saes(acts, [si.TopK(16, k=k) for k in (2, 3, 4)], split=split, out=out / "sweep", **STEPS)


def hits(out: Path, alone: Path | None = None) -> None:
    """Hits of a planted world with every reader beside them; by the first rank alone they are written once more."""
    world, rng = plant(1, WORLD), np.random.default_rng(0)
    acts = np.asarray(world.features.codes @ rng.normal(size=(WORLD.n_features, 24)), np.float32)
    acts += rng.normal(scale=0.3, size=acts.shape).astype(np.float32)
    twins = {"randomised": world.seeds[0], "decoder": world.seeds[1]}
    out.mkdir(parents=True, exist_ok=True)
    given = world.features, world.annotations
    found = si.associate(*given, split=world.split, acts=acts, control=twins, out=out)
    if alone and distributed.first():
        write_association(alone, found, *given, split=world.split)


def candidates(out: Path, given: Path) -> None:
    """Candidates of the same world, by hits that are there."""
    world = plant(1, WORLD)
    how = {"split": world.split, "control": world.seeds[0]}
    out.mkdir(parents=True, exist_ok=True)
    si.discover(world.features, world.annotations, si.read_hits(given), **how, out=out)


def trained(out: Path, acts: si.Activations) -> dict[str, float]:
    """Every architecture, each batch parted among the ranks."""
    split = the_samples()[1]
    found = {}
    for architecture in ARCHITECTURES:
        sae = si.train(acts, architecture, split=split, out=out / architecture.name, seed=1, **STEPS)
        found[architecture.name] = sae.metrics["fve"]
    return found


def together(out: Path) -> None:
    """Things that ranks take in turn come back in order; one array serves all; what one cannot write all say."""
    assert list(distributed.spread(range(7), lambda n: (n, distributed.size()))) == [(n, 1) for n in range(7)]
    assert list(distributed.spread(range(2, 5), abs, threads=True)) == [2, 3, 4]
    name = distributed.common_name()
    if distributed.first():
        distributed.once(name, lambda: np.arange(3))
    distributed.meet()
    assert distributed.once(name, lambda: np.zeros(3)).tolist() == [0, 1, 2]
    writes = {"a": lambda: 1 / 0, **{name: partial((out / name).write_text, name) for name in "bcd"}}
    with pytest.raises(StoreError, match=r"1 of 4 files.*a \(division by zero\)"):
        write_each(out, writes, shared=True)
    assert {path.name: path.read_text() for path in out.iterdir()} == {name: name for name in "bcd"}


def command(*arguments: object) -> None:
    sys.argv = ["sciinterp", *map(str, arguments)]
    with contextlib.suppress(SystemExit):
        main()


def control(out: Path, sae: si.SAE) -> None:
    samples, split = the_samples()
    si.randomised_control(TinyAdapter(), sae, samples, split=split, out=out / "control")


def stage(what: str, given: Path, out: Path, rank: int, at: int) -> None:
    """One stage; one rank is killed when it meets the others, deals out, or writes a file for the so-manieth time."""
    met = [0]

    def counted(do: Callable) -> Callable:
        def done(*arguments: object, **options: object) -> object:
            met[0] += 1
            if distributed.rank() == rank and met[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return do(*arguments, **options)

        return done

    sae, stored = si.load_sae(given / "one" / "topk"), given / "one" / "activations"
    how = {"steps": 60, "batch_size": 128, "checkpoint_every": 10, "seed": 1}
    stages: dict[str, Callable[[], object]] = {
        "extract": lambda: activations(out),
        "encode": lambda: si.encode(sae, si.load_activations(stored), out=out),
        "train": lambda: si.train(
            si.load_activations(stored), si.BatchTopK(24, k=4), split=the_samples()[1], out=out, **how
        ),
        "control": lambda: control(out, sae),
        "associate": lambda: hits(out),
        "discover": lambda: candidates(out, given / "one" / "hits"),
    }
    for place, names in ((distributed, ("gathered", "told", "mine")), (os, ("replace", "fsync"))):
        for name in names:
            setattr(place, name, counted(getattr(place, name)))
    with one_message():
        stages[what]()
    print("met", distributed.rank(), met[0], flush=True)


def launched(*arguments: object) -> tuple[float, bool, dict[int, str], str]:
    """Two ranks of :func:`ranked` by the engine of torchrun, forked so that nothing is imported again.

    Seconds it took, whether it ended well, what each rank said on standard output, and what both did on standard error.
    """
    with tempfile.TemporaryDirectory() as logs:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=2,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            monitor_interval=0.1,
            start_method="fork",
            logs_specs=DefaultLogsSpecs(log_dir=logs, redirects=Std.ALL),
        )
        started, well = time.monotonic(), True
        try:
            elastic_launch(config, ranked)(*arguments)
        except ChildFailedError:
            well = False
        seconds = time.monotonic() - started
        said = {int(path.parent.name): path.read_text() for path in Path(logs).rglob("stdout.log")}
        errors = "".join(path.read_text() for path in sorted(Path(logs).rglob("stderr.log")))
    return seconds, well, said, errors


def ranked(what: str, given: Path, out: Path, rank: int, at: int) -> None:
    """What a rank does."""
    distributed.begin()
    stage(what, given, out, rank, at)
    distributed.end()


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for seconds and what a killed writer left, which a later one removes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "timings.jsonl" and not path.name.startswith(TEMPORARY_PREFIX)
    }


def ends_plainly(errors: str) -> bool:
    """At most one line of ours, and no traceback but torchrun's own summary of which rank was killed."""
    ours = errors.count("error: another rank has ended; run the same command again to resume")
    return ours <= 1 and "sciinterp/" not in errors.split("torch/distributed/run.py")[0]


def sweep(what: str, given: Path, times: int) -> None:
    """Kill a rank at random, so many times: all end in plain words within a minute, and the same command resumes."""
    for whole_one in ("compiled", "whole"):  # what is compiled, once, writes files that count
        _, well, said, errors = launched(what, given, given / f"{whole_one}_{what}", -1, 0)
        assert well, errors[-3000:]
    met = {rank: int(text.split("met")[-1].split()[1]) for rank, text in said.items()}
    whole, rng, slowest = files(given / f"whole_{what}"), np.random.default_rng([*what.encode()]), 0.0
    for number in range(times):
        out, well = given / f"killed_{what}_{number}", True
        while (
            well
        ):  # a rank that is free takes the next thing: it may come to fewer than it did in another run
            shutil.rmtree(out, ignore_errors=True)
            rank = int(rng.integers(2))
            at = int(rng.integers(1, met[rank] + 1))
            seconds, well, _, errors = launched(what, given, out, rank, at)
        slowest = max(slowest, seconds)
        assert not well and seconds < 60 and ends_plainly(errors), (what, rank, at, seconds, errors[-3000:])
        _, well, _, errors = launched(what, given, out, -1, 0)
        assert well, (what, rank, at, errors[-3000:])
        found = files(out)
        assert found == whole, (
            what,
            rank,
            at,
            sorted(k for k in {*found, *whole} if found.get(k) != whole.get(k)),
        )
    print(
        f"{what}: killed {times} times, all ended within {slowest:.1f} s and resumed to the same bytes",
        flush=True,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for place, name, size in SMALL:
        setattr(place, name, size)
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "sweep":
        sweep(sys.argv[3], folder, int(sys.argv[4]))
        sys.exit()
    distributed.begin()
    if what == "all":
        together(folder / "together")
        given = si.load_sae(folder / "one" / "topk")
        shared_out(folder / "two", si.load_sae(folder / "one" / "topk"))
        acts = si.load_activations(folder / "two" / "activations")
        trained(folder / "two", acts)
        trained(folder / "again", acts)
        control(folder / "two", given)
        command("encode", given.folder, acts.folder, "--out", folder / "two" / "command")
        command("info", folder / "two" / "command")
        hits(folder / "two" / "hits", alone=folder / "two" / "alone")
        candidates(folder / "two" / "candidates", folder / "one" / "hits")
    elif what == "poisoned":
        model = TinyAdapter()
        model.poison = {str(the_samples()[0].data[-1]): 3}
        folder.mkdir(exist_ok=True)
        settings = ExtractSettings(shard_tokens=400)
        with one_message():
            si.extract(model, the_samples()[0], site="layers.0", out=folder, settings=settings)
    else:
        stage(what, folder, Path(sys.argv[3]), *map(int, sys.argv[4:]))
    distributed.end()
