"""Do folds recur between families? How near held-out structures are to structures of training families.

``python tests/bench/bench_folds.py RUN``: the shortest structure of every held-out family is aligned with the shortest of every
training family by combinatorial extension (Shindyalov and Bourne 1998, doi 10.1093/protein/11.9.739; Biopython), and
the best of its alignments is scored by TM (Zhang and Skolnick 2004, doi 10.1002/prot.20264) over the held-out one's length.
The superposition is that of least squares, not the one of the highest TM, so that scores are lower bounds: .5 and more is
one fold.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from Bio.PDB.ccealign import run_cealign
from Bio.SVDSuperimposer import SVDSuperimposer

from sciinterp.project import load_run
from sciinterp.readers.backbones import places_of

WINDOW, GAP, SAME_FOLD = 8, 30, 0.5


def tm_score(mine: np.ndarray, other: np.ndarray) -> float:
    """Of CA [n, 3] beside CA [m, 3], over n: a lower bound."""
    d0, best = max(0.5, 1.24 * np.cbrt(max(1, len(mine) - 15)) - 1.8), 0.0
    for found in run_cealign(mine.tolist(), other.tolist(), WINDOW, GAP):
        a, b = mine[list(found.path[0])], other[list(found.path[1])]
        fit = SVDSuperimposer()
        fit.set(a, b)
        fit.run()
        far = ((a - fit.get_transformed()) ** 2).sum(1)
        best = max(best, float((1 / (1 + far / d0**2)).sum() / len(mine)))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--longest", type=int, default=250)
    parser.add_argument("--every", type=int, default=1, help="Take every n-th held-out family.")
    args = parser.parse_args()
    run = load_run(args.run)
    assert run.features is not None
    samples, split = run.features.samples, run.split
    lengths, shortest = np.asarray(samples.lengths), {}
    for i in np.argsort(lengths, kind="stable"):
        if lengths[i] <= args.longest:
            shortest.setdefault(int(split.family[i]), int(i))
    alpha = {}
    for family, i in shortest.items():
        places = places_of(samples.data[i])[:, 1]
        alpha[family] = places[np.isfinite(places).all(1)]
    train, test = (
        [f for f in sorted(set(split.family[p].tolist())) if f in alpha] for p in (split.train, split.test)
    )
    test = test[:: args.every]
    best = np.array([max(tm_score(alpha[f], alpha[g]) for g in train) for f in test])
    print(
        f"{len(test)} held-out families beside {len(train)} training families of up to {args.longest} residues"
    )
    print(f"highest TM, at least: median {np.median(best):.2f}, largest {best.max():.2f}")
    print(
        f"{(best > SAME_FOLD).sum()} of {len(best)} held-out families share a fold with a training family (TM above .5)"
    )


if __name__ == "__main__":
    main()
