"""Every architecture and its twins on activations whose features are known (:mod:`sciinterp.sae.ground_truth`).

All dictionaries of a world are as wide as it has true features, see the same batches, and aim for the true number of
active features. Those with an L1 penalty are trained at several weights; shown is the one whose L0 is nearest. A world
with a seed is one file of the output folder, and each of its dictionaries a folder with checkpoints, so that a long run is
stopped and resumed at will.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from sciinterp.devices import device_of
from sciinterp.errors import require_kinds
from sciinterp.frames import Table
from sciinterp.progress import progress
from sciinterp.sae.architecture import Architecture
from sciinterp.sae.batchtopk import BatchTopK
from sciinterp.sae.gated import Gated
from sciinterp.sae.grid import job_in, nearest
from sciinterp.sae.ground_truth import WORLDS, Truth, World, make_rows, measure_recovery
from sciinterp.sae.jumprelu import JumpReLU
from sciinterp.sae.loop import train_together
from sciinterp.sae.matryoshka import Matryoshka
from sciinterp.sae.relu import ReLU
from sciinterp.sae.settings import FROZEN, TrainSettings
from sciinterp.sae.topk import TopK
from sciinterp.settings import at_least, make_plain, plain_row, settings_of
from sciinterp.store.atomic import make_folder
from sciinterp.store.kept import kept

log = logging.getLogger(__name__)

# Name -> the architectures of this width that may be shown for an L0: more than one where L0 is not set but comes out.
CONTESTANTS: Mapping[str, Callable[[int, int], list[Architecture]]] = {
    "topk": lambda n, k: [TopK(n, k=k)],
    "batchtopk": lambda n, k: [BatchTopK(n, k=k)],
    "matryoshka": lambda n, k: [Matryoshka(n, k=k)],
    "jumprelu": lambda n, k: [JumpReLU(n, target_l0=k)],
    "relu": lambda n, k: [ReLU(n, l1=weight) for weight in (0.5, 1.0, 2.0, 4.0)],
    "gated": lambda n, k: [Gated(n, l1=weight) for weight in (1.0, 2.0, 4.0)],
}
MEASURES = (
    "recall", "precision", "cosine", "false", "splitting", "absorption", "shrinkage", "probing", "fve", "l0", "dead",
)  # fmt: skip


@dataclass(frozen=True)
class GroundTruthSettings:
    """How the dictionaries are trained.

    Attributes
    ----------
    rows, held_out : int
        Rows for training, and rows on which everything is measured.
    steps, batch_size : int
    """

    rows: int = 1 << 16
    held_out: int = 1 << 14
    steps: int = 600
    batch_size: int = 512

    def __post_init__(self) -> None:
        one = at_least(1)
        make_plain(self, rows=one, held_out=one, steps=one, batch_size=one)


def benchmark_dictionary(
    *,
    worlds: Sequence[World] = WORLDS,
    seeds: Sequence[int] = (0,),
    settings: GroundTruthSettings | None = None,
    out: str | Path | None = None,
    device: str = "cpu",
) -> dict[str, Table]:
    """What each architecture, and each twin of TopK, finds of features that are known.

    Seeds are of world, rows and training; the folder `out` keeps dictionaries, and the outcome of each world
    and seed, so that the next run goes on there. ``recovery``: one row a world, seed and dictionary, with the
    measures of :func:`~sciinterp.sae.ground_truth.measure_recovery`; ``summary``: their means over seeds;
    ``seeds``: for each world the smallest rank correlation between two seeds of the trained architectures'
    ``cosine`` (empty with one seed).
    """
    require_kinds(out=(out, Path | None))
    settings, seeds = settings_of(settings, GroundTruthSettings), plain_row(seeds, int, "seeds")
    place = str(device_of(device))
    folder = None if out is None else make_folder(out)
    rows = []
    jobs = [(world, seed) for world in worlds for seed in seeds]
    for world, seed in progress(jobs, desc="worlds", leave=False):
        plan = {"world": asdict(world), "seed": seed, "settings": asdict(settings)}
        name = f"{world.name.replace(' ', '-')}-{seed}"
        saes = None if folder is None else folder / "saes" / name
        rows += kept(folder, name, partial(_measure, world, seed, settings, place, saes), plan=plan)["rows"]
    recovery = Table(pd.DataFrame(rows, columns=["world", "seed", "dictionary", "true_l0", *MEASURES]))
    recovery = recovery.astype(dict.fromkeys(MEASURES, np.float64))
    summary = recovery.groupby(["world", "dictionary"], sort=False)[list(MEASURES)].mean().reset_index()
    return {"recovery": recovery, "summary": Table(summary), "seeds": Table(_between_seeds(recovery))}


def _measure(
    world: World, seed: int, settings: GroundTruthSettings, device: str, folder: Path | None
) -> dict[str, list[dict[str, object]]]:
    truth = make_rows(world, settings.rows + settings.held_out, seed=seed)
    k, cut = max(1, round(truth.values.nnz / len(truth.x))), settings.rows
    held_out = Truth(truth.x[cut:], truth.values[cut:], truth.directions, truth.parent, truth.circle)
    plain = TrainSettings(steps=settings.steps, batch_size=settings.batch_size, seed=seed, device=device)
    named = [(name, made) for name, make in CONTESTANTS.items() for made in make(world.n_true, k)]
    jobs = [job_in(folder, made, plain) for _, made in named]
    jobs += [job_in(folder, TopK(world.n_true, k=k), replace(plain, frozen=part)) for part in FROZEN]
    log.info("%s, seed %d: %d dictionaries at L0 %d", world.name, seed, len(jobs), k)
    saes = train_together(truth.x[:cut], jobs)
    several = {name: [sae for (its, _), sae in zip(named, saes) if its == name] for name, _ in named}
    found = {name: some[nearest(some, k)] for name, some in several.items()}
    found |= {f"topk, frozen {part}": sae for part, sae in zip(FROZEN, saes[len(named) :])}
    rows = [
        {
            "world": world.name,
            "seed": seed,
            "dictionary": name,
            "true_l0": k,
            **{key: None if np.isnan(v) else v for key, v in measure_recovery(sae, held_out).items()},
        }
        for name, sae in found.items()
    ]
    return {"rows": rows}


def _between_seeds(recovery: pd.DataFrame) -> list[dict[str, float | str]]:
    rows = []
    trained = recovery[recovery["dictionary"].isin(CONTESTANTS)]
    for world, mine in trained.groupby("world", sort=False):
        ranks = (
            mine.pivot_table(index="dictionary", columns="seed", values="cosine").corr("spearman").to_numpy()
        )
        if len(ranks) > 1:
            rows.append({"world": str(world), "rank_correlation": float(ranks.min())})
    return rows
