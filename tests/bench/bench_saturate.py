"""A whole scan against the bare forward passes it needs: ``python tests/bench/bench_saturate.py --n 20000``.

Single and double mutants of a chain of 120 residues (it has 2,280 single ones) under AntiBERTy and a seeded dictionary of
1,024 features, 32 active. Bare passes are what no scan can leave out: one a mutant, stopped at the SAE's site, and one of
the whole model a hidden position. The scan is `si.saturate`: changes of features and activations, masked and wild-type
marginals. Both run part by part in turn, so that the machine's other work weighs on both alike; processor seconds, and the
ratio, whose bar is 1.3.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

import sciinterp as si
from sciinterp.interventions.reading import batches
from sciinterp.models import CanMask, HasLogits, capture
from sciinterp.readers.notation import parse_variant
from sciinterp.sae.base import TopKSAE

LETTERS, LENGTH, BAR = "ACDEFGHIKLMNPQRSTVWY", 120, 1.3


def seconds(run: Callable[..., object], *given: object, **named: object) -> float:
    start = time.process_time()
    run(*given, **named)
    return time.process_time() - start


def mutants_of(wild: str, n: int) -> list[str]:
    """Every single substitution first, in a random order, then pairs."""
    rng = np.random.default_rng(0)
    single = [f"{x}{i + 1}{y}" for i, x in enumerate(wild) for y in LETTERS if y != x]
    names = dict.fromkeys(rng.permutation(single)[:n].tolist())
    while len(names) < n:
        places = sorted(rng.choice(len(wild), 2, replace=False).tolist())
        changed = [rng.choice([x for x in LETTERS if x != wild[i]]) for i in places]
        names[";".join(f"{wild[i]}{i + 1}{x}" for i, x in zip(places, changed))] = None
    return list(names)


@torch.no_grad()
def bare(model: si.models.Adapter, site: str, samples: Sequence[si.Sample]) -> None:
    for _, batch in batches(model, samples):
        capture(model, [site], batch)


@torch.no_grad()
def hidden(model: si.models.Adapter, wild: si.Sample) -> None:
    """The whole model, once a position that is hidden."""
    assert isinstance(model, CanMask) and isinstance(model, HasLogits)
    for numbers, batch in batches(model, [wild] * wild.length):
        where = batch.mask & (batch.spans[..., 0] == torch.from_numpy(numbers)[:, None])
        model.logits(model.masked(batch, where))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--n", type=int, default=2280)
    parser.add_argument("--site", default="layers.4")
    parser.add_argument("--part", type=int, default=500, help="mutants of one turn")
    options = parser.parse_args()
    model = si.load_model("antiberty")
    width = int(model.sites().loc[options.site, "width"])
    torch.manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(1024, width), dim=1)
    sae = TopKSAE(directions.T.clone(), torch.zeros(1024), directions, torch.zeros(width), k=32)
    sae.origin = model.origin_at(options.site)
    sample = si.Sample("wild", "".join(np.random.default_rng(0).choice(list(LETTERS), LENGTH)))
    changes = [parse_variant(v) for v in mutants_of(sample.sequence, options.n)]
    si.saturate(model, sae, sample, changes[:4])  # what is paid once
    scan, passes = 0.0, seconds(hidden, model, sample)
    for low in range(0, len(changes), options.part):
        part = changes[low : low + options.part]
        samples = [c.apply(sample) for c in part]
        passes += seconds(bare, model, options.site, samples)
        scan += seconds(si.saturate, model, sae, sample, part, likelihood=low == 0)
        n, ratio = low + len(part), f"ratio {scan / passes:.3f} (bar {BAR})"
        print(f"{n} mutants: scan {scan:.1f} s, bare passes {passes:.1f} s, {ratio}", flush=True)


if __name__ == "__main__":
    main()
