"""Train in child processes that are killed outright (SIGKILL) at given points, until one comes to the end.

    python kill_training.py OUT ARCHITECTURE

Prints how many children died, and where. The parent has one thread, as what is forked must.
"""

import os
import random
import signal
import sys
from pathlib import Path

import numpy as np
import torch

import sciinterp as si
from sciinterp.sae import loop
from sciinterp.sae.loop import train
from sciinterp.sae.settings import TrainSettings

X = np.random.default_rng(0).normal(size=(3000, 12)).astype(np.float32) * 3 + 1
KINDS = {
    "topk": si.TopK(40, k=4),
    "batchtopk": si.BatchTopK(40, k=4),
    "jumprelu": si.JumpReLU(40, target_l0=4),
}
SETTINGS = TrainSettings(
    steps=60, batch_size=128, checkpoint_every=4, log_every=3, dead_window=0.05, screen="on"
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_step(step: int) -> None:
    whole = loop._Run.advance

    def advance(self, *batch):
        if self.done == step:
            die()
        return whole(self, *batch)

    loop._Run.advance = advance


def inside_write(name: str, nth: int) -> None:
    """Die at the ``nth`` call of ``os.fsync`` (a temporary is there, the file is not) or ``os.replace``."""
    whole, calls = getattr(os, name), []

    def counted(*arguments):
        calls.append(1)
        if len(calls) == nth:
            die()
        return whole(*arguments)

    setattr(os, name, counted)


def main(out: Path, kind: str) -> None:
    torch.set_num_threads(1)
    train(
        X, KINDS[kind], settings=TrainSettings(steps=2, batch_size=128, screen="on")
    )  # compiles for all children
    draw = random.Random(kind)
    points = [(at_step, (step,)) for step in sorted(draw.sample(range(60), 10))]
    points += [(inside_write, (name, nth)) for nth in range(2, 12, 3) for name in ("fsync", "replace")]
    died = []
    for point in [*points, None]:
        child = os.fork()
        if not child:
            if point:
                point[0](*point[1])
            train(X, KINDS[kind], settings=SETTINGS, out=out)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            died.append(f"{point[0].__name__}{point[1]}")
        elif status:
            raise SystemExit(f"a child failed: {status}")
    print(len(died), *died)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
