"""Pairs of models: which features of ProteinMPNN come back in SolubleMPNN and at other levels of noise in training?

``python tests/bench/bench_pairs.py RUN OUT``: on structures of a finished ``sciinterp demo --on structures``, dictionaries
of one recipe are trained on every model and matched one to one by their codes of held-out residues (Hungarian algorithm on
cosine). Beside stand a dictionary of the same model trained with another seed, which says how much of that is chance of
training, and codes moved along the residues, which say what matching finds where nothing is shared. Run again to resume.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

import sciinterp as si
from sciinterp.association.explanations import THRESHOLDS
from sciinterp.discovery.rediscovery import held_out_f1
from sciinterp.project import load_run
from sciinterp.sae.settings import TrainSettings
from sciinterp.sae.stability import match_codes

REFERENCE = "proteinmpnn-020"
OTHERS = ("solublempnn-020", "proteinmpnn-002", "proteinmpnn-010", "proteinmpnn-030")
SITE, STEPS, SHIFT = "layers.2", 300, 1013
# A code cosine from which a feature counts as found again, as between dictionaries of several seeds.
FOUND = 0.7


def chosen(samples: si.Samples, split: si.Split, n_train: int, n_test: int, longest: int) -> si.Samples:
    """The first samples of training and held-out families that are not longer."""
    fits = np.asarray(samples.lengths) <= longest
    parts = [part[fits[part]][:n] for part, n in ((split.train, n_train), (split.test, n_test))]
    return samples.subset(np.sort(np.concatenate(parts)))


def codes_of(name: str, seed: int, samples: si.Samples, split: si.Split, out: Path) -> sp.csr_array:
    acts = si.extract(si.load_model(name), samples, site=SITE, out=out / name / "activations")
    recipe = TrainSettings(steps=STEPS, batch_size=2048)
    sae = si.train(
        acts,
        si.TopK(n_features=512, k=16),
        split=split,
        out=out / name / f"sae-{seed}",
        seed=seed,
        settings=recipe,
    )
    return sp.csr_array(si.encode(sae, acts, out=out / name / f"features-{seed}").codes)


def concepts_of(codes: sp.csr_array, truth: np.ndarray, names: list[str], train: np.ndarray) -> list[str]:
    """Of every feature the concept it marks best on held-out families, empty below the floor."""
    out = []
    for j in range(codes.shape[1]):
        f1 = held_out_f1(codes[:, [j]].toarray().ravel(), truth, train, ~train)
        out.append(names[int(f1.argmax())] if f1.max() >= THRESHOLDS.floor else "")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=90)
    parser.add_argument("--test", type=int, default=45)
    parser.add_argument("--longest", type=int, default=300)
    args = parser.parse_args()
    run = load_run(args.run)
    assert run.features is not None
    samples = chosen(run.features.samples, run.split, args.train, args.test, args.longest)
    split = si.split_families(samples, by="family", seed=run.split.seed)
    part = np.zeros(len(samples), bool)
    part[split.train] = True
    train = np.repeat(part, samples.lengths)
    names = list(run.annotations.position_names)
    spots = run.annotations.instances(samples, names)
    truth = np.zeros((len(names), samples.n_positions), bool)
    for concept, start, end in zip(spots["concept"], spots["start"], spots["end"]):
        truth[int(concept), int(start) : int(end)] = True
    print(f"{len(samples)} structures, {len(train)} residues, {int((~train).sum())} of them held out")
    reference = codes_of(REFERENCE, 0, samples, split, args.out)
    mine = concepts_of(reference, truth, names, train)
    alive = np.diff(reference[~train].tocsc().indptr) > 0
    rows, unmatched = [], []
    others = [(REFERENCE, 1), *((name, 0) for name in OTHERS)]
    for name, seed in others:
        codes = codes_of(name, seed, samples, split, args.out)
        theirs = concepts_of(codes, truth, names, train)
        here, there = reference[~train], codes[~train]
        match, cosine = match_codes(here, there)
        n = there.shape[0]
        moved = match_codes(here, there[(np.arange(n) + SHIFT) % n])[1]
        both = [mine[j] and mine[j] == theirs[match[j]] for j in np.flatnonzero(alive)]
        back = np.zeros(there.shape[1], bool)
        back[match[cosine >= FOUND]] = True
        rows.append(
            {
                "model": name,
                "seed": seed,
                "median cosine": np.median(cosine[alive]),
                "found again": (cosine[alive] >= FOUND).mean(),
                "by chance": (moved[alive] >= FOUND).mean(),
                "with concept": sum(1 for j in np.flatnonzero(alive) if mine[j]),
                "same concept": sum(map(bool, both)),
            }
        )
        gone = [mine[j] for j in np.flatnonzero(alive & (cosine < FOUND)) if mine[j]]
        new = [theirs[j] for j in np.flatnonzero(~back) if theirs[j]]
        for where, what in (("only in the reference", gone), ("only there", new)):
            count = pd.Series(what, dtype=object).value_counts()
            unmatched.append((name, seed, where, ", ".join(f"{c} {k}" for c, k in count.items())))
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    for line in unmatched:
        print(*line, sep="\t")


if __name__ == "__main__":
    main()
