"""What the ranks of one torchrun do in ``test_distributed.py``: every verb that is shared out, on a tiny model."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parent / "activations"))

from tiny_adapter import TinyAdapter, make_samples, natural_lengths

import sciinterp as si
from sciinterp import distributed
from sciinterp.activations import ExtractSettings
from sciinterp.cli import main
from sciinterp.codes import encoding, saving

# Several shards of few positions, and batches that two of them share.
SMALL = ((saving, "SHARD_POSITIONS", 400), (encoding, "BATCH_TOKENS", 300))
ARCHITECTURES = (
    si.TopK(24, k=4),
    si.BatchTopK(24, k=4),
    si.JumpReLU(24, target_l0=4),
    si.Gated(24),
    si.ReLU(24),
    si.Matryoshka(24, k=4),
)
STEPS = {"steps": 12, "batch_size": 128}


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


def trained(out: Path, acts: si.Activations) -> dict[str, float]:
    """Every architecture, each batch parted among the ranks."""
    split = the_samples()[1]
    found = {}
    for architecture in ARCHITECTURES:
        sae = si.train(acts, architecture, split=split, out=out / architecture.name, seed=1, **STEPS)
        found[architecture.name] = sae.metrics["fve"]
    return found


def command(*arguments: object) -> None:
    sys.argv = ["sciinterp", *map(str, arguments)]
    with contextlib.suppress(SystemExit):
        main()


def control(out: Path, sae: si.SAE) -> None:
    samples, split = the_samples()
    si.randomised_control(TinyAdapter(), sae, samples, split=split, out=out / "control")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for place, name, size in SMALL:
        setattr(place, name, size)
    what, folder = sys.argv[1], Path(sys.argv[2])
    distributed.begin()
    if what == "all":
        given = si.load_sae(folder / "one" / "topk")
        shared_out(folder / "two", si.load_sae(folder / "one" / "topk"))
        acts = si.load_activations(folder / "two" / "activations")
        trained(folder / "two", acts)
        trained(folder / "again", acts)
        control(folder / "two", given)
        command("encode", given.folder, acts.folder, "--out", folder / "two" / "command")
        command("info", folder / "two" / "command")
    elif what == "poisoned":
        model = TinyAdapter()
        model.poison = {str(the_samples()[0].data[-1]): 3}
        folder.mkdir(exist_ok=True)
        try:
            si.extract(
                model,
                the_samples()[0],
                site="layers.0",
                out=folder,
                settings=ExtractSettings(shard_tokens=400),
            )
        except si.errors.SciinterpError as error:
            if distributed.fails_first():
                print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
    elif what == "slow":  # until it is killed
        acts = si.load_activations(folder / "one" / "activations")
        how = {"steps": 4000, "batch_size": 128, "checkpoint_every": 20, "seed": 1}
        if distributed.rank() == int(sys.argv[3]):
            print("pid", os.getpid(), time.time(), flush=True)
        si.train(acts, si.BatchTopK(24, k=4), split=the_samples()[1], out=folder / sys.argv[4], **how)
    distributed.end()
