"""Single variants beside bare forward passes of the changed sequences, and the time of a control matrix.

    python tests/bench/bench_causes.py [--variants 1000] [--run runs/demo] [--chains 40] [--concepts 20] [--quick] [--threads 2]

* variants: all features and likelihoods of single variants of a chain of 120 residues on AntiBERTy, over what the model
  alone needs for the same sequences in the same batches; above one the difference is codes, comparison and likelihoods.
* control: concepts of a finished run, 8 directions each (feature, set, three plain ones, random features), up to 5 doses,
  in so many held-out chains; the doses of all chains, and those of a few chains that are asked before, count as passes.
* quick: what a plain run (as the demo) measures of its selected features, in place of that.

Processor and wall seconds of so many threads: a busy machine stretches the wall clock alone.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import torch

import sciinterp as si
from sciinterp.interventions.control_matrix import QUICK, ControlSettings
from sciinterp.interventions.reading import batches
from sciinterp.project import load_run
from sciinterp.sae.base import TopKSAE
from sciinterp.samples import Sample, Samples

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
CHAIN = "EVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKNTLYLQMNSLRAEDTAVYYCAKDRGYSGYDWYFDLWGRGTLVTV"


def variants(model, n: int) -> None:
    """Ratio of variant effects to bare passes."""
    torch.manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(1024, 512), dim=1)
    sae = TopKSAE(directions.T.clone(), torch.zeros(1024), directions, torch.zeros(512), k=32)
    sae.origin = model.origin_at("layers.4")
    changes = [(i, b) for i in range(len(CHAIN)) for b in LETTERS if b != CHAIN[i]]
    some = [changes[i] for i in np.random.default_rng(0).choice(len(changes), n, replace=False)]
    changed = [Sample(f"v{k}", CHAIN[:i] + b + CHAIN[i + 1 :]) for k, (i, b) in enumerate(some)]
    begun = time.process_time()
    with torch.no_grad():
        for _, batch in batches(model, changed):
            model.logits(batch)
    bare = time.process_time() - begun
    frame = pd.DataFrame({"sample": "s", "variant": [f"{CHAIN[i]}{i + 1}{b}" for i, b in some]})
    begun = time.process_time()
    si.variant_effects(model, sae, Samples(["s"], [CHAIN]), frame)
    ours = time.process_time() - begun
    print(f"{n} variants: {ours:.1f} s, bare passes {bare:.1f} s, ratio {ours / bare:.2f}")


def control(model, folder: str, settings: ControlSettings, concepts: int | None) -> None:
    """Seconds of a matrix."""
    made = load_run(folder)
    assert made.hits is not None and made.features is not None
    hits = made.hits
    if concepts is not None:
        chosen = hits[hits["selected"]].nlargest(concepts, "f1_train")["concept"]
        hits = hits[hits["concept"].isin(set(chosen))]
    begun, started = time.process_time(), time.perf_counter()
    table = si.control_matrix(
        model, made.features, hits, made.annotations, split=made.split, acts=made.acts, settings=settings
    )
    spent, wall = time.process_time() - begun, time.perf_counter() - started
    doses, n = table.context["doses"].query("dose > 0"), table["concept"].nunique()
    print(
        f"control: {n} concepts of {len(table) / n:.1f} directions, {len(doses) / len(table):.1f} doses each, "
        f"{table['n_samples'].mean():.0f} chains: {wall:.0f} s, {spent:.0f} s of processor; not run {table.context['not_run']}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--variants", type=int, default=1000)
    parser.add_argument("--run", default="")
    parser.add_argument("--chains", type=int, default=40)
    parser.add_argument("--concepts", type=int, default=20)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = si.load_model("antiberty")
    if given.variants:
        variants(model, given.variants)
    if given.run:
        whole = ControlSettings(n_samples=given.chains, n_random=3, n_noise=0, n_doses=5)
        control(model, given.run, QUICK if given.quick else whole, None if given.quick else given.concepts)


if __name__ == "__main__":
    main()
